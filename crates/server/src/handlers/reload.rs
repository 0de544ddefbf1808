//! `POST /reload`: the config, read again by who knows where it is.

use crate::gate::Who;
use crate::input::Body;
use crate::problem::Refusal;
use crate::wire::{ConfigChange, ReloadRequest, Reloaded, TEXT_MAX};
use axum::Json;
use axum::extract::Extension;
use axum::http::StatusCode;
use std::sync::Arc;
use tandem_core::connect::BoxFuture;
use tandem_engine::{Change, Rejected};

/// Reads the config again, and has an engine go on with it.
pub trait Reloader: Send + Sync {
    /// Goes on with what the config says now, all or nothing, and says what that changes; with `dry_run`, what it
    /// would. A config that is wrong, and what may not change while the engine runs, is [`Rejected::Check`].
    fn reload<'a>(
        &'a self,
        dry_run: bool,
        actor: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Change>, Rejected>>;
}

/// Who reads it; nobody where there is no config.
#[derive(Clone)]
pub(crate) struct Reloads(pub(crate) Option<Arc<dyn Reloader>>);

/// `POST /reload`
pub(crate) async fn reload(
    who: Who,
    reloads: Option<Extension<Reloads>>,
    Body(asked): Body<ReloadRequest>,
) -> Result<Json<Reloaded>, Refusal> {
    let actor = who.actor(asked.actor.as_deref());
    if asked.reason.len() > TEXT_MAX || actor.len() > TEXT_MAX {
        return Err(Refusal::bad_request(format!("'reason' and 'actor' have at most {TEXT_MAX} bytes")));
    }
    let Some(Extension(Reloads(Some(reloader)))) = reloads else {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_supported",
            "There is no config to reload",
            "this server was started without a config file",
        ));
    };
    let changes = reloader.reload(asked.dry_run, &actor, &asked.reason).await?;
    let changes = changes.iter().map(ConfigChange::from).collect();
    Ok(Json(Reloaded { dry_run: asked.dry_run, changes }))
}
