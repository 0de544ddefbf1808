//! From maps as they stand in files to maps that make sense together.

use super::check_name;
use super::column;
use super::fault::{ConfigError, Source};
use super::file::{RawMap, RawSide};
use super::place::Spanned;
use super::scalar::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::map::{Deletes, Direction, InitialSync, OnLeave, Side, TableMap};
use tandem_core::two_way::{ConflictPolicy, SideEffects, SideName};
use tandem_core::{AppName, MapName, TableName};

/// What becomes of a record that its filter lets go.
pub(super) const ON_LEAVE: [(&str, OnLeave); 2] = [("keep", OnLeave::Keep), ("delete", OnLeave::Delete)];
/// What becomes of what a destination's triggers do.
pub(super) const SIDE_EFFECTS: [(&str, SideEffects); 2] =
    [("sync", SideEffects::Sync), ("ignore", SideEffects::Ignore)];
/// Whose value an initial sync takes.
pub(super) const MASTERS: [(&str, SideName); 2] = [("left", SideName::Left), ("right", SideName::Right)];
/// The longest name of a map.
const MAP_NAME_MAX: usize = 100;
/// The most columns of an integration key.
pub(super) const KEY_COLUMNS_MAX: usize = 16;

/// A map with the places of what others refer to.
struct Placed<'a> {
    source: &'a Source,
    raw: &'a RawMap,
    map: TableMap,
}

/// Understands the maps of all files. What is wrong goes to `errors`.
pub(super) fn understand(
    files: &[(&Source, &[Spanned<RawMap>])],
    apps: &[AppName],
    errors: &mut Vec<ConfigError>,
) -> Vec<TableMap> {
    let mut placed: Vec<Placed<'_>> = Vec::new();
    for (source, raws) in files {
        for raw in raws.iter().map(Spanned::get_ref) {
            raw.refuse_later(source, errors);
            let map = one(source, raw, apps, errors);
            if placed.iter().any(|other| other.map.name == map.name) {
                let why = format!("there is another map named '{}'", map.name);
                errors.push(source.error(raw.name.span(), why).with_fix("give each map a name of its own"));
            }
            placed.push(Placed { source, raw, map });
        }
    }
    parents(&placed, errors);
    lookups(&mut placed, errors);
    circles(&placed, errors);
    placed.into_iter().map(|placed| placed.map).collect()
}

fn one(source: &Source, raw: &RawMap, apps: &[AppName], errors: &mut Vec<ConfigError>) -> TableMap {
    if let Err(why) = check_name(raw.name.get_ref(), MAP_NAME_MAX) {
        errors.push(
            source.error(raw.name.span(), format!("'{}' is no name of a map: {why}", raw.name.get_ref())),
        );
    }
    let left = side(source, &raw.left, apps, errors);
    let right = side(source, &raw.right, apps, errors);
    if left.app == right.app {
        let why = format!("both sides are in the app '{}'; a map keeps two apps in step", left.app);
        errors.push(source.error(raw.right.get_ref().app.span(), why));
    }
    if left.key.len() != right.key.len() {
        let why = format!(
            "the integration key has {} columns on the left and {} on the right",
            left.key.len(),
            right.key.len()
        );
        errors.push(
            source
                .error(raw.right.get_ref().key.span(), why)
                .with_fix("name the same number of columns on both sides, in the same order"),
        );
    }
    let asked = match raw.direction.as_ref().map(|given| given.get_ref().as_str()) {
        Some("both") => Direction::Both,
        Some("to_left") => Direction::ToLeft,
        _ => Direction::ToRight,
    };
    let mut reader = Reader { source, errors };
    let columns = column::understand(raw.columns.as_ref(), asked, (&left.key, &right.key), &mut reader);
    let on_leave = raw.on_leave.as_ref().and_then(|given| reader.word("on_leave", given, &ON_LEAVE));
    let policies = ConflictPolicy::ALL.map(|policy| (policy.name(), policy));
    let conflict = raw.conflict.as_ref().and_then(|given| reader.word("conflict", given, &policies));
    let side_effects = raw.side_effects.as_ref();
    let side_effects = side_effects.and_then(|given| reader.word("side_effects", given, &SIDE_EFFECTS));
    let master = raw.master.as_ref().and_then(|given| reader.word("master", given, &MASTERS));
    let of_both = [("conflict", &raw.conflict), ("side_effects", &raw.side_effects), ("master", &raw.master)];
    for (key, given) in of_both {
        if let Some(given) = given.as_ref().filter(|_| asked != Direction::Both) {
            let why = format!("{key} is about maps that go both ways");
            reader.refuse(given.span(), why, "write direction = \"both\", or leave it out".to_owned());
        }
    }
    TableMap {
        name: MapName::from(raw.name.get_ref().as_str()),
        direction: direction(source, raw.direction.as_ref(), errors),
        left,
        right,
        columns,
        depends_on: raw.depends_on.iter().map(|name| MapName::from(name.get_ref().as_str())).collect(),
        deletes: deletes(source, raw.deletes.as_ref(), errors),
        conflict: conflict.unwrap_or_default(),
        side_effects: side_effects.unwrap_or_default(),
        on_leave: on_leave.unwrap_or_default(),
        initial_sync: InitialSync {
            wanted: raw.initial_sync.unwrap_or(true),
            master: master.unwrap_or(SideName::Left),
        },
    }
}

fn side(source: &Source, raw: &Spanned<RawSide>, apps: &[AppName], errors: &mut Vec<ConfigError>) -> Side {
    let raw = raw.get_ref();
    let app = AppName::from(raw.app.get_ref().as_str());
    if !apps.contains(&app) {
        let known: Vec<&str> = apps.iter().map(AppName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        errors.push(
            source.error(raw.app.span(), format!("there is no app '{app}'")).with_fix(format!(
                "the apps are {known}; add [apps.{app}] with its url, or name one of them"
            )),
        );
    }
    let table =
        TableName::parse(raw.table.get_ref()).unwrap_or_else(|why| {
            errors.push(source.error(raw.table.span(), why.to_string()).with_fix(
                "write it as table, schema.table, or with \"quotes\" around a part that has a dot",
            ));
            TableName { schema: None, name: "".into() }
        });
    let key: Vec<Arc<str>> = raw.key.get_ref().iter().map(|column| column.as_str().into()).collect();
    let mut seen = BTreeSet::new();
    let why = if key.is_empty() {
        Some("the integration key is empty: name the columns that say which record it is".to_owned())
    } else if key.len() > KEY_COLUMNS_MAX {
        Some(format!("the integration key has {} columns; {KEY_COLUMNS_MAX} are possible", key.len()))
    } else if key.iter().any(|column| column.is_empty()) {
        Some("a column of the integration key has no name".to_owned())
    } else {
        key.iter()
            .find(|column| !seen.insert((*column).clone()))
            .map(|twice| format!("the integration key names the column '{twice}' twice"))
    };
    if let Some(why) = why {
        errors.push(source.error(raw.key.span(), why));
    }
    let filter = raw.filter.as_ref();
    let filter = filter.and_then(|given| column::expression(given, &mut Reader { source, errors }));
    Side { app, table, key, filter }
}

fn direction(source: &Source, given: Option<&Spanned<String>>, errors: &mut Vec<ConfigError>) -> Direction {
    let Some(given) = given else { return Direction::ToRight };
    match given.get_ref().as_str() {
        "to_right" => return Direction::ToRight,
        "to_left" => return Direction::ToLeft,
        "both" => return Direction::Both,
        other => errors.push(
            source
                .error(given.span(), format!("there is no direction '{other}'"))
                .with_fix("write direction = \"to_right\", \"to_left\" or \"both\""),
        ),
    }
    Direction::ToRight
}

fn deletes(source: &Source, given: Option<&Spanned<String>>, errors: &mut Vec<ConfigError>) -> Deletes {
    let Some(given) = given else { return Deletes::Reject };
    match given.get_ref().as_str() {
        "queue" => return Deletes::Queue,
        "reject" => return Deletes::Reject,
        other => {
            let why = format!("deletes is \"reject\" or \"queue\", not '{other}'");
            errors.push(source.error(given.span(), why).with_fix(
                "\"reject\" refuses deletes in the source while the map is paused, \"queue\" queues them like other changes",
            ));
        }
    }
    Deletes::Reject
}

fn parents(placed: &[Placed<'_>], errors: &mut Vec<ConfigError>) {
    let known: BTreeSet<&MapName> = placed.iter().map(|placed| &placed.map.name).collect();
    for Placed { source, raw, map } in placed {
        for parent in &raw.depends_on {
            if parent.get_ref() == map.name.as_str() {
                errors.push(source.error(parent.span(), format!("map '{}' depends on itself", map.name)));
            } else if !known.contains(&MapName::from(parent.get_ref().as_str())) {
                let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
                errors.push(
                    source
                        .error(
                            parent.span(),
                            format!(
                                "map '{}' depends on '{}', and there is no such map",
                                map.name,
                                parent.get_ref()
                            ),
                        )
                        .with_fix(format!("the maps are {}", names.join(", "))),
                );
            }
        }
    }
}

/// Refuses columns that cannot be looked up through the map that they name, and makes that map a parent: a record that
/// is referred to has to be there first.
fn lookups(placed: &mut [Placed<'_>], errors: &mut Vec<ConfigError>) {
    let all: Vec<TableMap> = placed.iter().map(|placed| placed.map.clone()).collect();
    for Placed { source, raw, map } in placed {
        for column in raw.columns.iter().flat_map(Spanned::get_ref) {
            let Some(lookup) = &column.lookup else { continue };
            let named = &lookup.get_ref().map;
            let mut refuse =
                |why: String, fix: String| errors.push(source.error(named.span(), why).with_fix(fix));
            let Some(parent) = all.iter().find(|other| other.name.as_str() == named.get_ref()) else {
                let names: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
                refuse(
                    format!("there is no map '{}'", named.get_ref()),
                    format!("the maps are {}", names.join(", ")),
                );
                continue;
            };
            let name = &parent.name;
            if (&parent.left.app, &parent.right.app) != (&map.left.app, &map.right.app) {
                let apps = |map: &TableMap| {
                    format!("'{}' on the left and '{}' on the right", map.left.app, map.right.app)
                };
                refuse(
                    format!(
                        "a value of '{}' cannot be looked up through '{name}': that one has {}, this one {}",
                        map.name,
                        apps(parent),
                        apps(map)
                    ),
                    "look it up through a map between the same two apps, with the same sides".to_owned(),
                );
            } else if !parent.direction.goes(true) {
                refuse(
                    format!(
                        "map '{name}' brings nothing to the right, so a record that is referred to may never be there"
                    ),
                    format!("let '{name}' go to the right as well: direction = \"both\""),
                );
            } else if parent.left.key.len() != 1 {
                refuse(
                    format!(
                        "the integration key of '{name}' has {} columns, and one column cannot hold it",
                        parent.left.key.len()
                    ),
                    "look it up through a map with a key of one column".to_owned(),
                );
            } else if parent.name != map.name && !map.depends_on.contains(name) {
                map.depends_on.push(name.clone());
            }
        }
    }
}

/// Refuses maps through which a record would come back to the table that it left. A map that goes both ways knows the
/// echoes of its own writes; of what comes round through other maps nobody would, and it would go round for ever.
fn circles(placed: &[Placed<'_>], errors: &mut Vec<ConfigError>) {
    type Table = (AppName, Option<Arc<str>>, Arc<str>);
    let table = |side: &Side| -> Table {
        // `public.t` and `t` are one table of PostgreSQL, `main.t` and `t` one of SQLite.
        let schema = side.table.schema.clone().filter(|schema| !matches!(&**schema, "public" | "main"));
        (side.app.clone(), schema, side.table.name.clone())
    };
    let mut goes: BTreeMap<Table, Vec<(&MapName, Table)>> = BTreeMap::new();
    for Placed { source, raw, map } in placed {
        for (from, to) in map.flows() {
            let (from, to) = (table(from), table(to));
            let mut open = vec![to.clone()];
            let mut seen = BTreeSet::new();
            while let Some(next) = open.pop() {
                if next == from {
                    let why = format!(
                        "with map '{}', records would come back to the table that they left",
                        map.name
                    );
                    errors.push(source.error(raw.name.span(), why).with_fix(
                        "take one of the maps out, or make one map of two that goes both ways: direction = \"both\"",
                    ));
                    break;
                }
                if seen.insert(next.clone()) {
                    // What a map brings back to its own other side it knows as an echo.
                    let on = goes.get(&next).into_iter().flatten().filter(|(by, _)| **by != map.name);
                    open.extend(on.map(|(_, table)| table.clone()));
                }
            }
            goes.entry(from).or_default().push((&map.name, to));
        }
    }
}
