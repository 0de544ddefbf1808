//! The activity log.

use crate::input::{Asked, after_number, page_size};
use crate::problem::Refusal;
use crate::wire::{Activity, Page};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tandem_core::MapName;
use tandem_engine::{ActivityQuery, Engine};

/// The query of `GET /activity`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /activity`: the newest first; with `after`, what came since, oldest first.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Activity>>, Refusal> {
    let query = ActivityQuery {
        map: asked.map.map(MapName::from),
        after: after_number(asked.after.as_deref())?,
        limit: page_size(asked.limit)?,
    };
    let page = engine.activity(query).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(Activity::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
