//! Not waiting: the acquire timeout gives up on a live holder, and takes over from a dead one.

use super::*;
use crate::record::MAX_LEASE_DURATION;

fn trying() -> Settings {
    within(0)
}

fn within(timeout: u64) -> Settings {
    Settings { acquire_timeout: Some(millis(timeout)), ..settings() }
}

/// Answers every look with `seen` until something else is done, which it returns.
fn look_until(bench: &mut Bench, last: u64, seen: &Observed) -> Vec<String> {
    while bench.now < last {
        let next = bench.now + 1;
        bench.at(next);
        if bench.asked == Some(Asked::Read) {
            bench.found(seen.clone());
        }
        bench.done.retain(|action| action != "read");
        if !bench.done.is_empty() {
            break;
        }
    }
    std::mem::take(&mut bench.done)
}

#[test]
fn a_try_claims_what_is_free() {
    let mut bench = Bench::new(trying());
    bench.absent().expect(&["read", "acquire over nothing"]);
    bench.written(1).expect(&["begin 1 until 10000", "leader a"]);
}

#[test]
fn a_try_gives_up_at_the_first_renewal_and_not_before() {
    let mut bench = Bench::seeing(trying(), others("b", 5));
    assert!(look_until(&mut bench, 3000, &others("b", 5)).is_empty());
    assert_eq!(look_until(&mut bench, 4000, &others("b", 6)), ["finish AcquireTimedOut"]);
}

#[test]
fn a_try_looks_more_often_for_a_sign_of_life() {
    let bench = Bench::seeing(trying(), others("b", 5));
    assert_eq!(bench.next_deadline(), Some(500));
}

#[test]
fn a_try_takes_over_from_a_crash_at_first_sight_plus_the_lease() {
    let mut bench = Bench::seeing(trying(), others("b", 5));
    assert_eq!(look_until(&mut bench, 20_000, &others("b", 5)), ["acquire over 5"]);
    assert_eq!(bench.now, 15_000);
    bench.written(6).expect(&["begin 6 until 25000", "leader a"]);
}

#[test]
fn a_try_takes_what_is_released_meanwhile() {
    let mut bench = Bench::seeing(trying(), others("b", 5));
    let released = of_kind(RecordKind::Released, others("b", 6));
    assert_eq!(look_until(&mut bench, 1000, &released), ["no leader", "acquire over 6"]);
}

#[test]
fn a_try_gives_up_where_another_wins_the_race() {
    let mut bench = Bench::new(trying());
    bench.absent().write(WriteReply::Conflict).found(others("b", 1));
    let story = ["read", "acquire over nothing", "read", "leader b", "finish AcquireTimedOut"];
    bench.expect(&story);
}

#[test]
fn signs_of_life_before_the_timeout_are_waited_through() {
    let mut bench = Bench::seeing(within(10_000), others("b", 5));
    assert!(look_until(&mut bench, 9_000, &others("b", 6)).is_empty());
    // The next expiry is being timed; a renewal after the timeout ends the wait.
    assert!(look_until(&mut bench, 12_000, &others("b", 6)).is_empty());
    assert_eq!(look_until(&mut bench, 14_000, &others("b", 7)), ["finish AcquireTimedOut"]);
}

#[test]
fn an_expiry_that_is_timed_over_the_timeout_is_claimed() {
    let mut bench = Bench::seeing(within(10_000), others("b", 5));
    assert_eq!(look_until(&mut bench, 20_000, &others("b", 5)), ["acquire over 5"]);
    assert_eq!(bench.now, 15_000);
}

#[test]
fn who_only_tries_still_times_a_corrupt_record_but_not_one_that_changes() {
    let mut bench = Bench::new(trying());
    bench.corrupt(3).expect(&["read"]);
    bench.at(500).corrupt(3).expect(&["read"]);
    bench.at(1000).corrupt(4).expect(&["read", "finish AcquireTimedOut"]);
    let mut bench = Bench::new(trying());
    let hour = MAX_LEASE_DURATION.as_millis() as u64;
    for look in 0..hour / 500 {
        bench.at(500 * look).corrupt(3);
    }
    bench.done.clear();
    bench.at(hour).expect(&["acquire over 3"]);
}

#[test]
fn an_unavailable_lock_is_not_waited_for_beyond_the_timeout() {
    let mut bench = Bench::new(trying());
    bench.read(ReadReply::Unavailable).expect(&["read", "finish AcquireTimedOut"]);
    let mut bench = Bench::new(trying());
    bench.absent().write(WriteReply::Unavailable);
    bench.expect(&["read", "acquire over nothing", "finish AcquireTimedOut"]);
}

#[test]
fn failing_looks_do_not_end_an_expiry_that_is_timed() {
    let mut bench = Bench::seeing(trying(), others("b", 5));
    bench.at(500).read(ReadReply::Unavailable).expect(&["read"]);
    assert_eq!(look_until(&mut bench, 20_000, &others("b", 5)), ["acquire over 5"]);
    assert_eq!(bench.now, 15_000);
}

#[test]
fn a_hung_lock_is_given_up_at_the_deadline_of_the_request() {
    for timeout in [0, 9_999, 10_000] {
        let mut bench = Bench::new(within(timeout));
        bench.at(9_999).expect(&["read"]);
        bench.at(10_000).expect(&["finish AcquireTimedOut"]);
    }
    let mut bench = Bench::new(within(60_000));
    bench.at(59_999).expect(&["read"]);
    bench.at(60_000).expect(&["finish AcquireTimedOut"]);
}

#[test]
fn claims_of_unknown_fate_do_not_go_on_for_ever() {
    for stands in [false, true] {
        let mut bench = Bench::new(trying());
        bench.absent();
        let mut revision = 0;
        while !bench.finished && bench.now < 120_000 {
            if matches!(bench.asked, Some(Asked::Write(..))) {
                revision += u64::from(stands);
                bench.write(WriteReply::Indeterminate);
            }
            match bench.asked {
                Some(Asked::Read) if stands => drop(bench.found(own(revision, 0, revision))),
                Some(Asked::Read) => drop(bench.absent()),
                _ => {}
            }
            let next = bench.now + 1;
            bench.at(next);
        }
        assert!(bench.finished, "a try that has not ended after {} ms", bench.now);
        let claims = bench.done.iter().filter(|action| action.starts_with("acquire")).count();
        assert!((2..=30).contains(&claims), "{claims} claims");
    }
}

#[test]
fn who_tries_while_held_back_claims_what_stays_free() {
    let mut bench = Bench::held_back(trying(), Some(4000));
    bench.absent();
    bench.done.clear();
    while bench.now < 3_999 {
        let next = bench.now + 1;
        bench.at(next);
        if bench.asked == Some(Asked::Read) {
            bench.absent();
        }
    }
    bench.done.clear();
    bench.at(4000).expect(&["acquire over nothing"]);
}
