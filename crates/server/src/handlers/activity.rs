//! The activity log.

use crate::gate::Who;
use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::wire::{Activity, Page};
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_engine::{ActivityEntry, ActivityFrom, ActivityQuery, Engine};

/// The query of `GET /activity`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    after: Option<String>,
    since: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// `GET /activity`: the newest first, `after` for the next page; with `since`, what came after an entry, oldest first,
/// and the same again for the next page. For a token that is bound to maps, a page may have fewer items than its limit
/// and not be the last.
pub(crate) async fn list(
    State(engine): State<Engine>,
    who: Who,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Activity>>, Refusal> {
    let back = number("after", asked.after.as_deref())?.map(ActivityFrom::Before);
    let on = number("since", asked.since.as_deref())?.map(ActivityFrom::Since);
    if back.is_some() && on.is_some() {
        return Err(Refusal::bad_request("'after' goes back and 'since' goes on: send one of them"));
    }
    let mut query = ActivityQuery {
        map: who.asked_map(asked.map)?,
        from: back.or(on).unwrap_or_default(),
        limit: page_size(asked.limit)?,
    };
    let mut page = engine.activity(query.clone()).await?;
    // A token that is bound to maps sees what is about those, and nothing of what is about none.
    let seen = |entry: &ActivityEntry| {
        who.0.maps.is_all() || entry.map.as_ref().is_some_and(|map| who.0.maps.has(map))
    };
    page.items.retain(seen);
    // Whoever follows goes on behind the last entry that it has seen, so it must see one where there is one.
    while let (true, Some(next), ActivityFrom::Since(_)) = (page.items.is_empty(), page.next, query.from) {
        query.from = ActivityFrom::Since(next);
        page = engine.activity(query.clone()).await?;
        page.items.retain(seen);
    }
    Ok(Json(Page {
        items: page.items.into_iter().map(Activity::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
