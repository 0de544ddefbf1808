//! Who may do what: every route against every kind of token, and what is not to be seen anywhere.

use crate::house::{House, PATIENCE, Server, items, running, tandem};
use crate::http::{ANONYMOUS, Answer, JSON, ask};
use serde_json::Value as Json;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

pub(crate) fn token(server: &Server, args: &[&str]) -> String {
    let mut all = vec!["token", "create"];
    all.extend(args);
    server.ok(&all)["secret"].as_str().unwrap().to_owned()
}

pub(crate) fn ask_as(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let kind = if body.is_empty() { "" } else { JSON };
    ask(server, method, path, &format!("Authorization: Bearer {token}\r\n{kind}"), body)
}

/// What stands in for the parts of a path.
pub(crate) const NAMES: [(&str, &str); 6] = [
    ("{map}", "customers"),
    ("{seq}", "1"),
    ("{id}", "1"),
    ("{rule}", "r"),
    ("{token}", "t"),
    ("{app}", "erp"),
];

/// A path with something in the place of some of its parts.
pub(crate) fn filled<'a>(path: &str, names: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> String {
    names.into_iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Every route that needs a token, as the server's own document names them.
pub(crate) fn routes(server: &Server) -> Vec<(String, String, String, String)> {
    let document = ask(server, "GET", "/api/v1/openapi.json", ANONYMOUS, "").body;
    let text = |operation: &Json, field: &str| operation[field].as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let named = filled(path, &NAMES);
        for (method, operation) in item.as_object().unwrap() {
            if operation["x-role"] != "none" {
                let needs = (text(operation, "x-role"), text(operation, "x-maps"));
                found.push((method.to_uppercase(), named.clone(), needs.0, needs.1));
            }
        }
    }
    let access = ask(server, "GET", "/api/v1/access", "", "").body;
    assert_eq!(found.len(), access["routes"].as_array().unwrap().len(), "two lists of the same");
    assert!(found.len() > 35, "{found:?}");
    found
}

#[test]
fn the_document_is_whole_and_says_what_is_open() {
    let house = House::new();
    let server = house.serve();
    let document = ask(&server, "GET", "/api/v1/openapi.json", ANONYMOUS, "").body;
    assert_eq!(document["openapi"], "3.1.0");
    let (mut ids, mut open) = (std::collections::BTreeSet::new(), Vec::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}: {operation}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
            for status in ["4XX", "5XX"] {
                let content = &operation["responses"][status]["content"];
                assert!(content["application/problem+json"]["schema"]["$ref"].is_string(), "{path}");
            }
            let parameters = operation["parameters"].as_array().unwrap();
            for name in path.split('/').filter(|part| part.starts_with('{')) {
                let name = name.trim_matches(['{', '}']);
                assert!(
                    parameters.iter().any(|known| known["name"] == name && known["in"] == "path"),
                    "{path}"
                );
            }
            if operation["x-role"] == "none" {
                assert_eq!(operation["security"], serde_json::json!([]));
                open.push(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(open, ["get /api/v1/openapi.json", "post /api/v1/session", "get /livez", "get /readyz"]);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let found = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(found.is_some(), "{reference} leads nowhere");
    }
    let pause = &document["paths"]["/api/v1/maps/{map}/pause"]["post"];
    let names: Vec<&Json> =
        pause["parameters"].as_array().unwrap().iter().map(|known| &known["name"]).collect();
    assert_eq!(names, ["map", "Idempotency-Key"]);
    let body = &pause["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/PauseRequest");
    assert_eq!(document["components"]["schemas"]["PauseRequest"]["additionalProperties"], false);
    let limit = &document["paths"]["/api/v1/maps"]["get"]["parameters"];
    let limit = limit.as_array().unwrap().iter().find(|known| known["name"] == "limit").unwrap();
    assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&1.into(), &500.into()));
}

#[test]
fn every_route_is_shut_to_who_has_no_token_and_to_roles_and_maps_that_are_not_enough() {
    let house = House::new();
    let server = house.serve();
    let short = token(&server, &["short", "--role", "admin", "--expires", "1s"]);
    let roles = ["viewer", "operator", "admin"];
    let of_roles = roles.map(|role| token(&server, &[role, "--role", role]));
    let bound = token(&server, &["bound", "--role", "operator", "--map", "orders"]);
    let revoked = token(&server, &["gone", "--role", "admin"]);
    server.tandem(&["token", "revoke", "gone"]).ended(0, "opens nothing any more");
    let deadline = Instant::now() + PATIENCE;
    while ask_as(&server, &short, "GET", "/api/v1/maps", "").status == 200 {
        assert!(Instant::now() < deadline, "it does not expire");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for (method, path, needs, reach) in routes(&server) {
        let body = if method == "POST" { "{}" } else { "" };
        let check = |token: &str, status: u16, code: &str| {
            let seen = match token {
                "" => ask(&server, &method, &path, ANONYMOUS, ""),
                token => ask_as(&server, token, &method, &path, body),
            };
            let named = (seen.status, seen.body["code"].as_str().unwrap_or_default());
            assert_eq!(named, (status, code), "{method} {path}: {}", seen.text);
            assert_eq!(
                (seen.header("www-authenticate") == "Bearer realm=\"tandem\""),
                status == 401,
                "{}",
                seen.head
            );
        };
        check("", 401, "token_missing");
        check(&short, 401, "token_expired");
        check(&revoked, 401, "token_unknown");
        let opens = |token: &str| {
            // Its answer does not end; who may listen to what is shown where the events are.
            if path == "/api/v1/events" {
                return;
            }
            let seen = ask_as(&server, token, &method, &path, body);
            let is_refused = matches!(seen.status, 401 | 403) || seen.status >= 500 && seen.status != 504;
            assert!(!is_refused, "{method} {path}: {}", seen.text);
        };
        let least = roles.iter().position(|role| *role == needs).unwrap();
        for (place, token) in of_roles.iter().enumerate() {
            if place < least { check(token, 403, "role_needed") } else { opens(token) }
        }
        match (reach.as_str(), needs.as_str()) {
            (_, "admin") => check(&bound, 403, "role_needed"),
            ("named", _) => check(&bound, 404, "map_unknown"),
            ("all", _) => check(&bound, 403, "maps_bound"),
            ("seen", _) => opens(&bound),
            other => panic!("{other:?}"),
        }
    }
    for open in ["/livez", "/readyz"] {
        assert_eq!(ask(&server, "GET", open, ANONYMOUS, "").status, 200, "{open}");
    }
}

#[test]
fn a_token_of_some_maps_sees_and_does_nothing_beyond_them() {
    let house = House::new();
    let server = running(&house);
    let orders = token(&server, &["orders-bot", "--role", "operator", "--map", "orders"]);
    let customers = token(&server, &["customers-bot", "--role", "operator", "--map", "customers"]);
    let maps = ask_as(&server, &orders, "GET", "/api/v1/maps", "").body;
    assert_eq!(items(&maps).iter().map(|map| &map["name"]).collect::<Vec<_>>(), ["orders"]);
    let act = |token: &str, maps: &str| {
        ask_as(
            &server,
            token,
            "POST",
            "/api/v1/actions",
            &format!("{{\"action\":\"pause\",\"maps\":{maps},\"actor\":\"ann\"}}"),
        )
    };
    // Its dependent would go along, and is not its own: nothing is done.
    let refused = act(&customers, "[\"customers\"]");
    assert_eq!((refused.status, &refused.body["code"]), (403, &"maps_bound".into()), "{}", refused.text);
    let refused = act(&orders, "[\"orders\",\"customers\"]");
    assert_eq!((refused.status, &refused.body["code"]), (404, &"map_unknown".into()), "{}", refused.text);
    for map in ["customers", "orders"] {
        assert_eq!(server.ok(&["map", "show", map])["state"], "running", "{map}");
    }
    assert_eq!(act(&orders, "[\"orders\"]").status, 200);
    server.tandem(&["map", "wait", "orders", "--for", "paused"]).ended(0, "");
    let log = ask_as(&server, &orders, "GET", "/api/v1/activity", "").body;
    assert!(items(&log).iter().all(|entry| entry["map"] == "orders"), "{log}");
    let paused = |entry: &&Json| entry["actor"] == "orders-bot (for ann)";
    assert!(items(&log).iter().any(|entry| paused(&entry)), "{log}");
    let refused = ask_as(&server, &orders, "GET", "/api/v1/activity?map=customers", "");
    assert_eq!(refused.status, 404, "{}", refused.text);
}

#[test]
fn stopping_without_an_app_that_does_not_answer_is_for_admins() {
    let house = House::new();
    let server = running(&house);
    let operator = token(&server, &["op", "--role", "operator"]);
    let body = "{\"queue\":\"discard\",\"force\":true}";
    let refused = ask_as(&server, &operator, "POST", "/api/v1/maps/orders/stop", body);
    assert_eq!((refused.status, &refused.body["code"]), (403, &"role_needed".into()), "{}", refused.text);
    house.write("op", &operator);
    server
        .tandem(&["map", "stop", "orders", "--queue", "discard", "--force", "--yes", "--token-file", "op"])
        .ended(4, "needs the role admin");
}

/// What the values of records begin with here; nothing else does.
const CANARY: &str = "Zx9q";

#[test]
fn a_viewer_sees_no_value_and_only_an_admin_sees_sensitive_ones() {
    let house = House::new();
    house.app("crm").execute_batch("CREATE TRIGGER no BEFORE INSERT ON customers WHEN new.no LIKE '%bad' BEGIN SELECT RAISE(ABORT, 'no'); END").unwrap();
    house.edit(
        "right = { app = \"crm\", table = \"customers\", key = [\"no\"] }",
        "right = { app = \"crm\", table = \"customers\", key = [\"no\"] }\ncolumns = [{ left = \"no\", right = \"no\" }, { left = \"name\", right = \"name\", sensitive = true }]",
    );
    let server = running(&house);
    let [viewer, operator, admin] =
        ["viewer", "operator", "admin"].map(|role| token(&server, &[role, "--role", role]));
    let erp = house.app("erp");
    erp.execute("INSERT INTO customers VALUES (?1, ?2)", [format!("{CANARY}bad"), format!("{CANARY}name")])
        .unwrap();
    server.until(&["error", "list", "customers"], |page| items(page).len() == 1);
    server.ok(&["map", "pause", "customers", "--wait"]);
    erp.execute("INSERT INTO customers VALUES (?1, ?2)", [format!("{CANARY}key"), format!("{CANARY}name")])
        .unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    let queue = ask_as(&server, &admin, "GET", "/api/v1/maps/customers/queue", "").body;
    let seq = queue["items"][0]["seq"].to_string();
    let id = items(&server.ok(&["error", "list", "customers"]))[0]["id"].as_str().unwrap().to_owned();
    let row = format!("{{\"row\":{{\"no\":\"{CANARY}try\",\"name\":\"{CANARY}name\"}}}}");
    let shown = [
        ("GET", "/api/v1/maps/customers/queue".to_owned(), ""),
        ("GET", format!("/api/v1/maps/customers/queue/{seq}"), ""),
        ("GET", "/api/v1/errors".to_owned(), ""),
        ("GET", format!("/api/v1/errors/{id}"), ""),
        ("POST", "/api/v1/maps/customers/try".to_owned(), row.as_str()),
    ];
    for (method, path, body) in &shown {
        let seen = |token: &str| {
            let answer = ask_as(&server, token, method, path, body);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.text
        };
        let (by_viewer, by_operator, by_admin) = (seen(&viewer), seen(&operator), seen(&admin));
        assert!(!by_viewer.contains(CANARY), "{path}: {by_viewer}");
        assert!(by_viewer.contains("(masked)") && by_viewer.contains("\"name\":"), "{path}: {by_viewer}");
        let name = format!("{CANARY}name");
        assert!(!by_operator.contains(&name) && by_operator.contains(CANARY), "{path}: {by_operator}");
        assert!(by_admin.contains(&name), "{path}: {by_admin}");
    }
    for path in
        ["/api/v1/maps", "/api/v1/errors/causes", "/api/v1/activity", "/metrics", "/api/v1/apps", "/readyz"]
    {
        let seen = ask_as(&server, &viewer, "GET", path, "").text;
        assert!(!seen.is_empty() && !seen.contains(CANARY), "{path}: {seen}");
    }
    // Searching by what one does not see would tell it.
    for path in ["/api/v1/maps/customers/queue?prefix=Z", "/api/v1/errors?key=Z"] {
        let refused = ask_as(&server, &viewer, "GET", path, "");
        assert_eq!((refused.status, &refused.body["code"]), (403, &"values_hidden".into()), "{path}");
        assert_eq!(ask_as(&server, &operator, "GET", path, "").status, 200, "{path}");
    }
    assert!(!server.logged().contains(CANARY));
}

#[test]
fn opening_the_console_is_no_attempt_at_anything_and_all_else_without_a_token_is_noted() {
    let house = House::new();
    let server = house.serve();
    let denied = || {
        let log = server.ok(&["activity"]);
        let denied = items(&log).iter().filter(|entry| entry["event"] == "access.denied");
        denied.map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let asked = |method: &str, path: &str| ask(&server, method, path, ANONYMOUS, "").status;
    assert_eq!(asked("GET", "/api/v1/session"), 401);
    assert_eq!(denied(), [""; 0]);
    assert_eq!((asked("GET", "/api/v1/maps"), asked("DELETE", "/api/v1/session")), (401, 401));
    assert_eq!(denied(), ["DELETE /api/v1/session: no token", "GET /api/v1/maps: no token"]);
}

#[test]
fn wrong_tokens_are_slowed_down_and_lock_nobody_out() {
    let house = House::new();
    let server = house.serve();
    let wrong = format!("tdm_{}", "0".repeat(64));
    let statuses: Vec<u16> =
        (0..70).map(|_| ask_as(&server, &wrong, "GET", "/api/v1/maps", "").status).collect();
    assert_eq!((statuses[0], statuses[69]), (401, 429), "{statuses:?}");
    assert!(ask_as(&server, &wrong, "GET", "/api/v1/maps", "").head.contains("retry-after: 60"));
    let log = server.ok(&["activity", "--limit", "500"]);
    let denied: Vec<_> = items(&log).iter().filter(|entry| entry["event"] == "access.denied").collect();
    assert!((1..=60).contains(&denied.len()), "{}", denied.len());
    assert_eq!(denied[0]["detail"], "GET /api/v1/maps: a wrong token");
}

#[test]
fn a_token_is_shown_once_and_stands_nowhere_else() {
    let house = House::new();
    let server = house.try_serve_with("trace").unwrap_or_else(|why| panic!("{why:?}"));
    let file = server.token_file();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let local = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let made = token(&server, &["robot", "--role", "viewer", "--map", "orders", "--expires", "90d"]);
    assert!(made.starts_with("tdm_") && made != local);
    let listed = server.tandem(&["token", "list"]).ended(0, "");
    assert!(listed.out.contains("robot") && listed.out.contains("local"), "{}", listed.out);
    server.tandem(&["token", "create", "robot", "--role", "viewer"]).ended(3, "a token robot already");
    server.tandem(&["token", "create", "b", "--role", "viewer", "--map", "x"]).ended(5, "there is no map x");
    server.tandem(&["token", "create", "b", "--role", "root"]).ended(2, "viewer, operator, admin");
    server.tandem(&["token", "revoke", "nobody"]).ended(5, "there is no token nobody");
    server.tandem(&["token", "revoke", "local"]).ended(2, "restart it");

    // As another user of the machine: no note, no token, no answer.
    let elsewhere = tempfile::tempdir().unwrap();
    let url = server.url.clone();
    tandem(elsewhere.path(), &["map", "list", "--server", &url]).ended(4, "--token-file");
    std::fs::write(elsewhere.path().join("mine"), &made).unwrap();
    let args = ["map", "list", "--server", &url, "--token-file", "mine"];
    let seen = tandem(elsewhere.path(), &args).ended(0, "");
    assert!(seen.out.contains("orders") && !seen.out.contains("customers"), "{}", seen.out);
    let args = ["map", "pause", "orders", "--server", &url, "--token-file", "mine"];
    tandem(elsewhere.path(), &args).ended(4, "needs the role operator");

    let mut said = server.logged();
    for path in ["/api/v1/tokens", "/api/v1/activity", "/metrics", "/api/v1/access", "/api/v1/nothing"] {
        said.push_str(&ask(&server, "GET", path, "", "").text);
    }
    let note = house.path().join("state/tandem/servers").join(url.strip_prefix("http://").unwrap());
    assert!(note.exists());
    let (code, _, logged) = server.terminate();
    assert_eq!(code, Some(0), "{logged}");
    assert!(!note.exists(), "the note goes with its server");
    said.push_str(&logged);
    let digits = |secret: &str| secret.trim_start_matches("tdm_").to_owned();
    for secret in [digits(&made), digits(&local)] {
        assert!(!said.contains(&secret), "a token was told");
        for entry in std::fs::read_dir(house.path().join("tandem-data")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path != file {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!text.contains(&secret), "{} has a token", path.display());
            }
        }
    }
    // What another program might have been shown on this port meanwhile is worth nothing; what was made lasts.
    let server = house.serve();
    assert_eq!(ask_as(&server, &local, "GET", "/api/v1/maps", "").status, 401);
    assert_eq!(ask_as(&server, &made, "GET", "/api/v1/maps", "").status, 200);
}
