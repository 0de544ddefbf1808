//! The connections to the destination: fenced and settled before the first write, one for each lane that writes.

use super::{PAUSE_TIMEOUT, StreamActor};
use crate::env::within;
use crate::failpoint::{FailPoint, Mistake};
use crate::retry::Retry;
use crate::store::{FlowId, Record, StoreError};
use crate::stream::plan::StreamPlan;
use crate::stream::settle::{Lost, Unknowable};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::connect::{Apply, Connector, Owner, Watermark};
use tandem_core::{Epoch, Fault, FaultClass, LaneId, Seq};

impl StreamActor {
    /// Makes sure that every older connection is fenced and every outcome settled, before any new one is made.
    pub(super) async fn connect(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let wanted = following(plan).next().is_some();
        let now = self.parts.env.now();
        if self.fenced.is_some() || !wanted || !self.connect.is_due(now) {
            return Ok(());
        }
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.stop(lane, PAUSE_TIMEOUT).await;
        }
        self.lanes.values_mut().for_each(|lane| lane.connection = None);
        self.parts.record.epoch = Epoch(self.parts.record.epoch.0 + 1);
        self.save()?;
        FailPoint::EpochSaved.pass();
        let owner = Owner { journal: self.parts.journal_id, epoch: self.parts.record.epoch };
        let stream = self.parts.record.stream.to_string();
        // A pause must not wait for a destination that does not answer.
        let Some(fenced) = self.open_fenced(owner).await else { return Ok(()) };
        let resting = self.parts.record.resting.iter();
        let doubtful = resting.filter(|resting| resting.unsettled).map(|resting| resting.flow).collect();
        match fenced.and_then(|(connection, marks)| self.settle(&marks, plan).map(|()| connection)) {
            Ok(mut connection) => {
                FailPoint::FencedUnsaved.pass();
                self.save()?;
                FailPoint::FencedSaved.pass();
                self.retire(&mut connection).await;
                self.forget_uncommitted(&doubtful, plan)?;
                self.settled = true;
                self.fenced = Some(owner.epoch);
                self.spare = Some(connection);
                if self.connect.fault().is_some() {
                    tracing::info!(%stream, "the destination answers again");
                }
                self.connect = Retry::default();
            }
            Err(fault) => {
                if matches!(fault.class, FaultClass::Gap | FaultClass::Fenced | FaultClass::Internal) {
                    tracing::error!(%stream, class = %fault.class, "the stream cannot go on: {fault}");
                    self.broken = Some(fault);
                } else {
                    if self.connect.fault().is_none() {
                        tracing::warn!(%stream, class = %fault.class, "the destination does not answer: {fault}");
                    }
                    self.note_attempt(following(plan), fault.class);
                    self.connect.failed(fault, now);
                }
            }
        }
        Ok(())
    }

    /// Forgets what was noted of changes that did not take effect, now that it is known which did. Of a queue that was
    /// left behind this is done once: what is noted of it later is about errors.
    fn forget_uncommitted(&self, doubtful: &BTreeSet<FlowId>, plan: &StreamPlan) -> Result<(), StoreError> {
        let goes_on = |flow: &FlowId| plan.flows.get(flow).is_some_and(|flow| flow.until.is_none());
        let retries = |flow: &FlowId| plan.flows.get(flow).is_some_and(|flow| flow.retry.is_some());
        let flows = self.parts.record.flows().into_iter();
        let flows = flows.filter(|flow| goes_on(flow) || retries(flow) || doubtful.contains(flow)).collect();
        self.forget_uncommitted_of(&flows, plan)
    }

    /// The same for some flows that are settled.
    pub(super) fn forget_uncommitted_of(
        &self,
        flows: &BTreeSet<FlowId>,
        plan: &StreamPlan,
    ) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for flow in flows {
            let Some(cursor) = self.parts.record.cursor_of(*flow) else { continue };
            if plan.flows.get(flow).is_some_and(|flow| flow.retry.is_some()) {
                records.push(Record::Retried { retry: *flow, through: cursor });
                records.push(Record::NotRetried { retry: *flow, beyond: cursor });
            } else {
                records.push(Record::not_superseded_beyond(*flow, cursor));
                records.push(Record::NoErrorsAbove(vec![(*flow, cursor)]));
            }
        }
        self.parts.store.save(&records).map(drop)
    }

    /// Compares what the destination says with what we know, and settles what was in doubt.
    pub(super) fn settle(&mut self, marks: &[Watermark], plan: &StreamPlan) -> Result<(), Fault> {
        let record = &mut self.parts.record;
        let stream = record.stream.to_string();
        let gap = |message: String, fix: &str| {
            Fault::new(FaultClass::Gap, format!("read the watermarks of {stream}"), message).fix(fix)
        };
        if let Some(other) = marks.iter().find(|mark| mark.journal != self.parts.journal_id) {
            return Err(gap(
                format!("the destination has a watermark of another data folder ({})", other.journal),
                "if that data folder is gone for good: stop the maps (tandem map stop), run in each app what tandem guard release --sql prints, then run the maps, which copies anew",
            ));
        }
        let durable = self.parts.journal.with(|journal| journal.durable());
        if let Some(ahead) = marks.iter().find(|mark| record.lane(mark.lane).is_some() && mark.seq > durable)
        {
            return Err(gap(
                format!("the destination is at Seq {}, but the journal ends at {durable}", ahead.seq),
                "the data folder is an older copy: restore the newest one, or stop the maps and start them anew with an initial sync",
            ));
        }
        let found: BTreeMap<LaneId, Seq> = marks.iter().map(|mark| (mark.lane, mark.seq)).collect();
        let (mut settled, lost) = record.settled(&found).map_err(|Unknowable { lane, known }| {
            gap(
                format!("the destination has lost the watermark of lane {lane} (it was at Seq {known})"),
                "the destination was restored to an earlier state: verify both sides, or run the maps anew with an initial sync",
            )
        })?;
        for Lost { flow, was, now } in lost {
            // What was tried again is tried once more, from where it is kept.
            if plan.flows.get(&flow).is_some_and(|flow| flow.retry.is_some()) {
                continue;
            }
            // What was skipped is not there to be applied again.
            let skipped = plan.flows.get(&flow).and_then(|flow| flow.start).unwrap_or_default();
            let kept = self.parts.journal.with(|journal| journal.kept_from(flow)).max(skipped);
            if now < kept {
                return Err(gap(
                    format!(
                        "the destination went back from Seq {was} to {now}, and the journal begins behind {kept}"
                    ),
                    "the destination was restored to an earlier state: verify both sides, or run the maps anew with an initial sync",
                ));
            }
            tracing::warn!(%stream, %was, %now, "the destination has lost committed transactions; they are applied again");
        }
        if Mistake::ForgetWatermark.is_made() {
            let before = |lane| record.lane(lane).map_or(Seq::ZERO, |lane| lane.cursor);
            settled.lanes.iter_mut().for_each(|lane| lane.cursor = before(lane.lane));
        }
        let before = std::mem::replace(record, settled);
        self.retired = marks.iter().map(|mark| mark.lane).filter(|lane| !record.knows(*lane)).collect();
        for lane in &record.lanes {
            if let Some(slot) = self.lanes.get_mut(&lane.lane) {
                slot.progress.send_modify(|progress| {
                    progress.cursor = lane.cursor;
                    progress.marked = lane.marked;
                    progress.in_doubt = false;
                });
            }
        }
        self.note_settled(&before);
        Ok(())
    }

    /// Sees to it that a lane has a connection; false if there is none to be had. The destination behind a new one
    /// may be another than before, which has lost something: what is known to be committed must be there.
    pub(super) async fn connection_for(&mut self, lane: LaneId) -> bool {
        let (Some(epoch), now) = (self.fenced, self.parts.env.now()) else { return false };
        if self.slot(lane).connection.is_some() {
            return true;
        }
        if let Some(spare) = self.spare.take() {
            self.slot(lane).connection = Some(spare);
            return true;
        }
        let owner = Owner { journal: self.parts.journal_id, epoch };
        self.note_progress();
        let known = self.parts.record.known_marks();
        let Some(opened) = self.open_fenced(owner).await else { return false };
        match opened {
            Ok((connection, marks)) => {
                let is_there = |(lane, seq)| marks.iter().any(|mark| mark.lane == lane && mark.seq >= seq);
                if !known.into_iter().all(is_there) {
                    self.fenced = None;
                    return false;
                }
                self.slot(lane).connection = Some(connection);
                true
            }
            Err(fault) => {
                self.note_attempt(self.members(lane), fault.class);
                self.connect.failed(fault, now);
                self.fenced = None;
                false
            }
        }
    }

    /// Makes a connection that has fenced older ones, with the watermarks that it read; `None` if the plan changed
    /// meanwhile, which is looked at first.
    async fn open_fenced(&mut self, owner: Owner) -> Option<Result<(Box<dyn Apply>, Vec<Watermark>), Fault>> {
        let (destination, stream) = (self.parts.destination.clone(), self.parts.record.stream.to_string());
        tokio::select! {
            biased;
            _ = self.parts.plan.changed() => {
                self.parts.plan.mark_changed();
                None
            }
            opened = fence(&*destination, owner, &stream) => Some(opened),
        }
    }

    /// Removes the watermarks of lanes that have joined others. Those that stay do no harm: lane numbers are never
    /// given twice.
    pub(super) async fn retire(&mut self, connection: &mut Box<dyn Apply>) {
        // The last watermark of a stream takes everything of ours with it, and is not removed before the stream ends.
        let some_stay = self.parts.record.lanes.iter().any(|lane| lane.marked.is_some());
        let retired = std::mem::take(&mut self.retired);
        if some_stay
            && !retired.is_empty()
            && let Err(fault) = connection.retire(&retired).await
        {
            tracing::debug!(stream = %self.parts.record.stream, "old watermarks were left for later: {fault}");
        }
    }

    /// Takes our watermarks out of the destination, if it answers. Returns why they may still be there.
    pub(super) async fn retire_all(&mut self) -> Option<Fault> {
        // Nobody has ever written there.
        if self.parts.record.epoch == Epoch(0) {
            return None;
        }
        let lanes: Vec<LaneId> = (1..self.parts.record.next_lane).map(LaneId).collect();
        let epoch = Epoch(self.parts.record.epoch.0 + 1);
        let owner = Owner { journal: self.parts.journal_id, epoch };
        let stream = self.parts.record.stream.to_string();
        let destination = self.parts.destination.clone();
        let env = self.parts.env.clone();
        let retire = async {
            let (mut connection, _) = fence(&*destination, owner, &stream).await?;
            connection.retire(&lanes).await
        };
        let silent = || Fault::new(FaultClass::Unavailable, "take out the watermarks", "it did not answer");
        let fault = match within(&*env, PAUSE_TIMEOUT, retire).await {
            Some(Ok(())) => return None,
            Some(Err(fault)) => fault,
            None => silent(),
        };
        tracing::warn!(%stream, "watermarks were left in the destination: {fault}");
        Some(fault)
    }
}

/// The flows that are to be in a lane, and have entered capture.
fn following(plan: &StreamPlan) -> impl Iterator<Item = FlowId> + '_ {
    plan.flows.values().filter(|flow| flow.follow && flow.start.is_some()).map(|flow| flow.flow)
}

/// Makes a connection, and fences every older one before anything is written.
async fn fence(
    destination: &dyn Connector,
    owner: Owner,
    stream: &str,
) -> Result<(Box<dyn Apply>, Vec<Watermark>), Fault> {
    let mut connection = destination.open_apply(owner, stream).await?;
    let marks = connection.fence().await?;
    Ok((connection, marks))
}
