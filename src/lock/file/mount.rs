//! Which file system a path lies on, as the kernel's list of mounts tells it.
//!
//! Nothing here touches the file system itself beyond opening the path. This file must not know
//! what follows from a kind.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The file system that a path lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// What it is, as far as it is known here.
    pub kind: FileSystemKind,
    /// The kernel's name of its type, such as `ext4`, `nfs4` or `fuse.sshfs`.
    pub type_name: String,
    /// What is mounted: a device, `server:/export`.
    pub source: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The options of the mount, then those of the file system.
    pub options: Vec<String>,
}

/// The kinds of file systems that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystemKind {
    /// On a disk of this host; also what containers stack on one.
    Local,
    /// In this host's memory.
    Memory,
    /// NFS version 3.
    Nfs3,
    /// NFS version 3 with `nolock` or `local_lock`: locks are this host's own.
    Nfs3LocalLocks,
    /// NFS version 4, any minor version.
    Nfs4,
    /// GlusterFS.
    Gluster,
    /// MooseFS, or one of its kin.
    MooseFs,
    /// sshfs.
    Sshfs,
    /// Lustre.
    Lustre,
    /// IBM Storage Scale.
    Gpfs,
    /// BeeGFS.
    BeeGfs,
    /// CephFS, by the kernel or by FUSE.
    CephFs,
    /// SMB.
    Smb,
    /// A FUSE file system that shows an object store or a file transfer protocol as files.
    ObjectStore,
    /// Any other FUSE file system.
    OtherFuse,
    /// Anything else.
    Other,
}

impl FileSystem {
    /// The file system of `path`, which must exist; `None` where the system does not tell.
    ///
    /// # Errors
    ///
    /// Where `path` can't be opened, or the list of mounts can't be read.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        let path = path.as_ref();
        // Opening a directory for real mounts what is mounted on demand.
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, directory, Mode::empty())
            .or_else(|_| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))?;
        let Ok(about) = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))
        else {
            return Ok(None);
        };
        let Some(id) = mount_id(&about) else { return Ok(None) };
        let mounts = std::fs::read("/proc/self/mountinfo")?;
        Ok(find(&String::from_utf8_lossy(&mounts), id))
    }

    /// Reads one line of `/proc/self/mountinfo`; `None` where it is none.
    pub fn from_mountinfo(line: &str) -> Option<Self> {
        // ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER-OPTIONS
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let (mount_point, options) = (unescape(mount.next()?), mount.next()?);
        let mut file_system = file_system.split(' ');
        let type_name = file_system.next()?.to_owned();
        let source = unescape(file_system.next()?);
        let own = file_system.next().unwrap_or_default();
        let mut all: Vec<String> = Vec::new();
        for option in options.split(',').chain(own.split(',')).filter(|option| !option.is_empty()) {
            if !all.iter().any(|known| known == option) {
                all.push(option.to_owned());
            }
        }
        let kind = classify(&type_name, &source, &all);
        Some(Self { kind, type_name, source, mount_point: mount_point.into(), options: all })
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} on {})", self.type_name, self.source, self.mount_point.display())
    }
}

impl FileSystemKind {
    /// A name for programs, which does not change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Memory => "memory",
            Self::Nfs3 => "nfs3",
            Self::Nfs3LocalLocks => "nfs3-local-locks",
            Self::Nfs4 => "nfs4",
            Self::Gluster => "gluster",
            Self::MooseFs => "moosefs",
            Self::Sshfs => "sshfs",
            Self::Lustre => "lustre",
            Self::Gpfs => "gpfs",
            Self::BeeGfs => "beegfs",
            Self::CephFs => "cephfs",
            Self::Smb => "smb",
            Self::ObjectStore => "object-store",
            Self::OtherFuse => "other-fuse",
            Self::Other => "other",
        }
    }

    /// Whether only the processes of one host can meet there.
    pub fn is_of_one_host(self) -> bool {
        matches!(self, Self::Local | Self::Memory)
    }
}

/// Whether `path` lies on what another host may serve, as far as its text tells: nothing of it is
/// opened, since that may hang.
pub(super) fn seems_remote(mountinfo: &str, path: &Path) -> bool {
    let mounts = mountinfo.lines().filter_map(FileSystem::from_mountinfo);
    // Of those at one place the last covers the others.
    mounts
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len())
        .is_some_and(|mount| !mount.kind.is_of_one_host())
}

fn mount_id(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn find(mountinfo: &str, id: u64) -> Option<FileSystem> {
    let of_id = |line: &&str| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(id);
    mountinfo.lines().find(of_id).and_then(FileSystem::from_mountinfo)
}

/// The kernel writes a space, a tab, a line feed, a backslash and `#` as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn classify(type_name: &str, source: &str, options: &[String]) -> FileSystemKind {
    use FileSystemKind as Kind;
    match type_name {
        "nfs" | "nfs4" => nfs(type_name, options),
        "tmpfs" | "ramfs" => Kind::Memory,
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "bcachefs" | "jfs"
        | "reiserfs" | "overlay" | "ubifs" => Kind::Local,
        "fuse.glusterfs" => Kind::Gluster,
        "fuse.mfs" => Kind::MooseFs,
        // Its client may leave the subtype out, and names its master so.
        "fuse" if source.starts_with("mfs#") => Kind::MooseFs,
        "fuse.sshfs" => Kind::Sshfs,
        "lustre" => Kind::Lustre,
        "gpfs" => Kind::Gpfs,
        "beegfs" | "beegfs_nodev" => Kind::BeeGfs,
        "ceph" | "fuse.ceph" | "fuse.ceph-fuse" => Kind::CephFs,
        "cifs" | "smb3" | "smbfs" => Kind::Smb,
        "fuse.s3fs" | "fuse.goofys" | "fuse.gcsfuse" | "fuse.rclone" | "fuse.blobfuse"
        | "fuse.blobfuse2" | "fuse.davfs" | "fuse.mount-s3" | "fuse.mountpoint-s3"
        | "fuse.curlftpfs" | "fuse.s3backer" | "fuse.geesefs" => Kind::ObjectStore,
        fuse if fuse == "fuse" || fuse.starts_with("fuse.") => Kind::OtherFuse,
        _ => Kind::Other,
    }
}

fn nfs(type_name: &str, options: &[String]) -> FileSystemKind {
    let value =
        |key: &str| options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
    let version = value("vers").or_else(|| value("nfsvers")).unwrap_or(&type_name[3..]);
    if version.starts_with('4') {
        return FileSystemKind::Nfs4;
    }
    let local = options.iter().any(|option| option == "nolock")
        || value("local_lock").is_some_and(|what| what == "all" || what == "flock");
    match local {
        true => FileSystemKind::Nfs3LocalLocks,
        false => FileSystemKind::Nfs3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as the kernels of the test rigs wrote them.
    const MOUNTS: &[(&str, FileSystemKind)] = &[
        ("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard", FileSystemKind::Local),
        (
            "25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684096k",
            FileSystemKind::Memory,
        ),
        (
            "30 1 0:40 / /mnt/share rw,relatime - nfs server:/export rw,vers=3,rsize=131072,hard,\
             proto=tcp,mountaddr=10.9.1.1,mountvers=3,local_lock=none,addr=10.9.1.1",
            FileSystemKind::Nfs3,
        ),
        (
            "30 1 0:40 / /mnt/share rw,relatime - nfs server:/export rw,vers=3,hard,nolock,\
             proto=tcp,local_lock=all,addr=10.9.1.1",
            FileSystemKind::Nfs3LocalLocks,
        ),
        (
            "30 1 0:40 / /mnt/share rw,relatime - nfs4 server:/ rw,vers=4.2,hard,proto=tcp,\
             local_lock=none,addr=10.9.1.1",
            FileSystemKind::Nfs4,
        ),
        (
            "42 27 0:39 / /x/b rw,relatime - fuse.glusterfs glusterfs:(null) rw,user_id=0",
            FileSystemKind::Gluster,
        ),
        (
            "46 27 0:43 / /x/a rw,nosuid - fuse mfs\\04310.98.0.1:9421 rw,user_id=0,allow_other",
            FileSystemKind::MooseFs,
        ),
        (
            "44 27 0:41 / /x/b rw,nosuid - fuse.sshfs root@127.0.0.1:/x/share rw,user_id=0",
            FileSystemKind::Sshfs,
        ),
        (
            "9 1 0:9 / /s rw shared:7 - fuse.rclone remote: rw,user_id=0",
            FileSystemKind::ObjectStore,
        ),
        ("9 1 0:9 / /s rw shared:7 master:1 - fuse.bindfs /x rw", FileSystemKind::OtherFuse),
        ("9 1 0:9 / /s rw - lustre 10.0.0.1@tcp:/fs rw,flock,lazystatfs", FileSystemKind::Lustre),
        ("9 1 0:9 / /s rw - 9p share rw,trans=virtio", FileSystemKind::Other),
    ];

    #[test]
    fn kinds_are_told_apart() {
        for (line, kind) in MOUNTS {
            let found = FileSystem::from_mountinfo(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(found.kind, *kind, "{line}");
        }
    }

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line = r"46 27 0:43 / /x/a\040b\134 rw,nosuid - fuse mfs\04310.98.0.1 rw,allow_other";
        let found = FileSystem::from_mountinfo(line).unwrap();
        assert_eq!(found.mount_point, Path::new("/x/a b\\"));
        assert_eq!(found.options, ["rw", "nosuid", "allow_other"]);
        assert_eq!(found.to_string(), r"fuse (mfs#10.98.0.1 on /x/a b\)");
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in ["", " - ", "1 2 3", "27 1 254:0 / - ext4", "27 1 254:0 / / rw - ext4"] {
            assert_eq!(FileSystem::from_mountinfo(line), None, "{line:?}");
        }
        assert_eq!(unescape(r"a\0"), r"a\0");
        assert_eq!(unescape(r"a\777\ü"), r"a\777\ü");
    }

    #[test]
    fn the_mount_is_found_by_its_number() {
        let mounts: String = MOUNTS.iter().map(|(line, _)| format!("{line}\n")).collect();
        assert_eq!(find(&mounts, 25).unwrap().kind, FileSystemKind::Memory);
        assert_eq!(find(&mounts, 2), None);
        assert_eq!(mount_id("pos:\t0\nflags:\t012\nmnt_id:\t25\n"), Some(25));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_server_may_keep_from_answering_is_known_by_its_path() {
        let mounts = "\
            21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            22 21 0:20 / /home rw - nfs4 server:/home rw,vers=4.2\n\
            23 21 0:21 / /run rw - tmpfs tmpfs rw\n\
            24 22 0:22 / /home/u/run rw - tmpfs tmpfs rw\n\
            25 21 0:23 / /auto rw - autofs systemd-1 rw\n\
            26 21 0:24 / /mnt rw - nfs server:/mnt rw,vers=3\n\
            27 21 0:25 / /mnt rw - tmpfs tmpfs rw\n";
        for (path, remote) in [
            ("/home/u/.run", true),
            ("/auto/u", true),
            ("/home/u/run/0", false),
            ("/run/user/0", false),
            ("/homely", false),
            ("/mnt/x", false),
        ] {
            assert_eq!(seems_remote(mounts, Path::new(path)), remote, "{path}");
        }
        assert!(!seems_remote("", Path::new("/run")));
    }

    #[test]
    fn this_host_tells_where_a_path_lies() {
        let place = tempfile::tempdir().unwrap();
        let found = FileSystem::of(place.path()).unwrap();
        assert!(found.is_some_and(|found| place.path().starts_with(&found.mount_point)));
        assert!(FileSystem::of(place.path().join("absent")).is_err());
    }
}
