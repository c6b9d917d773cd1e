//! The elector: starts the threads of an election, and hands out what they find.
//!
//! What to do is decided in `election`; this file must not know about leases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{LeaderCallbacks, OnEvent};
use crate::clock::Clock;
use crate::config::{Config, Settings};
use crate::error::{ConfigError, Error, Outcome};
use crate::lock::Lock;
use crate::sync::Mutex;
use crate::sync::channel::{Receiver, bounded, never};

mod deadlines;
mod desk;
mod elections;
mod engine;
mod handle;
mod inbox;
mod leadership;
mod lock_threads;
mod pool;
mod population;
mod seat;
#[cfg(test)]
mod tests;
mod threads;
mod worker;

use desk::LockClient;
use elections::{Elections, Foreign, Serves};
use engine::Engine;
pub use handle::ElectorHandle;
use handle::{Done, RunState, Running, Shared};
use inbox::{Line, Outlet};
pub use leadership::Leadership;
use lock_threads::LockThreads;
pub use pool::ElectorPool;
use seat::{Run, Seat, Work};
use worker::{Worker, Workshop};

/// A candidate: campaigns for the lease of a lock, and leads while it holds it.
///
/// It can run again, as often as wanted, one run at a time.
pub struct LeaderElector {
    settings: Arc<Settings>,
    callbacks: LeaderCallbacks,
    clock: Clock,
    describe: Arc<str>,
    wake_ups: Receiver<()>,
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

/// The threads that outlive a run; they are started with the first.
struct Threads {
    /// Until the lock threads have it.
    lock: Option<Box<dyn Lock>>,
    on_event: Option<OnEvent>,
    started: Option<(LockThreads, LockClient)>,
    worker: Option<Worker>,
}

impl LeaderElector {
    /// A candidate with the settings of `config`. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// Every mistake in the settings is found here.
    pub fn new(mut config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let shared = Arc::new(Shared::new(config.clock.clone()));
        // One who is woken that way needs no thread between.
        let wake_ups = match config.lock.wake_with(shared.waker()) {
            true => never(),
            false => config.lock.wake_ups(),
        };
        Ok(Self {
            settings: Arc::new(config.settings()),
            callbacks: config.callbacks,
            describe: config.lock.describe().into(),
            wake_ups,
            shared,
            clock: config.clock,
            threads: Mutex::new(Threads {
                lock: Some(config.lock),
                on_event: config.on_event,
                started: None,
                worker: None,
            }),
        })
    }

    /// Campaigns, leads one term, and returns how that ended.
    ///
    /// The election runs on a thread of its own; this blocks until it is over and nothing of its
    /// term runs any more. `task` tells the result of the task:
    ///
    /// | on `task` | campaigning | leading |
    /// |---|---|---|
    /// | `true` | end with [`Outcome::TaskSucceeded`] | end the term, `TaskSucceeded` |
    /// | `false` | ignored | end the term, [`Outcome::TaskFailed`] |
    /// | disconnected | where it would claim, end with `TaskFailed` | as `false` |
    ///
    /// [`crossbeam_channel::never()`] means that there is no task to end the term.
    ///
    /// # Errors
    ///
    /// [`Error::NoWork`] without `on_started_leading`, [`Error::AlreadyRunning`], [`Error::Lock`]
    /// if the lock can't heal, [`Error::WorkPanicked`].
    pub fn run(&self, task: Receiver<bool>) -> Result<Outcome, Error> {
        self.run_until(task, never())
    }

    /// As [`LeaderElector::run`], but stops when `stop` gets a message or disconnects, as after
    /// [`ElectorHandle::stop`].
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::run`].
    pub fn run_until(&self, task: Receiver<bool>, stop: Receiver<()>) -> Result<Outcome, Error> {
        let work = self.callback_work()?;
        self.start(Arc::clone(&self.settings), work, task, stop, false)?.wait()
    }

    /// As [`LeaderElector::run`], but returns at once with a handle on the run.
    ///
    /// # Errors
    ///
    /// [`Error::NoWork`], [`Error::AlreadyRunning`] or [`Error::Thread`].
    pub fn spawn(&self, task: Receiver<bool>) -> Result<ElectorHandle, Error> {
        let work = self.callback_work()?;
        let done = self.start(Arc::clone(&self.settings), work, task, never(), false)?;
        Ok(ElectorHandle::new(done, Arc::clone(&self.shared)))
    }

    /// Campaigns again after each lost or ended term, until `stop` gets a message or disconnects.
    ///
    /// Also returns when there is nothing to campaign for any more: the task is completed
    /// ([`Outcome::AlreadyCompleted`]), or the acquire timeout has passed.
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::run`].
    pub fn run_forever(&self, stop: Receiver<()>) -> Result<Outcome, Error> {
        let work = self.callback_work()?;
        self.start(Arc::clone(&self.settings), work, never(), stop, true)?.wait()
    }

    /// Campaigns until this candidate leads, and returns a guard that keeps the lease. Whoever
    /// holds the guard is the work of the term, so `on_started_leading` and `on_stopped_leading`
    /// are not
    /// called. The guard outlives the elector.
    ///
    /// # Errors
    ///
    /// [`Error::NotElected`] if the campaign ends otherwise (the task is completed, or the acquire
    /// timeout of the settings has passed), and those of [`LeaderElector::run`].
    pub fn campaign(&self) -> Result<Leadership, Error> {
        self.campaign_with(Arc::clone(&self.settings))
    }

    /// As [`LeaderElector::campaign`], but gives up with `None` when somebody else leads. To take
    /// over from a crash it waits for an expiry: see [`Config::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::campaign`].
    pub fn try_campaign(&self) -> Result<Option<Leadership>, Error> {
        self.campaign_timeout(Duration::ZERO)
    }

    /// As [`LeaderElector::campaign`], but gives up with `None` when somebody else leads for
    /// `timeout` or longer: see [`Config::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::campaign`].
    pub fn campaign_timeout(&self, timeout: Duration) -> Result<Option<Leadership>, Error> {
        let settings = Settings { acquire_timeout: Some(timeout), ..(*self.settings).clone() };
        match self.campaign_with(Arc::new(settings)) {
            Ok(leadership) => Ok(Some(leadership)),
            Err(Error::NotElected(Outcome::AcquireTimedOut)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this candidate leads: `false` from the instant at which its validity ends, even
    /// where the elector's threads are frozen.
    pub fn is_leader(&self) -> bool {
        self.shared.validity.is_valid()
    }

    /// Who led when the lock was last read; `None` if nobody did, or before the first read.
    pub fn get_leader(&self) -> Option<String> {
        self.shared.leader()
    }

    /// This candidate's name.
    pub fn identity(&self) -> &str {
        &self.settings.identity
    }

    fn callback_work(&self) -> Result<Work, Error> {
        match self.callbacks.started {
            Some(_) => Ok(Work::Callbacks(Box::new(self.callbacks.clone()))),
            None => Err(Error::NoWork),
        }
    }

    fn campaign_with(&self, settings: Arc<Settings>) -> Result<Leadership, Error> {
        let (elected, terms) = bounded(1);
        let done = self.start(settings, Work::Guard(elected), never(), never(), false)?;
        // The election's end of this channel is dropped when the campaign ends without a term.
        match terms.recv() {
            Ok(term) => Ok(Leadership::new(term, done)),
            Err(_) => Err(done.wait().map_or_else(|error| error, Error::NotElected)),
        }
    }

    /// Starts a run on an election thread.
    fn start(
        &self,
        settings: Arc<Settings>,
        work: Work,
        task: Receiver<bool>,
        stop: Receiver<()>,
        again: bool,
    ) -> Result<Done, Error> {
        let running = Running::claim(&self.shared)?;
        let (lock_threads, lock, worker) = self.threads.lock().ready(self)?;
        let (line, inbox) = Line::new();
        let state = RunState::new(Outlet::new(Arc::clone(&line), 0), worker);
        self.shared.set_current(&state);
        let done = Done::new(&state);
        let (shared, clock) = (Arc::clone(&self.shared), self.clock.clone());
        let ready_ahead = true;
        let run = Run { settings, clock, shared, state, lock, work, again, ready_ahead };
        let seat = Box::new(Seat::new(run, running));
        let serves = Serves::One(Foreign { task, stop, wake_ups: self.wake_ups.clone() });
        let clock = self.clock.clone();
        let mut elections = Elections::new(clock.clone(), inbox.clone(), lock_threads, serves);
        elections.arrive(seat);
        let engine = Engine::new(clock, line, inbox, elections);
        threads::start("main", move || {
            let mut engine = engine;
            engine.run();
        })?;
        Ok(done)
    }
}

impl fmt::Debug for LeaderElector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderElector")
            .field("lock", &self.describe)
            .field("identity", &self.settings.identity)
            .field("is_leader", &self.is_leader())
            .finish_non_exhaustive()
    }
}

impl Threads {
    fn ready(
        &mut self,
        elector: &LeaderElector,
    ) -> Result<(LockThreads, LockClient, Worker), Error> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Workshop::start()?.worker(&elector.callbacks, self.on_event.clone()),
        };
        self.worker = Some(worker.clone());
        if self.started.is_none() {
            let threads = LockThreads::start(1)?;
            let lock = self.lock.take().expect("not started before");
            let (describe, clock) = (Arc::clone(&elector.describe), elector.clock.clone());
            let client = LockClient::new(lock, describe, clock, threads.clone());
            self.started = Some((threads, client));
        }
        let (threads, client) = self.started.clone().expect("just started");
        Ok((threads, client, worker))
    }
}
