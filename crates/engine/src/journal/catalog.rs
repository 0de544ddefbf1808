//! What appender, readers and housekeeping know together: segments, shelves, counts, how far is durable.

use super::filter::FilterBudget;
use super::index::SegmentIndex;
use super::segment::Sealed;
use super::shelf::Shelf;
use super::sync::{Health, Settled};
use super::turnover::Turnover;
use super::{Counts, FlowId, FlowSpec, Holes, Identity, JournalError, Settings, Span};
use crate::disk::{Disk, DiskFile};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tandem_core::{Seq, WallTime};

/// At most so many lists of records stay in memory for counting.
const LISTS_KEPT: usize = 64;

type List = Arc<Vec<super::index::RecordMark>>;

/// Everything that is shared. Locks are held for look-ups and never during a call of the disk, but for
/// `housekeeping`, which keeps shelving and reclaiming from meeting each other.
#[derive(Debug)]
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub dir: String,
    pub identity: Identity,
    pub settings: Settings,
    pub health: Health,
    pub housekeeping: Mutex<()>,
    pub filters: FilterBudget,
    catalog: RwLock<Catalog>,
    lists: Mutex<HashMap<(FlowId, Arc<str>), List>>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: Identity,
        settings: Settings,
        catalog: Catalog,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            identity,
            settings,
            health: Health::default(),
            housekeeping: Mutex::new(()),
            filters: FilterBudget::default(),
            catalog: RwLock::new(catalog),
            lists: Mutex::default(),
        }
    }

    pub(crate) fn look(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of a flow in a sealed segment; kept for the next one who asks.
    pub(crate) fn list(&self, part: &Sealed, spec: &Arc<FlowSpec>) -> Result<List, JournalError> {
        let key = (spec.flow, Arc::clone(&part.path));
        let lists = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lists().get(&key) {
            return Ok(Arc::clone(found));
        }
        let list = Arc::new(part.list(&*self.disk, spec)?);
        let mut lists = lists();
        if lists.len() >= LISTS_KEPT {
            lists.clear();
        }
        lists.insert(key, Arc::clone(&list));
        Ok(list)
    }

    pub(crate) fn forget_lists(&self) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub number: u64,
    pub base: Seq,
    pub path: Arc<str>,
    pub file: Arc<dyn DiskFile>,
    pub seed: u32,
    pub header_len: u64,
    /// Length of the file as far as it was written.
    pub len: u64,
    pub index: SegmentIndex,
}

/// The shared knowledge itself.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub flows: HashMap<FlowId, Arc<FlowSpec>>,
    /// What was dropped of them; a flow that is not in here has no holes.
    pub holes: HashMap<FlowId, Arc<Holes>>,
    /// Rising; without holes.
    pub sealed: Vec<Arc<Sealed>>,
    pub active: Active,
    /// The last committed Seq that was appended.
    pub head: Seq,
    pub durable: Settled,
    pub shelves: HashMap<FlowId, Shelf>,
    pub tallies: HashMap<FlowId, Tally>,
    /// What came in and what was dropped of each flow since the journal was opened.
    pub turnover: HashMap<FlowId, Turnover>,
}

impl Catalog {
    /// The oldest Seq that the log itself still has (or will have next).
    pub(crate) fn oldest(&self) -> Seq {
        self.sealed.first().map_or(self.active.base, |segment| segment.base)
    }

    /// The sealed segment that has `seq`.
    pub(crate) fn holding(&self, seq: Seq) -> Option<&Arc<Sealed>> {
        let at = self.sealed.partition_point(|segment| segment.last < seq);
        self.sealed.get(at).filter(|segment| segment.base <= seq)
    }

    /// All sealed segments in which the flow's records are: its shelf, where the log has been reclaimed, and
    /// the log. Rising, and none twice.
    pub(crate) fn parts(&self, flow: FlowId) -> Vec<Arc<Sealed>> {
        let oldest = self.oldest();
        let shelf = self.shelves.get(&flow).map(|shelf| shelf.segments.as_slice()).unwrap_or_default();
        let shelved = shelf.iter().filter(|segment| segment.last < oldest);
        shelved.chain(&self.sealed).cloned().collect()
    }

    /// What was dropped of a flow.
    pub(crate) fn holes_of(&self, flow: FlowId) -> Arc<Holes> {
        self.holes.get(&flow).map(Arc::clone).unwrap_or_default()
    }

    /// From which Seq on everything of the flow is kept that was not dropped: records beyond it can be read.
    pub(crate) fn kept_from(&self, flow: FlowId) -> Seq {
        let holes = self.holes_of(flow);
        let log = holes.back_over(Seq(self.oldest().0.saturating_sub(1)));
        // Beyond its end a flow has nothing either.
        let until = self.flows.get(&flow).and_then(|spec| spec.span.until);
        let log = until.map_or(log, |until| log.min(until));
        let shelf = self.shelves.get(&flow).filter(|shelf| shelf.through >= log);
        let kept = shelf.map_or(log, |shelf| holes.back_over(shelf.from).min(log));
        // Of what lies before its own beginning a flow has nothing, so that nothing of it is missing.
        match self.flows.get(&flow) {
            Some(spec) if spec.span.from >= kept => Seq::ZERO,
            _ => kept,
        }
    }

    /// Whether a flow is as it is known, but for an end behind everything that the active segment has of it.
    pub(crate) fn only_ended(&self, spec: &FlowSpec) -> bool {
        let (Some(known), Some(until)) = (self.flows.get(&spec.flow), spec.span.until) else { return false };
        let open = FlowSpec { span: Span::beyond(spec.span.from), ..spec.clone() };
        let marks = self.active.index.flows.get(&spec.flow).map(|index| index.marks.last());
        **known == open && marks.is_some_and(|last| last.is_none_or(|last| last.seq <= until))
    }

    pub(crate) fn count_again(&mut self, flow: FlowId) {
        let tally = Tally::of(flow, self.parts(flow));
        self.tallies.insert(flow, tally);
    }
}

/// A flow's counts over sealed segments.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub entries: Vec<TallyEntry>,
    pub records: u64,
    pub bytes: u64,
}

/// What a flow has in one sealed segment, and what it has before it.
#[derive(Debug)]
pub(crate) struct TallyEntry {
    pub part: Arc<Sealed>,
    pub first: Seq,
    pub last: Seq,
    pub oldest_at: WallTime,
    pub records_before: u64,
    pub bytes_before: u64,
}

impl Tally {
    pub(crate) fn of(flow: FlowId, parts: Vec<Arc<Sealed>>) -> Self {
        let mut tally = Tally::default();
        parts.into_iter().for_each(|part| tally.push(flow, part));
        tally
    }

    pub(crate) fn push(&mut self, flow: FlowId, part: Arc<Sealed>) {
        let Some(has) = part.flow(flow) else { return };
        self.entries.push(TallyEntry {
            part,
            first: has.first,
            last: has.last,
            oldest_at: has.oldest_at,
            records_before: self.records,
            bytes_before: self.bytes,
        });
        self.records += has.records;
        self.bytes += has.bytes;
    }

    /// The first entry with records beyond `after`.
    pub(crate) fn beyond(&self, after: Seq) -> Option<&TallyEntry> {
        self.entries.get(self.entries.partition_point(|entry| entry.last <= after))
    }
}

/// Counts of the marks beyond `after`.
pub(crate) fn count_marks(marks: &[super::index::RecordMark], after: Seq) -> Counts {
    let at = marks.partition_point(|mark| mark.seq <= after);
    let before = at.checked_sub(1).and_then(|at| marks.get(at)).map_or(0, |mark| mark.through);
    Counts {
        records: (marks.len() - at) as u64,
        bytes: marks.last().map_or(0, |mark| mark.through) - before,
        oldest_at: marks.get(at).map(|mark| mark.captured_at),
    }
}
