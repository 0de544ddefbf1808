//! The apps, and what a check of the maps against them finds.

use super::server::ShownIdentity;
use crate::gate::Who;
use crate::input::{Asked, Body, page_size};
use crate::problem::Refusal;
use crate::wire::{Accepted, App, Finding, GapRequest, Page, Release};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::AppName;
use tandem_engine::{Engine, GapAccepted};

/// The query of `GET /apps`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// The query of `GET /check` and `GET /apps/{app}/release`: there is nothing to ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `GET /apps`: by name.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<App>>, Refusal> {
    let limit = page_size(asked.limit)?;
    let snapshot = engine.snapshot();
    let behind = |name: &str| asked.after.as_deref().is_none_or(|after| name > after);
    let apps: Vec<App> =
        snapshot.apps.iter().filter(|app| behind(app.app.as_str())).take(limit + 1).map(App::from).collect();
    Ok(Json(Page::cut(apps, limit, |app| app.name.clone())))
}

/// `GET /apps/{app}/release`: what frees the app of us by hand. Nothing is run.
pub(crate) async fn release(
    State(engine): State<Engine>,
    Path(app): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<Release>, Refusal> {
    let name = find(&engine, &app)?;
    let sql = engine.release_sql(&name).await?;
    Ok(Json(Release { app, sql }))
}

/// `POST /apps/{app}/accept-gap`: goes on behind a gap in the app's log. Its maps stay paused until they are resumed.
pub(crate) async fn accept_gap(
    State(engine): State<Engine>,
    who: Who,
    Path(app): Path<String>,
    Body(asked): Body<GapRequest>,
) -> Result<Json<Accepted>, Refusal> {
    let name = find(&engine, &app)?;
    let actor = who.signs(&asked.reason, asked.actor.as_deref())?;
    let asked = GapAccepted { app: name, actor, reason: asked.reason };
    Ok(Json(engine.accept_gap(asked).await?.into()))
}

/// `GET /check`: of the maps and the apps, and of the server itself.
pub(crate) async fn check(
    State(engine): State<Engine>,
    Extension(identity): Extension<ShownIdentity>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<Page<Finding>> {
    let findings = engine.check().await.into_iter().map(Finding::from);
    Json(Page { items: findings.chain(identity.findings()).collect(), next: None })
}

/// An app that there is.
fn find(engine: &Engine, app: &str) -> Result<AppName, Refusal> {
    let snapshot = engine.snapshot();
    let found = snapshot.apps.iter().find(|known| known.app.as_str() == app);
    found.map(|known| known.app.clone()).ok_or_else(|| Refusal::unknown_app(app))
}
