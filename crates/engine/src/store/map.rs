//! What is kept of a map: its state, its flows, the queues that it skipped, and its errors that are tried again.

use super::Holes;
use crate::journal::FlowId;
use serde::{Deserialize, Serialize};
use tandem_core::lifecycle::{MapState, QueueFate, Window};
use tandem_core::map::{FlowSpec, TableMap};
use tandem_core::{BarrierId, RateCap, Seq, StreamName, WallTime};

/// A map, its state, and its flows while it has any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    /// What was declared.
    pub map: TableMap,
    /// Its state.
    pub state: MapState,
    /// Its flows; empty while it is not running.
    pub flows: Vec<FlowRecord>,
    /// Since when its source refuses all writes because its queue was full. Taken off when a person has resumed it
    /// and it has caught up, or skipped or stopped it; never by a rule.
    #[serde(default)]
    pub blocked: Option<WallTime>,
    /// Queues that it has skipped and that are not gone yet.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Its errors that are being tried again, at most one retry for each of its streams.
    #[serde(default)]
    pub retries: Vec<RetryRecord>,
    /// The cap on its catch-up, until it is live or a person says otherwise: a restart, or a rule that pauses and
    /// resumes it meanwhile, changes nothing about it.
    #[serde(default)]
    pub rate: Option<RateCap>,
    /// When the pause that a person asked for is planned to end.
    #[serde(default)]
    pub window: Option<Window>,
    /// What of its tables no longer fits it, until it is resumed or stopped.
    #[serde(default)]
    pub mismatch: Option<Mismatch>,
}

/// Why the tables of a map no longer fit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// Of what kind it is.
    #[serde(default)]
    pub kind: MismatchKind,
    /// What has changed, as people are told.
    pub reason: String,
    /// What mends it.
    pub fix: Option<String>,
}

/// See [`Mismatch::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MismatchKind {
    /// A table has another shape.
    #[default]
    Shape,
    /// The source's table was truncated.
    Truncated,
}

impl MapRecord {
    /// A map that was never run.
    pub fn new(map: TableMap, now: WallTime) -> Self {
        let (flows, skipped, retries) = Default::default();
        let state = MapState::new(now);
        Self { map, state, flows, blocked: None, skipped, retries, rate: None, window: None, mismatch: None }
    }

    /// Its flows in a stream under which errors are noted: the one that goes on, and those whose queues it skipped.
    pub fn family(&self, stream: &StreamName) -> Vec<FlowId> {
        self.every_flow().filter(|flow| flow.stream == *stream).map(|flow| flow.flow).collect()
    }

    /// Its flows that go on, and those whose queues it skipped and that are not gone yet.
    pub fn every_flow(&self) -> impl Iterator<Item = &FlowRecord> {
        self.flows.iter().chain(self.skipped.iter().map(|skipped| &skipped.flow))
    }

    /// The queues that it has skipped and that are kept.
    pub fn preserved(&self) -> impl Iterator<Item = &Skipped> {
        self.skipped.iter().filter(|skipped| skipped.is_preserved())
    }

    /// The flow behind whose queue another goes on, if it has skipped one.
    pub fn skipped_before(&self, flow: FlowId) -> Option<FlowId> {
        self.skipped.iter().find(|skipped| skipped.next == flow).map(|skipped| skipped.flow.flow)
    }
}

/// A queue that was skipped: the flow that has it is closed, and another goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The flow.
    pub flow: FlowRecord,
    /// Its last Seq.
    pub until: Seq,
    /// The flow that goes on.
    pub next: FlowId,
    /// What becomes of the queue.
    pub fate: QueueFate,
    /// Who asked.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// Set once it is known how far the flow was applied: what is left of it is then beyond its start.
    #[serde(default)]
    pub settled: bool,
}

impl Skipped {
    /// Whether its records are errors, and not to be dropped.
    pub fn is_preserved(&self) -> bool {
        self.fate == QueueFate::Preserve
    }
}

/// Errors that are being tried again, in source order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRecord {
    /// Its number: that of a flow, since it is in a lane like one.
    pub retry: FlowId,
    /// The stream of the errors.
    pub stream: StreamName,
    /// The queues that were preserved and are part of it, whole.
    pub kept: Vec<FlowId>,
    /// Nothing beyond this is part of it.
    pub until: Seq,
    /// How many errors were to be tried again when it began.
    pub errors: u64,
    /// When it began.
    pub since: WallTime,
    /// Who asked.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// The most records a second.
    #[serde(default)]
    pub rate: Option<RateCap>,
    /// It is to end, whatever is left.
    pub cancelled: bool,
}

/// A flow of a map that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Its number; never given again.
    pub flow: FlowId,
    /// Its stream.
    pub stream: StreamName,
    /// What it does.
    pub spec: FlowSpec,
    /// The barrier behind which it begins.
    pub barrier: BarrierId,
    /// Where that is in the journal, once it was seen.
    pub start: Option<Seq>,
    /// What was dropped of it.
    #[serde(default)]
    pub holes: Holes,
    /// The guard against deletes that stands for it.
    #[serde(default)]
    pub armed: Option<Armed>,
    /// Records up to here were captured before the map was resolved last: they may have any shape that the table had,
    /// and those that cannot be bound any more are set aside. Beyond it a shape that does not fit holds the map.
    #[serde(default)]
    pub shaped_at: Seq,
}

/// That a guard was armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// Whatever it refuses and was committed before it stood lies at or before this Seq of the journal.
    pub behind: Seq,
    /// Since when the map was held for which it was armed: by this one arming is told from another.
    pub since: WallTime,
}
