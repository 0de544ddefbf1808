//! Deletes that a guard could not stop: they are queued, and somebody is told.

use crate::house::{House, Server, until_equal};
use crate::maintenance::{refused, well};
use crate::postgres::{run, until, world};
use tandem_proof_servers::PostgresOptions;

/// What the activity log tells of guards that were passed.
fn told(tandem: &Server) -> Vec<String> {
    let log = tandem.ok(&["activity", "--map", "orders"]);
    let entries = log["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "guard.bypassed");
    entries.map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_gets_past_a_guard_of_postgresql_is_queued_and_told() {
    let (house, server) = world(PostgresOptions::default());
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\ndeletes = \"queue\"",
        "name = \"orders\"\ndepends_on = [\"customers\"]",
    );
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO orders SELECT no, NULL, 1 FROM generate_series(1, 9) AS no");
    until(&server, "crm", "SELECT count(*) FROM orders", &["9"]);

    // A delete that was committed before the guard stood is no bypass, also if it is seen afterwards.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let long = runtime.block_on(server.connect("erp"));
    runtime.block_on(long.batch_execute("BEGIN; DELETE FROM orders WHERE order_no = 1")).unwrap();
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    runtime.block_on(long.batch_execute("COMMIT")).unwrap();
    well(&tandem, "orders", "GuardArmed");
    // Replication's own role does not pass.
    let role = "SET session_replication_role = replica; DELETE FROM orders WHERE order_no = 2";
    assert!(refused(&server, role).contains("queued state"));
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 1);
    assert!(told(&tandem).is_empty(), "{:?}", told(&tandem));

    server.sql_blocking("erp", "SET tandem.apply = 'on'; DELETE FROM orders WHERE order_no IN (2, 3)");
    tandem.until(&["map", "show", "orders"], |_| !told(&tandem).is_empty());
    let once = told(&tandem);
    assert!(once.len() == 1 && once[0].starts_with("2 deletes of erp→crm, from Seq"), "{once:?}");
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 3);

    // What is known of the arming outlives the engine; a superuser goes round the triggers, and is seen.
    tandem.kill();
    let tandem = house.serve();
    well(&tandem, "orders", "GuardArmed");
    server.sql_blocking("erp", "ALTER TABLE orders DISABLE TRIGGER USER; TRUNCATE orders");
    tandem.until(&["map", "show", "orders"], |_| told(&tandem).len() == 2);
    assert!(told(&tandem).iter().any(|detail| detail.starts_with("1 deletes of")), "{:?}", told(&tandem));
    // The end of the pause tells the rest, and the minute has not passed.
    server.sql_blocking("erp", "INSERT INTO orders VALUES (20, NULL, 1)");
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 5);
    tandem.ok(&["map", "resume", "orders", "--wait"]);
    assert_eq!(told(&tandem).len(), 2, "{:?}", told(&tandem));
}

#[test]
fn what_gets_past_a_guard_of_a_file_is_queued_and_told_once() {
    let house = House::new();
    house.edit("depends_on = [\"customers\"]\ndeletes = \"queue\"", "depends_on = [\"customers\"]");
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch(
        "INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 5), (2, 'K1', 5), (3, 'K1', 5)",
    )
    .unwrap();
    assert_eq!(until_equal(&house, "orders"), 3);
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    well(&tandem, "orders", "GuardArmed");
    let past = |no: u32| {
        let delete = format!("DELETE FROM orders WHERE no = {no}");
        let ours = "INSERT INTO _tandem_ours VALUES (1)";
        erp.execute_batch(&format!("BEGIN IMMEDIATE; {ours}; {delete}; DELETE FROM _tandem_ours; COMMIT"))
            .unwrap();
    };
    past(1);
    tandem.until(&["map", "show", "orders"], |_| !told(&tandem).is_empty());
    past(2);
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 2);
    assert_eq!(told(&tandem).len(), 1, "once a minute: {:?}", told(&tandem));
    tandem.ok(&["map", "resume", "orders", "--wait"]);
    assert_eq!(until_equal(&house, "orders"), 1);
    // The pause has ended, and the rest is told.
    tandem.until(&["map", "show", "orders"], |_| told(&tandem).len() > 1);
    let all = told(&tandem);
    assert!(all.len() == 2 && all.iter().all(|detail| detail.starts_with("1 deletes of")), "{all:?}");
}
