//! The data folder holds the only copy of what the source has let go of. Lost, older, doubled, on a full disk: each is
//! found, and nothing goes on as if it were not so.

use crate::house::{House, Server, until_equal};
use crate::metrics::until_figure;
use serde_json::Value as Json;
use std::path::Path;

fn run(house: &House) -> Server {
    let server = house.serve();
    server.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    server
}

fn customer(house: &House, no: &str) {
    house.app("erp").execute("INSERT INTO customers VALUES (?1, 'somebody')", [no]).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Waits until a map shows one of these troubles, and returns what is said of it.
#[track_caller]
fn trouble(server: &Server, map: &str, kinds: &[&str]) -> String {
    let of = |map: &Json| -> Option<String> {
        let conditions = map["conditions"].as_array()?;
        let asked = |found: &&Json| found["type"].as_str().is_some_and(|kind| kinds.contains(&kind));
        let found = conditions.iter().filter(asked).find(|found| found["well"] == false)?;
        Some(format!("{} {}", found["reason"].as_str()?, found["fix"].as_str().unwrap_or("no fix")))
    };
    of(&server.until(&["map", "show", map], |map| of(map).is_some())).unwrap()
}

/// The source has let go of what only the lost folder had, and the destination knows the folder.
#[test]
fn a_lost_data_folder_is_found() {
    let house = House::new();
    let server = run(&house);
    customer(&house, "K1");
    assert_eq!(until_equal(&house, "customers"), 1);
    server.kill();
    std::fs::remove_dir_all(house.path().join("tandem-data")).unwrap();
    let server = house.serve();
    server.ok(&["map", "run", "customers", "--no-initial-sync"]);
    let said = trouble(&server, "customers", &["GapDetected"]);
    assert!(said.contains("another data folder") && said.contains("tandem guard release --sql"), "{said}");
    // A stop takes away what this folder has left, and nothing of the other's.
    server.ok(&["map", "stop", "customers", "--queue", "discard", "--yes", "--wait"]);
    customer(&house, "K2");
    let freed = house.tandem(&["guard", "release", "--sql", "-o", "json"]).ended(0, "").json();
    for freed in freed["items"].as_array().unwrap() {
        house.app(freed["app"].as_str().unwrap()).execute_batch(freed["sql"].as_str().unwrap()).unwrap();
    }
    server.ok(&["map", "run", "customers", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 2);
}

/// What the newer folder did is at the destination, and gone from the source: the older one must not go on over it.
#[test]
fn an_older_copy_of_the_data_folder_is_found() {
    let house = House::new();
    let server = run(&house);
    customer(&house, "K1");
    assert_eq!(until_equal(&house, "customers"), 1);
    let (data, older) = (house.path().join("tandem-data"), house.path().join("older"));
    assert_eq!(server.terminate().0, Some(0));
    copy(&data, &older);
    let server = house.serve();
    customer(&house, "K2");
    assert_eq!(until_equal(&house, "customers"), 2);
    assert_eq!(server.terminate().0, Some(0));
    std::fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);

    let server = house.serve();
    customer(&house, "K3");
    let said = trouble(&server, "customers", &["GapDetected"]);
    assert!(said.contains("restored"), "{said}");
    until_figure(&server, r#"tandem_source_gap_detected_total{map="customers"}"#, 1.0);
    server.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    let there: i64 =
        house.app("crm").query_row("SELECT count(*) FROM customers", [], |row| row.get(0)).unwrap();
    assert_eq!(there, 2, "nothing is written from a folder that does not know what was written");
}

/// Its place in the log is the app's, so what mends it is about all its maps: one alone would begin in the same gap.
#[test]
fn a_source_that_was_restored_is_a_gap_of_all_its_maps_which_begin_anew_together() {
    let house = House::new();
    let server = run(&house);
    customer(&house, "K1");
    assert_eq!(until_equal(&house, "customers"), 1);
    assert_eq!(server.terminate().0, Some(0));
    let (erp, older) = (house.path().join("erp.db"), house.path().join("older.db"));
    let into_the_file = || {
        let moved = house.app("erp").query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        assert_eq!(moved, Ok(0), "nobody else has it open");
    };
    into_the_file();
    std::fs::copy(&erp, &older).unwrap();
    let server = house.serve();
    customer(&house, "K2");
    assert_eq!(until_equal(&house, "customers"), 2);
    assert_eq!(server.terminate().0, Some(0));
    into_the_file();
    std::fs::copy(&older, &erp).unwrap();
    customer(&house, "K3");

    let server = house.serve();
    let said = trouble(&server, "customers", &["GapDetected"]);
    assert!(said.contains("tandem map stop customers orders --queue discard --yes"), "{said}");
    server.until(&["map", "show", "orders"], |map| map["state"] == "paused");
    server.ok(&["map", "stop", "orders", "--queue", "discard", "--yes"]);
    let refused = server.tandem(&["map", "run", "orders"]).ended(3, "customers must be stopped first");
    assert!(refused.err.contains("tandem map stop customers --queue discard --yes"), "{refused:?}");
    server.ok(&["map", "stop", "customers", "--queue", "discard", "--yes", "--wait"]);
    server.ok(&["map", "run", "customers", "orders", "--wait"]);
    server.ok(&["map", "verify", "customers", "--repair", "left", "--yes"]);
    assert_eq!(until_equal(&house, "customers"), 2, "K2 was never there");
}

/// Two engines that each think to be the one: the younger takes over, the older finds out and stops.
#[test]
fn a_doubled_data_folder_leaves_one_engine_at_work() {
    let house = House::new();
    let server = run(&house);
    customer(&house, "K1");
    assert_eq!(until_equal(&house, "customers"), 1);
    let data = house.path().join("tandem-data");
    copy(&data, &house.path().join("doubled"));
    house.edit("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:0\"\ndata_dir = \"doubled\"");
    let double = house.serve();
    customer(&house, "K2");
    assert_eq!(until_equal(&house, "customers"), 2);
    // The source may tell it first (the reading is refused), or the destination (the writing is).
    let said = trouble(&server, "customers", &["SourceConnected", "GapDetected"]);
    assert!(said.contains("end the other engine"), "{said}");
    customer(&house, "K3");
    assert_eq!(until_equal(&house, "customers"), 3);
    drop(double);
}
