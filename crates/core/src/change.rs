//! What happened at the source: changes, in the transactions in which they were committed.

use crate::{Position, Relation, Row, Seq, WallTime};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table as the log described it at this change.
    pub relation: Arc<Relation>,
    /// What happened.
    pub op: Op,
}

/// What happened to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A record came to be.
    Insert {
        /// It, whole.
        new: Row,
    },
    /// A record changed.
    Update {
        /// The record before, as far as the log names it (the replica identity, or all). `None`: the log says
        /// that no identity column changed.
        old: Option<Row>,
        /// The record after; large values that did not change may be [`Cell::Unchanged`](crate::Cell).
        new: Row,
    },
    /// A record is gone.
    Delete {
        /// It, as far as the log names it.
        old: Row,
    },
    /// All records of the table are gone at once.
    Truncate,
}

/// The kind of an [`Op`], for lists, counts and the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// See [`Op::Insert`].
    Insert,
    /// See [`Op::Update`].
    Update,
    /// See [`Op::Delete`].
    Delete,
    /// See [`Op::Truncate`].
    Truncate,
}

impl OpKind {
    /// All of them.
    pub const ALL: [OpKind; 4] = [OpKind::Insert, OpKind::Update, OpKind::Delete, OpKind::Truncate];
}

impl Op {
    /// Its kind.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Insert { .. } => OpKind::Insert,
            Op::Update { .. } => OpKind::Update,
            Op::Delete { .. } => OpKind::Delete,
            Op::Truncate => OpKind::Truncate,
        }
    }

    /// The record after the change, if there is one.
    pub fn new_row(&self) -> Option<&Row> {
        match self {
            Op::Insert { new } | Op::Update { new, .. } => Some(new),
            Op::Delete { .. } | Op::Truncate => None,
        }
    }

    /// The record before the change, as far as the log names it.
    pub fn old_row(&self) -> Option<&Row> {
        match self {
            Op::Update { old, .. } => old.as_ref(),
            Op::Delete { old } => Some(old),
            Op::Insert { .. } | Op::Truncate => None,
        }
    }
}

/// A marker that we wrote into an app's log, to know a place in it. Unique within a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BarrierId(pub u64);

/// One thing that a source's log holds for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A change of a captured table.
    Change(Change),
    /// A barrier of ours.
    Barrier(BarrierId),
}

/// How a source transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Resume here, and this transaction is not delivered again.
    pub position: Position,
    /// The source's own number of the transaction, to be shown; empty if it has none.
    pub transaction: Arc<str>,
    /// When it was committed by the source's clock.
    pub committed_at: WallTime,
}

/// The mark in a transaction that Tandem wrote: which stream, and through which Seq.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The stream that wrote it, as text.
    pub stream: Arc<str>,
    /// The last Seq that it brought.
    pub seq: Seq,
    /// What the engine says of it besides, which no connector understands; empty if nothing.
    pub note: Arc<str>,
}

/// What a change of a record knew of the other side of a two-way map, frozen when the change is journaled.
///
/// Two changes of a record on different sides are in conflict if neither knew the other. That is causality as the logs
/// tell it, and no clock has a part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// How far the opposite flow was in this app when the change was made: the last Seq of it that the app's own log
    /// had shown.
    pub knew: Seq,
    /// When it was made, by the app's clock, and never before an earlier change of the same record on the same side:
    /// what `latest_wins` compares.
    pub at: WallTime,
}

/// A piece of a source transaction. A transaction that fits is one fragment; a larger one comes as several, in
/// order and never mixed with another, of which the last has its `commit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// What it holds, in the source's order.
    pub entries: Vec<Entry>,
    /// Set in the last piece.
    pub commit: Option<Commit>,
    /// The mark of its transaction, if that is one of ours. In the last piece it says how far the transaction went; in
    /// an earlier one its Seq may still be too low.
    pub mark: Option<Mark>,
}
