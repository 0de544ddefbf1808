//! Initial syncs: whose turn it is, and what came of them.
//!
//! A map that is being copied has a desk for each of its flows, from the moment on that its lanes may write. Reading
//! begins when all that the map depends on is copied, one flow of a map after the other; maps that depend on each other
//! go together. That all of a flow is done its desk says, which has saved it.

use super::Supervisor;
use crate::copy::{Desk, Reader, read};
use crate::store::{CopyRecord, CopyStage, FlowId, FlowRecord, MapRecord};
use crate::view::InitialSyncView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::lifecycle::{Action, Initializing, Phase};
use tandem_core::{MapName, Rate};

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

    fn record(&self, flow: FlowId) -> Option<CopyRecord> {
        let going_on = self.desks.get(&flow).map(|desk| desk.record());
        going_on.or_else(|| self.saved.get(&flow).cloned())
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

impl Supervisor {
    /// Gives the flows of maps that are being copied their desks, and takes them from all others.
    pub(super) fn set_up_copies(&mut self) {
        let now = self.world.env.now();
        let copying = self.maps.values().filter(|record| is_copying(record));
        let wanted: BTreeSet<FlowId> =
            copying.flat_map(|record| record.flows.iter().map(|flow| flow.flow)).collect();
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
                let desk = Desk::new(record, self.world.store.clone(), now);
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

    /// The first flow of a map whose initial sync has not ended.
    fn next_to_read<'a>(&self, record: &'a MapRecord) -> Option<&'a FlowRecord> {
        let ended = |flow: &&FlowRecord| {
            self.copies.record(flow.flow).is_some_and(|copy| copy.stage == CopyStage::Ended)
        };
        record.flows.iter().find(|flow| !ended(flow))
    }

    /// Whether all that a map depends on is copied. Maps that depend on each other do not wait for each other.
    fn may_be_read(&self, name: &MapName) -> bool {
        let unfinished = |parent: &MapName| {
            self.maps.get(parent).is_some_and(|record| {
                let phase = record.state.phase;
                is_copying(record) || phase == Phase::Initializing(Initializing::EnteringToCopy)
            })
        };
        let above = self.dependents.ancestors(name);
        !above.iter().any(|parent| {
            parent != name && unfinished(parent) && !self.dependents.ancestors(parent).contains(name)
        })
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
            chunk_rows: self.world.tuning.chunk_rows,
        })
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
        let copies: Vec<CopyRecord> =
            record.flows.iter().filter_map(|flow| self.copies.record(flow.flow)).collect();
        let first = copies.first()?;
        let desks = || record.flows.iter().filter_map(|flow| self.copies.desks.get(&flow.flow));
        let mut view = InitialSyncView {
            stage: copies.iter().map(|copy| copy.stage).min().unwrap_or(first.stage),
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
            fault: desks().find_map(|desk| desk.fault()),
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
