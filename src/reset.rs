//! Forgetting a completion, so that the task may run again.
//!
//! This file must not know how a lock stores a record.

use std::time::Duration;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::config::new_incarnation;
use crate::error::LockError;
use crate::lock::Lock;
#[cfg(doc)]
use crate::record::MAX_LEASE_DURATION;
use crate::record::{Intent, LeaderElectionRecord, Observed, RecordKind, Revision};

/// How long a call of the lock may take.
const BUDGET: Duration = Duration::from_secs(10);

/// A corrupt record may hide a leader. A lock that does not know better has those wait who come
/// after for this long: the default lease.
const LEASE_AFTER_CORRUPTION: Duration = Duration::from_secs(15);

/// What a reset has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reset {
    /// Nothing: there was no completion to forget.
    NothingToDo,
    /// The completion is forgotten.
    CompletionForgotten,
    /// A record that could not be read is superseded. Candidates may still have to wait, in case a
    /// leader stood behind it: for the lease of the record below it, as far as the lock knows that,
    /// else for [`MAX_LEASE_DURATION`].
    CorruptionSuperseded,
    /// Only by [`force_reset`]: the lease of a holder is over.
    HolderOusted,
}

/// Why a reset was refused or failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResetError {
    /// Somebody leads, or did when the record was written.
    #[error(
        "{holder} has held {lock} since {since}: a reset would let two lead; end that first (if \
         it is dead already, its lease ends once a candidate has waited {lease_duration:?})"
    )]
    Held {
        /// The lock.
        lock: String,
        /// Who holds it.
        holder: String,
        /// When its term began, on its own wall clock.
        since: Timestamp,
        /// How long its lease lasts without a renewal.
        lease_duration: Duration,
    },
    /// The record changed between the look and the write.
    #[error("somebody else changed {lock} at the same time: look at it again")]
    Changed {
        /// The lock.
        lock: String,
    },
    /// The lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Forgets that the task of `lock` is completed, so that candidates run it again, with a higher
/// fencing token. Also supersedes a record that can't be read.
///
/// # Errors
///
/// [`ResetError::Held`] while somebody leads, and errors of the lock.
pub fn reset(lock: &mut dyn Lock) -> Result<Reset, ResetError> {
    match lock.get(BUDGET) {
        Ok(None) => Ok(Reset::NothingToDo),
        Ok(Some(observed)) => match observed.record.kind {
            RecordKind::Released => Ok(Reset::NothingToDo),
            RecordKind::Completed => {
                let released = observed.record.with_kind(RecordKind::Released);
                release(lock, &released, observed.revision)?;
                Ok(Reset::CompletionForgotten)
            }
            RecordKind::Held => Err(ResetError::Held {
                lock: lock.describe(),
                holder: observed.record.holder_identity.to_string(),
                since: observed.record.acquire_time,
                lease_duration: observed.record.lease_duration,
            }),
        },
        Err(LockError::Corrupt { revision, .. }) => {
            release(lock, &unknown_record(revision), revision)?;
            Ok(Reset::CorruptionSuperseded)
        }
        Err(error) => Err(error.into()),
    }
}

/// Frees `lock` whatever stands there, for who *knows* that nobody leads: a holder, a completion, a
/// record that can't be read. The next candidate leads at once, with a higher fencing token.
///
/// If somebody leads after all, two lead from then on, until that one's next renewal fails.
///
/// # Errors
///
/// [`ResetError::Changed`] if somebody writes at the same time, and errors of the lock.
pub fn force_reset(lock: &mut dyn Lock) -> Result<Reset, ResetError> {
    let (revision, transitions, done) = match lock.get(BUDGET) {
        Ok(None) => return Ok(Reset::NothingToDo),
        Ok(Some(Observed { record, revision, .. })) => match record.kind {
            RecordKind::Released => return Ok(Reset::NothingToDo),
            RecordKind::Completed => {
                (revision, record.leader_transitions, Reset::CompletionForgotten)
            }
            RecordKind::Held => (revision, record.leader_transitions, Reset::HolderOusted),
        },
        // There were never more transitions than writes.
        Err(LockError::Corrupt { revision, .. }) => {
            (revision, revision.0, Reset::CorruptionSuperseded)
        }
        Err(error) => return Err(error.into()),
    };
    // A term of its own, which ends at once: so whoever looks finds a release that is honoured.
    let mut record = unknown_record(revision).with_kind(RecordKind::Held);
    record.leader_transitions = transitions.saturating_add(1);
    let claimed = match lock.write(Intent::Acquire, &record, Some(revision), BUDGET) {
        Ok(claimed) => claimed,
        Err(LockError::Conflict(_)) => {
            return Err(ResetError::Changed { lock: lock.describe() });
        }
        Err(error) => return Err(error.into()),
    };
    record.fencing_token = Some(claimed.0);
    release(lock, &record.with_kind(RecordKind::Released), claimed)?;
    Ok(done)
}

/// A released record of a term that nobody knows.
fn unknown_record(revision: Revision) -> LeaderElectionRecord {
    let mut record = LeaderElectionRecord::new("reset", new_incarnation(), LEASE_AFTER_CORRUPTION)
        .with_kind(RecordKind::Released);
    record.fencing_token = Some(revision.0);
    record.acquire_time = Timestamp::now();
    record.renew_time = record.acquire_time;
    record
}

fn release(
    lock: &mut dyn Lock,
    record: &LeaderElectionRecord,
    expected: Revision,
) -> Result<(), ResetError> {
    match lock.write(Intent::Release, record, Some(expected), BUDGET) {
        Ok(_) => Ok(()),
        Err(LockError::Conflict(_)) => Err(ResetError::Changed { lock: lock.describe() }),
        // The reply is lost; what stands there now tells.
        Err(LockError::Indeterminate(failure)) => match lock.get(BUDGET) {
            Ok(Some(now))
                if now.revision > expected && now.record.kind != RecordKind::Completed =>
            {
                Ok(())
            }
            _ => Err(LockError::Indeterminate(failure).into()),
        },
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::MemoryLock;
    use crate::record::Incarnation;

    fn held(lock: &mut MemoryLock) -> (LeaderElectionRecord, Revision) {
        let record = LeaderElectionRecord::new("node-7", Incarnation(1), BUDGET);
        let revision = lock.write(Intent::Acquire, &record, None, BUDGET).unwrap();
        (lock.get(BUDGET).unwrap().unwrap().record, revision)
    }

    #[test]
    fn a_completion_is_forgotten_and_the_next_token_is_higher() {
        let mut lock = MemoryLock::new();
        assert_eq!(reset(&mut lock).unwrap(), Reset::NothingToDo);
        let (record, revision) = held(&mut lock);
        let completed = record.with_kind(RecordKind::Completed);
        lock.write(Intent::Complete, &completed, Some(revision), BUDGET).unwrap();
        assert_eq!(reset(&mut lock).unwrap(), Reset::CompletionForgotten);
        let now = lock.get(BUDGET).unwrap().unwrap();
        assert_eq!(now.record.kind, RecordKind::Released);
        assert!(now.record.is_same_term(&record));
        assert!(now.revision > revision);
        assert_eq!(reset(&mut lock).unwrap(), Reset::NothingToDo);
    }

    #[test]
    fn by_force_anything_makes_room_for_a_higher_token() {
        let mut lock = MemoryLock::new();
        assert_eq!(force_reset(&mut lock).unwrap(), Reset::NothingToDo);
        let (_, revision) = held(&mut lock);
        assert_eq!(force_reset(&mut lock).unwrap(), Reset::HolderOusted);
        let now = lock.get(BUDGET).unwrap().unwrap();
        assert_eq!(now.record.kind, RecordKind::Released);
        assert!(now.revision > revision && now.record.fencing_token > Some(revision.0));
        assert_eq!(now.record.leader_transitions, 1);
        assert_eq!(force_reset(&mut lock).unwrap(), Reset::NothingToDo);
    }

    #[test]
    fn it_refuses_while_somebody_leads_and_says_who() {
        let mut lock = MemoryLock::new();
        let (_, revision) = held(&mut lock);
        let refusal = reset(&mut lock).unwrap_err().to_string();
        assert!(refusal.contains("node-7") && refusal.contains("10s"), "{refusal}");
        assert_eq!(lock.get(BUDGET).unwrap().unwrap().revision, revision);
    }
}
