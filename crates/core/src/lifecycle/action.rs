//! What a person (or a rule) can ask of a map.

use serde::{Deserialize, Serialize};

/// An action on a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start it; with or without a copy of the records that are there.
    Run {
        /// Copy first.
        initial_sync: bool,
    },
    /// Copy again after errors.
    Rerun {
        /// Leave out the rows that failed.
        without_failed: bool,
    },
    /// Go on although the copy had errors.
    SkipInitialSync,
    /// Queue changes instead of applying them.
    Pause,
    /// Go on.
    Resume(ResumeMode),
    /// While resuming: live at once, with what is left of the queue put there.
    Skip(QueueFate),
    /// End it. A queue must be given a fate.
    Stop(Option<QueueFate>),
    /// Change columns, transforms, filters or the destination table.
    Edit,
    /// Forget it.
    Delete,
}

/// How a paused map goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// The queue first, in order; then live.
    CatchUp,
    /// Live at once; the queue becomes catch-up errors.
    SkipPreserve,
    /// Live at once; the queue is dropped.
    SkipDiscard,
}

/// What becomes of a queue that is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFate {
    /// Its records become catch-up errors.
    Preserve,
    /// Its records are dropped.
    Discard,
}

impl Action {
    /// The verb, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Action::Run { .. } => "run",
            Action::Rerun { .. } => "rerun",
            Action::SkipInitialSync => "skip_initial_sync",
            Action::Pause => "pause",
            Action::Resume(_) => "resume",
            Action::Skip(_) => "skip",
            Action::Stop(_) => "stop",
            Action::Edit => "edit",
            Action::Delete => "delete",
        }
    }

    /// One of each kind, for tables.
    pub fn all() -> [Action; 16] {
        use Action::{Delete, Edit, Pause, Rerun, Resume, Run, Skip, SkipInitialSync, Stop};
        [
            Run { initial_sync: true },
            Run { initial_sync: false },
            Rerun { without_failed: false },
            Rerun { without_failed: true },
            SkipInitialSync,
            Pause,
            Resume(ResumeMode::CatchUp),
            Resume(ResumeMode::SkipPreserve),
            Resume(ResumeMode::SkipDiscard),
            Skip(QueueFate::Preserve),
            Skip(QueueFate::Discard),
            Stop(None),
            Stop(Some(QueueFate::Preserve)),
            Stop(Some(QueueFate::Discard)),
            Edit,
            Delete,
        ]
    }
}
