//! How fast something grows, from a counter that is looked at now and then.

use crate::WallTime;
use std::time::Duration;

/// How long a change of pace takes to show: about two thirds of it after this time.
const MEMORY: Duration = Duration::from_secs(30);
/// Samples closer together than this are taken as one: in a millisecond there is either nothing or a burst.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A smoothed rate in bytes per second, out of samples of a total that rises. Keeps one sample, whatever it is fed.
///
/// It must be fed while nothing comes as well: a rate that nobody tells of silence stays what it was. A total that
/// fell (its owner was started again) and a clock that was set back begin a new measurement; the rate stays.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ArrivalRate {
    last: Option<(WallTime, u64)>,
    per_second: Option<f64>,
}

impl ArrivalRate {
    /// Takes in that `total` bytes have come by `now`.
    pub fn observe(&mut self, now: WallTime, total: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, total));
            return;
        };
        if total < before || now < then {
            self.last = Some((now, total));
            return;
        }
        let passed = now.since(then);
        if passed < INTERVAL_MIN {
            return;
        }
        let rate = (total - before) as f64 / passed.as_secs_f64();
        let weight = passed.as_secs_f64() / (passed + MEMORY).as_secs_f64();
        self.per_second = Some(match self.per_second {
            None => rate,
            Some(smooth) => smooth + (rate - smooth) * weight,
        });
        self.last = Some((now, total));
    }

    /// Bytes per second, rounded; zero until two samples have told.
    pub fn bytes_per_second(&self) -> u64 {
        // Never negative, and a cast of a float that is too large ends at the largest number.
        self.per_second.unwrap_or(0.0).round() as u64
    }
}
