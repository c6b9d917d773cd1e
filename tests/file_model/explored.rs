//! Configurations in which every rule holds, from nothing and from the worlds of some scripts.

use crate::scene::{Left, Setup};
use crate::{exhaust, is_long, scenes};

fn left(change: impl FnOnce(&mut Left)) -> Left {
    let mut left = Left::default();
    change(&mut left);
    left
}

/// Clocks of rates 1 and 2, and leases and a keep time that are just long enough for that.
fn drifting(name: &'static str) -> Setup {
    Setup { rates: vec![1, 2], leases: vec![4, 4], keep: 4, corrupt: 4, ..Setup::two(name) }
}

/// Each is exhausted in about a second without optimisation.
fn short() -> Vec<Setup> {
    vec![
        Setup { horizon: 4, generations: 4, ..Setup::two("two") },
        Setup { horizon: 4, generations: 4, ..drifting("two, clocks 1:2") },
        Setup {
            horizon: 2,
            generations: 3,
            left: left(|l| l.late = 1),
            ..Setup::two("two, a late call")
        },
        Setup {
            horizon: 3,
            generations: 3,
            left: left(|l| l.lost = 1),
            ..Setup::two("two, a lost reply")
        },
        Setup {
            horizon: 2,
            generations: 3,
            left: left(|l| l.stale = 1),
            ..Setup::two("two, a stale view")
        },
        Setup {
            horizon: 2,
            generations: 3,
            left: left(|l| l.torn = 1),
            ..Setup::two("two, a torn listing")
        },
        Setup {
            horizon: 2,
            generations: 3,
            left: left(|l| l.crashes = 1),
            ..Setup::two("two, a crash")
        },
        Setup {
            horizon: 2,
            generations: 4,
            left: left(|l| (l.releases, l.completions) = (1, 1)),
            ..Setup::two("two, a release, a completion")
        },
        Setup { horizon: 3, generations: 4, sweeps: true, ..Setup::two("two, sweeps") },
        Setup { horizon: 2, generations: 3, ..Setup::three("three") },
    ]
}

fn long() -> Vec<Setup> {
    let mut setups = mishaps();
    setups.extend(endings());
    setups.extend(clocks());
    setups.extend(sweeps());
    setups.extend(three());
    setups
}

/// Calls and views that go wrong.
fn mishaps() -> Vec<Setup> {
    let shorter = |name| Setup { horizon: 4, generations: 4, ..Setup::two(name) };
    vec![
        Setup { each_call: true, ..shorter("two, each call a step") },
        Setup { left: left(|l| l.late = 1), ..Setup::two("two, a late call") },
        Setup { left: left(|l| l.late = 2), ..shorter("two, two late calls") },
        Setup { left: left(|l| l.twice = 1), ..Setup::two("two, a repeated call") },
        Setup { left: left(|l| l.lost = 1), ..Setup::two("two, a lost reply") },
        Setup { left: left(|l| l.stale = 2), ..shorter("two, stale views") },
        Setup {
            left: left(|l| (l.late, l.stale) = (1, 1)),
            ..shorter("two, a late call, a stale view")
        },
        Setup { left: left(|l| l.torn = 1), ..shorter("two, a torn listing") },
        Setup {
            left: left(|l| (l.late, l.torn) = (1, 1)),
            horizon: 3,
            ..shorter("two, a late call, a torn listing")
        },
    ]
}

/// Terms that end otherwise than by their leases.
fn endings() -> Vec<Setup> {
    let shorter = |name| Setup { horizon: 3, generations: 4, ..Setup::two(name) };
    vec![
        Setup { left: left(|l| l.crashes = 1), ..Setup::two("two, a crash") },
        Setup { left: left(|l| l.releases = 2), ..Setup::two("two, releases") },
        Setup {
            left: left(|l| (l.releases, l.late) = (1, 1)),
            ..shorter("two, a release, a late call")
        },
        Setup { left: left(|l| l.completions = 1), ..Setup::two("two, a completion") },
        Setup {
            left: left(|l| (l.completions, l.late) = (1, 1)),
            ..shorter("two, a completion, a late call")
        },
        Setup { left: left(|l| l.corruptions = 1), ..Setup::two("two, a corruption") },
        Setup {
            left: left(|l| (l.crashes, l.late) = (1, 1)),
            ..shorter("two, a crash, a late call")
        },
        Setup {
            left: left(|l| (l.crashes, l.releases, l.corruptions) = (1, 1, 1)),
            ..shorter("two, a crash, a release, a corruption")
        },
    ]
}

/// Clocks and leases that differ, and a server that loses what was not synced.
fn clocks() -> Vec<Setup> {
    vec![
        drifting("two, clocks 1:2"),
        Setup { left: left(|l| l.late = 1), ..drifting("two, clocks 1:2, a late call") },
        Setup {
            leases: vec![4, 2],
            deadlines: vec![4, 2],
            corrupt: 4,
            left: left(|l| l.late = 1),
            ..Setup::two("two, leases of 4 and 2, a late call")
        },
        Setup {
            leases: vec![4, 4],
            loses: 2,
            left: left(|l| l.cuts = 1),
            ..Setup::two("two, the last 2 ticks are lost")
        },
    ]
}

fn sweeps() -> Vec<Setup> {
    let remembered = |name| Setup {
        sweeps: true,
        horizon: 6,
        generations: 7,
        script: scenes::remembered(0, 1),
        ..Setup::two(name)
    };
    let from_nothing =
        |name| Setup { sweeps: true, horizon: 5, generations: 5, ..Setup::two(name) };
    vec![
        from_nothing("two, sweeps"),
        Setup {
            left: left(|l| (l.stale, l.torn) = (2, 1)),
            ..remembered("two, a stale view, a torn listing, sweeps")
        },
        Setup {
            left: left(|l| (l.stale, l.late) = (2, 1)),
            ..remembered("two, stale views, a late call, sweeps")
        },
        Setup {
            peeks: true,
            deadlines: vec![4, 4],
            leases: vec![4, 4],
            keep: 4,
            ..from_nothing("two, looks at the next name, sweeps")
        },
        Setup { witnesses: true, ..from_nothing("two of one boot, witnesses") },
        Setup {
            witnesses: true,
            offsets: vec![0, 8],
            ..from_nothing("two of two boots, witnesses")
        },
        Setup { sweeps: true, horizon: 6, generations: 5, ..drifting("two, clocks 1:2, sweeps") },
    ]
}

fn three() -> Vec<Setup> {
    let shorter = |name| Setup { horizon: 3, generations: 3, ..Setup::three(name) };
    vec![
        Setup { horizon: 4, generations: 3, ..Setup::three("three") },
        Setup { left: left(|l| l.late = 1), ..shorter("three, a late call") },
        Setup { left: left(|l| l.crashes = 1), ..shorter("three, a crash") },
        Setup { left: left(|l| l.releases = 1), ..shorter("three, a release") },
    ]
}

#[test]
fn every_setup_keeps_the_rules() {
    for setup in if is_long() { long() } else { short() } {
        exhaust(setup);
    }
}
