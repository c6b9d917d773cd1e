//! What is done to a candidate, and to which part of it.

use std::time::Duration;

use rustix::process::Pid;

use crate::machine::Dice;
use crate::support::children_of;

/// The part of a candidate that is hit. Whoever does not lead is `elect` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Elect,
    Guard,
    ElectAndGuard,
    Command,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill(Whom),
    /// SIGTERM to `elect`.
    Term,
    Freeze(Whom),
}

/// Each of them, for the report.
pub const KINDS: [Kind; 9] = [
    Kind::Kill(Whom::Elect),
    Kind::Kill(Whom::Guard),
    Kind::Kill(Whom::ElectAndGuard),
    Kind::Kill(Whom::Command),
    Kind::Kill(Whom::All),
    Kind::Term,
    Kind::Freeze(Whom::Elect),
    Kind::Freeze(Whom::Guard),
    Kind::Freeze(Whom::All),
];

impl Kind {
    /// Five kills for a freeze.
    pub fn any(dice: &mut Dice, leads: bool) -> Self {
        let whom = match dice.below(5) {
            _ if !leads => Whom::Elect,
            0 => Whom::Elect,
            1 => Whom::Guard,
            2 => Whom::ElectAndGuard,
            3 => Whom::Command,
            _ => Whom::All,
        };
        match (dice.below(100), whom) {
            (0..72, whom) => Kind::Kill(whom),
            (72..80, _) => Kind::Term,
            (_, Whom::ElectAndGuard | Whom::Command) => Kind::Freeze(Whom::All),
            (_, whom) => Kind::Freeze(whom),
        }
    }

    pub fn is_freeze(self) -> bool {
        matches!(self, Kind::Freeze(_))
    }
}

#[derive(Debug)]
pub struct Harm {
    pub kind: Kind,
    pub at: Duration,
    /// The end of a freeze; the same as `at` otherwise.
    pub until: Duration,
    /// The term that it hit, if the candidate led.
    pub token: Option<u64>,
}

/// The processes of a candidate that `whom` means, top down: `elect`, its guard, COMMAND.
pub fn parts(elect: Pid, whom: Whom) -> Vec<Pid> {
    if whom == Whom::Elect {
        return vec![elect];
    }
    let guard = children_of(elect).first().copied();
    let command = guard.and_then(|guard| children_of(guard).first().copied());
    let found: Vec<Pid> = match whom {
        Whom::Elect => unreachable!("is answered above"),
        Whom::Guard => guard.into_iter().collect(),
        Whom::ElectAndGuard => [Some(elect), guard].into_iter().flatten().collect(),
        Whom::Command => command.into_iter().collect(),
        Whom::All => tree(elect),
    };
    // Its term has just ended.
    if found.is_empty() { vec![elect] } else { found }
}

/// A process and all below it.
fn tree(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children_of(*pid));
        next += 1;
    }
    found
}
