//! The rules: list, switch, test.

use crate::gate::Who;
use crate::input::{Asked, Body, page_size};
use crate::problem::Refusal;
use crate::wire::{Page, Rule, RuleTest, SwitchRequest};
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::WallTime;
use tandem_engine::Engine;

/// How far back a test looks if nobody says so.
const TEST_SINCE_DEFAULT: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// The query of `GET /rules`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// The query of `GET /rules/{rule}/test`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestQuery {
    since: Option<String>,
}

/// `GET /rules`: by name.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<Rule>>, Refusal> {
    let limit = page_size(asked.limit)?;
    let mut rules: Vec<Rule> = engine.snapshot().rules.iter().map(Rule::from).collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules.retain(|rule| asked.after.as_deref().is_none_or(|after| rule.name.as_str() > after));
    rules.truncate(limit + 1);
    Ok(Json(Page::cut(rules, limit, |rule| rule.name.clone())))
}

/// `POST /rules/{rule}/enable`
pub(crate) async fn enable(
    engine: State<Engine>,
    who: Who,
    rule: Path<String>,
    asked: Body<SwitchRequest>,
) -> Result<Json<Rule>, Refusal> {
    switch(engine, who, rule, asked, true).await
}

/// `POST /rules/{rule}/disable`
pub(crate) async fn disable(
    engine: State<Engine>,
    who: Who,
    rule: Path<String>,
    asked: Body<SwitchRequest>,
) -> Result<Json<Rule>, Refusal> {
    switch(engine, who, rule, asked, false).await
}

/// `GET /rules/{rule}/test`: over what is recorded since a time, RFC 3339; of the last seven days if none is given.
pub(crate) async fn test(
    State(engine): State<Engine>,
    Path(rule): Path<String>,
    Asked(asked): Asked<TestQuery>,
) -> Result<Json<RuleTest>, Refusal> {
    let since = match asked.since.as_deref().map(str::parse::<Timestamp>) {
        Some(Ok(since)) => since,
        Some(Err(_)) => {
            return Err(Refusal::bad_request("'since' is a moment such as 2026-03-01T12:00:00Z"));
        }
        None => Timestamp::now().saturating_sub(TEST_SINCE_DEFAULT).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let tested = engine.test_rule(&rule, WallTime(since.as_microsecond())).await?;
    Ok(Json(tested.into()))
}

async fn switch(
    State(engine): State<Engine>,
    who: Who,
    Path(rule): Path<String>,
    Body(asked): Body<SwitchRequest>,
    enabled: bool,
) -> Result<Json<Rule>, Refusal> {
    let actor = who.signs(&asked.reason, asked.actor.as_deref())?;
    let view = engine.switch_rule(&rule, enabled, &actor, &asked.reason).await?;
    Ok(Json(Rule::from(&view)))
}
