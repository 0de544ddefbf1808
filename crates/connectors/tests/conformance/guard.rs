//! Promises about guards: who is refused what, from when on, and what is left afterwards.

use super::apply::{done, fenced_apply, key, target, upsert, write};
use super::*;
use tandem_core::connect::{Guards, Plan};
use tandem_core::{FaultClass, Guard, Refusal, WallTime, WriteOp};

pub const SINCE: WallTime = WallTime(1_795_334_405_000_000);

pub fn guard(table: &TestTable, map: &str, refuses: Refusal) -> Guard {
    let key = table.key.iter().map(|column| Arc::from(*column)).collect();
    Guard { table: table.name.clone(), map: map.into(), refuses, key, since: SINCE }
}

async fn guards(app: &dyn Fixture) -> Box<dyn Guards> {
    insist("open guards", async || app.connector().open_guards(owner()).await).await
}

async fn arm(guards: &mut dyn Guards, guard: &Guard, barrier: u64) {
    insist("arm", async || guards.arm(guard, BarrierId(barrier)).await).await;
}

async fn disarm(guards: &mut dyn Guards, guard: &Guard) {
    insist("disarm", async || guards.disarm(guard).await).await;
}

/// An app with two items in capture.
async fn with_two_items(app: &dyn Fixture) -> (TestTable, Box<dyn Source>, Position) {
    let (table, source, from) = with_items(app).await;
    app.run(vec![insert(&table.name, item(1, "a")), insert(&table.name, item(2, "b"))]).await;
    (table, source, from)
}

fn delete_one(table: &TestTable) -> Vec<Step> {
    vec![delete(&table.name, 1)]
}

pub async fn deletes_are_refused_and_inserts_and_updates_pass(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    let guard = guard(&table, "my \"items\"", Refusal::Deletes);
    arm(&mut *guards(app).await, &guard, 2).await;
    let told = app.refused(delete_one(&table)).await.expect("a delete is refused");
    for part in ["my \"items\"", "items cannot be deleted", "queued state", "2026-11-22 08:00:05 UTC"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    app.run(vec![insert(&table.name, item(3, "c")), update(&table.name, 1, vec![("name", "new".into())])])
        .await;
    let told = app.refused(vec![insert(&table.name, item(4, "d")), delete(&table.name, 2)]).await;
    assert!(told.is_some(), "a delete is refused wherever it stands in its transaction");
    let ids: Vec<_> = app.rows(&table.name).await.into_iter().map(|row| row[0].to_string()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
}

pub async fn a_change_of_the_key_is_refused_as_a_delete(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    arm(&mut *guards(app).await, &guard(&table, "items", Refusal::Deletes), 2).await;
    let rekey = vec![update(&table.name, 1, vec![("id", 9.into())])];
    let told = app.refused(rekey).await.expect("a change of the key is refused");
    assert!(told.contains("key of") && told.contains("cannot be changed"), "{told}");
    app.run(vec![update(&table.name, 1, vec![("id", 1.into()), ("name", "same key".into())])]).await;
}

pub async fn a_truncate_is_refused(app: &dyn Fixture) {
    if !app.traits().truncate {
        return;
    }
    for refuses in [Refusal::Deletes, Refusal::Writes] {
        let (table, mut source, _from) = with_two_items(app).await;
        arm(&mut *guards(app).await, &guard(&table, "items", refuses), 2).await;
        let told = app.refused(vec![Step::Truncate(table.name.clone())]).await.expect("it is refused");
        assert!(told.contains("items cannot be truncated"), "{told}");
        insist("leave", async || source.leave(std::slice::from_ref(&table.name)).await).await;
        app.run(vec![Step::Truncate(table.name.clone())]).await;
        app.drop_table(&table.name).await;
    }
}

pub async fn a_guard_on_writes_refuses_every_write(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    arm(&mut *guards(app).await, &guard(&table, "items", Refusal::Writes), 2).await;
    let writes = [
        (insert(&table.name, item(3, "c")), "inserted"),
        (update(&table.name, 1, vec![("name", "new".into())]), "updated"),
        (delete(&table.name, 1), "deleted"),
    ];
    for (step, verb) in writes {
        let told = app.refused(vec![step]).await.expect("every write is refused");
        assert!(told.contains(verb) && told.contains("has been full since"), "{told}");
    }
}

pub async fn the_barrier_divides_what_was_deleted_from_what_is_refused(app: &dyn Fixture) {
    let (table, _source, from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    app.run(delete_one(&table)).await;
    let guard = guard(&table, "items", Refusal::Deletes);
    arm(&mut *guards, &guard, 2).await;
    assert!(app.refused(vec![delete(&table.name, 2)]).await.is_some());
    app.run(vec![insert(&table.name, item(3, "c"))]).await;
    disarm(&mut *guards, &guard).await;
    app.run(vec![delete(&table.name, 2)]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 5).await;
    let seen = say(&events);
    let seen: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(
        seen,
        [
            "barrier 1",
            "insert items 1 a",
            "insert items 2 b",
            "delete items 1",
            "barrier 2",
            "insert items 3 c",
            "delete items 2"
        ]
    );
}

pub async fn what_was_begun_before_the_arming_is_refused_or_waited_for(app: &dyn Fixture) {
    let (table, _source, from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    let guard = guard(&table, "items", Refusal::Deletes);
    let open = app.hold(vec![update(&table.name, 1, vec![("name", "open".into())])]).await;
    let waits = match guards.arm(&guard, BarrierId(2)).await {
        Ok(()) => false,
        Err(fault) => {
            assert_eq!(fault.class, FaultClass::Conflict, "{fault}");
            true
        }
    };
    if waits {
        assert_eq!(guards.armed().await.unwrap(), [], "nothing stands half");
        open.commit().await;
        arm(&mut *guards, &guard, 3).await;
    } else {
        open.rollback().await;
    }
    assert!(app.refused(delete_one(&table)).await.is_some());
    let mut capture = capture(app, &from).await;
    read_to_barrier(&mut *capture, if waits { 3 } else { 2 }).await;
}

pub async fn guards_of_several_maps_are_counted(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    let (customers, contacts) =
        (guard(&table, "customers", Refusal::Deletes), guard(&table, "contacts", Refusal::Deletes));
    let full = guard(&table, "contacts", Refusal::Writes);
    for (guard, barrier) in [(&customers, 2), (&contacts, 3), (&full, 4), (&full, 5)] {
        arm(&mut *guards, guard, barrier).await;
    }
    disarm(&mut *guards, &full).await;
    app.run(vec![insert(&table.name, item(3, "c"))]).await;
    disarm(&mut *guards, &customers).await;
    let told = app.refused(delete_one(&table)).await.expect("the other map still refuses");
    assert!(told.contains("contacts"), "{told}");
    assert_eq!(guards.armed().await.unwrap(), std::slice::from_ref(&contacts));
    for _ in 0..2 {
        disarm(&mut *guards, &contacts).await;
    }
    app.run(delete_one(&table)).await;
}

pub async fn arming_again_renews_the_guard(app: &dyn Fixture) {
    let (table, _source, from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    let old = guard(&table, "items", Refusal::Deletes);
    let new = Guard { since: WallTime(0), ..old.clone() };
    arm(&mut *guards, &old, 2).await;
    arm(&mut *guards, &new, 3).await;
    let told = app.refused(delete_one(&table)).await.expect("it is refused");
    assert!(told.contains("1970-01-01 00:00:00 UTC"), "{told}");
    assert_eq!(guards.armed().await.unwrap(), [new]);
    let mut capture = capture(app, &from).await;
    read_to_barrier(&mut *capture, 3).await;
}

pub async fn what_stands_is_found_again_after_a_restart(app: &dyn Fixture) {
    let (table, source, _from) = with_two_items(app).await;
    let standing = [guard(&table, "it's \u{e9}", Refusal::Deletes), guard(&table, "items", Refusal::Writes)];
    let mut first = guards(app).await;
    for (guard, barrier) in standing.iter().zip(2..) {
        arm(&mut *first, guard, barrier).await;
    }
    drop((first, source));
    app.break_connections().await;
    let open = async || app.connector().open_guards(later(owner())).await;
    let mut second = insist("open guards", open).await;
    let mut found = second.armed().await.unwrap();
    found.sort_by_key(|guard| guard.refuses);
    assert_eq!(found, standing);
    for guard in &standing {
        disarm(&mut *second, guard).await;
    }
    assert_eq!(second.armed().await.unwrap(), []);
    app.run(delete_one(&table)).await;
}

pub async fn writes_of_ours_pass(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    let mut apply = fenced_apply(app).await;
    let target = target(&table);
    let rekeyed = || vec![Some(90.into()), Some("a".into()), Some("b".into())];
    let plans = [Plan::Fast, Plan::Exact, Plan::Single];
    let refusals = [Refusal::Deletes, Refusal::Writes, Refusal::Writes];
    for ((plan, refuses), at) in plans.into_iter().zip(refusals).zip([0, 3, 6]) {
        arm(&mut *guards, &guard(&table, "items", refuses), at + 2).await;
        let writes = [
            upsert(at + 1, &target, item(at as i64 + 10, "ours")),
            write(at + 2, &target, WriteOp::Rekey { old: key(1), values: rekeyed() }),
            write(at + 3, &target, WriteOp::Delete(key(2))),
        ];
        done(&mut *apply, (at, at + 3), plan, &writes).await;
        assert!(app.refused(vec![delete(&table.name, 90)]).await.is_some(), "users are still refused");
    }
    let ids: Vec<_> = app.rows(&table.name).await.into_iter().map(|row| row[0].to_string()).collect();
    assert_eq!(ids, ["10", "13", "16", "90"]);
}

pub async fn leaving_capture_takes_the_guards_along(app: &dyn Fixture) {
    let (table, mut source, _from) = with_two_items(app).await;
    let mut guards = guards(app).await;
    for (refuses, barrier) in [(Refusal::Deletes, 2), (Refusal::Writes, 3)] {
        arm(&mut *guards, &guard(&table, "items", refuses), barrier).await;
    }
    insist("leave", async || source.leave(std::slice::from_ref(&table.name)).await).await;
    app.run(delete_one(&table)).await;
    assert_eq!(guards.armed().await.unwrap(), []);
    drop((guards, source));
    assert_eq!(app.left_behind().await, Vec::<String>::new());
}

pub async fn the_last_guard_leaves_nothing_behind(app: &dyn Fixture) {
    let (table, mut source, _from) = with_two_items(app).await;
    let before = app.left_behind().await;
    let mut guards = guards(app).await;
    let guard = guard(&table, "items", Refusal::Deletes);
    arm(&mut *guards, &guard, 2).await;
    assert_ne!(app.left_behind().await, before);
    disarm(&mut *guards, &guard).await;
    assert_eq!(app.left_behind().await, before);
    insist("leave", async || source.leave(std::slice::from_ref(&table.name)).await).await;
}

pub async fn a_table_that_is_not_captured_is_not_guarded(app: &dyn Fixture) {
    let (table, _source, _from) = with_two_items(app).await;
    let other = TestTable { name: app.table("others"), ..items(app) };
    app.create(&other).await;
    let mut guards = guards(app).await;
    for name in [&other.name, &app.table("nowhere")] {
        let guard = Guard { table: name.clone(), ..guard(&table, "items", Refusal::Deletes) };
        let fault = guards.arm(&guard, BarrierId(2)).await.expect_err("there is no log for its barrier");
        assert!(matches!(fault.class, FaultClass::Setup | FaultClass::Schema), "{fault}");
        disarm(&mut *guards, &guard).await;
    }
    assert_eq!(guards.armed().await.unwrap(), []);
    app.run(vec![insert(&other.name, item(1, "free")), delete(&other.name, 1)]).await;
}

pub async fn an_older_start_can_neither_arm_nor_disarm(app: &dyn Fixture) {
    let (table, source, from) = with_two_items(app).await;
    let mut old = guards(app).await;
    let guard = guard(&table, "items", Refusal::Deletes);
    arm(&mut *old, &guard, 2).await;
    drop(source);
    let open = async || app.connector().open_source(later(owner())).await;
    let _source = soon("the next start is let in", async {
        loop {
            match open().await {
                Ok(source) => return source,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    let full = Guard { refuses: Refusal::Writes, ..guard.clone() };
    assert_eq!(old.arm(&full, BarrierId(3)).await.expect_err("it is fenced").class, FaultClass::Fenced);
    assert_eq!(old.disarm(&guard).await.expect_err("it is fenced").class, FaultClass::Fenced);
    let refused = app.connector().open_guards(owner()).await.err().expect("it is not let in again");
    assert_eq!(refused.class, FaultClass::Fenced);
    let open = async || app.connector().open_guards(later(owner())).await;
    let mut new = insist("open guards", open).await;
    assert_eq!(new.armed().await.unwrap(), [guard]);
    drop(from);
}
