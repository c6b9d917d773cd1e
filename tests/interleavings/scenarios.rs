//! What happens in an execution. Each takes its turns at random, so that schedules differ in these,
//! too.

use std::num::NonZeroUsize;
use std::sync::Arc;

use leaderelection::crossbeam_channel::{Receiver, Sender, bounded, never};
use leaderelection::testing::{random, refuse_threads};
use leaderelection::{ElectorHandle, ElectorPool, Error, OnSuccess, Outcome, Term};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::world::{Candidate, SECOND, TERMS, World, checked, one_in, panic_quietly, revision};

/// Work of every kind: it returns at once or when it is told to, reports or not, and panics.
fn work(term: &Term, report: Option<&Sender<bool>>) {
    if one_in(2) {
        let _ = term.stop_signal().recv();
        checked(|| assert!(term.stopped()));
    }
    if let Some(report) = report.filter(|_| one_in(2)) {
        let _ = report.try_send(one_in(2));
    }
    if one_in(8) {
        panic_quietly();
    }
}

fn until_stopped(term: &Term) {
    let _ = term.stop_signal().recv();
}

fn any_end() -> OnSuccess {
    match random() % 3 {
        0 => OnSuccess::Hold,
        1 => OnSuccess::Release,
        _ => OnSuccess::Complete,
    }
}

/// Run after run of one elector: told to stop, given results, abandoned, short of threads.
pub fn runs() {
    let world = World::new();
    let (report, task) = bounded::<bool>(4);
    let (_, abandoned) = bounded::<bool>(1);
    let reporter = report.clone();
    let limit = SECOND * (random() % 4) as u32;
    let end = any_end();
    let candidate = world.candidate(
        "a",
        one_in(2),
        |config| config.term_limit(limit).on_success(end),
        move |term| work(term, Some(&report)),
    );
    for _ in 0..2 {
        let task = match random() % 4 {
            0 => never(),
            1 => abandoned.clone(),
            _ => task.clone(),
        };
        refuse_threads(if one_in(8) { 4 } else { 0 });
        let spawned = candidate.elector().spawn(task);
        match spawned {
            Ok(handle) => one_run(&candidate, handle, &reporter),
            Err(Error::Thread { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    refuse_threads(0);
    world.end(&[candidate]);
}

fn one_run(candidate: &Candidate, handle: ElectorHandle, reporter: &Sender<bool>) {
    let success = one_in(2);
    some_turns(64);
    match random() % 4 {
        0 => handle.report(success),
        1 => drop(reporter.try_send(success)),
        2 => refuse_threads(0),
        _ => {}
    }
    let told = success && one_in(2);
    if told {
        handle.report(true);
    }
    handle.stop();
    let outcome = handle.join();
    candidate.check_at_rest();
    match outcome {
        Ok(Outcome::Stopped) => assert!(!told, "a success that was reported before the stop"),
        Ok(_) | Err(Error::Lock(_) | Error::WorkPanicked(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Two candidates, and somebody who looks whether both believe.
pub fn rivals() {
    let world = World::new();
    let candidates = ["a", "b"].map(|name| {
        world.candidate(
            name,
            false,
            |config| config.term_limit(SECOND * 7),
            |term| work(term, None),
        )
    });
    let over = Arc::new(AtomicBool::new(false));
    let checker = thread::spawn({
        let (candidates, over) = (candidates.clone(), Arc::clone(&over));
        move || {
            while !over.load(Ordering::SeqCst) {
                check_believers(&candidates);
                thread::yield_now();
            }
        }
    });
    let handles = candidates.each_ref().map(|candidate| candidate.elector().spawn(never()));
    for handle in handles {
        let handle = handle.expect("starts");
        some_turns(256);
        handle.stop();
        let _ = handle.join();
    }
    candidates.iter().for_each(Candidate::check_at_rest);
    over.store(true, Ordering::SeqCst);
    checker.join().expect("finds nothing");
    world.end(&candidates);
}

/// Lets others go on, for up to so many turns.
fn some_turns(most: u64) {
    for _ in 0..random() % most {
        thread::yield_now();
    }
}

fn check_believers(candidates: &[Candidate; 2]) {
    let [first, second] =
        candidates.each_ref().map(|candidate| candidate.story(|story| story.terms.last().cloned()));
    if let (Some(first), Some(second)) = (first, second) {
        // A term does not become valid again, so it was while the other was asked.
        let both = first.is_valid() && second.is_valid() && first.is_valid();
        assert!(!both, "two believers");
    }
}

/// Somebody asks all the time, while renewals and the end race.
pub fn validity() {
    let world = World::new();
    let candidate = world.candidate(
        "a",
        false,
        |config| config.term_limit(SECOND * 30).acquire_timeout(SECOND * 40),
        until_stopped,
    );
    let over = Arc::new(AtomicBool::new(false));
    let checkers = [(); 2].map(|()| {
        let (candidate, over) = (candidate.clone(), Arc::clone(&over));
        let clock = world.clock.clone();
        let mut lock = world.lock.clone();
        thread::spawn(move || {
            let elector = candidate.elector();
            let (mut seen, mut ended) = (None, false);
            while !over.load(Ordering::SeqCst) {
                if let Some(term) = candidate.story(|story| story.terms.last().cloned()) {
                    // To the instant of the end, when a renewal stands that is perhaps not counted.
                    let revision = revision(&mut lock);
                    if seen.is_some() && revision != seen && one_in(2) {
                        clock.advance(term.remaining());
                    }
                    seen = revision;
                    let led = elector.is_leader();
                    let valid = term.is_valid();
                    assert!(led || !valid, "not the leader, and yet in a term");
                    // A run has one term.
                    ended |= !valid;
                    assert!(!ended || !term.is_valid(), "revived");
                    assert!(valid || term.remaining().is_zero(), "revived");
                }
                thread::yield_now();
            }
        })
    });
    let outcome = candidate.elector().run(never());
    assert_ne!(outcome.ok(), Some(Outcome::Stopped));
    candidate.check_at_rest();
    over.store(true, Ordering::SeqCst);
    for checker in checkers {
        checker.join().expect("finds nothing");
    }
    world.end(&[candidate]);
}

/// Guards, released, dropped, lost, or told the result.
pub fn guards() {
    let world = World::new();
    let candidate = world.candidate("a", one_in(2), |config| config.on_success(any_end()), |_| {});
    let elector = candidate.elector();
    for _ in 0..2 {
        let campaign =
            if one_in(2) { elector.try_campaign() } else { elector.campaign_timeout(SECOND * 20) };
        let Ok(Some(leadership)) = campaign else {
            continue;
        };
        TERMS.set(TERMS.get() + 1);
        candidate.story(|story| story.guards += 1);
        let term = leadership.term().clone();
        some_turns(64);
        match random() % 3 {
            0 => drop(leadership),
            1 => drop(leadership.release()),
            _ => drop(leadership.report(one_in(2))),
        }
        // A guard that was dropped has not always ended the term yet, nor the run.
        let next = loop {
            match elector.spawn(never()) {
                Ok(next) => break next,
                Err(Error::AlreadyRunning) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(term.stopped() && !term.is_valid());
        next.stop();
        let _ = next.join();
    }
    drop(elector);
    world.end(&[candidate]);
}

/// Two rivals in one pool, whose locks hang, and somebody who looks whether both believe.
pub fn pooled() {
    let world = World::new();
    let lock_threads = NonZeroUsize::new(1 + (random() % 2) as usize).expect("at least one");
    let pool = ElectorPool::new().clock(world.clock.clone()).lock_threads(lock_threads);
    let (candidates, handles): (Vec<_>, Vec<_>) =
        ["a", "b"].map(|name| world.member(&pool, name)).into_iter().unzip();
    let handles = Arc::new(handles);
    let over = Arc::new(AtomicBool::new(false));
    let checker = thread::spawn({
        let (handles, over) = (Arc::clone(&handles), Arc::clone(&over));
        move || {
            while !over.load(Ordering::SeqCst) {
                if let (Some(first), Some(second)) = (handles[0].term(), handles[1].term()) {
                    // A term does not become valid again, so it was while the other was asked.
                    let both = first.is_valid() && second.is_valid() && first.is_valid();
                    assert!(!both, "two believers");
                }
                thread::yield_now();
            }
        }
    });
    some_turns(512);
    over.store(true, Ordering::SeqCst);
    checker.join().expect("finds nothing");
    let handles = Arc::into_inner(handles).expect("the checker has ended");
    for (handle, candidate) in handles.into_iter().zip(&candidates) {
        match random() % 4 {
            0 => drop(handle),
            1 => handle.report(one_in(2)),
            _ => {
                handle.stop();
                let _ = handle.join();
                candidate.story(|story| assert_eq!(story.begun, story.ended, "returned too early"));
            }
        }
    }
    match random() % 3 {
        0 => drop(pool),
        1 => pool.join(),
        _ => {
            pool.shutdown(SECOND);
        }
    }
    let terms: u32 = candidates.iter().map(|one| one.story(|story| story.acquired)).sum();
    TERMS.set(TERMS.get() + u64::from(terms));
    world.end(&candidates);
}

/// Term after term, until a message says that it is enough.
pub fn for_ever() {
    let world = World::new();
    let candidate =
        world.candidate("a", true, |config| config.term_limit(SECOND * 2), until_stopped);
    let (stop, stopped): (Sender<()>, Receiver<()>) = bounded(1);
    let runs = thread::spawn({
        let elector = candidate.elector();
        move || elector.run_forever(stopped)
    });
    let over = Arc::new(AtomicBool::new(false));
    let checker = thread::spawn({
        let (candidate, over) = (candidate.clone(), Arc::clone(&over));
        move || {
            let mut old: Option<Term> = None;
            while !over.load(Ordering::SeqCst) {
                let is_valid = old.as_ref().is_some_and(Term::is_valid);
                assert!(!is_valid, "revived by the next term");
                let last = candidate.story(|story| story.terms.last().cloned());
                old = last.filter(|term| !term.is_valid()).or(old);
                thread::yield_now();
            }
        }
    });
    some_turns(64);
    // The sender stays: only the message can end it.
    stop.send(()).expect("is heard");
    let outcome = runs.join().expect("returns").expect("no error");
    assert_eq!(outcome, Outcome::Stopped);
    candidate.check_at_rest();
    over.store(true, Ordering::SeqCst);
    checker.join().expect("finds nothing");
    drop(stop);
    world.end(&[candidate]);
}
