//! What a lock calls when its record may have changed, in place of a channel of its own.
//!
//! This file must not know who is woken.

use std::fmt;
use std::sync::Arc;

/// Wakes the candidate that waits for a lock. Clones wake the same one.
///
/// A process with thousands of elections can't wait for as many channels, so an
/// [`ElectorPool`](crate::ElectorPool) hands each lock one of these: see [`Lock::wake_with`].
///
/// [`Lock::wake_with`]: crate::Lock::wake_with
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() -> bool + Send + Sync>);

impl Waker {
    /// One that calls `wake`, which must not block, and says whether anybody still listens.
    pub fn new(wake: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Says that the record may have changed. Never blocks. `false` means that nobody listens any
    /// more: forget this waker.
    pub fn wake(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker { .. }")
    }
}
