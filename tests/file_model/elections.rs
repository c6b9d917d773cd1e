//! The real election over the real steps.

use leaderelection::OnSuccess;
use stateright::{Checker, Model};

use crate::world::{Left, Setup};
use crate::{Timer, is_long, is_wanted, threads};

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
    }
}

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

#[test]
fn the_real_election_keeps_the_rules() {
    exhaust(Setup { horizon: 2, ..setup("election, two ticks") });
    if !is_long() {
        return;
    }
    exhaust(setup("election, no mishap"));
    exhaust(Setup { left: Left { crashes: 1, ..Left::default() }, ..setup("election, a crash") });
    exhaust(Setup { left: Left { stops: 1, ..Left::default() }, ..setup("election, a release") });
    let successes = Left { successes: 1, ..Left::default() };
    let on_success = OnSuccess::Complete;
    exhaust(Setup { left: successes, on_success, ..setup("election, a completion") });
    let faults = Left { faults: 1, ..Left::default() };
    exhaust(Setup { left: faults, horizon: 2, ..setup("election, a fault, two ticks") });
}
