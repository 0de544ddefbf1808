//! Tokens, and who asks, as clients see them.

use super::moment;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::Scope;

/// A token: everything but what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// The maps that it is bound to; null if it is bound to none.
    pub maps: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is none any more; null if that never comes.
    pub expires_at: Option<Timestamp>,
    /// When it was used last; after a restart of the server, to within some minutes.
    pub last_used_at: Option<Timestamp>,
}

/// The body of `POST /tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name: who did it, in the activity log.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schemars(extend("enum" = ["viewer", "operator", "admin"]))]
    pub role: String,
    /// The maps that it is bound to; none if they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps: Option<Vec<String>>,
    /// In how many seconds it expires; never if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
    /// Whom the caller acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// A new token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// It.
    #[serde(flatten)]
    pub token: Token,
    /// What it is: shown now, and never again.
    pub secret: String,
}

/// The body of `POST /tokens/{token}/revoke`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeRequest {
    /// Only the token that was made then: if its name stands for another one by now, nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Whom the caller acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// Who asks, and what every route needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The token's name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The maps that it is bound to; null if it is bound to none.
    pub maps: Option<Vec<String>>,
    /// Every route that needs a token.
    pub routes: Vec<RouteAccess>,
}

/// What a route needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteAccess {
    /// `GET` or `POST`.
    pub method: String,
    /// Its path, with names in braces.
    pub path: String,
    /// The least role.
    pub role: String,
    /// Which maps it is about: `named`, the one in its path; `seen`, those of the token; `all`: not for a token that is
    /// bound to maps.
    pub maps: String,
}

/// The maps of a scope, by name.
pub(crate) fn names(scope: &Scope) -> Option<Vec<String>> {
    match scope {
        Scope::All => None,
        Scope::Only(maps) => Some(maps.iter().map(ToString::to_string).collect()),
    }
}

impl From<tandem_engine::TokenView> for Token {
    fn from(token: tandem_engine::TokenView) -> Self {
        Self {
            name: token.name.to_string(),
            role: token.role.name().to_owned(),
            maps: names(&token.maps),
            created_at: moment(token.created_at),
            created_by: token.created_by,
            expires_at: token.expires_at.map(moment),
            last_used_at: token.last_used_at.map(moment),
        }
    }
}
