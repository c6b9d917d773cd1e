//! The deadlines of many elections in order, at most one of each.
//!
//! It must not know what is due then.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Instant;
use crate::elector::inbox::SeatId;

/// When to look at which election. One that has moved its deadline to later is looked at once too
/// often, rather than moved in here.
#[derive(Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, SeatId)>);

impl Deadlines {
    pub(super) fn add(&mut self, at: Instant, id: SeatId) {
        self.0.insert((at, id));
    }

    pub(super) fn remove(&mut self, at: Instant, id: SeatId) {
        self.0.remove(&(at, id));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Moves those that are due by `now` to `due`.
    pub(super) fn take(&mut self, now: Instant, due: &mut Vec<(Instant, SeatId)>) {
        while self.next().is_some_and(|at| at <= now) {
            due.extend(self.0.pop_first());
        }
    }
}

/// The last instant of its `grain`, so that what is due at nearly the same time is taken together.
pub(super) fn rounded_up(at: Instant, grain: Duration) -> Instant {
    let grain = u64::try_from(grain.as_nanos()).unwrap_or(u64::MAX).max(1);
    match at.as_nanos().div_ceil(grain).checked_mul(grain) {
        Some(nanos) => Instant::from_nanos(nanos),
        None => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_nothing_else() {
        let at = Instant::from_nanos;
        let mut deadlines = Deadlines::default();
        for (nanos, id) in [(30, 1), (10, 2), (20, 3), (10, 4)] {
            deadlines.add(at(nanos), id);
        }
        let mut due = Vec::new();
        deadlines.take(at(20), &mut due);
        assert_eq!(due, [(at(10), 2), (at(10), 4), (at(20), 3)]);
        assert_eq!(deadlines.next(), Some(at(30)));
        deadlines.add(at(25), 5);
        deadlines.remove(at(30), 1);
        assert_eq!((deadlines.next(), deadlines.len()), (Some(at(25)), 1));
    }

    #[test]
    fn rounding_never_makes_it_earlier() {
        let grain = Duration::from_nanos(5);
        let rounded = [0, 1, 5, 6].map(|nanos| rounded_up(Instant::from_nanos(nanos), grain));
        assert_eq!(rounded.map(Instant::as_nanos), [0, 5, 5, 10]);
        let last = Instant::from_nanos(u64::MAX);
        assert_eq!(rounded_up(last, Duration::from_nanos(2)), last);
        assert_eq!(rounded_up(last, Duration::ZERO), last);
    }
}
