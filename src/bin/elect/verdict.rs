//! What an end means: an exit code, or another campaign.
//!
//! Pure, so that every row of the table of exit codes is tested below.

use std::error::Error as StdError;

use leaderelection::Outcome;
use signal_hook::consts::SIGTERM;

use crate::candidate::Ended;
use crate::exit;

/// The exit codes that a user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// Somebody else led until the wait was over.
    pub not_acquired: u8,
    /// The leadership was lost, or a success could not be recorded.
    pub lost: u8,
}

/// What follows from the end of a campaign and its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// That was all.
    Final(u8),
    /// The term ended; who wants to may campaign again, or give up with this code.
    MayTryAgain(u8),
}

impl Codes {
    /// After a term of `elect run`.
    pub fn of_run(self, ended: &Ended) -> Verdict {
        let code = match &ended.outcome {
            Err(_) => return Verdict::Final(exit::OWN_FAILURE),
            // What is completed is never led again.
            Ok(Outcome::AcquireTimedOut | Outcome::AlreadyCompleted) => {
                return Verdict::Final(self.not_acquired);
            }
            Ok(Outcome::LeaseLost(_) | Outcome::SucceededUnrecorded) => self.lost,
            Ok(_) => ended.exit.map_or_else(|| without_command(ended), |exit| exit.code),
        };
        may_try_again(ended, code)
    }

    /// After a term of `elect once`.
    pub fn of_once(self, ended: &Ended) -> Verdict {
        let code = match &ended.outcome {
            Err(_) => return Verdict::Final(exit::OWN_FAILURE),
            Ok(Outcome::TaskSucceeded | Outcome::AlreadyCompleted) => return Verdict::Final(0),
            Ok(Outcome::AcquireTimedOut) => return Verdict::Final(self.not_acquired),
            // It has succeeded: running it again is for who knows whether that is safe.
            Ok(Outcome::SucceededUnrecorded) => return Verdict::Final(self.lost),
            Ok(Outcome::LeaseLost(_)) => self.lost,
            // COMMAND may end with 0 because it was told to end: that is no success.
            Ok(_) => match ended.exit {
                Some(exit) if exit.code != 0 => exit.code,
                _ => without_command(ended),
            },
        };
        may_try_again(ended, code)
    }
}

fn may_try_again(ended: &Ended, code: u8) -> Verdict {
    match ended.signal.is_some() || ended.interrupted {
        true => Verdict::Final(code),
        false => Verdict::MayTryAgain(code),
    }
}

/// The code of an end that COMMAND's code does not tell: by the signal that `elect` got, or that it
/// sent.
fn without_command(ended: &Ended) -> u8 {
    exit::by_signal(ended.signal.unwrap_or(SIGTERM))
}

/// An error with all that stands behind it, without what says the same again.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if next != last {
            text.push_str(": ");
            text.push_str(&next);
        }
        last = next;
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Exit;
    use leaderelection::{Error, LossReason};

    const CODES: Codes = Codes { not_acquired: 75, lost: 76 };

    fn ended(outcome: Outcome, code: Option<u8>) -> Ended {
        let exit = code.map(|code| Exit { code, told_to_end: false });
        Ended { outcome: Ok(outcome), exit, signal: None, interrupted: false }
    }

    fn signaled(outcome: Outcome, code: Option<u8>, signal: i32) -> Ended {
        Ended { signal: Some(signal), ..ended(outcome, code) }
    }

    #[test]
    fn run_has_the_code_of_its_command() {
        use Verdict::{Final, MayTryAgain};
        let lost = Outcome::LeaseLost(LossReason::RenewDeadline);
        for (end, verdict) in [
            (ended(Outcome::TaskSucceeded, Some(0)), MayTryAgain(0)),
            (ended(Outcome::TaskFailed, Some(7)), MayTryAgain(7)),
            (ended(Outcome::TermLimitReached, Some(143)), MayTryAgain(143)),
            (ended(Outcome::TermLimitReached, Some(0)), MayTryAgain(0)),
            (ended(lost, Some(143)), MayTryAgain(76)),
            (ended(lost, None), MayTryAgain(76)),
            (ended(Outcome::AcquireTimedOut, None), Final(75)),
            (ended(Outcome::AlreadyCompleted, None), Final(75)),
            (signaled(Outcome::Stopped, None, 2), Final(130)),
            (signaled(Outcome::Stopped, Some(0), 15), Final(0)),
            (signaled(Outcome::Stopped, Some(143), 15), Final(143)),
            (signaled(Outcome::TaskFailed, Some(7), 15), Final(7)),
        ] {
            assert_eq!(CODES.of_run(&end), verdict, "{end:?}");
        }
    }

    #[test]
    fn once_is_0_when_the_task_is_done_by_anybody() {
        use Verdict::{Final, MayTryAgain};
        let lost = Outcome::LeaseLost(LossReason::TakenOver);
        for (end, verdict) in [
            (ended(Outcome::TaskSucceeded, Some(0)), Final(0)),
            (ended(Outcome::AlreadyCompleted, None), Final(0)),
            (ended(Outcome::TaskFailed, Some(7)), MayTryAgain(7)),
            (ended(Outcome::TermLimitReached, Some(0)), MayTryAgain(143)),
            (ended(Outcome::SucceededUnrecorded, Some(0)), Final(76)),
            (ended(lost, Some(0)), MayTryAgain(76)),
            (ended(Outcome::AcquireTimedOut, None), Final(75)),
            (signaled(Outcome::Stopped, None, 1), Final(129)),
            (signaled(Outcome::Stopped, Some(0), 15), Final(143)),
            (signaled(Outcome::Stopped, Some(3), 15), Final(3)),
        ] {
            assert_eq!(CODES.of_once(&end), verdict, "{end:?}");
        }
    }

    #[test]
    fn an_interrupt_at_the_terminal_ends_elect_too() {
        let end = Ended { interrupted: true, ..ended(Outcome::TaskFailed, Some(130)) };
        assert_eq!(CODES.of_run(&end), Verdict::Final(130));
        assert_eq!(CODES.of_once(&end), Verdict::Final(130));
    }

    #[test]
    fn an_error_is_an_own_failure_and_is_told_once() {
        let source = std::io::Error::other("no threads");
        let error = Error::Thread { name: "main", source };
        assert_eq!(chain(&error), "cannot start the main thread: no threads");
        let end = Ended { outcome: Err(error), ..ended(Outcome::Stopped, None) };
        assert_eq!(CODES.of_run(&end), Verdict::Final(125));
        assert_eq!(CODES.of_once(&end), Verdict::Final(125));
    }
}
