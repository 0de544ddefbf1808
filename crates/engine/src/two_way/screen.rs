//! What of an app's log is ours, and what a user's changes knew: between the capture and one journal.
//!
//! A transaction that carries a mark of the opposite stream brought what that stream's journal has. A row in it that is
//! as we wrote it is an echo, and goes no further. A row that is not is what the app made of ours (a trigger, a type
//! that holds less): a side effect, which is brought to the other side once. If that comes back changed again, two
//! sides are normalising against each other, and it is left there and counted.

use super::restore::Brought;
use super::{BothWays, Echo, Note, NoteKind};
use crate::capture::Place;
use crate::failpoint::Mistake;
use crate::journal::{JournalError, PieceEnd, ReadLimit, Reader};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tandem_core::map::{Projected, Projection, row_hash, written_hash};
use tandem_core::two_way::{ConflictPolicy, SideEffects, frozen_time};
use tandem_core::{
    Change, Entry, IntegrationKey, KeyHash, Mark, Relation, Row, RowHash, Seq, Stamp, TableName, WallTime,
    WriteOp,
};

/// Records of the opposite journal that are read at once.
const READ_AT_ONCE: usize = 2_000;
/// Bytes of it that are read at once.
const READ_BYTES: u64 = 4 << 20;

/// The two-way maps of one journal, by their tables in the app whose log feeds it.
pub(crate) type Tables = BTreeMap<TableName, Arc<BothWays>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// How far the opposite flow of each map was in the log, by the map's number.
    seen: BTreeMap<u64, Seq>,
    books: BTreeMap<u64, Book>,
    /// When records were changed last, of those changes that the journal does not show yet; for maps that ask.
    fresh: HashMap<(u64, KeyHash), WallTime>,
    /// Echoes of this batch.
    echoes: Vec<Echo>,
    /// The time of the last transaction that has ended: what a piece of an open one is stamped with.
    last_time: WallTime,
    /// Side effects that were left because they came back changed again, by map.
    ping_pong: BTreeMap<u64, u64>,
}

/// What of a transaction goes into the journal.
pub(crate) struct Screened {
    pub(crate) entries: Vec<Entry>,
    pub(crate) stamps: Vec<Option<Stamp>>,
}

/// What a piece of a transaction is.
pub(crate) struct Origin<'a> {
    /// Its mark, if it is ours.
    pub(crate) mark: Option<&'a Mark>,
    /// When it was committed; `None` for a piece of one that goes on.
    pub(crate) committed_at: Option<WallTime>,
    /// The Seq that its first entry gets.
    pub(crate) first: Seq,
}

enum Kind {
    Echo,
    SideEffect(Stamp),
    PingPong,
}

impl Screen {
    /// The log is read again from a place.
    pub(crate) fn reopen(&mut self, place: Option<&Place>) {
        *self = Self::default();
        if Mistake::ForgetSeen.is_made() {
            return;
        }
        self.seen = place.map(|place| place.seen.iter().copied().collect()).unwrap_or_default();
    }

    /// How far the opposite flows were seen, to be kept with the place.
    pub(crate) fn seen(&self) -> Vec<(u64, Seq)> {
        self.seen.iter().map(|(map, seq)| (*map, *seq)).collect()
    }

    /// What came back in this batch, once it is in the journal; `goes_on` if its last transaction does.
    pub(crate) fn take_echoes(&mut self, goes_on: bool) -> Vec<Echo> {
        // What is committed is found in the journal from here on; of a transaction that goes on nothing is.
        if !goes_on {
            self.fresh.clear();
        }
        std::mem::take(&mut self.echoes)
    }

    /// How often side effects were left where they were, by map, since this was asked last.
    pub(crate) fn take_ping_pong(&mut self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut self.ping_pong)
    }

    /// Takes a piece of a transaction.
    pub(crate) fn screen(
        &mut self,
        entries: Vec<Entry>,
        origin: &Origin<'_>,
        tables: &Tables,
    ) -> Result<Screened, JournalError> {
        let note = origin.mark.and_then(|mark| Some((mark, Note::decode(&mark.note)?)));
        let mut out = Screened {
            entries: Vec::with_capacity(entries.len()),
            stamps: Vec::with_capacity(entries.len()),
        };
        for entry in entries {
            let both = match &entry {
                Entry::Change(change) => {
                    tables.get(&change.relation.table).cloned().map(|both| (change, both))
                }
                Entry::Barrier(_) => None,
            };
            let Some((change, both)) = both else {
                out.entries.push(entry);
                out.stamps.push(None);
                continue;
            };
            let seq = Seq(origin.first.0 + out.entries.len() as u64);
            let ours = origin.mark.filter(|mark| both.is_opposite(mark) && !Mistake::JournalEchoes.is_made());
            let stamp = match ours {
                None => Some(self.stamp(change, &both, origin.committed_at)?),
                Some(mark) => {
                    let note = note.as_ref().map(|(_, note)| note);
                    self.of_ours(change, &both, (mark, note), (origin, seq))?
                }
            };
            let Some(stamp) = stamp else { continue };
            if both.policy == ConflictPolicy::LatestWins {
                let keys = both.own.spec.keys_of(change).map(|key| key.hash());
                self.fresh.extend(keys.map(|key| ((both.number, key), stamp.at)));
            }
            out.entries.push(entry);
            out.stamps.push(Some(stamp));
        }
        if let Some(at) = origin.committed_at {
            self.last_time = at;
            if let Some((mark, note)) = note {
                let named =
                    |both: &&Arc<BothWays>| both.is_opposite(mark) && note.maps.contains(&both.number);
                for both in tables.values().filter(named) {
                    self.settle(both.number, mark.seq, note.kind);
                }
            }
        }
        Ok(out)
    }

    /// A transaction of ours has ended: what it brought is known in the app from here on.
    fn settle(&mut self, map: u64, seq: Seq, kind: NoteKind) {
        // A retry has a lane, and Seqs, of its own.
        if kind == NoteKind::Retry {
            return;
        }
        let seen = self.seen.entry(map).or_default();
        *seen = seq.max(*seen);
        if let Some(book) = self.books.get_mut(&map) {
            book.forget(*seen);
        }
    }

    fn seen_of(&self, both: &BothWays) -> Seq {
        self.seen.get(&both.number).copied().unwrap_or_default()
    }

    fn stamp(
        &self,
        change: &Change,
        both: &BothWays,
        committed_at: Option<WallTime>,
    ) -> Result<Stamp, JournalError> {
        let knew = match Mistake::KnowTooMuch.is_made() {
            true => both.other.journal.with(|journal| journal.head()),
            false => self.seen_of(both),
        };
        let at = committed_at.unwrap_or(self.last_time);
        let earlier = match both.policy {
            ConflictPolicy::LatestWins if Mistake::RawTimes.is_made() => None,
            ConflictPolicy::LatestWins => self.earlier(change, both)?,
            ConflictPolicy::LeftWins | ConflictPolicy::RightWins | ConflictPolicy::Park => None,
        };
        Ok(Stamp { knew, at: frozen_time(at, earlier) })
    }

    /// The latest time that an earlier change of a record was stamped with.
    fn earlier(&self, change: &Change, both: &BothWays) -> Result<Option<WallTime>, JournalError> {
        let mut latest = None;
        for key in both.own.spec.keys_of(change) {
            latest = self.fresh.get(&(both.number, key.hash())).copied().max(latest);
            let records = both.own.journal.with(|journal| journal.records().clone());
            if let Some(seq) = records.find(both.own.flow, key.hash(), Seq::ZERO, usize::MAX)?.pop() {
                let record = records.read_committed(both.own.flow, seq)?;
                latest = record.and_then(|record| record.stamp).map(|stamp| stamp.at).max(latest);
            }
        }
        Ok(latest)
    }

    /// A row in a transaction of ours. Returns the stamp that it is journaled with; `None` for an echo.
    fn of_ours(
        &mut self,
        change: &Change,
        both: &Arc<BothWays>,
        (mark, note): (&Mark, Option<&Note>),
        (origin, seq): (&Origin<'_>, Seq),
    ) -> Result<Option<Stamp>, JournalError> {
        let named = note.filter(|note| note.maps.contains(&both.number));
        let kind = match named.map(|note| note.kind) {
            None => self.side_effect(both, mark.seq, origin),
            Some(NoteKind::Journal) if mark.seq > both.other.start && !self.was_seen(both, mark, origin) => {
                self.journaled(change, both, mark.seq, (origin, seq))?
            }
            // Of a run of the map before this one; or of a log that is read again: what there was in it for us is journaled.
            Some(NoteKind::Journal) => Kind::Echo,
            Some(NoteKind::Retry | NoteKind::Window | NoteKind::Restore) => {
                let decided = named.map(|note| note.head).unwrap_or_default();
                self.echoes.extend(Echo::of(change, both, Brought::Beside(decided), seq));
                Kind::Echo
            }
        };
        Ok(match kind {
            Kind::Echo => None,
            Kind::PingPong => {
                *self.ping_pong.entry(both.number).or_default() += 1;
                None
            }
            Kind::SideEffect(_) if both.side_effects == SideEffects::Ignore => None,
            Kind::SideEffect(stamp) => Some(stamp),
        })
    }

    /// Whether a transaction of ours was taken in before. One in pieces says only where it began until it ends.
    fn was_seen(&self, both: &BothWays, mark: &Mark, origin: &Origin<'_>) -> bool {
        let seen = self.seen_of(both);
        if origin.committed_at.is_some() { mark.seq <= seen } else { mark.seq < seen }
    }

    fn side_effect(&self, both: &BothWays, seq: Seq, origin: &Origin<'_>) -> Kind {
        let seen = self.seen_of(both);
        Kind::SideEffect(Stamp { knew: seq.max(seen), at: origin.committed_at.unwrap_or(self.last_time) })
    }

    /// A row in a transaction that brought changes of the journal.
    fn journaled(
        &mut self,
        change: &Change,
        both: &Arc<BothWays>,
        through: Seq,
        (origin, seq): (&Origin<'_>, Seq),
    ) -> Result<Kind, JournalError> {
        let seen = self.seen_of(both);
        let book = self.books.entry(both.number).or_insert_with(|| Book::new(both, seen));
        if book.last < seen {
            // What has come back meanwhile may be reclaimed: it is not to be read any more.
            *book = Book::new(both, seen);
        }
        // A transaction that comes in pieces says only at its end how far it went.
        let ends = origin.committed_at.is_some();
        let limit = if ends { through } else { Seq(u64::MAX) };
        book.read_to(both, limit)?;
        let contents = Content::all_of(change, both);
        let mut brought = None;
        let mut is_as_written = true;
        for (key, content) in &contents {
            match book.find(key, content, limit) {
                Found::Same(line) => brought = Line::later(brought, line),
                Found::Other(line) => {
                    brought = Line::later(brought, line);
                    is_as_written = false;
                }
                Found::Nothing => is_as_written = false,
            }
        }
        if is_as_written {
            if let Some(line) = brought {
                self.echoes.extend(Echo::of(change, both, Brought::Journaled(line.seq, line.stamp), seq));
            }
            return Ok(Kind::Echo);
        }
        let again = brought.is_some_and(|line| line.side_effect) || book.only_side_effects(through);
        let book_end = book.last;
        if again {
            return Ok(Kind::PingPong);
        }
        if let Some(line) = brought {
            self.echoes.extend(Echo::of(change, both, Brought::Journaled(line.seq, line.stamp), seq));
        }
        Ok(self.side_effect(both, if ends { through } else { through.max(book_end) }, origin))
    }
}

/// What a record is after a change, as far as the map's columns tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Is(RowHash),
    Gone,
    /// The log, or a change, does not say all of it.
    Partly,
}

/// What is not known is like nothing, itself included.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Content::Is(one), Content::Is(other)) => one == other,
            (Content::Gone, Content::Gone) => true,
            (Content::Is(_) | Content::Gone | Content::Partly, _) => false,
        }
    }
}

impl Content {
    /// What a row of an app is, in the columns that the map writes there.
    pub(super) fn of_row(relation: &Relation, row: &Row, both: &BothWays) -> Self {
        let hash = written_hash(&both.other.spec.columns, relation, row);
        hash.map_or(Content::Partly, Content::Is)
    }

    /// What each record is that a captured change touches: one, or two if it changes the key.
    pub(super) fn all_of(change: &Change, both: &BothWays) -> Vec<(IntegrationKey, Content)> {
        let spec = &both.own.spec;
        let key = |row: Option<&Row>| row.and_then(|row| spec.key_in(&change.relation, row));
        let (old, new) = (key(change.op.old_row()), key(change.op.new_row()));
        let mut all = Vec::with_capacity(2);
        if let (Some(row), Some(new)) = (change.op.new_row(), &new) {
            all.push((new.clone(), Content::of_row(&change.relation, row, both)));
        }
        all.extend(old.filter(|old| Some(old) != new.as_ref()).map(|old| (old, Content::Gone)));
        all
    }
}

/// What the opposite journal wants to be written, of what has not come back yet.
#[derive(Debug)]
struct Book {
    reader: Reader,
    projections: Vec<(Arc<Relation>, Option<Projection>)>,
    lines: HashMap<KeyHash, Vec<(IntegrationKey, Content, Line)>>,
    /// In the order of their Seqs.
    order: VecDeque<(Seq, KeyHash)>,
    last: Seq,
}

/// A change of the journal.
#[derive(Debug, Clone, Copy)]
struct Line {
    seq: Seq,
    stamp: Option<Stamp>,
    side_effect: bool,
}

impl Line {
    fn later(one: Option<Line>, other: Line) -> Option<Line> {
        Some(one.filter(|one| one.seq > other.seq).unwrap_or(other))
    }
}

enum Found {
    Same(Line),
    Other(Line),
    Nothing,
}

impl Book {
    fn new(both: &BothWays, seen: Seq) -> Self {
        let from = seen.max(both.other.start);
        let flows = std::iter::once(both.other.flow).chain(both.other.family.flows.iter().copied());
        let flows: std::collections::BTreeSet<_> = flows.collect();
        let members = flows.into_iter().map(|flow| (flow, Seq::ZERO)).collect();
        let reader = both.other.journal.with(|journal| journal.reader(members, from));
        let (lines, order) = Default::default();
        Self { reader, projections: Vec::new(), lines, order, last: from }
    }

    fn read_to(&mut self, both: &BothWays, through: Seq) -> Result<(), JournalError> {
        while self.last < through {
            let limit = ReadLimit { records: READ_AT_ONCE, bytes: READ_BYTES, through };
            let piece = self.reader.next(limit)?;
            for record in &piece.records {
                let write = self.project(both, record);
                let side_effect = record.mark.is_some();
                let line = Line { seq: record.seq, stamp: record.stamp, side_effect };
                for (key, content) in write.into_iter().flat_map(|op| contents(&op, both)) {
                    self.order.push_back((record.seq, key.hash()));
                    self.lines.entry(key.hash()).or_default().push((key, content, line));
                }
            }
            self.last = piece.through.max(self.last);
            if matches!(piece.end, PieceEnd::Head) {
                break;
            }
        }
        Ok(())
    }

    fn project(&mut self, both: &BothWays, record: &crate::journal::Record) -> Option<WriteOp> {
        let relation = &record.change.relation;
        let known = self.projections.iter().position(|(known, _)| Arc::ptr_eq(known, relation));
        let at = known.unwrap_or_else(|| {
            let bound = Projection::bind(&both.other.spec, both.other.target.clone(), relation).ok();
            if self.projections.len() >= 8 {
                self.projections.remove(0);
            }
            self.projections.push((relation.clone(), bound));
            self.projections.len() - 1
        });
        let projection = self.projections.get(at)?.1.as_ref()?;
        match projection.project(&record.change, record.seq, record.transaction).ok()? {
            Projected::Write(write) => Some(write.op),
            Projected::Filtered => None,
        }
    }

    fn find(&self, key: &IntegrationKey, content: &Content, through: Seq) -> Found {
        let lines = self.lines.get(&key.hash()).map(Vec::as_slice).unwrap_or_default();
        let mut of_key = lines.iter().filter(|(other, _, line)| other.is_same(key) && line.seq <= through);
        let same = of_key.clone().rev().find(|(_, other, _)| other == content);
        match (same, of_key.next_back()) {
            (Some((_, _, line)), _) => Found::Same(*line),
            (None, Some((_, _, line))) => Found::Other(*line),
            (None, None) => Found::Nothing,
        }
    }

    /// Whether everything up to a Seq that has not come back is a side effect itself.
    fn only_side_effects(&self, through: Seq) -> bool {
        let mut lines = self.lines.values().flatten().filter(|(.., line)| line.seq <= through).peekable();
        lines.peek().is_some() && lines.all(|(.., line)| line.side_effect)
    }

    fn forget(&mut self, through: Seq) {
        while let Some((seq, hash)) = self.order.front().copied().filter(|(seq, _)| *seq <= through) {
            self.order.pop_front();
            if let Some(lines) = self.lines.get_mut(&hash) {
                lines.retain(|(.., line)| line.seq > seq);
                if lines.is_empty() {
                    self.lines.remove(&hash);
                }
            }
        }
    }
}

/// What records are to be after a write, by their keys.
fn contents(op: &WriteOp, both: &BothWays) -> Vec<(IntegrationKey, Content)> {
    let target = &both.other.target;
    let key_of = |values: &[Option<tandem_core::Value>]| {
        let parts = target.key.iter().map(|place| values.get(*place).cloned().flatten());
        parts.collect::<Option<Vec<_>>>().map(IntegrationKey::from_values)
    };
    let is = |values: &[Option<tandem_core::Value>]| {
        let hash = row_hash(&both.other.spec.columns, values.iter().map(Option::as_ref));
        key_of(values).map(|key| (key, hash.map_or(Content::Partly, Content::Is)))
    };
    match op {
        WriteOp::Upsert(values) => {
            is(&values.iter().cloned().map(Some).collect::<Vec<_>>()).into_iter().collect()
        }
        WriteOp::Patch { values, .. } => is(values).into_iter().collect(),
        WriteOp::Rekey { old, values } => {
            is(values).into_iter().chain([(old.clone(), Content::Gone)]).collect()
        }
        WriteOp::Delete(key) => vec![(key.clone(), Content::Gone)],
    }
}
