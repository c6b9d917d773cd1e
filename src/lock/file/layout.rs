//! The names in a lock directory: `g.` and twenty digits, one for each generation.
//!
//! Every other name is ignored.

use std::ffi::CStr;

/// The highest generation that a name may have. A higher number is ignored: it fits no signed
/// counter that a fenced resource may keep.
pub const MAX_GENERATION: u64 = i64::MAX as u64;

/// The name of a generation.
pub fn name_of(generation: u64) -> String {
    format!("g.{generation:020}")
}

/// The same for a system call, without an allocation.
pub(super) struct NameOf([u8; NAME_BYTES + 1]);

const NAME_BYTES: usize = PREFIX.len() + DIGITS;
const PREFIX: &[u8] = b"g.";
const DIGITS: usize = 20;

impl NameOf {
    pub(super) fn new(generation: u64) -> Self {
        let mut name = *b"g.00000000000000000000\0";
        let mut rest = generation;
        for digit in name[PREFIX.len()..NAME_BYTES].iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        Self(name)
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// What a name in the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A generation.
    Generation(u64),
    /// A generation's name with a number that is too high: worth a warning.
    TooHigh,
    /// None of ours.
    Other,
}

/// Reads a name as it stands in the directory.
pub fn parse_name(name: &[u8]) -> Name {
    let Some(digits) = name.strip_prefix(PREFIX) else {
        return Name::Other;
    };
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return Name::Other;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    match number {
        // The first generation is 1, so that a token of 0 is older than every term's.
        Some(0) => Name::Other,
        Some(number) if number <= MAX_GENERATION => Name::Generation(number),
        _ => Name::TooHigh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_sort_by_number() {
        for generation in [1, 9, 10, 1_234_567_890, MAX_GENERATION] {
            let name = name_of(generation);
            assert_eq!(parse_name(name.as_bytes()), Name::Generation(generation));
            assert_eq!(NameOf::new(generation).as_c_str().to_bytes(), name.as_bytes());
        }
        assert!(name_of(9) < name_of(10));
    }

    #[test]
    fn other_names_are_ignored() {
        for name in ["g.1", "g.0000000000000000001", "x.00000000000000000001", "g.", ""] {
            assert_eq!(parse_name(name.as_bytes()), Name::Other, "{name}");
        }
        assert_eq!(parse_name(b"g.0000000000000000000a"), Name::Other);
        assert_eq!(parse_name(b"g.+0000000000000000001"), Name::Other);
        assert_eq!(parse_name(name_of(0).as_bytes()), Name::Other);
        assert_eq!(parse_name(b"g.09223372036854775808"), Name::TooHigh);
        assert_eq!(parse_name(b"g.99999999999999999999"), Name::TooHigh);
    }
}
