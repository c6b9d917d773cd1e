//! A directory, and the calls that are made into it.
//!
//! Each [`Place::open`] opens it anew by its path, which is what makes a client look again. This
//! file must not know what is tried.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// The longest text of a symbolic link that is read.
const MAX_TEXT: usize = 1024;

/// A directory by its path.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
}

/// A directory that is open.
#[derive(Debug)]
pub struct Open(pub OwnedFd);

impl Place {
    /// The directory at `path`, which may not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A directory in it.
    pub fn child(&self, name: &str) -> Self {
        Self::new(self.path.join(name))
    }

    /// Makes it; whether it was absent.
    pub fn make(&self) -> io::Result<bool> {
        match rustix::fs::mkdir(&self.path, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens it.
    pub fn open(&self) -> Result<Open, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty()).map(Open)
    }

    /// Opens it, then reads a symbolic link in it; `None` where there is none.
    pub fn look(&self, name: &str) -> Result<Option<String>, Errno> {
        self.open()?.text(name)
    }

    /// Opens and lists it.
    pub fn list(&self) -> Result<Vec<String>, Errno> {
        self.open()?.list()
    }

    /// Reads a symbolic link by its path, without opening the directory.
    pub fn look_plainly(&self, name: &str) -> Result<Option<String>, Errno> {
        match rustix::fs::readlink(self.path.join(name), Vec::new()) {
            Ok(text) => Ok(Some(text.to_string_lossy().into_owned())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Removes it with all that is in it. Who is gone already is no failure.
    pub fn remove_all(&self) -> io::Result<()> {
        let mut last = Ok(());
        // An NFS client may keep a removed file under another name for a moment; and others may
        // remove the same.
        for _ in 0..20 {
            last = match std::fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match self.path.symlink_metadata() {
                        Err(_) => return Ok(()),
                        Ok(_) => Err(error),
                    }
                }
                other => other,
            };
            if last.is_ok() {
                break;
            }
            pause(Duration::from_millis(100));
        }
        last
    }
}

impl Open {
    /// The text of a symbolic link; `None` where there is none.
    pub fn text(&self, name: &str) -> Result<Option<String>, Errno> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); MAX_TEXT];
        match rustix::fs::readlinkat_raw(&self.0, name, &mut buffer) {
            Ok((text, _)) => Ok(Some(String::from_utf8_lossy(text).into_owned())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// All names, without `.` and `..`.
    pub fn list(&self) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Creates a symbolic link.
    pub fn symlink(&self, text: &str, name: &str) -> Result<(), Errno> {
        rustix::fs::symlinkat(text, &self.0, name)
    }

    /// Gives what stands at `from` a second name; a symbolic link is not followed.
    pub fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())
    }

    /// Creates a file, only if the name is free.
    pub fn create(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)
    }

    /// Removes a name.
    pub fn remove(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty())
    }

    /// Syncs the directory.
    pub fn sync(&self) -> Result<(), Errno> {
        match rustix::fs::fsync(&self.0) {
            // Some have nothing to sync in a directory, and say so.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => other,
        }
    }
}

/// What creating a name means that nobody else creates: that it exists is success. GlusterFS was
/// seen to create one and say EEXIST, as a call does that is sent again when its reply was lost.
pub fn own_name(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// The name of an error, as people look it up.
pub fn errno_name(errno: Errno) -> String {
    match errno {
        Errno::EXIST => "EEXIST".into(),
        Errno::PERM => "EPERM".into(),
        Errno::ACCESS => "EACCES".into(),
        Errno::NOENT => "ENOENT".into(),
        Errno::STALE => "ESTALE".into(),
        Errno::IO => "EIO".into(),
        Errno::OPNOTSUPP => "ENOTSUP".into(),
        Errno::NOSYS => "ENOSYS".into(),
        Errno::MLINK => "EMLINK".into(),
        Errno::NOSPC => "ENOSPC".into(),
        Errno::DQUOT => "EDQUOT".into(),
        Errno::TIMEDOUT => "ETIMEDOUT".into(),
        Errno::NOLCK => "ENOLCK".into(),
        other => other.to_string(),
    }
}

/// Waits between two looks of a poll.
pub fn pause(span: Duration) {
    let _ = crossbeam_channel::after(span).recv();
}
