//! A comparison of a map's tables: how it gets on, or what came of it.

use super::{moment, value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};
use std::sync::Arc;
use tandem_core::two_way::SideName;
use tandem_core::{Relation, Row};
use tandem_engine::VerifyCounts;

/// Asks for a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyRequest {
    /// `left` or `right`: make the other side equal to this one. Nothing is changed without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
    /// Of a repair: only of the records that differed in the map's last comparison, which is the one that began then
    /// (`started_at`). If it is another one by now, or does not list each of them, nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// How many differences are kept to be shown: 100 unless it is said, at most 1000. All are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Why, in your words.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Who asks; `api` if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// A comparison of a map's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// The map.
    pub map: String,
    /// `source`: the source's records are looked for at the destination; `destination`: the other way round; then
    /// `done`, `cancelled` or `failed`.
    pub state: String,
    /// `left` or `right`: the side that was compared as the source.
    pub source: String,
    /// The side that is taken for right, if it repairs.
    pub repair: Option<String>,
    /// Records that differ, repaired ones included.
    pub differing: u64,
    /// Records that are as they should be.
    pub equal: u64,
    /// Records that a filter leaves out.
    pub left_out: u64,
    /// Records that are on both sides, with different values.
    pub changed: u64,
    /// Records that only the right side has.
    pub missing_left: u64,
    /// Records that only the left side has.
    pub missing_right: u64,
    /// Records of which the map makes nothing.
    pub refused: u64,
    /// Records with queued changes, which are not compared: only while the map is paused.
    pub queued: u64,
    /// Records with an open error.
    pub has_error: u64,
    /// Records that were changed each time that they were looked at.
    pub moving: u64,
    /// Records that differed and are equal now.
    pub repaired: u64,
    /// Rows that were read of both tables.
    pub rows_read: u64,
    /// About how many there are, if both apps can say.
    pub rows_estimate: Option<u64>,
    /// Whether records were looked for that only the destination has. They are not where the map changes keys on
    /// their way.
    pub looks_back: bool,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// Why nothing can be read now, or why it failed.
    pub fault: Option<String>,
    /// Who asked.
    pub actor: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Its integration key.
    pub key: Vec<Json>,
    /// `changed`, `missing_left`, `missing_right` or `refused`.
    pub kind: String,
    /// The left side's row by column; null if there is none, or rows were not asked for.
    pub left: Option<Object<String, Json>>,
    /// The right side's row.
    pub right: Option<Object<String, Json>>,
    /// Whether it is equal now; null if nothing was to be repaired.
    pub repaired: Option<bool>,
}

impl Verification {
    /// A comparison as the API shows it, its rows only for who asks for them.
    pub(crate) fn of(shown: tandem_engine::Verification, with_rows: bool) -> Self {
        let side = |to_right: bool| if to_right { "left" } else { "right" }.to_owned();
        let VerifyCounts {
            equal,
            left_out,
            changed,
            missing_left,
            missing_right,
            refused,
            queued,
            has_error,
            moving,
            repaired,
            rows_read,
        } = shown.counts;
        Self {
            map: shown.map.to_string(),
            state: shown.stage.name().to_owned(),
            source: side(shown.to_right),
            repair: shown.repair.map(|repair| side(repair == SideName::Left)),
            differing: shown.counts.differing(),
            equal,
            left_out,
            changed,
            missing_left,
            missing_right,
            refused,
            queued,
            has_error,
            moving,
            repaired,
            rows_read,
            rows_estimate: shown.rows_estimate,
            looks_back: shown.looks_back,
            differences: shown.differences.into_iter().map(|one| Difference::of(one, with_rows)).collect(),
            fault: shown.fault.map(|fault| fault.to_string()),
            actor: shown.actor,
            started_at: moment(shown.started_at),
            ended_at: shown.ended_at.map(moment),
        }
    }

    /// Whether it goes on.
    pub fn goes_on(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Records that differ still.
    pub fn left_differing(&self) -> u64 {
        self.differing.saturating_sub(self.repaired)
    }
}

impl Difference {
    fn of(one: tandem_engine::Difference, with_rows: bool) -> Self {
        let row = |row: Option<(Arc<Relation>, Row)>| {
            row.filter(|_| with_rows).map(|(relation, row)| value::object(&relation, &row))
        };
        Self {
            key: one.key.values().iter().map(value::json).collect(),
            kind: one.kind.name().to_owned(),
            left: row(one.left),
            right: row(one.right),
            repaired: one.repaired,
        }
    }
}
