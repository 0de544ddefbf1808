//! Promises about who may work on an app.

use super::apply::{advance, begin, target, upsert};
use super::*;
use tandem_core::connect::{Outcome, Part, Plan};
use tandem_core::{FaultClass, LaneId, Seq};

pub async fn a_second_source_is_refused_while_the_first_lives(app: &dyn Fixture) {
    let (_table, first, _from) = with_items(app).await;
    let other = Owner { journal: JournalId(8), epoch: Epoch(1) };
    for second in [owner(), later(owner()), other] {
        let refused = app.connector().open_source(second).await.err().expect("a second owner is refused");
        assert_eq!(refused.class, FaultClass::Fenced);
    }
    drop(first);
    // Letting go may take the app a moment.
    soon("the next start is let in", async {
        while app.connector().open_source(later(owner())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub async fn an_older_start_is_refused_at_the_source(app: &dyn Fixture) {
    let (_table, first, from) = with_items(app).await;
    drop(first);
    app.break_connections().await;
    drop(insist_fenced_off("open source", async || app.connector().open_source(later(owner())).await).await);
    soon("the older start is refused", async {
        loop {
            match app.connector().open_source(owner()).await {
                Ok(_) => panic!("an older start was let in"),
                Err(fault) if fault.class == FaultClass::Fenced => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    let refused = match app.connector().open_capture(owner(), &from).await {
        Ok(mut capture) => capture.next().await.err(),
        Err(fault) => Some(fault),
    };
    assert_eq!(refused.expect("the log is refused too").class, FaultClass::Fenced);
}

/// Tries again while the app has not yet noticed that the one before is gone.
async fn insist_fenced_off<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, tandem_core::Fault>) -> T {
    soon(what, async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

pub async fn an_older_start_can_no_longer_write(app: &dyn Fixture) {
    let table = items(app);
    app.create(&table).await;
    let mut old = apply(app).await;
    old.fence().await.unwrap();
    let mut new = app.connector().open_apply(later(owner()), STREAM).await.unwrap();
    assert_eq!(new.fence().await.unwrap(), []);
    let writes = [upsert(1, &target(&table), item(1, "zombie"))];
    let part = Part { begin: begin(0, true), writes: &writes, plan: Plan::Exact, commit: advance(1) };
    let fault = old.apply(part).await.unwrap_err();
    assert_eq!((fault.fault.class, fault.outcome), (FaultClass::Fenced, Outcome::RolledBack));
    assert_eq!(app.rows(&table.name).await, Vec::<Vec<Value>>::new());
}

pub async fn an_older_start_can_not_fence(app: &dyn Fixture) {
    let mut new = app.connector().open_apply(later(owner()), STREAM).await.unwrap();
    new.fence().await.unwrap();
    let mut old = apply(app).await;
    assert_eq!(old.fence().await.unwrap_err().class, FaultClass::Fenced);
}

pub async fn the_marks_of_another_data_folder_are_returned(app: &dyn Fixture) {
    let other = Owner { journal: JournalId(u128::MAX - 1), epoch: Epoch(5) };
    move_mark(app, other, 40).await;
    let marks = apply(app).await.fence().await.unwrap();
    assert_eq!(marks.len(), 1);
    assert_eq!((marks[0].lane, marks[0].journal, marks[0].epoch), (LaneId(1), other.journal, other.epoch));
    assert_eq!(marks[0].seq, Seq(40));
}

pub async fn another_data_folder_can_not_move_our_watermark(app: &dyn Fixture) {
    move_mark(app, owner(), 40).await;
    let other = Owner { journal: JournalId(8), epoch: Epoch(9) };
    let mut apply = app.connector().open_apply(other, STREAM).await.unwrap();
    apply.fence().await.unwrap();
    for (from, first) in [(40, false), (40, true), (0, true)] {
        let part = Part { begin: begin(from, first), writes: &[], plan: Plan::Exact, commit: advance(41) };
        assert_eq!(apply.apply(part).await.unwrap_err().fault.class, FaultClass::Fenced);
    }
}

async fn move_mark(app: &dyn Fixture, owner: Owner, to: u64) {
    let mut apply = app.connector().open_apply(owner, STREAM).await.unwrap();
    apply.fence().await.unwrap();
    let part = Part { begin: begin(0, true), writes: &[], plan: Plan::Fast, commit: advance(to) };
    apply.apply(part).await.unwrap();
}
