//! The runs of lanes: begun where nothing stands in their way, ended at a committed Seq, and what is taken from how
//! they ended.

use super::{Ended, PAUSE_TIMEOUT, Run, StreamActor};
use crate::env::within;
use crate::journal::JournalError;
use crate::retry::Retry;
use crate::store::FlowId;
use crate::stream::batch::{KeptRange, Member, PointsTo};
use crate::stream::lane::{LaneEnd, LaneFault, LaneRun, Orders, RetryRun};
use crate::stream::outcome::Tally;
use crate::stream::plan::{FlowPlan, StreamPlan};
use crate::stream::putting_off::Relative;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::map::Pointer;
use tandem_core::{Fault, FaultClass, LaneId, Seq};
use tokio::sync::{Notify, watch};

/// How long a lane waits for a map that is nearly where it is needed.
const WAITS_FOR_NEAR: Duration = Duration::from_secs(10);

/// So many runs in a row of which the journal does not know a flow: that is no matter of a moment.
const UNKNOWN_MAX: u32 = 100;

/// Whether it can be told which records of `parent` those of a flow refer to.
fn tells_what_it_refers_to(flow: &FlowPlan, parent: &FlowPlan) -> bool {
    flow.spec.pointers_to(&parent.spec).all(|pointer| pointer != Pointer::Unknown)
}

/// A journal that does not give what was asked of it.
fn unreadable(error: &JournalError) -> Fault {
    Fault::new(FaultClass::Internal, "read the journal", error.to_string()).fix(error.fix())
}

impl StreamActor {
    /// Starts every lane that stands still for no reason. One that was started when others were in other lanes is
    /// ended first: it must know whom not to overtake before any of them moves.
    pub(super) async fn start_runs(&mut self, plan: &StreamPlan) {
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let leaders: BTreeSet<LaneId> = self.leaders(lane, plan).into_iter().collect();
            let (outside, terms) = (self.outside(lane, plan), self.terms(lane, plan));
            let (copies, shaped_at) = (self.copies(lane, plan), self.shaped_at(lane, plan));
            let stale = |run: &Run| {
                let others = run.leaders != leaders || run.outside != outside || run.terms != terms;
                others || run.copies != copies || run.shaped_at != shaped_at
            };
            if self.slot(lane).run.as_ref().is_some_and(stale) {
                self.stop(lane, PAUSE_TIMEOUT).await;
            }
        }
        let now = self.parts.env.now();
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let writes = !self.members(lane).is_empty();
            // A retry that has come to its end waits for the plan to say so.
            if self.is_over(lane, plan) {
                continue;
            }
            let slot = self.slot(lane);
            if slot.run.is_some() || slot.met || !slot.retry.is_due(now) || (writes && self.fenced.is_none())
            {
                continue;
            }
            if writes && !self.connection_for(lane).await {
                continue;
            }
            self.start(lane, plan, None);
        }
    }

    pub(super) fn start(&mut self, lane: LaneId, plan: &StreamPlan, until: Option<Seq>) {
        self.note_progress();
        let Some(record) = self.parts.record.lane(lane) else { return };
        let retry =
            record.members.iter().find_map(|(flow, _)| plan.flows.get(flow).filter(|f| f.retry.is_some()));
        let (members, retry, until) = match retry {
            None => {
                let members = record.members.iter().filter_map(|(flow, from)| {
                    let flow = plan.flows.get(flow)?.clone();
                    let (kept, pointers) = (self.kept_of(plan, &flow), self.pointers(&flow, plan));
                    Some((flow.flow, Member::new(flow, *from, kept, pointers)))
                });
                (members.collect::<BTreeMap<_, _>>(), None, until)
            }
            Some(flow) => {
                // Its errors are of each flow of the family, and all of them become what the map is now.
                let is_part = |kept: &KeptRange| {
                    flow.retry.as_ref().is_some_and(|retry| retry.kept.contains(&kept.flow))
                };
                let (kept, aside): (Vec<_>, Vec<_>) = self.kept_of(plan, flow).into_iter().partition(is_part);
                let pointers = self.pointers(flow, plan);
                let member = |of: &FlowId| {
                    (*of, Member::new(flow.clone(), Seq::ZERO, aside.clone(), pointers.clone()))
                };
                let retry = RetryRun { retry: flow.flow, kept };
                (flow.family.flows.iter().map(member).collect(), Some(retry), flow.until)
            }
        };
        let outside = self.outside(lane, plan);
        let relatives: BTreeMap<FlowId, Vec<Relative>> =
            members.iter().map(|(flow, member)| (*flow, self.relatives(lane, member, plan))).collect();
        let others_at: BTreeMap<FlowId, Seq> = relatives
            .iter()
            .filter_map(|(flow, others)| Some((*flow, others.iter().filter_map(|other| other.at).min()?)))
            .collect();
        let (leaders, terms) = (self.leaders(lane, plan), self.terms(lane, plan));
        tracing::trace!(%lane, ?until, ?leaders, cursor = %self.cursor(lane), ?others_at, "a run begins");
        let led_by = leaders.iter().copied().collect();
        let leaders = leaders.into_iter().map(|leader| self.slot(leader).progress.subscribe()).collect();
        let (context, durable) = (self.context.clone(), self.parts.journal.durable());
        let (orders, ended, env) =
            (watch::Sender::new(Orders { stop: false, until }), self.ended.clone(), self.parts.env.clone());
        let (copies, shaped_at) = (self.copies(lane, plan), self.shaped_at(lane, plan));
        let desks =
            members.values().filter_map(|member| Some(member.flow.copy.as_ref()?.changes())).collect();
        let slot = self.slot(lane);
        if slot.unknown > 0 {
            // It stood for a plan that is over, and nothing has failed.
            slot.retry = Retry::default();
        }
        let mut run = LaneRun {
            context,
            lane,
            members,
            others_at,
            relatives,
            awaiting: BTreeMap::new(),
            retry,
            apply: slot.connection.take(),
            orders: orders.subscribe(),
            durable,
            leaders,
            progress: slot.progress.clone(),
            terms,
            bucket: slot.bucket,
            desks,
            trial: std::mem::take(&mut slot.trial),
            tally: Tally::default(),
            copying: slot.copying.clone(),
            position: slot.position.clone(),
            began: Duration::ZERO,
        };
        let kill = Arc::new(Notify::new());
        let kill_it = kill.clone();
        slot.run = Some(Run { leaders: led_by, outside, terms, shaped_at, copies, orders, kill: kill_it });
        env.spawn(
            "lane",
            Box::pin(async move {
                let outcome = tokio::select! {
                    biased;
                    () = kill.notified() => None,
                    end = run.run() => Some(end),
                };
                // The actor is gone only when the engine is; then nobody wants to know.
                let _ = ended.send(Ended { lane, outcome: outcome.map(|end| (run, end)) }).await;
            }),
        );
    }

    /// How the records of a flow name those of the flows of a plan, itself among them.
    fn pointers(&self, flow: &FlowPlan, plan: &StreamPlan) -> Vec<PointsTo> {
        let others = plan.flows.values().filter(|other| other.retry.is_none() && other.until.is_none());
        let of = |other: &Arc<FlowPlan>| -> Vec<PointsTo> {
            let mut kept = self.kept_of(plan, other);
            // How far one has come that is being tried again is not known here for long.
            kept.retain(|kept| plan.covering(kept.flow).is_none());
            let points_to = |by| PointsTo { flow: other.clone(), kept: kept.clone(), by };
            flow.spec.pointers_to(&other.spec).map(points_to).collect()
        };
        others.flat_map(of).collect()
    }

    /// The flows that a member of a lane is related to, as they are now.
    fn relatives(&mut self, lane: LaneId, member: &Member, plan: &StreamPlan) -> Vec<Relative> {
        // A table that has not entered capture yet will enter behind everything that is journaled now.
        let head = self.parts.journal.with(|journal| journal.head());
        let now = self.parts.env.now();
        let patient = self.slot(lane).retry.lasts(now) < WAITS_FOR_NEAR;
        let here = self.members(lane);
        let related: Vec<FlowId> = member.flow.related().copied().collect();
        let mut relatives = Vec::with_capacity(related.len());
        for flow in related {
            let Some(wanted) = plan.flows.get(&flow).cloned() else { continue };
            let own = self.parts.record.lane_of(flow).map(|record| record.lane);
            let at = (!here.contains(&flow)).then(|| self.cursor_of(plan, flow).unwrap_or(head));
            let tried = self.alternates(&wanted, plan);
            let has_turn = |retry: &FlowId| plan.flows.get(retry).is_some_and(|retry| retry.follow);
            let follows = wanted.follow || tried.iter().any(has_turn);
            let stands = own.is_some_and(|own| self.slot(own).retry.fault().is_some());
            relatives.push(Relative {
                family: wanted.family.clone(),
                depends: member.flow.dependents.contains(&flow),
                tells: tells_what_it_refers_to(&wanted, &member.flow),
                at,
                lane: own.filter(|_| at.is_some()).map(|own| self.slot(own).progress.subscribe()),
                moves: patient && follows && !stands && wanted.cap.is_none(),
            });
        }
        relatives
    }

    /// Up to where the records of a lane's members may have any shape: that rises when a map is resolved anew.
    fn shaped_at(&self, lane: LaneId, plan: &StreamPlan) -> BTreeMap<FlowId, Seq> {
        let of = |flow: FlowId| Some((flow, plan.flows.get(&flow)?.shaped_at));
        self.members(lane).into_iter().filter_map(of).collect()
    }

    /// The members of a lane that have windows to write.
    fn copies(&self, lane: LaneId, plan: &StreamPlan) -> BTreeSet<FlowId> {
        let copied = |flow: &FlowId| plan.flows.get(flow).is_some_and(|flow| flow.copy.is_some());
        self.members(lane).into_iter().filter(copied).collect()
    }

    /// Whether a lane is a retry's and has come to its end.
    pub(super) fn is_over(&self, lane: LaneId, plan: &StreamPlan) -> bool {
        let members = self.members(lane);
        let retry = members.iter().find_map(|flow| plan.flows.get(flow).filter(|flow| flow.retry.is_some()));
        retry.and_then(|retry| retry.until).is_some_and(|until| self.cursor(lane) >= until)
    }

    /// Ends a lane's run at a committed Seq. Returns whether its last COMMIT is in doubt, because it had to be
    /// dropped after `limit`.
    pub(super) async fn stop(&mut self, lane: LaneId, limit: Duration) -> bool {
        if let Some(run) = self.lanes.get(&lane).and_then(|slot| slot.run.as_ref()) {
            run.orders.send_modify(|orders| orders.stop = true);
            if !self.ends_within(lane, limit).await {
                if let Some(run) = self.lanes.get(&lane).and_then(|slot| slot.run.as_ref()) {
                    run.kill.notify_one();
                }
                while self.lanes.get(&lane).is_some_and(|slot| slot.run.is_some()) {
                    let Some(ended) = self.endings.recv().await else { break };
                    self.note_end(ended);
                }
            }
        }
        self.lanes.get(&lane).is_some_and(|slot| slot.progress.borrow().in_doubt)
    }

    /// Waits until a lane's run has ended.
    pub(super) async fn ends_within(&mut self, lane: LaneId, limit: Duration) -> bool {
        let env = self.parts.env.clone();
        within(&*env, limit, async {
            while self.lanes.get(&lane).is_some_and(|slot| slot.run.is_some()) {
                let Some(ended) = self.endings.recv().await else { break };
                self.note_end(ended);
            }
        })
        .await
        .is_some()
    }

    /// Counts an attempt that failed, for the flows that it was made for. What is about a record is counted when the
    /// record is set aside: until then it may only wait for another.
    pub(super) fn note_attempt(&mut self, flows: impl IntoIterator<Item = FlowId>, class: FaultClass) {
        if class.is_about_record() {
            return;
        }
        for flow in flows {
            self.attempts.entry(flow).or_default().add(class, 1);
        }
    }

    /// Notes how a run ended.
    pub(super) fn note_end(&mut self, ended: Ended) {
        let now = self.parts.env.now();
        let stream = self.parts.record.stream.to_string();
        if let Some((_, LaneEnd::Failed(LaneFault { fault, flows, .. }))) = &ended.outcome {
            let made_for = if flows.is_empty() { self.members(ended.lane) } else { flows.clone() };
            self.note_attempt(made_for, fault.class);
        }
        let Some(slot) = self.lanes.get_mut(&ended.lane) else { return };
        slot.run = None;
        let progress = slot.progress.borrow().clone();
        if let Some(record) = self.parts.record.lane_mut(ended.lane) {
            record.cursor = record.cursor.max(progress.cursor);
            record.marked = record.marked.max(progress.marked);
        }
        let Some((run, end)) = ended.outcome else {
            // Its connection went with it, and may still do what it was told last: fence before anything else.
            self.fenced = None;
            return;
        };
        let moved = run.progress.borrow().cursor;
        tracing::trace!(%stream, lane = %ended.lane, cursor = %moved, ?end, "a run has ended");
        slot.connection = run.apply;
        slot.trial = run.trial;
        slot.copying = run.copying;
        slot.bucket = run.bucket;
        slot.position = run.position;
        let unknown = std::mem::take(&mut slot.unknown);
        match end {
            LaneEnd::Stopped | LaneEnd::Reached | LaneEnd::Met => {
                slot.met = matches!(end, LaneEnd::Met);
                slot.retry = Retry::default();
                slot.blamed.clear();
            }
            LaneEnd::Failed(LaneFault { fault, flows, broken, since, .. }) => {
                if broken || matches!(fault.class, FaultClass::Fenced) {
                    slot.connection = None;
                    self.fenced = None;
                    if self.connect.fault().is_none() {
                        tracing::warn!(%stream, lane = %ended.lane, class = %fault.class, "the destination was lost: {fault}");
                    }
                    self.connect.failed(fault, now);
                    return;
                }
                // A lane that has got on since the last fault is not blocked.
                if slot.retry.fault().is_some() && moved > slot.blocked_at {
                    slot.retry = Retry::default();
                }
                tracing::debug!(%stream, lane = %ended.lane, class = %fault.class, "a lane is blocked: {fault}");
                slot.blamed = flows;
                slot.retry.failed_since(fault, since, now);
                slot.blocked_at = moved;
            }
            // A map is stopped, and the journal has heard of it before us: the plan that the run was begun for is over.
            LaneEnd::Unreadable(error) if error.is_misuse() && unknown < UNKNOWN_MAX => {
                tracing::debug!(%stream, lane = %ended.lane, "a run is begun anew: {error}");
                slot.unknown = unknown + 1;
                slot.retry.failed(unreadable(&error), now);
            }
            LaneEnd::Unreadable(error) => {
                tracing::error!(%stream, "the journal cannot be read: {error}");
                self.broken = Some(unreadable(&error));
            }
            LaneEnd::Forgetful(error) => self.disk_failed(&error),
        }
    }
}
