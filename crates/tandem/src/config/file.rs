//! The shape of the files, as they are read before anything is understood. Unknown keys are errors; keys that
//! a later version will know are told apart, so that the message says so.

use super::METRICS;
use super::column::RawColumn;
use super::fault::{ConfigError, ConfigErrors, Source};
use super::later::{LATER, Later};
use super::limits::RawLimits;
use super::map::{KEY_COLUMNS_MAX, MASTERS, ON_LEAVE, SIDE_EFFECTS};
use super::notify::RawNotify;
use super::place::Spanned;
use super::rule::RawRule;
use super::schema::{Direction, Name, names};
use super::secret::mask;
use super::tls::RawTls;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use tandem_core::two_way::ConflictPolicy;

/// What a Tandem server does: the apps that it keeps in step, the maps between them, limits and rules.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    /// The server itself.
    pub(crate) server: Option<RawServer>,
    /// The apps, each by the name that maps and commands use for it.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, RawApp>")]
    pub(crate) apps: BTreeMap<Spanned<String>, RawApp>,
    /// The table maps. More of them may stand in files of the folder maps/.
    #[serde(default)]
    pub(crate) maps: Vec<Spanned<RawMap>>,
    /// The limits of all maps. A map may have others.
    pub(crate) limits: Option<RawLimits>,
    /// What is done by itself when something happens.
    #[serde(default)]
    pub(crate) rules: Vec<RawRule>,
    /// Whom rules tell, each by the name that rules use.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, RawNotify>")]
    pub(crate) notify: BTreeMap<Spanned<String>, Spanned<RawNotify>>,
    #[serde(default)]
    #[schemars(skip)]
    defaults: Later,
}

/// The server itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServer {
    /// Where the API listens: an address with a port. Without tls it is one of this machine alone, such as 127.0.0.1:7070.
    #[schemars(extend("default" = super::LISTEN_DEFAULT))]
    pub(crate) listen: Option<Spanned<String>>,
    /// The folder for journals and store; relative to the folder of this file.
    #[schemars(extend("default" = super::DATA_DIR_DEFAULT))]
    pub(crate) data_dir: Option<String>,
    /// Who may read the figures at /metrics: whoever has a token, or everybody who reaches the server.
    #[schemars(extend("enum" = names(&METRICS), "default" = "token"))]
    pub(crate) metrics: Option<Spanned<String>>,
    /// The certificate with which it is reached over a network. Without one it listens on this machine only.
    pub(crate) tls: Option<Spanned<RawTls>>,
    #[serde(default)]
    #[schemars(skip)]
    keep_applied: Later,
    #[serde(default)]
    #[schemars(skip)]
    disk_floor: Later,
}

/// One app: a database.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApp {
    /// Where it is: postgres://user:${PASSWORD}@host/database or sqlite:path. Passwords only by reference.
    pub(crate) url: Spanned<String>,
    /// hold_source: do not read this app further while a map that it feeds is full, so that its own log grows.
    #[schemars(extend("enum" = ["hold_source"]))]
    pub(crate) when_full: Option<Spanned<String>>,
}

/// A table map: two tables whose records are kept in step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMap {
    /// Its name in commands and figures; unique.
    #[schemars(with = "Name")]
    pub(crate) name: Spanned<String>,
    /// Which way records go.
    #[schemars(with = "Option<Direction>", extend("default" = "to_right"))]
    pub(crate) direction: Option<Spanned<String>>,
    /// The table on the left.
    pub(crate) left: Spanned<RawSide>,
    /// The table on the right.
    pub(crate) right: Spanned<RawSide>,
    /// Which columns belong together. Without it, those of the same name on both sides.
    pub(crate) columns: Option<Spanned<Vec<RawColumn>>>,
    /// Maps whose records have to be there first. They are paused and resumed with it.
    #[serde(default)]
    pub(crate) depends_on: Vec<Spanned<String>>,
    /// Deletes in the source while the map is paused: refused there, or queued like other changes.
    #[schemars(extend("enum" = ["reject", "queue"], "default" = "reject"))]
    pub(crate) deletes: Option<Spanned<String>>,
    /// Who wins when both sides changed a record; of maps that go both ways.
    #[schemars(extend("enum" = ConflictPolicy::ALL.map(ConflictPolicy::name), "default" = "left_wins"))]
    pub(crate) conflict: Option<Spanned<String>>,
    /// What the destination's own triggers made of our write: bring it back, or leave it; of maps that go both ways.
    #[schemars(extend("enum" = names(&SIDE_EFFECTS), "default" = "sync"))]
    pub(crate) side_effects: Option<Spanned<String>>,
    /// Limits of this map, over those of all maps.
    pub(crate) limits: Option<RawLimits>,
    #[serde(default)]
    #[schemars(skip)]
    group: Later,
    /// Whether what is there already is copied when the map is run; yes without it.
    #[schemars(extend("default" = true))]
    pub(crate) initial_sync: Option<bool>,
    /// Whose value is taken by the initial sync where both sides have a record; of maps that go both ways.
    #[schemars(extend("enum" = names(&MASTERS), "default" = "left"))]
    pub(crate) master: Option<Spanned<String>>,
    /// What becomes of a record at the destination when the filter no longer holds for it.
    #[schemars(extend("enum" = names(&ON_LEAVE), "default" = "keep"))]
    pub(crate) on_leave: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(skip)]
    whole_transaction_rows: Later,
}

/// One side of a map.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSide {
    /// The app, by its name in [apps].
    pub(crate) app: Spanned<String>,
    /// The table: table, schema.table, or with "quotes" around a part that has a dot.
    pub(crate) table: Spanned<String>,
    /// The columns of the integration key: they say which record it is. As many as on the other side, in the same order.
    #[schemars(extend("minItems" = 1, "maxItems" = KEY_COLUMNS_MAX))]
    pub(crate) key: Spanned<Vec<String>>,
    /// Which records go to the other side: a CEL expression over the columns.
    pub(crate) filter: Option<Spanned<String>>,
}

/// A file of the folder maps/ that holds several maps.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMaps {
    /// The table maps.
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
        ("struct RawServer", "a table with listen, data_dir, metrics, tls"),
        ("struct RawTls", "{ certificate, key }"),
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
        all.extend([("keep_applied", &server.keep_applied), ("disk_floor", &server.disk_floor)]);
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
