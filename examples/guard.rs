//! Leadership as a guard, without callbacks: campaign, work, release.
//!
//!     cargo run --example guard [LOCK]
//!
//! Two candidates of one process take turns. LOCK is a path on a file system that all candidates
//! can reach; without it, a temporary directory serves.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaderelection::{Config, FileLock, LeaderElector, Leadership};

/// More than one step of the work takes, however slow the machine.
const LONGEST_STEP: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let path = path.unwrap_or_else(|| scratch.path().join("guard.lock"));
    let first = candidate("first", &path)?;
    let second = candidate("second", &path)?;

    let leadership = first.campaign()?;
    work("first", &leadership)?;

    // It waits for a sign of life from the leader, since a crashed one would have to be replaced.
    match second.try_campaign()? {
        None => println!("second gives up: somebody else leads"),
        Some(_) => return Err("two candidates lead".into()),
    }

    // Dropping the guard does the same, but can't tell whether the lease was lost before.
    leadership.release()?;
    println!("first has released");

    let leadership = second.campaign()?;
    work("second", &leadership)?;
    leadership.release()?;
    println!("second has released");
    Ok(())
}

fn candidate(name: &str, path: &Path) -> Result<LeaderElector, Box<dyn Error>> {
    let config = Config::new(FileLock::new(path)?)
        .identity(name)
        .lease_duration(Duration::from_secs(5))
        .renew_deadline(Duration::from_secs(3))
        .retry_period(Duration::from_millis(200));
    Ok(LeaderElector::new(config)?)
}

/// The lease is renewed in the background, and may be lost all the same: each step makes sure first
/// that enough of the term is left.
fn work(name: &str, leadership: &Leadership) -> Result<(), Box<dyn Error>> {
    let term = leadership.term();
    for step in 1..=3 {
        term.ensure(LONGEST_STEP)?;
        println!("{name} does step {step}, fencing token {}", term.fencing_token());
    }
    Ok(())
}
