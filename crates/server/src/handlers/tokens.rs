//! Tokens: made, listed, revoked. And who asks.

use super::maps::find;
use crate::gate::{Door, Who};
use crate::input::{Asked, Body, page_size};
use crate::once::Secretive;
use crate::problem::Refusal;
use crate::wire::{Access, Page, RevokeRequest, RouteAccess, Token, TokenCreated, TokenRequest, token_maps};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::{Role, Scope, WallTime};
use tandem_engine::{Engine, NewToken};

/// The query of `GET /tokens`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// `GET /tokens`: by name.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Token>>, Refusal> {
    let limit = page_size(asked.limit)?;
    let mut tokens: Vec<Token> = engine.tokens().into_iter().map(Token::from).collect();
    tokens.retain(|token| asked.after.as_deref().is_none_or(|after| token.name.as_str() > after));
    tokens.truncate(limit + 1);
    Ok(Json(Page::cut(tokens, limit, |token| token.name.clone())))
}

/// `POST /tokens`: the answer is the only one that has the token itself.
pub(crate) async fn create(
    State(engine): State<Engine>,
    who: Who,
    Body(asked): Body<TokenRequest>,
) -> Result<(Extension<Secretive>, Json<TokenCreated>), Refusal> {
    let role = Role::named(&asked.role).ok_or_else(|| {
        let roles = Role::ALL.map(Role::name).join(", ");
        Refusal::bad_request(format!("there is no role '{}'; there are {roles}", asked.role))
    })?;
    // A misspelled map would be a token that never sees anything.
    for map in asked.maps.iter().flatten() {
        find(&engine, map)?;
    }
    let maps = asked.maps.map(|maps| Scope::Only(maps.into_iter().map(Into::into).collect()));
    let (token, secret) = engine
        .create_token(NewToken {
            name: asked.name,
            role,
            maps: maps.unwrap_or_default(),
            expires_in: asked.expires_seconds.map(Duration::from_secs),
            actor: who.signs("", asked.actor.as_deref())?,
        })
        .await?;
    let created = TokenCreated { token: token.into(), secret: secret.reveal().to_owned() };
    Ok((Extension(Secretive), Json(created)))
}

/// `POST /tokens/{token}/revoke`
pub(crate) async fn revoke(
    State(engine): State<Engine>,
    who: Who,
    Path(token): Path<String>,
    Body(asked): Body<RevokeRequest>,
) -> Result<Json<RevokeRequest>, Refusal> {
    let made = asked.created_at.map(|at| WallTime(at.as_microsecond()));
    engine.revoke_token(&token, made, &who.signs("", asked.actor.as_deref())?).await?;
    Ok(Json(RevokeRequest::default()))
}

/// `GET /access`: who asks, and what every route needs.
pub(crate) async fn access(Who(caller): Who, Extension(doors): Extension<Arc<[Door]>>) -> Json<Access> {
    let route = |door: &Door| RouteAccess {
        method: door.method.to_owned(),
        path: door.path.to_owned(),
        role: door.role.name().to_owned(),
        maps: door.reach.name().to_owned(),
    };
    Json(Access {
        name: caller.name.to_string(),
        role: caller.role.name().to_owned(),
        maps: token_maps(&caller.maps),
        routes: doors.iter().map(route).collect(),
    })
}
