//! When two values of two databases are the same one.
//!
//! Databases write one value in many ways: `1.0` and `1.00`, a moment with this offset or that, the keys of a JSON
//! object in any order, a truth value as `1`. A [`Comparison`] says how the values of a column are read before they
//! are compared, and gives bytes that are equal exactly if the values are. It is chosen from the types of *both*
//! columns: whether `1.0` is a number or a text, SQLite's text column does not say, and PostgreSQL's numeric does.
//!
//! What cannot be read as the comparison wants is compared by its own text: then it equals only itself.

mod json;

use crate::decimal::Decimal;
use crate::map::transform::zone;
use crate::{Kind, Value};
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

/// How the values of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// As what each value says of itself that it is.
    #[default]
    Own,
    /// As truth values: `true`, `t` and 1 are one.
    Truth,
    /// As exact numbers: 1, 1.0, 1e0 and a float of that value are one; so are 0 and -0.
    Number,
    /// As moments: the same one in different offsets is one.
    Moment,
    /// As times on a wall: `12:00:00` and `12:00:00.000` are one.
    Wall,
    /// As JSON: the same structure is one, whatever the order of keys; of two equal keys the last counts.
    Json,
    /// As text in any case: UUIDs.
    Caseless,
    /// As text without blanks at its end: a column of a fixed length fills up with them.
    Padded,
}

/// A hash of the values of a record's mapped columns: equal for records that are equal (XXH3, 128 bits). The same on
/// every machine and in every version, since it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowHash(pub u128);

impl Comparison {
    /// How columns of these types are compared, by the databases' names for them.
    pub fn of(left_type: &str, right_type: &str) -> Self {
        let (left, right) = (Self::of_type(left_type), Self::of_type(right_type));
        let either = |wanted: Comparison| left == wanted || right == wanted;
        // What is named first has more to say: a truth value that lies in a column of numbers is one.
        [Self::Truth, Self::Json, Self::Moment, Self::Wall, Self::Caseless, Self::Number, Self::Padded]
            .into_iter()
            .find(|wanted| either(*wanted))
            .unwrap_or_default()
    }

    fn of_type(type_name: &str) -> Self {
        let lower = type_name.to_lowercase();
        if lower.ends_with("[]") {
            return Self::Own;
        }
        let words = lower.split('(').next().unwrap_or_default().trim();
        match words {
            "bool" | "boolean" => Self::Truth,
            "json" | "jsonb" => Self::Json,
            "uuid" => Self::Caseless,
            "character" | "char" | "bpchar" => Self::Padded,
            "timestamptz" => Self::Moment,
            // `timestamp(3) with time zone` has its length in the middle.
            "timestamp" | "timestamp with time zone" if lower.ends_with("with time zone") => Self::Moment,
            "timestamp" | "timestamp without time zone" | "time" | "time without time zone" | "datetime" => {
                Self::Wall
            }
            "numeric" | "decimal" | "real" | "double precision" | "float" | "float4" | "float8"
            | "double" => Self::Number,
            _ if ["interval", "point", "range"].iter().any(|other| lower.contains(other)) => Self::Own,
            _ if lower.contains("int") => Self::Number,
            _ => Self::Own,
        }
    }

    /// Appends bytes of a value that are equal for two values exactly if the values are.
    pub fn canonical(self, value: &Value, out: &mut Vec<u8>) {
        let mut sized = |tag: u8, payload: &[u8]| {
            out.push(tag);
            out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            out.extend_from_slice(payload);
        };
        // Most keys are one of these, and each captured record has one.
        match (self, value) {
            (Self::Own | Self::Number, Value::Int(number)) => {
                return sized(b'n', number.to_string().as_bytes());
            }
            (Self::Own, Value::Text(text)) => return sized(b't', text.as_bytes()),
            _ => {}
        }
        let (tag, payload) = match value {
            Value::Null => (b'0', String::new()),
            Value::Bytes(bytes) => return sized(b'b', bytes),
            _ => {
                let text = plain(value);
                let read = match self.for_value(value) {
                    Self::Own => None,
                    Self::Truth => truth(&text).or_else(|| number(&text)).map(|text| (b'n', text)),
                    Self::Number => number(&text).map(|text| (b'n', text)),
                    Self::Moment => moment(&text).map(|text| (b'm', text)),
                    Self::Wall => Some((b't', wall(&text))),
                    Self::Json => json::canonical(&text).map(|text| (b'j', text)),
                    Self::Caseless => Some((b't', text.to_lowercase())),
                    Self::Padded => Some((b't', text.trim_end_matches(' ').to_owned())),
                };
                read.unwrap_or((b't', text))
            }
        };
        sized(tag, payload.as_bytes());
    }

    /// Whether two values are the same one.
    pub fn is_same(self, a: &Value, b: &Value) -> bool {
        let bytes = |value: &Value| {
            let mut out = Vec::with_capacity(16 + value.payload_len());
            self.canonical(value, &mut out);
            out
        };
        bytes(a) == bytes(b)
    }

    /// What a value that says of itself what it is, is compared as where the columns say nothing.
    fn for_value(self, value: &Value) -> Self {
        if self != Self::Own {
            return self;
        }
        match value {
            Value::Bool(_) => Self::Truth,
            Value::Int(_) | Value::Float(_) | Value::Typed(Kind::Decimal, _) => Self::Number,
            Value::Typed(Kind::TimestampTz, _) => Self::Moment,
            Value::Typed(Kind::Timestamp | Kind::Time, _) => Self::Wall,
            Value::Typed(Kind::Json, _) => Self::Json,
            Value::Typed(Kind::Uuid, _) => Self::Caseless,
            Value::Typed(Kind::Date | Kind::TimeTz | Kind::Interval | Kind::Other, _)
            | Value::Null
            | Value::Text(_)
            | Value::Bytes(_) => Self::Own,
        }
    }
}

impl RowHash {
    /// The hash of a record's values, each with how it is compared.
    pub fn of<'a>(values: impl IntoIterator<Item = (&'a Value, Comparison)>) -> Self {
        let mut canonical = Vec::new();
        values.into_iter().for_each(|(value, comparison)| comparison.canonical(value, &mut canonical));
        Self(xxhash_rust::xxh3::xxh3_128(&canonical))
    }
}

/// The text of a value; of a float the shortest that reads back to the same bits.
fn plain(value: &Value) -> String {
    match value {
        Value::Float(number) if number.is_finite() => format!("{number:e}"),
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) => if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        other => other.to_string(),
    }
}

fn truth(text: &str) -> Option<String> {
    match text {
        "true" | "t" => Some("1".to_owned()),
        "false" | "f" => Some("0".to_owned()),
        _ => None,
    }
}

fn number(text: &str) -> Option<String> {
    match text {
        "NaN" | "Infinity" | "-Infinity" => Some(text.to_owned()),
        _ => truth(text).or_else(|| Decimal::parse(text).map(|decimal| decimal.shortest().to_string())),
    }
}

fn moment(text: &str) -> Option<String> {
    let (at, offset) = zone::read(text)?;
    let moment = offset?.to_timestamp(at).ok()?;
    Some(zone::written(Offset::UTC.to_datetime(moment), ""))
}

/// Without the zeros at the end of a fraction; an era may stand behind it.
fn wall(text: &str) -> String {
    let (at, era) = match text.strip_suffix(" BC") {
        Some(at) => (at, " BC"),
        None => (text, ""),
    };
    let at = match at.contains('.') {
        true => at.trim_end_matches('0').trim_end_matches('.'),
        false => at,
    };
    at.replacen('T', " ", 1) + era
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(kind: Kind, text: &'static str) -> Value {
        Value::Typed(kind, text.into())
    }

    #[test]
    fn one_value_that_is_written_in_two_ways_is_one() {
        let same = |comparison: Comparison, a: Value, b: Value| {
            assert!(comparison.is_same(&a, &b), "{comparison:?} {a:?} {b:?}");
        };
        let decimal = |text| typed(Kind::Decimal, text);
        same(Comparison::Own, decimal("1.0"), decimal("1.00"));
        same(Comparison::Own, decimal("100"), Value::Int(100));
        same(Comparison::Own, Value::Float(1.5), decimal("1.50"));
        same(Comparison::Own, Value::Float(-0.0), Value::Int(0));
        same(Comparison::Own, Value::Float(1e300), Value::Float(1e300));
        same(Comparison::Own, Value::Bool(true), Value::Int(1));
        same(Comparison::Number, "1.10".into(), decimal("1.1"));
        same(Comparison::Truth, "t".into(), Value::Int(1));
        let moment = |text| typed(Kind::TimestampTz, text);
        same(Comparison::Own, moment("2024-01-01 12:00:00+01"), moment("2024-01-01 11:00:00.000+00"));
        same(Comparison::Moment, "2024-01-01T11:00:00Z".into(), moment("2024-01-01 16:30:00+05:30"));
        same(Comparison::Own, moment("infinity"), moment("infinity"));
        same(
            Comparison::Wall,
            "2024-01-01T11:00:00.500".into(),
            typed(Kind::Timestamp, "2024-01-01 11:00:00.5"),
        );
        let json = |text| typed(Kind::Json, text);
        same(
            Comparison::Own,
            json(r#"{"a":1,"b":[1.0,"ä"]}"#),
            json("{ \"b\": [1.00, \"\\u00e4\"], \"a\": 1e0 }"),
        );
        same(Comparison::Own, json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#));
        same(Comparison::Padded, "a".into(), "a  ".into());
        same(Comparison::Caseless, "A0EEBC99".into(), typed(Kind::Uuid, "a0eebc99"));
    }

    #[test]
    fn two_values_stay_two() {
        let differ = |comparison: Comparison, a: Value, b: Value| {
            assert!(!comparison.is_same(&a, &b), "{comparison:?} {a:?} {b:?}");
        };
        differ(Comparison::Own, Value::Null, "".into());
        differ(Comparison::Own, Value::Null, Value::Int(0));
        differ(Comparison::Own, "1.0".into(), "1.00".into());
        differ(Comparison::Own, "a".into(), Value::Bytes(b"a".to_vec().into()));
        differ(Comparison::Own, typed(Kind::Decimal, "1.001"), typed(Kind::Decimal, "1.0010000001"));
        differ(Comparison::Number, "x".into(), "X".into());
        differ(Comparison::Own, typed(Kind::Json, "[1,2]"), typed(Kind::Json, "[2,1]"));
        differ(Comparison::Own, typed(Kind::Json, "\"1\""), typed(Kind::Json, "1"));
        differ(Comparison::Own, typed(Kind::Json, "{}"), typed(Kind::Json, "[]"));
        differ(Comparison::Own, typed(Kind::Json, "null"), Value::Null);
        differ(
            Comparison::Own,
            typed(Kind::TimestampTz, "2024-01-01 12:00:00+01"),
            typed(Kind::TimestampTz, "2024-01-01 12:00:00+00"),
        );
        let (ab, a_b) = ([Value::from("ab"), "".into()], [Value::from("a"), "b".into()]);
        let hash = |row: &[Value]| RowHash::of(row.iter().map(|value| (value, Comparison::Own)));
        assert_ne!(hash(&ab), hash(&a_b));
    }

    #[test]
    fn both_columns_say_how_they_are_compared() {
        for (left, right, expected) in [
            ("numeric(10,2)", "TEXT", Comparison::Number),
            ("boolean", "INTEGER", Comparison::Truth),
            ("timestamp with time zone", "TEXT", Comparison::Moment),
            ("timestamp(3) with time zone", "TEXT", Comparison::Moment),
            ("timestamp without time zone", "DATETIME", Comparison::Wall),
            ("jsonb", "TEXT", Comparison::Json),
            ("uuid", "TEXT", Comparison::Caseless),
            ("text", "VARCHAR(10)", Comparison::Own),
            ("bigint", "TEXT", Comparison::Number),
            ("integer[]", "TEXT", Comparison::Own),
            ("interval", "TEXT", Comparison::Own),
            ("int4range", "TEXT", Comparison::Own),
            ("character(3)", "text", Comparison::Padded),
            ("character varying(3)", "text", Comparison::Own),
        ] {
            assert_eq!(Comparison::of(left, right), expected, "{left} {right}");
            assert_eq!(Comparison::of(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn the_stored_hash_never_changes() {
        let row = [Value::Int(7), Value::from("K-1"), Value::Null];
        let hash = RowHash::of(row.iter().map(|value| (value, Comparison::Own)));
        assert_eq!(hash, RowHash(HASH), "this hash is on people's disks");
    }

    const HASH: u128 = 154_050_300_009_541_593_911_553_085_784_571_586_373;
}
