//! Apps, and whether the engine is of use, as clients see them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_engine::AppView;

/// An app as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Whether its log is being read now.
    pub capturing: bool,
    /// The last trouble with it that is not mended.
    pub fault: Option<Fault>,
    /// What it refuses now on behalf of maps.
    pub guards: Vec<Guard>,
}

/// A guard: what an app refuses to write to a table, on behalf of a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Guard {
    /// The table.
    pub table: String,
    /// The map.
    pub map: String,
    /// `deletes`, because the map is paused, or `writes`, because its queue is full.
    pub refuses: String,
    /// Since when the map is paused or full.
    pub since: Timestamp,
}

/// What frees an app of everything of ours.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The app.
    pub app: String,
    /// To be run there by hand.
    pub sql: String,
}

/// The body of `POST /apps/{app}/accept-gap`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GapRequest {
    /// Why, in the words of who asks.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// Trouble with an app.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// What kind: `connection`, `auth`, `schema` …
    pub class: String,
    /// What we were doing, and what the app said.
    pub message: String,
    /// The app's own code.
    pub code: Option<String>,
    /// What a person can do about it.
    pub fix: Option<String>,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Whether every map that runs makes progress.
    pub ready: bool,
    /// Why not: a map and its condition, each in a sentence.
    pub blocked: Vec<String>,
}

impl From<&tandem_core::Fault> for Fault {
    fn from(fault: &tandem_core::Fault) -> Self {
        Self {
            class: fault.class.to_string(),
            message: fault.to_string(),
            code: fault.code.clone(),
            fix: fault.fix.clone(),
        }
    }
}

impl From<&tandem_core::Guard> for Guard {
    fn from(guard: &tandem_core::Guard) -> Self {
        Self {
            table: guard.table.to_string(),
            map: guard.map.to_string(),
            refuses: guard.refuses.name().to_owned(),
            since: super::moment(guard.since),
        }
    }
}

impl From<&AppView> for App {
    fn from(app: &AppView) -> Self {
        Self {
            name: app.app.to_string(),
            capturing: app.capturing,
            fault: app.fault.as_ref().map(Fault::from),
            guards: app.guards.iter().map(Guard::from).collect(),
        }
    }
}
