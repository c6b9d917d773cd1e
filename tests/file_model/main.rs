//! The file protocol under a model checker: the real steps and the real election, every system call
//! a step that the environment may delay, lose or let come late.
//!
//! `MODEL=long` runs the larger configurations too.

use std::time::Duration;

use leaderelection::OnSuccess;
use stateright::{Checker, Model};

mod candidate;
mod mutants;
mod world;

use world::{Left, Setup};

const TWO_LEADERS: &str = "at most one believes that it leads";
const RULES: &str = "tokens rise, and nothing follows a completion";

fn setup(name: &'static str) -> Setup {
    Setup {
        name,
        rates: vec![1, 2],
        leases: vec![4, 4],
        horizon: 5,
        generations: 4,
        on_success: OnSuccess::Hold,
        left: Left { faults: 1, ..Left::default() },
        mutant: None,
    }
}

struct Result {
    violated: Vec<&'static str>,
}

fn check(setup: Setup, limit: Duration) -> Result {
    let name = setup.name;
    let started = std::time::SystemTime::now();
    let checker = setup.checker().threads(2).timeout(limit).spawn_dfs().join();
    let seconds = started.elapsed().unwrap_or_default().as_secs_f64();
    let discoveries = checker.discoveries();
    let violated: Vec<_> =
        [TWO_LEADERS, RULES].into_iter().filter(|rule| discoveries.contains_key(rule)).collect();
    let exhausted = seconds < limit.as_secs_f64() && violated.is_empty();
    println!(
        "{name}: {} unique states, depth {}, {}, {seconds:.1} s{}",
        checker.unique_state_count(),
        checker.max_depth(),
        if exhausted { "exhausted" } else { "not exhausted" },
        violated.iter().map(|rule| format!("; VIOLATED: {rule}")).collect::<String>(),
    );
    if std::env::var_os("MODEL_PATH").is_some() {
        for rule in &violated {
            println!(
                "{}",
                discoveries[rule]
                    .clone()
                    .into_actions()
                    .iter()
                    .map(|a| format!("{a:?}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
        }
    }
    Result { violated }
}

#[test]
fn probe() {
    use mutants::Mutant::*;
    let l = Duration::from_secs(40);
    let _ = check(Setup { horizon: 4, generations: 3, ..setup("h4g3") }, l);
    let _ = check(Setup { horizon: 4, generations: 3, rates: vec![1, 1], ..setup("h4g3 1:1") }, l);
    let _ = check(Setup { rates: vec![1, 3], ..setup("drift 1:3") }, l);
    for m in [
        NoListingAfterTheClaim,
        SweepsWithoutWaiting,
        NoWindow,
        MineByIncarnation,
        RemovesItsStaleClaim,
        RenewalTimedFromItsRetry,
        UnknownIsSuccess,
    ] {
        println!("{m:?}");
        let _ = check(
            Setup {
                mutant: Some(m),
                left: Left { faults: 2, ..Left::default() },
                horizon: 7,
                generations: 5,
                ..setup("m")
            },
            l,
        );
    }
    println!("completion");
    let _ = check(
        Setup {
            mutant: Some(CompletionWithoutListing),
            left: Left { faults: 1, successes: 1, ..Left::default() },
            on_success: OnSuccess::Complete,
            horizon: 7,
            generations: 5,
            ..setup("m")
        },
        l,
    );
    let _ = check(
        Setup {
            left: Left { successes: 1, faults: 1, ..Left::default() },
            on_success: OnSuccess::Complete,
            ..setup("complete")
        },
        l,
    );
    let _ = check(Setup { left: Left { cuts: 1, ..Left::default() }, ..setup("cut") }, l);
}
