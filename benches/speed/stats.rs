//! What a series of measurements says: how many, the least, the median, the 99th percentile.

/// Measurements in nanoseconds (or whatever else the unit of a row says).
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// `rounds` measurements by `measure`.
    pub fn of(rounds: usize, mut measure: impl FnMut() -> u64) -> Self {
        (0..rounds).map(|_| measure() as f64).collect()
    }

    /// As [`Series::of`] for what is too short for the clock: each measurement is the mean of
    /// `batch` calls in a row.
    pub fn of_batches(rounds: usize, batch: u32, mut call: impl FnMut()) -> Self {
        (0..rounds)
            .map(|_| {
                let span = crate::clock::time(|| (0..batch).for_each(|_| call()));
                span as f64 / f64::from(batch)
            })
            .collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The nearest rank: one that was measured, never a mean of two.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}
