//! Who is in which lane: flows that leave, flows that come, flows that block others.

use super::{PAUSE_TIMEOUT, StreamActor, patience};
use crate::failpoint::{FailPoint, Mistake};
use crate::retry::Retry;
use crate::store::{FlowId, StoreError};
use crate::stream::plan::{FlowPlan, StreamPlan};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::{LaneId, RateCap, Seq};

impl StreamActor {
    /// Takes flows out of their lanes that are not to be in one, and forgets those that are no more.
    pub(super) async fn let_go(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let follows = |flow: &FlowId| plan.flows.get(flow).is_some_and(|flow| flow.follow);
        let mut changed = false;
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let leaving: BTreeSet<FlowId> =
                self.members(lane).into_iter().filter(|flow| !follows(flow)).collect();
            if leaving.is_empty() || Mistake::PauseInName.is_made() {
                continue;
            }
            // Until the watermarks were read once, the record of an earlier life is only a lower bound.
            let in_doubt = self.stop(lane, PAUSE_TIMEOUT).await || !self.settled;
            let tried = in_doubt.then(|| self.tried(lane));
            self.parts.record.rest(lane, &leaving, tried);
            if !in_doubt {
                self.forget_uncommitted_of(&leaving, plan)?;
            }
            changed = true;
            // What stood in the way of those who left is no fault of those who stay, nor of a lane that writes nothing:
            // nobody is to wait for it.
            let is_empty = self.members(lane).is_empty();
            if let Some(slot) = self.lanes.get_mut(&lane)
                && (is_empty || (!slot.blamed.is_empty() && slot.blamed.is_subset(&leaving)))
            {
                slot.retry = Retry::default();
                slot.blamed.clear();
            }
        }
        let gone: Vec<FlowId> =
            self.parts.record.flows().into_iter().filter(|flow| !plan.flows.contains_key(flow)).collect();
        for flow in &gone {
            self.parts.record.forget(*flow);
            changed = true;
        }
        if changed {
            FailPoint::LetGoUnsaved.pass();
            self.save()?;
            FailPoint::LetGoSaved.pass();
        }
        for flow in gone {
            self.parts.journal.with(|journal| journal.drop_flow(flow)).unwrap_or_else(|error| {
                tracing::warn!(stream = %self.parts.record.stream, "the shelf of a stopped map was not removed: {error}");
            });
        }
        Ok(())
    }

    /// Up to where a lane may have committed, of which that is in doubt.
    fn tried(&self, lane: LaneId) -> Seq {
        if self.settled {
            return self.lanes.get(&lane).map(|slot| slot.progress.borrow().tried).unwrap_or_default();
        }
        // In an earlier life it may have tried all that is durable.
        self.parts.journal.with(|journal| journal.durable())
    }

    /// Puts flows into a lane that are to be in one and are not. Those that begin together share one, unless they
    /// are to move at different paces: then each pace has its own.
    pub(super) fn take_in(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let record = &self.parts.record;
        let unsettled: BTreeSet<FlowId> =
            record.resting.iter().filter(|resting| resting.unsettled).map(|resting| resting.flow).collect();
        let ready = plan
            .flows
            .values()
            .filter(|flow| {
                let mut itself_and_before = plan.skipped_by(flow.flow).chain([flow.flow]);
                flow.follow
                    && record.lane_of(flow.flow).is_none()
                    && !itself_and_before.any(|flow| unsettled.contains(&flow))
                    && self.may_go(flow, plan)
            })
            .filter_map(|flow| Some((flow.flow, self.cursor_of(plan, flow.flow)?)));
        let ready: BTreeMap<FlowId, Seq> = ready.collect();
        // Nobody goes before whom it must not overtake.
        let goes = |flow: &FlowId| ready.contains_key(flow) || record.lane_of(*flow).is_some();
        let is_late = |flow: &FlowId| {
            let waits = plan.flows.get(flow).is_some_and(|flow| flow.follow && flow.start.is_some());
            waits && !goes(flow)
        };
        let led = |(flow, _): &(FlowId, Seq)| {
            plan.flows
                .get(flow)
                .is_none_or(|flow| flow.retry.is_some() || !flow.ancestors.iter().any(is_late))
        };
        let ready: Vec<(FlowId, Seq)> = ready.iter().map(|(flow, from)| (*flow, *from)).filter(led).collect();
        let is_retry =
            |(flow, _): &(FlowId, Seq)| plan.flows.get(flow).is_some_and(|flow| flow.retry.is_some());
        let (retries, mut joining): (Vec<_>, Vec<_>) = ready.into_iter().partition(is_retry);
        if joining.is_empty() && retries.is_empty() {
            return Ok(());
        }
        if Mistake::ForgetQueue.is_made() {
            let head = *self.parts.journal.durable().borrow();
            joining.iter_mut().for_each(|(_, from)| *from = head);
        }
        let mut lanes: BTreeMap<Option<RateCap>, Vec<(FlowId, Seq)>> = BTreeMap::new();
        for (flow, from) in &joining {
            let cap = plan.flows.get(flow).and_then(|flow| flow.cap);
            lanes.entry(cap).or_default().push((*flow, *from));
        }
        for members in lanes.values() {
            self.parts.record.open(members);
        }
        for (flow, at) in &joining {
            let before: Vec<FlowId> = plan.skipped_by(*flow).collect();
            before.iter().rev().for_each(|before| self.parts.record.inherit(*flow, *before));
            let tried = plan.flows.get(flow).map(|flow| self.alternates(flow, plan)).unwrap_or_default();
            tried.into_iter().for_each(|retry| self.parts.record.answer_for(*flow, retry, *at));
        }
        // Each by itself: a retry is never met by another lane.
        for retry in retries {
            self.parts.record.open(&[retry]);
        }
        FailPoint::OpenUnsaved.pass();
        self.save()?;
        FailPoint::OpenSaved.pass();
        Ok(())
    }

    /// The flows that a flow takes turns with.
    pub(super) fn alternates(&self, flow: &FlowPlan, plan: &StreamPlan) -> Vec<FlowId> {
        let others = plan.flows.values().filter(|other| flow.alternates_with(other));
        others.map(|other| other.flow).collect()
    }

    /// Whether it is settled what those have done that a flow takes turns with.
    fn may_go(&self, flow: &FlowPlan, plan: &StreamPlan) -> bool {
        let gone = |other: &FlowId| self.parts.record.lane_of(*other).is_none() && !self.is_unsettled(*other);
        self.alternates(flow, plan).iter().all(gone)
    }

    /// Gives flows that have blocked their lane for long a lane of their own, with what is related to them.
    pub(super) async fn isolate_stalled(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let now = self.parts.env.now();
        let blocked: Vec<(LaneId, BTreeSet<FlowId>)> = self
            .lanes
            .iter()
            .filter(|(_, lane)| {
                !lane.blamed.is_empty() && lane.retry.lasts(now) >= patience(lane.retry.fault())
            })
            .map(|(id, lane)| (*id, lane.blamed.clone()))
            .collect();
        for (lane, mut flows) in blocked {
            let members = self.members(lane);
            for flow in flows.clone() {
                flows.extend(plan.flows.get(&flow).into_iter().flat_map(|flow| flow.related().copied()));
            }
            flows.retain(|flow| members.contains(flow));
            if flows.len() == members.len() && lane != self.parts.record.live() {
                continue;
            }
            self.stop(lane, PAUSE_TIMEOUT).await;
            let Some(own) = self.parts.record.split(lane, &flows) else { continue };
            let (retry, trial) = self
                .lanes
                .get_mut(&lane)
                .map(|slot| (std::mem::take(&mut slot.retry), slot.trial.clone()))
                .unwrap_or_default();
            if let Some(slot) = self.lanes.get_mut(&lane) {
                slot.blamed.clear();
            }
            tracing::warn!(stream = %self.parts.record.stream, lane = %own, fault = retry.fault().map(ToString::to_string), "maps that block others were given a lane of their own");
            FailPoint::SplitUnsaved.pass();
            self.save()?;
            FailPoint::SplitSaved.pass();
            let slot = self.slot(own);
            slot.retry = retry;
            slot.trial = trial;
            slot.stalled = true;
        }
        Ok(())
    }
}
