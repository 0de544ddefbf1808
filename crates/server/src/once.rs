//! `Idempotency-Key`: a client that got no answer asks again with the same key, and what it asked for is done once.
//!
//! What was answered is kept by the engine. Here is what a request and an answer are: the same request is the same method,
//! path, query and body, and the same `If-Match`; what is kept is what was done, and a refusal is not. A request with a key is done to its end
//! even if its client hangs up, since the answer is what that client will come back for.

use crate::BODY_MAX_BYTES;
use crate::input::body_refused;
use crate::problem::Refusal;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tandem_engine::{Answered, Asked, Engine, Outcome};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The most bytes of a key.
const KEY_MAX: usize = 200;
/// The most bytes of an answer that is kept; none of ours comes near.
const ANSWER_MAX: usize = 1024 * 1024;

/// Left in an answer that has a secret in it: it is not kept.
#[derive(Clone)]
pub(crate) struct Secretive;

/// Does a request, once if it has a key.
pub(crate) async fn once(engine: &Engine, token: &Arc<str>, request: Request, next: Next) -> Response {
    let key = match key(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(refusal) => return refusal.into_response(),
    };
    let (engine, token) = (engine.clone(), token.clone());
    // A task of its own: whoever hangs up does not end it.
    let done = tokio::spawn(async move { with_key(&engine, token, key, request, next).await });
    done.await.unwrap_or_else(|_| {
        let title = "The request could not be done";
        let detail = "it ended without an answer; what came of it is not known";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, detail)
            .fix("look at the state of the map and at the activity log")
            .into_response()
    })
}

async fn with_key(engine: &Engine, token: Arc<str>, key: String, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, BODY_MAX_BYTES).await {
        Ok(body) => body,
        Err(_) => return body_refused().into_response(),
    };
    let mut what = format!("{} {}\n", parts.method, parts.uri).into_bytes();
    // On something else it would be another request.
    for condition in parts.headers.get_all(header::IF_MATCH) {
        what.extend_from_slice(b"If-Match: ");
        what.extend_from_slice(condition.as_bytes());
        what.push(b'\n');
    }
    what.extend_from_slice(&body);
    let asked = Asked { token: token.clone(), key: key.clone(), what };
    match engine.take_request(asked).await {
        Ok(Answered::New) => {}
        Ok(Answered::Done(outcome)) => return again(outcome),
        Ok(Answered::Underway) => return underway().into_response(),
        Ok(Answered::Unknown) => return unknown().into_response(),
        Ok(Answered::Another) => return another().into_response(),
        Err(rejected) => return Refusal::from(rejected).into_response(),
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let status = response.status();
    // What the engine said while it ended, or failed: it may have been done all the same.
    if status.is_server_error() && status != StatusCode::BAD_GATEWAY {
        return response;
    }
    if !status.is_success() {
        let ended = engine.end_request(&token, &key, None).await;
        return ended.map_or_else(|why| Refusal::from(why).into_response(), |()| response);
    }
    let is_secretive = response.extensions().get::<Secretive>().is_some();
    let (parts, body) = response.into_parts();
    // The body of an answer of ours is in memory already.
    let body = to_bytes(body, ANSWER_MAX).await.unwrap_or_default();
    let kept = (!is_secretive).then(|| String::from_utf8_lossy(&body).into_owned());
    let outcome = Outcome { status: status.as_u16(), body: kept };
    if let Err(why) = engine.end_request(&token, &key, Some(outcome)).await {
        // It was done. Whoever asks again is told that it is not known, and looks.
        tracing::error!(error = %why, "the answer to a request with a key could not be kept");
    }
    Response::from_parts(parts, Body::from(body))
}

fn key(request: &Request) -> Result<Option<String>, Refusal> {
    let mut given = request.headers().get_all(KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|_| given.next().is_none());
    let is_key =
        |text: &&str| (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    text.filter(is_key).map(|text| Some(text.to_owned())).ok_or_else(|| {
        let detail =
            format!("a key has 1 to {KEY_MAX} visible characters of ASCII, and there is one of them");
        Refusal::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", "The key is none", detail)
            .fix("send a random UUID as Idempotency-Key, the same one with each try of the same request")
    })
}

fn again(outcome: Outcome) -> Response {
    let Some(body) = outcome.body else {
        let detail = "the request was done, and its answer had a secret in it, which was not kept";
        let title = "The answer is not kept";
        return Refusal::new(StatusCode::CONFLICT, "answer_not_kept", title, detail)
            .fix("revoke the token that was made and make another one, with another key")
            .into_response();
    };
    let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    let replayed = HeaderValue::from_static("true");
    (status, [(header::CONTENT_TYPE, json), (REPLAYED, replayed)], body).into_response()
}

fn underway() -> Refusal {
    let detail = "a request with this key is being done now";
    let title = "The request is being done";
    Refusal::new(StatusCode::CONFLICT, "request_underway", title, detail)
        .fix("send it again in a second: the same key brings the same answer")
}

fn unknown() -> Refusal {
    let detail = "a request with this key was begun, and the server ended before it was answered; it was not done again";
    let title = "It is not known what came of the request";
    Refusal::new(StatusCode::CONFLICT, "outcome_unknown", title, detail)
        .fix("look at the state of the map and at the activity log; if it was not done, ask with another key")
}

fn another() -> Refusal {
    let detail = "this key came with another request before: another route, or another body";
    let title = "The key is that of another request";
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", title, detail)
        .fix("send a new key with each new request")
}
