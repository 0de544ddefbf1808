//! What is asked of the engine, and what it answers. The same types for a person, a rule and a test.

use crate::store::{ErrorPick, FlowId};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use tandem_core::lifecycle::{Action, Phase};
use tandem_core::{AppName, Fault, Finding, MapName, Seq, WallTime};

/// An action on one or several maps, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// To which maps. Dependents that must go along are added by the engine.
    pub maps: Vec<MapName>,
    /// Who asks: a user, a token, a rule.
    pub actor: String,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// How many queued records they saw, all maps together: if it is another number now, nothing is done.
    pub expected: Option<u64>,
    /// `resume` by catch-up: at most so many records a second until the maps are live, all of those of one stream
    /// together.
    pub rate: Option<NonZeroU32>,
    /// `resume` and `skip`: resume the maps that these depend on as well, where they are paused; those by catch-up,
    /// whatever becomes of the queues that were named.
    pub with_parents: bool,
    /// `pause`: when it is planned to end. Of a map that a person has paused already, it moves the end.
    pub window: Option<WindowAsked>,
    /// `stop`: do not wait for apps that do not answer; say what is left behind in them.
    pub force: bool,
    /// `run` with an initial sync: only of those maps that are declared with one. A map whose initial sync has failed is
    /// copied again, however it is declared.
    pub as_declared: bool,
}

/// When a pause is planned to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowAsked {
    /// When.
    pub end: WindowEnd,
    /// Whether the maps are resumed then, by catch-up.
    pub then_resume: bool,
}

/// A moment, or a time from now on; the engine's clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowEnd {
    /// After this time.
    In(Duration),
    /// Then.
    At(WallTime),
}

impl Request {
    /// A request with nothing else to it.
    pub fn new(action: Action, maps: Vec<MapName>, actor: impl Into<String>) -> Self {
        let (actor, reason) = (actor.into(), String::new());
        Self {
            action,
            maps,
            actor,
            reason,
            expected: None,
            rate: None,
            with_parents: false,
            window: None,
            force: false,
            as_declared: false,
        }
    }
}

/// A request to go on behind a gap in an app's log, although nobody knows what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapAccepted {
    /// The app.
    pub app: AppName,
    /// Who asks.
    pub actor: String,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// What an accepted request did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its number in the activity log.
    pub id: u64,
    /// Every map that it touches, dependents included, with the state it is in now. A pause or a resume takes
    /// effect after this: [`Engine::wait`](crate::Engine::wait).
    pub maps: Vec<(MapName, Phase)>,
    /// What a person should know, such as checks that only warned.
    pub warnings: Vec<Finding>,
    /// What a forced stop has left behind in apps that did not answer.
    pub left_behind: Vec<LeftBehind>,
}

/// What is left of ours in an app that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// The app.
    pub app: AppName,
    /// What.
    pub what: String,
    /// Why it is still there.
    pub why: String,
    /// What frees the app of everything of ours, run there by hand; none while other maps use the app, or if only
    /// the app itself could tell.
    pub sql: Option<String>,
}

/// What is to be done with errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorVerb {
    /// Try them again.
    Retry,
    /// Delete them: their changes will never be applied.
    Delete,
    /// Let be what is being tried again.
    Cancel,
}

impl ErrorVerb {
    /// What the activity log calls it.
    pub(crate) fn event(self) -> &'static str {
        match self {
            ErrorVerb::Retry => "errors.retry",
            ErrorVerb::Delete => "errors.deleted",
            ErrorVerb::Cancel => "errors.retry_cancelled",
        }
    }
}

/// A request about the errors of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRequest {
    /// What to do.
    pub verb: ErrorVerb,
    /// Of which map.
    pub map: MapName,
    /// Which errors: those that fit. The default is all of them. `None` if only records of preserved queues are meant
    /// that are named one by one.
    pub pick: Option<ErrorPick>,
    /// Records of preserved queues, one by one.
    pub kept: Vec<(FlowId, Seq)>,
    /// `Retry`: write the records as they are in the source now, instead of the changes that were set aside.
    pub refresh: bool,
    /// `Retry`: at most so many changes a second.
    pub rate: Option<NonZeroU32>,
    /// Who asks.
    pub actor: String,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// How many errors they saw: if it is another number now, nothing is done.
    pub expected: Option<u64>,
}

impl ErrorRequest {
    /// Whether it is about all errors of the map.
    pub fn is_all(&self) -> bool {
        self.pick.as_ref().is_some_and(ErrorPick::is_all)
    }
}

/// What an accepted request about errors began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorsTaken {
    /// Its number in the activity log.
    pub id: u64,
    /// How many errors it is about.
    pub errors: u64,
}

/// What a request would do if it were made now. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Every map that it would touch, dependents included.
    pub maps: Vec<PlannedMap>,
    /// What stands in its way: with any, nothing would be done.
    pub blockers: Vec<Blocker>,
}

/// What a request would do to one map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMap {
    /// The map.
    pub map: MapName,
    /// The state that it is in.
    pub from: Phase,
    /// The state that it would come to.
    pub to: Phase,
    /// It was not named, and goes along with one that was.
    pub goes_along: bool,
    /// Records that are captured and not applied.
    pub queued: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// They would be lost.
    pub lost: bool,
}

/// Why a request was not accepted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no such map.
    #[error("there is no map {0}")]
    UnknownMap(MapName),
    /// There is no such error, or none any more.
    #[error("there is no error {0}")]
    UnknownError(String),
    /// The map has no such record in its queue, or none any more.
    #[error("map {map} has no queued record {seq}: it was applied, or it is none of this map's")]
    UnknownRecord {
        /// The map.
        map: MapName,
        /// The number that was asked for.
        seq: Seq,
    },
    /// The map was not verified since the engine was started.
    #[error("map {0} was not verified since the server was started")]
    UnknownVerification(MapName),
    /// There is no such rule.
    #[error("there is no rule {0}")]
    UnknownRule(String),
    /// There is no such token, or none any more.
    #[error("there is no token {0}")]
    UnknownToken(String),
    /// The token of that name is not the one that is meant.
    #[error("nothing was changed: {0} is another token than the one that was seen")]
    OtherToken(String),
    /// There is a token of that name.
    #[error("nothing was changed: there is a token {0} already")]
    TokenExists(String),
    /// The state of at least one map does not allow it.
    #[error("nothing was changed: {}", show_blockers(.0))]
    State(Vec<Blocker>),
    /// A check found what stands in the way.
    #[error("nothing was changed: {}", .0.iter().map(|f| format!("{}: {}", f.place, f.message)).collect::<Vec<_>>().join("; "))]
    Check(Vec<Finding>),
    /// An app answered with a fault.
    #[error("nothing was changed: {0}")]
    App(Fault),
    /// What was asked makes no sense, whatever the states are.
    #[error("nothing was changed: {0}")]
    Senseless(String),
    /// This version of Tandem cannot do it yet.
    #[error("nothing was changed: {0}")]
    Unsupported(String),
    /// Our own disk failed: Tandem stops rather than go on over a hole.
    #[error("nothing was changed: {0}")]
    Disk(String),
    /// It was not done in time; what was begun goes on.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// A map that stands in the way of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// The map.
    pub map: MapName,
    /// The state that it is in.
    pub state: String,
    /// What would have to be so.
    pub needs: String,
}

fn show_blockers(blockers: &[Blocker]) -> String {
    let shown: Vec<String> =
        blockers.iter().map(|b| format!("{} is {} and {}", b.map, b.state, b.needs)).collect();
    shown.join("; ")
}
