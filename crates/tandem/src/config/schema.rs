//! The JSON Schema of the files, for editors: what may stand where, and what it means.
//!
//! It is made of the very shapes that read the files, their words and their bounds, so it cannot offer what would be
//! refused. It refuses less than reading does: whether a map's app exists, or whether a password can be found, is
//! known only there. Keys that a later version will know are not in it.

use super::file::{RawFile, RawMap, RawMaps};
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::borrow::Cow;
use tandem_core::FaultClass;

/// The schema of `tandem.toml`.
pub(crate) fn of_config() -> Value {
    of::<RawFile>("Tandem's config")
}

/// The schema of a file in the folder `maps/`.
pub(crate) fn of_map_file() -> Value {
    of::<MapFile>("A file of Tandem's maps")
}

/// A file of `maps/` holds one map, or a list.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum MapFile {
    /// One map.
    One(Box<RawMap>),
    /// Several of them.
    Many(RawMaps),
}

fn of<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with_transform(NoNull);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}

/// TOML has no null: what may be left out is left out.
#[derive(Clone)]
struct NoNull;

impl Transform for NoNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
        if let Some(Value::Array(kinds)) = object.get_mut("type") {
            kinds.retain(|kind| kind != "null");
            if let [only] = kinds.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(words)) = object.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        if let Some(Value::Array(ways)) = object.get_mut("anyOf") {
            ways.retain(|way| way.get("type").is_none_or(|kind| kind != "null"));
            // One way alone is no choice, and an editor shows it better as itself.
            if let [Value::Object(only)] = ways.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                if only.contains_key("$ref") {
                    // What stands beside a reference counts for nothing.
                    object.insert("allOf".to_owned(), Value::Array(vec![Value::Object(only)]));
                    return;
                }
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// The words of a list that is also what a word is read by.
pub(super) fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// A kind of value that has a form of its own. What reads it has the last word.
macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

const SIZE: &str = r"[0-9]+ *([kKmMgGtT][iI]?)?[bB]";
/// Every duration has a digit; which of the many forms it has is told by what reads it.
const PERIOD: &str = r"[^-]*[0-9].*";

forms! {
    /// Name of an app, a map, a rule or a target.
    Name = { "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 100 };
    /// A file by its path.
    FileReference = { "type": "string", "pattern": "^file:.", "examples": ["file:/etc/tandem/tls/server.pem"] };
    /// Which way records go.
    Direction = { "type": "string", "enum": names(&super::column::DIRECTIONS) };
    /// A class of errors.
    ErrorClass = { "type": "string", "enum": FaultClass::ALL.map(|class| class.to_string()) };
    /// A duration.
    Period = {
        "type": "string", "pattern": format!("^{PERIOD}$"), "examples": ["90s", "1h30m"],
    };
    /// A duration, or none.
    PeriodOrNone = {
        "type": "string", "pattern": format!("^(none|{PERIOD})$"), "examples": ["1d", "none"],
    };
    /// A size, or none.
    SizeOrNone = {
        "type": "string", "pattern": format!("^ *(none|{SIZE}) *$"), "examples": ["256MB", "1GB", "none"],
    };
    /// A part of a whole.
    Part = { "type": "number", "exclusiveMinimum": 0, "maximum": 1 };
    /// A count.
    Count = { "type": "integer", "minimum": 1 };
}

#[cfg(test)]
pub(super) mod tests;
