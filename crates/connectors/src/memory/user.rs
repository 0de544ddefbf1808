//! What the app's own users do: transactions, also ones that stay open for a while.

use super::guard::{Wish, allow};
use super::store::{Store, Work};
use super::{MemoryApp, World};
use tandem_core::{Fault, Position, TableName, Value};

/// A transaction of a user. Nothing of it is seen before it commits.
#[must_use = "a transaction that is dropped is rolled back"]
#[derive(Debug)]
pub struct UserTransaction {
    app: MemoryApp,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Insert(TableName, Vec<Value>),
    Update(TableName, Vec<Value>, Vec<(String, Value)>),
    Delete(TableName, Vec<Value>),
    Truncate(TableName),
}

impl MemoryApp {
    /// Does a transaction of a user at once. Users need no connection of ours: this works while the app is down
    /// for us.
    pub fn transaction(&self, steps: impl FnOnce(&mut UserTransaction)) -> Result<Position, Fault> {
        let mut transaction = self.begin();
        steps(&mut transaction);
        transaction.commit()
    }

    /// Opens a transaction of a user, to be committed later.
    pub fn begin(&self) -> UserTransaction {
        UserTransaction { app: self.clone(), steps: Vec::new() }
    }
}

impl UserTransaction {
    /// Inserts a row: one value for each of the table's columns.
    pub fn insert(&mut self, table: &TableName, row: Vec<Value>) {
        self.steps.push(Step::Insert(table.clone(), row));
    }

    /// Sets columns of the row with this primary key, if there is one.
    pub fn update(&mut self, table: &TableName, key: Vec<Value>, set: Vec<(&str, Value)>) {
        let set = set.into_iter().map(|(column, value)| (column.to_owned(), value)).collect();
        self.steps.push(Step::Update(table.clone(), key, set));
    }

    /// Deletes the row with this primary key, if there is one.
    pub fn delete(&mut self, table: &TableName, key: Vec<Value>) {
        self.steps.push(Step::Delete(table.clone(), key));
    }

    /// Removes all rows at once.
    pub fn truncate(&mut self, table: &TableName) {
        self.steps.push(Step::Truncate(table.clone()));
    }

    /// Rolls back.
    pub fn rollback(self) {}

    /// Commits, and returns where the log then ends; or nothing took effect. Unique keys are checked here, as a
    /// statement over many rows would check them at its end.
    pub fn commit(self) -> Result<Position, Fault> {
        let mut guard = self.app.world();
        let world = &mut *guard;
        let mut work = Work::default();
        work.unique_at_end = true;
        let start = work.savepoint();
        let done = self.steps.into_iter().try_for_each(|step| do_step(world, &mut work, step));
        let done = done.and_then(|()| world.store.check_pending(&mut work).map_err(|(_, fault)| fault));
        if let Err(fault) = done {
            world.store.rollback(&mut work, start);
            return Err(fault);
        }
        let number = guard.commit(work, None, None);
        Ok(guard.log.position(number))
    }
}

fn do_step(world: &mut World, work: &mut Work, step: Step) -> Result<(), Fault> {
    let by_key = |store: &Store, table: &TableName, key: &[Value]| {
        let table = store.table(table)?;
        let places: Vec<_> = table.spec.primary_key.iter().filter_map(|name| table.place(name)).collect();
        Ok(table.find(&places, key).first().copied())
    };
    match step {
        Step::Insert(table, row) => {
            allow(world, &table, Wish::Insert(&row))?;
            world.store.insert(work, &table, row)
        }
        Step::Truncate(table) => {
            allow(world, &table, Wish::Truncate)?;
            world.store.truncate(work, &table)
        }
        Step::Delete(name, key) => {
            let Some(id) = by_key(&world.store, &name, &key)? else { return Ok(()) };
            let row = world.store.table(&name)?.rows.get(&id).cloned().unwrap_or_default();
            allow(world, &name, Wish::Delete(&row))?;
            world.store.delete(work, &name, id)
        }
        Step::Update(name, key, set) => {
            let Some(id) = by_key(&world.store, &name, &key)? else { return Ok(()) };
            let table = world.store.table(&name)?;
            let before = table.rows.get(&id).cloned().unwrap_or_default();
            let mut row = before.clone();
            for (column, value) in set {
                if let Some(cell) = table.place(&column).and_then(|place| row.get_mut(place)) {
                    *cell = value;
                }
            }
            allow(world, &name, Wish::Update(&before, &row))?;
            world.store.update(work, &name, id, row)
        }
    }
}
