//! A child is paused for a weekend, and one of its parents is deleted: that record waits, and no other.

use crate::house::{House, PATIENCE, Server, items, running};
use crate::postgres::{run, trouble, until, world};
use serde_json::Value as Json;
use std::time::Instant;
use tandem_proof_servers::PostgresOptions;

/// Two apps of one kind with customers and orders.
struct Pair<'a> {
    tandem: &'a Server,
    /// A user of the left app does something.
    erp: &'a dyn Fn(&str),
    /// Waits until a query in the right app gives these rows.
    crm: &'a dyn Fn(&str, &[&str]),
    /// The key of the left app's customers, and of both apps' orders.
    keys: [&'a str; 2],
    customers: &'a str,
    orders: &'a str,
}

fn errors(map: &Json) -> [u64; 3] {
    ["open", "waiting", "retrying"].map(|status| map["errors"][status].as_u64().unwrap())
}

fn waits(map: &Json) -> Option<&str> {
    let found = map["conditions"].as_array()?.iter().find(|found| found["type"] == "RecordsWaiting")?;
    assert_eq!(found["well"], true, "it is no trouble");
    found["reason"].as_str()
}

fn a_customer_is_deleted_while_the_orders_are_paused(pair: &Pair<'_>) {
    let Pair { tandem, erp, crm, keys: [customer, order], customers, orders } = pair;
    erp("INSERT INTO customers VALUES ('K1', 'ann@example.com'), ('K2', 'bob@example.com')");
    erp("INSERT INTO orders VALUES (1, 'K1', 100), (2, 'K2', 200)");
    crm(orders, &["1|K1", "2|K2"]);
    tandem.ok(&["map", "pause", "orders", "--wait"]);

    erp(&format!("DELETE FROM orders WHERE {order} = 1"));
    erp(&format!("DELETE FROM customers WHERE {customer} = 'K1'"));
    erp("INSERT INTO customers VALUES ('K3', 'cyd@example.com')");
    crm(customers, &["K1|ann@example.com", "K2|bob@example.com", "K3|cyd@example.com"]);
    // The deleted one still has this address at the destination.
    erp("INSERT INTO customers VALUES ('K4', 'ann@example.com')");
    erp("INSERT INTO orders VALUES (4, 'K4', 400)");
    erp(&format!("UPDATE customers SET name = 'bea@example.com' WHERE {customer} = 'K2'"));
    crm(customers, &["K1|ann@example.com", "K2|bea@example.com", "K3|cyd@example.com"]);

    let map = tandem.until(&["map", "show", "customers"], |map| errors(map) == [0, 2, 0]);
    assert_eq!(waits(&map), Some("2 records wait for orders"), "{map}");
    assert_eq!((map["state"].as_str(), trouble(&map, "ErrorsOpen")), (Some("running"), None), "{map}");
    let listed = tandem.ok(&["error", "list", "customers", "--status", "waiting"]);
    let codes: Vec<&str> = items(&listed).iter().map(|error| error["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["waits_for_map", "waits_for_map"], "{listed}");
    let fix = items(&listed)[0]["fix"].as_str().unwrap();
    assert!(fix.contains("resume the map that is behind"), "{fix}");

    // Whoever tries them now does no harm, and is not told of a failure; whoever stops the map has to say what becomes of them.
    tandem.ok(&["error", "retry", "customers", "--all", "--wait"]);
    let map = tandem.until(&["map", "show", "customers"], |map| errors(map) == [0, 2, 0]);
    assert_eq!(waits(&map), Some("2 records wait for orders"), "{map}");
    tandem.tandem(&["map", "stop", "customers", "orders"]).ended(3, "--queue");

    tandem.ok(&["map", "resume", "orders", "--wait"]);
    crm(customers, &["K2|bea@example.com", "K3|cyd@example.com", "K4|ann@example.com"]);
    crm(orders, &["2|K2", "4|K4"]);
    for map in ["customers", "orders"] {
        let shown = tandem.until(&["map", "show", map], |map| errors(map) == [0, 0, 0]);
        assert_eq!((waits(&shown), trouble(&shown, "ErrorsOpen")), (None, None), "{shown}");
    }
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let by_itself = |entry: &&Json| entry["event"] == "errors.retry" && entry["actor"] == "tandem";
    let told = items(&log).iter().find(by_itself).unwrap_or_else(|| panic!("nothing is told: {log}"));
    assert_eq!(told["reason"], "the maps that these waited for have come as far", "{told}");
}

#[test]
fn a_parents_delete_waits_for_a_paused_child_and_other_records_of_postgresql_do_not() {
    let (house, server) = world(PostgresOptions::default());
    server.sql_blocking("erp", "CREATE UNIQUE INDEX one_each ON customers (name)");
    server.sql_blocking("crm", "CREATE UNIQUE INDEX one_each ON accounts (display_name)");
    let tandem = run(&house);
    a_customer_is_deleted_while_the_orders_are_paused(&Pair {
        tandem: &tandem,
        erp: &|sql| drop(server.sql_blocking("erp", sql)),
        crm: &|query, wanted| until(&server, "crm", query, wanted),
        keys: ["customer_no", "order_no"],
        customers: "SELECT ext_no, display_name FROM accounts ORDER BY 1",
        orders: "SELECT order_no, account_no FROM orders ORDER BY 1",
    });
}

#[test]
fn a_parents_delete_waits_for_a_paused_child_and_other_records_of_sqlite_do_not() {
    let house = House::new();
    for app in ["erp", "crm"] {
        house.app(app).execute_batch("CREATE UNIQUE INDEX one_each ON customers (name)").unwrap();
    }
    let tandem = running(&house);
    a_customer_is_deleted_while_the_orders_are_paused(&Pair {
        tandem: &tandem,
        erp: &|sql| house.app("erp").execute_batch(sql).unwrap(),
        crm: &|query, wanted| until_rows(&house, query, wanted),
        keys: ["no", "no"],
        customers: "SELECT no || '|' || name FROM customers ORDER BY 1",
        orders: "SELECT no || '|' || customer FROM orders ORDER BY 1",
    });
}

fn until_rows(house: &House, query: &str, wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let app = house.app("crm");
        let mut statement = app.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let seen: Vec<String> = rows.map(Result::unwrap).collect();
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {seen:?}, not {wanted:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
