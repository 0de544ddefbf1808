//! Looking at what is queued: a page at a time, by key, by the beginning of a key, or one record in full.
//!
//! Nothing stands still meanwhile: changes are captured, and others are applied. A page is therefore named by the Seq
//! that it begins behind, never by a count, and whoever follows `next` to its end sees every record once that is
//! queued all the while. A request looks at a bounded stretch of the journal and holds a bounded part of it in memory,
//! however long the queue is and however rarely a filter fits; where it stopped is its `next`, and so a page may have
//! few items, or none, and yet not be the last.

use super::Engine;
use crate::env::blocking;
use crate::journal::{JournalError, ReadLimit, Record as JournalRecord, Records};
use crate::request::Rejected;
use crate::supervisor::{Command, Located};
use crate::view::{Page, QueuedRecord};
use std::collections::BTreeMap;
use tandem_core::map::{FlowSpec, Projected, Projection, Refusal};
use tandem_core::{IntegrationKey, Kind, MapName, Seq, Value};

/// A page is full at so many bytes of records, whatever its limit.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// So many records are read at once while searching.
pub(super) const STRIDE: usize = 1_000;
/// A search ends a page behind so many records, whatever it has found.
pub(super) const LOOKED_AT_MAX: usize = 50_000;
/// A search ends a page behind so many bytes of records, whatever it has found.
pub(super) const LOOKED_AT_BYTES_MAX: u64 = 64 << 20;

/// Which queued records to list.
#[derive(Debug, Clone, Default)]
pub struct QueueQuery {
    /// Which of them.
    pub filter: QueueFilter,
    /// Only what comes after this Seq.
    pub after: Seq,
    /// At most so many.
    pub limit: usize,
}

/// Which records of a queue fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QueueFilter {
    /// Each of them.
    #[default]
    All,
    /// The record with exactly this integration key: its parts as text, in the map's order.
    Key(Vec<String>),
    /// Records of which the first column of the integration key, as text, begins so.
    Prefix(String),
}

/// A queued record, and what would be written if it were applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordInFull {
    /// The record.
    pub record: QueuedRecord,
    /// What the map makes of it, or why it cannot be written.
    pub image: Result<Projected, Refusal>,
}

impl Engine {
    /// Queued records of a map, oldest first.
    ///
    /// A page may have fewer items than its limit, or none, and a `next` all the same: a search looks at 50,000
    /// records at most, and a page has at most some 8 MiB of records.
    pub async fn queue(&self, map: &MapName, query: QueueQuery) -> Result<Page<QueuedRecord>, Rejected> {
        let located = self.locate(map).await?;
        let found = blocking(&*self.env, move || {
            let looks = located.iter().map(|at| look(at, &query)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, JournalError>(merged(looks, query.limit))
        });
        found.await.map_err(|error| Rejected::Disk(error.to_string()))
    }

    /// One queued record of a map, with what would be written.
    pub async fn queued_record(&self, map: &MapName, seq: Seq) -> Result<RecordInFull, Rejected> {
        let located = self.locate(map).await?;
        let found = blocking(&*self.env, move || {
            for at in located.iter().filter(|at| seq > at.cursor) {
                if let Some(record) = records(at).read(at.flow, seq)? {
                    let image = Projection::once(&at.spec, &record.change, seq, record.transaction);
                    return Ok(Some(RecordInFull { record: shown(record, &at.spec), image }));
                }
            }
            Ok::<_, JournalError>(None)
        });
        let found = found.await.map_err(|error| Rejected::Disk(error.to_string()))?;
        found.ok_or_else(|| Rejected::UnknownRecord { map: map.clone(), seq })
    }

    /// Where the queues of a map are.
    pub(super) async fn locate(&self, map: &MapName) -> Result<Vec<Located>, Rejected> {
        self.ask(|reply| Command::Locate { map: map.clone(), reply }).await?
    }
}

/// What was found of one flow.
struct Look {
    /// By rising Seq.
    items: Vec<QueuedRecord>,
    /// Set if there may be more: everything up to here was looked at.
    through: Option<Seq>,
}

/// One page of what was found of several flows.
fn merged(looks: Vec<Look>, limit: usize) -> Page<QueuedRecord> {
    let mut next = looks.iter().filter_map(|look| look.through).min();
    let mut items: Vec<QueuedRecord> = looks.into_iter().flat_map(|look| look.items).collect();
    items.sort_by_key(|record| record.seq);
    // What lies beyond is found again by the next page, together with what the others have there.
    items.retain(|record| next.is_none_or(|next| record.seq <= next));
    if items.len() > limit {
        items.truncate(limit);
        next = items.last().map(|record| record.seq);
    }
    Page { items, next: next.map(|next| next.0) }
}

fn look(at: &Located, query: &QueueQuery) -> Result<Look, JournalError> {
    let after = query.after.max(at.cursor);
    match &query.filter {
        QueueFilter::All => list(at, after, query.limit),
        QueueFilter::Key(parts) => by_key(at, parts, after, query.limit),
        QueueFilter::Prefix(prefix) => by_prefix(at, prefix, after, query.limit),
    }
}

fn list(at: &Located, after: Seq, limit: usize) -> Result<Look, JournalError> {
    let found = records(at).scan(at.flow, after, stride(limit.saturating_add(1)))?;
    let is_full = bytes_of(&found) >= PAGE_BYTES_MAX;
    let more = found.len() > limit;
    let items: Vec<_> = found.into_iter().take(limit).map(|record| shown(record, &at.spec)).collect();
    let through = items.last().filter(|_| more || is_full).map(|record| record.seq);
    Ok(Look { items, through })
}

/// By the journal's index of keys.
fn by_key(at: &Located, parts: &[String], after: Seq, limit: usize) -> Result<Look, JournalError> {
    let records = records(at);
    let mut found: BTreeMap<Seq, QueuedRecord> = BTreeMap::new();
    for candidate in candidates(parts) {
        for seq in records.find(at.flow, candidate.hash(), after, limit.saturating_add(1))? {
            // Two keys may share a hash: only the key itself decides.
            if let Some(record) = records.read(at.flow, seq)?
                && at.spec.keys_of(&record.change).any(|key| key == candidate)
            {
                found.insert(seq, shown(record, &at.spec));
            }
        }
    }
    let more = found.len() > limit;
    let items: Vec<_> = found.into_values().take(limit).collect();
    let through = items.last().filter(|_| more).map(|record| record.seq);
    Ok(Look { items, through })
}

/// By looking at one record after the other: the index knows keys only whole.
fn by_prefix(at: &Located, prefix: &str, mut after: Seq, limit: usize) -> Result<Look, JournalError> {
    let records = records(at);
    let (mut items, mut kept_bytes) = (Vec::new(), 0);
    let (mut looked_at, mut looked_at_bytes) = (0, 0);
    loop {
        let found = records.scan(at.flow, after, stride(STRIDE))?;
        let Some(last) = found.last() else { return Ok(Look { items, through: None }) };
        after = last.seq;
        looked_at += found.len();
        looked_at_bytes += bytes_of(&found);
        for record in found {
            if !at.spec.keys_of(&record.change).any(|key| begins_with(&key, prefix)) {
                continue;
            }
            if items.len() >= limit {
                let through = items.last().map(|record: &QueuedRecord| record.seq);
                return Ok(Look { items, through });
            }
            kept_bytes += u64::from(record.bytes);
            items.push(shown(record, &at.spec));
        }
        let is_full = kept_bytes >= PAGE_BYTES_MAX;
        if is_full || looked_at >= LOOKED_AT_MAX || looked_at_bytes >= LOOKED_AT_BYTES_MAX {
            return Ok(Look { items, through: Some(after) });
        }
    }
}

fn begins_with(key: &IntegrationKey, prefix: &str) -> bool {
    key.values().first().is_some_and(|value| !value.is_null() && value.to_string().starts_with(prefix))
}

pub(super) fn records(at: &Located) -> Records {
    at.journal.with(|journal| journal.records().clone())
}

pub(super) fn stride(records: usize) -> ReadLimit {
    ReadLimit { records, bytes: PAGE_BYTES_MAX, through: Seq(u64::MAX) }
}

pub(super) fn bytes_of(records: &[JournalRecord]) -> u64 {
    records.iter().map(|record| u64::from(record.bytes)).sum()
}

/// What a key that was typed may be: each part as a number, as text, as a UUID.
pub(super) fn candidates(parts: &[String]) -> Vec<IntegrationKey> {
    let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
    for part in parts.iter().take(8) {
        let mut values = vec![Value::from(part.as_str())];
        values.extend(part.parse().ok().map(Value::Int));
        for kind in [Kind::Uuid, Kind::Decimal, Kind::Date] {
            values.push(Value::Typed(kind, part.as_str().into()));
        }
        keys = keys
            .into_iter()
            .flat_map(|key| values.iter().map(move |value| [key.clone(), vec![value.clone()]].concat()))
            .collect();
    }
    keys.into_iter().map(IntegrationKey::from_values).collect()
}

fn shown(record: JournalRecord, spec: &FlowSpec) -> QueuedRecord {
    let op = &record.change.op;
    QueuedRecord {
        seq: record.seq,
        transaction: record.transaction_name,
        op: op.kind(),
        key: spec.key_of(&record.change),
        bytes: record.bytes,
        committed_at: record.committed_at,
        captured_at: record.captured_at,
        relation: record.change.relation.clone(),
        old: op.old_row().cloned(),
        new: op.new_row().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_core::{OpKind, Relation, TableName, WallTime};

    fn look(seqs: &[u64], through: Option<u64>) -> Look {
        let record = |seq: &u64| QueuedRecord {
            seq: Seq(*seq),
            transaction: "".into(),
            op: OpKind::Truncate,
            key: None,
            bytes: 1,
            committed_at: WallTime(0),
            captured_at: WallTime(0),
            relation: Arc::new(Relation { table: TableName::parse("t").unwrap(), columns: Vec::new() }),
            old: None,
            new: None,
        };
        Look { items: seqs.iter().map(record).collect(), through: through.map(Seq) }
    }

    #[test]
    fn a_page_ends_where_the_first_flow_was_no_longer_looked_at() {
        let check = |looks: Vec<Look>, limit: usize, items: &[u64], next: Option<u64>| {
            let page = merged(looks, limit);
            let seqs: Vec<u64> = page.items.iter().map(|record| record.seq.0).collect();
            assert_eq!((seqs.as_slice(), page.next), (items, next));
        };
        check(vec![], 5, &[], None);
        check(vec![look(&[1, 4], None)], 5, &[1, 4], None);
        check(vec![look(&[], Some(900))], 5, &[], Some(900));
        check(vec![look(&[1, 4], Some(4)), look(&[2, 3, 9], None)], 5, &[1, 2, 3, 4], Some(4));
        check(vec![look(&[1, 4], Some(7)), look(&[2, 6, 9], None)], 3, &[1, 2, 4], Some(4));
        check(vec![look(&[1, 4], Some(8)), look(&[2, 5], Some(5))], 4, &[1, 2, 4, 5], Some(5));
    }
}
