//! Queues as clients see them: exact figures, and the records themselves for who asks for them by name.

use super::image::halves;
use super::{Image, Unwritable, moment, value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value as Json};
use tandem_core::OpKind;
use tandem_engine::{FlowView, RecordInFull};

/// What is captured and not applied, exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStats {
    /// Changes.
    pub records: u64,
    /// Bytes that they take in the journal.
    pub bytes: u64,
    /// When the oldest was captured; null when there is none.
    pub oldest_at: Option<Timestamp>,
    /// Everything up to here is applied or set aside.
    pub applied_seq: u64,
    /// The last change that is durable in the journal.
    pub head_seq: u64,
}

/// A queued record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueuedRecord {
    /// Its number.
    pub seq: u64,
    /// The source transaction that it belongs to, as the source names it.
    pub transaction: String,
    /// `insert`, `update`, `delete` or `truncate`.
    pub op: String,
    /// Its integration key; null if the log does not say.
    pub key: Option<Vec<Json>>,
    /// Bytes that it takes in the journal.
    pub bytes: u32,
    /// When the source committed it, by the source's clock.
    pub committed_at: Timestamp,
    /// When it was captured, by ours.
    pub captured_at: Timestamp,
    /// The source's table.
    pub table: String,
    /// The record before, by column; columns that the log does not name are left out.
    pub old: Option<Object<String, Json>>,
    /// The record after, by column; large values that did not change are left out.
    pub new: Option<Object<String, Json>>,
}

/// A queued record, and what would be written if it were applied now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueuedRecordInFull {
    /// It.
    #[serde(flatten)]
    pub record: QueuedRecord,
    /// What would be written; null if nothing can be.
    pub image: Option<Image>,
    /// Why nothing can be written: the record would be set aside with this as its error.
    pub unwritable: Option<Unwritable>,
}

/// The name of what happened to a record.
pub(crate) fn name_of(op: OpKind) -> &'static str {
    match op {
        OpKind::Insert => "insert",
        OpKind::Update => "update",
        OpKind::Delete => "delete",
        OpKind::Truncate => "truncate",
    }
}

impl QueueStats {
    /// The figures of several flows together: sums, the oldest moment, the cursor that is furthest behind.
    pub(crate) fn of<'a>(flows: impl IntoIterator<Item = &'a FlowView>) -> Self {
        let mut stats: Option<Self> = None;
        for flow in flows {
            let one = Self {
                records: flow.queue.records,
                bytes: flow.queue.bytes,
                oldest_at: flow.queue.oldest_at.map(moment),
                applied_seq: flow.applied_seq.0,
                head_seq: flow.head_seq.0,
            };
            stats = Some(match stats {
                None => one,
                Some(sum) => Self {
                    records: sum.records.saturating_add(one.records),
                    bytes: sum.bytes.saturating_add(one.bytes),
                    oldest_at: sum.oldest_at.into_iter().chain(one.oldest_at).min(),
                    applied_seq: sum.applied_seq.min(one.applied_seq),
                    head_seq: sum.head_seq.max(one.head_seq),
                },
            });
        }
        stats.unwrap_or_default()
    }
}

impl From<tandem_engine::QueuedRecord> for QueuedRecord {
    fn from(record: tandem_engine::QueuedRecord) -> Self {
        Self {
            seq: record.seq.0,
            transaction: record.transaction.to_string(),
            op: name_of(record.op).to_owned(),
            key: record.key.map(|key| key.values().iter().map(value::json).collect()),
            bytes: record.bytes,
            committed_at: moment(record.committed_at),
            captured_at: moment(record.captured_at),
            table: record.relation.table.to_string(),
            old: record.old.map(|row| value::object(&record.relation, &row)),
            new: record.new.map(|row| value::object(&record.relation, &row)),
        }
    }
}

impl From<RecordInFull> for QueuedRecordInFull {
    fn from(found: RecordInFull) -> Self {
        let (image, unwritable) = halves(found.image);
        Self { record: found.record.into(), image, unwritable }
    }
}
