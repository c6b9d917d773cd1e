//! Many seeds on several threads, in order of their numbers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stats::Stats;
use super::world::{Options, Report, run};

/// Which seeds, and when to stop early.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub from: u64,
    pub seeds: u64,
    pub threads: usize,
    /// Real time after which no further seed is begun.
    pub at_most: Option<Duration>,
    pub options: Options,
}

/// What many seeds did.
#[derive(Debug, Default)]
pub struct Outcome {
    pub stats: Stats,
    pub took: Duration,
    /// The time of processors, which other work of the machine does not stretch.
    pub processor: Duration,
    /// The violations in order of their seeds. After the first one no further seed is begun.
    pub failed: Vec<Report>,
}

/// Runs them; `progress` is told now and then what was done so far.
#[expect(clippy::disallowed_methods, reason = "the real time that a simulation takes")]
pub fn run_many(batch: Batch, progress: impl Fn(&Stats, Duration) + Sync) -> Outcome {
    let (began, processor) = (std::time::Instant::now(), processor_time());
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..batch.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = batch.at_most.is_some_and(|most| began.elapsed() >= most);
                    if number >= batch.seeds || late {
                        return;
                    }
                    let report = run(batch.from + number, batch.options);
                    // A panic of another thread's progress says nothing about these counts.
                    let mut outcome = outcome.lock().unwrap_or_else(|broken| broken.into_inner());
                    outcome.stats.add(&report.stats);
                    if report.violation.is_some() {
                        next.store(batch.seeds, Ordering::Relaxed);
                        outcome.failed.push(report);
                    }
                    if outcome.stats.seeds.is_multiple_of(10_000) {
                        progress(&outcome.stats, began.elapsed());
                    }
                }
            });
        }
    });
    let mut outcome = outcome.into_inner().unwrap_or_else(|broken| broken.into_inner());
    outcome.failed.sort_by_key(|report| report.seed);
    (outcome.took, outcome.processor) = (began.elapsed(), processor_time() - processor);
    outcome
}

/// What this process has used of all processors.
#[expect(clippy::disallowed_methods, reason = "the real time that a simulation takes")]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
