//! The place in a source's log as a journal keeps it: the source's position, and the number of our group.
//!
//! An app may feed several journals, which are synced one after the other. After a crash the first may hold a
//! group that the last does not. The source's positions cannot be compared; our group numbers can. The capture is
//! opened where the journal stood that is furthest behind, and a journal that was further passes over what it has,
//! up to the commit at which it stood.

use bytes::{BufMut, BytesMut};
use tandem_core::Position;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which group of this app brought it.
    pub(super) group: u64,
    /// It was the end of a transaction, which the source may deliver again; else the log was idle there.
    pub(super) commit: bool,
    /// The source's own position.
    pub(super) position: Position,
}

impl Place {
    /// As a journal keeps it.
    pub(super) fn encode(&self) -> Position {
        let mut bytes = BytesMut::with_capacity(9 + self.position.0.len());
        bytes.put_u8(u8::from(self.commit));
        bytes.put_u64_le(self.group);
        bytes.put_slice(&self.position.0);
        Position(bytes.freeze())
    }

    /// Out of a journal. `None` if it is not one of these.
    pub(super) fn decode(kept: &Position) -> Option<Self> {
        let (commit, rest) = kept.0.split_first()?;
        let (group, _) = rest.split_first_chunk::<8>()?;
        let position = Position(kept.0.slice(9..));
        Some(Self { group: u64::from_le_bytes(*group), commit: *commit == 1, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_place_is_kept_whole() {
        for (commit, text) in [(true, "0/16B3748"), (false, "")] {
            let place =
                Place { group: 7, commit, position: Position(Bytes::copy_from_slice(text.as_bytes())) };
            assert_eq!(Place::decode(&place.encode()), Some(place));
        }
        assert_eq!(Place::decode(&Position::default()), None);
    }
}
