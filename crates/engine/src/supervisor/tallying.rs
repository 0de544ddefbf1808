//! What happened to maps since the engine started, counted for figures that are to rise and never to fall.
//!
//! Each of it is an entry of the activity log as well, and is counted when that entry is saved: what could not be saved
//! did not happen, is tried again, and counts once. A map that is stopped keeps its counts; one that is no longer
//! declared has none.

use super::Supervisor;
use crate::store::{MapRecord, RetryRecord};
use crate::stream::FlowStatus;
use crate::view::MapTally;
use tandem_core::MapName;

impl MapTally {
    /// What has become of the errors of a retry so far.
    pub(super) fn add_retry(&mut self, status: &FlowStatus) {
        let outcomes = &status.outcomes;
        self.retried += outcomes.settled().saturating_sub(outcomes.set_aside);
        self.refused_again += outcomes.set_aside;
    }
}

impl Supervisor {
    /// The counts of a map, to be added to.
    pub(super) fn tally(&mut self, map: &MapName) -> &mut MapTally {
        self.tallies.entry(map.clone()).or_default()
    }

    /// What happened to a map until now, with the retries that are going on.
    pub(super) fn tally_view(&self, record: &MapRecord) -> MapTally {
        let mut tally = self.tallies.get(&record.map.name).copied().unwrap_or_default();
        let status = |retry: &RetryRecord| self.status_of(&retry.stream, retry.retry);
        record.retries.iter().filter_map(status).for_each(|status| tally.add_retry(&status));
        tally
    }
}
