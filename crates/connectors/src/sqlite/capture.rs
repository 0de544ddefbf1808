//! Reads the change table as a log. A change of the WAL file is the hint to look, a slow poll is the truth.

use super::look::{Looker, Place, Unit};
use super::trouble::during;
use super::{Desk, SqliteApp, changes, connect, fenced};
use notify::{RecursiveMode, Watcher};
use rusqlite::TransactionBehavior;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{BoxFuture, Capture, Captured, Owner};
use tandem_core::{Fault, FaultClass, Position};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a change may go unseen if the hint does not come.
const POLL: Duration = Duration::from_millis(250);
/// Rows that one trim removes at most: it has the app's write lock.
const TRIM_ROWS: i64 = 500;
/// Trims in a row for one acknowledgement; what is left waits for the next.
const TRIMS: usize = 20;
/// A trim for fewer rows than this waits until so much time has passed since the last.
const TRIM_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct SqliteCapture {
    desk: Desk<Looker>,
    behind: Place,
    unit: Option<Unit>,
    hint: Arc<Notify>,
    _watcher: Option<notify::RecommendedWatcher>,
    trimmed: Option<Instant>,
}

impl SqliteCapture {
    pub(super) async fn open(app: &SqliteApp, owner: Owner, from: &Position) -> Result<Self, Fault> {
        let behind = Place::of(from)?;
        let path = app.path.clone();
        let desk = Desk::open(move || {
            let mut conn = connect(&path)?;
            // Readers do not wait for writers; only a recovery after a crash makes anybody wait.
            conn.busy_timeout(Duration::from_millis(50)).map_err(during("open database"))?;
            admit(&mut conn, owner)?;
            conn.execute_batch("PRAGMA synchronous = NORMAL").map_err(during("open database"))?;
            let mut looker = Looker::new(conn, owner, &path);
            looker.find(behind)?;
            Ok(looker)
        })
        .await?;
        let hint = Arc::new(Notify::new());
        let _watcher = watch(&app.path, hint.clone());
        Ok(Self { desk, behind, unit: None, hint, _watcher, trimmed: None })
    }

    /// Whether enough is behind us, or enough time has passed, to be worth the write lock.
    fn trim_is_due(&self) -> bool {
        self.trimmed.is_none_or(|trimmed| trimmed.elapsed() >= TRIM_PAUSE)
    }
}

/// Refuses whoever is not the owner, and notes a later start of it.
fn admit(conn: &mut rusqlite::Connection, owner: Owner) -> Result<(), Fault> {
    match changes::owner(conn)? {
        Some(stored) if stored.journal != owner.journal => {
            Err(fenced("open log", "another data folder captures this app"))
        }
        Some(stored) if stored.epoch > owner.epoch => {
            Err(fenced("open log", "a later start of this data folder was here"))
        }
        Some(stored) if stored.epoch < owner.epoch => {
            let failed = during("write the owner");
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
            changes::write_owner(&tx, owner)?;
            tx.commit().map_err(&failed)
        }
        Some(_) | None => Ok(()),
    }
}

/// Watches the folder, since the WAL file itself may be replaced. Without a watcher the poll does it alone.
fn watch(path: &Path, hint: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let wal = path.file_name().map(|name| {
        let mut name = name.to_owned();
        name.push("-wal");
        name
    })?;
    let told = move |event: notify::Result<notify::Event>| {
        let about_us = |event: notify::Event| event.paths.iter().any(|path| path.file_name() == Some(&wal));
        // An error of the watcher is a hint as well: looking costs little.
        if event.map_or(true, about_us) {
            hint.notify_one();
        }
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(told).ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

impl Capture for SqliteCapture {
    fn next(&mut self) -> BoxFuture<'_, Result<Captured, Fault>> {
        Box::pin(async move {
            loop {
                let (behind, unit) = (self.behind, self.unit.clone());
                let looked = match self.desk.run(move |looker| looker.look(behind, unit)).await? {
                    Err(fault) if fault.class == FaultClass::Conflict => None,
                    looked => looked?,
                };
                if let Some((fragment, behind, unit)) = looked {
                    // Nothing is awaited from here on: the place moves exactly if the fragment is handed over.
                    (self.behind, self.unit) = (behind, unit);
                    return Ok(Captured { fragments: vec![fragment], ..Captured::default() });
                }
                let _hint_or_poll = tokio::time::timeout(POLL, self.hint.notified()).await;
            }
        })
    }

    fn acknowledge<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let place = Place::of(position)?;
            if !self.trim_is_due() {
                return Ok(());
            }
            for _ in 0..TRIMS {
                let began = Instant::now();
                let trimmed = match self.desk.insist(move |looker| trim(looker, place)).await {
                    // The app is busy: what can go, goes with the next acknowledgement.
                    Err(fault) if fault.class == FaultClass::Conflict => return Ok(()),
                    trimmed => trimmed?,
                };
                if trimmed < TRIM_ROWS {
                    break;
                }
                tokio::time::sleep(began.elapsed()).await;
            }
            self.trimmed = Some(Instant::now());
            Ok(())
        })
    }
}

/// Removes the oldest rows before a place, and never the row of the place itself: it is what a position is
/// compared with, and it keeps the numbers rising.
fn trim(looker: &mut Looker, place: Place) -> Result<i64, Fault> {
    let failed = during("trim the change table");
    looker.still_ours()?;
    let any: bool = looker
        .conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM _tandem_changes WHERE id < ?1)")
        .and_then(|mut query| query.query_row([place.id], |row| row.get(0)))
        .map_err(&failed)?;
    if !any {
        return Ok(0);
    }
    let trimmed = looker
        .conn
        .prepare_cached(
            "DELETE FROM _tandem_changes WHERE id IN \
             (SELECT id FROM _tandem_changes WHERE id < ?1 ORDER BY id LIMIT ?2)",
        )
        .and_then(|mut delete| delete.execute([place.id, TRIM_ROWS]))
        .map_err(&failed)?;
    Ok(i64::try_from(trimmed).unwrap_or(i64::MAX))
}
