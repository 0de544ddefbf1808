//! Columns that are looked up through another map: both sides refer to the same record, each by what it knows of it.
//!
//! The source's column holds the key that the record has in the source. On its way it becomes the key that the other map
//! gives the record at the destination (that map may trim it, or call it otherwise), and the destination finds the
//! record by that in the transaction that writes ([`Lookup`]). So nothing about the other table is kept with us, and a
//! record that was made a moment ago is found.

use super::fit;
use super::resolve::FlowColumn;
use super::{Columns, TableMap, Through};
use crate::canonical::Comparison;
use crate::{ColumnSchema, Finding, Lookup, TableSchema};

/// A map through which others look up values, with the schemas of its tables.
#[derive(Debug, Clone, Copy)]
pub struct LookedUp<'a> {
    /// The map.
    pub map: &'a TableMap,
    /// Its left table.
    pub left: &'a TableSchema,
    /// Its right table.
    pub right: &'a TableSchema,
}

impl TableMap {
    /// The maps through which it looks up values, each as often as it does.
    pub fn lookups(&self) -> impl Iterator<Item = &Through> {
        let pairs = match &self.columns {
            Columns::Pairs(pairs) => pairs.as_slice(),
            Columns::SameNames => &[],
        };
        pairs.iter().filter_map(|pair| pair.lookup.as_ref())
    }

    /// How a column of the right table is looked up, if it is.
    pub(super) fn lookup_of(&self, right: &str) -> Option<&Through> {
        let Columns::Pairs(pairs) = &self.columns else { return None };
        let pair = pairs.iter().find(|pair| pair.right.as_deref() == Some(right))?;
        pair.lookup.as_ref()
    }
}

/// Lets a column be looked up: what its values come from is `from`, if that is one column, and `to` is what is written.
/// Returns what stands against it.
pub(super) fn bind(
    column: &mut FlowColumn,
    through: &Through,
    (from, to): (Option<&ColumnSchema>, &ColumnSchema),
    maps: &[LookedUp<'_>],
    place: &str,
) -> Vec<Finding> {
    let place = format!("{place}.{}", column.to);
    let Some(parent) = maps.iter().find(|parent| parent.map.name == through.map) else {
        let message = format!("map {}, through which it is looked up, cannot be read", through.map);
        return vec![
            Finding::error("lookup_map", place, message).fix(format!("tandem check; see {}", through.map)),
        ];
    };
    let table = &parent.right.table;
    let key = parent.map.right.key.first().and_then(|key| parent.right.column(key));
    let own = parent.map.left.key.first().and_then(|key| parent.left.column(key));
    let (Some(key), Some(own)) = (key, own) else {
        // That map has a finding of its own.
        return Vec::new();
    };
    let Some(wanted) = parent.right.column(&through.column) else {
        let known: Vec<&str> = parent.right.columns.iter().map(|column| &*column.name).take(40).collect();
        let message = format!("{table}, which map {} writes, has no column {}", through.map, through.column);
        return vec![
            Finding::error("lookup_column_missing", place, message)
                .fix(format!("its columns are: {}", known.join(", "))),
        ];
    };
    let mut findings = Vec::new();
    if !parent.right.is_unique(std::slice::from_ref(&wanted.name)) {
        let message = format!(
            "{table}.{} is not unique: two records may be referred to by the same value, and a comparison cannot tell them \
             apart",
            wanted.name
        );
        findings.push(
            Finding::warning("lookup_not_unique", place.clone(), message)
                .fix(format!("CREATE UNIQUE INDEX ON {table} ({});", wanted.name)),
        );
    }
    if let Some(from) = from
        && column.steps.is_empty()
        && let (source, parent) = (fit::Class::of(&from.type_name), fit::Class::of(&own.type_name))
        && source != parent
    {
        let message = format!(
            "{} is {} and the key of map {} is {}: a value that is no such key is refused",
            from.name, from.type_name, through.map, own.type_name
        );
        let fix = format!("ALTER the column {} to the type of {}", from.name, own.name);
        findings.push(Finding::warning("lookup_type", place.clone(), message).fix(fix));
    }
    let plain = FlowColumn::new(wanted.name.clone(), to.name.clone());
    let found = ColumnSchema { nullable: from.is_some_and(|from| from.nullable), ..wanted.clone() };
    let told = |(code, message, fix): (&str, String, String)| {
        Finding::warning(code, place.clone(), message).fix(fix)
    };
    findings.extend(fit::doubts(&plain, &found, to).into_iter().map(told));

    // The value is a key of the left app, and the destination knows the record by what its map makes of that.
    let key_column = match &parent.map.columns {
        Columns::Pairs(pairs) => pairs.iter().find(|pair| pair.right.as_deref() == Some(&*key.name)),
        Columns::SameNames => None,
    };
    let steps = key_column.and_then(|pair| pair.way(true)).map(|(_, _, steps)| steps).unwrap_or_default();
    column.steps.extend(steps);
    fit::literals(column, &key.type_name);
    column.compared = Comparison::of(from.map_or(&own.type_name, |from| &from.type_name), &key.type_name);
    column.lookup = Some(Lookup {
        map: through.map.clone(),
        table: table.clone(),
        key: key.name.clone(),
        column: wanted.name.clone(),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{
        ColumnPair, Direction, FlowSpec, Projected, Projection, Side, Step, Transforms, resolve,
    };
    use super::*;
    use crate::map::{Comparer, Verdict, row_hash};
    use crate::{Change, Op, Relation, RelationColumn, Row, Seq, TableName, UniqueKey, Value, WriteOp};
    use std::sync::Arc;

    fn schema(table: &str, columns: &[(&str, &str)], unique: &[&str]) -> TableSchema {
        let column = |(name, type_name): &(&str, &str)| ColumnSchema {
            name: (*name).into(),
            type_name: (*type_name).into(),
            nullable: true,
            has_default: false,
            generated: false,
        };
        TableSchema {
            is_table: true,
            table: TableName::parse(table).unwrap(),
            columns: columns.iter().map(column).collect(),
            primary_key: vec![columns[0].0.into()],
            unique_keys: unique
                .iter()
                .map(|name| UniqueKey { name: (*name).into(), columns: vec![(*name).into()] })
                .collect(),
            deferrable_keys: vec![],
            identity: vec![],
            foreign_keys: vec![],
        }
    }

    fn side(app: &str, table: &str, key: &str) -> Side {
        let table = TableName::parse(table).unwrap();
        Side { app: app.into(), table, key: vec![key.into()], filter: None }
    }

    fn map(name: &str, left: Side, right: Side, columns: Vec<ColumnPair>) -> TableMap {
        TableMap {
            name: name.into(),
            direction: Direction::ToRight,
            left,
            right,
            columns: Columns::Pairs(columns),
            depends_on: vec![],
            deletes: Default::default(),
            conflict: Default::default(),
            side_effects: Default::default(),
            on_leave: Default::default(),
            initial_sync: Default::default(),
        }
    }

    fn customers() -> TableMap {
        let trim = Some(Transforms { made: None, steps: vec![Step::Trim] });
        let key = ColumnPair { to_right: trim, ..ColumnPair::new("no", "ext_no") };
        map("customers", side("erp", "customers", "no"), side("crm", "accounts", "ext_no"), vec![key])
    }

    fn orders() -> TableMap {
        let lookup = Some(Through { map: "customers".into(), column: "id".into() });
        let customer = ColumnPair { lookup, ..ColumnPair::new("customer", "account_id") };
        map("orders", side("erp", "orders", "no"), side("crm", "orders", "no"), vec![customer])
    }

    /// The flow of orders, and the codes of what was found; the accounts have these columns, and are unique in these.
    fn resolved(accounts: &[(&str, &str)], unique: &[&str]) -> Result<(FlowSpec, Vec<String>), Vec<String>> {
        let codes = |findings: Vec<Finding>| findings.into_iter().map(|finding| finding.code).collect();
        let (customers, orders) = (customers(), orders());
        let left = schema("customers", &[("no", "text")], &[]);
        let right = schema("accounts", accounts, unique);
        let from = schema("orders", &[("no", "integer"), ("customer", "text")], &[]);
        let to = schema("orders", &[("no", "integer"), ("account_id", "bigint")], &[]);
        let parents = [LookedUp { map: &customers, left: &left, right: &right }];
        let resolved = resolve(&orders, (&orders.left, &from), (&orders.right, &to), 1, &parents);
        resolved.map(|(spec, findings)| (spec, codes(findings))).map_err(codes)
    }

    const ACCOUNTS: &[(&str, &str)] = &[("id", "bigint"), ("ext_no", "text")];

    #[test]
    fn the_key_becomes_what_the_other_map_makes_of_it() {
        let (spec, findings) = resolved(ACCOUNTS, &["ext_no"]).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        let relation = relation(&["no", "customer"]);
        let row = Row::of([Value::Int(1), " C1 ".into()]);
        let change = Change { relation, op: Op::Insert { new: row } };
        let Ok(Projected::Write(write)) = Projection::once(&spec, &change, Seq(1), Seq(1)) else { panic!() };
        assert_eq!(write.op, WriteOp::Upsert(vec![Value::Int(1), "C1".into()]));
        let lookup = write.target.lookup(1).unwrap();
        assert_eq!((&*lookup.key, &*lookup.column, &*lookup.table.name), ("ext_no", "id", "accounts"));
        let missing = lookup.missing(&write.target, 1);
        assert!(missing.message.contains("column account_id") && missing.fix.unwrap().contains("customers"));
    }

    #[test]
    fn what_stands_against_a_lookup_is_found() {
        assert_eq!(
            resolved(&[("nr", "bigint"), ("ext_no", "text")], &[]).unwrap_err(),
            ["lookup_column_missing"]
        );
        let two = &[("nr", "bigint"), ("id", "bigint"), ("ext_no", "text")];
        assert_eq!(resolved(two, &["ext_no"]).unwrap().1, ["lookup_not_unique"]);
        let narrow = &[("id", "numeric"), ("ext_no", "text")];
        assert_eq!(resolved(narrow, &["ext_no"]).unwrap().1, ["type_narrower"]);
    }

    fn relation(columns: &[&str]) -> Arc<Relation> {
        let column =
            |name: &&str| RelationColumn { name: (*name).into(), type_name: "".into(), identity: true };
        let columns = columns.iter().map(column).collect();
        Arc::new(Relation { table: TableName::parse("orders").unwrap(), columns })
    }

    #[test]
    fn rows_are_equal_that_refer_to_the_same_record() {
        let (spec, _) = resolved(ACCOUNTS, &["ext_no"]).unwrap();
        let (from, to) = (relation(&["no", "customer"]), relation(&["no", "account_id"]));
        let mut comparer = Comparer::bind(&spec, None, None, from, to).unwrap();
        let source = |customer: Value| Row::of([Value::Int(1), customer]);
        let there = |account: Value| Row::of([Value::Int(1), account]);
        comparer.refer([(1, Value::Int(7), "C1".into())]);
        let judge = |one: Value, other: Value| comparer.judge(Some(&source(one)), Some(&there(other)));
        assert_eq!(judge("C1".into(), Value::Int(7)), Verdict::Same);
        assert_eq!(judge("C2".into(), Value::Int(7)), Verdict::Changed);
        assert_eq!(judge("C1".into(), Value::Int(8)), Verdict::Changed, "it refers to nothing");
        assert_eq!(judge("8".into(), Value::Int(8)), Verdict::Changed, "an id is no key");
        assert_eq!(judge(Value::Null, Value::Null), Verdict::Same);
        assert_eq!(judge("C1".into(), Value::Null), Verdict::Changed);
        assert_eq!(judge(Value::Null, Value::Int(7)), Verdict::Changed);
    }

    #[test]
    fn an_echo_is_known_whatever_was_looked_up() {
        let (spec, _) = resolved(ACCOUNTS, &["ext_no"]).unwrap();
        let hash =
            |no: i64, customer: Value| row_hash(&spec.columns, [Some(&Value::Int(no)), Some(&customer)]);
        assert_eq!(hash(1, "C1".into()), hash(1, Value::Int(7)));
        assert_ne!(hash(1, "C1".into()), hash(2, "C1".into()));
        assert_eq!(row_hash(&spec.columns, [None, Some(&Value::Null)]), None);
    }
}
