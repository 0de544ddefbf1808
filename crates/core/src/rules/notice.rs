//! What people are told of a rule, in their words.

use super::{RuleAction, Why};
use crate::{MapName, WallTime};
use std::sync::Arc;

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The rule.
    pub rule: Arc<str>,
    /// Whom to tell.
    pub targets: Vec<Arc<str>>,
    /// When it was decided.
    pub at: WallTime,
    /// What.
    pub news: News,
}

/// What there is to tell. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The rule fired for these maps, and did this.
    Fired(RuleAction, Vec<(MapName, Why)>),
    /// The rule resumed these maps.
    Resumed(Vec<MapName>),
}

impl Notice {
    /// In a few words: *rule crm-down pauses customers*.
    pub fn subject(&self) -> String {
        let (does, maps): (&str, Vec<&MapName>) = match &self.news {
            News::Fired(action, fired) => {
                let does = match action {
                    RuleAction::Nothing => "fired for",
                    RuleAction::Pause(_) => "pauses",
                    RuleAction::Stop => "stops",
                };
                (does, fired.iter().map(|(map, _)| map).collect())
            }
            News::Resumed(maps) => ("resumes", maps.iter().collect()),
        };
        match maps.as_slice() {
            [map] => format!("rule {} {does} {map}", self.rule),
            maps => format!("rule {} {does} {} maps", self.rule, maps.len()),
        }
    }

    /// In a sentence for each map. Never a value of a record.
    pub fn lines(&self) -> Vec<String> {
        match &self.news {
            News::Fired(_, fired) => fired.iter().map(|(map, why)| format!("{map}: {why}")).collect(),
            News::Resumed(maps) => {
                maps.iter().map(|map| format!("{map}: both apps have been well for a while")).collect()
            }
        }
    }

    /// The map, if it is about one.
    pub fn map(&self) -> Option<&MapName> {
        match &self.news {
            News::Fired(_, fired) => match fired.as_slice() {
                [(map, _)] => Some(map),
                _ => None,
            },
            News::Resumed(maps) => match maps.as_slice() {
                [map] => Some(map),
                _ => None,
            },
        }
    }
}
