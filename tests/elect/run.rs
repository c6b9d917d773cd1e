//! `elect run`: exit codes, what COMMAND finds, signals, and that nothing outlives the leadership.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{
    FAST, Place, can_trace, elect, elect_path, is_alive, now, pid_of, run, signal, status,
    wait_until,
};

/// Tells its process id, and goes on for ever.
const FOR_EVER: &str = "echo $$ > pid; while :; do sleep 0.05; done";

/// The same, deaf to SIGTERM.
const STUBBORN: &str = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";

#[test]
fn the_exit_code_is_the_commands() {
    let place = Place::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)] {
        assert_eq!(run(&place).script(script).finish().code, Some(code), "{script}");
    }
    assert_eq!(status(&place)["state"], "released");
}

#[test]
fn a_command_that_cannot_run_is_found_at_once() {
    let place = Place::new();
    // Somebody else leads; that is not even looked at.
    let leader = run(&place).script(FOR_EVER).start();
    place.wait_for_pid("pid");
    for (command, code, part) in [
        ("no-such-command", 127, "PATH"),
        ("./no-such-file", 127, "no such file"),
        ("/etc/passwd", 126, "not an executable"),
        ("/", 126, "not an executable"),
    ] {
        let finished = run(&place).command(&[command]).finish();
        assert_eq!(finished.code, Some(code), "{command}");
        let message = finished.stderr;
        assert!(message.contains(command) && message.contains(part), "{message}");
    }
    drop(leader);
}

#[test]
fn the_command_finds_lock_identity_and_token_in_its_environment() {
    let place = Place::new();
    let script = "echo $ELECT_LOCK $ELECT_IDENTITY $ELECT_FENCING_TOKEN";
    let first = run(&place).with(["--identity", "node-7"]).script(script).finish();
    let second = run(&place).with(["--identity", "node-8"]).script(script).finish();
    let words: Vec<&str> = first.stdout.split_whitespace().collect();
    // Of use after a `cd`, too.
    assert_eq!(words[..2], [place.path("lock").to_str().unwrap(), "node-7"]);
    let token = |text: &str| text.split_whitespace().last().unwrap().parse::<u64>().unwrap();
    assert!(token(&second.stdout) > token(&first.stdout));
}

#[test]
fn standard_input_and_output_are_the_commands() {
    let place = Place::new();
    fs::write(place.path("input"), "one\ntwo\n").unwrap();
    let input = File::open(place.path("input")).unwrap();
    let finished =
        run(&place).with(["-q"]).stdin(Stdio::from(input)).script("cat; echo problem >&2").finish();
    assert_eq!(finished.stdout, "one\ntwo\n");
    assert_eq!(finished.stderr, "problem\n");
}

#[test]
fn a_signal_ends_the_command_and_releases() {
    for (number, code) in [(Signal::TERM, 143), (Signal::INT, 143), (Signal::HUP, 143)] {
        let place = Place::new();
        let mut leader = run(&place).script(FOR_EVER).start();
        let command = place.wait_for_pid("pid");
        leader.signal(number);
        // COMMAND gets SIGTERM, whichever signal `elect` got.
        assert_eq!(leader.code(), Some(code));
        assert!(!is_alive(command));
        assert_eq!(status(&place)["state"], "released");
    }
}

#[test]
fn a_command_may_end_well_after_a_signal() {
    let place = Place::new();
    let script = "trap 'echo bye; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let leader = run(&place).script(script).start();
    place.wait_for_pid("pid");
    leader.signal(Signal::TERM);
    let finished = leader.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "bye\n"));
}

#[test]
fn a_signal_during_the_campaign_has_its_own_code() {
    let place = Place::new();
    let leader = run(&place).with(["--identity", "first"]).script(FOR_EVER).start();
    place.wait_for_pid("pid");
    for (number, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let log = File::create(place.path("log")).unwrap();
        let mut waiting = run(&place).stderr(Stdio::from(log)).script("touch ran").start();
        // Who says that listens for signals already.
        wait_until("news of the leader", || place.read("log").contains("first leads"));
        waiting.signal(number);
        assert_eq!(waiting.code(), Some(code));
    }
    assert!(!place.path("ran").exists());
    drop(leader);
}

#[test]
fn the_lease_is_renewed_while_a_command_is_slow_to_end() {
    let place = Place::new();
    // Longer than the lease.
    let script = "trap 'sleep 2; exit 5' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let mut leader = run(&place).with(FAST).with(["--identity", "slow"]).script(script).start();
    place.wait_for_pid("pid");
    let mut next = run(&place).with(FAST).script("cat order > seen; echo next >> order").start();
    leader.signal(Signal::TERM);
    assert_eq!(leader.code(), Some(5));
    assert_eq!(next.code(), Some(0));
    assert_eq!(status(&place)["state"], "released");
}

#[test]
fn a_stubborn_command_is_killed_after_the_grace() {
    let place = Place::new();
    let mut leader = run(&place).with(["--kill-after", "300ms"]).script(STUBBORN).start();
    let command = place.wait_for_pid("pid");
    leader.signal(Signal::TERM);
    assert_eq!(leader.code(), Some(137));
    assert!(!is_alive(command));
    assert_eq!(status(&place)["state"], "released");
}

#[test]
fn a_term_limit_ends_the_command_and_repeat_begins_again() {
    let place = Place::new();
    let limit = ["--term-limit", "300ms"];
    assert_eq!(run(&place).with(limit).script(FOR_EVER).finish().code, Some(143));
    let script = "echo $ELECT_FENCING_TOKEN >> tokens; exec sleep 600";
    let mut leader = run(&place).with(FAST).with(limit).with(["--repeat"]).script(script).start();
    wait_until("three terms", || place.read("tokens").lines().count() >= 3);
    leader.signal(Signal::TERM);
    assert_eq!(leader.code(), Some(143));
    let tokens: Vec<u64> = place.read("tokens").lines().map(|t| t.parse().unwrap()).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[test]
fn after_a_sigkill_of_elect_nothing_is_left_and_another_leads() {
    let place = Place::new();
    let script = "echo $$ > pid
        setsid sh -c 'trap \"\" TERM HUP; echo $$ > escaped; while :; do sleep 0.05; done' &
        while :; do sleep 0.05; done";
    let leader = run(&place).with(FAST).script(script).start();
    let command = place.wait_for_pid("pid");
    let escaped = place.wait_for_pid("escaped");
    leader.signal(Signal::KILL);
    let next = run(&place).with(FAST).script("ls /proc > alive").start().finish();
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    for pid in [command, escaped] {
        let pid = pid.as_raw_nonzero().to_string();
        let alive = place.read("alive");
        assert!(
            !alive.lines().any(|line| line.trim() == pid),
            "{pid} lived beside the next leader"
        );
    }
}

#[test]
fn a_frozen_elect_does_not_keep_its_command_alive() {
    let place = Place::new();
    let mut leader = run(&place).with(FAST).script(STUBBORN).start();
    let command = place.wait_for_pid("pid");
    leader.signal(Signal::STOP);
    wait_until("the end of the command", || !is_alive(command));
    leader.signal(Signal::CONT);
    assert_eq!(leader.code(), Some(76));
}

#[test]
fn a_guard_that_is_killed_takes_its_command_along_and_elect_ends_the_rest() {
    let place = Place::new();
    let script = "echo $$ > pid
        setsid sh -c 'trap \"\" TERM HUP; echo $$ > escaped; while :; do sleep 0.05; done' &
        while :; do sleep 0.05; done";
    let mut leader = run(&place).script(script).start();
    let pids = [place.wait_for_pid("pid"), place.wait_for_pid("escaped")];
    signal(leader.guard(), Signal::KILL);
    assert_eq!(leader.code(), Some(137));
    for pid in pids {
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_guard_that_is_frozen_is_replaced_by_force() {
    let place = Place::new();
    let mut leader = run(&place).with(["--kill-after", "100ms"]).script(FOR_EVER).start();
    let command = place.wait_for_pid("pid");
    signal(leader.guard(), Signal::STOP);
    leader.signal(Signal::TERM);
    assert_eq!(leader.code(), Some(137));
    assert!(!is_alive(command));
}

#[test]
fn a_lock_that_is_replaced_ends_the_term() {
    let place = Place::new();
    let mut leader = run(&place).with(FAST).script(STUBBORN).start();
    let command = place.wait_for_pid("pid");
    fs::rename(place.path("lock"), place.path("old")).unwrap();
    fs::create_dir(place.path("lock")).unwrap();
    assert_eq!(leader.code(), Some(76));
    assert!(!is_alive(command));
}

#[test]
fn a_standard_error_that_blocks_delays_no_kill() {
    let place = Place::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let mut leader = run(&place)
        .with(FAST)
        .with(["-vv", "--lost-exit-code", "9"])
        .stderr(Stdio::from(writer))
        .script(STUBBORN)
        .start();
    let command = place.wait_for_pid("pid");
    fs::rename(place.path("lock"), place.path("old")).unwrap();
    assert_eq!(leader.code(), Some(9));
    assert!(!is_alive(command));
    drop(reader);
}

#[test]
fn trying_only_is_over_soon_beside_a_leader_that_lives() {
    let place = Place::new();
    let mut leader = run(&place).with(FAST).with(["--identity", "first"]).script(FOR_EVER).start();
    place.wait_for_pid("pid");
    let start = now();
    let tried = run(&place).with(FAST).with(["--wait", "0"]).script("touch ran").finish();
    assert_eq!(tried.code, Some(75), "{}", tried.stderr);
    assert!(now() - start < std::time::Duration::from_secs(10));
    assert!(tried.stderr.contains("first leads"), "{}", tried.stderr);
    let code = ["--wait", "0", "--not-acquired-exit-code", "0"];
    assert_eq!(run(&place).with(FAST).with(code).script("touch ran").finish().code, Some(0));
    assert!(!place.path("ran").exists());
    signal(pid_of(&leader.0), Signal::KILL);
    // Until it is gone, it is there to whoever only tries.
    assert_eq!(leader.code(), None);
    let tried = run(&place).with(FAST).with(["--wait", "0"]).script("touch ran").finish();
    assert_eq!(tried.code, Some(0), "{}", tried.stderr);
    assert!(place.path("ran").exists());
}

#[test]
fn a_parent_that_ignores_its_children_does_no_harm() {
    let place = Place::new();
    let words = ["--ignore-signal=CHLD", elect_path(), "run", "--lock", "lock", "--"];
    let mut ignoring = std::process::Command::new("env");
    ignoring.args(words).args(["sh", "-c", "exit 5"]).current_dir(&place).stderr(Stdio::null());
    assert_eq!(ignoring.status().unwrap().code(), Some(5));
}

#[test]
fn hidden_from_hangups_it_stays_so() {
    let place = Place::new();
    let mut leader = std::process::Command::new("nohup");
    leader.args([elect_path(), "run", "--lock", "lock", "--", "sh", "-c"]);
    leader.arg("echo $$ > pid; until [ -e go ]; do sleep 0.01; done; exit 3");
    leader.current_dir(&place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut leader = leader.spawn().unwrap();
    let command = place.wait_for_pid("pid");
    signal(pid_of(&leader), Signal::HUP);
    signal(command, Signal::HUP);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(crate::support::wait_for_exit(&mut leader).code(), Some(3));
}

#[test]
fn bad_input_is_refused_with_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    let long = "x".repeat(256);
    fs::write(place.path("file"), "").unwrap();
    for (words, parts) in [
        (vec!["--lease-duration", "5"], vec!["--lease-duration", "5s"]),
        (vec!["--lease-duration", "0s"], vec!["--lease-duration", "longer than zero"]),
        (vec!["--retry-period", "0"], vec!["--retry-period", "longer than zero"]),
        (vec!["--term-limit", "99999999999999999999s"], vec!["--term-limit", "366 days"]),
        (vec!["--wait=-1s"], vec!["--wait", "negative"]),
        (vec!["--lease-duration", "2h"], vec!["lease duration", "3600s"]),
        (vec!["--renew-deadline", "15s"], vec!["lease duration 15s", "renew deadline 15s"]),
        (vec!["--retry-period", "9s"], vec!["renew deadline 10s", "retry period 9s", "1.2"]),
        (vec!["--renew-deadline", "14.9s"], vec!["renew deadline 14.9s", "lengthen the lease"]),
        (vec!["--loss-grace", "4s"], vec!["--loss-grace 4s", "--lease-duration"]),
        (vec!["--identity", ""], vec!["identity is empty"]),
        (vec!["--identity", &long], vec!["identity", "256", "255"]),
        (vec!["--identity", "a\nb"], vec!["identity", "control character"]),
        (vec!["--not-acquired-exit-code", "256"], vec!["--not-acquired-exit-code", "255"]),
        (vec!["--attempts", "3"], vec!["--attempts"]),
        (vec!["-q", "-v"], vec!["--quiet", "--verbose"]),
    ] {
        let finished = run(&place).with(words.iter().copied()).script("touch ran").finish();
        assert_eq!(finished.code, Some(125), "{words:?}: {}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "{words:?}: no {part:?}: {}", finished.stderr);
        }
    }
    assert!(!place.path("ran").exists());
}

#[test]
fn a_lock_path_that_cannot_be_used_is_refused_by_name() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    fs::create_dir(place.path("open")).unwrap();
    fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    for (lock, part) in [
        ("file", "file"),
        ("missing/parent", "missing: the lock's parent directory does not exist"),
        ("open/lock", "open"),
        ("file/below", "file"),
        ("etcd://host/key", "not built in"),
        ("", "lock"),
    ] {
        let words = ["run", "--wait", "0", "--lock", lock, "--", "touch", "ran"];
        let finished = elect(&place, &words);
        assert_eq!(finished.code, Some(125), "{lock:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(part), "{lock:?}: {}", finished.stderr);
    }
    assert!(!place.path("ran").exists());
}

#[test]
fn usage_errors_are_own_failures_and_help_is_not() {
    let place = Place::new();
    for words in [&[][..], &["run"], &["run", "--lock", "x"], &["fly"], &["run", "--", "true"]] {
        let finished = elect(&place, words);
        assert_eq!(finished.code, Some(125), "{words:?}");
        assert!(finished.stderr.contains("Usage") && finished.stdout.is_empty(), "{words:?}");
    }
    for words in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let finished = elect(&place, words);
        assert_eq!(finished.code, Some(0), "{words:?}");
        assert!(!finished.stdout.is_empty() && finished.stderr.is_empty(), "{words:?}");
    }
    for words in [["run", "--help"], ["once", "--help"], ["reset", "--help"]] {
        let help = elect(&place, &words).stdout;
        assert!(help.contains("\n  75 ") && help.contains("\n  125 "), "{help}");
    }
    let hidden = elect(&place, &["--help"]).stdout;
    assert!(!hidden.contains("guard"), "{hidden}");
}

#[test]
fn what_is_wrong_is_told_although_no_thread_can_be_started_that_writes() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=clone,clone3:error=EAGAIN"])
        .args([elect_path(), "run", "--lock", "lock", "--", "true"])
        .current_dir(&place)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Resource temporarily unavailable"), "{said:?}");
}
