//! Values: what a stored value is to us, and in which form a value of ours may be stored.
//!
//! SQLite converts what it is given to the column's affinity, silently: text that looks like a number becomes
//! a number, a long decimal becomes a float. A value that would not stay what it is, is refused here, so that
//! the record is set aside instead of being altered. One exception is stated: a float that is a whole number
//! may be kept as that number, so negative zero loses its sign.

use super::schema::Affinity;
use bytes::Bytes;
use bytestring::ByteString;
use rusqlite::types::{Value as Stored, ValueRef};
use tandem_core::{Kind, Value};

/// A stored value as the log states it. `type_name` is the declared type, which only tells truth values from
/// numbers. Text that is not UTF-8 is bytes to us.
pub(super) fn read(stored: ValueRef<'_>, type_name: &str) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number @ (0 | 1)) if is_bool(type_name) => Value::Bool(number == 1),
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(ByteString::from(text)),
            Err(_) => Value::Bytes(Bytes::copy_from_slice(text)),
        },
        ValueRef::Blob(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
    }
}

fn is_bool(type_name: &str) -> bool {
    type_name.eq_ignore_ascii_case("boolean") || type_name.eq_ignore_ascii_case("bool")
}

/// The form in which a value is stored in a column; or why it cannot be, with a stable code.
pub(super) fn store(value: &Value, affinity: Affinity) -> Result<Stored, (&'static str, &'static str)> {
    const EXACT_FLOAT: i64 = 1 << 53;
    match value {
        Value::Null => Ok(Stored::Null),
        Value::Bool(truth) => Ok(Stored::Integer(i64::from(*truth))),
        Value::Int(number) if affinity == Affinity::Real && number.unsigned_abs() > EXACT_FLOAT as u64 => {
            Err(("inexact_integer", "a whole number does not fit a REAL column exactly"))
        }
        Value::Int(number) => Ok(Stored::Integer(*number)),
        Value::Float(number) if number.is_nan() => Err(("nan", "SQLite cannot store NaN")),
        // SQLite's own text of a float is rounded.
        Value::Float(number) if affinity == Affinity::Text => Ok(Stored::Text(number.to_string())),
        Value::Float(number) => Ok(Stored::Real(*number)),
        Value::Bytes(bytes) => Ok(Stored::Blob(bytes.to_vec())),
        Value::Text(text) => as_text(text, affinity, false),
        Value::Typed(kind, text) => as_text(text, affinity, *kind == Kind::Decimal),
    }
}

fn as_text(
    text: &ByteString,
    affinity: Affinity,
    decimal: bool,
) -> Result<Stored, (&'static str, &'static str)> {
    let numeric = matches!(affinity, Affinity::Numeric | Affinity::Real);
    if !numeric || !looks_numeric(text) {
        return Ok(Stored::Text(text.to_string()));
    }
    match text.parse::<i64>() {
        // A decimal without fraction in its shortest form is that whole number.
        Ok(number) if decimal && affinity == Affinity::Numeric && number.to_string() == **text => {
            Ok(Stored::Integer(number))
        }
        _ => Err(("text_to_number", "SQLite would turn this text into a number: the column must be TEXT")),
    }
}

/// Whether SQLite may read it as a number: spaces around are let pass, and it is not sure to look behind a NUL.
fn looks_numeric(text: &str) -> bool {
    let text = text.split('\0').next().unwrap_or_default();
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, affinity: Affinity, expected: Option<Stored>) {
        assert_eq!(store(&value, affinity).ok(), expected, "{value:?} {affinity:?}");
    }

    #[test]
    fn what_a_column_would_alter_is_refused() {
        let decimal = |text: &'static str| Value::Typed(Kind::Decimal, text.into());
        let text = |text: &str| Some(Stored::Text(text.to_owned()));
        check(decimal("1.10"), Affinity::Text, text("1.10"));
        check(decimal("1.10"), Affinity::Keep, text("1.10"));
        check(decimal("1.10"), Affinity::Numeric, None);
        check(decimal("12"), Affinity::Numeric, Some(Stored::Integer(12)));
        check(decimal("12"), Affinity::Real, None);
        check(decimal("99999999999999999999"), Affinity::Numeric, None);
        check(decimal("NaN"), Affinity::Numeric, text("NaN"));
        check("007".into(), Affinity::Numeric, None);
        check("007".into(), Affinity::Text, text("007"));
        check(" 1e3 ".into(), Affinity::Real, None);
        check("2024-01-01".into(), Affinity::Numeric, text("2024-01-01"));
        check(Value::Int((1 << 53) + 1), Affinity::Real, None);
        check(Value::Float(0.1 + 0.2), Affinity::Text, text("0.30000000000000004"));
        check(Value::Float(f64::NAN), Affinity::Real, None);
    }

    #[test]
    fn sqlite_agrees_on_what_looks_like_a_number() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (v NUMERIC)").unwrap();
        let texts = [
            "1",
            "-1",
            "+1",
            " 1",
            "1 ",
            "\t1\n",
            "1.",
            ".5",
            ".",
            "1e5",
            "1e",
            "0x10",
            "inf",
            "nan",
            "Infinity",
            "1_000",
            "--1",
            "",
            " ",
            "1.5.1",
            "9223372036854775808",
            "1e400",
            "٣",
            "1\0",
            "12abc",
        ];
        for text in texts {
            conn.execute("DELETE FROM t", []).unwrap();
            conn.execute("INSERT INTO t VALUES (?1)", [text]).unwrap();
            let stays: bool =
                conn.query_row("SELECT typeof(v) = 'text' FROM t", [], |row| row.get(0)).unwrap();
            assert!(stays || looks_numeric(text), "{text:?} became a number unseen");
        }
    }
}
