//! A shared directory: what its server holds, and what a client may show of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leaderelection::testing::file::{DirectoryId, Op, Reply, Text};

/// The only directory.
pub const HOME: DirectoryId = DirectoryId { device: 1, inode: 1 };

pub type Names = BTreeMap<u64, Text>;

/// The names on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Directory {
    pub names: Names,
    /// When each name that is not synced yet was made; kept only where that matters.
    pub unsynced: BTreeMap<u64, u64>,
    /// When each name was made; kept only for a mutant that goes by it.
    pub made: BTreeMap<u64, u64>,
}

/// What is kept of when names were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    pub unsynced: bool,
    pub made: bool,
}

impl Directory {
    pub fn highest(&self) -> u64 {
        self.names.keys().next_back().copied().unwrap_or(0)
    }

    pub fn list(&self) -> Arc<[u64]> {
        self.names.keys().copied().collect()
    }

    /// Carries a call out at the tick `now`.
    pub fn perform(&mut self, op: &Op, now: u64, keeps: Keeps) -> Reply {
        match op {
            Op::Open => Reply::Opened(HOME),
            Op::Make => Reply::Exists,
            Op::List => Reply::Listed(self.list()),
            Op::Read(name) => read(&self.names, *name),
            Op::Create(name, text) => self.create(*name, text.clone(), now, keeps),
            Op::Link { from, to } => match self.names.get(from).cloned() {
                None => Reply::Missing,
                Some(text) => self.create(*to, text, now, keeps),
            },
            Op::Remove(name) => {
                self.unsynced.remove(name);
                self.made.remove(name);
                match self.names.remove(name) {
                    Some(_) => Reply::Done,
                    None => Reply::Missing,
                }
            }
            Op::Sync => {
                self.unsynced.clear();
                Reply::Done
            }
        }
    }

    fn create(&mut self, name: u64, text: Text, now: u64, keeps: Keeps) -> Reply {
        if self.names.contains_key(&name) {
            return Reply::Exists;
        }
        self.names.insert(name, text);
        if keeps.unsynced {
            self.unsynced.insert(name, now);
        }
        if keeps.made {
            self.made.insert(name, now);
        }
        Reply::Done
    }

    /// Whether a loss of what was not synced in the last `ticks` would lose something.
    pub fn can_lose(&self, now: u64, ticks: u64) -> bool {
        self.unsynced.values().any(|made| made + ticks > now)
    }

    /// The server loses what was not synced in the last `ticks`.
    pub fn lose(&mut self, now: u64, ticks: u64) {
        let lost: Vec<u64> =
            self.unsynced.iter().filter(|(_, made)| *made + ticks > now).map(|(n, _)| *n).collect();
        for name in lost {
            self.names.remove(&name);
        }
        self.unsynced.clear();
    }
}

/// What a set of names says to a read.
pub fn read(names: &Names, name: u64) -> Reply {
    match names.get(&name) {
        Some(text) => Reply::Text(text.clone()),
        None => Reply::Missing,
    }
}

/// A listing that takes its time: what stands there throughout is returned, the rest may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    throughout: BTreeSet<u64>,
    perhaps: BTreeSet<u64>,
}

impl Listing {
    pub fn begin(names: &Names) -> Self {
        Self { throughout: names.keys().copied().collect(), perhaps: BTreeSet::new() }
    }

    /// Takes in what has changed.
    pub fn note(&mut self, names: &Names) {
        let gone: Vec<u64> =
            self.throughout.iter().copied().filter(|name| !names.contains_key(name)).collect();
        for name in gone {
            self.throughout.remove(&name);
            self.perhaps.insert(name);
        }
        let came = names.keys().copied().filter(|name| !self.throughout.contains(name));
        self.perhaps.extend(came);
    }

    /// The names up to which it may return something. Only the highest decides anything, so of
    /// what may be returned, all below that is.
    pub fn tops(&self) -> Vec<u64> {
        let least = self.throughout.last().copied().unwrap_or(0);
        let above = self.perhaps.iter().copied().filter(|name| *name > least);
        std::iter::once(least).chain(above).collect()
    }

    pub fn up_to(&self, top: u64) -> Arc<[u64]> {
        let names: BTreeSet<u64> = self.throughout.union(&self.perhaps).copied().collect();
        names.into_iter().filter(|name| *name <= top).collect()
    }
}
