//! Whatever happens, in whatever order: random events and hostile replies, under the checks that
//! the bench makes with every step, and an end in bounded time once the user wants it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const RUNS: u64 = 20_000;
const STEPS: u32 = 60;

struct Chance(SmallRng);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn settings(&mut self) -> Settings {
        let all = [OnSuccess::Hold, OnSuccess::Release, OnSuccess::Complete];
        let limit = 1 + self.below(30_000);
        let timeout = self.below(30_000) * self.below(2);
        Settings {
            term_limit: self.one_in(3).then(|| millis(limit)),
            acquire_timeout: self.one_in(3).then(|| millis(timeout)),
            drain_timeout: millis(self.below(20_000) * self.below(2)),
            on_success: all[self.below(3) as usize],
            ..settings()
        }
    }

    /// Any reply to a read: mostly one that makes sense near `revision`.
    fn seen(&mut self, token: u64, revision: u64) -> ReadReply {
        let near = (revision + self.below(3)).saturating_sub(self.below(2)).max(1);
        let observed = match self.below(8) {
            0..=3 => own(token, self.below(3), near),
            4 => of_kind(RecordKind::Released, own(token, 0, near)),
            5 => others("b", near),
            6 => of_kind(RecordKind::Released, others("b", near)),
            _ if self.one_in(4) => of_kind(RecordKind::Completed, others("b", near)),
            _ => others("a", near),
        };
        match self.below(16) {
            0 => ReadReply::Absent,
            1 => ReadReply::Corrupt { revision: Revision(near), nonce: self.below(2) },
            2 => ReadReply::Unavailable,
            3 if self.one_in(4) => ReadReply::Fatal,
            _ => ReadReply::Found { observed, liveness: self.liveness() },
        }
    }

    fn liveness(&mut self) -> Liveness {
        match self.below(8) {
            0 => Liveness::Dead,
            1..=3 => Liveness::Alive,
            _ => Liveness::Unknown,
        }
    }

    fn write_reply(&mut self, revision: &mut u64) -> WriteReply {
        match self.below(16) {
            0..=8 => {
                *revision += 1;
                WriteReply::Written(Revision(*revision))
            }
            9 | 10 => WriteReply::Conflict,
            11 | 12 => WriteReply::Unavailable,
            13 if self.one_in(4) => WriteReply::Fatal,
            _ => WriteReply::Indeterminate,
        }
    }

    fn event(&mut self, working: bool) -> Event {
        match self.below(24) {
            0 => Event::Task(true),
            1 => Event::Task(false),
            2 => Event::TaskGone,
            3 => Event::Stop,
            4 | 5 if working => Event::WorkReturned { panicked: self.one_in(4) },
            6 if working => Event::ValidityEnded,
            7..=9 => Event::WakeUp,
            _ => Event::Tick,
        }
    }
}

struct Story {
    bench: Bench,
    chance: Chance,
    token: u64,
    revision: u64,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(SmallRng::seed_from_u64(seed));
        let settings = chance.settings();
        let held_back = chance.one_in(4).then(|| chance.below(4000));
        Self { bench: Bench::held_back(settings, held_back), chance, token: 1, revision: 0 }
    }

    fn go_on(&mut self) {
        let replies = self.bench.asked.is_some() && !self.chance.one_in(3);
        match self.bench.asked {
            Some(Asked::Read) if replies => {
                let seen = self.chance.seen(self.token, self.revision);
                self.bench.read(seen);
            }
            Some(Asked::Write(intent, _)) if replies => {
                let reply = self.chance.write_reply(&mut self.revision);
                if let (Intent::Acquire, WriteReply::Written(revision)) = (intent, reply) {
                    self.token = revision.0;
                }
                self.bench.write(reply);
            }
            _ => {
                let event = self.chance.event(self.bench.working);
                self.bench.step(event);
            }
        }
        let later = self.bench.now + self.chance.below(3000) * self.chance.below(2);
        if self.chance.one_in(12) {
            self.bench.frozen_until(later + self.chance.below(20_000));
        } else {
            self.bench.at(later);
        }
    }

    /// The lock hangs for ever, the user stops the run and the work returns.
    fn stop(&mut self) {
        let stopped = self.bench.now;
        self.bench.step(Event::Stop);
        if self.bench.working {
            self.bench.step(Event::WorkReturned { panicked: false });
        }
        // What is left of the validity, and a renew deadline to verify a success.
        self.bench.at(stopped + 21_000);
        assert!(self.bench.finished, "no end: {:?}", self.bench.election);
    }
}

#[test]
fn whatever_happens_every_run_keeps_the_rules_and_ends() {
    let (mut led, mut ends) = (0, std::collections::BTreeMap::new());
    for seed in 0..RUNS {
        let run = std::panic::catch_unwind(|| {
            let mut story = Story::new(seed);
            for _ in 0..STEPS {
                story.go_on();
            }
            story.stop();
            story.bench
        });
        let bench = run.unwrap_or_else(|_| panic!("seed {seed}"));
        led += u32::from(bench.began);
        let end = bench.done.last().map(|end| end.split(',').next().unwrap_or_default().to_owned());
        *ends.entry(end).or_insert(0) += 1;
    }
    assert!(u64::from(led) > RUNS / 4, "{led} of {RUNS} led");
    assert!(ends.len() >= 12, "every way to end is taken: {ends:?}");
}
