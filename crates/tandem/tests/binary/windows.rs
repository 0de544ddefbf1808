//! Pauses that are planned to end.

use crate::house::{House, until_equal};
use crate::postgres::trouble;
use crate::rules::Webhook;
use serde_json::Value as Json;

fn notified() -> (House, Webhook) {
    let (house, webhook) = (House::new(), Webhook::start());
    house.write("hook-secret", "a secret that is long enough for a signature");
    let config = std::fs::read_to_string(house.path().join("tandem.toml")).unwrap();
    let target = format!(
        "[notify.ops]\nwebhook = {{ url = \"{}\", secret = \"${{file:hook-secret}}\" }}\n",
        webhook.url
    );
    house.write("tandem.toml", &format!("{config}{target}"));
    (house, webhook)
}

fn state(map: &Json) -> &str {
    map["state"].as_str().unwrap()
}

#[test]
fn an_app_that_is_paused_for_a_while_goes_on_by_itself_and_people_are_told() {
    let (house, webhook) = notified();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    for (wrong, said) in [
        (&["--then-resume"][..], "needs a planned end"),
        (&["--until", "2020-01-01T00:00:00Z"], "is over already"),
        (&["--until", "tomorrow"], "2026-11-22T23:00:00Z"),
        (&["--for", "1h", "--until", "2099-01-01T00:00:00Z"], "cannot be used with"),
    ] {
        tandem.tandem(&[&["map", "pause", "customers"], wrong].concat()).ended(2, said);
    }
    let long =
        tandem.tandem(&["app", "pause", "crm", "--for", "3d", "--reason", "upgrade", "--wait"]).ended(0, "");
    assert!(long.err.contains("max_pause_age is 1 d"), "{long:?}");
    let shown = tandem.ok(&["map", "show", "orders"]);
    assert_eq!((&shown["window"]["then_resume"], &shown["window"]["over"]), (&false.into(), &false.into()));
    let text = tandem.tandem(&["map", "show", "orders"]).ended(0, "").out;
    assert!(text.contains("planned end") && text.contains("(in "), "{text}");
    house.app("erp").execute("INSERT INTO customers VALUES ('K1', 'Ann')", []).unwrap();
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);

    // It is done sooner than was planned: the end is moved.
    tandem.ok(&["app", "pause", "crm", "--for", "3s", "--then-resume"]);
    tandem.kill();
    let tandem = house.serve();
    assert_eq!(state(&tandem.ok(&["map", "show", "customers"])), "paused");
    for map in ["customers", "orders"] {
        tandem.until(&["map", "show", map], |shown| state(shown) == "running" && shown["window"].is_null());
    }
    assert_eq!(until_equal(&house, "customers"), 1);
    let log = tandem.ok(&["activity", "--map", "customers"]).to_string();
    for part in ["map.window_over", "then it is resumed", "the planned pause is over"] {
        assert!(log.contains(part), "'{part}' is not in: {log}");
    }
    let heard = webhook.until_heard(1);
    assert!(heard[0].contains("the planned pause of 2 maps is over"), "{heard:?}");
}

#[test]
fn a_pause_that_lasts_longer_than_planned_reminds_and_says_why_it_was_not_resumed() {
    let (house, webhook) = notified();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    tandem.ok(&["map", "pause", "orders", "--for", "1s"]);
    let shown = tandem.until(&["map", "show", "orders"], |map| trouble(map, "WindowOver").is_some());
    let (reason, fix) = trouble(&shown, "WindowOver").unwrap();
    assert!(
        reason.contains("was planned until") && fix.contains("tandem map resume orders"),
        "{reason} {fix}"
    );
    assert_eq!((state(&shown), &shown["window"]["over"]), ("paused", &true.into()));
    webhook.until_heard(1);

    // The other app is not as the map needs it when the time is over.
    let crm = house.app("crm");
    crm.execute_batch("ALTER TABLE orders RENAME COLUMN no TO nr").unwrap();
    tandem.ok(&["map", "pause", "orders", "--for", "1s", "--then-resume"]);
    let shown = tandem.until(&["map", "show", "orders"], |map| {
        trouble(map, "WindowOver").is_some_and(|(reason, _)| reason.contains("tried again"))
    });
    let (reason, _) = trouble(&shown, "WindowOver").unwrap();
    assert!(reason.contains("no"), "{reason}");
    let heard = webhook.until_heard(3);
    assert!(heard[2].contains("not resumed after the planned pause: orders"), "{heard:?}");
    crm.execute_batch("ALTER TABLE orders RENAME COLUMN nr TO no").unwrap();
    tandem.ok(&["map", "wait", "orders", "--for", "running"]);
    webhook.until_heard(3);
}
