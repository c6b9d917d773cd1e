//! The lock thread: all I/O of an elector. A call may hang here as long as it likes.
//!
//! Whoever wrote the lock wrote its errors too, so they are put into words here. This file must not
//! know what an answer means.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Instant, Timestamp};
use crate::elector::threads::{caught, start};
use crate::error::{Error, Failure, LockError};
use crate::lock::{Intent, Lock, Observed};
use crate::record::{LeaderElectionRecord, RecordKind, Revision};
use crate::sync::channel::{Receiver, Sender, bounded};

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
    Read(Result<Option<Found>, Failed>),
    Written(Intent, Result<Revision, Failed>),
}

pub(super) struct Found {
    pub(super) observed: Observed,
    pub(super) holder_is_dead: bool,
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
    /// The error itself is for the caller of `run`.
    Fatal(LockError, Arc<str>),
}

/// Takes the lock that the thread is to serve.
pub(super) type HandOver = Sender<Box<dyn Lock>>;

/// Starts the thread, which serves the lock that it is handed. It ends when nobody can send
/// requests any more.
pub(super) fn start_lock_thread(
    describe: String,
    clock: Clock,
) -> Result<(Sender<Request>, HandOver), Error> {
    // Without a buffer a request is taken by an idle thread or not at all: one that belongs to a
    // run which has given up on a hung call is dropped with that run.
    let (sender, requests) = bounded(0);
    // If the thread can't be started, the lock must not be lost with it.
    let (hand_over, handed) = bounded(1);
    start("lock", move || {
        if let Ok(lock) = handed.recv() {
            LockThread { lock, describe, clock, acquire_time: Timestamp::default() }
                .serve(&requests);
        }
    })?;
    Ok((sender, hand_over))
}

struct LockThread {
    lock: Box<dyn Lock>,
    describe: String,
    clock: Clock,
    acquire_time: Timestamp,
}

impl LockThread {
    fn serve(mut self, requests: &Receiver<Request>) {
        for Request { call, deadline, reply_to } in requests.iter() {
            let reply = match call {
                Call::Read => Reply::Read(self.read(deadline).map_err(Failed::new)),
                Call::Write { intent, record, expected } => {
                    let result = self.write(intent, record, expected, deadline);
                    Reply::Written(intent, result.map_err(Failed::new))
                }
            };
            let wrote = matches!(reply, Reply::Written(..));
            // A run that has ended no longer listens.
            let _ = reply_to.try_send(reply);
            if wrote {
                // What can wait must not delay the answer, and a panic in it is nobody's business.
                let _ = caught(|| self.lock.tidy());
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
            let failure = Failure::new(operation, &self.describe)
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
        caught(|| call(&mut *self.lock)).unwrap_or_else(|panic| {
            let hint = format!("the lock panicked: {panic}");
            Err(LockError::Fatal(Failure::new(operation, &self.describe).hint(hint)))
        })
    }
}

impl Failed {
    fn new(error: LockError) -> Self {
        if matches!(error, LockError::Conflict(_)) {
            let _ = caught(|| drop(error));
            return Self::Conflict;
        }
        let text = caught(|| in_one_line(&error)).unwrap_or_else(|panic| {
            format!("the lock failed, and what it says about that panicked: {panic}")
        });
        let text = text.into();
        let failed = match &error {
            LockError::Corrupt { revision, nonce, .. } => {
                Self::Corrupt { revision: *revision, nonce: *nonce, text }
            }
            LockError::Fatal(_) => return Self::Fatal(error, text),
            LockError::Unavailable(_) => Self::Unavailable(text),
            LockError::Indeterminate(_) | LockError::Conflict(_) => Self::Indeterminate(text),
        };
        let _ = caught(|| drop(error));
        failed
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
