//! Leading: renewals, what extends a validity and what does not, and how a lease is lost.

use super::*;

#[test]
fn validity_counts_from_before_a_renewal_was_sent() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).expect(&["renew #1 over 1"]);
    // A slow reply does not delay the next renewal.
    bench.at(5000).written(2).expect(&["extend until 12000", "renew #2 over 2"]);
    bench.at(5010).written(3).expect(&["extend until 15000"]);
    assert_eq!(bench.next_deadline(), Some(7000));
}

#[test]
fn a_slow_claim_renews_at_once() {
    let mut bench = Bench::new(settings());
    bench.absent().at(9_000).written(1);
    bench.expect(&["read", "acquire over nothing", "begin 1 until 10000", "leader a"]);
    bench.at(9_000).expect(&["renew #1 over 1"]);
}

#[test]
fn two_attempts_fit_before_the_deadline() {
    let mut bench = Bench::leading(settings());
    let mut sent = 0;
    while !bench.ended {
        if bench.asked.is_some() {
            bench.write(WriteReply::Unavailable);
            sent += 1;
        }
        let next = bench.now + 1;
        bench.at(next);
    }
    assert_eq!(bench.now, 10_000);
    assert!((2..=20).contains(&sent), "{sent} attempts");
}

#[test]
fn an_attempt_gets_half_of_what_is_left() {
    let mut election = Bench::leading(settings()).election;
    let mut actions = Vec::new();
    election.step(at(2000), Jitter(0), Event::Tick, &mut actions);
    let Some(Action::Write { deadline, .. }) = actions.pop() else { panic!("no renewal") };
    assert_eq!(offset(deadline), 6000);
    election.step(at(6000), Jitter(0), Event::Written(WriteReply::Unavailable), &mut actions);
    election.step(at(8000), Jitter(0), Event::Tick, &mut actions);
    let Some(Action::Write { deadline, .. }) = actions.pop() else { panic!("no renewal") };
    assert_eq!(offset(deadline), 10_000);
}

#[test]
fn a_look_during_a_term_gets_no_more_time_than_a_renewal() {
    let mut election = Bench::leading(settings()).election;
    let mut actions = Vec::new();
    election.step(at(2000), Jitter(0), Event::Tick, &mut actions);
    let conflict = Event::Written(WriteReply::Conflict);
    election.step(at(2000), Jitter(0), conflict, &mut actions);
    let Some(Action::Read { deadline }) = actions.pop() else { panic!("no look") };
    assert_eq!(offset(deadline), 6000);
}

#[test]
fn nothing_but_a_confirmed_renewal_extends() {
    for reply in [WriteReply::Unavailable, WriteReply::Indeterminate] {
        let mut bench = Bench::leading(settings());
        bench.at(2000).write(reply).expect(&["renew #1 over 1"]);
        bench.at(4000).write(reply).expect(&["renew #1 over 1"]);
        bench.at(6000).expect(&["renew #1 over 1"]);
        bench.at(9_999).expect_nothing();
        bench.at(10_000);
        bench.expect(&["lost RenewDeadline", "stop work", "end term", "no leader"]);
    }
}

#[test]
fn a_renewal_of_unknown_fate_counts_from_its_first_sending() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate).expect(&["renew #1 over 1"]);
    bench.at(4000).written(2).expect(&["renew #1 over 1", "extend until 12000"]);
    bench.at(6000).written(3).expect(&["renew #2 over 2", "extend until 16000"]);
}

#[test]
fn a_renewal_that_surely_was_not_written_counts_from_its_next_sending() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Unavailable).expect(&["renew #1 over 1"]);
    bench.at(4000).written(2).expect(&["renew #1 over 1", "extend until 14000"]);
}

#[test]
fn one_unknown_reply_keeps_the_first_sending_through_later_failures() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate);
    bench.at(4000).write(WriteReply::Unavailable);
    bench.at(6000).written(2);
    let renewal = "renew #1 over 1";
    bench.expect(&[renewal, renewal, renewal, "extend until 12000"]);
}

#[test]
fn a_conflict_with_ones_own_renewal_is_a_success_from_its_first_sending() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate);
    bench.at(4000).write(WriteReply::Conflict);
    bench.expect(&["renew #1 over 1", "renew #1 over 1", "read"]);
    bench.found(own(1, 1, 2)).expect(&["extend until 12000"]);
    bench.at(6000).expect(&["renew #2 over 2"]);
}

#[test]
fn a_record_that_somebody_touched_but_left_as_it_was_extends_nothing() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).expect(&["renew #1 over 1", "read"]);
    bench.found(own(1, 0, 4)).expect(&["renew #1 over 4"]);
    bench.at(2500).written(5).expect(&["extend until 12000"]);
}

#[test]
fn a_touched_record_forgets_a_sending_that_can_no_longer_arrive() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Indeterminate);
    bench.at(4000).write(WriteReply::Conflict).found(own(1, 0, 4));
    bench.expect(&["renew #1 over 1", "renew #1 over 1", "read", "renew #1 over 4"]);
    bench.written(5).expect(&["extend until 14000"]);
}

#[test]
fn a_conflict_on_an_unchanged_record_does_not_spin() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).found(own(1, 0, 1));
    bench.expect(&["renew #1 over 1", "read"]);
    bench.at(3999).expect_nothing();
    bench.at(4000).expect(&["renew #1 over 1"]);
}

#[test]
fn a_late_reply_never_revives_a_validity() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).expect(&["renew #1 over 1"]);
    // Frozen over the deadline: the confirmation and the timer are both due.
    bench.frozen_until(10_000).written(2);
    bench.expect(&["lost RenewDeadline", "stop work", "end term", "no leader"]);
    bench.work_returned().expect(&["finish LeaseLost(RenewDeadline)"]);
}

#[test]
fn nothing_is_written_after_the_validity() {
    let mut bench = Bench::leading(settings());
    bench.frozen_until(10_000).step(Event::Tick);
    bench.expect(&["lost RenewDeadline", "stop work", "end term", "no leader"]);
    bench.at(60_000).expect_nothing();
    bench.task(false).step(Event::Stop).expect_nothing();
    bench.work_returned().expect(&["finish LeaseLost(RenewDeadline)"]);
}

#[test]
fn an_extension_that_was_seen_to_come_too_late_loses_the_term() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).written(2).expect(&["renew #1 over 1", "extend until 12000"]);
    bench.step(Event::ValidityEnded);
    bench.expect(&["lost RenewDeadline", "stop work", "end term", "no leader"]);
}

#[test]
fn a_record_of_somebody_else_ends_the_term_at_once() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).expect(&["renew #1 over 1", "read"]);
    bench.found(others("b", 2));
    bench.expect(&["lost TakenOver", "stop work", "end term", "no leader", "leader b"]);
    bench.work_returned().expect(&["finish LeaseLost(TakenOver)"]);
}

#[test]
fn what_is_not_this_terms_held_record_is_another() {
    let strange = [
        own(9, 0, 9),
        own(1, 5, 9),
        of_kind(RecordKind::Released, own(1, 0, 2)),
        of_kind(RecordKind::Completed, own(1, 0, 2)),
        others("a", 1),
    ];
    for observed in strange {
        let mut bench = Bench::leading(settings());
        bench.at(2000).write(WriteReply::Conflict).found(observed.clone());
        assert!(bench.done.contains(&"lost TakenOver".to_owned()), "{observed:?}");
    }
}

#[test]
fn a_record_that_is_gone_ends_the_term() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).absent();
    assert!(bench.done.contains(&"lost TakenOver".to_owned()));
}

#[test]
fn a_record_that_can_not_be_read_is_asked_for_until_the_deadline() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).corrupt(2);
    bench.expect(&["renew #1 over 1", "read"]);
    while !bench.ended {
        match bench.asked {
            Some(Asked::Read) => drop(bench.corrupt(2)),
            Some(_) => panic!("written without knowing what stands there"),
            None => {}
        }
        let next = bench.now + 1;
        bench.at(next);
    }
    assert_eq!(bench.now, 10_000);
}

#[test]
fn a_fatal_lock_ends_the_term_at_once() {
    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Fatal);
    let story = ["lost LockFailed", "stop work", "end term", "no leader"];
    assert_eq!(bench.done[1..], story);
    bench.done.clear();
    bench.work_returned().expect(&["finish LeaseLost(LockFailed)"]);

    let mut bench = Bench::leading(settings());
    bench.at(2000).write(WriteReply::Conflict).read(ReadReply::Fatal);
    assert_eq!(bench.done[2..], story);
}

#[test]
fn losing_waits_for_the_work_before_it_finishes_but_not_for_the_lock() {
    let mut bench = Bench::leading(settings());
    bench.at(10_000);
    bench.done.clear();
    bench.at(500_000).expect_nothing();
    bench.work_returned().expect(&["finish LeaseLost(RenewDeadline)"]);
    // The renewal of then answers at last.
    bench.written(2).expect_nothing();
}

#[test]
fn a_wake_up_or_a_tick_in_a_term_changes_nothing() {
    let mut bench = Bench::leading(settings());
    bench.at(100).step(Event::WakeUp).step(Event::Tick).step(Event::WakeUp).expect_nothing();
}

#[test]
fn a_renewal_may_wait_but_not_beyond_the_end_of_the_term() {
    let slack = |term_limit| Bench::leading(Settings { term_limit, ..settings() }).election.slack();
    assert_eq!(slack(None), millis(2000) / 64);
    assert_eq!(slack(Some(millis(2003))), millis(3));
    assert_eq!(slack(Some(millis(2000))), Duration::ZERO);
    assert_eq!(slack(Some(millis(1000))), Duration::ZERO);
    // With an answer awaited, the next deadline is an end.
    let mut bench = Bench::leading(settings());
    assert_eq!(bench.at(2000).election.slack(), Duration::ZERO);
}
