//! What many runs did, counted.

use std::fmt;

use super::plan::BLOWS;
use super::time::{HOUR, MINUTE};

/// In the order of [`super::plan::RequestFaults`].
const REQUEST_FAULTS: [&str; 6] =
    ["refused", "lost", "reply lost", "carried out late", "hung", "fatal"];

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
    pub corruptions: u64,
    pub pauses_in_a_step: u64,
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
            (&mut self.corruptions, other.corruptions),
            (&mut self.pauses_in_a_step, other.pauses_in_a_step),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        for (sum, more) in self.blows.iter_mut().zip(other.blows) {
            *sum += more;
        }
        for (sum, more) in self.request_faults.iter_mut().zip(other.request_faults) {
            *sum += more;
        }
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }

    pub fn faults(&self) -> u64 {
        let counted: u64 = self.blows.iter().chain(&self.request_faults).sum();
        counted + self.pauses_in_a_step + self.corruptions
    }

    pub fn hours(&self) -> f64 {
        self.simulated as f64 / HOUR as f64
    }
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
        writeln!(f, "faults     {}", self.faults())?;
        let named = BLOWS.iter().map(|blow| format!("{blow:?}")).zip(self.blows);
        let requests = REQUEST_FAULTS.iter().map(|name| (*name).to_owned());
        let others = [
            ("paused in a step".to_owned(), self.pauses_in_a_step),
            ("record corrupted".to_owned(), self.corruptions),
        ];
        for (name, count) in named.chain(requests.zip(self.request_faults)).chain(others) {
            writeln!(f, "           {name:<18} {count:>12}")?;
        }
        let share = self.longest_gap as f64 / 10.0;
        write!(f, "leaderless at most {share:.1} % of the bound, once faults had ended")
    }
}
