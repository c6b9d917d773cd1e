//! This machine as the arenas see it: its clock, the time that it gave to nobody, and dice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support;

/// Time on CLOCK_MONOTONIC.
#[expect(clippy::disallowed_methods, reason = "the oracle's own clock")]
pub fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long a thread that sleeps overslept: time that the machine did not give to anybody here.
#[derive(Debug)]
pub struct Lag {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// From when, and for how long; in the order of time.
    overslept: Arc<Mutex<Vec<(Duration, Duration)>>>,
}

impl Lag {
    pub fn start() -> Self {
        const NAP: Duration = Duration::from_millis(5);
        let ended = Arc::new(AtomicBool::new(false));
        let overslept = Arc::new(Mutex::new(Vec::new()));
        let (told, tell) = (Arc::clone(&ended), Arc::clone(&overslept));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let before = monotonic();
                support::pause(NAP);
                let over = (monotonic() - before).saturating_sub(NAP);
                if over > Duration::from_millis(1) {
                    tell.lock().unwrap().push((before, over));
                }
            }
        });
        Self { ended, thread: Some(thread), overslept }
    }

    /// All of it between two times.
    pub fn between(&self, from: Duration, until: Duration) -> Duration {
        let overslept = self.overslept.lock().unwrap();
        let begin = overslept.partition_point(|(at, _)| *at < from);
        overslept[begin..].iter().take_while(|(at, _)| *at < until).map(|(_, over)| *over).sum()
    }

    /// The longest, of those that began between two times.
    pub fn longest(&self, from: Duration, until: Duration) -> Duration {
        let overslept = self.overslept.lock().unwrap();
        let between = overslept.iter().filter(|(at, _)| (from..until).contains(at));
        between.map(|(_, over)| *over).max().unwrap_or_default()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A small generator (SplitMix64): a seed gives the same choices each time.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    /// Between a tenth of `unit` and ten of it, each factor of two as likely as any other.
    pub fn decades(&mut self, unit: Duration) -> Duration {
        let exponent = self.below(2001) as f64 / 1000.0 - 1.0;
        unit.mul_f64(10f64.powf(exponent))
    }

    /// Between a half and one and a half of `unit`.
    pub fn about(&mut self, unit: Duration) -> Duration {
        unit.mul_f64(0.5 + self.below(1001) as f64 / 1000.0)
    }
}
