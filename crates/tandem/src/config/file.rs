//! The shape of the files, as they are read before anything is understood. Unknown keys are errors; keys that
//! a later version will know are told apart, so that the message says so.

use super::column::RawColumn;
use super::fault::{ConfigError, ConfigErrors, Source};
use super::later::{LATER, Later};
use super::limits::RawLimits;
use super::notify::RawNotify;
use super::rule::RawRule;
use super::secret::mask;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use toml::Spanned;

/// `tandem.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    pub(crate) server: Option<RawServer>,
    #[serde(default)]
    pub(crate) apps: BTreeMap<Spanned<String>, RawApp>,
    #[serde(default)]
    pub(crate) maps: Vec<Spanned<RawMap>>,
    pub(crate) limits: Option<RawLimits>,
    #[serde(default)]
    pub(crate) rules: Vec<RawRule>,
    #[serde(default)]
    pub(crate) notify: BTreeMap<Spanned<String>, Spanned<RawNotify>>,
    #[serde(default)]
    defaults: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServer {
    pub(crate) listen: Option<Spanned<String>>,
    pub(crate) data_dir: Option<String>,
    #[serde(default)]
    tls: Later,
    #[serde(default)]
    keep_applied: Later,
    #[serde(default)]
    disk_floor: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApp {
    pub(crate) url: Spanned<String>,
    pub(crate) when_full: Option<Spanned<String>>,
}

/// An entry of `[[maps]]`, or a file in `maps/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMap {
    pub(crate) name: Spanned<String>,
    pub(crate) direction: Option<Spanned<String>>,
    pub(crate) left: Spanned<RawSide>,
    pub(crate) right: Spanned<RawSide>,
    pub(crate) columns: Option<Spanned<Vec<RawColumn>>>,
    #[serde(default)]
    pub(crate) depends_on: Vec<Spanned<String>>,
    pub(crate) deletes: Option<Spanned<String>>,
    pub(crate) conflict: Option<Spanned<String>>,
    pub(crate) side_effects: Option<Spanned<String>>,
    pub(crate) limits: Option<RawLimits>,
    #[serde(default)]
    group: Later,
    pub(crate) initial_sync: Option<bool>,
    pub(crate) master: Option<Spanned<String>>,
    pub(crate) on_leave: Option<Spanned<String>>,
    #[serde(default)]
    whole_transaction_rows: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSide {
    pub(crate) app: Spanned<String>,
    pub(crate) table: Spanned<String>,
    pub(crate) key: Spanned<Vec<String>>,
    pub(crate) filter: Option<Spanned<String>>,
}

/// A file of `maps/` that holds a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMaps {
    maps: Vec<Spanned<RawMap>>,
}

/// Reads a file into its shape.
pub(crate) fn parse<T: DeserializeOwned>(source: &Source) -> Result<T, ConfigErrors> {
    toml::from_str(source.text()).map_err(|why| ConfigErrors(vec![explain(source, &why)]))
}

/// Reads a file of `maps/`: one map, or a list `[[maps]]`.
pub(crate) fn parse_maps(source: &Source) -> Result<Vec<Spanned<RawMap>>, ConfigErrors> {
    let keys: toml::Table = parse(source)?;
    if keys.contains_key("maps") {
        return parse::<RawMaps>(source).map(|file| file.maps);
    }
    let map: RawMap = parse(source)?;
    Ok(vec![Spanned::new(0..source.text().len().min(1), map)])
}

/// What the parser says, without the keys of later versions among those that it offers.
fn explain(source: &Source, why: &toml::de::Error) -> ConfigError {
    let message = why.message();
    let (why_shown, fix) = match message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'))
    {
        Some((unknown, offered)) => {
            let offered: Vec<&str> = offered.split('`').skip(1).step_by(2).collect();
            let is_later = |key: &str| LATER.contains(&key);
            let known: Vec<&str> = offered.iter().copied().filter(|key| !is_later(key)).collect();
            (format!("unknown key '{unknown}'"), Some(format!("the keys here are {}", known.join(", "))))
        }
        None => (plain(message), None),
    };
    let error = match why.span() {
        Some(span) => source.error(span, why_shown),
        None => source.error_of_file(why_shown),
    };
    match fix {
        Some(fix) => error.with_fix(fix),
        None => error,
    }
}

/// The parser's words without ours for the shapes, and without what it repeats of a secret.
fn plain(message: &str) -> String {
    let words = [
        ("missing field", "missing key"),
        ("struct RawServer", "a table with listen, data_dir"),
        ("struct RawApp", "a table with url"),
        ("struct RawMap", "a map"),
        ("struct RawSide", "{ app, table, key }"),
        ("struct RawColumn", "{ left, right }"),
        ("struct RawTransform", "a step such as { trim = true }"),
        ("struct RawReplace", "{ from, to }"),
        ("struct RawLookup", "{ map, column }"),
        (
            "data did not match any variant of untagged enum RawLiteral",
            "this is neither a text, a number nor true or false",
        ),
        ("struct RawLimits", "a table such as { max_queue_bytes = \"1GB\" }"),
        ("struct RawRule", "a rule"),
        ("struct RawWhen", "a table such as { destination_unreachable = \"10s\" }"),
        ("struct RawThen", "a table such as { action = \"pause\", notify = [\"ops\"] }"),
        ("struct RawNotify", "a table with smtp or webhook"),
        ("struct RawSmtp", "{ url, from, to }"),
        ("struct RawWebhook", "{ url, secret }"),
        ("data did not match any variant of untagged enum Scalar", "this is neither a text nor a number"),
        (
            "data did not match any variant of untagged enum OneOrMany",
            "this is neither an address nor a list",
        ),
        ("a sequence", "a list"),
        ("`", "'"),
    ];
    words.iter().fold(mask(message), |text, (from, to)| text.replace(from, to))
}

/// Refuses what is known and not supported yet, in everything but the maps.
pub(crate) fn refuse_later(raw: &RawFile, source: &Source, errors: &mut Vec<ConfigError>) {
    let mut all = vec![("defaults", &raw.defaults)];
    if let Some(server) = &raw.server {
        all.extend([
            ("tls", &server.tls),
            ("keep_applied", &server.keep_applied),
            ("disk_floor", &server.disk_floor),
        ]);
    }
    refuse(all, source, errors);
}

impl RawMap {
    /// Refuses what is known and not supported yet.
    pub(crate) fn refuse_later(&self, source: &Source, errors: &mut Vec<ConfigError>) {
        let all = vec![("group", &self.group), ("whole_transaction_rows", &self.whole_transaction_rows)];
        refuse(all, source, errors);
    }
}

fn refuse(all: Vec<(&str, &Later)>, source: &Source, errors: &mut Vec<ConfigError>) {
    for (key, later) in all {
        if let Some(span) = later.span() {
            errors.push(
                source
                    .error(span, format!("'{key}' is not supported by this version"))
                    .with_fix("take it out; nothing that stands here is ever ignored in silence"),
            );
        }
    }
}
