//! The journal of a stream, as its capture, its lanes and its views share it.
//!
//! The lock is held for one short step at a time (an append, a count, the making of a reader) and never over an
//! await. Reading goes on without it, and so does the fsync: both work on what the step handed out.

use crate::journal::Journal;
use std::sync::{Mutex, PoisonError};
use tandem_core::Seq;
use tokio::sync::watch;

/// A journal that several tasks use.
pub(crate) struct JournalHandle {
    journal: Mutex<Journal>,
    durable: watch::Sender<Seq>,
}

impl JournalHandle {
    pub(crate) fn new(journal: Journal) -> Self {
        let durable = watch::Sender::new(journal.durable());
        Self { journal: Mutex::new(journal), durable }
    }

    /// One step with the journal.
    pub(crate) fn with<T>(&self, step: impl FnOnce(&mut Journal) -> T) -> T {
        // A step that panicked has left the journal as it was or poisoned; it says so itself.
        step(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last durable Seq, and each time that it rises.
    pub(crate) fn durable(&self) -> watch::Receiver<Seq> {
        self.durable.subscribe()
    }

    /// Tells the lanes that there is more to read.
    pub(crate) fn announce(&self, durable: Seq) {
        self.durable.send_if_modified(|known| {
            let rises = durable > *known;
            *known = durable.max(*known);
            rises
        });
    }
}
