//! What every lock must do, as a suite that runs on any of them.
//!
//! ```
//! use leaderelection::MemoryLock;
//! use leaderelection::testing::contract;
//!
//! contract::check(|| {
//!     let lock = MemoryLock::new();
//!     move || Box::new(lock.clone()) as _
//! })
//! .unwrap();
//! ```

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::LockError;
use crate::lock::{Intent, Liveness, Lock, Observed};
use crate::record::{
    Incarnation, LeaderElectionRecord, MAX_IDENTITY_BYTES, MAX_LEASE_DURATION, MAX_METADATA_BYTES,
    RecordKind, Revision,
};

const BUDGET: Duration = Duration::from_secs(10);

/// A case of the contract that a lock does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the case: a rule of the contract.
    pub case: &'static str,
    /// What was expected and what was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.what)
    }
}

/// All cases of the contract that a lock does not hold, a line for each.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// At least one.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, all) = (self.violations.len(), CASES.len());
        write!(f, "{failed} of {all} cases of a lock's contract are violated:")?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n- {violation}"))
    }
}

/// As it is displayed, for a test that unwraps it.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

/// Opens the lock of one more candidate on the store of a case.
type Open<'a> = &'a mut dyn FnMut() -> Box<dyn Lock>;
type Verdict = Result<(), String>;
type Case = (&'static str, fn(Open<'_>) -> Verdict);

const CASES: [Case; 18] = [
    ("an unused lock is empty", unused_is_empty),
    ("what is written is read, with its token", written_is_read),
    ("looking changes nothing", looking_changes_nothing),
    ("of several claims of one version one succeeds", one_claim_wins),
    ("claims at the same time have one winner", racing_claims),
    ("a write that expects an older version is a conflict", stale_writes_conflict),
    ("a write that expects a version to come is a conflict", early_writes_conflict),
    ("a conflict has written nothing", conflicts_write_nothing),
    ("who has not looked may claim a version that stands", a_claim_needs_no_look),
    ("a renewal keeps the token and raises the revision", renewal),
    ("who was taken over can't renew, release or complete", taken_over),
    ("a release is read and its successor has a higher token", release),
    ("a completion stands until it is forgotten on purpose", completion),
    ("a revision is never used twice", revisions_rise),
    ("one lock acquires term after term", term_after_term),
    ("long and odd texts survive, and leases to the millisecond", texts_and_leases),
    ("tidying changes nothing that is read", tidying),
    ("the living are not said to be dead", living),
];

/// Runs every case on fresh locks: each call of `fresh` makes a new store and returns what opens
/// it, once for each candidate.
///
/// # Errors
///
/// All cases that the lock does not hold.
pub fn check<O: FnMut() -> Box<dyn Lock>>(mut fresh: impl FnMut() -> O) -> Result<(), Report> {
    let mut violations = Vec::new();
    for (case, run) in CASES {
        let mut open = fresh();
        let verdict = catch_unwind(AssertUnwindSafe(|| run(&mut open)));
        match verdict.unwrap_or_else(|_| Err("it panicked".to_owned())) {
            Ok(()) => {}
            Err(what) => violations.push(Violation { case, what }),
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Report { violations }) }
}

/// A candidate's record.
fn record(number: u128) -> LeaderElectionRecord {
    let lease = Duration::from_millis(15_250);
    let mut record = LeaderElectionRecord::new("candidate", Incarnation(number), lease);
    record.acquire_time = Timestamp::from_millis(1_795_508_161_250);
    record.renew_time = record.acquire_time;
    record.leader_transitions = 3;
    record
}

fn of_term(number: u128, token: Revision) -> LeaderElectionRecord {
    LeaderElectionRecord { fencing_token: Some(token.0), ..record(number) }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

fn look(lock: &mut dyn Lock) -> Result<Option<Observed>, String> {
    lock.get(BUDGET).map_err(|error| format!("get failed: {error}"))
}

fn head(lock: &mut dyn Lock) -> Result<Observed, String> {
    look(lock)?.ok_or_else(|| "a record was expected, none is there".to_owned())
}

fn write(
    lock: &mut dyn Lock,
    intent: Intent,
    record: &LeaderElectionRecord,
    expected: Option<Revision>,
) -> Result<Revision, String> {
    lock.write(intent, record, expected, BUDGET)
        .map_err(|error| format!("{intent:?} expecting {expected:?} failed: {error}"))
}

fn acquire(lock: &mut dyn Lock, number: u128) -> Result<Revision, String> {
    let expected = look(lock)?.map(|observed| observed.revision);
    write(lock, Intent::Acquire, &record(number), expected)
}

fn renew(
    lock: &mut dyn Lock,
    number: u128,
    token: Revision,
    renewals: u64,
    expected: Revision,
) -> Result<Revision, String> {
    let record = LeaderElectionRecord { renewals, ..of_term(number, token) };
    write(lock, Intent::Renew, &record, Some(expected))
}

fn end(
    lock: &mut dyn Lock,
    number: u128,
    token: Revision,
    kind: RecordKind,
    expected: Revision,
) -> Result<Revision, String> {
    let intent = match kind {
        RecordKind::Completed => Intent::Complete,
        _ => Intent::Release,
    };
    write(lock, intent, &of_term(number, token).with_kind(kind), Some(expected))
}

fn expect_conflict(result: Result<Revision, LockError>) -> Verdict {
    match result {
        Err(LockError::Conflict(_)) => Ok(()),
        Ok(revision) => Err(format!("it succeeded, at {revision}")),
        Err(other) => Err(format!("it failed otherwise: {other:?}")),
    }
}

/// Tries to write in every way as the term `token` of candidate `number`, expecting what does not
/// stand.
fn expect_conflicts(
    lock: &mut dyn Lock,
    number: u128,
    token: Revision,
    expected: Option<Revision>,
) -> Verdict {
    let term = of_term(number, token);
    let renewed = LeaderElectionRecord { renewals: 1, ..term.clone() };
    for (intent, record) in [
        (Intent::Renew, renewed),
        (Intent::Release, term.with_kind(RecordKind::Released)),
        (Intent::Complete, term.with_kind(RecordKind::Completed)),
        (Intent::Acquire, self::record(number)),
    ] {
        expect_conflict(lock.write(intent, &record, expected, BUDGET))
            .map_err(|what| format!("{intent:?} expecting {expected:?}: {what}"))?;
    }
    Ok(())
}

fn expect_head(lock: &mut dyn Lock, revision: Revision, number: u128) -> Verdict {
    let seen = head(lock)?;
    let found = (seen.revision, seen.record.incarnation, seen.record.kind);
    let expected = (revision, Incarnation(number), RecordKind::Held);
    ensure(found == expected, || format!("{found:?} stands there in place of {expected:?}"))
}

fn unused_is_empty(open: Open<'_>) -> Verdict {
    let seen = look(&mut *open())?;
    ensure(seen.is_none(), || format!("found {seen:?}"))?;
    ensure(!open().describe().is_empty(), || "it does not say where it is".to_owned())
}

fn written_is_read(open: Open<'_>) -> Verdict {
    let (mut writer, mut reader) = (open(), open());
    look(&mut *reader)?;
    let token = acquire(&mut *writer, 1)?;
    for lock in [&mut reader, &mut writer] {
        let seen = head(&mut **lock)?;
        ensure(seen.revision == token, || format!("{} in place of {token}", seen.revision))?;
        let expected = of_term(1, token);
        ensure(seen.record == expected, || format!("{:?} in place of {expected:?}", seen.record))?;
    }
    Ok(())
}

fn looking_changes_nothing(open: Open<'_>) -> Verdict {
    let (mut leader, mut reader) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let first = head(&mut *reader)?;
    for lock in [&mut reader, &mut open(), &mut leader] {
        let again = head(&mut **lock)?;
        ensure(again == first, || format!("{again:?} after {first:?}"))?;
    }
    renew(&mut *leader, 1, token, 1, token).map(drop)
}

fn one_claim_wins(open: Open<'_>) -> Verdict {
    let mut locks: Vec<_> = (0..4).map(|_| open()).collect();
    for lock in &mut locks {
        look(&mut **lock)?;
    }
    let won = write(&mut *locks[0], Intent::Acquire, &record(0), None)?;
    for (number, lock) in locks.iter_mut().enumerate().skip(1) {
        let claim = record(number as u128);
        expect_conflict(lock.write(Intent::Acquire, &claim, None, BUDGET))?;
    }
    expect_head(&mut *locks[3], won, 0)
}

fn racing_claims(open: Open<'_>) -> Verdict {
    for _ in 0..25 {
        let mut locks: Vec<_> = (0..4).map(|_| open()).collect();
        let expected = look(&mut *locks[0])?.map(|observed| observed.revision);
        for lock in &mut locks {
            look(&mut **lock)?;
        }
        let start = std::sync::Barrier::new(locks.len());
        let winners: Vec<_> = std::thread::scope(|scope| {
            let claims: Vec<_> = (locks.iter_mut().enumerate())
                .map(|(number, lock)| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        let claim = record(number as u128);
                        let won = lock.write(Intent::Acquire, &claim, expected, BUDGET).ok()?;
                        Some((number as u128, won))
                    })
                })
                .collect();
            claims.into_iter().filter_map(|claim| claim.join().ok()?).collect()
        });
        let [(number, won)] = winners[..] else {
            return Err(format!("{} winners: {winners:?}", winners.len()));
        };
        expect_head(&mut *locks[0], won, number)?;
    }
    Ok(())
}

fn stale_writes_conflict(open: Open<'_>) -> Verdict {
    let (mut first, mut second) = (open(), open());
    let old = acquire(&mut *first, 1)?;
    end(&mut *first, 1, old, RecordKind::Released, old)?;
    let token = acquire(&mut *second, 2)?;
    expect_conflicts(&mut *first, 1, old, Some(old))?;
    expect_conflict(open().write(Intent::Acquire, &record(3), None, BUDGET))?;
    expect_head(&mut *open(), token, 2)
}

fn early_writes_conflict(open: Open<'_>) -> Verdict {
    let (mut leader, mut other) = (open(), open());
    for early in [1, 7] {
        expect_conflict(other.write(Intent::Acquire, &record(2), Some(Revision(early)), BUDGET))?;
    }
    let token = acquire(&mut *leader, 1)?;
    for early in [1, 7] {
        let early = Some(Revision(token.0 + early));
        expect_conflict(other.write(Intent::Acquire, &record(2), early, BUDGET))?;
        expect_conflicts(&mut *leader, 1, token, early)?;
    }
    expect_head(&mut *open(), token, 1)
}

fn conflicts_write_nothing(open: Open<'_>) -> Verdict {
    let (mut old, mut leader, mut reader) = (open(), open(), open());
    let first = acquire(&mut *old, 1)?;
    end(&mut *old, 1, first, RecordKind::Released, first)?;
    let token = acquire(&mut *leader, 2)?;
    let before = head(&mut *reader)?;
    expect_conflicts(&mut *old, 1, first, Some(first))?;
    expect_conflict(open().write(Intent::Acquire, &record(3), None, BUDGET))?;
    for lock in [&mut reader, &mut open()] {
        let after = head(&mut **lock)?;
        ensure(after == before, || format!("{after:?} after {before:?}"))?;
    }
    renew(&mut *leader, 2, token, 1, token).map(drop)
}

fn a_claim_needs_no_look(open: Open<'_>) -> Verdict {
    let first = write(&mut *open(), Intent::Acquire, &record(1), None)?;
    let second = write(&mut *open(), Intent::Acquire, &record(2), Some(first))?;
    expect_head(&mut *open(), second, 2)
}

fn renewal(open: Open<'_>) -> Verdict {
    let (mut leader, mut reader) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let mut last = token;
    for renewals in 1..=5 {
        let next = renew(&mut *leader, 1, token, renewals, last)?;
        ensure(next > last, || format!("revision {next} after {last}"))?;
        last = next;
        let seen = head(&mut *reader)?;
        let found = (seen.revision, seen.record.fencing_token, seen.record.renewals);
        let expected = (last, Some(token.0), renewals);
        ensure(found == expected, || format!("{found:?} in place of {expected:?}"))?;
        let same = seen.record.is_same_term(&of_term(1, token));
        ensure(same && seen.record.kind == RecordKind::Held, || format!("{:?}", seen.record))?;
    }
    Ok(())
}

fn taken_over(open: Open<'_>) -> Verdict {
    let (mut old, mut new) = (open(), open());
    let first = acquire(&mut *old, 1)?;
    let renewed = renew(&mut *old, 1, first, 1, first)?;
    let second = acquire(&mut *new, 2)?;
    ensure(second > renewed, || format!("token {second} after revision {renewed}"))?;
    expect_conflicts(&mut *old, 1, first, Some(renewed))?;
    look(&mut *old)?;
    expect_conflicts(&mut *old, 1, first, Some(renewed))?;
    expect_head(&mut *open(), second, 2)?;
    renew(&mut *new, 2, second, 1, second).map(drop)
}

fn release(open: Open<'_>) -> Verdict {
    let (mut leader, mut next) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let renewed = renew(&mut *leader, 1, token, 1, token)?;
    let revision = end(&mut *leader, 1, token, RecordKind::Released, renewed)?;
    let seen = head(&mut *next)?;
    ensure(seen.record.kind == RecordKind::Released && seen.revision == revision, || {
        format!("the release is not read: {seen:?}")
    })?;
    let successor = acquire(&mut *next, 2)?;
    ensure(successor > revision, || format!("token {successor} after revision {revision}"))
}

fn completion(open: Open<'_>) -> Verdict {
    let (mut leader, mut admin) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let revision = end(&mut *leader, 1, token, RecordKind::Completed, token)?;
    for lock in [&mut leader, &mut admin, &mut open()] {
        let seen = head(&mut **lock)?;
        ensure(seen.record.kind == RecordKind::Completed && seen.revision == revision, || {
            format!("the completion is not read: {seen:?}")
        })?;
    }
    let forgotten = end(&mut *admin, 1, token, RecordKind::Released, revision)?;
    let seen = head(&mut *open())?;
    ensure(seen.record.kind == RecordKind::Released && seen.revision == forgotten, || {
        format!("it is not forgotten: {seen:?}")
    })?;
    let next = acquire(&mut *open(), 2)?;
    ensure(next > forgotten, || format!("token {next} after revision {forgotten}"))
}

fn revisions_rise(open: Open<'_>) -> Verdict {
    let mut last = None;
    for number in 0..20 {
        let mut lock = open();
        let token = acquire(&mut *lock, number)?;
        ensure(Some(token) > last, || format!("revision {token} after {last:?}"))?;
        last = Some(end(&mut *lock, number, token, RecordKind::Released, token)?);
        ensure(last > Some(token), || format!("revision {last:?} after {token}"))?;
    }
    Ok(())
}

fn term_after_term(open: Open<'_>) -> Verdict {
    let (mut lock, mut reader) = (open(), open());
    for number in 1..=3 {
        let token = acquire(&mut *lock, number)?;
        let first = head(&mut *reader)?.record;
        let renewed = renew(&mut *lock, number, token, 1, token)?;
        for seen in [first, head(&mut *reader)?.record] {
            ensure(seen.is_same_term(&of_term(number, token)), || {
                format!("term {token} reads as {seen:?}")
            })?;
        }
        end(&mut *lock, number, token, RecordKind::Released, renewed)?;
    }
    Ok(())
}

fn texts_and_leases(open: Open<'_>) -> Verdict {
    let longest = "m".repeat(MAX_METADATA_BYTES);
    for (identity, metadata, lease) in [
        ("x".repeat(MAX_IDENTITY_BYTES), longest.as_str(), Duration::from_millis(1)),
        ("ü".repeat(MAX_IDENTITY_BYTES / 2), "", MAX_LEASE_DURATION),
        (r#"a "b" \c/ {é🦀}"#.to_owned(), r#"{"port":4000}"#, Duration::from_millis(999)),
    ] {
        let mut lock = open();
        let mut odd = record(1);
        odd.holder_identity = identity.into();
        odd.metadata = metadata.into();
        odd.lease_duration = lease;
        let expected = look(&mut *lock)?.map(|observed| observed.revision);
        let token = write(&mut *lock, Intent::Acquire, &odd, expected)?;
        odd.fencing_token = Some(token.0);
        let seen = head(&mut *open())?.record;
        ensure(seen == odd, || format!("{seen:?} in place of {odd:?}"))?;
    }
    Ok(())
}

fn tidying(open: Open<'_>) -> Verdict {
    let (mut leader, mut reader) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let mut last = token;
    for renewals in 1..=3 {
        leader.tidy();
        reader.tidy();
        expect_head(&mut *reader, last, 1)?;
        expect_head(&mut *open(), last, 1)?;
        last = renew(&mut *leader, 1, token, renewals, last)?;
    }
    let released = end(&mut *leader, 1, token, RecordKind::Released, last)?;
    leader.tidy();
    let seen = head(&mut *open())?;
    ensure((seen.revision, seen.record.kind) == (released, RecordKind::Released), || {
        format!("a release was tidied away: {seen:?}")
    })
}

fn living(open: Open<'_>) -> Verdict {
    let (mut leader, mut other) = (open(), open());
    acquire(&mut *leader, 1)?;
    let seen = head(&mut *other)?;
    ensure(other.liveness(&seen) != Liveness::Dead, || "it says so of who holds it".to_owned())
}
