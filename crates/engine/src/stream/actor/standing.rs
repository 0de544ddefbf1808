//! How a stream stands: where its flows are, and how far.

use super::{Lane, StreamActor};
use crate::failpoint::Mistake;
use crate::journal::Span;
use crate::store::FlowId;
use crate::store::StreamRecord;
use crate::stream::batch::{KeptRange, is_unfit};
use crate::stream::lane::Progress;
use crate::stream::outcome::Outcomes;
use crate::stream::plan::{ByClass, FlowPlan, FlowStatus, Opening, Place, StreamPlan, StreamStatus};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::{Fault, FaultClass, LaneId, Seq};

/// What became of a flow's changes in lanes that are no more, and what was found out when one was settled.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) outcomes: Outcomes,
    refused: ByClass,
}

impl Lane {
    /// The fault of a table of this flow whose shape is not what it was, as long as the lane has not got past it.
    fn misshapen(&self, flow: FlowId) -> Option<Fault> {
        let fault = self.retry.fault().filter(|fault| fault.class == FaultClass::Schema)?;
        let stands = self.progress.borrow().cursor <= self.blocked_at;
        (stands && self.blamed.contains(&flow)).then(|| fault.clone())
    }
}

impl StreamActor {
    /// How far a flow is settled, or where it begins.
    pub(super) fn cursor_of(&self, plan: &StreamPlan, flow: FlowId) -> Option<Seq> {
        let recorded = self.parts.record.cursor_of(flow);
        let wanted = plan.flows.get(&flow);
        // What was left behind may have been settled since, by errors that were tried again.
        let tried = plan.covering(flow).and_then(|retry| self.parts.record.cursor_of(retry));
        let left_behind = wanted.filter(|wanted| wanted.until.is_some()).and_then(|wanted| wanted.start);
        recorded
            .map(|recorded| recorded.max(tried.unwrap_or_default()).max(left_behind.unwrap_or_default()))
            .or_else(|| {
                // The one before may have come further before it was let go of.
                let before = wanted?.succeeds.and_then(|before| self.cursor_of(plan, before));
                wanted?.start.map(|start| before.map_or(start, |before| before.max(start)))
            })
    }

    /// What of the queues of a flow's family is preserved.
    pub(super) fn kept_of(&self, plan: &StreamPlan, flow: &FlowPlan) -> Vec<KeptRange> {
        let range = |kept: &FlowId| {
            let until = plan.flows.get(kept)?.until?;
            let beyond = self.cursor_of(plan, *kept)?;
            (beyond < until).then_some(KeptRange { flow: *kept, beyond, until })
        };
        flow.family.kept.iter().filter_map(range).collect()
    }

    /// Beyond what nothing of a flow that rests can have taken effect. `None` if that is not known.
    pub(super) fn reach_of(&self, plan: &StreamPlan, flow: FlowId) -> Option<Seq> {
        if self.parts.record.cursor_of(flow).is_some() {
            return self.parts.record.reach_of(flow);
        }
        let flow = plan.flows.get(&flow)?;
        let before = flow.succeeds.filter(|before| plan.flows.contains_key(before));
        let before = before.map_or(flow.start, |before| self.reach_of(plan, before));
        Some(flow.start?.max(before?))
    }

    pub(super) fn cursor(&self, lane: LaneId) -> Seq {
        let shown = self.lanes.get(&lane).map(|slot| slot.progress.borrow().cursor);
        shown.or(self.parts.record.lane(lane).map(|record| record.cursor)).unwrap_or_default()
    }

    /// Whether a flow has left its lane, and the outcome of that one's last COMMIT is not known.
    pub(super) fn is_unsettled(&self, flow: FlowId) -> bool {
        self.parts.record.resting.iter().any(|resting| resting.flow == flow && resting.unsettled)
    }

    pub(super) fn members(&self, lane: LaneId) -> BTreeSet<FlowId> {
        let members =
            self.parts.record.lane(lane).map(|lane| lane.members.iter().map(|(flow, _)| *flow).collect());
        members.unwrap_or_default()
    }

    /// Takes what the runs have done into the record.
    pub(super) fn note_progress(&mut self) {
        let progress = self.progress();
        self.keep_progress(&progress);
    }

    fn progress(&self) -> BTreeMap<LaneId, Progress> {
        self.lanes.iter().map(|(lane, slot)| (*lane, slot.progress.borrow().clone())).collect()
    }

    fn keep_progress(&mut self, progress: &BTreeMap<LaneId, Progress>) {
        for record in &mut self.parts.record.lanes {
            if let Some(progress) = progress.get(&record.lane) {
                record.cursor = record.cursor.max(progress.cursor);
                record.marked = record.marked.max(progress.marked);
            }
        }
    }

    /// Begins the books of a flow, if it has none and the journal counts it.
    fn open_books(&mut self, flow: FlowId, cursor: Seq, outcomes: Outcomes) {
        if self.openings.contains_key(&flow) {
            return;
        }
        let counted = self
            .parts
            .journal
            .with(|journal| Some((journal.turnover(flow)?, journal.queued(flow, cursor).ok()?)));
        if let Some((turnover, queued)) = counted {
            self.openings.insert(flow, Opening { queued: queued.records, turnover, outcomes });
        }
    }

    /// Notes which changes were found to be past, or not to be, when the destination was asked.
    pub(super) fn note_settled(&mut self, before: &StreamRecord) {
        for flow in before.flows() {
            let (was, is) = (before.cursor_of(flow), self.parts.record.cursor_of(flow));
            let (Some(was), Some(is)) = (was, is) else { continue };
            if was == is {
                continue;
            }
            let between = Span { from: was.min(is), until: Some(was.max(is)) };
            let counts = self.parts.journal.with(|journal| journal.count(flow, between)).unwrap_or_default();
            let outcomes = &mut self.counted_before.entry(flow).or_default().outcomes;
            *if was < is { &mut outcomes.found } else { &mut outcomes.undone } += counts.records;
        }
    }

    pub(super) fn keep_counts(&mut self, slot: &Lane) {
        let progress = slot.progress.borrow();
        for (flow, outcomes) in &progress.outcomes {
            self.counted_before.entry(*flow).or_default().outcomes.add_all(outcomes);
        }
        for (flow, n) in &progress.refused {
            self.counted_before.entry(*flow).or_default().refused.add_all(n);
        }
    }

    pub(super) fn publish(&mut self, plan: &StreamPlan) {
        // Cursors and what was counted up to them are of one moment.
        let progress = self.progress();
        self.keep_progress(&progress);
        let live = self.parts.record.live();
        let mut flows = BTreeMap::new();
        for (flow, wanted) in &plan.flows {
            let lane = self.parts.record.lane_of(*flow).map(|lane| lane.lane);
            let before = self.counted_before.get(flow).cloned().unwrap_or_default();
            let Counted { mut outcomes, mut refused } = before;
            for progress in progress.values() {
                progress.outcomes.get(flow).into_iter().for_each(|more| outcomes.add_all(more));
                progress.refused.get(flow).into_iter().for_each(|more| refused.add_all(more));
            }
            if wanted.retry.is_some()
                && let Some(progress) = lane.and_then(|lane| progress.get(&lane))
            {
                progress.refused.values().for_each(|more| refused.add_all(more));
            }
            let cursor = self.cursor_of(plan, *flow).unwrap_or_default();
            if wanted.until.is_none()
                && wanted.retry.is_none()
                && self.parts.record.cursor_of(*flow).is_some()
            {
                self.open_books(*flow, cursor, outcomes);
            }
            let slot = lane.and_then(|lane| self.lanes.get(&lane));
            flows.insert(
                *flow,
                FlowStatus {
                    place: match lane {
                        None => Place::Resting,
                        Some(_) if Mistake::PauseInName.is_made() && !wanted.follow => Place::Resting,
                        Some(lane) if lane == live => Place::Live,
                        Some(_) => Place::CatchingUp,
                    },
                    cursor,
                    reach: self.reach_of(plan, *flow),
                    misshapen: slot.and_then(|slot| slot.misshapen(*flow)),
                    outcomes,
                    opening: self.openings.get(flow).copied(),
                    refused,
                    attempts: self.attempts.get(flow).cloned().unwrap_or_default(),
                    stalled: slot
                        .filter(|slot| slot.stalled || wanted.retry.is_some())
                        .and_then(|slot| slot.retry.fault().cloned()),
                    unsettled: self.is_unsettled(*flow),
                },
            );
        }
        // That a table has changed says nothing about whether the destination answers. Nor does what stands in the way of
        // flows that were given a lane of their own for it: theirs it is to say so, and the others go on.
        let is_theirs = |slot: &Lane, fault: &Fault| slot.stalled && !fault.class.breaks_connection();
        let faults = self.lanes.values().filter_map(|slot| Some((slot, slot.retry.fault()?)));
        let mut blocking = faults.filter(|(slot, fault)| !is_unfit(fault) && !is_theirs(slot, fault));
        let blocked = blocking.next().map(|(_, fault)| fault.clone());
        let status = StreamStatus {
            version: plan.version,
            flows,
            fault: self.connect.fault().cloned().or(blocked),
            broken: self.broken.clone(),
            ended: false,
            left: None,
        };
        let changed = self.parts.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
        if changed {
            self.parts.bell.notify_one();
        }
    }
}
