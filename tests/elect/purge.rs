//! A file system that removes old files: of a lock that is held, of one that is completed.

use std::fs;

use crate::support::{FAST, Place, once, run, status, wait_until};

/// As a purger does: every name, whatever it is.
fn purge(place: &Place) {
    for entry in fs::read_dir(place.path("lock")).expect("a lock directory") {
        // The sweep of a leader may be quicker.
        let _ = fs::remove_file(entry.expect("an entry").path());
    }
}

/// Gives the records today's date, as somebody does who wants to keep them.
fn touch(place: &Place) {
    let script = "touch --no-dereference lock/g.*";
    let touched = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(place)
        .status()
        .expect("sh starts");
    assert!(touched.success());
}

#[test]
fn the_leader_of_a_purged_lock_ends_and_another_takes_over() {
    let place = Place::new();
    let mut leader = run(&place).with(FAST).script("echo $$ > first; exec sleep 60").start();
    place.wait_for_pid("first");
    touch(&place);
    // A renewal may come in between.
    wait_until("the end of the leader", || {
        purge(&place);
        leader.0.try_wait().expect("wait").is_some()
    });
    let ended = leader.finish();
    assert_eq!(ended.code, Some(76), "{}", ended.stderr);
    assert!(ended.stderr.contains("lost the lease"), "{}", ended.stderr);
    purge(&place);
    let next = run(&place).with(FAST).script("echo $ELECT_FENCING_TOKEN").finish();
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    assert_eq!(next.stdout, "1\n", "tokens start again");
}

#[test]
fn a_completed_lock_that_is_purged_is_not_done() {
    let place = Place::new();
    let script = "echo done >> runs";
    assert_eq!(once(&place).script(script).finish().code, Some(0));
    touch(&place);
    assert_eq!(once(&place).script(script).finish().code, Some(0));
    assert_eq!(place.read("runs").lines().count(), 1, "touched records say the same");
    purge(&place);
    wait_until("nothing known", || status(&place)["state"] == "absent");
    assert_eq!(once(&place).script(script).finish().code, Some(0));
    assert_eq!(place.read("runs").lines().count(), 2);
}
