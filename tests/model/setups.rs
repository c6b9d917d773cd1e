//! The configurations that are explored, and one for each broken rule.

use leaderelection::OnSuccess;

use crate::mutants::Mutant;
use crate::world::{Budget, Candidate, FREE, Setup};
use crate::{ONE_ACTS, STAYS_ENDED, TOKENS_RISE};

/// A lease that is just long enough where all clocks run at one rate: deadline + grace = lease.
const EVEN: Candidate = Candidate { rate: 1, lease: 3, deadline: 2, retry_micros: 1000, grace: 1 };

/// The same as `EVEN` for clocks one of which runs twice as fast: (2 + 1) x 2 = 6.
const SLOW: Candidate = Candidate { lease: 6, ..EVEN };
const FAST: Candidate = Candidate { rate: 2, ..SLOW };

/// Long enough for a second attempt at a renewal: deadline + grace = lease again.
const PATIENT: Candidate = Candidate { lease: 4, deadline: 3, ..EVEN };

/// A longer lease beside `EVEN`.
const LONG: Candidate = Candidate { lease: 6, deadline: 5, ..EVEN };

const NOTHING: Budget =
    Budget { faults: 0, crashes: 0, stops: 0, successes: 0, again: 0, lags: FREE };

fn setup(name: &'static str, candidates: &[Candidate], horizon: u64, budget: Budget) -> Setup {
    Setup {
        name,
        candidates: candidates.to_vec(),
        horizon,
        on_success: OnSuccess::Complete,
        budget,
        proofs: false,
        rates_change: false,
        mutant: None,
    }
}

/// "Free" candidates may be paused between any two steps, and their messages be late, as often and
/// for as long as the world lasts; in the others one candidate (or two) may fall behind like that
/// once, which leaves room for longer stories.
pub fn short() -> Vec<Setup> {
    let one_lag = Budget { lags: 1, ..NOTHING };
    let fault = Budget { faults: 1, ..NOTHING };
    let crash = Budget { crashes: 1, ..NOTHING };
    let crash_in_a_lag = Budget { crashes: 1, ..one_lag };
    let ends = Budget { stops: 1, successes: 1, ..one_lag };
    let no_lag = Budget { faults: 1, crashes: 1, lags: 0, ..NOTHING };
    let retries = Budget { faults: 1, ..one_lag };
    let changing = setup("two, rates change with each tick", &[SLOW, FAST], 4, one_lag);
    let proven = setup("two, crash with proof", &[EVEN, EVEN], 4, crash_in_a_lag);
    vec![
        setup("two, free, a fault", &[EVEN, EVEN], 4, fault),
        setup("two, free, clocks 1:2, a crash", &[SLOW, FAST], 4, crash),
        setup("two, leases of 6 and 3", &[LONG, EVEN], 7, one_lag),
        setup("two, a renewal sent twice", &[PATIENT, PATIENT], 5, retries),
        setup("two, stop and success", &[EVEN, EVEN], 4, ends),
        setup("three, one behind", &[EVEN, EVEN, EVEN], 4, one_lag),
        setup("three, clocks 1:2, a fault, a crash", &[SLOW, FAST, SLOW], 3, no_lag),
        Setup { rates_change: true, ..changing },
        Setup { proofs: true, ..proven },
    ]
}

pub fn long() -> Vec<Setup> {
    let one_lag = Budget { lags: 1, ..NOTHING };
    let two_lags = Budget { lags: 2, ..NOTHING };
    let fault = Budget { faults: 1, ..NOTHING };
    let crash = Budget { crashes: 1, ..NOTHING };
    let both = Budget { faults: 1, crashes: 1, ..one_lag };
    let ends = Budget { stops: 1, successes: 1, again: 1, ..one_lag };
    let all = Budget { faults: 1, crashes: 1, stops: 1, successes: 1, again: 1, lags: 0 };
    let changing = setup("two, free, rates change with each tick", &[SLOW, FAST], 5, NOTHING);
    let proven = setup("two, free, crash with proof", &[EVEN, EVEN], 4, crash);
    let two_faults = Budget { faults: 2, ..one_lag };
    vec![
        setup("two, free, a fault", &[EVEN, EVEN], 7, fault),
        setup("two, free, clocks 1:2, a fault", &[SLOW, FAST], 7, fault),
        setup("two, free, clocks 1:2, a crash", &[SLOW, FAST], 7, crash),
        setup("two, leases of 6 and 3, a fault", &[LONG, EVEN], 9, Budget { faults: 1, ..one_lag }),
        setup("two, renewals sent again, two faults", &[PATIENT, PATIENT], 7, two_faults),
        setup("two, a fault, a crash", &[EVEN, EVEN], 6, both),
        setup("two, stop, success, a second run", &[EVEN, EVEN], 4, ends),
        setup("two, everything but lags", &[EVEN, EVEN], 5, all),
        setup("three, free, clocks 1:2", &[SLOW, FAST, SLOW], 4, NOTHING),
        setup("three, clocks 1:2, one behind", &[SLOW, FAST, SLOW], 9, one_lag),
        setup("three, clocks 1:2, two behind", &[SLOW, FAST, SLOW], 5, two_lags),
        Setup { rates_change: true, ..changing },
        Setup { proofs: true, ..proven },
    ]
}

/// Each rule broken, where and how that shows soonest.
pub fn broken() -> Vec<(Setup, &'static str)> {
    let one_lag = Budget { lags: 1, ..NOTHING };
    let fault = Budget { faults: 1, ..one_lag };
    let stop = Budget { stops: 1, ..one_lag };
    let even = |budget| setup("even", &[EVEN, EVEN], 8, budget);
    let patient = setup("patient", &[PATIENT, PATIENT], 5, fault);
    let mixed = setup("mixed", &[LONG, EVEN], 8, one_lag);
    let apart = Candidate { rate: 2, ..EVEN };
    let beyond = setup("beyond", &[EVEN, apart], 8, one_lag);
    [
        (Mutant::DeadlineFromTheReply, even(one_lag), ONE_ACTS),
        (Mutant::RenewalTimedFromItsRetry, patient.clone(), ONE_ACTS),
        (Mutant::TimerFromBeforeTheRead, even(one_lag), ONE_ACTS),
        (Mutant::OwnLeaseInsteadOfTheHolders, mixed, ONE_ACTS),
        (Mutant::RenewalsUnseen, even(one_lag), ONE_ACTS),
        (Mutant::UnknownTakenAsFailed, patient, ONE_ACTS),
        (Mutant::LateReplyRevives, even(one_lag), STAYS_ENDED),
        (Mutant::ReleaseBeforeTheWorkHasEnded, even(stop), ONE_ACTS),
        (Mutant::SameNameIsOneself, even(one_lag), ONE_ACTS),
        (Mutant::TheLivingSaidToBeDead, even(one_lag), ONE_ACTS),
        (Mutant::ClaimWithoutComparing, even(one_lag), ONE_ACTS),
        (Mutant::ReleaseForgetsTheRevision, even(stop), TOKENS_RISE),
        (Mutant::ClockStopsInASuspend, even(one_lag), ONE_ACTS),
        (Mutant::DriftBeyondTheBound, beyond, ONE_ACTS),
    ]
    .map(|(mutant, setup, property)| (Setup { mutant: Some(mutant), ..setup }, property))
    .to_vec()
}
