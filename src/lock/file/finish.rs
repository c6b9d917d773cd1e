//! Release and completion: the last generation of a term, or of a lock for good.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::file::entry::Text;
use crate::lock::file::step::{
    Class, DirectoryId, Errno, Fault, FaultKind, LONGEST_WINDOW, Next, Op, Reply, Step,
};

/// The step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finish {
    directory: DirectoryId,
    /// The generation that it follows.
    after: u64,
    text: Text,
    /// A completion is synced, and counts only if it is the head; a release that gets lost costs no
    /// more than a lease's wait.
    complete: bool,
    durable: bool,
    window: Duration,
    started: Instant,
    refused: Option<Errno>,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Opening,
    Listing,
    Creating,
    ReadingBack,
    Syncing,
    ReadingAgain,
    OpeningAgain,
    ListingAgain,
}

impl Finish {
    /// Releases after generation `after` of `directory`.
    pub fn release(directory: DirectoryId, after: u64, text: Text, budget: Duration) -> Self {
        Self {
            directory,
            after,
            text,
            complete: false,
            durable: false,
            window: budget.min(LONGEST_WINDOW),
            started: Instant::default(),
            refused: None,
            at: At::Begin,
        }
    }

    /// Completes after generation `after` of `directory`, durably if `durable`.
    pub fn complete(
        directory: DirectoryId,
        after: u64,
        text: Text,
        budget: Duration,
        durable: bool,
    ) -> Self {
        Self { complete: true, durable, ..Self::release(directory, after, text, budget) }
    }

    fn generation(&self) -> u64 {
        self.after + 1
    }

    fn ask<T>(&mut self, at: At, op: Op) -> Next<T> {
        self.at = at;
        Next::Do(op)
    }

    fn fail(&self, kind: FaultKind, hint: &str) -> Next<Result<u64, Fault>> {
        let operation = if self.complete { "complete" } else { "release" };
        let mut fault = Fault::new(kind, operation).at(self.generation()).hint(hint);
        fault.errno = self.refused;
        Next::Done(Err(fault))
    }

    fn read_back(&mut self, reply: Reply) -> Next<Result<u64, Fault>> {
        match reply {
            Reply::Text(text) if text == self.text => {
                if self.complete && self.durable {
                    self.ask(At::Syncing, Op::Sync)
                } else if self.complete {
                    self.ask(At::OpeningAgain, Op::Open)
                } else {
                    Next::Done(Ok(self.generation()))
                }
            }
            Reply::Text(_) | Reply::NotALink => {
                self.fail(FaultKind::Conflict, "another record stands there")
            }
            Reply::Missing => match self.refused.map(Errno::class) {
                Some(Class::NoSpace | Class::Denied) => {
                    self.fail(FaultKind::Unavailable, "nothing can be created there now")
                }
                _ => self.fail(FaultKind::Indeterminate, "it is not there yet"),
            },
            _ => self.fail(FaultKind::Indeterminate, "it can't be read back"),
        }
    }

    fn listed(&mut self, now: Instant, names: &[u64]) -> Next<Result<u64, Fault>> {
        if names.last() != Some(&self.after) {
            return self.fail(FaultKind::Conflict, "the head has changed");
        }
        if now.since(self.started) >= self.window {
            return self.fail(FaultKind::Unavailable, "no time is left to send it");
        }
        let op = Op::Create(self.generation(), self.text.clone());
        self.ask(At::Creating, op)
    }

    fn listed_again(&self, now: Instant, names: &[u64]) -> Next<Result<u64, Fault>> {
        let in_time = now.since(self.started) < self.window;
        match names.last() {
            Some(&highest) if highest == self.generation() && in_time => {
                Next::Done(Ok(self.generation()))
            }
            Some(&highest) if highest > self.generation() => {
                self.fail(FaultKind::Conflict, "a higher generation stands there")
            }
            _ => self.fail(FaultKind::Indeterminate, "it can't be shown to be the head in time"),
        }
    }
}

impl Step for Finish {
    /// The generation of the release or completion.
    type Output = Result<u64, Fault>;

    fn next(&mut self, now: Instant, reply: Reply) -> Next<Self::Output> {
        match (self.at, reply) {
            (At::Begin, _) => {
                self.started = now;
                self.ask(At::Opening, Op::Open)
            }
            (At::Opening, Reply::Opened(directory)) if directory == self.directory => {
                self.ask(At::Listing, Op::List)
            }
            (At::Opening, Reply::Opened(_)) => {
                self.fail(FaultKind::Conflict, "the directory was replaced by another")
            }
            (At::Opening, Reply::Missing) => {
                self.fail(FaultKind::Conflict, "the directory is gone")
            }
            (At::Opening, reply) => Next::Done(Err(Fault::of_read("open", &reply, false))),
            (At::Listing, Reply::Listed(names)) => self.listed(now, &names),
            (At::Listing, reply) => Next::Done(Err(Fault::of_read("list", &reply, false))),
            (At::Creating, reply) => {
                self.refused = match reply {
                    Reply::Failed(errno) => Some(errno),
                    _ => None,
                };
                let generation = self.generation();
                self.ask(At::ReadingBack, Op::Read(generation))
            }
            (At::ReadingBack, reply) => self.read_back(reply),
            (At::Syncing, Reply::Done) => {
                let generation = self.generation();
                self.ask(At::ReadingAgain, Op::Read(generation))
            }
            (At::Syncing, _) => self.fail(FaultKind::Indeterminate, "it can't be made durable"),
            (At::ReadingAgain, Reply::Text(text)) if text == self.text => {
                self.ask(At::OpeningAgain, Op::Open)
            }
            (At::ReadingAgain, _) => {
                self.fail(FaultKind::Indeterminate, "it can't be read again after the sync")
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
        }
    }
}
