//! How the file lock says things: records as texts, faults as errors.
//!
//! This file must not touch the directory.

use rand::Rng;

use crate::clock::Instant;
use crate::error::{Failure, LockError};
use crate::lock::file::FileLock;
use crate::lock::file::entry::{self, Entry, FORMAT, HolderFacts, Text};
use crate::lock::file::layout::{MAX_GENERATION, name_of};
use crate::lock::file::step::{Fault, FaultKind};
use crate::record::{LeaderElectionRecord, RecordKind};

/// So much longer than a claim's text that of the term's end is at most: it may have a witness and
/// a boot where the claim had none.
const LONGER_END: usize = 200;

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

    /// A term whose end could not be written is not begun.
    pub(super) fn check_room(&self, claim: &Entry, text: &Text) -> Result<(), LockError> {
        if text.len() + LONGER_END <= entry::MAX_TEXT_BYTES {
            return Ok(());
        }
        let mut longest = claim.clone();
        longest.record.kind = RecordKind::Completed;
        longest.witness = self.memory.witness(MAX_GENERATION, Instant::from_nanos(u64::MAX));
        self.encode(&longest).map(drop)
    }

    pub(super) fn encode(&self, entry: &Entry) -> Result<Text, LockError> {
        entry::encode(entry).map_err(|too_long| {
            let failure = Failure::new("write", self.path.display()).hint(format!(
                "the record has {} bytes, at most {} fit; shorten the identity or the metadata",
                too_long.bytes,
                entry::MAX_TEXT_BYTES
            ));
            LockError::Fatal(failure)
        })
    }

    pub(super) fn name(&self, generation: u64) -> String {
        self.path.join(name_of(generation)).display().to_string()
    }

    pub(super) fn error(&self, fault: Fault) -> LockError {
        let resource = match fault.generation {
            Some(generation) => self.name(generation),
            None => self.path.display().to_string(),
        };
        let mut failure = Failure::new(fault.operation, resource);
        if let Some(hint) = fault.hint {
            failure = failure.hint(hint);
        }
        if let Some(errno) = fault.errno {
            failure = failure.source(std::io::Error::from_raw_os_error(errno.0));
        }
        match fault.kind {
            FaultKind::Conflict => LockError::Conflict(failure),
            FaultKind::Unavailable => LockError::Unavailable(failure),
            FaultKind::Indeterminate => LockError::Indeterminate(failure),
            FaultKind::Fatal => LockError::Fatal(failure),
        }
    }
}
