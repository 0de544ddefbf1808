//! From the journal's records to a batch of writes.

use super::outcome::Became;
use super::plan::FlowPlan;
use crate::failpoint::Mistake;
use crate::journal::{Piece, PieceEnd, Record};
use crate::store::{FlowId, SetAside};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::map::{FlowSpec, Misfit, Pointer, Projected, Projection, Refusal, misfit};
use tandem_core::{Change, Fault, FaultClass, IntegrationKey, Op, Position, Relation, Seq, WallTime, Write};

/// How many relations a member keeps its projections of: tables change their shape rarely, but each journal segment
/// describes them anew.
const PROJECTIONS_KEPT_MAX: usize = 8;

/// A flow in a lane.
pub(crate) struct Member {
    pub(crate) flow: Arc<FlowPlan>,
    /// Applied up to here when it joined: what is at or below is skipped.
    pub(super) from: Seq,
    /// Queues of its map that were preserved, and that are no part of what this lane does.
    pub(super) kept: Vec<KeptRange>,
    /// How its records name those of other flows that they refer to.
    pub(super) pointers: Vec<PointsTo>,
    projections: Vec<Bound>,
}

/// How the records of a flow name those of another one that they refer to.
#[derive(Clone)]
pub(super) struct PointsTo {
    /// The other flow, which may be the same.
    pub(super) flow: Arc<FlowPlan>,
    /// Preserved queues of its map.
    pub(super) kept: Vec<KeptRange>,
    pub(super) by: Pointer,
}

/// What is known of a relation.
struct Bound {
    relation: Arc<Relation>,
    misfit: Option<Misfit>,
    projection: Result<Projection, Refusal>,
}

/// Records of a shape that a flow was not resolved for: nothing of them is projected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unfit {
    pub(super) flow: FlowId,
    /// Why, as people are told.
    pub(super) fault: Fault,
}

/// What of a flow's queue is preserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptRange {
    pub(super) flow: FlowId,
    /// Applied up to here.
    pub(super) beyond: Seq,
    /// Its last Seq.
    pub(super) until: Seq,
}

impl Member {
    pub(super) fn new(flow: Arc<FlowPlan>, from: Seq, kept: Vec<KeptRange>, pointers: Vec<PointsTo>) -> Self {
        Self { flow, from, kept, pointers, projections: Vec::new() }
    }

    /// The records of other maps that one of its records refers to once a change is made.
    pub(super) fn refers_to<'a>(
        &'a self,
        change: &'a Change,
    ) -> impl Iterator<Item = (&'a FlowPlan, IntegrationKey)> {
        self.pointers.iter().filter_map(|pointer| Some((&*pointer.flow, pointer.by.key_in(change)?)))
    }

    /// Why a record must not be projected: its table has another shape than the flow was resolved for, or was truncated. One that was
    /// captured before the map was resolved may have any shape, and is refused by itself if it cannot be bound; so may
    /// one that is tried again.
    fn unfit(&mut self, record: &Record) -> Option<Unfit> {
        if record.seq <= self.flow.shaped_at || self.flow.retry.is_some() {
            return None;
        }
        let flow = self.flow.clone();
        if matches!(record.change.op, Op::Truncate) && flow.copy.is_none() {
            let (spec, refusal) = (&flow.spec, Refusal::Truncated);
            let fix = format!(
                "tandem map resume {0} leaves the destination's records as they are; then tandem map verify {0} \
                 --repair with the side of the source deletes those that the source no longer has",
                spec.map
            );
            let fault = Fault::new(FaultClass::Schema, format!("read {}", spec.source), refusal.to_string());
            let fault = fault.code(TABLE_TRUNCATED).table(spec.source.to_string()).fix(fix);
            return Some(Unfit { flow: flow.flow, fault });
        }
        let misfit = self.bound(&record.change.relation)?.misfit.as_ref()?;
        if Mistake::OverlookShapes.is_made() {
            return None;
        }
        let spec = &flow.spec;
        let fault = Fault::new(FaultClass::Schema, format!("read {}", spec.source), misfit.to_string());
        let fault = fault.code(SHAPE_CHANGED).table(spec.source.to_string()).fix(misfit.fix());
        Some(Unfit { flow: flow.flow, fault })
    }

    /// What a record asks for.
    pub(super) fn project(&mut self, record: &Record) -> Result<Projected, Refusal> {
        // Whatever shape the table had: nothing of it could be tried again.
        if matches!(record.change.op, Op::Truncate) {
            return Err(Refusal::Truncated);
        }
        match self.bound(&record.change.relation).map(|bound| &bound.projection) {
            Some(Ok(projection)) => projection.project(&record.change, record.seq, record.transaction),
            Some(Err(refusal)) => Err(refusal.clone()),
            None => Err(Refusal::MissingKey),
        }
    }

    fn bound(&mut self, relation: &Arc<Relation>) -> Option<&Bound> {
        let is_known =
            |known: &Bound| Arc::ptr_eq(&known.relation, relation) || Mistake::ForgetShapes.is_made();
        let found = self.projections.iter().position(is_known);
        let place = found.unwrap_or_else(|| {
            if self.projections.len() >= PROJECTIONS_KEPT_MAX {
                drop(self.projections.remove(0));
            }
            let misfit = misfit(&self.flow.spec, relation);
            let projection = Projection::bind(&self.flow.spec, self.flow.target.clone(), relation);
            self.projections.push(Bound { relation: relation.clone(), misfit, projection });
            self.projections.len() - 1
        });
        self.projections.get(place)
    }
}

/// The code of a fault that says that records have another shape than their flow was resolved for.
pub(crate) const SHAPE_CHANGED: &str = "shape_changed";

/// The code of a fault that says that the source's table was truncated.
pub(crate) const TABLE_TRUNCATED: &str = "table_truncated";

/// Whether a fault is that of a record that must not be projected.
pub(super) fn is_unfit(fault: &Fault) -> bool {
    matches!(fault.code.as_deref(), Some(SHAPE_CHANGED | TABLE_TRUNCATED))
}

/// The fault of a record that asks for nothing that could be written.
pub(super) fn unprojectable(refusal: &Refusal, spec: &FlowSpec) -> Fault {
    Fault::new(FaultClass::Application, "project the record", refusal.to_string())
        .code(refusal.code())
        .fix(refusal.fix())
        .table(spec.source.to_string())
}

/// Consecutive changes of a lane's members, as writes.
pub(crate) struct Batch {
    pub(crate) writes: Vec<Write>,
    /// For each write, the record that it was made of: what is kept if it is refused.
    pub(crate) records: Vec<Record>,
    /// Changes that cannot be written.
    pub(super) refused: Vec<SetAside>,
    /// The source's position before this batch, for commits in the middle of it.
    pub(super) start: Position,
    /// Settled with this batch.
    pub(crate) through: Seq,
    pub(super) end: PieceEnd,
    /// All changes of members in it, and what becomes of them unless something comes in between.
    pub(super) changes: Vec<(Seq, FlowId, Became)>,
    /// What stands right behind it and must not be projected.
    pub(super) unfit: Option<Unfit>,
}

impl Batch {
    /// Projects a piece of the journal. It ends before the source transaction that brings the first record of a shape
    /// which its flow was not resolved for.
    pub(super) fn project(
        piece: Piece,
        members: &mut BTreeMap<FlowId, Member>,
        start: Position,
        now: WallTime,
    ) -> Self {
        let mut batch = Batch {
            writes: Vec::with_capacity(piece.records.len()),
            records: Vec::with_capacity(piece.records.len()),
            refused: Vec::new(),
            start,
            through: piece.through,
            end: piece.end,
            changes: Vec::with_capacity(piece.records.len()),
            unfit: None,
        };
        for record in piece.records {
            let Some(member) = members.get_mut(&record.flow) else { continue };
            if let Some(unfit) = member.unfit(&record) {
                let before = batch.before_transaction(record.transaction);
                batch.changes.retain(|(seq, ..)| *seq <= before.through);
                return Batch { changes: batch.changes, unfit: Some(unfit), ..before };
            }
            let projected = member.project(&record);
            let became = match &projected {
                Ok(Projected::Write(_)) => Became::Applied,
                Ok(Projected::Filtered) => Became::Filtered,
                Err(_) => Became::SetAside,
            };
            batch.changes.push((record.seq, record.flow, became));
            match projected {
                Ok(Projected::Filtered) => {}
                Ok(Projected::Write(write)) => {
                    batch.writes.push(write);
                    batch.records.push(record);
                }
                Err(refusal) => {
                    let fault = unprojectable(&refusal, &member.flow.spec);
                    batch.refused.push(SetAside::of(&record, &member.flow.spec, fault, now));
                }
            }
        }
        batch
    }

    /// Leaves out the writes at these places, which rise.
    pub(crate) fn leave_out(&mut self, places: &[usize]) {
        let stays = |place: &mut usize| {
            *place += 1;
            places.binary_search(&(*place - 1)).is_err()
        };
        let (mut write, mut record) = (0, 0);
        self.writes.retain(|_| stays(&mut write));
        self.records.retain(|_| stays(&mut record));
    }

    /// What stands before the source transaction of the write at a place; or, if nothing does, the Seq before it.
    pub(super) fn before(&self, place: usize) -> Result<Batch, Seq> {
        let transaction = self.writes.get(place).map(|write| write.transaction).ok_or(Seq::ZERO)?;
        let before = self.before_transaction(transaction);
        let is_empty = before.writes.is_empty() && before.refused.is_empty();
        if is_empty { Err(before.through) } else { Ok(before) }
    }

    /// What stands before a source transaction.
    fn before_transaction(&self, transaction: Seq) -> Batch {
        let through = Seq(transaction.0.saturating_sub(1));
        let end = self.writes.partition_point(|write| write.transaction < transaction);
        let refused: Vec<SetAside> =
            self.refused.iter().filter(|error| error.seq <= through).cloned().collect();
        let records: Vec<_> = self.records.iter().take(end).cloned().collect();
        let end = PieceEnd::Whole { position: self.start.clone() };
        let writes = self.writes.iter().take(records.len()).cloned().collect();
        let start = self.start.clone();
        // Its changes have been read along with all others.
        let (changes, unfit) = (Vec::new(), None);
        Batch { writes, records, refused, start, through, end, changes, unfit }
    }

    /// The source's position at the end, or before it if the batch ends inside of a source transaction.
    pub(super) fn position(&self) -> Position {
        match &self.end {
            PieceEnd::Whole { position } if !position.0.is_empty() => position.clone(),
            PieceEnd::Whole { .. } => self.start.clone(),
            PieceEnd::Open | PieceEnd::Head => self.start.clone(),
        }
    }
}
