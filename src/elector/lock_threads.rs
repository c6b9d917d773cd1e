//! The lock threads: all I/O of the elections. Any call may hang here as long as it likes.
//!
//! Locks wait in one queue for whichever thread is free, so a call that hangs keeps its own lock
//! and its thread, and nothing else. This file must not know what an answer means.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::elector::desk::Desk;
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
    /// So many threads are started when there is work for them.
    regular: usize,
}

#[derive(Default)]
struct State {
    desks: VecDeque<Arc<Desk>>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// One of those has been woken and has not looked yet: it wakes the next if need be.
    waking: bool,
    /// How many desks have been taken from the queue so far.
    taken: u64,
    closed: bool,
}

impl State {
    fn must_wake(&mut self) -> bool {
        let wake = !self.desks.is_empty() && self.idle > 0 && !self.waking;
        self.waking |= wake;
        wake
    }
}

impl LockThreads {
    /// Starts one thread, and later up to `regular` of them.
    pub(super) fn start(regular: usize) -> Result<Self, Error> {
        let queue = Queue { state: Mutex::default(), ready: Condvar::default(), regular };
        let threads = Self(Arc::new(Crew(Arc::new(queue))));
        threads.add()?;
        Ok(threads)
    }

    /// Has a free thread look at `desk`; `false` where there is no thread at all.
    pub(super) fn call(&self, desk: &Arc<Desk>) -> bool {
        let is_short_of_threads = self.0.0.push(desk);
        if is_short_of_threads {
            // Those that there are do the work, if slower.
            let _ = self.add();
        }
        self.0.0.state.lock().threads > 0
    }

    /// Whether locks wait, and how many have been taken so far: if that number stands, all threads
    /// hang.
    pub(super) fn backlog(&self) -> Option<u64> {
        let state = self.0.0.state.lock();
        (!state.desks.is_empty()).then_some(state.taken)
    }

    /// Starts a thread beyond the regular ones, of which there may be as many again.
    pub(super) fn add_spare(&self) {
        let threads = self.0.0.state.lock().threads;
        if threads < self.0.0.regular * 2 {
            let _ = self.add();
        }
    }

    fn add(&self) -> Result<(), Error> {
        let queue = Arc::clone(&self.0.0);
        queue.state.lock().threads += 1;
        // Counts the thread out also if it is never started.
        let present = Present(queue);
        start("lock", move || present.0.serve())
    }
}

/// A thread of the queue, for as long as it is there.
struct Present(Arc<Queue>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.state.lock().threads -= 1;
    }
}

impl Queue {
    /// Says whether another thread would be of use.
    fn push(&self, desk: &Arc<Desk>) -> bool {
        let mut state = self.state.lock();
        state.desks.push_back(Arc::clone(desk));
        if state.must_wake() {
            self.ready.notify_one();
        }
        state.idle == 0 && state.threads < self.regular
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }

    fn serve(&self) {
        while let Some(desk) = self.next() {
            if desk.serve() {
                self.push(&desk);
            }
        }
    }

    /// The next desk; `None` when the thread is of no use any more.
    fn next(&self) -> Option<Arc<Desk>> {
        let mut state = self.state.lock();
        loop {
            if let Some(desk) = state.desks.pop_front() {
                state.taken += 1;
                if state.must_wake() {
                    self.ready.notify_one();
                }
                return Some(desk);
            }
            if state.closed || state.threads > self.regular {
                return None;
            }
            state.idle += 1;
            state = self.ready.wait(state);
            state.idle -= 1;
            state.waking = false;
        }
    }
}
