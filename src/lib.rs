//! Leader election for blocking programs.

pub use crossbeam_channel;

mod clock;
mod error;
mod lock;
mod record;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use clock::Timestamp;
pub use error::{ConfigError, Error, Failure, LockError, LossReason, Outcome};
pub use lock::{FileLock, Intent, Lock, MemoryLock, Observed};
pub use record::{
    Incarnation, LeaderElectionRecord, MAX_IDENTITY_BYTES, MAX_LEASE_DURATION, MAX_METADATA_BYTES,
    RecordKind, Revision,
};
