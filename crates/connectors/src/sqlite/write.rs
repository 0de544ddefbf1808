//! Single writes, and how valid histories get past unique keys that SQLite checks at once.
//!
//! SQLite cannot defer a unique key. Where a record takes a value that another still has, the other is moved
//! aside: it gets a value of the same kind that nobody has, and gets its own back when the source transaction
//! ends, unless the transaction has given it another meanwhile. If it cannot have it back, the clash was real,
//! and the write that caused the move is to blame.

use super::lookup::{self, Bound};
use super::schema::{self, Affinity, Table, quoted};
use super::trouble::{during, fault};
use super::value;
use rusqlite::types::Value as Stored;
use rusqlite::{Connection, params_from_iter};
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tandem_core::{Fault, FaultClass, IntegrationKey, Target, Value, WriteOp};

/// A target, bound to its table as it stands.
#[derive(Debug)]
pub(super) struct Shape {
    target: Arc<Target>,
    table: Table,
    affinities: Vec<Affinity>,
    key: Vec<usize>,
    lookups: Vec<Bound>,
}

/// A record that was moved aside.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    table: String,
    column: Arc<str>,
    moved_to: Stored,
    original: Stored,
    /// The write that wanted its value, by its place in the part; `None` if it was in an earlier part.
    pub(super) cause: Option<usize>,
    why: Fault,
}

impl Shape {
    pub(super) fn bind(conn: &Connection, target: &Arc<Target>) -> Result<Self, Fault> {
        let name = &target.table;
        let wrong = |message: String, code: &str| {
            fault(FaultClass::Schema, "write record", &message).code(code).table(name.to_string())
        };
        let table = schema::read(conn, name)?
            .ok_or_else(|| wrong(format!("table {name} is not there"), "table_missing"))?;
        if table.kind != "table" {
            return Err(wrong(format!("{name} is a {}, not a plain table", table.kind), "not_a_table"));
        }
        let affinity = |column: &Arc<str>| {
            let place = table.schema.columns.iter().position(|known| known.name == *column);
            place
                .and_then(|place| table.affinities.get(place).copied())
                .ok_or_else(|| wrong(format!("column {column} of {name} is not there"), "column_missing"))
        };
        let affinities = target.columns.iter().map(affinity).collect::<Result<Vec<_>, _>>()?;
        let lookups = target.lookups.iter().map(|(place, lookup)| Bound::new(conn, *place, lookup));
        let lookups = lookups.collect::<Result<_, _>>()?;
        Ok(Self { key: target.key.clone(), target: target.clone(), affinities, table, lookups })
    }

    /// The write with what it looks up: what the functions of this module do is asked of it alone.
    pub(super) fn resolved<'a>(&self, conn: &Connection, op: &'a WriteOp) -> Result<Cow<'a, WriteOp>, Fault> {
        lookup::resolved(conn, &self.target, &self.lookups, op)
    }

    fn name(&self) -> String {
        quoted(&self.target.table.name)
    }

    fn column(&self, place: usize) -> String {
        self.target.columns.get(place).map_or_else(String::new, |column| quoted(column))
    }

    fn refused(&self, code: &str, message: &str) -> Fault {
        let message = format!("{message} in {}", self.target.table);
        fault(FaultClass::Application, "write record", &message)
            .code(code)
            .table(self.target.table.to_string())
    }

    fn store(&self, place: usize, value: &Value) -> Result<Stored, Fault> {
        let affinity = self.affinities.get(place).copied().unwrap_or(Affinity::Keep);
        value::store(value, affinity).map_err(|(code, why)| {
            let message = format!("column {} of {}: {why}", self.column(place), self.target.table);
            fault(FaultClass::Application, "write record", &message)
                .code(code)
                .table(self.target.table.to_string())
        })
    }

    fn stored_key(&self, key: &IntegrationKey) -> Result<Vec<Stored>, Fault> {
        if key.values().len() != self.key.len() {
            return Err(self.refused("key_shape", "the key has another number of parts"));
        }
        self.key.iter().zip(key.values()).map(|(place, value)| self.store(*place, value)).collect()
    }

    /// `"a" = ?n AND …` for the key, with parameters from `first` on.
    fn key_is(&self, first: usize) -> String {
        let parts = self.key.iter().enumerate();
        let parts: Vec<_> =
            parts.map(|(n, place)| format!("{} = ?{}", self.column(*place), first + n)).collect();
        parts.join(" AND ")
    }
}

/// Does a write, with what it looks up. See [`do_write`].
pub(super) fn look_up_and_write(
    conn: &Connection,
    shape: &Shape,
    op: &WriteOp,
    place: usize,
    asides: Option<&mut Vec<Aside>>,
) -> Result<(), Fault> {
    do_write(conn, shape, &*shape.resolved(conn, op)?, place, asides)
}

/// Does a write that says all its values. With `asides`, clashing records are moved aside; without, a clash is a fault.
pub(super) fn do_write(
    conn: &Connection,
    shape: &Shape,
    op: &WriteOp,
    place: usize,
    mut asides: Option<&mut Vec<Aside>>,
) -> Result<(), Fault> {
    // Each try moves one clashing record aside; a table has no more of them than unique keys.
    for _ in 0..=shape.table.schema.unique_keys.len() + 1 {
        let known = asides.as_deref().map_or(&[][..], Vec::as_slice);
        match (try_write(conn, shape, op, known), asides.as_deref_mut()) {
            (Err(clash), Some(asides)) if is_clash(&clash) => {
                if !move_aside(conn, shape, op, asides, place, &clash)? {
                    return Err(clash);
                }
            }
            (done, _) => return done,
        }
    }
    Err(shape.refused("unique", "a unique key clashes again and again"))
}

/// SQLITE_CONSTRAINT_UNIQUE, _PRIMARYKEY, _ROWID.
fn is_clash(fault: &Fault) -> bool {
    matches!(fault.code.as_deref(), Some("2067" | "1555" | "2579"))
}

fn try_write(conn: &Connection, shape: &Shape, op: &WriteOp, asides: &[Aside]) -> Result<(), Fault> {
    match op {
        WriteOp::Delete(key) => {
            let key = located(conn, shape, shape.stored_key(key)?, asides)?;
            let sql = format!("DELETE FROM {} WHERE {}", shape.name(), shape.key_is(1));
            execute(conn, shape, &sql, key).map(drop)
        }
        WriteOp::Upsert(values) => {
            let values = whole(shape, values.iter().map(Some))?;
            upsert(conn, shape, values, asides)
        }
        WriteOp::Patch { key, values } => {
            if update(conn, shape, shape.stored_key(key)?, values, asides)? {
                return Ok(());
            }
            Err(shape.refused("record_missing", "the record to change is not there"))
        }
        WriteOp::Rekey { old, values } => {
            if update(conn, shape, shape.stored_key(old)?, values, asides)? {
                return Ok(());
            }
            if values.iter().any(Option::is_none) {
                return Err(shape.refused("record_missing", "the record whose key changes is not there"));
            }
            let values = whole(shape, values.iter().map(Option::as_ref))?;
            upsert(conn, shape, values, asides)
        }
    }
}

fn whole<'a>(shape: &Shape, values: impl Iterator<Item = Option<&'a Value>>) -> Result<Vec<Stored>, Fault> {
    let stored = values.flatten().enumerate().map(|(place, value)| shape.store(place, value));
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    if stored.len() != shape.target.columns.len() {
        return Err(shape.refused("row_shape", "a write has another number of columns than its target"));
    }
    Ok(stored)
}

fn upsert(conn: &Connection, shape: &Shape, values: Vec<Stored>, asides: &[Aside]) -> Result<(), Fault> {
    let key: Vec<_> = shape.key.iter().filter_map(|place| values.get(*place).cloned()).collect();
    if key.contains(&Stored::Null) {
        return Err(shape.refused("key_null", "a part of the integration key is null"));
    }
    let known: Vec<_> = values.iter().cloned().map(Some).collect();
    if set(conn, shape, key, &known, asides)? {
        return Ok(());
    }
    let columns: Vec<_> = (0..values.len()).map(|place| shape.column(place)).collect();
    let places: Vec<_> = (1..=values.len()).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT INTO {} ({}) VALUES ({})", shape.name(), columns.join(", "), places.join(", "));
    execute(conn, shape, &sql, values).map(drop)
}

fn update(
    conn: &Connection,
    shape: &Shape,
    key: Vec<Stored>,
    values: &[Option<Value>],
    asides: &[Aside],
) -> Result<bool, Fault> {
    let stored = |(place, value): (usize, &Option<Value>)| {
        value.as_ref().map(|value| shape.store(place, value)).transpose()
    };
    let values = values.iter().enumerate().map(stored).collect::<Result<Vec<_>, _>>()?;
    set(conn, shape, key, &values, asides)
}

/// Sets what is known in the record of this key; whether there is one.
fn set(
    conn: &Connection,
    shape: &Shape,
    key: Vec<Stored>,
    values: &[Option<Stored>],
    asides: &[Aside],
) -> Result<bool, Fault> {
    let key = located(conn, shape, key, asides)?;
    let first = key.len() + 1;
    let set = values.iter().enumerate().filter(|(_, value)| value.is_some());
    let set: Vec<_> =
        set.enumerate().map(|(n, (place, _))| format!("{} = ?{}", shape.column(place), first + n)).collect();
    if set.is_empty() {
        return there(conn, shape, &key);
    }
    let sql = format!("UPDATE {} SET {} WHERE {}", shape.name(), set.join(", "), shape.key_is(1));
    let parameters = key.into_iter().chain(values.iter().flatten().cloned()).collect();
    execute(conn, shape, &sql, parameters).map(|rows| rows > 0)
}

/// Whether the record of an upsert is there, and stored as it is to be.
pub(super) fn standing(conn: &Connection, shape: &Shape, values: &[Value]) -> Result<Option<bool>, Fault> {
    let wanted = whole(shape, values.iter().map(Some))?;
    let columns: Vec<_> = (0..wanted.len()).map(|place| shape.column(place)).collect();
    let sql = format!("SELECT {} FROM {} WHERE {}", columns.join(", "), shape.name(), shape.key_is(1));
    let key = shape.key.iter().filter_map(|place| wanted.get(*place).cloned());
    let failed = |error| named(during("find record")(error), shape);
    let mut query = conn.prepare_cached(&sql).map_err(failed)?;
    let mut rows = query.query(params_from_iter(key)).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
    for (place, wanted) in wanted.iter().enumerate() {
        let stored: Stored = row.get(place).map_err(failed)?;
        // A whole number in a REAL column is stored as a float, which it is equal to.
        let same = match (&stored, wanted) {
            (Stored::Real(stored), Stored::Integer(wanted)) => *stored == *wanted as f64,
            (stored, wanted) => stored == wanted,
        };
        if !same {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

fn there(conn: &Connection, shape: &Shape, key: &[Stored]) -> Result<bool, Fault> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", shape.name(), shape.key_is(1));
    conn.prepare_cached(&sql)
        .and_then(|mut query| query.query_row(params_from_iter(key), |row| row.get(0)))
        .map_err(|error| named(during("find record")(error), shape))
}

fn execute(conn: &Connection, shape: &Shape, sql: &str, parameters: Vec<Stored>) -> Result<usize, Fault> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(parameters)))
        .map_err(|error| required(named(during("write record")(error), shape), shape))
}

/// A column that must not be null and that the map does not write is no matter of the record: none would get through.
fn required(fault: Fault, shape: &Shape) -> Fault {
    const NOT_NULL: &str = "1299";
    if fault.code.as_deref() != Some(NOT_NULL) {
        return fault;
    }
    let named = fault.message.rsplit(": ").next().and_then(|named| named.split_once('.'));
    let ours = |(table, column): (&str, &str)| {
        table.eq_ignore_ascii_case(&shape.target.table.name)
            && !shape.target.columns.iter().any(|written| **written == *column)
    };
    match named.is_some_and(ours) {
        true => Fault { class: FaultClass::Schema, ..fault },
        false => fault,
    }
}

fn named(fault: Fault, shape: &Shape) -> Fault {
    fault.table(shape.target.table.to_string())
}

/// The key under which a record stands now: one that was moved aside by its key stands elsewhere, and it, not
/// who took its key, is the one that the source means.
fn located(
    conn: &Connection,
    shape: &Shape,
    key: Vec<Stored>,
    asides: &[Aside],
) -> Result<Vec<Stored>, Fault> {
    for aside in asides.iter().rev().filter(|aside| *aside.table == *shape.target.table.name) {
        for (n, place) in shape.key.iter().enumerate() {
            if shape.target.columns.get(*place) != Some(&aside.column) || key.get(n) != Some(&aside.original)
            {
                continue;
            }
            let mut moved = key.clone();
            if let Some(part) = moved.get_mut(n) {
                *part = aside.moved_to.clone();
            }
            if there(conn, shape, &moved)? {
                return Ok(moved);
            }
        }
    }
    Ok(key)
}

/// Moves the record aside that has what this write wants; whether there was one.
fn move_aside(
    conn: &Connection,
    shape: &Shape,
    op: &WriteOp,
    asides: &mut Vec<Aside>,
    place: usize,
    clash: &Fault,
) -> Result<bool, Fault> {
    let (own, wanted) = wanted(conn, shape, op, asides)?;
    let schema = &shape.table.schema;
    let keys = std::iter::once(&schema.primary_key).chain(schema.unique_keys.iter().map(|key| &key.columns));
    for key in keys.filter(|key| !key.is_empty()) {
        let value = |column: &Arc<str>| {
            wanted.iter().find(|(name, _)| name == column).map(|(_, value)| value.clone())
        };
        let Some(values) = key.iter().map(value).collect::<Option<Vec<_>>>() else { continue };
        let is: Vec<_> =
            key.iter().enumerate().map(|(n, column)| format!("{} = ?{}", quoted(column), n + 1)).collect();
        let other = match &own {
            Some(_) => format!("{} AND NOT ({})", is.join(" AND "), shape.key_is(key.len() + 1)),
            None => is.join(" AND "),
        };
        let parameters: Vec<_> = values.iter().chain(own.iter().flatten()).cloned().collect();
        // A column outside of the integration key if there is one: then the record is found as before.
        let in_map_key = |column: &&Arc<str>| {
            shape.key.iter().any(|place| shape.target.columns.get(*place) == Some(*column))
        };
        let Some(column) = key.iter().find(|column| !in_map_key(column)).or(key.first()) else { continue };
        let sql = format!("SELECT {} FROM {} WHERE {other}", quoted(column), shape.name());
        let original: Option<Stored> = conn
            .prepare_cached(&sql)
            .and_then(|mut query| {
                let mut rows = query.query(params_from_iter(&parameters))?;
                rows.next()?.map(|row| row.get(0)).transpose()
            })
            .map_err(during("find clashing record"))?;
        let Some(original) = original else { continue };
        let moved_to = nobody_has(&original);
        let sql = format!(
            "UPDATE {} SET {} = ?{} WHERE {other}",
            shape.name(),
            quoted(column),
            parameters.len() + 1
        );
        let parameters = parameters.into_iter().chain([moved_to.clone()]).collect();
        execute(conn, shape, &sql, parameters)?;
        asides.push(Aside {
            table: shape.target.table.name.to_string(),
            column: column.clone(),
            moved_to,
            original,
            cause: Some(place),
            why: clash.clone(),
        });
        return Ok(true);
    }
    Ok(false)
}

/// The key of the record that a write changes, if it is there, and what it will hold in which column.
type Wanted = (Option<Vec<Stored>>, Vec<(Arc<str>, Stored)>);

fn wanted(conn: &Connection, shape: &Shape, op: &WriteOp, asides: &[Aside]) -> Result<Wanted, Fault> {
    let (key, values): (_, Vec<Option<&Value>>) = match op {
        WriteOp::Delete(_) => return Ok((None, Vec::new())),
        WriteOp::Upsert(values) => {
            let key = shape.key.iter().filter_map(|place| values.get(*place).cloned()).collect();
            (IntegrationKey::from_values(key), values.iter().map(Some).collect())
        }
        WriteOp::Patch { key, values } | WriteOp::Rekey { old: key, values } => {
            (key.clone(), values.iter().map(Option::as_ref).collect())
        }
    };
    let key = located(conn, shape, shape.stored_key(&key)?, asides)?;
    let mut wanted = Vec::new();
    for (place, value) in values.iter().enumerate() {
        if let (Some(value), Some(column)) = (value, shape.target.columns.get(place)) {
            wanted.push((column.clone(), shape.store(place, value)?));
        }
    }
    let is_there = there(conn, shape, &key)?;
    if is_there {
        // Columns that this write leaves keep what they have.
        for column in shape.table.schema.columns.iter().map(|column| &column.name) {
            if wanted.iter().any(|(known, _)| known == column) {
                continue;
            }
            let sql = format!("SELECT {} FROM {} WHERE {}", quoted(column), shape.name(), shape.key_is(1));
            let value = conn
                .prepare_cached(&sql)
                .and_then(|mut query| query.query_row(params_from_iter(&key), |row| row.get(0)))
                .map_err(during("find record"))?;
            wanted.push((column.clone(), value));
        }
    }
    Ok((is_there.then_some(key), wanted))
}

/// A value of the same kind that no record has.
fn nobody_has(original: &Stored) -> Stored {
    let random = RandomState::new().hash_one(0u8);
    match original {
        Stored::Null => Stored::Null,
        Stored::Integer(_) => Stored::Integer(-(random >> 2).cast_signed() - 1),
        Stored::Real(_) => Stored::Real(-((random >> 12) as f64) - 0.5),
        Stored::Text(_) => Stored::Text(format!("tandem-aside-{random:016x}")),
        Stored::Blob(_) => Stored::Blob([b"tandem-aside-".as_slice(), &random.to_be_bytes()].concat()),
    }
}

/// Gives records that were moved aside their values back, unless they were given others. A clash that remains
/// is returned with the write that is to blame.
pub(super) fn bring_back(conn: &Connection, asides: &mut Vec<Aside>) -> Result<(), (Option<usize>, Fault)> {
    for aside in std::mem::take(asides).into_iter().rev() {
        let (table, column) = (quoted(&aside.table), quoted(&aside.column));
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2");
        let back = conn
            .prepare_cached(&sql)
            .and_then(|mut update| update.execute((&aside.original, &aside.moved_to)))
            .map_err(during("write record"));
        match back {
            Err(fault) if is_clash(&fault) => return Err((aside.cause, aside.why)),
            Err(fault) => return Err((aside.cause, fault)),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Which of the writes left a foreign key without its target: one that wrote the record that refers, else one
/// that took its target away.
pub(super) fn blame<'a>(
    conn: &Connection,
    writes: impl DoubleEndedIterator<Item = (usize, &'a Shape, &'a WriteOp)> + Clone,
) -> Result<Option<usize>, Fault> {
    let failed = during("find the broken foreign key");
    let mut query = conn.prepare("PRAGMA foreign_key_check").map_err(&failed)?;
    let broken = query
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?)))
        .map_err(&failed)?;
    for found in broken {
        let (child, row, parent): (String, Option<i64>, String) = found.map_err(&failed)?;
        for (place, shape, op) in writes.clone().rev().filter(|(_, s, _)| *s.target.table.name == *child) {
            // In a table without row numbers, any write of ours may be the one.
            let referring = match row {
                Some(row) => is_row(conn, shape, op, row)?,
                None => !matches!(op, WriteOp::Delete(_)),
            };
            if referring {
                return Ok(Some(place));
            }
        }
        for (place, shape, op) in writes.clone().rev().filter(|(_, s, _)| *s.target.table.name == *parent) {
            let took_away = match op {
                WriteOp::Delete(key) | WriteOp::Rekey { old: key, .. } => {
                    refers_to(conn, &child, row, shape, key)?
                }
                WriteOp::Upsert(_) | WriteOp::Patch { .. } => false,
            };
            if took_away {
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

/// Whether a row of the child refers to the record of this key; also if that cannot be told.
fn refers_to(
    conn: &Connection,
    child: &str,
    row: Option<i64>,
    parent: &Shape,
    key: &IntegrationKey,
) -> Result<bool, Fault> {
    let name = tandem_core::TableName { schema: None, name: child.into() };
    let (Some(row), Some(table)) = (row, schema::read(conn, &name)?) else { return Ok(true) };
    let [row_key] = table.row_key.as_slice() else { return Ok(true) };
    let key = parent.stored_key(key)?;
    for reference in &table.schema.foreign_keys {
        if reference.target != parent.target.table {
            continue;
        }
        let part = |column: &Arc<str>| {
            let at = parent.key.iter().position(|place| parent.target.columns.get(*place) == Some(column));
            at.and_then(|at| key.get(at).cloned())
        };
        let Some(values) = reference.target_columns.iter().map(part).collect::<Option<Vec<_>>>() else {
            return Ok(true);
        };
        let is = reference
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| format!("{} = ?{}", quoted(column), n + 2));
        let is: Vec<_> = is.collect();
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE {row_key} = ?1 AND {})",
            quoted(child),
            is.join(" AND ")
        );
        let parameters = [Stored::Integer(row)].into_iter().chain(values);
        let refers: bool = conn
            .prepare_cached(&sql)
            .and_then(|mut query| query.query_row(params_from_iter(parameters), |row| row.get(0)))
            .map_err(during("find the broken foreign key"))?;
        if refers {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_row(conn: &Connection, shape: &Shape, op: &WriteOp, row: i64) -> Result<bool, Fault> {
    let key: Option<Vec<_>> = match op {
        WriteOp::Delete(_) => None,
        WriteOp::Upsert(values) => shape.key.iter().map(|place| values.get(*place).cloned()).collect(),
        WriteOp::Patch { key, values } | WriteOp::Rekey { old: key, values } => {
            let part = |(n, place): (usize, &usize)| {
                values.get(*place).cloned().flatten().or_else(|| key.values().get(n).cloned())
            };
            shape.key.iter().enumerate().map(part).collect()
        }
    };
    let (Some(key), [row_key]) = (key, shape.table.row_key.as_slice()) else { return Ok(false) };
    let key = shape.stored_key(&IntegrationKey::from_values(key))?;
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE {} AND {row_key} = ?{})",
        shape.name(),
        shape.key_is(1),
        key.len() + 1
    );
    let parameters = key.into_iter().chain([Stored::Integer(row)]);
    conn.prepare_cached(&sql)
        .and_then(|mut query| query.query_row(params_from_iter(parameters), |row| row.get(0)))
        .map_err(during("find the broken foreign key"))
}
