//! How a queue was over the last hours: exact for a while, then coarser, and never more than so many points.
//!
//! A trend is fed as often as somebody looks, and keeps of each step of time the most that was seen in it: a queue that was
//! full for five seconds is not to be missing in a picture of a day. Of steps in a row that are alike it keeps the first
//! and the last, so that ten thousand maps in which nothing happens cost nothing. It reads no clock; whoever feeds it says
//! what time it is. A clock that was set back takes back the steps that it goes over again, so that points always lie in
//! order.

use crate::WallTime;
use std::collections::VecDeque;
use std::time::Duration;

/// The steps of the first hour.
const FINE: (Duration, u32) = (Duration::from_secs(10), 360);
/// The steps of the first day.
const COARSE: (Duration, u32) = (Duration::from_secs(300), 288);

/// What waits at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Changes.
    pub records: u64,
    /// What counts for the limit of bytes: those changes, and open errors.
    pub bytes: u64,
    /// How long ago the oldest of the changes was captured; zero if none waits.
    pub lag: Duration,
}

/// The most that waited within a step of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrendPoint {
    /// When the step began.
    pub at: WallTime,
    /// The most of each.
    pub most: Backlog,
}

/// Steps of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrendSteps {
    /// How long a step is.
    pub every: Duration,
    /// What the steps were like that are over, the oldest first.
    over: VecDeque<Run>,
    /// The step that goes on.
    now: Option<TrendPoint>,
    /// How many steps are kept.
    most: u32,
}

/// Steps in a row that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// When the first began.
    from: WallTime,
    /// When the last began.
    to: WallTime,
    most: Backlog,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trend {
    fine: TrendSteps,
    coarse: TrendSteps,
}

impl Backlog {
    fn or_more(self, other: Self) -> Self {
        Self {
            records: self.records.max(other.records),
            bytes: self.bytes.max(other.bytes),
            lag: self.lag.max(other.lag),
        }
    }
}

impl TrendSteps {
    fn of((every, most): (Duration, u32)) -> Self {
        Self { every, over: VecDeque::new(), now: None, most }
    }

    /// The points that there are, the oldest first: of steps in a row that are alike the first and the last. Where nobody
    /// looked, there are none.
    pub fn points(&self) -> impl Iterator<Item = TrendPoint> {
        let ends = |run: &Run| {
            let last = (run.to > run.from).then_some(run.to);
            let most = run.most;
            std::iter::once(run.from).chain(last).map(move |at| TrendPoint { at, most })
        };
        self.over.iter().flat_map(ends).chain(self.now)
    }

    fn observe(&mut self, now: WallTime, seen: Backlog) {
        let every = i64::try_from(self.every.as_micros()).unwrap_or(i64::MAX).max(1);
        let at = WallTime(now.0.saturating_sub(now.0.rem_euclid(every)));
        match &mut self.now {
            Some(open) if open.at == at => open.most = open.most.or_more(seen),
            open => {
                let ended = open.replace(TrendPoint { at, most: seen });
                ended.into_iter().for_each(|ended| self.end(ended));
                self.forget_from(at);
                self.forget_before(at.minus(self.every.saturating_mul(self.most.saturating_sub(1))));
            }
        }
    }

    /// A step is over.
    fn end(&mut self, TrendPoint { at, most }: TrendPoint) {
        match self.over.back_mut() {
            Some(run) if run.most == most && run.to.plus(self.every) == at => run.to = at,
            _ => self.over.push_back(Run { from: at, to: at, most }),
        }
    }

    /// Forgets a step and what is behind it: the clock was set back.
    fn forget_from(&mut self, step: WallTime) {
        while self.over.back().is_some_and(|run| run.from >= step) {
            self.over.pop_back();
        }
        if let Some(run) = self.over.back_mut() {
            run.to = run.to.min(step.minus(self.every));
        }
    }

    /// Forgets what is before a step.
    fn forget_before(&mut self, step: WallTime) {
        while self.over.front().is_some_and(|run| run.to < step) {
            self.over.pop_front();
        }
        if let Some(run) = self.over.front_mut() {
            run.from = run.from.max(step);
        }
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self { fine: TrendSteps::of(FINE), coarse: TrendSteps::of(COARSE) }
    }
}

impl Trend {
    /// So much waits now.
    pub fn observe(&mut self, now: WallTime, seen: Backlog) {
        self.fine.observe(now, seen);
        self.coarse.observe(now, seen);
    }

    /// What is known: 10-second steps of the last hour, and 5-minute steps of the last day.
    pub fn steps(&self) -> [&TrendSteps; 2] {
        [&self.fine, &self.coarse]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(1_700_000_100_000_000 + seconds * 1_000_000)
    }

    fn records(records: u64) -> Backlog {
        Backlog { records, bytes: records * 10, lag: Duration::from_secs(records) }
    }

    fn shown(steps: &TrendSteps) -> Vec<(i64, u64)> {
        steps.points().map(|point| ((point.at.0 - at(0).0) / 1_000_000, point.most.records)).collect()
    }

    #[test]
    fn a_step_has_the_most_that_was_seen_in_it() {
        let mut trend = Trend::default();
        for (second, waiting) in [(0, 3), (4, 9), (9, 1), (10, 2), (35, 5), (310, 4)] {
            trend.observe(at(second), records(waiting));
        }
        let [fine, coarse] = trend.steps();
        assert_eq!(shown(fine), [(0, 9), (10, 2), (30, 5), (310, 4)]);
        assert_eq!(shown(coarse), [(0, 9), (300, 4)]);
        assert_eq!(fine.points().next().unwrap().most, records(9));
    }

    #[test]
    fn of_steps_that_are_alike_the_first_and_the_last_are_kept() {
        let mut trend = Trend::default();
        for second in (0..100).step_by(10) {
            trend.observe(at(second), records(7));
        }
        assert_eq!(shown(trend.steps()[0]), [(0, 7), (80, 7), (90, 7)]);
        // What rises in the step that goes on was not so before it.
        trend.observe(at(95), records(8));
        assert_eq!(shown(trend.steps()[0]), [(0, 7), (80, 7), (90, 8)]);
        // Nobody looked for a while: what lies between is not known to be alike.
        for second in [200, 210, 300, 310, 320] {
            trend.observe(at(second), records(1));
        }
        let kept = [(0, 7), (80, 7), (90, 8), (200, 1), (210, 1), (300, 1), (310, 1), (320, 1)];
        assert_eq!(shown(trend.steps()[0]), kept);
    }

    #[test]
    fn what_is_older_than_an_hour_or_a_day_is_gone_and_there_are_never_more_points() {
        let mut trend = Trend::default();
        for second in 0..200_000_u32 {
            trend.observe(at(second.into()), records((second / 10).into()));
        }
        let [fine, coarse] = trend.steps();
        assert_eq!((fine.points().count(), coarse.points().count()), (360, 288));
        assert_eq!(shown(fine)[0].0, 200_000 - 3_600);
        // Nobody has looked for long: what was before is too old all the same.
        trend.observe(at(300_000), records(1));
        let [fine, coarse] = trend.steps();
        assert_eq!((shown(fine), shown(coarse)[0].0 >= 300_000 - 86_400), (vec![(300_000, 1)], true));
    }

    #[test]
    fn what_is_alike_for_longer_than_it_is_kept_begins_with_what_is_kept() {
        let mut trend = Trend::default();
        for second in (0..=7_200).step_by(10) {
            trend.observe(at(second), records(7));
        }
        assert_eq!(shown(trend.steps()[0]), [(3_610, 7), (7_190, 7), (7_200, 7)]);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_points_in_order() {
        let mut trend = Trend::default();
        for second in [0, 10, 20, 30, 11] {
            trend.observe(at(second), records(second.unsigned_abs()));
        }
        assert_eq!(shown(trend.steps()[0]), [(0, 0), (10, 11)]);
    }
}
