//! Windows of an initial sync, written by the lane of their flow.
//!
//! A lane takes a window when it stands behind the window's second barrier, at a committed Seq C, and leaves out each
//! record that the journal names for the flow between the first barrier and C: all others are at C as they were read.
//! The transaction moves the watermark from C to C. So there is no order to keep between a window and the changes
//! around it but the lane's own.
//!
//! A window goes in slices: a destination is not to be locked for long, and live changes are not to wait for all of it.

use super::batch::{Batch, unprojectable};
use super::lane::{LaneEnd, LaneFault, LaneRun};
use super::trial::is_refusal;
use crate::copy::{Desk, Kind, Window};
use crate::failpoint::FailPoint;
use crate::journal::{JournalError, ReadLimit, Record as JournalRecord};
use crate::store::{CopyRecord, ErrorStatus, FlowId, Record, SetAside, StoreError, Unreadable};
use crate::two_way::{BothWays, NoteKind, is_overtaken, put_off};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Advance, Copied, Plan};
use tandem_core::map::{FlowSpec, Projected};
use tandem_core::{
    Cell, Change, Fault, FaultClass, IntegrationKey, KeyHash, Op, Position, Relation, Row, Seq, Value, Write,
    WriteOp,
};

/// Rows of the first slice, and the most.
const SLICE: (usize, usize) = (500, 10_000);
/// How long a slice may take: one that takes longer is followed by a smaller one.
const SLICE_TIME: Duration = Duration::from_millis(100);
/// How many changes of one record are looked at that may be missing in a window.
const UNSEEN_MAX: usize = 64;
/// How far back in the journal such a change may lie.
const UNSEEN_SPAN: u64 = 1_000_000;
/// So many loads in a row that found a record where there should be none: it is not tried any more.
const LOADS_IN_VAIN_MAX: u32 = 3;

/// What a lane remembers between windows.
#[derive(Debug, Clone, Default)]
pub(super) struct Copying {
    slice: usize,
    loads_in_vain: u32,
}

impl Copying {
    fn slice(&self) -> usize {
        self.slice.max(SLICE.0)
    }

    fn took(&mut self, time: Duration) {
        let slice = self.slice();
        self.slice = match time {
            time if time > SLICE_TIME => (slice / 2).max(SLICE.0 / 10),
            time if time < SLICE_TIME / 2 => (slice * 2).min(SLICE.1),
            _ => slice,
        };
    }
}

/// What the journal names of a flow between two places.
#[derive(Default)]
struct Named {
    /// The records, and whether a change said only a part of them.
    keys: HashMap<IntegrationKey, bool>,
    /// All of them went at once.
    truncated: bool,
}

/// One row of a window on its way.
struct Item {
    key: IntegrationKey,
    row: Option<Row>,
    /// Its place in the log.
    seq: Seq,
}

impl LaneRun {
    /// A window that may be written where the lane stands.
    pub(super) fn window_due(&self) -> Option<(FlowId, Arc<Desk>, Arc<Window>, usize)> {
        let cursor = self.progress.borrow().cursor;
        self.members.values().find_map(|member| {
            let desk = member.flow.copy.as_ref()?;
            let (window, done) = desk.due(cursor)?;
            Some((member.flow.flow, desk.clone(), window, done))
        })
    }

    /// Notes which records of a batch get another key while their table is read, without all of them being told: what
    /// stands under the old key may be out of date, and the new one may lie behind what was read.
    pub(super) fn look_again_at_moved(&self, batch: &Batch) -> Result<(), StoreError> {
        let is_read = |desk: &Arc<Desk>| desk.covers() && !desk.is_refresh();
        let read = self.members.iter().filter(|(_, member)| member.flow.copy.as_ref().is_some_and(is_read));
        let read: BTreeMap<&FlowId, &FlowSpec> =
            read.map(|(flow, member)| (flow, &member.flow.spec)).collect();
        if read.is_empty() {
            return Ok(());
        }
        let mut moved: BTreeMap<FlowId, Vec<IntegrationKey>> = BTreeMap::new();
        for (write, record) in batch.writes.iter().zip(&batch.records) {
            let WriteOp::Rekey { values, .. } = &write.op else { continue };
            let Some(spec) = read.get(&record.flow) else { continue };
            if values.iter().any(Option::is_none) {
                moved.entry(record.flow).or_default().extend(spec.keys_of(&record.change));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let again: Vec<Record> = moved.into_iter().map(|(flow, keys)| Record::Again { flow, keys }).collect();
        self.context.store.save(&again).map(drop)
    }

    /// Writes the next slice of a window.
    pub(super) async fn write_window(
        &mut self,
        flow: FlowId,
        desk: &Arc<Desk>,
        window: &Arc<Window>,
        done: usize,
    ) -> Result<(), LaneEnd> {
        self.began = self.context.env.now();
        let cursor = self.progress.borrow().cursor;
        let Some(member) = self.members.get(&flow) else { return Ok(()) };
        let spec = member.flow.spec.clone();
        let named = self.named(&spec, flow, window.low, cursor).map_err(LaneEnd::Unreadable)?;
        let Some(named) = named.filter(|named| !named.truncated) else {
            desk.give_back();
            return Ok(());
        };
        // Of two-way maps the log of the destination shows these as echoes, of nothing that a journal has.
        let note = self.note(NoteKind::Window);
        let both_ways = member.flow.both_ways.clone();
        let items = self.slice_of(window, done, &spec);
        // What is refreshed is what a person wants to have of this side.
        let copied = items.iter().filter(|_| !desk.is_refresh()).map(|item| &item.key);
        let put_off =
            both_ways.as_ref().map(|both| put_off(&*self.context.store, both, copied)).transpose()?;
        let taken = items.len();
        let mut again: Vec<IntegrationKey> = Vec::new();
        let (mut written, mut overtaken) = (Vec::with_capacity(taken), Vec::new());
        let left_out = self.left_out(desk, &items).map_err(LaneEnd::Forgetful)?;
        for item in items {
            match named.keys.get(&item.key) {
                // What the log says of it since the read counts; if it says only a part, the record may not be there.
                Some(partly) => again.extend(partly.then_some(item.key)),
                None if left_out.contains(&item.key.hash()) => {}
                None if self.may_lack(&spec, flow, window, &item.key).map_err(LaneEnd::Unreadable)? => {
                    again.push(item.key)
                }
                None if put_off.as_ref().is_some_and(|put_off| put_off.has(&item.key)) => {
                    overtaken.push(item.key)
                }
                None => {
                    let row = item.row.as_ref().map(|row| (&*window.relation, row));
                    let store = &*self.context.store;
                    let overtakes =
                        |both: &Arc<BothWays>| is_overtaken(store, both, (&item.key, row), window.knew);
                    match both_ways.as_ref().map(overtakes).transpose()? {
                        Some(true) => overtaken.push(item.key),
                        Some(false) | None => written.push(item),
                    }
                }
            }
        }
        self.set_note(&note);
        let outcome = self.write_items(flow, desk, window, written).await?;
        self.set_note(&self.note(NoteKind::Journal));
        FailPoint::ChunkUnsaved.pass();
        let Outcome { mut copied, refused, mut through, errors, waiting, mut superseded } = outcome;
        through.extend(overtaken);
        let is_chunk = matches!(window.kind, Kind::Chunk { .. });
        // What was written without what it refers to is not done yet.
        let is_bare = !window.left_empty().is_empty();
        if is_bare {
            copied = Copied::default();
            superseded.clear();
        }
        let moved = if is_chunk { taken as u64 } else { through.len() as u64 };
        let mut records = Vec::new();
        let failed = errors.len() as u64;
        if is_chunk {
            again.extend(refused);
            if !again.is_empty() {
                records.push(Record::Again { flow, keys: again });
            }
        } else if !through.is_empty() && !is_bare {
            records.push(Record::NotAgain { flow, keys: through });
        }
        records.extend(superseded);
        records.extend(errors);
        records.extend(waiting);
        let count = |record: &mut CopyRecord| {
            if let Some(refresh) = &mut record.refresh {
                refresh.refused += failed;
                return;
            }
            record.counts.inserted += copied.inserted;
            record.counts.updated += copied.updated;
            record.counts.unchanged += copied.unchanged;
            record.counts.failed += failed;
            record.counts.rows += if is_chunk { taken as u64 } else { 0 };
        };
        desk.settled(window, taken, moved, records, count).map_err(LaneEnd::Forgetful)?;
        FailPoint::ChunkSaved.pass();
        self.copying.took(self.context.env.now().saturating_sub(self.began));
        Ok(())
    }

    /// What the journal names of a flow beyond `low` up to `cursor`; `None` if it no longer has all of it.
    fn named(
        &self,
        spec: &FlowSpec,
        flow: FlowId,
        low: Seq,
        cursor: Seq,
    ) -> Result<Option<Named>, JournalError> {
        let records = self.context.journal.with(|journal| journal.records().clone());
        let mut named = Named::default();
        let mut after = low;
        loop {
            let limit = ReadLimit { records: 5_000, bytes: 16 << 20, through: cursor };
            let found = records.scan(flow, after, limit)?;
            let Some(last) = found.last().map(|record| record.seq) else { break };
            for record in &found {
                let op = &record.change.op;
                named.truncated |= matches!(op, Op::Truncate);
                let partly = op.new_row().is_some_and(|row| !row.is_complete());
                let keys: Vec<IntegrationKey> = spec.keys_of(&record.change).collect();
                // A record that gets another key may leave the new one without its other values.
                let partly = partly || keys.iter().any(|key| Some(key) != keys.first());
                for key in keys {
                    *named.keys.entry(key).or_default() |= partly;
                }
            }
            after = last;
        }
        // Looked at last: what was reclaimed in between would be missing above.
        Ok((records.kept_from(flow) <= low).then_some(named))
    }

    /// The next rows of a window, each with its key. One without a key is no record.
    fn slice_of(&self, window: &Window, done: usize, spec: &FlowSpec) -> Vec<Item> {
        let count = self.copying.slice();
        match &window.kind {
            Kind::Chunk { rows, .. } => {
                let rows = rows.iter().skip(done).take(count);
                let item = |row: &Row| {
                    let key = spec.key_in(&window.relation, row);
                    let key = key.unwrap_or_else(|| IntegrationKey::from_values(Vec::new()));
                    Item { key, row: Some(row.clone()), seq: window.high }
                };
                rows.map(item).collect()
            }
            Kind::Named { records, places, .. } => {
                let item = |(nth, (key, row)): (usize, &(IntegrationKey, Option<Row>))| {
                    let seq = places.get(nth).copied().unwrap_or(window.high);
                    Item { key: key.clone(), row: row.clone(), seq }
                };
                // All at once: they may need each other.
                records.iter().enumerate().skip(done).map(item).collect()
            }
        }
    }

    /// The records that have an open error, if those are to be left out.
    fn left_out(&self, desk: &Desk, items: &[Item]) -> Result<BTreeSet<KeyHash>, StoreError> {
        let record = desk.record();
        let store = &self.context.store;
        let Some(member) = self.members.get(&record.flow).filter(|_| record.without_failed) else {
            return Ok(BTreeSet::new());
        };
        let hashes: Vec<_> = items.iter().map(|item| item.key.hash()).collect();
        let touching = store.touching(&member.flow.family.flows, &hashes)?;
        Ok(touching.into_iter().map(|touching| touching.key).collect())
    }

    /// Whether a transaction that the window may lack has changed a record.
    fn may_lack(
        &self,
        spec: &FlowSpec,
        flow: FlowId,
        window: &Window,
        key: &IntegrationKey,
    ) -> Result<bool, JournalError> {
        if window.unseen.is_empty() {
            return Ok(false);
        }
        let records = self.context.journal.with(|journal| journal.records().clone());
        let from = Seq(window.low.0.saturating_sub(UNSEEN_SPAN));
        let found = records.find(flow, key.hash(), from, usize::MAX)?;
        for seq in found.into_iter().rev().filter(|seq| *seq <= window.low).take(UNSEEN_MAX) {
            let Some(record) = records.read(flow, seq)? else { continue };
            let names = spec.keys_of(&record.change).any(|named| named == *key);
            if names && window.unseen.contains(&record.transaction_name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes rows, and says what became of each.
    async fn write_items(
        &mut self,
        flow: FlowId,
        desk: &Arc<Desk>,
        window: &Window,
        items: Vec<Item>,
    ) -> Result<Outcome, LaneEnd> {
        let mut outcome = Outcome::default();
        let last = matches!(&window.kind, Kind::Named { places, .. } if !places.is_empty());
        let mut rows = self.project_items(flow, window, items, last, &mut outcome);
        rows.writes.iter_mut().for_each(|write| leave_empty(write, window.left_empty()));
        outcome.superseded = self.pointless(flow, &rows.filtered)?;
        if rows.writes.is_empty() && outcome.errors.is_empty() {
            return Ok(outcome);
        }
        let to = self.progress.borrow().cursor;
        let end = || Advance { to, position: rows.position.clone() };
        let upserts = rows.writes.iter().all(|write| matches!(write.op, WriteOp::Upsert(_)));
        let empty = desk.record().into_empty && self.copying.loads_in_vain < LOADS_IN_VAIN_MAX;
        let plans: &[Plan] = match (&window.kind, upserts) {
            (Kind::Chunk { .. }, true) if empty => &[Plan::Load, Plan::Copy],
            (_, true) => &[Plan::Copy],
            (_, false) => &[Plan::Fast],
        };
        for plan in plans {
            match self.parts(Some(self.begin()), &rows.writes, *plan, Some(end())).await {
                Ok(applied) => {
                    if *plan == Plan::Load {
                        self.copying.loads_in_vain = 0;
                    }
                    outcome.copied = applied.copied;
                    if *plan == Plan::Fast {
                        outcome.copied.updated = rows.writes.len() as u64;
                    }
                    outcome.superseded.extend(self.pointless(flow, &rows.records)?);
                    outcome.through.extend(rows.keys);
                    return Ok(outcome);
                }
                Err(failed) if is_refusal(&failed) || *plan == Plan::Load && is_unsupported(&failed) => {
                    self.copying.loads_in_vain += u32::from(*plan == Plan::Load);
                    self.rollback().await;
                }
                Err(failed) => return Err(LaneEnd::Failed(failed)),
            }
        }
        let refused = self.row_by_row(&rows.writes, upserts, &end, &mut outcome.copied).await?;
        let mut stood = Vec::new();
        for (place, (record, key)) in rows.records.into_iter().zip(rows.keys).enumerate() {
            match refused.get(&place) {
                None => {
                    outcome.through.push(key);
                    stood.push(record);
                }
                Some(fault) => {
                    // An initial sync has waited for its parents before its last round, and ends with what it could not write.
                    let waits = last
                        && desk.is_refresh()
                        && self.may_only_wait(&record, fault.class).map_err(LaneEnd::Forgetful)?;
                    match waits {
                        true => self.put_aside(&record, key, fault.clone(), &mut outcome),
                        false => self.refuse(&record, key, fault.clone(), last, &mut outcome),
                    }
                    // The error that it is now makes older ones of its record pointless.
                    stood.extend(last.then_some(record));
                }
            }
        }
        outcome.superseded.extend(self.pointless(flow, &stood)?);
        Ok(outcome)
    }

    /// Writes rows of which one at least is refused, or was a moment ago. Says which, with the fault of each.
    async fn row_by_row(
        &mut self,
        writes: &[Write],
        upserts: bool,
        end: &(dyn Fn() -> Advance + Sync),
        copied: &mut Copied,
    ) -> Result<BTreeMap<usize, Fault>, LaneEnd> {
        let mut refused = self.single(writes).await?;
        if upserts && !refused.is_empty() {
            // Without them the others go through as ever, and are counted for what they are.
            self.rollback().await;
            let others = writes.iter().enumerate().filter(|(place, _)| !refused.contains_key(place));
            let others: Vec<Write> = others.map(|(_, write)| write.clone()).collect();
            match self.parts(Some(self.begin()), &others, Plan::Copy, Some(end())).await {
                Ok(applied) => {
                    *copied = applied.copied;
                    return Ok(refused);
                }
                Err(failed) if is_refusal(&failed) => self.rollback().await,
                Err(failed) => return Err(LaneEnd::Failed(failed)),
            }
            refused = self.single(writes).await?;
        }
        self.parts(None, &[], Plan::Exact, Some(end())).await.map_err(LaneEnd::Failed)?;
        copied.updated = writes.len().saturating_sub(refused.len()) as u64;
        Ok(refused)
    }

    /// Writes row by row, and leaves the transaction open.
    async fn single(&mut self, writes: &[Write]) -> Result<BTreeMap<usize, Fault>, LaneEnd> {
        match self.parts(Some(self.begin()), writes, Plan::Single, None).await {
            Ok(applied) => Ok(applied.refused.into_iter().collect()),
            Err(failed) => {
                self.rollback().await;
                Err(LaneEnd::Failed(failed))
            }
        }
    }

    /// A row that was refused is looked at again, or is an error.
    fn refuse(
        &self,
        record: &JournalRecord,
        key: IntegrationKey,
        fault: Fault,
        last: bool,
        outcome: &mut Outcome,
    ) {
        let Some(member) = self.members.get(&record.flow).filter(|_| last) else {
            outcome.refused.push(key);
            return;
        };
        let spec = &member.flow.spec;
        tracing::warn!(map = %spec.map, seq = %record.seq, class = %fault.class, code = fault.code, "a row of the initial sync was refused: {fault}");
        let now = self.context.env.wall();
        outcome.errors.push(Record::Error(SetAside::of(record, spec, fault, now)));
        outcome.through.push(key);
    }

    /// A row that was refused only because of what another map has still to do waits for that.
    fn put_aside(&self, record: &JournalRecord, key: IntegrationKey, fault: Fault, outcome: &mut Outcome) {
        let Some(member) = self.members.get(&record.flow) else { return };
        let spec = &member.flow.spec;
        tracing::info!(map = %spec.map, seq = %record.seq, "a row waits for another map: {fault}");
        let waits = SetAside::of(record, spec, fault, self.context.env.wall()).awaiting();
        outcome.waiting.push(Record::Error(waits));
        outcome.through.push(key);
    }

    /// What older errors of these records want is pointless, now that they are as they are to be.
    fn pointless(&self, flow: FlowId, records: &[JournalRecord]) -> Result<Vec<Record>, Unreadable> {
        let Some(member) = self.members.get(&flow) else { return Ok(Vec::new()) };
        if member.kept.is_empty() && !self.context.store.any_touched() {
            return Ok(Vec::new());
        }
        self.superseded_by(records, &member.flow.spec)
    }

    /// Rows as the journal would have them, and the writes that they ask for.
    fn project_items(
        &mut self,
        flow: FlowId,
        window: &Window,
        items: Vec<Item>,
        last: bool,
        outcome: &mut Outcome,
    ) -> Rows {
        let now = self.context.env.wall();
        let count = items.len();
        let (position, spec) = (self.position.clone(), self.members.get(&flow).map(|m| m.flow.spec.clone()));
        let named = matches!(window.kind, Kind::Named { .. });
        let mut rows = Rows {
            filtered: Vec::new(),
            writes: Vec::with_capacity(count),
            records: Vec::with_capacity(count),
            keys: Vec::with_capacity(count),
            position,
        };
        for Item { key, row, seq } in items {
            let op = match row {
                // What was looked at before may be at the destination, and have left the filter since.
                Some(new) if named => Op::Update { old: None, new },
                Some(new) => Op::Insert { new },
                None => Op::Delete { old: gone(&window.relation, spec.as_ref(), &key) },
            };
            let record = JournalRecord {
                seq,
                transaction: window.high,
                transaction_name: "".into(),
                flow,
                change: Change { relation: window.relation.clone(), op },
                bytes: 0,
                stamp: None,
                committed_at: now,
                captured_at: now,
                mark: None,
            };
            let projected =
                self.members.get_mut(&flow).map(|member| (member.project(&record), &member.flow.spec));
            match projected {
                Some((Ok(Projected::Write(write)), _)) => {
                    rows.writes.push(write);
                    rows.records.push(record);
                    rows.keys.push(key);
                }
                Some((Ok(Projected::Filtered), _)) => {
                    rows.filtered.push(record);
                    outcome.through.push(key);
                }
                Some((Err(refusal), spec)) => {
                    let fault = unprojectable(&refusal, spec);
                    self.refuse(&record, key, fault, last, outcome);
                }
                None => {}
            }
        }
        rows
    }
}

/// Rows on their way, place by place.
struct Rows {
    writes: Vec<Write>,
    records: Vec<JournalRecord>,
    keys: Vec<IntegrationKey>,
    position: Position,
    /// Those that the map's filter leaves out.
    filtered: Vec<JournalRecord>,
}

/// What became of rows.
#[derive(Default)]
struct Outcome {
    copied: Copied,
    /// Not written, and to be looked at again.
    refused: Vec<IntegrationKey>,
    /// Written, or errors: not to be looked at again.
    through: Vec<IntegrationKey>,
    errors: Vec<Record>,
    /// As errors, of what only waits for other maps.
    waiting: Vec<Record>,
    superseded: Vec<Record>,
}

/// A record for others to refer to, before it refers to them itself.
fn leave_empty(write: &mut Write, places: &[usize]) {
    let WriteOp::Upsert(values) = &mut write.op else { return };
    for place in places {
        if let Some(value) = values.get_mut(*place) {
            *value = Value::Null;
        }
    }
}

/// A record that is not there, as the log names one that went.
fn gone(relation: &Relation, spec: Option<&FlowSpec>, key: &IntegrationKey) -> Row {
    let mut cells = vec![Cell::Unchanged; relation.columns.len()];
    let names = spec.into_iter().flat_map(|spec| &spec.source_key);
    for (name, value) in names.zip(key.values()) {
        if let Some(cell) = relation.column(name).and_then(|place| cells.get_mut(place)) {
            *cell = Cell::Set(value.clone());
        }
    }
    Row(cells)
}

/// Whether a destination cannot do something in this way at all, as it may in another: not a table with row security,
/// not through this pooler.
fn is_unsupported(failed: &LaneFault) -> bool {
    use FaultClass::{Internal, Permission, Schema, Setup};
    matches!(failed.fault.class, Internal | Permission | Schema | Setup) && !failed.broken
}

/// The records of an error of a live change that an initial sync covers: it has not come to them, or not got them
/// through yet. `None` if it is an error.
pub(super) fn covered(
    desk: Option<&Arc<Desk>>,
    spec: &FlowSpec,
    error: &SetAside,
) -> Option<Vec<IntegrationKey>> {
    let is_covered = desk.is_some_and(|desk| desk.covers())
        && error.fault.class.is_about_record()
        && error.status == ErrorStatus::Open;
    let change = error.kept.as_ref().filter(|_| is_covered).map(|kept| &kept.change)?;
    let keys: Vec<IntegrationKey> = spec.keys_of(change).collect();
    (!keys.is_empty()).then_some(keys)
}
