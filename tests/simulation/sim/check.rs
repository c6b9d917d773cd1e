//! What must hold at every instant of true time, whatever fails.
//!
//! The checker sees what is carried out, not what a machine has decided, and it alone compares the
//! clocks of several nodes. Belief is what `Term::is_valid` would say: the node's own clock has not
//! reached the end of the validity.

use std::time::Duration;

use leaderelection::testing::{Action, End, Instant, Settings};
use leaderelection::{Intent, LeaderElectionRecord, OnSuccess, Outcome, RecordKind};

use super::time::{NodeClock, SECOND, True};

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// At most one believes that it leads.
    OneBelieves,
    /// The work of one term has stopped, within the grace, before that of another begins.
    OneActs,
    /// Tokens rise from term to term.
    TokensRise,
    /// No term begins after a completion.
    CompletedStaysCompleted,
    /// One begin, one stop, one end, in this order, and nothing after the finish.
    CallbacksArePaired,
    /// A lease is released, or a run finished, only after the work has returned.
    WorkEndsFirst,
    /// A validity that has ended never comes back.
    StaysEnded,
    /// Nothing of a term is sent later than the term lasts.
    WritesInTime,
    /// An outcome tells the truth.
    OutcomeIsTrue,
    /// The count of terms never falls.
    TransitionsRise,
    /// Somebody leads, once faults have ended.
    SomebodyLeads,
    /// Who gives way does not claim before others had their turn.
    GivesWay,
    /// A machine wants few steps.
    StepsAreFew,
    /// A machine does not panic.
    NoPanic,
}

pub const RULES: [Rule; 14] = [
    Rule::OneBelieves,
    Rule::OneActs,
    Rule::TokensRise,
    Rule::CompletedStaysCompleted,
    Rule::CallbacksArePaired,
    Rule::WorkEndsFirst,
    Rule::StaysEnded,
    Rule::WritesInTime,
    Rule::OutcomeIsTrue,
    Rule::TransitionsRise,
    Rule::SomebodyLeads,
    Rule::GivesWay,
    Rule::StepsAreFew,
    Rule::NoPanic,
];

/// A rule that was broken, by whom, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    pub at: True,
    pub node: usize,
    pub rule: Rule,
    pub text: String,
}

/// A term as the checker has seen it.
#[derive(Clone, Debug)]
struct Term {
    token: u64,
    valid_until: Instant,
    /// The end of the validity as the machine knows it, perhaps later than what was granted.
    claimed_until: Instant,
    ended_at: Option<Instant>,
    stopped_at: Option<Instant>,
    works: bool,
}

impl Term {
    fn believes(&self, now: Instant) -> bool {
        self.ended_at.is_none() && now < self.valid_until
    }

    /// Work that keeps its promise stops within the grace after its validity has ended.
    fn acts(&self, now: Instant, grace: Duration) -> bool {
        let end = self.ended_at.map_or(self.valid_until, |ended| ended.min(self.valid_until));
        self.works && now < end + grace
    }
}

/// The work of a process that is gone. A guard ends it, within the grace after its validity.
#[derive(Clone, Debug)]
struct Orphan {
    epoch: u32,
    token: u64,
    acts_until: Instant,
}

/// What is known of a candidate.
#[derive(Clone, Debug)]
struct Candidate {
    settings: Settings,
    grace: Duration,
    term: Option<Term>,
    orphans: Vec<Orphan>,
    finished: bool,
    lost: bool,
    held_back_until: Option<Instant>,
    /// The second of true time in which the last step was, and how many there were in it.
    second: u64,
    steps: u32,
    woken: u32,
    most_steps: u32,
}

/// All checks but for the one that somebody leads.
#[derive(Clone, Debug)]
pub struct Checks {
    candidates: Vec<Candidate>,
    last_token: u64,
    transitions: u64,
    completed: bool,
    /// How often each rule was checked, in the order of [`RULES`].
    pub made: [u64; RULES.len()],
    pub violation: Option<Violation>,
}

impl Checks {
    pub fn new(candidates: impl Iterator<Item = (Settings, Duration)>) -> Self {
        let candidates = candidates.map(|(settings, grace)| {
            let most_steps = most_steps_a_second(&settings);
            Candidate {
                settings,
                grace,
                term: None,
                orphans: Vec::new(),
                finished: false,
                lost: false,
                held_back_until: None,
                second: 0,
                steps: 0,
                woken: 0,
                most_steps,
            }
        });
        Self {
            candidates: candidates.collect(),
            last_token: 0,
            transitions: 0,
            completed: false,
            made: [0; RULES.len()],
            violation: None,
        }
    }

    /// Whether the task was recorded as done.
    pub fn is_completed(&self) -> bool {
        self.completed
    }

    /// Keeps the first violation: what follows it is its consequence.
    pub fn broken(&mut self, at: True, node: usize, rule: Rule, text: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at, node, rule, text: text.into() });
        }
    }

    /// A candidate begins a run.
    pub fn run_started(&mut self, node: usize) {
        let candidate = &mut self.candidates[node];
        candidate.term = None;
        // A user who runs it again at once is as good as a wake-up.
        candidate.woken += 1;
        candidate.finished = false;
        candidate.lost = false;
    }

    /// A process is gone, and all that it believed and did with it; but for its work, if `orphan`
    /// is the epoch of that process.
    pub fn crashed(&mut self, node: usize, orphan: Option<u32>) {
        let candidate = &mut self.candidates[node];
        candidate.held_back_until = None;
        if let (Some(term), Some(epoch)) = (candidate.term.take(), orphan)
            && term.works
        {
            let acts_until = term.valid_until + candidate.grace;
            candidate.orphans.push(Orphan { epoch, token: term.token, acts_until });
        }
    }

    /// The work of a process that is gone has ended.
    pub fn orphan_ended(&mut self, node: usize, epoch: u32) {
        self.candidates[node].orphans.retain(|orphan| orphan.epoch != epoch);
    }

    fn check(&mut self, rule: Rule) {
        self.made[rule as usize] += 1;
    }

    pub fn work_returned(&mut self, node: usize) {
        if let Some(term) = &mut self.candidates[node].term {
            term.works = false;
        }
    }

    /// A machine is told of a change, which it may look at.
    pub fn woken(&mut self, node: usize) {
        self.candidates[node].woken += 1;
    }

    /// A machine was stepped.
    pub fn stepped(&mut self, at: True, node: usize) {
        let candidate = &mut self.candidates[node];
        if candidate.second != at / SECOND {
            candidate.second = at / SECOND;
            (candidate.steps, candidate.woken) = (0, 0);
        }
        candidate.steps += 1;
        self.made[Rule::StepsAreFew as usize] += 1;
        if candidate.steps > candidate.most_steps + STEPS_AFTER_A_WAKE_UP * candidate.woken {
            let text = format!("{} steps within a second", candidate.steps);
            self.broken(at, node, Rule::StepsAreFew, text);
        }
    }

    /// A write of `node` was carried out by the store.
    pub fn committed(&mut self, at: True, node: usize, record: &LeaderElectionRecord) {
        self.check(Rule::CompletedStaysCompleted);
        self.check(Rule::TransitionsRise);
        if self.completed {
            let text = format!("a {:?} record replaces the completion", record.kind);
            self.broken(at, node, Rule::CompletedStaysCompleted, text);
        }
        if record.leader_transitions < self.transitions {
            let text = format!("{} after {}", record.leader_transitions, self.transitions);
            self.broken(at, node, Rule::TransitionsRise, text);
        }
        self.transitions = record.leader_transitions;
        self.completed = record.kind == RecordKind::Completed;
    }

    /// An action is carried out.
    pub fn action(&mut self, at: True, node: usize, action: &Action, clocks: &[NodeClock]) {
        let now = clocks[node].local(at);
        self.check(Rule::CallbacksArePaired);
        if self.candidates[node].finished {
            self.broken(at, node, Rule::CallbacksArePaired, format!("{action:?} after the finish"));
        }
        match action {
            Action::BeginTerm { fencing_token, valid_until } => {
                self.begin(at, node, *fencing_token, *valid_until, clocks);
            }
            Action::Extend { until, .. } => self.extend(at, node, *until),
            Action::StopWork => self.stop(at, node, now),
            Action::EndTerm => self.end(at, node, now),
            Action::Lost(_) => {
                if std::mem::replace(&mut self.candidates[node].lost, true) {
                    self.broken(at, node, Rule::CallbacksArePaired, "lost twice");
                }
            }
            Action::Write { intent, deadline, .. } => {
                self.write(at, node, now, *intent, *deadline);
            }
            Action::Finish { end, hold_back_until } => {
                self.finish(at, node, *end);
                self.candidates[node].held_back_until = *hold_back_until;
            }
            Action::Read { .. } | Action::LeaderChanged(_) => {}
        }
    }

    fn begin(
        &mut self,
        at: True,
        node: usize,
        token: u64,
        valid_until: Instant,
        clocks: &[NodeClock],
    ) {
        if self.candidates[node].term.is_some() {
            self.broken(at, node, Rule::CallbacksArePaired, "a second term in one run");
        }
        // A begin that a pause has held back until its validity was over is no leader's.
        if clocks[node].local(at) < valid_until {
            self.begin_valid(at, node, token, clocks);
        }
        self.candidates[node].term = Some(Term {
            token,
            valid_until,
            claimed_until: valid_until,
            ended_at: None,
            stopped_at: None,
            works: true,
        });
    }

    fn begin_valid(&mut self, at: True, node: usize, token: u64, clocks: &[NodeClock]) {
        self.check(Rule::CompletedStaysCompleted);
        self.check(Rule::TokensRise);
        if self.completed {
            let text = format!("term {token} begins");
            self.broken(at, node, Rule::CompletedStaysCompleted, text);
        }
        if token <= self.last_token {
            let text = format!("term {token} begins after term {}", self.last_token);
            self.broken(at, node, Rule::TokensRise, text);
        }
        self.last_token = self.last_token.max(token);
        self.alone(at, node, token, clocks);
    }

    /// No other candidate believes or acts at the instant from which `node` does.
    fn alone(&mut self, at: True, node: usize, token: u64, clocks: &[NodeClock]) {
        self.check(Rule::OneBelieves);
        self.check(Rule::OneActs);
        self.no_orphan_acts(at, node, token, clocks);
        for other in (0..self.candidates.len()).filter(|other| *other != node) {
            let candidate = &self.candidates[other];
            let Some(term) = &candidate.term else {
                continue;
            };
            let now = clocks[other].local(at);
            let rule = match () {
                () if term.believes(now) => Rule::OneBelieves,
                () if term.acts(now, candidate.grace) => Rule::OneActs,
                () => continue,
            };
            let text = format!("in term {token}, while {other} is in term {}", term.token);
            self.broken(at, node, rule, text);
        }
    }

    /// No work of a process that is gone acts either, not even of this candidate's own.
    fn no_orphan_acts(&mut self, at: True, node: usize, token: u64, clocks: &[NodeClock]) {
        let mut acting = self.candidates.iter().zip(clocks).enumerate().filter_map(|one| {
            let (other, (candidate, clock)) = one;
            let now = clock.local(at);
            let orphan = candidate.orphans.iter().find(|orphan| now < orphan.acts_until)?;
            Some((other, orphan.token))
        });
        if let Some((other, of)) = acting.next() {
            let text = format!("in term {token}, while work of {other} acts for term {of}");
            self.broken(at, node, Rule::OneActs, text);
        }
    }

    fn extend(&mut self, at: True, node: usize, until: Instant) {
        match &mut self.candidates[node].term {
            Some(term) if term.ended_at.is_none() && until >= term.claimed_until => {
                term.claimed_until = until;
            }
            _ => self.broken(at, node, Rule::CallbacksArePaired, "extends no term, or backwards"),
        }
    }

    /// The validity is longer now.
    pub fn extended(&mut self, at: True, node: usize, until: Instant, clocks: &[NodeClock]) {
        let now = clocks[node].local(at);
        let Some(term) = &mut self.candidates[node].term else {
            return;
        };
        let token = term.token;
        self.made[Rule::StaysEnded as usize] += 1;
        let was_over = now >= term.valid_until;
        term.valid_until = until;
        if was_over {
            self.broken(at, node, Rule::StaysEnded, format!("term {token} was over"));
        }
        self.alone(at, node, token, clocks);
    }

    fn stop(&mut self, at: True, node: usize, now: Instant) {
        match &mut self.candidates[node].term {
            Some(term) if term.stopped_at.is_none() && term.ended_at.is_none() => {
                term.stopped_at = Some(now);
            }
            _ => self.broken(at, node, Rule::CallbacksArePaired, "a stop of no running term"),
        }
    }

    fn end(&mut self, at: True, node: usize, now: Instant) {
        match &mut self.candidates[node].term {
            Some(term) if term.stopped_at.is_some() && term.ended_at.is_none() => {
                term.ended_at = Some(now);
            }
            _ => self.broken(at, node, Rule::CallbacksArePaired, "an end of no stopped term"),
        }
    }

    fn write(&mut self, at: True, node: usize, now: Instant, intent: Intent, deadline: Instant) {
        self.check(match intent {
            Intent::Acquire => Rule::GivesWay,
            Intent::Renew => Rule::WritesInTime,
            Intent::Release | Intent::Complete => Rule::WorkEndsFirst,
        });
        let candidate = &self.candidates[node];
        if intent == Intent::Acquire && candidate.held_back_until.is_some_and(|until| now < until) {
            return self.broken(at, node, Rule::GivesWay, "a claim while it is held back");
        }
        let Some(term) = &candidate.term else {
            // A claim that came too late is released without a term.
            if matches!(intent, Intent::Renew | Intent::Complete) {
                self.broken(at, node, Rule::CallbacksArePaired, format!("{intent:?}, no term"));
            }
            return;
        };
        let drained = term.stopped_at.is_some_and(|stopped| {
            intent == Intent::Complete && now >= stopped + candidate.settings.drain_timeout
        });
        let late = term.ended_at.is_none() && deadline > term.claimed_until;
        match intent {
            Intent::Acquire => {
                self.broken(at, node, Rule::CallbacksArePaired, "a claim within a term");
            }
            Intent::Renew if term.ended_at.is_some() || late => {
                self.broken(at, node, Rule::WritesInTime, "a renewal of what is over");
            }
            Intent::Release | Intent::Complete if term.works && !drained => {
                self.broken(at, node, Rule::WorkEndsFirst, format!("{intent:?} while it works"));
            }
            Intent::Release | Intent::Complete if term.ended_at.is_none() => {
                self.broken(at, node, Rule::CallbacksArePaired, format!("{intent:?} in a term"));
            }
            _ => {}
        }
    }

    fn finish(&mut self, at: True, node: usize, end: End) {
        self.check(Rule::WorkEndsFirst);
        self.check(Rule::OutcomeIsTrue);
        let candidate = &mut self.candidates[node];
        candidate.finished = true;
        let led = candidate.term.is_some();
        if let Some(term) = &candidate.term {
            if term.works {
                self.broken(at, node, Rule::WorkEndsFirst, "the run ends while it works");
            } else if term.ended_at.is_none() {
                self.broken(at, node, Rule::CallbacksArePaired, "the run ends before its term");
            }
        }
        let settings = &self.candidates[node].settings;
        let true_outcome = match end {
            End::Outcome(Outcome::AlreadyCompleted) => self.completed && !led,
            End::Outcome(Outcome::TaskSucceeded) if led => {
                settings.on_success != OnSuccess::Complete || self.completed
            }
            End::Outcome(Outcome::AcquireTimedOut) => settings.acquire_timeout.is_some() && !led,
            End::Outcome(Outcome::TermLimitReached) => settings.term_limit.is_some() && led,
            End::Outcome(Outcome::LeaseLost(_) | Outcome::SucceededUnrecorded) => led,
            End::WorkPanicked => led,
            _ => true,
        };
        if !true_outcome {
            self.broken(at, node, Rule::OutcomeIsTrue, format!("{end:?}, led: {led}"));
        }
    }
}

/// The wake-up, the answer to the look that it leads to, and what is done about it.
const STEPS_AFTER_A_WAKE_UP: u32 = 3;

/// More steps than this in one second, and a machine spins.
///
/// The shortest wait of a machine that tries again is a sixteenth of its retry period, or a
/// millisecond; each try is a request, an answer, and at most one look in between. What comes from
/// outside is some tens a second, wake-ups aside: results, stops.
fn most_steps_a_second(settings: &Settings) -> u32 {
    let shortest = (settings.retry_period / 16).max(Duration::from_millis(1));
    let tries = Duration::from_secs(1).as_nanos().div_ceil(shortest.as_nanos());
    100 + 4 * u32::try_from(tries).unwrap_or(u32::MAX / 8)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
