//! Rows: cells in the order of their relation's columns.

use crate::Value;
use serde::{Deserialize, Serialize};

/// One column of one row as the log states it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// The log names the value, which may be null.
    Set(Value),
    /// The log does not name the value: a large value that did not change, or a column outside of the replica
    /// identity in an old row. Never to be read as null, and never written over what the destination has.
    Unchanged,
}

impl Cell {
    /// The value, if the log named it.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Set(value) => Some(value),
            Cell::Unchanged => None,
        }
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Cell::Set(value)
    }
}

/// The cells of one row, in the order of the columns of the relation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Row(pub Vec<Cell>);

impl Row {
    /// A row whose values are all known.
    pub fn of(values: impl IntoIterator<Item = Value>) -> Self {
        Row(values.into_iter().map(Cell::Set).collect())
    }

    /// The cell of a column, by its place in the relation. Out of range is *unchanged*: the relation has
    /// gained a column that this row's log entry did not have.
    pub fn cell(&self, column: usize) -> &Cell {
        self.0.get(column).unwrap_or(&Cell::Unchanged)
    }

    /// Whether the log named every value: such a row can be written whole, over anything.
    pub fn is_complete(&self) -> bool {
        self.0.iter().all(|cell| matches!(cell, Cell::Set(_)))
    }

    /// Bytes of payload in the row.
    pub fn payload_len(&self) -> usize {
        self.0.iter().map(|cell| cell.value().map_or(1, Value::payload_len)).sum()
    }
}
