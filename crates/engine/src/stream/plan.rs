//! What is wanted of a stream, and how it stands: the two values between a stream and the maps.
//!
//! Both are levels, not edges: the stream works until it is as the plan says, and says through which version of
//! the plan it has come. Whoever waits for an effect waits for a status of at least the version that asked for it;
//! an older status says nothing, however right it looks.

use super::outcome::Outcomes;
use crate::copy::Desk;
use crate::failpoint::Mistake;
use crate::journal::Turnover;
use crate::store::{FlowId, StreamRecord};
use crate::two_way::BothWays;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::map::{FlowSpec, Projection};
use tandem_core::{Fault, FaultClass, RateCap, Seq, Target};

/// What is wanted of a stream.
#[derive(Clone, Default)]
pub(crate) struct StreamPlan {
    /// Rises with each change.
    pub(crate) version: u64,
    /// The flows that there are to be. Without any, the stream ends.
    pub(crate) flows: BTreeMap<FlowId, Arc<FlowPlan>>,
    /// The engine shuts down: end, and change nothing.
    pub(crate) shutdown: bool,
}

/// What is wanted of a flow.
#[derive(Clone)]
pub(crate) struct FlowPlan {
    pub(crate) flow: FlowId,
    pub(crate) spec: FlowSpec,
    /// Records up to here were captured before its map was resolved last, and may have any shape.
    pub(crate) shaped_at: Seq,
    /// Where it begins; `None` while its table has not entered capture yet.
    pub(crate) start: Option<Seq>,
    /// Where it ends; `None` for one that goes on.
    pub(crate) until: Option<Seq>,
    /// The flow that had the queue that this one has skipped: it begins where that one was let go of.
    pub(crate) succeeds: Option<FlowId>,
    /// Whether it is to be in a lane.
    pub(crate) follow: bool,
    /// What it may apply a second until it is live.
    pub(crate) cap: Option<RateCap>,
    /// Flows of the stream that it depends on, directly or not.
    pub(crate) ancestors: BTreeSet<FlowId>,
    /// Flows of the stream that depend on it, directly or not.
    pub(crate) dependents: BTreeSet<FlowId>,
    /// What its writes point to.
    pub(crate) target: Arc<Target>,
    /// Where errors of its map are in this stream.
    pub(crate) family: Arc<Family>,
    /// Its initial sync, while that goes on.
    pub(crate) copy: Option<Arc<Desk>>,
    /// Set if its map goes both ways.
    pub(crate) both_ways: Option<Arc<BothWays>>,
    /// Set if it does not follow the journal, but tries the errors of its family again.
    pub(crate) retry: Option<RetryPlan>,
}

/// The flows of a map in one stream, of which one goes on and the others were left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// All of them: errors are noted under each.
    pub(crate) flows: Vec<FlowId>,
    /// Those whose queues are preserved: what is in them is an error, too.
    pub(crate) kept: Vec<FlowId>,
}

/// What a retry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryPlan {
    /// The queues that were preserved and are part of it, whole, beside what was chosen one by one.
    pub(crate) kept: Vec<FlowId>,
}

impl FlowPlan {
    /// Whether a retry works on the same records as this flow: only one of the two may be in a lane.
    pub(crate) fn alternates_with(&self, other: &FlowPlan) -> bool {
        let tries = |retry: &FlowPlan, flow: &FlowPlan| {
            retry.retry.is_some() && flow.retry.is_none() && retry.family.flows.contains(&flow.flow)
        };
        tries(self, other) || tries(other, self)
    }

    /// Whether a retry settles the queue of this flow as it goes.
    fn is_covered_by(&self, retry: &FlowPlan) -> bool {
        retry.retry.as_ref().is_some_and(|retry| retry.kept.contains(&self.flow))
    }

    /// Flows that it depends on or that depend on it.
    pub(crate) fn related(&self) -> impl Iterator<Item = &FlowId> {
        self.ancestors.union(&self.dependents)
    }

    /// The target of a flow's writes.
    pub(crate) fn target(spec: &FlowSpec) -> Arc<Target> {
        if Mistake::ForgetLookups.is_made() {
            return Arc::new(Target { lookups: Vec::new(), ..(*Projection::target(spec)).clone() });
        }
        Projection::target(spec)
    }
}

impl StreamPlan {
    /// The retry that settles the queue of a flow that was left behind.
    pub(crate) fn covering(&self, flow: FlowId) -> Option<FlowId> {
        let flow = self.flows.get(&flow)?;
        self.flows.values().find(|retry| flow.is_covered_by(retry)).map(|retry| retry.flow)
    }

    /// The flows whose queues a flow has skipped, the last one first.
    pub(crate) fn skipped_by(&self, flow: FlowId) -> impl Iterator<Item = FlowId> + '_ {
        let before = |flow: &FlowId| self.flows.get(flow).and_then(|flow| flow.succeeds);
        std::iter::successors(before(&flow), before)
    }
}

/// How a stream stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StreamStatus {
    /// The version of the plan that it has come through.
    pub(crate) version: u64,
    /// Its flows.
    pub(crate) flows: BTreeMap<FlowId, FlowStatus>,
    /// The fault that the destination stands in.
    pub(crate) fault: Option<Fault>,
    /// What no waiting mends: a watermark that is not where we left it, a journal that cannot be read.
    pub(crate) broken: Option<Fault>,
    /// It has ended, and nothing of it is left on our side.
    pub(crate) ended: bool,
    /// It has ended, and its watermarks are still at the destination: why, and what was saved of it.
    pub(crate) left: Option<(Fault, Arc<StreamRecord>)>,
}

/// How a flow stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlowStatus {
    /// Where it is.
    pub(crate) place: Place,
    /// Settled up to here.
    pub(crate) cursor: Seq,
    /// Its records, or the table that they go to, have another shape than it was resolved for, as it seems.
    pub(crate) misshapen: Option<Fault>,
    /// If it rests: nothing beyond this can have taken effect. `None` if that is not known.
    pub(crate) reach: Option<Seq>,
    /// What became of its changes up to there, since the engine started.
    pub(crate) outcomes: Outcomes,
    /// What its books began with; `None` for one that has none.
    pub(crate) opening: Option<Opening>,
    /// Changes noted as errors since the engine started.
    pub(crate) refused: ByClass,
    /// Attempts that failed since the engine started, for what is no fault of a change.
    pub(crate) attempts: ByClass,
    /// What stands in its way, if it was given a lane of its own for that.
    pub(crate) stalled: Option<Fault>,
    /// It has left its lane, and it is not known yet what became of that one's last COMMIT.
    pub(crate) unsettled: bool,
}

/// What the books of a flow began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Its queue.
    pub(crate) queued: u64,
    /// What the journal had counted of it.
    pub(crate) turnover: Turnover,
    /// What lanes had counted of it.
    pub(crate) outcomes: Outcomes,
}

/// How often something failed, by the class of the fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ByClass(BTreeMap<FaultClass, u64>);

impl ByClass {
    /// It failed so often more.
    pub(crate) fn add(&mut self, class: FaultClass, times: u64) {
        *self.0.entry(class).or_default() += times;
    }

    /// What another has counted counts here as well.
    pub(crate) fn add_all(&mut self, other: &ByClass) {
        other.0.iter().for_each(|(class, times)| self.add(*class, *times));
    }

    /// These and others, by class.
    pub(crate) fn and(&self, other: &ByClass) -> BTreeMap<FaultClass, u64> {
        let mut both = self.clone();
        both.add_all(other);
        both.0
    }

    /// How often it failed in all.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How much more often than `before`, by class.
    pub(crate) fn since(&self, before: &ByClass) -> impl Iterator<Item = (FaultClass, u64)> {
        let known = |class: &FaultClass| before.0.get(class).copied().unwrap_or_default();
        self.0.iter().map(move |(class, times)| (*class, times.saturating_sub(known(class))))
    }
}

/// Where a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no lane: nothing of it is being written.
    Resting,
    /// In a lane that is on its way to the live lane.
    CatchingUp,
    /// In the live lane.
    Live,
}
