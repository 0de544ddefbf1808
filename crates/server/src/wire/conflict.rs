//! Conflicts of two-way maps as clients see them.

use super::moment;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::two_way::SideName;

/// Two changes of a record, one on each side, that did not know each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Conflict {
    /// Its number, rising.
    pub id: u64,
    /// The map.
    pub map: String,
    /// The record: a text for each column of its integration key.
    pub key: Vec<String>,
    /// The change on the left, by its number in the journal.
    pub left_seq: u64,
    /// The change on the right.
    pub right_seq: u64,
    /// `left_wins`, `right_wins`, `latest_wins` or `park`.
    pub policy: String,
    /// `left` or `right`; null if a person is to decide.
    pub winner: Option<String>,
    /// When it was found.
    pub at: Timestamp,
}

impl From<(u64, tandem_engine::Conflict)> for Conflict {
    fn from((id, conflict): (u64, tandem_engine::Conflict)) -> Self {
        let winner = conflict.winner.map(|side| match side {
            SideName::Left => "left".to_owned(),
            SideName::Right => "right".to_owned(),
        });
        Self {
            id,
            map: conflict.map.to_string(),
            key: conflict.key,
            left_seq: conflict.left.1.0,
            right_seq: conflict.right.1.0,
            policy: conflict.policy.name().to_owned(),
            winner,
            at: moment(conflict.at),
        }
    }
}
