//! The file protocol under a model checker: the real steps and the real election, every system call
//! a step that the environment may delay, lose or let come late.
//!
//! `MODEL=long` runs the larger configurations too.

use std::time::Duration;

use leaderelection::OnSuccess;
use leaderelection::testing::Clock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stateright::{Checker, CheckerBuilder, Model};

mod candidate;
mod mutants;
mod world;

use mutants::Mutant;
use world::{Act, Left, Setup};

const TWO_LEADERS: &str = "at most one believes that it leads";
const RULES: &str = "tokens rise, and nothing follows a completion";

/// Two candidates whose clocks are as far apart as the settings allow: one runs at twice the rate
/// of the other, and the deadline is half the lease.
fn setup(name: &'static str) -> Setup {
    Setup {
        name,
        rates: vec![1, 2],
        leases: vec![4, 4],
        horizon: 4,
        generations: 3,
        on_success: OnSuccess::Hold,
        left: Left::default(),
        mutant: None,
    }
}

fn is_long() -> bool {
    std::env::var("MODEL").is_ok_and(|form| form == "long")
}

/// The time for an exhaustive check: short in the suite, long by hand.
fn limit() -> Duration {
    Duration::from_secs(if is_long() { 300 } else { 6 })
}

fn report(
    name: &str,
    checker: &impl Checker<Setup>,
    started: leaderelection::testing::Instant,
    limit: Duration,
) -> Vec<&'static str> {
    let took = Clock::system().now().since(started);
    let discoveries = checker.discoveries();
    let violated: Vec<_> =
        [TWO_LEADERS, RULES].into_iter().filter(|rule| discoveries.contains_key(rule)).collect();
    let steps = violated.first().map(|rule| discoveries[rule].clone().into_actions());
    println!(
        "{name}: {} unique states, {}, {:.1} s{}",
        checker.unique_state_count(),
        if took < limit && violated.is_empty() { "exhausted" } else { "not exhausted" },
        took.as_secs_f64(),
        steps
            .as_ref()
            .map_or(String::new(), |steps| format!(", violated in {} steps", steps.len())),
    );
    if std::env::var_os("MODEL_PATH").is_some() {
        println!("{steps:?}");
    }
    violated
}

fn builder(setup: Setup, limit: Duration) -> CheckerBuilder<Setup> {
    setup.checker().threads(2).timeout(limit)
}

/// Checks every state that can be reached, or as many as the time allows.
fn holds(setup: Setup) {
    let (name, started) = (setup.name, Clock::system().now());
    let checker = builder(setup, limit()).spawn_dfs().join();
    let violated = report(name, &checker, started, limit());
    assert!(violated.is_empty(), "{name}: {violated:?}");
}

/// Walks at random until a rule is seen to be broken; returns the walk.
///
/// A broken rule takes dozens of steps to show, more than a search in breadth or depth reaches
/// soon.
fn walk(setup: &Setup, patience: Duration) -> Option<Vec<Act>> {
    let mut rng = SmallRng::seed_from_u64(1);
    let (start, clock) = (Clock::system().now(), Clock::system());
    let properties = setup.properties();
    let mut walks = 0;
    while clock.now().since(start) < patience {
        walks += 1;
        let mut world = setup.init_states().remove(0);
        let mut path = Vec::new();
        let mut acts = Vec::new();
        let mut paces = [8; 4];
        loop {
            setup.actions(&world, &mut acts);
            // Now and then another candidate is the one that is paused.
            if rng.next_u32().is_multiple_of(16) {
                paces = [(); 4].map(|()| 1 << (rng.next_u32() % 7));
            }
            let Some(act) = pick(&mut rng, &paces, &mut acts) else {
                break;
            };
            path.push(act.clone());
            if let Some(next) = setup.next_state(&world, act) {
                world = next;
            }
            let broken = |property: &&stateright::Property<Setup>| {
                property.expectation == stateright::Expectation::Always
                    && !(property.condition)(setup, &world)
            };
            if properties.iter().find(broken).is_some() {
                println!("{}: caught in walk {walks}, after {} steps", setup.name, path.len());
                return Some(path);
            }
            if !setup.within_boundary(&world) {
                break;
            }
        }
    }
    println!("{}: not caught in {walks} walks", setup.name);
    None
}

/// Mostly somebody makes a call; time and mishaps are rarer.
fn pick(rng: &mut SmallRng, paces: &[u32; 4], acts: &mut Vec<Act>) -> Option<Act> {
    let weight = |act: &Act| match act {
        Act::Step(node) => paces[*node],
        Act::Return(_) => 4,
        Act::Tick => paces[3],
        _ => 2,
    };
    let total: u32 = acts.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut at = rng.next_u32() % total;
    let index = acts.iter().position(|act| match at.checked_sub(weight(act)) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    })?;
    let act = acts.swap_remove(index);
    acts.clear();
    Some(act)
}

fn is_caught(setup: Setup) {
    let path = walk(&setup, Duration::from_secs(PATIENCE));
    if std::env::var_os("MODEL_PATH").is_some() {
        println!("{path:?}");
    }
    assert!(path.is_some(), "{}: not caught", setup.name);
}

/// Seconds; on a quiet machine each is found in a few, also without optimisation.
const PATIENCE: u64 = 60;

#[test]
fn the_file_protocol_holds() {
    holds(Setup { left: Left { crashes: 1, ..Left::default() }, ..setup("crash") });
    holds(Setup {
        left: Left { faults: 1, ..Left::default() },
        horizon: 3,
        ..setup("a lost reply, a late call, a stale read or a torn listing")
    });
    holds(Setup { left: Left { stops: 1, ..Left::default() }, ..setup("release") });
    holds(Setup {
        left: Left { successes: 1, ..Left::default() },
        on_success: OnSuccess::Complete,
        ..setup("completion")
    });
}

/// More time and more names than an exhaustive check can have.
fn wide(name: &'static str) -> Setup {
    Setup { horizon: 8, generations: 6, ..setup(name) }
}

#[test]
fn an_unknown_reply_taken_for_success_is_caught() {
    let left = Left { faults: 2, ..Left::default() };
    is_caught(Setup { mutant: Some(Mutant::UnknownIsSuccess), left, ..wide("unknown is success") });
}

#[test]
fn the_removal_of_a_stale_claim_is_caught() {
    let left = Left { faults: 2, ..Left::default() };
    let setup = Setup {
        horizon: 7,
        generations: 5,
        mutant: Some(Mutant::RemovesItsStaleClaim),
        left,
        ..setup("removes its stale claim")
    };
    if !is_long() {
        println!("{}: only with MODEL=long, since it takes a search of a minute", setup.name);
        return;
    }
    let started = Clock::system().now();
    let checker = builder(setup, limit()).spawn_dfs().join();
    let violated = report("removes its stale claim", &checker, started, limit());
    assert!(!violated.is_empty());
}

/// What the guarantee rests on: clocks within the bound, and a server that keeps what it has
/// acknowledged for longer than a candidate looks away.
#[test]
fn beyond_its_assumptions_two_may_lead() {
    is_caught(Setup {
        rates: vec![1, 4],
        ..wide("clocks at rates 1 and 4, beyond the bound of 2")
    });
    let left = Left { cuts: 1, ..Left::default() };
    is_caught(Setup { left, ..wide("a server that loses unsynced renewals") });
}
