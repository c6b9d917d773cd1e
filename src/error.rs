//! Everything that can go wrong, and every way in which a run can end well.
//!
//! An error names the operation and the resource, says what to do where that is known, and keeps
//! its source. This file must not know how the election reacts.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::record::Revision;

/// What failed: an operation on a resource, with the reason below it.
#[derive(Debug)]
pub struct Failure {
    operation: String,
    resource: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// `operation` (a verb: "list", "create") on `resource` (a path or URL) failed.
    pub fn new(operation: impl Into<String>, resource: impl fmt::Display) -> Self {
        Self {
            operation: operation.into(),
            resource: resource.to_string(),
            hint: None,
            source: None,
        }
    }

    /// The error of the layer below.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What was seen, or what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.resource)?;
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// How an operation of a [`Lock`](crate::Lock) failed. The kind decides what the election does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Surely not written: the record is no longer the one that was expected.
    #[error("{0}")]
    Conflict(#[source] Failure),
    /// Surely not written, and worth another try.
    #[error("{0}")]
    Unavailable(#[source] Failure),
    /// Perhaps written: the reply is unknown. Whoever wrote must read again, and count the lease
    /// from before the write was sent.
    #[error("{0}")]
    Indeterminate(#[source] Failure),
    /// A record is there and can't be read. It is held for [`MAX_LEASE_DURATION`] from its first
    /// sight, whatever stands behind it, and may then be superseded.
    ///
    /// [`MAX_LEASE_DURATION`]: crate::MAX_LEASE_DURATION
    #[error("the record at revision {revision} is corrupt: {failure}")]
    Corrupt {
        /// The revision to expect in the write that supersedes it.
        revision: Revision,
        /// Differs between two corrupt records of one revision.
        nonce: u64,
        /// What is unreadable, and why.
        #[source]
        failure: Failure,
    },
    /// Can't heal by itself: no such directory, no permission, a lock of an unknown format.
    #[error("{0}")]
    Fatal(#[source] Failure),
}

/// What a [`Config`](crate::Config) gets wrong.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The lease would end before its holder has noticed that it can't renew.
    #[error(
        "lease duration {lease_duration:?} must be longer than renew deadline {renew_deadline:?}"
    )]
    LeaseNotAboveDeadline {
        /// The lease duration that was set.
        lease_duration: Duration,
        /// The renew deadline that was set.
        renew_deadline: Duration,
    },
    /// A renewal that fails once would already cost the term.
    #[error(
        "renew deadline {renew_deadline:?} must be longer than 1.2 times retry period \
         {retry_period:?} (the longest wait between two tries)"
    )]
    DeadlineNotAboveRetry {
        /// The renew deadline that was set.
        renew_deadline: Duration,
        /// The retry period that was set.
        retry_period: Duration,
    },
    /// Clocks at the ends of their bound would let two candidates lead at once.
    #[error(
        "(renew deadline {renew_deadline:?} + stop grace {stop_grace:?}) x {rate:.4} is \
         {needed:?}, more than lease duration {lease_duration:?}: with clocks that drift by \
         {clock_drift} a leader might still act when another takes over; lengthen the lease or \
         shorten the deadline or the grace"
    )]
    NoRoomForDrift {
        /// The lease duration that was set.
        lease_duration: Duration,
        /// The renew deadline that was set.
        renew_deadline: Duration,
        /// The stop grace that was set.
        stop_grace: Duration,
        /// The clock drift that was set.
        clock_drift: f64,
        /// How much faster one clock may run than another: `(1 + drift) / (1 - drift)`.
        rate: f64,
        /// The lease duration that the settings would need.
        needed: Duration,
    },
    /// A duration that must not be zero is.
    #[error("{setting} must be longer than zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// A duration is longer than its limit, or has a finer part than the format keeps.
    #[error("{setting} is {value:?}; the most is {most:?}")]
    TooLong {
        /// The name of the setting.
        setting: &'static str,
        /// The value that was set.
        value: Duration,
        /// The longest value.
        most: Duration,
    },
    /// The record keeps milliseconds, so a lease has at least one.
    #[error(
        "lease duration {0:?} has a part finer than a millisecond, which the record can't keep"
    )]
    FinerThanMillisecond(Duration),
    /// A clock drift outside `0 <= drift < 0.5`.
    #[error(
        "clock drift {0} must be at least 0 and below 0.5 (0.05 means that a clock may \
         run 5 % fast or slow)"
    )]
    Drift(f64),
    /// No identity.
    #[error("the identity is empty; leave it unset for one of host, pid and a random part")]
    EmptyIdentity,
    /// An identity or metadata that is too long or holds control characters.
    #[error("{0}")]
    Text(String),
}

/// Why a run could not end with an [`Outcome`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The lock failed in a way that can't heal.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A setting is wrong. [`LeaderElector::new`](crate::LeaderElector::new) says so by itself;
    /// this is for a function that makes an elector and runs it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `run` was called on an elector without `on_started_leading`: it would lead and do nothing.
    #[error("nothing to run: set LeaderCallbacks::on_started_leading, or use campaign()")]
    NoWork,
    /// One run at a time: this elector still runs.
    #[error("this elector is already running")]
    AlreadyRunning,
    /// The work (`on_started_leading`) panicked; the term ended as a failure.
    #[error("the work panicked: {0}")]
    WorkPanicked(String),
    /// A thread could not be started, or has panicked, which is a defect of this crate.
    #[error("cannot start the {name} thread")]
    Thread {
        /// What the thread is for.
        name: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The campaign ended without leadership, for a reason that is not a failure of the lock.
    #[error("the campaign ended: {0}")]
    NotElected(Outcome),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The task channel said `true`.
    TaskSucceeded,
    /// The task channel said `false` during a term, or its sender is gone.
    TaskFailed,
    /// The term limit ended the term.
    TermLimitReached,
    /// The lease was lost while the term still ran.
    LeaseLost(LossReason),
    /// The handle was told to stop, or dropped.
    Stopped,
    /// Somebody has completed the task for good.
    AlreadyCompleted,
    /// The task succeeded, but the success could not be recorded: it may run again.
    SucceededUnrecorded,
    /// The acquire timeout passed while somebody else led, or the lock could not be claimed.
    AcquireTimedOut,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::TaskSucceeded => "the task succeeded",
            Outcome::TaskFailed => "the task failed",
            Outcome::TermLimitReached => "the term limit was reached",
            Outcome::LeaseLost(LossReason::RenewDeadline) => {
                "the lease was lost: it could not be renewed before the deadline"
            }
            Outcome::LeaseLost(LossReason::TakenOver) => {
                "the lease was lost: the record is no longer this candidate's"
            }
            Outcome::LeaseLost(LossReason::LockFailed) => "the lease was lost: the lock failed",
            Outcome::Stopped => "it was stopped",
            Outcome::AlreadyCompleted => "the task is already completed",
            Outcome::SucceededUnrecorded => "the task succeeded, but that could not be recorded",
            Outcome::AcquireTimedOut => "not acquired in time",
        })
    }
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal was confirmed before the deadline.
    RenewDeadline,
    /// The record turned out to be another's, or to be gone.
    TakenOver,
    /// The lock failed in a way that can't heal.
    LockFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_operation_and_the_resource_and_keeps_its_source() {
        let cause = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let failure = Failure::new("list", "/scratch/x.lock").source(cause).hint("ask its owner");
        let error = Error::from(LockError::Fatal(failure));
        assert_eq!(error.to_string(), "cannot list /scratch/x.lock: ask its owner");
        let mut deepest: &dyn StdError = &error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        assert_eq!(deepest.to_string(), "permission denied");
    }
}
