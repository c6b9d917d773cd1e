//! Steps that another thread than the election thread takes, and that nobody misses them.

use std::sync::atomic::AtomicBool;

use super::pool::Crowd;
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
