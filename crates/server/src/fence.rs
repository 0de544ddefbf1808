//! Keeps pages of others out. The server listens on the loopback address, and a page of anybody's can send requests
//! there behind the back of who looks at it. A browser names the page in `Origin`,
//! and the name that it was led to in `Host`: both must be this machine.

use crate::problem::Refusal;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets a request pass that comes from this machine itself.
pub(crate) async fn loopback_only(request: Request, next: Next) -> Response {
    match stranger(request.headers()) {
        None => next.run(request).await,
        Some(name) => Refusal::new(
            StatusCode::FORBIDDEN,
            "not_local",
            "Only this machine is answered",
            format!("the request's '{name}' names another machine"),
        )
        .fix("call the server as 127.0.0.1 or localhost")
        .into_response(),
    }
}

/// The header that names another machine.
fn stranger(headers: &HeaderMap) -> Option<HeaderName> {
    let foreign =
        |name: &HeaderName| headers.get_all(name).iter().any(|value| !value.to_str().is_ok_and(is_loopback));
    [header::HOST, header::ORIGIN].into_iter().find(foreign)
}

/// Whether `[scheme://]host[:port]` is this machine.
pub(crate) fn is_loopback(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |(_, authority)| authority);
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(host, _)| host == "::1");
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for own in ["127.0.0.1:7070", "localhost", "http://localhost:3000", "[::1]:7070", "127.8.0.1"] {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in
            ["evil.example", "http://evil.example:7070", "null", "127.0.0.1.evil.example", "[::2]:1", ""]
        {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
