//! How old the head is, for people: by the file server's clock, so no decision may use it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::clock::Timestamp;
use crate::lock::file::FileLock;
use crate::record::Revision;

impl FileLock {
    /// When the record at `revision` was written or last renewed, on the wall clock of the file
    /// server. `None` where that can't be known, or the name is gone.
    ///
    /// The record itself can't say it: a renewal is a hard link, which changes nothing but the
    /// change time of what it links.
    pub fn renewed_at(&self, revision: Revision) -> Option<Timestamp> {
        let metadata = fs::symlink_metadata(self.path.join(super::name_of(revision.0))).ok()?;
        let seconds = u64::try_from(metadata.ctime()).ok()?;
        let nanos = u64::try_from(metadata.ctime_nsec()).ok()?;
        Some(Timestamp::from_millis(seconds.checked_mul(1000)? + nanos / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_name_is_its_change_time() {
        let place = tempfile::tempdir().unwrap();
        let lock = FileLock::new(place.path().join("lock")).unwrap();
        assert_eq!(lock.renewed_at(Revision(1)), None);
        fs::create_dir(lock.path()).unwrap();
        std::os::unix::fs::symlink("x", lock.path().join(super::super::name_of(1))).unwrap();
        let age = lock.renewed_at(Revision(1)).map(Timestamp::as_millis).unwrap();
        assert!(Timestamp::now().as_millis().abs_diff(age) < 60_000);
    }
}
