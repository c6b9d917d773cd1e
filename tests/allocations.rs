//! A renewal allocates nothing in the state machine, nor does a look at a lock that another holds.

use std::time::Duration;

use allocation_counter::measure;
use leaderelection::testing::{
    Action, Election, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{
    Incarnation, Intent, LeaderElectionRecord, Liveness, Observed, OnSuccess, Revision,
};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        identity: "a".into(),
        metadata: "host:4711".into(),
        lease_duration: SECOND * 15,
        renew_deadline: SECOND * 10,
        retry_period: SECOND * 2,
        term_limit: None,
        acquire_timeout: None,
        drain_timeout: SECOND * 15,
        on_success: OnSuccess::Hold,
    }
}

/// A machine, and the latest of its actions.
struct Bench {
    now: Instant,
    election: Election,
    actions: Vec<Action>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_nanos(1);
        let election = Election::new(settings(), Incarnation(1), now, None);
        Self { now, election, actions: Vec::with_capacity(16) }
    }

    fn step(&mut self, event: Event) {
        self.actions.clear();
        self.election.step(self.now, Jitter(7), event, &mut self.actions);
    }

    fn tick(&mut self) {
        self.now = self.election.next_deadline().expect("it waits for time");
        self.step(Event::Tick);
    }
}

#[test]
fn a_renewal_allocates_nothing() {
    let mut bench = Bench::new();
    bench.step(Event::Tick);
    bench.step(Event::Read(ReadReply::Absent));
    if bench.actions.is_empty() {
        bench.tick();
    }
    bench.step(Event::Written(WriteReply::Written(Revision(1))));
    assert!(bench.election.is_leading());
    let counted = measure(|| {
        for revision in 2..1_000 {
            bench.tick();
            let renews =
                |action: &Action| matches!(action, Action::Write { intent: Intent::Renew, .. });
            assert!(bench.actions.iter().any(renews));
            bench.step(Event::Written(WriteReply::Written(Revision(revision))));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_look_at_a_lock_that_another_holds_allocates_nothing() {
    let mut bench = Bench::new();
    let mut record = LeaderElectionRecord::new("b", Incarnation(2), SECOND * 15);
    record.fencing_token = Some(1);
    let look = |bench: &mut Bench, revision| {
        let observed = Observed { record: record.clone(), revision: Revision(revision), nonce: 0 };
        bench.step(Event::Read(ReadReply::Found { observed, liveness: Liveness::Unknown }));
        bench.tick();
        assert!(matches!(bench.actions[..], [Action::Read { .. }]));
    };
    bench.step(Event::Tick);
    look(&mut bench, 1);
    let counted = measure(|| (2..1_000).for_each(|revision| look(&mut bench, revision)));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_count_can_fail() {
    assert_eq!(measure(|| drop(Box::new(7))).count_total, 1);
}
