//! Random numbers from a seed: the same on every machine and in every version of a dependency.

/// SplitMix64: small, fast, and good enough to choose faults with.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`; seeds that are close give sequences that are not.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        rng.0 = rng.next();
        rng
    }

    /// Another sequence, so that what is drawn from it does not move what is drawn from this one.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or zero where that is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high);
        low + self.below(high - low + 1)
    }

    /// A number from `low` (at least 1) to `high`, where each doubling is as likely as another: the
    /// short ones are often, the long ones sometimes.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(0 < low && low <= high);
        let doublings = u64::from((high / low).ilog2());
        let least = low << self.below(doublings + 1);
        self.between(least, (least * 2 - 1).min(high).max(least))
    }

    /// Yes, so many times out of a thousand.
    pub fn chance(&mut self, of_a_thousand: u64) -> bool {
        self.below(1000) < of_a_thousand
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_both() {
        let mut rng = Rng::new(1);
        let mut drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 7)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [3, 4, 5, 6, 7]);
        assert!((0..1000).all(|_| (5..=1000).contains(&rng.spread(5, 1000))));
        assert!((0..1000).any(|_| rng.spread(5, 1000) < 10));
        assert!((0..1000).any(|_| rng.spread(5, 1000) > 640));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(42);
        assert_eq!(rng.next(), Rng::new(42).next());
        assert_eq!([rng.next(), rng.next()], [SECOND_OF_42, THIRD_OF_42]);
    }

    const SECOND_OF_42: u64 = 17_630_415_256_238_047_317;
    const THIRD_OF_42: u64 = 8_971_565_426_155_258_802;
}
