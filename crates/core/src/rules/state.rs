//! What was seen under a rule, and what it does about it.

use super::evidence::Evidence;
use super::notice::{News, Notice};
use super::{RESUMES_PER_HOUR_MAX, ResumeBy, Rule, RuleAction, When, Why};
use crate::lifecycle::{Hold, Phase};
use crate::{FaultClass, Fullness, MapName, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// How often the time that a map must be well doubles, at the most.
const DOUBLINGS_MAX: u32 = 5;

/// Something that happened to a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Records were applied.
    Applied {
        /// How many.
        records: u64,
    },
    /// A record or an attempt failed.
    Failed {
        /// With a fault of this class. Records are what it is about if the class says so; else attempts.
        class: FaultClass,
    },
}

/// What is so with a map, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFacts {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is held.
    pub holds: BTreeSet<Hold>,
    /// Whether a limit blocks: a hard one is reached, or writes are still refused because one was.
    pub limit_blocks: bool,
    /// How full its queue is, by bytes or by age, whichever is more; none without limits.
    pub full: Option<Fullness>,
    /// When its oldest unapplied change was captured.
    pub oldest_unapplied_at: Option<WallTime>,
    /// Whether the source answers; of several, the worst.
    pub source: Reach,
    /// Whether the destination answers; of several, the worst.
    pub destination: Reach,
}

/// Whether an app answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nobody has tried yet. Neither well nor unwell.
    Unknown,
    /// It does.
    Up {
        /// Since then without a break.
        since: WallTime,
    },
    /// It does not.
    Down {
        /// Since then.
        since: WallTime,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleEffect {
    /// Put the rule's hold on a map.
    Hold {
        /// The map.
        map: MapName,
        /// Why.
        why: Why,
    },
    /// Take the rule's hold off a map. It is the only one, so the map goes on.
    Resume {
        /// The map.
        map: MapName,
    },
    /// Take the rule's hold off a map that others hold as well. It stays paused, and the rule is no longer a
    /// reason for it. Counted like a resume, in case that the others let go in the same moment.
    Withdraw {
        /// The map.
        map: MapName,
    },
    /// Stop a map; its queue becomes catch-up errors.
    Stop {
        /// The map.
        map: MapName,
        /// Why.
        why: Why,
    },
    /// Tell people.
    Notify(Notice),
}

/// What a rule has done to a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deeds<'a> {
    /// The map.
    pub map: &'a MapName,
    /// When it fired for it last.
    pub fired_at: Option<WallTime>,
    /// How often it took its hold off within the last hour.
    pub lifted_within_hour: usize,
}

/// What was seen under a rule. Can be stored and taken up again; grows with the number of maps and no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// What it was seen under: with another `when`, it says nothing.
    when: When,
    maps: BTreeMap<MapName, Watch>,
}

/// What was seen of one map.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Watch {
    evidence: Evidence,
    fired_at: Option<WallTime>,
    /// When the rule took its hold off within the last hour, oldest first.
    lifted_at: VecDeque<WallTime>,
    /// Since when the map is well. Not stored: what happened while nobody looked is not known.
    #[serde(skip)]
    well_since: Option<WallTime>,
}

/// What one map is to have done with it.
enum Verdict {
    Nothing,
    Fire(Why),
    Lift,
}

impl RuleState {
    /// Nothing seen yet.
    pub fn new(rule: &Rule) -> Self {
        Self { when: rule.when.clone(), maps: BTreeMap::new() }
    }

    /// Takes in what happened to a map. Costs little, also for what does not concern the rule.
    pub fn observe(&mut self, rule: &Rule, map: &MapName, seen: Observed, now: WallTime) {
        self.follow(rule);
        if !rule.maps.has(map) {
            return;
        }
        match (&rule.when, seen) {
            (When::Errors { classes, count, .. }, Observed::Failed { class }) if classes.has(class) => {
                self.watch(map).evidence.error(*count, now);
            }
            (When::FailedShare { of_last, .. }, Observed::Applied { records }) => {
                self.watch(map).evidence.records(*of_last, records, false);
            }
            (When::FailedShare { of_last, .. }, Observed::Failed { class }) if class.is_about_record() => {
                self.watch(map).evidence.records(*of_last, 1, true);
            }
            (_, Observed::Applied { .. } | Observed::Failed { .. }) => {}
        }
    }

    /// What is to be done now, given what is so with every map that there is. What it returns is taken as done:
    /// it is not returned again because it was not carried out.
    pub fn tick(
        &mut self,
        rule: &Rule,
        facts: &BTreeMap<MapName, MapFacts>,
        now: WallTime,
    ) -> Vec<RuleEffect> {
        self.follow(rule);
        self.maps.retain(|map, _| rule.maps.has(map) && facts.contains_key(map));
        let (mut effects, mut fired, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
        for (map, facts) in facts.iter().filter(|(map, _)| rule.maps.has(map)) {
            let watch = self.watch(map);
            watch.not_after(now);
            match watch.decide(rule, facts, now) {
                Verdict::Nothing => {}
                Verdict::Fire(why) => {
                    watch.fired(now);
                    fired.push((map.clone(), why));
                    match rule.then.action {
                        RuleAction::Nothing => {}
                        RuleAction::Pause(_) => effects.push(RuleEffect::Hold { map: map.clone(), why }),
                        RuleAction::Stop => effects.push(RuleEffect::Stop { map: map.clone(), why }),
                    }
                }
                Verdict::Lift => {
                    watch.lifted(now);
                    let map = map.clone();
                    if facts.holds.len() == 1 {
                        resumed.push(map.clone());
                        effects.push(RuleEffect::Resume { map });
                    } else {
                        effects.push(RuleEffect::Withdraw { map });
                    }
                }
            }
        }
        let news = [
            (!fired.is_empty()).then_some(News::Fired(rule.then.action, fired)),
            (!resumed.is_empty()).then_some(News::Resumed(resumed)),
        ];
        if !rule.then.notify.is_empty() {
            effects.extend(news.into_iter().flatten().map(|news| {
                let (rule, targets) = (Some(rule.name.clone()), rule.then.notify.clone());
                RuleEffect::Notify(Notice { rule, targets, at: now, news })
            }));
        }
        effects
    }

    /// What the rule has done to each map that it has done anything to.
    pub fn deeds(&self, now: WallTime) -> impl Iterator<Item = Deeds<'_>> {
        self.maps.iter().filter(|(_, watch)| watch.fired_at.is_some() || !watch.lifted_at.is_empty()).map(
            move |(map, watch)| Deeds {
                map,
                fired_at: watch.fired_at,
                lifted_within_hour: watch.lifted_at.iter().filter(|at| now.since(**at) < HOUR).count(),
            },
        )
    }

    /// Forgets what was seen, because the rule was declared anew. How often it resumed is kept: that is about the
    /// map and its apps.
    pub fn renew(&mut self, rule: &Rule) {
        self.when = rule.when.clone();
        for watch in self.maps.values_mut() {
            let lifted_at = std::mem::take(&mut watch.lifted_at);
            *watch = Watch { lifted_at, ..Watch::default() };
        }
    }

    /// What speaks for firing for a map now, whether or not the rule may fire.
    pub(super) fn trouble(&self, rule: &Rule, map: &MapName, facts: &MapFacts, now: WallTime) -> Option<Why> {
        self.maps.get(map).map_or_else(
            || Watch::default().trouble(&rule.when, facts, now),
            |watch| watch.trouble(&rule.when, facts, now),
        )
    }

    /// Begins anew if the rule waits for something else now.
    fn follow(&mut self, rule: &Rule) {
        if self.when != rule.when {
            self.renew(rule);
        }
    }

    fn watch(&mut self, map: &MapName) -> &mut Watch {
        self.maps.entry(map.clone()).or_default()
    }
}

impl Watch {
    /// A clock that was set back must neither silence a rule until it has caught up, nor give back its resumes.
    fn not_after(&mut self, now: WallTime) {
        self.evidence.not_after(now);
        self.fired_at = self.fired_at.map(|at| at.min(now));
        self.well_since = self.well_since.map(|at| at.min(now));
        for at in &mut self.lifted_at {
            *at = (*at).min(now);
        }
        while self.lifted_at.front().is_some_and(|at| now.since(*at) >= HOUR) {
            self.lifted_at.pop_front();
        }
    }

    fn fired(&mut self, now: WallTime) {
        self.fired_at = Some(now);
        self.evidence = Evidence::default();
        self.well_since = None;
    }

    fn lifted(&mut self, now: WallTime) {
        self.lifted_at.push_back(now);
        self.well_since = None;
    }

    fn decide(&mut self, rule: &Rule, facts: &MapFacts, now: WallTime) -> Verdict {
        if facts.phase == Phase::NotRunning {
            // What the next run does is not this one's fault.
            self.evidence = Evidence::default();
            self.well_since = None;
            return Verdict::Nothing;
        }
        let trouble = self.trouble(&rule.when, facts, now);
        self.note_health(trouble.is_none(), facts, now);
        if !rule.enabled {
            return Verdict::Nothing;
        }
        let own_hold = facts.holds.contains(&Hold::Rule(rule.name.clone()));
        match trouble {
            Some(why) if !own_hold && can_act(rule.then.action, facts.phase) && self.may_fire(rule, now) => {
                Verdict::Fire(why)
            }
            Some(_) => Verdict::Nothing,
            None if own_hold && self.may_lift(rule, facts, now) => Verdict::Lift,
            None => Verdict::Nothing,
        }
    }

    fn trouble(&self, when: &When, facts: &MapFacts, now: WallTime) -> Option<Why> {
        let down = |reach: Reach, limit: Duration| match reach {
            Reach::Down { since } => Some(now.since(since)).filter(|time| *time >= limit),
            Reach::Up { .. } | Reach::Unknown => None,
        };
        match when {
            When::Errors { .. } | When::FailedShare { .. } => self.evidence.speaks(when, now),
            When::QueueFull(share) => facts.full.filter(|full| full.reaches(*share)).map(Why::QueueFull),
            When::Lag(limit) => {
                let lag = now.since(facts.oldest_unapplied_at?);
                (lag >= *limit).then_some(Why::Lag(lag))
            }
            When::DestinationUnreachable(limit) => {
                down(facts.destination, *limit).map(Why::DestinationUnreachable)
            }
            When::SourceUnreachable(limit) => down(facts.source, *limit).map(Why::SourceUnreachable),
            When::Schedule(schedule) => {
                schedule.window_at(now).map(|window| Why::Schedule { until: window.end })
            }
        }
    }

    fn may_fire(&self, rule: &Rule, now: WallTime) -> bool {
        let Some(fired_at) = self.fired_at else { return true };
        if let When::Schedule(schedule) = &rule.when
            && schedule.window_at(now).is_some_and(|window| window.start <= fired_at)
        {
            // Whoever resumes a map within the window means it.
            return false;
        }
        now.since(fired_at) >= rule.cooldown
    }

    /// Well is: nothing speaks for firing, and both apps answer without a break.
    fn note_health(&mut self, no_trouble: bool, facts: &MapFacts, now: WallTime) {
        self.well_since = match (no_trouble, facts.source, facts.destination) {
            (true, Reach::Up { since: source }, Reach::Up { since: destination }) => {
                let since = self.well_since.unwrap_or(now);
                // An app that was away between two looks shows it by its time.
                Some(since.max(source).max(destination).min(now))
            }
            _ => None,
        };
    }

    fn may_lift(&self, rule: &Rule, facts: &MapFacts, now: WallTime) -> bool {
        let RuleAction::Pause(ResumeBy::Rule { per_hour }) = rule.then.action else { return false };
        let lifted = u32::try_from(self.lifted_at.len()).unwrap_or(u32::MAX);
        if facts.limit_blocks
            || facts.holds.contains(&Hold::Limit)
            || lifted >= per_hour.min(RESUMES_PER_HOUR_MAX)
        {
            return false;
        }
        let settle = rule.when.settle().saturating_mul(1 << lifted.min(DOUBLINGS_MAX));
        self.well_since.is_some_and(|since| now.since(since) >= settle)
    }
}

/// Whether the phase allows what the rule does. A map that is initializing cannot be paused; one that is paused
/// already can: the rule's hold outlives the others.
fn can_act(action: RuleAction, phase: Phase) -> bool {
    match (action, phase) {
        (_, Phase::NotRunning) | (RuleAction::Pause(_), Phase::Initializing(_)) => false,
        (RuleAction::Nothing | RuleAction::Pause(_) | RuleAction::Stop, _) => true,
    }
}
