//! What was set aside.

use super::maps::find;
use crate::input::{Asked, number, page_size};
use crate::problem::Refusal;
use crate::wire::{Page, RecordError, RecordErrorInFull};
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use tandem_core::{FaultClass, MapName};
use tandem_engine::{Engine, ErrorQuery};

/// The query of `GET /errors`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    map: Option<String>,
    class: Option<String>,
    key: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /errors`: in the order in which they were noted.
pub(crate) async fn list(
    State(engine): State<Engine>,
    Asked(asked): Asked<Query>,
) -> Result<Json<Page<RecordError>>, Refusal> {
    if let Some(map) = &asked.map {
        find(&engine, map)?;
    }
    let query = ErrorQuery {
        map: asked.map.map(MapName::from),
        class: asked.class.as_deref().map(class).transpose()?,
        keys: asked.key.as_deref().map(keys).unwrap_or_default(),
        after: number("after", asked.after.as_deref())?.unwrap_or(0),
        limit: page_size(asked.limit)?,
    };
    let page = engine.errors(query).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(RecordError::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// `GET /errors/{id}`
pub(crate) async fn show(
    State(engine): State<Engine>,
    Path(id): Path<String>,
) -> Result<Json<RecordErrorInFull>, Refusal> {
    // What is no number names no error, just as a number that was never given.
    let id = id.parse().map_err(|_| Refusal::unknown_error(&format!("there is no error {id}")))?;
    Ok(Json(engine.error(id).await?.into()))
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
