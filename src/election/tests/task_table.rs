//! The task channel, phase by phase, exactly as the original reads it.

use super::*;

#[test]
fn campaigning_true_ends_the_campaign_without_a_term() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.at(500).task(true).expect(&["finish TaskSucceeded"]);
}

#[test]
fn campaigning_false_is_read_and_ignored() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.at(500).task(false).expect_nothing();
    bench.at(2000).expect(&["read"]);
    bench.found(of_kind(RecordKind::Released, others("b", 6)));
    bench.expect(&["no leader", "acquire over 6"]);
}

#[test]
fn campaigning_disconnected_goes_on_but_ends_where_it_would_claim() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.step(Event::TaskGone).expect_nothing();
    bench.at(2000).expect(&["read"]).found(others("b", 6)).expect_nothing();
    bench.at(4000).expect(&["read"]);
    bench.found(of_kind(RecordKind::Released, others("b", 7)));
    bench.expect(&["no leader", "finish TaskFailed"]);
}

#[test]
fn campaigning_disconnected_still_hears_of_a_completion() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.step(Event::TaskGone).at(2000);
    bench.found(of_kind(RecordKind::Completed, others("b", 6)));
    bench.expect(&["read", "no leader", "finish AlreadyCompleted"]);
}

#[test]
fn campaigning_disconnected_during_a_claim_releases_what_it_won() {
    let mut bench = Bench::new(settings());
    bench.absent().expect(&["read", "acquire over nothing"]);
    bench.step(Event::TaskGone).expect_nothing();
    bench.written(1).expect(&["release over 1"]);
    assert_eq!(bench.record().fencing_token, Some(1));
    bench.written(2).expect(&["finish TaskFailed"]);
}

#[test]
fn leading_true_ends_the_term_as_a_success() {
    let mut bench = Bench::leading(settings());
    bench.at(100).task(true).expect(&["stop work"]);
    bench.at(200).work_returned();
    bench.expect(&["end term", "no leader", "finish TaskSucceeded"]);
}

#[test]
fn leading_false_ends_the_term_as_a_failure() {
    let mut bench = Bench::leading(settings());
    bench.at(100).task(false).expect(&["stop work"]);
    bench.at(200).work_returned().expect(&["end term", "no leader", "release over 1"]);
    bench.at(300).written(2).expect(&["finish TaskFailed, hold back until 4300"]);
}

#[test]
fn leading_disconnected_reads_as_false() {
    let mut bench = Bench::leading(settings());
    bench.at(100).step(Event::TaskGone).expect(&["stop work"]);
    bench.work_returned().expect(&["end term", "no leader", "release over 1"]);
    bench.written(2).expect(&["finish TaskFailed, hold back until 4100"]);
}

#[test]
fn disconnected_after_a_result_changes_nothing() {
    let mut bench = Bench::leading(settings());
    bench.task(true).step(Event::TaskGone).expect(&["stop work"]);
    bench.work_returned().expect(&["end term", "no leader", "finish TaskSucceeded"]);
}

#[test]
fn without_a_task_it_leads_until_stopped() {
    let mut bench = Bench::leading(settings());
    for renewal in 1..=100 {
        bench.at(2000 * renewal).written(1 + renewal);
        let until = 10_000 + 2000 * renewal;
        bench.expect(&[
            &format!("renew #{renewal} over {renewal}"),
            &format!("extend until {until}"),
        ]);
    }
    bench.step(Event::Stop).expect(&["stop work"]);
    bench.work_returned().expect(&["end term", "no leader", "release over 101"]);
    bench.written(102).expect(&["finish Stopped, hold back until 204000"]);
}

#[test]
fn the_return_of_the_work_alone_changes_nothing() {
    let mut bench = Bench::leading(settings());
    bench.at(100).work_returned().expect_nothing();
    bench.at(2000).expect(&["renew #1 over 1"]).written(2).expect(&["extend until 12000"]);
    bench.task(true).expect(&["stop work", "end term", "no leader", "finish TaskSucceeded"]);
}
