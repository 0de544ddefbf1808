//! Who is in which lane: the moves, each of which leaves every flow in exactly one place.
//!
//! Pure: works on the stream's record, which the actor saves after a move and before anything is done in its name.

use crate::store::{FlowId, LaneRecord, Resting, Stay, StreamRecord};
use std::collections::BTreeSet;
use tandem_core::{Epoch, LaneId, Seq, StreamName};

/// How many lanes of its past are remembered of a flow.
const STAYS_MAX: usize = 64;

impl StreamRecord {
    /// A stream without flows: only the live lane, at the start of the journal.
    /// `number` is one that no stream of the data folder had before.
    pub(crate) fn new(stream: StreamName, number: u32) -> Self {
        let live = LaneRecord { lane: LaneId(1), cursor: Seq::ZERO, marked: None, members: Vec::new() };
        let dir = format!("journal/{number}");
        let (lanes, epoch) = (vec![live], Epoch(0));
        let (resting, trail) = (Vec::new(), Vec::new());
        Self { stream, dir, lanes, next_lane: 2, epoch, resting, trail, left: false }
    }

    /// As [`Self::new`], behind a stream of the same name whose watermarks are still at the destination.
    pub(crate) fn behind(old: &Self, number: u32) -> Self {
        let mut record = Self::new(old.stream.clone(), number);
        record.lanes.iter_mut().for_each(|lane| lane.lane = LaneId(old.next_lane));
        record.next_lane = old.next_lane + 1;
        // The last try to take them out was under the epoch that would have come next.
        record.epoch = Epoch(old.epoch.0 + 1);
        record
    }

    /// The live lane's number.
    pub(crate) fn live(&self) -> LaneId {
        self.lanes.first().map_or(LaneId(1), |lane| lane.lane)
    }

    /// A lane.
    pub(crate) fn lane(&self, lane: LaneId) -> Option<&LaneRecord> {
        self.lanes.iter().find(|record| record.lane == lane)
    }

    /// A lane, to be changed.
    pub(crate) fn lane_mut(&mut self, lane: LaneId) -> Option<&mut LaneRecord> {
        self.lanes.iter_mut().find(|record| record.lane == lane)
    }

    /// The lane that a flow is in.
    pub(crate) fn lane_of(&self, flow: FlowId) -> Option<&LaneRecord> {
        self.lanes.iter().find(|lane| lane.members.iter().any(|(member, _)| *member == flow))
    }

    /// How far a flow is settled. `None` for a flow that is not here.
    pub(crate) fn cursor_of(&self, flow: FlowId) -> Option<Seq> {
        let resting = self.resting.iter().find(|resting| resting.flow == flow).map(|resting| resting.cursor);
        resting.or_else(|| {
            self.lane_of(flow).and_then(|lane| {
                let member = lane.members.iter().find(|(member, _)| *member == flow);
                member.map(|(_, from)| (*from).max(lane.cursor))
            })
        })
    }

    /// Beyond what nothing of a resting flow can have taken effect.
    pub(crate) fn reach_of(&self, flow: FlowId) -> Option<Seq> {
        let resting = self.resting.iter().find(|resting| resting.flow == flow)?;
        let tried = if resting.unsettled { resting.tried? } else { resting.cursor };
        Some(tried.max(resting.cursor))
    }

    /// Takes flows out of a lane that stands still, at its cursor. `in_doubt`: a COMMIT up to this Seq may or may not
    /// have taken effect.
    pub(crate) fn rest(&mut self, lane: LaneId, flows: &BTreeSet<FlowId>, in_doubt: Option<Seq>) {
        for (flow, cursor) in self.leave(lane, |flow| flows.contains(&flow)) {
            self.resting.push(Resting { flow, cursor, unsettled: in_doubt.is_some(), tried: in_doubt });
        }
        self.drop_empty_lanes();
    }

    /// Takes flows out of a lane, and notes on their trail that they were there. Returns how far each had come.
    fn leave(&mut self, lane: LaneId, leaves: impl Fn(FlowId) -> bool) -> Vec<(FlowId, Seq)> {
        let Some(record) = self.lanes.iter_mut().find(|record| record.lane == lane) else {
            return Vec::new();
        };
        let (leaving, staying): (Vec<_>, Vec<_>) =
            std::mem::take(&mut record.members).into_iter().partition(|(flow, _)| leaves(*flow));
        record.members = staying;
        let (cursor, marked) = (record.cursor, record.marked);
        let stays =
            leaving.into_iter().map(|(flow, from)| Stay { flow, lane, from, to: from.max(cursor), marked });
        let stays: Vec<Stay> = stays.collect();
        self.trail.extend(&stays);
        for stay in &stays {
            self.shorten_trail(stay.flow);
        }
        stays.into_iter().map(|stay| (stay.flow, stay.to)).collect()
    }

    /// The trail of one flow is bounded; what is cut off can only be missed by a destination that loses hours.
    fn shorten_trail(&mut self, flow: FlowId) {
        if self.trail.iter().filter(|stay| stay.flow == flow).count() > STAYS_MAX
            && let Some(oldest) = self.trail.iter().position(|stay| stay.flow == flow)
        {
            self.trail.remove(oldest);
        }
    }

    /// Forgets where flows were before the oldest Seq that the journal still has.
    pub(crate) fn forget_trail(&mut self, oldest: Seq) {
        let awaited = self.awaited();
        self.trail.retain(|stay| stay.to >= oldest || awaited.contains(&stay.lane));
    }

    /// The lanes whose watermarks still have to tell what became of a flow that left.
    fn awaited(&self) -> BTreeSet<LaneId> {
        let unsettled = self.resting.iter().filter(|resting| resting.unsettled);
        unsettled.filter_map(|resting| self.last_stay(resting.flow)).map(|stay| stay.lane).collect()
    }

    fn last_stay(&self, flow: FlowId) -> Option<&Stay> {
        self.trail.iter().rev().find(|stay| stay.flow == flow)
    }

    /// Whether a lane's watermark may still be needed.
    pub(crate) fn knows(&self, lane: LaneId) -> bool {
        self.lane(lane).is_some() || self.trail.iter().any(|stay| stay.lane == lane)
    }

    /// Puts resting flows (or new ones, with the Seq at which they begin) into a lane of their own.
    pub(crate) fn open(&mut self, flows: &[(FlowId, Seq)]) -> LaneId {
        let lane = LaneId(self.next_lane);
        self.next_lane += 1;
        let joining = |flow: FlowId| flows.iter().any(|(other, _)| *other == flow);
        self.resting.retain(|resting| !joining(resting.flow));
        let cursor = flows.iter().map(|(_, from)| *from).min().unwrap_or(Seq::ZERO);
        self.lanes.push(LaneRecord { lane, cursor, marked: None, members: flows.to_vec() });
        lane
    }

    /// Moves the members of a lane into another; both stand still at the same Seq.
    pub(crate) fn join(&mut self, lane: LaneId, leader: LaneId) {
        if lane == leader || lane == self.live() || self.lane(leader).is_none() {
            return;
        }
        let joining = self.leave(lane, |_| true);
        let cursor = self.lane(lane).map(|record| record.cursor);
        self.lanes.retain(|record| record.lane != lane);
        if let Some(leader) = self.lane_mut(leader) {
            debug_assert!(
                cursor.is_none_or(|cursor| cursor == leader.cursor),
                "lanes join only where both stand"
            );
            let at = leader.cursor;
            leader.members.extend(joining.into_iter().map(|(flow, from)| (flow, from.max(at))));
        }
    }

    /// Gives some members of a lane that stands still a lane of their own, from where they are.
    pub(crate) fn split(&mut self, lane: LaneId, flows: &BTreeSet<FlowId>) -> Option<LaneId> {
        let leaving = self.leave(lane, |flow| flows.contains(&flow));
        (!leaving.is_empty()).then(|| self.open(&leaving))
    }

    /// Lets a flow that goes on behind another have that one's past, too: what the destination loses of it is
    /// missed here.
    pub(crate) fn inherit(&mut self, flow: FlowId, from: FlowId) {
        let past: Vec<Stay> =
            self.trail.iter().filter(|stay| stay.flow == from).map(|stay| Stay { flow, ..*stay }).collect();
        self.trail.extend(past);
    }

    /// Lets a flow that goes on behind a retry miss what the destination loses of that: the lanes of the retry are on
    /// its trail, where it stood meanwhile. It cannot do again what the retry did, and is found to have a gap.
    pub(crate) fn answer_for(&mut self, flow: FlowId, retry: FlowId, at: Seq) {
        let tried = self.trail.iter().filter(|stay| stay.flow == retry);
        let tried: Vec<Stay> = tried.map(|stay| Stay { flow, to: at, ..*stay }).collect();
        for stay in tried {
            if !self.trail.iter().any(|known| known.flow == flow && known.lane == stay.lane) {
                self.trail.push(stay);
                self.shorten_trail(flow);
            }
        }
    }

    /// Forgets a flow, wherever it is.
    pub(crate) fn forget(&mut self, flow: FlowId) {
        self.resting.retain(|resting| resting.flow != flow);
        self.lanes.iter_mut().for_each(|lane| lane.members.retain(|(member, _)| *member != flow));
        self.trail.retain(|stay| stay.flow != flow);
        self.drop_empty_lanes();
    }

    /// A lane without members is of no more use, unless it is the live lane, or its watermark still has to settle
    /// what became of a flow that left it.
    pub(super) fn drop_empty_lanes(&mut self) {
        let (live, awaited) = (self.live(), self.awaited());
        self.lanes
            .retain(|lane| lane.lane == live || !lane.members.is_empty() || awaited.contains(&lane.lane));
    }

    /// All flows, in lanes or resting.
    pub(crate) fn flows(&self) -> BTreeSet<FlowId> {
        let members = self.lanes.iter().flat_map(|lane| lane.members.iter().map(|(flow, _)| *flow));
        members.chain(self.resting.iter().map(|resting| resting.flow)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FlowId = FlowId(1);
    const B: FlowId = FlowId(2);

    fn stream() -> StreamRecord {
        StreamRecord::new(StreamName { source: "erp".into(), destination: "crm".into() }, 1)
    }

    #[test]
    fn a_flow_goes_on_exactly_where_it_left() {
        let mut stream = stream();
        let lane = stream.open(&[(A, Seq(10)), (B, Seq(4))]);
        assert_eq!(stream.cursor_of(A), Some(Seq(10)), "what a flow had before it joined stays skipped");
        stream.lane_mut(lane).unwrap().cursor = Seq(25);
        stream.rest(lane, &BTreeSet::from([A]), None);
        assert_eq!((stream.cursor_of(A), stream.cursor_of(B)), (Some(Seq(25)), Some(Seq(25))));
        let again = stream.open(&[(A, Seq(25))]);
        assert_ne!(again, lane, "lane numbers are never given twice");
        assert!(stream.resting.is_empty());
    }

    #[test]
    fn joining_moves_members_at_the_seq_where_both_stand() {
        let mut stream = stream();
        let lane = stream.open(&[(A, Seq(7))]);
        let live = stream.live();
        stream.lane_mut(live).unwrap().cursor = Seq(7);
        stream.join(lane, live);
        assert_eq!(stream.lane_of(A).map(|lane| lane.lane), Some(live));
        assert_eq!(stream.lanes.len(), 1);
    }

    #[test]
    fn a_lane_whose_outcome_is_unknown_is_kept_until_it_is_read() {
        let mut stream = stream();
        let lane = stream.open(&[(A, Seq(7))]);
        stream.rest(lane, &BTreeSet::from([A]), Some(Seq(12)));
        assert!(stream.lane(lane).is_some());
        assert_eq!((stream.cursor_of(A), stream.reach_of(A)), (Some(Seq(7)), Some(Seq(12))));
        stream.resting[0].unsettled = false;
        assert_eq!(stream.reach_of(A), Some(Seq(7)));
        stream.forget(B);
        assert!(stream.lane(lane).is_none());
    }
}
