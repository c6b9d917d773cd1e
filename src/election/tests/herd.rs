//! Hundreds of candidates for one lease: how many try at once when it becomes free, and how long it
//! stays free.
//!
//! As bad as it gets: every machine has a processor of its own, and all are woken within a moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// From the sending of a read to what it sees and says.
const READ: u64 = 100_000;
/// From the sending of a claim to its listing, and to the creation that decides.
const LIST: u64 = 50_000;
const CLAIM: u64 = 200_000;
/// All are woken within this time of a change.
const WOKEN: u64 = 200_000;
/// How long each leads.
const TERM: u64 = 500_000_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Wake(usize),
    Tick(usize),
    Reads(usize),
    Lists(usize, u64),
    Creates(usize, u64),
    Releases(usize),
}

struct Herd {
    now: u64,
    machines: Vec<Option<Election>>,
    /// The tick that each has asked for last; others are void.
    ticks: Vec<u64>,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    count: u64,
    rng: u64,
    revision: u64,
    holder: Option<usize>,
    free_since: u64,
    creations: usize,
    /// For each term: how many had tried to create its record, and how long the lock was free.
    terms: Vec<(usize, Duration)>,
    setting: Setting,
}

/// How terms end, and who hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    /// By a release; if not, by a crash.
    released: bool,
    /// All are woken by each change; if not, they look when it is their time.
    woken: bool,
}

const LEASE: Duration = Duration::from_secs(15);

impl Herd {
    fn new(machines: usize, setting: Setting) -> Self {
        let start = Instant::from_nanos(0);
        let machine =
            |number| Some(Election::new(settings(), Incarnation(number as u128 + 1), start, None));
        let mut herd = Self {
            now: 0,
            machines: (0..machines).map(machine).collect(),
            ticks: vec![0; machines],
            due: BinaryHeap::new(),
            count: 0,
            rng: 7,
            revision: 1,
            holder: Some(0),
            free_since: 0,
            creations: 0,
            terms: Vec::new(),
            setting,
        };
        // The first leads from outside; the others find it.
        herd.machines[0] = None;
        for machine in 1..machines {
            let at = herd.random(2_000_000_000);
            herd.ticks[machine] = at;
            herd.plan(at, Due::Tick(machine));
        }
        if setting.released {
            herd.plan(10_000_000_000, Due::Releases(0));
        }
        herd
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.rng >> 33) % below
    }

    fn plan(&mut self, after: u64, due: Due) {
        self.count += 1;
        self.due.push(Reverse((self.now + after, self.count, due)));
    }

    fn run(&mut self, terms: usize) {
        while self.terms.len() < terms {
            let Reverse((at, _, due)) = self.due.pop().expect("somebody waits");
            self.now = at;
            match due {
                Due::Wake(machine) => self.step(machine, Event::WakeUp),
                Due::Tick(machine) if self.ticks[machine] != at => {}
                Due::Tick(machine) => self.step(machine, Event::Tick),
                Due::Reads(machine) => self.step(machine, Event::Read(self.seen())),
                Due::Lists(machine, expected) if expected == self.revision => {
                    self.creations += 1;
                    self.plan(CLAIM - LIST, Due::Creates(machine, expected));
                }
                Due::Creates(machine, expected) if expected == self.revision => self.won(machine),
                Due::Lists(machine, _) | Due::Creates(machine, _) => {
                    self.step(machine, Event::Written(WriteReply::Conflict));
                }
                Due::Releases(machine) => {
                    self.machines[machine] = None;
                    self.holder = None;
                    self.free_since = self.now;
                    self.changed();
                }
            }
        }
    }

    fn seen(&self) -> ReadReply {
        let holder = self.holder.unwrap_or(0);
        let record =
            LeaderElectionRecord::new("b", Incarnation(holder as u128 + 1), millis(15_000));
        let kind = if self.holder.is_some() { RecordKind::Held } else { RecordKind::Released };
        let revision = Revision(self.revision);
        let observed = Observed { record: record.with_kind(kind), revision, nonce: 0 };
        ReadReply::Found { observed, liveness: Liveness::Unknown }
    }

    fn changed(&mut self) {
        self.revision += 1;
        for machine in 0..self.machines.len() {
            if self.setting.woken && self.machines[machine].is_some() {
                let after = self.random(WOKEN);
                self.plan(after, Due::Wake(machine));
            }
        }
    }

    fn won(&mut self, machine: usize) {
        self.terms.push((self.creations, Duration::from_nanos(self.now - self.free_since)));
        self.creations = 0;
        self.holder = Some(machine);
        self.machines[machine] = None;
        self.changed();
        if self.setting.released {
            self.plan(TERM, Due::Releases(machine));
        } else {
            self.free_since = self.now + LEASE.as_nanos() as u64;
        }
    }

    fn step(&mut self, machine: usize, event: Event) {
        let jitter = Jitter(self.random(1 << 31) as u32 * 2);
        let now = Instant::from_nanos(self.now);
        let Some(election) = &mut self.machines[machine] else { return };
        let mut actions = Vec::new();
        election.step(now, jitter, event, &mut actions);
        let next = election.next_deadline();
        for action in actions {
            match action {
                Action::Read { .. } => self.plan(READ, Due::Reads(machine)),
                Action::Write { expected, .. } => {
                    self.plan(LIST, Due::Lists(machine, expected.unwrap().0));
                }
                _ => {}
            }
        }
        if let Some(next) = next {
            let after = next.since(now).as_nanos() as u64;
            self.ticks[machine] = self.now + after;
            self.plan(after, Due::Tick(machine));
        }
    }
}

/// What came of `terms` terms: the most creations for one, and the longest that the lock was free.
fn worst(terms: &[(usize, Duration)]) -> (usize, Duration) {
    let creations = terms.iter().map(|(creations, _)| *creations).max();
    let free = terms.iter().map(|(_, free)| *free).max();
    (creations.unwrap_or_default(), free.unwrap_or_default())
}

#[test]
fn of_hundreds_that_are_woken_by_each_release_soon_few_try_at_once() {
    let mut herd = Herd::new(512, Setting { released: true, woken: true });
    herd.run(60);
    // At first all that are woken before the first has claimed.
    assert!(worst(&herd.terms[..1]).0 > 100);
    let settled = &herd.terms[30..];
    let (most, longest) = worst(settled);
    let creations: usize = settled.iter().map(|(creations, _)| creations).sum();
    assert!(most <= 16 && creations <= 10 * settled.len(), "{settled:?}");
    assert!(longest <= millis(2), "{settled:?}");
}

#[test]
fn hundreds_that_only_look_now_and_then_are_no_herd() {
    let mut herd = Herd::new(512, Setting { released: true, woken: false });
    herd.run(40);
    let (most, longest) = worst(&herd.terms);
    assert!(most <= 3 && longest <= millis(100), "{:?}", herd.terms);
}

#[test]
fn hundreds_that_time_one_expiry_are_no_herd() {
    for woken in [true, false] {
        let mut herd = Herd::new(512, Setting { released: false, woken });
        herd.run(10);
        let later = &herd.terms[1..];
        let (most, longest) = worst(later);
        let limit = if woken { millis(40) } else { settings().retry_period * 2 };
        assert!(most <= 12 && longest <= limit, "{later:?}");
    }
}

#[test]
fn who_waits_alone_claims_what_is_released_at_once() {
    let mut herd = Herd::new(2, Setting { released: true, woken: true });
    herd.run(1);
    assert!(herd.terms[0].1 <= Duration::from_nanos(WOKEN + READ + CLAIM), "{:?}", herd.terms);
}
