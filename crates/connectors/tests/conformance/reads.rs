//! Promises about reading tables as they stand.

use super::*;
use std::collections::BTreeSet;
use tandem_core::connect::{ChunkLimit, KeyedTable, Reads};
use tandem_core::{IntegrationKey, Relation};

const ALL: ChunkLimit = ChunkLimit { rows: 1_000, bytes: usize::MAX };

async fn reads(app: &dyn Fixture) -> Box<dyn Reads> {
    insist("open reads", async || app.connector().open_reads().await).await
}

fn keyed(table: &TestTable) -> KeyedTable {
    KeyedTable { table: table.name.clone(), key: table.key.iter().map(|column| Arc::from(*column)).collect() }
}

fn shown(row: &Row) -> String {
    row.0.iter().filter_map(|cell| Some(cell.value()?.to_string())).collect::<Vec<_>>().join("|")
}

/// Reads a table chunk by chunk: what each brought.
async fn all(reads: &mut dyn Reads, table: &KeyedTable, limit: ChunkLimit) -> Vec<Vec<String>> {
    let (mut chunks, mut after) = (Vec::new(), None);
    loop {
        let chunk = reads.chunk(table, after.as_ref(), limit).await.unwrap();
        assert!(chunk.unseen.is_empty(), "nobody else is there");
        assert_eq!(chunk.relation.table, table.table);
        chunks.push(chunk.rows.iter().map(shown).collect());
        match chunk.next {
            Some(next) => after = Some(next),
            None => return chunks,
        }
    }
}

/// Pairs of a text and a number, in no order: `name` and `no` are the key, in another order than the columns.
async fn pairs(app: &dyn Fixture, names: &[&str], numbers: i64) -> TestTable {
    let table = TestTable {
        name: app.table("pairs"),
        columns: vec![("no", ColumnType::Int), ("name", ColumnType::Text), ("body", ColumnType::Large)],
        key: vec!["name", "no"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    app.create(&table).await;
    let row = |n: i64, name: &&str| vec![n.into(), (*name).into(), "body".into()];
    let rows = (0..numbers).rev().flat_map(|n| names.iter().map(move |name| row(n, name)));
    app.run(rows.map(|row| insert(&table.name, row)).collect()).await;
    table
}

pub async fn chunks_bring_every_row_once(app: &dyn Fixture) {
    let names = ["a", "B", "ä", "it's", "tab\there", "line\nbreak", "back\\slash", "Z z", ""];
    let table = pairs(app, &names, 7).await;
    let mut reads = reads(app).await;
    for rows in [1, 5, 9, 63, 64] {
        let chunks = all(&mut *reads, &keyed(&table), ChunkLimit { rows, ..ALL }).await;
        assert!(chunks.iter().all(|chunk| chunk.len() <= rows), "no chunk is larger than it may be");
        let read: Vec<String> = chunks.concat();
        assert_eq!(read.len(), 63, "none comes twice");
        assert_eq!(read.into_iter().collect::<BTreeSet<_>>().len(), 63, "none is missing");
    }
    assert_eq!(all(&mut *reads, &keyed(&table), ALL).await.len(), 1, "the end is known where it is");
}

pub async fn a_chunk_ends_with_the_row_that_is_too_much(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    let wide = |id: i64| vec![id.into(), "wide".into(), "x".repeat(10_000).as_str().into()];
    app.run((0..20).map(|id| insert(&table.name, wide(id))).collect()).await;
    let mut reads = reads(app).await;
    let limit = ChunkLimit { rows: 1_000, bytes: 45_000 };
    let chunks = all(&mut *reads, &keyed(&table), limit).await;
    assert!(
        chunks.iter().all(|chunk| chunk.len() <= 5),
        "{:?}",
        chunks.iter().map(Vec::len).collect::<Vec<_>>()
    );
    assert_eq!(chunks.concat().len(), 20);
    let tiny = all(&mut *reads, &keyed(&table), ChunkLimit { rows: 1_000, bytes: 1 }).await;
    assert_eq!(tiny.concat().len(), 20, "a row is read however large it is");
}

pub async fn an_empty_table_has_no_chunk(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    let mut reads = reads(app).await;
    assert_eq!(all(&mut *reads, &keyed(&table), ALL).await, [Vec::<String>::new()]);
}

pub async fn rows_are_read_by_their_keys(app: &dyn Fixture) {
    let table = pairs(app, &["a", "it's"], 3).await;
    let key = |name: &str, no: i64| IntegrationKey::from_values(vec![name.into(), no.into()]);
    let mut reads = reads(app).await;
    let wanted = [key("it's", 2), key("a", 0), key("a", 9)];
    let found = reads.records(&keyed(&table), &wanted).await.unwrap();
    let rows: BTreeSet<String> = found.rows.iter().map(shown).collect();
    assert_eq!(rows, BTreeSet::from(["0|a|body".to_owned(), "2|it's|body".to_owned()]));
    assert_eq!(reads.records(&keyed(&table), &[]).await.unwrap().rows, []);
}

/// A row that is read is the row that the log brings, value for value, under the same relation.
pub async fn rows_come_in_the_form_of_the_log(app: &dyn Fixture) {
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
    let mut source = source(app).await;
    let from = enter(&mut *source, std::slice::from_ref(&table.name), 1).await;
    let deepest = zoo.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let row = |n: usize| {
        let cells = zoo.iter().map(|(_, values)| values.get(n).cloned().unwrap_or(Value::Null));
        std::iter::once(Value::Int(n as i64)).chain(cells).collect::<Vec<_>>()
    };
    app.run((0..deepest).map(|n| insert(&table.name, row(n))).collect()).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, deepest).await;
    let logged = events.into_iter().filter_map(|event| match event {
        Event::Change(Change { relation, op: Op::Insert { new } }) => Some((relation, new)),
        _ => None,
    });
    let logged: Vec<(Arc<Relation>, Row)> = logged.collect();
    let read = reads(app).await.chunk(&keyed(&table), None, ALL).await.unwrap();
    assert_eq!(Some(&read.relation), logged.first().map(|(relation, _)| relation));
    assert_eq!(read.rows, logged.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
}

pub async fn a_read_shows_what_lies_before_its_barrier(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    let mut reads = reads(app).await;
    let mut capture = capture(app, &from).await;
    for id in 1..=20 {
        app.run(vec![insert(&table.name, item(id, "a"))]).await;
        let low = u64::try_from(id).unwrap() + 100;
        insist("mark", async || source.mark(&[BarrierId(low)]).await).await;
        let chunk = reads.chunk(&keyed(&table), None, ALL).await.unwrap();
        let before = say(&read_to_barrier(&mut *capture, low).await);
        assert!(before.contains(&format!("insert items {id} a")), "{before:?}");
        assert_eq!(chunk.rows.len(), usize::try_from(id).unwrap(), "what is in front of the barrier is read");
    }
}

pub async fn barriers_have_places_of_their_own(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    let three = [7, 8, 9].map(BarrierId);
    insist("mark", async || source.mark(&three).await).await;
    app.run(vec![insert(&table.name, item(2, "b"))]).await;
    let mut capture = capture(app, &from).await;
    let said = say(&read_changes(&mut *capture, 2).await);
    let between: BTreeSet<&str> = said.iter().skip(2).take(3).map(String::as_str).collect();
    assert_eq!(between, BTreeSet::from(["barrier 7", "barrier 8", "barrier 9"]), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("insert items 2 b"));
}
