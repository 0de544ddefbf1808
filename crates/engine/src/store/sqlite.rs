//! The store of a real engine: one SQLite file in the data folder.
//!
//! Records are JSON documents under their names: few, small, and saved whole, so that a person with `sqlite3`
//! can read them and a later version can add fields. Errors and activity are rows, since there may be many; the change
//! of an error is bytes, for its values have to come back exactly as they were.

mod again;
mod awaiting;
mod errors;
mod two_way;

use super::{
    ActivityFrom, Again, Awaiting, Cause, Conflict, Correction, ErrorPick, ErrorQuery, FlowId, Picked,
    Record, Saved, SetAside, StatusCounts, Store, StoreError, Touching,
};
use crate::journal::blob;
use crate::view::{ActivityEntry, Page};
use again::AGAIN;
use errors::{ERRORS, FROM_1, FROM_2};
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tandem_core::{KeyHash, MapName, Seq};
use two_way::TWO_WAY;

/// The version of the tables below. A file of a later version is refused, one of an earlier version is brought up
/// to this one when it is opened. Version 6 has the tables of version 5: a Tandem that knows no tokens must not open a
/// file that has some, since it would answer everybody.
const VERSION: i64 = 6;

const TABLES: &str = "
    CREATE TABLE record (kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT;
    CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT, document TEXT NOT NULL) STRICT;
    CREATE INDEX activity_map ON activity (map, id);
";

/// See the module.
pub(crate) struct SqliteStore {
    connection: Mutex<Connection>,
    /// The records that errors touch, by the hashes of their keys. One that is not in here has no error; one that is
    /// may have none any more. Some 16 bytes for each error that was noted.
    touched: Mutex<HashSet<KeyHash>>,
    /// How many winners are to be written back.
    corrections: AtomicU64,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed =
            |error: rusqlite::Error| StoreError { operation: "open the store", message: error.to_string() };
        let connection = Connection::open(path).map_err(failed)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        debug_assert!(mode == "wal" || mode == "memory");
        // FULL: what was saved has to survive a power cut, not only a crash.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").map_err(failed)?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        let steps = match version {
            0 => format!("{TABLES} {ERRORS} {TWO_WAY} {AGAIN}"),
            1 => format!("ALTER TABLE error RENAME TO error_1; {ERRORS} {FROM_1} {TWO_WAY} {AGAIN}"),
            2 => format!(
                "ALTER TABLE error RENAME TO error_2; DROP INDEX error_map; DROP INDEX error_key; {ERRORS} {FROM_2} {TWO_WAY} {AGAIN}"
            ),
            3 => format!("{TWO_WAY} {AGAIN}"),
            4 => AGAIN.to_owned(),
            5 | VERSION => String::new(),
            later => {
                return Err(StoreError {
                    operation: "open the store",
                    message: format!(
                        "it has version {later}, and this Tandem knows version {VERSION}: use a newer one"
                    ),
                });
            }
        };
        if version < VERSION {
            connection.execute_batch(&format!("BEGIN; {steps}")).map_err(failed)?;
            if version < 3 {
                errors::note_touched(&connection).map_err(|error| StoreError {
                    operation: "open the store",
                    message: error.to_string(),
                })?;
            }
            connection.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;")).map_err(failed)?;
        }
        let touched = Mutex::new(errors::all_touched(&connection).map_err(failed)?);
        let corrections = AtomicU64::new(two_way::count_corrections(&connection).map_err(failed)?);
        Ok(Self { connection: Mutex::new(connection), touched, corrections })
    }

    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, Box<dyn std::error::Error>>,
    ) -> Result<T, StoreError> {
        // A panic while the lock was held left no half transaction: SQLite rolls it back.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut connection).map_err(|error| StoreError { operation, message: error.to_string() })
    }

    fn touched(&self) -> MutexGuard<'_, HashSet<KeyHash>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn documents<T: DeserializeOwned>(
    connection: &Connection,
    kind: &str,
) -> Result<Vec<T>, Box<dyn std::error::Error>> {
    let mut statement =
        connection.prepare_cached("SELECT document FROM record WHERE kind = ?1 ORDER BY name")?;
    let rows = statement.query_map([kind], |row| row.get::<_, String>(0))?;
    rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
}

impl Store for SqliteStore {
    fn load(&self) -> Result<Saved, StoreError> {
        self.with("read the store", |connection| {
            Ok(Saved {
                engine: documents(connection, "engine")?.pop(),
                maps: documents::<super::MapRecord>(connection, "map")?
                    .into_iter()
                    .map(|m| (m.map.name.clone(), m))
                    .collect(),
                streams: documents::<super::StreamRecord>(connection, "stream")?
                    .into_iter()
                    .map(|s| (s.stream.clone(), s))
                    .collect(),
                rules: documents::<super::RuleRecord>(connection, "rule")?
                    .into_iter()
                    .map(|rule| (rule.declared.name.clone(), rule))
                    .collect(),
                copies: documents::<super::CopyRecord>(connection, "copy")?
                    .into_iter()
                    .map(|copy| (copy.flow, copy))
                    .collect(),
                tokens: documents::<super::TokenRecord>(connection, "token")?
                    .into_iter()
                    .map(|token| (token.name.clone(), token))
                    .collect(),
                answers: documents::<super::AnswerRecord>(connection, "answer")?
                    .into_iter()
                    .map(|answer| (answer.name.clone(), answer))
                    .collect(),
            })
        })
    }

    fn save(&self, records: &[Record]) -> Result<Vec<u64>, StoreError> {
        // Before they are there: whoever looks in between finds nothing, and loses nothing.
        for record in records {
            if let Record::Error(SetAside { kept: Some(kept), .. })
            | Record::Adopted(SetAside { kept: Some(kept), .. }) = record
            {
                self.touched().extend(&kept.touches);
            }
        }
        self.with("save to the store", |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut numbers = Vec::new();
            {
                let put = |kind: &str, name: &str, document: String| {
                    transaction
                        .prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document")?
                        .execute(params![kind, name, document])
                };
                let remove = |kind: &str, name: &str| {
                    transaction.prepare_cached("DELETE FROM record WHERE kind = ?1 AND name = ?2")?.execute(params![kind, name])
                };
                for record in records {
                    match record {
                        Record::Engine(engine) => {
 put("engine", "engine", serde_json::to_string(engine)?)?;
}
                        Record::Map(map) => {
 put("map", map.map.name.as_str(), serde_json::to_string(map)?)?;
}
                        Record::NoMap(name) => {
 remove("map", name.as_str())?;
}
                        Record::Stream(stream) => {
                            put("stream", &stream.stream.to_string(), serde_json::to_string(stream)?)?;
                        }
                        Record::NoStream(stream) => {
 remove("stream", &stream.to_string())?;
}
                        Record::Rule(rule) => {
                            put("rule", &rule.declared.name, serde_json::to_string(rule)?)?;
                        }
                        Record::NoRule(name) => {
                            remove("rule", name)?;
                        }
                        Record::Copy(copy) => {
                            put("copy", &copy.flow.0.to_string(), serde_json::to_string(copy)?)?;
                        }
                        Record::NoCopy(flow) => {
                            remove("copy", &flow.0.to_string())?;
                            again::forget(&transaction, *flow)?;
                        }
                        Record::Again { flow, keys } => again::note(&transaction, *flow, keys)?,
                        Record::NotAgain { flow, keys } => again::done(&transaction, *flow, keys)?,
                        Record::Token(token) => {
                            put("token", &token.name, serde_json::to_string(token)?)?;
                        }
                        Record::NoToken(name) => {
                            remove("token", name)?;
                        }
                        Record::Answer(answer) => {
                            put("answer", &answer.name, serde_json::to_string(answer)?)?;
                        }
                        Record::NoAnswer(name) => {
                            remove("answer", name)?;
                        }
                        Record::Activity(entry) => {
                            transaction
                                .prepare_cached("INSERT INTO activity (map, document) VALUES (?1, ?2)")?
                                .execute(params![entry.map.as_ref().map(MapName::as_str), serde_json::to_string(entry)?])?;
                            numbers.push(transaction.last_insert_rowid().unsigned_abs());
                        }
                        Record::Conflict(conflict) => two_way::save_conflict(&transaction, conflict)?,
                        Record::Correction(correction) => two_way::save_correction(&transaction, correction)?,
                        Record::Corrected(id) => two_way::forget_correction(&transaction, *id)?,
                        about_errors => {
                            let known = errors::save(&transaction, about_errors)?;
                            debug_assert!(known, "a record that nobody saves");
                        }
                    }
                }
            }
            let corrected = |record: &Record| {
                matches!(record, Record::Correction(_) | Record::Corrected(_))
            };
            let corrections = match records.iter().any(corrected) {
                true => Some(two_way::count_corrections(&transaction)?),
                false => None,
            };
            transaction.commit()?;
            if let Some(corrections) = corrections {
                self.corrections.store(corrections, Ordering::Release);
            }
            Ok(numbers)
        })
    }

    fn activity(
        &self,
        map: Option<&MapName>,
        from: ActivityFrom,
        limit: usize,
    ) -> Result<Vec<ActivityEntry>, StoreError> {
        let (bound, range) = match from {
            ActivityFrom::Newest => (0, "id > ?1 AND (?2 IS NULL OR map = ?2) ORDER BY id DESC"),
            ActivityFrom::Before(id) => (id, "id < ?1 AND (?2 IS NULL OR map = ?2) ORDER BY id DESC"),
            ActivityFrom::Since(id) => (id, "id > ?1 AND (?2 IS NULL OR map = ?2) ORDER BY id"),
        };
        let sql = format!("SELECT id, document FROM activity WHERE {range} LIMIT ?3");
        self.with("read the activity log", |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let bound = i64::try_from(bound).unwrap_or(i64::MAX);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![bound, map.map(MapName::as_str), limit], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
            let mut found = Vec::new();
            for row in rows {
                let (id, text) = row?;
                found.push(ActivityEntry { id: id.unsigned_abs(), ..serde_json::from_str(&text)? });
            }
            Ok(found)
        })
    }

    fn errors(&self, query: &ErrorQuery) -> Result<Page<SetAside>, StoreError> {
        self.page_of_errors(query)
    }

    fn error(&self, id: u64) -> Result<Option<SetAside>, StoreError> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        self.one_error("id = ?1 AND ?2 = 0", [id, 0])
    }

    fn error_at(&self, flow: FlowId, seq: Seq) -> Result<Option<SetAside>, StoreError> {
        self.one_error("flow = ?1 AND seq = ?2", [i64::from(flow.0), seq.0.cast_signed()])
    }

    fn error_counts(&self) -> Result<BTreeMap<FlowId, StatusCounts>, StoreError> {
        self.counts_of_errors()
    }

    fn awaiting(&self) -> Result<BTreeMap<FlowId, Awaiting>, StoreError> {
        self.all_awaiting()
    }

    fn awaiting_ids(&self, flows: &[FlowId], through: Seq, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.find_awaiting(flows, through, limit)
    }

    fn picked(&self, flows: &[FlowId], pick: &ErrorPick) -> Result<Picked, StoreError> {
        self.count_picked(flows, pick)
    }

    fn any_touched(&self) -> bool {
        !self.touched().is_empty()
    }

    fn touching(&self, flows: &[FlowId], keys: &[KeyHash]) -> Result<Vec<Touching>, StoreError> {
        self.find_touching(flows, keys)
    }

    fn retrying(&self, retry: FlowId, after: Seq, limit: usize) -> Result<Page<SetAside>, StoreError> {
        self.find_retrying(retry, after, limit)
    }

    fn noted(&self, flow: FlowId, after: Seq, through: Seq) -> Result<BTreeSet<Seq>, StoreError> {
        self.find_noted(flow, after, through)
    }

    fn again(&self, flow: FlowId, after: u64, limit: usize) -> Result<Vec<Again>, StoreError> {
        self.with("read what is copied again", |connection| again::page(connection, flow, after, limit))
    }

    fn again_count(&self, flow: FlowId) -> Result<u64, StoreError> {
        self.with("count what is copied again", |connection| again::count(connection, flow))
    }

    fn conflicts(
        &self,
        map: Option<&MapName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Conflict)>, StoreError> {
        self.with("read the conflicts", |connection| two_way::conflicts(connection, map, before, limit))
    }

    fn conflict_counts(&self) -> Result<BTreeMap<MapName, u64>, StoreError> {
        self.with("count the conflicts", two_way::conflict_counts)
    }

    fn any_corrections(&self) -> bool {
        self.corrections.load(Ordering::Acquire) > 0
    }

    fn corrections(&self, flows: &[FlowId], limit: usize) -> Result<Vec<Correction>, StoreError> {
        self.with("read the corrections", |connection| two_way::corrections(connection, flows, limit))
    }

    fn causes(&self, map: Option<&MapName>) -> Result<Vec<Cause>, StoreError> {
        self.find_causes(map)
    }
}
