//! Guards on partitioned tables.

use super::*;
use tandem_core::BarrierId;

const TREE: &str =
    "CREATE TABLE t (id int, place text, a text, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
    CREATE TABLE here PARTITION OF t FOR VALUES IN ('here');
    CREATE TABLE there PARTITION OF t FOR VALUES IN ('there') PARTITION BY RANGE (id);
    CREATE TABLE there_low PARTITION OF there FOR VALUES FROM (0) TO (100);
    CREATE TABLE there_high PARTITION OF there FOR VALUES FROM (100) TO (200);
    INSERT INTO t VALUES (1, 'here', 'a'), (2, 'here', 'b'), (3, 'there', 'c'), (103, 'there', 'd')";

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_is_guarded_by_whatever_name_it_is_written_to() {
    let app = app(TREE).await;
    let _tape = app.captured(&["t"]).await;
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    guards.arm(&guard, BarrierId(2)).await.unwrap();
    for name in ["t", "here", "there", "there_low", "there_high"] {
        is_refused(&app.sql, &format!("DELETE FROM {name}")).await;
        is_refused(&app.sql, &format!("TRUNCATE {name}")).await;
        is_refused(&app.sql, &format!("UPDATE {name} SET id = id + 5")).await;
        app.run(&format!("UPDATE {name} SET a = 'new'")).await;
    }
    let (_, message) = refused(&app.sql, "DELETE FROM there_low").await;
    assert!(message.starts_with("record 3 of public.t cannot"), "{message}");
    guards.disarm(&guard).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0]);
    app.run("TRUNCATE there; DELETE FROM here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_moves_a_record_to_another_partition_is_an_update() {
    let app = app(TREE).await;
    let mut tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    tape.until_barrier(2).await;
    app.run(
        "BEGIN; UPDATE t SET place = 'there' WHERE id = 1; UPDATE t SET place = 'here' WHERE id = 3; COMMIT",
    )
    .await;
    assert_eq!(
        shown(&tape.changes(4).await),
        ["Delete 1|here|? -", "Insert - 1|there|a", "Delete 3|there|? -", "Insert - 3|here|c"]
    );
    is_refused(&app.sql, "UPDATE t SET place = 'there', id = 50 WHERE id = 2").await;
    is_refused(&app.sql, "UPDATE t SET id = 150 WHERE id = 1").await;
    is_refused(&app.sql, "BEGIN; UPDATE t SET place = 'there' WHERE id = 2; DELETE FROM t WHERE id = 2")
        .await;
    app.run("ROLLBACK").await;
    is_refused(&app.sql, "DELETE FROM t WHERE id = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_may_move_between_partitions_by_an_expression() {
    let app = app("CREATE TABLE t (id int NOT NULL, a text) PARTITION BY LIST ((length(a)));
        CREATE TABLE short PARTITION OF t FOR VALUES IN (1); CREATE TABLE long PARTITION OF t FOR VALUES IN (2);
        CREATE UNIQUE INDEX short_id ON short (id); CREATE UNIQUE INDEX long_id ON long (id);
        ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE short REPLICA IDENTITY FULL; ALTER TABLE long REPLICA IDENTITY FULL;
        INSERT INTO t VALUES (1, 'a')")
    .await;
    let _tape = app.captured(&["t"]).await;
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    app.run("UPDATE t SET a = 'bb'").await;
    assert_eq!(app.rows("SELECT * FROM long").await, ["1|bb"]);
    is_refused(&app.sql, "UPDATE t SET a = 'c', id = 2").await;
    is_refused(&app.sql, "DELETE FROM t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_refuses_deletes_at_once_and_is_whole_when_armed_again() {
    let app = app(TREE).await;
    let _tape = app.captured(&["t"]).await;
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    guards.arm(&guard, BarrierId(2)).await.unwrap();
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    app.run("CREATE TABLE far PARTITION OF t FOR VALUES IN ('far'); INSERT INTO t VALUES (9, 'far', 'e')")
        .await;
    is_refused(&app.sql, "DELETE FROM far").await;
    assert_eq!(
        guards.armed().await.unwrap(),
        [],
        "a truncate of the new partition would pass: the guard is not whole"
    );
    guards.arm(&guard, BarrierId(3)).await.unwrap();
    is_refused(&app.sql, "TRUNCATE far").await;
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    app.run("ALTER TABLE t DETACH PARTITION far; DELETE FROM far").await;
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
    guards.disarm(&guard).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0], "also where the partition has gone");
}
