//! Leading: renew, and end the term in an order that never lets two lead.

use std::time::Duration;

use super::{Action, Candidate, End, Event, Phase, ReadReply, Step, WriteReply};
use crate::clock::Instant;
use crate::config::OnSuccess;
use crate::error::{LossReason, Outcome};
use crate::record::{Intent, LeaderElectionRecord, Observed, RecordKind, Revision};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lead {
    /// The record of the term, with the renewals that are confirmed.
    record: LeaderElectionRecord,
    /// The revision of the last confirmed write.
    revision: Revision,
    /// Rule 1: nothing of this term is written, and nobody believes in it, from here on.
    valid_until: Instant,
    renewal: Option<Renewal>,
    /// What the write under way is for.
    writing: Option<Intent>,
    /// When to write or read next, unless a request is under way.
    next_try: Instant,
    /// The version turned out to be another than the confirmed one: read before any write.
    must_read: bool,
    limit_at: Option<Instant>,
    stage: Stage,
    work: Work,
    /// The user has been told of the term's end.
    ended: bool,
}

/// A renewal that is not confirmed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Renewal {
    /// Its first sending: its validity counts from there, however often it is sent again.
    first_sent: Instant,
    /// A reply was lost, so it may stand in the lock.
    perhaps_written: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    Running,
    Returned,
    Panicked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// The work runs and the lease is renewed.
    Working,
    /// The work was told to stop; the lease is renewed until it has returned.
    Draining { outcome: Outcome, until: Instant },
    /// The work has not returned in time; the lease runs out.
    Expiring { outcome: Outcome },
    /// Nobody acts in this term any more; its last write is `intent`.
    Closing { outcome: Outcome, intent: Intent },
    /// Validity has ended before a success was confirmed to be recorded: look whether it was.
    Verifying { until: Instant },
    /// Nothing is left to be done but to wait for the work.
    Over { outcome: Outcome },
}

impl Lead {
    /// The term that a confirmed claim begins. Its validity counts from `sent`.
    pub(super) fn begin(
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        record: LeaderElectionRecord,
        revision: Revision,
        sent: Instant,
    ) -> Phase {
        let settings = &candidate.settings;
        let valid_until = sent + settings.renew_deadline;
        debug_assert!(step.now < valid_until, "a term must begin valid");
        let lead = Self {
            record: LeaderElectionRecord { fencing_token: Some(revision.0), ..record },
            revision,
            valid_until,
            renewal: None,
            writing: None,
            next_try: sent + settings.retry_period,
            must_read: false,
            limit_at: settings.term_limit.map(|limit| step.now + limit),
            stage: Stage::Working,
            work: Work::Running,
            ended: false,
        };
        step.act(Action::BeginTerm { fencing_token: revision.0, valid_until });
        let identity = candidate.settings.identity.clone();
        candidate.report_leader(step, Some(&identity));
        Phase::Leading(Box::new(lead))
    }

    pub(super) fn step(
        &mut self,
        candidate: &mut Candidate,
        mut step: Step<'_>,
        event: Event,
    ) -> Option<Phase> {
        // The deadline comes before whatever has happened: a reply that is late extends nothing.
        self.keep_deadlines(candidate, &mut step);
        match event {
            Event::Read(reply) => {
                candidate.sent = None;
                self.on_read(candidate, &mut step, reply);
            }
            Event::Written(reply) => {
                let sent = candidate.sent.take().unwrap_or(step.now);
                self.on_written(candidate, &mut step, reply, sent);
            }
            Event::Task(success) => self.on_task(candidate, &mut step, success),
            Event::TaskGone => self.on_task(candidate, &mut step, false),
            Event::Stop => self.end_on_purpose(candidate, &mut step, Outcome::Stopped),
            Event::WorkReturned { panicked } => {
                self.on_work_returned(candidate, &mut step, panicked);
            }
            Event::ValidityEnded => self.lose(candidate, &mut step, LossReason::RenewDeadline),
            Event::Tick | Event::WakeUp => {}
        }
        self.advance(candidate, &mut step);
        self.finished(candidate, &mut step)
    }

    fn keep_deadlines(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) {
        if step.now >= self.valid_until {
            self.lose(candidate, step, LossReason::RenewDeadline);
        }
        match self.stage {
            Stage::Working if self.limit_at.is_some_and(|limit| step.now >= limit) => {
                self.end_on_purpose(candidate, step, Outcome::TermLimitReached);
            }
            Stage::Draining { outcome, until } if step.now >= until => {
                self.drain_timed_out(candidate, step, outcome);
            }
            Stage::Verifying { until } if step.now >= until => {
                self.stage = Stage::Over { outcome: Outcome::SucceededUnrecorded };
            }
            _ => {}
        }
    }

    /// Sends what is due, unless a request is under way.
    fn advance(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) {
        if candidate.sent.is_some() || step.now < self.next_try {
            return;
        }
        match self.stage {
            Stage::Verifying { until } => candidate.read(step, until),
            Stage::Working | Stage::Draining { .. } | Stage::Closing { .. } if self.must_read => {
                let deadline = self.attempt_deadline(candidate, step.now);
                candidate.read(step, deadline);
            }
            Stage::Working | Stage::Draining { .. } => self.renew(candidate, step),
            Stage::Closing { intent, .. } => self.write_last(candidate, step, intent),
            Stage::Expiring { .. } | Stage::Over { .. } => {}
        }
    }

    fn renew(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) {
        debug_assert!(step.now < self.valid_until, "no renewal is sent after the deadline");
        let fresh = Renewal { first_sent: step.now, perhaps_written: false };
        self.renewal.get_or_insert(fresh);
        let mut record = self.record.clone();
        record.renewals += 1;
        let deadline = self.attempt_deadline(candidate, step.now);
        self.writing = Some(Intent::Renew);
        candidate.write(step, Intent::Renew, record, Some(self.revision), deadline);
    }

    fn write_last(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, intent: Intent) {
        debug_assert!(step.now < self.valid_until && self.ended, "last write of a live term");
        let kind = match intent {
            Intent::Complete => RecordKind::Completed,
            _ => RecordKind::Released,
        };
        debug_assert!(kind == RecordKind::Completed || self.work != Work::Running);
        let record = self.record.with_kind(kind);
        self.writing = Some(intent);
        candidate.write(step, intent, record, Some(self.revision), self.valid_until);
    }

    /// Two attempts have to fit before the deadline: each gets half of what is left, until that is
    /// less than a retry period.
    fn attempt_deadline(&self, candidate: &Candidate, now: Instant) -> Instant {
        let left = self.valid_until.since(now);
        if left > candidate.settings.retry_period { now + left / 2 } else { self.valid_until }
    }

    /// The wait after a failed try: a retry period, but never so long that no other try fits.
    fn backoff(&self, candidate: &Candidate, now: Instant) -> Duration {
        let retry = candidate.settings.retry_period;
        let half = self.valid_until.since(now) / 2;
        retry.min(half).max(retry / 16).max(Duration::from_millis(1))
    }

    fn on_written(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        reply: WriteReply,
        sent: Instant,
    ) {
        let writing = self.writing.take();
        let renewed = writing == Some(Intent::Renew);
        self.next_try = step.now + self.backoff(candidate, step.now);
        match (self.stage, reply) {
            (Stage::Over { .. } | Stage::Expiring { .. }, _) => {}
            (Stage::Verifying { .. }, WriteReply::Written(_)) if !renewed => {
                self.stage = Stage::Over { outcome: success(writing == Some(Intent::Complete)) };
            }
            (Stage::Verifying { .. }, _) => self.next_try = step.now,
            (Stage::Closing { outcome, intent }, WriteReply::Written(_)) if !renewed => {
                // A success may have been heard when the release was already under way.
                let outcome = if writing == Some(intent) { outcome } else { success(false) };
                self.stage = Stage::Over { outcome };
            }
            (_, WriteReply::Written(revision)) => {
                self.confirm_renewal(candidate, step, revision);
                self.next_try = sent + candidate.settings.retry_period;
                self.hurry_if_closing(step.now);
            }
            (_, WriteReply::Conflict) => {
                self.must_read = true;
                self.next_try = step.now;
            }
            (_, WriteReply::Indeterminate) => {
                if let Some(renewal) = self.renewal.as_mut().filter(|_| renewed) {
                    renewal.perhaps_written = true;
                }
                // A last write that may stand there is looked for before it is sent again.
                self.must_read |= matches!(self.stage, Stage::Closing { .. });
            }
            (_, WriteReply::Unavailable) => self.forget_unwritten_renewal(),
            (_, WriteReply::Fatal) => self.lose(candidate, step, LossReason::LockFailed),
        }
    }

    fn on_read(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, reply: ReadReply) {
        self.next_try = step.now + self.backoff(candidate, step.now);
        let observed = match reply {
            ReadReply::Found { observed, .. } => observed,
            ReadReply::Absent => return self.on_other(candidate, step, None),
            ReadReply::Fatal if matches!(self.stage, Stage::Verifying { .. }) => {
                self.stage = Stage::Over { outcome: success(false) };
                return;
            }
            ReadReply::Fatal => return self.lose(candidate, step, LossReason::LockFailed),
            // Not known what stands there: ask again until the deadline.
            ReadReply::Corrupt { .. } | ReadReply::Unavailable => return,
        };
        let own = observed.record.is_same_term(&self.record);
        match self.stage {
            Stage::Expiring { .. } | Stage::Over { .. } => {}
            Stage::Verifying { .. } => {
                let completed = observed.record.kind == RecordKind::Completed;
                self.stage = Stage::Over { outcome: success(completed) };
            }
            _ if own && observed.record.kind == RecordKind::Held => {
                self.on_own_record(candidate, step, &observed);
            }
            _ => self.on_other(candidate, step, Some(&observed)),
        }
    }

    /// The record is of this term, though perhaps not at the revision that was expected.
    fn on_own_record(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        observed: &Observed,
    ) {
        let moved = observed.revision != self.revision;
        let renewals = observed.record.renewals;
        if renewals == self.record.renewals + 1 && self.renewal.is_some() {
            self.confirm_renewal(candidate, step, observed.revision);
        } else if renewals == self.record.renewals || renewals == self.record.renewals + 1 {
            // Somebody touched the record and left it this term's, or a renewal that was given up
            // has arrived after all. Neither extends anything; the next write starts from it.
            self.renewal = self.renewal.filter(|_| !moved);
            self.revision = observed.revision;
            self.record.renewals = renewals;
            if moved {
                self.next_try = step.now;
            }
        } else {
            return self.lose(candidate, step, LossReason::TakenOver);
        }
        self.must_read = false;
        if moved {
            self.hurry_if_closing(step.now);
        }
    }

    /// The record is not this term's, or no longer held.
    fn on_other(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        observed: Option<&Observed>,
    ) {
        let kind = observed.map(|observed| observed.record.kind);
        match self.stage {
            Stage::Closing { intent: Intent::Complete, .. } | Stage::Verifying { .. } => {
                let outcome = success(kind == Some(RecordKind::Completed));
                self.stage = Stage::Over { outcome };
            }
            Stage::Closing { outcome, .. } => self.stage = Stage::Over { outcome },
            _ => {
                self.lose(candidate, step, LossReason::TakenOver);
                candidate.report_leader(step, observed.and_then(|seen| seen.record.leader()));
            }
        }
    }

    /// The renewal under way is known to stand at `revision`.
    fn confirm_renewal(&mut self, candidate: &Candidate, step: &mut Step<'_>, revision: Revision) {
        let Some(renewal) = self.renewal.take() else {
            return;
        };
        self.revision = revision;
        self.must_read = false;
        self.record.renewals += 1;
        let until = renewal.first_sent + candidate.settings.renew_deadline;
        debug_assert!(until >= self.valid_until, "a later sending is valid for longer");
        if !self.ended {
            step.act(Action::Extend { from: self.valid_until, until });
        }
        self.valid_until = until;
    }

    fn forget_unwritten_renewal(&mut self) {
        if self.renewal.is_some_and(|renewal| !renewal.perhaps_written) {
            self.renewal = None;
        }
    }

    /// A term that only waits for its last write does not wait for the next renewal's time.
    fn hurry_if_closing(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. }) {
            self.next_try = now;
        }
    }

    fn on_task(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, success: bool) {
        let complete = candidate.settings.on_success == OnSuccess::Complete;
        match &mut self.stage {
            Stage::Working => {
                let outcome = if success { Outcome::TaskSucceeded } else { Outcome::TaskFailed };
                self.end_on_purpose(candidate, step, outcome);
            }
            // Work that was told to stop may still finish its task.
            Stage::Draining { outcome, .. } | Stage::Expiring { outcome }
                if success && *outcome != Outcome::TaskFailed =>
            {
                *outcome = Outcome::TaskSucceeded;
                if complete && matches!(self.stage, Stage::Expiring { .. }) {
                    self.close(candidate, step, Outcome::TaskSucceeded);
                }
            }
            Stage::Closing { outcome, intent }
                if success && complete && *outcome != Outcome::TaskFailed =>
            {
                (*outcome, *intent) = (Outcome::TaskSucceeded, Intent::Complete);
            }
            Stage::Over { outcome }
                if success
                    && complete
                    && !matches!(outcome, Outcome::TaskSucceeded | Outcome::TaskFailed) =>
            {
                *outcome = Outcome::SucceededUnrecorded;
            }
            _ => {}
        }
    }

    fn on_work_returned(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, panicked: bool) {
        self.work = if panicked { Work::Panicked } else { Work::Returned };
        match self.stage {
            Stage::Working if panicked => {
                self.end_on_purpose(candidate, step, Outcome::TaskFailed);
            }
            Stage::Draining { outcome, .. } => self.close(candidate, step, outcome),
            Stage::Expiring { outcome } => self.close(candidate, step, outcome),
            _ => {}
        }
    }

    fn end_on_purpose(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, outcome: Outcome) {
        if self.stage != Stage::Working {
            return;
        }
        step.act(Action::StopWork);
        if self.work == Work::Running {
            let until = step.now + candidate.settings.drain_timeout;
            self.stage = Stage::Draining { outcome, until };
        } else {
            self.close(candidate, step, outcome);
        }
    }

    fn drain_timed_out(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        outcome: Outcome,
    ) {
        let complete = candidate.settings.on_success == OnSuccess::Complete;
        if outcome == Outcome::TaskSucceeded && complete {
            // A completion hands the lease to nobody, so it need not wait for the work.
            self.close(candidate, step, outcome);
        } else {
            self.stage = Stage::Expiring { outcome };
        }
    }

    /// Nobody acts in this term any more: ends it, and sends its last write if it has one.
    fn close(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, outcome: Outcome) {
        self.end(candidate, step);
        self.stage = match (outcome, candidate.settings.on_success) {
            (Outcome::TaskSucceeded, OnSuccess::Hold) => Stage::Over { outcome },
            (Outcome::TaskSucceeded, OnSuccess::Complete) => {
                Stage::Closing { outcome, intent: Intent::Complete }
            }
            _ => Stage::Closing { outcome, intent: Intent::Release },
        };
        // A renewal that was never sent, or surely not written, is of no interest any more.
        if candidate.sent.is_none() {
            self.forget_unwritten_renewal();
        }
        // A renewal that may stand there makes the last write a conflict, and then it is found.
        self.next_try = step.now;
    }

    fn end(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) {
        if !self.ended {
            self.ended = true;
            step.act(Action::EndTerm);
            candidate.report_leader(step, None);
        }
    }

    /// Validity is over: the work is told at once, and nothing of this term is written any more.
    fn lose(&mut self, candidate: &mut Candidate, step: &mut Step<'_>, reason: LossReason) {
        let outcome = match self.stage {
            Stage::Over { .. } | Stage::Verifying { .. } => return,
            Stage::Working => {
                step.act(Action::Lost(reason));
                step.act(Action::StopWork);
                Outcome::LeaseLost(reason)
            }
            Stage::Draining { outcome, .. }
            | Stage::Expiring { outcome }
            | Stage::Closing { outcome, .. } => outcome,
        };
        self.end(candidate, step);
        let recorded = candidate.settings.on_success == OnSuccess::Complete;
        self.stage = if outcome == Outcome::TaskSucceeded && recorded {
            self.next_try = step.now;
            Stage::Verifying { until: step.now + candidate.settings.renew_deadline }
        } else {
            Stage::Over { outcome }
        };
    }

    fn finished(&self, candidate: &Candidate, step: &mut Step<'_>) -> Option<Phase> {
        let Stage::Over { outcome } = self.stage else {
            return None;
        };
        if self.work == Work::Running {
            return None;
        }
        let release = candidate.settings.on_success == OnSuccess::Release;
        let gives_way = match outcome {
            Outcome::TermLimitReached | Outcome::TaskFailed | Outcome::Stopped => true,
            Outcome::TaskSucceeded => release,
            _ => false,
        };
        let end = match self.work {
            Work::Panicked => End::WorkPanicked,
            _ => End::Outcome(outcome),
        };
        Some(step.finish(end, gives_way.then(|| candidate.hold_back(step.now))))
    }

    /// How long after the next deadline nothing but a first try of a renewal is due.
    pub(super) fn room_for_a_renewal(&self, candidate: &Candidate) -> Duration {
        let renews = matches!(self.stage, Stage::Working | Stage::Draining { .. });
        match self.ends() {
            Some(ends) if renews && candidate.sent.is_none() && self.renewal.is_none() => {
                ends.since(self.next_try)
            }
            _ => Duration::ZERO,
        }
    }

    pub(super) fn next_deadline(&self, candidate: &Candidate) -> Option<Instant> {
        let ends = self.ends()?;
        let tries = candidate.sent.is_none() && !matches!(self.stage, Stage::Expiring { .. });
        Some(if tries { ends.min(self.next_try) } else { ends })
    }

    /// When the stage ends, whatever else happens.
    fn ends(&self) -> Option<Instant> {
        match self.stage {
            Stage::Working => Some(self.valid_until.min(self.limit_at.unwrap_or(self.valid_until))),
            Stage::Draining { until, .. } => Some(self.valid_until.min(until)),
            Stage::Closing { .. } | Stage::Expiring { .. } => Some(self.valid_until),
            Stage::Verifying { until } => Some(until),
            Stage::Over { .. } => None,
        }
    }
}

/// What a success is worth, now that the record is known.
fn success(recorded: bool) -> Outcome {
    if recorded { Outcome::TaskSucceeded } else { Outcome::SucceededUnrecorded }
}
