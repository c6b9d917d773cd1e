//! User code at its worst: panics that panic again, errors that block while they are printed,
//! channels that are flooded, drops in any order. Nothing of it may cost a term's end, a result or
//! a message.

use std::error::Error as StdError;
use std::panic::panic_any;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::error::Failure;

/// Ends in a panic whenever it is dropped, unless that would be a panic within a panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a bomb went off");
        }
    }
}

/// Blocks for ever when it is dropped, until the test ends.
struct Sticky(Receiver<()>);

impl Drop for Sticky {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// What `call` returns, on a thread of its own: fails where it does not come back.
fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = bounded(1);
    std::thread::spawn(move || tell.send(call()));
    told.recv_timeout(PATIENCE).expect("must return")
}

/// A lock that does as its function says; writes go to a memory lock.
pub(super) struct Scripted<F> {
    pub(super) lock: MemoryLock,
    pub(super) before: F,
}

impl<F: FnMut(Option<Intent>) -> Result<(), LockError> + Send> Lock for Scripted<F> {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        (self.before)(None)?;
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        (self.before)(Some(intent))?;
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "a scripted lock".to_owned()
    }
}

#[test]
fn a_stop_does_not_overtake_a_result_that_was_reported_before_it() {
    for round in 0..100 {
        let bench = Bench::new();
        let started = bench.see.clone();
        // As in the original, that the work returns says nothing: the result comes later.
        let callbacks = LeaderCallbacks::new()
            .on_started_leading(move |_: &Term| started.send("started").unwrap());
        let config = bench.config(bench.lock.clone()).callbacks(callbacks);
        let elector = LeaderElector::new(config.on_success(OnSuccess::Complete)).unwrap();
        let (report, task) = bounded(1);
        let handle = elector.spawn(task).unwrap();
        bench.expect("started");
        match round % 2 {
            0 => report.send(true).unwrap(),
            _ => handle.report(true),
        }
        handle.stop();
        assert_eq!(handle.join().unwrap(), Outcome::TaskSucceeded, "round {round}");
        assert_eq!(bench.state(), Some(RecordKind::Completed));
    }
}

#[test]
fn a_stop_does_not_overtake_a_success_while_campaigning() {
    let bench = Bench::new();
    let other = LeaderElector::new(bench.config(bench.lock.clone()).identity("b")).unwrap();
    let _leadership = other.campaign().unwrap();
    let elector = bench.elector();
    for _ in 0..100 {
        let handle = elector.spawn(never()).unwrap();
        // The task is not done is no news to a candidate; that it is done is.
        handle.report(false);
        handle.report(true);
        handle.stop();
        assert_eq!(handle.join().unwrap(), Outcome::TaskSucceeded);
    }
}

#[test]
fn run_forever_hears_a_stop_in_whatever_stage_a_term_is() {
    let bench = Bench::new();
    let (let_go, held) = bounded::<()>(0);
    let started = bench.see.clone();
    let callbacks = LeaderCallbacks::new().on_started_leading(move |term: &Term| {
        started.send("started").unwrap();
        let _ = term.stop_signal().recv();
        started.send("told to stop").unwrap();
        let _ = held.recv();
    });
    let config = bench.config(bench.lock.clone()).callbacks(callbacks);
    let elector = Arc::new(LeaderElector::new(config.term_limit(SECOND)).unwrap());
    let (stop, stopped) = bounded::<()>(1);
    let (runner, stop_signal) = (Arc::clone(&elector), stopped.clone());
    let runs = std::thread::spawn(move || runner.run_forever(stop_signal));
    bench.expect("started");
    bench.clock.advance(SECOND);
    bench.expect("told to stop");
    stop.send(()).unwrap();
    bench.advance_until("the message was read", || stopped.is_empty());
    drop(let_go);
    bench.advance_until("the end", || runs.is_finished());
    assert_eq!(runs.join().unwrap().unwrap(), Outcome::Stopped);
}

#[test]
fn nobody_slips_in_between_two_terms_of_run_forever() {
    let bench = Bench::new();
    let config = bench.config(bench.lock.clone()).callbacks(bench.callbacks());
    let elector = Arc::new(LeaderElector::new(config.term_limit(SECOND)).unwrap());
    let (stop, stopped) = bounded::<()>(0);
    let runner = Arc::clone(&elector);
    let runs = std::thread::spawn(move || runner.run_forever(stopped));
    bench.expect("started");
    let done = Arc::new(AtomicBool::new(false));
    let (intruder, over) = (Arc::clone(&elector), Arc::clone(&done));
    let intrusions = std::thread::spawn(move || {
        let mut intrusions = 0;
        while !over.load(Ordering::SeqCst) {
            intrusions += usize::from(intruder.spawn(never()).is_ok());
        }
        intrusions
    });
    let mut terms = 0;
    bench.advance_until("five terms", || {
        terms += bench.seen.try_iter().filter(|seen| *seen == "started").count();
        terms >= 5 || runs.is_finished()
    });
    done.store(true, Ordering::SeqCst);
    assert_eq!(intrusions.join().unwrap(), 0);
    drop(stop);
    assert_eq!(runs.join().unwrap().unwrap(), Outcome::Stopped);
}

#[test]
fn a_panic_that_panics_again_is_still_only_a_panic() {
    let bench = Bench::new();
    let stopped = bench.see.clone();
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(|_: &Term| panic_any(Bomb))
        .on_stopped_leading(move || {
            stopped.send("stopped").unwrap();
            panic_any(Bomb)
        })
        .on_new_leader(|_: &str| panic_any(Bomb));
    let (tell, events) = unbounded();
    let config = bench.config(bench.lock.clone()).callbacks(callbacks).on_event(move |event| {
        tell.send(event.clone()).unwrap();
        panic_any(Bomb)
    });
    let elector = LeaderElector::new(config).unwrap();
    let error = in_time(move || elector.run(never())).unwrap_err();
    assert!(matches!(&error, Error::WorkPanicked(text) if text == "no message"), "{error}");
    bench.expect("stopped");
    let events: Vec<_> = events.iter().collect();
    assert!(events.contains(&ElectionEvent::Released), "the worker lives on: {events:?}");
}

#[test]
fn a_lock_whose_panic_panics_again_is_an_error_of_the_lock() {
    let bench = Bench::new();
    let lock = Scripted { lock: bench.lock.clone(), before: |_| panic_any(Bomb) };
    let elector = LeaderElector::new(bench.config(lock).callbacks(bench.callbacks())).unwrap();
    let error = in_time(move || elector.run(never())).unwrap_err();
    assert!(matches!(error, Error::Lock(LockError::Fatal(_))), "{error}");
}

#[test]
fn a_lock_that_cannot_say_what_it_is_still_fails_as_it_should() {
    struct Nameless(AtomicBool);
    impl Lock for Nameless {
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
            assert!(!self.0.swap(true, Ordering::SeqCst), "asked again");
            "a nameless lock".to_owned()
        }
    }
    let bench = Bench::new();
    let config = bench.config(Nameless(AtomicBool::new(false))).callbacks(bench.callbacks());
    let elector = LeaderElector::new(config).unwrap();
    let error = in_time(move || elector.run(never())).unwrap_err().to_string();
    assert_eq!(error, "cannot read a nameless lock: the lock panicked: cannot happen");
}

/// An error that somebody else wrote: to print it blocks for ever, or panics.
#[derive(Debug)]
struct Unprintable(Option<Receiver<()>>);

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(for_ever) => {
                let _ = for_ever.recv();
                Ok(())
            }
            None => panic!("unprintable"),
        }
    }
}

impl StdError for Unprintable {}

#[test]
fn an_error_that_blocks_when_it_is_printed_does_not_delay_the_end_of_the_term() {
    let bench = Bench::new();
    let (_keep, for_ever) = bounded(0);
    let before = move |intent| match intent {
        Some(Intent::Renew) => {
            let source = Unprintable(Some(for_ever.clone()));
            Err(LockError::Unavailable(Failure::new("write", "a lock").source(source)))
        }
        _ => Ok(()),
    };
    let lock = Scripted { lock: bench.lock.clone(), before };
    let elector = LeaderElector::new(bench.config(lock).callbacks(bench.callbacks())).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    bench.advance_until("the loss", || !elector.is_leader());
    bench.expect_loss();
    let outcome = in_time(move || handle.join()).unwrap();
    assert_eq!(outcome, Outcome::LeaseLost(LossReason::RenewDeadline));
}

#[test]
fn an_error_that_panics_when_it_is_printed_is_an_error_all_the_same() {
    let bench = Bench::new();
    let mut failures = 3;
    let before = move |_| {
        failures -= 1;
        match failures {
            0.. => {
                let failure = Failure::new("read", "a lock").source(Unprintable(None));
                Err(LockError::Unavailable(failure))
            }
            _ => Ok(()),
        }
    };
    let lock = Scripted { lock: bench.lock.clone(), before };
    let elector = LeaderElector::new(bench.config(lock).callbacks(bench.callbacks())).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.advance_until("a term", || elector.is_leader());
    handle.stop();
    assert_eq!(in_time(move || handle.join()).unwrap(), Outcome::Stopped);
}

#[test]
fn a_logger_that_panics_costs_no_event() {
    struct Touchy;
    impl log::Log for Touchy {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            assert!(!record.args().to_string().contains("touchy"), "not that word");
        }
        fn flush(&self) {}
    }
    // Other tests log too; their words are harmless.
    if log::set_logger(&Touchy).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    let bench = Bench::new();
    let (tell, events) = unbounded();
    let config = bench.config(bench.lock.clone()).identity("touchy").callbacks(bench.callbacks());
    let config = config.on_event(move |event| {
        tell.send(event.clone()).unwrap();
        panic!("touchy")
    });
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    handle.stop();
    assert_eq!(in_time(move || handle.join()).unwrap(), Outcome::Stopped);
    drop(elector);
    assert!(events.iter().any(|event| event == ElectionEvent::Released));
}

#[test]
fn callbacks_whose_captures_never_drop_do_not_keep_a_run_from_ending() {
    let bench = Bench::new();
    let other = LeaderElector::new(bench.config(bench.lock.clone()).identity("b")).unwrap();
    let _leadership = other.campaign().unwrap();
    let (_keep, for_ever) = bounded(0);
    let sticky = Sticky(for_ever);
    let callbacks = LeaderCallbacks::new().on_started_leading(move |_: &Term| {
        let _ = &sticky;
    });
    let config = bench.config(bench.lock.clone()).callbacks(callbacks);
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    // The run has the last of the callbacks now.
    drop(elector);
    handle.stop();
    assert_eq!(in_time(move || handle.join()).unwrap(), Outcome::Stopped);
}

#[test]
fn an_elector_may_go_while_its_run_lives() {
    let bench = Bench::new();
    let elector = bench.elector();
    let (report, task) = bounded(1);
    let handle = elector.spawn(task).unwrap();
    bench.expect("started");
    drop(elector);
    bench.lead_for(SECOND * 30);
    assert!(handle.is_leader());
    report.send(true).unwrap();
    assert_eq!(handle.join().unwrap(), Outcome::TaskSucceeded);
}

#[test]
fn every_event_is_told_even_if_handle_and_elector_are_dropped_at_once() {
    for _ in 0..50 {
        let bench = Bench::new();
        let (tell, events) = unbounded();
        let config = bench.config(bench.lock.clone()).callbacks(bench.callbacks());
        let config = config.on_event(move |event| tell.send(event.clone()).unwrap());
        let elector = LeaderElector::new(config).unwrap();
        let handle = elector.spawn(never()).unwrap();
        bench.expect("started");
        drop((handle, elector));
        // Ends when the worker has gone, and the hook with it.
        let events: Vec<_> = events.iter().collect();
        assert_eq!(events.last(), Some(&ElectionEvent::Released), "{events:?}");
    }
}

#[test]
fn mended_06_callbacks_find_the_answers_that_belong_to_them() {
    for _ in 0..100 {
        let bench = Bench::new();
        let cell: Arc<OnceLock<LeaderElector>> = Arc::default();
        let (at_start, at_end) = (Arc::clone(&cell), Arc::clone(&cell));
        let (started, stopped) = (bench.see.clone(), bench.see.clone());
        let callbacks = LeaderCallbacks::new()
            .on_started_leading(move |term: &Term| {
                let elector = at_start.wait();
                let leads = elector.is_leader() && term.is_valid();
                let named = elector.get_leader().as_deref() == Some("a");
                let alone = matches!(elector.run(never()), Err(Error::AlreadyRunning));
                let right = leads && named && alone;
                started.send(if right { "started" } else { "a wrong answer" }).unwrap();
                let _ = term.stop_signal().recv();
                // The lease was taken away: it must not look as if there were time to clean up.
                let ended = !term.is_valid() && !elector.is_leader();
                started.send(if ended { "told to stop" } else { "a wrong answer" }).unwrap();
            })
            .on_stopped_leading(move || {
                let elector = at_end.wait();
                let named = elector.get_leader().as_deref() == Some("a");
                let alone = matches!(elector.run(never()), Err(Error::AlreadyRunning));
                let right = !elector.is_leader() && !named && alone;
                stopped.send(if right { "stopped" } else { "a wrong answer" }).unwrap();
            });
        let config = bench.config(bench.lock.clone()).callbacks(callbacks);
        let elector = cell.get_or_init(|| LeaderElector::new(config).unwrap());
        let handle = elector.spawn(never()).unwrap();
        bench.expect("started");
        take_over(&bench);
        bench.clock.advance(SECOND * 3);
        bench.expect_loss();
        let outcome = handle.join().unwrap();
        assert_eq!(outcome, Outcome::LeaseLost(LossReason::TakenOver));
    }
}

/// Another's record stands where the leader's was.
fn take_over(bench: &Bench) {
    let mut lock = bench.lock.clone();
    let seen = lock.get(SECOND).unwrap().unwrap();
    let other = crate::record::Incarnation(7);
    let record = LeaderElectionRecord::new("b", other, SECOND * 15);
    lock.write(Intent::Acquire, &record, Some(seen.revision), SECOND).unwrap();
}

#[test]
fn mended_06_a_leader_is_not_named_after_its_validity_has_ended() {
    let bench = Bench::new();
    let (_keep, for_ever) = bounded(0);
    let hang = Arc::new(AtomicBool::new(false));
    let lock = Hanging { lock: bench.lock.clone(), hang: Arc::clone(&hang), for_ever };
    let elector = LeaderElector::new(bench.config(lock).callbacks(bench.callbacks())).unwrap();
    for _ in 0..10 {
        let handle = elector.spawn(never()).unwrap();
        bench.advance_until("a term", || elector.is_leader());
        // Asked before the election thread can have acted.
        bench.clock.advance(SECOND * 10);
        assert_eq!((elector.is_leader(), elector.get_leader()), (false, None));
        handle.join().unwrap();
        bench.clock.advance(SECOND * 15);
    }
}

#[test]
fn a_flooded_task_channel_does_not_keep_a_run_from_ending() {
    let bench = Bench::new();
    let elector = bench.elector();
    let (report, task) = bounded(1024);
    let handle = elector.spawn(task).unwrap();
    bench.expect("started");
    handle.stop();
    let floods: Vec<_> = (0..3)
        .map(|_| {
            let report = report.clone();
            std::thread::spawn(move || while report.send(false).is_ok() {})
        })
        .collect();
    let outcome = in_time(move || handle.join()).unwrap();
    assert!(matches!(outcome, Outcome::Stopped | Outcome::TaskFailed), "{outcome}");
    drop(report);
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn a_lock_that_hung_for_a_run_serves_the_next() {
    let bench = Bench::new();
    let hang = Arc::new(AtomicBool::new(false));
    let (wake, for_ever) = bounded(0);
    let lock = Hanging { lock: bench.lock.clone(), hang: Arc::clone(&hang), for_ever };
    let elector = LeaderElector::new(bench.config(lock).callbacks(bench.callbacks())).unwrap();
    let first = elector.spawn(never()).unwrap();
    bench.expect("started");
    hang.store(true, Ordering::SeqCst);
    bench.advance_until("the loss", || !elector.is_leader());
    first.join().unwrap();
    bench.expect_loss();
    // While it hangs, a run can be stopped, and tried again.
    for _ in 0..2 {
        let handle = elector.spawn(never()).unwrap();
        bench.clock.advance(SECOND * 20);
        handle.stop();
        assert_eq!(in_time(move || handle.join()).unwrap(), Outcome::Stopped);
    }
    hang.store(false, Ordering::SeqCst);
    drop(wake);
    let last = elector.spawn(never()).unwrap();
    bench.advance_until("a term", || elector.is_leader());
    bench.expect("started");
    last.stop();
    assert_eq!(last.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_and_no_more() {
    let bench = Bench::new();
    let elector = bench.elector();
    for name in ["callbacks", "lock", "main"] {
        threads::refuse(Some(name));
        let error = elector.spawn(never()).unwrap_err();
        assert!(matches!(&error, Error::Thread { name: which, .. } if *which == name), "{error}");
    }
    threads::refuse(None);
    let handle = elector.spawn(never()).unwrap();
    bench.expect("started");
    handle.stop();
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_term_without_its_threads_is_not_claimed() {
    let bench = Bench::new();
    let (tell, events) = unbounded();
    let config = bench.config(bench.lock.clone()).identity("no threads");
    let config = config.callbacks(bench.callbacks()).on_event(move |event| {
        let _ = tell.send(event.clone());
    });
    let elector = LeaderElector::new(config).unwrap();
    for name in ["work", "end"] {
        threads::refuse(Some(name));
        let handle = elector.spawn(never()).unwrap();
        bench.advance_until("a failure", || {
            events.try_iter().any(|event| matches!(event, ElectionEvent::LockFailed(_)))
        });
        assert_eq!(bench.state().filter(|kind| *kind == RecordKind::Held), None);
        threads::refuse(None);
        bench.advance_until("a term", || elector.is_leader());
        bench.expect("started");
        handle.stop();
        assert_eq!(handle.join().unwrap(), Outcome::Stopped);
        bench.expect("told to stop");
        bench.expect("stopped");
    }
}

#[test]
fn a_lock_that_stops_pushing_is_polled() {
    struct Silent(MemoryLock);
    impl Lock for Silent {
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
            "a lock that pushes once".to_owned()
        }
        fn wake_ups(&self) -> Receiver<()> {
            let (push, wake_ups) = bounded(1);
            push.send(()).unwrap();
            wake_ups
        }
    }
    let bench = Bench::new();
    let other = LeaderElector::new(bench.config(bench.lock.clone()).identity("b")).unwrap();
    let leadership = other.campaign().unwrap();
    let config = bench.config(Silent(bench.lock.clone())).callbacks(bench.callbacks());
    let elector = LeaderElector::new(config).unwrap();
    let handle = elector.spawn(never()).unwrap();
    bench.advance_until("the leader", || elector.get_leader().as_deref() == Some("b"));
    leadership.release().unwrap();
    bench.advance_until("a term", || elector.is_leader());
    handle.stop();
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_stop_signal_of_a_long_gone_term_is_not_revived_by_the_next() {
    let bench = Bench::new();
    let elector = LeaderElector::new(bench.config(bench.lock.clone())).unwrap();
    let first = elector.campaign().unwrap();
    let old = first.term().clone();
    first.release().unwrap();
    bench.clock.advance(SECOND * 4);
    let second = elector.campaign().unwrap();
    assert!(second.term().is_valid() && elector.is_leader());
    assert!(!old.is_valid() && old.stopped() && old.remaining().is_zero());
    assert!(old.fencing_token() < second.term().fencing_token());
    bench.clock.advance(SECOND * 10);
    assert!(!elector.is_leader() && !second.term().is_valid() && !old.is_valid());
}
