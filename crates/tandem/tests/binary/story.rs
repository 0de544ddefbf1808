//! The main use, on real databases: two apps are kept in step, one is taken away, nothing is lost.

use crate::house::{House, PATIENCE, rows, running, tandem, until_equal};
use serde_json::Value as Json;
use std::time::{Duration, Instant};

fn records(stats: &Json) -> u64 {
    stats["records"].as_u64().unwrap()
}

#[test]
fn a_paused_map_queues_and_a_resumed_one_catches_up() {
    let house = House::new();
    let server = running(&house);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'), ('K2', 'Bob'); INSERT INTO orders VALUES (1, 'K1', 100);")
        .unwrap();
    assert_eq!((until_equal(&house, "customers"), until_equal(&house, "orders")), (2, 1));

    let paused = server.ok(&["map", "pause", "customers", "--wait", "--reason", "CRM upgrade"]);
    assert_eq!(paused["maps"].as_array().unwrap().len(), 2, "orders goes along: {paused}");
    for map in ["customers", "orders"] {
        let shown = server.ok(&["map", "show", map]);
        assert_eq!(shown["state"], "paused", "{shown}");
    }
    let before = rows(&house.app("crm"), "customers");
    erp.execute_batch(
        "INSERT INTO customers VALUES ('K3', 'Cyd'); UPDATE customers SET name = 'Anna' WHERE no = 'K1';
         UPDATE customers SET no = 'K9' WHERE no = 'K2'; INSERT INTO orders VALUES (2, 'K3', 9007199254740993);
         DELETE FROM orders WHERE no = 1;",
    )
    .unwrap();
    let stats = server.until(&["queue", "stats", "customers"], |stats| records(stats) >= 3);
    assert!(stats["bytes"].as_u64().unwrap() > 0 && stats["oldest_at"].is_string(), "{stats}");
    assert!(stats["head_seq"].as_u64() > stats["applied_seq"].as_u64(), "{stats}");
    server.until(&["queue", "stats", "orders"], |stats| records(stats) == 2);
    assert_eq!(rows(&house.app("crm"), "customers"), before, "nothing is written while it is paused");

    let queue = server.ok(&["queue", "list", "orders"]);
    assert_eq!(queue["items"][0]["new"]["cents"], "9007199254740993", "too large for a JSON number: {queue}");
    assert_eq!(queue["items"][1]["op"], "delete");
    let found = server.ok(&["queue", "list", "customers", "--key", "K3"]);
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    let first = server.ok(&["queue", "list", "customers", "--limit", "1"]);
    let next = first["next"].as_str().unwrap();
    let second = server.ok(&["queue", "list", "customers", "--limit", "1", "--after", next]);
    assert!(second["items"][0]["seq"].as_u64() > first["items"][0]["seq"].as_u64());

    server.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!((until_equal(&house, "customers"), until_equal(&house, "orders")), (3, 1));
    server.until(&["queue", "stats", "customers"], |stats| records(stats) == 0);

    let log = server.ok(&["activity", "--map", "customers"]);
    let reasons: Vec<&str> =
        log["items"].as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"CRM upgrade"), "{log}");
    let ids = |page: &Json| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
    };
    let newest = server.ok(&["activity", "--limit", "2"]);
    let older = server.ok(&["activity", "--limit", "100", "--after", newest["next"].as_str().unwrap()]);
    let all: Vec<u64> = [ids(&newest), ids(&older)].concat();
    assert!(
        all.len() > 4 && all.is_sorted_by(|a, b| a == &(b + 1)),
        "the newest first, page after page: {all:?}"
    );
    assert_eq!((older["next"].as_str(), all.last()), (None, Some(&1)));
    let since = server.ok(&["activity", "--since", &all[1].to_string()]);
    assert_eq!(ids(&since), [all[0]], "what came since, oldest first");
}

#[test]
fn a_queue_that_is_discarded_is_counted_exactly_and_the_map_is_live_at_once() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'), ('K2', 'Bob'), ('K3', 'Cyd')").unwrap();
    server.until(&["queue", "stats", "customers"], |stats| records(stats) == 3);

    server.tandem(&["map", "resume", "customers", "--mode", "skip-discard"]).ended(2, "nobody can be asked");
    let discard = ["map", "resume", "customers", "--mode", "skip-discard", "--yes", "--expected"];
    server.tandem(&[&discard[..], &["2"]].concat()).ended(3, "3 records are queued now, not 2");
    assert_eq!(server.ok(&["map", "show", "customers"])["state"], "paused");
    server.ok(&[&discard[..], &["3", "--reason", "bad import"]].concat());
    server.ok(&["map", "wait", "customers", "--for", "running"]);

    erp.execute("INSERT INTO customers VALUES ('K4', 'Dan')", []).unwrap();
    let crm = house.app("crm");
    let deadline = Instant::now() + PATIENCE;
    while rows(&crm, "customers").is_empty() {
        assert!(Instant::now() < deadline, "the map is not live");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rows(&crm, "customers"), [r#"[Text("K4"), Text("Dan")]"#]);
    // What is shown follows a moment after what is done.
    server.until(&["queue", "stats", "customers"], |stats| records(stats) == 0);
    let log = server.until(&["activity", "--map", "customers"], |log| {
        log["items"].as_array().unwrap().iter().any(|entry| entry["event"] == "queue.discarded")
    });
    let told = log["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "queue.discarded");
    let told = told.unwrap();
    assert!(told["detail"].as_str().unwrap().starts_with("3 queued records"), "{told}");
    assert_eq!(told["reason"], "bad import");
    // What goes along with it has nothing to skip, and catches up.
    server.ok(&["map", "wait", "orders", "--for", "running"]);

    let stats = server.tandem(&["map", "skip", "customers", "--discard", "--yes"]);
    stats.ended(3, "customers is running and skip needs a map that is resuming");
}

#[test]
fn a_queue_outlives_an_orderly_end_and_a_sudden_one() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    erp.execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    server.until(&["queue", "stats", "customers"], |stats| records(stats) == 1);
    let (code, time, said) = server.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(time < Duration::from_secs(10), "{time:?}");

    erp.execute("INSERT INTO customers VALUES ('K2', 'Bob')", []).unwrap();
    let server = house.serve();
    server.until(&["queue", "stats", "customers"], |stats| records(stats) == 2);
    server.kill();

    let server = house.serve();
    assert_eq!(server.ok(&["map", "show", "customers"])["state"], "paused");
    server.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 2);
}

#[test]
fn an_action_that_a_state_refuses_ends_with_3_and_an_unknown_map_with_5() {
    let house = House::new();
    let server = running(&house);
    server
        .tandem(&["map", "resume", "customers"])
        .ended(3, "customers is running and resume needs a paused map");
    server.tandem(&["map", "run", "customers", "--no-initial-sync"]).ended(3, "nothing was changed");
    server.ok(&["map", "pause", "customers", "--wait"]);
    let ran = server
        .tandem(&["map", "resume", "orders"])
        .ended(3, "depends on customers, which must be live first");
    assert_eq!(ran.err.matches("orders is paused").count(), 1, "{ran:?}");
    server.ok(&["map", "resume", "customers", "--wait"]);
    server.tandem(&["map", "pause", "nobody"]).ended(5, "there is no map nobody");
    server.tandem(&["queue", "stats", "nobody"]).ended(5, "there is no map nobody");
    server
        .tandem(&["map", "wait", "customers", "--for", "paused", "--timeout", "1s"])
        .ended(6, "is running, not paused");
    server.tandem(&["map", "pause", "customers", "nobody"]).ended(5, "nobody");
    assert_eq!(server.ok(&["map", "show", "customers"])["state"], "running", "all or nothing");
}

#[test]
fn the_demo_ends_by_itself_and_says_that_both_sides_are_equal() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--seconds", "2", "--listen", "127.0.0.1:0", "--dir", "here", "-o", "json"];
    let verdict = tandem(folder.path(), &args).ended(0, "map pause customers").json();
    assert_eq!(verdict["equal"], true, "{verdict}");
    assert!(verdict["maps"][0]["left_rows"].as_u64() > Some(0), "{verdict}");
    // A second one goes on where the first has ended.
    let verdict = tandem(folder.path(), &args).ended(0, "").json();
    assert_eq!(verdict["equal"], true, "{verdict}");
}

#[test]
fn a_demo_whose_sides_differ_ends_with_7() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--seconds", "1", "--listen", "127.0.0.1:0", "--dir", "here", "-o", "json"];
    tandem(folder.path(), &args).ended(0, "");
    let crm = rusqlite::Connection::open(folder.path().join("here/crm.db")).unwrap();
    crm.execute("INSERT INTO accounts VALUES ('X-1', 'nobody knows', NULL, 0)", []).unwrap();
    let verdict = tandem(folder.path(), &args).ended(7, "").json();
    assert_eq!(
        (&verdict["equal"], &verdict["maps"][0]["differing"]),
        (&false.into(), &1.into()),
        "{verdict}"
    );
}

#[test]
fn a_paused_map_is_stopped_only_with_a_word_about_its_queue() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "orders", "--wait"]);
    server.tandem(&["map", "stop", "orders"]).ended(3, "has a queue");
    server.ok(&["map", "stop", "orders", "--queue", "discard", "--yes", "--wait"]);
    assert_eq!(server.ok(&["map", "show", "orders"])["state"], "not_running");
    server.ok(&["map", "stop", "customers", "--wait"]);
    assert!(!something_of_ours_is_left(&house), "a stop that was waited for leaves nothing behind");
}

#[test]
fn an_engine_that_is_killed_right_after_a_stop_takes_the_rest_apart_at_its_next_start() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "stop", "orders", "customers"]);
    server.kill();
    let _next = house.serve();
    nothing_of_ours_is_left(&house);
}

fn something_of_ours_is_left(house: &House) -> bool {
    let ours = "SELECT count(*) FROM sqlite_master WHERE name LIKE '%tandem%'";
    let left = |app: &&str| house.app(app).query_row(ours, [], |row| row.get::<_, i64>(0)).unwrap() > 0;
    ["erp", "crm"].iter().any(left)
}

/// What we put into the apps goes a moment after the stop.
fn nothing_of_ours_is_left(house: &House) {
    let deadline = Instant::now() + PATIENCE;
    while something_of_ours_is_left(house) {
        assert!(Instant::now() < deadline, "a stopped map leaves something behind");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Each stream has a journal of its own, with Seqs of its own: a map begins where its barrier is in that one.
#[test]
fn an_app_that_feeds_two_others_feeds_each_from_its_own_beginning() {
    let house = House::new();
    let dwh = house.app("dwh");
    dwh.pragma_update(None, "journal_mode", "wal").unwrap();
    dwh.execute_batch("CREATE TABLE customers (no TEXT PRIMARY KEY, name TEXT)").unwrap();
    house.edit(
        "[[maps]]\nname = \"customers\"",
        "[apps.dwh]\nurl = \"sqlite:dwh.db\"\n[[maps]]\nname = \"customers\"",
    );
    house.edit(
        "[[maps]]\nname = \"orders\"",
        "[[maps]]\nname = \"archive\"\ndeletes = \"queue\"\nleft = { app = \"erp\", table = \"customers\", key = [\"no\"] }\n\
         right = { app = \"dwh\", table = \"customers\", key = [\"no\"] }\n[[maps]]\nname = \"orders\"",
    );
    let server = running(&house);
    let erp = house.app("erp");
    for no in 0..20 {
        erp.execute("INSERT INTO customers VALUES (?1, 'Ann')", [format!("K{no:02}")]).unwrap();
    }
    assert_eq!(until_equal(&house, "customers"), 20);
    server.ok(&["map", "run", "archive", "--no-initial-sync", "--wait"]);
    erp.execute("INSERT INTO customers VALUES ('K99', 'Bob')", []).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while rows(&dwh, "customers").len() != 1 {
        assert!(Instant::now() < deadline, "{:?}", rows(&dwh, "customers"));
        std::thread::sleep(Duration::from_millis(50));
    }
}
