//! How fast it is, with its limit and its peers in the same run.
//!
//!     cargo bench --all-features --bench speed               # all groups, some minutes
//!     cargo bench --all-features --bench speed -- hand-over  # one group
//!     cargo bench --all-features --bench speed -- --plot     # draws what was measured last
//!     cargo bench --all-features --bench speed -- --table    # the same as a table
//!
//! Without `--bench`, as under `cargo test`, each part runs a few times, and no time is judged.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

mod arena;
mod bare;
mod candidate;
mod clock;
mod code;
mod command;
mod crowd;
mod files;
mod hand_over;
mod machine;
mod place;
mod plot;
mod python;
mod raw;
mod redis;
mod report;
mod server;
mod stats;
mod subject;
mod take_over;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// So many times at most.
    pub rounds: usize,
    /// And not longer.
    pub longest: Duration,
    /// Only whether it works.
    pub smoke: bool,
}

impl Effort {
    const FULL: Self = Self { rounds: 500, longest: Duration::from_secs(12), smoke: false };
    const QUICK: Self = Self { rounds: 100, longest: Duration::from_secs(2), smoke: false };
    const SMOKE: Self = Self { rounds: 3, longest: Duration::from_millis(1), smoke: true };

    /// Measures again and again, at least three times.
    pub fn series(self, mut measure: impl FnMut() -> io::Result<u64>) -> io::Result<stats::Series> {
        let began = clock::now();
        let mut values = Vec::new();
        while values.len() < self.rounds {
            values.push(measure()? as f64);
            let spent = Duration::from_nanos(clock::now() - began);
            if spent >= self.longest && values.len() >= 3 {
                break;
            }
        }
        Ok(values.into_iter().collect())
    }
}

type Group = (&'static str, fn(Effort) -> io::Result<()>);

const GROUPS: &[Group] = &[
    ("code", code::run),
    ("files", files::run),
    ("hand-over", hand_over::run),
    ("take-over", take_over::run),
    ("command", command::run),
    ("crowd", crowd::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("--candidate") => candidate::run(&arguments[1..]),
        Some("--work") => candidate::work(),
        Some("--crowd") => crowd::wait(&arguments[1..]),
        _ if arguments.iter().any(|argument| argument == "--plot") => plot::draw(),
        _ if arguments.iter().any(|argument| argument == "--table") => report::print_table(),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> io::Result<()> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let effort = match (has("--bench"), has("--quick")) {
        (true, false) => Effort::FULL,
        (true, true) => Effort::QUICK,
        (false, _) => Effort::SMOKE,
    };
    if has("--list") {
        return Ok(());
    }
    let named: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    println!("load before: {}", std::fs::read_to_string("/proc/loadavg")?.trim_end());
    for (name, run) in GROUPS {
        if named.is_empty() || named.iter().any(|word| name == word) {
            run(effort)?;
        }
    }
    println!("\nload after: {}", std::fs::read_to_string("/proc/loadavg")?.trim_end());
    Ok(())
}
