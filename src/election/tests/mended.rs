//! What the original gets wrong, a test for each. Those that live outside of the machine are tested
//! where they live: 10 in `config.rs` and `elector/tests.rs`; the atomic half of 6 in `term.rs`.

use super::*;
use crate::error::LossReason;

#[test]
fn mended_01_term_limit_zero_means_none_and_a_limit_fires_on_time() {
    use crate::{Config, MemoryLock};
    let settings_of = |limit| Config::new(MemoryLock::new()).term_limit(limit).settings();
    assert_eq!(settings_of(Duration::ZERO).term_limit, None);
    assert_eq!(settings_of(millis(5)).term_limit, Some(millis(5)));

    let mut bench = Bench::leading(Settings { term_limit: Some(millis(2345)), ..settings() });
    bench.at(2000).written(2).expect(&["renew #1 over 1", "extend until 12000"]);
    assert_eq!(bench.next_deadline(), Some(2345), "not at the next renewal");
    bench.at(2345).expect(&["stop work"]).work_returned().written(3);
    let end = "finish TermLimitReached, hold back until 6345";
    bench.expect(&["end term", "no leader", "release over 2", end]);
}

#[test]
fn mended_01_the_limit_fires_though_the_lock_hangs() {
    let mut bench = Bench::leading(Settings { term_limit: Some(millis(2345)), ..settings() });
    bench.at(2000).expect(&["renew #1 over 1"]).at(2345).expect(&["stop work"]);
}

#[test]
fn mended_02_validity_counts_from_before_the_write() {
    let mut bench = Bench::new(settings());
    bench.absent().at(9_999).written(1);
    bench.expect(&["read", "acquire over nothing", "begin 1 until 10000", "leader a"]);
}

#[test]
fn mended_03_a_hung_lock_does_not_keep_the_leader() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).expect(&["renew #1 over 1"]);
    bench.at(10_000);
    bench.expect(&["lost RenewDeadline", "stop work", "end term", "no leader"]);
}

#[test]
fn mended_04_transitions_never_fall() {
    let mut seen = of_kind(RecordKind::Released, others("b", 50));
    seen.record.leader_transitions = 12;
    let mut bench = Bench::new(settings());
    bench.found(seen).written(51).at(2000);
    assert_eq!(bench.record().leader_transitions, 13);
    bench.written(52).step(Event::Stop).work_returned();
    assert_eq!(bench.record().leader_transitions, 13);
}

#[test]
fn mended_05_milliseconds_count_and_so_does_the_holders_own_lease() {
    let mut seen = others("b", 5);
    seen.record.lease_duration = millis(1_234);
    let mut bench = Bench::seeing(settings(), seen);
    assert_eq!(bench.next_deadline(), Some(1_234));
    bench.at(1_234).expect(&["acquire over 5"]);
    assert_eq!(bench.record().lease_duration, millis(15_000));
}

#[test]
fn mended_06_is_leader_and_get_leader_end_with_the_term() {
    let mut bench = Bench::leading(settings());
    bench.at(10_000);
    bench.expect(&["renew #1 over 1", "lost RenewDeadline", "stop work", "end term", "no leader"]);
}

#[test]
fn mended_07_the_lease_is_given_up_only_after_the_work_has_returned() {
    let mut bench = Bench::leading(settings());
    bench.at(1000).task(false).expect(&["stop work"]).at(1999).expect_nothing();
    bench.work_returned().expect(&["end term", "no leader", "release over 1"]);
}

#[test]
fn mended_08_who_led_gives_others_their_turn() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned().written(2);
    assert_eq!(bench.done.last().unwrap(), "finish Stopped, hold back until 4000");
    let mut again = Bench::held_back(settings(), Some(4000));
    again.found(of_kind(RecordKind::Released, own(1, 0, 2)));
    assert_eq!(again.next_deadline(), Some(2000), "it looks meanwhile");
    again.at(2000).found(others("b", 3)).expect(&["read", "read", "leader b"]);
}

#[test]
fn mended_09_waits_are_short_and_the_last_one_ends_with_the_lease() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.jitter = Jitter(u32::MAX);
    let mut looks = 0;
    while bench.now < 15_000 {
        let next = u64::try_from(bench.next_deadline().unwrap()).unwrap();
        assert!(next - bench.now <= 2400);
        bench.at(next);
        if bench.asked == Some(Asked::Read) {
            bench.found(others("b", 5));
            looks += 1;
        }
    }
    assert_eq!((bench.now, looks), (15_000, 6));
    assert_eq!(bench.done.last().unwrap(), "acquire over 5");
}

#[test]
fn mended_11_a_corrupt_record_does_not_wedge_the_election() {
    let mut bench = Bench::new(settings());
    bench.corrupt(7);
    let mut claimed = None;
    while claimed.is_none() {
        let next = bench.now + 1000;
        bench.at(next);
        match bench.asked {
            Some(Asked::Read) => drop(bench.corrupt(7)),
            Some(Asked::Write(..)) => claimed = Some(bench.now),
            None => {}
        }
    }
    assert_eq!(claimed, Some(3_600_000));
    bench.written(8);
    assert!(bench.election.is_leading());
}

#[test]
fn mended_12_every_run_ends_with_its_reason() {
    let ends = [
        (Event::Task(true), "TaskSucceeded"),
        (Event::Task(false), "TaskFailed"),
        (Event::TaskGone, "TaskFailed"),
        (Event::Stop, "Stopped"),
    ];
    for (event, reason) in ends {
        let mut bench = Bench::leading(settings());
        bench.step(event).work_returned();
        if bench.asked.is_some() {
            bench.written(2);
        }
        assert!(bench.done.last().unwrap().starts_with(&format!("finish {reason}")));
    }
    let mut bench = Bench::leading(settings());
    bench.at(10_000).work_returned();
    let lost = Outcome::LeaseLost(LossReason::RenewDeadline);
    assert_eq!(bench.done.last().unwrap(), &format!("finish {lost:?}"));
}
