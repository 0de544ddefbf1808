//! What nobody may see is looked for wherever anybody can look: values of records that the others tests of access do not come to,
//! and the password of a database.

use crate::access::{ask_as, routes, token};
use crate::house::{House, PATIENCE, Server, items, tandem};
use crate::http::ask;
use crate::twins::Twins;
use serde_json::Value as Json;
use std::path::Path;
use std::time::Instant;
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// What the values of records begin with here; nothing else does.
const CANARY: &str = "Zx9q";

const SCHEMA: &str = "
    CREATE TABLE accounts (id text PRIMARY KEY, name text);
    ALTER TABLE accounts REPLICA IDENTITY FULL;
    CREATE TABLE cards (id text PRIMARY KEY, name text);
    ALTER TABLE cards REPLICA IDENTITY FULL";

fn map(sensitive: &str) -> String {
    let column = |name: &str| match name == sensitive {
        true => format!("{{ left = \"{name}\", right = \"{name}\", sensitive = true }}"),
        false => format!("{{ left = \"{name}\", right = \"{name}\" }}"),
    };
    format!("direction = \"both\"\ncolumns = [{}, {}]", column("id"), column("name"))
}

/// Both maps with a conflict, and rows that differ since before they ran.
fn with_conflicts(twins: &Twins) -> Server {
    for table in ["accounts", "cards"] {
        let insert =
            |id: &str, name: &str| format!("INSERT INTO {table} VALUES ('{CANARY}{id}', '{CANARY}{name}')");
        twins.erp(&format!("{}; {}", insert("alone", "name"), insert("other", "name")));
        twins.server.sql_blocking("crm", &insert("other", "nickname"));
    }
    let server = twins.run();
    for table in ["accounts", "cards"] {
        let rename =
            |name: &str| format!("UPDATE {table} SET name = '{CANARY}{name}' WHERE id = '{CANARY}both'");
        twins.erp(&format!("INSERT INTO {table} VALUES ('{CANARY}both', '{CANARY}name')"));
        let deadline = Instant::now() + PATIENCE;
        while twins.number("crm", &format!("SELECT count(*) FROM {table}")) < 2 {
            assert!(Instant::now() < deadline, "it does not come over");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        server.ok(&["map", "pause", table, "--wait"]);
        twins.erp(&rename("name1"));
        twins.server.sql_blocking("crm", &rename("name2"));
        server.ok(&["map", "resume", table, "--wait"]);
        server.until(&["conflict", "list", table], |page| items(page).len() == 1);
        let ran = server.tandem(&["map", "verify", table, "-o", "json"]).ended(7, "").json();
        assert_eq!(ran["differing"], 2, "{ran}");
    }
    server
}

#[test]
fn conflicts_and_comparisons_show_a_viewer_no_value_and_an_operator_no_sensitive_one() {
    let (accounts, cards) = (map("name"), map("id"));
    let twins = Twins::new(SCHEMA, &[("accounts", &accounts), ("cards", &cards)]);
    let server = with_conflicts(&twins);
    let [viewer, operator, admin] =
        ["viewer", "operator", "admin"].map(|role| token(&server, &[role, "--role", role]));
    let check = |path: &str, operator_sees: &[&str], operator_does_not: &[&str]| {
        let seen = |token: &str| {
            let answer = ask_as(&server, token, "GET", path, "");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.text
        };
        let (by_viewer, by_operator, by_admin) = (seen(&viewer), seen(&operator), seen(&admin));
        assert!(!by_viewer.contains(CANARY) && by_viewer.contains("(masked)"), "{path}: {by_viewer}");
        for value in operator_sees {
            assert!(by_operator.contains(&format!("{CANARY}{value}")), "{path}: {by_operator}");
        }
        for value in operator_does_not {
            assert!(!by_operator.contains(&format!("{CANARY}{value}")), "{path}: {by_operator}");
        }
        for value in operator_sees.iter().chain(operator_does_not) {
            assert!(by_admin.contains(&format!("{CANARY}{value}")), "{path}: {by_admin}");
        }
    };
    check("/api/v1/conflicts?map=accounts", &["both"], &[]);
    check("/api/v1/conflicts?map=cards", &[], &["both"]);
    check("/api/v1/maps/accounts/verify?rows=true", &["alone", "other"], &["name", "nickname"]);
    check("/api/v1/maps/cards/verify?rows=true", &["name", "nickname"], &["alone", "other"]);

    // On the command line as well, and in what it sends to others.
    for (role, secret) in [("viewer", &viewer), ("operator", &operator)] {
        std::fs::write(twins.house.path().join(role), secret).unwrap();
    }
    let by = |role: &str, args: &[&str], code: i32| {
        let ran = server.tandem(&[args, &["--token-file", role]].concat()).ended(code, "");
        ran.out + &ran.err
    };
    assert!(!by("viewer", &["conflict", "list"], 0).contains(CANARY));
    let verified = by("operator", &["map", "verify", "accounts", "--rows"], 7);
    assert!(verified.contains("Zx9qalone") && !verified.contains("Zx9qname"), "{verified}");
    let bundle = server.tandem(&["bundle", "help.json", "--check"]).ended(0, "");
    let written = std::fs::read_to_string(twins.house.path().join("help.json")).unwrap();
    assert!(!written.contains(CANARY) && !bundle.out.contains(CANARY), "{written}");
    for path in
        ["/api/v1/maps", "/api/v1/activity", "/metrics", "/api/v1/apps", "/api/v1/errors/causes", "/readyz"]
    {
        let seen = ask(&server, "GET", path, "", "").text;
        assert!(!seen.is_empty() && !seen.contains(CANARY), "{path}: {seen}");
    }
    assert!(!server.logged().contains(CANARY));
}

/// A password that nothing else has in it.
const PASSWORD: &str = "S3CR3T-4417-canary";

/// Everything that a folder holds, files of `apart` left out.
fn held(folder: &Path, apart: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true => found.extend(held(&path, apart)),
            false if apart.contains(&name.as_str()) => {}
            false => found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
            )),
        }
    }
    found
}

#[test]
fn the_password_of_a_database_shows_nowhere_whatever_goes_wrong() {
    let postgres = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    for app in ["erp", "crm"] {
        postgres.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
        postgres.sql_blocking(app, "CREATE TABLE orders (id int PRIMARY KEY, note text)");
    }
    postgres.sql_blocking("postgres", &format!("CREATE ROLE tandem LOGIN SUPERUSER PASSWORD '{PASSWORD}'"));
    let house = House::new();
    house.write("password", PASSWORD);
    let config = |password: &str, query: &str, port: u16| {
        let url = |app: &str| format!("postgres://tandem:{password}@localhost:{port}/{app}?{query}");
        let side = |app: &str| format!("{{ app = \"{app}\", table = \"public.orders\", key = [\"id\"] }}");
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[apps.erp]\nurl = \"{}\"\n[apps.crm]\nurl = \"{}\"\n[[maps]]\nname = \"orders\"\ndeletes = \"queue\"\nleft = {}\nright = {}\n",
            url("erp"),
            url("crm"),
            side("erp"),
            side("crm")
        )
    };
    let reference = "${file:password}";
    let good = config(reference, "sslmode=disable", postgres.port());
    let mut said = Vec::new();
    // Nobody there; no TLS there; the password where it does not belong; and one that the address would misread.
    for (bad, code) in [
        (config(reference, "sslmode=disable", 1), 3),
        (config(reference, "sslmode=verify-full", postgres.port()), 3),
        (config(PASSWORD, "sslmode=disable", postgres.port()), 2),
        (good.replace("sslmode=disable", "sslmode=none"), 2),
        (good.replace("localhost", "local host"), 3),
    ] {
        house.write("tandem.toml", &bad);
        let ran = house.tandem(&["check"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        said.push(("check".to_owned(), ran.out + &ran.err));
        let bundle = ["bundle", "bad.json", "--server", "http://127.0.0.1:9"];
        said.push(("bundle".to_owned(), house.tandem(&bundle).out));
        said.push(("bad.json".to_owned(), std::fs::read_to_string(house.path().join("bad.json")).unwrap()));
        std::fs::remove_file(house.path().join("bad.json")).unwrap();
    }

    house.write("tandem.toml", &good);
    let server = house.try_serve_with("trace").unwrap_or_else(|why| panic!("{why:?}"));
    server.ok(&["map", "run", "orders", "--no-initial-sync", "--wait"]);
    postgres.sql_blocking("erp", "INSERT INTO orders VALUES (1, 'a')");
    server.until(&["map", "show", "orders"], |map| map["flows"][0]["applied"] == 1);
    // From here on nobody is let in.
    postgres.sql_blocking("postgres", "ALTER ROLE tandem PASSWORD 'another'");
    postgres.sql_blocking(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tandem'",
    );
    let is_refused = |page: &Json| page.to_string().contains("password authentication failed");
    server.until(&["map", "show", "orders"], is_refused);

    let id = server.pid();
    for file in ["cmdline", "comm", "status"] {
        let path = format!("/proc/{id}/{file}");
        said.push((path.clone(), String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
    }
    for (method, path, _, _) in routes(&server) {
        let path = path.replace("customers", "orders");
        // The answer to the first does not end.
        if path != "/api/v1/events" && method == "GET" {
            said.push((path.clone(), ask(&server, &method, &path, "", "").text));
        }
    }
    for (path, body) in
        [("/api/v1/maps/orders/pause", "{}"), ("/api/v1/maps/orders/verify", "{}"), ("/api/v1/reload", "{}")]
    {
        said.push((
            path.to_owned(),
            ask(&server, "POST", path, "Content-Type: application/json\r\n", body).text,
        ));
    }
    for args in [
        &["map", "show", "orders"][..],
        &["app", "list"],
        &["check"],
        &["bundle", "help.json", "--check"],
        &["activity"],
    ] {
        let ran = server.tandem(args);
        said.push((args.join(" "), ran.out + &ran.err));
    }
    said.push(("release".to_owned(), tandem(house.path(), &["guard", "release", "--sql"]).out));
    said.push(("the log of the start".to_owned(), server.started().to_owned()));
    let (_, _, logged) = server.terminate();
    assert!(logged.contains("password authentication failed"), "it is about something");
    said.push(("the log".to_owned(), logged));
    said.extend(held(house.path(), &["password"]));
    assert!(said.iter().any(|(place, _)| place.ends_with("help.json")), "the bundle was looked through");
    for (place, text) in said {
        assert!(!text.contains(PASSWORD), "{place} has the password");
        let encoded = PASSWORD.replace('-', "%2D");
        assert!(!text.contains(&encoded), "{place} has the password");
    }
}

/// Memory holds all of them, so a crash must not write it into a file.
#[test]
fn a_crash_leaves_no_core_file_behind() {
    let house = House::new();
    let server = house.serve();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
}
