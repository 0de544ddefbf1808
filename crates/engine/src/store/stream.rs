//! What is kept of a stream: its lanes, who is in them, and where its flows were.

use crate::journal::FlowId;
use serde::{Deserialize, Serialize};
use tandem_core::{Epoch, LaneId, Seq, StreamName};

/// A stream: its lanes, and its flows that are in none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Which.
    pub stream: StreamName,
    /// The folder of its journal: a stream that ended and begins again begins in another.
    pub dir: String,
    /// Its lanes. The first is the live lane.
    pub lanes: Vec<LaneRecord>,
    /// The next lane's number.
    pub next_lane: u64,
    /// The epoch of its connections to the destination: rises each time that they are made anew, so that a
    /// transaction of an older connection can no longer commit.
    pub epoch: Epoch,
    /// Flows that are in no lane, and how far they were applied.
    pub resting: Vec<Resting>,
    /// Where flows were before, oldest first: should the destination lose its last transactions, this tells which
    /// of them each flow loses. Reaches as far back as the journal does.
    pub trail: Vec<Stay>,
    /// It has ended, and its watermarks are still at the destination, which did not answer. Kept so that a stream of
    /// that name that begins anew goes on from its numbers: what was left must not fence it, nor speak for it.
    #[serde(default)]
    pub left: bool,
}

/// A lane: who is in it, and how far it is known to be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Its number.
    pub lane: LaneId,
    /// Known to be settled up to here; the watermark may say more.
    pub cursor: Seq,
    /// The watermark known to be committed; `None` if none was.
    pub marked: Option<Seq>,
    /// Its members, each with the Seq up to which it had been applied when it joined.
    pub members: Vec<(FlowId, Seq)>,
}

/// A flow that is in no lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resting {
    /// Which.
    pub flow: FlowId,
    /// Applied up to here.
    pub cursor: Seq,
    /// Set if it left its lane while the outcome of a COMMIT was unknown: the lane's watermark tells, and until
    /// it was read the cursor may be too low.
    pub unsettled: bool,
    /// If so: nothing beyond this can have taken effect. `None` if that is not known.
    #[serde(default)]
    pub tried: Option<Seq>,
}

/// That a flow was in a lane, and has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// Which flow.
    pub flow: FlowId,
    /// In which lane.
    pub lane: LaneId,
    /// Applied up to here when it came.
    pub from: Seq,
    /// Applied up to here when it left.
    pub to: Seq,
    /// The lane's watermark when it left; `None` if none was committed by then.
    pub marked: Option<Seq>,
}
