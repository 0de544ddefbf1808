//! The store of a real engine: one SQLite file in the data folder.
//!
//! Records are JSON documents under their names: few, small, and saved whole, so that a person with `sqlite3`
//! can read them and a later version can add fields. Errors and activity are rows, since there may be many.

use super::{ActivityFrom, FlowId, Record, Saved, SetAside, Store, StoreError};
use crate::view::ActivityEntry;
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tandem_core::MapName;

/// The version of the tables below; a file of a later version is refused.
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE record (kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT;
    CREATE TABLE error (flow INTEGER NOT NULL, seq INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (flow, seq)) STRICT;
    CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT, document TEXT NOT NULL) STRICT;
    CREATE INDEX activity_map ON activity (map, id);
";

/// See the module.
pub(crate) struct SqliteStore {
    connection: Mutex<Connection>,
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
        match version {
            0 => connection
                .execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))
                .map_err(failed)?,
            VERSION => {}
            later => {
                return Err(StoreError {
                    operation: "open the store",
                    message: format!(
                        "it has version {later}, and this Tandem knows version {VERSION}: use a newer one"
                    ),
                });
            }
        }
        Ok(Self { connection: Mutex::new(connection) })
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
            let mut saved = Saved {
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
                errors: Default::default(),
            };
            let mut statement = connection.prepare("SELECT flow, count(*) FROM error GROUP BY flow")?;
            let counts = statement
                .query_map([], |row| Ok((FlowId(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs())))?;
            for count in counts {
                let (flow, count) = count?;
                saved.errors.insert(flow, count);
            }
            Ok(saved)
        })
    }

    fn save(&self, records: &[Record]) -> Result<Vec<u64>, StoreError> {
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
                        Record::Error(error) => {
                            transaction
                                .prepare_cached("INSERT INTO error VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document")?
                                .execute(params![error.flow.0, error.seq.0.cast_signed(), serde_json::to_string(error)?])?;
                        }
                        Record::NoErrorsAbove(above) => {
                            for (flow, seq) in above {
                                transaction
                                    .prepare_cached("DELETE FROM error WHERE flow = ?1 AND seq > ?2")?
                                    .execute(params![flow.0, seq.0.cast_signed()])?;
                            }
                        }
                        Record::NoErrors(flow) => {
                            transaction.prepare_cached("DELETE FROM error WHERE flow = ?1")?.execute([flow.0])?;
                        }
                        Record::ErrorsOf { now, before } => {
                            let sql = "UPDATE error SET flow = ?1, document = json_set(document, '$.flow', ?1) WHERE flow = ?2";
                            transaction.prepare_cached(sql)?.execute([now.0, before.0])?;
                        }
                        Record::Activity(entry) => {
                            transaction
                                .prepare_cached("INSERT INTO activity (map, document) VALUES (?1, ?2)")?
                                .execute(params![entry.map.as_ref().map(MapName::as_str), serde_json::to_string(entry)?])?;
                            numbers.push(transaction.last_insert_rowid().unsigned_abs());
                        }
                    }
                }
            }
            transaction.commit()?;
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

    fn errors(&self, flow: FlowId) -> Result<Vec<SetAside>, StoreError> {
        self.with("read the errors", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT document FROM error WHERE flow = ?1 ORDER BY seq")?;
            let rows = statement.query_map([flow.0], |row| row.get::<_, String>(0))?;
            rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
        })
    }
}
