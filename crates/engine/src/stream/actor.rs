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
mod runs;
mod standing;
mod tidying;

use super::bucket::Bucket;
use super::copying::Copying;
use super::journal::JournalHandle;
use super::lane::{LaneContext, LaneEnd, LaneRun, Orders, Progress, Terms};
use super::plan::{ByClass, Opening, StreamPlan, StreamStatus};
use super::trial::Trial;
use crate::durations::Durations;
use crate::env::Env;
use crate::retry::Retry;
use crate::store::{FlowId, Record, Store, StoreError, StreamRecord};
use standing::Counted;
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
    /// How many records of one map may wait for others.
    pub(crate) put_off_max: u64,
    /// Where it notes how long the destination takes.
    pub(crate) applies: Arc<Durations>,
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
    counted_before: BTreeMap<FlowId, Counted>,
    /// What the books of flows began with.
    openings: BTreeMap<FlowId, Opening>,
    /// Attempts that failed, per flow that they were made for.
    attempts: BTreeMap<FlowId, ByClass>,
}

/// What is in memory of a lane.
struct Lane {
    progress: watch::Sender<Progress>,
    run: Option<Run>,
    connection: Option<Box<dyn Apply>>,
    trial: Trial,
    copying: Copying,
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
    /// So many runs in a row ended because the journal did not know a flow of theirs.
    unknown: u32,
}

struct Run {
    /// The lanes that it was told not to overtake.
    leaders: BTreeSet<LaneId>,
    /// The flows that it was told to wait for with deletes.
    outside: BTreeMap<FlowId, bool>,
    terms: Terms,
    /// Up to where the records of its members may have any shape, as far as it was told.
    shaped_at: BTreeMap<FlowId, Seq>,
    /// Its members that have windows to write, as far as it was told.
    copies: BTreeSet<FlowId>,
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
            put_off_max: parts.put_off_max,
            applies: parts.applies.clone(),
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
            openings: BTreeMap::new(),
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

    fn slot(&mut self, lane: LaneId) -> &mut Lane {
        let record = self.parts.record.lane(lane);
        let (cursor, marked) = record.map_or((Seq::ZERO, None), |record| (record.cursor, record.marked));
        self.lanes.entry(lane).or_insert_with(|| Lane {
            progress: watch::Sender::new(Progress { cursor, marked, ..Progress::default() }),
            run: None,
            connection: None,
            trial: Trial::default(),
            copying: Copying::default(),
            bucket: Bucket::default(),
            position: Position::default(),
            retry: Retry::default(),
            blamed: BTreeSet::new(),
            blocked_at: Seq::ZERO,
            stalled: false,
            met: false,
            unknown: 0,
        })
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
}
