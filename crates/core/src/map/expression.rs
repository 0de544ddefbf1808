//! Expressions over the columns of one row, in the Common Expression Language (CEL).
//!
//! An [`Expression`] that exists was parsed, and everything that it names is known to be a function of ours or of the
//! language, or a column. Its work is bounded by its length and by the row: a row holds no lists, so the macros that
//! go over lists are refused, and each part of an expression is evaluated at most once. It reads no clock, and money
//! never becomes a float in it: a decimal comes in as its exact text, and `decimal_add` and its like are for that.
//!
//! What goes wrong while it is evaluated is told by kinds and never by values: it ends in logs and lists.

mod functions;

use crate::Value;
use bytestring::ByteString;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::{ExecutionError, Program};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest expression, in bytes.
const LENGTH_MAX: usize = 4_000;
/// Under this name all columns can be reached, by any name: `row["odd name"]`.
const ROW: &str = "row";
/// The most parts that stand inside each other: a part is evaluated inside of the one that it is a part of.
const DEPTH_MAX: usize = 100;

/// An expression that was parsed. Two are equal if their texts are; it is stored as its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Expression {
    text: Arc<str>,
    parsed: Arc<Parsed>,
}

struct Parsed {
    program: Program,
    /// The columns that it names as variables.
    plain: BTreeSet<Arc<str>>,
    /// The columns that it reaches by `row["…"]`.
    indexed: BTreeSet<Arc<str>>,
}

/// Text that is no expression of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadExpression {
    /// Where in the text, in bytes.
    pub at: usize,
    /// What is wrong with it.
    pub why: String,
    /// What to write.
    pub fix: Option<String>,
}

/// Why an expression has no value for a row: kinds and names, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluationError(pub String);

impl Expression {
    /// Parses an expression. With several faults the first is told.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        Self::read(text, true)
    }

    /// Parses one; `strict`: with every function called as it can be called. Of one that was stored that is not asked:
    /// an earlier version took it, and its records are set aside.
    fn read(text: &str, strict: bool) -> Result<Self, BadExpression> {
        let refuse = |at: usize, why: &str| BadExpression { at, why: why.to_owned(), fix: None };
        if text.len() > LENGTH_MAX {
            return Err(refuse(
                LENGTH_MAX,
                &format!("an expression has at most {LENGTH_MAX} bytes, and this one has {}", text.len()),
            ));
        }
        if text.trim().is_empty() {
            return Err(refuse(0, "the expression is empty"));
        }
        let program = Program::compile(text).map_err(|found| syntax(text, &found))?;
        let mut names = Names {
            text,
            program: &program,
            plain: BTreeSet::new(),
            indexed: BTreeSet::new(),
            depth: 0,
            strict,
        };
        names.walk(program.expression())?;
        let Names { plain, indexed, .. } = names;
        Ok(Self { text: text.into(), parsed: Arc::new(Parsed { program, plain, indexed }) })
    }

    /// The text that it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it reads, each once.
    pub fn columns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parsed.plain.union(&self.parsed.indexed)
    }

    /// Its value for a row, of which `value_of` knows the columns.
    pub(crate) fn evaluate(&self, value_of: impl Fn(&str) -> Value) -> Result<Value, EvaluationError> {
        let mut context = functions::context().new_inner_scope();
        for name in &self.parsed.plain {
            context.add_variable_from_value(&**name, inward(value_of(name)));
        }
        if !self.parsed.indexed.is_empty() {
            let indexed = self.parsed.indexed.iter().map(|name| (name.to_string(), inward(value_of(name))));
            context.add_variable_from_value(ROW, indexed.collect::<HashMap<String, cel::Value>>());
        }
        self.parsed.program.execute(&context).map_err(|error| told(&error)).and_then(outward)
    }

    /// Whether it holds for a row. What is neither true nor false is an error: a filter must not guess.
    pub(crate) fn holds(&self, value_of: impl Fn(&str) -> Value) -> Result<bool, EvaluationError> {
        match self.evaluate(value_of)? {
            Value::Bool(truth) => Ok(truth),
            Value::Null => Err(EvaluationError("it is null, and must be true or false".to_owned())),
            _ => Err(EvaluationError("it is neither true nor false".to_owned())),
        }
    }
}

/// The parser's first complaint, at its place.
fn syntax(text: &str, found: &cel::ParseErrors) -> BadExpression {
    let first = found.errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let before: usize =
        text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(usize::try_from(column - 1).unwrap_or(0));
    let at = before + within.map_or(rest.len(), |(place, _)| place);
    let message = first.map_or("it cannot be read", |error| error.msg.as_str());
    if let Some(name) = message.strip_prefix("reserved identifier: ") {
        return BadExpression {
            at,
            why: format!("'{name}' is a word of the language"),
            fix: Some(format!("a column of that name is row[\"{name}\"]")),
        };
    }
    if message.contains("token recognition error") {
        return BadExpression {
            at,
            why: "this is no CEL expression: it is not known what stands here".to_owned(),
            fix: Some("close the text, or write a column of an odd name as row[\"…\"]".to_owned()),
        };
    }
    // What could stand there instead is a list of the grammar's own names, of no use to people.
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting ").next().unwrap_or(message);
    let why = if message.contains("<EOF>") { "the expression ends too early" } else { message };
    BadExpression { at, why: format!("this is no CEL expression: {why}"), fix: None }
}

/// Goes through an expression and takes down what it names.
struct Names<'a> {
    text: &'a str,
    program: &'a Program,
    plain: BTreeSet<Arc<str>>,
    indexed: BTreeSet<Arc<str>>,
    depth: usize,
    strict: bool,
}

impl Names<'_> {
    fn refuse(&self, place: &IdedExpr, why: impl Into<String>, fix: &str) -> BadExpression {
        let at = self.program.source_info().offset_for(place.id).map_or(0, |(start, _)| start as usize);
        BadExpression { at, why: why.into(), fix: Some(fix.to_owned()) }
    }

    fn walk(&mut self, place: &IdedExpr) -> Result<(), BadExpression> {
        if self.depth == DEPTH_MAX {
            let why = "its parts are nested too deeply";
            return Err(BadExpression {
                at: 0,
                ..self.refuse(place, why, "write it with fewer operators in a row")
            });
        }
        self.depth += 1;
        self.enter(place)?;
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self, place: &IdedExpr) -> Result<(), BadExpression> {
        match &place.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if name == ROW => Err(self.refuse(
                place,
                "'row' alone is no value",
                "name a column of it: row[\"name\"], or the column itself",
            )),
            Expr::Ident(name) => {
                self.plain.insert(name.as_str().into());
                Ok(())
            }
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if name == ROW => {
                    self.indexed.insert(select.field.as_str().into());
                    Ok(())
                }
                _ => Err(self.refuse(
                    place,
                    format!("a column has no parts, so there is no '.{}'", select.field),
                    "a column is written as its name, or as row[\"name\"]",
                )),
            },
            Expr::Call(call) => {
                if call.func_name == "_[_]" {
                    return self.index(place, &call.args);
                }
                // What is no identifier is an operator of the language.
                let is_named = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
                if is_named && !functions::KNOWN.contains(&call.func_name.as_str()) {
                    let known = format!("the functions are {}", functions::KNOWN.join(", "));
                    let mut bad =
                        self.refuse(place, format!("there is no function '{}'", call.func_name), &known);
                    // The place of a call is its bracket.
                    if self.text.get(..bad.at).is_some_and(|before| before.ends_with(&call.func_name)) {
                        bad.at -= call.func_name.len();
                    }
                    return Err(bad);
                }
                if is_named
                    && self.strict
                    && let Some((why, fix)) =
                        functions::misused(&call.func_name, call.target.is_some(), call.args.len())
                {
                    return Err(self.refuse(place, why, &fix));
                }
                call.target.iter().try_for_each(|target| self.walk(target))?;
                call.args.iter().try_for_each(|argument| self.walk(argument))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.walk(element)),
            Expr::Comprehension(_) => Err(self.refuse(
                place,
                "a row holds no lists, so all, exists, map and filter are not supported",
                "compare the columns themselves; 'x in [\"a\", \"b\"]' is possible",
            )),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(self.refuse(place, "an expression makes one value, not a map", "write a single value"))
            }
        }
    }

    fn index(&mut self, place: &IdedExpr, arguments: &[IdedExpr]) -> Result<(), BadExpression> {
        if let [of, by] = arguments
            && let (Expr::Ident(of), Expr::Literal(LiteralValue::String(name))) = (&of.expr, &by.expr)
            && of == ROW
        {
            self.indexed.insert(name.inner().into());
            return Ok(());
        }
        Err(self.refuse(place, "only 'row' has parts, and they are named by a text", "write row[\"name\"]"))
    }
}

/// A value as an expression sees it. What is neither a whole number, a float, a truth value nor bytes is its exact
/// text: decimals, dates and times, UUIDs, JSON.
fn inward(value: Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(truth),
        Value::Int(number) => cel::Value::Int(number),
        Value::Float(number) => cel::Value::Float(number),
        Value::Text(text) | Value::Typed(_, text) => cel::Value::String(Arc::new(text.to_string())),
        Value::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
    }
}

fn outward(value: cel::Value) -> Result<Value, EvaluationError> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(truth) => Value::Bool(truth),
        cel::Value::Int(number) => Value::Int(number),
        cel::Value::UInt(number) => match i64::try_from(number) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Typed(crate::Kind::Decimal, number.to_string().into()),
        },
        cel::Value::Float(number) => Value::Float(number),
        cel::Value::String(text) => Value::Text(ByteString::from(text.as_str())),
        cel::Value::Bytes(bytes) => Value::Bytes(bytes.to_vec().into()),
        other => {
            return Err(EvaluationError(format!(
                "its value is a {}, and no column holds that",
                other.type_of()
            )));
        }
    })
}

/// What went wrong, without the values that it went wrong with.
fn told(error: &ExecutionError) -> EvaluationError {
    EvaluationError(match error {
        ExecutionError::NoSuchOverload(what) => {
            format!("{what}; a decimal, a date and a time are text here")
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            format!("'{operator}' does not take {} and {}", left.type_of(), right.type_of())
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", left.type_of(), right.type_of())
        }
        ExecutionError::UnexpectedType { .. } => "a function does not take a value of this type".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(operator, ..) => format!("'{operator}' leaves the range of whole numbers"),
        ExecutionError::FunctionError { function, message }
            if functions::OURS.contains(&function.as_str()) =>
        {
            format!("{function}: {message}")
        }
        ExecutionError::FunctionError { function, .. } => format!("{function} cannot take this value"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function takes {expected} arguments, and was given {actual}")
        }
        _ => "it has no value for this record".to_owned(),
    })
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text.to_string()
    }
}

impl TryFrom<String> for Expression {
    type Error = BadExpression;

    fn try_from(text: String) -> Result<Self, BadExpression> {
        Self::read(&text, false)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn row(name: &str) -> Value {
        match name {
            "status" => "draft".into(),
            "n" => Value::Int(3),
            "amount" => Value::Typed(Kind::Decimal, "0.10".into()),
            "type" => "x".into(),
            "odd name" => "q".into(),
            "raw" => Value::Bytes(vec![1, 2].into()),
            _ => Value::Null,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Value, &str>) {
        let seen = Expression::parse(text).unwrap().evaluate(row).map_err(|error| error.0);
        assert_eq!(seen, expected.map_err(ToOwned::to_owned), "{text}");
    }

    #[test]
    fn columns_are_variables_and_every_name_can_be_reached_through_row() {
        check("status != 'draft'", Ok(Value::Bool(false)));
        check("status in ['draft', 'open']", Ok(Value::Bool(true)));
        check("type + row['odd name'] + row.status", Ok("xqdraft".into()));
        check("n * 2 + size(status)", Ok(Value::Int(11)));
        check("raw", Ok(Value::Bytes(vec![1, 2].into())));
        let expression = Expression::parse("a == row['b c'] || a == row.a").unwrap();
        assert_eq!(expression.columns().map(|name| &**name).collect::<Vec<_>>(), ["a", "b c"]);
    }

    #[test]
    fn null_is_not_the_empty_text_and_equals_only_null() {
        check("gone == null", Ok(Value::Bool(true)));
        check("gone == ''", Ok(Value::Bool(false)));
        check("gone != 'draft'", Ok(Value::Bool(true)));
        check("gone == null ? 'none' : gone", Ok("none".into()));
        check("null", Ok(Value::Null));
    }

    #[test]
    fn money_is_exact() {
        check("decimal_add(amount, '0.2')", Ok("0.30".into()));
        check("decimal_sub(amount, 1)", Ok("-0.90".into()));
        check("decimal_mul('1.1', 12)", Ok("13.2".into()));
        check("decimal_cmp(amount, '0.1') == 0", Ok(Value::Bool(true)));
        check("decimal_round('2.345', 2, 'half_even')", Ok("2.34".into()));
        check("decimal_add(amount, 0.1)", Err("decimal_add: a float is not exact: give the number as text"));
        check("decimal_add(status, 1)", Err("decimal_add: this text is no decimal"));
        check(
            "decimal_round('1', 2, 'somehow')",
            Err("decimal_round: the rounding is half_even, half_up, down, up, floor, ceiling or exact"),
        );
    }

    #[test]
    fn text_has_the_functions_that_the_language_lacks() {
        check("upper(status) + lower('ÄB') + trim('  x ')", Ok("DRAFTäbx".into()));
        check("replace('a-b-c', '-', '')", Ok("abc".into()));
        check("substring('äöüß', 1, 3)", Ok("öü".into()));
        check("substring('ab', 5, 9)", Ok("".into()));
        check("status.startsWith('dr') && status.contains('af')", Ok(Value::Bool(true)));
    }

    #[test]
    fn what_goes_wrong_is_told_without_a_value() {
        check(
            "amount > 1",
            Err(
                "found no matching overload for '_>_' applied to '(string, int)'; a decimal, a date and a time are text here",
            ),
        );
        check("n / 0", Err("it divides by zero"));
        check("status + 1", Err("'add' does not take string and int"));
        check("int(status)", Err("int cannot take this value"));
        check("9223372036854775807 + n", Err("'add' leaves the range of whole numbers"));
        check("[n]", Err("its value is a list, and no column holds that"));
        for text in
            ["n / 0", "status + 1", "int(status)", "status < 1", "upper(n)", "decimal_add(status, status)"]
        {
            let error = Expression::parse(text).unwrap().evaluate(row).unwrap_err().0;
            assert!(!error.contains("draft") && !error.contains('3'), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        let check = |text: &str, at: usize, words: &str| {
            let refused = Expression::parse(text).unwrap_err();
            assert_eq!(refused.at, at, "{text}: {refused:?}");
            let said = format!("{} {}", refused.why, refused.fix.clone().unwrap_or_default());
            assert!(said.contains(words), "{text}: {said}");
        };
        check("", 0, "empty");
        check("a b", 2, "no CEL expression");
        check("a == 'ä' &&", 12, "ends too early");
        check("ä == 'x'", 0, "row[\"…\"]");
        check("package == 1", 0, "row[\"package\"]");
        check("a == 1 && nope(b)", 10, "no function 'nope'");
        check("a.matches('x')", 2, "no function 'matches'");
        check("contains(a, 'x')", 8, "text.contains(part)");
        check("a == '' || a.startsWith()", 23, "'startsWith' takes 2 values, and has 1");
        check("decimal_round(a, 2)", 13, "'decimal_round' takes 3 values, and has 2");
        check("upper(a, b)", 5, "'upper' takes 1 value, and has 2");
        check("[a].exists(x, x == 1)", 10, "no lists");
        check("a.b == 1", 1, "has no parts");
        check("a[0] == 1", 1, "only 'row' has parts");
        check("row == 1", 0, "'row' alone");
        check("row[a] == 1", 3, "only 'row' has parts");
        check(&"a + ".repeat(1100), LENGTH_MAX, "at most 4000 bytes");
        assert!(Expression::parse(&format!("{}a{}", "(".repeat(500), ")".repeat(500))).is_err(), "deep");
        check(&format!("{}a", "a+".repeat(1900)), 0, "nested too deeply");
    }

    #[test]
    fn an_expression_is_stored_as_its_text() {
        let expression = Expression::parse("n > 1").unwrap();
        let stored = serde_json::to_string(&expression).unwrap();
        assert_eq!(stored, "\"n > 1\"");
        assert_eq!(serde_json::from_str::<Expression>(&stored).unwrap(), expression);
        assert!(serde_json::from_str::<Expression>("\"n >\"").is_err());
        let earlier = serde_json::from_str::<Expression>("\"contains(status, 'x')\"").unwrap();
        assert!(earlier.evaluate(row).is_err(), "what was stored can be read");
    }
}
