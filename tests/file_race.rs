//! Threads and processes whose file locks claim the same generations: never two winners.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use leaderelection::{
    FileLock, Incarnation, Intent, LeaderElectionRecord, Lock, LockError, RecordKind, Revision,
};

const BUDGET: Duration = Duration::from_secs(10);
const CANDIDATES: u128 = 4;

/// Claims whatever stands there, `rounds` times, and returns what it won. Every other term is
/// released, so that claims follow releases as well as records that were taken over.
fn contend(path: &Path, number: u128, rounds: usize, start: &Barrier) -> Vec<Revision> {
    let mut lock = FileLock::options().durable(false).open(path).unwrap();
    let record = LeaderElectionRecord::new("racer", Incarnation(number), BUDGET);
    let mut won = Vec::new();
    start.wait();
    for round in 0..rounds {
        let expected = lock.get(BUDGET).unwrap().map(|seen| seen.revision);
        match lock.write(Intent::Acquire, &record, expected, BUDGET) {
            Ok(token) => {
                won.push(token);
                if round % 2 == 0 {
                    let mut released = record.with_kind(RecordKind::Released);
                    released.fencing_token = Some(token.0);
                    match lock.write(Intent::Release, &released, Some(token), BUDGET) {
                        Ok(_) | Err(LockError::Conflict(_)) => {}
                        Err(error) => panic!("a release failed: {error}"),
                    }
                }
            }
            Err(LockError::Conflict(_) | LockError::Indeterminate(_)) => {}
            Err(error) => panic!("a claim failed: {error}"),
        }
        lock.tidy();
    }
    won
}

fn race(path: &Path, rounds: usize) {
    let start = Barrier::new(CANDIDATES as usize);
    let results: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (1..=CANDIDATES)
            .map(|number| {
                let start = &start;
                scope.spawn(move || contend(path, number, rounds, start))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    judge(path, &results, rounds);
}

/// Nobody has won what another has won, and somebody won every round.
fn judge(path: &Path, results: &[Vec<Revision>], rounds: usize) {
    let mut winners: BTreeMap<Revision, Vec<usize>> = BTreeMap::new();
    for (racer, won) in results.iter().enumerate() {
        assert!(won.is_sorted(), "tokens of one candidate rise");
        for token in won {
            winners.entry(*token).or_default().push(racer);
        }
    }
    let twice: Vec<_> = winners.iter().filter(|(_, racers)| racers.len() > 1).collect();
    assert!(twice.is_empty(), "won by two: {twice:?}");
    let wins: Vec<_> = results.iter().map(Vec::len).collect();
    println!("{}: {} claims won, by racer {wins:?}", path.display(), winners.len());
    assert!(winners.len() >= rounds, "somebody wins every round");
}

/// Many short logs: in a long one, most of the time goes into listing names of the last half
/// minute.
fn race_in(place: &Path, logs: usize) {
    for number in 0..logs {
        race(&place.join(format!("{number}.lock")), 100);
    }
}

#[test]
fn a_generation_has_at_most_one_winner() {
    race_in(tempfile::tempdir().unwrap().path(), 4);
}

#[cfg(target_os = "linux")]
#[test]
fn a_generation_in_memory_has_at_most_one_winner() {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        race_in(tempfile::tempdir_in(memory).unwrap().path(), 10);
    }
}

/// Where a process of this very test finds the lock, its number and how often to claim.
const LOCK: &str = "FILE_RACE_LOCK";
const NUMBER: &str = "FILE_RACE_NUMBER";
const ROUNDS: &str = "FILE_RACE_ROUNDS";

/// What a process of the race does; in the suite itself, nothing.
#[test]
fn racer() {
    let Some(path) = std::env::var_os(LOCK) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let won = contend(path.as_ref(), number(NUMBER) as u128, number(ROUNDS), &Barrier::new(1));
    won.iter().for_each(|token| println!("won {token}"));
    println!("done");
}

fn start_racer(path: &Path, number: usize, rounds: usize) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "racer", "--nocapture"])
        .env(LOCK, path)
        .env(NUMBER, number.to_string())
        .env(ROUNDS, rounds.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn a_generation_has_at_most_one_winner_among_processes() {
    let scratch = tempfile::tempdir().unwrap();
    for log in 0..2 {
        let path = scratch.path().join(format!("{log}.lock"));
        let racers: Vec<_> = (1..=4).map(|number| start_racer(&path, number, 100)).collect();
        let results: Vec<Vec<Revision>> = (racers.into_iter())
            .map(|racer| {
                let output = racer.wait_with_output().unwrap();
                assert!(output.status.success(), "a racer ended with {}", output.status);
                let said = String::from_utf8(output.stdout).unwrap();
                assert!(said.contains("done"), "{said}");
                let won = |line: &str| line.strip_prefix("won ")?.parse().ok().map(Revision);
                said.lines().filter_map(won).collect()
            })
            .collect();
        judge(&path, &results, 100);
    }
}
