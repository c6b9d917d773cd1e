//! The guard that is started before its term, and what becomes of it where no term comes.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::support::{
    Elect, Place, can_trace, children_of, elect_path, is_alive, run, signal, wait_for,
    wait_for_exit, wait_until,
};

/// One that leads until it is told to end.
fn leader(place: &Place) -> Elect {
    let leader = run(place).script("echo $$ > leader; exec sleep 600").start();
    place.wait_for_pid("leader");
    leader
}

/// One that waits beside a leader, with its guard.
fn waiter(place: &Place) -> (Elect, Pid) {
    let waiter = run(place).with(["--retry-period", "50ms"]).script("echo $$ > led");
    let waiter = waiter.stderr(File::create(place.path("says")).unwrap().into()).start();
    // By then it heeds signals.
    wait_until("who leads", || place.read("says").contains(" leads"));
    let guard = waiter.guard();
    wait_until("a guard that waits", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", guard.as_raw_nonzero()));
        name.is_ok_and(|name| name.trim_end() == "leader-guard")
    });
    (waiter, guard)
}

#[test]
fn a_candidate_that_waits_has_its_guard_ready_and_leads_with_it() {
    let place = Place::new();
    let leader = leader(&place);
    let waiter = run(&place).script("echo $PPID > led; exec sleep 600").start();
    let guard = waiter.guard();
    leader.signal(Signal::TERM);
    assert_eq!(place.wait_for_pid("led"), guard);
}

#[test]
fn a_candidate_that_is_told_to_end_leaves_no_guard() {
    let place = Place::new();
    let _leader = leader(&place);
    let (mut waiter, guard) = waiter(&place);
    waiter.signal(Signal::TERM);
    assert_eq!(waiter.code(), Some(143));
    // It has waited for that.
    assert!(!is_alive(guard));
    assert_eq!(place.read("led"), "");
}

#[test]
fn a_guard_that_waits_ends_with_elect_and_runs_nothing() {
    let place = Place::new();
    let leader = leader(&place);
    let (mut waiter, guard) = waiter(&place);
    waiter.signal(Signal::KILL);
    waiter.code();
    // Whoever reads what they write, as in `elect run … | cat`, is not kept waiting.
    let mut stdout = String::new();
    waiter.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    wait_until("the end of the guard", || !is_alive(guard));
    drop(leader);
    assert_eq!(place.read("led"), "");
}

#[test]
fn a_guard_that_was_killed_while_it_waited_is_replaced() {
    let place = Place::new();
    let leader = leader(&place);
    let (mut waiter, guard) = waiter(&place);
    signal(guard, Signal::KILL);
    wait_until("the end of the guard", || !is_alive(guard));
    leader.signal(Signal::TERM);
    assert_eq!(waiter.code(), Some(0));
    assert_ne!(place.read("led"), "");
}

#[test]
fn a_guard_that_was_frozen_while_it_waited_runs_nothing_after_the_term() {
    let place = Place::new();
    let leader = leader(&place);
    let waiting = run(&place).with(["--term-limit", "300ms", "--kill-after", "100ms"]);
    let mut waiter = waiting.script("echo $$ > led").start();
    let guard = waiter.guard();
    signal(guard, Signal::STOP);
    leader.signal(Signal::TERM);
    // The guard can't say that nothing is left, so it is ended by force.
    assert_eq!(waiter.code(), Some(137));
    assert!(!is_alive(guard));
    assert_eq!(place.read("led"), "");
}

#[test]
fn a_guard_that_was_frozen_while_it_waited_does_not_keep_the_lock_from_others() {
    let place = Place::new();
    let leader = leader(&place);
    let timing =
        ["--lease-duration", "2s", "--renew-deadline", "1500ms", "--retry-period", "100ms"];
    let mut waiter = run(&place).with(timing).script("echo $$ > led").start();
    let guard = waiter.guard();
    signal(guard, Signal::STOP);
    leader.signal(Signal::TERM);
    // No limit of its term: by force, since it does not answer.
    assert_eq!(waiter.code(), Some(137));
    assert_eq!(place.read("led"), "");
}

#[test]
fn a_guard_that_was_held_up_before_it_was_executed_runs_nothing_after_the_term() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    // Longer than the term, and than it takes until it is ended by force.
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P", "/proc/self/exe"])
        .args(["-e", "inject=execve:delay_enter=4000000", elect_path(), "run", "--lock", "lock"])
        .args(["--term-limit", "300ms", "--kill-after", "100ms", "--", "touch", "ran"])
        .current_dir(&place)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // By force: it can't say that nothing is left.
    assert_eq!(wait_for_exit(&mut strace).code(), Some(137));
    assert!(!place.path("ran").exists());
}

#[test]
fn each_term_has_a_guard_of_its_own_and_none_is_left() {
    let place = Place::new();
    let words = ["--repeat", "--lease-duration", "1s", "--retry-period", "50ms"];
    let mut elect = run(&place).with(words).script("echo $PPID >> guards").start();
    wait_until("three terms", || place.read("guards").lines().count() >= 3);
    elect.signal(Signal::TERM);
    elect.code();
    let mut guards: Vec<i32> =
        place.read("guards").lines().map(|line| line.trim().parse().unwrap()).collect();
    let terms = guards.len();
    assert!(guards.iter().all(|guard| !is_alive(Pid::from_raw(*guard).unwrap())));
    guards.sort_unstable();
    guards.dedup();
    assert_eq!(guards.len(), terms);
}

#[test]
fn a_candidate_that_does_not_get_to_lead_reads_nothing() {
    let place = Place::new();
    let _leader = leader(&place);
    let (mut read, write) = std::io::pipe().unwrap();
    let waiting = run(&place).with(["--wait", "0"]).stdin(read.try_clone().unwrap().into());
    let mut waiter = waiting.script("cat").start();
    std::io::Write::write_all(&mut &write, b"for whoever leads\n").unwrap();
    drop(write);
    assert_eq!(waiter.code(), Some(75));
    wait_for("its end", || children_of(waiter.pid()).is_empty().then_some(()));
    let mut left = String::new();
    read.read_to_string(&mut left).unwrap();
    assert_eq!(left, "for whoever leads\n");
}
