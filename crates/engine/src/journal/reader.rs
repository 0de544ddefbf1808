//! Reading forward: the records of a lane, in order, in pieces that the reader's owner can bear.

use super::catalog::{Catalog, Shared};
use super::cursor::{Group, Members, SegmentCursor};
use super::holes::Stretch;
use super::records::active_cursor;
use super::segment::Sealed;
use super::{FlowId, Holes, JournalError, Record, Span};
use std::collections::VecDeque;
use std::sync::Arc;
use tandem_core::{Position, Seq};

/// A piece without records ends at a transaction boundary behind about this many groups, so that a reader whose
/// flows are quiet still comes back to its owner.
const GROUPS_AT_ONCE: usize = 20_000;

/// How large a [`Piece`], or what a scan returns, may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records; at least one is read.
    pub records: usize,
    /// Bytes of the records, as [`Record::bytes`] counts them.
    pub bytes: u64,
    /// Nothing beyond this Seq; for a reader, the end of a transaction.
    pub through: Seq,
}

/// What [`Reader::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The members' records, rising by Seq; a change of two members is two records.
    pub records: Vec<Record>,
    /// Everything up to here has been looked at, and what of it is a member's has been handed out.
    pub through: Seq,
    /// What `through` is.
    pub end: PieceEnd,
}

/// What the end of a [`Piece`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceEnd {
    /// The end of a source transaction. The piece holds whole transactions, or the rest of one of which the
    /// pieces before were `Open`.
    Whole {
        /// The source's position behind that transaction; empty if nothing of it was read.
        position: Position,
    },
    /// The middle of a transaction that is larger than the limit; the next piece goes on with it. The piece
    /// holds records of this transaction alone.
    Open,
    /// Nothing more is durable. There are no records, and `through` is where the piece before ended.
    Head,
}

/// Reads the durable records of some flows. Independent of the one who appends: it sees what has become durable
/// since the last call. After an error it may be asked again.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    flows: Vec<(FlowId, Seq)>,
    /// No transaction is put together with others to more records than this.
    together: usize,
    members: Option<Arc<Members>>,
    through: Seq,
    /// Whether `through` is inside a transaction of which records were handed out.
    inside: bool,
    /// Whether the last group that was looked at left its transaction open. Its end may have no entries, and so
    /// no Seq of its own.
    open: bool,
    source: Option<Source>,
    pending: Option<Pending>,
}

/// A group, read and not handed out.
#[derive(Debug)]
struct Pending {
    records: VecDeque<Record>,
    end: Seq,
    /// Set if the group ends its transaction.
    position: Option<Position>,
}

impl Pending {
    fn bytes(&self) -> u64 {
        self.records.iter().map(|record| u64::from(record.bytes)).sum()
    }
}

#[derive(Debug)]
enum Source {
    /// A segment of the log; `sealed` if it was so when it was opened.
    Log { cursor: Box<SegmentCursor>, number: u64, sealed: Option<Seq> },
    /// Shelves, where the log has been reclaimed.
    Shelves(Merge),
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, flows: Vec<(FlowId, Seq)>, from: Seq) -> Self {
        Self {
            shared,
            flows,
            together: usize::MAX,
            members: None,
            through: from,
            inside: false,
            open: false,
            source: None,
            pending: None,
        }
    }

    /// From now on puts no transactions together to more records than this. One that has more is read as before.
    pub fn put_together(&mut self, records: usize) {
        self.together = records;
    }

    /// How far it has read.
    pub fn through(&self) -> Seq {
        self.through
    }

    /// The next piece; see [`Piece`]. Never waits.
    pub fn next(&mut self, limit: ReadLimit) -> Result<Piece, JournalError> {
        let before = (self.through, self.inside, self.open);
        self.gather(limit).inspect_err(|_| {
            // What was gathered is lost with the error: it is read again.
            (self.through, self.inside, self.open) = before;
            (self.source, self.pending) = (None, None);
        })
    }

    fn gather(&mut self, limit: ReadLimit) -> Result<Piece, JournalError> {
        let mut records: Vec<Record> = Vec::new();
        let (mut bytes, mut groups) = (0, 0);
        let mut boundary = None;
        let mut end = PieceEnd::Head;
        while let Some(mut group) = self.take_group()? {
            if group.end > limit.through {
                let beyond = group.records.front().is_none_or(|next| next.seq > limit.through);
                self.pending = Some(group);
                if records.is_empty() && !self.inside && beyond && self.through < limit.through {
                    // A shelf's next group may be far away: up to the limit there is nothing for the members.
                    self.through = limit.through;
                    boundary = boundary.or_else(|| Some(Position::default()));
                }
                break;
            }
            let fits = records.len() + group.records.len() <= limit.records.min(self.together)
                && bytes + group.bytes() <= limit.bytes;
            if boundary.is_some() && !records.is_empty() && (!fits || group.position.is_none()) {
                self.pending = Some(group);
                break;
            }
            while let Some(record) = group.records.front() {
                let full = records.len() >= limit.records || bytes + u64::from(record.bytes) > limit.bytes;
                if full && !records.is_empty() {
                    break;
                }
                bytes += u64::from(record.bytes);
                records.extend(group.records.pop_front());
            }
            // Two records of one change are not torn apart: a Seq is settled or it is not.
            while let Some(record) = group
                .records
                .pop_front_if(|next| records.last().is_some_and(|last: &Record| last.seq == next.seq))
            {
                bytes += u64::from(record.bytes);
                records.push(record);
            }
            if let Some(next) = group.records.front() {
                self.through = records.last().map_or(Seq(next.seq.0 - 1), |record| record.seq);
                self.pending = Some(group);
                self.inside = true;
                return Ok(Piece { records, through: self.through, end: PieceEnd::Open });
            }
            self.through = group.end;
            self.open = group.position.is_none();
            groups += 1;
            match group.position {
                Some(position) => {
                    let rest_of_one = std::mem::take(&mut self.inside);
                    boundary = Some(position);
                    if rest_of_one || groups >= GROUPS_AT_ONCE {
                        break;
                    }
                }
                None => {
                    boundary = None;
                    self.inside |= !records.is_empty();
                    if records.len() >= limit.records || bytes >= limit.bytes {
                        end = PieceEnd::Open;
                        break;
                    }
                }
            }
            if records.len() >= limit.records {
                break;
            }
        }
        if let Some(position) = boundary {
            end = PieceEnd::Whole { position };
        } else if !records.is_empty() {
            end = PieceEnd::Open;
        }
        Ok(Piece { records, through: self.through, end })
    }

    /// The next group of which something lies beyond `through`.
    fn take_group(&mut self) -> Result<Option<Pending>, JournalError> {
        if let Some(pending) = self.pending.take() {
            return Ok(Some(pending));
        }
        loop {
            if self.source.is_none() && !self.open_source()? {
                return Ok(None);
            }
            if let Some(passed) = self.pending.take() {
                return Ok(Some(passed));
            }
            let group = match self.source.as_mut() {
                Some(Source::Log { cursor, .. }) => next_of(cursor, (self.through, self.open))?,
                Some(Source::Shelves(merge)) => merge.next(&self.shared, (self.through, self.open))?,
                None => None,
            };
            if group.is_some() {
                return Ok(group);
            }
            if !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// At the end of what the source could give: is there more of it? `false` if nothing more is durable.
    fn go_on(&mut self) -> Result<bool, JournalError> {
        match self.source.as_mut() {
            Some(Source::Log { cursor, number, sealed: sealed @ None }) => {
                let catalog = self.shared.look();
                let at = catalog.sealed.partition_point(|segment| segment.number < *number);
                if let Some(segment) = catalog.sealed.get(at).filter(|segment| segment.number == *number) {
                    cursor.extend(segment.len);
                    *sealed = Some(segment.last);
                    return Ok(true);
                }
                if catalog.durable.number == *number {
                    cursor.extend(catalog.durable.offset);
                    return Ok(catalog.durable.seq > self.through);
                }
                // It was sealed and reclaimed since: look anew from where we are.
                drop(catalog);
                self.source = None;
                Ok(true)
            }
            Some(Source::Log { number, sealed: Some(last), .. }) if *last > self.through => {
                let what = format!("segment {number} ends at Seq {} and must end at {last}", self.through);
                Err(JournalError::corrupt(&super::recover::segment_path(&self.shared.dir, *number), 0, what))
            }
            Some(Source::Log { .. } | Source::Shelves(_)) | None => {
                self.source = None;
                Ok(true)
            }
        }
    }

    /// Where the hole ends that all flows have here, if they have one: what is in it may be reclaimed at any time.
    fn over_holes(&self, catalog: &Catalog) -> Option<Seq> {
        let over = |(flow, from): &(FlowId, Seq)| catalog.holes_of(*flow).over(self.through.max(*from));
        let end = self.flows.iter().map(over).min()?.min(catalog.durable.seq);
        let dropped = |(flow, _): &(FlowId, Seq)| !catalog.holes_of(*flow).is_empty();
        (end > self.through && self.flows.iter().any(dropped)).then_some(end)
    }

    /// Opens what holds the Seq behind `through`; `false` if that is not durable.
    fn open_source(&mut self) -> Result<bool, JournalError> {
        let shared = Arc::clone(&self.shared);
        let catalog = shared.look();
        let wanted = self.through.next();
        if wanted > catalog.durable.seq {
            return Ok(false);
        }
        let members = match &self.members {
            Some(members) => Arc::clone(members),
            None => Arc::clone(self.members.insert(Arc::new(select(&catalog, &self.flows)?))),
        };
        if let Some(end) = self.over_holes(&catalog) {
            let position = Some(Position::default());
            self.pending = Some(Pending { records: VecDeque::new(), end, position });
            return Ok(true);
        }
        let oldest = catalog.oldest();
        if wanted < oldest {
            let merge = Merge::new(&catalog, &self.flows, self.through)?;
            if merge.is_empty() {
                // No member has anything in there: the log goes on where it begins. Where the source was then is in
                // no segment any more.
                let (records, end) = (VecDeque::new(), Seq(oldest.0 - 1));
                self.pending = Some(Pending { records, end, position: Some(Position::default()) });
                return Ok(true);
            }
            self.source = Some(Source::Shelves(merge));
            return Ok(true);
        }
        if let Some(segment) = catalog.holding(wanted).cloned() {
            drop(catalog);
            let cursor = Box::new(segment.cursor(&*shared.disk, members, wanted)?);
            let (number, sealed) = (segment.number, Some(segment.last));
            self.source = Some(Source::Log { cursor, number, sealed });
            return Ok(true);
        }
        let Some((mut cursor, relations)) = active_cursor(&catalog, &members, wanted) else {
            return Ok(false);
        };
        let number = catalog.active.number;
        drop(catalog);
        cursor.learn(&relations)?;
        self.source = Some(Source::Log { cursor: Box::new(cursor), number, sealed: None });
        Ok(true)
    }
}

fn select(catalog: &Catalog, flows: &[(FlowId, Seq)]) -> Result<Members, JournalError> {
    let mut chosen = Vec::with_capacity(flows.len());
    for (flow, from) in flows {
        let spec = catalog.flows.get(flow);
        let spec = spec.ok_or_else(|| JournalError::misuse("read", format!("flow {} is unknown", flow.0)))?;
        // A flow that has ended is read on: whoever reads it may not have been told yet, and what they read counts.
        let span = Span::beyond(spec.span.from.max(*from));
        chosen.push((spec.table.clone(), *flow, Stretch::new(span, catalog.holes_of(*flow))));
    }
    Ok(Members::new(chosen))
}

/// Whether a group has something for a reader that has read through a Seq and maybe not to its transaction's
/// end.
fn is_beyond(end: Seq, ends: bool, (through, open): (Seq, bool)) -> bool {
    end > through || (open && ends && end == through)
}

/// The next group that reaches beyond `through`, with its records beyond it.
fn next_of(cursor: &mut SegmentCursor, at: (Seq, bool)) -> Result<Option<Pending>, JournalError> {
    let (through, _) = at;
    while let Some(group) = cursor.next_group()? {
        if is_beyond(group.end, group.commit.is_some(), at) {
            let records = read_group(cursor, &group, through)?.into();
            let position = group.commit.as_ref().map(|commit| commit.position.clone());
            return Ok(Some(Pending { records, end: group.end, position }));
        }
    }
    Ok(None)
}

/// The records of a group beyond `through`, one for each member that has the change.
pub(super) fn read_group(
    cursor: &mut SegmentCursor,
    group: &Group,
    through: Seq,
) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::with_capacity(group.found.len());
    let mut found = group.found.iter().filter(|found| found.seq > through).peekable();
    if found.peek().is_none() {
        return Ok(records);
    }
    let commit = cursor.commit_of(group)?;
    let commit = commit.ok_or_else(|| JournalError::misuse("read", "a transaction without its end"))?;
    for found in found {
        let (change, stamp) = cursor.change(found)?;
        let Some(slot) = cursor.slot(found.relation) else { continue };
        for (flow, _) in slot.members.iter().filter(|(_, stretch)| stretch.has(found.seq)) {
            records.push(Record {
                seq: found.seq,
                transaction: group.transaction,
                transaction_name: Arc::clone(&commit.transaction_name),
                flow: *flow,
                change: change.clone(),
                bytes: u32::try_from(found.entry.len()).unwrap_or(u32::MAX),
                committed_at: commit.committed_at,
                captured_at: group.captured_at,
                mark: commit.mark.clone(),
                stamp,
            });
        }
    }
    Ok(records)
}

/// The shelves of some flows read as one, by Seq.
#[derive(Debug)]
struct Merge {
    shelves: Vec<ShelfSource>,
}

#[derive(Debug)]
struct ShelfSource {
    members: Arc<Members>,
    holes: Arc<Holes>,
    parts: VecDeque<Arc<Sealed>>,
    open: Option<(Arc<Sealed>, SegmentCursor)>,
    head: Option<Pending>,
}

impl Merge {
    fn new(catalog: &Catalog, flows: &[(FlowId, Seq)], through: Seq) -> Result<Self, JournalError> {
        let oldest = catalog.oldest();
        let mut shelves = Vec::new();
        for (flow, from) in flows {
            let wanted = through.max(*from);
            if wanted.next() >= oldest {
                continue;
            }
            let kept = catalog.kept_from(*flow);
            if kept > wanted {
                let what = format!("of flow {} nothing is kept between Seq {wanted} and {kept}", flow.0);
                return Err(JournalError::missing("read", what));
            }
            let Some(shelf) = catalog.shelves.get(flow) else { continue };
            let parts = shelf.segments.iter().filter(|part| part.last < oldest && part.last > wanted);
            shelves.push(ShelfSource {
                members: Arc::new(select(catalog, &[(*flow, *from)])?),
                holes: catalog.holes_of(*flow),
                parts: parts.cloned().collect(),
                open: None,
                head: None,
            });
        }
        Ok(Self { shelves })
    }

    fn is_empty(&self) -> bool {
        self.shelves.iter().all(|shelf| shelf.parts.is_empty())
    }

    fn next(&mut self, shared: &Shared, at: (Seq, bool)) -> Result<Option<Pending>, JournalError> {
        for shelf in &mut self.shelves {
            shelf.fill(shared, at)?;
        }
        let heads = self.shelves.iter().filter_map(|shelf| shelf.head.as_ref());
        let Some(end) = heads.map(|head| head.end).min() else { return Ok(None) };
        let mut together = Pending { records: VecDeque::new(), end, position: None };
        for shelf in &mut self.shelves {
            if let Some(head) = shelf.head.take_if(|head| head.end == end) {
                together.records.extend(head.records);
                together.position = together.position.or(head.position);
            }
        }
        together.records.make_contiguous().sort_by_key(|record| (record.seq, record.flow));
        Ok(Some(together))
    }
}

impl ShelfSource {
    /// Sees to it that there is a head beyond `through`, if the shelf has one. Each part ends with a boundary,
    /// so that readers get over long stretches without records.
    fn fill(&mut self, shared: &Shared, at: (Seq, bool)) -> Result<(), JournalError> {
        let (through, _) = at;
        self.head.take_if(|head| !is_beyond(head.end, head.position.is_some(), at));
        while self.head.is_none() {
            if let Some((part, mut cursor)) = self.open.take() {
                self.head = next_of(&mut cursor, at)?;
                match &self.head {
                    Some(_) => self.open = Some((part, cursor)),
                    None => self.head = boundary(&part, through),
                }
                continue;
            }
            let Some(part) = self.parts.pop_front() else { return Ok(()) };
            let dropped = self.holes.cover(part.base, part.last);
            if part.len == 0 || part.last <= through || dropped {
                self.head = boundary(&part, through);
            } else {
                let cursor = part.cursor(&*shared.disk, Arc::clone(&self.members), through.next())?;
                self.open = Some((part, cursor));
            }
        }
        Ok(())
    }
}

fn boundary(part: &Sealed, through: Seq) -> Option<Pending> {
    let pending = || Pending { records: VecDeque::new(), end: part.last, position: part.position.clone() };
    (part.last > through).then(pending)
}
