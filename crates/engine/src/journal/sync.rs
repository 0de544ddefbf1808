//! Making what was appended durable, on whatever thread, and never believing a second sync after a failed one.

use super::JournalError;
use super::catalog::Shared;
use crate::disk::DiskFile;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tandem_core::{Position, Seq};

/// Whether the journal may still write. The first error stays; everything after it is refused.
///
/// Its lock is held during a sync. Two syncs of one file at the same time could otherwise share one error out of
/// the kernel, of which one would be told, and the other would claim success over the hole.
#[derive(Debug, Default)]
pub(crate) struct Health {
    first: Mutex<Option<String>>,
    /// The same for those who only look, and must not wait for a sync.
    failed: AtomicBool,
}

impl Health {
    pub(crate) fn check(&self, operation: &str) -> Result<(), JournalError> {
        match &*self.first.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(first) => Err(JournalError::poisoned(operation, first)),
        }
    }

    /// Notes an error, after which nothing goes on.
    pub(crate) fn poison(&self, error: JournalError) -> JournalError {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.to_string());
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    /// Lets the outcome pass, and notes an error.
    pub(crate) fn watch<T>(&self, outcome: Result<T, JournalError>) -> Result<T, JournalError> {
        outcome.map_err(|error| self.poison(error))
    }

    pub(crate) fn sync(&self, file: &dyn DiskFile, path: &str) -> Result<(), JournalError> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = &*first {
            return Err(JournalError::poisoned("sync", first));
        }
        file.sync().map_err(|error| {
            let error = JournalError::io("sync", path, &error);
            *first = Some(error.to_string());
            self.failed.store(true, Ordering::Relaxed);
            error
        })
    }

    /// Whether there was an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// A place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub number: u64,
    pub offset: u64,
    pub seq: Seq,
    pub position: Option<Position>,
}

/// The right to make durable what had been appended when it was taken. Taking one costs nothing.
#[derive(Debug)]
pub struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: Arc<str>,
    pub(crate) place: Settled,
    /// Whether anything is to be synced.
    pub(crate) needed: bool,
}

/// A ticket that was used; only [`Journal::synced`](super::Journal::synced) knows what it means.
#[derive(Debug)]
#[must_use = "nothing is acknowledged until the journal has seen it"]
pub struct Synced {
    pub(crate) place: Settled,
    pub(crate) outcome: Result<(), JournalError>,
}

impl Ticket {
    /// Syncs. Blocks for as long as the disk needs; appending may go on meanwhile.
    pub fn sync(self) -> Synced {
        let outcome = if self.needed {
            self.shared.health.sync(&*self.file, &self.path)
        } else {
            self.shared.health.check("sync")
        };
        Synced { place: self.place, outcome }
    }
}

/// How far the journal is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The last Seq of the last whole transaction that is durable.
    pub seq: Seq,
    /// Where capture resumes: what may be acknowledged to the source. `None` until something was captured.
    pub position: Option<Position>,
}
