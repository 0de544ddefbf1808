//! The owner of a stream's lanes: makes them as the plan wants them, one step at a time.
//!
//! One loop: wait for something to happen, note it, then [`StreamActor::reconcile`] from the top. Nothing is
//! remembered about what was going on but the record (saved), the runs (going on) and the faults (why not), so
//! that a restart does the same as a change of plan.
//!
//! What a plan asks for takes effect at the destination at once: a flow that is to rest is taken out of its lane
//! before anything that may wait, and a destination that does not answer is left to itself after `pause_timeout`.

mod connection;
mod joining;
mod membership;
mod tidying;

use super::batch::{KeptRange, Member};
use super::bucket::Bucket;
use super::journal::JournalHandle;
use super::lane::{LaneContext, LaneEnd, LaneFault, LaneRun, Orders, Progress, RetryRun, Terms};
use super::plan::{ByClass, FlowPlan, FlowStatus, Place, StreamPlan, StreamStatus};
use super::trial::Trial;
use crate::env::{Env, within};
use crate::failpoint::Mistake;
use crate::retry::Retry;
use crate::store::{FlowId, Record, Store, StoreError, StreamRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Apply, Connector};
use tandem_core::{Epoch, Fault, FaultClass, JournalId, LaneId, Position, Seq};
use tokio::sync::{Notify, mpsc, watch};

/// How long a destination transaction may take to end once its flow is to rest.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the live lane is held for another to join it.
const JOIN_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a flow may block its lane before it is given one of its own: less than the ten seconds that are promised,
/// by what one more attempt takes that waits for a lock.
const STALL_AFTER: Duration = Duration::from_secs(7);
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
    counted_before: BTreeMap<FlowId, (u64, ByClass)>,
    /// Attempts that failed, per flow that they were made for.
    attempts: BTreeMap<FlowId, ByClass>,
}

/// What is in memory of a lane.
struct Lane {
    progress: watch::Sender<Progress>,
    run: Option<Run>,
    connection: Option<Box<dyn Apply>>,
    trial: Trial,
    bucket: Bucket,
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
    /// The flows that it was told to wait for with deletes.
    outside: BTreeMap<FlowId, bool>,
    terms: Terms,
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
            attempts: BTreeMap::new(),
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

    /// Starts every lane that stands still for no reason. One that was started when others were in other lanes is
    /// ended first: it must know whom not to overtake before any of them moves.
    async fn start_runs(&mut self, plan: &StreamPlan) {
        for lane in self.parts.record.lanes.iter().map(|lane| lane.lane).collect::<Vec<_>>() {
            let leaders: BTreeSet<LaneId> = self.leaders(lane, plan).into_iter().collect();
            let (outside, terms) = (self.outside(lane, plan), self.terms(lane, plan));
            let stale = |run: &Run| run.leaders != leaders || run.outside != outside || run.terms != terms;
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

    fn start(&mut self, lane: LaneId, plan: &StreamPlan, until: Option<Seq>) {
        self.note_progress();
        let Some(record) = self.parts.record.lane(lane) else { return };
        let retry =
            record.members.iter().find_map(|(flow, _)| plan.flows.get(flow).filter(|f| f.retry.is_some()));
        let (members, retry, until) = match retry {
            None => {
                let members = record.members.iter().filter_map(|(flow, from)| {
                    let flow = plan.flows.get(flow)?.clone();
                    let kept = self.kept_of(plan, &flow);
                    Some((flow.flow, Member::new(flow, *from, kept)))
                });
                (members.collect::<BTreeMap<_, _>>(), None, until)
            }
            Some(flow) => {
                // Its errors are of each flow of the family, and all of them become what the map is now.
                let is_part = |kept: &KeptRange| {
                    flow.retry.as_ref().is_some_and(|retry| retry.kept.contains(&kept.flow))
                };
                let (kept, aside): (Vec<_>, Vec<_>) = self.kept_of(plan, flow).into_iter().partition(is_part);
                let member = |of: &FlowId| (*of, Member::new(flow.clone(), Seq::ZERO, aside.clone()));
                let retry = RetryRun { retry: flow.flow, kept };
                (flow.family.flows.iter().map(member).collect(), Some(retry), flow.until)
            }
        };
        let outside = self.outside(lane, plan);
        // A table that has not entered capture yet will enter behind everything that is journaled now.
        let head = self.parts.journal.with(|journal| journal.head());
        let waits_beyond: BTreeMap<FlowId, Seq> = members
            .values()
            .filter_map(|member| {
                let behind = member.flow.dependents.iter().filter(|other| outside.contains_key(other));
                let cursors = behind.map(|other| self.cursor_of(plan, *other).unwrap_or(head));
                Some((member.flow.flow, cursors.min()?))
            })
            .collect();
        let others_at: BTreeMap<FlowId, Seq> = members
            .values()
            .filter_map(|member| {
                let others = member.flow.related().filter(|other| !members.contains_key(other));
                let cursors = others.map(|other| self.cursor_of(plan, *other).unwrap_or(head));
                Some((member.flow.flow, cursors.min()?))
            })
            .collect();
        let (leaders, terms) = (self.leaders(lane, plan), self.terms(lane, plan));
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
            others_at,
            waits_beyond,
            retry,
            apply: slot.connection.take(),
            orders: orders.subscribe(),
            durable,
            leaders,
            progress: slot.progress.clone(),
            terms,
            bucket: slot.bucket,
            trial: std::mem::take(&mut slot.trial),
            position: slot.position.clone(),
            began: Duration::ZERO,
        };
        let kill = Arc::new(Notify::new());
        slot.run = Some(Run { leaders: led_by, outside, terms, orders, kill: kill.clone() });
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

    /// How far a flow is settled, or where it begins.
    fn cursor_of(&self, plan: &StreamPlan, flow: FlowId) -> Option<Seq> {
        let recorded = self.parts.record.cursor_of(flow);
        let wanted = plan.flows.get(&flow);
        // What was left behind may have been settled since, by errors that were tried again.
        let tried = plan.covering(flow).and_then(|retry| self.parts.record.cursor_of(retry));
        let left_behind = wanted.filter(|wanted| wanted.until.is_some()).and_then(|wanted| wanted.start);
        recorded
            .map(|recorded| recorded.max(tried.unwrap_or_default()).max(left_behind.unwrap_or_default()))
            .or_else(|| {
                // The one before may have come further before it was let go of.
                let before = wanted?.succeeds.and_then(|before| self.cursor_of(plan, before));
                wanted?.start.map(|start| before.map_or(start, |before| before.max(start)))
            })
    }

    /// What of the queues of a flow's family is preserved.
    fn kept_of(&self, plan: &StreamPlan, flow: &FlowPlan) -> Vec<KeptRange> {
        let range = |kept: &FlowId| {
            let until = plan.flows.get(kept)?.until?;
            let beyond = self.cursor_of(plan, *kept)?;
            (beyond < until).then_some(KeptRange { flow: *kept, beyond, until })
        };
        flow.family.kept.iter().filter_map(range).collect()
    }

    /// Whether a lane is a retry's and has come to its end.
    fn is_over(&self, lane: LaneId, plan: &StreamPlan) -> bool {
        let members = self.members(lane);
        let retry = members.iter().find_map(|flow| plan.flows.get(flow).filter(|flow| flow.retry.is_some()));
        retry.and_then(|retry| retry.until).is_some_and(|until| self.cursor(lane) >= until)
    }

    /// Beyond what nothing of a flow that rests can have taken effect. `None` if that is not known.
    fn reach_of(&self, plan: &StreamPlan, flow: FlowId) -> Option<Seq> {
        if self.parts.record.cursor_of(flow).is_some() {
            return self.parts.record.reach_of(flow);
        }
        let flow = plan.flows.get(&flow)?;
        let before = flow.succeeds.filter(|before| plan.flows.contains_key(before));
        let before = before.map_or(flow.start, |before| self.reach_of(plan, before));
        Some(flow.start?.max(before?))
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

    /// Counts an attempt that failed, for the flows that it was made for. What is about a record is counted when the
    /// record is set aside: until then it may only wait for another.
    fn note_attempt(&mut self, flows: impl IntoIterator<Item = FlowId>, class: FaultClass) {
        if class.is_about_record() {
            return;
        }
        for flow in flows {
            self.attempts.entry(flow).or_default().add(class, 1);
        }
    }

    /// Notes how a run ended.
    fn note_end(&mut self, ended: Ended) {
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
        slot.bucket = run.bucket;
        slot.position = run.position;
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
            LaneEnd::Unreadable(error) => {
                tracing::error!(%stream, "the journal cannot be read: {error}");
                self.broken = Some(
                    Fault::new(FaultClass::Internal, "read the journal", error.to_string()).fix(error.fix()),
                );
            }
            LaneEnd::Forgetful(error) => self.disk_failed(&error),
        }
    }

    /// Ends the stream.
    async fn end(mut self, over: Over) {
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.stop(lane, PAUSE_TIMEOUT).await;
        }
        self.note_progress();
        let mut left = None;
        match over {
            Over::Shutdown => {
                if let Err(error) = self.save() {
                    tracing::warn!(stream = %self.parts.record.stream, "the last positions were not saved: {error}");
                }
            }
            Over::NoFlows => {
                left = self.retire_all().await.map(|fault| {
                    let record = StreamRecord { left: true, ..self.parts.record.clone() };
                    (fault, Arc::new(record))
                });
                let last = match &left {
                    None => Record::NoStream(self.parts.record.stream.clone()),
                    Some((_, record)) => Record::Stream((**record).clone()),
                };
                if let Err(error) = self.parts.store.save(&[last]) {
                    tracing::warn!(stream = %self.parts.record.stream, "the ended stream was not forgotten: {error}");
                }
            }
        }
        self.parts.status.send_modify(|status| (status.ended, status.left) = (true, left));
        self.parts.bell.notify_one();
    }

    /// Whether a flow has left its lane, and the outcome of that one's last COMMIT is not known.
    fn is_unsettled(&self, flow: FlowId) -> bool {
        self.parts.record.resting.iter().any(|resting| resting.flow == flow && resting.unsettled)
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
            bucket: Bucket::default(),
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
            self.counted_before.entry(*flow).or_default().1.add_all(n);
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
        for (flow, wanted) in &plan.flows {
            let lane = self.parts.record.lane_of(*flow).map(|lane| lane.lane);
            let slot = lane.and_then(|lane| self.lanes.get(&lane));
            let (mut applied, mut refused) = self.counted_before.get(flow).cloned().unwrap_or_default();
            for slot in self.lanes.values() {
                let progress = slot.progress.borrow();
                applied += progress.applied.get(flow).copied().unwrap_or_default();
                progress.refused.get(flow).into_iter().for_each(|more| refused.add_all(more));
            }
            if wanted.retry.is_some()
                && let Some(slot) = slot
            {
                let progress = slot.progress.borrow();
                applied += progress.applied.values().sum::<u64>();
                progress.refused.values().for_each(|more| refused.add_all(more));
            }
            flows.insert(
                *flow,
                FlowStatus {
                    place: match lane {
                        None => Place::Resting,
                        Some(_) if Mistake::PauseInName.is_made() && !wanted.follow => Place::Resting,
                        Some(lane) if lane == live => Place::Live,
                        Some(_) => Place::CatchingUp,
                    },
                    cursor: self.cursor_of(plan, *flow).unwrap_or_default(),
                    reach: self.reach_of(plan, *flow),
                    applied,
                    refused,
                    attempts: self.attempts.get(flow).cloned().unwrap_or_default(),
                    stalled: slot
                        .filter(|slot| slot.stalled || wanted.retry.is_some())
                        .and_then(|slot| slot.retry.fault().cloned()),
                    unsettled: self.is_unsettled(*flow),
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
            left: None,
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
