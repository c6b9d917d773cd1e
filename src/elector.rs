//! The elector: starts the threads of an election, and hands out what they find.
//!
//! What to do is decided in `election`; this file must not know about leases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{LeaderCallbacks, OnEvent};
use crate::clock::{Clock, Instant, entropy};
use crate::config::{Config, Settings, new_incarnation};
use crate::election::Election;
use crate::error::{ConfigError, Error, Outcome};
use crate::lock::Lock;
use crate::sync::channel::{Receiver, Sender, bounded, never};
use crate::sync::{AtomicBool, Mutex, Ordering, RwLock};
use crate::term::Validity;

mod driver;
mod leadership;
mod lock_thread;
#[cfg(test)]
mod tests;
mod threads;
mod worker;

use driver::{Driver, Run, Work};
pub use leadership::Leadership;
use lock_thread::{Request, start_lock_thread};
use worker::{Told, Worker};

/// Reports of a handle that the election thread has not read yet; more are dropped.
const REPORTS: usize = 16;

/// A candidate: campaigns for the lease of a lock, and leads while it holds it.
///
/// It can run again, as often as wanted, one run at a time.
pub struct LeaderElector {
    settings: Settings,
    callbacks: LeaderCallbacks,
    clock: Clock,
    describe: String,
    wake_ups: Receiver<()>,
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

/// The threads that outlive a run; they are started with the first.
struct Threads {
    /// Until the lock thread has it.
    lock: Option<Box<dyn Lock>>,
    requests: Option<Sender<Request>>,
    on_event: Option<OnEvent>,
    worker: Option<Worker>,
}

/// What an elector, its handles and its election thread share.
struct Shared {
    validity: Arc<Validity>,
    leader: RwLock<Option<Leader>>,
    /// Set while a run is in progress.
    running: AtomicBool,
    /// When the next run may claim.
    held_back_until: Mutex<Option<Instant>>,
}

/// The leader that was seen last.
struct Leader {
    name: Arc<str>,
    /// It is this candidate, in the term that is now valid or was last.
    ours: bool,
}

impl Shared {
    fn set_leader(&self, leader: Option<Leader>) {
        *self.leader.write() = leader;
    }

    fn leader(&self) -> Option<String> {
        let (name, ours) = match &*self.leader.read() {
            Some(leader) => (Arc::clone(&leader.name), leader.ours),
            None => return None,
        };
        // The election thread may not have had the time yet to see that its own term has ended.
        let leads = !ours || self.validity.is_valid();
        leads.then(|| name.to_string())
    }

    fn hold_back(&self, until: Option<Instant>) {
        *self.held_back_until.lock() = until;
    }
}

impl LeaderElector {
    /// A candidate with the settings of `config`. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// Every mistake in the settings is found here.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let settings = config.settings();
        let shared = Shared {
            validity: Arc::new(Validity::new(config.clock.clone())),
            leader: RwLock::default(),
            running: AtomicBool::new(false),
            held_back_until: Mutex::default(),
        };
        Ok(Self {
            settings,
            callbacks: config.callbacks,
            clock: config.clock,
            describe: config.lock.describe(),
            wake_ups: config.lock.wake_ups(),
            shared: Arc::new(shared),
            threads: Mutex::new(Threads {
                lock: Some(config.lock),
                requests: None,
                on_event: config.on_event,
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
        let running = Running::claim(&self.shared)?;
        self.run_once(&running, task, stop)?.result
    }

    /// As [`LeaderElector::run`], but returns at once with a handle on the run.
    ///
    /// # Errors
    ///
    /// [`Error::NoWork`], [`Error::AlreadyRunning`] or [`Error::Thread`].
    pub fn spawn(&self, task: Receiver<bool>) -> Result<ElectorHandle, Error> {
        let (stop, stopped) = bounded(1);
        let (report, reports) = bounded(REPORTS);
        let work = self.callback_work()?;
        let running = Running::claim(&self.shared)?;
        let inputs = Inputs { task, reports, stop: stopped, guard_gone: never() };
        let done = self.start(running, self.settings.clone(), work, inputs)?;
        Ok(ElectorHandle { stop, report, done, shared: Arc::clone(&self.shared) })
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
        let running = Running::claim(&self.shared)?;
        loop {
            let ended = self.run_once(&running, never(), stop.clone())?;
            let outcome = ended.result?;
            if !matches!(outcome, Outcome::LeaseLost(_) | Outcome::TermLimitReached) {
                return Ok(outcome);
            }
            // A term that was ending anyway has taken the message, and the next would not see it.
            if ended.stop_heard {
                return Ok(Outcome::Stopped);
            }
        }
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
        self.campaign_with(self.settings.clone())
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
        let settings = Settings { acquire_timeout: Some(timeout), ..self.settings.clone() };
        match self.campaign_with(settings) {
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
            Some(_) => Ok(Work::Callbacks(self.callbacks.clone())),
            None => Err(Error::NoWork),
        }
    }

    fn campaign_with(&self, settings: Settings) -> Result<Leadership, Error> {
        let (elected, terms) = bounded(1);
        let (report, reports) = bounded(1);
        let (guard, guard_gone) = bounded(0);
        let inputs = Inputs { task: never(), reports, stop: never(), guard_gone };
        let running = Running::claim(&self.shared)?;
        let done = self.start(running, settings, Work::Guard(elected), inputs)?;
        // The election's end of this channel is dropped when the campaign ends without a term.
        match terms.recv() {
            Ok(term) => Ok(Leadership::new(term, guard, report, done)),
            Err(_) => Err(done.wait().result.map_or_else(|error| error, Error::NotElected)),
        }
    }

    fn run_once(
        &self,
        running: &Arc<Running>,
        task: Receiver<bool>,
        stop: Receiver<()>,
    ) -> Result<Ended, Error> {
        let work = self.callback_work()?;
        let inputs = Inputs { task, reports: never(), stop, guard_gone: never() };
        let done = self.start(Arc::clone(running), self.settings.clone(), work, inputs)?;
        Ok(done.wait())
    }

    /// Starts a run on an election thread.
    fn start(
        &self,
        running: Arc<Running>,
        settings: Settings,
        work: Work,
        inputs: Inputs,
    ) -> Result<Done, Error> {
        let (requests, worker) =
            self.threads.lock().ready(&self.describe, &self.clock, &self.callbacks)?;
        let held_back_until = *self.shared.held_back_until.lock();
        let now = self.clock.now();
        let run = Run {
            identity: Arc::clone(&settings.identity),
            election: Election::new(settings, new_incarnation(), now, held_back_until),
            clock: self.clock.clone(),
            seed: entropy(),
            shared: Arc::clone(&self.shared),
            worker,
            requests,
            wake_ups: self.wake_ups.clone(),
            work,
            inputs,
        };
        let (tell, done) = bounded(1);
        threads::start("main", move || {
            // Dropped in the opposite order if there is a panic.
            let running = running;
            let mut driver = Driver::new(run);
            let ended = driver.drive();
            // Another run may start as soon as the result is known, and it is known before user
            // code is dropped here.
            drop(running);
            let _ = tell.try_send(ended);
        })?;
        Ok(Done(done))
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
        describe: &str,
        clock: &Clock,
        callbacks: &LeaderCallbacks,
    ) -> Result<(Sender<Request>, Worker), Error> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(callbacks, self.on_event.clone())?,
        };
        self.worker = Some(worker.clone());
        if let Some(requests) = &self.requests {
            return Ok((requests.clone(), worker));
        }
        let (requests, hand_over) = start_lock_thread(describe.to_owned(), clock.clone())?;
        if let Some(lock) = self.lock.take() {
            let _ = hand_over.try_send(lock);
        }
        self.requests = Some(requests.clone());
        Ok((requests, worker))
    }
}

/// The channels by which a run is told what to do.
struct Inputs {
    task: Receiver<bool>,
    /// A handle's or guard's report of the task's result.
    reports: Receiver<bool>,
    stop: Receiver<()>,
    /// Disconnects when a guard is given back.
    guard_gone: Receiver<()>,
}

/// How a run ended.
struct Ended {
    result: Result<Outcome, Error>,
    /// The run has taken the message to stop.
    stop_heard: bool,
    told: Told,
}

/// Gets the end of a run.
struct Done(Receiver<Ended>);

impl Done {
    fn wait(&self) -> Ended {
        // An election thread that is gone without a result has panicked: a defect of this crate.
        let ended = self.0.recv().expect("the election thread ends with a result");
        ended.told.wait();
        ended
    }
}

/// Marks the elector as running for as long as it lives.
struct Running(Arc<Shared>);

impl Running {
    fn claim(shared: &Arc<Shared>) -> Result<Arc<Self>, Error> {
        if shared.running.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyRunning);
        }
        Ok(Arc::new(Self(Arc::clone(shared))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

/// A run in the background. Dropping it tells the run to stop and does not wait.
#[must_use = "dropping the handle stops the run"]
pub struct ElectorHandle {
    stop: Sender<()>,
    report: Sender<bool>,
    done: Done,
    shared: Arc<Shared>,
}

impl ElectorHandle {
    /// As [`LeaderElector::is_leader`].
    pub fn is_leader(&self) -> bool {
        self.shared.validity.is_valid()
    }

    /// As [`LeaderElector::get_leader`].
    pub fn get_leader(&self) -> Option<String> {
        self.shared.leader()
    }

    /// Tells the result of the task, as a message on the task channel would: the first report in a
    /// term counts, and a success at any time.
    pub fn report(&self, success: bool) {
        let _ = self.report.try_send(success);
    }

    /// Tells the run to stop: a term ends, its work is awaited, the lease is released.
    pub fn stop(&self) {
        let _ = self.stop.try_send(());
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    ///
    /// As [`LeaderElector::run`].
    pub fn join(self) -> Result<Outcome, Error> {
        self.done.wait().result
    }
}

impl fmt::Debug for ElectorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectorHandle")
            .field("is_leader", &self.is_leader())
            .field("leader", &self.get_leader())
            .finish_non_exhaustive()
    }
}
