//! Whether two rows are the same in what a map keeps in step: by a hash of the mapped values.

use crate::{Relation, Row, Value};
use std::sync::Arc;

/// A hash of values in their order (XXH3, 128 bits, over their canonical form). `None` is a value that is not known, and
/// is like no other.
pub fn row_hash<'a>(values: impl IntoIterator<Item = Option<&'a Value>>) -> u128 {
    let mut canonical = Vec::with_capacity(256);
    for value in values {
        match value {
            Some(value) => value.canonical(&mut canonical),
            None => canonical.push(u8::MAX),
        }
    }
    xxhash_rust::xxh3::xxh3_128(&canonical)
}

/// The hash of a row in some columns. A column that the relation lacks, or that the log did not name, is not known.
pub fn projected_row(relation: &Relation, row: &Row, columns: &[Arc<str>]) -> u128 {
    let cell = |name: &Arc<str>| relation.column(name).and_then(|place| row.cell(place).value());
    row_hash(columns.iter().map(cell))
}
