//! The owner of a stream's lanes: makes them as the plan wants them, one step at a time.
//!
//! One loop: wait for something to happen, note it, then [`StreamActor::reconcile`] from the top. Nothing is
//! remembered about what was going on but the record (saved), the runs (going on) and the faults (why not), so
//! that a restart does the same as a change of plan.
//!
//! What a plan asks for takes effect at the destination at once: a flow that is to rest is taken out of its lane
//! before anything that may wait, and a destination that does not answer is left to itself after `pause_timeout`.

use super::batch::Member;
use super::journal::JournalHandle;
use super::lane::{LaneContext, LaneEnd, LaneFault, LaneRun, Orders, Progress};
use super::plan::{FlowStatus, Place, StreamPlan, StreamStatus};
use super::trial::Trial;
use crate::env::{Env, within};
use crate::failpoint::FailPoint;
use crate::retry::Retry;
use crate::store::{FlowId, Record, Store, StoreError, StreamRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Apply, Connector, Owner, Watermark};
use tandem_core::{Epoch, Fault, FaultClass, JournalId, LaneId, Position, Seq};
use tokio::sync::{Notify, mpsc, watch};

/// How long a destination transaction may take to end once its flow is to rest.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the live lane is held for another to join it.
const JOIN_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a flow may block its lane before it is given one of its own.
const STALL_AFTER: Duration = Duration::from_secs(10);
/// How much of a flow's queue is copied into its shelf in one step, while captures wait for the journal's lock.
const SHELVE_STEP_BYTES: u64 = 4 << 20;

/// What a stream is made of.
pub(crate) struct StreamParts {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Arc<JournalHandle>,
    pub(crate) journal_id: JournalId,
    pub(crate) destination: Arc<dyn Connector>,
    pub(crate) record: StreamRecord,
    pub(crate) plan: watch::Receiver<Arc<StreamPlan>>,
    pub(crate) status: watch::Sender<StreamStatus>,
    /// Rung after each change of the status.
    pub(crate) bell: Arc<Notify>,
    /// How often progress is shown and the journal is looked through for what is no longer needed.
    pub(crate) pulse: Duration,
    /// How much of the journal is kept although it is applied, for a destination that steps back.
    pub(crate) keep_applied_bytes: u64,
}

/// See the module.
pub(crate) struct StreamActor {
    parts: StreamParts,
    context: Arc<LaneContext>,
    lanes: BTreeMap<LaneId, Lane>,
    ended: mpsc::Sender<Ended>,
    endings: mpsc::Receiver<Ended>,
    /// The epoch under which connections may be made: set once every older one is fenced.
    fenced: Option<Epoch>,
    /// A connection that fenced, for the first lane that wants one.
    spare: Option<Box<dyn Apply>>,
    /// The watermarks were read since the engine started.
    settled: bool,
    connect: Retry,
    broken: Option<Fault>,
    /// Lanes that are no more, whose watermarks can go.
    retired: Vec<LaneId>,
    tidied: Duration,
    /// What lanes that are no more have applied and set aside.
    counted_before: BTreeMap<FlowId, (u64, u64)>,
}

/// What is in memory of a lane.
struct Lane {
    progress: watch::Sender<Progress>,
    run: Option<Run>,
    connection: Option<Box<dyn Apply>>,
    trial: Trial,
    position: Position,
    retry: Retry,
    /// The flows that the last fault is about.
    blamed: BTreeSet<FlowId>,
    /// Where it stood at the last fault.
    blocked_at: Seq,
    /// It was given to flows that blocked another.
    stalled: bool,
    /// It stands where the live lane stood.
    met: bool,
}

struct Run {
    /// The lanes that it was told not to overtake.
    leaders: BTreeSet<LaneId>,
    orders: watch::Sender<Orders>,
    kill: Arc<Notify>,
}

struct Ended {
    lane: LaneId,
    /// `None` if the run was killed.
    outcome: Option<(LaneRun, LaneEnd)>,
}

/// How long a fault may block a lane. What waits for another map is known to wait, and holds nobody up.
fn patience(fault: Option<&Fault>) -> Duration {
    match fault.map(|fault| fault.class) {
        Some(FaultClass::Reference) => Duration::ZERO,
        _ => STALL_AFTER,
    }
}

/// Why the actor ends.
enum Over {
    Shutdown,
    NoFlows,
}

impl StreamActor {
    pub(crate) fn new(parts: StreamParts) -> Self {
        let context = Arc::new(LaneContext {
            env: parts.env.clone(),
            store: parts.store.clone(),
            journal: parts.journal.clone(),
        });
        let (ended, endings) = mpsc::channel(16);
        Self {
            parts,
            context,
            lanes: BTreeMap::new(),
            ended,
            endings,
            fenced: None,
            spare: None,
            settled: false,
            connect: Retry::default(),
            broken: None,
            retired: Vec::new(),
            tidied: Duration::ZERO,
            counted_before: BTreeMap::new(),
        }
    }

    /// Waits for the first plan, then works until the stream has no flows any more, or the engine shuts down.
    pub(crate) async fn run_planned(mut self) {
        let _ = self.parts.plan.wait_for(|plan| plan.version > 0).await;
        self.run().await;
    }

    async fn run(mut self) {
        loop {
            match self.reconcile().await {
                Ok(None) => {}
                Ok(Some(over)) => return self.end(over).await,
                Err(error) => self.disk_failed(&error),
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let now = self.parts.env.now();
        let retries = self.lanes.values().filter(|lane| lane.run.is_none()).map(|lane| &lane.retry);
        let due = retries
            .chain([&self.connect])
            .filter_map(Retry::due)
            .min()
            .map_or(self.parts.pulse, |at| at.saturating_sub(now).max(Duration::from_millis(1)));
        let sleep = self.parts.env.sleep(due.min(self.parts.pulse));
        let ended = tokio::select! {
            biased;
            _ = self.parts.plan.changed() => None,
            ended = self.endings.recv() => ended,
            () = sleep => None,
        };
        if let Some(ended) = ended {
            self.note_end(ended);
        }
    }

    /// Brings the stream nearer to its plan. What cannot be done now is tried again by the next call.
    async fn reconcile(&mut self) -> Result<Option<Over>, StoreError> {
        let plan = self.parts.plan.borrow_and_update().clone();
        if plan.shutdown {
            return Ok(Some(Over::Shutdown));
        }
        self.let_go(&plan).await?;
        self.publish(&plan);
        if plan.flows.is_empty() {
            return Ok(Some(Over::NoFlows));
        }
        if self.broken.is_none() {
            self.connect(&plan).await?;
        }
        if self.broken.is_none() {
            self.isolate_stalled(&plan).await?;
            self.take_in(&plan)?;
            self.start_runs(&plan).await;
            self.join_lanes(&plan).await?;
            self.start_runs(&plan).await;
        }
        self.tidy(&plan)?;
        self.publish(&plan);
        Ok(None)
    }

    /// Takes flows out of their lanes that are not to be in one, and forgets those that are no more.
    async fn let_go(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let follows = |flow: &FlowId| plan.flows.get(flow).is_some_and(|flow| flow.follow);
        let mut changed = false;
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let leaving: BTreeSet<FlowId> =
                self.members(lane).into_iter().filter(|flow| !follows(flow)).collect();
            if leaving.is_empty() {
                continue;
            }
            // Until the watermarks were read once, the record of an earlier life is only a lower bound.
            let in_doubt = self.stop(lane, PAUSE_TIMEOUT).await || !self.settled;
            self.parts.record.rest(lane, &leaving, in_doubt);
            changed = true;
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

    /// Makes sure that every older connection is fenced and every outcome settled, before any new one is made.
    async fn connect(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let wanted = plan.flows.values().any(|flow| flow.follow && flow.start.is_some());
        let now = self.parts.env.now();
        if self.fenced.is_some() || !wanted || !self.connect.is_due(now) {
            return Ok(());
        }
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.stop(lane, PAUSE_TIMEOUT).await;
        }
        self.lanes.values_mut().for_each(|lane| lane.connection = None);
        self.parts.record.epoch = Epoch(self.parts.record.epoch.0 + 1);
        self.save()?;
        FailPoint::EpochSaved.pass();
        let owner = Owner { journal: self.parts.journal_id, epoch: self.parts.record.epoch };
        let stream = self.parts.record.stream.to_string();
        let destination = self.parts.destination.clone();
        let fence = async {
            let mut connection = destination.open_apply(owner, &stream).await?;
            let marks = connection.fence().await?;
            Ok((connection, marks))
        };
        let fenced = tokio::select! {
            biased;
            // A pause must not wait for a destination that does not answer.
            _ = self.parts.plan.changed() => {
                self.parts.plan.mark_changed();
                return Ok(());
            }
            fenced = fence => fenced,
        };
        match fenced.and_then(|(connection, marks)| self.settle(&marks).map(|()| connection)) {
            Ok(connection) => {
                FailPoint::FencedUnsaved.pass();
                self.save()?;
                FailPoint::FencedSaved.pass();
                let settled = self.parts.record.flows().into_iter();
                let settled =
                    settled.filter_map(|flow| Some((flow, self.parts.record.cursor_of(flow)?))).collect();
                self.parts.store.save(&[Record::NoErrorsAbove(settled)])?;
                self.settled = true;
                self.fenced = Some(owner.epoch);
                self.spare = Some(connection);
                if self.connect.fault().is_some() {
                    tracing::info!(%stream, "the destination answers again");
                }
                self.connect = Retry::default();
            }
            Err(fault) => {
                if matches!(fault.class, FaultClass::Gap | FaultClass::Fenced | FaultClass::Internal) {
                    tracing::error!(%stream, class = %fault.class, "the stream cannot go on: {fault}");
                    self.broken = Some(fault);
                } else {
                    if self.connect.fault().is_none() {
                        tracing::warn!(%stream, class = %fault.class, "the destination does not answer: {fault}");
                    }
                    self.connect.failed(fault, now);
                }
            }
        }
        Ok(())
    }

    /// Compares what the destination says with what we know, and settles what was in doubt.
    fn settle(&mut self, marks: &[Watermark]) -> Result<(), Fault> {
        let record = &mut self.parts.record;
        let stream = record.stream.to_string();
        let gap = |message: String, fix: &str| {
            Fault::new(FaultClass::Gap, format!("read the watermarks of {stream}"), message).fix(fix)
        };
        if let Some(other) = marks.iter().find(|mark| mark.journal != self.parts.journal_id) {
            return Err(gap(
                format!("the destination has a watermark of another data folder ({})", other.journal),
                "if that data folder is gone for good: verify both sides, remove its rows from the watermark table, then run the maps again",
            ));
        }
        let durable = self.parts.journal.with(|journal| journal.durable());
        for lane in &mut record.lanes {
            let mark = marks.iter().find(|mark| mark.lane == lane.lane).map(|mark| mark.seq);
            match (mark, lane.marked) {
                (Some(mark), _) if mark > durable => {
                    return Err(gap(
                        format!("the destination is at Seq {mark}, but the journal ends at {durable}"),
                        "the data folder is an older copy: restore the newest one, or stop the maps and start them anew with an initial sync",
                    ));
                }
                (Some(mark), known) => {
                    if known.is_some_and(|known| mark < known) {
                        tracing::warn!(%stream, lane = %lane.lane, %mark, "the destination has lost committed transactions; they are applied again");
                        lane.cursor = mark;
                        for resting in
                            record.resting.iter_mut().filter(|resting| resting.via == Some(lane.lane))
                        {
                            resting.cursor = resting.cursor.min(mark);
                        }
                    }
                    lane.cursor = lane.cursor.max(mark);
                    lane.marked = Some(mark);
                }
                (None, Some(known)) => {
                    return Err(gap(
                        format!(
                            "the destination has lost the watermark of lane {} (it was at Seq {known})",
                            lane.lane
                        ),
                        "the destination was restored to an earlier state: verify both sides, or run the maps anew with an initial sync",
                    ));
                }
                (None, None) => {}
            }
        }
        for resting in record.resting.iter_mut().filter(|resting| resting.unsettled) {
            let mark = marks.iter().find(|mark| Some(mark.lane) == resting.via).map(|mark| mark.seq);
            resting.cursor = resting.cursor.max(mark.unwrap_or_default());
            resting.unsettled = false;
        }
        let known: BTreeSet<LaneId> = record.lanes.iter().map(|lane| lane.lane).collect();
        self.retired = marks.iter().map(|mark| mark.lane).filter(|lane| !known.contains(lane)).collect();
        for lane in &record.lanes {
            if let Some(slot) = self.lanes.get_mut(&lane.lane) {
                slot.progress.send_modify(|progress| {
                    progress.cursor = lane.cursor;
                    progress.marked = lane.marked;
                    progress.in_doubt = false;
                });
            }
        }
        Ok(())
    }

    /// Puts flows into a lane that are to be in one and are not. Those that begin together share one.
    fn take_in(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let record = &self.parts.record;
        let unsettled: BTreeSet<FlowId> =
            record.resting.iter().filter(|resting| resting.unsettled).map(|resting| resting.flow).collect();
        let joining: Vec<(FlowId, Seq)> = plan
            .flows
            .values()
            .filter(|flow| {
                flow.follow && record.lane_of(flow.flow).is_none() && !unsettled.contains(&flow.flow)
            })
            .filter_map(|flow| Some((flow.flow, self.cursor_of(plan, flow.flow)?)))
            .collect();
        if joining.is_empty() {
            return Ok(());
        }
        self.parts.record.open(&joining);
        FailPoint::OpenUnsaved.pass();
        self.save()?;
        FailPoint::OpenSaved.pass();
        Ok(())
    }

    /// Gives flows that have blocked their lane for long a lane of their own, with what is related to them.
    async fn isolate_stalled(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
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

    /// Starts every lane that stands still for no reason. One that was started when others were in other lanes is
    /// ended first: it must know whom not to overtake before any of them moves.
    async fn start_runs(&mut self, plan: &StreamPlan) {
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let leaders: BTreeSet<LaneId> = self.leaders(lane, plan).into_iter().collect();
            if self.slot(lane).run.as_ref().is_some_and(|run| run.leaders != leaders) {
                self.stop(lane, PAUSE_TIMEOUT).await;
            }
        }
        let now = self.parts.env.now();
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let writes = !self.members(lane).is_empty();
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

    /// Sees to it that a lane has a connection; false if there is none to be had.
    async fn connection_for(&mut self, lane: LaneId) -> bool {
        let (Some(epoch), now) = (self.fenced, self.parts.env.now()) else { return false };
        if self.slot(lane).connection.is_some() {
            return true;
        }
        if let Some(spare) = self.spare.take() {
            self.slot(lane).connection = Some(spare);
            return true;
        }
        let owner = Owner { journal: self.parts.journal_id, epoch };
        let stream = self.parts.record.stream.to_string();
        let destination = self.parts.destination.clone();
        let opened = tokio::select! {
            biased;
            _ = self.parts.plan.changed() => {
                self.parts.plan.mark_changed();
                return false;
            }
            opened = destination.open_apply(owner, &stream) => opened,
        };
        match opened {
            Ok(connection) => {
                self.slot(lane).connection = Some(connection);
                true
            }
            Err(fault) => {
                self.connect.failed(fault, now);
                self.fenced = None;
                false
            }
        }
    }

    fn start(&mut self, lane: LaneId, plan: &StreamPlan, until: Option<Seq>) {
        self.note_progress();
        let Some(record) = self.parts.record.lane(lane) else { return };
        let members: BTreeMap<FlowId, Member> = record
            .members
            .iter()
            .filter_map(|(flow, from)| Some((*flow, Member::new(plan.flows.get(flow)?.clone(), *from))))
            .collect();
        let waiting_on_others = members
            .values()
            .filter(|member| member.flow.related().any(|other| !members.contains_key(other)))
            .map(|member| member.flow.flow)
            .collect();
        let waits_beyond: BTreeMap<FlowId, Seq> = members
            .values()
            .filter_map(|member| {
                let outside = member.flow.dependents.iter().filter(|other| !members.contains_key(other));
                // One whose table has not entered capture yet has nothing behind.
                let cursors = outside.filter_map(|other| self.cursor_of(plan, *other));
                Some((member.flow.flow, cursors.min()?))
            })
            .collect();
        let leaders = self.leaders(lane, plan);
        tracing::trace!(%lane, ?until, ?leaders, cursor = %self.cursor(lane), ?waits_beyond, "a run begins");
        let led_by = leaders.iter().copied().collect();
        let leaders = leaders.into_iter().map(|leader| self.slot(leader).progress.subscribe()).collect();
        let (context, durable) = (self.context.clone(), self.parts.journal.durable());
        let (orders, ended, env) =
            (watch::Sender::new(Orders { stop: false, until }), self.ended.clone(), self.parts.env.clone());
        let slot = self.slot(lane);
        let mut run = LaneRun {
            context,
            lane,
            members,
            waiting_on_others,
            waits_beyond,
            apply: slot.connection.take(),
            orders: orders.subscribe(),
            durable,
            leaders,
            progress: slot.progress.clone(),
            trial: std::mem::take(&mut slot.trial),
            position: slot.position.clone(),
        };
        let kill = Arc::new(Notify::new());
        slot.run = Some(Run { leaders: led_by, orders, kill: kill.clone() });
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

    /// The lanes that a lane must not overtake, nearest first.
    fn leaders(&self, lane: LaneId, plan: &StreamPlan) -> Vec<LaneId> {
        let live = self.parts.record.live();
        if lane == live {
            return Vec::new();
        }
        let members = self.members(lane);
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

    /// How far a flow is settled, or where it begins.
    fn cursor_of(&self, plan: &StreamPlan, flow: FlowId) -> Option<Seq> {
        self.parts.record.cursor_of(flow).or_else(|| plan.flows.get(&flow)?.start)
    }

    fn cursor(&self, lane: LaneId) -> Seq {
        let shown = self.lanes.get(&lane).map(|slot| slot.progress.borrow().cursor);
        shown.or(self.parts.record.lane(lane).map(|record| record.cursor)).unwrap_or_default()
    }

    /// Ends a lane's run at a committed Seq. Returns whether its last COMMIT is in doubt, because it had to be
    /// dropped after `limit`.
    async fn stop(&mut self, lane: LaneId, limit: Duration) -> bool {
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
    async fn ends_within(&mut self, lane: LaneId, limit: Duration) -> bool {
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

    /// Notes how a run ended.
    fn note_end(&mut self, ended: Ended) {
        let now = self.parts.env.now();
        let stream = self.parts.record.stream.to_string();
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
        slot.position = run.position;
        match end {
            LaneEnd::Stopped | LaneEnd::Reached | LaneEnd::Met => {
                slot.met = matches!(end, LaneEnd::Met);
                slot.retry = Retry::default();
                slot.blamed.clear();
            }
            LaneEnd::Failed(LaneFault { fault, flows, broken, .. }) => {
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
                slot.retry.failed(fault, now);
                slot.blocked_at = moved;
            }
            LaneEnd::Unreadable(error) => {
                tracing::error!(%stream, "the journal cannot be read: {error}");
                self.broken = Some(
                    Fault::new(FaultClass::Internal, "read the journal", error.to_string()).fix(error.fix()),
                );
            }
            LaneEnd::Forgetful(error) => self.disk_failed(&error),
        }
    }

    /// Lets lanes join the one that they have met.
    async fn join_lanes(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let live = self.parts.record.live();
        let met: Vec<LaneId> = self.lanes.iter().filter(|(_, lane)| lane.met).map(|(id, _)| *id).collect();
        for lane in met {
            let Some(leader) = self.leaders(lane, plan).first().copied() else { continue };
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
    fn join(&mut self, lane: LaneId, leader: LaneId, at: Seq) -> Result<(), StoreError> {
        for id in [leader, lane] {
            if let Some(record) = self.parts.record.lane_mut(id) {
                record.cursor = at;
            }
        }
        self.parts.record.join(lane, leader);
        FailPoint::JoinUnsaved.pass();
        self.save()?;
        FailPoint::JoinSaved.pass();
        self.retired.push(lane);
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

    /// Shelves what is far behind, and lets go of what nobody needs.
    fn tidy(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let now = self.parts.env.now();
        // A flow without a start may have its barrier anywhere.
        if now.saturating_sub(self.tidied) < self.parts.pulse
            || plan.flows.values().any(|flow| flow.start.is_none())
        {
            return Ok(());
        }
        self.tidied = now;
        self.note_progress();
        let flows: Vec<FlowId> = plan.flows.keys().copied().collect();
        let needs: Vec<(FlowId, Seq)> =
            flows.iter().filter_map(|flow| Some((*flow, self.cursor_of(plan, *flow)?))).collect();
        if needs.len() < flows.len() || !self.parts.journal.with(|journal| journal.has_sealed()) {
            return Ok(());
        }
        FailPoint::ProgressUnsaved.pass();
        self.save()?;
        FailPoint::ProgressSaved.pass();
        let live = self.parts.record.live();
        for (flow, cursor) in &needs {
            let behind = self.parts.record.lane_of(*flow).is_none_or(|lane| lane.lane != live);
            if behind
                && let Err(error) =
                    self.parts.journal.with(|journal| journal.shelve(*flow, *cursor, SHELVE_STEP_BYTES))
            {
                tracing::warn!(stream = %self.parts.record.stream, "a queue could not be shelved: {error}");
            }
        }
        let keep = self.parts.keep_applied_bytes;
        if let Err(error) = self.parts.journal.with(|journal| journal.reclaim(&needs, keep)) {
            tracing::warn!(stream = %self.parts.record.stream, "the journal could not be reclaimed: {error}");
        }
        Ok(())
    }

    /// Ends the stream.
    async fn end(mut self, over: Over) {
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.stop(lane, PAUSE_TIMEOUT).await;
        }
        self.note_progress();
        match over {
            Over::Shutdown => {
                if let Err(error) = self.save() {
                    tracing::warn!(stream = %self.parts.record.stream, "the last positions were not saved: {error}");
                }
            }
            Over::NoFlows => {
                self.retire_all().await;
                if let Err(error) =
                    self.parts.store.save(&[Record::NoStream(self.parts.record.stream.clone())])
                {
                    tracing::warn!(stream = %self.parts.record.stream, "the ended stream was not forgotten: {error}");
                }
            }
        }
        self.parts.status.send_modify(|status| status.ended = true);
        self.parts.bell.notify_one();
    }

    /// Takes our watermarks out of the destination, if it answers. What stays behind there does no harm: lane
    /// numbers go on from the journal's identity.
    async fn retire_all(&mut self) {
        let lanes: Vec<LaneId> = (1..self.parts.record.next_lane).map(LaneId).collect();
        let epoch = Epoch(self.parts.record.epoch.0 + 1);
        let owner = Owner { journal: self.parts.journal_id, epoch };
        let stream = self.parts.record.stream.to_string();
        let destination = self.parts.destination.clone();
        let env = self.parts.env.clone();
        let retire = async {
            let mut connection = destination.open_apply(owner, &stream).await?;
            connection.fence().await?;
            connection.retire(&lanes).await
        };
        match within(&*env, PAUSE_TIMEOUT, retire).await {
            Some(Ok(())) => {}
            Some(Err(fault)) => tracing::warn!(%stream, "watermarks were left in the destination: {fault}"),
            None => tracing::warn!(%stream, "watermarks were left in the destination: it did not answer"),
        }
    }

    fn members(&self, lane: LaneId) -> BTreeSet<FlowId> {
        let members =
            self.parts.record.lane(lane).map(|lane| lane.members.iter().map(|(flow, _)| *flow).collect());
        members.unwrap_or_default()
    }

    fn slot(&mut self, lane: LaneId) -> &mut Lane {
        let record = self.parts.record.lane(lane);
        let (cursor, marked) = record.map_or((Seq::ZERO, None), |record| (record.cursor, record.marked));
        self.lanes.entry(lane).or_insert_with(|| Lane {
            progress: watch::Sender::new(Progress { cursor, marked, ..Progress::default() }),
            run: None,
            connection: None,
            trial: Trial::default(),
            position: Position::default(),
            retry: Retry::default(),
            blamed: BTreeSet::new(),
            blocked_at: Seq::ZERO,
            stalled: false,
            met: false,
        })
    }

    /// Takes what the runs have done into the record.
    fn note_progress(&mut self) {
        for record in &mut self.parts.record.lanes {
            if let Some(slot) = self.lanes.get(&record.lane) {
                let progress = slot.progress.borrow();
                record.cursor = record.cursor.max(progress.cursor);
                record.marked = record.marked.max(progress.marked);
            }
        }
    }

    fn keep_counts(&mut self, slot: &Lane) {
        let progress = slot.progress.borrow();
        for (flow, n) in &progress.applied {
            self.counted_before.entry(*flow).or_default().0 += n;
        }
        for (flow, n) in &progress.refused {
            self.counted_before.entry(*flow).or_default().1 += n;
        }
    }

    fn save(&mut self) -> Result<(), StoreError> {
        self.note_progress();
        let gone: Vec<LaneId> =
            self.lanes.keys().copied().filter(|lane| self.parts.record.lane(*lane).is_none()).collect();
        for lane in gone {
            if let Some(slot) = self.lanes.remove(&lane) {
                self.keep_counts(&slot);
            }
        }
        self.parts.store.save(&[Record::Stream(self.parts.record.clone())]).map(drop)
    }

    fn disk_failed(&mut self, error: &StoreError) {
        tracing::error!(stream = %self.parts.record.stream, "our own disk failed: {error}");
        let fault = Fault::new(FaultClass::Internal, error.operation, error.message.clone());
        self.broken = Some(fault.fix("mend the disk of the data folder, then restart"));
    }

    fn publish(&mut self, plan: &StreamPlan) {
        self.note_progress();
        let live = self.parts.record.live();
        let mut flows = BTreeMap::new();
        for flow in plan.flows.keys() {
            let lane = self.parts.record.lane_of(*flow).map(|lane| lane.lane);
            let slot = lane.and_then(|lane| self.lanes.get(&lane));
            let (mut applied, mut refused) = self.counted_before.get(flow).copied().unwrap_or_default();
            for slot in self.lanes.values() {
                let progress = slot.progress.borrow();
                applied += progress.applied.get(flow).copied().unwrap_or_default();
                refused += progress.refused.get(flow).copied().unwrap_or_default();
            }
            flows.insert(
                *flow,
                FlowStatus {
                    place: match lane {
                        None => Place::Resting,
                        Some(lane) if lane == live => Place::Live,
                        Some(_) => Place::CatchingUp,
                    },
                    cursor: self.parts.record.cursor_of(*flow).unwrap_or_default(),
                    applied,
                    refused,
                    stalled: slot.filter(|slot| slot.stalled).and_then(|slot| slot.retry.fault().cloned()),
                },
            );
        }
        let blocked = self.lanes.values().find_map(|slot| slot.retry.fault().cloned());
        let status = StreamStatus {
            version: plan.version,
            flows,
            fault: self.connect.fault().cloned().or(blocked),
            broken: self.broken.clone(),
            ended: false,
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
