//! The companion: a locked file that shows other processes of this host that this one lives.
//!
//! The kernel holds the lock (`flock`) until the last descriptor of it is closed, which is when
//! the process has ended, and every other that inherited the descriptor. So who gets the lock has
//! proof that all of them are gone, though not why. This file must not know what a record is.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Timestamp, entropy};
use crate::error::{Failure, LockError};
use crate::lock::file::place::{Place, Unusable, bases, id_of_file};
use crate::lock::file::step::DirectoryId;
use crate::record::MAX_LEASE_DURATION;
use crate::sync::Mutex;

/// Beyond so many names in a directory, some are examined and those of the dead removed.
const MANY_NAMES: usize = 1000;

/// So many are examined.
const MOST_EXAMINED: usize = 64;

/// One process in so many looks for them: to list thousands of names takes longer than all else
/// that a process does for a lock.
const BURIALS: u64 = 16;

/// Until they have not changed for this long they stay: who waits for a lease of that process may
/// still want the proof. Renewals change them within each lease, so every such lease is over then.
/// By the wall clock, which may have been set meanwhile; a name that went too early costs a lease's
/// wait.
const LONGEST_WANTED: Duration = MAX_LEASE_DURATION.saturating_mul(2);

/// A file that is locked for as long as this process lives, so that other candidates of this user
/// on this host need not wait out the lease of a leader that is proven to be dead.
///
/// [`FileLock`](crate::FileLock) makes it when it waits or claims. It lies in a directory of this
/// user alone, in memory: in `$XDG_RUNTIME_DIR`, `/run/user/UID`, `/run` (root), or `/dev/shm`.
///
/// **Work that is another process**, such as a child that a leader has started, may outlive this
/// one; then its death must prove nothing. Hand such a process a [`descriptor`](Self::descriptor).
#[derive(Clone)]
pub struct Companion(Arc<Inner>);

struct Inner {
    file: File,
    place: Place,
    id: CompanionId,
    /// Locked by this process alone, once others may hold the lock of the companion too.
    elector: Mutex<Option<File>>,
}

/// Which file a companion is, as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CompanionId {
    /// Its name. Drawn by the system, not by a generator of this process: a virtual machine may be
    /// copied with such a generator's state.
    pub nonce: u64,
    /// The device that it lies on.
    pub device: u64,
    /// Its inode there: no other file's for as long as it is open anywhere.
    pub inode: u64,
}

/// What trying a lock has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// Nobody holds it; it was taken, and given back.
    Free,
    /// Somebody holds it.
    Busy,
    /// The system does not tell.
    NotKnown,
}

static OF_PROCESS: LazyLock<Mutex<Option<Companion>>> = LazyLock::new(Mutex::default);

impl Companion {
    /// The companion of this process, which is made when it is first asked for, and kept.
    ///
    /// # Errors
    ///
    /// `Unavailable`: there is no directory for it, or locks don't work there. Then nothing is ever
    /// concluded from the end of this process.
    pub fn of_process() -> Result<Self, LockError> {
        let mut known = OF_PROCESS.lock();
        if let Some(companion) = &*known {
            return Ok(companion.clone());
        }
        let made = Self::make_in_any(&bases())?;
        *known = Some(made.clone());
        Ok(made)
    }

    /// A descriptor for another process that does this one's work: until it is closed too, nothing
    /// is concluded from the end of this process. It is closed on `exec`, so send it by a socket,
    /// or let a duplicate without that flag be inherited, as `elect` does.
    ///
    /// Closing it is all that may be done with it: to unlock it would tell that this process and
    /// all others that have it are dead.
    ///
    /// # Errors
    ///
    /// If this process can have no more descriptors.
    pub fn descriptor(&self) -> std::io::Result<OwnedFd> {
        let duplicate = self.0.file.as_fd().try_clone_to_owned()?;
        let mut elector = self.0.elector.lock();
        if elector.is_none() {
            // No more than a hint depends on it.
            *elector = self.0.make_elector().ok();
        }
        Ok(duplicate)
    }

    /// Removes the file of this process's companion, if there is one: for a process that has led
    /// and will never again. From then on its end proves nothing.
    ///
    /// Who does not call this leaves an empty file behind, which others remove in time.
    pub fn retire() {
        // Taken by who makes it meanwhile, perhaps on a file system that hangs: then it stays.
        let companion = OF_PROCESS.try_lock().and_then(|known| known.clone());
        if let Some(companion) = companion {
            companion.0.remove();
        }
    }

    /// Makes one in the first of these directories that will do.
    pub(super) fn make_in_any(bases: &[PathBuf]) -> Result<Self, LockError> {
        let mut last = Unusable { path: PathBuf::new(), hint: "there is none", errno: None };
        for base in bases {
            match Place::make(base).and_then(|place| Self::make_in(place, lock_alone)) {
                Ok(companion) => {
                    if companion.0.id.nonce.is_multiple_of(BURIALS) {
                        companion.bury_others(MANY_NAMES, Timestamp::now());
                    }
                    return Ok(companion);
                }
                Err(unusable) => last = unusable,
            }
        }
        let mut failure = Failure::new("make a companion in", last.path.display())
            .hint(format!("{}; a leader's death can't be proven without", last.hint));
        if let Some(errno) = last.errno {
            failure = failure.source(std::io::Error::from(errno));
        }
        Err(LockError::Unavailable(failure))
    }

    /// Makes one whose lock is taken by `lock`.
    pub(super) fn make_in(
        place: Place,
        lock: impl FnOnce(&File) -> Tried,
    ) -> Result<Self, Unusable> {
        let path = place.path.clone();
        let failed = |errno| Unusable {
            path: path.clone(),
            hint: "a file can't be made there",
            errno: Some(errno),
        };
        // Locked before it has a name, so that nobody finds it without its lock.
        let file = place.unnamed_file().map_err(failed)?;
        let locked = lock(&file) == Tried::Free;
        let DirectoryId { device, inode } = id_of_file(&file).map_err(failed)?;
        let id = CompanionId { nonce: entropy(), device, inode };
        place.name(&file, &id.name()).map_err(failed)?;
        let companion = Self(Arc::new(Inner { file, place, id, elector: Mutex::default() }));
        if locked && companion.excludes_others() {
            return Ok(companion);
        }
        Err(Unusable { path, hint: "locks don't exclude each other there", errno: None })
    }

    /// The self-test: a lock that any other open file can get as well proves nothing.
    fn excludes_others(&self) -> bool {
        let other = self.0.place.open_file(&self.0.id.name());
        other.is_ok_and(|(other, id)| {
            id == self.0.id.file()
                && try_shared(&other) == Tried::Busy
                && try_alone(&other) == Tried::Busy
        })
    }

    /// Which file it is.
    pub(super) fn id(&self) -> CompanionId {
        self.0.id
    }

    /// The file, unless somebody in this process has closed it: then its number may be another
    /// file's by now, and since its lock is gone too, this takes its name away.
    pub(super) fn file(&self) -> Option<&File> {
        // A look at another lock of this process opens its companion for reading, and may have got
        // the number.
        let writable =
            rustix::fs::fcntl_getfl(&self.0.file).is_ok_and(|flags| flags.contains(OFlags::RDWR));
        (self.check() && writable).then_some(&self.0.file).or_else(|| {
            self.0.remove();
            None
        })
    }

    /// The same at each renewal, so without what is as good as never the case.
    pub(super) fn check(&self) -> bool {
        let intact = id_of_file(&self.0.file) == Ok(self.0.id.file());
        if !intact {
            self.0.remove();
        }
        intact
    }

    /// What this is once somebody in this process has closed its file, and `file` has its number.
    #[cfg(test)]
    pub(super) fn replaced_by(&self, file: File) -> Self {
        let Inner { place, id, .. } = &*self.0;
        let place = Place::make(place.path.parent().unwrap()).unwrap();
        Self(Arc::new(Inner { file, place, id: *id, elector: Mutex::default() }))
    }

    /// Removes some files that the dead have left long before `now`, where there are too many.
    pub(super) fn bury_others(&self, most: usize, now: Timestamp) {
        for name in self.some_names(most) {
            if let Ok((file, id)) = self.0.place.open_file(&name)
                && changed_at(&file).is_some_and(|at| {
                    now.as_millis() >= at.as_millis() + LONGEST_WANTED.as_millis() as u64
                })
                && try_shared(&file) == Tried::Free
            {
                bury(&self.0.place, &name, id);
            }
        }
    }

    /// Some names beside this one's, if there are more than `most`. They begin anywhere: the newest
    /// are listed first, and those of the living can't hide the others for ever.
    fn some_names(&self, most: usize) -> Vec<String> {
        let (place, mut count) = (&self.0.place, 0);
        if place.each_name(|_| count += 1).is_err() || count <= most {
            return Vec::new();
        }
        let start = self.0.id.nonce as usize % count;
        let (mut index, mut names) = (0, Vec::new());
        let _ = place.each_name(|name| {
            let chosen = (index + count - start) % count < MOST_EXAMINED;
            index += 1;
            if let Ok(name) = str::from_utf8(name)
                && chosen
                && is_name(name)
                && names.len() < MOST_EXAMINED
            {
                names.push(name.to_owned());
            }
        });
        names
    }
}

impl Inner {
    fn make_elector(&self) -> Result<File, Errno> {
        let file = self.place.unnamed_file()?;
        lock_alone(&file);
        self.place.name(&file, &elector_of(&self.id.name()))?;
        Ok(file)
    }

    fn remove(&self) {
        bury(&self.place, &self.id.name(), self.id.file());
    }
}

/// Removes the companion `name`, if it still is `file`, and what belongs to it.
fn bury(place: &Place, name: &str, file: DirectoryId) {
    if place.remove(name, file) {
        let _ = place.remove_any(&elector_of(name));
    }
}

/// The file that is locked by the elector's process alone, when others hold its companion's lock
/// too. Nothing but a hint depends on it: whoever holds that lock, the elector itself is gone.
pub(super) fn elector_of(companion: &str) -> String {
    format!("{companion}.elector")
}

/// Its name goes before its lock: who finds the lock free and the name in place knows that this has
/// not run, so that the process ended with all that it did.
impl Drop for Inner {
    fn drop(&mut self) {
        self.remove();
    }
}

impl fmt::Debug for Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: &Path = &self.0.place.path.join(self.0.id.name());
        f.debug_tuple("Companion").field(&path).finish()
    }
}

impl CompanionId {
    /// Its name in its directory.
    pub(super) fn name(&self) -> String {
        format!("{:016x}.alive", self.nonce)
    }

    pub(super) fn file(&self) -> DirectoryId {
        DirectoryId { device: self.device, inode: self.inode }
    }
}

fn changed_at(file: &File) -> Option<Timestamp> {
    let seconds = u64::try_from(file.metadata().ok()?.ctime()).ok()?;
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?))
}

/// A companion's, or an elector's beside it.
fn is_name(name: &str) -> bool {
    let nonce = name.strip_suffix(".elector").unwrap_or(name).strip_suffix(".alive");
    nonce.is_some_and(|nonce| nonce.len() == 16 && nonce.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Takes the lock for good, if nobody has it.
pub(super) fn lock_alone(file: &File) -> Tried {
    // The standard library's method of this name would be taken without the trait's.
    said(fs2::FileExt::try_lock_exclusive(file))
}

fn try_alone(file: &File) -> Tried {
    given_back(file, said(fs2::FileExt::try_lock_exclusive(file)))
}

/// Whether the lock could be taken. Shared, so that those who try at once don't refuse each other.
pub(super) fn try_shared(file: &File) -> Tried {
    given_back(file, said(fs2::FileExt::try_lock_shared(file)))
}

fn said(result: std::io::Result<()>) -> Tried {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(()) => Tried::Free,
        Err(errno) if errno == Some(Errno::WOULDBLOCK.raw_os_error()) => Tried::Busy,
        Err(_) => Tried::NotKnown,
    }
}

fn given_back(file: &File, tried: Tried) -> Tried {
    if tried == Tried::Free {
        let _ = fs2::FileExt::unlock(file);
    }
    tried
}

/// `NONCE-DEVICE-INODE`: a text of its own would be longer, and there are few bytes.
impl Serialize for CompanionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}-{}-{}", self.nonce, self.device, self.inode))
    }
}

impl<'de> Deserialize<'de> for CompanionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| serde::de::Error::custom("a companion is NONCE-DEVICE-INODE"))
    }
}

fn parse(text: &str) -> Option<CompanionId> {
    let mut parts = text.split('-');
    let nonce = parts.next().filter(|nonce| nonce.len() == 16)?;
    let mut number =
        || parts.next().filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
    let (device, inode) = (number()?, number()?);
    let nonce = nonce.bytes().all(|b| b.is_ascii_hexdigit()).then_some(nonce)?;
    let nonce = u64::from_str_radix(nonce, 16).ok()?;
    parts.next().is_none().then_some(CompanionId { nonce, device, inode })
}
