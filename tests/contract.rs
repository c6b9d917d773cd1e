//! The contract suite on both locks, and on locks with one defect each, which it must notice.
#![cfg(feature = "testing")]

use std::sync::Arc;
use std::time::Duration;

use leaderelection::crossbeam_channel::never;
use leaderelection::testing::contract::{self, Report};
use leaderelection::{
    FileLock, Intent, LeaderElectionRecord, Liveness, Lock, LockError, MemoryLock, Observed,
    RecordKind, Revision,
};
use parking_lot::Mutex;

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

/// What a lock gets wrong, and the case that must notice it.
const DEFECTS: [(Defect, &str); 21] = [
    (Defect::IsNeverEmpty, "an unused lock is empty"),
    (Defect::ForgetsToCompare, "of several claims of one version one succeeds"),
    (Defect::ComparesBeforeItWrites, "claims at the same time have one winner"),
    (Defect::ComparesClaimsOnly, "who was taken over can't renew, release or complete"),
    (Defect::AcceptsWhatIsToCome, "a write that expects a version to come is a conflict"),
    (Defect::SaysUnavailableOnConflict, "a write that expects an older version is a conflict"),
    (Defect::SaysConflictThoughWritten, "a conflict has written nothing"),
    (Defect::NeedsALook, "who has not looked may claim a version that stands"),
    (Defect::LosesTheToken, "what is written is read, with its token"),
    (Defect::LosesTheTokenOnRenewal, "a renewal keeps the token and raises the revision"),
    (Defect::KeepsTheRevisionOnRenewal, "a renewal keeps the token and raises the revision"),
    (Defect::ForgetsRenewals, "a renewal keeps the token and raises the revision"),
    (Defect::ForgetsReleases, "a release is read and its successor has a higher token"),
    (Defect::ForgetsCompletions, "a completion stands until it is forgotten on purpose"),
    (Defect::StartsAgainAfterARelease, "a revision is never used twice"),
    (Defect::KeepsItsFirstToken, "one lock acquires term after term"),
    (Defect::CutsMetadata, "long and odd texts survive, and leases to the millisecond"),
    (Defect::CutsLeasesToSeconds, "long and odd texts survive, and leases to the millisecond"),
    (Defect::TidiesReleasesAway, "tidying changes nothing that is read"),
    (Defect::SaysThatAllAreDead, "the living are not said to be dead"),
    (Defect::ChangesWithEachLook, "looking changes nothing"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    IsNeverEmpty,
    ForgetsToCompare,
    ComparesBeforeItWrites,
    ComparesClaimsOnly,
    AcceptsWhatIsToCome,
    SaysUnavailableOnConflict,
    SaysConflictThoughWritten,
    NeedsALook,
    LosesTheToken,
    LosesTheTokenOnRenewal,
    KeepsTheRevisionOnRenewal,
    ForgetsRenewals,
    ForgetsReleases,
    ForgetsCompletions,
    StartsAgainAfterARelease,
    KeepsItsFirstToken,
    CutsMetadata,
    CutsLeasesToSeconds,
    TidiesReleasesAway,
    SaysThatAllAreDead,
    /// It looks as if somebody else had written, each time.
    ChangesWithEachLook,
}

/// A lock in memory with one defect. Its clones share the record.
#[derive(Clone)]
struct Defective {
    defect: Defect,
    store: Arc<Mutex<Store>>,
    /// This candidate's own.
    looked: bool,
    first_token: Option<u64>,
}

#[derive(Default)]
struct Store {
    observed: Option<Observed>,
    revision: u64,
    looks: u64,
}

impl Defective {
    fn new(defect: Defect) -> Self {
        Self { defect, store: Arc::default(), looked: false, first_token: None }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn accepts(&self, store: &Store, intent: Intent, expected: Option<Revision>) -> bool {
        let found = store.observed.as_ref().map(|seen| seen.revision);
        let claims = intent == Intent::Acquire;
        let anything = self.is(Defect::ForgetsToCompare)
            || self.is(Defect::ComparesClaimsOnly) && !claims
            || self.is(Defect::AcceptsWhatIsToCome) && expected > found;
        anything || found == expected
    }

    fn change(
        &mut self,
        store: &mut Store,
        intent: Intent,
        record: &LeaderElectionRecord,
    ) -> Revision {
        let stays = self.defect == Defect::KeepsTheRevisionOnRenewal && intent == Intent::Renew;
        store.revision += u64::from(!stays);
        let mut record = record.clone();
        if intent == Intent::Acquire {
            let token = *self.first_token.get_or_insert(store.revision);
            let kept = self.defect == Defect::KeepsItsFirstToken;
            record.fencing_token = Some(if kept { token } else { store.revision });
        }
        let kind = record.kind;
        match self.defect {
            Defect::LosesTheToken => record.fencing_token = None,
            Defect::LosesTheTokenOnRenewal if intent == Intent::Renew => {
                record.fencing_token = Some(store.revision);
            }
            Defect::ForgetsRenewals => record.renewals = 0,
            Defect::ForgetsReleases if kind == RecordKind::Released => {
                record.kind = RecordKind::Held;
            }
            Defect::ForgetsCompletions if kind == RecordKind::Completed => {
                record.kind = RecordKind::Released;
            }
            Defect::CutsMetadata => {
                record.metadata = record.metadata.get(..64).unwrap_or_default().into()
            }
            Defect::CutsLeasesToSeconds => {
                record.lease_duration = Duration::from_secs(record.lease_duration.as_secs());
            }
            _ => {}
        }
        let revision = Revision(store.revision);
        store.observed = Some(Observed { record, revision, nonce: 0 });
        if self.defect == Defect::StartsAgainAfterARelease && intent == Intent::Release {
            store.revision = 0;
        }
        revision
    }
}

fn conflict() -> LockError {
    LockError::Conflict(leaderelection::Failure::new("write", "a defective lock"))
}

impl Lock for Defective {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.looked = true;
        let mut store = self.store.lock();
        store.looks += 1;
        if self.defect == Defect::IsNeverEmpty && store.observed.is_none() {
            let record = LeaderElectionRecord::new("x", Default::default(), budget);
            return Ok(Some(Observed { record, revision: Revision(0), nonce: 0 }));
        }
        let looks = store.looks;
        let mut seen = store.observed.clone();
        if let Some(seen) = seen.as_mut().filter(|_| self.defect == Defect::ChangesWithEachLook) {
            seen.nonce = looks;
        }
        Ok(seen)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        _budget: Duration,
    ) -> Result<Revision, LockError> {
        if self.is(Defect::NeedsALook) && !self.looked && expected.is_some() {
            return Err(conflict());
        }
        let shared = Arc::clone(&self.store);
        let mut store = shared.lock();
        if !self.accepts(&store, intent, expected) {
            if self.is(Defect::SaysConflictThoughWritten) {
                self.change(&mut store, intent, record);
            }
            return Err(match (self.defect, conflict()) {
                (Defect::SaysUnavailableOnConflict, LockError::Conflict(failure)) => {
                    LockError::Unavailable(failure)
                }
                (_, error) => error,
            });
        }
        if self.is(Defect::ComparesBeforeItWrites) {
            // Long enough for all others to compare as well.
            drop(store);
            let _ = never::<()>().recv_timeout(Duration::from_millis(20));
            store = shared.lock();
        }
        Ok(self.change(&mut store, intent, record))
    }

    fn describe(&self) -> String {
        format!("a lock that {:?}", self.defect)
    }

    fn tidy(&mut self) {
        let mut store = self.store.lock();
        let released = |seen: &Observed| seen.record.kind == RecordKind::Released;
        if self.defect == Defect::TidiesReleasesAway {
            store.observed = store.observed.take().filter(|seen| !released(seen));
        }
    }

    fn liveness(&mut self, _observed: &Observed) -> Liveness {
        match self.is(Defect::SaysThatAllAreDead) {
            true => Liveness::Dead,
            false => Liveness::Unknown,
        }
    }
}

fn check_defective(defect: Defect) -> Report {
    let checked = contract::check(|| {
        let lock = Defective::new(defect);
        move || Box::new(lock.clone()) as _
    });
    checked.expect_err(&format!("{defect:?} passes"))
}

#[test]
fn each_defect_is_noticed_by_its_case() {
    for (defect, case) in DEFECTS {
        let report = check_defective(defect);
        let noticed = report.violations.iter().any(|violation| violation.case == case);
        assert!(noticed, "{defect:?} is not noticed by {case:?}, but {report}");
        println!("{defect:?}: {report}");
    }
}

#[test]
fn a_report_names_every_case_that_fails() {
    let report = check_defective(Defect::ForgetsCompletions);
    let text = report.to_string();
    assert!(text.starts_with("1 of 18 cases"), "{text}");
    assert!(text.contains("\n- a completion stands"), "{text}");
    assert_eq!(format!("{report:?}"), text);
}

#[test]
fn a_lock_that_panics_is_reported() {
    #[derive(Clone)]
    struct Panics;
    impl Lock for Panics {
        fn get(&mut self, _: Duration) -> Result<Option<Observed>, LockError> {
            panic!("on purpose")
        }
        fn write(
            &mut self,
            _: Intent,
            _: &LeaderElectionRecord,
            _: Option<Revision>,
            _: Duration,
        ) -> Result<Revision, LockError> {
            panic!("on purpose")
        }
        fn describe(&self) -> String {
            "a lock that panics".to_owned()
        }
    }
    let report = contract::check(|| || Box::new(Panics) as _).unwrap_err();
    assert_eq!(report.violations.len(), 18);
    assert!(report.violations.iter().all(|violation| violation.what.contains("panicked")));
}
