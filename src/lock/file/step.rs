//! What the steps of the file protocol have in common: each is a pure machine that asks for one
//! system call at a time and is told its result.
//!
//! So a step runs against a directory, a directory that fails, or a model that interleaves the
//! calls of several candidates, and it is the same code.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::lock::file::entry::Text;

/// The longest time for which an attempt's last read still counts: the attempt window A is the
/// shorter of this and the renew deadline.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(10);

/// A generation that was superseded longer ago than this may be swept. It is a constant of the
/// format, more than `A·(1+ρ)/(1−ρ)` for every allowed drift ρ below one half.
pub const KEEP: Duration = Duration::from_secs(30);

/// Which directory it is: two that were made under one path differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectoryId {
    /// The device that it lies on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// One system call on the lock directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Open the directory anew, by its path; later calls go to this one.
    Open,
    /// Make the directory.
    Make,
    /// List all generations.
    List,
    /// Read a generation's text.
    Read(u64),
    /// Create a generation with its text.
    Create(u64, Text),
    /// Link a generation to a new name.
    Link {
        /// The generation that stands.
        from: u64,
        /// The one to be made.
        to: u64,
    },
    /// Remove a generation.
    Remove(u64),
    /// Make what was created durable.
    Sync,
}

/// The result of a system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// No call was made yet: a step begins.
    Begin,
    /// [`Op::Open`] found this directory.
    Opened(DirectoryId),
    /// [`Op::List`] returned these generations, in rising order.
    Listed(Arc<[u64]>),
    /// [`Op::Read`] returned this text.
    Text(Text),
    /// [`Op::Read`] found something that is not a symbolic link.
    NotALink,
    /// It succeeded.
    Done,
    /// The name is taken already.
    Exists,
    /// There is no such name.
    Missing,
    /// It failed with this error number of the system.
    Failed(Errno),
}

/// An error number of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// What an error says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Not carried out, for lack of space.
    NoSpace,
    /// Not carried out, for lack of permission, or because nothing may be written there.
    Denied,
    /// The file system lacks it.
    Unsupported,
    /// The path is not a directory.
    NotADirectory,
    /// Not known whether it was carried out.
    Unknown,
}

impl Errno {
    /// What it says about the call.
    pub fn class(self) -> Class {
        use rustix::io::Errno as Os;
        match Os::from_raw_os_error(self.0) {
            Os::NOSPC | Os::DQUOT | Os::MLINK => Class::NoSpace,
            Os::ACCESS | Os::PERM | Os::ROFS => Class::Denied,
            Os::OPNOTSUPP | Os::NOSYS | Os::XDEV => Class::Unsupported,
            Os::NOTDIR | Os::LOOP => Class::NotADirectory,
            _ => Class::Unknown,
        }
    }
}

impl Errno {
    fn is_stale(self) -> bool {
        self.0 == rustix::io::Errno::STALE.raw_os_error()
    }
}

/// What a step wants next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<T> {
    /// This call; tell its result.
    Do(Op),
    /// Nothing: this came out.
    Done(T),
}

/// A step of the protocol.
pub trait Step {
    /// What comes out.
    type Output;

    /// Takes the result of the last call ([`Reply::Begin`] at first) at `now`, an instant after it
    /// returned.
    fn next(&mut self, now: Instant, reply: Reply) -> Next<Self::Output>;
}

/// How a step failed; the kinds are those of [`LockError`](crate::LockError).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What is known of the write.
    pub kind: FaultKind,
    /// What failed, as a verb.
    pub operation: &'static str,
    /// The generation that it was about.
    pub generation: Option<u64>,
    /// The system's reason.
    pub errno: Option<Errno>,
    /// What was seen, or what to do.
    pub hint: Option<String>,
}

/// What is known of a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Not written: the version was another.
    Conflict,
    /// Not written, for a passing reason.
    Unavailable,
    /// Perhaps written.
    Indeterminate,
    /// Not written, and it can't heal.
    Fatal,
}

impl Fault {
    /// A fault without further facts.
    pub fn new(kind: FaultKind, operation: &'static str) -> Self {
        Self { kind, operation, generation: None, errno: None, hint: None }
    }

    /// About this generation.
    #[must_use]
    pub fn at(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// What was seen.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The result of a call that can't be what was hoped for. A read changes nothing, so not
    /// knowing its result is no more than being unavailable.
    pub fn of_read(operation: &'static str, reply: &Reply, first_contact: bool) -> Self {
        let mut fault = Self::new(FaultKind::Unavailable, operation);
        match reply {
            Reply::Failed(errno) => {
                fault.errno = Some(*errno);
                match errno.class() {
                    Class::NotADirectory => {
                        fault.kind = FaultKind::Fatal;
                        fault.hint = Some("it must be a directory, not a file or a link".into());
                    }
                    Class::Denied if first_contact => {
                        fault.kind = FaultKind::Fatal;
                        fault.hint = Some(
                            "no permission, or a read-only file system; ask its owner, or choose \
                             another place"
                                .into(),
                        );
                    }
                    Class::Unknown if operation == "make" && errno.is_stale() => {
                        let hint = "its parent is gone, or another directory than before; is the \
                                    file system still mounted?";
                        fault.hint = Some(hint.into());
                    }
                    _ => {}
                }
            }
            Reply::Missing if operation == "make" => {
                fault.kind = FaultKind::Fatal;
                fault.hint = Some("its parent directory does not exist; make that first".into());
            }
            Reply::Missing => fault.hint = Some("it has just gone".into()),
            other => fault.hint = Some(format!("an unexpected result: {other:?}")),
        }
        fault
    }
}
