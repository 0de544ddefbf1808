//! How much of each flow came in since the journal was opened, and how much of it was dropped: the journal's side of the
//! books (see [`Ledger`](crate::view::Ledger)).
//!
//! Counted where records are appended, and apart from the indexes that say what is queued: what the two say must agree.

use super::FlowId;
use super::index::{Noted, SegmentIndex};
use std::collections::HashMap;
use tandem_core::Seq;

/// What came in of a flow, and what was dropped, since its journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Committed records that were appended.
    pub journaled: u64,
    /// Records that were dropped with a hole.
    pub dropped: u64,
}

/// Records that were appended, until everybody is told of them.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Of the transaction that is not committed yet.
    open: HashMap<FlowId, u64>,
    /// Committed.
    committed: HashMap<FlowId, u64>,
}

impl Arrivals {
    pub(super) fn note(&mut self, noted: &[Noted]) {
        noted.iter().for_each(|noted| *self.open.entry(noted.flow).or_default() += 1);
    }

    pub(super) fn commit(&mut self) {
        for (flow, records) in self.open.drain() {
            *self.committed.entry(flow).or_default() += records;
        }
    }

    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Flows that are new have records of the open transaction, too, and of those only the index knows.
    pub(super) fn learn(&mut self, index: &SegmentIndex, committed: Seq) {
        for (flow, index) in &index.flows {
            let open = index.marks.len() - index.marks.partition_point(|mark| mark.seq <= committed);
            self.open.insert(*flow, open as u64);
        }
    }

    /// Hands over what is committed.
    pub(super) fn tell(&mut self, turnover: &mut HashMap<FlowId, Turnover>) {
        for (flow, records) in self.committed.drain() {
            turnover.entry(flow).or_default().journaled += records;
        }
    }
}
