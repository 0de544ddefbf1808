//! What a config declares that may change under a running engine, and how two of them differ.
//!
//! People see the differences before they agree to them, and the activity log keeps them afterwards, so both are made
//! of the same list. It names what has changed and never to what: an expression or a constant may hold a value of
//! a record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tandem_core::limits::Limits;
use tandem_core::map::TableMap;
use tandem_core::rules::Rule;
use tandem_core::{AppName, MapName};

/// What is declared, but for the apps, the data folder and the address: those stay as long as the engine runs.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The maps.
    pub maps: Vec<TableMap>,
    /// Their limits; the default is for a map that is not among them.
    pub limits: BTreeMap<MapName, Limits>,
    /// Apps that are no longer read while a map is full that they feed.
    pub hold_source: BTreeSet<AppName>,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// A request to go on with what is declared now.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What is declared now.
    pub declared: Declared,
    /// What whoever asks changes beside it, once this is done: said and noted with the rest.
    pub beside: Vec<Change>,
    /// Only say what would change.
    pub dry_run: bool,
    /// Who asks.
    pub actor: String,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A map's declaration.
    Map,
    /// The limits of a map.
    Limits,
    /// A rule.
    Rule,
    /// What is said of an app beside its address.
    App,
    /// Whom rules tell.
    Notify,
    /// The certificate that the server shows.
    Tls,
}

impl Subject {
    /// Its name on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Map => "map",
            Subject::Limits => "limits",
            Subject::Rule => "rule",
            Subject::App => "app",
            Subject::Notify => "notify",
            Subject::Tls => "tls",
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was not there.
    Added,
    /// It is no longer there.
    Removed,
    /// It is declared differently.
    Edited,
}

impl How {
    /// Its name on every surface.
    pub fn name(self) -> &'static str {
        match self {
            How::Added => "added",
            How::Removed => "removed",
            How::Edited => "edited",
        }
    }
}

/// One difference between what was declared and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// Of which map, rule, app or target; `server` of the certificate.
    pub name: String,
    /// What becomes of it.
    pub how: How,
    /// The keys that changed, where it was edited.
    pub keys: Vec<&'static str>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject.name(), self.name, self.how.name())?;
        if !self.keys.is_empty() {
            write!(f, ": {}", self.keys.join(", "))?;
        }
        Ok(())
    }
}

/// What changes from one to the other: maps, limits, rules, apps, each by name.
pub(crate) fn differences(before: &Declared, after: &Declared) -> Vec<Change> {
    let named = |maps: &[TableMap]| -> BTreeMap<String, TableMap> {
        maps.iter().map(|map| (map.name.to_string(), map.clone())).collect()
    };
    let mut changes = compared(Subject::Map, &named(&before.maps), &named(&after.maps), map_keys);
    let kept =
        |name: &MapName| [before, after].iter().all(|side| side.maps.iter().any(|map| map.name == *name));
    for map in after.maps.iter().filter(|map| kept(&map.name)) {
        let [old, new] = [before, after].map(|side| side.limits.get(&map.name).cloned().unwrap_or_default());
        let keys = limit_keys(&old, &new);
        if !keys.is_empty() {
            let name = map.name.to_string();
            changes.push(Change { subject: Subject::Limits, name, how: How::Edited, keys });
        }
    }
    let named = |rules: &[Rule]| -> BTreeMap<String, Rule> {
        rules.iter().map(|rule| (rule.name.to_string(), rule.clone())).collect()
    };
    changes.extend(compared(Subject::Rule, &named(&before.rules), &named(&after.rules), rule_keys));
    for app in before.hold_source.symmetric_difference(&after.hold_source) {
        let (name, keys) = (app.to_string(), vec!["when_full"]);
        changes.push(Change { subject: Subject::App, name, how: How::Edited, keys });
    }
    changes
}

fn compared<T: PartialEq>(
    subject: Subject,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    keys: fn(&T, &T) -> Vec<&'static str>,
) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (how, keys) = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(old), Some(new)) => (How::Edited, keys(old, new)),
            (None, _) => (How::Added, Vec::new()),
            (_, None) => (How::Removed, Vec::new()),
        };
        Some(Change { subject, name: name.clone(), how, keys })
    });
    changed.collect()
}

fn differing<const N: usize>(pairs: [(&'static str, bool); N]) -> Vec<&'static str> {
    pairs.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

fn map_keys(old: &TableMap, new: &TableMap) -> Vec<&'static str> {
    differing([
        ("direction", old.direction == new.direction),
        ("left", old.left == new.left),
        ("right", old.right == new.right),
        ("columns", old.columns == new.columns),
        ("depends_on", old.depends_on == new.depends_on),
        ("deletes", old.deletes == new.deletes),
        ("conflict", old.conflict == new.conflict),
        ("side_effects", old.side_effects == new.side_effects),
        ("on_leave", old.on_leave == new.on_leave),
        ("initial_sync", old.initial_sync.wanted == new.initial_sync.wanted),
        ("master", old.initial_sync.master == new.initial_sync.master),
    ])
}

fn limit_keys(old: &Limits, new: &Limits) -> Vec<&'static str> {
    differing([
        ("max_queue_bytes", old.max_queue_bytes == new.max_queue_bytes),
        ("max_pause_age", old.max_pause_age == new.max_pause_age),
        ("soft_limit", old.soft_limit == new.soft_limit),
        ("when_full", old.when_full == new.when_full),
        ("queue_retention", old.queue_retention == new.queue_retention),
        ("error_retention", old.error_retention == new.error_retention),
    ])
}

fn rule_keys(old: &Rule, new: &Rule) -> Vec<&'static str> {
    differing([
        ("maps", old.maps == new.maps),
        ("when", old.when == new.when),
        ("then", old.then == new.then),
        ("cooldown", old.cooldown == new.cooldown),
        ("enabled", old.enabled == new.enabled),
    ])
}
