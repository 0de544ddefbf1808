//! One direction between two apps: its journal, and the lanes that read it.
//!
//! A *lane* is a reader over the journal: members, and a cursor that they share. The live lane is the one that is
//! never waited for; every other lane is on its way to it. Nothing is copied when a flow changes lanes: it leaves
//! at a Seq that is known to be committed, and that Seq is where it begins in its next lane.
//!
//! The rules that keep the order, each of which has a counterexample without it:
//! 1. A lane never overtakes the live lane, nor the lane of a flow that its members depend on.
//! 2. A flow joins another lane only while that one stands at a committed Seq that the flow's own lane has reached
//!    too.
//! 3. A parent's delete waits until every flow that depends on it has come as far: a change that is behind may
//!    still need the record. The record waits, and its map goes on.
//! 4. Before anything is written over a new connection, every older connection of the stream is fenced, and every
//!    lane's watermark is read: an unknown outcome of a COMMIT is settled before its consequences.
//! 5. Lane numbers are never given twice.
//! 6. A change of a record that has an open error is applied only if it makes that error pointless; else it waits
//!    behind it. Errors are tried again by a lane that takes turns with the map's own, in source order.
//!
//! [`lane`] moves one lane: read, project, apply, in the order of trial. [`putting_off`] keeps rule 3, [`behind`]
//! rule 6. [`lanes`] decides who is in which lane; it is pure. [`pace`] says how much at once, [`bucket`] how much
//! a second. [`actor`] owns a stream's lanes and does what was decided.

mod actor;
mod batch;
mod behind;
mod bucket;
mod copying;
mod feed;
mod journal;
mod lane;
mod lanes;
mod large;
mod outcome;
mod pace;
mod plan;
mod putting_off;
mod settle;
mod trial;

pub(crate) use actor::{StreamActor, StreamParts};
pub(crate) use batch::{Batch, SHAPE_CHANGED, TABLE_TRUNCATED};
pub(crate) use journal::JournalHandle;
pub(crate) use lane::{LaneEnd, LaneRun};
pub(crate) use outcome::{Became, Outcomes};
pub(crate) use plan::{
    ByClass, Family, FlowPlan, FlowStatus, Opening, Place, RetryPlan, StreamPlan, StreamStatus,
};
