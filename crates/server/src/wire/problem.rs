//! What a client gets instead of an answer: a problem (RFC 9457) that says what to do.

use super::Finding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A problem, sent as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The HTTP status, again.
    pub status: u16,
    /// Its stable name: what programs look at.
    pub code: String,
    /// What kind of problem it is, the same each time.
    pub title: String,
    /// What it is this time, in a sentence.
    pub detail: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The maps that stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
    /// What a check found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// A map that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocker {
    /// The map.
    pub map: String,
    /// The state that it is in.
    pub state: String,
    /// What would have to be so.
    pub needs: String,
}
