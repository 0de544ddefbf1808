//! Moving rows aside: how a swap of unique values is done where the constraint is checked at once.
//!
//! The source may exchange unique values within a transaction (its constraint is deferrable, or one statement did
//! it). Row by row the first write then clashes with a row that has not been written yet. Such rows, and only
//! those that the same transaction is going to write or delete, first get a value that nothing else has. If the
//! column takes nulls, that is null.

use super::names::quoted;
use super::schema::DestinationColumn;
use super::statements::PreparedTarget;
use super::value::TextArray;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tandem_core::{IntegrationKey, Target, Value, Write, WriteOp};

/// A statement that moves rows aside. It returns which: numbers from 1, as places in `keys`.
pub(super) struct Aside {
    pub(super) sql: String,
    pub(super) columns: Vec<TextArray>,
    /// The records that it may move.
    pub(super) keys: Vec<IntegrationKey>,
}

/// What moves the rows aside that stand in the way of `writes` under a constraint of their table, but for those
/// with the keys `fixed`. `None`: it is no unique constraint that can be helped.
pub(super) fn aside(
    target: &Target,
    prepared: &PreparedTarget,
    constraint: &str,
    writes: &[&Write],
    fixed: &HashSet<IntegrationKey>,
) -> Option<Aside> {
    let index = prepared.destination.unique.iter().find(|index| index.name == constraint)?;
    // One column of the constraint is enough to make the row different. Never one of the key, by which the
    // record is found.
    let movable = index.columns.iter().filter_map(|name| {
        let place = prepared.columns.iter().position(|column| column.name == *name)?;
        // Of a value that is looked up it is not known which it is.
        (!target.key.contains(&place) && target.lookup(place).is_none())
            .then_some((place, prepared.columns.get(place)?))
    });
    let (place, column) = movable.max_by_key(|(_, column)| column.nullable)?;
    let spare = spare(column)?;

    let mut keys = HashSet::new();
    let mut values = TextArray::default();
    for write in writes {
        let (key, value) = match &write.op {
            WriteOp::Upsert(row) => (key_of(target, row), row.get(place)),
            WriteOp::Patch { key, values } | WriteOp::Rekey { old: key, values } => {
                match values.get(place).and_then(Option::as_ref) {
                    Some(value) => (Some(key.clone()), Some(value)),
                    // It leaves the column as it is, so it must not find it moved.
                    None => continue,
                }
            }
            WriteOp::Delete(key) => (Some(key.clone()), None),
        };
        let key = key?;
        if !fixed.contains(&key) {
            keys.insert(key);
        }
        if let Some(value) = value {
            values.push(value);
        }
    }
    let keys: Vec<IntegrationKey> = keys.into_iter().collect();
    let width = target.key.len();
    let mut columns: Vec<TextArray> = (0..width).map(|_| TextArray::default()).collect();
    for key in &keys {
        columns.iter_mut().zip(key.values()).for_each(|(column, value)| column.push(value));
    }
    columns.push(values);
    let arrays: Vec<_> = (1..=width).map(|nth| format!("${nth}::text[]")).collect();
    let names: Vec<_> = (0..width).map(|nth| format!("v{nth}")).collect();
    let is_key = target.key.iter().enumerate().filter_map(|(nth, place)| {
        let column = prepared.columns.get(*place)?;
        Some(format!("d.{} = k.v{nth}::{}", quoted(&column.name), column.cast))
    });
    let sql = format!(
        "UPDATE {table} AS d SET {name} = {spare} FROM unnest({arrays}) WITH ORDINALITY AS k({names}, n) \
         WHERE {is_key} AND d.{name} IN (SELECT v::{cast} FROM unnest(${last}::text[]) AS v) \
         RETURNING k.n",
        table = prepared.destination.sql,
        name = quoted(&column.name),
        arrays = arrays.join(", "),
        names = names.join(", "),
        is_key = is_key.collect::<Vec<_>>().join(" AND "),
        cast = column.cast,
        last = width + 1,
    );
    Some(Aside { sql, columns, keys })
}

/// What a write says of its record: these columns, or all of it.
type Says<'a> = Option<&'a [Option<Value>]>;

/// The places of writes that a later write of the same record makes pointless, in one source transaction. The source
/// may hold a unique value twice for a moment, where it checks only at its end; what nobody was to see need not be
/// done. A key change ties two records together: what both were before it stays as it is.
pub(super) fn said_again(writes: &[Write]) -> HashSet<usize> {
    let mut places = HashSet::new();
    // What comes next of each record.
    let mut behind: HashMap<(&Arc<Target>, IntegrationKey), Says<'_>> = HashMap::new();
    for (place, write) in writes.iter().enumerate().rev() {
        let (key, sets) = match &write.op {
            WriteOp::Upsert(row) => (key_of(&write.target, row), None),
            WriteOp::Delete(key) => (Some(key.clone()), None),
            WriteOp::Patch { key, values } => (Some(key.clone()), Some(values.as_slice())),
            WriteOp::Rekey { old, values } => {
                behind.remove(&(&write.target, old.clone()));
                let value = |place: &usize| values.get(*place).cloned().flatten();
                let Some(new) = write.target.key.iter().map(value).collect() else { return places };
                behind.remove(&(&write.target, IntegrationKey::from_values(new)));
                continue;
            }
        };
        let Some(key) = key else { continue };
        let record = (&write.target, key);
        let pointless = match (behind.get(&record), sets) {
            // A delete frees values and is never in the way.
            _ if matches!(write.op, WriteOp::Delete(_)) => false,
            (Some(None), _) => true,
            (Some(Some(later)), Some(sets)) => {
                sets.iter().zip(*later).all(|(set, later)| set.is_none() || later.is_some())
            }
            (Some(Some(_)) | None, _) => false,
        };
        if pointless {
            places.insert(place);
        } else {
            behind.insert(record, sets);
        }
    }
    places
}

/// The key of a whole row.
pub(super) fn key_of(target: &Target, row: &[Value]) -> Option<IntegrationKey> {
    let values: Option<Vec<_>> = target.key.iter().map(|place| row.get(*place).cloned()).collect();
    values.map(IntegrationKey::from_values)
}

/// An expression for a value that no record has, different for each `k.n`.
fn spare(column: &DestinationColumn) -> Option<String> {
    if column.nullable {
        return Some("NULL".to_owned());
    }
    Some(match column.type_name.as_str() {
        "int2" => "(-32768 + k.n)::int2".to_owned(),
        "int4" => "(-2147483648 + k.n)::int4".to_owned(),
        "int8" => "(-9223372036854775808 + k.n)::int8".to_owned(),
        "numeric" => "-k.n".to_owned(),
        "text" | "varchar" | "bpchar" | "citext" | "name" => {
            let length = column.length.unwrap_or(32).clamp(1, 32);
            format!("left(md5(random()::text || k.n::text || clock_timestamp()::text), {length})")
        }
        "uuid" => "gen_random_uuid()".to_owned(),
        "bytea" => "decode(md5(random()::text || k.n::text), 'hex')".to_owned(),
        "date" => "('0001-01-01 BC'::date - k.n::int)".to_owned(),
        "timestamp" | "timestamptz" => {
            format!("('0001-01-01 BC'::{} - k.n * interval '1 second')", column.type_name)
        }
        _ => return None,
    })
}
