//! What changes, as it happens.

use crate::events::Events;
use crate::gate::Pass;
use crate::input::Asked;
use crate::openapi::describe::{Output, Signature};
use crate::problem::Refusal;
use axum::Extension;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// How often something is sent where there is nothing to tell: what lies between lets go of silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a browser sends by itself when it asks again.
const LAST: HeaderName = HeaderName::from_static("last-event-id");

/// The query of `GET /events`: there is nothing to ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `GET /events`: `map`, `rule` and `app` have the whole of it as it is now, `gone` what there is not any more, `activity`
/// an entry of the log; `reset` says to read everything anew.
pub(crate) async fn listen(
    Extension(events): Extension<Events>,
    pass: Pass,
    headers: HeaderMap,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Told, Refusal> {
    let seen = headers.get(LAST).and_then(|seen| seen.to_str().ok());
    let listener = events.listen(pass, seen).await?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let told = ([("x-accel-buffering", "no")], Sse::new(listener.stream()).keep_alive(keep_alive));
    Ok(Told(told.into_response()))
}

/// Events.
pub(crate) struct Told(Response);

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Output for Told {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        signature.answers.push((200, Some(("text/event-stream", json!({ "type": "string" })))));
    }
}
