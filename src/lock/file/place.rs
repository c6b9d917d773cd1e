//! The places for companions: directories in memory that only this user may enter.
//!
//! This file must not know what the files in them mean.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::lock::file::listing::each_name;
use crate::lock::file::mount::seems_remote;
use crate::lock::file::step::DirectoryId;

/// A directory that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) path: PathBuf,
    pub(super) hint: &'static str,
    pub(super) errno: Option<Errno>,
}

/// An open directory for companions.
#[derive(Debug)]
pub(super) struct Place {
    directory: File,
    pub(super) path: PathBuf,
}

/// `XDG_RUNTIME_DIR`, unless a hung server may keep it from being opened: a home directory, say.
static RUNTIME_DIRECTORY: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let path = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    // Without the list, what the directory is says itself.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let remote = seems_remote(&String::from_utf8_lossy(&mounts), &path);
    (path.is_absolute() && !remote).then_some(path)
});

/// Where companions may lie, the best first. Those who look for one look everywhere, so two
/// processes of a user find each other's though only one has `XDG_RUNTIME_DIR` set.
pub(super) fn bases() -> Vec<PathBuf> {
    let user = rustix::process::geteuid();
    let mut bases = Vec::new();
    bases.extend(RUNTIME_DIRECTORY.clone());
    let of_session = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    if !bases.contains(&of_session) {
        bases.push(of_session);
    }
    if user.is_root() {
        bases.push("/run".into());
    }
    bases.push("/dev/shm".into());
    bases
}

impl Place {
    /// Opens this user's directory in `base`.
    pub(super) fn open(base: &Path) -> Result<Self, Unusable> {
        Self::open_or(base, |_, _| Ok(()))
    }

    /// The same, made if it is not there.
    pub(super) fn make(base: &Path) -> Result<Self, Unusable> {
        Self::open_or(base, |base, name| match rustix::fs::mkdirat(base, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        })
    }

    fn open_or(
        base: &Path,
        prepare: impl FnOnce(&File, &str) -> Result<(), Errno>,
    ) -> Result<Self, Unusable> {
        let name = format!("leaderelection-{}", rustix::process::geteuid().as_raw());
        let path = base.join(&name);
        let failed =
            |errno| Unusable { path: path.clone(), hint: "it can't be opened", errno: Some(errno) };
        let unfit = |hint| Unusable { path: path.clone(), hint, errno: None };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent: File = rustix::fs::open(base, flags, Mode::empty()).map_err(failed)?.into();
        // Asked before anything is made there, and before what a file server would be asked for.
        if !is_in_memory(&parent) {
            return Err(unfit("it does not lie in memory (tmpfs)"));
        }
        let stat = rustix::fs::fstat(&parent).map_err(failed)?;
        if !is_trusted(&stat) {
            return Err(unfit("others may replace what lies there"));
        }
        prepare(&parent, &name).map_err(failed)?;
        let directory: File =
            rustix::fs::openat(&parent, &name, flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(failed)?
                .into();
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        if !is_ours(&stat) || stat.st_mode & 0o077 != 0 {
            return Err(unfit("it must be this user's alone (chmod 700)"));
        }
        if !is_in_memory(&directory) {
            return Err(unfit("it does not lie in memory (tmpfs)"));
        }
        Ok(Self { directory, path })
    }

    /// A new file without a name, for reading and writing by this user.
    pub(super) fn unnamed_file(&self) -> Result<File, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(&self.directory, ".", flags, mode).map(File::from)
    }

    /// Gives `file` this name, if it is free.
    pub(super) fn name(&self, file: &File, name: &str) -> Result<(), Errno> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(rustix::fs::CWD, path, &self.directory, name, flags)
    }

    /// Opens a regular file of this user, for reading: its close is nobody's sign.
    pub(super) fn open_file(&self, name: &str) -> Result<(File, DirectoryId), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?.into();
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match regular && is_ours(&stat) {
            true => Ok((file, id_of(&stat))),
            false => Err(Errno::PERM),
        }
    }

    /// Which file stands under this name.
    pub(super) fn identify(&self, name: &str) -> Result<DirectoryId, Errno> {
        let stat = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(id_of(&stat))
    }

    /// Removes the name, if it still is that of `file`; says whether it has.
    pub(super) fn remove(&self, name: &str, file: DirectoryId) -> bool {
        self.identify(name) == Ok(file) && self.remove_any(name).is_ok()
    }

    /// Removes the name, whatever it is of.
    pub(super) fn remove_any(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())
    }

    /// Calls `see` with each name in it.
    pub(super) fn each_name(&self, see: impl FnMut(&[u8])) -> Result<(), Errno> {
        each_name(&self.directory, see)
    }
}

/// Which file it is.
pub(super) fn id_of_file(file: &File) -> Result<DirectoryId, Errno> {
    rustix::fs::fstat(file).map(|stat| id_of(&stat))
}

// The types of both differ among platforms.
#[allow(clippy::unnecessary_cast)]
fn id_of(stat: &Stat) -> DirectoryId {
    DirectoryId { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Only root or this user can replace what lies in such a directory.
fn is_trusted(stat: &Stat) -> bool {
    let (others_write, sticky) = (stat.st_mode & 0o022 != 0, stat.st_mode & 0o1000 != 0);
    (stat.st_uid == 0 || is_ours(stat)) && (!others_write || sticky)
}

/// In memory, `flock` is the kernel's own and reaches all that see the file, no number of a file
/// comes back while it is open, and nothing is left after a boot.
#[cfg(target_os = "linux")]
fn is_in_memory(directory: &File) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    // The type of the field differs among architectures.
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::fstatfs(directory)
        .is_ok_and(|found| [TMPFS, RAMFS].contains(&(found.f_type as i64)))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_directory: &File) -> bool {
    false
}
