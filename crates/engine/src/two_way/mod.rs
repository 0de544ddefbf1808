//! Maps that go both ways: our own writes are told from users', conflicts are found exactly, and both sides end equal.
//!
//! The two flows of such a map are in two streams, each with a journal of its own. What ties them together is all in
//! here, and all of it is decided from the two journals:
//!
//! - Each transaction that we write carries a mark with a [`Note`]: of which maps, and through which Seq. The capture of
//!   that app meets it again in the app's log. [`screen`] takes out what is an *echo* of ours, keeps what the app's own
//!   triggers made of it, and stamps every change of a user with how far the opposite flow was by then.
//! - Before a lane writes a change it asks [`rivals`] whether the other side has changed the record without knowing of
//!   it, and gives way if that one wins.
//! - Where a loser had been written over the winner before anybody knew, its echo tells, and [`restore`] writes the
//!   winner back.
//!
//! What it rests on: stamps are a pure function of an app's log, so a log that is read again gives the same ones; a
//! journal keeps what has not come back as an echo, and what a change of the other side may still be judged against
//! ([`Half::needed_from`]); and nothing is remembered of keys in flight that could be lost.

mod known;
mod note;
mod restore;
mod rivals;
mod screen;

pub(crate) use known::{Known, KnownChanges};
pub(crate) use note::{Note, NoteKind, map_number};
pub use restore::Correction;
pub(crate) use restore::{Echo, is_overtaken, overwritten, put_off};
pub use rivals::Conflict;
pub(crate) use screen::{Origin, Screen, Tables};

use crate::failpoint::Mistake;
use crate::journal::{ReadLimit, Record, Records};
use crate::store::{FlowId, Store, Unreadable};
use crate::stream::{Family, JournalHandle};
use std::sync::Arc;
use tandem_core::map::FlowSpec;
use tandem_core::two_way::{ConflictPolicy, SideEffects, SideName, Version};
use tandem_core::{Change, IntegrationKey, Mark, Seq, Stamp, StreamName, Target, WallTime};

/// So many versions of one record are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 1_000;

/// A two-way map, as one of its flows sees it.
#[derive(Debug, Clone)]
pub(crate) struct BothWays {
    /// The number under which notes name the map.
    pub(crate) number: u64,
    /// Who wins.
    pub(crate) policy: ConflictPolicy,
    /// What becomes of side effects of our writes.
    pub(crate) side_effects: SideEffects,
    /// The flow itself.
    pub(crate) own: Half,
    /// The flow that comes the other way.
    pub(crate) other: Half,
}

/// One flow of a two-way map.
#[derive(Clone)]
pub(crate) struct Half {
    /// The side where its changes are made.
    pub(crate) side: SideName,
    pub(crate) stream: StreamName,
    pub(crate) flow: FlowId,
    /// Where it begins; what was before is no business of its.
    pub(crate) start: Seq,
    pub(crate) spec: FlowSpec,
    pub(crate) target: Arc<Target>,
    pub(crate) family: Arc<Family>,
    pub(crate) journal: Arc<JournalHandle>,
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Half").field("stream", &self.stream).field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl BothWays {
    /// Whether a mark is of the stream that comes the other way.
    pub(crate) fn is_opposite(&self, mark: &Mark) -> bool {
        let stream = &self.other.stream;
        let rest = mark.stream.strip_prefix(stream.source.as_str()).and_then(|rest| rest.strip_prefix('→'));
        rest == Some(stream.destination.as_str())
    }
}

impl Half {
    /// A record as a version. One without a stamp was captured before anything of the other side was written here.
    pub(crate) fn version(&self, record: &Record) -> Version {
        self.version_of(record.seq, record.stamp, record.committed_at)
    }

    /// The same of a change that is kept elsewhere.
    pub(super) fn version_of(&self, seq: Seq, stamp: Option<Stamp>, committed_at: WallTime) -> Version {
        let stamp = stamp.unwrap_or(Stamp { knew: Seq::ZERO, at: committed_at });
        Version { side: self.side, seq, stamp }
    }

    /// The versions of a record that its side has made beyond a Seq and before another, oldest first, each with the
    /// flow that has it; also those that are not durable yet, for a log that is read again gives the same. The key is as
    /// this side has it. What a person has deleted or discarded is none.
    pub(crate) fn versions(
        &self,
        store: &dyn Store,
        key: &IntegrationKey,
        beyond: Seq,
        before: Seq,
    ) -> Result<Vec<(Version, FlowId)>, Unreadable> {
        let records = self.journal.with(|journal| journal.records().clone());
        let hash = key.hash();
        let mut found = Vec::new();
        for flow in std::iter::once(self.flow).chain(self.family.kept.iter().copied()) {
            let mut after = beyond;
            loop {
                let seqs = records.find(flow, hash, after, LOOKED_UP_AT_ONCE)?;
                for seq in seqs.iter().filter(|seq| **seq < before) {
                    let Some(known) = self.known(&records, flow, *seq)? else { continue };
                    let same = known.keys.iter().any(|other| other.is_same(key));
                    if same && !self.is_given_up(store, flow, *seq)? {
                        found.push((self.version_of(*seq, known.stamp, known.committed_at), flow));
                    }
                }
                match seqs.last() {
                    Some(last) if seqs.len() >= LOOKED_UP_AT_ONCE && *last < before => after = *last,
                    _ => break,
                }
            }
        }
        found.sort_by_key(|(version, _)| version.seq);
        Ok(found)
    }

    /// What is known of a committed change.
    fn known(&self, records: &Records, flow: FlowId, seq: Seq) -> Result<Option<Arc<Known>>, Unreadable> {
        if let Some(known) = self.journal.known(|changes| changes.get(flow, seq)) {
            return Ok(Some(known));
        }
        let Some(record) = records.read_committed(flow, seq)? else { return Ok(None) };
        let keys = self.spec.keys_of(&record.change).collect();
        let Record { stamp, committed_at, .. } = record;
        let known = Arc::new(Known { stamp, committed_at, keys });
        self.journal.known(|changes| changes.put(flow, seq, known.clone()));
        Ok(Some(known))
    }

    /// A version's change, as it was journaled.
    pub(super) fn change(&self, flow: FlowId, seq: Seq) -> Result<Option<Change>, Unreadable> {
        let records = self.journal.with(|journal| journal.records().clone());
        Ok(records.read_committed(flow, seq)?.map(|record| record.change))
    }

    /// Whether a person has given a change up.
    fn is_given_up(&self, store: &dyn Store, flow: FlowId, seq: Seq) -> Result<bool, Unreadable> {
        if !store.any_touched() {
            return Ok(false);
        }
        let error = store.error_at(flow, seq)?;
        Ok(error.is_some_and(|error| error.status == crate::store::ErrorStatus::Deleted))
    }

    /// The journal must keep what lies beyond this for the map's two ways: `cursor` is how far the flow is applied.
    /// What has not come back as an echo is still to be compared with it; and the other side's changes that have not
    /// come back are still to be judged against whatever they did not know.
    /// A winner that is still to be written back is judged against the changes that it did not know, too.
    pub(crate) fn needed_from(
        &self,
        other: &Half,
        store: &dyn Store,
        cursor: Seq,
    ) -> Result<Seq, Unreadable> {
        if Mistake::ReclaimApplied.is_made() {
            return Ok(cursor);
        }
        let number = map_number(&self.spec.map);
        let echoed = self.journal.echoed(number);
        let other_echoed = other.journal.echoed(number);
        let first = ReadLimit { records: 1, bytes: u64::MAX, through: Seq(u64::MAX) };
        let records = other.journal.with(|journal| journal.records().clone());
        let oldest = records.scan(other.flow, other_echoed, first)?.pop();
        let knew = oldest.map_or(cursor, |record| other.version(&record).stamp.knew);
        let mut needed = cursor.min(echoed).min(knew);
        if store.any_corrections() {
            for correction in store.corrections(&[self.flow, other.flow], usize::MAX)? {
                let from = if correction.of == self.flow {
                    Seq(correction.seq.0 - 1)
                } else {
                    correction.stamp.knew
                };
                needed = needed.min(from);
            }
        }
        Ok(needed)
    }
}
