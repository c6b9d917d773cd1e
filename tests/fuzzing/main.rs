//! The short form of the fuzzing: the committed corpus, and random changes to it from a fixed seed.
//!
//! `tests/fuzz SECONDS` runs the same checks under libFuzzer, which follows coverage.

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[cfg(feature = "cli")]
mod durations;
#[cfg(feature = "testing")]
mod entry;
mod lock_path;
#[cfg(feature = "testing")]
mod names;
#[cfg(feature = "testing")]
mod steps;

/// Changed inputs for each target.
const CHANGES: u64 = 20_000;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A few bytes replaced, inserted or cut, as a fuzzer would begin.
fn change(rng: &mut SmallRng, input: &mut Vec<u8>) {
    for _ in 0..=rng.next_u32() % 4 {
        let at = rng.next_u32() as usize % (input.len() + 1);
        match rng.next_u32() % 4 {
            0 => input.truncate(at),
            1 => input.insert(at, rng.next_u32() as u8),
            _ if at < input.len() => input[at] = rng.next_u32() as u8,
            _ => input.push(rng.next_u32() as u8),
        }
    }
}

fn exercise(target: &str, check: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    corpus.iter().for_each(|input| check(input));
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..CHANGES {
        let mut input = corpus[rng.next_u32() as usize % corpus.len()].clone();
        change(&mut rng, &mut input);
        check(&input);
    }
    println!("{target}: {} inputs of the corpus, {CHANGES} changed ones", corpus.len());
}

#[test]
#[cfg(feature = "testing")]
fn any_text_of_a_generation_is_read_without_a_panic() {
    exercise("entry", entry::check);
}

#[test]
#[cfg(feature = "testing")]
fn any_name_in_the_directory_is_read_without_a_panic() {
    exercise("names", names::check);
}

#[test]
#[cfg(feature = "testing")]
fn the_steps_end_whatever_the_directory_answers() {
    exercise("steps", steps::check);
}

#[test]
#[cfg(feature = "cli")]
fn any_duration_is_read_or_explained() {
    exercise("durations", durations::check);
}

#[test]
fn any_path_is_opened_or_refused() {
    exercise("lock_path", lock_path::check);
}
