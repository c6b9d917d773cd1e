//! The state machine step by step, with made-up instants: a bench drives one machine, and checks
//! with every step what must hold whatever happens.

use super::*;
use crate::config::OnSuccess;

mod anything;
mod campaigning;
mod ending;
mod herd;
mod leading;
mod mended;
mod task_table;
mod timing_out;

/// The candidate under test. Others are told apart by their names.
const OWN: Incarnation = Incarnation(7);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Instants of these tests are milliseconds after this one.
fn at(offset: u64) -> Instant {
    Instant::from_nanos(1_000_000_000_000) + millis(offset)
}

fn offset(instant: Instant) -> u128 {
    instant.since(at(0)).as_millis()
}

/// The defaults: a lease of 15 s, a renew deadline of 10 s, a retry period of 2 s.
fn settings() -> Settings {
    Settings {
        identity: "a".into(),
        metadata: "".into(),
        lease_duration: millis(15_000),
        renew_deadline: millis(10_000),
        retry_period: millis(2_000),
        term_limit: None,
        acquire_timeout: None,
        drain_timeout: millis(15_000),
        on_success: OnSuccess::Hold,
    }
}

/// A record of somebody else with a lease of 15 s, standing at `revision`.
fn others(name: &str, revision: u64) -> Observed {
    let incarnation = Incarnation(1000 + u128::from(name.as_bytes()[0]));
    let mut record = LeaderElectionRecord::new(name, incarnation, millis(15_000));
    record.fencing_token = Some(revision);
    Observed { record, revision: Revision(revision), nonce: 0 }
}

/// A record of the candidate under test, of the term that `token` began.
fn own(token: u64, renewals: u64, revision: u64) -> Observed {
    let mut record = LeaderElectionRecord::new("a", OWN, millis(15_000));
    record.fencing_token = Some(token);
    record.renewals = renewals;
    Observed { record, revision: Revision(revision), nonce: 0 }
}

fn of_kind(kind: RecordKind, observed: Observed) -> Observed {
    Observed { record: observed.record.with_kind(kind), ..observed }
}

#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Read,
    Write(Intent, LeaderElectionRecord),
}

struct Bench {
    election: Election,
    now: u64,
    jitter: Jitter,
    /// What was done and not yet expected.
    done: Vec<String>,
    asked: Option<Asked>,
    valid_until: Option<Instant>,
    began: bool,
    stopped: bool,
    ended: bool,
    working: bool,
    finished: bool,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self::held_back(settings, None)
    }

    fn held_back(settings: Settings, until: Option<u64>) -> Self {
        let mut bench = Self {
            election: Election::new(settings, OWN, at(0), until.map(at)),
            now: 0,
            jitter: Jitter::default(),
            done: Vec::new(),
            asked: None,
            valid_until: None,
            began: false,
            stopped: false,
            ended: false,
            working: false,
            finished: false,
        };
        bench.step(Event::Tick);
        bench
    }

    /// A leader since the instant 0, with token and revision 1.
    fn leading(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.absent().written(1);
        assert!(bench.election.is_leading());
        bench.done.clear();
        bench
    }

    /// A candidate that has seen `observed` at the instant 0.
    fn seeing(settings: Settings, observed: Observed) -> Self {
        let mut bench = Self::new(settings);
        bench.found(observed);
        bench.done.clear();
        bench
    }

    fn step(&mut self, event: Event) -> &mut Self {
        let mut actions = Vec::new();
        if event == (Event::WorkReturned { panicked: false })
            || event == (Event::WorkReturned { panicked: true })
        {
            self.working = false;
        }
        self.election.step(at(self.now), self.jitter, event, &mut actions);
        for action in actions {
            assert!(!self.finished, "{action:?} after the end");
            self.check(&action);
            self.done.push(label(&action));
        }
        let waits_for_work = self.ended && self.working;
        let wakes = self.election.next_deadline().is_some();
        assert!(
            wakes || self.finished || self.asked.is_some() || waits_for_work,
            "sleeps for ever"
        );
        self
    }

    /// What must hold for every action, whatever has happened.
    fn check(&mut self, action: &Action) {
        match action {
            Action::Read { deadline } => {
                assert!(*deadline > at(self.now), "a read without time");
                self.ask(Asked::Read);
            }
            Action::Write { intent, record, deadline, .. } => {
                assert!(*deadline > at(self.now), "a write without time");
                self.check_write(*intent, *deadline);
                self.ask(Asked::Write(*intent, record.clone()));
            }
            Action::BeginTerm { valid_until, .. } => {
                assert!(!self.began, "two terms in one run");
                assert!(*valid_until > at(self.now), "a term begins valid");
                (self.began, self.working) = (true, true);
                self.valid_until = Some(*valid_until);
            }
            Action::Extend { from, until } => {
                assert!(!self.ended && Some(*from) == self.valid_until && from < until);
                assert!(at(self.now) < *from, "validity that has ended is not revived");
                self.valid_until = Some(*until);
            }
            Action::StopWork => {
                assert!(self.began && !self.stopped, "stopped twice, or without a term");
                self.stopped = true;
            }
            Action::EndTerm => {
                assert!(self.stopped && !self.ended, "ended twice, or before the stop signal");
                self.ended = true;
            }
            Action::Lost(_) => assert!(self.began && !self.ended),
            Action::LeaderChanged(_) => {}
            Action::Finish { .. } => {
                assert!(!self.working, "finished while the work runs");
                assert_eq!(self.began, self.ended, "finished with a term that has not ended");
                self.finished = true;
            }
        }
    }

    fn ask(&mut self, asked: Asked) {
        assert_eq!(self.asked, None, "one request at a time");
        self.asked = Some(asked);
    }

    fn check_write(&self, intent: Intent, deadline: Instant) {
        let Some(valid_until) = self.valid_until else {
            return;
        };
        if !self.ended {
            assert!(deadline <= valid_until, "written after the validity");
        }
        match intent {
            Intent::Acquire => panic!("a claim in a term"),
            Intent::Renew => assert!(!self.ended, "renewed after the end"),
            Intent::Release => assert!(self.ended && !self.working, "released too early"),
            Intent::Complete => assert!(self.ended, "completed in a term"),
        }
    }

    /// Lets time pass up to `offset`, and ticks whenever the machine wants it.
    fn at(&mut self, offset: u64) -> &mut Self {
        let mut ticks = 0;
        while let Some(deadline) = self.election.next_deadline().filter(|next| *next <= at(offset))
        {
            let due = u64::try_from(deadline.since(at(0)).as_nanos().div_ceil(1_000_000)).unwrap();
            ticks = if due > self.now { 0 } else { ticks + 1 };
            assert!(ticks < 4, "spins at {} ms: {:?}", self.now, self.election);
            self.now = self.now.max(due);
            self.step(Event::Tick);
        }
        self.now = offset;
        self
    }

    /// The process is frozen up to `offset`: time passes and nothing is stepped.
    fn frozen_until(&mut self, offset: u64) -> &mut Self {
        self.now = offset;
        self
    }

    fn expect(&mut self, actions: &[&str]) -> &mut Self {
        assert_eq!(self.done, actions, "at {} ms", self.now);
        self.done.clear();
        self
    }

    fn expect_nothing(&mut self) -> &mut Self {
        self.expect(&[])
    }

    fn next_deadline(&self) -> Option<u128> {
        self.election.next_deadline().map(offset)
    }

    fn read(&mut self, reply: ReadReply) -> &mut Self {
        assert_eq!(self.asked.take(), Some(Asked::Read), "a reply to no read");
        self.step(Event::Read(reply))
    }

    fn absent(&mut self) -> &mut Self {
        self.read(ReadReply::Absent)
    }

    fn found(&mut self, observed: Observed) -> &mut Self {
        self.read(ReadReply::Found { observed, liveness: Liveness::Unknown })
    }

    fn corrupt(&mut self, revision: u64) -> &mut Self {
        self.read(ReadReply::Corrupt { revision: Revision(revision), nonce: 0 })
    }

    fn write(&mut self, reply: WriteReply) -> &mut Self {
        assert!(matches!(self.asked.take(), Some(Asked::Write(..))), "a reply to no write");
        self.step(Event::Written(reply))
    }

    fn written(&mut self, revision: u64) -> &mut Self {
        self.write(WriteReply::Written(Revision(revision)))
    }

    fn task(&mut self, success: bool) -> &mut Self {
        self.step(Event::Task(success))
    }

    fn work_returned(&mut self) -> &mut Self {
        self.step(Event::WorkReturned { panicked: false })
    }

    /// The record that is being written.
    fn record(&self) -> &LeaderElectionRecord {
        match &self.asked {
            Some(Asked::Write(_, record)) => record,
            other => panic!("no write is under way: {other:?}"),
        }
    }
}

fn label(action: &Action) -> String {
    match action {
        Action::Read { .. } => "read".to_owned(),
        Action::Write { intent, record, expected, .. } => {
            let what = match intent {
                Intent::Acquire => "acquire".to_owned(),
                Intent::Renew => format!("renew #{}", record.renewals),
                Intent::Release => "release".to_owned(),
                Intent::Complete => "complete".to_owned(),
            };
            let over = expected.map_or("nothing".to_owned(), |revision| revision.to_string());
            format!("{what} over {over}")
        }
        Action::BeginTerm { fencing_token, valid_until } => {
            format!("begin {fencing_token} until {}", offset(*valid_until))
        }
        Action::Extend { until, .. } => format!("extend until {}", offset(*until)),
        Action::StopWork => "stop work".to_owned(),
        Action::EndTerm => "end term".to_owned(),
        Action::LeaderChanged(Some(leader)) => format!("leader {leader}"),
        Action::LeaderChanged(None) => "no leader".to_owned(),
        Action::Lost(reason) => format!("lost {reason:?}"),
        Action::Finish { end, hold_back_until } => {
            let end = match end {
                End::Outcome(outcome) => format!("{outcome:?}"),
                other => format!("{other:?}"),
            };
            let until = hold_back_until.map(|until| format!(", hold back until {}", offset(until)));
            format!("finish {end}{}", until.unwrap_or_default())
        }
    }
}
