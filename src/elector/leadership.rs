//! A guard: leadership without callbacks.

use std::fmt;
use std::time::Duration;

use crate::elector::Done;
use crate::error::{Error, Outcome};
use crate::sync::channel::Sender;
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
    /// Its drop tells the election that nobody works any more.
    guard: Option<Sender<()>>,
    report: Sender<bool>,
    done: Done,
}

impl Leadership {
    pub(super) fn new(term: Term, guard: Sender<()>, report: Sender<bool>, done: Done) -> Self {
        Self { term, guard: Some(guard), report, done }
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
        // Empty, and with room for one.
        let _ = self.report.try_send(success);
        self.finish()
    }

    fn finish(&mut self) -> Result<Outcome, Error> {
        self.guard = None;
        self.done.wait().result
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            let patience = self.term.remaining().min(DROP_PATIENCE);
            let _ = self.done.0.recv_timeout(patience);
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("term", &self.term).finish_non_exhaustive()
    }
}
