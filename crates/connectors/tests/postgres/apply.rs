//! Writing to a real server.

use super::world::*;
use tandem_core::connect::{Advance, Begin, Outcome, Owner, Part, Plan};
use tandem_core::{Epoch, FaultClass, Kind, LaneId, Position, Seq, Value, Write, WriteOp};

const PLANS: [Plan; 3] = [Plan::Fast, Plan::Exact, Plan::Single];

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_ends_in_the_same_rows() {
    for plan in PLANS {
        let app = app(
            "CREATE TABLE t (id int, part text, a text DEFAULT 'left alone', n int, PRIMARY KEY (id, part))",
        )
        .await;
        app.run("INSERT INTO t VALUES (1, 'x', 'mine', 0), (4, 'x', 'mine', 0), (5, 'x', 'mine', 0)").await;
        let mut writer = app.writer().await;
        let t = target("t", &["n", "part", "id"], &[2, 1]);
        let row = |id: i64, n: i64| upsert(&[int(n), text("x"), int(id)]);
        let patch = |id: i64, n: Value| WriteOp::Patch {
            key: key(&[int(id), text("x")]),
            values: vec![Some(n), Some(text("x")), Some(int(id))],
        };
        let writes: Vec<Write> = [
            row(1, 10),
            row(2, 20),
            row(3, 30),
            WriteOp::Delete(key(&[int(3), text("x")])),
            WriteOp::Delete(key(&[int(99), text("x")])),
            patch(2, Value::Null),
            patch(4, int(40)),
            WriteOp::Patch {
                key: key(&[int(5), text("x")]),
                values: vec![None, Some(text("x")), Some(int(5))],
            },
        ]
        .into_iter()
        .zip(1..)
        .map(|(op, seq)| write(&t, seq, op))
        .collect();
        let applied = writer.write(plan, &writes).await.unwrap();
        assert_eq!(applied.refused, []);
        assert_eq!(
            app.rows("SELECT * FROM t ORDER BY id").await,
            ["1|x|mine|10", "2|x|left alone|~", "4|x|mine|40", "5|x|mine|0"],
            "{plan:?}"
        );
        assert_eq!(app.rows("SELECT lane, seq FROM tandem.watermark").await, ["1|8"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_land_equal() {
    let columns = ["id", "num", "f8", "b", "by", "d", "iv", "j", "ints", "m", "s", "c", "o"];
    let ddl = "CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE DOMAIN short AS varchar(5);
        CREATE TYPE pair AS (a int, b text);
        CREATE TABLE t (id int PRIMARY KEY, num numeric, f8 float8, b bool, by bytea, d date, iv interval, j json,
            ints int[], m mood, s short, c char(3), o pair)";
    let other = |text: &str| Value::Typed(Kind::Other, text.into());
    let values = [
        int(1),
        Value::Typed(Kind::Decimal, "NaN".into()),
        Value::Float(-0.0),
        Value::Bool(true),
        Value::Bytes(bytes::Bytes::from_static(&[0, 255])),
        Value::Typed(Kind::Date, "0044-03-15 BC".into()),
        Value::Typed(Kind::Interval, "P1Y-2DT3H4M5.5S".into()),
        Value::Typed(Kind::Json, "{\"b\": 1.10, \"b\": 2}".into()),
        other("{1,NULL,3}"),
        other("it's"),
        text("abc"),
        text("ab"),
        other("(1,\"a,b\")"),
    ];
    for plan in PLANS {
        let app = app(ddl).await;
        let mut writer = app.writer().await;
        let t = target("t", &columns, &[0]);
        writer.write(plan, &[write(&t, 1, upsert(&values))]).await.unwrap();
        assert_eq!(
            app.rows("SELECT * FROM t").await,
            [
                "1|NaN|-0|t|\\x00ff|0044-03-15 BC|1 year -2 days +03:04:05.5|{\"b\": 1.10, \"b\": 2}|{1,NULL,3}|it's|abc|ab |(1,\"a,b\")"
            ]
        );
        // What does not fit is refused and never cut.
        let mut long = values.clone();
        long[10] = text("too long");
        let fault = writer.write(plan, &[write(&t, 2, upsert(&long))]).await;
        match plan {
            Plan::Single => assert_eq!(fault.unwrap().refused[0].1.code.as_deref(), Some("22001")),
            _ => assert_eq!(fault.unwrap_err().fault.code.as_deref(), Some("22001")),
        }
        long[10] = text("abc");
        long[11] = text("abcd");
        let fault = writer.write(plan, &[write(&t, 2, upsert(&long))]).await;
        match plan {
            Plan::Single => assert_eq!(fault.unwrap().refused.len(), 1),
            _ => assert_eq!(fault.unwrap_err().fault.class, FaultClass::Application),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_only_names() {
    let app = app("CREATE SCHEMA \"Se\"\"lect\"; CREATE TABLE \"Se\"\"lect\".\"from; DROP\" (\"Id\" int PRIMARY KEY, \"a\"\"; --\" text, \"é ñ\" text)").await;
    let mut writer = app.writer().await;
    let t = target("\"Se\"\"lect\".\"from; DROP\"", &["Id", "a\"; --", "é ñ"], &[0]);
    for (plan, seq) in PLANS.into_iter().zip(1..) {
        let row = upsert(&[int(seq), text("'; DROP TABLE t; --"), text("\\x")]);
        writer.write(plan, &[write(&t, seq as u64, row)]).await.unwrap();
    }
    assert_eq!(
        app.rows("SELECT count(*), min(\"a\"\"; --\") FROM \"Se\"\"lect\".\"from; DROP\"").await,
        ["3|'; DROP TABLE t; --"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_that_moved_stops_the_transaction_before_it_writes() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let t = target("t", &["id"], &[0]);
    for plan in PLANS {
        let mut writer = app.writer().await;
        let marks = writer.apply.fence().await.unwrap();
        writer.at = marks.first().map_or(Seq(0), |mark| mark.seq);
        writer.write(plan, &[write(&t, 1, upsert(&[int(1)]))]).await.unwrap();
        writer.at = Seq(writer.at.0 - 1);
        let fault = writer.write(plan, &[write(&t, 2, upsert(&[int(2)]))]).await.unwrap_err();
        assert_eq!((fault.fault.class, fault.outcome), (FaultClass::Fenced, Outcome::RolledBack));
        assert_eq!(app.rows("SELECT id FROM t").await, ["1"]);
    }
    // A later start takes over: the older one can write no more.
    let mut older = app.writer().await;
    older.at = Seq(3);
    let later = Owner { epoch: Epoch(2), ..OURS };
    let mut apply = app.connector.open_apply(later, "left→right").await.unwrap();
    let marks = apply.fence().await.unwrap();
    assert_eq!((marks[0].lane, marks[0].epoch, marks[0].seq), (LaneId(1), Epoch(2), Seq(3)));
    let fault = older.write(Plan::Fast, &[write(&t, 2, upsert(&[int(2)]))]).await.unwrap_err();
    assert_eq!(fault.fault.class, FaultClass::Fenced);
    assert_eq!(older.apply.fence().await.unwrap_err().class, FaultClass::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_parts_is_kept_whole_or_not_at_all() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let t = target("t", &["id"], &[0]);
    let mut writer = app.writer().await;
    let begin = Begin { lane: LaneId(7), from: Seq(10), first: true };
    let one = [write(&t, 1, upsert(&[int(1)]))];
    let two = [write(&t, 1, upsert(&[int(2)]))];
    for plan in PLANS {
        writer.apply.apply(Part { begin: Some(begin), writes: &one, plan, commit: None }).await.unwrap();
        writer.apply.rollback().await.unwrap();
        assert_eq!(app.rows("SELECT id FROM t").await, [""; 0]);
        assert_eq!(app.rows("SELECT * FROM tandem.watermark").await, [""; 0]);
    }
    let advance = Advance { to: Seq(12), position: Position::default() };
    writer
        .apply
        .apply(Part { begin: Some(begin), writes: &one, plan: Plan::Fast, commit: None })
        .await
        .unwrap();
    writer
        .apply
        .apply(Part { begin: None, writes: &two, plan: Plan::Exact, commit: Some(advance) })
        .await
        .unwrap();
    assert_eq!(app.rows("SELECT id FROM t").await, ["1", "2"]);
    assert_eq!(app.rows("SELECT lane, seq FROM tandem.watermark").await, ["7|12"]);
    writer.apply.retire(&[LaneId(7)]).await.unwrap();
    assert_eq!(app.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'tandem'").await, [""; 0]);
    // The next lane makes it again.
    writer.apply.fence().await.unwrap();
    writer.write(Plan::Fast, &one).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_swapped_and_rotated_in_a_transaction_refuse_nothing() {
    for nullable in ["", "NOT NULL"] {
        for kind in ["text", "int", "uuid"] {
            let ddl = format!("CREATE TABLE t (id int PRIMARY KEY, u {kind} {nullable} UNIQUE)");
            let app = app(&ddl).await;
            let mut writer = app.writer().await;
            let t = target("t", &["id", "u"], &[0]);
            let value = |n: i64| match kind {
                "uuid" => text(&format!("00000000-0000-0000-0000-{n:012}")),
                _ => text(&n.to_string()),
            };
            let rows = |transaction: u64, rows: &[(i64, i64)]| -> Vec<Write> {
                rows.iter().map(|(id, u)| write(&t, transaction, upsert(&[int(*id), value(*u)]))).collect()
            };
            writer.write(Plan::Exact, &rows(1, &[(1, 10), (2, 20), (3, 30)])).await.unwrap();
            for (plan, swapped) in [
                (Plan::Exact, vec![(1, 20), (2, 10)]),
                (Plan::Single, vec![(1, 30), (2, 20), (3, 10)]),
                (Plan::Exact, vec![(1, 10), (3, 20), (2, 30)]),
            ] {
                let applied = writer.write(plan, &rows(2, &swapped)).await.unwrap();
                assert_eq!(applied.refused, [], "{kind} {nullable} {plan:?}");
            }
            let expected: Vec<String> =
                [(1, 10), (2, 30), (3, 20)].iter().map(|(id, u)| format!("{id}|{}", value(*u))).collect();
            assert_eq!(app.rows("SELECT * FROM t ORDER BY id").await, expected);
            // Two transactions that pass a value on: delete and insert.
            let passed =
                [write(&t, 5, WriteOp::Delete(key(&[int(1)]))), write(&t, 6, upsert(&[int(4), value(10)]))];
            assert_eq!(writer.write(Plan::Exact, &passed).await.unwrap().refused, []);
        }
    }
}

/// A source that checks at the end of a transaction may hold a value twice before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_held_twice_within_a_transaction_refuses_nothing() {
    for nullable in ["", "NOT NULL"] {
        let app = app(&format!("CREATE TABLE t (id int PRIMARY KEY, u text {nullable} UNIQUE, n int)")).await;
        let mut writer = app.writer().await;
        let t = target("t", &["id", "u", "n"], &[0]);
        let row = |id: i64, u: &str, n: i64| upsert(&[int(id), text(u), int(n)]);
        let patch = |id: i64, u: &str, n: Option<i64>| WriteOp::Patch {
            key: key(&[int(id)]),
            values: vec![Some(int(id)), Some(text(u)), n.map(int)],
        };
        writer.write(Plan::Exact, &[write(&t, 1, row(1, "a", 1))]).await.unwrap();
        for (plan, ops) in [
            (Plan::Exact, vec![row(1, "h", 2), row(2, "h", 2), row(1, "a", 3)]),
            (Plan::Exact, vec![patch(1, "x", None), row(3, "x", 4), patch(1, "a", Some(5))]),
            (Plan::Single, vec![row(4, "y", 6), row(5, "y", 6), WriteOp::Delete(key(&[int(4)]))]),
        ] {
            let writes: Vec<Write> = ops.into_iter().map(|op| write(&t, 2, op)).collect();
            assert_eq!(writer.write(plan, &writes).await.unwrap().refused, [], "{nullable} {writes:?}");
        }
        assert_eq!(app.rows("SELECT * FROM t ORDER BY id").await, ["1|a|5", "2|h|2", "3|x|4", "5|y|6"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_before_its_parent_is_no_error_where_the_constraint_waits() {
    let app = app("CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE)")
    .await;
    let mut writer = app.writer().await;
    let (p, c) = (target("p", &["id"], &[0]), target_ranked("c", &["id", "p"], &[0], 1));
    for (plan, id) in PLANS.into_iter().zip(1..) {
        let writes = [write(&c, 1, upsert(&[int(id), int(id)])), write(&p, 1, upsert(&[int(id)]))];
        assert_eq!(writer.write(plan, &writes).await.unwrap().refused, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_constraint_that_fails_blames_the_rows_that_break_it() {
    let app = app("CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    .await;
    let mut writer = app.writer().await;
    let (p, c) = (target("p", &["id"], &[0]), target("c", &["id", "p"], &[0]));
    let mut writes = Vec::new();
    for id in 0..10 {
        // Children 3 and 7 have no parent.
        writes.push(write(&c, 1, upsert(&[int(id), int(if id % 4 == 3 { 99 } else { id })])));
    }
    writes.extend((0..10).map(|id| write(&p, 1, upsert(&[int(id)]))));
    let fault = writer.write(Plan::Exact, &writes).await.unwrap_err();
    assert_eq!((fault.fault.code.as_deref(), fault.write), (Some("23503"), Some(9)), "{fault:?}");
    let applied = writer.write(Plan::Single, &writes).await.unwrap();
    let refused: Vec<_> =
        applied.refused.iter().map(|(place, fault)| (*place, fault.code.as_deref())).collect();
    assert_eq!(refused, [(3, Some("23503")), (7, Some("23503"))]);
    assert_eq!(app.rows("SELECT count(*) FROM c").await, ["8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_bad_rows_in_a_transaction_exactly_ten_are_refused() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL CHECK (n < 100))").await;
    let mut writer = app.writer().await;
    let t = target("t", &["id", "n"], &[0]);
    let n = |id: i64| if id % 100 == 50 { int(100) } else { int(1) };
    let writes: Vec<_> = (0..1000).map(|id| write(&t, 1, upsert(&[int(id), n(id)]))).collect();
    let fault = writer.write(Plan::Fast, &writes).await.unwrap_err();
    assert_eq!(fault.fault.class, FaultClass::Application);
    let fault = writer.write(Plan::Exact, &writes).await.unwrap_err();
    assert_eq!((fault.write, fault.outcome), (Some(50), Outcome::RolledBack));
    assert_eq!(fault.fault.table.as_deref(), Some("public.t"));
    let applied = writer.write(Plan::Single, &writes).await.unwrap();
    let refused: Vec<_> = applied.refused.iter().map(|(place, _)| *place).collect();
    assert_eq!(refused, (0..10).map(|n| n * 100 + 50).collect::<Vec<_>>());
    assert!(applied.refused.iter().all(|(_, fault)| fault.code.as_deref() == Some("23514")));
    assert_eq!(app.rows("SELECT count(*) FROM t").await, ["990"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_moved_aside_and_then_refused_keeps_its_value() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE, n int CHECK (n < 100))").await;
    let mut writer = app.writer().await;
    let t = target("t", &["id", "u", "n"], &[0]);
    let row = |id: i64, u: &str, n: i64| upsert(&[int(id), text(u), int(n)]);
    writer.write(Plan::Fast, &[write(&t, 1, row(1, "a", 1)), write(&t, 1, row(2, "b", 1))]).await.unwrap();
    let swap = [write(&t, 2, row(1, "b", 1)), write(&t, 2, row(2, "a", 100))];
    let applied = writer.write(Plan::Single, &swap).await.unwrap();
    assert_eq!(applied.refused.len(), 2, "neither half of the swap can be done alone");
    assert_eq!(app.rows("SELECT * FROM t ORDER BY id").await, ["1|a|1", "2|b|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_must_be_there_and_is_not_is_reported() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY, n int)").await;
    let mut writer = app.writer().await;
    let t = target("t", &["id", "n"], &[0]);
    let patch = WriteOp::Patch { key: key(&[int(9)]), values: vec![Some(int(9)), Some(int(1))] };
    let writes = [write(&t, 1, upsert(&[int(1), int(1)])), write(&t, 1, patch)];
    let fault = writer.write(Plan::Fast, &writes).await.unwrap_err();
    assert_eq!(fault.fault.code.as_deref(), Some("row_missing"));
    assert_eq!(app.rows("SELECT * FROM t").await, [""; 0]);
    let fault = writer.write(Plan::Exact, &writes).await.unwrap_err();
    assert_eq!((fault.fault.code.as_deref(), fault.write), (Some("row_missing"), Some(1)));
    let applied = writer.write(Plan::Single, &writes).await.unwrap();
    assert_eq!(applied.refused[0].0, 1);
    assert_eq!(app.rows("SELECT * FROM t").await, ["1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_change_moves_the_record_or_makes_it_if_all_is_known() {
    for plan in PLANS {
        let app = app("CREATE TABLE t (id int PRIMARY KEY, n int, mine text)").await;
        app.run("INSERT INTO t VALUES (1, 1, 'kept')").await;
        let mut writer = app.writer().await;
        let t = target("t", &["id", "n"], &[0]);
        let rekey = |old: i64, new: i64, n: Option<i64>| WriteOp::Rekey {
            old: key(&[int(old)]),
            values: vec![Some(int(new)), n.map(int)],
        };
        writer.write(plan, &[write(&t, 1, rekey(1, 2, None))]).await.unwrap();
        writer.write(plan, &[write(&t, 2, rekey(2, 3, Some(5)))]).await.unwrap();
        writer.write(plan, &[write(&t, 3, rekey(70, 71, Some(7)))]).await.unwrap();
        assert_eq!(app.rows("SELECT * FROM t ORDER BY id").await, ["3|5|kept", "71|7|~"]);
        let missing = writer.write(plan, &[write(&t, 4, rekey(80, 81, None))]).await;
        match plan {
            Plan::Single => assert_eq!(missing.unwrap().refused[0].1.code.as_deref(), Some("row_missing")),
            _ => assert_eq!(missing.unwrap_err().fault.code.as_deref(), Some("row_missing")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_a_conflict_that_names_it_and_soon() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut writer = app.writer().await;
    let t = target("t", &["id"], &[0]);
    let blocker = server().connect(&app.name).await;
    blocker.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for plan in PLANS {
        let fault = writer.write(plan, &[write(&t, 1, upsert(&[int(1)]))]).await.unwrap_err();
        assert_eq!(fault.fault.class, FaultClass::Conflict, "{fault:?}");
        assert_eq!(fault.fault.table.as_deref(), Some("public.t"));
    }
    blocker.batch_execute("ROLLBACK").await.unwrap();
    writer.write(Plan::Fast, &[write(&t, 1, upsert(&[int(1)]))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_columns_and_unique_keys_are_faults_of_the_schema() {
    let app = app("CREATE TABLE t (id int, n int)").await;
    let mut writer = app.writer().await;
    for (name, columns, code) in
        [("absent", ["id", "n"], "42P01"), ("t", ["id", "absent"], "42703"), ("t", ["id", "n"], "42P10")]
    {
        let fault = writer
            .write(Plan::Fast, &[write(&target(name, &columns, &[0]), 1, upsert(&[int(1), int(1)]))])
            .await;
        let fault = fault.unwrap_err().fault;
        assert_eq!((fault.class, fault.code.as_deref()), (FaultClass::Schema, Some(code)), "{fault:?}");
    }
    app.run("CREATE UNIQUE INDEX ON t (id)").await;
    writer
        .write(Plan::Fast, &[write(&target("t", &["id", "n"], &[0]), 1, upsert(&[int(1), int(1)]))])
        .await
        .unwrap();
    // A column that goes while we know the table.
    app.run("ALTER TABLE t DROP n").await;
    let t = target("t", &["id", "n"], &[0]);
    for _ in 0..2 {
        let fault =
            writer.write(Plan::Fast, &[write(&t, 2, upsert(&[int(2), int(1)]))]).await.unwrap_err().fault;
        assert_eq!(fault.class, FaultClass::Schema);
    }
    app.run("ALTER TABLE t ADD n int").await;
    writer.write(Plan::Fast, &[write(&t, 2, upsert(&[int(2), int(1)]))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_part_is_undone_before_the_next() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut writer = app.writer().await;
    let t = target("t", &["id"], &[0]);
    let blocker = server().connect(&app.name).await;
    blocker.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let begin = Begin { lane: LaneId(1), from: Seq(0), first: true };
    let writes = [write(&t, 1, upsert(&[int(2)])), write(&t, 2, upsert(&[int(1)]))];
    for plan in [Plan::Exact, Plan::Single] {
        let commit = Some(Advance { to: Seq(2), position: Position::default() });
        let part = Part { begin: Some(begin), writes: &writes, plan, commit };
        let dropped =
            tokio::time::timeout(std::time::Duration::from_millis(300), writer.apply.apply(part)).await;
        assert!(dropped.is_err(), "it waits for the other transaction");
        writer.apply.rollback().await.unwrap();
    }
    blocker.batch_execute("ROLLBACK").await.unwrap();
    writer.write(Plan::Exact, &[write(&t, 1, upsert(&[int(3)]))]).await.unwrap();
    assert_eq!(app.rows("SELECT id FROM t").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_transactions_carry_a_mark_that_only_we_read() {
    let app = app("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut tape = app.captured(&["t"]).await;
    let mut writer = app.writer().await;
    let t = target("t", &["id"], &[0]);
    writer.write(Plan::Fast, &[write(&t, 1, upsert(&[int(1)]))]).await.unwrap();
    writer.write(Plan::Fast, &[]).await.unwrap();
    let mut marks = Vec::new();
    while marks.len() < 2 {
        marks.extend(tape.step().await.into_iter().filter_map(|fragment| fragment.mark));
    }
    assert_eq!(
        marks.iter().map(|mark| (&*mark.stream, mark.seq)).collect::<Vec<_>>(),
        [("left→right", Seq(1)), ("left→right", Seq(2))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_transaction_that_is_cut_into_parts_is_checked_at_its_own_end() {
    let app = app("CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE)")
    .await;
    let mut writer = app.writer().await;
    let (p, c) = (target("p", &["id"], &[0]), target("c", &["id", "p"], &[0]));
    let child = [write(&c, 1, upsert(&[int(1), int(1)]))];
    let parent = [write(&p, 1, upsert(&[int(1)]))];
    let begin = Begin { lane: LaneId(1), from: Seq(0), first: true };
    let advance = Advance { to: Seq(2), position: Position::default() };
    for plan in [Plan::Exact, Plan::SingleOpen] {
        let part = Part { begin: Some(begin), writes: &child, plan, commit: None };
        assert_eq!(writer.apply.apply(part).await.unwrap().refused, []);
        // Another transaction comes: the one before can go on no more.
        let next = [write(&p, 2, upsert(&[int(7)]))];
        let fault =
            writer.apply.apply(Part { begin: None, writes: &next, plan, commit: None }).await.unwrap_err();
        assert_eq!((fault.fault.code.as_deref(), fault.write), (Some("23503"), None));
    }
    writer
        .apply
        .apply(Part { begin: Some(begin), writes: &child, plan: Plan::Exact, commit: None })
        .await
        .unwrap();
    let part = Part { begin: None, writes: &parent, plan: Plan::Exact, commit: Some(advance) };
    assert_eq!(writer.apply.apply(part).await.unwrap().refused, []);
    assert_eq!(app.rows("SELECT * FROM c").await, ["1|1"]);
}
