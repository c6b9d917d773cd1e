//! The simulation, as part of the suite: many seeds, mutants that have to be found, and that a seed
//! is the same run each time.
//!
//! For long runs, and to look at a seed, there is `examples/simulate.rs`.

mod sim;

use std::path::Path;
use std::time::Duration;

use sim::check::{RULES, Rule};
use sim::many::{Batch, run_many};
use sim::mutant::{MUTANTS, Mutant};
use sim::plan::StoreKind;
use sim::stats::Stats;
use sim::world::{Options, run};

/// Simulated minutes a seed in the suite; by hand it is an hour.
const MINUTES: u64 = 10;

fn plain(mutant: Option<Mutant>) -> Options {
    Options { minutes: MINUTES, mutant, store: None, traced: false }
}

#[test]
fn no_seed_breaks_a_rule() {
    let at_most = Some(Duration::from_secs(20));
    let options = plain(None);
    let outcome = run_many(Batch { from: 0, seeds: 2000, threads: 2, at_most, options }, |_, _| {});
    println!("{}", sim::cli::summary(&outcome));
    if let Some(failed) = outcome.failed.first() {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (_, text) = sim::cli::shown(failed.seed, options, place).expect("it can be drawn");
        panic!("{text}");
    }
    // With less than this something else is wrong: an hour takes some hundredths of a second.
    assert!(outcome.stats.seeds >= 100, "only {} seeds in 20 s", outcome.stats.seeds);
    assert!(outcome.stats.take_overs > 0 && outcome.stats.lost > 0);
}

/// Seeds enough that each kind of fault is among them, on each kind of store that has it.
#[test]
fn every_kind_of_fault_happens_and_every_rule_is_checked() {
    let mut stats = Stats::default();
    for (kind, seeds) in [(StoreKind::Strict, 300), (StoreKind::Stale, 100), (StoreKind::Files, 60)]
    {
        let options = Options { store: Some(kind), ..plain(None) };
        let batch = Batch { from: 0, seeds, threads: 2, at_most: None, options };
        let outcome = run_many(batch, |_, _| {});
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed[0].violation);
        assert!(outcome.stats.wake_ups > 0 && outcome.stats.proofs > 0, "{kind:?}");
        stats.add(&outcome.stats);
    }
    println!("{stats}");
    let never: Vec<String> =
        stats.faults().filter(|(_, times)| *times == 0).map(|(name, _)| name).collect();
    assert!(never.is_empty(), "never happened: {never:?}");
    let unchecked = RULES.iter().zip(stats.checked).filter(|(_, times)| *times == 0);
    let unchecked: Vec<&Rule> = unchecked.map(|(rule, _)| rule).collect();
    // A panic is caught wherever it happens.
    assert_eq!(unchecked, [&Rule::NoPanic]);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..20 {
        let traced = run(seed, Options { minutes: 5, mutant: None, store: None, traced: true });
        let plain = run(seed, Options { minutes: 5, mutant: None, store: None, traced: false });
        assert_eq!(traced.digest, plain.digest, "seed {seed}");
        assert_eq!(traced.stats.events, plain.stats.events, "seed {seed}");
        assert!(plain.timeline.is_empty() && !traced.timeline.is_empty());
    }
}

/// How a mutant shows, and within how many seeds.
fn expected(mutant: Mutant) -> (&'static [Rule], u64) {
    // A term that begins after the next one is seen by its token.
    let overlap = &[Rule::OneBelieves, Rule::OneActs, Rule::TokensRise];
    // What is written over may also be the count of terms.
    let overwritten = &[Rule::OneBelieves, Rule::OneActs, Rule::TokensRise, Rule::TransitionsRise];
    match mutant {
        Mutant::ReleaseBeforeTheWorkHasEnded => (&[Rule::WorkEndsFirst], 20),
        Mutant::LateReplyRevives => (&[Rule::StaysEnded], 100),
        Mutant::ClaimWithoutComparing | Mutant::CreateReplacesAName => (overwritten, 200),
        Mutant::UnknownTakenAsFailed => (overlap, 1000),
        Mutant::NoListingAfterAClaim => (overlap, 1000),
        _ => (overlap, 200),
    }
}

/// Rules that another one stands behind: no seed has broken any with only this one missing.
const GUARDED: [Mutant; 2] = [Mutant::MineByIncarnation, Mutant::SweepWithoutItsWait];

#[test]
fn each_mutant_is_found() {
    for mutant in MUTANTS.into_iter().filter(|mutant| !GUARDED.contains(mutant)) {
        let (rules, seeds) = expected(mutant);
        // One thread, so that it is the same seed each time.
        let options = plain(Some(mutant));
        let outcome =
            run_many(Batch { from: 0, seeds, threads: 1, at_most: None, options }, |_, _| {});
        let Some(found) = outcome.failed.first() else {
            panic!("{mutant:?} was not found in {seeds} seeds");
        };
        let violation = found.violation.as_ref().expect("it failed");
        println!("{mutant:?}: {:?} by seed {}, {}", violation.rule, found.seed, violation.text);
        assert!(rules.contains(&violation.rule), "{mutant:?}: {violation:?}");
    }
}

#[test]
fn a_failing_seed_can_be_read_and_seen() {
    let options = Options {
        minutes: MINUTES,
        mutant: Some(Mutant::SameNameIsOneself),
        store: None,
        traced: true,
    };
    let report = (0..100).map(|seed| run(seed, options)).find(|report| report.violation.is_some());
    let report = report.expect("the mutant is found");
    let text = sim::cli::described(&report, None);
    assert!(text.contains("LEADS, term") && text.contains("is broken at"), "{text}");
    let picture = sim::cli::drawn(&report, None);
    assert!(picture.contains("<title>term ") && picture.contains("node 1"));
}
