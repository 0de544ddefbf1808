//! Rules: when something is so, tell people, pause a map or stop it; and perhaps resume it when it is well again.
//!
//! A [`Rule`] is what somebody declared. A [`RuleState`] is what was seen under it, and decides: it is fed with
//! what happens ([`RuleState::observe`]) and asked every second or so what is to be done ([`RuleState::tick`]).
//! It is pure and can be stored, so that a restart forgets neither a cool-down nor how often the rule has resumed
//! a map. [`would_have_fired`] runs the same code over a history.
//!
//! What it keeps to:
//!
//! - **Each map by itself.** Ten errors of one map do not pause another, and the cool-down of one does not keep
//!   another unprotected. What fires in the same moment is told in one message.
//! - **Effective at once.** Errors are counted for a rule that is switched off, too: switched on, it acts on what
//!   is true now. A rule whose `when` was changed begins anew.
//! - **Once per cool-down**, and not again while what it did is still in effect. What was counted for one firing
//!   is not counted for the next.
//! - **Nothing flaps.** A rule resumes only what it paused itself; only after both apps were well for a while
//!   without a break, longer with every resume of the last hour; and at most so many times an hour. It never
//!   takes off what somebody else put on, and nothing while a limit blocks.
//! - Times here measure windows and ages. They order nothing.

mod evidence;
mod notice;
mod replay;
mod schedule;
mod state;
#[cfg(test)]
mod tests;

pub use notice::{News, Notice};
pub use replay::{Firing, Moment, Told, would_have_fired};
pub use schedule::{Days, Schedule, Weekday, Window, Zone};
pub use state::{Deeds, MapFacts, Observed, Reach, RuleEffect, RuleState};

use crate::{FaultClass, Fullness, MapName, Share, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a rule keeps still about a map after it fired, if nobody says so.
pub const COOLDOWN_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// How often a rule resumes a map within an hour, if nobody says so.
pub const RESUMES_PER_HOUR_DEFAULT: u32 = 3;
/// The most resumes within an hour that a rule may have.
pub const RESUMES_PER_HOUR_MAX: u32 = 60;
/// The highest count of errors that a rule may wait for: so many times are kept for each map.
pub const COUNT_MAX: u32 = 1_000;
/// The most records that a share may be of: so many bits are kept for each map.
pub const OF_LAST_MAX: u32 = 100_000;
/// How long a map must have been well before a rule resumes it, at the least.
const SETTLE_MIN: Duration = Duration::from_secs(60);

/// What somebody declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name; the hold that it puts on a map carries it.
    pub name: Arc<str>,
    /// The maps that it watches.
    pub maps: MapSelection,
    /// When it fires.
    pub when: When,
    /// What it does then.
    pub then: Then,
    /// How long it keeps still about a map after it fired for it.
    pub cooldown: Duration,
    /// Whether it acts. Switched off, it still counts; a hold that it has put on stays until a person resumes.
    pub enabled: bool,
}

/// Some maps, or all that there are and will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapSelection {
    /// Every map.
    All,
    /// These.
    Only(BTreeSet<MapName>),
}

impl MapSelection {
    /// Whether it has the map.
    pub fn has(&self, map: &MapName) -> bool {
        match self {
            MapSelection::All => true,
            MapSelection::Only(maps) => maps.contains(map),
        }
    }
}

/// What makes a rule fire, for each map by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At least `count` errors of some classes within a time. A failed attempt counts like a failed record.
    Errors {
        /// Which errors count.
        classes: ErrorClasses,
        /// How many; 1 to [`COUNT_MAX`].
        count: u32,
        /// Within this time.
        within: Duration,
    },
    /// At least this share of the last records failed. Fires when so many were seen, and some failed.
    FailedShare {
        /// The share.
        ratio: Share,
        /// Of so many records; 1 to [`OF_LAST_MAX`].
        of_last: u32,
    },
    /// The queue is at least that full, by bytes or by age.
    QueueFull(Share),
    /// The oldest unapplied change is at least that old.
    Lag(Duration),
    /// The destination has not been reached for this time.
    DestinationUnreachable(Duration),
    /// The source has not been reached for this time.
    SourceUnreachable(Duration),
    /// It is time.
    Schedule(Schedule),
}

/// Which errors count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClasses {
    /// Every error.
    Any,
    /// Errors of these classes.
    Only(BTreeSet<FaultClass>),
}

impl ErrorClasses {
    /// Whether an error of the class counts.
    pub fn has(&self, class: FaultClass) -> bool {
        match self {
            ErrorClasses::Any => true,
            ErrorClasses::Only(classes) => classes.contains(&class),
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Then {
    /// Who is told, by the names that the config has for them.
    pub notify: Vec<Arc<str>>,
    /// What becomes of the map.
    pub action: RuleAction,
}

/// What becomes of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Nothing: people are told.
    Nothing,
    /// It is paused.
    Pause(ResumeBy),
    /// It is stopped, and its queue becomes catch-up errors.
    Stop,
}

impl RuleAction {
    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            RuleAction::Nothing => "none",
            RuleAction::Pause(_) => "pause",
            RuleAction::Stop => "stop",
        }
    }
}

/// Who resumes what a rule has paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeBy {
    /// A person.
    Hand,
    /// The rule, when the map is well again; `per_hour` times an hour at most. A person may as well.
    Rule {
        /// 1 to [`RESUMES_PER_HOUR_MAX`].
        per_hour: u32,
    },
}

/// Why a rule cannot be as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// It would wait for something that a pause prevents.
    #[error(
        "a rule cannot resume by itself what it paused for its queue or its lag: while a map is paused, neither grows less"
    )]
    NeverWell,
    /// It neither tells nor does anything.
    #[error("the rule does nothing: it has neither an action nor anybody to notify")]
    Idle,
}

impl Rule {
    /// Whether the rule can be: what its types cannot say.
    pub fn check(&self) -> Result<(), BadRule> {
        let heals = !matches!(self.when, When::QueueFull(_) | When::Lag(_));
        match self.then.action {
            RuleAction::Pause(ResumeBy::Rule { .. }) if !heals => Err(BadRule::NeverWell),
            RuleAction::Nothing if self.then.notify.is_empty() => Err(BadRule::Idle),
            RuleAction::Nothing | RuleAction::Pause(_) | RuleAction::Stop => Ok(()),
        }
    }
}

impl When {
    /// How long a map must have been well before the rule may resume it for the first time: as long as it had to
    /// be unwell to be paused, and never for a moment only.
    fn settle(&self) -> Duration {
        match self {
            When::Errors { within: time, .. }
            | When::Lag(time)
            | When::DestinationUnreachable(time)
            | When::SourceUnreachable(time) => SETTLE_MIN.max(*time),
            When::FailedShare { .. } | When::QueueFull(_) | When::Schedule(_) => SETTLE_MIN,
        }
    }
}

/// In words for people: *10 errors within 15 min*.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Errors { classes: ErrorClasses::Any, count, within } => {
                write!(f, "{count} errors within {}", Spell(*within))
            }
            When::Errors { classes: ErrorClasses::Only(classes), count, within } => {
                let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
                write!(f, "{count} errors ({}) within {}", classes.join(", "), Spell(*within))
            }
            When::FailedShare { ratio, of_last } => write!(f, "{ratio} of the last {of_last} records failed"),
            When::QueueFull(share) => write!(f, "the queue is {share} full"),
            When::Lag(time) => write!(f, "{} behind", Spell(*time)),
            When::DestinationUnreachable(time) => write!(f, "destination away for {}", Spell(*time)),
            When::SourceUnreachable(time) => write!(f, "source away for {}", Spell(*time)),
            When::Schedule(schedule) => write!(
                f,
                "from {:02}:{:02} {} for {}",
                schedule.start_minute / 60,
                schedule.start_minute % 60,
                schedule.zone.name(),
                Spell(schedule.lasting)
            ),
        }
    }
}

/// Why a rule fired. Shows itself as a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// So many errors within a time.
    Errors {
        /// How many, or more.
        count: u32,
        /// Within this time.
        within: Duration,
    },
    /// So many of the last records failed.
    Failed {
        /// How many.
        failed: u32,
        /// Of so many.
        of_last: u32,
    },
    /// The queue is so full.
    QueueFull(Fullness),
    /// The oldest unapplied change is so old.
    Lag(Duration),
    /// The destination has not been reached for so long.
    DestinationUnreachable(Duration),
    /// The source has not been reached for so long.
    SourceUnreachable(Duration),
    /// It is time, until then.
    Schedule {
        /// The end of the window.
        until: WallTime,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Errors { count: 1, within } => write!(f, "an error within {}", Spell(*within)),
            Why::Errors { count, within } => write!(f, "{count} errors within {}", Spell(*within)),
            Why::Failed { failed, of_last } => write!(f, "{failed} of the last {of_last} records failed"),
            Why::QueueFull(full) => write!(f, "the queue is {full} full"),
            Why::Lag(lag) => write!(f, "{} behind", Spell(*lag)),
            Why::DestinationUnreachable(time) => {
                write!(f, "the destination has not been reached for {}", Spell(*time))
            }
            Why::SourceUnreachable(time) => {
                write!(f, "the source has not been reached for {}", Spell(*time))
            }
            Why::Schedule { .. } => f.write_str("it is the time for it"),
        }
    }
}

/// A time in its two largest units, cut: *1 h 30 min*.
struct Spell(Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "d"),
            (seconds / 3_600 % 24, "h"),
            (seconds / 60 % 60, "min"),
            (seconds % 60, "s"),
        ];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let shown: Vec<String> = parts
            .iter()
            .skip(first)
            .take(2)
            .enumerate()
            .filter(|(place, (count, _))| *place == 0 || *count > 0)
            .map(|(_, (count, unit))| format!("{count} {unit}"))
            .collect();
        f.write_str(&shown.join(" "))
    }
}
