//! The least that a lock of names in a directory with file events can cost: no lease, no record to
//! read, no listing, no other thread, and nothing that survives a crash.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{Mode, OFlags, open, readlinkat, symlinkat};
use rustix::io::Errno;

/// A log of names: an odd one is held, an even one free.
pub struct Log {
    directory: OwnedFd,
    events: OwnedFd,
    /// The last name that was seen.
    last: u64,
}

impl Log {
    pub fn open(path: &Path) -> io::Result<Self> {
        let _ = std::fs::create_dir(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        let events = init(CreateFlags::CLOEXEC)?;
        add_watch(&events, path, WatchFlags::CREATE)?;
        Ok(Self { directory, events, last: 0 })
    }

    /// Waits until this one has it.
    pub fn acquire(&mut self) -> io::Result<()> {
        loop {
            while self.is_there(self.last + 1)? {
                self.last += 1;
            }
            if !self.last.is_multiple_of(2) {
                self.wait()?;
            } else if self.create()? {
                return Ok(());
            }
        }
    }

    pub fn release(&mut self) -> io::Result<()> {
        self.create().map(drop)
    }

    fn is_there(&self, number: u64) -> io::Result<bool> {
        match readlinkat(&self.directory, number.to_string(), Vec::new()) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this was the first to create the next name.
    fn create(&mut self) -> io::Result<bool> {
        match symlinkat("record", &self.directory, (self.last + 1).to_string()) {
            Ok(()) => {
                self.last += 1;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        Reader::new(self.events.as_fd(), &mut buffer).next()?;
        Ok(())
    }
}
