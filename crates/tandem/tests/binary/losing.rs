//! Limits that were chosen to lose records, by the binary: what is lost, what is kept, and what is said of it.

use crate::house::{House, Server, rows, until_equal};
use crate::postgres::trouble;
use serde_json::Value as Json;

/// A record of some 500 bytes.
fn insert(house: &House, no: u32) {
    let name = "n".repeat(460);
    house.app("erp").execute("INSERT INTO customers VALUES (?1, ?2)", (format!("K{no:02}"), name)).unwrap();
}

/// A server with a paused map that has four records queued, one for each look at the source, under limits that are
/// given how many bytes those are.
fn four_are_queued(house: &House, limits: impl Fn(u64) -> String) -> Server {
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    for no in 1..=4 {
        insert(house, no);
        tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == no);
    }
    let bytes = tandem.ok(&["queue", "stats", "customers"])["bytes"].as_u64().unwrap();
    tandem.kill();
    house.edit("name = \"customers\"\n", &format!("name = \"customers\"\nlimits = {}\n", limits(bytes)));
    house.serve()
}

/// What the activity log says was dropped: how many records, and for which setting.
fn dropped(tandem: &Server) -> Vec<(u64, String)> {
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let entries = log["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "queue.dropped");
    let told = entries.map(|entry| {
        assert_eq!(entry["actor"], "limit", "{entry}");
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains("beyond Seq") && detail.contains("are lost"), "{entry}");
        let records = detail.split_once(' ').unwrap().0.parse().unwrap();
        (records, entry["reason"].as_str().unwrap().to_owned())
    });
    told.collect()
}

fn keys(house: &House) -> Vec<String> {
    let rows = rows(&house.app("crm"), "customers");
    rows.iter().map(|row| row.split('"').nth(1).unwrap().to_owned()).collect()
}

fn listed(list: &Json) -> usize {
    list["items"].as_array().unwrap().len()
}

#[test]
fn beyond_the_limit_the_newest_are_lost_and_what_was_queued_before_is_applied() {
    let house = House::new();
    let tandem = four_are_queued(&house, |four| {
        format!("{{ profile = \"training\", max_queue_bytes = {four:?} }}", four = format!("{}B", four + 10))
    });
    // One transaction that does not fit is not kept in part.
    house
        .app("erp")
        .execute_batch("BEGIN; INSERT INTO customers VALUES ('K05', 'a'), ('K06', 'b'), ('K07', 'c'); COMMIT")
        .unwrap();
    let shown = tandem.until(&["map", "show", "customers"], |map| trouble(map, "RecordsDropped").is_some());
    let (reason, _) = trouble(&shown, "RecordsDropped").unwrap();
    assert!(reason.contains("drop_new_loses_data") && reason.contains("what comes now"), "{reason}");
    // And what comes now is lost on.
    insert(&house, 8);
    let lost = |tandem: &Server| dropped(tandem).iter().map(|(records, _)| records).sum::<u64>();
    tandem.until(&["map", "show", "customers"], |_| lost(&tandem) == 4);
    assert!(dropped(&tandem).iter().all(|(_, setting)| setting == "when_full = drop_new_loses_data"));
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 4);
    tandem.kill();

    let tandem = house.serve();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 4);
    assert_eq!(listed(&tandem.ok(&["queue", "list", "customers"])), 4);
    assert_eq!(listed(&tandem.ok(&["queue", "list", "customers", "--key", "K06"])), 0);
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(keys(&house), ["K01", "K02", "K03", "K04"]);
    insert(&house, 9);
    let deadline = std::time::Instant::now() + crate::house::PATIENCE;
    while keys(&house) != ["K01", "K02", "K03", "K04", "K09"] {
        assert!(std::time::Instant::now() < deadline, "{:?}", keys(&house));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let shown = tandem.ok(&["map", "show", "customers"]);
    assert!(trouble(&shown, "RecordsDropped").is_none(), "{shown}");
}

#[test]
fn beyond_the_limit_the_oldest_are_lost_and_the_newest_are_kept() {
    let house = House::new();
    let tandem = four_are_queued(&house, |four| {
        format!("{{ max_queue_bytes = \"{}B\", when_full = \"drop_oldest_loses_data\" }}", four + 10)
    });
    insert(&house, 5);
    tandem.until(&["map", "show", "customers"], |_| !dropped(&tandem).is_empty());
    assert_eq!(dropped(&tandem), [(1, "when_full = drop_oldest_loses_data".to_owned())]);
    assert_eq!(tandem.ok(&["queue", "stats", "customers"])["records"], 4);
    assert_eq!(listed(&tandem.ok(&["queue", "list", "customers", "--key", "K01"])), 0);
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(keys(&house), ["K02", "K03", "K04", "K05"]);
}

#[test]
fn what_is_queued_longer_than_the_retention_is_released() {
    let house = House::new();
    let tandem = four_are_queued(&house, |_| "{ queue_retention = \"1s\" }".to_owned());
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 0);
    let told = dropped(&tandem);
    assert_eq!(told.iter().map(|(records, _)| records).sum::<u64>(), 4);
    assert!(told.iter().all(|(_, setting)| setting == "queue_retention"), "{told:?}");
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    house.app("erp").execute("DELETE FROM customers", []).unwrap();
    insert(&house, 9);
    assert_eq!(until_equal(&house, "customers"), 1);
}

#[test]
fn a_running_map_is_held_before_anything_of_it_is_released() {
    let house = House::new();
    house.edit(
        "name = \"customers\"\n",
        "name = \"customers\"\nlimits = { queue_retention = \"1s\", max_pause_age = \"none\" }\n",
    );
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let crm = house.app("crm");
    crm.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&house, 1);
    let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    assert_eq!(shown["holds"][0]["kind"], "limit", "{shown}");
    assert!(shown["holds"][0]["reason"].as_str().unwrap().contains("queue_retention is reached"), "{shown}");
    // What was on its way to the destination may have taken effect there: it is not told of as lost. All else is.
    insert(&house, 2);
    let lost = || dropped(&tandem).iter().map(|(records, _)| records).sum::<u64>();
    tandem.until(&["queue", "list", "customers"], |list| {
        let second = list["items"].as_array().unwrap().iter().any(|item| item.to_string().contains("K02"));
        !second && lost() + listed(list) as u64 == 2
    });
    crm.execute_batch("COMMIT").unwrap();
    let kept = 2 - lost();
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(keys(&house), ["K01"][..kept as usize]);
}

#[test]
fn an_app_that_holds_its_source_is_not_read_until_the_full_map_is_resumed() {
    let house = House::new();
    house.edit("url = \"sqlite:erp.db\"", "url = \"sqlite:erp.db\"\nwhen_full = \"hold_source\"");
    let tandem = four_are_queued(&house, |four| format!("{{ max_queue_bytes = \"{}B\" }}", four - 10));
    for map in ["customers", "orders"] {
        let shown = tandem.until(&["map", "show", map], |map| trouble(map, "SourceHeld").is_some());
        let (reason, fix) = trouble(&shown, "SourceHeld").unwrap();
        assert!(
            reason.contains("erp is not read") && fix.contains("tandem map resume customers"),
            "{reason}: {fix}"
        );
    }
    // Writes pass, and stay where they are: also for the other map, and over a restart.
    insert(&house, 5);
    house.app("erp").execute("INSERT INTO orders VALUES (1, 'K01', 5)", []).unwrap();
    tandem.kill();
    let tandem = house.serve();
    tandem.until(&["app", "list"], |list| {
        list["items"].as_array().unwrap().iter().all(|app| app["capturing"] == false)
    });
    assert_eq!(tandem.ok(&["queue", "stats", "customers"])["records"], 4);
    let shown = tandem.ok(&["map", "show", "customers"]);
    assert!(trouble(&shown, "SourceHeld").is_some() && trouble(&shown, "WritesBlocked").is_none(), "{shown}");

    tandem.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!((until_equal(&house, "customers"), until_equal(&house, "orders")), (5, 1));
    let shown = tandem.ok(&["map", "show", "orders"]);
    assert!(trouble(&shown, "SourceHeld").is_none(), "{shown}");
    let log = tandem.ok(&["activity", "--map", "orders"]);
    let of =
        |event: &str| log["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == event).count();
    assert_eq!((of("source.held"), of("source.released")), (1, 1), "{log}");
}
