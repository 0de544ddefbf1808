//! SQLite as an app: a file that others write to while we do.
//!
//! What it guarantees, and what it asks of the app's writers:
//!
//! * **WAL mode is required.** Without it our reads make the app's commits fail. We never switch it.
//! * **Triggers capture** (see `changes.rs`). They are re-made when a table gains columns; one that is missing
//!   or altered is a gap, never passed over. A table that is rebuilt (create, copy, drop, rename) loses them.
//! * **A unit is what one look shows**: a trigger knows no transaction, so several may come as one, and none is
//!   split, except where a look finds more than 10,000 rows (a large transaction, or a backlog from the time
//!   when we did not run): it is cut there, whatever transaction that hits.
//! * **Our writes yield.** No waiting inside SQLite: a busy database is tried again with pauses of a random
//!   length, and after each transaction of ours the lock is left alone for as long as we held it.
//! * **`INSERT OR REPLACE`** deletes rows without telling delete triggers, unless the app sets
//!   `PRAGMA recursive_triggers = ON`. A replaced row of the same key is captured right all the same (the new
//!   row says everything); one that goes because of *another* unique key is not seen. `check` warns of tables
//!   that have one.
//! * **Schema changes**: ADD COLUMN is followed. SQLite itself refuses DROP COLUMN while our triggers name the
//!   column, and RENAME rewrites them, which is a gap: take the table out of capture for such a migration.
//! * **Foreign keys are enforced** in our connections, and judged when *our* transaction ends: SQLite cannot check
//!   deferred keys at a savepoint, so a source transaction that only a later one of the same batch makes whole
//!   passes.
//! * **Guards** are triggers too (see `guard.rs`), there only while they are armed.
//! * **One engine at a time**: a lock file beside the database (`…-tandem-lock`), held by the operating system, and
//!   a row in the database that names the owner.

#![deny(clippy::indexing_slicing)]

mod apply;
mod capture;
mod changes;
mod check;
mod desk;
mod guard;
mod lock;
mod look;
mod lookup;
mod reads;
mod schema;
mod source;
mod trouble;
mod value;
mod watermark;
mod write;

use desk::Desk;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Apply, BoxFuture, Capture, Connector, Guards, Needs, Owner, Reads, Source};
use tandem_core::{Fault, FaultClass, Finding, Position, TableName, TableSchema};
use trouble::{during, fault};

/// How long a write of ours is tried again before it is a conflict.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// How long opening waits for another connection that opens or closes the file.
const OPEN_PATIENCE: Duration = Duration::from_secs(2);

/// A database file.
#[derive(Debug, Clone)]
pub struct SqliteApp {
    path: Arc<Path>,
}

impl SqliteApp {
    /// The database in this file, which must be there when it is used.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into() }
    }

    /// Reads `sqlite:path`; `sqlite://path` is the same.
    pub fn from_url(url: &str) -> Result<Self, Fault> {
        let path = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match path {
            Some(path) if !path.is_empty() && path != ":memory:" => Ok(Self::new(path)),
            Some(_) | None => {
                let message = "an SQLite app is named by its file: sqlite:path/to/file.db";
                Err(fault(FaultClass::Setup, "read URL", message))
            }
        }
    }

    async fn desk(&self) -> Result<Desk<Connection>, Fault> {
        let path = self.path.clone();
        Desk::open(move || connect(&path)).await
    }
}

/// Opens the file as it has to be for us. Never makes one.
fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = during("open database");
    if !path.is_file() {
        let message = format!("there is no database file {}", path.display());
        let fix = "name the file that the app keeps; Tandem makes none, and none is there before the app has made it";
        return Err(fault(FaultClass::Connection, "open database", &message).code("file_missing").fix(fix));
    }
    let conn = Connection::open_with_flags(path, flags).map_err(&failed)?;
    // Opening may meet another connection that closes the WAL or mends it: that passes, and locks no writer out.
    conn.busy_timeout(OPEN_PATIENCE).map_err(&failed)?;
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(&failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let message =
            format!("journal mode is {mode}, and must be WAL: our reads would make the app's writes fail");
        let fix = "PRAGMA journal_mode=WAL;";
        return Err(fault(FaultClass::Setup, "open database", &message).code("journal_mode").fix(fix));
    }
    let settings = "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA synchronous = FULL;";
    conn.execute_batch(settings).map_err(&failed)?;
    conn.busy_timeout(Duration::ZERO).map_err(&failed)?;
    conn.set_prepared_statement_cache_capacity(256);
    Ok(conn)
}

/// Between 1 and 8 ms, so that two who wait do not meet again and again.
fn jitter() -> Duration {
    use std::hash::{BuildHasher, RandomState};
    Duration::from_micros(1_000 + RandomState::new().hash_one(0) % 7_000)
}

fn fenced(operation: &str, message: &str) -> Fault {
    fault(FaultClass::Fenced, operation, message)
}

impl Connector for SqliteApp {
    fn describe<'a>(
        &'a self,
        tables: &'a [TableName],
    ) -> BoxFuture<'a, Result<Vec<Option<TableSchema>>, Fault>> {
        Box::pin(async move {
            let tables = tables.to_vec();
            let read = move |conn: &mut Connection| {
                tables.iter().map(|name| Ok(schema::read(conn, name)?.map(|table| table.schema))).collect()
            };
            self.desk().await?.run(read).await?
        })
    }

    fn check<'a>(&'a self, needs: &'a Needs) -> BoxFuture<'a, Result<Vec<Finding>, Fault>> {
        Box::pin(async move {
            let desk = match self.desk().await {
                Ok(desk) => desk,
                Err(fault) => return check::unusable(fault).map(|finding| vec![finding]),
            };
            let needs = needs.clone();
            desk.run(move |conn| check::findings(conn, &needs)).await?
        })
    }

    fn open_source(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Source>, Fault>> {
        Box::pin(
            async move { Ok(Box::new(source::SqliteSource::open(self, owner).await?) as Box<dyn Source>) },
        )
    }

    fn open_capture<'a>(
        &'a self,
        owner: Owner,
        from: &'a Position,
    ) -> BoxFuture<'a, Result<Box<dyn Capture>, Fault>> {
        Box::pin(async move {
            Ok(Box::new(capture::SqliteCapture::open(self, owner, from).await?) as Box<dyn Capture>)
        })
    }

    fn open_apply<'a>(
        &'a self,
        owner: Owner,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Apply>, Fault>> {
        Box::pin(async move {
            Ok(Box::new(apply::SqliteApply::open(self, owner, stream).await?) as Box<dyn Apply>)
        })
    }

    fn open_reads(&self) -> BoxFuture<'_, Result<Box<dyn Reads>, Fault>> {
        Box::pin(async move { Ok(Box::new(reads::SqliteReads::open(self).await?) as Box<dyn Reads>) })
    }

    fn open_guards(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Guards>, Fault>> {
        Box::pin(
            async move { Ok(Box::new(guard::SqliteGuards::open(self, owner).await?) as Box<dyn Guards>) },
        )
    }

    fn release_sql(&self) -> BoxFuture<'_, Result<String, Fault>> {
        Box::pin(async move { self.desk().await?.run(|conn| guard::release_sql(conn)).await? })
    }
}
