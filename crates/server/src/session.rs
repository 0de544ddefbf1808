//! Sessions of a browser: the cookie that stands for a token, and what a request with it has to show besides.
//!
//! The cookie is out of reach of scripts, so one that got into a page cannot carry it away. But a browser adds it to every
//! request to this server, whoever's page made it. So what changes something also shows a second secret, which only a page of this
//! server can read, and the browser itself must say that the request comes from such a page. `SameSite=Strict` alone would
//! not do: to a browser, another port of this machine is the same site. What reads is answered unless the browser says that
//! it comes from elsewhere.
//!
//! A browser keeps the cookies of a host whatever the port, so two servers on one host would take each other's session away: the
//! port stands in the name. Over TLS the name begins with `__Host-`, which a browser takes from this host itself only, and over
//! TLS only.

use crate::fence::{Transport, is_own};
use crate::problem::Refusal;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tandem_engine::{SESSION_LIFE, Secret};

/// Where a session is begun, looked at, and ended.
pub(crate) const PATH: &str = "/api/v1/session";
/// What the cookie's name begins with; the port stands behind it.
pub(crate) const COOKIE: &str = "tandem_session_";
/// What stands before it over TLS.
const OF_HOST: &str = "__Host-";
/// What has to be shown besides the cookie.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the cookie of a request says. Two of them are none: somebody else has put one there.
pub(crate) fn shown(transport: Transport, headers: &HeaderMap) -> Option<&str> {
    let own = name(transport, headers);
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == own).map(|(_, value)| value);
    ours.next().filter(|_| ours.next().is_none())
}

/// The cookie of a session that begins.
pub(crate) fn cookie(transport: Transport, headers: &HeaderMap, secret: &Secret) -> Option<HeaderValue> {
    set(transport, headers, secret.reveal(), SESSION_LIFE.as_secs())
}

/// Takes the cookie away.
pub(crate) fn no_cookie(transport: Transport, headers: &HeaderMap) -> Option<HeaderValue> {
    set(transport, headers, "", 0)
}

/// The cookie's name: with the port that the browser knows of, not the one that we listen on. Through tunnels two
/// servers may well listen on the same one.
fn name(transport: Transport, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match transport {
        Transport::Plain => format!("{COOKIE}{}", port.unwrap_or(80)),
        Transport::Tls => format!("{OF_HOST}{COOKIE}{}", port.unwrap_or(443)),
    }
}

fn set(transport: Transport, headers: &HeaderMap, value: &str, seconds: u64) -> Option<HeaderValue> {
    // Without TLS there is this machine's own address only, and a browser might drop the cookie.
    let secure = match transport {
        Transport::Plain => "",
        Transport::Tls => "; Secure",
    };
    let name = name(transport, headers);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where a browser says that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// A page of this server, or the person at the browser.
    Ours,
    /// Any other page.
    Foreign,
    /// It does not say, or it is no browser.
    Unsaid,
}

fn page(transport: Transport, headers: &HeaderMap) -> Page {
    let site = headers.get(SITE).map(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    let origin = headers.get(header::ORIGIN).map(|origin| is_own(transport, headers, origin));
    match (site, origin) {
        (None, None) => Page::Unsaid,
        (Some(false), _) | (_, Some(false)) => Page::Foreign,
        (Some(true), _) | (_, Some(true)) => Page::Ours,
    }
}

/// Whether a request with a session may do what it asks for.
pub(crate) fn is_of_our_page(
    transport: Transport,
    method: &Method,
    headers: &HeaderMap,
    csrf: &Secret,
) -> Result<(), Refusal> {
    let reads = [Method::GET, Method::HEAD].contains(method);
    match page(transport, headers) {
        Page::Foreign => return Err(elsewhere()),
        Page::Unsaid if !reads => return Err(elsewhere()),
        Page::Unsaid | Page::Ours => {}
    }
    let sent = headers.get(CSRF).and_then(|sent| sent.to_str().ok());
    if reads || sent.is_some_and(|sent| csrf.is(sent)) {
        return Ok(());
    }
    let detail = "what changes something under a session shows the session's token in X-CSRF-Token";
    let title = "The request does not show the session's token";
    Err(Refusal::new(StatusCode::FORBIDDEN, "csrf_token_wrong", title, detail)
        .fix("send the csrf_token of GET /api/v1/session as X-CSRF-Token; programs send a token instead of a cookie"))
}

/// A refusal, if a browser says that a page of somebody else begins a session.
pub(crate) fn comes_from_elsewhere(transport: Transport, headers: &HeaderMap) -> Option<Refusal> {
    (page(transport, headers) == Page::Foreign).then(elsewhere)
}

/// The request does not come from a page of this server, or does not say so.
pub(crate) fn elsewhere() -> Refusal {
    let detail = "under a session, the browser has to say that the request comes from a page of this server: \
                  by Sec-Fetch-Site, or by an Origin that is the Host; another Origin is not answered over TLS";
    let title = "The request does not come from a page of this server";
    Refusal::new(StatusCode::FORBIDDEN, "cross_origin", title, detail).fix(
        "use the console under the address at which it was opened; programs send a token instead of a cookie",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_what_a_browser_says_of_its_own_page_is_ours() {
        let sites = ["cross-site", "same-site", "same-origin", "none", ""];
        let origins = ["http://127.0.0.1:7070", "http://127.0.0.1:7071", "null", ""];
        for site in sites {
            for origin in origins {
                let mut given = vec![("host", "127.0.0.1:7070")];
                given.extend(Some(("sec-fetch-site", site)).filter(|_| !site.is_empty()));
                given.extend(Some(("origin", origin)).filter(|_| !origin.is_empty()));
                let is_bad = matches!(site, "cross-site" | "same-site")
                    || matches!(origin, "http://127.0.0.1:7071" | "null");
                let expected = match is_bad {
                    true => Page::Foreign,
                    false if site.is_empty() && origin.is_empty() => Page::Unsaid,
                    false => Page::Ours,
                };
                assert_eq!(page(Transport::Plain, &headers(&given)), expected, "{site} {origin}");
            }
        }
        let no_host = headers(&[("origin", "http://127.0.0.1:7070")]);
        assert_eq!(page(Transport::Plain, &no_host), Page::Foreign, "no host");
        let over = |origin: &'static str| {
            page(Transport::Tls, &headers(&[("host", "tandem.internal"), ("origin", origin)]))
        };
        assert_eq!(over("https://tandem.internal"), Page::Ours);
        assert_eq!(over("http://tandem.internal"), Page::Foreign, "that is port 80");
    }

    #[test]
    fn one_cookie_of_that_name_is_the_session() {
        let check = |cookies: &'static str, expected: Option<&str>| {
            let given = headers(&[("host", "127.0.0.1:7070"), ("cookie", cookies)]);
            assert_eq!(shown(Transport::Plain, &given), expected, "{cookies}");
        };
        check("tandem_session_7070=a", Some("a"));
        check("x=1; tandem_session_7070=a; y=2", Some("a"));
        check("tandem_session_7070=a; tandem_session_7070=b", None);
        check("tandem_session_7070=a; tandem_session_7071=b", Some("a"));
        check("tandem_session_7071=a", None);
        check("xtandem_session_7070=a", None);
        // One that was set without TLS, by whoever is between, is none over TLS.
        let given = headers(&[("host", "tandem.internal:7070"), ("cookie", "tandem_session_7070=a")]);
        assert_eq!(shown(Transport::Tls, &given), None);
        assert_eq!(shown(Transport::Plain, &HeaderMap::new()), None);
    }

    #[test]
    fn the_cookie_is_of_one_port_and_over_tls_of_nobody_else() {
        let check = |transport: Transport, host: &'static str, named: &str, secure: &str| {
            let seen = no_cookie(transport, &headers(&[("host", host)])).unwrap();
            let expected = format!("{named}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}");
            assert_eq!(seen.to_str().unwrap(), expected);
        };
        check(Transport::Plain, "127.0.0.1:7070", "tandem_session_7070", "");
        check(Transport::Plain, "[::1]:7071", "tandem_session_7071", "");
        check(Transport::Plain, "[::1]", "tandem_session_80", "");
        check(Transport::Tls, "tandem.internal", "__Host-tandem_session_443", "; Secure");
        check(Transport::Tls, "127.0.0.1:7070", "__Host-tandem_session_7070", "; Secure");
    }
}
