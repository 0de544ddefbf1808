//! Catch-up errors: listed, shown, grouped, tried again, deleted.

use super::maps::find;
use crate::gate::Who;
use crate::input::{Asked, Body, page_size};
use crate::problem::Refusal;
use crate::sight::Sight;
use crate::wire::{
    CancelRequest, ErrorCause, ErrorsRequest, ErrorsTaken, Page, RecordError, RecordErrorInFull,
};
use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::FaultClass;
use tandem_engine::{Engine, ErrorId, ErrorPick, ErrorQuery, ErrorRequest, ErrorStatus, ErrorVerb};

/// The query of `GET /errors`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    status: Option<String>,
    class: Option<String>,
    key: Option<String>,
    transaction: Option<String>,
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// The query of `GET /errors/causes`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfMap {
    map: Option<String>,
}

/// `GET /errors`: in the order in which they were noted, then the records of preserved queues in source order.
/// For a token that is bound to maps, a page may have fewer items than its limit, or none, and not be the last.
pub(crate) async fn list(
    State(engine): State<Engine>,
    who: Who,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<RecordError>>, Refusal> {
    let map = who.asked_map(asked.map.clone())?;
    if asked.key.is_some() {
        for map in engine.snapshot().maps.iter().map(|view| &view.map.name) {
            if asked.map.as_deref().is_none_or(|asked| asked == map.as_str()) {
                Sight::of(&who, &engine, map.as_str()).may_search_keys()?;
            }
        }
    }
    if let Some(map) = &asked.map {
        find(&engine, map)?;
    }
    let after = asked.after.as_deref().map(str::parse::<ErrorId>).transpose();
    let query = ErrorQuery {
        map,
        statuses: asked.status.as_deref().map_or(Ok(Vec::new()), statuses)?,
        pick: pick(Vec::new(), asked.class.as_deref(), asked.key.as_deref(), asked.transaction)?,
        after: 0,
        limit: page_size(asked.limit)?,
    };
    let after = after.map_err(|_| Refusal::bad_request("'after' is 'next' of the page before"))?;
    let page = engine.errors(query, after).await?;
    let seen = page.items.into_iter().map(RecordError::from).filter(|error| who.sees(&error.map));
    Ok(Json(Page {
        items: seen.map(|error| Sight::of(&who, &engine, &error.map).error(error)).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// `GET /errors/causes`: the most frequent first.
pub(crate) async fn causes(
    State(engine): State<Engine>,
    who: Who,
    Asked(asked): Asked<OfMap>,
) -> Result<Json<Page<ErrorCause>>, Refusal> {
    if let Some(map) = &asked.map {
        find(&engine, map)?;
    }
    let causes = engine.error_causes(who.asked_map(asked.map)?.as_ref()).await?;
    let seen = causes.into_iter().map(ErrorCause::from).filter(|cause| who.sees(&cause.map));
    let items = seen.map(|cause| Sight::of(&who, &engine, &cause.map).cause(cause)).collect();
    Ok(Json(Page { items, next: None }))
}

/// `GET /errors/{id}`
pub(crate) async fn show(
    State(engine): State<Engine>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<RecordErrorInFull>, Refusal> {
    // What is no id names no error, just as a number that was never given, and as one of a map that is not theirs.
    let unknown = || Refusal::unknown_error(&format!("there is no error {id}"));
    let found = RecordErrorInFull::from(engine.error(id.parse().map_err(|_| unknown())?).await?);
    if !who.sees(&found.error.map) {
        return Err(unknown());
    }
    Ok(Json(Sight::of(&who, &engine, &found.error.map).error_in_full(found)))
}

/// `POST /maps/{map}/errors/retry`
pub(crate) async fn retry(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<ErrorsRequest>,
) -> Result<Json<ErrorsTaken>, Refusal> {
    act(engine, who, ErrorVerb::Retry, map, asked).await
}

/// `POST /maps/{map}/errors/delete`
pub(crate) async fn delete(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<ErrorsRequest>,
) -> Result<Json<ErrorsTaken>, Refusal> {
    act(engine, who, ErrorVerb::Delete, map, asked).await
}

/// `POST /maps/{map}/errors/cancel`
pub(crate) async fn cancel(
    engine: State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Body(asked): Body<CancelRequest>,
) -> Result<Json<ErrorsTaken>, Refusal> {
    let CancelRequest { reason, actor } = asked;
    let asked = ErrorsRequest { all: true, reason, actor, ..ErrorsRequest::default() };
    act(engine, who, ErrorVerb::Cancel, map, asked).await
}

async fn act(
    State(engine): State<Engine>,
    who: Who,
    verb: ErrorVerb,
    map: String,
    asked: ErrorsRequest,
) -> Result<Json<ErrorsTaken>, Refusal> {
    find(&engine, &map)?;
    let taken = engine.act_on_errors(understand(&who, verb, &map, asked)?).await?;
    Ok(Json(ErrorsTaken { id: taken.id, map, errors: taken.errors }))
}

/// A request that says nothing of which errors it means is about none, never about all.
fn understand(who: &Who, verb: ErrorVerb, map: &str, asked: ErrorsRequest) -> Result<ErrorRequest, Refusal> {
    let has_filter = asked.class.is_some() || asked.key.is_some() || asked.transaction.is_some();
    let ways = [asked.all, !asked.ids.is_empty(), has_filter].into_iter().filter(|way| *way).count();
    if ways != 1 {
        return Err(Refusal::bad_request(
            "say which errors: 'ids', or a filter ('class', 'key', 'transaction'), or 'all'; one of the three",
        ));
    }
    let actor = who.signs(&asked.reason, asked.actor.as_deref())?;
    if verb != ErrorVerb::Retry && (asked.refresh || asked.rate.is_some()) {
        return Err(Refusal::bad_request("'refresh' and 'rate' belong to a retry"));
    }
    if asked.refresh && asked.rate.is_some() {
        return Err(Refusal::bad_request("'rate' is for what is replayed: a refresh has none"));
    }
    let (mut noted, mut kept) = (Vec::new(), Vec::new());
    for id in &asked.ids {
        match id.parse().map_err(|why| Refusal::bad_request(format!("'{id}' names no error: {why}")))? {
            ErrorId::Noted(id) => noted.push(id),
            ErrorId::Kept(flow, seq) => kept.push((flow, seq)),
        }
    }
    let only_kept = noted.is_empty() && !kept.is_empty();
    let pick = pick(noted, asked.class.as_deref(), asked.key.as_deref(), asked.transaction)?;
    Ok(ErrorRequest {
        verb,
        map: map.into(),
        pick: (!only_kept).then_some(pick),
        kept,
        refresh: asked.refresh,
        rate: asked.rate,
        actor,
        reason: asked.reason,
        expected: asked.expected,
    })
}

fn pick(
    ids: Vec<u64>,
    class_name: Option<&str>,
    key: Option<&str>,
    transaction: Option<String>,
) -> Result<ErrorPick, Refusal> {
    let class = class_name.map(class).transpose()?;
    Ok(ErrorPick { ids, class, keys: key.map(keys).unwrap_or_default(), transaction, noted_by: None })
}

/// One status, several with commas between them, or `all`.
fn statuses(text: &str) -> Result<Vec<ErrorStatus>, Refusal> {
    if text == "all" {
        return Ok(ErrorStatus::ALL.to_vec());
    }
    let named = |name: &str| {
        ErrorStatus::named(name.trim()).ok_or_else(|| {
            let names = ErrorStatus::ALL.map(ErrorStatus::name).join(", ");
            Refusal::bad_request(format!("there is no status {name}; there are: {names}, and all"))
        })
    };
    text.split(',').map(named).collect()
}

fn class(name: &str) -> Result<FaultClass, Refusal> {
    FaultClass::ALL.into_iter().find(|class| class.to_string() == name).ok_or_else(|| {
        let about_records = FaultClass::ALL.into_iter().filter(|class| class.is_about_record());
        let names: Vec<String> = about_records.map(|class| class.to_string()).collect();
        Refusal::bad_request(format!("there is no class {name}; errors of records are: {}", names.join(", ")))
    })
}

/// The keys that may be meant: the list may be of several maps, whose keys have one column or more.
fn keys(text: &str) -> Vec<Vec<String>> {
    let listed: Option<Vec<String>> = serde_json::from_str(text).ok();
    let split = text.contains('|').then(|| text.split('|').map(ToOwned::to_owned).collect());
    [Some(vec![text.to_owned()]), split, listed].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_of_one_column_or_of_several() {
        let check = |text: &str, expected: &[&[&str]]| assert_eq!(keys(text), expected, "{text}");
        check("K1", &[&["K1"]]);
        check("a|b", &[&["a|b"], &["a", "b"]]);
        check(r#"["a","b"]"#, &[&[r#"["a","b"]"#], &["a", "b"]]);
    }
}
