//! How long something takes, as a histogram: two additions for each time, and nobody waits for anybody.
//!
//! The bounds are the same for everything that is measured, so that whoever sums over streams sums the same buckets. A look
//! while something is being noted may have its time in the sum and not yet in a bucket, or the other way round; the count is
//! the sum of the buckets, and never differs from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many bounded buckets a [`Histogram`] has; behind them is one for all that took longer.
pub const BUCKETS: usize = 16;

/// The longest that counts for each bucket: from an fsync of a fast disk to a destination that is hardly alive.
pub const BUCKET_BOUNDS: [Duration; BUCKETS] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How often something took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Times within each of [`BUCKET_BOUNDS`] and beyond the one before, and at the end those beyond all of them.
    pub counts: [u64; BUCKETS + 1],
    /// All of it together.
    pub sum: Duration,
}

/// Where durations are noted, by whoever and from whatever thread.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    counts: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

impl Durations {
    /// It took so long once.
    pub(crate) fn note(&self, took: Duration) {
        let bucket = BUCKET_BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was noted so far.
    pub(crate) fn seen(&self) -> Histogram {
        Histogram {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_within_it() {
        let durations = Durations::default();
        let noted = [0, 100, 101, 1_000, 10_000_000, 10_000_001, 90_000_000].map(Duration::from_micros);
        noted.iter().for_each(|took| durations.note(*took));
        let seen = durations.seen();
        let mut counts = [0; BUCKETS + 1];
        for (bucket, times) in [(0, 2), (1, 1), (3, 1), (BUCKETS - 1, 1), (BUCKETS, 2)] {
            counts[bucket] = times;
        }
        assert_eq!(seen, Histogram { counts, sum: noted.iter().sum() });
    }

    #[test]
    fn bounds_rise() {
        assert!(BUCKET_BOUNDS.is_sorted_by(|one, next| one < next));
    }
}
