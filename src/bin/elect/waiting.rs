//! The line that a terminal shows while this candidate waits: who leads, and for how long.
//!
//! This file must not know why anybody waits, nor when the line is due.

use std::sync::Arc;
use std::time::Duration;

use leaderelection::Stopwatch;
use rustix::process::getpgrp;
use rustix::stdio::stderr;
use rustix::termios::{isatty, tcgetpgrp, tcgetwinsize};

/// Goes to the beginning of the line and clears it.
pub const CLEAR: &[u8] = b"\r\x1b[K";

/// What is waited for.
#[derive(Debug)]
pub struct Waiting {
    leader: Arc<str>,
    since: Stopwatch,
}

impl Waiting {
    /// `leader` was just seen to lead.
    pub fn new(leader: Arc<str>) -> Self {
        Self { leader, since: Stopwatch::start() }
    }

    /// The bytes that replace the line on a terminal, which is not told where it can't be replaced:
    /// in a file or pipe, on a terminal without control sequences, or with another job on it.
    pub fn line(&self) -> Option<Vec<u8>> {
        let in_foreground = tcgetpgrp(stderr()) == Ok(getpgrp());
        let columns = tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
        in_foreground.then(|| {
            let mut line = CLEAR.to_vec();
            let text = text(&self.leader, self.since.elapsed());
            line.extend_from_slice(fit(&text, columns.into()).as_bytes());
            line
        })
    }
}

/// Whether standard error is a terminal whose line can be replaced.
pub fn can_be_shown() -> bool {
    let plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !plain && isatty(stderr())
}

/// The leader may have led before it was first seen.
fn text(leader: &str, seen_for: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(seen_for.as_secs()));
    format!("elect: waiting: {leader} has led for {whole} or more")
}

/// A line that wraps can't be cleared. The last column stays free for the cursor; a terminal of
/// unknown size counts as one of 80 columns.
fn fit(text: &str, columns: usize) -> &str {
    let columns = if columns == 0 { 80 } else { columns };
    let room = columns - 1;
    // Wide characters take two columns.
    let mut used = 0;
    let end = text.char_indices().find(|(_, character)| {
        used += if character.is_ascii() { 1 } else { 2 };
        used > room
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_leads_and_for_how_long() {
        let text = |millis| text("b", Duration::from_millis(millis));
        assert_eq!(text(999), "elect: waiting: b has led for 0s or more");
        assert_eq!(text(72_900), "elect: waiting: b has led for 1m 12s or more");
    }

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(fit("12345", 6), "12345");
        assert_eq!(fit("12345", 5), "1234");
        assert_eq!(fit("ééééé", 6), "éé");
        assert_eq!(fit("ab", 1), "");
        assert_eq!(fit(&"x".repeat(200), 0).len(), 79);
    }
}
