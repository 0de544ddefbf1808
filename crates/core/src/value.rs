//! Values as the source's log states them: exact, and without the types of any one database.
//!
//! A value must arrive equal or be set aside with a typed error, so nothing here rounds. Whole numbers are
//! `i64`; a decimal is its exact text and never goes through a float; dates, times, UUIDs and whatever a
//! database has beyond that are text in a stated form, which the destination casts back to its own type.
//! Text and bytes share the buffer that they were read from: cloning a value copies no payload.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

/// One value of one column. SQL NULL is [`Value::Null`]; *not sent by the log* is not a value, but
/// [`Cell::Unchanged`](crate::Cell::Unchanged).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number that fits 64 bits. Larger ones are [`Kind::Decimal`].
    Int(i64),
    /// An IEEE double. Equality and hashing are by bits, so that -0, NaN and infinities stay what they are.
    Float(f64),
    /// Text, any valid UTF-8, NUL included.
    Text(ByteString),
    /// Uninterpreted bytes.
    Bytes(Bytes),
    /// A value of another kind, in the text form that [`Kind`] states.
    Typed(Kind, ByteString),
}

/// What the text of a [`Value::Typed`] is, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Exact decimal: optional sign, digits, optional fraction; scale kept; or `NaN`, `Infinity`, `-Infinity`.
    Decimal,
    /// Calendar date: `YYYY-MM-DD`, with ` BC` behind for years before 1; or `infinity`, `-infinity`.
    Date,
    /// Time of day: `HH:MM:SS[.ffffff]`; `24:00:00` is legal.
    Time,
    /// Time of day with offset.
    TimeTz,
    /// Civil date and time without zone: `YYYY-MM-DD HH:MM:SS[.ffffff]`, ` BC` and infinities as for dates.
    Timestamp,
    /// A moment: civil date and time followed by its offset.
    TimestampTz,
    /// A span of time in the ISO 8601 or the source's own text form.
    Interval,
    /// `8-4-4-4-12` in lower case.
    Uuid,
    /// JSON, the text as the source has it.
    Json,
    /// Anything else (arrays, ranges, enums, …): the source's text form, which only the same type can read.
    Other,
}

impl Value {
    /// Whether this is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Bytes that this value occupies beyond its fixed size: what limits and batches count.
    pub fn payload_len(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 8,
            Value::Text(text) | Value::Typed(_, text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }

    /// Appends a form in which two values are equal exactly if their bytes are: the base of key hashes.
    pub(crate) fn canonical(&self, out: &mut Vec<u8>) {
        let mut sized = |tag: u8, payload: &[u8]| {
            out.push(tag);
            out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            out.extend_from_slice(payload);
        };
        match self {
            Value::Null => sized(0, &[]),
            Value::Bool(truth) => sized(1, &[u8::from(*truth)]),
            Value::Int(number) => sized(2, &number.to_le_bytes()),
            Value::Float(number) => sized(3, &number.to_bits().to_le_bytes()),
            Value::Text(text) => sized(4, text.as_bytes()),
            Value::Bytes(bytes) => sized(5, bytes),
            Value::Typed(kind, text) => sized(16 + *kind as u8, text.as_bytes()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Typed(kind_a, a), Value::Typed(kind_b, b)) => kind_a == kind_b && a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let mut bytes = Vec::with_capacity(16 + self.payload_len());
        self.canonical(&mut bytes);
        state.write(&bytes);
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(ByteString::from(text))
    }
}

/// Shows the value to a person who asked for it by name (a queued record, a key). Never for logs.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => write!(f, "{truth}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Text(text) | Value::Typed(_, text) => f.write_str(text),
            Value::Bytes(bytes) => {
                f.write_str("\\x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_compare_by_bits_so_that_negative_zero_and_nan_survive() {
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
    }

    #[test]
    fn the_canonical_form_tells_kinds_and_lengths_apart() {
        let canonical = |value: &Value| {
            let mut out = Vec::new();
            value.canonical(&mut out);
            out
        };
        let values = [
            Value::Null,
            Value::from(""),
            Value::from("1"),
            Value::Int(1),
            Value::Bool(true),
            Value::Bytes(Bytes::from_static(b"1")),
            Value::Typed(Kind::Decimal, "1".into()),
            Value::Typed(Kind::Uuid, "1".into()),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(canonical(a) == canonical(b), i == j, "{a:?} {b:?}");
            }
        }
    }
}
