//! One process changes names and files in a folder; others look, and notice what can't have been.

use std::collections::BTreeMap;
use std::time::Duration;

use leaderelection::Stopwatch;
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::Errno;

use super::findings::Watched;
use super::place::{Open, Place, errno_name, own_name, pause};
use super::worker::{Outcome, Worker, failed};

/// Names that are there all the time.
const FIXED: u64 = 32;

/// Between two steps of the writer.
const STEP: Duration = Duration::from_millis(5);

/// A name is removed so long after a higher one was created.
const KEEP: Duration = Duration::from_millis(1500);

/// A listing that took longer proves nothing: what it lacks may have been removed meanwhile.
const QUICK: Duration = Duration::from_millis(1000);

/// How long a reader waits for the folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that is replaced by renaming, and one that is changed in place.
const FILES: [&str; 2] = ["renamed", "in-place"];

/// Changes a folder of this host's own.
pub fn write(place: &Place, host: &str, span: Duration) -> Outcome {
    let folder = place.child(&format!("changes.{host}"));
    folder.make().map_err(|error| format!("cannot make {}: {error}", folder.path.display()))?;
    let directory = failed("open", &folder, folder.open())?;
    for i in 0..FIXED {
        failed(
            "create a symbolic link in",
            &folder,
            own_name(directory.symlink("x", &format!("fixed.{i}"))),
        )?;
    }
    let watch = Stopwatch::start();
    let mut created = Vec::new();
    let mut removed = 0;
    for step in 0_u64.. {
        failed("change", &folder, change(&directory, step))?;
        created.push(watch.elapsed());
        // The name `removed` was superseded when the one after it was created.
        while created.get(removed + 1).is_some_and(|at| watch.elapsed() > *at + KEEP) {
            failed("remove a name in", &folder, directory.remove(&format!("head.{removed:08}")))?;
            removed += 1;
        }
        if watch.elapsed() > span {
            break;
        }
        pause(STEP);
    }
    Ok(())
}

fn change(directory: &Open, step: u64) -> Result<(), Errno> {
    let text = format!("{step:08}");
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let new = openat(&directory.0, "new", flags, mode)?;
    rustix::io::write(&new, text.as_bytes())?;
    drop(new);
    renameat(&directory.0, "new", &directory.0, FILES[0])?;
    let file = openat(&directory.0, FILES[1], flags, mode)?;
    rustix::io::pwrite(&file, text.as_bytes(), 0)?;
    // Last: whoever sees the first one finds the files filled.
    own_name(directory.symlink(&text, &format!("head.{text}")))
}

/// Looks at the folders of these hosts.
pub fn watch(worker: &mut Worker, place: &Place, hosts: &[String], span: Duration) -> Outcome {
    let mut folders: Vec<Folder> = hosts.iter().map(|host| Folder::new(place, host)).collect();
    let watched = &mut worker.findings.watched;
    for folder in &mut folders {
        folder.wait_until_filled();
    }
    let watch = Stopwatch::start();
    while watch.elapsed() < span {
        for folder in &mut folders {
            if let Err(errno) = folder.look(watched) {
                *watched.errors.entry(errno_name(errno)).or_default() += 1;
            }
        }
        pause(Duration::from_millis(1));
    }
    Ok(())
}

/// A folder that somebody changes, and the highest that was seen there.
struct Folder {
    place: Place,
    head: Option<u64>,
    contents: BTreeMap<&'static str, u64>,
}

impl Folder {
    fn new(place: &Place, host: &str) -> Self {
        let place = place.child(&format!("changes.{host}"));
        Self { place, head: None, contents: BTreeMap::new() }
    }

    fn wait_until_filled(&mut self) {
        let watch = Stopwatch::start();
        while watch.elapsed() < PATIENCE {
            let names = self.place.list().unwrap_or_default();
            if names.iter().any(|name| name.starts_with("head.")) {
                return;
            }
            pause(Duration::from_millis(10));
        }
    }

    fn look(&mut self, watched: &mut Watched) -> Result<(), Errno> {
        let watch = Stopwatch::start();
        let directory = self.place.open()?;
        let names = directory.list()?;
        let quick = watch.elapsed() < QUICK;
        watched.listings += 1;
        self.judge(&names, quick, watched);
        if let Some(head) = self.head {
            let text = directory.text(&format!("head.{head:08}"))?;
            // Absent is possible: a slow look comes after its removal.
            watched.wrong_text += u64::from(text.is_some_and(|text| text != format!("{head:08}")));
        }
        for file in FILES {
            let content = content(&directory, file)?;
            self.judge_content(file, &content, watched);
        }
        Ok(())
    }

    fn judge(&mut self, names: &[String], quick: bool, watched: &mut Watched) {
        let fixed = names.iter().filter(|name| name.starts_with("fixed.")).count() as u64;
        watched.lost_names += u64::from(fixed < FIXED);
        let highest =
            names.iter().filter_map(|name| name.strip_prefix("head.")?.parse().ok()).max();
        if highest < self.head {
            watched.went_back += u64::from(quick);
        } else {
            self.head = highest;
        }
    }

    fn judge_content(&mut self, file: &'static str, content: &[u8], watched: &mut Watched) {
        watched.reads += 1;
        let number = std::str::from_utf8(content).ok().filter(|text| text.len() == 8);
        let Some(number) = number.and_then(|text| text.parse().ok()) else {
            watched.torn += 1;
            return;
        };
        let highest = self.contents.entry(file).or_insert(number);
        watched.old_after_new += u64::from(number < *highest);
        *highest = number.max(*highest);
    }
}

fn content(directory: &Open, file: &str) -> Result<Vec<u8>, Errno> {
    let file = openat(&directory.0, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 64];
    let length = rustix::io::read(&file, &mut buffer)?;
    Ok(buffer[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(heads: &[u64], fixed: u64) -> Vec<String> {
        let heads = heads.iter().map(|head| format!("head.{head:08}"));
        heads.chain((0..fixed).map(|i| format!("fixed.{i}"))).collect()
    }

    #[test]
    fn a_listing_that_goes_back_or_loses_names_is_noticed() {
        let mut folder = Folder::new(&Place::new("x"), "a");
        let mut watched = Watched::default();
        folder.judge(&names(&[3, 4], FIXED), true, &mut watched);
        folder.judge(&names(&[4, 5], FIXED), true, &mut watched);
        assert_eq!(watched, Watched::default());
        folder.judge(&names(&[4], FIXED), false, &mut watched);
        folder.judge(&names(&[4], FIXED), true, &mut watched);
        folder.judge(&names(&[], FIXED - 1), true, &mut watched);
        assert_eq!((watched.went_back, watched.lost_names), (2, 1));
    }

    #[test]
    fn old_content_after_new_and_half_content_are_noticed() {
        let mut folder = Folder::new(&Place::new("x"), "a");
        let mut watched = Watched::default();
        for content in ["00000004", "00000005", "00000004", "0000", "00000005"] {
            folder.judge_content(FILES[0], content.as_bytes(), &mut watched);
        }
        assert_eq!((watched.reads, watched.old_after_new, watched.torn), (5, 1, 1));
    }

    #[test]
    fn a_local_folder_shows_nothing_impossible() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let mut worker = Worker::default();
        let span = Duration::from_millis(200);
        std::thread::scope(|scope| {
            scope.spawn(|| write(&place, "a", span * 2).unwrap());
            watch(&mut worker, &place, &["a".into()], span).unwrap();
        });
        let seen = &worker.findings.watched;
        assert!(seen.listings > 0);
        assert_eq!((seen.went_back, seen.lost_names, seen.wrong_text), (0, 0, 0), "{seen:?}");
    }
}
