//! Time, and the only file that reads a clock.
//!
//! Leases are measured on a clock that counts a suspend: `CLOCK_BOOTTIME` on Linux,
//! `CLOCK_MONOTONIC` on macOS (there it does). The standard library's `Instant` stops in a suspend
//! on both, and so do channel timers; so nothing here hands out a `std::time::Instant`.
//!
//! This file must not know what time is measured for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use crate::sync::channel::{Receiver, Sender, after, bounded};

/// A point on the clock that counts a suspend: whole nanoseconds since the machine's boot.
///
/// Instants of different machines, or of different boots, can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The instant that lies `nanos` nanoseconds after the boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of the clock's range, some 584 years after the boot.
    fn add(self, span: Duration) -> Instant {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the boot.
    fn sub(self, span: Duration) -> Instant {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

/// A wall-clock time, in milliseconds since 1970 (UTC), for people to read.
///
/// No decision of an election reads one: the wall clocks of two machines may be far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Now, on this machine's wall clock.
    pub fn now() -> Self {
        wall_time()
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T08:16:01.250Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 humantime refuses to print.
        let millis = self.0.min(253_402_300_799_999);
        let time = std::time::UNIX_EPOCH + Duration::from_millis(millis);
        write!(f, "{}", humantime::format_rfc3339_millis(time))
    }
}

/// Measures how long something takes, on the clock that counts a suspend.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    pub fn start() -> Self {
        Self(boot_time())
    }

    /// The time since it was started.
    pub fn elapsed(&self) -> Duration {
        boot_time().since(self.0)
    }
}

/// The clocks that an elector reads: the machine's own, or a simulated one in tests.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "only tests make a simulated clock")
    )]
    Simulated(Arc<Mutex<Simulation>>),
}

/// What a simulated clock shows, and who waits for it to advance.
#[derive(Debug, Default)]
struct Simulation {
    now: Instant,
    /// One channel for each instant, however often somebody waits for it and then no longer does.
    waiting: BTreeMap<Instant, (Sender<std::time::Instant>, Receiver<std::time::Instant>)>,
}

impl Clock {
    /// The clocks of this machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it. It starts at one second.
    #[cfg(any(test, feature = "testing"))]
    pub fn simulated() -> Self {
        let start =
            Simulation { now: Instant::from_nanos(1_000_000_000), waiting: BTreeMap::new() };
        Self(Source::Simulated(Arc::new(Mutex::new(start))))
    }

    /// Now, on the clock that counts a suspend.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => boot_time(),
            Source::Simulated(simulation) => simulation.lock().now,
        }
    }

    /// Now, on the wall clock. The simulated wall clock shows the simulated time since 1970.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System => wall_time(),
            Source::Simulated(simulation) => {
                Timestamp(simulation.lock().now.as_nanos() / 1_000_000)
            }
        }
    }

    /// A channel that is ready (with a message, or disconnected) at `deadline` or before.
    ///
    /// On the machine's clocks the wait is at most `longest`, since a channel's timer stops in a
    /// suspend: who is woken reads the clock again.
    pub fn wake_at(&self, deadline: Instant, longest: Duration) -> Receiver<std::time::Instant> {
        match &self.0 {
            Source::System => after(deadline.since(boot_time()).min(longest)),
            Source::Simulated(simulation) => wait_for(&mut simulation.lock(), deadline),
        }
    }

    /// Moves a simulated clock on by `span` and wakes who waited for that. The machine's own clock
    /// can't be moved: then this does nothing.
    #[cfg(any(test, feature = "testing"))]
    pub fn advance(&self, span: Duration) {
        if let Source::Simulated(simulation) = &self.0 {
            let mut simulation = simulation.lock();
            let now = simulation.now + span;
            simulation.now = now;
            // Dropping a sender disconnects its receiver, and that wakes the waiting thread.
            simulation.waiting.retain(|deadline, _| *deadline > now);
        }
    }

    /// The earliest instant that somebody waits for on this simulated clock.
    #[cfg(any(test, feature = "testing"))]
    pub fn next_wait(&self) -> Option<Instant> {
        match &self.0 {
            Source::System => None,
            Source::Simulated(simulation) => simulation.lock().waiting.keys().next().copied(),
        }
    }
}

fn wait_for(simulation: &mut Simulation, deadline: Instant) -> Receiver<std::time::Instant> {
    let channel = || bounded(1);
    if deadline <= simulation.now {
        return channel().1;
    }
    simulation.waiting.entry(deadline).or_insert_with(channel).1.clone()
}

#[expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
fn boot_time() -> Instant {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    // Neither part is negative: the clock starts at the boot.
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
fn wall_time() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since_epoch.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

/// Sixty-four bits from the operating system's random source: the seed of a generator, or a part of
/// an incarnation.
///
/// # Panics
///
/// Where the system has no random source, which Linux and macOS rule out once they have booted.
#[cfg(not(shuttle))]
pub(crate) fn entropy() -> u64 {
    use rand::TryRng;
    rand::rngs::SysRng.try_next_u64().expect("the operating system gives random bytes")
}

#[cfg(shuttle)]
pub(crate) use crate::sync::random as entropy;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        let late = Instant::from_nanos(u64::MAX - 1);
        assert_eq!((late + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!((Instant::from_nanos(5) - Duration::from_secs(1)).as_nanos(), 0);
        assert_eq!(Instant::from_nanos(5).since(late), Duration::ZERO);
    }

    #[test]
    fn timestamps_read_as_rfc_3339_even_when_absurd() {
        let time = Timestamp::from_millis(1_795_508_161_250);
        assert_eq!(time.to_string(), "2026-11-24T08:16:01.250Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn the_boot_clock_does_not_go_back() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
    }

    #[test]
    fn waits_that_are_given_up_do_not_pile_up() {
        let clock = Clock::simulated();
        let far = clock.now() + Duration::from_secs(1 << 40);
        for _ in 0..1000 {
            drop(clock.wake_at(far, Duration::MAX));
        }
        let Source::Simulated(simulation) = &clock.0 else {
            unreachable!("the clock is simulated");
        };
        assert_eq!(simulation.lock().waiting.len(), 1);
    }

    #[test]
    fn advancing_a_simulated_clock_wakes_who_waits() {
        let clock = Clock::simulated();
        let early = clock.wake_at(clock.now() + Duration::from_secs(1), Duration::MAX);
        let late = clock.wake_at(clock.now() + Duration::from_secs(3), Duration::MAX);
        clock.advance(Duration::from_secs(2));
        assert_eq!(early.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
        assert_eq!(late.try_recv(), Err(crossbeam_channel::TryRecvError::Empty));
        assert_eq!(clock.next_wait(), Some(clock.now() + Duration::from_secs(1)));
    }
}
