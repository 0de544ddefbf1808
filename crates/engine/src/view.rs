//! What the engine shows: maps, apps, queues, activity. Snapshots; nothing in here moves anything.

use crate::durations::Histogram;
use crate::store::{CopyStage, FlowId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::lifecycle::{Action, MapState, Phase};
use tandem_core::limits::{Forecast, Limits, Usage, judge};
use tandem_core::map::TableMap;
use tandem_core::rules::{Firing, Rule};
use tandem_core::{
    AppName, Fault, FaultClass, Guard, IntegrationKey, MapName, OpKind, Progress, Rate, Relation, Row, Seq,
    StreamName, WallTime,
};

/// Everything that the engine shows of itself, as of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The maps, by name.
    pub maps: Vec<MapView>,
    /// The apps, by name.
    pub apps: Vec<AppView>,
    /// The rules, in the order in which they were declared.
    pub rules: Vec<RuleView>,
    /// The streams that there are now, by name.
    pub streams: Vec<StreamView>,
}

/// What one direction between two apps costs: figures since it was begun, or since the engine was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Where it goes from and to.
    pub stream: StreamName,
    /// How long the destination took for what it was given at once, whatever came of it.
    pub applies: Histogram,
    /// How long groups of captured transactions took to become durable in the journal.
    pub syncs: Histogram,
    /// Whether a write or an fsync of its journal has failed; nothing more of it is acknowledged until a restart.
    pub disk_failed: bool,
}

/// A map as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapView {
    /// What was declared.
    pub map: TableMap,
    /// Its state, with holds.
    pub state: MapState,
    /// What may be asked of it now.
    pub allowed: Vec<Action>,
    /// Named troubles and health facts, worst first.
    pub conditions: Vec<Condition>,
    /// When the pause that a person asked for is planned to end.
    pub window: Option<WindowView>,
    /// How its catch-up gets on, while it is resuming.
    pub catch_up: Option<CatchUpView>,
    /// How its initial sync gets on, or how the last one ended; none for a map that was run without.
    pub initial_sync: Option<InitialSyncView>,
    /// Its flows; none while it is not running.
    pub flows: Vec<FlowView>,
    /// Maps that depend on it, directly or not.
    pub dependents: Vec<MapName>,
    /// Its errors.
    pub errors: ErrorStats,
    /// Its errors that are being tried again.
    pub retries: Vec<RetryView>,
    /// How often both sides changed a record without knowing of each other, ever since.
    pub conflicts: u64,
    /// What it may have waiting, and what of that is used; none before it was looked at first.
    pub limits: Option<LimitsView>,
    /// What happened to it since the engine started.
    pub tally: MapTally,
}

/// What happened to a map since the engine started. Rises, also over stops and runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapTally {
    /// How often it was found that changes of its source may be missing, or that a watermark is not where it was left.
    pub gaps: u64,
    /// Queued changes that were left out by a person's skip or stop.
    pub discarded: u64,
    /// Errors that were tried again and are no more.
    pub retried: u64,
    /// Errors that were tried again and refused again.
    pub refused_again: u64,
    /// Deletes that got past a guard, as the activity log tells of them: once a minute at most.
    pub bypassed: u64,
}

/// What a map may have waiting, and what of that is used. Times are moments and not ages, so that a map of which nothing
/// changes looks the same each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsView {
    /// What was declared.
    pub limits: Limits,
    /// Bytes that count: of changes that wait, and of open errors.
    pub used_bytes: u64,
    /// From when on the age counts; none if nothing counts now.
    pub since: Option<WallTime>,
    /// Bytes a second that the queue grows by while it is paused.
    pub growth: u64,
}

impl LimitsView {
    /// When the hard limits will be reached if all goes on as it does, for a map in a phase.
    pub fn forecast(&self, phase: Phase, now: WallTime) -> Forecast {
        let usage = Usage {
            queue_bytes: self.used_bytes,
            oldest_unapplied_at: self.since,
            paused_since: self.since,
            arrival_rate: self.growth,
            ..Usage::empty(phase)
        };
        judge(&self.limits, &usage, now).forecast
    }
}

impl MapView {
    /// Whether it is stopped, and its apps still have something of ours because of it.
    pub fn is_leaving(&self) -> bool {
        let leaving = |condition: &Condition| condition.kind == ConditionKind::Leaving && condition.status;
        self.conditions.iter().any(leaving)
    }
}

/// The planned end of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowView {
    /// When.
    pub until: WallTime,
    /// Whether the map is resumed then.
    pub then_resume: bool,
    /// Whether it is over.
    pub over: bool,
    /// Whether it is over and nothing that is known stands in the way of resuming the map.
    pub due: bool,
}

/// How a map's catch-up gets on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchUpView {
    /// Since when it is watched: since the map was resumed, or the engine was started.
    pub since: WallTime,
    /// What was applied since then, what is left, how fast it goes.
    pub progress: Progress,
    /// Bytes left.
    pub bytes_left: u64,
    /// The most records a second, all maps of one stream together that were resumed with it.
    pub cap: Option<u32>,
}

/// How a map's initial sync gets on, or how it ended; all flows together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialSyncView {
    /// What it is at.
    pub stage: CopyStage,
    /// Rows that were read and dealt with.
    pub rows_done: u64,
    /// About how many there are, if the source can say.
    pub rows_total_estimate: Option<u64>,
    /// Records that were not there.
    pub inserted: u64,
    /// Records that were there with other values.
    pub updated: u64,
    /// Records that were there as they are to be.
    pub unchanged: u64,
    /// Records that were refused, and are errors.
    pub failed: u64,
    /// How fast it goes, since the engine was started at the earliest; none before the first rows and at the end.
    pub rate: Option<Rate>,
    /// When it began.
    pub started_at: WallTime,
    /// When it ended.
    pub ended_at: Option<WallTime>,
    /// Why nothing can be read now.
    pub fault: Option<Fault>,
}

impl InitialSyncView {
    /// How long the rest takes at this pace.
    pub fn eta(&self) -> Option<Duration> {
        let left = self.rows_total_estimate?.saturating_sub(self.rows_done);
        let per_second = self.rate?.per_second();
        (self.ended_at.is_none() && per_second > 0.0)
            .then(|| Duration::from_secs_f64(left as f64 / per_second))
    }
}

/// In a sentence: what it has done.
impl std::fmt::Display for InitialSyncView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows_done, inserted, updated, unchanged, failed, .. } = self;
        write!(
            f,
            "{rows_done} rows: {inserted} inserted, {updated} updated, {unchanged} unchanged, {failed} failed"
        )
    }
}

/// One direction of a map as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowView {
    /// Its number.
    pub flow: FlowId,
    /// Where it goes from and to.
    pub stream: StreamName,
    /// Everything up to here is applied or set aside.
    pub applied_seq: Seq,
    /// The last change that is durable in the journal.
    pub head_seq: Seq,
    /// What is captured and not applied.
    pub queue: QueueStats,
    /// Changes applied since the engine started.
    pub applied: u64,
    /// Changes that the map's filter left out since the engine started.
    pub filtered: u64,
    /// Changes that are past since the engine started, whatever became of them.
    pub settled: u64,
    /// Its books; `None` before it has begun.
    pub ledger: Option<Ledger>,
    /// What failed since the engine started, by the class of the fault: changes that became errors, and attempts for what
    /// is no fault of a change.
    pub failures: BTreeMap<FaultClass, u64>,
}

/// The books of a flow since the engine started, or since the flow began: what came in, and what became of it.
///
/// What came in and what is queued is counted by the journal, and what became of changes by the lanes that read them. So
/// the [difference](Self::difference) is nothing as long as no change is passed over and none is done twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Changes that were queued when the books began.
    pub carried: u64,
    /// Changes that came into the journal since then. Echoes of our own writes and what the source sent twice do not.
    pub journaled: u64,
    /// Changes that were past and are to be done again, since the destination has lost them.
    pub undone: u64,
    /// Changes that were written, or netted with others that were.
    pub applied: u64,
    /// Changes that the map's filter left out.
    pub filtered: u64,
    /// Changes that became errors, whatever has become of those.
    pub set_aside: u64,
    /// Changes that gave way to the other side of a two-way map.
    pub lost: u64,
    /// Changes whose records the initial sync looks at again.
    pub covered: u64,
    /// Changes that were found to be past when a destination was asked, after the connection to it was lost.
    pub found: u64,
    /// Changes that were dropped, because the map's limits lose data.
    pub dropped: u64,
    /// Changes that are queued now.
    pub queued: u64,
}

impl Ledger {
    /// How many changes more came in than anything became of; below zero if it is the other way round.
    pub fn difference(&self) -> i64 {
        let Ledger { carried, journaled, undone, applied, filtered, set_aside, .. } = self;
        let Ledger { lost, covered, found, dropped, queued, .. } = self;
        let came = carried + journaled + undone;
        let went = applied + filtered + set_aside + lost + covered + found + dropped + queued;
        came.wrapping_sub(went).cast_signed()
    }
}

/// The errors of a map that something is still to become of, exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorStats {
    /// They can be tried again, or deleted; the records of preserved queues included.
    pub open: u64,
    /// They stand behind an older error of the same record, or wait for another map.
    pub waiting: u64,
    /// They are being tried again.
    pub retrying: u64,
    /// Of those that wait or are being tried again: they only wait for another map, and are no trouble.
    pub for_maps: u64,
    /// Bytes that preserved queues take in the journal.
    pub kept_bytes: u64,
}

impl ErrorStats {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.open + self.waiting + self.retrying
    }

    /// Those that are trouble: all but what only waits for another map.
    pub fn trouble(&self) -> u64 {
        self.total().saturating_sub(self.for_maps)
    }
}

/// Errors that are being tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryView {
    /// How many there were when it began.
    pub errors: u64,
    /// How many are left.
    pub left: u64,
    /// How many were refused again, since the engine started.
    pub refused: u64,
    /// Since when.
    pub since: WallTime,
    /// Who asked.
    pub actor: String,
    /// It is about to end.
    pub cancelled: bool,
}

/// The queue of a flow, exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Changes.
    pub records: u64,
    /// Bytes that they take in the journal.
    pub bytes: u64,
    /// When the oldest was captured.
    pub oldest_at: Option<WallTime>,
}

/// A named trouble or health fact about a map. Not a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name, such as `DestinationConnected`.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: bool,
    /// In a sentence.
    pub reason: String,
    /// Since when.
    pub since: WallTime,
    /// What a person can do about it.
    pub fix: Option<String>,
}

/// The conditions that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    /// The source's log is being read.
    SourceConnected,
    /// The destination answers.
    DestinationConnected,
    /// The source no longer has what comes next, or a watermark is not where we left it.
    GapDetected,
    /// One table stands in the way of this map, and it was taken out so that others go on.
    Stalled,
    /// Records were set aside.
    ErrorsOpen,
    /// Our own disk failed: nothing more is acknowledged.
    DiskFailed,
    /// The map is stopped, and what was put into its apps for it is still being taken out.
    Leaving,
    /// The queue is near its limits, or has reached them.
    SoftLimit,
    /// Queued records were dropped since the map was paused, because its limits lose data.
    RecordsDropped,
    /// The source is not read, for none of its maps, because the queue of one is full.
    SourceHeld,
    /// The source refuses all writes to the table, because the queue is full.
    WritesBlocked,
    /// The source refuses what it is to refuse while the map is paused or full.
    GuardArmed,
    /// More comes than is applied: the map catches up for ever.
    NotConverging,
    /// The pause was planned to be over by now.
    WindowOver,
    /// The tables have the shape that the map was resolved for.
    SchemaMatches,
    /// The source's table was truncated: what becomes of the destination's records is a person's to say.
    SourceTruncated,
    /// The triggers of two apps change each other's records for ever; that was stopped, and both sides differ.
    PingPong,
    /// More or fewer changes came in than anything became of.
    Unbalanced,
    /// Records wait for a map that is behind, and are applied by themselves when it has come as far.
    RecordsWaiting,
}

impl ConditionKind {
    /// Whether a condition of this kind with that status is good news.
    pub fn is_well(self, status: bool) -> bool {
        match self {
            ConditionKind::SourceConnected
            | ConditionKind::DestinationConnected
            | ConditionKind::GuardArmed
            | ConditionKind::SchemaMatches => status,
            ConditionKind::RecordsWaiting => true,
            ConditionKind::GapDetected
            | ConditionKind::Stalled
            | ConditionKind::ErrorsOpen
            | ConditionKind::DiskFailed
            | ConditionKind::Leaving
            | ConditionKind::SoftLimit
            | ConditionKind::RecordsDropped
            | ConditionKind::SourceHeld
            | ConditionKind::WritesBlocked
            | ConditionKind::NotConverging
            | ConditionKind::WindowOver
            | ConditionKind::SourceTruncated
            | ConditionKind::PingPong
            | ConditionKind::Unbalanced => !status,
        }
    }
}

/// An app as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// Its name.
    pub app: AppName,
    /// The last fault that is not mended.
    pub fault: Option<Fault>,
    /// Whether its log is being read now.
    pub capturing: bool,
    /// What it refuses now on behalf of maps.
    pub guards: Vec<Guard>,
    /// Bytes of its log that it keeps for us, as it was asked last; `None` if it cannot say, or has nothing captured.
    pub retained: Option<u64>,
}

/// A rule as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// What was declared; whether it is enabled is as it is now.
    pub rule: Rule,
    /// The maps that it has done something to, by name.
    pub maps: Vec<RuleOnMap>,
    /// How often it fired since the engine started: once for each map.
    pub fired: u64,
    /// Notices that a target has taken over since the engine started.
    pub told: u64,
    /// Notices that were dropped since then, because nobody could be told.
    pub untold: u64,
}

/// What a rule has done to a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOnMap {
    /// The map.
    pub map: MapName,
    /// Whether it holds the map now.
    pub holds: bool,
    /// When it fired for it last.
    pub fired_at: Option<WallTime>,
    /// How often it took its hold off within the last hour.
    pub lifted_within_hour: usize,
}

/// When a rule would have fired, as far as what is recorded tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTest {
    /// From when on it was looked.
    pub since: WallTime,
    /// Until when.
    pub until: WallTime,
    /// When it would have fired, oldest first.
    pub firings: Vec<Firing>,
    /// What is not recorded and would have to be known, each in a sentence.
    pub unknown: Vec<String>,
}

/// A queued record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRecord {
    /// Its number.
    pub seq: Seq,
    /// The source transaction that it belongs to, as the source names it.
    pub transaction: Arc<str>,
    /// What happened.
    pub op: OpKind,
    /// Which record, if the log says so.
    pub key: Option<IntegrationKey>,
    /// Bytes that it takes in the journal.
    pub bytes: u32,
    /// When the source committed it, by the source's clock.
    pub committed_at: WallTime,
    /// When it was captured, by ours.
    pub captured_at: WallTime,
    /// The columns of the source, for the rows.
    pub relation: Arc<Relation>,
    /// The record before.
    pub old: Option<Row>,
    /// The record after.
    pub new: Option<Row>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<u64>,
}

/// An entry of the activity log: every action and every step that the engine took by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityEntry {
    /// Its number, rising.
    pub id: u64,
    /// When.
    pub at: WallTime,
    /// What: `map.paused`, `map.resumed`, `source.gap_detected` …
    pub event: String,
    /// The map, if it is about one.
    pub map: Option<MapName>,
    /// Who: a user, a rule, or `tandem`.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: Option<String>,
    /// Counts and Seqs, as text; never a value of a record.
    pub detail: String,
}
