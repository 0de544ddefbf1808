//! Which records of another map a record refers to: told by the destination's foreign keys, in the words of the source.
//!
//! What stands behind a change that is not applied yet is found by the integration key that the source gives a record.
//! A row that refers to a record names it by columns of its own; where the destination's foreign key holds exactly what
//! the other map writes as its key, unchanged on both ways, those columns of the source *are* that key.

use super::resolve::{FlowColumn, FlowSpec};
use super::transform::Origin;
use crate::{Change, ForeignKey, IntegrationKey, TableName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A foreign key of the table that a flow writes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The table that is referred to.
    pub to: TableName,
    /// The referring columns, each with the one that it refers to.
    pub columns: Vec<(Arc<str>, Arc<str>)>,
}

/// How the rows of a flow name a record of another one that they refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointer {
    /// These columns of the source have the integration key that the record has in the source of the other flow.
    By(Vec<Arc<str>>),
    /// By something that cannot be told apart here: another unique key, or values that are made.
    Unknown,
}

impl From<&ForeignKey> for Reference {
    fn from(key: &ForeignKey) -> Self {
        let columns = key.columns.iter().cloned().zip(key.target_columns.iter().cloned()).collect();
        Self { to: key.target.clone(), columns }
    }
}

impl Pointer {
    /// The integration keys of the records that a change makes its record refer to: none if it does not say or refers
    /// to nothing.
    pub fn key_in(&self, change: &Change) -> Option<IntegrationKey> {
        let Pointer::By(columns) = self else { return None };
        let row = change.op.new_row()?;
        let places = change.relation.places(columns.iter().map(|name| &**name)).ok()?;
        IntegrationKey::of(row, &places).filter(|key| !key.has_null())
    }
}

impl FlowSpec {
    /// How its rows name the records of another flow of the same two apps; itself may be that one.
    pub fn pointers_to<'a>(&'a self, other: &'a FlowSpec) -> impl Iterator<Item = Pointer> + 'a {
        let to_other = |reference: &&Reference| reference.to.is_same(&other.destination);
        self.references.iter().filter(to_other).filter_map(|reference| self.pointer(reference, other))
    }

    /// The places of the columns by which its rows refer to tables, but for those of the integration key.
    pub fn places_referring(&self, to: impl Fn(&TableName) -> bool) -> Vec<usize> {
        let references: Vec<_> = self.references.iter().filter(|reference| to(&reference.to)).collect();
        let refers = |column: &FlowColumn| {
            references.iter().any(|reference| reference.columns.iter().any(|(own, _)| *own == column.to))
        };
        let columns = self.columns.iter().enumerate().skip(self.key_len);
        columns.filter(|(_, column)| refers(column)).map(|(place, _)| place).collect()
    }

    /// `None` for a reference of columns that the flow does not write.
    fn pointer(&self, reference: &Reference, other: &FlowSpec) -> Option<Pointer> {
        let written = |to: &Arc<str>| self.columns.iter().find(|column| column.to == *to);
        let columns: Vec<(&FlowColumn, &Arc<str>)> = reference
            .columns
            .iter()
            .map(|(own, target)| Some((written(own)?, target)))
            .collect::<Option<_>>()?;
        let key = other.columns.iter().take(other.key_len);
        let named =
            key.map(|key| columns.iter().find_map(|(column, target)| names(column, target, key, other)));
        Some(named.collect::<Option<Vec<_>>>().map_or(Pointer::Unknown, Pointer::By))
    }
}

/// The source's column whose values are those of a key column of another flow, if `column` brings them.
fn names(column: &FlowColumn, target: &Arc<str>, key: &FlowColumn, other: &FlowSpec) -> Option<Arc<str>> {
    let Origin::Column(from) = &column.from else { return None };
    let is_key = match &column.lookup {
        // What is looked up is named by the other map's key, and made of it as that map makes it.
        Some(lookup) => {
            lookup.map == other.map
                && lookup.column == *target
                && lookup.key == key.to
                && column.steps == key.steps
        }
        None => *target == key.to && column.steps.is_empty() && key.steps.is_empty(),
    };
    (is_key && matches!(key.from, Origin::Column(_))).then(|| from.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Step;
    use crate::{Lookup, Op, Relation, RelationColumn, Row, Value};

    fn flow(map: &str, key: &[(&str, &str)], more: &[(&str, &str)]) -> FlowSpec {
        let column = |(from, to): &(&str, &str)| FlowColumn::new(*from, *to);
        FlowSpec {
            map: map.into(),
            source: TableName::parse(map).unwrap(),
            source_key: key.iter().map(|(from, _)| (*from).into()).collect(),
            destination: TableName::parse(&format!("public.{map}")).unwrap(),
            columns: key.iter().chain(more).map(column).collect(),
            key_len: key.len(),
            rank: 0,
            filter: None,
            on_leave: Default::default(),
            shape: Default::default(),
            references: Vec::new(),
        }
    }

    fn lines(columns: &[(&str, &str)]) -> FlowSpec {
        let columns = columns.iter().map(|(own, target)| ((*own).into(), (*target).into())).collect();
        let more = [("head_no", "head"), ("head_year", "year")];
        let reference = Reference { to: TableName::parse("heads").unwrap(), columns };
        FlowSpec { references: vec![reference], ..flow("lines", &[("no", "id")], &more) }
    }

    #[track_caller]
    fn check(lines: &FlowSpec, heads: &FlowSpec, expected: &[Option<&[&str]>]) {
        let pointers: Vec<Pointer> = lines.pointers_to(heads).collect();
        let by = |columns: &&[&str]| Pointer::By(columns.iter().map(|name| (*name).into()).collect());
        let expected: Vec<Pointer> =
            expected.iter().map(|columns| columns.as_ref().map_or(Pointer::Unknown, by)).collect();
        assert_eq!(pointers, expected);
    }

    #[test]
    fn a_foreign_key_to_the_integration_key_is_named_by_columns_of_the_source() {
        let heads = flow("heads", &[("year", "y"), ("no", "n")], &[]);
        check(&lines(&[("head", "n"), ("year", "y")]), &heads, &[Some(&["head_year", "head_no"])]);
        check(&lines(&[("head", "n")]), &heads, &[None]);
        check(&lines(&[("head", "other"), ("year", "y")]), &heads, &[None]);
        check(&lines(&[("nowhere", "n"), ("year", "y")]), &heads, &[]);
        check(&lines(&[("head", "n"), ("year", "y")]), &flow("others", &[("no", "n")], &[]), &[]);
    }

    #[test]
    fn what_is_made_of_a_value_names_no_record_unless_it_is_looked_up() {
        let mut lines = lines(&[("head", "n")]);
        let mut heads = flow("heads", &[("no", "n")], &[]);
        check(&lines, &heads, &[Some(&["head_no"])]);
        heads.columns[0].steps.push(Step::Trim);
        check(&lines, &heads, &[None]);
        lines.references[0].columns[0].1 = "id".into();
        lines.columns[1].steps.push(Step::Trim);
        lines.columns[1].lookup = Some(Lookup {
            map: "heads".into(),
            table: heads.destination.clone(),
            key: "n".into(),
            column: "id".into(),
        });
        check(&lines, &heads, &[Some(&["head_no"])]);
    }

    #[test]
    fn a_row_refers_to_nothing_by_null() {
        let columns = ["no", "head_no"].map(|name| RelationColumn {
            name: name.into(),
            type_name: "int8".into(),
            identity: true,
        });
        let relation =
            Arc::new(Relation { table: TableName::parse("lines").unwrap(), columns: columns.to_vec() });
        let key = |head: Value| {
            let change =
                Change { relation: relation.clone(), op: Op::Insert { new: Row::of([Value::Int(1), head]) } };
            Pointer::By(vec!["head_no".into()]).key_in(&change)
        };
        assert_eq!(key(Value::Int(7)), Some(IntegrationKey::from_values(vec![Value::Int(7)])));
        assert_eq!(key(Value::Null), None);
    }
}
