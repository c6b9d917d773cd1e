//! True time, which only the simulator knows, and the clock of each node, which is all that a
//! machine is given.

use std::time::Duration;

use leaderelection::testing::Instant;

/// True time, in nanoseconds since the run began.
pub type True = u64;

pub const MICRO: u64 = 1_000;
pub const MILLI: u64 = 1_000 * MICRO;
pub const SECOND: u64 = 1_000 * MILLI;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;

/// A rate of true time, in parts of a million.
pub const TRUE_RATE: u64 = 1_000_000;

/// Whole nanoseconds; nothing simulated is as long as 584 years.
pub fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

/// The clock of a node that counts a suspend: its own beginning, its own rate.
#[derive(Clone, Debug)]
pub struct NodeClock {
    /// Where the present rate began, on both clocks.
    true_from: True,
    local_from: u64,
    rate: u64,
}

impl NodeClock {
    pub fn new(local: u64, rate: u64) -> Self {
        Self { true_from: 0, local_from: local, rate }
    }

    /// What it shows at `at`.
    pub fn local(&self, at: True) -> Instant {
        Instant::from_nanos(self.local_from + scale(at - self.true_from, self.rate, TRUE_RATE))
    }

    /// When it shows `local` for the first time, or the beginning of its present rate if that is
    /// later.
    pub fn true_of(&self, local: Instant) -> True {
        let ahead = local.as_nanos().saturating_sub(self.local_from);
        let elapsed = u128::from(ahead) * u128::from(TRUE_RATE);
        self.true_from + elapsed.div_ceil(u128::from(self.rate)) as u64
    }

    /// Begins anew at `at`: its machine has started again.
    pub fn restart(&mut self, at: True) {
        (self.true_from, self.local_from) = (at, SECOND);
    }

    /// Runs at another rate from `at` on.
    pub fn set_rate(&mut self, at: True, rate: u64) {
        self.local_from = self.local(at).as_nanos();
        self.true_from = at;
        self.rate = rate;
    }
}

fn scale(span: u64, by: u64, of: u64) -> u64 {
    (u128::from(span) * u128::from(by) / u128::from(of)) as u64
}

/// The span of true time in which the slowest clock within the bound counts `span`.
pub fn on_slowest_clock(span: u64, drift: u64) -> u64 {
    scale(span, TRUE_RATE, TRUE_RATE - drift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_an_instant_when_it_says_so_and_not_before() {
        let mut clock = NodeClock::new(7 * HOUR, 950_001);
        clock.set_rate(3, 1_049_999);
        for ahead in [1, 2, 3, 999_999, SECOND, HOUR] {
            let local = clock.local(3) + Duration::from_nanos(ahead);
            let at = clock.true_of(local);
            assert!(clock.local(at) >= local);
            assert!(clock.local(at - 1) < local);
        }
    }

    #[test]
    fn a_change_of_rate_makes_no_step() {
        let mut clock = NodeClock::new(5, 900_000);
        let before = clock.local(10 * SECOND);
        clock.set_rate(10 * SECOND, 1_100_000);
        assert_eq!(clock.local(10 * SECOND), before);
        let later = before + Duration::from_millis(1100);
        assert_eq!(clock.local(11 * SECOND), later);
    }
}
