//! What changes, as it happens.

use crate::events::Events;
use crate::gate::Pass;
use crate::input::Asked;
use crate::problem::Refusal;
use axum::Extension;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{KeepAlive, Sse};
use serde::Deserialize;
use std::time::Duration;

/// How often something is sent where there is nothing to tell: what lies between lets go of silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a browser sends by itself when it asks again.
const LAST: HeaderName = HeaderName::from_static("last-event-id");

/// The query of `GET /events`: there is nothing to ask.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `GET /events`: `map`, `rule` and `app` have the whole of it as it is now, `gone` what there is not any more, `activity`
/// an entry of the log; `reset` says to read everything anew.
pub(crate) async fn listen(
    Extension(events): Extension<Events>,
    pass: Pass,
    headers: HeaderMap,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<impl IntoResponse, Refusal> {
    let seen = headers.get(LAST).and_then(|seen| seen.to_str().ok());
    let listener = events.listen(pass, seen).await?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(([("x-accel-buffering", "no")], Sse::new(listener.stream()).keep_alive(keep_alive)))
}
