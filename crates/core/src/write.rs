//! What is to happen at the destination: writes, as a map projects them from changes.

use crate::{IntegrationKey, MapName, Seq, TableName, Value};
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
