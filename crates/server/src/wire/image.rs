//! What would be written for a change: the record as the map makes it, in the destination's columns.

use super::value;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};
use tandem_core::map::Refusal;
use tandem_core::{Write, WriteOp};

/// The mapped image of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The destination's table.
    pub table: String,
    /// `upsert`: the record is made so, whether or not it is there. `patch`: a record that must be there is changed.
    /// `rekey`: it gets another key, and is made so. `delete`: it is removed.
    pub op: String,
    /// Which record, by column: the key that it has before.
    pub key: Object<String, Json>,
    /// What is written, by column; a column that is left out stays as it is. Null for a delete.
    pub values: Option<Object<String, Json>>,
}

/// Why a change cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwritable {
    /// Its stable name, such as `column_missing`.
    pub code: String,
    /// In a sentence.
    pub message: String,
}

/// The two halves of what a map makes of a change: exactly one is there.
pub(crate) fn halves(image: Result<Write, Refusal>) -> (Option<Image>, Option<Unwritable>) {
    match image {
        Ok(write) => (Some(write.into()), None),
        Err(refusal) => (None, Some(refusal.into())),
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
        let (op, key, values) = match &write.op {
            // The key's columns come first among the target's.
            WriteOp::Upsert(all) => {
                ("upsert", key(all), Some(columns().zip(all.iter().map(value::json)).collect()))
            }
            WriteOp::Patch { key: old, values } => ("patch", key(old.values()), Some(named(values))),
            WriteOp::Rekey { old, values } => ("rekey", key(old.values()), Some(named(values))),
            WriteOp::Delete(old) => ("delete", key(old.values()), None),
        };
        Self { table: target.table.to_string(), op: op.to_owned(), key, values }
    }
}

impl From<Refusal> for Unwritable {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().to_owned(), message: refusal.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_core::map::{FlowSpec, Projection};
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
            columns: vec![("no".into(), "ext_no".into()), ("name".into(), "title".into())],
            key_len: 1,
            rank: 0,
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
    }

    #[test]
    fn what_cannot_be_written_says_why() {
        check(
            Op::Insert { new: row(None, 1) },
            r#"[null,{"code":"record_incomplete","message":"the log does not name all values of a new record"}]"#,
        );
    }
}
