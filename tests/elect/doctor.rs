//! `elect doctor`: verdicts on this host's own file systems, alone and with another; nothing stays.
//!
//! Real shared file systems are tried by `tests/rigs/accept`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, elect, elect_path, pid_of, signal, wait_for_exit, wait_until};

fn start(directory: &Path, words: &[&str]) -> Child {
    Command::new(elect_path())
        .arg("doctor")
        .arg(directory)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("elect starts")
}

/// The exit code, and what it says as JSON.
fn finish(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().expect("elect ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_slice(&output.stdout);
    (output.status.code(), value.unwrap_or_else(|error| panic!("{error}: {stderr}")))
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().expect("a directory").next().is_none()
}

/// Trusted, of this kind, and with nothing left behind.
fn expect_trust(directory: &Path, kind: &str) {
    let (code, report) = finish(start(directory, &["--json"]));
    assert_eq!((code, &report["verdict"]), (Some(0), &"trust".into()), "{report}");
    assert_eq!(report["fileSystem"]["kind"], kind, "{report}");
    assert_eq!(report["hosts"], 1);
    for race in ["symlink", "hard-link-of-symlink", "hard-link", "exclusive-create"] {
        assert_eq!(report["races"][race]["wonTwice"], 0, "{report}");
        assert_eq!(report["races"][race]["won"], 50, "{report}");
    }
    assert_eq!(report["flockHere"][0], "refused");
    assert!(report["latencies"]["claim"]["p99Micros"].as_u64().is_some(), "{report}");
    assert!(report["settings"]["leaseDurationMillis"].as_u64() >= Some(2000), "{report}");
    assert!(is_empty(directory));
}

#[test]
fn the_verdict_stands_where_nobody_reads_the_report() {
    let place = Place::new();
    let mut child = start(place.as_ref(), &[]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
}

/// Where it lies, this host decides: on a disk or in memory.
#[test]
fn a_local_directory_is_trusted() {
    let place = Place::new();
    let found = leaderelection::FileSystem::of(&place).unwrap().expect("a file system");
    expect_trust(place.as_ref(), found.kind.name());
}

#[test]
fn memory_is_told_apart() {
    let place = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    expect_trust(place.path(), "memory");
}

#[test]
fn two_that_start_on_one_directory_try_it_together() {
    let place = Place::new();
    let both = [0; 2].map(|_| start(place.as_ref(), &["--json", "--peers", "1"]));
    let mut wins = 0;
    for child in both {
        let (code, report) = finish(child);
        assert_eq!((code, &report["hosts"]), (Some(0), &2.into()), "{report}");
        wins += report["races"]["symlink"]["won"].as_u64().expect("a count");
    }
    assert_eq!(wins, 50, "each name has one winner");
    wait_until("an empty directory", || is_empty(place.as_ref()));
}

#[test]
fn an_interrupt_leaves_nothing() {
    for (number, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(143))] {
        let place = Place::new();
        let mut child = start(place.as_ref(), &[]);
        wait_until("a session", || !is_empty(place.as_ref()));
        signal(pid_of(&child), number);
        assert_eq!(wait_for_exit(&mut child).code(), code);
        assert!(is_empty(place.as_ref()));
    }
}

/// The workers see that it is gone.
#[test]
fn a_kill_leaves_nothing() {
    let place = Place::new();
    let mut child = start(place.as_ref(), &[]);
    wait_until("a session", || !is_empty(place.as_ref()));
    signal(pid_of(&child), Signal::KILL);
    wait_for_exit(&mut child);
    wait_until("an empty directory", || is_empty(place.as_ref()));
}

#[test]
fn what_it_can_not_do_is_an_own_failure_that_says_why() {
    let place = Place::new();
    let finished = elect(&place, &["doctor", "absent"]);
    assert_eq!(finished.code, Some(125));
    assert!(finished.stderr.contains("absent"), "{}", finished.stderr);
    let alone = elect(&place, &["doctor", ".", "--peers", "1", "--peer-wait", "100ms"]);
    assert_eq!(alone.code, Some(125));
    assert!(alone.stderr.contains("0 of 1 other hosts"), "{}", alone.stderr);
    assert!(is_empty(place.as_ref()));
}
