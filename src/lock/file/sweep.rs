//! Sweep: remove generations that were superseded long ago. Nothing else ever removes one.
//!
//! Age counts from when a name was surely superseded: from an instant after a read that showed a
//! higher generation, never from a name's creation or first sight. A sweep by age since creation
//! made two leaders in the model.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::file::entry::{BootId, Decoded, Entry, Witness, decode};
use crate::lock::file::step::{Class, DirectoryId, Errno, KEEP, Next, Op, Reply, Step};

/// The most removals that follow a renewal: with the default settings all that has become due, so
/// that one listing in 15 renewals is enough. Their time is bounded too.
pub const REMOVALS_A_RENEWAL: usize = 16;

/// The most removals that follow a claim, where the log is not long.
pub const REMOVALS_A_CLAIM: usize = 48;

/// Of a long log, a claim may remove this share: where each of many hosts claims seldom, a claim
/// seldom finds a witness of its own boot.
const SHARE_A_CLAIM: usize = 16;

/// Below this many names nobody looks for a witness.
const FEW_NAMES: usize = 40;

/// The most names that a sweep fails to remove before it gives up.
const MOST_REFUSALS: usize = 8;

/// The shares of the log, from its newer end, at which a witness is looked for.
const PROBES: usize = 8;

/// The most removals that follow a claim in a log of so many names. Their time is bounded too.
pub fn removals_a_claim(names: usize) -> usize {
    REMOVALS_A_CLAIM.max(names / SHARE_A_CLAIM)
}

/// What this process knows to be superseded, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    boot: Option<BootId>,
    directory: Option<DirectoryId>,
    /// A generation that stood as the head at that instant.
    pair: Option<(u64, Instant)>,
    /// Up to this one, names are left that can't be removed: directories, or another user's.
    refused: u64,
    keep: Duration,
    few_names: usize,
}

impl Memory {
    /// Knows nothing yet. Without a boot identity no witness counts.
    pub fn new(boot: Option<BootId>) -> Self {
        Self { boot, directory: None, pair: None, refused: 0, keep: KEEP, few_names: FEW_NAMES }
    }

    /// With other constants, for a model whose windows and logs are shorter.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn scaled(mut self, keep: Duration, few_names: usize) -> Self {
        (self.keep, self.few_names) = (keep, few_names);
        self
    }

    /// Generation `generation` was read, or made, as the head of `directory` before `now`.
    pub fn note(&mut self, directory: DirectoryId, generation: u64, now: Instant) {
        let other = self.directory != Some(directory);
        // A head that went back: what was known of this directory can't be trusted.
        let back = self.pair.is_some_and(|(known, _)| generation < known);
        if other {
            self.refused = 0;
        }
        if other || back || self.pair.is_none() {
            self.directory = Some(directory);
            self.pair = Some((generation, now));
        }
    }

    /// A listing went back, or the like: forget.
    pub fn forget(&mut self) {
        self.pair = None;
    }

    /// Everything below this generation may be removed.
    pub fn superseded(&self, now: Instant) -> Option<u64> {
        let (generation, at) = self.pair?;
        (now.since(at) >= self.keep).then_some(generation)
    }

    /// Whether a sweep that follows a claim may have something to do where so many names stand.
    pub fn allows_a_sweep(&self, now: Instant, names: usize) -> bool {
        self.superseded(now).is_some() || names > self.few_names
    }

    /// All below the pair's generation is gone: the next pair begins with the present head.
    pub fn swept(&mut self, directory: DirectoryId, head: u64, now: Instant) {
        self.directory = Some(directory);
        self.pair = Some((head, now));
    }

    /// By a witness, this generation stood as the head of `directory` at that instant: what a sweep
    /// has left below it is for the next ones.
    pub fn note_witnessed(&mut self, directory: DirectoryId, (generation, at): (u64, Instant)) {
        if self.directory == Some(directory) {
            self.pair = Some((generation, at));
        }
    }

    /// This name could not be removed: leave it, so that it does not stand before the others.
    pub fn refused(&mut self, name: u64) {
        self.refused = self.refused.max(name);
    }

    /// The witness to write beside a record, if the generation before it was read as the head at
    /// `read_at`.
    pub fn witness(&self, generation: u64, read_at: Instant) -> Option<Witness> {
        let boot = self.boot.clone()?;
        Some(Witness { generation, boot, clock_nanos: read_at.as_nanos() })
    }

    /// The generation below which an entry's witness allows removal, and when it was the head. One
    /// of another boot or time namespace is ignored: its clock can't be compared.
    fn superseded_by(&self, name: u64, entry: &Entry, now: Instant) -> Option<(u64, Instant)> {
        let witness = entry.witness.as_ref()?;
        let comparable = self.boot.as_ref() == Some(&witness.boot);
        let at = Instant::from_nanos(witness.clock_nanos);
        let old = now.since(at) >= self.keep;
        // It speaks of what its writer had read before it wrote this one, never of its own claim.
        (comparable && old && witness.generation < name).then_some((witness.generation, at))
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swept {
    /// Everything below the generation is gone.
    All,
    /// Some of it is left, or nothing was to be done.
    Some,
    /// The listing went back: what was known is not to be trusted.
    WentBack,
}

/// The step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    memory: Memory,
    directory: DirectoryId,
    /// The head as this process knows it: a listing that does not reach it has gone back.
    head: u64,
    below: Option<u64>,
    /// The same with its instant, if a witness says so.
    witnessed: Option<(u64, Instant)>,
    most: usize,
    /// No removal after it.
    until: Instant,
    names: std::sync::Arc<[u64]>,
    /// The probes that are left, as indices of `names`, the next one last.
    probes: Vec<usize>,
    /// The index of the next name to remove.
    next: usize,
    removed: usize,
    refusals: usize,
    refused: Option<u64>,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Opening,
    Listing,
    Probing(u64),
    Removing(u64),
}

impl Sweep {
    /// Sweeps at most `most` names, none after `until`, below what is known to be superseded.
    pub fn new(
        memory: &Memory,
        directory: DirectoryId,
        head: u64,
        most: usize,
        until: Instant,
    ) -> Self {
        Self {
            memory: memory.clone(),
            directory,
            head,
            below: None,
            witnessed: None,
            most,
            until,
            names: std::sync::Arc::default(),
            probes: Vec::new(),
            next: 0,
            removed: 0,
            refusals: 0,
            refused: None,
            at: At::Begin,
        }
    }

    /// The highest name that could not be removed.
    pub fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// What a witness has told.
    pub fn witnessed(&self) -> Option<(u64, Instant)> {
        self.witnessed
    }

    fn ask<T>(&mut self, at: At, op: Op) -> Next<T> {
        self.at = at;
        Next::Do(op)
    }

    fn listed(&mut self, now: Instant, names: std::sync::Arc<[u64]>) -> Next<Swept> {
        self.below = self.memory.superseded(now);
        let known = self.head.max(self.below.unwrap_or(0));
        if names.last().is_none_or(|&highest| highest < known) {
            return Next::Done(Swept::WentBack);
        }
        self.next = names.partition_point(|&name| name <= self.memory.refused);
        self.names = names;
        let claims = self.most > REMOVALS_A_RENEWAL;
        if self.below.is_none() && claims && self.names.len() > self.memory.few_names {
            // Newest first: the highest witness that is old enough frees the most.
            let share = self.names.len().div_ceil(PROBES);
            self.probes = (0..PROBES).map(|probe| probe * share).collect();
            self.probes.retain(|&index| index < self.names.len());
        }
        self.probe_or_remove(now)
    }

    fn probe_or_remove(&mut self, now: Instant) -> Next<Swept> {
        match self.probes.pop() {
            Some(index) if self.below.is_none() => {
                let name = self.names[index];
                self.ask(At::Probing(name), Op::Read(name))
            }
            _ => self.remove(now),
        }
    }

    fn probed(&mut self, now: Instant, name: u64, reply: Reply) -> Next<Swept> {
        if let Reply::Text(text) = reply
            && let Decoded::Entry(entry) = decode(&text)
        {
            let witnessed = self.memory.superseded_by(name, &entry, now);
            // Only what the listing reaches is known to stand.
            self.witnessed = witnessed.filter(|&(below, _)| below <= self.head);
            self.below = self.witnessed.map(|(below, _)| below);
        }
        self.probe_or_remove(now)
    }

    fn remove(&mut self, now: Instant) -> Next<Swept> {
        let Some(below) = self.below else {
            return Next::Done(Swept::Some);
        };
        match self.names.get(self.next).copied() {
            Some(name) if name < below && self.may_go_on(now) => {
                self.next += 1;
                self.ask(At::Removing(name), Op::Remove(name))
            }
            Some(name) if name < below => Next::Done(Swept::Some),
            _ => Next::Done(Swept::All),
        }
    }

    fn may_go_on(&self, now: Instant) -> bool {
        self.removed < self.most && self.refusals < MOST_REFUSALS && now < self.until
    }

    /// A name that is not a link, or that only its owner may remove, must not keep the others.
    fn not_removed(&mut self, now: Instant, name: u64, errno: Errno) -> Next<Swept> {
        let directory = errno == Errno(rustix::io::Errno::ISDIR.raw_os_error());
        if !directory && errno.class() != Class::Denied {
            return Next::Done(Swept::Some);
        }
        self.refusals += 1;
        self.refused = Some(name);
        self.remove(now)
    }
}

impl Step for Sweep {
    type Output = Swept;

    fn next(&mut self, now: Instant, reply: Reply) -> Next<Swept> {
        match (self.at, reply) {
            (At::Begin, _) => self.ask(At::Opening, Op::Open),
            (At::Opening, Reply::Opened(directory)) if directory == self.directory => {
                self.ask(At::Listing, Op::List)
            }
            (At::Listing, Reply::Listed(names)) => self.listed(now, names),
            (At::Probing(name), reply) => self.probed(now, name, reply),
            (At::Removing(_), Reply::Done | Reply::Missing) => {
                self.removed += 1;
                self.remove(now)
            }
            (At::Removing(name), Reply::Failed(errno)) => self.not_removed(now, name, errno),
            // A sweep that fails is no harm: the next one goes on.
            (At::Opening | At::Listing | At::Removing(_), _) => Next::Done(Swept::Some),
        }
    }
}
