//! Places: in a source's log ([`Position`]), in our journal ([`Seq`]).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The source's own resume token. Opaque: only the connector that made it reads it. The engine never compares
/// two of them; a capture opened at P delivers only what is after P, or reports a gap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub Bytes);

/// Our dense number of a journaled change, from 1 on, per stream. All ordering uses it. Zero is *before the
/// first*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first change.
    pub const ZERO: Seq = Seq(0);

    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The identity of one data folder, new for each: 128 random bits. In every watermark, so that a lost, emptied
/// or exchanged folder is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JournalId(pub u128);

impl From<JournalId> for String {
    fn from(id: JournalId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for JournalId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

impl std::fmt::Display for JournalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How often the engine has started on its data folder; stored on both sides, so that a forgotten older
/// process can no longer write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A lane's number within its stream. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u64);

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A moment on the wall clock, in microseconds since 1970 UTC. To show and to measure ages, never to order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// How long `earlier` lies back; zero if it lies ahead, which it may after the clock was set back.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_micros(u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0))
    }

    /// The moment this long after; the last there is if it lies beyond.
    #[must_use]
    pub fn plus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(micros(duration)))
    }

    /// The moment this long before; the first there is if it lies beyond.
    #[must_use]
    pub fn minus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_sub(micros(duration)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
