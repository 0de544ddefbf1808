//! `when_full = "hold_source"`: an app that is no longer read while a map that it feeds is full.
//!
//! There is one log to an app, and it is read for all of its maps or for none. So the app keeps what is full for one map,
//! and what all the others would get: it is said of each of them. It begins and ends with the map's `blocked`, in whose place
//! other apps refuse writes; and it ends earlier, as soon as a person has resumed the map and there is room again.

use super::Supervisor;
use super::snapshot::Fact;
use crate::store::{MapRecord, Record, StoreError};
use crate::view::ConditionKind;
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::lifecycle::Phase;
use tandem_core::{AppName, MapName};

/// The apps that are not read now, each with the maps that are full.
pub(super) type HeldSources = BTreeMap<AppName, BTreeSet<MapName>>;

/// Whether it is the reading of its sources, and nothing else, that a full map stops.
pub(super) fn only_holds(record: &MapRecord, holding: &BTreeSet<AppName>) -> bool {
    record.flows.iter().all(|flow| holding.contains(&flow.stream.source))
}

impl Supervisor {
    /// The apps that are not to be read now.
    pub(super) fn held_sources(&self) -> HeldSources {
        let mut held = HeldSources::new();
        for record in self.maps.values().filter(|record| record.blocked.is_some()) {
            let sources = record.flows.iter().map(|flow| &flow.stream.source);
            for app in sources.filter(|app| self.world.hold_source.contains(*app)) {
                held.entry(app.clone()).or_default().insert(record.map.name.clone());
            }
        }
        held
    }

    /// Tells of apps that are read no longer, or again.
    pub(super) fn tell_of_sources(&mut self, held: HeldSources) {
        let mut entries = Vec::new();
        for (app, full) in held.iter().filter(|(app, _)| !self.held.contains_key(*app)) {
            let reason = format!("the queue of {} is full", list(full));
            tracing::warn!(%app, "the app is no longer read: {reason}");
            entries.extend(self.of_source(
                "source.held",
                app,
                &reason,
                "it is not read, for none of its maps",
            ));
        }
        for app in self.held.keys().filter(|app| !held.contains_key(*app)) {
            tracing::info!(%app, "the app is read again");
            entries.extend(self.of_source("source.released", app, "there is room again", "it is read again"));
        }
        self.held = held;
        if !entries.is_empty()
            && let Err(error) = self.save(&entries)
        {
            tracing::error!("that an app is held or released could not be saved: {error}");
        }
    }

    /// An entry for each map that an app feeds.
    fn of_source(&self, event: &str, app: &AppName, reason: &str, detail: &str) -> Vec<Record> {
        let fed = |record: &&MapRecord| record.flows.iter().any(|flow| flow.stream.source == *app);
        let entries = self.maps.values().filter(fed).map(|record| {
            let mut entry = self.note(event, &record.map.name, "limit", reason);
            entry.detail = format!("{app}: {detail}");
            Record::Activity(entry)
        });
        entries.collect()
    }

    /// Lets apps be read again for whose sake they were held, if a person has resumed the map and it is full no more.
    pub(super) fn release_sources(&mut self, below: &BTreeSet<MapName>) -> Result<(), StoreError> {
        let is_released = |record: &&MapRecord| {
            record.blocked.is_some()
                && only_holds(record, &self.world.hold_source)
                && matches!(record.state.phase, Phase::Resuming | Phase::Running)
                && record.state.holds.is_empty()
                && below.contains(&record.map.name)
        };
        let released = self.maps.values().filter(is_released);
        let released: Vec<MapRecord> =
            released.map(|record| MapRecord { blocked: None, ..record.clone() }).collect();
        if released.is_empty() {
            return Ok(());
        }
        let records: Vec<Record> =
            released.iter().map(|record| Record::Map(Box::new(record.clone()))).collect();
        self.save(&records)?;
        self.maps.extend(released.into_iter().map(|record| (record.map.name.clone(), record)));
        if let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    /// That a map gets nothing, because of itself or another.
    pub(super) fn held_fact(&self, record: &MapRecord) -> Option<Fact> {
        let sources = record.flows.iter().map(|flow| &flow.stream.source);
        let (app, full) = sources.into_iter().find_map(|app| self.held.get_key_value(app))?;
        let full = list(full);
        let reason = format!(
            "{app} is not read, for none of its maps, because the queue of {full} is full: it keeps its log meanwhile"
        );
        let fix = format!("tandem map resume {full}: when there is room again, {app} is read again");
        Some(Fact { kind: ConditionKind::SourceHeld, status: true, reason, fix: Some(fix) })
    }
}

fn list(maps: &BTreeSet<MapName>) -> String {
    maps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
