//! One candidate alone on a file system: its renewals, and acquiring and releasing.

use std::fs::File;
use std::io;
use std::time::Duration;

use leaderelection::FileLock;
use leaderelection::testing::Clock;

use crate::Effort;
use crate::clock::time;
use crate::machine::Machine;
use crate::place::{self, Place};
use crate::raw::{Directory, lock_and_unlock};
use crate::report::{Kind, Report};

/// The default.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("files", effort);
    for place in [place::memory()?, place::disk()?] {
        renewals(&mut report, effort, &place)?;
        for durable in [false, true] {
            acquisitions(&mut report, effort, &place, durable)?;
        }
    }
    report.save()
}

fn renewals(report: &mut Report, effort: Effort, place: &Place) -> io::Result<()> {
    let case = format!("renewal, {}", place.name);
    let mut directory = Directory::make(&place.fresh())?;
    directory.create()?;
    let raw = effort.series(|| timed(|| directory.link_and_unlink()))?;
    report.add(&case, "link + unlink", Kind::Limit, &raw);
    let clock = Clock::simulated();
    let mut machine = Machine::leading(open(place, &clock, true)?);
    let own = effort.series(|| {
        clock.advance(RETRY_PERIOD);
        Ok(time(|| machine.renew()))
    })?;
    report.add(&case, "machine + FileLock", Kind::Own, &own);
    Ok(())
}

fn acquisitions(
    report: &mut Report,
    effort: Effort,
    place: &Place,
    durable: bool,
) -> io::Result<()> {
    let how = if durable { "durable" } else { "not durable" };
    let case = format!("acquire + release, {}, {how}", place.name);
    let mut directory = Directory::make(&place.fresh())?;
    let raw = effort.series(|| timed(|| directory.claim_and_release(durable)))?;
    report.add(&case, "the same system calls", Kind::Limit, &raw);
    let clock = Clock::simulated();
    let mut machine = Machine::leading(open(place, &clock, durable)?);
    machine.release();
    let own = effort.series(|| {
        clock.advance(RETRY_PERIOD);
        Ok(time(|| {
            machine.campaign();
            machine.release();
        }))
    })?;
    report.add(&case, "machine + FileLock", Kind::Own, &own);
    let file = File::create(place.fresh())?;
    let flock = effort.series(|| timed(|| lock_and_unlock(&file)))?;
    report.add(&case, "flock in process (fs2)", Kind::Peer, &flock);
    Ok(())
}

/// Its clock says when a name is old enough to be removed, so that this is a part of the cost.
fn open(place: &Place, clock: &Clock, durable: bool) -> io::Result<FileLock> {
    let options = FileLock::options().clock(clock.clone()).durable(durable);
    options.open(place.fresh()).map_err(io::Error::other)
}

/// How long `work` takes, if it succeeds.
fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<u64> {
    let mut result = Ok(());
    let span = time(|| result = work());
    result.map(|()| span)
}
