//! What `check` finds, and that its SQL mends it; and what works without a superuser's rights.

use super::world::*;
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{CaptureNeed, Needs, Plan, WriteNeed};
use tandem_core::{AppName, BarrierId, FaultClass};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

fn needs(captured: &[(&str, &[&str])], written: &[(&str, &[&str], &[&str])]) -> Needs {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    Needs {
        captured: captured
            .iter()
            .map(|(name, key)| CaptureNeed { table: table(name), key: names(key), also: vec![] })
            .collect(),
        written: written
            .iter()
            .map(|(name, columns, key)| WriteNeed {
                table: table(name),
                columns: names(columns),
                key: names(key),
            })
            .collect(),
    }
}

async fn found(app: &App, needs: &Needs) -> Vec<(String, String, String)> {
    let findings = app.connector.check(needs).await.unwrap();
    findings.into_iter().map(|found| (found.code, found.place, found.fix.unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_finding_names_its_place_and_its_sql_mends_it() {
    let app = app("CREATE TABLE good (id int PRIMARY KEY, a text);
        CREATE TABLE named (id int PRIMARY KEY, no text NOT NULL UNIQUE, code text);
        CREATE UNLOGGED TABLE loose (id int PRIMARY KEY);
        CREATE VIEW seen AS SELECT 1 AS id;
        CREATE TABLE computed (id int, twice int GENERATED ALWAYS AS (id * 2) STORED, must int NOT NULL);
        CREATE TABLE waits (id int UNIQUE DEFERRABLE)")
    .await;
    let needs = needs(
        &[
            ("good", &["id"]),
            ("named", &["no"]),
            ("named", &["code"]),
            ("loose", &["id"]),
            ("seen", &["id"]),
            ("gone", &["id"]),
        ],
        &[
            ("good", &["id", "a"], &["id"]),
            ("good", &["id", "b"], &["id"]),
            ("computed", &["id", "twice"], &["id"]),
            ("waits", &["id"], &["id"]),
        ],
    );
    let findings = found(&app, &needs).await;
    let codes: Vec<_> = findings.iter().map(|(code, place, _)| format!("{code} {place}")).collect();
    assert_eq!(
        codes,
        [
            "replica_identity public.named",
            "replica_identity public.named",
            "unlogged public.loose",
            "table_kind public.seen",
            "table_missing public.gone",
            "column_missing public.good.b",
            "column_generated public.computed.twice",
            "column_required public.computed.must",
            "key_not_unique public.computed",
            "key_not_unique public.waits",
        ]
    );
    assert!(findings.iter().all(|(_, _, fix)| !fix.is_empty()), "each says what mends it: {findings:?}");
    assert_eq!(
        findings[0].2,
        "ALTER TABLE \"public\".\"named\" REPLICA IDENTITY USING INDEX \"named_no_key\";"
    );
    assert_eq!(findings[1].2, "ALTER TABLE \"public\".\"named\" REPLICA IDENTITY FULL;");
    for nth in [1, 2, 8, 9] {
        app.run(&findings[nth].2).await;
    }
    let left = found(&app, &needs).await;
    assert!(
        left.iter()
            .all(|(code, ..)| !["replica_identity", "unlogged", "key_not_unique"].contains(&code.as_str())),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_told_what_it_lacks_and_works_with_what_it_is_given() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE d (id int PRIMARY KEY)").await;
    let role = format!("role_{}", app.name);
    app.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'")).await;
    let url = server().url_of(&role, "pw", &app.name);
    let connector = Postgres::connector(&AppName::from(app.name.as_str()), &url).unwrap();
    let app = App { connector, ..app };
    let needs = needs(&[("t", &["id"])], &[("d", &["id"], &["id"])]);
    let findings = found(&app, &needs).await;
    let codes: Vec<_> = findings.iter().map(|(code, ..)| code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "create_right",
            "replication_right",
            "publication_right",
            "table_right",
            "lock_right",
            "table_right"
        ]
    );
    // Two ways: the one is a statement, the other a comment, so that all of it is pasted as it is.
    let two_ways: Vec<&str> = findings
        .iter()
        .filter(|(code, ..)| code == "publication_right")
        .flat_map(|(.., fix)| fix.lines())
        .collect();
    let [grant, or, alter] = two_ways[..] else { panic!("{two_ways:?}") };
    assert!(grant.starts_with("GRANT ") && grant.ends_with(&format!(" TO \"{role}\";")), "{grant}");
    assert_eq!(or, "-- or, as a superuser, once the publication is there:");
    assert!(
        alter.starts_with("-- ALTER PUBLICATION ") && alter.ends_with(" ADD TABLE ONLY \"public\".\"t\";"),
        "{alter}"
    );
    for (.., fix) in &findings {
        app.run(fix).await;
    }
    assert_eq!(found(&app, &needs).await, []);
    let mut tape = app.captured(&["t"]).await;
    let mut writer = app.writer().await;
    writer.write(Plan::Fast, &[write(&target("d", &["id"], &[0]), 1, upsert(&[int(1)]))]).await.unwrap();
    app.run("INSERT INTO t VALUES (1)").await;
    let changes = tape.changes(1).await;
    assert_eq!(shown(&changes), ["Insert - 1"]);
    drop(tape);
    app.source().await.leave(&[table("t")]).await.unwrap();
    writer.apply.retire(&[tandem_core::LaneId(1)]).await.unwrap();
    assert_eq!(app.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'tandem'").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_we_may_not_lock_enters_behind_all_open_transactions() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)").await;
    let role = format!("role_{}", app.name);
    app.run(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'pw'; GRANT CREATE ON DATABASE {} TO {role}",
        app.name
    ))
    .await;
    let url = server().url_of(&role, "pw", &app.name);
    let connector = Postgres::connector(&AppName::from(app.name.as_str()), &url).unwrap();
    let app = App { connector, ..app };
    let mut source = app.source().await;
    let fault = source.enter(&[table("t")], BarrierId(1)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permission, "{fault:?}");
    let sql = fault.fix.unwrap();
    let (_, sql) = sql.split_once("as a superuser: ").unwrap();
    app.run(sql).await;
    let writer = server().connect(&app.name).await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let entering = tokio::spawn(async move { source.enter(&[table("t")], BarrierId(2)).await });
    let asks = format!(
        "SELECT 1 FROM pg_stat_activity WHERE usename = '{role}' AND query LIKE '%pg_snapshot_xmin%'"
    );
    app.until(&asks, true).await;
    assert!(!entering.is_finished());
    writer.batch_execute("INSERT INTO t VALUES (2); COMMIT").await.unwrap();
    let start = entering.await.unwrap().unwrap();
    writer.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    let capture = app.connector.open_capture(OURS, &start).await.unwrap();
    let mut tape = Tape { capture, position: start, entries: Vec::new(), fragments: 0 };
    tape.until_barrier(2).await;
    assert_eq!(shown(&tape.changes(1).await), ["Insert - 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_captured_says_how_it_can() {
    let options = PostgresOptions { logical: false, fsync: false, ..PostgresOptions::default() };
    let mut server = PostgresServer::start_new(options);
    let app = app_on(&server, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let needs = needs(&[("t", &["id"])], &[]);
    assert_eq!(found(&app, &needs).await[0].0, "wal_level");
    let fault = app.source().await.enter(&[table("t")], BarrierId(1)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Setup);
    assert!(fault.fix.unwrap().contains("wal_level = logical"));

    let wrong =
        Postgres::connector(&AppName::from("x"), &server.url_of("postgres", "wrong", &app.name)).unwrap();
    let fault = wrong.check(&needs).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_deref()), (FaultClass::Auth, Some("28P01")));
    let absent = Postgres::connector(&AppName::from("x"), &server.url("absent")).unwrap();
    assert_eq!(absent.check(&needs).await.unwrap_err().class, FaultClass::Setup);
    server.stop();
    assert_eq!(app.connector.check(&needs).await.unwrap_err().class, FaultClass::Connection);
    assert_eq!(app.connector.open_source(OURS).await.err().unwrap().class, FaultClass::Connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_slots_are_found_before_they_are_needed() {
    let options = PostgresOptions { max_wal_senders: 1, fsync: false, ..PostgresOptions::default() };
    let server = PostgresServer::start_new(options);
    let app = app_on(&server, "CREATE TABLE t (id int PRIMARY KEY)").await;
    app.run("SELECT pg_create_physical_replication_slot('taken')").await;
    let needs = needs(&[("t", &["id"])], &[]);
    assert_eq!(found(&app, &needs).await[0].0, "replication_slots");
    let fault = app.source().await.enter(&[table("t")], BarrierId(1)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Unavailable, "{fault:?}");
    assert!(fault.fix.unwrap().contains("max_replication_slots"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_happens_when_we_write_is_told_and_our_own_triggers_are_not() {
    let app = app("CREATE TABLE d (id int PRIMARY KEY, a text); CREATE TABLE c (id int PRIMARY KEY, d int REFERENCES d ON DELETE CASCADE);
        CREATE TABLE q (id int PRIMARY KEY, d int REFERENCES d);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER \"Touch\" BEFORE UPDATE ON d FOR EACH ROW EXECUTE FUNCTION f();
        CREATE TRIGGER off BEFORE UPDATE ON d FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE d DISABLE TRIGGER off;
        CREATE SCHEMA tandem; CREATE FUNCTION tandem.ours() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER ours BEFORE UPDATE ON d FOR EACH ROW EXECUTE FUNCTION tandem.ours()")
    .await;
    let findings = found(&app, &needs(&[], &[("d", &["id", "a"], &["id"])])).await;
    let codes: Vec<_> = findings.iter().map(|(code, place, _)| format!("{code} {place}")).collect();
    assert_eq!(codes, ["trigger public.d", "cascade public.d"]);
    assert!(findings[0].2.contains("DISABLE TRIGGER \"Touch\";"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_and_its_table_are_not_both_captured() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9)")
    .await;
    let codes = async |captured: &[(&str, &[&str])]| {
        let found = found(&app, &needs(captured, &[])).await;
        found.into_iter().map(|(code, place, _)| format!("{code} {place}")).collect::<Vec<_>>()
    };
    assert_eq!(codes(&[("t", &["id"])]).await, [""; 0]);
    let both = codes(&[("t1", &["id"]), ("t", &["id"])]).await;
    assert_eq!(both, ["partition_shared public.t1", "partition_shared public.t"]);
    app.source().await.enter(&[table("t")], BarrierId(1)).await.unwrap();
    assert_eq!(codes(&[("t1", &["id"])]).await, ["partition_shared public.t1"]);
    app.source().await.leave(&[table("t")]).await.unwrap();
}

/// `ON CONFLICT` refuses a deferrable key, also beside another one of the same columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_checked_late_and_a_number_that_cannot_be_written_are_found_and_mended() {
    let app = app("CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, a text); CREATE UNIQUE INDEX ON late (id);
        CREATE TABLE nth (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, a text)")
    .await;
    let needs = needs(&[], &[("late", &["id", "a"], &["id"]), ("nth", &["id", "n"], &["id"])]);
    let findings = found(&app, &needs).await;
    let codes: Vec<_> = findings.iter().map(|(code, place, _)| format!("{code} {place}")).collect();
    assert_eq!(
        codes,
        ["key_not_unique public.late", "identity_always public.nth.id", "identity_always public.nth.n"]
    );
    for (_, _, fix) in &findings {
        app.run(fix.split(" or leave").next().unwrap()).await;
    }
    assert_eq!(found(&app, &needs).await, []);
    let mut writer = app.writer().await;
    let (late, nth) = (target("late", &["id", "a"], &[0]), target("nth", &["id", "n"], &[0]));
    let writes = [
        write(&late, 1, upsert(&[int(1), text("x")])),
        write(&nth, 2, upsert(&[int(1), int(5)])),
        write(&nth, 3, upsert(&[int(1), int(6)])),
    ];
    assert_eq!(writer.write(Plan::Exact, &writes).await.unwrap().refused, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_are_found_before_a_copy_passes_them_over() {
    let app = app("CREATE TABLE t (no text UNIQUE, a text); ALTER TABLE t REPLICA IDENTITY FULL").await;
    let needs = needs(&[("t", &["no"])], &[]);
    app.run("INSERT INTO t VALUES ('1', 'x')").await;
    assert_eq!(found(&app, &needs).await, []);
    app.run("INSERT INTO t VALUES (NULL, 'y')").await;
    let findings = found(&app, &needs).await;
    assert_eq!((findings.len(), &*findings[0].0, &*findings[0].1), (1, "key_null", "public.t.no"));
    let query = findings[0].2.split_once(": ").unwrap().1.split(';').next().unwrap();
    assert_eq!(app.rows(query).await, ["~|y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_identity_must_cover_the_columns_of_a_filter() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, status text NOT NULL)").await;
    let need = CaptureNeed { table: table("t"), key: vec!["id".into()], also: vec!["status".into()] };
    let needs = Needs { captured: vec![need], written: vec![] };
    let findings = found(&app, &needs).await;
    let [(code, place, fix)] = findings.as_slice() else { panic!("one: {findings:?}") };
    assert_eq!((code.as_str(), place.as_str()), ("replica_identity", "public.t"));
    assert_eq!(fix, "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;");
    app.run(fix).await;
    assert_eq!(found(&app, &needs).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_hidden_from_our_role_are_an_error() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        CREATE TABLE d (id serial PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY);
        CREATE SCHEMA s; CREATE TABLE s.u (id int PRIMARY KEY)")
    .await;
    let role = format!("role_{}", app.name);
    app.run(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'pw'; GRANT CREATE ON DATABASE {0} TO {role};
         GRANT ALL ON t, d, s.u TO {role}; CREATE PUBLICATION tandem_{0} FOR TABLE t",
        app.name
    ))
    .await;
    let url = server().url_of(&role, "pw", &app.name);
    let connector = Postgres::connector(&AppName::from(app.name.as_str()), &url).unwrap();
    let app = App { connector, ..app };
    let needs = needs(
        &[("t", &["id"])],
        &[("d", &["id", "n"], &["id"]), ("t", &["id"], &["id"]), ("s.u", &["id"], &["id"])],
    );
    let findings = found(&app, &needs).await;
    let shown: Vec<_> = findings.iter().map(|(code, place, _)| format!("{code} {place}")).collect();
    assert_eq!(
        shown,
        [
            "guard_right public.t",
            "row_security public.t",
            "sequence_right public.d.id",
            "sequence_right public.d.n",
            "schema_usage s.u",
        ]
    );
    for (_, _, fix) in &findings[1..] {
        app.run(fix).await;
    }
    let left: Vec<_> = found(&app, &needs).await.into_iter().map(|(code, ..)| code).collect();
    assert_eq!(left, ["guard_right"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_of_ours_and_no_longer_fits_is_found() {
    let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let server = PostgresServer::start_new(options);
    let app = app_on(&server, "CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let (needs, slot) = (needs(&[("t", &["id"])], &[]), format!("tandem_{}", app.name));
    let codes =
        async || -> Vec<String> { found(&app, &needs).await.into_iter().map(|(code, ..)| code).collect() };
    let fix = async |wanted: &str| {
        let found = found(&app, &needs).await.into_iter().find(|(code, ..)| code == wanted);
        found.unwrap_or_else(|| panic!("no {wanted}")).2
    };
    app.run(&format!("SELECT pg_create_physical_replication_slot('{slot}')")).await;
    assert_eq!(codes().await, ["slot_foreign"]);
    app.run(fix("slot_foreign").await.split_once("reads it: ").unwrap().1).await;
    assert_eq!(codes().await, [""; 0]);

    drop(app.captured(&["t"]).await);
    assert_eq!(codes().await, [""; 0]);
    app.run(&format!("ALTER PUBLICATION {slot} SET (publish = 'insert')")).await;
    assert_eq!(codes().await, ["publication_narrow"]);
    app.run(&fix("publication_narrow").await).await;
    assert_eq!(codes().await, [""; 0]);
    app.run(&format!("ALTER PUBLICATION {slot} SET TABLE t (id)")).await;
    assert_eq!(codes().await, ["publication_narrow"]);
    app.run(&fix("publication_narrow").await).await;
    app.run(&format!("DROP PUBLICATION {slot}")).await;
    assert!(codes().await.contains(&"publication_missing".to_owned()));

    app.run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'").await;
    app.run("SELECT pg_reload_conf()").await;
    let limited = "SELECT 1 WHERE current_setting('max_slot_wal_keep_size') = '1MB'";
    app.until(limited, true).await;
    assert!(codes().await.contains(&"slot_wal_limit".to_owned()));
    let lost =
        format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND wal_status = 'lost'");
    while app.rows(&lost).await.is_empty() {
        app.run("CREATE TABLE IF NOT EXISTS filler (a text)").await;
        app.run("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 5000)").await;
        app.run("SELECT pg_switch_wal()").await;
        app.run("CHECKPOINT").await;
    }
    assert!(codes().await.contains(&"slot_lost".to_owned()));
    app.run(fix("slot_wal_limit").await.split("; ").next().unwrap()).await;
    app.run("SELECT pg_reload_conf()").await;
    app.until(limited, false).await;
    assert!(!codes().await.contains(&"slot_wal_limit".to_owned()));
    app.run(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    assert_eq!(codes().await, ["slot_missing"]);
}
