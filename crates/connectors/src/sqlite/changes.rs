//! What we leave in a captured database: the change table, and the triggers that fill it.
//!
//! The triggers run in the *app's* connections, in whatever version of SQLite the app has. So they use nothing
//! but INSERT and `random()`, and copy values into columns without a type, which keep each value as it is:
//! every text, blob and float exactly, with no text form in between. Which column of ours holds which column of
//! the table is said by a *layout*: a numbered list of column names, of which each change names its own.
//!
//! A trigger knows no transaction, so ours say where they begin and end, with rows of their own; and every row
//! has a random nonce, so that a position taken from this file is not mistaken for one of a restored copy.

use super::schema::{self, Table, quoted};
use super::trouble::{during, fault};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::connect::Owner;
use tandem_core::{Epoch, Fault, FaultClass, JournalId, Relation, RelationColumn, TableName};

/// The kinds of rows in the change table.
pub(super) const START: &str = "S";
pub(super) const BARRIER: &str = "B";
pub(super) const INSERT: &str = "I";
pub(super) const UPDATE: &str = "U";
pub(super) const DELETE: &str = "D";
pub(super) const OURS_BEGINS: &str = "O";
pub(super) const OURS_ENDS: &str = "M";

/// Value columns that the change table always has: what a mark or a barrier needs, and then some.
const LEAST_VALUES: usize = 16;
/// SQLite's own limit on columns, less ours.
const MOST_VALUES: usize = 1_990;

/// A captured table, in the layout that its triggers log now.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) number: i64,
    pub(super) relation: Arc<Relation>,
}

/// A table's columns as its layout names them: those that a trigger can copy.
pub(super) fn columns_of(table: &Table) -> Vec<RelationColumn> {
    let columns = table.schema.columns.iter().filter(|column| !column.generated);
    columns
        .map(|column| RelationColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            identity: true,
        })
        .collect()
}

pub(super) fn exists(conn: &Connection) -> Result<bool, Fault> {
    conn.prepare_cached(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_tandem_changes'",
    )
    .and_then(|mut query| query.query_row([], |row| row.get::<_, i64>(0)))
    .map(|count| count > 0)
    .map_err(during("look for the change table"))
}

/// Makes our tables if they are not there. Within a transaction of the caller.
pub(super) fn install(conn: &Connection) -> Result<(), Fault> {
    if exists(conn)? {
        return Ok(());
    }
    let values: String = (0..LEAST_VALUES).map(|n| format!(", c{n}")).collect();
    let sql = format!(
        "CREATE TABLE _tandem_changes (id INTEGER PRIMARY KEY AUTOINCREMENT, nonce INTEGER NOT NULL, \
           kind TEXT NOT NULL, layout INTEGER NOT NULL, at REAL NOT NULL{values});
         CREATE TABLE _tandem_tables (layout INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, \
           columns TEXT NOT NULL, active INTEGER NOT NULL);
         CREATE TABLE _tandem_owner (one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL, \
           epoch INTEGER NOT NULL);
         INSERT INTO _tandem_changes (nonce, kind, layout, at) VALUES (random(), '{START}', 0, julianday('now'));"
    );
    conn.execute_batch(&sql).map_err(during("make the change table"))
}

/// Takes everything of capture out. Within a transaction of the caller.
pub(super) fn uninstall(conn: &Connection) -> Result<(), Fault> {
    let sql = "DROP TABLE _tandem_changes; DROP TABLE _tandem_tables; DROP TABLE _tandem_owner;";
    conn.execute_batch(sql).map_err(during("remove the change table"))
}

/// Every layout that a row of the change table may name.
pub(super) fn layouts(conn: &Connection) -> Result<BTreeMap<i64, Arc<Relation>>, Fault> {
    read_layouts(conn, "SELECT layout, name, columns FROM _tandem_tables")
        .map(|layouts| layouts.into_iter().map(|layout| (layout.number, layout.relation)).collect())
}

/// The captured tables, by name.
pub(super) fn active(conn: &Connection) -> Result<Vec<Layout>, Fault> {
    if !exists(conn)? {
        return Ok(Vec::new());
    }
    read_layouts(conn, "SELECT layout, name, columns FROM _tandem_tables WHERE active ORDER BY name")
}

fn read_layouts(conn: &Connection, sql: &str) -> Result<Vec<Layout>, Fault> {
    let failed = during("read layouts");
    let mut query = conn.prepare_cached(sql).map_err(&failed)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&failed)?;
    let mut layouts = Vec::new();
    for row in rows {
        let (number, name, columns): (i64, String, String) = row.map_err(&failed)?;
        let columns: Vec<(String, String)> = serde_json::from_str(&columns)
            .map_err(|_| fault(FaultClass::Gap, "read layouts", "a layout of ours has been changed"))?;
        let columns = columns.into_iter().map(|(name, type_name)| RelationColumn {
            name: name.into(),
            type_name: type_name.into(),
            identity: true,
        });
        let table = TableName { schema: None, name: name.into() };
        layouts.push(Layout { number, relation: Arc::new(Relation { table, columns: columns.collect() }) });
    }
    Ok(layouts)
}

/// The triggers of a layout: name and exact text.
fn triggers(layout: &Layout) -> [(String, String); 3] {
    let columns = &layout.relation.columns;
    let row = |alias: &str| -> String {
        columns.iter().map(|column| format!(", {alias}.{}", quoted(&column.name))).collect()
    };
    let one = |verb: &str, kind: &str, rows: &[&str]| {
        let name = format!("_tandem_{}_{}", layout.number, verb.to_ascii_lowercase());
        let places: String = (0..columns.len() * rows.len()).map(|n| format!(", c{n}")).collect();
        let values: String = rows.iter().map(|alias| row(alias)).collect();
        let sql = format!(
            "CREATE TRIGGER {} AFTER {verb} ON {} BEGIN INSERT INTO _tandem_changes \
             (nonce, kind, layout, at{places}) VALUES (random(), '{kind}', {}, julianday('now'){values}); END",
            quoted(&name),
            quoted(&layout.relation.table.name),
            layout.number
        );
        (name, sql)
    };
    [one("INSERT", INSERT, &["NEW"]), one("UPDATE", UPDATE, &["OLD", "NEW"]), one("DELETE", DELETE, &["OLD"])]
}

/// Whether the triggers of a layout are there, as we made them; or as SQLite has made them since, which writes the new
/// name of a column into them when it is renamed. They then log the same columns in the same places.
pub(super) fn intact(conn: &Connection, table: &Table, layout: &Layout) -> Result<bool, Fault> {
    let mut found = Vec::with_capacity(3);
    for (name, _) in triggers(layout) {
        let sql: Option<String> = conn
            .prepare_cached(
                "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2",
            )
            .and_then(|mut query| {
                query.query_row([&*name, &*layout.relation.table.name], |row| row.get(0)).optional()
            })
            .map_err(during("look for triggers"))?;
        found.extend(sql);
    }
    let is = |layout: &Layout| triggers(layout).into_iter().map(|(_, sql)| sql).eq(found.iter().cloned());
    Ok(is(layout) || is(&renamed(table, layout)))
}

/// A layout with the names that its columns have now: others can only have been added behind them.
fn renamed(table: &Table, layout: &Layout) -> Layout {
    let mut columns = columns_of(table);
    columns.truncate(layout.relation.columns.len());
    let relation = Relation { table: layout.relation.table.clone(), columns };
    Layout { number: layout.number, relation: Arc::new(relation) }
}

/// Whether a table has other columns than its layout says.
pub(super) fn outgrown(table: &Table, layout: &Layout) -> bool {
    columns_of(table) != layout.relation.columns
}

/// Puts a table into capture, or gives it a new layout. Within a transaction of the caller.
pub(super) fn capture(conn: &Connection, table: &Table) -> Result<(), Fault> {
    let failed = during("make triggers");
    let columns = columns_of(table);
    widen(conn, 2 * columns.len())?;
    let names: Vec<_> = columns.iter().map(|column| (&*column.name, &*column.type_name)).collect();
    let names = serde_json::to_string(&names)
        .map_err(|error| fault(FaultClass::Internal, "write layout", &error.to_string()))?;
    release(conn, &table.schema.table)?;
    conn.execute(
        "INSERT INTO _tandem_tables (name, columns, active) VALUES (?1, ?2, 1)",
        (&*table.schema.table.name, names),
    )
    .map_err(&failed)?;
    let relation = Arc::new(Relation { table: table.schema.table.clone(), columns });
    let layout = Layout { number: conn.last_insert_rowid(), relation };
    triggers(&layout).iter().try_for_each(|(_, sql)| conn.execute_batch(sql)).map_err(&failed)
}

/// Takes a table's triggers away; its layout stays as long as a change may name it. Within a transaction of the
/// caller.
pub(super) fn release(conn: &Connection, table: &TableName) -> Result<(), Fault> {
    let failed = during("remove triggers");
    for layout in active(conn)?.iter().filter(|layout| layout.relation.table.name == table.name) {
        for (name, _) in triggers(layout) {
            conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", quoted(&name))).map_err(&failed)?;
        }
        conn.execute("UPDATE _tandem_tables SET active = 0 WHERE layout = ?1", [layout.number])
            .map_err(&failed)?;
    }
    Ok(())
}

/// Gives the change table as many value columns.
fn widen(conn: &Connection, values: usize) -> Result<(), Fault> {
    let failed = during("widen the change table");
    if values > MOST_VALUES {
        let message = "the table has more columns than can be captured";
        return Err(fault(FaultClass::Setup, "widen the change table", message));
    }
    let has: i64 = conn
        .query_row("SELECT count(*) - 5 FROM pragma_table_info('_tandem_changes')", [], |row| row.get(0))
        .map_err(&failed)?;
    for n in usize::try_from(has).unwrap_or(0)..values {
        conn.execute_batch(&format!("ALTER TABLE _tandem_changes ADD COLUMN c{n}")).map_err(&failed)?;
    }
    Ok(())
}

/// The last row of the change table: id and nonce.
pub(super) fn last_row(conn: &Connection) -> Result<(i64, i64), Fault> {
    conn.query_row("SELECT id, nonce FROM _tandem_changes ORDER BY id DESC LIMIT 1", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .optional()
    .map_err(during("read the change table"))?
    .ok_or_else(|| fault(FaultClass::Gap, "read the change table", "the change table has been emptied"))
}

/// Writes a barrier. Within a transaction of the caller.
pub(super) fn write_barrier(conn: &Connection, barrier: u64) -> Result<(), Fault> {
    let sql = format!(
        "INSERT INTO _tandem_changes (nonce, kind, layout, at, c0) \
         VALUES (random(), '{BARRIER}', 0, julianday('now'), ?1)"
    );
    conn.execute(&sql, [barrier.cast_signed()]).map(drop).map_err(during("write barrier"))
}

/// Who captures here, if anybody.
pub(super) fn owner(conn: &Connection) -> Result<Option<Owner>, Fault> {
    if !exists(conn)? {
        return Ok(None);
    }
    conn.query_row("SELECT journal, epoch FROM _tandem_owner", [], |row| {
        Ok(Owner {
            journal: JournalId(u128::from_be_bytes(row.get(0)?)),
            epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
        })
    })
    .optional()
    .map_err(during("read the owner"))
}

pub(super) fn write_owner(conn: &Connection, owner: Owner) -> Result<(), Fault> {
    conn.execute(
        "INSERT INTO _tandem_owner VALUES (1, ?1, ?2) \
         ON CONFLICT (one) DO UPDATE SET journal = excluded.journal, epoch = excluded.epoch",
        (owner.journal.0.to_be_bytes(), owner.epoch.0.cast_signed()),
    )
    .map(drop)
    .map_err(during("write the owner"))
}

/// Finds out whether something was written past our triggers, and follows tables that have gained columns or call them
/// by other names.
/// Called whenever the schema moved; a write lock is taken only if a table needs a new layout.
pub(super) fn inspect(conn: &mut Connection) -> Result<(), Fault> {
    let gap = |table: &TableName, message: &str| {
        let fix = format!("take {table} out of capture and put it in again, with a new initial sync");
        Err(fault(FaultClass::Gap, "look for triggers", message).table(table.to_string()).fix(fix))
    };
    let mut grown = false;
    for layout in active(conn)? {
        let name = &layout.relation.table;
        let Some(table) = schema::read(conn, name)? else { return gap(name, "a captured table is gone") };
        if !intact(conn, &table, &layout)? {
            return gap(name, "a trigger of ours is gone or was changed: writes may have gone by unseen");
        }
        grown |= outgrown(&table, &layout);
    }
    if !grown {
        return Ok(());
    }
    let tx = conn
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(during("renew triggers"))?;
    for layout in active(&tx)? {
        // Read again under the lock: the table may have moved once more.
        match schema::read(&tx, &layout.relation.table)? {
            Some(table) if intact(&tx, &table, &layout)? && outgrown(&table, &layout) => {
                capture(&tx, &table)?
            }
            Some(_) | None => {}
        }
    }
    tx.commit().map_err(during("renew triggers"))
}
