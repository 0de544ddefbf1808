//! Reading what a client sent. Whatever cannot be read is a problem like any other, and unknown fields are
//! refused: a misspelled one must not be a request that means something else.

use crate::problem::Refusal;
use crate::{BODY_MAX_BYTES, PAGE_DEFAULT, PAGE_MAX};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a body may take. Requests are small, and whoever sends slowly holds a place.
const BODY_WITHIN: Duration = Duration::from_secs(10);

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
        let read = tokio::time::timeout(BODY_WITHIN, axum::body::Bytes::from_request(request, state));
        let body = read.await.map_err(|_| body_refused())?.map_err(|why| match why.status() {
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
        // A list would be taken for an object of which it names the first fields; `[]` for one that says nothing.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Refusal::bad_request("the body is not an object".to_owned()));
        }
        serde_json::from_slice(&body).map(Body).map_err(|why| unreadable(&why))
    }
}

/// The body is too large, or did not come whole in time.
pub(crate) fn body_refused() -> Refusal {
    let detail = format!(
        "it has more than {BODY_MAX_BYTES} bytes, or did not come whole within {} s",
        BODY_WITHIN.as_secs()
    );
    let title = "The body of the request was refused";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_refused", title, detail)
        .fix("send less: fewer names or ids in one request, a shorter reason; and at once")
}

/// The message names a field and a place, never what the body said.
fn unreadable(why: &serde_json::Error) -> Refusal {
    Refusal::bad_request(why.to_string())
}

/// The tags of `If-Match`, one of which must be that of what is there now; none: whatever it is.
pub(crate) struct IfMatch(pub(crate) Option<Vec<String>>);

impl IfMatch {
    /// What it looks like.
    pub(crate) const PATTERN: &str = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#;
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let given = parts.headers.get_all(header::IF_MATCH);
        let texts: Option<Vec<&str>> = given.iter().map(|value| value.to_str().ok()).collect();
        let tags = texts.and_then(|texts| tags(&texts)).ok_or_else(|| {
            Refusal::bad_request(
                "If-Match is an ETag in quotes as it came, several with commas, or *".to_owned(),
            )
        })?;
        Ok(IfMatch(tags))
    }
}

/// None if they are no tags; within, none if there are none, or any will do.
fn tags(texts: &[&str]) -> Option<Option<Vec<String>>> {
    let mut tags = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        if text == "*" {
            return Some(None);
        }
        // A weak tag says that two things mean the same. That is not what is asked, so it is none of ours.
        let strong = text.strip_prefix("W/").unwrap_or(text);
        let tag = strong.strip_prefix('"')?.strip_suffix('"')?;
        if strong == text {
            tags.push(tag.to_owned());
        } else {
            tags.push(String::new());
        }
    }
    Some((!texts.is_empty()).then_some(tags))
}

/// An answer with the tag of what it shows, if that is to be agreed to.
pub(crate) struct Tagged<T> {
    pub(crate) tag: Option<String>,
    pub(crate) answer: T,
}

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = self.tag.and_then(|tag| HeaderValue::try_from(format!("\"{tag}\"")).ok());
        (AppendHeaders(tag.map(|tag| (header::ETAG, tag))), self.answer).into_response()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_were_sent() {
        let check = |texts: &[&str], expected: Option<Option<&[&str]>>| {
            let seen = tags(texts);
            let seen =
                seen.as_ref().map(|tags| tags.as_ref().map(|tags| tags.iter().map(String::as_str).collect()));
            assert_eq!(seen, expected.map(|tags| tags.map(<[&str]>::to_vec)), "{texts:?}");
        };
        check(&[], Some(None));
        check(&["*"], Some(None));
        check(&["\"a\""], Some(Some(&["a"])));
        check(&["\"a\", \"b\"", "\"c\""], Some(Some(&["a", "b", "c"])));
        check(&["W/\"a\""], Some(Some(&[""])));
        check(&["a"], None);
        check(&["\"a"], None);
        check(&[""], None);
    }
}
