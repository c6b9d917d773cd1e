//! A candidate that stood still as a whole for longer than its lease.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::hung::may_trace;
use crate::support::{FAST, Place, children_of, is_alive, run, signal, wait_for, wait_until};

/// Its command goes on with it, and each moment until that is dead is one of two leaders. To look
/// for what has escaped takes a while on a machine with many processes.
#[test]
fn a_guard_that_learns_late_of_the_loss_kills_before_it_looks_around() {
    if !may_trace() {
        return;
    }
    let place = Place::new();
    let mut elect =
        run(&place).with(FAST).script("trap '' TERM; : > deaf; while :; do sleep 0.01; done");
    elect = elect.stderr(Stdio::null());
    let elect = elect.start();
    let guard = elect.guard();
    let command = wait_for("COMMAND", || children_of(guard).first().copied());
    wait_until("a command that is deaf", || place.path("deaf").exists());
    let all: [Pid; 3] = [command, guard, elect.pid()];
    all.iter().for_each(|pid| signal(*pid, Signal::STOP));
    let trace = place.path("trace");
    let mut strace = Command::new("strace")
        .args(["-qq", "-e", "trace=kill,getdents64", "-o"])
        .arg(&trace)
        .args(["-p", &guard.as_raw_nonzero().to_string()])
        .spawn()
        .expect("strace starts");
    wait_until("strace", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", guard.as_raw_nonzero()));
        status.is_ok_and(|text| !text.contains("TracerPid:\t0\n"))
    });
    crate::support::pause(std::time::Duration::from_millis(1200));
    all.iter().for_each(|pid| signal(*pid, Signal::CONT));
    wait_until("the end of the command", || !is_alive(command));
    wait_until("the end of the guard", || strace.try_wait().expect("wait").is_some());
    let calls = place.read("trace");
    let kill = calls.find("SIGKILL").expect("a kill");
    let look = calls.find("getdents64").expect("a look");
    assert!(kill < look, "{calls}");
}
