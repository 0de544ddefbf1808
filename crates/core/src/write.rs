//! What is to happen at the destination: writes, as a map projects them from changes.

use crate::{Fault, FaultClass, IntegrationKey, MapName, Seq, TableName, Value};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The table that a flow writes to, and the columns of it that the flow writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The map, to name who wants it.
    pub map: MapName,
    /// The table.
    pub table: TableName,
    /// The columns that the map writes, in the order of a write's cells.
    pub columns: Vec<Arc<str>>,
    /// The places of the integration key among `columns`.
    pub key: Vec<usize>,
    /// Parents before children: deletes go in falling, other writes in rising order when a batch is grouped.
    pub rank: u32,
    /// Columns whose values are looked up as they are written, by their places. None is part of the key.
    pub lookups: Vec<(usize, Lookup)>,
}

/// A value that only the destination knows: a write brings the key of a record of another table, and what is written is
/// a column of that record.
///
/// It is looked up in the destination transaction that writes it, so a record that the same transaction makes is found.
/// Null is written as null. A key that no record has, or whose record has null there, is refused with
/// [`Lookup::missing`]: what it refers to may be on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lookup {
    /// The map that writes the other table.
    pub map: MapName,
    /// The other table, at the destination.
    pub table: TableName,
    /// The column of it that is compared with the value of the write: its integration key.
    pub key: Arc<str>,
    /// The column of it that is written.
    pub column: Arc<str>,
}

impl Target {
    /// How the column at a place is looked up, if it is.
    pub fn lookup(&self, place: usize) -> Option<&Lookup> {
        self.lookups.iter().find(|(at, _)| *at == place).map(|(_, lookup)| lookup)
    }
}

impl Lookup {
    /// The refusal of a write whose record is not there. `place`: the column of the target that wanted it.
    pub fn missing(&self, target: &Target, place: usize) -> Fault {
        let column = target.columns.get(place).map_or("", |column| column);
        let Lookup { map, table, .. } = self;
        let message =
            format!("column {column} refers to a record that {table} does not have; map {map} brings those");
        Fault::new(FaultClass::Reference, "look up a value", message)
            .code("lookup_missing")
            .table(target.table.to_string())
            .fix(format!(
                "let map {map} bring the record ('tandem error list {map}' tells if it was refused), or correct the \
                 reference in the source; then try this one again"
            ))
    }
}

/// One write of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The change that it comes from.
    pub seq: Seq,
    /// The first Seq of the source transaction that it belongs to: equal for all writes of one transaction.
    pub transaction: Seq,
    /// Where to.
    pub target: Arc<Target>,
    /// What.
    pub op: WriteOp,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Makes the record so, whether or not it is there. One value for each of the target's columns.
    Upsert(Vec<Value>),
    /// Changes a record that must be there: the log did not name all of it.
    Patch {
        /// Which record, by the key that it has before.
        key: IntegrationKey,
        /// One for each of the target's columns: `None` leaves the column as it is.
        values: Vec<Option<Value>>,
    },
    /// Gives the record another key and makes it so. If there is none under the old key, the record is made
    /// under the new one, provided that all its values are known.
    Rekey {
        /// Which record, by the key that it has before.
        old: IntegrationKey,
        /// One for each of the target's columns: `None` leaves the column as it is.
        values: Vec<Option<Value>>,
    },
    /// Removes the record, if it is there.
    Delete(IntegrationKey),
}

impl WriteOp {
    /// Bytes of payload.
    pub fn payload_len(&self) -> usize {
        let key = |key: &IntegrationKey| key.values().iter().map(Value::payload_len).sum::<usize>();
        match self {
            WriteOp::Upsert(values) => values.iter().map(Value::payload_len).sum(),
            WriteOp::Patch { key: old, values } | WriteOp::Rekey { old, values } => {
                key(old) + values.iter().flatten().map(Value::payload_len).sum::<usize>()
            }
            WriteOp::Delete(old) => key(old),
        }
    }
}
