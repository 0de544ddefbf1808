//! Values of records in JSON. Nothing is rounded on the way: a number that a JSON reader would round (beyond
//! 2^53, decimals, what is not finite) is sent as its text.

use serde_json::{Map as Object, Value as Json};
use tandem_core::{Kind, Relation, Row, Value};

/// The largest whole number that every JSON reader keeps.
const EXACT_MAX: u64 = 1 << 53;

/// A value.
pub(crate) fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) if number.unsigned_abs() <= EXACT_MAX => Json::from(*number),
        Value::Float(number) if number.is_finite() => Json::from(*number),
        Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_) | Value::Typed(..) => {
            Json::String(value.to_string())
        }
    }
}

/// A value that somebody wrote. Text stays text: what is in a source's type more than that, the map reads from it.
pub(crate) fn read(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Typed(Kind::Decimal, number.to_string().into()),
        },
        Json::String(text) => Value::from(text.as_str()),
        nested @ (Json::Array(_) | Json::Object(_)) => Value::Typed(Kind::Json, nested.to_string().into()),
    }
}

/// A row by column. A cell that the log did not name is left out: it is not null.
pub(crate) fn object(relation: &Relation, row: &Row) -> Object<String, Json> {
    let columns = relation.columns.iter().zip(&row.0);
    columns.filter_map(|(column, cell)| Some((column.name.to_string(), json(cell.value()?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_core::{Cell, RelationColumn, TableName};

    fn check(value: Value, expected: &str) {
        assert_eq!(json(&value).to_string(), expected, "{value:?}");
    }

    #[test]
    fn a_number_that_a_json_reader_would_round_is_sent_as_text() {
        check(Value::Int(1 << 53), "9007199254740992");
        check(Value::Int((1 << 53) + 1), "\"9007199254740993\"");
        check(Value::Int(i64::MIN), "\"-9223372036854775808\"");
        check(Value::Float(0.1), "0.1");
        check(Value::Float(f64::NAN), "\"NaN\"");
        check(Value::Typed(Kind::Decimal, "1.10".into()), "\"1.10\"");
        check(Value::Bytes(vec![0, 255].into()), "\"\\\\x00ff\"");
    }

    #[test]
    fn a_cell_that_the_log_did_not_name_is_left_out_and_null_is_null() {
        let column = |name: &str| RelationColumn { name: name.into(), type_name: "".into(), identity: false };
        let relation =
            Relation { table: TableName::parse("t").unwrap(), columns: ["a", "b", "c"].map(column).to_vec() };
        let row = Row(vec![Cell::Set(Value::Int(1)), Cell::Unchanged, Cell::Set(Value::Null)]);
        assert_eq!(Json::Object(object(&relation, &row)).to_string(), r#"{"a":1,"c":null}"#);
    }
}
