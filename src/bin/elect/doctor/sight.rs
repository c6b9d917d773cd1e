//! What one process sees of what another does: locks, names that were absent, answers.

use std::time::Duration;

use leaderelection::Stopwatch;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::findings::{Appearance, SecondLock};
use super::place::{Place, errno_name, own_name, pause};
use super::worker::{Outcome, Worker, failed};

/// The file that is locked.
const LOCKED: &str = "locked";

/// A folder that nobody lists but who waits for its name: listing a folder makes a client look
/// again.
const QUIET: &str = "quiet";

/// The name that appears.
const APPEARS: &str = "appears";

/// How long a plain look may take to see a new name, before the directory is listed.
const PLAIN: Duration = Duration::from_secs(3);

/// How long a look after a listing may take.
const LISTED: Duration = Duration::from_secs(10);

/// Between two looks.
const POLL: Duration = Duration::from_micros(500);

/// Takes a file's lock and keeps it.
pub fn hold_flock(worker: &mut Worker, place: &Place) -> Outcome {
    let directory = failed("open", place, place.open())?;
    // Over NFSv4 an exclusive lock needs a file that is open for writing.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(&directory.0, LOCKED, flags, Mode::RUSR | Mode::WUSR);
    let file = failed("create a file in", place, file)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => worker.locked = Some(file),
        Err(errno) => {
            // So that nobody takes the lock for one that is held and not seen.
            failed("remove a file in", place, directory.remove(LOCKED))?;
            worker.findings.flock_here.push(SecondLock::Failed(errno_name(errno)));
        }
    }
    Ok(())
}

/// Tries to take it as well.
pub fn try_flock(worker: &mut Worker, place: &Place, elsewhere: bool) -> Outcome {
    let seen = match second_lock(place) {
        Ok(()) => SecondLock::Granted,
        Err(Errno::WOULDBLOCK) => SecondLock::Refused,
        Err(errno) => SecondLock::Failed(errno_name(errno)),
    };
    match elsewhere {
        true => worker.findings.flock_elsewhere.push(seen),
        false => worker.findings.flock_here.push(seen),
    }
    Ok(())
}

fn second_lock(place: &Place) -> Result<(), Errno> {
    let directory = place.open()?;
    directory.list()?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(&directory.0, LOCKED, flags, Mode::empty())?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
}

/// Sees that the name is absent, as a client may remember.
pub fn look_absent(place: &Place) -> Outcome {
    let folder = place.child(QUIET);
    folder.make().map_err(|error| format!("cannot make {}: {error}", folder.path.display()))?;
    failed("list", &folder, folder.list())?;
    failed("read a name in", &folder, folder.look_plainly(APPEARS)).map(drop)
}

/// Creates the name.
pub fn appear(place: &Place) -> Outcome {
    let folder = place.child(QUIET);
    let created = folder.open().and_then(|open| open.symlink("here", APPEARS));
    failed("create a symbolic link in", &folder, own_name(created))
}

/// Looks for it plainly, then after listing the directory.
pub fn await_appearance(worker: &mut Worker, place: &Place, elsewhere: bool) -> Outcome {
    let folder = place.child(QUIET);
    let watch = Stopwatch::start();
    let mut appearance = Appearance { elsewhere, ..Appearance::default() };
    while watch.elapsed() < PLAIN && appearance.plain_micros.is_none() {
        if matches!(folder.look_plainly(APPEARS), Ok(Some(_))) {
            appearance.plain_micros = Some(micros(watch.elapsed()));
        }
        pause(POLL);
    }
    let watch = Stopwatch::start();
    while watch.elapsed() < LISTED && appearance.listed_micros.is_none() {
        let looked = folder.open().and_then(|open| {
            open.list()?;
            open.text(APPEARS)
        });
        if matches!(looked, Ok(Some(_))) {
            appearance.listed_micros = Some(micros(watch.elapsed()));
        }
        pause(POLL);
    }
    worker.findings.appearances.push(appearance);
    Ok(())
}

/// Creates names and waits for the answer to each; how long each took, in microseconds.
pub fn ping(place: &Place, name: &str, rounds: usize, span: Duration) -> Result<Vec<u64>, String> {
    let all = Stopwatch::start();
    let mut times = Vec::new();
    for round in 0..rounds {
        let left = span.saturating_sub(all.elapsed());
        let watch = Stopwatch::start();
        say(place, &format!("ping.{name}.{round}"))?;
        if !hear(place, &format!("pong.{name}.{round}"), left) {
            break;
        }
        times.push(micros(watch.elapsed()));
    }
    // So that nobody waits for more of them.
    say(place, &format!("over.{name}"))?;
    Ok(times)
}

/// Answers each name as soon as it is seen.
pub fn pong(place: &Place, name: &str, rounds: usize, span: Duration) -> Outcome {
    let all = Stopwatch::start();
    for round in 0..rounds {
        let ping = format!("ping.{name}.{round}");
        loop {
            if hear(place, &ping, Duration::from_millis(200)) {
                say(place, &format!("pong.{name}.{round}"))?;
                break;
            }
            let over = matches!(place.look(&format!("over.{name}")), Ok(Some(_)));
            if over || all.elapsed() > span {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn say(place: &Place, name: &str) -> Outcome {
    let said = place.open().and_then(|open| open.symlink("x", name));
    failed("create a symbolic link in", place, own_name(said))
}

/// Looks as a candidate does: opens the directory, then reads the next name; now and then lists.
fn hear(place: &Place, name: &str, wait: Duration) -> bool {
    let watch = Stopwatch::start();
    let mut looks = 0_u32;
    loop {
        if matches!(place.look(name), Ok(Some(_))) {
            return true;
        }
        looks += 1;
        if looks.is_multiple_of(20) {
            let _ = place.list();
        }
        if watch.elapsed() > wait {
            return false;
        }
        pause(POLL);
    }
}

/// Whole microseconds.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let (mut holder, mut other) = (Worker::default(), Worker::default());
        hold_flock(&mut holder, &place).unwrap();
        try_flock(&mut other, &place, true).unwrap();
        holder.locked = None;
        try_flock(&mut other, &place, false).unwrap();
        assert_eq!(other.findings.flock_elsewhere, [SecondLock::Refused]);
        assert_eq!(other.findings.flock_here, [SecondLock::Granted]);
    }

    #[test]
    fn an_absent_name_appears_and_pings_are_answered() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let mut worker = Worker::default();
        look_absent(&place).unwrap();
        appear(&place).unwrap();
        await_appearance(&mut worker, &place, false).unwrap();
        let seen = &worker.findings.appearances[0];
        assert!(seen.plain_micros.is_some() && seen.listed_micros.is_some(), "{seen:?}");
        let span = Duration::from_secs(30);
        let times = std::thread::scope(|scope| {
            scope.spawn(|| pong(&place, "x", 5, span).unwrap());
            ping(&place, "x", 5, span).unwrap()
        });
        assert_eq!(times.len(), 5);
    }
}
