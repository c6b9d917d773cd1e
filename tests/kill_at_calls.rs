//! `elect` killed at each system call on its lock, by strace: the next candidate leads all the
//! same, with a higher token.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use leaderelection::crossbeam_channel::{bounded, unbounded};

/// A system call and how often the thread that asks the lock makes it in a term of half a second.
/// strace counts for each thread alone.
const CALLS: [(&str, usize); 8] = [
    ("open", 3),
    ("mkdirat", 1),
    ("fchmodat", 1),
    ("getdents64", 4),
    ("symlinkat", 1),
    ("readlinkat", 6),
    ("fsync", 1),
    ("linkat", 3),
];

/// The same of the thread of the work, which releases.
const CALLS_OF_A_RELEASE: [(&str, usize); 4] =
    [("openat", 1), ("getdents64", 2), ("symlinkat", 1), ("readlinkat", 2)];

/// The calls of a sweep that follows a claim, and which of them are aimed at.
const CALLS_OF_A_SWEEP: [(&str, &[usize]); 4] = [
    ("unlinkat", &[1, 2, 3, 24, 47, 48]),
    ("readlinkat", &[5, 6, 7]),
    ("getdents64", &[5, 6, 7, 8]),
    ("open", &[2, 3]),
];

/// More than a sweep lets stand, and more than it removes after one claim.
const NAMES: u64 = 60;

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

/// A lease that even a machine with a lot to do does not lose, and short waits.
const LONG_LEASE: [&str; 2] = ["--retry-period", "100ms"];

/// `elect run` on `lock` with a command that writes its token to `ledger` and stays for a while.
fn arguments(lock: &Path, ledger: &Path, lease: &[&str], stay: &str) -> Vec<String> {
    let script = format!("echo $ELECT_FENCING_TOKEN >> {}; sleep {stay}", ledger.display());
    let mut arguments = vec!["run".to_owned(), "--lock".to_owned(), lock.display().to_string()];
    arguments.extend(lease.iter().map(|word| (*word).to_owned()));
    arguments.extend(["--", "sh", "-c", &script].map(str::to_owned));
    arguments
}

/// Kills at the `number`-th `call` on a lock that `prepare` has made; whether that was reached.
fn kill_at(call: &str, number: usize, prepare: fn(&Path)) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let scratch = tempfile::tempdir().unwrap();
    let (lock, ledger) = (scratch.path().join("x.lock"), scratch.path().join("ledger"));
    prepare(&lock);
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let killed = run(Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(&lock)
        .args(["-e", &format!("trace={call}"), "-e", &inject, ELECT])
        .args(arguments(&lock, &ledger, &LEASE, "0.5")));
    the_next_leads(&lock, &ledger, &format!("{call} {number}"));
    killed.signal() == Some(9) || killed.code() == Some(137)
}

fn the_next_leads(lock: &Path, ledger: &Path, after: &str) {
    let next = run(Command::new(ELECT).args(arguments(lock, ledger, &LONG_LEASE, "0")));
    assert!(next.success(), "{after}: the next candidate ended with {next}");
    let tokens = tokens(ledger);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{after}: tokens {tokens:?}");
    assert!(!tokens.is_empty(), "{after}: nobody led");
}

fn tokens(ledger: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Kills at the `number`-th `call` on the lock that the thread of the work makes when that has
/// ended; whether that was reached.
fn kill_at_release(call: &str, number: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let scratch = tempfile::tempdir().unwrap();
    let (lock, ledger) = (scratch.path().join("x.lock"), scratch.path().join("ledger"));
    let go = scratch.path().join("go");
    let stay = format!("0; while [ ! -e {} ]; do sleep 0.02; done", go.display());
    let mut leader = Command::new(ELECT)
        .args(arguments(&lock, &ledger, &LONG_LEASE, &stay))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a leader", || !tokens(&ledger).is_empty());
    let work = thread_of(leader.id(), "election-work");
    let mut tracer = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-P"])
        .arg(&lock)
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={number}"), "-p", &work])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/task/{work}/status", leader.id());
    until("the tracer", || !std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n"));
    std::fs::write(&go, "").unwrap();
    until("the end", || leader.try_wait().unwrap().is_some());
    let _ = tracer.wait();
    the_next_leads(&lock, &ledger, &format!("{call} {number} of a release"));
    leader.wait().unwrap().signal() == Some(9)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let (_alive, ticks) = bounded::<()>(0);
    for _ in 0..3000 {
        if done() {
            return;
        }
        let _ = ticks.recv_timeout(Duration::from_millis(10));
    }
    panic!("never came: {what}");
}

fn thread_of(process: u32, name: &str) -> String {
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    let mut tasks = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap());
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    tasks.find(named).unwrap().file_name().into_string().unwrap()
}

fn name_of(lock: &Path, generation: u64) -> PathBuf {
    lock.join(format!("g.{generation:020}"))
}

/// The checksum that ends each record: FNV-1a with 32 bits.
fn with_checksum(body: &str) -> String {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let check = body.bytes().fold(0x811c_9dc5, step);
    format!("{body},\"check\":\"{check:08x}\"}}")
}

/// A lock with many names, each of which bears witness that the one below it was superseded long
/// ago: as if many terms had ended without a sweep. A real release is the pattern.
fn fill(lock: &Path) {
    let ledger = lock.with_extension("first");
    assert!(run(Command::new(ELECT).args(arguments(lock, &ledger, &LONG_LEASE, "0"))).success());
    let mut names: Vec<_> =
        std::fs::read_dir(lock).unwrap().map(|name| name.unwrap().path()).collect();
    names.sort();
    let text =
        |path: &Path| std::fs::read_link(path).unwrap().into_os_string().into_string().unwrap();
    let (held, released) = (text(&names[0]), text(names.last().unwrap()));
    let (pattern, rest) = released.split_once("\"witness\":{\"generation\":").unwrap();
    let (_, boot) = rest.split_once(',').unwrap();
    let (boot, _) = boot.split_once("\"clockNanos\":").unwrap();
    names.iter().for_each(|name| std::fs::remove_file(name).unwrap());
    for generation in 1..=NAMES {
        let below = generation - 1;
        let witness = format!("\"witness\":{{\"generation\":{below},{boot}\"clockNanos\":1}}");
        let text = match generation {
            // What the last one releases.
            1 | 59 => held.clone(),
            _ => with_checksum(&format!("{pattern}{witness}")),
        };
        std::os::unix::fs::symlink(text, name_of(lock, generation)).unwrap();
    }
}

fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let may = traced.is_ok_and(|status| status.success());
    if !may {
        println!("skipped: strace can't be used here; install it, and permit ptrace");
    }
    may
}

#[test]
fn a_kill_at_any_call_on_the_lock_leaves_it_to_the_next() {
    let each = |(call, times)| (1..=times).map(move |number| (call, number));
    kill_at_each(CALLS.into_iter().flat_map(each), |_| {}, 4);
}

#[test]
fn a_kill_at_any_call_of_a_release_leaves_the_lock_to_the_next() {
    if !may_trace() {
        return;
    }
    let each = |(call, times)| (1..=times).map(move |number| (call, number));
    let aims: Vec<_> = CALLS_OF_A_RELEASE.into_iter().flat_map(each).collect();
    let missed: Vec<_> = aims.iter().filter(|aim| !kill_at_release(aim.0, aim.1)).collect();
    println!("{} calls aimed at, not made: {missed:?}", aims.len());
    assert!(missed.len() <= 1, "too few of {} calls were made: {missed:?}", aims.len());
}

#[test]
fn a_kill_at_any_call_of_a_sweep_leaves_the_lock_to_the_next() {
    let each =
        |(call, numbers): (_, &'static [usize])| numbers.iter().map(move |number| (call, *number));
    kill_at_each(CALLS_OF_A_SWEEP.into_iter().flat_map(each), fill, 4);
}

/// A call may not be made, on a slow machine above all: a sweep ends with its time. So many may be
/// missed as are `allowed`.
fn kill_at_each(
    aims: impl Iterator<Item = (&'static str, usize)>,
    prepare: fn(&Path),
    allowed: usize,
) {
    if !may_trace() {
        return;
    }
    let (send, cases) = unbounded();
    aims.for_each(|aim| send.send(aim).unwrap());
    drop(send);
    let (all, missed) = (cases.len(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for (call, number) in &cases {
                    if !kill_at(call, number, prepare) {
                        missed.lock().unwrap().push((call, number));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    println!("{all} calls aimed at, killed at {}; not made: {missed:?}", all - missed.len());
    assert!(missed.len() <= allowed, "too few of {all} calls were made: {missed:?}");
}
