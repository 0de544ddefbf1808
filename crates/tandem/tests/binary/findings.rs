//! What `tandem check` finds between a map and both tables, told as people read it: one finding for one trouble, with what
//! mends it.

use crate::house::House;
use crate::postgres::world;
use serde_json::Value as Json;
use tandem_proof_servers::PostgresOptions;

/// What is found of an app's table: code, severity, message and fix.
fn of(house: &House, table: &str) -> Vec<[String; 4]> {
    let found = house.tandem(&["check", "-o", "json"]).json();
    let about = |finding: &&Json| {
        let place = finding["place"].as_str().unwrap();
        place.split([' ', '.']).any(|word| word == table)
    };
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let told = |f: &Json| [text(&f["code"]), text(&f["severity"]), text(&f["message"]), text(&f["fix"])];
    found["items"].as_array().unwrap().iter().filter(about).map(told).collect()
}

fn codes(found: &[[String; 4]]) -> Vec<&str> {
    found.iter().map(|[code, ..]| code.as_str()).collect()
}

/// A view has no keys, so its key would be called not unique, and what mends that cannot be done to a view.
#[test]
fn of_a_view_it_is_said_that_it_is_one_and_nothing_else() {
    let house = House::new();
    for app in ["erp", "crm"] {
        house.app(app).execute_batch("CREATE VIEW seen AS SELECT no, name FROM customers").unwrap();
    }
    let (postgres, server) = world(PostgresOptions::default());
    let views = [
        ("erp", "CREATE VIEW seen AS SELECT customer_no, name, city FROM customers"),
        ("crm", "CREATE MATERIALIZED VIEW seen AS SELECT ext_no, display_name, town FROM accounts"),
    ];
    for (database, view) in views {
        server.sql_blocking(database, &format!("SET ROLE tandem; {view}"));
    }
    let sides = [
        (&house, "table = \"customers\", key", "table = \"seen\", key", "not_a_table"),
        (&postgres, "table = \"public.customers\"", "table = \"public.seen\"", "table_kind"),
        (&postgres, "table = \"public.accounts\"", "table = \"public.seen\"", "table_kind"),
    ];
    for (house, table, view, code) in sides {
        let before = house.tandem(&["check", "-o", "json"]).ended(0, "").json();
        assert_eq!(before["items"], serde_json::json!([]), "{before}");
        house.edit(table, view);
        house.tandem(&["check"]).ended(3, "");
        let found = of(house, "seen");
        assert!(!found.is_empty() && codes(&found).iter().all(|found| *found == code), "{found:?}");
        assert!(
            found.iter().all(|[.., fix]| fix == "name the table in the config that it is made of"),
            "{found:?}"
        );
        house.edit(view, table);
    }
}
