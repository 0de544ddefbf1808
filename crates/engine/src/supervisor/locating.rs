//! Where the queues of maps are: for who reads them beside the streams.

use super::Supervisor;
use crate::request::Rejected;
use crate::store::{FlowId, Skipped};
use crate::stream::JournalHandle;
use std::sync::Arc;
use tandem_core::map::FlowSpec;
use tandem_core::{MapName, Seq};

/// Where a flow's queue is.
pub(crate) struct Located {
    pub(crate) journal: Arc<JournalHandle>,
    pub(crate) flow: FlowId,
    pub(crate) spec: FlowSpec,
    pub(crate) cursor: Seq,
}

/// Where a queue is that was preserved: what lies beyond its cursor is errors, as far as it has no entries.
pub(crate) struct LocatedKept {
    pub(crate) map: MapName,
    pub(crate) at: Located,
    /// Its last Seq.
    pub(crate) until: Seq,
    /// How many records are left.
    pub(crate) left: u64,
    /// They are being tried again.
    pub(crate) is_tried: bool,
}

impl Supervisor {
    pub(super) fn locate(&self, map: &MapName) -> Result<Vec<Located>, Rejected> {
        let record = self.maps.get(map).ok_or_else(|| Rejected::UnknownMap(map.clone()))?;
        let located = record.flows.iter().filter_map(|flow| {
            let handle = self.streams.get(&flow.stream)?;
            let cursor = handle.status.borrow().flows.get(&flow.flow).map(|status| status.cursor);
            let cursor = cursor.unwrap_or_default().max(flow.start?);
            Some(Located {
                journal: handle.journal.clone(),
                flow: flow.flow,
                spec: flow.spec.clone(),
                cursor,
            })
        });
        Ok(located.collect())
    }

    /// The preserved queues of a map, or of all, by flow.
    pub(super) fn locate_kept(&self, map: Option<&MapName>) -> Vec<LocatedKept> {
        let records = self.maps.values().filter(|record| map.is_none_or(|map| record.map.name == *map));
        let kept = records.flat_map(|record| record.preserved().map(move |skipped| (record, skipped)));
        let located = kept.filter_map(|(record, Skipped { flow, until, .. })| {
            let handle = self.streams.get(&flow.stream)?;
            let tried = record.retries.iter().any(|retry| retry.kept.contains(&flow.flow));
            // The map may have been edited since: what it is now is what becomes of them.
            let now = record.flows.iter().find(|other| other.stream == flow.stream).unwrap_or(flow);
            let at = Located {
                journal: handle.journal.clone(),
                flow: flow.flow,
                spec: now.spec.clone(),
                cursor: self.status_of(&flow.stream, flow.flow)?.cursor,
            };
            let left = self.kept_records(flow.flow).unwrap_or_default();
            Some(LocatedKept { map: record.map.name.clone(), at, until: *until, left, is_tried: tried })
        });
        let mut located: Vec<LocatedKept> = located.collect();
        located.sort_by_key(|kept| kept.at.flow);
        located
    }
}
