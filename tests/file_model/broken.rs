//! Each rule broken on purpose: the checker must find what comes of it, and nothing where the rule
//! is kept.

use crate::mutants::Mutant;
use crate::scene::{ONE_LEADS, Setup};
use crate::{exhaust, expect_violation, is_long, scenes};

#[test]
fn every_broken_rule_is_caught() {
    for (setup, property) in scenes::all() {
        expect_violation(setup, property);
    }
}

/// It is the broken rule that does it.
#[test]
fn no_scene_breaks_while_the_rules_are_kept() {
    for (setup, _) in scenes::all() {
        if is_long() || !setup.is_large {
            exhaust(Setup { mutant: None, ..setup });
        }
    }
}

#[test]
fn a_rule_that_others_stand_behind_breaks_nothing_alone() {
    if is_long() {
        scenes::guarded().into_iter().for_each(exhaust);
    }
}

#[test]
fn beyond_its_assumptions_two_may_lead() {
    for (setup, property) in scenes::beyond() {
        expect_violation(setup, property);
    }
}

/// Where the server loses a name, another of that number may stand there.
#[test]
fn a_predecessor_that_is_not_read_is_caught_where_names_are_lost() {
    if is_long() {
        let mutant = Some(Mutant::PredecessorNotRead);
        expect_violation(Setup { mutant, ..scenes::losing() }, ONE_LEADS);
    }
}
