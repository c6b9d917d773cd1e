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
use std::time::Duration;

use crate::error::LockError;
use crate::lock::{Intent, Lock, Observed};
use crate::record::{Incarnation, LeaderElectionRecord, RecordKind, Revision};

const BUDGET: Duration = Duration::from_secs(10);

/// A case of the contract that a lock does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the case.
    pub case: &'static str,
    /// What was expected and what was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.what)
    }
}

impl std::error::Error for Violation {}

type Verdict = Result<(), String>;
type Case = (&'static str, fn(&mut dyn FnMut() -> Box<dyn Lock>) -> Verdict);

const CASES: [Case; 10] = [
    ("an unused lock is empty", unused_is_empty),
    ("what is written is read, with its token", written_is_read),
    ("of several claims of one version one succeeds", one_claim_wins),
    ("claims at the same time have one winner", racing_claims),
    ("a write that expects another version is a conflict", stale_writes_conflict),
    ("a renewal keeps the token and raises the revision", renewal),
    ("a release is read and its successor has a higher token", release),
    ("a completion stands", completion),
    ("a revision is never used twice", revisions_rise),
    ("metadata and long identities survive", long_texts),
];

/// Runs every case on fresh locks: each call of `fresh` makes a new store and returns what opens
/// it, once for each candidate.
///
/// # Errors
///
/// The first case that the lock does not hold.
pub fn check<O: FnMut() -> Box<dyn Lock>>(mut fresh: impl FnMut() -> O) -> Result<(), Violation> {
    for (case, run) in CASES {
        let mut open = fresh();
        run(&mut open).map_err(|what| Violation { case, what })?;
    }
    Ok(())
}

/// A candidate's record.
fn record(number: u128) -> LeaderElectionRecord {
    LeaderElectionRecord::new("candidate", Incarnation(number), Duration::from_secs(15))
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

fn unused_is_empty(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let seen = look(&mut *open())?;
    ensure(seen.is_none(), || format!("found {seen:?}"))?;
    ensure(!open().describe().is_empty(), || "it does not say where it is".to_owned())
}

fn written_is_read(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let (mut writer, mut reader) = (open(), open());
    look(&mut *reader)?;
    let token = acquire(&mut *writer, 1)?;
    for lock in [&mut reader, &mut writer] {
        let seen = head(&mut **lock)?;
        ensure(seen.revision == token, || format!("{} in place of {token}", seen.revision))?;
        let expected = (RecordKind::Held, Incarnation(1), Some(token.0));
        let found = (seen.record.kind, seen.record.incarnation, seen.record.fencing_token);
        ensure(found == expected, || format!("{found:?} in place of {expected:?}"))?;
        let lease = seen.record.lease_duration;
        ensure(lease == record(1).lease_duration, || format!("a lease of {lease:?}"))?;
    }
    Ok(())
}

fn expect_conflict(result: Result<Revision, LockError>) -> Verdict {
    match result {
        Err(LockError::Conflict(_)) => Ok(()),
        Ok(revision) => Err(format!("it succeeded, at {revision}")),
        Err(other) => Err(format!("it failed otherwise: {other}")),
    }
}

fn one_claim_wins(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let mut locks: Vec<_> = (0..4).map(|_| open()).collect();
    for lock in &mut locks {
        look(&mut **lock)?;
    }
    let won = write(&mut *locks[0], Intent::Acquire, &record(0), None)?;
    for (number, lock) in locks.iter_mut().enumerate().skip(1) {
        let claim = record(number as u128);
        expect_conflict(lock.write(Intent::Acquire, &claim, None, BUDGET))?;
    }
    let seen = head(&mut *locks[3])?;
    ensure((seen.revision, seen.record.incarnation) == (won, Incarnation(0)), || {
        format!("a lost claim stands there: {seen:?}")
    })
}

fn racing_claims(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
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
                        lock.write(Intent::Acquire, &record(number as u128), expected, BUDGET)
                    })
                })
                .collect();
            claims.into_iter().filter_map(|claim| claim.join().ok()?.ok()).collect()
        });
        ensure(winners.len() == 1, || format!("{} winners: {winners:?}", winners.len()))?;
    }
    Ok(())
}

fn stale_writes_conflict(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let (mut first, mut second) = (open(), open());
    let old = acquire(&mut *first, 1)?;
    let released = of_term(1, old).with_kind(RecordKind::Released);
    write(&mut *first, Intent::Release, &released, Some(old))?;
    let token = acquire(&mut *second, 2)?;
    let late = LeaderElectionRecord { renewals: 1, ..of_term(1, old) };
    expect_conflict(first.write(Intent::Renew, &late, Some(old), BUDGET))?;
    expect_conflict(first.write(Intent::Release, &released, Some(old), BUDGET))?;
    let completed = of_term(1, old).with_kind(RecordKind::Completed);
    expect_conflict(first.write(Intent::Complete, &completed, Some(old), BUDGET))?;
    expect_conflict(open().write(Intent::Acquire, &record(3), None, BUDGET))?;
    let seen = head(&mut *open())?;
    ensure((seen.revision, seen.record.incarnation) == (token, Incarnation(2)), || {
        format!("the leader's record is gone: {seen:?}")
    })
}

fn renewal(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let (mut leader, mut reader) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let mut last = token;
    for renewals in 1..=5 {
        let record = LeaderElectionRecord { renewals, ..of_term(1, token) };
        let next = write(&mut *leader, Intent::Renew, &record, Some(last))?;
        ensure(next > last, || format!("revision {next} after {last}"))?;
        last = next;
        let seen = head(&mut *reader)?;
        let found = (seen.revision, seen.record.fencing_token, seen.record.renewals);
        let expected = (last, Some(token.0), renewals);
        ensure(found == expected, || format!("{found:?} in place of {expected:?}"))?;
    }
    Ok(())
}

fn release(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let (mut leader, mut next) = (open(), open());
    let token = acquire(&mut *leader, 1)?;
    let released = of_term(1, token).with_kind(RecordKind::Released);
    let revision = write(&mut *leader, Intent::Release, &released, Some(token))?;
    let seen = head(&mut *next)?;
    ensure(seen.record.kind == RecordKind::Released && seen.revision == revision, || {
        format!("the release is not read: {seen:?}")
    })?;
    let successor = acquire(&mut *next, 2)?;
    ensure(successor > revision, || format!("token {successor} after revision {revision}"))
}

fn completion(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let mut leader = open();
    let token = acquire(&mut *leader, 1)?;
    let completed = of_term(1, token).with_kind(RecordKind::Completed);
    let revision = write(&mut *leader, Intent::Complete, &completed, Some(token))?;
    let seen = head(&mut *open())?;
    ensure(seen.record.kind == RecordKind::Completed && seen.revision == revision, || {
        format!("the completion is not read: {seen:?}")
    })
}

fn revisions_rise(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let mut last = None;
    for number in 0..20 {
        let mut lock = open();
        let token = acquire(&mut *lock, number)?;
        ensure(Some(token) > last, || format!("revision {token} after {last:?}"))?;
        let released = of_term(number, token).with_kind(RecordKind::Released);
        last = Some(write(&mut *lock, Intent::Release, &released, Some(token))?);
        ensure(last > Some(token), || format!("revision {last:?} after {token}"))?;
    }
    Ok(())
}

fn long_texts(open: &mut dyn FnMut() -> Box<dyn Lock>) -> Verdict {
    let mut lock = open();
    let mut long = record(1);
    long.holder_identity = "ü".repeat(127).into();
    long.metadata = "m".repeat(256).into();
    write(&mut *lock, Intent::Acquire, &long, None)?;
    let seen = head(&mut *open())?.record;
    let same = seen.holder_identity == long.holder_identity && seen.metadata == long.metadata;
    ensure(same, || format!("other texts came back: {seen:?}"))
}
