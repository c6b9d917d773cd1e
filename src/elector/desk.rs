//! One lock, and what it is asked.
//!
//! Whoever wrote the lock wrote its errors too, so they are put into words here. This file must not
//! know what an answer means.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Instant, Timestamp};
use crate::elector::inbox::Outlet;
use crate::elector::lock_threads::{LockThreads, Served};
use crate::elector::threads::caught;
use crate::error::{Failure, LockError};
use crate::lock::{Intent, Lock, Observed};
use crate::record::{LeaderElectionRecord, Liveness, RecordKind, Revision};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// A call that takes longer is not a look at memory or at a local file system.
const SLOW: Duration = Duration::from_micros(100);

/// A look, a claim, and what its answer asks for.
const REQUESTS_AT_ONCE: usize = 4;

/// What to ask the lock, and where the answer goes.
pub(super) struct Request {
    pub(super) call: Call,
    /// Nothing is sent after it, and an answer is of no use.
    pub(super) deadline: Instant,
    /// Tells the answer from those to earlier requests.
    pub(super) ticket: u64,
    /// The answer may wait until the election thread looks.
    pub(super) quiet: bool,
    /// Never makes the lock thread wait, also not for a run that has ended.
    pub(super) reply_to: Outlet,
}

pub(super) enum Call {
    Read,
    Write { intent: Intent, record: LeaderElectionRecord, expected: Option<Revision> },
}

pub(super) enum Reply {
    Read(Result<Option<Found>, Failed>),
    Written(Intent, Result<Revision, Failed>),
}

pub(super) struct Found {
    pub(super) observed: Observed,
    pub(super) liveness: Liveness,
}

/// An error of the lock, of which only data is left.
pub(super) enum Failed {
    /// Losing a race is everyday life: nobody asks what it says.
    Conflict,
    Unavailable(Arc<str>),
    Indeterminate(Arc<str>),
    Corrupt {
        revision: Revision,
        nonce: u64,
        text: Arc<str>,
    },
    /// The error itself stays at the desk, for the caller of `run`.
    Fatal(Arc<str>),
}

/// Where one lock is asked, one request at a time, by whichever lock thread is free.
pub(super) struct Desk {
    describe: Arc<str>,
    clock: Clock,
    threads: LockThreads,
    clients: AtomicU64,
    state: Mutex<State>,
    /// With what the request before failed for good, until somebody wants it. It is the user's: if
    /// nobody does, it is dropped on a lock thread.
    fatal: Mutex<Option<Box<LockError>>>,
}

struct State {
    /// Elsewhere while a call of it is under way.
    lock: Option<OwnedLock>,
    /// Waits for the lock.
    request: Option<Box<Request>>,
    /// The lock threads know that there is something to be done.
    queued: bool,
    /// Nobody asks any more.
    retired: bool,
}

/// A lock, and what the answers need to know of earlier ones.
struct OwnedLock {
    lock: Box<dyn Lock>,
    acquire_time: Timestamp,
}

/// What to do at a desk.
enum Task {
    Ask(OwnedLock, Box<Request>),
    Drop(OwnedLock),
    Nothing,
}

impl Desk {
    /// Hands in a request, in place of one that nobody has begun; says whether a lock thread must
    /// be called.
    fn hand_in(&self, request: Box<Request>) -> bool {
        let mut state = self.state.lock();
        let earlier = state.request.replace(request);
        let call = state.must_call();
        if let Some(request) = state.request.as_mut().filter(|_| !call) {
            // Whoever has the lock may be no lock thread, after which nobody looks.
            request.quiet = false;
        }
        drop(state);
        drop(earlier);
        call
    }

    /// Takes back a request that nobody has begun.
    fn withdraw(&self) -> Option<Box<Request>> {
        self.state.lock().request.take()
    }

    fn retire(&self) -> bool {
        let mut state = self.state.lock();
        state.retired = true;
        state.must_call()
    }

    /// The same on a thread that has the time for it, and what follows from it; but not for ever.
    pub(super) fn serve_through(self: &Arc<Self>) {
        for _ in 0..REQUESTS_AT_ONCE {
            if !self.serve().again {
                return;
            }
        }
        self.threads.call(self);
    }

    /// Does what is to be done, on a lock thread.
    pub(super) fn serve(&self) -> Served {
        let began = self.clock.now();
        let again = match self.next() {
            Task::Ask(mut lock, request) => {
                let stale = self.take_fatal();
                // The lock comes back whatever happens: the next run needs it.
                let _ = caught(|| self.answer(&mut lock, *request));
                let again = self.put_back(lock);
                let _ = caught(|| drop(stale));
                again
            }
            Task::Drop(lock) => {
                let stale = self.take_fatal();
                // The user's, as all of a lock is.
                let _ = caught(|| drop(lock));
                let _ = caught(|| drop(stale));
                false
            }
            Task::Nothing => false,
        };
        Served { again, slow: self.clock.now().since(began) > SLOW }
    }

    fn next(&self) -> Task {
        let mut state = self.state.lock();
        state.queued = false;
        let Some(served) = state.lock.take() else {
            return Task::Nothing;
        };
        if state.retired {
            return Task::Drop(served);
        }
        match state.request.take() {
            Some(request) => Task::Ask(served, request),
            None => {
                state.lock = Some(served);
                Task::Nothing
            }
        }
    }

    fn put_back(&self, served: OwnedLock) -> bool {
        let mut state = self.state.lock();
        state.lock = Some(served);
        state.must_call()
    }

    fn take_fatal(&self) -> Option<Box<LockError>> {
        self.fatal.lock().take()
    }

    fn answer(&self, served: &mut OwnedLock, request: Request) {
        let Request { call, deadline, ticket, quiet, reply_to } = request;
        let reply = match call {
            Call::Read => {
                Reply::Read(self.read(served, deadline).map_err(|error| self.failed(error)))
            }
            Call::Write { intent, record, expected } => {
                let result = self.write(served, intent, record, expected, deadline);
                Reply::Written(intent, result.map_err(|error| self.failed(error)))
            }
        };
        let wrote = matches!(reply, Reply::Written(..));
        match quiet {
            true => self.threads.lay_down(reply_to.the_reply(ticket, reply)),
            false => reply_to.reply(ticket, reply),
        }
        if wrote {
            // What can wait must not delay the answer, and a panic in it is nobody's business.
            let _ = caught(|| served.lock.tidy());
        }
    }

    fn read(&self, served: &mut OwnedLock, deadline: Instant) -> Result<Option<Found>, LockError> {
        let budget = self.budget(deadline, "read")?;
        self.guarded(served, "read", |lock| {
            let Some(observed) = lock.get(budget)? else {
                return Ok(None);
            };
            let held = observed.record.kind == RecordKind::Held;
            let liveness = if held { lock.liveness(&observed) } else { Liveness::Unknown };
            Ok(Some(Found { observed, liveness }))
        })
    }

    fn write(
        &self,
        served: &mut OwnedLock,
        intent: Intent,
        mut record: LeaderElectionRecord,
        expected: Option<Revision>,
        deadline: Instant,
    ) -> Result<Revision, LockError> {
        record.renew_time = self.clock.wall();
        if intent == Intent::Acquire {
            served.acquire_time = record.renew_time;
        }
        record.acquire_time = served.acquire_time;
        // Right before it is sent: a renewal must not leave after the deadline.
        let budget = self.budget(deadline, "write")?;
        self.guarded(served, "write", |lock| lock.write(intent, &record, expected, budget))
    }

    /// Keeps the error if it is for the caller of `run`, and lets nothing but data out of here.
    fn failed(&self, error: LockError) -> Failed {
        let failed = Failed::new(&error);
        match failed {
            Failed::Fatal(_) => *self.fatal.lock() = Some(Box::new(error)),
            _ => drop(caught(|| drop(error))),
        }
        failed
    }

    fn budget(&self, deadline: Instant, operation: &str) -> Result<Duration, LockError> {
        let budget = deadline.since(self.clock.now());
        if budget.is_zero() {
            let failure = Failure::new(operation, &self.describe)
                .hint("the deadline passed before it could be sent");
            return Err(LockError::Unavailable(failure));
        }
        Ok(budget)
    }

    /// A panic of a lock is an error of that lock.
    fn guarded<T>(
        &self,
        served: &mut OwnedLock,
        operation: &str,
        call: impl FnOnce(&mut dyn Lock) -> Result<T, LockError>,
    ) -> Result<T, LockError> {
        caught(|| call(&mut *served.lock)).unwrap_or_else(|panic| {
            let hint = format!("the lock panicked: {panic}");
            Err(LockError::Fatal(Failure::new(operation, &self.describe).hint(hint)))
        })
    }
}

impl State {
    /// Marks the desk as queued, if there is something to be done and nobody knows of it yet.
    fn must_call(&mut self) -> bool {
        let something = self.request.is_some() || self.retired;
        let call = self.lock.is_some() && something && !self.queued;
        self.queued |= call;
        call
    }
}

/// Who may ask a lock. When the last clone of this is gone, the lock is dropped on a lock thread.
pub(super) struct LockClient(Arc<Desk>);

impl LockClient {
    pub(super) fn new(
        lock: Box<dyn Lock>,
        describe: Arc<str>,
        clock: Clock,
        threads: LockThreads,
    ) -> Self {
        let lock = Some(OwnedLock { lock, acquire_time: Timestamp::default() });
        let state = State { lock, request: None, queued: false, retired: false };
        let (clients, state) = (AtomicU64::new(1), Mutex::new(state));
        let fatal = Mutex::default();
        Self(Arc::new(Desk { describe, clock, threads, clients, state, fatal }))
    }

    /// The lock, for people.
    pub(super) fn describe(&self) -> &str {
        &self.0.describe
    }

    /// Asks, in place of a request that nobody has begun.
    ///
    /// # Errors
    ///
    /// The request, where there is no thread to ask.
    pub(super) fn ask(&self, request: Request) -> Result<(), Box<Request>> {
        let desk = &self.0;
        if !desk.hand_in(Box::new(request)) || desk.threads.call(desk) {
            return Ok(());
        }
        desk.withdraw().map_or(Ok(()), Err)
    }

    /// Asks in the same way, but on the thread of who calls: it is to serve at the desk, if there
    /// is one.
    pub(super) fn hand_in(&self, request: Request) -> Option<Arc<Desk>> {
        self.0.hand_in(Box::new(request)).then(|| Arc::clone(&self.0))
    }

    /// The error of a request that failed for good.
    pub(super) fn take_fatal(&self) -> Option<Box<LockError>> {
        self.0.take_fatal()
    }

    /// Asks nothing any more, so far as nobody has begun.
    pub(super) fn withdraw(&self) {
        self.0.withdraw();
    }
}

impl Clone for LockClient {
    fn clone(&self) -> Self {
        self.0.clients.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for LockClient {
    fn drop(&mut self) {
        if self.0.clients.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.retire() {
            self.0.threads.call(&self.0);
        }
    }
}

impl Failed {
    fn new(error: &LockError) -> Self {
        if matches!(error, LockError::Conflict(_)) {
            return Self::Conflict;
        }
        let text = caught(|| in_one_line(error)).unwrap_or_else(|panic| {
            format!("the lock failed, and what it says about that panicked: {panic}")
        });
        let text = text.into();
        match error {
            LockError::Corrupt { revision, nonce, .. } => {
                Self::Corrupt { revision: *revision, nonce: *nonce, text }
            }
            LockError::Fatal(_) => Self::Fatal(text),
            LockError::Unavailable(_) => Self::Unavailable(text),
            LockError::Indeterminate(_) | LockError::Conflict(_) => Self::Indeterminate(text),
        }
    }
}

/// The error with all of its sources.
fn in_one_line(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // An error that stands for its cause repeats it.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
