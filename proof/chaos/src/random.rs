//! Chance that can be had again: everything random in a run comes from its seed.

use std::time::Duration;

/// A generator (xorshift64*), good enough to pick victims.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x9E37_79B9_7F4A_7C15 | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    /// A generator of its own for one of several users.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From `low` to below `high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + (self.next() >> 11) % (high - low).max(1)
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.within(0, 100) < percent
    }

    /// A time between two, in milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.within(low, high))
    }

    /// In another order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.within(0, last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}
