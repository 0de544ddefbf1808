//! Actions on maps. Each route of one map is the general one with its verb filled in.

use crate::gate::{Who, bound, needs};
use crate::input::Body;
use crate::problem::Refusal;
use crate::wire::{
    Accepted, ActionRequest, PauseRequest, Plan, ResumeRequest, RunRequest, SkipRequest, StopRequest,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::collections::BTreeSet;
use tandem_core::lifecycle::Phase;
use tandem_core::{Dependents, MapName, Role};
use tandem_engine::{Engine, MapView};

type Answer = Result<Json<Accepted>, Refusal>;

/// `POST /actions`
pub(crate) async fn several(
    State(engine): State<Engine>,
    who: Who,
    Body(asked): Body<ActionRequest>,
) -> Answer {
    let request = understand(&engine, &who, asked)?;
    Ok(Json(engine.act(request).await?.into()))
}

/// `POST /plan`: what an action would do, and what stands in its way.
pub(crate) async fn plan(
    State(engine): State<Engine>,
    who: Who,
    Body(asked): Body<ActionRequest>,
) -> Result<Json<Plan>, Refusal> {
    let request = understand(&engine, &who, asked)?;
    Ok(Json(engine.plan(request).await?.into()))
}

fn understand(
    engine: &Engine,
    who: &Who,
    mut asked: ActionRequest,
) -> Result<tandem_engine::Request, Refusal> {
    if asked.force && who.0.role < Role::Admin {
        return Err(needs(Role::Admin, &who.0));
    }
    if let Some(app) = &asked.app {
        if !asked.maps.is_empty() {
            return Err(Refusal::bad_request("'maps' and 'app' are two ways to say it: send one of them"));
        }
        asked.maps = maps_of(engine, app, &asked)?;
        if !asked.maps.iter().all(|map| who.sees(map)) {
            return Err(bound(format!("app {app} has maps that the token {} is not for", who.0.name)));
        }
    }
    reaches_only_own(engine, who, &asked)?;
    asked.actor = Some(who.signs(&asked.reason, asked.actor.as_deref())?);
    asked.into_engine().map_err(Refusal::bad_request)
}

/// What is done to a map is done to those along with it. Whoever is bound to maps is refused the whole if one of them is
/// not theirs, whatever state it is in: that may be another one by the time that it is done.
fn reaches_only_own(engine: &Engine, who: &Who, asked: &ActionRequest) -> Result<(), Refusal> {
    if who.0.maps.is_all() {
        return Ok(());
    }
    if let Some(foreign) = asked.maps.iter().find(|map| !who.sees(map)) {
        return Err(Refusal::unknown_map(foreign));
    }
    let snapshot = engine.snapshot();
    let graph =
        Dependents::new(snapshot.maps.iter().map(|view| (&view.map.name, view.map.depends_on.as_slice())));
    let named: BTreeSet<MapName> = asked.maps.iter().map(|map| MapName::from(map.as_str())).collect();
    let parents = named.iter().filter(|_| asked.with_parents).flat_map(|map| graph.ancestors(map));
    let first: BTreeSet<MapName> = parents.chain(named.iter().cloned()).collect();
    let along = first.iter().flat_map(|map| graph.dependents(map)).chain(first.iter().cloned());
    let foreign: BTreeSet<MapName> = along.filter(|map| !who.0.maps.has(map)).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = foreign.iter().map(MapName::as_str).collect();
    Err(bound(format!("{} would go along, and the token {} is not for that", names.join(", "), who.0.name)))
}

/// `POST /maps/{map}/run`
pub(crate) async fn run(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<RunRequest>,
) -> Answer {
    let RunRequest { initial_sync, without_failed, reason, actor } = asked;
    let asked = ActionRequest { initial_sync, without_failed, reason, actor, ..one("run", map) };
    several(engine, who, Body(asked)).await
}

/// `POST /maps/{map}/pause`
pub(crate) async fn pause(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<PauseRequest>,
) -> Answer {
    let PauseRequest { for_seconds, until, then_resume, reason, actor } = asked;
    let asked = ActionRequest { for_seconds, until, then_resume, reason, actor, ..one("pause", map) };
    several(engine, who, Body(asked)).await
}

/// `POST /maps/{map}/resume`
pub(crate) async fn resume(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<ResumeRequest>,
) -> Answer {
    let ResumeRequest { mode, rate, with_parents, expected, reason, actor } = asked;
    let asked = ActionRequest { mode, rate, with_parents, expected, reason, actor, ..one("resume", map) };
    several(engine, who, Body(asked)).await
}

/// `POST /maps/{map}/skip`
pub(crate) async fn skip(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<SkipRequest>,
) -> Answer {
    let SkipRequest { queue, with_parents, expected, reason, actor } = asked;
    let asked = ActionRequest { queue, with_parents, expected, reason, actor, ..one("skip", map) };
    several(engine, who, Body(asked)).await
}

/// `POST /maps/{map}/stop`
pub(crate) async fn stop(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<StopRequest>,
) -> Answer {
    let StopRequest { queue, force, expected, reason, actor } = asked;
    let asked = ActionRequest { queue, force, expected, reason, actor, ..one("stop", map) };
    several(engine, who, Body(asked)).await
}

/// The maps of an app that an action can be done with now. One that is on its way to a state in which it could be is
/// among them: the engine refuses it, and names it. A pause with a planned end is for those as well whose end can be
/// moved; one that was paused without an end keeps that.
fn maps_of(engine: &Engine, app: &str, asked: &ActionRequest) -> Result<Vec<String>, Refusal> {
    let (action, planned) = (asked.action.as_str(), asked.for_seconds.is_some() || asked.until.is_some());
    let snapshot = engine.snapshot();
    if !snapshot.apps.iter().any(|known| known.app.as_str() == app) {
        return Err(Refusal::unknown_app(app));
    }
    let wanted = |view: &&MapView| match view.state.phase {
        // One that was stopped, and whose apps still have something of it, can be given up.
        Phase::NotRunning => asked.force && view.is_leaving(),
        _ if action == "stop" => true,
        Phase::Paused => action == "resume" || (action == "pause" && planned && view.window.is_some()),
        Phase::Initializing(_) | Phase::Running | Phase::Resuming => {
            action == "pause" && !view.state.is_pausing()
        }
    };
    let of_app =
        |view: &&MapView| [&view.map.left.app, &view.map.right.app].iter().any(|side| side.as_str() == app);
    let maps: Vec<String> =
        snapshot.maps.iter().filter(of_app).filter(wanted).map(|view| view.map.name.to_string()).collect();
    if maps.is_empty() {
        let detail = format!("no map of {app} is in a state to {action}");
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "state_refused",
            "The state of a map does not allow this",
            detail,
        )
        .fix("tandem map list"));
    }
    Ok(maps)
}

fn one(action: &str, map: String) -> ActionRequest {
    ActionRequest { action: action.to_owned(), maps: vec![map], ..ActionRequest::default() }
}
