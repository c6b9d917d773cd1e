//! Paths that touch no file: is it the leader, and a renewal in memory.

use std::hint::black_box;
use std::io;

use leaderelection::testing::Clock;
use leaderelection::{Config, LeaderElector, MemoryLock};

use crate::Effort;
use crate::machine::Machine;
use crate::report::{Kind, Report};
use crate::stats::Series;

/// From the optimizer, which would leave out what nobody reads.
fn hide(value: impl Copy) {
    let _ = black_box(value);
}

/// Calls in a row for one measurement.
const BATCH: u32 = 10_000;

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("code", effort);
    let elector = LeaderElector::new(Config::new(MemoryLock::new())).map_err(io::Error::other)?;
    let leadership = elector.campaign().map_err(io::Error::other)?;
    let (clock, term) = (Clock::system(), leadership.term().clone());
    let rounds = effort.rounds;
    let series = Series::of_batches(rounds, BATCH, || hide(clock.now()));
    report.add("do I lead", "clock read", Kind::Limit, &series);
    let series = Series::of_batches(rounds, BATCH, || hide(elector.is_leader()));
    report.add("do I lead", "is_leader", Kind::Own, &series);
    let series = Series::of_batches(rounds, BATCH, || hide(term.is_valid()));
    report.add("do I lead", "Term::is_valid", Kind::Own, &series);
    let mut machine = Machine::leading(MemoryLock::new());
    let series = Series::of_batches(rounds, BATCH, || machine.renew());
    report.add("renewal in memory", "state machine, MemoryLock", Kind::Own, &series);
    report.save()
}
