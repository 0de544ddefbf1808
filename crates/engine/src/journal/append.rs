//! The one who appends, and whom everybody else asks how far the log goes.

use super::catalog::{Catalog, Shared};
use super::format::FRAME_MAX;
use super::frames::Draft;
use super::index::SegmentIndex;
use super::records::Records;
use super::recover;
use super::relations::RelationBook;
use super::segment::{Sealed, scan};
use super::sync::{Durable, Settled, Synced, Ticket};
use super::turnover::Arrivals;
use super::{FlowId, FlowSpec, Holes, Identity, JournalError, Settings};
use crate::disk::{Disk, DiskFile};
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{BarrierId, Entry, Fragment, Position, Relation, Seq, Stamp, WallTime};

/// One stream's journal: the one who appends. See the [module](super).
#[derive(Debug)]
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    records: Records,
    mark: Arc<dyn DiskFile>,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: Arc<str>,
    pub(super) number: u64,
    pub(super) base: Seq,
    pub(super) header_len: u64,
    pub(super) seed: u32,
    pub(super) flows: Vec<Arc<FlowSpec>>,
    pub(super) tail: Tail,
    pub(super) draft: Draft,
    pub(super) arrivals: Arrivals,
    pub(super) book: RelationBook,
    /// Barriers since the journal was opened: there is one for each map that was run.
    pub(super) barriers: HashMap<BarrierId, Seq>,
}

/// How far the log is written.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    /// Where what is written ends.
    pub len: u64,
    /// The file's length: behind what is written there are zeros.
    pub filled: u64,
    /// Where the last frame ends behind which no transaction is open.
    pub settled_len: u64,
    /// The Seq that comes next.
    pub next: Seq,
    /// The last committed Seq, and where capture resumes behind it.
    pub committed: Seq,
    pub position: Option<Position>,
    /// The first Seq of the transaction that is open.
    pub open: Option<Seq>,
    /// How much of the file was known to be durable last.
    pub durable_len: u64,
}

/// What recovery hands over.
pub(super) struct Opened {
    pub catalog: Catalog,
    pub mark: Arc<dyn DiskFile>,
    pub tail: Tail,
    pub relations: Vec<(u32, Arc<Relation>)>,
}

impl Journal {
    /// Opens the journal in a folder, or begins one. Recovers: finds how far the last segment goes, cuts what a
    /// crash left behind it, and makes the rest durable. Refuses the journal of another data folder or stream,
    /// and one whose acknowledged bytes are damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: Identity,
        settings: Settings,
    ) -> Result<Self, JournalError> {
        let Opened { catalog, mark, tail, relations } = recover::open(&disk, dir, &identity)?;
        let active = &catalog.active;
        let (file, path) = (Arc::clone(&active.file), Arc::clone(&active.path));
        let (number, base, header_len, seed) = (active.number, active.base, active.header_len, active.seed);
        let shared = Arc::new(Shared::new(disk, dir, identity, settings, catalog));
        let book = RelationBook::recovered(relations);
        let records = Records::new(Arc::clone(&shared));
        Ok(Self {
            shared,
            records,
            mark,
            file,
            path,
            number,
            base,
            header_len,
            seed,
            flows: Vec::new(),
            tail,
            draft: Draft::default(),
            arrivals: Arrivals::default(),
            book,
            barriers: HashMap::new(),
        })
    }

    /// Says who is counted and indexed from now on; the whole list, each time it changes. A flow that was there
    /// and is not in the list is no longer counted; its shelf stays until [`Journal::drop_flow`].
    pub fn set_flows(&mut self, flows: Vec<FlowSpec>) -> Result<(), JournalError> {
        self.shared.health.check("set flows")?;
        self.flows = flows.into_iter().map(Arc::new).collect();
        self.book.route_again(&self.flows);
        let (sealed, ended, fresh) = {
            let catalog = self.shared.look();
            let known = |spec: &&Arc<FlowSpec>| catalog.flows.get(&spec.flow) != Some(spec);
            let fresh = self.flows.iter().filter(known).cloned();
            // A flow that has ended behind its last record is indexed as it was: a queue that is skipped may be large.
            let (ended, fresh): (Vec<_>, Vec<_>) = fresh.partition(|spec| catalog.only_ended(spec));
            let shelved = catalog.shelves.values().flat_map(|shelf| &shelf.segments);
            (catalog.sealed.iter().chain(shelved).cloned().collect::<Vec<_>>(), ended, fresh)
        };
        for segment in &sealed {
            segment.ensure(&*self.shared.disk, &self.flows_of(segment))?;
        }
        // What the log has of the new flows since the last roll, in its open transaction too.
        let mut index = SegmentIndex::of(fresh.iter().cloned());
        let begins_here = |spec: &Arc<FlowSpec>| spec.span.from.next() >= self.tail.next;
        let range = (self.header_len, self.tail.len);
        if !fresh.iter().all(begins_here) {
            scan(&self.file, &self.path, self.seed, range, &mut index, |_, _| {})?;
        }
        self.arrivals.learn(&index, self.tail.committed);
        let mut catalog = self.shared.change();
        catalog.flows = self.flows.iter().map(|spec| (spec.flow, Arc::clone(spec))).collect();
        catalog.active.index.flows.retain(|flow, _| self.flows.iter().any(|spec| spec.flow == *flow));
        catalog.active.index.flows.extend(index.flows);
        for spec in ended {
            if let Some(index) = catalog.active.index.flows.get_mut(&spec.flow) {
                index.spec = spec;
            }
        }
        catalog.tallies.clear();
        self.flows.iter().for_each(|spec| catalog.count_again(spec.flow));
        drop(catalog);
        self.shared.forget_lists();
        Ok(())
    }

    /// Says what was dropped of a flow; all of it, each time that it changes. Kept by the one who calls: a journal that
    /// is opened again is told again, before anybody reads it.
    pub fn set_holes(&mut self, flow: FlowId, holes: Holes) {
        let left = || self.records.queued(flow, Seq::ZERO).map(|counts| counts.records);
        let before = left();
        let mut catalog = self.shared.change();
        if holes.is_empty() {
            catalog.holes.remove(&flow);
        } else {
            catalog.holes.insert(flow, Arc::new(holes));
        }
        drop(catalog);
        if let (Ok(before), Ok(after)) = (before, left()) {
            let dropped = before.saturating_sub(after);
            self.shared.change().turnover.entry(flow).or_default().dropped += dropped;
        }
    }

    /// The flows that a sealed segment must know: of a shelf, its own.
    fn flows_of(&self, segment: &Sealed) -> Vec<Arc<FlowSpec>> {
        let shelf = super::shelf::flow_of(&segment.path);
        self.flows.iter().filter(|spec| shelf.is_none_or(|flow| flow == spec.flow)).cloned().collect()
    }

    /// The Seq that the next entry is given.
    pub fn next_seq(&self) -> Seq {
        self.tail.next
    }

    /// Appends pieces of transactions, in order, and gives each entry its Seq. Not durable before a
    /// [`Ticket`] taken afterwards is back. A transaction that is still open at the end is continued by the next
    /// call, and is invisible to everybody until its commit is durable.
    pub fn append(&mut self, fragments: &[Fragment], captured_at: WallTime) -> Result<(), JournalError> {
        self.append_stamped(fragments, &[], captured_at)
    }

    /// The same, with what the changes knew of the other side: a list for each fragment, with a place for each of its
    /// entries. Where there is none, the changes have none.
    pub fn append_stamped(
        &mut self,
        fragments: &[Fragment],
        stamps: &[Vec<Option<Stamp>>],
        captured_at: WallTime,
    ) -> Result<(), JournalError> {
        self.shared.health.check("append")?;
        let mut sizes = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            sizes.push(size_of(fragment)?);
        }
        let stamps = stamps.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        for ((fragment, size), stamps) in fragments.iter().zip(sizes).zip(stamps) {
            self.fragment(fragment, stamps, size, captured_at)?;
            if self.draft.len() >= self.shared.settings.write_bytes() {
                self.write()?;
            }
            if self.tail.open.is_none()
                && self.tail.len + self.draft.len() as u64 >= self.shared.settings.segment_bytes
            {
                self.roll()?;
            }
        }
        self.write()
    }

    /// Notes that the source's log went on with nothing for us: capture may resume behind `position`. Has no
    /// Seq. Not to be called while a transaction is open.
    pub fn append_idle(&mut self, position: Position) -> Result<(), JournalError> {
        self.shared.health.check("append")?;
        if self.tail.open.is_some() {
            return Err(JournalError::misuse("append idle", "a transaction is open"));
        }
        self.idle(position);
        self.write()
    }

    /// Where a barrier is that was appended since the journal was opened.
    pub fn barrier(&self, barrier: BarrierId) -> Option<Seq> {
        self.barriers.get(&barrier).copied()
    }

    /// Takes back what was appended of a transaction that is still open: its source has broken off, and will
    /// deliver it again from its start.
    pub fn abandon_open(&mut self) -> Result<(), JournalError> {
        self.shared.health.check("abandon")?;
        let Some(first) = self.tail.open.take() else { return Ok(()) };
        let settled = self.tail.settled_len;
        let cut = self.file.truncate(settled);
        self.shared.health.watch(cut.map_err(|error| JournalError::io("cut", &self.path, &error)))?;
        // What was cut must not come back under what is written in its place.
        self.shared.health.sync(&*self.file, &self.path)?;
        self.tail.next = first;
        self.arrivals.abandon();
        (self.tail.len, self.tail.filled) = (settled, settled);
        self.draft = Draft::default();
        self.book.forget_from(self.book.settled);
        self.barriers.retain(|_, seq| *seq < first);
        // Records were noted as they were written, those of the cut part too: note the others again.
        let mut index = SegmentIndex::of(self.flows.iter().cloned());
        scan(&self.file, &self.path, self.seed, (self.header_len, settled), &mut index, |_, _| {})?;
        let mut catalog = self.shared.change();
        catalog.active.len = settled;
        catalog.active.index.forget_from(settled);
        catalog.active.index.flows = index.flows;
        drop(catalog);
        self.shared.forget_lists();
        Ok(())
    }

    /// Takes the right to make durable what has been appended.
    pub fn sync_ticket(&self) -> Ticket {
        Ticket {
            shared: Arc::clone(&self.shared),
            file: Arc::clone(&self.file),
            path: Arc::clone(&self.path),
            place: Settled {
                number: self.number,
                offset: self.tail.settled_len,
                seq: self.tail.committed,
                position: self.tail.position.clone(),
            },
            needed: self.tail.settled_len > self.tail.durable_len,
        }
    }

    /// Takes note of a sync. What it returns may be acknowledged; an error means that nothing may be.
    pub fn synced(&mut self, synced: Synced) -> Result<Durable, JournalError> {
        synced.outcome?;
        self.shared.health.check("sync")?;
        self.settle(synced.place)?;
        Ok(self.durable_now())
    }

    /// Whether a write or a sync has failed: nothing more becomes durable until it is opened again.
    pub fn has_failed(&self) -> bool {
        self.shared.health.has_failed()
    }

    /// Appends nothing and returns when everything is durable: ticket, sync and note in one.
    pub fn sync(&mut self) -> Result<Durable, JournalError> {
        let ticket = self.sync_ticket();
        self.synced(ticket.sync())
    }

    /// How far it is durable.
    pub fn durable_now(&self) -> Durable {
        let catalog = self.shared.look();
        Durable { seq: catalog.durable.seq, position: catalog.durable.position.clone() }
    }

    /// Everything that looks at the records, for any thread.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Counts the flow no more.
    pub(super) fn forget_flow(&mut self, flow: FlowId) {
        self.flows.retain(|spec| spec.flow != flow);
        self.book.route_again(&self.flows);
    }

    pub(super) fn settle(&mut self, place: Settled) -> Result<(), JournalError> {
        let mut catalog = self.shared.change();
        let known = (catalog.durable.number, catalog.durable.offset);
        if (place.number, place.offset) <= known {
            return Ok(());
        }
        if place.number == self.number {
            self.tail.durable_len = place.offset;
        }
        let mark = recover::mark(&self.shared.identity, place.number, place.offset);
        catalog.durable = place;
        drop(catalog);
        // Written and not synced: it outlives the process, which is when most journals are opened again, and
        // after a power cut it is at worst older than the truth.
        let written = self.mark.write_at(0, &mark);
        let path = recover::mark_path(&self.shared.dir);
        self.shared.health.watch(written.map_err(|error| JournalError::io("write", &path, &error)))
    }
}

/// How much a fragment takes, about; or that a part of it is too much.
fn size_of(fragment: &Fragment) -> Result<usize, JournalError> {
    let mut size = 0usize;
    for entry in &fragment.entries {
        let Entry::Change(change) = entry else { continue };
        let rows = [change.op.old_row(), change.op.new_row()];
        let cells: usize = rows.iter().flatten().map(|row| row.payload_len() + 6 * row.0.len() + 16).sum();
        if cells > FRAME_MAX / 2 {
            return Err(JournalError::too_large(cells));
        }
        size = size.saturating_add(cells);
    }
    Ok(size)
}
