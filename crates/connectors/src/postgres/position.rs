//! The resume token: which server's log, which slot, and how far.
//!
//! A number alone would be believed on any server. The token therefore also says whose log it is (system
//! identifier, timeline) and through which slot it was read (where that slot began), so that another server, a
//! restored one, or a slot that was made anew is found out instead of being read from.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tandem_core::{Fault, FaultClass, Position};

const VERSION: u8 = 1;

/// A place in one server's log, as one slot delivers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The cluster's identity.
    pub(super) system: u64,
    /// The timeline on which the place lies.
    pub(super) timeline: u32,
    /// Where the slot began: no two slots of one name begin at the same place.
    pub(super) birth: u64,
    /// Everything that was committed below is behind this place.
    pub(super) lsn: u64,
}

impl Place {
    pub(super) fn position(&self) -> Position {
        let mut out = BytesMut::with_capacity(29);
        out.put_u8(VERSION);
        out.put_u64(self.system);
        out.put_u32(self.timeline);
        out.put_u64(self.birth);
        out.put_u64(self.lsn);
        Position(out.freeze())
    }

    pub(super) fn read(position: &Position) -> Result<Self, Fault> {
        let bad = || {
            let message = "the position was not made by this version of the PostgreSQL connector";
            Fault::new(FaultClass::Gap, "read the position", message)
        };
        let mut bytes: Bytes = position.0.clone();
        if bytes.len() != 29 || bytes.get_u8() != VERSION {
            return Err(bad());
        }
        let mut number = || bytes.try_get_u64().map_err(|_| bad());
        let system = number()?;
        let timeline = bytes.try_get_u32().map_err(|_| bad())?;
        let mut number = || bytes.try_get_u64().map_err(|_| bad());
        Ok(Self { system, timeline, birth: number()?, lsn: number()? })
    }
}

/// A log sequence number as PostgreSQL writes it: `16/B374D848`.
pub(super) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let high = u32::from_str_radix(high, 16).ok()?;
    let low = u32::from_str_radix(low, 16).ok()?;
    Some(u64::from(high) << 32 | u64::from(low))
}

/// The other way.
pub(super) fn show_lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// Whether a place on `timeline` at `lsn` still lies on the history of the server, whose history file (for a
/// later timeline) is given: a line for each timeline it left, with where it left it.
pub(super) fn lies_on(history: &str, timeline: u32, lsn: u64) -> bool {
    history.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let left = fields.next().and_then(|number| number.parse::<u32>().ok());
        let switch = fields.next().and_then(parse_lsn);
        left == Some(timeline) && switch.is_some_and(|switch| lsn <= switch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_being_a_position() {
        let place = Place { system: u64::MAX - 1, timeline: 3, birth: 5, lsn: 0x16_B374_D848 };
        assert_eq!(Place::read(&place.position()), Ok(place));
    }

    #[test]
    fn a_position_of_something_else_is_a_gap() {
        for bytes in [&b""[..], b"x", &[1; 28], &[2; 29], &[1; 30]] {
            let fault = Place::read(&Position(Bytes::copy_from_slice(bytes))).unwrap_err();
            assert_eq!(fault.class, FaultClass::Gap);
        }
    }

    #[test]
    fn log_sequence_numbers_are_read_and_shown_as_postgresql_does() {
        assert_eq!(parse_lsn("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(show_lsn(0x16_B374_D848), "16/B374D848");
        assert_eq!(parse_lsn("16"), None);
    }

    #[test]
    fn a_place_behind_the_point_where_its_timeline_was_left_is_lost() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        assert!(lies_on(history, 1, 0x300_0000));
        assert!(!lies_on(history, 1, 0x300_0001));
        assert!(lies_on(history, 2, 0x400_0000));
        assert!(!lies_on(history, 3, 1));
    }
}
