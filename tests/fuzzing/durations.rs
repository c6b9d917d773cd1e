//! Durations as people write them on the command line.

use std::time::Duration;

#[allow(dead_code, unused_imports)]
#[path = "../../src/bin/elect/duration.rs"]
mod duration;

/// Reads `data` as a duration.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match duration::positive(text) {
        Ok(read) => {
            assert!(read > Duration::ZERO && read <= Duration::from_secs(366 * 24 * 3600));
            let again = humantime::format_duration(read).to_string();
            assert_eq!(duration::positive(&again), Ok(read), "{again}");
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}
