//! What threads meet by: channels, locks, atomics, and the threads themselves.
//!
//! With `--cfg shuttle` these are shuttle's, so that a test decides how the threads interleave.
//! This file must not know what for anybody waits.

#[cfg(not(shuttle))]
pub(crate) use crossbeam_channel as channel;
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, RwLock};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(shuttle))]
pub(crate) use std::thread;
