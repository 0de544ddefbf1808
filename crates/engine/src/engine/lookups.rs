//! Values that are looked up through another map: what a check has to know of that map, and what a row that somebody
//! tries would get.

use super::Engine;
use super::checking::{Checked, Missing, schema_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::connect::{Connector, KeyedTable};
use tandem_core::map::TableMap;
use tandem_core::{
    AppName, Fault, FaultClass, IntegrationKey, Lookup, MapName, TableSchema, Value, Write, WriteOp,
};

/// What a value would be that the destination looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which of the write's columns.
    pub column: Arc<str>,
    /// What is there; `None`: no record has the key, and the write would be refused.
    pub value: Option<Value>,
}

/// The maps through which a map looks up values, with the schemas of their tables. What cannot be read is noted.
pub(super) async fn of<'a>(
    apps: &BTreeMap<AppName, Arc<dyn Connector>>,
    all: &'a [TableMap],
    map: &TableMap,
    checked: &mut Checked,
) -> Vec<(&'a TableMap, TableSchema, TableSchema)> {
    let names: BTreeSet<&MapName> = map.lookups().map(|through| &through.map).collect();
    let mut found = Vec::with_capacity(names.len());
    for parent in all.iter().filter(|other| names.contains(&other.name)) {
        let mut schemas = Vec::new();
        for side in [&parent.left, &parent.right] {
            match schema_of(apps, parent, side).await {
                Ok(schema) => schemas.push(schema),
                Err(Missing::Table(finding)) => checked.findings.push(finding),
                Err(Missing::App(fault)) => drop(checked.faults.insert(side.app.clone(), fault)),
            }
        }
        if let (Some(right), Some(left)) = (schemas.pop(), schemas.pop()) {
            found.push((parent, left, right));
        }
    }
    found
}

/// What a write would look up at the destination now. Nothing, if that does not answer.
pub(super) async fn found(engine: &Engine, destination: &AppName, write: &Write) -> Vec<Found> {
    let mut all = Vec::new();
    for (place, lookup) in &write.target.lookups {
        let value = match &write.op {
            WriteOp::Upsert(values) => values.get(*place),
            WriteOp::Patch { values, .. } | WriteOp::Rekey { values, .. } => {
                values.get(*place).and_then(Option::as_ref)
            }
            WriteOp::Delete(_) => None,
        };
        let (Some(value), Some(column)) = (value, write.target.columns.get(*place)) else { continue };
        if value.is_null() {
            continue;
        }
        match read(engine, destination, lookup, value).await {
            Ok(value) => all.push(Found { column: column.clone(), value }),
            Err(fault) => tracing::info!(app = %destination, "a value is not looked up: {fault}"),
        }
    }
    all
}

async fn read(engine: &Engine, app: &AppName, lookup: &Lookup, key: &Value) -> Result<Option<Value>, Fault> {
    let missing = || Fault::new(FaultClass::Setup, "look up a value", format!("there is no app {app}"));
    let mut reads = engine.apps.get(app).ok_or_else(missing)?.open_reads().await?;
    let table = KeyedTable { table: lookup.table.clone(), key: vec![lookup.key.clone()] };
    let chunk = reads.records(&table, &[IntegrationKey::from_values(vec![key.clone()])]).await?;
    let place = chunk.relation.column(&lookup.column);
    let found = chunk.rows.first().zip(place).and_then(|(row, place)| row.cell(place).value().cloned());
    Ok(found.filter(|value| !value.is_null()))
}
