//! Renew: link the term's symbolic link to the next name, and read what stands there. Nothing is
//! synced.
//!
//! What is read decides, even after a link that succeeded: where the directory was removed and made
//! again, it may have its old inode, and what was linked is another's record. Without the read, two
//! candidates led side by side.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::file::entry::{Decoded, Text, decode};
use crate::lock::file::step::{
    Class, DirectoryId, Errno, Fault, FaultKind, LONGEST_WINDOW, Next, Op, Reply, Step,
};

/// The step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renew {
    directory: DirectoryId,
    from: u64,
    /// The text of the whole term.
    text: Text,
    window: Duration,
    started: Instant,
    refused: Option<Errno>,
    /// A symbolic link was tried in place of the hard one.
    created: bool,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Opening,
    Linking,
    ReadingBack,
    ReadingSource,
    Creating,
}

impl Renew {
    /// Renews the term in `directory` whose last generation is `from`.
    pub fn new(directory: DirectoryId, from: u64, text: Text, budget: Duration) -> Self {
        Self {
            directory,
            from,
            text,
            window: budget.min(LONGEST_WINDOW),
            started: Instant::default(),
            refused: None,
            created: false,
            at: At::Begin,
        }
    }

    fn to(&self) -> u64 {
        self.from + 1
    }

    fn ask<T>(&mut self, at: At, op: Op) -> Next<T> {
        self.at = at;
        Next::Do(op)
    }

    fn fail(&self, kind: FaultKind, hint: &str) -> Next<Result<u64, Fault>> {
        let mut fault = Fault::new(kind, "renew").at(self.to()).hint(hint);
        fault.errno = self.refused;
        Next::Done(Err(fault))
    }

    fn is_late(&self, now: Instant) -> bool {
        now.since(self.started) >= self.window
    }

    /// Nothing is sent once the time is over: others may be about to claim.
    fn send(&mut self, now: Instant, at: At, op: Op) -> Next<Result<u64, Fault>> {
        if self.is_late(now) {
            return self.fail(FaultKind::Unavailable, "no time is left to send it");
        }
        self.ask(at, op)
    }

    /// It stands there; but a renewal that took too long does not count.
    fn stands(&self, now: Instant) -> Next<Result<u64, Fault>> {
        if self.is_late(now) {
            return self.fail(FaultKind::Indeterminate, "it took too long to be sure");
        }
        Next::Done(Ok(self.to()))
    }

    fn linked(&mut self, reply: Reply) -> Next<Result<u64, Fault>> {
        match reply {
            Reply::Missing => {
                return self.fail(FaultKind::Conflict, "the term's own generation is gone");
            }
            Reply::Failed(errno) => self.refused = Some(errno),
            _ => {}
        }
        let to = self.to();
        self.ask(At::ReadingBack, Op::Read(to))
    }

    /// Refused for a reason that a new symbolic link may not have: hard links to a foreign link are
    /// protected, there are too many of them, or the file system has none. Too many is also said as
    /// "no space": GlusterFS does so at the hundredth.
    fn needs_a_new_link(&self) -> bool {
        let refused = self.refused.is_some_and(|errno| {
            matches!(errno.class(), Class::Denied | Class::Unsupported | Class::NoSpace)
        });
        refused && !self.created
    }

    fn read_back(&mut self, now: Instant, reply: Reply) -> Next<Result<u64, Fault>> {
        match reply {
            Reply::Text(text) if text == self.text => self.stands(now),
            Reply::Text(text) => match decode(&text) {
                Decoded::Entry(_) => self.fail(FaultKind::Conflict, "another record stands there"),
                _ => self.fail(FaultKind::Indeterminate, "something unreadable stands there"),
            },
            Reply::Missing if self.needs_a_new_link() => {
                let from = self.from;
                self.ask(At::ReadingSource, Op::Read(from))
            }
            Reply::Missing => self.not_there(),
            _ => self.fail(FaultKind::Indeterminate, "it can't be read back"),
        }
    }

    /// A hard link fails without its source; a new symbolic link would not notice.
    fn read_source(&mut self, now: Instant, reply: Reply) -> Next<Result<u64, Fault>> {
        match reply {
            Reply::Text(text) if text == self.text => {
                self.created = true;
                let op = Op::Create(self.to(), self.text.clone());
                self.send(now, At::Creating, op)
            }
            Reply::Text(_) | Reply::NotALink | Reply::Missing => {
                self.fail(FaultKind::Conflict, "the term's own generation is gone")
            }
            _ => self.fail(FaultKind::Indeterminate, "the term's own generation can't be read"),
        }
    }

    fn not_there(&self) -> Next<Result<u64, Fault>> {
        match self.refused.map(Errno::class) {
            Some(Class::NoSpace | Class::Denied) => {
                self.fail(FaultKind::Unavailable, "nothing can be created there now")
            }
            _ => self.fail(FaultKind::Indeterminate, "it is not there yet"),
        }
    }
}

impl Step for Renew {
    /// The generation of the renewal.
    type Output = Result<u64, Fault>;

    fn next(&mut self, now: Instant, reply: Reply) -> Next<Self::Output> {
        match (self.at, reply) {
            (At::Begin, _) => {
                self.started = now;
                self.ask(At::Opening, Op::Open)
            }
            (At::Opening, Reply::Opened(directory)) if directory == self.directory => {
                let op = Op::Link { from: self.from, to: self.to() };
                self.send(now, At::Linking, op)
            }
            (At::Opening, Reply::Opened(_)) => {
                self.fail(FaultKind::Conflict, "the directory was replaced by another")
            }
            (At::Opening, Reply::Missing) => {
                self.fail(FaultKind::Conflict, "the directory is gone")
            }
            (At::Opening, reply) => Next::Done(Err(Fault::of_read("open", &reply, false))),
            (At::Linking, reply) => self.linked(reply),
            (At::ReadingSource, reply) => self.read_source(now, reply),
            (At::Creating, reply) => {
                self.refused = match reply {
                    Reply::Failed(errno) => Some(errno),
                    _ => None,
                };
                let to = self.to();
                self.ask(At::ReadingBack, Op::Read(to))
            }
            (At::ReadingBack, reply) => self.read_back(now, reply),
        }
    }
}
