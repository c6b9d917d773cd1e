//! A directory in memory, and what may befall a call on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::file::{DirectoryId, Errno, Op, Reply, Store, Text};

use crate::world::World;

const EIO: i32 = 5;
const ETIMEDOUT: i32 = 110;
const HERE: DirectoryId = DirectoryId { device: 1, inode: 1 };

/// The directory that all candidates share.
#[derive(Debug, Default)]
pub struct Disk {
    made: bool,
    names: BTreeMap<u64, Text>,
    /// Calls that were given up by whoever made them, and are carried out later, in true time.
    late: Vec<(Duration, Op)>,
}

impl Disk {
    fn apply(&mut self, op: &Op) -> Reply {
        match op {
            Op::Open if self.made => Reply::Opened(HERE),
            Op::Open => Reply::Missing,
            Op::Make if self.made => Reply::Exists,
            Op::Make => {
                self.made = true;
                Reply::Done
            }
            Op::List => Reply::Listed(self.names.keys().copied().collect()),
            Op::Read(name) => {
                self.names.get(name).map_or(Reply::Missing, |text| Reply::Text(Arc::clone(text)))
            }
            Op::Create(name, text) => self.create(*name, Arc::clone(text)),
            Op::Link { from, to } => match self.names.get(from).cloned() {
                Some(text) => self.create(*to, text),
                None => Reply::Missing,
            },
            Op::Remove(name) => match self.names.remove(name) {
                Some(_) => Reply::Done,
                None => Reply::Missing,
            },
            Op::Sync => Reply::Done,
        }
    }

    fn create(&mut self, name: u64, text: Text) -> Reply {
        if self.names.contains_key(&name) {
            return Reply::Exists;
        }
        self.names.insert(name, text);
        Reply::Done
    }

    /// Carries out what comes late by `now`.
    pub fn catch_up(&mut self, now: Duration) {
        let due: Vec<_> = self.late.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, op) in due {
            self.apply(&op);
        }
    }

    /// When the next late call is carried out.
    pub fn next_late(&self) -> Option<Duration> {
        self.late.iter().map(|(at, _)| *at).min()
    }

    /// How many generations stand there.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mishap {
    /// It hangs for so long, and is carried out at the end of that or at its beginning.
    Hangs { span: Duration, late: bool },
    /// The whole process stands still for so long, right before the call or right after it.
    Freezes { span: Duration, before: bool },
    /// It fails at once, and is carried out so long after that.
    ComesLate(Duration),
    /// It comes late, and once more a little later.
    ComesTwice(Duration),
    /// It fails, and is not carried out.
    IsLost,
    /// A listing takes so long, and shows of what came or went meanwhile nothing.
    IsTorn(Duration),
}

/// A candidate's way to the disk.
pub struct Way {
    pub world: Arc<World>,
    pub node: usize,
}

impl Way {
    fn apply(&self, op: &Op) -> Reply {
        self.world.disk.lock().apply(op)
    }

    fn put_off(&self, op: &Op, span: Duration) {
        let at = self.world.now() + span;
        self.world.disk.lock().late.push((at, op.clone()));
    }
}

impl Store for Way {
    fn perform(&mut self, op: &Op) -> Reply {
        match self.world.mishap(self.node) {
            None => self.apply(op),
            Some(Mishap::Hangs { span, late: true }) => {
                self.world.pass(span);
                self.apply(op)
            }
            Some(Mishap::Hangs { span, late: false }) => {
                let reply = self.apply(op);
                self.world.pass(span);
                reply
            }
            Some(Mishap::Freezes { span, before: true }) => {
                self.world.freeze(self.node, span);
                self.apply(op)
            }
            Some(Mishap::Freezes { span, before: false }) => {
                let reply = self.apply(op);
                self.world.freeze(self.node, span);
                reply
            }
            Some(Mishap::ComesLate(span)) => {
                self.put_off(op, span);
                Reply::Failed(Errno(ETIMEDOUT))
            }
            Some(Mishap::ComesTwice(span)) => {
                self.put_off(op, span);
                self.put_off(op, span * 2);
                Reply::Failed(Errno(ETIMEDOUT))
            }
            Some(Mishap::IsTorn(span)) => {
                let before = self.apply(op);
                self.world.pass(span);
                match (before, self.apply(op)) {
                    (Reply::Listed(before), Reply::Listed(after)) => {
                        let stood = |name: &&u64| after.binary_search(name).is_ok();
                        Reply::Listed(before.iter().filter(stood).copied().collect())
                    }
                    (before, _) => before,
                }
            }
            Some(Mishap::IsLost) => Reply::Failed(Errno(EIO)),
        }
    }
}
