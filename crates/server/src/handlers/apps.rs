//! The apps, and what a check of the maps against them finds.

use crate::input::{Asked, page_size};
use crate::problem::Refusal;
use crate::wire::{App, Finding, Page, Release};
use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::AppName;
use tandem_engine::Engine;

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
    let known = engine.snapshot().apps.iter().any(|known| known.app.as_str() == app);
    if !known {
        return Err(Refusal::unknown_app(&app));
    }
    let sql = engine.release_sql(&AppName::from(&*app)).await?;
    Ok(Json(Release { app, sql }))
}

/// `GET /check`
pub(crate) async fn check(
    State(engine): State<Engine>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<Page<Finding>> {
    let findings = engine.check().await;
    Json(Page { items: findings.into_iter().map(Finding::from).collect(), next: None })
}
