//! What a lane reads: the journal from its cursor on, or the errors that are tried again.
//!
//! Errors come in source order from two places that are read as one: the entries that were chosen, each with its
//! change, and the queues that were preserved, which are still in the journal. A record of such a queue that has an
//! entry is that entry, or nothing.

use super::batch::KeptRange;
use crate::journal::{FlowId, JournalError, Piece, PieceEnd, ReadLimit, Reader, Record, Records};
use crate::store::{SetAside, Store, StoreError};
use std::sync::Arc;
use tandem_core::{Position, Seq};

/// See the module.
pub(super) enum Feed {
    /// Follows the journal.
    Journal(Box<Reader>),
    /// Tries errors again.
    Errors(ErrorFeed),
}

impl Feed {
    /// The next piece. Never waits.
    pub(super) fn next(&mut self, limit: ReadLimit) -> Result<Piece, JournalError> {
        match self {
            Feed::Journal(reader) => reader.next(limit),
            Feed::Errors(feed) => feed.next(limit),
        }
    }
}

/// The errors of one retry, in source order.
pub(super) struct ErrorFeed {
    pub(super) store: Arc<dyn Store>,
    pub(super) records: Records,
    /// The number under which they were chosen.
    pub(super) retry: FlowId,
    /// Preserved queues that are part of it.
    pub(super) kept: Vec<KeptRange>,
    /// Read up to here.
    pub(super) through: Seq,
}

impl ErrorFeed {
    fn next(&mut self, limit: ReadLimit) -> Result<Piece, JournalError> {
        let failed = |error: StoreError| JournalError::store(&error.to_string());
        let entries = self.store.retrying(self.retry, self.through, limit.records).map_err(failed)?;
        let mut through = limit.through;
        if let Some(more) = entries.next {
            through = through.min(Seq(more));
        }
        let mut records: Vec<Record> =
            entries.items.into_iter().filter_map(Self::record).filter(|one| one.seq <= through).collect();
        for range in self.kept.iter().filter(|range| range.until > self.through) {
            let bound = ReadLimit { through: through.min(range.until), ..limit };
            let after = range.beyond.max(self.through);
            if after >= bound.through {
                continue;
            }
            let found = self.records.scan(range.flow, after, bound)?;
            let bytes: u64 = found.iter().map(|record| u64::from(record.bytes)).sum();
            if (found.len() >= limit.records || bytes >= limit.bytes)
                && let Some(last) = found.last()
            {
                through = through.min(last.seq);
            }
            let noted = self.store.noted(range.flow, after, through).map_err(failed)?;
            records.extend(found.into_iter().filter(|record| !noted.contains(&record.seq)));
        }
        records.retain(|record| record.seq <= through);
        records.sort_by_key(|record| record.seq);
        self.through = through;
        Ok(Piece { records, through, end: PieceEnd::Whole { position: Position::default() } })
    }

    /// An entry as the journal had it.
    fn record(error: SetAside) -> Option<Record> {
        let kept = error.kept?;
        Some(Record {
            seq: error.seq,
            transaction: kept.transaction,
            transaction_name: error.transaction_name.as_str().into(),
            flow: error.flow,
            change: kept.change,
            bytes: 0,
            committed_at: kept.committed_at,
            captured_at: error.first_at,
            mark: None,
            stamp: kept.stamp,
        })
    }
}
