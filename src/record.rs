//! What a lock keeps: who holds the lease, until when to believe it, and what kind of end it had.
//!
//! This file must not know how a lock stores a record, nor what a candidate concludes from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// The longest lease that a record may name: one hour.
///
/// A record that names a longer one is corrupt, so a hostile record can't pin the lease for ever.
pub const MAX_LEASE_DURATION: Duration = Duration::from_secs(3600);

/// The longest identity, in bytes of UTF-8.
pub const MAX_IDENTITY_BYTES: usize = 255;

/// The longest metadata, in bytes of UTF-8.
pub const MAX_METADATA_BYTES: usize = 256;

/// The version of a lock's record: rises with every write, and survives release, corruption and
/// repair. The revision of the write that acquired the lease is the fencing token of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One candidate from its start to its end: a 128-bit random number, whatever its name is.
///
/// Two processes with the same identity are two incarnations, and so is a process that started
/// again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        // `from_str_radix` alone would accept a sign and any length.
        let well_formed = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(&digits, 16) {
            Ok(number) if well_formed => Ok(Self(number)),
            _ => Err(serde::de::Error::custom("an incarnation has 32 hexadecimal digits")),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An unreadable time reads as the epoch: no decision depends on it, so it must not spoil a record.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let since_epoch = humantime::parse_rfc3339_weak(&text)
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Self::from_millis(since_epoch.map_or(0, |span| span.as_millis() as u64)))
    }
}

/// What a record says about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Its holder leads, until the lease runs out.
    Held,
    /// Its holder gave the lease up: anybody may claim at once.
    Released,
    /// The task is done for good: nobody may claim any more.
    Completed,
}

/// The record of a lease, with the JSON keys of the Go original and ours beside them.
///
/// Durations are kept to the millisecond. `leaseDurationSeconds` (rounded up) is written for other
/// readers and not read back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Wire", into = "Wire")]
#[non_exhaustive]
pub struct LeaderElectionRecord {
    /// Held, released or completed.
    pub kind: RecordKind,
    /// The name of who holds the lease, or held it last.
    pub holder_identity: Arc<str>,
    /// Which incarnation of that name.
    pub incarnation: Incarnation,
    /// How long the lease lasts without a renewal: more than zero, at most [`MAX_LEASE_DURATION`].
    pub lease_duration: Duration,
    /// When the term was acquired, on the holder's wall clock: for people only.
    pub acquire_time: Timestamp,
    /// When the holder last renewed, on its wall clock: for people only.
    pub renew_time: Timestamp,
    /// How many terms came before this one on this lock; never falls.
    pub leader_transitions: u64,
    /// The revision of the write that acquired the term. `None` only in a record on its way to that
    /// very write: what a lock returns always has it.
    pub fencing_token: Option<u64>,
    /// How many renewals of the term the record has seen: tells an own late write from another's.
    pub renewals: u64,
    /// Whatever the holder wants candidates and observers to read, such as its `host:port`.
    pub metadata: Arc<str>,
}

impl LeaderElectionRecord {
    /// A held record of `identity` with nothing else known yet.
    pub fn new(
        identity: impl Into<Arc<str>>,
        incarnation: Incarnation,
        lease_duration: Duration,
    ) -> Self {
        Self {
            kind: RecordKind::Held,
            holder_identity: identity.into(),
            incarnation,
            lease_duration,
            acquire_time: Timestamp::default(),
            renew_time: Timestamp::default(),
            leader_transitions: 0,
            fencing_token: None,
            renewals: 0,
            metadata: "".into(),
        }
    }

    /// The record of the same term with another kind.
    #[must_use]
    pub fn with_kind(&self, kind: RecordKind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// Whether both records are of one term: the same incarnation and the same fencing token.
    pub fn is_same_term(&self, other: &LeaderElectionRecord) -> bool {
        self.incarnation == other.incarnation
            && self.fencing_token.is_some()
            && self.fencing_token == other.fencing_token
    }

    /// Who leads according to this record: nobody once it is released or completed.
    pub fn leader(&self) -> Option<&Arc<str>> {
        (self.kind == RecordKind::Held).then_some(&self.holder_identity)
    }
}

/// What a write is for. A lock may carry the four out differently: a file renewal is a hard link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Begin a term. The revision that this write gets is the term's fencing token.
    Acquire,
    /// Extend the term that this lock acquired last.
    Renew,
    /// Give the lease up.
    Release,
    /// Record that the task is done for good.
    Complete,
}

/// A record as a lock returned it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The record, its `fencing_token` filled in.
    pub record: LeaderElectionRecord,
    /// The version to expect in the next write.
    pub revision: Revision,
    /// Differs between two records that stand at one revision, as may happen when an administrator
    /// has replaced a whole lock. Zero where the store never repeats a revision.
    pub nonce: u64,
}

/// What is known of the process that holds a lease, or held it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Nothing, as of a process on another host.
    #[default]
    Unknown,
    /// It is there, though it may be stopped, and its lease is not over.
    Alive,
    /// It is proven to be gone, with all that it did for its term.
    Dead,
}

/// The record as it stands in JSON.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    kind: RecordKind,
    holder_identity: Arc<str>,
    incarnation: Incarnation,
    #[serde(default)]
    lease_duration_seconds: u64,
    lease_duration_millis: u64,
    acquire_time: Timestamp,
    /// Where a lock tells it otherwise, its record leaves it out.
    #[serde(default)]
    renew_time: Option<Timestamp>,
    leader_transitions: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fencing_token: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    renewals: u64,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    metadata: Arc<str>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<LeaderElectionRecord> for Wire {
    fn from(record: LeaderElectionRecord) -> Self {
        let millis = record.lease_duration.as_millis() as u64;
        Wire {
            kind: record.kind,
            holder_identity: record.holder_identity,
            incarnation: record.incarnation,
            lease_duration_seconds: millis.div_ceil(1000),
            lease_duration_millis: millis,
            acquire_time: record.acquire_time,
            renew_time: Some(record.renew_time),
            leader_transitions: record.leader_transitions,
            fencing_token: record.fencing_token,
            renewals: record.renewals,
            metadata: record.metadata,
        }
    }
}

impl TryFrom<Wire> for LeaderElectionRecord {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let lease_duration = Duration::from_millis(wire.lease_duration_millis);
        if lease_duration.is_zero() || lease_duration > MAX_LEASE_DURATION {
            return Err(format!("a lease of {} ms", wire.lease_duration_millis));
        }
        check_text("identity", &wire.holder_identity, MAX_IDENTITY_BYTES)?;
        check_text("metadata", &wire.metadata, MAX_METADATA_BYTES)?;
        Ok(Self {
            kind: wire.kind,
            holder_identity: wire.holder_identity,
            incarnation: wire.incarnation,
            lease_duration,
            acquire_time: wire.acquire_time,
            renew_time: wire.renew_time.unwrap_or(wire.acquire_time),
            leader_transitions: wire.leader_transitions,
            fencing_token: wire.fencing_token,
            renewals: wire.renewals,
            metadata: wire.metadata,
        })
    }
}

/// Refuses text that is too long, or that could play tricks on a terminal.
pub(crate) fn check_text(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("{what} has {} bytes; at most {most} are allowed", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{what} has the control character {c:?}; leave it out")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LeaderElectionRecord {
        let lease = Duration::from_millis(1500);
        let mut record = LeaderElectionRecord::new("node-7", Incarnation(0xabc), lease);
        record.fencing_token = Some(12);
        record.acquire_time = Timestamp::from_millis(1_795_508_161_250);
        record.metadata = "node-7:4000".into();
        record
    }

    #[test]
    fn json_has_the_original_keys_and_reads_back() {
        let json = serde_json::to_value(sample()).unwrap();
        assert_eq!(json["holderIdentity"], "node-7");
        assert_eq!(json["leaseDurationSeconds"], 2);
        assert_eq!(json["leaseDurationMillis"], 1500);
        assert_eq!(json["acquireTime"], "2026-11-24T08:16:01.250Z");
        assert_eq!(json["leaderTransitions"], 0);
        assert_eq!(serde_json::from_value::<LeaderElectionRecord>(json).unwrap(), sample());
    }

    #[test]
    fn hostile_values_are_refused() {
        for (key, value) in [
            ("leaseDurationMillis", serde_json::json!(0)),
            ("leaseDurationMillis", serde_json::json!(3_600_001)),
            ("holderIdentity", serde_json::json!("a\u{1b}[2J")),
            ("holderIdentity", serde_json::json!("x".repeat(256))),
            ("metadata", serde_json::json!("x".repeat(257))),
            ("incarnation", serde_json::json!("+0000000000000000000000000000abc")),
            ("kind", serde_json::json!("free")),
        ] {
            let mut json = serde_json::to_value(sample()).unwrap();
            json[key] = value;
            assert!(serde_json::from_value::<LeaderElectionRecord>(json).is_err(), "{key}");
        }
    }

    #[test]
    fn an_unreadable_time_does_not_spoil_the_record() {
        let mut json = serde_json::to_value(sample()).unwrap();
        json["acquireTime"] = "yesterday".into();
        let record: LeaderElectionRecord = serde_json::from_value(json).unwrap();
        assert_eq!(record.acquire_time, Timestamp::default());
    }
}
