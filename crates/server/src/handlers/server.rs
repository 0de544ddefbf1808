//! The server itself: which one it is, and what is to be said of it.

use crate::tls::Identity;
use crate::wire::{Finding, Server};
use axum::{Extension, Json};
use jiff::Timestamp;
use tokio::sync::watch;

/// What is shown to whoever connects, if the server speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct ShownIdentity(pub(crate) Option<watch::Receiver<Identity>>);

impl ShownIdentity {
    /// Until when the certificate that is shown now is good.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        Some(self.0.as_ref()?.borrow().validity()?.until)
    }

    /// What is to be said of it.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let validity = self.0.as_ref().and_then(|shown| shown.borrow().validity());
        validity
            .and_then(|validity| validity.finding(Timestamp::now()))
            .map(Finding::from)
            .into_iter()
            .collect()
    }
}

/// `GET /server`
pub(crate) async fn show(Extension(identity): Extension<ShownIdentity>) -> Json<Server> {
    Json(Server {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tls: identity.0.is_some(),
        certificate_expires_at: identity.expires_at(),
        findings: identity.findings(),
    })
}
