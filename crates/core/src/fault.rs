//! What went wrong with an app, classed where the driver is known.
//!
//! The class decides what happens next and nothing else does: the engine has one table from class to action.
//! A message is for people and never holds a record's values or a secret.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// The app cannot be reached, or the connection broke. Retried for ever.
    Connection,
    /// The app is there and cannot serve now: starting, stopping, out of connections or disk. Retried.
    Unavailable,
    /// The app asks us to slow down. Retried.
    Throttled,
    /// Another transaction was in the way: deadlock, serialization, lock timeout. Retried.
    Conflict,
    /// The app refuses who we are. Retried slowly, and shown: a person must act.
    Auth,
    /// A right is missing. Stalls the flow it names, and shown: a person must act.
    Permission,
    /// A table or column is missing or has another shape. Stalls the flow it names.
    Schema,
    /// The app refuses this record: constraint, type, trigger. The record may be set aside.
    Application,
    /// The app refuses this record because of another one: a foreign key. If the other record belongs to a map
    /// that is behind, waiting mends it; else it is like `Application`.
    Reference,
    /// The source no longer has what comes after our position, or is not the source it was. Never passed over.
    Gap,
    /// Another engine is at work on the same app or data folder, or a mark is not where we left it.
    Fenced,
    /// The app is set up in a way that cannot work (`wal_level`, replica identity, journal mode).
    Setup,
    /// Something that must not happen: a protocol we do not understand. Stops, and is shown.
    Internal,
}

impl FaultClass {
    /// Every one of them.
    pub const ALL: [FaultClass; 13] = [
        FaultClass::Connection,
        FaultClass::Unavailable,
        FaultClass::Throttled,
        FaultClass::Conflict,
        FaultClass::Auth,
        FaultClass::Permission,
        FaultClass::Schema,
        FaultClass::Application,
        FaultClass::Reference,
        FaultClass::Gap,
        FaultClass::Fenced,
        FaultClass::Setup,
        FaultClass::Internal,
    ];

    /// Whether waiting may mend it. A transient fault never becomes an error of a record.
    pub fn is_transient(self) -> bool {
        match self {
            FaultClass::Connection
            | FaultClass::Unavailable
            | FaultClass::Throttled
            | FaultClass::Conflict
            | FaultClass::Auth
            | FaultClass::Permission
            | FaultClass::Schema => true,
            FaultClass::Application
            | FaultClass::Reference
            | FaultClass::Gap
            | FaultClass::Fenced
            | FaultClass::Setup
            | FaultClass::Internal => false,
        }
    }

    /// Whether the app speaks of the record, which may be set aside for it.
    pub fn is_about_record(self) -> bool {
        matches!(self, FaultClass::Application | FaultClass::Reference)
    }

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            FaultClass::Connection => "connection",
            FaultClass::Unavailable => "unavailable",
            FaultClass::Throttled => "throttled",
            FaultClass::Conflict => "conflict",
            FaultClass::Auth => "auth",
            FaultClass::Permission => "permission",
            FaultClass::Schema => "schema",
            FaultClass::Application => "application",
            FaultClass::Reference => "reference",
            FaultClass::Gap => "gap",
            FaultClass::Fenced => "fenced",
            FaultClass::Setup => "setup",
            FaultClass::Internal => "internal",
        }
    }

    /// Whether it says that the connection itself is of no more use.
    pub fn breaks_connection(self) -> bool {
        matches!(
            self,
            FaultClass::Connection | FaultClass::Unavailable | FaultClass::Auth | FaultClass::Fenced
        )
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Trouble with an app: class, what we were doing, what the app said, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{operation}: {message}")]
pub struct Fault {
    /// What kind of trouble.
    pub class: FaultClass,
    /// What we were doing: a verb and its object, such as *open replication stream*.
    pub operation: String,
    /// What the app said, without values of records.
    pub message: String,
    /// The app's own code: SQLSTATE, HTTP status, SQLite result code.
    pub code: Option<String>,
    /// The table it names, if it names one.
    pub table: Option<String>,
    /// What a person can do about it: a command or the exact SQL.
    pub fix: Option<String>,
}

impl Fault {
    /// A fault of a class, with what we were doing and what the app said.
    pub fn new(class: FaultClass, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            operation: operation.into(),
            message: message.into(),
            code: None,
            table: None,
            fix: None,
        }
    }

    /// Adds the app's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Adds the table that it names.
    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
