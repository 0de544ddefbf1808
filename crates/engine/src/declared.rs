//! What is declared against what is saved, at each start and each reload: maps and rules begin as they are declared now and go on
//! where they were.

use crate::store::{MapRecord, Record, RuleRecord};
use crate::supervisor::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::lifecycle::{Event, Hold, HoldNote, Phase, step};
use tandem_core::map::{Direction, TableMap};
use tandem_core::rules::Rule;
use tandem_core::{Finding, MapName, WallTime};

/// Brings the saved maps in line with the declared ones. A map that runs cannot be changed or left out.
pub(crate) fn reconcile_maps(
    saved: &mut BTreeMap<MapName, MapRecord>,
    declared: Vec<TableMap>,
    world: &World,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for map in &declared {
        for side in [&map.left, &map.right] {
            if !world.apps.contains_key(&side.app) {
                let message = format!("there is no app {}", side.app);
                let finding = Finding::error("app_unknown", format!("map {}", map.name), message);
                findings.push(finding.fix("declare it in the config under [apps], or name another one"));
            }
        }
        findings.extend(shared_table(map, &declared));
    }
    for (name, record) in saved.iter().filter(|(_, record)| record.state.phase != Phase::NotRunning) {
        let same = declared.iter().find(|map| map.name == *name);
        let what = match same {
            None => "it is no longer declared",
            Some(map) if *map != record.map && !may_become(record, map) => "it was declared differently",
            Some(_) => continue,
        };
        let message = format!("{what}, but it is {}", record.state.phase);
        let fix = format!(
            "declare it as it was until it is paused (tandem map pause {name}); all of it may be changed, or left out, while it is stopped"
        );
        findings.push(Finding::error("map_in_use", format!("map {name}"), message).fix(fix));
    }
    let gone = |name: &MapName| !declared.iter().any(|map| map.name == *name);
    for (name, record) in saved.iter().filter(|(name, _)| gone(name)) {
        if record.state.phase == Phase::NotRunning && !record.skipped.is_empty() {
            let message = "it is no longer declared, but a queue of it is preserved as errors";
            let fix = "declare it as it was, then retry or delete its errors: tandem error delete MAP --all";
            findings.push(Finding::error("map_in_use", format!("map {name}"), message).fix(fix));
        }
    }
    let now = world.env.wall();
    let mut next = BTreeMap::new();
    for map in declared {
        let record = match saved.remove(&map.name) {
            Some(record) if record.state.phase != Phase::NotRunning => edited(record, &map, now),
            // A map that is stopped begins anew, but what it has left behind is still there.
            Some(MapRecord { skipped, retries, .. }) => {
                MapRecord { skipped, retries, ..MapRecord::new(map.clone(), now) }
            }
            None => MapRecord::new(map.clone(), now),
        };
        next.insert(map.name.clone(), record);
    }
    *saved = next;
    findings
}

/// Whether a map that is not stopped may be declared so now: while it is paused, everything may change but what its
/// queue was captured by.
fn may_become(record: &MapRecord, map: &TableMap) -> bool {
    let sources =
        |map: &TableMap| map.flows().into_iter().map(|(source, _)| source.clone()).collect::<Vec<_>>();
    let apps = |map: &TableMap| [map.left.app.clone(), map.right.app.clone()];
    record.state.phase == Phase::Paused
        && record.map.direction == map.direction
        && apps(&record.map) == apps(map)
        && sources(&record.map) == sources(map)
}

/// A map as it is declared now. One that was edited is checked when a person resumes it, and by nobody else.
fn edited(mut record: MapRecord, map: &TableMap, now: WallTime) -> MapRecord {
    if record.map != *map {
        let hold = Hold::System("edited".into());
        let note = HoldNote { since: now, actor: "config".into(), reason: "the map was edited".into() };
        if let Ok(state) = step(&record.state, Event::Hold(hold, note), now) {
            record.state = state;
        }
        record.map = map.clone();
    }
    record
}

/// Brings the saved rules in line with the declared ones, and says what is to be saved. A hold of a rule that is no
/// longer declared stays until a person resumes the map.
pub(crate) fn reconcile_rules(saved: &mut BTreeMap<Arc<str>, RuleRecord>, declared: &[Rule]) -> Vec<Record> {
    let mut before = std::mem::take(saved);
    let mut records = Vec::new();
    for rule in declared {
        let record = match before.remove(&rule.name) {
            Some(record) => record.declared_as(rule.clone()),
            None => RuleRecord::new(rule.clone()),
        };
        records.push(Record::Rule(Box::new(record.clone())));
        saved.insert(rule.name.clone(), record);
    }
    records.extend(before.into_keys().map(Record::NoRule));
    records
}

/// A table may be in one map that goes both ways: what a change knew is one number.
fn shared_table(map: &TableMap, declared: &[TableMap]) -> Option<Finding> {
    let two_way = |map: &&TableMap| map.direction == Direction::Both;
    let sides = |map: &TableMap| [&map.left, &map.right].map(|side| (side.app.clone(), side.table.clone()));
    let mine = sides(map);
    let other = declared.iter().filter(two_way).take_while(|other| other.name != map.name);
    let other = other.into_iter().find(|other| sides(other).iter().any(|side| mine.contains(side)));
    let other = Some(map).filter(two_way).and(other)?;
    let place = format!("map {}", map.name);
    let message = format!("a table of it is in the map {} too, and both go both ways", other.name);
    Some(Finding::error("table_shared", place, message).fix("let one of the two maps go one way"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tandem_core::WallTime;
    use tandem_core::rules::{ErrorClasses, MapSelection, Observed, ResumeBy, RuleAction, Then, When};

    fn rule(count: u32, enabled: bool) -> Rule {
        Rule {
            name: "watch".into(),
            maps: MapSelection::All,
            when: When::Errors { classes: ErrorClasses::Any, count, within: Duration::from_secs(60) },
            then: Then { notify: Vec::new(), action: RuleAction::Pause(ResumeBy::Hand) },
            cooldown: Duration::from_secs(60),
            enabled,
        }
    }

    /// A rule that a person has switched off, and that has seen something.
    fn saved() -> BTreeMap<Arc<str>, RuleRecord> {
        let mut record = RuleRecord::new(rule(2, true));
        let seen = Observed::Failed { class: tandem_core::FaultClass::Application };
        record.state.observe(&record.declared, &"a".into(), seen, WallTime(0));
        record.switched = Some(false);
        BTreeMap::from([("watch".into(), record)])
    }

    fn declared_as(rule: Rule) -> RuleRecord {
        let mut saved = saved();
        reconcile_rules(&mut saved, &[rule]);
        saved.remove("watch").unwrap()
    }

    #[test]
    fn a_rule_goes_on_where_it_was_and_begins_anew_when_it_is_declared_differently() {
        let before = saved().remove("watch").unwrap();
        assert_eq!(declared_as(rule(2, true)), before);
        assert!(!declared_as(rule(2, true)).in_force().enabled, "switched off by hand");
        let changed = declared_as(rule(3, true));
        assert_ne!(changed.state, before.state, "what was seen was seen under another rule");
        assert!(!changed.in_force().enabled, "still switched off by hand");
        let newer = declared_as(rule(2, false));
        assert_eq!((newer.switched, newer.state), (None, before.state), "the config's own word is newer");
    }

    #[test]
    fn a_rule_that_is_no_longer_declared_is_forgotten() {
        let mut saved = saved();
        let records = reconcile_rules(&mut saved, &[]);
        assert!(saved.is_empty());
        assert!(matches!(records.as_slice(), [Record::NoRule(name)] if **name == *"watch"));
    }
}
