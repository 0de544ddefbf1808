//! A config that was read again: maps, limits and rules are as they are declared now, without a restart.
//!
//! The same code that brings saved maps in line at a start does it here, so that a reload and a restart with the same
//! file end equal, and refuse the same. It is all or nothing: one map that may not change now, and nothing does. What is
//! declared as it was is not touched: a map that runs goes on in the middle of its transaction.

use super::Supervisor;
use crate::declared::{reconcile_maps, reconcile_rules};
use crate::reload::{Change, Declared, Reload, Subject, differences};
use crate::request::Rejected;
use crate::store::Record;
use crate::view::ActivityEntry;
use tandem_core::{Dependents, MapName};

impl Supervisor {
    /// Goes on with what is declared now, and says what that changes.
    pub(super) fn reload(&mut self, asked: Reload) -> Result<Vec<Change>, Rejected> {
        let Reload { declared, beside, dry_run, actor, reason } = asked;
        let mut changes = differences(&self.declared(), &declared);
        changes.extend(beside);
        let mut maps = self.maps.clone();
        let findings = reconcile_maps(&mut maps, declared.maps, &self.world);
        if !findings.is_empty() {
            return Err(Rejected::Check(findings));
        }
        for (name, record) in &mut maps {
            if let Some(before) = self.maps.get(name).filter(|before| before.map == record.map) {
                record.clone_from(before);
            }
        }
        if dry_run || changes.is_empty() {
            return Ok(changes);
        }
        let mut rules = self.ruling.records();
        let mut records = reconcile_rules(&mut rules, &declared.rules);
        let changed = maps.values().filter(|record| self.maps.get(&record.map.name) != Some(record));
        records.extend(changed.map(|record| Record::Map(Box::new(record.clone()))));
        let gone = self.maps.keys().filter(|name| !maps.contains_key(name));
        records.extend(gone.cloned().map(Record::NoMap));
        records.extend(changes.iter().map(|change| Record::Activity(self.note_of(change, &actor, &reason))));
        self.save(&records).map_err(|error| Rejected::Disk(error.to_string()))?;

        self.maps = maps;
        self.dependents =
            Dependents::new(self.maps.iter().map(|(name, map)| (name, map.map.depends_on.as_slice())));
        self.world.limits = declared.limits;
        self.world.hold_source = declared.hold_source;
        self.ruling.redeclare(&declared.rules, &rules);
        self.world.rules = declared.rules;
        self.forget_gone();
        self.push_plans().map_err(|error| Rejected::Disk(error.to_string()))?;
        self.show();
        for change in &changes {
            tracing::info!(actor, "config: {change}");
        }
        Ok(changes)
    }

    fn declared(&self) -> Declared {
        Declared {
            maps: self.maps.values().map(|record| record.map.clone()).collect(),
            limits: self.world.limits.clone(),
            hold_source: self.world.hold_source.clone(),
            rules: self.world.rules.clone(),
        }
    }

    fn note_of(&self, change: &Change, actor: &str, reason: &str) -> ActivityEntry {
        let of_map = matches!(change.subject, Subject::Map | Subject::Limits);
        ActivityEntry {
            id: 0,
            at: self.now(),
            event: format!("{}.{}", change.subject.name(), change.how.name()),
            map: of_map.then(|| MapName::from(change.name.as_str())),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            from: None,
            to: None,
            detail: change.to_string(),
        }
    }

    /// Of a map that is no longer declared nothing is known that one of the same name could be taken for later.
    fn forget_gone(&mut self) {
        let maps = &self.maps;
        self.conditions.retain(|(map, _), _| maps.contains_key(map));
        self.bypasses_told.retain(|(map, _), _| maps.contains_key(map));
        self.tallies.retain(|map, _| maps.contains_key(map));
        self.asked.retain(|map, _| maps.contains_key(map));
        self.watched.retain(|map, _| maps.contains_key(map));
        self.resuming.retain(|map, _| maps.contains_key(map));
        self.stuck.retain(|map, _| maps.contains_key(map));
        self.looks.retain(|map, _| maps.contains_key(map));
        self.refusals.retain(|map, _| maps.contains_key(map));
    }
}
