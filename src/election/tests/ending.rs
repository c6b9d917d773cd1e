//! Ending on purpose: the drain, the release, and what becomes of a success.

use super::*;

fn completing() -> Settings {
    Settings { on_success: OnSuccess::Complete, ..settings() }
}

fn releasing() -> Settings {
    Settings { on_success: OnSuccess::Release, ..settings() }
}

#[test]
fn the_lease_is_renewed_while_the_work_drains_and_released_after() {
    let mut bench = Bench::leading(settings());
    bench.at(1000).step(Event::Stop).expect(&["stop work"]);
    bench.at(2000).written(2).expect(&["renew #1 over 1", "extend until 12000"]);
    bench.at(4000).written(3).expect(&["renew #2 over 2", "extend until 14000"]);
    bench.at(5000).work_returned().expect(&["end term", "no leader", "release over 3"]);
    bench.at(5010).written(4).expect(&["finish Stopped, hold back until 9010"]);
}

#[test]
fn stop_results_and_the_limit_signal_only_once() {
    let limited = Settings { term_limit: Some(millis(3000)), ..settings() };
    let mut bench = Bench::leading(limited);
    bench.at(1000).step(Event::Stop).step(Event::Stop).task(false).step(Event::TaskGone);
    bench.expect(&["stop work"]);
    bench.at(2000).written(2).at(3999);
    bench.expect(&["renew #1 over 1", "extend until 12000"]);
    bench.work_returned().written(3);
    let end = "finish Stopped, hold back until 7999";
    bench.expect(&["end term", "no leader", "release over 2", end]);
}

#[test]
fn work_that_outlasts_the_drain_lets_the_lease_expire() {
    let mut bench = Bench::leading(Settings { drain_timeout: millis(3000), ..settings() });
    bench.at(500).task(false).expect(&["stop work"]);
    bench.at(2000).written(2).expect(&["renew #1 over 1", "extend until 12000"]);
    // From the end of the drain on nothing is renewed, and nothing is released.
    bench.at(11_999).expect_nothing();
    bench.at(12_000).expect(&["end term", "no leader"]);
    bench.at(50_000).expect_nothing();
    bench.work_returned().expect(&["finish TaskFailed, hold back until 54000"]);
}

#[test]
fn a_drain_of_zero_stops_renewing_at_once() {
    let mut bench = Bench::leading(Settings { drain_timeout: Duration::ZERO, ..settings() });
    bench.at(500).step(Event::Stop).expect(&["stop work"]);
    bench.at(9_999).expect_nothing();
    bench.at(10_000).expect(&["end term", "no leader"]);
}

#[test]
fn work_that_returns_after_the_drain_but_in_time_still_releases() {
    let mut bench = Bench::leading(Settings { drain_timeout: millis(1000), ..settings() });
    bench.at(500).step(Event::Stop).at(6000).expect(&["stop work"]);
    bench.work_returned().expect(&["end term", "no leader", "release over 1"]);
    bench.written(2).expect(&["finish Stopped, hold back until 10000"]);
}

#[test]
fn a_renewal_that_arrives_after_the_drain_is_released_too() {
    let mut bench = Bench::leading(Settings { drain_timeout: millis(1000), ..settings() });
    bench.at(1500).step(Event::Stop).at(2000).expect(&["stop work", "renew #1 over 1"]);
    bench.at(3000).written(2).expect_nothing();
    bench.at(3500).work_returned().expect(&["end term", "no leader", "release over 1"]);
    bench.write(WriteReply::Conflict).found(own(1, 1, 2)).expect(&["read", "release over 2"]);
    bench.written(3).expect(&["finish Stopped, hold back until 7500"]);
}

#[test]
fn the_validity_ends_a_drain_whose_renewals_fail() {
    let mut bench = Bench::leading(settings());
    bench.at(500).step(Event::Stop).at(9_999).expect(&["stop work", "renew #1 over 1"]);
    bench.at(10_000).expect(&["end term", "no leader"]);
    bench.work_returned().expect(&["finish Stopped, hold back until 14000"]);
}

#[test]
fn a_release_waits_for_a_renewal_under_way() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).step(Event::Stop).work_returned();
    bench.expect(&["renew #1 over 1", "stop work", "end term", "no leader"]);
    bench.at(2500).written(2).expect(&["release over 2"]);
}

#[test]
fn a_release_follows_a_confirmation_though_an_earlier_sending_was_unknown() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate);
    bench.at(4000).step(Event::Stop).work_returned();
    bench.done.clear();
    bench.at(4100).written(2).expect(&["release over 2"]);
}

#[test]
fn a_release_after_an_unknown_renewal_is_not_delayed() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate);
    bench.at(3000).step(Event::Stop).work_returned();
    bench.expect(&["renew #1 over 1", "stop work", "end term", "no leader", "release over 1"]);
    bench.write(WriteReply::Conflict).found(own(1, 1, 2)).expect(&["read", "release over 2"]);
}

#[test]
fn a_release_of_unknown_fate_is_looked_for() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned().write(WriteReply::Indeterminate);
    bench.done.clear();
    bench.at(2000).expect(&["read"]);
    bench.found(of_kind(RecordKind::Released, own(1, 0, 2)));
    bench.expect(&["finish Stopped, hold back until 6000"]);
}

#[test]
fn a_release_that_does_not_stand_is_sent_again() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned().write(WriteReply::Indeterminate);
    bench.at(2000).found(own(1, 0, 1));
    bench.done.clear();
    bench.at(4000).expect(&["release over 1"]);
}

#[test]
fn a_release_that_finds_another_holder_is_done() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned().write(WriteReply::Conflict).found(others("b", 2));
    assert_eq!(bench.done.last().unwrap(), "finish Stopped, hold back until 4000");
}

#[test]
fn a_release_that_hangs_is_given_up_at_the_validitys_end() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned();
    bench.done.clear();
    bench.at(9_999).expect_nothing();
    bench.at(10_000).expect(&["finish Stopped, hold back until 14000"]);
}

#[test]
fn a_release_that_fails_is_sent_again_until_the_validity_ends() {
    let mut bench = Bench::leading(settings());
    bench.step(Event::Stop).work_returned();
    while !bench.finished {
        if bench.asked.is_some() {
            bench.write(WriteReply::Unavailable);
        }
        let next = bench.now + 1;
        bench.at(next);
    }
    assert!(bench.now <= 10_001);
}

#[test]
fn hold_writes_nothing_after_a_success() {
    let mut bench = Bench::leading(settings());
    bench.at(100).task(true).work_returned();
    bench.expect(&["stop work", "end term", "no leader", "finish TaskSucceeded"]);
}

#[test]
fn release_gives_the_lease_up_after_a_success_and_holds_back() {
    let mut bench = Bench::leading(releasing());
    bench.at(100).task(true).work_returned();
    bench.expect(&["stop work", "end term", "no leader", "release over 1"]);
    bench.written(2).expect(&["finish TaskSucceeded, hold back until 4100"]);
}

#[test]
fn complete_records_the_success_once_the_work_has_returned() {
    let mut bench = Bench::leading(completing());
    bench.at(100).task(true).expect(&["stop work"]);
    bench.at(200).work_returned().expect(&["end term", "no leader", "complete over 1"]);
    assert_eq!(bench.record().kind, RecordKind::Completed);
    bench.written(2).expect(&["finish TaskSucceeded"]);
}

#[test]
fn complete_gives_a_failed_term_up() {
    let mut bench = Bench::leading(completing());
    bench.task(false).work_returned();
    bench.expect(&["stop work", "end term", "no leader", "release over 1"]);
}

#[test]
fn complete_does_not_wait_for_work_that_outlasts_the_drain() {
    let mut bench = Bench::leading(Settings { drain_timeout: millis(1000), ..completing() });
    bench.at(100).task(true).at(1100);
    bench.expect(&["stop work", "end term", "no leader", "complete over 1"]);
    bench.written(2).expect_nothing();
    bench.at(5000).work_returned().expect(&["finish TaskSucceeded"]);
}

#[test]
fn a_success_during_the_drain_or_after_it_is_recorded() {
    let mut bench = Bench::leading(Settings { drain_timeout: millis(1000), ..completing() });
    bench.at(100).step(Event::Stop).task(true).at(200).work_returned();
    bench.expect(&["stop work", "end term", "no leader", "complete over 1"]);

    let mut bench = Bench::leading(Settings { drain_timeout: millis(1000), ..completing() });
    bench.at(100).step(Event::Stop).at(1500).task(true);
    bench.expect(&["stop work", "end term", "no leader", "complete over 1"]);
}

#[test]
fn a_failure_is_not_turned_into_a_success() {
    let mut bench = Bench::leading(completing());
    bench.task(false).task(true).work_returned();
    bench.expect(&["stop work", "end term", "no leader", "release over 1"]);
}

#[test]
fn a_success_that_is_heard_after_the_work_returned_is_recorded_instead_of_a_release() {
    let mut bench = Bench::leading(completing());
    bench.at(2000).step(Event::Stop).work_returned();
    bench.expect(&["renew #1 over 1", "stop work", "end term", "no leader"]);
    bench.task(true).written(2).expect(&["extend until 12000", "complete over 2"][1..]);
    bench.written(3).expect(&["finish TaskSucceeded"]);
}

#[test]
fn a_success_that_is_heard_after_the_release_is_unrecorded() {
    let mut bench = Bench::leading(completing());
    bench.at(100).step(Event::Stop).work_returned().task(true);
    bench.expect(&["stop work", "end term", "no leader", "release over 1"]);
    bench.written(2).expect(&["finish SucceededUnrecorded"]);
}

#[test]
fn a_success_that_is_heard_when_the_lease_has_run_out_is_unrecorded() {
    for end in [Event::Stop, Event::Tick] {
        let mut bench = Bench::leading(completing());
        bench.at(100).step(end).at(10_000);
        bench.done.clear();
        bench.task(true).work_returned().expect(&["finish SucceededUnrecorded"]);
    }
}

#[test]
fn a_completion_of_unknown_fate_is_looked_for() {
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().write(WriteReply::Indeterminate);
    bench.done.clear();
    bench.at(2000).expect(&["read"]).found(of_kind(RecordKind::Completed, own(1, 0, 2)));
    bench.expect(&["finish TaskSucceeded"]);
}

#[test]
fn a_completion_that_is_not_confirmed_in_time_is_verified() {
    let completed = of_kind(RecordKind::Completed, own(1, 0, 2));
    for (seen, end) in [
        (completed, "finish TaskSucceeded"),
        (own(1, 0, 1), "finish SucceededUnrecorded"),
        (others("b", 2), "finish SucceededUnrecorded"),
    ] {
        let mut bench = Bench::leading(completing());
        bench.task(true).work_returned().at(10_000);
        bench.done.clear();
        bench.at(11_000).write(WriteReply::Indeterminate).expect(&["read"]);
        bench.found(seen).expect(&[end]);
    }
}

#[test]
fn a_late_word_that_the_completion_stands_is_enough() {
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().at(10_000);
    bench.done.clear();
    bench.at(11_000).written(2).expect(&["finish TaskSucceeded"]);
}

#[test]
fn a_completion_that_hangs_ends_unrecorded_in_bounded_time() {
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().at(19_999);
    bench.done.clear();
    bench.at(20_000).expect(&["finish SucceededUnrecorded"]);
    bench.written(2).expect_nothing();
}

#[test]
fn verification_reads_until_it_knows_or_its_time_is_over() {
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().at(10_000).write(WriteReply::Indeterminate);
    while !bench.finished {
        if bench.asked == Some(Asked::Read) {
            bench.read(ReadReply::Unavailable);
        }
        let next = bench.now + 1;
        bench.at(next);
    }
    assert_eq!(bench.done.last().unwrap(), "finish SucceededUnrecorded");
    assert!(bench.now <= 20_001);
    let looks = bench.done.iter().filter(|action| *action == "read").count();
    assert!((2..=100).contains(&looks), "{looks} looks");
}

#[test]
fn a_completion_that_finds_another_holder_is_unrecorded() {
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().write(WriteReply::Conflict).found(others("b", 2));
    assert_eq!(bench.done.last().unwrap(), "finish SucceededUnrecorded");
}

#[test]
fn a_panic_of_the_work_ends_the_term_as_a_failure() {
    let mut bench = Bench::leading(settings());
    bench.at(100).step(Event::WorkReturned { panicked: true });
    bench.expect(&["stop work", "end term", "no leader", "release over 1"]);
    bench.written(2).expect(&["finish WorkPanicked, hold back until 4100"]);
}

#[test]
fn a_panic_during_the_drain_or_after_the_loss_is_reported() {
    let mut bench = Bench::leading(settings());
    bench.at(100).step(Event::Stop).step(Event::WorkReturned { panicked: true }).written(2);
    assert_eq!(bench.done.last().unwrap(), "finish WorkPanicked, hold back until 4100");
    let mut bench = Bench::leading(settings());
    bench.at(10_000).step(Event::WorkReturned { panicked: true });
    assert_eq!(bench.done.last().unwrap(), "finish WorkPanicked");
}

#[test]
fn who_lost_or_held_the_lease_does_not_hold_back() {
    let mut bench = Bench::leading(settings());
    bench.at(10_000).work_returned();
    assert_eq!(bench.done.last().unwrap(), "finish LeaseLost(RenewDeadline)");
    let mut bench = Bench::leading(completing());
    bench.task(true).work_returned().written(2);
    assert_eq!(bench.done.last().unwrap(), "finish TaskSucceeded");
}
