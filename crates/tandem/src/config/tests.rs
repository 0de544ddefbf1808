//! Configs and what they say: golden errors, so that a change of a message is seen.

use super::*;
use tandem_core::map::{Columns, Direction};

const APPS: &str = r#"
[apps.erp]
url = "sqlite:erp.db"
[apps.crm]
url = "sqlite:crm.db"
"#;

fn map(name: &str, more: &str) -> String {
    format!(
        "[[maps]]\nname = \"{name}\"\n{more}\nleft = {{ app = \"erp\", table = \"{name}\", key = [\"no\"] }}\nright = {{ app = \"crm\", table = \"{name}\", key = [\"no\"] }}\n"
    )
}

fn read_config(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tandem.toml");
    std::fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    load(&path).map_err(|errors| errors.to_string().replace(&prefix, ""))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let seen = read_config(text).unwrap_err();
    assert_eq!(seen.trim(), expected.trim(), "\n--- seen\n{seen}\n--- expected\n{expected}");
}

#[test]
fn a_config_is_read_as_it_is_documented() {
    let text = r#"
[server]
listen = "127.0.0.1:7171"
data_dir = "data"
[apps.erp]
url = "postgres://tandem@erp.internal/erp"
[apps.crm]
url = "sqlite:crm.db"
[[maps]]
name = "customers"
direction = "to_right"
left  = { app = "erp", table = "public.customers", key = ["customer_no"] }
right = { app = "crm", table = "accounts", key = ["ext_no"] }
deletes = "queue"
columns = [{ left = "customer_no", right = "ext_no" }, { left = "name", right = "display_name" }]
[[maps]]
name = "orders"
depends_on = ["customers"]
deletes = "queue"
left  = { app = "erp", table = "public.orders", key = ["order_no"] }
right = { app = "crm", table = "orders", key = ["order_no"] }
"#;
    let config = read_config(text).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7171");
    assert_eq!(config.data_dir, config.base.join("data"));
    assert_eq!(config.apps.len(), 2);
    let [customers, orders] = config.maps.as_slice() else { panic!("two maps: {:?}", config.maps) };
    assert_eq!(customers.direction, Direction::ToRight);
    assert!(matches!(&customers.columns, Columns::Pairs(pairs) if pairs.len() == 2));
    assert_eq!(orders.columns, Columns::SameNames);
    assert_eq!(orders.depends_on, ["customers".into()]);
    assert!(config.notes.is_empty());
}

#[test]
fn deletes_that_nobody_spoke_of_are_noted_because_they_cannot_be_refused_yet() {
    let config = read_config(&format!("{APPS}{}", map("a", ""))).unwrap();
    let codes: Vec<&str> = config.notes.iter().map(|note| note.code.as_str()).collect();
    assert_eq!(codes, ["deletes_queued"]);
    let config = read_config(&format!("{APPS}{}", map("a", "deletes = \"queue\""))).unwrap();
    assert!(config.notes.is_empty());
}

#[test]
fn maps_may_stand_in_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tandem.toml");
    std::fs::write(&path, APPS).unwrap();
    std::fs::create_dir(folder.path().join("maps")).unwrap();
    let one = map("b", "").replace("[[maps]]\n", "");
    std::fs::write(folder.path().join("maps/b.toml"), one).unwrap();
    std::fs::write(folder.path().join("maps/a.toml"), map("a", "") + &map("c", "")).unwrap();
    std::fs::write(folder.path().join("maps/notes.txt"), "no map").unwrap();
    let names: Vec<String> = load(&path).unwrap().maps.iter().map(|map| map.name.to_string()).collect();
    assert_eq!(names, ["a", "c", "b"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_column() {
    refused(
        "[server]\nlisten = \"127.0.0.1:7070\"\ndata_folder = \"x\"\n",
        "tandem.toml:3:1: unknown key 'data_folder'
  3 | data_folder = \"x\"
    | ^^^^^^^^^^^
  fix: the keys here are listen, data_dir",
    );
    refused(
        &format!("{APPS}{}", map("a", "delets = \"queue\"")),
        "tandem.toml:8:1: unknown key 'delets'
  8 | delets = \"queue\"
    | ^^^^^^
  fix: the keys here are name, direction, left, right, columns, depends_on, deletes",
    );
    refused(
        "[apps.erp]\nurl = \"sqlite:a.db\"\npassword = \"x\"\n",
        "tandem.toml:3:1: unknown key 'password'
  3 | password = \"x\"
    | ^^^^^^^^
  fix: the keys here are url",
    );
}

#[test]
fn a_key_of_a_later_version_is_refused_by_name() {
    refused(
        "[limits]\nprofile = \"day\"\n",
        "tandem.toml:1:1: 'limits' is not supported by this version
  1 | [limits]
    | ^^^^^^^^
  fix: take it out; nothing that stands here is ever ignored in silence",
    );
    refused(
        &format!("{APPS}{}", map("a", "direction = \"both\"")),
        "tandem.toml:8:13: direction = \"both\" is not supported by this version
  8 | direction = \"both\"
    |             ^^^^^^
  fix: write direction = \"to_right\" or \"to_left\"",
    );
    for key in ["conflict = \"left_wins\"", "limits = { max_queue_bytes = \"1GB\" }", "deletes = \"reject\""]
    {
        let seen = read_config(&format!("{APPS}{}", map("a", key))).unwrap_err();
        assert!(seen.contains("is not supported by this version"), "{seen}");
    }
    let filter = map("a", "").replace("key = [\"no\"]", "key = [\"no\"], filter = \"x\"");
    assert!(read_config(&format!("{APPS}{filter}")).unwrap_err().contains("'filter' is not supported"));
    let column = "columns = [{ left = \"no\", right = \"no\", to_right = [{ trim = true }] }]";
    let seen = read_config(&format!("{APPS}{}", map("a", column))).unwrap_err();
    assert!(seen.contains("'to_right' is not supported"), "{seen}");
}

#[test]
fn a_map_must_fit_to_apps_and_to_other_maps() {
    refused(
        &format!("[apps.crm]\nurl = \"sqlite:crm.db\"\n{}", map("a", "")),
        "tandem.toml:6:16: there is no app 'erp'
  6 | left = { app = \"erp\", table = \"a\", key = [\"no\"] }
    |                ^^^^^
  fix: the apps are crm; add [apps.erp] with its url, or name one of them",
    );
    refused(
        &format!("{APPS}{}{}", map("a", ""), map("a", "").replace("table = \"a\"", "table = \"b\"")),
        "tandem.toml:12:8: there is another map named 'a'
  12 | name = \"a\"
     |        ^^^
  fix: give each map a name of its own",
    );
    refused(
        &format!("{APPS}{}", map("a", "depends_on = [\"b\"]")),
        "tandem.toml:8:15: map 'a' depends on 'b', and there is no such map
  8 | depends_on = [\"b\"]
    |               ^^^
  fix: the maps are a",
    );
    let cycle = map("a", "depends_on = [\"b\"]") + &map("b", "depends_on = [\"a\"]");
    assert!(read_config(&format!("{APPS}{cycle}")).is_ok(), "maps in a cycle are one unit");
}

#[test]
fn keys_tables_and_names_are_checked() {
    for (from, to, expected) in [
        ("key = [\"no\"] }\nright", "key = [] }\nright", "the integration key is empty"),
        (
            "key = [\"no\"] }\nright",
            "key = [\"a\", \"a\"] }\nright",
            "the integration key names the column 'a' twice",
        ),
        (
            "key = [\"no\"] }\nright",
            "key = [\"a\", \"b\"] }\nright",
            "2 columns on the left and 1 on the right",
        ),
        ("table = \"a\"", "table = \"a.b.c\"", "'a.b.c' is no table name: it has more than two parts"),
        ("name = \"a\"", "name = \"a b\"", "'a b' is no name of a map"),
        ("app = \"crm\"", "app = \"erp\"", "both sides are in the app 'erp'"),
        ("left = {", "left = 7 #", "invalid type: integer"),
    ] {
        let text = format!("{APPS}{}", map("a", "")).replace(from, to);
        let seen = read_config(&text).unwrap_err();
        assert!(seen.contains(expected), "{seen}");
    }
}

#[test]
fn records_may_not_go_round_in_a_circle() {
    let back = map("b", "direction = \"to_left\"").replace("table = \"b\"", "table = \"a\"");
    let seen = read_config(&format!("{APPS}{}{back}", map("a", ""))).unwrap_err();
    assert!(seen.contains("records would come back to the table that they left"), "{seen}");
}

#[test]
fn a_password_in_the_config_is_refused_and_never_shown() {
    let seen = read_config("[apps.erp]\nurl = \"postgres://tandem:hunter2@erp/erp\"\n").unwrap_err();
    assert!(seen.contains("a password stands in the config as it is"), "{seen}");
    assert!(seen.contains("postgres://tandem:***@erp/erp"), "{seen}");
    assert!(!seen.contains("hunter2"), "{seen}");
    let seen = read_config("apps.erp = \"postgres://t:hunter2@erp/erp\"\n").unwrap_err();
    assert!(seen.contains("expected a table with url") && !seen.contains("hunter2"), "{seen}");
    // Another error on the same line shows the line too.
    let seen = read_config("[apps.erp]\nurl = \"postgres://t:hunter2@erp/erp\" x\n").unwrap_err();
    assert!(!seen.contains("hunter2"), "{seen}");
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let seen =
        read_config("[apps.erp]\nurl = \"postgres://t:${TANDEM_TEST_NO_SUCH}@erp/erp\"\n").unwrap_err();
    assert!(seen.contains("the environment variable TANDEM_TEST_NO_SUCH is not set"), "{seen}");
    assert!(seen.contains("fix: export TANDEM_TEST_NO_SUCH"), "{seen}");
}

#[test]
fn only_this_machine_may_be_listened_on() {
    for bad in ["0.0.0.0:7070", "192.168.1.1:7070", "7070", "localhost"] {
        assert!(read_config(&format!("[server]\nlisten = \"{bad}\"\n")).is_err(), "{bad}");
    }
    for good in ["127.0.0.1:0", "localhost:7070", "[::1]:7070"] {
        assert!(read_config(&format!("[server]\nlisten = \"{good}\"\n")).is_ok(), "{good}");
    }
}
