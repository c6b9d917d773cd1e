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
const PATIENT: Candidate = Candidate { lease: 5, deadline: 4, ..EVEN };

/// A longer lease beside `EVEN`.
const LONG: Candidate = Candidate { lease: 6, deadline: 5, ..EVEN };

const NOTHING: Budget =
    Budget { faults: 0, crashes: 0, stops: 0, successes: 0, again: 0, lags: FREE };

pub fn by_name(name: &str) -> [Candidate; 3] {
    match name {
        "even" => [EVEN, EVEN, EVEN],
        "mixed" => [LONG, EVEN, EVEN],
        _ => [SLOW, FAST, SLOW],
    }
}

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

pub fn short() -> Vec<Setup> {
    vec![setup("two, free, even", &[EVEN, EVEN], 4, Budget { faults: 1, ..NOTHING })]
}

pub fn long() -> Vec<Setup> {
    short()
}

/// Each rule broken, where and how that shows soonest.
pub fn broken() -> Vec<(Setup, &'static str)> {
    let one_lag = Budget { lags: 1, ..NOTHING };
    let fault = Budget { faults: 1, ..one_lag };
    let stop = Budget { stops: 1, ..one_lag };
    let even = |budget| setup("even", &[EVEN, EVEN], 8, budget);
    let patient = setup("patient", &[PATIENT, PATIENT], 8, fault);
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
