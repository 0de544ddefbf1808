//! Stopping the maps of an app that is gone for good, on real servers that are really gone.

use crate::house::{House, until_equal};
use crate::postgres::{run, trouble, until};
use crate::rules::two_servers;
use serde_json::Value as Json;
use std::time::{Duration, Instant};

/// How long a forced stop may take, on a slow machine.
const FORCED: Duration = Duration::from_secs(40);

fn left<'a>(accepted: &'a Json, app: &str) -> &'a Json {
    let left = accepted["left_behind"].as_array().unwrap();
    left.iter().find(|left| left["app"] == app).unwrap_or_else(|| panic!("nothing in {app}: {accepted}"))
}

fn count(what: &str) -> String {
    format!("SELECT count(*) FROM {what}")
}

#[test]
fn a_destination_that_is_gone_does_not_keep_its_maps_and_what_is_left_there_is_told() {
    let (house, erp, mut crm) = two_servers("");
    let tandem = run(&house);
    erp.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&crm, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    crm.stop();
    erp.sql_blocking("erp", "INSERT INTO customers VALUES ('K2', 'Bob', NULL)");
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);

    tandem.tandem(&["map", "stop", "customers", "orders"]).ended(3, "not applied yet");
    tandem.tandem(&["app", "stop", "crm", "--force"]).ended(2, "add --yes");
    let begun = Instant::now();
    let accepted = tandem.ok(&["app", "stop", "crm", "--force", "--yes", "--wait", "--reason", "sold"]);
    assert!(begun.elapsed() < FORCED, "{:?}", begun.elapsed());
    let marks = left(&accepted, "crm");
    assert!(marks["what"].as_str().unwrap().contains("watermarks"), "{marks}");
    let sql = marks["sql"].as_str().unwrap();
    assert_eq!(
        accepted["left_behind"].as_array().unwrap().len(),
        1,
        "the other app is rid of us: {accepted}"
    );
    for what in ["pg_replication_slots", "pg_namespace WHERE nspname = 'tandem'"] {
        until(&erp, "erp", &count(what), &["0"]);
    }
    for map in ["customers", "orders"] {
        let shown = tandem.ok(&["map", "show", map]);
        assert_eq!((&shown["state"], trouble(&shown, "Leaving")), (&"not_running".into(), None), "{shown}");
    }
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let noted =
        log["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "map.left_behind").unwrap();
    assert!(noted["detail"].as_str().unwrap().contains(sql), "{noted}");
    assert!(log.to_string().contains("1 queued records"), "{log}");

    // It was not gone for good after all: what was left there fences nobody, and speaks for nobody.
    tandem.kill();
    let tandem = house.serve();
    crm.start();
    until(&crm, "crm", &count("tandem.watermark"), &["1"]);
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    erp.sql_blocking("erp", "INSERT INTO customers VALUES ('K3', 'Cyd', NULL)");
    until(&crm, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K1", "K3"]);

    // Gone again, and freed by hand with what was printed.
    crm.stop();
    let accepted = tandem.ok(&["map", "stop", "customers", "orders", "--force", "--yes"]);
    let sql = left(&accepted, "crm")["sql"].as_str().unwrap().to_owned();
    crm.start();
    crm.sql_blocking("crm", &sql);
    until(&crm, "crm", &count("pg_namespace WHERE nspname = 'tandem'"), &["0"]);
}

#[test]
fn a_source_that_is_gone_does_not_keep_its_maps_and_is_freed_by_hand_when_it_is_back() {
    let (house, mut erp, crm) = two_servers("");
    let tandem = run(&house);
    erp.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', NULL)");
    until(&crm, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    erp.stop();

    // One of the app's maps: the other is still captured there.
    let accepted = tandem.ok(&["map", "stop", "orders", "--force", "--yes"]);
    let kept = left(&accepted, "erp");
    assert!(kept["sql"].is_null() && kept["why"].as_str().unwrap().contains("other maps"), "{kept}");
    // The other was stopped, and what is left of it would be waited for; then somebody knows better.
    tandem.ok(&["map", "stop", "customers"]);
    tandem.until(&["map", "show", "customers"], |map| trouble(map, "Leaving").is_some());
    let ran = tandem.tandem(&["app", "stop", "erp", "--force", "--yes"]).ended(0, "left behind in erp");
    assert!(ran.err.contains("what removes it there") && ran.err.contains("slot"), "{ran:?}");
    until(&crm, "crm", &count("pg_namespace WHERE nspname = 'tandem'"), &["0"]);
    for map in ["customers", "orders"] {
        let shown = tandem.ok(&["map", "show", map]);
        assert_eq!((&shown["state"], trouble(&shown, "Leaving")), (&"not_running".into(), None), "{shown}");
    }
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let noted =
        log["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "map.left_behind").unwrap();
    let sql = noted["detail"].as_str().unwrap().split_once("what removes it there: ").unwrap().1.to_owned();

    erp.start();
    erp.sql_blocking("erp", &sql);
    for what in ["pg_replication_slots", "pg_publication", "pg_namespace WHERE nspname = 'tandem'"] {
        until(&erp, "erp", &count(what), &["0"]);
    }
    // And it may begin anew.
    tandem.ok(&["map", "run", "customers", "--no-initial-sync", "--wait"]);
    erp.sql_blocking("erp", "INSERT INTO customers VALUES ('K2', 'Bob', NULL)");
    until(&crm, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K1", "K2"]);
}

/// An app that answers is left as any other stop leaves it.
#[test]
fn all_maps_of_an_app_are_stopped_and_nothing_is_left_behind_where_it_answers() {
    let house = House::new();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    house.app("erp").execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    assert_eq!(until_equal(&house, "customers"), 1);
    let accepted = tandem.ok(&["app", "stop", "crm", "--wait"]);
    assert_eq!(accepted["maps"].as_array().unwrap().len(), 2, "{accepted}");
    tandem.tandem(&["app", "stop", "crm"]).ended(3, "no map of crm is in a state to stop");

    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    tandem.tandem(&["app", "stop", "crm"]).ended(3, "say what becomes of it");
    let accepted = tandem.ok(&["app", "stop", "crm", "--force", "--yes"]);
    assert_eq!(accepted["left_behind"].as_array().unwrap().len(), 0, "{accepted}");
    let ours = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_tandem%' ESCAPE '\\'";
    for app in ["erp", "crm"] {
        let left: u32 = house.app(app).query_row(ours, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{app}");
    }
}
