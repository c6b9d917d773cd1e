//! The three callbacks of the original, and the events that a program may watch.
//!
//! Callbacks run on threads of their own, never on the election's. This file must not know which.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::LossReason;
use crate::term::Term;

pub(crate) type OnStarted = Arc<dyn Fn(&Term) + Send + Sync>;
pub(crate) type OnStopped = Arc<dyn Fn() + Send + Sync>;
pub(crate) type OnNewLeader = Arc<dyn Fn(&str) + Send + Sync>;
pub(crate) type OnEvent = Arc<dyn Fn(&ElectionEvent) + Send + Sync>;

/// What to call when leadership changes. All are optional; closures work directly.
#[derive(Clone, Default)]
pub struct LeaderCallbacks {
    pub(crate) started: Option<OnStarted>,
    pub(crate) stopped: Option<OnStopped>,
    pub(crate) new_leader: Option<OnNewLeader>,
}

impl LeaderCallbacks {
    /// No callbacks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The work: called on a thread of its own when a term begins. It should return soon after
    /// [`Term::stop_signal`] disconnects. That it returns changes nothing by itself: it reports its
    /// result on the task channel.
    #[must_use]
    pub fn on_started_leading(mut self, callback: impl Fn(&Term) + Send + Sync + 'static) -> Self {
        self.started = Some(Arc::new(callback));
        self
    }

    /// Called exactly once for each `on_started_leading`, when the work has returned or the term's
    /// validity has ended, whichever is first. Ending the process in it is a way to make sure that
    /// nothing of the term runs on.
    ///
    /// The run ends after this has returned, so it must not wait for the run.
    #[must_use]
    pub fn on_stopped_leading(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.stopped = Some(Arc::new(callback));
        self
    }

    /// Called with the identity of each new leader that was observed, this candidate included. A
    /// slow callback is told the latest leader and skips those between; if it is slower than a
    /// quarter of a second, perhaps after the run has ended.
    #[must_use]
    pub fn on_new_leader(mut self, callback: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.new_leader = Some(Arc::new(callback));
        self
    }
}

impl fmt::Debug for LeaderCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderCallbacks")
            .field("on_started_leading", &self.started.is_some())
            .field("on_stopped_leading", &self.stopped.is_some())
            .field("on_new_leader", &self.new_leader.is_some())
            .finish()
    }
}

/// Something that happened in an election, for [`Config::on_event`](crate::Config::on_event) and
/// the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElectionEvent {
    /// The campaign began.
    CampaignStarted,
    /// Another holder was observed, or `None`: the lease is free.
    LeaderChanged(Option<Arc<str>>),
    /// This candidate leads.
    Acquired {
        /// The fencing token of the term.
        fencing_token: u64,
    },
    /// The lease was renewed: the term is valid for this long.
    Renewed {
        /// Validity that was left when the renewal was confirmed.
        valid_for: Duration,
    },
    /// The work was told to stop; the lease is renewed until it has returned.
    Stopping,
    /// The term was lost.
    Lost(LossReason),
    /// The lease was given up.
    Released,
    /// The task was recorded as done for good.
    Completed,
    /// The lock failed, and will be asked again.
    LockFailed(Arc<str>),
    /// The work or another callback panicked.
    CallbackPanicked(Arc<str>),
    /// So many events were dropped, because who listens is slow.
    Dropped(u64),
}

impl fmt::Display for ElectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CampaignStarted => f.write_str("campaigning"),
            Self::LeaderChanged(Some(leader)) => write!(f, "{leader} leads"),
            Self::LeaderChanged(None) => f.write_str("nobody leads"),
            Self::Acquired { fencing_token } => {
                write!(f, "became the leader, fencing token {fencing_token}")
            }
            Self::Renewed { valid_for } => write!(f, "renewed, valid for {valid_for:?}"),
            Self::Stopping => f.write_str("told the work to stop"),
            Self::Lost(LossReason::RenewDeadline) => {
                f.write_str("lost the lease: no renewal was confirmed before the deadline")
            }
            Self::Lost(LossReason::TakenOver) => {
                f.write_str("lost the lease: the record is no longer this candidate's")
            }
            Self::Lost(LossReason::LockFailed) => {
                f.write_str("lost the lease: the lock failed for good")
            }
            Self::Released => f.write_str("released the lease"),
            Self::Completed => f.write_str("recorded the task as done"),
            Self::LockFailed(reason) => write!(f, "{reason}"),
            Self::CallbackPanicked(reason) => write!(f, "a callback panicked: {reason}"),
            Self::Dropped(count) => write!(f, "{count} events were dropped"),
        }
    }
}
