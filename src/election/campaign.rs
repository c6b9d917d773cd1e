//! Campaigning: watch the record, and claim it when that is safe.

use std::time::Duration;

use super::{
    Candidate, End, Event, Lead, Phase, ReadReply, Step, WITHDRAWAL_PATIENCE, Withdrawal,
    WriteReply,
};
use crate::clock::Instant;
use crate::error::Outcome;
use crate::record::{
    Intent, LeaderElectionRecord, Liveness, MAX_LEASE_DURATION, Observed, RecordKind, Revision,
};

/// The longest window of a first claim after an expiry.
const LONGEST_FIRST_SPREAD: Duration = Duration::from_millis(40);

/// The window after the first claim that others were faster than: about as long as a claim takes
/// where the lock is near.
const SPREAD_AFTER_A_LOSS: Duration = Duration::from_micros(200);

/// It grows by this factor with each further one: of many who wait, the first is early in however
/// long a window.
const SPREAD_GROWTH: u32 = 4;

/// Up to this: it never shrinks, and who waits alone in the end must not pay for that.
const LONGEST_SPREAD: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Campaign {
    started: Instant,
    held_back_until: Instant,
    view: Option<View>,
    /// When to look or claim next, unless a request is under way.
    next_try: Instant,
    /// A claim failed while nobody else held the lease: no other before this.
    next_claim: Instant,
    /// When the first of the claims since then was sent.
    first_claim: Option<Instant>,
    /// How long a claim may be put off at random: it grows with the claims that others were faster
    /// than.
    window: Duration,
    /// A look at the version in view comes before its claim, and not before this.
    spread_end: Option<Instant>,
    /// The look that a wake-up asks for is put off until then.
    put_off_until: Option<Instant>,
    /// Something changed while a request was under way.
    look_again: bool,
    /// The claim that is under way.
    claim: Option<Box<LeaderElectionRecord>>,
    /// The most transitions that any record in view had.
    transitions: Option<u64>,
}

/// The record as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct View {
    version: Option<(Revision, u64)>,
    holder: Holder,
    /// When this version was first seen: after the read that showed it had returned.
    since: Instant,
    /// When it was seen last.
    looked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// Nobody: absent, released or proven dead.
    Nobody,
    /// Nobody either: a claim of this very campaign that never became a term.
    Orphan,
    /// Somebody, until nothing has changed for this long.
    Somebody(Duration),
    /// Not readable: as somebody with the longest lease.
    Corrupt,
    /// The task is done.
    Completed,
}

impl View {
    /// Rule 2: a lease has expired when its version has stood for the holder's own lease duration,
    /// counted from after the read that first showed it.
    fn free_at(&self) -> Option<Instant> {
        match self.holder {
            Holder::Nobody | Holder::Orphan => Some(self.since),
            Holder::Somebody(lease) => Some(self.since + lease),
            Holder::Corrupt => Some(self.since + MAX_LEASE_DURATION),
            Holder::Completed => None,
        }
    }
}

impl Campaign {
    pub(super) fn new(now: Instant, held_back_until: Instant) -> Self {
        Self {
            started: now,
            held_back_until,
            view: None,
            next_try: now,
            next_claim: now,
            first_claim: None,
            window: Duration::ZERO,
            spread_end: None,
            put_off_until: None,
            look_again: false,
            claim: None,
            transitions: None,
        }
    }

    pub(super) fn step(
        &mut self,
        candidate: &mut Candidate,
        mut step: Step<'_>,
        event: Event,
    ) -> Option<Phase> {
        let end = match event {
            Event::Task(true) => Some(self.withdraw(candidate, &mut step, Outcome::TaskSucceeded)),
            Event::Stop => Some(self.withdraw(candidate, &mut step, Outcome::Stopped)),
            Event::Read(reply) => {
                candidate.sent = None;
                self.on_read(candidate, &mut step, reply)
            }
            Event::Written(reply) => self.on_claimed(candidate, &mut step, reply),
            Event::WakeUp => {
                self.wake_up(candidate, &step);
                None
            }
            Event::TaskGone => {
                candidate.task_gone = true;
                None
            }
            Event::Tick
            | Event::Task(false)
            | Event::WorkReturned { .. }
            | Event::ValidityEnded => None,
        };
        end.or_else(|| self.advance(candidate, &mut step))
    }

    /// All who wait are woken by one change. Whoever has been too late before puts the wait of
    /// [`Campaign::spread`] before the look, which would only be made again after it.
    fn wake_up(&mut self, candidate: &Candidate, step: &Step<'_>) {
        if self.window.is_zero() || candidate.sent.is_some() {
            self.look_again = true;
            return;
        }
        // A later change does not begin the wait again.
        let put_off = step.now + step.jitter.share(self.window);
        let until = *self.put_off_until.get_or_insert(put_off);
        self.next_try = self.next_try.min(until);
    }

    /// Does what is due, unless a request is under way.
    fn advance(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) -> Option<Phase> {
        if let Some(sent) = candidate.sent {
            let late = step.now >= sent + candidate.settings.renew_deadline;
            let hung = late && self.timed_out(candidate, step.now);
            return hung.then(|| give_up(step));
        }
        if self.look_again || step.now >= self.next_try {
            if self.may_claim(candidate, step.now) {
                return self.claim(candidate, step);
            }
            self.look_again = false;
            let deadline = step.now + candidate.settings.renew_deadline;
            candidate.read(step, deadline);
        }
        None
    }

    fn may_claim(&self, candidate: &Candidate, now: Instant) -> bool {
        // After a suspend, or whatever else made this step late, a look comes before a claim.
        let fresh = |view: &View| {
            let looked_after_spread = self.spread_end.is_none_or(|end| view.looked >= end);
            looked_after_spread && now < view.looked + candidate.settings.retry_period * 2
        };
        !self.look_again
            && self.put_off_until.is_none()
            && self.view.as_ref().is_some_and(fresh)
            && self.claimable_at().is_some_and(|at| now >= at)
    }

    /// When the version in view may be claimed, if nothing changes.
    fn claimable_at(&self) -> Option<Instant> {
        let free_at = self.view.as_ref()?.free_at()?;
        let spread_end = self.spread_end.unwrap_or(free_at);
        Some(free_at.max(self.held_back_until).max(self.next_claim).max(spread_end))
    }

    fn claim(&mut self, candidate: &mut Candidate, step: &mut Step<'_>) -> Option<Phase> {
        if candidate.task_gone {
            return Some(step.finish(End::Outcome(Outcome::TaskFailed), None));
        }
        let settings = &candidate.settings;
        let mut record = LeaderElectionRecord::new(
            settings.identity.clone(),
            candidate.incarnation,
            settings.lease_duration,
        );
        record.metadata = settings.metadata.clone();
        record.leader_transitions = self.transitions.map_or(0, |seen| seen.saturating_add(1));
        self.claim = Some(Box::new(record.clone()));
        self.first_claim.get_or_insert(step.now);
        let expected = self.view.as_ref().and_then(|view| view.version).map(|(rev, _)| rev);
        let deadline = step.now + settings.renew_deadline;
        candidate.write(step, Intent::Acquire, record, expected, deadline);
        None
    }

    fn on_claimed(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        reply: WriteReply,
    ) -> Option<Phase> {
        let (sent, record) = (candidate.sent.take()?, *self.claim.take()?);
        let wait = self.pace(candidate, step);
        // From the sending on: a reply that took its time has been pause enough.
        self.next_claim = sent + wait;
        match reply {
            // Rule 1: the validity of this claim is over already. It never becomes a term, and the
            // next look finds it as this campaign's own.
            WriteReply::Written(_) if step.now >= sent + candidate.settings.renew_deadline => {
                self.look_again = true;
                None
            }
            WriteReply::Written(revision) if candidate.task_gone => {
                let until = withdrawal_end(candidate, step.now, sent);
                let mut withdrawal = Withdrawal { outcome: Outcome::TaskFailed, until, record };
                withdrawal.release(candidate, step, revision);
                Some(Phase::Withdrawing(Box::new(withdrawal)))
            }
            WriteReply::Written(revision) => {
                Some(Lead::begin(candidate, step, record, revision, sent))
            }
            WriteReply::Conflict | WriteReply::Indeterminate => {
                if reply == WriteReply::Conflict {
                    let grown = (self.window * SPREAD_GROWTH).max(SPREAD_AFTER_A_LOSS);
                    let longest = LONGEST_SPREAD.min(candidate.settings.retry_period / 4);
                    self.window = grown.min(longest);
                }
                self.look_again = true;
                None
            }
            WriteReply::Unavailable => {
                self.next_try = step.now + wait;
                self.timed_out(candidate, step.now).then(|| give_up(step))
            }
            WriteReply::Fatal => Some(step.finish(End::LockFailed, None)),
        }
    }

    fn on_read(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        reply: ReadReply,
    ) -> Option<Phase> {
        match reply {
            ReadReply::Absent => {
                candidate.report_leader(step, None);
                self.on_view(candidate, step, None, self.holder_of_nothing(), Liveness::Unknown)
            }
            ReadReply::Corrupt { revision, nonce } => {
                candidate.report_leader(step, None);
                // A repair must not make the transitions fall; there were never more than writes.
                self.transitions = self.transitions.max(Some(revision.0));
                let version = Some((revision, nonce));
                self.on_view(candidate, step, version, Holder::Corrupt, Liveness::Unknown)
            }
            ReadReply::Found { observed, liveness } => {
                let Observed { record, revision, nonce } = observed;
                candidate.report_leader(step, record.leader());
                self.transitions = self.transitions.max(Some(record.leader_transitions));
                let holder = judge(candidate, &record, liveness);
                self.on_view(candidate, step, Some((revision, nonce)), holder, liveness)
            }
            ReadReply::Unavailable => {
                self.next_try = step.now + self.pace(candidate, step);
                let timing = self.times_an_expiry(step.now);
                (self.timed_out(candidate, step.now) && !timing).then(|| give_up(step))
            }
            ReadReply::Fatal => Some(step.finish(End::LockFailed, None)),
        }
    }

    fn on_view(
        &mut self,
        candidate: &mut Candidate,
        step: &mut Step<'_>,
        version: Option<(Revision, u64)>,
        holder: Holder,
        liveness: Liveness,
    ) -> Option<Phase> {
        if holder == Holder::Completed {
            return Some(step.finish(End::Outcome(Outcome::AlreadyCompleted), None));
        }
        let becomes_free = self.view.as_ref().is_none_or(|view| view.holder != holder);
        let changed = self.note(step.now, version, holder);
        let put_off_until = self.put_off_until.take();
        if changed || becomes_free {
            self.spread_end = match (holder, put_off_until) {
                (Holder::Nobody, Some(until)) => (step.now < until).then_some(until),
                _ => self.spread(candidate, step),
            };
        }
        let seen = matches!(holder, Holder::Somebody(_) | Holder::Corrupt) && version.is_some();
        let lives = liveness == Liveness::Alive;
        let alive = seen && (changed || lives);
        let hopeless = alive || self.claims_in_vain(candidate, step);
        if self.timed_out(candidate, step.now) && hopeless {
            return Some(give_up(step));
        }
        let mut next_look = step.now + self.pace(candidate, step);
        if alive
            && lives
            && let Some(timeout) = candidate.settings.acquire_timeout
        {
            // The next look will show it again, so the first one after the timeout is the last.
            next_look = next_look.min((self.started + timeout).max(step.now));
        }
        self.next_try = self.claimable_at().map_or(next_look, |at| next_look.min(at));
        None
    }

    /// Many may wait for the same lease. Who claims what has become free waits a random part of a
    /// window, and looks again: the first to claim is then seen by most of the others before they
    /// try. An expiry is known by all to the millisecond, and nobody misses a moment after it. To
    /// what else becomes free the first claim is at once, so that one who waits alone loses no
    /// time, and the window grows with each that others were faster than.
    ///
    /// This makes no claim later than by [`LONGEST_SPREAD`] and a look.
    fn spread(&self, candidate: &Candidate, step: &Step<'_>) -> Option<Instant> {
        let view = self.view.as_ref()?;
        let period = candidate.settings.retry_period;
        let (free_at, first) = match view.holder {
            Holder::Nobody => (step.now, Duration::ZERO),
            Holder::Somebody(_) | Holder::Corrupt => {
                (view.free_at()?, (period / 50).min(LONGEST_FIRST_SPREAD))
            }
            Holder::Orphan | Holder::Completed => return None,
        };
        let spread = step.jitter.share(first.max(self.window));
        (!spread.is_zero()).then(|| free_at + spread)
    }

    /// A record does not vanish by itself: somebody has removed the lock, or its store shows less
    /// than it holds. Who held the lease may not know yet, so that lease is waited for once more.
    fn holder_of_nothing(&self) -> Holder {
        match self.view.as_ref().map(|view| view.holder) {
            Some(holder @ (Holder::Somebody(_) | Holder::Corrupt)) => holder,
            _ => Holder::Nobody,
        }
    }

    /// Keeps what was seen; says whether the version differs from an earlier one.
    fn note(&mut self, now: Instant, version: Option<(Revision, u64)>, holder: Holder) -> bool {
        if let Some(view) = &mut self.view
            && view.version == version
        {
            view.holder = holder;
            view.looked = now;
            return false;
        }
        if holder != Holder::Orphan {
            self.next_claim = now;
            self.first_claim = None;
        }
        let earlier = self.view.replace(View { version, holder, since: now, looked: now });
        earlier.is_some()
    }

    /// The wait until the next look. Who only waits for a sign of life looks more often.
    fn pace(&self, candidate: &Candidate, step: &Step<'_>) -> Duration {
        let wait = step.jitter.stretch(candidate.settings.retry_period);
        if self.timed_out(candidate, step.now) { wait / 4 } else { wait }
    }

    fn timed_out(&self, candidate: &Candidate, now: Instant) -> bool {
        candidate.settings.acquire_timeout.is_some_and(|timeout| now >= self.started + timeout)
    }

    /// Whether claims have failed for as long as one that succeeds would be valid.
    fn claims_in_vain(&self, candidate: &Candidate, step: &Step<'_>) -> bool {
        let patience = candidate.settings.renew_deadline;
        self.first_claim.is_some_and(|first| step.now >= first + patience)
    }

    /// Whether somebody's lease is running out before this campaign's eyes.
    fn times_an_expiry(&self, now: Instant) -> bool {
        self.view.as_ref().is_some_and(|view| match view.holder {
            Holder::Somebody(_) | Holder::Corrupt => {
                view.free_at().max(self.spread_end).is_some_and(|end| now < end)
            }
            _ => false,
        })
    }

    /// Ends the campaign; a claim under way may still succeed and must then be released.
    fn withdraw(&mut self, candidate: &Candidate, step: &mut Step<'_>, outcome: Outcome) -> Phase {
        match (self.claim.take(), candidate.sent) {
            (Some(record), Some(sent)) => {
                let until = withdrawal_end(candidate, step.now, sent);
                Phase::Withdrawing(Box::new(Withdrawal { outcome, until, record: *record }))
            }
            _ => step.finish(End::Outcome(outcome), None),
        }
    }

    /// How long after the next deadline nothing but a look is due.
    pub(super) fn room_for_a_look(&self, candidate: &Candidate) -> Duration {
        if candidate.sent.is_some() {
            return Duration::ZERO;
        }
        self.claimable_at().map_or(Duration::MAX, |at| at.since(self.next_try))
    }

    pub(super) fn next_deadline(&self, candidate: &Candidate) -> Option<Instant> {
        match candidate.sent {
            None => Some(self.next_try),
            Some(sent) => {
                let timeout = candidate.settings.acquire_timeout?;
                Some((self.started + timeout).max(sent + candidate.settings.renew_deadline))
            }
        }
    }
}

fn judge(candidate: &Candidate, record: &LeaderElectionRecord, liveness: Liveness) -> Holder {
    // A run has at most one term, and campaigning it has had none: a record of this incarnation is
    // a claim whose reply was lost or late, and nobody acts on it.
    let own_orphan = record.incarnation == candidate.incarnation;
    match record.kind {
        RecordKind::Completed => Holder::Completed,
        RecordKind::Released => Holder::Nobody,
        RecordKind::Held if own_orphan => Holder::Orphan,
        RecordKind::Held if liveness == Liveness::Dead => Holder::Nobody,
        RecordKind::Held => Holder::Somebody(record.lease_duration),
    }
}

fn give_up(step: &mut Step<'_>) -> Phase {
    step.finish(End::Outcome(Outcome::AcquireTimedOut), None)
}

fn withdrawal_end(candidate: &Candidate, now: Instant, sent: Instant) -> Instant {
    (now + WITHDRAWAL_PATIENCE).min(sent + candidate.settings.renew_deadline)
}
