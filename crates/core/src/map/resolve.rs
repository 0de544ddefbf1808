//! From a declared map and both schemas to a flow: every column named, nothing left to guess at apply.

use super::expression::Expression;
use super::fit;
use super::lookup::{self, LookedUp};
use super::pointer::Reference;
use super::shape::Shape;
use super::transform::{Origin, Step};
use super::{ColumnPair, Columns, Direction, OnLeave, Side, TableMap};
use crate::canonical::Comparison;
use crate::{
    Change, Finding, IntegrationKey, Lookup, MapName, Relation, Row, Severity, TableName, TableSchema,
};
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
    /// Everything that is written. The key columns come first, in the order of `source_key`.
    pub columns: Vec<FlowColumn>,
    /// How many of `columns` are the key.
    pub key_len: usize,
    /// Parents before children, among the maps of the stream.
    pub rank: u32,
    /// Which records of the source belong to the map; all of them without one.
    #[serde(default)]
    pub filter: Option<Expression>,
    /// What becomes of a record at the destination when it leaves the filter.
    #[serde(default)]
    pub on_leave: OnLeave,
    /// What it relies on of both tables.
    #[serde(default)]
    pub shape: Shape,
    /// The foreign keys of the destination.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// A column that is written, and the way of its values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "StoredColumn")]
pub struct FlowColumn {
    /// The destination's column.
    pub to: Arc<str>,
    /// What its values come from.
    pub from: Origin,
    /// What happens to them, in order.
    pub steps: Vec<Step>,
    /// How a value of it is told from another, here and in the column that it comes from. Of a column that is looked
    /// up: in the column that it comes from and in the key by which it is looked up.
    pub compared: Comparison,
    /// Its values are keys by which the destination looks up what is written.
    pub lookup: Option<Lookup>,
}

/// A column as it may lie in a store: one of an engine before there were transforms is a pair of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredColumn {
    Pair(Arc<str>, Arc<str>),
    Whole {
        to: Arc<str>,
        from: Origin,
        steps: Vec<Step>,
        #[serde(default)]
        compared: Comparison,
        #[serde(default)]
        lookup: Option<Lookup>,
    },
}

impl From<StoredColumn> for FlowColumn {
    fn from(stored: StoredColumn) -> Self {
        match stored {
            StoredColumn::Pair(from, to) => Self::new(from, to),
            StoredColumn::Whole { to, from, steps, compared, lookup } => {
                Self { to, from, steps, compared, lookup }
            }
        }
    }
}

impl FlowColumn {
    /// A column that is written as it is.
    pub fn new(from: impl Into<Arc<str>>, to: impl Into<Arc<str>>) -> Self {
        Self {
            to: to.into(),
            from: Origin::Column(from.into()),
            steps: Vec::new(),
            compared: Comparison::Own,
            lookup: None,
        }
    }

    /// The source's columns that it is made of.
    pub fn reads(&self) -> impl Iterator<Item = &Arc<str>> {
        let (column, expression) = match &self.from {
            Origin::Column(name) => (Some(name), None),
            Origin::Expression(expression) => (None, Some(expression.columns())),
            Origin::Constant(_) => (None, None),
        };
        column.into_iter().chain(expression.into_iter().flatten())
    }
}

impl FlowSpec {
    /// The source's columns that the filter reads.
    pub fn filter_columns(&self) -> Vec<Arc<str>> {
        self.filter.iter().flat_map(Expression::columns).cloned().collect()
    }

    /// Every column of the source that the flow reads, each once: for its values, its key and its filter.
    pub fn source_columns(&self) -> Vec<Arc<str>> {
        let mut read: Vec<Arc<str>> = Vec::new();
        let filter = self.filter.iter().flat_map(Expression::columns);
        for column in self.columns.iter().flat_map(FlowColumn::reads).chain(filter) {
            if !read.contains(column) {
                read.push(column.clone());
            }
        }
        read
    }

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
/// once; warnings come with the flow. `maps`: those through which it looks up values.
pub fn resolve(
    map: &TableMap,
    (source, source_schema): (&Side, &TableSchema),
    (destination, destination_schema): (&Side, &TableSchema),
    rank: u32,
    maps: &[LookedUp<'_>],
) -> Result<(FlowSpec, Vec<Finding>), Vec<Finding>> {
    let mut findings = Vec::new();
    let place = |side: &Side| format!("map {}: {} {}", map.name, side.app, side.table);
    if source.key.is_empty() || source.key.len() != destination.key.len() {
        let message =
            "the integration key must have the same number of columns on both sides, and at least one";
        let finding = Finding::error("key_mismatch", format!("map {}", map.name), message);
        findings.push(finding.fix("name the same columns on both sides, in the same order"));
        return Err(findings);
    }
    let to_right = source == &map.left;
    let columns = columns(map, to_right, (source, source_schema), (destination, destination_schema));
    let (mut columns, twice) = columns;
    findings.extend(twice.into_iter().map(|to| {
        let message = format!("column {to} is written from two columns");
        Finding::error("column_twice", place(destination), message).fix("leave one of them out of 'columns'")
    }));
    for column in &mut columns {
        for from in column.reads() {
            match source_schema.column(from) {
                None => findings.push(missing(place(source), from, source_schema)),
                Some(known) if known.generated => findings.push(
                    Finding::error(
                        "column_generated",
                        place(source),
                        format!("column {from} is computed by the database and is not in its log"),
                    )
                    .fix("leave the column out, or compute it by an expression"),
                ),
                Some(_) => {}
            }
        }
        match destination_schema.column(&column.to) {
            None => findings.push(missing(place(destination), &column.to, destination_schema)),
            Some(known) if known.generated => findings.push(
                Finding::error(
                    "column_generated",
                    place(destination),
                    format!("column {} is computed by the database and cannot be written", column.to),
                )
                .fix("leave the column out of 'columns'"),
            ),
            Some(known) => {
                let read = match &column.from {
                    Origin::Column(from) => source_schema.column(from),
                    Origin::Constant(_) | Origin::Expression(_) => None,
                };
                if let Some(through) = map.lookup_of(&column.to).filter(|_| to_right) {
                    let place = place(destination);
                    findings.extend(lookup::bind(column, through, (read, known), maps, &place));
                    continue;
                }
                fit::literals(column, &known.type_name);
                let of = read.map_or(&known.type_name, |read| &read.type_name);
                column.compared = Comparison::of(of, &known.type_name);
                let doubts = read.map(|read| fit::doubts(column, read, known)).unwrap_or_default();
                let told = |(code, message, fix): (&str, String, String)| {
                    Finding::warning(code, format!("{}.{}", place(destination), column.to), message).fix(fix)
                };
                findings.extend(doubts.into_iter().map(told));
            }
        }
    }
    for read in source.filter.iter().flat_map(Expression::columns) {
        match source_schema.column(read) {
            None => findings.push(missing(format!("{}: filter", place(source)), read, source_schema)),
            Some(known) if known.generated => findings.push(
                Finding::error(
                    "column_generated",
                    format!("{}: filter", place(source)),
                    format!("column {read} is computed by the database and is not in its log"),
                )
                .fix("let the filter read the columns that it is computed of"),
            ),
            Some(_) => {}
        }
    }
    findings.extend(key_doubts(&columns, source, source_schema, &place(source)));
    if source_schema.is_table && destination_schema.is_table {
        findings.extend(not_unique(destination, destination_schema, place(destination)));
    } else {
        // A view has no keys and promises nothing of its values. What would mend that mends no view: that it is one is all
        // there is to say, and its connector says it.
        findings.retain(|finding| finding.severity == Severity::Error);
    }
    for column in &destination_schema.columns {
        let written = columns.iter().any(|written| written.to == column.name);
        if !written && !column.nullable && !column.has_default && !column.generated {
            let message = format!(
                "column {} must not be null, has no default, and the map does not write it",
                column.name
            );
            let fix = format!(
                "ALTER it to have a default, or to take null; or map it: {{ right = \"{}\", constant = \"…\" }}",
                column.name
            );
            findings.push(Finding::error("column_required", place(destination), message).fix(fix));
        }
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let filtered: Vec<Arc<str>> = source.filter.iter().flat_map(Expression::columns).cloned().collect();
    let mut named: Vec<Arc<str>> = source.key.iter().chain(&filtered).cloned().collect();
    if map.direction == Direction::Both {
        named.extend(columns.iter().flat_map(FlowColumn::reads).cloned());
    }
    let shape = Shape::of((&columns, &filtered), &named, source_schema, destination_schema);
    let spec = FlowSpec {
        map: map.name.clone(),
        source: source_schema.table.clone(),
        source_key: source.key.clone(),
        destination: destination_schema.table.clone(),
        key_len: source.key.len(),
        columns,
        rank,
        filter: source.filter.clone(),
        on_leave: map.on_leave,
        shape,
        references: destination_schema.foreign_keys.iter().map(Reference::from).collect(),
    };
    Ok((spec, findings))
}

/// Nothing at the destination by which a record is found again.
fn not_unique(destination: &Side, schema: &TableSchema, place: String) -> Option<Finding> {
    if schema.is_unique(&destination.key) {
        return None;
    }
    let key = destination.key.join(", ");
    let message = match schema.deferrable(&destination.key) {
        Some(late) => format!(
            "the key {} on ({key}) is deferrable: it holds only when a transaction ends, and does not decide which record a \
             write is about",
            late.name
        ),
        None => format!("no unique key on ({key}): a record could not be found again"),
    };
    Some(Finding::error("key_not_unique", place, message).fix(schema.unique_sql(&destination.key)))
}

/// Records of the source that have no key, or may come to have another one's at the destination.
fn key_doubts(columns: &[FlowColumn], source: &Side, schema: &TableSchema, place: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    // SQLite lets a primary key be null that is no INTEGER: told of every such table, nobody would read it.
    let optional = |name: &&Arc<str>| {
        !schema.primary_key.contains(name) && schema.column(name).is_some_and(|column| column.nullable)
    };
    for name in source.key.iter().filter(optional) {
        let message = format!(
            "the key column {name} may be null: a record without a key is set aside when it is changed, and an initial \
             sync passes it over"
        );
        let fix = format!("ALTER {name} SET NOT NULL; or leave such records out by a filter");
        findings.push(Finding::warning("key_nullable", place, message).fix(fix));
    }
    for (name, column) in source.key.iter().zip(columns) {
        let merges = |step: &&Step| matches!(step, Step::Trim | Step::Case(_) | Step::Replace { .. });
        let Some(step) = column.steps.iter().find(merges) else { continue };
        let message = format!(
            "'{}' may make one key of two: of records that differ in {name} by no more than that, the destination has the \
             last that was written, and none once any of them is deleted",
            step.name()
        );
        let fix = format!(
            "see to it that no two values of {name} differ by no more than that, or leave the step out"
        );
        findings.push(Finding::warning("key_merges", place, message).fix(fix));
    }
    findings
}

/// The columns of a flow, the key's first; and those that are written from two.
fn columns(
    map: &TableMap,
    to_right: bool,
    (source, source_schema): (&Side, &TableSchema),
    (destination, destination_schema): (&Side, &TableSchema),
) -> (Vec<FlowColumn>, Vec<Arc<str>>) {
    let key = source.key.iter().zip(&destination.key);
    let mut columns: Vec<FlowColumn> =
        key.map(|(from, to)| FlowColumn::new(from.clone(), to.clone())).collect();
    let mut twice = Vec::new();
    let named: Vec<FlowColumn> = match &map.columns {
        Columns::Pairs(pairs) => {
            let goes = |pair: &&ColumnPair| pair.goes(map.direction, to_right);
            let way =
                |(to, from, steps)| FlowColumn { to, from, steps, compared: Comparison::Own, lookup: None };
            pairs.iter().filter(goes).filter_map(|pair| pair.way(to_right)).map(way).collect()
        }
        Columns::SameNames => source_schema
            .columns
            .iter()
            .filter(|column| !column.generated)
            .filter(|column| destination_schema.column(&column.name).is_some_and(|other| !other.generated))
            .map(|column| FlowColumn::new(column.name.clone(), column.name.clone()))
            .collect(),
    };
    for column in named {
        match columns.iter_mut().find(|known| known.to == column.to) {
            None => columns.push(column),
            // The key names its columns, and 'columns' may say what happens to them.
            Some(known) if known.from == column.from => known.steps = column.steps,
            // A key column of another name is mapped by the key; the same name on both sides is no second wish.
            Some(known) if matches!(map.columns, Columns::Pairs(_)) => twice.push(known.to.clone()),
            Some(_) => {}
        }
    }
    (columns, twice)
}

fn missing(place: String, column: &str, schema: &TableSchema) -> Finding {
    let known: Vec<&str> = schema.columns.iter().map(|column| &*column.name).take(40).collect();
    Finding::error("column_missing", place, format!("there is no column {column}"))
        .fix(format!("its columns are: {}", known.join(", ")))
}
