//! Records that were set aside, each with its change.
//!
//! The change is kept here and not looked up in the journal: the journal lets go of what a flow has passed over, and
//! an error may stay open for as long as a person needs. It is kept as the source had it, before any projection, so
//! that it can be tried again with the mapping of a later day.

use crate::journal::{FlowId, Record as JournalRecord};
use tandem_core::map::FlowSpec;
use tandem_core::{Change, Fault, FaultClass, IntegrationKey, MapName, Seq, WallTime};

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
            kept: Some(KeptChange {
                change: record.change.clone(),
                key: spec.key_of(&record.change),
                transaction: record.transaction,
                committed_at: record.committed_at,
            }),
            fault,
            attempts: 1,
            first_at: now,
            last_at: now,
        }
    }

    /// Its integration key as people write it, a text for each column.
    pub(crate) fn key_parts(&self) -> Option<Vec<String>> {
        let key = self.kept.as_ref()?.key.as_ref()?;
        Some(key.values().iter().map(ToString::to_string).collect())
    }
}

/// Which errors to list: those that fit everything that is given, by rising number.
#[derive(Debug, Clone, Default)]
pub struct ErrorQuery {
    /// Only those of this map.
    pub map: Option<MapName>,
    /// Only those of this class.
    pub class: Option<FaultClass>,
    /// Only those of a record with one of these integration keys, each a text for each of its columns. Empty: of any
    /// record.
    pub keys: Vec<Vec<String>>,
    /// Only those with a higher number.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}
