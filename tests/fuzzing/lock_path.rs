//! The path of a lock: opening one reads the file system and must change nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use leaderelection::FileLock;

/// Opens `data` as a lock.
pub fn check(data: &[u8]) {
    if let Err(error) = FileLock::new(OsStr::from_bytes(data)) {
        assert!(!error.to_string().is_empty());
    }
}
