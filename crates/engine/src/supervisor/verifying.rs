//! What a comparison of two tables needs to know of a map, and what it asks for.
//!
//! Records that are to be made as they are in the source are looked at once more by the flow's desk, as errors are that
//! are refreshed: noted durably first, and brought to their end also after a crash.

use super::retrying::may_write;
use super::{Located, Supervisor};
use crate::capture::Marks;
use crate::request::{Blocker, Rejected};
use crate::store::{CopyRecord, FlowId, Record, Refresh};
use tandem_core::lifecycle::Phase;
use tandem_core::map::TableMap;
use tandem_core::{IntegrationKey, MapName, StreamName};

/// A map and its flows, as of one moment.
pub(crate) struct Ways {
    pub(crate) map: TableMap,
    pub(crate) phase: Phase,
    pub(crate) pausing: bool,
    /// Its errors are being tried again, or records repaired.
    pub(crate) busy: bool,
    pub(crate) ways: Vec<Way>,
}

/// One flow of a map.
pub(crate) struct Way {
    pub(crate) at: Located,
    pub(crate) stream: StreamName,
    /// The flows under which its errors are noted.
    pub(crate) family: Vec<FlowId>,
    /// Who writes barriers into its source.
    pub(crate) marks: Marks,
}

/// Records that are to be made as they are in the source.
pub(crate) struct Repair {
    pub(crate) map: MapName,
    pub(crate) flow: FlowId,
    /// As the source has them.
    pub(crate) keys: Vec<IntegrationKey>,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

impl Supervisor {
    /// Where the flows of a map are.
    pub(super) fn ways(&self, map: &MapName) -> Result<Ways, Rejected> {
        let record = self.maps.get(map).ok_or_else(|| Rejected::UnknownMap(map.clone()))?;
        let ways = self.locate(map)?.into_iter().filter_map(|at| {
            let flow = record.flows.iter().find(|flow| flow.flow == at.flow)?;
            let marks = self.apps.get(&flow.stream.source)?.marks.clone();
            Some(Way { at, stream: flow.stream.clone(), family: record.family(&flow.stream), marks })
        });
        Ok(Ways {
            map: record.map.clone(),
            phase: record.state.phase,
            pausing: record.state.is_pausing(),
            busy: !record.retries.is_empty() || self.is_refreshing(record),
            ways: ways.collect(),
        })
    }

    /// Takes records to be made as they are in the source. Refused while errors of the map are being tried again.
    pub(super) fn take_repair(&mut self, repair: Repair) -> Result<(), Rejected> {
        let Repair { map, flow, keys, actor, reason } = repair;
        let record = self.maps.get(&map).ok_or_else(|| Rejected::UnknownMap(map.clone()))?;
        let busy = !record.retries.is_empty() || self.is_refreshing(record);
        if record.state.phase != Phase::Running || !may_write(record) || busy {
            let (map, state) = (map.clone(), record.state.phase.name().to_owned());
            let needs = "a repair needs a running map whose errors are not being retried".to_owned();
            return Err(Rejected::State(vec![Blocker { map, state, needs }]));
        }
        if !record.flows.iter().any(|known| known.flow == flow) {
            return Err(Rejected::Senseless(format!("map {map} was stopped meanwhile")));
        }
        let refresh = Refresh {
            errors: keys.len() as u64,
            refused: 0,
            since: self.now(),
            actor,
            reason,
            is_repair: true,
        };
        let before = self.copies.record(flow);
        let before = before.unwrap_or_else(|| CopyRecord::none(flow, map.clone(), self.now()));
        let copy = before.refreshing(refresh);
        let disk = |error: &dyn std::fmt::Display| Rejected::Disk(error.to_string());
        self.save(&[Record::Again { flow, keys }, Record::Copy(Box::new(copy.clone()))])
            .map_err(|error| disk(&error))?;
        self.copies.begin(copy);
        self.push_plans().map_err(|error| disk(&error))
    }

    /// Notes in the activity log that a comparison began or ended.
    pub(super) fn note_verify(
        &self,
        map: &MapName,
        event: &str,
        (actor, reason): (&str, &str),
        detail: String,
    ) -> Result<(), Rejected> {
        let entry = crate::view::ActivityEntry { detail, ..self.note(event, map, actor, reason) };
        let saved = self.save(&[Record::Activity(entry)]);
        saved.map(drop).map_err(|error| Rejected::Disk(error.to_string()))
    }
}
