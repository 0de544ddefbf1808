//! The planned end of a pause: what is to happen when it has come.
//!
//! A window is a note beside the state and not a part of it: a pause that is planned to end is a pause like any
//! other, and ends by itself only if somebody wanted that. What it never does is undo what others want: a map that
//! something else holds as well, or that a limit has blocked, waits for that.

use super::{Hold, MapState, Phase};
use crate::WallTime;
use serde::{Deserialize, Serialize};

/// The planned end of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it ends.
    pub until: WallTime,
    /// Whether the map is resumed then, by catch-up.
    pub then_resume: bool,
    /// Whether it was told that it is over: told once, whatever happens to the engine.
    pub told: bool,
}

/// What a window asks for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing: it is not over.
    Nothing,
    /// It is over, and a person resumes the map.
    Reminder,
    /// It is over, and the map is to be resumed.
    Resume,
    /// It is over and the map would be resumed, but something stands in the way: what, as a sentence goes on that
    /// begins with the map.
    Waits(String),
}

impl Window {
    /// Whether it is over.
    pub fn is_over(&self, now: WallTime) -> bool {
        now >= self.until
    }

    /// What it asks for of a map in this state. `limit_blocks`: a limit is reached, or its source refuses writes
    /// because one was; only a person resumes such a map.
    pub fn due(&self, state: &MapState, limit_blocks: bool, now: WallTime) -> Due {
        if !self.is_over(now) {
            return Due::Nothing;
        }
        if !self.then_resume {
            return Due::Reminder;
        }
        if state.phase != Phase::Paused {
            return Due::Waits("is still pausing".to_owned());
        }
        if limit_blocks || state.holds.contains_key(&Hold::Limit) {
            return Due::Waits("has reached a limit, and only a person resumes it then".to_owned());
        }
        match state.holds.keys().find(|hold| **hold != Hold::User) {
            Some(Hold::Parent(parent)) => Due::Waits(format!("depends on {parent}, which is paused, too")),
            Some(hold) => Due::Waits(format!("is held by others, too ({hold})")),
            None => Due::Resume,
        }
    }
}
