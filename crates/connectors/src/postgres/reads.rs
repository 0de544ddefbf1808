//! Reading tables as they stand, a statement per chunk and no transaction that lasts.
//!
//! Rows come by `COPY … TO STDOUT`: its text form is that of the types' own output functions, as the log has it, where
//! a cast to `text` would print a truth value or a padded string in another way. The session's settings are those of
//! the replication session.
//!
//! **What a snapshot may lack.** A transaction is in the log as soon as its commit record is, and visible only a moment
//! later; with a synchronous standby that moment may last. One that lies before a barrier may therefore be missing from
//! a read that begins behind it. But it keeps its lock on the table until it is visible. So who has such a lock now is
//! waited for, briefly; who still has it then is named in [`Chunk::unseen`], and the engine looks in the log what they
//! wrote there.

use super::connect::{Endpoint, within};
use super::error::fault;
use super::names::{literal, quoted, quoted_table, shown};
use super::schema;
use super::value::{Form, text_of};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{BoxFuture, Chunk, ChunkLimit, KeyedTable, Reads};
use tandem_core::{Cell, Fault, FaultClass, IntegrationKey, Relation, RelationColumn, Row, TableName, Value};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// Row security would hide rows silently: a role that is bound by it gets an error instead.
const SESSION: &str = "SET row_security = off; SET lock_timeout = 3000; SET statement_timeout = 600000;
    SET default_transaction_read_only = on";

const READ: &str = "read the table";

/// How long any answer may take. Above the server's own limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(660);

/// How long writers are waited for that may have committed already.
const WRITERS_PATIENCE: Duration = Duration::from_millis(200);

/// Rows of the first statement of a table, of which it is not known how wide they are.
const FIRST_ROWS: usize = 500;

/// Types up to this one are PostgreSQL's own, and the log does not describe them.
const FIRST_OWN_TYPE: u32 = 10_000;

/// A session that reads.
pub(super) struct PostgresReads {
    endpoint: Arc<Endpoint>,
    client: Client,
    /// The tables that were read last.
    layouts: Vec<(KeyedTable, Arc<Layout>)>,
    /// Bytes of a row, on average, in the last chunk of this table.
    width: Option<(KeyedTable, usize)>,
}

/// A table as the log shows it, and how it is read.
#[derive(Debug)]
struct Layout {
    relation: Arc<Relation>,
    forms: Vec<Form>,
    /// `SELECT … FROM …`.
    select: String,
    /// The key's columns in the order of the index, if there is one: place in the map's key, place in the relation,
    /// quoted name, type to cast to.
    key: Vec<KeyColumn>,
    /// Its parts: what writers lock.
    oids: Vec<u32>,
}

#[derive(Debug)]
struct KeyColumn {
    nth: usize,
    place: usize,
    name: String,
    cast: String,
}

impl PostgresReads {
    pub(super) async fn open(endpoint: Arc<Endpoint>) -> Result<Self, Fault> {
        const OPERATION: &str = "open a connection for reading";
        let client = endpoint.session(OPERATION).await?;
        client.batch_execute(SESSION).await.map_err(|error| fault(OPERATION, &error))?;
        Ok(Self { endpoint, client, layouts: Vec::new(), width: None })
    }

    async fn layout(&mut self, table: &KeyedTable) -> Result<Arc<Layout>, Fault> {
        if let Some((_, layout)) = self.layouts.iter().find(|(known, _)| known == table) {
            return Ok(layout.clone());
        }
        let layout = Arc::new(Layout::read(&self.client, table).await?);
        self.layouts.push((table.clone(), layout.clone()));
        Ok(layout)
    }

    /// A table that is not as we took it for is looked at again next time.
    fn noted<T>(&mut self, done: Result<T, Fault>) -> Result<T, Fault> {
        if done.as_ref().is_err_and(|fault| fault.class == FaultClass::Schema) {
            self.layouts.clear();
        }
        done
    }

    async fn do_chunk(
        &mut self,
        table: &KeyedTable,
        after: Option<&IntegrationKey>,
        limit: ChunkLimit,
    ) -> Result<Chunk, Fault> {
        let layout = self.layout(table).await?;
        let unseen = self.writers(&layout).await?;
        let width = self.width.as_ref().filter(|(known, _)| known == table).map(|(_, width)| *width);
        let rows = width.map_or(FIRST_ROWS, |width| limit.bytes / width.max(1)).clamp(1, limit.rows.max(1));
        let sql = layout.chunk_sql(after, rows)?;
        let read = self.copy(&layout, &sql, limit.bytes).await?;
        let ended = read.rows.len() < rows && !read.is_cut;
        let next = match read.rows.last() {
            Some(last) if !ended => Some(layout.key_of(last)?),
            _ => None,
        };
        if !read.rows.is_empty() {
            self.width = Some((table.clone(), read.bytes.div_ceil(read.rows.len())));
        }
        Ok(Chunk { rows: read.rows, relation: layout.relation.clone(), next, unseen })
    }

    async fn do_records(&mut self, table: &KeyedTable, keys: &[IntegrationKey]) -> Result<Chunk, Fault> {
        let layout = self.layout(table).await?;
        let unseen = self.writers(&layout).await?;
        let sql = layout.records_sql(keys)?;
        let read = self.copy(&layout, &sql, usize::MAX).await?;
        Ok(Chunk { rows: read.rows, relation: layout.relation.clone(), next: None, unseen })
    }

    /// Waits for those who are writing to the table now, and names those who have not ended by then.
    async fn writers(&self, layout: &Layout) -> Result<Vec<Arc<str>>, Fault> {
        let sql = "SELECT DISTINCT x.transactionid::text FROM pg_catalog.pg_locks w
            JOIN pg_catalog.pg_locks x ON x.virtualtransaction = w.virtualtransaction
                AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted
            WHERE w.locktype = 'relation' AND w.granted AND w.relation = ANY($1)
                AND w.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                AND w.mode NOT IN ('AccessShareLock', 'RowShareLock')";
        let deadline = Instant::now() + WRITERS_PATIENCE;
        let mut waited_for: Option<BTreeSet<String>> = None;
        loop {
            let rows = self.client.query(sql, &[&layout.oids]).await.map_err(|error| fault(READ, &error))?;
            let now: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
            // Whoever came since has not committed before the call.
            let left: BTreeSet<String> = match waited_for {
                None => now,
                Some(before) => before.intersection(&now).cloned().collect(),
            };
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(left.into_iter().map(Arc::from).collect());
            }
            waited_for = Some(left);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads rows until there are no more, or they are too many bytes.
    async fn copy(&self, layout: &Layout, sql: &str, bytes_max: usize) -> Result<Copied, Fault> {
        let table = &layout.relation.table;
        let failed = |error: tokio_postgres::Error| {
            let fault = fault(READ, &error).table(shown(table));
            match (fault.class, fault.code.as_deref()) {
                (FaultClass::Permission, _) => {
                    fault.fix(format!("GRANT SELECT ON {} TO <user>;", quoted_table(table)))
                }
                // Our own cancellation, which came late.
                (_, Some("57014")) => Fault { class: FaultClass::Conflict, ..fault },
                _ => fault,
            }
        };
        let reading = async {
            let mut stream = pin!(self.client.copy_out(sql).await.map_err(failed)?);
            let mut copied = Copied::default();
            let mut rest = BytesMut::new();
            while let Some(data) = stream.next().await {
                let data = match (data, copied.is_cut) {
                    (Ok(data), false) => data,
                    // What comes behind the cut is of no use, nor why it ends.
                    (Ok(_), true) => continue,
                    (Err(_), true) => break,
                    (Err(error), false) => return Err(failed(error)),
                };
                let mut data = if rest.is_empty() {
                    data
                } else {
                    rest.extend_from_slice(&data);
                    rest.split().freeze()
                };
                // A line break inside of a value is escaped: one that is not ends a row.
                while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
                    let line = data.split_to(end);
                    drop(data.split_to(1));
                    copied.bytes += line.len();
                    copied.rows.push(layout.row(&line)?);
                    if copied.bytes >= bytes_max {
                        copied.is_cut = true;
                        self.endpoint.cancel(&self.client).await;
                        break;
                    }
                }
                rest.extend_from_slice(&data);
            }
            Ok(copied)
        };
        within(ANSWER_TIMEOUT, READ, reading).await
    }

    async fn do_estimate(&self, table: &TableName) -> Result<Option<u64>, Fault> {
        let Some((oid, _)) = schema::find(&self.client, table).await? else { return Ok(None) };
        // A table that was never analyzed has no estimate but its size.
        let sql = "SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                ELSE pg_relation_size(c.oid) / 100 END), 0)::float8
            FROM pg_catalog.pg_class c WHERE c.relkind = 'r'
                AND (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass)))";
        let row = self.client.query_one(sql, &[&oid]).await.map_err(|error| fault(READ, &error))?;
        Ok(Some(row.get::<_, f64>(0).max(0.0) as u64))
    }
}

/// What one statement brought.
#[derive(Debug, Default)]
struct Copied {
    rows: Vec<Row>,
    bytes: usize,
    /// There was more, and it was too much.
    is_cut: bool,
}

impl Layout {
    async fn read(client: &Client, wanted: &KeyedTable) -> Result<Self, Fault> {
        let table = &wanted.table;
        let failed = |error: tokio_postgres::Error| fault(READ, &error).table(shown(table));
        let schema_fault =
            |message: String| Fault::new(FaultClass::Schema, READ, message).table(shown(table));
        let Some(described) = schema::describe(client, table).await? else {
            return Err(schema_fault(format!("there is no table {table}")).code("42P01"));
        };
        let Some((oid, class)) = schema::find(client, table).await? else {
            return Err(schema_fault(format!("there is no table {table}")).code("42P01"));
        };
        let sql = format!(
            "SELECT a.attname::text, a.atttypid, pg_catalog.format_type(base.oid, -1), b.typname::text,
                n.nspname = 'pg_catalog'
            FROM pg_catalog.pg_attribute a CROSS JOIN {} JOIN pg_catalog.pg_type b ON b.oid = base.oid
            JOIN pg_catalog.pg_namespace n ON n.oid = b.typnamespace
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            ORDER BY a.attnum",
            schema::BASE_TYPE
        );
        let rows = client.query(&sql, &[&oid]).await.map_err(failed)?;
        let (mut columns, mut forms, mut casts) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let (name, id): (String, u32) = (row.get(0), row.get(1));
            let (form, type_name) = type_of(id, &row.get::<_, String>(3), row.get(4));
            let identity = described.identity.iter().any(|column| **column == *name);
            columns.push(RelationColumn { name: name.into(), type_name, identity });
            forms.push(form);
            casts.push(row.get::<_, String>(2));
        }
        let relation = Relation { table: described.table.clone(), columns };
        let mut key = Vec::with_capacity(wanted.key.len());
        for (nth, column) in wanted.key.iter().enumerate() {
            let place = relation.column(column);
            let found = place.and_then(|place| Some((place, casts.get(place)?.clone())));
            let Some((place, cast)) = found else {
                return Err(schema_fault(format!("{table} has no column {column}")).code("42703"));
            };
            key.push(KeyColumn { nth, place, name: quoted(column), cast });
        }
        // In the order of the index that makes it unique: another would sort the whole table for each chunk.
        let indexes = described.unique_keys.iter().map(|index| &index.columns);
        let is_key = |index: &&Vec<Arc<str>>| {
            index.len() == wanted.key.len() && wanted.key.iter().all(|column| index.contains(column))
        };
        if let Some(index) = std::iter::once(&described.primary_key).chain(indexes).find(is_key) {
            let place_in = |key: &KeyColumn| {
                let name = wanted.key.get(key.nth);
                index.iter().position(|column| Some(column) == name)
            };
            key.sort_by_key(place_in);
        }
        let names: Vec<String> = relation.columns.iter().map(|column| quoted(&column.name)).collect();
        // Tables that inherit from it are tables of their own, as they are to the log; partitions are not.
        let only = if class.get::<_, String>(1) == "p" { "" } else { "ONLY " };
        let select = format!("SELECT {} FROM {only}{}", names.join(", "), quoted_table(table));
        let sql = "SELECT relid::oid FROM pg_partition_tree($1::oid::regclass)";
        let mut oids: Vec<u32> =
            client.query(sql, &[&oid]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
        oids.push(oid);
        Ok(Self { relation: Arc::new(relation), forms, select, key, oids })
    }

    /// `(a, b)` of the key's columns.
    fn key_sql(&self) -> String {
        let names: Vec<&str> = self.key.iter().map(|key| key.name.as_str()).collect();
        format!("({})", names.join(", "))
    }

    /// The values of a key as SQL.
    fn values_sql(&self, key: &IntegrationKey) -> Result<String, Fault> {
        let value = |column: &KeyColumn| {
            let value = key.values().get(column.nth).filter(|value| !value.is_null());
            let missing = || Fault::new(FaultClass::Internal, READ, "a key lacks a value");
            Ok(format!("{}::{}", literal(&text_of(value.ok_or_else(missing)?)), column.cast))
        };
        let values = self.key.iter().map(value).collect::<Result<Vec<_>, Fault>>()?;
        Ok(format!("({})", values.join(", ")))
    }

    fn chunk_sql(&self, after: Option<&IntegrationKey>, rows: usize) -> Result<String, Fault> {
        let mut conditions: Vec<String> =
            self.key.iter().map(|key| format!("{} IS NOT NULL", key.name)).collect();
        if let Some(after) = after {
            conditions.push(format!("{} > {}", self.key_sql(), self.values_sql(after)?));
        }
        let order: Vec<&str> = self.key.iter().map(|key| key.name.as_str()).collect();
        Ok(format!(
            "COPY ({} WHERE {} ORDER BY {} LIMIT {rows}) TO STDOUT",
            self.select,
            conditions.join(" AND "),
            order.join(", ")
        ))
    }

    fn records_sql(&self, keys: &[IntegrationKey]) -> Result<String, Fault> {
        let keys = keys.iter().map(|key| self.values_sql(key)).collect::<Result<Vec<_>, _>>()?;
        let wanted = if keys.is_empty() {
            "false".to_owned()
        } else {
            format!("{} IN ({})", self.key_sql(), keys.join(", "))
        };
        Ok(format!("COPY ({} WHERE {wanted}) TO STDOUT", self.select))
    }

    fn key_of(&self, row: &Row) -> Result<IntegrationKey, Fault> {
        let mut places: Vec<(usize, usize)> = self.key.iter().map(|key| (key.nth, key.place)).collect();
        places.sort_unstable();
        let places: Vec<usize> = places.into_iter().map(|(_, place)| place).collect();
        IntegrationKey::of(row, &places)
            .ok_or_else(|| Fault::new(FaultClass::Internal, READ, "a row lacks its key"))
    }

    /// One line of COPY's text form.
    fn row(&self, line: &Bytes) -> Result<Row, Fault> {
        let malformed = |what: &str| {
            let message = format!("{}: {what}", self.relation.table);
            Fault::new(FaultClass::Internal, READ, message)
        };
        let mut cells = Vec::with_capacity(self.forms.len());
        let mut start = 0;
        for (form, column) in self.forms.iter().zip(&self.relation.columns) {
            let field = line.get(start..).ok_or_else(|| malformed("a row with too few columns"))?;
            let len = field.iter().position(|byte| *byte == b'\t').unwrap_or(field.len());
            let field = line.slice(start..start + len);
            start += len + 1;
            cells.push(Cell::Set(if *field == *b"\\N" {
                Value::Null
            } else {
                let text = unescaped(field).ok_or_else(|| malformed("a value with an unknown escape"))?;
                form.read(text).ok_or_else(|| {
                    malformed(&format!("{} is not the text of a {}", column.name, column.type_name))
                })?
            }));
        }
        // A table without columns that are not generated has an empty line for a row.
        if start < line.len() {
            return Err(malformed("a row with too many columns"));
        }
        Ok(Row(cells))
    }
}

/// A column's type as the log names it: PostgreSQL's own by their number, others as they are described there, which
/// for a domain is the type underneath.
fn type_of(id: u32, base: &str, built_in: bool) -> (Form, Arc<str>) {
    if id >= FIRST_OWN_TYPE {
        return (if built_in { Form::of(base) } else { Form::of("") }, base.into());
    }
    match Type::from_oid(id) {
        Some(known) => (Form::of(known.name()), known.name().into()),
        None => (Form::of(""), "".into()),
    }
}

/// The value of a field; the same bytes, where nothing was escaped.
fn unescaped(field: Bytes) -> Option<Bytes> {
    if !field.contains(&b'\\') {
        return Some(field);
    }
    let mut out = BytesMut::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' => match bytes.next()? {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            other => *other,
        };
        out.extend_from_slice(&[plain]);
    }
    Some(out.freeze())
}

impl Reads for PostgresReads {
    fn chunk<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        after: Option<&'a IntegrationKey>,
        limit: ChunkLimit,
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(async move {
            let done = self.do_chunk(table, after, limit).await;
            self.noted(done)
        })
    }

    fn records<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        keys: &'a [IntegrationKey],
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(async move {
            let done = self.do_records(table, keys).await;
            self.noted(done)
        })
    }

    fn estimate<'a>(&'a mut self, table: &'a TableName) -> BoxFuture<'a, Result<Option<u64>, Fault>> {
        Box::pin(self.do_estimate(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_of_copy_as_they_went_in() {
        let read = |field: &'static str| unescaped(field.into()).map(|text| text.to_vec());
        assert_eq!(read("plain"), Some(b"plain".to_vec()));
        assert_eq!(read(r"a\\b\tc\nd\re\bf\fg\v"), Some(b"a\\b\tc\nd\re\x08f\x0cg\x0b".to_vec()));
        assert_eq!(read(r"\\N"), Some(b"\\N".to_vec()));
        assert_eq!(read(r"\x41"), None);
        assert_eq!(read("\\"), None);
    }
}
