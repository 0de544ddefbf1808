//! Tables that change their shape while they are in use, as `ALTER TABLE` does it.
//!
//! The rows are changed at once and the log says nothing of it: the next change of the table names the new relation, and
//! what was logged before keeps the one that it was logged with. So a reader meets a new shape with the first row of it
//! and not a moment before, as it does in a real log.
//!
//! A column has a type only if it was given one, and takes what can be one of its values, as a real app casts what is
//! written to it.

use super::MemoryApp;
use super::table::Table;
use std::sync::Arc;
use tandem_core::{ColumnSchema, Fault, FaultClass, TableName, Value};

/// A change of a table's shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Alter {
    /// A new column at the end, which may be null; rows that are there get the value.
    Add {
        /// Its name.
        column: String,
        /// Its type; see [`TableSpec::typed`](super::TableSpec::typed).
        type_name: String,
        /// What rows that are there have in it.
        value: Value,
    },
    /// A column goes, with its values. It may be part of no key.
    Drop(String),
    /// A column gets another name, also where keys name it.
    Rename {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
    /// A column gets another type, which must take every value that is there.
    Retype {
        /// The column.
        column: String,
        /// Its new type.
        type_name: String,
    },
}

/// A value as a column of this type keeps it; `None` if it does not take it.
pub(super) fn fitted(type_name: &str, value: &Value) -> Option<Value> {
    match (type_name, value) {
        ("int", Value::Text(text)) => text.parse().ok().map(Value::Int),
        ("int", Value::Int(_) | Value::Null) => Some(value.clone()),
        ("int", _) => None,
        ("text", Value::Int(number)) => Some(Value::from(number.to_string().as_str())),
        _ => Some(value.clone()),
    }
}

impl MemoryApp {
    /// Changes the shape of a table, or leaves it as it is and says why. Users need no connection of ours for it. What
    /// was committed before cannot be [stepped back](MemoryApp::step_back) over.
    pub fn alter_table(&self, name: &TableName, alter: Alter) -> Result<(), Fault> {
        let mut guard = self.world();
        let world = &mut *guard;
        let altered = altered(world.store.table(name)?, &alter)?;
        world.store.tables.insert(name.clone(), altered);
        if let Alter::Rename { from, to } = &alter {
            for other in world.store.tables.values_mut() {
                let keys = other.spec.foreign_keys.iter_mut().map(|(key, _)| key);
                keys.filter(|key| key.target == *name)
                    .for_each(|key| rename(&mut key.target_columns, from, to));
            }
        }
        world.commits.clear();
        Ok(())
    }
}

fn refused(name: &TableName, code: &str, message: &str) -> Fault {
    Fault::new(FaultClass::Application, "alter table", format!("{message} in {name}")).code(code)
}

fn rename(columns: &mut [Arc<str>], from: &str, to: &str) {
    columns.iter_mut().filter(|column| ***column == *from).for_each(|column| *column = to.into());
}

/// The table as it is then.
fn altered(table: &Table, alter: &Alter) -> Result<Table, Fault> {
    let mut spec = table.spec.clone();
    let name = spec.table.clone();
    let (Alter::Add { column, .. }
    | Alter::Drop(column)
    | Alter::Rename { from: column, .. }
    | Alter::Retype { column, .. }) = alter;
    let place = table.place(column);
    let found = || place.ok_or_else(|| refused(&name, "column_missing", "the column is not there"));
    let taken = || refused(&name, "column_exists", "a column of that name is there");
    let mut rows = table.rows.clone();
    match alter {
        Alter::Add { column, type_name, value } => {
            if place.is_some() {
                return Err(taken());
            }
            spec.columns.push(ColumnSchema {
                name: column.as_str().into(),
                type_name: type_name.as_str().into(),
                nullable: true,
                has_default: false,
                generated: false,
            });
            rows.values_mut().for_each(|row| row.push(value.clone()));
        }
        Alter::Drop(column) => {
            let place = found()?;
            let uniques = spec.unique_keys.iter().map(|key| &key.columns);
            let referring = spec.foreign_keys.iter().map(|(key, _)| &key.columns);
            let mut keys = uniques.chain(referring).chain([&spec.primary_key]);
            if keys.any(|columns| columns.iter().any(|other| **other == **column)) {
                return Err(refused(&name, "column_in_key", "a key needs the column"));
            }
            spec.columns.remove(place);
            spec.large.retain(|other| **other != **column);
            rows.values_mut().for_each(|row| drop(row.remove(place)));
        }
        Alter::Rename { from, to } => {
            found()?;
            if table.place(to).is_some() {
                return Err(taken());
            }
            for known in spec.columns.iter_mut().filter(|known| *known.name == **from) {
                known.name = to.as_str().into();
            }
            rename(&mut spec.primary_key, from, to);
            rename(&mut spec.large, from, to);
            spec.unique_keys.iter_mut().for_each(|key| rename(&mut key.columns, from, to));
            spec.foreign_keys.iter_mut().for_each(|(key, _)| rename(&mut key.columns, from, to));
        }
        Alter::Retype { column, type_name } => {
            let place = found()?;
            for known in spec.columns.iter_mut().filter(|known| *known.name == **column) {
                known.type_name = type_name.as_str().into();
            }
            for cell in rows.values_mut().filter_map(|row| row.get_mut(place)) {
                let fitted = fitted(type_name, cell);
                *cell = fitted.ok_or_else(|| refused(&name, "invalid_value", "a value does not fit"))?;
            }
        }
    }
    Ok(table.with(spec, rows))
}
