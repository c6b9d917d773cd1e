//! The file lock on a real directory, with a clock that the test advances.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::lock::file::step::{Errno, KEEP, Op};
use crate::record::Incarnation;

mod rules;
mod same_host;
mod thrift;
#[cfg(target_os = "linux")]
mod wake;

const SECOND: Duration = Duration::from_secs(1);
const BUDGET: Duration = Duration::from_secs(10);

struct Bench {
    clock: Clock,
    scratch: TempDir,
}

impl Bench {
    fn new() -> Self {
        // In memory, where there is such a place: syncs take long on a busy disk.
        let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { clock: Clock::simulated(), scratch: scratch.unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("x.lock")
    }

    fn lock(&self) -> FileLock {
        FileLock::options().clock(self.clock.clone()).open(self.path()).unwrap()
    }

    /// One that syncs nothing, for tests that write a lot.
    fn hasty_lock(&self) -> FileLock {
        let options = FileLock::options().clock(self.clock.clone()).durable(false);
        options.open(self.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn record(incarnation: u128) -> LeaderElectionRecord {
    LeaderElectionRecord::new("a", Incarnation(incarnation), SECOND * 15)
}

fn of_term(record: &LeaderElectionRecord, token: Revision) -> LeaderElectionRecord {
    LeaderElectionRecord { fencing_token: Some(token.0), ..record.clone() }
}

fn acquire(lock: &mut FileLock, incarnation: u128) -> Revision {
    let expected = lock.get(BUDGET).unwrap().map(|observed| observed.revision);
    lock.write(Intent::Acquire, &record(incarnation), expected, BUDGET).unwrap()
}

#[test]
fn reading_makes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.lock().get(BUDGET).unwrap(), None);
    assert!(!bench.path().exists());
}

#[test]
fn a_term_is_acquired_renewed_and_released() {
    let bench = Bench::new();
    let (mut lock, mut other) = (bench.lock(), bench.lock());
    let token = acquire(&mut lock, 1);
    assert_eq!(token, Revision(1));
    let mut term = of_term(&record(1), token);
    let mut revision = token;
    for renewals in 1..=3 {
        term.renewals = renewals;
        revision = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
        let seen = other.get(BUDGET).unwrap().unwrap();
        assert_eq!(seen.revision, revision);
        assert_eq!(seen.record.renewals, renewals);
        assert_eq!(seen.record.fencing_token, Some(1));
        assert_eq!(seen.record.kind, RecordKind::Held);
    }
    let released = term.with_kind(RecordKind::Released);
    lock.write(Intent::Release, &released, Some(revision), BUDGET).unwrap();
    let seen = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.record.kind, RecordKind::Released);
    assert_eq!(acquire(&mut other, 2), Revision(6));
}

#[test]
fn the_directory_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    acquire(&mut bench.lock(), 1);
    let mode = std::fs::metadata(bench.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_claim_of_the_same_version_is_a_conflict() {
    let bench = Bench::new();
    let (mut lock, mut other) = (bench.lock(), bench.lock());
    assert_eq!(other.get(BUDGET).unwrap(), None);
    acquire(&mut lock, 1);
    let error = other.write(Intent::Acquire, &record(2), None, BUDGET).unwrap_err();
    assert!(matches!(error, LockError::Conflict(_)), "{error}");
}

#[test]
fn a_renewal_whose_reply_was_lost_is_found_by_its_retry() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    let term = of_term(&record(1), token);
    let (from, to) = (bench.path().join(name_of(1)), bench.path().join(name_of(2)));
    std::fs::hard_link(from, to).unwrap();
    let renewed = lock.write(Intent::Renew, &term, Some(token), BUDGET).unwrap();
    assert_eq!(renewed, Revision(2));
}

#[test]
fn a_replaced_directory_ends_the_term() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    std::fs::rename(bench.path(), bench.scratch.path().join("aside")).unwrap();
    std::fs::create_dir(bench.path()).unwrap();
    let term = of_term(&record(1), token);
    let error = lock.write(Intent::Renew, &term, Some(token), BUDGET).unwrap_err();
    assert!(matches!(error, LockError::Conflict(_)), "{error}");
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[test]
fn a_release_that_does_not_follow_its_term_reads_as_held() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    // A released record of another term, as a late or hostile write would leave it.
    let foreign = of_term(&record(9), token).with_kind(RecordKind::Released);
    let entry = lock.entry(foreign, None, None);
    let text = lock.encode(&entry).unwrap();
    let name = bench.path().join(name_of(2));
    std::os::unix::fs::symlink(std::str::from_utf8(&text).unwrap(), name).unwrap();
    let seen = bench.lock().get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.revision, Revision(2));
    assert_eq!(seen.record.kind, RecordKind::Held);
}

#[test]
fn a_completion_stands_for_good_and_can_be_forgotten_on_purpose() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    let completed = of_term(&record(1), token).with_kind(RecordKind::Completed);
    let revision = lock.write(Intent::Complete, &completed, Some(token), BUDGET).unwrap();
    let mut other = bench.lock();
    let seen = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.record.kind, RecordKind::Completed);
    let reset = seen.record.with_kind(RecordKind::Released);
    other.write(Intent::Release, &reset, Some(revision), BUDGET).unwrap();
    let seen = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.record.kind, RecordKind::Released);
    assert!(acquire(&mut other, 2) > revision);
}

#[test]
fn heads_that_are_not_symbolic_links_are_corrupt_and_superseded() {
    let bench = Bench::new();
    acquire(&mut bench.lock(), 1);
    std::fs::write(bench.path().join(name_of(2)), "held").unwrap();
    let mut lock = bench.lock();
    let error = lock.get(BUDGET).unwrap_err();
    let LockError::Corrupt { revision, .. } = error else { panic!("{error}") };
    assert_eq!(revision, Revision(2));
    let token = lock.write(Intent::Acquire, &record(2), Some(revision), BUDGET).unwrap();
    assert_eq!(token, Revision(3));
}

#[test]
fn a_long_term_leaves_few_names() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let mut revision = acquire(&mut lock, 1);
    let term = of_term(&record(1), revision);
    for _ in 0..2000 {
        bench.clock.advance(SECOND * 2);
        revision = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
        lock.tidy();
    }
    assert!(bench.names().len() < 60, "{}", bench.names().len());
}

#[test]
fn a_thousand_short_terms_leave_few_names() {
    let bench = Bench::new();
    let mut most = 0;
    for incarnation in 0..1000 {
        // A process of its own each time: nothing is remembered from one to the next.
        let mut lock = bench.hasty_lock();
        let token = acquire(&mut lock, incarnation);
        lock.tidy();
        bench.clock.advance(SECOND);
        let released = of_term(&record(incarnation), token).with_kind(RecordKind::Released);
        lock.write(Intent::Release, &released, Some(token), BUDGET).unwrap();
        lock.tidy();
        most = most.max(bench.names().len());
    }
    // Two names a second, kept for 30 s, and what lies between two witnesses that were looked at.
    assert!(most < 160, "{most}");
}

#[test]
fn an_emptied_directory_ends_the_term_though_its_inode_is_the_same() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    // As after `rm -r LOCK`: the next directory often gets the same inode.
    std::fs::remove_file(bench.path().join(name_of(1))).unwrap();
    let mut other = bench.lock();
    assert_eq!(acquire(&mut other, 2), token);
    let renewed = lock.write(Intent::Renew, &of_term(&record(1), token), Some(token), BUDGET);
    let error = renewed.expect_err("two lead");
    assert!(matches!(error, LockError::Conflict(_)), "{error}");
}

#[test]
fn a_path_is_absolute_and_has_no_slash_at_its_end() {
    let bench = Bench::new();
    let directory = bench.scratch.path().join("other");
    std::fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(&directory, bench.path()).unwrap();
    let slash = format!("{}/", bench.path().display());
    let error = FileLock::new(slash).expect_err("a link would be followed");
    assert!(matches!(error, LockError::Fatal(_)), "{error}");
    // A process may change its directory while it leads.
    let lock = FileLock::new("relative.lock").unwrap();
    assert_eq!(lock.path(), std::env::current_dir().unwrap().join("relative.lock"));
    for path in ["", "/", "..", "x/.."] {
        let error = FileLock::new(path).expect_err("it names no directory");
        assert!(matches!(error, LockError::Fatal(_)), "{path}: {error}");
    }
}

#[test]
fn no_lock_is_made_in_a_place_that_is_not_the_parent_any_more() {
    let bench = Bench::new();
    let parent = bench.scratch.path().join("mounted");
    std::fs::create_dir(&parent).unwrap();
    let mut lock = FileLock::new(parent.join("x.lock")).unwrap();
    assert_eq!(lock.get(BUDGET).unwrap(), None);
    // As when a file system is unmounted: its mount point stands there, empty.
    std::fs::rename(&parent, bench.scratch.path().join("aside")).unwrap();
    std::fs::create_dir(&parent).unwrap();
    let error = lock.write(Intent::Acquire, &record(1), None, BUDGET).unwrap_err();
    assert!(matches!(error, LockError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("mounted"), "{error}");
    assert!(!parent.join("x.lock").exists());
    // Or it stands there no more, and may come back.
    std::fs::remove_dir(&parent).unwrap();
    let error = lock.write(Intent::Acquire, &record(1), None, BUDGET).unwrap_err();
    assert!(matches!(error, LockError::Unavailable(_)), "{error}");
    std::fs::rename(bench.scratch.path().join("aside"), &parent).unwrap();
    assert_eq!(lock.write(Intent::Acquire, &record(1), None, BUDGET).unwrap(), Revision(1));
}

#[test]
fn a_directory_in_the_place_of_a_generation_does_not_stop_the_sweep() {
    let bench = Bench::new();
    acquire(&mut bench.lock(), 1);
    for generation in 2..20 {
        std::fs::create_dir(bench.path().join(name_of(generation))).unwrap();
    }
    let mut lock = bench.lock();
    assert!(matches!(lock.get(BUDGET), Err(LockError::Corrupt { .. })));
    let claim = record(2);
    let mut revision = lock.write(Intent::Acquire, &claim, Some(Revision(19)), BUDGET).unwrap();
    let term = of_term(&claim, revision);
    for _ in 0..200 {
        bench.clock.advance(SECOND * 2);
        revision = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
        lock.tidy();
    }
    assert!(bench.names().len() < 80, "{}", bench.names().len());
}

fn refusal(options: FileLockOptions, path: &Path) -> String {
    match options.open(path) {
        Err(LockError::Fatal(failure)) => failure.to_string(),
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_lock_is_refused_with_a_remedy() {
    let bench = Bench::new();
    let place = bench.scratch.path();
    let expect = |path: &Path, parts: &[&str]| {
        let said = refusal(FileLock::options(), path);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    expect(&place.join("missing/x.lock"), &["missing", "does not exist", "make it first"]);
    std::fs::write(place.join("file"), "").unwrap();
    expect(&place.join("file"), &["file", "a lock is a directory"]);
    expect(&place.join("file/x.lock"), &["file", "parent"]);
    std::os::unix::fs::symlink("nowhere", place.join("link")).unwrap();
    expect(&place.join("link"), &["link", "symbolic link", "the directory itself"]);
    let open = place.join("open");
    std::fs::create_dir(&open).unwrap();
    set_mode(&open, 0o777);
    expect(&open.join("x.lock"), &["open", "anybody may write", "sticky"]);
    expect(&open, &["open", "anybody may write", "chmod o-w"]);
    set_mode(&open, 0o1777);
    assert!(FileLock::new(open.join("x.lock")).is_ok());
    set_mode(&open, 0o777);
    let allowed = FileLock::options().allow_world_writable(true);
    assert!(allowed.open(open.join("x.lock")).is_ok());
    let closed = place.join("closed");
    std::fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o500);
    // Nothing is closed to root.
    if !rustix::process::geteuid().is_root() {
        expect(&closed.join("x.lock"), &["closed", "can't be written"]);
    }
}

#[test]
fn a_release_over_a_corrupt_head_waits_for_the_lease_of_who_may_stand_behind_it() {
    for (leads, lease) in [(true, SECOND * 600), (false, MAX_LEASE_DURATION)] {
        let bench = Bench::new();
        std::fs::create_dir(bench.path()).unwrap();
        if leads {
            let mut long = record(1);
            long.lease_duration = lease;
            bench.lock().write(Intent::Acquire, &long, None, BUDGET).unwrap();
        }
        std::os::unix::fs::symlink("garbage", bench.path().join(name_of(2))).unwrap();
        let mut admin = bench.lock();
        admin.get(BUDGET).unwrap_err();
        let released = of_term(&record(9), Revision(2)).with_kind(RecordKind::Released);
        admin.write(Intent::Release, &released, Some(Revision(2)), BUDGET).unwrap();
        let seen = bench.lock().get(BUDGET).unwrap().unwrap();
        assert_eq!((seen.record.kind, seen.record.lease_duration), (RecordKind::Held, lease));
    }
}

/// Lets somebody else act right before this lock's first creation.
struct Interrupted<S> {
    store: S,
    before_creating: Option<Box<dyn FnOnce() + Send>>,
}

impl<S: Store> Store for Interrupted<S> {
    fn perform(&mut self, op: &Op) -> Reply {
        if matches!(op, Op::Create(..))
            && let Some(act) = self.before_creating.take()
        {
            act();
        }
        self.store.perform(op)
    }
}

#[test]
fn in_an_emptied_log_all_claim_the_same_name_whatever_they_have_seen_before() {
    let bench = Bench::new();
    let mut earlier = bench.lock();
    let token = acquire(&mut earlier, 1);
    earlier.write(Intent::Renew, &of_term(&record(1), token), Some(token), BUDGET).unwrap();
    let options = FileLock::options().clock(bench.clock.clone());
    let won = std::sync::Arc::new(parking_lot::Mutex::new(None));
    let (mut fresh, told) = (bench.lock(), std::sync::Arc::clone(&won));
    let claims = move || *told.lock() = Some(acquire(&mut fresh, 3));
    let store = Interrupted {
        store: options.store(&bench.path()),
        before_creating: Some(Box::new(claims)),
    };
    let mut knowing = options.open_store(bench.path(), store);
    knowing.get(BUDGET).unwrap().unwrap();
    for generation in [1, 2] {
        std::fs::remove_file(bench.path().join(name_of(generation))).unwrap();
    }
    bench.clock.advance(SECOND * 11);
    let seen = knowing.get(BUDGET).unwrap().map(|seen| seen.revision);
    let claim = knowing.write(Intent::Acquire, &record(2), seen, BUDGET);
    assert_eq!(won.lock().take(), Some(Revision(1)));
    assert!(matches!(claim, Err(LockError::Conflict(_))), "two lead: {claim:?}");
}

#[test]
fn a_claim_leaves_room_for_its_end_or_is_refused() {
    let mut refused = 0;
    for quotes in 0..200 {
        let bench = Bench::new();
        let mut lock = bench.hasty_lock();
        let mut long = record(1);
        long.holder_identity = "x".repeat(255).into();
        long.metadata = "\"".repeat(quotes).into();
        let token = match lock.write(Intent::Acquire, &long, None, BUDGET) {
            Ok(token) => token,
            Err(LockError::Fatal(failure)) => {
                assert!(failure.to_string().contains("shorten"), "{failure}");
                refused += 1;
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        let completed = of_term(&long, token).with_kind(RecordKind::Completed);
        let ended = lock.write(Intent::Complete, &completed, Some(token), BUDGET);
        assert_eq!(ended.unwrap(), Revision(2), "{quotes} quotes");
    }
    assert!(refused > 0);
}

/// The most names that stand there while `terms` short terms follow each other, each of a process
/// of its own on the host that `host` names.
fn most_names(terms: u128, host: impl Fn(u128) -> u128) -> usize {
    let bench = Bench::new();
    let mut most = 0;
    for number in 0..terms {
        let options = FileLock::options().clock(bench.clock.clone()).durable(false);
        let mut lock = options.same_host(false).open(bench.path()).unwrap();
        lock.memory = Memory::new(Some(format!("boot {}", host(number)).into()));
        let token = acquire(&mut lock, number);
        lock.tidy();
        bench.clock.advance(SECOND);
        let released = of_term(&record(number), token).with_kind(RecordKind::Released);
        lock.write(Intent::Release, &released, Some(token), BUDGET).unwrap();
        lock.tidy();
        most = most.max(bench.names().len());
    }
    most
}

#[test]
fn a_thousand_short_terms_on_several_hosts_leave_few_names() {
    // Where a host comes again: in turn, in turn by pairs, for a while each, at random.
    let random = |number: u128| ((number * 0x9e37_79b9_7f4a_7c15) >> 17) % 3;
    let most = [
        most_names(1000, |number| number % 2),
        most_names(1000, |number| number % 3),
        most_names(1000, |number| number % 8),
        most_names(1000, |number| number / 2 % 2),
        most_names(1000, |number| number / 50),
        most_names(1000, random),
    ];
    println!("at most {most:?} names");
    assert!(most.iter().all(|most| *most < 200), "{most:?}");
}

#[test]
fn a_claim_removes_the_more_the_longer_the_log_is() {
    let bench = Bench::new();
    for (number, renewals) in [(1, 3000), (2, 500)] {
        let mut lock = bench.hasty_lock();
        let token = acquire(&mut lock, number);
        let term = of_term(&record(number), token);
        let mut renew =
            |revision| lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
        let last = (0..renewals).fold(token, |revision, _| renew(revision));
        let released = term.with_kind(RecordKind::Released);
        lock.write(Intent::Release, &released, Some(last), BUDGET).unwrap();
    }
    bench.clock.advance(KEEP);
    let before = bench.names().len();
    let mut lock = bench.hasty_lock();
    acquire(&mut lock, 3);
    lock.tidy();
    let removed = before + 1 - bench.names().len();
    assert!(removed > 200, "{removed} of {before}");
}

#[test]
fn terms_that_renew_often_and_end_before_their_own_names_are_old_leave_few() {
    let bench = Bench::new();
    for number in 0..15 {
        // A process of its own, which knows nothing of the earlier ones but by a witness.
        let mut lock = bench.hasty_lock();
        let token = acquire(&mut lock, number);
        lock.tidy();
        let mut term = of_term(&record(number), token);
        let mut revision = token;
        for renewals in 1..=100 {
            bench.clock.advance(SECOND / 5);
            term.renewals = renewals;
            revision = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
            lock.tidy();
        }
        let released = term.with_kind(RecordKind::Released);
        lock.write(Intent::Release, &released, Some(revision), BUDGET).unwrap();
    }
    // Those of the last 30 s, and of the terms in which they began and end.
    assert!(bench.names().len() < 450, "{}", bench.names().len());
}

#[test]
fn a_listing_that_goes_back_takes_what_was_known_with_it() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let mut revision = acquire(&mut lock, 1);
    let term = of_term(&record(1), revision);
    for _ in 0..4 {
        revision = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
    }
    bench.clock.advance(KEEP);
    // The two newest names will not be shown.
    let next = lock.write(Intent::Renew, &term, Some(revision), BUDGET).unwrap();
    let aside = bench.scratch.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    for generation in [revision, next].map(|revision| name_of(revision.0)) {
        std::fs::rename(bench.path().join(&generation), aside.join(&generation)).unwrap();
    }
    let before = bench.names();
    lock.tidy();
    assert_eq!(bench.names(), before, "swept by a listing that has gone back");
    assert_eq!(lock.memory.superseded(bench.clock.now()), None);
}

/// A directory that has room for only so many names; a disk says it in one way, a quota in another.
struct Small<S>(S, PathBuf, rustix::io::Errno);

impl<S: Store> Store for Small<S> {
    fn perform(&mut self, op: &Op) -> Reply {
        const ROOM: usize = 20;
        let names = || std::fs::read_dir(&self.1).map_or(0, |entries| entries.count());
        match op {
            Op::Create(..) | Op::Link { .. } if names() >= ROOM => {
                Reply::Failed(Errno(self.2.raw_os_error()))
            }
            op => self.0.perform(op),
        }
    }
}

#[test]
fn a_lock_that_has_filled_its_file_system_by_itself_gets_room_again() {
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
        fills_up_and_gets_room_again(errno);
    }
}

/// What an error says, and what lies below it.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn fills_up_and_gets_room_again(errno: rustix::io::Errno) {
    let bench = Bench::new();
    let open = || {
        let options = FileLock::options().clock(bench.clock.clone());
        let store = Small(options.store(&bench.path()), bench.path(), errno);
        options.open_store(bench.path(), store)
    };
    let mut leader = open();
    let mut revision = acquire(&mut leader, 1);
    let term = of_term(&record(1), revision);
    let full = loop {
        match leader.write(Intent::Renew, &term, Some(revision), BUDGET) {
            Ok(next) => revision = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LockError::Unavailable(_)), "{full:?}");
    let said = chain(&full);
    assert!(said.contains(&std::io::Error::from(errno).to_string()), "{said}");
    let mut next = open();
    let seen = next.get(BUDGET).unwrap().map(|observed| observed.revision);
    let claim = |lock: &mut FileLock| {
        let claimed = lock.write(Intent::Acquire, &record(2), seen, BUDGET);
        lock.tidy();
        claimed
    };
    bench.clock.advance(KEEP - SECOND);
    assert!(claim(&mut next).is_err());
    assert!(claim(&mut next).is_err(), "swept too early");
    bench.clock.advance(SECOND);
    assert!(claim(&mut next).is_err(), "there was no room yet");
    assert_eq!(claim(&mut next).unwrap().0, revision.0 + 1);
}
