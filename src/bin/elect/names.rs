//! What COMMAND is told of its candidate, as it crosses the socket to the guard.
//!
//! This file must not know who reads it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The candidate's own name and that of its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Has no control characters.
    pub identity: String,
    /// An absolute path, of use after a change of directory too.
    pub lock: PathBuf,
}

impl Names {
    /// The lock's name follows the first zero byte.
    pub fn to_text(&self) -> Vec<u8> {
        [self.identity.as_bytes(), &[0], self.lock.as_os_str().as_bytes()].concat()
    }

    /// The same read back; `None` for anything else.
    pub fn read(text: &[u8]) -> Option<Self> {
        let zero = text.iter().position(|byte| *byte == 0)?;
        let identity = String::from_utf8(text[..zero].to_vec()).ok()?;
        let lock = OsString::from_vec(text[zero + 1..].to_vec());
        Some(Self { identity, lock: lock.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_whatever_bytes_a_path_has() {
        let lock = OsString::from_vec(b"/a \xff\n/lock".to_vec()).into();
        let names = Names { identity: "node 7, ü".to_owned(), lock };
        assert_eq!(Names::read(&names.to_text()), Some(names));
        assert_eq!(Names::read(b"no zero"), None);
        assert_eq!(Names::read(b"\xff\0/lock"), None);
    }
}
