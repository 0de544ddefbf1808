//! How much a map may have waiting, for how long, and what follows when it is too much.
//!
//! Two things are limited, and whichever is reached first counts: the bytes that wait and the time that they
//! wait. A **soft** limit warns and forecasts. A **hard** one has consequences, and they are what somebody chose:
//! no setting loses a record unless its name says so.
//!
//! - [`Limits`] are the numbers, [`Profile`]s are sets of them with a name, [`LimitSettings`] is what a config
//!   gives of them.
//! - [`judge`] says what follows from the limits and from what is known of a queue. It changes nothing, keeps
//!   nothing and reads no clock: the engine asks as often as it likes.
//! - [`drop_is_due`] says when records are dropped that a limit was chosen to lose.
//! - [`ArrivalRate`] turns a counter that is looked at now and then into bytes per second.
//!
//! What `judge` does *not* decide: when a block of writes is taken off again. It stays until a person resumed
//! the map and its queue is empty, or skipped or stopped it. That is a history and not a fact of the moment, so
//! it is the engine's to remember; a judgement *below* says that nothing new is demanded, not that an old
//! demand is over.

mod drops;
mod judge;
mod profile;
mod rate;
#[cfg(test)]
mod tests;

pub use drops::{drop_is_due, drops_on};
pub use judge::{Demand, Forecast, Judgement, Level, LimitKind, Reached, Usage, judge};
pub use profile::{LimitSettings, Profile};
pub use rate::ArrivalRate;

use crate::Share;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a map may have waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most bytes of unapplied changes and open errors together; none: up to the disk's floor.
    pub max_queue_bytes: Option<u64>,
    /// The longest pause; of a map that is running and behind, the age of its oldest unapplied change.
    pub max_pause_age: Option<Duration>,
    /// The part of either from which on it is warned.
    pub soft_limit: Share,
    /// What follows when either is reached.
    pub when_full: WhenFull,
    /// Queued changes older than this are released. **Loses them.**
    pub queue_retention: Option<Duration>,
    /// Open errors older than this are released. **Loses them.**
    pub error_retention: Option<Duration>,
}

/// What follows when a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The source refuses further writes to the map's table. Where it cannot be made to, like `Keep`.
    BlockWrites,
    /// The queue grows on, up to the disk's floor.
    Keep,
    /// Changes that come now are lost.
    DropNewLosesData,
    /// The oldest queued changes are lost.
    DropOldestLosesData,
}

impl WhenFull {
    /// Every one of them.
    pub const ALL: [WhenFull; 4] =
        [WhenFull::BlockWrites, WhenFull::Keep, WhenFull::DropNewLosesData, WhenFull::DropOldestLosesData];

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            WhenFull::BlockWrites => "block_writes",
            WhenFull::Keep => "keep",
            WhenFull::DropNewLosesData => "drop_new_loses_data",
            WhenFull::DropOldestLosesData => "drop_oldest_loses_data",
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Profile::default().limits()
    }
}

impl Limits {
    /// Whether something may be lost under them; then every surface says so.
    pub fn may_lose_data(&self) -> bool {
        let at_limit = match self.when_full {
            WhenFull::BlockWrites | WhenFull::Keep => false,
            WhenFull::DropNewLosesData | WhenFull::DropOldestLosesData => {
                self.max_queue_bytes.is_some() || self.max_pause_age.is_some()
            }
        };
        at_limit || self.queue_retention.is_some() || self.error_retention.is_some()
    }
}
