//! Reading tables as they stand, in short reads: one that lasts keeps the app's WAL from being taken back.
//!
//! SQLite has one writer at a time, and what it has committed is there for whoever reads next: nothing that lies before
//! a barrier can be missing from a read behind it. A chunk may be put together from several reads; each of them sees
//! what the one before has seen, or something newer.

use super::schema::{self, Affinity, quoted};
use super::trouble::{during, fault};
use super::{Desk, SqliteApp, changes, value};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_core::connect::{BoxFuture, Chunk, ChunkLimit, KeyedTable, Reads};
use tandem_core::{Cell, Fault, FaultClass, IntegrationKey, Relation, Row, TableName, Value};

const READ: &str = "read the table";

/// How long one read may last; it ends with the row at which it has.
const READ_AT_MOST: Duration = Duration::from_millis(40);

/// Keys that are looked up in one read.
const KEYS_AT_ONCE: usize = 100;

/// The connection that reads.
pub(super) struct SqliteReads {
    desk: Desk<Connection>,
}

/// A table as the log shows it, and where the key is in it.
struct Layout {
    relation: Arc<Relation>,
    /// The places of the key's columns.
    key: Vec<usize>,
}

/// What one read brought.
struct Piece {
    rows: Vec<Row>,
    bytes: usize,
    relation: Arc<Relation>,
    /// It ended because there were no more rows.
    ended: bool,
}

impl SqliteReads {
    pub(super) async fn open(app: &SqliteApp) -> Result<Self, Fault> {
        Ok(Self { desk: app.desk().await? })
    }

    async fn do_chunk(
        &self,
        table: &KeyedTable,
        after: Option<&IntegrationKey>,
        limit: ChunkLimit,
    ) -> Result<Chunk, Fault> {
        let mut next = after.cloned();
        let mut chunk: Option<Chunk> = None;
        let mut bytes = 0;
        loop {
            let read = chunk.as_ref().map_or(0, |chunk| chunk.rows.len());
            let (wanted, behind) = (table.clone(), next.clone());
            let rest = ChunkLimit {
                rows: limit.rows.max(1).saturating_sub(read),
                bytes: limit.bytes.saturating_sub(bytes),
            };
            let piece =
                self.desk.run(move |conn| read_behind(conn, &wanted, behind.as_ref(), rest)).await??;
            if let Some(chunk) = chunk.as_mut() {
                // Rows of one chunk have one shape: a table that was altered meanwhile is read on by the next.
                if chunk.relation != piece.relation {
                    break;
                }
            }
            bytes += piece.bytes;
            if let Some(last) = piece.rows.last() {
                next = Some(key_of(&piece.relation, &table.key, last)?);
            }
            let (relation, unseen) = (piece.relation, Vec::new());
            let whole = chunk.get_or_insert(Chunk { rows: Vec::new(), relation, next: None, unseen });
            whole.rows.extend(piece.rows);
            if piece.ended {
                next = None;
                break;
            }
            if whole.rows.len() >= limit.rows.max(1) || bytes >= limit.bytes {
                break;
            }
        }
        let chunk = chunk.ok_or_else(|| fault(FaultClass::Internal, READ, "nothing was read"))?;
        Ok(Chunk { next, ..chunk })
    }

    async fn do_records(&self, table: &KeyedTable, keys: &[IntegrationKey]) -> Result<Chunk, Fault> {
        let mut chunk: Option<Chunk> = None;
        // Asked for none, it still says what a record would be.
        let parts = if keys.is_empty() { vec![keys] } else { keys.chunks(KEYS_AT_ONCE).collect() };
        for keys in parts {
            let (wanted, keys) = (table.clone(), keys.to_vec());
            let piece = self.desk.run(move |conn| read_keys(conn, &wanted, &keys)).await??;
            let (relation, unseen) = (piece.relation.clone(), Vec::new());
            let whole = chunk.get_or_insert(Chunk { rows: Vec::new(), relation, next: None, unseen });
            if whole.relation != piece.relation {
                return Err(fault(FaultClass::Conflict, READ, "the table was altered while it was read"));
            }
            whole.rows.extend(piece.rows);
        }
        chunk.ok_or_else(|| fault(FaultClass::Internal, READ, "nothing was read"))
    }
}

fn key_of(relation: &Relation, key: &[Arc<str>], row: &Row) -> Result<IntegrationKey, Fault> {
    let places = relation.places(key.iter().map(|name| &**name)).ok();
    let key = places.and_then(|places| IntegrationKey::of(row, &places));
    key.ok_or_else(|| fault(FaultClass::Internal, READ, "a row lacks its key"))
}

impl Layout {
    /// The layout that the triggers log in; or, for a table that is not captured, the one that they would.
    fn read(conn: &Connection, wanted: &KeyedTable) -> Result<Self, Fault> {
        let name = &wanted.table;
        let wrong = |message: String| fault(FaultClass::Schema, READ, &message).table(name.to_string());
        let table = schema::read(conn, name)?.ok_or_else(|| wrong(format!("table {name} is not there")))?;
        let active = changes::active(conn)?;
        let captured = active.into_iter().find(|layout| layout.relation.table == table.schema.table);
        let relation = match captured {
            Some(layout) => layout.relation,
            None => {
                Arc::new(Relation { columns: changes::columns_of(&table), table: table.schema.table.clone() })
            }
        };
        let places = relation.places(wanted.key.iter().map(|column| &**column));
        let key = places.map_err(|column| wrong(format!("column {column} of {name} is not there")))?;
        Ok(Self { relation, key })
    }

    fn piece(&self) -> Piece {
        Piece { rows: Vec::new(), bytes: 0, relation: self.relation.clone(), ended: false }
    }

    fn column(&self, place: usize) -> String {
        self.relation.columns.get(place).map_or_else(String::new, |column| quoted(&column.name))
    }

    fn key_columns(&self) -> Vec<String> {
        self.key.iter().map(|place| self.column(*place)).collect()
    }

    fn select(&self) -> String {
        let all: Vec<_> = (0..self.relation.columns.len()).map(|place| self.column(place)).collect();
        format!("SELECT {} FROM {}", all.join(", "), quoted(&self.relation.table.name))
    }

    fn row(&self, stored: &rusqlite::Row<'_>) -> Result<Row, Fault> {
        let cell = |(place, column): (usize, &tandem_core::RelationColumn)| {
            let stored = stored.get_ref(place).map_err(during(READ))?;
            // It would be compared as the bytes that it is to us, and the rows behind it would be passed over.
            if let ValueRef::Text(text) = stored
                && self.key.contains(&place)
                && std::str::from_utf8(text).is_err()
            {
                let message = format!("a key of {} is text that is not UTF-8", self.relation.table);
                return Err(fault(FaultClass::Setup, READ, &message).table(self.relation.table.to_string()));
            }
            Ok(Cell::Set(value::read(stored, &column.type_name)))
        };
        self.relation.columns.iter().enumerate().map(cell).collect::<Result<_, _>>().map(Row)
    }
}

/// A part of a key as it is compared: as it is stored, with nothing converted.
fn stored(value: &Value) -> Result<Stored, Fault> {
    value::store(value, Affinity::Keep).map_err(|(code, why)| fault(FaultClass::Setup, READ, why).code(code))
}

fn read_behind(
    conn: &Connection,
    wanted: &KeyedTable,
    after: Option<&IntegrationKey>,
    limit: ChunkLimit,
) -> Result<Piece, Fault> {
    let failed = during(READ);
    let began = Instant::now();
    let layout = Layout::read(conn, wanted)?;
    let key = layout.key_columns();
    let mut conditions: Vec<String> = key.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let mut parameters = Vec::new();
    if let Some(after) = after {
        let places: Vec<_> = (1..=key.len()).map(|n| format!("?{n}")).collect();
        conditions.push(format!("({}) > ({})", key.join(", "), places.join(", ")));
        parameters = after.values().iter().map(stored).collect::<Result<_, _>>()?;
    }
    let sql = format!(
        "{} WHERE {} ORDER BY {} LIMIT {}",
        layout.select(),
        conditions.join(" AND "),
        key.join(", "),
        limit.rows
    );
    let mut query = conn.prepare_cached(&sql).map_err(&failed)?;
    let mut found = query.query(params_from_iter(parameters)).map_err(&failed)?;
    let mut piece = layout.piece();
    loop {
        let Some(row) = found.next().map_err(&failed)? else {
            piece.ended = piece.rows.len() < limit.rows;
            break;
        };
        let row = layout.row(row)?;
        piece.bytes += row.payload_len();
        piece.rows.push(row);
        if piece.bytes >= limit.bytes || began.elapsed() >= READ_AT_MOST {
            break;
        }
    }
    Ok(piece)
}

fn read_keys(conn: &Connection, wanted: &KeyedTable, keys: &[IntegrationKey]) -> Result<Piece, Fault> {
    let failed = during(READ);
    let layout = Layout::read(conn, wanted)?;
    let conditions = layout.key_columns().into_iter().enumerate();
    let conditions: Vec<_> = conditions.map(|(n, column)| format!("{column} = ?{}", n + 1)).collect();
    let sql = format!("{} WHERE {}", layout.select(), conditions.join(" AND "));
    let mut query = conn.prepare_cached(&sql).map_err(&failed)?;
    let mut piece = layout.piece();
    for key in keys {
        let parameters = key.values().iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let mut found = query.query(params_from_iter(parameters)).map_err(&failed)?;
        if let Some(row) = found.next().map_err(&failed)? {
            piece.rows.push(layout.row(row)?);
        }
    }
    Ok(piece)
}

/// The span of row numbers, which is found at once. Where rows were deleted it says too much.
fn estimate(conn: &Connection, name: &TableName) -> Result<Option<u64>, Fault> {
    let Some(table) = schema::read(conn, name)? else { return Ok(None) };
    let [number] = table.row_key.as_slice() else { return Ok(None) };
    if table.schema.primary_key.len() == 1 && !["rowid", "_rowid_", "oid"].contains(&number.as_str()) {
        return Ok(None);
    }
    let sql = format!(
        "SELECT (SELECT max({number}) FROM {0}) - (SELECT min({number}) FROM {0}) + 1",
        quoted(&table.schema.table.name)
    );
    let span: Option<Option<i64>> =
        conn.query_row(&sql, [], |row| row.get(0)).optional().map_err(during(READ))?;
    Ok(Some(span.flatten().unwrap_or(0).max(0).unsigned_abs()))
}

impl Reads for SqliteReads {
    fn chunk<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        after: Option<&'a IntegrationKey>,
        limit: ChunkLimit,
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(self.do_chunk(table, after, limit))
    }

    fn records<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        keys: &'a [IntegrationKey],
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(self.do_records(table, keys))
    }

    fn estimate<'a>(&'a mut self, table: &'a TableName) -> BoxFuture<'a, Result<Option<u64>, Fault>> {
        Box::pin(async move {
            let table = table.clone();
            self.desk.run(move |conn| estimate(conn, &table)).await?
        })
    }
}
