//! Records that were set aside, each with its change.
//!
//! The change is kept here and not looked up in the journal: the journal lets go of what a flow has passed over, and
//! an error may stay open for as long as a person needs. It is kept as the source had it, before any projection, so
//! that it can be tried again with the mapping of a later day.
//!
//! A queue that was skipped with *preserve* is not copied in here: it stays in the journal as the range of a flow that
//! has ended. What becomes of single records of it is noted here, and what is noted here counts: a record of such a
//! range that has an entry is that entry.

use crate::journal::{FlowId, Record as JournalRecord};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use tandem_core::map::FlowSpec;
use tandem_core::{Change, Fault, FaultClass, IntegrationKey, KeyHash, MapName, Seq, Stamp, WallTime};

/// How an error stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorStatus {
    /// It can be tried again, or deleted.
    Open,
    /// It stands behind an older error of the same record, which would undo it; or it waits for another map.
    Waiting,
    /// It is being tried again, or is about to be.
    Retrying,
    /// It was tried again, and took effect.
    Completed,
    /// A later change of the same record has made it pointless.
    Superseded,
    /// A person has deleted it.
    Deleted,
}

impl ErrorStatus {
    /// Every one of them.
    pub const ALL: [ErrorStatus; 6] = [
        ErrorStatus::Open,
        ErrorStatus::Waiting,
        ErrorStatus::Retrying,
        ErrorStatus::Completed,
        ErrorStatus::Superseded,
        ErrorStatus::Deleted,
    ];

    /// Those of errors that something is still to become of.
    pub const UNRESOLVED: [ErrorStatus; 3] = [ErrorStatus::Open, ErrorStatus::Waiting, ErrorStatus::Retrying];

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            ErrorStatus::Open => "open",
            ErrorStatus::Waiting => "waiting",
            ErrorStatus::Retrying => "retrying",
            ErrorStatus::Completed => "completed",
            ErrorStatus::Superseded => "superseded",
            ErrorStatus::Deleted => "deleted",
        }
    }

    /// The status of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether something is still to become of it.
    pub fn is_unresolved(self) -> bool {
        Self::UNRESOLVED.contains(&self)
    }
}

impl std::fmt::Display for ErrorStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The code of what is no error: a record that only waits for another map, which is behind. What goes on by itself
/// then is found by it.
pub(crate) const WAITS_FOR_MAP: &str = "waits_for_map";

/// What of a flow only waits for another map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaiting {
    /// How many.
    pub records: u64,
    /// The first of them.
    pub first: Seq,
    /// How many of them are being tried again.
    pub retrying: u64,
}

/// What names an error: its number, or for a record of a preserved queue the queue's flow and the record's Seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorId {
    /// It has an entry, under this number.
    Noted(u64),
    /// It has none: nothing has become of it since it was preserved.
    Kept(FlowId, Seq),
}

impl std::fmt::Display for ErrorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ErrorId::Noted(id) => write!(f, "{id}"),
            ErrorId::Kept(flow, seq) => write!(f, "{}-{seq}", flow.0),
        }
    }
}

/// That a text names no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of an error is written as 17, or as 4-1203 for a record of a preserved queue")]
pub struct NoErrorId;

impl FromStr for ErrorId {
    type Err = NoErrorId;

    fn from_str(text: &str) -> Result<Self, NoErrorId> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoErrorId);
        match text.split_once('-') {
            None => Ok(ErrorId::Noted(number(text)?)),
            Some((flow, seq)) => {
                let flow = u32::try_from(number(flow)?).map_err(|_| NoErrorId)?;
                Ok(ErrorId::Kept(FlowId(flow), Seq(number(seq)?)))
            }
        }
    }
}

/// A change that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its number in the list of errors, given when it is first saved; 0 until then. Never given again.
    pub id: u64,
    /// Of which flow.
    pub flow: FlowId,
    /// Of which map, by name.
    pub map: MapName,
    /// Which change.
    pub seq: Seq,
    /// The source's name of its transaction; empty if it has none.
    pub transaction_name: String,
    /// What is to be tried again. `None` for what a version noted that did not keep it.
    pub kept: Option<KeptChange>,
    /// Why: class, code, what the destination said, and what mends it if that is known. Of the last attempt.
    pub fault: Fault,
    /// How often it was refused where it alone was to blame.
    pub attempts: u32,
    /// When it was refused first.
    pub first_at: WallTime,
    /// When it was refused last.
    pub last_at: WallTime,
    /// How it stands.
    pub status: ErrorStatus,
    /// The later change that has superseded it.
    pub by: Option<(FlowId, Seq)>,
}

/// The change of a record that was set aside, and what it was part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptChange {
    /// The change, as it was journaled.
    pub change: Change,
    /// Which record, if the log says so.
    pub key: Option<IntegrationKey>,
    /// The first Seq of its source transaction: equal for all changes of it.
    pub transaction: Seq,
    /// When the source committed it, by the source's clock.
    pub committed_at: WallTime,
    /// What it knew of the other side, if its map goes both ways.
    pub stamp: Option<Stamp>,
    /// The records that it touches, by the hashes of their keys: one, or two if it changes the key.
    pub touches: Vec<KeyHash>,
}

impl KeptChange {
    /// What is kept of a journaled change.
    pub fn of(record: &JournalRecord, spec: &FlowSpec) -> Self {
        let mut touches: Vec<KeyHash> = spec.keys_of(&record.change).map(|key| key.hash()).collect();
        touches.dedup();
        Self {
            change: record.change.clone(),
            key: spec.key_of(&record.change),
            transaction: record.transaction,
            committed_at: record.committed_at,
            stamp: record.stamp,
            touches,
        }
    }
}

impl SetAside {
    /// Notes that a record of a flow was refused. Copies no value: the change shares the journal's buffers.
    pub fn of(record: &JournalRecord, spec: &FlowSpec, fault: Fault, now: WallTime) -> Self {
        Self {
            id: 0,
            flow: record.flow,
            map: spec.map.clone(),
            seq: record.seq,
            transaction_name: record.transaction_name.to_string(),
            kept: Some(KeptChange::of(record, spec)),
            fault,
            attempts: 1,
            first_at: now,
            last_at: now,
            status: ErrorStatus::Open,
            by: None,
        }
    }

    /// A record of a preserved queue of which nothing has become yet. It was never refused.
    pub fn preserved(record: &JournalRecord, spec: &FlowSpec) -> Self {
        let message = "it was queued when the map was taken to live without it";
        let fault = Fault::new(FaultClass::Application, "skip to live", message).code("preserved");
        Self { attempts: 0, ..Self::of(record, spec, fault, record.captured_at) }
    }

    /// The same, as what only waits for another map. What the destination said stays; what mends it is another.
    pub(crate) fn awaiting(mut self) -> Self {
        self.status = ErrorStatus::Waiting;
        self.fault = self
            .fault
            .code(WAITS_FOR_MAP)
            .fix("resume the map that is behind; this is applied by itself when that one has come as far");
        self
    }

    /// Whether it only waits for another map.
    pub fn is_awaiting(&self) -> bool {
        self.fault.code.as_deref() == Some(WAITS_FOR_MAP)
    }

    /// What names it.
    pub fn name(&self) -> ErrorId {
        match self.id {
            0 => ErrorId::Kept(self.flow, self.seq),
            id => ErrorId::Noted(id),
        }
    }

    /// Its integration key as people write it, a text for each column.
    pub(crate) fn key_parts(&self) -> Option<Vec<String>> {
        let key = self.kept.as_ref()?.key.as_ref()?;
        Some(key.values().iter().map(ToString::to_string).collect())
    }
}

/// Which errors: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPick {
    /// Only those with one of these numbers. Empty: with any.
    pub ids: Vec<u64>,
    /// Only those of this class.
    pub class: Option<FaultClass>,
    /// Only those of a record with one of these integration keys, each a text for each of its columns. Empty: of any
    /// record.
    pub keys: Vec<Vec<String>>,
    /// Only those of the source transaction that the source gives this name.
    pub transaction: Option<String>,
    /// Only those that were noted first at this moment or before.
    pub noted_by: Option<WallTime>,
}

impl ErrorPick {
    /// Whether it is all of them.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// Which errors to list: those that fit everything that is given, by rising number.
#[derive(Debug, Clone, Default)]
pub struct ErrorQuery {
    /// Only those of this map.
    pub map: Option<MapName>,
    /// Only those that stand so. Empty: those that something is still to become of.
    pub statuses: Vec<ErrorStatus>,
    /// Which of them.
    pub pick: ErrorPick,
    /// Only those with a higher number.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

impl ErrorQuery {
    /// The statuses that it asks for.
    pub(crate) fn wanted(&self) -> &[ErrorStatus] {
        if self.statuses.is_empty() { &ErrorStatus::UNRESOLVED } else { &self.statuses }
    }
}

/// Errors that have the same cause, as far as class and code tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Of which map.
    pub map: MapName,
    /// The class.
    pub class: FaultClass,
    /// The destination's code, or ours.
    pub code: Option<String>,
    /// What was said last.
    pub message: String,
    /// How many errors have it.
    pub errors: u64,
    /// The first of them.
    pub first: ErrorId,
    /// When the first one was refused first.
    pub first_at: WallTime,
    /// When one was refused last.
    pub last_at: WallTime,
}

/// How many errors a flow has, by how they stand.
pub type StatusCounts = std::collections::BTreeMap<ErrorStatus, u64>;
