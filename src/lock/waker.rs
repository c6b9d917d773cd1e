//! What a lock calls when its record may have changed.
//!
//! This file must not know who is woken.

use std::fmt;
use std::sync::Arc;

/// Wakes the candidate that waits for a lock. Clones wake the same one.
///
/// An elector hands one of these to its lock: see [`Lock::wake_with`].
///
/// [`Lock::wake_with`]: crate::Lock::wake_with
#[derive(Clone)]
pub struct Waker(Arc<dyn Wake>);

/// Who is woken.
pub(crate) trait Wake: Send + Sync {
    /// As [`Waker::wake`].
    fn wake(&self) -> bool;

    /// As [`Waker::wake_here`].
    fn wake_here(&self) -> Option<Chore> {
        self.wake();
        None
    }
}

/// What is to be done next. It may take as long as any call of a lock.
pub(crate) type Chore = Box<dyn FnOnce() + Send>;

impl<F: Fn() -> bool + Send + Sync> Wake for F {
    fn wake(&self) -> bool {
        self()
    }
}

impl Waker {
    /// One that calls `wake`, which must not block, and says whether anybody still listens.
    pub fn new(wake: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::of(wake)
    }

    pub(crate) fn of(wake: impl Wake + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Says that the record may have changed. Never blocks. `false` means that nobody listens any
    /// more: forget this waker.
    pub fn wake(&self) -> bool {
        self.0.wake()
    }

    /// The same for a thread that has the time to do what is to be done next, in place of a thread
    /// that would have to be woken for it. It must do it.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing has events there"))]
    pub(crate) fn wake_here(&self) -> Option<Chore> {
        self.0.wake_here()
    }

    /// Whether both wake the same.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing has events there"))]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker { .. }")
    }
}
