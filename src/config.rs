//! The settings of an election, and what makes them safe.
//!
//! Everything that a user can set wrong is found here, before anything runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{ElectionEvent, LeaderCallbacks, OnEvent};
use crate::clock::{Clock, entropy};
use crate::error::ConfigError;
use crate::lock::Lock;
use crate::record::{
    Incarnation, MAX_IDENTITY_BYTES, MAX_LEASE_DURATION, MAX_METADATA_BYTES, check_text,
};

/// The longest wait between two tries is this many retry periods; the shortest is one.
pub const JITTER_FACTOR: f64 = 1.2;

/// The longest of all other durations: a year. Longer ones are surely a mistake.
const MAX_SPAN: Duration = Duration::from_secs(366 * 24 * 3600);

/// What happens to the lease after the task has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnSuccess {
    /// The lease is left to expire, so that others hear of the success before they may lead.
    ///
    /// With a [`FileLock`](crate::FileLock) that is void on the same host once this process has
    /// ended, for its end is proven then. Where the lease is to outlast the process, call
    /// [`Companion::retire`](crate::Companion::retire) before the end, or use
    /// [`same_host(false)`](crate::FileLockOptions::same_host).
    #[default]
    Hold,
    /// The lease is released: another candidate may lead at once.
    Release,
    /// The lock records that the task is done for good: every candidate, now or later, ends with
    /// [`Outcome::AlreadyCompleted`](crate::Outcome::AlreadyCompleted). A crash between the success
    /// and the record runs the task again, so the work should be idempotent or fenced.
    Complete,
}

/// What the pure election needs to know of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The candidate's name.
    pub identity: Arc<str>,
    /// What the candidate wants others to read in the record.
    pub metadata: Arc<str>,
    /// How long others wait for this candidate.
    pub lease_duration: Duration,
    /// How long this candidate believes in a confirmed write.
    pub renew_deadline: Duration,
    /// How long to wait between two tries.
    pub retry_period: Duration,
    /// The longest term; `None` for no limit.
    pub term_limit: Option<Duration>,
    /// The longest wait for a live holder; `None` for no limit.
    pub acquire_timeout: Option<Duration>,
    /// How long the lease is renewed for work that was told to stop.
    pub drain_timeout: Duration,
    /// What becomes of the lease after a success.
    pub on_success: OnSuccess,
}

/// The settings of a [`LeaderElector`](crate::LeaderElector).
///
/// Setters consume and return it; [`LeaderElector::new`](crate::LeaderElector::new) checks the
/// whole.
pub struct Config {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) identity: Option<String>,
    pub(crate) metadata: String,
    pub(crate) lease_duration: Duration,
    pub(crate) renew_deadline: Duration,
    pub(crate) retry_period: Duration,
    pub(crate) term_limit: Duration,
    pub(crate) acquire_timeout: Option<Duration>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) clock_drift: f64,
    pub(crate) stop_grace: Duration,
    pub(crate) on_success: OnSuccess,
    pub(crate) callbacks: LeaderCallbacks,
    pub(crate) on_event: Option<OnEvent>,
    pub(crate) clock: Clock,
}

impl Config {
    /// The defaults of the original on `lock`: lease 15 s, renew deadline 10 s, retry period 2 s.
    pub fn new(lock: impl Lock + 'static) -> Self {
        Self {
            lock: Box::new(lock),
            identity: None,
            metadata: String::new(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            term_limit: Duration::ZERO,
            acquire_timeout: None,
            drain_timeout: None,
            clock_drift: 0.05,
            stop_grace: Duration::ZERO,
            on_success: OnSuccess::default(),
            callbacks: LeaderCallbacks::default(),
            on_event: None,
            clock: Clock::system(),
        }
    }

    /// The candidate's name: 1 to 255 bytes without control characters. Default: host, process
    /// number and a random part, and the numbers of the Slurm job and task if it runs in one.
    /// Names need not be unique: an incarnation tells candidates apart.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Up to 256 bytes that candidates and observers read in the record. Default: none.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// How long others wait after the last sign of life before they take over: 1 ms to 1 h, in
    /// whole milliseconds. Default: 15 s.
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// How long the leader goes on without a confirmed renewal. Default: 10 s.
    #[must_use]
    pub fn renew_deadline(mut self, duration: Duration) -> Self {
        self.renew_deadline = duration;
        self
    }

    /// How long to wait between two tries; up to a fifth is added at random while campaigning.
    /// Default: 2 s.
    #[must_use]
    pub fn retry_period(mut self, duration: Duration) -> Self {
        self.retry_period = duration;
        self
    }

    /// The longest term. Default: zero, which means no limit.
    #[must_use]
    pub fn term_limit(mut self, duration: Duration) -> Self {
        self.term_limit = duration;
        self
    }

    /// Don't wait longer than this for a live holder; zero is "try". Default: wait for ever.
    ///
    /// At first sight nobody can tell whether a holder lives. So the campaign gives up at the first
    /// sign of life after the timeout, and otherwise claims when the holder's lease has expired.
    #[must_use]
    pub fn acquire_timeout(mut self, duration: Duration) -> Self {
        self.acquire_timeout = Some(duration);
        self
    }

    /// How long the lease is renewed while the work returns after its stop signal. Work that takes
    /// longer loses the lease by expiry; the outcome says what ended the term all the same.
    /// Default: one lease duration.
    #[must_use]
    pub fn drain_timeout(mut self, duration: Duration) -> Self {
        self.drain_timeout = Some(duration);
        self
    }

    /// How far the rate of any clock may be from true: 0.05, the default, is 5 %. At least 0 and
    /// below 0.5.
    #[must_use]
    pub fn clock_drift(mut self, drift: f64) -> Self {
        self.clock_drift = drift;
        self
    }

    /// The time that the work needs to stop once validity has ended. Default: zero.
    #[must_use]
    pub fn stop_grace(mut self, duration: Duration) -> Self {
        self.stop_grace = duration;
        self
    }

    /// What becomes of the lease after a success. Default: [`OnSuccess::Hold`].
    #[must_use]
    pub fn on_success(mut self, on_success: OnSuccess) -> Self {
        self.on_success = on_success;
        self
    }

    /// What to call when leadership changes.
    #[must_use]
    pub fn callbacks(mut self, callbacks: LeaderCallbacks) -> Self {
        self.callbacks = callbacks;
        self
    }

    /// Called with every event of the election, on the callback worker. While it runs, up to 256
    /// further events wait; more are dropped and counted. A panic in it is said on standard error,
    /// and changes nothing.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&ElectionEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// The clock to measure leases on. Default: the machine's.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks every setting.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.check_texts()?;
        self.check_ranges()?;
        self.check_order()?;
        self.check_drift()
    }

    fn check_texts(&self) -> Result<(), ConfigError> {
        if let Some(identity) = &self.identity {
            if identity.is_empty() {
                return Err(ConfigError::EmptyIdentity);
            }
            check_text("the identity", identity, MAX_IDENTITY_BYTES).map_err(ConfigError::Text)?;
        }
        check_text("the metadata", &self.metadata, MAX_METADATA_BYTES).map_err(ConfigError::Text)
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let positive = [
            ("lease duration", self.lease_duration, MAX_LEASE_DURATION),
            ("renew deadline", self.renew_deadline, MAX_LEASE_DURATION),
            ("retry period", self.retry_period, MAX_LEASE_DURATION),
        ];
        for (setting, value, most) in positive {
            if value.is_zero() {
                return Err(ConfigError::Zero { setting });
            }
            check_most(setting, value, most)?;
        }
        check_most("term limit", self.term_limit, MAX_SPAN)?;
        check_most("stop grace", self.stop_grace, MAX_LEASE_DURATION)?;
        check_most("drain timeout", self.drain_timeout.unwrap_or_default(), MAX_SPAN)?;
        check_most("acquire timeout", self.acquire_timeout.unwrap_or_default(), MAX_SPAN)?;
        if !self.lease_duration.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(ConfigError::FinerThanMillisecond(self.lease_duration));
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), ConfigError> {
        let (lease_duration, renew_deadline) = (self.lease_duration, self.renew_deadline);
        if lease_duration <= renew_deadline {
            return Err(ConfigError::LeaseNotAboveDeadline { lease_duration, renew_deadline });
        }
        if renew_deadline <= self.retry_period.mul_f64(JITTER_FACTOR) {
            let retry_period = self.retry_period;
            return Err(ConfigError::DeadlineNotAboveRetry { renew_deadline, retry_period });
        }
        Ok(())
    }

    /// `(R + K)·(1+ρ)/(1−ρ) ≤ L`: a leader whose clock is slow stops, with its grace, before a
    /// candidate whose clock is fast has waited a lease.
    fn check_drift(&self) -> Result<(), ConfigError> {
        let drift = self.clock_drift;
        if !(0.0..0.5).contains(&drift) {
            return Err(ConfigError::Drift(drift));
        }
        let rate = (1.0 + drift) / (1.0 - drift);
        let needed = (self.renew_deadline + self.stop_grace).mul_f64(rate);
        if needed > self.lease_duration {
            return Err(ConfigError::NoRoomForDrift {
                lease_duration: self.lease_duration,
                renew_deadline: self.renew_deadline,
                stop_grace: self.stop_grace,
                clock_drift: drift,
                rate,
                needed,
            });
        }
        Ok(())
    }

    /// The part that the pure election decides by.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            identity: self.identity.clone().unwrap_or_else(default_identity).into(),
            metadata: self.metadata.as_str().into(),
            lease_duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
            term_limit: Some(self.term_limit).filter(|limit| !limit.is_zero()),
            acquire_timeout: self.acquire_timeout,
            drain_timeout: self.drain_timeout.unwrap_or(self.lease_duration),
            on_success: self.on_success,
        }
    }
}

fn check_most(setting: &'static str, value: Duration, most: Duration) -> Result<(), ConfigError> {
    if value > most {
        return Err(ConfigError::TooLong { setting, value, most });
    }
    Ok(())
}

/// Host, process number, and eight random hexadecimal digits: `node-7_4711_0c0ffee0`; in a job of
/// Slurm's its number and the task's as well: `node-7_4711_0c0ffee0_job-99_3`.
pub(crate) fn default_identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(|c| !c.is_control()).take(48).collect();
    let job = slurm_job(|name| std::env::var(name).ok());
    format!("{host}_{}_{:08x}{job}", std::process::id(), entropy() as u32)
}

/// The job, and the task of its array or of its step, as this process's environment tells.
fn slurm_job(variable: impl Fn(&str) -> Option<String>) -> String {
    // It goes into a name, so what is no number is not taken.
    let number = |name| {
        let is_number = |text: &String| {
            (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        variable(name).filter(is_number)
    };
    let array = number("SLURM_ARRAY_JOB_ID").zip(number("SLURM_ARRAY_TASK_ID"));
    match array.or_else(|| number("SLURM_JOB_ID").zip(number("SLURM_PROCID"))) {
        Some((job, task)) => format!("_job-{job}_{task}"),
        None => number("SLURM_JOB_ID").map_or_else(String::new, |job| format!("_job-{job}")),
    }
}

/// A new incarnation from the system's random source.
pub(crate) fn new_incarnation() -> Incarnation {
    Incarnation(u128::from(entropy()) << 64 | u128::from(entropy()))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("lock", &self.lock.describe())
            .field("identity", &self.identity)
            .field("lease_duration", &self.lease_duration)
            .field("renew_deadline", &self.renew_deadline)
            .field("retry_period", &self.retry_period)
            .field("term_limit", &self.term_limit)
            .field("on_success", &self.on_success)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::MemoryLock;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> Config {
        Config::new(MemoryLock::new())
    }

    fn refusal(config: Config) -> String {
        config.validate().expect_err("must be refused").to_string()
    }

    #[test]
    fn the_defaults_are_the_originals_and_are_accepted() {
        let config = config();
        assert_eq!(config.validate(), Ok(()));
        let settings = config.settings();
        assert_eq!(settings.lease_duration, SECOND * 15);
        assert_eq!(settings.drain_timeout, SECOND * 15);
        assert_eq!(settings.term_limit, None);
        assert!(!settings.identity.is_empty());
    }

    #[test]
    fn a_default_name_carries_the_slurm_job_and_task() {
        let job = |pairs: &[(&str, &str)]| {
            slurm_job(|name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let array = [("SLURM_ARRAY_JOB_ID", "99"), ("SLURM_ARRAY_TASK_ID", "3")];
        assert_eq!(job(&array), "_job-99_3");
        assert_eq!(job(&[array[0], array[1], ("SLURM_JOB_ID", "102")]), "_job-99_3");
        assert_eq!(job(&[("SLURM_JOB_ID", "7"), ("SLURM_PROCID", "0")]), "_job-7_0");
        assert_eq!(job(&[("SLURM_JOB_ID", "7")]), "_job-7");
        for odd in ["", "x", "7\n", "123456789012345678901"] {
            assert_eq!(job(&[("SLURM_JOB_ID", odd)]), "", "{odd:?}");
        }
    }

    #[test]
    fn every_refusal_names_the_setting_and_shows_the_numbers() {
        let lease = refusal(config().lease_duration(SECOND * 10));
        assert!(lease.contains("lease duration 10s") && lease.contains("renew deadline 10s"));
        let retry = refusal(config().retry_period(Duration::from_millis(8400)));
        assert!(retry.contains("renew deadline 10s") && retry.contains("retry period 8.4s"));
        let drift = refusal(config().clock_drift(0.21));
        assert!(drift.contains("lease duration 15s") && drift.contains("0.21"), "{drift}");
        let grace = refusal(config().stop_grace(Duration::from_millis(3600)));
        assert!(grace.contains("stop grace 3.6s"), "{grace}");
        assert!(refusal(config().clock_drift(0.5)).contains("0.5"));
        assert!(refusal(config().clock_drift(f64::NAN)).contains("NaN"));
        assert!(refusal(config().lease_duration(SECOND * 3601)).contains("3600s"));
        assert!(refusal(config().term_limit(Duration::MAX)).contains("term limit"));
        assert!(refusal(config().drain_timeout(Duration::MAX)).contains("drain timeout"));
        assert!(refusal(config().renew_deadline(Duration::MAX)).contains("renew deadline"));
        assert!(refusal(config().stop_grace(Duration::MAX)).contains("stop grace"));
        let fine = refusal(config().lease_duration(SECOND * 15 + Duration::from_micros(5)));
        assert!(fine.contains("millisecond"));
    }

    #[test]
    fn the_worked_numbers_of_the_inequality_hold() {
        // The grace that fits 15 s / 10 s at 5 % is 15 x 0.95 / 1.05 - 10 = 3.571 s.
        let fits = config().stop_grace(Duration::from_millis(3571));
        assert_eq!(fits.validate(), Ok(()));
        assert!(config().stop_grace(Duration::from_millis(3572)).validate().is_err());
    }

    #[test]
    fn mended_10_empty_identity_and_zero_retry_period_are_refused() {
        assert_eq!(config().identity("").validate(), Err(ConfigError::EmptyIdentity));
        let zero = config().retry_period(Duration::ZERO).validate();
        assert_eq!(zero, Err(ConfigError::Zero { setting: "retry period" }));
        assert!(refusal(config().identity("x".repeat(256))).contains("256 bytes"));
        assert!(refusal(config().identity("a\nb")).contains("control character"));
        assert!(refusal(config().metadata("x".repeat(257))).contains("metadata"));
    }
}
