//! The memory app's tables as they stand: what a real app shows in its own order of keys.

use super::script::{Call, Line};
use super::table::{SortKey, Table};
use super::{BoxFuture, Store, Value};
use std::sync::Arc;
use tandem_core::connect::{Chunk, ChunkLimit, KeyedTable, Reads};
use tandem_core::{Fault, FaultClass, IntegrationKey, Row, TableName};

/// Reads.
pub(super) struct MemoryReads {
    line: Line,
}

impl MemoryReads {
    pub(super) fn new(line: Line) -> Self {
        Self { line }
    }

    async fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T, Fault>) -> Result<T, Fault> {
        let reply = self.line.call(Call::Read).await?;
        self.line.reply(reply, || {
            let world = self.line.app.world();
            self.line.stands(&world)?;
            read(&world.store)
        })
    }
}

/// A table and the places of a key in it.
fn keyed<'a>(store: &'a Store, wanted: &KeyedTable) -> Result<(&'a Table, Vec<usize>), Fault> {
    let table = store.table(&wanted.table)?;
    let places = wanted.key.iter().map(|column| {
        table.place(column).ok_or_else(|| {
            let message = format!("column {column} of {} is not there", wanted.table);
            Fault::new(FaultClass::Schema, "read records", message)
                .code("column_missing")
                .table(wanted.table.to_string())
        })
    });
    Ok((table, places.collect::<Result<_, _>>()?))
}

/// The key of a row, unless it has a null in it.
fn key_of(row: &[Value], places: &[usize]) -> Option<SortKey> {
    let key: Vec<Value> = places.iter().filter_map(|place| row.get(*place).cloned()).collect();
    (!key.iter().any(Value::is_null)).then_some(SortKey(key))
}

fn chunk(
    store: &Store,
    wanted: &KeyedTable,
    after: Option<&IntegrationKey>,
    limit: ChunkLimit,
) -> Result<Chunk, Fault> {
    let (table, places) = keyed(store, wanted)?;
    let after = after.map(|key| SortKey(key.values().to_vec()));
    let mut rows: Vec<(SortKey, &Vec<Value>)> =
        table.rows.values().filter_map(|row| Some((key_of(row, &places)?, row))).collect();
    rows.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let relation = Arc::clone(&table.relation);
    let mut chunk = Chunk { rows: Vec::new(), relation, next: None, unseen: Vec::new() };
    let mut bytes = 0;
    let more = rows.len() > limit.rows.max(1);
    for (key, row) in rows {
        if chunk.rows.len() >= limit.rows.max(1) || bytes >= limit.bytes {
            break;
        }
        let row = Row::of(row.iter().cloned());
        bytes += row.payload_len();
        chunk.rows.push(row);
        chunk.next = Some(IntegrationKey::from_values(key.0));
    }
    if !more && bytes < limit.bytes {
        chunk.next = None;
    }
    Ok(chunk)
}

impl Reads for MemoryReads {
    fn chunk<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        after: Option<&'a IntegrationKey>,
        limit: ChunkLimit,
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(self.read(move |store| chunk(store, table, after, limit)))
    }

    fn records<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        keys: &'a [IntegrationKey],
    ) -> BoxFuture<'a, Result<Chunk, Fault>> {
        Box::pin(self.read(move |store| {
            let (found, places) = keyed(store, table)?;
            let ids = keys.iter().flat_map(|key| found.find(&places, key.values()));
            let rows = ids.filter_map(|id| Some(Row::of(found.rows.get(&id)?.iter().cloned())));
            let rows: Vec<Row> = rows.collect();
            Ok(Chunk { rows, relation: Arc::clone(&found.relation), next: None, unseen: Vec::new() })
        }))
    }

    fn estimate<'a>(&'a mut self, table: &'a TableName) -> BoxFuture<'a, Result<Option<u64>, Fault>> {
        Box::pin(self.read(move |store| Ok(Some(store.table(table)?.rows.len() as u64))))
    }
}
