//! Wake-ups by file events, and that nothing depends on them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::*;
use crate::clock::Stopwatch;
use crate::lock::file::companion::{Tried, try_shared};
use crate::lock::file::wake::{Target, Watch};
use crate::lock::waker::{Chore, Wake};
use crate::sync::channel::{RecvTimeoutError, Sender, bounded, never};

/// Long enough for a loaded machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what must not come.
const MOMENT: Duration = Duration::from_millis(100);

fn listener() -> Arc<Listener> {
    use rustix::fs::inotify::{CreateFlags, init};
    Arc::new(Listener::new(|| init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !holds() {
        assert!(watch.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// A lock that listens, has looked once, and has not been woken since.
fn listening(bench: &Bench, listener: &Arc<Listener>) -> (FileLock, Receiver<()>) {
    let mut lock = bench.hasty_lock();
    assert!(lock.bell.set(Bell::new(Arc::clone(listener))).is_ok());
    let rung = lock.wake_ups();
    lock.get(BUDGET).unwrap();
    (lock, rung)
}

fn waker() -> (Waker, Receiver<()>) {
    let (tell, rung) = bounded(1);
    (Waker::new(move || tell.try_send(()).is_ok()), rung)
}

#[test]
fn a_waker_is_called_in_place_of_the_channel() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let (waker, rung) = waker();
    assert!(lock.wake_with(waker));
    acquire(&mut bench.lock(), 1);
    lock.get(BUDGET).unwrap();
    File::create(bench.path().join(name_of(9))).unwrap();
    rung.recv_timeout(PATIENCE).expect("woken");
}

#[test]
fn whatever_is_written_wakes_who_waits() {
    let bench = Bench::new();
    let listener = listener();
    let mut leader = bench.hasty_lock();
    let token = acquire(&mut leader, 1);
    let (mut waiter, rung) = listening(&bench, &listener);
    let (_other, other_rung) = listening(&bench, &listener);
    assert_eq!(rung.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout), "nothing was written");
    let term = LeaderElectionRecord { renewals: 1, ..of_term(&record(1), token) };
    let renewed = leader.write(Intent::Renew, &term, Some(token), BUDGET).unwrap();
    rung.recv_timeout(PATIENCE).expect("woken by the renewal");
    waiter.get(BUDGET).unwrap();
    let released = term.with_kind(RecordKind::Released);
    leader.write(Intent::Release, &released, Some(renewed), BUDGET).unwrap();
    rung.recv_timeout(PATIENCE).expect("woken by the release");
    other_rung.recv_timeout(PATIENCE).expect("the other as well");
    acquire(&mut waiter, 2);
}

#[test]
fn a_leader_does_not_listen_to_itself() {
    let bench = Bench::new();
    let (mut lock, rung) = listening(&bench, &listener());
    acquire(&mut lock, 1);
    lock.tidy();
    while rung.recv_timeout(MOMENT).is_ok() {}
    File::create(bench.path().join("g.00000000000000000009")).unwrap();
    assert_eq!(rung.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
}

#[test]
fn what_is_removed_or_is_no_generation_wakes_nobody() {
    let bench = Bench::new();
    acquire(&mut bench.hasty_lock(), 1);
    let (_lock, rung) = listening(&bench, &listener());
    for name in ["notes", "g.7", "g.0000000000000000000x", "g.99999999999999999999"] {
        File::create(bench.path().join(name)).unwrap();
    }
    fs::remove_file(bench.path().join(name_of(1))).unwrap();
    assert_eq!(rung.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
}

#[test]
fn a_directory_that_is_replaced_is_followed_by_its_path() {
    let bench = Bench::new();
    acquire(&mut bench.hasty_lock(), 1);
    let (mut lock, rung) = listening(&bench, &listener());
    fs::rename(bench.path(), bench.scratch.path().join("old")).unwrap();
    rung.recv_timeout(PATIENCE).expect("woken when it goes");
    acquire(&mut bench.hasty_lock(), 2);
    lock.get(BUDGET).unwrap();
    while rung.try_recv().is_ok() {}
    File::create(bench.path().join(name_of(9))).unwrap();
    rung.recv_timeout(PATIENCE).expect("woken in the new one");
}

#[test]
fn the_end_of_who_has_a_companion_locked_wakes_when_its_lock_is_free() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = place.path().join("companion");
    let listener = listener();
    let (waker, rung) = waker();
    for _ in 0..50 {
        let holder = File::create(&path).unwrap();
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        let seen = Arc::new(File::open(&path).unwrap());
        let target = Target::Companion(Arc::clone(&seen));
        let watch = listener.watch(seen.as_fd(), target, &waker).unwrap();
        assert!(watch.is_live());
        // Others that look and go are no sign.
        drop(File::open(&path).unwrap());
        assert!(rung.try_recv().is_err());
        drop(holder);
        rung.recv_timeout(PATIENCE).expect("woken by its end");
        assert_eq!(try_shared(&seen), Tried::Free);
    }
}

#[test]
fn who_waits_for_a_lock_that_stays_is_woken_all_the_same() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = place.path().join("companion");
    let holder = File::create(&path).unwrap();
    flock(&holder, FlockOperation::LockExclusive).unwrap();
    let (waker, rung) = waker();
    let seen = Arc::new(File::open(&path).unwrap());
    let listener = listener();
    let _watch =
        listener.watch(seen.as_fd(), Target::Companion(Arc::clone(&seen)), &waker).unwrap();
    drop(File::options().write(true).open(&path).unwrap());
    rung.recv_timeout(PATIENCE).expect("woken in the end");
    drop(holder);
}

#[test]
fn the_thread_ends_with_the_last_watch_and_begins_again_with_the_next() {
    let bench = Bench::new();
    acquire(&mut bench.hasty_lock(), 1);
    let listener = listener();
    for _ in 0..3 {
        let (lock, _) = listening(&bench, &listener);
        let (other, rung) = listening(&bench, &listener);
        assert!(!listener.is_idle());
        drop(lock);
        File::create(bench.path().join(name_of(9))).unwrap();
        fs::remove_file(bench.path().join(name_of(9))).unwrap();
        rung.recv_timeout(PATIENCE).expect("the other still listens");
        drop(other);
        wait_until("the end of the thread", || listener.is_idle());
    }
}

#[test]
fn without_events_what_changes_is_found_by_looking() {
    let bench = Bench::new();
    let refusals: [fn() -> Result<rustix::fd::OwnedFd, Errno>; 2] = [
        || Err(Errno::MFILE),
        // No instance at all: no watch can be added to it.
        || Ok(File::open("/dev/null").unwrap().into()),
    ];
    for refusal in refusals {
        let listener = Arc::new(Listener::new(refusal));
        let (mut lock, rung) = listening(&bench, &listener);
        let incarnation = lock.get(BUDGET).unwrap().map_or(1, |seen| seen.record.incarnation.0 + 1);
        acquire(&mut bench.hasty_lock(), incarnation);
        assert!(rung.try_recv().is_err());
        let seen = lock.get(BUDGET).unwrap().unwrap();
        assert_eq!(seen.record.incarnation, Incarnation(incarnation));
        assert!(listener.is_idle(), "nothing is left of the attempt");
    }
}

/// Who lets the thread of events do what it is told here, a round each.
struct Busy(Receiver<Chore>);

impl Wake for Busy {
    fn wake(&self) -> bool {
        true
    }

    fn wake_here(&self) -> Option<Chore> {
        self.0.try_recv().ok()
    }
}

/// A directory that is watched for somebody who is busy.
fn busy(listener: &Arc<Listener>, path: &std::path::Path) -> (Watch, Sender<Chore>) {
    let (tell, chores) = bounded(2);
    let directory = File::open(path).unwrap();
    let waker = Waker::of(Busy(chores));
    (listener.watch(directory.as_fd(), Target::Directory, &waker).unwrap(), tell)
}

#[test]
fn a_thread_that_hangs_in_a_look_is_replaced_by_one_that_looks_at_nothing() {
    let (bench, other) = (Bench::new(), Bench::new());
    acquire(&mut bench.hasty_lock(), 1);
    acquire(&mut other.hasty_lock(), 1);
    let listener = listener();
    let (watch, hang) = busy(&listener, &bench.path());
    let (keep, for_ever) = bounded::<()>(0);
    let (hung, hangs) = bounded(2);
    for _ in 0..2 {
        let (hung, for_ever) = (hung.clone(), for_ever.clone());
        let chore = move || {
            hung.send(()).unwrap();
            let _ = for_ever.recv();
        };
        hang.send(Box::new(chore)).unwrap();
    }
    File::create(bench.path().join(name_of(9))).unwrap();
    hangs.recv_timeout(PATIENCE).expect("looked at here");
    let (mut lock, rung) = listening(&other, &listener);
    File::create(other.path().join(name_of(9))).unwrap();
    wait_until("another thread", || {
        lock.get(BUDGET).unwrap();
        rung.try_recv().is_ok()
    });
    for generation in [10, 11] {
        File::create(other.path().join(name_of(generation))).unwrap();
        File::create(bench.path().join(name_of(generation))).unwrap();
        rung.recv_timeout(PATIENCE).expect("still heard");
    }
    assert!(hangs.try_recv().is_err(), "the next thread has been caught, too");
    drop(keep);
    // Once that is over, all is as before.
    let mut generation = 11;
    wait_until("a look", || {
        generation += 1;
        File::create(bench.path().join(name_of(generation))).unwrap();
        let _ = never::<()>().recv_timeout(Duration::from_millis(1));
        hangs.try_recv().is_ok()
    });
    drop((watch, lock));
    wait_until("the end of the thread", || listener.is_idle());
}

#[test]
fn what_is_started_in_a_look_waits_no_more_precisely_than_others() {
    let bench = Bench::new();
    acquire(&mut bench.hasty_lock(), 1);
    let (_watch, chores) = busy(&listener(), &bench.path());
    let (tell, told) = bounded(1);
    let slack = || rustix::thread::current_timer_slack().unwrap();
    let chore = move || {
        let started = std::thread::spawn(slack);
        tell.send(started.join().unwrap()).unwrap();
    };
    chores.send(Box::new(chore)).unwrap();
    File::create(bench.path().join(name_of(9))).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).expect("looked at here"), slack());
}

#[test]
fn watches_that_come_and_go_in_many_threads_lose_no_event() {
    let bench = Bench::new();
    acquire(&mut bench.hasty_lock(), 1);
    let listener = listener();
    let directory = File::open(bench.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (listener, directory, path) = (&listener, &directory, bench.path());
            scope.spawn(move || {
                for round in 0..100 {
                    let (waker, rung) = waker();
                    let watch = listener.watch(directory.as_fd(), Target::Directory, &waker);
                    let name = path.join(name_of(1000 * thread + round + 2));
                    File::create(&name).unwrap();
                    rung.recv_timeout(PATIENCE).expect("woken");
                    drop(watch);
                }
            });
        }
    });
    wait_until("the end of the thread", || listener.is_idle());
}
