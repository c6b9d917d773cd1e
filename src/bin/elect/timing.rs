//! The durations of a candidate: what was left unset follows from the lease, and room is made for
//! ending COMMAND within it.

use std::time::Duration;

use crate::cli::CandidateArgs;

/// How far any clock's rate may be from true: the library's default.
const CLOCK_DRIFT: f64 = 0.05;

/// The part of the lease's slack that is kept for ending COMMAND after a loss.
const STOP_GRACE_SHARE: f64 = 0.9;

/// The part of that in which COMMAND may end by itself; the rest is for the kill.
const LOSS_GRACE_SHARE: f64 = 0.75;

/// The lease is renewed for as long as that, so there must be an end to it.
const MOST_KILL_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Every duration, set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// As the library takes it.
    pub lease_duration: Duration,
    /// As the library takes it.
    pub renew_deadline: Duration,
    /// As the library takes it.
    pub retry_period: Duration,
    /// From the end of validity until nothing of COMMAND is left.
    pub stop_grace: Duration,
    /// From SIGTERM to SIGKILL after a loss.
    pub loss_grace: Duration,
}

impl Timing {
    /// Fills in what is unset. What the library refuses is left for it to refuse.
    pub fn of(args: &CandidateArgs) -> Result<Self, String> {
        if args.kill_after > MOST_KILL_AFTER {
            return Err(format!("--kill-after {:?} is more than a day", args.kill_after));
        }
        let lease_duration = args.lease_duration;
        let renew_deadline = args.renew_deadline.unwrap_or(lease_duration * 2 / 3);
        let retry_period = args.retry_period.unwrap_or(lease_duration * 2 / 15);
        let rate = (1.0 + CLOCK_DRIFT) / (1.0 - CLOCK_DRIFT);
        let slack = lease_duration.div_f64(rate).saturating_sub(renew_deadline);
        let stop_grace = slack.mul_f64(STOP_GRACE_SHARE);
        let most = floor_to_millis(stop_grace.mul_f64(LOSS_GRACE_SHARE));
        let loss_grace = args.loss_grace.unwrap_or(most);
        // Without any slack the library's refusal says more.
        if loss_grace > most && !slack.is_zero() {
            return Err(format!(
                "--loss-grace {loss_grace:?} is more than {most:?}, which is what a lease of \
                 {lease_duration:?} with a renew deadline of {renew_deadline:?} leaves room for: \
                 lengthen --lease-duration, or shorten --loss-grace or --renew-deadline"
            ));
        }
        Ok(Self { lease_duration, renew_deadline, retry_period, stop_grace, loss_grace })
    }
}

/// The guard counts milliseconds.
fn floor_to_millis(span: Duration) -> Duration {
    Duration::from_millis(span.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn timing(options: &[&str]) -> Result<Timing, String> {
        let words = ["elect", "run", "--lock", "x"].iter().chain(options).chain(&["--", "true"]);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => Timing::of(&args.candidate),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_the_librarys_and_leave_room_for_the_kill() {
        let timing = timing(&[]).unwrap();
        assert_eq!(timing.renew_deadline, Duration::from_secs(10));
        assert_eq!(timing.retry_period, Duration::from_secs(2));
        assert_eq!(timing.stop_grace.as_millis(), 3214);
        assert_eq!(timing.loss_grace.as_millis(), 2410);
    }

    #[test]
    fn a_lease_alone_sets_the_others() {
        let timing = timing(&["--lease-duration", "3s"]).unwrap();
        assert_eq!(timing.renew_deadline, Duration::from_secs(2));
        assert_eq!(timing.retry_period, Duration::from_millis(400));
        assert!(timing.loss_grace > Duration::from_millis(400));
    }

    #[test]
    fn a_loss_grace_beyond_the_slack_is_refused_with_the_numbers() {
        let refusal = timing(&["--loss-grace", "3s"]).unwrap_err();
        for part in ["3s", "2.41s", "15s", "10s", "--lease-duration"] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
        assert_eq!(timing(&["--loss-grace", "0"]).unwrap().loss_grace, Duration::ZERO);
    }

    #[test]
    fn a_kill_that_comes_too_late_is_refused_by_its_name() {
        assert!(timing(&["--kill-after", "25h"]).unwrap_err().contains("--kill-after"));
        assert!(timing(&["--kill-after", "24h"]).is_ok());
    }

    #[test]
    fn no_slack_at_all_is_left_for_the_library_to_refuse() {
        let timing = timing(&["--lease-duration", "10s", "--renew-deadline", "10s"]).unwrap();
        assert_eq!(timing.stop_grace, Duration::ZERO);
    }
}
