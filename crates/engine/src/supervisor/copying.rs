//! Initial syncs, and errors that are refreshed: whose turn it is, and what came of them.
//!
//! A map that is being copied has a desk for each of its flows, from the moment on that its lanes may write. Reading
//! begins when all that the map depends on is copied, one flow of a map after the other; maps that depend on each other
//! go together. That all of a flow is done its desk says, which has saved it.

use super::Supervisor;
use super::plans::is_held;
use super::retrying::may_write;
use crate::copy::{Desk, Reader, read};
use crate::journal::ReadLimit;
use crate::request::{ErrorRequest, Rejected, Request};
use crate::store::{
    CopyRecord, CopyStage, ErrorPick, ErrorQuery, FlowId, FlowRecord, MapRecord, Record, Refresh, SetAside,
    Skipped, StoreError,
};
use crate::stream::{JournalHandle, Place};
use crate::two_way::map_number;
use crate::view::{InitialSyncView, RetryView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::lifecycle::{Action, Initializing, Phase};
use tandem_core::map::Direction;
use tandem_core::two_way::SideName;
use tandem_core::{Change, Fault, FaultClass, MapName, Rate};

/// Errors that are looked at in one step.
const LOOKED_AT_ONCE: usize = 1_000;

/// The initial syncs that go on, and what is known of those that have ended.
#[derive(Default)]
pub(super) struct Copies {
    desks: BTreeMap<FlowId, Arc<Desk>>,
    /// Flows that are being read.
    reading: BTreeSet<FlowId>,
    /// As they were saved before this start, or when they ended.
    saved: BTreeMap<FlowId, CopyRecord>,
}

impl Copies {
    pub(super) fn new(saved: BTreeMap<FlowId, CopyRecord>) -> Self {
        Self { saved, ..Self::default() }
    }

    /// The desks, for the plans of streams.
    pub(super) fn desks(&self) -> &BTreeMap<FlowId, Arc<Desk>> {
        &self.desks
    }

    pub(super) fn record(&self, flow: FlowId) -> Option<CopyRecord> {
        let going_on = self.desks.get(&flow).map(|desk| desk.record());
        going_on.or_else(|| self.saved.get(&flow).cloned())
    }

    /// The errors of a flow that are being refreshed.
    fn refresh(&self, flow: FlowId) -> Option<Refresh> {
        self.record(flow)?.refresh
    }

    /// An initial sync begins, or begins anew.
    pub(super) fn begin(&mut self, record: CopyRecord) {
        self.forget(record.flow);
        self.saved.insert(record.flow, record);
    }

    /// A flow is no more.
    pub(super) fn forget(&mut self, flow: FlowId) {
        self.reading.remove(&flow);
        self.saved.remove(&flow);
        if let Some(desk) = self.desks.remove(&flow) {
            desk.close();
        }
    }
}

fn is_copying(record: &MapRecord) -> bool {
    record.state.phase == Phase::Initializing(Initializing::Copying)
}

/// What an action means for a map: to run one whose initial sync has failed is to do that again, or to go on without; and
/// a map may be declared to be run without one.
pub(super) fn meant(request: &Request, record: &MapRecord) -> Action {
    let phase = record.state.phase;
    let failed = phase == Phase::Initializing(Initializing::Failed);
    let declared = request.as_declared && phase == Phase::NotRunning;
    match request.action {
        Action::Run { initial_sync: true } if failed => Action::Rerun { without_failed: false },
        Action::Run { initial_sync: false } if failed => Action::SkipInitialSync,
        Action::Run { initial_sync: true } if declared => {
            Action::Run { initial_sync: record.map.initial_sync.wanted }
        }
        other => other,
    }
}

/// The initial syncs that an action begins, once the map is as the action leaves it.
pub(super) fn begun_by(action: Action, record: &MapRecord, now: tandem_core::WallTime) -> Vec<CopyRecord> {
    let without_failed = match action {
        Action::Run { initial_sync: true } => false,
        Action::Rerun { without_failed } => without_failed,
        _ => return Vec::new(),
    };
    let flows = record.flows.iter();
    flows.map(|flow| CopyRecord::new(flow.flow, record.map.name.clone(), without_failed, now)).collect()
}

/// What an initial sync is at, whatever is being refreshed behind its end.
fn stage(copy: &CopyRecord) -> CopyStage {
    if copy.refresh.is_some() { CopyStage::Ended } else { copy.stage }
}

impl Supervisor {
    /// Gives the flows of maps that are being copied their desks, and takes them from all others.
    pub(super) fn set_up_copies(&mut self) {
        let now = self.world.env.now();
        let mut wanted: BTreeSet<FlowId> = BTreeSet::new();
        for record in self.maps.values() {
            let refreshes = record.state.phase == Phase::Running && may_write(record);
            let flows = record.flows.iter().map(|flow| flow.flow);
            wanted
                .extend(flows.filter(|flow| {
                    is_copying(record) || (refreshes && self.copies.refresh(*flow).is_some())
                }));
        }
        for flow in self.copies.desks.keys().copied().collect::<Vec<_>>() {
            if !wanted.contains(&flow)
                && let Some(desk) = self.copies.desks.remove(&flow)
            {
                self.copies.saved.insert(flow, desk.record());
                self.copies.reading.remove(&flow);
                desk.close();
            }
        }
        for flow in wanted {
            if !self.copies.desks.contains_key(&flow)
                && let Some(record) = self.copies.saved.get(&flow).cloned()
            {
                let desk = Desk::new(record, self.circular(flow), self.world.store.clone(), now);
                self.copies.desks.insert(flow, Arc::new(desk));
            }
        }
    }

    /// Starts reading whose turn it is.
    pub(super) fn work_on_copies(&mut self) {
        let copying: Vec<MapName> =
            self.maps.values().filter(|r| is_copying(r)).map(|r| r.map.name.clone()).collect();
        for name in copying {
            let Some(record) = self.maps.get(&name) else { continue };
            let waits = self.parents_behind(&name);
            let desks = record.flows.iter().filter_map(|flow| self.copies.desks.get(&flow.flow));
            desks.for_each(|desk| desk.waits(waits));
            let Some(flow) = self.next_to_read(record).cloned() else { continue };
            if self.copies.reading.contains(&flow.flow) || !self.may_be_read(&name) {
                continue;
            }
            let Some(reader) = self.reader(&flow) else { continue };
            tracing::info!(map = %name, stream = %flow.stream, "an initial sync is being read");
            self.copies.reading.insert(flow.flow);
            self.world.env.spawn("copy", Box::pin(read(reader)));
        }
    }

    /// Starts reading what is to be refreshed, and ends what is done.
    pub(super) fn work_on_refreshes(&mut self) -> Result<(), StoreError> {
        let flows = self.maps.values().filter(|record| !is_copying(record));
        let flows: Vec<FlowRecord> = flows.flat_map(|record| record.flows.iter().cloned()).collect();
        let mut any = false;
        for flow in flows {
            let Some(desk) = self.copies.desks.get(&flow.flow) else { continue };
            let record = desk.record();
            let Some(refresh) = record.refresh.clone() else { continue };
            if record.stage == CopyStage::Ended {
                self.end_refresh(record, &refresh)?;
                any = true;
            } else if self.copies.reading.insert(flow.flow)
                && let Some(reader) = self.reader(&flow)
            {
                self.world.env.spawn("refresh", Box::pin(read(reader)));
            }
        }
        if any && let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    fn end_refresh(&mut self, record: CopyRecord, refresh: &Refresh) -> Result<(), StoreError> {
        let record = CopyRecord { refresh: None, ..record };
        let kept =
            if record.initial { Record::Copy(Box::new(record.clone())) } else { Record::NoCopy(record.flow) };
        if refresh.is_repair {
            self.save(&[kept])?;
            self.copies.begin(record);
            return Ok(());
        }
        let mut entry = self.note("errors.retried", &record.map, &refresh.actor, &refresh.reason);
        entry.detail = format!(
            "of {} errors that were refreshed, {} records were refused as they are now",
            refresh.errors, refresh.refused
        );
        self.save(&[Record::Activity(entry), kept])?;
        self.copies.begin(record);
        Ok(())
    }

    /// Whether errors of a map are being refreshed.
    pub(super) fn is_refreshing(&self, record: &MapRecord) -> bool {
        record.flows.iter().any(|flow| self.copies.refresh(flow.flow).is_some())
    }

    /// How the errors of a map stand that are being refreshed.
    pub(super) fn refresh_views(&self, record: &MapRecord) -> Vec<RetryView> {
        let view = |flow: &FlowRecord| {
            let refresh = self.copies.refresh(flow.flow).filter(|refresh| !refresh.is_repair)?;
            Some(RetryView {
                errors: refresh.errors,
                left: self.world.store.again_count(flow.flow).unwrap_or_default(),
                refused: refresh.refused,
                since: refresh.since,
                actor: refresh.actor,
                cancelled: false,
            })
        };
        record.flows.iter().filter_map(view).collect()
    }

    /// Notes the records of errors, to be read and written as they are now.
    pub(super) fn begin_refresh(
        &self,
        request: &ErrorRequest,
        adopted: &[SetAside],
        record: &MapRecord,
        records: &mut Vec<Record>,
        begun: &mut Vec<CopyRecord>,
    ) -> Result<u64, Rejected> {
        let mut all = 0;
        for flow in &record.flows {
            let flows = record.family(&flow.stream);
            let mut keys = Vec::new();
            let mut errors = 0;
            let mut take = |change: &Change| {
                keys.extend(flow.spec.keys_of(change));
                errors += 1;
            };
            let here = adopted.iter().filter(|error| flows.contains(&error.flow));
            here.filter_map(|error| error.kept.as_ref()).for_each(|kept| take(&kept.change));
            if let Some(pick) = &request.pick {
                self.each_noted(&record.map.name, pick, &flows, &mut take)?;
            }
            if request.is_all() {
                let kept = record.preserved().filter(|skipped| skipped.flow.stream == flow.stream);
                for skipped in kept {
                    self.each_kept(skipped, &mut take)?;
                }
            }
            if keys.is_empty() {
                continue;
            }
            let refresh = Refresh {
                errors,
                refused: 0,
                since: self.now(),
                actor: request.actor.clone(),
                reason: request.reason.clone(),
                is_repair: false,
            };
            let before = self.copies.record(flow.flow);
            let before =
                before.unwrap_or_else(|| CopyRecord::none(flow.flow, record.map.name.clone(), self.now()));
            let copy = before.refreshing(refresh);
            records.push(Record::Again { flow: flow.flow, keys });
            records.push(Record::Copy(Box::new(copy.clone())));
            begun.push(copy);
            all += errors;
        }
        Ok(all)
    }

    /// The changes of the errors that a pick fits.
    fn each_noted(
        &self,
        map: &MapName,
        pick: &ErrorPick,
        flows: &[FlowId],
        take: &mut impl FnMut(&Change),
    ) -> Result<(), Rejected> {
        let mut after = 0;
        loop {
            let query = ErrorQuery {
                map: Some(map.clone()),
                statuses: Vec::new(),
                pick: pick.clone(),
                after,
                limit: LOOKED_AT_ONCE,
            };
            let page = self.world.store.errors(&query).map_err(|error| Rejected::Disk(error.to_string()))?;
            let here = page.items.iter().filter(|error| flows.contains(&error.flow));
            here.filter_map(|error| error.kept.as_ref()).for_each(|kept| take(&kept.change));
            match page.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// The changes that are left of a preserved queue.
    fn each_kept(&self, skipped: &Skipped, take: &mut impl FnMut(&Change)) -> Result<(), Rejected> {
        let failed = |error: &dyn std::fmt::Display| Rejected::Disk(error.to_string());
        let (flow, stream) = (skipped.flow.flow, &skipped.flow.stream);
        let (Some(handle), Some(status)) = (self.streams.get(stream), self.status_of(stream, flow)) else {
            return Ok(());
        };
        let journal = handle.journal.with(|journal| journal.records().clone());
        let mut after = status.cursor.max(skipped.flow.start.unwrap_or_default());
        loop {
            let limit = ReadLimit { records: LOOKED_AT_ONCE, bytes: 16 << 20, through: skipped.until };
            let found = journal.scan(flow, after, limit).map_err(|error| failed(&error))?;
            let Some(last) = found.last().map(|record| record.seq) else { return Ok(()) };
            let noted = self.world.store.noted(flow, after, last).map_err(|error| failed(&error))?;
            found.iter().filter(|one| !noted.contains(&one.seq)).for_each(|one| take(&one.change));
            after = last;
        }
    }

    /// The first flow of a map whose initial sync has not ended. Of a map that goes both ways that of the master comes
    /// first: what it writes over is read behind it.
    fn next_to_read<'a>(&self, record: &'a MapRecord) -> Option<&'a FlowRecord> {
        let ended = |flow: &&FlowRecord| {
            self.copies.record(flow.flow).is_some_and(|copy| copy.stage == CopyStage::Ended)
        };
        let master = match record.map.initial_sync.master {
            SideName::Left => &record.map.left.app,
            SideName::Right => &record.map.right.app,
        };
        let (first, second): (Vec<_>, Vec<_>) =
            record.flows.iter().partition(|flow| flow.stream.source == *master);
        first.into_iter().chain(second).find(|flow| !ended(flow))
    }

    /// Whether a map that this one depends on has changes that are not applied: records may wait for them.
    fn parents_behind(&self, name: &MapName) -> bool {
        let is_behind = |parent: &MapName| {
            let Some(record) = self.maps.get(parent) else { return false };
            let live = |flow: &FlowRecord| {
                self.status_of(&flow.stream, flow.flow).is_some_and(|status| status.place == Place::Live)
            };
            match record.state.phase {
                Phase::Running => record.state.is_pausing() || !record.flows.iter().all(live),
                Phase::Paused | Phase::Resuming => true,
                Phase::NotRunning | Phase::Initializing(_) => false,
            }
        };
        self.dependents.ancestors(name).iter().any(is_behind)
    }

    /// Why the initial sync of a map stands whose apps answer.
    fn stands_for(&self, record: &MapRecord) -> Option<Fault> {
        let above = self.dependents.ancestors(&record.map.name);
        let held = above.iter().find(|name| self.maps.get(*name).is_some_and(is_held));
        let held = held.filter(|_| is_copying(record))?;
        let message = format!("{held} is paused, and this map depends on it");
        let fix = format!("tandem map resume {held}: this goes on by itself then");
        Some(Fault::new(FaultClass::Reference, "copy", message).fix(fix))
    }

    /// The places of columns by which records of a flow refer to each other, or to those of maps that depend on its own as
    /// well as it on them. None of a map that goes both ways: what is left empty would come back as a change.
    fn circular(&self, flow: FlowId) -> Vec<usize> {
        let of_flow = |record: &&MapRecord| record.flows.iter().any(|one| one.flow == flow);
        let Some(record) = self.maps.values().find(of_flow) else { return Vec::new() };
        let Some(flow) = record.flows.iter().find(|one| one.flow == flow) else { return Vec::new() };
        if record.map.direction == Direction::Both {
            return Vec::new();
        }
        let (above, below) =
            (self.dependents.ancestors(&record.map.name), self.dependents.dependents(&record.map.name));
        let mut together: Vec<&FlowRecord> = vec![flow];
        for name in above.intersection(&below) {
            let others = self.maps.get(name).into_iter().flat_map(|record| &record.flows);
            together.extend(others.filter(|other| other.stream == flow.stream));
        }
        flow.spec.places_referring(|table| together.iter().any(|one| one.spec.destination.is_same(table)))
    }

    /// Whether all that a map depends on is copied. Maps that depend on each other do not wait for each other.
    fn may_be_read(&self, name: &MapName) -> bool {
        let waits_for = |parent: &MapName| {
            let Some(record) = self.maps.get(parent) else { return false };
            let enters = record.state.phase == Phase::Initializing(Initializing::EnteringToCopy);
            let together = self.dependents.ancestors(parent).contains(name);
            // Those that go together begin together.
            enters || (is_copying(record) && !together)
        };
        !self.dependents.ancestors(name).iter().any(waits_for)
    }

    fn reader(&self, flow: &FlowRecord) -> Option<Reader> {
        Some(Reader {
            env: self.world.env.clone(),
            desk: self.copies.desks.get(&flow.flow)?.clone(),
            source: self.world.apps.get(&flow.stream.source)?.clone(),
            destination: self.world.apps.get(&flow.stream.destination)?.clone(),
            marks: self.apps.get(&flow.stream.source)?.marks.clone(),
            stream: flow.stream.clone(),
            spec: flow.spec.clone(),
            opposite: self.opposite(flow),
            chunk_rows: self.world.tuning.chunk_rows,
            beside: self.beside(flow),
        })
    }

    /// Of a two-way map: the journal of what comes the other way, and the map's number.
    fn opposite(&self, flow: &FlowRecord) -> Option<(Arc<JournalHandle>, u64)> {
        let record = self.maps.get(&flow.spec.map)?;
        let other = record.flows.iter().find(|other| other.stream != flow.stream)?;
        Some((self.streams.get(&other.stream)?.journal.clone(), map_number(&flow.spec.map)))
    }

    /// The desks of maps that depend on a flow's map as it does on them.
    fn beside(&self, flow: &FlowRecord) -> Vec<Arc<Desk>> {
        let name = &flow.spec.map;
        let above = self.dependents.ancestors(name);
        let in_cycle = |other: &&MapRecord| {
            let other = &other.map.name;
            other != name && above.contains(other) && self.dependents.ancestors(other).contains(name)
        };
        let flows = self.maps.values().filter(in_cycle).flat_map(|record| &record.flows);
        flows.filter_map(|flow| self.copies.desks.get(&flow.flow).cloned()).collect()
    }

    /// Whether the initial sync of a map has ended, and if so whether every row got through.
    pub(super) fn copied(&self, record: &MapRecord) -> Option<bool> {
        let copies: Vec<CopyRecord> =
            record.flows.iter().map(|flow| self.copies.record(flow.flow)).collect::<Option<_>>()?;
        let ended = copies.iter().all(|copy| copy.stage == CopyStage::Ended);
        ended.then(|| copies.iter().all(|copy| copy.counts.failed == 0))
    }

    /// How the initial sync of a map stands, or how the last one ended; all flows together.
    pub(super) fn initial_sync_view(&self, record: &MapRecord) -> Option<InitialSyncView> {
        let copies: Vec<CopyRecord> = record
            .flows
            .iter()
            .filter_map(|flow| self.copies.record(flow.flow))
            .filter(|copy| copy.initial)
            .collect();
        let first = copies.first()?;
        let desks = || {
            let here = record.flows.iter().filter(|_| is_copying(record));
            here.filter_map(|flow| self.copies.desks.get(&flow.flow))
        };
        let mut view = InitialSyncView {
            stage: copies.iter().map(stage).min().unwrap_or_else(|| stage(first)),
            rows_done: 0,
            rows_total_estimate: None,
            inserted: 0,
            updated: 0,
            unchanged: 0,
            failed: 0,
            rate: None,
            started_at: first.started_at,
            ended_at: copies
                .iter()
                .map(|copy| copy.ended_at)
                .collect::<Option<Vec<_>>>()
                .and_then(|all| all.into_iter().max()),
            fault: self.stands_for(record).or_else(|| desks().find_map(|desk| desk.fault())),
        };
        for CopyRecord { counts, estimate, .. } in &copies {
            view.rows_done += counts.rows;
            view.inserted += counts.inserted;
            view.updated += counts.updated;
            view.unchanged += counts.unchanged;
            view.failed += counts.failed;
            if let Some(estimate) = estimate {
                *view.rows_total_estimate.get_or_insert(0) += (*estimate).max(counts.rows);
            }
        }
        let now = self.world.env.now();
        let (mut rows, mut since) = (0, None);
        for (done, began) in desks().map(|desk| desk.resumed()) {
            rows += done;
            since = Some(since.map_or(began, |since: std::time::Duration| since.min(began)));
        }
        view.rate = since.filter(|_| rows > 0).and_then(|since| Rate::of(rows, now.saturating_sub(since)));
        Some(view)
    }
}
