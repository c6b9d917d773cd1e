//! The decoder of a generation's text: anything may stand in a shared directory.

use leaderelection::LeaderElectionRecord;
use leaderelection::testing::file::{Decoded, MAX_TEXT_BYTES, checksum, decode, encode};

/// Decodes `data`, as it is and with a right checksum.
pub fn check(data: &[u8]) {
    let _ = decode(data);
    let _ = serde_json::from_slice::<LeaderElectionRecord>(data);
    // With a right checksum the rest of the decoder is reached.
    let mut text = data.to_vec();
    text.extend_from_slice(format!(",\"check\":\"{:08x}\"}}", checksum(data)).as_bytes());
    if let Decoded::Entry(entry) = decode(&text) {
        assert!(text.len() <= MAX_TEXT_BYTES);
        // What is read and written again reads the same, unless JSON's escapes make it too long.
        if let Ok(again) = encode(&entry) {
            assert_eq!(decode(&again), Decoded::Entry(entry));
        }
    }
}
