//! The file lock where calls hang, come late, come twice, or whole processes stand still: at every
//! single call of a candidate, beside others whose clocks run at the ends of the bound. Nobody
//! leads beside another, tokens rise, and somebody leads again in bounded time.
//!
//! `FAULTS=long` tries every call with every mishap, and more seeds.
#![cfg(feature = "testing")]

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

mod disk;
mod world;

use disk::Mishap;
use world::{Plan, Role, World};

const SECOND: Duration = Duration::from_secs(1);

/// A lease of 15 s and a deadline of 10 s tolerate clocks of which one runs 1.5 times as fast as
/// another.
const SLOW: u64 = 800;
const FAST: u64 = 1200;

/// The first leads and stops, again and again; the others lead for longer, so that there is
/// something to sweep.
fn roles(rates: [u64; 3]) -> [Role; 3] {
    let spans = [Some(SECOND * 9), Some(SECOND * 47), Some(SECOND * 20)];
    std::array::from_fn(|node| Role { rate: rates[node], stops_after: spans[node] })
}

const STORY: Duration = Duration::from_secs(200);

fn is_long() -> bool {
    std::env::var("FAULTS").is_ok_and(|form| form == "long")
}

fn mishaps() -> Vec<Mishap> {
    let mut mishaps = vec![Mishap::IsLost];
    for seconds in [3, 9, 11, 16, 31, 50] {
        let span = SECOND * seconds;
        mishaps.extend([
            Mishap::Hangs { span, late: true },
            Mishap::Hangs { span, late: false },
            Mishap::Freezes { span, before: true },
            Mishap::Freezes { span, before: false },
            Mishap::ComesLate(span),
            Mishap::ComesTwice(span),
            Mishap::IsTorn(span),
        ]);
    }
    mishaps
}

/// The longest that it takes until somebody leads, on a slow clock: a lease, two holdings back, and
/// a look or two.
const SOON: Duration = Duration::from_secs(30);

/// Plays a story; returns the longest time without a leader.
fn play(rates: [u64; 3], plan: Plan, seed: u64) -> Duration {
    let story = format!("{plan:?}, rates {rates:?}, seed {seed}");
    let played = std::panic::catch_unwind(|| {
        let world = World::new(&roles(rates), plan, seed);
        world.pass(STORY);
        let gap = world.log().longest_gap;
        let terms = world.log().tokens.len();
        world.heal();
        world.pass(SOON * 2);
        let log = world.log();
        assert!(log.longest_gap < SOON, "{:?} without a leader", log.longest_gap);
        assert!(log.tokens.len() > terms, "nobody leads any more");
        assert!(log.most_names < 400, "{} names", log.most_names);
        gap
    });
    played.unwrap_or_else(|_| panic!("it happened with {story}"))
}

#[test]
fn a_call_that_hangs_or_comes_late_makes_no_two_leaders() {
    let mut played = 0;
    let mut longest = Duration::ZERO;
    for rates in [[SLOW, FAST, FAST], [FAST, SLOW, FAST]] {
        let calls = {
            let world = World::new(&roles(rates), Plan::new(), 1);
            world.pass(STORY);
            world.calls(0)
        };
        for at in 0..calls {
            for (number, mishap) in mishaps().into_iter().enumerate() {
                if is_long() || (at as usize + number).is_multiple_of(61) {
                    let gap = play(rates, vec![(0, at, mishap)], 1);
                    assert!(gap < SOON, "{mishap:?} at {at}: {gap:?} without a leader");
                    longest = longest.max(gap);
                    played += 1;
                }
            }
        }
    }
    println!("{played} stories with one mishap each; at most {longest:?} without a leader");
}

/// Some spells in which a candidate's calls often go wrong: it is what comes together that does
/// harm.
fn random_plan(below: &mut impl FnMut(u32) -> u32) -> Plan {
    let all = mishaps();
    let mut plan = Plan::new();
    for _ in 0..below(6) {
        let (node, at) = (below(3) as usize, u64::from(below(400)));
        for call in at..at + u64::from(below(20)) {
            if below(3) == 0 {
                plan.push((node, call, all[below(all.len() as u32) as usize]));
            }
        }
    }
    plan
}

#[test]
fn many_mishaps_make_no_two_leaders() {
    let seeds = if is_long() { 20_000 } else { 300 };
    let mut longest = Duration::ZERO;
    for seed in 0..seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut below = |most: u32| rng.next_u32() % most;
        let rates = [(); 3].map(|()| SLOW + u64::from(below(401)));
        let plan = random_plan(&mut below);
        let gap = play(rates, plan, seed);
        longest = longest.max(gap);
    }
    println!("{seeds} seeds; at most {longest:?} without a leader");
}
