//! Promises of the three plans: what is valid history is never refused in exact order, and what is refused is
//! named.

use super::apply::{do_writes, done, fenced_apply, key, target, target_of, upsert, write};
use super::*;
use tandem_core::connect::Plan;
use tandem_core::{FaultClass, Seq, Target, Write, WriteOp};

/// `id` (key), `code` (unique).
fn coded(app: &dyn Fixture) -> TestTable {
    TestTable {
        name: app.table("coded"),
        columns: vec![("id", ColumnType::Int), ("code", ColumnType::Text)],
        key: vec!["id"],
        unique: vec![vec!["code"]],
        not_null: vec!["code"],
        references: vec![],
    }
}

fn code(id: i64, code: &str) -> Vec<Value> {
    vec![id.into(), code.into()]
}

/// All writes as one source transaction.
fn together(mut writes: Vec<Write>) -> Vec<Write> {
    writes.iter_mut().for_each(|write| write.transaction = Seq(1));
    writes
}

fn upserts(target: &Arc<Target>, rows: &[(i64, &str)]) -> Vec<Write> {
    let write = |(n, (id, text)): (usize, &(i64, &str))| upsert(n as u64 + 1, target, code(*id, text));
    rows.iter().enumerate().map(write).collect()
}

/// Fast may refuse this valid history, and keeps nothing then; exact and single must do it.
async fn valid(
    app: &dyn Fixture,
    start: &[(i64, &str)],
    writes: impl Fn(&Arc<Target>) -> Vec<Write>,
    end: &[(i64, &str)],
) {
    let table = coded(app);
    app.create(&table).await;
    let target = target(&table);
    let mut apply = fenced_apply(app).await;
    let rows = |rows: &[(i64, &str)]| rows.iter().map(|(id, text)| code(*id, text)).collect::<Vec<_>>();
    let mut at = 0;
    for plan in [Plan::Fast, Plan::Exact, Plan::Single] {
        let all = app.rows(&table.name).await;
        let mut reset: Vec<_> = all
            .iter()
            .map(|row| match row.first() {
                Some(Value::Int(id)) => delete(&table.name, *id),
                other => panic!("no id: {other:?}"),
            })
            .collect();
        reset.extend(rows(start).into_iter().map(|row| insert(&table.name, row)));
        app.run(reset).await;
        match do_writes(&mut *apply, (at, at + 10), plan, &writes(&target)).await {
            Ok(applied) => {
                assert_eq!(applied.refused, [], "{plan:?}");
                assert_eq!(app.rows(&table.name).await, rows(end), "{plan:?}");
                at += 10;
            }
            Err(failed) => {
                assert_eq!(plan, Plan::Fast, "valid history was refused: {}", failed.fault);
                assert_eq!(app.rows(&table.name).await, rows(start), "fast kept something");
            }
        }
    }
}

pub async fn unique_values_can_be_swapped(app: &dyn Fixture) {
    let writes = |target: &Arc<Target>| together(upserts(target, &[(1, "b"), (2, "a")]));
    valid(app, &[(1, "a"), (2, "b")], writes, &[(1, "b"), (2, "a")]).await;
}

pub async fn unique_values_can_rotate_through_three_records(app: &dyn Fixture) {
    let writes = |target: &Arc<Target>| together(upserts(target, &[(1, "b"), (2, "c"), (3, "a")]));
    valid(app, &[(1, "a"), (2, "b"), (3, "c")], writes, &[(1, "b"), (2, "c"), (3, "a")]).await;
}

pub async fn a_unique_value_can_move_between_transactions_of_a_batch(app: &dyn Fixture) {
    let writes = |target: &Arc<Target>| {
        vec![
            write(1, target, WriteOp::Delete(key(1))),
            upsert(2, target, code(2, "a")),
            upsert(3, target, code(2, "b")),
            upsert(4, target, code(1, "a")),
        ]
    };
    valid(app, &[(1, "a")], writes, &[(1, "a"), (2, "b")]).await;
}

pub async fn the_same_record_can_be_written_many_times(app: &dyn Fixture) {
    let writes = |target: &Arc<Target>| {
        let mut writes = upserts(target, &[(1, "b"), (1, "c"), (2, "b"), (1, "d")]);
        writes.push(write(5, target, WriteOp::Delete(key(2))));
        writes.push(write(6, target, WriteOp::Patch { key: key(1), values: vec![None, Some("e".into())] }));
        writes.push(upsert(7, target, code(2, "f")));
        writes
    };
    valid(app, &[(1, "a")], writes, &[(1, "e"), (2, "f")]).await;
}

pub async fn a_deferred_reference_may_come_before_its_target(app: &dyn Fixture) {
    if !app.traits().deferred_keys {
        return;
    }
    let parent = items(app);
    let child = TestTable {
        name: app.table("lines"),
        columns: vec![("id", ColumnType::Int), ("item", ColumnType::Int)],
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![(vec!["item"], parent.name.clone(), vec!["id"])],
    };
    app.create(&parent).await;
    app.create(&child).await;
    let (parents, children) = (target(&parent), target_of(&child, &["id", "item"], 1));
    let mut apply = fenced_apply(app).await;
    let line = |id: i64, item: i64| vec![id.into(), item.into()];
    let early = together(vec![upsert(1, &children, line(1, 5)), upsert(2, &parents, item(5, "a"))]);
    done(&mut *apply, (0, 2), Plan::Exact, &early).await;
    assert_eq!(app.rows(&child.name).await, [line(1, 5)]);
    // Never satisfied: found at the end of its source transaction, and only it is to blame.
    let mut writes = vec![upsert(3, &children, line(2, 6)), upsert(4, &parents, item(7, "b"))];
    writes.iter_mut().for_each(|write| write.transaction = Seq(3));
    let failed = do_writes(&mut *apply, (2, 4), Plan::Exact, &writes).await.unwrap_err();
    assert_eq!(failed.fault.class, FaultClass::Reference);
    let applied = do_writes(&mut *apply, (2, 4), Plan::Single, &writes).await.unwrap();
    assert_eq!(applied.refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0]);
    assert_eq!(app.rows(&parent.name).await, [item(5, "a"), item(7, "b")]);
    assert_eq!(app.rows(&child.name).await, [line(1, 5)]);
}

pub async fn exact_names_the_write_at_which_it_stopped(app: &dyn Fixture) {
    let table = coded(app);
    app.create(&table).await;
    let mut apply = fenced_apply(app).await;
    let target = target(&table);
    let mut writes = upserts(&target, &[(1, "a"), (2, "b"), (3, "c")]);
    writes.insert(2, upsert(9, &target, vec![4.into(), Value::Null]));
    let failed = do_writes(&mut *apply, (0, 9), Plan::Exact, &writes).await.unwrap_err();
    assert_eq!((failed.fault.class, failed.write), (FaultClass::Application, Some(2)));
    assert_eq!(app.rows(&table.name).await, Vec::<Vec<Value>>::new());
}

pub async fn single_leaves_out_only_what_is_refused(app: &dyn Fixture) {
    let table = coded(app);
    app.create(&table).await;
    let mut apply = fenced_apply(app).await;
    let target = target(&table);
    app.run(vec![insert(&table.name, code(1, "a")), insert(&table.name, code(2, "b"))]).await;
    // A valid swap beside a record that breaks a rule and one that clashes for good.
    let mut writes = upserts(&target, &[(1, "b"), (2, "a"), (3, "c"), (4, "c")]);
    writes.insert(1, upsert(9, &target, vec![5.into(), Value::Null]));
    let applied = do_writes(&mut *apply, (0, 9), Plan::Single, &together(writes)).await.unwrap();
    assert_eq!(applied.refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 4]);
    assert!(applied.refused.iter().all(|(_, fault)| fault.class == FaultClass::Application));
    assert_eq!(app.rows(&table.name).await, [code(1, "b"), code(2, "a"), code(3, "c")]);
}

pub async fn fast_keeps_all_or_nothing(app: &dyn Fixture) {
    let table = coded(app);
    app.create(&table).await;
    let mut apply = fenced_apply(app).await;
    let target = target(&table);
    app.run(vec![insert(&table.name, code(1, "a"))]).await;
    let mut writes = upserts(&target, &[(2, "b"), (3, "c")]);
    writes.push(upsert(3, &target, code(4, "a")));
    let failed = do_writes(&mut *apply, (0, 3), Plan::Fast, &writes).await.unwrap_err();
    assert_eq!(failed.fault.class, FaultClass::Application);
    assert_eq!(app.rows(&table.name).await, [code(1, "a")]);
    // The same transaction may be begun again at once.
    done(&mut *apply, (0, 3), Plan::Fast, writes.get(..2).unwrap()).await;
    assert_eq!(app.rows(&table.name).await.len(), 3);
}

pub async fn a_null_key_is_refused(app: &dyn Fixture) {
    let table = coded(app);
    app.create(&table).await;
    let mut apply = fenced_apply(app).await;
    let writes = [upsert(1, &target(&table), vec![Value::Null, "a".into()])];
    let applied = do_writes(&mut *apply, (0, 1), Plan::Single, &writes).await.unwrap();
    assert_eq!(applied.refused.len(), 1);
    assert_eq!(app.rows(&table.name).await, Vec::<Vec<Value>>::new());
}
