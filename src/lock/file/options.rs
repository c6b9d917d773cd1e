//! The settings of a file lock, and whether its path can be one.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::clock::Clock;
use crate::error::{Failure, LockError};
use crate::lock::file::FileLock;
use crate::lock::file::entry::BootId;
use crate::lock::file::same_host::Own;
use crate::lock::file::store::Directory;
use crate::lock::file::trust;

/// Settings of a [`FileLock`] beside its path.
#[derive(Clone, Debug)]
pub struct FileLockOptions {
    pub(super) durable: bool,
    mode: u32,
    world_writable: bool,
    trust_anyway: bool,
    pub(super) companion: Own,
    pub(super) clock: Clock,
    pub(super) seed: Option<u64>,
    pub(super) boot: Option<BootId>,
}

impl Default for FileLockOptions {
    fn default() -> Self {
        Self {
            durable: true,
            mode: 0o700,
            world_writable: false,
            trust_anyway: false,
            companion: Own::OfProcess,
            clock: Clock::system(),
            seed: None,
            boot: None,
        }
    }
}

impl FileLockOptions {
    /// Whether claims and completions are synced before they count, so that fencing tokens survive
    /// a power cut. Default: yes.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// The permissions of the directory, if this lock makes it. Default: `0o700`; `0o770` shares it
    /// with a group.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o7777;
        self
    }

    /// Accept a directory that anybody may rename or fill, and so anybody may break. Default: no.
    #[must_use]
    pub fn allow_world_writable(mut self, allow: bool) -> Self {
        self.world_writable = allow;
        self
    }

    /// Accept a file system that is known not to be safe (see [`FileSystemKind::distrust`]), and so
    /// accept two leaders at once. Default: no.
    ///
    /// [`FileSystemKind::distrust`]: crate::FileSystemKind::distrust
    #[must_use]
    pub fn trust_anyway(mut self, trust: bool) -> Self {
        self.trust_anyway = trust;
        self
    }

    /// Whether candidates on one host may take over at once from a leader whose process is proven
    /// to be dead, by its [`Companion`](crate::Companion), and show the same of themselves. Where a
    /// companion can't be had, or doubt is left, the lease is waited for. Default: yes.
    ///
    /// Work that is another process, a child of this one for example, must have a
    /// [`descriptor`](crate::Companion::descriptor) of the companion: say no where it does not, or
    /// its parent's death lets another lead beside it.
    #[must_use]
    pub fn same_host(mut self, allow: bool) -> Self {
        self.companion = if allow { Own::OfProcess } else { Own::Off };
        self
    }

    /// A companion of this lock's own, in a directory under `base`. Default: the process's.
    #[cfg(test)]
    pub(crate) fn companion_in(mut self, base: &Path) -> Self {
        self.companion = Own::In(vec![base.to_owned()]);
        self
    }

    /// The clock for attempt windows and sweeps. Default: the machine's.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The seed of the nonces. Default: from the system.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The boot whose clock it is, for witnesses of sweeps. Default: this machine's.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn boot(mut self, boot: &str) -> Self {
        self.boot = Some(boot.into());
        self
    }

    /// A lock in the directory `path`, which is made when it is first claimed.
    ///
    /// # Errors
    ///
    /// As [`FileLock::new`].
    pub fn open(self, path: impl Into<PathBuf>) -> Result<FileLock, LockError> {
        let path = absolute(&path.into())?;
        self.check(&path)?;
        let store = Directory::new(&path, self.mode);
        let mut lock = FileLock::with_store(path, Box::new(store), &self);
        lock.was_writable = is_writable(&lock.path);
        Ok(lock)
    }

    /// A lock whose system calls are carried out by `store`.
    #[cfg(any(test, feature = "testing"))]
    pub fn open_store(
        self,
        path: impl Into<PathBuf>,
        store: impl crate::lock::file::store::Store + 'static,
    ) -> FileLock {
        FileLock::with_store(path.into(), Box::new(store), &self)
    }

    /// The store of the directory `path`, to be wrapped by one that injects faults.
    #[cfg(any(test, feature = "testing"))]
    pub fn store(&self, path: &Path) -> impl crate::lock::file::store::Store + 'static {
        Directory::new(path, self.mode)
    }

    fn check(&self, path: &Path) -> Result<(), LockError> {
        let Some(parent) = path.parent() else {
            return Err(refusal("use", path, "it has no parent directory"));
        };
        self.check_parent(parent)?;
        if !self.trust_anyway {
            trust::check(path, parent)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => Err(refusal(
                "use",
                path,
                "it is a symbolic link, which somebody could turn to another lock; name the \
                 directory itself",
            )),
            Ok(found) if !found.is_dir() => Err(refusal(
                "use",
                path,
                "a lock is a directory, and something else stands there; choose another path",
            )),
            Ok(found) if self.open_to_anybody(&found) => Err(refusal(
                "use",
                path,
                "anybody may write there, and so break the lock; take that permission away \
                 (chmod o-w); a program can set allow_world_writable",
            )),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => may_make(parent, path),
            Err(error) => Err(failed("examine", path, error)),
        }
    }

    fn check_parent(&self, parent: &Path) -> Result<(), LockError> {
        match std::fs::metadata(parent) {
            Ok(found) if !found.is_dir() => {
                Err(refusal("use", parent, "the lock's parent must be a directory"))
            }
            Ok(found) if self.open_to_anybody(&found) => Err(refusal(
                "use",
                parent,
                "anybody may write there and it is not sticky, so anybody could replace the lock; \
                 choose another place, or set the sticky bit (chmod +t); a program can set \
                 allow_world_writable",
            )),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(refusal(
                "use",
                parent,
                "the lock's parent directory does not exist; make it first",
            )),
            Err(error) => Err(failed("examine", parent, error)),
        }
    }

    fn open_to_anybody(&self, found: &Metadata) -> bool {
        let mode = found.permissions().mode();
        let (others_write, sticky) = (mode & 0o002 != 0, mode & 0o1000 != 0);
        others_write && !sticky && !self.world_writable
    }
}

/// A process may change its directory while it leads; and a slash at the end would follow a link.
fn absolute(path: &Path) -> Result<PathBuf, LockError> {
    if path.as_os_str().is_empty() {
        return Err(refusal("use", Path::new("a lock"), "its path is empty"));
    }
    let absolute = std::path::absolute(path).map_err(|error| failed("resolve", path, error))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.join(name)),
        _ => Err(refusal("use", path, "it names no directory that could be made")),
    }
}

/// The directory will have to be made: whether that is permitted is known before the first claim.
fn may_make(parent: &Path, path: &Path) -> Result<(), LockError> {
    match rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(errno) => {
            let failure = Failure::new("make", path.display())
                .hint(format!("{} can't be written; choose another place", parent.display()))
                .source(std::io::Error::from(errno));
            Err(LockError::Fatal(failure))
        }
    }
}

/// The lock may be written to, or be made, as far as the system can tell.
fn is_writable(path: &Path) -> bool {
    let may = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::access(path, may) {
        Err(rustix::io::Errno::NOENT) => {
            path.parent().is_some_and(|parent| rustix::fs::access(parent, may).is_ok())
        }
        result => result.is_ok(),
    }
}

fn refusal(operation: &str, path: &Path, hint: &str) -> LockError {
    LockError::Fatal(Failure::new(operation, path.display()).hint(hint))
}

fn failed(operation: &str, path: &Path, error: std::io::Error) -> LockError {
    LockError::Fatal(Failure::new(operation, path.display()).source(error))
}
