//! What the system allows: the bare system calls, in the order in which the lock needs them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

/// A directory, open, as for the bare calls.
pub struct Directory {
    open: OwnedFd,
    next: u64,
}

/// As long as a record is: about what a symbolic link of the lock holds.
const TEXT: &[u8] = &[b'x'; 400];

impl Directory {
    pub fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { open: rustix::fs::open(path, flags, Mode::empty())?, next: 1 })
    }

    /// The first name, which [`Directory::link_and_unlink`] moves on.
    pub fn create(&self) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(TEXT, &self.open, name(self.next))?)
    }

    /// What a renewal cannot do without: the next name for the same record, the old one removed.
    pub fn link_and_unlink(&mut self) -> io::Result<()> {
        let (old, new) = (name(self.next), name(self.next + 1));
        rustix::fs::linkat(&self.open, &*old, &self.open, new, AtFlags::empty())?;
        rustix::fs::unlinkat(&self.open, old, AtFlags::empty())?;
        self.next += 1;
        Ok(())
    }

    /// What a claim cannot do without: a record, read back, on disk if `sync`; then its release.
    pub fn claim_and_release(&mut self, sync: bool) -> io::Result<()> {
        self.write_and_read()?;
        if sync {
            rustix::fs::fsync(&self.open)?;
        }
        self.write_and_read()
    }

    fn write_and_read(&mut self) -> io::Result<()> {
        self.next += 1;
        let name = name(self.next);
        rustix::fs::symlinkat(TEXT, &self.open, &*name)?;
        let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 1024];
        let (read, _) = rustix::fs::readlinkat_raw(&self.open, name, &mut buffer)?;
        assert_eq!(read.len(), TEXT.len());
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!("g.{number:020}")
}

/// Locks and unlocks a file as `fs2` does it, which is `flock(2)`.
pub fn lock_and_unlock(file: &File) -> io::Result<()> {
    fs2::FileExt::lock_exclusive(file)?;
    fs2::FileExt::unlock(file)
}
