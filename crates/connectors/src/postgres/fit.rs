//! Columns that would alter a value in silence, and how it is seen before.
//!
//! PostgreSQL refuses most of what a column cannot hold: a number that is too large, a text that is too long. Some it
//! rounds instead when it is assigned: digits behind the point beyond a `numeric(12,2)`'s, fractions of a second beyond
//! a `timestamp(0)`'s, and what a float cannot say. A value must arrive equal or be set aside, so these are found by
//! us, and refused by the server on our word: a record is then undone and set aside like any other.

use super::names::shown;
use super::schema::DestinationColumn;
use tandem_core::{Comparison, Target, Value, Write, WriteOp};

/// What a column would alter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Digits behind the point; with a negative count also zeros before it.
    Digits(i32),
    /// Digits of a second.
    Second(i32),
    /// Whatever an IEEE single cannot say.
    Single,
    /// Whatever an IEEE double cannot say.
    Double,
    /// Bytes: they would become the text of their digits.
    Bytes,
    /// Text: it would be read as a form of bytes.
    Text,
}

impl Fit {
    /// What a column of a type with this modifier would alter, if it alters anything.
    pub(super) fn of(type_name: &str, modifier: i32) -> Option<Self> {
        match type_name {
            "float4" => Some(Fit::Single),
            "float8" => Some(Fit::Double),
            "text" | "varchar" | "bpchar" | "name" => Some(Fit::Bytes),
            "bytea" => Some(Fit::Text),
            // Eleven bits with a sign.
            "numeric" if modifier >= 4 => Some(Fit::Digits((((modifier - 4) & 0x7ff) ^ 0x400) - 0x400)),
            "timestamp" | "timestamptz" | "time" | "timetz" if modifier >= 0 => Some(Fit::Second(modifier)),
            _ => None,
        }
    }

    /// Whether a value would arrive as it is.
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) | (Fit::Double, Value::Float(_)) => true,
            (Fit::Bytes, _) => !matches!(value, Value::Bytes(_)),
            (Fit::Text, _) => matches!(value, Value::Bytes(_)),
            (Fit::Digits(digits), _) => behind_point(&value.to_string()) <= digits,
            (Fit::Second(digits), _) => {
                let text = value.to_string();
                let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
                let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
                let fraction = fraction.get(..end).unwrap_or_default().trim_end_matches('0');
                i32::try_from(fraction.len()).is_ok_and(|length| length <= digits)
            }
            (Fit::Single, _) => {
                float(value, |text| Some(f64::from(text.parse::<f32>().ok()?))).is_none_or(|kept| {
                    // A single is told by its own shortest digits, as PostgreSQL does.
                    let kept = (kept as f32).to_string().parse().unwrap_or(kept);
                    Comparison::Number.is_same(value, &Value::Float(kept))
                })
            }
            (Fit::Double, _) => float(value, |text| text.parse().ok())
                .is_none_or(|kept| Comparison::Number.is_same(value, &Value::Float(kept))),
        }
    }

    fn words(self) -> String {
        match self {
            Fit::Digits(digits) => format!("keeps {digits} digits behind the point, and the value has more"),
            Fit::Second(digits) => format!("keeps {digits} digits of a second, and the value has more"),
            Fit::Single => "is a single float, which cannot hold the value exactly".to_owned(),
            Fit::Double => "is a double float, which cannot hold the value exactly".to_owned(),
            Fit::Bytes => "is for text, and the value is bytes".to_owned(),
            Fit::Text => "is for bytes, and the value is none".to_owned(),
        }
    }
}

/// The number that a float column would make of a value. `None`: it is none, and the server says so.
fn float(value: &Value, read: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    read(&value.to_string()).filter(|number| number.is_finite())
}

/// The digits behind the point that a number needs; below zero the zeros that it has before it.
fn behind_point(text: &str) -> i32 {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let Ok(exponent) = exponent.parse::<i32>() else { return 0 };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let part = part.trim_end_matches('0');
    let needed = if part.is_empty() {
        let digits = whole.trim_start_matches(['-', '+', '0']);
        if digits.is_empty() {
            return i32::MIN;
        }
        -i32::try_from(digits.len() - digits.trim_end_matches('0').len()).unwrap_or(0)
    } else {
        i32::try_from(part.len()).unwrap_or(i32::MAX)
    };
    needed.saturating_sub(exponent)
}

/// A statement that fails as if the server had refused a write, if a column would round a value of it.
pub(super) fn refusal(target: &Target, columns: &[DestinationColumn], write: &Write) -> Option<String> {
    let value = |place: usize| match &write.op {
        WriteOp::Upsert(values) => values.get(place),
        WriteOp::Patch { values, .. } | WriteOp::Rekey { values, .. } => values.get(place)?.as_ref(),
        WriteOp::Delete(_) => None,
    };
    let (column, fit) = columns.iter().enumerate().find_map(|(place, column)| {
        let fit = column.fit?;
        // What is looked up was written there before.
        let own = target.lookup(place).is_none();
        (own && !fit.takes(value(place)?)).then_some((column, fit))
    })?;
    let code = match fit {
        Fit::Digits(_) | Fit::Single | Fit::Double => "22003",
        Fit::Second(_) => "22008",
        Fit::Bytes | Fit::Text => "22000",
    };
    let message = format!("column {} of {} {}", column.name, shown(&target.table), fit.words());
    // A per cent sign would ask for a parameter; the body is a literal inside of a literal.
    let message = message.replace('\'', "''");
    let body = format!("BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = '{message}'; END");
    Some(format!("DO '{}'", body.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_core::Kind;

    #[test]
    fn what_a_column_would_round_is_seen() {
        let decimal = |text: &'static str| Value::Typed(Kind::Decimal, text.into());
        let check = |type_name: &str, modifier: i32, value: Value, fits: bool| {
            let seen = Fit::of(type_name, modifier).is_none_or(|fit| fit.takes(&value));
            assert_eq!(seen, fits, "{type_name} {modifier} {value:?}");
        };
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        check("numeric", numeric(12, 2), decimal("1.10"), true);
        check("numeric", numeric(12, 2), decimal("1.100"), true);
        check("numeric", numeric(12, 2), decimal("1.105"), false);
        check("numeric", numeric(12, 2), Value::Float(0.125), false);
        check("numeric", numeric(12, 2), Value::Float(1e-7), false);
        check("numeric", numeric(12, 2), decimal("NaN"), true);
        check("numeric", numeric(5, -2), decimal("1200"), true);
        check("numeric", numeric(5, -2), decimal("1250"), false);
        check("numeric", numeric(5, -2), decimal("0"), true);
        check("numeric", -1, decimal("1.123456789"), true);
        let moment = |text: &'static str| Value::Typed(Kind::TimestampTz, text.into());
        check("timestamptz", 0, moment("2024-01-01 12:00:00+00"), true);
        check("timestamptz", 3, moment("2024-01-01 12:00:00.120+00"), true);
        check("timestamptz", 3, moment("2024-01-01 12:00:00.1234+00"), false);
        check("timestamptz", -1, moment("2024-01-01 12:00:00.123456+00"), true);
        check("float4", -1, Value::Float(0.1), true);
        check("float4", -1, Value::Float(0.1 + 0.2), false);
        check("float4", -1, Value::Float(f64::NAN), true);
        check("float4", -1, Value::Int(16_777_217), false);
        check("float8", -1, decimal("0.1"), true);
        check("float8", -1, decimal("0.10000000000000000001"), false);
        check("float8", -1, Value::Int((1 << 53) + 1), false);
        check("float8", -1, Value::Null, true);
        let bytes = || Value::Bytes(vec![0xff].into());
        check("text", -1, bytes(), false);
        check("bytea", -1, bytes(), true);
        check("bytea", -1, "\\xff".into(), false);
    }
}
