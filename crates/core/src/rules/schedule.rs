//! A window that comes back every week, by the clock on the wall of some place.
//!
//! Core has no clock and no files, so it has no database of time zones. Whoever has one hands over what a
//! [`Zone`] did and will do, as a list; from there on it is arithmetic, and the same everywhere.

use crate::WallTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400;
/// The longest window: one that comes back before it has ended would be no window.
const LASTING_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A window on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The days on which it begins.
    pub days: Days,
    /// When it begins, in minutes from midnight by the wall clock.
    pub start_minute: u16,
    /// How long it lasts; a week at most.
    pub lasting: Duration,
    /// Where the wall is.
    pub zone: Zone,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Every one of them, Monday first.
    pub const ALL: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
}

/// Some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Days = Days(0b111_1111);

    /// With a day more.
    #[must_use]
    pub fn with(self, day: Weekday) -> Self {
        Self(self.0 | 1 << day as u8)
    }

    /// Whether it has the day.
    pub fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day as u8) != 0
    }
}

/// What the clocks of a place did and will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    name: Arc<str>,
    /// Seconds east of UTC before the first change.
    first: i32,
    /// From then on, so many seconds east of UTC; by time.
    changes: Vec<(WallTime, i32)>,
}

impl Zone {
    /// The time without a place.
    pub fn utc() -> Self {
        Self::new("UTC", 0, Vec::new())
    }

    /// A zone by its name, with its seconds east of UTC: at first, and from each change on.
    pub fn new(name: impl Into<Arc<str>>, first: i32, mut changes: Vec<(WallTime, i32)>) -> Self {
        changes.sort();
        Self { name: name.into(), first, changes }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of UTC at a moment.
    fn offset(&self, at: WallTime) -> i64 {
        let behind = self.changes.partition_point(|(from, _)| *from <= at);
        let last = behind.checked_sub(1).and_then(|place| self.changes.get(place));
        i64::from(last.map_or(self.first, |(_, offset)| *offset))
    }

    /// The moment at which the wall clock shows so many seconds since 1970. Of a time that it shows twice, the
    /// first or the second; of one that it leaves out, the one beside it.
    fn moment(&self, wall_seconds: i64) -> WallTime {
        let near = WallTime(wall_seconds.saturating_mul(SECOND));
        let near = WallTime(near.0 - self.offset(near) * SECOND);
        WallTime((wall_seconds - self.offset(near)).saturating_mul(SECOND))
    }
}

/// One time that the window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From this moment on.
    pub start: WallTime,
    /// Up to this one, which is outside.
    pub end: WallTime,
}

impl Schedule {
    /// The window that is open at a moment; of several, the one that opened last.
    pub fn window_at(&self, now: WallTime) -> Option<Window> {
        let lasting = self.lasting.min(LASTING_MAX);
        let today = (now.0.div_euclid(SECOND) + self.zone.offset(now)).div_euclid(DAY);
        // A day more than a week: the clocks may have been changed in between.
        (0..=8).map(|back| today - back).filter(|day| self.days.has(weekday(*day))).find_map(|day| {
            let start = self.zone.moment(day * DAY + i64::from(self.start_minute) * 60);
            let window = Window { start, end: start.plus(lasting) };
            (window.start <= now && now < window.end).then_some(window)
        })
    }
}

/// The day of the week of a day since 1970, which began with a Thursday.
fn weekday(day: i64) -> Weekday {
    let place = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
    Weekday::ALL.get(place).copied().unwrap_or(Weekday::Monday)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 00:00 UTC, a Sunday.
    const SUNDAY: i64 = 1_795_305_600;

    fn at(day: i64, hour: i64, minute: i64) -> WallTime {
        WallTime((SUNDAY + day * DAY + hour * 3600 + minute * 60) * SECOND)
    }

    fn schedule(days: Days, hour: u16, lasting_hours: u64, zone: Zone) -> Schedule {
        Schedule { days, start_minute: hour * 60, lasting: Duration::from_secs(lasting_hours * 3600), zone }
    }

    #[test]
    fn a_window_opens_on_its_days_and_may_go_over_midnight() {
        let nightly = schedule(Days::default().with(Weekday::Sunday), 23, 3, Zone::utc());
        for (moment, open) in [
            (at(0, 22, 59), false),
            (at(0, 23, 0), true),
            (at(1, 1, 59), true),
            (at(1, 2, 0), false),
            (at(1, 23, 0), false),
            (at(7, 23, 0), true),
        ] {
            assert_eq!(nightly.window_at(moment).is_some(), open, "{moment:?}");
        }
        assert_eq!(nightly.window_at(at(1, 1, 0)), Some(Window { start: at(0, 23, 0), end: at(1, 2, 0) }));
    }

    #[test]
    fn a_window_is_by_the_wall_clock_of_its_place() {
        let hour = 3600;
        // Clocks go forward by an hour on day 10 at 01:00 UTC.
        let zone = Zone::new("Somewhere", hour, vec![(at(10, 1, 0), 2 * hour)]);
        let daily = schedule(Days::ALL, 12, 1, zone);
        assert!(daily.window_at(at(9, 11, 30)).is_some(), "12:00 there is 11:00 UTC");
        assert!(daily.window_at(at(9, 12, 30)).is_none());
        assert!(daily.window_at(at(10, 10, 30)).is_some(), "and 10:00 UTC after the change");
        assert!(daily.window_at(at(10, 11, 30)).is_none());
        let east = Zone::new("East", 14 * hour, Vec::new());
        let monday = schedule(Days::default().with(Weekday::Monday), 1, 1, east);
        assert!(monday.window_at(at(0, 11, 30)).is_some(), "it is Monday there already");
    }

    #[test]
    fn of_windows_that_touch_the_last_one_counts() {
        let always = schedule(Days::ALL, 0, 24, Zone::utc());
        assert_eq!(always.window_at(at(3, 0, 0)).unwrap().start, at(3, 0, 0));
        assert_eq!(always.window_at(WallTime(at(3, 0, 0).0 - 1)).unwrap().start, at(2, 0, 0));
    }
}
