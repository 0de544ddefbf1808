//! Rules: fed with what happens, asked what is to be done, and obeyed.
//!
//! What follows from a rule is decided in `tandem_core::rules`. Here it is told what was applied and what failed (as
//! the difference to what streams had counted at the last look), how full queues are (as limits judge them), and
//! which apps answer (see `reach`). What it asks for is done in one transaction with the state from which it asks:
//! after a crash a rule that has fired knows it, and one that does not know it has not fired. Without an effect a
//! state is saved when it has changed, and not more than once a second: a second of counting is what a crash costs. A map
//! is stopped just before its rule's state is saved: to stop what is stopped changes nothing.
//!
//! People are told after that, by others (see `telling`).

use super::holding::{Changes, Told};
use super::reach::{Reaches, writing};
use super::{Prepared, Supervisor};
use crate::request::{Rejected, Request};
use crate::store::{FlowId, MapRecord, Record, RuleRecord, StoreError};
use crate::stream::{ByClass, FlowStatus, Outcomes};
use crate::view::{ActivityEntry, RuleOnMap, RuleView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::lifecycle::{Action, Hold, Phase, QueueFate};
use tandem_core::limits::Level;
use tandem_core::rules::{
    MapFacts, News, Notice, OF_LAST_MAX, Observed, Reach, ResumeBy, Rule, RuleAction, RuleEffect, When,
};
use tandem_core::{AppName, MapName};

/// How often rules are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a state is saved that has no effect.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// The rules, and what was seen so far.
#[derive(Default)]
pub(super) struct Ruling {
    rules: Vec<Ruled>,
    reaches: Reaches,
    /// What streams had counted at the last look.
    counted: BTreeMap<FlowId, Counted>,
    /// What the activity log knows of how apps are reached.
    noted: BTreeMap<MapName, (Reach, Reach)>,
    /// How often each rule fired since the engine started, once for each map.
    fired: BTreeMap<Arc<str>, u64>,
    looked_at: Option<Duration>,
}

/// A rule at work.
struct Ruled {
    /// As it is in force.
    rule: Rule,
    record: RuleRecord,
    saved: RuleRecord,
    saved_at: Duration,
}

#[derive(Default)]
struct Counted {
    applied: u64,
    refused: ByClass,
    attempts: ByClass,
}

impl Ruling {
    /// The declared rules, in their order, each with what is saved of it.
    pub(super) fn new(declared: &[Rule], saved: &BTreeMap<Arc<str>, RuleRecord>) -> Self {
        let known = declared.iter().filter_map(|rule| saved.get(&rule.name));
        let ruled = known.map(|record| Ruled {
            rule: record.in_force(),
            record: record.clone(),
            saved: record.clone(),
            saved_at: Duration::ZERO,
        });
        Self { rules: ruled.collect(), ..Self::default() }
    }

    /// The rules by name, as far as they have come.
    pub(super) fn records(&self) -> BTreeMap<Arc<str>, RuleRecord> {
        self.rules.iter().map(|ruled| (ruled.rule.name.clone(), ruled.record.clone())).collect()
    }

    /// Goes on with other rules. What was counted of maps, and which apps answer, holds for them as well.
    pub(super) fn redeclare(&mut self, declared: &[Rule], saved: &BTreeMap<Arc<str>, RuleRecord>) {
        self.rules = Self::new(declared, saved).rules;
        self.fired.retain(|name, _| declared.iter().any(|rule| rule.name == *name));
        self.looked_at = None;
    }

    fn observe(&mut self, map: &MapName, seen: Observed, now: tandem_core::WallTime) {
        for ruled in &mut self.rules {
            ruled.record.state.observe(&ruled.rule, map, seen, now);
        }
    }
}

impl Supervisor {
    /// Does what the rules demand now.
    pub(super) fn follow_rules(&mut self) -> Result<(), StoreError> {
        let now = self.world.env.now();
        let looked_lately = self.ruling.looked_at.is_some_and(|at| now < at + LOOK_EVERY);
        if self.ruling.rules.is_empty() || looked_lately {
            return Ok(());
        }
        let mut ruling = std::mem::take(&mut self.ruling);
        ruling.looked_at = Some(now);
        self.look_at_apps(&mut ruling);
        self.count_records(&mut ruling);
        let mut facts = self.map_facts(&ruling.reaches);
        let mut outcome = self.note_reaches(&mut ruling, &facts);
        for ruled in &mut ruling.rules {
            match self.follow(ruled, &facts) {
                Ok(None) => {}
                Ok(Some(fired)) => {
                    *ruling.fired.entry(ruled.rule.name.clone()).or_default() += fired;
                    facts = self.map_facts(&ruling.reaches);
                }
                Err(error) => outcome = Err(error),
            }
        }
        self.ruling = ruling;
        outcome
    }

    /// Switches a rule on or off. Effective at once, and still after a restart.
    pub(super) fn switch_rule(
        &mut self,
        name: &str,
        enabled: bool,
        actor: &str,
        reason: &str,
    ) -> Result<RuleView, Rejected> {
        let unknown = || Rejected::UnknownRule(name.to_owned());
        let (place, ruled) = (self.ruling.rules.iter().enumerate())
            .find(|(_, ruled)| *ruled.rule.name == *name)
            .ok_or_else(unknown)?;
        let record = RuleRecord { switched: Some(enabled), ..ruled.record.clone() };
        let event = if enabled { "rule.enabled" } else { "rule.disabled" };
        let entry = ActivityEntry {
            id: 0,
            at: self.now(),
            event: event.to_owned(),
            map: None,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            from: None,
            to: None,
            detail: format!("rule {name}"),
        };
        self.save(&[Record::Rule(Box::new(record.clone())), Record::Activity(entry)])
            .map_err(|error| Rejected::Disk(error.to_string()))?;
        tracing::info!(rule = name, actor, enabled, "a rule was switched");
        let ruled = self.ruling.rules.get_mut(place).ok_or_else(unknown)?;
        ruled.rule = record.in_force();
        ruled.saved = record.clone();
        ruled.record = record;
        self.ruling.looked_at = None;
        let ruled = self.ruling.rules.get(place).ok_or_else(unknown)?;
        Ok(self.rule_view(ruled))
    }

    /// The rules as they are shown.
    pub(super) fn rule_views(&self) -> Vec<RuleView> {
        self.ruling.rules.iter().map(|ruled| self.rule_view(ruled)).collect()
    }

    fn rule_view(&self, ruled: &Ruled) -> RuleView {
        let hold = Hold::Rule(ruled.rule.name.clone());
        let holds = |record: &MapRecord| record.state.holds.contains_key(&hold);
        let held = self.maps.values().filter(|record| holds(record)).map(|record| {
            let map = record.map.name.clone();
            (map.clone(), RuleOnMap { map, holds: true, fired_at: None, lifted_within_hour: 0 })
        });
        let mut maps: BTreeMap<MapName, RuleOnMap> = held.collect();
        for deeds in ruled.record.state.deeds(self.now()) {
            let on_map = RuleOnMap {
                map: deeds.map.clone(),
                holds: maps.contains_key(deeds.map),
                fired_at: deeds.fired_at,
                lifted_within_hour: deeds.lifted_within_hour,
            };
            maps.insert(deeds.map.clone(), on_map);
        }
        let tally = self.telling.tally(&ruled.rule.name);
        RuleView {
            rule: ruled.rule.clone(),
            maps: maps.into_values().collect(),
            fired: self.ruling.fired.get(&ruled.rule.name).copied().unwrap_or_default(),
            told: tally.told,
            untold: tally.dropped,
        }
    }

    /// Asks a rule what is to be done, and does it. Returns for how many maps it fired, if there was anything to do.
    fn follow(
        &mut self,
        ruled: &mut Ruled,
        facts: &BTreeMap<MapName, MapFacts>,
    ) -> Result<Option<u64>, StoreError> {
        let now = self.world.env.now();
        let mut next = ruled.record.clone();
        let effects = next.state.tick(&ruled.rule, facts, self.now());
        if effects.is_empty() {
            ruled.record = next;
            if ruled.record != ruled.saved && now >= ruled.saved_at + SAVE_EVERY {
                self.save(&[Record::Rule(Box::new(ruled.record.clone()))])?;
                ruled.saved.clone_from(&ruled.record);
                ruled.saved_at = now;
            }
            return Ok(None);
        }
        let mut changes = Changes::default();
        changes.along(Record::Rule(Box::new(next.clone())));
        let mut notices = Vec::new();
        let fired = effects.iter().map(fired_for).sum();
        for effect in &effects {
            if let RuleEffect::Stop { map, why } = effect {
                self.stop_by_rule(&ruled.rule, map, &why.to_string());
            }
        }
        for effect in effects {
            self.take_up(effect, &ruled.rule, &mut changes, &mut notices);
        }
        // What was not saved was not done: the rule is asked again with what it knew before.
        self.carry_out(changes)?;
        ruled.saved.clone_from(&next);
        ruled.record = next;
        ruled.saved_at = now;
        notices.iter().for_each(|notice| self.telling.send(notice));
        Ok(Some(fired))
    }

    /// Stops a map, with its queue preserved. A map that cannot be stopped is one that is stopped already: a crash behind
    /// this is followed by the same again, and changes nothing.
    fn stop_by_rule(&mut self, rule: &Rule, map: &MapName, why: &str) {
        let action = Action::Stop(Some(QueueFate::Preserve));
        let mut request = Request::new(action, vec![map.clone()], format!("rule {}", rule.name));
        why.clone_into(&mut request.reason);
        if let Err(rejected) = self.act(request, Prepared::default()) {
            tracing::warn!(%map, rule = %rule.name, "a rule could not stop a map: {rejected}");
        }
    }

    fn take_up(&self, effect: RuleEffect, rule: &Rule, changes: &mut Changes, notices: &mut Vec<Notice>) {
        let actor = format!("rule {}", rule.name);
        let hold = Hold::Rule(rule.name.clone());
        let well = "both apps have been well for a while";
        let told = |event, reason, detail| Told { event, actor: &actor, reason, detail };
        match effect {
            RuleEffect::Hold { map, why } => {
                let why = why.to_string();
                self.hold(changes, &map, hold, &told("map.rule_paused", &why, ""), |_| {});
            }
            // It was done before.
            RuleEffect::Stop { .. } => {}
            RuleEffect::Resume { map } => {
                self.lift(changes, &map, hold, &told("map.rule_resumed", well, ""));
            }
            RuleEffect::Withdraw { map } => {
                self.lift(changes, &map, hold, &told("map.rule_withdrew", well, "others still hold the map"));
            }
            RuleEffect::Notify(notice) => {
                if let News::Fired(RuleAction::Nothing, fired) = &notice.news {
                    for (map, why) in fired {
                        let entry = self.note("map.rule_fired", map, &actor, &why.to_string());
                        changes.along(Record::Activity(entry));
                    }
                }
                notices.push(notice);
            }
        }
    }

    /// Takes in whether the apps answer that a rule asks about.
    fn look_at_apps(&self, ruling: &mut Ruling) {
        let now = self.now();
        let asking: Vec<&Rule> =
            ruling.rules.iter().map(|ruled| &ruled.rule).filter(|rule| asks(rule)).collect();
        let asked = |record: &&MapRecord| {
            record.state.phase != Phase::NotRunning
                && asking.iter().any(|rule| rule.maps.has(&record.map.name))
        };
        let flows = self.maps.values().filter(asked).flat_map(|record| &record.flows);
        let wanted: BTreeSet<AppName> = flows.map(|flow| flow.stream.destination.clone()).collect();
        ruling.reaches.probe(&wanted, &self.world.apps, &self.world.env);
        let writing = writing(&self.maps);
        for (stream, handle) in &self.streams {
            let status = handle.status.borrow();
            ruling.reaches.destination(stream, writing.contains(stream), status.fault.as_ref(), now);
        }
        ruling.reaches.keep(|stream| self.streams.contains_key(stream));
        for (app, handle) in &self.apps {
            let status = handle.status.borrow();
            ruling.reaches.source(app, status.capturing, status.fault.as_ref(), now);
        }
    }

    /// Tells the rules what was applied and what failed since the last look.
    fn count_records(&self, ruling: &mut Ruling) {
        let now = self.now();
        let mut counted = BTreeMap::new();
        for record in self.maps.values() {
            let map = &record.map.name;
            for flow in &record.flows {
                let before = ruling.counted.remove(&flow.flow).unwrap_or_default();
                let status = self.streams.get(&flow.stream).map(|handle| handle.status.borrow());
                let Some(status) = status.as_ref().and_then(|status| status.flows.get(&flow.flow)) else {
                    counted.insert(flow.flow, before);
                    continue;
                };
                let FlowStatus { outcomes: Outcomes { applied, .. }, refused, attempts, .. } = status;
                let records = applied.saturating_sub(before.applied);
                if records > 0 {
                    ruling.observe(map, Observed::Applied { records }, now);
                }
                let failed = refused.since(&before.refused).chain(attempts.since(&before.attempts));
                for (class, times) in failed {
                    // More than a rule remembers would leave nothing else behind.
                    for _ in 0..times.min(OF_LAST_MAX.into()) {
                        ruling.observe(map, Observed::Failed { class }, now);
                    }
                }
                let (applied, refused, attempts) = (*applied, refused.clone(), attempts.clone());
                counted.insert(flow.flow, Counted { applied, refused, attempts });
            }
        }
        ruling.counted = counted;
    }

    /// What is so with every map.
    fn map_facts(&self, reaches: &Reaches) -> BTreeMap<MapName, MapFacts> {
        let facts = self.maps.iter().map(|(name, record)| {
            let judged = self.watched.get(name).and_then(|watched| watched.judged);
            let oldest = record.flows.iter().filter_map(|flow| self.flow_view(flow).queue.oldest_at).min();
            let full = judged.is_some_and(|judged| matches!(judged.level, Level::Hard { .. }));
            let (source, destination) = reaches.of(record);
            let facts = MapFacts {
                phase: record.state.phase,
                holds: record.state.holds.keys().cloned().collect(),
                limit_blocks: full || record.blocked.is_some(),
                full: judged.and_then(|judged| judged.fullest()).map(|reached| reached.full),
                oldest_unapplied_at: oldest,
                source,
                destination,
            };
            (name.clone(), facts)
        });
        facts.collect()
    }

    /// Writes into the activity log when an app is lost for a map and when it is back: that is what a rule is tested
    /// against.
    fn note_reaches(
        &self,
        ruling: &mut Ruling,
        facts: &BTreeMap<MapName, MapFacts>,
    ) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for (map, facts) in facts {
            let watched = ruling.rules.iter().any(|ruled| asks(&ruled.rule) && ruled.rule.maps.has(map));
            let now =
                if watched { (facts.source, facts.destination) } else { (Reach::Unknown, Reach::Unknown) };
            let before = ruling.noted.insert(map.clone(), now).unwrap_or((Reach::Unknown, Reach::Unknown));
            for (event, before, now) in
                [("map.source", before.0, now.0), ("map.destination", before.1, now.1)]
            {
                let what = match (before, now) {
                    (Reach::Unknown | Reach::Up { .. }, Reach::Down { .. }) => "lost",
                    (Reach::Down { .. }, Reach::Up { .. }) => "back",
                    _ => continue,
                };
                let entry = self.note(&format!("{event}_{what}"), map, "tandem", "");
                records.push(Record::Activity(entry));
            }
        }
        ruling.noted.retain(|map, _| facts.contains_key(map));
        if records.is_empty() { Ok(()) } else { self.save(&records).map(drop) }
    }
}

/// For how many maps an effect is that a rule fires. Whoever is told of a pause or a stop is told of what is counted
/// already.
fn fired_for(effect: &RuleEffect) -> u64 {
    match effect {
        RuleEffect::Hold { .. } | RuleEffect::Stop { .. } => 1,
        RuleEffect::Notify(Notice { news: News::Fired(RuleAction::Nothing, fired), .. }) => {
            fired.len() as u64
        }
        RuleEffect::Notify(_) | RuleEffect::Resume { .. } | RuleEffect::Withdraw { .. } => 0,
    }
}

/// Whether a rule has to know which apps answer.
fn asks(rule: &Rule) -> bool {
    let waits = matches!(rule.when, When::DestinationUnreachable(_) | When::SourceUnreachable(_));
    let heals = matches!(rule.then.action, RuleAction::Pause(ResumeBy::Rule { .. }));
    rule.enabled && (waits || heals)
}
