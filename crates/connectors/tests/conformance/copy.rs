//! Promises about rows that were read from a table and are written here.

use super::apply::{advance, begin, do_writes, fenced_apply, target, upsert};
use super::*;
use tandem_core::connect::{Copied, Part, Plan};
use tandem_core::{FaultClass, Seq, Write};

/// Upserts of rows `id, name, body`, in one source transaction.
fn rows(table: &TestTable, rows: &[(i64, &str)]) -> Vec<Write> {
    let target = target(table);
    let one = |(id, name): &(i64, &str)| Write { transaction: Seq(1), ..upsert(1, &target, item(*id, name)) };
    rows.iter().map(one).collect()
}

pub async fn copying_writes_what_differs_and_counts_it(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    app.run(vec![insert(&table.name, item(1, "same")), insert(&table.name, item(2, "old"))]).await;
    let mut apply = fenced_apply(app).await;
    let writes =
        rows(&table, &[(1, "same"), (2, "new"), (3, "more"), (4, "tab\tline\nback\\slash"), (5, "\\N")]);
    let first = do_writes(&mut *apply, (0, 7), Plan::Copy, &writes).await.unwrap();
    assert_eq!(first.copied, Copied { inserted: 3, updated: 1, unchanged: 1 });
    // The watermark stands where it stood: it moves from there to there.
    let again = do_writes(&mut *apply, (7, 7), Plan::Copy, &writes).await.unwrap();
    assert_eq!(again.copied, Copied { inserted: 0, updated: 0, unchanged: 5 });
    let names = ["same", "new", "more", "tab\tline\nback\\slash", "\\N"];
    let expected: Vec<_> = (1..).zip(names).map(|(id, name)| item(id, name)).collect();
    assert_eq!(app.rows(&table.name).await, expected);
}

pub async fn what_is_copied_is_equal_value_for_value(app: &dyn Fixture) {
    let zoo = app.zoo();
    let mut names = (0..zoo.len()).map(|n| -> &'static str { format!("c{n}").leak() });
    let mut columns = vec![("id", ColumnType::Int)];
    columns.extend(zoo.iter().map(|(ty, _)| (names.next().expect("as many"), ColumnType::Native(ty))));
    let table = TestTable {
        name: app.table("zoo"),
        columns,
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    app.create(&table).await;
    let deepest = zoo.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let row = |n: usize| {
        let cells = zoo.iter().map(|(_, values)| values.get(n).cloned().unwrap_or(Value::Null));
        std::iter::once(Value::Int(n as i64)).chain(cells).collect::<Vec<_>>()
    };
    let target = target(&table);
    let writes: Vec<Write> = (0..deepest).map(|n| upsert(1, &target, row(n))).collect();
    let mut apply = fenced_apply(app).await;
    let loaded = do_writes(&mut *apply, (0, 1), Plan::Load, &writes).await.unwrap();
    assert_eq!(loaded.copied.inserted, deepest as u64);
    let expected: Vec<_> = (0..deepest).map(row).collect();
    assert_eq!(app.rows(&table.name).await.len(), expected.len());
    for row in &app.rows(&table.name).await {
        assert!(expected.contains(row), "{row:?}");
    }
    let again = do_writes(&mut *apply, (1, 1), Plan::Copy, &writes).await.unwrap();
    assert_eq!(again.copied, Copied { unchanged: deepest as u64, ..Copied::default() });
}

pub async fn loading_a_record_that_is_there_changes_nothing(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    app.run(vec![insert(&table.name, item(2, "there"))]).await;
    let mut apply = fenced_apply(app).await;
    let writes = rows(&table, &[(1, "a"), (2, "b"), (3, "c")]);
    match do_writes(&mut *apply, (0, 1), Plan::Load, &writes).await {
        Err(failed) => {
            assert!(failed.fault.class.is_about_record(), "{}", failed.fault);
            assert_eq!(app.rows(&table.name).await, [item(2, "there")]);
        }
        // An app that has no faster way may do it as it copies.
        Ok(applied) => assert_eq!(applied.copied, Copied { inserted: 2, updated: 1, unchanged: 0 }),
    }
}

/// What a source transaction has put off is checked where it ends, not where the destination transaction does: there
/// nobody could say which record it was.
pub async fn a_transaction_that_is_tried_record_by_record_is_checked_at_its_end(app: &dyn Fixture) {
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
    app.run(vec![insert(&parent.name, item(1, "a"))]).await;
    let mut apply = fenced_apply(app).await;
    let target = target(&child);
    let line = |id: i64, item: i64| Write {
        transaction: Seq(1),
        ..upsert(1, &target, vec![id.into(), item.into()])
    };
    let writes = [line(1, 1), line(2, 9), line(3, 1)];
    let part = Part { begin: begin(0, true), writes: &writes, plan: Plan::Single, commit: None };
    let refused = apply.apply(part).await.unwrap().refused;
    assert_eq!(refused.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1], "{refused:?}");
    assert_eq!(refused[0].1.class, FaultClass::Reference);
    let end = Part { begin: None, writes: &[], plan: Plan::Exact, commit: advance(1) };
    apply.apply(end).await.unwrap();
    assert_eq!(
        app.rows(&child.name).await,
        [vec![Value::Int(1), Value::Int(1)], vec![Value::Int(3), Value::Int(1)]]
    );
}
