//! The file lock: a log of generations in a shared directory.

use std::time::Duration;

use crate::error::{Failure, LockError};
use crate::lock::{Intent, Lock, Observed};
use crate::record::{LeaderElectionRecord, Revision};

/// A lock that is a directory on a file system that all candidates share.
#[derive(Debug)]
pub struct FileLock;

impl Lock for FileLock {
    fn get(&mut self, _budget: Duration) -> Result<Option<Observed>, LockError> {
        Ok(None)
    }

    fn write(
        &mut self,
        _intent: Intent,
        _record: &LeaderElectionRecord,
        _expected: Option<Revision>,
        _budget: Duration,
    ) -> Result<Revision, LockError> {
        Err(LockError::Unavailable(Failure::new("write", "nothing")))
    }

    fn describe(&self) -> String {
        String::new()
    }
}
