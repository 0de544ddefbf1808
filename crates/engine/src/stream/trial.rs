//! The order of trial: when a record may be set aside.
//!
//! A batch is tried as the connector does it best. If a record is refused, the batch is done again in exact source
//! order, since grouping can make good records fail. If one is refused there too, what stands before its source
//! transaction is committed, the transaction is done record by record, and the ones that are refused *there* are
//! set aside: noted durably first, then passed over. What stands behind goes back to the start of the trial, and
//! what is about a record that was set aside waits behind it (see `behind`).
//!
//! A transient fault never gets that far: an outage is not a bad record. And a foreign key that refuses a record
//! while the other map is behind is no error either; the lane says that it waits.

use super::batch::Batch;
use super::copying::covered;
use super::lane::{LaneEnd, LaneFault, LaneRun};
use super::outcome::Became;
use super::putting_off::{Changes, is_no_failure};
use crate::store::{ErrorStatus, FlowId, Record, SetAside, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::connect::{Advance, Plan};
use tandem_core::{Fault, FaultClass, IntegrationKey, Seq, Write};

/// So many refusals in a row of one flow are not bad records but a bad destination: a condition, not a heap of
/// errors.
const REFUSALS_IN_A_ROW_MAX: u64 = 100;

/// What a lane remembers between trials.
#[derive(Debug, Clone, Default)]
pub(super) struct Trial {
    /// Refusals since the last success, per flow.
    in_a_row: BTreeMap<FlowId, u64>,
    /// The last of the changes of which something was noted before they are committed.
    pub(super) noted: Option<Seq>,
    /// What was refused and noted in a transaction that is begun again without it.
    pub(super) left_out: BTreeSet<(FlowId, Seq)>,
}

/// What came of noting what a single plan refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It may be committed.
    All,
    /// It was rolled back: another change of a refused record stands behind it, and is to be judged without it.
    Again,
}

impl LaneRun {
    /// Settles a batch that ends where a source transaction does, without what is to be put off.
    pub(super) async fn try_batch(&mut self, batch: &mut Batch, put_off: &Changes) -> Result<(), LaneEnd> {
        let mut done = 0;
        loop {
            self.give_way(batch, done).await?;
            self.put_off(batch, done, put_off).await?;
            self.stand_behind(batch, done).await?;
            let rest = batch.writes.get(done..).unwrap_or_default();
            let end = Advance { to: batch.through, position: batch.position() };
            match self.part(Some(self.begin()), rest, Plan::Fast, Some(end.clone())).await {
                Ok(_) => {
                    self.succeeded(batch, done..batch.writes.len());
                    return Ok(());
                }
                Err(failed) if is_refusal(&failed) => self.rollback().await,
                Err(failed) => return Err(LaneEnd::Failed(failed)),
            }
            let failed = match self.exact(rest, end.clone()).await? {
                None => {
                    self.succeeded(batch, done..batch.writes.len());
                    return Ok(());
                }
                Some(place) => done + place,
            };
            let suspect = transaction_around(&batch.writes, failed);
            let before = batch.writes.get(done..suspect.start).unwrap_or_default();
            let (first, last) = (batch.writes.get(suspect.start), batch.writes.get(suspect.end));
            if let Some(first) = first
                && !before.is_empty()
            {
                // Everything below the first Seq of a transaction belongs to the ones before it.
                let to = Seq(first.transaction.0.saturating_sub(1));
                if self.exact(before, Advance { to, position: batch.start.clone() }).await?.is_some() {
                    // It went through a moment ago; the destination has changed in between. Begin the trial again.
                    continue;
                }
                self.succeeded(batch, done..suspect.start);
                done = suspect.start;
            }
            let to = last.map_or(batch.through, |next| Seq(next.transaction.0.saturating_sub(1)));
            match self.one_by_one(batch, suspect.clone(), to).await? {
                Noted::All => done = suspect.end,
                Noted::Again => continue,
            }
            if done >= batch.writes.len() {
                return Ok(());
            }
        }
    }

    /// In exact order. Returns the place of the write that was refused, if one was.
    async fn exact(&mut self, writes: &[Write], end: Advance) -> Result<Option<usize>, LaneEnd> {
        match self.part(Some(self.begin()), writes, Plan::Exact, Some(end)).await {
            Ok(_) => Ok(None),
            Err(failed) if is_refusal(&failed) => {
                self.rollback().await;
                Ok(Some(failed.write.unwrap_or(0)))
            }
            Err(failed) => Err(LaneEnd::Failed(failed)),
        }
    }

    /// One source transaction, record by record; what is refused is set aside.
    async fn one_by_one(
        &mut self,
        batch: &Batch,
        suspect: std::ops::Range<usize>,
        to: Seq,
    ) -> Result<Noted, LaneEnd> {
        let writes = batch.writes.get(suspect.clone()).unwrap_or_default();
        let refused = match self.part(Some(self.begin()), writes, Plan::Single, None).await {
            Ok(refused) => refused,
            Err(failed) => {
                self.rollback().await;
                return Err(LaneEnd::Failed(failed));
            }
        };
        if self.note_refused(batch, suspect, refused).await? == Noted::Again {
            return Ok(Noted::Again);
        }
        match self.part(None, &[], Plan::Exact, Some(Advance { to, position: batch.start.clone() })).await {
            Ok(_) => Ok(Noted::All),
            Err(failed) => Err(LaneEnd::Failed(failed)),
        }
    }

    /// Notes what a single plan refused, durably, or says that the lane waits or stalls instead. `part` is what of the
    /// batch was done.
    pub(super) async fn note_refused(
        &mut self,
        batch: &Batch,
        part: std::ops::Range<usize>,
        refused: Vec<(usize, Fault)>,
    ) -> Result<Noted, LaneEnd> {
        if refused.is_empty() {
            return Ok(Noted::All);
        }
        let places: BTreeSet<usize> = refused.iter().map(|(place, _)| part.start + place).collect();
        let again = self.is_any_behind(batch, part.clone(), &places);
        let mut aside = Vec::with_capacity(refused.len());
        for (place, fault) in refused {
            let place = part.start + place;
            let record = batch.records.get(place);
            let Some((record, member)) =
                record.and_then(|record| Some((record, self.members.get(&record.flow)?)))
            else {
                self.rollback().await;
                let message = "the destination refused a record that it was not given";
                let fault = Fault::new(FaultClass::Internal, "set a record aside", message);
                return Err(LaneEnd::Failed(self.fault(fault, BTreeSet::new())));
            };
            let covered = member.flow.copy.as_ref().is_some_and(|desk| desk.covers());
            let behind = self.is_behind(record, fault.class) && !covered;
            if behind && self.retry.is_none() {
                self.rollback().await;
                return Err(LaneEnd::Failed(self.fault(fault, BTreeSet::from([record.flow]))));
            }
            let class = fault.class;
            let error = SetAside::of(record, &member.flow.spec, fault, self.context.env.wall());
            // A retry does not stand: it ends, and what it was for waits.
            let waits = behind
                || (!covered
                    && self
                        .is_refused_for_now(record.flow, record.seq, class)
                        .map_err(LaneEnd::Forgetful)?);
            aside.push(if waits { error.awaiting() } else { error });
        }
        self.set_aside(&aside).await?;
        if !again {
            return Ok(Noted::All);
        }
        self.rollback().await;
        self.trial.left_out.extend(aside.iter().map(|error| (error.flow, error.seq)));
        Ok(Noted::Again)
    }

    /// Notes errors durably. The commit that passes over their records comes after this, never before.
    pub(crate) async fn set_aside(&mut self, errors: &[SetAside]) -> Result<(), LaneEnd> {
        let errors = self.without_covered(errors).map_err(LaneEnd::Forgetful)?;
        if errors.is_empty() {
            return Ok(());
        }
        for error in errors.iter().filter(|error| error.status == ErrorStatus::Open) {
            let in_a_row = self.trial.in_a_row.entry(error.flow).or_default();
            *in_a_row += 1;
            if *in_a_row > REFUSALS_IN_A_ROW_MAX {
                self.rollback().await;
                return Err(LaneEnd::Failed(self.fault(error.fault.clone(), BTreeSet::from([error.flow]))));
            }
        }
        // What an error had made pointless is not: it did not take effect itself.
        let again =
            |error: &SetAside| Record::NotSuperseded { by: error.flow, from: error.seq, through: error.seq };
        let records: Vec<Record> =
            errors.iter().flat_map(|error| [again(error), Record::Error(error.clone())]).collect();
        self.trial.noted = self.trial.noted.max(errors.iter().map(|error| error.seq).max());
        self.context.store.save(&records).map_err(LaneEnd::Forgetful)?;
        let beaten = self.beaten_meanwhile(&errors)?;
        if !beaten.is_empty() {
            self.context.store.save(&beaten).map_err(LaneEnd::Forgetful)?;
        }
        self.progress.send_modify(|progress| {
            for error in errors.iter().filter(|error| !is_no_failure(error)) {
                progress.refused.entry(error.flow).or_default().add(error.fault.class, 1);
            }
        });
        for error in &errors {
            self.tally.note(error.flow, error.seq, Became::SetAside);
            if is_no_failure(error) {
                tracing::info!(map = %error.map, seq = %error.seq, "record waits for another map: {}", error.fault);
                continue;
            }
            tracing::warn!(map = %error.map, seq = %error.seq, class = %error.fault.class, code = error.fault.code, "record set aside: {}", error.fault);
        }
        Ok(())
    }

    /// Leaves out what an initial sync covers: those records are noted, to be looked at again.
    fn without_covered(&mut self, errors: &[SetAside]) -> Result<Vec<SetAside>, StoreError> {
        let mut stay = Vec::with_capacity(errors.len());
        let mut again: BTreeMap<FlowId, Vec<IntegrationKey>> = BTreeMap::new();
        for error in errors {
            let member = self.members.get(&error.flow);
            match member.and_then(|member| covered(member.flow.copy.as_ref(), &member.flow.spec, error)) {
                None => stay.push(error.clone()),
                Some(keys) => {
                    self.tally.note(error.flow, error.seq, Became::Covered);
                    again.entry(error.flow).or_default().extend(keys);
                }
            }
        }
        if !again.is_empty() {
            let records: Vec<Record> =
                again.into_iter().map(|(flow, keys)| Record::Again { flow, keys }).collect();
            self.context.store.save(&records)?;
        }
        Ok(stay)
    }

    /// Forgets what was noted of changes that were not committed after all: they are tried anew, and what comes of them
    /// may be another.
    pub(super) fn forget_uncommitted(&mut self) -> Result<(), StoreError> {
        self.trial.left_out.clear();
        if self.trial.noted.take().is_none() || self.retry.is_some() {
            return Ok(());
        }
        let cursor = self.progress.borrow().cursor;
        let settled: Vec<(FlowId, Seq)> =
            self.members.values().map(|member| (member.flow.flow, member.from.max(cursor))).collect();
        let not_superseded = settled.iter().map(|(by, seq)| Record::not_superseded_beyond(*by, *seq));
        let mut records: Vec<Record> = not_superseded.collect();
        records.push(Record::NoErrorsAbove(settled));
        self.context.store.save(&records).map(drop)
    }

    fn succeeded(&mut self, batch: &Batch, places: std::ops::Range<usize>) {
        if self.trial.in_a_row.is_empty() {
            return;
        }
        for record in batch.records.get(places).unwrap_or_default() {
            self.trial.in_a_row.remove(&record.flow);
        }
    }
}

/// Whether the destination refused a record, and another plan may find which or do without.
pub(super) fn is_refusal(failed: &LaneFault) -> bool {
    failed.fault.class.is_about_record() && !failed.broken
}

/// The places of all writes of the source transaction that the write at `place` belongs to.
fn transaction_around(writes: &[Write], place: usize) -> std::ops::Range<usize> {
    let Some(transaction) = writes.get(place).map(|write| write.transaction) else { return 0..writes.len() };
    let start = writes.partition_point(|write| write.transaction < transaction);
    let end = writes.partition_point(|write| write.transaction <= transaction);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_core::{IntegrationKey, TableName, Target, Value, WriteOp};

    #[test]
    fn the_transaction_around_a_write_is_found_whole() {
        let target = Arc::new(Target {
            map: "m".into(),
            table: TableName { schema: None, name: "t".into() },
            columns: vec![],
            key: vec![],
            rank: 0,
            lookups: vec![],
        });
        let writes: Vec<Write> = [(1, 1), (2, 2), (3, 2), (4, 2), (5, 5)]
            .map(|(seq, transaction)| Write {
                seq: Seq(seq),
                transaction: Seq(transaction),
                target: target.clone(),
                op: WriteOp::Delete(IntegrationKey::from_values(vec![Value::Int(1)])),
            })
            .to_vec();
        assert_eq!(transaction_around(&writes, 2), 1..4);
        assert_eq!(transaction_around(&writes, 0), 0..1);
        assert_eq!(transaction_around(&writes, 4), 4..5);
    }
}
