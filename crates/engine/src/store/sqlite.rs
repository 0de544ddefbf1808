//! The store of a real engine: one SQLite file in the data folder.
//!
//! Records are JSON documents under their names: few, small, and saved whole, so that a person with `sqlite3`
//! can read them and a later version can add fields. Errors and activity are rows, since there may be many; the change
//! of an error is bytes, for its values have to come back exactly as they were.

use super::set_aside::KeptChange;
use super::{ActivityFrom, ErrorQuery, FlowId, Record, Saved, SetAside, Store, StoreError};
use crate::journal::blob;
use crate::view::{ActivityEntry, Page};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tandem_core::{Fault, MapName, Seq, WallTime};

/// The version of the tables below. A file of a later version is refused, one of an earlier version is brought up
/// to this one when it is opened.
const VERSION: i64 = 2;

const TABLES: &str = "
    CREATE TABLE record (kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT;
    CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT, document TEXT NOT NULL) STRICT;
    CREATE INDEX activity_map ON activity (map, id);
";

/// `key` is a JSON list of texts, to find errors by; `change` is what [`blob`] makes.
const ERRORS: &str = "
    CREATE TABLE error (
        id INTEGER PRIMARY KEY AUTOINCREMENT, flow INTEGER NOT NULL, seq INTEGER NOT NULL,
        map TEXT NOT NULL, class TEXT NOT NULL, key TEXT,
        attempts INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
        document TEXT NOT NULL, change BLOB, UNIQUE (flow, seq)) STRICT;
    CREATE INDEX error_map ON error (map, id);
    CREATE INDEX error_key ON error (key) WHERE key IS NOT NULL;
";

/// Version 1 kept errors without their changes.
const FROM_1: &str = "
    INSERT INTO error (flow, seq, map, class, attempts, first_at, last_at, document)
        SELECT flow, seq, document ->> 'map', document ->> '$.fault.class', 1, document ->> 'at', document ->> 'at',
            json_object('transaction_name', document ->> 'transaction', 'fault', document -> 'fault')
        FROM error_1 ORDER BY flow, seq;
    DROP TABLE error_1;
";

/// A page of errors is full at so many bytes of changes, whatever its limit.
const ERRORS_BYTES_MAX: usize = 8 << 20;

/// What is read of an error, and where its change is among it.
const COLUMNS: &str = "id, flow, map, seq, attempts, first_at, last_at, document, change";
const CHANGE: usize = 8;

/// What of an error nobody searches for.
#[derive(Serialize, Deserialize)]
struct ErrorDocument {
    transaction_name: String,
    /// Absent where the change is.
    #[serde(default)]
    transaction: Option<Seq>,
    #[serde(default)]
    committed_at: Option<WallTime>,
    fault: Fault,
}

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
                .execute_batch(&format!("BEGIN; {TABLES} {ERRORS} PRAGMA user_version = {VERSION}; COMMIT;"))
                .map_err(failed)?,
            1 => connection
                .execute_batch(&format!(
                    "BEGIN; ALTER TABLE error RENAME TO error_1; {ERRORS} {FROM_1} PRAGMA user_version = {VERSION}; COMMIT;"
                ))
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
                        Record::Error(error) => note(&transaction, error)?,
                        Record::Rule(rule) => {
                            put("rule", &rule.declared.name, serde_json::to_string(rule)?)?;
                        }
                        Record::NoRule(name) => {
                            remove("rule", name)?;
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
                            let sql = "UPDATE error SET flow = ?1 WHERE flow = ?2";
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

    fn errors(&self, query: &ErrorQuery) -> Result<Page<SetAside>, StoreError> {
        let mut wanted = vec!["id > ?"];
        let mut values: Vec<rusqlite::types::Value> =
            vec![i64::try_from(query.after).unwrap_or(i64::MAX).into()];
        if let Some(map) = &query.map {
            wanted.push("map = ?");
            values.push(map.as_str().to_owned().into());
        }
        if let Some(class) = query.class {
            wanted.push("class = ?");
            values.push(class.to_string().into());
        }
        if !query.keys.is_empty() {
            wanted.push("key IN (SELECT value FROM json_each(?))");
        }
        self.with("read the errors", |connection| {
            if !query.keys.is_empty() {
                let keys = query.keys.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
                values.push(serde_json::to_string(&keys)?.into());
            }
            // One more than is shown, to know whether there is more.
            values.push(i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX).into());
            let wanted = wanted.join(" AND ");
            let sql = format!("SELECT {COLUMNS} FROM error WHERE {wanted} ORDER BY id LIMIT ?");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            let mut page = Page { items: Vec::new(), next: None };
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                if page.items.len() >= query.limit || bytes >= ERRORS_BYTES_MAX {
                    page.next = page.items.last().map(|error: &SetAside| error.id);
                    break;
                }
                bytes += row.get_ref(CHANGE)?.as_blob_or_null()?.map_or(0, <[u8]>::len);
                page.items.push(read_error(row)?);
            }
            Ok(page)
        })
    }

    fn error(&self, id: u64) -> Result<Option<SetAside>, StoreError> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        self.with("read an error", |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM error WHERE id = ?1"))?;
            let found = statement.query_row([id], |row| Ok(read_error(row))).optional()?;
            found.transpose()
        })
    }
}

/// Saves an error, or that it failed again.
fn note(transaction: &Transaction<'_>, error: &SetAside) -> Result<(), Box<dyn std::error::Error>> {
    let document = ErrorDocument {
        transaction_name: error.transaction_name.clone(),
        transaction: error.kept.as_ref().map(|kept| kept.transaction),
        committed_at: error.kept.as_ref().map(|kept| kept.committed_at),
        fault: error.fault.clone(),
    };
    let key = error.key_parts().map(|parts| serde_json::to_string(&parts)).transpose()?;
    let change = error.kept.as_ref().map(|kept| blob::encode(&kept.change, kept.key.as_ref()));
    let sql = "
        INSERT INTO error (flow, seq, map, class, key, attempts, first_at, last_at, document, change)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT (flow, seq) DO UPDATE SET class = excluded.class, attempts = attempts + excluded.attempts,
            last_at = excluded.last_at, document = excluded.document";
    transaction.prepare_cached(sql)?.execute(params![
        error.flow.0,
        error.seq.0.cast_signed(),
        error.map.as_str(),
        error.fault.class.to_string(),
        key,
        error.attempts,
        error.first_at.0,
        error.last_at.0,
        serde_json::to_string(&document)?,
        change,
    ])?;
    Ok(())
}

/// Reads an error out of [`COLUMNS`].
fn read_error(row: &Row<'_>) -> Result<SetAside, Box<dyn std::error::Error>> {
    let document: ErrorDocument = serde_json::from_str(&row.get::<_, String>(7)?)?;
    let mut kept = None;
    if let (Some(bytes), Some(transaction), Some(committed_at)) =
        (row.get::<_, Option<Vec<u8>>>(CHANGE)?, document.transaction, document.committed_at)
    {
        let (change, key) = blob::decode(bytes.into()).map_err(|why| why.to_string())?;
        kept = Some(KeptChange { change, key, transaction, committed_at });
    }
    Ok(SetAside {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        flow: FlowId(row.get(1)?),
        map: row.get::<_, String>(2)?.into(),
        seq: Seq(row.get::<_, i64>(3)?.cast_unsigned()),
        transaction_name: document.transaction_name,
        kept,
        fault: document.fault,
        attempts: row.get(4)?,
        first_at: WallTime(row.get(5)?),
        last_at: WallTime(row.get(6)?),
    })
}
