//! Calls on the lock that hang for three leases, by strace.

use std::process::Command;

use rustix::process::Signal;

use crate::support::{Elect, FAST, Place, elect_path, is_alive, signal, wait_for, wait_until};
use crate::{candidate, ledger};

/// Three leases, in microseconds.
const HANG: &str = "3000000";

pub fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let may = traced.is_ok_and(|status| status.success());
    if !may {
        println!("skipped: strace can't be used here; install it, and permit ptrace");
    }
    may
}

/// `elect run --repeat` under strace, but not its guard: `call` on the lock hangs from the
/// `from`-th time on, before or after it is carried out.
fn start_hanging(place: &Place, call: &str, from: usize, delay: &str) -> Elect {
    // strace knows a path that is there.
    let _ = std::fs::create_dir(place.path("lock"));
    let lock = place.path("lock").display().to_string();
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:{delay}={HANG}:when={from}+"));
    let mut strace = "strace -f -b execve -qq -o /dev/null".split(' ').collect::<Vec<_>>();
    strace.extend(["-P", &lock, "-e", &trace, "-e", &inject]);
    candidate::start_below(place, &strace, &lock, "log")
}

/// The process `elect` below strace.
fn traced(strace: &Elect) -> rustix::process::Pid {
    strace.guard()
}

#[test]
fn the_work_of_a_leader_whose_renewal_hangs_ends_in_time() {
    if !may_trace() {
        return;
    }
    std::thread::scope(|scope| {
        for (call, from, delay) in [
            ("linkat", 4, "delay_enter"),
            ("linkat", 4, "delay_exit"),
            ("readlinkat", 8, "delay_enter"),
        ] {
            scope.spawn(move || renewal_hangs(call, from, delay));
        }
    });
}

fn renewal_hangs(call: &str, from: usize, delay: &str) {
    let place = Place::new();
    let mut strace = start_hanging(&place, call, from, delay);
    let first = ledger::wait_for_later(&place, 0);
    let elect = traced(&strace);
    let mut other = candidate::start(&place, "lock", "other.log");
    let second = wait_for("a later term", || {
        ledger::lines(&place).into_iter().find(|line| line.token > first.token)
    });
    let lines = ledger::lines(&place);
    let spare = second.at.saturating_sub(ledger::end_of(&lines, first.token));
    println!("{call}, {delay}: {spare:?} between the last line of one and the first of the other");
    assert_eq!(ledger::refused(&lines), [], "{call}, {delay}");
    assert!(is_alive(elect), "{call}, {delay}: a hung call ended elect");
    wait_until("word of the reason", || {
        let log = place.read("log");
        let path = place.path("lock").display().to_string();
        log.contains("lost the lease: no renewal was confirmed") && log.contains(&path)
    });
    signal(elect, Signal::TERM);
    strace.code();
    other.signal(Signal::TERM);
    other.code();
}

/// A claim that is sent after its deadline would be nobody's, and yet be waited for by others.
#[test]
fn no_claim_is_sent_late_where_a_directory_for_companions_hangs() {
    if !may_trace() {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.path("runtime")).expect("a directory");
    let runtime = place.path("runtime").display().to_string();
    let inject = format!("inject=open,openat:delay_enter={HANG}:when=1");
    let led = Command::new("timeout")
        .args(["60", "strace", "-f", "-b", "execve", "-qq", "-o", "/dev/null", "-P", &runtime])
        .args(["-e", "trace=open,openat", "-e", &inject])
        .args([elect_path(), "run", "--lock", "lock"])
        .args(FAST)
        .args(["--", "printenv", "ELECT_FENCING_TOKEN"])
        .env("XDG_RUNTIME_DIR", &runtime)
        .current_dir(&place)
        .output()
        .expect("strace starts");
    let said = String::from_utf8_lossy(&led.stderr);
    assert_eq!(String::from_utf8_lossy(&led.stdout), "1\n", "{said}");
    assert!(said.contains("no time is left to send it"), "{said}");
}
