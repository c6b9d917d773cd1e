//! The lock threads: all I/O of the elections. Any call may hang here as long as it likes.
//!
//! Locks wait in one queue for whichever thread is free, so a call that hangs keeps its own lock
//! and its thread, and nothing else. This file must not know what an answer means.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::elector::desk::Desk;
use crate::elector::inbox::Input;
use crate::elector::threads::start;
use crate::error::Error;
use crate::sync::{Condvar, Mutex};

/// Threads that share the work of any number of locks. They end when the last clone of this is
/// gone and nothing is left to be done.
#[derive(Clone)]
pub(super) struct LockThreads(Arc<Crew>);

struct Crew(Arc<Queue>);

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The desks at which there is something to be done, first come, first served.
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Threads that stay when there is nothing to do.
    regular: usize,
    /// Answers that may wait until the election thread looks.
    tray: Mutex<Vec<Input>>,
}

#[derive(Default)]
struct State {
    desks: VecDeque<Arc<Desk>>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// One of those has been woken and has not looked yet.
    waking: bool,
    /// How many desks have been taken from the queue so far.
    taken: u64,
    /// Threads that seem to hang: they took none of the later ones than this.
    hung: usize,
    hung_since: u64,
    closed: bool,
}

impl State {
    fn active(&self) -> usize {
        self.threads - self.idle
    }
}

/// What the lock threads are at.
pub(super) struct Load {
    /// Locks wait, and so many have been taken so far: if that number stands, all threads hang.
    pub(super) backlog: Option<u64>,
    /// Something is in the tray, or may be soon.
    pub(super) busy: bool,
}

/// How a desk wants to go on.
pub(super) struct Served {
    pub(super) again: bool,
    /// It took so long that another thread would be of use.
    pub(super) slow: bool,
}

impl LockThreads {
    /// Starts one thread; others, up to `regular`, when calls are slow; and as many again when all
    /// of them hang.
    pub(super) fn start(regular: usize) -> Result<Self, Error> {
        let (state, ready, tray) = (Mutex::default(), Condvar::default(), Mutex::default());
        let threads = Self(Arc::new(Crew(Arc::new(Queue { state, ready, regular, tray }))));
        threads.0.0.add()?;
        Ok(threads)
    }

    /// Has a free thread look at `desk`; `false` where there is no thread at all.
    pub(super) fn call(&self, desk: &Arc<Desk>) -> bool {
        self.0.0.push(desk)
    }

    /// How many locks wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.0.state.lock().desks.len()
    }

    pub(super) fn load(&self) -> Load {
        let state = self.0.0.state.lock();
        let backlog = (!state.desks.is_empty()).then_some(state.taken);
        let active = state.active() > 0;
        drop(state);
        // In this order: a thread lays down its answer before it is idle.
        let busy = active || backlog.is_some() || !self.0.0.tray.lock().is_empty();
        Load { backlog, busy }
    }

    /// Whether a lock waits for a thread that may hang. Then somebody has to look after it.
    pub(super) fn may_hang(&self) -> bool {
        let state = self.0.0.state.lock();
        // A single one is taken by the idle thread that was woken for it.
        !state.desks.is_empty() && (state.active() > 0 || state.desks.len() > 1)
    }

    /// Has another thread help those that are at work: all of them hang.
    pub(super) fn help(&self) {
        let mut state = self.0.0.state.lock();
        (state.hung, state.hung_since) = (state.active(), state.taken);
        drop(state);
        self.0.0.help(self.0.0.regular * 2);
    }

    /// Lays down an answer that may wait.
    pub(super) fn lay_down(&self, input: Input) {
        self.0.0.tray.lock().push(input);
    }

    /// Takes the answers, in exchange for an empty tray.
    pub(super) fn take_tray(&self, tray: &mut Vec<Input>) {
        std::mem::swap(&mut *self.0.0.tray.lock(), tray);
    }
}

/// A thread of the queue, for as long as it is counted there.
struct Present(Option<Arc<Queue>>);

impl Present {
    fn serve(mut self) {
        if let Some(queue) = &self.0 {
            queue.serve();
        }
        // It has not been counted since it was told to leave.
        self.0 = None;
    }
}

/// It was never started, or has panicked.
impl Drop for Present {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            let mut state = queue.state.lock();
            state.threads -= 1;
            // Somebody may have relied on it.
            if !state.desks.is_empty() {
                queue.wake_one(&mut state);
            }
        }
    }
}

impl Queue {
    fn push(&self, desk: &Arc<Desk>) -> bool {
        let mut state = self.state.lock();
        state.desks.push_back(Arc::clone(desk));
        // A thread that is at work takes this, too: calls are short as a rule.
        if state.active() <= state.hung {
            self.wake_one(&mut state);
        }
        state.threads > 0
    }

    /// Has one more thread work on what waits, if there may be so many.
    fn help(self: &Arc<Self>, most: usize) {
        let mut state = self.state.lock();
        if state.desks.is_empty() || state.waking {
            return;
        }
        if !self.wake_one(&mut state) && state.threads < most {
            drop(state);
            // Those that there are do the work, if slower.
            let _ = self.add();
        }
    }

    /// Wakes a thread; `false` where none is idle.
    fn wake_one(&self, state: &mut State) -> bool {
        let idle = state.idle > 0;
        if idle && !state.waking {
            state.waking = true;
            self.ready.notify_one();
        }
        idle
    }

    fn add(self: &Arc<Self>) -> Result<(), Error> {
        self.state.lock().threads += 1;
        // Counts the thread out also if it is never started.
        let present = Present(Some(Arc::clone(self)));
        start("lock", move || present.serve())
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }

    fn serve(self: &Arc<Self>) {
        let mut served = None;
        while let Some((desk, number)) = self.next(served) {
            let Served { again, slow } = desk.serve();
            served = Some(number);
            if again {
                self.push(&desk);
            }
            if slow {
                self.help(self.regular);
            }
        }
    }

    /// The next desk and its number, for a thread that comes back from the one of number `served`;
    /// `None` when the thread is of no use any more.
    fn next(&self, served: Option<u64>) -> Option<(Arc<Desk>, u64)> {
        let mut state = self.state.lock();
        // Not before: it would still be taken to be at work, and perhaps to hang.
        if served.is_some_and(|number| number <= state.hung_since) {
            state.hung = state.hung.saturating_sub(1);
        }
        loop {
            if let Some(desk) = state.desks.pop_front() {
                state.taken += 1;
                return Some((desk, state.taken));
            }
            if state.closed || state.threads.saturating_sub(state.hung) > self.regular {
                // At once, so that nobody relies on it.
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            if state.active() == 0 {
                state.hung = 0;
            }
            state = self.ready.wait(state);
            state.idle -= 1;
            state.waking = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_was_taken_to_hang_is_at_work_until_it_comes_for_the_next() {
        let state = State { threads: 3, hung: 1, hung_since: 5, closed: true, ..State::default() };
        let (ready, tray) = (Condvar::default(), Mutex::default());
        let queue = Queue { state: Mutex::new(state), ready, regular: 1, tray };
        for (served, hung) in [(None, 1), (Some(6), 1), (Some(5), 0)] {
            assert!(queue.next(served).is_none());
            assert_eq!(queue.state.lock().hung, hung, "after {served:?}");
        }
    }
}
