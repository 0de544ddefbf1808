//! Source transactions that are larger than a batch: applied in pieces inside of one destination transaction.
//!
//! Nothing of them is held in memory whole. When a piece is refused, the transaction is begun again from its start, so
//! that what is set aside was refused in exact source order here, too.

use super::batch::Batch;
use super::feed::Feed;
use super::lane::{LaneEnd, LaneRun, WHOLE_TRANSACTION_RECORDS_MAX, read_beside};
use super::pace::Pace;
use super::putting_off::Needed;
use super::trial::Noted;
use crate::journal::PieceEnd;
use tandem_core::connect::{Advance, Begin, Plan};
use tandem_core::{Fault, Seq};

impl LaneRun {
    /// Applies a source transaction that is larger than a batch, piece by piece in one destination transaction. It
    /// is begun again from its start when a piece is refused, each time with the next plan.
    pub(super) async fn apply_large(&mut self, reader: Feed, first: Batch) -> Result<Feed, LaneEnd> {
        let (mut plan, mut pace) = (Plan::Fast, Pace::default());
        let mut attempt = Some((reader, first));
        loop {
            let (mut reader, mut batch) = match attempt.take() {
                Some(begun) => begun,
                None => {
                    let mut reader = self.reader().map_err(LaneEnd::Unreadable)?;
                    let piece = reader.next(pace.limit(Seq(u64::MAX))).map_err(LaneEnd::Unreadable)?;
                    let batch = Batch::project(
                        piece,
                        &mut self.members,
                        self.position.clone(),
                        self.context.env.wall(),
                    );
                    (reader, batch)
                }
            };
            let mut begin = Some(self.begin());
            let mut records = 0u64;
            self.tally.clear();
            loop {
                if let Some(unfit) = batch.unfit.take() {
                    self.rollback().await;
                    self.pass(batch.through);
                    return Err(self.has_unfit(unfit));
                }
                records += (batch.writes.len() + batch.refused.len()) as u64;
                self.tally.read(&mut batch.changes);
                self.look_what_waits().map_err(LaneEnd::Forgetful)?;
                let changes = match self.needed(&batch) {
                    Needed::PutOff(changes) => changes,
                    Needed::From(place, _) => {
                        self.rollback().await;
                        if let Err(through) = batch.before(0) {
                            self.pass(through);
                        }
                        return Err(self.must_wait(&batch, place));
                    }
                };
                self.set_aside(&batch.refused).await?;
                self.look_again_at_moved(&batch).map_err(LaneEnd::Forgetful)?;
                self.give_way(&mut batch, 0).await?;
                self.put_off(&batch, 0, &changes).await?;
                self.stand_behind(&mut batch, 0).await?;
                let whole = !matches!(batch.end, PieceEnd::Open);
                let cut = records >= WHOLE_TRANSACTION_RECORDS_MAX;
                let began = self.context.env.now();
                let next = || reader.next(pace.limit(Seq(u64::MAX)));
                let apply = self.apply_piece(&batch, begin.take(), plan, whole || cut);
                let (applied, read) = read_beside(apply, !whole, next).await;
                pace.applied(true, self.context.env.now().saturating_sub(began));
                match applied? {
                    Err(_) => break,
                    Ok(()) if whole => return Ok(reader),
                    Ok(()) if cut => {
                        begin = Some(self.begin());
                        records = 0;
                    }
                    Ok(()) => {}
                }
                // Once a transaction is begun it is ended, even if a stop was asked for: its size is bounded above,
                // and whoever cannot wait drops the run.
                let Some(piece) = read.map_err(LaneEnd::Unreadable)? else { return Ok(reader) };
                self.pay_for(piece.records.len());
                batch =
                    Batch::project(piece, &mut self.members, self.position.clone(), self.context.env.wall());
            }
            plan = match plan {
                Plan::Fast | Plan::Copy | Plan::Load => Plan::Exact,
                Plan::Exact => Plan::Single,
                // Begun again without what was refused, since something else stands behind it.
                Plan::Single | Plan::SingleOpen => Plan::Single,
            };
        }
    }

    /// One piece of a large transaction. The inner error is a refusal that the next plan may mend.
    async fn apply_piece(
        &mut self,
        batch: &Batch,
        begin: Option<Begin>,
        plan: Plan,
        commit: bool,
    ) -> Result<Result<(), Fault>, LaneEnd> {
        // What a single plan refuses must be durable before the commit: apply first, note, then commit.
        let apart = commit && plan == Plan::Single;
        let advance = commit.then(|| Advance { to: batch.through, position: batch.position() });
        let first = if apart { None } else { advance.clone() };
        // What a transaction has put off is checked where it ends.
        let plan_here = if plan == Plan::Single && !commit { Plan::SingleOpen } else { plan };
        match self.part(begin, &batch.writes, plan_here, first).await {
            Ok(refused) => {
                let because = refused.first().map(|(_, fault)| fault.clone());
                if let (Noted::Again, Some(fault)) =
                    (self.note_refused(batch, 0..batch.writes.len(), refused).await?, because)
                {
                    return Ok(Err(fault));
                }
                if apart {
                    return self
                        .part(None, &[], Plan::Exact, advance)
                        .await
                        .map(|_| Ok(()))
                        .map_err(LaneEnd::Failed);
                }
                Ok(Ok(()))
            }
            Err(failed) if failed.fault.class.is_about_record() && !failed.broken && plan != Plan::Single => {
                self.rollback().await;
                Ok(Err(failed.fault))
            }
            Err(failed) => Err(LaneEnd::Failed(failed)),
        }
    }
}
