//! What the file system says of itself: its number, its clock, its count of links.

use leaderelection::Timestamp;
use rustix::fs::{AtFlags, fstatfs, statat};

use super::findings::Described;
use super::place::Place;
use super::worker::{Outcome, Worker, failed};

/// Finds it out with a file of its own.
pub fn describe(worker: &mut Worker, place: &Place) -> Outcome {
    let directory = failed("open", place, place.open())?;
    let magic = failed("examine", place, fstatfs(&directory.0))?.f_type as u64;
    let (file, second) = (format!("clock.{}", worker.member), format!("second.{}", worker.member));
    let before = Timestamp::now().as_millis();
    let handle = failed("create a file in", place, directory.create(&file))?;
    failed("write to a file in", place, rustix::io::write(&handle, b"x"))?;
    // A client may keep the write, and its time, to itself until then.
    failed("sync a file in", place, rustix::fs::fsync(&handle))?;
    let after = Timestamp::now().as_millis();
    drop(handle);
    let stat = failed("examine a file in", place, statat(&directory.0, &file, AtFlags::empty()))?;
    let modified = stat.st_mtime as i64 * 1000 + stat.st_mtime_nsec as i64 / 1_000_000;
    let middle = before.midpoint(after) as i64;
    // Some keep whole seconds only.
    let coarse = if stat.st_mtime_nsec == 0 { 1000 } else { 0 };
    let linked = directory.link(&file, &second).is_ok();
    let links = linked.then(|| statat(&directory.0, &file, AtFlags::empty()).ok()).flatten();
    worker.findings.described = Some(Described {
        magic,
        skew_millis: Some(modified - middle),
        skew_error_millis: (after - before).div_ceil(2).max(5) + coarse,
        #[allow(clippy::unnecessary_cast)]
        link_count: links.map(|stat| stat.st_nlink as u64),
    });
    Ok(())
}
