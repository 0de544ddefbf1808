//! Guards in a file that the app has open: their words, who is sent back, and what a file can lose.

use super::conformance::apply::{begin, fenced_apply, key, target, upsert, write};
use super::conformance::guard::{SINCE, guard};
use super::conformance::{
    DEADLINE, Fixture, TestTable, delete, enter, insert, insist, item, owner, source, update, with_items,
};
use super::{Sqlite, sqlite};
use rusqlite::{Connection, ErrorCode};
use std::time::Instant;
use tandem_core::connect::{Guards, Part, Plan, Source};
use tandem_core::{BarrierId, FaultClass, Guard, Refusal, TableName, WriteOp};

/// `items` in capture, with two rows and a guard against deletes.
async fn guarded(app: &Sqlite) -> (TestTable, Box<dyn Source>, Box<dyn Guards>, Guard) {
    let (items, source, _from) = with_items(app).await;
    app.run(vec![insert(&items.name, item(1, "a")), insert(&items.name, item(2, "b"))]).await;
    let mut guards = app.connector().open_guards(owner()).await.unwrap();
    let guard = guard(&items, "Bob's items", Refusal::Deletes);
    insist("arm", async || guards.arm(&guard, BarrierId(2)).await).await;
    (items, source, guards, guard)
}

fn refused(user: &Connection, sql: &str) -> String {
    let error = user.execute_batch(sql).expect_err(sql);
    let code = error.sqlite_error().unwrap().extended_code;
    assert_eq!(code, rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER, "{sql}: {error}");
    error.to_string()
}

#[tokio::test]
async fn a_refusal_says_why_since_when_and_what_to_do() {
    let app = sqlite().await;
    let (items, _source, mut guards, deletes) = guarded(&app).await;
    let user = app.user();
    let why = "table map \"Bob's items\" has been paused since 2026-11-22 08:00:05 UTC, and its records are in a \
               queued state. Resume the map (tandem map resume Bob's items) and try again, or set deletes = \
               \"queue\" for it to have deletes queued like other changes. If Tandem is gone for good: tandem \
               guard release --sql";
    assert_eq!(
        refused(&user, "DELETE FROM items"),
        format!("a record of items cannot be deleted now: {why}")
    );
    assert_eq!(
        refused(&user, "UPDATE items SET id = 9 WHERE id = 1"),
        format!("the key of a record of items cannot be changed now: {why}")
    );
    insist("disarm", async || guards.disarm(&deletes).await).await;
    let full = guard(&items, "items", Refusal::Writes);
    insist("arm", async || guards.arm(&full, BarrierId(3)).await).await;
    let told = refused(&user, "INSERT INTO items VALUES (3, 'c', '')");
    assert!(
        told.starts_with(
            "a record of items cannot be inserted now: the queue of table map \"items\" has been full since"
        ),
        "{told}"
    );
    assert_eq!(full.since, SINCE);
}

#[tokio::test]
async fn no_spelling_of_a_delete_gets_through() {
    let app = sqlite().await;
    app.user()
        .execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1);
             CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent ON DELETE CASCADE, name TEXT UNIQUE);
             INSERT INTO child VALUES (1, 1, 'a'), (2, NULL, 'b')",
        )
        .unwrap();
    let name = TableName { schema: None, name: "child".into() };
    let mut source = source(&app).await;
    enter(&mut *source, std::slice::from_ref(&name), 1).await;
    let mut guards = app.connector().open_guards(owner()).await.unwrap();
    let guard = Guard {
        table: name,
        map: "child".into(),
        refuses: Refusal::Deletes,
        key: vec!["id".into()],
        since: SINCE,
    };
    insist("arm", async || guards.arm(&guard, BarrierId(2)).await).await;
    let user = app.user();
    user.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    for sql in [
        "DELETE FROM child",
        "DELETE FROM child WHERE id = 1",
        "DELETE FROM parent",
        "UPDATE child SET rowid = 9 WHERE id = 1",
        "UPDATE OR REPLACE child SET id = 2 WHERE id = 1",
        "PRAGMA recursive_triggers = ON; REPLACE INTO child VALUES (3, NULL, 'a')",
    ] {
        refused(&user, sql);
    }
    user.execute_batch(
        "PRAGMA recursive_triggers = OFF; UPDATE child SET id = id, parent = NULL WHERE id = 1; DELETE FROM parent;
         REPLACE INTO child VALUES (1, NULL, 'c');
         INSERT INTO child VALUES (1, NULL, 'd') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    )
    .unwrap();
    let row: String = user.query_row("SELECT name FROM child WHERE id = 1", [], |row| row.get(0)).unwrap();
    assert_eq!(row, "d");
}

#[tokio::test]
async fn who_read_before_the_arming_is_sent_back_and_then_refused() {
    let app = sqlite().await;
    let (items, _source, mut guards, guard) = guarded(&app).await;
    insist("disarm", async || guards.disarm(&guard).await).await;
    let user = app.user();
    user.execute_batch("BEGIN").unwrap();
    let mut cached = user.prepare("DELETE FROM items WHERE id = ?1").unwrap();
    let _count: i64 = user.query_row("SELECT count(*) FROM items", [], |row| row.get(0)).unwrap();
    insist("arm", async || guards.arm(&guard, BarrierId(3)).await).await;
    let error = cached.execute([1]).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "its snapshot is too old to write");
    drop(cached);
    user.execute_batch("ROLLBACK").unwrap();
    refused(&user, "DELETE FROM items WHERE id = 1");
    app.run(vec![update(&items.name, 1, vec![("name", "new".into())])]).await;
}

#[tokio::test]
async fn while_a_user_writes_arming_gives_up_soon() {
    let app = sqlite().await;
    let (items, _source, mut guards, deletes) = guarded(&app).await;
    insist("disarm", async || guards.disarm(&deletes).await).await;
    let open = app.hold(vec![delete(&items.name, 1)]).await;
    let began = Instant::now();
    let fault = guards.arm(&deletes, BarrierId(3)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Conflict, "{fault}");
    assert!(began.elapsed() < DEADLINE / 4, "{:?}", began.elapsed());
    open.commit().await;
    insist("arm", async || guards.arm(&deletes, BarrierId(4)).await).await;
    assert!(app.refused(vec![delete(&items.name, 2)]).await.is_some());
}

#[tokio::test]
async fn a_transaction_of_ours_that_goes_on_or_breaks_off_opens_the_guard_to_nobody_else() {
    let app = sqlite().await;
    let (items, _source, _guards, _guard) = guarded(&app).await;
    let target = target(&items);
    let mut apply = fenced_apply(&app).await;
    let writes = [upsert(1, &target, item(3, "ours")), write(2, &target, WriteOp::Delete(key(1)))];
    let open = Part { begin: begin(0, true), writes: &writes, plan: Plan::Exact, commit: None };
    insist("apply", async || apply.apply(open.clone()).await.map_err(|halt| halt.fault)).await;
    apply.rollback().await.unwrap();
    assert!(app.refused(vec![delete(&items.name, 1)]).await.is_some());
    insist("apply", async || apply.apply(open.clone()).await.map_err(|halt| halt.fault)).await;
    drop(apply);
    insist("the lock is free", async || {
        let free = app.user().execute_batch("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK");
        free.map_err(|error| tandem_core::Fault::new(FaultClass::Conflict, "write", error.to_string()))
    })
    .await;
    assert!(app.refused(vec![delete(&items.name, 1)]).await.is_some());
}

#[tokio::test]
async fn a_guard_that_somebody_took_away_or_altered_no_longer_stands() {
    let app = sqlite().await;
    let (_items, _source, mut guards, guard) = guarded(&app).await;
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    let user = app.user();
    let altered = "CREATE TRIGGER _tandem_guard_1_delete BEFORE DELETE ON items BEGIN SELECT 1; END";
    for change in ["", altered] {
        user.execute_batch(&format!("DROP TRIGGER _tandem_guard_1_delete; {change}")).unwrap();
        assert_eq!(guards.armed().await.unwrap(), []);
        insist("arm", async || guards.arm(&guard, BarrierId(3)).await).await;
        refused(&user, "DELETE FROM items");
    }
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    // The usual rebuild of a table takes its triggers along.
    user.execute_batch(
        "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT, body TEXT); INSERT INTO new SELECT * FROM items;
         DROP TABLE items; ALTER TABLE new RENAME TO items",
    )
    .unwrap();
    assert_eq!(guards.armed().await.unwrap(), []);
    insist("disarm", async || guards.disarm(&guard).await).await;
    let left = app.left_behind().await;
    assert!(!left.iter().any(|name| name.contains("guard") || name.contains("ours")), "{left:?}");
}

#[tokio::test]
async fn with_us_gone_one_paste_frees_the_file_of_everything() {
    let app = sqlite().await;
    let (items, source, mut guards, _guard) = guarded(&app).await;
    let full = guard(&items, "items", Refusal::Writes);
    insist("arm", async || guards.arm(&full, BarrierId(3)).await).await;
    drop(fenced_apply(&app).await);
    drop((source, guards));
    let sql = app.connector().release_sql().await.unwrap();
    app.user().execute_batch(&sql).unwrap();
    assert_eq!(app.left_behind().await, Vec::<String>::new());
    app.run(vec![delete(&items.name, 1), insert(&items.name, item(3, "c"))]).await;
}
