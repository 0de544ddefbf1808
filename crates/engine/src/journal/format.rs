//! Format 1 of a segment file. All fixed numbers are little endian; `varint` is LEB128, `zigzag` a signed
//! varint, `sized` a varint length and so many bytes.
//!
//! A segment is a header and then frames.
//!
//! ```text
//! segment header   "TANDEM-J"  version u16  reserved u16  len u32
//!                  journal id u128  segment number u64  base Seq u64
//!                  shelf: 0 or flow + 1, u64   stream sized   position: 0, or 1 and sized
//!                  crc32c u32 of all before        (`len` counts from the journal id to the position)
//! frame header     "tF"  kind u8  version u8  len u32  payload crc32c u32
//!                  first Seq u64  count u32  settled u64  header crc32c u32             = 36 bytes
//! ```
//!
//! `first` is the first Seq of the frame and `count` how many it spans. `settled` is how much of this file was
//! known to be synced, up to the end of a commit, when the frame was written: so each group says how far the
//! last one had got, and damage before that point is never mistaken for a tail torn by a crash. The header's
//! checksum starts with one over journal id, stream, segment number, shelf and the frame's own offset: a frame
//! that a person moved, or that stands in a record's value, is not a frame.
//!
//! Kinds of frames: 1 *whole* holds whole transactions; 2 *piece* holds a part of one that is still open; 3
//! *last* its end. 4 *relation* is a table's shape, written before the first change that refers to it, in each
//! segment anew, so that each segment can be read alone. 5 *idle* moves the resume position and has no Seq.
//!
//! ```text
//! whole, piece, last   captured_at zigzag, then groups: one per transaction (exactly one in piece and last)
//! group     flags u8: 1 committed, 4 has mark, 8 the mark has a note
//!           entries varint   transaction zigzag (its first Seq, less this group's)   captured_at zigzag (less
//!           the frame's)
//!           if committed: position sized, name sized, committed_at zigzag (less captured_at),
//!                         [mark: stream sized, Seq varint, [note sized]]
//!           then the entries
//! entry     tag u8: low four bits 0 insert, 1 update, 2 update with old row, 3 delete, 4 truncate, 8 barrier,
//!           9 skip; 16: a stamp follows
//!           change: relation varint [stamp: Seq varint, time zigzag] rows (old before new)
//!           barrier: id varint.  skip: varint Seqs that are not in this file (only in shelves)
//! row       cells varint, then cells
//! cell      0 unchanged, 1 null, 2 false, 3 true, 4 int zigzag, 5 float u64 bits, 6 text sized, 7 bytes sized,
//!           16 + kind: typed sized; 128 + n: text of n bytes
//! relation  id varint  schema: 0, or 1 and sized   name sized   columns varint, then for each: name sized, type
//!           sized, identity u8
//! idle      position: sized
//! ```
//!
//! A commit stands before the entries that it ends, so that whoever reads a transaction knows when it was
//! committed from its first record on. The meaning of a version never changes; what is unknown is refused.

use super::wire::{Input, Malformed, put_sized};
use super::{FlowId, Identity};
use bytes::Bytes;
use tandem_core::{JournalId, Position, Seq};

pub(crate) const VERSION: u16 = 1;
pub(crate) const FRAME_HEADER: usize = 36;
/// No frame is larger: a record beyond it is refused before anything is written.
pub(crate) const FRAME_MAX: usize = 1 << 30;
/// Longest segment header that we read: a stream's name and a position are short.
pub(crate) const SEGMENT_HEADER_MAX: usize = 1 << 20;
pub(crate) const FRAME_MAGIC: [u8; 2] = *b"tF";
const SEGMENT_MAGIC: [u8; 8] = *b"TANDEM-J";
const FRAME_VERSION: u8 = 1;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Whole = 1,
    Piece = 2,
    Last = 3,
    Relation = 4,
    Idle = 5,
}

impl FrameKind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => FrameKind::Whole,
            2 => FrameKind::Piece,
            3 => FrameKind::Last,
            4 => FrameKind::Relation,
            5 => FrameKind::Idle,
            _ => return None,
        })
    }

    pub(crate) fn has_entries(self) -> bool {
        matches!(self, FrameKind::Whole | FrameKind::Piece | FrameKind::Last)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: FrameKind,
    pub len: u32,
    pub crc: u32,
    pub first: Seq,
    pub count: u32,
    pub settled: u64,
}

/// Why bytes are no frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Not written by us, or not whole.
    Bad,
    /// Written by a later version of Tandem.
    Later,
}

impl FrameHeader {
    pub(crate) fn encode(&self, seed: u32, offset: u64) -> [u8; FRAME_HEADER] {
        let mut out = Vec::with_capacity(FRAME_HEADER);
        out.extend_from_slice(&FRAME_MAGIC);
        out.push(self.kind as u8);
        out.push(FRAME_VERSION);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.settled.to_le_bytes());
        out.extend_from_slice(&header_crc(seed, offset, &out).to_le_bytes());
        out.try_into().expect("the fields of a frame header add up to its length")
    }

    pub(crate) fn decode(bytes: Bytes, seed: u32, offset: u64) -> Result<Self, NoFrame> {
        let read = |mut input: Input| -> Result<(u8, u8, Self, bool), Malformed> {
            let magic: [u8; 2] = input.array()?;
            let (kind, version) = (input.byte()?, input.byte()?);
            let (len, crc) = (input.u32()?, input.u32()?);
            let (first, count, settled) = (Seq(input.u64()?), input.u32()?, input.u64()?);
            let sum = header_crc(seed, offset, &input.since(0));
            let good = input.u32()? == sum && magic == FRAME_MAGIC;
            // Whether the kind is known is asked when the checksum has said that the byte is one we wrote.
            Ok((kind, version, Self { kind: FrameKind::Idle, len, crc, first, count, settled }, good))
        };
        match read(Input::new(bytes)) {
            Ok((kind, version, header, true)) => match FrameKind::of(kind) {
                Some(kind) if version == FRAME_VERSION => Ok(Self { kind, ..header }),
                _ => Err(NoFrame::Later),
            },
            Ok((.., false)) | Err(_) => Err(NoFrame::Bad),
        }
    }
}

fn header_crc(seed: u32, offset: u64, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), header)
}

/// Where every checksum of a frame header in one file starts.
pub(crate) fn seed(identity: &Identity, number: u64, shelf: Option<FlowId>) -> u32 {
    let mut crc = crc32c::crc32c(&identity.journal.0.to_le_bytes());
    crc = crc32c::crc32c_append(crc, identity.stream.as_bytes());
    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, &shelf_number(shelf).to_le_bytes())
}

fn shelf_number(shelf: Option<FlowId>) -> u64 {
    shelf.map_or(0, |flow| u64::from(flow.0) + 1)
}

/// The head of a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: u64,
    /// The first Seq that this segment may hold.
    pub base: Seq,
    pub shelf: Option<FlowId>,
    /// Where capture resumes if nothing follows.
    pub position: Option<Position>,
}

/// Why a file is no segment of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoSegment {
    /// Damaged, or not a segment at all.
    Bad,
    /// Of another data folder or stream, or in a format we do not know.
    Foreign(String),
}

impl SegmentHeader {
    pub(crate) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&identity.journal.0.to_le_bytes());
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.base.0.to_le_bytes());
        body.extend_from_slice(&shelf_number(self.shelf).to_le_bytes());
        put_sized(&mut body, identity.stream.as_bytes());
        match &self.position {
            None => body.push(0),
            Some(position) => {
                body.push(1);
                put_sized(&mut body, &position.0);
            }
        }
        let mut out = SEGMENT_MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads the head of a file and returns it with its length.
    pub(crate) fn decode(start: Bytes, identity: &Identity) -> Result<(Self, u64), NoSegment> {
        let mut input = Input::new(start);
        let prefix = |input: &mut Input| -> Result<(u16, u32), Malformed> {
            if input.array::<8>()? != SEGMENT_MAGIC {
                return Err(Malformed("magic"));
            }
            let version = u16::from_le_bytes(input.array()?);
            input.skip(2)?;
            Ok((version, input.u32()?))
        };
        let (version, len) = prefix(&mut input).map_err(|_| NoSegment::Bad)?;
        let body = input.take(len as usize).map_err(|_| NoSegment::Bad)?;
        let sum = crc32c::crc32c(&input.since(0));
        if input.u32().map_err(|_| NoSegment::Bad)? != sum {
            return Err(NoSegment::Bad);
        }
        if version != VERSION {
            return Err(NoSegment::Foreign(format!("format {version} is not known to this version")));
        }
        let (journal, stream, header) = Self::body(Input::new(body)).map_err(|_| NoSegment::Bad)?;
        if journal != identity.journal || stream != identity.stream {
            let who = format!("it belongs to journal {journal}, stream {stream}");
            return Err(NoSegment::Foreign(who));
        }
        Ok((header, input.place() as u64))
    }

    fn body(mut input: Input) -> Result<(JournalId, String, Self), Malformed> {
        let journal = JournalId(u128::from_le_bytes(input.array()?));
        let (number, base, shelf) = (input.u64()?, Seq(input.u64()?), input.u64()?);
        let shelf = match shelf.checked_sub(1) {
            None => None,
            Some(flow) => Some(FlowId(u32::try_from(flow).map_err(|_| Malformed("shelf"))?)),
        };
        let stream = input.sized_text()?.to_string();
        let position = match input.byte()? {
            0 => None,
            1 => Some(Position(input.sized()?)),
            _ => return Err(Malformed("position")),
        };
        Ok((journal, stream, Self { number, base, shelf, position }))
    }
}
