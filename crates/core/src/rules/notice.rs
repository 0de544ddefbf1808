//! What people are told, in their words: of a rule, or of a pause that was planned to end.

use super::{RuleAction, Why};
use crate::{MapName, WallTime};
use std::sync::Arc;

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The rule, if it is one that tells.
    pub rule: Option<Arc<str>>,
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
    /// The planned pause of these maps is over; what becomes of each, as a sentence goes on that begins with it.
    WindowOver(Vec<(MapName, String)>),
    /// These maps were to be resumed when their planned pause was over, and were not; why.
    WindowStuck(Vec<(MapName, String)>),
}

impl Notice {
    /// In a few words: *rule crm-down pauses customers*.
    pub fn subject(&self) -> String {
        let maps = self.maps();
        let what = match maps.as_slice() {
            [map] => map.to_string(),
            maps => format!("{} maps", maps.len()),
        };
        let rule = self.rule.as_deref().unwrap_or("of Tandem");
        match &self.news {
            News::Fired(RuleAction::Nothing, _) => format!("rule {rule} fired for {what}"),
            News::Fired(RuleAction::Pause(_), _) => format!("rule {rule} pauses {what}"),
            News::Fired(RuleAction::Stop, _) => format!("rule {rule} stops {what}"),
            News::Resumed(_) => format!("rule {rule} resumes {what}"),
            News::WindowOver(_) => format!("the planned pause of {what} is over"),
            News::WindowStuck(_) => format!("not resumed after the planned pause: {what}"),
        }
    }

    /// In a sentence for each map. Never a value of a record.
    pub fn lines(&self) -> Vec<String> {
        match &self.news {
            News::Fired(_, fired) => fired.iter().map(|(map, why)| format!("{map}: {why}")).collect(),
            News::Resumed(maps) => {
                maps.iter().map(|map| format!("{map}: both apps have been well for a while")).collect()
            }
            News::WindowOver(told) | News::WindowStuck(told) => {
                told.iter().map(|(map, what)| format!("{map} {what}")).collect()
            }
        }
    }

    /// The map, if it is about one.
    pub fn map(&self) -> Option<&MapName> {
        match self.maps().as_slice() {
            [map] => Some(map),
            _ => None,
        }
    }

    fn maps(&self) -> Vec<&MapName> {
        match &self.news {
            News::Fired(_, fired) => fired.iter().map(|(map, _)| map).collect(),
            News::Resumed(maps) => maps.iter().collect(),
            News::WindowOver(told) | News::WindowStuck(told) => told.iter().map(|(map, _)| map).collect(),
        }
    }
}
