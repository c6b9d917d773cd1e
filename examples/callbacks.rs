//! Work in a callback, its result on a task channel: the shape of the Go original.
//!
//!     cargo run --example callbacks [LOCK]
//!
//! Start it several times with one LOCK, a path on a file system that all can reach: one leads and
//! works, the others tell who leads. Without LOCK it leads alone, in a temporary directory.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use leaderelection::crossbeam_channel::{RecvTimeoutError, bounded};
use leaderelection::{Config, FileLock, LeaderCallbacks, LeaderElector, OnSuccess, Term};

const STEPS: u32 = 5;
const STEP: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let lock = FileLock::new(path.unwrap_or_else(|| scratch.path().join("callbacks.lock")))?;

    let (report, task) = bounded(1);
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(move |term: &Term| {
            println!("leading, fencing token {}", term.fencing_token());
            // There is room for the one result of a term. Nobody listens once the term is over.
            let _ = report.try_send(work(term));
        })
        .on_stopped_leading(|| println!("no longer leading"))
        .on_new_leader(|identity| println!("{identity} leads"));

    let config = Config::new(lock)
        .lease_duration(Duration::from_secs(5))
        .renew_deadline(Duration::from_secs(3))
        .retry_period(Duration::from_millis(500))
        // Let the next candidate work at once, rather than after the lease has expired.
        .on_success(OnSuccess::Release)
        .callbacks(callbacks);
    let elector = LeaderElector::new(config)?;
    println!("{} campaigns", elector.identity());

    let outcome = elector.run(task)?;
    println!("outcome: {outcome}");
    Ok(())
}

/// Works step by step, and stops soon after it is told to. Returns whether the task is done.
fn work(term: &Term) -> bool {
    for step in 1..=STEPS {
        // A pause that ends with the term; a long computation would ask `term.stopped()`.
        if term.stop_signal().recv_timeout(STEP) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
        println!("step {step} of {STEPS}");
    }
    true
}
