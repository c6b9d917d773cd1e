//! Two machines whose clocks run at different rates, and a leader that is lost again and again.

use rustix::process::Signal;

use crate::ledger::{self, Line};
use crate::machine::Machine;
use crate::support::{Place, is_alive, signal, wait_until};

/// How many lines a fenced resource has refused in each of the losses.
struct Refused {
    /// `elect` stood still, and its guard ended the command by its own clock.
    frozen: Vec<usize>,
    /// `elect` was killed.
    killed: Vec<usize>,
}

fn rounds() -> usize {
    std::env::var("ELECT_CLOCKS_ROUNDS").map_or(3, |text| text.parse().expect("a number"))
}

/// The slow one leads and is lost, then the fast one, and so on.
fn lose_leaders(slow: f64, fast: f64) -> Refused {
    let place = Place::new();
    let mut refused = Refused { frozen: Vec::new(), killed: Vec::new() };
    let mut leader = Machine::start(&place, "slow0", slow);
    let mut term = ledger::wait_for_later(&place, 0);
    for round in 1..=rounds() {
        let follower = Machine::start(&place, &format!("fast{round}"), fast);
        follower.wait_until_it_follows(&leader.name);
        let command = leader.command();
        signal(leader.pid(), Signal::STOP);
        term = next(&place, term, command, &mut refused.frozen);
        drop(leader);
        // Now the fast one leads.
        leader = Machine::start(&place, &format!("slow{round}"), slow);
        leader.wait_until_it_follows(&follower.name);
        let command = follower.command();
        signal(follower.pid(), Signal::KILL);
        term = next(&place, term, command, &mut refused.killed);
    }
    println!(
        "clocks at {slow} and {fast}: {} terms; lines refused after a freeze {:?}, after a kill {:?}",
        2 * rounds() + 1,
        refused.frozen,
        refused.killed
    );
    refused
}

/// Waits for the next term, and for the end of the command of the last one.
fn next(
    place: &Place,
    last: Line,
    command: rustix::process::Pid,
    refused: &mut Vec<usize>,
) -> Line {
    let next = ledger::wait_for_later(place, last.token);
    wait_until("the end of the last command", || !is_alive(command));
    let lines = ledger::lines(place);
    let of_these = |line: &&Line| line.token == last.token;
    refused.push(ledger::refused(&lines).iter().filter(of_these).count());
    next
}

#[test]
fn inside_the_bound_no_two_lead_at_once() {
    for (slow, fast) in [(0.96, 1.04), (0.951, 1.049)] {
        let refused = lose_leaders(slow, fast);
        assert!(refused.frozen.iter().chain(&refused.killed).all(|lines| *lines == 0));
    }
}

#[test]
fn outside_the_bound_two_can_lead_at_once_and_fencing_refuses_the_older() {
    let refused = lose_leaders(0.8, 1.25);
    // The slow clock still allows what the fast one has long given up.
    assert!(refused.frozen.iter().any(|lines| *lines > 0), "the clocks have made no difference");
    assert!(
        refused.killed.iter().all(|lines| *lines == 0),
        "the command of a killed elect went on"
    );
}
