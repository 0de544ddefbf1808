//! What would be written for a change: the record as the map makes it, in the destination's columns.

use super::value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};
use std::collections::BTreeMap;
use tandem_core::map::{Projected, Refusal};
use tandem_core::{Write, WriteOp};
use tandem_engine::Found;

/// The mapped image of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The destination's table; empty if nothing is written.
    pub table: String,
    /// `upsert`: the record is made so, whether or not it is there. `patch`: a record that must be there is changed.
    /// `rekey`: it gets another key, and is made so. `delete`: it is removed. `pass`: the map's filter leaves it out,
    /// and nothing is written.
    pub op: String,
    /// Which record, by column: the key that it has before.
    pub key: Object<String, Json>,
    /// What is written, by column; a column that is left out stays as it is. Null for a delete.
    pub values: Option<Object<String, Json>>,
    /// The columns that the destination looks up as it writes them: in `values` is the key by which it does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub looked_up: BTreeMap<String, LookedUp>,
}

/// How a column is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookedUp {
    /// Through which map.
    pub map: String,
    /// In which table of the destination.
    pub table: String,
    /// Which of its columns is written.
    pub column: String,
    /// `found`, `missing`: the write would be refused, or `unknown`: it was not looked up.
    pub state: String,
    /// What was found.
    pub value: Option<Json>,
}

/// Why a change cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unwritable {
    /// Its stable name, such as `column_missing`.
    pub code: String,
    /// In a sentence.
    pub message: String,
    /// What a person can do about it.
    pub fix: String,
}

/// Asks what a map makes of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TryRequest {
    /// The row, by column of its table. Decimals, dates and times are text; what is left out is missing.
    pub row: Object<String, Json>,
    /// `left` or `right`: where it goes to. A map that goes one way needs none.
    #[serde(default)]
    pub to: Option<String>,
}

/// What a map makes of a row. Exactly one of image and reason is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Whether the filter leaves it out.
    pub filtered: bool,
    /// What would be written.
    pub image: Option<Image>,
    /// Why nothing can be written: the record would be set aside with this as its error.
    pub unwritable: Option<Unwritable>,
}

impl From<(Result<Projected, Refusal>, Vec<Found>)> for Tried {
    fn from((made, found): (Result<Projected, Refusal>, Vec<Found>)) -> Self {
        let filtered = matches!(made, Ok(Projected::Filtered));
        let (mut image, unwritable) = halves(made);
        for Found { column, value } in found {
            let column = image.as_mut().and_then(|image| image.looked_up.get_mut(&*column));
            if let Some(column) = column {
                column.state = if value.is_some() { "found" } else { "missing" }.to_owned();
                column.value = value.as_ref().map(value::json);
            }
        }
        Self { filtered, image, unwritable }
    }
}

/// The two halves of what a map makes of a change: exactly one is there.
pub(crate) fn halves(image: Result<Projected, Refusal>) -> (Option<Image>, Option<Unwritable>) {
    match image {
        Ok(Projected::Write(write)) => (Some(write.into()), None),
        Ok(Projected::Filtered) => (Some(Image::passed()), None),
        Err(refusal) => (None, Some(refusal.into())),
    }
}

impl Image {
    /// Of a change that the filter leaves out.
    fn passed() -> Self {
        Self {
            table: String::new(),
            op: "pass".to_owned(),
            key: Object::new(),
            values: None,
            looked_up: BTreeMap::new(),
        }
    }
}

impl From<Write> for Image {
    fn from(write: Write) -> Self {
        let target = &write.target;
        let columns = || target.columns.iter().map(ToString::to_string);
        let keys = target.key.iter().filter_map(|place| target.columns.get(*place)).map(ToString::to_string);
        let key = |values: &[tandem_core::Value]| keys.zip(values.iter().map(value::json)).collect();
        let named = |values: &[Option<tandem_core::Value>]| {
            columns()
                .zip(values)
                .filter_map(|(name, value)| Some((name, value::json(value.as_ref()?))))
                .collect()
        };
        let (op, key, values): (_, _, Option<Object<String, Json>>) = match &write.op {
            // The key's columns come first among the target's.
            WriteOp::Upsert(all) => {
                ("upsert", key(all), Some(columns().zip(all.iter().map(value::json)).collect()))
            }
            WriteOp::Patch { key: old, values } => ("patch", key(old.values()), Some(named(values))),
            WriteOp::Rekey { old, values } => ("rekey", key(old.values()), Some(named(values))),
            WriteOp::Delete(old) => ("delete", key(old.values()), None),
        };
        let looked_up = target.lookups.iter().filter_map(|(place, lookup)| {
            let column = target.columns.get(*place)?.to_string();
            let how = LookedUp {
                map: lookup.map.to_string(),
                table: lookup.table.to_string(),
                column: lookup.column.to_string(),
                state: "unknown".to_owned(),
                value: None,
            };
            values.as_ref().is_some_and(|values| values.contains_key(&column)).then_some((column, how))
        });
        let looked_up = looked_up.collect();
        Self { table: target.table.to_string(), op: op.to_owned(), key, values, looked_up }
    }
}

impl From<Refusal> for Unwritable {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().to_owned(), message: refusal.to_string(), fix: refusal.fix().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_core::map::{Expression, FlowColumn, FlowSpec, OnLeave, Projection};
    use tandem_core::{Cell, Change, Op, Relation, RelationColumn, Row, Seq, TableName, Value};

    fn check(op: Op, expected: &str) {
        let column = |name: &str| RelationColumn { name: name.into(), type_name: "".into(), identity: true };
        let relation = Arc::new(Relation {
            table: TableName::parse("s").unwrap(),
            columns: ["name", "no", "note"].map(column).to_vec(),
        });
        let flow = FlowSpec {
            map: "m".into(),
            source: relation.table.clone(),
            source_key: vec!["no".into()],
            destination: TableName::parse("public.d").unwrap(),
            columns: vec![FlowColumn::new("no", "ext_no"), FlowColumn::new("name", "title")],
            key_len: 1,
            rank: 0,
            filter: Some(Expression::parse("no < 9").unwrap()),
            on_leave: OnLeave::Keep,
            shape: Default::default(),
            references: Vec::new(),
        };
        let seen = halves(Projection::once(&flow, &Change { relation, op }, Seq(1), Seq(1)));
        assert_eq!(serde_json::to_string(&seen).unwrap(), expected);
    }

    fn row(name: Option<&str>, no: i64) -> Row {
        let name = name.map_or(Cell::Unchanged, |name| Cell::Set(name.into()));
        Row(vec![name, Cell::Set(no.into()), Cell::Set(Value::Null)])
    }

    #[test]
    fn an_image_names_the_destinations_columns_and_only_what_is_written() {
        check(
            Op::Insert { new: row(Some("Ann"), 1) },
            r#"[{"table":"public.d","op":"upsert","key":{"ext_no":1},"values":{"ext_no":1,"title":"Ann"}},null]"#,
        );
        check(
            Op::Update { old: None, new: row(None, 1) },
            r#"[{"table":"public.d","op":"patch","key":{"ext_no":1},"values":{"ext_no":1}},null]"#,
        );
        check(
            Op::Update { old: Some(row(None, 1)), new: row(Some("Ann"), 2) },
            r#"[{"table":"public.d","op":"rekey","key":{"ext_no":1},"values":{"ext_no":2,"title":"Ann"}},null]"#,
        );
        check(
            Op::Delete { old: row(None, 1) },
            r#"[{"table":"public.d","op":"delete","key":{"ext_no":1},"values":null},null]"#,
        );
        check(
            Op::Insert { new: row(Some("Ann"), 9) },
            r#"[{"table":"","op":"pass","key":{},"values":null},null]"#,
        );
    }

    #[test]
    fn what_cannot_be_written_says_why() {
        check(
            Op::Insert { new: row(None, 1) },
            r#"[null,{"code":"record_incomplete","message":"the log does not name all values of a new record","fix":"try the record again with its current row"}]"#,
        );
    }
}
