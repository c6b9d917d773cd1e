//! The elector's threads under shuttle, which decides at every channel, lock and atomic who goes
//! on.
//!
//! Only in a build of its own, in which these primitives are shuttle's:
//!
//! ```text
//! RUSTFLAGS='--cfg shuttle' cargo test --features testing --test interleavings \
//!     --target-dir target/shuttle -- --nocapture
//! ```
//!
//! Set `INTERLEAVINGS` for another number of schedules than 1,000, and `INTERLEAVINGS_SEED` for
//! other ones than from seed 0.

#![cfg(shuttle)]

mod mutants;
mod scenarios;
mod world;

use leaderelection::Stopwatch;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Scheduling decisions after which an execution surely hangs: since time goes on, a hang is seldom
/// a deadlock.
const MOST_STEPS: usize = 1_000_000;

/// The same where a hang is expected.
const FEW_STEPS: usize = 50_000;

/// How often a PCT schedule changes its mind about who goes first.
const PCT_DEPTH: usize = 4;

/// The scenarios, each of which gets its share of the schedules.
const SCENARIOS: u64 = 6;

fn number(variable: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else {
        return default;
    };
    text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}"))
}

fn execute(scheduler: impl Scheduler + 'static, most_steps: usize, scenario: fn()) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(most_steps);
    config.stack_size = 1 << 18;
    Runner::new(scheduler, config).run(scenario);
}

/// Runs a scenario under its share of random schedules, and of PCT's.
fn explore(name: &str, scenario: fn()) {
    let schedules = number("INTERLEAVINGS", 1_000).div_ceil(SCENARIOS * 2);
    let seed = number("INTERLEAVINGS_SEED", 0);
    let watch = Stopwatch::start();
    let count = usize::try_from(schedules).expect("fits");
    execute(RandomScheduler::new_from_seed(seed, count), MOST_STEPS, scenario);
    let random = watch.elapsed();
    execute(PctScheduler::new_from_seed(seed, PCT_DEPTH, count), MOST_STEPS, scenario);
    let pct = watch.elapsed() - random;
    println!(
        "{name}: {schedules} random schedules in {:.1} s, {schedules} of PCT (depth {PCT_DEPTH}) \
         in {:.1} s, from seed {seed}; {} terms, {} lost",
        random.as_secs_f64(),
        pct.as_secs_f64(),
        world::TERMS.take(),
        world::LOSSES.take(),
    );
}

#[test]
fn runs_end_whatever_happens() {
    explore("runs", scenarios::runs);
}

#[test]
fn two_candidates_never_believe_at_once() {
    explore("rivals", scenarios::rivals);
}

#[test]
fn validity_is_never_revived() {
    explore("validity", scenarios::validity);
}

#[test]
fn guards_are_given_back() {
    explore("guards", scenarios::guards);
}

#[test]
fn a_stop_ends_terms_without_end() {
    explore("for ever", scenarios::for_ever);
}

#[test]
fn two_members_of_a_pool_never_believe_at_once() {
    explore("pooled", scenarios::pooled);
}

/// Shuttle runs on the thread of the test, so a failure is a panic here.
fn fails(scenario: fn()) -> bool {
    let random = || execute(RandomScheduler::new_from_seed(0, 2_000), FEW_STEPS, scenario);
    let pct = || execute(PctScheduler::new_from_seed(0, PCT_DEPTH, 2_000), FEW_STEPS, scenario);
    std::panic::catch_unwind(random).is_err() || std::panic::catch_unwind(pct).is_err()
}
