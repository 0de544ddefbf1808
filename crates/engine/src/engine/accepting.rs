//! Going on behind a gap: what is asked of the app before a person's word is noted.

use super::Engine;
use super::checking::table_missing;
use crate::request::{Accepted, GapAccepted, Rejected};
use crate::supervisor::Command;
use tandem_core::lifecycle::Phase;
use tandem_core::map::{Side, TableMap};
use tandem_core::{Finding, TableName};

impl Engine {
    /// Goes on behind a gap in an app's log, although nobody knows what lies in it. Returns when that is recorded; the
    /// maps stay paused, with the queue from before the gap, until they are resumed.
    pub async fn accept_gap(&self, asked: GapAccepted) -> Result<Accepted, Rejected> {
        let Some(connector) = self.apps.get(&asked.app) else {
            return Err(Rejected::Senseless(format!("there is no app {}", asked.app)));
        };
        let snapshot = self.snapshot();
        let begun = snapshot.maps.iter().filter(|view| view.state.phase != Phase::NotRunning);
        let sides = begun.flat_map(|view| {
            let sources = view.map.flows().into_iter().map(|(source, _)| source);
            sources.filter(|side| side.app == asked.app).map(|side| (&view.map, side))
        });
        let sides: Vec<(&TableMap, &Side)> = sides.collect();
        let tables: Vec<TableName> = sides.iter().map(|(_, side)| side.table.clone()).collect();
        // A log is taken up with all of its tables: one that is gone would keep the others waiting.
        let schemas = connector.describe(&tables).await.map_err(Rejected::App)?;
        let gone = schemas.iter().zip(sides).filter(|(schema, _)| schema.is_none());
        let gone = gone.map(|(_, (map, side))| {
            let fix = format!("tandem map stop {} --queue discard --yes, or bring the table back", map.name);
            table_missing(map, side).fix(fix)
        });
        let findings: Vec<Finding> = gone.collect();
        if !findings.is_empty() {
            return Err(Rejected::Check(findings));
        }
        self.ask(|reply| Command::AcceptGap { asked, reply }).await?
    }
}
