//! The list of errors as rows.
//!
//! Counts are kept by triggers and keys of errors are remembered in memory, since both are asked for with every turn
//! and every batch, however many errors there are.

use super::{SqliteStore, blob};
use crate::store::set_aside::KeptChange;
use crate::store::set_aside::WAITS_FOR_MAP;
use crate::store::{
    Cause, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, FlowId, Picked, Record, SetAside, StatusCounts,
    StoreError, Touching,
};
use crate::view::Page;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Rows, Transaction, params, params_from_iter};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tandem_core::{Fault, FaultClass, KeyHash, MapName, Seq, WallTime};

type Failed = Box<dyn std::error::Error>;

/// `key` is a JSON list of texts, to find errors by; `change` is what [`blob`] makes, and is gone once an error is
/// deleted. `retry` is the number under which it is or was tried again.
pub(super) const ERRORS: &str = "
    CREATE TABLE error (
        id INTEGER PRIMARY KEY AUTOINCREMENT, flow INTEGER NOT NULL, seq INTEGER NOT NULL,
        map TEXT NOT NULL, class TEXT NOT NULL, key TEXT,
        attempts INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
        document TEXT NOT NULL, change BLOB, status TEXT NOT NULL, by_flow INTEGER, by_seq INTEGER, retry INTEGER,
        UNIQUE (flow, seq)) STRICT;
    CREATE INDEX error_map ON error (map, id);
    CREATE INDEX error_key ON error (key) WHERE key IS NOT NULL;
    CREATE INDEX error_by ON error (by_flow, by_seq) WHERE by_flow IS NOT NULL;
    CREATE INDEX error_retry ON error (retry, seq) WHERE retry IS NOT NULL;
    CREATE INDEX error_waiting ON error (flow, seq) WHERE status = 'waiting';
    CREATE TABLE error_touches (
        hash INTEGER NOT NULL, error INTEGER NOT NULL, PRIMARY KEY (hash, error)) STRICT, WITHOUT ROWID;
    CREATE INDEX error_touched ON error_touches (error);
    CREATE TABLE error_count (
        flow INTEGER NOT NULL, status TEXT NOT NULL, errors INTEGER NOT NULL,
        PRIMARY KEY (flow, status)) STRICT, WITHOUT ROWID;
    CREATE TRIGGER error_in AFTER INSERT ON error BEGIN
        INSERT INTO error_count VALUES (new.flow, new.status, 1)
            ON CONFLICT DO UPDATE SET errors = errors + 1;
    END;
    CREATE TRIGGER error_moved AFTER UPDATE OF flow, status ON error
        WHEN old.flow <> new.flow OR old.status <> new.status BEGIN
        UPDATE error_count SET errors = errors - 1 WHERE flow = old.flow AND status = old.status;
        INSERT INTO error_count VALUES (new.flow, new.status, 1)
            ON CONFLICT DO UPDATE SET errors = errors + 1;
    END;
    CREATE TRIGGER error_gone AFTER DELETE ON error BEGIN
        UPDATE error_count SET errors = errors - 1 WHERE flow = old.flow AND status = old.status;
        DELETE FROM error_touches WHERE error = old.id;
    END;
";

/// Version 1 kept errors without their changes.
pub(super) const FROM_1: &str = "
    INSERT INTO error (flow, seq, map, class, attempts, first_at, last_at, document, status)
        SELECT flow, seq, document ->> 'map', document ->> '$.fault.class', 1, document ->> 'at', document ->> 'at',
            json_object('transaction_name', document ->> 'transaction', 'fault', document -> 'fault'), 'open'
        FROM error_1 ORDER BY flow, seq;
    DROP TABLE error_1;
";

/// Version 2 had errors that were open, and no others.
pub(super) const FROM_2: &str = "
    INSERT INTO error (id, flow, seq, map, class, key, attempts, first_at, last_at, document, change, status)
        SELECT id, flow, seq, map, class, key, attempts, first_at, last_at, document, change, 'open'
        FROM error_2 ORDER BY id;
    DROP TABLE error_2;
";

/// A page of errors is full at so many bytes of changes, whatever its limit.
const ERRORS_BYTES_MAX: usize = 8 << 20;

/// What is read of an error, and where its change is among it.
const COLUMNS: &str =
    "id, flow, map, seq, attempts, first_at, last_at, document, change, status, by_flow, by_seq";
const CHANGE: usize = 8;

/// As a list in SQL.
const UNRESOLVED: &str = "('open', 'waiting', 'retrying')";

/// How an error stands of which nothing has come after all: what only waits for another map waits for it again.
const STANDS_AGAIN: &str =
    "CASE document ->> '$.fault.code' WHEN 'waits_for_map' THEN 'waiting' ELSE 'open' END";

/// What of an error nobody searches for.
#[derive(Serialize, Deserialize)]
struct ErrorDocument {
    transaction_name: String,
    /// Absent where the change is.
    #[serde(default)]
    transaction: Option<Seq>,
    #[serde(default)]
    committed_at: Option<WallTime>,
    #[serde(default)]
    touches: Vec<KeyHash>,
    fault: Fault,
}

/// Notes which records the errors of an older version touch.
pub(super) fn note_touched(connection: &Connection) -> Result<(), Failed> {
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM error WHERE change IS NOT NULL"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let error = read(row)?;
        touches(connection, error.id.cast_signed(), &error)?;
    }
    Ok(())
}

/// The hashes of all records that an error touches.
pub(super) fn all_touched(connection: &Connection) -> Result<HashSet<KeyHash>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT hash FROM error_touches")?;
    let rows = statement.query_map([], |row| row.get::<_, i64>(0))?;
    rows.map(|hash| Ok(KeyHash(hash?.cast_unsigned()))).collect()
}

/// A condition with its values, built up from parts.
struct Condition {
    parts: Vec<String>,
    values: Vec<Value>,
}

impl Condition {
    fn new() -> Self {
        Self { parts: Vec::new(), values: Vec::new() }
    }

    fn and(&mut self, part: &str, value: impl Into<Value>) {
        self.parts.push(part.to_owned());
        self.values.push(value.into());
    }

    /// The value is one of a list, which is bound as one JSON text: any length, one statement.
    fn one_of<T: Serialize>(&mut self, column: &str, list: &[T]) -> Result<(), serde_json::Error> {
        self.parts.push(format!("{column} IN (SELECT value FROM json_each(?))"));
        self.values.push(serde_json::to_string(list)?.into());
        Ok(())
    }

    fn pick(&mut self, pick: &ErrorPick) -> Result<(), serde_json::Error> {
        if !pick.ids.is_empty() {
            self.one_of("id", &pick.ids)?;
        }
        if let Some(class) = pick.class {
            self.and("class = ?", class.to_string());
        }
        if !pick.keys.is_empty() {
            let keys = pick.keys.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
            self.one_of("key", &keys)?;
        }
        if let Some(transaction) = &pick.transaction {
            self.and("document ->> 'transaction_name' = ?", transaction.clone());
        }
        if let Some(at) = pick.noted_by {
            self.and("first_at <= ?", at.0);
        }
        Ok(())
    }

    fn sql(&self) -> String {
        if self.parts.is_empty() { "true".to_owned() } else { self.parts.join(" AND ") }
    }
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn ids(flows: &[FlowId]) -> Vec<u32> {
    flows.iter().map(|flow| flow.0).collect()
}

/// What a pick fits among the unresolved errors of some flows.
fn unresolved(flows: &[FlowId], pick: &ErrorPick, up_to: u64) -> Result<Condition, serde_json::Error> {
    let mut condition = Condition::new();
    condition.parts.push(format!("status IN {UNRESOLVED}"));
    condition.one_of("flow", &ids(flows))?;
    condition.and("id <= ?", integer(up_to));
    condition.pick(pick)?;
    Ok(condition)
}

/// Does what a record says of errors. Returns false for a record that says nothing of them.
pub(super) fn save(transaction: &Transaction<'_>, record: &Record) -> Result<bool, Failed> {
    let run = |sql: &str, values: &[i64]| {
        transaction.prepare_cached(sql)?.execute(params_from_iter(values.iter())).map(drop)
    };
    let flow = |flow: &FlowId| i64::from(flow.0);
    let seq = |seq: &Seq| seq.0.min(i64::MAX.unsigned_abs()).cast_signed();
    match record {
        Record::Error(error) => note(transaction, error)?,
        Record::Adopted(error) => {
            let sql = "SELECT 1 FROM error WHERE flow = ?1 AND seq = ?2";
            let mut known = transaction.prepare_cached(sql)?;
            if !known.exists([flow(&error.flow), seq(&error.seq)])? {
                note(transaction, error)?;
            }
        }
        Record::NoErrorsAbove(above) => {
            for (of, last) in above {
                run("DELETE FROM error WHERE flow = ?1 AND seq > ?2", &[flow(of), seq(last)])?;
            }
        }
        Record::NoErrors(of) => run("DELETE FROM error WHERE flow = ?1", &[flow(of)])?,
        Record::ErrorsOf { now, before } => {
            run("UPDATE error SET flow = ?1 WHERE flow = ?2", &[flow(now), flow(before)])?;
        }
        Record::Superseded { errors, by } => {
            for (of, at) in errors {
                let sql = "UPDATE error SET status = 'superseded', by_flow = ?3, by_seq = ?4, retry = NULL \
                           WHERE flow = ?1 AND seq = ?2";
                run(sql, &[flow(of), seq(at), flow(&by.0), seq(&by.1)])?;
            }
        }
        Record::NotSuperseded { by, from, through } => {
            let which = "by_flow = ?1 AND by_seq BETWEEN ?2 AND ?3 AND status = 'superseded'";
            let values = [flow(by), seq(from), seq(through)];
            // An entry without a change is about a record of a preserved queue, where the record still is.
            run(&format!("DELETE FROM error WHERE {which} AND change IS NULL"), &values)?;
            run(
                &format!(
                    "UPDATE error SET status = {STANDS_AGAIN}, by_flow = NULL, by_seq = NULL WHERE {which}"
                ),
                &values,
            )?;
        }
        Record::RetryBegun { retry, flows, pick, up_to, adopted } => {
            let begin =
                format!("UPDATE error SET status = 'retrying', retry = {} WHERE change IS NOT NULL", retry.0);
            if let Some(pick) = pick {
                let condition = unresolved(flows, pick, *up_to)?;
                let sql = format!("{begin} AND {}", condition.sql());
                transaction.execute(&sql, params_from_iter(condition.values))?;
            }
            for (of, at) in adopted {
                let sql = format!("{begin} AND flow = ?1 AND seq = ?2 AND status IN {UNRESOLVED}");
                run(&sql, &[flow(of), seq(at)])?;
            }
            // What waits behind one of them goes with it.
            let mut behind = Condition::new();
            behind.one_of("flow", &ids(flows))?;
            let sql = format!(
                "UPDATE error SET status = 'retrying', retry = {0} WHERE status = 'waiting' AND {1} \
                 AND key IN (SELECT key FROM error WHERE retry = {0} AND key IS NOT NULL)",
                retry.0,
                behind.sql()
            );
            transaction.execute(&sql, params_from_iter(behind.values))?;
        }
        Record::Retried { retry, through } => run(
            "UPDATE error SET status = 'completed' WHERE retry = ?1 AND seq <= ?2 AND status = 'retrying'",
            &[flow(retry), seq(through)],
        )?,
        Record::NotRetried { retry, beyond } => run(
            "UPDATE error SET status = 'retrying' WHERE retry = ?1 AND seq > ?2 AND status = 'completed'",
            &[flow(retry), seq(beyond)],
        )?,
        Record::RetryEnded { retry, flows } => {
            let sql =
                format!("UPDATE error SET status = {STANDS_AGAIN} WHERE retry = ?1 AND status = 'retrying'");
            run(&sql, &[flow(retry)])?;
            run("UPDATE error SET retry = NULL WHERE retry = ?1", &[flow(retry)])?;
            promote(transaction, flows)?;
        }
        Record::ErrorsDeleted { flows, pick, up_to } => {
            let condition = unresolved(flows, pick, *up_to)?;
            let which = condition.sql();
            let values = || params_from_iter(condition.values.iter());
            transaction.execute(
                &format!("DELETE FROM error_touches WHERE error IN (SELECT id FROM error WHERE {which})"),
                values(),
            )?;
            transaction.execute(
                &format!("UPDATE error SET status = 'deleted', change = NULL, retry = NULL WHERE {which}"),
                values(),
            )?;
            promote(transaction, flows)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What waits behind nothing any more is open, unless it waits for another map.
fn promote(transaction: &Transaction<'_>, flows: &[FlowId]) -> Result<(), Failed> {
    let list = serde_json::to_string(&ids(flows))?;
    let sql = format!(
        "UPDATE error SET status = 'open' WHERE status = 'waiting'
            AND document ->> '$.fault.code' IS NOT '{WAITS_FOR_MAP}'
            AND flow IN (SELECT value FROM json_each(?1)) AND NOT EXISTS (
                SELECT 1 FROM error_touches mine JOIN error_touches theirs USING (hash)
                    JOIN error other ON other.id = theirs.error
                WHERE mine.error = error.id AND other.seq < error.seq AND other.status IN {UNRESOLVED}
                    AND other.flow IN (SELECT value FROM json_each(?1)))"
    );
    transaction.prepare_cached(&sql)?.execute([list])?;
    Ok(())
}

/// Saves an error, or that it failed again.
fn note(transaction: &Transaction<'_>, error: &SetAside) -> Result<(), Failed> {
    let kept = error.kept.as_ref();
    let document = ErrorDocument {
        transaction_name: error.transaction_name.clone(),
        transaction: kept.map(|kept| kept.transaction),
        committed_at: kept.map(|kept| kept.committed_at),
        touches: kept.map(|kept| kept.touches.clone()).unwrap_or_default(),
        fault: error.fault.clone(),
    };
    let key = error.key_parts().map(|parts| serde_json::to_string(&parts)).transpose()?;
    let change = kept.map(|kept| blob::encode(&kept.change, kept.stamp, kept.key.as_ref()));
    let sql = "
        INSERT INTO error (flow, seq, map, class, key, attempts, first_at, last_at, document, change, status,
                by_flow, by_seq)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        ON CONFLICT (flow, seq) DO UPDATE SET class = excluded.class, attempts = attempts + excluded.attempts,
            last_at = excluded.last_at, document = excluded.document, status = excluded.status,
            change = coalesce(excluded.change, change), by_flow = excluded.by_flow, by_seq = excluded.by_seq,
            retry = NULL
        RETURNING id";
    let id: i64 = transaction.prepare_cached(sql)?.query_row(
        params![
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
            error.status.name(),
            error.by.map(|(flow, _)| flow.0),
            error.by.map(|(_, seq)| seq.0.cast_signed()),
        ],
        |row| row.get(0),
    )?;
    touches(transaction, id, error)
}

fn touches(connection: &Connection, id: i64, error: &SetAside) -> Result<(), Failed> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO error_touches VALUES (?1, ?2)")?;
    for key in error.kept.iter().flat_map(|kept| &kept.touches) {
        statement.execute([key.0.cast_signed(), id])?;
    }
    Ok(())
}

/// Reads an error out of [`COLUMNS`].
fn read(row: &Row<'_>) -> Result<SetAside, Failed> {
    let document: ErrorDocument = serde_json::from_str(&row.get::<_, String>(7)?)?;
    let mut kept = None;
    if let (Some(bytes), Some(transaction), Some(committed_at)) =
        (row.get::<_, Option<Vec<u8>>>(CHANGE)?, document.transaction, document.committed_at)
    {
        let (change, stamp, key) = blob::decode(bytes.into()).map_err(|why| why.to_string())?;
        let mut touches = document.touches;
        if touches.is_empty() {
            touches.extend(key.as_ref().map(|key| key.hash()));
        }
        kept = Some(KeptChange { change, stamp, key, transaction, committed_at, touches });
    }
    let status: String = row.get(9)?;
    let by = row.get::<_, Option<u32>>(10)?.zip(row.get::<_, Option<i64>>(11)?);
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
        status: ErrorStatus::named(&status)
            .ok_or_else(|| format!("an error has the unknown status {status}"))?,
        by: by.map(|(flow, seq)| (FlowId(flow), Seq(seq.cast_unsigned()))),
    })
}

/// Reads a page, which is full at `limit` errors or at [`ERRORS_BYTES_MAX`]; `next` names where it goes on.
fn page(
    rows: &mut Rows<'_>,
    limit: usize,
    next: impl Fn(&SetAside) -> u64,
) -> Result<Page<SetAside>, Failed> {
    let mut page = Page { items: Vec::new(), next: None };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.items.len() >= limit || bytes >= ERRORS_BYTES_MAX {
            page.next = page.items.last().map(next);
            break;
        }
        bytes += row.get_ref(CHANGE)?.as_blob_or_null()?.map_or(0, <[u8]>::len);
        page.items.push(read(row)?);
    }
    Ok(page)
}

impl SqliteStore {
    pub(super) fn page_of_errors(&self, query: &ErrorQuery) -> Result<Page<SetAside>, StoreError> {
        self.with("read the errors", |connection| {
            let mut condition = Condition::new();
            condition.and("id > ?", integer(query.after));
            if let Some(map) = &query.map {
                condition.and("map = ?", map.as_str().to_owned());
            }
            condition.one_of("status", query.wanted())?;
            condition.pick(&query.pick)?;
            // One more than is shown, to know whether there is more.
            let sql = format!("SELECT {COLUMNS} FROM error WHERE {} ORDER BY id LIMIT ?", condition.sql());
            condition.values.push(integer(query.limit as u64 + 1));
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(condition.values))?;
            page(&mut rows, query.limit, |last| last.id)
        })
    }

    pub(super) fn one_error(&self, which: &str, values: [i64; 2]) -> Result<Option<SetAside>, StoreError> {
        self.with("read an error", |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM error WHERE {which}"))?;
            let found = statement.query_row(values, |row| Ok(read(row))).optional()?;
            found.transpose()
        })
    }

    pub(super) fn counts_of_errors(&self) -> Result<BTreeMap<FlowId, StatusCounts>, StoreError> {
        self.with("count the errors", |connection| {
            let sql = "SELECT flow, status, errors FROM error_count WHERE errors > 0";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut counts: BTreeMap<FlowId, StatusCounts> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let status = ErrorStatus::named(&row.get::<_, String>(1)?).ok_or("an unknown status")?;
                let errors = row.get::<_, i64>(2)?.unsigned_abs();
                counts.entry(FlowId(row.get(0)?)).or_default().insert(status, errors);
            }
            Ok(counts)
        })
    }

    pub(super) fn count_picked(&self, flows: &[FlowId], pick: &ErrorPick) -> Result<Picked, StoreError> {
        self.with("count the errors", |connection| {
            let condition = unresolved(flows, pick, u64::MAX)?;
            let figures = "count(*), ifnull(max(id), 0), ifnull(max(seq), 0)";
            let sql = format!("SELECT {figures} FROM error WHERE {}", condition.sql());
            let mut statement = connection.prepare(&sql)?;
            Ok(statement.query_row(params_from_iter(condition.values), |row| {
                let figure = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                Ok(Picked { errors: figure(0)?, last_id: figure(1)?, last_seq: Seq(figure(2)?) })
            })?)
        })
    }

    pub(super) fn find_touching(
        &self,
        flows: &[FlowId],
        keys: &[KeyHash],
    ) -> Result<Vec<Touching>, StoreError> {
        let known: Vec<KeyHash> = {
            let touched = self.touched();
            if touched.is_empty() {
                return Ok(Vec::new());
            }
            keys.iter().filter(|key| touched.contains(key)).copied().collect()
        };
        if known.is_empty() {
            return Ok(Vec::new());
        }
        self.with("look for errors of a record", |connection| {
            let sql = format!(
                "SELECT flow, seq, status FROM error_touches JOIN error ON error.id = error_touches.error
                    WHERE hash = ?1 AND status IN {UNRESOLVED}"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut found = Vec::new();
            for key in known {
                let mut rows = statement.query([key.0.cast_signed()])?;
                while let Some(row) = rows.next()? {
                    let flow = FlowId(row.get(0)?);
                    if flows.contains(&flow) {
                        let seq = Seq(row.get::<_, i64>(1)?.cast_unsigned());
                        let status =
                            ErrorStatus::named(&row.get::<_, String>(2)?).ok_or("an unknown status")?;
                        found.push(Touching { key, flow, seq, status });
                    }
                }
            }
            Ok(found)
        })
    }

    pub(super) fn find_retrying(
        &self,
        retry: FlowId,
        after: Seq,
        limit: usize,
    ) -> Result<Page<SetAside>, StoreError> {
        self.with("read the errors", |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM error WHERE retry = ?1 AND seq > ?2 AND status = 'retrying'
                    ORDER BY seq LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let mut rows = statement.query([i64::from(retry.0), after.0.cast_signed(), one_more])?;
            page(&mut rows, limit, |last| last.seq.0)
        })
    }

    pub(super) fn find_noted(
        &self,
        flow: FlowId,
        after: Seq,
        through: Seq,
    ) -> Result<BTreeSet<Seq>, StoreError> {
        self.with("read the errors", |connection| {
            let sql = "SELECT seq FROM error WHERE flow = ?1 AND seq > ?2 AND seq <= ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let through = through.0.min(i64::MAX.unsigned_abs()).cast_signed();
            let rows = statement
                .query_map([i64::from(flow.0), after.0.cast_signed(), through], |row| row.get::<_, i64>(0))?;
            Ok(rows.map(|seq| Ok(Seq(seq?.cast_unsigned()))).collect::<Result<_, rusqlite::Error>>()?)
        })
    }

    pub(super) fn find_causes(&self, map: Option<&MapName>) -> Result<Vec<Cause>, StoreError> {
        self.with("group the errors", |connection| {
            // Of several rows, SQLite takes bare columns from the one that has the maximum.
            let sql = format!(
                "SELECT map, class, document ->> '$.fault.code', document ->> '$.fault.message', count(*), min(id),
                    min(first_at), max(last_at)
                 FROM error WHERE status IN {UNRESOLVED} AND (?1 IS NULL OR map = ?1)
                 GROUP BY 1, 2, 3 ORDER BY 5 DESC, 1, 2, 3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([map.map(MapName::as_str)])?;
            let mut causes = Vec::new();
            while let Some(row) = rows.next()? {
                let class: String = row.get(1)?;
                let class = FaultClass::ALL.into_iter().find(|known| known.to_string() == class);
                causes.push(Cause {
                    map: row.get::<_, String>(0)?.into(),
                    class: class.ok_or("an unknown class")?,
                    code: row.get(2)?,
                    message: row.get(3)?,
                    errors: row.get::<_, i64>(4)?.unsigned_abs(),
                    first: ErrorId::Noted(row.get::<_, i64>(5)?.unsigned_abs()),
                    first_at: WallTime(row.get(6)?),
                    last_at: WallTime(row.get(7)?),
                });
            }
            Ok(causes)
        })
    }
}
