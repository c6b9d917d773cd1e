//! The guards of a candidate's terms, one after the other; each is started before its term.
//!
//! To start one takes as long as to win the lock. So it is done beside that, and a candidate that
//! waits, perhaps for days, has its guard wait too: a process that sleeps, with some 170 kB of its
//! own.
//! This file must not know when a term begins or ends.

use std::io;
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use crate::child::{Guarded, Plan, Spare};
use crate::control::Order;
use crate::names::Names;

/// A guard that has said its last word needs some hundred microseconds to be gone, but it may be
/// frozen just then.
const LONGEST_LEAVE: Duration = Duration::from_secs(1);

/// Makes guards, and keeps one in hand.
#[derive(Debug)]
pub struct Guards {
    plan: Plan,
    spare: Mutex<Option<Spare>>,
    /// Disconnects when the last one is gone.
    leaving: Mutex<Option<Receiver<()>>>,
}

impl Guards {
    /// Starts none yet.
    pub fn new(plan: Plan) -> Self {
        Self { plan, spare: Mutex::default(), leaving: Mutex::default() }
    }

    /// What each of them does.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts one for the next term, unless there is one.
    pub fn prepare(&self) {
        let mut spare = self.spare.lock();
        if spare.is_none() {
            // What is in the way of it may be gone when the term begins, and is told then.
            *spare = Spare::start(&self.plan).ok();
        }
    }

    /// Runs COMMAND in a term, by the order to begin it.
    pub fn begin(&self, begin: Order, names: &Names) -> io::Result<Guarded> {
        let spare = self.spare.lock().take();
        // One that was killed while it waited can't, and has run nothing.
        let begun = spare.and_then(|spare| spare.begin(begin, names).ok());
        let guarded = match begun {
            Some(guarded) => guarded,
            None => Spare::start(&self.plan)?.begin(begin, names)?,
        };
        *self.leaving.lock() = Some(guarded.gone().clone());
        Ok(guarded)
    }

    /// Waits, but not long, until the guard of a term that is over is gone.
    pub fn wait_for_leaving(&self) {
        if let Some(gone) = self.leaving.lock().take() {
            let _ = gone.recv_timeout(LONGEST_LEAVE);
        }
    }

    /// Ends the one in hand: there will be no more terms.
    pub fn dismiss(&self) {
        if let Some(spare) = self.spare.lock().take() {
            spare.dismiss();
        }
    }
}

/// Where there never was a term: the lock can't be used, say.
impl Drop for Guards {
    fn drop(&mut self) {
        self.dismiss();
    }
}
