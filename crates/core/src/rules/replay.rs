//! When a rule would have fired, had it been there.
//!
//! The rule's own code runs over a history, with a guess for what the history cannot know: what would have become
//! of a map that the rule would have paused or stopped. It counts as held until the rule would have resumed it;
//! if that is left to people, until the trouble was over and the cool-down too.

use super::{MapFacts, News, Notice, Observed, ResumeBy, Rule, RuleAction, RuleEffect, RuleState, Why};
use crate::lifecycle::{Hold, Phase};
use crate::{MapName, WallTime};
use std::collections::BTreeMap;
use std::time::Duration;

/// How closely it is looked, between the moments of a history.
const STEP: Duration = Duration::from_secs(10);
/// How often it is looked between two moments at the most; over a long silence, the steps are longer.
const STEPS_MAX: u32 = 50_000;

/// A moment of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: WallTime,
    /// Of which map.
    pub map: MapName,
    /// What.
    pub told: Told,
}

/// What a moment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something happened.
    Happened(Observed),
    /// From now on this is so.
    Became(MapFacts),
}

/// A time at which a rule would have fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// When; after a silence in the history, as closely as it was looked (ten seconds or more).
    pub at: WallTime,
    /// For which map.
    pub map: MapName,
    /// Why.
    pub why: Why,
}

/// When the rule would have fired, over a history in order of time that ends at `until`. It is taken as switched
/// on. A map of which the history tells no facts is not known.
pub fn would_have_fired(rule: &Rule, history: &[Moment], until: WallTime) -> Vec<Firing> {
    let rule = Rule { enabled: true, ..rule.clone() };
    let mut replay = Replay {
        state: RuleState::new(&rule),
        own: Hold::Rule(rule.name.clone()),
        rule,
        facts: BTreeMap::new(),
        acted: BTreeMap::new(),
        firings: Vec::new(),
    };
    let mut now = history.first().map_or(until, |moment| moment.at);
    for moment in history.iter().filter(|moment| moment.at <= until) {
        replay.pass(now, moment.at);
        now = now.max(moment.at);
        match &moment.told {
            Told::Happened(seen) => replay.state.observe(&replay.rule, &moment.map, *seen, now),
            Told::Became(facts) => replay.became(&moment.map, facts.clone()),
        }
        replay.look(now);
    }
    replay.pass(now, until);
    replay.firings
}

struct Replay {
    rule: Rule,
    own: Hold,
    state: RuleState,
    /// What is so, and what would have been.
    facts: BTreeMap<MapName, MapFacts>,
    /// Maps that the rule would have paused or stopped, with the phase that they really were in.
    acted: BTreeMap<MapName, Phase>,
    firings: Vec<Firing>,
}

impl Replay {
    /// Takes in what is so from now on. What the rule really did in that history is left out of it.
    fn became(&mut self, map: &MapName, mut facts: MapFacts) {
        facts.holds.remove(&self.own);
        let really = facts.phase;
        self.facts.insert(map.clone(), facts);
        if self.acted.contains_key(map) {
            self.act(map, really);
        }
    }

    /// Does to a map what the rule would have done.
    fn act(&mut self, map: &MapName, really: Phase) {
        let Some(facts) = self.facts.get_mut(map) else { return };
        self.acted.insert(map.clone(), really);
        match self.rule.then.action {
            RuleAction::Nothing => {}
            RuleAction::Pause(_) => {
                facts.holds.insert(self.own.clone());
            }
            RuleAction::Stop => facts.phase = Phase::NotRunning,
        }
    }

    /// Undoes it.
    fn undo(&mut self, map: &MapName) {
        if let (Some(really), Some(facts)) = (self.acted.remove(map), self.facts.get_mut(map)) {
            facts.holds.remove(&self.own);
            facts.phase = really;
        }
    }

    /// Lets the time go by.
    fn pass(&mut self, from: WallTime, to: WallTime) {
        let step = STEP.max(to.since(from) / STEPS_MAX);
        let mut now = from.plus(step);
        while now < to {
            self.look(now);
            now = now.plus(step);
        }
        if from < to {
            self.look(to);
        }
    }

    fn look(&mut self, now: WallTime) {
        for effect in self.state.tick(&self.rule, &self.facts, now) {
            match effect {
                RuleEffect::Hold { map, why } | RuleEffect::Stop { map, why } => {
                    if let Some(really) = self.facts.get(&map).map(|facts| facts.phase) {
                        self.act(&map, really);
                    }
                    self.firings.push(Firing { at: now, map, why });
                }
                RuleEffect::Resume { map } | RuleEffect::Withdraw { map } => self.undo(&map),
                // A rule that only tells has no other effect.
                RuleEffect::Notify(Notice { news: News::Fired(RuleAction::Nothing, fired), .. }) => {
                    self.firings.extend(fired.into_iter().map(|(map, why)| Firing { at: now, map, why }));
                }
                RuleEffect::Notify(_) => {}
            }
        }
        self.set_right(now);
    }

    /// What people are left to do, they are taken to do as soon as it is over.
    fn set_right(&mut self, now: WallTime) {
        if matches!(self.rule.then.action, RuleAction::Pause(ResumeBy::Rule { .. })) {
            return;
        }
        let over = |map: &MapName| {
            let last = self.firings.iter().rev().find(|firing| firing.map == *map);
            let cooling = last.is_some_and(|firing| now.since(firing.at) < self.rule.cooldown);
            let facts = self.facts.get(map);
            !cooling && facts.and_then(|facts| self.state.trouble(&self.rule, map, facts, now)).is_none()
        };
        let mended: Vec<MapName> = self.acted.keys().filter(|map| over(map)).cloned().collect();
        for map in mended {
            self.undo(&map);
        }
    }
}
