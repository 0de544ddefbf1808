//! Keeps pages of others out. Without TLS the server listens on the loopback address, and a page of anybody's can send requests
//! there behind the back of who looks at it. A browser names the page in `Origin`,
//! and the name that it was led to in `Host`: both must be this machine.
//!
//! Over TLS the certificate says who the server is, whatever name a browser was led to: it goes no further with another
//! one. So any `Host` is answered, and an `Origin` must be that host, over TLS as well: what is on port 80 of it is another
//! program.

use crate::problem::Refusal;
use crate::session;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// How the server is reached, which is the same for every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// On this machine, in the open.
    Plain,
    /// Over TLS, from anywhere.
    Tls,
}

/// Lets a request pass that no page of others has made.
pub(crate) async fn own_only(State(transport): State<Transport>, request: Request, next: Next) -> Response {
    let refusal = match transport {
        Transport::Plain => stranger(request.headers()).map(not_local),
        Transport::Tls if is_of_others(request.headers()) => Some(session::elsewhere()),
        Transport::Tls => None,
    };
    match refusal {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    }
}

fn not_local(name: HeaderName) -> Refusal {
    let detail = format!("the request's '{name}' names another machine");
    Refusal::new(StatusCode::FORBIDDEN, "not_local", "Only this machine is answered", detail)
        .fix("call the server as 127.0.0.1 or localhost; from elsewhere it is reached over TLS: [server] tls in its config")
}

/// Whether a request over TLS names a page of another server.
fn is_of_others(headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| !is_own(Transport::Tls, headers, origin))
}

/// Whether an origin is the server itself, under the name that it is called by.
pub(crate) fn is_own(transport: Transport, headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let is_ours = |scheme: &str| transport == Transport::Plain || scheme == "https";
    matches!((host, origin), (Some(host), Some((scheme, authority))) if authority == host && is_ours(scheme))
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

    #[test]
    fn over_tls_an_origin_is_the_host_over_tls() {
        let check = |host: &'static str, origin: &'static str, expected: bool| {
            let pairs = [(header::HOST, host), (header::ORIGIN, origin)];
            let headers: HeaderMap =
                pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            assert_eq!(is_of_others(&headers), !expected, "{host} {origin}");
        };
        check("tandem.internal", "https://tandem.internal", true);
        check("tandem.internal:7070", "https://tandem.internal:7070", true);
        check("127.0.0.1:7070", "https://127.0.0.1:7070", true);
        // What listens on port 80 of the same machine names itself the same, but for its scheme.
        check("tandem.internal", "http://tandem.internal", false);
        check("tandem.internal:7070", "https://tandem.internal:7071", false);
        check("tandem.internal:7070", "https://localhost:7070", false);
        check("tandem.internal", "null", false);
        assert!(!is_of_others(&HeaderMap::new()), "no browser");
    }
}
