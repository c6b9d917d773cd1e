//! The file lock: a log of generations in a directory that all candidates share.
//!
//! `LOCK/` holds symbolic links `g.<20 digits>` whose target text is the record; the highest
//! number is the head. Creating a name is the one thing that every file system arbitrates on its
//! server: of several candidates that create one name, one succeeds. A symbolic link comes into
//! being together with its content, is read in one call, and is never followed.
//!
//! The steps (observe, claim, renew, finish, sweep) are pure; this file runs them against a
//! directory. It must not know when a lease has expired.

use std::cell::OnceCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::clock::{Clock, Instant, entropy};
use crate::error::{Failure, LockError};
use crate::lock::{Intent, Liveness, Lock, Observed, Waker};
use crate::record::{LeaderElectionRecord, MAX_LEASE_DURATION, RecordKind, Revision};

mod age;
mod bell;
pub(crate) mod claim;
mod companion;
mod end;
pub(crate) mod entry;
pub(crate) mod finish;
pub(crate) mod layout;
mod listing;
mod mount;
pub(crate) mod observe;
mod options;
mod place;
mod probes;
pub(crate) mod renew;
mod same_host;
mod say;
mod slot;
pub(crate) mod step;
pub(crate) mod store;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
mod trust;
#[cfg(target_os = "linux")]
mod wake;
#[cfg(not(target_os = "linux"))]
#[path = "file/wake/none.rs"]
mod wake;

use crate::sync::channel::Receiver;
use bell::Bell;
use claim::{Claim, Predecessor};
pub use companion::Companion;
use entry::{Entry, Text};
use layout::{MAX_GENERATION, name_of};
pub use mount::{FileSystem, FileSystemKind};
use observe::{Content, Head, Observe, Sight};
pub use options::FileLockOptions;
use renew::Renew;
use same_host::SameHost;
use slot::Slot;
use step::{Class, DirectoryId, Fault, Next, Reply, Step};
use store::Store;
use sweep::{Memory, REMOVALS_A_CLAIM, REMOVALS_A_RENEWAL, Sweep, Swept, removals_a_claim};
use wake::Listener;

/// A lock in a directory on a file system that all candidates share.
///
/// The directory is made with the first claim, in a parent that must exist. Only its owner may
/// enter it, unless [`FileLockOptions::mode`] says otherwise.
///
/// Replacing the directory while somebody leads (`mv LOCK x; mkdir LOCK`) voids the guarantee until
/// that leader notices, within its renew deadline, and starts fencing tokens again.
pub struct FileLock {
    path: PathBuf,
    store: Box<dyn Store>,
    clock: Clock,
    rng: SmallRng,
    durable: bool,
    head: Option<Box<Head>>,
    term: Option<Term>,
    memory: Memory,
    same_host: SameHost,
    /// From when somebody wants to be woken.
    bell: OnceCell<Bell>,
    /// The highest generation ever seen in a directory, which a stale view may hide again.
    highest: Option<(DirectoryId, u64)>,
    /// A claim has failed: what it has seen is not what the last look had shown.
    must_list: bool,
    /// Removals to make when there is time.
    due: Option<Due>,
    /// No look has succeeded yet, so that a refusal is for good.
    first_contact: bool,
    /// The same for writing: what can be read may be read-only.
    never_written: bool,
    /// It could have been written to when it was opened.
    was_writable: bool,
}

/// The term that this lock has acquired.
#[derive(Clone, Debug)]
struct Term {
    directory: DirectoryId,
    token: u64,
    text: Text,
    lease: Duration,
    /// The last generation that is known to be this term's.
    generation: u64,
    confirmed_at: Instant,
    /// Until when the lease lasts as the companion says it, or earlier than that.
    noted_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    directory: DirectoryId,
    head: u64,
    most: usize,
    until: Instant,
}

impl FileLock {
    /// A lock in the directory `path`, which is made when it is first claimed.
    ///
    /// # Errors
    ///
    /// `Fatal` if the path can't be a lock: its parent is missing or may be written by anybody,
    /// something else than a directory stands there, or its file system is known not to be safe.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, LockError> {
        Self::options().open(path)
    }

    /// Settings beside the path.
    pub fn options() -> FileLockOptions {
        FileLockOptions::default()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with_store(path: PathBuf, store: Box<dyn Store>, options: &FileLockOptions) -> Self {
        let boot = options.boot.clone().or_else(store::boot_id);
        Self {
            path,
            store,
            same_host: SameHost::new(options.companion.clone(), boot.clone()),
            clock: options.clock.clone(),
            rng: SmallRng::seed_from_u64(options.seed.unwrap_or_else(entropy)),
            durable: options.durable,
            head: None,
            term: None,
            memory: Memory::new(boot),
            bell: OnceCell::new(),
            highest: None,
            must_list: false,
            due: None,
            first_contact: true,
            never_written: true,
            was_writable: false,
        }
    }

    fn run<S: Step>(&mut self, step: &mut S) -> S::Output {
        self.run_after(step, |_, _| ())
    }

    /// Calls `opened` with each directory that is opened, before anything is read of it.
    fn run_after<S: Step>(
        &mut self,
        step: &mut S,
        opened: impl Fn(&mut Self, DirectoryId),
    ) -> S::Output {
        let mut reply = Reply::Begin;
        loop {
            if let Reply::Opened(directory) = reply {
                opened(self, directory);
            }
            match step.next(self.clock.now(), reply) {
                Next::Do(op) => reply = self.store.perform(&op),
                Next::Done(output) => return output,
            }
        }
    }

    fn listen_to(&mut self, id: DirectoryId) {
        if let (Some(bell), Some(directory)) = (self.bell.get_mut(), self.store.directory()) {
            bell.listen_to_directory(id, directory);
        }
    }

    fn look(&mut self) -> Result<(), LockError> {
        self.look_once()?;
        if self.is_held() && self.bell.get_mut().is_some_and(Bell::begin) {
            // What has changed since the first look is not heard of.
            self.look_once()?;
        }
        Ok(())
    }

    /// Whether a candidate would have to wait.
    fn is_held(&self) -> bool {
        self.head.as_ref().is_some_and(|head| match &head.content {
            Content::Entry(entry) => entry.record.kind == RecordKind::Held,
            Content::Corrupt(_) => true,
        })
    }

    fn look_once(&mut self) -> Result<(), LockError> {
        // Only a head that is known to be the highest may be looked at without a listing.
        let whole = |head: &&Head| !self.must_list && self.hidden_above(head).is_none();
        let known = self.head.as_deref().filter(whole);
        let mut step = Observe::new(known, self.first_contact);
        let sight = self.run_after(&mut step, Self::listen_to);
        self.note_highest(step.highest());
        let sight = sight.map_err(|fault| self.error(fault))?;
        self.first_contact = false;
        self.must_list = false;
        match sight {
            Sight::Unchanged => {}
            Sight::Nothing => self.vanished(),
            Sight::Head(head) => {
                if self.hidden_above(&head).is_some() {
                    // The listing went back.
                    self.memory.forget();
                } else {
                    self.memory.note(head.directory, head.generation, head.read_at);
                }
                self.head = Some(head);
            }
        }
        Ok(())
    }

    /// The log never becomes empty again by itself, nor does its directory go: whoever claims in a
    /// new one claims its first generation, whatever was seen of the old one. Claims of different
    /// names would not exclude each other.
    fn vanished(&mut self) {
        if let Some(head) = self.head.take() {
            log::warn!(
                "{}: generation {} and all others are gone; fencing tokens start again",
                self.path.display(),
                head.generation
            );
        }
        self.highest = None;
        self.memory.forget();
    }

    fn note_highest(&mut self, (directory, generation): (DirectoryId, u64)) {
        let known = self.highest.filter(|(known, _)| *known == directory);
        if generation > known.map_or(0, |(_, highest)| highest) {
            self.highest = Some((directory, generation));
        }
    }

    /// A generation above this head that was seen earlier, and that the view of it does not show.
    fn hidden_above(&self, head: &Head) -> Option<u64> {
        let (directory, highest) = self.highest?;
        (directory == head.directory && highest > head.generation).then_some(highest)
    }

    /// The version that a candidate waits on is the head and the highest generation ever seen: any
    /// change of either starts the wait again.
    fn version(&self, head: &Head) -> u64 {
        // An odd factor maps no two generations to one number.
        head.nonce() ^ self.hidden_above(head).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn observed(&self) -> Result<Option<Observed>, LockError> {
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let revision = Revision(head.generation);
        match &head.content {
            Content::Entry(entry) => {
                let mut record = entry.record.clone();
                if record.kind == RecordKind::Held {
                    let token = record.fencing_token.unwrap_or(head.generation);
                    record.renewals = head.generation.saturating_sub(token);
                }
                Ok(Some(Observed { record, revision, nonce: self.version(head) }))
            }
            Content::Corrupt(reason) => {
                let bytes = head.text.as_deref().unwrap_or_default().escape_ascii();
                let failure = Failure::new("read", self.name(head.generation)).hint(format!(
                    "{reason} (it says \"{bytes}\"); it counts as held for {}, since somebody may \
                     lead behind it; `elect reset --force` is for who knows that nobody does",
                    humantime::format_duration(MAX_LEASE_DURATION)
                ));
                Err(LockError::Corrupt { revision, nonce: self.version(head), failure })
            }
        }
    }

    fn acquire(
        &mut self,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.term = None;
        self.expect(expected)?;
        let after = self.head.as_deref().map(Predecessor::from);
        let generation = self.next_generation(expected.map_or(0, |revision| revision.0))?;
        let mut record = record.clone();
        record.fencing_token = Some(generation);
        let seen = self.head.as_ref().map(|head| (head.generation, head.read_at));
        let asked = self.clock.now();
        // May look at directories that hang, though nothing of the lock does.
        let holder = self.same_host.facts();
        let entry = self.entry(record, seen, holder);
        let text = self.encode(&entry)?;
        self.check_room(&entry, &text)?;
        let started = self.clock.now();
        let budget = budget.saturating_sub(started.since(asked));
        let mut step = Claim::new(after, text.clone(), budget)
            .durable(self.durable)
            .first_contact(self.never_written)
            .was_writable(self.was_writable);
        let claimed = self.run(&mut step);
        self.note_highest(step.highest());
        if step.went_back() {
            self.memory.forget();
        }
        self.must_list |= claimed.is_err();
        let claimed = claimed.map_err(|fault| {
            self.make_room(&fault, started + budget / 2);
            self.error(fault)
        })?;
        self.never_written = false;
        self.won(claimed.directory, generation, text, entry, started);
        // Otherwise a sweep would list, and find nothing to do.
        if self.memory.allows_a_sweep(self.clock.now(), step.names()) {
            let (directory, most) = (claimed.directory, removals_a_claim(step.names()));
            let until = started + budget / 2;
            self.due = Some(Due { directory, head: generation, most, until });
        }
        Ok(Revision(generation))
    }

    /// No sweep follows a claim that finds no room, and the lock's own names may be what fills it.
    fn make_room(&mut self, fault: &Fault, until: Instant) {
        let no_space = fault.errno.is_some_and(|errno| errno.class() == Class::NoSpace);
        if let Some(head) = self.head.as_ref().filter(|_| no_space) {
            let (directory, head) = (head.directory, head.generation);
            self.due = Some(Due { directory, head, most: REMOVALS_A_CLAIM, until });
        }
    }

    fn next_generation(&self, after: u64) -> Result<u64, LockError> {
        if after < MAX_GENERATION {
            return Ok(after + 1);
        }
        let failure = Failure::new("write after", self.name(after))
            .hint("the generations are used up; make another lock");
        Err(LockError::Fatal(failure))
    }

    fn won(
        &mut self,
        directory: DirectoryId,
        generation: u64,
        text: Text,
        entry: Entry,
        started: Instant,
    ) {
        let now = self.clock.now();
        // A claim has shown that nothing higher stands there.
        self.highest = Some((directory, generation));
        self.memory.note(directory, generation, now);
        let confirmed_at = now;
        let lease = entry.record.lease_duration;
        let noted_until = started + lease;
        self.same_host.confirmed(Slot::of(directory, generation), noted_until);
        self.head = Some(Box::new(Head {
            directory,
            generation,
            text: Some(text.clone()),
            content: Content::Entry(Box::new(entry)),
            read_at: now,
            listed_at: started,
        }));
        let token = generation;
        self.term =
            Some(Term { directory, token, text, lease, generation, confirmed_at, noted_until });
    }

    fn renew(
        &mut self,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        let Term { directory, text, generation, .. } = self.own_term(record, expected)?;
        self.next_generation(generation)?;
        let started = self.clock.now();
        let mut step = Renew::new(directory, generation, text, budget);
        let renewed = self.run(&mut step).map_err(|fault| self.error(fault))?;
        if let Some(term) = &mut self.term {
            term.generation = renewed;
            term.confirmed_at = self.clock.now();
            let until = started + term.lease;
            // Never later than it lasts; and a candidate that comes need not know to the second.
            if until.since(term.noted_until) >= term.lease / 3 {
                term.noted_until = until;
                self.same_host.confirmed(Slot::of(directory, term.token), until);
            } else {
                self.same_host.check();
            }
            self.memory.note(directory, renewed, term.confirmed_at);
        }
        let until = started + budget / 2;
        self.due = self.memory.superseded(started).map(|_| Due {
            directory,
            head: renewed,
            most: REMOVALS_A_RENEWAL,
            until,
        });
        Ok(Revision(renewed))
    }

    /// This lock's term, if `record` is of it and `expected` its generation: the last confirmed
    /// one, or a later one that a look has shown to be the term's.
    fn own_term(
        &mut self,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
    ) -> Result<Term, LockError> {
        let foreign = |lock: &Self| {
            let failure = Failure::new("write", lock.path.display())
                .hint("it is not the term that this lock has acquired");
            LockError::Conflict(failure)
        };
        let Some(term) = self.term.as_mut().filter(|t| Some(t.token) == record.fencing_token)
        else {
            return Err(foreign(self));
        };
        if let Some(head) = &self.head
            && expected == Some(Revision(head.generation))
            && head.directory == term.directory
            && head.text.as_ref() == Some(&term.text)
            && head.generation > term.generation
        {
            term.generation = head.generation;
            term.confirmed_at = head.read_at;
        }
        if expected != Some(Revision(term.generation)) {
            return Err(foreign(self));
        }
        Ok(term.clone())
    }

    /// Checks that `expected` is what the last look showed: it stands for the exact version, nonce
    /// included, that the caller has waited on. Only who has not looked gets a look made.
    fn expect(&mut self, expected: Option<Revision>) -> Result<(), LockError> {
        if self.head.is_none() && expected.is_some() {
            self.look()?;
        }
        let known = self.head.as_ref().map(|head| Revision(head.generation));
        if known == expected {
            return Ok(());
        }
        let hint = format!("expected revision {expected:?}, found {known:?}");
        Err(LockError::Conflict(Failure::new("write", self.path.display()).hint(hint)))
    }
}

impl Lock for FileLock {
    fn get(&mut self, _budget: Duration) -> Result<Option<Observed>, LockError> {
        self.look()?;
        self.observed()
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        match intent {
            Intent::Acquire => self.acquire(record, expected, budget),
            Intent::Renew => self.renew(record, expected, budget),
            Intent::Release | Intent::Complete => self.finish(intent, record, expected, budget),
        }
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn liveness(&mut self, observed: &Observed) -> Liveness {
        let Some(head) = self.head.as_deref() else { return Liveness::Unknown };
        let version = (Revision(head.generation), self.version(head));
        match &head.content {
            // A head that is known to be hiding a higher one proves nothing of who holds that.
            Content::Entry(entry)
                if version == (observed.revision, observed.nonce)
                    && self.hidden_above(head).is_none() =>
            {
                let now = self.clock.now();
                self.same_host.liveness(head.directory, entry, now, self.bell.get_mut())
            }
            _ => Liveness::Unknown,
        }
    }

    fn wake_ups(&self) -> Receiver<()> {
        self.bell.get_or_init(|| Bell::new(Listener::of_process())).rung()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.bell = OnceCell::from(Bell::calling(Listener::of_process(), waker));
        true
    }

    fn holder_is_dead(&mut self, observed: &Observed) -> bool {
        self.liveness(observed) == Liveness::Dead
    }

    fn tidy(&mut self) {
        if let (Some(_), Some(bell)) = (&self.term, self.bell.get_mut()) {
            bell.rest();
        }
        let Some(Due { directory, head, most, until }) = self.due.take() else {
            return;
        };
        let known = self.memory.superseded(self.clock.now()).is_some();
        let mut step = Sweep::new(&self.memory, directory, head, most, until);
        let swept = self.run(&mut step);
        if let Some(name) = step.refused() {
            self.memory.refused(name);
        }
        match swept {
            Swept::All if known => self.memory.swept(directory, head, self.clock.now()),
            Swept::WentBack => self.memory.forget(),
            Swept::Some if let Some(witnessed) = step.witnessed() => {
                self.memory.note_witnessed(directory, witnessed);
            }
            Swept::All | Swept::Some => {}
        }
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock").field("path", &self.path).finish_non_exhaustive()
    }
}
