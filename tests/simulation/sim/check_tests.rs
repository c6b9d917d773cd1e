//! Each check can fail.

use leaderelection::{Incarnation, LossReason, Revision};

use super::super::plan::Plan;
use super::super::rng::Rng;
use super::*;

const RETRY: Duration = Duration::from_secs(2);

/// Two candidates with a grace of a second, whose clocks show true time.
struct Bench {
    checks: Checks,
    clocks: Vec<NodeClock>,
    at: True,
}

fn second(number: u64) -> Instant {
    Instant::from_nanos(number * SECOND)
}

fn settings() -> Settings {
    let plan = Plan::new(&mut Rng::new(0), None, None);
    Settings {
        retry_period: RETRY,
        renew_deadline: RETRY * 5,
        drain_timeout: RETRY,
        term_limit: None,
        acquire_timeout: None,
        on_success: OnSuccess::Complete,
        ..plan.nodes[0].settings.clone()
    }
}

fn record(kind: RecordKind) -> LeaderElectionRecord {
    LeaderElectionRecord::new("a", Incarnation(1), Duration::from_secs(15)).with_kind(kind)
}

impl Bench {
    fn new() -> Self {
        let candidates = [(settings(), Duration::from_secs(1)), (settings(), Duration::ZERO)];
        let mut checks = Checks::new(candidates.into_iter());
        checks.run_started(0);
        checks.run_started(1);
        let clock = NodeClock::new(0, super::super::time::TRUE_RATE);
        Self { checks, clocks: vec![clock.clone(), clock], at: 0 }
    }

    fn at(mut self, seconds: u64) -> Self {
        self.at = seconds * SECOND;
        self
    }

    fn act(mut self, node: usize, action: Action) -> Self {
        self.checks.action(self.at, node, &action, &self.clocks);
        self
    }

    fn begins(self, node: usize, fencing_token: u64, until: u64) -> Self {
        self.act(node, Action::BeginTerm { fencing_token, valid_until: second(until) })
    }

    fn extends(mut self, node: usize, from: u64, until: u64) -> Self {
        self = self.act(node, Action::Extend { from: second(from), until: second(until) });
        self.checks.extended(self.at, node, second(until), &self.clocks);
        self
    }

    fn stops_and_ends(self, node: usize) -> Self {
        self.act(node, Action::StopWork).act(node, Action::EndTerm)
    }

    fn returns(mut self, node: usize) -> Self {
        self.checks.work_returned(node);
        self
    }

    fn writes(self, node: usize, intent: Intent, until: u64) -> Self {
        let record = record(RecordKind::Held);
        let expected = Some(Revision(1));
        self.act(node, Action::Write { intent, record, expected, deadline: second(until) })
    }

    fn commits(mut self, kind: RecordKind, transitions: u64) -> Self {
        let mut record = record(kind);
        record.leader_transitions = transitions;
        self.checks.committed(self.at, 0, &record);
        self
    }

    fn finishes(self, node: usize, outcome: Outcome) -> Self {
        let end = End::Outcome(outcome);
        self.act(node, Action::Finish { end, hold_back_until: None })
    }

    #[track_caller]
    fn breaks(self, rule: Rule) {
        let broken = self.checks.violation.map(|violation| violation.rule);
        assert_eq!(broken, Some(rule));
    }

    #[track_caller]
    fn is_fine(&self) {
        assert!(self.checks.violation.is_none(), "{:?}", self.checks.violation);
    }
}

#[test]
fn two_who_believe_are_caught_and_one_after_the_other_is_fine() {
    Bench::new().begins(0, 1, 10).at(9).begins(1, 2, 20).breaks(Rule::OneBelieves);
    Bench::new().begins(0, 1, 10).returns(0).at(10).begins(1, 2, 20).is_fine();
    let extended = Bench::new().begins(0, 1, 10).at(5).extends(0, 10, 15);
    extended.at(12).begins(1, 2, 20).breaks(Rule::OneBelieves);
}

#[test]
fn belief_is_by_the_clock_of_who_believes() {
    let mut bench = Bench::new();
    bench.clocks[0] = NodeClock::new(0, 900_000);
    bench.begins(0, 1, 10).returns(0).at(11).begins(1, 2, 20).breaks(Rule::OneBelieves);
    let mut bench = Bench::new();
    bench.clocks[0] = NodeClock::new(0, 1_100_000);
    bench.begins(0, 1, 11).returns(0).at(10).begins(1, 2, 20).is_fine();
}

#[test]
fn work_within_its_grace_is_caught_and_work_after_it_is_not_ours() {
    let bench = || Bench::new().begins(0, 1, 10).at(10);
    bench().begins(1, 2, 20).breaks(Rule::OneActs);
    bench().at(11).begins(1, 2, 20).is_fine();
    bench().returns(0).begins(1, 2, 20).is_fine();
    // Who has ended its term early still has its grace.
    let ended = Bench::new().begins(0, 1, 10).at(4).stops_and_ends(0);
    ended.begins(1, 2, 20).breaks(Rule::OneActs);
}

#[test]
fn a_crash_ends_belief_and_work() {
    let mut bench = Bench::new().begins(0, 1, 10);
    bench.checks.crashed(0, None);
    bench.begins(1, 2, 20).is_fine();
}

#[test]
fn work_that_outlives_its_process_acts_until_its_validity_and_grace_have_ended() {
    let bench = || {
        let mut bench = Bench::new().begins(0, 1, 10);
        bench.checks.crashed(0, Some(7));
        bench.checks.run_started(0);
        bench
    };
    bench().at(10).begins(1, 2, 20).breaks(Rule::OneActs);
    bench().at(10).begins(0, 2, 20).breaks(Rule::OneActs);
    bench().at(11).begins(1, 2, 20).is_fine();
    let mut ended = bench();
    ended.checks.orphan_ended(0, 7);
    ended.begins(1, 2, 20).is_fine();
    let mut returned = Bench::new().begins(0, 1, 10).returns(0);
    returned.checks.crashed(0, Some(7));
    returned.begins(1, 2, 20).is_fine();
}

#[test]
fn a_token_that_does_not_rise_is_caught() {
    let bench = || Bench::new().begins(0, 5, 10).returns(0).at(20);
    bench().begins(1, 5, 30).breaks(Rule::TokensRise);
    bench().begins(1, 4, 30).breaks(Rule::TokensRise);
    // A begin that was held back until it was over is no leader's.
    bench().begins(1, 4, 15).is_fine();
}

#[test]
fn what_follows_a_completion_is_caught() {
    let bench = || Bench::new().commits(RecordKind::Completed, 1);
    bench().begins(1, 2, 10).breaks(Rule::CompletedStaysCompleted);
    bench().commits(RecordKind::Held, 2).breaks(Rule::CompletedStaysCompleted);
}

#[test]
fn callbacks_out_of_order_are_caught() {
    let bench = || Bench::new().begins(0, 1, 10);
    bench().act(0, Action::EndTerm).breaks(Rule::CallbacksArePaired);
    bench().act(0, Action::StopWork).act(0, Action::StopWork).breaks(Rule::CallbacksArePaired);
    bench().stops_and_ends(0).act(0, Action::EndTerm).breaks(Rule::CallbacksArePaired);
    bench().stops_and_ends(0).begins(0, 2, 20).breaks(Rule::CallbacksArePaired);
    bench().stops_and_ends(0).extends(0, 10, 20).breaks(Rule::CallbacksArePaired);
    bench().extends(0, 10, 9).breaks(Rule::CallbacksArePaired);
    bench().returns(0).finishes(0, Outcome::Stopped).breaks(Rule::CallbacksArePaired);
    let lost = Action::Lost(LossReason::TakenOver);
    bench().act(0, lost.clone()).act(0, lost).breaks(Rule::CallbacksArePaired);
    let finished = || Bench::new().finishes(0, Outcome::Stopped);
    finished().begins(0, 1, 10).breaks(Rule::CallbacksArePaired);
    finished().finishes(0, Outcome::Stopped).breaks(Rule::CallbacksArePaired);
    Bench::new().act(0, Action::StopWork).breaks(Rule::CallbacksArePaired);
}

#[test]
fn what_does_not_wait_for_the_work_is_caught() {
    let ended = || Bench::new().begins(0, 1, 10).stops_and_ends(0);
    ended().writes(0, Intent::Release, 10).breaks(Rule::WorkEndsFirst);
    ended().writes(0, Intent::Complete, 10).breaks(Rule::WorkEndsFirst);
    ended().finishes(0, Outcome::Stopped).breaks(Rule::WorkEndsFirst);
    ended().returns(0).writes(0, Intent::Release, 10).is_fine();
    ended().at(RETRY.as_secs()).writes(0, Intent::Complete, 10).is_fine();
    ended().at(RETRY.as_secs()).writes(0, Intent::Release, 10).breaks(Rule::WorkEndsFirst);
}

#[test]
fn writes_that_do_not_belong_into_a_term_are_caught() {
    let bench = || Bench::new().begins(0, 1, 10);
    bench().writes(0, Intent::Renew, 10).is_fine();
    bench().writes(0, Intent::Renew, 11).breaks(Rule::WritesInTime);
    bench().stops_and_ends(0).writes(0, Intent::Renew, 10).breaks(Rule::WritesInTime);
    bench().writes(0, Intent::Acquire, 10).breaks(Rule::CallbacksArePaired);
    bench().returns(0).writes(0, Intent::Release, 10).breaks(Rule::CallbacksArePaired);
    Bench::new().writes(0, Intent::Renew, 10).breaks(Rule::CallbacksArePaired);
    Bench::new().writes(0, Intent::Release, 10).is_fine();
}

#[test]
fn a_validity_that_comes_back_is_caught() {
    Bench::new().begins(0, 1, 10).at(10).extends(0, 10, 20).breaks(Rule::StaysEnded);
}

#[test]
fn a_claim_of_who_gives_way_is_caught() {
    let bench = || {
        let end = End::Outcome(Outcome::Stopped);
        let held_back = Action::Finish { end, hold_back_until: Some(second(4)) };
        let mut bench = Bench::new().act(0, held_back);
        bench.checks.run_started(0);
        bench
    };
    bench().at(3).writes(0, Intent::Acquire, 10).breaks(Rule::GivesWay);
    bench().at(4).writes(0, Intent::Acquire, 10).is_fine();
    let mut crashed = bench();
    crashed.checks.crashed(0, None);
    crashed.writes(0, Intent::Acquire, 10).is_fine();
}

#[test]
fn outcomes_that_are_not_true_are_caught() {
    let led = || Bench::new().begins(0, 1, 10).stops_and_ends(0).returns(0);
    led().finishes(0, Outcome::TaskSucceeded).breaks(Rule::OutcomeIsTrue);
    led().commits(RecordKind::Completed, 1).finishes(0, Outcome::TaskSucceeded).is_fine();
    led().finishes(0, Outcome::TermLimitReached).breaks(Rule::OutcomeIsTrue);
    Bench::new().finishes(0, Outcome::TaskSucceeded).is_fine();
    Bench::new().finishes(0, Outcome::AlreadyCompleted).breaks(Rule::OutcomeIsTrue);
    Bench::new().finishes(0, Outcome::AcquireTimedOut).breaks(Rule::OutcomeIsTrue);
    Bench::new().finishes(0, Outcome::SucceededUnrecorded).breaks(Rule::OutcomeIsTrue);
}

#[test]
fn transitions_that_fall_are_caught() {
    let bench = Bench::new().commits(RecordKind::Held, 3).commits(RecordKind::Held, 3);
    bench.is_fine();
    bench.commits(RecordKind::Held, 2).breaks(Rule::TransitionsRise);
}

#[test]
fn a_machine_that_spins_is_caught() {
    let mut bench = Bench::new();
    let most = most_steps_a_second(&settings());
    for step in 0..u64::from(most) {
        bench.checks.stepped(SECOND + step, 0);
    }
    bench.checks.stepped(2 * SECOND, 0);
    bench.is_fine();
    for step in 0..u64::from(most) {
        bench.checks.stepped(2 * SECOND + step, 0);
    }
    bench.breaks(Rule::StepsAreFew);
}
