//! Many elections on few threads: none is kept from its deadline by another.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::error::Failure;

/// A pool on simulated time, and the memory locks of its members.
pub(super) struct Crowd {
    pub(super) bench: Bench,
    pub(super) pool: ElectorPool,
    pub(super) locks: Vec<MemoryLock>,
}

impl Crowd {
    pub(super) fn new(members: usize, lock_threads: usize) -> Self {
        let bench = Bench::new();
        let lock_threads = NonZeroUsize::new(lock_threads).unwrap();
        let pool = ElectorPool::new().clock(bench.clock.clone()).lock_threads(lock_threads);
        Self { bench, pool, locks: (0..members).map(|_| MemoryLock::new()).collect() }
    }

    pub(super) fn config(&self, member: usize) -> Config {
        self.bench.config(self.locks[member].clone())
    }

    /// Members that lead by their handles.
    pub(super) fn spawn_all(&self) -> Vec<ElectorHandle> {
        (0..self.locks.len()).map(|member| self.pool.spawn(self.config(member)).unwrap()).collect()
    }

    /// Waits without letting time pass, in which a busy machine might lose a lease.
    pub(super) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = self.bench.clock_budget();
        while !done() {
            assert!(deadline.try_recv().is_err(), "never came: {what}");
            std::thread::yield_now();
        }
    }

    /// A lock that nobody has held is claimed at once.
    pub(super) fn all_lead(&self, members: &[ElectorHandle]) {
        self.until("all terms", || members.iter().all(ElectorHandle::is_leader));
    }

    pub(super) fn revision(&self, member: usize) -> Option<Revision> {
        self.locks[member].clone().get(SECOND).unwrap().map(|observed| observed.revision)
    }

    /// Three deadlines, in which all of `renewing` renew.
    pub(super) fn thirty_seconds(&self, renewing: &[usize]) {
        for _ in 0..15 {
            let before: Vec<_> = renewing.iter().map(|member| self.revision(*member)).collect();
            self.bench.clock.advance(SECOND * 2);
            let renewed = || {
                let revisions = renewing.iter().map(|member| self.revision(*member));
                revisions.zip(&before).all(|(revision, before)| revision > *before)
            };
            // Where threads hang, some time has to pass before others are started.
            let mut steps = 0;
            while !renewed() {
                steps += 1;
                assert!(steps < 60, "kept from renewing");
                let _ = never::<()>().recv_timeout(Duration::from_millis(steps));
                self.bench.clock.advance(SECOND / 10);
            }
        }
    }

    pub(super) fn state(&self, member: usize) -> Option<RecordKind> {
        self.locks[member].clone().get(SECOND).unwrap().map(|observed| observed.record.kind)
    }
}

#[test]
fn a_hundred_lead_renew_and_release() {
    let crowd = Crowd::new(100, 4);
    let members = crowd.spawn_all();
    crowd.all_lead(&members);
    assert_eq!(crowd.pool.len(), 100);
    crowd.thirty_seconds(&(0..100).collect::<Vec<_>>());
    assert!(members.iter().all(ElectorHandle::is_leader));
    assert_eq!(members[7].term().unwrap().fencing_token(), 1);
    members.iter().for_each(ElectorHandle::stop);
    for member in members {
        assert_eq!(member.join().unwrap(), Outcome::Stopped);
    }
    assert!((0..100).all(|member| crowd.state(member) == Some(RecordKind::Released)));
    assert!(crowd.pool.is_empty());
    crowd.pool.join();
}

/// A hundred elections, of which some have a lock that hangs once it is told to.
fn with_hanging(
    crowd: &Crowd,
    hanging: impl Fn(usize) -> bool,
) -> (Vec<ElectorHandle>, Arc<AtomicBool>, Sender<()>) {
    let hang = Arc::new(AtomicBool::new(false));
    let (keep, for_ever) = bounded(0);
    let members = (0..crowd.locks.len()).map(|member| {
        let config = crowd.config(member);
        crowd.pool.spawn(match hanging(member) {
            true => {
                let (lock, hang) = (crowd.locks[member].clone(), Arc::clone(&hang));
                crowd.bench.config(Hanging { lock, hang, for_ever: for_ever.clone() })
            }
            false => config,
        })
    });
    (members.map(Result::unwrap).collect(), hang, keep)
}

#[test]
fn a_lock_that_hangs_costs_only_its_own_lease() {
    let crowd = Crowd::new(100, 4);
    let (members, hang, _keep) = with_hanging(&crowd, |member| member % 40 == 7);
    crowd.all_lead(&members);
    hang.store(true, Ordering::SeqCst);
    let others: Vec<_> = (0..100).filter(|member| member % 40 != 7).collect();
    crowd.thirty_seconds(&others);
    assert!(others.iter().all(|member| members[*member].is_leader()));
    for (member, handle) in members.into_iter().enumerate() {
        if member % 40 == 7 {
            assert!(!handle.is_leader() && handle.term().is_none());
            let outcome = handle.join().unwrap();
            assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
        }
    }
}

#[test]
fn more_hung_locks_than_lock_threads_are_borne_by_spare_ones() {
    let crowd = Crowd::new(20, 2);
    let (members, hang, _keep) = with_hanging(&crowd, |member| member < 3);
    crowd.all_lead(&members);
    hang.store(true, Ordering::SeqCst);
    crowd.thirty_seconds(&(3..20).collect::<Vec<_>>());
    assert!(members[3..].iter().all(ElectorHandle::is_leader));
    assert!(members[..3].iter().all(|member| !member.is_leader()));
}

#[test]
fn where_every_lock_thread_hangs_all_lose_in_time() {
    let crowd = Crowd::new(20, 2);
    let (members, hang, keep) = with_hanging(&crowd, |member| member < 4);
    crowd.all_lead(&members);
    let terms: Vec<_> = members.iter().map(|member| member.term().unwrap()).collect();
    hang.store(true, Ordering::SeqCst);
    crowd.bench.advance_until("all have lost", || {
        assert!(terms.iter().all(|term| term.is_valid() || term.stopped()));
        members.iter().all(|member| !member.is_leader())
    });
    hang.store(false, Ordering::SeqCst);
    drop(keep);
    for member in members {
        let outcome = member.join().unwrap();
        assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
    }
    let another = crowd.pool.spawn(crowd.bench.config(MemoryLock::new())).unwrap();
    crowd.all_lead(&[another]);
}

#[test]
fn callbacks_of_a_member_run_as_those_of_an_elector() {
    let crowd = Crowd::new(1, 1);
    let config = crowd.config(0).callbacks(crowd.bench.callbacks());
    let handle = crowd.pool.spawn(config).unwrap();
    crowd.bench.expect("started");
    handle.stop();
    crowd.bench.expect("told to stop");
    crowd.bench.expect("stopped");
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
    assert_eq!(crowd.state(0), Some(RecordKind::Released));
}

#[test]
fn a_member_for_ever_leads_again_after_each_term() {
    let crowd = Crowd::new(1, 1);
    let config = crowd.config(0).callbacks(crowd.bench.callbacks()).term_limit(SECOND);
    let handle = crowd.pool.spawn_forever(config).unwrap();
    let mut terms = 0;
    crowd.bench.advance_until("three terms", || {
        terms += crowd.bench.seen.try_iter().filter(|seen| *seen == "started").count();
        terms >= 3
    });
    handle.stop();
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
}

#[test]
fn the_holder_of_a_handle_is_waited_for_at_the_term_limit() {
    let crowd = Crowd::new(1, 1);
    let config = crowd.config(0).term_limit(SECOND);
    let handle = crowd.pool.spawn(config).unwrap();
    crowd.all_lead(std::slice::from_ref(&handle));
    let term = handle.term().unwrap();
    crowd.bench.clock.advance(SECOND);
    let _ = term.stop_signal().recv_timeout(PATIENCE);
    assert!(term.stopped() && term.is_valid() && handle.is_leader());
    assert_eq!(crowd.state(0), Some(RecordKind::Held), "not released while somebody may work");
    assert_eq!(handle.join().unwrap(), Outcome::TermLimitReached);
    assert_eq!(crowd.state(0), Some(RecordKind::Released));
}

#[test]
fn a_holder_that_does_not_hear_the_limit_keeps_the_lease_from_being_released() {
    let crowd = Crowd::new(1, 1);
    let config = crowd.config(0).term_limit(SECOND).drain_timeout(SECOND * 3);
    let handle = crowd.pool.spawn(config).unwrap();
    crowd.all_lead(std::slice::from_ref(&handle));
    crowd.bench.advance_until("the end", || crowd.pool.is_empty());
    assert!(!handle.is_leader());
    assert_eq!(crowd.state(0), Some(RecordKind::Held));
    assert_eq!(handle.join().unwrap(), Outcome::TermLimitReached);
}

#[test]
fn a_result_that_is_reported_by_a_handle_ends_its_member_alone() {
    let crowd = Crowd::new(2, 1);
    let members: Vec<_> = (0..2)
        .map(|member| crowd.config(member).on_success(OnSuccess::Complete))
        .map(|config| crowd.pool.spawn(config).unwrap())
        .collect();
    crowd.all_lead(&members);
    members[0].report(true);
    members[0].stop();
    let mut members = members.into_iter();
    assert_eq!(members.next().unwrap().join().unwrap(), Outcome::TaskSucceeded);
    assert_eq!(crowd.state(0), Some(RecordKind::Completed));
    assert!(members.next().unwrap().is_leader());
}

#[test]
fn a_release_wakes_those_that_wait_in_a_pool() {
    let crowd = Crowd::new(1, 1);
    let other = LeaderElector::new(crowd.config(0).identity("b")).unwrap();
    let leadership = other.campaign().unwrap();
    let handle = crowd.pool.spawn(crowd.config(0)).unwrap();
    crowd.until("the leader", || handle.get_leader().as_deref() == Some("b"));
    leadership.release().unwrap();
    // No time passes.
    crowd.until("a wake-up", || handle.is_leader());
}

#[test]
fn a_pool_that_is_dropped_stops_its_members() {
    let crowd = Crowd::new(3, 2);
    let config = crowd.config(0).callbacks(crowd.bench.callbacks());
    let with_work = crowd.pool.spawn(config).unwrap();
    crowd.bench.expect("started");
    let candidate = crowd.pool.spawn(crowd.config(0).identity("b")).unwrap();
    drop(crowd.pool);
    crowd.bench.expect("told to stop");
    crowd.bench.expect("stopped");
    assert_eq!(with_work.join().unwrap(), Outcome::Stopped);
    assert_eq!(candidate.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_shutdown_waits_for_the_work_and_says_what_is_left() {
    let crowd = Crowd::new(2, 2);
    let (let_go, held) = bounded::<()>(0);
    let started = crowd.bench.see.clone();
    let callbacks = LeaderCallbacks::new().on_started_leading(move |_: &Term| {
        started.send("started").unwrap();
        let _ = held.recv();
    });
    let slow = crowd.pool.spawn(crowd.config(0).callbacks(callbacks)).unwrap();
    let quick = crowd.pool.spawn(crowd.config(1)).unwrap();
    crowd.bench.expect("started");
    quick.stop();
    assert_eq!(quick.join().unwrap(), Outcome::Stopped);
    assert_eq!(crowd.pool.shutdown(Duration::from_millis(50)), 1);
    drop(let_go);
    assert_eq!(slow.join().unwrap(), Outcome::Stopped);
    assert_eq!(ElectorPool::new().shutdown(PATIENCE), 0, "nothing ever ran");
}

#[test]
fn a_listener_that_blocks_keeps_no_member_of_its_pool_from_leading() {
    let crowd = Crowd::new(2, 2);
    let (_keep, for_ever) = bounded::<()>(0);
    let config = crowd.config(0).on_event(move |_| {
        let _ = for_ever.recv();
    });
    let members = [crowd.pool.spawn(config).unwrap(), crowd.pool.spawn(crowd.config(1)).unwrap()];
    crowd.all_lead(&members);
    for member in members {
        member.stop();
        assert_eq!(member.join().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_at_once() {
    let crowd = Crowd::new(1, 1);
    let error = crowd.pool.spawn(crowd.config(0).identity("")).unwrap_err();
    assert!(matches!(error, Error::Config(ConfigError::EmptyIdentity)), "{error}");
    struct Broken;
    impl Lock for Broken {
        fn get(&mut self, _: Duration) -> Result<Option<Observed>, LockError> {
            Err(LockError::Fatal(Failure::new("read", "a broken lock")))
        }
        fn write(
            &mut self,
            _: Intent,
            _: &LeaderElectionRecord,
            _: Option<Revision>,
            _: Duration,
        ) -> Result<Revision, LockError> {
            unreachable!("never read")
        }
        fn describe(&self) -> String {
            "a broken lock".to_owned()
        }
    }
    let broken = crowd.pool.spawn(crowd.bench.config(Broken)).unwrap();
    assert!(matches!(broken.join().unwrap_err(), Error::Lock(LockError::Fatal(_))));
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_of_the_first_spawn() {
    let crowd = Crowd::new(1, 1);
    for name in ["callbacks", "lock", "main"] {
        threads::refuse(Some(name));
        let error = crowd.pool.spawn(crowd.config(0)).unwrap_err();
        assert!(matches!(&error, Error::Thread { name: which, .. } if *which == name), "{error}");
    }
    threads::refuse(None);
    let handle = crowd.pool.spawn(crowd.config(0)).unwrap();
    crowd.all_lead(std::slice::from_ref(&handle));
}
