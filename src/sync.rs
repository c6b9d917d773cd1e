//! What threads meet by: channels, locks, atomics, and the threads themselves.
//!
//! With `--cfg shuttle` these are shuttle's, so that a test decides how the threads interleave.
//! This file must not know what anybody waits for.

#[cfg(not(shuttle))]
pub(crate) use crossbeam_channel as channel;
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, RwLock};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};

#[cfg(shuttle)]
mod shuttled;
#[cfg(shuttle)]
pub(crate) use shuttled::{AtomicBool, AtomicU64, Mutex, RwLock, start_thread};
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
