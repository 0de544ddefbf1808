//! Holds that nobody asked for: put on by a limit or a rule, and taken off again by what put them there.
//!
//! A map is held with everything that depends on it, and let go with it, so that no record arrives whose parent
//! does not. What is to change is gathered as [`Changes`], saved in one transaction together with what was the
//! cause of it, and only then made so: after a crash either all of it is the case or nothing.

use super::Supervisor;
use crate::store::{MapRecord, Record, StoreError};
use std::collections::BTreeMap;
use tandem_core::MapName;
use tandem_core::lifecycle::{Event, Hold, HoldNote, MapState, Phase, step};

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

    /// Lets go what is held for the sake of a map that is live again without having been resumed: it was stopped and run
    /// anew, it was held only in name while it was copied, or the one that is held no longer depends on it.
    pub(super) fn let_go_of_the_live(&mut self) -> Result<(), StoreError> {
        let held = self.maps.iter().flat_map(|(map, record)| {
            let parents = record.state.holds.keys().filter_map(|hold| match hold {
                Hold::Parent(parent) => Some(parent),
                Hold::User | Hold::Rule(_) | Hold::Limit | Hold::System(_) => None,
            });
            parents.map(move |parent| (map.clone(), parent.clone()))
        });
        let over: Vec<(MapName, MapName)> =
            held.filter(|(map, parent)| !self.holds_up(parent, map)).collect();
        let mut changes = Changes::default();
        for (map, parent) in over {
            let (reason, detail) = (format!("{parent} is live"), format!("goes along with {parent}"));
            let told = Told { event: "map.resume", actor: "tandem", reason: &reason, detail: &detail };
            self.lift(&mut changes, &map, Hold::Parent(parent), &told);
        }
        self.carry_out(changes)
    }

    /// Whether a map must still wait for one that it was held for.
    fn holds_up(&self, parent: &MapName, map: &MapName) -> bool {
        let is_live = |state: &MapState| {
            matches!(state.phase, Phase::Running | Phase::Resuming) && state.holds.is_empty()
        };
        let live = self.maps.get(parent).is_some_and(|parent| is_live(&parent.state));
        !live && self.dependents.dependents(parent).contains(map)
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
