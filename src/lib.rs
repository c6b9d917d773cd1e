//! Leader election for blocking programs: threads, a lease, no async runtime.
//!
//! Candidates meet on a [`Lock`]: a directory of a file system that they share ([`FileLock`]), or a
//! backend of your own. One leads while it renews its lease; when it ends, fails, hangs or dies,
//! another takes over. Each term carries a [fencing token](Term::fencing_token).
//!
//! ```
//! use leaderelection::{Config, LeaderElector, MemoryLock};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // FileLock::new("/shared/nightly.lock")? where candidates are processes or hosts.
//! let lock = MemoryLock::new();
//! let elector = LeaderElector::new(Config::new(lock).identity("node-7"))?;
//!
//! let leadership = elector.campaign()?;
//! println!("leading, fencing token {}", leadership.term().fencing_token());
//! leadership.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Three ways to lead
//!
//! - **Callbacks and a task channel**, as in the Go package `leaderelection`: set
//!   [`LeaderCallbacks`], then [`LeaderElector::run`] blocks until the election has ended, and
//!   [`LeaderElector::spawn`] returns a handle at once. The work reports on the channel whether the
//!   task is done; [`OnSuccess`] says what becomes of the lease then.
//! - **For ever**: [`LeaderElector::run_forever`] campaigns again after each term.
//! - **A guard**: [`LeaderElector::campaign`] returns a [`Leadership`], which renews in the
//!   background and releases when it is dropped.
//!
//! An [`ElectorPool`] runs thousands of elections of one process on a handful of threads. An
//! [`Observer`] watches without being a candidate.
//!
//! # What is promised
//!
//! At most one candidate believes that it leads at any instant, as long as the lock's
//! compare-and-swap is atomic and the *rates* of clocks stay within
//! [`clock_drift`](Config::clock_drift). With a lease duration *L*, a renew deadline *R*, a stop
//! grace *K* and a drift *ρ*:
//!
//! - A leader believes in a confirmed write for *R*, counted from before the write was sent.
//! - A candidate takes over when it has seen no change for *L*, counted from after its read.
//! - [`Config`] refuses settings that break `(R + K)·(1 + ρ)/(1 − ρ) ≤ L`, or
//!   `L > R >` [`JITTER_FACTOR`] `× retry period`.
//!
//! Leases are measured on a clock that counts a suspend; wall-clock times in a record are for
//! people.
//!
//! # What is not promised
//!
//! A leader can be paused between a check of its term and the side effect that follows, for longer
//! than its lease: a signal, swapping, a virtual machine that is stopped. No check of one's own can
//! close this gap. Hand the [fencing token](Term::fencing_token) to the resource, and let it refuse
//! a token that is lower than the highest it has seen.
//!
//! # Threads
//!
//! A running elector has an election thread, which keeps every deadline and never blocks on
//! anything else; a lock thread, which may hang in a call for as long as it likes; and a callback
//! worker. A term adds a thread for its work and one for its end, if there are callbacks for these.
//! No callback runs on the election
//! thread, and none is called while a lock is held.
//!
//! # Features
//!
//! - `cli`: the command `elect`, which runs a command while it leads.
//! - `testing`: for tests of locks and electors, ours and yours.

#[cfg(not(shuttle))]
pub use crossbeam_channel;
#[cfg(shuttle)]
pub use sync::channel as crossbeam_channel;

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
mod sync;
mod term;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use callbacks::{ElectionEvent, LeaderCallbacks};
pub use clock::{Stopwatch, Timestamp};
pub use config::{Config, JITTER_FACTOR, OnSuccess};
pub use elector::{ElectorHandle, ElectorPool, LeaderElector, Leadership};
pub use error::{ConfigError, Error, Failure, LockError, LossReason, Outcome};
pub use lock::{
    Companion, FileLock, FileLockOptions, FileSystem, FileSystemKind, Intent, Liveness, Lock,
    MemoryLock, Observed, Waker,
};
pub use observer::{Observation, Observer};
pub use record::{
    Incarnation, LeaderElectionRecord, MAX_IDENTITY_BYTES, MAX_LEASE_DURATION, MAX_METADATA_BYTES,
    RecordKind, Revision,
};
pub use reset::{Reset, ResetError, force_reset, reset};
pub use term::{Term, TermEnded};

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
