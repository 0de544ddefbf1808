//! The life of a map: five states, the actions that each allows, and the reasons why a map is held.
//!
//! ```text
//!                 run                 entered, copied                pause (any hold)
//! not_running ─────────► initializing ───────────────► running ◄──────────────────────► paused
//!      ▲                      │                          ▲ │  ▲    (let go by its lane)    │
//!      │        stop          │                caught up │ │  └── holds gone before        │ resume
//!      └──────────────────────┴──────────────────────────┼─┘       it was let go           │
//!      ▲                                                  └────────── resuming ◄───────────┘
//!      └──────────────────────────── stop ───────────────────────────────┘
//! ```
//!
//! [`step`] is the only thing that changes a [`MapState`], and it is pure. [`duties`] says what must go on in a
//! state; the engine starts and ends tasks until that is so. A restart and a transition are therefore the same
//! code. Trouble is not a state but a condition, and lives elsewhere.
//!
//! A pause has two edges. The hold is recorded first, and from then on no new destination transaction of the map
//! may start; the map is `paused` when its lane reports that it has let go of it. Between the two the map is
//! `running` with holds, and shows itself as pausing. A crash in between ends in one of the two.

mod action;
mod duties;
mod step;
#[cfg(test)]
mod tests;
mod window;

pub use action::{Action, QueueFate, ResumeMode};
pub use duties::{Duties, duties};
pub use step::{Event, Refused, allowed, step};
pub use window::{Due, Window};

use crate::{MapName, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of a map. Changed by [`step`] only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapState {
    /// Where it is in its life.
    pub phase: Phase,
    /// When it came there.
    pub since: WallTime,
    /// Why it is held; it runs when there is none.
    #[serde(with = "holds_as_list")]
    pub holds: BTreeMap<Hold, HoldNote>,
}

/// Where a map is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is captured. Set by `stop`, and at first.
    NotRunning,
    /// Its tables enter capture, and its records are copied. Set by `run`.
    Initializing(Initializing),
    /// Changes are applied as they come. Set when initializing or catching up has ended.
    Running,
    /// Changes are queued, and nothing is applied. Set when a held map was let go by its lane.
    Paused,
    /// The queue is applied; new changes join it. Set by `resume`.
    Resuming,
}

/// How far a map has come that is initializing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializing {
    /// Its tables enter capture; no records will be copied.
    Entering,
    /// Its tables enter capture; then records are copied.
    EnteringToCopy,
    /// Records are copied.
    Copying,
    /// The copy ended with errors: a person decides.
    Failed,
}

/// A reason why a map is paused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A person paused it.
    User,
    /// A rule paused it.
    Rule(Arc<str>),
    /// A limit was reached.
    Limit,
    /// Tandem found something that a person must look at.
    System(Arc<str>),
    /// A map that it depends on is paused.
    Parent(MapName),
}

/// What is known of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNote {
    /// Since when.
    pub since: WallTime,
    /// Who did it.
    pub actor: Arc<str>,
    /// Why, in their words.
    pub reason: Arc<str>,
}

impl MapState {
    /// A map that was never run.
    pub fn new(now: WallTime) -> Self {
        Self { phase: Phase::NotRunning, since: now, holds: BTreeMap::new() }
    }

    /// Whether a pause was asked for and its lane has not let go yet.
    pub fn is_pausing(&self) -> bool {
        self.phase == Phase::Running && !self.holds.is_empty()
    }
}

impl Phase {
    /// One phase of each name: how far an initializing map has come plays no part.
    pub const NAMED: [Phase; 5] = [
        Phase::NotRunning,
        Phase::Initializing(Initializing::Entering),
        Phase::Running,
        Phase::Paused,
        Phase::Resuming,
    ];

    /// Reads [`Phase::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|phase| phase.name() == name)
    }

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Phase::NotRunning => "not_running",
            Phase::Initializing(_) => "initializing",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Resuming => "resuming",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hold::User => f.write_str("user"),
            Hold::Rule(name) => write!(f, "rule {name}"),
            Hold::Limit => f.write_str("limit"),
            Hold::System(what) => write!(f, "system: {what}"),
            Hold::Parent(map) => write!(f, "parent {map}"),
        }
    }
}

/// Maps with structured keys have no JSON form; a list of pairs has.
mod holds_as_list {
    use super::{Hold, HoldNote};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(
        holds: &BTreeMap<Hold, HoldNote>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        holds.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Hold, HoldNote>, D::Error> {
        Ok(Vec::<(Hold, HoldNote)>::deserialize(from)?.into_iter().collect())
    }
}
