//! The names in a directory, as they are listed without an allocation for each.
//!
//! This file must not know what the names mean.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Calls `see` with each name. The directory is opened anew: not every kernel shows what has come
/// since when one that is open is only rewound.
#[cfg(target_os = "linux")]
pub(super) fn each_name(directory: impl AsFd, mut see: impl FnMut(&[u8])) -> Result<(), Errno> {
    use std::mem::MaybeUninit;

    use rustix::fs::RawDir;

    // For some 170 names of generations a call.
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut names = RawDir::new(open_again(directory)?, &mut buffer);
    while let Some(entry) = names.next() {
        match entry {
            Ok(entry) => see(entry.file_name().to_bytes()),
            // It was removed meanwhile, and has no names.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The same where a directory has to be read through the system's library.
#[cfg(not(target_os = "linux"))]
pub(super) fn each_name(directory: impl AsFd, mut see: impl FnMut(&[u8])) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::new(open_again(directory)?)? {
        see(entry?.file_name().to_bytes());
    }
    Ok(())
}

fn open_again(directory: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_names_are_seen_however_many_there_are_and_new_ones_too() {
        let place = tempfile::tempdir().unwrap();
        let directory = OwnedFd::from(std::fs::File::open(place.path()).unwrap());
        let mut made = BTreeSet::from([".".to_owned(), "..".to_owned()]);
        for number in 0..1000 {
            if number % 250 == 0 {
                let mut seen = BTreeSet::new();
                let see = |name: &[u8]| {
                    assert!(seen.insert(String::from_utf8(name.to_vec()).unwrap()));
                };
                each_name(&directory, see).unwrap();
                assert_eq!(seen, made);
            }
            let name = format!("{number:0>length$}", length = 1 + number % 255);
            if std::fs::File::create_new(place.path().join(&name)).is_ok() {
                made.insert(name);
            }
        }
    }
}
