//! What is sent to those who are to help: enough of everything, and nothing of a record or a secret.

use crate::house::{House, items, running};
use std::os::unix::fs::PermissionsExt;

/// What the values of records begin with here; nothing else does.
const CANARY: &str = "Zx9q";

#[test]
fn a_bundle_has_what_helps_and_nothing_of_a_record_or_a_secret() {
    let house = House::new();
    house.app("crm").execute_batch("CREATE TRIGGER no BEFORE INSERT ON customers WHEN new.no LIKE '%bad' BEGIN SELECT RAISE(ABORT, 'no'); END").unwrap();
    let server = running(&house);
    let erp = house.app("erp");
    let insert = |no: &str| {
        let row = [format!("{CANARY}{no}"), format!("{CANARY}name")];
        erp.execute("INSERT INTO customers VALUES (?1, ?2)", row).unwrap();
    };
    insert("bad");
    server.until(&["error", "list", "customers"], |page| items(page).len() == 1);
    server.ok(&["map", "pause", "customers", "--wait", "--reason", "maintenance"]);
    insert("queued");
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    let token = std::fs::read_to_string(server.token_file()).unwrap();

    server.ok(&["bundle", "help.json", "--check"]);
    let path = house.path().join("help.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(CANARY) && !text.contains(token.trim()), "{text}");
    let bundle: serde_json::Value = serde_json::from_str(&text).unwrap();
    let map = items(&bundle["maps"]).iter().find(|map| map["name"] == "customers").unwrap();
    assert_eq!((&map["state"], &map["queue"]["records"]), (&"paused".into(), &1.into()), "{map}");
    assert_eq!(items(&bundle["errors"]).len(), 1, "{text}");
    assert!(items(&bundle["activity"]).iter().any(|entry| entry["reason"] == "maintenance"), "{text}");
    assert!(bundle["metrics"].as_str().unwrap().contains("tandem_queue_records"), "{text}");
    assert!(bundle["config"].as_str().unwrap().contains("[apps.crm]"), "{text}");
    assert!(bundle["check"]["items"].is_array() && bundle["system"]["kernel"].is_string(), "{text}");

    server.tandem(&["bundle", "help.json"]).ended(1, "remove it, or name another file");
}

#[test]
fn a_bundle_says_what_could_not_be_had() {
    let house = House::new();
    house.write("tandem.toml", "[apps.erp]\nurl = \"postgres://tandem:Zx9q@localhost/erp\"\n");
    house.tandem(&["bundle", "--server", "http://127.0.0.1:9"]).ended(0, "");
    let text = std::fs::read_to_string(house.path().join("tandem-bundle.json")).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    let bundle: serde_json::Value = serde_json::from_str(&text).unwrap();
    let missing = |part: &str| bundle[part]["missing"].as_str().unwrap_or_default().to_owned();
    assert!(missing("maps").contains("no server answers"), "{text}");
    assert!(missing("config").contains("tandem check"), "{text}");
}

/// One is made when something is wrong, and what is wrong may be the server.
#[test]
fn a_bundle_without_a_server_says_what_is_missing_in_it() {
    let house = House::new();
    let ran = house
        .tandem(&["bundle", "help.json", "--server", "http://127.0.0.1:1"])
        .ended(0, "only the server knows");
    assert!(ran.err.contains("no server answers"), "{ran:?}");
    let text = std::fs::read_to_string(house.path().join("help.json")).unwrap();
    assert!(text.contains("[[maps]]") && text.contains("\"missing\""), "{text}");
}
