//! Values: from the text forms that the log brings, to the text forms that statements send.
//!
//! Everything crosses as PostgreSQL's own text form with pinned settings, and the destination casts it to the
//! column's type. That is exact for every type that PostgreSQL has, arrays, enums and extensions included,
//! since dump and restore rely on the same forms.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use std::error::Error;
use std::fmt::Write;
use tandem_core::{Kind, Value};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// How the text form of a column's type is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int,
    Float,
    Text,
    Bytes,
    Typed(Kind),
}

impl Form {
    /// The form of a type by its name in `pg_catalog`. Types of other schemas are [`Kind::Other`].
    pub(super) fn of(type_name: &str) -> Self {
        match type_name {
            "bool" => Form::Bool,
            "int2" | "int4" | "int8" => Form::Int,
            "float4" | "float8" => Form::Float,
            "text" | "varchar" | "bpchar" | "name" => Form::Text,
            "bytea" => Form::Bytes,
            "numeric" => Form::Typed(Kind::Decimal),
            "date" => Form::Typed(Kind::Date),
            "time" => Form::Typed(Kind::Time),
            "timetz" => Form::Typed(Kind::TimeTz),
            "timestamp" => Form::Typed(Kind::Timestamp),
            "timestamptz" => Form::Typed(Kind::TimestampTz),
            "interval" => Form::Typed(Kind::Interval),
            "uuid" => Form::Typed(Kind::Uuid),
            "json" | "jsonb" => Form::Typed(Kind::Json),
            _ => Form::Typed(Kind::Other),
        }
    }

    /// Reads a value. Text shares the buffer that it came in. `None`: the bytes are no such value.
    pub(super) fn read(self, text: Bytes) -> Option<Value> {
        Some(match self {
            Form::Bool => match &*text {
                b"t" => Value::Bool(true),
                b"f" => Value::Bool(false),
                _ => return None,
            },
            Form::Int => Value::Int(std::str::from_utf8(&text).ok()?.parse().ok()?),
            Form::Float => Value::Float(std::str::from_utf8(&text).ok()?.parse().ok()?),
            Form::Text => Value::Text(ByteString::try_from(text).ok()?),
            Form::Bytes => Value::Bytes(from_hex(text.strip_prefix(b"\\x")?)?.into()),
            Form::Typed(kind) => Value::Typed(kind, ByteString::try_from(text).ok()?),
        })
    }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// The text form of a value that is not null, for statements that take no parameters.
pub(super) fn text_of(value: &Value) -> String {
    let mut out = BytesMut::new();
    write_text(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends the text form of a value that is not null.
pub(super) fn write_text(value: &Value, out: &mut BytesMut) {
    // Writing to a BytesMut fails only if it cannot grow, which ends the process anyway.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Bool(truth) => out.write_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => write!(out, "{number}"),
        Value::Float(number) => write_float(*number, out),
        Value::Text(text) | Value::Typed(_, text) => {
            out.put_slice(text.as_bytes());
            Ok(())
        }
        Value::Bytes(bytes) => {
            const DIGITS: [u8; 16] = *b"0123456789abcdef";
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.reserve(2 + 2 * bytes.len());
            out.put_slice(b"\\x");
            bytes.iter().for_each(|byte| out.put_slice(&[digit(byte >> 4), digit(byte & 15)]));
            Ok(())
        }
    };
}

fn write_float(number: f64, out: &mut BytesMut) -> std::fmt::Result {
    let size = number.abs();
    if number.is_nan() {
        out.write_str("NaN")
    } else if number.is_infinite() {
        out.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" })
    } else if size == 0.0 || (1e-5..1e15).contains(&size) {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    }
}

/// One value as a parameter of type `text`.
#[derive(Debug)]
pub(super) struct TextParameter<'a>(pub(super) &'a Value);

impl ToSql for TextParameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if self.0.is_null() {
            return Ok(IsNull::Yes);
        }
        write_text(self.0, out);
        Ok(IsNull::No)
    }

    fn accepts(type_: &Type) -> bool {
        *type_ == Type::TEXT
    }

    to_sql_checked!();
}

/// A column of values as one parameter of type `text[]`, in the binary form of arrays, built without an
/// allocation per row.
#[derive(Debug, Default)]
pub(super) struct TextArray {
    count: i32,
    nulls: bool,
    elements: BytesMut,
}

impl TextArray {
    /// Appends a value.
    pub(super) fn push(&mut self, value: &Value) {
        self.count += 1;
        if value.is_null() {
            self.nulls = true;
            self.elements.put_i32(-1);
            return;
        }
        let start = self.elements.len();
        self.elements.put_i32(0);
        write_text(value, &mut self.elements);
        let size = i32::try_from(self.elements.len() - start - 4).unwrap_or(i32::MAX);
        if let Some(place) = self.elements.get_mut(start..start + 4) {
            place.copy_from_slice(&size.to_be_bytes());
        }
    }
}

impl ToSql for TextArray {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.reserve(20 + self.elements.len());
        out.put_i32(1);
        out.put_i32(i32::from(self.nulls));
        out.put_u32(Type::TEXT.oid());
        out.put_i32(self.count);
        out.put_i32(1);
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(type_: &Type) -> bool {
        *type_ == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> String {
        let mut out = BytesMut::new();
        write_text(value, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn floats_are_written_so_that_they_read_back_to_the_same_bits() {
        for number in [0.0, -0.0, 0.1, 1.5e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, -1e15, 123_456.75]
        {
            let text = written(&Value::Float(number));
            assert_eq!(Form::Float.read(text.clone().into()), Some(Value::Float(number)), "{text}");
        }
        assert_eq!(written(&Value::Float(0.1)), "0.1");
        assert_eq!(written(&Value::Float(f64::NEG_INFINITY)), "-Infinity");
    }

    #[test]
    fn bytes_are_hex_both_ways() {
        let value = Value::Bytes(Bytes::from_static(&[0, 1, 0xfe]));
        assert_eq!(written(&value), "\\x0001fe");
        assert_eq!(Form::Bytes.read("\\x0001FE".into()), Some(value));
        assert_eq!(Form::Bytes.read("\\x0".into()), None);
    }

    #[test]
    fn what_is_no_such_value_is_refused_and_not_guessed() {
        assert_eq!(Form::Int.read("12x".into()), None);
        assert_eq!(Form::Bool.read("yes".into()), None);
        assert_eq!(Form::Text.read(Bytes::from_static(&[0xff])), None);
    }
}
