//! Records that refer to others by what each app knows of them: the left one by a number, the right one by an id that it
//! gave itself.

use crate::house::{House, items};
use crate::postgres::{until, world};
use serde_json::json;
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// Accounts get their ids from the database, other ones than anybody would guess.
fn shop() -> (House, PostgresServer) {
    let (house, server) = world(PostgresOptions::default());
    server.sql_blocking(
        "erp",
        "SET ROLE tandem; ALTER TABLE orders DROP CONSTRAINT orders_customer_no_fkey;
         INSERT INTO customers SELECT 'K' || n, 'name ' || n, NULL FROM generate_series(1, 40) AS n;
         INSERT INTO orders SELECT n, 'K' || 1 + n % 40, n FROM generate_series(1, 600) AS n;
         INSERT INTO orders VALUES (0, NULL, 0)",
    );
    server.sql_blocking(
        "crm",
        "SET ROLE tandem; ALTER TABLE orders DROP account_no; ALTER TABLE accounts ADD id bigserial UNIQUE;
         ALTER TABLE orders ADD account_id bigint REFERENCES accounts (id); ALTER SEQUENCE accounts_id_seq RESTART 700",
    );
    house.edit(
        "{ left = \"customer_no\", right = \"account_no\" }",
        "{ left = \"customer_no\", right = \"account_id\", lookup = { map = \"customers\", column = \"id\" } }",
    );
    house.edit("depends_on = [\"customers\"]\n", "");
    (house, server)
}

/// The orders of each side, with the number of their customer, behind some order.
fn until_equal(server: &PostgresServer, from: i64) {
    let left = format!("SELECT order_no, customer_no FROM orders WHERE order_no >= {from} ORDER BY 1");
    let rows = server.sql_blocking("erp", &left);
    let shown = |row: &Vec<Option<String>>| {
        row.iter().map(|cell| cell.as_deref().unwrap_or("∅")).collect::<Vec<_>>().join("|")
    };
    let rows: Vec<String> = rows.iter().map(shown).collect();
    let right = format!(
        "SELECT order_no, ext_no FROM orders LEFT JOIN accounts ON id = account_id WHERE order_no >= {from} ORDER BY 1"
    );
    until(server, "crm", &right, &rows.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn orders_refer_to_the_ids_that_the_other_app_gave_its_accounts() {
    let (house, server) = shop();
    house.tandem(&["check"]).ended(0, "2 apps, 2 maps: 0 errors");
    let tandem = house.serve();
    assert_eq!(tandem.ok(&["map", "show", "orders"])["depends_on"], json!(["customers"]));

    // The copy of the orders comes behind that of the customers.
    tandem.ok(&["map", "run", "customers", "orders", "--wait"]);
    until_equal(&server, 0);
    assert_eq!(items(&tandem.ok(&["error", "list"])).len(), 0);

    // Both in one transaction; and then the customer is queued when the order comes.
    server.sql_blocking(
        "erp",
        "BEGIN; INSERT INTO customers VALUES ('N1', 'new', NULL); INSERT INTO orders VALUES (1001, 'N1', 1); COMMIT;
         UPDATE orders SET customer_no = 'K7' WHERE order_no = 600; UPDATE orders SET customer_no = NULL WHERE order_no = 599",
    );
    until_equal(&server, 599);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES ('N2', 'queued', NULL); INSERT INTO orders VALUES (1002, 'N2', 2)",
    );
    tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == 1);
    tandem.tandem(&["map", "resume", "orders"]).ended(3, "customers");
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    until_equal(&server, 599);

    // Equal is what refers to the same record.
    let verified = tandem.ok(&["map", "verify", "orders"]);
    assert_eq!((&verified["equal"], &verified["changed"]), (&json!(603), &json!(0)), "{verified}");
    server.sql_blocking(
        "crm",
        "UPDATE orders SET account_id = (SELECT id FROM accounts WHERE ext_no = 'K1') WHERE order_no = 5",
    );
    let verified = tandem.tandem(&["map", "verify", "orders", "--repair", "left", "--yes", "-o", "json"]);
    let verified = verified.json();
    assert_eq!((&verified["changed"], &verified["repaired"]), (&json!(1), &json!(1)), "{verified}");
    until_equal(&server, 0);
    tandem.ok(&["map", "verify", "orders"]);
}

#[test]
fn a_record_that_refers_to_nothing_is_set_aside_until_it_does() {
    let (house, server) = shop();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--wait"]);
    server.sql_blocking("erp", "INSERT INTO orders VALUES (1001, 'NOBODY', 1), (1002, 'K3', 2)");
    let page = tandem.until(&["error", "list", "orders"], |page| items(page).len() == 1);
    let error = &items(&page)[0];
    assert_eq!((&error["code"], &error["class"]), (&json!("lookup_missing"), &json!("reference")), "{error}");
    assert!(!error["message"].as_str().unwrap().contains("NOBODY"), "no value in a message: {error}");
    assert!(error["fix"].as_str().unwrap().contains("tandem error list customers"), "{error}");
    until(&server, "crm", "SELECT order_no FROM orders WHERE order_no > 1000", &["1002"]);

    let tried = |no: &str| {
        let row = format!("{{\"order_no\": 9, \"customer_no\": \"{no}\", \"total\": \"1\"}}");
        tandem.ok(&["map", "try", "orders", "--row", &row])["image"]["looked_up"]["account_id"].clone()
    };
    let id = server.sql_blocking("crm", "SELECT id FROM accounts WHERE ext_no = 'K3'")[0][0].clone().unwrap();
    let found = tried("K3");
    assert_eq!((&found["state"], &found["map"]), (&json!("found"), &json!("customers")), "{found}");
    assert_eq!(found["value"].to_string(), id);
    assert_eq!(tried("NOBODY")["state"], "missing");

    server.sql_blocking("erp", "INSERT INTO customers VALUES ('NOBODY', 'somebody', NULL)");
    until(&server, "crm", "SELECT display_name FROM accounts WHERE ext_no = 'NOBODY'", &["somebody"]);
    tandem.ok(&["error", "retry", "orders", "--all"]);
    tandem.until(&["error", "list", "orders"], |page| items(page).is_empty());
    until_equal(&server, 0);
}

#[test]
fn a_map_that_goes_both_ways_takes_no_looked_up_value_for_a_change() {
    let (house, server) = shop();
    house.edit("name = \"orders\"\n", "name = \"orders\"\ndirection = \"both\"\n");
    house.tandem(&["check"]).ended(2, "a value is looked up on the way to the right only");
    house.edit("right = \"account_id\", ", "right = \"account_id\", direction = \"to_right\", ");
    for app in ["erp", "crm"] {
        server.sql_blocking(app, "TRUNCATE orders; ALTER TABLE orders REPLICA IDENTITY FULL");
    }
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--wait"]);
    server.sql_blocking("erp", "INSERT INTO orders VALUES (1, 'K1', 1), (2, NULL, 2)");
    until_equal(&server, 0);
    server.sql_blocking(
        "crm",
        "UPDATE orders SET total = 9 WHERE order_no = 1; INSERT INTO orders (order_no, total) VALUES (3, 3)",
    );
    until(&server, "erp", "SELECT * FROM orders ORDER BY 1", &["1|K1|9.00", "2|∅|2.00", "3|∅|3.00"]);
    server.sql_blocking("erp", "UPDATE orders SET customer_no = 'K2' WHERE order_no = 1");
    until_equal(&server, 0);
    // What was written last has come back as well, and everything went over once.
    server.sql_blocking("erp", "INSERT INTO orders VALUES (4, 'K4', 4)");
    server.sql_blocking("crm", "INSERT INTO orders (order_no, total) VALUES (5, 5)");
    until(&server, "erp", "SELECT count(*) FROM orders", &["5"]);
    until_equal(&server, 0);
    assert_eq!(tandem.ok(&["map", "verify", "orders"])["equal"], 5);
    let shown = tandem.ok(&["map", "show", "orders"]);
    let applied: Vec<_> = shown["flows"].as_array().unwrap().iter().map(|flow| &flow["applied"]).collect();
    assert_eq!(applied, [4, 3], "{shown}");
    assert_eq!((&shown["conflicts"], &shown["errors"]["open"]), (&json!(0), &json!(0)), "{shown}");
}
