//! The functions that expressions may call: those of the language that need neither a clock nor regular expressions,
//! and ours. Every one of ours can be written as `f(x, y)` and as `x.f(y)`, and makes at most [`TEXT_MAX`] bytes.

use crate::decimal::{Decimal, Rounding};
use cel::{Context, ExecutionError, Value};
use std::cmp::Ordering;
use std::sync::OnceLock;

/// The longest text that a function of ours makes, in bytes.
const TEXT_MAX: usize = 16 << 20;

/// Every function that may be called.
pub(super) const KNOWN: [&str; 21] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "uint",
    "decimal_add",
    "decimal_sub",
    "decimal_mul",
    "decimal_cmp",
    "decimal_round",
    "lower",
    "upper",
    "trim",
    "replace",
    "substring",
];

/// Those whose errors we have worded ourselves, without values.
pub(super) const OURS: [&str; 10] = [
    "decimal_add",
    "decimal_sub",
    "decimal_mul",
    "decimal_cmp",
    "decimal_round",
    "lower",
    "upper",
    "trim",
    "replace",
    "substring",
];

/// What is wrong with a call of a known function, and how it is called: such a call has no value for any record.
/// `behind`: it stands behind a value and a dot, which is its first argument.
pub(super) fn misused(name: &str, behind: bool, arguments: usize) -> Option<(String, String)> {
    let (takes, only_behind, form) = match name {
        "contains" | "startsWith" | "endsWith" => (2, true, format!("text.{name}(part)")),
        "decimal_add" | "decimal_sub" | "decimal_mul" | "decimal_cmp" => (2, false, format!("{name}(x, y)")),
        "decimal_round" => (3, false, "decimal_round(x, digits, 'half_even')".to_owned()),
        "replace" => (3, false, "replace(text, from, to)".to_owned()),
        "substring" => (3, false, "substring(text, start, end)".to_owned()),
        _ => (1, false, format!("{name}(x)")),
    };
    let given = arguments + usize::from(behind);
    let fix = format!("write {form}");
    if given != takes {
        let values = if takes == 1 { "value" } else { "values" };
        return Some((format!("'{name}' takes {takes} {values}, and has {given}"), fix));
    }
    (only_behind && !behind).then(|| (format!("'{name}' stands behind the text that it is about"), fix))
}

type Answer = Result<Value, ExecutionError>;

/// The context that every evaluation starts from; built once, since that takes longer than to evaluate.
pub(super) fn context() -> &'static Context<'static, 'static> {
    static CONTEXT: OnceLock<Context<'static, 'static>> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let mut context = Context::default();
        let added = [
            context.add_function("decimal_add", |a: Value, b: Value| -> Answer {
                decimals("decimal_add", &a, &b, |a, b| a.add(b).map(|sum| text(&sum)))
            }),
            context.add_function("decimal_sub", |a: Value, b: Value| -> Answer {
                decimals("decimal_sub", &a, &b, |a, b| a.subtract(b).map(|difference| text(&difference)))
            }),
            context.add_function("decimal_mul", |a: Value, b: Value| -> Answer {
                decimals("decimal_mul", &a, &b, |a, b| a.multiply(b).map(|product| text(&product)))
            }),
            context.add_function("decimal_cmp", |a: Value, b: Value| -> Answer {
                decimals("decimal_cmp", &a, &b, |a, b| {
                    Some(Value::Int(match a.partial_cmp(b)? {
                        Ordering::Less => -1,
                        Ordering::Equal => 0,
                        Ordering::Greater => 1,
                    }))
                })
            }),
            context.add_function("decimal_round", round),
            context.add_function("lower", |a: Value| -> Answer { cased("lower", &a, str::to_lowercase) }),
            context.add_function("upper", |a: Value| -> Answer { cased("upper", &a, str::to_uppercase) }),
            context.add_function("trim", |a: Value| -> Answer {
                cased("trim", &a, |text| text.trim().to_owned())
            }),
            context.add_function("replace", replace),
            context.add_function("substring", substring),
        ];
        debug_assert!(added.iter().all(Result::is_ok), "no name is taken: {added:?}");
        context
    })
}

fn refuse(function: &str, why: &str) -> ExecutionError {
    ExecutionError::function_error(function, why)
}

fn text(decimal: &Decimal) -> Value {
    Value::from(decimal.to_string())
}

fn decimal(function: &str, value: &Value) -> Result<Decimal, ExecutionError> {
    let found = match value {
        Value::Int(number) => Decimal::parse(&number.to_string()),
        Value::UInt(number) => Decimal::parse(&number.to_string()),
        Value::String(text) => Decimal::parse(text),
        Value::Float(_) => return Err(refuse(function, "a float is not exact: give the number as text")),
        Value::Null => return Err(refuse(function, "null is no decimal")),
        _ => return Err(refuse(function, "it takes whole numbers, and decimals as text")),
    };
    found.ok_or_else(|| refuse(function, "this text is no decimal"))
}

fn decimals(
    function: &str,
    a: &Value,
    b: &Value,
    make: impl Fn(&Decimal, &Decimal) -> Option<Value>,
) -> Answer {
    make(&decimal(function, a)?, &decimal(function, b)?)
        .ok_or_else(|| refuse(function, "the result has too many digits"))
}

fn round(a: Value, scale: i64, rounding: Value) -> Answer {
    const NAME: &str = "decimal_round";
    let asked = string(NAME, &rounding)?;
    let rounding = Rounding::NAMED.iter().find(|(name, _)| *name == asked).map(|(_, rounding)| *rounding);
    let rounding = rounding.ok_or_else(|| {
        refuse(NAME, "the rounding is half_even, half_up, down, up, floor, ceiling or exact")
    })?;
    let scale = usize::try_from(scale).map_err(|_| refuse(NAME, "the scale is 0 or more"))?;
    let rounded = decimal(NAME, &a)?.rescale(scale, rounding);
    Ok(text(&rounded.ok_or_else(|| refuse(NAME, "digits would be lost, or there are too many"))?))
}

fn string<'a>(function: &str, value: &'a Value) -> Result<&'a str, ExecutionError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Err(refuse(function, "null is no text")),
        _ => Err(refuse(function, "it takes text")),
    }
}

fn bounded(function: &str, length: usize) -> Result<(), ExecutionError> {
    if length > TEXT_MAX { Err(refuse(function, "the text becomes too long")) } else { Ok(()) }
}

fn cased(function: &str, a: &Value, make: impl Fn(&str) -> String) -> Answer {
    let text = string(function, a)?;
    bounded(function, text.len())?;
    Ok(Value::from(make(text)))
}

fn replace(a: Value, from: Value, to: Value) -> Answer {
    const NAME: &str = "replace";
    let (text, from, to) = (string(NAME, &a)?, string(NAME, &from)?, string(NAME, &to)?);
    if from.is_empty() {
        return Err(refuse(NAME, "what is to be replaced is empty"));
    }
    bounded(NAME, text.len().saturating_add(text.matches(from).count().saturating_mul(to.len())))?;
    Ok(Value::from(text.replace(from, to)))
}

/// By characters, the end left out; beyond the end there is nothing.
fn substring(a: Value, start: i64, end: i64) -> Answer {
    const NAME: &str = "substring";
    let text = string(NAME, &a)?;
    let place = |place: i64| usize::try_from(place).map_err(|_| refuse(NAME, "a place is 0 or more"));
    let (start, end) = (place(start)?, place(end)?);
    Ok(Value::from(text.chars().skip(start).take(end.saturating_sub(start)).collect::<String>()))
}
