//! Values that are looked up as they are written: the write is made one that says them, in the transaction that does
//! it, so that a record which the same transaction has made is found.

use super::schema::{self, Affinity, quoted};
use super::trouble::{during, fault};
use super::value;
use rusqlite::{Connection, OptionalExtension};
use std::borrow::Cow;
use tandem_core::{Fault, FaultClass, Lookup, Target, Value, WriteOp};

/// A lookup, bound to its table as it stands.
#[derive(Debug)]
pub(super) struct Bound {
    place: usize,
    sql: String,
    key_affinity: Affinity,
    /// The declared type of what is found.
    type_name: String,
}

impl Bound {
    pub(super) fn new(conn: &Connection, place: usize, lookup: &Lookup) -> Result<Self, Fault> {
        let Lookup { table: name, key, column, .. } = lookup;
        let wrong = |message: String, code: &str| {
            fault(FaultClass::Schema, "look up a value", &message).code(code).table(name.to_string())
        };
        let table = schema::read(conn, name)?
            .ok_or_else(|| wrong(format!("table {name} is not there"), "table_missing"))?;
        let place_of = |column: &str| {
            let columns = &table.schema.columns;
            columns.iter().position(|known| &*known.name == column).ok_or_else(|| {
                wrong(
                    format!("column {column} of {name}, by which values are looked up, is not there"),
                    "column_missing",
                )
            })
        };
        let (key_at, found_at) = (place_of(key)?, place_of(column)?);
        Ok(Self {
            place,
            sql: format!("SELECT {} FROM {} WHERE {} = ?1", quoted(column), quoted(&name.name), quoted(key)),
            key_affinity: table.affinities.get(key_at).copied().unwrap_or(Affinity::Keep),
            type_name: table
                .schema
                .columns
                .get(found_at)
                .map(|found| found.type_name.to_string())
                .unwrap_or_default(),
        })
    }

    /// What is written for a key. `None`: there is no such record, or it has null there.
    fn find(&self, conn: &Connection, key: &Value) -> Result<Option<Value>, Fault> {
        // What cannot be stored there as it is, is no key of a record either.
        let Ok(key) = value::store(key, self.key_affinity) else { return Ok(None) };
        let found = conn
            .prepare_cached(&self.sql)
            .and_then(|mut query| {
                query.query_row([key], |row| Ok(value::read(row.get_ref(0)?, &self.type_name))).optional()
            })
            .map_err(during("look up a value"))?;
        Ok(found.filter(|found| !found.is_null()))
    }
}

/// The write with the values that it looks up.
pub(super) fn resolved<'a>(
    conn: &Connection,
    target: &Target,
    bound: &[Bound],
    op: &'a WriteOp,
) -> Result<Cow<'a, WriteOp>, Fault> {
    if bound.is_empty() {
        return Ok(Cow::Borrowed(op));
    }
    let mut op = op.clone();
    for one in bound {
        let value = match &mut op {
            WriteOp::Delete(_) => None,
            WriteOp::Upsert(values) => values.get_mut(one.place),
            WriteOp::Patch { values, .. } | WriteOp::Rekey { values, .. } => {
                values.get_mut(one.place).and_then(Option::as_mut)
            }
        };
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        let missing = || match target.lookup(one.place) {
            Some(lookup) => lookup.missing(target, one.place),
            None => fault(FaultClass::Internal, "look up a value", "the column is not looked up"),
        };
        *value = one.find(conn, value)?.ok_or_else(missing)?;
    }
    Ok(Cow::Owned(op))
}
