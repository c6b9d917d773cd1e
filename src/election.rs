//! The election: a pure state machine that decides everything and does nothing.
//!
//! [`Election::step`] takes an instant and an event and returns actions, and
//! [`Election::next_deadline`] says when it wants to be stepped again. The machine reads no clock,
//! starts no thread and knows no file. Whoever drives it (the elector's threads, a simulator, a
//! model checker) carries the actions out and feeds the results back. At most one request to the
//! lock is under way at a time.
//!
//! One machine is one run: one campaign and at most one term, by one incarnation.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::Settings;
use crate::error::{LossReason, Outcome};
use crate::record::{
    Incarnation, Intent, LeaderElectionRecord, Liveness, Observed, RecordKind, Revision,
};

mod campaign;
mod lead;
#[cfg(test)]
mod tests;

use campaign::Campaign;
use lead::Lead;

/// A share of the longest random addition to a wait: none at 0, all of it at `u32::MAX`.
///
/// The machine draws no random numbers, so that a seed replays a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Jitter(pub u32);

impl Jitter {
    /// `R × [1, 1.2]`: the retry period with its random addition.
    fn stretch(self, period: Duration) -> Duration {
        period + self.share(period / 5)
    }

    /// Its share of `window`.
    fn share(self, window: Duration) -> Duration {
        let share = window.as_nanos() * u128::from(self.0) / u128::from(u32::MAX);
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passed; nothing else.
    Tick,
    /// The lock answered a [`Action::Read`].
    Read(ReadReply),
    /// The lock answered a [`Action::Write`].
    Written(WriteReply),
    /// The record may have changed.
    WakeUp,
    /// The task channel said whether the task succeeded.
    Task(bool),
    /// The task channel is disconnected.
    TaskGone,
    /// The user wants the run to end.
    Stop,
    /// The work of the term has returned.
    WorkReturned {
        /// It did so by a panic.
        panicked: bool,
    },
    /// An extension came too late: somebody has already seen the validity end.
    ValidityEnded,
}

/// The lock's answer to a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadReply {
    /// There has never been a record.
    Absent,
    /// A record, and what is known of its holder's process.
    Found {
        /// The record with its version.
        observed: Observed,
        /// Whether the holder's process lives.
        liveness: Liveness,
    },
    /// A record that can't be read.
    Corrupt {
        /// The revision at which it stands.
        revision: Revision,
        /// Tells two corrupt records of one revision apart.
        nonce: u64,
    },
    /// No answer.
    Unavailable,
    /// The lock can't heal.
    Fatal,
}

/// The lock's answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteReply {
    /// Written, at this revision.
    Written(Revision),
    /// Surely not written: the version was another.
    Conflict,
    /// Surely not written, for a passing reason.
    Unavailable,
    /// Perhaps written.
    Indeterminate,
    /// Surely not written, and the lock can't heal.
    Fatal,
}

/// What is to be done, in the order of the list that [`Election::step`] fills.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the record. An answer after `deadline` is of no use.
    Read {
        /// When the answer stops being of use.
        deadline: Instant,
    },
    /// Write the record. It must not be sent after `deadline`.
    Write {
        /// What the write is for.
        intent: Intent,
        /// The record; its times are filled in by who writes it.
        record: LeaderElectionRecord,
        /// The revision that it replaces.
        expected: Option<Revision>,
        /// When it must have been sent and answered.
        deadline: Instant,
    },
    /// A term begins: start its work.
    BeginTerm {
        /// The term's fencing token.
        fencing_token: u64,
        /// The end of its validity, if it is not extended.
        valid_until: Instant,
    },
    /// Move the end of the validity. If the old end was already seen to pass, answer with
    /// [`Event::ValidityEnded`].
    Extend {
        /// The end so far.
        from: Instant,
        /// The new end.
        until: Instant,
    },
    /// Signal the work to stop.
    StopWork,
    /// End the validity and tell the user that the term is over.
    EndTerm,
    /// Another leader, or none, was observed.
    LeaderChanged(Option<Arc<str>>),
    /// The lease was lost, for this reason.
    Lost(LossReason),
    /// The run is over.
    Finish {
        /// How it ended.
        end: End,
        /// The next run of this candidate must not claim before.
        hold_back_until: Option<Instant>,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With an outcome.
    Outcome(Outcome),
    /// The lock said that it can't heal.
    LockFailed,
    /// The work panicked.
    WorkPanicked,
}

/// One candidate's run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    candidate: Candidate,
    phase: Phase,
}

/// What stays the same over all phases of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    settings: Arc<Settings>,
    incarnation: Incarnation,
    /// When the request under way was sent.
    sent: Option<Instant>,
    /// The leader that was reported last.
    leader: Option<Arc<str>>,
    /// The task channel is disconnected: a term could only fail.
    task_gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Campaigning(Campaign),
    Withdrawing(Box<Withdrawal>),
    Leading(Box<Lead>),
    Finished,
}

/// The campaign is over, but a claim of it is under way that may still succeed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Withdrawal {
    outcome: Outcome,
    until: Instant,
    /// What the claim wrote, for its release.
    record: LeaderElectionRecord,
}

/// The longest that ending a campaign waits for a claim which is under way.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(1);

impl Election {
    /// A campaign that begins at `now` and claims nothing before `held_back_until`.
    pub fn new(
        settings: impl Into<Arc<Settings>>,
        incarnation: Incarnation,
        now: Instant,
        held_back_until: Option<Instant>,
    ) -> Self {
        let settings = settings.into();
        let campaign = Campaign::new(now, held_back_until.unwrap_or(now));
        let candidate =
            Candidate { settings, incarnation, sent: None, leader: None, task_gone: false };
        Self { candidate, phase: Phase::Campaigning(campaign) }
    }

    /// Takes in what happened by `now`, and appends to `actions` what is to be done about it.
    ///
    /// `now` must not lie before the instant of an earlier step.
    pub fn step(&mut self, now: Instant, jitter: Jitter, event: Event, actions: &mut Vec<Action>) {
        if matches!(event, Event::Read(_) | Event::Written(_)) {
            debug_assert!(self.candidate.sent.is_some(), "an answer to no request: {event:?}");
        }
        let step = Step { now, jitter, actions };
        let next = match &mut self.phase {
            Phase::Campaigning(campaign) => campaign.step(&mut self.candidate, step, event),
            Phase::Withdrawing(withdrawal) => withdrawal.step(&mut self.candidate, step, event),
            Phase::Leading(lead) => lead.step(&mut self.candidate, step, event),
            Phase::Finished => None,
        };
        if let Some(phase) = next {
            self.phase = phase;
        }
    }

    /// When the machine wants an [`Event::Tick`], if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Campaigning(campaign) => campaign.next_deadline(&self.candidate),
            Phase::Withdrawing(withdrawal) => Some(withdrawal.until),
            Phase::Leading(lead) => lead.next_deadline(&self.candidate),
            Phase::Finished => None,
        }
    }

    /// How much later than [`Election::next_deadline`] its tick may come, so that those of several
    /// elections come together: a look or a renewal may wait a little, in proportion to the retry
    /// period, but not beyond the next claim or end.
    pub fn slack(&self) -> Duration {
        let room = match &self.phase {
            Phase::Campaigning(campaign) => campaign.room_for_a_look(&self.candidate),
            Phase::Leading(lead) => lead.room_for_a_renewal(&self.candidate),
            Phase::Withdrawing(_) | Phase::Finished => Duration::ZERO,
        };
        room.min(self.candidate.settings.retry_period / 64)
    }

    /// Since when an answer of the lock is awaited.
    pub fn awaiting_since(&self) -> Option<Instant> {
        self.candidate.sent
    }

    /// Whether a term has begun and is not yet finished.
    pub fn is_leading(&self) -> bool {
        matches!(self.phase, Phase::Leading(_))
    }

    /// Whether the run is over.
    #[cfg(any(test, feature = "testing"))]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }
}

/// One call of [`Election::step`].
struct Step<'a> {
    now: Instant,
    jitter: Jitter,
    actions: &'a mut Vec<Action>,
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn finish(&mut self, end: End, hold_back_until: Option<Instant>) -> Phase {
        self.act(Action::Finish { end, hold_back_until });
        Phase::Finished
    }
}

impl Candidate {
    /// Asks for the record.
    fn read(&mut self, step: &mut Step<'_>, deadline: Instant) {
        self.sent = Some(step.now);
        step.act(Action::Read { deadline });
    }

    /// Sends a write. `now` is the instant that its validity counts from: before it is sent.
    fn write(
        &mut self,
        step: &mut Step<'_>,
        intent: Intent,
        record: LeaderElectionRecord,
        expected: Option<Revision>,
        deadline: Instant,
    ) {
        self.sent = Some(step.now);
        step.act(Action::Write { intent, record, expected, deadline });
    }

    fn report_leader(&mut self, step: &mut Step<'_>, leader: Option<&Arc<str>>) {
        if self.leader.as_ref() != leader {
            self.leader = leader.cloned();
            step.act(Action::LeaderChanged(leader.cloned()));
        }
    }

    /// Two retry periods, in which others get their turn.
    fn hold_back(&self, now: Instant) -> Instant {
        now + self.settings.retry_period * 2
    }
}

impl Withdrawal {
    fn step(
        &mut self,
        candidate: &mut Candidate,
        mut step: Step<'_>,
        event: Event,
    ) -> Option<Phase> {
        if step.now >= self.until {
            return Some(self.finish(&mut step));
        }
        let Event::Written(reply) = event else {
            return None;
        };
        candidate.sent = None;
        match reply {
            WriteReply::Written(revision) if self.record.kind == RecordKind::Held => {
                self.release(candidate, &mut step, revision);
                None
            }
            _ => Some(self.finish(&mut step)),
        }
    }

    /// No term began, so nobody works: the claim can be given up at once.
    fn release(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, revision: Revision) {
        self.record.kind = RecordKind::Released;
        self.record.fencing_token = Some(revision.0);
        let record = self.record.clone();
        candidate.write(step, Intent::Release, record, Some(revision), self.until);
    }

    fn finish(&self, step: &mut Step<'_>) -> Phase {
        step.finish(End::Outcome(self.outcome), None)
    }
}
