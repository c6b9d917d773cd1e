//! The file protocol under a model checker: the steps that ship, every system call one that the
//! environment may delay, lose, repeat or answer from memory.
//!
//! `cargo test --features testing --test file_model -- --nocapture` runs the short form. The long
//! form: `MODEL=long cargo test --release --features testing --test file_model -- --nocapture
//! --test-threads 1`.

use std::collections::BTreeSet;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

mod begins;
mod broken;
mod candidate;
mod directory;
mod driver;
mod elections;
mod explored;
mod moves;
mod mutants;
mod outcomes;
mod scene;
mod scenes;
mod world;

use scene::Setup;

fn is_long() -> bool {
    std::env::var("MODEL").is_ok_and(|form| form == "long")
}

fn threads() -> usize {
    std::env::var("MODEL_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether `name` is to be looked at: all are, unless `MODEL_ONLY` names one.
fn is_wanted(name: &str) -> bool {
    std::env::var("MODEL_ONLY").map_or(true, |only| name == only)
}

/// Visits every state that `setup` can reach, and prints how many they were.
fn exhaust(setup: Setup) {
    let name = setup.name;
    if !is_wanted(name) {
        return;
    }
    let timer = Timer::start();
    let checker = setup.checker().threads(threads()).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    let depth = checker.max_depth();
    println!("{name}: exhausted, {states} unique states, {steps} steps, depth {depth}, {timer}");
    checker.assert_properties();
}

/// Expects the checker to find that `setup`, with its mutant, breaks `property`.
fn expect_violation(setup: Setup, property: &'static str) {
    let (name, mutant) = (setup.name, setup.mutant);
    let timer = Timer::start();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let builder = setup.checker().threads(threads()).finish_when(found);
    let checker = builder.spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{name}, {mutant:?}: not caught in {states} states, {timer}");
    };
    let moves = path.into_actions();
    println!("{name}, {mutant:?}: caught by \"{property}\" after {states} states, {timer}");
    println!("    {} moves: {moves:?}", moves.len());
}

/// The processor's seconds since it was started, for people.
struct Timer(Duration);

impl Timer {
    fn start() -> Self {
        Self(processor_time())
    }

    fn elapsed(&self) -> Duration {
        processor_time() - self.0
    }
}

#[expect(clippy::disallowed_methods, reason = "the time that a check took is only printed")]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

impl std::fmt::Display for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s", self.elapsed().as_secs_f64())
    }
}
