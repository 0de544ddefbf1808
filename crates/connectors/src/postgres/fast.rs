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
const ROWS_MAX: u64 = 5_000;

/// Bytes in one statement; PostgreSQL takes no message above 1 GB, and keeps each in memory.
const BYTES_MAX: usize = 16 << 20;

/// One statement to send.
pub(super) struct Bulk {
    pub(super) target: Arc<Target>,
    pub(super) form: Form,
    pub(super) columns: Vec<TextArray>,
    /// How many rows must be affected, if it matters.
    pub(super) expected: Option<u64>,
}

type Patch<'a> = (&'a IntegrationKey, &'a Vec<Option<Value>>);

/// What to send for a netted batch, in order.
pub(super) fn bulks(net: &Net) -> Vec<Bulk> {
    let mut bulks = Vec::new();
    for table in net.tables.iter().rev() {
        let rows = table.deletes.iter().map(|key| key.values().iter());
        cut(&mut bulks, &table.target, &Form::Deletes, table.target.key.len(), rows);
    }
    for table in &net.tables {
        let rows = table.upserts.iter().map(|row| row.iter());
        cut(&mut bulks, &table.target, &Form::Upserts, table.target.columns.len(), rows);
        // Patches of one set of columns are one statement.
        let mut sets: BTreeMap<Vec<usize>, Vec<Patch<'_>>> = BTreeMap::new();
        for (key, values) in &table.patches {
            sets.entry(patched(&table.target, values)).or_default().push((key, values));
        }
        for (set, patches) in sets {
            let rows = patches.iter().map(|(key, values)| {
                let set = set.iter().filter_map(|place| values.get(*place)?.as_ref());
                key.values().iter().chain(set)
            });
            let width = table.target.key.len() + set.len();
            cut(&mut bulks, &table.target, &Form::Patches(set.clone()), width, rows);
        }
    }
    bulks
}

/// Turns rows into columns, and cuts them into statements.
fn cut<'v>(
    bulks: &mut Vec<Bulk>,
    target: &Arc<Target>,
    form: &Form,
    width: usize,
    rows: impl Iterator<Item = impl Iterator<Item = &'v Value>>,
) {
    let empty = || (0..width).map(|_| TextArray::default()).collect::<Vec<_>>();
    let (mut columns, mut count, mut bytes) = (empty(), 0, 0);
    let mut bulk = |columns: Vec<TextArray>, count: u64| {
        let expected = matches!(form, Form::Patches(_)).then_some(count);
        bulks.push(Bulk { target: target.clone(), form: form.clone(), columns, expected });
    };
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            bytes += value.payload_len();
            column.push(value);
        }
        count += 1;
        if count >= ROWS_MAX || bytes >= BYTES_MAX {
            bulk(std::mem::replace(&mut columns, empty()), count);
            (count, bytes) = (0, 0);
        }
    }
    if count > 0 {
        bulk(columns, count);
    }
}

/// The columns that a patch sets: those it names, without the key, which stands.
pub(super) fn patched(target: &Target, values: &[Option<Value>]) -> Vec<usize> {
    let named = values.iter().enumerate().filter(|(_, value)| value.is_some()).map(|(place, _)| place);
    named.filter(|place| !target.key.contains(place)).collect()
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
