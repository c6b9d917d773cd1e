//! How a step's fault reads as an error of the lock: with the path that it is about.

use crate::error::{Failure, LockError};
use crate::lock::file::FileLock;
use crate::lock::file::layout::name_of;
use crate::lock::file::step::{Fault, FaultKind};

impl FileLock {
    pub(super) fn name(&self, generation: u64) -> String {
        self.path.join(name_of(generation)).display().to_string()
    }

    pub(super) fn error(&self, fault: Fault) -> LockError {
        let resource = match fault.generation {
            Some(generation) => self.name(generation),
            None => self.path.display().to_string(),
        };
        let mut failure = Failure::new(fault.operation, resource);
        if let Some(hint) = fault.hint {
            failure = failure.hint(hint);
        }
        if let Some(errno) = fault.errno {
            failure = failure.source(std::io::Error::from_raw_os_error(errno.0));
        }
        match fault.kind {
            FaultKind::Conflict => LockError::Conflict(failure),
            FaultKind::Unavailable => LockError::Unavailable(failure),
            FaultKind::Indeterminate => LockError::Indeterminate(failure),
            FaultKind::Fatal => LockError::Fatal(failure),
        }
    }
}
