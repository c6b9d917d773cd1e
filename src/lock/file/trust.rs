//! Whether a lock may stand on a file system at all, as far as its kind tells.
//!
//! What only shows in use, `elect doctor` finds out.

use std::path::Path;

use crate::error::{Failure, LockError};
use crate::lock::file::mount::{FileSystem, FileSystemKind};

impl FileSystemKind {
    /// Why no lock should stand on such a file system, where that is known.
    pub fn distrust(self) -> Option<&'static str> {
        match self {
            Self::Sshfs => Some(
                "two mounts of sshfs show old content after new and half-written content, and \
                 report a lost race as if it were forbidden",
            ),
            Self::ObjectStore => Some(
                "what shows an object store or a file transfer protocol as files does not create \
                 a name exactly once",
            ),
            _ => None,
        }
    }
}

/// Refuses a lock at `path`, which lies in the directory `parent`, where its file system is known
/// not to be safe.
pub(super) fn check(path: &Path, parent: &Path) -> Result<(), LockError> {
    // Where the system does not tell, there is nothing to refuse.
    let found = FileSystem::of(path).or_else(|_| FileSystem::of(parent)).ok().flatten();
    match found {
        Some(found) => judge(path, &found),
        None => Ok(()),
    }
}

fn judge(path: &Path, found: &FileSystem) -> Result<(), LockError> {
    let Some(reason) = found.kind.distrust() else { return Ok(()) };
    let hint = format!(
        "it lies on {found}, where a lock can't be trusted: {reason}; choose another file system \
         (`elect doctor DIR` tries one), or accept two leaders at once \
         (FileLockOptions::trust_anyway, or `elect --i-know`)"
    );
    Err(LockError::Fatal(Failure::new("use", path.display()).hint(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(mount: &str) -> Result<(), String> {
        let found = FileSystem::from_mountinfo(mount).unwrap();
        judge(Path::new("/s/x.lock"), &found).map_err(|error| error.to_string())
    }

    #[test]
    fn a_refusal_says_what_was_seen_and_how_to_go_on() {
        let refusal = judged("9 1 0:9 / /s rw - fuse.sshfs me@host:/x rw").unwrap_err();
        for part in
            ["/s/x.lock", "fuse.sshfs", "me@host:/x", "old content", "trust_anyway", "--i-know"]
        {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
        assert!(judged("9 1 0:9 / /s rw - fuse.s3fs bucket rw").is_err());
    }

    #[test]
    fn what_is_not_known_to_be_bad_is_accepted() {
        for mount in [
            "9 1 0:9 / /s rw - ext4 /dev/vda rw",
            "9 1 0:9 / /s rw - nfs h:/x rw,vers=3,nolock,local_lock=all",
            "9 1 0:9 / /s rw - fuse.glusterfs h:/x rw",
            "9 1 0:9 / /s rw - fuse.bindfs /x rw",
            "9 1 0:9 / /s rw - unheard-of x rw",
        ] {
            assert_eq!(judged(mount), Ok(()), "{mount}");
        }
    }
}
