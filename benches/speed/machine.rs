//! The election's state machine on a lock, without threads: what a renewal costs by itself.

use std::time::Duration;

use leaderelection::testing::{
    Action, Election, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{Incarnation, Lock, OnSuccess};

/// A machine, and its lock.
pub struct Machine<L> {
    election: Election,
    lock: L,
    now: Instant,
    actions: Vec<Action>,
    leads: bool,
}

impl<L: Lock> Machine<L> {
    /// One that has just won the lock.
    pub fn leading(lock: L) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let election = new_election(now);
        let mut machine = Self { election, lock, now, actions: Vec::new(), leads: false };
        machine.campaign();
        machine
    }

    /// Looks, and claims what nobody holds.
    pub fn campaign(&mut self) {
        self.election = new_election(self.now);
        self.step(Event::Tick);
        assert!(self.leads, "nobody else wants the lock");
    }

    /// One retry period later: a renewal, sent and confirmed.
    pub fn renew(&mut self) {
        self.now = self.now + RETRY_PERIOD;
        self.step(Event::Tick);
    }

    /// Ends the term and gives the lock up.
    pub fn release(&mut self) {
        self.step(Event::Stop);
        self.step(Event::WorkReturned { panicked: false });
        assert!(!self.leads, "nothing holds the term");
    }

    fn step(&mut self, event: Event) {
        self.election.step(self.now, Jitter(0), event, &mut self.actions);
        // No event waits in a variable: to move one costs a tenth of a renewal in memory.
        while let Some(asked) = self.carry_out() {
            let event = match asked {
                Asked::Read => read(&mut self.lock),
                Asked::Written(reply) => Event::Written(reply),
            };
            self.election.step(self.now, Jitter(0), event, &mut self.actions);
        }
    }

    fn carry_out(&mut self) -> Option<Asked> {
        let mut asked = None;
        for action in &self.actions {
            match action {
                Action::Read { .. } => asked = Some(Asked::Read),
                Action::Write { intent, record, expected, .. } => {
                    let written = self.lock.write(*intent, record, *expected, BUDGET);
                    // After the answer is passed on, and yet a part of the cost.
                    self.lock.tidy();
                    let reply = written.map_or(WriteReply::Fatal, WriteReply::Written);
                    asked = Some(Asked::Written(reply));
                }
                Action::BeginTerm { .. } => self.leads = true,
                Action::Finish { .. } => self.leads = false,
                Action::Lost(reason) => panic!("lost the lock of a benchmark: {reason:?}"),
                _ => {}
            }
        }
        self.actions.clear();
        asked
    }
}

/// What the lock was asked, at most one thing at a time.
enum Asked {
    Read,
    Written(WriteReply),
}

fn new_election(now: Instant) -> Election {
    Election::new(settings(), Incarnation(7), now, None)
}

const BUDGET: Duration = Duration::from_secs(5);
const RETRY_PERIOD: Duration = Duration::from_secs(2);

fn read(lock: &mut impl Lock) -> Event {
    Event::Read(match lock.get(BUDGET) {
        Ok(None) => ReadReply::Absent,
        Ok(Some(observed)) => {
            ReadReply::Found { observed, liveness: leaderelection::Liveness::Unknown }
        }
        Err(_) => ReadReply::Fatal,
    })
}

fn settings() -> Settings {
    Settings {
        identity: "benchmark".into(),
        metadata: "".into(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: RETRY_PERIOD,
        term_limit: None,
        acquire_timeout: None,
        drain_timeout: Duration::from_secs(15),
        on_success: OnSuccess::Release,
    }
}
