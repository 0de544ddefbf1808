//! How much a lane applies in one destination transaction.
//!
//! A lane that is near the head takes little, so that a change is visible soon. One that is far behind has nobody
//! who waits for a single change: it takes more, since each commit costs the destination a wait for its disk, but
//! never so much that it holds the destination's locks for longer than people bear.

use crate::journal::ReadLimit;
use std::time::Duration;
use tandem_core::Seq;

/// What is applied at once near the head.
const NEAR: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20, through: Seq(u64::MAX) };

/// The most, as a multiple of that: beyond it the destination gains nothing and we need more memory.
const TIMES_MAX: usize = 8;

/// A transaction that took longer is followed by a smaller one.
const LONGEST: Duration = Duration::from_millis(500);

/// The pace of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    times: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { times: 1 }
    }
}

impl Pace {
    /// How much the next piece may hold, up to `through`.
    pub(super) fn limit(self, through: Seq) -> ReadLimit {
        ReadLimit { records: NEAR.records * self.times, bytes: NEAR.bytes * self.times as u64, through }
    }

    /// Notes how long the last transaction took, and whether there was more to read behind it.
    pub(super) fn applied(&mut self, behind: bool, took: Duration) {
        self.times = match behind {
            false => 1,
            true if took > LONGEST => (self.times / 2).max(1),
            // Twice as much must still be short enough.
            true if took < LONGEST / 2 => (self.times * 2).min(TIMES_MAX),
            true => self.times,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of the piece that follows transactions which took so many milliseconds.
    fn check(took: &[u64], records: usize) {
        let mut pace = Pace::default();
        took.iter().for_each(|ms| pace.applied(true, Duration::from_millis(*ms)));
        assert_eq!(pace.limit(Seq(9)).records, records, "{took:?}");
    }

    #[test]
    fn a_lane_that_is_behind_takes_more_as_long_as_transactions_stay_short() {
        check(&[], 1_000);
        check(&[10, 20], 4_000);
        check(&[10; 20], 8_000);
        check(&[10, 10, 300], 4_000);
        check(&[10, 10, 10, 501, 501], 2_000);
        check(&[9_000; 5], 1_000);
    }

    #[test]
    fn a_lane_that_has_met_the_head_takes_little_again() {
        let mut pace = Pace { times: 8 };
        pace.applied(false, Duration::ZERO);
        assert_eq!(pace, Pace::default());
    }
}
