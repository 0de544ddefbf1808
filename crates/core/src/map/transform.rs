//! What happens to a value on its way from a column to another.
//!
//! A way has a beginning, the [`Origin`], and steps. Null passes through every step but `default`, which is for it:
//! null is not the empty text, and no step makes one of the other. A value that a step cannot take is refused with a
//! typed reason, and its record is set aside; nothing is guessed, cut or rounded that nobody asked for.

mod values;
pub(crate) mod zone;

pub use values::{Unmapped, ValueMap};
pub use zone::{UnknownZone, Zone};

use super::expression::Expression;
use crate::decimal::{Decimal, Rounding};
use crate::{Kind, Value};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a value of the destination comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A column of the source.
    Column(Arc<str>),
    /// Always the same value.
    Constant(Value),
    /// The source's row, by an expression.
    Expression(Expression),
}

/// One step of the way of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Null becomes this.
    Default(Value),
    /// Text without white space around it.
    Trim,
    /// At most so many characters of a text.
    Truncate(u32),
    /// Text in upper or lower case, as Unicode has it.
    Case(Case),
    /// Each occurrence of a text becomes another.
    Replace {
        /// What is replaced; not empty.
        from: Arc<str>,
        /// By what.
        to: Arc<str>,
    },
    /// A number with so many digits behind the point.
    Scale {
        /// How many.
        digits: u32,
        /// What becomes of those that are cut off.
        rounding: Rounding,
    },
    /// A moment becomes what the clocks of a place showed at it, and the other way round.
    TimeZone(Zone),
    /// Values become others by a list.
    Values(ValueMap),
}

/// Upper or lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// `ÄPFEL`
    Upper,
    /// `äpfel`
    Lower,
}

/// Why a step cannot take a value. It names no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The step is for text.
    #[error("it is no text")]
    NotText,
    /// The step is for exact numbers.
    #[error("it is no whole number and no decimal")]
    NotANumber,
    /// Digits would be lost although none may be, or there are too many.
    #[error("it does not fit the number of digits")]
    Digits,
    /// The step is for times.
    #[error("it is no date with a time")]
    NotATime,
    /// The clocks of the zone never showed it: they were put forward.
    #[error("the clocks of the zone never showed this time")]
    NoSuchTime,
    /// The clocks of the zone showed it twice: they were put back.
    #[error("the clocks of the zone showed this time twice")]
    TimeTwice,
    /// No list of values has it.
    #[error("the map's list of values does not have it")]
    Unmapped,
}

impl StepError {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            StepError::NotText => "value_no_text",
            StepError::NotANumber => "value_no_number",
            StepError::Digits => "value_digits",
            StepError::NotATime => "value_no_time",
            StepError::NoSuchTime => "time_missing",
            StepError::TimeTwice => "time_ambiguous",
            StepError::Unmapped => "value_unmapped",
        }
    }

    /// What a person can do about it.
    pub fn fix(self) -> &'static str {
        match self {
            StepError::NotText => {
                "take the step out of the column, or make text of it: { expression = \"string(x)\" }"
            }
            StepError::NotANumber => "take 'scale' out of the column, or correct the value in the source",
            StepError::Digits => "name another rounding than \"exact\", or more digits",
            StepError::NotATime => "take 'timezone' out of the column, or correct the value in the source",
            StepError::NoSuchTime | StepError::TimeTwice => {
                "correct the time in the source, or keep it there with its offset"
            }
            StepError::Unmapped => {
                "add the value to the column's 'values', or write unmapped_values = \"pass\" beside them"
            }
        }
    }
}

impl Step {
    /// Does the step.
    pub(crate) fn apply(&self, value: Value) -> Result<Value, StepError> {
        if value.is_null() {
            return Ok(match self {
                Step::Default(instead) => instead.clone(),
                _ => value,
            });
        }
        match self {
            Step::Default(_) => Ok(value),
            Step::Trim => text(&value, |text| text.trim().to_owned()),
            Step::Truncate(most) => text(&value, |text| text.chars().take(*most as usize).collect()),
            Step::Case(Case::Upper) => text(&value, str::to_uppercase),
            Step::Case(Case::Lower) => text(&value, str::to_lowercase),
            Step::Replace { from, to } => text(&value, |text| text.replace(&**from, to)),
            Step::Scale { digits, rounding } => scaled(&value, *digits, *rounding),
            Step::TimeZone(zone) => zone.convert(&value),
            Step::Values(map) => map.apply(value),
        }
    }

    /// Whether what it did can be undone: its way back is known from it alone.
    pub fn is_invertible(&self) -> bool {
        match self {
            Step::TimeZone(_) => true,
            Step::Values(map) => map.is_invertible(),
            Step::Default(_)
            | Step::Trim
            | Step::Truncate(_)
            | Step::Case(_)
            | Step::Replace { .. }
            | Step::Scale { .. } => false,
        }
    }

    /// Its name, as a config has it.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Default(_) => "default",
            Step::Trim => "trim",
            Step::Truncate(_) => "truncate",
            Step::Case(_) => "case",
            Step::Replace { .. } => "replace",
            Step::Scale { .. } => "scale",
            Step::TimeZone(_) => "timezone",
            Step::Values(_) => "values",
        }
    }
}

/// Text, and what a source has as text only because no other database has the type: enumerations, `citext`.
fn text(value: &Value, make: impl Fn(&str) -> String) -> Result<Value, StepError> {
    match value {
        Value::Text(text) | Value::Typed(Kind::Other, text) => Ok(Value::Text(ByteString::from(make(text)))),
        _ => Err(StepError::NotText),
    }
}

fn scaled(value: &Value, digits: u32, rounding: Rounding) -> Result<Value, StepError> {
    let decimal = match value {
        Value::Int(number) => Decimal::parse(&number.to_string()),
        Value::Typed(Kind::Decimal, text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            return Ok(value.clone());
        }
        Value::Typed(Kind::Decimal, text) | Value::Text(text) => Decimal::parse(text),
        _ => None,
    };
    let decimal = decimal.ok_or(StepError::NotANumber)?;
    let scaled = decimal.rescale(digits as usize, rounding).ok_or(StepError::Digits)?;
    Ok(Value::Typed(Kind::Decimal, scaled.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &'static str) -> Value {
        Value::Typed(Kind::Decimal, text.into())
    }

    #[track_caller]
    fn check(step: &Step, value: Value, expected: Result<Value, StepError>) {
        assert_eq!(step.apply(value), expected, "{step:?}");
    }

    #[test]
    fn null_passes_through_everything_but_default() {
        let steps = [
            Step::Trim,
            Step::Truncate(1),
            Step::Case(Case::Upper),
            Step::Replace { from: "a".into(), to: "b".into() },
            Step::Scale { digits: 1, rounding: Rounding::Exact },
            Step::TimeZone(Zone::find("UTC").unwrap()),
            Step::Values(ValueMap::new(vec![("a".into(), "b".into())], Unmapped::Refuse)),
        ];
        for step in &steps {
            check(step, Value::Null, Ok(Value::Null));
        }
        check(&Step::Default("x".into()), Value::Null, Ok("x".into()));
        check(&Step::Default("x".into()), "".into(), Ok("".into()));
    }

    #[test]
    fn text_is_cut_by_characters_and_never_inside_of_one() {
        check(&Step::Truncate(3), "äöüß".into(), Ok("äöü".into()));
        check(&Step::Truncate(1), "𝄞x".into(), Ok("𝄞".into()));
        check(&Step::Trim, " \t x y\u{a0} ".into(), Ok("x y".into()));
        check(&Step::Case(Case::Upper), "straße".into(), Ok("STRASSE".into()));
        check(&Step::Replace { from: "-".into(), to: "".into() }, "a-b-".into(), Ok("ab".into()));
        check(&Step::Trim, Value::Typed(Kind::Other, " mood ".into()), Ok("mood".into()));
        check(&Step::Trim, Value::Int(1), Err(StepError::NotText));
        check(&Step::Trim, Value::Typed(Kind::Json, "{}".into()), Err(StepError::NotText));
    }

    #[test]
    fn numbers_are_scaled_exactly_and_never_through_a_float() {
        let step = |digits, rounding| Step::Scale { digits, rounding };
        check(&step(2, Rounding::HalfEven), decimal("2.345"), Ok(decimal("2.34")));
        check(&step(2, Rounding::HalfUp), "2.345".into(), Ok(decimal("2.35")));
        check(&step(2, Rounding::Exact), Value::Int(7), Ok(decimal("7.00")));
        check(&step(2, Rounding::Exact), decimal("2.345"), Err(StepError::Digits));
        check(&step(2, Rounding::HalfUp), decimal("NaN"), Ok(decimal("NaN")));
        check(&step(2, Rounding::HalfUp), Value::Float(2.5), Err(StepError::NotANumber));
        check(&step(2, Rounding::HalfUp), "two".into(), Err(StepError::NotANumber));
    }
}
