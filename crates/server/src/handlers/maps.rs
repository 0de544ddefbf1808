//! Maps: list, show, wait for a state.

use crate::WAIT_MAX_SECONDS;
use crate::gate::Who;
use crate::input::{Asked, Body, page_size};
use crate::problem::Refusal;
use crate::sight::Sight;
use crate::wire::{Map, MapHistory, Mapping, Page, Tried, TryRequest, value};
use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use tandem_core::MapName;
use tandem_core::lifecycle::Phase;
use tandem_engine::Engine;

/// The query of `GET /maps`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// The query of `GET /maps/{map}/wait`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    r#for: String,
    #[schemars(range(max = 300))]
    timeout: Option<u64>,
}

/// `GET /maps`: by name.
pub(crate) async fn list(
    State(engine): State<Engine>,
    who: Who,
    Asked(asked): Asked<List>,
) -> Result<Json<Page<Map>>, Refusal> {
    let limit = page_size(asked.limit)?;
    let snapshot = engine.snapshot();
    let behind = |name: &str| asked.after.as_deref().is_none_or(|after| name > after);
    let seen = |name: &MapName| behind(name.as_str()) && who.0.maps.has(name);
    let mut views: Vec<_> = snapshot.maps.iter().filter(|view| seen(&view.map.name)).collect();
    views.sort_by(|a, b| a.map.name.cmp(&b.map.name));
    let maps = views.into_iter().take(limit + 1).map(Map::from).collect();
    Ok(Json(Page::cut(maps, limit, |map: &Map| map.name.clone())))
}

/// `GET /maps/{map}`
pub(crate) async fn show(
    State(engine): State<Engine>,
    Path(map): Path<String>,
) -> Result<Json<Map>, Refusal> {
    find(&engine, &map).map(Json)
}

/// `GET /maps/{map}/mapping`: what the map does with a record, as it was declared. A resource of its own, for it is as
/// large as the config makes it, while the map itself is sent whenever something of it changes.
pub(crate) async fn mapping(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
) -> Result<Json<Mapping>, Refusal> {
    let snapshot = engine.snapshot();
    let found = snapshot.maps.iter().find(|view| view.map.name.as_str() == map);
    let view = found.ok_or_else(|| Refusal::unknown_map(&map))?;
    Ok(Json(Sight::of(&who, &engine, &map).mapping(Mapping::from(&view.map))))
}

/// `GET /maps/{map}/history`
pub(crate) async fn history(
    State(engine): State<Engine>,
    Path(map): Path<String>,
) -> Result<Json<MapHistory>, Refusal> {
    let trend = engine.trend(&MapName::from(map)).await?;
    Ok(Json(MapHistory::from(&trend)))
}

/// `GET /maps/{map}/wait`: answers with the map when it is in the state that is waited for.
pub(crate) async fn wait(
    State(engine): State<Engine>,
    Path(map): Path<String>,
    Asked(asked): Asked<Wait>,
) -> Result<Json<Map>, Refusal> {
    let phase = phase(&asked.r#for)?;
    let timeout = asked.timeout.unwrap_or(60);
    if timeout > WAIT_MAX_SECONDS {
        return Err(Refusal::bad_request(format!(
            "timeout is {timeout}; it is at most {WAIT_MAX_SECONDS} seconds: ask again to wait longer"
        )));
    }
    engine.wait(&MapName::from(&*map), phase, Duration::from_secs(timeout)).await?;
    find(&engine, &map).map(Json)
}

/// `POST /maps/{map}/try`: what the map makes of a row; nothing is written.
pub(crate) async fn try_row(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<TryRequest>,
) -> Result<Json<Tried>, Refusal> {
    find(&engine, &map)?;
    let to_right = match asked.to.as_deref() {
        None => None,
        Some("right") => Some(true),
        Some("left") => Some(false),
        Some(other) => {
            return Err(Refusal::bad_request(format!("to is \"left\" or \"right\", not \"{other}\"")));
        }
    };
    let row = asked.row.into_iter().map(|(name, value)| (name, value::read(value))).collect();
    let sight = Sight::of(&who, &engine, &map);
    let tried = engine.try_row(&MapName::from(map), to_right, row).await?;
    Ok(Json(sight.tried(tried.into())))
}

pub(crate) fn find(engine: &Engine, name: &str) -> Result<Map, Refusal> {
    let snapshot = engine.snapshot();
    let found = snapshot.maps.iter().find(|view| view.map.name.as_str() == name);
    found.map(Map::from).ok_or_else(|| Refusal::unknown_map(name))
}

/// The engine waits for a phase by its name, so how far an initializing map has come plays no part.
fn phase(name: &str) -> Result<Phase, Refusal> {
    Phase::named(name).ok_or_else(|| {
        Refusal::bad_request(format!(
            "there is no state '{name}'; there are {}",
            Phase::NAMED.map(Phase::name).join(", ")
        ))
    })
}
