//! A gap in a source's log is passed over by nobody but a person, who finds the queue from before it as it was.

use crate::house::{Server, items};
use crate::postgres::{run, trouble, until, world};
use crate::rights;
use serde_json::Value as Json;
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const ACCEPT: [&str; 5] = ["app", "accept-gap", "erp", "--yes", "--wait"];

fn has_gap(map: &Json) -> bool {
    map["state"] == "paused" && trouble(map, "GapDetected").is_some()
}

/// Takes the slot away, which nobody reads.
fn lose_slot(server: &PostgresServer, database: &str) {
    until(
        server,
        database,
        "SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()",
        &["0"],
    );
    let ours = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
    server.sql_blocking(database, ours);
}

fn until_gap(tandem: &Server, maps: &[&str]) {
    maps.iter().for_each(|map| drop(tandem.until(&["map", "show", map], has_gap)));
}

#[test]
fn a_person_accepts_a_gap_and_the_queue_from_before_it_is_applied() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    tandem.tandem(&ACCEPT).ended(3, "has no gap in its source's log");
    tandem.tandem(&["app", "accept-gap", "nobody", "--yes"]).ended(5, "there is no app nobody");
    tandem.tandem(&["app", "accept-gap", "crm", "--yes"]).ended(2, "no map reads the log of app crm");
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K2', 'queued', NULL)");
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    assert_eq!(tandem.terminate().0, Some(0));
    lose_slot(&server, "erp");
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES ('K3', 'in the gap', NULL); DELETE FROM customers WHERE customer_no = 'K1'",
    );

    let tandem = house.serve();
    until_gap(&tandem, &["customers", "orders"]);
    let (_, fix) = trouble(&tandem.ok(&["map", "show", "customers"]), "GapDetected").unwrap();
    assert!(fix.contains("tandem app accept-gap erp"), "{fix}");
    tandem.tandem(&["map", "resume", "customers"]).ended(3, "has a gap");
    tandem.tandem(&["app", "accept-gap", "erp"]).ended(2, "nobody can be asked");
    let maps = tandem.ok(&[&ACCEPT[..], &["--reason", "the slot was dropped"]].concat())["maps"].clone();
    assert_eq!(maps.as_array().unwrap().len(), 2, "{maps}");
    // It changes no state: what is paused stays so, and what comes behind the gap is queued behind what came before it.
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K4', 'behind it', NULL)");
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 2);
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    tandem.ok(&["map", "resume", "customers", "orders", "--wait"]);
    until(&server, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K1", "K2", "K4"]);
    let verified = tandem.tandem(&["map", "verify", "customers", "-o", "json"]).ended(7, "").json();
    assert_eq!((&verified["missing_right"], &verified["missing_left"]), (&1.into(), &1.into()), "{verified}");
    tandem.ok(&["map", "verify", "customers", "--repair", "left", "--yes"]);
    until(&server, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K2", "K3", "K4"]);

    let activity = tandem.ok(&["activity", "--map", "orders"]);
    let accepted = items(&activity).iter().find(|entry| entry["event"] == "map.gap_accepted").unwrap();
    assert_eq!(accepted["reason"], "the slot was dropped");
    assert!(accepted["detail"].as_str().unwrap().contains("app erp"), "{accepted}");
    // A restart remembers nothing of it, and needs nothing.
    tandem.kill();
    let tandem = house.serve();
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K5', 'later', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K2", "K3", "K4", "K5"]);
    assert_eq!(trouble(&tandem.ok(&["map", "show", "customers"]), "GapDetected"), None);
}

/// Nothing is kept of what was asked for: a crash in the middle leaves the gap, or what is behind it.
#[test]
fn an_engine_that_is_killed_while_it_goes_on_behind_a_gap_asks_again_or_is_behind_it() {
    let (house, server) = world(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    let tandem = run(&house);
    let mut numbers = 1..;
    let mut insert = || {
        let no = numbers.next().unwrap();
        server.sql_blocking("erp", &format!("INSERT INTO customers VALUES ('K{no:02}', 'Ann', NULL)"));
    };
    insert();
    until(&server, "crm", "SELECT count(*) FROM accounts", &["1"]);
    tandem.kill();
    for pause in [0, 5, 20, 60, 150] {
        lose_slot(&server, "erp");
        insert();
        let tandem = house.serve();
        until_gap(&tandem, &["customers", "orders"]);
        tandem.ok(&["app", "accept-gap", "erp", "--yes"]);
        std::thread::sleep(std::time::Duration::from_millis(pause));
        tandem.kill();
    }
    insert();
    let tandem = house.serve();
    let shown = tandem.until(&["map", "show", "orders"], |map| {
        has_gap(map) || trouble(map, "SourceConnected").is_none() && trouble(map, "GapDetected").is_none()
    });
    if has_gap(&shown) {
        tandem.ok(&ACCEPT);
    }
    tandem.ok(&["map", "resume", "customers", "orders", "--wait"]);
    insert();
    until(&server, "crm", "SELECT max(ext_no) FROM accounts", &["K08"]);
    tandem.ok(&["map", "verify", "customers", "--repair", "left", "--yes"]);
    tandem.ok(&["map", "verify", "customers"]);
    until(&server, "crm", "SELECT count(*) FROM accounts", &["8"]);
}

/// What our own writes brought back was lost in the gap; who changes a record behind it has seen it all the same.
#[test]
fn echoes_that_are_lost_in_a_gap_make_no_conflicts() {
    let (house, server) = rights::world();
    for app in ["erp", "crm"] {
        server.sql_blocking(app, &format!("SET ROLE shop; {}", rights::documented(1)));
    }
    let tandem = house.serve();
    tandem.ok(&["map", "run", "accounts", "--wait"]);
    // The log of the one cannot be read for a while, and the other's changes are written all the same.
    server.sql_blocking("postgres", "ALTER ROLE tandem NOREPLICATION");
    server.sql_blocking(
        "erp",
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = 'erp'",
    );
    server.sql_blocking("crm", "UPDATE accounts SET name = 'right' WHERE id = 1");
    until(&server, "erp", "SELECT name FROM accounts WHERE id = 1", &["right"]);
    lose_slot(&server, "erp");
    server.sql_blocking("postgres", "ALTER ROLE tandem REPLICATION");
    until_gap(&tandem, &["accounts"]);
    tandem.ok(&ACCEPT);
    server.sql_blocking("erp", "UPDATE accounts SET name = 'left, later' WHERE id = 1");
    server.sql_blocking("crm", "UPDATE accounts SET name = 'right, later' WHERE id = 2");
    tandem.ok(&["map", "resume", "accounts", "--wait"]);
    until(
        &server,
        "crm",
        "SELECT name FROM accounts WHERE id IN (1, 2) ORDER BY id",
        &["left, later", "right, later"],
    );
    until(
        &server,
        "erp",
        "SELECT name FROM accounts WHERE id IN (1, 2) ORDER BY id",
        &["left, later", "right, later"],
    );
    tandem.ok(&["map", "verify", "accounts"]);
    assert_eq!(tandem.ok(&["map", "show", "accounts"])["conflicts"], 0);
}
