//! Comparing the tables of a map: begun, looked at, ended.

use super::maps::find;
use crate::gate::Who;
use crate::input::{Asked, Body};
use crate::problem::Refusal;
use crate::sight::Sight;
use crate::wire::{Verification, VerifyRequest};
use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::WallTime;
use tandem_core::two_way::SideName;
use tandem_engine::{DIFFERENCES_MAX, Engine};

/// Differences that are kept unless another number is asked for.
const LIMIT: usize = 100;

/// The query of `GET /maps/{map}/verify`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    #[serde(default)]
    rows: bool,
}

/// `POST /maps/{map}/verify`
pub(crate) async fn start(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<VerifyRequest>,
) -> Result<Json<Verification>, Refusal> {
    find(&engine, &map)?;
    let repair = match asked.repair.as_deref() {
        None => None,
        Some("left") => Some(SideName::Left),
        Some("right") => Some(SideName::Right),
        Some(_) => {
            let said = "'repair' is left or right: the side that the other one is made equal to";
            return Err(Refusal::bad_request(said));
        }
    };
    if asked.seen.is_some() && repair.is_none() {
        return Err(Refusal::bad_request("'seen' belongs to a repair"));
    }
    let limit = asked.limit.unwrap_or(LIMIT);
    if limit > DIFFERENCES_MAX {
        return Err(Refusal::bad_request(format!("limit is {limit}; it is 0 to {DIFFERENCES_MAX}")));
    }
    let actor = who.signs(&asked.reason, asked.actor.as_deref())?;
    let request = tandem_engine::VerifyRequest {
        map: map.into(),
        repair,
        seen: asked.seen.map(|began| WallTime(began.as_microsecond())),
        limit,
        actor,
        reason: asked.reason,
    };
    let sight = Sight::of(&who, &engine, request.map.as_str());
    Ok(Json(sight.verification(Verification::of(engine.verify(request).await?, false))))
}

/// `GET /maps/{map}/verify`: the one that goes on, or the last one. Rows are values of records: only on request.
pub(crate) async fn show(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Verification>, Refusal> {
    find(&engine, &map)?;
    let sight = Sight::of(&who, &engine, &map);
    Ok(Json(sight.verification(Verification::of(engine.verification(&map.into())?, asked.rows))))
}

/// `POST /maps/{map}/verify/cancel`
pub(crate) async fn cancel(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
) -> Result<Json<Verification>, Refusal> {
    find(&engine, &map)?;
    let sight = Sight::of(&who, &engine, &map);
    Ok(Json(sight.verification(Verification::of(engine.cancel_verification(&map.into())?, false))))
}
