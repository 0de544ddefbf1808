//! Requests with a key of their client's own: asked again, and done once.

use crate::access::{ask_as, token};
use crate::house::{House, Server, items, running};
use crate::http::{Answer, JSON, ask};
use serde_json::Value as Json;

fn with_key(server: &Server, path: &str, key: &str, body: &str) -> Answer {
    ask(server, "POST", path, &format!("{JSON}Idempotency-Key: {key}\r\n"), body)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &code.into()), "{}", answer.text);
}

fn pauses(server: &Server) -> usize {
    let is_pause = |entry: &&Json| entry["map"] == "orders" && entry["to"] == "paused";
    items(&server.ok(&["activity", "--limit", "500"])).iter().filter(is_pause).count()
}

#[test]
fn what_is_asked_again_with_its_key_is_done_once_also_across_a_restart() {
    let house = House::new();
    let server = running(&house);
    let pause = "/api/v1/maps/orders/pause";
    let first = with_key(&server, pause, "k1", "{\"reason\":\"a\"}");
    assert_eq!(first.status, 200, "{}", first.text);
    server.tandem(&["map", "wait", "orders", "--for", "paused"]).ended(0, "");
    server.ok(&["map", "resume", "orders", "--wait"]);
    let before = pauses(&server);
    let again = with_key(&server, pause, "k1", "{\"reason\":\"a\"}");
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    refused(&with_key(&server, pause, "k1", "{\"reason\":\"b\"}"), 422, "idempotency_key_reused");
    refused(
        &with_key(&server, "/api/v1/maps/orders/stop", "k1", "{\"reason\":\"a\"}"),
        422,
        "idempotency_key_reused",
    );
    server.kill();

    let server = house.serve();
    let again = with_key(&server, pause, "k1", "{\"reason\":\"a\"}");
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(server.ok(&["map", "show", "orders"])["state"], "running");
    assert_eq!(pauses(&server), before);
    // Another token's key is another key.
    let other = token(&server, &["other", "--role", "operator"]);
    let headers = format!("{JSON}Authorization: Bearer {other}\r\nIdempotency-Key: k1\r\n");
    assert_eq!(ask(&server, "POST", pause, &headers, "{\"reason\":\"b\"}").status, 200);
}

#[test]
fn a_refusal_has_done_nothing_and_a_secret_is_not_kept() {
    let house = House::new();
    let server = running(&house);
    let resume = "/api/v1/maps/orders/resume";
    refused(&with_key(&server, resume, "k", "{}"), 409, "state_refused");
    server.ok(&["map", "pause", "orders", "--wait"]);
    assert_eq!(with_key(&server, resume, "k", "{}").status, 200);
    let robot = "{\"name\":\"robot\",\"role\":\"viewer\"}";
    let made = with_key(&server, "/api/v1/tokens", "t", robot);
    let secret = made.body["secret"].as_str().unwrap();
    assert_eq!(ask_as(&server, secret, "GET", "/api/v1/maps", "").status, 200);
    refused(&with_key(&server, "/api/v1/tokens", "t", robot), 409, "answer_not_kept");
    for key in ["", "a b", &"x".repeat(201)] {
        refused(&with_key(&server, resume, key, "{}"), 400, "idempotency_key_invalid");
    }
}
