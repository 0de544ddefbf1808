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

#[test]
fn a_key_column_that_may_be_null_is_told_of_with_what_mends_it() {
    let (house, server) = world(PostgresOptions::default());
    let two = "ALTER TABLE customers ADD mail text UNIQUE; ALTER TABLE customers REPLICA IDENTITY FULL";
    server.sql_blocking("erp", two);
    house.edit(
        "left = { app = \"erp\", table = \"public.customers\", key = [\"customer_no\"] }",
        "left = { app = \"erp\", table = \"public.customers\", key = [\"mail\"] }",
    );
    house.edit("{ left = \"customer_no\", right = \"ext_no\" },", "{ left = \"mail\", right = \"ext_no\" },");
    let found = of(&house, "public");
    let told = found.iter().find(|[code, ..]| code == "key_nullable").unwrap();
    let [_, severity, message, fix] = told;
    assert_eq!(severity, "warning");
    assert!(message.contains("the key column mail may be null"), "{message}");
    assert!(fix.starts_with("ALTER mail SET NOT NULL"), "{fix}");
    // What it says mends it; so is a column of a primary key, without a word.
    server.sql_blocking("erp", "ALTER TABLE customers ALTER mail SET NOT NULL");
    assert!(!codes(&of(&house, "public")).contains(&"key_nullable"));

    let house = House::new();
    house.app("erp").execute_batch("CREATE TABLE m (no TEXT UNIQUE, name TEXT)").unwrap();
    house.app("erp").execute_batch("CREATE TABLE n (no TEXT NOT NULL UNIQUE, name TEXT)").unwrap();
    let from = "left = { app = \"erp\", table = \"customers\"";
    assert!(
        !codes(&of(&house, "customers")).contains(&"key_nullable"),
        "SQLite's primary keys may be null, all of them"
    );
    house.edit(from, &from.replace("customers", "m"));
    assert!(codes(&of(&house, "m")).contains(&"key_nullable"));
    house.edit(&from.replace("customers", "m"), &from.replace("customers", "n"));
    assert!(!codes(&of(&house, "n")).contains(&"key_nullable"));
}

#[test]
fn a_step_that_may_make_one_key_of_two_is_told_of_and_one_that_cannot_is_not() {
    let (postgres, _server) = world(PostgresOptions::default());
    let sqlite = House::new();
    let plain = "columns = [{ left = \"no\", right = \"no\" }, { left = \"name\", right = \"name\" }]";
    let right = "right = { app = \"crm\", table = \"customers\", key = [\"no\"] }";
    sqlite.edit(right, &format!("{right}\n{plain}"));
    let sides = [
        (&postgres, "{ left = \"customer_no\", right = \"ext_no\"", "customer_no", "public"),
        (&sqlite, "{ left = \"no\", right = \"no\"", "no", "customers"),
    ];
    for (house, column, name, table) in sides {
        assert_eq!(codes(&of(house, table)), [""; 0]);
        for (step, merges) in [
            ("to_right = [{ trim = true }]", true),
            ("to_right = [{ case = \"upper\" }]", true),
            ("to_right = [{ replace = { from = \"-\", to = \"\" } }]", true),
            ("values = { A = \"B\" }", false),
        ] {
            let stepped = format!("{column}, {step}");
            house.edit(column, &stepped);
            let found = of(house, table);
            let told = found.iter().find(|[code, ..]| code == "key_merges");
            assert_eq!(told.is_some(), merges, "{step}: {found:?}");
            if let Some([_, severity, message, fix]) = told {
                assert_eq!(severity, "warning");
                assert!(message.contains("may make one key of two") && message.contains(name), "{message}");
                assert!(!fix.is_empty());
            }
            house.edit(&stepped, column);
        }
    }
}
