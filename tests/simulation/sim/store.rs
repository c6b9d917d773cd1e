//! A store with compare-and-swap, whose reads may show an older state.

use std::collections::VecDeque;

use leaderelection::testing::{ReadReply, WriteReply};
use leaderelection::{Intent, LeaderElectionRecord, Liveness, Observed, Revision};

use super::plan::StorePlan;
use super::rng::Rng;
use super::time::True;

/// How many states are kept for stale views; what is older is not shown any more.
const KEPT: usize = 64;

#[derive(Clone, Debug)]
enum State {
    Absent,
    Record(Observed),
    Corrupt { revision: Revision, nonce: u64 },
}

/// The store, and what stood there before.
#[derive(Clone, Debug)]
pub struct Store {
    plan: StorePlan,
    /// States with the time from which they stood there; the last one stands.
    states: VecDeque<(True, State)>,
    /// Reads that have shown what no longer stood there.
    pub stale_reads: u64,
}

impl Store {
    pub fn new(plan: &StorePlan) -> Self {
        let states = VecDeque::from([(0, State::Absent)]);
        Self { plan: plan.clone(), states, stale_reads: 0 }
    }

    fn current(&self) -> &State {
        // There is always one: the first was never removed without another after it.
        self.states.back().map_or(&State::Absent, |(_, state)| state)
    }

    fn put(&mut self, at: True, state: State) {
        if self.states.len() == KEPT {
            self.states.pop_front();
        }
        self.states.push_back((at, state));
    }

    fn revision(&self) -> Option<Revision> {
        match self.current() {
            State::Absent => None,
            State::Record(observed) => Some(observed.revision),
            State::Corrupt { revision, .. } => Some(*revision),
        }
    }

    pub fn is_corrupt(&self) -> bool {
        matches!(self.current(), State::Corrupt { .. })
    }

    /// What a read shows that is carried out at `at`.
    pub fn read(&mut self, at: True, rng: &mut Rng) -> ReadReply {
        let state = match rng.chance(self.plan.stale) {
            true => self.as_of(at.saturating_sub(rng.spread(1, self.plan.staleness))),
            false => self.current(),
        };
        let is_stale = !std::ptr::eq(state, self.current());
        let reply = match state {
            State::Absent => ReadReply::Absent,
            State::Record(observed) => {
                ReadReply::Found { observed: observed.clone(), liveness: Liveness::Unknown }
            }
            State::Corrupt { revision, nonce } => {
                ReadReply::Corrupt { revision: *revision, nonce: *nonce }
            }
        };
        self.stale_reads += u64::from(is_stale);
        reply
    }

    fn as_of(&self, at: True) -> &State {
        let stood = self.states.iter().rev().find(|(since, _)| *since <= at);
        stood.or(self.states.front()).map_or(&State::Absent, |(_, state)| state)
    }

    /// A write that is carried out at `at`, however old the view that it rests on.
    pub fn write(
        &mut self,
        at: True,
        intent: Intent,
        mut record: LeaderElectionRecord,
        expected: Option<Revision>,
        rng: &mut Rng,
    ) -> WriteReply {
        let found = self.revision();
        if found != expected && !self.plan.blind {
            return WriteReply::Conflict;
        }
        let revision = self.next_revision(rng);
        if intent == Intent::Acquire {
            record.fencing_token = Some(revision.0);
        }
        self.put(at, State::Record(Observed { record, revision, nonce: 0 }));
        WriteReply::Written(revision)
    }

    fn next_revision(&self, rng: &mut Rng) -> Revision {
        let step = if self.plan.gaps { rng.spread(1, 1000) } else { 1 };
        Revision(self.revision().map_or(0, |revision| revision.0) + step)
    }

    /// As a write, and nobody can read what it has written; whether it was carried out.
    pub fn tear(&mut self, at: True, expected: Option<Revision>, rng: &mut Rng) -> bool {
        let fits = self.revision() == expected;
        if fits {
            let revision = self.next_revision(rng);
            self.put(at, State::Corrupt { revision, nonce: rng.next() });
        }
        fits
    }

    /// What stands there becomes unreadable, in its place or as one more write; whether anything
    /// stood there.
    pub fn corrupt(&mut self, at: True, rng: &mut Rng) -> bool {
        let Some(standing) = self.revision() else {
            return false;
        };
        let revision = if rng.chance(500) { standing } else { self.next_revision(rng) };
        self.put(at, State::Corrupt { revision, nonce: rng.next() });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::Plan;
    use leaderelection::Incarnation;
    use std::time::Duration;

    fn store(stale: u64) -> (Store, Rng) {
        let mut rng = Rng::new(1);
        let mut plan = Plan::new(&mut rng, None, None).store;
        (plan.stale, plan.staleness, plan.gaps, plan.blind) = (stale, 1000, false, false);
        (Store::new(&plan), rng)
    }

    fn record() -> LeaderElectionRecord {
        LeaderElectionRecord::new("a", Incarnation(1), Duration::from_secs(15))
    }

    #[test]
    fn of_two_writes_that_expect_one_revision_one_succeeds() {
        let (mut store, mut rng) = store(0);
        let first = store.write(1, Intent::Acquire, record(), None, &mut rng);
        assert_eq!(first, WriteReply::Written(Revision(1)));
        let second = store.write(2, Intent::Acquire, record(), None, &mut rng);
        assert_eq!(second, WriteReply::Conflict);
        let renewal = store.write(3, Intent::Renew, record(), Some(Revision(1)), &mut rng);
        assert_eq!(renewal, WriteReply::Written(Revision(2)));
    }

    #[test]
    fn a_stale_view_shows_what_stood_there() {
        let (mut store, mut rng) = store(1000);
        store.write(10_000, Intent::Acquire, record(), None, &mut rng);
        assert_eq!(store.read(10_000, &mut rng), ReadReply::Absent);
        let seen = store.read(11_000, &mut rng);
        assert!(matches!(seen, ReadReply::Found { .. }), "a view is no older than that: {seen:?}");
    }

    #[test]
    fn what_is_corrupt_has_a_revision_to_supersede() {
        let (mut store, mut rng) = store(0);
        store.write(1, Intent::Acquire, record(), None, &mut rng);
        store.corrupt(2, &mut rng);
        assert!(store.is_corrupt());
        let ReadReply::Corrupt { revision, .. } = store.read(3, &mut rng) else {
            panic!("it can be read");
        };
        let repair = store.write(4, Intent::Acquire, record(), Some(revision), &mut rng);
        assert!(matches!(repair, WriteReply::Written(at) if at > revision));
        assert!(!store.is_corrupt());
        assert!(!store.tear(5, None, &mut rng) && !store.is_corrupt());
        let standing = store.revision();
        assert!(store.tear(5, standing, &mut rng) && store.is_corrupt());
        assert!(store.revision() > standing);
    }
}
