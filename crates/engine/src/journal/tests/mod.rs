//! What the journal's tests share: short ways to say tables, changes and transactions.

#![allow(clippy::indexing_slicing)]

mod damage;
mod dropping;
mod failures;
mod golden;
mod model;
mod reading;
mod round_trip;

use super::*;
use crate::disk::SimulatedDisk;
use tandem_core::{
    Cell, Commit, Entry, Fragment, JournalId, Op, Position, Relation, RelationColumn, Row, Value,
};

pub(super) const DIR: &str = "streams/erp-crm";

pub(super) fn identity() -> Identity {
    Identity { journal: JournalId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), stream: "erp→crm".into() }
}

pub(super) fn open(disk: &SimulatedDisk, settings: Settings) -> Result<Journal, JournalError> {
    Journal::open(Arc::new(disk.clone()), DIR, identity(), settings)
}

pub(super) fn table(name: &str) -> TableName {
    TableName { schema: Some("app".into()), name: name.into() }
}

pub(super) fn relation(name: &str, columns: &[&str]) -> Arc<Relation> {
    let column = |name: &&str| RelationColumn {
        name: (*name).into(),
        type_name: "text".into(),
        identity: *name == "id",
    };
    Arc::new(Relation { table: table(name), columns: columns.iter().map(column).collect() })
}

pub(super) fn spec(flow: u32, name: &str, key: &str, from: u64) -> FlowSpec {
    FlowSpec { flow: FlowId(flow), table: table(name), key: vec![key.into()], span: Span::beyond(Seq(from)) }
}

pub(super) fn insert(relation: &Arc<Relation>, id: i64, text: &str) -> Entry {
    let new = Row::of([Value::Int(id), Value::from(text)]);
    Entry::Change(Change { relation: Arc::clone(relation), op: Op::Insert { new } })
}

pub(super) fn update(relation: &Arc<Relation>, old: i64, id: i64, text: &str) -> Entry {
    let old = Some(Row(vec![Cell::Set(Value::Int(old)), Cell::Unchanged]));
    let new = Row::of([Value::Int(id), Value::from(text)]);
    Entry::Change(Change { relation: Arc::clone(relation), op: Op::Update { old, new } })
}

pub(super) fn position(number: u64) -> Position {
    Position(number.to_be_bytes().to_vec().into())
}

pub(super) fn commit(number: u64) -> Commit {
    Commit {
        position: position(number),
        transaction: format!("tx-{number}").into(),
        committed_at: WallTime(1_000_000 + number as i64),
    }
}

pub(super) fn transaction(number: u64, entries: Vec<Entry>) -> Fragment {
    Fragment { entries, commit: Some(commit(number)), mark: None }
}

pub(super) const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: u64::MAX, through: Seq(u64::MAX) };

/// Reads to the head, whatever the pieces.
pub(super) fn read_all(reader: &mut Reader, limit: ReadLimit) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    loop {
        let piece = reader.next(limit)?;
        records.extend(piece.records);
        if piece.end == PieceEnd::Head {
            return Ok(records);
        }
    }
}
