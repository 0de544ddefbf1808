//! Promises of sources and captures.

use super::*;
use tandem_core::{Cell, FaultClass};

pub async fn what_commits_behind_the_barrier_is_delivered(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    app.run(vec![insert(&table.name, item(1, "before"))]).await;
    let mut source = source(app).await;
    let from = enter(&mut *source, std::slice::from_ref(&table.name), 1).await;
    app.run(vec![insert(&table.name, item(2, "behind"))]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 1).await;
    assert_eq!(say(&events), ["barrier 1", "insert items 2 behind"]);
    assert_eq!(source.captured().await.unwrap(), [table.name]);
}

pub async fn a_transaction_that_was_open_at_enter_comes_whole_or_not_at_all(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    let mut source = source(app).await;
    let mut open = app.hold(vec![insert(&table.name, item(1, "first"))]).await;
    let (from, ()) = tokio::join!(enter(&mut *source, std::slice::from_ref(&table.name), 1), async {
        // Entering has begun when the writer writes again, and may be waiting for it.
        tokio::task::yield_now().await;
        open.run(insert(&table.name, item(2, "second"))).await;
        open.commit().await;
    });
    app.run(vec![insert(&table.name, item(3, "later"))]).await;
    let mut capture = capture(app, &from).await;
    let later = |events: &[Event]| say(events).iter().any(|event| event == "insert items 3 later");
    let events = read_until(&mut *capture, later).await;
    let said = say(&events);
    let ours = said.iter().filter(|event| event.starts_with("insert items 1") || event.contains("second"));
    assert!([0, 2].contains(&ours.count()), "half of a transaction: {said:?}");
}

pub async fn a_capture_delivers_only_what_is_after_its_position(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut first = capture(app, &from).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    let seen = read_changes(&mut *first, 1).await;
    drop(first);
    app.run(vec![insert(&table.name, item(2, "b"))]).await;
    let mut second = capture(app, &end(&seen)).await;
    assert_eq!(say(&read_changes(&mut *second, 1).await), ["insert items 2 b"]);
}

pub async fn what_was_not_acknowledged_comes_again_after_the_connection_broke(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut first = capture(app, &from).await;
    for id in 1..=3 {
        app.run(vec![insert(&table.name, item(id, "a"))]).await;
    }
    let seen = read_changes(&mut *first, 3).await;
    app.break_connections().await;
    drop(first);
    let mut second = capture(app, &from).await;
    assert_eq!(say(&read_changes(&mut *second, 3).await), say(&seen));
}

pub async fn acknowledging_never_loses_what_is_behind_it(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut first = capture(app, &from).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    let a = read_changes(&mut *first, 1).await;
    app.run(vec![insert(&table.name, item(2, "b"))]).await;
    read_changes(&mut *first, 1).await;
    insist("acknowledge", async || first.acknowledge(&end(&a)).await).await;
    drop(first);
    app.break_connections().await;
    let mut second = capture(app, &end(&a)).await;
    assert_eq!(say(&read_changes(&mut *second, 1).await), ["insert items 2 b"]);
}

pub async fn a_position_that_was_let_go_of_is_a_gap(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut first = capture(app, &from).await;
    for id in 1..=3 {
        app.run(vec![insert(&table.name, item(id, "a"))]).await;
        let seen = read_changes(&mut *first, 1).await;
        insist("acknowledge", async || first.acknowledge(&end(&seen)).await).await;
    }
    drop(first);
    // An app may keep more of its log than it has to: then all of it comes again. Never a part.
    match app.connector().open_capture(owner(), &from).await {
        Ok(mut again) => match again.next().await {
            Err(fault) => assert_eq!(fault.class, FaultClass::Gap),
            Ok(captured) => {
                let first = captured.fragments.into_iter().flat_map(|fragment| fragment.entries).next();
                assert_eq!(first, Some(Entry::Barrier(BarrierId(1))), "some of the log is passed over");
            }
        },
        Err(_) => refused_with_gap(app, &from).await,
    }
}

pub async fn a_position_that_is_none_is_a_gap(app: &dyn Fixture) {
    let (_table, _source, _from) = with_items(app).await;
    refused_with_gap(app, &position("no position of any app")).await;
}

/// The gap may be found when the capture is opened, or by its first read.
async fn refused_with_gap(app: &dyn Fixture, from: &Position) {
    let class = soon("the gap is found", async {
        loop {
            let found = match app.connector().open_capture(owner(), from).await {
                Ok(mut capture) => capture.next().await.map(drop),
                Err(fault) => Err(fault),
            };
            match found {
                Ok(()) => panic!("read on from a position that is gone"),
                Err(fault) if fault.class.is_transient() => tokio::task::yield_now().await,
                Err(fault) => return fault.class,
            }
        }
    });
    assert_eq!(class.await, FaultClass::Gap);
}

pub async fn transactions_come_whole_and_in_commit_order(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let traits = app.traits();
    if traits.concurrent_writers {
        // Begun first, committed last: the commit decides.
        let open = app.hold(vec![insert(&table.name, item(9, "late"))]).await;
        app.run(vec![insert(&table.name, item(1, "a")), insert(&table.name, item(2, "b"))]).await;
        open.commit().await;
    } else {
        app.run(vec![insert(&table.name, item(1, "a")), insert(&table.name, item(2, "b"))]).await;
        app.run(vec![insert(&table.name, item(9, "late"))]).await;
    }
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 3).await;
    let order = ["barrier 1", "insert items 1 a", "insert items 2 b", "insert items 9 late"];
    assert_eq!(say(&events), order);
    if traits.transactions {
        let sizes = events.split_inclusive(|event| matches!(event, Event::Commit(..)));
        let sizes: Vec<_> = sizes.map(|unit| say(unit).len()).filter(|size| *size > 0).collect();
        assert_eq!(sizes, [1, 2, 1]);
    }
}

pub async fn a_large_transaction_ends_with_its_only_commit(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut capture = capture(app, &from).await;
    read_to_barrier(&mut *capture, 1).await;
    let rows = 5_000;
    app.run((0..rows).map(|id| insert(&table.name, item(id, "many"))).collect()).await;
    let events = read_changes(&mut *capture, rows as usize).await;
    let commits = events.iter().filter(|event| matches!(event, Event::Commit(..))).count();
    assert_eq!(commits, 1, "one commit, behind all of it");
    let ids: Vec<_> = (0..rows).map(|id| format!("insert items {id} many")).collect();
    assert_eq!(say(&events), ids);
}

pub async fn an_update_names_the_whole_new_row_or_says_unchanged(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    // Long enough for a database that keeps large values apart, and too random to be packed small.
    let body: String = (0..20_000u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    app.run(vec![insert(&table.name, vec![1.into(), "a".into(), body.as_str().into()])]).await;
    app.run(vec![update(&table.name, 1, vec![("name", "b".into())])]).await;
    app.run(vec![update(&table.name, 1, vec![("name", Value::Null)])]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 3).await;
    let updates: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Change(Change { op: Op::Update { new, .. }, .. }) => Some(new),
            _ => None,
        })
        .collect();
    assert_eq!(updates.len(), 2);
    for new in &updates {
        assert_eq!(new.cell(0), &Cell::Set(1.into()));
        let whole = Cell::Set(body.as_str().into());
        assert!([&whole, &Cell::Unchanged].contains(&new.cell(2)), "neither the value nor unchanged");
    }
    assert_eq!(updates[0].cell(1), &Cell::Set("b".into()));
    assert_eq!(updates[1].cell(1), &Cell::Set(Value::Null), "null is a value");
}

pub async fn a_key_change_names_the_old_key(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    app.run(vec![update(&table.name, 1, vec![("id", 2.into())])]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 2).await;
    assert_eq!(say(&events), ["barrier 1", "insert items 1 a", "update items 1→2 a"]);
}

pub async fn a_delete_names_the_old_key(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    app.run(vec![delete(&table.name, 1)]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 2).await;
    assert_eq!(say(&events), ["barrier 1", "insert items 1 a", "delete items 1"]);
    let Some(Event::Change(change)) = events.iter().rev().find(|e| matches!(e, Event::Change(_))) else {
        panic!("the delete is a change");
    };
    let identity: Vec<_> = change.relation.columns.iter().filter(|column| column.identity).collect();
    assert!(identity.iter().any(|column| &*column.name == "id"), "the key is part of the identity");
}

pub async fn what_was_rolled_back_is_never_seen(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let open = app.hold(vec![insert(&table.name, item(1, "never"))]).await;
    open.rollback().await;
    app.run(vec![insert(&table.name, item(2, "a"))]).await;
    let mut capture = capture(app, &from).await;
    assert_eq!(say(&read_changes(&mut *capture, 1).await), ["barrier 1", "insert items 2 a"]);
}

pub async fn a_barrier_is_seen_once_and_in_its_place(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    enter(&mut *source, std::slice::from_ref(&table.name), 2).await;
    app.run(vec![insert(&table.name, item(2, "b"))]).await;
    let mut first = capture(app, &from).await;
    let events = read_changes(&mut *first, 2).await;
    assert_eq!(say(&events), ["barrier 1", "insert items 1 a", "barrier 2", "insert items 2 b"]);
    drop(first);
    app.run(vec![insert(&table.name, item(3, "c"))]).await;
    let mut second = capture(app, &end(&events)).await;
    assert_eq!(say(&read_changes(&mut *second, 1).await), ["insert items 3 c"]);
}

pub async fn a_table_that_enters_later_joins_the_same_log(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    let other = TestTable { name: app.table("others"), ..items(app) };
    app.create(&other).await;
    let mut capture = capture(app, &from).await;
    app.run(vec![insert(&other.name, item(1, "unheard"))]).await;
    enter(&mut *source, std::slice::from_ref(&other.name), 2).await;
    app.run(vec![insert(&other.name, item(2, "heard")), insert(&table.name, item(1, "a"))]).await;
    let events = read_changes(&mut *capture, 2).await;
    assert_eq!(say(&events), ["barrier 1", "barrier 2", "insert others 2 heard", "insert items 1 a"]);
}

pub async fn a_table_that_left_is_heard_no_more(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    let other = TestTable { name: app.table("others"), ..items(app) };
    app.create(&other).await;
    enter(&mut *source, std::slice::from_ref(&other.name), 2).await;
    insist("leave", async || source.leave(std::slice::from_ref(&other.name)).await).await;
    app.run(vec![insert(&other.name, item(1, "unheard"))]).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    let mut capture = capture(app, &from).await;
    assert_eq!(say(&read_changes(&mut *capture, 1).await), ["barrier 1", "barrier 2", "insert items 1 a"]);
    assert_eq!(source.captured().await.unwrap(), [table.name]);
}

pub async fn with_the_last_table_everything_of_ours_leaves(app: &dyn Fixture) {
    let (table, mut source, from) = with_items(app).await;
    drop(capture(app, &from).await);
    let tables = [table.name.clone(), app.table("never_captured")];
    insist("leave", async || source.leave(&tables).await).await;
    assert_eq!(source.captured().await.unwrap(), []);
    drop(source);
    assert_eq!(app.left_behind().await, Vec::<String>::new());
    app.run(vec![insert(&table.name, item(1, "the app goes on"))]).await;
}

pub async fn entering_again_after_a_crash_is_harmless(app: &dyn Fixture) {
    let (table, first, from) = with_items(app).await;
    app.break_connections().await;
    drop(first);
    let mut source = source(app).await;
    enter(&mut *source, std::slice::from_ref(&table.name), 1).await;
    app.run(vec![insert(&table.name, item(1, "once"))]).await;
    let mut capture = capture(app, &from).await;
    assert_eq!(say(&read_changes(&mut *capture, 1).await), ["barrier 1", "barrier 1", "insert items 1 once"]);
}

pub async fn a_truncate_is_a_truncate(app: &dyn Fixture) {
    if !app.traits().truncate {
        return;
    }
    let (table, _source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a")), Step::Truncate(table.name.clone())]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 2).await;
    assert_eq!(say(&events), ["barrier 1", "insert items 1 a", "truncate items"]);
}

pub async fn a_table_that_has_changed_is_told_with_its_shape(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut capture = capture(app, &from).await;
    app.run(vec![insert(&table.name, item(1, "a"))]).await;
    app.rename_column(&table.name, "name", "called").await;
    app.run(vec![insert(&table.name, item(2, "b"))]).await;
    let seen = read_changes(&mut *capture, 2).await;
    // What was written before keeps the shape that it was written in, however late it is read.
    let told = names(&seen);
    assert!(told[0] == "name" && (told[1] == "called" || !app.traits().exact_shapes), "{told:?}");
    assert_eq!(say(&seen)[1..], ["insert items 1 a", "insert items 2 b"], "no value has another place");
    app.run(vec![insert(&table.name, item(3, "c"))]).await;
    let later = read_changes(&mut *capture, 1).await;
    assert_eq!(
        (names(&later), say(&later)),
        (vec!["called".to_owned()], vec!["insert items 3 c".to_owned()])
    );
}

/// What the second column is called, change by change.
fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Change(change) => Some(change.relation.columns[1].name.to_string()),
        Event::Barrier(_) | Event::Commit(..) | Event::Idle(_) => None,
    };
    events.iter().filter_map(name).collect()
}

pub async fn giving_up_a_wait_loses_nothing(app: &dyn Fixture) {
    let (table, _source, from) = with_items(app).await;
    let mut capture = capture(app, &from).await;
    read_to_barrier(&mut *capture, 1).await;
    let mut said = Vec::new();
    for id in 1..=20i64 {
        app.run(vec![insert(&table.name, item(id, "a"))]).await;
        // The wait is given up at whatever point it has reached.
        let read = tokio::time::timeout(Duration::from_micros(100 * id as u64), capture.next()).await;
        let fragments = read.map_or_else(|_| Vec::new(), |captured| captured.unwrap().fragments);
        let entries = fragments.into_iter().flat_map(|fragment| fragment.entries);
        said.extend(entries.filter_map(|entry| match entry {
            Entry::Change(change) => Some(Event::Change(change)),
            Entry::Barrier(_) => None,
        }));
    }
    if said.len() < 20 {
        let missing = 20 - said.len();
        said.extend(read_changes(&mut *capture, missing).await);
    }
    let all: Vec<_> = (1..=20).map(|id| format!("insert items {id} a")).collect();
    assert_eq!(say(&said), all);
}
