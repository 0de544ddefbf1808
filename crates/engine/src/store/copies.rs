//! How far the initial sync of a flow has come, and which records it has to look at again. Errors that are refreshed go
//! the same way: their records are looked at once more, for the last time.
//!
//! Saved behind the commit of what it tells of, never before: a chunk whose progress is not saved is read and written
//! once more, which changes nothing, and one that is saved is never read again.

use crate::journal::{FlowId, blob};
use serde::{Deserialize, Serialize};
use tandem_core::{IntegrationKey, MapName, WallTime};

/// The initial sync of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// The flow.
    pub flow: FlowId,
    /// Its map.
    pub map: MapName,
    /// What it is at.
    pub stage: CopyStage,
    /// Every row up to this key is copied, in the source's order of keys.
    #[serde(default, with = "key_as_bytes")]
    pub through: Option<IntegrationKey>,
    /// Rows that have an open error are left out.
    pub without_failed: bool,
    /// What it has done.
    pub counts: CopyCounts,
    /// About how many rows there were when it began, if the source could say.
    pub estimate: Option<u64>,
    /// Nothing was in the destination's table when it began.
    pub into_empty: bool,
    /// When it began.
    pub started_at: WallTime,
    /// When it ended.
    pub ended_at: Option<WallTime>,
    /// There was one: a flow that was run without may still refresh errors.
    #[serde(default = "yes")]
    pub initial: bool,
    /// Errors that are being refreshed.
    #[serde(default)]
    pub refresh: Option<Refresh>,
}

fn yes() -> bool {
    true
}

/// Errors whose records are read from the source and written as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// How many there were when it began.
    pub errors: u64,
    /// Records that were refused as they are now, too.
    pub refused: u64,
    /// When it began.
    pub since: WallTime,
    /// Who asked.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// They are no errors, but records that were found to differ: whoever compares them tells of it.
    #[serde(default)]
    pub is_repair: bool,
}

/// What the initial sync of a flow is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyStage {
    /// Chunk by chunk, in order.
    Chunks,
    /// What could not be written by then, as long as some more of it can.
    Again,
    /// The same for the last time: what is refused now is an error.
    Last,
    /// It is done.
    Ended,
}

/// What an initial sync has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyCounts {
    /// Rows that were read and dealt with.
    pub rows: u64,
    /// Of these: records that were not there.
    pub inserted: u64,
    /// Records that were there with other values.
    pub updated: u64,
    /// Records that were there as they are to be.
    pub unchanged: u64,
    /// Records that were refused, and are errors.
    pub failed: u64,
}

impl CopyRecord {
    /// One that has not begun.
    pub fn new(flow: FlowId, map: MapName, without_failed: bool, now: WallTime) -> Self {
        Self {
            flow,
            map,
            stage: CopyStage::Chunks,
            through: None,
            without_failed,
            counts: CopyCounts::default(),
            estimate: None,
            into_empty: false,
            started_at: now,
            ended_at: None,
            initial: true,
            refresh: None,
        }
    }

    /// One that was never wanted, of a flow that refreshes errors.
    pub fn none(flow: FlowId, map: MapName, now: WallTime) -> Self {
        let without = Self::new(flow, map, false, now);
        Self { stage: CopyStage::Ended, ended_at: Some(now), initial: false, ..without }
    }

    /// What follows when errors are refreshed.
    #[must_use]
    pub fn refreshing(self, refresh: Refresh) -> Self {
        Self { stage: CopyStage::Last, refresh: Some(refresh), ..self }
    }
}

impl CopyStage {
    /// Whether what cannot be written now is looked at again, and no error yet.
    pub fn covers(self) -> bool {
        matches!(self, CopyStage::Chunks | CopyStage::Again)
    }
}

/// A record that is to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its number in the list; rises.
    pub id: u64,
    /// Its integration key.
    pub key: IntegrationKey,
}

/// A key as text would not come back exactly as it was.
mod key_as_bytes {
    use super::{IntegrationKey, blob};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(key: &Option<IntegrationKey>, to: S) -> Result<S::Ok, S::Error> {
        key.as_ref().map(blob::encode_key).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<IntegrationKey>, D::Error> {
        let bytes = Option::<Vec<u8>>::deserialize(from)?;
        bytes.map(|bytes| blob::decode_key(bytes.into())).transpose().map_err(de::Error::custom)
    }
}
