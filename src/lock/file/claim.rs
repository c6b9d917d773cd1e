//! Claim: create the generation after the head, and prove that it is the new head.
//!
//! The order of the proof matters. With the sync last, or before the name was read, two candidates
//! led in the model of a store that crashes.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::file::entry::{Decoded, Text, decode};
use crate::lock::file::observe::Head;
use crate::lock::file::step::{
    Class, DirectoryId, Errno, Fault, FaultKind, LONGEST_WINDOW, Next, Op, Reply, Step,
};

/// The generation that a claim follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Predecessor {
    directory: DirectoryId,
    generation: u64,
    text: Option<Text>,
}

impl From<&Head> for Predecessor {
    fn from(head: &Head) -> Self {
        Self { directory: head.directory, generation: head.generation, text: head.text.clone() }
    }
}

/// What a claim won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimed {
    /// The directory that the term belongs to.
    pub directory: DirectoryId,
    /// Its generation: the fencing token.
    pub generation: u64,
}

/// The step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    after: Option<Predecessor>,
    text: Text,
    durable: bool,
    first_contact: bool,
    was_writable: bool,
    window: Duration,
    started: Instant,
    directory: DirectoryId,
    /// How the creation failed, if it said so.
    refused: Option<Reply>,
    made: bool,
    listed: bool,
    /// The highest generation that a listing showed.
    highest: u64,
    /// How many the last listing showed.
    names: usize,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Opening,
    Making,
    Listing,
    ReadingHead,
    Creating,
    Reading,
    Syncing,
    ReadingAgain,
    ReadingPredecessor,
    OpeningAgain,
    ListingAgain,
}

impl Claim {
    /// Claims the generation after `after`, or the first one, with `text`.
    pub fn new(after: Option<Predecessor>, text: Text, budget: Duration) -> Self {
        Self {
            after,
            text,
            durable: true,
            first_contact: false,
            was_writable: false,
            window: budget.min(LONGEST_WINDOW),
            started: Instant::default(),
            directory: DirectoryId { device: 0, inode: 0 },
            refused: None,
            made: false,
            listed: false,
            highest: 0,
            names: 0,
            at: At::Begin,
        }
    }

    /// Whether the claim is synced before it counts.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether nothing was ever written by this lock, so that a refusal is for good.
    #[must_use]
    pub fn first_contact(mut self, first_contact: bool) -> Self {
        self.first_contact = first_contact;
        self
    }

    /// Whether the file system could be written to when the lock was opened: one that is read-only
    /// now has had an error, or is being looked after, and may be written to again.
    #[must_use]
    pub fn was_writable(mut self, was_writable: bool) -> Self {
        self.was_writable = was_writable;
        self
    }

    /// The directory that was opened, and the highest generation that was seen to stand in it,
    /// whatever came out.
    pub fn highest(&self) -> (DirectoryId, u64) {
        (self.directory, self.highest)
    }

    /// How many generations the last listing showed.
    pub fn names(&self) -> usize {
        self.names
    }

    /// Whether a listing did not reach the head that was waited on: it went back.
    pub fn went_back(&self) -> bool {
        self.listed && self.after.as_ref().is_some_and(|after| self.highest < after.generation)
    }

    /// The generation that is claimed.
    pub fn generation(&self) -> u64 {
        self.after.as_ref().map_or(1, |after| after.generation + 1)
    }

    fn ask<T>(&mut self, at: At, op: Op) -> Next<T> {
        self.at = at;
        Next::Do(op)
    }

    fn fail<T>(&self, kind: FaultKind, hint: &str) -> Next<Result<T, Fault>> {
        Next::Done(Err(Fault::new(kind, "claim").at(self.generation()).hint(hint)))
    }

    fn opened(&mut self, directory: DirectoryId) -> Next<Result<Claimed, Fault>> {
        self.directory = directory;
        match &self.after {
            Some(after) if after.directory != directory => {
                self.fail(FaultKind::Conflict, "the directory was replaced by another")
            }
            _ => self.ask(At::Listing, Op::List),
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        now.since(self.started) >= self.window
    }

    fn listed(&mut self, now: Instant, names: &[u64]) -> Next<Result<Claimed, Fault>> {
        let highest = names.last().copied();
        self.listed = true;
        self.highest = self.highest.max(highest.unwrap_or(0));
        if highest != self.after.as_ref().map(|after| after.generation) {
            return self.fail(FaultKind::Conflict, "the head has changed");
        }
        match highest {
            Some(head) => self.ask(At::ReadingHead, Op::Read(head)),
            None => self.create(now),
        }
    }

    /// A server that has lost the head that was waited for may hold another of that number. What is
    /// created above it supersedes whoever leads, whatever the proof finds later, and a claim that
    /// this candidate sees as its own is not waited for.
    fn read_head(&mut self, now: Instant, reply: &Reply) -> Next<Result<Claimed, Fault>> {
        match reply {
            reply if self.predecessor_stands(reply) => self.create(now),
            Reply::Text(_) | Reply::NotALink | Reply::Missing => {
                self.fail(FaultKind::Conflict, "the head has changed")
            }
            reply => self.before_writing("read", reply),
        }
    }

    fn create(&mut self, now: Instant) -> Next<Result<Claimed, Fault>> {
        // It would be lost anyway, and stand in the way of others.
        if self.is_late(now) {
            return self.fail(FaultKind::Unavailable, "no time is left to send it");
        }
        let op = Op::Create(self.generation(), self.text.clone());
        self.ask(At::Creating, op)
    }

    /// Whatever creating it said, what stands there decides.
    fn read(&mut self, reply: Reply) -> Next<Result<Claimed, Fault>> {
        match reply {
            // The text carries the nonce of this attempt.
            Reply::Text(text) if text == self.text => {
                if self.durable {
                    self.ask(At::Syncing, Op::Sync)
                } else {
                    self.read_predecessor()
                }
            }
            Reply::Text(text) => match decode(&text) {
                // It may be a part of mine.
                Decoded::Corrupt(_) => {
                    self.fail(FaultKind::Indeterminate, "something unreadable stands there")
                }
                _ => self.fail(FaultKind::Conflict, "another candidate was first"),
            },
            Reply::NotALink => self.fail(FaultKind::Conflict, "something else stands there"),
            Reply::Missing => Next::Done(Err(self.not_created())),
            _ => self.fail(FaultKind::Indeterminate, "it can't be read back"),
        }
    }

    /// Nothing stands there. Only an error that says so means that nothing ever will.
    fn not_created(&self) -> Fault {
        let errno = match self.refused {
            Some(Reply::Failed(errno)) => Some(errno),
            _ => None,
        };
        // Some say EPERM in place of EEXIST and do not show the name at once: where a link stands,
        // the file system has links.
        let perm = errno == Some(Errno(rustix::io::Errno::PERM.raw_os_error()));
        let too_long = errno == Some(Errno(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
        let kind = match errno.map(Errno::class) {
            Some(Class::NoSpace) => FaultKind::Unavailable,
            Some(Class::Denied) if perm && self.after.is_some() => FaultKind::Unavailable,
            Some(Class::Denied) if self.may_heal(errno) => FaultKind::Unavailable,
            Some(Class::Denied | Class::Unsupported) if self.first_contact => FaultKind::Fatal,
            Some(Class::Denied) => FaultKind::Unavailable,
            Some(Class::Unsupported) => FaultKind::Fatal,
            _ if too_long => FaultKind::Fatal,
            _ => FaultKind::Indeterminate,
        };
        let mut fault = Fault::new(kind, "create").at(self.generation());
        fault.errno = errno;
        fault.hint = match (errno.map(Errno::class), kind) {
            (Some(Class::Unsupported), _) => Some("the file system has no symbolic links"),
            (Some(Class::Denied), FaultKind::Fatal) => Some(
                "no permission, a read-only file system, or one without symbolic links; ask \
                     its owner, or choose another place",
            ),
            _ if too_long => Some(
                "the file system takes no link with so long a text; shorten the identity or the \
                 metadata",
            ),
            _ => None,
        }
        .map(str::to_owned);
        fault
    }

    fn read_predecessor(&mut self) -> Next<Result<Claimed, Fault>> {
        match self.after.as_ref().map(|after| after.generation) {
            Some(generation) => self.ask(At::ReadingPredecessor, Op::Read(generation)),
            None => self.ask(At::OpeningAgain, Op::Open),
        }
    }

    fn predecessor_stands(&self, reply: &Reply) -> bool {
        match (reply, self.after.as_ref().map(|after| &after.text)) {
            (Reply::Text(text), Some(Some(waited_for))) => text == waited_for,
            (Reply::NotALink, Some(None)) => true,
            _ => false,
        }
    }

    fn listed_again(&mut self, now: Instant, names: &[u64]) -> Next<Result<Claimed, Fault>> {
        let generation = self.generation();
        self.highest = self.highest.max(names.last().copied().unwrap_or(0));
        self.names = names.len();
        match names.last() {
            Some(&highest) if highest > generation => {
                self.fail(FaultKind::Conflict, "a higher generation stands there")
            }
            Some(&highest) if highest == generation => {
                if self.is_late(now) {
                    return self.fail(FaultKind::Indeterminate, "it took too long to be sure");
                }
                Next::Done(Ok(Claimed { directory: self.directory, generation }))
            }
            _ => self.fail(FaultKind::Indeterminate, "the listing does not show it"),
        }
    }
}

impl Step for Claim {
    type Output = Result<Claimed, Fault>;

    fn next(&mut self, now: Instant, reply: Reply) -> Next<Self::Output> {
        match (self.at, reply) {
            (At::Begin, _) => {
                self.started = now;
                self.ask(At::Opening, Op::Open)
            }
            (At::Opening, Reply::Opened(directory)) => self.opened(directory),
            (At::Opening, Reply::Missing) if self.after.is_none() && !self.made => {
                self.made = true;
                self.ask(At::Making, Op::Make)
            }
            (At::Opening, Reply::Missing) if self.after.is_none() => {
                self.fail(FaultKind::Unavailable, "the directory was made and is not there")
            }
            (At::Opening, Reply::Missing) => {
                self.fail(FaultKind::Conflict, "the directory is gone")
            }
            // Somebody else may have made it; whether it is usable is seen when it is opened.
            (At::Making, Reply::Done | Reply::Exists) => self.ask(At::Opening, Op::Open),
            (At::Listing, Reply::Listed(names)) => self.listed(now, &names),
            (At::ReadingHead, reply) => self.read_head(now, &reply),
            (At::Creating, reply) => {
                self.refused = Some(reply).filter(|reply| *reply != Reply::Done);
                let generation = self.generation();
                self.ask(At::Reading, Op::Read(generation))
            }
            (At::Reading, reply) => self.read(reply),
            (At::Syncing, Reply::Done) => {
                let generation = self.generation();
                self.ask(At::ReadingAgain, Op::Read(generation))
            }
            (At::Syncing, _) => self.fail(FaultKind::Indeterminate, "it can't be made durable"),
            (At::ReadingAgain, Reply::Text(text)) if text == self.text => self.read_predecessor(),
            (At::ReadingAgain, _) => {
                self.fail(FaultKind::Indeterminate, "it can't be read again after the sync")
            }
            (At::ReadingPredecessor, reply) if self.predecessor_stands(&reply) => {
                self.ask(At::OpeningAgain, Op::Open)
            }
            (At::ReadingPredecessor, _) => {
                self.fail(FaultKind::Indeterminate, "the generation before it has changed")
            }
            (At::OpeningAgain, Reply::Opened(directory)) if directory == self.directory => {
                self.ask(At::ListingAgain, Op::List)
            }
            (At::OpeningAgain, _) => {
                self.fail(FaultKind::Indeterminate, "the directory has changed meanwhile")
            }
            (At::ListingAgain, Reply::Listed(names)) => self.listed_again(now, &names),
            (At::ListingAgain, _) => {
                self.fail(FaultKind::Indeterminate, "the directory can't be listed again")
            }
            (At::Opening, reply) => self.before_writing("open", &reply),
            (At::Making, reply) => self.before_writing("make", &reply),
            (At::Listing, reply) => self.before_writing("list", &reply),
        }
    }
}

impl Claim {
    fn may_heal(&self, errno: Option<Errno>) -> bool {
        self.was_writable && errno == Some(Errno(rustix::io::Errno::ROFS.raw_os_error()))
    }

    /// Nothing has been written yet, so a failure is no worse than being unavailable.
    fn before_writing(
        &self,
        operation: &'static str,
        reply: &Reply,
    ) -> Next<Result<Claimed, Fault>> {
        // What could be looked at before may be read again later; what can't be made may never be.
        let errno = if let Reply::Failed(errno) = reply { Some(*errno) } else { None };
        let for_good = self.first_contact && operation == "make" && !self.may_heal(errno);
        Next::Done(Err(Fault::of_read(operation, reply, for_good)))
    }
}
