//! Signals: which of them end `elect`, which were ignored from the start, and which wait.
//!
//! This file must not know what is done about a signal.

use std::fs;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals that tell `elect` to end.
pub const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The ending signals that this process was not told to ignore. Under `nohup`, or in the background
/// of a script, some are, and then they must stay ignored.
pub fn heeded() -> Vec<i32> {
    let ignored = ignored();
    ENDING.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

/// Keeps SIGTTOU from stopping this thread and those that it starts: a process in the terminal's
/// background may then still write a line and move the foreground.
pub fn hold_back_terminal_stops() -> io::Result<()> {
    Ok(terminal_output().thread_block()?)
}

/// Keeps [`ENDING`] from this thread. Returns what a process that is about to become COMMAND has to
/// let through again: these, where they came through before, and SIGTTOU.
///
/// Held back, unlike heeded by a handler: in a copy of this process the handler would stand until
/// COMMAND is executed, and an order to end that comes before would be lost in it.
pub fn hold_back_ending() -> io::Result<SigSet> {
    let mut set = SigSet::empty();
    for signal in ENDING {
        set.add(Signal::try_from(signal)?);
    }
    let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    for signal in before.iter() {
        set.remove(signal);
    }
    set.add(Signal::SIGTTOU);
    Ok(set)
}

fn terminal_output() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    set
}

/// A bit for each signal that this process ignores; the lowest is signal 1.
fn ignored() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| parse(&status)).unwrap_or(0)
}

fn parse(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t00\n";
        assert_eq!(parse(status), Some(0x1001));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
