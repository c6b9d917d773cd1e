//! A job array in which one task does the work: n processes, one recorded success.
//!
//!     cargo run --example job_array [LOCK [N]]
//!
//! All processes start at the same time, as tasks of an array do. One leads and works. The first
//! attempt fails here, on purpose; another process tries. Its success is recorded in the lock for
//! good, so that every process, now or later, finds the work done: run the example again with the
//! same LOCK, and nobody works. Without LOCK it uses a temporary directory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use leaderelection::crossbeam_channel::bounded;
use leaderelection::{Config, FileLock, LeaderCallbacks, LeaderElector, OnSuccess, Outcome, Term};

/// Tells a process that it is one task of the array.
const TASK: &str = "JOB_ARRAY_TASK";

/// How a task ends, as its exit code.
const SUCCEEDED: u8 = 0;
const FOUND_IT_DONE: u8 = 10;
const FAILED: u8 = 20;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let scratch = tempfile::tempdir()?;
    let path = arguments.next().map(PathBuf::from);
    let path = path.unwrap_or_else(|| scratch.path().join("job_array.lock"));
    if let Some(name) = std::env::var_os(TASK) {
        return Ok(ExitCode::from(task(&name.to_string_lossy(), &path)?));
    }
    let count = match arguments.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 8,
    };
    array(&path, count)
}

/// One task: leads and works, or finds that the work is done.
fn task(name: &str, path: &Path) -> Result<u8, Box<dyn Error>> {
    let (report, result) = bounded(1);
    let worker = name.to_owned();
    let work = move |term: &Term| {
        let token = term.fencing_token();
        // The first term of a new lock; a real job fails for reasons of its own.
        let success = token > 1;
        println!(
            "{worker} works, fencing token {token}: {}",
            if success { "done" } else { "failed" }
        );
        let _ = report.try_send(success);
    };
    let config = Config::new(FileLock::new(path)?)
        .identity(name)
        .lease_duration(Duration::from_secs(5))
        .renew_deadline(Duration::from_secs(3))
        .retry_period(Duration::from_millis(100))
        .on_success(OnSuccess::Complete)
        .callbacks(LeaderCallbacks::new().on_started_leading(work));
    match LeaderElector::new(config)?.run(result)? {
        Outcome::TaskSucceeded => Ok(SUCCEEDED),
        Outcome::AlreadyCompleted => Ok(FOUND_IT_DONE),
        Outcome::TaskFailed => Ok(FAILED),
        // The work may have been done: whoever tries next does it again.
        other => Err(format!("{name}: {other}").into()),
    }
}

/// The array: starts the tasks, and counts how they end.
fn array(path: &Path, count: usize) -> Result<ExitCode, Box<dyn Error>> {
    let start = |number: usize| {
        Command::new(std::env::current_exe()?).arg(path).env(TASK, format!("task-{number}")).spawn()
    };
    let tasks: Vec<Child> = (1..=count).map(start).collect::<Result<_, std::io::Error>>()?;
    let mut codes = Vec::new();
    for mut task in tasks {
        codes.push(task.wait()?.code());
    }
    let ended = |code: u8| codes.iter().filter(|other| **other == Some(i32::from(code))).count();
    let (succeeded, done, failed) = (ended(SUCCEEDED), ended(FOUND_IT_DONE), ended(FAILED));
    println!("{count} tasks: {succeeded} succeeded, {failed} failed, {done} found it done");
    let accounted = succeeded <= 1 && succeeded + done + failed == count;
    Ok(if accounted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
