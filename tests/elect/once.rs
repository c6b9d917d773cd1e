//! `elect once`, `elect status` and `elect reset`.

use rustix::process::Signal;

use crate::support::{Elect, FAST, Place, elect, is_alive, once, run, status, wait_until};

/// Fails with 7 in its first three runs, and notes each success.
const FAILS_THREE_TIMES: &str = "for n in 1 2 3; do mkdir run.$n 2>/dev/null && exit 7; done
    echo $ELECT_FENCING_TOKEN >> successes";

/// A job array: many at the same time, on a lease that makes it quick.
fn array(place: &Place, attempts: &str) -> Vec<Option<i32>> {
    let candidates: Vec<Elect> = (0..32)
        .map(|_| {
            once(place)
                .with(["--lease-duration", "3s", "--attempts", attempts])
                .script(FAILS_THREE_TIMES)
                .start()
        })
        .collect();
    candidates.into_iter().map(|mut candidate| candidate.code()).collect()
}

fn count(codes: &[Option<i32>], code: i32) -> usize {
    codes.iter().filter(|found| **found == Some(code)).count()
}

#[test]
fn of_many_one_succeeds_and_who_fails_gives_up() {
    let place = Place::new();
    let codes = array(&place, "1");
    assert_eq!((count(&codes, 7), count(&codes, 0)), (3, 29), "{codes:?}");
    assert_eq!(place.read("successes").lines().count(), 1);
}

#[test]
fn of_many_with_attempts_left_all_hear_of_the_success() {
    let place = Place::new();
    let codes = array(&place, "5");
    assert_eq!(count(&codes, 0), 32, "{codes:?}");
    assert_eq!(place.read("successes").lines().count(), 1);
}

#[test]
fn what_is_completed_never_runs_again_until_it_is_reset() {
    let place = Place::new();
    let script = "echo $ELECT_FENCING_TOKEN >> tokens";
    assert_eq!(once(&place).script(script).finish().code, Some(0));
    let again = once(&place).script(script).finish();
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.contains("completed"), "{}", again.stderr);
    assert_eq!(place.read("tokens").lines().count(), 1);
    assert_eq!(status(&place)["state"], "completed");
    // Leading is over for `run` too, which says why.
    let leading = run(&place).script("touch ran").finish();
    assert_eq!(leading.code, Some(75));
    assert!(leading.stderr.contains("elect reset"), "{}", leading.stderr);

    let reset = elect(&place, &["reset", "lock"]);
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    assert_eq!(status(&place)["state"], "released");
    assert_eq!(once(&place).script(script).finish().code, Some(0));
    let tokens: Vec<u64> = place.read("tokens").lines().map(|t| t.parse().unwrap()).collect();
    assert!(tokens.len() == 2 && tokens[1] > tokens[0], "{tokens:?}");
}

#[test]
fn a_task_that_was_told_to_end_is_not_done_although_it_ended_well() {
    let place = Place::new();
    let script = "trap 'exit 0' TERM; touch ready; while :; do sleep 0.01; done";
    let mut first = once(&place).script(script).start();
    wait_until("the command", || place.path("ready").exists());
    first.signal(Signal::TERM);
    assert_eq!(first.code(), Some(143));
    assert_eq!(status(&place)["state"], "released");
    let limited = once(&place).with(["--term-limit", "200ms"]).script(script).finish();
    assert_eq!(limited.code, Some(143));
    assert_eq!(status(&place)["state"], "released");
}

#[test]
fn a_task_that_ended_well_is_done_although_the_term_ends_before_what_it_left_behind() {
    let script = "echo $$ > pid; setsid sh -c 'trap \"\" TERM; echo $$ > left; while :; do \
        sleep 0.01; done' &
        until [ -s left ]; do sleep 0.01; done; echo x >> runs; exit 0";
    let place = Place::new();
    let limited = once(&place).with(["--term-limit", "2s", "--kill-after", "3s"]);
    assert_eq!(limited.script(script).finish().code, Some(0));
    assert_eq!(status(&place)["state"], "completed");

    let place = Place::new();
    let mut stopped = once(&place).with(["--kill-after", "2s"]).script(script).start();
    let command = place.wait_for_pid("pid");
    wait_until("the end of the command", || !is_alive(command));
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.code(), Some(0));
    assert_eq!(status(&place)["state"], "completed");
    assert_eq!(place.read("runs"), "x\n");
}

#[test]
fn attempts_end_with_the_last_code() {
    let place = Place::new();
    let script = "echo x >> runs; exit $((10 + $(wc -l < runs)))";
    let finished = once(&place).with(FAST).with(["--attempts", "3"]).script(script).finish();
    assert_eq!(finished.code, Some(13));
    assert_eq!(place.read("runs").lines().count(), 3);
}

#[test]
fn a_corrupt_record_is_shown_and_can_be_superseded() {
    let place = Place::new();
    assert_eq!(run(&place).script("true").finish().code, Some(0));
    std::os::unix::fs::symlink("garbage", place.path("lock/g.00000000000000000009")).unwrap();
    let corrupt = status(&place);
    assert_eq!((&corrupt["state"], &corrupt["holder"]), (&"corrupt".into(), &().into()));
    let text = elect(&place, &["status", "lock"]).stdout;
    assert!(text.contains("garbage") && text.contains("elect reset"), "{text}");
    let reset = elect(&place, &["reset", "lock"]);
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    assert!(reset.stdout.contains("15s"), "{}", reset.stdout);
    assert_ne!(status(&place)["state"], "corrupt");
}

#[test]
fn by_force_reset_frees_a_corrupt_lock_at_once() {
    let place = Place::new();
    std::fs::create_dir(place.path("lock")).unwrap();
    let head = place.path("lock").join("g.00000000000000000005");
    std::os::unix::fs::symlink("{torn", head).unwrap();
    let reset = elect(&place, &["reset", "--force", "lock"]);
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    let script = "echo token $ELECT_FENCING_TOKEN";
    let finished = run(&place).with(["--lease-duration", "1h"]).script(script).finish();
    assert_eq!(finished.stdout, "token 8\n", "{}", finished.stderr);
}

#[test]
fn by_force_reset_ends_the_lease_of_a_holder() {
    let place = Place::new();
    let leader = run(&place).with(["--lease-duration", "1h"]).script("sleep 600").start();
    wait_until("a leader", || status(&place)["state"] == "held");
    leader.guard();
    drop(leader);
    assert_eq!(elect(&place, &["reset", "lock", "--force"]).code, Some(0));
    assert_eq!(status(&place)["state"], "released");
    assert_eq!(run(&place).script("true").finish().code, Some(0));
}

#[test]
fn what_can_not_be_printed_is_no_success() {
    let place = Place::new();
    for words in [["status", "lock"], ["reset", "lock"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(crate::support::elect_path())
            .args(words)
            .current_dir(&place)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("standard output"), "{message}");
    }
}

#[test]
fn a_watch_ends_when_nobody_reads_it() {
    let place = Place::new();
    let mut watch = std::process::Command::new(crate::support::elect_path())
        .args(["status", "lock", "--watch"])
        .current_dir(&place)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(watch.stdout.take());
    assert_eq!(crate::support::wait_for_exit(&mut watch).code(), Some(0));
}

#[test]
fn reset_refuses_while_somebody_leads() {
    let place = Place::new();
    let leader =
        run(&place).with(["--identity", "node-7"]).script("touch ready; sleep 600").start();
    wait_until("the command", || place.path("ready").exists());
    let refused = elect(&place, &["reset", "lock"]);
    assert_eq!(refused.code, Some(75));
    assert!(refused.stderr.contains("node-7"), "{}", refused.stderr);
    assert_eq!(status(&place)["state"], "held");
    drop(leader);
}

#[test]
fn status_says_who_leads_and_changes_nothing() {
    let place = Place::new();
    let absent = status(&place);
    let keys: Vec<&String> = absent.as_object().unwrap().keys().collect();
    let mut expected = [
        "lock",
        "state",
        "holder",
        "fencingToken",
        "leaderTransitions",
        "leaseDurationMillis",
        "acquireTime",
        "renewTime",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&absent["state"], &absent["lock"]), (&"absent".into(), &"lock".into()));
    assert!(absent["holder"].is_null());
    assert!(!place.path("lock").exists(), "looking must not make a lock");

    let leader = run(&place)
        .with(["--retry-period", "100ms", "--identity", "node-7"])
        .script("touch ready; sleep 600")
        .start();
    wait_until("the command", || place.path("ready").exists());
    let held = status(&place);
    assert_eq!((&held["state"], &held["holder"]), (&"held".into(), &"node-7".into()));
    assert_eq!(held["leaseDurationMillis"], 15_000);
    assert!(held["fencingToken"].as_u64().is_some_and(|token| token > 0));
    assert!(held["acquireTime"].as_str().is_some_and(|time| time.ends_with('Z')));
    // Before the first renewal they may be the same to the millisecond.
    let time = |key: &str| status(&place)[key].as_str().unwrap_or_default().to_owned();
    wait_until("a renewal to show", || time("renewTime") > time("acquireTime"));
    let text = elect(&place, &["status", "lock"]).stdout;
    assert!(text.contains("node-7") && text.contains("ago"), "{text}");
    drop(leader);
}

#[test]
fn a_success_stands_though_what_it_left_behind_is_ended_later() {
    let place = Place::new();
    let script = "setsid sh -c 'trap \"\" TERM; sleep 30; sleep 30' >/dev/null 2>&1 & exit 0";
    let limits = ["--term-limit", "500ms", "--kill-after", "1s"];
    assert_eq!(once(&place).with(FAST).with(limits).script(script).finish().code, Some(0));
    assert_eq!(status(&place)["state"], "completed");
}
