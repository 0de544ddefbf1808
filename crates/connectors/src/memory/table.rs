//! Tables of the memory app: rows by an inner number, and the unique keys as ordered indexes.
//!
//! Everything is ordered (`BTreeMap`), so that the same history gives the same bytes on every run.

use bytestring::ByteString;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::{
    Cell, ColumnSchema, ForeignKey, Relation, RelationColumn, Row, TableName, TableSchema, UniqueKey, Value,
};

/// A table to be made in a [`MemoryApp`](super::MemoryApp).
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub(super) table: TableName,
    pub(super) columns: Vec<ColumnSchema>,
    pub(super) primary_key: Vec<Arc<str>>,
    pub(super) unique_keys: Vec<UniqueKey>,
    pub(super) foreign_keys: Vec<(ForeignKey, bool)>,
    pub(super) whole_old_rows: bool,
    pub(super) large: Vec<Arc<str>>,
}

impl TableSpec {
    /// A table of that name with these columns, all of which may be null except those of the `key`.
    pub fn new(table: TableName, columns: &[&str], key: &[&str]) -> Self {
        let column = |name: &&str| ColumnSchema {
            name: Arc::from(*name),
            type_name: "any".into(),
            nullable: !key.contains(name),
            has_default: false,
            generated: false,
        };
        Self {
            table,
            columns: columns.iter().map(column).collect(),
            primary_key: key.iter().map(|name| Arc::from(*name)).collect(),
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            whole_old_rows: false,
            large: Vec::new(),
        }
    }

    /// Adds a unique key over these columns.
    #[must_use]
    pub fn unique(mut self, columns: &[&str]) -> Self {
        self.unique_keys.push(UniqueKey {
            name: columns.join("_").into(),
            columns: columns.iter().map(|name| Arc::from(*name)).collect(),
        });
        self
    }

    /// Adds a foreign key that is checked with each write.
    #[must_use]
    pub fn references(self, columns: &[&str], target: &TableName, target_columns: &[&str]) -> Self {
        self.foreign_key(columns, target, target_columns, false)
    }

    /// Adds a foreign key that is checked when the transaction ends.
    #[must_use]
    pub fn references_deferred(self, columns: &[&str], target: &TableName, target_columns: &[&str]) -> Self {
        self.foreign_key(columns, target, target_columns, true)
    }

    fn foreign_key(mut self, columns: &[&str], target: &TableName, to: &[&str], deferred: bool) -> Self {
        let key = ForeignKey {
            name: format!("{}_fk", columns.join("_")).into(),
            columns: columns.iter().map(|name| Arc::from(*name)).collect(),
            target: target.clone(),
            target_columns: to.iter().map(|name| Arc::from(*name)).collect(),
        };
        self.foreign_keys.push((key, deferred));
        self
    }

    /// Refuses null in a column.
    #[must_use]
    pub fn not_null(mut self, column: &str) -> Self {
        self.columns.iter_mut().filter(|c| &*c.name == column).for_each(|c| c.nullable = false);
        self
    }

    /// Gives a column a type: `int` takes numbers and texts that are one, `text` takes anything as text. Without one it
    /// is `any`, and keeps what it gets.
    #[must_use]
    pub fn typed(mut self, column: &str, type_name: &str) -> Self {
        let named = self.columns.iter_mut().filter(|c| &*c.name == column);
        named.for_each(|c| c.type_name = type_name.into());
        self
    }

    /// Lets the log name whole old rows. Without it, an old row names the key, and only where that changed.
    #[must_use]
    pub fn whole_old_rows(mut self) -> Self {
        self.whole_old_rows = true;
        self
    }

    /// Makes a column one that the log does not repeat in updates that leave it as it is.
    #[must_use]
    pub fn large(mut self, column: &str) -> Self {
        self.large.push(column.into());
        self
    }
}

/// The values of a unique key, in an order of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey(pub(super) Vec<Value>);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.0.iter().zip(&other.0).map(|(a, b)| order(a, b));
        parts.fold(Ordering::Equal, Ordering::then).then(self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders values: by kind first, then by what they hold. Equal exactly where the values are equal.
fn order(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> (u8, u8) {
        match value {
            Value::Null => (0, 0),
            Value::Bool(_) => (1, 0),
            Value::Int(_) => (2, 0),
            Value::Float(_) => (3, 0),
            Value::Text(_) => (4, 0),
            Value::Bytes(_) => (5, 0),
            Value::Typed(kind, _) => (6, *kind as u8),
        }
    }
    let text = |a: &ByteString, b: &ByteString| a.as_bytes().cmp(b.as_bytes());
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.to_bits().cmp(&b.to_bits()),
        (Value::Text(a), Value::Text(b)) => text(a, b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Typed(kind_a, a), Value::Typed(kind_b, b)) => kind_a.cmp(kind_b).then_with(|| text(a, b)),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// One unique key, and which rows have which values. More than one row may stand under one key only inside of a
/// transaction whose unique keys are checked at its end; the row that was there first comes first.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) name: Arc<str>,
    pub(super) places: Vec<usize>,
    entries: BTreeMap<SortKey, Vec<u64>>,
}

impl Index {
    pub(super) fn key(&self, row: &[Value]) -> Option<SortKey> {
        let values = self.places.iter().map(|place| row.get(*place).cloned());
        let values = values.collect::<Option<Vec<_>>>()?;
        // Null equals nothing: a row with one in its key clashes with no other.
        (!values.iter().any(Value::is_null)).then_some(SortKey(values))
    }

    pub(super) fn rows(&self, key: &SortKey) -> &[u64] {
        self.entries.get(key).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, row: &[Value], id: u64) {
        if let Some(key) = self.key(row) {
            self.entries.entry(key).or_default().push(id);
        }
    }

    fn remove(&mut self, row: &[Value], id: u64) {
        let Some(key) = self.key(row) else { return };
        if let Some(ids) = self.entries.get_mut(&key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.entries.remove(&key);
            }
        }
    }
}

/// A table: its shape, its rows, its unique keys.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) spec: TableSpec,
    pub(super) relation: Arc<Relation>,
    pub(super) rows: BTreeMap<u64, Vec<Value>>,
    pub(super) indexes: Vec<Index>,
    next_row: u64,
}

impl Table {
    pub(super) fn new(spec: TableSpec) -> Self {
        let relation = Arc::new(relation(&spec));
        let keys = std::iter::once(("primary key".into(), &spec.primary_key))
            .chain(spec.unique_keys.iter().map(|key| (key.name.clone(), &key.columns)));
        let places = |columns: &[Arc<str>]| columns.iter().filter_map(|name| relation.column(name)).collect();
        let indexes = keys
            .filter(|(_, columns)| !columns.is_empty())
            .map(|(name, columns)| Index { name, places: places(columns), entries: BTreeMap::new() })
            .collect();
        Self { relation: relation.clone(), rows: BTreeMap::new(), indexes, next_row: 0, spec }
    }

    /// The same table with another shape, and its rows as they are in that.
    pub(super) fn with(&self, spec: TableSpec, rows: BTreeMap<u64, Vec<Value>>) -> Self {
        let mut table = Self { next_row: self.next_row, ..Self::new(spec) };
        rows.into_iter().for_each(|(id, row)| drop(table.put(id, row)));
        table
    }

    pub(super) fn schema(&self) -> TableSchema {
        let spec = &self.spec;
        let all = || spec.columns.iter().map(|column| column.name.clone()).collect();
        TableSchema {
            table: spec.table.clone(),
            is_table: true,
            columns: spec.columns.clone(),
            primary_key: spec.primary_key.clone(),
            unique_keys: spec.unique_keys.clone(),
            deferrable_keys: Vec::new(),
            identity: if spec.whole_old_rows { all() } else { spec.primary_key.clone() },
            foreign_keys: spec.foreign_keys.iter().map(|(key, _)| key.clone()).collect(),
        }
    }

    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.relation.column(column)
    }

    /// The rows that have these values in these places, the oldest first.
    pub(super) fn find(&self, places: &[usize], values: &[Value]) -> Vec<u64> {
        if values.iter().any(Value::is_null) || places.len() != values.len() {
            return Vec::new();
        }
        for index in &self.indexes {
            let from = |place: &usize| places.iter().position(|p| p == place).and_then(|at| values.get(at));
            let key = index.places.iter().map(|place| from(place).cloned()).collect::<Option<Vec<_>>>();
            if let (Some(key), true) = (key, index.places.len() == places.len()) {
                return index.rows(&SortKey(key)).to_vec();
            }
        }
        let same =
            |row: &[Value]| places.iter().zip(values).all(|(place, value)| row.get(*place) == Some(value));
        self.rows.iter().filter(|(_, row)| same(row)).map(|(id, _)| *id).collect()
    }

    pub(super) fn new_row_id(&mut self) -> u64 {
        self.next_row += 1;
        self.next_row
    }

    /// Puts a row under its number, in place of what stood there, which is returned.
    pub(super) fn put(&mut self, id: u64, row: Vec<Value>) -> Option<Vec<Value>> {
        let before = self.rows.remove(&id);
        for index in &mut self.indexes {
            // A row whose key stays keeps its turn among those that clash with it.
            let stays = before.as_ref().is_some_and(|before| index.key(before) == index.key(&row));
            if !stays {
                if let Some(before) = &before {
                    index.remove(before, id);
                }
                index.add(&row, id);
            }
        }
        self.rows.insert(id, row);
        before
    }

    /// Takes a row out.
    pub(super) fn take(&mut self, id: u64) -> Option<Vec<Value>> {
        let row = self.rows.remove(&id)?;
        self.indexes.iter_mut().for_each(|index| index.remove(&row, id));
        Some(row)
    }

    /// The row as the log names it when it is the old one.
    pub(super) fn old_row(&self, row: &[Value]) -> Row {
        let named = self.relation.columns.iter().zip(row);
        Row(named.map(|(c, v)| if c.identity { Cell::Set(v.clone()) } else { Cell::Unchanged }).collect())
    }

    /// The row as the log names it after an update.
    pub(super) fn updated_row(&self, old: &[Value], new: &[Value]) -> Row {
        let cells = self.relation.columns.iter().zip(old.iter().zip(new));
        Row(cells
            .map(|(column, (old, new))| {
                let large = self.spec.large.contains(&column.name);
                if large && old == new { Cell::Unchanged } else { Cell::Set(new.clone()) }
            })
            .collect())
    }
}

fn relation(spec: &TableSpec) -> Relation {
    let column = |column: &ColumnSchema| RelationColumn {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        identity: spec.whole_old_rows || spec.primary_key.contains(&column.name),
    };
    Relation { table: spec.table.clone(), columns: spec.columns.iter().map(column).collect() }
}
