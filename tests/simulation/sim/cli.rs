//! The command for long runs, and for looking at one seed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::many::{Batch, Outcome, run_many};
use super::mutant::{MUTANTS, Mutant};
use super::plan::{NodePlan, STORE_KINDS, StoreKind};
use super::svg;
use super::time::{SECOND, True};
use super::trace::{Seconds, timeline};
use super::world::{Options, Report, run};

const USAGE: &str = "\
usage: simulate [--seeds N] [--seconds R] [--from S] [--jobs J] [OPTIONS]
       simulate --seed S [--svg FILE] [--between SECONDS SECONDS] [OPTIONS]
options: [--minutes M] [--store Strict|Stale|Files] [--mutant NAME]

The first form runs N seeds (1000) from S (0), each for M simulated minutes (60), J at a time (as
many as there are processors), and begins none after R seconds of real time. It ends at the first
seed that breaks a rule: it prints what led to it, and draws it in a file of the directory for
temporary files. The second form does that for one seed, whatever comes of it.
";

/// How much of a run is shown before and after a violation, in longest leases.
const SHOWN_BEFORE: u64 = 12;
const SHOWN_AFTER: u64 = 2;

/// What was asked for.
#[derive(Debug)]
pub struct Arguments {
    seed: Option<u64>,
    svg: Option<PathBuf>,
    between: Option<(True, True)>,
    from: u64,
    seeds: u64,
    seconds: Option<u64>,
    minutes: u64,
    jobs: usize,
    mutant: Option<Mutant>,
    store: Option<StoreKind>,
}

impl Arguments {
    /// Reads the arguments without the program's name.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        Self::read(words).map_err(|mistake| format!("{mistake}\n{USAGE}"))
    }

    fn read(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            seed: None,
            svg: None,
            between: None,
            from: 0,
            seeds: 1000,
            seconds: None,
            minutes: 60,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            mutant: None,
            store: None,
        };
        let mut words = words.into_iter();
        while let Some(name) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--seed" => arguments.seed = Some(number(&value()?)?),
                "--svg" => arguments.svg = Some(value()?.into()),
                "--from" => arguments.from = number(&value()?)?,
                "--seeds" => arguments.seeds = number(&value()?)?,
                "--seconds" => arguments.seconds = Some(number(&value()?)?),
                "--minutes" => arguments.minutes = number(&value()?)?,
                "--jobs" => arguments.jobs = number(&value()?)? as usize,
                "--mutant" => arguments.mutant = Some(mutant(&value()?)?),
                "--store" => arguments.store = Some(store(&value()?)?),
                "--between" => {
                    let (from, to) = (number(&value()?)?, number(&value()?)?);
                    arguments.between = Some((from * SECOND, to.max(from + 1) * SECOND));
                }
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(arguments)
    }

    fn options(&self, traced: bool) -> Options {
        let Self { minutes, mutant, store, .. } = *self;
        Options { minutes, mutant, store, traced }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a number"))
}

fn mutant(name: &str) -> Result<Mutant, String> {
    let found = MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name);
    found.ok_or_else(|| format!("unknown mutant {name}; there are {MUTANTS:?}"))
}

fn store(name: &str) -> Result<StoreKind, String> {
    let found = STORE_KINDS.into_iter().find(|kind| format!("{kind:?}") == name);
    found.ok_or_else(|| format!("unknown store {name}; there are {STORE_KINDS:?}"))
}

/// Does what was asked for; `false` where a seed broke a rule.
pub fn main(arguments: &Arguments) -> std::io::Result<bool> {
    match arguments.seed {
        Some(seed) => {
            let report = run(seed, arguments.options(true));
            say(&described(&report, arguments.between))?;
            if let Some(path) = &arguments.svg {
                std::fs::write(path, drawn(&report, arguments.between))?;
            }
            Ok(report.violation.is_none())
        }
        None => run_batch(arguments),
    }
}

/// As `println!`, but for the panic where nobody reads on.
fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

fn run_batch(arguments: &Arguments) -> std::io::Result<bool> {
    let batch = Batch {
        from: arguments.from,
        seeds: arguments.seeds,
        threads: arguments.jobs,
        at_most: arguments.seconds.map(Duration::from_secs),
        options: arguments.options(false),
    };
    let asserted = if cfg!(debug_assertions) { "with" } else { "without" };
    say(&format!("leaderelection {}, {asserted} assertions", env!("CARGO_PKG_VERSION")))?;
    let outcome = run_many(batch, |stats, took| {
        let seconds = took.as_secs_f64();
        let rate = stats.hours() / seconds;
        eprintln!("{} seeds in {seconds:.0} s, {rate:.0} simulated hours a second", stats.seeds);
    });
    say(&summary(&outcome))?;
    let Some(failed) = outcome.failed.first() else {
        say("no rule was broken")?;
        return Ok(true);
    };
    let (_, text) = shown(failed.seed, arguments.options(true), &std::env::temp_dir())?;
    say(&text)?;
    Ok(false)
}

/// Runs a seed that breaks a rule again, and draws it in `place`; what led to it in words.
pub fn shown(seed: u64, options: Options, place: &Path) -> std::io::Result<(Report, String)> {
    let report = run(seed, Options { traced: true, ..options });
    let picture = place.join(format!("simulation-{seed}.svg"));
    std::fs::write(&picture, drawn(&report, None))?;
    let text = described(&report, None);
    let text = format!("{text}seed {seed} broke a rule; {} shows it", picture.display());
    Ok((report, text))
}

/// The counts, and how fast they came.
pub fn summary(outcome: &Outcome) -> String {
    let seconds = outcome.took.max(Duration::from_millis(1)).as_secs_f64();
    let rate = outcome.stats.hours() / seconds;
    let processor = outcome.processor.max(Duration::from_millis(1)).as_secs_f64();
    let worked = outcome.stats.hours() / processor;
    format!(
        "{}\n{seconds:.1} s, {rate:.1} simulated hours a second; \
         {processor:.1} s of processors, {worked:.1} simulated hours a second of these",
        outcome.stats
    )
}

/// What is worth showing: all around a violation, or all.
fn window(report: &Report, between: Option<(True, True)>) -> (True, True) {
    let lease = report.plan.longest_lease();
    match (between, &report.violation) {
        (Some(between), _) => between,
        (None, Some(violation)) => (
            violation.at.saturating_sub(SHOWN_BEFORE * lease),
            report.ended_at.max(violation.at) + SHOWN_AFTER * lease,
        ),
        (None, None) => (0, report.ended_at),
    }
}

/// The settings and the timeline, as text.
pub fn described(report: &Report, between: Option<(True, True)>) -> String {
    let (from, to) = window(report, between);
    let mut text = format!(
        "seed {}, leaderelection {}, digest {:016x}, {} s simulated\n",
        report.seed,
        env!("CARGO_PKG_VERSION"),
        report.digest,
        Seconds(report.ended_at)
    );
    let plan = &report.plan;
    let _ = writeln!(text, "drift {} millionths, {:?}\n{:?}", plan.drift, plan.store, plan.faults);
    for (index, node) in plan.nodes.iter().enumerate() {
        let _ = writeln!(text, "node {index}: {node:?}");
    }
    text.push_str(&timeline(&report.timeline, from, to));
    if let Some(violation) = &report.violation {
        let _ = writeln!(
            text,
            "{:?} is broken at {} s by node {}: {}",
            violation.rule,
            Seconds(violation.at),
            violation.node,
            violation.text
        );
    }
    text
}

/// The timeline as a picture.
pub fn drawn(report: &Report, between: Option<(True, True)>) -> String {
    let (from, to) = window(report, between);
    let title = format!("Seed {} of leaderelection {}", report.seed, env!("CARGO_PKG_VERSION"));
    let lane = |(index, node): (usize, &NodePlan)| format!("node {index}, host {}", node.host);
    let lanes: Vec<String> = report.plan.nodes.iter().enumerate().map(lane).collect();
    svg::draw(&title, &lanes, &report.timeline, from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_and_mistakes_are_named() {
        let arguments = parse("--seeds 1_000_000 --from 7 --mutant SameNameIsOneself").unwrap();
        assert_eq!((arguments.seeds, arguments.from, arguments.minutes), (1_000_000, 7, 60));
        assert_eq!(arguments.mutant, Some(Mutant::SameNameIsOneself));
        assert!(parse("--seed").unwrap_err().contains("--seed needs a value"));
        assert!(parse("--seeds many").unwrap_err().contains("many"));
        assert!(parse("--mutant X").unwrap_err().contains("DriftBeyondTheBound"));
        assert!(parse("--what").unwrap_err().contains("--what"));
        assert!(parse("--what").unwrap_err().contains("usage: simulate"));
    }

    #[test]
    fn the_command_runs_many_seeds_or_draws_one() {
        assert!(main(&parse("--seeds 3 --minutes 2").unwrap()).unwrap());
        let place = tempfile::tempdir().unwrap();
        let picture = place.path().join("seed.svg");
        let line = format!("--seed 1 --minutes 2 --between 0 60 --svg {}", picture.display());
        assert!(main(&parse(&line).unwrap()).unwrap());
        assert!(std::fs::read_to_string(picture).unwrap().contains("node 1"));
    }
}
