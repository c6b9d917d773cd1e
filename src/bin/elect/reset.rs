//! `elect reset`: forget that the task is completed.

use std::time::Duration;

use leaderelection::{FileLock, Lock, Reset, ResetError, reset};

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
    match reset(&mut opened) {
        Ok(Reset::NothingToDo) => println!("{lock}: there is no completion to forget"),
        Ok(Reset::CorruptionSuperseded) => {
            println!("{lock}: the corrupt record is superseded");
            println!(
                "candidates now wait for {}, in case a leader stood behind it",
                lease(&mut opened)
            );
        }
        Ok(_) => println!("{lock}: the completion is forgotten; the task may run again"),
        Err(error) => {
            eprintln!("elect: cannot reset: {}", verdict::chain(&error));
            return code_of(&error);
        }
    }
    0
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
