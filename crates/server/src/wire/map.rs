//! Maps as clients see them.

use super::{QueueStats, moment};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::Rate;
use tandem_core::lifecycle::{self, HoldNote};
use tandem_core::map::{self, Columns, Deletes, Direction, OnLeave};
use tandem_engine::{CatchUpView, CopyStage, FlowView, InitialSyncView, LimitsView, MapView, RetryView};

/// A map: what was declared, and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Map {
    /// Its name.
    pub name: String,
    /// `not_running`, `initializing`, `running`, `paused` or `resuming`.
    pub state: String,
    /// A pause was asked for and has not taken effect yet; the state is still `running`.
    pub pausing: bool,
    /// Since when it is in its state.
    pub since: Timestamp,
    /// Why it is held; it runs when there is none.
    pub holds: Vec<Hold>,
    /// What may be asked of it now.
    pub allowed: Vec<String>,
    /// Named troubles and health facts, worst first.
    pub conditions: Vec<Condition>,
    /// `to_right`, `to_left` or `both`.
    pub direction: String,
    /// One side.
    pub left: Side,
    /// The other.
    pub right: Side,
    /// Which columns belong together; null: those of the same name.
    pub columns: Option<Vec<Column>>,
    /// `reject` or `queue`: what becomes of deletes while it is paused.
    pub deletes: String,
    /// `keep` or `delete`: what becomes of a record at the destination when it leaves the filter.
    pub on_leave: String,
    /// Maps that it depends on.
    pub depends_on: Vec<String>,
    /// Maps that depend on it, directly or not.
    pub dependents: Vec<String>,
    /// When the pause that a person asked for is planned to end; null if it is not, or if nobody paused it.
    pub window: Option<Window>,
    /// How its catch-up gets on; null unless it is resuming.
    pub catch_up: Option<CatchUp>,
    /// How its initial sync gets on, or how the last one ended; null if it was run without.
    #[serde(default)]
    pub initial_sync: Option<InitialSync>,
    /// The queue of all of its flows.
    pub queue: QueueStats,
    /// Its catch-up errors.
    pub errors: ErrorStats,
    /// Its catch-up errors that are being tried again.
    pub retries: Vec<Retry>,
    /// How often both sides changed a record without knowing of each other; 0 for a map that goes one way.
    pub conflicts: u64,
    /// What it may have waiting, and what of that is used; null before it was looked at first.
    #[serde(default)]
    pub limits: Option<MapLimits>,
    /// Its flows; none while it is not running.
    pub flows: Vec<Flow>,
}

/// What a map may have waiting, and what of that is used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MapLimits {
    /// The most bytes; null: up to the disk's floor.
    pub max_queue_bytes: Option<u64>,
    /// The longest pause, in seconds; of a running map that is behind, the age of its oldest change. Null: any.
    pub max_pause_age_seconds: Option<u64>,
    /// The part of either from which on it is warned, from 0 to 1.
    pub soft_limit: f64,
    /// `block_writes`, `keep`, `drop_new_loses_data` or `drop_oldest_loses_data`.
    pub when_full: String,
    /// Bytes that count: of changes that wait, and of open errors.
    pub used_bytes: u64,
    /// From when on the age counts; null if nothing counts now.
    pub counts_since: Option<Timestamp>,
    /// Bytes a second that the queue grows by while it is paused.
    pub growth_bytes: u64,
}

/// One side of a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// The app.
    pub app: String,
    /// The table in it.
    pub table: String,
    /// The columns of the integration key.
    pub key: Vec<String>,
    /// Which of its records go to the other side; null: all of them.
    pub filter: Option<String>,
}

/// Two columns that hold the same thing, or one that is written and comes from none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// On the left.
    pub left: Option<String>,
    /// On the right.
    pub right: Option<String>,
    /// `to_right`, `to_left` or `both`: which way it goes.
    pub direction: String,
    /// Its values are not to be shown.
    pub sensitive: bool,
    /// The map through which the right one is looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<String>,
}

/// A reason why a map is paused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// `user`, `rule`, `limit`, `system` or `parent`.
    pub kind: String,
    /// Which rule, which parent, or what was found.
    pub name: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
}

/// A named trouble or health fact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// Its name, such as `DestinationConnected`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// Whether that is good news: `DestinationConnected` is well when it holds, `Stalled` when it does not.
    pub well: bool,
    /// In a sentence.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// What a person can do about it.
    pub fix: Option<String>,
}

/// The planned end of a pause.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// When.
    pub until: Timestamp,
    /// Whether the map is resumed then.
    pub then_resume: bool,
    /// Whether it is over.
    pub over: bool,
}

/// How a catch-up gets on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CatchUp {
    /// Since when it is watched: since the map was resumed, or the engine was started.
    pub since: Timestamp,
    /// Records applied or set aside since then.
    pub applied: u64,
    /// Records left.
    pub records: u64,
    /// Bytes left.
    pub bytes: u64,
    /// Records applied per second, of late; null until it is known.
    pub rate: Option<f64>,
    /// Records that come per second.
    pub arrival_rate: Option<f64>,
    /// The most records that are applied per second, with the other maps between these apps that were resumed by
    /// the same request; null if there is no cap.
    pub rate_cap: Option<u32>,
    /// In how many seconds it will be done at these rates; null if never, or if it is not known yet.
    pub eta_seconds: Option<u64>,
}

/// How an initial sync gets on, or how it ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InitialSync {
    /// `chunks`: row by row in order; `again`: what could not be written before; `last`: the same for the last time;
    /// `ended`.
    pub phase: String,
    /// Rows that were read and dealt with.
    pub rows_done: u64,
    /// About how many there are; null if the source cannot say.
    pub rows_total_estimate: Option<u64>,
    /// Records that were not there.
    pub inserted: u64,
    /// Records that were there with other values.
    pub updated: u64,
    /// Records that were there as they are to be.
    pub unchanged: u64,
    /// Records that were refused, and are errors.
    pub failed: u64,
    /// How fast it goes, since the engine was started at the earliest; null if it is not known.
    pub rows_per_second: Option<f64>,
    /// In how many seconds it will be done at that rate; null if it is not known.
    pub eta_seconds: Option<u64>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; null while it goes on.
    pub ended_at: Option<Timestamp>,
    /// Why nothing can be read now; null if it can.
    pub fault: Option<String>,
}

/// One direction of a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Its number, by which errors name it.
    pub flow: u32,
    /// The app where changes are captured.
    pub source: String,
    /// The app where they are applied.
    pub destination: String,
    /// Its queue.
    pub queue: QueueStats,
    /// Changes applied since the engine started.
    pub applied: u64,
    /// Changes that the map's filter left out since the engine started.
    pub filtered: u64,
    /// Its books since the engine started; null before it has begun.
    pub ledger: Option<Ledger>,
}

/// What came in of a flow and what became of it, counted apart from each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Each count.
    #[serde(flatten)]
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    pub counts: tandem_engine::Ledger,
    /// How many changes more came in than anything became of. Anything but 0 is a defect of Tandem.
    pub difference: i64,
}

/// The errors of a map that something is still to become of.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct ErrorStats {
    /// They can be tried again, or deleted; the records of preserved queues included.
    pub open: u64,
    /// They stand behind an older error of the same record.
    pub waiting: u64,
    /// They are being tried again.
    pub retrying: u64,
    /// Bytes that preserved queues take.
    pub preserved_bytes: u64,
}

/// Errors that are being tried again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Retry {
    /// How many there were when it began.
    pub errors: u64,
    /// How many are left.
    pub left: u64,
    /// How many were refused again, since the engine started.
    pub refused: u64,
    /// Since when.
    pub since: Timestamp,
    /// Who asked.
    pub actor: String,
    /// It is about to end.
    pub cancelled: bool,
}

impl From<&map::Side> for Side {
    fn from(side: &map::Side) -> Self {
        Self {
            app: side.app.to_string(),
            table: side.table.to_string(),
            key: side.key.iter().map(ToString::to_string).collect(),
            filter: side.filter.as_ref().map(ToString::to_string),
        }
    }
}

impl From<(&lifecycle::Hold, &HoldNote)> for Hold {
    fn from((hold, note): (&lifecycle::Hold, &HoldNote)) -> Self {
        let (kind, name) = match hold {
            lifecycle::Hold::User => ("user", None),
            lifecycle::Hold::Rule(name) => ("rule", Some(name.to_string())),
            lifecycle::Hold::Limit => ("limit", None),
            lifecycle::Hold::System(what) => ("system", Some(what.to_string())),
            lifecycle::Hold::Parent(map) => ("parent", Some(map.to_string())),
        };
        Self {
            kind: kind.to_owned(),
            name,
            since: moment(note.since),
            actor: note.actor.to_string(),
            reason: note.reason.to_string(),
        }
    }
}

impl From<&tandem_engine::Condition> for Condition {
    fn from(condition: &tandem_engine::Condition) -> Self {
        Self {
            kind: format!("{:?}", condition.kind),
            status: condition.status,
            well: condition.kind.is_well(condition.status),
            reason: condition.reason.clone(),
            since: moment(condition.since),
            fix: condition.fix.clone(),
        }
    }
}

impl From<&RetryView> for Retry {
    fn from(retry: &RetryView) -> Self {
        Self {
            errors: retry.errors,
            left: retry.left,
            refused: retry.refused,
            since: moment(retry.since),
            actor: retry.actor.clone(),
            cancelled: retry.cancelled,
        }
    }
}

impl From<&LimitsView> for MapLimits {
    fn from(view: &LimitsView) -> Self {
        let LimitsView { limits, used_bytes, since, growth } = view;
        Self {
            max_queue_bytes: limits.max_queue_bytes,
            max_pause_age_seconds: limits.max_pause_age.map(|age| age.as_secs()),
            soft_limit: limits.soft_limit.into(),
            when_full: limits.when_full.name().to_owned(),
            used_bytes: *used_bytes,
            counts_since: since.map(moment),
            growth_bytes: *growth,
        }
    }
}

impl From<&CatchUpView> for CatchUp {
    fn from(view: &CatchUpView) -> Self {
        let CatchUpView { since, progress, bytes_left, cap } = view;
        Self {
            since: moment(*since),
            applied: progress.applied,
            records: progress.left,
            bytes: *bytes_left,
            rate: progress.rate.map(Rate::per_second),
            arrival_rate: progress.arrivals.map(Rate::per_second),
            rate_cap: *cap,
            eta_seconds: progress.eta.map(|eta| eta.as_secs()),
        }
    }
}

impl From<&InitialSyncView> for InitialSync {
    fn from(view: &InitialSyncView) -> Self {
        let phase = match view.stage {
            CopyStage::Chunks => "chunks",
            CopyStage::Again => "again",
            CopyStage::Last => "last",
            CopyStage::Ended => "ended",
        };
        Self {
            phase: phase.to_owned(),
            rows_done: view.rows_done,
            rows_total_estimate: view.rows_total_estimate,
            inserted: view.inserted,
            updated: view.updated,
            unchanged: view.unchanged,
            failed: view.failed,
            rows_per_second: view.rate.map(Rate::per_second),
            eta_seconds: view.eta().map(|eta| eta.as_secs()),
            started_at: moment(view.started_at),
            ended_at: view.ended_at.map(moment),
            fault: view.fault.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&FlowView> for Flow {
    fn from(flow: &FlowView) -> Self {
        Self {
            flow: flow.flow.0,
            source: flow.stream.source.to_string(),
            destination: flow.stream.destination.to_string(),
            queue: QueueStats::of([flow]),
            applied: flow.applied,
            filtered: flow.filtered,
            ledger: flow.ledger.map(|counts| Ledger { counts, difference: counts.difference() }),
        }
    }
}

impl From<&MapView> for Map {
    fn from(view: &MapView) -> Self {
        let names = |names: &[tandem_core::MapName]| names.iter().map(ToString::to_string).collect();
        let mut allowed: Vec<String> = view.allowed.iter().map(|action| action.name().to_owned()).collect();
        allowed.dedup();
        Self {
            name: view.map.name.to_string(),
            state: view.state.phase.name().to_owned(),
            pausing: view.state.is_pausing(),
            since: moment(view.state.since),
            holds: view.state.holds.iter().map(Hold::from).collect(),
            allowed,
            conditions: view.conditions.iter().map(Condition::from).collect(),
            direction: direction(view.map.direction).to_owned(),
            left: Side::from(&view.map.left),
            right: Side::from(&view.map.right),
            columns: columns(&view.map),
            deletes: deletes(view.map.deletes).to_owned(),
            on_leave: on_leave(view.map.on_leave).to_owned(),
            depends_on: names(&view.map.depends_on),
            dependents: names(&view.dependents),
            window: view.window.map(|window| Window {
                until: moment(window.until),
                then_resume: window.then_resume,
                over: window.over,
            }),
            catch_up: view.catch_up.as_ref().map(CatchUp::from),
            initial_sync: view.initial_sync.as_ref().map(InitialSync::from),
            queue: QueueStats::of(&view.flows),
            errors: ErrorStats {
                open: view.errors.open,
                waiting: view.errors.waiting,
                retrying: view.errors.retrying,
                preserved_bytes: view.errors.kept_bytes,
            },
            retries: view.retries.iter().map(Retry::from).collect(),
            conflicts: view.conflicts,
            limits: view.limits.as_ref().map(MapLimits::from),
            flows: view.flows.iter().map(Flow::from).collect(),
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::ToRight => "to_right",
        Direction::ToLeft => "to_left",
        Direction::Both => "both",
    }
}

fn deletes(deletes: Deletes) -> &'static str {
    match deletes {
        Deletes::Reject => "reject",
        Deletes::Queue => "queue",
    }
}

fn on_leave(on_leave: OnLeave) -> &'static str {
    match on_leave {
        OnLeave::Keep => "keep",
        OnLeave::Delete => "delete",
    }
}

fn columns(map: &map::TableMap) -> Option<Vec<Column>> {
    let way = |pair: &map::ColumnPair| match (pair.goes(map.direction, true), pair.goes(map.direction, false))
    {
        (true, true) => Direction::Both,
        (false, true) => Direction::ToLeft,
        (_, false) => Direction::ToRight,
    };
    match &map.columns {
        Columns::SameNames => None,
        Columns::Pairs(pairs) => {
            let pair = |pair: &map::ColumnPair| Column {
                left: pair.left.as_ref().map(ToString::to_string),
                right: pair.right.as_ref().map(ToString::to_string),
                direction: direction(way(pair)).to_owned(),
                sensitive: pair.sensitive,
                lookup: pair.lookup.as_ref().map(|through| through.map.to_string()),
            };
            Some(pairs.iter().map(pair).collect())
        }
    }
}
