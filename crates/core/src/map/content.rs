//! Whether two rows are the same in what a map keeps in step.

use super::FlowColumn;
use crate::{Relation, Row, RowHash, Value};

/// The hash of the values that a flow writes, in the order of its columns. `None`: not all of them are known. What is
/// looked up at the destination is left out: the write says which record it refers to, and the table another value.
pub fn row_hash<'a>(
    columns: &[FlowColumn],
    values: impl IntoIterator<Item = Option<&'a Value>>,
) -> Option<RowHash> {
    let own = values.into_iter().zip(columns).filter(|(_, column)| column.lookup.is_none());
    let known = own.map(|(value, column)| Some((value?, column.compared)));
    Some(RowHash::of(known.collect::<Option<Vec<_>>>()?))
}

/// The same of a row of the table that the flow writes to.
pub fn written_hash(columns: &[FlowColumn], relation: &Relation, row: &Row) -> Option<RowHash> {
    let cell = |column: &FlowColumn| relation.column(&column.to).and_then(|place| row.cell(place).value());
    row_hash(columns, columns.iter().map(cell))
}
