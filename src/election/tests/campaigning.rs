//! Campaigning: when a record may be claimed, and what becomes of a claim.

use super::*;
use crate::record::MAX_LEASE_DURATION;

#[test]
fn a_record_that_vanishes_is_waited_for_like_one_that_changed() {
    let mut bench = Bench::seeing(settings(), others("b", 4));
    bench.at(2000).expect(&["read"]).absent().expect(&["no leader"]);
    for look in 2..=8 {
        bench.at(2000 * look).expect(&["read"]).absent().expect_nothing();
    }
    bench.at(17_000).expect(&["acquire over nothing"]);
    // A release can't be taken back by vanishing.
    let mut bench = Bench::seeing(settings(), others("b", 4));
    bench.at(2000).found(of_kind(RecordKind::Released, others("b", 5)));
    bench.write(WriteReply::Conflict).absent();
    bench.expect(&["read", "no leader", "acquire over 5", "read", "acquire over nothing"]);
}

#[test]
fn an_absent_record_is_claimed_at_once() {
    let mut bench = Bench::new(settings());
    bench.expect(&["read"]);
    bench.at(30).absent().expect(&["acquire over nothing"]);
    assert_eq!(bench.record().leader_transitions, 0);
    // Rule 1: validity counts from before the claim was sent.
    bench.at(130).written(1).expect(&["begin 1 until 10030", "leader a"]);
}

#[test]
fn a_released_record_is_claimed_at_once() {
    let mut bench = Bench::new(settings());
    bench.found(of_kind(RecordKind::Released, others("b", 5)));
    bench.expect(&["read", "acquire over 5"]);
    bench.written(6).expect(&["begin 6 until 10000", "leader a"]);
}

#[test]
fn a_holder_that_is_proven_dead_is_succeeded_at_once() {
    let mut bench = Bench::new(settings());
    bench.read(ReadReply::Found { observed: others("b", 5), liveness: Liveness::Dead });
    bench.expect(&["read", "leader b", "acquire over 5"]);
}

#[test]
fn a_holder_that_is_seen_to_live_ends_a_campaign_that_is_only_to_try() {
    let alive = || ReadReply::Found { observed: others("b", 5), liveness: Liveness::Alive };
    let trying = Settings { acquire_timeout: Some(Duration::ZERO), ..settings() };
    let mut bench = Bench::new(trying);
    bench.read(alive()).expect(&["read", "leader b", "finish AcquireTimedOut"]);
    // With a timeout: at its very end, whatever the retry period is.
    let patient = Settings { acquire_timeout: Some(millis(4_500)), ..settings() };
    let mut bench = Bench::new(patient);
    bench.read(alive()).expect(&["read", "leader b"]);
    bench.at(2000).expect(&["read"]).read(alive()).expect_nothing();
    bench.at(4000).expect(&["read"]).read(alive()).expect_nothing();
    bench.at(4500).expect(&["read"]).read(alive()).expect(&["finish AcquireTimedOut"]);
}

#[test]
fn a_lease_that_is_over_is_timed_and_taken_whatever_the_timeout() {
    let found = |liveness| ReadReply::Found { observed: others("b", 5), liveness };
    let trying = Settings { acquire_timeout: Some(millis(4_500)), ..settings() };
    let mut bench = Bench::new(trying);
    bench.read(found(Liveness::Alive)).expect(&["read", "leader b"]);
    bench.at(2000).expect(&["read"]).read(found(Liveness::Alive)).expect_nothing();
    bench.at(4000).expect(&["read"]);
    bench.read(found(Liveness::Unknown)).expect_nothing();
    let mut acquired = false;
    for now in 4001..=15_400 {
        bench.at(now);
        if bench.asked.is_some() && now < 15_000 {
            bench.expect(&["read"]).read(found(Liveness::Unknown)).expect_nothing();
        } else if bench.asked.is_some() {
            bench.expect(&["acquire over 5"]);
            acquired = true;
            break;
        }
    }
    assert!(acquired);
}

#[test]
fn a_holder_that_is_seen_to_live_has_its_whole_lease_and_no_more() {
    let alive = || ReadReply::Found { observed: others("b", 5), liveness: Liveness::Alive };
    let mut bench = Bench::new(settings());
    bench.read(alive()).expect(&["read", "leader b"]);
    for look in 1..=7 {
        bench.at(2000 * look).expect(&["read"]).read(alive()).expect_nothing();
    }
    bench.at(15_000).expect(&["acquire over 5"]);
}

#[test]
fn the_first_sight_of_a_record_waits_a_whole_lease_of_its_holder() {
    let mut seen = others("b", 5);
    seen.record.lease_duration = millis(30_000);
    let mut bench = Bench::new(settings());
    bench.at(70).found(seen.clone()).expect(&["read", "leader b"]);
    for look in 0..14 {
        bench.at(2070 + 2000 * look).expect(&["read"]).found(seen.clone()).expect_nothing();
    }
    // To the millisecond, whatever the retry period is; counted from after the read.
    bench.at(30_069).expect_nothing();
    bench.at(30_070).expect(&["acquire over 5"]);
}

#[test]
fn a_holder_with_a_shorter_lease_is_succeeded_sooner() {
    let mut seen = others("b", 5);
    seen.record.lease_duration = millis(1_500);
    let mut bench = Bench::seeing(settings(), seen);
    bench.at(1_499).expect_nothing();
    bench.at(1_500).expect(&["acquire over 5"]);
}

#[test]
fn any_change_of_version_starts_the_lease_again() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    let mut other_nonce = others("b", 6);
    other_nonce.nonce = 9;
    for (offset, seen) in [(2000, others("b", 6)), (4000, other_nonce)] {
        bench.at(offset).expect(&["read"]).found(seen).expect_nothing();
    }
    for look in 3..=9 {
        bench.at(look * 2000);
        let mut seen = others("b", 6);
        seen.nonce = 9;
        bench.expect(&["read"]).found(seen).expect_nothing();
    }
    bench.at(18_999).expect_nothing();
    bench.at(19_000).expect(&["acquire over 6"]);
}

#[test]
fn wall_clock_times_decide_nothing() {
    let mut seen = others("b", 5);
    seen.record.renew_time = crate::clock::Timestamp::from_millis(u64::MAX);
    let mut bench = Bench::seeing(settings(), seen);
    bench.at(2000).expect(&["read"]);
    let mut touched = others("b", 5);
    touched.record.renew_time = crate::clock::Timestamp::from_millis(1);
    bench.found(touched.clone());
    for look in 2..=7 {
        bench.at(2000 * look).found(touched.clone());
    }
    bench.done.clear();
    bench.at(15_000).expect(&["acquire over 5"]);
}

#[test]
fn waits_are_one_to_one_point_two_retry_periods() {
    for (jitter, next) in [(0, 2000), (u32::MAX, 2400), (u32::MAX / 2, 2199)] {
        let mut bench = Bench::new(settings());
        bench.jitter = Jitter(jitter);
        bench.found(others("b", 5));
        assert_eq!(bench.next_deadline(), Some(next));
    }
}

#[test]
fn a_wake_up_looks_at_once_and_one_during_a_look_looks_again() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.at(300).step(Event::WakeUp).expect(&["read"]);
    bench.step(Event::WakeUp).step(Event::WakeUp).expect_nothing();
    bench.found(others("b", 5)).expect(&["read"]);
    bench.found(of_kind(RecordKind::Released, others("b", 6)));
    bench.expect(&["no leader", "acquire over 6"]);
}

#[test]
fn a_wake_up_during_a_failing_claim_is_not_lost() {
    let mut bench = Bench::new(settings());
    bench.absent().expect(&["read", "acquire over nothing"]);
    bench.step(Event::WakeUp).write(WriteReply::Unavailable).expect(&["read"]);
}

#[test]
fn a_wake_up_comes_before_a_claim_that_is_due() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.at(14_000).found(others("b", 5));
    bench.done.clear();
    bench.frozen_until(15_000).step(Event::WakeUp).expect(&["read"]);
}

#[test]
fn a_suspended_process_looks_before_it_claims() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.frozen_until(60_000).step(Event::Tick).expect(&["read"]);
    bench.at(60_050).found(others("b", 9)).expect_nothing();
    // What it finds is new to it, so it waits a lease from there.
    assert_eq!(bench.next_deadline(), Some(62_050));
}

#[test]
fn a_suspended_process_that_finds_nothing_changed_claims() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.frozen_until(60_000).step(Event::Tick).expect(&["read"]);
    bench.at(60_050).found(others("b", 5)).expect(&["acquire over 5"]);
}

#[test]
fn an_unavailable_lock_is_asked_again_after_a_retry_period() {
    let mut bench = Bench::new(settings());
    bench.read(ReadReply::Unavailable).expect(&["read"]);
    bench.at(1999).expect_nothing();
    bench.at(2000).expect(&["read"]).absent().expect(&["acquire over nothing"]);
    bench.write(WriteReply::Unavailable).expect_nothing();
    bench.at(4000).expect(&["acquire over nothing"]);
}

#[test]
fn a_fatal_lock_ends_the_campaign() {
    let mut bench = Bench::new(settings());
    bench.read(ReadReply::Fatal).expect(&["read", "finish LockFailed"]);
    let mut bench = Bench::new(settings());
    bench.absent().write(WriteReply::Fatal);
    bench.expect(&["read", "acquire over nothing", "finish LockFailed"]);
}

#[test]
fn a_lost_race_looks_at_once_and_waits_for_the_winner() {
    let mut bench = Bench::new(settings());
    bench.absent().write(WriteReply::Conflict);
    bench.expect(&["read", "acquire over nothing", "read"]);
    bench.found(others("b", 1)).expect(&["leader b"]);
    assert_eq!(bench.next_deadline(), Some(2000));
}

#[test]
fn a_conflict_on_an_unchanged_view_waits_before_the_next_claim() {
    let mut bench = Bench::new(settings());
    bench.absent().write(WriteReply::Conflict).absent();
    bench.expect(&["read", "acquire over nothing", "read"]);
    bench.at(1999).expect_nothing();
    bench.at(2000).expect(&["acquire over nothing"]);
}

#[test]
fn a_claim_of_unknown_fate_that_stands_is_claimed_again_after_a_retry_period() {
    let mut bench = Bench::new(settings());
    bench.absent().write(WriteReply::Indeterminate);
    bench.expect(&["read", "acquire over nothing", "read"]);
    bench.found(own(1, 0, 1));
    // A lock whose replies are always lost must not be written to without a pause.
    bench.done.clear();
    bench.at(1999).expect_nothing();
    bench.at(2000).expect(&["acquire over 1"]);
    bench.written(2).expect(&["begin 2 until 12000"]);
}

#[test]
fn a_claim_of_unknown_fate_that_does_not_stand_is_sent_again_later() {
    let mut bench = Bench::new(settings());
    bench.absent().write(WriteReply::Indeterminate).absent();
    bench.expect(&["read", "acquire over nothing", "read"]);
    bench.at(2000).expect(&["acquire over nothing"]);
}

#[test]
fn a_claim_whose_reply_is_late_never_becomes_a_term() {
    let mut bench = Bench::new(settings());
    bench.absent().expect(&["read", "acquire over nothing"]);
    bench.at(10_000).written(1).expect(&["read"]);
    bench.found(own(1, 0, 1)).expect(&["leader a", "acquire over 1"]);
    bench.written(2).expect(&["begin 2 until 20000"]);
}

#[test]
fn a_record_of_the_same_name_but_another_incarnation_is_not_ones_own() {
    let mut bench = Bench::seeing(settings(), others("a", 5));
    bench.at(14_999);
    assert!(!bench.done.iter().any(|action| action.starts_with("acquire")));
}

#[test]
fn stop_ends_a_campaign_at_once_though_a_read_hangs() {
    let mut bench = Bench::new(settings());
    bench.step(Event::Stop).expect(&["read", "finish Stopped"]);
    bench.absent().expect_nothing();
}

#[test]
fn a_claim_under_way_is_withdrawn() {
    let mut bench = Bench::new(settings());
    bench.absent().expect(&["read", "acquire over nothing"]);
    bench.at(100).step(Event::Stop).expect_nothing();
    assert_eq!(bench.next_deadline(), Some(1100), "a second of patience");
    bench.at(200).written(1).expect(&["release over 1"]);
    assert!(!bench.began);
    bench.written(2).expect(&["finish Stopped"]);
}

#[test]
fn a_claim_that_failed_needs_no_withdrawal() {
    for reply in [WriteReply::Conflict, WriteReply::Unavailable, WriteReply::Indeterminate] {
        let mut bench = Bench::new(settings());
        bench.absent().task(true).write(reply);
        bench.expect(&["read", "acquire over nothing", "finish TaskSucceeded"]);
    }
}

#[test]
fn a_withdrawal_ends_after_its_patience_though_the_lock_hangs() {
    let mut bench = Bench::new(settings());
    bench.absent().step(Event::Stop).at(999).expect(&["read", "acquire over nothing"]);
    bench.at(1000).expect(&["finish Stopped"]);
    bench.written(1).expect_nothing();
}

#[test]
fn a_withdrawal_writes_nothing_after_the_claims_validity() {
    let mut bench = Bench::new(settings());
    bench.absent().at(9_900).step(Event::Stop).expect(&["read", "acquire over nothing"]);
    bench.frozen_until(10_000).written(1).expect(&["finish Stopped"]);
}

#[test]
fn a_completion_ends_the_campaign_even_while_a_holder_was_timed() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.at(2000).found(of_kind(RecordKind::Completed, others("b", 6)));
    bench.expect(&["read", "no leader", "finish AlreadyCompleted"]);
}

#[test]
fn transitions_rise_with_every_claim() {
    let mut seen = of_kind(RecordKind::Released, others("b", 50));
    seen.record.leader_transitions = 12;
    let mut bench = Bench::new(settings());
    bench.found(seen);
    assert_eq!(bench.record().leader_transitions, 13);
    let mut seen = of_kind(RecordKind::Released, others("b", 51));
    seen.record.leader_transitions = u64::MAX;
    bench.write(WriteReply::Conflict).found(seen);
    assert_eq!(bench.record().leader_transitions, u64::MAX);
}

#[test]
fn a_corrupt_record_is_held_for_an_hour_and_then_superseded() {
    let mut bench = Bench::new(settings());
    let mut seen = others("b", 50);
    seen.record.leader_transitions = 49;
    bench.found(seen).at(2000).corrupt(51);
    bench.expect(&["read", "leader b", "read", "no leader"]);
    let hour = MAX_LEASE_DURATION.as_millis() as u64;
    for look in 2..=hour / 2000 {
        bench.at(2000 * look).corrupt(51);
    }
    bench.done.clear();
    bench.at(2000 + hour - 1).expect_nothing();
    bench.at(2000 + hour).expect(&["acquire over 51"]);
    // At most every write was an acquisition, so the transitions have not fallen.
    assert!(bench.record().leader_transitions >= 51);
}

#[test]
fn a_corrupt_record_that_changes_is_held_anew() {
    let mut bench = Bench::new(settings());
    bench.corrupt(51);
    for look in 1..=1799 {
        bench.at(2000 * look).corrupt(51);
    }
    bench.at(3_599_999).step(Event::WakeUp);
    bench.read(ReadReply::Corrupt { revision: Revision(51), nonce: 1 });
    bench.done.clear();
    bench.at(3_601_000).expect_nothing();
}

#[test]
fn who_is_held_back_claims_nothing_before() {
    let mut bench = Bench::held_back(settings(), Some(4000));
    bench.absent().expect(&["read"]);
    bench.at(2000).expect(&["read"]).absent().expect_nothing();
    bench.at(3999).expect_nothing();
    bench.at(4000).expect(&["acquire over nothing"]);
}

#[test]
fn the_leader_is_reported_only_when_it_changes() {
    let mut bench = Bench::new(settings());
    bench.found(others("b", 5)).at(2000).found(others("b", 6)).at(4000).found(others("c", 7));
    bench.expect(&["read", "leader b", "read", "read", "leader c"]);
    bench.at(6000).found(of_kind(RecordKind::Released, others("c", 8)));
    bench.expect(&["read", "no leader", "acquire over 8"]);
}

#[test]
fn an_expiry_is_claimed_after_a_random_part_of_a_moment_and_a_look() {
    let mut bench = Bench::seeing(settings(), others("b", 5));
    bench.jitter = Jitter(u32::MAX);
    let mut seen = others("b", 6);
    bench.at(2000).expect(&["read"]).found(seen.clone());
    for look in 1..=6 {
        bench.at(2000 + 2400 * look).expect(&["read"]).found(seen.clone()).expect_nothing();
    }
    bench.at(17_039).expect_nothing();
    // A renewal that came meanwhile is seen before any claim is sent.
    bench.at(17_040).expect(&["read"]);
    seen.revision = Revision(7);
    bench.found(seen.clone()).expect_nothing();
    for look in 1..=6 {
        bench.at(17_040 + 2400 * look).expect(&["read"]).found(seen.clone()).expect_nothing();
    }
    bench.at(32_080).expect(&["read"]).found(seen).expect(&["acquire over 7"]);
}

#[test]
fn the_more_claims_others_were_faster_than_the_longer_the_next_may_wait() {
    let mut bench = Bench::new(settings());
    bench.jitter = Jitter(u32::MAX);
    let free = |revision| of_kind(RecordKind::Released, others("b", revision));
    bench.found(free(1)).expect(&["read", "acquire over 1"]);
    let mut waits = Vec::new();
    for revision in 2..12 {
        bench.write(WriteReply::Conflict).expect(&["read"]);
        bench.found(free(revision)).expect_nothing();
        let seen = bench.now;
        while bench.asked.is_none() {
            let next = bench.now + 1;
            bench.at(next);
        }
        bench.expect(&["read"]).found(free(revision));
        bench.expect(&[&format!("acquire over {revision}")]);
        waits.push(bench.now - seen);
    }
    // A millisecond is as fine as this bench gets.
    assert_eq!(waits, [1, 1, 4, 13, 52, 205, 250, 250, 250, 250]);
}

#[test]
fn a_look_may_wait_but_not_beyond_the_next_claim() {
    let mut bench = Bench::new(settings());
    bench.found(others("b", 1));
    assert_eq!(bench.election.slack(), millis(2000) / 64);
    // Its lease is over at 15 s, two milliseconds after the next look.
    bench.frozen_until(12_998).step(Event::Tick).found(others("b", 1));
    assert_eq!(bench.next_deadline(), Some(14_998));
    assert_eq!(bench.election.slack(), millis(2));
    bench.at(14_998).found(others("b", 1));
    assert_eq!((bench.next_deadline(), bench.election.slack()), (Some(15_000), Duration::ZERO));
}
