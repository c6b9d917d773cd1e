//! `elect` killed at each system call on its lock, by strace: the next candidate leads all the
//! same, with a higher token.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leaderelection::crossbeam_channel::{bounded, unbounded};

/// A system call and how often it is made on the lock in a term of half a second.
const CALLS: [(&str, usize); 8] = [
    ("open", 8),
    ("mkdirat", 1),
    ("fchmodat", 1),
    ("getdents64", 6),
    ("symlinkat", 2),
    ("readlinkat", 6),
    ("fsync", 1),
    ("linkat", 3),
];

const ELECT: &str = env!("CARGO_BIN_EXE_elect");
const LEASE: [&str; 6] =
    ["--lease-duration", "1s", "--renew-deadline", "600ms", "--retry-period", "100ms"];

/// Runs it, but not for ever.
fn run(command: &mut Command) -> ExitStatus {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let patience = Duration::from_secs(30);
    let (gone, ticks) = bounded::<()>(0);
    for _ in 0..patience.as_millis() / 10 {
        if let Some(status) = child.try_wait().unwrap() {
            drop(gone);
            return status;
        }
        let _ = ticks.recv_timeout(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("{command:?} has not ended after {patience:?}");
}

/// `elect run` on `lock` with a command that writes its token to `ledger` and stays for a while.
fn arguments(lock: &Path, ledger: &Path, stay: &str) -> Vec<String> {
    let script = format!("echo $ELECT_FENCING_TOKEN >> {}; sleep {stay}", ledger.display());
    let mut arguments = vec!["run".to_owned(), "--lock".to_owned(), lock.display().to_string()];
    arguments.extend(LEASE.map(str::to_owned));
    arguments.extend(["--", "sh", "-c", &script].map(str::to_owned));
    arguments
}

/// Kills at the `number`-th `call`; whether that call was reached.
fn kill_at(call: &str, number: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let scratch = tempfile::tempdir().unwrap();
    let (lock, ledger) = (scratch.path().join("x.lock"), scratch.path().join("ledger"));
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let killed = run(Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(&lock)
        .args(["-e", &format!("trace={call}"), "-e", &inject, ELECT])
        .args(arguments(&lock, &ledger, "0.5")));
    let next = run(Command::new(ELECT).args(arguments(&lock, &ledger, "0")));
    assert!(next.success(), "{call} {number}: the next candidate ended with {next}");
    let tokens: Vec<u64> = std::fs::read_to_string(&ledger)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{call} {number}: tokens {tokens:?}");
    assert!(!tokens.is_empty(), "{call} {number}: nobody led");
    killed.signal() == Some(9) || killed.code() == Some(137)
}

#[test]
fn a_kill_at_any_call_on_the_lock_leaves_it_to_the_next() {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        println!("skipped: strace can't be used here; install it, and permit ptrace");
        return;
    }
    let (send, cases) = unbounded();
    for (call, times) in CALLS {
        (1..=times).for_each(|number| send.send((call, number)).unwrap());
    }
    drop(send);
    let (all, reached) = (cases.len(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for (call, number) in &cases {
                    if kill_at(call, number) {
                        reached.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let reached = reached.into_inner();
    println!("{all} calls aimed at, killed at {reached}");
    assert!(reached * 4 >= all * 3, "only {reached} of {all} calls were reached");
}
