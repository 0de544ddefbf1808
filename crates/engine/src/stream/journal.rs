//! The journal of a stream, as its capture, its lanes and its views share it.
//!
//! The lock is held for one short step at a time (an append, a count, the making of a reader) and never over an
//! await. Reading goes on without it, and so does the fsync: both work on what the step handed out.

use crate::durations::Durations;
use crate::journal::Journal;
use crate::two_way::KnownChanges;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tandem_core::Seq;
use tokio::sync::watch;

/// A journal that several tasks use.
pub(crate) struct JournalHandle {
    journal: Mutex<Journal>,
    durable: watch::Sender<Seq>,
    /// For two-way maps, by their numbers: how far what was applied has come back as an echo, durably noted.
    echoed: Mutex<BTreeMap<u64, Seq>>,
    known: Mutex<KnownChanges>,
    /// How long groups of transactions took to become durable.
    pub(crate) syncs: Durations,
}

impl JournalHandle {
    pub(crate) fn new(journal: Journal) -> Self {
        let durable = watch::Sender::new(journal.durable());
        let (journal, echoed) = (Mutex::new(journal), Mutex::default());
        Self { journal, durable, echoed, known: Mutex::default(), syncs: Durations::default() }
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

    /// How far what was applied of a two-way map has come back as an echo; nothing, as long as nobody has looked.
    pub(crate) fn echoed(&self, map: u64) -> Seq {
        self.echoed.lock().unwrap_or_else(PoisonError::into_inner).get(&map).copied().unwrap_or_default()
    }

    /// One step with what is known of its changes.
    pub(crate) fn known<T>(&self, step: impl FnOnce(&mut KnownChanges) -> T) -> T {
        step(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was applied has come back up to these Seqs, and that is durable.
    pub(crate) fn note_echoed(&self, seen: &[(u64, Seq)]) {
        let mut echoed = self.echoed.lock().unwrap_or_else(PoisonError::into_inner);
        for (map, seq) in seen {
            let known = echoed.entry(*map).or_default();
            *known = seq.max(known).to_owned();
        }
    }

    /// Wakes the lanes although there is nothing more to read: something else is to be done.
    pub(crate) fn nudge(&self) {
        self.durable.send_modify(|_| {});
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
