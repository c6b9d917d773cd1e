//! The contract between the election and whatever keeps its record.
//!
//! A lock stores one record and changes it by compare-and-swap. It must not know when a lease has
//! expired or who may claim it: that stands once, in the election.

use std::time::Duration;

use crate::error::LockError;
pub use crate::record::{Intent, Liveness, Observed};
use crate::record::{LeaderElectionRecord, Revision};
use crate::sync::channel::{Receiver, never};

pub(crate) mod file;
mod memory;
pub(crate) mod waker;

pub use file::{Companion, FileLock, FileLockOptions, FileSystem, FileSystemKind};
pub use memory::MemoryLock;
pub use waker::Waker;

/// A place that keeps one [`LeaderElectionRecord`] with an atomic compare-and-swap.
///
/// A lock is called by one thread at a time, not always the same one, and any call may block for as
/// long as it likes: the elector keeps its deadlines without it. `budget` is the time for which an
/// answer is of use; a network backend takes it as its timeout.
///
/// The contract, which [`testing::contract`](crate::testing) checks:
///
/// - `write` with `expected: None` succeeds only where there has never been a record, otherwise
///   only where the record still stands at that revision. Of several writers that expect one
///   revision, at most one succeeds.
/// - Every successful write raises the revision, and none is ever used twice, whatever is released,
///   corrupted or repaired in between.
/// - `get` returns the `fencing_token` of the term: the revision of its acquiring write.
/// - The kind of an error says whether the write may have happened: see [`LockError`]. A lock that
///   is not sure says [`LockError::Indeterminate`].
pub trait Lock: Send {
    /// Reads the record; `None` where there has never been one.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` or `Fatal`.
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError>;

    /// Replaces the record that stands at `expected`, and returns the new revision.
    ///
    /// `Renew` passes the record of the term with a higher `renewals`; `Release` and `Complete`
    /// pass it with its new kind.
    ///
    /// # Errors
    ///
    /// Any kind of [`LockError`] but `Corrupt`.
    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError>;

    /// Where the record is kept, for people: a path or a URL without secrets.
    fn describe(&self) -> String;

    /// Does what can wait, such as removing what is no longer needed. It is called after the
    /// answer to a write, successful or not, has been passed on, and may be skipped.
    fn tidy(&mut self) {}

    /// A channel that gets a message when the record may have changed, so that candidates need not
    /// wait for their next poll. By default there is none. Where the lock takes a waker, the
    /// elector does not ask for this.
    fn wake_ups(&self) -> Receiver<()> {
        never()
    }

    /// Takes a waker to call when the record may have changed, in place of [`Lock::wake_ups`], and
    /// says whether it will be called. It may be called for nothing, and once for several changes.
    /// By default there is none to call it: then an elector listens to [`Lock::wake_ups`], and a
    /// candidate of a pool is woken by its next poll.
    fn wake_with(&mut self, waker: Waker) -> bool {
        let _ = waker;
        false
    }

    /// Whether the process that wrote the record which was read last is proven to be gone, with all
    /// that it did for its term. `false` means not known, which is the default. Only a proof may
    /// say `true`: the election then claims without waiting.
    fn holder_is_dead(&mut self, observed: &Observed) -> bool {
        let _ = observed;
        false
    }

    /// What is known of that process; by default what [`Lock::holder_is_dead`] says.
    ///
    /// Any doubt is [`Liveness::Unknown`]. With [`Liveness::Alive`], who does not want to wait for
    /// a live holder need not wait to see a renewal; so it must not be said once the lease is over,
    /// whatever the process does.
    fn liveness(&mut self, observed: &Observed) -> Liveness {
        match self.holder_is_dead(observed) {
            true => Liveness::Dead,
            false => Liveness::Unknown,
        }
    }
}

impl<L: Lock + ?Sized> Lock for Box<L> {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        (**self).get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        (**self).write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn tidy(&mut self) {
        (**self).tidy();
    }

    fn wake_ups(&self) -> Receiver<()> {
        (**self).wake_ups()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        (**self).wake_with(waker)
    }

    fn holder_is_dead(&mut self, observed: &Observed) -> bool {
        (**self).holder_is_dead(observed)
    }

    fn liveness(&mut self, observed: &Observed) -> Liveness {
        (**self).liveness(observed)
    }
}
