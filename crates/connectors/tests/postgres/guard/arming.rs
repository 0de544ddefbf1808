//! Arming beside others who use the table, without the rights, and what somebody does to a guard afterwards.

use super::*;
use std::time::Duration;
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{CaptureNeed, Needs};
use tandem_core::{AppName, BarrierId, Fault, FaultClass, Severity};
use tandem_proof_servers::{PostgresOptions, PostgresServer};
use tokio::time::Instant;

/// `deadlock_timeout` and half a second, and what a slow machine needs besides.
const AT_MOST: Duration = Duration::from_millis(1_500 + 2_000);

async fn pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

async fn arm_in_vain(guards: &mut dyn Guards, guard: &Guard) -> Fault {
    let began = Instant::now();
    let fault = guards.arm(guard, BarrierId(2)).await.unwrap_err();
    assert!(began.elapsed() < AT_MOST, "{:?}", began.elapsed());
    assert_eq!((fault.class, fault.code.as_deref()), (FaultClass::Conflict, Some("55P03")), "{fault}");
    fault
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_long_transaction_arming_gives_up_and_names_it() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await;
    let _tape = app.captured(&["t"]).await;
    let long = server().connect(&app.name).await;
    long.batch_execute("BEGIN; DELETE FROM t WHERE id = 1").await.unwrap();
    let mut guards = guards(&app).await;
    let fault = arm_in_vain(&mut *guards, &deletes("t")).await;
    let pid = pid(&long).await;
    assert!(
        fault.message.starts_with(&format!("public.t is in use by pid {pid} (idle in transaction, since 20")),
        "{fault}"
    );
    assert!(fault.fix.unwrap().contains(&format!("SELECT pg_terminate_backend({pid});")));
    assert_eq!(fault.table.as_deref(), Some("public.t"));
    assert_eq!(app.rows(TRACES).await, [""; 0]);
    long.batch_execute("COMMIT").await.unwrap();
    guards.arm(&deletes("t"), BarrierId(3)).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_keep_a_guard_from_being_armed_or_disarmed() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let _tape = app.captured(&["t"]).await;
    let reader = server().connect(&app.name).await;
    reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    guards.arm(&guard, BarrierId(2)).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
    guards.disarm(&guard).await.unwrap();
    app.run("BEGIN; DELETE FROM t; ROLLBACK").await;
    assert_eq!(guards.armed().await.unwrap(), []);
    assert_eq!(app.rows(TRACES).await.len(), 4, "disabled, and waiting for the reader to end");
    reader.batch_execute("COMMIT").await.unwrap();
    guards.disarm(&guard).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_guard_that_could_not_be_dropped_can_be_armed_again() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let _tape = app.captured(&["t"]).await;
    let reader = server().connect(&app.name).await;
    reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    for barrier in 2..4 {
        guards.arm(&guard, BarrierId(barrier)).await.unwrap();
        is_refused(&app.sql, "DELETE FROM t").await;
        guards.disarm(&guard).await.unwrap();
    }
    app.run("DELETE FROM t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autovacuum_yields_and_a_vacuum_or_a_prepared_transaction_is_named() {
    let settings = [
        ("autovacuum_naptime", "1"),
        ("autovacuum_vacuum_cost_delay", "100"),
        ("autovacuum_vacuum_cost_limit", "1"),
        ("max_prepared_transactions", "5"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server =
        PostgresServer::start_new(PostgresOptions { fsync: false, settings, ..PostgresOptions::default() });
    let app = app_on(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY, a text) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);
         INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n; UPDATE t SET a = ''",
    )
    .await;
    let _tape = app.captured(&["t"]).await;
    let mut guards = guards(&app).await;
    let working = "SELECT 1 FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid)
        WHERE p.relid = 't'::regclass AND a.backend_type = 'autovacuum worker'";
    app.until(working, true).await;
    guards.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
    guards.disarm(&deletes("t")).await.unwrap();

    app.run("ALTER TABLE t SET (autovacuum_enabled = off)").await;
    let vacuum = server.connect(&app.name).await;
    let vacuum_pid = pid(&vacuum).await;
    let cancel = vacuum.cancel_token();
    vacuum.batch_execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1").await.unwrap();
    let vacuuming = tokio::spawn(async move { vacuum.batch_execute("VACUUM t").await });
    app.until(&format!("SELECT 1 FROM pg_stat_progress_vacuum WHERE pid = {vacuum_pid}"), true).await;
    let fault = arm_in_vain(&mut *guards, &deletes("t")).await;
    assert!(fault.message.contains(&format!("pid {vacuum_pid} (active")), "{fault}");
    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    vacuuming.await.unwrap().unwrap_err();
    guards.arm(&deletes("t"), BarrierId(3)).await.unwrap();
    guards.disarm(&deletes("t")).await.unwrap();

    app.run("BEGIN; UPDATE t SET a = 'y' WHERE id = 1; PREPARE TRANSACTION 'stuck'").await;
    let fault = arm_in_vain(&mut *guards, &deletes("t")).await;
    assert!(fault.message.contains("in use by a prepared transaction"), "{fault}");
    assert!(fault.fix.unwrap().contains("pg_prepared_xacts"));
    app.run("ROLLBACK PREPARED 'stuck'").await;
    guards.arm(&deletes("t"), BarrierId(4)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_not_many_waits() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
        CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3); INSERT INTO t VALUES (1), (2), (3)")
    .await;
    let _tape = app.captured(&["t"]).await;
    let mut writers = Vec::new();
    for (partition, seconds) in [("t1", 1.2), ("t2", 2.6), ("t3", 4.0)] {
        let writer = server().connect(&app.name).await;
        writer.batch_execute(&format!("BEGIN; DELETE FROM {partition}")).await.unwrap();
        let ends = format!("SELECT pg_sleep({seconds}); ROLLBACK");
        writers.push(tokio::spawn(async move { writer.batch_execute(&ends).await }));
    }
    // Each is waited for no longer than is allowed, all of them are.
    let mut guards = guards(&app).await;
    let began = Instant::now();
    let fault = guards.arm(&deletes("t"), BarrierId(2)).await.unwrap_err();
    assert!(began.elapsed() < AT_MOST, "{:?}", began.elapsed());
    assert_eq!(fault.class, FaultClass::Conflict, "{fault}");
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    guards.arm(&deletes("t"), BarrierId(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_leaves_nothing_half_done() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let mut tape = app.captured(&["t"]).await;
    let long = server().connect(&app.name).await;
    long.batch_execute("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    let given_up = tokio::time::timeout(Duration::from_millis(300), guards.arm(&guard, BarrierId(2))).await;
    assert!(given_up.is_err(), "it waits for the writer");
    long.batch_execute("COMMIT").await.unwrap();
    assert_eq!(guards.armed().await.unwrap(), []);
    app.run("DELETE FROM t").await;
    guards.arm(&guard, BarrierId(3)).await.unwrap();
    assert_eq!(shown(&changes(tape.until_barrier(3).await)), ["Insert - 2", "Delete 1 -", "Delete 2 -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_own_the_table_is_told_what_to_grant() {
    let app = app("CREATE ROLE \"Shop owner\"; CREATE ROLE guarding LOGIN PASSWORD 'secret' REPLICATION;
        CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    .await;
    app.run(&format!(
        "ALTER TABLE t OWNER TO \"Shop owner\"; GRANT ALL ON t TO guarding; GRANT CREATE ON DATABASE {0} TO guarding;
         CREATE PUBLICATION tandem_{0} WITH (publish_via_partition_root = true);
         ALTER PUBLICATION tandem_{0} ADD TABLE t; ALTER PUBLICATION tandem_{0} OWNER TO guarding",
        app.name
    ))
    .await;
    let url = server().url_of("guarding", "secret", &app.name);
    let connector = Postgres::connector(&AppName::from(app.name.as_str()), &url).unwrap();
    let needs = Needs {
        captured: vec![CaptureNeed { table: table("public.t"), key: vec!["id".into()], also: vec![] }],
        ..Needs::default()
    };
    let findings = connector.check(&needs).await.unwrap();
    let warned: Vec<_> = findings.iter().map(|found| (found.code.as_str(), found.severity)).collect();
    assert_eq!(warned, [("guard_right", Severity::Warning)]);
    let mut source = connector.open_source(OURS).await.unwrap();
    source.enter(&[table("public.t")], BarrierId(1)).await.unwrap();
    let mut guards = connector.open_guards(OURS).await.unwrap();
    let fault = guards.arm(&deletes("t"), BarrierId(2)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permission);
    assert_eq!(fault.message, "public.t belongs to Shop owner: only its owner can guard it");
    let fix = fault.fix.unwrap();
    assert_eq!(
        fix,
        "GRANT \"Shop owner\" TO \"guarding\"; or: ALTER TABLE \"public\".\"t\" OWNER TO \"guarding\";"
    );
    app.run("DELETE FROM t; INSERT INTO t VALUES (1)").await;
    app.run(fix.split(" or: ").next().unwrap()).await;
    assert_eq!(connector.check(&needs).await.unwrap(), []);
    guards.arm(&deletes("t"), BarrierId(3)).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
    // Whoever the app's users are, they need no right to anything of ours.
    is_refused(
        &app.sql,
        "CREATE ROLE shop_user; GRANT DELETE ON t TO shop_user; SET ROLE shop_user; DELETE FROM t",
    )
    .await;
    guards.disarm(&deletes("t")).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_was_tampered_with_no_longer_stands_and_arming_mends_it() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let _tape = app.captured(&["t"]).await;
    let mut guards = guards(&app).await;
    let guard = deletes("t");
    let names = "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'zz_tandem%' ORDER BY 1";
    for (nth, change) in
        ["DISABLE TRIGGER", "ENABLE TRIGGER", "ENABLE REPLICA TRIGGER"].into_iter().enumerate()
    {
        guards.arm(&guard, BarrierId(2)).await.unwrap();
        assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&guard));
        let name = app.rows(names).await.swap_remove(nth);
        app.run(&format!("ALTER TABLE t {change} {name}")).await;
        assert_eq!(guards.armed().await.unwrap(), [], "{change} {name}");
    }
    let name = app.rows(names).await.swap_remove(0);
    guards.arm(&guard, BarrierId(3)).await.unwrap();
    app.run(&format!("DROP TRIGGER {name} ON t")).await;
    assert_eq!(guards.armed().await.unwrap(), []);
    guards.arm(&guard, BarrierId(4)).await.unwrap();
    for sql in ["DELETE FROM t", "UPDATE t SET id = 2", "TRUNCATE t"] {
        is_refused(&app.sql, sql).await;
    }
}
