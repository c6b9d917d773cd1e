//! Worlds from which one broken rule is few moves away from two leaders. Each came to be by a
//! script of moves that the unbroken rules allow.

use crate::driver::What::{Claim, Complete, Look, Release, Renew, Sweep};
use crate::mutants::Mutant;
use crate::scene::Line::{Calls, Do, Rest, Through, Ticks};
use crate::scene::{Act, COMPLETED, Left, Line, ONE_LEADS, Setup};

/// A scene, and the property that its mutant breaks.
pub type Scene = (Setup, &'static str);

pub fn all() -> Vec<Scene> {
    vec![
        unknown(),
        retry(),
        own_lease(),
        corrupt(),
        completion(),
        by_incarnation(),
        stale_claim_removed(),
        no_listing(),
        no_wait(),
        short_keep(),
        short_keep_under_drift(),
        no_window(),
        by_age(),
        after_the_deadline(),
        foreign_boot(),
        own_claim(),
        too_early(),
        highest_ever(),
        any_release(),
    ]
}

/// What the guarantee rests on is broken, not a rule.
pub fn beyond() -> Vec<Scene> {
    let drift = Setup {
        rates: vec![1, 3],
        leases: vec![8, 8],
        deadlines: vec![4, 4],
        horizon: 4,
        generations: 3,
        ..Setup::two("clocks 1:3 where 1:2 is allowed")
    };
    let cut = Setup {
        leases: vec![4, 4],
        loses: 3,
        horizon: 6,
        generations: 4,
        left: Left { cuts: 1, ..Left::default() },
        script: vec![Through(0, Look), Through(0, Claim), Through(1, Look)],
        ..Setup::two("a server that loses more ticks than lease less deadline")
    };
    vec![(drift, ONE_LEADS), (cut, ONE_LEADS)]
}

/// A server that loses what was not synced in the last ticks.
pub fn losing() -> Setup {
    Setup {
        leases: vec![4, 4],
        loses: 2,
        left: Left { cuts: 1, ..Left::default() },
        ..Setup::two("the last 2 ticks are lost")
    }
}

/// Rules that others stand behind: nothing comes of breaking one of them alone.
pub fn guarded() -> Vec<Setup> {
    let stale = Setup {
        sweeps: true,
        horizon: 6,
        generations: 7,
        left: Left { stale: 2, torn: 1, ..Left::default() },
        script: remembered(0, 1),
        ..Setup::two("a stale view, a torn listing")
    };
    let late = Setup {
        sweeps: true,
        horizon: 3,
        generations: 4,
        left: Left { late: 1, ..Left::default() },
        ..Setup::two("a late call, sweeps")
    };
    let mut setups = Vec::new();
    for mutant in [Mutant::NoListingBeforeAClaim, Mutant::PredecessorNotRead] {
        for setup in [&stale, &late] {
            setups.push(Setup { mutant: Some(mutant), ..setup.clone() });
        }
    }
    setups.push(Setup { mutant: Some(Mutant::NoListingBeforeAClaim), ..losing() });
    let mutant = Some(Mutant::RenewalAfterTheDeadline);
    let keeps_terms = true;
    setups.push(Setup { mutant, keeps_terms, ..late });
    setups
}

fn unknown() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::UnknownIsSuccess),
        horizon: 2,
        generations: 3,
        left: Left { late: 1, ..Left::default() },
        ..Setup::two("a late call")
    };
    (setup, ONE_LEADS)
}

/// A renewal was given up, arrived after all, and is seen by another candidate.
fn retry() -> Scene {
    let script = vec![
        Through(0, Look),
        Through(0, Claim),
        Ticks(1),
        Do(Act::Begin(0, Renew)),
        Do(Act::Delay(0)),
        Rest(0),
        Do(Act::Land(0)),
        Through(1, Look),
    ];
    let setup = Setup {
        mutant: Some(Mutant::RenewalTimedFromItsRetry),
        leases: vec![3, 3],
        deadlines: vec![3, 3],
        generations: 4,
        script,
        ..Setup::two("a late renewal")
    };
    (setup, ONE_LEADS)
}

fn own_lease() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::OwnLease),
        leases: vec![4, 2],
        deadlines: vec![4, 2],
        generations: 4,
        ..Setup::two("leases of 4 and 2")
    };
    (setup, ONE_LEADS)
}

fn corrupt() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::CorruptIsOwnLease),
        leases: vec![4, 2],
        deadlines: vec![4, 2],
        corrupt: 4,
        generations: 4,
        left: Left { corruptions: 1, ..Left::default() },
        is_large: true,
        ..Setup::two("leases of 4 and 2, a corruption")
    };
    (setup, ONE_LEADS)
}

/// Its completion is on its way when it falls asleep; others lead, and sweep.
fn completion() -> Scene {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(1, Look), Ticks(1)];
    script.extend([Do(Act::Begin(0, Complete)), Calls(0, 1), Ticks(1), Through(1, Claim)]);
    script.extend(reign(1, 2));
    script.extend(reign(1, 2));
    let setup = Setup {
        mutant: Some(Mutant::CompletionWithoutItsListing),
        sweeps: true,
        horizon: 7,
        generations: 8,
        script,
        ..Setup::two("a completion that sleeps")
    };
    (setup, COMPLETED)
}

/// For so many ticks a leader renews at each, and then it sweeps.
fn reign(i: usize, ticks: u64) -> Vec<Line> {
    let mut lines: Vec<Line> = (0..ticks).flat_map(|_| [Ticks(1), Through(i, Renew)]).collect();
    lines.push(Through(i, Sweep));
    lines
}

/// A claim that was given up has arrived after all, and somebody else waits for it.
fn by_incarnation() -> Scene {
    let script = vec![
        Through(0, Look),
        Do(Act::Begin(0, Claim)),
        Calls(0, 1),
        Do(Act::Delay(0)),
        Rest(0),
        Do(Act::Land(0)),
        Through(1, Look),
        Ticks(1),
    ];
    let setup = Setup {
        mutant: Some(Mutant::MineByIncarnation),
        horizon: 4,
        generations: 3,
        left: Left { stale: 2, ..Left::default() },
        script,
        is_large: true,
        ..Setup::two("its own late claim stands there")
    };
    (setup, ONE_LEADS)
}

fn stale_claim_removed() -> Scene {
    let script = vec![Through(0, Look), Do(Act::Begin(0, Claim)), Calls(0, 2), Ticks(2)];
    let setup = Setup {
        mutant: Some(Mutant::RemovesItsStaleClaim),
        horizon: 4,
        generations: 3,
        left: Left { twice: 1, ..Left::default() },
        script,
        ..Setup::two("a claim that took too long")
    };
    (setup, ONE_LEADS)
}

/// One candidate leads; the client of another remembers the log as it was when only the first
/// generation stood there, and the second has been swept.
pub fn remembered(leader: usize, other: usize) -> Vec<Line> {
    let mut script = vec![Through(leader, Look), Through(leader, Claim), Through(other, Look)];
    script.extend(reign(leader, 2));
    script.extend(reign(leader, 2));
    script
}

fn no_listing() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::NoListingAfterAClaim),
        sweeps: true,
        horizon: 6,
        generations: 7,
        left: Left { stale: 2, ..Left::default() },
        script: remembered(0, 1),
        is_large: true,
        ..Setup::two("a stale view")
    };
    (setup, ONE_LEADS)
}

/// A stale claim has just begun the listing that is to prove it.
fn in_flight(i: usize) -> Vec<Line> {
    vec![
        Do(Act::Begin(i, Claim)),
        Do(Act::Remember(i)),
        Calls(i, 4),
        Do(Act::Remember(i)),
        Do(Act::BeginListing(i)),
    ]
}

fn no_wait() -> Scene {
    let mut script = remembered(0, 1);
    script.push(Ticks(1));
    script.extend(in_flight(1));
    let setup = Setup {
        mutant: Some(Mutant::SweepWithoutItsWait),
        sweeps: true,
        horizon: 6,
        generations: 7,
        script,
        ..Setup::two("a stale claim in flight")
    };
    (setup, ONE_LEADS)
}

fn short_keep() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::KeepShorterThanTheWindow),
        leases: vec![4, 4],
        deadlines: vec![4, 4],
        keep: 4,
        sweeps: true,
        horizon: 14,
        generations: 14,
        script: about_to_sweep(),
        ..Setup::two("a stale claim in flight, windows of 4")
    };
    (setup, ONE_LEADS)
}

/// Half of what is kept is as long as the window, but on a clock that is twice as fast.
fn short_keep_under_drift() -> Scene {
    let setup = Setup {
        mutant: Some(Mutant::KeepShorterThanTheWindow),
        rates: vec![2, 1],
        leases: vec![8, 8],
        deadlines: vec![4, 4],
        keep: 8,
        sweeps: true,
        horizon: 14,
        generations: 14,
        script: about_to_sweep(),
        ..Setup::two("a stale claim in flight, windows of 4, clocks 2:1")
    };
    (setup, ONE_LEADS)
}

fn about_to_sweep() -> Vec<Line> {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(1, Look)];
    script.extend(reign(0, 4));
    script.extend(reign(0, 4));
    script.extend([Ticks(1), Through(0, Renew), Ticks(1)]);
    script.extend(in_flight(1));
    script
}

fn no_window() -> Scene {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(1, Look)];
    script.extend(reign(0, 4));
    script.extend(reign(0, 4));
    script.push(Ticks(4));
    script.extend(in_flight(1));
    let setup = Setup {
        mutant: Some(Mutant::NoAttemptWindow),
        leases: vec![8, 8],
        deadlines: vec![8, 8],
        keep: 4,
        sweeps: true,
        horizon: 17,
        generations: 14,
        script,
        is_large: true,
        ..Setup::two("a stale claim in flight, a deadline longer than the window")
    };
    (setup, ONE_LEADS)
}

fn by_age() -> Scene {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(1, Look)];
    script.extend([Ticks(3), Through(0, Renew), Ticks(1), Through(0, Sweep)]);
    script.extend([Ticks(2), Through(0, Renew), Ticks(2), Through(0, Sweep)]);
    script.extend([Ticks(1), Through(0, Renew), Ticks(3), Through(0, Renew), Through(0, Sweep)]);
    script.push(Ticks(3));
    script.extend(in_flight(1));
    let setup = Setup {
        mutant: Some(Mutant::SweepByAge),
        leases: vec![4, 4],
        deadlines: vec![4, 4],
        keep: 4,
        sweeps: true,
        dated: true,
        horizon: 17,
        generations: 8,
        script,
        ..Setup::two("a stale claim in flight, a head that stood long")
    };
    (setup, ONE_LEADS)
}

fn after_the_deadline() -> Scene {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(1, Look), Ticks(2)];
    script.push(Through(1, Claim));
    script.extend(reign(1, 2));
    script.extend(reign(1, 2));
    let setup = Setup {
        mutant: Some(Mutant::RenewalAfterTheDeadline),
        sweeps: true,
        keeps_terms: true,
        horizon: 8,
        generations: 8,
        left: Left { stale: 1, refused: 1, ..Left::default() },
        script,
        is_large: true,
        ..Setup::two("a leader of before, its links refused, its view stale")
    };
    (setup, ONE_LEADS)
}

/// Candidate 2 remembers an old log, and its claim is in flight; 0 leads.
fn three_in_flight(then: Vec<Line>) -> Vec<Line> {
    let mut script = remembered(0, 2);
    script.extend(in_flight(2));
    script.extend(then);
    script
}

fn foreign_boot() -> Scene {
    let then = vec![
        Through(0, Release),
        Through(1, Look),
        Through(1, Claim),
        Through(1, Release),
        Through(0, Look),
        Through(0, Claim),
    ];
    let setup = Setup {
        mutant: Some(Mutant::WitnessOfAForeignBoot),
        offsets: vec![8, 0, 0],
        sweeps: true,
        witnesses: true,
        horizon: 4,
        generations: 10,
        script: three_in_flight(then),
        ..Setup::three("three, a stale claim in flight, witnesses of other boots")
    };
    (setup, ONE_LEADS)
}

fn own_claim() -> Scene {
    let mut script = remembered(0, 2);
    script.extend([Through(1, Look), Ticks(2)]);
    script.extend(in_flight(2));
    let setup = Setup {
        mutant: Some(Mutant::WitnessOfItsOwnClaim),
        sweeps: true,
        horizon: 7,
        generations: 8,
        script,
        is_large: true,
        ..Setup::three("three, a stale claim in flight, a lease that ran out")
    };
    (setup, ONE_LEADS)
}

fn too_early() -> Scene {
    let mut script = vec![Through(0, Look), Through(0, Claim), Through(2, Look)];
    script.extend(reign(0, 2));
    script.extend([Ticks(1), Through(0, Renew), Do(Act::Begin(1, Look))]);
    script.extend([Ticks(1), Through(0, Renew), Through(0, Sweep), Ticks(1)]);
    script.extend(in_flight(2));
    script.push(Through(0, Release));
    let setup = Setup {
        mutant: Some(Mutant::WitnessReadTooEarly),
        sweeps: true,
        horizon: 6,
        generations: 8,
        script,
        is_large: true,
        ..Setup::three("three, a stale claim in flight, a look that slept")
    };
    (setup, ONE_LEADS)
}

fn highest_ever() -> Scene {
    let script = vec![
        Through(0, Look),
        Through(0, Claim),
        Ticks(1),
        Through(0, Renew),
        Ticks(1),
        Through(0, Renew),
        Through(1, Look),
        Do(Act::PowerCut),
        Through(1, Look),
        Through(2, Look),
        Ticks(4),
    ];
    let setup = Setup {
        mutant: Some(Mutant::ClaimAboveTheHighestEverSeen),
        leases: vec![4; 3],
        loses: 2,
        horizon: 7,
        generations: 6,
        goes_back: true,
        script,
        ..Setup::three("three, a loss of renewals")
    };
    (setup, ONE_LEADS)
}

fn any_release() -> Scene {
    let script = vec![
        Through(0, Look),
        Through(0, Claim),
        Through(1, Look),
        Ticks(1),
        Through(0, Renew),
        Do(Act::Begin(0, Release)),
        Calls(0, 1),
        Do(Act::Delay(0)),
        Rest(0),
        Do(Act::PowerCut),
        Ticks(3),
        Through(1, Claim),
        Do(Act::Land(0)),
    ];
    let setup = Setup {
        mutant: Some(Mutant::AnyReleaseIsHonoured),
        leases: vec![4; 3],
        loses: 2,
        horizon: 6,
        generations: 6,
        script,
        ..Setup::three("three, a loss of renewals, a late release")
    };
    (setup, ONE_LEADS)
}
