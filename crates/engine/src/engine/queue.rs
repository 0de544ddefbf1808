//! Looking at what is queued: a page at a time, by key, by the beginning of a key, by what happened and when, or one
//! record in full.
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
use std::collections::BTreeSet;
use tandem_core::map::{FlowSpec, Projected, Projection, Refusal};
use tandem_core::{IntegrationKey, Kind, MapName, OpKind, Seq, Trend, Value, WallTime};

/// A page is full at so many bytes of records, whatever its limit.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// So many records are read at once while searching.
pub(super) const STRIDE: usize = 1_000;
/// A search ends a page behind so many records, whatever it has found.
pub(super) const LOOKED_AT_MAX: usize = 50_000;
/// A search ends a page behind so many bytes of records, whatever it has found.
pub(super) const LOOKED_AT_BYTES_MAX: u64 = 64 << 20;

/// Which queued records to list: those that fit everything that is given.
#[derive(Debug, Clone, Default)]
pub struct QueueQuery {
    /// Of which records.
    pub filter: QueueFilter,
    /// Only what happened so.
    pub op: Option<OpKind>,
    /// Only what the source committed then or later, by its own clock.
    pub since: Option<WallTime>,
    /// Only what the source committed before, by its own clock.
    pub until: Option<WallTime>,
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

impl QueueQuery {
    /// Whether each change of the records that are meant fits.
    fn takes_every_change(&self) -> bool {
        self.op.is_none() && self.since.is_none() && self.until.is_none()
    }

    /// Whether a change fits, whichever record it is of. Clocks of sources are set back, so that one change is too late or
    /// too early says nothing of those behind it.
    fn takes_change(&self, record: &JournalRecord) -> bool {
        self.op.is_none_or(|op| record.change.op.kind() == op)
            && self.since.is_none_or(|since| record.committed_at >= since)
            && self.until.is_none_or(|until| record.committed_at < until)
    }
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
    /// How the queue of a map was over the last hours, since the engine started at the earliest.
    pub async fn trend(&self, map: &MapName) -> Result<Trend, Rejected> {
        self.ask(|reply| Command::Trend { map: map.clone(), reply }).await?
    }

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
        QueueFilter::All if query.takes_every_change() => list(at, after, query.limit),
        QueueFilter::Key(parts) => by_key(at, parts, after, query),
        QueueFilter::All | QueueFilter::Prefix(_) => by_look(at, after, query),
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
fn by_key(at: &Located, parts: &[String], after: Seq, query: &QueueQuery) -> Result<Look, JournalError> {
    let records = records(at);
    let candidates = candidates(parts);
    // Of what is found not everything fits: then there is more to look at than what is wanted.
    let wanted = query.limit.saturating_add(1);
    let asked = if query.takes_every_change() { wanted } else { wanted.max(STRIDE) };
    let (mut seqs, mut through) = (BTreeSet::new(), None);
    for candidate in &candidates {
        let found = records.find(at.flow, candidate.hash(), after, asked)?;
        // Where one search has ended for now, the others are not to be ahead of it.
        let ended = found.last().copied().filter(|_| found.len() >= asked);
        through = through.into_iter().chain(ended).min();
        seqs.extend(found);
    }
    let mut items: Vec<QueuedRecord> = Vec::new();
    for seq in seqs.into_iter().filter(|seq| through.is_none_or(|through| *seq <= through)) {
        let Some(record) = records.read(at.flow, seq)? else { continue };
        // Two keys may share a hash: only the key itself decides.
        if !query.takes_change(&record)
            || !at.spec.keys_of(&record.change).any(|key| candidates.contains(&key))
        {
            continue;
        }
        if items.len() >= query.limit {
            through = items.last().map(|record| record.seq);
            break;
        }
        items.push(shown(record, &at.spec));
    }
    Ok(Look { items, through })
}

/// By looking at one record after the other: the index knows keys only whole, and nothing else.
fn by_look(at: &Located, mut after: Seq, query: &QueueQuery) -> Result<Look, JournalError> {
    let records = records(at);
    let fits = |record: &JournalRecord| {
        query.takes_change(record)
            && match &query.filter {
                QueueFilter::Prefix(prefix) => {
                    at.spec.keys_of(&record.change).any(|key| begins_with(&key, prefix))
                }
                QueueFilter::All | QueueFilter::Key(_) => true,
            }
    };
    let (mut items, mut kept_bytes) = (Vec::new(), 0);
    let (mut looked_at, mut looked_at_bytes) = (0, 0);
    loop {
        let found = records.scan(at.flow, after, stride(STRIDE))?;
        let Some(last) = found.last() else { return Ok(Look { items, through: None }) };
        after = last.seq;
        looked_at += found.len();
        looked_at_bytes += bytes_of(&found);
        for record in found.into_iter().filter(&fits) {
            if items.len() >= query.limit {
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
    use tandem_core::{Relation, TableName};

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
