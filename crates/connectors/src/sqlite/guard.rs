//! Guards: triggers that refuse users' writes to a table, and the list of them.
//!
//! A guard's triggers are made when it is armed and dropped when it is disarmed, in one short transaction with its
//! barrier. SQLite has one writer at a time, which makes that exact: nobody has a write open at that moment, and
//! who read before it and wants to write after it is sent back by SQLite itself (`SQLITE_BUSY_SNAPSHOT`).
//!
//! The triggers run in the *app's* connections, in whatever version of SQLite the app has. A trigger that this
//! version cannot parse would break every statement of the app, so the message is one literal: expressions in
//! `RAISE` are understood from 3.47 on only. It names the map and the table, and cannot name the record.
//!
//! Our own transactions put a row into `_tandem_ours` when they begin and take it out before they commit. Nobody
//! but they ever sees it, so it is what the triggers ask for. It is not a custom function, which the app's
//! connections would not have.
//!
//! What a guard does not see: `INSERT OR REPLACE` removes a row without any delete trigger, unless the app sets
//! `PRAGMA recursive_triggers`. With the same key that is an update and may pass; by another unique key it is a
//! delete that slips by, of which `check` warns. With the pragma set, every replacement is refused as a delete.

use super::schema::quoted;
use super::source::write;
use super::trouble::{during, fault};
use super::{Desk, SqliteApp, changes, fenced, schema};
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::sync::Arc;
use tandem_core::connect::{BoxFuture, Guards, Owner};
use tandem_core::{BarrierId, Fault, FaultClass, Guard, MapName, Refusal, TableName, WallTime};

pub(super) struct SqliteGuards {
    desk: Desk<Connection>,
    owner: Owner,
}

impl SqliteGuards {
    pub(super) async fn open(app: &SqliteApp, owner: Owner) -> Result<Self, Fault> {
        let desk = app.desk().await?;
        desk.run(move |conn| admit(conn, owner)).await??;
        Ok(Self { desk, owner })
    }
}

/// Refuses whoever is not the owner, or no longer. There is none as long as nothing is captured.
fn admit(conn: &Connection, owner: Owner) -> Result<(), Fault> {
    match changes::owner(conn)? {
        Some(stored) if stored.journal != owner.journal => {
            Err(fenced("guard tables", "another data folder captures this app"))
        }
        Some(stored) if stored.epoch > owner.epoch => {
            Err(fenced("guard tables", "a later start of this data folder was here"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A guard as the list has it, under its number.
struct Listed {
    number: i64,
    guard: Guard,
}

/// Whether any guard stands. Then transactions of ours must say that they are ours.
pub(super) fn any(conn: &Connection) -> Result<bool, Fault> {
    conn.prepare_cached("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_tandem_guards'")
        .and_then(|mut query| query.query_row([], |row| row.get::<_, i64>(0)))
        .map(|count| count > 0)
        .map_err(during("look for guards"))
}

/// Lets the open transaction pass all guards.
pub(super) fn begin_ours(conn: &Connection) -> Result<(), Fault> {
    conn.execute("INSERT INTO _tandem_ours VALUES (1)", []).map(drop).map_err(during("pass the guards"))
}

/// Ends what [`begin_ours`] began, before the commit.
pub(super) fn end_ours(conn: &Connection) -> Result<(), Fault> {
    conn.execute("DELETE FROM _tandem_ours", []).map(drop).map_err(during("pass the guards"))
}

/// Takes all guards off a table. Within a transaction of the caller.
pub(super) fn release(conn: &Connection, table: &TableName) -> Result<(), Fault> {
    remove(conn, |guard| guard.table.name == table.name)
}

/// Every statement that takes something of ours out of the database.
pub(super) fn release_sql(conn: &Connection) -> Result<String, Fault> {
    let failed = during("list what is ours");
    // Triggers first: one that outlives the table that it writes to breaks the app's statements.
    let mut query = conn
        .prepare(
            "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'table') AND substr(name, 1, 8) = '_tandem_' \
             ORDER BY type DESC, name",
        )
        .map_err(&failed)?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).map_err(&failed)?;
    let mut sql = "-- Only with Tandem gone for good: what it has queued from this database stays with it.\n\
                   BEGIN IMMEDIATE;\n"
        .to_owned();
    for row in rows {
        let (kind, name): (String, String) = row.map_err(&failed)?;
        sql.push_str(&format!("DROP {} IF EXISTS {};\n", kind.to_uppercase(), quoted(&name)));
    }
    sql.push_str("COMMIT;\n");
    Ok(sql)
}

fn install(conn: &Connection) -> Result<(), Fault> {
    let sql = "CREATE TABLE IF NOT EXISTS _tandem_ours (one INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS _tandem_guards (guard INTEGER PRIMARY KEY, name TEXT NOT NULL, \
          map TEXT NOT NULL, refuses TEXT NOT NULL, key TEXT NOT NULL, since INTEGER NOT NULL, \
          UNIQUE (name, map, refuses));";
    conn.execute_batch(sql).map_err(during("make the list of guards"))
}

/// Takes guards out, and with the last one the list.
fn remove(conn: &Connection, which: impl Fn(&Guard) -> bool) -> Result<(), Fault> {
    let failed = during("remove guards");
    if !any(conn)? {
        return Ok(());
    }
    let listed = list(conn)?;
    let (going, staying): (Vec<_>, Vec<_>) = listed.into_iter().partition(|listed| which(&listed.guard));
    for listed in &going {
        drop_triggers(conn, listed.number)?;
        conn.execute("DELETE FROM _tandem_guards WHERE guard = ?1", [listed.number]).map_err(&failed)?;
    }
    if staying.is_empty() {
        conn.execute_batch("DROP TABLE _tandem_guards; DROP TABLE _tandem_ours;").map_err(&failed)?;
    }
    Ok(())
}

fn list(conn: &Connection) -> Result<Vec<Listed>, Fault> {
    let failed = during("read the list of guards");
    let mut query = conn
        .prepare_cached("SELECT guard, name, map, refuses, key, since FROM _tandem_guards ORDER BY guard")
        .map_err(&failed)?;
    let mut rows = query.query([]).map_err(&failed)?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let get = || -> rusqlite::Result<(i64, String, String, String, String, i64)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        };
        let (number, name, map, refuses, key, since) = get().map_err(&failed)?;
        let key = serde_json::from_str::<Vec<Arc<str>>>(&key).ok();
        let (Some(refuses), Some(key)) = (Refusal::parse(&refuses), key) else {
            let message = "_tandem_guards holds what is no guard of ours";
            return Err(fault(FaultClass::Internal, "read the list of guards", message));
        };
        let table = TableName { schema: None, name: name.into() };
        let guard = Guard { table, map: MapName::from(map), refuses, key, since: WallTime(since) };
        listed.push(Listed { number, guard });
    }
    Ok(listed)
}

/// The triggers of a guard: name and exact text.
fn triggers(Listed { number, guard }: &Listed) -> Vec<(String, String)> {
    let table = &guard.table.name;
    let one = |verb: &str, what: &str, changed: &str| {
        let name = format!("_tandem_guard_{number}_{}", verb.to_ascii_lowercase());
        let message = format!("{what} now: {}. {}", guard.reason(), guard.way_out());
        let sql = format!(
            "CREATE TRIGGER {} BEFORE {verb} ON {} WHEN NOT EXISTS (SELECT 1 FROM _tandem_ours){changed} \
             BEGIN SELECT RAISE(ABORT, '{}'); END",
            quoted(&name),
            quoted(table),
            message.replace('\'', "''")
        );
        (name, sql)
    };
    let cannot = |verb: &str| format!("a record of {table} cannot be {verb}");
    match guard.refuses {
        Refusal::Writes => vec![
            one("INSERT", &cannot("inserted"), ""),
            one("UPDATE", &cannot("updated"), ""),
            one("DELETE", &cannot("deleted"), ""),
        ],
        Refusal::Deletes => {
            // Not `UPDATE OF`: an INTEGER PRIMARY KEY can be set under the name of the rowid.
            let differs = |column: &Arc<str>| format!("OLD.{0} IS NOT NEW.{0}", quoted(column));
            let changed: Vec<_> = guard.key.iter().map(differs).collect();
            let mut triggers = vec![one("DELETE", &cannot("deleted"), "")];
            if !changed.is_empty() {
                let what = format!("the key of a record of {table} cannot be changed");
                triggers.push(one("UPDATE", &what, &format!(" AND ({})", changed.join(" OR "))));
            }
            triggers
        }
    }
}

fn drop_triggers(conn: &Connection, number: i64) -> Result<(), Fault> {
    ["insert", "update", "delete"].iter().try_for_each(|verb| {
        let name = quoted(&format!("_tandem_guard_{number}_{verb}"));
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}")).map_err(during("remove guards"))
    })
}

/// Whether the triggers of a guard are there, as we made them.
fn intact(conn: &Connection, listed: &Listed) -> Result<bool, Fault> {
    for (name, sql) in triggers(listed) {
        let found: Option<String> = conn
            .prepare_cached(
                "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2",
            )
            .and_then(|mut query| {
                query.query_row([&*name, &*listed.guard.table.name], |row| row.get(0)).optional()
            })
            .map_err(during("look for guards"))?;
        if found.as_deref() != Some(&*sql) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn arm(tx: &Transaction<'_>, guard: &Guard, barrier: BarrierId) -> Result<(), Fault> {
    const OPERATION: &str = "arm guard";
    let refuse = |class, code: &str, message: &str| {
        Err(fault(class, OPERATION, message).code(code).table(guard.table.to_string()))
    };
    let captured = changes::active(tx)?;
    let captured = captured.iter().find(|layout| layout.relation.table.name == guard.table.name);
    let (Some(_), Some(table)) = (captured, schema::read(tx, &guard.table)?) else {
        let message = format!("{} is not in capture", guard.table);
        return refuse(FaultClass::Setup, "not_captured", &message);
    };
    if let Some(column) = guard.key.iter().find(|column| table.schema.column(column).is_none()) {
        let message = format!("{} has no column {column}", guard.table);
        return refuse(FaultClass::Schema, "column_missing", &message);
    }
    install(tx)?;
    let failed = during(OPERATION);
    let key = serde_json::to_string(&guard.key)
        .map_err(|error| fault(FaultClass::Internal, OPERATION, &error.to_string()))?;
    let sql = "INSERT INTO _tandem_guards (name, map, refuses, key, since) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (name, map, refuses) DO UPDATE SET key = excluded.key, since = excluded.since RETURNING guard";
    let (name, map) = (&*guard.table.name, guard.map.as_str());
    let number: i64 = tx
        .query_row(sql, (name, map, guard.refuses.name(), key, guard.since.0), |row| row.get(0))
        .map_err(&failed)?;
    drop_triggers(tx, number)?;
    for (_, sql) in triggers(&Listed { number, guard: guard.clone() }) {
        tx.execute_batch(&sql).map_err(&failed)?;
    }
    changes::write_barrier(tx, barrier.0)
}

/// The app's own name of the table: without a schema.
fn plain(guard: &Guard) -> Guard {
    let table = TableName { schema: None, name: guard.table.name.clone() };
    Guard { table, ..guard.clone() }
}

impl Guards for SqliteGuards {
    fn arm<'a>(&'a mut self, guard: &'a Guard, barrier: BarrierId) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (owner, guard) = (self.owner, plain(guard));
            write(&self.desk, move |tx| {
                admit(tx, owner)?;
                arm(tx, &guard, barrier)
            })
            .await
        })
    }

    fn disarm<'a>(&'a mut self, guard: &'a Guard) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (owner, guard) = (self.owner, plain(guard));
            write(&self.desk, move |tx| {
                admit(tx, owner)?;
                remove(tx, |standing| standing.is_same(&guard))
            })
            .await
        })
    }

    fn armed(&mut self) -> BoxFuture<'_, Result<Vec<Guard>, Fault>> {
        Box::pin(async move {
            let owner = self.owner;
            let standing = move |conn: &mut Connection| {
                let tx = conn.transaction().map_err(during("look for guards"))?;
                admit(&tx, owner)?;
                let listed = if any(&tx)? { list(&tx)? } else { Vec::new() };
                let mut standing = Vec::new();
                for listed in listed {
                    if intact(&tx, &listed)? {
                        standing.push(listed.guard);
                    }
                }
                Ok(standing)
            };
            self.desk.run(standing).await?
        })
    }
}
