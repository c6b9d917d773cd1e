//! A lock in memory, for tests and for electing among the threads of one process.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Failure, LockError};
use crate::lock::{Intent, Lock, Observed, Waker};
use crate::record::{LeaderElectionRecord, Revision};
use crate::sync::Mutex;
use crate::sync::channel::{Receiver, Sender, TrySendError, bounded};

/// A record in memory. Clones share the record, so each candidate gets a clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryLock {
    cell: Arc<Mutex<Cell>>,
}

#[derive(Debug, Default)]
struct Cell {
    observed: Option<Observed>,
    listeners: Vec<Sender<()>>,
    wakers: Vec<Waker>,
}

impl MemoryLock {
    /// A lock that nobody has held yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Cell {
    fn wake_listeners(&mut self) {
        // A full channel already says what this message would say.
        self.listeners.retain(|listener| {
            !matches!(listener.try_send(()), Err(TrySendError::Disconnected(())))
        });
        self.wakers.retain(Waker::wake);
    }
}

impl Lock for MemoryLock {
    fn get(&mut self, _budget: Duration) -> Result<Option<Observed>, LockError> {
        Ok(self.cell.lock().observed.clone())
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        _budget: Duration,
    ) -> Result<Revision, LockError> {
        let mut cell = self.cell.lock();
        let found = cell.observed.as_ref().map(|observed| observed.revision);
        if found != expected {
            let failure = Failure::new("write", self.describe())
                .hint(format!("expected revision {expected:?}, found {found:?}"));
            return Err(LockError::Conflict(failure));
        }
        let revision = Revision(expected.map_or(1, |revision| revision.0 + 1));
        match &mut cell.observed {
            // Of a term's record nothing else changes.
            Some(observed) if intent == Intent::Renew && observed.record.is_same_term(record) => {
                observed.record.renewals = record.renewals;
                observed.record.renew_time = record.renew_time;
                observed.revision = revision;
            }
            observed => {
                let mut record = record.clone();
                if intent == Intent::Acquire {
                    record.fencing_token = Some(revision.0);
                }
                *observed = Some(Observed { record, revision, nonce: 0 });
            }
        }
        if intent != Intent::Renew {
            cell.wake_listeners();
        }
        Ok(revision)
    }

    fn describe(&self) -> String {
        "a lock in memory".to_owned()
    }

    fn wake_ups(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.cell.lock().listeners.push(sender);
        receiver
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        let wakers = &mut self.cell.lock().wakers;
        // Most locks of a pool have one candidate in this process.
        wakers.reserve_exact(usize::from(wakers.is_empty()));
        wakers.push(waker);
        true
    }
}
