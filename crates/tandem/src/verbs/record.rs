//! A record for people: before, after, and what the map makes of it.

use crate::output::{printable, table, value};
use comfy_table::Cell;
use serde_json::{Map as Object, Value as Json};
use std::collections::BTreeSet;
use tandem_server::wire::{Image, LookedUp, Unwritable};

type Columns = Object<String, Json>;

/// The parts of an integration key as people write them; `?` if the log does not say them.
pub(crate) fn key(parts: Option<&Vec<Json>>) -> String {
    parts.map_or_else(|| "?".to_owned(), |parts| parts.iter().map(value).collect::<Vec<_>>().join("|"))
}

/// A name, or a dash for a source that gives none.
pub(crate) fn or_dash(name: &str) -> String {
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}

/// Names and values, a line each.
pub(crate) fn facts(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// The source's row, column by column. A blank is what the log does not name; null is written so.
pub(crate) fn source(old: Option<&Columns>, new: Option<&Columns>) -> String {
    let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Object::keys).collect();
    let cell = |row: Option<&Columns>, name: &str| {
        Cell::new(row.and_then(|row| row.get(name)).map(value).unwrap_or_default())
    };
    let row = |name: &String| [Cell::new(printable(name)), cell(old, name), cell(new, name)];
    table(["COLUMN", "BEFORE", "AFTER"], names.into_iter().map(row))
}

/// What would be written, or why nothing can be.
pub(crate) fn destination(image: Option<&Image>, unwritable: Option<&Unwritable>) -> String {
    match (image, unwritable) {
        (Some(image), _) if image.op == "pass" => {
            "would be passed over: the map's filter leaves it out".to_owned()
        }
        (Some(image), _) => {
            let pair = |(name, part): (&String, &Json)| format!("{} = {}", printable(name), value(part));
            let key = image.key.iter().map(pair).collect::<Vec<_>>().join(", ");
            let head = format!("would {} {} where {key}", image.op, image.table);
            let Some(values) = &image.values else { return head };
            let written = |(name, part): (&String, &Json)| match image.looked_up.get(name) {
                Some(how) => looked_up(how, part),
                None => value(part),
            };
            let rows = values.iter().map(|pair| [Cell::new(printable(pair.0)), Cell::new(written(pair))]);
            format!("{head}\n\n{}", table(["COLUMN", "WRITTEN"], rows))
        }
        (None, Some(why)) => format!("cannot be written: {} ({})\nfix: {}", why.message, why.code, why.fix),
        (None, None) => "what would be written is not known: the map is stopped".to_owned(),
    }
}

/// A value that is looked up, and the key by which it is.
fn looked_up(how: &LookedUp, key: &Json) -> String {
    let through = format!("looked up through {}", how.map);
    match (&how.value, how.state.as_str()) {
        _ if key.is_null() => value(key),
        (Some(found), _) => format!("{} ({through}: {})", value(found), value(key)),
        (None, "missing") => format!("refused: {through}, and nothing is there for {}", value(key)),
        (None, _) => format!("{through}: {}", value(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns(json: Json) -> Columns {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn what_the_log_does_not_name_is_blank_and_null_is_null() {
        let (old, new) = (columns(json!({"no": 1})), columns(json!({"name": null, "no": 2})));
        assert_eq!(
            source(Some(&old), Some(&new)),
            "COLUMN  BEFORE  AFTER\nname            null\nno      1       2"
        );
    }

    #[test]
    fn what_would_be_written_or_why_not_is_said() {
        let image = Image {
            table: "d".to_owned(),
            op: "upsert".to_owned(),
            key: columns(json!({"no": 1})),
            values: Some(columns(json!({"no": 1}))),
            looked_up: std::collections::BTreeMap::new(),
        };
        assert_eq!(
            destination(Some(&image), None),
            "would upsert d where no = 1\n\nCOLUMN  WRITTEN\nno      1"
        );
        let how = LookedUp {
            map: "customers".to_owned(),
            table: "c".to_owned(),
            column: "id".to_owned(),
            state: "found".to_owned(),
            value: Some(json!(7)),
        };
        let said = |state: &str, value: Option<Json>, key: Json| {
            looked_up(&LookedUp { state: state.to_owned(), value, ..how.clone() }, &key)
        };
        assert_eq!(said("found", Some(json!(7)), json!("C1")), "7 (looked up through customers: C1)");
        assert_eq!(said("unknown", None, json!("C1")), "looked up through customers: C1");
        assert!(said("missing", None, json!("C1")).starts_with("refused"));
        assert_eq!(said("unknown", None, Json::Null), "null");
        let (code, message, fix) = ("key_null".to_owned(), "null".to_owned(), "a key".to_owned());
        let why = Unwritable { code, message, fix };
        assert_eq!(destination(None, Some(&why)), "cannot be written: null (key_null)\nfix: a key");
        let passed = Image { op: "pass".to_owned(), values: None, ..image };
        assert_eq!(destination(Some(&passed), None), "would be passed over: the map's filter leaves it out");
    }
}
