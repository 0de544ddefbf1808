//! What is scripted in the memory app, driven without any runtime: a waker that does nothing, and a loop.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tandem_connectors::memory::{Alter, Call, MemoryApp, Reaction, TableSpec, Verb};
use tandem_core::connect::{Advance, Apply, ApplyFault, Begin, Connector, Outcome, Owner, Part, Plan};
use tandem_core::{
    BarrierId, Entry, Epoch, Fault, FaultClass, Guard, IntegrationKey, JournalId, LaneId, Op, Position,
    Refusal, Seq, TableName, Target, Value, WallTime, Write, WriteOp,
};

/// Polls until the future is done; `None` if it still waits after so many polls.
fn poll_for<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    })
}

fn now<T>(future: impl Future<Output = T>) -> T {
    poll_for(future, 100).expect("nothing is to be waited for")
}

const OWNER: Owner = Owner { journal: JournalId(1), epoch: Epoch(1) };

fn items() -> TableName {
    TableName::parse("items").unwrap()
}

fn app() -> MemoryApp {
    let app = MemoryApp::new();
    app.create_table(TableSpec::new(items(), &["id", "v"], &["id"]));
    app
}

fn row(id: i64, v: &str) -> Vec<Value> {
    vec![id.into(), v.into()]
}

fn write(seq: u64, op: WriteOp) -> Write {
    let target = Target {
        map: "items".into(),
        table: items(),
        columns: vec!["id".into(), "v".into()],
        key: vec![0],
        rank: 0,
        lookups: vec![],
    };
    Write { seq: Seq(seq), transaction: Seq(seq), target: Arc::new(target), op }
}

fn upsert(seq: u64, id: i64) -> Write {
    write(seq, WriteOp::Upsert(row(id, "v")))
}

fn fenced(app: &MemoryApp) -> Box<dyn Apply> {
    let mut apply = now(app.open_apply(OWNER, "a→b")).unwrap();
    now(apply.fence()).unwrap();
    apply
}

fn commit(
    apply: &mut dyn Apply,
    from: u64,
    plan: Plan,
    writes: &[Write],
) -> Result<Vec<(usize, Fault)>, ApplyFault> {
    let begin = Some(Begin { lane: LaneId(1), from: Seq(from), first: from == 0 });
    let to = Seq(writes.last().map_or(from, |write| write.seq.0));
    let commit = Some(Advance { to, position: Position(Bytes::new()) });
    now(apply.apply(Part { begin, writes, plan, commit })).map(|applied| applied.refused)
}

fn mark(app: &MemoryApp) -> Option<Seq> {
    app.marks().first().map(|(_, _, _, seq, _)| *seq)
}

/// Reads what there is: the keys that were inserted.
fn read(app: &MemoryApp, from: &Position) -> Result<(Vec<Value>, Position), Fault> {
    let mut capture = now(app.open_capture(OWNER, from))?;
    let (mut keys, mut at) = (Vec::new(), from.clone());
    while let Some(captured) = poll_for(capture.next(), 10) {
        for fragment in captured?.fragments {
            keys.extend(fragment.entries.iter().filter_map(|entry| match entry {
                Entry::Change(change) => match &change.op {
                    Op::Insert { new } => new.cell(0).value().cloned(),
                    _ => None,
                },
                Entry::Barrier(_) => None,
            }));
            at = fragment.commit.unwrap().position;
        }
    }
    now(capture.acknowledge(&at)).unwrap();
    Ok((keys, at))
}

fn insert(app: &MemoryApp, id: i64) {
    app.transaction(|t| t.insert(&items(), row(id, "v"))).unwrap();
}

fn captured() -> (MemoryApp, Position) {
    let app = app();
    let from = now(now(app.open_source(OWNER)).unwrap().enter(&[items()], BarrierId(1))).unwrap();
    (app, from)
}

#[test]
fn a_lost_reply_took_effect_and_a_lost_request_did_not() {
    for (reaction, effect) in [(Reaction::LoseReply, true), (Reaction::LoseRequest, false)] {
        let app = app();
        let mut apply = fenced(&app);
        app.script(Call::Apply, reaction);
        let failed = commit(&mut *apply, 0, Plan::Fast, &[upsert(1, 1)]).unwrap_err();
        assert_eq!((failed.outcome, failed.fault.class), (Outcome::Unknown, FaultClass::Connection));
        assert_eq!((app.rows(&items()).len() == 1, mark(&app) == Some(Seq(1))), (effect, effect));
        assert!(now(apply.fence()).is_err(), "the connection is broken");
        assert_eq!(now(fenced(&app).fence()).unwrap().len(), usize::from(effect));
    }
}

#[test]
fn an_arming_whose_reply_is_lost_stands_and_one_that_was_never_asked_does_not() {
    for (reaction, stands) in [(Reaction::LoseReply, true), (Reaction::LoseRequest, false)] {
        let (app, from) = captured();
        let guard = Guard {
            table: items(),
            map: "items".into(),
            refuses: Refusal::Writes,
            key: vec!["id".into()],
            since: WallTime(0),
        };
        app.script(Call::Arm, reaction);
        let failed = now(now(app.open_guards(OWNER)).unwrap().arm(&guard, BarrierId(2))).unwrap_err();
        assert_eq!(failed.class, FaultClass::Connection);
        let armed = now(now(app.open_guards(OWNER)).unwrap().armed()).unwrap();
        assert_eq!(armed.len(), usize::from(stands));
        assert_eq!(app.transaction(|t| t.insert(&items(), row(1, "v"))).is_err(), stands);
        let mut capture = now(app.open_capture(OWNER, &from)).unwrap();
        let entries = now(capture.next()).unwrap().fragments.into_iter().flat_map(|f| f.entries);
        assert_eq!(entries.filter(|e| *e == Entry::Barrier(BarrierId(2))).count(), usize::from(stands));
    }
}

#[test]
fn the_nth_call_meets_its_reaction_and_no_other_does() {
    let app = app();
    let mut apply = fenced(&app);
    let busy = Fault::new(FaultClass::Conflict, "write", "deadlock");
    app.script_nth(Call::Apply, 2, Reaction::Refuse(busy.clone()));
    commit(&mut *apply, 0, Plan::Fast, &[upsert(1, 1)]).unwrap();
    assert_eq!(commit(&mut *apply, 1, Plan::Fast, &[upsert(2, 2)]).unwrap_err().fault, busy);
    commit(&mut *apply, 1, Plan::Fast, &[upsert(2, 2)]).unwrap();
    assert_eq!(app.rows(&items()).len(), 2);
}

#[test]
fn a_held_call_waits_until_it_is_released() {
    let app = app();
    let mut apply = fenced(&app);
    app.script(Call::Apply, Reaction::Hold);
    let writes = [upsert(1, 1)];
    let begin = Some(Begin { lane: LaneId(1), from: Seq(0), first: true });
    let advance = Some(Advance { to: Seq(1), position: Position(Bytes::new()) });
    let mut held = pin!(apply.apply(Part { begin, writes: &writes, plan: Plan::Fast, commit: advance }));
    assert!(poll_for(held.as_mut(), 50).is_none());
    assert_eq!((app.held(Call::Apply), mark(&app)), (1, None));
    app.release(Call::Apply);
    assert!(now(held).is_ok());
    assert_eq!((app.held(Call::Apply), mark(&app)), (0, Some(Seq(1))));
}

#[test]
fn a_refused_key_is_refused_and_the_others_stand() {
    let app = app();
    let mut apply = fenced(&app);
    let refused = Fault::new(FaultClass::Application, "write", "a trigger says no");
    let seven = IntegrationKey::from_values(vec![7.into()]);
    let rule = (refused.clone(), seven.clone());
    app.refuse_writes(move |write| {
        let named = match &write.op {
            WriteOp::Upsert(values) => values.first() == rule.1.values().first(),
            WriteOp::Patch { key, .. } | WriteOp::Rekey { old: key, .. } | WriteOp::Delete(key) => {
                *key == rule.1
            }
        };
        named.then(|| rule.0.clone())
    });
    let writes = [upsert(1, 1), upsert(2, 7), upsert(3, 3)];
    assert_eq!(commit(&mut *apply, 0, Plan::Fast, &writes).unwrap_err().write, None);
    assert_eq!(commit(&mut *apply, 0, Plan::Exact, &writes).unwrap_err().write, Some(1));
    assert_eq!(commit(&mut *apply, 0, Plan::Single, &writes).unwrap(), [(1, refused)]);
    app.heal();
    commit(&mut *apply, 3, Plan::Fast, &[write(4, WriteOp::Delete(seven)), upsert(5, 7)]).unwrap();
    assert_eq!(app.rows(&items()).len(), 3);
}

#[test]
fn an_app_that_is_down_keeps_its_users_and_loses_nothing() {
    let (app, from) = captured();
    app.go_down();
    insert(&app, 1);
    assert_eq!(read(&app, &from).unwrap_err().class, FaultClass::Connection);
    app.come_back();
    assert_eq!(read(&app, &from).unwrap().0, [1.into()]);
}

#[test]
fn a_forgotten_acknowledgement_brings_nothing_twice() {
    let (app, from) = captured();
    (1..=5).for_each(|id| insert(&app, id));
    let (_, at) = read(&app, &from).unwrap();
    assert_eq!((app.retained(), read(&app, &from).unwrap_err().class), (0, FaultClass::Gap));
    app.forget_acknowledged(3);
    assert_eq!(app.retained(), 3, "the app would send them again");
    insert(&app, 6);
    assert_eq!(read(&app, &at).unwrap().0, [6.into()], "and we do not take them again");
}

#[test]
fn a_place_in_the_log_that_was_made_anew_is_a_gap() {
    let (app, from) = captured();
    insert(&app, 1);
    app.recreate_slot();
    insert(&app, 2);
    assert_eq!(read(&app, &from).unwrap_err().class, FaultClass::Gap);
}

#[test]
fn an_app_that_was_replaced_is_a_gap() {
    let (app, from) = captured();
    insert(&app, 1);
    let (_, at) = read(&app, &from).unwrap();
    app.replace();
    insert(&app, 2);
    assert_eq!(read(&app, &at).unwrap_err().class, FaultClass::Gap);
}

#[test]
fn a_step_back_takes_data_marks_and_history_together() {
    let app = app();
    app.keep_commits(10);
    app.record_history();
    insert(&app, 100);
    let mut apply = fenced(&app);
    for seq in 1..=5 {
        commit(&mut *apply, seq - 1, Plan::Exact, &[upsert(seq, seq as i64)]).unwrap();
    }
    commit(
        &mut *apply,
        5,
        Plan::Exact,
        &[write(6, WriteOp::Delete(IntegrationKey::from_values(vec![100.into()])))],
    )
    .unwrap();
    assert_eq!(app.step_back(3), 3);
    assert_eq!(mark(&app), Some(Seq(3)));
    assert_eq!(app.rows(&items()).len(), 4, "three of ours, and what we had deleted");
    let history: Vec<_> = app.history().into_iter().map(|effect| (effect.seq.0, effect.verb)).collect();
    assert_eq!(history, [(1, Verb::Upsert), (2, Verb::Upsert), (3, Verb::Upsert)]);
    let mut apply = fenced(&app);
    commit(&mut *apply, 3, Plan::Exact, &[upsert(4, 4)]).unwrap();
}

#[test]
fn a_step_back_behind_what_was_captured_is_a_gap_and_otherwise_none() {
    let (app, from) = captured();
    app.keep_commits(10);
    insert(&app, 1);
    let (_, at) = read(&app, &from).unwrap();
    insert(&app, 2);
    app.step_back(1);
    insert(&app, 3);
    let (keys, at_three) = read(&app, &at).unwrap();
    assert_eq!(keys, [3.into()], "what nobody had seen is simply gone");
    app.step_back(1);
    insert(&app, 4);
    assert_eq!(read(&app, &at_three).unwrap_err().class, FaultClass::Gap);
}

#[test]
fn large_transactions_come_in_pieces_of_which_none_is_lost_between_two_reads() {
    let (app, from) = captured();
    app.set_batch(3, 2);
    app.transaction(|t| (1..=7).for_each(|id| t.insert(&items(), row(id, "v")))).unwrap();
    let mut capture = now(app.open_capture(OWNER, &from)).unwrap();
    let mut pieces = Vec::new();
    while let Some(captured) = poll_for(capture.next(), 10) {
        let sizes = captured.unwrap().fragments.into_iter();
        pieces.extend(sizes.map(|fragment| (fragment.entries.len(), fragment.commit.is_some())));
    }
    assert_eq!(pieces, [(1, true), (2, false), (2, false), (1, false), (2, true)]);
}

#[test]
fn the_log_moves_on_with_nothing_for_us() {
    let (app, from) = captured();
    let other = TableName::parse("others").unwrap();
    app.create_table(TableSpec::new(other.clone(), &["id"], &["id"]));
    let (_, at) = read(&app, &from).unwrap();
    app.transaction(|t| t.insert(&other, vec![1.into()])).unwrap();
    let mut capture = now(app.open_capture(OWNER, &at)).unwrap();
    let captured = now(capture.next()).unwrap();
    assert!(captured.fragments.is_empty());
    let idle = captured.idle.expect("a place to go on from");
    assert_ne!(idle, at);
    now(capture.acknowledge(&idle)).unwrap();
    drop(capture);
    assert_eq!(read(&app, &idle).unwrap().0, []);
}

#[test]
fn an_altered_table_keeps_its_rows_and_refuses_what_would_not_fit() {
    let (app, name) = (MemoryApp::new(), TableName { schema: None, name: "t".into() });
    app.create_table(TableSpec::new(name.clone(), &["id", "v"], &["id"]).typed("v", "int"));
    let alter = |alter| app.alter_table(&name, alter);
    app.transaction(|t| t.insert(&name, vec![Value::Int(1), Value::Int(10)])).unwrap();
    alter(Alter::Rename { from: "v".into(), to: "w".into() }).unwrap();
    alter(Alter::Retype { column: "w".into(), type_name: "text".into() }).unwrap();
    alter(Alter::Add { column: "x".into(), type_name: "any".into(), value: Value::Int(7) }).unwrap();
    assert_eq!(app.rows(&name), [vec![Value::Int(1), "10".into(), Value::Int(7)]]);
    app.transaction(|t| t.insert(&name, vec![Value::Int(2), "no number".into(), Value::Null])).unwrap();
    let refused = alter(Alter::Retype { column: "w".into(), type_name: "int".into() }).unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("invalid_value"));
    assert_eq!(alter(Alter::Drop("id".into())).unwrap_err().code.as_deref(), Some("column_in_key"));
    assert_eq!(app.rows(&name).len(), 2, "what is refused changes nothing");
    alter(Alter::Drop("w".into())).unwrap();
    assert_eq!(app.rows(&name), [[Value::Int(1), Value::Int(7)], [Value::Int(2), Value::Null]]);
}
