//! Promises of destination transactions and their watermark.

use super::*;
use tandem_core::connect::{Advance, Applied, ApplyFault, Begin, Outcome, Part, Plan};
use tandem_core::{Fault, FaultClass, IntegrationKey, LaneId, Mark, Seq, Target, Write, WriteOp};

/// A target that writes all columns of a table, by its key.
pub fn target(table: &TestTable) -> Arc<Target> {
    target_of(table, &table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>(), 0)
}

/// A target that writes some columns of a table.
pub fn target_of(table: &TestTable, columns: &[&str], rank: u32) -> Arc<Target> {
    let place = |key: &&str| columns.iter().position(|column| column == key).expect("the key is written");
    Arc::new(Target {
        map: "items".into(),
        table: table.name.clone(),
        columns: columns.iter().map(|column| Arc::from(*column)).collect(),
        key: table.key.iter().map(place).collect(),
        rank,
        lookups: vec![],
    })
}

pub fn key(id: i64) -> IntegrationKey {
    IntegrationKey::from_values(vec![id.into()])
}

/// A write that is a source transaction of its own.
pub fn write(seq: u64, target: &Arc<Target>, op: WriteOp) -> Write {
    Write { seq: Seq(seq), transaction: Seq(seq), target: target.clone(), op }
}

pub fn upsert(seq: u64, target: &Arc<Target>, values: Vec<Value>) -> Write {
    write(seq, target, WriteOp::Upsert(values))
}

pub fn begin(from: u64, first: bool) -> Option<Begin> {
    Some(Begin { lane: LaneId(1), from: Seq(from), first })
}

pub fn advance(to: u64) -> Option<Advance> {
    Some(Advance { to: Seq(to), position: position("somewhere in the source") })
}

/// Does writes as one whole transaction that moves the watermark from one Seq to another; again if something
/// was in the way.
pub async fn do_writes(
    apply: &mut dyn Apply,
    seqs: (u64, u64),
    plan: Plan,
    writes: &[Write],
) -> Result<Applied, ApplyFault> {
    soon("the writes are done or refused", async {
        loop {
            let (begin, commit) = (begin(seqs.0, seqs.0 == 0), advance(seqs.1));
            match apply.apply(Part { begin, writes, plan, commit }).await {
                Err(failed) if failed.fault.class == FaultClass::Conflict => {
                    assert_eq!(failed.outcome, Outcome::RolledBack);
                    tokio::task::yield_now().await;
                }
                done => return done,
            }
        }
    })
    .await
}

/// As [`do_writes`], and they must be done.
pub async fn done(apply: &mut dyn Apply, seqs: (u64, u64), plan: Plan, writes: &[Write]) {
    let applied = do_writes(apply, seqs, plan, writes).await.expect("the writes are valid");
    assert_eq!(applied, Applied::default());
}

pub async fn fenced_apply(app: &dyn Fixture) -> Box<dyn Apply> {
    let mut apply = apply(app).await;
    insist("fence", async || apply.fence().await.map(drop)).await;
    apply
}

async fn with_table(app: &dyn Fixture) -> (TestTable, Arc<Target>, Box<dyn Apply>) {
    let table = items(app);
    app.create(&table).await;
    (table.clone(), target(&table), fenced_apply(app).await)
}

const PLANS: [Plan; 3] = [Plan::Fast, Plan::Exact, Plan::Single];

pub async fn an_upsert_makes_the_record_so_and_leaves_other_columns(app: &dyn Fixture) {
    let (table, _, mut apply) = with_table(app).await;
    let names_only = target_of(&table, &["id", "name"], 0);
    app.run(vec![insert(&table.name, item(1, "old"))]).await;
    for (n, plan) in PLANS.into_iter().enumerate() {
        let (from, name) = (2 * n as u64, format!("new {n}"));
        let writes = [
            upsert(from + 1, &names_only, vec![1.into(), name.as_str().into()]),
            upsert(from + 2, &names_only, vec![(10 + n as i64).into(), "made".into()]),
        ];
        done(&mut *apply, (from, from + 2), plan, &writes).await;
        let rows = app.rows(&table.name).await;
        assert_eq!(rows[0], [1.into(), name.as_str().into(), "body".into()], "{plan:?}");
        assert_eq!(rows[n + 1], [(10 + n as i64).into(), "made".into(), Value::Null], "{plan:?}");
    }
}

pub async fn a_patch_changes_only_what_it_names(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    app.run(vec![insert(&table.name, item(1, "old"))]).await;
    for (n, plan) in PLANS.into_iter().enumerate() {
        let values = vec![None, Some(format!("{n}").as_str().into()), None];
        let patch = write(n as u64 + 1, &target, WriteOp::Patch { key: key(1), values });
        done(&mut *apply, (n as u64, n as u64 + 1), plan, &[patch]).await;
        assert_eq!(app.rows(&table.name).await, [item(1, &format!("{n}"))]);
    }
}

pub async fn a_patch_without_its_record_is_refused(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    let values = vec![None, Some("b".into()), None];
    let writes =
        [upsert(1, &target, item(1, "a")), write(2, &target, WriteOp::Patch { key: key(2), values })];
    for plan in [Plan::Fast, Plan::Exact] {
        let failed = do_writes(&mut *apply, (0, 2), plan, &writes).await.unwrap_err();
        assert_eq!((failed.fault.class, failed.outcome), (FaultClass::Application, Outcome::RolledBack));
        if plan == Plan::Exact {
            assert_eq!(failed.write, Some(1));
        }
    }
    assert_eq!(app.rows(&table.name).await, Vec::<Vec<Value>>::new());
}

pub async fn a_rekey_moves_the_record_or_makes_it(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    app.run(vec![insert(&table.name, item(1, "old"))]).await;
    let values = vec![Some(2.into()), Some("new".into()), None];
    let moved = write(1, &target, WriteOp::Rekey { old: key(1), values: values.clone() });
    done(&mut *apply, (0, 1), Plan::Exact, &[moved]).await;
    assert_eq!(app.rows(&table.name).await, [item(2, "new")]);
    let whole = item(3, "made").into_iter().map(Some).collect();
    let made = write(2, &target, WriteOp::Rekey { old: key(7), values: whole });
    done(&mut *apply, (1, 2), Plan::Exact, &[made]).await;
    assert_eq!(app.rows(&table.name).await, [item(2, "new"), item(3, "made")]);
    let partial = write(3, &target, WriteOp::Rekey { old: key(8), values });
    let failed = do_writes(&mut *apply, (2, 3), Plan::Exact, &[partial]).await.unwrap_err();
    assert_eq!(failed.fault.class, FaultClass::Application, "nothing to make it of");
}

pub async fn a_delete_of_what_is_gone_is_done(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    app.run(vec![insert(&table.name, item(1, "a")), insert(&table.name, item(2, "b"))]).await;
    for (n, plan) in PLANS.into_iter().enumerate() {
        let gone = write(n as u64 + 1, &target, WriteOp::Delete(key(1)));
        done(&mut *apply, (n as u64, n as u64 + 1), plan, &[gone]).await;
        assert_eq!(app.rows(&table.name).await, [item(2, "b")]);
    }
}

pub async fn a_watermark_that_is_elsewhere_refuses_the_transaction(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    done(&mut *apply, (0, 5), Plan::Exact, &[upsert(5, &target, item(1, "a"))]).await;
    for (from, first) in [(0, true), (4, false), (6, false)] {
        let writes = [upsert(7, &target, item(2, "b"))];
        let part = Part { begin: begin(from, first), writes: &writes, plan: Plan::Fast, commit: advance(7) };
        let failed = apply.apply(part).await.unwrap_err();
        assert_eq!((failed.fault.class, failed.outcome), (FaultClass::Fenced, Outcome::RolledBack));
    }
    let missing = Begin { lane: LaneId(2), from: Seq(0), first: false };
    let part = Part { begin: Some(missing), writes: &[], plan: Plan::Fast, commit: advance(7) };
    assert_eq!(apply.apply(part).await.unwrap_err().fault.class, FaultClass::Fenced);
    assert_eq!(app.rows(&table.name).await, [item(1, "a")]);
}

pub async fn a_first_transaction_makes_the_watermark_at_its_start(app: &dyn Fixture) {
    let (_, target, mut apply) = with_table(app).await;
    let from = Begin { lane: LaneId(3), from: Seq(100), first: true };
    let writes = [upsert(101, &target, item(1, "a"))];
    let part = Part { begin: Some(from), writes: &writes, plan: Plan::Exact, commit: advance(101) };
    apply.apply(part).await.unwrap();
    // A repeated first transaction finds the watermark where it stands.
    let again = Part { begin: Some(from), writes: &writes, plan: Plan::Exact, commit: advance(101) };
    assert_eq!(apply.apply(again).await.unwrap_err().fault.class, FaultClass::Fenced);
    let marks = apply.fence().await.unwrap();
    assert_eq!(marks.iter().map(|mark| (mark.lane, mark.seq)).collect::<Vec<_>>(), [(LaneId(3), Seq(101))]);
    assert_eq!((marks[0].journal, marks[0].epoch), (owner().journal, owner().epoch));
}

pub async fn several_parts_are_one_transaction(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    let writes: Vec<_> = (1..=3).map(|id| upsert(id as u64, &target, item(id, "a"))).collect();
    let parts = [(begin(0, true), None), (None, None), (None, advance(3))];
    for (write, (begin, commit)) in writes.chunks(1).zip(parts) {
        assert_eq!(app.rows(&table.name).await.len(), 0, "nothing is seen before the commit");
        apply.apply(Part { begin, writes: write, plan: Plan::Exact, commit }).await.unwrap();
    }
    assert_eq!(app.rows(&table.name).await.len(), 3);
    assert_eq!(apply.fence().await.unwrap()[0].seq, Seq(3));
}

pub async fn a_rollback_keeps_nothing(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    apply.rollback().await.expect("without a transaction there is nothing to do");
    let writes = [upsert(1, &target, item(1, "a"))];
    apply
        .apply(Part { begin: begin(0, true), writes: &writes, plan: Plan::Exact, commit: None })
        .await
        .unwrap();
    apply.rollback().await.unwrap();
    assert_eq!(app.rows(&table.name).await.len(), 0);
    done(&mut *apply, (0, 1), Plan::Exact, &writes).await;
    assert_eq!(app.rows(&table.name).await.len(), 1);
}

pub async fn a_broken_connection_keeps_nothing_of_an_open_transaction(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    done(&mut *apply, (0, 1), Plan::Exact, &[upsert(1, &target, item(1, "a"))]).await;
    let writes = [upsert(2, &target, item(2, "b"))];
    apply
        .apply(Part { begin: begin(1, false), writes: &writes, plan: Plan::Exact, commit: None })
        .await
        .unwrap();
    if app.can_break() {
        app.break_connections().await;
        let part = Part { begin: None, writes: &[], plan: Plan::Exact, commit: advance(2) };
        let failed = apply.apply(part).await.unwrap_err();
        assert!(failed.fault.class.breaks_connection(), "{}", failed.fault);
    }
    drop(apply);
    assert_eq!(watermark(app).await, Some(Seq(1)));
    assert_eq!(app.rows(&table.name).await, [item(1, "a")]);
}

/// Whatever a commit answered around a broken connection: the watermark says what is true.
pub async fn after_a_lost_commit_the_watermark_tells(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    let mut seq = 0;
    for round in 0..10i64 {
        let writes = [upsert(seq + 1, &target, item(round, "a"))];
        let part = Part {
            begin: begin(seq, seq == 0),
            writes: &writes,
            plan: Plan::Exact,
            commit: advance(seq + 1),
        };
        let (answer, ()) = tokio::join!(apply.apply(part), async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            app.break_connections().await;
        });
        let known = match answer {
            Ok(_) => Some(true),
            Err(failed) if failed.outcome == Outcome::RolledBack => Some(false),
            Err(_) => None,
        };
        apply = fenced_apply(app).await;
        let took = watermark(app).await.unwrap_or(Seq(seq)) == Seq(seq + 1);
        assert!(known.is_none_or(|known| known == took), "round {round}: said {known:?}, was {took}");
        let there = app.rows(&table.name).await.contains(&item(round, "a"));
        assert_eq!(took, there, "round {round}: data and watermark commit together");
        seq += u64::from(took);
    }
}

async fn watermark(app: &dyn Fixture) -> Option<Seq> {
    insist("read the watermark", async || -> Result<_, Fault> {
        let mut apply = app.connector().open_apply(owner(), STREAM).await?;
        Ok(apply.fence().await?.first().map(|mark| mark.seq))
    })
    .await
}

pub async fn a_retired_lane_is_gone_and_the_last_takes_everything(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    done(&mut *apply, (0, 1), Plan::Exact, &[upsert(1, &target, item(1, "a"))]).await;
    let second = Begin { lane: LaneId(2), from: Seq(1), first: true };
    let part = Part { begin: Some(second), writes: &[], plan: Plan::Exact, commit: advance(2) };
    apply.apply(part).await.unwrap();
    insist("retire", async || apply.retire(&[LaneId(1)]).await).await;
    let marks = apply.fence().await.unwrap();
    assert_eq!(marks.iter().map(|mark| (mark.lane, mark.seq)).collect::<Vec<_>>(), [(LaneId(2), Seq(2))]);
    insist("retire", async || apply.retire(&[LaneId(2), LaneId(9)]).await).await;
    drop(apply);
    assert_eq!(app.left_behind().await, Vec::<String>::new());
    assert_eq!(app.rows(&table.name).await, [item(1, "a")], "the app's records stay");
}

/// Who stops what never ran must not take away by what another data folder knows where it is.
pub async fn the_watermark_of_another_data_folder_is_not_retired(app: &dyn Fixture) {
    let (table, target, mut apply) = with_table(app).await;
    done(&mut *apply, (0, 1), Plan::Exact, &[upsert(1, &target, item(1, "a"))]).await;
    let stranger = Owner { journal: JournalId(8), epoch: Epoch(1) };
    insist("retire as another", async || -> Result<_, Fault> {
        let mut other = app.connector().open_apply(stranger, STREAM).await?;
        let marks = other.fence().await?;
        assert_eq!(marks.iter().map(|mark| mark.journal).collect::<Vec<_>>(), [owner().journal]);
        other.retire(&[LaneId(1), LaneId(2)]).await
    })
    .await;
    done(&mut *apply, (1, 2), Plan::Exact, &[upsert(2, &target, item(2, "b"))]).await;
    insist("retire", async || apply.retire(&[LaneId(1)]).await).await;
    drop(apply);
    assert_eq!(app.left_behind().await, Vec::<String>::new());
    assert_eq!(app.rows(&table.name).await.len(), 2);
}

pub async fn a_transaction_of_ours_carries_its_mark(app: &dyn Fixture) {
    if !app.traits().marks {
        return;
    }
    let (table, _source, from) = with_items(app).await;
    let (mut apply, target) = (fenced_apply(app).await, target(&table));
    done(&mut *apply, (0, 4), Plan::Exact, &[upsert(4, &target, item(1, "ours"))]).await;
    apply.set_note("3 7".into());
    done(&mut *apply, (4, 5), Plan::Fast, &[upsert(5, &target, item(3, "noted"))]).await;
    // Nothing is written, and it is known all the same how far it went.
    done(&mut *apply, (5, 9), Plan::Fast, &[]).await;
    app.run(vec![insert(&table.name, item(2, "a user's"))]).await;
    let mut capture = capture(app, &from).await;
    let events = read_changes(&mut *capture, 3).await;
    let marked = |text: &str| {
        let at = say(&events[..]).len().min(events.len());
        let change = events.iter().position(|event| say(std::slice::from_ref(event)) == [text]);
        let behind = events.get(change.expect("it was captured")..).unwrap_or_default();
        let commit = behind.iter().find_map(|event| match event {
            Event::Commit(_, mark) => Some(mark.clone()),
            _ => None,
        });
        assert!(at > 0);
        commit.expect("it was committed")
    };
    let mark = |seq, note: &str| Some(Mark { stream: STREAM.into(), seq: Seq(seq), note: note.into() });
    assert_eq!(marked("insert items 1 ours"), mark(4, ""));
    assert_eq!(marked("insert items 3 noted"), mark(5, "3 7"));
    assert_eq!(marked("insert items 2 a user's"), None);
    let empty =
        events.iter().any(|event| matches!(event, Event::Commit(_, found) if *found == mark(9, "3 7")));
    assert!(empty, "a transaction that wrote nothing left its mark");
}
