//! Actions on maps. Each route of one map is the general one with its verb filled in.

use crate::input::Body;
use crate::problem::Refusal;
use crate::wire::{
    Accepted, ActionRequest, PauseRequest, ResumeRequest, RunRequest, SkipRequest, StopRequest,
};
use axum::Json;
use axum::extract::{Path, State};
use tandem_engine::Engine;

type Answer = Result<Json<Accepted>, Refusal>;

/// `POST /actions`
pub(crate) async fn several(State(engine): State<Engine>, Body(asked): Body<ActionRequest>) -> Answer {
    let request = asked.into_engine().map_err(Refusal::bad_request)?;
    Ok(Json(engine.act(request).await?.into()))
}

/// `POST /maps/{map}/run`
pub(crate) async fn run(
    engine: State<Engine>,
    Path(map): Path<String>,
    Body(asked): Body<RunRequest>,
) -> Answer {
    let RunRequest { initial_sync, reason, actor } = asked;
    several(engine, Body(ActionRequest { initial_sync, reason, actor, ..one("run", map) })).await
}

/// `POST /maps/{map}/pause`
pub(crate) async fn pause(
    engine: State<Engine>,
    Path(map): Path<String>,
    Body(asked): Body<PauseRequest>,
) -> Answer {
    let PauseRequest { reason, actor } = asked;
    several(engine, Body(ActionRequest { reason, actor, ..one("pause", map) })).await
}

/// `POST /maps/{map}/resume`
pub(crate) async fn resume(
    engine: State<Engine>,
    Path(map): Path<String>,
    Body(asked): Body<ResumeRequest>,
) -> Answer {
    let ResumeRequest { mode, expected, reason, actor } = asked;
    several(engine, Body(ActionRequest { mode, expected, reason, actor, ..one("resume", map) })).await
}

/// `POST /maps/{map}/skip`
pub(crate) async fn skip(
    engine: State<Engine>,
    Path(map): Path<String>,
    Body(asked): Body<SkipRequest>,
) -> Answer {
    let SkipRequest { queue, expected, reason, actor } = asked;
    several(engine, Body(ActionRequest { queue, expected, reason, actor, ..one("skip", map) })).await
}

/// `POST /maps/{map}/stop`
pub(crate) async fn stop(
    engine: State<Engine>,
    Path(map): Path<String>,
    Body(asked): Body<StopRequest>,
) -> Answer {
    let StopRequest { queue, expected, reason, actor } = asked;
    several(engine, Body(ActionRequest { queue, expected, reason, actor, ..one("stop", map) })).await
}

fn one(action: &str, map: String) -> ActionRequest {
    ActionRequest { action: action.to_owned(), maps: vec![map], ..ActionRequest::default() }
}
