//! The activity log as clients see it.

use super::moment;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of the activity log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Its number, rising.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What: `map.paused`, `source.gap_detected` …
    pub event: String,
    /// The map, if it is about one.
    pub map: Option<String>,
    /// Who: a user, a rule, or `tandem`.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: Option<String>,
    /// Counts and Seqs; never a value of a record.
    pub detail: String,
}

impl From<tandem_engine::ActivityEntry> for Activity {
    fn from(entry: tandem_engine::ActivityEntry) -> Self {
        Self {
            id: entry.id,
            at: moment(entry.at),
            event: entry.event,
            map: entry.map.map(|map| map.to_string()),
            actor: entry.actor,
            reason: entry.reason,
            from: entry.from,
            to: entry.to,
            detail: entry.detail,
        }
    }
}
