//! Puts tables into capture and takes them out.
//!
//! SQLite has one writer at a time, which makes this exact: the transaction that makes the triggers and writes
//! the barrier has the write lock, so no transaction that has written is open, and whoever writes next meets the
//! triggers.

use super::lock::OwnerLock;
use super::schema;
use super::trouble::{during, fault};
use super::{Desk, SqliteApp, changes, fenced, guard, look};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tandem_core::connect::{BoxFuture, Owner, Source};
use tandem_core::{BarrierId, Fault, FaultClass, Position, TableName};

pub(super) struct SqliteSource {
    desk: Desk<Connection>,
    owner: Owner,
    _lock: OwnerLock,
}

impl SqliteSource {
    pub(super) async fn open(app: &SqliteApp, owner: Owner) -> Result<Self, Fault> {
        let desk = app.desk().await?;
        let lock = OwnerLock::take(&app.path)?;
        // A database in which nothing is captured has no place for an owner; entering makes it.
        let own = move |tx: &Transaction<'_>| match claim(tx, owner)? {
            Some(stored) if stored != owner => changes::write_owner(tx, owner),
            Some(_) | None => Ok(()),
        };
        write(&desk, own).await?;
        Ok(Self { desk, owner, _lock: lock })
    }
}

/// Reads who captures here, and refuses an older start.
fn claim(conn: &Connection, owner: Owner) -> Result<Option<Owner>, Fault> {
    match changes::owner(conn)? {
        Some(stored) if stored.journal == owner.journal && stored.epoch > owner.epoch => {
            Err(fenced("open source", "a later start of this data folder was here"))
        }
        stored => Ok(stored),
    }
}

/// One short write transaction, tried again while others write.
pub(super) async fn write<T: Send + 'static>(
    desk: &Desk<Connection>,
    work: impl Fn(&Transaction<'_>) -> Result<T, Fault> + Clone + Send + 'static,
) -> Result<T, Fault> {
    let job = move |conn: &mut Connection| {
        let failed = during("write to the app");
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let done = work(&tx)?;
        tx.commit().map_err(&failed)?;
        Ok(done)
    };
    desk.insist(job).await
}

fn enter(tx: &Transaction<'_>, tables: &[TableName], barrier: BarrierId) -> Result<(i64, i64), Fault> {
    changes::install(tx)?;
    let before = changes::last_row(tx)?;
    let active = changes::active(tx)?;
    for name in tables {
        let Some(table) = schema::read(tx, name)? else {
            let message = format!("table {name} is not there");
            return Err(fault(FaultClass::Schema, "enter table", &message).table(name.to_string()));
        };
        if table.kind != "table" {
            let message = format!("{name} is a {}: only plain tables can be captured", table.kind);
            return Err(fault(FaultClass::Setup, "enter table", &message).table(name.to_string()));
        }
        match active.iter().find(|layout| layout.relation.table == table.schema.table) {
            None => changes::capture(tx, &table)?,
            // What was written while a trigger was away is lost: that is for the capture to say, and never
            // mended silently.
            Some(layout) if !changes::intact(tx, &table, layout)? => {
                let message = format!("the triggers of {name} are gone or were changed");
                return Err(fault(FaultClass::Gap, "enter table", &message).table(name.to_string()));
            }
            Some(layout) if changes::outgrown(&table, layout) => changes::capture(tx, &table)?,
            Some(_) => {}
        }
    }
    changes::write_barrier(tx, barrier.0)?;
    Ok(before)
}

impl Source for SqliteSource {
    fn enter<'a>(
        &'a mut self,
        tables: &'a [TableName],
        barrier: BarrierId,
    ) -> BoxFuture<'a, Result<Position, Fault>> {
        Box::pin(async move {
            let (owner, tables) = (self.owner, tables.to_vec());
            let (id, nonce) = write(&self.desk, move |tx| {
                still_ours(tx, owner)?;
                let before = enter(tx, &tables, barrier)?;
                changes::write_owner(tx, owner)?;
                Ok(before)
            })
            .await?;
            Ok(look::Place { id, nonce }.position())
        })
    }

    fn leave<'a>(&'a mut self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (owner, tables) = (self.owner, tables.to_vec());
            write(&self.desk, move |tx| {
                tables.iter().try_for_each(|table| guard::release(tx, table))?;
                if !changes::exists(tx)? {
                    return Ok(());
                }
                still_ours(tx, owner)?;
                tables.iter().try_for_each(|table| changes::release(tx, table))?;
                if changes::active(tx)?.is_empty() { changes::uninstall(tx) } else { Ok(()) }
            })
            .await
        })
    }

    fn mark<'a>(&'a mut self, barriers: &'a [BarrierId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (owner, barriers) = (self.owner, barriers.to_vec());
            write(&self.desk, move |tx| {
                still_ours(tx, owner)?;
                barriers.iter().try_for_each(|barrier| changes::write_barrier(tx, barrier.0))
            })
            .await
        })
    }

    fn captured(&mut self) -> BoxFuture<'_, Result<Vec<TableName>, Fault>> {
        Box::pin(async move {
            let names = |conn: &mut Connection| {
                let layouts = changes::active(conn)?;
                Ok(layouts.into_iter().map(|layout| layout.relation.table.clone()).collect())
            };
            self.desk.run(names).await?
        })
    }
}

/// A later start cannot take the lock while we hold it, but a person may have removed its file.
fn still_ours(tx: &Transaction<'_>, owner: Owner) -> Result<(), Fault> {
    match changes::owner(tx)? {
        Some(stored) if stored != owner => {
            Err(fenced("change what is captured", "another engine is at work"))
        }
        Some(_) | None => Ok(()),
    }
}
