//! What a source says about its tables: relations in the log, and the schema as it stands now.

use crate::TableName;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A table as the log described it when a row was written. Rows name their columns only through it, so that
/// they can be bound by column *name* however long they were queued.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// The table.
    pub table: TableName,
    /// Its columns, in the order of a row's cells.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationColumn {
    /// Its name, exact case.
    pub name: Arc<str>,
    /// The source's name of its type, to be shown and to be compared; empty if unknown.
    pub type_name: Arc<str>,
    /// Whether old rows name it (it is part of the replica identity).
    pub identity: bool,
}

impl Relation {
    /// The place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }

    /// The places of several columns, or the first that is missing.
    pub fn places<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<usize>, &'a str> {
        names.into_iter().map(|name| self.column(name).ok_or(name)).collect()
    }
}

/// A table as it stands now, read from the database's catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// The table, with its schema filled in.
    pub table: TableName,
    /// Whether it is a table, and no view or anything else that no map can have: its connector's `check` says what it is.
    pub is_table: bool,
    /// Its columns.
    pub columns: Vec<ColumnSchema>,
    /// The primary key's columns; empty without one.
    pub primary_key: Vec<Arc<str>>,
    /// Unique keys and indexes other than the primary key, without partial and expression ones.
    pub unique_keys: Vec<UniqueKey>,
    /// The primary or unique keys that hold only when a transaction ends: none of them decides at once which row is meant.
    pub deferrable_keys: Vec<UniqueKey>,
    /// The columns that the log names in an old row; empty if old rows are not logged at all.
    pub identity: Vec<Arc<str>>,
    /// Foreign keys of this table.
    pub foreign_keys: Vec<ForeignKey>,
}

/// A unique key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The index's or constraint's name.
    pub name: Arc<str>,
    /// Its columns.
    pub columns: Vec<Arc<str>>,
}

/// A column as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSchema {
    /// Its name.
    pub name: Arc<str>,
    /// The database's name of its type.
    pub type_name: Arc<str>,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether an insert may leave it out.
    pub has_default: bool,
    /// Whether the database computes it, so that it can be neither captured nor written.
    pub generated: bool,
}

/// A foreign key: `columns` of the table that has it refer to `target_columns` of `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: Arc<str>,
    /// The referring columns.
    pub columns: Vec<Arc<str>>,
    /// The table that is referred to.
    pub target: TableName,
    /// The columns that are referred to.
    pub target_columns: Vec<Arc<str>>,
}

impl TableSchema {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|column| &*column.name == name)
    }

    /// Whether `columns` (in any order) are the primary key or a unique key, and no deferrable one: at any moment at most
    /// one row has them.
    pub fn is_unique(&self, columns: &[Arc<str>]) -> bool {
        let same = |key: &[Arc<str>]| is_same_set(key, columns);
        let unique = same(&self.primary_key) || self.unique_keys.iter().any(|key| same(&key.columns));
        unique && self.deferrable(columns).is_none()
    }

    /// The statement after which `columns` are a key of which [`TableSchema::is_unique`] holds, as every database takes it
    /// that we know.
    pub fn unique_sql(&self, columns: &[Arc<str>]) -> String {
        let name = &*self.table.name;
        let table = match &self.table.schema {
            Some(of) => format!("{}.{}", quoted(of), quoted(name)),
            None => quoted(name),
        };
        let names = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let Some(late) = self.deferrable(columns) else {
            // SQLite wants a name, of which the schema is no part.
            let index = quoted(&format!("{name}_{}_key", columns.join("_")));
            return format!("CREATE UNIQUE INDEX {index} ON {} ({names});", table);
        };
        let kind = if late.columns == self.primary_key { "PRIMARY KEY" } else { "UNIQUE" };
        let late = quoted(&late.name);
        format!("ALTER TABLE {table} DROP CONSTRAINT {late}, ADD CONSTRAINT {late} {kind} ({names});")
    }

    /// The deferrable key of `columns` (in any order). An upsert by them is refused for its sake, whatever other key they
    /// have.
    pub fn deferrable(&self, columns: &[Arc<str>]) -> Option<&UniqueKey> {
        self.deferrable_keys.iter().find(|key| is_same_set(&key.columns, columns))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_same_set(key: &[Arc<str>], columns: &[Arc<str>]) -> bool {
    !key.is_empty() && key.len() == columns.len() && key.iter().all(|part| columns.contains(part))
}
