//! Findings of `tandem check`: what stands in the way of a map, and what mends it.

use serde::{Deserialize, Serialize};

/// Something that `check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable name, such as `replica_identity`.
    pub code: String,
    /// Whether a map can run with it.
    pub severity: Severity,
    /// Where: an app, a map, a table, a column.
    pub place: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What mends it: the exact SQL, config line or command.
    pub fix: Option<String>,
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A map can run with it, and something is worse than it could be.
    Warning,
    /// No map can run with it.
    Error,
}

impl Finding {
    /// A finding that stands in the way.
    pub fn error(code: &str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity: Severity::Error,
            place: place.into(),
            message: message.into(),
            fix: None,
        }
    }

    /// A finding that a map can run with.
    pub fn warning(code: &str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
