//! Maps are looked at beside their apps: the shapes of both tables, and what stands in the way of what is wanted of them.
//!
//! The same for `tandem check`, before a run, before a resume, and when a table seems to have changed. Whoever asks gets all
//! that there is to say, each finding with what mends it, and the apps that could not be asked apart from it.

use super::{lookups, shared};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::connect::{CaptureNeed, Connector, Needs, WriteNeed};
use tandem_core::map::{Direction, FlowSpec, LookedUp, Side, TableMap, resolve};
use tandem_core::{
    AppName, Dependents, Fault, FaultClass, Finding, MapName, StreamName, TableName, TableSchema,
};

/// Checks maps against their apps without an engine: what `tandem check` does.
pub async fn check(apps: &BTreeMap<AppName, Arc<dyn Connector>>, maps: &[TableMap]) -> Vec<Finding> {
    let checked = check_maps(apps, maps, maps).await;
    let unreachable = checked.faults.into_iter().map(|(app, fault)| {
        let code = format!("app_{}", fault.class);
        let finding = Finding::error(&code, format!("app {app}"), fault.to_string());
        let look = format!(
            "look whether it runs, and whether it is reached from here at what [apps.{app}] url says"
        );
        let fix = fault.fix.or_else(|| (fault.class == FaultClass::Connection).then_some(look));
        Finding { fix, ..finding }
    });
    checked.findings.into_iter().chain(unreachable).collect()
}

/// What came of looking at maps and their apps.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) flows: BTreeMap<MapName, Vec<(StreamName, FlowSpec)>>,
    /// Both tables of each flow: the source's and the destination's.
    pub(crate) tables: BTreeMap<MapName, Vec<(StreamName, [TableSchema; 2])>>,
    pub(crate) findings: Vec<Finding>,
    /// The apps that could not be asked, each with its first fault.
    pub(crate) faults: BTreeMap<AppName, Fault>,
}

/// Resolves `wanted` against both schemas and asks the apps what stands against it. `all`: the maps that there are,
/// for their order.
pub(crate) async fn check_maps(
    apps: &BTreeMap<AppName, Arc<dyn Connector>>,
    all: &[TableMap],
    wanted: &[TableMap],
) -> Checked {
    let mut checked = Checked::default();
    let ranks = Dependents::new(all.iter().map(|map| (&map.name, map.depends_on.as_slice()))).ranks();
    let mut needs: BTreeMap<AppName, Needs> = BTreeMap::new();
    for map in wanted {
        let rank = ranks.get(&map.name).copied().unwrap_or_default();
        for (source, destination) in map.flows() {
            let mut schemas = Vec::new();
            for side in [source, destination] {
                // An app that did not answer once is not asked again: its time-out is paid once.
                if checked.faults.contains_key(&side.app) {
                    continue;
                }
                match schema_of(apps, map, side).await {
                    Ok(schema) => schemas.push(schema),
                    Err(Missing::Table(finding)) => checked.findings.push(finding),
                    Err(Missing::App(fault)) => drop(checked.faults.insert(side.app.clone(), fault)),
                }
            }
            let [source_schema, destination_schema] = schemas.as_slice() else { continue };
            let to_right = source == &map.left;
            checked.findings.extend(undeclared_parents(all, map, destination, destination_schema));
            checked.findings.extend(shared::findings(all, map, (source, destination)));
            let parents = match to_right {
                true => lookups::of(apps, all, map, &mut checked).await,
                false => Vec::new(),
            };
            let parents: Vec<LookedUp<'_>> =
                parents.iter().map(|(map, left, right)| LookedUp { map, left, right }).collect();
            match resolve(map, (source, source_schema), (destination, destination_schema), rank, &parents) {
                Err(findings) => checked.findings.extend(findings),
                Ok((spec, warnings)) => {
                    checked.findings.extend(warnings);
                    let captured = CaptureNeed {
                        table: spec.source.clone(),
                        key: spec.source_key.clone(),
                        also: match map.direction {
                            Direction::Both => spec.source_columns(),
                            Direction::ToRight | Direction::ToLeft => spec.filter_columns(),
                        },
                    };
                    needs.entry(source.app.clone()).or_default().captured.push(captured);
                    let columns: Vec<_> = spec.columns.iter().map(|column| column.to.clone()).collect();
                    let key = columns.iter().take(spec.key_len).cloned().collect();
                    let written = WriteNeed { table: spec.destination.clone(), columns, key };
                    needs.entry(destination.app.clone()).or_default().written.push(written);
                    let stream =
                        StreamName { source: source.app.clone(), destination: destination.app.clone() };
                    let both = [source_schema.clone(), destination_schema.clone()];
                    checked.tables.entry(map.name.clone()).or_default().push((stream.clone(), both));
                    checked.flows.entry(map.name.clone()).or_default().push((stream, spec));
                }
            }
        }
    }
    for (app, needs) in needs {
        let Some(connector) = apps.get(&app) else { continue };
        match connector.check(&needs).await {
            Ok(findings) => checked.findings.extend(findings),
            Err(fault) => drop(checked.faults.entry(app).or_insert(fault)),
        }
    }
    checked
}

/// Foreign keys of a map's destination to the destination of another map that it does not depend on: records would
/// arrive before those that they refer to.
fn undeclared_parents(
    all: &[TableMap],
    map: &TableMap,
    destination: &Side,
    schema: &TableSchema,
) -> Vec<Finding> {
    let graph = Dependents::new(all.iter().map(|map| (&map.name, map.depends_on.as_slice())));
    let known = graph.ancestors(&map.name);
    let mut findings = Vec::new();
    for key in schema.foreign_keys.iter().filter(|key| !key.target.is_same(&schema.table)) {
        let is_parent = |other: &&TableMap| {
            let to = other.flows().into_iter().map(|(_, to)| to);
            other.name != map.name
                && !known.contains(&other.name)
                && to.into_iter().any(|to| to.app == destination.app && to.table.is_same(&key.target))
        };
        let Some(parent) = all.iter().find(is_parent) else { continue };
        let place = format!("map {}: {} {}", map.name, destination.app, destination.table);
        let message = format!(
            "the foreign key {} refers to {}, which map {} writes: without depends_on, records may be refused until \
             that one is as far",
            key.name, key.target, parent.name
        );
        let mut parents: Vec<String> = map.depends_on.iter().map(|name| format!("\"{name}\"")).collect();
        parents.push(format!("\"{}\"", parent.name));
        let fix = format!("depends_on = [{}]", parents.join(", "));
        findings.push(Finding::warning("foreign_key_undeclared", place, message).fix(fix));
    }
    findings
}

/// Why the shape of a table is not known.
pub(super) enum Missing {
    Table(Finding),
    App(Fault),
}

pub(super) async fn schema_of(
    apps: &BTreeMap<AppName, Arc<dyn Connector>>,
    map: &TableMap,
    side: &Side,
) -> Result<TableSchema, Missing> {
    let connector = apps.get(&side.app).ok_or_else(|| {
        let fault = Fault::new(FaultClass::Setup, format!("find app {}", side.app), "there is no such app");
        Missing::App(fault.fix("name it in the config under [apps]"))
    })?;
    let tables: [TableName; 1] = [side.table.clone()];
    let schemas = connector.describe(&tables).await.map_err(Missing::App)?;
    schemas.into_iter().next().flatten().ok_or_else(|| {
        let fix = "correct the name (schema, case), or grant access";
        Missing::Table(table_missing(map, side).fix(fix))
    })
}

/// A table that its app does not have, as far as we see.
pub(super) fn table_missing(map: &TableMap, side: &Side) -> Finding {
    let place = format!("map {}: {} {}", map.name, side.app, side.table);
    let message = format!("app {} has no table {}, or we may not see it", side.app, side.table);
    Finding::error("table_missing", place, message)
}
