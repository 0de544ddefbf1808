//! What is queued and what was set aside can be seen whole: every record, with what would be written.

use crate::house::{House, Server, items, running, until_equal};
use crate::http::ask;
use crate::postgres::{run, trouble, until, world};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use tandem_proof_servers::PostgresOptions;

/// The whole export of a map's queue, line by line.
fn export(server: &Server, map: &str) -> Vec<Json> {
    let ran = server.tandem(&["queue", "export", map]).ended(0, "");
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_row_that_postgresql_refuses_is_set_aside_whole_and_the_rest_flows_on() {
    let (house, server) = world(PostgresOptions::default());
    server.sql_blocking("crm", "ALTER TABLE accounts ADD CONSTRAINT no_paris CHECK (town <> 'Paris')");
    let tandem = run(&house);
    server.sql_blocking(
        "erp",
        "BEGIN; INSERT INTO customers VALUES ('K1', 'Ann', 'Graz'), ('K2', 'Bob', 'Paris'), ('K3', 'Cyd', NULL); COMMIT",
    );
    until(&server, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K1", "K3"]);

    let page = tandem.until(&["error", "list", "customers"], |page| items(page).len() == 1);
    let error = &items(&page)[0];
    let expected = json!({
        "map": "customers", "op": "insert", "key": ["K2"], "class": "application", "code": "23514", "attempts": 1,
        "table": "public.customers", "old": null, "new": {"customer_no": "K2", "name": "Bob", "city": "Paris"},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&error[name], value, "{name} of {error}");
    }
    assert!(error["message"].as_str().unwrap().contains("no_paris"), "{error}");
    assert!(!error["transaction"].as_str().unwrap().is_empty(), "{error}");
    assert!(error["first_at"].is_string() && error["first_at"] == error["last_at"], "{error}");
    assert_eq!(page["next"], Json::Null);

    let id = error["id"].as_str().unwrap().to_owned();
    let shown = tandem.ok(&["error", "show", &id]);
    let image = json!({
        "table": "public.accounts", "op": "upsert", "key": {"ext_no": "K2"},
        "values": {"ext_no": "K2", "display_name": "Bob", "town": "Paris"},
    });
    assert_eq!((&shown["image"], &shown["unwritable"]), (&image, &Json::Null));
    assert_eq!((&shown["new"], &shown["seq"]), (&error["new"], &error["seq"]));
    let text = tandem.tandem(&["error", "show", &id]).ended(0, "").out;
    for part in ["application (23514)", "no_paris", "Paris", "would upsert public.accounts where ext_no = K2"]
    {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }

    let found = |args: &[&str]| items(&tandem.ok(&[&["error", "list"], args].concat())).len();
    assert_eq!(found(&[]), 1);
    assert_eq!(found(&["orders"]), 0);
    assert_eq!(found(&["customers", "--key", "K2", "--class", "application"]), 1);
    assert_eq!(found(&["--key", "K1"]), 0);
    assert_eq!(found(&["--class", "reference"]), 0);
    assert_eq!(found(&["--after", &id]), 0);
    tandem.tandem(&["error", "list", "--class", "bad luck"]).ended(2, "application, reference");
    tandem.tandem(&["error", "list", "nobody"]).ended(5, "there is no map nobody");
    tandem.tandem(&["error", "show", "4711"]).ended(5, "there is no error 4711");
    tandem.tandem(&["error", "show", "K2"]).ended(5, "there is no error K2");

    let map = tandem.until(&["map", "show", "customers"], |map| trouble(map, "ErrorsOpen").is_some());
    let (reason, fix) = trouble(&map, "ErrorsOpen").unwrap();
    assert_eq!((reason.as_str(), fix.as_str()), ("1 records were set aside", "tandem error list customers"));

    // It is kept: across a sudden end, and under its number.
    tandem.kill();
    let tandem = house.serve();
    let again = tandem.ok(&["error", "show", &id]);
    assert_eq!((&again["new"], &again["id"]), (&error["new"], &error["id"]));
    let (code, _, log) = tandem.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("Paris") && !log.contains("Bob"), "no value is logged: {log}");
}

#[test]
fn what_sqlite_refuses_is_set_aside_with_its_update_and_its_delete() {
    let house = House::new();
    house.app("crm")
        .execute_batch(
            "CREATE TABLE kept (no INTEGER REFERENCES orders (no));
             CREATE TRIGGER dear BEFORE UPDATE ON orders WHEN NEW.cents > 99 BEGIN SELECT RAISE(ABORT, 'too dear'); END;
             CREATE TRIGGER stays BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'it stays'); END;",
        )
        .unwrap();
    let server = running(&house);
    let erp = house.app("erp");
    erp.execute_batch("INSERT INTO customers VALUES ('K1', 'Ann'); INSERT INTO orders VALUES (1, 'K1', 5);")
        .unwrap();
    assert_eq!(until_equal(&house, "orders"), 1);
    erp.execute_batch("UPDATE orders SET cents = 100 WHERE no = 1").unwrap();
    server.until(&["error", "list", "orders"], |page| items(page).len() == 1);
    erp.execute_batch("DELETE FROM orders WHERE no = 1").unwrap();
    let page = server.until(&["error", "list", "orders"], |page| items(page).len() == 2);

    let [update, delete] = items(&page).as_slice() else { panic!("{page}") };
    assert_eq!((&update["op"], &update["key"]), (&"update".into(), &json!([1])), "{update}");
    assert_eq!(update["new"], json!({"no": 1, "customer": "K1", "cents": 100}));
    assert!(
        update["message"].as_str().unwrap().contains("too dear") && update["code"].is_string(),
        "{update}"
    );
    assert_eq!((&delete["op"], &delete["key"], &delete["new"]), (&"delete".into(), &json!([1]), &Json::Null));
    assert_eq!(delete["old"]["no"], 1, "{delete}");
    let shown = server.ok(&["error", "show", delete["id"].as_str().unwrap()]);
    assert_eq!(shown["image"], json!({"table": "orders", "op": "delete", "key": {"no": 1}, "values": null}));

    let first = server.ok(&["error", "list", "--limit", "1"]);
    let rest = server.ok(&["error", "list", "--limit", "1", "--after", first["next"].as_str().unwrap()]);
    assert_eq!((&items(&rest)[0]["id"], &rest["next"]), (&delete["id"], &Json::Null));
    let table = server.tandem(&["error", "list"]).ended(0, "").out;
    assert!(table.starts_with("ID  TIME") && table.contains("too dear"), "{table}");

    // A map that is stopped has no errors any more.
    server.ok(&["map", "stop", "orders", "customers", "--queue", "discard", "--yes"]);
    assert_eq!(items(&server.ok(&["error", "list"])).len(), 0);
}

#[test]
fn a_queued_record_is_shown_in_full_with_what_would_be_written() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz')");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    server.sql_blocking("erp", "UPDATE customers SET customer_no = 'K9', city = NULL; DELETE FROM customers; TRUNCATE customers CASCADE");
    tandem.until(&["queue", "stats", "customers"], |stats| stats["records"] == 3);
    let queue = tandem.ok(&["queue", "list", "customers"]);
    let show = |place: usize| {
        let seq = items(&queue)[place]["seq"].to_string();
        (
            tandem.ok(&["queue", "show", "customers", &seq]),
            tandem.tandem(&["queue", "show", "customers", &seq]),
        )
    };

    let (rekey, text) = show(0);
    assert_eq!(rekey["new"], json!({"customer_no": "K9", "name": "Ann", "city": null}));
    assert_eq!(rekey["old"]["customer_no"], "K1", "{rekey}");
    let image = json!({
        "table": "public.accounts", "op": "rekey", "key": {"ext_no": "K1"},
        "values": {"ext_no": "K9", "display_name": "Ann", "town": null},
    });
    assert_eq!((&rekey["image"], &rekey["unwritable"]), (&image, &Json::Null));
    let text = text.ended(0, "").out;
    assert!(text.contains("would rekey public.accounts where ext_no = K1"), "{text}");
    let (delete, _) = show(1);
    assert_eq!((&delete["op"], &delete["image"]["op"]), (&"delete".into(), &"delete".into()));
    let (truncate, text) = show(2);
    assert_eq!((&truncate["image"], &truncate["unwritable"]["code"]), (&Json::Null, &"truncated".into()));
    assert!(text.ended(0, "").out.contains("cannot be written: the source's table was truncated"));

    // What is applied is queued no more.
    tandem.tandem(&["queue", "show", "customers", "1"]).ended(5, "has no queued record 1");
    tandem.tandem(&["queue", "show", "customers", "999999"]).ended(5, "has no queued record 999999");
    tandem.tandem(&["queue", "show", "nobody", "1"]).ended(5, "there is no map nobody");
}

/// Queued by several looks of the source's change table, over several segments' worth of pages.
#[test]
fn an_export_has_every_queued_record_once_and_in_order() {
    const MANY: i64 = 10_000;
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    let name = |no: i64| format!("Zoë \"{no}\"\n");
    let insert = |from: i64, until: i64| {
        let transaction = erp.unchecked_transaction().unwrap();
        for no in from..until {
            erp.execute("INSERT INTO customers VALUES (?1, ?2)", (format!("K{no:05}"), name(no))).unwrap();
        }
        transaction.commit().unwrap();
    };
    (0..10).for_each(|part| insert(part * MANY / 10, (part + 1) * MANY / 10));
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == MANY);

    let exported = export(&server, "customers");
    assert_eq!(exported.len() as i64, MANY);
    for (no, record) in (0..).zip(&exported) {
        assert_eq!(record["key"], json!([format!("K{no:05}")]));
        assert_eq!(record["new"], json!({"no": format!("K{no:05}"), "name": name(no)}));
    }
    let seqs: Vec<u64> = exported.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
    assert!(export(&server, "orders").is_empty());

    // A reader that has seen enough is no failure, and nothing is read on for nobody.
    let mut reading = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["queue", "export", "customers", "--server", &server.url])
        .env("XDG_STATE_HOME", server.state())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(reading.stdout.take());
    assert_eq!(reading.wait().unwrap().code(), Some(0));

    // An export that could not be written does not look whole.
    let full = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["queue", "export", "customers", "--server", &server.url])
        .env("XDG_STATE_HOME", server.state())
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(full.stderr).unwrap();
    assert_eq!((full.status.code(), said.contains("the export is not whole")), (Some(1), true), "{said}");
}

#[test]
fn a_prefix_finds_records_by_the_beginning_of_their_key() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch(
        "BEGIN; WITH RECURSIVE n (no) AS (SELECT 0 UNION ALL SELECT no + 1 FROM n WHERE no < 59999)
            INSERT INTO customers SELECT 'A' || no, 'x' FROM n; COMMIT;
         INSERT INTO customers VALUES ('B1', 'Ann'), ('B2', 'Bob'), ('C', 'Cyd');
         UPDATE customers SET no = 'D' WHERE no = 'B1';
         INSERT INTO orders VALUES (17, 'C', 1), (18, 'C', 2), (27, 'C', 3)",
    )
    .unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 60_004);
    server.until(&["queue", "stats", "orders"], |stats| stats["records"] == 3);
    let found = |map: &str, prefix: &str, more: &[&str]| {
        let page = server.ok(&[&["queue", "list", map, "--prefix", prefix], more].concat());
        let keys: Vec<String> = items(&page).iter().map(|record| record["key"][0].to_string()).collect();
        (keys, page["next"].as_str().map(str::to_owned))
    };
    // The record that is B1 no longer was so: it is found by either.
    assert_eq!(found("customers", "B", &[]), (vec!["\"B1\"".into(), "\"B2\"".into(), "\"D\"".into()], None));
    assert_eq!(found("orders", "1", &[]), (vec!["17".into(), "18".into()], None));
    assert_eq!(found("customers", "b", &[]), (vec![], None));
    assert_eq!(found("customers", "A5999", &["--limit", "500"]).0.len(), 11);
    // One request looks at a stretch of the queue and says where it stopped; the command goes on from there.
    let page = ask(&server, "GET", "/api/v1/maps/customers/queue?prefix=B", "", "").body;
    assert!(items(&page).is_empty() && page["next"].is_string(), "{page}");
    let (keys, next) = found("customers", "B", &["--limit", "1"]);
    assert_eq!(keys, ["\"B1\""]);
    let (keys, next) = found("customers", "B", &["--limit", "2", "--after", &next.unwrap()]);
    assert_eq!((keys, next), (vec!["\"B2\"".to_owned(), "\"D\"".to_owned()], None));
    server
        .tandem(&["queue", "list", "customers", "--prefix", "B", "--key", "B1"])
        .ended(2, "cannot be used with");
}

#[test]
fn what_happened_and_when_finds_records_and_says_how_far_it_has_looked() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    erp.execute_batch(
        "BEGIN; WITH RECURSIVE n (no) AS (SELECT 0 UNION ALL SELECT no + 1 FROM n WHERE no < 59999)
            INSERT INTO customers SELECT 'A' || no, 'x' FROM n; COMMIT",
    )
    .unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 60_000);
    erp.execute_batch(
        "UPDATE customers SET name = 'y' WHERE no IN ('A1', 'A2'); DELETE FROM customers WHERE no = 'A2'",
    )
    .unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 60_003);
    let found = |more: &[&str]| {
        let page = server.ok(&[&["queue", "list", "customers"], more].concat());
        let seen = |record: &Json| {
            format!("{} {}", record["op"].as_str().unwrap(), record["key"][0].as_str().unwrap())
        };
        (items(&page).iter().map(seen).collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    let all = |records: &[&str]| (records.iter().map(ToString::to_string).collect::<Vec<_>>(), None);
    assert_eq!(found(&["--op", "update"]), all(&["update A1", "update A2"]));
    assert_eq!(found(&["--op", "truncate"]), all(&[]));
    // Together with a key, of which the index knows, and with the beginning of one.
    assert_eq!(found(&["--op", "delete", "--key", "A2"]), all(&["delete A2"]));
    assert_eq!(found(&["--op", "delete", "--key", "A1"]), all(&[]));
    assert_eq!(found(&["--op", "update", "--prefix", "A2"]), all(&["update A2"]));
    // By the source's clock: from a moment on, and before it.
    let page = server.ok(&["queue", "list", "customers", "--op", "update", "--limit", "1"]);
    let at = items(&page)[0]["committed_at"].as_str().unwrap().to_owned();
    assert_eq!(found(&["--since", &at]), all(&["update A1", "update A2", "delete A2"]));
    assert_eq!(found(&["--since", &at, "--until", &at]), all(&[]));
    assert_eq!(found(&["--until", &at, "--key", "A2"]), all(&["insert A2"]));
    assert_eq!(found(&["--since", "1h", "--op", "delete"]), all(&["delete A2"]));
    assert_eq!(found(&["--until", "1h", "--limit", "1"]), all(&[]));
    // A page goes on behind what it found.
    let (first, next) = found(&["--op", "update", "--limit", "1"]);
    assert_eq!(first, ["update A1"]);
    assert_eq!(found(&["--op", "update", "--after", &next.unwrap()]), all(&["update A2"]));
    let insert = |more: &[&str]| found(&[&["--op", "insert", "--limit", "500"], more].concat());
    let (page, next) = insert(&[]);
    assert_eq!((page.len(), insert(&["--after", &next.unwrap()]).0[0].as_str()), (500, "insert A500"));

    // One request looks at a stretch of the queue and says where it stopped.
    let page = ask(&server, "GET", "/api/v1/maps/customers/queue?op=delete", "", "").body;
    assert!(items(&page).is_empty(), "{page}");
    let rest = format!("/api/v1/maps/customers/queue?op=delete&after={}", page["next"].as_str().unwrap());
    let page = ask(&server, "GET", &rest, "", "").body;
    assert_eq!((items(&page).len(), &page["next"]), (1, &Json::Null));
    for wrong in ["op=drop", "op=", "since=yesterday", "until=1"] {
        let answer = ask(&server, "GET", &format!("/api/v1/maps/customers/queue?{wrong}"), "", "");
        assert_eq!((answer.status, &answer.body["code"]), (400, &Json::from("request_invalid")), "{wrong}");
    }
    server
        .tandem(&["queue", "list", "customers", "--op", "drop"])
        .ended(2, "insert, update, delete, truncate");
    server.tandem(&["queue", "list", "customers", "--since", "soon"]).ended(2, "how long ago");
}

#[test]
fn pages_stay_as_they_are_while_more_is_captured() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let erp = house.app("erp");
    let mut inserted = 0;
    let mut insert = || {
        for _ in 0..20 {
            erp.execute("INSERT INTO customers VALUES (?1, 'x')", [format!("K{inserted:05}")]).unwrap();
            inserted += 1;
        }
        server.until(&["queue", "stats", "customers"], |stats| stats["records"] == inserted);
        inserted
    };
    insert();
    let first = server.ok(&["queue", "list", "customers", "--limit", "7"]);
    let (mut seen, mut next) = (items(&first).clone(), first["next"].as_str().map(str::to_owned));
    let mut in_all = 20;
    while let Some(after) = next {
        if seen.len() < 70 {
            in_all = insert();
        }
        assert_eq!(server.ok(&["queue", "list", "customers", "--limit", "7"]), first);
        let page = server.ok(&["queue", "list", "customers", "--limit", "7", "--after", &after]);
        seen.extend(items(&page).iter().cloned());
        next = page["next"].as_str().map(str::to_owned);
    }
    let keys: BTreeSet<&str> = seen.iter().map(|record| record["key"][0].as_str().unwrap()).collect();
    assert_eq!((seen.len() as u64, keys.len() as u64), (in_all, in_all));
    assert!(in_all > 100);
    assert_eq!(export(&server, "customers").len() as u64, in_all);
}

/// However large records are, a page has some megabytes of them, and nothing is passed over.
#[test]
fn pages_of_large_records_are_short_and_an_export_has_them_all() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    let large = "x".repeat(1 << 20);
    let erp = house.app("erp");
    for no in 10..30 {
        erp.execute("INSERT INTO customers VALUES (?1, ?2)", [format!("K{no}"), large.clone()]).unwrap();
    }
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 20);
    let page = server.ok(&["queue", "list", "customers"]);
    let last = items(&page).last().unwrap();
    assert!((2..=9).contains(&items(&page).len()), "{}", items(&page).len());
    assert_eq!(page["next"], last["seq"].to_string());
    let keys: Vec<String> =
        export(&server, "customers").iter().map(|record| record["key"].to_string()).collect();
    assert_eq!(keys, (10..30).map(|no| format!("[\"K{no}\"]")).collect::<Vec<_>>());
}
