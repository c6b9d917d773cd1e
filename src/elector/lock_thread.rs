//! The lock thread: all I/O of an elector. A call may hang here as long as it likes.
//!
//! This file must not know what an answer means.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{Clock, Instant, Timestamp};
use crate::elector::threads::{panic_text, start};
use crate::error::{Error, Failure, LockError};
use crate::lock::{Intent, Lock, Observed};
use crate::record::{LeaderElectionRecord, RecordKind, Revision};

/// What to ask the lock, and where the answer goes.
pub(super) struct Request {
    pub(super) call: Call,
    /// Nothing is sent after it, and an answer is of no use.
    pub(super) deadline: Instant,
    /// Has room for the one answer, so the lock thread never waits for a run that has ended.
    pub(super) reply_to: Sender<Reply>,
}

pub(super) enum Call {
    Read,
    Write { intent: Intent, record: LeaderElectionRecord, expected: Option<Revision> },
}

pub(super) enum Reply {
    Read(Result<Option<Found>, LockError>),
    Written(Intent, Result<Revision, LockError>),
}

pub(super) struct Found {
    pub(super) observed: Observed,
    pub(super) holder_is_dead: bool,
}

/// Starts the thread. It ends when nobody can send requests any more.
pub(super) fn start_lock_thread(
    lock: Box<dyn Lock>,
    clock: Clock,
) -> Result<Sender<Request>, Error> {
    // Without a buffer a request is taken by an idle thread or not at all: one that belongs to a
    // run which has given up on a hung call is dropped with that run.
    let (sender, requests) = bounded(0);
    let thread = LockThread { lock, clock, acquire_time: Timestamp::default() };
    start("lock", move || thread.serve(&requests))?;
    Ok(sender)
}

struct LockThread {
    lock: Box<dyn Lock>,
    clock: Clock,
    acquire_time: Timestamp,
}

impl LockThread {
    fn serve(mut self, requests: &Receiver<Request>) {
        for Request { call, deadline, reply_to } in requests {
            let reply = match call {
                Call::Read => Reply::Read(self.read(deadline)),
                Call::Write { intent, record, expected } => {
                    Reply::Written(intent, self.write(intent, record, expected, deadline))
                }
            };
            let written = matches!(reply, Reply::Written(_, Ok(_)));
            // A run that has ended no longer listens.
            let _ = reply_to.try_send(reply);
            if written {
                // What can wait must not delay the answer, and a panic in it is nobody's business.
                let _ = catch_unwind(AssertUnwindSafe(|| self.lock.tidy()));
            }
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Option<Found>, LockError> {
        let budget = self.budget(deadline, "read")?;
        self.guarded("read", |lock| {
            let Some(observed) = lock.get(budget)? else {
                return Ok(None);
            };
            let held = observed.record.kind == RecordKind::Held;
            let holder_is_dead = held && lock.holder_is_dead(&observed);
            Ok(Some(Found { observed, holder_is_dead }))
        })
    }

    fn write(
        &mut self,
        intent: Intent,
        mut record: LeaderElectionRecord,
        expected: Option<Revision>,
        deadline: Instant,
    ) -> Result<Revision, LockError> {
        record.renew_time = self.clock.wall();
        if intent == Intent::Acquire {
            self.acquire_time = record.renew_time;
        }
        record.acquire_time = self.acquire_time;
        // Right before it is sent: a renewal must not leave after the deadline.
        let budget = self.budget(deadline, "write")?;
        self.guarded("write", |lock| lock.write(intent, &record, expected, budget))
    }

    fn budget(&self, deadline: Instant, operation: &str) -> Result<Duration, LockError> {
        let budget = deadline.since(self.clock.now());
        if budget.is_zero() {
            let failure = Failure::new(operation, self.lock.describe())
                .hint("the deadline passed before it could be sent");
            return Err(LockError::Unavailable(failure));
        }
        Ok(budget)
    }

    /// A panic of a lock is an error of that lock.
    fn guarded<T>(
        &mut self,
        operation: &str,
        call: impl FnOnce(&mut dyn Lock) -> Result<T, LockError>,
    ) -> Result<T, LockError> {
        let lock = &mut *self.lock;
        catch_unwind(AssertUnwindSafe(|| call(lock))).unwrap_or_else(|panic| {
            let hint = format!("the lock panicked: {}", panic_text(&*panic));
            Err(LockError::Fatal(Failure::new(operation, self.lock.describe()).hint(hint)))
        })
    }
}
