//! `elect reset`: forget that the task is completed.

use std::io::{self, Write};
use std::time::Duration;

use leaderelection::{FileLock, Lock, Reset, ResetError, force_reset, reset};

use crate::candidate::open_lock;
use crate::cli::ResetArgs;
use crate::{exit, verdict};

/// Returns the exit code.
pub fn run(args: &ResetArgs) -> u8 {
    let lock = args.lock.display();
    let mut opened = match open_lock(&args.lock, FileLock::options().trust_anyway(args.i_know)) {
        Ok(opened) => opened,
        Err(refusal) => {
            eprintln!("elect: {}", refusal.reason);
            return refusal.code;
        }
    };
    let done = if args.force { force_reset(&mut opened) } else { reset(&mut opened) };
    match done {
        Ok(done) => tell(&story(&lock.to_string(), done, args.force, &mut opened)),
        Err(error) => {
            eprintln!("elect: cannot reset: {}", verdict::chain(&error));
            code_of(&error)
        }
    }
}

fn story(lock: &str, done: Reset, force: bool, opened: &mut dyn Lock) -> String {
    let what = match done {
        Reset::NothingToDo => return format!("{lock}: there is no completion to forget"),
        Reset::CorruptionSuperseded => "the corrupt record is superseded",
        Reset::HolderOusted => "its holder leads no more",
        _ => "the completion is forgotten; the task may run again",
    };
    if done == Reset::CorruptionSuperseded && !force {
        let lease = lease(opened);
        format!(
            "{lock}: {what}\ncandidates now wait for {lease}, in case a leader stood behind it; \
             `elect reset --force` lets them in at once"
        )
    } else {
        format!("{lock}: {what}")
    }
}

/// What was done stays done, whether anybody hears of it or not.
fn tell(story: &str) -> u8 {
    match writeln!(io::stdout(), "{story}") {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("elect: {story}");
            eprintln!("elect: cannot write to standard output: {error}");
            exit::OWN_FAILURE
        }
    }
}

/// The lease that now stands in the record.
fn lease(lock: &mut dyn Lock) -> String {
    match lock.get(Duration::from_secs(10)) {
        Ok(Some(observed)) => {
            humantime::format_duration(observed.record.lease_duration).to_string()
        }
        _ => "its lease".to_owned(),
    }
}

fn code_of(error: &ResetError) -> u8 {
    match error {
        ResetError::Held { .. } | ResetError::Changed { .. } => exit::NOT_ACQUIRED,
        _ => exit::OWN_FAILURE,
    }
}
