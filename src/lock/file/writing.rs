//! What a file lock writes: the entry of a new generation, and whether it fits.

use rand::Rng;

use crate::clock::Instant;
use crate::error::{Failure, LockError};
use crate::lock::file::FileLock;
use crate::lock::file::entry::{Entry, FORMAT, HolderFacts, MAX_TEXT_BYTES, Text, encode};
use crate::lock::file::layout::MAX_GENERATION;
use crate::record::{LeaderElectionRecord, RecordKind};

impl FileLock {
    pub(super) fn entry(
        &mut self,
        record: LeaderElectionRecord,
        seen: Option<(u64, Instant)>,
        holder: Option<HolderFacts>,
    ) -> Entry {
        let witness = seen.and_then(|(generation, at)| self.memory.witness(generation, at));
        Entry { format: FORMAT, record, nonce: self.rng.next_u64(), witness, holder }
    }

    pub(super) fn encode_new(
        &mut self,
        record: LeaderElectionRecord,
        seen: Option<(u64, Instant)>,
    ) -> Result<Text, LockError> {
        let entry = self.entry(record, seen, None);
        self.encode(&entry)
    }

    /// A term whose end could not be written is not begun.
    pub(super) fn check_room(&self, claim: &Entry) -> Result<(), LockError> {
        let mut longest = claim.clone();
        longest.record.kind = RecordKind::Completed;
        longest.witness = self.memory.witness(MAX_GENERATION, Instant::from_nanos(u64::MAX));
        self.encode(&longest).map(drop)
    }

    pub(super) fn encode(&self, entry: &Entry) -> Result<Text, LockError> {
        encode(entry).map_err(|too_long| {
            let failure = Failure::new("write", self.path.display()).hint(format!(
                "the record has {} bytes, at most {} fit; shorten the identity or the metadata",
                too_long.bytes, MAX_TEXT_BYTES
            ));
            LockError::Fatal(failure)
        })
    }
}
