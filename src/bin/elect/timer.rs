//! A timer on the clock that counts a suspend, which `poll` can wait for beside other things.
//!
//! It is set to an instant or to a span from now, so nobody here needs to read a clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_gettime, timerfd_settime,
};

/// One timer; unset at first.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// Makes a timer.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Sets it to `nanos` nanoseconds after the boot; an instant that has passed fires at once.
    pub fn set_at(&self, nanos: u64) -> io::Result<()> {
        self.set(TimerfdTimerFlags::ABSTIME, Duration::from_nanos(nanos))
    }

    /// Sets it to `span` from now.
    pub fn set_in(&self, span: Duration) -> io::Result<()> {
        self.set(TimerfdTimerFlags::empty(), span)
    }

    /// Whether it has fired since it was set, or since the last call that said so.
    pub fn has_fired(&self) -> bool {
        let mut count = [0; 8];
        matches!(rustix::io::read(&self.0, &mut count), Ok(8))
    }

    /// Whether its instant is over. Knows it at once, where `has_fired` may need a moment to learn
    /// it, and says it again each time. One that cannot be read counts as over.
    pub fn is_over(&self) -> bool {
        timerfd_gettime(&self.0)
            .map_or(true, |left| left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0)
    }

    fn set(&self, flags: TimerfdTimerFlags, value: Duration) -> io::Result<()> {
        // Zero would unset the timer.
        let value = value.max(Duration::from_nanos(1));
        let seconds = i64::try_from(value.as_secs()).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: seconds, tv_nsec: value.subsec_nanos().into() };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.0, flags, &Itimerspec { it_interval: never, it_value: value })?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_that_has_passed_fires_at_once_and_only_once() {
        let timer = Timer::new().unwrap();
        assert!(!timer.has_fired());
        timer.set_at(0).unwrap();
        let mut polled = [rustix::event::PollFd::new(&timer, rustix::event::PollFlags::IN)];
        let second = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&second)), Ok(1));
        assert!(timer.has_fired());
        assert!(!timer.has_fired());
    }

    #[test]
    fn setting_it_again_takes_back_that_it_has_fired() {
        let timer = Timer::new().unwrap();
        timer.set_at(1).unwrap();
        timer.set_at(u64::MAX).unwrap();
        assert!(!timer.has_fired());
        timer.set_in(Duration::from_secs(3600)).unwrap();
        assert!(!timer.has_fired());
    }
}
