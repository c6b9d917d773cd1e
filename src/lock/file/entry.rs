//! The text of a generation: what its symbolic link points to.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::record::{Incarnation, LeaderElectionRecord, RecordKind};

/// The most bytes of a text: XFS and GPFS stop near 1,024.
pub const MAX_TEXT_BYTES: usize = 1000;

/// The version of the format that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The text of a symbolic link.
pub type Text = Arc<[u8]>;

/// The identity of a boot of a machine and of the time namespace: where two are equal, boot clocks
/// can be compared.
pub type BootId = Arc<str>;

/// A generation's record with what the file lock needs beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// [`FORMAT`].
    pub format: u32,
    /// The record; its fencing token is the generation of the term's claim. The text leaves out
    /// what its name tells: how often it was renewed, and when.
    #[serde(flatten, serialize_with = "without_what_the_name_tells")]
    pub record: LeaderElectionRecord,
    /// Drawn for each attempt to create a generation.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub nonce: u64,
    /// What the writer knew to be superseded, for later sweeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// A generation that the writer had read as the head, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// It stood as the head.
    pub generation: u64,
    /// The machine's boot and time namespace.
    pub boot: BootId,
    /// The boot clock, read after the read of the generation had returned.
    pub clock_nanos: u64,
}

/// What a text turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decoded {
    /// An entry of this format.
    Entry(Box<Entry>),
    /// Something else, and why.
    Corrupt(String),
    /// An intact entry of another format's version.
    UnknownFormat(u32),
}

/// An entry that has no text: too long, because identity and metadata are long and full of
/// characters that JSON escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLong {
    /// The bytes that it would have.
    pub bytes: usize,
}

/// The text of an entry.
///
/// # Errors
///
/// [`TooLong`].
pub fn encode(entry: &Entry) -> Result<Text, TooLong> {
    // A struct of strings, numbers and options always has a JSON form.
    let mut text = serde_json::to_vec(entry).unwrap_or_default();
    text.pop();
    let check = checksum(&text);
    text.extend_from_slice(format!(",\"check\":\"{check:08x}\"}}").as_bytes());
    if text.len() > MAX_TEXT_BYTES {
        return Err(TooLong { bytes: text.len() });
    }
    Ok(text.into())
}

/// Reads a text. Any byte that was changed or cut makes it corrupt.
pub fn decode(text: &[u8]) -> Decoded {
    decode_checked(text).unwrap_or_else(Decoded::Corrupt)
}

fn decode_checked(text: &[u8]) -> Result<Decoded, String> {
    const TAIL: usize = ",\"check\":\"01234567\"}".len();
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("it has more than {MAX_TEXT_BYTES} bytes"));
    }
    let body = text.len().checked_sub(TAIL).map(|end| &text[..end]).ok_or("it is too short")?;
    let tail = format!(",\"check\":\"{:08x}\"}}", checksum(body));
    if !text.ends_with(tail.as_bytes()) {
        return Err("its checksum is wrong".to_owned());
    }
    let version: Version = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if version.format != FORMAT {
        return Ok(Decoded::UnknownFormat(version.format));
    }
    let mut entry: Entry = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    // The name tells both, whatever a text may say.
    entry.record.renewals = 0;
    entry.record.renew_time = entry.record.acquire_time;
    if entry.record.fencing_token.is_none() {
        return Err("it has no fencing token".to_owned());
    }
    Ok(Decoded::Entry(Box::new(entry)))
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// FNV-1a with 32 bits (RFC 9923): the change of a single byte always changes it, because each of
/// its steps is a bijection.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The record with its usual keys, but for those that can be told otherwise: there are few bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Short<'a> {
    kind: RecordKind,
    holder_identity: &'a str,
    incarnation: Incarnation,
    lease_duration_millis: u64,
    acquire_time: Timestamp,
    leader_transitions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
}

fn without_what_the_name_tells<S: Serializer>(
    record: &LeaderElectionRecord,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let short = Short {
        kind: record.kind,
        holder_identity: &record.holder_identity,
        incarnation: record.incarnation,
        lease_duration_millis: record.lease_duration.as_millis() as u64,
        acquire_time: record.acquire_time,
        leader_transitions: record.leader_transitions,
        fencing_token: record.fencing_token,
        metadata: &record.metadata,
    };
    short.serialize(serializer)
}

fn to_hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let digits = String::deserialize(deserializer)?;
    let well_formed = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match u64::from_str_radix(&digits, 16) {
        Ok(number) if well_formed => Ok(number),
        _ => Err(serde::de::Error::custom("a nonce has 16 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(identity: &str, metadata: &str) -> Entry {
        let lease = Duration::from_millis(3_600_000);
        let mut record = LeaderElectionRecord::new(identity, Incarnation(u128::MAX), lease);
        record.fencing_token = Some(u64::MAX / 2);
        record.leader_transitions = 9_999_999;
        record.acquire_time = Timestamp::from_millis(1_795_508_161_250);
        record.renew_time = record.acquire_time;
        record.metadata = metadata.into();
        let boot: BootId = "0123456789abcdef0123456789abcdef-4026531834".into();
        let witness = Witness { generation: 123_456_789_012, boot, clock_nanos: u64::MAX / 2 };
        Entry { format: FORMAT, record, nonce: 7, witness: Some(witness) }
    }

    #[test]
    fn an_entry_reads_back() {
        let entry = entry("node-7", "node-7:4000");
        let text = encode(&entry).unwrap();
        assert_eq!(decode(&text), Decoded::Entry(Box::new(entry)));
    }

    #[test]
    fn every_changed_or_cut_byte_is_noticed() {
        let text = encode(&entry("node-7", "")).unwrap();
        for at in 0..text.len() {
            assert!(matches!(decode(&text[..at]), Decoded::Corrupt(_)), "cut at {at}");
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = text.to_vec();
                changed[at] ^= flip;
                assert!(matches!(decode(&changed), Decoded::Corrupt(_)), "{flip:x} at {at}");
            }
        }
    }

    #[test]
    fn another_format_is_told_from_corruption() {
        let mut other = entry("node-7", "");
        other.format = 2;
        assert_eq!(decode(&encode(&other).unwrap()), Decoded::UnknownFormat(2));
    }

    #[test]
    fn the_longest_plain_identity_and_metadata_fit_and_more_is_an_error() {
        let mut plain = entry(&"x".repeat(255), &"y".repeat(256));
        plain.record.kind = RecordKind::Completed;
        let bytes = encode(&plain).unwrap().len();
        // Room for the device and the inode of a companion lock.
        let facts = r#","device":4294967295,"inode":18446744073709551615"#.len();
        assert!(bytes + facts <= MAX_TEXT_BYTES, "{bytes} bytes");
        let escaped = entry(&"\"".repeat(255), &"\"".repeat(256));
        assert!(matches!(encode(&escaped), Err(TooLong { bytes }) if bytes > MAX_TEXT_BYTES));
    }
}
