//! The journal: one append-only log per stream, always in the path, and the only authority on what was captured.
//!
//! What it guarantees:
//!
//! - **Seq is dense.** Every change and barrier has a number, from 1, without holes, in the source's commit
//!   order.
//! - **Durable means durable.** [`Journal::synced`] says how far everything is on the disk, and only that may be
//!   acknowledged to the source. After a crash, all of it is there, and behind it at most whole transactions
//!   that were written and not yet acknowledged. Only such bytes are ever cut, and only at the end of the last
//!   segment; damage anywhere else is an error that names file and offset.
//! - **Fail-stop.** After one failed write or sync nothing further becomes durable: every later call says that
//!   the journal is poisoned, until it is opened again. Readers of what is durable may go on.
//! - **Bounded.** Appending holds one frame in memory, reading one; of a sealed segment only its summary stays.
//!
//! One owner appends ([`Journal`]); everything that looks ([`Records`]) and every [`Reader`] works beside it on
//! other threads. The format stands in `format.rs`, the recovery in `recover.rs`.

#![deny(clippy::indexing_slicing)]

mod append;
pub(crate) mod blob;
mod catalog;
mod cursor;
mod cut;
mod entry;
mod error;
mod filter;
mod format;
mod frames;
mod holes;
mod index;
mod keys;
mod reader;
mod reclaim;
mod records;
mod recover;
mod relations;
mod roll;
mod segment;
mod shelf;
mod sidecar;
mod sync;
mod turnover;
mod wire;

#[cfg(test)]
mod tests;

pub use append::Journal;
pub use cut::Cut;
pub use error::JournalError;
pub use holes::{Hole, Holes};
pub use reader::{Piece, PieceEnd, ReadLimit, Reader};
pub use reclaim::Reclaimed;
pub use records::Records;
pub use shelf::Shelved;
pub use sync::{Durable, Synced, Ticket};
pub use turnover::Turnover;

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_core::{Change, JournalId, Mark, Seq, Stamp, TableName, WallTime};

/// One direction of one map: its number within a stream, given by the engine and never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(pub u32);

/// Whose journal it is. A folder with another one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The data folder.
    pub journal: JournalId,
    /// The stream, as text.
    pub stream: String,
}

/// Sizes. The defaults are right; tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A segment is sealed at the first transaction boundary behind this many bytes.
    pub segment_bytes: u64,
    /// A frame is closed behind this many bytes: what appending and reading hold in memory.
    pub frame_bytes: usize,
    /// While groups are small, so much of the file is filled with zeros ahead of what is written. A sync that does not change the file's
    /// length leaves the file system's own journal alone, which other writers of the disk keep busy.
    pub ahead_bytes: usize,
}

impl Settings {
    /// So much is gathered before it is written.
    fn write_bytes(&self) -> usize {
        4 * self.frame_bytes
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, frame_bytes: 256 << 10, ahead_bytes: 1 << 20 }
    }
}

/// A stretch of the journal: everything beyond `from`, up to and with `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// What is at or below is not in it.
    pub from: Seq,
    /// What is above is not in it; `None` for a span that goes on with the journal.
    pub until: Option<Seq>,
}

impl Span {
    /// Everything beyond a Seq.
    pub fn beyond(from: Seq) -> Self {
        Self { from, until: None }
    }

    /// Whether a Seq is in it.
    pub fn has(self, seq: Seq) -> bool {
        seq > self.from && self.until.is_none_or(|until| seq <= until)
    }

    /// Whether anything from `first` to `last` is in it.
    pub fn meets(self, first: Seq, last: Seq) -> bool {
        self.from < last && self.until.is_none_or(|until| first <= until)
    }

    /// The same, without what is at or below a Seq.
    fn after(self, from: Seq) -> Self {
        Self { from: self.from.max(from), ..self }
    }

    /// As much of it as lies between two Seqs: two spans that have the same of a segment are the same there.
    fn within(self, first: Seq, last: Seq) -> Self {
        let from = self.from.max(Seq(first.0.saturating_sub(1)));
        Self { from, until: self.until.filter(|until| *until < last) }
    }
}

/// A flow as the journal counts and indexes it. A change of `table` within `span` is a record of the flow; it may be
/// one of several flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSpec {
    /// The flow.
    pub flow: FlowId,
    /// The source table that it follows.
    pub table: TableName,
    /// The integration key's columns, by which records are found. A change that does not name them all (or a
    /// relation without one of them) is counted and not found by key.
    pub key: Vec<Arc<str>>,
    /// Where its records are.
    pub span: Span,
}

/// What is queued of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How many changes.
    pub records: u64,
    /// How many bytes they take in the journal, without the overhead of frames.
    pub bytes: u64,
    /// When the oldest of them was captured.
    pub oldest_at: Option<WallTime>,
}

impl Counts {
    /// These and others.
    fn with(self, more: Self) -> Self {
        Self {
            records: self.records + more.records,
            bytes: self.bytes + more.bytes,
            oldest_at: self.oldest_at.or(more.oldest_at),
        }
    }

    /// These without the last of them.
    fn without(self, last: Self) -> Self {
        let records = self.records - last.records;
        let oldest_at = self.oldest_at.filter(|_| records > 0);
        Self { records, bytes: self.bytes - last.bytes, oldest_at }
    }
}

/// A change of a flow, as it was journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// The first Seq of its source transaction.
    pub transaction: Seq,
    /// The source's own number of that transaction; empty if it has none.
    pub transaction_name: Arc<str>,
    /// The flow that it is a record of.
    pub flow: FlowId,
    /// What happened.
    pub change: Change,
    /// Bytes that it takes in the journal: what limits count.
    pub bytes: u32,
    /// When the source committed it, by the source's clock.
    pub committed_at: WallTime,
    /// When it was journaled, by ours.
    pub captured_at: WallTime,
    /// The mark of its transaction, if we wrote that.
    pub mark: Option<Mark>,
    /// What it knew of the other side, if its map goes both ways.
    pub stamp: Option<Stamp>,
}
