//! The clock that all processes of a benchmark read, and short waits.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the boot: the same clock in every process of this machine.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets others run: what is measured must have come to rest first.
#[expect(clippy::disallowed_methods, reason = "a benchmark waits for quiet")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// How long `work` takes, in nanoseconds.
pub fn time(work: impl FnOnce()) -> u64 {
    let began = now();
    work();
    now() - began
}
