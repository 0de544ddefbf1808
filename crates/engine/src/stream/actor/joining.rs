//! Which lane follows which, and how one joins the other.

use super::{JOIN_TIMEOUT, PAUSE_TIMEOUT, StreamActor};
use crate::failpoint::FailPoint;
use crate::retry::Retry;
use crate::store::{FlowId, StoreError};
use crate::stream::lane::Terms;
use crate::stream::plan::StreamPlan;
use std::collections::BTreeMap;
use tandem_core::{FaultClass, LaneId, RateCap, Seq};

impl StreamActor {
    /// The lanes that a lane must not overtake, nearest first.
    pub(super) fn leaders(&self, lane: LaneId, plan: &StreamPlan) -> Vec<LaneId> {
        let live = self.parts.record.live();
        if lane == live {
            return Vec::new();
        }
        let members = self.members(lane);
        // Errors lie behind everything that their map has passed.
        if members.iter().any(|flow| plan.flows.get(flow).is_some_and(|flow| flow.retry.is_some())) {
            return Vec::new();
        }
        let ancestors =
            members.iter().filter_map(|flow| plan.flows.get(flow)).flat_map(|flow| &flow.ancestors);
        let mut leaders: Vec<LaneId> = ancestors
            .filter_map(|flow| self.parts.record.lane_of(*flow))
            .map(|record| record.lane)
            .filter(|other| *other != lane && *other != live)
            .collect();
        leaders.sort();
        leaders.dedup();
        leaders.push(live);
        leaders.sort_by_key(|lane| self.cursor(*lane));
        leaders
    }

    /// On what terms a lane moves. The live lane is never capped; another is, by the smallest cap of its members.
    /// Lanes with different caps stay apart until the first of them is live: neither pulls the other along, or
    /// holds it up more than the order between them does. Only a lane that waits for another map is joined whatever
    /// the caps are: its delete needs what that map has behind it, which may not overtake it.
    pub(super) fn terms(&self, lane: LaneId, plan: &StreamPlan) -> Terms {
        let live = self.parts.record.live();
        let leaders = self.leaders(lane, plan).into_iter().filter(|leader| *leader != live);
        let cap = self.cap(lane, plan);
        let joins = leaders.into_iter().all(|leader| self.cap(leader, plan) == cap || self.waits(leader));
        Terms { cap: cap.map(|cap| cap.per_second), joins }
    }

    /// Whether a lane stands where it needs what another map has behind it.
    fn waits(&self, lane: LaneId) -> bool {
        let fault = self.lanes.get(&lane).and_then(|slot| slot.retry.fault());
        fault.is_some_and(|fault| fault.class == FaultClass::Reference)
    }

    fn cap(&self, lane: LaneId, plan: &StreamPlan) -> Option<RateCap> {
        if lane == self.parts.record.live() {
            return None;
        }
        let members = self.members(lane);
        members.iter().filter_map(|flow| plan.flows.get(flow)?.cap).min()
    }

    /// The flows outside of a lane that depend on a member of it, and whether it is known where they begin.
    pub(super) fn outside(&self, lane: LaneId, plan: &StreamPlan) -> BTreeMap<FlowId, bool> {
        let members = self.members(lane);
        let dependents =
            members.iter().filter_map(|flow| plan.flows.get(flow)).flat_map(|flow| &flow.dependents);
        let outside = dependents.filter(|flow| !members.contains(flow));
        outside.map(|flow| (*flow, self.cursor_of(plan, *flow).is_some())).collect()
    }

    /// Lets lanes join the one that they have met.
    pub(super) async fn join_lanes(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let live = self.parts.record.live();
        let met: Vec<LaneId> = self.lanes.iter().filter(|(_, lane)| lane.met).map(|(id, _)| *id).collect();
        for lane in met {
            let Some(leader) = self.leaders(lane, plan).first().copied() else { continue };
            if !self.terms(lane, plan).joins {
                // The plan has changed since they met.
                self.slot(lane).met = false;
                continue;
            }
            if self.fenced.is_none() || (leader == live && self.slot(live).retry.fault().is_some()) {
                // The leader stands, and nobody overtakes it: the other stands with it.
                continue;
            }
            self.slot(lane).met = false;
            if self.parts.record.lane(lane).is_none() || self.stop(leader, PAUSE_TIMEOUT).await {
                continue;
            }
            if leader == live && self.slot(live).retry.fault().is_some() {
                continue;
            }
            let at = self.cursor(leader);
            if self.cursor(lane) < at {
                if !self.connection_for(lane).await {
                    continue;
                }
                self.start(lane, plan, Some(at));
                if !self.ends_within(lane, JOIN_TIMEOUT).await {
                    // Not there in time: the leader goes on, and the other follows it as before.
                    if let Some(run) = self.slot(lane).run.as_ref() {
                        run.orders.send_modify(|orders| orders.until = None);
                    }
                    continue;
                }
            }
            if self.cursor(lane) == at && self.slot(lane).retry.fault().is_none() {
                self.join(lane, leader, at)?;
            }
        }
        Ok(())
    }

    /// Moves a lane's members into its leader; both stand still at the same Seq.
    pub(super) fn join(&mut self, lane: LaneId, leader: LaneId, at: Seq) -> Result<(), StoreError> {
        for id in [leader, lane] {
            if let Some(record) = self.parts.record.lane_mut(id) {
                record.cursor = at;
            }
        }
        self.parts.record.join(lane, leader);
        FailPoint::JoinUnsaved.pass();
        self.save()?;
        FailPoint::JoinSaved.pass();
        if let Some(slot) = self.lanes.remove(&lane) {
            self.keep_counts(&slot);
            self.spare = self.spare.take().or(slot.connection);
        }
        // What the leader waited for may have come with this lane.
        let slot = self.slot(leader);
        slot.retry = Retry::default();
        slot.blamed.clear();
        tracing::info!(stream = %self.parts.record.stream, %lane, %leader, %at, "a lane has joined another");
        Ok(())
    }
}
