//! What many runs did, counted.

use std::fmt;

use super::check::RULES;
use super::plan::BLOWS;
use super::time::{HOUR, MINUTE};

/// In the order of [`super::plan::RequestFaults`].
const REQUEST_FAULTS: [&str; 6] =
    ["refused", "lost", "reply lost", "carried out late", "hung", "fatal"];

/// What happens beside blows and failing requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    PauseInAStep,
    /// The record becomes unreadable by itself.
    Decay,
    /// A write leaves something unreadable.
    TornWrite,
    /// A view that is not what stands there.
    StaleRead,
    /// A listing that shows some of what is made or removed meanwhile, or does not.
    TornListing,
    /// A system call that was given up is carried out twice.
    CarriedOutTwice,
    WakeUpLost,
    WakeUpLate,
    /// Work that goes on when its process is gone.
    Orphan,
    /// Work that ignores its stop signal for long.
    StubbornWork,
    WorkPanics,
}

pub const EXTRAS: [Extra; 11] = [
    Extra::PauseInAStep,
    Extra::Decay,
    Extra::TornWrite,
    Extra::StaleRead,
    Extra::TornListing,
    Extra::CarriedOutTwice,
    Extra::WakeUpLost,
    Extra::WakeUpLate,
    Extra::Orphan,
    Extra::StubbornWork,
    Extra::WorkPanics,
];

#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub seeds: u64,
    /// Simulated time, in nanoseconds.
    pub simulated: u64,
    pub events: u64,
    pub steps: u64,
    pub requests: u64,
    /// System calls of file locks.
    pub calls: u64,
    pub commits: u64,
    pub runs: u64,
    pub terms: u64,
    pub take_overs: u64,
    pub lost: u64,
    pub completed: u64,
    /// Times that a candidate was told of a change.
    pub wake_ups: u64,
    /// Reads that came with a proof of the holder's death, and claims that went by one.
    pub proofs: u64,
    extras: [u64; EXTRAS.len()],
    /// Checks that were made, in the order of [`RULES`].
    pub checked: [u64; RULES.len()],
    pub blows: [u64; BLOWS.len()],
    pub request_faults: [u64; 6],
    /// The longest time without a leader in a calm, in thousandths of what is allowed.
    pub longest_gap: u64,
}

impl Stats {
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.seeds, other.seeds),
            (&mut self.simulated, other.simulated),
            (&mut self.events, other.events),
            (&mut self.steps, other.steps),
            (&mut self.requests, other.requests),
            (&mut self.calls, other.calls),
            (&mut self.commits, other.commits),
            (&mut self.runs, other.runs),
            (&mut self.terms, other.terms),
            (&mut self.take_overs, other.take_overs),
            (&mut self.lost, other.lost),
            (&mut self.completed, other.completed),
            (&mut self.wake_ups, other.wake_ups),
            (&mut self.proofs, other.proofs),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        let others = other.blows.iter().chain(&other.request_faults).chain(&other.extras);
        let own = self.blows.iter_mut().chain(&mut self.request_faults).chain(&mut self.extras);
        for (sum, more) in own.zip(others).chain(self.checked.iter_mut().zip(&other.checked)) {
            *sum += more;
        }
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }

    pub fn count(&mut self, extra: Extra, times: u64) {
        self.extras[extra as usize] += times;
    }

    /// Each kind of fault with its name, and how often there was one.
    pub fn faults(&self) -> impl Iterator<Item = (String, u64)> {
        let blows = BLOWS.iter().map(|blow| in_words(&format!("{blow:?}"))).zip(self.blows);
        let requests = REQUEST_FAULTS.iter().map(|name| format!("request {name}"));
        let extras = EXTRAS.iter().map(|extra| in_words(&format!("{extra:?}")));
        blows.chain(requests.zip(self.request_faults)).chain(extras.zip(self.extras))
    }

    pub fn hours(&self) -> f64 {
        self.simulated as f64 / HOUR as f64
    }
}

/// `TornWrite` as `torn write`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The sum, and below it what it consists of, in two columns.
fn table(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    counts: impl Iterator<Item = (String, u64)>,
) -> fmt::Result {
    let counts: Vec<(String, u64)> = counts.collect();
    writeln!(f, "{name:<10} {}", counts.iter().map(|(_, count)| count).sum::<u64>())?;
    for pair in counts.chunks(2) {
        f.write_str("          ")?;
        for (name, count) in pair {
            write!(f, " {name:<26} {count:>14}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.simulated / MINUTE;
        writeln!(f, "seeds      {} ({:.1} hours, {minutes} minutes)", self.seeds, self.hours())?;
        writeln!(
            f,
            "work       {} events, {} steps, {} requests, {} writes, {} system calls",
            self.events, self.steps, self.requests, self.commits, self.calls
        )?;
        writeln!(
            f,
            "elections  {} runs, {} terms, {} take-overs, {} leases lost, {} tasks completed",
            self.runs, self.terms, self.take_overs, self.lost, self.completed
        )?;
        writeln!(
            f,
            "fast path  {} wake-ups, {} proofs of a holder's death",
            self.wake_ups, self.proofs
        )?;
        table(f, "faults", self.faults())?;
        let rules = RULES.iter().map(|rule| in_words(&format!("{rule:?}")));
        table(f, "checks", rules.zip(self.checked))?;
        let share = self.longest_gap as f64 / 10.0;
        write!(f, "leaderless at most {share:.1} % of the bound, once faults had ended")
    }
}
