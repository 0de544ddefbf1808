//! Bad input: each gives one clear message with what to do, an exit code, and loses nothing.

use crate::house::House;

#[test]
fn an_unknown_key_in_the_config_is_named_with_its_place() {
    let house = House::new();
    house.edit("deletes = \"queue\"", "delets = \"queue\"");
    for verb in ["serve", "check"] {
        house.tandem(&[verb, "-c", "tandem.toml"]).ended(2, "tandem.toml:10:1: unknown key 'delets'");
    }
    assert!(!house.path().join("tandem-data").exists(), "nothing was begun");
}

#[test]
fn a_config_that_is_not_there_is_named() {
    let house = House::new();
    let said = "nowhere.toml: cannot be read: No such file";
    house.tandem(&["serve", "-c", "nowhere.toml"]).ended(2, said);
    house.tandem(&["check", "-c", "nowhere.toml"]).ended(2, "name another with -c");
}

#[test]
fn an_address_without_a_connector_is_refused_without_its_password() {
    let house = House::new();
    house.write("secret", "hunter2");
    house.edit("sqlite:crm.db", "oracle://tandem:${file:secret}@crm/crm");
    let ran =
        house.tandem(&["check"]).ended(2, "app crm: there is no connector for oracle://tandem:***@crm/crm");
    assert!(!ran.err.contains("hunter2"), "{ran:?}");
}

#[test]
fn a_target_that_cannot_be_told_is_refused_without_its_secret() {
    let house = House::new();
    house.write("secret", "hunter2");
    let hook = |url: &str| {
        format!("[notify.ops]\nwebhook = {{ url = \"{url}\", secret = \"${{file:secret}}\" }}\n[apps.crm]")
    };
    house.edit("[apps.crm]", &hook("http://hooks.example.com/${file:secret}"));
    for verb in ["serve", "check"] {
        let ran = house
            .tandem(&[verb])
            .ended(2, "notify ops: read the settings of a webhook: http:// is for this machine only");
        assert!(!ran.err.contains("hunter2"), "{ran:?}");
    }
    house.edit("http://hooks", "https://hooks");
    house.tandem(&["check"]).ended(0, "0 errors");
}

#[test]
fn check_finds_what_stands_in_the_way_and_changes_nothing() {
    let house = House::new();
    house.tandem(&["check"]).ended(0, "2 apps, 2 maps: 0 errors");

    house.app("crm").execute_batch("ALTER TABLE customers RENAME TO accounts").unwrap();
    let found = house.tandem(&["check", "-o", "json"]).ended(3, "1 errors");
    let items = found.json()["items"].as_array().unwrap().clone();
    let place = |item: &serde_json::Value| item["place"].as_str().unwrap().contains("customers");
    assert!(items.iter().any(|item| item["severity"] == "error" && place(item)), "{items:?}");
    house.app("crm").execute_batch("ALTER TABLE accounts RENAME TO customers").unwrap();

    house.app("erp").pragma_update(None, "journal_mode", "delete").unwrap();
    let found = house.tandem(&["check"]).ended(3, "");
    assert!(found.out.contains("PRAGMA journal_mode"), "{found:?}");
    house.app("erp").pragma_update(None, "journal_mode", "wal").unwrap();

    house.tandem(&["check"]).ended(0, "0 errors");
    house.edit("sqlite:erp.db", "sqlite:away.db");
    house.tandem(&["check"]).ended(3, "");
    assert!(!house.path().join("away.db").exists(), "looking at an app never makes one");
    assert!(!house.path().join("tandem-data").exists());
}

#[test]
fn a_second_engine_on_one_data_folder_is_refused() {
    let house = House::new();
    let server = house.serve();
    let (code, said) = house.try_serve().err().expect("the folder is taken");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another engine is at work on the data folder"), "{said}");
    server.ok(&["map", "list"]);
}

#[test]
fn a_port_in_use_is_named_and_the_engine_ends_in_order() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    house.edit("127.0.0.1:0", &address);
    let (code, said) = house.try_serve().err().expect("the port is taken");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("fix: "), "{said}");
    drop(taken);
    house.serve();
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named() {
    let house = House::new();
    house.write("tandem-data", "a file");
    let (code, said) = house.try_serve().err().expect("a file is no folder");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tandem-data") && said.contains("fix: "), "{said}");
}

#[test]
fn a_map_whose_table_is_missing_cannot_run_and_the_others_can() {
    let house = House::new();
    house.app("crm").execute_batch("DROP TABLE orders").unwrap();
    let server = house.serve();
    server.tandem(&["map", "run", "customers", "orders", "--no-initial-sync"]).ended(3, "orders");
    let maps = server.ok(&["map", "list"]);
    let states: Vec<&str> =
        maps["items"].as_array().unwrap().iter().map(|map| map["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["not_running", "not_running"], "all or nothing");
    server.ok(&["map", "run", "customers", "--no-initial-sync", "--wait"]);
}

#[test]
fn what_cannot_be_a_data_folder_is_told_apart_from_one_that_is_broken() {
    let house = House::new();
    house.write("tandem-data", "");
    let (code, said) = house.try_serve().err().unwrap();
    assert!(
        code == Some(1) && said.contains("it is no folder") && said.contains("[server] data_dir"),
        "{said}"
    );
    std::fs::remove_file(house.path().join("tandem-data")).unwrap();
    std::fs::create_dir(house.path().join("tandem-data")).unwrap();
    house.write("tandem-data/tandem.db", "this was written by somebody else");
    let (code, said) = house.try_serve().err().unwrap();
    assert!(
        code == Some(1) && said.contains("tandem.db") && said.contains("a copy of the whole folder"),
        "{said}"
    );
}

#[test]
fn an_app_that_is_not_there_is_told_with_what_to_look_at() {
    let house = House::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    house.edit("sqlite:crm.db", &format!("postgres://tandem@127.0.0.1:{port}/crm?sslmode=disable"));
    let said = house.tandem(&["check"]).ended(3, "1 errors").out;
    assert!(said.contains("[apps.crm] url"), "{said}");
    house.edit("sqlite:erp.db", "sqlite:nowhere.db");
    let said = house.tandem(&["check"]).ended(3, "2 errors").out;
    assert!(said.contains("nowhere.db") && said.contains("Tandem makes none"), "{said}");
}
