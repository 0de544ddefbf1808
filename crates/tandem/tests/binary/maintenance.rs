//! What a source refuses while a map is paused or its queue is full, on real servers and files.

use crate::house::{House, PATIENCE, Server, until_equal};
use crate::postgres::{run, trouble, until, world};
use serde_json::Value as Json;
use std::time::Instant;
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// Waits until a condition of a map is well, and returns what is said.
#[track_caller]
pub(crate) fn well(server: &Server, map: &str, kind: &str) -> String {
    let said = |map: &Json| {
        let conditions = map["conditions"].as_array()?;
        let found = conditions.iter().find(|found| found["type"] == kind && found["well"] == true)?;
        Some(found["reason"].as_str()?.to_owned())
    };
    said(&server.until(&["map", "show", map], |map| said(map).is_some())).unwrap()
}

/// What PostgreSQL says to a user whose statement it refuses.
pub(crate) fn refused(server: &PostgresServer, statement: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect("erp").await;
        let error = client.batch_execute(statement).await.expect_err("it is refused");
        let error = error.as_db_error().expect("the server refuses it");
        format!("{} {}", error.message(), error.hint().unwrap_or_default())
    })
}

/// Waits until a statement goes through again.
pub(crate) fn until_allowed(server: &PostgresServer, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect("erp").await;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = client.batch_execute(statement).await {
            assert!(Instant::now() < deadline, "{statement}: {error:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn deletes_are_refused_in_the_source_while_a_map_is_paused_and_pass_again_after() {
    let (house, server) = world(PostgresOptions::default());
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\ndeletes = \"queue\"",
        "name = \"orders\"\ndepends_on = [\"customers\"]",
    );
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO orders VALUES (1, NULL, 5), (2, NULL, 6)");
    until(&server, "crm", "SELECT count(*) FROM orders", &["2"]);

    tandem.ok(&["map", "pause", "orders", "--wait"]);
    let said = well(&tandem, "orders", "GuardArmed");
    assert!(said.contains("deletes on public.orders are refused"), "{said}");
    let said = refused(&server, "DELETE FROM orders WHERE order_no = 2");
    for part in ["orders", "2", "queued state", "tandem map resume orders"] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    // Everything else passes, and is queued; the guard outlives the engine.
    server.sql_blocking(
        "erp",
        "UPDATE orders SET total = 7 WHERE order_no = 2; INSERT INTO orders VALUES (3, NULL, 8)",
    );
    tandem.kill();
    assert!(refused(&server, "TRUNCATE orders").contains("queued state"));

    let tandem = house.serve();
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 2);
    tandem.ok(&["map", "resume", "orders", "--wait"]);
    until_allowed(&server, "DELETE FROM orders WHERE order_no = 2");
    until(&server, "crm", "SELECT order_no FROM orders ORDER BY 1", &["1", "3"]);
    let shown = tandem.ok(&["map", "show", "orders"]);
    assert!(
        shown["conditions"].as_array().unwrap().iter().all(|found| found["type"] != "GuardArmed"),
        "{shown}"
    );

    // Whoever stops leaves nothing behind, guards included.
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    well(&tandem, "orders", "GuardArmed");
    tandem.ok(&["map", "stop", "orders", "--queue", "discard", "--yes"]);
    tandem.ok(&["map", "stop", "customers"]);
    until(&server, "erp", "SELECT count(*) FROM pg_namespace WHERE nspname = 'tandem'", &["0"]);
    until(&server, "erp", "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal", &["0"]);
}

/// The engine is gone for good: what it left in the source is taken out by hand, with what the binary prints.
#[test]
fn a_source_is_freed_of_a_guard_without_an_engine() {
    let (house, server) = world(PostgresOptions::default());
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\ndeletes = \"queue\"",
        "name = \"orders\"\ndepends_on = [\"customers\"]",
    );
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO orders VALUES (1, NULL, 5)");
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    well(&tandem, "orders", "GuardArmed");
    let standing = tandem.ok(&["guard", "list"]);
    assert_eq!(standing["items"][0]["table"], "public.orders");
    assert_eq!(
        (&standing["items"][0]["app"], &standing["items"][0]["refuses"]),
        (&"erp".into(), &"deletes".into())
    );
    tandem.kill();
    until(&server, "erp", "SELECT active FROM pg_replication_slots", &["f"]);

    house.tandem(&["guard", "release", "--sql", "nowhere"]).ended(5, "there is no app nowhere");
    let told = house.tandem(&["guard", "release", "--sql", "erp", "-o", "json"]).ended(0, "").json();
    server.sql_blocking("erp", told["items"][0]["sql"].as_str().unwrap());
    server.sql_blocking("erp", "DELETE FROM orders");
    for what in [
        "pg_replication_slots",
        "pg_publication",
        "pg_namespace WHERE nspname = 'tandem'",
        "pg_trigger WHERE NOT tgisinternal",
    ] {
        until(&server, "erp", &format!("SELECT count(*) FROM {what}"), &["0"]);
    }
}

/// The main use: pause, change the other app, edit the map, resume.
#[test]
fn a_destination_is_changed_and_its_map_edited_while_it_is_paused() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz')");
    until(&server, "crm", "SELECT ext_no, town FROM accounts", &["K1|Graz"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES ('K2', 'Bob', 'Brno'); UPDATE customers SET city = 'Linz'",
    );
    server.sql_blocking(
        "crm",
        "ALTER TABLE accounts RENAME COLUMN town TO place; ALTER TABLE accounts ADD since date",
    );

    let refused = tandem.tandem(&["map", "resume", "customers"]).ended(3, "town");
    assert!(refused.err.contains("nothing was changed"), "{refused:?}");
    assert_eq!(tandem.ok(&["map", "show", "customers"])["state"], "paused");
    assert_eq!(tandem.terminate().0, Some(0));

    // What a queue was captured by stays as it is.
    house.edit("table = \"public.customers\"", "table = \"public.orders\"");
    let (code, said) = house.try_serve().err().unwrap();
    assert!(code == Some(3) && said.contains("declared differently"), "{code:?} {said}");
    house.edit(
        "left = { app = \"erp\", table = \"public.orders\", key = [\"customer_no\"]",
        "left = { app = \"erp\", table = \"public.customers\", key = [\"customer_no\"]",
    );

    house.edit("right = \"town\"", "right = \"place\"");
    let tandem = house.serve();
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K3', 'Cyd', 'Lyon')");
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    let rows = ["K1|Linz", "K2|Linz", "K3|Lyon"];
    until(&server, "crm", "SELECT ext_no, place FROM accounts ORDER BY 1", &rows);
    tandem.ok(&["map", "wait", "orders", "--for", "running"]);
}

#[test]
fn a_plan_tells_what_goes_along_and_what_stands_in_the_way_and_changes_nothing() {
    let house = House::new();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let plan = tandem.ok(&["map", "plan", "pause", "customers"]);
    let maps: Vec<(&str, &str, bool)> = plan["maps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|map| (map["name"].as_str().unwrap(), map["to"].as_str().unwrap(), map["goes_along"] == true))
        .collect();
    assert_eq!(maps, [("customers", "paused", false), ("orders", "paused", true)]);
    let list = tandem.ok(&["map", "list"]);
    assert!(list["items"].as_array().unwrap().iter().all(|map| map["state"] == "running"), "{list}");

    tandem.ok(&["map", "pause", "customers", "--wait"]);
    house.app("erp").execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    let lost = tandem.tandem(&["map", "plan", "stop", "customers", "--queue", "discard"]).ended(0, "");
    assert!(lost.out.contains("the queue is lost"), "{lost:?}");
    tandem
        .tandem(&["map", "plan", "resume", "orders"])
        .ended(3, "depends on customers, which must be live first");
    tandem.tandem(&["map", "plan", "pause", "nowhere"]).ended(5, "there is no map nowhere");
}

/// One app goes down for maintenance: all of its maps, in one action.
#[test]
fn an_app_is_paused_and_resumed_with_all_of_its_maps() {
    let house = House::new();
    let tandem = house.serve();
    tandem.tandem(&["app", "pause", "crm"]).ended(3, "no map of crm is in a state to pause");
    tandem.tandem(&["app", "pause", "nowhere"]).ended(5, "there is no app nowhere");
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let accepted = tandem.ok(&["app", "pause", "crm", "--wait", "--reason", "upgrade"]);
    let states: Vec<&str> =
        accepted["maps"].as_array().unwrap().iter().map(|map| map["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["paused", "paused"]);
    house.app("erp").execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    tandem.ok(&["app", "resume", "crm", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 1);
    assert_eq!(tandem.ok(&["app", "list"])["items"].as_array().unwrap().len(), 2);
}

/// Whoever resumes a map and its dependent together means both, also if only the pause of the first holds the other.
#[test]
fn a_map_that_is_paused_with_its_parent_is_resumed_with_it_by_name_in_every_way() {
    let house = House::new();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let erp = house.app("erp");
    let queue = |key: u64| {
        tandem.ok(&["map", "pause", "customers", "--wait"]);
        tandem.ok(&["map", "wait", "orders", "--for", "paused"]);
        erp.execute(&format!("INSERT INTO customers VALUES ('K{key}', 'Ann')"), []).unwrap();
        tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    };
    queue(1);
    tandem.ok(&["app", "resume", "crm", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 1);

    queue(2);
    let preserve = ["map", "resume", "customers", "orders", "--mode", "skip-preserve", "--wait"];
    let accepted = tandem.ok(&preserve);
    assert_eq!(accepted["maps"].as_array().unwrap().len(), 2, "{accepted}");
    tandem.until(&["error", "list", "customers"], |list| list["items"].as_array().unwrap().len() == 1);
    tandem.ok(&["error", "retry", "customers", "--all"]);
    assert_eq!(until_equal(&house, "customers"), 2);

    queue(3);
    tandem.ok(&["map", "resume", "customers", "orders", "--mode", "skip-discard", "--yes", "--wait"]);
    let states = tandem.ok(&["map", "list"]);
    assert!(states["items"].as_array().unwrap().iter().all(|map| map["state"] == "running"), "{states}");
    assert_eq!(tandem.ok(&["queue", "stats", "customers"])["records"], 0);
}

/// A transaction that holds the table makes a guard wait, and never a pause.
#[test]
fn a_pause_takes_effect_although_its_guard_cannot_be_armed_yet() {
    let (house, server) = world(PostgresOptions::default());
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\ndeletes = \"queue\"",
        "name = \"orders\"\ndepends_on = [\"customers\"]",
    );
    let tandem = run(&house);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let long = runtime.block_on(server.connect("erp"));
    runtime.block_on(long.batch_execute("BEGIN; INSERT INTO orders VALUES (1, NULL, 5)")).unwrap();

    let begun = Instant::now();
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    assert!(begun.elapsed().as_secs() < 5, "a pause waits for nobody: {:?}", begun.elapsed());
    let shown = tandem.until(&["map", "show", "orders"], |map| {
        trouble(map, "GuardArmed").is_some_and(|(reason, _)| reason.contains("queued meanwhile"))
    });
    let pid = runtime.block_on(long.query_one("SELECT pg_backend_pid()::text", &[])).unwrap();
    let (reason, _) = trouble(&shown, "GuardArmed").unwrap();
    assert!(reason.contains(pid.get::<_, &str>(0)), "who is in the way is named: {reason}");

    runtime.block_on(long.batch_execute("DELETE FROM orders WHERE order_no = 1; COMMIT")).unwrap();
    well(&tandem, "orders", "GuardArmed");
    // What was deleted before the guard stood is queued like everything else.
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 2);
}

#[test]
fn a_queue_that_is_full_blocks_writes_in_the_source_until_it_has_caught_up() {
    let (house, server) = world(PostgresOptions::default());
    house.edit("name = \"orders\"\n", "name = \"orders\"\nlimits = { max_queue_bytes = \"4kB\" }\n");
    let tandem = run(&house);
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    let insert = |from: u32, count: u32| {
        format!(
            "INSERT INTO orders SELECT no, NULL, 1 FROM generate_series({from}, {}) AS no",
            from + count - 1
        )
    };
    server.sql_blocking("erp", &insert(1, 300));
    let shown = tandem.until(&["map", "show", "orders"], |map| trouble(map, "SoftLimit").is_some());
    let (reason, _) = trouble(&shown, "SoftLimit").unwrap();
    assert!(reason.contains("max_queue_bytes"), "{reason}");

    // Twice the limit in one transaction: what was accepted is kept, whatever its size.
    server.sql_blocking("erp", &insert(1_001, 1_000));
    let shown = tandem.until(&["map", "show", "orders"], |map| trouble(map, "WritesBlocked").is_some());
    let (reason, fix) = trouble(&shown, "WritesBlocked").unwrap();
    assert!(
        reason.contains("the queue is full") && fix.contains("tandem map resume orders"),
        "{reason}: {fix}"
    );
    assert!(shown["holds"].as_array().unwrap().iter().any(|hold| hold["kind"] == "limit"), "{shown}");
    let said = refused(&server, &insert(5_000, 1));
    assert!(said.contains("full") && said.contains("queued state") && said.contains("resume"), "{said}");
    // The other map feels nothing of it.
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    // Nor does a restart open the way.
    tandem.kill();
    let tandem = house.serve();
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 1_300);
    assert!(refused(&server, &insert(5_000, 1)).contains("full"));

    tandem.ok(&["map", "resume", "orders", "--wait"]);
    until_allowed(&server, &insert(5_000, 1));
    until(&server, "crm", "SELECT count(*), count(DISTINCT order_no) FROM orders", &["1301|1301"]);
    let shown = tandem.until(&["map", "show", "orders"], |map| trouble(map, "WritesBlocked").is_none());
    assert_eq!(shown["holds"].as_array().unwrap().len(), 0, "{shown}");
}

/// The limit pauses a map that is behind, and with it what depends on it; a person resumes it, nobody else.
#[test]
fn a_running_map_whose_destination_is_away_too_long_is_paused_by_its_limit() {
    let house = House::new();
    house.edit("name = \"customers\"\n", "name = \"customers\"\nlimits = { max_pause_age = \"2s\" }\n");
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let crm = house.app("crm");
    crm.execute_batch("BEGIN IMMEDIATE").unwrap();
    let erp = house.app("erp");
    erp.execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    assert_eq!(shown["holds"][0]["kind"], "limit", "{shown}");
    assert!(shown["holds"][0]["reason"].as_str().unwrap().contains("max_pause_age is reached"), "{shown}");
    let child = tandem.until(&["map", "show", "orders"], |map| map["state"] == "paused");
    assert_eq!(
        (&child["holds"][0]["kind"], &child["holds"][0]["name"]),
        (&"parent".into(), &"customers".into())
    );
    tandem.until(&["map", "show", "customers"], |map| trouble(map, "WritesBlocked").is_some());
    let said = erp.execute("UPDATE customers SET name = 'Anna'", []).unwrap_err().to_string();
    assert!(said.contains("full"), "{said}");

    crm.execute_batch("COMMIT").unwrap();
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 1);
    tandem.ok(&["map", "wait", "orders", "--for", "running"]);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = erp.execute("UPDATE customers SET name = 'Anna'", []) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let events = log["items"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap());
    assert!(events.into_iter().any(|event| event == "map.limit_reached"), "{log}");
}

#[test]
fn a_sqlite_file_refuses_deletes_of_a_paused_map() {
    let house = House::new();
    house.edit("depends_on = [\"customers\"]\ndeletes = \"queue\"", "depends_on = [\"customers\"]");
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 5)")
        .unwrap();
    assert_eq!(until_equal(&house, "orders"), 1);
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    well(&tandem, "orders", "GuardArmed");
    let said = erp.execute("DELETE FROM orders", []).unwrap_err().to_string();
    assert!(said.contains("orders") && said.contains("queued state"), "{said}");
    erp.execute("UPDATE orders SET cents = 6", []).unwrap();
    tandem.ok(&["map", "resume", "orders", "--wait"]);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = erp.execute("DELETE FROM orders", []) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(until_equal(&house, "orders"), 0);
}
