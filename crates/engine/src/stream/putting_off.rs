//! Putting off what another map still needs: a parent's delete waits for its children, and its map does not.
//!
//! A child that is behind may have changes that need the record which its parent deletes, or whose key it changes. So
//! such a change of the parent is *put off*: noted durably as what waits for a map, left out, and passed over. What
//! follows on that record stands behind it like behind any error (see `behind`), and every other record goes on. For a
//! child that is moving and nearly there the lane waits instead: no note is needed of what is over in a moment. It waits
//! as well where too much of the map has been put off already: what is put off is looked up for each change.
//!
//! A child's record that would refer to such a record waits behind it, too: the record that it means is the one that
//! has the key *after* the delete, and a row that points at the old one keeps that from ever being deleted. Where it
//! cannot be told what the child's records refer to (see `Pointer`), nothing is put off for it and the lane waits.
//!
//! What is refused while older changes are put off may be refused only because of them: a unique value that the
//! deleted record still has, a child whose parent has that value. It waits with them and is no error. All of it is
//! tried again in source order across the maps that are related, so the first of what waits is held up by nothing but
//! a map that is behind: it goes through, or it is an error. So what waits always comes to an end.

use super::batch::Batch;
use super::lane::{LaneEnd, LaneRun, Progress};
use super::plan::Family;
use crate::journal::Record as JournalRecord;
use crate::store::{Awaiting, ErrorStatus, FlowId, SetAside, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::{Fault, FaultClass, Seq, WriteOp};
use tokio::sync::watch;

/// A child that moves and is no further behind than this is waited for.
const NEAR: u64 = 1_000;

/// Changes, each by its flow and Seq.
pub(super) type Changes = BTreeSet<(FlowId, Seq)>;

/// Another flow of the stream that a member of a lane is related to.
pub(super) struct Relative {
    /// Where its errors are.
    pub(super) family: Arc<Family>,
    /// It depends on the member; else the member depends on it.
    pub(super) depends: bool,
    /// It can be told which records of the member its own refer to.
    pub(super) tells: bool,
    /// How far it was when the run began. `None` if it is in the same lane.
    pub(super) at: Option<Seq>,
    /// The lane in which it moves.
    pub(super) lane: Option<watch::Receiver<Progress>>,
    /// Nothing is known that would keep it from moving on.
    pub(super) moves: bool,
}

/// How a flow stands that depends on a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dependent {
    /// `None` if it is where the member is.
    cursor: Option<Seq>,
    moves: bool,
    tells: bool,
    /// The first of its changes that wait themselves.
    awaiting: Option<Seq>,
}

/// What becomes of a delete or a change of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody needs the record any more.
    Goes,
    /// It waits alone.
    PutOff,
    /// The lane waits with it.
    Waits,
}

/// What a batch has that others need.
pub(super) enum Needed {
    /// These changes are to be put off.
    PutOff(Changes),
    /// The write at this place has to be waited for; what comes before it may go, but for these.
    From(usize, Changes),
}

/// Decides of the change at a Seq; `room` says whether one more may be put off.
fn fate(seq: Seq, dependents: &[Dependent], room: bool) -> Fate {
    let is_behind = |one: &&Dependent| one.cursor.is_some_and(|cursor| cursor < seq);
    let behind = || dependents.iter().filter(is_behind);
    let awaits = dependents.iter().any(|one| one.awaiting.is_some_and(|first| first < seq));
    if !awaits && behind().next().is_none() {
        return Fate::Goes;
    }
    let is_near = |one: &Dependent| {
        one.moves && one.cursor.is_some_and(|cursor| seq.0.saturating_sub(cursor.0) <= NEAR)
    };
    let tell = dependents.iter().all(|one| one.tells);
    if !room || !tell || (!awaits && behind().all(is_near)) { Fate::Waits } else { Fate::PutOff }
}

/// The first Seq of what waits in a family, if anything does.
fn first_of(awaiting: &BTreeMap<FlowId, Awaiting>, flows: &[FlowId]) -> Option<Seq> {
    flows.iter().filter_map(|flow| awaiting.get(flow)).map(|awaiting| awaiting.first).min()
}

impl Relative {
    fn stands(&self, awaiting: &BTreeMap<FlowId, Awaiting>) -> Dependent {
        let moved = self.lane.as_ref().map(|lane| lane.borrow().cursor);
        Dependent {
            cursor: self.at.map(|at| at.max(moved.unwrap_or_default())),
            moves: self.moves,
            tells: self.tells,
            awaiting: first_of(awaiting, &self.family.flows),
        }
    }
}

impl LaneRun {
    /// Notes what waits for maps before a batch is begun with: a record that is refused because of something that has
    /// gone through by the time at which that is looked at waits all the same.
    pub(super) fn look_what_waits(&mut self) -> Result<(), StoreError> {
        self.awaiting = self.all_awaiting()?;
        Ok(())
    }

    fn all_awaiting(&self) -> Result<BTreeMap<FlowId, Awaiting>, StoreError> {
        if !self.context.store.any_touched() {
            return Ok(BTreeMap::new());
        }
        self.context.store.awaiting()
    }

    /// What of a batch other maps still need.
    pub(super) fn needed(&self, batch: &Batch) -> Needed {
        let mut put_off = Changes::new();
        let mut room: BTreeMap<FlowId, u64> = BTreeMap::new();
        for (place, (write, record)) in batch.writes.iter().zip(&batch.records).enumerate() {
            if !matches!(write.op, WriteOp::Delete(_) | WriteOp::Rekey { .. }) {
                continue;
            }
            let relatives = self.relatives.get(&record.flow).map(Vec::as_slice).unwrap_or_default();
            let depending = relatives.iter().filter(|relative| relative.depends);
            let dependents: Vec<Dependent> =
                depending.map(|relative| relative.stands(&self.awaiting)).collect();
            if dependents.is_empty() {
                continue;
            }
            let room = room.entry(record.flow).or_insert_with(|| self.room_of(record.flow));
            match fate(write.seq, &dependents, *room > 0) {
                Fate::Goes => {}
                Fate::Waits => return Needed::From(place, put_off),
                Fate::PutOff => {
                    *room -= 1;
                    put_off.insert((record.flow, record.seq));
                }
            }
        }
        Needed::PutOff(put_off)
    }

    /// How much more of a flow may be put off.
    fn room_of(&self, flow: FlowId) -> u64 {
        let Some(member) = self.members.get(&flow) else { return 0 };
        if self.retry.is_some() {
            // What it takes with it has waited before.
            return u64::MAX;
        }
        if member.flow.copy.as_ref().is_some_and(|desk| !desk.is_refresh()) {
            // An initial sync reads and writes the same records meanwhile. What is only refreshed makes the older
            // changes of its records pointless, also those that wait.
            return 0;
        }
        let flows = member.flow.family.flows.iter();
        let waiting: u64 =
            flows.filter_map(|flow| self.awaiting.get(flow)).map(|awaiting| awaiting.records).sum();
        self.context.put_off_max.saturating_sub(waiting)
    }

    /// Notes what a batch has that is to be put off, from a place on. It is left out with what was refused.
    pub(super) async fn put_off(
        &mut self,
        batch: &Batch,
        done: usize,
        changes: &Changes,
    ) -> Result<(), LaneEnd> {
        let now = self.context.env.wall();
        let records = batch.records.get(done..).unwrap_or_default().iter();
        let put_off = records.filter(|record| changes.contains(&(record.flow, record.seq)));
        let notes: Vec<SetAside> = put_off
            .filter_map(|record| {
                let spec = &self.members.get(&record.flow)?.flow.spec;
                Some(SetAside { attempts: 0, ..SetAside::of(record, spec, needed_still(), now).awaiting() })
            })
            .collect();
        self.set_aside(&notes).await?;
        for note in &notes {
            // A later change in the same batch may make the note pointless, and is not applied when it does.
            let awaiting = Awaiting { records: 0, first: note.seq, retrying: 0 };
            let known = self.awaiting.entry(note.flow).or_insert(awaiting);
            *known = Awaiting { records: known.records + 1, first: known.first.min(note.seq), ..*known };
        }
        self.trial.left_out.extend(notes.iter().map(|note| (note.flow, note.seq)));
        Ok(())
    }

    /// Why a lane stands that waits for a map which depends on one of its members.
    pub(super) fn must_wait(&self, batch: &Batch, place: usize) -> LaneEnd {
        let flow = batch.records.get(place).map(|record| record.flow);
        let fault = needed_still().fix("resume the map that is behind; this one goes on by itself then");
        LaneEnd::Failed(self.fault(fault, flow.into_iter().collect()))
    }

    /// Whether a record may have been refused because a related map is behind.
    pub(super) fn is_behind(&self, record: &JournalRecord, class: FaultClass) -> bool {
        let behind = self.others_at.get(&record.flow).is_some_and(|others| *others < record.seq);
        behind && class == FaultClass::Reference
    }

    /// Whether a row of the source that was refused may only have to wait for another map.
    pub(super) fn may_only_wait(&self, row: &JournalRecord, class: FaultClass) -> Result<bool, StoreError> {
        Ok(self.is_behind(row, class) || self.is_refused_for_now(row.flow, row.seq, class)?)
    }

    /// Whether a record may have been refused only because of something older that waits for a map.
    pub(super) fn is_refused_for_now(
        &self,
        flow: FlowId,
        seq: Seq,
        class: FaultClass,
    ) -> Result<bool, StoreError> {
        let Some(member) = self.members.get(&flow) else { return Ok(false) };
        let relatives = self.relatives.get(&flow).map(Vec::as_slice).unwrap_or_default();
        // A unique value is only ever another record's of the same table.
        let others = relatives.iter().filter(|_| class == FaultClass::Reference);
        let families: Vec<&Family> =
            others.map(|relative| &*relative.family).chain([&*member.flow.family]).collect();
        let now = self.all_awaiting()?;
        let waits = |awaiting| {
            let mut first = families.iter().filter_map(|family| first_of(awaiting, &family.flows));
            first.any(|first| first < seq)
        };
        Ok(waits(&now) || waits(&self.awaiting))
    }
}

fn needed_still() -> Fault {
    let message = "a map that depends on this one is behind, and may still need this record";
    Fault::new(FaultClass::Reference, "apply in order", message)
}

/// Whether a note is of what only waits for another map, which is no failure of anything.
pub(super) fn is_no_failure(note: &SetAside) -> bool {
    note.status == ErrorStatus::Waiting && note.is_awaiting()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME_LANE: Dependent = Dependent { cursor: None, moves: true, tells: true, awaiting: None };

    fn paused(at: u64) -> Dependent {
        Dependent { cursor: Some(Seq(at)), moves: false, ..SAME_LANE }
    }

    fn moving(at: u64) -> Dependent {
        Dependent { cursor: Some(Seq(at)), ..SAME_LANE }
    }

    fn awaiting(at: u64) -> Dependent {
        Dependent { awaiting: Some(Seq(at)), ..SAME_LANE }
    }

    #[test]
    fn a_delete_is_put_off_for_a_child_that_does_not_come_and_waited_for_by_its_lane_if_it_does() {
        let at = |dependents: &[Dependent]| fate(Seq(5_000), dependents, true);
        assert_eq!(at(&[]), Fate::Goes);
        assert_eq!(at(&[SAME_LANE, paused(5_000), moving(5_001)]), Fate::Goes);
        assert_eq!(at(&[paused(4_999)]), Fate::PutOff);
        assert_eq!(at(&[moving(4_999)]), Fate::Waits);
        assert_eq!(at(&[moving(3_999)]), Fate::PutOff, "it is far behind");
        assert_eq!(at(&[moving(4_999), paused(4_999)]), Fate::PutOff, "one of them does not come");
    }

    #[test]
    fn a_delete_is_put_off_while_something_older_of_a_child_waits_itself() {
        assert_eq!(fate(Seq(5), &[awaiting(4)], true), Fate::PutOff);
        assert_eq!(fate(Seq(5), &[awaiting(4), moving(4)], true), Fate::PutOff);
        // Two maps may have the same change.
        assert_eq!(fate(Seq(5), &[awaiting(5)], true), Fate::Goes);
        assert_eq!(fate(Seq(5), &[awaiting(6)], true), Fate::Goes);
    }

    #[test]
    fn a_map_of_which_much_is_put_off_waits_as_a_whole() {
        assert_eq!(fate(Seq(5), &[paused(4)], false), Fate::Waits);
        assert_eq!(fate(Seq(5), &[awaiting(4)], false), Fate::Waits);
        assert_eq!(fate(Seq(5), &[paused(5)], false), Fate::Goes);
    }

    #[test]
    fn a_map_waits_as_a_whole_for_one_that_does_not_say_what_it_refers_to() {
        let silent = Dependent { tells: false, ..paused(4) };
        assert_eq!(fate(Seq(5), &[silent], true), Fate::Waits);
        assert_eq!(fate(Seq(4), &[silent], true), Fate::Goes);
    }
}
