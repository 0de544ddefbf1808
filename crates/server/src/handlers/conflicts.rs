//! Conflicts of two-way maps.

use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::wire::{Conflict, Page};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tandem_core::MapName;
use tandem_engine::Engine;

/// The query of `GET /conflicts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /conflicts`: the newest first, `after` for the next page.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Conflict>>, Refusal> {
    let before = number("after", asked.after.as_deref())?;
    let page = engine.conflicts(asked.map.map(MapName::from), before, page_size(asked.limit)?).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(Conflict::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
