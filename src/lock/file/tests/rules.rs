//! Each rule of the file protocol that has a reason, on the bare steps and scripted system calls.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::lock::file::claim::Claimed;
use crate::lock::file::entry::{Decoded, FORMAT, Witness, decode, encode};
use crate::lock::file::finish::Finish;
use crate::lock::file::step::{Errno, FaultKind, LONGEST_WINDOW, Op};
use crate::lock::file::sweep::Memory;

const HERE: DirectoryId = DirectoryId { device: 1, inode: 1 };
const ELSEWHERE: DirectoryId = DirectoryId { device: 1, inode: 2 };
const NONE: [u64; 0] = [];
const EIO: i32 = 5;
const EPERM: i32 = 1;
const EISDIR: i32 = 21;
const ENOSYS: i32 = 38;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn entry(incarnation: u128, token: u64, kind: RecordKind, nonce: u64) -> Entry {
    let record = of_term(&record(incarnation), Revision(token)).with_kind(kind);
    Entry { format: FORMAT, record, nonce, witness: None, holder: None }
}

fn held(incarnation: u128, token: u64) -> Text {
    encode(&entry(incarnation, token, RecordKind::Held, 7)).unwrap()
}

fn listed(names: &[u64]) -> Reply {
    Reply::Listed(names.into())
}

/// Feeds a step its replies, one a second from `start` unless `pauses` says otherwise, and returns
/// what it asked for and what came out, if anything did.
struct Drive<T> {
    ops: Vec<Op>,
    output: Option<T>,
}

fn drive<S: Step>(
    mut step: S,
    replies: impl IntoIterator<Item = (u64, Reply)>,
) -> Drive<S::Output> {
    let mut ops = Vec::new();
    let mut feed = std::iter::once((0, Reply::Begin)).chain(replies);
    while let Some((seconds, reply)) = feed.next() {
        match step.next(at(seconds), reply) {
            Next::Do(op) => ops.push(op),
            Next::Done(output) => {
                assert_eq!(feed.next(), None, "the step ended early, after {ops:?}");
                return Drive { ops, output: Some(output) };
            }
        }
    }
    Drive { ops, output: None }
}

fn quickly(replies: impl IntoIterator<Item = Reply>) -> impl Iterator<Item = (u64, Reply)> {
    replies.into_iter().map(|reply| (0, reply))
}

fn fault<T: std::fmt::Debug>(drive: Drive<Result<T, Fault>>) -> FaultKind {
    drive.output.expect("the step has ended").unwrap_err().kind
}

fn head(generation: u64, text: &Text) -> Head {
    let Decoded::Entry(entry) = decode(text) else { panic!("a readable head") };
    Head {
        directory: HERE,
        generation,
        text: Some(text.clone()),
        content: Content::Entry(entry),
        read_at: at(0),
        listed_at: at(0),
    }
}

/// A claim of generation 6 after 5, and the replies that let it win.
fn claim() -> (Claim, Text, VecDeque<Reply>) {
    let (before, own) = (held(1, 5), held(2, 6));
    let claim = Claim::new(Some(Predecessor::from(&head(5, &before))), own.clone(), BUDGET);
    let replies = [
        Reply::Opened(HERE),
        listed(&[4, 5]),
        Reply::Text(before.clone()),
        Reply::Done,
        Reply::Text(own.clone()),
        Reply::Done,
        Reply::Text(own.clone()),
        Reply::Text(before),
        Reply::Opened(HERE),
        listed(&[4, 5, 6]),
    ];
    (claim, own, replies.into())
}

fn claim_with(index: usize, reply: Reply) -> Drive<Result<Claimed, Fault>> {
    let (claim, _, mut replies) = claim();
    replies.truncate(index);
    replies.push_back(reply);
    drive(claim, quickly(replies))
}

#[test]
fn a_claim_is_created_read_synced_read_again_and_then_listed() {
    let (step, own, replies) = claim();
    let done = drive(step, quickly(replies));
    let expected = vec![
        Op::Open,
        Op::List,
        Op::Read(5),
        Op::Create(6, own),
        Op::Read(6),
        Op::Sync,
        Op::Read(6),
        Op::Read(5),
        Op::Open,
        Op::List,
    ];
    assert_eq!(done.ops, expected);
    assert_eq!(done.output, Some(Ok(Claimed { directory: HERE, generation: 6 })));
}

#[test]
fn a_claim_needs_the_head_that_was_waited_on() {
    for names in [&[4, 5, 6][..], &[4], &[]] {
        let done = claim_with(1, listed(names));
        assert!(!done.ops.iter().any(|op| matches!(op, Op::Create(..))), "{names:?}");
        assert_eq!(fault(done), FaultKind::Conflict, "{names:?}");
    }
}

/// The server has lost the head and holds another of its number, whose holder may lead. What is
/// created above that supersedes it, so it is looked at before: in the model, two led.
#[test]
fn a_claim_is_not_sent_over_another_head_of_the_same_number() {
    for reply in [Reply::Text(held(9, 5)), Reply::Missing, Reply::NotALink] {
        let done = claim_with(2, reply.clone());
        assert!(!done.ops.iter().any(|op| matches!(op, Op::Create(..))), "{reply:?}");
        assert_eq!(fault(done), FaultKind::Conflict, "{reply:?}");
    }
    assert_eq!(fault(claim_with(2, Reply::Failed(Errno(EIO)))), FaultKind::Unavailable);
}

#[test]
fn a_claim_is_mine_by_its_nonce_not_by_my_incarnation() {
    // An earlier attempt of the same candidate, which came late.
    let earlier = encode(&entry(2, 6, RecordKind::Held, 8)).unwrap();
    assert_eq!(fault(claim_with(4, Reply::Text(earlier))), FaultKind::Conflict);
}

#[test]
fn a_claim_that_cannot_be_told_from_mine_is_unknown() {
    let torn = Text::from(&held(2, 6)[..40]);
    assert_eq!(fault(claim_with(4, Reply::Text(torn))), FaultKind::Indeterminate);
    assert_eq!(fault(claim_with(4, Reply::Failed(Errno(EIO)))), FaultKind::Indeterminate);
    assert_eq!(fault(claim_with(4, Reply::Missing)), FaultKind::Indeterminate);
}

#[test]
fn whatever_the_reply_to_a_creation_said_what_is_read_decides() {
    for reply in [Reply::Exists, Reply::Failed(Errno(EIO)), Reply::Failed(Errno(EPERM))] {
        let (step, _, mut replies) = claim();
        replies[3] = reply;
        assert!(drive(step, quickly(replies)).output.unwrap().is_ok());
    }
}

#[test]
fn a_claim_into_a_hole_below_the_head_does_not_lead_and_stays() {
    let done = claim_with(9, listed(&[5, 6, 9]));
    assert!(!done.ops.iter().any(|op| matches!(op, Op::Remove(_))));
    assert_eq!(fault(done), FaultKind::Conflict);
}

#[test]
fn a_claim_that_its_own_listing_does_not_show_is_unknown() {
    assert_eq!(fault(claim_with(9, listed(&[4, 5]))), FaultKind::Indeterminate);
}

#[test]
fn a_claim_over_a_predecessor_that_has_gone_is_unknown() {
    let other = held(9, 5);
    for reply in [Reply::Missing, Reply::Text(other), Reply::NotALink] {
        assert_eq!(fault(claim_with(7, reply)), FaultKind::Indeterminate);
    }
}

#[test]
fn a_claim_in_another_directory_does_not_lead() {
    assert_eq!(fault(claim_with(0, Reply::Opened(ELSEWHERE))), FaultKind::Conflict);
    assert_eq!(fault(claim_with(0, Reply::Missing)), FaultKind::Conflict);
    assert_eq!(fault(claim_with(8, Reply::Opened(ELSEWHERE))), FaultKind::Indeterminate);
}

#[test]
fn a_claim_beyond_its_window_is_lost() {
    let (step, _, replies) = claim();
    let last = replies.len() - 1;
    let window = LONGEST_WINDOW.as_secs();
    let slow = |late: u64| {
        let feed = replies.clone().into_iter().enumerate();
        feed.map(move |(index, reply)| (if index == last { late } else { 0 }, reply))
    };
    assert!(drive(step.clone(), slow(window - 1)).output.unwrap().is_ok());
    assert_eq!(fault(drive(step, slow(window))), FaultKind::Indeterminate);
}

#[test]
fn a_claim_is_not_sent_once_its_window_is_over() {
    let (step, _, replies) = claim();
    let window = LONGEST_WINDOW.as_secs();
    let done = drive(step, [0, 0, window].into_iter().zip(replies));
    assert_eq!(done.ops, vec![Op::Open, Op::List, Op::Read(5)]);
    assert_eq!(fault(done), FaultKind::Unavailable);
}

#[test]
fn a_directory_that_is_made_but_never_found_ends_the_claim() {
    let step = Claim::new(None, held(2, 1), BUDGET);
    let replies = [Reply::Missing, Reply::Exists, Reply::Missing];
    assert_eq!(fault(drive(step, quickly(replies))), FaultKind::Unavailable);
}

#[test]
fn a_refusal_by_a_file_system_that_holds_links_is_no_proof_that_it_has_none() {
    // Some say EPERM in place of EEXIST, and do not show the name at once.
    let (step, _, mut replies) = claim();
    replies[3] = Reply::Failed(Errno(EPERM));
    replies[4] = Reply::Missing;
    replies.truncate(5);
    let done = drive(step.first_contact(true), quickly(replies));
    assert_eq!(fault(done), FaultKind::Unavailable);
}

fn renew() -> (Renew, Text) {
    let own = held(2, 6);
    (Renew::new(HERE, 6, own.clone(), BUDGET), own)
}

#[test]
fn a_renewal_links_the_link_and_reads_what_it_has_made() {
    let (step, own) = renew();
    let done = drive(step, quickly([Reply::Opened(HERE), Reply::Done, Reply::Text(own)]));
    assert_eq!(done.ops, vec![Op::Open, Op::Link { from: 6, to: 7 }, Op::Read(7)]);
    assert_eq!(done.output, Some(Ok(7)));
}

#[test]
fn a_renewal_that_linked_another_record_ends_the_term() {
    // The directory was emptied and used again: its inode is the same, the log is not.
    let (step, _) = renew();
    let replies = [Reply::Opened(HERE), Reply::Done, Reply::Text(held(9, 6))];
    assert_eq!(fault(drive(step, quickly(replies))), FaultKind::Conflict);
}

#[test]
fn a_renewal_is_not_sent_once_its_time_is_over() {
    let (step, _) = renew();
    let done = drive(step, [(BUDGET.as_secs(), Reply::Opened(HERE))]);
    assert_eq!(done.ops, vec![Op::Open]);
    assert_eq!(fault(done), FaultKind::Unavailable);
}

#[test]
fn a_renewal_beyond_its_window_is_unknown() {
    let (step, own) = renew();
    let late = LONGEST_WINDOW.as_secs();
    let replies = [(0, Reply::Opened(HERE)), (0, Reply::Done), (late, Reply::Text(own))];
    assert_eq!(fault(drive(step, replies)), FaultKind::Indeterminate);
}

#[test]
fn a_renewal_whose_source_has_gone_ends_the_term() {
    let (step, _) = renew();
    let replies = [Reply::Opened(HERE), Reply::Missing];
    assert_eq!(fault(drive(step, quickly(replies))), FaultKind::Conflict);
}

#[test]
fn without_hard_links_a_renewal_creates_the_same_text_if_its_source_stands() {
    let refused = Reply::Failed(Errno(ENOSYS));
    let (step, own) = renew();
    let replies = [
        Reply::Opened(HERE),
        refused.clone(),
        Reply::Missing,
        Reply::Text(own.clone()),
        Reply::Done,
        Reply::Text(own.clone()),
    ];
    let done = drive(step.clone(), quickly(replies));
    let (link, create) = (Op::Link { from: 6, to: 7 }, Op::Create(7, own));
    assert_eq!(done.ops, vec![Op::Open, link, Op::Read(7), Op::Read(6), create, Op::Read(7)]);
    assert_eq!(done.output, Some(Ok(7)));
    for source in [Reply::Missing, Reply::Text(held(9, 6)), Reply::NotALink] {
        let replies = [Reply::Opened(HERE), refused.clone(), Reply::Missing, source];
        assert_eq!(fault(drive(step.clone(), quickly(replies))), FaultKind::Conflict);
    }
}

#[test]
fn what_a_renewal_cannot_read_is_unknown_and_another_record_ends_the_term() {
    let cases = [
        (Reply::Text(held(9, 7)), FaultKind::Conflict),
        (Reply::Text(Text::from(&b"junk"[..])), FaultKind::Indeterminate),
        (Reply::NotALink, FaultKind::Indeterminate),
        (Reply::Missing, FaultKind::Indeterminate),
        (Reply::Failed(Errno(EIO)), FaultKind::Indeterminate),
    ];
    for (reply, kind) in cases {
        let (step, _) = renew();
        let replies = [Reply::Opened(HERE), Reply::Exists, reply.clone()];
        assert_eq!(fault(drive(step, quickly(replies))), kind, "{reply:?}");
    }
}

fn complete() -> (Finish, VecDeque<Reply>) {
    let text = encode(&entry(2, 6, RecordKind::Completed, 9)).unwrap();
    let replies = [
        Reply::Opened(HERE),
        listed(&[5, 6]),
        Reply::Done,
        Reply::Text(text.clone()),
        Reply::Done,
        Reply::Text(text.clone()),
        Reply::Opened(HERE),
        listed(&[5, 6, 7]),
    ];
    (Finish::complete(HERE, 6, text, BUDGET, true), replies.into())
}

#[test]
fn a_completion_into_a_hole_is_not_recorded() {
    let (step, mut replies) = complete();
    assert_eq!(drive(step.clone(), quickly(replies.clone())).output, Some(Ok(7)));
    replies[7] = listed(&[6, 7, 9]);
    assert_eq!(fault(drive(step, quickly(replies))), FaultKind::Conflict);
}

#[test]
fn a_completion_beyond_its_window_is_unknown() {
    let (step, replies) = complete();
    let late = LONGEST_WINDOW.as_secs();
    let feed =
        replies.into_iter().enumerate().map(|(i, reply)| (if i == 7 { late } else { 0 }, reply));
    assert_eq!(fault(drive(step, feed)), FaultKind::Indeterminate);
}

#[test]
fn nothing_is_released_or_completed_once_the_time_is_over() {
    let (step, replies) = complete();
    let feed = replies.into_iter().take(2).zip([0, BUDGET.as_secs()]);
    let done = drive(step, feed.map(|(reply, seconds)| (seconds, reply)));
    assert_eq!(done.ops, vec![Op::Open, Op::List]);
    assert_eq!(fault(done), FaultKind::Unavailable);
}

fn kind_seen(head: Text, below: Reply) -> RecordKind {
    let replies = [Reply::Opened(HERE), listed(&[6, 7]), Reply::Text(head), below];
    match drive(Observe::new(None, true), quickly(replies)).output {
        Some(Ok(Sight::Head(head))) => match head.content {
            Content::Entry(entry) => entry.record.kind,
            Content::Corrupt(reason) => panic!("{reason}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_is_honoured_only_directly_above_the_term_that_it_releases() {
    let release = encode(&entry(2, 6, RecordKind::Released, 9)).unwrap();
    assert_eq!(kind_seen(release.clone(), Reply::Text(held(2, 6))), RecordKind::Released);
    let others = [
        Reply::Text(held(2, 5)),
        Reply::Text(held(9, 6)),
        Reply::Missing,
        Reply::NotALink,
        Reply::Text(Text::from(&b"junk"[..])),
    ];
    for below in others {
        assert_eq!(kind_seen(release.clone(), below.clone()), RecordKind::Held, "{below:?}");
    }
}

#[test]
fn a_release_with_nothing_below_it_is_not_honoured() {
    let release = encode(&entry(2, 1, RecordKind::Released, 9)).unwrap();
    let replies = [Reply::Opened(HERE), listed(&[1]), Reply::Text(release)];
    let done = drive(Observe::new(None, true), quickly(replies));
    assert_eq!(done.ops, vec![Op::Open, Op::List, Op::Read(1)]);
    let Some(Ok(Sight::Head(head))) = done.output else { panic!("a head") };
    let Content::Entry(entry) = head.content else { panic!("an entry") };
    assert_eq!(entry.record.kind, RecordKind::Held);
}

#[test]
fn a_record_with_a_token_that_no_claim_can_have_had_is_corrupt() {
    for token in [0, 8] {
        let replies = [Reply::Opened(HERE), listed(&[7]), Reply::Text(held(2, token))];
        let output = drive(Observe::new(None, true), quickly(replies)).output;
        let Some(Ok(Sight::Head(head))) = output else { panic!("a head") };
        assert!(matches!(head.content, Content::Corrupt(_)), "{token}");
    }
}

/// Replies from a script; whatever is not in it is missing.
#[derive(Clone)]
struct Script(Arc<parking_lot::Mutex<VecDeque<Reply>>>);

impl Store for Script {
    fn perform(&mut self, _op: &Op) -> Reply {
        self.0.lock().pop_front().unwrap_or(Reply::Missing)
    }
}

fn scripted() -> (FileLock, Script) {
    let script = Script(Arc::default());
    let options = FileLock::options().clock(Clock::simulated());
    (options.open_store("x.lock", script.clone()), script)
}

#[test]
fn a_generation_that_was_listed_and_never_read_still_changes_the_version() {
    let (mut lock, script) = scripted();
    let mut look = |replies: &[Reply]| {
        script.0.lock().extend(replies.iter().cloned());
        let seen = lock.get(BUDGET).map(|seen| seen.map(|seen| (seen.revision, seen.nonce)));
        script.0.lock().clear();
        seen
    };
    let old = [Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))];
    let first = look(&old).unwrap();
    // The next one stands there, and then a stale view hides it again.
    let failed =
        [Reply::Opened(HERE), Reply::Text(held(1, 5)), listed(&[5, 6]), Reply::Failed(Errno(EIO))];
    assert!(matches!(look(&failed), Err(LockError::Unavailable(_))));
    let second = look(&old).unwrap();
    assert_eq!(first.map(|seen| seen.0), second.map(|seen| seen.0));
    assert_ne!(first, second, "the wait has to start again");
    // The same view again is no change, and a generation that was only read counts as well.
    assert_eq!(look(&old).unwrap(), second);
    let read = [Reply::Text(held(1, 5)), listed(&[5, 6]), Reply::Text(held(1, 5))];
    let third = look(&[&[Reply::Opened(HERE)][..], &read[1..]].concat()).unwrap();
    assert_ne!(third, second);
}

#[test]
fn a_listing_that_lags_behind_a_read_does_not_hide_it() {
    let (mut lock, script) = scripted();
    let mut look = |replies: &[Reply]| {
        script.0.lock().extend(replies.iter().cloned());
        let seen = lock.get(BUDGET).unwrap().map(|seen| (seen.revision, seen.nonce));
        script.0.lock().clear();
        seen
    };
    let text = Reply::Text(held(1, 5));
    let first = look(&[Reply::Opened(HERE), listed(&[5]), text.clone()]);
    let second = look(&[Reply::Opened(HERE), text.clone(), listed(&[5]), text]);
    assert_ne!(first, second);
}

fn names_removed(ops: &[Op]) -> Vec<u64> {
    let removed = |op: &Op| match op {
        Op::Remove(name) => Some(*name),
        _ => None,
    };
    ops.iter().filter_map(removed).collect()
}

/// Sweeps at 100 s, with `memory`, a directory of `names`.
fn sweep_with(memory: &Memory, names: &[u64], replies: Vec<Reply>) -> Drive<Swept> {
    let head = *names.last().unwrap();
    let step = Sweep::new(memory, HERE, head, 48, at(1000));
    let feed = [Reply::Opened(HERE), listed(names)].into_iter().chain(replies);
    drive(step, feed.map(|reply| (100, reply)))
}

#[test]
fn a_name_is_swept_only_thirty_seconds_after_it_was_superseded() {
    let mut memory = Memory::new(None);
    memory.note(HERE, 4, at(71));
    let done = sweep_with(&memory, &[1, 2, 3, 4, 5], vec![]);
    assert_eq!((names_removed(&done.ops), done.output), (Vec::new(), Some(Swept::Some)));
    let mut memory = Memory::new(None);
    memory.note(HERE, 4, at(70));
    let done = sweep_with(&memory, &[1, 2, 3, 4, 5], vec![Reply::Done; 3]);
    assert_eq!((names_removed(&done.ops), done.output), (vec![1, 2, 3], Some(Swept::All)));
}

#[test]
fn a_sweep_needs_a_listing_that_shows_the_head() {
    let mut memory = Memory::new(None);
    memory.note(HERE, 4, at(0));
    let step = Sweep::new(&memory, HERE, 5, 48, at(1000));
    let done = drive(step, [(100, Reply::Opened(HERE)), (100, listed(&[1, 2, 3]))]);
    assert_eq!((names_removed(&done.ops), done.output), (Vec::new(), Some(Swept::WentBack)));
}

#[test]
fn a_name_that_cannot_be_removed_does_not_stop_the_sweep() {
    let mut memory = Memory::new(None);
    memory.note(HERE, 4, at(0));
    let replies = vec![Reply::Failed(Errno(EISDIR)), Reply::Done, Reply::Failed(Errno(EPERM))];
    let done = sweep_with(&memory, &[1, 2, 3, 4, 5], replies);
    assert_eq!((names_removed(&done.ops), done.output), (vec![1, 2, 3], Some(Swept::All)));
}

#[test]
fn a_sweep_ends_when_half_the_time_is_over() {
    let mut memory = Memory::new(None);
    memory.note(HERE, 4, at(0));
    let step = Sweep::new(&memory, HERE, 5, 48, at(101));
    let replies = [(100, Reply::Opened(HERE)), (100, listed(&[1, 2, 3, 4, 5])), (101, Reply::Done)];
    let done = drive(step, replies);
    assert_eq!((names_removed(&done.ops), done.output), (vec![1], Some(Swept::Some)));
}

/// What a claimant of boot "here" removes at 100 s when every record carries this witness.
fn removed_by_witness(witness: Witness) -> Vec<u64> {
    let names: Vec<u64> = (1..=60).collect();
    let mut entry = entry(1, 1, RecordKind::Held, 7);
    entry.witness = Some(witness);
    let text = encode(&entry).unwrap();
    let mut step = Sweep::new(&Memory::new(Some("here".into())), HERE, 60, 48, at(1000));
    let (mut ops, mut reply) = (Vec::new(), Reply::Begin);
    while let Next::Do(op) = step.next(at(100), reply) {
        reply = match &op {
            Op::Open => Reply::Opened(HERE),
            Op::List => listed(&names),
            Op::Read(_) => Reply::Text(text.clone()),
            _ => Reply::Done,
        };
        ops.push(op);
    }
    names_removed(&ops)
}

#[test]
fn a_witness_counts_on_its_own_boot_when_it_is_old_and_of_a_generation_before_its_record() {
    let witness = |generation, boot: &str, seconds: u64| Witness {
        generation,
        boot: boot.into(),
        clock_nanos: seconds * 1_000_000_000,
    };
    assert_eq!(removed_by_witness(witness(5, "here", 70)), vec![1, 2, 3, 4]);
    assert_eq!(removed_by_witness(witness(5, "another boot", 70)), NONE);
    assert_eq!(removed_by_witness(witness(5, "here", 71)), NONE, "too young");
    assert_eq!(removed_by_witness(witness(5, "here", 5000)), NONE, "from the future");
    assert_eq!(removed_by_witness(witness(60, "here", 70)), NONE, "of its own claim or later");
}

#[test]
fn an_absent_name_says_nothing_once_the_listing_has_become_old() {
    let known = head(5, &held(1, 5));
    let step = || Observe::new(Some(&known), false);
    let fresh = drive(step(), [(9, Reply::Opened(HERE)), (9, Reply::Missing)]);
    assert_eq!(fresh.output, Some(Ok(Sight::Unchanged)));
    // The next name may have come and been swept while the look stood still.
    let late = drive(step(), [(9, Reply::Opened(HERE)), (60, Reply::Missing)]);
    assert_eq!(late.ops, vec![Op::Open, Op::Read(6), Op::List]);
}

#[test]
fn a_generation_that_only_a_claim_has_listed_changes_the_version_too() {
    let (mut lock, script) = scripted();
    let old = [Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))];
    script.0.lock().extend(old.iter().cloned());
    let first = lock.get(BUDGET).unwrap().map(|seen| (seen.revision, seen.nonce));
    script.0.lock().clear();
    script.0.lock().extend([Reply::Opened(HERE), listed(&[5, 6])]);
    let claim = lock.write(Intent::Acquire, &record(2), Some(Revision(5)), BUDGET);
    assert!(matches!(claim, Err(LockError::Conflict(_))), "{claim:?}");
    script.0.lock().clear();
    script.0.lock().extend(old);
    let second = lock.get(BUDGET).unwrap().map(|seen| (seen.revision, seen.nonce));
    assert_ne!(first, second, "the wait has to start again");
}

#[test]
fn what_denies_a_claim_after_it_could_be_read_may_heal() {
    const EACCES: i32 = 13;
    let (mut lock, script) = scripted();
    let seen = [Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))];
    script.0.lock().extend(seen);
    lock.get(BUDGET).unwrap();
    // As when a ticket has run out while the lease was waited for.
    script.0.lock().push_back(Reply::Failed(Errno(EACCES)));
    let claim = lock.write(Intent::Acquire, &record(2), Some(Revision(5)), BUDGET);
    assert!(matches!(claim, Err(LockError::Unavailable(_))), "{claim:?}");
}

#[test]
fn a_file_system_that_became_read_only_may_be_writable_again() {
    let denied = Reply::Failed(Errno(rustix::io::Errno::ROFS.raw_os_error()));
    let create = [Reply::Opened(HERE), listed(&[5]), denied.clone()];
    for (seen, claim) in
        [(Some(Revision(5)), create.to_vec()), (None, vec![Reply::Missing, denied])]
    {
        let (mut lock, script) = scripted();
        lock.was_writable = true;
        if seen.is_some() {
            let head = [Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))];
            script.0.lock().extend(head);
        }
        assert_eq!(lock.get(BUDGET).unwrap().map(|observed| observed.revision), seen);
        script.0.lock().clear();
        script.0.lock().extend(claim);
        let claim = lock.write(Intent::Acquire, &record(2), seen, BUDGET);
        assert!(matches!(claim, Err(LockError::Unavailable(_))), "{claim:?}");
    }
}

#[test]
fn a_text_that_the_file_system_finds_too_long_is_refused_with_a_remedy() {
    const ENAMETOOLONG: i32 = 36;
    let (step, _, mut replies) = claim();
    replies[3] = Reply::Failed(Errno(ENAMETOOLONG));
    replies[4] = Reply::Missing;
    replies.truncate(5);
    let Some(Err(fault)) = drive(step, quickly(replies)).output else { panic!("a fault") };
    assert_eq!(fault.kind, FaultKind::Fatal);
    assert!(fault.hint.is_some_and(|hint| hint.contains("shorten")));
}

#[test]
fn a_sweep_needs_a_listing_that_shows_the_generation_it_goes_by() {
    let mut memory = Memory::new(None);
    memory.note(HERE, 9, at(0));
    let step = Sweep::new(&memory, HERE, 5, 48, at(1000));
    let done = drive(step, [(100, Reply::Opened(HERE)), (100, listed(&[3, 4, 5, 6]))]);
    assert_eq!((names_removed(&done.ops), done.output), (Vec::new(), Some(Swept::WentBack)));
}

#[test]
fn after_a_claim_whose_listing_went_back_a_look_lists_and_no_pair_is_left() {
    let (mut lock, script) = scripted();
    script.0.lock().extend([Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))]);
    lock.get(BUDGET).unwrap();
    let now = lock.clock.now() + Duration::from_secs(100);
    assert_eq!(lock.memory.superseded(now), Some(5));
    script.0.lock().extend([Reply::Opened(HERE), listed(&[4])]);
    let claim = lock.write(Intent::Acquire, &record(2), Some(Revision(5)), BUDGET);
    assert!(matches!(claim, Err(LockError::Conflict(_))), "{claim:?}");
    assert_eq!(lock.memory.superseded(now), None);
    script.0.lock().extend([Reply::Opened(HERE), listed(&[4]), Reply::Text(held(1, 4))]);
    let seen = lock.get(BUDGET).unwrap().unwrap();
    assert_eq!(seen.revision, Revision(4), "it was not listed");
}

/// A look and a claim whose calls answer as scripted, on a lock that has done nothing before.
fn first_contact(look: &[Reply], claim: &[Reply]) -> LockError {
    let (mut lock, script) = scripted();
    script.0.lock().extend(look.iter().cloned());
    let seen = match lock.get(BUDGET) {
        Ok(seen) => seen.map(|seen| seen.revision),
        Err(error) => return error,
    };
    script.0.lock().clear();
    script.0.lock().extend(claim.iter().cloned());
    lock.write(Intent::Acquire, &record(2), seen, BUDGET).unwrap_err()
}

#[test]
fn what_is_denied_at_first_contact_is_fatal_and_says_where_and_what_to_look_at() {
    for (errno, why) in [(13, "ermission"), (30, "ead-only")] {
        let denied = Reply::Failed(Errno(errno));
        let head = [Reply::Opened(HERE), listed(&[5]), Reply::Text(held(1, 5))];
        let mut create = head.to_vec();
        create.push(denied.clone());
        let errors = [
            ("open x.lock", first_contact(std::slice::from_ref(&denied), &[])),
            ("list x.lock", first_contact(&[Reply::Opened(HERE), denied.clone()], &[])),
            ("make x.lock", first_contact(&[], &[Reply::Missing, denied.clone()])),
            ("create x.lock/g.00000000000000000006", first_contact(&head, &create)),
        ];
        for (what, error) in errors {
            assert!(matches!(error, LockError::Fatal(_)), "{what}: {error:?}");
            let said = format!("{error}: {}", source_of(&error));
            for part in [what, why, "owner"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }
}

/// What the system said, at the bottom of an error.
fn source_of(error: &LockError) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[test]
fn a_file_system_without_links_is_refused() {
    for errno in [38, 95] {
        let refused = Reply::Failed(Errno(errno));
        let error = first_contact(
            &[Reply::Opened(HERE), listed(&[])],
            &[Reply::Opened(HERE), listed(&[]), refused],
        );
        assert!(matches!(error, LockError::Fatal(_)), "{error:?}");
        assert!(error.to_string().contains("no symbolic links"), "{error}");
    }
}

#[test]
fn a_lock_of_a_newer_format_is_refused_with_a_remedy() {
    let mut newer = entry(1, 5, RecordKind::Held, 7);
    newer.format = FORMAT + 1;
    let head = [Reply::Opened(HERE), listed(&[5]), Reply::Text(encode(&newer).unwrap())];
    let error = first_contact(&head, &[]);
    assert!(matches!(error, LockError::Fatal(_)), "{error:?}");
    assert!(error.to_string().contains("upgrade this program"), "{error}");
}
