//! Reading what a client sent. Whatever cannot be read is a problem like any other, and unknown fields are
//! refused: a misspelled one must not be a request that means something else.

use crate::problem::Refusal;
use crate::{BODY_MAX_BYTES, PAGE_DEFAULT, PAGE_MAX};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

/// The query of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Asked(asked)),
            Err(QueryRejection::FailedToDeserializeQueryString(why)) => {
                Err(Refusal::bad_request(why.body_text().replace("Failed to deserialize query string: ", "")))
            }
            Err(other) => Err(Refusal::bad_request(other.body_text())),
        }
    }
}

/// The JSON body of a request. No body at all is an empty object: `POST …/pause` needs none.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| {
                kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
            })
        });
        let body =
            axum::body::Bytes::from_request(request, state).await.map_err(|why| match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => body_refused(),
                _ => Refusal::bad_request(why.body_text()),
            })?;
        if body.is_empty() {
            return serde_json::from_slice(b"{}").map(Body).map_err(|why| unreadable(&why));
        }
        if !is_json {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "body_not_json",
                "The body of the request is not JSON",
                "send the body as application/json",
            ));
        }
        serde_json::from_slice(&body).map(Body).map_err(|why| unreadable(&why))
    }
}

/// The body is too large, or did not come whole.
pub(crate) fn body_refused() -> Refusal {
    let detail = format!("it has more than {BODY_MAX_BYTES} bytes, or did not come whole");
    let title = "The body of the request was refused";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_refused", title, detail)
        .fix("send less: fewer names or ids in one request, a shorter reason")
}

/// The message names a field and a place, never what the body said.
fn unreadable(why: &serde_json::Error) -> Refusal {
    Refusal::bad_request(why.to_string())
}

/// How many items a page is to have.
pub(crate) fn page_size(limit: Option<usize>) -> Result<usize, Refusal> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(limit) => Err(Refusal::bad_request(format!("limit is {limit}; it is 1 to {PAGE_MAX}"))),
    }
}

/// Where a page begins, for lists that are ordered by a number.
pub(crate) fn number(name: &str, text: Option<&str>) -> Result<Option<u64>, Refusal> {
    let refuse = |_| Refusal::bad_request(format!("'{name}' is a number, as 'next' of the page before"));
    text.map(|text| text.parse().map_err(refuse)).transpose()
}
