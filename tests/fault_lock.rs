//! Electors over locks that fail on purpose, on the simulated clock: never two leaders, and
//! somebody leads once the faults are over.
#![cfg(feature = "testing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leaderelection::crossbeam_channel::{Sender, bounded, never, unbounded};
use leaderelection::testing::{Clock, FaultLock, Injection, random_faults, scripted_faults};
use leaderelection::{
    Config, FileLock, Intent, LeaderCallbacks, LeaderElector, Lock, LossReason, MemoryLock,
    Outcome, Term,
};

const SECOND: Duration = Duration::from_secs(1);

/// Lets the electors' threads act on what the clock shows.
fn give_way() {
    let _ = never::<()>().recv_timeout(Duration::from_millis(2));
}

/// Advances time until something is so; simulated minutes, and real ones, are enough for all here.
fn advance_until(clock: &Clock, what: &str, done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        clock.advance(SECOND / 10);
        give_way();
    }
    panic!("never came: {what}");
}

fn config(clock: &Clock, lock: impl Lock + 'static, name: &str) -> Config {
    Config::new(lock).clock(clock.clone()).identity(name)
}

/// Faults by a seed, as long as they are wanted.
fn faults_while(
    wanted: &Arc<AtomicBool>,
    seed: u64,
) -> impl FnMut(Option<Intent>) -> Injection + Send + 'static {
    let wanted = Arc::clone(wanted);
    let mut faults = random_faults(seed, 3);
    move |intent| match wanted.load(Ordering::SeqCst) {
        true => faults(intent),
        false => Injection::None,
    }
}

/// Electors that campaign again and again, and what their terms' tokens were.
struct Electors {
    clock: Clock,
    electors: Vec<Arc<LeaderElector>>,
    tokens: leaderelection::crossbeam_channel::Receiver<u64>,
    stop: Option<Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Electors {
    fn start<L: Lock + 'static>(mut lock: impl FnMut(&Clock, u64) -> L) -> Self {
        let clock = Clock::simulated();
        let (tell, tokens) = unbounded();
        let (stop, stopped) = bounded::<()>(0);
        let mut electors = Vec::new();
        let mut threads = Vec::new();
        for number in 0..3 {
            let tell = tell.clone();
            let callbacks = LeaderCallbacks::new().on_started_leading(move |term: &Term| {
                let _ = tell.send(term.fencing_token());
                let _ = term.stop_signal().recv();
            });
            let lock = lock(&clock, number);
            let config = config(&clock, lock, &format!("candidate {number}"))
                .callbacks(callbacks)
                .term_limit(SECOND * 20);
            let elector = Arc::new(LeaderElector::new(config).unwrap());
            electors.push(Arc::clone(&elector));
            let stopped = stopped.clone();
            threads.push(std::thread::spawn(move || {
                assert_eq!(elector.run_forever(stopped).unwrap(), Outcome::Stopped);
            }));
        }
        Self { clock, electors, tokens, stop: Some(stop), threads }
    }

    /// How often somebody leads in so much time; never two at once.
    fn watch(&self, span: Duration) -> usize {
        let end = self.clock.now() + span;
        let mut led = 0;
        while self.clock.now() < end {
            self.clock.advance(SECOND / 4);
            // Asked before any thread can have acted on the new time.
            let leaders = || self.electors.iter().filter(|elector| elector.is_leader()).count();
            assert!(leaders() <= 1, "two lead");
            give_way();
            let now = leaders();
            assert!(now <= 1, "two lead");
            led += now;
        }
        led
    }

    fn end(mut self) -> Vec<u64> {
        drop(self.stop.take());
        let clock = self.clock.clone();
        let ended = || self.threads.iter().all(|thread| thread.is_finished());
        advance_until(&clock, "the end of all", ended);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        self.tokens.try_iter().collect()
    }
}

fn survive_faults<L: Lock + 'static>(seed: u64, mut lock: impl FnMut(&Clock) -> L) {
    let wanted = Arc::new(AtomicBool::new(true));
    let electors = Electors::start(|clock, number| {
        FaultLock::new(lock(clock), faults_while(&wanted, seed * 10 + number))
    });
    electors.watch(SECOND * 90);
    wanted.store(false, Ordering::SeqCst);
    electors.watch(SECOND * 25);
    assert!(electors.watch(SECOND * 30) > 0, "seed {seed}: nobody leads when all works again");
    let tokens = electors.end();
    assert!(tokens.is_sorted_by(|a, b| a < b), "seed {seed}: tokens {tokens:?}");
    println!("seed {seed}: terms {tokens:?}");
}

#[test]
fn electors_survive_the_faults_of_a_lock_in_memory() {
    for seed in 1..=3 {
        let lock = MemoryLock::new();
        survive_faults(seed, |_| lock.clone());
    }
}

#[test]
fn electors_survive_the_faults_of_a_file_lock() {
    let scratch = tempfile::tempdir().unwrap();
    for seed in 4..=5 {
        let path = scratch.path().join(format!("{seed}.lock"));
        survive_faults(seed, |clock| FileLock::options().clock(clock.clone()).open(&path).unwrap());
    }
}

#[test]
fn a_claim_whose_reply_is_lost_is_led_by_the_next() {
    let clock = Clock::simulated();
    let script = [Injection::None, Injection::ReplyLost];
    let lock = FaultLock::new(MemoryLock::new(), scripted_faults(script));
    let elector = LeaderElector::new(config(&clock, lock, "a")).unwrap();
    let leadership = std::thread::scope(|scope| {
        let campaign = scope.spawn(|| elector.campaign());
        advance_until(&clock, "a term", || campaign.is_finished());
        campaign.join().unwrap().unwrap()
    });
    assert_eq!(
        leadership.term().fencing_token(),
        2,
        "the first claim stands, and nobody led by it"
    );
}

#[test]
fn a_lock_that_hangs_costs_the_term_and_is_used_again_once_it_answers() {
    let clock = Clock::simulated();
    let (release, held) = bounded::<()>(0);
    let script = [Injection::None, Injection::None, Injection::Hang(held)];
    let lock = FaultLock::new(MemoryLock::new(), scripted_faults(script));
    let callbacks = LeaderCallbacks::new().on_started_leading(|term: &Term| {
        let _ = term.stop_signal().recv();
    });
    let elector = LeaderElector::new(config(&clock, lock, "a").callbacks(callbacks)).unwrap();
    let handle = elector.spawn(never()).unwrap();
    advance_until(&clock, "a term", || elector.is_leader());
    advance_until(&clock, "its loss", || !elector.is_leader());
    assert_eq!(handle.join().unwrap(), Outcome::LeaseLost(LossReason::RenewDeadline));
    drop(release);
    let handle = elector.spawn(never()).unwrap();
    advance_until(&clock, "another term", || elector.is_leader());
    handle.stop();
    assert_eq!(handle.join().unwrap(), Outcome::Stopped);
}
