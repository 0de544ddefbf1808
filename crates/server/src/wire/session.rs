//! Sessions as a browser sees them.

use super::token::names;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_engine::{Caller, Secret};

/// The body of `POST /session`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The token that the session is to stand for, or a code that begins one session in its place, once.
    pub token: String,
}

/// Who asks.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The token's name: who did it, in the activity log.
    pub name: String,
    /// Its role: `viewer`, `operator` or `admin`.
    pub role: String,
    /// The maps that it is bound to; null if it is bound to none.
    pub maps: Option<Vec<String>>,
    /// What changes something under the session shows this as `X-CSRF-Token`; null for who shows a token instead of a
    /// session, and needs none.
    pub csrf_token: Option<String>,
    /// The version of the server.
    pub server_version: String,
}

impl Session {
    pub(crate) fn new(caller: &Caller, csrf: Option<&Secret>) -> Self {
        Self {
            name: caller.name.to_string(),
            role: caller.role.name().to_owned(),
            maps: names(&caller.maps),
            csrf_token: csrf.map(|csrf| csrf.reveal().to_owned()),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
