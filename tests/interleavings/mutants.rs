//! Broken primitives under the same scenarios: a harness that finds nothing there would find
//! nothing at all.

use leaderelection::testing::{Mutant, with_mutant};

use crate::{fails, scenarios};

#[test]
fn a_swap_that_is_not_atomic_revives_validity() {
    assert!(with_mutant(Mutant::TornExchange, || fails(scenarios::validity)));
}

#[test]
fn a_disconnect_that_wakes_nobody_hangs() {
    assert!(with_mutant(Mutant::SilentDisconnect, || fails(scenarios::runs)));
}

#[test]
fn a_wait_that_is_announced_too_late_hangs() {
    assert!(with_mutant(Mutant::LateRegistration, || fails(scenarios::runs)));
}

#[test]
fn a_wait_that_is_announced_too_late_hangs_a_pool() {
    assert!(with_mutant(Mutant::LateRegistration, || fails(scenarios::pooled)));
}

#[test]
fn a_channel_that_forgets_hangs_or_loses_a_result() {
    assert!(with_mutant(Mutant::ForgetfulChannel, || fails(scenarios::runs)));
}

#[test]
fn a_step_of_which_the_election_thread_hears_nothing_hangs() {
    assert!(with_mutant(Mutant::SilentVisit, || fails(scenarios::runs)));
}
