//! What the led commands write down, as a resource that is fenced: it refuses a line whose token is
//! lower than the highest that it has seen.

use std::time::Duration;

use crate::support::{Place, now, wait_for};

/// COMMAND: a line of token and time on the boot clock, in milliseconds, every 10 ms.
pub const WRITER: &str = "while :; do
    read -r up _ < /proc/uptime && echo \"$ELECT_FENCING_TOKEN $up\" >> ledger
    sleep 0.01
done";

/// A line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub token: u64,
    pub at: Duration,
}

/// All lines so far.
pub fn lines(place: &Place) -> Vec<Line> {
    let text = place.read("ledger");
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let line = |line: &str| {
        let (token, at) = line.split_once(' ')?;
        Some(Line { token: token.parse().ok()?, at: Duration::from_secs_f64(at.parse().ok()?) })
    };
    complete.lines().map(|text| line(text).unwrap_or_else(|| panic!("a line {text:?}"))).collect()
}

/// Waits for a line of a later term than `token`, written from now on.
pub fn wait_for_later(place: &Place, token: u64) -> Line {
    let from = now().saturating_sub(Duration::from_millis(20));
    wait_for("a line of a later term", || {
        lines(place).into_iter().find(|line| line.token > token && line.at >= from)
    })
}

/// The lines that a fenced resource would refuse.
pub fn refused(lines: &[Line]) -> Vec<Line> {
    let mut highest = 0;
    let mut refused = Vec::new();
    for line in lines {
        if line.token < highest {
            refused.push(*line);
        }
        highest = highest.max(line.token);
    }
    refused
}

/// The last line of the term `token`.
pub fn end_of(lines: &[Line], token: u64) -> Duration {
    let of_term = |line: &&Line| line.token == token;
    lines.iter().rfind(of_term).expect("a line of that term").at
}

#[test]
fn a_line_of_an_earlier_term_is_refused() {
    let line = |token| Line { token, at: Duration::ZERO };
    assert_eq!(refused(&[line(1), line(1), line(3)]), []);
    assert_eq!(refused(&[line(1), line(3), line(1), line(3), line(2)]), [line(1), line(2)]);
}
