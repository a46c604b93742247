//! How long something took, many times: counts in fixed buckets, as `/metrics` shows them.

use std::time::Duration;

/// A histogram of durations, 50 us to 5 s. Plain numbers: adding allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By bucket of [`BOUNDS_US`], not cumulative; the last one is what is longer than all of them.
    counts: [u64; BUCKETS],
    /// All durations together, in microseconds.
    sum_us: u64,
}

impl Durations {
    /// How many numbers [`figures`](Self::figures) has.
    pub const FIGURES: usize = BUCKETS + 1;

    /// Counts `took`, `times` times.
    pub fn add(&mut self, took: Duration, times: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += times;
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// The counts by bucket, then the sum: for who publishes numbers.
    pub fn figures(&self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().chain([self.sum_us])
    }

    /// What [`figures`](Self::figures) was made of; missing numbers count as 0.
    pub fn of_figures(figures: impl IntoIterator<Item = u64>) -> Self {
        let mut figures = figures.into_iter();
        let counts = std::array::from_fn(|_| figures.next().unwrap_or(0));
        let sum_us = figures.next().unwrap_or(0);
        Self { counts, sum_us }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Each bucket's upper bound in seconds with its count; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
        bounds.chain([f64::INFINITY]).zip(self.counts)
    }
}

/// Upper bounds: fine where a packet's way through the server is, coarse where joins are.
const BOUNDS_US: [u64; 15] = [
    50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let mut durations = Durations::default();
        durations.add(Duration::from_micros(50), 2);
        durations.add(Duration::from_micros(51), 1);
        durations.add(Duration::from_secs(9), 1);
        let counted: Vec<_> = durations
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [(50e-6, 2), (100e-6, 1), (f64::INFINITY, 1)]);
        assert_eq!(durations.count(), 4);
        assert!((durations.sum_s() - 9.000_151).abs() < 1e-9);
        let mut twice = Durations::of_figures(durations.figures());
        assert_eq!(twice, durations);
        twice.merge(&durations);
        assert_eq!(twice.count(), 8);
    }
}
