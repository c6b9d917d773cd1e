//! What the system allows: the bare system calls, in the order in which the lock needs them.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

/// A directory, open, as for the bare calls.
pub struct Directory {
    path: PathBuf,
    open: OwnedFd,
    /// The number of the newest name.
    next: u64,
}

/// So many names does a log have whose terms are short: of 15 terms in 30 s, two each.
const KEPT: u64 = 30;

/// As long as a record is: about what a symbolic link of the lock holds.
const TEXT: &[u8] = &[b'x'; 400];

impl Directory {
    pub fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), open, next: 0 })
    }

    /// The first name, which [`Directory::link_and_unlink`] moves on.
    pub fn create(&mut self) -> io::Result<()> {
        self.write_and_read()
    }

    /// What a renewal cannot do without: the next name for the same record, the old one removed.
    pub fn link_and_unlink(&mut self) -> io::Result<()> {
        let (old, new) = (name(self.next), name(self.next + 1));
        rustix::fs::linkat(&self.open, &*old, &self.open, new, AtFlags::empty())?;
        rustix::fs::unlinkat(&self.open, old, AtFlags::empty())?;
        self.next += 1;
        Ok(())
    }

    /// The calls of a look, a claim and a release, with nothing between them: what the protocol
    /// asks for on a file system that has only one host, and the removal of two old names.
    pub fn claim_and_release(&mut self, sync: bool) -> io::Result<()> {
        self.is_still_there()?;
        let absent = self.read(self.next + 1);
        assert!(absent.is_err(), "nobody else is here");
        self.is_still_there()?;
        self.list()?;
        self.write_and_read()?;
        if sync {
            rustix::fs::fsync(&self.open)?;
            self.read(self.next)?;
        }
        if self.next > 1 {
            self.read(self.next - 1)?;
        }
        self.is_still_there()?;
        self.list()?;
        self.is_still_there()?;
        self.list()?;
        self.write_and_read()?;
        for old in [self.next.wrapping_sub(KEPT), self.next.wrapping_sub(KEPT + 1)] {
            if old > 0 && old < self.next {
                rustix::fs::unlinkat(&self.open, name(old), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn is_still_there(&self) -> io::Result<()> {
        rustix::fs::lstat(&self.path)?;
        Ok(())
    }

    fn list(&self) -> io::Result<()> {
        let names = Dir::read_from(&self.open)?.count();
        assert!(names as u64 <= KEPT + 4, "old names are removed: {names} are there");
        Ok(())
    }

    fn write_and_read(&mut self) -> io::Result<()> {
        self.next += 1;
        rustix::fs::symlinkat(TEXT, &self.open, name(self.next))?;
        self.read(self.next)
    }

    fn read(&self, number: u64) -> io::Result<()> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
        let (read, _) = rustix::fs::readlinkat_raw(&self.open, name(number), &mut buffer)?;
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
