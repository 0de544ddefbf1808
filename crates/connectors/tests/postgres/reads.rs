//! Reading PostgreSQL's tables: what only PostgreSQL has.

use crate::world::{app, app_on, table};
use tandem_core::connect::{ChunkLimit, KeyedTable};
use tandem_core::{BarrierId, FaultClass, IntegrationKey};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const ALL: ChunkLimit = ChunkLimit { rows: 1_000, bytes: usize::MAX };

fn by_id(name: &str) -> KeyedTable {
    KeyedTable { table: table(name), key: vec!["id".into()] }
}

/// A transaction that waits for a standby is in the log and visible to nobody. A chunk that is read behind a later
/// barrier lacks it, and says so.
#[tokio::test]
async fn what_is_committed_and_not_visible_yet_is_named() {
    let server = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    let app =
        app_on(&server, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')").await;
    app.run("ALTER SYSTEM SET synchronous_commit = local").await;
    app.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    app.run("SELECT pg_reload_conf()").await;
    app.until("SELECT 1 WHERE current_setting('synchronous_standby_names') = 'nobody'", true).await;
    let mut source = app.source().await;
    source.enter(&[table("t")], BarrierId(1)).await.unwrap();
    let writer = server.connect(&app.name).await;
    let waits = tokio::spawn(async move {
        writer.batch_execute("SET synchronous_commit = on; UPDATE t SET v = 'new' WHERE id = 1").await
    });
    app.until("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'", true).await;
    let xid = app.rows("SELECT backend_xid FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    source.mark(&[BarrierId(2)]).await.unwrap();
    let mut reads = app.connector.open_reads().await.unwrap();
    let chunk = reads.chunk(&by_id("t"), None, ALL).await.unwrap();
    assert_eq!(chunk.rows[0].0[1].value().unwrap().to_string(), "old", "it is not visible");
    assert_eq!(chunk.unseen.iter().map(|one| one.to_string()).collect::<Vec<_>>(), xid);
    // Once it is visible it is not named any more.
    app.run("ALTER SYSTEM SET synchronous_standby_names = ''; ").await;
    app.run("SELECT pg_reload_conf()").await;
    waits.await.unwrap().unwrap();
    let chunk = reads.chunk(&by_id("t"), None, ALL).await.unwrap();
    assert_eq!(chunk.rows[0].0[1].value().unwrap().to_string(), "new");
    assert!(chunk.unseen.is_empty());
}

#[tokio::test]
async fn partitions_are_read_with_their_table_and_children_are_not() {
    let app = app("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         INSERT INTO p SELECT n, n FROM generate_series(0, 19) n;
         CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b () INHERITS (a);
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); ANALYZE")
    .await;
    let mut reads = app.connector.open_reads().await.unwrap();
    assert_eq!(reads.chunk(&by_id("p"), None, ALL).await.unwrap().rows.len(), 20);
    assert_eq!(reads.chunk(&by_id("a"), None, ALL).await.unwrap().rows.len(), 1);
    assert_eq!(reads.estimate(&table("p")).await.unwrap(), Some(20));
}

/// Chunks follow the index, whatever the order of the map's key: no chunk sorts the table.
#[tokio::test]
async fn a_chunk_is_read_by_the_index() {
    let app = app("CREATE TABLE t (a int, b varchar(10), v text, PRIMARY KEY (b, a));
         INSERT INTO t SELECT n % 7, n, 'x' FROM generate_series(1, 200) n")
    .await;
    let key = KeyedTable { table: table("t"), key: vec!["a".into(), "b".into()] };
    let mut reads = app.connector.open_reads().await.unwrap();
    let (mut after, mut seen): (Option<IntegrationKey>, Vec<String>) = (None, Vec::new());
    loop {
        let limit = ChunkLimit { rows: 13, ..ALL };
        let chunk = reads.chunk(&key, after.as_ref(), limit).await.unwrap();
        seen.extend(chunk.rows.iter().map(|row| row.0[1].value().unwrap().to_string()));
        let Some(next) = chunk.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, app.rows("SELECT b FROM t ORDER BY b, a").await);
}

#[tokio::test]
async fn rows_that_row_security_hides_are_a_fault_and_no_gap() {
    let app = app(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
         DROP ROLE IF EXISTS blinkered; CREATE ROLE blinkered LOGIN PASSWORD 'b'; GRANT SELECT ON t TO blinkered;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON t USING (id = 1)",
    )
    .await;
    let url = crate::world::server().url_of("blinkered", "b", &app.name);
    let connector = tandem_connectors::postgres::Postgres::connector(&"blinkered".into(), &url).unwrap();
    let mut reads = connector.open_reads().await.unwrap();
    let fault = reads.chunk(&by_id("t"), None, ALL).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permission, "{fault}");
}
