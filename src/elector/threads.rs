//! Threads for user code: a term's work and its end, and how a panic in them reads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::callbacks::LeaderCallbacks;
use crate::elector::inbox::Outlet;
use crate::error::Error;
use crate::sync::channel::{Sender, bounded};
use crate::sync::start_thread;
use crate::term::Term;

/// Starts a named thread that nobody joins: its end is told by a channel, if at all.
pub(super) fn start(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    #[cfg(test)]
    let body = refusal::of_children(name, body)?;
    start_thread(format!("election-{name}"), body).map_err(|source| Error::Thread { name, source })
}

#[cfg(test)]
pub(super) use refusal::refuse;

/// Calls user code, and turns a panic of it into what it said.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic_text(&*panic);
        // What was thrown is the user's too, and its drop may panic again. That ends here: of the
        // second one nothing is dropped.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        text
    })
}

/// What a panic said, if it said anything.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// A callback of a term has returned.
pub(super) enum Returned {
    /// The work, and the text of its panic.
    Work(Option<String>),
    /// `on_stopped_leading`, and the text of its panic.
    End(Option<String>),
}

/// The threads of a term: one for each callback that there is. They are started before the claim,
/// so that once the lease is won nothing can keep the work from starting or the end from being
/// told.
pub(super) struct TermThreads {
    begin: Option<Sender<Term>>,
    end: Option<Sender<()>>,
}

impl TermThreads {
    /// Starts them; each waits for its message. If the term never comes, they end with this.
    pub(super) fn start(callbacks: &LeaderCallbacks, returned: &Outlet) -> Result<Self, Error> {
        let begin = callbacks.started.clone().map(|work| {
            once("work", returned.clone(), Returned::Work, move |term: &Term| work(term))
        });
        let end = callbacks
            .stopped
            .clone()
            .map(|stopped| once("end", returned.clone(), Returned::End, move |(): &()| stopped()));
        Ok(Self { begin: begin.transpose()?, end: end.transpose()? })
    }

    /// Starts the work, if there is any.
    pub(super) fn begin(&self, term: Term) {
        if let Some(begin) = &self.begin {
            // The channel has room for its only message, and its thread waits for it.
            let _ = begin.try_send(term);
        }
    }

    /// Whether somebody is told of the end, and tells when that has returned.
    pub(super) fn will_tell_the_end(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn end(&self) {
        if let Some(end) = &self.end {
            let _ = end.try_send(());
        }
    }
}

/// Starts a thread that runs `callback` for the first message, if one comes, and tells of its
/// return.
fn once<T: Send + 'static>(
    name: &'static str,
    returned: Outlet,
    wrap: fn(Option<String>) -> Returned,
    callback: impl FnOnce(&T) + Send + 'static,
) -> Result<Sender<T>, Error> {
    let (sender, messages) = bounded::<T>(1);
    start(name, move || {
        let Ok(message) = messages.recv() else {
            return;
        };
        let panic = caught(|| callback(&message)).err();
        // The election may have ended by a panic of its own; then nobody listens.
        returned.returned(wrap(panic));
    })?;
    Ok(sender)
}

/// Threads that can't be started, for tests.
#[cfg(test)]
mod refusal {
    use super::Error;
    use parking_lot::Mutex;
    use std::cell::RefCell;
    use std::sync::Arc;

    type Refused = Arc<Mutex<Option<&'static str>>>;

    thread_local! {
        /// The same for a thread and all that descend from it.
        static REFUSED: RefCell<Refused> = RefCell::default();
    }

    /// From now on this thread and its descendants can start no thread of this name.
    pub(crate) fn refuse(name: Option<&'static str>) {
        REFUSED.with_borrow(|refused| *refused.lock() = name);
    }

    pub(super) fn of_children<F: FnOnce()>(
        name: &'static str,
        body: F,
    ) -> Result<impl FnOnce() + use<F>, Error> {
        let refused = REFUSED.with_borrow(Arc::clone);
        if *refused.lock() == Some(name) {
            return Err(Error::Thread { name, source: std::io::ErrorKind::WouldBlock.into() });
        }
        Ok(move || {
            REFUSED.set(refused);
            body();
        })
    }
}
