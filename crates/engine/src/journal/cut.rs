//! Where a queue is to be cut in two: by bytes, or by when its records were captured.
//!
//! Found from the footers of segments and the lists in some of their sidecars, however long the queue is; records are
//! read only around the cut, to move it to an end of a source transaction. One that reaches further than
//! [`WHOLE_WITHIN`] is cut through: who chose to lose some records is neither to lose any number of them nor to keep
//! all.

use super::catalog::TallyEntry;
use super::index::RecordMark;
use super::reader::ReadLimit;
use super::records::Records;
use super::segment::Sealed;
use super::{FlowId, JournalError, Record};
use std::sync::Arc;
use tandem_core::{Seq, WallTime};

/// A cut is moved over at most so many records to an end of a source transaction …
const WHOLE_WITHIN: usize = 10_000;
/// … and over at most so many bytes of them.
const WHOLE_WITHIN_BYTES: u64 = 4 << 20;

/// What is to lie in front of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At least so many bytes of records, and no more than is needed for it.
    AtLeast(u64),
    /// At most so many bytes of records.
    AtMost(u64),
    /// What was captured at this moment or before.
    CapturedBy(WallTime),
}

impl Records {
    /// Cuts what a flow has queued beyond `after`: the Seq at or below which everything lies in front of the cut. Is
    /// durable, and the end of a source transaction if there is one within reach. `None` if all of the queue lies in
    /// front.
    pub fn cut(&self, flow: FlowId, after: Seq, cut: Cut) -> Result<Option<Seq>, JournalError> {
        let durable = self.durable();
        let found = self.first_behind(flow, after, cut)?.filter(|found| found.seq <= durable);
        let Some(Found { seq, last_in_front }) = found else { return Ok(None) };
        match cut {
            Cut::AtMost(_) => self.before_transaction(flow, after, seq).map(Some),
            Cut::AtLeast(_) | Cut::CapturedBy(_) if last_in_front <= after => Ok(Some(after)),
            Cut::AtLeast(_) | Cut::CapturedBy(_) => self.end_of_transaction(flow, last_in_front).map(Some),
        }
    }

    /// The first committed record behind a cut.
    fn first_behind(&self, flow: FlowId, after: Seq, cut: Cut) -> Result<Option<Found>, JournalError> {
        let (spec, holes, parts, newest) = {
            let catalog = self.shared.look();
            let Some(spec) = catalog.flows.get(&flow).cloned() else { return Ok(None) };
            let marks = catalog.active.index.flows.get(&flow).map(|index| index.marks.as_slice());
            let marks = marks.unwrap_or_default();
            let committed = marks.partition_point(|mark| mark.seq <= catalog.head);
            let newest = marks.get(..committed).unwrap_or_default().to_vec();
            let (entries, bytes) = match catalog.tallies.get(&flow) {
                Some(tally) => (tally.entries.as_slice(), tally.bytes),
                None => (Default::default(), 0),
            };
            let ends = entries.iter().skip(1).map(|next| (next.bytes_before, Some(next.oldest_at)));
            let ends = ends.chain([(bytes, newest.first().map(|mark| mark.captured_at))]);
            let parts: Vec<Part> = entries.iter().zip(ends).map(Part::of).collect();
            (spec, catalog.holes_of(flow), parts, newest)
        };
        let is_queued = |mark: &RecordMark| mark.seq > after && !holes.has(mark.seq);
        let mut cutter = Cutter { cut, bytes: 0, last_in_front: after };
        for part in parts.iter().filter(|part| part.last > after && !holes.cover(part.first, part.last)) {
            let is_whole = part.first > after && !holes.meet(part.first, part.last);
            if is_whole && cutter.pass(part) {
                continue;
            }
            let list = self.shared.list(&part.sealed, &spec)?;
            if let Some(found) = cutter.look_through(&list, is_queued) {
                return Ok(Some(found));
            }
        }
        Ok(cutter.look_through(&newest, is_queued))
    }

    /// The last Seq before the source transaction of a record, if that begins beyond `after` and within reach; else
    /// the last one before the record.
    fn before_transaction(&self, flow: FlowId, after: Seq, seq: Seq) -> Result<Seq, JournalError> {
        let before = |seq: Seq| Seq(seq.0.saturating_sub(1)).max(after);
        let begins = self.read(flow, seq)?.map(|record| record.transaction);
        let in_reach = |begins: &Seq| *begins > after && seq.0 - begins.0 <= WHOLE_WITHIN as u64;
        Ok(before(begins.filter(in_reach).unwrap_or(seq)))
    }

    /// The flow's last record in the source transaction of a record, if that is within reach; else the record itself.
    fn end_of_transaction(&self, flow: FlowId, seq: Seq) -> Result<Seq, JournalError> {
        let Some(record) = self.read(flow, seq)? else { return Ok(seq) };
        let through = Seq(u64::MAX);
        let reach = ReadLimit { records: WHOLE_WITHIN, bytes: WHOLE_WITHIN_BYTES, through };
        let next = self.scan(flow, seq, reach)?;
        let bytes: u64 = next.iter().map(|next| u64::from(next.bytes)).sum();
        let same = |next: &&Record| next.transaction == record.transaction;
        let rest = next.iter().take_while(same).count();
        let out_of_reach = rest == next.len() && (rest >= WHOLE_WITHIN || bytes >= WHOLE_WITHIN_BYTES);
        let end = rest.checked_sub(1).and_then(|last| next.get(last)).map_or(seq, |last| last.seq);
        Ok(if out_of_reach { seq } else { end })
    }
}

/// What a flow has in one sealed segment.
struct Part {
    sealed: Arc<Sealed>,
    first: Seq,
    last: Seq,
    bytes: u64,
    /// When the record was captured that follows, if one does.
    next_at: Option<WallTime>,
}

impl Part {
    fn of((entry, (end, next_at)): (&TallyEntry, (u64, Option<WallTime>))) -> Self {
        let (first, last) = (entry.first, entry.last);
        Self { sealed: Arc::clone(&entry.part), first, last, bytes: end - entry.bytes_before, next_at }
    }
}

/// The first record behind a cut, and the one before it.
struct Found {
    seq: Seq,
    last_in_front: Seq,
}

/// Goes over records until the cut.
struct Cutter {
    cut: Cut,
    /// Bytes of the records in front.
    bytes: u64,
    last_in_front: Seq,
}

impl Cutter {
    /// Goes over all records of a segment if they lie in front of the cut.
    fn pass(&mut self, part: &Part) -> bool {
        let bytes = self.bytes + part.bytes;
        let in_front = match self.cut {
            Cut::AtLeast(wanted) => bytes < wanted,
            Cut::AtMost(most) => bytes <= most,
            Cut::CapturedBy(at) => part.next_at.is_some_and(|next| next <= at),
        };
        if in_front {
            (self.bytes, self.last_in_front) = (bytes, part.last);
        }
        in_front
    }

    fn look_through(
        &mut self,
        marks: &[RecordMark],
        is_queued: impl Fn(&RecordMark) -> bool,
    ) -> Option<Found> {
        let mut through = 0;
        for mark in marks {
            let own = mark.through - through;
            through = mark.through;
            if !is_queued(mark) {
                continue;
            }
            let in_front = match self.cut {
                Cut::AtLeast(wanted) => self.bytes < wanted,
                Cut::AtMost(most) => self.bytes + own <= most,
                Cut::CapturedBy(at) => mark.captured_at <= at,
            };
            if !in_front {
                return Some(Found { seq: mark.seq, last_in_front: self.last_in_front });
            }
            self.bytes += own;
            self.last_in_front = mark.seq;
        }
        None
    }
}
