//! Limits with a name, and how single settings go over them.

use super::{Limits, WhenFull};
use crate::Share;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const GIGABYTE: u64 = 1_000_000_000;
const SOFT: Share = Share::percent(80);

/// A set of limits with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One day, 1 GB, then writes are refused.
    #[default]
    Day,
    /// Seven days, 1 GB, then writes are refused.
    Week,
    /// Queued changes are released after seven days, and beyond 1 GB the newest are lost. **Loses data.**
    Training,
    /// Warns at one day and 1 GB, and does nothing else.
    Soft,
    /// No limit but the disk's floor.
    NeverLose,
}

impl Profile {
    /// Every one of them.
    pub const ALL: [Profile; 5] =
        [Profile::Day, Profile::Week, Profile::Training, Profile::Soft, Profile::NeverLose];

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Day => "day",
            Profile::Week => "week",
            Profile::Training => "training",
            Profile::Soft => "soft",
            Profile::NeverLose => "never_lose",
        }
    }

    /// What it stands for.
    pub fn limits(self) -> Limits {
        let day = Limits {
            max_queue_bytes: Some(GIGABYTE),
            max_pause_age: Some(DAY),
            soft_limit: SOFT,
            when_full: WhenFull::BlockWrites,
            queue_retention: None,
            error_retention: None,
        };
        match self {
            Profile::Day => day,
            Profile::Week => Limits { max_pause_age: Some(WEEK), ..day },
            // The age is the retention's here: with a limit of age as well, a pause of seven days would lose what
            // comes *and* what has waited.
            Profile::Training => Limits {
                max_pause_age: None,
                when_full: WhenFull::DropNewLosesData,
                queue_retention: Some(WEEK),
                ..day
            },
            Profile::Soft => Limits { when_full: WhenFull::Keep, ..day },
            Profile::NeverLose => {
                Limits { max_queue_bytes: None, max_pause_age: None, when_full: WhenFull::Keep, ..day }
            }
        }
    }
}

/// What is given of the limits in one place: for all maps, or for one. What is left out is inherited. Where there
/// may be none of something, the outer `Option` says whether it was given and the inner one what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitSettings {
    /// Starts from this profile and not from what is inherited.
    pub profile: Option<Profile>,
    /// See [`Limits::max_queue_bytes`].
    pub max_queue_bytes: Option<Option<u64>>,
    /// See [`Limits::max_pause_age`].
    pub max_pause_age: Option<Option<Duration>>,
    /// See [`Limits::soft_limit`].
    pub soft_limit: Option<Share>,
    /// See [`Limits::when_full`].
    pub when_full: Option<WhenFull>,
    /// See [`Limits::queue_retention`].
    pub queue_retention: Option<Option<Duration>>,
    /// See [`Limits::error_retention`].
    pub error_retention: Option<Option<Duration>>,
}

impl LimitSettings {
    /// These settings over others. A profile takes the place of everything inherited, the settings beside it
    /// included: who names one knows what it is without looking elsewhere.
    pub fn over(&self, inherited: &Limits) -> Limits {
        let base = self.profile.map_or_else(|| inherited.clone(), Profile::limits);
        Limits {
            max_queue_bytes: self.max_queue_bytes.unwrap_or(base.max_queue_bytes),
            max_pause_age: self.max_pause_age.unwrap_or(base.max_pause_age),
            soft_limit: self.soft_limit.unwrap_or(base.soft_limit),
            when_full: self.when_full.unwrap_or(base.when_full),
            queue_retention: self.queue_retention.unwrap_or(base.queue_retention),
            error_retention: self.error_retention.unwrap_or(base.error_retention),
        }
    }
}
