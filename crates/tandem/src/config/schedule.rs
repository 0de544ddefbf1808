//! `schedule = "Sun 02:00 Europe/Prague"`: days, a time of day, and where.

use super::place::Spanned;
use super::scalar::{Reader, Scalar};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use std::time::Duration;
use tandem_core::WallTime;
use tandem_core::rules::{Days, Schedule, Weekday, Zone};

/// What a schedule looks like, for messages.
const FORM: &str =
    "write days, a time and a place: \"Sun 02:00\", \"Mon-Fri 22:30 Europe/Prague\", \"daily 03:00 +01:00\"";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The years of which the changes of the clocks are looked up. Always the same ones, so that the same text means
/// the same schedule after each start.
const YEARS: (i64, i64) = (1_577_836_800, 2_840_140_800);

/// Understands a schedule with how long it lasts.
pub(super) fn understand(
    given: &Spanned<String>,
    lasting: &Spanned<Scalar>,
    reader: &mut Reader<'_>,
) -> Option<Schedule> {
    let long = reader.duration("lasting", lasting);
    if long.is_some_and(|long| long > WEEK) {
        reader.refuse(
            lasting.span(),
            "a window that lasts longer than a week never closes",
            "write up to \"7d\"",
        );
    }
    match parse(given.get_ref()) {
        Ok((days, start_minute, zone)) => Some(Schedule { days, start_minute, lasting: long?, zone }),
        Err(why) => {
            reader.refuse(given.span(), format!("\"{}\" is no schedule: {why}", given.get_ref()), FORM);
            None
        }
    }
}

fn parse(text: &str) -> Result<(Days, u16, Zone), String> {
    let mut parts = text.split_whitespace();
    let (Some(days_text), Some(time_text)) = (parts.next(), parts.next()) else {
        return Err("it needs days and a time".to_owned());
    };
    let zone = match parts.next() {
        Some(name) => zone(name)?,
        None => Zone::utc(),
    };
    if parts.next().is_some() {
        return Err("there is something behind the place".to_owned());
    }
    Ok((days(days_text)?, minute(time_text)?, zone))
}

/// `Sun`, `Mon,Wed`, `Mon-Fri`, `Sat-Sun,Wed`, `daily`.
fn days(text: &str) -> Result<Days, String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(Days::ALL);
    }
    let mut days = Days::default();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (day(from)?, day(to)?);
        let cycle = Weekday::ALL.iter().cycle().skip_while(|day| **day != from);
        for day in cycle.take(Weekday::ALL.len()) {
            days = days.with(*day);
            if *day == to {
                break;
            }
        }
    }
    Ok(days)
}

/// A day by its first three letters, or by its name.
fn day(text: &str) -> Result<Weekday, String> {
    let text_lower = text.to_ascii_lowercase();
    Weekday::ALL
        .into_iter()
        .find(|day| {
            let name = format!("{day:?}").to_ascii_lowercase();
            text_lower == name || Some(text_lower.as_str()) == name.get(..3)
        })
        .ok_or_else(|| format!("'{text}' is no day"))
}

/// `02:00`: minutes from midnight.
fn minute(text: &str) -> Result<u16, String> {
    let bad = || format!("'{text}' is no time of day");
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    let number = |part: &str, below: u16| -> Option<u16> {
        let number = part.parse().ok().filter(|number| *number < below)?;
        (part.len() <= 2 && part.chars().all(|c| c.is_ascii_digit())).then_some(number)
    };
    match (number(hours, 24), number(minutes, 60)) {
        (Some(hours), Some(minutes)) => Ok(hours * 60 + minutes),
        _ => Err(bad()),
    }
}

/// `Europe/Prague`, `UTC`, `+01:00`. What its clocks do is looked up here: core has no files to look into.
fn zone(name: &str) -> Result<Zone, String> {
    let unknown = || format!("'{name}' is no time zone");
    if let Some((sign, rest)) = name.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-")) {
        let minutes = i32::from(minute(rest).map_err(|_| unknown())?);
        return Ok(Zone::new(name, if sign == "-" { -minutes * 60 } else { minutes * 60 }, Vec::new()));
    }
    let zone = TimeZone::get(name).map_err(|_| unknown())?;
    let (from, to) = YEARS;
    let from = Timestamp::from_second(from).map_err(|_| unknown())?;
    let changes = zone
        .following(from)
        .take_while(|change| change.timestamp().as_second() < to)
        .map(|change| (WallTime(change.timestamp().as_microsecond()), change.offset().seconds()))
        .collect();
    Ok(Zone::new(name, Offset::seconds(zone.to_offset(from)), changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(text: &str, at: &str) -> bool {
        let (days, start_minute, zone) = parse(text).unwrap();
        let schedule = Schedule { days, start_minute, lasting: Duration::from_secs(3600), zone };
        let at: Timestamp = at.parse().unwrap();
        schedule.window_at(WallTime(at.as_microsecond())).is_some()
    }

    #[test]
    fn a_schedule_is_read_as_people_write_it() {
        for (text, at, expected) in [
            ("Sun 02:00", "2026-11-22T02:30:00Z", true),
            ("Sun 02:00", "2026-11-23T02:30:00Z", false),
            ("sunday 2:00 UTC", "2026-11-22T02:30:00Z", true),
            ("Fri-Mon 02:00", "2026-11-22T02:30:00Z", true),
            ("Fri-Mon 02:00", "2026-11-24T02:30:00Z", false),
            ("Tue,Thu 02:00", "2026-11-24T02:30:00Z", true),
            ("daily 23:30 +01:00", "2026-11-24T22:45:00Z", true),
            ("daily 23:30 -05:30", "2026-11-25T05:15:00Z", true),
            ("daily 02:00 Europe/Prague", "2026-11-24T01:30:00Z", true),
            ("daily 02:00 Europe/Prague", "2026-07-24T01:30:00Z", false),
            ("daily 02:00 Europe/Prague", "2026-07-24T00:30:00Z", true),
        ] {
            assert_eq!(opens(text, at), expected, "{text} at {at}");
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, why) in [
            ("02:00", "it needs days and a time"),
            ("Sun", "it needs days and a time"),
            ("Son 02:00", "'Son' is no day"),
            ("Mon- 02:00", "'' is no day"),
            ("Sun 24:00", "'24:00' is no time of day"),
            ("Sun 2", "'2' is no time of day"),
            ("Sun +2:00", "'+2:00' is no time of day"),
            ("Sun 02:00 Nowhere/Town", "'Nowhere/Town' is no time zone"),
            ("Sun 02:00 +1", "'+1' is no time zone"),
            ("Sun 02:00 UTC please", "there is something behind the place"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }
}
