//! Where the locks of a benchmark lie: a directory of its own on a file system of each kind.

use std::io;
use std::path::{Path, PathBuf};

use leaderelection::FileSystem;
use tempfile::TempDir;

/// A directory that is gone when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// `tmpfs`, `ext4`, …
    pub name: String,
    directory: TempDir,
    next: std::cell::Cell<u32>,
}

impl Place {
    fn in_directory(parent: &Path) -> io::Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("leaderelection-bench").tempdir_in(parent)?;
        let name = FileSystem::of(directory.path())?.map_or("unknown".into(), |fs| fs.type_name);
        Ok(Self { name, directory, next: std::cell::Cell::new(0) })
    }

    /// A path at which nothing stands yet.
    pub fn fresh(&self) -> PathBuf {
        let number = self.next.replace(self.next.get() + 1);
        self.directory.path().join(format!("lock{number}"))
    }
}

/// In memory; on another file system where there is no `/dev/shm`.
pub fn memory() -> io::Result<Place> {
    Place::in_directory(Path::new("/dev/shm")).or_else(|_| disk())
}

/// Beside the build, which is mostly on a disk.
pub fn disk() -> io::Result<Place> {
    Place::in_directory(Path::new(env!("CARGO_TARGET_TMPDIR")))
}
