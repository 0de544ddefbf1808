//! Conflicts of two-way maps.

use crate::gate::Who;
use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::sight::Sight;
use crate::wire::{Conflict, Page};
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_engine::Engine;

/// The query of `GET /conflicts`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// `GET /conflicts`: the newest first, `after` for the next page. For a token that is bound to maps, a page may have fewer
/// items than its limit, or none, and not be the last.
pub(crate) async fn list(
    State(engine): State<Engine>,
    who: Who,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Conflict>>, Refusal> {
    let before = number("after", asked.after.as_deref())?;
    let page = engine.conflicts(who.asked_map(asked.map)?, before, page_size(asked.limit)?).await?;
    let seen = page.items.into_iter().map(Conflict::from).filter(|conflict| who.sees(&conflict.map));
    Ok(Json(Page {
        items: seen.map(|conflict| Sight::of(&who, &engine, &conflict.map).conflict(conflict)).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
