//! Leader election for blocking programs.

pub use crossbeam_channel;

mod callbacks;
mod clock;
mod config;
mod election;
mod elector;
mod error;
mod lock;
mod observer;
mod record;
mod reset;
mod term;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use callbacks::{ElectionEvent, LeaderCallbacks};
pub use clock::Timestamp;
pub use config::{Config, JITTER_FACTOR, OnSuccess};
pub use elector::{ElectorHandle, LeaderElector, Leadership};
pub use error::{ConfigError, Error, Failure, LockError, LossReason, Outcome};
pub use lock::{FileLock, FileLockOptions, Intent, Lock, MemoryLock, Observed};
pub use observer::{Observation, Observer};
pub use record::{
    Incarnation, LeaderElectionRecord, MAX_IDENTITY_BYTES, MAX_LEASE_DURATION, MAX_METADATA_BYTES,
    RecordKind, Revision,
};
pub use reset::{Reset, ResetError, reset};
pub use term::{Term, TermEnded};
