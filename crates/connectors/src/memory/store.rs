//! The records of the memory app, and transactions over them: everything can be undone, back to any savepoint.
//!
//! Constraints are those that make real destinations refuse a history: not null, unique, foreign keys. Unique
//! keys are checked with each write or when the transaction ends, as the plan wants it; a foreign key with each
//! write, or at the end if it is deferred.

use super::alter::fitted;
use super::table::{Table, TableSpec};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::{Change, Fault, FaultClass, Op, Row, TableName, Value};

/// All tables of an app.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) tables: BTreeMap<TableName, Table>,
}

/// A transaction at work: what it did, how to undo it, and what is still to be checked.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) undo: Vec<Undo>,
    pub(super) changes: Vec<Change>,
    pending: Vec<Pending>,
    /// The write that is being done: what a failed check at the end is blamed on.
    pub(super) write: usize,
    /// Whether unique keys are checked only at the end.
    pub(super) unique_at_end: bool,
}

/// How one write is taken back.
#[derive(Debug)]
pub(super) enum Undo {
    Inserted(TableName, u64),
    Replaced(TableName, u64, Vec<Value>),
    Removed(TableName, u64, Vec<Value>),
}

/// A check that was put off.
#[derive(Debug)]
struct Pending {
    write: usize,
    table: TableName,
    check: Check,
}

#[derive(Debug)]
enum Check {
    /// No two rows share the unique keys of this row.
    Unique(u64),
    /// The row of this number refers to rows that are there, by its deferred foreign keys.
    Refers(u64),
    /// Nothing refers to these values any more, unless a row has them again.
    Referred(Vec<Value>),
}

/// A place in a transaction to which it can be taken back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Savepoint {
    undo: usize,
    changes: usize,
    pending: usize,
}

impl Work {
    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint { undo: self.undo.len(), changes: self.changes.len(), pending: self.pending.len() }
    }
}

fn refused(code: &str, table: &TableName, message: String) -> Fault {
    let class = if code == "foreign_key" { FaultClass::Reference } else { FaultClass::Application };
    Fault::new(class, "write record", message).code(code).table(table.to_string())
}

fn values_at(row: &[Value], places: &[usize]) -> Vec<Value> {
    places.iter().filter_map(|place| row.get(*place).cloned()).collect()
}

impl Store {
    pub(super) fn create(&mut self, spec: TableSpec) {
        self.tables.insert(spec.table.clone(), Table::new(spec));
    }

    pub(super) fn table(&self, name: &TableName) -> Result<&Table, Fault> {
        self.tables.get(name).ok_or_else(|| missing(name))
    }

    fn table_mut(&mut self, name: &TableName) -> Result<&mut Table, Fault> {
        self.tables.get_mut(name).ok_or_else(|| missing(name))
    }

    pub(super) fn insert(&mut self, work: &mut Work, name: &TableName, row: Vec<Value>) -> Result<(), Fault> {
        let table = self.table_mut(name)?;
        let row = shaped(table, row)?;
        let id = table.new_row_id();
        let op = Op::Insert { new: Row::of(row.iter().cloned()) };
        work.changes.push(Change { relation: table.relation.clone(), op });
        table.put(id, row);
        work.undo.push(Undo::Inserted(name.clone(), id));
        self.check_row(work, name, id)
    }

    pub(super) fn update(
        &mut self,
        work: &mut Work,
        name: &TableName,
        id: u64,
        row: Vec<Value>,
    ) -> Result<(), Fault> {
        let table = self.table_mut(name)?;
        let row = shaped(table, row)?;
        let Some(before) = table.put(id, row.clone()) else { return Ok(()) };
        let identity_changed = table
            .relation
            .columns
            .iter()
            .zip(before.iter().zip(&row))
            .any(|(column, (old, new))| column.identity && old != new);
        let names_old = table.spec.whole_old_rows || identity_changed;
        let op = Op::Update {
            old: names_old.then(|| table.old_row(&before)),
            new: table.updated_row(&before, &row),
        };
        work.changes.push(Change { relation: table.relation.clone(), op });
        work.undo.push(Undo::Replaced(name.clone(), id, before.clone()));
        self.check_row(work, name, id)?;
        if before == row { Ok(()) } else { self.check_parent(work, name, before) }
    }

    pub(super) fn delete(&mut self, work: &mut Work, name: &TableName, id: u64) -> Result<(), Fault> {
        let table = self.table_mut(name)?;
        let Some(row) = table.take(id) else { return Ok(()) };
        work.changes
            .push(Change { relation: table.relation.clone(), op: Op::Delete { old: table.old_row(&row) } });
        work.undo.push(Undo::Removed(name.clone(), id, row.clone()));
        self.check_parent(work, name, row)
    }

    pub(super) fn truncate(&mut self, work: &mut Work, name: &TableName) -> Result<(), Fault> {
        let table = self.table_mut(name)?;
        for id in table.rows.keys().copied().collect::<Vec<_>>() {
            if let Some(row) = table.take(id) {
                work.undo.push(Undo::Removed(name.clone(), id, row));
            }
        }
        work.changes.push(Change { relation: table.relation.clone(), op: Op::Truncate });
        Ok(())
    }

    /// Takes the transaction back to a savepoint.
    pub(super) fn rollback(&mut self, work: &mut Work, to: Savepoint) {
        while work.undo.len() > to.undo {
            if let Some(undo) = work.undo.pop() {
                self.take_back(undo);
            }
        }
        work.changes.truncate(to.changes);
        work.pending.truncate(to.pending);
    }

    pub(super) fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Inserted(name, id) => {
                self.tables.get_mut(&name).and_then(|table| table.take(id));
            }
            Undo::Replaced(name, id, row) | Undo::Removed(name, id, row) => {
                self.tables.get_mut(&name).and_then(|table| table.put(id, row));
            }
        }
    }

    /// Does the checks that were put off. The first that fails is returned with the write that it is blamed on.
    pub(super) fn check_pending(&mut self, work: &mut Work) -> Result<(), (usize, Fault)> {
        for pending in std::mem::take(&mut work.pending) {
            let Ok(table) = self.table(&pending.table) else { continue };
            let done = match &pending.check {
                Check::Unique(id) => unique(table, *id),
                Check::Refers(id) => self.refers(table, *id, true),
                Check::Referred(row) => self.not_referred(table, row, true),
            };
            done.map_err(|fault| (pending.write, fault))?;
        }
        Ok(())
    }

    fn check_row(&self, work: &mut Work, name: &TableName, id: u64) -> Result<(), Fault> {
        let table = self.table(name)?;
        let put_off = |check| Pending { write: work.write, table: name.clone(), check };
        let mut pending = Vec::new();
        if work.unique_at_end {
            // A row that clashes with none now is checked by the one that clashes with it later.
            if unique(table, id).is_err() {
                pending.push(put_off(Check::Unique(id)));
            }
        } else {
            unique(table, id)?;
        }
        self.refers(table, id, false)?;
        if table.spec.foreign_keys.iter().any(|(_, deferred)| *deferred) {
            pending.push(put_off(Check::Refers(id)));
        }
        work.pending.extend(pending);
        Ok(())
    }

    fn check_parent(&self, work: &mut Work, name: &TableName, before: Vec<Value>) -> Result<(), Fault> {
        let table = self.table(name)?;
        self.not_referred(table, &before, false)?;
        let referring =
            |child: &Table| child.spec.foreign_keys.iter().any(|(key, d)| *d && key.target == *name);
        if !self.tables.values().any(referring) {
            return Ok(());
        }
        work.pending.push(Pending { write: work.write, table: name.clone(), check: Check::Referred(before) });
        Ok(())
    }

    fn refers(&self, table: &Table, id: u64, deferred: bool) -> Result<(), Fault> {
        let Some(row) = table.rows.get(&id) else { return Ok(()) };
        for (key, _) in table.spec.foreign_keys.iter().filter(|(_, is_deferred)| *is_deferred == deferred) {
            let values = values_at(row, &places(table, &key.columns));
            if values.iter().any(Value::is_null) {
                continue;
            }
            let parent = self.table(&key.target)?;
            if parent.find(&places(parent, &key.target_columns), &values).is_empty() {
                let message = format!("foreign key {} of {} has no target", key.name, table.spec.table);
                return Err(refused("foreign_key", &table.spec.table, message));
            }
        }
        Ok(())
    }

    fn not_referred(&self, parent: &Table, row: &[Value], deferred: bool) -> Result<(), Fault> {
        for child in self.tables.values() {
            for (key, is_deferred) in &child.spec.foreign_keys {
                if key.target != parent.spec.table || *is_deferred != deferred {
                    continue;
                }
                let target = places(parent, &key.target_columns);
                let values = values_at(row, &target);
                let referring = child.find(&places(child, &key.columns), &values);
                if !referring.is_empty() && parent.find(&target, &values).is_empty() {
                    let message = format!("{} still refers to it by {}", child.spec.table, key.name);
                    return Err(refused("foreign_key", &parent.spec.table, message));
                }
            }
        }
        Ok(())
    }
}

fn places(table: &Table, columns: &[Arc<str>]) -> Vec<usize> {
    columns.iter().filter_map(|name| table.place(name)).collect()
}

fn missing(name: &TableName) -> Fault {
    Fault::new(FaultClass::Schema, "find table", format!("table {name} is not there"))
        .code("table_missing")
        .table(name.to_string())
}

/// A row as the table keeps it, if it takes it.
fn shaped(table: &Table, row: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let name = &table.spec.table;
    if row.len() != table.spec.columns.len() {
        return Err(refused("row_shape", name, format!("a row of {name} has another number of columns")));
    }
    let columns = || table.spec.columns.iter().zip(&row);
    if let Some((column, _)) = columns().find(|(column, value)| !column.nullable && value.is_null()) {
        return Err(refused("not_null", name, format!("column {} of {name} must not be null", column.name)));
    }
    let fitted = columns().map(|(column, value)| {
        let message = || format!("column {} of {name} does not take the value", column.name);
        fitted(&column.type_name, value).ok_or_else(|| refused("invalid_value", name, message()))
    });
    fitted.collect()
}

fn unique(table: &Table, id: u64) -> Result<(), Fault> {
    let Some(row) = table.rows.get(&id) else { return Ok(()) };
    let clash =
        table.indexes.iter().find(|index| index.key(row).is_some_and(|key| index.rows(&key).len() > 1));
    match clash {
        Some(index) => {
            let message = format!("another record of {} has this {}", table.spec.table, index.name);
            Err(refused("unique", &table.spec.table, message))
        }
        None => Ok(()),
    }
}
