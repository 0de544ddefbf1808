//! Both tables of a map compared while people write: what differs is found exactly, nothing else is, and a repair makes
//! the sides equal.

use crate::house::{House, Ran, Server, running, until_equal};
use crate::twins::Twins;
use serde_json::Value as Json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SCHEMA: &str = "
    CREATE TABLE goods (id int PRIMARY KEY, name text, price numeric(12, 2), at timestamptz);
    ALTER TABLE goods REPLICA IDENTITY FULL";
/// Records that nobody but the test touches.
const STILL: u64 = 3_000;

fn twins(more: &str) -> Twins {
    let twins = Twins::new(SCHEMA, &[("goods", more)]);
    let rows = format!(
        "INSERT INTO goods SELECT n, 'g' || n, n / 100.0, now() FROM generate_series(1, {STILL}) AS n"
    );
    twins.erp(&rows);
    twins.server.sql_blocking("crm", &rows);
    twins.server.sql_blocking("crm", "UPDATE goods SET at = 'epoch'");
    twins.erp("UPDATE goods SET at = 'epoch'");
    twins
}

/// Compares, and expects this exit code.
#[track_caller]
fn verify(tandem: &Server, more: &[&str], code: i32) -> Json {
    let ran: Ran = tandem.tandem(&[&["map", "verify"], more, &["-o", "json"]].concat());
    ran.ended(code, "").json()
}

#[track_caller]
fn counts(seen: &Json, expected: &[(&str, u64)]) {
    for (name, number) in expected {
        assert_eq!(seen[name], *number, "{name}: {seen}");
    }
}

/// What differs: key and kind, by key.
fn differences(seen: &Json) -> Vec<(i64, String)> {
    let listed = seen["differences"].as_array().unwrap();
    let mut found: Vec<(i64, String)> = listed
        .iter()
        .map(|one| (one["key"][0].as_i64().unwrap(), one["kind"].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

/// Does something while people write into some apps without a pause: records of their own, in their own range each.
fn while_people_write<T>(twins: &Twins, apps: &[&str], work: impl FnOnce() -> T) -> (T, u64) {
    let (over, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        for (nth, app) in apps.iter().enumerate() {
            let (over, changes) = (&over, &changes);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let client = twins.server.connect(app).await;
                    let mut turn = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        turn += 1;
                        let id = 10_000 * (nth as u64 + 1) + turn * 7 % 200;
                        let statement = match turn % 5 {
                            0 => format!("DELETE FROM goods WHERE id = {id}"),
                            _ => format!(
                                "INSERT INTO goods VALUES ({id}, '{app}', {turn}, now()) ON CONFLICT (id) DO UPDATE
                                 SET name = excluded.name, price = excluded.price, at = excluded.at"
                            ),
                        };
                        changes.fetch_add(client.execute(&statement, &[]).await.unwrap(), Ordering::Relaxed);
                    }
                });
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        done
    });
    (done.unwrap_or_else(|why| std::panic::resume_unwind(why)), changes.into_inner())
}

const SEEDS: &str = "
    DELETE FROM goods WHERE id IN (7, 2999);
    UPDATE goods SET price = price + 0.01 WHERE id IN (1, 1500, 3000);
    UPDATE goods SET name = NULL WHERE id = 42;
    INSERT INTO goods VALUES (0, 'extra', 1, 'epoch'), (5000, 'extra', 1, 'epoch')";

fn seeded() -> Vec<(i64, String)> {
    let all = [
        (0, "missing_left"),
        (1, "changed"),
        (7, "missing_right"),
        (42, "changed"),
        (1500, "changed"),
        (2999, "missing_right"),
        (3000, "changed"),
        (5000, "missing_left"),
    ];
    all.map(|(id, kind)| (id, kind.to_owned())).to_vec()
}

#[test]
fn differences_are_found_exactly_while_people_write_and_a_repair_mends_them() {
    let twins = twins("");
    let tandem = twins.run();
    tandem.tandem(&["map", "verify", "nothing"]).ended(5, "there is no map nothing");
    tandem.tandem(&["map", "verify", "goods", "--cancel"]).ended(5, "was not verified");
    tandem.tandem(&["map", "verify", "goods", "--repair", "left"]).ended(2, "add --yes");
    let refused = ["map", "verify", "goods", "--repair", "right", "--yes"];
    tandem.tandem(&refused).ended(2, "only its left side can be taken for right");

    let ((), changes) = while_people_write(&twins, &["erp"], || {
        for _ in 0..5 {
            let seen = verify(&tandem, &["goods"], 0);
            counts(&seen, &[("differing", 0), ("queued", 0), ("has_error", 0)]);
            assert!(seen["equal"].as_u64().unwrap() >= STILL, "{seen}");
        }
        twins.server.sql_blocking("crm", SEEDS);
        let seen = verify(&tandem, &["goods"], 7);
        assert_eq!(differences(&seen), seeded());
        counts(&seen, &[("changed", 4), ("missing_right", 2), ("missing_left", 2), ("repaired", 0)]);
        assert!(seen["differences"][0]["left"].is_null(), "rows are shown on request only: {seen}");
        let seen = verify(&tandem, &["goods", "--limit", "1", "--rows"], 7);
        assert_eq!(seen["differences"].as_array().unwrap().len(), 1);
        let one = &seen["differences"][0];
        assert_eq!(
            (&one["left"]["price"], &one["right"]["price"]),
            (&"0.01".into(), &"0.02".into()),
            "{one}"
        );

        let seen = verify(&tandem, &["goods", "--repair", "left", "--yes"], 0);
        counts(&seen, &[("differing", 8), ("repaired", 8)]);
        assert!(seen["differences"].as_array().unwrap().iter().all(|one| one["repaired"] == true), "{seen}");
        let seen = verify(&tandem, &["goods"], 0);
        counts(&seen, &[("differing", 0)]);
    });
    assert!(changes > 500, "nobody wrote: {changes}");
    twins.until_equal(&tandem, crate::house::PATIENCE);
    twins.no_error(&tandem);
    let log = tandem.ok(&["activity", "--map", "goods"]).to_string();
    for part in ["map.verify", "map.verified", "the right side is made equal to the left one", "8 repaired"] {
        assert!(log.contains(part), "'{part}' is not in: {log}");
    }
}

/// The journal names what is queued: it is neither equal nor different yet.
#[test]
fn what_is_queued_while_a_map_is_paused_is_no_difference() {
    let twins = twins("");
    let tandem = twins.run();
    tandem.ok(&["map", "pause", "goods", "--wait"]);
    twins.erp("UPDATE goods SET name = 'new' WHERE id <= 5; DELETE FROM goods WHERE id = 6; INSERT INTO goods (id) VALUES (0)");
    twins.server.sql_blocking("crm", "UPDATE goods SET name = 'theirs' WHERE id IN (5, 100)");
    let seen = verify(&tandem, &["goods"], 7);
    assert_eq!(differences(&seen), [(100, "changed".to_owned())]);
    counts(&seen, &[("queued", 7), ("moving", 0)]);
    tandem.tandem(&["map", "verify", "goods", "--repair", "left", "--yes"]).ended(3, "resume it first");
    tandem.ok(&["map", "resume", "goods", "--wait"]);
    let seen = verify(&tandem, &["goods"], 7);
    assert_eq!(differences(&seen), [(100, "changed".to_owned())]);
    counts(&seen, &[("queued", 0)]);
}

/// A repair of a two-way map is no change of a user: nothing comes back, and nobody is in conflict.
#[test]
fn a_map_that_goes_both_ways_is_repaired_from_either_side_without_echo_or_conflict() {
    let twins = twins("direction = \"both\"");
    let seed = |app: &str| {
        let other = "UPDATE goods SET name = 'right' WHERE id IN (1, 1500); DELETE FROM goods WHERE id = 7";
        twins.server.sql_blocking(app, other);
    };
    seed("crm");
    let tandem = twins.run();
    let ((), changes) = while_people_write(&twins, &["erp", "crm"], || {
        let seen = verify(&tandem, &["goods"], 7);
        assert_eq!(
            differences(&seen),
            [(1, "changed".to_owned()), (7, "missing_right".to_owned()), (1500, "changed".to_owned())]
        );
        let seen = verify(&tandem, &["goods", "--repair", "right", "--yes"], 0);
        counts(&seen, &[("differing", 3), ("repaired", 3), ("missing_right", 1)]);
        counts(&verify(&tandem, &["goods"], 0), &[("differing", 0)]);
    });
    assert!(changes > 200, "nobody wrote: {changes}");
    twins.until_equal(&tandem, crate::house::PATIENCE);
    let right = twins.number("erp", "SELECT count(*) FROM goods WHERE name = 'right' OR id = 7");
    assert_eq!(right, 2, "the right side was right");
    twins.no_error(&tandem);
    assert_eq!(tandem.ok(&["conflict", "list", "goods"])["items"].as_array().unwrap().len(), 0);
    let flows = tandem.ok(&["map", "show", "goods"])["flows"].clone();
    let applied: u64 = flows.as_array().unwrap().iter().map(|flow| flow["applied"].as_u64().unwrap()).sum();
    assert!(applied <= changes, "{applied} changes were applied of {changes}: something came back");
}

#[test]
fn tables_of_sqlite_are_compared_and_repaired_in_keys_of_text_and_of_numbers() {
    let house = House::new();
    let rows = "
        INSERT INTO customers SELECT 'K' || value, 'c' || value FROM generate_series(1, 1200);
        INSERT INTO orders SELECT value, 'K' || value, value FROM generate_series(1, 1200);";
    let rows = rows.replace(
        "generate_series(1, 1200)",
        "(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 1200) SELECT value FROM n)",
    );
    for app in ["erp", "crm"] {
        house.app(app).execute_batch(&rows).unwrap();
    }
    let tandem = running(&house);
    let seeds = "DELETE FROM orders WHERE no IN (3, 1100); UPDATE orders SET cents = 0 WHERE no = 600;
                 INSERT INTO customers VALUES ('extra', 'x'); UPDATE customers SET name = 'y' WHERE no = 'K9';";
    house.app("crm").execute_batch(seeds).unwrap();
    let seen = verify(&tandem, &["orders"], 7);
    let kind = |kind: &str| kind.to_owned();
    assert_eq!(
        differences(&seen),
        [(3, kind("missing_right")), (600, kind("changed")), (1100, kind("missing_right"))]
    );
    counts(&verify(&tandem, &["customers"], 7), &[("changed", 1), ("missing_left", 1), ("equal", 1199)]);
    for map in ["orders", "customers"] {
        verify(&tandem, &[map, "--repair", "left", "--yes"], 0);
        counts(&verify(&tandem, &[map], 0), &[("differing", 0), ("equal", 1200)]);
        assert_eq!(until_equal(&house, map), 1200);
    }
    let shown = tandem.tandem(&["map", "verify", "orders"]).ended(0, "").out;
    assert!(shown.contains("equal") && shown.contains("1 200"), "{shown}");
}

const KINDS: [&str; 2] = ["retail", "wholesale"];

/// Two maps that split a table over its kinds, into one table. With `whole`, each knows its records there, and they are one.
fn split(house: &House, whole: bool) {
    for app in ["erp", "crm"] {
        house
            .app(app)
            .execute_batch("CREATE TABLE goods (no INTEGER PRIMARY KEY, kind TEXT, name TEXT)")
            .unwrap();
    }
    let map = |kind: &str, other: &str| {
        let (depends_on, filter) = match whole {
            true => (format!("depends_on = [\"{other}\"]"), format!(", filter = \"kind == '{kind}'\"")),
            false => (String::new(), String::new()),
        };
        format!(
            "[[maps]]\nname = \"{kind}\"\n{depends_on}\non_leave = \"delete\"
            left = {{ app = \"erp\", table = \"goods\", key = [\"no\"], filter = \"kind == '{kind}'\" }}
            right = {{ app = \"crm\", table = \"goods\", key = [\"no\"]{filter} }}\n"
        )
    };
    let [one, other] = KINDS;
    let maps = map(one, other) + &map(other, one);
    house.write(
        "tandem.toml",
        &format!("[server]\nlisten = \"127.0.0.1:0\"\n[apps.erp]\nurl = \"sqlite:erp.db\"\n[apps.crm]\nurl = \"sqlite:crm.db\"\n{maps}"),
    );
}

fn goods(house: &House, statements: &str) {
    house.app("erp").execute_batch(statements).unwrap();
}

#[test]
fn a_repair_never_deletes_what_another_map_has_written() {
    let house = House::new();
    split(&house, false);
    let found = house.tandem(&["check", "-o", "json"]).ended(0, "").json();
    let shared = found["items"].as_array().unwrap().iter().filter(|one| one["code"] == "destination_shared");
    assert_eq!(shared.count(), 4, "{found}");
    let tandem = house.serve();
    tandem.ok(&["map", "run", KINDS[0], KINDS[1], "--wait"]);
    goods(&house, "INSERT INTO goods VALUES (1, 'retail', 'a'), (2, 'wholesale', 'b')");
    assert_eq!(until_equal(&house, "goods"), 2);
    let refused = tandem.tandem(&["map", "verify", "retail", "--repair", "left", "--yes"]);
    refused.ended(3, "map wholesale writes the same table");
    assert_eq!(until_equal(&house, "goods"), 2);
}

#[test]
fn maps_that_split_a_table_and_are_one_lose_nothing_that_passes_between_them() {
    let house = House::new();
    split(&house, true);
    let tandem = house.serve();
    tandem.ok(&["map", "run", KINDS[0], KINDS[1], "--wait"]);
    goods(&house, "INSERT INTO goods VALUES (1, 'retail', 'a'), (2, 'wholesale', 'b'), (3, 'retail', 'c')");
    assert_eq!(until_equal(&house, "goods"), 3);
    tandem.ok(&["map", "pause", KINDS[0], "--wait"]);
    goods(
        &house,
        "UPDATE goods SET kind = 'wholesale' WHERE no = 1; UPDATE goods SET kind = 'retail' WHERE no = 2",
    );
    tandem.ok(&["map", "resume", KINDS[0], KINDS[1], "--wait"]);
    assert_eq!(until_equal(&house, "goods"), 3);
    house
        .app("crm")
        .execute_batch("DELETE FROM goods WHERE no = 3; INSERT INTO goods VALUES (9, 'retail', 'x')")
        .unwrap();
    for (kind, differing) in [(KINDS[0], 2), (KINDS[1], 0)] {
        let seen = verify(&tandem, &[kind, "--repair", "left", "--yes"], 0);
        counts(&seen, &[("differing", differing), ("repaired", differing)]);
    }
    assert_eq!(until_equal(&house, "goods"), 3);
}
