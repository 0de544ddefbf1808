//! The web console: its files are in the binary, so that it needs nothing beside it and fetches nothing from elsewhere.
//!
//! They are built from `console/` and committed, so that a plain `cargo build` has them on a machine without node; a test
//! builds them anew and compares. Files whose name has a hash of what they are may be kept for ever. The page that names
//! them is asked for each time, so that a browser never runs yesterday's console against today's server.

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What was built of the console.
#[derive(RustEmbed)]
#[folder = "../../console/dist"]
struct Files;

/// The page of the console: every address in it is this one, and what it shows is found there.
const PAGE: &str = "index.html";
/// Where the files are whose name has a hash.
const HASHED: &str = "assets/";

/// What the console answers at an address that is no route; none if it is not for it.
pub(crate) fn answer(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = uri.path().trim_start_matches('/');
    let (name, file) = match Files::get(path) {
        Some(file) => (path, file),
        None if is_page(path, headers) => (PAGE, Files::get(PAGE)?),
        None => return None,
    };
    Some(respond(name, file, headers))
}

/// Whether an address is one within the console: what a browser opens as a page, and is nobody else's.
fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let others = ["api", "metrics", "livez", "readyz", "assets"];
    let first = path.split('/').next().unwrap_or_default();
    let wants_page = headers.get_all(header::ACCEPT).iter().any(|accept| {
        accept.to_str().is_ok_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/html")))
    });
    path.is_empty() || (wants_page && !others.contains(&first))
}

fn respond(name: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let tag = tag(&file.metadata.sha256_hash());
    let cache = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let headers = [
        (header::CONTENT_TYPE, kind(name).to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Body::from(file.data)).into_response()
}

/// The first half of a hash is more than enough to tell two versions of a file apart.
fn tag(hash: &[u8; 32]) -> String {
    let half: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{half}\"")
}

/// What a file is, by its name. Nothing else is built, and what is not known is not shown.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn get(path: &str, accept: &str) -> Option<Response> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]);
        answer(&Method::GET, &path.parse().unwrap(), &headers)
    }

    fn header(response: &Response, name: header::HeaderName) -> &str {
        response.headers().get(name).unwrap().to_str().unwrap()
    }

    #[test]
    fn pages_are_asked_for_each_time_and_files_with_a_hash_are_kept() {
        for path in ["/", "/maps/customers/queue?key=1", "/activity", "/maps/a.b"] {
            let page = get(path, "text/html,application/xhtml+xml").unwrap();
            assert_eq!(header(&page, header::CONTENT_TYPE), "text/html; charset=utf-8", "{path}");
            assert_eq!(header(&page, header::CACHE_CONTROL), "no-cache", "{path}");
        }
        let mut kept = Files::iter().filter(|name| name.starts_with(HASHED)).collect::<Vec<_>>();
        kept.sort();
        assert!(
            kept.iter().any(|name| name.ends_with(".js")) && kept.iter().any(|name| name.ends_with(".css"))
        );
        for name in kept {
            let file = get(&format!("/{name}"), "*/*").unwrap();
            assert!(header(&file, header::CACHE_CONTROL).contains("immutable"), "{name}");
        }
    }

    #[test]
    fn what_is_no_page_is_left_to_others() {
        let html = "text/html";
        for path in ["/api/v1/nothing", "/assets/nothing.js", "/metrics/x"] {
            assert!(get(path, html).is_none(), "{path}");
        }
        assert!(get("/nothing", "application/json").is_none());
        assert!(answer(&Method::POST, &"/".parse().unwrap(), &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let first = get("/", "text/html").unwrap();
        let known = HeaderValue::from_str(header(&first, header::ETAG)).unwrap();
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, known)]);
        let again = answer(&Method::GET, &"/".parse().unwrap(), &headers).unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    /// With this the strictest policy holds: nothing is written into the page itself.
    #[test]
    fn the_page_has_no_script_or_style_of_its_own_and_names_nothing_elsewhere() {
        let page = Files::get(PAGE).unwrap();
        let text = std::str::from_utf8(&page.data).unwrap();
        for forbidden in ["<style", "style=", "onload", "javascript:", "http:", "https:", "//"] {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
        let scripts = text.matches("<script").count();
        assert_eq!(text.matches("src=\"/assets/").count(), scripts, "{text}");
    }
}
