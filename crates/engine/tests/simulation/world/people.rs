//! What people do: users write in the left app, operators ask the engine for something.

use super::{MAPS, World, table};
use crate::executor::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;
use tandem_connectors::memory::MemoryApp;
use tandem_core::lifecycle::{Action, QueueFate, ResumeMode};
use tandem_core::two_way::SideName;
use tandem_core::{Guard, MapName, Value};
use tandem_engine::{
    ErrorId, ErrorPick, ErrorQuery, ErrorRequest, ErrorVerb, Request, SetAside, Verification, VerifyRequest,
    VerifyStage, WindowAsked, WindowEnd,
};

impl World {
    /// A user of the left app does a transaction.
    pub(super) fn user(&mut self) {
        let mut steps: Vec<String> = Vec::new();
        let (random, next) = (&mut self.random, &mut self.next_value);
        let mut there: BTreeMap<&str, BTreeSet<i64>> =
            MAPS.map(|name| (name, ids(&self.left, name))).into_iter().collect();
        let mut orders: BTreeMap<i64, i64> = references(&self.left);
        let (parent_deletes, copies) = (self.weather.parent_deletes, self.weather.copies);
        let renumbers = parent_deletes && self.weather.renumbers;
        // Items that this transaction has dealt with, and their values before it.
        let mut swapped: BTreeSet<i64> = BTreeSet::new();
        let (mut accounts, values) = (values(&self.left, "customers"), values(&self.left, "items"));
        let (mut freed, unique) = (self.freed.clone(), self.weather.unique);
        let committed = self.left.transaction(|t| {
            let most = if random.is_rare() { 12 } else { 2 };
            for _ in 0..1 + random.below(most) {
                *next += 1;
                let value = Value::Int(*next);
                let key = i64::try_from(random.below(4)).expect("small");
                let name = MAPS[usize::try_from(random.below(3)).expect("small")];
                let exists = there[name].contains(&key);
                let parents: Vec<i64> = there["customers"].iter().copied().collect();
                let deletes = random.below(10) > 6;
                if name == "items" && copies && exists && random.below(3) == 0 {
                    // Its value moves to another, and the other's comes here.
                    let others: Vec<i64> =
                        there[name].iter().copied().filter(|other| *other != key).collect();
                    let Some(other) = others.get(*next as usize % others.len().max(1)).copied() else {
                        continue;
                    };
                    if swapped.insert(key) && swapped.insert(other) {
                        let at = |id: i64| values.get(&id).cloned().unwrap_or(Value::Null);
                        t.update(&table(name), vec![Value::Int(key)], vec![("v", at(other))]);
                        t.update(&table(name), vec![Value::Int(other)], vec![("v", at(key))]);
                        steps.push(format!("swap items[{key}] [{other}]"));
                    }
                    continue;
                }
                if name == "customers" && renumbers && exists && random.below(3) == 0 {
                    // It gets another number, which nobody has.
                    let free = (0..4).find(|other| !there[name].contains(other));
                    let is_named = orders.values().any(|customer| *customer == key);
                    let Some(free) = free.filter(|_| !is_named) else { continue };
                    t.update(&table(name), vec![Value::Int(key)], vec![("id", Value::Int(free))]);
                    let numbers = there.entry(name).or_default();
                    numbers.remove(&key);
                    numbers.insert(free);
                    let value = accounts.remove(&key);
                    value.into_iter().for_each(|value| drop(accounts.insert(free, value)));
                    steps.push(format!("renumber customers[{key}] {free}"));
                    continue;
                }
                if name == "items" && copies && swapped.contains(&key) {
                    continue;
                }
                swapped.extend((name == "items").then_some(key));
                let value = match (name, exists, deletes) {
                    ("customers", true, false) if unique => freed.pop().unwrap_or(value),
                    _ => value,
                };
                if name == "customers" {
                    match exists && deletes && parent_deletes {
                        true => freed.extend(accounts.remove(&key)),
                        false => drop(accounts.insert(key, value.clone())),
                    }
                }
                let verb = match (name, exists, deletes) {
                    (_, true, false) => {
                        t.update(&table(name), vec![Value::Int(key)], vec![("v", value)]);
                        "update"
                    }
                    ("orders", false, _) => {
                        let Some(customer) = parents.get(*next as usize % parents.len().max(1)).copied()
                        else {
                            continue;
                        };
                        t.insert(&table(name), vec![Value::Int(key), Value::Int(customer), value]);
                        orders.insert(key, customer);
                        "insert"
                    }
                    (_, false, _) => {
                        t.insert(&table(name), vec![Value::Int(key), value, Value::from("long")]);
                        "insert"
                    }
                    ("customers", true, true) if !parent_deletes => {
                        t.update(&table(name), vec![Value::Int(key)], vec![("note", value)]);
                        "note"
                    }
                    (_, true, true) => {
                        if name == "customers" {
                            let children: Vec<i64> =
                                orders.iter().filter(|(_, c)| **c == key).map(|(o, _)| *o).collect();
                            for order in children {
                                t.delete(&table("orders"), vec![Value::Int(order)]);
                                orders.remove(&order);
                                there.entry("orders").or_default().remove(&order);
                            }
                        }
                        t.delete(&table(name), vec![Value::Int(key)]);
                        orders.retain(|order, _| name != "orders" || *order != key);
                        "delete"
                    }
                };
                match verb {
                    "insert" => drop(there.entry(name).or_default().insert(key)),
                    "delete" => drop(there.entry(name).or_default().remove(&key)),
                    _ => {}
                }
                steps.push(format!("{verb} {name}[{key}]={next}"));
            }
        });
        self.say(|| format!("user {steps:?}"));
        if let Err(fault) = committed {
            // Whoever is refused by a guard has done nothing at all.
            let refused = steps.iter().any(|step| {
                let guarded = |guard: &Guard| step.starts_with(&format!("delete {}[", guard.table.name));
                self.left.guards().iter().any(guarded)
                    || ["delete", "renumber"]
                        .iter()
                        .any(|verb| step.starts_with(&format!("{verb} customers[")))
            });
            assert!(refused && !self.left.guards().is_empty(), "seed {}: {fault}", self.seed);
            self.say(|| format!("refused: {fault}"));
        } else {
            self.freed = freed;
        }
    }

    /// An operator asks for something.
    pub(super) fn operator(&mut self) {
        let name: MapName = MAPS[usize::try_from(self.random.below(3)).expect("small")].into();
        if self.weather.preserves && self.random.chance(400) {
            let verb = match self.random.below(8) {
                0 => ErrorVerb::Cancel,
                1 if self.weather.deletes_errors => ErrorVerb::Delete,
                _ => ErrorVerb::Retry,
            };
            let one = self.random.chance(500);
            return self.ask_of_errors(verb, name, one);
        }
        let (verb, action) = match self.random.below(20) {
            0..=5 => ("run", Action::Run { initial_sync: false }),
            6..=11 => ("pause", Action::Pause),
            12..=14 if self.weather.skips => ("resume", Action::Resume(ResumeMode::SkipDiscard)),
            12..=14 if self.weather.preserves => ("resume", Action::Resume(ResumeMode::SkipPreserve)),
            12..=18 => ("resume", Action::Resume(ResumeMode::CatchUp)),
            _ if self.weather.preserves => ("skip", Action::Skip(QueueFate::Preserve)),
            _ if self.weather.skips => ("skip", Action::Skip(QueueFate::Discard)),
            _ => return,
        };
        let mut request = Request::new(action, vec![name], "sim");
        if self.weather.caps && action == Action::Resume(ResumeMode::CatchUp) {
            request.rate = NonZeroU32::new(self.random.below(40) as u32);
            request.with_parents = self.random.chance(500);
        }
        if self.weather.caps && action == Action::Pause && self.random.chance(600) {
            let end = WindowEnd::In(Duration::from_secs(1 + self.random.below(20)));
            request.window = Some(WindowAsked { end, then_resume: self.random.chance(800) });
        }
        self.send(verb, request);
    }

    pub(crate) fn ask(&mut self, verb: &'static str, action: Action, maps: Vec<MapName>) {
        self.send(verb, Request::new(action, maps, "sim"));
    }

    pub(crate) fn send(&mut self, verb: &'static str, request: Request) {
        let Some(engine) = self.engine.clone() else { return };
        let answers = self.answers.clone();
        self.executor.spawn(Box::pin(async move {
            let map = request.maps[0].clone();
            let answer = engine.act(request).await.map(drop);
            answers.lock().expect("one thread").push((verb, map, answer));
        }));
    }

    /// Somebody compares the tables of a map.
    pub(crate) fn verify(&mut self, map: &str, repairs: bool) {
        let Some(engine) = self.engine.clone() else { return };
        let request = VerifyRequest {
            map: map.into(),
            repair: repairs.then_some(SideName::Left),
            seen: None,
            limit: 100,
            actor: "sim".into(),
            reason: String::new(),
        };
        // It may be refused: the map may be in any state.
        self.executor.spawn(Box::pin(async move { drop(engine.verify(request).await) }));
    }

    /// The last comparison of a map, if it was brought to its end.
    pub(crate) fn verified(&self, map: &str) -> Option<Verification> {
        let seen = self.engine.as_ref()?.verification(&map.into()).ok()?;
        (seen.stage == VerifyStage::Done).then_some(seen)
    }

    /// What is on its way, or moves while it is looked at, was never reported as a difference.
    pub(super) fn no_false_difference(&self) {
        let Some(engine) = &self.engine else { return };
        for map in MAPS {
            let Ok(seen) = engine.verification(&map.into()) else { continue };
            assert_eq!(seen.counts.differing(), 0, "seed {}: {map}: {seen:#?}", self.seed);
        }
    }

    /// Somebody asks for something about the errors of a map: about all of them, or about the first one.
    pub(crate) fn ask_of_errors(&mut self, verb: ErrorVerb, map: MapName, one: bool) {
        let Some(engine) = self.engine.clone() else { return };
        let answers = self.answers.clone();
        let refresh = verb == ErrorVerb::Retry && self.weather.refreshes && self.random.chance(500);
        self.executor.spawn(Box::pin(async move {
            let mut request = ErrorRequest {
                verb,
                map: map.clone(),
                pick: Some(ErrorPick::default()),
                kept: Vec::new(),
                refresh,
                rate: None,
                actor: "sim".into(),
                reason: String::new(),
                expected: None,
            };
            if one {
                let query = ErrorQuery { map: Some(map.clone()), limit: 3, ..ErrorQuery::default() };
                let Ok(page) = engine.errors(query, None).await else { return };
                match page.items.last().map(SetAside::name) {
                    Some(ErrorId::Noted(id)) => {
                        request.pick = Some(ErrorPick { ids: vec![id], ..ErrorPick::default() });
                    }
                    Some(ErrorId::Kept(flow, seq)) => {
                        (request.pick, request.kept) = (None, vec![(flow, seq)])
                    }
                    None => return,
                }
            }
            let answer = engine.act_on_errors(request).await.map(drop);
            answers.lock().expect("one thread").push((verb_name(verb), map, answer));
        }));
    }
}

fn verb_name(verb: ErrorVerb) -> &'static str {
    match verb {
        ErrorVerb::Retry => "retry",
        ErrorVerb::Delete => "delete",
        ErrorVerb::Cancel => "cancel",
    }
}

fn ids(app: &MemoryApp, name: &str) -> BTreeSet<i64> {
    let rows = app.rows(&table(name));
    rows.iter()
        .filter_map(|row| if let Some(Value::Int(id)) = row.first() { Some(*id) } else { None })
        .collect()
}

/// The value of each record of a table.
fn values(app: &MemoryApp, name: &str) -> BTreeMap<i64, Value> {
    let rows = app.rows(&table(name));
    let pair = |row: &Vec<Value>| match row.as_slice() {
        [Value::Int(id), value, ..] => Some((*id, value.clone())),
        _ => None,
    };
    rows.iter().filter_map(pair).collect()
}

/// Which customer each order refers to.
fn references(app: &MemoryApp) -> BTreeMap<i64, i64> {
    let rows = app.rows(&table("orders"));
    let pair = |row: &Vec<Value>| match row.as_slice() {
        [Value::Int(order), Value::Int(customer), ..] => Some((*order, *customer)),
        _ => None,
    };
    rows.iter().filter_map(pair).collect()
}

impl Random {
    /// One in eight.
    fn is_rare(&mut self) -> bool {
        self.below(8) == 0
    }
}
