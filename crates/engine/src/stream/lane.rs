//! One lane on its way: read, project, apply, until it is told to stop.
//!
//! A run owns its reader and its connection, and holds nothing that others need: whoever wants to change who is in
//! a lane stops the run first, and finds it at a committed Seq. A run that is dropped instead (its destination does
//! not answer) leaves its last COMMIT unknown; [`Progress`] says so.
//!
//! Dropping is safe at every await: nothing is counted as settled before the destination has said so.

use super::batch::{Batch, KeptRange, Member, Unfit};
use super::bucket::{Bucket, at_once};
use super::copying::Copying;
use super::feed::{ErrorFeed, Feed};
use super::journal::JournalHandle;
use super::outcome::{Outcomes, Tally};
use super::pace::Pace;
use super::plan::ByClass;
use super::putting_off::{Changes, Needed, Relative};
use super::trial::Trial;
use crate::durations::Durations;
use crate::env::Env;
use crate::failpoint::FailPoint;
use crate::journal::{JournalError, Piece, PieceEnd};
use crate::store::{Awaiting, FlowId, Record, Store};
use crate::two_way::NoteKind;
use futures_util::future::{join, select_all};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Advance, Applied, Apply, Begin, Outcome, Part, Plan};
use tandem_core::{Fault, FaultClass, LaneId, Position, Seq};
use tokio::sync::watch;

/// A source transaction with more records than this is applied in several destination transactions: one that holds
/// its locks for minutes is worse than one that is visible in parts.
pub(super) const WHOLE_TRANSACTION_RECORDS_MAX: u64 = 1_000_000;

/// What every run of a stream needs.
pub(crate) struct LaneContext {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) store: Arc<dyn Store>,
    pub(super) journal: Arc<JournalHandle>,
    /// How many records of one map may wait for others.
    pub(super) put_off_max: u64,
    /// How long the destination takes for what it is given at once.
    pub(super) applies: Arc<Durations>,
}

/// What a run is told while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders {
    /// End at the next committed Seq.
    pub(super) stop: bool,
    /// Go no further than this, and end there.
    pub(super) until: Option<Seq>,
}

/// On what terms a lane moves, as long as a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The most records a second.
    pub(super) cap: Option<NonZeroU32>,
    /// Whether it joins the lane that it meets. If not it stays behind that one: they move at different paces.
    pub(super) joins: bool,
}

/// How far a run has come, for those who watch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Settled up to here.
    pub(crate) cursor: Seq,
    /// The watermark that the destination has.
    pub(super) marked: Option<Seq>,
    /// A COMMIT is on its way whose outcome is not known yet.
    pub(super) in_doubt: bool,
    /// The largest COMMIT that may have taken effect.
    pub(super) tried: Seq,
    /// What became of the changes up to here, per flow, since the engine started. Of a lane that tries errors again:
    /// all under its own number.
    pub(super) outcomes: BTreeMap<FlowId, Outcomes>,
    /// Changes noted as errors, per flow, since the engine started; again if they were not committed and tried anew.
    pub(super) refused: BTreeMap<FlowId, ByClass>,
}

impl Progress {
    /// Takes in what was settled, by flow.
    fn count(&mut self, settled: &BTreeMap<FlowId, Outcomes>, retry: Option<FlowId>) {
        for (flow, outcomes) in settled {
            self.outcomes.entry(retry.unwrap_or(*flow)).or_default().add_all(outcomes);
        }
    }
}

/// Why a run ended.
#[derive(Debug)]
pub(crate) enum LaneEnd {
    /// It was told to.
    Stopped,
    /// It stands at the Seq that it was to reach.
    Reached,
    /// It stands where a lane stands that it must not overtake.
    Met,
    /// The destination stands in the way.
    Failed(LaneFault),
    /// The journal cannot be read: nothing may be skipped, so nothing goes on.
    Unreadable(JournalError),
    /// The store failed: what cannot be remembered may not be committed.
    Forgetful(crate::store::StoreError),
}

/// A fault in a lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LaneFault {
    pub(crate) fault: Fault,
    /// The flows that it is about; empty if it is about the destination as a whole.
    pub(super) flows: BTreeSet<FlowId>,
    /// The connection is of no more use.
    pub(crate) broken: bool,
    /// The write at which it stopped, by its place in the part, if the destination says so.
    pub(super) write: Option<usize>,
    /// When the attempt began that ended so: a lock may have been waited for since.
    pub(super) since: Duration,
}

/// A lane that is being moved.
pub(crate) struct LaneRun {
    pub(crate) context: Arc<LaneContext>,
    pub(crate) lane: LaneId,
    pub(crate) members: BTreeMap<FlowId, Member>,
    /// For members with related flows outside of this lane: how far the last of those has come. A foreign key that
    /// refuses a record beyond that may be right, and waiting mends it; one at or before it nobody will mend.
    pub(super) others_at: BTreeMap<FlowId, Seq>,
    /// Set if it tries errors again, instead of following the journal.
    pub(crate) retry: Option<RetryRun>,
    /// `None` for a lane without members, which writes nothing.
    pub(crate) apply: Option<Box<dyn Apply>>,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) durable: watch::Receiver<Seq>,
    /// The flows of the stream that members are related to, by member.
    pub(super) relatives: BTreeMap<FlowId, Vec<Relative>>,
    /// What waited for maps when the batch was begun with.
    pub(super) awaiting: BTreeMap<FlowId, Awaiting>,
    /// How far the lanes have come that this one must not overtake: the live lane, and those of flows that its
    /// members depend on. Empty for the live lane.
    pub(super) leaders: Vec<watch::Receiver<Progress>>,
    pub(crate) progress: watch::Sender<Progress>,
    /// Told when a window of an initial sync waits.
    pub(super) desks: Vec<watch::Receiver<u64>>,
    pub(super) terms: Terms,
    /// What is still to be paid for under the cap.
    pub(super) bucket: Bucket,
    pub(super) trial: Trial,
    /// What was read and is not settled.
    pub(crate) tally: Tally,
    pub(super) copying: Copying,
    /// The source's position where the lane stands, as far as this run knows it.
    pub(crate) position: Position,
    /// When the batch that is being applied was begun with.
    pub(crate) began: Duration,
}

/// A lane that tries errors again.
#[derive(Debug, Clone)]
pub(crate) struct RetryRun {
    /// The number under which they were chosen.
    pub(super) retry: FlowId,
    /// Preserved queues that are part of it.
    pub(super) kept: Vec<KeptRange>,
}

impl LaneRun {
    /// Moves the lane until something ends it.
    pub(super) async fn run(&mut self) -> LaneEnd {
        if let Err(error) = self.forget_uncommitted() {
            return LaneEnd::Forgetful(error);
        }
        let mut reader = match self.reader() {
            Ok(reader) => reader,
            Err(error) => return LaneEnd::Unreadable(error),
        };
        let kind = if self.retry.is_some() { NoteKind::Retry } else { NoteKind::Journal };
        let note = self.note(kind);
        self.set_note(&note);
        let mut pace = Pace::default();
        // What was read while the destination worked on the piece before it.
        let mut ahead: Option<Piece> = None;
        loop {
            let orders = *self.orders.borrow_and_update();
            let durable = *self.durable.borrow_and_update();
            self.desks.iter_mut().for_each(|desk| drop(desk.borrow_and_update()));
            let led = self.leaders.iter_mut().map(|leader| leader.borrow_and_update().cursor).min();
            let cursor = self.progress.borrow().cursor;
            if orders.stop {
                return LaneEnd::Stopped;
            }
            if orders.until.is_some_and(|until| cursor >= until) {
                return LaneEnd::Reached;
            }
            if let Err(end) = self.restore().await {
                return end;
            }
            // Who is about to join another lane holds that one up.
            if orders.until.is_none()
                && let Some((flow, desk, window, done)) = self.window_due()
            {
                match self.write_window(flow, &desk, &window, done).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                }
            }
            let bound = orders.until.unwrap_or(durable).min(led.unwrap_or(durable)).min(durable);
            if bound <= cursor {
                if led == Some(cursor) && orders.until.is_none() && self.terms.joins {
                    return LaneEnd::Met;
                }
                self.wait().await;
                continue;
            }
            if self.members.is_empty() {
                self.pass(bound);
                continue;
            }
            // Who is about to join another lane holds that one up, and does not wait.
            if let Some(wait) = self.bucket.wait(self.context.env.now())
                && self.terms.cap.is_some()
                && orders.until.is_none()
            {
                self.wait_for(wait).await;
                continue;
            }
            let mut limit = pace.limit(bound);
            if let Some(cap) = self.terms.cap.filter(|_| self.retry.is_some()) {
                limit.records = limit.records.min(at_once(cap));
            }
            let piece = match ahead.take() {
                Some(piece) if piece.through <= bound => Ok(piece),
                // Read under a bound that has been drawn nearer since.
                Some(_) => match self.reader() {
                    Ok(anew) => {
                        reader = anew;
                        reader.next(limit)
                    }
                    Err(error) => Err(error),
                },
                None => reader.next(limit),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return LaneEnd::Unreadable(error),
            };
            tracing::trace!(lane = %self.lane, %cursor, %bound, through = %piece.through, records = piece.records.len(), end = ?piece.end, "piece");
            if matches!(piece.end, PieceEnd::Head) {
                self.wait().await;
                continue;
            }
            // Under a cap nothing is read ahead: it may not be its turn for long.
            let behind = piece.through < bound && self.terms.cap.is_none();
            self.pay_for(piece.records.len());
            let batch =
                Batch::project(piece, &mut self.members, self.position.clone(), self.context.env.wall());
            self.position = batch.position();
            self.began = self.context.env.now();
            match batch.end {
                PieceEnd::Open => match self.apply_large(reader, batch).await {
                    Ok(next) => reader = next,
                    Err(end) => return end,
                },
                PieceEnd::Whole { .. } | PieceEnd::Head => {
                    let began = self.began;
                    let next = || reader.next(pace.limit(bound));
                    let (applied, read) = read_beside(self.apply_closed(batch), behind, next).await;
                    if let Err(end) = applied {
                        return end;
                    }
                    pace.applied(behind, self.context.env.now().saturating_sub(began));
                    match read {
                        Ok(piece) => ahead = piece.filter(|piece| !matches!(piece.end, PieceEnd::Head)),
                        Err(error) => return LaneEnd::Unreadable(error),
                    }
                }
            }
        }
    }

    /// What there is to do behind everything that is settled.
    pub(super) fn reader(&self) -> Result<Feed, JournalError> {
        let cursor = self.progress.borrow().cursor;
        if let Some(RetryRun { retry, kept }) = self.retry.clone() {
            let records = self.context.journal.with(|journal| journal.records().clone());
            let store = self.context.store.clone();
            return Ok(Feed::Errors(ErrorFeed { store, records, retry, kept, through: cursor }));
        }
        let members = self.members.values().map(|member| (member.flow.flow, member.from)).collect();
        let mut reader = self.context.journal.with(|journal| journal.reader(members, cursor));
        if let Some(cap) = self.terms.cap {
            reader.put_together(at_once(cap));
        }
        Ok(Feed::Journal(Box::new(reader)))
    }

    pub(super) fn pay_for(&mut self, records: usize) {
        if let Some(cap) = self.terms.cap {
            self.bucket.take(records, cap, self.context.env.now());
        }
    }

    /// Waits for a time, or for another order.
    async fn wait_for(&mut self, time: Duration) {
        let sleep = self.context.env.sleep(time);
        tokio::select! {
            biased;
            () = moved(&mut self.orders) => {}
            () = sleep => {}
        }
    }

    async fn wait(&mut self) {
        let Self { orders, durable, leaders, desks, .. } = self;
        let desk_changed = async {
            if desks.is_empty() {
                std::future::pending::<()>().await;
            }
            let _ = select_all(desks.iter_mut().map(|desk| Box::pin(moved(desk)))).await;
        };
        let leader_moved = async {
            if leaders.is_empty() {
                std::future::pending::<()>().await;
            }
            let _ = select_all(leaders.iter_mut().map(|leader| Box::pin(moved(leader)))).await;
        };
        tokio::select! {
            biased;
            () = moved(orders) => {}
            () = moved(durable) => {}
            () = leader_moved => {}
            () = desk_changed => {}
        }
    }

    /// Settles everything up to `through`, in which nothing was for a member.
    pub(super) fn pass(&mut self, through: Seq) {
        let (settled, retry) = (self.tally.settle(through), self.retry_number());
        self.progress.send_modify(|progress| {
            progress.cursor = through.max(progress.cursor);
            progress.count(&settled, retry);
        });
    }

    fn retry_number(&self) -> Option<FlowId> {
        self.retry.as_ref().map(|retry| retry.retry)
    }

    /// Applies a batch that ends where a source transaction does.
    async fn apply_closed(&mut self, mut batch: Batch) -> Result<(), LaneEnd> {
        let unfit = batch.unfit.take();
        self.apply_fitting(batch).await?;
        match unfit {
            Some(unfit) => Err(self.has_unfit(unfit)),
            None => Ok(()),
        }
    }

    async fn apply_fitting(&mut self, mut batch: Batch) -> Result<(), LaneEnd> {
        self.tally.clear();
        self.tally.read(&mut batch.changes);
        if batch.writes.is_empty() && batch.refused.is_empty() {
            self.pass(batch.through);
            return Ok(());
        }
        self.look_what_waits().map_err(LaneEnd::Forgetful)?;
        match self.needed(&batch) {
            Needed::PutOff(changes) => self.settle_batch(&mut batch, &changes).await,
            Needed::From(place, changes) => {
                match batch.before(place) {
                    Ok(mut before) => self.settle_batch(&mut before, &changes).await?,
                    Err(through) => self.pass(through),
                }
                Err(self.must_wait(&batch, place))
            }
        }
    }

    /// The next record has a shape that its flow was not resolved for: nothing of it is written as it is mapped now.
    pub(super) fn has_unfit(&self, unfit: Unfit) -> LaneEnd {
        LaneEnd::Failed(self.fault(unfit.fault, BTreeSet::from([unfit.flow])))
    }

    async fn settle_batch(&mut self, batch: &mut Batch, put_off: &Changes) -> Result<(), LaneEnd> {
        self.set_aside(&batch.refused).await?;
        self.look_again_at_moved(batch).map_err(LaneEnd::Forgetful)?;
        self.try_batch(batch, put_off).await?;
        if let Some(RetryRun { retry, .. }) = self.retry {
            let done = Record::Retried { retry, through: batch.through };
            self.context.store.save(&[done]).map_err(LaneEnd::Forgetful)?;
        }
        Ok(())
    }

    /// How the next destination transaction begins.
    pub(crate) fn begin(&self) -> Begin {
        let progress = self.progress.borrow();
        Begin {
            lane: self.lane,
            from: progress.marked.unwrap_or(progress.cursor),
            first: progress.marked.is_none(),
        }
    }

    /// Does one part at the destination, and keeps the progress true whatever comes of it. Returns what a single
    /// plan refused.
    pub(crate) async fn part(
        &mut self,
        begin: Option<Begin>,
        writes: &[tandem_core::Write],
        plan: Plan,
        commit: Option<Advance>,
    ) -> Result<Vec<(usize, Fault)>, LaneFault> {
        self.parts(begin, writes, plan, commit).await.map(|applied| applied.refused)
    }

    /// The same, with all that came of it.
    pub(super) async fn parts(
        &mut self,
        begin: Option<Begin>,
        writes: &[tandem_core::Write],
        plan: Plan,
        commit: Option<Advance>,
    ) -> Result<Applied, LaneFault> {
        let to = commit.as_ref().map(|advance| advance.to);
        let Some(apply) = &mut self.apply else {
            let fault = Fault::new(FaultClass::Internal, "apply", "the lane has no connection");
            return Err(LaneFault {
                fault,
                flows: BTreeSet::new(),
                broken: true,
                write: None,
                since: self.began,
            });
        };
        if let Some(to) = to {
            self.progress.send_modify(|progress| {
                progress.in_doubt = true;
                progress.tried = to.max(progress.tried);
            });
        }
        if to.is_some() {
            FailPoint::CommitUnsent.pass();
            FailPoint::CommitInFlight.pass_soon();
        }
        let asked = self.context.env.now();
        let applied = apply.apply(Part { begin, writes, plan, commit }).await;
        self.context.applies.note(self.context.env.now().saturating_sub(asked));
        if to.is_some() && applied.is_ok() {
            FailPoint::CommitUnnoted.pass();
        }
        let outcome = applied.as_ref().err().map(|failed| failed.outcome);
        let settled = to.filter(|_| outcome.is_none()).map(|to| self.tally.settle(to)).unwrap_or_default();
        let retry = self.retry_number();
        self.progress.send_modify(|progress| match (to, outcome) {
            (Some(to), None) => {
                progress.in_doubt = false;
                progress.cursor = to;
                progress.marked = Some(to);
                progress.count(&settled, retry);
            }
            (Some(_), Some(Outcome::RolledBack)) => progress.in_doubt = false,
            (Some(_), Some(Outcome::Unknown)) | (None, _) => {}
        });
        if let Some(to) = to.filter(|_| outcome.is_none()) {
            // A batch may be committed in parts, and be noted of as a whole.
            self.trial.noted = self.trial.noted.filter(|last| *last > to);
            self.trial.left_out.clear();
        }
        match applied {
            Ok(applied) => Ok(applied),
            Err(failed) => {
                let broken = failed.outcome == Outcome::Unknown || failed.fault.class.breaks_connection();
                let blamed = failed.write.and_then(|place| writes.get(place));
                let table = failed.fault.table.as_deref();
                let flows = self
                    .members
                    .values()
                    .filter(|member| match blamed {
                        Some(write) => Arc::ptr_eq(&member.flow.target, &write.target),
                        None => table.is_some_and(|table| names(table, member)),
                    })
                    .map(|member| member.flow.flow)
                    .collect();
                Err(LaneFault { fault: failed.fault, flows, broken, write: failed.write, since: self.began })
            }
        }
    }

    pub(super) fn fault(&self, fault: Fault, flows: BTreeSet<FlowId>) -> LaneFault {
        LaneFault { fault, flows, broken: false, write: None, since: self.began }
    }

    /// Rolls back what is open; a connection that cannot even do that is found out by the next part.
    pub(crate) async fn rollback(&mut self) {
        if let Some(apply) = &mut self.apply
            && let Err(fault) = apply.rollback().await
        {
            tracing::debug!(lane = %self.lane, %fault, "rollback failed; the connection will be made anew");
        }
    }
}

/// Applies, and while the destination works reads what comes next, if anything does. The read begins when all that
/// the destination is asked for has been handed to its connection.
pub(super) async fn read_beside<T>(
    apply: impl Future<Output = T>,
    more: bool,
    next: impl FnOnce() -> Result<Piece, JournalError>,
) -> (T, Result<Option<Piece>, JournalError>) {
    join(apply, async { if more { next().map(Some) } else { Ok(None) } }).await
}

/// Whether a fault's table is the one that a member writes to.
fn names(table: &str, member: &Member) -> bool {
    let target = &member.flow.target.table;
    table == target.to_string() || table == &*target.name
}

/// Ends when the value changes. One that can change no more (a leader that has joined another lane) is waited for in
/// vain: whoever took it away starts this lane anew.
async fn moved<T>(value: &mut watch::Receiver<T>) {
    if value.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
