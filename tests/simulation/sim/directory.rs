//! A directory on a network: names that one client makes, and others see after a while.
//!
//! What it may do is what the file protocol allows. Creating, linking and removing a name is
//! atomic. A listing shows what stands there throughout; what is made or removed meanwhile it may
//! show or not. A read may show what stood there at any time since the reader opened the directory.

use std::collections::VecDeque;
use std::sync::Arc;

use leaderelection::testing::file::{Decoded, DirectoryId, Op, Reply, Text, decode};
use leaderelection::{Intent, LeaderElectionRecord, RecordKind};

use super::rng::Rng;
use super::time::{MINUTE, True};

/// For so long it is known what stood under a name that was removed.
const REMEMBERED: u64 = 10 * MINUTE;

const ID: DirectoryId = DirectoryId { device: 1, inode: 1 };

#[derive(Clone, Debug)]
struct Name {
    number: u64,
    since: True,
    text: Text,
    record: Option<Arc<LeaderElectionRecord>>,
}

#[derive(Clone, Debug, Default)]
pub struct Directory {
    made: bool,
    /// By their numbers.
    names: VecDeque<Name>,
    /// What was removed, and when, in the order in which it was.
    removed: VecDeque<Removed>,
    /// Out of a thousand reads so many show an older state.
    pub stale: u64,
    /// A mutant: creating a name replaces what stands there.
    replaces: bool,
    /// The next name that is created says something that nobody can read.
    pub tears: bool,
    pub counts: Counts,
}

/// What was shown otherwise than it stood there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub stale_reads: u64,
    pub torn_listings: u64,
    pub torn_writes: u64,
}

#[derive(Clone, Debug)]
struct Removed {
    at: True,
    was: Name,
}

/// When a call was sent, and when its sender opened the directory.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub sent: True,
    pub opened: True,
}

/// A new head.
#[derive(Clone, Debug)]
pub struct Written {
    pub intent: Intent,
    pub generation: u64,
    pub record: Arc<LeaderElectionRecord>,
}

impl Directory {
    pub fn new(stale: u64, replaces: bool) -> Self {
        Self { stale, replaces, ..Self::default() }
    }

    /// Carries a call out at `at`; tells of a name that is the highest now.
    pub fn perform(
        &mut self,
        at: True,
        op: &Op,
        view: View,
        rng: &mut Rng,
    ) -> (Reply, Option<Written>) {
        if !self.made && *op != Op::Make {
            return (Reply::Missing, None);
        }
        let reply = match op {
            Op::Open => Reply::Opened(ID),
            Op::Make if self.made => Reply::Exists,
            Op::Make => {
                self.made = true;
                Reply::Done
            }
            Op::List => self.list(at, view, rng),
            Op::Read(name) => self.read(at, *name, view, rng),
            Op::Create(name, text) => return self.create(at, *name, text, rng),
            Op::Link { from, to } => match self.get(*from).cloned() {
                Some(Name { text, record, .. }) => {
                    return self.make(at, *to, text, record, Some(Intent::Renew));
                }
                None => Reply::Missing,
            },
            Op::Remove(name) => match self.remove(*name) {
                Some(was) => {
                    self.removed.push_back(Removed { at, was });
                    self.forget(at);
                    Reply::Done
                }
                None => Reply::Missing,
            },
            Op::Sync => Reply::Done,
        };
        (reply, None)
    }

    fn create(
        &mut self,
        at: True,
        name: u64,
        text: &Text,
        rng: &mut Rng,
    ) -> (Reply, Option<Written>) {
        let is_free = self.get(name).is_none();
        if is_free && std::mem::take(&mut self.tears) {
            self.counts.torn_writes += 1;
            return self.make(at, name, cut(text, rng), None, None);
        }
        let record = match decode(text) {
            Decoded::Entry(entry) => Some(Arc::new(entry.record)),
            _ => None,
        };
        self.make(at, name, text.clone(), record, None)
    }

    fn make(
        &mut self,
        at: True,
        name: u64,
        text: Text,
        record: Option<Arc<LeaderElectionRecord>>,
        intent: Option<Intent>,
    ) -> (Reply, Option<Written>) {
        let place = self.place(name);
        match place {
            Ok(place) if self.replaces && intent.is_none() => drop(self.names.remove(place)),
            Ok(_) => return (Reply::Exists, None),
            Err(_) => {}
        }
        let is_highest = self.names.back().is_none_or(|highest| highest.number < name);
        let written = record.clone().filter(|_| is_highest).map(|record| {
            let intent = intent.unwrap_or(match record.kind {
                RecordKind::Held => Intent::Acquire,
                RecordKind::Released => Intent::Release,
                RecordKind::Completed => Intent::Complete,
            });
            Written { intent, generation: name, record }
        });
        let place = place.unwrap_or_else(|free| free);
        self.names.insert(place, Name { number: name, since: at, text, record });
        (Reply::Done, written)
    }

    /// The highest name says something that nobody can read; whether there is one.
    pub fn corrupt(&mut self, rng: &mut Rng) -> bool {
        let Some(head) = self.names.back_mut() else {
            return false;
        };
        (head.text, head.record) = (cut(&head.text, rng), None);
        true
    }

    /// Nobody can read the highest name.
    pub fn is_corrupt(&self) -> bool {
        self.names.back().is_some_and(|head| head.record.is_none())
    }

    /// Where it stands, or would.
    fn place(&self, name: u64) -> Result<usize, usize> {
        self.names.binary_search_by_key(&name, |known| known.number)
    }

    fn get(&self, name: u64) -> Option<&Name> {
        self.names.get(self.place(name).ok()?)
    }

    fn remove(&mut self, name: u64) -> Option<Name> {
        self.names.remove(self.place(name).ok()?)
    }

    fn forget(&mut self, at: True) {
        while self.removed.front().is_some_and(|removed| removed.at + REMEMBERED <= at) {
            self.removed.pop_front();
        }
    }

    fn list(&mut self, at: True, view: View, rng: &mut Rng) -> Reply {
        let began = an_older_time(view.sent, at, rng);
        let mut listed = Vec::with_capacity(self.names.len() + 4);
        let mut is_torn = false;
        let mut shows = || {
            is_torn = true;
            rng.chance(500)
        };
        for known in &self.names {
            if known.since <= began || shows() {
                listed.push(known.number);
            }
        }
        let removed = self.removed.iter().rev().take_while(|removed| removed.at > began);
        let standing = listed.len();
        listed.extend(removed.map(|removed| removed.was.number).filter(|_| shows()));
        if listed.len() > standing {
            listed.sort_unstable();
            listed.dedup();
        }
        self.counts.torn_listings += u64::from(is_torn);
        Reply::Listed(listed.into())
    }

    fn read(&mut self, at: True, name: u64, view: View, rng: &mut Rng) -> Reply {
        let present = self.get(name);
        let shown = match rng.chance(self.stale) {
            true => self.as_of(an_older_time(view.opened.min(at), at, rng), name),
            false => present,
        };
        let since = |known: Option<&Name>| known.map(|known| known.since);
        let is_stale = since(shown) != since(present);
        let reply = shown.map_or(Reply::Missing, |shown| Reply::Text(shown.text.clone()));
        self.counts.stale_reads += u64::from(is_stale);
        reply
    }

    fn as_of(&self, at: True, name: u64) -> Option<&Name> {
        let stood = |known: &&Name| known.since <= at;
        let present = self.get(name).filter(stood);
        present.or_else(|| {
            let since = self.removed.iter().rev().take_while(|removed| removed.at > at);
            since.map(|removed| &removed.was).filter(|was| was.number == name).find(stood)
        })
    }
}

/// Of what a view may show, the oldest is the worst.
fn an_older_time(oldest: True, at: True, rng: &mut Rng) -> True {
    match rng.chance(500) {
        true => oldest,
        false => rng.between(oldest, at),
    }
}

/// A part of it, and never all.
fn cut(text: &Text, rng: &mut Rng) -> Text {
    text[..rng.below(text.len() as u64) as usize].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: View = View { sent: 0, opened: 0 };

    fn text(of: &str) -> Text {
        of.as_bytes().into()
    }

    fn made() -> (Directory, Rng) {
        let (mut directory, mut rng) = (Directory::new(0, false), Rng::new(1));
        assert_eq!(directory.perform(0, &Op::Open, FRESH, &mut rng).0, Reply::Missing);
        assert_eq!(directory.perform(0, &Op::Make, FRESH, &mut rng).0, Reply::Done);
        (directory, rng)
    }

    #[test]
    fn one_of_two_makes_a_name_and_a_link_needs_its_source() {
        let (mut directory, mut rng) = made();
        let mut perform = |op: Op| directory.perform(1, &op, FRESH, &mut rng).0;
        assert_eq!(perform(Op::Create(1, text("a"))), Reply::Done);
        assert_eq!(perform(Op::Create(1, text("b"))), Reply::Exists);
        assert_eq!(perform(Op::Link { from: 1, to: 2 }), Reply::Done);
        assert_eq!(perform(Op::Link { from: 7, to: 8 }), Reply::Missing);
        assert_eq!(perform(Op::Read(2)), Reply::Text(text("a")));
        assert_eq!(perform(Op::Remove(2)), Reply::Done);
        assert_eq!(perform(Op::Read(2)), Reply::Missing);
    }

    #[test]
    fn a_listing_shows_what_stands_throughout_and_the_rest_at_times() {
        let (mut directory, mut rng) = made();
        for (at, name) in [(10, 1), (50, 2)] {
            directory.perform(at, &Op::Create(name, text("a")), FRESH, &mut rng);
        }
        let view = View { sent: 20, opened: 0 };
        let mut seen = [0, 0];
        for _ in 0..1000 {
            let Reply::Listed(names) = directory.perform(60, &Op::List, view, &mut rng).0 else {
                panic!("no listing");
            };
            assert!(names.contains(&1));
            seen[usize::from(names.contains(&2))] += 1;
        }
        assert!(seen[0] > 100 && seen[1] > 100, "{seen:?}");
    }

    #[test]
    fn what_is_corrupt_is_no_entry() {
        let (mut directory, mut rng) = made();
        assert!(!directory.corrupt(&mut rng));
        directory.perform(1, &Op::Create(1, text("abc")), FRESH, &mut rng);
        assert!(directory.corrupt(&mut rng) && directory.is_corrupt());
        let (reply, _) = directory.perform(2, &Op::Read(1), FRESH, &mut rng);
        assert!(matches!(reply, Reply::Text(text) if text.len() < 3));
    }

    #[test]
    fn a_stale_read_shows_nothing_from_before_the_directory_was_opened() {
        let (mut directory, mut rng) = made();
        directory.stale = 1000;
        directory.perform(10, &Op::Create(1, text("a")), FRESH, &mut rng);
        directory.perform(20, &Op::Remove(1), FRESH, &mut rng);
        let mut read = |opened| {
            let view = View { sent: opened, opened };
            directory.perform(30, &Op::Read(1), view, &mut rng).0
        };
        assert_eq!(read(20), Reply::Missing);
        let shown: Vec<Reply> = (0..100).map(|_| read(15)).collect();
        assert!(shown.contains(&Reply::Text(text("a"))) && shown.contains(&Reply::Missing));
    }
}
