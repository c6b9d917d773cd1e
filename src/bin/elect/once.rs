//! `elect once`: run COMMAND until one success is recorded, by whomever.

use leaderelection::OnSuccess;

use crate::candidate::{Candidate, campaign};
use crate::cli::OnceArgs;
use crate::verdict::Verdict;

/// Returns the exit code.
pub fn run(args: &OnceArgs) -> u8 {
    campaign(&args.candidate, OnSuccess::Complete, |candidate: &Candidate| {
        let mut attempts_left = args.attempts;
        loop {
            let ended = candidate.run_once();
            // A term that ended before COMMAND was started was no try.
            attempts_left -= u32::from(ended.exit.is_some());
            match candidate.codes().of_once(&ended) {
                Verdict::MayTryAgain(_) if attempts_left > 0 => {}
                Verdict::Final(code) | Verdict::MayTryAgain(code) => return code,
            }
        }
    })
}
