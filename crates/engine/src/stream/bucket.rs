//! A cap on how many records a second a lane applies, for a destination that people are back on.
//!
//! What was applied is a debt that time pays: the next piece waits until it is paid. So the average is kept whatever
//! the pieces are, and nothing is saved up while there is nothing to do: a lane that stood still does not make up
//! for it by a flood. A source transaction is never torn for the cap, and never held open for it either, for its
//! locks would be: a large one is applied at once and paid afterwards, up to a bound, so that one import does not
//! stop a catch-up for a day.
//!
//! Who waits is the lane itself, for a time or for another order, whichever is first: a pause takes effect at once.

use std::num::NonZeroU32;
use std::time::Duration;

/// What is applied at once, as the time that it takes to be paid: small enough that people at the destination feel
/// a stream and not waves.
const AT_ONCE: Duration = Duration::from_millis(250);
/// The longest that anything is paid for.
const DEBT_MAX: Duration = Duration::from_secs(600);

/// The debt of one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    paid_at: Duration,
}

impl Bucket {
    /// How long is to be waited before more may be applied; `None` if it may be now.
    pub(super) fn wait(self, now: Duration) -> Option<Duration> {
        self.paid_at.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Notes that so many records are applied from now on. A wait that was a little too long is made up for.
    pub(super) fn take(&mut self, records: usize, cap: NonZeroU32, now: Duration) {
        let nanos = records as u128 * 1_000_000_000 / u128::from(cap.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let begins = self.paid_at.max(now.saturating_sub(AT_ONCE));
        self.paid_at = begins.saturating_add(cost).min(now + DEBT_MAX);
    }
}

/// How many records may be applied at once under a cap; a source transaction that has more is applied all the same.
pub(super) fn at_once(cap: NonZeroU32) -> usize {
    (u128::from(cap.get()) * AT_ONCE.as_millis() / 1_000).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records are applied in so many seconds out of transactions of that size, each taking so long.
    fn applied(cap: u32, seconds: u64, transaction: usize, takes: Duration) -> usize {
        let cap = NonZeroU32::new(cap).unwrap();
        let (mut bucket, mut now, mut records) = (Bucket::default(), Duration::from_secs(1_000), 0);
        let end = now + Duration::from_secs(seconds);
        while now < end {
            match bucket.wait(now) {
                Some(wait) => now += wait,
                None => {
                    let piece = (at_once(cap) / transaction).max(1) * transaction;
                    bucket.take(piece, cap, now);
                    records += piece;
                    now += takes;
                }
            }
        }
        records
    }

    #[test]
    fn on_average_no_more_is_applied_than_the_cap_says() {
        let instant = Duration::ZERO;
        // cap, seconds, transaction, takes → applied, with what is applied at once at the beginning
        for (cap, seconds, transaction, takes, expected) in [
            (100, 10, 1, instant, 1_000..=1_050),
            (1, 60, 1, instant, 60..=61),
            (1_000, 10, 10, Duration::from_millis(100), 9_900..=10_500),
            (5, 1_000, 1_000, instant, 5_000..=6_000),
            // A destination that is slower than the cap is what counts.
            (1_000_000, 10, 1, Duration::from_secs(1), 2_500_000..=2_500_000),
        ] {
            let seen = applied(cap, seconds, transaction, takes);
            assert!(
                expected.contains(&seen),
                "{cap}/s for {seconds} s in transactions of {transaction}: {seen}"
            );
        }
    }

    #[test]
    fn nothing_is_saved_up_and_no_debt_lasts_for_ever() {
        let cap = NonZeroU32::new(10).unwrap();
        let (mut bucket, now) = (Bucket::default(), Duration::from_secs(5_000));
        bucket.take(10, cap, now);
        assert_eq!(
            bucket.wait(now),
            Some(Duration::from_millis(750)),
            "an hour without work is worth nothing"
        );
        bucket.take(1_000_000, cap, now);
        assert_eq!(bucket.wait(now), Some(DEBT_MAX));
    }

    #[test]
    fn what_is_applied_at_once_is_a_quarter_of_a_second() {
        let caps = [1, 7, 8, 1_000, u32::MAX].map(|cap| at_once(NonZeroU32::new(cap).unwrap()));
        assert_eq!(caps, [1, 1, 2, 250, 1_073_741_823]);
    }
}
