//! What the engine remembers of itself: maps and their states, lanes and who is in them, errors, activity.
//!
//! Each owner of state keeps it as one record and saves it whole: a record on disk is always one that its owner
//! had, never a mixture. Several records and the activity that tells of them are saved in one transaction, durable
//! when [`Store::save`] returns; that is what makes an action on several maps all or nothing across a crash.
//! The journal is not in here: positions in it are Seqs, and where a record and the destination's watermark
//! differ, the watermark is right.

mod copies;
mod map;
#[cfg(any(test, feature = "simulation"))]
pub mod memory;
mod set_aside;
pub(crate) mod sqlite;
mod stream;
#[cfg(test)]
mod tests;

use crate::journal::JournalError;
use crate::view::{ActivityEntry, Page};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::rules::{Rule, RuleState};
use tandem_core::{AppName, Epoch, IntegrationKey, JournalId, KeyHash, MapName, Seq, StreamName};

pub use crate::access::{AnswerRecord, TokenRecord};
pub use crate::journal::{FlowId, Holes};
pub use crate::two_way::{Conflict, Correction};
pub use copies::{Again, CopyCounts, CopyRecord, CopyStage, Refresh};
pub use map::{Armed, FlowRecord, MapRecord, Mismatch, MismatchKind, RetryRecord, Skipped};
pub use set_aside::{
    Awaiting, Cause, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, KeptChange, NoErrorId, SetAside,
    StatusCounts,
};
pub use stream::{LaneRecord, Resting, Stay, StreamRecord};

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
