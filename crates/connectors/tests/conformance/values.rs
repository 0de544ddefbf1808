//! Promises about values, names and schemas.

use super::apply::{done, fenced_apply, target, upsert};
use super::*;
use tandem_core::connect::Plan;

/// Every value of the zoo is written by a user, captured, applied to a second table of the same shape, and
/// must be there as it was in the first.
pub async fn values_come_through_capture_and_apply_unchanged(app: &dyn Fixture) {
    let zoo = app.zoo();
    let mut names = (0..zoo.len()).map(|n| -> &'static str { format!("c{n}").leak() });
    let mut columns = vec![("id", ColumnType::Int)];
    columns.extend(zoo.iter().map(|(ty, _)| (names.next().expect("as many"), ColumnType::Native(ty))));
    let from_table = TestTable {
        name: app.table("zoo_from"),
        columns,
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    let to_table = TestTable { name: app.table("zoo_to"), ..from_table.clone() };
    app.create(&from_table).await;
    app.create(&to_table).await;
    let mut source = source(app).await;
    let from = enter(&mut *source, std::slice::from_ref(&from_table.name), 1).await;
    let deepest = zoo.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let row = |n: usize| {
        let cells = zoo.iter().map(|(_, values)| values.get(n).cloned().unwrap_or(Value::Null));
        std::iter::once(Value::Int(n as i64)).chain(cells).collect::<Vec<_>>()
    };
    app.run((0..deepest).map(|n| insert(&from_table.name, row(n))).collect()).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, deepest).await;
    let target = target(&to_table);
    let captured = events.iter().filter_map(|event| match event {
        Event::Change(Change { op: Op::Insert { new }, .. }) => Some(new),
        _ => None,
    });
    let mut writes = Vec::new();
    for (n, new) in captured.enumerate() {
        let values: Vec<_> =
            (0..=zoo.len()).map(|at| new.cell(at).value().cloned().expect("an insert is whole")).collect();
        assert_eq!(values, row(n), "as the log says it");
        writes.push(upsert(n as u64 + 1, &target, values));
    }
    let mut apply = fenced_apply(app).await;
    done(&mut *apply, (0, deepest as u64), Plan::Exact, &writes).await;
    assert_eq!(app.rows(&to_table.name).await, app.rows(&from_table.name).await);
    done(&mut *apply, (deepest as u64, 2 * deepest as u64), Plan::Fast, &writes).await;
    assert_eq!(app.rows(&to_table.name).await, app.rows(&from_table.name).await);
}

pub async fn odd_names_are_only_names(app: &dyn Fixture) {
    for name in ["Select", "tab'le", "Mixed Case", "dou\"ble", "ünïcode 表", "$1; drop table items--"] {
        let table = TestTable {
            name: app.table(name),
            columns: vec![
                ("id", ColumnType::Int),
                ("or\"der", ColumnType::Text),
                ("Gr'oup $1", ColumnType::Text),
            ],
            key: vec!["id"],
            unique: vec![],
            not_null: vec![],
            references: vec![],
        };
        app.create(&table).await;
        let mut source = source_again(app).await;
        let from = enter(&mut *source, std::slice::from_ref(&table.name), 1).await;
        app.run(vec![insert(&table.name, item(1, "a"))]).await;
        let mut capture = capture(app, &from).await;
        let events = read_changes(&mut *capture, 1).await;
        assert!(say(&events).contains(&format!("insert {name} 1 a")), "{name}: {:?}", say(&events));
        drop(capture);
        let stream = format!("to {name}");
        let mut apply = app.connector().open_apply(owner(), &stream).await.unwrap();
        insist("fence", async || apply.fence().await.map(drop)).await;
        done(&mut *apply, (0, 1), Plan::Exact, &[upsert(1, &target(&table), item(2, "b"))]).await;
        assert_eq!(app.rows(&table.name).await, [item(1, "a"), item(2, "b")], "{name}");
        insist("leave", async || source.leave(std::slice::from_ref(&table.name)).await).await;
    }
}

/// The source of the round before may need a moment to be let go of.
async fn source_again(app: &dyn Fixture) -> Box<dyn Source> {
    soon("the source opens", async {
        loop {
            match app.connector().open_source(owner()).await {
                Ok(source) => return source,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

pub async fn a_schema_is_described_as_it_is(app: &dyn Fixture) {
    let parent = items(app);
    let child = TestTable {
        name: app.table("lines"),
        columns: vec![("id", ColumnType::Int), ("item", ColumnType::Int), ("code", ColumnType::Text)],
        key: vec!["id"],
        unique: vec![vec!["code", "item"]],
        not_null: vec!["code"],
        references: vec![(vec!["item"], parent.name.clone(), vec!["id"])],
    };
    app.create(&parent).await;
    app.create(&child).await;
    let asked = [child.name.clone(), app.table("never made"), parent.name.clone()];
    let described = app.connector().describe(&asked).await.unwrap();
    let [Some(lines), None, Some(items)] = described.as_slice() else {
        panic!("two of three are there: {described:?}");
    };
    assert_eq!(items.table, parent.name);
    let names: Vec<_> = lines.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, columns(&child));
    assert_eq!(lines.primary_key, [Arc::from("id")]);
    assert!(lines.is_unique(&["item".into(), "code".into()]));
    assert!(!lines.is_unique(&["code".into()]));
    assert!(!lines.column("code").unwrap().nullable);
    assert!(lines.column("item").unwrap().nullable);
    let [reference] = lines.foreign_keys.as_slice() else { panic!("one foreign key: {lines:?}") };
    assert_eq!((&reference.target, &*reference.columns), (&parent.name, &["item".into()][..]));
    assert_eq!(reference.target_columns, [Arc::from("id")]);
}
