//! The proof that a holder's process is dead, and everything that is none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::clock::{Stopwatch, Timestamp};
use crate::lock::file::companion::{CompanionId, Tried};
use crate::lock::file::entry::{FORMAT, HolderFacts, encode};
use crate::lock::file::place::Place;
use crate::lock::file::probes::shared;
use crate::lock::file::same_host::{Own, Probe, SameHost};
use crate::lock::file::slot::Slot;

/// A directory for companions, which lies in memory.
struct Runtime(TempDir);

impl Runtime {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn base(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn place(&self) -> Place {
        Place::make(self.0.path()).unwrap()
    }

    fn same_host(&self) -> SameHost {
        SameHost::new(Own::In(vec![self.base()]), Some("here".into()))
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.place().path).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    }

    /// The path of the only companion.
    fn only(&self) -> PathBuf {
        let mut files = self.files();
        files.retain(|file| file.extension() == Some("alive".as_ref()));
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

const HERE: DirectoryId = DirectoryId { device: 1, inode: 2 };

/// When a holder's lease ends.
const END: Instant = Instant::from_nanos(1000);

impl SameHost {
    /// What is known of the holder just before its lease ends.
    fn look(&mut self, entry: &Entry) -> Liveness {
        self.liveness(HERE, entry, Instant::from_nanos(END.as_nanos() - 1), None)
    }
}

/// A holder, and the entry of its claim.
fn holder(runtime: &Runtime) -> (SameHost, Entry) {
    let mut holder = runtime.same_host();
    let facts = holder.facts().expect("a companion can be made in memory");
    let entry = entry_with(facts);
    holder.confirmed(Slot::of(HERE, 1), END);
    (holder, entry)
}

fn entry_with(facts: HolderFacts) -> Entry {
    let mut record = record(1);
    record.fencing_token = Some(1);
    Entry { format: FORMAT, record, nonce: 1, witness: None, holder: Some(facts) }
}

fn unlock(companion: &Companion) {
    flock(companion.descriptor().unwrap(), FlockOperation::Unlock).unwrap();
}

/// What the end of its process does.
fn die(holder: &SameHost) {
    unlock(holder.companion().unwrap());
}

#[test]
fn a_holder_lives_until_its_process_ends() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    let (mut other, mut third) = (runtime.same_host(), runtime.same_host());
    for _ in 0..3 {
        assert_eq!(other.look(&entry), Liveness::Alive);
    }
    die(&holder);
    for _ in 0..3 {
        assert_eq!(other.look(&entry), Liveness::Dead);
        assert_eq!(third.look(&entry), Liveness::Dead, "those who look don't refuse each other");
    }
}

#[test]
fn a_process_that_lives_without_the_lease_is_not_waited_for() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    // The same process looks, as after a term that it has lost.
    let mut own = runtime.same_host();
    assert_eq!(own.look(&entry), Liveness::Alive);
    assert_eq!(own.liveness(HERE, &entry, END, None), Liveness::Unknown, "its lease is over");
    let elsewhere = DirectoryId { inode: 3, ..HERE };
    let early = Instant::default();
    assert_eq!(own.liveness(elsewhere, &entry, early, None), Liveness::Unknown);
    let mut next = entry.clone();
    next.record.fencing_token = Some(2);
    assert_eq!(own.look(&next), Liveness::Unknown, "another term");
    holder.confirmed(Slot::of(HERE, 1), END + SECOND);
    assert_eq!(own.liveness(HERE, &entry, END, None), Liveness::Alive, "it was renewed");
    holder.ended(Slot::of(HERE, 1));
    assert_eq!(own.look(&entry), Liveness::Unknown, "it was given up");
}

#[test]
fn a_holder_is_not_dead_while_another_process_has_its_descriptor() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    let inherited = holder.companion().unwrap().descriptor().unwrap();
    assert_eq!(runtime.same_host().look(&entry), Liveness::Alive);
    let name = runtime.only();
    let copy = name.with_extension("copy");
    // Dropping it would take the name away.
    fs::rename(&name, &copy).unwrap();
    drop(holder);
    fs::rename(&copy, &name).unwrap();
    // It may live for long, so it is no reason to give up at once either.
    assert_eq!(runtime.same_host().look(&entry), Liveness::Unknown);
    drop(inherited);
    assert_eq!(runtime.same_host().look(&entry), Liveness::Dead);
}

#[test]
fn a_companion_that_is_given_up_proves_nothing() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    let mut other = runtime.same_host();
    assert_eq!(other.look(&entry), Liveness::Alive);
    drop(holder);
    assert_eq!(other.look(&entry), Liveness::Unknown);
    assert_eq!(runtime.same_host().look(&entry), Liveness::Unknown);
    assert!(runtime.files().is_empty());
}

#[test]
fn a_companion_that_somebody_has_closed_stands_in_no_claim() {
    let runtime = Runtime::new();
    let (mut holder, entry) = holder(&runtime);
    let companion = holder.companion().unwrap().clone();
    unlock(&companion);
    let other = tempfile::tempfile().unwrap();
    holder.set_companion(companion.replaced_by(other.try_clone().unwrap()));
    assert_eq!(runtime.same_host().look(&entry), Liveness::Dead);
    assert_eq!(holder.facts(), None);
    assert_eq!(runtime.same_host().look(&entry), Liveness::Unknown);
    holder.confirmed(Slot::of(HERE, 1), END);
    assert_eq!(other.metadata().unwrap().len(), 0, "nothing is written into another's file");
}

#[test]
fn a_companion_that_was_closed_and_opened_by_a_look_stands_in_no_claim() {
    let runtime = Runtime::new();
    let (mut holder, _) = holder(&runtime);
    let companion = holder.companion().unwrap().clone();
    assert!(companion.file().is_some());
    let path = runtime.files().pop().unwrap();
    let look = std::fs::File::open(path).unwrap();
    holder.set_companion(companion.replaced_by(look));
    assert_eq!(holder.facts(), None);
}

#[test]
fn who_looks_at_one_companion_shares_its_open_files() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    let id = entry.holder.unwrap().companion;
    let find = || Probe::find(id, &[runtime.base()]);
    let first = shared(id, find).unwrap();
    let second = shared(id, || panic!("it is known")).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    drop(first);
    shared(id, || panic!("it is known")).unwrap();
    drop(second);
    assert!(shared(id, || None).is_none(), "nobody has it any more");
    drop(holder);
    let absent = shared(id, find).unwrap();
    assert!(!absent.is_of_a_file());
    assert!(shared(id, || None).is_none(), "it may come up elsewhere");
}

#[test]
fn what_is_not_exactly_the_holders_companion_proves_nothing() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    die(&holder);
    let facts = entry.holder.clone().unwrap();
    let CompanionId { nonce, device, inode } = facts.companion;
    let forged = |companion| entry_with(HolderFacts { companion, ..facts.clone() });
    for companion in [
        CompanionId { nonce: nonce ^ 1, device, inode },
        CompanionId { nonce, device: device + 1, inode },
        CompanionId { nonce, device, inode: inode + 1 },
    ] {
        assert_eq!(runtime.same_host().look(&forged(companion)), Liveness::Unknown);
    }
    let of_boot =
        |boot: &str| entry_with(HolderFacts { boot: boot.into(), companion: facts.companion });
    assert_eq!(runtime.same_host().look(&of_boot("elsewhere")), Liveness::Unknown);
    assert_eq!(runtime.same_host().look(&of_boot("here")), Liveness::Dead);
    let bare = Entry { holder: None, ..entry.clone() };
    assert_eq!(runtime.same_host().look(&bare), Liveness::Unknown);
}

#[test]
fn another_directory_for_companions_proves_nothing() {
    let (runtime, other) = (Runtime::new(), Runtime::new());
    let (holder, entry) = holder(&runtime);
    die(&holder);
    assert_eq!(other.same_host().look(&entry), Liveness::Unknown);
    let mut both = SameHost::new(Own::In(vec![other.base(), runtime.base()]), Some("here".into()));
    assert_eq!(both.look(&entry), Liveness::Dead, "who looks, looks everywhere");
}

#[test]
fn who_is_not_to_look_does_not_and_shows_nothing() {
    let runtime = Runtime::new();
    let (holder, entry) = holder(&runtime);
    die(&holder);
    let mut off = SameHost::new(Own::Off, Some("here".into()));
    assert_eq!(off.look(&entry), Liveness::Unknown);
    assert_eq!(off.facts(), None);
    let mut nowhere = SameHost::new(Own::In(vec![runtime.base()]), None);
    assert_eq!(nowhere.look(&entry), Liveness::Unknown);
    assert_eq!(nowhere.facts(), None, "without a boot identity nobody could use it");
}

#[test]
fn a_file_that_was_removed_or_replaced_proves_nothing() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 5] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            fs::write(path, "").unwrap();
        }),
        ("a link", |path| {
            let old = path.with_extension("old");
            fs::rename(path, &old).unwrap();
            symlink(&old, path).unwrap();
        }),
        ("a pipe", |path| {
            fs::remove_file(path).unwrap();
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        }),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let runtime = Runtime::new();
        let (holder, entry) = holder(&runtime);
        let mut early = runtime.same_host();
        assert_eq!(early.look(&entry), Liveness::Alive);
        change(&runtime.only());
        die(&holder);
        assert_eq!(early.look(&entry), Liveness::Unknown, "{what}, seen before");
        assert_eq!(runtime.same_host().look(&entry), Liveness::Unknown, "{what}");
    }
}

#[test]
fn locks_that_exclude_nobody_are_not_used() {
    let runtime = Runtime::new();
    for tried in [Tried::Free, Tried::Busy, Tried::NotKnown] {
        // It says that it has taken the lock, at best.
        let made = Companion::make_in(runtime.place(), |_| tried);
        assert!(made.is_err(), "{tried:?}");
    }
    let shared = |file: &fs::File| {
        flock(file, FlockOperation::LockShared).unwrap();
        Tried::Free
    };
    assert!(Companion::make_in(runtime.place(), shared).is_err(), "others get that one too");
    assert!(runtime.files().is_empty());
}

#[test]
fn a_directory_that_is_not_this_users_alone_or_not_in_memory_is_not_used() {
    let set_mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let hint = |runtime: &Runtime| Place::make(&runtime.base()).unwrap_err().hint;
    let open = Runtime::new();
    set_mode(&open.place().path, 0o750);
    assert!(hint(&open).contains("this user's alone"));
    let parent = Runtime::new();
    set_mode(&parent.base(), 0o777);
    assert!(hint(&parent).contains("others may replace"));
    set_mode(&parent.base(), 0o1777);
    Place::make(&parent.base()).unwrap();
    let (elsewhere, link) = (Runtime::new(), Runtime::new());
    let name = elsewhere.place().path.file_name().unwrap().to_owned();
    symlink(elsewhere.place().path, link.base().join(name)).unwrap();
    assert_eq!(hint(&link), "it can't be opened");
    let program = std::env::current_exe().unwrap();
    let elsewhere = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    if let Err(unusable) = Place::make(elsewhere.path()) {
        assert!(unusable.hint.contains("in memory"));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is made there");
    }
    // Of the kernel's own, where nothing can be made.
    assert!(Place::make("/proc".as_ref()).is_err());
    assert!(Place::make("/nowhere".as_ref()).is_err());
}

#[test]
fn the_first_directory_that_will_do_is_used() {
    let runtime = Runtime::new();
    let bases = ["/nowhere".into(), runtime.base()];
    let companion = Companion::make_in_any(&bases).unwrap();
    assert_eq!(runtime.files().len(), 1);
    drop(companion);
    let error = Companion::make_in_any(&bases[..1]).unwrap_err();
    assert!(error.to_string().contains("/nowhere/leaderelection-"), "{error}");
}

#[test]
fn the_first_successor_leaves_the_proof_to_those_of_other_locks() {
    let runtime = Runtime::new();
    let bench = Bench::new();
    let mut leader = lock_in(&bench, &runtime);
    acquire(&mut leader, 1);
    let facts = HolderFacts { boot: "here".into(), ..leader.same_host.facts().unwrap() };
    let mut successor = lock_in(&bench, &runtime);
    die(&leader.same_host);
    let dead = successor.get(BUDGET).unwrap().unwrap();
    assert_eq!(successor.liveness(&dead), Liveness::Dead);
    acquire(&mut successor, 2);
    successor.tidy();
    assert_eq!(runtime.same_host().look(&entry_with(facts)), Liveness::Dead);
}

#[test]
fn what_the_dead_leave_does_not_pile_up() {
    let runtime = Runtime::new();
    let make = || Companion::make_in_any(&[runtime.base()]).unwrap();
    let leave = |companion: Companion| {
        unlock(&companion);
        std::mem::forget(companion);
    };
    let living: Vec<_> = (0..10).map(|_| make()).collect();
    (0..20).for_each(|_| leave(make()));
    // An elector's whose companion is gone.
    fs::write(runtime.place().path.join("00000000000000ff.alive.elector"), "").unwrap();
    let foreign = runtime.place().path.join("notes");
    fs::write(&foreign, "").unwrap();
    let all = runtime.files().len();
    let in_hours =
        |hours: u64| Timestamp::from_millis(Timestamp::now().as_millis() + hours * 3_600_000);
    for (most, hours) in [(10, 0), (10, 1), (1000, 100)] {
        living[0].bury_others(most, in_hours(hours));
        assert_eq!(runtime.files().len(), all, "over {most}, {hours} hours later");
    }
    living[0].bury_others(10, in_hours(100));
    assert!(foreign.exists());
    assert_eq!(runtime.files().len(), 10 + 1);
    for companion in &living {
        assert_eq!(
            runtime.place().open_file(&companion.id().name()).unwrap().1,
            companion.id().file()
        );
    }
}

#[test]
fn what_the_dead_leave_is_found_behind_whatever_number_came_later() {
    let runtime = Runtime::new();
    let make = || Companion::make_in_any(&[runtime.base()]).unwrap();
    let living: Vec<_> = (0..50).map(|_| make()).collect();
    let leave = |number: u32, kind: &str| {
        let name = format!("{number:016x}.{kind}");
        fs::write(runtime.place().path.join(name), "").unwrap();
    };
    (0..4000).for_each(|number| leave(number, "alive"));
    // More than one listing used to return, and not to be touched.
    (0..4200).for_each(|number| leave(number, "later"));
    let all = runtime.files().len();
    let in_days = Timestamp::from_millis(Timestamp::now().as_millis() + 86_400_000);
    living.iter().for_each(|companion| companion.bury_others(10, in_days));
    assert!(runtime.files().len() < all, "none of {all} was removed");
}

fn lock_in(bench: &Bench, runtime: &Runtime) -> FileLock {
    let options = FileLock::options().clock(bench.clock.clone()).durable(false);
    options.companion_in(&runtime.base()).open(bench.path()).unwrap()
}

#[test]
fn a_lock_says_whether_its_holder_lives() {
    let (bench, runtime) = (Bench::new(), Runtime::new());
    let (mut leader, mut other) = (lock_in(&bench, &runtime), lock_in(&bench, &runtime));
    assert_eq!(other.get(BUDGET).unwrap(), None);
    assert!(runtime.files().is_empty(), "who only looks needs none");
    let token = acquire(&mut leader, 1);
    let claimed = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(other.liveness(&claimed), Liveness::Alive);
    let term = LeaderElectionRecord { renewals: 1, ..of_term(&record(1), token) };
    leader.write(Intent::Renew, &term, Some(token), BUDGET).unwrap();
    assert_eq!(other.liveness(&claimed), Liveness::Alive, "the record that was read last");
    let renewed = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(other.liveness(&claimed), Liveness::Unknown, "not the one that was read last");
    die(&leader.same_host);
    assert_eq!(other.liveness(&renewed), Liveness::Dead);
    acquire(&mut other, 2);
    other.tidy();
    let taken = leader.get(BUDGET).unwrap().unwrap();
    assert_eq!(leader.liveness(&taken), Liveness::Alive);
}

#[test]
fn a_lock_says_alive_no_longer_than_the_lease_lasts() {
    let (bench, runtime) = (Bench::new(), Runtime::new());
    let (mut leader, mut other) = (lock_in(&bench, &runtime), lock_in(&bench, &runtime));
    let token = acquire(&mut leader, 1);
    let lease = record(1).lease_duration;
    let mut look = || {
        let seen = other.get(BUDGET).unwrap().unwrap();
        other.liveness(&seen)
    };
    bench.clock.advance(lease - SECOND);
    assert_eq!(look(), Liveness::Alive);
    bench.clock.advance(SECOND);
    assert_eq!(look(), Liveness::Unknown);
    let term = LeaderElectionRecord { renewals: 1, ..of_term(&record(1), token) };
    leader.write(Intent::Renew, &term, Some(token), BUDGET).unwrap();
    bench.clock.advance(lease - SECOND);
    assert_eq!(look(), Liveness::Alive);
    bench.clock.advance(SECOND);
    assert_eq!(look(), Liveness::Unknown);
}

#[test]
fn a_head_that_hides_a_higher_one_proves_nothing() {
    let (bench, runtime) = (Bench::new(), Runtime::new());
    let (mut leader, mut other) = (lock_in(&bench, &runtime), lock_in(&bench, &runtime));
    let token = acquire(&mut leader, 1);
    let term = LeaderElectionRecord { renewals: 1, ..of_term(&record(1), token) };
    leader.write(Intent::Renew, &term, Some(token), BUDGET).unwrap();
    other.get(BUDGET).unwrap();
    fs::remove_file(bench.path().join(name_of(2))).unwrap();
    bench.clock.advance(SECOND * 20);
    let back = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(back.revision, Revision(1));
    die(&leader.same_host);
    assert_eq!(other.liveness(&back), Liveness::Unknown);
}

#[test]
fn facts_that_somebody_forged_cost_nobody_a_lease() {
    let (bench, runtime) = (Bench::new(), Runtime::new());
    let (mut leader, mut other) = (lock_in(&bench, &runtime), lock_in(&bench, &runtime));
    acquire(&mut leader, 1);
    // A name that nobody locks, and whose numbers are right.
    let place = runtime.place();
    fs::write(place.path.join("00000000000000ff.alive"), "").unwrap();
    let file = place.identify("00000000000000ff.alive").unwrap();
    let companion = CompanionId { nonce: 0xff, device: file.device, inode: file.inode };
    let mut entry = entry_with(HolderFacts { boot: "another boot".into(), companion });
    entry.record.fencing_token = Some(2);
    let path = bench.path().join(name_of(2));
    symlink(String::from_utf8(encode(&entry).unwrap().to_vec()).unwrap(), path).unwrap();
    let seen = other.get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.revision, Revision(2));
    assert_eq!(other.liveness(&seen), Liveness::Unknown);
}

#[test]
fn a_process_that_held_its_lease_on_and_only_tries_leads_again() {
    let (bench, runtime) = (Bench::new(), Runtime::new());
    let lock = FileLock::options().durable(false).companion_in(&runtime.base());
    let config = crate::Config::new(lock.open(bench.path()).unwrap())
        .lease_duration(SECOND)
        .renew_deadline(SECOND / 2)
        .retry_period(SECOND / 10)
        .acquire_timeout(Duration::ZERO);
    let elector = crate::LeaderElector::new(config).unwrap();
    for _ in 0..2 {
        let watch = Stopwatch::start();
        let leadership = loop {
            if let Some(leadership) = elector.try_campaign().unwrap() {
                break leadership;
            }
            assert!(watch.elapsed() < SECOND * 30, "it waits for itself");
            std::thread::yield_now();
        };
        leadership.report(true).unwrap();
    }
}
