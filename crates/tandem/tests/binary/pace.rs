//! Resuming as people need it: how it gets on, how fast it may go, which parents go with it.

use crate::house::{House, PATIENCE, Server, rows, until_equal};
use crate::terminal::Terminal;
use serde_json::Value as Json;
use std::time::{Duration, Instant};

/// A house whose maps run, the parent paused, with so many records queued, each of a transaction of its own.
fn queued(count: u64) -> (House, Server) {
    let house = House::new();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    for no in 1..=count {
        erp.execute("INSERT INTO customers VALUES (?1, 'Ann')", [format!("K{no:03}")]).unwrap();
        tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == no);
    }
    (house, tandem)
}

fn activity(tandem: &Server, map: &str) -> String {
    tandem.ok(&["activity", "--map", map]).to_string()
}

#[test]
fn a_capped_resume_shows_how_it_gets_on_and_outlives_a_restart() {
    let (house, tandem) = queued(16);
    for wrong in [["--rate", "0"], ["--rate", "fast"]] {
        tandem.tandem(&[&["map", "resume", "customers"][..], &wrong[..]].concat()).ended(2, "--rate");
    }
    let skips = ["map", "resume", "customers", "--mode", "skip-discard", "--yes", "--rate", "5"];
    tandem.tandem(&skips).ended(2, "what is skipped is not applied");

    let begun = Instant::now();
    tandem.ok(&["map", "resume", "customers", "--rate", "2"]);
    let shown =
        tandem.until(&["map", "show", "customers"], |map| map["catch_up"]["applied"].as_u64() >= Some(2));
    let progress = &shown["catch_up"];
    assert_eq!((&shown["state"], &progress["rate_cap"]), (&"resuming".into(), &2.into()), "{shown}");
    let figure = |name: &str| progress[name].as_u64().unwrap();
    assert_eq!(figure("applied") + figure("records"), 16, "{shown}");
    assert_eq!(progress["records"], shown["queue"]["records"], "{shown}");
    tandem.until(&["map", "show", "customers"], |map| map["catch_up"]["eta_seconds"].as_u64() >= Some(1));
    let text = tandem.tandem(&["map", "show", "customers"]).ended(0, "").out;
    for part in ["catching up", "(at most 2/s)", "done in"] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    let list = tandem.tandem(&["map", "list"]).ended(0, "").out;
    assert!(list.contains("resuming ") && list.contains(" %"), "{list}");
    // The child goes along, and at the same pace: it is the destination that is to be spared.
    assert!(
        activity(&tandem, "orders").contains("at most 2 records a second"),
        "{}",
        activity(&tandem, "orders")
    );

    tandem.kill();
    let tandem = house.serve();
    let shown = tandem.ok(&["map", "show", "customers"]);
    assert_eq!((&shown["state"], &shown["catch_up"]["rate_cap"]), (&"resuming".into(), &2.into()), "{shown}");
    let asked = Instant::now();
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    assert!(asked.elapsed().as_secs() < 4, "a pause does not wait for its turn: {:?}", asked.elapsed());

    tandem.ok(&["map", "resume", "customers", "--rate", "4"]);
    let shown = tandem.ok(&["map", "wait", "customers", "--for", "running"]);
    assert_eq!(shown["catch_up"], Json::Null);
    assert!(begun.elapsed().as_secs_f64() > 3.0, "16 records, at 2/s and then at 4/s: {:?}", begun.elapsed());
    // What is live has no cap.
    let live = Instant::now();
    let erp = house.app("erp");
    for no in 100..200 {
        erp.execute("INSERT INTO customers VALUES (?1, 'Bob')", [no]).unwrap();
    }
    assert_eq!(until_equal(&house, "customers"), 116);
    assert!(live.elapsed().as_secs() < 15, "{:?}", live.elapsed());
}

/// A person who waits at a terminal sees a bar; whoever reads stdout sees the same as without it.
#[test]
fn whoever_waits_for_a_catch_up_at_a_terminal_sees_how_it_gets_on() {
    let (house, tandem) = queued(8);
    let (code, seen) = Terminal::asks(&tandem, "map resume customers --rate 3 --wait").end("");
    assert_eq!(code, Some(0), "{seen}");
    for part in ["customers [", "left (", "(at most 3/s)"] {
        assert!(seen.contains(part), "'{part}' is not in: {seen:?}");
    }
    assert!(seen.contains("running"), "{seen:?}");
    assert_eq!(until_equal(&house, "customers"), 8);
}

/// The child is asked for, and the parent that stands in its way goes first: both, or none.
#[test]
fn a_map_is_resumed_with_the_parents_that_it_needs_or_not_at_all() {
    let (house, tandem) = queued(2);
    let paused = |map: &str| assert_eq!(tandem.ok(&["map", "show", map])["state"], "paused", "{map}");
    // A person's own hold on the child, beside the parent's.
    tandem.ok(&["map", "pause", "orders"]);
    let (erp, crm) = (house.app("erp"), house.app("crm"));
    erp.execute("INSERT INTO orders VALUES (1, 'K001', 5)", []).unwrap();
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 1);
    tandem
        .tandem(&["map", "resume", "orders"])
        .ended(3, "depends on customers, which must be live first (--with-parents");

    let plan = tandem.ok(&["map", "plan", "resume", "orders", "--with-parents"]);
    let maps: Vec<_> = plan["maps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|map| (&map["name"], &map["to"], &map["goes_along"]))
        .collect();
    let expected =
        [("customers", true), ("orders", false)].map(|(map, along)| (Json::from(map), Json::from(along)));
    let seen = maps.iter().map(|(map, to, along)| {
        assert_eq!(**to, "resuming");
        ((*map).clone(), (*along).clone())
    });
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    paused("customers");

    // What stands in the parent's way stands in the way of both.
    crm.execute_batch("ALTER TABLE customers RENAME COLUMN no TO nr").unwrap();
    tandem.tandem(&["map", "resume", "orders", "--with-parents"]).ended(3, "nothing was changed");
    paused("customers");
    paused("orders");
    crm.execute_batch("ALTER TABLE customers RENAME COLUMN nr TO no").unwrap();

    // The child's queue is dropped, the parent's is not: nobody has asked for that.
    let asked = ["map", "resume", "orders", "--with-parents", "--mode", "skip-discard", "--yes", "--wait"];
    let ran = tandem.tandem(&asked).ended(0, "resume goes along: customers");
    assert!(ran.out.contains("customers  running"), "{ran:?}");
    assert_eq!(until_equal(&house, "customers"), 2);
    let log = activity(&tandem, "customers");
    assert!(log.contains("map.resume") && log.contains("goes along with orders"), "{log}");
    let entries = tandem.ok(&["activity", "--map", "customers"]);
    let resumed =
        entries["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "map.resume").unwrap();
    assert_eq!(resumed["to"], "resuming", "the parent catches up: {resumed}");
    erp.execute("INSERT INTO orders VALUES (2, 'K002', 6)", []).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while rows(&crm, "orders").len() != 1 {
        assert!(Instant::now() < deadline, "{:?}", rows(&crm, "orders"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(rows(&crm, "orders")[0].contains("K002"));
}
