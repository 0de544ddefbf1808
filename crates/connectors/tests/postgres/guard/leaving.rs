//! What is left of guards when they go, and how a person frees a table when we are gone.

use super::*;
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::Owner;
use tandem_core::{AppName, BarrierId, Epoch, JournalId};

/// Everything of ours, whoever's it is.
const ALL: &str = "SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'tandem'
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_or_dropped_keeps_or_loses_its_guard() {
    let app = app(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE u (id int PRIMARY KEY)",
    )
    .await;
    let _tape = app.captured(&["t", "u"]).await;
    let mut guards = guards(&app).await;
    guards.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    guards.arm(&deletes("u"), BarrierId(3)).await.unwrap();
    app.run("ALTER TABLE t RENAME TO renamed; DROP TABLE u").await;
    is_refused(&app.sql, "DELETE FROM renamed").await;
    guards.disarm(&deletes("u")).await.unwrap();
    let renamed = deletes("renamed");
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&renamed));
    guards.disarm(&renamed).await.unwrap();
    assert_eq!(app.rows(TRACES).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_dropped_with_its_guard_leaves_nothing_of_it() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    for disarms in [true, false] {
        app.run("CREATE TABLE u (id int PRIMARY KEY)").await;
        let mut source = app.source().await;
        source.enter(&[table("public.t"), table("public.u")], BarrierId(1)).await.unwrap();
        let mut guards = guards(&app).await;
        guards.arm(&deletes("u"), BarrierId(2)).await.unwrap();
        app.run("DROP TABLE u").await;
        if disarms {
            guards.disarm(&deletes("u")).await.unwrap();
            assert_eq!(app.rows(TRACES).await, [""; 0]);
        }
        source.leave(&[table("public.t"), table("public.u")]).await.unwrap();
        assert_eq!(app.rows(ALL).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guards_of_two_engines_on_one_table_do_not_know_each_other() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let _tape = app.captured(&["t"]).await;
    let other =
        Postgres::connector(&AppName::from(format!("{}b", app.name)), &server().url(&app.name)).unwrap();
    let theirs = Owner { journal: JournalId(9), epoch: Epoch(1) };
    let mut their_source = other.open_source(theirs).await.unwrap();
    their_source.enter(&[table("public.t")], BarrierId(1)).await.unwrap();
    let (mut ours, mut their_guards) = (guards(&app).await, other.open_guards(theirs).await.unwrap());
    let guard = deletes("t");
    ours.arm(&guard, BarrierId(2)).await.unwrap();
    their_guards.arm(&guard, BarrierId(2)).await.unwrap();
    assert_eq!(ours.armed().await.unwrap(), std::slice::from_ref(&guard));
    ours.disarm(&guard).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
    assert_eq!(their_guards.armed().await.unwrap(), [guard]);
    their_source.leave(&[table("public.t")]).await.unwrap();
    app.run("DELETE FROM t").await;
    assert_eq!(app.rows(TRACES).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_waits_for_a_moment_at_which_nobody_reads_the_table() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let mut source = app.source().await;
    source.enter(&[table("public.t")], BarrierId(1)).await.unwrap();
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    let reader = server().connect(&app.name).await;
    reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
    let leaving = tokio::spawn(async move { source.leave(&[table("public.t")]).await });
    app.until("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass", true).await;
    reader.batch_execute("SELECT * FROM t; COMMIT").await.unwrap();
    leaving.await.unwrap().unwrap();
    assert_eq!(app.rows(ALL).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_us_gone_one_paste_frees_the_database_of_everything() {
    let app = app("CREATE TABLE t (id int, place int, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t VALUES (1, 1)")
    .await;
    let tape = app.captured(&["t"]).await;
    app.run("CREATE TABLE written (id int PRIMARY KEY)").await;
    let target = target("written", &["id"], &[0]);
    let write = write(&target, 1, upsert(&[int(1)]));
    app.writer().await.write(tandem_core::connect::Plan::Fast, &[write]).await.unwrap();
    let mut guards = guards(&app).await;
    for (refuses, barrier) in [(Refusal::Deletes, 2), (Refusal::Writes, 3)] {
        guards.arm(&guard("t", "customers", refuses, &["id"]), BarrierId(barrier)).await.unwrap();
    }
    drop((tape, guards));
    app.until("SELECT 1 FROM pg_replication_slots WHERE active AND database = current_database()", false)
        .await;
    let sql = app.connector.release_sql().await.unwrap();
    for _ in 0..2 {
        app.sql.simple_query(&sql).await.unwrap();
        assert_eq!(app.rows(ALL).await, [""; 0]);
    }
    app.run("DELETE FROM t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_paste_leaves_another_engines_things_alone() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let tape = app.captured(&["t"]).await;
    let name = format!("{}b", app.name);
    let other = Postgres::connector(&AppName::from(name.as_str()), &server().url(&app.name)).unwrap();
    let theirs = Owner { journal: JournalId(9), epoch: Epoch(1) };
    let mut source = other.open_source(theirs).await.unwrap();
    source.enter(&[table("public.t")], BarrierId(1)).await.unwrap();
    guards(&app).await.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    let mut their_guards = other.open_guards(theirs).await.unwrap();
    their_guards.arm(&deletes("t"), BarrierId(2)).await.unwrap();
    drop(tape);
    app.until("SELECT 1 FROM pg_replication_slots WHERE active AND database = current_database()", false)
        .await;
    app.sql.simple_query(&app.connector.release_sql().await.unwrap()).await.unwrap();
    is_refused(&app.sql, "DELETE FROM t").await;
    assert_eq!(their_guards.armed().await.unwrap(), [deletes("t")]);
    assert_eq!(source.captured().await.unwrap(), [table("public.t")]);
    source.leave(&[table("public.t")]).await.unwrap();
    assert_eq!(app.rows(ALL).await, [""; 0]);
}
