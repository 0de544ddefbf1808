//! What the types of two columns mean for the values between them.

use super::resolve::FlowColumn;
use super::transform::{Origin, Step};
use crate::decimal::Decimal;
use crate::{ColumnSchema, Kind, Value};

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

/// A value that a person wrote down, as a column of a type has it: `0.5` is a float in a column of floats. What the column
/// cannot have stays as it is.
pub fn given(value: Value, type_name: &str) -> Value {
    let class = Class::of(type_name);
    let value = match value {
        Value::Typed(Kind::Decimal, text) if matches!(class, Class::Float | Class::Text) => Value::Text(text),
        other => other,
    };
    match (class, &value) {
        (Class::Decimal, Value::Text(text)) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            Value::Typed(Kind::Decimal, text.clone())
        }
        // A database without types may well have a whole number there.
        (Class::Decimal, Value::Int(_)) => value,
        _ => literal(&value, class),
    }
}

/// What stands against the values of a column on their way into another: warnings, since most values may well fit.
/// Each is a code, what is wrong in a sentence about the destination's column, and what mends it.
pub(super) fn doubts(
    column: &FlowColumn,
    from: &ColumnSchema,
    to: &ColumnSchema,
) -> Vec<(&'static str, String, String)> {
    let mut doubts = Vec::new();
    let has_default = column.steps.iter().any(|step| matches!(step, Step::Default(_)));
    if from.nullable && !to.nullable && !has_default {
        doubts.push((
            "null_refused",
            format!("{} may be null and {} must not: such records are set aside", from.name, to.name),
            format!("give the column a default: {{ left = …, right = …, default = \"…\" }}; or ALTER {} DROP NOT NULL", to.name),
        ));
    }
    if let Some(step) = unfit_step(&column.steps, Class::of(&from.type_name)) {
        doubts.push((
            "step_unfit",
            format!(
                "{} is {}, which '{step}' does not take: such records are set aside",
                from.name, from.type_name
            ),
            format!("take '{step}' out of the column, or make the value by an expression"),
        ));
    }
    // A step makes another value of it: what it fits into is not known from the column.
    let shape = |step: &Step| matches!(step, Step::Values(_) | Step::TimeZone(_) | Step::Replace { .. });
    if column.steps.iter().any(shape) {
        return doubts;
    }
    if let Some((why, fix)) = narrower(column, &from.type_name, &to.type_name) {
        let message =
            format!("{} is {} and {} is {}: {why}", from.name, from.type_name, to.name, to.type_name);
        doubts.push(("type_narrower", message, fix));
    }
    doubts
}

/// The first step that takes no value of a class, by its name. What a list of values or a time zone makes is another
/// class.
fn unfit_step(steps: &[Step], class: Class) -> Option<&'static str> {
    let alike = steps.iter().take_while(|step| !matches!(step, Step::Values(_) | Step::TimeZone(_)));
    let is_unfit = |step: &&Step| match step {
        Step::Trim | Step::Truncate(_) | Step::Case(_) | Step::Replace { .. } => {
            matches!(class, Class::Bool | Class::Int | Class::Decimal | Class::Float)
        }
        Step::Scale { .. } => matches!(class, Class::Bool | Class::Float),
        Step::Default(_) | Step::TimeZone(_) | Step::Values(_) => false,
    };
    alike.into_iter().find(is_unfit).map(Step::name)
}

/// Why a value of one type may not fit into another, and what to do.
fn narrower(column: &FlowColumn, from: &str, to: &str) -> Option<(String, String)> {
    let (source, destination) = (Class::of(from), Class::of(to));
    let wider = |what: &str| {
        (what.to_owned(), format!("ALTER the column {} to a type as wide as the source's", column.to))
    };
    if let Some(most) = length(to) {
        let cut = column.steps.iter().find_map(|step| match step {
            Step::Truncate(most) => Some(*most),
            _ => None,
        });
        if cut.or_else(|| length(from)).is_some_and(|longest| longest <= most) {
            return None;
        }
        let why = format!("a text of more than {most} characters is set aside");
        return Some((
            why,
            format!("add {{ truncate = {most} }}, or ALTER the column {} to a longer one", column.to),
        ));
    }
    match (source, destination) {
        (Class::Int, Class::Int) if bytes(from)? > bytes(to)? => Some(wider("a larger number is set aside")),
        (Class::Decimal | Class::Float, Class::Int) => Some(wider("a number with a fraction is set aside")),
        (Class::Decimal | Class::Int, Class::Float) => {
            Some(wider("a number that a float cannot hold exactly is set aside"))
        }
        (Class::Float, Class::Float) if bytes(from)? > bytes(to)? => {
            Some(wider("a number that does not fit exactly is set aside"))
        }
        (Class::Decimal | Class::Float | Class::Int, Class::Decimal) => {
            let (precision, scale) = digits(to)?;
            let scaled = column.steps.iter().find_map(|step| match step {
                Step::Scale { digits, .. } => Some(i64::from(*digits)),
                _ => None,
            });
            let known = digits(from).map(|(precision, scale)| (precision - scale, scale));
            let known = known.or((source == Class::Int).then_some((19, 0)));
            let behind = scaled.or(known.map(|(_, behind)| behind));
            let before = known.map(|(before, _)| before);
            if behind.is_none_or(|behind| behind > scale) {
                let fix = match source {
                    // Rounding is exact arithmetic, which takes no float.
                    Class::Float => format!("ALTER the column {} to numeric or to a float", column.to),
                    _ => format!(
                        "add {{ scale = {scale}, rounding = \"half_even\" }}, or ALTER the column {}",
                        column.to
                    ),
                };
                return Some((
                    format!("a number with more than {scale} digits behind the point is set aside"),
                    fix,
                ));
            }
            before
                .is_none_or(|before| before > precision - scale)
                .then(|| wider("a larger number is set aside"))
        }
        (Class::Text, Class::Bool | Class::Int | Class::Decimal | Class::Float) => {
            Some(wider("a text that is no such value is set aside"))
        }
        _ => None,
    }
}

/// The most characters that a type takes. SQLite's `VARCHAR(10)` says it and does not mean it.
fn length(type_name: &str) -> Option<u32> {
    let name = base(type_name);
    let counts = matches!(name.as_str(), "character varying" | "character");
    counts.then(|| arguments(type_name).first().copied()).flatten().and_then(|most| u32::try_from(most).ok())
}

/// Precision and scale of a decimal type that has them.
fn digits(type_name: &str) -> Option<(i64, i64)> {
    let given = arguments(type_name);
    let named = base(type_name) == "numeric";
    given.first().filter(|_| named).map(|precision| (*precision, given.get(1).copied().unwrap_or(0)))
}

fn arguments(type_name: &str) -> Vec<i64> {
    let inside =
        type_name.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    inside
        .map(|inside| inside.split(',').filter_map(|part| part.trim().parse().ok()).collect())
        .unwrap_or_default()
}

/// The bytes of a number of the databases that mean it; SQLite keeps 64 bits whatever a column is called.
fn bytes(type_name: &str) -> Option<u8> {
    match type_name {
        "smallint" => Some(2),
        "integer" | "real" => Some(4),
        "bigint" | "double precision" | "INTEGER" => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_column_is_told_unless_a_step_makes_it_fit() {
        use crate::map::Rounding;
        let check = |from: &str, to: &str, steps: Vec<Step>, expected: &str| {
            let column = FlowColumn { steps, ..FlowColumn::new("a", "b") };
            let seen = narrower(&column, from, to).map(|(why, _)| why).unwrap_or_default();
            assert!(seen.contains(expected) && seen.is_empty() == expected.is_empty(), "{from} {to}: {seen}");
        };
        check("text", "character varying(10)", vec![], "more than 10 characters");
        check("character varying(10)", "character varying(10)", vec![], "");
        check("text", "character varying(10)", vec![Step::Truncate(10)], "");
        check("TEXT", "VARCHAR(10)", vec![], "");
        check("bigint", "integer", vec![], "a larger number");
        check("INTEGER", "integer", vec![], "a larger number");
        check("integer", "bigint", vec![], "");
        check("numeric", "numeric(12,2)", vec![], "more than 2 digits behind the point");
        check("numeric(12,2)", "numeric(12,2)", vec![], "");
        check("numeric(14,2)", "numeric(12,2)", vec![], "a larger number");
        check("integer", "numeric", vec![], "");
        let scale = Step::Scale { digits: 2, rounding: Rounding::HalfEven };
        check("numeric(10,4)", "numeric(12,2)", vec![scale], "");
        check("numeric", "double precision", vec![], "cannot hold exactly");
        check("numeric", "bigint", vec![], "with a fraction");
        check("text", "integer", vec![], "no such value");
        check("integer", "text", vec![], "");
        check("integer[]", "integer", vec![], "");
    }

    #[test]
    fn a_step_that_takes_no_value_of_the_column_is_told_and_never_advised() {
        use crate::map::Rounding;
        let column = |type_name: &str| ColumnSchema {
            name: "a".into(),
            type_name: type_name.into(),
            nullable: true,
            has_default: false,
            generated: false,
        };
        let told = |from: &str, to: &str, steps: &[Step]| -> Vec<(&str, String)> {
            let way = FlowColumn { steps: steps.to_vec(), ..FlowColumn::new("a", "b") };
            doubts(&way, &column(from), &column(to)).into_iter().map(|(code, _, fix)| (code, fix)).collect()
        };
        let scale = [Step::Scale { digits: 2, rounding: Rounding::HalfEven }];
        let codes = |from: &str, steps: &[Step]| {
            told(from, "text", steps).into_iter().map(|(code, _)| code.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(codes("double precision", &scale), ["step_unfit"]);
        assert_eq!(codes("bigint", &[Step::Trim]), ["step_unfit"]);
        assert_eq!(codes("numeric", &scale), [""; 0]);
        assert_eq!(codes("text", &scale), [""; 0]);
        assert_eq!(codes("character varying(10)", &[Step::Trim]), [""; 0]);
        let advised = told("double precision", "numeric(12,2)", &[]);
        assert!(
            matches!(advised.as_slice(), [("type_narrower", fix)] if !fix.contains("scale")),
            "{advised:?}"
        );
    }

    #[test]
    fn what_a_person_gives_is_what_the_column_would_have() {
        let decimal = |text: &'static str| Value::Typed(Kind::Decimal, text.into());
        let check = |value: Value, type_name: &str, expected: Value| {
            assert_eq!(given(value.clone(), type_name), expected, "{value:?} {type_name}");
        };
        check(decimal("0.125"), "double precision", Value::Float(0.125));
        check(Value::Int(2), "real", Value::Float(2.0));
        check(decimal("0.125"), "numeric(12,2)", decimal("0.125"));
        check("NaN".into(), "numeric", decimal("NaN"));
        check("1.5".into(), "numeric", decimal("1.5"));
        check(Value::Int(7), "text", "7".into());
        check("7".into(), "bigint", Value::Int(7));
        check("x".into(), "bigint", "x".into());
        check(Value::Null, "bigint", Value::Null);
        check("2024-01-01".into(), "date", "2024-01-01".into());
    }

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
