//! Looking at what is queued: counts, records by key, lists. Works on any thread beside the one who appends.

use super::catalog::{Active, Catalog, Shared, count_marks};
use super::cursor::{Frames, Members, SegmentCursor};
use super::holes::Stretch;
use super::index::seek;
use super::reader::{ReadLimit, Reader, read_group};
use super::segment::Sealed;
use super::turnover::Turnover;
use super::{Counts, FlowId, FlowSpec, Holes, Journal, JournalError, Record, Span};
use std::ops::Deref;
use std::sync::Arc;
use tandem_core::{KeyHash, Position, Seq};

/// What a journal holds, to be looked at and cleared away. A handle: clones see the same journal.
#[derive(Debug, Clone)]
pub struct Records {
    pub(super) shared: Arc<Shared>,
}

/// Whoever appends may look, too.
impl Deref for Journal {
    type Target = Records;

    fn deref(&self) -> &Records {
        self.records()
    }
}

impl Records {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last Seq of the last committed transaction that was appended; not all of it may be durable.
    pub fn head(&self) -> Seq {
        self.shared.look().head
    }

    /// The last Seq of the last committed transaction that is durable.
    pub fn durable(&self) -> Seq {
        self.shared.look().durable.seq
    }

    /// Where capture reopens: the position behind everything that is durable. `None` until something was
    /// captured.
    pub fn position(&self) -> Option<Position> {
        self.shared.look().durable.position.clone()
    }

    /// Whether there is a segment that could be let go of.
    pub fn has_sealed(&self) -> bool {
        !self.shared.look().sealed.is_empty()
    }

    /// Everything of a flow behind this Seq is still there, in the log or on its shelf.
    pub fn kept_from(&self, flow: FlowId) -> Seq {
        self.shared.look().kept_from(flow)
    }

    /// The oldest Seq that the log itself still has; shelves may reach further back.
    pub fn oldest(&self) -> Seq {
        self.shared.look().oldest()
    }

    /// Reads the records of some flows, each from beyond its own Seq, in order, from beyond `from` on. A flow that
    /// has ended is bounded by the reader's limit, not by its end.
    pub fn reader(&self, members: Vec<(FlowId, Seq)>, from: Seq) -> Reader {
        Reader::new(Arc::clone(&self.shared), members, from)
    }

    /// How many records of the flow lie beyond `after`, exactly: committed, whether or not yet durable, and not
    /// dropped. A flow that is not counted has none. If the records next to `after` are no longer kept, those that are.
    pub fn queued(&self, flow: FlowId, after: Seq) -> Result<Counts, JournalError> {
        self.count(flow, Span::beyond(after))
    }

    /// What came in of a flow, and what was dropped, since the journal was opened; `None` for a flow that is not counted.
    pub fn turnover(&self, flow: FlowId) -> Option<Turnover> {
        let catalog = self.shared.look();
        let known = catalog.flows.contains_key(&flow);
        known.then(|| catalog.turnover.get(&flow).copied().unwrap_or_default())
    }

    /// How many records of a part of the queue there are, as [`Self::queued`] says of all of it.
    pub fn count(&self, flow: FlowId, within: Span) -> Result<Counts, JournalError> {
        let (spec, stretches) = {
            let catalog = self.shared.look();
            let Some(spec) = catalog.flows.get(&flow).cloned() else { return Ok(Counts::default()) };
            let cut = |span: Span| Span { until: span.until.into_iter().chain(within.until).min(), ..span };
            let kept = catalog.holes_of(flow).kept(within.from);
            let kept =
                kept.into_iter().map(cut).filter(|span| span.until.is_none_or(|until| until > span.from));
            let beyond = |seq| Beyond::of(&catalog, flow, seq);
            let stretches: Vec<_> = kept.map(|span| (beyond(span.from), span.until.map(beyond))).collect();
            (spec, stretches)
        };
        stretches.into_iter().try_fold(Counts::default(), |counts, (from, until)| {
            let all = self.exactly(from, &spec)?;
            let rest = until.map_or(Ok(Counts::default()), |until| self.exactly(until, &spec))?;
            Ok(counts.with(all.without(rest)))
        })
    }

    fn exactly(&self, beyond: Beyond, spec: &Arc<FlowSpec>) -> Result<Counts, JournalError> {
        let Beyond { after, mut counts, edge } = beyond;
        if let Some(part) = edge {
            let list = self.shared.list(&part, spec)?;
            let (all, beyond) = (count_marks(&list, Seq::ZERO), count_marks(&list, after));
            counts.records -= all.records - beyond.records;
            counts.bytes -= all.bytes - beyond.bytes;
            counts.oldest_at = beyond.oldest_at.or(counts.oldest_at);
        }
        Ok(counts)
    }

    /// The Seqs beyond `after`, rising and at most `limit`, of the flow's records whose old or new key has this
    /// hash; committed, whether or not yet durable. Two keys may share a hash: the caller compares the key.
    /// A truncation touches every key and is not found by any.
    pub fn find(
        &self,
        flow: FlowId,
        key: KeyHash,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Seq>, JournalError> {
        let (parts, newest, holes): (Vec<_>, Vec<Seq>, _) = {
            let catalog = self.shared.look();
            let holes = catalog.holes_of(flow);
            let newest = catalog.active.index.flows.get(&flow).map(|index| index.find(key, after));
            let committed = newest.into_iter().flatten().filter(|seq| *seq <= catalog.head).collect();
            (parts_beyond(&catalog, flow, after, &holes), committed, holes)
        };
        let mut found = Vec::new();
        for part in parts {
            if found.len() >= limit {
                break;
            }
            let here = part.find((&*self.shared.disk, &self.shared.filters), flow, key, after)?;
            found.extend(here.into_iter().filter(|seq| !holes.has(*seq)));
        }
        found.extend(newest.into_iter().filter(|seq| !holes.has(*seq)));
        found.truncate(limit);
        Ok(found)
    }

    /// The flow's durable records beyond `after`, rising. It ends with the record at which the limit is reached.
    pub fn scan(&self, flow: FlowId, after: Seq, limit: ReadLimit) -> Result<Vec<Record>, JournalError> {
        self.look_through(flow, after, limit, Behind::Durable)
    }

    fn look_through(
        &self,
        flow: FlowId,
        after: Seq,
        limit: ReadLimit,
        behind: Behind,
    ) -> Result<Vec<Record>, JournalError> {
        let (members, parts, end, active, after) = {
            let catalog = self.shared.look();
            let Some(spec) = catalog.flows.get(&flow).cloned() else { return Ok(Vec::new()) };
            let holes = catalog.holes_of(flow);
            let after = holes.over(after);
            let parts = parts_beyond(&catalog, flow, after, &holes);
            let members = Arc::new(members_of(&spec, after, holes));
            // Under the same lock as the parts: a segment that is sealed in between is in either.
            let (active, head) = match behind {
                Behind::Durable => (active_cursor(&catalog, &members, after.next()), catalog.durable.seq),
                Behind::Committed => {
                    (Some(cursor_to(&catalog, &members, after.next(), catalog.active.len)), catalog.head)
                }
            };
            let end = limit.through.min(head);
            (members, parts, end, active, after)
        };
        let mut found = Found { records: Vec::new(), bytes: 0, limit };
        for part in parts {
            if found.is_full() || part.base > end {
                break;
            }
            let cursor = part.cursor(&*self.shared.disk, Arc::clone(&members), after.next())?;
            found.collect(cursor, end)?;
        }
        if !found.is_full()
            && let Some((mut cursor, relations)) = active
        {
            cursor.learn(&relations)?;
            found.collect(cursor, end)?;
        }
        Ok(found.records)
    }

    /// One record of the flow, if it has that Seq and is durable.
    pub fn read(&self, flow: FlowId, seq: Seq) -> Result<Option<Record>, JournalError> {
        let after = Seq(seq.0.saturating_sub(1));
        Ok(self.scan(flow, after, ReadLimit { records: 1, bytes: u64::MAX, through: seq })?.pop())
    }

    /// The same of one that is committed, whether or not it is durable yet. It is what [`Records::find`] has found.
    pub fn read_committed(&self, flow: FlowId, seq: Seq) -> Result<Option<Record>, JournalError> {
        let after = Seq(seq.0.saturating_sub(1));
        let limit = ReadLimit { records: 1, bytes: u64::MAX, through: seq };
        Ok(self.look_through(flow, after, limit, Behind::Committed)?.pop())
    }

    /// Bytes that the journal and its shelves take on disk, sidecars not counted.
    pub fn bytes_on_disk(&self) -> u64 {
        let catalog = self.shared.look();
        let shelved = catalog.shelves.values().flat_map(|shelf| &shelf.segments);
        catalog.sealed.iter().chain(shelved).map(|segment| segment.len).sum::<u64>() + catalog.active.len
    }
}

pub(super) fn members_of(spec: &FlowSpec, after: Seq, holes: Arc<Holes>) -> Members {
    Members::new([(spec.table.clone(), spec.flow, Stretch::new(spec.span.after(after), holes))])
}

/// The sealed segments in which a flow has records beyond a Seq that were not dropped.
fn parts_beyond(catalog: &Catalog, flow: FlowId, after: Seq, holes: &Holes) -> Vec<Arc<Sealed>> {
    let entries = catalog.tallies.get(&flow).map(|tally| tally.entries.as_slice()).unwrap_or_default();
    let start = entries.partition_point(|entry| entry.last <= after);
    let rest = entries.iter().skip(start).filter(|entry| !holes.cover(entry.first, entry.last));
    rest.map(|entry| Arc::clone(&entry.part)).collect()
}

/// A flow's committed records beyond a Seq, dropped ones too: all that lie in one segment with it are counted as yet.
struct Beyond {
    after: Seq,
    counts: Counts,
    edge: Option<Arc<Sealed>>,
}

impl Beyond {
    fn of(catalog: &Catalog, flow: FlowId, after: Seq) -> Self {
        let marks = catalog.active.index.flows.get(&flow).map(|index| index.marks.as_slice());
        let marks = marks.unwrap_or_default();
        // The index knows the transaction that is open, too; nobody else does before its commit.
        let committed = marks.partition_point(|mark| mark.seq <= catalog.head);
        let mut counts = count_marks(marks.get(..committed).unwrap_or_default(), after);
        let tally = catalog.tallies.get(&flow);
        let Some((tally, entry)) = tally.and_then(|tally| Some((tally, tally.beyond(after)?))) else {
            return Self { after, counts, edge: None };
        };
        counts.records += tally.records - entry.records_before;
        counts.bytes += tally.bytes - entry.bytes_before;
        counts.oldest_at = Some(entry.oldest_at);
        let edge = (entry.first <= after).then(|| Arc::clone(&entry.part));
        Self { after, counts, edge }
    }
}

/// A cursor over the durable part of the segment that is being written, and the relations it must learn.
pub(super) fn active_cursor(
    catalog: &Catalog,
    members: &Arc<Members>,
    seq: Seq,
) -> Option<(SegmentCursor, Vec<u64>)> {
    let active = catalog.durable.number == catalog.active.number;
    active.then(|| cursor_to(catalog, members, seq, catalog.durable.offset))
}

fn cursor_to(catalog: &Catalog, members: &Arc<Members>, seq: Seq, end: u64) -> (SegmentCursor, Vec<u64>) {
    let Active { path, file, seed, header_len, index, .. } = &catalog.active;
    let start = seek(&index.seek, seq).unwrap_or(*header_len);
    let frames = Frames::new(Arc::clone(file), Arc::clone(path), *seed, start.min(end), end);
    let relations = index.relations.iter().copied().filter(|offset| *offset < start).collect();
    (SegmentCursor::new(frames, Arc::clone(members)), relations)
}

/// How much of the log is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Durable,
    Committed,
}

/// What a scan has found, up to its limit.
struct Found {
    records: Vec<Record>,
    bytes: u64,
    limit: ReadLimit,
}

impl Found {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit.records || self.bytes >= self.limit.bytes
    }

    fn collect(&mut self, mut cursor: SegmentCursor, end: Seq) -> Result<(), JournalError> {
        while !self.is_full()
            && let Some(group) = cursor.next_group()?
        {
            // What lies behind may be a transaction that has no end yet.
            if group.found.first().is_some_and(|found| found.seq > end) {
                return Ok(());
            }
            let records = read_group(&mut cursor, &group, Seq::ZERO)?;
            for record in records.into_iter().filter(|record| record.seq <= end) {
                if self.is_full() {
                    return Ok(());
                }
                self.bytes = self.bytes.saturating_add(u64::from(record.bytes));
                self.records.push(record);
            }
            if group.end >= end {
                return Ok(());
            }
        }
        Ok(())
    }
}
