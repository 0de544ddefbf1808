//! Catch-up errors: a queue that is skipped and preserved, errors that are tried again, superseded, waiting, deleted.

use crate::house::{House, Server, items, running, until_equal};
use crate::http::{JSON, ask};
use crate::postgres::{run, until, world};
use serde_json::Value as Json;
use std::time::Instant;
use tandem_proof_servers::PostgresOptions;

/// The errors of a map, each by its key and how it stands.
fn errors(server: &Server, map: &str, more: &[&str]) -> Vec<String> {
    let page = server.ok(&[&["error", "list", map], more].concat());
    let shown = |error: &Json| format!("{} {}", error["key"][0], error["status"].as_str().unwrap());
    items(&page).iter().map(shown).collect()
}

/// The CRM takes no order of more than 99 cents.
fn refuse_dear_orders(house: &House) {
    let trigger = "CREATE TRIGGER dear BEFORE INSERT ON orders WHEN NEW.cents > 99 BEGIN SELECT RAISE(ABORT, 'too dear'); END;";
    house.app("crm").execute_batch(trigger).unwrap();
}

/// How many errors a map has that something is still to become of.
fn total(map: &Json) -> u64 {
    ["open", "waiting", "retrying"].iter().map(|status| map["errors"][status].as_u64().unwrap()).sum()
}

/// What the activity log says of an event, the newest entry.
fn told(server: &Server, event: &str) -> String {
    let log = server.until(&["activity"], |log| items(log).iter().any(|entry| entry["event"] == event));
    let entry = items(&log).iter().find(|entry| entry["event"] == event).unwrap();
    entry["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_queue_that_is_preserved_becomes_errors_and_a_retry_applies_them_in_order() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz'), ('K2', 'Bob', 'Linz'), ('K3', 'Cyd', NULL);
         UPDATE customers SET name = 'Anna' WHERE customer_no = 'K1'",
    );
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 4);
    tandem
        .tandem(&["map", "resume", "customers", "--mode", "skip-preserve", "--expected", "3"])
        .ended(3, "4 records are queued now, not 3");
    tandem.ok(&["map", "resume", "customers", "--mode", "skip-preserve", "--expected", "4", "--wait"]);
    let told_of = told(&tandem, "queue.preserved");
    assert!(told_of.starts_with("4 queued records"), "{told_of}");

    // Live at once; what was queued are errors, in source order.
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K4', 'Dan', NULL)");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K4"]);
    let shown = tandem.until(&["map", "show", "customers"], |map| total(map) == 4);
    assert_eq!((&shown["state"], &shown["queue"]["records"]), (&"running".into(), &0.into()));
    assert!(shown["errors"]["preserved_bytes"].as_u64().unwrap() > 0, "{shown}");
    let open = ["\"K1\" open", "\"K2\" open", "\"K3\" open", "\"K1\" open"];
    assert_eq!(errors(&tandem, "customers", &[]), open);
    let first = tandem.ok(&["error", "list", "customers", "--limit", "1"]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(errors(&tandem, "customers", &["--after", next]), open[1..]);
    let error = &items(&first)[0];
    assert_eq!((&error["code"], &error["attempts"]), (&"preserved".into(), &0.into()), "{error}");
    let id = error["id"].as_str().unwrap();
    let full = tandem.ok(&["error", "show", id]);
    assert_eq!(full["image"]["values"]["display_name"], "Ann", "{full}");
    assert_eq!(errors(&tandem, "customers", &["--key", "K1"]).len(), 2);
    assert_eq!(errors(&tandem, "customers", &["--status", "completed"]).len(), 0);
    let causes = tandem.ok(&["error", "list", "--by-cause"]);
    assert_eq!((&items(&causes)[0]["errors"], &items(&causes)[0]["code"]), (&4.into(), &"preserved".into()));
    let exported = tandem.tandem(&["error", "export", "customers"]).ended(0, "").out;
    assert_eq!(exported.lines().count(), 4, "{exported}");

    // They outlive the engine, and become what their source said, in its order.
    tandem.kill();
    let tandem = house.serve();
    tandem.until(&["map", "show", "customers"], |map| total(map) == 4);
    tandem.ok(&["error", "retry", "customers", "--all", "--wait"]);
    let rows = "SELECT ext_no, display_name FROM accounts ORDER BY 1";
    until(&server, "crm", rows, &["K1|Anna", "K2|Bob", "K3|Cyd", "K4|Dan"]);
    let told_of = told(&tandem, "errors.retried");
    assert!(told_of.contains("of 4 errors, 0 were refused again; 0 are open"), "{told_of}");
    let shown = tandem.until(&["map", "show", "customers"], |map| total(map) == 0);
    assert_eq!(shown["errors"]["preserved_bytes"], 0, "{shown}");
    tandem.tandem(&["error", "retry", "customers", "--all"]).ended(3, "it has no such error");
}

/// A later change that says all of a record makes its older error pointless; one that says a part waits behind it.
#[test]
fn a_live_change_supersedes_an_older_error_or_waits_behind_it() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    let text = |letter: char| {
        format!("(SELECT string_agg(md5('{letter}' || n), '') FROM generate_series(1, 400) AS n)")
    };
    server.sql_blocking("erp", "ALTER TABLE customers ALTER COLUMN city SET STORAGE EXTERNAL");
    server.sql_blocking("crm", "ALTER TABLE accounts ADD CONSTRAINT short CHECK (display_name <> 'bad')");
    server.sql_blocking(
        "erp",
        &format!(
            "INSERT INTO customers VALUES ('K1', 'bad', NULL), ('K2', 'bad', {}), ('K3', 'bad', NULL), ('K4', 'bad', NULL)",
            text('a')
        ),
    );
    tandem.until(&["map", "show", "customers"], |map| total(map) == 4);
    // K1 whole; K2 without its large column; K3 is taken away; K4 gets another key.
    server.sql_blocking(
        "erp",
        "UPDATE customers SET name = 'Ann' WHERE customer_no = 'K1'; UPDATE customers SET name = 'Bob' WHERE customer_no = 'K2';
         DELETE FROM customers WHERE customer_no = 'K3'; UPDATE customers SET customer_no = 'K5', name = 'Eve' WHERE customer_no = 'K4';
         INSERT INTO customers VALUES ('K9', 'last', NULL)",
    );
    until(&server, "crm", "SELECT ext_no, display_name FROM accounts ORDER BY 1", &["K1|Ann", "K9|last"]);
    let stands = [
        "\"K1\" superseded",
        "\"K2\" open",
        "\"K3\" superseded",
        "\"K4\" open",
        "\"K2\" waiting",
        "\"K5\" waiting",
    ];
    tandem.until(&["map", "show", "customers"], |map| total(map) == 4);
    assert_eq!(errors(&tandem, "customers", &["--status", "all"]), stands);

    // Together they are a record that the destination takes; a part of them is refused once more.
    tandem.ok(&["error", "retry", "customers", "--key", "K2", "--wait"]);
    assert_eq!(errors(&tandem, "customers", &[]), ["\"K4\" open", "\"K5\" waiting"]);
    let page = tandem.ok(&["error", "list", "customers", "--key", "K4"]);
    let id = items(&page)[0]["id"].as_str().unwrap();
    // It was tried, and a script is told that it did not help.
    let again = tandem.tandem(&["error", "retry", "customers", "--id", id, "--wait", "-o", "json"]);
    let again = again.ended(1, "of 1 errors of customers that were tried, 1 were refused again; 2 are left");
    let again = again.ended(1, "fix: tandem error list customers --by-cause");
    assert_eq!(again.json()["errors"], 1, "{again:?}");
    assert_eq!(errors(&tandem, "customers", &[]), ["\"K4\" open", "\"K5\" waiting"]);
    let tried = tandem.ok(&["error", "list", "customers", "--key", "K4"]);
    assert_eq!(items(&tried)[0]["attempts"], 2, "{tried}");

    // Mended at the destination: both go through, one behind the other.
    server.sql_blocking("crm", "ALTER TABLE accounts DROP CONSTRAINT short");
    tandem.ok(&["error", "retry", "customers", "--all", "--wait"]);
    tandem.until(&["map", "show", "customers"], |map| total(map) == 0);
    let wanted = ["K1|Ann|0", "K2|Bob|12800", "K5|Eve|0", "K9|last|0"];
    until(
        &server,
        "crm",
        "SELECT ext_no, display_name, coalesce(length(town), 0) FROM accounts ORDER BY 1",
        &wanted,
    );
    let completed = errors(&tandem, "customers", &["--status", "completed"]);
    assert_eq!(completed.len(), 4, "{completed:?}");
}

#[test]
fn errors_are_retried_and_deleted_one_by_one_and_by_filter() {
    let house = House::new();
    let tandem = running(&house);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    for no in 1..=6 {
        erp.execute("INSERT INTO customers VALUES (?1, 'x')", [format!("K{no}")]).unwrap();
    }
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 6);
    tandem.ok(&["map", "resume", "customers", "--mode", "skip-preserve", "--wait"]);
    tandem.until(&["map", "show", "customers"], |map| total(map) == 6);
    let page = tandem.ok(&["error", "list", "customers"]);
    let id = |place: usize| items(&page)[place]["id"].as_str().unwrap().to_owned();

    // A request has to say which errors it means.
    tandem.tandem(&["error", "retry", "customers"]).ended(2, "required");
    tandem.tandem(&["error", "retry", "customers", "--all", "--key", "K1"]).ended(2, "cannot be used with");
    tandem.tandem(&["error", "delete", "customers", "--all"]).ended(2, "--yes");
    let unsaid = ask(&tandem, "POST", "/api/v1/maps/customers/errors/retry", JSON, "{}");
    assert_eq!(unsaid.status, 400, "{}", unsaid.body);
    tandem.tandem(&["error", "retry", "customers", "--id", "99-1"]).ended(5, "there is no error 99-1");
    tandem.tandem(&["error", "retry", "customers", "--id", "K1"]).ended(2, "names no error");
    tandem.tandem(&["error", "cancel", "customers"]).ended(3, "no errors of it are being retried");
    tandem.tandem(&["error", "retry", "nobody", "--all"]).ended(5, "there is no map nobody");

    tandem.ok(&["error", "retry", "customers", "--id", &id(1), "--id", &id(3), "--wait"]);
    tandem.ok(&["error", "delete", "customers", "--id", &id(0), "--yes", "--reason", "a test record"]);
    tandem.ok(&["error", "retry", "customers", "--key", "K6", "--wait"]);
    tandem
        .tandem(&["error", "delete", "customers", "--key", "K5", "--yes", "--expected", "2"])
        .ended(3, "1 errors are meant now, not 2");
    assert_eq!(errors(&tandem, "customers", &[]), ["\"K3\" open", "\"K5\" open"]);
    let ended = errors(&tandem, "customers", &["--status", "completed"]);
    assert_eq!(ended, ["\"K2\" completed", "\"K4\" completed", "\"K6\" completed"]);
    let there = house.app("crm");
    let keys: Vec<String> = {
        let mut statement = there.prepare("SELECT no FROM customers ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(keys, ["K2", "K4", "K6"]);

    // What is deleted stays in the list without its values, and is never applied.
    let deleted = tandem.ok(&["error", "list", "customers", "--status", "deleted"]);
    assert_eq!((items(&deleted).len(), &items(&deleted)[0]["new"]), (1, &Json::Null), "{deleted}");
    let told_of = told(&tandem, "errors.deleted");
    assert!(told_of.starts_with("1 errors"), "{told_of}");
    tandem.ok(&["error", "delete", "customers", "--all", "--yes"]);
    tandem.until(&["map", "show", "customers"], |map| total(map) == 0);
    let told_of = told(&tandem, "queue.discarded");
    assert!(told_of.starts_with("2 queued records"), "{told_of}");
}

#[test]
fn a_map_is_stopped_with_its_queue_preserved_and_its_errors_retried_while_it_is() {
    let house = House::new();
    let tandem = running(&house);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann')").unwrap();
    assert_eq!(until_equal(&house, "customers"), 1);
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    let queue =
        "INSERT INTO orders VALUES (1, 'K1', 5), (2, 'K1', 6); UPDATE orders SET cents = 7 WHERE no = 2";
    erp.execute_batch(queue).unwrap();
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 3);
    tandem.tandem(&["map", "stop", "orders"]).ended(3, "--queue preserve");
    tandem.ok(&["map", "stop", "orders", "--queue", "preserve"]);
    let shown = tandem.until(&["map", "show", "orders"], |map| total(map) == 3);
    assert_eq!(shown["state"], "not_running", "{shown}");
    // The source is rid of the map, and nothing more is captured for it.
    erp.execute_batch("INSERT INTO orders VALUES (3, 'K1', 8)").unwrap();

    tandem.kill();
    let tandem = house.serve();
    tandem.until(&["map", "show", "orders"], |map| total(map) == 3);
    tandem.ok(&["error", "retry", "orders", "--all", "--wait"]);
    tandem.until(&["map", "show", "orders"], |map| total(map) == 0);
    let crm = house.app("crm");
    let cents: Vec<i64> = {
        let mut statement = crm.prepare("SELECT cents FROM orders ORDER BY no").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(cents, [5, 7]);
}

#[test]
fn a_map_with_errors_is_not_stopped_without_a_word_about_them() {
    let house = House::new();
    refuse_dear_orders(&house);
    let tandem = running(&house);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 500)")
        .unwrap();
    tandem.until(&["map", "show", "orders"], |map| total(map) == 1);
    tandem.tandem(&["map", "stop", "orders"]).ended(3, "has 1 catch-up errors");
    tandem.ok(&["map", "stop", "orders", "--queue", "discard", "--yes"]);
    tandem.until(&["map", "show", "orders"], |map| total(map) == 0 && map["state"] == "not_running");
}

/// Many errors, while the map goes on: its changes come in between, and none is undone by an older one.
#[test]
fn a_retry_takes_turns_with_its_map_and_can_be_cancelled() {
    const MANY: i64 = 30_000;
    let house = House::new();
    let tandem = running(&house);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch(&format!(
        "BEGIN; WITH RECURSIVE n (no) AS (SELECT 1 UNION ALL SELECT no + 1 FROM n WHERE no < {MANY})
            INSERT INTO customers SELECT printf('K%06d', no), 'old' FROM n; COMMIT"
    ))
    .unwrap();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == MANY);
    let began = Instant::now();
    tandem.ok(&["map", "resume", "customers", "--mode", "skip-preserve", "--wait"]);
    let took = began.elapsed();
    tandem.until(&["map", "show", "customers"], |map| total(map) == MANY.unsigned_abs());
    assert!(took.as_secs() < 10, "live at once: {took:?}");
    // A change of each hundredth record supersedes its error.
    erp.execute_batch("UPDATE customers SET name = 'new' WHERE no LIKE '%00'").unwrap();
    let left = MANY.unsigned_abs() - MANY.unsigned_abs() / 100;
    tandem.until(&["map", "show", "customers"], |map| total(map) == left);
    tandem.ok(&["error", "retry", "customers", "--all"]);
    tandem.tandem(&["error", "retry", "customers", "--all"]).ended(3, "being retried");
    tandem.ok(&["error", "cancel", "customers"]);
    tandem.until(&["map", "show", "customers"], |map| map["retries"].as_array().unwrap().is_empty());
    told(&tandem, "errors.retried");
    tandem.ok(&["error", "retry", "customers", "--all"]);
    for no in 0..50 {
        erp.execute("UPDATE customers SET name = 'newer' WHERE no = ?1", [format!("K{:06}", no * 571 + 1)])
            .unwrap();
    }
    tandem.until(&["map", "show", "customers"], |map| {
        total(map) == 0 && map["retries"].as_array().unwrap().is_empty()
    });
    assert_eq!(until_equal(&house, "customers"), usize::try_from(MANY).unwrap());
}

/// Entries and a preserved queue alike, and only because the config says so.
#[test]
fn old_errors_are_released_where_that_was_chosen() {
    let house = House::new();
    house.edit("name = \"orders\"\n", "name = \"orders\"\nlimits = { error_retention = \"3s\" }\n");
    refuse_dear_orders(&house);
    let tandem = running(&house);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 500)")
        .unwrap();
    tandem.until(&["map", "show", "orders"], |map| total(map) == 1);
    for map in ["customers", "orders"] {
        tandem.ok(&["map", "pause", map, "--wait"]);
    }
    erp.execute_batch(
        "INSERT INTO customers VALUES ('K2', 'Bob'); INSERT INTO orders VALUES (2, 'K1', 5), (3, 'K1', 6)",
    )
    .unwrap();
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 2);
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    tandem.ok(&["map", "resume", "customers", "orders", "--mode", "skip-preserve", "--wait"]);
    tandem.until(&["map", "show", "orders"], |map| total(map) == 0);
    let log = tandem.ok(&["activity", "--map", "orders"]);
    let released = items(&log).iter().filter(|entry| entry["event"] == "errors.released");
    let counts = released.map(|entry| {
        assert_eq!((&entry["actor"], &entry["reason"]), (&"limit".into(), &"error_retention".into()));
        entry["detail"].as_str().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 3, "{log}");
    // Nobody chose to lose the other map's.
    let shown = tandem.ok(&["map", "show", "customers"]);
    assert_eq!(total(&shown), 1, "{shown}");
}

#[test]
fn a_rule_stops_a_map_and_nothing_of_it_is_lost() {
    let house = House::new();
    house.edit(
        "[[maps]]\nname = \"customers\"",
        "[[rules]]\nname = \"enough\"\nwhen = { count = 2, within = \"1m\" }\nthen = { action = \"stop\" }\n\n[[maps]]\nname = \"customers\"",
    );
    refuse_dear_orders(&house);
    let tandem = running(&house);
    let erp = house.app("erp");
    erp.execute_batch(
        "INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 500), (2, 'K1', 600)",
    )
    .unwrap();
    let shown = tandem.until(&["map", "show", "orders"], |map| map["state"] == "not_running");
    tandem.until(&["map", "show", "orders"], |map| total(map) == 2);
    assert_eq!(tandem.ok(&["map", "show", "customers"])["state"], "running", "{shown}");
    let log = tandem.ok(&["activity", "--map", "orders"]);
    let stop = items(&log).iter().find(|entry| entry["event"] == "map.stop").expect("it was stopped");
    assert_eq!(stop["actor"], "rule enough", "{stop}");
    house.app("crm").execute_batch("DROP TRIGGER dear").unwrap();
    tandem.ok(&["error", "retry", "orders", "--all", "--wait"]);
    tandem.until(&["map", "show", "orders"], |map| total(map) == 0);
    assert_eq!(until_equal(&house, "orders"), 2);
}
