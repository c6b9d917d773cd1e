//! The system calls of the file lock, on a real directory.

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno as Os;

use crate::lock::file::entry::{BootId, MAX_TEXT_BYTES, Text};
use crate::lock::file::layout::{Name, NameOf, parse_name};
use crate::lock::file::listing::each_name;
use crate::lock::file::step::{DirectoryId, Errno, Op, Reply};

/// A log is seldom longer.
const USUAL_NAMES: usize = 64;

/// Carries out the system calls of the file lock's steps.
pub trait Store: Send {
    /// Carries out one call, however long that takes.
    fn perform(&mut self, op: &Op) -> Reply;

    /// The directory that was opened last, to listen for changes; by default there is none, and
    /// changes are found by polling.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A directory of the file system.
pub(super) struct Directory {
    path: PathBuf,
    mode: Mode,
    open: Option<Opened>,
    /// The parent as it was first seen. Where it is another one now, what was mounted there may be
    /// gone, and a directory made there would be a lock that nobody else has.
    parent: Option<DirectoryId>,
    /// Absolute: the walk to `.` asks no server anything.
    parent_path: Option<PathBuf>,
    parent_synced: bool,
    /// Of the device on which it was opened last.
    kind: Option<(u64, Kind)>,
    warned: bool,
    /// What was read last: most reads find the same again.
    text: Option<Text>,
}

impl Directory {
    pub(super) fn new(path: &Path, mode: u32) -> Self {
        let mode = Mode::from_raw_mode(mode);
        let parent = rustix::fs::stat(parent_of(path)).ok().map(|stat| id_of(&stat));
        let parent_path = std::path::absolute(parent_of(path)).ok();
        Self {
            path: path.to_owned(),
            mode,
            open: None,
            parent,
            parent_path,
            parent_synced: false,
            kind: None,
            warned: false,
            text: None,
        }
    }

    /// Opens the parent, which makes an NFS client ask its server what the names in it stand for
    /// now. Without that it may take the lock's directory for the one of before for up to a minute
    /// after somebody has replaced it (seen: 12 s). It may fail, as where it can't be read.
    fn look_again(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Some(parent) = &self.parent_path {
            let _ = rustix::fs::open(parent, flags, Mode::empty());
        }
        if self.kind.is_some_and(|(_, kind)| kind == Kind::Fuse) {
            look_up_again(&self.path);
        }
    }

    fn open(&mut self) -> Result<Reply, Os> {
        if let Some(opened) = self.open.as_ref().filter(|opened| opened.stands_at(&self.path)) {
            return Ok(Reply::Opened(opened.id));
        }
        self.close();
        self.look_again();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let id = id_of(&rustix::fs::fstat(&directory)?);
        let known = self.kind.filter(|(device, _)| *device == id.device);
        let kind = known.map_or_else(|| kind_of(&directory), |(_, kind)| kind);
        self.kind = Some((id.device, kind));
        self.open = Some(Opened { directory, id, kind });
        Ok(Reply::Opened(id))
    }

    /// What is not ours any more must not be closed. A server is not asked for that.
    fn close(&mut self) {
        let foreign = |opened: &Opened| opened.kind == Kind::OfThisKernel && !opened.is_open();
        if let Some(foreign) = self.open.take().filter(foreign) {
            let _ = foreign.directory.into_raw_fd();
        }
    }

    /// The directory that the last [`Op::Open`] opened.
    fn opened(&self) -> Result<&OwnedFd, Os> {
        self.open.as_ref().map(|opened| &opened.directory).ok_or(Os::BADF)
    }

    fn make(&self) -> Result<Reply, Os> {
        let parent = match rustix::fs::stat(parent_of(&self.path)) {
            Ok(stat) => Some(id_of(&stat)),
            Err(Os::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        if self.parent.is_some() && self.parent != parent {
            return Err(Os::STALE);
        }
        rustix::fs::mkdir(&self.path, self.mode)?;
        // The process's umask does not know what the group of candidates needs.
        rustix::fs::chmod(&self.path, self.mode)?;
        Ok(Reply::Done)
    }

    fn list(&mut self) -> Result<Reply, Os> {
        let mut names = Vec::with_capacity(USUAL_NAMES);
        let mut too_high = false;
        each_name(self.opened()?, |name| match parse_name(name) {
            Name::Generation(generation) => names.push(generation),
            Name::TooHigh => too_high = true,
            Name::Other => {}
        })?;
        if too_high && !self.warned {
            self.warned = true;
            log::warn!(
                "{}: a name with a number above 2^63-1 is ignored; it is not of this lock",
                self.path.display()
            );
        }
        names.sort_unstable();
        Ok(Reply::Listed(names.into()))
    }

    fn read(&mut self, generation: u64) -> Result<Reply, Os> {
        // Room for more than a text may have shows that one is too long.
        let mut buffer = [MaybeUninit::<u8>::uninit(); MAX_TEXT_BYTES + 1];
        let name = NameOf::new(generation);
        match rustix::fs::readlinkat_raw(self.opened()?, name.as_c_str(), &mut buffer) {
            Ok((text, _)) => {
                let known = self.text.take().filter(|known| **known == *text);
                let text = known.unwrap_or_else(|| Text::from(&*text));
                self.text = Some(text.clone());
                Ok(Reply::Text(text))
            }
            Err(Os::INVAL) => Ok(Reply::NotALink),
            Err(errno) => Err(errno),
        }
    }

    fn sync(&mut self) -> Result<Reply, Os> {
        sync(self.opened()?)?;
        // What stands in a directory is of no use when the directory itself is lost. Who made it
        // may have ended before it could say so to the disk, so everybody does, once.
        if !self.parent_synced {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(parent_of(&self.path), flags, Mode::empty()) {
                Ok(parent) => sync(&parent)?,
                // A parent that we may pass through but not read can't be synced by us.
                Err(Os::ACCESS) => {}
                Err(errno) => return Err(errno),
            }
            self.parent_synced = true;
        }
        Ok(Reply::Done)
    }

    fn try_perform(&mut self, op: &Op) -> Result<Reply, Os> {
        match op {
            Op::Open => self.open(),
            Op::Make => self.make(),
            Op::List => self.list(),
            Op::Read(generation) => self.read(*generation),
            Op::Create(generation, text) => {
                let name = NameOf::new(*generation);
                rustix::fs::symlinkat(&**text, self.opened()?, name.as_c_str())?;
                Ok(Reply::Done)
            }
            Op::Link { from, to } => {
                let directory = self.opened()?;
                // Without a flag to follow it, the symbolic link itself is linked.
                let (from, to) = (NameOf::new(*from), NameOf::new(*to));
                let (from, to) = (from.as_c_str(), to.as_c_str());
                rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?;
                Ok(Reply::Done)
            }
            Op::Remove(generation) => {
                let name = NameOf::new(*generation);
                rustix::fs::unlinkat(self.opened()?, name.as_c_str(), AtFlags::empty())?;
                Ok(Reply::Done)
            }
            Op::Sync => self.sync(),
        }
    }
}

/// Makes a FUSE client ask what a name stands for now. It believes in a name for a second, and what
/// GlusterFS then says comes from a cache that the use of the old directory keeps alive: a leader
/// noticed only after up to 8 s that its directory had been replaced. Where a name must not exist
/// yet the kernel asks each time; and renaming a directory to itself, if that does not exist yet,
/// never does anything.
#[cfg(target_os = "linux")]
fn look_up_again(path: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let _ = renameat_with(CWD, path, CWD, path, RenameFlags::NOREPLACE);
}

#[cfg(not(target_os = "linux"))]
fn look_up_again(_: &Path) {}

/// A directory that is open.
struct Opened {
    directory: OwnedFd,
    id: DirectoryId,
    kind: Kind,
}

impl Opened {
    /// Whether the path still leads here, where that can be told without opening it again: what is
    /// open keeps its inode number, so another directory at the path has another one. Where another
    /// kernel may have changed the path, only opening it asks the server.
    fn stands_at(&self, path: &Path) -> bool {
        self.kind == Kind::OfThisKernel
            && self.is_open()
            && rustix::fs::lstat(path).is_ok_and(|stat| id_of(&stat) == self.id)
    }

    /// Whether nobody in this process has closed it: its number may be another directory's then,
    /// and what is claimed there is another lock.
    fn is_open(&self) -> bool {
        rustix::fs::fstat(&self.directory).is_ok_and(|stat| id_of(&stat) == self.id)
    }
}

/// What has to be known of a file system to look at a directory on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody but this kernel changes it.
    OfThisKernel,
    Fuse,
    /// Whatever else; perhaps shared.
    Other,
}

/// By the magic number of the file system.
#[cfg(target_os = "linux")]
fn kind_of(directory: &OwnedFd) -> Kind {
    const FUSE: u32 = 0x6573_5546;
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const TMPFS: u32 = 0x0102_1994;
    match rustix::fs::fstatfs(directory).map(|found| found.f_type as u32) {
        Ok(FUSE) => Kind::Fuse,
        Ok(EXT | XFS | BTRFS | TMPFS) => Kind::OfThisKernel,
        _ => Kind::Other,
    }
}

#[cfg(not(target_os = "linux"))]
fn kind_of(_: &OwnedFd) -> Kind {
    Kind::Other
}

fn sync(directory: &OwnedFd) -> Result<(), Os> {
    match rustix::fs::fsync(directory) {
        // Some file systems have nothing to sync in a directory, and say so.
        Err(Os::INVAL | Os::OPNOTSUPP | Os::NOSYS) => Ok(()),
        result => result,
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

// The types of both differ among platforms.
#[allow(clippy::unnecessary_cast)]
fn id_of(stat: &Stat) -> DirectoryId {
    DirectoryId { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
}

impl Store for Directory {
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|opened| opened.directory.as_fd())
    }

    fn perform(&mut self, op: &Op) -> Reply {
        loop {
            return match self.try_perform(op) {
                Ok(reply) => reply,
                Err(Os::INTR) => continue,
                Err(Os::EXIST) => Reply::Exists,
                Err(Os::NOENT) => Reply::Missing,
                Err(errno) => Reply::Failed(Errno(errno.raw_os_error())),
            };
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}

/// The number of the namespace that all processes of a machine begin in, whose clock is the
/// kernel's.
const FIRST_TIME_NAMESPACE: &str = "4026531834";

/// The boot of this machine and this process's time namespace, where the system tells both.
pub(super) fn boot_id() -> Option<BootId> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot: String = boot.trim().chars().filter(|c| *c != '-').collect();
    Some(format!("{boot}-{}", time_namespace()?).into())
}

fn time_namespace() -> Option<String> {
    let link = |name: &str| {
        let target = std::fs::read_link(Path::new("/proc/self/ns").join(name))?;
        Ok(target.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>())
    };
    match link("time") {
        Ok(own) if own == FIRST_TIME_NAMESPACE => Some(own),
        Ok(own) => {
            let of_children = link("time_for_children").ok().filter(|other| *other == own)?;
            let offsets = std::fs::read_to_string("/proc/self/timens_offsets").ok()?;
            clock_of(&of_children, &offsets)
        }
        // Kernels without time namespaces have one clock for all.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(String::new()),
        Err::<_, std::io::Error>(_) => None,
    }
}

/// The number of a namespace that has ended is the next one's, which has a clock of its own: so the
/// offset of that is named too.
fn clock_of(namespace: &str, offsets: &str) -> Option<String> {
    let boottime = offsets.lines().find_map(|line| line.strip_prefix("boottime "))?;
    let mut words = boottime.split_whitespace();
    let (seconds, nanos) = (words.next()?, words.next()?);
    Some(format!("{namespace}+{seconds}.{nanos}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_that_has_anothers_number_has_its_own_clock() {
        let offsets =
            |seconds| format!("monotonic           7         0\nboottime   {seconds} 9\n");
        let clock = |seconds| clock_of("4026532177", &offsets(seconds)).unwrap();
        assert_eq!(clock("-50"), "4026532177+-50.9");
        assert_ne!(clock("0"), clock("5000"));
        assert_eq!(clock_of("4026532177", "monotonic 0 0\n"), None);
        assert!(boot_id().is_some());
    }

    #[test]
    fn a_directory_whose_descriptor_somebody_has_closed_is_opened_anew() {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let [path, other] = ["lock", "other"].map(|name| place.path().join(name));
        [&path, &other].iter().for_each(|path| std::fs::create_dir(path).unwrap());
        let text = Text::from(&b"text"[..]);
        let mut store = Directory::new(&path, 0o700);
        let opened = store.perform(&Op::Open);
        // Its number is another directory's by now.
        store.open.as_mut().unwrap().directory = std::fs::File::open(&other).unwrap().into();
        assert_eq!(store.perform(&Op::Open), opened);
        assert_eq!(store.perform(&Op::Create(1, text)), Reply::Done);
        assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_was_replaced_is_opened_anew() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let mut store = Directory::new(&path, 0o700);
        assert_eq!(store.perform(&Op::Open), Reply::Missing);
        std::fs::create_dir(&path).unwrap();
        let first = store.perform(&Op::Open);
        assert!(matches!(first, Reply::Opened(_)));
        assert_eq!(store.perform(&Op::Open), first);
        // While it is open, its number can't be given to the next one.
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let second = store.perform(&Op::Open);
        assert!(matches!(second, Reply::Opened(_)) && second != first, "{second:?}");
        assert_eq!(store.perform(&Op::List), Reply::Listed([].into()));
        std::fs::rename(&path, place.path().join("other")).unwrap();
        assert_eq!(store.perform(&Op::Open), Reply::Missing);
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert!(matches!(store.perform(&Op::Open), Reply::Failed(_)), "no link is followed");
    }
}
