//! A config that is read again while maps run.

use crate::house::{House, Server, items, running, until_equal};
use crate::http::{JSON, ask};
use serde_json::Value as Json;
use std::process::Command;
use std::time::{Duration, Instant};

const RULE: &str = "
[[rules]]
name = \"crm-down\"
when = { destination_unreachable = \"10s\" }
then = { action = \"pause\" }
";
const NOTES: &str = "
[[maps]]
name = \"notes\"
left = { app = \"erp\", table = \"orders\", key = [\"no\"] }
right = { app = \"crm\", table = \"notes\", key = [\"no\"] }
";

fn append(house: &House, more: &str) {
    let text = std::fs::read_to_string(house.path().join("tandem.toml")).unwrap();
    house.write("tandem.toml", &format!("{text}{more}"));
}

fn changes(reloaded: &Json) -> Vec<String> {
    let text = |change: &Json, key: &str| change[key].as_str().unwrap().to_owned();
    let shown = |change: &Json| {
        let keys: Vec<&str> = change["keys"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
        let what = [text(change, "subject"), text(change, "name"), text(change, "change")].join(" ");
        format!("{what} {}", keys.join(",")).trim_end().to_owned()
    };
    reloaded["changes"].as_array().unwrap().iter().map(shown).collect()
}

fn names(server: &Server, of: &str) -> Vec<String> {
    let page = server.ok(&[of, "list"]);
    items(&page).iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_the_config_says_now_is_shown_and_takes_effect_when_it_is_agreed_to() {
    let house = House::new();
    let server = running(&house);
    assert_eq!(changes(&server.ok(&["reload", "--yes"])), [""; 0]);

    append(&house, NOTES);
    append(&house, RULE);
    append(&house, "[limits]\nmax_queue_bytes = \"5MB\"\n");
    let all = [
        "map notes added",
        "limits customers edited max_queue_bytes",
        "limits orders edited max_queue_bytes",
        "rule crm-down added",
    ];
    assert_eq!(changes(&server.ok(&["reload", "--dry-run"])), all);
    server.tandem(&["reload"]).ended(2, "nobody can be asked");
    assert_eq!(names(&server, "map"), ["customers", "orders"], "nobody has agreed to anything");

    assert_eq!(changes(&server.ok(&["reload", "--yes", "--reason", "more"])), all);
    assert_eq!(names(&server, "map"), ["customers", "notes", "orders"]);
    assert_eq!(names(&server, "rule"), ["crm-down"]);
    assert_eq!(changes(&server.ok(&["reload", "--yes"])), [""; 0], "it is so already");
    let log = server.ok(&["activity"]);
    for event in ["map.added", "limits.edited", "rule.added"] {
        let entry = items(&log).iter().find(|entry| entry["event"] == event);
        assert_eq!(entry.unwrap_or_else(|| panic!("no {event}: {log}"))["reason"], "more");
    }
    // What runs has gone on, and what is new can be run.
    house
        .app("crm")
        .execute_batch("CREATE TABLE notes (no INTEGER PRIMARY KEY, customer TEXT, cents INTEGER)")
        .unwrap();
    server.ok(&["map", "run", "notes", "--wait"]);
    house
        .app("erp")
        .execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 5)")
        .unwrap();
    assert_eq!((until_equal(&house, "customers"), until_equal(&house, "orders")), (1, 1));

    // A restart with the same file finds nothing else.
    server.kill();
    let server = house.serve();
    assert_eq!(changes(&server.ok(&["reload", "--dry-run"])), [""; 0]);
    assert_eq!(server.ok(&["map", "show", "notes"])["state"], "running");
}

#[test]
fn a_map_that_runs_is_edited_when_it_is_paused_and_nothing_else_happens_before() {
    let house = House::new();
    let server = running(&house);
    append(&house, RULE);
    house.edit(
        "right = { app = \"crm\", table = \"customers\", key = [\"no\"] }",
        "right = { app = \"crm\", table = \"people\", key = [\"no\"] }",
    );
    server.tandem(&["reload", "--yes"]).ended(3, "tandem map pause customers");
    assert_eq!(names(&server, "rule"), [""; 0], "all or nothing");

    house.app("crm").execute_batch("CREATE TABLE people (no TEXT PRIMARY KEY, name TEXT)").unwrap();
    server.ok(&["map", "pause", "customers", "--wait"]);
    house.app("erp").execute_batch("INSERT INTO customers VALUES ('K1', 'Ann')").unwrap();
    let done = server.ok(&["reload", "--yes"]);
    assert_eq!(changes(&done), ["map customers edited right", "rule crm-down added"]);
    server.ok(&["map", "resume", "customers", "--wait"]);
    server.until(&["map", "show", "customers"], |map| map["state"] == "running");
    let count = |table: &str| -> i64 {
        house.app("crm").query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("people"), count("customers")), (1, 0), "what was queued went where the map says now");
}

#[test]
fn what_a_restart_only_can_change_is_refused_and_a_bad_config_as_well() {
    let house = House::new();
    let server = running(&house);
    house.edit("url = \"sqlite:crm.db\"", "url = \"sqlite:other.db\"");
    server.tandem(&["reload", "--yes"]).ended(3, "[apps.crm]").ended(3, "restart the server");
    house.edit("url = \"sqlite:other.db\"", "url = \"sqlite:crm.db\"\nurll = \"x\"");
    server.tandem(&["reload", "--yes"]).ended(3, "unknown key 'urll'");
    house.edit("\nurll = \"x\"", "");
    assert_eq!(changes(&server.ok(&["reload", "--yes"])), [""; 0]);
    // Who may only operate may not do that.
    let token = server.tandem(&["token", "create", "op", "--role", "operator"]).ended(0, "").out;
    house.write("op", token.trim());
    server.tandem(&["reload", "--yes", "--token-file", "op"]).ended(4, "");
}

#[test]
fn what_is_done_is_what_was_shown_or_nothing() {
    let house = House::new();
    let server = running(&house);
    append(&house, RULE);
    let reload = |dry_run: bool, tag: &str| {
        let expected = if tag.is_empty() { String::new() } else { format!("If-Match: {tag}\r\n") };
        let body = format!("{{\"dry_run\":{dry_run}}}");
        ask(&server, "POST", "/api/v1/reload", &format!("{JSON}{expected}"), &body)
    };
    let shown = || {
        let answer = reload(true, "");
        assert_eq!(changes(&answer.body), ["rule crm-down added"]);
        answer.header("etag").to_owned()
    };
    let first = shown();
    assert!(first.starts_with('"') && first.len() > 20, "{first}");
    assert_eq!(shown(), first, "it is the same as long as nothing changes");
    // By name it is the same difference, and it is not the one that was looked at.
    house.edit("\"10s\"", "\"90s\"");
    let second = shown();
    assert_ne!(second, first);
    let check = |tag: &str, status: u16, code: &str| {
        let answer = reload(false, tag);
        assert_eq!((answer.status, &answer.body["code"]), (status, &code.into()), "{tag}: {}", answer.text);
    };
    check(&first, 412, "config_changed");
    check(&format!("W/{second}"), 412, "config_changed");
    check("something", 400, "request_invalid");
    assert_eq!(names(&server, "rule"), [""; 0], "nothing was done");
    let done = reload(false, &format!("\"other\", {second}"));
    assert_eq!((done.status, done.header("etag")), (200, ""), "{}", done.text);
    assert_eq!(names(&server, "rule"), ["crm-down"]);
    // Somebody has done it meanwhile: there is nothing left of what was shown.
    check(&second, 412, "config_changed");
    assert_eq!(reload(false, "*").status, 200);

    // The same key on another condition is another request.
    let keyed = |condition: &str| {
        let headers = format!("{JSON}Idempotency-Key: k\r\n{condition}");
        ask(&server, "POST", "/api/v1/reload", &headers, "{}").status
    };
    assert_eq!(
        [keyed("If-Match: *\r\n"), keyed("If-Match: *\r\n"), keyed("If-Match: \"a\"\r\n"), keyed("")],
        [200, 200, 422, 422]
    );

    let document = ask(&server, "GET", "/api/v1/openapi.json", "", "").body;
    let operation = &document["paths"]["/api/v1/reload"]["post"];
    let read = operation["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "If-Match");
    assert!(read && operation["responses"]["200"]["headers"]["ETag"].is_object(), "{operation}");
}

#[test]
fn a_hang_up_does_it_without_a_question() {
    let house = House::new();
    let server = running(&house);
    append(&house, RULE);
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(30);
    while names(&server, "rule").is_empty() {
        assert!(Instant::now() < deadline, "{}", server.logged());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.logged().contains("rule crm-down added"));
}
