//! `POST /reload`: the config, read again by who knows where it is.

use crate::gate::Who;
use crate::input::{Body, IfMatch, Tagged};
use crate::problem::Refusal;
use crate::wire::{ConfigChange, ReloadRequest, Reloaded};
use axum::Json;
use axum::extract::Extension;
use axum::http::StatusCode;
use std::sync::Arc;
use tandem_core::connect::BoxFuture;
use tandem_engine::{Change, Rejected};

/// A request to read the config again.
#[derive(Debug, Clone, Copy)]
pub struct ReloadAsked<'a> {
    /// Only say what would change.
    pub dry_run: bool,
    /// Do nothing unless what would be done is one of these, by [`Reloading::tag`]; none: whatever it is.
    pub expected: Option<&'a [String]>,
    /// Who asks.
    pub actor: &'a str,
    /// Why, in their words; may be empty.
    pub reason: &'a str,
}

/// What a reload changes, or would.
#[derive(Debug, Clone)]
pub struct Reloading {
    /// The changes; none if the config says what is so already.
    pub changes: Vec<Change>,
    /// Stands for all of what the config says and for what of it is different from what runs: the same again only if
    /// both are the same. Visible ASCII without quotes.
    pub tag: String,
}

/// Why a config was not gone on with.
#[derive(Debug)]
pub enum ReloadRefused {
    /// What would be done is not what was expected.
    Changed,
    /// Anything else: the config is wrong, or may not change so while the engine runs.
    Rejected(Rejected),
}

impl From<Rejected> for ReloadRefused {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// Reads the config again, and has an engine go on with it.
pub trait Reloader: Send + Sync {
    /// Goes on with what the config says now, all or nothing, and says what that changes; with `dry_run`, what it
    /// would. A config that is wrong, and what may not change while the engine runs, is [`Rejected::Check`].
    fn reload<'a>(&'a self, asked: ReloadAsked<'a>) -> BoxFuture<'a, Result<Reloading, ReloadRefused>>;
}

/// Who reads it; nobody where there is no config.
#[derive(Clone)]
pub(crate) struct Reloads(pub(crate) Option<Arc<dyn Reloader>>);

/// `POST /reload`
pub(crate) async fn reload(
    who: Who,
    reloads: Option<Extension<Reloads>>,
    IfMatch(expected): IfMatch,
    Body(asked): Body<ReloadRequest>,
) -> Result<Tagged<Json<Reloaded>>, Refusal> {
    let actor = who.signs(&asked.reason, asked.actor.as_deref())?;
    let Some(Extension(Reloads(Some(reloader)))) = reloads else {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_supported",
            "There is no config to reload",
            "this server was started without a config file",
        ));
    };
    let dry_run = asked.dry_run;
    let asked = ReloadAsked { dry_run, expected: expected.as_deref(), actor: &actor, reason: &asked.reason };
    let Reloading { changes, tag } = reloader.reload(asked).await.map_err(|refused| match refused {
        ReloadRefused::Rejected(rejected) => Refusal::from(rejected),
        ReloadRefused::Changed => changed(),
    })?;
    let changes = changes.iter().map(ConfigChange::from).collect();
    // What is done is no longer to be agreed to.
    Ok(Tagged { tag: dry_run.then_some(tag), answer: Json(Reloaded { dry_run, changes }) })
}

fn changed() -> Refusal {
    let detail = "the config, or what runs, is no longer what was shown; nothing was changed";
    let title = "The config has changed meanwhile";
    Refusal::new(StatusCode::PRECONDITION_FAILED, "config_changed", title, detail)
        .fix("look at what would change now: tandem reload")
}
