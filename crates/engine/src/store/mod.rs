//! What the engine remembers of itself: maps and their states, lanes and who is in them, errors, activity.
//!
//! Each owner of state keeps it as one record and saves it whole: a record on disk is always one that its owner
//! had, never a mixture. Several records and the activity that tells of them are saved in one transaction, durable
//! when [`Store::save`] returns; that is what makes an action on several maps all or nothing across a crash.
//! The journal is not in here: positions in it are Seqs, and where a record and the destination's watermark
//! differ, the watermark is right.

mod copies;
#[cfg(any(test, feature = "simulation"))]
pub mod memory;
mod set_aside;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;

use crate::journal::JournalError;
use crate::view::{ActivityEntry, Page};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::lifecycle::{MapState, QueueFate, Window};
use tandem_core::map::{FlowSpec, TableMap};
use tandem_core::rules::{Rule, RuleState};
use tandem_core::{
    AppName, BarrierId, Epoch, IntegrationKey, JournalId, KeyHash, LaneId, MapName, RateCap, Seq, StreamName,
    WallTime,
};

pub use crate::access::{AnswerRecord, TokenRecord};
pub use crate::journal::{FlowId, Holes};
pub use crate::two_way::{Conflict, Correction};
pub use copies::{Again, CopyCounts, CopyRecord, CopyStage, Refresh};
pub use set_aside::{
    Awaiting, Cause, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, KeptChange, NoErrorId, SetAside,
    StatusCounts,
};

/// The store failed. Nothing of what was to be saved was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct StoreError {
    /// What we were doing.
    pub operation: &'static str,
    /// What the disk or the database said.
    pub message: String,
}

/// Why errors could not be looked up: entries are in the store, preserved queues in the journal.
pub(crate) enum Unreadable {
    Store(StoreError),
    Journal(JournalError),
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Unreadable::Store(error)
    }
}

impl From<JournalError> for Unreadable {
    fn from(error: JournalError) -> Self {
        Unreadable::Journal(error)
    }
}

/// Where a list of activity begins, and which way it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActivityFrom {
    /// From the newest entry back.
    #[default]
    Newest,
    /// From the entry before this number back: the next page.
    Before(u64),
    /// From the entry after this number on: for following.
    Since(u64),
}

/// Where records are kept.
pub trait Store: Send + Sync {
    /// Everything but errors and activity.
    fn load(&self) -> Result<Saved, StoreError>;

    /// Saves all of it or nothing, durably. Activity entries are numbered here; the numbers are returned.
    fn save(&self, records: &[Record]) -> Result<Vec<u64>, StoreError>;

    /// At most `limit` entries of the activity log, in the order in which they are asked for.
    fn activity(
        &self,
        map: Option<&MapName>,
        from: ActivityFrom,
        limit: usize,
    ) -> Result<Vec<ActivityEntry>, StoreError>;

    /// A page of the errors that a query asks for, smaller than it may be if its records are large.
    fn errors(&self, query: &ErrorQuery) -> Result<Page<SetAside>, StoreError>;

    /// The error of that number, if there is one.
    fn error(&self, id: u64) -> Result<Option<SetAside>, StoreError>;

    /// The entry of a change, if it has one.
    fn error_at(&self, flow: FlowId, seq: Seq) -> Result<Option<SetAside>, StoreError>;

    /// How many errors each flow has, by how they stand. Exact, and no matter how many there are.
    fn error_counts(&self) -> Result<BTreeMap<FlowId, StatusCounts>, StoreError>;

    /// What of each flow only waits for another map; flows of which nothing does are left out.
    fn awaiting(&self) -> Result<BTreeMap<FlowId, Awaiting>, StoreError>;

    /// The numbers of those entries of some flows that wait for another map and are not being tried again, up to
    /// `through`, by rising Seq, at most so many.
    fn awaiting_ids(&self, flows: &[FlowId], through: Seq, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// The unresolved errors of these flows that a pick fits.
    fn picked(&self, flows: &[FlowId], pick: &ErrorPick) -> Result<Picked, StoreError>;

    /// Whether any error may touch a record: if not, none needs to be looked for.
    fn any_touched(&self) -> bool;

    /// Unresolved errors of these flows that touch records with one of these keys, by their hashes. Costs nothing
    /// where there are none.
    fn touching(&self, flows: &[FlowId], keys: &[KeyHash]) -> Result<Vec<Touching>, StoreError>;

    /// A page of the errors that are to be tried again under a number, by rising Seq from beyond `after`; `next` is a
    /// Seq.
    fn retrying(&self, retry: FlowId, after: Seq, limit: usize) -> Result<Page<SetAside>, StoreError>;

    /// The Seqs of a flow that have an entry, beyond `after` and up to `through`.
    fn noted(&self, flow: FlowId, after: Seq, through: Seq) -> Result<BTreeSet<Seq>, StoreError>;

    /// A page of the records that the initial sync of a flow looks at again, by rising number from beyond `after`.
    fn again(&self, flow: FlowId, after: u64, limit: usize) -> Result<Vec<Again>, StoreError>;

    /// How many those are.
    fn again_count(&self, flow: FlowId) -> Result<u64, StoreError>;

    /// A page of the conflicts of a map, or of all, the newest first; before this number, if it is given.
    fn conflicts(
        &self,
        map: Option<&MapName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Conflict)>, StoreError>;

    /// How many conflicts each map has had.
    fn conflict_counts(&self) -> Result<BTreeMap<MapName, u64>, StoreError>;

    /// Whether any winner is to be written back.
    fn any_corrections(&self) -> bool;

    /// At most `limit` winners that these flows are to write back, the oldest first.
    fn corrections(&self, flows: &[FlowId], limit: usize) -> Result<Vec<Correction>, StoreError>;

    /// Unresolved errors grouped by map, class and code, the most frequent first.
    fn causes(&self, map: Option<&MapName>) -> Result<Vec<Cause>, StoreError>;
}

/// The errors that a pick fits, in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picked {
    /// How many.
    pub errors: u64,
    /// The largest of their numbers.
    pub last_id: u64,
    /// The largest of their Seqs.
    pub last_seq: Seq,
}

/// An unresolved error that touches a record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touching {
    /// The key's hash.
    pub key: KeyHash,
    /// The error's flow.
    pub flow: FlowId,
    /// Its Seq.
    pub seq: Seq,
    /// How it stands.
    pub status: ErrorStatus,
}

/// What is saved.
#[derive(Debug, Clone)]
pub enum Record {
    /// The engine's own numbers.
    Engine(EngineRecord),
    /// A map.
    Map(Box<MapRecord>),
    /// A map that is no longer declared.
    NoMap(MapName),
    /// A stream.
    Stream(StreamRecord),
    /// A stream that has no flows any more.
    NoStream(StreamName),
    /// A record that was set aside; it is numbered here. Saved again, it is the same one, refused once more, and
    /// stands as it says now.
    Error(SetAside),
    /// A record of a preserved queue that a person has chosen gets an entry. One that has got one meanwhile keeps it.
    Adopted(SetAside),
    /// The errors of these flows with a Seq above are no more: what set them aside was never committed.
    NoErrorsAbove(Vec<(FlowId, Seq)>),
    /// The errors of a flow that is no more.
    NoErrors(FlowId),
    /// The errors of a flow are another's now, which goes on behind it.
    ErrorsOf {
        /// Whose they are now.
        now: FlowId,
        /// Whose they were.
        before: FlowId,
    },
    /// What was seen under a rule.
    Rule(Box<RuleRecord>),
    /// A rule that is no longer declared.
    NoRule(Arc<str>),
    /// Errors that a later change has made pointless. It is saved before that change is committed.
    Superseded {
        /// Which; each has an entry.
        errors: Vec<(FlowId, Seq)>,
        /// The later change.
        by: (FlowId, Seq),
    },
    /// What these later changes had superseded stands as before: they did not take effect.
    NotSuperseded {
        /// Whose changes.
        by: FlowId,
        /// The first.
        from: Seq,
        /// The last.
        through: Seq,
    },
    /// Unresolved errors are to be tried again, with what waits behind them.
    RetryBegun {
        /// Under this number.
        retry: FlowId,
        /// Of these flows.
        flows: Vec<FlowId>,
        /// Which of them.
        pick: Option<ErrorPick>,
        /// With no larger number than this.
        up_to: u64,
        /// Entries that were made for it.
        adopted: Vec<(FlowId, Seq)>,
    },
    /// What was tried again up to here took effect.
    Retried {
        /// Under which number.
        retry: FlowId,
        /// The last one.
        through: Seq,
    },
    /// The destination has lost what was tried again beyond this: it is to be tried once more.
    NotRetried {
        /// Under which number.
        retry: FlowId,
        /// The last one that it has.
        beyond: Seq,
    },
    /// What was not tried again stands as before.
    RetryEnded {
        /// Under which number.
        retry: FlowId,
        /// Of these flows.
        flows: Vec<FlowId>,
    },
    /// A person deletes errors: their changes go, the entries stay.
    ErrorsDeleted {
        /// Of these flows.
        flows: Vec<FlowId>,
        /// Which of them.
        pick: ErrorPick,
        /// With no larger number than this.
        up_to: u64,
    },
    /// The initial sync of a flow.
    Copy(Box<CopyRecord>),
    /// Nothing is to be known any more of the initial sync of a flow.
    NoCopy(FlowId),
    /// The initial sync of a flow has to look at these records again; those that it has to already are the same ones.
    Again {
        /// Whose.
        flow: FlowId,
        /// Which.
        keys: Vec<IntegrationKey>,
    },
    /// It need not look at these again: they are as they are to be, or errors.
    NotAgain {
        /// Whose.
        flow: FlowId,
        /// Which.
        keys: Vec<IntegrationKey>,
    },
    /// Two changes of a record that did not know each other. Saved again, it is the same one.
    Conflict(Box<Conflict>),
    /// A winner is to be written back to its own side.
    Correction(Box<Correction>),
    /// The correction of that number was made, or need not be any more.
    Corrected(u64),
    /// A token.
    Token(Box<TokenRecord>),
    /// A token that was revoked.
    NoToken(Arc<str>),
    /// A request with a key that its client chose, and what came of it.
    Answer(Box<AnswerRecord>),
    /// One that need not be known any more.
    NoAnswer(String),
    /// Something to tell. Its number is given when it is saved.
    Activity(ActivityEntry),
}

impl Record {
    /// What a flow's changes beyond a Seq had superseded stands as before.
    pub(crate) fn not_superseded_beyond(by: FlowId, seq: Seq) -> Self {
        Record::NotSuperseded { by, from: seq.next(), through: Seq(u64::MAX) }
    }
}

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// `None` in a new data folder.
    pub engine: Option<EngineRecord>,
    /// The maps.
    pub maps: BTreeMap<MapName, MapRecord>,
    /// The streams.
    pub streams: BTreeMap<StreamName, StreamRecord>,
    /// The rules, by name.
    pub rules: BTreeMap<Arc<str>, RuleRecord>,
    /// The initial syncs of flows, those that have ended included.
    pub copies: BTreeMap<FlowId, CopyRecord>,
    /// The tokens, by name.
    pub tokens: BTreeMap<Arc<str>, TokenRecord>,
    /// Requests with keys that their clients chose, by token and key.
    pub answers: BTreeMap<String, AnswerRecord>,
}

/// The engine's own numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The data folder's identity.
    pub journal: JournalId,
    /// How often it was started.
    pub epoch: Epoch,
    /// The next flow's number.
    pub next_flow: u32,
    /// The next barrier's number.
    pub next_barrier: u64,
    /// Apps that something of ours is to be taken out of, because maps were stopped, and that are not known to be
    /// rid of it: an end in between must not leave a slot behind that fills the source's disk.
    #[serde(default)]
    pub leaving: BTreeSet<AppName>,
}

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
    /// What has changed, as people are told.
    pub reason: String,
    /// What mends it.
    pub fix: Option<String>,
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

/// A rule as it was declared, whether a person has switched it, and what was seen under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// What was declared.
    pub declared: Rule,
    /// Whether a person has switched it on or off since, whatever was declared.
    pub switched: Option<bool>,
    /// What was seen under it, and what it did.
    pub state: RuleState,
}

impl RuleRecord {
    /// A rule under which nothing was seen yet.
    pub fn new(declared: Rule) -> Self {
        Self { state: RuleState::new(&declared), declared, switched: None }
    }

    /// The rule as it is in force.
    pub fn in_force(&self) -> Rule {
        Rule { enabled: self.switched.unwrap_or(self.declared.enabled), ..self.declared.clone() }
    }

    /// The same rule as it is declared now. One that was changed begins anew. What a person switched by hand stays
    /// so, unless the declaration says otherwise than it did: that is the newer word.
    #[must_use]
    pub fn declared_as(mut self, rule: Rule) -> Self {
        if self.declared.enabled != rule.enabled {
            self.switched = None;
        }
        if (Rule { enabled: rule.enabled, ..self.declared }) != rule {
            self.state.renew(&rule);
        }
        self.declared = rule;
        self
    }
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
