//! Findings of `check` as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::Severity;

/// Something that stands in the way of a map, or could be better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// `error`: no map can run with it. `warning`: a map can.
    pub severity: String,
    /// Its stable name, such as `replica_identity`.
    pub code: String,
    /// Where: an app, a map, a table, a column.
    pub place: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What mends it: the exact SQL, config line or command.
    pub fix: Option<String>,
}

impl From<tandem_core::Finding> for Finding {
    fn from(finding: tandem_core::Finding) -> Self {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            severity: severity.to_owned(),
            code: finding.code,
            place: finding.place,
            message: finding.message,
            fix: finding.fix,
        }
    }
}
