//! Steps that another thread than the election thread takes, and that nobody misses them.

use std::sync::atomic::AtomicBool;

use super::desk::Reply;
use super::inbox::Input;
use super::pool::Crowd;
use super::threads::Returned;
use super::*;
use crate::lock::Waker;

#[test]
fn a_run_whose_elector_is_gone_is_woken_all_the_same() {
    let bench = Bench::new();
    let leader = LeaderElector::new(bench.config(bench.lock.clone()).identity("b")).unwrap();
    let leadership = leader.campaign().unwrap();
    // The elector does not outlive this statement.
    let handle = bench.elector().spawn(never()).unwrap();
    let crowd = Crowd::new(0, 1);
    crowd.until("the leader", || handle.get_leader().as_deref() == Some("b"));
    leadership.release().unwrap();
    // No time passes.
    crowd.until("a wake-up", || handle.is_leader());
}

/// A lock that hangs when it is told to, and whose waker is at hand.
struct HangingThatWakes(Hanging, Sender<Waker>);

impl Lock for HangingThatWakes {
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
        self.0.describe()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.1.send(waker).is_ok()
    }
}

#[test]
fn a_wake_up_that_finds_all_lock_threads_hung_has_another_started() {
    let crowd = Crowd::new(2, 1);
    let others = [0, 1].map(|member| {
        let other = LeaderElector::new(crowd.config(member).identity("b")).unwrap();
        other.campaign().unwrap()
    });
    let (hang, (_keep, for_ever), (tell, wakers)) =
        (Arc::new(AtomicBool::new(false)), bounded(0), unbounded());
    let hanging = Hanging { lock: crowd.locks[0].clone(), hang: Arc::clone(&hang), for_ever };
    let config = crowd.bench.config(HangingThatWakes(hanging, tell));
    let members = [config, crowd.config(1)].map(|config| crowd.pool.spawn(config).unwrap());
    crowd.until("the leaders", || {
        members.iter().all(|member| member.get_leader().as_deref() == Some("b"))
    });
    // All lock threads are idle again, and nobody looks after them any more.
    let moment = || {
        crowd.bench.clock.advance(SECOND / 100);
        let _ = never::<()>().recv_timeout(SECOND / 50);
    };
    (0..5).for_each(|_| moment());
    hang.store(true, Ordering::SeqCst);
    assert!(wakers.recv().unwrap().wake());
    let _ = never::<()>().recv_timeout(SECOND / 10);
    let [_other, leadership] = others;
    leadership.release().unwrap();
    // Less than the retry period: nobody polls.
    (0..10).for_each(|_| moment());
    crowd.until("a term", || members[1].is_leader());
}

/// Whether elections take an answer and a return on another thread than their own.
fn visits(task: &Receiver<bool>, stop: &Receiver<()>, waiting: Option<Input>) -> [bool; 2] {
    let (line, inbox) = Line::new();
    let foreign = Foreign { task: task.clone(), stop: stop.clone(), wake_ups: never() };
    let threads = LockThreads::start(1).unwrap();
    let serves = Serves::One(foreign);
    let mut elections = Elections::new(Clock::simulated(), inbox, threads, serves);
    waiting.into_iter().for_each(|input| assert!(line.send(input).is_ok()));
    let answer = Input::Reply(0, 1, Box::new(Reply::Read(Ok(None))));
    let the_return = Input::Returned(0, Returned::Work(None));
    [answer, the_return].map(|input| elections.visit(input, false).is_ok())
}

#[test]
fn nothing_overtakes_what_is_on_its_way() {
    let ((_task, room), (_stop, no_room)) = (bounded(1), bounded(0));
    assert_eq!(visits(&room, &never(), None), [true, true]);
    assert_eq!(visits(&never(), &never(), None), [true, true]);
    assert_eq!(visits(&room, &never(), Some(Input::Stop(0))), [false, false]);
    // The election thread may have taken something out of a hand.
    assert_eq!(visits(&room, &no_room, None), [true, false]);
    assert_eq!(visits(&bounded(0).1, &never(), None), [false, false]);
}

/// A lock that says on which thread it is written to.
struct Traced<L>(L, Sender<(Intent, String)>);

impl<L: Lock> Lock for Traced<L> {
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
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let _ = self.1.send((intent, thread));
        self.0.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.0.wake_with(waker)
    }
}

/// Whether in one of some rounds a write for `intent` is made on the thread of that name: now and
/// then another is faster.
fn is_written_by(intent: Intent, thread: &str, round: impl Fn(Sender<(Intent, String)>)) {
    let written = (0..20).flat_map(|_| {
        let (tell, writes) = unbounded();
        round(tell);
        writes.try_iter().collect::<Vec<_>>()
    });
    let mut of_intent = written.filter(|(other, _)| *other == intent);
    assert!(of_intent.any(|(_, name)| name == thread), "never on {thread}");
}

#[test]
fn whoever_has_worked_gives_the_lease_back_itself() {
    is_written_by(Intent::Release, "election-work", |tell| {
        let bench = Bench::new();
        let config = bench.config(Traced(bench.lock.clone(), tell));
        let callbacks = LeaderCallbacks::new().on_started_leading(|term: &Term| {
            let _ = term.stop_signal().recv();
            // The election thread has seen the stop by then.
            let _ = never::<()>().recv_timeout(SECOND / 20);
        });
        let elector = LeaderElector::new(config.callbacks(callbacks)).unwrap();
        let handle = elector.spawn(never()).unwrap();
        Crowd::new(0, 1).until("a term", || elector.is_leader());
        handle.stop();
        assert_eq!(handle.join().unwrap(), Outcome::Stopped);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn whoever_hears_of_a_release_claims_itself() {
    is_written_by(Intent::Acquire, "file-events", |tell| {
        let place = tempfile::tempdir().unwrap();
        let lock =
            || crate::FileLock::options().durable(false).open(place.path().join("lock")).unwrap();
        let leader = LeaderElector::new(Config::new(lock()).identity("b")).unwrap();
        let leadership = leader.campaign().unwrap();
        let waiting = LeaderElector::new(Config::new(Traced(lock(), tell))).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| waiting.campaign().unwrap());
            Crowd::new(0, 1).until("a look", || waiting.get_leader().is_some());
            leadership.release().unwrap();
            next.join().unwrap().release().unwrap();
        });
    });
}

/// A lock that tidies up after its first write until it is told that this is enough.
struct Untidy {
    lock: MemoryLock,
    wakers: Sender<Waker>,
    tidies: Sender<()>,
    enough: Receiver<()>,
}

impl Lock for Untidy {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "an untidy lock".to_owned()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.wakers.send(waker).is_ok()
    }

    fn tidy(&mut self) {
        let _ = self.tidies.try_send(());
        let _ = self.enough.recv();
    }
}

#[test]
fn an_answer_that_may_wait_is_not_left_where_nobody_looks() {
    let crowd = Crowd::new(1, 1);
    let leader = LeaderElector::new(crowd.config(0).identity("b")).unwrap();
    let leadership = leader.campaign().unwrap();
    let ((wakers, woken), (tidies, tidying), (end, enough)) =
        (bounded(1), bounded(1), bounded::<()>(0));
    let lock = Untidy { lock: crowd.locks[0].clone(), wakers, tidies, enough };
    let member = crowd.pool.spawn(crowd.bench.config(lock)).unwrap();
    crowd.until("the leader", || member.get_leader().as_deref() == Some("b"));
    leadership.release().unwrap();
    let waker = woken.recv().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| waker.wake_here().expect("a look")());
        tidying.recv_timeout(PATIENCE).unwrap();
        let end = end;
        // A renewal is due, and the lock still in the hands of that thread.
        for _ in 0..30 {
            crowd.bench.clock.advance(SECOND / 10);
            let _ = never::<()>().recv_timeout(SECOND / 500);
        }
        drop(end);
    });
    let remaining = || member.term().map_or(Duration::ZERO, |term| term.remaining());
    crowd.until("a renewal", || remaining() > SECOND * 8);
}
