//! Until when a holder has its lease, written into its companion: for who would else have to wait
//! to see a renewal.
//!
//! No more than a hint: who reads it gives up early, and nobody claims for it. A process may hold
//! many leases; each has a slot that follows from the term, and where two have the same, one of
//! them is not known.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::process::{Resource, getrlimit};

use crate::clock::Instant;
use crate::lock::file::step::DirectoryId;

const SLOTS: u64 = 256;

/// The term's key, the instant, and both with a constant: a slot that is read while it is written,
/// and one that was never written, is told by it.
const SLOT_BYTES: usize = 24;

const CHECK: u64 = 0x6c65_6164_6572_2e31;

/// The term of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    key: u64,
}

impl Slot {
    /// That of the term with this fencing token, of the lock in this directory.
    pub(super) fn of(directory: DirectoryId, token: u64) -> Self {
        Self { key: mix(mix(mix(directory.device) ^ directory.inode) ^ token) }
    }

    fn offset(self) -> u64 {
        self.key % SLOTS * SLOT_BYTES as u64
    }

    /// Writes that the lease lasts until then. Where that fails it is not known to others.
    pub(super) fn write(self, file: &File, until: Instant) {
        self.write_words(file, [self.key, until.as_nanos(), self.key ^ until.as_nanos() ^ CHECK]);
    }

    /// Takes it back.
    pub(super) fn clear(self, file: &File) {
        self.write_words(file, [0; 3]);
    }

    fn write_words(self, file: &File, words: [u64; 3]) {
        // A write beyond the limit kills the process.
        let room = getrlimit(Resource::Fsize).current;
        if room.is_some_and(|room| room < SLOTS * SLOT_BYTES as u64) {
            return;
        }
        let mut bytes = [0; SLOT_BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let _ = file.write_at(&bytes, self.offset());
    }

    /// Until when the lease lasts, if the slot says so of this term.
    pub(super) fn read(self, file: &File) -> Option<Instant> {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact_at(&mut bytes, self.offset()).ok()?;
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes));
        let mut word = || words.next()?.ok();
        let (key, until, check) = (word()?, word()?, word()?);
        let whole = key == self.key && check == key ^ until ^ CHECK;
        whole.then_some(Instant::from_nanos(until))
    }
}

/// Every bit of the result depends on every bit of `word` (SplitMix64's last step).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: DirectoryId = DirectoryId { device: 1, inode: 2 };

    #[test]
    fn a_slot_reads_back_for_its_term_and_for_no_other() {
        let file = tempfile::tempfile().unwrap();
        let (slot, until) = (Slot::of(HERE, 7), Instant::from_nanos(123));
        assert_eq!(slot.read(&file), None, "an empty file");
        file.set_len(SLOTS * SLOT_BYTES as u64).unwrap();
        assert_eq!(slot.read(&file), None, "never written");
        slot.write(&file, until);
        assert_eq!(slot.read(&file), Some(until));
        let elsewhere = DirectoryId { inode: 3, ..HERE };
        for token in 0..1000 {
            assert_eq!(Slot::of(elsewhere, token).read(&file), None);
            assert_eq!(Slot::of(HERE, token).read(&file), (token == 7).then_some(until));
        }
        slot.clear(&file);
        assert_eq!(slot.read(&file), None);
    }

    #[test]
    fn a_slot_that_is_half_written_says_nothing() {
        let slot = Slot::of(HERE, 7);
        let file = tempfile::tempfile().unwrap();
        slot.write(&file, Instant::from_nanos(1));
        let mut old = [0; SLOT_BYTES];
        file.read_exact_at(&mut old, slot.offset()).unwrap();
        slot.write(&file, Instant::from_nanos(u64::MAX));
        for cut in 9..SLOT_BYTES as u64 {
            let (rest, at) = (&old[cut as usize..], slot.offset() + cut);
            file.write_all_at(rest, at).unwrap();
            assert_eq!(slot.read(&file), None, "cut at {cut}");
            slot.write(&file, Instant::from_nanos(u64::MAX));
        }
    }
}
