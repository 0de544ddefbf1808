//! The fast plan: only what is left of a batch, one statement per table and form, arrays as parameters.
//!
//! Children's deletes before parents', then parents' rows before children's. A history that is valid may be
//! refused here, since order and intermediate states are gone; the exact plan judges then.

use super::statements::{Form, PreparedTarget};
use super::value::TextArray;
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::{IntegrationKey, Net, Target, Value};

/// Rows in one statement: more make it larger without making it faster.
const ROWS_MAX: usize = 5_000;

/// One statement to send.
pub(super) struct Bulk {
    pub(super) target: Arc<Target>,
    pub(super) form: Form,
    pub(super) columns: Vec<TextArray>,
    /// How many rows must be affected, if it matters.
    pub(super) expected: Option<u64>,
}

/// What to send for a netted batch, in order.
pub(super) fn bulks(net: &Net) -> Vec<Bulk> {
    let mut bulks = Vec::new();
    for table in net.tables.iter().rev() {
        for keys in table.deletes.chunks(ROWS_MAX) {
            let width = table.target.key.len();
            let columns = columns(width, keys.iter().map(|key| key.values().iter()));
            bulks.push(Bulk { target: table.target.clone(), form: Form::Deletes, columns, expected: None });
        }
    }
    for table in &net.tables {
        for rows in table.upserts.chunks(ROWS_MAX) {
            let columns = columns(table.target.columns.len(), rows.iter().map(|row| row.iter()));
            bulks.push(Bulk { target: table.target.clone(), form: Form::Upserts, columns, expected: None });
        }
        // Patches of one set of columns are one statement.
        let mut sets: BTreeMap<Vec<usize>, Vec<(&IntegrationKey, &Vec<Option<Value>>)>> = BTreeMap::new();
        for (key, values) in &table.patches {
            sets.entry(patched(&table.target, values)).or_default().push((key, values));
        }
        for (set, patches) in sets {
            for patches in patches.chunks(ROWS_MAX) {
                let width = table.target.key.len() + set.len();
                let rows = patches.iter().map(|(key, values)| {
                    let set = set.iter().filter_map(|place| values.get(*place)?.as_ref());
                    key.values().iter().chain(set)
                });
                let columns = columns(width, rows);
                let expected = Some(patches.len() as u64);
                let form = Form::Patches(set.clone());
                bulks.push(Bulk { target: table.target.clone(), form, columns, expected });
            }
        }
    }
    bulks
}

/// The columns that a patch sets: those it names, without the key, which stands.
pub(super) fn patched(target: &Target, values: &[Option<Value>]) -> Vec<usize> {
    let named = values.iter().enumerate().filter(|(_, value)| value.is_some()).map(|(place, _)| place);
    named.filter(|place| !target.key.contains(place)).collect()
}

fn columns<'v>(width: usize, rows: impl Iterator<Item = impl Iterator<Item = &'v Value>>) -> Vec<TextArray> {
    let mut columns: Vec<TextArray> = (0..width).map(|_| TextArray::default()).collect();
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    columns
}

/// Whether a target has the index that an upsert needs.
pub(super) fn has_unique_key(target: &PreparedTarget) -> bool {
    let names: Vec<&str> =
        target.key.iter().filter_map(|place| Some(target.columns.get(*place)?.name.as_str())).collect();
    target.destination.unique.iter().any(|index| {
        index.columns.len() == names.len()
            && index.columns.iter().all(|column| names.contains(&column.as_str()))
    })
}
