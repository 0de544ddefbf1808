//! Holds that nobody asked for: put on by a limit or a rule, and taken off again by what put them there.
//!
//! A map is held with everything that depends on it, and let go with it, so that no record arrives whose parent
//! does not. What is to change is gathered as [`Changes`], saved in one transaction together with what was the
//! cause of it, and only then made so: after a crash either all of it is the case or nothing.

use super::Supervisor;
use crate::store::{MapRecord, Record, StoreError};
use std::collections::BTreeMap;
use tandem_core::MapName;
use tandem_core::lifecycle::{Event, Hold, HoldNote, step};

/// Maps that are about to change, with what is saved along with them.
#[derive(Default)]
pub(super) struct Changes {
    records: Vec<Record>,
    maps: BTreeMap<MapName, MapRecord>,
}

/// What the activity log says of a change.
pub(super) struct Told<'a> {
    pub(super) event: &'a str,
    pub(super) actor: &'a str,
    pub(super) reason: &'a str,
    pub(super) detail: &'a str,
}

impl Changes {
    /// Something that is saved in the same transaction.
    pub(super) fn along(&mut self, record: Record) {
        self.records.push(record);
    }

    /// A map that changes in what no state depends on.
    pub(super) fn alter(&mut self, record: MapRecord) {
        self.maps.insert(record.map.name.clone(), record);
    }

    /// Whether there is nothing to save.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.maps.is_empty()
    }
}

impl Supervisor {
    /// Holds a map, and everything that depends on it. `alter` changes what else there is about the map itself.
    pub(super) fn hold(
        &self,
        changes: &mut Changes,
        map: &MapName,
        hold: Hold,
        told: &Told<'_>,
        alter: impl FnOnce(&mut MapRecord),
    ) {
        let note = HoldNote { since: self.now(), actor: told.actor.into(), reason: told.reason.into() };
        self.change(changes, map, Event::Hold(hold, note.clone()), told, alter);
        let along = format!("goes along with {map}");
        for other in self.dependents.dependents(map) {
            let event = Event::Hold(Hold::Parent(map.clone()), note.clone());
            self.change(changes, &other, event, &Told { detail: &along, ..*told }, |_| {});
        }
    }

    /// Takes a hold off a map. If it was the last one, what was held for the map's sake is let go, too.
    pub(super) fn lift(&self, changes: &mut Changes, map: &MapName, hold: Hold, told: &Told<'_>) {
        self.change(changes, map, Event::Lift(hold), told, |_| {});
        let next = changes.maps.get(map).or_else(|| self.maps.get(map));
        if next.is_none_or(|record| !record.state.holds.is_empty()) {
            return;
        }
        let along = format!("goes along with {map}");
        for other in self.dependents_held_by(map) {
            let event = Event::Lift(Hold::Parent(map.clone()));
            self.change(changes, &other, event, &Told { detail: &along, ..*told }, |_| {});
        }
    }

    /// Saves what is to change, and makes it so. Nothing is changed if it cannot be saved.
    pub(super) fn carry_out(&mut self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let Changes { mut records, maps } = changes;
        records.extend(maps.values().map(|record| Record::Map(Box::new(record.clone()))));
        self.save(&records)?;
        if maps.is_empty() {
            return Ok(());
        }
        for (map, record) in maps {
            self.asked.insert(map.clone(), self.version + 1);
            self.maps.insert(map, record);
        }
        if let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    fn change(
        &self,
        changes: &mut Changes,
        map: &MapName,
        event: Event,
        told: &Told<'_>,
        alter: impl FnOnce(&mut MapRecord),
    ) {
        let Some(record) = changes.maps.get(map).or_else(|| self.maps.get(map)) else { return };
        let mut next = record.clone();
        alter(&mut next);
        // One that is in another state is left as it is.
        if let Ok(state) = step(&next.state, event, self.now()) {
            next.state = state;
        }
        if next == *record {
            return;
        }
        let mut entry = self.note(told.event, map, told.actor, told.reason);
        entry.from = Some(record.state.phase.to_string());
        entry.to = Some(next.state.phase.to_string());
        entry.detail = told.detail.to_owned();
        tracing::warn!(%map, actor = told.actor, event = told.event, "{}", told.reason);
        changes.records.push(Record::Activity(entry));
        changes.maps.insert(map.clone(), next);
    }
}
