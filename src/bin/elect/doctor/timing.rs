//! How long each call takes that the lock makes, while every other worker makes them as well.

use std::time::Duration;

use leaderelection::Stopwatch;
use rustix::io::Errno;

use super::place::{Open, Place, errno_name, own_name};
use super::sight::micros;
use super::worker::{Outcome, Worker, failed};

/// A renewal: open the directory, look for a rival's name, create the next, read it back.
pub const RENEWAL: &str = "renewal";
/// A claim: list, create, read back, sync, read again, look at the one before, list.
pub const CLAIM: &str = "claim";

/// A hard link of a symbolic link.
pub const LINK: &str = "link";
/// The removal of a name.
pub const REMOVE: &str = "remove";

/// Single calls, then the lock's two sequences of them.
const CALLS: [&str; 8] = ["symlink", LINK, "readlink", "list", "sync", REMOVE, RENEWAL, CLAIM];

/// Times `calls` of each, or as many as there is time for; `span` is for each kind.
pub fn time(worker: &mut Worker, place: &Place, calls: usize, span: Duration) -> Outcome {
    let folder = place.child(&format!("times.{}", worker.member));
    folder.make().map_err(|error| format!("cannot make {}: {error}", folder.path.display()))?;
    let directory = failed("open", &folder, folder.open())?;
    for call in CALLS {
        let mut times = Vec::new();
        let all = Stopwatch::start();
        for i in 0..calls {
            let watch = Stopwatch::start();
            match perform(call, i, &folder, &directory) {
                Ok(()) => times.push(micros(watch.elapsed())),
                Err(errno) => {
                    worker.findings.failed_calls.insert(call.into(), errno_name(errno));
                    break;
                }
            }
            if all.elapsed() > span {
                break;
            }
        }
        if !times.is_empty() {
            worker.findings.times.insert(call.into(), times);
        }
    }
    Ok(())
}

fn perform(call: &str, i: usize, folder: &Place, directory: &Open) -> Result<(), Errno> {
    match call {
        "symlink" => own_name(directory.symlink(&text(i), &format!("s.{i}"))),
        LINK => own_name(directory.link("s.0", &format!("l.{i}"))),
        "readlink" => directory.text("s.0").map(drop),
        "list" => folder.list().map(drop),
        "sync" => {
            // Something to sync.
            own_name(directory.symlink("x", &format!("y.{i}")))?;
            directory.sync()
        }
        REMOVE => directory.remove(&format!("s.{}", i + 1)).or_else(|errno| match errno {
            // As many were created as there was time for.
            Errno::NOENT => Ok(()),
            other => Err(other),
        }),
        RENEWAL => renew(i, folder),
        _ => claim(i, folder),
    }
}

/// As long as a record.
fn text(i: usize) -> String {
    format!("{i:0300}")
}

fn renew(i: usize, folder: &Place) -> Result<(), Errno> {
    let open = folder.open()?;
    let name = format!("r.{i}");
    open.text(&name)?;
    match own_name(open.link("s.0", &name)) {
        // What the lock does where a symbolic link can't be linked.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSPC) => {
            own_name(open.symlink(&text(i), &name))?;
        }
        other => other?,
    }
    open.text(&name).map(drop)
}

fn claim(i: usize, folder: &Place) -> Result<(), Errno> {
    let open = folder.open()?;
    open.list()?;
    let name = format!("c.{i}");
    own_name(open.symlink(&text(i), &name))?;
    open.text(&name)?;
    open.sync()?;
    open.text(&name)?;
    open.text("s.0")?;
    folder.list().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_timed() {
        let scratch = tempfile::tempdir().unwrap();
        let mut worker = Worker::named("a");
        let place = Place::new(scratch.path());
        time(&mut worker, &place, 4, Duration::from_secs(30)).unwrap();
        let findings = &worker.findings;
        assert!(findings.failed_calls.is_empty(), "{:?}", findings.failed_calls);
        assert_eq!(findings.times.len(), CALLS.len());
        assert!(findings.times.values().all(|times| times.len() == 4));
    }
}
