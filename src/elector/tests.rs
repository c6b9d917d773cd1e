//! Tests of the threads: whatever is blocked, the term ends in time and the user hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

use super::*;
use crate::callbacks::ElectionEvent;
use crate::config::OnSuccess;
use crate::error::{LockError, LossReason};
use crate::lock::{MemoryLock, Observed};
use crate::record::{Intent, LeaderElectionRecord, RecordKind, Revision};
use crate::term::Term;

mod ends;
mod hostile;
mod pool;
mod visits;

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a busy machine, short enough to notice.
const PATIENCE: Duration = Duration::from_secs(20);

/// A memory lock that hangs for ever once it is told to.
struct Hanging {
    lock: MemoryLock,
    hang: Arc<std::sync::atomic::AtomicBool>,
    for_ever: Receiver<()>,
}

impl Hanging {
    fn pause(&self) {
        if self.hang.load(Ordering::SeqCst) {
            let _ = self.for_ever.recv();
        }
    }
}

impl Lock for Hanging {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.pause();
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.pause();
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "a hanging lock".to_owned()
    }
}

/// An elector on simulated time, with a channel for everything that its callbacks see.
struct Bench {
    clock: Clock,
    lock: MemoryLock,
    seen: Receiver<&'static str>,
    see: Sender<&'static str>,
}

impl Bench {
    fn new() -> Self {
        let (see, seen) = unbounded();
        Self { clock: Clock::simulated(), lock: MemoryLock::new(), seen, see }
    }

    fn config(&self, lock: impl Lock + 'static) -> Config {
        Config::new(lock).clock(self.clock.clone()).identity("a")
    }

    /// Work that returns when it is told to stop.
    fn callbacks(&self) -> LeaderCallbacks {
        let (started, stopped) = (self.see.clone(), self.see.clone());
        LeaderCallbacks::new()
            .on_started_leading(move |term: &Term| {
                let _ = started.send("started");
                let _ = term.stop_signal().recv();
                let _ = started.send("told to stop");
            })
            .on_stopped_leading(move || {
                let _ = stopped.send("stopped");
            })
    }

    fn elector(&self) -> LeaderElector {
        LeaderElector::new(self.config(self.lock.clone()).callbacks(self.callbacks())).unwrap()
    }

    fn expect(&self, what: &str) {
        assert_eq!(self.seen.recv_timeout(PATIENCE), Ok(what));
    }

    /// The work is told to stop and the user of the term's end: at a loss in either order.
    fn expect_loss(&self) {
        let mut seen = [self.seen.recv_timeout(PATIENCE), self.seen.recv_timeout(PATIENCE)];
        seen.sort_by_key(|seen| seen.ok());
        assert_eq!(seen, [Ok("stopped"), Ok("told to stop")]);
    }

    /// Advances time in small steps, so that renewals take place, until `done` says so.
    fn advance_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = self.clock_budget();
        while !done() {
            assert!(deadline.recv_timeout(Duration::ZERO).is_err(), "never came: {what}");
            self.clock.advance(SECOND / 10);
            // Gives the election thread time to act on the new instant.
            let _ = never::<()>().recv_timeout(Duration::from_millis(2));
        }
    }

    /// Advances time by retry periods, after each of which the lease has been renewed.
    fn lead_for(&self, span: Duration) {
        let end = self.clock.now() + span;
        let deadline = self.clock_budget();
        while self.clock.now() < end {
            let before = self.revision();
            self.clock.advance(SECOND * 2);
            while self.revision() == before {
                assert!(deadline.try_recv().is_err(), "never renewed");
                std::thread::yield_now();
            }
        }
    }

    fn revision(&self) -> Option<Revision> {
        self.lock.clone().get(SECOND).unwrap().map(|observed| observed.revision)
    }

    fn clock_budget(&self) -> Receiver<std::time::Instant> {
        crossbeam_channel::after(PATIENCE)
    }

    fn state(&self) -> Option<RecordKind> {
        self.lock.clone().get(SECOND).unwrap().map(|observed| observed.record.kind)
    }
}

#[test]
fn a_term_begins_ends_by_its_task_and_is_left_to_expire() {
    let bench = Bench::new();
    let elector = bench.elector();
    let (report, task) = bounded(1);
    let handle = elector.spawn(task).unwrap();
    bench.expect("started");
    assert!(elector.is_leader() && handle.is_leader());
    assert_eq!(elector.get_leader().as_deref(), Some("a"));
    report.send(true).unwrap();
    bench.expect("told to stop");
    bench.expect("stopped");
    assert_eq!(handle.join().unwrap(), Outcome::TaskSucceeded);
    assert!(!elector.is_leader());
    assert_eq!(bench.state(), Some(RecordKind::Held));
}

#[test]
fn a_stop_releases_after_the_work_and_the_elector_can_run_again() {
    let bench = Bench::new();
    let elector = bench.elector();
    for _ in 0..3 {
        let handle = elector.spawn(never()).unwrap();
        // It holds back two retry periods after a stop.
        bench.advance_until("a term", || elector.is_leader());
        bench.expect("started");
        assert!(matches!(elector.spawn(never()), Err(Error::AlreadyRunning)));
        handle.stop();
        bench.expect("told to stop");
        bench.expect("stopped");
        assert_eq!(handle.join().unwrap(), Outcome::Stopped);
        assert_eq!(bench.state(), Some(RecordKind::Released));
    }
}

#[test]
fn dropping_the_handle_stops_the_run() {
    let bench = Bench::new();
    let elector = bench.elector();
    drop({
        let handle = elector.spawn(never()).unwrap();
        bench.expect("started");
        handle
    });
    bench.expect("told to stop");
    bench.expect("stopped");
}

#[test]
fn renewals_extend_the_term_and_its_limit_ends_it() {
    let bench = Bench::new();
    let config = bench.config(bench.lock.clone()).callbacks(bench.callbacks());
    let elector = LeaderElector::new(config.term_limit(SECOND * 60)).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    // Nearly six deadlines.
    bench.lead_for(SECOND * 58);
    assert!(handle.is_leader() && bench.seen.is_empty());
    bench.clock.advance(SECOND * 2);
    bench.expect("told to stop");
    assert_eq!(handle.join().unwrap(), Outcome::TermLimitReached);
    assert_eq!(bench.state(), Some(RecordKind::Released));
}

#[test]
fn mended_03_a_hung_lock_ends_the_term_at_the_deadline() {
    let bench = Bench::new();
    let hang = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (_keep, for_ever) = bounded(0);
    let lock = Hanging { lock: bench.lock.clone(), hang: Arc::clone(&hang), for_ever };
    let (tell, events) = unbounded();
    let config = bench.config(lock).callbacks(bench.callbacks());
    let config = config.on_event(move |event| tell.send(event.to_string()).unwrap());
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    hang.store(true, Ordering::SeqCst);
    bench.advance_until("the loss", || !elector.is_leader());
    bench.expect_loss();
    let outcome = handle.join().unwrap();
    assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
    assert_eq!(elector.get_leader(), None);
    let told: Vec<String> = events.try_iter().collect();
    assert!(told.iter().any(|line| line.contains("a hanging lock has not answered")), "{told:?}");
}

#[test]
fn a_frozen_election_thread_is_not_needed_for_the_answer_to_be_no() {
    let bench = Bench::new();
    let elector = bench.elector();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    // One jump of the clock, and asked before the election thread can have acted.
    bench.clock.advance(SECOND * 10);
    assert!(!elector.is_leader());
    bench.expect_loss();
    let outcome = handle.join().unwrap();
    assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
}

#[test]
fn work_that_never_returns_does_not_delay_the_end_of_the_term() {
    let bench = Bench::new();
    let (_keep, for_ever) = bounded::<()>(0);
    let (started, stopped) = (bench.see.clone(), bench.see.clone());
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(move |_: &Term| {
            started.send("started").unwrap();
            let _ = for_ever.recv();
        })
        .on_stopped_leading(move || stopped.send("stopped").unwrap());
    let config = bench.config(bench.lock.clone()).callbacks(callbacks);
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    handle.stop();
    // The drain timeout, then the expiry of what was renewed last.
    bench.advance_until("the end", || !elector.is_leader());
    bench.expect("stopped");
    // Never released: others wait for its expiry, since the work still runs.
    assert_eq!(bench.state(), Some(RecordKind::Held));
}

#[test]
fn listeners_that_block_for_ever_delay_nothing() {
    let bench = Bench::new();
    let (_keep, for_ever) = bounded::<()>(0);
    let also = for_ever.clone();
    let callbacks = bench.callbacks().on_new_leader(move |_: &str| {
        let _ = for_ever.recv();
    });
    let config = bench.config(bench.lock.clone()).callbacks(callbacks).on_event(move |_| {
        let _ = also.recv();
    });
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    bench.clock.advance(SECOND * 10);
    assert!(!elector.is_leader());
    bench.expect_loss();
    let outcome = handle.join().unwrap();
    assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
}

#[test]
fn a_panic_in_the_work_is_an_error_and_releases_the_lease() {
    let bench = Bench::new();
    let stopped = bench.see.clone();
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(|_: &Term| panic!("out of {}", "cheese"))
        .on_stopped_leading(move || stopped.send("stopped").unwrap());
    let config = bench.config(bench.lock.clone()).callbacks(callbacks);
    let elector = LeaderElector::new(config).unwrap();
    let error = elector.run(never()).unwrap_err();
    assert!(matches!(&error, Error::WorkPanicked(text) if text == "out of cheese"), "{error}");
    bench.expect("stopped");
    assert_eq!(bench.state(), Some(RecordKind::Released));
}

#[test]
fn panics_of_other_callbacks_change_nothing() {
    let bench = Bench::new();
    let callbacks = bench.callbacks().on_new_leader(|_: &str| panic!("no"));
    let config = bench.config(bench.lock.clone()).callbacks(callbacks).on_event(|_| panic!("no"));
    let elector = LeaderElector::new(config).unwrap();
    let (report, task) = bounded(1);
    let handle = elector.spawn(task).unwrap();
    bench.expect("started");
    report.send(false).unwrap();
    assert_eq!(handle.join().unwrap(), Outcome::TaskFailed);
}

#[test]
fn mended_10_a_run_without_work_is_refused() {
    let bench = Bench::new();
    let elector = LeaderElector::new(bench.config(MemoryLock::new())).unwrap();
    assert!(matches!(elector.run(never()), Err(Error::NoWork)));
    assert!(matches!(elector.spawn(never()), Err(Error::NoWork)));
}

#[test]
fn a_result_that_the_work_reports_just_before_it_returns_counts() {
    for _ in 0..50 {
        let bench = Bench::new();
        let (report, task) = bounded(1);
        let callbacks = LeaderCallbacks::new().on_started_leading(move |_: &Term| {
            report.send(true).unwrap();
        });
        let config = bench.config(bench.lock.clone()).callbacks(callbacks);
        let elector = LeaderElector::new(config.on_success(OnSuccess::Complete)).unwrap();
        assert_eq!(elector.run(task).unwrap(), Outcome::TaskSucceeded);
        assert_eq!(bench.state(), Some(RecordKind::Completed));
        assert_eq!(elector.run(never()).unwrap(), Outcome::AlreadyCompleted);
    }
}

#[test]
fn on_stopped_leading_runs_once_for_each_term_and_never_without_one() {
    let bench = Bench::new();
    let ends = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ends);
    let callbacks = bench.callbacks().on_stopped_leading(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let config = bench.config(bench.lock.clone()).callbacks(callbacks);
    let elector = LeaderElector::new(config).unwrap();
    let (report, task) = bounded(1);
    report.send(true).unwrap();
    assert_eq!(elector.run(task).unwrap(), Outcome::TaskSucceeded);
    assert_eq!(ends.load(Ordering::SeqCst), 0);
    let (stop, stopped) = bounded(0);
    drop(stop);
    assert_eq!(elector.run_forever(stopped).unwrap(), Outcome::Stopped);
    let handle = elector.spawn(never()).unwrap();
    bench.advance_until("a term", || elector.is_leader());
    handle.stop();
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn run_forever_campaigns_again_after_each_term() {
    let bench = Bench::new();
    let config = bench.config(bench.lock.clone()).callbacks(bench.callbacks());
    let elector = Arc::new(LeaderElector::new(config.term_limit(SECOND)).unwrap());
    let (stop, stopped) = bounded::<()>(0);
    let runner = Arc::clone(&elector);
    let runs = std::thread::spawn(move || runner.run_forever(stopped));
    let mut terms = 0;
    bench.advance_until("three terms", || {
        terms += bench.seen.try_iter().filter(|seen| *seen == "started").count();
        terms >= 3
    });
    drop(stop);
    assert_eq!(runs.join().unwrap().unwrap(), Outcome::Stopped);
}

#[test]
fn a_guard_leads_until_it_is_given_back() {
    let bench = Bench::new();
    let elector = LeaderElector::new(bench.config(bench.lock.clone())).unwrap();
    let leadership = elector.campaign().unwrap();
    let token = leadership.term().fencing_token();
    assert!(elector.is_leader() && leadership.term().is_valid());
    let other = LeaderElector::new(bench.config(bench.lock.clone()).identity("b")).unwrap();
    let refused = std::thread::scope(|scope| {
        let attempt = scope.spawn(|| other.try_campaign());
        bench.advance_until("a refusal", || attempt.is_finished());
        attempt.join().unwrap()
    });
    assert!(refused.unwrap().is_none());
    leadership.release().unwrap();
    assert!(!elector.is_leader());
    assert_eq!(bench.state(), Some(RecordKind::Released));
    let next = other.campaign().unwrap();
    assert!(next.term().fencing_token() > token);
    drop(next);
    assert_eq!(bench.state(), Some(RecordKind::Released));
}

#[test]
fn a_guard_can_complete_the_task() {
    let bench = Bench::new();
    let config = bench.config(bench.lock.clone()).on_success(OnSuccess::Complete);
    let elector = LeaderElector::new(config).unwrap();
    let leadership = elector.campaign().unwrap();
    assert_eq!(leadership.report(true).unwrap(), Outcome::TaskSucceeded);
    let again = elector.campaign().unwrap_err();
    assert!(matches!(again, Error::NotElected(Outcome::AlreadyCompleted)), "{again}");
}

#[test]
fn a_guard_that_was_lost_says_so() {
    let bench = Bench::new();
    let elector = LeaderElector::new(bench.config(bench.lock.clone())).unwrap();
    let leadership = elector.campaign().unwrap();
    bench.clock.advance(SECOND * 10);
    assert!(!leadership.term().is_valid());
    let _ = leadership.term().stop_signal().recv_timeout(PATIENCE);
    let error = leadership.release().unwrap_err();
    assert!(matches!(error, Error::NotElected(Outcome::LeaseLost(_))), "{error}");
}

#[test]
fn a_fatal_lock_error_reaches_the_caller() {
    struct Broken;
    impl Lock for Broken {
        fn get(&mut self, _: Duration) -> Result<Option<Observed>, LockError> {
            panic!("cannot happen")
        }
        fn write(
            &mut self,
            _: Intent,
            _: &LeaderElectionRecord,
            _: Option<Revision>,
            _: Duration,
        ) -> Result<Revision, LockError> {
            unreachable!()
        }
        fn describe(&self) -> String {
            "a broken lock".to_owned()
        }
    }
    let bench = Bench::new();
    let elector = LeaderElector::new(bench.config(Broken).callbacks(bench.callbacks())).unwrap();
    let error = elector.run(never()).unwrap_err().to_string();
    assert_eq!(error, "cannot read a broken lock: the lock panicked: cannot happen");
}

#[test]
fn events_tell_the_story_of_a_term() {
    let bench = Bench::new();
    let (tell, events) = unbounded();
    let config = bench.config(bench.lock.clone()).callbacks(bench.callbacks());
    let config = config.on_event(move |event| tell.send(event.clone()).unwrap());
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    handle.stop();
    handle.join().unwrap();
    let events: Vec<_> = events.try_iter().collect();
    assert_eq!(
        events,
        [
            ElectionEvent::CampaignStarted,
            ElectionEvent::Acquired { fencing_token: 1 },
            ElectionEvent::LeaderChanged(Some("a".into())),
            ElectionEvent::Stopping,
            ElectionEvent::LeaderChanged(None),
            ElectionEvent::Released,
        ]
    );
}
