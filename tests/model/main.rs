//! Model checking of the election that ships: the real state machine under every interleaving of a
//! small world, and each safety rule broken on purpose.
//!
//! `cargo test --features testing --test model -- --nocapture` runs the short form. The long form:
//! `MODEL=long cargo test --release --features testing --test model -- --nocapture --test-threads
//! 1`.

use std::collections::BTreeSet;

use leaderelection::{OnSuccess, Outcome, RecordKind};
use stateright::{Checker, HasDiscoveries, Model, Property};

mod mutants;
mod setups;
mod world;

use world::{Move, Rule, Setup, State, World};

const ONE_ACTS: &str = "at most one acts at any instant";
const TOKENS_RISE: &str = "tokens rise from term to term";
const NO_TERM_AFTER_COMPLETION: &str = "no term after a completion";
const PAIRED: &str = "every term is stopped and ended once";
const RELEASED_AFTER_THE_WORK: &str = "nothing is released while the work runs";
const STAYS_ENDED: &str = "a validity that has ended stays ended";
const ONE_REQUEST: &str = "one request at a time, and none after the end";

impl Model for Setup {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![self.world()]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        self.moves(world, moves);
    }

    fn next_state(&self, world: &World, chosen: Move) -> Option<World> {
        Some(self.after(world, chosen)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_ACTS, one_acts),
            Property::always(TOKENS_RISE, |_, world: &World| world.keeps(Rule::TokensRise)),
            Property::always(NO_TERM_AFTER_COMPLETION, |_, world: &World| {
                world.keeps(Rule::NoTermAfterCompletion)
            }),
            Property::always(PAIRED, |_, world: &World| world.keeps(Rule::CallbacksPaired)),
            Property::always(RELEASED_AFTER_THE_WORK, |_, world: &World| {
                world.keeps(Rule::ReleasedAfterTheWork)
            }),
            Property::always(STAYS_ENDED, |_, world: &World| world.keeps(Rule::EndedStaysEnded)),
            Property::always(ONE_REQUEST, |_, world: &World| world.keeps(Rule::NothingAfterTheEnd)),
        ];
        if self.mutant.is_none() {
            properties.extend(self.reachable());
        }
        properties
    }
}

impl Setup {
    /// What must be possible, given what this setup allows.
    fn reachable(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::sometimes("candidate a leads", |_, world: &World| leads(world, 0)),
            Property::sometimes("candidate b leads", |_, world: &World| leads(world, 1)),
            Property::sometimes("a lease that ran out is taken over", takes_over),
        ];
        if self.candidates.len() > 2 {
            properties
                .push(Property::sometimes("candidate c leads", |_, world: &World| leads(world, 2)));
        }
        if self.budget.crashes > 0 {
            properties.push(Property::sometimes("a crash is taken over", takes_over_a_crash));
        }
        if self.budget.stops > 0 {
            properties.push(Property::sometimes("a release is taken over", takes_what_is_released));
        }
        if self.budget.successes > 0 && self.on_success == OnSuccess::Complete {
            let hears = |_: &Setup, world: &World| {
                world.nodes.iter().any(|node| node.ended_as(Outcome::AlreadyCompleted))
            };
            properties.push(Property::sometimes("a completion is heard of", hears));
        }
        properties
    }
}

impl World {
    fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}

fn one_acts(setup: &Setup, world: &World) -> bool {
    let acting = |(i, node): (usize, &std::sync::Arc<world::Node>)| setup.acts(node, i);
    world.nodes.iter().enumerate().filter(|entry| acting(*entry)).count() <= 1
}

fn leads(world: &World, i: usize) -> bool {
    world.nodes[i].believes()
}

fn leads_over(world: &World, kind: RecordKind) -> Option<u64> {
    let leader = world.nodes.iter().find(|node| node.believes())?;
    (leader.term()?.over == Some(kind)).then_some(leader.token)
}

fn takes_over(_: &Setup, world: &World) -> bool {
    leads_over(world, RecordKind::Held).is_some()
}

fn takes_over_a_crash(_: &Setup, world: &World) -> bool {
    leads_over(world, RecordKind::Held).is_some_and(|token| {
        let crashed = |node: &world::Node| node.state == State::Down && node.token > 0;
        world.nodes.iter().any(|node| crashed(node) && node.token < token)
    })
}

fn takes_what_is_released(_: &Setup, world: &World) -> bool {
    leads_over(world, RecordKind::Released).is_some()
}

/// Explores everything that `setup` allows, and prints how much that was.
fn exhaust(setup: Setup) {
    let name = setup.name;
    let timer = Timer::start();
    let checker = setup.checker().threads(threads()).spawn_bfs().join();
    let states = checker.unique_state_count();
    let (steps, depth) = (checker.state_count(), checker.max_depth());
    println!("{name}: exhausted, {states} unique states, {steps} steps, depth {depth}, {timer}");
    checker.assert_properties();
}

/// Expects the checker to find that `setup`, with its mutant, breaks `property`.
fn expect_violation(setup: Setup, property: &'static str) {
    let mutant = setup.mutant.expect("a mutant");
    let timer = Timer::start();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = setup.checker().threads(threads()).finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{mutant:?}: not caught in {states} states");
    };
    let moves = path.into_actions();
    println!("{mutant:?}: caught by \"{property}\" after {states} states, {timer}");
    println!("    {} moves: {moves:?}", moves.len());
}

fn threads() -> usize {
    std::env::var("MODEL_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn is_long() -> bool {
    std::env::var("MODEL").is_ok_and(|form| form == "long")
}

/// Seconds since it was started, for people.
struct Timer(std::time::Instant);

impl Timer {
    #[expect(clippy::disallowed_methods, reason = "the time that a check took is only printed")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }
}

impl std::fmt::Display for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s", self.0.elapsed().as_secs_f64())
    }
}

#[test]
fn every_setup_keeps_the_rules() {
    for setup in if is_long() { setups::long() } else { setups::short() } {
        exhaust(setup);
    }
}

#[test]
fn every_broken_rule_is_caught() {
    for (setup, property) in setups::broken() {
        expect_violation(setup, property);
    }
}
