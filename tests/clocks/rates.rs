//! Two machines whose clocks run at different rates, and a leader that is lost again and again.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::lag::{Lag, monotonic};
use crate::ledger::{self, Line};
use crate::machine::Machine;
use crate::support::{Place, is_alive, signal, wait_until};

/// A thread that sleeps and is so late shows that this machine gave time to nobody: what a guard
/// does too late then says nothing about clocks.
const STOOD_STILL: Duration = Duration::from_millis(50);

/// How many lines a fenced resource has refused in each of the losses.
#[derive(Debug, Default)]
struct Refused {
    /// `elect` stood still, and its guard ended the command by its own clock.
    frozen: Vec<usize>,
    /// `elect` was killed.
    killed: Vec<usize>,
    /// Losses that don't count, since the machine stood still.
    void: Vec<usize>,
}

fn rounds() -> usize {
    std::env::var("ELECT_CLOCKS_ROUNDS").map_or(3, |text| text.parse().expect("a number"))
}

/// The slow one leads and is lost, then the fast one, and so on.
fn lose_leaders(slow: f64, fast: f64) -> Refused {
    let place = Place::new();
    let lag = Lag::start();
    let mut refused = Refused::default();
    let mut leader = Machine::start(&place, "slow0", slow);
    let mut term = ledger::wait_for_later(&place, 0);
    for round in 1..=rounds() {
        let follower = Machine::start(&place, &format!("fast{round}"), fast);
        follower.wait_until_it_follows(&leader.name);
        let command = leader.command();
        signal(leader.pid(), Signal::STOP);
        let (next, lines) = lose(&place, &lag, term, command);
        lines.map_or_else(|lines| refused.void.push(lines), |lines| refused.frozen.push(lines));
        drop(leader);
        // Now the fast one leads.
        leader = Machine::start(&place, &format!("slow{round}"), slow);
        leader.wait_until_it_follows(&follower.name);
        let command = follower.command();
        signal(follower.pid(), Signal::KILL);
        let (next, lines) = lose(&place, &lag, next, command);
        lines.map_or_else(|lines| refused.void.push(lines), |lines| refused.killed.push(lines));
        term = next;
    }
    println!("clocks at {slow} and {fast}, lines refused in {} terms: {refused:?}", 2 * rounds());
    refused
}

/// Waits for the next term, and for the end of the command of the last one. How many of its lines
/// were refused; an error where that does not count.
fn lose(place: &Place, lag: &Lag, last: Line, command: Pid) -> (Line, Result<usize, usize>) {
    let from = monotonic();
    let next = ledger::wait_for_later(place, last.token);
    wait_until("the end of the last command", || !is_alive(command));
    let lines = ledger::lines(place);
    let of_these = |line: &&Line| line.token == last.token;
    let refused = ledger::refused(&lines).iter().filter(of_these).count();
    let stood_still = lag.longest(from, monotonic()) > STOOD_STILL;
    (next, if stood_still { Err(refused) } else { Ok(refused) })
}

#[cfg_attr(rustix_use_libc, test)]
fn inside_the_bound_no_two_lead_at_once() {
    for (slow, fast) in [(0.96, 1.04), (0.951, 1.049)] {
        let refused = lose_leaders(slow, fast);
        let none = refused.frozen.iter().chain(&refused.killed).all(|lines| *lines == 0);
        assert!(none, "clocks at {slow} and {fast}: {refused:?}");
    }
}

#[cfg_attr(rustix_use_libc, test)]
fn outside_the_bound_two_can_lead_at_once_and_fencing_refuses_the_older() {
    let refused = lose_leaders(0.8, 1.25);
    // The slow clock still allows what the fast one has long given up.
    assert!(refused.frozen.iter().any(|lines| *lines > 0), "the clocks have made no difference");
    assert!(
        refused.killed.iter().all(|lines| *lines == 0),
        "the command of a killed elect went on"
    );
}
