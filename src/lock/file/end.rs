//! How the file lock ends a term, or a lock for good.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{Failure, LockError};
use crate::lock::Intent;
use crate::lock::file::entry::{Decoded, Entry, Text, decode};
use crate::lock::file::finish::Finish;
use crate::lock::file::observe::{Content, Head};
use crate::lock::file::slot::Slot;
use crate::lock::file::step::{Op, Reply};
use crate::lock::file::{FileLock, Term};
use crate::record::{LeaderElectionRecord, MAX_LEASE_DURATION, Revision};

/// How far below a corrupt head a readable record is looked for.
const LOOK_BELOW: u64 = 64;

impl FileLock {
    pub(super) fn finish(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        let term = self.own_term(record, expected).ok();
        let (directory, after, seen_at) = match &term {
            Some(term) => {
                self.same_host.ended(Slot::of(term.directory, term.token));
                (term.directory, term.generation, term.confirmed_at)
            }
            None => {
                // Not a term of this lock: as after a completion that is to be forgotten.
                self.expect(expected)?;
                let Some(head) = &self.head else {
                    let failure = Failure::new("write", self.path.display())
                        .hint("there is no record to follow");
                    return Err(LockError::Conflict(failure));
                };
                (head.directory, head.generation, head.read_at)
            }
        };
        let mut record = record.clone();
        if self.term.is_none() && self.head.as_ref().is_some_and(|head| head.is_corrupt()) {
            // Somebody may lead behind it, and will not see it before the next renewal.
            record.lease_duration = self.lease_below(after);
        }
        record.fencing_token = record.fencing_token.or(Some(after));
        record.renewals = 0;
        let entry = self.entry(record, Some((after, seen_at)), None);
        let text = self.encode(&entry)?;
        let generation = self.next_generation(after)?;
        let began = self.clock.now();
        let written = text.clone();
        let mut step = match intent {
            Intent::Complete => Finish::complete(directory, after, written, budget, self.durable),
            _ => Finish::release(directory, after, written, budget),
        };
        let finished = self.run(&mut step).map_err(|fault| self.error(fault))?;
        self.term = None;
        self.head = None;
        if let Some(term) = term.filter(|_| intent == Intent::Release) {
            self.released(term, generation, text, entry, began);
        }
        Ok(Revision(finished))
    }

    /// Keeps the release as the head, if the record below it is that of the term, as everybody
    /// wants to see who honours it.
    fn released(
        &mut self,
        term: Term,
        generation: u64,
        text: Text,
        mut entry: Entry,
        listed_at: Instant,
    ) {
        if self.store.perform(&Op::Read(term.generation)) != Reply::Text(term.text) {
            return;
        }
        let (directory, read_at) = (term.directory, self.clock.now());
        // As it reads back.
        entry.record.renew_time = entry.record.acquire_time;
        self.note_highest((directory, generation));
        self.memory.note(directory, generation, read_at);
        let content = Content::Entry(Box::new(entry));
        let text = Some(text);
        self.head =
            Some(Box::new(Head { directory, generation, text, content, read_at, listed_at }));
    }

    /// The lease of the newest record below `generation` that can be read; the longest of all if
    /// none can.
    fn lease_below(&mut self, generation: u64) -> Duration {
        self.store.perform(&Op::Open);
        for below in (generation.saturating_sub(LOOK_BELOW).max(1)..generation).rev() {
            if let Reply::Text(text) = self.store.perform(&Op::Read(below))
                && let Decoded::Entry(entry) = decode(&text)
            {
                return entry.record.lease_duration;
            }
        }
        MAX_LEASE_DURATION
    }
}
