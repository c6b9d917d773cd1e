//! Shuttle's locks, atomics and threads in the shape of those that they stand for, and ways to
//! break them on purpose.

use std::cell::Cell;
use std::io;
use std::sync::PoisonError;

pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::Ordering;

pub mod channel;

/// A primitive that is broken on purpose: a test of interleavings must find that out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A compare-and-swap that compares, and swaps some turns later.
    TornExchange,
    /// The last sender of a channel goes, and who waits there is not woken.
    SilentDisconnect,
    /// Who waits looks first and says only then that it waits.
    LateRegistration,
    /// A channel that takes one message in eight and forgets it.
    ForgetfulChannel,
    /// Who has had an election take a step tells its thread nothing of that.
    SilentVisit,
}

thread_local! {
    // All of an execution is on one thread of the system.
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    static REFUSALS: Cell<u32> = const { Cell::new(0) };
}

/// Runs `body`, and all executions that it starts, with a broken primitive.
pub fn with_mutant<T>(mutant: Mutant, body: impl FnOnce() -> T) -> T {
    struct Mended;
    impl Drop for Mended {
        fn drop(&mut self) {
            MUTANT.set(None);
        }
    }
    MUTANT.set(Some(mutant));
    let _mended = Mended;
    body()
}

pub(crate) fn is_broken(mutant: Mutant) -> bool {
    MUTANT.get() == Some(mutant)
}

/// Sixty-four bits of the schedule's random numbers, which are replayed with it.
pub fn random() -> u64 {
    use shuttle::rand::RngCore;
    shuttle::rand::thread_rng().next_u64()
}

/// From now on, every one in `share` threads can't be started; none is refused with zero.
pub fn refuse_threads(share: u32) {
    REFUSALS.set(share);
}

/// As in an ordinary build nobody joins the thread, but an execution ends only when it has.
pub(crate) fn start_thread(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let share = u64::from(REFUSALS.get());
    if share > 0 && random().is_multiple_of(share) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    shuttle::thread::Builder::new().name(name).spawn(body).map(std::mem::forget)
}

/// As parking_lot's: without poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As parking_lot's: without poison.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(crate) struct AtomicU64(shuttle::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(shuttle::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_sub(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        if is_broken(Mutant::TornExchange) {
            let found = self.0.load(failure);
            if found != old {
                return Err(found);
            }
            (0..random() % 16).for_each(|_| shuttle::thread::yield_now());
            self.0.store(new, success);
            return Ok(old);
        }
        self.0.compare_exchange(old, new, success, failure)
    }
}
