//! What was found: plain numbers, which workers collect and add up.
//!
//! This file must not know what follows from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The ways of creating a name of which only one may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Race {
    /// `open` with `O_CREAT | O_EXCL`.
    Exclusive,
    /// `symlink`, which is how the lock is claimed.
    Symlink,
    /// `link` of a file.
    HardLink,
    /// `link` of a symbolic link, which is how the lock is renewed.
    LinkOfSymlink,
}

impl Race {
    /// All of them.
    pub const ALL: [Race; 4] =
        [Race::Exclusive, Race::Symlink, Race::HardLink, Race::LinkOfSymlink];

    /// The name that people and programs see.
    pub fn name(self) -> &'static str {
        match self {
            Race::Exclusive => "exclusive-create",
            Race::Symlink => "symlink",
            Race::HardLink => "hard-link",
            Race::LinkOfSymlink => "hard-link-of-symlink",
        }
    }
}

/// How one way of creating names went, from one or several workers' view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Raced {
    /// Names tried, by each worker.
    pub tried: u64,
    /// Told to have won, and the name is its own.
    pub won: u64,
    /// Told to have won, and the name is another's.
    pub won_twice: u64,
    /// Told to have lost, and yet the name is its own.
    pub lost_though_won: u64,
    /// Names that nobody created.
    pub nobody: u64,
    /// Names that could not be read back.
    pub unreadable: u64,
    /// How those who lost were told.
    pub refusals: BTreeMap<String, u64>,
}

/// What came of a second try to take a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondLock {
    /// Refused, as it should be.
    Refused,
    /// Granted: both have it.
    Granted,
    /// Something else.
    Failed(String),
}

/// How a name came into sight that had been seen to be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Appearance {
    /// Until a plain look saw it; `None` where it did not within the time.
    pub plain_micros: Option<u64>,
    /// From then until a look saw it that had opened and listed the directory.
    pub listed_micros: Option<u64>,
    /// Whether another host created it.
    pub elsewhere: bool,
}

/// What was seen in a folder that somebody else changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// Listings made.
    pub listings: u64,
    /// Listings whose highest name was lower than one seen before.
    pub went_back: u64,
    /// Listings that lacked a name which was there all the time.
    pub lost_names: u64,
    /// Symbolic links whose text was not what they were created with.
    pub wrong_text: u64,
    /// Reads of a file that is replaced by renaming, or changed in place.
    pub reads: u64,
    /// Such reads that showed old content after new.
    pub old_after_new: u64,
    /// Such reads that showed half of something.
    pub torn: u64,
    /// What failed, and how often.
    pub errors: BTreeMap<String, u64>,
}

/// The file system, as far as calls tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// The type number of `statfs`.
    pub magic: u64,
    /// The server's clock minus this host's, in milliseconds.
    pub skew_millis: Option<i64>,
    /// How far that can be off.
    pub skew_error_millis: u64,
    /// Links that a file with two names is said to have.
    pub link_count: Option<u64>,
}

/// All that one or several workers found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The file system.
    pub described: Option<Described>,
    /// By the way of creating names.
    pub races: BTreeMap<Race, Raced>,
    /// On this host.
    pub flock_here: Vec<SecondLock>,
    /// Between hosts.
    pub flock_elsewhere: Vec<SecondLock>,
    /// A name that was absent.
    pub appearances: Vec<Appearance>,
    /// Folders that change.
    pub watched: Watched,
    /// From creating a name to an answer from another process of this host, in microseconds.
    pub answers_here: Vec<u64>,
    /// The same from another host.
    pub answers_elsewhere: Vec<u64>,
    /// By the name of a call: how long it took, in microseconds.
    pub times: BTreeMap<String, Vec<u64>>,
    /// Calls that failed while they were timed, and why.
    pub failed_calls: BTreeMap<String, String>,
    /// Why other hosts refuse.
    pub refusals_elsewhere: Vec<String>,
}

impl Findings {
    /// Adds what another worker found.
    pub fn add(&mut self, other: Findings) {
        self.described = self.described.take().or(other.described);
        for (race, raced) in other.races {
            self.races.entry(race).or_default().add(raced);
        }
        self.flock_here.extend(other.flock_here);
        self.flock_elsewhere.extend(other.flock_elsewhere);
        self.appearances.extend(other.appearances);
        self.watched.add(other.watched);
        self.answers_here.extend(other.answers_here);
        self.answers_elsewhere.extend(other.answers_elsewhere);
        for (call, times) in other.times {
            self.times.entry(call).or_default().extend(times);
        }
        self.failed_calls.extend(other.failed_calls);
        self.refusals_elsewhere.extend(other.refusals_elsewhere);
    }
}

impl Raced {
    fn add(&mut self, other: Raced) {
        self.tried += other.tried;
        self.won += other.won;
        self.won_twice += other.won_twice;
        self.lost_though_won += other.lost_though_won;
        self.nobody += other.nobody;
        self.unreadable += other.unreadable;
        for (refusal, count) in other.refusals {
            *self.refusals.entry(refusal).or_default() += count;
        }
    }

    /// Whether this file system has no such call: each try was refused, and no name was made.
    pub fn is_unsupported(&self) -> bool {
        self.tried > 0 && self.won == 0 && self.nobody == self.tried
    }
}

impl Watched {
    fn add(&mut self, other: Watched) {
        self.listings += other.listings;
        self.went_back += other.went_back;
        self.lost_names += other.lost_names;
        self.wrong_text += other.wrong_text;
        self.reads += other.reads;
        self.old_after_new += other.old_after_new;
        self.torn += other.torn;
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }
}

/// The value below which `percent` of the list lies; `None` of an empty one.
pub fn percentile(list: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_list() {
        let list: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(percentile(&list, 50), Some(100));
        assert_eq!(percentile(&list, 99), Some(198));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn findings_of_several_workers_add_up() {
        let refusals = BTreeMap::from([("EEXIST".to_owned(), 2)]);
        let raced = Raced { tried: 5, won: 3, refusals, ..Raced::default() };
        let one = Findings {
            races: BTreeMap::from([(Race::Symlink, raced)]),
            times: BTreeMap::from([("link".to_owned(), vec![1, 2])]),
            ..Findings::default()
        };
        let mut sum = one.clone();
        sum.add(one);
        assert_eq!(sum.races[&Race::Symlink].refusals["EEXIST"], 4);
        assert_eq!(sum.races[&Race::Symlink].won, 6);
        assert_eq!(sum.times["link"], [1, 2, 1, 2]);
    }

    #[test]
    fn a_call_that_never_works_is_told_from_lost_races() {
        let none = Raced { tried: 9, nobody: 9, ..Raced::default() };
        assert!(none.is_unsupported());
        assert!(!Raced { nobody: 8, ..none.clone() }.is_unsupported());
        assert!(!Raced::default().is_unsupported());
    }
}
