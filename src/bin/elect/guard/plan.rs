//! What the guard decides: when COMMAND is told to end, and when it is killed.
//!
//! A pure state machine: it reads no clock and touches no process, so every path is tested below.

use std::time::Duration;

/// The first wait between two rounds of kills, for what was started between them.
const KILL_AGAIN: Duration = Duration::from_millis(5);
/// The longest: a process in an uninterruptible sleep may take hours to go.
const KILL_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The term is valid until this instant, in nanoseconds of the boot clock.
    Deadline(u64),
    /// `elect` ends the term on purpose.
    Stop,
    /// `elect` has lost the leadership, or is gone.
    Lose,
    /// The lease timer has fired.
    LeaseTimer,
    /// The grace timer has fired.
    GraceTimer,
    /// COMMAND has ended; processes that it started may be left.
    CommandEnded,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGTERM to all; `wake` lets who is stopped go on, to heed it.
    Terminate {
        /// Only while the term is valid: what is stopped when it has ended must not run again.
        wake: bool,
    },
    /// SIGKILL to all.
    Kill,
    /// Set the lease timer to this instant.
    SetLease(u64),
    /// Set the grace timer to this span from now.
    SetGrace(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// Told to end, while the term is valid.
    Stopping,
    /// Told to end, without a valid term.
    Losing,
    /// Killed, and killed again until nothing is left.
    Killing {
        again: Duration,
    },
}

/// The state of the decisions.
#[derive(Clone, Debug)]
pub struct Plan {
    phase: Phase,
    deadline: u64,
    kill_after: Duration,
    loss_grace: Duration,
}

impl Plan {
    /// COMMAND works, and may until `deadline`.
    pub fn new(deadline: u64, kill_after: Duration, loss_grace: Duration) -> Self {
        Self { phase: Phase::Working, deadline, kill_after, loss_grace }
    }

    /// Takes note of `event` and says what to do, in this order.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Working | Phase::Stopping, Event::Deadline(nanos)) => self.extend(nanos),
            (Phase::Working, Event::Stop | Event::CommandEnded) => {
                self.phase = Phase::Stopping;
                vec![Action::Terminate { wake: true }, Action::SetGrace(self.kill_after)]
            }
            (Phase::Working, Event::Lose | Event::LeaseTimer) => {
                let mut actions = vec![Action::Terminate { wake: false }];
                actions.extend(self.lose());
                actions
            }
            (Phase::Stopping, Event::Lose | Event::LeaseTimer) => self.lose(),
            (Phase::Stopping | Phase::Losing, Event::GraceTimer)
            | (Phase::Losing, Event::LeaseTimer) => self.kill(KILL_AGAIN),
            (Phase::Killing { again }, Event::GraceTimer) => {
                self.kill((again * 2).min(KILL_AGAIN_AT_MOST))
            }
            // A deadline after a loss is among these: what has ended is never revived.
            _ => Vec::new(),
        }
    }

    fn extend(&mut self, nanos: u64) -> Vec<Action> {
        if nanos <= self.deadline {
            return Vec::new();
        }
        self.deadline = nanos;
        vec![Action::SetLease(nanos)]
    }

    /// The grace ends with its span or at its last instant, whichever is first: a guard that was
    /// frozen may have noticed the loss late.
    fn lose(&mut self) -> Vec<Action> {
        self.phase = Phase::Losing;
        let grace = u64::try_from(self.loss_grace.as_nanos()).unwrap_or(u64::MAX);
        let last = self.deadline.saturating_add(grace);
        vec![Action::SetLease(last), Action::SetGrace(self.loss_grace)]
    }

    fn kill(&mut self, again: Duration) -> Vec<Action> {
        self.phase = Phase::Killing { again };
        vec![Action::Kill, Action::SetGrace(again)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL_AFTER: Duration = Duration::from_secs(10);
    const LOSS_GRACE: Duration = Duration::from_nanos(50);

    fn plan() -> Plan {
        Plan::new(100, KILL_AFTER, LOSS_GRACE)
    }

    #[test]
    fn a_later_deadline_counts_and_an_earlier_one_does_not() {
        let mut plan = plan();
        assert_eq!(plan.step(Event::Deadline(200)), [Action::SetLease(200)]);
        assert_eq!(plan.step(Event::Deadline(150)), []);
    }

    #[test]
    fn at_the_deadline_it_terminates_and_kills_after_the_loss_grace() {
        let mut plan = plan();
        let lose = [
            Action::Terminate { wake: false },
            Action::SetLease(150),
            Action::SetGrace(LOSS_GRACE),
        ];
        assert_eq!(plan.step(Event::LeaseTimer), lose);
        assert_eq!(plan.step(Event::Deadline(900)), [], "what has ended is never revived");
        assert_eq!(plan.step(Event::LeaseTimer), [Action::Kill, Action::SetGrace(KILL_AGAIN)]);
    }

    #[test]
    fn a_loss_before_the_deadline_has_its_whole_grace_and_no_more() {
        let mut plan = plan();
        plan.step(Event::Lose);
        assert_eq!(plan.step(Event::GraceTimer)[0], Action::Kill);
    }

    #[test]
    fn on_purpose_it_terminates_and_kills_after_the_long_grace() {
        let mut plan = plan();
        let stop = [Action::Terminate { wake: true }, Action::SetGrace(KILL_AFTER)];
        assert_eq!(plan.step(Event::Stop), stop);
        assert_eq!(plan.step(Event::Stop), [], "told once");
        assert_eq!(plan.step(Event::Deadline(300)), [Action::SetLease(300)]);
        assert_eq!(plan.step(Event::GraceTimer)[0], Action::Kill);
    }

    #[test]
    fn a_loss_while_stopping_shortens_the_grace_without_telling_again() {
        let mut plan = plan();
        plan.step(Event::Stop);
        assert_eq!(
            plan.step(Event::LeaseTimer),
            [Action::SetLease(150), Action::SetGrace(LOSS_GRACE)]
        );
        assert_eq!(plan.step(Event::LeaseTimer)[0], Action::Kill);
    }

    #[test]
    fn what_command_leaves_behind_is_ended_like_command() {
        let mut plan = plan();
        assert_eq!(plan.step(Event::CommandEnded)[0], Action::Terminate { wake: true });
        assert_eq!(plan.step(Event::GraceTimer)[0], Action::Kill);
    }

    #[test]
    fn it_kills_again_with_growing_pauses_until_nothing_is_left() {
        let mut plan = plan();
        plan.step(Event::Lose);
        plan.step(Event::GraceTimer);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            match plan.step(Event::GraceTimer)[..] {
                [Action::Kill, Action::SetGrace(pause)] => pauses.push(pause),
                ref other => panic!("{other:?}"),
            }
        }
        assert!(pauses.is_sorted());
        assert_eq!(pauses[11], KILL_AGAIN_AT_MOST);
    }

    #[test]
    fn a_deadline_at_the_end_of_the_clock_does_not_overflow() {
        let mut plan = Plan::new(u64::MAX, KILL_AFTER, Duration::MAX);
        assert!(plan.step(Event::Lose).contains(&Action::SetLease(u64::MAX)));
    }
}
