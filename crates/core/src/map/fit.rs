//! What the types of two columns mean for the values between them.

use super::resolve::FlowColumn;
use super::transform::{Origin, Step};
use crate::decimal::Decimal;
use crate::{Kind, Value};

/// What a column holds, as far as the name of its type tells: the databases' own names are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Int,
    Decimal,
    Float,
    Text,
    Other,
}

/// The name of a type without its length, in lower case.
fn base(type_name: &str) -> String {
    let lower = type_name.to_lowercase();
    let without_length = lower.split('(').next().unwrap_or_default().trim().to_owned();
    if lower.ends_with("[]") { "array".to_owned() } else { without_length }
}

impl Class {
    pub(super) fn of(type_name: &str) -> Self {
        match base(type_name).as_str() {
            "bool" | "boolean" => Class::Bool,
            "int" | "int2" | "int4" | "int8" | "integer" | "smallint" | "bigint" | "tinyint"
            | "mediumint" => Class::Int,
            "numeric" | "decimal" => Class::Decimal,
            "real" | "float" | "float4" | "float8" | "double" | "double precision" => Class::Float,
            "text" | "varchar" | "char" | "bpchar" | "character" | "character varying" | "clob" | "name"
            | "citext" => Class::Text,
            _ => Class::Other,
        }
    }
}

/// Makes what was written in a config values of the column that they go to: `values = { "10" = "1" }` writes a number
/// to a column of numbers.
pub(super) fn literals(column: &mut FlowColumn, type_name: &str) {
    let class = Class::of(type_name);
    if let Origin::Constant(value) = &mut column.from {
        *value = literal(value, class);
    }
    // Only what stands last reaches the column as it is; what comes before is still to be changed.
    let last = column.steps.len();
    for (place, step) in column.steps.iter_mut().enumerate() {
        match step {
            Step::Default(value) if place + 1 == last => *value = literal(value, class),
            Step::Values(values) if place + 1 == last => {
                *values = values.with_second(|value| literal(value, class))
            }
            _ => {}
        }
    }
}

fn literal(value: &Value, class: Class) -> Value {
    let text = match value {
        Value::Text(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        _ => return value.clone(),
    };
    let made = match class {
        Class::Int => text.parse().ok().map(Value::Int),
        Class::Bool => text.parse().ok().map(Value::Bool),
        Class::Decimal => Decimal::parse(&text).map(|_| Value::Typed(Kind::Decimal, text.as_str().into())),
        Class::Float => text.parse().ok().map(Value::Float),
        Class::Text => Some(Value::from(text.as_str())),
        Class::Other => None,
    };
    made.unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_config_writes_as_text_becomes_a_value_of_the_column() {
        let check = |text: &str, type_name: &str, expected: Value| {
            assert_eq!(literal(&text.into(), Class::of(type_name)), expected, "{text} {type_name}");
        };
        check("10", "integer", Value::Int(10));
        check("10", "BIGINT", Value::Int(10));
        check("10", "character varying(3)", "10".into());
        check("1.50", "numeric(10,2)", Value::Typed(Kind::Decimal, "1.50".into()));
        check("true", "boolean", Value::Bool(true));
        check("x", "integer", "x".into());
        check("10", "integer[]", "10".into());
        check("0.5", "double precision", Value::Float(0.5));
        assert_eq!(literal(&Value::Int(5), Class::Text), "5".into());
    }
}
