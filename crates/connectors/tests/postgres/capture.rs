//! Reading a real server's log.

use super::world::*;
use std::time::Duration;
use tandem_core::connect::Owner;
use tandem_core::{BarrierId, Entry, Epoch, FaultClass, JournalId};

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_commit_order_and_whole() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t VALUES (1, 'one'), (2, NULL)").await;
    app.run("BEGIN; UPDATE t SET a = 'two' WHERE id = 2; DELETE FROM t WHERE id = 1; TRUNCATE t; COMMIT")
        .await;
    let changes = tape.changes(5).await;
    assert_eq!(
        shown(&changes),
        ["Insert - 1|one", "Insert - 2|~", "Update - 2|two", "Delete 1|? -", "Truncate - -"]
    );
    assert_eq!(changes[0].relation.table, table("public.t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_open_while_its_table_enters_is_delivered_whole_or_not_at_all() {
    let app = app("CREATE TABLE first (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut tape = app.captured(&["first"]).await;
    let mut source = app.source().await;
    let writer = server().connect(&app.name).await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let entering =
        tokio::spawn(async move { source.enter(&[table("t")], BarrierId(2)).await.map(|_| source) });
    // Until the entering waits for the writer.
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock' AND relation = 't'::regclass";
    app.until(waits, true).await;
    writer.batch_execute("INSERT INTO t VALUES (2); COMMIT").await.unwrap();
    let _source = entering.await.unwrap().unwrap();
    writer.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    let before = changes(tape.until_barrier(2).await);
    let behind = tape.changes(1).await;
    assert_eq!(shown(&before), [""; 0], "rows 1 and 2 were there before the barrier: a copy will see them");
    assert_eq!(shown(&behind), ["Insert - 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_keeps_for_us_grows_while_nobody_reads_it() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let mut source = app.source().await;
    assert_eq!(source.retained().await.unwrap(), None, "there is no slot yet");
    source.enter(&[table("t")], BarrierId(1)).await.unwrap();
    let before = source.retained().await.unwrap().unwrap();
    app.run("INSERT INTO t SELECT no, repeat('x', 1000) FROM generate_series(1, 2000) AS no").await;
    let behind = source.retained().await.unwrap().unwrap();
    assert!(behind >= before + 2_000_000, "{before} {behind}");
    source.leave(&[table("t")]).await.unwrap();
    assert_eq!(source.retained().await.unwrap(), None, "and none any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_large_value_is_unchanged_and_never_null() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, n int, large text); ALTER TABLE t ALTER large SET STORAGE EXTERNAL").await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t VALUES (1, 1, repeat('x', 10000))").await;
    app.run("UPDATE t SET n = 2").await;
    app.run("UPDATE t SET id = 5").await;
    app.run("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = 3").await;
    let large = "x".repeat(10000);
    let changes = shown(&tape.changes(4).await);
    assert_eq!(changes[1], "Update - 1|2|?");
    assert_eq!(changes[2], "Update 1|?|? 5|2|?");
    assert_eq!(changes[3], format!("Update 5|2|{large} 5|3|{large}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_primary_key_is_named_if_the_identity_covers_it() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, no text NOT NULL, part int NOT NULL, a text);
        CREATE UNIQUE INDEX t_no ON t (no, part); ALTER TABLE t REPLICA IDENTITY USING INDEX t_no")
    .await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t VALUES (1, 'K1', 1, 'a')").await;
    app.run("UPDATE t SET no = 'K2'").await;
    app.run("DELETE FROM t").await;
    assert_eq!(
        shown(&tape.changes(3).await),
        ["Insert - 1|K1|1|a", "Update ?|K1|1|? 1|K2|1|a", "Delete ?|K2|1|? -"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_identity_is_refused_with_the_statement_that_mends_it() {
    let app = app("CREATE TABLE t (id int); CREATE UNLOGGED TABLE u (id int PRIMARY KEY)").await;
    let mut source = app.source().await;
    let fault = source.enter(&[table("t")], BarrierId(1)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Setup);
    assert!(fault.fix.unwrap().contains("ALTER TABLE public.t REPLICA IDENTITY FULL"));
    let fault = source.enter(&[table("u")], BarrierId(1)).await.unwrap_err();
    assert!(fault.fix.unwrap().contains("SET LOGGED"));
    let fault = source.enter(&[table("nowhere")], BarrierId(1)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Schema);
    source.leave(&[]).await.unwrap();
    assert_eq!(app.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'tandem'").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_table_that_leaves_takes_everything_of_ours_with_it() {
    let app =
        app("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE \"Odd \"\"name\" (id int PRIMARY KEY)").await;
    let odd = "\"Odd \"\"name\"";
    let mut source = app.source().await;
    source.enter(&[table("t"), table(odd)], BarrierId(1)).await.unwrap();
    source.enter(&[table("t")], BarrierId(2)).await.unwrap();
    assert_eq!(source.captured().await.unwrap(), [table(&format!("public.{odd}")), table("public.t")]);
    source.leave(&[table("t"), table("absent")]).await.unwrap();
    assert_eq!(source.captured().await.unwrap(), [table(&format!("public.{odd}"))]);
    for _ in 0..2 {
        source.leave(&[table(odd)]).await.unwrap();
        assert_eq!(app.rows("SELECT 1 FROM pg_publication").await, [""; 0]);
        let slots = format!("SELECT 1 FROM pg_replication_slots WHERE database = '{}'", app.name);
        assert_eq!(app.rows(&slots).await, [""; 0]);
        assert_eq!(app.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'tandem'").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_is_refused_and_told_by_whom() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let tape = app.captured(&["t"]).await;
    let source = app.source().await;
    let fault = app.connector.open_source(OURS).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Fenced);
    let pid = app.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await;
    assert!(fault.message.contains(&pid[0]), "{fault:?}");
    let fault = app.connector.open_capture(OURS, &tape.position).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Fenced);
    drop((tape, source));

    let other = Owner { journal: JournalId(0xdef), epoch: Epoch(9) };
    let fault = app.connector.open_source(other).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Fenced);
    assert!(fault.fix.unwrap().contains(&format!("SELECT pg_drop_replication_slot('tandem_{}')", app.name)));
    let later = Owner { epoch: Epoch(2), ..OURS };
    drop(app.connector.open_source(later).await.unwrap());
    let fault = app.connector.open_source(OURS).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Fenced, "an older start of the same data folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_dropped_and_made_again_is_a_gap() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let tape = app.captured(&["t"]).await;
    let (position, slot) = (tape.position.clone(), format!("tandem_{}", app.name));
    drop(tape);
    let active = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active");
    app.until(&active, false).await;
    app.run(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    let fault = app.connector.open_capture(OURS, &position).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Gap);
    app.run("INSERT INTO t VALUES (1)").await;
    app.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    let fault = app.connector.open_capture(OURS, &position).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Gap, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_left_and_came_again_makes_older_positions_a_gap() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let tape = app.captured(&["t"]).await;
    let old = tape.position.clone();
    drop(tape);
    let mut source = app.source().await;
    source.leave(&[table("t")]).await.unwrap();
    let new = source.enter(&[table("t")], BarrierId(2)).await.unwrap();
    assert_eq!(app.connector.open_capture(OURS, &old).await.err().unwrap().class, FaultClass::Gap);
    app.connector.open_capture(OURS, &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_lets_go_of_exactly_what_was_acknowledged() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut tape = app.captured(&["t"]).await;
    let flushed = format!(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'tandem_{}'",
        app.name
    );
    let before = app.rows(&flushed).await;
    app.run("INSERT INTO t VALUES (1)").await;
    tape.changes(1).await;
    let first = tape.position.clone();
    app.run("INSERT INTO t VALUES (2)").await;
    tape.changes(1).await;
    assert_eq!(app.rows(&flushed).await, before, "nothing was acknowledged yet");
    tape.capture.acknowledge(&first).await.unwrap();
    while app.rows(&flushed).await == before {
        tokio::task::yield_now().await;
    }
    drop(tape);
    // From the acknowledged position on everything comes again, and nothing before it.
    let capture = app.connector.open_capture(OURS, &first).await.unwrap();
    let mut tape = Tape { capture, position: first, entries: Vec::new(), fragments: 0 };
    assert_eq!(shown(&tape.changes(1).await), ["Insert - 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_in_a_busy_database_does_not_hold_the_log() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE busy (id int)").await;
    let mut tape = app.captured(&["t"]).await;
    let before = tape.position.clone();
    app.run("INSERT INTO busy SELECT generate_series(1, 10000)").await;
    while tape.position == before {
        assert_eq!(tape.step().await, []);
    }
    let idle = tape.position.clone();
    tape.capture.acknowledge(&idle).await.unwrap();
    app.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(shown(&tape.changes(1).await), ["Insert - 1"]);
    drop(tape);
    let capture = app.connector.open_capture(OURS, &idle).await.unwrap();
    let mut tape = Tape { capture, position: idle, entries: Vec::new(), fragments: 0 };
    assert_eq!(shown(&tape.changes(1).await), ["Insert - 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_pieces_of_which_the_last_commits() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 300000) n").await;
    let (mut seen, mut largest, mut commits) = (0, 0, 0);
    while commits == 0 {
        for fragment in tape.step().await {
            largest = largest.max(fragment.entries.len());
            for entry in &fragment.entries {
                let Entry::Change(change) = entry else { panic!("no barrier was written") };
                seen += 1;
                if seen % 50_000 == 0 {
                    assert_eq!(show(change), format!("Insert - {seen}|row {seen}"));
                }
            }
            commits += usize::from(fragment.commit.is_some());
        }
        tape.entries.clear();
    }
    assert_eq!(seen, 300_000);
    assert!(largest <= 4_000, "{largest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_keeps_its_connection() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let role =
        "ALTER ROLE postgres IN DATABASE \"{}\" SET wal_sender_timeout = '1s'".replace("{}", &app.name);
    app.run(&role).await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 50000) n").await;
    // What is measured is that nothing happens for longer than the server waits.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tape.changes(50_000).await.len(), 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_the_server_nothing_is_missing_and_nothing_comes_twice() {
    use tandem_proof_servers::{PostgresOptions, PostgresServer};
    let mut server = PostgresServer::start_new(PostgresOptions::default());
    let app = app_on(&server, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut tape = app.captured(&["t"]).await;
    let mut seen = Vec::new();
    for round in 0..3 {
        let sql = server.connect(&app.name).await;
        for n in 0..20 {
            sql.batch_execute(&format!("INSERT INTO t VALUES ({})", round * 20 + n)).await.unwrap();
        }
        seen.extend(shown(&tape.changes(10).await));
        tape.capture.acknowledge(&tape.position.clone()).await.unwrap();
        // Read further than is told, then crash: whole transactions only count from their position on.
        seen.extend(shown(&tape.changes(5).await));
        let position = tape.position.clone();
        seen.extend(shown(&world_changes(&mut tape)));
        server.kill9();
        while tape.capture.next().await.is_ok() {}
        server.start();
        let capture = app.connector.open_capture(OURS, &position).await.unwrap();
        tape = Tape { capture, position, entries: Vec::new(), fragments: 0 };
        let rest = 20 * (round + 1) - seen.len();
        seen.extend(shown(&tape.changes(rest).await));
    }
    let expected: Vec<_> = (0..60).map(|n| format!("Insert - {n}")).collect();
    assert_eq!(seen, expected);
}

/// What was read already and not yet looked at.
fn world_changes(tape: &mut Tape) -> Vec<tandem_core::Change> {
    changes(std::mem::take(&mut tape.entries))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_a_gap() {
    use tandem_proof_servers::{PostgresOptions, PostgresServer};
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let position = app.captured(&["t"]).await.position;
    let other = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    let there = app_on(&other, "CREATE TABLE t (id int PRIMARY KEY)").await;
    drop(there.captured(&["t"]).await);
    let fault = there.connector.open_capture(OURS, &position).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_its_own_text() {
    let app = app("CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE DOMAIN short AS varchar(5);
        CREATE TABLE t (id int PRIMARY KEY, num numeric, f8 float8, f4 float4, b bool, by bytea, d date, ts timestamptz,
            iv interval, u uuid, j jsonb, ints int[], texts text[], m mood, s short, r int4range)").await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t VALUES (1, 'NaN', '-0', 'Infinity', true, '\\x00ff', 'infinity', '2026-01-02 03:04:05.678901+02',
        '1 year -2 days 03:04:05.5', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{\"b\": 1.10, \"a\": null}', '{1,NULL,3}',
        ARRAY['a,b', NULL, '', 'q\"'], 'it''s', 'abc', '[1,5)')").await;
    app.run("INSERT INTO t (id, num, f8) VALUES (2, 123456789012345678901234567890.000000000000000001000, 1e-320)").await;
    let changes = tape.changes(2).await;
    assert_eq!(
        show(&changes[0]),
        "Insert - 1|NaN|-0|inf|true|\\x00ff|infinity|2026-01-02 01:04:05.678901+00|P1Y-2DT3H4M5.5S|\
         a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{\"a\": null, \"b\": 1.10}|{1,NULL,3}|{\"a,b\",NULL,\"\",\"q\\\"\"}|it's|abc|[1,5)"
    );
    assert!(
        show(&changes[1])
            .starts_with("Insert - 2|123456789012345678901234567890.000000000000000001000|0.000")
    );
    let types: Vec<_> = changes[0].relation.columns.iter().map(|column| &*column.type_name).collect();
    assert_eq!(types[1..4], ["numeric", "float8", "float4"]);
    assert_eq!(types[13..15], ["mood", "varchar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_captured_as_one_and_refused_if_a_leaf_has_no_identity() {
    let app = app("CREATE TABLE t (id int, part int) PARTITION BY LIST (part);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
        ALTER TABLE t1 REPLICA IDENTITY FULL")
    .await;
    let mut source = app.source().await;
    let fault = source.enter(&[table("t")], BarrierId(1)).await.unwrap_err();
    assert_eq!(
        fault.fix.unwrap(),
        "ALTER TABLE public.t2 REPLICA IDENTITY FULL; (or USING INDEX a unique one)"
    );
    drop(source);
    app.run(
        "DROP TABLE t; CREATE TABLE t (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)",
    )
    .await;
    let mut tape = app.captured(&["t"]).await;
    app.run("INSERT INTO t VALUES (1, 1); INSERT INTO t2 VALUES (2, 2); UPDATE t SET part = 2 WHERE id = 1")
        .await;
    let changes = tape.changes(4).await;
    assert!(changes.iter().all(|change| change.relation.table == table("public.t")));
    assert_eq!(shown(&changes), ["Insert - 1|1", "Insert - 2|2", "Delete 1|1 -", "Insert - 1|2"]);
}

/// As soon as a table is published, PostgreSQL refuses updates of it if it has no identity: an app's own ones, of a table
/// that nobody has mapped.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_inherit_from_a_captured_one_are_left_alone() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE loose () INHERITS (t);
        CREATE TABLE own (PRIMARY KEY (id)) INHERITS (t)")
    .await;
    let mut tape = app.captured(&["own", "t"]).await;
    app.run("INSERT INTO loose VALUES (1, 'x'); UPDATE loose SET a = 'y'; DELETE FROM loose").await;
    app.run("INSERT INTO own VALUES (2, 'x'); INSERT INTO t VALUES (3, 'x')").await;
    let changes = tape.changes(2).await;
    assert_eq!(shown(&changes), ["Insert - 2|x", "Insert - 3|x"]);
    let mut source = app.source().await;
    source.leave(&[table("t")]).await.unwrap();
    assert_eq!(source.captured().await.unwrap(), [table("public.own")], "what inherits stays");
}

/// What is written to a partition is in the log of the topmost table that is published, and of that one alone: a map of the
/// partition would run and get nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_captured_by_itself_or_with_its_table_and_never_both() {
    let app = app("CREATE TABLE t (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
        CREATE TABLE later (id int, part int NOT NULL, PRIMARY KEY (id, part))")
    .await;
    let mut source = app.source().await;
    source.enter(&[table("t1")], BarrierId(1)).await.unwrap();
    let fault = source.enter(&[table("t")], BarrierId(2)).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.message.contains("public.t1 is a partition of public.t")),
        (FaultClass::Setup, true)
    );
    assert!(fault.fix.unwrap().contains("with a filter"));
    source.leave(&[table("t1")]).await.unwrap();
    source.enter(&[table("t"), table("later")], BarrierId(3)).await.unwrap();
    let fault = source.enter(&[table("t1")], BarrierId(4)).await.unwrap_err();
    assert!(fault.fix.unwrap().contains("map public.t with a filter"));
    app.run("ALTER TABLE t ATTACH PARTITION later FOR VALUES IN (2)").await;
    assert_eq!(source.captured().await.unwrap(), [table("public.t")], "what is attached has left capture");
    source.leave(&[table("t")]).await.unwrap();
    assert_eq!(source.captured().await.unwrap(), [table("public.later")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_the_server_has_thrown_away_is_a_gap() {
    use tandem_proof_servers::{PostgresOptions, PostgresServer};
    let settings = [("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server =
        PostgresServer::start_new(PostgresOptions { fsync: false, settings, ..PostgresOptions::default() });
    let app = app_on(&server, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE busy (a text)").await;
    let position = app.captured(&["t"]).await.position;
    let status = "SELECT wal_status FROM pg_replication_slots WHERE NOT active";
    while app.rows(status).await != ["lost"] {
        app.run("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 10000)").await;
        app.run("SELECT pg_switch_wal(); CHECKPOINT").await;
    }
    let fault = app.connector.open_capture(OURS, &position).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Gap);
    assert!(fault.fix.unwrap().contains("max_slot_wal_keep_size"));
    app.source().await.leave(&[table("t")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_dropped_and_made_again_is_a_gap() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut tape = app.captured(&["t"]).await;
    let publication = format!("tandem_{}", app.name);
    app.run(&format!("DROP PUBLICATION {publication}")).await;
    app.run("INSERT INTO t VALUES (1)").await;
    app.run(&format!("CREATE PUBLICATION {publication} FOR TABLE t")).await;
    let fault = loop {
        if let Err(fault) = tape.capture.next().await {
            break fault;
        }
    };
    assert_eq!(fault.class, FaultClass::Gap, "{fault:?}");
}
