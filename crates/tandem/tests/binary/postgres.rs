//! The same between real PostgreSQL servers: the main use, and everything that may be wrong with a server.

use crate::house::{House, PATIENCE};
use crate::metrics::until_figure;
use serde_json::Value as Json;
use std::time::Instant;
use tandem_proof_servers::{PostgresOptions, PostgresServer, Rows};

const ERP: &str = "
CREATE TABLE customers (customer_no text PRIMARY KEY, name text NOT NULL, city text);
CREATE TABLE orders (order_no bigint PRIMARY KEY, customer_no text REFERENCES customers, total numeric(12,2));
";
const CRM: &str = "
CREATE TABLE accounts (ext_no text PRIMARY KEY, display_name text NOT NULL, town text);
CREATE TABLE orders (order_no bigint PRIMARY KEY, account_no text REFERENCES accounts, total numeric(12,2));
";
/// What the README tells people to give to Tandem's own role.
const ROLE: &str = "CREATE ROLE tandem LOGIN REPLICATION PASSWORD 'from the vault: @/?';";

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[apps.erp]
url = "postgres://tandem:${file:password}@127.0.0.1:PORT/erp?sslmode=disable"
[apps.crm]
url = "postgres://tandem:${file:password}@127.0.0.1:PORT/crm?sslmode=disable"
[[maps]]
name = "customers"
deletes = "queue"
left = { app = "erp", table = "public.customers", key = ["customer_no"] }
right = { app = "crm", table = "public.accounts", key = ["ext_no"] }
columns = [
  { left = "customer_no", right = "ext_no" },
  { left = "name", right = "display_name" },
  { left = "city", right = "town" },
]
[[maps]]
name = "orders"
depends_on = ["customers"]
deletes = "queue"
left = { app = "erp", table = "public.orders", key = ["order_no"] }
right = { app = "crm", table = "public.orders", key = ["order_no"] }
columns = [
  { left = "order_no", right = "order_no" },
  { left = "customer_no", right = "account_no" },
  { left = "total", right = "total" },
]
"#;

/// A server with both databases, and a config for them. Tandem's role has what the README gives it.
pub(crate) fn world(options: PostgresOptions) -> (House, PostgresServer) {
    let server = PostgresServer::start_new(options);
    server.sql_blocking("postgres", ROLE);
    for (database, tables) in [("erp", ERP), ("crm", CRM)] {
        server.sql_blocking("postgres", &format!("CREATE DATABASE {database} OWNER tandem"));
        server.sql_blocking(database, &format!("SET ROLE tandem; {tables}"));
    }
    let house = House::new();
    house.write("password", "from the vault: @/?\n");
    house.write("tandem.toml", &CONFIG.replace("PORT", &server.port().to_string()));
    (house, server)
}

pub(crate) fn until(server: &PostgresServer, database: &str, query: &str, wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows: Rows = server.sql_blocking(database, query);
        let seen: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("∅")).collect::<Vec<_>>().join("|"))
            .collect();
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {seen:?}, not {wanted:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

pub(crate) fn run(house: &House) -> crate::house::Server {
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    tandem
}

#[test]
fn postgresql_to_postgresql_is_kept_in_step_through_pause_restart_and_an_outage() {
    let (house, mut server) = world(PostgresOptions::default());
    house.tandem(&["check"]).ended(0, "2 apps, 2 maps: 0 errors");
    let tandem = run(&house);
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz'), ('K2', 'Bob', NULL); INSERT INTO orders VALUES (1, 'K1', 12.30)",
    );
    until(&server, "crm", "SELECT * FROM accounts ORDER BY 1", &["K1|Ann|Graz", "K2|Bob|∅"]);
    until(&server, "crm", "SELECT * FROM orders", &["1|K1|12.30"]);

    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking(
        "erp",
        "BEGIN; UPDATE customers SET city = 'Brno' WHERE customer_no = 'K2'; INSERT INTO orders VALUES (2, 'K2', 9.99); COMMIT;
         DELETE FROM orders WHERE order_no = 1",
    );
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 2);
    // The source has let go of what is queued here: its log is not held back by the pause.
    let let_go = "SELECT confirmed_flush_lsn > '0/0' AND pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) < 10000 FROM pg_replication_slots";
    until(&server, "erp", let_go, &["t"]);
    until(&server, "crm", "SELECT * FROM orders", &["1|K1|12.30"]);
    tandem.kill();

    let tandem = house.serve();
    server.restart();
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K3', 'Cyd', 'Lyon')");
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    until(&server, "crm", "SELECT * FROM orders", &["2|K2|9.99"]);
    until(&server, "crm", "SELECT ext_no, town FROM accounts ORDER BY 1", &["K1|Graz", "K2|Brno", "K3|Lyon"]);

    // Killed right after the stop: the next start takes apart what is left, above all the slot.
    tandem.ok(&["map", "stop", "orders", "customers"]);
    tandem.kill();
    let _next = house.serve();
    for (database, what) in [
        ("erp", "pg_replication_slots"),
        ("erp", "pg_publication"),
        ("erp", "pg_namespace WHERE nspname = 'tandem'"),
        ("crm", "pg_namespace WHERE nspname = 'tandem'"),
    ] {
        until(&server, database, &format!("SELECT count(*) FROM {what}"), &["0"]);
    }
}

#[test]
fn no_value_and_no_password_is_logged_however_much_is_asked_for() {
    let (house, server) = world(PostgresOptions::default());
    let Ok(tandem) = house.try_serve_with("trace") else { panic!("it serves") };
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K-4711', 'Zacharias', 'Xanten')");
    until(&server, "crm", "SELECT town FROM accounts", &["Xanten"]);
    let (code, _, said) = tandem.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("state changed"), "something is logged: {said}");
    for secret in ["K-4711", "Zacharias", "Xanten", "from the vault", "from%20the%20vault"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is logged");
    }
}

#[track_caller]
fn found(house: &House, code: &str) -> Json {
    let ran = house.tandem(&["check", "-o", "json"]).ended(3, "");
    let items = ran.json()["items"].as_array().unwrap().clone();
    let error = items.iter().find(|item| item["code"] == code && item["severity"] == "error");
    error.unwrap_or_else(|| panic!("no {code} in {items:?}")).clone()
}

#[test]
fn a_wrong_password_and_a_server_that_is_away_are_named_and_no_secret_is() {
    let (house, mut server) = world(PostgresOptions::default());
    house.write("password", "hunter2");
    let error = found(&house, "app_auth");
    assert_eq!(error["place"], "app crm");
    assert!(error["fix"].is_string() && !error.to_string().contains("hunter2"), "{error}");
    let tandem = house.serve();
    let ran = tandem
        .tandem(&["map", "run", "customers", "--no-initial-sync"])
        .ended(1, "password authentication failed");
    assert!(ran.err.contains("fix: ") && !ran.err.contains("hunter2"), "{ran:?}");
    server.stop();
    let ran = house.tandem(&["check"]).ended(3, "");
    assert!(ran.out.contains("app crm") && ran.out.contains("app erp"), "both are away: {ran:?}");
}

#[test]
fn what_the_server_lacks_is_found_with_the_sql_that_mends_it() {
    let (house, server) = world(PostgresOptions { logical: false, ..PostgresOptions::default() });
    let ran = house.tandem(&["check"]).ended(3, "");
    assert!(ran.out.contains("ALTER SYSTEM SET wal_level"), "{ran:?}");
    let tandem = house.serve();
    tandem.tandem(&["map", "run", "customers", "--no-initial-sync"]).ended(3, "ALTER SYSTEM SET wal_level");

    server.sql_blocking("postgres", "ALTER ROLE tandem NOREPLICATION");
    let ran = house.tandem(&["check"]).ended(3, "");
    assert!(ran.out.contains("REPLICATION"), "{ran:?}");

    server.sql_blocking("erp", "ALTER TABLE customers REPLICA IDENTITY NOTHING");
    let ran = house.tandem(&["check"]).ended(3, "");
    assert!(ran.out.contains("REPLICA IDENTITY"), "{ran:?}");

    server.sql_blocking("crm", "ALTER TABLE accounts DROP COLUMN town; ALTER TABLE orders OWNER TO postgres");
    let ran = house.tandem(&["check"]).ended(3, "");
    assert!(ran.out.contains("there is no column town"), "{ran:?}");
    assert!(ran.out.contains("GRANT"), "{ran:?}");
    assert!(!house.path().join("tandem-data/journal").exists());
}

/// A file that may not grow is to a journal what a full disk is. Nothing is acknowledged that was not written; with
/// room again, everything is there.
#[test]
fn a_journal_that_cannot_be_written_stops_acknowledging_and_loses_nothing() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    assert_eq!(tandem.terminate().0, Some(0));

    let tandem = house.serve_with_files_up_to(2 << 20);
    for from in [0, 200] {
        let many = format!("generate_series({from}, {}) AS no", from + 199);
        let insert =
            format!("INSERT INTO customers SELECT 'K' || no, repeat('secret', 2000), NULL FROM {many}");
        server.sql_blocking("erp", &insert);
    }
    let shown = tandem.until(&["map", "show", "customers"], |map| trouble(map, "DiskFailed").is_some());
    let (reason, fix) = trouble(&shown, "DiskFailed").unwrap();
    assert!(reason.contains("journal") && fix.contains("restart"), "{reason}: {fix}");
    until_figure(&tandem, r#"tandem_queue_fsync_failures_total{source="erp",destination="crm"}"#, 1.0);
    let (code, _, log) = tandem.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("secret"), "no value is logged: {log}");

    let tandem = house.serve();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 400);
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    until(&server, "crm", "SELECT count(*), count(DISTINCT ext_no) FROM accounts", &["400|400"]);
}

/// The reason and the fix of a trouble that a map shows.
pub(crate) fn trouble(map: &Json, kind: &str) -> Option<(String, String)> {
    let found =
        map["conditions"].as_array()?.iter().find(|found| found["type"] == kind && found["well"] == false)?;
    Some((found["reason"].as_str()?.to_owned(), found["fix"].as_str().unwrap_or_default().to_owned()))
}

/// Somebody reads our slot while we are away: it is said who, and when they are gone it goes on by itself.
#[test]
fn a_slot_that_somebody_else_reads_is_named_and_waited_for() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    assert_eq!(tandem.terminate().0, Some(0));
    until(&server, "erp", "SELECT active FROM pg_replication_slots", &["f"]);
    let names =
        server.sql_blocking("erp", "SELECT slot_name, pubname FROM pg_replication_slots, pg_publication");
    let name = |column: usize| names[0][column].clone().unwrap();
    let mut stranger = server
        .program("pg_recvlogical")
        .args(["--start", "--slot", &name(0), "-f", "-", "-o", "proto_version=1"])
        .args(["-o", &format!("publication_names={}", name(1)), "-d", &server.url("erp")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(&server, "erp", "SELECT active FROM pg_replication_slots", &["t"]);

    let tandem = house.serve();
    let shown = tandem.until(&["map", "show", "customers"], |map| trouble(map, "SourceConnected").is_some());
    let (reason, fix) = trouble(&shown, "SourceConnected").unwrap();
    assert!(reason.contains(&name(0)) && !fix.is_empty(), "{reason}: {fix}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
}

#[test]
fn a_slot_that_is_gone_is_a_gap_and_never_passed_over() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    let (code, _, said) = tandem.terminate();
    assert_eq!(code, Some(0), "{said}");
    // The server notices a moment later that nobody reads any more.
    until(&server, "erp", "SELECT active FROM pg_replication_slots", &["f"]);
    server.sql_blocking("erp", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K2', 'Bob', NULL)");

    let tandem = house.serve();
    let shown = tandem.until(&["map", "show", "customers"], |map| {
        let conditions = map["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["type"] == "GapDetected" && condition["status"] == true)
    });
    let gap =
        shown["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "GapDetected");
    assert!(gap.unwrap()["fix"].is_string(), "{shown}");
    // The map pauses for it, to the end.
    tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
}

#[test]
fn a_second_engine_with_another_data_folder_is_refused_by_the_app() {
    let (house, _server) = world(PostgresOptions::default());
    let _first = run(&house);
    house.edit("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:0\"\ndata_dir = \"other\"");
    let second = house.serve();
    second.ok(&["map", "run", "customers", "--no-initial-sync"]);
    let shown = second.until(&["map", "show", "customers"], |map| {
        let conditions = map["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["well"] == false)
    });
    assert_eq!(shown["state"], "initializing");
    assert!(shown["conditions"][0]["reason"].as_str().unwrap().contains("another"), "{shown}");
}
