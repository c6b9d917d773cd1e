//! Watching an election without being a candidate.

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::error::{ConfigError, Failure, LockError};
use crate::lock::{Lock, Observed};
use crate::record::Revision;
use crate::sync::channel::{Receiver, Select, never};

/// What an observer found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Observation {
    /// There has never been a record.
    Absent,
    /// A record. That it is held does not say that its holder lives: only candidates time that.
    Found(Observed),
    /// A record that can't be read.
    Corrupt {
        /// The revision at which it stands.
        revision: Revision,
        /// What is unreadable, and why.
        failure: Failure,
    },
}

impl Observation {
    /// Who leads, according to the record.
    pub fn leader(&self) -> Option<&str> {
        match self {
            Observation::Found(observed) => observed.record.leader().map(|leader| &**leader),
            Observation::Absent | Observation::Corrupt { .. } => None,
        }
    }
}

/// Reads the record of an election and reports leaders. It never writes.
///
/// Calls block as long as the lock does.
pub struct Observer {
    lock: Box<dyn Lock>,
    wake_ups: Receiver<()>,
    retry_period: Duration,
    clock: Clock,
}

impl Observer {
    /// An observer of `lock` that looks every two seconds while it watches.
    pub fn new(lock: impl Lock + 'static) -> Self {
        Self {
            wake_ups: lock.wake_ups(),
            lock: Box::new(lock),
            retry_period: Duration::from_secs(2),
            clock: Clock::system(),
        }
    }

    /// How long to wait between two looks; a lock that pushes changes is faster. Default: 2 s.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`].
    pub fn retry_period(mut self, period: Duration) -> Result<Self, ConfigError> {
        if period.is_zero() {
            return Err(ConfigError::Zero { setting: "retry period" });
        }
        self.retry_period = period;
        Ok(self)
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// `Unavailable` or `Fatal`.
    pub fn look(&mut self) -> Result<Observation, LockError> {
        match self.lock.get(self.retry_period) {
            Ok(None) => Ok(Observation::Absent),
            Ok(Some(observed)) => Ok(Observation::Found(observed)),
            Err(LockError::Corrupt { revision, failure, .. }) => {
                Ok(Observation::Corrupt { revision, failure })
            }
            Err(error) => Err(error),
        }
    }

    /// Calls `on_new_leader` with the leader whenever it is another than before (`None`: nobody),
    /// first with the present one, until `stop` gets a message or disconnects. A lock that is
    /// unavailable is asked again.
    ///
    /// # Errors
    ///
    /// `Fatal`, if the lock can't heal.
    pub fn watch(
        &mut self,
        stop: &Receiver<()>,
        mut on_new_leader: impl FnMut(Option<&str>),
    ) -> Result<(), LockError> {
        let mut told: Option<Option<String>> = None;
        loop {
            match self.look() {
                Ok(observation) => {
                    let leader = observation.leader().map(str::to_owned);
                    if told.as_ref() != Some(&leader) {
                        on_new_leader(leader.as_deref());
                        told = Some(leader);
                    }
                }
                Err(error @ LockError::Fatal(_)) => return Err(error),
                Err(error) => log::warn!("{error}"),
            }
            if self.wait(stop, self.clock.now() + self.retry_period) {
                return Ok(());
            }
        }
    }

    /// Waits for a change or `deadline`; `true` if told to stop.
    fn wait(&mut self, stop: &Receiver<()>, deadline: Instant) -> bool {
        let timer = self.clock.wake_at(deadline, self.retry_period);
        loop {
            let mut select = Select::new();
            let stopped = select.recv(stop);
            let pushed = select.recv(&self.wake_ups);
            let time = select.recv(&timer);
            let operation = select.select();
            match operation.index() {
                index if index == stopped => {
                    let _ = operation.recv(stop);
                    return true;
                }
                index if index == pushed => match operation.recv(&self.wake_ups) {
                    Ok(()) => return false,
                    // A lock that has stopped pushing is polled.
                    Err(_) => self.wake_ups = never(),
                },
                index => {
                    debug_assert_eq!(index, time);
                    let _ = operation.recv(&timer);
                    return false;
                }
            }
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("lock", &self.lock.describe()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::MemoryLock;
    use crate::record::{Incarnation, Intent, LeaderElectionRecord, RecordKind};

    #[test]
    fn a_watcher_is_told_each_leader_once() {
        let mut lock = MemoryLock::new();
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (tell, told) = crossbeam_channel::unbounded();
        let mut observer =
            Observer::new(lock.clone()).retry_period(Duration::from_millis(5)).unwrap();
        let watcher = std::thread::spawn(move || {
            observer.watch(&stopped, |leader| tell.send(leader.map(str::to_owned)).unwrap())
        });
        let patience = Duration::from_secs(10);
        assert_eq!(told.recv_timeout(patience), Ok(None));
        let record = LeaderElectionRecord::new("a", Incarnation(1), patience);
        let revision = lock.write(Intent::Acquire, &record, None, patience).unwrap();
        assert_eq!(told.recv_timeout(patience), Ok(Some("a".to_owned())));
        let released = record.with_kind(RecordKind::Released);
        lock.write(Intent::Release, &released, Some(revision), patience).unwrap();
        assert_eq!(told.recv_timeout(patience), Ok(None));
        drop(stop);
        watcher.join().unwrap().unwrap();
    }
}
