//! `elect reset`: forget that the task is completed.

use leaderelection::{Reset, ResetError, reset};

use crate::candidate::open_lock;
use crate::cli::ResetArgs;
use crate::{exit, verdict};

/// Returns the exit code.
pub fn run(args: &ResetArgs) -> u8 {
    let lock = args.lock.display();
    let mut opened = match open_lock(&args.lock, args.i_know) {
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
            println!("candidates now wait for 15s, in case a leader stood behind it");
        }
        Ok(_) => println!("{lock}: the completion is forgotten; the task may run again"),
        Err(error) => {
            eprintln!("elect: cannot reset: {}", verdict::chain(&error));
            return code_of(&error);
        }
    }
    0
}

fn code_of(error: &ResetError) -> u8 {
    match error {
        ResetError::Held { .. } | ResetError::Changed { .. } => exit::NOT_ACQUIRED,
        _ => exit::OWN_FAILURE,
    }
}
