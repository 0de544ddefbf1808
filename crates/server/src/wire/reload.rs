//! The config, read again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_engine::Change;

/// The body of `POST /reload`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadRequest {
    /// Only say what would change.
    pub dry_run: bool,
    /// Why, in the words of who asks.
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// What a reload changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Whether it is done, or only said.
    pub dry_run: bool,
    /// The changes; none if the config says what is so already.
    pub changes: Vec<ConfigChange>,
}

/// One difference between what is declared and what was.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// What it is about: `map`, `limits`, `rule`, `app`, `notify`, `tls`.
    pub subject: String,
    /// Of which map, rule, app or target; `server` of `tls`.
    pub name: String,
    /// `added`, `removed` or `edited`.
    pub change: String,
    /// The keys that changed, where it was edited.
    pub keys: Vec<String>,
}

impl From<&Change> for ConfigChange {
    fn from(change: &Change) -> Self {
        Self {
            subject: change.subject.name().to_owned(),
            name: change.name.clone(),
            change: change.how.name().to_owned(),
            keys: change.keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }
}
