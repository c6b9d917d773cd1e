//! Handles on a run, and what they share with it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::elector::desk::Desk;
use crate::elector::inbox::Outlet;
use crate::elector::worker::Worker;
use crate::error::{Error, Outcome};
use crate::lock::Waker;
use crate::lock::waker::{Chore, Wake};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, RwLock};
use crate::term::{Term, Validity};

/// Reports that the election thread has not read yet; more are dropped.
const REPORTS: u64 = 16;

/// What a candidate, its handles and its election thread share.
pub(super) struct Shared {
    pub(super) validity: Arc<Validity>,
    leader: RwLock<Option<Leader>>,
    /// Set while a run is in progress.
    running: AtomicBool,
    /// When the next run may claim.
    held_back_until: Mutex<Option<Instant>>,
    /// The run in progress of an elector: one after another on the same lock.
    current: Mutex<Weak<RunState>>,
}

/// The leader that was seen last.
pub(super) struct Leader {
    pub(super) name: Arc<str>,
    /// It is this candidate, in the term that is now valid or was last.
    pub(super) ours: bool,
}

impl Shared {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            validity: Arc::new(Validity::new(clock)),
            leader: RwLock::default(),
            running: AtomicBool::new(false),
            held_back_until: Mutex::default(),
            current: Mutex::default(),
        }
    }

    /// A waker for the lock of an elector. A run goes on when the elector is dropped, so it is not
    /// that which keeps this.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::of(Arc::downgrade(self))
    }

    pub(super) fn set_current(&self, run: &Arc<RunState>) {
        *self.current.lock() = Arc::downgrade(run);
    }

    pub(super) fn set_leader(&self, leader: Option<Leader>) {
        *self.leader.write() = leader;
    }

    pub(super) fn leader(&self) -> Option<String> {
        let (name, ours) = match &*self.leader.read() {
            Some(leader) => (Arc::clone(&leader.name), leader.ours),
            None => return None,
        };
        // The election thread may not have had the time yet to see that its own term has ended.
        let leads = !ours || self.validity.is_valid();
        leads.then(|| name.to_string())
    }

    pub(super) fn hold_back(&self, until: Option<Instant>) {
        *self.held_back_until.lock() = until;
    }

    pub(super) fn held_back_until(&self) -> Option<Instant> {
        *self.held_back_until.lock()
    }
}

/// Marks the candidate as running for as long as it lives.
pub(super) struct Running(Arc<Shared>);

impl Running {
    pub(super) fn claim(shared: &Arc<Shared>) -> Result<Self, Error> {
        if shared.running.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyRunning);
        }
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

/// How a run ended.
pub(super) type Ended = Result<Outcome, Error>;

/// What one run shares with its handle.
pub(super) struct RunState {
    pub(super) outlet: Outlet,
    pub(super) worker: Worker,
    end: Mutex<End>,
    /// The term that has begun, until it is over.
    term: Mutex<Option<Box<Term>>>,
    /// Reports on their way.
    reports: AtomicU64,
    /// It was told to stop, or is over.
    stopped: AtomicBool,
    /// A wake-up is on its way.
    woken: AtomicBool,
}

#[derive(Default)]
enum End {
    #[default]
    Ahead,
    /// Somebody waits for it.
    Awaited(Sender<Box<Ended>>),
    Past(Box<Ended>),
    /// There was none: the election thread has panicked; or it was told already.
    Gone,
}

impl RunState {
    pub(super) fn new(outlet: Outlet, worker: Worker) -> Arc<Self> {
        Arc::new(Self {
            outlet,
            worker,
            end: Mutex::default(),
            term: Mutex::default(),
            reports: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            woken: AtomicBool::new(false),
        })
    }

    /// A waker for the lock of this run, which tells of many changes at once.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        // A lock may keep wakers for longer than the run keeps its threads.
        Waker::of(Arc::downgrade(self))
    }

    /// Returns the lock that this thread is to ask, if it says that it can.
    fn wake_up(&self, serves_itself: bool) -> Option<Arc<Desk>> {
        match self.woken.swap(true, Ordering::SeqCst) {
            true => None,
            false => self.outlet.wake_up(serves_itself),
        }
    }

    /// Tells who waits, now or later. Nobody is told any more of a run without an end.
    pub(super) fn end(&self, ended: Option<Box<Ended>>) {
        self.stopped.store(true, Ordering::SeqCst);
        let mut end = self.end.lock();
        *end = match (std::mem::take(&mut *end), ended) {
            (End::Ahead, Some(ended)) => End::Past(ended),
            (End::Awaited(waiting), Some(ended)) => match waiting.try_send(ended) {
                Ok(()) => End::Gone,
                // Nobody waits any longer. An error is the user's: it is not dropped here.
                Err(unwanted) => End::Past(unwanted.into_inner()),
            },
            (End::Past(ended), None) => End::Past(ended),
            _ => End::Gone,
        };
    }

    fn is_over(&self) -> bool {
        matches!(*self.end.lock(), End::Past(_) | End::Gone)
    }

    /// A wake-up has arrived.
    pub(super) fn heard(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// A report has arrived.
    pub(super) fn report_taken(&self) {
        self.reports.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn set_term(&self, term: Option<Term>) {
        *self.term.lock() = term.map(Box::new);
    }

    /// Where the end will be told.
    fn awaited(&self) -> Receiver<Box<Ended>> {
        let (waiting, ended) = bounded(1);
        let mut end = self.end.lock();
        *end = match std::mem::take(&mut *end) {
            End::Ahead => End::Awaited(waiting),
            End::Past(result) => {
                let _ = waiting.try_send(result);
                End::Gone
            }
            other => other,
        };
        ended
    }
}

/// The run of a pool's member, whose lock is in no other.
impl Wake for Weak<RunState> {
    fn wake(&self) -> bool {
        let run = self.upgrade().filter(|run| !run.is_over());
        run.as_ref().map(|run| run.wake_up(false)).is_some()
    }

    fn wake_here(&self) -> Option<Chore> {
        self.upgrade().filter(|run| !run.is_over())?.wake_up(true).map(chore)
    }
}

/// Whichever run of an elector is in progress.
impl Wake for Weak<Shared> {
    fn wake(&self) -> bool {
        let Some(shared) = self.upgrade() else {
            return false;
        };
        let run = shared.current.lock().clone();
        run.wake();
        true
    }

    fn wake_here(&self) -> Option<Chore> {
        let run = self.upgrade()?.current.lock().clone();
        run.wake_here()
    }
}

fn chore(desk: Arc<Desk>) -> Chore {
    Box::new(move || desk.serve_through())
}

/// The election thread is gone without a word.
pub(super) fn panicked() -> Error {
    let source = std::io::Error::other("the one before has panicked: a defect of this crate");
    Error::Thread { name: "main", source }
}

/// Gets the end of a run, once.
pub(super) struct Done(Arc<RunState>);

impl Done {
    pub(super) fn new(run: &Arc<RunState>) -> Self {
        Self(Arc::clone(run))
    }

    /// Waits for the end, and shortly for what is still to be told of it.
    pub(super) fn wait(&self) -> Ended {
        // An election thread that is gone without a result has panicked.
        let ended = self.0.awaited().recv().map_or_else(|_| Err(panicked()), |ended| *ended);
        self.0.worker.flush().wait();
        ended
    }

    /// Waits for the end, but no longer.
    pub(super) fn wait_at_most(&self, patience: Duration) {
        let _ = self.0.awaited().recv_timeout(patience);
    }

    pub(super) fn report(&self, success: bool) {
        let waiting = self.0.reports.fetch_add(1, Ordering::SeqCst);
        if waiting < REPORTS {
            self.0.outlet.report(success);
        } else {
            self.0.report_taken();
        }
    }

    pub(super) fn stop(&self) {
        if !self.0.stopped.swap(true, Ordering::SeqCst) {
            self.0.outlet.stop();
        }
    }

    /// Says that who has this works in no term any more.
    pub(super) fn leave(&self) {
        self.0.outlet.awaited();
    }
}

/// A run in the background. Dropping it tells the run to stop and does not wait.
///
/// Without `on_started_leading` ([`ElectorPool::spawn`](crate::ElectorPool::spawn)), whoever has
/// the handle is the work of the term: it is over with [`join`](Self::join) or a drop.
#[must_use = "dropping the handle stops the run"]
pub struct ElectorHandle {
    done: Done,
    shared: Arc<Shared>,
}

impl ElectorHandle {
    pub(super) fn new(done: Done, shared: Arc<Shared>) -> Self {
        Self { done, shared }
    }

    /// As [`LeaderElector::is_leader`](crate::LeaderElector::is_leader).
    pub fn is_leader(&self) -> bool {
        self.shared.validity.is_valid()
    }

    /// As [`LeaderElector::get_leader`](crate::LeaderElector::get_leader).
    pub fn get_leader(&self) -> Option<String> {
        self.shared.leader()
    }

    /// The term in which this candidate leads now; `None` while it doesn't.
    pub fn term(&self) -> Option<Term> {
        self.done.0.term.lock().as_deref().cloned().filter(Term::is_valid)
    }

    /// Tells the result of the task, as a message on the task channel would: the first report in a
    /// term counts, and a success at any time. The work is awaited as after [`Self::stop`].
    pub fn report(&self, success: bool) {
        self.done.report(success);
    }

    /// Tells the run to stop: a term ends, its work is awaited, the lease is released. Where the
    /// work is done by whoever has the handle, it may go on until [`Term::stopped`] has been seen:
    /// [`join`](Self::join) or a drop says that it is over.
    pub fn stop(&self) {
        self.done.stop();
    }

    /// Waits for the end of the run. Whoever has worked by this handle does so no more.
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::run`](crate::LeaderElector::run).
    pub fn join(self) -> Result<Outcome, Error> {
        self.done.leave();
        self.done.wait()
    }
}

impl fmt::Debug for ElectorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectorHandle")
            .field("is_leader", &self.is_leader())
            .field("leader", &self.get_leader())
            .finish_non_exhaustive()
    }
}

impl Drop for ElectorHandle {
    fn drop(&mut self) {
        self.done.stop();
        self.done.leave();
    }
}
