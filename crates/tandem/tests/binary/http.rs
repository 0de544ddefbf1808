//! The API as a program sees it that knows nothing but HTTP.

use crate::house::{House, PATIENCE, Server, running, until_equal};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value as Json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) head: String,
    pub(crate) body: Json,
    /// The body, as it came.
    pub(crate) text: String,
}

impl Answer {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| -> Option<usize> {
            let (found, _) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(found.len() + 1)
        };
        self.head.lines().find_map(|line| Some(line[value(line)?..].trim())).unwrap_or_default()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to `localhost` over TLS, to whom the authority in a folder vouches for.
pub(crate) fn tls(folder: &Path, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Says to this client, and to nobody else, that it sends no token.
pub(crate) const ANONYMOUS: &str = "X-No-Token: yes\r\n";

pub(crate) fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let address = server.authority();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream: Box<dyn Stream> = match server.url.starts_with("https://") {
        true => Box::new(tls(server.folder(), stream)),
        false => Box::new(stream),
    };
    let token = match headers.contains("Authorization:") || headers.contains("X-No-Token:") {
        true => String::new(),
        false => {
            let token = std::fs::read_to_string(server.token_file()).unwrap();
            format!("Authorization: Bearer {}\r\n", token.trim())
        }
    };
    ask_over(stream, address, method, path, &format!("{token}{headers}"), body)
}

/// The same over a connection that is there, with no token but what is in the headers.
pub(crate) fn ask_over(
    mut stream: impl Read + Write,
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    match stream.write_all(request.as_bytes()) {
        // It has answered already and closed, without reading all of it: what it said is there to be read.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let kind =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        kind: kind.unwrap_or_default(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
        text: body.to_owned(),
    }
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn what_cannot_be_answered_is_a_problem_with_a_code() {
    let house = House::new();
    let server = house.serve();
    let check = |method: &str, path: &str, headers: &str, body: &str, status: u16, code: &str| {
        let answer = ask(&server, method, path, headers, body);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (status, &Json::from(code)),
            "{path} {}",
            answer.body
        );
        assert_eq!(answer.kind, "application/problem+json", "{path}");
        assert_eq!(answer.body["status"], status, "{path}");
        assert!(answer.body["title"].is_string() && answer.body["detail"].is_string(), "{path}");
    };
    check("GET", "/api/v1/maps/nobody", "", "", 404, "map_unknown");
    check("GET", "/api/v1/maps/nobody/queue", "", "", 404, "map_unknown");
    check("GET", "/api/v1/maps/nobody/history", "", "", 404, "map_unknown");
    check("GET", "/api/v1/maps/nobody/queue/1", "", "", 404, "map_unknown");
    check("GET", "/api/v1/maps/customers/queue/1", "", "", 404, "record_unknown");
    check("GET", "/api/v1/maps/customers/queue/first", "", "", 404, "record_unknown");
    check("GET", "/api/v1/maps/customers/queue?key=a&prefix=b", "", "", 400, "request_invalid");
    check("GET", "/api/v1/errors/1", "", "", 404, "error_unknown");
    check("GET", "/api/v1/errors/first", "", "", 404, "error_unknown");
    check("GET", "/api/v1/errors?map=nobody", "", "", 404, "map_unknown");
    check("GET", "/api/v1/errors?class=bad", "", "", 400, "request_invalid");
    check("GET", "/api/v1/errors?limit=501", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps?colour=red", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps?limit=501", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps?limit=0", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps?limit=many", "", "", 400, "request_invalid");
    check("GET", "/api/v1/activity?after=x", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps/customers/wait?for=happy", "", "", 400, "request_invalid");
    check("GET", "/api/v1/maps/customers/wait?for=running&timeout=0", "", "", 504, "timed_out");
    check("GET", "/api/v1/apps/nobody/release", "", "", 404, "app_unknown");
    let verify = "/api/v1/maps/customers/verify";
    check("GET", verify, "", "", 404, "verify_unknown");
    check("POST", "/api/v1/maps/customers/verify/cancel", "", "", 404, "verify_unknown");
    check("POST", "/api/v1/maps/nobody/verify", "", "", 404, "map_unknown");
    check("POST", verify, "", "", 409, "state_refused");
    check("POST", verify, JSON, "{\"repair\":\"up\"}", 400, "request_invalid");
    check("POST", verify, JSON, "{\"limit\":1001}", 400, "request_invalid");
    check("GET", "/api/v1/nothing", "", "", 404, "route_unknown");
    check("DELETE", "/api/v1/maps", "", "", 405, "method_unknown");
    check("POST", "/api/v1/maps/customers/pause", "", "", 409, "state_refused");
    check("POST", "/api/v1/maps/customers/pause", JSON, "{\"force\":true}", 400, "request_invalid");
    check("POST", "/api/v1/actions", JSON, "{\"action\":\"pause\"", 400, "request_invalid");
    check("POST", "/api/v1/actions", JSON, "{\"action\":\"dance\",\"maps\":[\"a\"]}", 400, "request_invalid");
    check("POST", "/api/v1/actions", "Content-Type: text/plain\r\n", "{}", 415, "body_not_json");
    check("POST", "/api/v1/actions", JSON, &" ".repeat(70_000), 413, "body_refused");
    let deep = format!("{{\"row\":{{\"a\":{}{}}}}}", "[".repeat(200), "]".repeat(200));
    check("POST", "/api/v1/maps/customers/try", JSON, &deep, 400, "request_invalid");
    let long = format!("/api/v1/maps?after={}", "x".repeat(9000));
    check("GET", &long, "", "", 414, "address_too_long");
    check("GET", "/api/v1/maps", "Host: evil.example\r\n", "", 403, "not_local");
    check("POST", "/api/v1/maps/customers/pause", "Origin: http://evil.example\r\n", "", 403, "not_local");
}

#[test]
fn a_refusal_names_every_map_that_stands_in_the_way() {
    let house = House::new();
    let server = house.serve();
    let body = "{\"action\":\"pause\",\"maps\":[\"customers\",\"orders\"]}";
    let answer = ask(&server, "POST", "/api/v1/actions", JSON, body);
    assert_eq!(answer.status, 409);
    let blockers = answer.body["blockers"].as_array().unwrap();
    let maps: Vec<&str> = blockers.iter().map(|blocker| blocker["map"].as_str().unwrap()).collect();
    assert_eq!(maps, ["customers", "orders"]);
    assert_eq!(blockers[0]["state"], "not_running");
}

#[test]
fn lists_come_in_pages() {
    let house = House::new();
    let server = house.serve();
    let first = ask(&server, "GET", "/api/v1/maps?limit=1", "", "").body;
    assert_eq!((&first["items"][0]["name"], &first["next"]), (&"customers".into(), &"customers".into()));
    let last = ask(&server, "GET", "/api/v1/maps?limit=1&after=customers", "", "").body;
    assert_eq!((&last["items"][0]["name"], &last["next"]), (&"orders".into(), &Json::Null));
    let apps = ask(&server, "GET", "/api/v1/apps", "", "").body;
    assert_eq!(apps["items"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&server, "GET", "/livez", "", "").status, 200);
    assert_eq!(ask(&server, "GET", "/readyz", "", "").body["ready"], true);
}

#[test]
fn what_came_in_and_what_became_of_it_is_told_to_prometheus() {
    let house = House::new();
    let server = running(&house);
    // From here on every change is counted as one that came in.
    server.until(&["map", "show", "customers"], |map| map["flows"][0]["ledger"].is_object());
    house.app("erp").execute_batch("INSERT INTO customers VALUES ('A', 'Ada'), ('B', 'Bob')").unwrap();
    until_equal(&house, "customers");
    server.ok(&["map", "pause", "customers", "--wait"]);
    house.app("erp").execute("UPDATE customers SET name = 'Bea' WHERE no = 'B'", []).unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    let ledger = server.ok(&["map", "show", "customers"])["flows"][0]["ledger"].clone();
    let counts = ["journaled", "applied", "queued", "difference"].map(|name| ledger[name].as_i64().unwrap());
    assert_eq!(counts, [3, 2, 1, 0]);
    let answer = ask(&server, "GET", "/metrics", "", "").text;
    let flow = r#"{map="customers",source="erp",destination="crm"}"#;
    for line in [
        format!("tandem_changes_captured_total{flow} 3"),
        format!("tandem_changes_applied_total{flow} 2"),
        format!("tandem_queue_records{flow} 1"),
        format!("tandem_conservation_difference{flow} 0"),
        r#"tandem_map_state{map="customers",state="paused"} 1"#.to_owned(),
        r#"tandem_map_state{map="customers",state="running"} 0"#.to_owned(),
        r#"tandem_app_up{app="crm"} 1"#.to_owned(),
    ] {
        assert!(answer.lines().any(|known| known == line), "{line} is not in {answer}");
    }
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}
