//! Sessions of a browser, as a browser uses them: a cookie instead of a token, and what has to be shown besides.

use crate::access::token;
use crate::house::{House, Server, items, running};
use crate::http::{ANONYMOUS, Answer, JSON, ask, ask_over};
use crate::terminal::{CTRL_C, Terminal};
use serde_json::Value as Json;
use std::net::TcpStream;

const SESSION: &str = "/api/v1/session";

/// A browser that has signed in.
struct Browser<'a> {
    server: &'a Server,
    cookie: String,
    csrf: String,
}

fn sign_in<'a>(server: &'a Server, token: &str) -> Browser<'a> {
    let answer = ask(server, "POST", SESSION, &format!("{ANONYMOUS}{JSON}"), &body(token));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("set-cookie").ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    Browser { server, cookie, csrf: answer.body["csrf_token"].as_str().unwrap().to_owned() }
}

fn body(token: &str) -> String {
    format!("{{\"token\":\"{token}\"}}")
}

impl Browser<'_> {
    /// Asks as a page of the server's own does.
    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let csrf = format!("Sec-Fetch-Site: same-origin\r\nX-CSRF-Token: {}\r\n", self.csrf);
        self.ask_with(method, path, &csrf, body)
    }

    fn ask_with(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let headers = format!("{ANONYMOUS}{JSON}Cookie: theme=dark; {}\r\n{headers}", self.cookie);
        ask(self.server, method, path, &headers, body)
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &code.into()), "{}", answer.text);
}

#[test]
fn a_session_is_as_good_as_its_token_until_it_is_signed_out() {
    let house = House::new();
    let server = running(&house);
    let secret = token(&server, &["ops", "--role", "operator", "--map", "orders"]);
    let browser = sign_in(&server, &secret);
    let other = sign_in(&server, &secret);
    let seen = browser.ask("GET", SESSION, "").body;
    assert_eq!(seen["csrf_token"], Json::from(&*browser.csrf));
    assert_eq!((&seen["name"], &seen["role"]), (&"ops".into(), &"operator".into()));
    assert_eq!(seen["maps"], serde_json::json!(["orders"]));
    assert_eq!(seen["server_version"], env!("CARGO_PKG_VERSION"));
    assert!(
        !seen.to_string().contains(secret.trim_start_matches("tdm_")),
        "a session does not tell its token"
    );
    assert_eq!(items(&browser.ask("GET", "/api/v1/maps", "").body).len(), 1);
    refused(&browser.ask("GET", "/api/v1/maps/customers", ""), 404, "map_unknown");
    refused(&browser.ask("GET", "/api/v1/tokens", ""), 403, "role_needed");
    let done = browser.ask("POST", "/api/v1/maps/orders/pause", "{}");
    assert_eq!(done.status, 200, "{}", done.text);
    server.tandem(&["map", "wait", "orders", "--for", "paused"]).ended(0, "");
    let log = server.ok(&["activity"]);
    let is_ours = |entry: &Json| entry["map"] == "orders" && entry["actor"] == "ops";
    assert!(items(&log).iter().any(is_ours), "{log}");

    let ended = browser.ask("DELETE", SESSION, "");
    assert_eq!(ended.status, 204, "{}", ended.text);
    let port = server.authority().rsplit_once(':').unwrap().1;
    let gone = format!("tandem_session_{port}=; Path=/; Max-Age=0;");
    assert!(ended.header("set-cookie").starts_with(&gone), "{}", ended.head);
    refused(&browser.ask("GET", SESSION, ""), 401, "session_ended");
    assert_eq!(other.ask("GET", SESSION, "").status, 200, "the other one goes on");
    server.tandem(&["token", "revoke", "ops"]).ended(0, "");
    refused(&other.ask("GET", SESSION, ""), 401, "token_unknown");
    // Another token of the same name does not bring it back.
    token(&server, &["ops", "--role", "operator"]);
    refused(&other.ask("GET", SESSION, ""), 401, "session_ended");
    let events: Vec<Json> =
        items(&server.ok(&["activity"])).iter().map(|entry| entry["event"].clone()).collect();
    assert!(events.contains(&"session.started".into()) && events.contains(&"session.ended".into()));
}

#[test]
fn under_a_session_only_a_page_of_the_server_changes_anything() {
    let house = House::new();
    let server = running(&house);
    let secret = token(&server, &["ops", "--role", "operator"]);
    let browser = sign_in(&server, &secret);
    let (right, own) = (format!("X-CSRF-Token: {}\r\n", browser.csrf), server.url.clone());
    let elsewhere = "Origin: http://127.0.0.1:1\r\n";
    for (headers, code) in [
        (right.clone(), "cross_origin"),
        (format!("{right}Sec-Fetch-Site: cross-site\r\n"), "cross_origin"),
        (format!("{right}Sec-Fetch-Site: same-site\r\n"), "cross_origin"),
        (format!("{right}{elsewhere}"), "cross_origin"),
        (format!("{right}{elsewhere}Sec-Fetch-Site: same-origin\r\n"), "cross_origin"),
        ("Sec-Fetch-Site: same-origin\r\n".to_owned(), "csrf_token_wrong"),
        ("Sec-Fetch-Site: same-origin\r\nX-CSRF-Token: tdc_00\r\n".to_owned(), "csrf_token_wrong"),
        (format!("Origin: {own}\r\n"), "csrf_token_wrong"),
    ] {
        for (method, path) in [("POST", "/api/v1/maps/orders/pause"), ("DELETE", SESSION)] {
            let seen = browser.ask_with(method, path, &headers, "");
            assert_eq!((seen.status, &seen.body["code"]), (403, &code.into()), "{headers}: {}", seen.text);
        }
    }
    assert_eq!(server.ok(&["map", "show", "orders"])["state"], "running");
    refused(
        &browser.ask_with("GET", "/api/v1/maps", "Sec-Fetch-Site: cross-site\r\n", ""),
        403,
        "cross_origin",
    );
    assert_eq!(browser.ask_with("GET", "/api/v1/maps", "", "").status, 200);
    // A form of another page cannot sign somebody in, and neither can its script.
    let headers = format!("{ANONYMOUS}{JSON}{elsewhere}");
    refused(&ask(&server, "POST", SESSION, &headers, &body(&secret)), 403, "cross_origin");
    let headers = format!("{ANONYMOUS}Content-Type: text/plain\r\n");
    refused(&ask(&server, "POST", SESSION, &headers, &body(&secret)), 415, "body_not_json");
    let with_origin = format!("{right}Origin: {own}\r\n");
    assert_eq!(browser.ask_with("POST", "/api/v1/maps/orders/pause", &with_origin, "").status, 200);
    server.tandem(&["map", "wait", "orders", "--for", "paused"]).ended(0, "");
    // A program shows a token, and nothing else.
    let bearer = format!("Authorization: Bearer {secret}\r\n{JSON}");
    assert_eq!(ask(&server, "POST", "/api/v1/maps/orders/resume", &bearer, "{}").status, 200);
}

#[test]
fn wrong_tokens_are_slowed_down_at_the_sign_in_and_right_ones_are_not() {
    let house = House::new();
    let server = house.serve();
    let secret = token(&server, &["ops", "--role", "viewer"]);
    let headers = format!("{ANONYMOUS}{JSON}");
    let statuses: Vec<u16> =
        (0..70).map(|_| ask(&server, "POST", SESSION, &headers, &body("tdm_00")).status).collect();
    assert_eq!((statuses[0], statuses[69]), (401, 429), "{statuses:?}");
    let slowed = ask(&server, "POST", SESSION, &headers, &body("tdm_00"));
    refused(&slowed, 429, "too_many_attempts");
    assert_eq!(slowed.header("retry-after"), "60");
    let browser = sign_in(&server, &secret);
    // A page that was left open learns that its session has ended, whoever else guesses.
    assert_eq!(browser.ask("DELETE", SESSION, "").status, 204);
    refused(&browser.ask("GET", SESSION, ""), 401, "session_ended");
    refused(&browser.ask("GET", "/api/v1/maps", ""), 401, "session_ended");
    refused(&ask(&server, "POST", SESSION, &headers, "{}"), 400, "request_invalid");
}

#[test]
fn every_answer_tells_a_browser_to_keep_its_hands_off() {
    let house = House::new();
    let server = house.serve();
    let ours = "cache-control: no-store
content-security-policy: default-src 'self'; base-uri 'none'; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; style-src 'self'
cross-origin-opener-policy: same-origin
cross-origin-resource-policy: same-origin
referrer-policy: no-referrer
x-content-type-options: nosniff
x-frame-options: DENY";
    for (method, path, headers) in [
        ("GET", "/api/v1/maps", ""),
        ("GET", "/api/v1/maps", ANONYMOUS),
        ("GET", "/nothing", ""),
        ("PUT", "/api/v1/maps", ""),
        ("GET", "/livez", ANONYMOUS),
        ("GET", "/metrics", ""),
        ("GET", "/api/v1/maps", "Origin: http://evil.example\r\n"),
    ] {
        let answer = ask(&server, method, path, headers, "");
        let others = ["content-type", "content-length", "connection", "date", "www-authenticate", "allow"];
        let mut seen: Vec<&str> = answer.head.lines().skip(1).collect();
        seen.retain(|line| !others.contains(&line.split(':').next().unwrap()));
        seen.sort_unstable();
        assert_eq!(seen.join("\n"), ours, "{method} {path}");
    }
}

/// Who starts a server by hand is led into its console, and nobody else with them.
#[test]
fn a_person_who_starts_a_server_at_a_terminal_gets_a_link_that_signs_in_once() {
    let house = House::new();
    let mut terminal = Terminal::new(house.path(), &house.path().join("state"), "serve -c tandem.toml");
    terminal.until("#enter=");
    terminal.until("\n");
    let (before, behind) = terminal.seen.rsplit_once("/#enter=").unwrap();
    let address = before.rsplit_once("http://").unwrap().1.to_owned();
    let code: String = behind.chars().take_while(|letter| !letter.is_whitespace()).collect();
    let enter =
        || ask_over(TcpStream::connect(&address).unwrap(), &address, "POST", SESSION, JSON, &body(&code));
    assert_eq!(enter().status, 200);
    refused(&enter(), 401, "token_unknown");
    let (status, said) = terminal.end(CTRL_C);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.matches(&code).count(), 1, "{said}");
    // One that nobody looks at says nothing of the kind.
    let server = house.serve();
    assert!(!server.logged().contains("#enter="));
}
