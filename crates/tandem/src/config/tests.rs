//! Configs and what they say: golden errors, so that a change of a message is seen.

mod columns;

use super::*;
use std::time::Duration;
use tandem_core::map::{Columns, Deletes, Direction, InitialSync};
use tandem_core::rules::{ErrorClasses, MapSelection, ResumeBy, RuleAction, When};
use tandem_core::two_way::{ConflictPolicy, SideEffects, SideName};
use tandem_core::{FaultClass, Share};

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
    let config = load(&path).map_err(|errors| errors.to_string().replace(&prefix, ""))?;
    // An editor must not underline what is good.
    assert_eq!(schema::tests::problems(&schema::of_config(), text), [""; 0], "{text}");
    Ok(config)
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
}

#[test]
fn deletes_that_nobody_spoke_of_are_refused() {
    let deletes = |text: &str| {
        let config = read_config(&format!("{APPS}{}", map("a", text))).unwrap();
        config.maps.first().unwrap().deletes
    };
    assert_eq!(deletes(""), Deletes::Reject);
    assert_eq!(deletes("deletes = \"reject\""), Deletes::Reject);
    assert_eq!(deletes("deletes = \"queue\""), Deletes::Queue);
    let seen = read_config(&format!("{APPS}{}", map("a", "deletes = \"drop\""))).unwrap_err();
    assert!(seen.contains("deletes is \"reject\" or \"queue\", not 'drop'"), "{seen}");
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
  fix: the keys here are listen, data_dir, metrics, tls",
    );
    refused(
        &format!("{APPS}{}", map("a", "delets = \"queue\"")),
        "tandem.toml:8:1: unknown key 'delets'
  8 | delets = \"queue\"
    | ^^^^^^
  fix: the keys here are name, direction, left, right, columns, depends_on, deletes, conflict, side_effects, limits, initial_sync, master, on_leave",
    );
    refused(
        "[apps.erp]\nurl = \"sqlite:a.db\"\npassword = \"x\"\n",
        "tandem.toml:3:1: unknown key 'password'
  3 | password = \"x\"
    | ^^^^^^^^
  fix: the keys here are url, when_full",
    );
}

#[test]
fn another_machine_is_answered_over_tls_only_and_a_certificate_is_a_file() {
    refused(
        "[server]\nlisten = \"0.0.0.0:7070\"\n",
        "tandem.toml:2:10: listen = \"0.0.0.0:7070\": without TLS the server listens on this machine only
  2 | listen = \"0.0.0.0:7070\"
    |          ^^^^^^^^^^^^^^
  fix: write tls = { certificate = \"file:…\", key = \"file:…\" } below it; or listen = \"127.0.0.1:7070\", and reach it from elsewhere through a tunnel such as ssh -L",
    );
    let tls = |certificate: &str, key: &str| {
        let files = format!("certificate = \"{certificate}\", key = \"{key}\"");
        read_config(&format!("[server]\nlisten = \"0.0.0.0:7070\"\ntls = {{ {files} }}\n")).unwrap_err()
    };
    let seen = tls("file:server.pem", "-----BEGIN PRIVATE KEY-----hunter2");
    assert!(seen.contains("tandem.toml:3:23: the certificate in server.pem cannot be read"), "{seen}");
    assert!(seen.contains("the key is named by its file") && !seen.contains("hunter2"), "{seen}");
    assert!(!seen.contains("without TLS"), "one thing is wrong, and not another because of it: {seen}");
    let seen = read_config("[server]\ntls = { certificate = \"file:a\" }\n").unwrap_err();
    assert!(seen.contains("missing key 'key'"), "{seen}");
    let seen = read_config("[server]\ntls = true\n").unwrap_err();
    assert!(seen.contains("expected { certificate, key }"), "{seen}");
}

#[test]
fn a_key_of_a_later_version_is_refused_by_name() {
    refused(
        "[defaults]\nprofile = \"day\"\n",
        "tandem.toml:1:1: 'defaults' is not supported by this version
  1 | [defaults]
    | ^^^^^^^^^^
  fix: take it out; nothing that stands here is ever ignored in silence",
    );
    let of_app =
        format!("{APPS}{}", map("a", "")).replace("crm.db\"", "crm.db\"\nwhen_full = \"hold_source\"");
    assert!(read_config(&of_app).unwrap().hold_source.contains(&"crm".into()));
    let other = of_app.replace("hold_source", "keep");
    assert!(read_config(&other).unwrap_err().contains("write one of \"hold_source\""));
}

#[test]
fn a_map_may_go_both_ways_and_says_who_wins() {
    let both = |more: &str| read_config(&format!("{APPS}{}", map("a", more)));
    let read = both("direction = \"both\"\nconflict = \"latest_wins\"\nside_effects = \"ignore\"").unwrap();
    let map = &read.maps[0];
    assert_eq!((map.direction, map.conflict), (Direction::Both, ConflictPolicy::LatestWins));
    assert_eq!(map.side_effects, SideEffects::Ignore);
    let plain = both("direction = \"both\"").unwrap();
    assert_eq!((plain.maps[0].conflict, plain.maps[0].side_effects), Default::default());
    let copy = |lines: &str| both(lines).map(|read| read.maps[0].initial_sync);
    assert_eq!(copy("direction = \"both\"").unwrap(), InitialSync::default());
    let right = InitialSync { wanted: false, master: SideName::Right };
    assert_eq!(copy("direction = \"both\"\nmaster = \"right\"\ninitial_sync = false").unwrap(), right);
    let seen = copy("master = \"right\"").unwrap_err();
    assert!(seen.contains("master is about maps that go both ways"), "{seen}");
    let seen = both("conflict = \"left_wins\"").unwrap_err();
    assert!(seen.contains("conflict is about maps that go both ways"), "{seen}");
    let seen = both("direction = \"both\"\nconflict = \"mine\"").unwrap_err();
    assert!(seen.contains("write one of \"left_wins\", \"right_wins\", \"latest_wins\", \"park\""), "{seen}");
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
fn figures_need_a_token_unless_the_config_says_that_they_are_open() {
    let access = |server: &str| read_config(&format!("[server]\n{server}\n")).map(|config| config.metrics);
    assert_eq!(access(""), Ok(MetricsAccess::Token));
    assert_eq!(access("metrics = \"token\""), Ok(MetricsAccess::Token));
    assert_eq!(access("metrics = \"open\""), Ok(MetricsAccess::Open));
    refused(
        "[server]\nmetrics = \"public\"\n",
        "tandem.toml:2:11: there is no metrics \"public\"
  2 | metrics = \"public\"
    |           ^^^^^^^^
  fix: write one of \"token\", \"open\"",
    );
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

#[test]
fn limits_of_a_map_go_over_those_of_all() {
    let of_all = "[limits]\nprofile = \"week\"\nmax_queue_bytes = \"5GB\"\nsoft_limit = 0.5\n";
    let own = "limits = { max_queue_bytes = \"256MB\", max_pause_age = \"none\", error_retention = \"30d\" }";
    let text = format!(
        "{APPS}{of_all}{}{}{}",
        map("a", own),
        map("b", ""),
        map("c", "limits = { profile = \"day\" }")
    );
    let config = read_config(&text).unwrap();
    let day = Duration::from_secs(86_400);
    let shown = |map: &str| {
        let limits = &config.limits[&map.into()];
        (limits.max_queue_bytes, limits.max_pause_age, limits.error_retention)
    };
    assert_eq!(shown("a"), (Some(256_000_000), None, Some(day * 30)));
    assert_eq!(shown("b"), (Some(5_000_000_000), Some(day * 7), None));
    assert_eq!(config.limits[&"b".into()].soft_limit, Share::percent(50));
    assert_eq!(config.limits[&"c".into()], Limits::default());
    let config = read_config(&format!("{APPS}{}", map("a", ""))).unwrap();
    assert_eq!(config.limits[&"a".into()], Limits::default(), "the defaults are there when nothing is said");
}

#[test]
fn a_limit_that_cannot_be_is_refused_with_what_to_write() {
    refused(
        "[limits]\nmax_queue_bytes = 1000\n",
        "tandem.toml:2:19: max_queue_bytes = 1000 is no size
  2 | max_queue_bytes = 1000
    |                   ^^^^
  fix: write a number and a unit: \"256MB\", \"1GB\", \"512MiB\"",
    );
    refused(
        "[limits]\nmax_pause_age = \"a day\"\n",
        "tandem.toml:2:17: max_pause_age = \"a day\" is no duration
  2 | max_pause_age = \"a day\"
    |                 ^^^^^^^
  fix: write a number and a unit: \"90s\", \"5m\", \"1h30m\", \"1d\"",
    );
    refused(
        "[limits]\nwhen_full = \"drop_new\"\n",
        "tandem.toml:2:13: there is no when_full \"drop_new\"
  2 | when_full = \"drop_new\"
    |             ^^^^^^^^^^
  fix: write one of \"block_writes\", \"keep\", \"drop_new_loses_data\", \"drop_oldest_loses_data\"",
    );
    refused(
        &format!("{APPS}{}", map("a", "limits = { max_bytes = \"1GB\" }")),
        "tandem.toml:8:12: unknown key 'max_bytes'
  8 | limits = { max_bytes = \"1GB\" }
    |            ^^^^^^^^^
  fix: the keys here are profile, max_queue_bytes, max_pause_age, soft_limit, when_full, queue_retention, error_retention",
    );
    for (line, expected) in [
        ("soft_limit = 80", "soft_limit = 80 is no part of a whole"),
        ("soft_limit = 0.0", "is no part of a whole"),
        ("soft_limit = \"80%\"", "fix: write a number above 0 and up to 1: 0.8 is 80 %"),
        ("queue_retention = \"0s\"", "queue_retention = \"0s\" is no duration"),
        ("max_queue_bytes = \"0MB\"", "max_queue_bytes = \"0MB\" is no size"),
        ("max_queue_bytes = true", "this is neither a text nor a number"),
        ("profile = \"month\"", "write one of \"day\", \"week\", \"training\", \"soft\", \"never_lose\""),
    ] {
        let seen = read_config(&format!("[limits]\n{line}\n")).unwrap_err();
        assert!(seen.contains(expected) && seen.starts_with("tandem.toml:2:"), "{seen}");
    }
}

const NOTIFY: &str = r#"
[notify.ops]
smtp = { url = "smtps://tandem@mail.example.com", from = "tandem@example.com", to = ["ops@example.com"] }
"#;

fn rule(body: &str) -> String {
    format!("{APPS}{}{NOTIFY}[[rules]]\nname = \"r\"\n{body}\n", map("a", ""))
}

#[test]
fn rules_are_read_as_they_are_documented() {
    let pause = "then = { action = \"pause\", resume = \"when_healthy\", notify = [\"ops\"] }";
    let one = |when: &str| {
        let config = read_config(&rule(&format!("when = {{ {when} }}\n{pause}")))
            .unwrap_or_else(|why| panic!("{why}"));
        config.rules[0].clone()
    };
    let outage = one("destination_unreachable = \"10s\"");
    assert_eq!(outage.when, When::DestinationUnreachable(Duration::from_secs(10)));
    assert_eq!(outage.then.action, RuleAction::Pause(ResumeBy::Rule { per_hour: 3 }));
    assert_eq!((outage.cooldown, outage.enabled), (Duration::from_secs(900), true));
    assert_eq!((&outage.maps, &*outage.then.notify[0]), (&MapSelection::All, "ops"));
    assert_eq!(
        one("error_class = [\"application\", \"reference\"], count = 10, within = \"15m\"").when,
        When::Errors {
            classes: ErrorClasses::Only([FaultClass::Application, FaultClass::Reference].into()),
            count: 10,
            within: Duration::from_secs(900),
        }
    );
    assert_eq!(
        one("ratio = 0.05, of_last = 500").when,
        When::FailedShare { ratio: Share::percent(5), of_last: 500 }
    );
    let When::Schedule(window) = one("schedule = \"Sun 02:00 Europe/Prague\", lasting = \"2h\"").when else {
        panic!("a schedule")
    };
    assert_eq!(
        (window.start_minute, window.lasting.as_secs(), window.zone.name()),
        (120, 7_200, "Europe/Prague")
    );
    let more = "maps = [\"a\"]\nwhen = { lag = \"5m\" }\nthen = { notify = [\"ops\"] }\ncooldown = \"1h\"\nenabled = false";
    let config = read_config(&rule(more)).unwrap();
    let [lag] = config.rules.as_slice() else { panic!("one rule") };
    assert_eq!(
        (lag.cooldown, lag.enabled, lag.then.action),
        (Duration::from_secs(3_600), false, RuleAction::Nothing)
    );
    assert_eq!(lag.maps, MapSelection::Only(["a".into()].into()));
}

#[test]
fn a_rule_that_cannot_be_is_refused_with_what_to_write() {
    let pause = "then = { action = \"pause\" }";
    refused(
        &rule(&format!("when = {{ lag = \"5 parsecs\" }}\n{pause}")),
        "tandem.toml:16:16: lag = \"5 parsecs\" is no duration
  16 | when = { lag = \"5 parsecs\" }
     |                ^^^^^^^^^^^
  fix: write a number and a unit: \"90s\", \"5m\", \"1h30m\", \"1d\"",
    );
    refused(
        &rule("when = { lag = \"5m\" }\nthen = { action = \"pause\", resume = \"when_healthy\" }"),
        "tandem.toml:17:37: a rule cannot resume by itself what it paused for its queue or its lag: while a map is paused, neither grows less
  17 | then = { action = \"pause\", resume = \"when_healthy\" }
     |                                     ^^^^^^^^^^^^^^
  fix: take resume out; a person resumes such a map",
    );
    refused(
        &rule("when = { lag = \"5m\" }\nthen = { notify = [\"opps\"] }"),
        "tandem.toml:17:20: there is nobody to notify named 'opps'
  17 | then = { notify = [\"opps\"] }
     |                    ^^^^^^
  fix: the targets are ops; add [notify.opps] with smtp or webhook",
    );
    for (body, expected) in [
        (format!("when = {{ }}\n{pause}"), "the rule does not say when it fires"),
        (format!("when = {{ lag = \"5m\", queue_full = 0.9 }}\n{pause}"), "a rule has one reason to fire"),
        (format!("when = {{ count = 3 }}\n{pause}"), "'count' needs 'within' beside it"),
        (format!("when = {{ lag = \"5m\", within = \"1m\" }}\n{pause}"), "'within' goes with 'count'"),
        (format!("when = {{ count = 0, within = \"1m\" }}\n{pause}"), "write a number from 1 to 1000"),
        (format!("when = {{ ratio = 5, of_last = 10 }}\n{pause}"), "ratio = 5 is no part of a whole"),
        (
            format!("when = {{ count = 1, within = \"1m\", error_class = [\"500\"] }}\n{pause}"),
            "there is no error_class \"500\"",
        ),
        (
            format!("when = {{ schedule = \"Someday 02:00\", lasting = \"1h\" }}\n{pause}"),
            "is no schedule: 'Someday' is no day",
        ),
        (
            format!("when = {{ schedule = \"Sun 02:00\", lasting = \"8d\" }}\n{pause}"),
            "a window that lasts longer than a week never closes",
        ),
        (format!("when = {{ errors = 3 }}\n{pause}"), "unknown key 'errors'"),
        (format!("maps = [\"b\"]\nwhen = {{ lag = \"5m\" }}\n{pause}"), "there is no map 'b'"),
        ("when = { lag = \"5m\" }\nthen = { }".to_owned(), "the rule does nothing"),
        (
            "when = { lag = \"5m\" }\nthen = { action = \"restart\" }".to_owned(),
            "write one of \"none\", \"pause\"",
        ),
        (
            "when = { source_unreachable = \"5m\" }\nthen = { action = \"none\", resume = \"when_healthy\" }"
                .to_owned(),
            "only what was paused can be resumed",
        ),
        ("when = { lag = \"5m\" }\nthen = \"pause\"".to_owned(), "expected a table such as"),
    ] {
        let seen = read_config(&rule(&body)).unwrap_err();
        assert!(seen.contains(expected), "{seen}");
    }
    let twice = rule(&format!(
        "when = {{ lag = \"5m\" }}\n{pause}\n[[rules]]\nname = \"r\"\nwhen = {{ lag = \"5m\" }}\n{pause}"
    ));
    assert!(read_config(&twice).unwrap_err().contains("there is another rule named 'r'"));
}

#[test]
fn targets_are_read_and_their_secrets_are_referred_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "hunter2\n").unwrap();
    let hook = format!("${{file:{}}}", folder.path().join("hook").display());
    let text = format!(
        "{NOTIFY}[notify.chat]\nwebhook = {{ url = \"https://chat.example.com/{hook}\", secret = \"{hook}\" }}\n"
    );
    let config = read_config(&text).unwrap();
    let Some(Channel::Webhook { url, secret, .. }) = config.notify.get("chat") else { panic!("{config:?}") };
    assert_eq!((url.reveal(), secret.reveal()), ("https://chat.example.com/hunter2", "hunter2"));
    assert!(matches!(config.notify.get("ops"), Some(Channel::Smtp { to, .. }) if *to == ["ops@example.com"]));
    assert!(!format!("{config:?}").contains("hunter2"));
    for (body, expected) in [
        (
            "webhook = { url = \"https://h/x\", secret = \"hunter2\" }",
            "a secret stands in the config as it is",
        ),
        ("webhook = { url = \"https://h/x\", secret = \"hunter2\", x = 1 }", "unknown key 'x'"),
        ("webhook = { url = \"ftp://h/x\", secret = \"${HOME}\" }", "this is no address of a webhook"),
        (
            "smtp = { url = \"smtp://a:hunter2@h\", from = \"a@b\", to = \"c@d\" }",
            "a password stands in the config as it is",
        ),
        (
            "smtp = { url = \"mail.example.com\", from = \"a@b\", to = \"c@d\" }",
            "this is no address of a mail server",
        ),
        (
            "smtp = { url = \"smtp://h\", from = \"a@b\", to = [\"c@d, e@f\"] }",
            "'c@d, e@f' is no e-mail address",
        ),
        ("smtp = { url = \"smtp://h\", from = \"a@b\", to = [] }", "there are 0 recipients"),
        ("smtp = { url = \"smtp://h\", from = \"a@b\" }", "missing key 'to'"),
        (
            "smtp = { url = \"smtp://h\", from = \"a@b\", to = \"c@d\", ca = \"no.pem\" }",
            "the certificates in no.pem cannot be read",
        ),
        ("", "the target has neither smtp nor webhook"),
    ] {
        let seen = read_config(&format!("[notify.x]\n{body}\n")).unwrap_err();
        assert!(seen.contains(expected) && !seen.contains("hunter2"), "{seen}");
    }
}
