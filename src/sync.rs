//! What threads meet by: channels, locks, atomics, and the threads themselves.
//!
//! With `--cfg shuttle` these are shuttle's, so that a test decides how the threads interleave.
//! This file must not know what anybody waits for.

#[cfg(not(shuttle))]
pub(crate) use crossbeam_channel as channel;
#[cfg(not(shuttle))]
use parking_lot::MutexGuard;
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, RwLock};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};

#[cfg(shuttle)]
mod shuttled;
#[cfg(shuttle)]
pub(crate) use shuttled::{AtomicBool, AtomicU64, Condvar, Mutex, RwLock, is_broken, start_thread};
#[cfg(shuttle)]
pub use shuttled::{Mutant, channel, random, refuse_threads, with_mutant};

/// Starts a thread that nobody joins: its end is told by a channel, if at all.
#[cfg(not(shuttle))]
pub(crate) fn start_thread(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new().name(name).spawn(body).map(drop)
}

/// Where threads wait for a change of what a mutex guards.
#[cfg(not(shuttle))]
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

#[cfg(not(shuttle))]
impl Condvar {
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
