//! The place in a source's log as a journal keeps it: the source's position, and the number of our group.
//!
//! An app may feed several journals, which are synced one after the other. After a crash the first may hold a
//! group that the last does not. The source's positions cannot be compared; our group numbers can. The capture is
//! opened where the journal stood that is furthest behind, and a journal that was further passes over what it has,
//! up to the commit at which it stood.

use bytes::{Buf, BufMut, BytesMut};
use tandem_core::{Position, Seq};

/// Set in the first byte if the place says how far opposite flows were.
const TWO_WAY: u8 = 2;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which group of this app brought it.
    pub(super) group: u64,
    /// It was the end of a transaction, which the source may deliver again; else the log was idle there.
    pub(super) commit: bool,
    /// How far the opposite flows of two-way maps were in the log, by the maps' numbers.
    pub(crate) seen: Vec<(u64, Seq)>,
    /// The source's own position.
    pub(super) position: Position,
}

impl Place {
    /// As a journal keeps it.
    pub(super) fn encode(&self) -> Position {
        let mut bytes = BytesMut::with_capacity(10 + 16 * self.seen.len() + self.position.0.len());
        let two_way = if self.seen.is_empty() { 0 } else { TWO_WAY };
        bytes.put_u8(u8::from(self.commit) | two_way);
        bytes.put_u64_le(self.group);
        if !self.seen.is_empty() {
            bytes.put_u16_le(u16::try_from(self.seen.len()).unwrap_or(u16::MAX));
            for (map, seq) in self.seen.iter().take(usize::from(u16::MAX)) {
                bytes.put_u64_le(*map);
                bytes.put_u64_le(seq.0);
            }
        }
        bytes.put_slice(&self.position.0);
        Position(bytes.freeze())
    }

    /// Out of a journal. `None` if it is not one of these.
    pub(super) fn decode(kept: &Position) -> Option<Self> {
        let mut rest = kept.0.clone();
        let flags = rest.try_get_u8().ok()?;
        let group = rest.try_get_u64_le().ok()?;
        let mut seen = Vec::new();
        if flags & TWO_WAY != 0 {
            for _ in 0..rest.try_get_u16_le().ok()? {
                seen.push((rest.try_get_u64_le().ok()?, Seq(rest.try_get_u64_le().ok()?)));
            }
        }
        Some(Self { group, commit: flags & 1 == 1, seen, position: Position(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_place_is_kept_whole() {
        for (commit, text) in [(true, "0/16B3748"), (false, "")] {
            let position = Position(Bytes::copy_from_slice(text.as_bytes()));
            let seen = if commit { vec![] } else { vec![(u64::MAX, Seq(7)), (3, Seq(9))] };
            let place = Place { group: 7, commit, seen, position };
            assert_eq!(Place::decode(&place.encode()), Some(place));
        }
        assert_eq!(Place::decode(&Position::default()), None);
    }
}
