//! What the doctor says: tables for people, one object for programs.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::crew::WORKERS;
use super::findings::{Findings, percentile};
use super::verdict::{Case, Decision, Sign, Verdict};

/// Columns of a table where there is no terminal to measure.
const WIDTH: u16 = 100;

/// Writes it as one line of JSON.
pub fn json_line(directory: &Path, case: &Case, verdict: &Verdict) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &json_of(directory, case, verdict))?;
    writeln!(stdout)?;
    stdout.flush()
}

/// Writes it for people.
pub fn text(directory: &Path, case: &Case, verdict: &Verdict) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}\n", directory.display())?;
    writeln!(stdout, "{}\n", checks(verdict))?;
    if let Some(times) = times(&case.findings) {
        writeln!(stdout, "{times}\n")?;
    }
    writeln!(stdout, "verdict: {}", verdict.decision.words())?;
    for reason in &verdict.reasons {
        writeln!(stdout, "  because of {reason}")?;
    }
    if let Some(settings) =
        verdict.settings.as_ref().filter(|_| verdict.decision != Decision::Refuse)
    {
        let options = settings.options();
        match settings.allow_defaults() {
            true => writeln!(stdout, "settings: the defaults; not below {options}")?,
            false => writeln!(stdout, "settings: {options}")?,
        }
    }
    stdout.flush()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    table
}

fn checks(verdict: &Verdict) -> Table {
    let mut table = table();
    for check in &verdict.checks {
        let sign = match check.sign {
            Sign::Good => "ok",
            Sign::Note => "note",
            Sign::Unknown => "unknown",
            Sign::Bad => "BAD",
        };
        table.add_row([sign, &check.name, &check.detail]);
    }
    table
}

fn times(findings: &Findings) -> Option<Table> {
    let mut table = table();
    table.set_header(["call", "count", "median", "99 %", "longest"]);
    let mut rows = 0;
    let answers = [
        ("answer, this host", &findings.answers_here),
        ("answer, other host", &findings.answers_elsewhere),
    ];
    let calls = findings.times.iter().map(|(name, times)| (name.as_str(), times));
    for (name, times) in calls.chain(answers) {
        let Some(spread) = Spread::of(times) else { continue };
        rows += 1;
        table.add_row([
            name.to_owned(),
            times.len().to_string(),
            millis(spread.median),
            millis(spread.p99),
            millis(spread.longest),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    (rows > 0).then_some(table)
}

struct Spread {
    median: u64,
    p99: u64,
    longest: u64,
}

impl Spread {
    fn of(times: &[u64]) -> Option<Self> {
        let of = |percent| percentile(times, percent);
        Some(Self { median: of(50)?, p99: of(99)?, longest: of(100)? })
    }

    fn json(&self, count: usize) -> Value {
        json!({
            "count": count,
            "medianMicros": self.median,
            "p99Micros": self.p99,
            "maxMicros": self.longest,
        })
    }
}

fn millis(micros: u64) -> String {
    format!("{:.3} ms", Duration::from_micros(micros).as_secs_f64() * 1000.0)
}

fn json_of(directory: &Path, case: &Case, verdict: &Verdict) -> Value {
    let findings = &case.findings;
    let spread = |times: &Vec<u64>| Spread::of(times).map(|spread| spread.json(times.len()));
    let file_system = case.file_system.as_ref().map(|found| {
        json!({
            "kind": found.kind.name(),
            "type": found.type_name,
            "source": found.source,
            "mountPoint": found.mount_point,
            "options": found.options,
            "magic": findings.described.as_ref().map(|described| described.magic),
        })
    });
    let latencies: serde_json::Map<String, Value> = findings
        .times
        .iter()
        .filter_map(|(name, times)| Some((name.clone(), spread(times)?)))
        .collect();
    let races: serde_json::Map<String, Value> =
        findings.races.iter().map(|(race, raced)| (race.name().into(), json!(raced))).collect();
    json!({
        "directory": directory,
        "fileSystem": file_system,
        "hosts": case.hosts,
        "processes": WORKERS,
        "verdict": verdict.decision,
        "reasons": verdict.reasons,
        "settings": verdict.settings,
        "checks": verdict.checks,
        "races": races,
        "flockHere": findings.flock_here,
        "flockElsewhere": findings.flock_elsewhere,
        "absentNames": findings.appearances,
        "watched": findings.watched,
        "clockSkewMillis": findings.described.as_ref().and_then(|described| described.skew_millis),
        "linkCount": findings.described.as_ref().and_then(|described| described.link_count),
        "latencies": latencies,
        "answerHere": spread(&findings.answers_here),
        "answerElsewhere": spread(&findings.answers_elsewhere),
        "failedCalls": findings.failed_calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::verdict::judge;

    #[test]
    fn json_has_the_promised_keys() {
        let findings = Findings { answers_here: vec![100], ..Findings::default() };
        let directory = Path::new("/x");
        let file_system = None;
        let case =
            Case { directory: directory.into(), file_system, findings, hosts: 1, hung: None };
        let value = json_of(directory, &case, &judge(&case));
        assert_eq!(value["verdict"], "refuse");
        assert_eq!(value["answerHere"]["p99Micros"], 100);
        for key in
            ["directory", "fileSystem", "hosts", "reasons", "settings", "checks", "latencies"]
        {
            assert!(value.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn spans_are_shown_in_milliseconds() {
        assert_eq!(millis(1234), "1.234 ms");
        assert_eq!(millis(7), "0.007 ms");
    }
}
