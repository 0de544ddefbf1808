//! The queue of a map: its figures, and its records.

use super::maps::find;
use crate::gate::Who;
use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::sight::Sight;
use crate::wire::{Page, QueueStats, QueuedRecord, QueuedRecordInFull, name_of};
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_core::{MapName, OpKind, Seq, WallTime};
use tandem_engine::{Engine, QueueFilter, QueueQuery};

/// The query of `GET /maps/{map}/queue`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    key: Option<String>,
    prefix: Option<String>,
    #[schemars(extend("enum" = OpKind::ALL.map(name_of)))]
    op: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    after: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// `GET /maps/{map}/queue`: oldest first; with `key` the changes of one record, with `prefix` those of records whose key
/// begins so (its first column, as text); with `op` what happened so, with `since` and `until` what the source committed from
/// then on and before then. A page may have fewer items than its limit, or none, and not be the last: a request that
/// searches otherwise than by `key` looks at 50,000 records at most. `next` is null behind the last page only.
pub(crate) async fn list(
    State(engine): State<Engine>,
    who: Who,
    Path(map): Path<String>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<QueuedRecord>>, Refusal> {
    let sight = Sight::of(&who, &engine, &map);
    if asked.key.is_some() || asked.prefix.is_some() {
        sight.may_search_keys()?;
    }
    let columns = find(&engine, &map)?.left.key.len();
    let filter = match (asked.key, asked.prefix) {
        (None, None) => QueueFilter::All,
        (Some(key), None) => QueueFilter::Key(key_parts(&key, columns)?),
        (None, Some(prefix)) => QueueFilter::Prefix(prefix),
        (Some(_), Some(_)) => {
            return Err(Refusal::bad_request(
                "'key' is a whole key and 'prefix' the beginning of one: send one of them",
            ));
        }
    };
    let op = asked.op.as_deref().map(op).transpose()?;
    let moment = |at: Timestamp| WallTime(at.as_microsecond());
    let query = QueueQuery {
        filter,
        op,
        since: asked.since.map(moment),
        until: asked.until.map(moment),
        after: Seq(number("after", asked.after.as_deref())?.unwrap_or(0)),
        limit: page_size(asked.limit)?,
    };
    let page = engine.queue(&MapName::from(map), query).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(|record| sight.record(record.into())).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// `GET /maps/{map}/queue/{seq}`: one record in full, with what would be written.
pub(crate) async fn show(
    State(engine): State<Engine>,
    who: Who,
    Path((map, seq)): Path<(String, String)>,
) -> Result<Json<QueuedRecordInFull>, Refusal> {
    find(&engine, &map)?;
    // What is no number names no record, just as a number that was never given.
    let seq = seq
        .parse()
        .map_err(|_| Refusal::unknown_record(&map, &format!("map {map} has no queued record {seq}")))?;
    let sight = Sight::of(&who, &engine, &map);
    let found = engine.queued_record(&MapName::from(map), Seq(seq)).await?;
    Ok(Json(sight.record_in_full(found.into())))
}

/// `GET /maps/{map}/queue/stats`
pub(crate) async fn stats(
    State(engine): State<Engine>,
    Path(map): Path<String>,
) -> Result<Json<QueueStats>, Refusal> {
    find(&engine, &map).map(|map| Json(map.queue))
}

fn op(name: &str) -> Result<OpKind, Refusal> {
    OpKind::ALL.into_iter().find(|op| name_of(*op) == name).ok_or_else(|| {
        let names = OpKind::ALL.map(name_of).join(", ");
        Refusal::bad_request(format!("there is no op '{name}'; there are {names}"))
    })
}

/// The parts of a key as a person writes them: one column is taken whole, several stand between `|`. A value
/// that has a `|` itself can be written as a JSON list of texts.
fn key_parts(text: &str, columns: usize) -> Result<Vec<String>, Refusal> {
    if columns == 1 {
        return Ok(vec![text.to_owned()]);
    }
    let listed: Option<Vec<String>> =
        if text.starts_with('[') { serde_json::from_str(text).ok() } else { None };
    let parts = listed.unwrap_or_else(|| text.split('|').map(ToOwned::to_owned).collect());
    if parts.len() == columns {
        return Ok(parts);
    }
    Err(Refusal::bad_request(format!(
        "the integration key has {columns} columns and 'key' has {} parts; write it as a|b, or as [\"a\",\"b\"]",
        parts.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_one_column_is_taken_whole_and_one_of_several_is_split() {
        let check = |text: &str, columns: usize, expected: Option<&[&str]>| {
            let seen = key_parts(text, columns).ok();
            assert_eq!(seen, expected.map(|parts| parts.iter().map(ToString::to_string).collect()), "{text}");
        };
        check("a|b", 1, Some(&["a|b"]));
        check("[1]", 1, Some(&["[1]"]));
        check("a|b", 2, Some(&["a", "b"]));
        check(r#"["a|b","c"]"#, 2, Some(&["a|b", "c"]));
        check("a", 2, None);
        check("a|b|c", 2, None);
    }
}
