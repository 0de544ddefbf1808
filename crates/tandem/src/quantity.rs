//! Sizes and durations as people write them, in the config and on the command line.

use std::time::Duration;

/// The units of a size, with the bytes that they stand for: those of the trade, and those of memory.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// What a size looks like, for messages.
pub(crate) const SIZE_FORM: &str = "a number and a unit: \"256MB\", \"1GB\", \"512MiB\"";
/// What a duration looks like, for messages.
pub(crate) const DURATION_FORM: &str = "a number and a unit: \"90s\", \"5m\", \"1h30m\", \"1d\"";

/// `256MB`: bytes. A unit must be there, in any case; more than zero.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let (_, unit) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*unit).filter(|bytes| *bytes > 0)
}

/// `90s`, `5m`, `1h30m`, `1d`, `2w`; never negative. A day has 24 hours here.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("256MB", Some(256_000_000)),
            ("1 gb", Some(1_000_000_000)),
            ("1GiB", Some(1_073_741_824)),
            ("64KiB", Some(65_536)),
            ("7B", Some(7)),
            ("16EB", None),
            ("99999999999TB", None),
            ("256", None),
            ("0MB", None),
            ("-1MB", None),
            ("1.5GB", None),
            ("MB", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("1h30m", Some(5_400)),
            ("1d", Some(86_400)),
            ("1w", Some(604_800)),
            ("2 days", Some(172_800)),
            ("0s", Some(0)),
            ("-5s", None),
            ("90", None),
            ("1 month", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs()), expected, "{text}");
        }
    }
}
