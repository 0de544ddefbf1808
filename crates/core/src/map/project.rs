//! From a change of the source to a write at the destination.

use super::FlowSpec;
use crate::{Cell, Change, IntegrationKey, Op, Relation, Row, Seq, Target, Value, Write, WriteOp};
use std::sync::Arc;

/// A flow bound to one relation of its source's log.
#[derive(Debug, Clone)]
pub struct Projection {
    target: Arc<Target>,
    /// For each column of the target, its place in the relation.
    places: Vec<usize>,
    /// The places of the integration key in the relation.
    key: Vec<usize>,
}

/// Why a change cannot be written. It is set aside with this as its error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The relation lacks a mapped column.
    #[error(
        "the record has no column {0}: it was written before the column was added, or under another name"
    )]
    MissingColumn(Arc<str>),
    /// The log does not name the key.
    #[error(
        "the log does not say which record this is: the replica identity does not cover the integration key"
    )]
    MissingKey,
    /// The key has a null.
    #[error("a part of the integration key is null, and null equals nothing")]
    NullKey,
    /// A new record that the log does not name whole.
    #[error("the log does not name all values of a new record")]
    Incomplete,
    /// All records of the table went at once.
    #[error("the source table was truncated; the destination's records were left as they are")]
    Truncated,
}

impl Refusal {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::MissingColumn(_) => "column_missing",
            Refusal::MissingKey => "key_missing",
            Refusal::NullKey => "key_null",
            Refusal::Incomplete => "record_incomplete",
            Refusal::Truncated => "truncated",
        }
    }
}

impl Projection {
    /// The target of a flow; one for all of the flow's projections, so that writes can be told apart by pointer.
    pub fn target(flow: &FlowSpec) -> Arc<Target> {
        Arc::new(Target {
            map: flow.map.clone(),
            table: flow.destination.clone(),
            columns: flow.columns.iter().map(|(_, to)| to.clone()).collect(),
            key: (0..flow.key_len).collect(),
            rank: flow.rank,
        })
    }

    /// Binds a flow to a relation.
    pub fn bind(flow: &FlowSpec, target: Arc<Target>, relation: &Relation) -> Result<Self, Refusal> {
        let places = relation
            .places(flow.columns.iter().map(|(from, _)| &**from))
            .map_err(|missing| Refusal::MissingColumn(missing.into()))?;
        let key = places.iter().copied().take(flow.key_len).collect();
        Ok(Self { target, places, key })
    }

    /// The write that one change asks for, as a flow stands now: for who looks at a change, not for a lane.
    pub fn once(flow: &FlowSpec, change: &Change, seq: Seq, transaction: Seq) -> Result<Write, Refusal> {
        Self::bind(flow, Self::target(flow), &change.relation)?.project(change, seq, transaction)
    }

    /// The write that a change asks for.
    pub fn project(&self, change: &Change, seq: Seq, transaction: Seq) -> Result<Write, Refusal> {
        let op = match &change.op {
            Op::Insert { new } => {
                self.key_of(new)?;
                WriteOp::Upsert(self.whole(new).ok_or(Refusal::Incomplete)?)
            }
            Op::Update { old, new } => self.update(old.as_ref(), new)?,
            Op::Delete { old } => WriteOp::Delete(self.key_of(old)?),
            Op::Truncate => return Err(Refusal::Truncated),
        };
        Ok(Write { seq, transaction, target: self.target.clone(), op })
    }

    fn update(&self, old: Option<&Row>, new: &Row) -> Result<WriteOp, Refusal> {
        let old_key = old.map(|old| self.key_of(old)).transpose()?;
        let Some(old_key) = old_key else {
            return match self.whole(new) {
                Some(values) => {
                    self.key_of(new)?;
                    Ok(WriteOp::Upsert(values))
                }
                None => Ok(WriteOp::Patch { key: self.key_of(new)?, values: self.partial(new) }),
            };
        };
        let mut values = self.partial(new);
        // A key column that was not sent again is as it was.
        for (value, old) in values.iter_mut().zip(old_key.values()) {
            value.get_or_insert_with(|| old.clone());
        }
        let new_key: Vec<Value> = values.iter().take(self.key.len()).flatten().cloned().collect();
        if new_key.iter().any(Value::is_null) {
            return Err(Refusal::NullKey);
        }
        if new_key != old_key.values() {
            return Ok(WriteOp::Rekey { old: old_key, values });
        }
        if values.iter().all(Option::is_some) {
            return Ok(WriteOp::Upsert(values.into_iter().flatten().collect()));
        }
        Ok(WriteOp::Patch { key: old_key, values })
    }

    fn key_of(&self, row: &Row) -> Result<IntegrationKey, Refusal> {
        let key = IntegrationKey::of(row, &self.key).ok_or(Refusal::MissingKey)?;
        if key.has_null() { Err(Refusal::NullKey) } else { Ok(key) }
    }

    fn whole(&self, row: &Row) -> Option<Vec<Value>> {
        self.places.iter().map(|place| row.cell(*place).value().cloned()).collect()
    }

    fn partial(&self, row: &Row) -> Vec<Option<Value>> {
        let value = |place: &usize| match row.cell(*place) {
            Cell::Set(value) => Some(value.clone()),
            Cell::Unchanged => None,
        };
        self.places.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RelationColumn, TableName};

    fn projection() -> (Projection, Arc<Relation>) {
        let relation = Relation {
            table: TableName::parse("s").unwrap(),
            columns: ["note", "no", "name"]
                .map(|name| RelationColumn {
                    name: name.into(),
                    type_name: "".into(),
                    identity: name == "no",
                })
                .to_vec(),
        };
        let flow = FlowSpec {
            map: "m".into(),
            source: relation.table.clone(),
            source_key: vec!["no".into()],
            destination: TableName::parse("d").unwrap(),
            columns: vec![("no".into(), "ext_no".into()), ("name".into(), "title".into())],
            key_len: 1,
            rank: 0,
        };
        let projection = Projection::bind(&flow, Projection::target(&flow), &relation).unwrap();
        (projection, Arc::new(relation))
    }

    fn cells(cells: [Option<&str>; 3]) -> Row {
        Row(cells
            .map(|cell| {
                cell.map_or(Cell::Unchanged, |text| {
                    Cell::Set(if text == "∅" { Value::Null } else { text.into() })
                })
            })
            .to_vec())
    }

    fn check(op: Op, expected: Result<WriteOp, Refusal>) {
        let (projection, relation) = projection();
        let seen = projection.project(&Change { relation, op }, Seq(1), Seq(1)).map(|write| write.op);
        assert_eq!(seen, expected);
    }

    fn key(text: &str) -> IntegrationKey {
        IntegrationKey::from_values(vec![text.into()])
    }

    #[test]
    fn a_whole_row_becomes_an_upsert_of_the_mapped_columns() {
        let row = cells([Some("x"), Some("K1"), Some("Ann")]);
        check(Op::Insert { new: row.clone() }, Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])));
        check(Op::Update { old: None, new: row }, Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])));
    }

    #[test]
    fn an_unchanged_value_that_is_not_mapped_does_not_make_a_row_partial() {
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), Some("Ann")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])),
        );
    }

    #[test]
    fn null_clears_but_unchanged_keeps() {
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), Some("∅")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), Value::Null])),
        );
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), None]) },
            Ok(WriteOp::Patch { key: key("K1"), values: vec![Some("K1".into()), None] }),
        );
    }

    #[test]
    fn a_changed_key_moves_the_record_and_keeps_what_the_log_does_not_name() {
        check(
            Op::Update { old: Some(cells([None, Some("K1"), None])), new: cells([None, Some("K2"), None]) },
            Ok(WriteOp::Rekey { old: key("K1"), values: vec![Some("K2".into()), None] }),
        );
        check(
            Op::Update { old: Some(cells([None, Some("K1"), None])), new: cells([None, None, Some("Ann")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])),
        );
    }

    #[test]
    fn a_record_that_cannot_be_named_is_refused() {
        check(Op::Delete { old: cells([None, None, None]) }, Err(Refusal::MissingKey));
        check(Op::Delete { old: cells([None, Some("∅"), None]) }, Err(Refusal::NullKey));
        check(Op::Insert { new: cells([Some("x"), Some("K1"), None]) }, Err(Refusal::Incomplete));
        check(Op::Truncate, Err(Refusal::Truncated));
    }

    #[test]
    fn a_relation_without_a_mapped_column_cannot_be_bound() {
        let (projection, relation) = projection();
        let flow = FlowSpec {
            map: "m".into(),
            source: relation.table.clone(),
            source_key: vec!["no".into()],
            destination: relation.table.clone(),
            columns: vec![("no".into(), "no".into()), ("phone".into(), "phone".into())],
            key_len: 1,
            rank: 0,
        };
        let refused = Projection::bind(&flow, projection.target, &relation).unwrap_err();
        assert_eq!(refused, Refusal::MissingColumn("phone".into()));
    }
}
