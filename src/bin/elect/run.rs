//! `elect run`: lead, and run COMMAND while leading.

use leaderelection::OnSuccess;

use crate::candidate::{Candidate, campaign};
use crate::cli::RunArgs;
use crate::verdict::Verdict;

/// Returns the exit code.
pub fn run(args: &RunArgs) -> u8 {
    campaign(&args.candidate, OnSuccess::Release, |candidate: &Candidate| {
        loop {
            let ended = candidate.run_once();
            match candidate.codes().of_run(&ended) {
                Verdict::MayTryAgain(_) if args.repeat => {}
                Verdict::Final(code) | Verdict::MayTryAgain(code) => return code,
            }
        }
    })
}
