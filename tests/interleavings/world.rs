//! What a scenario stands on: electors over a lock that fails, hangs and replies late, on a clock
//! that moves on when somebody waits for it, and jumps now and then.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use leaderelection::crossbeam_channel::{Receiver, Sender, bounded};
use leaderelection::testing::{Clock, random};
use leaderelection::{
    Config, ElectionEvent, ElectorHandle, ElectorPool, Failure, Intent, LeaderCallbacks,
    LeaderElectionRecord, LeaderElector, Lock, LockError, MemoryLock, Observed, Revision, Term,
    Waker,
};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

pub const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// Terms that began, and that were lost, since somebody asked.
    pub static TERMS: Cell<u64> = const { Cell::new(0) };
    pub static LOSSES: Cell<u64> = const { Cell::new(0) };
}

/// One in so many.
pub fn one_in(many: u64) -> bool {
    random().is_multiple_of(many)
}

pub struct World {
    pub clock: Clock,
    pub lock: MemoryLock,
    /// Locks hang until this is gone.
    gate: Option<Sender<()>>,
    hanging: Receiver<()>,
    /// Disconnects when all threads of all electors are gone.
    alive: Option<Sender<()>>,
    gone: Receiver<()>,
    /// Nobody waits for time any more.
    over: Arc<AtomicBool>,
}

/// What the callbacks of one candidate have seen.
#[derive(Default)]
pub struct Story {
    pub begun: u32,
    pub ended: u32,
    pub acquired: u32,
    /// Terms without callbacks.
    pub guards: u32,
    /// It works by its handle, without callbacks.
    pub by_handle: bool,
    /// Callbacks of a term that have not returned.
    pub active: u32,
    pub terms: Vec<Term>,
}

#[derive(Clone, Default)]
pub struct Candidate {
    story: Arc<Mutex<Story>>,
    elector: Arc<Mutex<Option<Arc<LeaderElector>>>>,
}

impl Candidate {
    pub fn story<T>(&self, look: impl FnOnce(&mut Story) -> T) -> T {
        look(&mut self.story.lock().expect("nobody panics here"))
    }

    pub fn elector(&self) -> Arc<LeaderElector> {
        let elector = self.elector.lock().expect("nobody panics here").clone();
        elector.expect("as long as it is asked for")
    }

    /// Without a run, nothing of a term is left, and each term was ended once.
    pub fn check_at_rest(&self) {
        assert!(!self.elector().is_leader());
        self.story(|story| {
            assert_eq!(story.active, 0, "a callback of the term still runs");
            assert_eq!(story.begun, story.ended, "one end for each term");
            for term in &story.terms {
                assert!(!term.is_valid() && term.stopped());
            }
        });
    }

    fn begin(&self, term: &Term) {
        TERMS.set(TERMS.get() + 1);
        self.story(|story| {
            story.begun += 1;
            story.active += 1;
            story.terms.push(term.clone());
        });
        let elector = self.elector();
        let led = elector.is_leader();
        let name = elector.get_leader();
        if led && elector.is_leader() {
            assert_eq!(name.as_deref(), Some(elector.identity()), "leads, and is not named");
        }
    }

    fn end(&self) {
        self.story(|story| {
            story.ended += 1;
            story.active += 1;
        });
        let elector = self.elector();
        assert!(!elector.is_leader(), "leads after the end");
        let named = elector.get_leader().is_some_and(|name| name == elector.identity());
        assert!(!named, "is named after the end");
    }

    fn returned(&self) {
        self.story(|story| story.active -= 1);
    }
}

impl World {
    pub fn new() -> Self {
        let (gate, hanging) = bounded(0);
        let (alive, gone) = bounded(0);
        let over = Arc::new(AtomicBool::new(false));
        let clock = Clock::simulated();
        thread::spawn({
            let (clock, over) = (clock.clone(), Arc::clone(&over));
            move || pass_time(&clock, &over)
        });
        let lock = MemoryLock::new();
        Self { clock, lock, gate: Some(gate), hanging, alive: Some(alive), gone, over }
    }

    /// A candidate whose callbacks are checked; `work` is the rest of its work.
    pub fn candidate(
        &self,
        name: &'static str,
        reliable: bool,
        set: impl FnOnce(Config) -> Config,
        work: impl Fn(&Term) + Send + Sync + 'static,
    ) -> Candidate {
        let candidate = Candidate::default();
        let (begins, ends, hears) = (candidate.clone(), candidate.clone(), candidate.clone());
        let callbacks = LeaderCallbacks::new()
            .on_started_leading(move |term: &Term| {
                checked(|| begins.begin(term));
                // While a thread unwinds, shuttle must not let others go on: to them it would look
                // as if they did.
                let worked = catch_unwind(AssertUnwindSafe(|| work(term)));
                begins.returned();
                if let Err(panic) = worked {
                    resume_unwind(panic);
                }
            })
            .on_stopped_leading(move || {
                checked(|| ends.end());
                ends.returned();
            });
        let config = self.config(name, reliable, hears).callbacks(callbacks);
        let elector = LeaderElector::new(set(config)).expect("settings");
        *candidate.elector.lock().expect("nobody panics here") = Some(Arc::new(elector));
        candidate
    }

    /// A candidate whose events are heard.
    fn config(&self, name: &str, reliable: bool, hears: Candidate) -> Config {
        let lock = Unreliable { lock: self.lock.clone(), hanging: self.hanging.clone(), reliable };
        let alive = self.alive.clone();
        Config::new(lock).clock(self.clock.clone()).identity(name).on_event(move |event| {
            let _ = &alive;
            match event {
                ElectionEvent::Acquired { .. } => hears.story(|story| story.acquired += 1),
                ElectionEvent::Lost(_) => LOSSES.set(LOSSES.get() + 1),
                _ => {}
            }
        })
    }

    /// A member of a pool, which works by callbacks or by its handle.
    pub fn member(&self, pool: &ElectorPool, name: &str) -> (Candidate, ElectorHandle) {
        let candidate = Candidate::default();
        let config = self.config(name, one_in(4), candidate.clone());
        let config = config.term_limit(SECOND * (random() % 8) as u32);
        let (begins, ends) = (candidate.clone(), candidate.clone());
        let callbacks = LeaderCallbacks::new()
            .on_started_leading(move |term: &Term| {
                begins.story(|story| {
                    story.begun += 1;
                    story.terms.push(term.clone());
                });
                let _ = term.stop_signal().recv();
            })
            .on_stopped_leading(move || ends.story(|story| story.ended += 1));
        let by_handle = one_in(3);
        let config = if by_handle { config } else { config.callbacks(callbacks) };
        let spawned = if one_in(2) { pool.spawn(config) } else { pool.spawn_forever(config) };
        candidate.story(|story| story.by_handle = by_handle);
        (candidate, spawned.expect("starts"))
    }

    /// Lets hung calls return, and waits for the end of every thread.
    pub fn end(mut self, candidates: &[Candidate]) {
        self.gate = None;
        for candidate in candidates {
            *candidate.elector.lock().expect("nobody panics here") = None;
        }
        self.alive = None;
        assert!(self.gone.recv().is_err());
        self.over.store(true, Ordering::SeqCst);
        // Shuttle finds whoever is still there.
        if let Some(violation) = VIOLATION.take() {
            panic!("{violation}");
        }
        for candidate in candidates {
            candidate.story(|story| {
                assert_eq!(story.begun, story.ended, "one end for each term");
                let by_handle = if story.by_handle { story.acquired } else { 0 };
                let worked_in = story.begun + story.guards + by_handle;
                assert_eq!(worked_in, story.acquired, "each term is worked in");
            });
        }
    }
}

thread_local! {
    /// What a callback found to be wrong: a panic of its own would be caught by the elector.
    static VIOLATION: Cell<Option<String>> = const { Cell::new(None) };
}

pub fn checked(check: impl FnOnce()) {
    let checked = catch_unwind(AssertUnwindSafe(check));
    if let Err(panic) = checked {
        let text = panic.downcast_ref::<String>().cloned();
        VIOLATION.set(Some(text.unwrap_or_else(|| "a violation".to_owned())));
    }
}

/// Time goes on when somebody waits for it, in some executions sooner than others have had a turn.
fn pass_time(clock: &Clock, over: &AtomicBool) {
    let pace = [2, 8, 32][(random() % 3) as usize];
    while !over.load(Ordering::SeqCst) {
        if one_in(pace) {
            // A suspend, or a machine that has other things to do.
            if one_in(16) {
                clock.advance(SECOND * (random() % 12) as u32);
            } else if let Some(next) = clock.next_wait() {
                clock.advance(next.since(clock.now()));
            }
        }
        thread::yield_now();
    }
}

struct Unreliable {
    lock: MemoryLock,
    hanging: Receiver<()>,
    reliable: bool,
}

impl Unreliable {
    fn hang(&self) {
        let _ = self.hanging.recv();
    }

    fn before(&self) -> Result<(), LockError> {
        if self.reliable || !one_in(8) {
            return Ok(());
        }
        match random() % 4 {
            0 => self.hang(),
            1 => panic_quietly(),
            _ => return Err(LockError::Unavailable(Failure::new("ask", "the lock"))),
        }
        Ok(())
    }
}

impl Lock for Unreliable {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.before()?;
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        self.before()?;
        let result = self.lock.write(intent, record, expected, budget);
        if self.reliable || !one_in(8) {
            return result;
        }
        // The reply is lost, or comes when it is of no use any more.
        if one_in(4) {
            self.hang();
            return result;
        }
        Err(LockError::Indeterminate(Failure::new("write", "the lock")))
    }

    fn describe(&self) -> String {
        "an unreliable lock".to_owned()
    }

    fn wake_ups(&self) -> Receiver<()> {
        self.lock.wake_ups()
    }

    fn wake_with(&mut self, waker: Waker) -> bool {
        self.lock.wake_with(waker)
    }
}

/// The revision that stands in a lock.
pub fn revision(lock: &mut MemoryLock) -> Option<Revision> {
    let observed = lock.get(SECOND).expect("a memory lock");
    observed.map(|observed| observed.revision)
}

/// A panic that the harness does not report: it belongs to the scenario.
pub fn panic_quietly() {
    resume_unwind(Box::new("on purpose"));
}
