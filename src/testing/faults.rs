//! A lock that fails on purpose.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::error::{Failure, LockError};
use crate::lock::{Intent, Liveness, Lock, Observed, Waker};
use crate::record::{LeaderElectionRecord, Revision};
use crate::sync::channel::Receiver;

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Injection {
    /// Nothing: it is passed on.
    None,
    /// It is not carried out, and says so.
    Unavailable,
    /// A write is carried out, and its reply is lost. A read is unavailable.
    ReplyLost,
    /// A write is not carried out, and its reply is lost. A read is unavailable.
    RequestLost,
    /// It hangs until the channel gets a message or disconnects, and is then passed on.
    Hang(Receiver<()>),
}

/// Decides by a seed: of so many calls about one fails, in a way that the seed chooses too.
///
/// # Panics
///
/// If `one_in` is zero.
pub fn random_faults(
    seed: u64,
    one_in: u32,
) -> impl FnMut(Option<Intent>) -> Injection + Send + 'static {
    assert!(one_in > 0, "one fault in zero calls");
    let mut rng = SmallRng::seed_from_u64(seed);
    move |_| match rng.next_u32() % (3 * one_in) {
        0 => Injection::Unavailable,
        1 => Injection::ReplyLost,
        2 => Injection::RequestLost,
        _ => Injection::None,
    }
}

/// Does to the first calls what `script` says, and lets all others pass.
pub fn scripted_faults(
    script: impl IntoIterator<Item = Injection, IntoIter: Send + 'static>,
) -> impl FnMut(Option<Intent>) -> Injection + Send + 'static {
    let mut script = script.into_iter();
    move |_| script.next().unwrap_or(Injection::None)
}

/// Wraps a lock, and asks before each call what shall happen to it.
pub struct FaultLock<L, F> {
    lock: L,
    decide: F,
}

impl<L: Lock, F: FnMut(Option<Intent>) -> Injection + Send> FaultLock<L, F> {
    /// `decide` is asked before each call: with the intent of a write, `None` for a read.
    pub fn new(lock: L, decide: F) -> Self {
        Self { lock, decide }
    }
}

impl<L: Lock, F> std::fmt::Debug for FaultLock<L, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultLock").field("lock", &self.lock.describe()).finish_non_exhaustive()
    }
}

impl<L: Lock, F: FnMut(Option<Intent>) -> Injection + Send> Lock for FaultLock<L, F> {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        match (self.decide)(None) {
            Injection::None => {}
            Injection::Hang(until) => drop(until.recv()),
            _ => return Err(LockError::Unavailable(Failure::new("read", self.describe()))),
        }
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        let failure = Failure::new("write", self.describe());
        match (self.decide)(Some(intent)) {
            Injection::None => {}
            Injection::Unavailable => return Err(LockError::Unavailable(failure)),
            Injection::ReplyLost => {
                drop(self.lock.write(intent, record, expected, budget));
                return Err(LockError::Indeterminate(failure));
            }
            Injection::RequestLost => return Err(LockError::Indeterminate(failure)),
            Injection::Hang(until) => drop(until.recv()),
        }
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        self.lock.describe()
    }

    fn tidy(&mut self) {
        self.lock.tidy();
    }

    fn wake_ups(&self) -> Receiver<()> {
        self.lock.wake_ups()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.lock.wake_with(waker)
    }

    fn liveness(&mut self, observed: &Observed) -> Liveness {
        self.lock.liveness(observed)
    }
}
