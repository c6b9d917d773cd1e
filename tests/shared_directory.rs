//! A lock directory that a group shares: candidates of several users on one file system.
//!
//! Needs root, to become two users that need no accounts; says so where it is not.
#![cfg(all(feature = "testing", target_os = "linux"))]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use leaderelection::testing::Clock;
use leaderelection::{
    FileLock, Incarnation, Intent, LeaderElectionRecord, Lock, LockError, Revision,
};

const LEASE: Duration = Duration::from_secs(15);
const BUDGET: Duration = Duration::from_secs(10);
/// Longer than a superseded name is kept.
const LONG: Duration = Duration::from_secs(31);
const GROUP: u32 = 54_320;
const USERS: [u32; 2] = [54_321, 54_322];

/// Where a process of this very test finds the lock.
const LOCK: &str = "SHARED_DIRECTORY_LOCK";

/// A user's process: what is told on standard input, with an answer for each line.
#[test]
fn candidate() {
    let Some(path) = std::env::var_os(LOCK) else { return };
    let clock = Clock::simulated();
    let mut lock = FileLock::options().clock(clock.clone()).mode(0o2770).open(path).unwrap();
    let record = LeaderElectionRecord::new("member", Incarnation(own_user()), LEASE);
    let (mut token, mut head) = (None, None);
    for line in std::io::stdin().lines() {
        let answer = match line.unwrap().as_str() {
            "acquire" => {
                let won = lock.get(BUDGET).and_then(|seen| {
                    let seen = seen.map(|seen| seen.revision);
                    lock.write(Intent::Acquire, &record, seen, BUDGET)
                });
                head = won.as_ref().ok().copied();
                token = head.map(|token| token.0);
                said(won)
            }
            "renew" => {
                let mut renewed = record.clone();
                renewed.fencing_token = token;
                let renewed = lock.write(Intent::Renew, &renewed, head, BUDGET);
                head = renewed.as_ref().ok().copied().or(head);
                lock.tidy();
                said(renewed)
            }
            "wait" => {
                clock.advance(LONG);
                "waited".to_owned()
            }
            other => panic!("what is {other}?"),
        };
        println!("\nanswer {answer}");
    }
}

/// A number of its own for each user.
fn own_user() -> u128 {
    u128::from(std::fs::metadata("/proc/self").unwrap().uid())
}

fn said(result: Result<Revision, LockError>) -> String {
    match result {
        Ok(revision) => revision.0.to_string(),
        Err(error) => error.to_string(),
    }
}

struct Member {
    process: Child,
    tell: ChildStdin,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl Member {
    /// A member of the group, and of no other.
    fn start(place: &Place, user: u32) -> Self {
        Self::start_in(place, user, GROUP)
    }

    fn start_in(place: &Place, user: u32, group: u32) -> Self {
        let mut process = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={group}")])
            .args(["--clear-groups", "--"])
            .arg(place.program())
            .args(["--exact", "candidate", "--nocapture"])
            .env(LOCK, place.lock())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let tell = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, tell, answers }
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.tell, "{what}").unwrap();
        for line in self.answers.by_ref() {
            if let Some(answer) = line.unwrap().strip_prefix("answer ") {
                return answer.to_owned();
            }
        }
        panic!("{what}: the process has ended");
    }

    fn number(&mut self, what: &str) -> u64 {
        let answer = self.ask(what);
        answer.parse().unwrap_or_else(|_| panic!("{what}: {answer}"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory that the group may enter, with a copy of this program, which other users may not
/// reach where it stands.
struct Place(tempfile::TempDir);

impl Place {
    /// With a lock directory of this mode, which the first user owns; `None` without root.
    fn new(mode: u32) -> Option<Self> {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("skipped: needs root, to become two users");
            return None;
        }
        let place = Self(tempfile::tempdir().unwrap());
        chmod(place.0.path(), 0o755);
        std::fs::copy(std::env::current_exe().unwrap(), place.program()).unwrap();
        std::fs::create_dir(place.lock()).unwrap();
        lchown(place.lock(), Some(USERS[0]), Some(GROUP)).unwrap();
        chmod(&place.lock(), mode);
        Some(place)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("program")
    }

    fn lock(&self) -> PathBuf {
        self.0.path().join("x.lock")
    }

    /// The owners of the names in the lock directory, in the order of the names.
    fn owners(&self) -> Vec<u32> {
        self.names().iter().map(|name| name.symlink_metadata().unwrap().uid()).collect()
    }

    fn names(&self) -> Vec<PathBuf> {
        let names = self.lock().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        names
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// One user leads and is gone; another takes over, renews and sweeps; then the first is back.
fn take_turns(place: &Place) {
    let mut first = Member::start(place, USERS[0]);
    assert_eq!(first.number("acquire"), 1);
    assert_eq!(first.number("renew"), 2);
    let mut second = Member::start(place, USERS[1]);
    let token = second.number("acquire");
    assert_eq!(token, 3);
    let lost = first.ask("renew");
    assert!(lost.parse::<u64>().is_err(), "renewed what another has taken over: {lost}");
    for step in 1..=3 {
        assert_eq!(second.number("renew"), token + step);
    }
    // What is superseded is kept for a while from when that was seen.
    for round in [4..=9, 10..=15] {
        for member in [&mut first, &mut second] {
            member.ask("wait");
        }
        for step in round {
            assert_eq!(second.number("renew"), token + step);
        }
    }
    assert_eq!(first.number("acquire"), token + 16);
    assert_eq!(first.number("renew"), token + 17);
}

#[test]
fn a_group_shares_a_directory_and_sweeps_each_other() {
    let Some(place) = Place::new(0o2770) else { return };
    take_turns(&place);
    let owners = place.owners();
    assert!(owners.iter().filter(|owner| **owner == USERS[1]).count() < 16, "{owners:?}");
    assert_eq!(owners.iter().filter(|owner| **owner == USERS[0]).count(), 2, "{owners:?}");
}

/// In a sticky directory only its owner, and the owner of a name, may remove that.
#[test]
fn in_a_sticky_directory_each_sweeps_what_it_may() {
    let Some(place) = Place::new(0o3770) else { return };
    // Not the directory's owner, who may remove everything.
    lchown(place.lock(), Some(0), Some(GROUP)).unwrap();
    take_turns(&place);
    let owners = place.owners();
    assert_eq!(owners.iter().filter(|owner| **owner == USERS[0]).count(), 4, "{owners:?}");
    assert!(owners.iter().filter(|owner| **owner == USERS[1]).count() < 16, "{owners:?}");
}

/// A server that squashes users gives the names to somebody else: then they can't be linked.
#[test]
fn names_that_belong_to_somebody_else_are_renewed_by_new_ones() {
    let Some(place) = Place::new(0o2770) else { return };
    let mut member = Member::start(&place, USERS[0]);
    assert_eq!(member.number("acquire"), 1);
    for name in place.names() {
        lchown(name, Some(USERS[1]), None).unwrap();
    }
    assert_eq!(member.number("renew"), 2);
    let protected = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap();
    let expected = if protected.trim() == "1" { [USERS[1], USERS[0]] } else { [USERS[1]; 2] };
    assert_eq!(place.owners(), expected);
    assert_eq!(member.number("renew"), 3);
}

/// Who is of no such group is told so, with the path.
#[test]
fn a_stranger_is_refused() {
    let Some(place) = Place::new(0o2770) else { return };
    let mut stranger = Member::start_in(&place, USERS[1], USERS[1]);
    let refusal = stranger.ask("acquire");
    assert!(refusal.contains(place.lock().to_str().unwrap()), "{refusal}");
    assert!(place.names().is_empty());
}
