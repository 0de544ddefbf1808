//! The server itself, as clients see it.

use super::Finding;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Which version it is.
    pub version: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Until when its own certificate is good; null without one, or if that cannot be told.
    pub certificate_expires_at: Option<Timestamp>,
    /// What is to be done about the server itself.
    pub findings: Vec<Finding>,
}
