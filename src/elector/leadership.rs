//! A guard: leadership without callbacks.

use std::fmt;
use std::time::Duration;

use crate::elector::handle::Done;
use crate::error::{Error, Outcome};
use crate::term::Term;

/// The longest that dropping a guard waits for the release.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// Leadership, for who prefers a guard to callbacks. The lease is renewed in the background, and
/// released when this is dropped.
///
/// It may be lost all the same: watch [`Term::stop_signal`], or ask [`Term::is_valid`] before each
/// step. Whoever holds the guard is the work of the term: drop it soon after the term has ended.
/// Its elector runs until then, even if it is dropped itself; a guard that is leaked runs it for
/// ever.
#[must_use = "dropping the guard releases the lease"]
pub struct Leadership {
    term: Term,
    done: Done,
    /// The end has been waited for.
    finished: bool,
}

impl Leadership {
    pub(super) fn new(term: Term, done: Done) -> Self {
        Self { term, done, finished: false }
    }

    /// The term: its fencing token, stop signal and validity.
    pub fn term(&self) -> &Term {
        &self.term
    }

    /// Releases the lease and waits until that is done, or validity has ended.
    ///
    /// # Errors
    ///
    /// [`Error::NotElected`] with the reason if the lease had been lost before.
    pub fn release(mut self) -> Result<(), Error> {
        match self.finish()? {
            Outcome::LeaseLost(reason) => Err(Error::NotElected(Outcome::LeaseLost(reason))),
            _ => Ok(()),
        }
    }

    /// Ends the term with the result of the task, as a message on the task channel would: what
    /// becomes of the lease is decided by [`Config::on_success`](crate::Config::on_success).
    ///
    /// # Errors
    ///
    /// [`Error::Lock`] if the lock can't heal.
    pub fn report(mut self, success: bool) -> Result<Outcome, Error> {
        self.done.report(success);
        self.finish()
    }

    fn finish(&mut self) -> Result<Outcome, Error> {
        self.finished = true;
        // Nobody works any more.
        self.done.stop();
        self.done.leave();
        self.done.wait()
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if !self.finished {
            self.done.stop();
            self.done.leave();
            self.done.wait_at_most(self.term.remaining().min(DROP_PATIENCE));
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("term", &self.term).finish_non_exhaustive()
    }
}
