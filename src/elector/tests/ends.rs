//! What an election leaves behind: errors whose drop is user code, terms whose holder has not left,
//! threads and wake-ups.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::AtomicBool;

use super::hostile::Scripted;
use super::pool::Crowd;
use super::*;
use crate::error::Failure;
use crate::lock::Waker;

/// A source of an error that calls its function when it is dropped.
struct Dropped<F: Fn()>(F);

impl<F: Fn()> Drop for Dropped<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl<F: Fn()> fmt::Debug for Dropped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dropped")
    }
}

impl<F: Fn()> fmt::Display for Dropped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cause with a drop of its own")
    }
}

impl<F: Fn()> StdError for Dropped<F> {}

/// A memory lock that fails for good, with an error that calls `at_drop`, while it is told to: it
/// says when it is asked, and waits to be let go.
struct Failing<F> {
    lock: MemoryLock,
    fail: Arc<AtomicBool>,
    asked: Sender<()>,
    let_go: Receiver<()>,
    at_drop: F,
}

impl<F: Fn() + Clone + Send + Sync + 'static> Failing<F> {
    fn pause(&self) -> Result<(), LockError> {
        if !self.fail.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.asked.send(()).unwrap();
        let _ = self.let_go.recv();
        let cause = Dropped(self.at_drop.clone());
        Err(LockError::Fatal(Failure::new("use", "a failing lock").source(cause)))
    }
}

impl<F: Fn() + Clone + Send + Sync + 'static> Lock for Failing<F> {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.pause()?;
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.pause()?;
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "a failing lock".to_owned()
    }
}

/// Ends in a panic, unless that would be a panic within a panic.
fn go_off() {
    if !std::thread::panicking() {
        panic!("a bomb went off");
    }
}

/// Two members, of which one fails for good after its handle was dropped.
fn the_other_goes_on(at_drop: impl Fn() + Clone + Send + Sync + 'static) {
    let crowd = Crowd::new(2, 1);
    let (fail, (asked, was_asked), (release, let_go)) =
        (Arc::new(AtomicBool::new(true)), unbounded(), bounded(0));
    let lock = crowd.locks[0].clone();
    let failing = Failing { lock, fail, asked, let_go, at_drop };
    let failing = crowd.pool.spawn(crowd.bench.config(failing)).unwrap();
    was_asked.recv_timeout(PATIENCE).unwrap();
    let other = crowd.pool.spawn(crowd.config(1)).unwrap();
    // Some time has to pass before another lock thread helps.
    crowd.bench.advance_until("the other leads", || other.is_leader());
    drop(failing);
    crowd.until("its end", || crowd.pool.len() == 1);
    drop(release);
    crowd.thirty_seconds(&[1]);
    assert!(other.is_leader());
    other.stop();
    assert_eq!(other.join().unwrap(), Outcome::Stopped);
}

#[test]
fn an_error_that_nobody_wants_is_not_dropped_on_the_election_thread() {
    the_other_goes_on(go_off);
    let (_keep, for_ever) = bounded::<()>(0);
    the_other_goes_on(move || {
        let _ = for_ever.recv();
    });
}

#[test]
fn the_run_after_an_error_that_nobody_wants_finds_its_lock_again() {
    let bench = Bench::new();
    let (fail, (asked, was_asked), (release, let_go)) =
        (Arc::new(AtomicBool::new(true)), unbounded(), bounded(1));
    let lock = bench.lock.clone();
    let failing = Failing { lock, fail: Arc::clone(&fail), asked, let_go, at_drop: go_off };
    let config = bench.config(failing).callbacks(bench.callbacks());
    let elector = LeaderElector::new(config).unwrap();
    let first = elector.spawn(never()).unwrap();
    was_asked.recv_timeout(PATIENCE).unwrap();
    drop(first);
    // Another run begins while the call of the first hangs, and fails in its place.
    let deadline = bench.clock_budget();
    let second = loop {
        match elector.spawn(never()) {
            Ok(handle) => break handle,
            Err(error) => assert!(deadline.try_recv().is_err(), "{error}"),
        }
    };
    release.send(()).unwrap();
    was_asked.recv_timeout(PATIENCE).unwrap();
    release.send(()).unwrap();
    let error = second.join().unwrap_err();
    assert!(matches!(error, Error::Lock(LockError::Fatal(_))), "{error}");
    // The one who drops it is the user.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(error)));
    fail.store(false, Ordering::SeqCst);
    let third = elector.spawn(never()).unwrap();
    bench.expect("started");
    third.stop();
    assert_eq!(third.join().unwrap(), Outcome::Stopped);
}

/// The engine asserts that it keeps no more deadlines than elections.
#[test]
fn a_hundred_looks_leave_no_deadlines_behind() {
    let crowd = Crowd::new(1, 1);
    let lease = SECOND * 3600;
    let record = LeaderElectionRecord::new("b", crate::config::new_incarnation(), lease);
    crowd.locks[0].clone().write(Intent::Acquire, &record, None, SECOND).unwrap();
    let (look, looks) = unbounded();
    let before = move |_| {
        look.send(()).unwrap();
        Ok(())
    };
    let lock = Scripted { lock: crowd.locks[0].clone(), before };
    let config = crowd.bench.config(lock).retry_period(SECOND / 2).acquire_timeout(SECOND * 7200);
    let candidate = crowd.pool.spawn(config).unwrap();
    for _ in 0..100 {
        crowd
            .bench
            .advance_until("a look", || looks.recv_timeout(Duration::from_millis(1)).is_ok());
        crowd.bench.clock.advance(SECOND * 5 / 8);
    }
    candidate.stop();
    assert_eq!(candidate.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_stop_by_the_handle_waits_for_who_works_by_it() {
    for round in 0..4 {
        let crowd = Crowd::new(1, 1);
        let config = crowd.config(0).drain_timeout(SECOND * 60);
        let handle = crowd.pool.spawn(config).unwrap();
        crowd.all_lead(std::slice::from_ref(&handle));
        let term = handle.term().unwrap();
        match round % 2 {
            0 => handle.stop(),
            _ => handle.report(false),
        }
        let _ = term.stop_signal().recv_timeout(PATIENCE);
        // It is renewed all the while.
        crowd.thirty_seconds(&[0]);
        assert!(term.stopped() && term.is_valid() && handle.is_leader());
        assert_eq!(crowd.state(0), Some(RecordKind::Held), "somebody may be at work");
        match round < 2 {
            true => {
                let outcome = if round == 0 { Outcome::Stopped } else { Outcome::TaskFailed };
                assert_eq!(handle.join().unwrap(), outcome);
            }
            false => {
                drop(handle);
                crowd.until("the end", || crowd.pool.is_empty());
            }
        }
        assert_eq!(crowd.state(0), Some(RecordKind::Released));
        assert!(!term.is_valid());
    }
}

#[test]
fn a_limit_right_after_a_renewal_is_kept_to_the_millisecond_in_a_pool() {
    let crowd = Crowd::new(1, 1);
    let ms = Duration::from_millis(1);
    // A renewal at 2 s would be taken together with others of the next 4 ms.
    while crowd.bench.clock.now().as_nanos() % 5_000_000 != 1_000_000 {
        let past = crowd.bench.clock.now().as_nanos() % 1_000_000;
        crowd.bench.clock.advance(ms - Duration::from_nanos(past));
    }
    let handle = crowd.pool.spawn(crowd.config(0).term_limit(SECOND * 2 + ms)).unwrap();
    crowd.all_lead(std::slice::from_ref(&handle));
    let term = handle.term().unwrap();
    crowd.bench.clock.advance(SECOND * 2 + ms);
    // No time passes.
    crowd.until("the limit", || term.stopped());
}

#[test]
fn after_a_panic_of_the_election_thread_every_member_is_told() {
    let crowd = Crowd::new(3, 1);
    let (_keep, for_ever) = bounded::<()>(0);
    let at_drop = Dropped(move || {
        let _ = for_ever.recv();
    });
    let sticky = LeaderCallbacks::new().on_started_leading(move |_: &Term| {
        let _ = &at_drop;
    });
    let sticky = crowd.config(0).callbacks(sticky);
    let members = [
        crowd.pool.spawn(sticky).unwrap(),
        crowd.pool.spawn(crowd.config(1).callbacks(crowd.bench.callbacks())).unwrap(),
        crowd.pool.spawn_forever(crowd.config(2)).unwrap(),
    ];
    crowd.all_lead(&members);
    crowd.bench.expect("started");
    let terms: Vec<_> = members.iter().map(|member| member.term().unwrap()).collect();
    crowd.pool.panic();
    crowd.bench.expect_loss();
    for member in members {
        let error = member.join().unwrap_err();
        assert!(matches!(&error, Error::Thread { name: "main", .. }), "{error}");
    }
    assert!(terms.iter().all(|term| term.stopped() && !term.is_valid()));
    crowd.until("an error", || crowd.pool.spawn(crowd.config(0)).is_err());
    assert_eq!(crowd.pool.len(), 0);
    crowd.pool.join();
}

/// A memory lock that wakes its elector as soon as it has the waker.
struct Eager(MemoryLock);

impl Lock for Eager {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.0.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.0.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "an eager lock".to_owned()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        waker.wake();
        self.0.wake_with(waker)
    }
}

#[test]
fn a_wake_up_before_a_run_has_begun_does_not_keep_later_ones_from_it() {
    let crowd = Crowd::new(1, 1);
    let other = LeaderElector::new(crowd.config(0).identity("b")).unwrap();
    let leadership = other.campaign().unwrap();
    let lock = Eager(crowd.locks[0].clone());
    let handle = crowd.pool.spawn(crowd.bench.config(lock)).unwrap();
    crowd.until("the leader", || handle.get_leader().as_deref() == Some("b"));
    leadership.release().unwrap();
    // No time passes.
    crowd.until("a wake-up", || handle.is_leader());
}
