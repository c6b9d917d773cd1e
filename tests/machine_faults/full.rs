//! A file system without room: for the records, or for names.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Place, is_alive, now, wait_until};
use crate::{candidate, ledger, mounts};

const SMALL: &str = "small/lock";

/// Writes files until there is no room, neither for bytes nor for names.
fn fill(directory: &Path) {
    for number in 0..100_000 {
        let Ok(mut file) = File::create(directory.join(format!("filler.{number}"))) else { return };
        while file.write_all(&[1; 4096]).is_ok() {}
    }
    panic!("{} never gets full", directory.display());
}

fn free(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with("filler") {
            fs::remove_file(entry.path()).expect("a filler");
        }
    }
}

#[test]
fn a_full_file_system_is_said_and_waited_for() {
    if !mounts::inside("full::a_full_file_system_is_said_and_waited_for") {
        return;
    }
    // By bytes: a record needs a page.
    for options in ["size=64k,nr_inodes=100", "size=16m,nr_inodes=20"] {
        let place = Place::new();
        let small = mounts::mount(&place, options);
        fs::create_dir(small.join("lock")).unwrap();
        fill(&small);
        let mut elect = candidate::start(&place, SMALL, "log");
        wait_until("word of the reason", || place.read("log").contains("No space left"));
        assert!(place.read("log").contains(SMALL), "{}", place.read("log"));
        assert_eq!(elect.0.try_wait().unwrap(), None, "it gave up");
        assert_eq!(ledger::lines(&place), []);
        free(&small);
        ledger::wait_for_later(&place, 0);
        elect.signal(Signal::TERM);
        elect.code();
    }
}

#[test]
fn a_leader_that_finds_no_room_for_renewals_ends_in_time_and_leads_again() {
    if !mounts::inside(
        "full::a_leader_that_finds_no_room_for_renewals_ends_in_time_and_leads_again",
    ) {
        return;
    }
    let place = Place::new();
    let small = mounts::mount(&place, "size=16m,nr_inodes=400");
    let mut elect = candidate::start(&place, SMALL, "log");
    let first = ledger::wait_for_later(&place, 0);
    let command = elect.guard();
    fill(&small);
    let full_at = now();
    wait_until("the end of its command", || !is_alive(command));
    wait_until("word of the reason", || place.read("log").contains("No space left"));
    // The renew deadline, the time to stop, and that of this machine.
    let lines = ledger::lines(&place);
    let late = ledger::end_of(&lines, first.token).saturating_sub(full_at);
    println!("COMMAND wrote for {late:?} after the file system was full");
    assert!(late < Duration::from_secs(3), "COMMAND went on for {late:?}");
    free(&small);
    ledger::wait_for_later(&place, first.token);
    assert_eq!(ledger::refused(&ledger::lines(&place)), []);
    elect.signal(Signal::TERM);
    elect.code();
}
