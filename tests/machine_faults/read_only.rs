//! A file system that is remounted read-only, as ext4 does by itself after an error.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Place, is_alive, now, wait_until};
use crate::{candidate, ledger, mounts};

const SMALL: &str = "small/lock";

#[test]
fn a_leader_ends_in_time_and_leads_again_once_it_can_write() {
    if !mounts::inside("read_only::a_leader_ends_in_time_and_leads_again_once_it_can_write") {
        return;
    }
    let place = Place::new();
    mounts::mount(&place, "size=1m");
    let mut leader = candidate::start(&place, SMALL, "log");
    let first = ledger::wait_for_later(&place, 0);
    let command = leader.guard();
    let mut waiting = candidate::start(&place, SMALL, "waiting.log");
    wait_until("a candidate that has seen the leader", || {
        place.read("waiting.log").contains(" leads")
    });
    mounts::remount(&place, "ro");
    let read_only_at = now();
    wait_until("the end of its command", || !is_alive(command));
    for log in ["log", "waiting.log"] {
        wait_until("word of the reason", || place.read(log).contains("Read-only file system"));
        assert!(place.read(log).contains(SMALL), "{}", place.read(log));
    }
    let late = ledger::end_of(&ledger::lines(&place), first.token).saturating_sub(read_only_at);
    println!("COMMAND wrote for {late:?} after the file system was read-only");
    assert!(late < Duration::from_secs(3), "COMMAND went on for {late:?}");
    for elect in [&mut leader, &mut waiting] {
        assert_eq!(elect.0.try_wait().unwrap(), None, "it gave up");
    }
    mounts::remount(&place, "rw");
    ledger::wait_for_later(&place, first.token);
    for elect in [&mut leader, &mut waiting] {
        elect.signal(Signal::TERM);
        elect.code();
    }
    assert_eq!(ledger::refused(&ledger::lines(&place)), []);
}

#[test]
fn at_first_contact_it_is_refused_with_the_path() {
    if !mounts::inside("read_only::at_first_contact_it_is_refused_with_the_path") {
        return;
    }
    let place = Place::new();
    mounts::mount(&place, "size=1m");
    mounts::remount(&place, "ro");
    let mut elect = candidate::start(&place, SMALL, "log");
    assert_eq!(elect.code(), Some(125));
    let log = place.read("log");
    assert!(log.contains(SMALL) && log.contains("can't be written"), "{log}");
    assert_eq!(ledger::lines(&place), []);
}
