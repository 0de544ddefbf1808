//! What only SQLite does: triggers that go away, files that are restored, columns that alter values, a lock that
//! is shared with the app.

use super::conformance::apply::{
    begin, do_writes, done, fenced_apply, key, target, target_of, upsert, write,
};
use super::conformance::{
    Event, Fixture, TestTable, capture, end, enter, insert, insist, item, owner, read_changes, read_until,
    say, soon, source, update, with_items,
};
use super::{Sqlite, sqlite};
use bytes::Bytes;
use rusqlite::Connection;
use std::time::{Duration, Instant};
use tandem_core::connect::{Advance, Capture, CaptureNeed, Needs, Owner, Part, Plan, WriteNeed};
use tandem_core::{
    Epoch, FaultClass, JournalId, Kind, Op, Position, Seq, Severity, TableName, Value, WriteOp,
};

fn table(name: &str) -> TableName {
    TableName { schema: None, name: name.into() }
}

async fn fault_of(app: &Sqlite, from: &Position) -> FaultClass {
    match app.connector().open_capture(owner(), from).await {
        Err(fault) => fault.class,
        Ok(mut capture) => next_fault(&mut *capture).await,
    }
}

/// A capture of `items` that has read the first row.
async fn reading(
    app: &Sqlite,
) -> (TestTable, Box<dyn tandem_core::connect::Source>, Box<dyn Capture>, Position) {
    let (items, source, from) = with_items(app).await;
    let mut capture = capture(app, &from).await;
    app.run(vec![insert(&items.name, item(1, "a"))]).await;
    let seen = read_changes(&mut *capture, 1).await;
    (items, source, capture, end(&seen))
}

async fn next_fault(capture: &mut dyn Capture) -> FaultClass {
    soon("the capture fails", async {
        loop {
            if let Err(fault) = capture.next().await {
                return fault.class;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_dropped_trigger_is_a_gap_until_the_table_is_captured_anew() {
    let app = sqlite().await;
    let (items, mut source, mut capture, from) = reading(&app).await;
    let user = app.user();
    let trigger: String = user
        .query_row("SELECT name FROM sqlite_master WHERE type = 'trigger' LIMIT 1", [], |row| row.get(0))
        .unwrap();
    let need = CaptureNeed { table: items.name.clone(), key: vec!["id".into()], also: vec![] };
    let needs = Needs { captured: vec![need], written: vec![] };
    let found = async || -> Vec<String> {
        let findings = app.connector().check(&needs).await.unwrap();
        findings.into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(found().await, [""; 0]);
    user.execute_batch(&format!("DROP TRIGGER \"{trigger}\"")).unwrap();
    assert_eq!(found().await, ["triggers_missing"]);
    app.run(vec![insert(&items.name, item(2, "unseen"))]).await;
    assert_eq!(next_fault(&mut *capture).await, FaultClass::Gap);
    drop(capture);
    assert_eq!(fault_of(&app, &from).await, FaultClass::Gap, "it stays one");
    let names = [items.name.clone()];
    let mended = source.enter(&names, tandem_core::BarrierId(2)).await.unwrap_err();
    assert_eq!(mended.class, FaultClass::Gap, "it is not mended silently");
    insist("leave", async || source.leave(&names).await).await;
    let from = enter(&mut *source, &names, 3).await;
    assert_eq!(found().await, [""; 0]);
    app.run(vec![insert(&items.name, item(3, "seen"))]).await;
    let mut again = super::conformance::capture(&app, &from).await;
    assert_eq!(say(&read_changes(&mut *again, 1).await), ["barrier 3", "insert items 3 seen"]);
}

#[tokio::test]
async fn a_table_that_was_rebuilt_is_a_gap() {
    let app = sqlite().await;
    let (_items, _source, mut capture, _) = reading(&app).await;
    let rebuild = "BEGIN; CREATE TABLE rebuilt (id INTEGER PRIMARY KEY, name TEXT, body TEXT, more TEXT);
         INSERT INTO rebuilt SELECT id, name, body, NULL FROM items;
         DROP TABLE items; ALTER TABLE rebuilt RENAME TO items; COMMIT;";
    app.user().execute_batch(rebuild).unwrap();
    assert_eq!(next_fault(&mut *capture).await, FaultClass::Gap);
}

#[tokio::test]
async fn a_new_column_is_followed() {
    let app = sqlite().await;
    let (items, _source, mut capture, _) = reading(&app).await;
    app.user().execute_batch("ALTER TABLE items ADD COLUMN more TEXT DEFAULT 'x'").unwrap();
    soon("the triggers log the new column", async {
        for id in 2i64.. {
            let mut row = item(id, "b");
            row.push("more".into());
            app.run(vec![insert(&items.name, row)]).await;
            let events = read_changes(&mut *capture, 1).await;
            let last = events.iter().rev().find_map(|event| match event {
                Event::Change(change) => Some(change.clone()),
                _ => None,
            });
            let change = last.unwrap();
            let Op::Insert { new } = change.op else { panic!("an insert") };
            if let Some(at) = change.relation.column("more") {
                assert_eq!(new.cell(at).value(), Some(&"more".into()));
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_renamed_column_is_followed_and_no_value_is_lost_or_misplaced() {
    let app = sqlite().await;
    let (items, _source, mut capture, _) = reading(&app).await;
    app.user()
        .execute_batch(
            "ALTER TABLE items RENAME COLUMN body TO content; ALTER TABLE items ADD COLUMN more TEXT",
        )
        .unwrap();
    soon("the log has the new name", async {
        for id in 2i64.. {
            let name = format!("n{id}");
            let mut row = item(id, &name);
            row.push("more".into());
            app.run(vec![insert(&items.name, row)]).await;
            let events = read_changes(&mut *capture, 1).await;
            let changes = events.iter().filter_map(|event| match event {
                Event::Change(change) => Some(change.clone()),
                _ => None,
            });
            let change = changes.last().unwrap();
            let Op::Insert { new } = change.op else { panic!("an insert") };
            // Under which name ever a column is told, it has its own value.
            let at = change.relation.column("name").unwrap();
            assert_eq!(new.cell(at).value(), Some(&name.as_str().into()));
            if change.relation.column("content").is_some() && change.relation.column("more").is_some() {
                assert_eq!(change.relation.column("body"), None);
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_restored_file_is_a_gap_even_if_it_has_grown_past_the_position() {
    let app = sqlite().await;
    let (items, source, capture, from) = reading(&app).await;
    drop((source, capture));
    let backup = app.folder.path().join("backup.db");
    app.user().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    app.run((2..20).map(|id| insert(&items.name, item(id, "lost"))).collect()).await;
    let mut reader = super::conformance::capture(&app, &from).await;
    let ahead = end(&read_changes(&mut *reader, 18).await);
    // The app restores its backup under the running capture.
    for end in ["", "-wal", "-shm"] {
        let _not_there = std::fs::remove_file(format!("{}{end}", app.path().display()));
    }
    std::fs::copy(&backup, app.path()).unwrap();
    app.user().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(next_fault(&mut *reader).await.is_transient(), "the old file is of no more use");
    drop(reader);
    assert_eq!(fault_of(&app, &ahead).await, FaultClass::Gap);
    app.run((2..40).map(|id| insert(&items.name, item(id, "other"))).collect()).await;
    assert_eq!(fault_of(&app, &ahead).await, FaultClass::Gap);
    // What the backup has is still there.
    let mut again = super::conformance::capture(&app, &from).await;
    assert_eq!(say(&read_changes(&mut *again, 38).await).len(), 38);
}

#[tokio::test]
async fn a_capture_that_was_taken_over_lets_go_of_nothing() {
    let app = sqlite().await;
    let (items, source, mut old, at) = reading(&app).await;
    drop(source);
    let other = Owner { journal: JournalId(8), epoch: Epoch(1) };
    let _taken = insist("take over", async || app.connector().open_source(other).await).await;
    assert_eq!(old.acknowledge(&at).await.unwrap_err().class, FaultClass::Fenced);
    app.run(vec![insert(&items.name, item(2, "b"))]).await;
    assert_eq!(next_fault(&mut *old).await, FaultClass::Fenced);
}

#[tokio::test]
async fn without_wal_it_is_refused_with_the_pragma() {
    let app = sqlite().await;
    app.user().execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    let fault = app.connector().open_source(owner()).await.err().unwrap();
    assert_eq!((fault.class, fault.fix.as_deref()), (FaultClass::Setup, Some("PRAGMA journal_mode=WAL;")));
    let findings = app.connector().check(&Needs::default()).await.unwrap();
    assert_eq!(findings.iter().map(|finding| &*finding.code).collect::<Vec<_>>(), ["journal_mode"]);
    let mode: String = app.user().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "we never switch it");
}

#[tokio::test]
async fn a_missing_file_is_a_finding_and_is_never_made() {
    let app = sqlite().await;
    std::fs::remove_file(app.path()).unwrap();
    let findings = app.connector().check(&Needs::default()).await.unwrap();
    assert_eq!(findings.iter().map(|finding| &*finding.code).collect::<Vec<_>>(), ["file_missing"]);
    assert_eq!(app.connector().open_source(owner()).await.err().unwrap().class, FaultClass::Connection);
    assert!(!app.path().exists());
}

#[tokio::test]
async fn a_backlog_comes_in_units_and_is_trimmed_down_to_one_row() {
    let app = sqlite().await;
    let (items, _source, from) = with_items(&app).await;
    for part in 0..5i64 {
        let rows = part * 5_000..(part + 1) * 5_000;
        app.run(rows.map(|id| insert(&items.name, item(id, "many"))).collect()).await;
    }
    let mut capture = capture(&app, &from).await;
    let events = read_changes(&mut *capture, 25_000).await;
    let units = events.split_inclusive(|event| matches!(event, Event::Commit(..)));
    assert_eq!(units.map(<[Event]>::len).collect::<Vec<_>>(), [10_001, 10_001, 5_002]);
    let last = end(&events);
    let left = || -> i64 {
        app.user().query_row("SELECT count(*) FROM _tandem_changes", [], |row| row.get(0)).unwrap()
    };
    soon("all but the last row is trimmed", async {
        while left() > 1 {
            insist("acknowledge", async || capture.acknowledge(&last).await).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(capture);
    app.run(vec![insert(&items.name, item(99_999, "next"))]).await;
    let mut again = super::conformance::capture(&app, &last).await;
    assert_eq!(say(&read_changes(&mut *again, 1).await), ["insert items 99999 next"]);
}

#[tokio::test]
async fn a_replaced_row_of_the_same_key_says_everything() {
    let app = sqlite().await;
    let (_items, _source, mut capture, _) = reading(&app).await;
    app.user().execute_batch("INSERT OR REPLACE INTO items VALUES (1, 'replaced', NULL)").unwrap();
    let said = say(&read_changes(&mut *capture, 1).await);
    assert_eq!(said.last().unwrap(), "insert items 1 replaced");
}

#[tokio::test]
async fn what_a_column_would_alter_is_set_aside() {
    let app = sqlite().await;
    let strict = "CREATE TABLE money (id INTEGER PRIMARY KEY, amount DECIMAL(10,2), exact TEXT);
                  CREATE TABLE strict (id INTEGER PRIMARY KEY, amount INTEGER, anything ANY) STRICT;";
    app.user().execute_batch(strict).unwrap();
    let mut apply = fenced_apply(&app).await;
    let shape = |name: &str, columns: [&'static str; 3]| TestTable {
        name: table(name),
        columns: columns.map(|column| (column, super::conformance::ColumnType::Int)).to_vec(),
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    let money = target(&shape("money", ["id", "amount", "exact"]));
    let strict = target(&shape("strict", ["id", "amount", "anything"]));
    let decimal = |text: &'static str| Value::Typed(Kind::Decimal, text.into());
    let writes = [
        upsert(1, &money, vec![1.into(), decimal("12"), decimal("1.10")]),
        upsert(2, &money, vec![2.into(), decimal("1.10"), Value::Null]),
        upsert(3, &money, vec![3.into(), Value::Float(f64::NAN), Value::Null]),
        upsert(4, &strict, vec![1.into(), "text".into(), Value::Null]),
        upsert(5, &strict, vec![2.into(), 7.into(), "007".into()]),
    ];
    let applied = do_writes(&mut *apply, (0, 5), Plan::Single, &writes).await.unwrap();
    let refused: Vec<_> =
        applied.refused.iter().map(|(at, fault)| (*at, fault.code.clone().unwrap())).collect();
    let code = |text: &str| text.to_owned();
    assert_eq!(refused, [(1, code("text_to_number")), (2, code("nan")), (3, code("3091"))]);
    assert!(!applied.refused.iter().any(|(_, fault)| fault.message.contains("1.10")), "no value in a fault");
    assert_eq!(app.rows(&table("money")).await, [vec![1.into(), 12.into(), "1.10".into()]]);
    assert_eq!(app.rows(&table("strict")).await, [vec![2.into(), 7.into(), "007".into()]]);
}

#[tokio::test]
async fn tables_without_row_numbers_are_captured_and_written() {
    let app = sqlite().await;
    let sql = "CREATE TABLE pairs (a TEXT, b INTEGER, v TEXT UNIQUE, s TEXT AS (a || b), PRIMARY KEY (a, b)) WITHOUT ROWID";
    app.user().execute_batch(sql).unwrap();
    let mut source = source(&app).await;
    let from = enter(&mut *source, &[table("pairs")], 1).await;
    app.user().execute_batch("INSERT INTO pairs VALUES ('x', 1, 'p'), ('x', 2, 'q')").unwrap();
    let mut capture = capture(&app, &from).await;
    let events = read_changes(&mut *capture, 2).await;
    let Some(Event::Change(change)) = events.iter().find(|event| matches!(event, Event::Change(_))) else {
        panic!("a change");
    };
    assert_eq!(change.relation.columns.len(), 3, "what the database computes is not captured");
    let pairs = TestTable {
        name: table("pairs"),
        columns: ["a", "b", "v"].map(|column| (column, super::conformance::ColumnType::Text)).to_vec(),
        key: vec!["a", "b"],
        unique: vec![vec!["v"]],
        not_null: vec![],
        references: vec![],
    };
    let target = target(&pairs);
    let mut apply = fenced_apply(&app).await;
    let mut swap = [
        upsert(1, &target, vec!["x".into(), 1.into(), "q".into()]),
        upsert(2, &target, vec!["x".into(), 2.into(), "p".into()]),
    ];
    swap.iter_mut().for_each(|write| write.transaction = Seq(1));
    done(&mut *apply, (0, 2), Plan::Exact, &swap).await;
    let values: Vec<_> = app.rows(&table("pairs")).await.into_iter().map(|row| row[2].clone()).collect();
    assert_eq!(values, ["q".into(), "p".into()]);
}

#[tokio::test]
async fn keys_can_be_swapped_by_key_changes() {
    let app = sqlite().await;
    app.user()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        )
        .unwrap();
    let shape = TestTable {
        name: table("t"),
        columns: vec![
            ("id", super::conformance::ColumnType::Int),
            ("v", super::conformance::ColumnType::Text),
        ],
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    let target = target(&shape);
    let rekey = |seq, old: i64, new: i64| {
        write(seq, &target, WriteOp::Rekey { old: key(old), values: vec![Some(new.into()), None] })
    };
    let mut writes = [rekey(1, 1, 2), rekey(2, 2, 1)];
    writes.iter_mut().for_each(|write| write.transaction = Seq(1));
    let mut apply = fenced_apply(&app).await;
    done(&mut *apply, (0, 2), Plan::Exact, &writes).await;
    assert_eq!(app.rows(&table("t")).await, [vec![1.into(), "b".into()], vec![2.into(), "a".into()]]);
}

#[tokio::test]
async fn a_parent_that_is_still_referred_to_stays_and_only_its_delete_is_refused() {
    let app = sqlite().await;
    let sql =
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p);
               INSERT INTO p VALUES (1), (2), (3); INSERT INTO c VALUES (1, 2);";
    app.user().execute_batch(sql).unwrap();
    let shape = TestTable {
        name: table("p"),
        columns: vec![("id", super::conformance::ColumnType::Int)],
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    let target = target_of(&shape, &["id"], 0);
    let writes = [1, 2, 3].map(|id| write(id as u64, &target, WriteOp::Delete(key(id))));
    let mut apply = fenced_apply(&app).await;
    let failed = do_writes(&mut *apply, (0, 3), Plan::Exact, &writes).await.unwrap_err();
    assert_eq!((failed.fault.class, failed.write), (FaultClass::Reference, Some(1)));
    let applied = do_writes(&mut *apply, (0, 3), Plan::Single, &writes).await.unwrap();
    assert_eq!(applied.refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1]);
    assert_eq!(app.rows(&table("p")).await, [vec![2.into()]]);
}

#[tokio::test]
async fn check_names_what_stands_in_the_way_and_what_mends_it() {
    let app = sqlite().await;
    let sql = "CREATE TABLE t (id INTEGER, code TEXT, amount DECIMAL, must TEXT NOT NULL, g TEXT AS (code));
               CREATE TRIGGER touch AFTER UPDATE ON T BEGIN SELECT 1; END;
               CREATE TRIGGER _tandem_1_update AFTER UPDATE ON t BEGIN SELECT 1; END;
               CREATE VIEW v AS SELECT * FROM t;";
    app.user().execute_batch(sql).unwrap();
    let columns = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
    let needs = Needs {
        captured: vec![
            CaptureNeed { table: table("t"), key: columns(&["code", "nope"]), also: vec![] },
            CaptureNeed { table: table("v"), key: columns(&["id"]), also: vec![] },
            CaptureNeed { table: table("gone"), key: columns(&["id"]), also: vec![] },
        ],
        written: vec![WriteNeed {
            table: table("t"),
            columns: columns(&["code", "amount", "g"]),
            key: columns(&["code"]),
        }],
    };
    let findings = app.connector().check(&needs).await.unwrap();
    let mut found: Vec<_> = findings.iter().map(|f| format!("{} {}", f.code, f.place)).collect();
    found.sort();
    let expected = [
        "column_generated t.g",
        "column_missing t.nope",
        "column_required t.must",
        "inexact_column t.amount",
        "key_not_unique t",
        "not_a_table v",
        "table_missing gone",
        "trigger t",
    ];
    assert_eq!(found, expected);
    assert!(findings.iter().all(|finding| finding.fix.is_some()), "each says what mends it: {findings:?}");
    let key = findings.iter().find(|finding| finding.code == "key_not_unique").unwrap();
    app.user().execute_batch(key.fix.as_deref().unwrap()).unwrap();
    let after = app.connector().check(&needs).await.unwrap();
    assert!(!after.iter().any(|finding| finding.code == "key_not_unique"), "the fix mends it");
    let warnings = after.iter().filter(|finding| finding.severity == Severity::Warning);
    assert_eq!(warnings.count(), 3, "an unseen replace, an inexact column, a trigger");
    app.user().execute("INSERT INTO t (must) VALUES ('x')", []).unwrap();
    let keyless = app.connector().check(&needs).await.unwrap();
    assert!(
        keyless.iter().any(|finding| finding.code == "key_null" && finding.place == "t.code"),
        "{keyless:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_keeps_writing_beside_our_catch_up() {
    let app = sqlite().await;
    let (items, _source, _from) = with_items(&app).await;
    let path = app.path();
    // The app's own writer: patient for one second, as many apps are.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let conn = Connection::open(path).unwrap();
        conn.busy_timeout(Duration::from_secs(1)).unwrap();
        let mut waits = Vec::new();
        let mut refused = 0;
        let mut id = 1_000_000i64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let began = Instant::now();
            match conn.execute("INSERT INTO items VALUES (?1, 'app', NULL)", [id]) {
                Ok(_) => waits.push(began.elapsed()),
                Err(_) => refused += 1,
            }
            id += 1;
        }
        waits.sort();
        (waits, refused)
    });
    let target = target(&items);
    let mut apply = fenced_apply(&app).await;
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let writes: Vec<_> =
            (1..=500).map(|n| upsert(at + n, &target, item((at + n) as i64, "ours"))).collect();
        done(&mut *apply, (at, at + 500), Plan::Fast, &writes).await;
        at += 500;
    }
    stop.send(()).unwrap();
    let (waits, refused) = writer.join().unwrap();
    let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
    println!("ours: {at} rows; app: {} writes, p99 {p99:?}, {refused} refused", waits.len());
    assert_eq!(refused, 0, "the app is refused nothing");
    assert!(waits.len() > 50 && p99 < Duration::from_millis(500), "{} writes, p99 {p99:?}", waits.len());
    assert!(at >= 1_000, "and we get on");
}

#[tokio::test]
async fn after_a_transaction_of_ours_the_lock_is_left_alone_as_long_as_it_was_held() {
    let app = sqlite().await;
    let (items, _source, _from) = with_items(&app).await;
    let mut apply = fenced_apply(&app).await;
    let target = target(&items);
    let held = Duration::from_millis(200);
    let writes = [upsert(1, &target, item(1, "ours"))];
    let first = Part { begin: begin(0, true), writes: &writes, plan: Plan::Fast, commit: None };
    apply.apply(first).await.unwrap();
    tokio::time::sleep(held).await;
    let commit = Some(Advance { to: Seq(1), position: Position(Bytes::new()) });
    apply.apply(Part { begin: None, writes: &[], plan: Plan::Fast, commit }).await.unwrap();
    let free = Instant::now();
    done(&mut *apply, (1, 2), Plan::Fast, &[upsert(2, &target, item(2, "ours"))]).await;
    assert!(free.elapsed() >= held, "taken again after {:?}", free.elapsed());
}

#[tokio::test]
async fn a_commit_of_the_app_wakes_us() {
    let app = sqlite().await;
    let (items, _source, mut capture, _) = reading(&app).await;
    let mut delays = Vec::new();
    for n in 0..20i64 {
        let (events, committed) = tokio::join!(
            async {
                let events = read_until(&mut *capture, |events| !events.is_empty()).await;
                (events, Instant::now())
            },
            async {
                tokio::task::yield_now().await;
                app.run(vec![update(&items.name, 1, vec![("name", Value::Int(n))])]).await;
                Instant::now()
            }
        );
        assert!(!events.0.is_empty());
        delays.push(events.1.saturating_duration_since(committed));
    }
    delays.sort();
    println!("seen after: median {:?}, most {:?}", delays[10], delays[19]);
    assert!(delays[10] < Duration::from_millis(200), "the hint came: {delays:?}");
}

#[tokio::test]
async fn several_parts_in_a_busy_file_are_a_conflict_and_nothing_else() {
    let app = sqlite().await;
    let (items, _source, _from) = with_items(&app).await;
    let mut apply = fenced_apply(&app).await;
    let held = app.hold(vec![insert(&items.name, item(1, "held"))]).await;
    let target = target(&items);
    let writes = [upsert(1, &target, item(2, "ours"))];
    let commit = Some(Advance { to: Seq(1), position: Position(Bytes::new()) });
    let part = Part { begin: begin(0, true), writes: &writes, plan: Plan::Fast, commit };
    let began = Instant::now();
    let failed = apply.apply(part.clone()).await.unwrap_err();
    assert_eq!(failed.fault.class, FaultClass::Conflict);
    assert!(began.elapsed() < Duration::from_secs(5));
    held.commit().await;
    apply.apply(part).await.unwrap();
    assert_eq!(app.rows(&items.name).await.len(), 2);
}
