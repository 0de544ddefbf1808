//! A look at the change table: what is new behind a place in it.

use super::trouble::{during, fault};
use super::{changes, fenced, value};
use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as StoredRow};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tandem_core::connect::Owner;
use tandem_core::{
    BarrierId, Cell, Change, Commit, Entry, Fault, FaultClass, Fragment, Mark, Op, Position, Relation, Row,
    Seq, WallTime,
};

/// Rows of the change table that one unit may hold: what a weekend without us left is not one transaction.
const UNIT_ROWS: i64 = 10_000;
/// Rows that are read in one go, so that no read transaction lasts.
const READ_ROWS: i64 = 1_000;

/// A row of the change table. The nonce tells it from a row that has the same number in a restored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: i64,
    pub(super) nonce: i64,
}

impl Place {
    pub(super) fn position(self) -> Position {
        let mut bytes = [0; 16];
        let (id, nonce) = bytes.split_at_mut(8);
        id.copy_from_slice(&self.id.to_be_bytes());
        nonce.copy_from_slice(&self.nonce.to_be_bytes());
        Position(Bytes::copy_from_slice(&bytes))
    }

    pub(super) fn of(position: &Position) -> Result<Self, Fault> {
        let number = |at: usize| {
            position.0.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes)
        };
        match (number(0), number(8), position.0.len()) {
            (Some(id), Some(nonce), 16) => Ok(Self { id, nonce }),
            _ => Err(gap("the position is not one of this app")),
        }
    }
}

/// A unit that is being read: its last row, and the mark if it is ours.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    last: i64,
    mark: Option<Mark>,
}

/// The connection that looks, and what it knows.
pub(super) struct Looker {
    pub(super) conn: Connection,
    owner: Owner,
    path: PathBuf,
    /// The file that was opened; whoever replaces it leaves us reading the old one.
    file: Option<(u64, u64)>,
    schema_version: Option<i64>,
    /// The data version at the last look that found nothing.
    quiet_at: Option<i64>,
    layouts: BTreeMap<i64, Arc<Relation>>,
}

fn gap(message: &str) -> Fault {
    fault(FaultClass::Gap, "read the change table", message)
}

impl Looker {
    pub(super) fn new(conn: Connection, owner: Owner, path: &Path) -> Self {
        let file = identity(path);
        Self {
            conn,
            owner,
            path: path.to_owned(),
            file,
            schema_version: None,
            quiet_at: None,
            layouts: BTreeMap::new(),
        }
    }

    /// Finds the row of a place, or the gap.
    pub(super) fn find(&mut self, place: Place) -> Result<(), Fault> {
        self.inspect()?;
        self.still_ours()?;
        let nonce: Option<i64> = self
            .conn
            .prepare_cached("SELECT nonce FROM _tandem_changes WHERE id = ?1")
            .and_then(|mut query| query.query_row([place.id], |row| row.get(0)).optional())
            .map_err(during("find position"))?;
        match nonce {
            Some(nonce) if nonce == place.nonce => Ok(()),
            Some(_) => Err(gap("the file is another one: it was restored or replaced")),
            None => Err(gap("the position is not in the file: it was let go of, or the file was restored")),
        }
    }

    /// Fails if another start or another data folder has taken the app over: what we would let go of, it may
    /// still need.
    pub(super) fn still_ours(&self) -> Result<(), Fault> {
        match changes::owner(&self.conn)? {
            Some(stored) if stored != self.owner => {
                Err(fenced("read the log", "another engine has taken over"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Has the schema moved, or the file? Then our triggers are looked for.
    fn inspect(&mut self) -> Result<(), Fault> {
        if identity(&self.path) != self.file {
            let message = "the database file was replaced";
            return Err(fault(FaultClass::Connection, "read the change table", message));
        }
        let version: i64 = self
            .conn
            .prepare_cached("PRAGMA schema_version")
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(during("read schema version"))?;
        if self.schema_version == Some(version) {
            return Ok(());
        }
        if !changes::exists(&self.conn)? {
            return Err(gap("nothing is captured here: the change table is gone"));
        }
        match changes::inspect(&mut self.conn) {
            Ok(()) => {
                // Making new triggers moves the version again: the next look finds that all is well.
                self.schema_version = Some(version);
                Ok(())
            }
            // Somebody writes: the triggers are in place, and a new column can wait for the next look.
            Err(fault) if fault.class == FaultClass::Conflict => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// What is behind a place: a piece of a unit, or nothing.
    pub(super) fn look(
        &mut self,
        behind: Place,
        unit: Option<Unit>,
    ) -> Result<Option<(Fragment, Place, Option<Unit>)>, Fault> {
        let failed = during("read the change table");
        self.inspect()?;
        let version: i64 = self
            .conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(&failed)?;
        if unit.is_none() && self.quiet_at == Some(version) {
            return Ok(None);
        }
        let unit = match unit {
            Some(unit) => unit,
            None => {
                // The row where we stand is kept; if it is not there, somebody emptied the table or the file
                // has gone back under our feet.
                self.find(behind)?;
                match self.next_unit(behind.id).map_err(&failed)? {
                    Some(unit) => unit,
                    None => {
                        self.quiet_at = Some(version);
                        return Ok(None);
                    }
                }
            }
        };
        self.quiet_at = None;
        self.piece(behind, unit).map(Some)
    }

    /// Where the next unit ends: at the end of what there is, except that transactions of ours stand alone.
    fn next_unit(&self, behind: i64) -> rusqlite::Result<Option<Unit>> {
        let mut window = self.conn.prepare_cached(
            "SELECT max(id), min(id), min(CASE WHEN kind = 'O' THEN id END) FROM \
             (SELECT id, kind FROM _tandem_changes WHERE id > ?1 ORDER BY id LIMIT ?2)",
        )?;
        let window: (Option<i64>, Option<i64>, Option<i64>) =
            window.query_row([behind, UNIT_ROWS], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (Some(last), Some(first), ours) = window else { return Ok(None) };
        match ours {
            Some(ours) if ours == first => {
                let mut end = self.conn.prepare_cached(
                    "SELECT id, c0, c1, c2 FROM _tandem_changes WHERE id > ?1 AND kind = 'M' ORDER BY id LIMIT 1",
                )?;
                let unit = end.query_row([ours], |row| {
                    let stream: String = row.get(1)?;
                    let seq = Seq(row.get::<_, i64>(2)?.cast_unsigned());
                    let note: Option<String> = row.get(3)?;
                    let note = note.unwrap_or_default().into();
                    Ok(Unit { last: row.get(0)?, mark: Some(Mark { stream: stream.into(), seq, note }) })
                })?;
                Ok(Some(unit))
            }
            Some(ours) => {
                let mut before = self
                    .conn
                    .prepare_cached("SELECT max(id) FROM _tandem_changes WHERE id > ?1 AND id < ?2")?;
                let last = before.query_row([behind, ours], |row| row.get(0))?;
                Ok(Some(Unit { last, mark: None }))
            }
            None => Ok(Some(Unit { last, mark: None })),
        }
    }

    fn piece(&mut self, behind: Place, unit: Unit) -> Result<(Fragment, Place, Option<Unit>), Fault> {
        let failed = during("read the change table");
        let mut fragment = Fragment { mark: unit.mark.clone(), ..Fragment::default() };
        let mut place = behind;
        let mut at = 0.0;
        let mut query = self
            .conn
            .prepare_cached("SELECT * FROM _tandem_changes WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")
            .map_err(&failed)?;
        let mut rows = query.query([behind.id, unit.last, READ_ROWS]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let head = || -> rusqlite::Result<_> {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get(4)?,
                ))
            };
            let (id, nonce, kind, layout, stamp) = head().map_err(&failed)?;
            (place, at) = (Place { id, nonce }, stamp);
            let relation = match self.layouts.get(&layout) {
                None if layout > 0 => {
                    self.layouts = changes::layouts(&self.conn)?;
                    self.layouts.get(&layout)
                }
                known => known,
            };
            fragment.entries.extend(entry(row, &kind, relation)?);
        }
        if place.id == behind.id {
            return Err(gap("rows of the change table went away before they were read"));
        }
        if place.id < unit.last {
            return Ok((fragment, place, Some(unit)));
        }
        fragment.commit =
            Some(Commit { position: place.position(), transaction: "".into(), committed_at: wall_time(at) });
        Ok((fragment, place, None))
    }
}

/// What one row of the change table says.
fn entry(row: &StoredRow<'_>, kind: &str, relation: Option<&Arc<Relation>>) -> Result<Option<Entry>, Fault> {
    const HEAD: usize = 5;
    let unread = || gap("a row of the change table is not as our triggers write it");
    let read = |at: usize| row.get_ref(HEAD + at).map_err(|_| unread());
    if kind == changes::BARRIER {
        let ValueRef::Integer(barrier) = read(0)? else { return Err(unread()) };
        return Ok(Some(Entry::Barrier(BarrierId(barrier.cast_unsigned()))));
    }
    if [changes::START, changes::OURS_BEGINS, changes::OURS_ENDS].contains(&kind) {
        return Ok(None);
    }
    let relation = relation.ok_or_else(unread)?;
    let count = relation.columns.len();
    let cells = |from: usize| -> Result<Row, Fault> {
        let cell = |(n, column): (usize, &tandem_core::RelationColumn)| {
            Ok(Cell::Set(value::read(read(from + n)?, &column.type_name)))
        };
        relation.columns.iter().enumerate().map(cell).collect::<Result<_, Fault>>().map(Row)
    };
    let op = match kind {
        changes::INSERT => Op::Insert { new: cells(0)? },
        changes::UPDATE => Op::Update { old: Some(cells(0)?), new: cells(count)? },
        changes::DELETE => Op::Delete { old: cells(0)? },
        _ => return Err(unread()),
    };
    Ok(Some(Entry::Change(Change { relation: relation.clone(), op })))
}

/// SQLite's day number as a moment: its clock counts milliseconds.
fn wall_time(julian_day: f64) -> WallTime {
    const UNIX_EPOCH: f64 = 2_440_587.5;
    WallTime(((julian_day - UNIX_EPOCH) * 86_400_000.0).round() as i64 * 1_000)
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.is_file().then_some((0, 0))
}
