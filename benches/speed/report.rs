//! The results: a table for people, and a line of JSON each for the plots.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Effort;
use crate::stats::Series;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This crate.
    Own,
    /// What the system allows: the bare system calls.
    Limit,
    /// Somebody else's.
    Peer,
}

/// One row, as it stands in `target/benches/GROUP.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub group: String,
    /// What is measured, and where: rows of one case are compared with each other.
    pub case: String,
    pub subject: String,
    pub kind: Kind,
    /// `ns`, or what else the numbers are.
    pub unit: String,
    pub n: usize,
    pub least: f64,
    pub median: f64,
    pub p99: f64,
    /// The median over that of the case's own limit; or of its first row, where it has none.
    pub ratio: Option<f64>,
}

/// The rows of one group, printed as they come.
pub struct Report {
    group: String,
    rows: Vec<Row>,
    /// What is measured in a few rounds is not kept.
    keep: bool,
}

impl Report {
    pub fn new(group: &str, effort: Effort) -> Self {
        println!("\n{group}");
        println!(
            "  {:<38} {:<28} {:>6} {:>11} {:>11} {:>11} {:>8}",
            "case", "subject", "n", "least", "median", "p99", "ratio"
        );
        Self { group: group.to_owned(), rows: Vec::new(), keep: !effort.smoke }
    }

    /// Adds times in nanoseconds. The limit of a case, or what it is compared with, comes first.
    pub fn add(&mut self, case: &str, subject: &str, kind: Kind, series: &Series) {
        self.add_in("ns", case, subject, kind, series);
    }

    /// Adds numbers of another unit.
    pub fn add_in(&mut self, unit: &str, case: &str, subject: &str, kind: Kind, series: &Series) {
        if series.is_empty() {
            return self.skip(case, subject, "nothing was measured");
        }
        let base = self.rows.iter().find(|row| row.case == case && row.unit == unit);
        let row = Row {
            group: self.group.clone(),
            case: case.to_owned(),
            subject: subject.to_owned(),
            kind,
            unit: unit.to_owned(),
            n: series.len(),
            least: series.least(),
            median: series.median(),
            p99: series.p99(),
            ratio: base.map(|base| series.median() / base.median),
        };
        println!(
            "  {:<38} {:<28} {:>6} {:>11} {:>11} {:>11} {:>8}",
            row.case,
            row.subject,
            row.n,
            display(row.least, unit),
            display(row.median, unit),
            display(row.p99, unit),
            row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
        self.rows.push(row);
    }

    /// Says that something is not measured, and why.
    pub fn skip(&self, case: &str, subject: &str, why: &str) {
        println!("  {case:<38} {subject:<28} skipped: {why}");
    }

    /// Writes the lines for the plots.
    pub fn save(&self) -> io::Result<()> {
        if !self.keep {
            return Ok(());
        }
        fs::create_dir_all(results())?;
        let mut file = File::create(results().join(format!("{}.json", self.group)))?;
        for row in &self.rows {
            writeln!(file, "{}", serde_json::to_string(row)?)?;
        }
        Ok(())
    }
}

/// Every row that has been saved by any run.
pub fn saved() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(results())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            for line in fs::read_to_string(path)?.lines() {
                // A line of another shape is not of these benchmarks.
                rows.extend(serde_json::from_str::<Row>(line).ok());
            }
        }
    }
    Ok(rows)
}

/// Prints what was measured last as a table for `benches/README.md`.
pub fn print_table() -> io::Result<()> {
    println!(
        "| case | subject | n | least | median | p99 | ratio |\n|---|---|--:|--:|--:|--:|--:|"
    );
    for row in saved()? {
        let number = |value| display(value, &row.unit);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.case,
            row.subject,
            row.n,
            number(row.least),
            number(row.median),
            number(row.p99),
            row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        );
    }
    Ok(())
}

fn results() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"))
        .join("benches")
}

/// A number with its unit; a time in the unit that suits it.
pub fn display(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value < 0.0 => format!("-{}", display(-value, unit)),
        "ns" if value < 1e3 => format!("{} ns", digits(value)),
        "ns" if value < 1e6 => format!("{} µs", digits(value / 1e3)),
        "ns" if value < 1e9 => format!("{} ms", digits(value / 1e6)),
        "ns" => format!("{} s", digits(value / 1e9)),
        _ => format!("{} {unit}", digits(value)),
    }
}

/// Three of them, and no more than three after the point.
fn digits(value: f64) -> String {
    match value {
        value if value < 0.1 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
