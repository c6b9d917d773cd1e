//! The names of a directory listing.

use leaderelection::testing::file::{MAX_GENERATION, Name, name_of, parse_name};

/// Reads `data` as a name.
pub fn check(data: &[u8]) {
    if let Name::Generation(generation) = parse_name(data) {
        assert!((1..=MAX_GENERATION).contains(&generation));
        assert_eq!(name_of(generation).as_bytes(), data);
    }
}
