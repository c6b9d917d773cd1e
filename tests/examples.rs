//! Runs each example as a process, as it stands, and reads what it prints.
//!
//! `cargo test` builds the examples; `cargo test --test examples` alone does not.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Far more than any example takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    Command::new(path)
}

/// Runs `command` to its end, and returns the lines of its standard output.
fn lines_of(mut command: Command) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("output");
    // A file can't fill up as a pipe can, and nobody who inherits it keeps this test waiting.
    let output = File::create(&path).expect("a file for the output");
    command.stdin(Stdio::null()).stdout(output);
    let status = wait(&mut command);
    let text = std::fs::read_to_string(&path).expect("the output is text");
    assert!(status.success(), "{command:?} ended with {status}:\n{text}");
    text.lines().map(str::to_owned).collect()
}

#[expect(clippy::disallowed_methods, reason = "a process is polled with a deadline")]
fn wait(command: &mut Command) -> ExitStatus {
    let mut process = command.spawn().expect("the example starts");
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if let Some(status) = process.try_wait().expect("the example is a child") {
            return status;
        }
        std::thread::sleep(LOOK);
    }
    let _ = process.kill();
    panic!("{command:?} did not end within {PATIENCE:?}");
}

/// The place of the one line that holds `part`.
#[track_caller]
fn place(lines: &[String], part: &str) -> usize {
    let mut places = lines.iter().enumerate().filter(|(_, line)| line.contains(part));
    match (places.next(), places.next()) {
        (Some((place, _)), None) => place,
        _ => panic!("not exactly one line with {part:?} in {lines:#?}"),
    }
}

/// Each of `parts` is in one line, and they come in this order.
#[track_caller]
fn expect_in_order(lines: &[String], parts: &[&str]) {
    let places: Vec<usize> = parts.iter().map(|part| place(lines, part)).collect();
    assert!(places.is_sorted(), "not in the order of {parts:?}: {lines:#?}");
}

#[test]
fn callbacks_leads_works_and_reports_success() {
    let lines = lines_of(example("callbacks"));
    let parts = [
        " campaigns",
        "leading, fencing token 1",
        "step 1 of 5",
        "step 5 of 5",
        "no longer leading",
        "outcome: the task succeeded",
    ];
    expect_in_order(&lines, &parts);
    place(&lines, " leads");
}

#[test]
fn guard_lets_two_candidates_take_turns() {
    let lines = lines_of(example("guard"));
    let parts = [
        "first does step 3, fencing token 1",
        "second gives up: somebody else leads",
        "first has released",
        "second does step 1",
        "second has released",
    ];
    expect_in_order(&lines, &parts);
}

#[test]
fn fenced_write_refuses_the_leader_that_was_paused() {
    let lines = lines_of(example("fenced_write"));
    let parts = [
        "first leader: my term is valid, fencing token 1",
        "second leader: the lease has expired, and I lead",
        "second leader: my write was accepted",
        "first leader: my write was refused",
        "the register holds: second",
    ];
    expect_in_order(&lines, &parts);
    assert!(lines[place(&lines, "refused")].ends_with("my term is valid: false"), "{lines:#?}");
}

#[test]
fn job_array_records_one_success_for_good() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let lock: PathBuf = scratch.path().join("lock");
    let run = || {
        let mut command = example("job_array");
        command.arg(&lock).arg("6");
        lines_of(command)
    };
    let lines = run();
    let parts = [
        "works, fencing token 1: failed",
        ": done",
        "6 tasks: 1 succeeded, 1 failed, 4 found it done",
    ];
    expect_in_order(&lines, &parts);
    assert_eq!(run(), ["6 tasks: 0 succeeded, 0 failed, 6 found it done"]);
}

#[test]
fn the_shards_of_a_worker_that_leaves_go_to_the_next() {
    let lines = lines_of(example("pool"));
    expect_in_order(&lines, &["the second one on []", "has left: the second one works on [(0, 3)"]);
    assert!(lines[0].starts_with("the first one works on [(0, 1)"), "{lines:#?}");
}
