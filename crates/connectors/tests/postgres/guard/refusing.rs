//! What is refused, and in which words.

use super::*;
use tandem_core::{BarrierId, Entry};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_record_why_since_when_and_what_to_do() {
    let app = app("CREATE TABLE customers (id int PRIMARY KEY, no text, part int);
        INSERT INTO customers VALUES (1, 'K-1', 7), (2, NULL, 8)")
    .await;
    let _tape = app.captured(&["customers"]).await;
    let guard = guard("customers", "customers", Refusal::Deletes, &["no", "part"]);
    guards(&app).await.arm(&guard, BarrierId(2)).await.unwrap();
    let error = app.sql.batch_execute("DELETE FROM customers WHERE id = 1").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    let reason = "table map \"customers\" has been paused since 2026-11-22 08:00:05 UTC, and its records are in \
                  a queued state";
    assert_eq!(error.code().code(), "TD001");
    assert_eq!(error.message(), format!("record K-1|7 of public.customers cannot be deleted now: {reason}"));
    assert_eq!(
        error.hint(),
        Some(
            "Resume the map (tandem map resume customers) and try again, or set deletes = \"queue\" for it to \
             have deletes queued like other changes. If Tandem is gone for good: tandem guard release --sql"
        )
    );
    assert_eq!((error.schema(), error.table()), (Some("public"), Some("customers")));
    for (sql, what) in [
        ("DELETE FROM customers WHERE id = 2", "record null|8 of public.customers cannot be deleted"),
        (
            "UPDATE customers SET no = 'K-9' WHERE id = 1",
            "the key of record K-1|7 of public.customers cannot be changed",
        ),
        ("TRUNCATE customers", "public.customers cannot be truncated"),
    ] {
        let expected = ("TD001".to_owned(), format!("{what} now: {reason}"));
        assert_eq!(refused(&app.sql, sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_every_write_with_a_code_of_its_own() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a')").await;
    let _tape = app.captured(&["t"]).await;
    let full = guard("t", "customers", Refusal::Writes, &["id"]);
    guards(&app).await.arm(&full, BarrierId(2)).await.unwrap();
    let reason = "the queue of table map \"customers\" has been full since 2026-11-22 08:00:05 UTC, and its \
                  records are in a queued state";
    for (sql, what) in [
        ("INSERT INTO t VALUES (2, 'b')", "record 2 of public.t cannot be inserted"),
        ("UPDATE t SET a = 'c'", "record 1 of public.t cannot be updated"),
        ("DELETE FROM t", "record 1 of public.t cannot be deleted"),
        ("TRUNCATE t", "public.t cannot be truncated"),
        ("COPY t (id) FROM PROGRAM 'echo 3'", "record 3 of public.t cannot be inserted"),
    ] {
        let expected = ("TD002".to_owned(), format!("{what} now: {reason}"));
        assert_eq!(refused(&app.sql, sql).await, expected, "{sql}");
    }
    app.run("DELETE FROM t WHERE false; UPDATE t SET a = 'c' WHERE false; SELECT * FROM t FOR UPDATE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_takes_no_record_away_passes_a_guard_against_deletes() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a')").await;
    let mut tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    tape.until_barrier(2).await;
    app.run("UPDATE t SET a = 'b', id = id").await;
    app.run("INSERT INTO t VALUES (1, 'c') ON CONFLICT (id) DO UPDATE SET a = excluded.a").await;
    app.run(
        "MERGE INTO t USING (VALUES (1), (2)) AS s(id) ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET a = 'd' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'd')",
    )
    .await;
    app.run("ALTER TABLE t ADD COLUMN b int; CREATE INDEX ON t (a)").await;
    assert_eq!(
        shown(&tape.changes(4).await),
        ["Update - 1|b", "Update - 1|c", "Update - 1|d", "Insert - 2|d"]
    );
    let merge = "MERGE INTO t USING (VALUES (1)) AS s(id) ON t.id = s.id WHEN MATCHED THEN DELETE";
    is_refused(&app.sql, merge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_superusers_nor_replication_sessions_nor_old_snapshots_get_round_a_guard() {
    let app =
        app("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    let _tape = app.captured(&["t"]).await;
    let mut old = Vec::new();
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let client = server().connect(&app.name).await;
        let delete = client.prepare("DELETE FROM t WHERE id = $1").await.unwrap();
        // A plan of the table is cached, and the snapshot is taken before the guard is there.
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class");
        client.execute(&delete, &[&-1]).await.unwrap();
        client.batch_execute(&begin).await.unwrap();
        old.push((level, client, delete));
    }
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    for (level, client, delete) in old {
        let error = client.execute(&delete, &[&1]).await.expect_err(level);
        assert_eq!(error.code().unwrap().code(), "TD001", "{level}");
    }
    assert_eq!(app.rows("SELECT current_setting('is_superuser')").await, ["on"]);
    is_refused(&app.sql, "SET session_replication_role = replica; DELETE FROM t").await;
    is_refused(&app.sql, "SET session_replication_role = replica; TRUNCATE t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_he_is_ours_passes_and_is_seen_in_the_log() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await;
    let mut tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    app.run("BEGIN; SET LOCAL tandem.apply = 'on'; DELETE FROM t WHERE id = 1; COMMIT").await;
    is_refused(&app.sql, "DELETE FROM t").await;
    tape.until_barrier(2).await;
    assert_eq!(shown(&tape.changes(1).await), ["Delete 1 -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_is_refused_where_it_would_take_a_guarded_record_away() {
    let app = app("CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
                        other int REFERENCES parent ON DELETE SET NULL);
        INSERT INTO parent VALUES (1), (2); INSERT INTO t VALUES (10, 1, NULL), (11, NULL, 2)")
    .await;
    let _tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    let (code, message) = refused(&app.sql, "DELETE FROM parent WHERE id = 1").await;
    assert_eq!(code, "TD001");
    assert!(message.starts_with("record 10 of public.t cannot be deleted"), "{message}");
    is_refused(&app.sql, "TRUNCATE parent CASCADE").await;
    app.run("UPDATE parent SET id = 3 WHERE id = 1; DELETE FROM parent WHERE id = 2").await;
    assert_eq!(app.rows("SELECT * FROM t ORDER BY id").await, ["10|3|~", "11|~|~"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_apps_own_triggers_make_of_a_write_is_what_counts() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, gone bool NOT NULL DEFAULT false);
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE t SET gone = true WHERE id = OLD.id; RETURN NULL; END $$;
        CREATE FUNCTION renumber() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.id = 7 THEN NEW.id = 8; END IF; RETURN NEW; END $$;
        CREATE TRIGGER soft_delete BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();
        CREATE TRIGGER zzz_renumber BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION renumber();
        INSERT INTO t VALUES (1), (7)")
    .await;
    let _tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    app.run("DELETE FROM t WHERE id = 1").await;
    assert_eq!(app.rows("SELECT * FROM t WHERE id = 1").await, ["1|t"]);
    is_refused(&app.sql, "UPDATE t SET gone = true WHERE id = 7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_only_names() {
    let app = app("CREATE TABLE \"Odd \"\"ta'ble\" (\"the \"\"ke'y\" text PRIMARY KEY, \"sel\\ect\" int);
        INSERT INTO \"Odd \"\"ta'ble\" VALUES ('O''Neil\\', 1)")
    .await;
    let odd = "\"Odd \"\"ta'ble\"";
    let mut source = app.source().await;
    source.enter(&[table(odd)], BarrierId(1)).await.unwrap();
    let guard = guard(odd, "m\u{e4}p '; \"\\x", Refusal::Deletes, &["the \"ke'y", "sel\\ect"]);
    let mut guards = guards(&app).await;
    guards.arm(&guard, BarrierId(2)).await.unwrap();
    let (code, message) = refused(&app.sql, "DELETE FROM \"Odd \"\"ta'ble\"").await;
    assert_eq!(code, "TD001");
    assert!(message.starts_with("record O'Neil\\|1 of public."), "{message}");
    assert!(message.contains("\"m\u{e4}p '; \"\\x\""), "{message}");
    is_refused(&app.sql, "UPDATE \"Odd \"\"ta'ble\" SET \"the \"\"ke'y\" = 'x'").await;
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    guards.disarm(&guard).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delete_is_ever_behind_the_barrier_however_many_are_at_work() {
    const WRITERS: i32 = 4;
    let app =
        app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 400000)").await;
    let mut tape = app.captured(&["t"]).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = server().connect(&app.name).await;
        writers.push(tokio::spawn(async move {
            for id in (1..=100_000).map(|n| n * WRITERS - writer) {
                let delete = format!("DELETE FROM t WHERE id = {id}");
                if let Err(error) = client.batch_execute(&delete).await {
                    return (id, error.code().unwrap().code().to_owned());
                }
            }
            (0, "never".to_owned())
        }));
    }
    app.until("SELECT 1 FROM t HAVING count(*) < 399900", true).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    for writer in writers {
        let (_, code) = writer.await.unwrap();
        assert_eq!(code, "TD001");
    }
    app.run("INSERT INTO t VALUES (-1)").await;
    let before = tape.until_barrier(2).await.len();
    let left: usize = app.rows("SELECT count(*) FROM t WHERE id > 0").await[0].parse().unwrap();
    assert_eq!(before, 400_000 - left, "each delete is before the barrier");
    while tape.entries.is_empty() {
        tape.step().await;
    }
    assert!(matches!(&tape.entries[..], [Entry::Change(change)] if show(change) == "Insert - -1"));
}
