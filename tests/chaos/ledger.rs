//! The oracle: what the led commands wrote down themselves, and whether one leader at a time could
//! have written that.
//!
//! It knows nothing of the library. Each rule is fed a bad ledger at the end of this file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// A line of the ledger. The order of the lines is the order in which they were written; the time
/// was read just before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub token: u64,
    pub pid: i32,
    pub at: Duration,
    pub candidate: String,
}

/// A time in which a candidate and all below it stood still.
#[derive(Clone, Debug)]
pub struct Freeze {
    pub candidate: String,
    pub from: Duration,
    pub until: Duration,
}

/// What a good ledger shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub terms: usize,
    pub lines: usize,
    /// Lines with an older token than one before them: whoever reads refuses these.
    pub stale: usize,
    /// How long after its freeze the last of them was written.
    pub longest_stale: Duration,
}

impl Findings {
    /// Those of two ledgers.
    pub fn and(self, other: Self) -> Self {
        Self {
            terms: self.terms + other.terms,
            lines: self.lines + other.lines,
            stale: self.stale + other.stale,
            longest_stale: self.longest_stale.max(other.longest_stale),
        }
    }
}

/// A ledger that is read while it grows.
#[derive(Debug)]
pub struct Tail {
    file: File,
    rest: String,
}

impl Tail {
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, rest: String::new() })
    }

    /// The lines that are new. The last one may be incomplete: it comes with the next ones.
    pub fn read(&mut self) -> io::Result<Result<Vec<Line>, String>> {
        self.file.read_to_string(&mut self.rest)?;
        let complete = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines = parse(&self.rest[..complete]);
        self.rest.drain(..complete);
        Ok(lines)
    }
}

/// `TOKEN PID NANOSECONDS CANDIDATE`, a line each. The last one may be incomplete.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete
        .lines()
        .map(|line| parse_line(line).ok_or(format!("a broken line: {line:?}")))
        .collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let parsed = Line {
        token: words.next()?.parse().ok()?,
        pid: words.next()?.parse().ok()?,
        at: Duration::from_nanos(words.next()?.parse().ok()?),
        candidate: words.next()?.to_owned(),
    };
    words.next().is_none().then_some(parsed)
}

/// Reads line by line, and keeps the first of each term: one writer a token; tokens never fall, but
/// for lines of who was frozen as a whole, within `moment` after that.
#[derive(Debug)]
pub struct Oracle {
    moment: Duration,
    findings: Findings,
    /// The first line of each token, in the order in which they were written.
    terms: Vec<Line>,
    tokens: HashSet<u64>,
    last: Option<Line>,
}

impl Oracle {
    pub fn new(moment: Duration) -> Self {
        Self {
            moment,
            findings: Findings::default(),
            terms: Vec::new(),
            tokens: HashSet::new(),
            last: None,
        }
    }

    pub fn read(&mut self, line: Line, freezes: &[Freeze]) -> Result<(), String> {
        self.findings.lines += 1;
        if self.tokens.insert(line.token) {
            self.terms.push(line.clone());
            self.findings.terms += 1;
        }
        let first = self.terms.iter().rfind(|first| first.token == line.token);
        if let Some(first) = first
            && (first.pid, &first.candidate) != (line.pid, &line.candidate)
        {
            return Err(format!("token {} was used twice: {first:?} and {line:?}", line.token));
        }
        if self.last.as_ref().is_none_or(|last| line.token >= last.token) {
            self.last = Some(line);
            return Ok(());
        }
        self.read_stale(&line, freezes)
    }

    fn read_stale(&mut self, line: &Line, freezes: &[Freeze]) -> Result<(), String> {
        let late = lateness(line, freezes).ok_or_else(|| {
            let last = &self.last;
            format!("{line:?} stands after {last:?}, although its writer was never frozen")
        })?;
        if late > self.moment {
            return Err(format!("{line:?} was written {late:?} after the freeze of its writer"));
        }
        self.findings.stale += 1;
        self.findings.longest_stale = self.findings.longest_stale.max(late);
        Ok(())
    }

    pub fn findings(&self) -> Findings {
        self.findings
    }

    /// The latest line of the highest token.
    pub fn last(&self) -> Option<&Line> {
        self.last.as_ref()
    }

    /// The first line of each term.
    pub fn terms(&self) -> &[Line] {
        &self.terms
    }
}

/// How long before `line` the last freeze of its candidate ended. A line that was prepared before
/// the freeze and written after it is not late.
fn lateness(line: &Line, freezes: &[Freeze]) -> Option<Duration> {
    /// Between reading the clock and writing the line.
    const PREPARED: Duration = Duration::from_millis(50);
    freezes
        .iter()
        .filter(|freeze| freeze.candidate == line.candidate && line.at + PREPARED >= freeze.from)
        .map(|freeze| line.at.saturating_sub(freeze.until))
        .min()
}

/// The first line of a later term than `token`.
pub fn successor(terms: &[Line], token: u64) -> Option<&Line> {
    terms.iter().find(|line| line.token > token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);

    fn check(lines: &[Line], freezes: &[Freeze]) -> Result<Oracle, String> {
        let mut oracle = Oracle::new(MOMENT);
        lines.iter().try_for_each(|line| oracle.read(line.clone(), freezes))?;
        Ok(oracle)
    }

    fn line(token: u64, candidate: &str, millis: u64) -> Line {
        let pid = 100 + i32::try_from(token).unwrap();
        Line { token, pid, at: Duration::from_millis(millis), candidate: candidate.to_owned() }
    }

    fn freeze(candidate: &str, from: u64, until: u64) -> Freeze {
        let [from, until] = [from, until].map(Duration::from_millis);
        Freeze { candidate: candidate.to_owned(), from, until }
    }

    fn refusal(lines: &[Line], freezes: &[Freeze]) -> String {
        check(lines, freezes).expect_err("must be refused")
    }

    #[test]
    fn a_ledger_of_terms_one_after_the_other_is_good() {
        let lines = [line(1, "a", 0), line(1, "a", 5), line(4, "b", 1000), line(9, "a", 2000)];
        let oracle = check(&lines, &[]).unwrap();
        let findings = oracle.findings();
        assert_eq!((findings.terms, findings.lines, findings.stale), (3, 4, 0));
        assert_eq!(oracle.last(), Some(&lines[3]));
        assert_eq!(successor(oracle.terms(), 1), Some(&lines[2]));
        assert_eq!(successor(oracle.terms(), 9), None);
    }

    #[test]
    fn two_terms_that_interleave_are_refused() {
        let lines = [line(1, "a", 0), line(2, "b", 5), line(1, "a", 10)];
        assert!(refusal(&lines, &[]).contains("never frozen"));
        // Nor does the freeze of another excuse it, nor one that comes later.
        assert!(refusal(&lines, &[freeze("b", 1, 2)]).contains("never frozen"));
        assert!(refusal(&lines, &[freeze("a", 500, 600)]).contains("never frozen"));
    }

    #[test]
    fn a_token_that_is_used_twice_is_refused() {
        let mut lines = [line(1, "a", 0), line(1, "b", 5)];
        assert!(refusal(&lines, &[]).contains("used twice"));
        lines[1] = Line { pid: 7, ..line(1, "a", 5) };
        assert!(refusal(&lines, &[]).contains("used twice"));
    }

    #[test]
    fn a_frozen_writer_is_excused_for_a_moment_and_no_longer() {
        let freezes = [freeze("a", 10, 1500)];
        let lines = [line(1, "a", 0), line(2, "b", 1200), line(1, "a", 1540), line(2, "b", 1600)];
        let findings = check(&lines, &freezes).unwrap().findings();
        assert_eq!((findings.stale, findings.longest_stale.as_millis()), (1, 40));
        let prepared = [line(1, "a", 0), line(2, "b", 1200), line(1, "a", 9)];
        assert_eq!(check(&prepared, &freezes).unwrap().findings().stale, 1);
        let late = [line(1, "a", 0), line(2, "b", 1200), line(1, "a", 1601)];
        assert!(refusal(&late, &freezes).contains("after the freeze"));
    }

    #[test]
    fn a_broken_line_is_an_error_and_an_unfinished_one_is_not() {
        assert_eq!(parse("1 2 3000000 a\n4 5").unwrap(), [Line { pid: 2, ..line(1, "a", 3) }]);
        assert_eq!(parse("").unwrap(), []);
        for broken in ["1 2\n", "x 2 3 a\n", "1 2 3 a b\n", "\n\n"] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_ledger_that_grows_is_read_line_by_line() {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::of(file.path()).unwrap();
        file.write_all(b"1 101 0 a\n2 10").unwrap();
        assert_eq!(tail.read().unwrap().unwrap(), [line(1, "a", 0)]);
        file.write_all(b"2 5000000 b\n").unwrap();
        assert_eq!(tail.read().unwrap().unwrap(), [line(2, "b", 5)]);
        assert_eq!(tail.read().unwrap().unwrap(), []);
    }
}
