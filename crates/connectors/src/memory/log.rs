//! The log of the memory app: committed transactions under rising numbers, as far back as the app keeps them.
//!
//! A position is the log's incarnation and a number in it. A log that was replaced or restored has another
//! incarnation, so that a position taken from the old one is found out instead of being read in the new one.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tandem_core::{Entry, Fault, FaultClass, Mark, Position, WallTime};

/// One committed transaction with something for us in it.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) number: u64,
    pub(super) entries: Arc<Vec<Entry>>,
    pub(super) committed_at: WallTime,
    pub(super) mark: Option<Mark>,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) incarnation: u64,
    /// The number of the last committed transaction, ours or not.
    pub(super) head: u64,
    /// Transactions with something for us, oldest first. Those that were acknowledged stay for a while, as they
    /// do in a real log: that is what a source can resend after it lost an acknowledgement.
    pub(super) transactions: VecDeque<Logged>,
    /// Let go of through here; `None` while nothing is captured.
    pub(super) acknowledged: Option<u64>,
}

/// Acknowledged transactions that the log keeps.
const KEPT_ACKNOWLEDGED: usize = 256;

impl Log {
    pub(super) fn position(&self, number: u64) -> Position {
        let mut bytes = [0; 16];
        let (incarnation, at) = bytes.split_at_mut(8);
        incarnation.copy_from_slice(&self.incarnation.to_be_bytes());
        at.copy_from_slice(&number.to_be_bytes());
        Position(Bytes::copy_from_slice(&bytes))
    }

    /// The number that a position names, if this log still has everything behind it.
    pub(super) fn behind(&self, position: &Position) -> Result<u64, Fault> {
        let gap = |message: &str| Err(Fault::new(FaultClass::Gap, "open log", message));
        let number = |at: usize| {
            position.0.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
        };
        let (Some(incarnation), Some(number), 16) = (number(0), number(8), position.0.len()) else {
            return gap("the position is not one of this log");
        };
        let Some(acknowledged) = self.acknowledged else { return gap("nothing is captured here") };
        if incarnation != self.incarnation {
            return gap("the log is not the one that the position was taken from");
        }
        if number > self.head {
            return gap("the position is ahead of the log: the app has gone back");
        }
        if number < acknowledged {
            return gap("the log no longer has what comes after the position");
        }
        Ok(number)
    }

    pub(super) fn acknowledge(&mut self, number: u64) {
        let acknowledged = self.acknowledged.map_or(number, |before| before.max(number));
        self.acknowledged = Some(acknowledged);
        let let_go = self.transactions.partition_point(|logged| logged.number <= acknowledged);
        self.transactions.drain(..let_go.saturating_sub(KEPT_ACKNOWLEDGED));
    }

    /// The first transaction behind a number.
    pub(super) fn after(&self, number: u64) -> Option<&Logged> {
        self.transactions.get(self.transactions.partition_point(|logged| logged.number <= number))
    }

    /// How many transactions are not yet acknowledged.
    pub(super) fn retained(&self) -> usize {
        let acknowledged = self.acknowledged.unwrap_or(self.head);
        self.transactions.len() - self.transactions.partition_point(|logged| logged.number <= acknowledged)
    }
}
