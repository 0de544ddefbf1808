//! Rules as clients see them.

use super::moment;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::rules::{MapSelection, ResumeBy, RuleAction};

/// A rule as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whether it acts. Disabled, it still counts.
    pub enabled: bool,
    /// When it fires, in a sentence.
    pub when: String,
    /// What it does to a map: `none`, `pause`, `stop`.
    pub action: String,
    /// How often an hour it resumes by itself what it has paused; null if a person resumes.
    pub resumes_per_hour: Option<u32>,
    /// Whom it tells.
    pub notify: Vec<String>,
    /// The maps that it watches; null for all.
    pub watches: Option<Vec<String>>,
    /// How long it keeps still about a map after it fired for it, in seconds.
    pub cooldown_seconds: u64,
    /// The maps that it has done something to.
    pub maps: Vec<RuleOnMap>,
    /// Notices that were taken over since the engine started.
    pub told: u64,
    /// Notices that were dropped since then, because nobody could be told.
    pub untold: u64,
}

/// What a rule has done to a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RuleOnMap {
    /// The map.
    pub map: String,
    /// Whether it holds the map now.
    pub holds: bool,
    /// When it fired for it last.
    pub fired_at: Option<Timestamp>,
    /// How often it took its hold off within the last hour.
    pub resumed_within_hour: u64,
    /// How often it may still do so within this hour: at 0 a person resumes. Null if it never does by itself.
    pub resumes_left: Option<u64>,
}

/// The body of `POST /rules/{rule}/enable` and `…/disable`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchRequest {
    /// Why, in the words of who asks.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// When a rule would have fired, as far as what is recorded tells: a list with what was looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RuleTest {
    /// From when on it was looked.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// When it would have fired, oldest first. All of it: there is no next page.
    pub items: Vec<Firing>,
    /// Always null.
    pub next: Option<String>,
    /// What is not recorded and would have to be known, each in a sentence.
    pub unknown: Vec<String>,
}

/// A time at which a rule would have fired.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Firing {
    /// When.
    pub at: Timestamp,
    /// For which map.
    pub map: String,
    /// Why, in a sentence.
    pub why: String,
}

impl From<&tandem_engine::RuleView> for Rule {
    fn from(view: &tandem_engine::RuleView) -> Self {
        let rule = &view.rule;
        let resumes_per_hour = match rule.then.action {
            RuleAction::Pause(ResumeBy::Rule { per_hour }) => Some(per_hour),
            RuleAction::Nothing | RuleAction::Pause(ResumeBy::Hand) | RuleAction::Stop => None,
        };
        Self {
            name: rule.name.to_string(),
            enabled: rule.enabled,
            when: rule.when.to_string(),
            action: rule.then.action.name().to_owned(),
            resumes_per_hour,
            notify: rule.then.notify.iter().map(ToString::to_string).collect(),
            watches: match &rule.maps {
                MapSelection::All => None,
                MapSelection::Only(maps) => Some(maps.iter().map(ToString::to_string).collect()),
            },
            cooldown_seconds: rule.cooldown.as_secs(),
            maps: view.maps.iter().map(|on_map| RuleOnMap::new(on_map, resumes_per_hour)).collect(),
            told: view.told,
            untold: view.untold,
        }
    }
}

impl RuleOnMap {
    fn new(on_map: &tandem_engine::RuleOnMap, per_hour: Option<u32>) -> Self {
        let resumed = on_map.lifted_within_hour as u64;
        Self {
            map: on_map.map.to_string(),
            holds: on_map.holds,
            fired_at: on_map.fired_at.map(moment),
            resumed_within_hour: resumed,
            resumes_left: per_hour.map(|per_hour| u64::from(per_hour).saturating_sub(resumed)),
        }
    }
}

impl From<tandem_engine::RuleTest> for RuleTest {
    fn from(test: tandem_engine::RuleTest) -> Self {
        let firing = |firing: tandem_core::rules::Firing| Firing {
            at: moment(firing.at),
            map: firing.map.to_string(),
            why: firing.why.to_string(),
        };
        Self {
            since: moment(test.since),
            until: moment(test.until),
            items: test.firings.into_iter().map(firing).collect(),
            next: None,
            unknown: test.unknown,
        }
    }
}
