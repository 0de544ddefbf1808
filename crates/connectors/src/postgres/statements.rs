//! The SQL of writes: built once per table and form, prepared once per session, with every name quoted and every
//! value a parameter.
//!
//! Parameters are `text` or `text[]` and are cast to the column's type without its length or precision; the
//! length is then checked by the assignment. A cast to `varchar(3)` would cut silently where an assignment
//! refuses.

use super::error::fault;
use super::lookup::PreparedLookup;
use super::names::{quoted, shown};
use super::schema::{Destination, DestinationColumn};
use std::collections::HashMap;
use tandem_core::{Fault, FaultClass, Target};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

/// The form of a write. Lists of places name the target's columns that are set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Many at once, with an array for each column.
    Upserts,
    Deletes,
    /// Many upserts, of which only what differs is written. Answers how many were there, and how many were written.
    Copies,
    Patches(Vec<usize>),
    /// One, with a parameter for each column.
    Upsert,
    Delete,
    Patch(Vec<usize>),
    /// A key change; with all columns set it makes the record if there is none.
    Rekey(Vec<usize>),
}

/// A target as its database has it, and the statements prepared for it.
#[derive(Debug)]
pub(super) struct PreparedTarget {
    pub(super) destination: Destination,
    /// The target's columns, in its order.
    pub(super) columns: Vec<DestinationColumn>,
    /// The places of the key among them.
    pub(super) key: Vec<usize>,
    /// Columns whose values are looked up.
    lookups: Vec<PreparedLookup>,
    /// Some column would alter in silence what it cannot hold.
    pub(super) alters: bool,
    statements: HashMap<Form, Statement>,
}

/// Statements kept per target: sets of columns vary, and each is one on the server.
const STATEMENTS_MAX: usize = 64;

impl PreparedTarget {
    /// Binds the target's columns to the table by name.
    pub(super) fn bind(
        target: &Target,
        destination: Destination,
        lookups: Vec<PreparedLookup>,
    ) -> Result<Self, Fault> {
        const OPERATION: &str = "bind the map's columns";
        let mut columns = Vec::with_capacity(target.columns.len());
        for name in &target.columns {
            let Some(column) = destination.columns.iter().find(|column| column.name == **name) else {
                let message = format!("{} has no column {name}", target.table);
                return Err(Fault::new(FaultClass::Schema, OPERATION, message)
                    .code("42703")
                    .table(shown(&target.table)));
            };
            columns.push(column.clone());
        }
        let known = target.key.iter().all(|place| *place < columns.len());
        if target.key.is_empty() || !known {
            return Err(Fault::new(FaultClass::Internal, OPERATION, "the target has no key"));
        }
        let alters = columns.iter().any(|column| column.fit.is_some());
        let (key, statements) = (target.key.clone(), HashMap::new());
        Ok(Self { destination, columns, key, lookups, alters, statements })
    }

    /// Whether values of it are looked up, so that they cannot be sent as they are.
    pub(super) fn looks_up(&self) -> bool {
        !self.lookups.is_empty()
    }

    /// The value of the column at a place, which `text` has as text or as the key by which it is looked up.
    fn value(&self, place: usize, text: &str) -> String {
        let cast = self.columns.get(place).map_or("text", |column| &column.cast);
        match self.lookups.iter().find(|lookup| lookup.is_of(place)) {
            Some(lookup) => format!("{}::{cast}", lookup.sql(text)),
            None => format!("{text}::{cast}"),
        }
    }

    /// The statement of a form, prepared at its first use.
    pub(super) async fn statement(&mut self, client: &Client, form: &Form) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(form) {
            return Ok(statement.clone());
        }
        let (sql, types) = self.sql(form);
        let prepared = client.prepare_typed(&sql, &types).await;
        let statement = prepared
            .map_err(|error| fault("prepare a write", &error).table(self.destination.shown.clone()))?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(form.clone(), statement.clone());
        Ok(statement)
    }

    fn sql(&self, form: &Form) -> (String, Vec<Type>) {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let key = &self.key;
        let (sql, parameters, type_) = match form {
            Form::Upserts => (self.insert(&self.select_many(&all)), all.len(), Type::TEXT_ARRAY),
            Form::Copies => (self.copies(&all), all.len(), Type::TEXT_ARRAY),
            Form::Upsert => (self.insert(&self.select_one(&all, 1)), all.len(), Type::TEXT),
            Form::Deletes => {
                let rows = unnest("k", key.len(), 1);
                let table = &self.destination.sql;
                let sql = format!("DELETE FROM {table} AS d USING {rows} WHERE {}", self.is_key("k"));
                (sql, key.len(), Type::TEXT_ARRAY)
            }
            Form::Delete => {
                let sql =
                    format!("DELETE FROM {} AS d WHERE {}", self.destination.sql, self.is_key_parameters(1));
                (sql, key.len(), Type::TEXT)
            }
            Form::Patches(set) => {
                let rows = unnest("k", key.len() + set.len(), 1);
                let value = |nth: usize| format!("k.v{}", key.len() + nth);
                let table = &self.destination.sql;
                let set_sql = self.assignments(set, value);
                let sql = format!("UPDATE {table} AS d SET {set_sql} FROM {rows} WHERE {}", self.is_key("k"));
                (sql, key.len() + set.len(), Type::TEXT_ARRAY)
            }
            Form::Patch(set) => (self.update(set), key.len() + set.len(), Type::TEXT),
            Form::Rekey(set) if set.len() < all.len() => {
                (self.update(set), key.len() + set.len(), Type::TEXT)
            }
            Form::Rekey(set) => {
                let select = self.select_one(&all, key.len() + 1);
                let insert = self.insert(&format!("{select} WHERE NOT EXISTS (SELECT FROM moved)"));
                let sql = format!("WITH moved AS ({} RETURNING 1) {insert}", self.update(set));
                (sql, key.len() + set.len(), Type::TEXT)
            }
        };
        (sql, vec![type_; parameters])
    }

    /// `UPDATE` by key: the key's parameters first, then those of the columns that are set.
    fn update(&self, set: &[usize]) -> String {
        let first = self.key.len() + 1;
        let value = |nth: usize| format!("${}", first + nth);
        let assignments = self.assignments(set, value);
        format!("UPDATE {} AS d SET {assignments} WHERE {}", self.destination.sql, self.is_key_parameters(1))
    }

    /// See [`Form::Copies`]. All parts of a statement see the table as it was before it.
    fn copies(&self, all: &[usize]) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let casts = self.values(all, |nth| format!("r.v{nth}"));
        let rows = unnest("r", all.len(), 1);
        let table = &self.destination.sql;
        let key = self.key.iter().filter_map(|place| self.columns.get(*place));
        let same: Vec<_> = key.map(|column| format!("d.{0} = s.{0}", quoted(&column.name))).collect();
        let others = self.columns.iter().enumerate().filter(|(place, _)| !self.key.contains(place));
        let differs: Vec<_> = others.map(|(_, column)| column.differs("d", "excluded")).collect();
        let names = names.join(", ");
        let insert = self.insert(&format!("SELECT {names} FROM s"));
        // Without other columns there is nothing that could differ, and nothing is done to a record that is there.
        let only =
            if differs.is_empty() { String::new() } else { format!(" WHERE {}", differs.join(" OR ")) };
        format!(
            "WITH s({names}) AS MATERIALIZED (SELECT {} FROM {rows}),
                there AS (SELECT count(*) AS n FROM s JOIN {table} d ON {}),
                written AS ({insert}{only} RETURNING 1)
            SELECT (SELECT n FROM there), (SELECT count(*) FROM written)",
            casts,
            same.join(" AND "),
        )
    }

    /// Inserts what `select` brings; a record that is there gets all columns but its key.
    fn insert(&self, select: &str) -> String {
        let names = |places: &mut dyn Iterator<Item = usize>| {
            places.filter_map(|place| self.columns.get(place)).map(|c| quoted(&c.name)).collect::<Vec<_>>()
        };
        let all = names(&mut (0..self.columns.len())).join(", ");
        let key = names(&mut self.key.iter().copied()).join(", ");
        let others = (0..self.columns.len()).filter(|place| !self.key.contains(place));
        let others: Vec<_> =
            names(&mut others.into_iter()).iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let action = if others.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", others.join(", "))
        };
        // An identity column takes what we bring, as a copy must.
        let overriding =
            if self.columns.iter().any(|c| c.identity_always) { " OVERRIDING SYSTEM VALUE" } else { "" };
        let table = &self.destination.sql;
        format!("INSERT INTO {table} AS d ({all}){overriding} {select} ON CONFLICT ({key}) DO {action}")
    }

    fn select_many(&self, places: &[usize]) -> String {
        let values = self.values(places, |nth| format!("r.v{nth}"));
        format!("SELECT {values} FROM {}", unnest("r", places.len(), 1))
    }

    fn select_one(&self, places: &[usize], first: usize) -> String {
        format!("SELECT {}", self.values(places, |nth| format!("${}", first + nth)))
    }

    /// The values of columns, of which `text` has the n-th.
    fn values(&self, places: &[usize], text: impl Fn(usize) -> String) -> String {
        let values = places.iter().enumerate().map(|(nth, place)| self.value(*place, &text(nth)));
        values.collect::<Vec<_>>().join(", ")
    }

    fn assignments(&self, set: &[usize], text: impl Fn(usize) -> String) -> String {
        let assign = |(nth, place): (usize, &usize)| {
            let column = self.columns.get(*place)?;
            Some(format!("{} = {}", quoted(&column.name), self.value(*place, &text(nth))))
        };
        let set: Vec<_> = set.iter().enumerate().filter_map(assign).collect();
        if !set.is_empty() {
            return set.join(", ");
        }
        // Nothing to change, but the record must be there: touch it.
        let key = self.key.first().and_then(|place| self.columns.get(*place));
        key.map(|column| format!("{0} = d.{0}", quoted(&column.name))).unwrap_or_default()
    }

    fn is_key(&self, rows: &str) -> String {
        self.key_sql(|nth, cast| format!("{rows}.v{nth}::{cast}"))
    }

    fn is_key_parameters(&self, first: usize) -> String {
        self.key_sql(|nth, cast| format!("${}::{cast}", first + nth))
    }

    fn key_sql(&self, value: impl Fn(usize, &str) -> String) -> String {
        let columns = self.key.iter().filter_map(|place| self.columns.get(*place)).enumerate();
        let parts =
            columns.map(|(nth, column)| format!("d.{} = {}", quoted(&column.name), value(nth, &column.cast)));
        parts.collect::<Vec<_>>().join(" AND ")
    }
}

/// Arrays as rows: `unnest($1, $2) AS r(v0, v1)`.
fn unnest(alias: &str, columns: usize, first: usize) -> String {
    let parameters: Vec<_> = (0..columns).map(|nth| format!("${}::text[]", first + nth)).collect();
    let names: Vec<_> = (0..columns).map(|nth| format!("v{nth}")).collect();
    format!("unnest({}) AS {alias}({})", parameters.join(", "), names.join(", "))
}
