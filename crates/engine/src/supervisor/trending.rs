//! How the queues of maps were over the last hours, for pictures of them.
//!
//! Noted whenever the maps are shown, from what is shown: a picture and the figures beside it never disagree. In memory
//! only, some 30 kB for a map in which something happens all the time: after a restart it begins anew, which is no loss of anything but pictures.

use super::Supervisor;
use crate::request::Rejected;
use crate::view::{FlowView, MapView};
use tandem_core::{Backlog, MapName, Trend, WallTime};

impl Supervisor {
    /// Notes how maps are that are about to be shown.
    pub(super) fn note_trends(&mut self, maps: &[MapView]) {
        let now = self.now();
        self.trends.retain(|name, _| self.maps.contains_key(name));
        for map in maps {
            self.trends.entry(map.map.name.clone()).or_default().observe(now, backlog(map, now));
        }
    }

    /// How the queue of a map was.
    pub(super) fn trend(&self, map: &MapName) -> Result<Trend, Rejected> {
        if !self.maps.contains_key(map) {
            return Err(Rejected::UnknownMap(map.clone()));
        }
        Ok(self.trends.get(map).cloned().unwrap_or_default())
    }
}

fn backlog(map: &MapView, now: WallTime) -> Backlog {
    let age = |flow: &FlowView| flow.queue.oldest_at.map(|oldest| now.since(oldest));
    let queued = map.flows.iter().map(|flow| flow.queue.bytes).sum();
    Backlog {
        records: map.flows.iter().map(|flow| flow.queue.records).sum(),
        bytes: map.limits.as_ref().map_or(queued, |limits| limits.used_bytes),
        lag: map.flows.iter().filter_map(age).max().unwrap_or_default(),
    }
}
