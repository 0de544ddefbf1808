//! What every answer says to a browser. Nothing of ours is to be framed by a page, guessed at by its content, or told of to
//! where a link leads; and a page of ours runs nothing and loads nothing that this server did not send as a file.
//!
//! Over TLS a browser is told to come back over TLS only, for a year. It takes that for the host with all of its ports, so it is
//! not said of this machine's own name: it would lock other programs out of their own browser.

use crate::fence::{Transport, is_loopback};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Nothing inline: a value of a record that got into a page as markup would be dead there.
const POLICY: &str = "default-src 'self'; base-uri 'none'; connect-src 'self'; font-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; style-src 'self'";

const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Over TLS only, from now on.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// Adds them. Nothing of the API is kept by a browser, and nothing else unless its answer says otherwise.
pub(crate) async fn secure(State(transport): State<Transport>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_strict = transport == Transport::Tls && host.is_some_and(|host| !is_loopback(host));
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_strict {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
    }
    if is_api || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
