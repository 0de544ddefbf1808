//! The one who appends: changes to frames to bytes, segments rolled at transaction boundaries.

use super::catalog::{Catalog, Shared};
use super::entry::{CommitNote, GroupHead, put_barrier, put_change, put_group, put_relation};
use super::format::{FRAME_HEADER, FRAME_MAX, FrameHeader, FrameKind};
use super::index::{Noted, Route, SegmentIndex, routes};
use super::records::Records;
use super::recover;
use super::segment::{Sealed, scan};
use super::sync::{Durable, Settled, Synced, Ticket};
use super::turnover::Arrivals;
use super::wire::{put_sized, put_zigzag};
use super::{FlowId, FlowSpec, Holes, Identity, JournalError, Settings};
use crate::disk::{Disk, DiskFile};
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{BarrierId, Entry, Fragment, Position, Relation, Seq, Stamp, WallTime};

/// So many relations are remembered by where they lie in memory, beside by what they are.
const KNOWN_PLACES: usize = 4096;

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
    draft: Draft,
    arrivals: Arrivals,
    pub(super) book: RelationBook,
    /// Barriers since the journal was opened: there is one for each map that was run.
    barriers: HashMap<BarrierId, Seq>,
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

/// What is gathered and not yet written.
#[derive(Debug, Default)]
struct Draft {
    out: Vec<u8>,
    /// Where the frame of whole transactions starts that is being filled, and its first Seq.
    whole: Option<(usize, Seq, WallTime)>,
    scratch: Vec<u8>,
    /// Records that wait for the write.
    noted: Vec<Noted>,
    seek: Vec<(Seq, u64)>,
    relations: Vec<u64>,
    ids: Vec<u32>,
}

/// The numbers of relations in this segment.
#[derive(Debug, Default)]
pub(super) struct RelationBook {
    by_place: HashMap<usize, (Arc<Relation>, u32)>,
    by_value: HashMap<Arc<Relation>, u32>,
    routes: Vec<Vec<Route>>,
    /// How many of them stand before the transaction that is open.
    settled: usize,
}

impl RelationBook {
    /// Forgets the relations from a number on: their frames are no more.
    fn forget_from(&mut self, number: usize) {
        self.routes.truncate(number);
        self.by_value.retain(|_, id| (*id as usize) < number);
        self.by_place.retain(|_, (_, id)| (*id as usize) < number);
    }

    fn find(&mut self, relation: &Arc<Relation>) -> Option<u32> {
        let place = Arc::as_ptr(relation) as usize;
        if let Some((_, id)) = self.by_place.get(&place) {
            return Some(*id);
        }
        let id = *self.by_value.get(relation)?;
        self.remember(relation, id);
        Some(id)
    }

    fn remember(&mut self, relation: &Arc<Relation>, id: u32) {
        if self.by_place.len() >= KNOWN_PLACES {
            self.by_place.clear();
        }
        // The entry keeps the relation alive, so that its place in memory names nothing else.
        self.by_place.insert(Arc::as_ptr(relation) as usize, (Arc::clone(relation), id));
    }

    fn add(&mut self, relation: &Arc<Relation>, flows: &[Arc<FlowSpec>]) -> u32 {
        let id = self.routes.len() as u32;
        self.routes.push(routes(flows, relation));
        self.by_value.insert(Arc::clone(relation), id);
        self.remember(relation, id);
        id
    }

    fn route_again(&mut self, flows: &[Arc<FlowSpec>]) {
        for (relation, id) in &self.by_value {
            if let Some(place) = self.routes.get_mut(*id as usize) {
                *place = routes(flows, relation);
            }
        }
    }
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
        let mut book = RelationBook::default();
        for (id, relation) in relations {
            book.by_value.insert(relation, id);
            let len = book.routes.len().max(id as usize + 1);
            book.routes.resize_with(len, Vec::new);
        }
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
            if self.draft.out.len() >= self.shared.settings.write_bytes() {
                self.write()?;
            }
            if self.tail.open.is_none()
                && self.tail.len + self.draft.out.len() as u64 >= self.shared.settings.segment_bytes
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
        self.close_whole();
        let start = self.begin_frame();
        put_sized(&mut self.draft.out, &position.0);
        self.tail.position = Some(position);
        self.end_frame(start, FrameKind::Idle, self.tail.next);
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

    fn fragment(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        size: usize,
        at: WallTime,
    ) -> Result<(), JournalError> {
        self.learn(fragment);
        let frame_bytes = self.shared.settings.frame_bytes;
        let commit =
            fragment.commit.as_ref().map(|commit| Arc::new(CommitNote::of(commit, fragment.mark.as_ref())));
        match commit {
            Some(commit) if self.tail.open.is_none() && size <= frame_bytes => {
                self.whole(fragment, stamps, commit, at);
                if self.draft.whole.is_some_and(|(start, ..)| self.draft.out.len() - start >= frame_bytes) {
                    self.close_whole();
                }
                Ok(())
            }
            None if fragment.entries.is_empty() => Ok(()),
            commit => self.pieces(fragment, stamps, commit, at),
        }
    }

    /// Sees to it that each relation of the fragment stands in this segment, and notes their numbers.
    fn learn(&mut self, fragment: &Fragment) {
        self.draft.ids.clear();
        for entry in &fragment.entries {
            let Entry::Change(change) = entry else { continue };
            let id = match self.book.find(&change.relation) {
                Some(id) => id,
                None => {
                    self.close_whole();
                    let id = self.book.add(&change.relation, &self.flows);
                    let start = self.begin_frame();
                    put_relation(&mut self.draft.out, id, &change.relation);
                    self.draft.relations.push(self.tail.len + start as u64);
                    self.end_frame(start, FrameKind::Relation, self.tail.next);
                    id
                }
            };
            self.draft.ids.push(id);
        }
    }

    /// A transaction that is small and whole goes into the frame of such.
    fn whole(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        commit: Arc<CommitNote>,
        at: WallTime,
    ) {
        let (_, _, frame_at) = match self.draft.whole {
            Some(whole) => whole,
            None => {
                let whole = (self.begin_frame(), self.tail.next, at);
                put_zigzag(&mut self.draft.out, at.0);
                self.draft.whole = Some(whole);
                whole
            }
        };
        let first = self.tail.next;
        let head = GroupHead {
            entries: fragment.entries.len(),
            transaction: first,
            captured_at: at,
            commit: Some(commit),
        };
        put_group(&mut self.draft.out, &head, first, frame_at);
        let mut out = std::mem::take(&mut self.draft.out);
        let mut ids = std::mem::take(&mut self.draft.ids).into_iter();
        for stamped in stamped(fragment, stamps) {
            self.entry(&mut out, stamped, &mut ids, at);
        }
        self.draft.out = out;
        self.commit(head.commit);
    }

    /// A transaction that is large or still open goes out in frames of its own.
    fn pieces(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        commit: Option<Arc<CommitNote>>,
        at: WallTime,
    ) -> Result<(), JournalError> {
        self.close_whole();
        let transaction = *self.tail.open.get_or_insert_with(|| {
            self.book.settled = self.book.routes.len();
            self.tail.next
        });
        let mut scratch = std::mem::take(&mut self.draft.scratch);
        let mut ids = std::mem::take(&mut self.draft.ids).into_iter();
        scratch.clear();
        let mut head = GroupHead { entries: 0, transaction, captured_at: at, commit: None };
        let mut first = self.tail.next;
        let mut rest = fragment.entries.len();
        for stamped in stamped(fragment, stamps) {
            self.entry(&mut scratch, stamped, &mut ids, at);
            head.entries += 1;
            rest -= 1;
            if scratch.len() >= self.shared.settings.frame_bytes && rest > 0 {
                self.piece(&head, first, &scratch, FrameKind::Piece);
                scratch.clear();
                (head.entries, first) = (0, self.tail.next);
                if self.draft.out.len() >= self.shared.settings.write_bytes() {
                    self.write()?;
                }
            }
        }
        let kind = if commit.is_some() { FrameKind::Last } else { FrameKind::Piece };
        head.commit = commit;
        if head.commit.is_some() {
            self.tail.open = None;
            self.commit(head.commit.clone());
        }
        self.piece(&head, first, &scratch, kind);
        self.draft.scratch = scratch;
        Ok(())
    }

    fn piece(&mut self, head: &GroupHead, first: Seq, entries: &[u8], kind: FrameKind) {
        let start = self.begin_frame();
        put_zigzag(&mut self.draft.out, head.captured_at.0);
        put_group(&mut self.draft.out, head, first, head.captured_at);
        self.draft.out.extend_from_slice(entries);
        self.end_frame(start, kind, first);
    }

    fn entry(
        &mut self,
        out: &mut Vec<u8>,
        (entry, stamp): (&Entry, Option<Stamp>),
        ids: &mut impl Iterator<Item = u32>,
        at: WallTime,
    ) {
        let (seq, before) = (self.tail.next, out.len());
        self.tail.next = seq.next();
        match entry {
            Entry::Barrier(barrier) => {
                self.barriers.entry(*barrier).or_insert(seq);
                put_barrier(out, *barrier);
            }
            Entry::Change(change) => {
                let id = ids.next().expect("each change's relation was numbered before");
                put_change(out, id, &change.op, stamp);
                let bytes = out.len() - before;
                let routes = self.book.routes.get(id as usize).into_iter().flatten();
                let counted = routes.filter(|route| route.span.has(seq));
                let known = self.draft.noted.len();
                self.draft.noted.extend(counted.map(|route| route.note(seq, bytes, at, &change.op)));
                self.arrivals.note(self.draft.noted.get(known..).unwrap_or_default());
            }
        }
    }

    fn commit(&mut self, commit: Option<Arc<CommitNote>>) {
        if let Some(commit) = commit {
            self.tail.position = Some(commit.position.clone());
            self.tail.committed = Seq(self.tail.next.0 - 1);
            self.arrivals.commit();
        }
    }

    fn begin_frame(&mut self) -> usize {
        let start = self.draft.out.len();
        self.draft.out.resize(start + FRAME_HEADER, 0);
        start
    }

    fn close_whole(&mut self) {
        if let Some((start, first, _)) = self.draft.whole.take() {
            self.end_frame(start, FrameKind::Whole, first);
        }
    }

    /// Puts the header before a frame that starts at `start` of what is gathered.
    fn end_frame(&mut self, start: usize, kind: FrameKind, first: Seq) {
        let offset = self.tail.len + start as u64;
        let payload = self.draft.out.get(start + FRAME_HEADER..).unwrap_or_default();
        let header = FrameHeader {
            kind,
            len: u32::try_from(payload.len()).expect("sizes are checked before anything is encoded"),
            crc: crc32c::crc32c(payload),
            first,
            count: (self.tail.next.0 - first.0) as u32,
            settled: self.tail.durable_len,
        };
        let bytes = header.encode(self.seed, offset);
        let place = self.draft.out.get_mut(start..start + FRAME_HEADER);
        place.expect("room was made when the frame began").copy_from_slice(&bytes);
        if kind.has_entries() {
            self.draft.seek.push((first, offset));
        }
        if self.tail.open.is_none() {
            self.tail.settled_len = self.tail.len + self.draft.out.len() as u64;
        }
    }

    /// Writes what is gathered, and lets everybody know what of it is committed.
    pub(super) fn write(&mut self) -> Result<(), JournalError> {
        self.close_whole();
        if self.draft.out.is_empty() {
            return Ok(());
        }
        let (len, behind) = (self.draft.out.len(), self.tail.len + self.draft.out.len() as u64);
        if behind > self.tail.filled {
            // Large groups pay for a longer file with few syncs anyway, and would pay for the zeros, too.
            let ahead = self.shared.settings.ahead_bytes;
            let ahead = if len < ahead / 8 { ahead } else { 0 };
            self.draft.out.resize(len + ahead, 0);
            self.tail.filled = behind + ahead as u64;
        }
        let written = self.file.write_at(self.tail.len, &self.draft.out);
        let written = written.map_err(|error| JournalError::io("append to", &self.path, &error));
        self.shared.health.watch(written)?;
        self.tail.len = behind;
        self.draft.out.clear();
        self.draft.out.shrink_to(4 * self.shared.settings.write_bytes());
        let mut catalog = self.shared.change();
        catalog.head = self.tail.committed;
        self.arrivals.tell(&mut catalog.turnover);
        catalog.active.len = self.tail.len;
        let index = &mut catalog.active.index;
        self.draft.seek.drain(..).for_each(|(first, offset)| index.note_frame(first, offset));
        index.relations.append(&mut self.draft.relations);
        self.draft.noted.drain(..).for_each(|noted| index.note(&noted));
        Ok(())
    }
}

/// The entries of a fragment, each with its stamp.
fn stamped<'a>(
    fragment: &'a Fragment,
    stamps: &'a [Option<Stamp>],
) -> impl Iterator<Item = (&'a Entry, Option<Stamp>)> {
    fragment.entries.iter().zip(stamps.iter().copied().chain(std::iter::repeat(None)))
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
