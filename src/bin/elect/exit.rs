//! The exit codes of `elect`, which scripts rely on.
//!
//! This file must not know when each is due.

/// The doctor refuses the directory.
pub const REFUSED: u8 = 1;
/// `--wait` passed and somebody else led.
pub const NOT_ACQUIRED: u8 = 75;
/// The leadership was lost, or a success could not be recorded.
pub const LOST: u8 = 76;
/// `elect` itself failed: bad usage, a lock that can't be used.
pub const OWN_FAILURE: u8 = 125;
/// COMMAND is there and can't be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// COMMAND is not there.
pub const NOT_FOUND: u8 = 127;

/// The code of an end by `signal`, as shells count it.
pub fn by_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(OWN_FAILURE)
}
