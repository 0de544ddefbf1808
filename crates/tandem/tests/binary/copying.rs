//! The initial sync: what is there before a map is run comes along, while people go on writing.

use crate::house::{House, PATIENCE, Server, items, until_equal};
use crate::twins::{Twins, config};
use serde_json::Value as Json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A value that is large and does not change often, a unique one that moves, a record that refers to its like, and two
/// tables whose maps depend on each other.
const SCHEMA: &str = "
CREATE TABLE things (id bigint PRIMARY KEY, tag int UNIQUE, body text, price numeric(12,2), data jsonb);
ALTER TABLE things ALTER body SET STORAGE EXTERNAL;
CREATE TABLE nodes (id bigint PRIMARY KEY, parent bigint REFERENCES nodes);
CREATE TABLE heads (id bigint PRIMARY KEY, tail bigint);
CREATE TABLE tails (id bigint PRIMARY KEY, head bigint REFERENCES heads);
ALTER TABLE heads ADD FOREIGN KEY (tail) REFERENCES tails;
";

fn sync_of(tandem: &Server, map: &str) -> Json {
    tandem.ok(&["map", "show", map])["initial_sync"].clone()
}

fn number(json: &Json, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("no {name}: {json}"))
}

#[test]
fn what_is_there_is_copied_while_people_write() {
    let maps = [
        ("things", ""),
        ("nodes", ""),
        ("heads", "depends_on = [\"tails\"]"),
        ("tails", "depends_on = [\"heads\"]"),
    ];
    let twins = Twins::new(SCHEMA, &maps);
    twins.erp(
        "INSERT INTO things SELECT n, n, repeat(md5(n::text), 100), n / 7.0, jsonb_build_object('n', n) FROM generate_series(1, 9000) n;
         INSERT INTO nodes SELECT n, CASE WHEN n < 1500 THEN n + 1 END FROM generate_series(1, 1500) n;
         INSERT INTO heads SELECT n, NULL FROM generate_series(1, 1200) n;
         INSERT INTO tails SELECT n, n FROM generate_series(1, 1200) n;
         UPDATE heads SET tail = id - 600 WHERE id > 600;
         UPDATE tails SET head = NULL WHERE id <= 200",
    );
    // What is at the other side already is out of date, and has unique values that others are to have.
    twins.server.sql_blocking(
        "crm",
        "INSERT INTO things SELECT n, 9001 - n, 'old', 0, '{}' FROM generate_series(6000, 9000) n;
         INSERT INTO nodes SELECT n, NULL FROM generate_series(1, 100) n",
    );
    let tandem = twins.house.serve();
    let names = ["things", "nodes", "heads", "tails"];
    tandem.ok(&[&["map", "run"][..], &names].concat());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn: u64 = 0;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                let (a, b) = (1 + turn * 7919 % 9000, 1 + turn * 104_729 % 9000);
                if a == b {
                    continue;
                }
                twins.erp(&format!(
                    "BEGIN; UPDATE things SET tag = -1 WHERE id = {a};
                     UPDATE things t SET tag = {b} FROM things o WHERE false;
                     WITH x AS (SELECT tag FROM things WHERE id = {b}) UPDATE things SET tag = -2 - tag WHERE id = {b};
                     UPDATE things SET tag = (SELECT -2 - tag FROM things WHERE id = {b}) WHERE id = {a};
                     UPDATE things SET tag = {turn} + 1000000 WHERE id = {b}; COMMIT;
                     UPDATE things SET price = price + 1 WHERE id = 1 + {turn} * 31 % 9000;
                     DELETE FROM things WHERE id = 1 + {turn} * 6007 % 5000;
                     INSERT INTO things VALUES (40000 + {turn}, 5000000 + {turn}, 'new', 1, NULL);
                     UPDATE nodes SET parent = NULL WHERE id = 1500 - {turn} % 1500;"
                ));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let wait = |name| tandem.tandem(&["map", "wait", name, "--for", "running", "--timeout", "100s"]);
        let waited = names.map(wait);
        let stand = names.map(|name| tandem.ok(&["map", "show", name])["initial_sync"].clone());
        done.store(true, Ordering::Relaxed);
        let errors = tandem.ok(&["error", "list", "--limit", "5"]);
        assert!(waited.iter().all(|ran| ran.code == Some(0)), "{waited:?} {stand:?} {errors}");
    });
    twins.until_equal(&tandem, PATIENCE);
    twins.no_error(&tandem);
    let things = sync_of(&tandem, "things");
    assert_eq!(things["phase"], "ended", "{things}");
    assert_eq!(number(&things, "failed"), 0, "{things}");
    // Of a chunk that went row by row all count as updated.
    assert!(number(&things, "updated") > 0 && number(&things, "inserted") > 0, "{things}");
    let log = tandem.ok(&["activity", "--map", "things"]);
    let events: Vec<&str> = items(&log).iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert!(events.contains(&"copy.begun") && events.contains(&"copy.ended"), "{events:?}");
    tandem.kill();
}

#[test]
fn a_copy_that_is_killed_goes_on_where_it_was() {
    let twins = Twins::new("CREATE TABLE t (id bigint PRIMARY KEY, v text)", &[("t", "")]);
    twins.erp("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 120000) n");
    let mut tandem = twins.house.serve();
    tandem.ok(&["map", "run", "t"]);
    let deadline = Instant::now() + PATIENCE;
    for part in [20_000, 60_000] {
        while number(&sync_of(&tandem, "t"), "rows_done") < part {
            assert!(Instant::now() < deadline, "{}", sync_of(&tandem, "t"));
            std::thread::sleep(Duration::from_millis(5));
        }
        tandem.kill();
        tandem = twins.house.serve();
    }
    tandem.ok(&["map", "wait", "t", "--for", "running", "--timeout", "60s"]);
    twins.until_equal(&tandem, PATIENCE);
    let sync = sync_of(&tandem, "t");
    assert_eq!(number(&sync, "rows_done"), 120_000, "{sync}");
    // What was committed and not noted by then is found as it is to be: at most two chunks each time.
    assert!(number(&sync, "unchanged") <= 40_000, "{sync}");
    assert_eq!(number(&sync, "inserted") + number(&sync, "unchanged"), 120_000, "{sync}");
}

const ROUND: [(&str, &str); 3] =
    [("heads", "depends_on = [\"tails\"]"), ("tails", "depends_on = [\"heads\"]"), ("nodes", "")];

/// Each head has a tail that has it, and each node one behind it, up to the last, which has the first: none can be the first
/// to be written.
#[test]
fn records_that_refer_to_each_other_in_a_circle_are_copied() {
    let twins = Twins::new(SCHEMA, &ROUND);
    twins.erp(
        "INSERT INTO heads SELECT n FROM generate_series(1, 1100) n;
         INSERT INTO tails SELECT n, n FROM generate_series(1, 1100) n; UPDATE heads SET tail = id;
         INSERT INTO nodes SELECT n FROM generate_series(1, 300) n; UPDATE nodes SET parent = id % 300 + 1",
    );
    // One is refused for itself, and so is the one that refers to it.
    twins.server.sql_blocking("crm", "ALTER TABLE tails ADD CONSTRAINT odd CHECK (id <> 500)");
    let tandem = twins.house.serve();
    tandem.ok(&["map", "run", "heads", "tails", "nodes"]);
    for turn in 1..50 {
        twins.erp(&format!(
            "INSERT INTO nodes VALUES ({}, {turn}); UPDATE nodes SET parent = {} WHERE id = {turn}",
            4000 + turn,
            4000 + turn
        ));
    }
    for (map, errors) in [("heads", 1), ("tails", 1), ("nodes", 0)] {
        let ended = |map: &Json| map["initial_sync"]["ended_at"].is_string();
        let shown = tandem.until(&["map", "show", map], ended);
        assert_eq!(shown["errors"]["open"], errors, "{shown}");
    }
    let errors = tandem.ok(&["error", "list", "--status", "open"]);
    let mut codes: Vec<&str> = items(&errors).iter().map(|error| error["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["23503", "23514"], "{errors}");
    // The cause is mended; the rest of it goes by the list.
    twins.server.sql_blocking("crm", "ALTER TABLE tails DROP CONSTRAINT odd");
    tandem.ok(&["map", "run", "heads", "tails", "--without-failed", "--wait"]);
    tandem.ok(&["error", "retry", "tails", "--all", "--wait"]);
    tandem.ok(&["error", "retry", "heads", "--all", "--wait"]);
    twins.until_equal(&tandem, PATIENCE);
}

#[test]
fn records_that_refer_to_each_other_in_a_circle_are_copied_between_files() {
    let house = House::new();
    house.write("tandem.toml", &config(|app| format!("sqlite:{app}.db"), "", &ROUND));
    for app in ["erp", "crm"] {
        house
            .app(app)
            .execute_batch(
                "CREATE TABLE heads (id INTEGER PRIMARY KEY, tail INTEGER REFERENCES tails);
                 CREATE TABLE tails (id INTEGER PRIMARY KEY, head INTEGER REFERENCES heads);
                 CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES nodes)",
            )
            .unwrap();
    }
    house
        .app("erp")
        .execute_batch(
            "BEGIN; PRAGMA defer_foreign_keys = ON;
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300) INSERT INTO heads SELECT n, n FROM n;
             INSERT INTO tails SELECT id, id FROM heads; INSERT INTO nodes SELECT id, id % 300 + 1 FROM heads; COMMIT",
        )
        .unwrap();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "heads", "tails", "nodes", "--wait"]);
    for (map, _) in ROUND {
        let verified = tandem.ok(&["map", "verify", map]);
        assert_eq!(verified["equal"], 300, "{verified}");
    }
}

#[test]
fn rows_that_are_refused_are_errors_and_a_person_decides() {
    let twins = Twins::new("CREATE TABLE t (id bigint PRIMARY KEY, v int)", &[("t", "")]);
    twins.erp("INSERT INTO t SELECT n, n FROM generate_series(1, 2000) n");
    twins.server.sql_blocking("crm", "ALTER TABLE t ADD CONSTRAINT odd CHECK (v % 500 <> 0)");
    let tandem = twins.house.serve();
    let run = tandem.tandem(&["map", "run", "t", "--wait"]);
    run.ended(1, "the initial sync of t ended with 4 errors");
    let map = tandem.ok(&["map", "show", "t"]);
    assert_eq!((&map["state"], &map["errors"]["open"]), (&Json::from("initializing"), &Json::from(4)));
    assert_eq!(number(&map["initial_sync"], "inserted"), 1_996, "{map}");
    let list = tandem.ok(&["error", "list", "t"]);
    assert!(items(&list).iter().all(|error| error["code"] == "23514"), "{list}");

    // Once more: the same rows, and no more of them than before.
    tandem.tandem(&["map", "run", "t", "--wait"]).ended(1, "4 errors");
    let map = tandem.ok(&["map", "show", "t"]);
    assert_eq!(map["errors"]["open"], 4, "{map}");
    assert_eq!(number(&map["initial_sync"], "unchanged"), 1_996, "{map}");

    // Without them it runs, and they can be tried again when the destination takes them.
    tandem.ok(&["map", "run", "t", "--without-failed", "--wait"]);
    assert_eq!(tandem.ok(&["map", "show", "t"])["errors"]["open"], 4);
    twins.server.sql_blocking("crm", "ALTER TABLE t DROP CONSTRAINT odd");
    tandem.ok(&["error", "retry", "t", "--all"]);
    twins.until_equal(&tandem, PATIENCE);
    tandem.until(&["map", "show", "t"], |map| map["errors"]["open"] == 0 && map["errors"]["retrying"] == 0);
}

#[test]
fn what_the_destination_numbers_by_itself_goes_on_behind_what_was_copied() {
    let schema = "CREATE TABLE t (id bigserial PRIMARY KEY, no int GENERATED BY DEFAULT AS IDENTITY, v int)";
    let twins = Twins::new(schema, &[("t", "")]);
    twins.erp("INSERT INTO t (v) SELECT n FROM generate_series(1, 50) n");
    let tandem = twins.house.serve();
    tandem.ok(&["map", "run", "t", "--wait"]);
    twins.until_equal(&tandem, PATIENCE);
    let query = "INSERT INTO t (v) VALUES (0) RETURNING id * 1000 + no";
    assert_eq!(twins.number("crm", query), 51_051);
}

/// An error is as old as the change that was refused. What the record is now may be what the destination takes.
#[test]
fn errors_are_refreshed_from_the_source() {
    let twins = Twins::new("CREATE TABLE t (id bigint PRIMARY KEY, v int, w int)", &[("t", "")]);
    twins.server.sql_blocking("crm", "ALTER TABLE t ADD CONSTRAINT odd CHECK (v <> 5)");
    let tandem = twins.run();
    twins.erp("INSERT INTO t VALUES (1, 5, 1), (2, 5, 1), (3, 5, 1), (4, 4, 1)");
    tandem.until(&["map", "show", "t"], |map| map["errors"]["open"] == 3);
    // Only the destination's people have changed something: no later change supersedes the error.
    twins.server.sql_blocking(
        "crm",
        "ALTER TABLE t DROP CONSTRAINT odd; ALTER TABLE t ADD CONSTRAINT odd CHECK (v <> 5 OR id = 2)",
    );
    let refreshed = tandem.tandem(&["error", "retry", "t", "--all", "--refresh", "--wait"]);
    refreshed.ended(1, "of 3 errors of t that were tried, 2 were refused again; 2 are left");
    let map = tandem.until(&["map", "show", "t"], |map| map["errors"]["open"] == 2);
    assert_eq!(map["retries"].as_array().unwrap().len(), 0, "{map}");
    twins.server.sql_blocking("crm", "ALTER TABLE t DROP CONSTRAINT odd");
    tandem.ok(&["error", "retry", "t", "--all", "--refresh", "--wait"]);
    twins.until_equal(&tandem, PATIENCE);
    tandem.until(&["map", "show", "t"], |map| map["errors"]["open"] == 0);
    let log = tandem.ok(&["activity", "--map", "t"]);
    let events: Vec<&str> = items(&log).iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert_eq!(events.iter().filter(|event| **event == "errors.retried").count(), 2, "{events:?}");
    tandem
        .tandem(&["error", "retry", "t", "--all", "--refresh", "--rate", "5"])
        .ended(2, "cannot be used with");
}

#[test]
fn a_copy_can_be_skipped_done_again_and_stopped() {
    let twins = Twins::new("CREATE TABLE t (id bigint PRIMARY KEY, v int)", &[("t", "")]);
    twins.erp("INSERT INTO t SELECT n, n FROM generate_series(1, 100) n");
    twins.server.sql_blocking("crm", "ALTER TABLE t ADD CONSTRAINT odd CHECK (v <> 50)");
    let tandem = twins.house.serve();
    tandem.tandem(&["map", "run", "t", "--wait"]).ended(1, "1 errors");
    // Mended, and copied again: the error is pointless then.
    twins.server.sql_blocking("crm", "ALTER TABLE t DROP CONSTRAINT odd");
    tandem.ok(&["map", "run", "t", "--wait"]);
    twins.until_equal(&tandem, PATIENCE);
    assert_eq!(tandem.ok(&["map", "show", "t"])["errors"]["open"], 0);
    // Stopped, it forgets; run again, it finds all as it is to be.
    tandem.ok(&["map", "stop", "t", "--wait"]);
    tandem.ok(&["map", "run", "t", "--wait"]);
    let sync = sync_of(&tandem, "t");
    assert_eq!((number(&sync, "unchanged"), number(&sync, "inserted")), (100, 0), "{sync}");
    // Stopped in the middle, nothing of ours stays.
    twins.server.sql_blocking("crm", "ALTER TABLE t ADD CONSTRAINT odd CHECK (v <> 1000)");
    twins.erp("UPDATE t SET v = 1000 WHERE id = 7");
    tandem.ok(&["map", "stop", "t", "--queue", "discard", "--yes", "--wait"]);
    tandem.tandem(&["map", "run", "t", "--wait"]).ended(1, "1 errors");
    tandem.ok(&["map", "run", "t", "--no-initial-sync", "--wait"]);
    assert_eq!(tandem.ok(&["map", "show", "t"])["errors"]["open"], 1);
    tandem.ok(&["map", "stop", "t", "--queue", "discard", "--yes", "--wait"]);
    assert_eq!(twins.number("erp", "SELECT count(*) FROM pg_replication_slots"), 0);
}

#[test]
fn sqlite_is_copied_to_sqlite_while_people_write() {
    let house = House::new();
    house
        .app("erp")
        .execute_batch(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
             INSERT INTO customers SELECT 'K' || n, 'name ' || n FROM n;
             INSERT INTO orders SELECT rowid, no, rowid * 10 FROM customers",
        )
        .unwrap();
    house.app("crm").execute_batch("INSERT INTO customers VALUES ('K7', 'old')").unwrap();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders"]);
    let app = house.app("erp");
    for turn in 0..200 {
        app.execute_batch(&format!(
            "UPDATE customers SET name = name || '!' WHERE no = 'K{}'; DELETE FROM orders WHERE no = {};
             INSERT INTO customers VALUES ('N{turn}', 'new'); INSERT INTO orders VALUES ({}, 'N{turn}', 1)",
            1 + turn * 13 % 5000,
            1 + turn * 17 % 5000,
            10_000 + turn,
        ))
        .unwrap();
    }
    for map in ["customers", "orders"] {
        tandem.ok(&["map", "wait", map, "--for", "running", "--timeout", "60s"]);
    }
    assert_eq!(until_equal(&house, "customers"), 5_200);
    until_equal(&house, "orders");
    let errors = tandem.ok(&["error", "list", "--status", "all"]);
    assert_eq!(items(&errors).len(), 0, "{errors}");
}

#[test]
fn a_map_may_be_declared_to_be_run_without_a_copy() {
    let house = House::new();
    house.edit("name = \"customers\"", "name = \"customers\"\ninitial_sync = false");
    house
        .app("erp")
        .execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 5)")
        .unwrap();
    let tandem = house.serve();
    tandem
        .tandem(&["map", "run", "customers", "--initial-sync", "--no-initial-sync"])
        .ended(2, "cannot be used");
    tandem.ok(&["map", "run", "customers", "--wait"]);
    assert_eq!(crate::house::rows(&house.app("crm"), "customers").len(), 0, "nothing is copied unless asked");
    assert!(tandem.ok(&["map", "show", "customers"])["initial_sync"].is_null());
    tandem.ok(&["map", "stop", "customers", "--wait"]);
    tandem.ok(&["map", "run", "customers", "--initial-sync", "--wait"]);
    assert_eq!(crate::house::rows(&house.app("crm"), "customers").len(), 1);
    // Others are, as ever.
    tandem.ok(&["map", "run", "orders", "--wait"]);
    assert_eq!(crate::house::rows(&house.app("crm"), "orders").len(), 1);
}
