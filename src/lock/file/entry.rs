//! The text of a generation: what its symbolic link points to.

use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
pub use crate::lock::file::companion::CompanionId;
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// [`FORMAT`].
    pub format: u32,
    /// The record; its fencing token is the generation of the term's claim. The text leaves out
    /// what its name tells: how often it was renewed, and when.
    pub record: LeaderElectionRecord,
    /// Drawn for each attempt to create a generation.
    pub nonce: u64,
    /// What the writer knew to be superseded, for later sweeps.
    pub witness: Option<Witness>,
    /// By what others of the same boot can tell whether the holder's process lives.
    pub holder: Option<HolderFacts>,
}

/// A generation that the writer had read as the head, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    /// It stood as the head.
    pub generation: u64,
    /// The machine's boot and time namespace.
    pub boot: BootId,
    /// The boot clock, read after the read of the generation had returned.
    pub clock_nanos: u64,
}

/// By what it can be told whether a holder's process lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HolderFacts {
    /// The machine's boot and time namespace.
    pub boot: BootId,
    /// The file that the process keeps locked.
    pub companion: CompanionId,
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
    let mut text = Vec::with_capacity(MAX_TEXT_BYTES);
    let _ = serde_json::to_writer(&mut text, &Written::from(entry));
    text.pop();
    let check = checksum(&text);
    let _ = write!(text, ",\"check\":\"{check:08x}\"}}");
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
    let read: Read = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut entry = Entry::from(read);
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

/// An entry as it is written: the record with its usual keys, but for those that its name tells,
/// and the boot once for all that need it. There are few bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    format: u32,
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
    #[serde(serialize_with = "to_hex")]
    nonce: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<&'a BootId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    companion: Option<CompanionId>,
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    format: u32,
    #[serde(flatten)]
    record: LeaderElectionRecord,
    #[serde(deserialize_with = "from_hex")]
    nonce: u64,
    #[serde(default)]
    boot: Option<BootId>,
    #[serde(default)]
    witness: Option<Seen>,
    #[serde(default, deserialize_with = "well_formed")]
    companion: Option<CompanionId>,
}

/// A [`Witness`] without its boot.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    generation: u64,
    clock_nanos: u64,
}

impl<'a> From<&'a Entry> for Written<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { format, record, nonce, witness, holder } = entry;
        let boot = holder.as_ref().map(|holder| &holder.boot);
        let boot = boot.or(witness.as_ref().map(|witness| &witness.boot));
        // One writer has one boot. Where that is not so, what is left out is missed by nobody.
        let witness = witness.as_ref().filter(|witness| boot == Some(&witness.boot));
        Self {
            format: *format,
            kind: record.kind,
            holder_identity: &record.holder_identity,
            incarnation: record.incarnation,
            lease_duration_millis: record.lease_duration.as_millis() as u64,
            acquire_time: record.acquire_time,
            leader_transitions: record.leader_transitions,
            fencing_token: record.fencing_token,
            metadata: &record.metadata,
            nonce: *nonce,
            boot,
            witness: witness
                .map(|&Witness { generation, clock_nanos, .. }| Seen { generation, clock_nanos }),
            companion: holder.as_ref().map(|holder| holder.companion),
        }
    }
}

impl From<Read> for Entry {
    fn from(read: Read) -> Self {
        let Read { format, record, nonce, boot, witness, companion } = read;
        let witness = boot.clone().zip(witness).map(|(boot, seen)| Witness {
            generation: seen.generation,
            boot,
            clock_nanos: seen.clock_nanos,
        });
        let holder = boot.zip(companion).map(|(boot, companion)| HolderFacts { boot, companion });
        Self { format, record, nonce, witness, holder }
    }
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

/// No more than a hint: one of another shape leaves the record what it is.
fn well_formed<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CompanionId>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(|value| serde_json::from_value(value).ok())
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
        let witness =
            Witness { generation: 123_456_789_012, boot: boot.clone(), clock_nanos: u64::MAX / 2 };
        let companion =
            CompanionId { nonce: u64::MAX, device: u64::from(u32::MAX), inode: u64::MAX };
        let holder = HolderFacts { boot, companion };
        Entry { format: FORMAT, record, nonce: 7, witness: Some(witness), holder: Some(holder) }
    }

    #[test]
    fn an_entry_reads_back() {
        let entry = entry("node-7", "node-7:4000");
        let text = encode(&entry).unwrap();
        assert_eq!(decode(&text), Decoded::Entry(Box::new(entry)));
    }

    #[test]
    fn an_entry_without_witness_or_companion_reads_back() {
        let whole = entry("node-7", "");
        for (witness, holder) in [(true, false), (false, true), (false, false)] {
            let mut part = whole.clone();
            part.witness = part.witness.filter(|_| witness);
            part.holder = part.holder.filter(|_| holder);
            assert_eq!(decode(&encode(&part).unwrap()), Decoded::Entry(Box::new(part)));
        }
    }

    #[test]
    fn a_witness_of_another_boot_than_its_companion_is_left_out() {
        let mut entry = entry("node-7", "");
        entry.witness.as_mut().unwrap().boot = "another".into();
        let text = encode(&entry).unwrap();
        entry.witness = None;
        assert_eq!(decode(&text), Decoded::Entry(Box::new(entry)));
    }

    #[test]
    fn a_companion_is_read_as_it_is_written_and_nothing_else_is() {
        let id = CompanionId { nonce: 0xabc, device: 27, inode: 1234 };
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, r#""0000000000000abc-27-1234""#);
        assert_eq!(serde_json::from_str::<CompanionId>(&text).unwrap(), id);
        for odd in [
            "",
            "abc-27-1234",
            "0000000000000abc-27",
            "0000000000000abc-27-1234-5",
            "0000000000000abc-+27-1234",
            "0000000000000abc--1234",
            "000000000000000/-27-1234",
            "0000000000000abc-27-18446744073709551616",
        ] {
            let text = serde_json::to_string(odd).unwrap();
            assert!(serde_json::from_str::<CompanionId>(&text).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_companion_of_another_shape_leaves_the_record_what_it_is() {
        let mut entry = entry("node-7", "");
        let text = String::from_utf8(encode(&entry).unwrap().to_vec()).unwrap();
        let (before, rest) = text.split_once("\"companion\":").unwrap();
        let (_, after) = rest.split_once(",\"check\"").unwrap();
        assert!(after.len() < 15, "it comes last");
        entry.holder = None;
        for odd in [r#""ffffffffffffffff-1-2-3""#, r#""""#, "7", "null", "[1]", r#"{"nonce":1}"#] {
            let body = format!("{before}\"companion\":{odd}");
            let text = format!("{body},\"check\":\"{:08x}\"}}", checksum(body.as_bytes()));
            let Decoded::Entry(read) = decode(text.as_bytes()) else { panic!("{odd}") };
            assert_eq!((&read.record, &read.holder), (&entry.record, &None), "{odd}");
        }
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
        assert!(bytes <= MAX_TEXT_BYTES, "{bytes} bytes");
        let escaped = entry(&"\"".repeat(255), &"\"".repeat(256));
        assert!(matches!(encode(&escaped), Err(TooLong { bytes }) if bytes > MAX_TEXT_BYTES));
    }
}
