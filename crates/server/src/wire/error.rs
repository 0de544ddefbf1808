//! Records that were set aside, as clients see them.

use super::image::halves;
use super::queue::name_of;
use super::{Image, Unwritable, moment, value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};
use std::num::NonZeroU32;
use tandem_engine::{Cause, ErrorInFull, SetAside};

/// A record that was set aside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordError {
    /// What names it: a number, or two for a record of a preserved queue that nothing has become of yet.
    pub id: String,
    /// The map.
    pub map: String,
    /// Which of the map's flows, by its number; one whose queue was skipped is no longer among them.
    pub flow: u32,
    /// `open`, `waiting` (behind an older error of the same record), `retrying`, `completed`, `superseded` (by a later
    /// change of the same record) or `deleted`.
    pub status: String,
    /// Which later change has superseded it.
    pub superseded_by: Option<u64>,
    /// Which change, by its number in the journal.
    pub seq: u64,
    /// The source transaction that it belongs to, as the source names it; empty if it has no name.
    pub transaction: String,
    /// `insert`, `update`, `delete` or `truncate`. Null, like all that follows about the change, for what was noted by
    /// a version that did not keep it.
    pub op: Option<String>,
    /// Its integration key; null if the log does not say.
    pub key: Option<Vec<Json>>,
    /// What kind of trouble, such as `application` or `reference`.
    pub class: String,
    /// The destination's own code: SQLSTATE, SQLite result code, HTTP status; or ours for what cannot be written.
    pub code: Option<String>,
    /// What we were doing.
    pub operation: String,
    /// What the destination said.
    pub message: String,
    /// What a person can do about it, where that is known.
    pub fix: Option<String>,
    /// How often it was refused where it alone was to blame.
    pub attempts: u32,
    /// When it was refused first.
    pub first_at: Timestamp,
    /// When it was refused last.
    pub last_at: Timestamp,
    /// When the source committed it, by the source's clock.
    pub committed_at: Option<Timestamp>,
    /// The source's table.
    pub table: Option<String>,
    /// The record before, by column; columns that the log does not name are left out.
    pub old: Option<Object<String, Json>>,
    /// The record after, by column; large values that did not change are left out.
    pub new: Option<Object<String, Json>>,
}

/// A record that was set aside, and what would be written if it were tried now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordErrorInFull {
    /// It.
    #[serde(flatten)]
    pub error: RecordError,
    /// What would be written, as the map stands now. Null if nothing can be, or the map is stopped.
    pub image: Option<Image>,
    /// Why nothing can be written.
    pub unwritable: Option<Unwritable>,
}

/// Errors of a map that have the same cause, as far as class and code tell.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorCause {
    /// The map.
    pub map: String,
    /// What kind of trouble.
    pub class: String,
    /// The destination's own code, or ours.
    pub code: Option<String>,
    /// What was said last.
    pub message: String,
    /// How many errors.
    pub errors: u64,
    /// One of them, the first.
    pub first: String,
    /// When the first one was refused first.
    pub first_at: Timestamp,
    /// When one was refused last.
    pub last_at: Timestamp,
}

/// The body of `POST /maps/{map}/errors/retry` and `…/delete`: which errors, by their ids or by everything else that
/// is given, or all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorsRequest {
    /// All errors of the map, the queues that were preserved included.
    pub all: bool,
    /// These.
    pub ids: Vec<String>,
    /// Those of this class.
    pub class: Option<String>,
    /// Those of the record with this integration key; several columns as `a|b` or as a JSON list.
    pub key: Option<String>,
    /// Those of this source transaction, as the source names it.
    pub transaction: Option<String>,
    /// `retry`: write the records as they are in the source now, instead of the changes that were set aside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// `retry` of the changes that were set aside: at most so many a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
    /// How many errors were seen: if it is another number now, nothing is done.
    pub expected: Option<u64>,
    /// Why, in the words of who asks.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// The body of `POST /maps/{map}/errors/cancel`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CancelRequest {
    /// Why, in the words of who asks.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// Whom the caller acts for: the activity log has the token's name and this behind it.
    #[schemars(length(max = 1000))]
    pub actor: Option<String>,
}

/// What an accepted request about errors is about. A retry goes on after it: the map shows how it stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorsTaken {
    /// Its number in the activity log.
    pub id: u64,
    /// The map.
    pub map: String,
    /// How many errors.
    pub errors: u64,
}

impl From<Cause> for ErrorCause {
    fn from(cause: Cause) -> Self {
        Self {
            map: cause.map.to_string(),
            class: cause.class.to_string(),
            code: cause.code,
            message: cause.message,
            errors: cause.errors,
            first: cause.first.to_string(),
            first_at: moment(cause.first_at),
            last_at: moment(cause.last_at),
        }
    }
}

impl From<SetAside> for RecordError {
    fn from(error: SetAside) -> Self {
        let kept = error.kept.as_ref();
        let op = kept.map(|kept| &kept.change.op);
        let relation = kept.map(|kept| &kept.change.relation);
        let key = kept.and_then(|kept| kept.key.as_ref());
        let row = |row: Option<&tandem_core::Row>| Some(value::object(relation?, row?));
        Self {
            id: error.name().to_string(),
            map: error.map.to_string(),
            flow: error.flow.0,
            status: error.status.name().to_owned(),
            superseded_by: error.by.map(|(_, seq)| seq.0),
            seq: error.seq.0,
            transaction: error.transaction_name.clone(),
            op: op.map(|op| name_of(op.kind()).to_owned()),
            key: key.map(|key| key.values().iter().map(value::json).collect()),
            attempts: error.attempts,
            first_at: moment(error.first_at),
            last_at: moment(error.last_at),
            committed_at: kept.map(|kept| moment(kept.committed_at)),
            table: relation.map(|relation| relation.table.to_string()),
            old: row(op.and_then(tandem_core::Op::old_row)),
            new: row(op.and_then(tandem_core::Op::new_row)),
            class: error.fault.class.to_string(),
            code: error.fault.code,
            operation: error.fault.operation,
            message: error.fault.message,
            fix: error.fault.fix,
        }
    }
}

impl From<ErrorInFull> for RecordErrorInFull {
    fn from(found: ErrorInFull) -> Self {
        let (image, unwritable) = found.image.map_or((None, None), halves);
        Self { error: found.error.into(), image, unwritable }
    }
}
