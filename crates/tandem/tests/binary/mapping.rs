//! What a record becomes on its way between real servers: transforms, expressions, filters; and what a check and a
//! try say of it beforehand.

use crate::access::{ask_as, token};
use crate::house::{House, items};
use crate::postgres::{until, world};
use serde_json::json;
use tandem_proof_servers::PostgresOptions;

const MAPPED: &str = r#"on_leave = "delete"
left = { app = "erp", table = "public.customers", key = ["customer_no"], filter = "status != 'draft'" }
right = { app = "crm", table = "public.accounts", key = ["ext_no"] }
columns = [
  { left = "customer_no", right = "ext_no", to_right = [{ trim = true }] },
  { left = "name", right = "display_name", to_right = [{ trim = true }, { truncate = 5 }, { case = "upper" }] },
  { left = "city", right = "town", default = "nowhere" },
  { left = "grp", right = "segment", values = { "10" = "retail", "20" = "wholesale" } },
  { left = "total", right = "total", to_right = [{ scale = 2, rounding = "half_even" }] },
  { right = "origin", constant = "erp" },
  { right = "label", to_right = [{ expression = "name + ' / ' + decimal_mul(total, 2)" }] },
]
"#;

/// A PostgreSQL server with a map that does everything at once.
fn mapped() -> (crate::house::House, tandem_proof_servers::PostgresServer) {
    let (house, server) = world(PostgresOptions::default());
    server.sql_blocking("erp", "ALTER TABLE customers ADD status text, ADD grp int, ADD total numeric");
    server.sql_blocking(
        "crm",
        "ALTER TABLE accounts ADD segment text, ADD total numeric(12,2), ADD origin text, ADD label text",
    );
    house.edit(
        r#"left = { app = "erp", table = "public.customers", key = ["customer_no"] }
right = { app = "crm", table = "public.accounts", key = ["ext_no"] }
columns = [
  { left = "customer_no", right = "ext_no" },
  { left = "name", right = "display_name" },
  { left = "city", right = "town" },
]
"#,
        MAPPED,
    );
    (house, server)
}

const ACCOUNTS: &str = "SELECT * FROM accounts ORDER BY 1";

#[test]
fn records_arrive_as_the_map_makes_them_and_only_those_that_the_filter_lets_through() {
    let (house, server) = mapped();
    let found = house.tandem(&["check", "-o", "json"]).ended(3, "").json();
    let finding = items(&found).iter().find(|finding| finding["code"] == "replica_identity").unwrap();
    assert!(
        finding["message"].as_str().unwrap().contains("status, which the map's filter reads"),
        "{finding}"
    );
    let fix = finding["fix"].as_str().unwrap();
    assert_eq!(fix, "ALTER TABLE \"public\".\"customers\" REPLICA IDENTITY FULL;");
    server.sql_blocking("erp", fix);
    house.tandem(&["check"]).ended(0, "0 errors");

    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "--no-initial-sync", "--wait"]);
    server.sql_blocking(
        "erp",
        "INSERT INTO customers VALUES (' K1 ', ' Annabel ', NULL, 'open', 10, 1.125), ('K2', 'Bob', 'Graz', 'draft', 20, 2),
            ('K3', 'Cyd', 'Brno', NULL, 20, 3), ('K4', 'Dan', 'Wien', 'open', 99, 4)",
    );
    let k1 = "K1|ANNAB|nowhere|retail|1.12|erp| Annabel  / 2.250";
    let k3 = "K3|CYD|Brno|wholesale|3.00|erp|Cyd / 6";
    until(&server, "crm", ACCOUNTS, &[k1, k3]);
    let page = tandem.until(&["error", "list", "customers"], |page| items(page).len() == 1);
    let error = &items(&page)[0];
    assert_eq!((&error["code"], &error["key"]), (&json!("value_unmapped"), &json!(["K4"])));
    assert!(!error["message"].as_str().unwrap().contains("99"), "no value in a message: {error}");
    assert!(error["fix"].as_str().unwrap().contains("unmapped_values"), "{error}");

    // One comes into the filter, one leaves it, and one that never was in it is deleted.
    server.sql_blocking("crm", "INSERT INTO accounts VALUES ('K5', 'ours', 'x')");
    server.sql_blocking(
        "erp",
        "UPDATE customers SET status = 'open' WHERE customer_no = 'K2';
         UPDATE customers SET status = 'draft' WHERE customer_no = 'K3';
         INSERT INTO customers VALUES ('K5', 'Eve', NULL, 'draft', 10, 5); DELETE FROM customers WHERE customer_no = 'K5'",
    );
    let k2 = "K2|BOB|Graz|wholesale|2.00|erp|Bob / 4";
    until(&server, "crm", ACCOUNTS, &[k1, k2, "K5|ours|x|∅|∅|∅|∅"]);
    server.sql_blocking("erp", "DELETE FROM customers WHERE customer_no = ' K1 '");
    until(&server, "crm", ACCOUNTS, &[k2, "K5|ours|x|∅|∅|∅|∅"]);
    let map = tandem.until(&["map", "show", "customers"], |map| map["flows"][0]["filtered"] == 3);
    assert_eq!(map["left"]["filter"], "status != 'draft'");
    let text = tandem.tandem(&["map", "show", "customers"]).ended(0, "").out;
    assert!(text.contains("3 left out by the filter"), "{text}");

    // What is queued is shown as the map makes it, and what it leaves out as well.
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K6', 'Flo', NULL, 'draft', 10, 5)");
    let queue = tandem.until(&["queue", "list", "customers"], |page| items(page).len() == 1);
    let seq = items(&queue)[0]["seq"].to_string();
    let text = tandem.tandem(&["queue", "show", "customers", &seq]).ended(0, "").out;
    assert!(text.contains("the map's filter leaves it out"), "{text}");
}

#[test]
fn what_a_map_does_with_each_column_is_shown_and_what_is_sensitive_of_it_is_masked() {
    let house = House::new();
    house.edit(
        "right = { app = \"crm\", table = \"customers\", key = [\"no\"] }",
        r#"right = { app = "crm", table = "customers", key = ["no"] }
direction = "both"
conflict = "latest_wins"
columns = [
  { left = "no", right = "no" },
  { left = "name", right = "name", to_right = [{ trim = true }], to_left = [], values = { "10" = "retail" } },
  { left = "pin", right = "pin", sensitive = true, direction = "to_right",
    to_right = [{ default = "Zx9q-a" }, { replace = { from = "Zx9q-b", to = "" } }, { truncate = 4 }] },
  { right = "origin", constant = "erp" },
]"#,
    );
    let server = house.serve();
    let column = |name: &str| json!({"kind": "column", "name": name});
    let way = |from: &serde_json::Value, steps: serde_json::Value| json!({"from": from, "steps": steps, "lookup": null});
    let pin = |default: &str, from: &str, to: &str| {
        let replace = json!({"kind": "replace", "from": from, "to": to});
        let steps =
            json!([{"kind": "default", "value": default}, replace, {"kind": "truncate", "characters": 4}]);
        json!({"left": "pin", "right": "pin", "key": false, "sensitive": true, "to_right": way(&column("pin"), steps), "to_left": null})
    };
    let values = |from: &str, to: &str| json!({"kind": "values", "pairs": [{"from": from, "to": to}], "others_pass": false});
    let named = |name: &str, to_right, to_left| json!({"left": name, "right": name, "key": name == "no", "sensitive": false, "to_right": to_right, "to_left": to_left});
    let constant = way(&json!({"kind": "constant", "value": "erp"}), json!([]));
    let whole = json!({
        "columns": [
            named("no", way(&column("no"), json!([])), way(&column("no"), json!([]))),
            // On the way back the list of values comes first: it is said in the order in which it is done.
            named("name", way(&column("name"), json!([{"kind": "trim"}, values("10", "retail")])), way(&column("name"), json!([values("retail", "10")]))),
            pin("Zx9q-a", "Zx9q-b", ""),
            {"left": null, "right": "origin", "key": false, "sensitive": false, "to_right": constant, "to_left": null},
        ],
        "initial_sync": true,
        "two_way": {"conflict": "latest_wins", "side_effects": "sync", "master": "left"},
    });
    assert_eq!(server.ok(&["map", "show", "customers"])["mapping"], whole);
    let other = server.ok(&["map", "show", "orders"])["mapping"].clone();
    assert_eq!(other, json!({"columns": null, "initial_sync": true, "two_way": null}));
    let text = server.tandem(&["map", "show", "customers"]).ended(0, "").out;
    for line in [
        "no ↔ no (key)\n",
        "name ↔ name: to the right trimmed, values [\"10\" = \"retail\"; others are refused]; to the left values",
        "pin → pin (sensitive): null becomes \"Zx9q-a\", \"Zx9q-b\" replaced by \"\", at most 4 characters\n",
        "→ origin: always \"erp\"\n",
        "latest_wins",
    ] {
        assert!(text.contains(line), "'{line}' is not in: {text}");
    }

    for role in ["viewer", "operator"] {
        let secret = token(&server, &[role, "--role", role]);
        let seen = ask_as(&server, &secret, "GET", "/api/v1/maps/customers/mapping", "");
        assert!(!seen.text.contains("Zx9q"), "{role}: {}", seen.text);
        assert_eq!(seen.body["columns"][2], pin("(masked)", "(masked)", "(masked)"), "{role}");
        assert_eq!(seen.body["columns"][1], whole["columns"][1], "{role}");
        let bound = token(&server, &[&format!("{role}-bound"), "--role", role, "--map", "orders"]);
        assert_eq!(ask_as(&server, &bound, "GET", "/api/v1/maps/customers/mapping", "").status, 404);
    }
    server.tandem(&["map", "show", "nobody"]).ended(5, "there is no map nobody");
}

#[test]
fn a_map_is_tried_on_a_row_whether_it_runs_or_not_and_with_its_apps_away() {
    let (house, mut server) = mapped();
    server.sql_blocking("erp", "ALTER TABLE customers REPLICA IDENTITY FULL");
    let tandem = house.serve();
    let row = |status: &str, grp: i64| {
        json!({"customer_no": " K1", "name": "Ann", "city": null, "status": status, "grp": grp, "total": "1.005"})
            .to_string()
    };
    let written = json!({
        "ext_no": "K1", "display_name": "ANN", "town": "nowhere", "segment": "retail", "total": "1.00",
        "origin": "erp", "label": "Ann / 2.010",
    });
    let tried = tandem.ok(&["map", "try", "customers", "--row", &row("open", 10)]);
    assert_eq!((&tried["image"]["values"], &tried["filtered"]), (&written, &json!(false)));
    // As the source would have it: there are numbers that no JSON has.
    let odd = row("open", 10).replace("1.005", "NaN");
    let tried = tandem.tandem(&["map", "try", "customers", "--row", &odd, "-o", "json"]).ended(1, "").json();
    assert_eq!(tried["unwritable"]["code"], "expression_failed", "the label multiplies it: {tried}");
    tandem.ok(&["map", "run", "customers", "--no-initial-sync", "--wait"]);
    server.stop();
    let tried = tandem.ok(&["map", "try", "customers", "--row", &row("open", 10), "--to", "right"]);
    assert_eq!(tried["image"]["values"], written);
    let text = tandem.tandem(&["map", "try", "customers", "--row", &row("draft", 10)]).ended(0, "").out;
    assert!(text.contains("the map's filter leaves it out"), "{text}");
    let text = tandem.tandem(&["map", "try", "customers", "--row", &row("open", 99)]).ended(1, "").out;
    assert!(text.contains("value_unmapped") && text.contains("fix: "), "{text}");
    let text =
        tandem.tandem(&["map", "try", "customers", "--row", "{\"customer_no\": \"x\"}"]).ended(1, "").out;
    assert!(text.contains("has no column"), "{text}");
    tandem.tandem(&["map", "try", "customers", "--row", "[1]"]).ended(2, "this is no JSON object");
    tandem
        .tandem(&["map", "try", "customers", "--row", "{}", "--to", "left"])
        .ended(2, "does not go to the left");
    tandem.tandem(&["map", "try", "nobody", "--row", "{}"]).ended(5, "there is no map nobody");
}

#[test]
fn a_check_says_what_will_not_fit_and_which_map_comes_first() {
    let (house, server) = world(PostgresOptions::default());
    house.edit("depends_on = [\"customers\"]\n", "");
    server.sql_blocking(
        "crm",
        "ALTER TABLE accounts ALTER display_name TYPE varchar(20), ALTER town SET NOT NULL; ALTER TABLE orders ALTER order_no TYPE int",
    );
    server.sql_blocking("erp", "ALTER TABLE orders ALTER total TYPE numeric");
    let found = house.tandem(&["check", "-o", "json"]).ended(0, "").json();
    let told = |finding: &serde_json::Value| {
        let part = |name: &str| finding[name].as_str().unwrap().to_owned();
        assert_eq!(finding["severity"], "warning", "{finding}");
        (part("code"), part("place"), part("fix"))
    };
    let told: Vec<_> = items(&found).iter().map(told).collect();
    let expected = [
        ("type_narrower", "map customers: crm public.accounts.display_name", "add { truncate = 20 }"),
        ("null_refused", "map customers: crm public.accounts.town", "give the column a default"),
        ("foreign_key_undeclared", "map orders: crm public.orders", "depends_on = [\"customers\"]"),
        ("type_narrower", "map orders: crm public.orders.order_no", "ALTER the column order_no"),
        (
            "type_narrower",
            "map orders: crm public.orders.total",
            "add { scale = 2, rounding = \"half_even\" }",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (code, place, fix) in expected {
        let is_it = |found: &&(String, String, String)| found.0 == code && found.1 == place;
        let found = told.iter().find(is_it).unwrap_or_else(|| panic!("no {code} at {place}: {told:?}"));
        assert!(found.2.starts_with(fix), "{found:?}");
    }
}
