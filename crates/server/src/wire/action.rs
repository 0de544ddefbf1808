//! Actions on maps: what is asked, and what an accepted one answers.

use super::{Blocker, Finding};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use tandem_core::lifecycle::{Action, QueueFate, ResumeMode};
use tandem_core::{MapName, WallTime};
use tandem_engine::{WindowAsked, WindowEnd};

/// Asks for an action on one or several maps: all of them, or none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// `run`, `pause`, `resume`, `stop`, `skip`.
    #[schemars(extend("enum" = ["run", "pause", "resume", "stop", "skip"]))]
    pub action: String,
    /// The maps. Dependents that must go along need not be named.
    #[serde(default)]
    pub maps: Vec<String>,
    /// `pause`, `resume` and `stop`: an app instead of maps, which are all of its maps that this can be done with now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Why, in the words of who asks.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
    /// `run`: copy the records that are there first. If it is left out, each map as it is declared. Of a map whose initial sync ended with
    /// errors: do it again, or go on without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_sync: Option<bool>,
    /// `run` of a map whose initial sync ended with errors: do it again, without the rows that failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_failed: bool,
    /// `resume`: `catch_up` (if it is left out), `skip_preserve`, `skip_discard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `stop` and `skip`: what becomes of the queue, `preserve` or `discard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// `resume`, `stop` and `skip`: how many queued records were seen, all maps together. If it is another number
    /// now, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// `resume` by catch-up: at most so many records a second until the maps are live; maps between the same two apps
    /// share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
    /// `resume` and `skip`: resume the maps that these depend on as well, where they are paused; those always by
    /// catch-up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_parents: bool,
    /// `pause`: it is planned to end in so many seconds …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u32>,
    /// … or then; one of the two. A map that a person has paused already takes a new end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// `pause` with a planned end: resume the maps then, by catch-up, unless a limit blocks them or something else
    /// holds them, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub then_resume: bool,
    /// `stop` with a word for the queue: do not wait for apps that do not answer, and say what is left behind in them.
    /// For an app that is gone for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The body of `POST /maps/{map}/run`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunRequest {
    /// See [`ActionRequest::initial_sync`].
    pub initial_sync: Option<bool>,
    /// See [`ActionRequest::without_failed`].
    pub without_failed: bool,
    /// See [`ActionRequest::reason`].
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// See [`ActionRequest::actor`].
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// The body of `POST /maps/{map}/pause`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// See [`ActionRequest::for_seconds`].
    pub for_seconds: Option<u32>,
    /// See [`ActionRequest::until`].
    pub until: Option<Timestamp>,
    /// See [`ActionRequest::then_resume`].
    pub then_resume: bool,
    /// See [`ActionRequest::reason`].
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// See [`ActionRequest::actor`].
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// The body of `POST /maps/{map}/resume`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResumeRequest {
    /// See [`ActionRequest::mode`].
    pub mode: Option<String>,
    /// See [`ActionRequest::rate`].
    pub rate: Option<NonZeroU32>,
    /// See [`ActionRequest::with_parents`].
    pub with_parents: bool,
    /// See [`ActionRequest::expected`].
    pub expected: Option<u64>,
    /// See [`ActionRequest::reason`].
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// See [`ActionRequest::actor`].
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// The body of `POST /maps/{map}/skip`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SkipRequest {
    /// See [`ActionRequest::queue`].
    pub queue: Option<String>,
    /// See [`ActionRequest::with_parents`].
    pub with_parents: bool,
    /// See [`ActionRequest::expected`].
    pub expected: Option<u64>,
    /// See [`ActionRequest::reason`].
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// See [`ActionRequest::actor`].
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// The body of `POST /maps/{map}/stop`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopRequest {
    /// See [`ActionRequest::queue`].
    pub queue: Option<String>,
    /// See [`ActionRequest::force`].
    pub force: bool,
    /// See [`ActionRequest::expected`].
    pub expected: Option<u64>,
    /// See [`ActionRequest::reason`].
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// See [`ActionRequest::actor`].
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// What an accepted request did. A pause or a resume takes effect after it: wait for the state.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// Its number in the activity log.
    pub id: u64,
    /// Every map that it touches, dependents included.
    pub maps: Vec<MapState>,
    /// What a person should know all the same.
    pub warnings: Vec<Finding>,
    /// What a forced stop has left behind in apps that did not answer.
    pub left_behind: Vec<LeftBehind>,
}

/// What is left of ours in an app that did not answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeftBehind {
    /// The app.
    pub app: String,
    /// What.
    pub what: String,
    /// Why it is still there.
    pub why: String,
    /// What frees the app of everything of ours, run there by hand; null while other maps use the app, or if only the
    /// app itself could tell.
    pub sql: Option<String>,
}

/// What an action would do if it were asked for now. Nothing was changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Every map that it would touch, dependents included.
    pub maps: Vec<PlannedMap>,
    /// What stands in its way: with any, nothing would be done.
    pub blockers: Vec<Blocker>,
}

/// What an action would do to one map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMap {
    /// The map.
    pub name: String,
    /// The state that it is in.
    pub from: String,
    /// The state that it would come to.
    pub to: String,
    /// It was not named, and goes along with one that was.
    pub goes_along: bool,
    /// Records that are captured and not applied.
    pub queued: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// They would be lost.
    pub lost: bool,
}

impl From<tandem_engine::Planned> for Plan {
    fn from(planned: tandem_engine::Planned) -> Self {
        let map = |map: tandem_engine::PlannedMap| PlannedMap {
            name: map.map.to_string(),
            from: map.from.name().to_owned(),
            to: map.to.name().to_owned(),
            goes_along: map.goes_along,
            queued: map.queued,
            bytes: map.bytes,
            lost: map.lost,
        };
        Self {
            maps: planned.maps.into_iter().map(map).collect(),
            blockers: planned.blockers.into_iter().map(Blocker::from).collect(),
        }
    }
}

/// A map and the state that it is in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MapState {
    /// The map.
    pub name: String,
    /// Its state.
    pub state: String,
}

/// The longest text that a person may send along: a reason, a name.
pub(crate) const TEXT_MAX: usize = 1_000;

impl ActionRequest {
    /// What is asked of the engine, or what is wrong with the question.
    pub(crate) fn into_engine(self) -> Result<tandem_engine::Request, String> {
        let given = [
            ("initial_sync", self.initial_sync.is_some(), &["run"][..]),
            ("without_failed", self.without_failed, &["run"]),
            ("mode", self.mode.is_some(), &["resume"]),
            ("queue", self.queue.is_some(), &["stop", "skip"]),
            ("app", self.app.is_some(), &["pause", "resume", "stop"]),
            ("force", self.force, &["stop"]),
            ("expected", self.expected.is_some(), &["resume", "stop", "skip"]),
            ("rate", self.rate.is_some(), &["resume"]),
            ("with_parents", self.with_parents, &["resume", "skip"]),
            ("for_seconds", self.for_seconds.is_some(), &["pause"]),
            ("until", self.until.is_some(), &["pause"]),
            ("then_resume", self.then_resume, &["pause"]),
        ];
        for (field, is_given, verbs) in given {
            if is_given && !verbs.contains(&self.action.as_str()) {
                return Err(format!("'{field}' does not belong to the action '{}'", self.action));
            }
        }
        if self.rate.is_some() && self.mode.as_deref().is_some_and(|mode| mode != "catch_up") {
            return Err("'rate' goes with the mode 'catch_up': what is skipped is not applied".to_owned());
        }
        let window = self.window()?;
        let as_declared = self.initial_sync.is_none();
        let queue = self.queue.as_deref().map(queue_fate).transpose()?;
        let action = match self.action.as_str() {
            "run" if self.without_failed && self.initial_sync == Some(false) => {
                return Err(
                    "'without_failed' is about an initial sync, and 'initial_sync' says that there is none"
                        .to_owned(),
                );
            }
            "run" if self.without_failed => Action::Rerun { without_failed: true },
            "run" => Action::Run { initial_sync: self.initial_sync.unwrap_or(true) },
            "pause" => Action::Pause,
            "resume" => Action::Resume(resume_mode(self.mode.as_deref().unwrap_or("catch_up"))?),
            "stop" if self.force && queue.is_none() => {
                return Err("'force' needs 'queue': what is not applied yet cannot be waited for".to_owned());
            }
            "stop" => Action::Stop(queue),
            "skip" => Action::Skip(
                queue.ok_or("'skip' needs 'queue': say what becomes of it, 'preserve' or 'discard'")?,
            ),
            other => {
                return Err(format!(
                    "there is no action '{other}'; there are run, pause, resume, skip, stop"
                ));
            }
        };
        if self.maps.is_empty() {
            return Err("'maps' is empty: name at least one map".to_owned());
        }
        let actor = self.actor.unwrap_or_else(|| "api".to_owned());
        let maps = self.maps.into_iter().map(MapName::from).collect();
        Ok(tandem_engine::Request {
            as_declared: as_declared && matches!(action, Action::Run { .. }),
            reason: self.reason,
            expected: self.expected,
            rate: self.rate,
            with_parents: self.with_parents,
            window,
            force: self.force,
            ..tandem_engine::Request::new(action, maps, actor)
        })
    }
}

impl ActionRequest {
    fn window(&self) -> Result<Option<WindowAsked>, String> {
        let end = match (self.for_seconds, self.until) {
            (Some(_), Some(_)) => {
                return Err("'for_seconds' and 'until' are two ways to say it: send one of them".to_owned());
            }
            (Some(seconds), None) => WindowEnd::In(Duration::from_secs(seconds.into())),
            (None, Some(until)) => WindowEnd::At(WallTime(until.as_microsecond())),
            (None, None) if self.then_resume => {
                return Err("'then_resume' needs a planned end: 'for_seconds' or 'until'".to_owned());
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(WindowAsked { end, then_resume: self.then_resume }))
    }
}

fn queue_fate(text: &str) -> Result<QueueFate, String> {
    match text {
        "preserve" => Ok(QueueFate::Preserve),
        "discard" => Ok(QueueFate::Discard),
        other => Err(format!("'queue' is 'preserve' or 'discard', not '{other}'")),
    }
}

fn resume_mode(text: &str) -> Result<ResumeMode, String> {
    match text {
        "catch_up" => Ok(ResumeMode::CatchUp),
        "skip_preserve" => Ok(ResumeMode::SkipPreserve),
        "skip_discard" => Ok(ResumeMode::SkipDiscard),
        other => Err(format!("'mode' is 'catch_up', 'skip_preserve' or 'skip_discard', not '{other}'")),
    }
}

impl From<tandem_engine::LeftBehind> for LeftBehind {
    fn from(left: tandem_engine::LeftBehind) -> Self {
        Self { app: left.app.to_string(), what: left.what, why: left.why, sql: left.sql }
    }
}

impl From<tandem_engine::Accepted> for Accepted {
    fn from(accepted: tandem_engine::Accepted) -> Self {
        let state = |(name, phase): (MapName, tandem_core::lifecycle::Phase)| MapState {
            name: name.to_string(),
            state: phase.name().to_owned(),
        };
        Self {
            id: accepted.id,
            maps: accepted.maps.into_iter().map(state).collect(),
            warnings: accepted.warnings.into_iter().map(Finding::from).collect(),
            left_behind: accepted.left_behind.into_iter().map(LeftBehind::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<Action, &str>) {
        let request: ActionRequest = serde_json::from_str(body).unwrap();
        let seen = request.into_engine().map(|request| request.action);
        assert_eq!(seen, expected.map_err(ToOwned::to_owned), "{body}");
    }

    #[test]
    fn an_action_takes_only_the_fields_that_belong_to_it() {
        check(r#"{"action":"pause","maps":["a"]}"#, Ok(Action::Pause));
        check(r#"{"action":"run","maps":["a"]}"#, Ok(Action::Run { initial_sync: true }));
        check(r#"{"action":"resume","maps":["a"]}"#, Ok(Action::Resume(ResumeMode::CatchUp)));
        check(
            r#"{"action":"stop","maps":["a"],"queue":"discard"}"#,
            Ok(Action::Stop(Some(QueueFate::Discard))),
        );
        check(
            r#"{"action":"pause","maps":["a"],"queue":"discard"}"#,
            Err("'queue' does not belong to the action 'pause'"),
        );
        check(
            r#"{"action":"pause","maps":["a"],"force":true}"#,
            Err("'force' does not belong to the action 'pause'"),
        );
        check(
            r#"{"action":"stop","maps":["a"],"force":true}"#,
            Err("'force' needs 'queue': what is not applied yet cannot be waited for"),
        );
        check(
            r#"{"action":"resume","maps":["a"],"mode":"skip_discard","rate":5}"#,
            Err("'rate' goes with the mode 'catch_up': what is skipped is not applied"),
        );
        check(
            r#"{"action":"pause","maps":["a"],"then_resume":true}"#,
            Err("'then_resume' needs a planned end: 'for_seconds' or 'until'"),
        );
        check(
            r#"{"action":"pause","maps":["a"],"for_seconds":5,"until":"2026-11-22T23:00:00Z"}"#,
            Err("'for_seconds' and 'until' are two ways to say it: send one of them"),
        );
        check(r#"{"action":"pause","maps":[]}"#, Err("'maps' is empty: name at least one map"));
        check(
            r#"{"action":"skip","maps":["a"]}"#,
            Err("'skip' needs 'queue': say what becomes of it, 'preserve' or 'discard'"),
        );
    }

    #[test]
    fn an_unknown_field_is_refused_rather_than_ignored() {
        let body = r#"{"action":"pause","maps":["a"],"strength":9}"#;
        assert!(serde_json::from_str::<ActionRequest>(body).is_err());
    }
}
