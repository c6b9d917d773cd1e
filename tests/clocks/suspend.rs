//! A machine that is suspended: CLOCK_BOOTTIME has gone on when it wakes, CLOCK_MONOTONIC has not.

use std::time::Duration;

use crate::ledger;
use crate::machine::{LEASE, Machine};
use crate::support::{Place, is_alive, now, pause, wait_until};

/// More than a lease, and nothing like it passes in truth.
const SUSPEND: Duration = Duration::from_secs(100);

#[cfg_attr(rustix_use_libc, test)]
fn a_leader_that_was_suspended_for_long_leads_no_more() {
    let place = Place::new();
    let leader = Machine::start(&place, "a", 1.0);
    let first = ledger::wait_for_later(&place, 0);
    let command = leader.command();
    leader.suspend(SUSPEND);
    let resumed = now();
    wait_until("the end of its command", || !is_alive(command));
    println!("COMMAND had ended {:?} after the suspend", now().saturating_sub(resumed));
    wait_until("word of the reason", || leader.log().contains("lost the lease"));
    // Nobody else is there, so only the suspend can have ended the term.
    let next = ledger::wait_for_later(&place, first.token);
    assert!(next.token > first.token);
    assert_eq!(ledger::refused(&ledger::lines(&place)), []);
}

#[cfg_attr(rustix_use_libc, test)]
fn a_candidate_that_was_suspended_looks_again_before_it_claims() {
    let place = Place::new();
    let leader = Machine::start(&place, "a", 1.0);
    let first = ledger::wait_for_later(&place, 0);
    let waiting = Machine::start(&place, "b", 1.0);
    waiting.wait_until_it_follows("a");
    // By the clock of the one that waits, the leader's last renewal is older than its lease.
    waiting.suspend(SUSPEND);
    let resumed = now();
    wait_until("some more leases", || now() > resumed + LEASE * 2);
    let lines = ledger::lines(&place);
    assert!(lines.iter().all(|line| line.token == first.token), "{:?}", lines.last());
    assert!(lines.last().is_some_and(|line| line.at > resumed + LEASE), "nobody leads any more");
    assert!(!leader.log().contains("lost"), "{}", leader.log());
}

#[cfg_attr(rustix_use_libc, test)]
fn a_leader_and_a_candidate_that_were_suspended_together_do_not_both_go_on() {
    let place = Place::new();
    let leader = Machine::start(&place, "a", 1.0);
    let first = ledger::wait_for_later(&place, 0);
    let waiting = Machine::start(&place, "b", 1.0);
    waiting.wait_until_it_follows("a");
    let command = leader.command();
    waiting.suspend(SUSPEND);
    leader.suspend(SUSPEND);
    let resumed = now();
    wait_until("the end of the command", || !is_alive(command));
    ledger::wait_for_later(&place, first.token);
    pause(LEASE);
    // Frozen as a whole, it may go on for a moment; a fenced resource refuses it.
    let refused = ledger::refused(&ledger::lines(&place));
    println!("{} lines of the suspended leader were refused", refused.len());
    assert!(refused.iter().all(|line| line.at < resumed + LEASE / 2), "{refused:?}");
}
