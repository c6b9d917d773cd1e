//! What is not written or read again shows nothing else than if it were.

use super::*;
use crate::lock::file::same_host::Own;

impl Bench {
    /// One whose companion has no leases but those of this bench.
    fn lonely_lock(&self) -> FileLock {
        let mut options = FileLock::options().clock(self.clock.clone()).durable(false);
        options.companion = Own::In(vec![self.scratch.path().to_owned()]);
        options.open(self.path()).unwrap()
    }
}

fn renew(lock: &mut FileLock, term: &mut LeaderElectionRecord, revision: &mut Revision) {
    term.renewals += 1;
    *revision = lock.write(Intent::Renew, term, Some(*revision), BUDGET).unwrap();
}

fn liveness(lock: &mut FileLock) -> Liveness {
    let observed = lock.get(BUDGET).unwrap().unwrap();
    lock.liveness(&observed)
}

fn release(lock: &mut FileLock, token: Revision) -> Result<Revision, LockError> {
    let released = of_term(&record(1), token).with_kind(RecordKind::Released);
    lock.write(Intent::Release, &released, Some(token), BUDGET)
}

#[test]
#[cfg(target_os = "linux")]
fn a_leader_that_renews_is_alive_until_its_lease_is_over_and_no_longer() {
    let lease = record(1).lease_duration;
    // Up to the longest pause that a lease may have between two renewals.
    for share in [1, 2, 7, 19, 20, 21, 39, 40, 41, 54] {
        let (bench, pause) = (Bench::new(), lease * share / 60);
        let (mut lock, mut other) = (bench.lonely_lock(), bench.lonely_lock());
        let mut revision = acquire(&mut lock, 1);
        let mut term = of_term(&record(1), revision);
        let nearly = Duration::from_nanos(1);
        for _ in 0..70 {
            bench.clock.advance(pause - nearly);
            assert_eq!(liveness(&mut other), Liveness::Alive, "renewed every {pause:?}");
            bench.clock.advance(nearly);
            renew(&mut lock, &mut term, &mut revision);
        }
        bench.clock.advance(lease);
        assert_eq!(liveness(&mut other), Liveness::Unknown, "renewed every {pause:?}");
    }
}

#[test]
fn after_its_release_a_lock_shows_what_every_other_sees() {
    let bench = Bench::new();
    let (mut lock, mut other) = (bench.lock(), bench.lock());
    let token = acquire(&mut lock, 1);
    release(&mut lock, token).unwrap();
    let seen = lock.get(BUDGET).unwrap();
    assert_eq!(seen, other.get(BUDGET).unwrap());
    assert_eq!(seen.unwrap().record.kind, RecordKind::Released);
    let next = acquire(&mut lock, 2);
    assert_eq!(next, Revision(3));
    let again = of_term(&record(2), next).with_kind(RecordKind::Released);
    lock.write(Intent::Release, &again, Some(next), BUDGET).unwrap();
    assert_eq!(acquire(&mut other, 3), Revision(5));
    assert_eq!(lock.get(BUDGET).unwrap(), other.get(BUDGET).unwrap());
}

#[test]
fn a_release_above_anothers_record_is_held_for_its_own_lock_too() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let token = acquire(&mut lock, 1);
    // As a server would do it that has lost the first one.
    let entry = lock.entry(of_term(&record(2), token), None, None);
    let text = lock.encode(&entry).unwrap();
    let name = bench.path().join(name_of(1));
    std::fs::remove_file(&name).unwrap();
    std::os::unix::fs::symlink(std::str::from_utf8(&text).unwrap(), name).unwrap();
    release(&mut lock, token).unwrap();
    assert_eq!(lock.get(BUDGET).unwrap().unwrap().record.kind, RecordKind::Held);
}
