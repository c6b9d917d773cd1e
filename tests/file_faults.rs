//! The file lock through a layer that makes system calls fail, lie, or be the last: after each, a
//! fresh candidate reads a sane head and leads in bounded time, and nobody leads beside it.
#![cfg(feature = "testing")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::file::{Errno, Op, Reply, Store, name_of};
use leaderelection::testing::{
    Action, Clock, Election, End, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{
    FileLock, Incarnation, Intent, LeaderElectionRecord, Liveness, Lock, LockError,
    MAX_LEASE_DURATION, OnSuccess, RecordKind, Revision,
};

const LEASE: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Linux's numbers; the protocol knows them by name.
const EPERM: i32 = 1;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EMLINK: i32 = 31;
const ETIMEDOUT: i32 = 110;
const EDQUOT: i32 = 122;
const ESTALE: i32 = 116;

const ERRORS: [i32; 9] = [EPERM, EIO, EACCES, ENOSPC, EROFS, EMLINK, ETIMEDOUT, ESTALE, EDQUOT];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Not carried out.
    Fails(i32),
    /// Carried out, and said to have failed.
    Lies(i32),
    /// Not carried out, and neither is any call after it.
    Last,
    /// Carried out, and no call after it is.
    LastDone,
}

/// Passes calls on, and does its worst to one of them.
struct Faulty<S> {
    store: S,
    calls: Arc<std::sync::atomic::AtomicUsize>,
    at: usize,
    fault: Fault,
}

impl<S: Store> Store for Faulty<S> {
    fn perform(&mut self, op: &Op) -> Reply {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let dead = Reply::Failed(Errno(EIO));
        match (call.cmp(&self.at), self.fault) {
            (std::cmp::Ordering::Equal, Fault::Fails(errno)) => Reply::Failed(Errno(errno)),
            (std::cmp::Ordering::Equal, Fault::Lies(errno)) => {
                self.store.perform(op);
                Reply::Failed(Errno(errno))
            }
            (std::cmp::Ordering::Equal, Fault::LastDone) => {
                self.store.perform(op);
                dead
            }
            (std::cmp::Ordering::Equal | std::cmp::Ordering::Greater, Fault::Last)
            | (std::cmp::Ordering::Greater, Fault::LastDone) => dead,
            _ => self.store.perform(op),
        }
    }
}

/// Lets a symbolic link have so many names, and says `errno` to more.
struct FewLinks<S> {
    store: S,
    names: usize,
    most: usize,
    errno: i32,
}

impl<S: Store> Store for FewLinks<S> {
    fn perform(&mut self, op: &Op) -> Reply {
        match op {
            Op::Create(..) => self.names = 1,
            Op::Link { .. } if self.names == self.most => return Reply::Failed(Errno(self.errno)),
            Op::Link { .. } => self.names += 1,
            _ => {}
        }
        self.store.perform(op)
    }
}

struct Bench {
    clock: Clock,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        // In memory, where there is such a place: thousands of syncs would take minutes on a disk.
        let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { clock: Clock::simulated(), scratch: scratch.unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("x.lock")
    }

    fn lock(&self) -> FileLock {
        FileLock::options().clock(self.clock.clone()).open(self.path()).unwrap()
    }

    fn faulty(&self, at: usize, fault: Fault) -> (FileLock, Arc<std::sync::atomic::AtomicUsize>) {
        let options = FileLock::options().clock(self.clock.clone());
        let calls = Arc::default();
        let store =
            Faulty { store: options.store(&self.path()), calls: Arc::clone(&calls), at, fault };
        (options.open_store(self.path(), store), calls)
    }

    fn stands(&self, revision: Revision) -> bool {
        self.path().join(name_of(revision.0)).symlink_metadata().is_ok()
    }

    /// Elects a fresh candidate with the real machine; returns its token and when its term began.
    fn elect(&self, patience: Duration) -> (u64, Instant) {
        let settings = Settings {
            identity: "fresh".into(),
            metadata: "".into(),
            lease_duration: LEASE,
            renew_deadline: DEADLINE,
            retry_period: SECOND * 2,
            term_limit: None,
            acquire_timeout: None,
            drain_timeout: LEASE,
            on_success: OnSuccess::Hold,
        };
        let start = self.clock.now();
        let mut lock = self.lock();
        let mut election = Election::new(settings, Incarnation(77), start, None);
        let mut event = Event::Tick;
        loop {
            let mut actions = Vec::new();
            election.step(self.clock.now(), Jitter(u32::MAX / 2), event, &mut actions);
            event = Event::Tick;
            for action in actions {
                match action {
                    Action::BeginTerm { fencing_token, .. } => {
                        return (fencing_token, self.clock.now());
                    }
                    Action::Read { .. } => event = Event::Read(read(&mut lock)),
                    Action::Write { intent, record, expected, .. } => {
                        event = Event::Written(write(&mut lock, intent, &record, expected));
                    }
                    Action::Finish { end, .. } => {
                        assert_ne!(end, End::LockFailed, "a fresh candidate finds no lock");
                        panic!("the campaign ended: {end:?}");
                    }
                    _ => {}
                }
            }
            let waited = self.clock.now().since(start);
            assert!(waited < patience, "nobody leads after {waited:?}");
            if event == Event::Tick {
                let deadline = election.next_deadline().expect("a campaign has a next look");
                self.clock.advance(deadline.since(self.clock.now()).max(Duration::from_nanos(1)));
            }
        }
    }
}

fn read(lock: &mut FileLock) -> ReadReply {
    match lock.get(DEADLINE) {
        Ok(None) => ReadReply::Absent,
        Ok(Some(observed)) => ReadReply::Found { observed, liveness: Liveness::Unknown },
        Err(LockError::Corrupt { revision, nonce, .. }) => ReadReply::Corrupt { revision, nonce },
        Err(LockError::Fatal(failure)) => panic!("fatal: {failure}"),
        Err(_) => ReadReply::Unavailable,
    }
}

fn write(
    lock: &mut FileLock,
    intent: Intent,
    record: &LeaderElectionRecord,
    expected: Option<Revision>,
) -> WriteReply {
    match lock.write(intent, record, expected, DEADLINE) {
        Ok(revision) => WriteReply::Written(revision),
        Err(LockError::Conflict(_)) => WriteReply::Conflict,
        Err(LockError::Unavailable(_)) => WriteReply::Unavailable,
        Err(LockError::Fatal(_)) => WriteReply::Fatal,
        Err(_) => WriteReply::Indeterminate,
    }
}

/// A candidate that leads as long as its lock lets it, and what it believed.
#[derive(Default)]
struct Victim {
    token: Option<Revision>,
    revision: Option<Revision>,
    valid_until: Option<Instant>,
    ended: bool,
}

impl Victim {
    fn record(&self) -> LeaderElectionRecord {
        let mut record = LeaderElectionRecord::new("victim", Incarnation(5), LEASE);
        record.fencing_token = self.token.map(|token| token.0);
        record
    }

    /// One write; what it confirms is believed for a deadline from before it was sent.
    fn write(&mut self, bench: &Bench, lock: &mut FileLock, intent: Intent) {
        let kind = match intent {
            Intent::Release => RecordKind::Released,
            Intent::Complete => RecordKind::Completed,
            Intent::Acquire | Intent::Renew => RecordKind::Held,
        };
        let sent = bench.clock.now();
        if let Ok(revision) =
            lock.write(intent, &self.record().with_kind(kind), self.revision, DEADLINE)
        {
            assert!(bench.stands(revision), "{intent:?} succeeded, and {revision} is not there");
            if intent == Intent::Acquire {
                self.token = Some(revision);
            }
            self.revision = Some(revision);
            self.valid_until = Some(sent + DEADLINE);
        }
        lock.tidy();
    }

    /// A predecessor's release, a claim, renewals over half a minute, so that a sweep is due, an
    /// end.
    fn live(bench: &Bench, lock: &mut FileLock, end: Intent) -> Self {
        let mut victim = Self::default();
        let Ok(seen) = lock.get(DEADLINE) else { return victim };
        victim.revision = seen.map(|seen| seen.revision);
        victim.write(bench, lock, Intent::Acquire);
        if victim.token.is_none() {
            return victim;
        }
        for _ in 0..8 {
            bench.clock.advance(SECOND * 5);
            if victim.valid_until.is_some_and(|until| bench.clock.now() >= until) {
                return victim;
            }
            victim.write(bench, lock, Intent::Renew);
        }
        // Whatever becomes of the last write, nobody acts in the term any more.
        victim.ended = true;
        victim.write(bench, lock, end);
        victim
    }
}

fn predecessor(bench: &Bench) {
    let mut lock = bench.lock();
    let mut victim = Victim::default();
    victim.write(bench, &mut lock, Intent::Acquire);
    victim.write(bench, &mut lock, Intent::Release);
    bench.clock.advance(SECOND);
}

/// What stands there when a life begins: nothing, so that the directory has to be made, or a
/// predecessor's release.
const BEGINNINGS: [fn(&Bench); 2] = [|_| {}, predecessor];

fn calls_of_a_life(beginning: fn(&Bench), end: Intent) -> usize {
    let bench = Bench::new();
    beginning(&bench);
    let (mut lock, calls) = bench.faulty(usize::MAX, Fault::Last);
    let victim = Victim::live(&bench, &mut lock, end);
    assert!(victim.ended && victim.token.is_some());
    calls.load(std::sync::atomic::Ordering::SeqCst)
}

fn suffer(beginning: fn(&Bench), end: Intent, at: usize, fault: Fault) {
    let bench = Bench::new();
    beginning(&bench);
    let (mut lock, _) = bench.faulty(at, fault);
    let victim = Victim::live(&bench, &mut lock, end);
    if end == Intent::Complete && victim.ended {
        // A completion that stands lets nobody lead any more: forget it, as `elect reset` does.
        let mut admin = bench.lock();
        let seen = admin.get(DEADLINE).unwrap().expect("a record stands");
        if seen.record.kind == RecordKind::Completed {
            let released = seen.record.with_kind(RecordKind::Released);
            admin.write(Intent::Release, &released, Some(seen.revision), DEADLINE).unwrap();
        }
    }
    let (token, began) = bench.elect(LEASE * 2);
    if let Some(own) = victim.token {
        assert!(token > own.0, "token {token} after {own}");
    }
    if let (Some(until), false) = (victim.valid_until, victim.ended) {
        assert!(began >= until, "two lead: {began:?} is before {until:?}");
    }
}

#[test]
fn a_fault_at_any_call_leaves_a_lock_that_works() {
    let mut lives = 0;
    for beginning in BEGINNINGS {
        for end in [Intent::Release, Intent::Complete] {
            for at in 0..calls_of_a_life(beginning, end) {
                for errno in ERRORS {
                    suffer(beginning, end, at, Fault::Fails(errno));
                    suffer(beginning, end, at, Fault::Lies(errno));
                    lives += 2;
                }
                suffer(beginning, end, at, Fault::Last);
                suffer(beginning, end, at, Fault::LastDone);
                lives += 2;
            }
        }
    }
    println!("{lives} lives with one fault each");
}

/// Seen on GlusterFS: the hundredth link fails with ENOSPC. A term must survive that.
#[test]
fn a_term_goes_on_where_links_are_few() {
    for errno in [EMLINK, ENOSPC, EDQUOT, EPERM] {
        let bench = Bench::new();
        let options = FileLock::options().clock(bench.clock.clone());
        let store = FewLinks { store: options.store(&bench.path()), names: 0, most: 3, errno };
        let mut lock = options.open_store(bench.path(), store);
        let mut victim = Victim::default();
        victim.write(&bench, &mut lock, Intent::Acquire);
        for renewal in 0..10 {
            victim.write(&bench, &mut lock, Intent::Renew);
            assert_eq!(victim.revision, Some(Revision(renewal + 2)), "{errno}");
        }
    }
}

/// A head in the place of the record of a term that somebody holds.
fn with_head(make: impl FnOnce(&Path, &str)) -> Bench {
    let bench = Bench::new();
    let mut lock = bench.lock();
    Victim::default().write(&bench, &mut lock, Intent::Acquire);
    let name = bench.path().join(name_of(1));
    let text = std::fs::read_link(&name).unwrap().into_os_string().into_string().unwrap();
    std::fs::remove_file(&name).unwrap();
    make(&name, &text);
    bench
}

/// It is never taken for free; it is held for the longest lease, and then superseded.
fn expect_corrupt(bench: &Bench, what: &str) {
    let error = bench.lock().get(DEADLINE).unwrap_err();
    assert!(
        matches!(&error, LockError::Corrupt { revision: Revision(1), .. }),
        "{what}: {error:?}"
    );
    assert!(error.to_string().contains("corrupt"), "{error}");
    let start = bench.clock.now();
    let (token, began) = bench.elect(MAX_LEASE_DURATION + LEASE);
    assert_eq!(token, 2, "{what}");
    assert!(began.since(start) >= MAX_LEASE_DURATION, "{what}: {:?}", began.since(start));
}

#[test]
fn a_record_with_any_byte_cut_or_changed_is_held_and_then_superseded() {
    let mut length = 0;
    drop(with_head(|_, text| length = text.len()));
    for at in 0..length {
        let cut = with_head(|name, text| {
            // An empty target can't be made.
            let text = if at == 0 { "x" } else { &text[..at] };
            std::os::unix::fs::symlink(text, name).unwrap();
        });
        let flipped = with_head(|name, text| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1;
            use std::os::unix::ffi::OsStrExt;
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&bytes), name).unwrap();
        });
        // The whole wait costs a second of real time; a few places stand for all.
        for (bench, what) in [(cut, "cut"), (flipped, "flipped")] {
            if at % 64 == 0 {
                expect_corrupt(&bench, &format!("{what} at {at}"));
            } else {
                let error = bench.lock().get(DEADLINE).unwrap_err();
                assert!(matches!(error, LockError::Corrupt { .. }), "{what} at {at}: {error}");
                let mut lock = bench.lock();
                let record = LeaderElectionRecord::new("next", Incarnation(9), LEASE);
                let next = lock.write(Intent::Acquire, &record, Some(Revision(1)), DEADLINE);
                assert_eq!(next.unwrap(), Revision(2), "{what} at {at}");
            }
        }
    }
}

#[test]
fn a_head_of_any_other_kind_is_held_and_then_superseded() {
    use std::os::unix::fs::symlink;
    expect_corrupt(&with_head(|name, text| std::fs::write(name, text).unwrap()), "a file");
    expect_corrupt(&with_head(|name, _| std::fs::create_dir(name).unwrap()), "a directory");
    expect_corrupt(
        &with_head(|name, _| {
            let made = std::process::Command::new("mkfifo").arg(name).status().unwrap();
            assert!(made.success());
        }),
        "a fifo",
    );
    expect_corrupt(&with_head(|name, _| symlink("x".repeat(3000), name).unwrap()), "a long text");
    expect_corrupt(&with_head(|name, _| symlink("/etc/passwd", name).unwrap()), "a foreign link");
    let huge =
        |text: &str| text.replace("\"leaseDurationMillis\":15000", "\"leaseDurationMillis\":1e15");
    expect_corrupt(&with_head(|name, text| symlink(huge(text), name).unwrap()), "a long lease");
}

#[test]
fn a_name_with_a_number_that_is_too_high_is_ignored() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    for number in [u64::MAX, 1 << 63] {
        let name = bench.path().join(format!("g.{number:020}"));
        std::os::unix::fs::symlink("x", name).unwrap();
    }
    assert_eq!(bench.elect(LEASE).0, 1);
}

#[test]
fn the_highest_number_of_all_ends_the_lock_with_an_error() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    std::os::unix::fs::symlink("x", bench.path().join(name_of(i64::MAX as u64))).unwrap();
    let record = LeaderElectionRecord::new("next", Incarnation(9), LEASE);
    let highest = Some(Revision(i64::MAX as u64));
    let error = bench.lock().write(Intent::Acquire, &record, highest, DEADLINE).unwrap_err();
    assert!(matches!(error, LockError::Fatal(_)), "{error}");
    assert!(error.to_string().contains("used up"), "{error}");
}
