//! Values that are looked up as they are written: a sub-select in place of the parameter.
//!
//! It is part of the statement that writes, so it sees what the same transaction has written before, and costs no round
//! trip. A record that is not there must refuse the write, and SQL has no word for that where nothing of ours may be
//! installed: so a text that is no number is read as one. The text says who it was, and becomes a fault of its own
//! ([`refused`]). It hangs on `random()`, or the planner would read it before it is known whether it is needed.

use super::names::{quoted, shown};
use super::schema::Destination;
use tandem_core::{Fault, FaultClass, Lookup, Target};

/// How the text begins that is no number.
const MARK: &str = "tandem: nothing is there for column ";

/// A lookup as its table has it.
#[derive(Debug)]
pub(super) struct PreparedLookup {
    place: usize,
    table: String,
    key: String,
    key_cast: String,
    column: String,
}

impl PreparedLookup {
    /// Binds a lookup of the column at `place` to its table.
    pub(super) fn bind(place: usize, lookup: &Lookup, table: &Destination) -> Result<Self, Fault> {
        let column = |name: &str| {
            table.columns.iter().find(|column| column.name == name).ok_or_else(|| {
                let message = format!("{} has no column {name}, by which values are looked up", lookup.table);
                Fault::new(FaultClass::Schema, "bind the map's columns", message)
                    .code("42703")
                    .table(table.shown.clone())
            })
        };
        column(&lookup.column)?;
        Ok(Self {
            place,
            table: table.sql.clone(),
            key: quoted(&lookup.key),
            key_cast: column(&lookup.key)?.cast.clone(),
            column: quoted(&lookup.column),
        })
    }

    /// Whether it is that of a column.
    pub(super) fn is_of(&self, place: usize) -> bool {
        self.place == place
    }

    /// What is written for the key in `text`, as text.
    pub(super) fn sql(&self, text: &str) -> String {
        let Self { place, table, key, key_cast, column } = self;
        format!(
            "(CASE WHEN {text} IS NOT NULL THEN coalesce(
                (SELECT l.{column}::text FROM {table} AS l WHERE l.{key} = {text}::{key_cast}),
                ('{MARK}{place};' || left({text}, (random() * 0)::int))::int::text) END)"
        )
    }
}

/// The fault of a write whose lookup found nothing, if an error of the server is that.
pub(super) fn refused(target: &Target, error: &tokio_postgres::Error) -> Option<Fault> {
    let error = error.as_db_error().filter(|error| error.code().code() == "22P02")?;
    let (_, said) = error.message().split_once(MARK)?;
    let place: usize = said.split(';').next()?.parse().ok()?;
    Some(target.lookup(place)?.missing(target, place).table(shown(&target.table)))
}
