//! How many elections of a pool have not ended.
//!
//! It must not know how they end.

use crate::sync::{AtomicU64, Ordering};

/// Nobody counts any more, for the election thread is gone.
const GONE: u64 = u64::MAX;

#[derive(Default)]
pub(super) struct Population(AtomicU64);

impl Population {
    /// Counts another one; `false` if nobody would tell of its end.
    pub(super) fn arrive(&self) -> bool {
        self.change(|count| count + 1)
    }

    /// One that was counted has ended.
    pub(super) fn leave(&self) {
        self.change(|count| count.saturating_sub(1));
    }

    /// All that were counted have ended, and no other can begin.
    pub(super) fn give_up(&self) {
        self.0.store(GONE, Ordering::SeqCst);
    }

    pub(super) fn count(&self) -> usize {
        match self.0.load(Ordering::SeqCst) {
            GONE => 0,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }

    fn change(&self, change: impl Fn(u64) -> u64) -> bool {
        let mut count = self.0.load(Ordering::SeqCst);
        while count != GONE {
            let changed = change(count);
            match self.0.compare_exchange(count, changed, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(found) => count = found,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_or_begins_after_the_count_has_ended_is_not_counted() {
        let population = Population::default();
        assert!(population.arrive() && population.arrive());
        population.leave();
        assert_eq!(population.count(), 1);
        population.give_up();
        population.leave();
        assert!(!population.arrive());
        assert_eq!(population.count(), 0);
    }
}
