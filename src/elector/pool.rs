//! Many elections in one process, on a handful of threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Settings, default_identity};
use crate::elector::desk::LockClient;
use crate::elector::elections::{Elections, Serves};
use crate::elector::engine::Engine;
use crate::elector::handle::{Done, ElectorHandle, RunState, Running, Shared, panicked};
use crate::elector::inbox::{Input, Line, Outlet};
use crate::elector::lock_threads::LockThreads;
use crate::elector::population::Population;
use crate::elector::seat::{Run, Seat, Work};
use crate::elector::threads;
use crate::elector::worker::Workshop;
use crate::error::Error;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// So many locks can be asked at a time.
const LOCK_THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("is not zero");

/// Runs any number of elections on a handful of threads, whatever their locks and settings.
///
/// One thread keeps the deadlines of all, a few ask the locks, and one calls
/// [`on_new_leader`](crate::LeaderCallbacks::on_new_leader) and
/// [`on_event`](crate::Config::on_event), for one election after the other: a slow callback delays
/// those of others, but never an election. Only a term with `on_started_leading` or
/// `on_stopped_leading` has a thread of its own for each.
///
/// A lock whose call hangs keeps one lock thread, and its own election from renewing. When all of
/// them hang, as many again are started. If those hang too, every election of the pool loses its
/// lease at its deadline, and its [`is_leader`](ElectorHandle::is_leader) is false from then on.
///
/// Elections without an identity of their own share one.
///
/// A lock that has no waker ([`Lock::wake_with`](crate::Lock::wake_with)) is only polled here. What
/// is due within five milliseconds is done together.
///
/// ```
/// use leaderelection::{Config, ElectorPool, MemoryLock, Outcome};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ElectorPool::new();
/// let mut shards = Vec::new();
/// for shard in 0..100 {
///     let lock = MemoryLock::new();
///     shards.push(pool.spawn(Config::new(lock).identity(format!("node-7, shard {shard}")))?);
/// }
/// // Whoever holds a handle works in its term, for as long as this is some:
/// let term = shards[42].term();
///
/// for shard in &shards {
///     shard.stop();
/// }
/// // A lease is released when whoever works in the term has said to be done, by this or a drop.
/// for shard in shards {
///     assert_eq!(shard.join()?, Outcome::Stopped);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping the pool tells all elections to stop and does not wait.
pub struct ElectorPool {
    clock: Clock,
    /// Of members without a name of their own.
    identity: String,
    lock_threads: NonZeroUsize,
    /// How many elections were ever begun.
    started: AtomicU64,
    /// Of the election that was begun last.
    settings: Mutex<Option<Arc<Settings>>>,
    threads: Mutex<Option<Threads>>,
}

/// The ends of the threads.
#[derive(Clone)]
struct Threads {
    line: Arc<Line>,
    lock_threads: LockThreads,
    workshop: Workshop,
    population: Arc<Population>,
    /// Disconnects when the election thread has ended.
    ended: Receiver<()>,
}

impl ElectorPool {
    /// A pool of no elections. Nothing runs before the first.
    pub fn new() -> Self {
        Self {
            clock: Clock::system(),
            identity: default_identity(),
            lock_threads: LOCK_THREADS,
            started: AtomicU64::new(0),
            settings: Mutex::default(),
            threads: Mutex::default(),
        }
    }

    /// How many locks can be asked at a time; while all of these hang, up to as many again.
    /// Default: 4.
    #[must_use]
    pub fn lock_threads(mut self, count: NonZeroUsize) -> Self {
        self.lock_threads = count;
        self
    }

    /// The clock to measure leases on, instead of those of the configurations. Default: the
    /// machine's.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Campaigns, and leads one term. Dropping the handle stops that.
    ///
    /// Without [`on_started_leading`](crate::LeaderCallbacks::on_started_leading), whoever has the
    /// handle works in [`ElectorHandle::term`]: [`join`](ElectorHandle::join) and a drop say that
    /// this work has ended. A term that ends by [`stop`](ElectorHandle::stop), by
    /// [`report`](ElectorHandle::report) or by its limit waits for that, and at most the drain
    /// timeout: then its lease is not released, but runs out.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a setting is wrong, [`Error::Thread`] if the first election can't start
    /// the threads of the pool, or its election thread has panicked.
    pub fn spawn(&self, config: Config) -> Result<ElectorHandle, Error> {
        self.start(config, false)
    }

    /// As [`ElectorPool::spawn`], but campaigns again after each term that was lost or has reached
    /// its limit.
    ///
    /// # Errors
    ///
    /// As [`ElectorPool::spawn`].
    pub fn spawn_forever(&self, config: Config) -> Result<ElectorHandle, Error> {
        self.start(config, true)
    }

    /// How many elections have not ended.
    pub fn len(&self) -> usize {
        self.threads.lock().as_ref().map_or(0, |threads| threads.population.count())
    }

    /// Whether every election has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until every election has ended, each by itself or by its handle.
    pub fn join(self) {
        if let Some(threads) = self.close(false) {
            let _ = threads.ended.recv();
        }
    }

    /// Tells every election to stop, waits for their ends, for at most `timeout`, and returns how
    /// many have not ended by then. They go on ending.
    pub fn shutdown(self, timeout: Duration) -> usize {
        if let Some(threads) = self.close(true)
            && threads.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout)
        {
            return threads.population.count();
        }
        0
    }

    fn start(&self, mut config: Config, again: bool) -> Result<ElectorHandle, Error> {
        config.validate()?;
        config.identity.get_or_insert_with(|| self.identity.clone());
        let settings = self.shared_settings(config.settings());
        let clock = self.clock.clone();
        let mut lock = config.lock;
        let describe = lock.describe().into();
        let Threads { line, lock_threads, workshop, population, .. } = self.threads()?;
        let id = self.started.fetch_add(1, Ordering::SeqCst);
        let worker = workshop.worker(&config.callbacks, config.on_event);
        let state = RunState::new(Outlet::new(Arc::clone(&line), id), worker);
        lock.wake_with(state.waker());
        let done = Done::new(&state);
        let lock = LockClient::new(lock, describe, clock.clone(), lock_threads);
        let shared = Arc::new(Shared::new(clock.clone()));
        let running = Running::claim(&shared)?;
        let handle = ElectorHandle::new(done, Arc::clone(&shared));
        let work = match (&config.callbacks.started, &config.callbacks.stopped) {
            (None, None) => Work::Holder,
            _ => Work::Callbacks(Box::new(config.callbacks)),
        };
        let ready_ahead = false;
        let run = Run { settings, clock, shared, state, lock, work, again, ready_ahead };
        if !population.arrive() {
            return Err(panicked());
        }
        match line.send(Input::Spawn(Box::new(Seat::new(run, running)))) {
            Ok(()) => Ok(handle),
            Err(_) => {
                population.leave();
                Err(panicked())
            }
        }
    }

    /// The settings of the election before, if they are the same: there may be thousands.
    fn shared_settings(&self, settings: Settings) -> Arc<Settings> {
        let mut latest = self.settings.lock();
        match &*latest {
            Some(same) if **same == settings => Arc::clone(same),
            _ => Arc::clone(latest.insert(Arc::new(settings))),
        }
    }

    /// The threads, which the first election starts.
    fn threads(&self) -> Result<Threads, Error> {
        let mut threads = self.threads.lock();
        if let Some(threads) = &*threads {
            return Ok(threads.clone());
        }
        Ok(threads.insert(self.start_threads()?).clone())
    }

    fn start_threads(&self) -> Result<Threads, Error> {
        let workshop = Workshop::start()?;
        let lock_threads = LockThreads::start(self.lock_threads.get())?;
        let (line, inbox) = Line::new();
        let (alive, ended) = bounded(0);
        let population = Arc::default();
        let serves = Serves::Many(Arc::clone(&population));
        let clock = self.clock.clone();
        let elections = Elections::new(clock.clone(), inbox.clone(), lock_threads.clone(), serves);
        let engine = Engine::new(clock, Arc::clone(&line), inbox, elections);
        threads::start("main", move || {
            let _alive: Sender<()> = alive;
            // Dropped before that: whoever waits for the end finds that all members were told.
            let mut engine = engine;
            engine.run();
        })?;
        Ok(Threads { line, lock_threads, workshop, population, ended })
    }

    /// Has the election thread panic.
    #[cfg(test)]
    pub(super) fn panic(&self) {
        self.threads().unwrap().line.send(Input::Panic).ok().unwrap();
    }

    /// No further election comes.
    fn close(&self, stop: bool) -> Option<Threads> {
        let threads = self.threads.lock().take()?;
        if stop {
            let _ = threads.line.send(Input::StopAll);
        }
        let _ = threads.line.send(Input::Close);
        Some(threads)
    }
}

impl Default for ElectorPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ElectorPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectorPool").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for ElectorPool {
    fn drop(&mut self) {
        self.close(true);
    }
}
