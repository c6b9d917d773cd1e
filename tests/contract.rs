//! The contract suite on both locks, and on locks with one defect each, which it must notice.
#![cfg(feature = "testing")]

use std::time::Duration;

use leaderelection::testing::contract::{self, Violation};
use leaderelection::{
    FileLock, Intent, LeaderElectionRecord, Lock, LockError, MemoryLock, Observed, RecordKind,
    Revision,
};

#[test]
fn the_memory_lock_holds_the_contract() {
    contract::check(|| {
        let lock = MemoryLock::new();
        move || Box::new(lock.clone()) as _
    })
    .unwrap();
}

#[test]
fn the_file_lock_holds_the_contract() {
    for durable in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        let mut number = 0;
        contract::check(|| {
            number += 1;
            let path = scratch.path().join(format!("{number}.lock"));
            move || Box::new(FileLock::options().durable(durable).open(&path).unwrap()) as _
        })
        .unwrap();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    ForgetsToCompare,
    StartsAgainAfterARelease,
    LosesTheTokenOnRenewal,
    SaysConflictThoughWritten,
    ForgetsReleases,
    ForgetsCompletions,
    SaysUnavailableOnConflict,
    CutsMetadata,
    IsNeverEmpty,
}

/// A memory lock with one defect.
#[derive(Clone)]
struct Defective(MemoryLock, Defect);

impl Lock for Defective {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        let seen = self.0.get(budget)?;
        let Some(mut observed) = seen else {
            if self.1 == Defect::IsNeverEmpty {
                let record = LeaderElectionRecord::new("x", Default::default(), budget);
                return Ok(Some(Observed { record, revision: Revision(0), nonce: 0 }));
            }
            return Ok(None);
        };
        let kind = observed.record.kind;
        match self.1 {
            Defect::LosesTheTokenOnRenewal if observed.record.renewals > 0 => {
                observed.record.fencing_token = Some(observed.revision.0);
            }
            Defect::ForgetsReleases if kind == RecordKind::Released => {
                observed.record.kind = RecordKind::Held;
            }
            Defect::ForgetsCompletions if kind == RecordKind::Completed => {
                observed.record.kind = RecordKind::Released;
            }
            Defect::CutsMetadata => observed.record.metadata = "".into(),
            _ => {}
        }
        Ok(Some(observed))
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        let expected = match self.1 {
            Defect::ForgetsToCompare => self.0.get(budget)?.map(|seen| seen.revision),
            _ => expected,
        };
        let result = self.0.write(intent, record, expected, budget);
        match (self.1, result) {
            (Defect::SaysConflictThoughWritten, Ok(_)) if intent == Intent::Renew => {
                Err(LockError::Conflict(leaderelection::Failure::new("write", "x")))
            }
            (Defect::SaysUnavailableOnConflict, Err(LockError::Conflict(failure))) => {
                Err(LockError::Unavailable(failure))
            }
            (Defect::StartsAgainAfterARelease, Ok(revision)) if intent == Intent::Release => {
                Ok(Revision(revision.0 - 1))
            }
            (_, result) => result,
        }
    }

    fn describe(&self) -> String {
        "a defective lock".to_owned()
    }
}

fn check_defective(defect: Defect) -> Result<(), Violation> {
    contract::check(|| {
        let lock = Defective(MemoryLock::new(), defect);
        move || Box::new(lock.clone()) as _
    })
}

#[test]
fn each_defect_is_noticed() {
    for defect in [
        Defect::ForgetsToCompare,
        Defect::StartsAgainAfterARelease,
        Defect::LosesTheTokenOnRenewal,
        Defect::SaysConflictThoughWritten,
        Defect::ForgetsReleases,
        Defect::ForgetsCompletions,
        Defect::SaysUnavailableOnConflict,
        Defect::CutsMetadata,
        Defect::IsNeverEmpty,
    ] {
        let violation = check_defective(defect).expect_err(&format!("{defect:?} passes"));
        println!("{defect:?} is noticed: {violation}");
    }
}
