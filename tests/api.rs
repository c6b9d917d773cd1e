//! The public interface as its users write it: the design's own example, conversions of errors, and
//! which types may go to another thread.

use std::sync::Arc;
use std::time::Duration;

use leaderelection::{
    Config, ConfigError, ElectorHandle, Error, FileLock, LeaderCallbacks, LeaderElector,
    Leadership, MemoryLock, Observer, Outcome, Term,
};

#[test]
fn the_design_s_example_compiles_and_runs() -> Result<(), Box<dyn std::error::Error>> {
    use leaderelection::crossbeam_channel::bounded;

    fn work(term: &Term) -> Result<(), leaderelection::TermEnded> {
        term.ensure(Duration::from_millis(1))
    }

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("nightly.lock");
    let (report, task) = bounded::<bool>(1);
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(move |term: &Term| {
            let _ = report.send(work(term).is_ok());
        })
        .on_stopped_leading(|| println!("no longer the leader"))
        .on_new_leader(|identity: &str| println!("{identity} leads"));
    let config = Config::new(FileLock::new(path)?)
        .identity("node-7")
        .lease_duration(Duration::from_secs(15))
        .renew_deadline(Duration::from_secs(10))
        .retry_period(Duration::from_secs(2))
        .term_limit(Duration::from_secs(3600))
        .callbacks(callbacks);
    let elector = LeaderElector::new(config)?;
    let outcome: Outcome = elector.run(task)?;
    assert_eq!(outcome, Outcome::TaskSucceeded);
    Ok(())
}

/// All errors of an election become one with `?`.
#[test]
fn every_error_converts() {
    fn lead() -> Result<(), Error> {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let lock = FileLock::new(directory.path().join("lock"))?;
        let elector = LeaderElector::new(Config::new(lock))?;
        let leadership = elector.campaign()?;
        leadership.term().ensure(Duration::from_millis(1)).expect("the term has just begun");
        leadership.release()
    }
    lead().expect("leads");

    fn refused() -> Result<LeaderElector, Error> {
        Ok(LeaderElector::new(Config::new(MemoryLock::new()).identity(""))?)
    }
    let error = refused().expect_err("an empty identity");
    assert_eq!(error.to_string(), ConfigError::EmptyIdentity.to_string());
}

#[test]
fn what_belongs_to_any_thread_is_send_and_sync() {
    fn any_thread<T: Send + Sync + 'static>() {}
    any_thread::<LeaderElector>();
    any_thread::<ElectorHandle>();
    any_thread::<Leadership>();
    any_thread::<Term>();
    any_thread::<LeaderCallbacks>();
    any_thread::<Outcome>();
    any_thread::<Error>();
    fn movable<T: Send + 'static>() {}
    movable::<Config>();
    movable::<Observer>();
}

#[test]
fn guards_and_electors_go_to_other_threads() {
    let elector = Arc::new(LeaderElector::new(Config::new(MemoryLock::new())).expect("settings"));
    let campaigner = Arc::clone(&elector);
    let leadership =
        std::thread::spawn(move || campaigner.campaign()).join().expect("returns").expect("leads");
    let releaser = std::thread::spawn(move || leadership.release());
    releaser.join().expect("returns").expect("releases");
    assert!(!elector.is_leader());
}
