//! Gaps that people accept: an app's log is taken up where it is now, and what lies between is nobody's.
//!
//! A gap is never passed over by itself: nobody but a person can say that what is missing is known, or is to be found by a
//! comparison. Their word stands in the activity log of each map before anything is done. It changes no state: the maps
//! stay paused with the queue that they have, which comes from before the gap, and are resumed as from any other pause.
//!
//! What the *destination* has lost is no such gap: where its watermark is not what we know, we do not know what is there.

use super::Supervisor;
use crate::capture::AcceptedGap;
use crate::request::{Accepted, Blocker, GapAccepted, Rejected};
use crate::store::{FlowRecord, MapRecord, Record};
use crate::two_way::map_number;
use std::sync::Arc;
use tandem_core::lifecycle::Phase;
use tandem_core::{AppName, BarrierId, Fault, Seq};

impl Supervisor {
    /// Notes that the gap in an app's log is accepted, and has the log taken up behind it.
    pub(super) fn accept_gap(&mut self, asked: &GapAccepted) -> Result<Accepted, Rejected> {
        let GapAccepted { app, actor, reason } = asked;
        let of_app = |record: &&MapRecord| flows_from(record, app).next().is_some();
        let affected: Vec<MapRecord> = self.maps.values().filter(of_app).cloned().collect();
        let torn: Vec<(&MapRecord, Fault)> = affected
            .iter()
            .filter_map(|record| Some((record, flows_from(record, app).find_map(|f| self.source_gap(f))?)))
            .collect();
        let blocker = |record: &MapRecord, needs: &str| Blocker {
            map: record.map.name.clone(),
            state: record.state.phase.to_string(),
            needs: needs.to_owned(),
        };
        // A map that still moves would take for new what it has not let go of.
        let moves = |record: &MapRecord| matches!(record.state.phase, Phase::Running | Phase::Resuming);
        let blockers: Vec<Blocker> = match torn.is_empty() {
            true if affected.is_empty() => {
                return Err(Rejected::Senseless(format!("no map reads the log of app {app}")));
            }
            true => affected.iter().map(|record| blocker(record, "has no gap in its source's log")).collect(),
            false => torn
                .iter()
                .filter(|(record, _)| moves(record))
                .map(|(record, _)| blocker(record, "is about to be paused for the gap: ask again when it is"))
                .collect(),
        };
        if !blockers.is_empty() {
            return Err(Rejected::State(blockers));
        }
        let mut engine = self.engine.clone();
        let barrier = BarrierId(engine.next_barrier);
        engine.next_barrier += 1;
        let mut records = vec![Record::Engine(engine.clone())];
        records.extend(torn.iter().map(|(record, gap)| {
            let mut entry = self.note("map.gap_accepted", &record.map.name, actor, reason);
            entry.detail = format!("what was changed in app {app} within the gap is not known: {gap}");
            Record::Activity(entry)
        }));
        let ids = self.save(&records).map_err(|error| Rejected::Disk(error.to_string()))?;
        self.engine = engine;
        let seen = affected.iter().filter_map(|record| self.written_back(record, app)).collect();
        tracing::warn!(%app, actor, maps = torn.len(), "the gap in the app's log is accepted");
        let maps = torn.iter().map(|(record, _)| (record.map.name.clone(), record.state.phase)).collect();
        if let Some(handle) = self.apps.get_mut(app) {
            handle.accepted = Some(Arc::new(AcceptedGap { barrier, seen }));
        }
        self.push_plans().map_err(|error| Rejected::Disk(error.to_string()))?;
        let id = ids.first().copied().unwrap_or_default();
        Ok(Accepted { id, maps, warnings: Vec::new(), left_behind: Vec::new() })
    }

    /// How far the flow of a two-way map has written that goes into this app.
    fn written_back(&self, record: &MapRecord, app: &AppName) -> Option<(u64, Seq)> {
        let back = record.flows.iter().find(|flow| flow.stream.destination == *app)?;
        let cursor = self.status_of(&back.stream, back.flow)?.cursor;
        Some((map_number(&record.map.name), cursor))
    }
}

/// The flows of a map that begin in an app.
fn flows_from<'a>(record: &'a MapRecord, app: &'a AppName) -> impl Iterator<Item = &'a FlowRecord> {
    record.flows.iter().filter(move |flow| flow.stream.source == *app)
}
