//! Whether a table still has the shape that a flow was resolved against: what its people change about it while the
//! map runs.
//!
//! Decided here and nowhere else, in two places of a change's life. [`misfit`] is asked with each new relation of the
//! log, by the lane that is about to project by it: so the answer is exact to the record, the same after a restart, and
//! comes before anything of the new shape is written. [`drift`] is asked when an app was looked at anew, with the
//! flow as it was resolved and as it would be now.
//!
//! Only what a flow reads and writes counts. A column that it does not touch may be added, dropped, renamed and
//! retyped; one that it does may become another type whose values the destination's column takes as surely.

use super::Origin;
use super::fit::Class;
use super::resolve::{FlowColumn, FlowSpec};
use super::transform::Step;
use crate::{Finding, Relation, TableSchema};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a flow relies on, as both tables were when it was resolved. Empty for a flow of an engine that did not keep
/// it: then only columns that are gone are noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// All columns of the source that its log names, in their order.
    #[serde(default)]
    pub columns: Vec<Arc<str>>,
    /// The source's columns that are read, with the names of their types.
    pub source: Vec<(Arc<str>, Arc<str>)>,
    /// The destination's columns that are written, with the names of their types.
    pub destination: Vec<(Arc<str>, Arc<str>)>,
    /// The columns that an old row must name for the flow, and did.
    pub identity: Vec<Arc<str>>,
}

/// Why records of a relation are not what a flow was resolved for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// A column that is read is not there.
    Gone {
        /// Its name.
        column: Arc<str>,
        /// The column that stands in its place now, if it looks as if it was renamed.
        renamed: Option<Arc<str>>,
    },
    /// Old rows no longer name a column.
    Unnamed {
        /// Its name.
        column: Arc<str>,
    },
    /// A column is of a type whose values the destination's column does not take as surely as those before.
    Retyped {
        /// Its name.
        column: Arc<str>,
        /// The type that it had.
        was: Arc<str>,
        /// The type that it has.
        is: Arc<str>,
        /// The destination's column, with its type.
        to: (Arc<str>, Arc<str>),
    },
}

impl Misfit {
    /// What mends it.
    pub fn fix(&self) -> &'static str {
        match self {
            Misfit::Gone { .. } => {
                "edit the map (name another column, or leave it out) and resume it; or undo the change, and resume it"
            }
            Misfit::Unnamed { .. } => {
                "ALTER TABLE … REPLICA IDENTITY FULL, then resume the map; 'tandem check' has the exact statement"
            }
            Misfit::Retyped { .. } => {
                "ALTER the destination's column as well, or give it a transform, then resume the map; or resume it as \
                 it is: what does not fit is set aside"
            }
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Gone { column, renamed: Some(renamed) } => {
                write!(f, "the column {column} is gone; it may be called {renamed} now")
            }
            Misfit::Gone { column, renamed: None } => write!(f, "the column {column} is gone"),
            Misfit::Unnamed { column } => write!(f, "old rows no longer name the column {column}"),
            Misfit::Retyped { column, was, is, to: (to, type_name) } => {
                write!(f, "the column {column} was {was} and is {is}; it goes to {to}, which is {type_name}")
            }
        }
    }
}

impl Shape {
    /// The shape of both tables, as far as a flow with these columns relies on it. `named`: columns that old rows have
    /// to name for it.
    pub(super) fn of(
        (columns, also): (&[FlowColumn], &[Arc<str>]),
        named: &[Arc<str>],
        source: &TableSchema,
        destination: &TableSchema,
    ) -> Self {
        let type_in = |schema: &TableSchema, name: &Arc<str>| {
            schema.column(name).map(|column| (name.clone(), column.type_name.clone()))
        };
        let mut read: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for name in columns.iter().flat_map(FlowColumn::reads).chain(also) {
            if !read.iter().any(|(known, _)| known == name) {
                read.extend(type_in(source, name));
            }
        }
        let written = columns.iter().filter_map(|column| type_in(destination, &column.to));
        let identity = named.iter().filter(|name| source.identity.contains(name));
        let logged = source.columns.iter().filter(|column| !column.generated);
        let columns = logged.map(|column| column.name.clone()).collect();
        Self { columns, source: read, destination: written.collect(), identity: identity.cloned().collect() }
    }

    fn source_type(&self, column: &str) -> Option<&Arc<str>> {
        type_of(&self.source, column)
    }

    fn destination_type(&self, column: &str) -> Option<&Arc<str>> {
        type_of(&self.destination, column)
    }
}

fn type_of<'a>(types: &'a [(Arc<str>, Arc<str>)], column: &str) -> Option<&'a Arc<str>> {
    types.iter().find(|(name, _)| **name == *column).map(|(_, type_name)| type_name)
}

/// Why records of this relation must not be written by this flow, if they must not.
pub fn misfit(flow: &FlowSpec, relation: &Relation) -> Option<Misfit> {
    for column in flow.source_columns() {
        let Some(place) = relation.column(&column) else {
            let renamed = renamed(&flow.shape, relation, &column);
            return Some(Misfit::Gone { column, renamed });
        };
        let is = relation.columns.get(place).map(|column| &column.type_name)?;
        let was = flow.shape.source_type(&column);
        if let Some(misfit) = was.and_then(|was| retyped(flow, &column, was, is)) {
            return Some(misfit);
        }
    }
    let named =
        |name: &&Arc<str>| relation.columns.iter().any(|column| column.name == **name && column.identity);
    let unnamed = flow.shape.identity.iter().find(|name| !named(name));
    unnamed.map(|column| Misfit::Unnamed { column: column.clone() })
}

/// The column that has taken the place of another, where no other column has come or gone.
fn renamed(before: &Shape, now: &Relation, column: &str) -> Option<Arc<str>> {
    let place = before.columns.iter().position(|name| **name == *column)?;
    let candidate = now.columns.get(place)?;
    let is_new = before.columns.len() == now.columns.len() && !before.columns.contains(&candidate.name);
    let was = before.source_type(column)?;
    (is_new && kind(was) == kind(&candidate.type_name)).then(|| candidate.name.clone())
}

/// Whether a column of the source is of another type now, and one that it goes to may not take that.
fn retyped(flow: &FlowSpec, column: &Arc<str>, was: &Arc<str>, is: &Arc<str>) -> Option<Misfit> {
    if is.is_empty() || kind(was) == kind(is) {
        return None;
    }
    let reads = |written: &&FlowColumn| {
        written.from == Origin::Column(column.clone()) && !written.steps.iter().any(remakes)
    };
    flow.columns.iter().filter(reads).find_map(|written| {
        let to = flow.shape.destination_type(&written.to)?;
        (!takes(is, to)).then(|| Misfit::Retyped {
            column: column.clone(),
            was: was.clone(),
            is: is.clone(),
            to: (written.to.clone(), to.clone()),
        })
    })
}

/// A step that makes another value of it: the source's type says little about what arrives.
fn remakes(step: &Step) -> bool {
    matches!(step, Step::Values(_) | Step::TimeZone(_) | Step::Replace { .. })
}

/// What has changed about a flow that must not go on without a person's word, now that both tables were looked at
/// again: `was` is what it does, `now` what it would be resolved to.
///
/// With columns that map by themselves a column may have left the map. One that is gone on both sides is nobody's
/// loss; one that is gone on one is told.
pub fn drift(
    was: &FlowSpec,
    now: &FlowSpec,
    (source, destination): (&TableSchema, &TableSchema),
) -> Vec<Finding> {
    let place = format!("map {}", was.map);
    let mut findings = Vec::new();
    for column in &was.columns {
        if now.columns.iter().any(|other| other.to == column.to && other.from == column.from) {
            continue;
        }
        let gone_from = match (&column.from, destination.column(&column.to)) {
            (Origin::Column(from), Some(_)) if source.column(from).is_none() => (from, &source.table),
            (Origin::Column(from), None) if source.column(from).is_some() => (&column.to, &destination.table),
            _ => continue,
        };
        let message = format!("the column {} is gone from {}", gone_from.0, gone_from.1);
        let fix = "undo the change, or rename the other side's column as well; resumed as it is, the map goes on \
                   without this column";
        findings.push(Finding::error("column_gone", place.clone(), message).fix(fix));
    }
    for column in &now.columns {
        let Origin::Column(from) = &column.from else { continue };
        let (Some(is), Some(to)) = (now.shape.source_type(from), now.shape.destination_type(&column.to))
        else {
            continue;
        };
        let known = (was.shape.source_type(from), was.shape.destination_type(&column.to));
        let (Some(source_was), Some(to_was)) = known else { continue };
        let same = kind(source_was) == kind(is) && kind(to_was) == kind(to);
        if same || takes(is, to) || column.steps.iter().any(remakes) {
            continue;
        }
        let message = format!(
            "{from} was {source_was} and is {is}; {} was {to_was} and is {to}: values may no longer fit",
            column.to
        );
        findings.push(Finding::error("column_retyped", place.clone(), message).fix(RETYPED));
    }
    findings
}

const RETYPED: &str = "ALTER one of the two columns, or give it a transform, then resume the map; or resume it as it \
                       is: what does not fit is set aside";

/// A type without its length, under one name of the several that a log, a catalog and another database have for it.
fn kind(type_name: &str) -> String {
    let lower = type_name.to_lowercase();
    let zoned = lower.contains("with time zone");
    let plain = lower.split('(').next().unwrap_or_default();
    let plain = plain.split(" with").next().unwrap_or_default().trim();
    let plain = plain.rsplit('.').next().unwrap_or_default().trim_matches('"');
    if lower.ends_with("[]") || plain.starts_with('_') {
        return "array".to_owned();
    }
    match (Class::of(plain), plain) {
        (Class::Bool, _) => "bool".to_owned(),
        (Class::Int, _) => "int".to_owned(),
        (Class::Decimal, _) => "decimal".to_owned(),
        (Class::Float, _) => "float".to_owned(),
        (Class::Text, _) => "text".to_owned(),
        (Class::Other, "timestamp") if zoned => "timestamptz".to_owned(),
        (Class::Other, "time") if zoned => "timetz".to_owned(),
        (Class::Other, other) => other.to_owned(),
    }
}

/// Whether a column takes the values of another type as a rule, one or the other that does not fit left aside.
fn takes(from: &str, to: &str) -> bool {
    const NUMBERS: [&str; 3] = ["int", "decimal", "float"];
    const MOMENTS: [&str; 3] = ["date", "timestamp", "timestamptz"];
    let (from, to) = (kind(from), kind(to));
    let both = |kinds: &[&str]| kinds.contains(&&*from) && kinds.contains(&&*to);
    // A column without a type of its own keeps everything.
    let anything = ["text", "", "any"].contains(&&*to);
    anything || from == to || both(&NUMBERS) || both(&MOMENTS) || both(&["json", "jsonb"])
}

#[cfg(test)]
mod tests;
