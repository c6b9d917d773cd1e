//! Races for names: everybody tries to create the same ones, and each may have one winner.
//!
//! Whoever loses a name goes on to the next at once, so a slower worker catches up and meets the
//! others there.

use rustix::io::Errno;

use super::findings::{Race, Raced};
use super::place::{Open, Place, errno_name};
use super::worker::{Outcome, Worker, failed};

/// Makes what a link is made from.
pub fn prepare(worker: &mut Worker, place: &Place, race: Race) -> Outcome {
    let directory = failed("open", place, place.open())?;
    let source = source_of(race, &worker.member);
    let made = match race {
        Race::Exclusive | Race::Symlink => Ok(()),
        Race::LinkOfSymlink => directory.symlink(&worker.member, &source),
        Race::HardLink => directory.create(&source).and_then(|file| {
            rustix::io::write(&file, worker.member.as_bytes())?;
            rustix::fs::fsync(&file)
        }),
    };
    match (made, race) {
        // Without symbolic links there is nothing to link; the race will say so.
        (Err(_), Race::LinkOfSymlink) => Ok(()),
        (made, _) => failed("create a file in", place, made),
    }
}

/// Tries to be the one who creates each name.
pub fn compete(worker: &mut Worker, place: &Place, race: Race, names: usize) -> Outcome {
    let directory = failed("open", place, place.open())?;
    let told = (0..names).map(|i| attempt(&directory, race, &worker.member, i)).collect();
    worker.told.insert(race, told);
    Ok(())
}

/// Compares what was told with what stands there, when all is quiet.
pub fn read_back(worker: &mut Worker, place: &Place, race: Race) -> Outcome {
    let told = worker.told.remove(&race).unwrap_or_default();
    let directory = failed("open", place, place.open())?;
    failed("list", place, directory.list())?;
    let mut raced = Raced::default();
    for (i, told) in told.iter().enumerate() {
        let owner = owner(&directory, race, &name_of(race, i));
        count(&mut raced, race, *told, owner.as_ref().map(Option::as_deref), &worker.member);
    }
    worker.findings.races.insert(race, raced);
    Ok(())
}

fn source_of(race: Race, member: &str) -> String {
    format!("source.{}.{member}", race.name())
}

fn name_of(race: Race, i: usize) -> String {
    format!("race.{}.{i}", race.name())
}

fn attempt(directory: &Open, race: Race, member: &str, i: usize) -> Result<(), Errno> {
    let name = name_of(race, i);
    match race {
        Race::Symlink => directory.symlink(member, &name),
        Race::HardLink | Race::LinkOfSymlink => directory.link(&source_of(race, member), &name),
        Race::Exclusive => {
            let file = directory.create(&name)?;
            rustix::io::write(&file, member.as_bytes()).map(drop)
        }
    }
}

/// Whose name it is; `None` where there is no such name.
fn owner(directory: &Open, race: Race, name: &str) -> Result<Option<String>, Errno> {
    use rustix::fs::{Mode, OFlags, openat};
    match race {
        Race::Symlink | Race::LinkOfSymlink => directory.text(name),
        Race::Exclusive | Race::HardLink => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = match openat(&directory.0, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            };
            let mut buffer = [0; 64];
            let length = rustix::io::read(&file, &mut buffer)?;
            Ok(Some(String::from_utf8_lossy(&buffer[..length]).into_owned()))
        }
    }
}

/// One file can't have any number of names: GlusterFS keeps a note of each with the file. Where
/// everybody is told so, the name is not lost. A lock needs no further names for a file.
fn is_full(race: Race, told: Result<(), Errno>) -> bool {
    matches!(race, Race::HardLink | Race::LinkOfSymlink)
        && matches!(told, Err(Errno::NOSPC | Errno::DQUOT | Errno::MLINK))
}

fn count(
    raced: &mut Raced,
    race: Race,
    told: Result<(), Errno>,
    owner: Result<Option<&str>, &Errno>,
    member: &str,
) {
    raced.tried += 1;
    if let Err(errno) = told {
        *raced.refusals.entry(errno_name(errno)).or_default() += 1;
    }
    match (told, owner) {
        (_, Err(_)) => raced.unreadable += 1,
        // Created, and not yet filled by who created it when that one was ended.
        (_, Ok(Some(""))) => raced.unreadable += 1,
        (told, Ok(None)) if is_full(race, told) => {}
        (_, Ok(None)) => raced.nobody += 1,
        (Ok(()), Ok(Some(owner))) if owner == member => raced.won += 1,
        (Ok(()), Ok(Some(_))) => raced.won_twice += 1,
        (Err(_), Ok(Some(owner))) if owner == member => raced.lost_though_won += 1,
        (Err(_), Ok(Some(_))) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_held_against_what_stands_there() {
        let mut raced = Raced::default();
        let mut count = |told, owner| count(&mut raced, Race::Symlink, told, owner, "me");
        count(Ok(()), Ok(Some("me")));
        count(Ok(()), Ok(Some("you")));
        count(Err(Errno::EXIST), Ok(Some("you")));
        count(Err(Errno::PERM), Ok(Some("me")));
        count(Err(Errno::PERM), Ok(None));
        count(Ok(()), Err(&Errno::STALE));
        let refusals = [("EEXIST".to_owned(), 1), ("EPERM".to_owned(), 2)].into();
        let expected = Raced {
            tried: 6,
            won: 1,
            won_twice: 1,
            lost_though_won: 1,
            nobody: 1,
            unreadable: 1,
            refusals,
        };
        assert_eq!(raced, expected);
    }

    #[test]
    fn a_name_is_not_lost_where_a_file_has_as_many_as_it_may() {
        let full = Err(Errno::NOSPC);
        let lost = |race, told| {
            let mut raced = Raced::default();
            count(&mut raced, race, told, Ok(None), "me");
            raced.nobody
        };
        assert_eq!(lost(Race::LinkOfSymlink, full), 0);
        assert_eq!(lost(Race::LinkOfSymlink, Err(Errno::EXIST)), 1, "somebody had it");
        assert_eq!(lost(Race::LinkOfSymlink, Ok(())), 1);
        assert_eq!(lost(Race::Symlink, full), 1, "a lock can't do without");
    }

    #[test]
    fn two_who_race_here_share_the_names() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let mut workers = ["a", "b"].map(Worker::named);
        for race in Race::ALL {
            for worker in &mut workers {
                prepare(worker, &place, race).unwrap();
            }
            for worker in &mut workers {
                compete(worker, &place, race, 5).unwrap();
            }
            for worker in &mut workers {
                read_back(worker, &place, race).unwrap();
            }
            assert_eq!(workers[0].findings.races[&race].won, 5, "{race:?}");
            assert_eq!(workers[1].findings.races[&race].refusals["EEXIST"], 5, "{race:?}");
        }
    }
}
