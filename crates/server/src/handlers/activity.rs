//! The activity log.

use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::wire::{Activity, Page};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tandem_core::MapName;
use tandem_engine::{ActivityFrom, ActivityQuery, Engine};

/// The query of `GET /activity`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    after: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

/// `GET /activity`: the newest first, `after` for the next page; with `since`, what came after an entry, oldest first,
/// and the same again for the next page.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Activity>>, Refusal> {
    let back = number("after", asked.after.as_deref())?.map(ActivityFrom::Before);
    let on = number("since", asked.since.as_deref())?.map(ActivityFrom::Since);
    if back.is_some() && on.is_some() {
        return Err(Refusal::bad_request("'after' goes back and 'since' goes on: send one of them"));
    }
    let query = ActivityQuery {
        map: asked.map.map(MapName::from),
        from: back.or(on).unwrap_or_default(),
        limit: page_size(asked.limit)?,
    };
    let page = engine.activity(query).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(Activity::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
