//! A term of leadership: its fencing token, its stop signal, and the validity that is left.
//!
//! This file must not know how validity is won; it only keeps its end, and never lets one that has
//! ended come back.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::clock::{Clock, Instant};
use crate::sync::channel::{Receiver, TryRecvError};
use crate::sync::{AtomicU64, Ordering};

/// No term is valid; also what a term's end reads as once somebody has seen it pass.
const ENDED: u64 = 0;

/// The end of a candidate's validity, in one atomic that any thread may read at any time.
///
/// Who first reads it after the end seals it, so that a confirmation which arrives late can't make
/// the answer "yes" again after it has been "no" (rule 1 of the safety rules).
#[derive(Debug)]
pub(crate) struct Validity {
    until: AtomicU64,
    /// Whose end it is: the candidate's first term is 1. A term that is over asks for its own.
    term: AtomicU64,
    clock: Clock,
}

impl Validity {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { until: AtomicU64::new(ENDED), term: AtomicU64::new(0), clock }
    }

    /// Begins the validity of a new term, where none is, and returns the term's number.
    pub(crate) fn begin(&self, until: Instant) -> u64 {
        // The number first: who has read the new end finds that it is another term's.
        let term = self.term.fetch_add(1, Ordering::SeqCst) + 1;
        self.until.store(until.as_nanos(), Ordering::SeqCst);
        term
    }

    /// Moves the end from `old` to `new`; `false` where the old one was seen to have passed.
    pub(crate) fn extend(&self, old: Instant, new: Instant) -> bool {
        self.clock.now() < old && self.replace(old.as_nanos(), new.as_nanos())
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.until.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Ends it now and for good.
    pub(crate) fn end(&self) {
        self.until.store(ENDED, Ordering::SeqCst);
    }

    /// Whether any term is valid.
    pub(crate) fn is_valid(&self) -> bool {
        self.deadline(|| true).is_some()
    }

    /// The end of the validity of `term` that has not passed, and the instant at which that was so.
    fn deadline_of(&self, term: u64) -> Option<(Instant, Instant)> {
        self.deadline(|| self.term.load(Ordering::SeqCst) == term)
    }

    fn deadline(&self, is_asked_for: impl Fn() -> bool) -> Option<(Instant, Instant)> {
        loop {
            let until = self.until.load(Ordering::SeqCst);
            if until == ENDED || !is_asked_for() {
                return None;
            }
            let now = self.clock.now();
            if now.as_nanos() < until {
                return Some((Instant::from_nanos(until), now));
            }
            // Failing means that it was extended in time, between the two reads above.
            if self.replace(until, ENDED) {
                return None;
            }
        }
    }
}

/// The term is over, or has less validity left than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the term has {remaining:?} of validity left, {needed:?} are needed")]
pub struct TermEnded {
    /// The validity that is left; zero once the term has ended.
    pub remaining: Duration,
    /// The validity that was asked for.
    pub needed: Duration,
}

/// A term of leadership, as the work sees it.
///
/// Clones speak of the same term.
///
/// A term can end between a check here and the side effect that follows it: if the process is
/// paused just there, only a resource that refuses a lower [fencing token](Term::fencing_token)
/// than the highest it has seen can keep it out.
#[derive(Clone, Debug)]
pub struct Term {
    fencing_token: u64,
    stop: Receiver<()>,
    validity: Arc<Validity>,
    number: u64,
}

impl Term {
    /// The term that the validity is now of.
    pub(crate) fn begin(
        fencing_token: u64,
        stop: Receiver<()>,
        validity: &Arc<Validity>,
        until: Instant,
    ) -> Self {
        let number = validity.begin(until);
        Self { fencing_token, stop, validity: Arc::clone(validity), number }
    }

    /// A number that is higher in every later term of the same lock.
    pub fn fencing_token(&self) -> u64 {
        self.fencing_token
    }

    /// A channel that disconnects when the work should stop, for a `select!`. No message is ever
    /// sent.
    pub fn stop_signal(&self) -> &Receiver<()> {
        &self.stop
    }

    /// Whether the work was told to stop. The term may still be valid, so that the work can clean
    /// up.
    pub fn stopped(&self) -> bool {
        self.stop.try_recv() == Err(TryRecvError::Disconnected) || !self.is_valid()
    }

    /// Whether the term still holds: `false` from the instant at which its validity ends, even
    /// where the elector's threads are frozen, and never `true` again after that.
    pub fn is_valid(&self) -> bool {
        self.deadline().is_some()
    }

    /// The validity that is left without a further renewal; zero once the term has ended.
    pub fn remaining(&self) -> Duration {
        self.deadline().map_or(Duration::ZERO, |(until, now)| until.since(now))
    }

    /// The end of the validity without a further renewal, in nanoseconds of the clock that counts a
    /// suspend (`CLOCK_BOOTTIME` on Linux, `CLOCK_MONOTONIC` on macOS), for handing it to another
    /// process of this machine. `None` once the term has ended.
    pub fn deadline_nanos(&self) -> Option<u64> {
        self.deadline().map(|(until, _)| until.as_nanos())
    }

    fn deadline(&self) -> Option<(Instant, Instant)> {
        self.validity.deadline_of(self.number)
    }

    /// Checks that at least `needed` of validity is left, for a step that takes that long at most.
    ///
    /// # Errors
    ///
    /// [`TermEnded`] says how much is left.
    pub fn ensure(&self, needed: Duration) -> Result<(), TermEnded> {
        let remaining = self.remaining();
        if remaining.is_zero() || remaining < needed {
            return Err(TermEnded { remaining, needed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    const SECOND: Duration = Duration::from_secs(1);

    fn term(clock: &Clock) -> (Term, Arc<Validity>, crossbeam_channel::Sender<()>) {
        let validity = Arc::new(Validity::new(clock.clone()));
        let (stop, signal) = bounded(0);
        let term = Term::begin(7, signal, &validity, clock.now() + SECOND);
        (term, validity, stop)
    }

    #[test]
    fn a_term_is_valid_until_the_instant_of_its_end() {
        let clock = Clock::simulated();
        let (term, _validity, _stop) = term(&clock);
        clock.advance(SECOND - Duration::from_nanos(1));
        assert!(term.is_valid());
        assert_eq!(term.ensure(Duration::from_nanos(1)), Ok(()));
        assert!(term.ensure(SECOND).is_err());
        clock.advance(Duration::from_nanos(1));
        assert!(!term.is_valid());
        assert!(term.stopped());
        assert!(term.ensure(Duration::ZERO).is_err());
    }

    #[test]
    fn a_late_confirmation_does_not_revive_a_term() {
        let clock = Clock::simulated();
        let (term, validity, _stop) = term(&clock);
        let old = clock.now() + SECOND;
        clock.advance(SECOND);
        assert!(!term.is_valid());
        assert!(!validity.extend(old, old + SECOND * 10));
        assert!(!term.is_valid());
    }

    #[test]
    fn an_extension_counts_only_from_the_end_that_it_knew() {
        let clock = Clock::simulated();
        let (term, validity, _stop) = term(&clock);
        let old = clock.now() + SECOND;
        assert!(validity.extend(old, old + SECOND));
        assert!(!validity.extend(old, old + SECOND * 9));
        assert_eq!(term.remaining(), SECOND * 2);
        assert_eq!(term.deadline_nanos(), Some((old + SECOND).as_nanos()));
    }

    #[test]
    fn the_stop_signal_leaves_the_term_valid() {
        let clock = Clock::simulated();
        let (term, _validity, stop) = term(&clock);
        assert!(!term.stopped());
        drop(stop);
        assert!(term.stopped() && term.is_valid());
    }
}
