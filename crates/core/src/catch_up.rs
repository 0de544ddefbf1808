//! How a catch-up gets on: how fast its queue is applied, how fast more comes, and when it will be done.
//!
//! Everything follows from two numbers that are exact whenever they are looked at: how many records were settled
//! so far, and how many are left. What arrived is the difference that settling does not explain. So nothing is
//! counted twice, no clock of an app plays a part, and a rate that nobody fed for a while is simply an average over
//! a longer time.
//!
//! Rates are taken over a short window, so that they follow a destination that slows down; whether the queue
//! shrinks at all is judged over a longer one, so that a burst is not called a trouble.

use crate::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// What rates are taken over.
const RATE_SPAN: Duration = Duration::from_secs(15);
/// How long more must have come than was applied before it is said that the queue does not shrink.
pub const OUTRUN_SPAN: Duration = Duration::from_secs(60);
/// Looks closer together than this are taken as one.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Records per second, to the thousandth, so that two of them can be compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rate {
    thousandths: u64,
}

impl Rate {
    /// So many records in that time; `None` in no time.
    pub fn of(records: u64, time: Duration) -> Option<Self> {
        let thousandths = u128::from(records) * 1_000_000_000_000;
        let thousandths = thousandths.checked_div(time.as_nanos())?;
        Some(Self { thousandths: u64::try_from(thousandths).unwrap_or(u64::MAX) })
    }

    /// As a number of records per second.
    pub fn per_second(self) -> f64 {
        self.thousandths as f64 / 1_000.0
    }

    /// How long so many records take; `None` if for ever.
    fn time_for(self, records: u64) -> Option<Duration> {
        let micros = (u128::from(records) * 1_000_000_000).checked_div(u128::from(self.thousandths))?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

/// As people read it: with a decimal while it is small.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thousandths {
            0..100_000 => write!(f, "{:.1}/s", self.per_second()),
            _ => write!(f, "{}/s", self.thousandths / 1_000),
        }
    }
}

/// A cap on a catch-up, from the request that asked for it until the map is live. Maps that were resumed by one
/// request share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RateCap {
    /// Records per second, at most.
    pub per_second: NonZeroU32,
    /// When it was asked for: what tells two requests for the same cap apart.
    pub asked_at: WallTime,
}

/// A catch-up that is being watched. Feed it now and then; it keeps a sample a second, for little more than
/// [`OUTRUN_SPAN`].
#[derive(Debug, Clone, Default)]
pub struct CatchUp {
    /// What was settled when it was first looked at.
    settled_before: u64,
    samples: VecDeque<Sample>,
    last: Option<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    settled: u64,
    left: u64,
}

impl Sample {
    /// All that ever was, seen from here.
    fn captured(self) -> u64 {
        self.settled.saturating_add(self.left)
    }
}

/// How a catch-up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records settled since it was first looked at.
    pub applied: u64,
    /// Records left.
    pub left: u64,
    /// How fast they are applied; `None` until there is something to say.
    pub rate: Option<Rate>,
    /// How fast more come.
    pub arrivals: Option<Rate>,
    /// When it will be done at these rates; `None` if never, or if it is not known yet.
    pub eta: Option<Duration>,
    /// Set if it does not come nearer to its end.
    pub outrun: Option<Outrun>,
}

/// More came than was applied, within [`OUTRUN_SPAN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outrun {
    /// Records that came.
    pub arrived: u64,
    /// Records that were applied; more than none: what stands still has another trouble.
    pub applied: u64,
}

impl CatchUp {
    /// Takes in that `settled` records were settled in all by `now`, a time that never goes back, and that `left`
    /// are left. A total that fell (who counts was started again) begins a new measurement.
    pub fn observe(&mut self, now: Duration, settled: u64, left: u64) {
        let sample = Sample { at: now, settled, left };
        if self.last.is_none_or(|last| settled < last.settled) {
            *self = Self { settled_before: settled, samples: VecDeque::new(), last: None };
        }
        self.last = Some(sample);
        if self.samples.back().is_none_or(|last| now.saturating_sub(last.at) >= INTERVAL_MIN) {
            self.samples.push_back(sample);
        }
        // The oldest that is kept is the newest of those that are old enough.
        while self.samples.get(1).is_some_and(|second| now.saturating_sub(second.at) >= OUTRUN_SPAN) {
            self.samples.pop_front();
        }
    }

    /// How it stands, as of the last look.
    pub fn progress(&self) -> Progress {
        let Some(last) = self.last else { return Progress::default() };
        let age = |sample: &&Sample| last.at.saturating_sub(sample.at);
        let recent = self.samples.iter().find(|sample| age(sample) <= RATE_SPAN);
        let recent = recent.filter(|sample| age(sample) >= INTERVAL_MIN);
        let rate = recent.and_then(|then| Rate::of(last.settled - then.settled, age(&then)));
        let arrivals =
            recent.and_then(|then| Rate::of(last.captured().saturating_sub(then.captured()), age(&then)));
        let gain = rate.zip(arrivals).map(|(rate, arrivals)| Rate {
            thousandths: rate.thousandths.saturating_sub(arrivals.thousandths),
        });
        let eta = if last.left == 0 {
            Some(Duration::ZERO)
        } else {
            gain.and_then(|gain| gain.time_for(last.left))
        };
        Progress {
            applied: last.settled.saturating_sub(self.settled_before),
            left: last.left,
            rate,
            arrivals,
            eta,
            outrun: self.outrun(last),
        }
    }

    fn outrun(&self, last: Sample) -> Option<Outrun> {
        let then = self.samples.front().filter(|then| last.at.saturating_sub(then.at) >= OUTRUN_SPAN)?;
        let arrived = last.captured().saturating_sub(then.captured());
        let applied = last.settled.saturating_sub(then.settled);
        (applied > 0 && arrived > applied).then_some(Outrun { arrived, applied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every half second for so long: so many records are there at first, come, and are applied a second.
    fn watch(seconds: u64, queued: u64, arrive: u64, apply: u64) -> CatchUp {
        let mut watched = CatchUp::default();
        for half in 0..=seconds * 2 {
            let (arrived, settled) = (queued + half * arrive / 2, half * apply / 2);
            watched.observe(Duration::from_millis(half * 500), settled, arrived.saturating_sub(settled));
        }
        watched
    }

    #[test]
    fn what_is_left_is_told_by_what_is_applied_and_what_comes() {
        // seconds, queued, arriving, applied → applied, left, rate, arrivals, seconds left
        let table = [
            ((0, 100, 0, 10), (0, 100, None, None, None)),
            ((10, 1_000, 0, 10), (100, 900, Some(10.0), Some(0.0), Some(90))),
            ((10, 1_000, 5, 10), (100, 950, Some(10.0), Some(5.0), Some(190))),
            ((10, 1_000, 10, 10), (100, 1_000, Some(10.0), Some(10.0), None)),
            ((10, 1_000, 20, 10), (100, 1_100, Some(10.0), Some(20.0), None)),
            ((10, 1_000, 0, 0), (0, 1_000, Some(0.0), Some(0.0), None)),
            ((100, 50_000, 0, 500), (50_000, 0, Some(500.0), Some(0.0), Some(0))),
        ];
        for ((seconds, queued, arrive, apply), expected) in table {
            let seen = watch(seconds, queued, arrive, apply).progress();
            let rates = [seen.rate, seen.arrivals].map(|rate| rate.map(Rate::per_second));
            let seen = (seen.applied, seen.left, rates[0], rates[1], seen.eta.map(|eta| eta.as_secs()));
            assert_eq!(seen, expected, "{seconds} s, {queued} queued, {arrive} arriving, {apply} applied");
        }
    }

    #[test]
    fn a_queue_is_outrun_only_by_what_lasts_and_only_while_something_is_applied() {
        for (seconds, arrive, apply, expected) in [
            (59, 20, 10, None),
            (60, 20, 10, Some((1_200, 600))),
            (600, 20, 10, Some((1_200, 600))),
            (600, 10, 10, None),
            (600, 10, 20, None),
            (600, 10, 0, None),
        ] {
            let seen = watch(seconds, 100_000, arrive, apply).progress().outrun;
            let seen = seen.map(|outrun| (outrun.arrived, outrun.applied));
            assert_eq!(seen, expected, "{seconds} s, {arrive} arriving, {apply} applied");
        }
    }

    #[test]
    fn it_is_no_longer_outrun_when_the_queue_has_shrunk_for_a_while() {
        let mut watched = watch(100, 1_000, 20, 10);
        assert!(watched.progress().outrun.is_some());
        for second in 1..60 {
            watched.observe(Duration::from_secs(100 + second), 1_000 + second * 30, 2_000 - second * 30);
        }
        assert_eq!(watched.progress().outrun, None);
        assert!(watched.samples.len() < 65, "{}", watched.samples.len());
    }

    #[test]
    fn rates_follow_what_goes_on_now() {
        let mut watched = watch(100, 10_000, 0, 100);
        for second in 1..=15 {
            watched.observe(Duration::from_secs(100 + second), 10_000 + second, 500);
        }
        assert_eq!(watched.progress().rate.map(Rate::per_second), Some(1.0));
    }

    #[test]
    fn counting_that_began_anew_is_a_new_measurement() {
        let mut watched = watch(100, 1_000, 20, 10);
        watched.observe(Duration::from_secs(101), 3, 500);
        assert_eq!(watched.progress(), Progress { left: 500, ..Progress::default() });
    }

    #[test]
    fn rates_are_written_as_people_read_them() {
        let shown = [(1, 3), (99, 1), (12_345, 10), (u64::MAX, 1)]
            .map(|(records, seconds)| Rate::of(records, Duration::from_secs(seconds)).unwrap().to_string());
        assert_eq!(shown, ["0.3/s", "99.0/s", "1234/s", "18446744073709551/s"]);
        assert_eq!(Rate::of(1, Duration::ZERO), None);
    }
}
