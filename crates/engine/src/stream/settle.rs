//! What the destination says it has, against what we know: settles what was in doubt, and finds what was lost.
//!
//! A destination loses transactions from its end: a crash under asynchronous commit, a failover to a copy that was
//! behind, a restore. What it says then is that some lane's watermark is lower than one that we know was committed.
//! Everything committed after that is gone, too, whichever lane it came through, and lanes have met and parted since:
//! a flow that joined the lane after the point of loss has lost its place in the lane that it was in *before*. So
//! each flow is followed along its trail to the oldest stay that lost something, and goes on from there.
//!
//! Pure: works on the stream's record. The watermarks of all lanes on a trail are kept at the destination.

use crate::store::{FlowId, Resting, Stay, StreamRecord};
use std::collections::BTreeMap;
use tandem_core::{LaneId, Seq};

/// A flow that the destination has lost something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) flow: FlowId,
    /// Where it was.
    pub(crate) was: Seq,
    /// Where it is now.
    pub(crate) now: Seq,
}

/// The destination has not even the first watermark of a lane that it had: how far back it went cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknowable {
    pub(crate) lane: LaneId,
    pub(crate) known: Seq,
}

/// Where a flow's trail breaks.
struct Break {
    /// The stay that lost something, counted from the oldest.
    stay: usize,
    /// What is left of it.
    now: Seq,
}

impl StreamRecord {
    /// The record with the destination's watermarks taken over, and what the destination has lost.
    pub(crate) fn settled(&self, marks: &BTreeMap<LaneId, Seq>) -> Result<(Self, Vec<Lost>), Unknowable> {
        let mut next = self.clone();
        next.settle_doubts(marks);
        let mut lost = Vec::new();
        for flow in next.flows() {
            let Some(broken) = next.break_of(flow, marks)? else { continue };
            let was = next.cursor_of(flow).unwrap_or_default();
            lost.push(Lost { flow, was, now: broken.now });
            next.go_back(flow, &broken, marks);
        }
        for place in 0..next.lanes.len() {
            let Some(lane) = next.lanes.get_mut(place) else { break };
            let mark = marks.get(&lane.lane).copied();
            if mark >= lane.marked {
                lane.cursor = lane.cursor.max(mark.unwrap_or_default());
            } else if let Some(back) = mark.or(lane.members.iter().map(|(_, from)| *from).min()) {
                lane.cursor = back;
            }
            lane.marked = mark;
        }
        next.drop_empty_lanes();
        Ok((next, lost))
    }

    /// The watermarks that are known to be committed, of all lanes that are or are on a trail.
    pub(crate) fn known_marks(&self) -> BTreeMap<LaneId, Seq> {
        let present = self.lanes.iter().map(|lane| (lane.lane, lane.marked));
        let past = self.trail.iter().map(|stay| (stay.lane, stay.marked));
        let mut known = BTreeMap::new();
        for (lane, marked) in past.chain(present) {
            if let Some(marked) = marked {
                let seq = known.entry(lane).or_insert(marked);
                *seq = marked.max(*seq);
            }
        }
        known
    }

    /// Flows that left a lane while its last COMMIT was in doubt: its watermark says what became of that.
    fn settle_doubts(&mut self, marks: &BTreeMap<LaneId, Seq>) {
        for resting in self.resting.iter_mut().filter(|resting| resting.unsettled) {
            (resting.unsettled, resting.tried) = (false, None);
            let Some(stay) = self.trail.iter_mut().rev().find(|stay| stay.flow == resting.flow) else {
                continue;
            };
            let mark = marks.get(&stay.lane).copied();
            if let Some(mark) = mark.filter(|_| mark >= stay.marked) {
                stay.marked = Some(mark);
                stay.to = stay.to.max(mark);
                resting.cursor = resting.cursor.max(mark);
            }
        }
    }

    /// The stays of a flow, oldest first, the present one last.
    fn stays(&self, flow: FlowId) -> Vec<Stay> {
        let past = self.trail.iter().filter(|stay| stay.flow == flow).copied();
        let present = self.lanes.iter().flat_map(|lane| {
            let members = lane.members.iter().filter(move |(member, _)| *member == flow);
            members.map(move |(_, from)| Stay {
                flow,
                lane: lane.lane,
                from: *from,
                to: lane.cursor.max(*from),
                marked: lane.marked,
            })
        });
        past.chain(present).collect()
    }

    fn break_of(&self, flow: FlowId, marks: &BTreeMap<LaneId, Seq>) -> Result<Option<Break>, Unknowable> {
        let stays = self.stays(flow);
        let broken = stays.iter().position(|stay| marks.get(&stay.lane).copied() < stay.marked);
        let Some((place, stay)) = broken.and_then(|place| Some((place, stays.get(place)?))) else {
            return Ok(None);
        };
        let now = match marks.get(&stay.lane) {
            Some(mark) => stay.from.max(*mark),
            // An older watermark that is still there shows that the destination went back no further than that.
            None if stays.iter().take(place).any(|older| older.marked.is_some()) => stay.from,
            None => {
                return Err(Unknowable { lane: stay.lane, known: stay.marked.unwrap_or_default() });
            }
        };
        Ok(Some(Break { stay: place, now }))
    }

    /// Puts a flow where its trail breaks. It stays in its lane if it is that one's own end that was lost.
    fn go_back(&mut self, flow: FlowId, broken: &Break, marks: &BTreeMap<LaneId, Seq>) {
        if let Some(resting) = self.resting.iter_mut().find(|resting| resting.flow == flow) {
            resting.cursor = broken.now;
        }
        let past = self.trail.iter().filter(|stay| stay.flow == flow).count();
        if broken.stay == past {
            return;
        }
        let was_member = self.lane_of(flow).is_some();
        self.lanes.iter_mut().for_each(|lane| lane.members.retain(|(member, _)| *member != flow));
        if was_member {
            self.resting.push(Resting { flow, cursor: broken.now, unsettled: false, tried: None });
        }
        let mut place = 0;
        self.trail.retain_mut(|stay| {
            if stay.flow != flow {
                return true;
            }
            place += 1;
            if place == broken.stay + 1 {
                stay.to = broken.now;
                stay.marked = marks.get(&stay.lane).copied();
            }
            place <= broken.stay + 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tandem_core::StreamName;

    const A: FlowId = FlowId(1);
    const B: FlowId = FlowId(2);

    fn marks<const N: usize>(marks: [(LaneId, u64); N]) -> BTreeMap<LaneId, Seq> {
        marks.into_iter().map(|(lane, seq)| (lane, Seq(seq))).collect()
    }

    /// A stream whose flow A has been in a lane of its own up to 10, and is live since then; B is live from the start.
    fn joined() -> (StreamRecord, LaneId, LaneId) {
        let mut stream = StreamRecord::new(StreamName { source: "erp".into(), destination: "crm".into() }, 1);
        let live = stream.live();
        let own = stream.open(&[(B, Seq(1))]);
        stream.lane_mut(live).unwrap().cursor = Seq(1);
        stream.join(own, live);
        let own = stream.open(&[(A, Seq(2))]);
        reach(&mut stream, own, 10);
        reach(&mut stream, live, 10);
        stream.join(own, live);
        reach(&mut stream, live, 20);
        (stream, live, own)
    }

    fn settle<const N: usize>(stream: &mut StreamRecord, found: [(LaneId, u64); N]) -> Vec<Lost> {
        let (settled, lost) = stream.settled(&marks(found)).unwrap();
        *stream = settled;
        lost
    }

    fn reach(stream: &mut StreamRecord, lane: LaneId, seq: u64) {
        let lane = stream.lane_mut(lane).unwrap();
        (lane.cursor, lane.marked) = (Seq(seq), Some(Seq(seq)));
    }

    #[test]
    fn what_is_as_it_was_known_changes_nothing() {
        let (mut stream, live, own) = joined();
        let before = stream.clone();
        assert_eq!(settle(&mut stream, [(live, 20), (own, 10)]), []);
        assert_eq!(stream, before);
    }

    #[test]
    fn a_lane_that_lost_its_end_goes_on_from_there() {
        let (mut stream, live, own) = joined();
        let lost = settle(&mut stream, [(live, 15), (own, 10)]);
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert_eq!((stream.cursor_of(A), stream.cursor_of(B)), (Some(Seq(15)), Some(Seq(15))));
        assert!(stream.resting.is_empty());
    }

    #[test]
    fn a_flow_that_joined_after_the_loss_goes_back_to_where_it_was_before() {
        let (mut stream, live, own) = joined();
        settle(&mut stream, [(live, 8), (own, 5)]);
        assert_eq!((stream.cursor_of(A), stream.cursor_of(B)), (Some(Seq(5)), Some(Seq(8))));
        assert_eq!(stream.resting, [Resting { flow: A, cursor: Seq(5), unsettled: false, tried: None }]);
        let again = stream.clone();
        assert_eq!(settle(&mut stream, [(live, 8), (own, 5)]), [], "said twice, it is once");
        assert_eq!(stream, again);
    }

    #[test]
    fn the_lane_that_a_flow_left_may_lose_its_end_while_the_new_one_has_nothing_to_lose() {
        let (mut stream, live, own) = joined();
        stream.rest(live, &BTreeSet::from([A]), None);
        let third = stream.open(&[(A, Seq(20))]);
        settle(&mut stream, [(live, 12), (own, 10)]);
        assert_eq!(stream.cursor_of(A), Some(Seq(12)));
        assert_eq!(stream.lane(third), None);
    }

    #[test]
    fn a_lane_without_its_first_watermark_is_known_only_by_an_older_one() {
        let (mut stream, live, own) = joined();
        stream.rest(live, &BTreeSet::from([A]), None);
        let third = stream.open(&[(A, Seq(20))]);
        reach(&mut stream, third, 30);
        reach(&mut stream, live, 30);
        settle(&mut stream, [(live, 25), (own, 10)]);
        assert_eq!(stream.cursor_of(A), Some(Seq(20)), "its lane had committed, and nothing of that is left");
        let (stream, _, own) = joined();
        assert_eq!(stream.settled(&marks([])).map(drop), Err(Unknowable { lane: own, known: Seq(10) }));
    }

    #[test]
    fn a_doubt_is_settled_by_the_watermark_of_the_lane_that_was_left() {
        let (mut stream, live, own) = joined();
        stream.rest(live, &BTreeSet::from([A]), Some(Seq(22)));
        settle(&mut stream, [(live, 22), (own, 10)]);
        assert_eq!(stream.resting, [Resting { flow: A, cursor: Seq(22), unsettled: false, tried: None }]);
        assert_eq!(settle(&mut stream, [(live, 21), (own, 10)]).len(), 2, "and can be lost later");
        assert_eq!(stream.cursor_of(A), Some(Seq(21)));
    }
}
