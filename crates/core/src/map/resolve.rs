//! From a declared map and both schemas to a flow: every column named, nothing left to guess at apply.

use super::{Columns, Side, TableMap};
use crate::{Change, Finding, IntegrationKey, MapName, Relation, Row, TableName, TableSchema};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One direction of one map, resolved: what is needed to project and apply with the destination's schema out
/// of reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowSpec {
    /// The map.
    pub map: MapName,
    /// Where changes come from.
    pub source: TableName,
    /// The integration key in the source.
    pub source_key: Vec<Arc<str>>,
    /// Where they go.
    pub destination: TableName,
    /// Source column and destination column of everything that is written. The key columns come first, in the
    /// order of `source_key`.
    pub columns: Vec<(Arc<str>, Arc<str>)>,
    /// How many of `columns` are the key.
    pub key_len: usize,
    /// Parents before children, among the maps of the stream.
    pub rank: u32,
}

impl FlowSpec {
    /// The integration key of the record that a change leaves behind, or of the one that it took away. `None` if the
    /// log does not say it.
    pub fn key_of(&self, change: &Change) -> Option<IntegrationKey> {
        let rows = [change.op.new_row(), change.op.old_row()];
        rows.into_iter().flatten().find_map(|row| self.key_in(&change.relation, row))
    }

    /// The integration keys that a change touches: of the record that it leaves behind, and of the one before it. As
    /// far as the log says them; both are the same unless it changes the key.
    pub fn keys_of(&self, change: &Change) -> impl Iterator<Item = IntegrationKey> {
        let rows = [change.op.new_row(), change.op.old_row()];
        rows.into_iter().flatten().filter_map(|row| self.key_in(&change.relation, row))
    }

    /// The integration key that a row of the source has, if the row names all of it.
    pub fn key_in(&self, relation: &Relation, row: &Row) -> Option<IntegrationKey> {
        let places = relation.places(self.source_key.iter().map(|name| &**name)).ok()?;
        IntegrationKey::of(row, &places)
    }
}

/// Resolves the flow of a map from `source` to `destination`. Everything that stands against it is found at
/// once; warnings come with the flow.
pub fn resolve(
    map: &TableMap,
    (source, source_schema): (&Side, &TableSchema),
    (destination, destination_schema): (&Side, &TableSchema),
    rank: u32,
) -> Result<(FlowSpec, Vec<Finding>), Vec<Finding>> {
    let mut findings = Vec::new();
    let place = |side: &Side| format!("map {}: {} {}", map.name, side.app, side.table);
    if source.key.is_empty() || source.key.len() != destination.key.len() {
        findings.push(Finding::error(
            "key_mismatch",
            format!("map {}", map.name),
            "the integration key must have the same number of columns on both sides, and at least one",
        ));
        return Err(findings);
    }
    let left_to_right = source == &map.left;
    let mut columns: Vec<(Arc<str>, Arc<str>)> =
        source.key.iter().cloned().zip(destination.key.iter().cloned()).collect();
    let named: Vec<(Arc<str>, Arc<str>)> = match &map.columns {
        Columns::Pairs(pairs) => pairs
            .iter()
            .map(|pair| match left_to_right {
                true => (pair.left.clone(), pair.right.clone()),
                false => (pair.right.clone(), pair.left.clone()),
            })
            .collect(),
        Columns::SameNames => source_schema
            .columns
            .iter()
            .filter(|column| !column.generated)
            .filter(|column| destination_schema.column(&column.name).is_some_and(|other| !other.generated))
            .map(|column| (column.name.clone(), column.name.clone()))
            .collect(),
    };
    for pair in named {
        if columns.contains(&pair) {
            continue;
        }
        match columns.iter().find(|(_, to)| *to == pair.1) {
            // A key column of another name is mapped by the key itself; the same name on both sides is no second wish.
            Some((from, to)) if matches!(map.columns, Columns::Pairs(_)) => findings.push(Finding::error(
                "column_twice",
                place(destination),
                format!("column {to} is written from both {from} and {}", pair.0),
            )),
            Some(_) => {}
            None => columns.push(pair),
        }
    }
    for (from, to) in &columns {
        match source_schema.column(from) {
            None => findings.push(missing(place(source), from, source_schema)),
            Some(column) if column.generated => findings.push(Finding::error(
                "column_generated",
                place(source),
                format!("column {from} is computed by the database and is not in its log"),
            )),
            Some(_) => {}
        }
        match destination_schema.column(to) {
            None => findings.push(missing(place(destination), to, destination_schema)),
            Some(column) if column.generated => findings.push(Finding::error(
                "column_generated",
                place(destination),
                format!("column {to} is computed by the database and cannot be written"),
            )),
            Some(_) => {}
        }
    }
    if !destination_schema.is_unique(&destination.key) {
        let key = destination.key.join(", ");
        findings.push(
            Finding::error(
                "key_not_unique",
                place(destination),
                format!("no unique key on ({key}): a record could not be found again"),
            )
            .fix(format!("CREATE UNIQUE INDEX ON {} ({key});", destination.table)),
        );
    }
    for column in &destination_schema.columns {
        let written = columns.iter().any(|(_, to)| *to == column.name);
        if !written && !column.nullable && !column.has_default && !column.generated {
            findings.push(Finding::error(
                "column_required",
                place(destination),
                format!(
                    "column {} must not be null, has no default, and the map does not write it",
                    column.name
                ),
            ));
        }
    }
    if findings.iter().any(|finding| finding.severity == crate::Severity::Error) {
        return Err(findings);
    }
    let spec = FlowSpec {
        map: map.name.clone(),
        source: source_schema.table.clone(),
        source_key: source.key.clone(),
        destination: destination_schema.table.clone(),
        key_len: source.key.len(),
        columns,
        rank,
    };
    Ok((spec, findings))
}

fn missing(place: String, column: &str, schema: &TableSchema) -> Finding {
    let known: Vec<&str> = schema.columns.iter().map(|column| &*column.name).take(40).collect();
    Finding::error("column_missing", place, format!("there is no column {column}"))
        .fix(format!("its columns are: {}", known.join(", ")))
}
