//! Reads a segment file frame by frame and group by group, checking every byte that it passes.

use super::entry::{CommitNote, EntryHead, pass_entry, read_change, read_group, read_relation};
use super::format::{FRAME_HEADER, FrameHeader, FrameKind, NoFrame};
use super::holes::Stretch;
use super::wire::{Input, Malformed};
use super::{FlowId, JournalError};
use crate::disk::{DiskFile, read_up_to};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{Change, Position, Relation, Seq, Stamp, TableName, WallTime};

/// How much is read at once: large enough that small frames cost no call of their own.
const CHUNK: usize = 256 << 10;

/// A frame whose checksums hold.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub offset: u64,
    pub end: u64,
    pub header: FrameHeader,
    pub payload: Bytes,
}

/// Why there is no frame at a place.
#[derive(Debug)]
pub(crate) enum FrameFault {
    /// The bytes at this offset are damaged, or were never whole.
    Bad(u64),
    /// Anything else: the disk, or a later version.
    Other(JournalError),
}

impl FrameFault {
    /// What it means in bytes that must be good.
    pub(crate) fn in_settled(self, path: &str) -> JournalError {
        match self {
            FrameFault::Bad(offset) => JournalError::corrupt(path, offset, "a frame is damaged"),
            FrameFault::Other(error) => error,
        }
    }
}

/// Walks over the frames between two places of a file.
#[derive(Debug)]
pub(crate) struct Frames {
    file: Arc<dyn DiskFile>,
    path: Arc<str>,
    seed: u32,
    at: u64,
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
}

impl Frames {
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: Arc<str>, seed: u32, at: u64, end: u64) -> Self {
        Self { file, path, seed, at, end, chunk: Bytes::new(), chunk_at: 0 }
    }

    /// More of the file has become readable.
    pub(crate) fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Bytes at a place, from the chunk in hand where it has them.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<Bytes>, FrameFault> {
        if self.end.checked_sub(offset).is_none_or(|rest| rest < len as u64) {
            return Ok(None);
        }
        let inside = |chunk: &Bytes, chunk_at: u64| {
            let start = usize::try_from(offset.checked_sub(chunk_at)?).ok()?;
            let end = start.checked_add(len)?;
            (end <= chunk.len()).then(|| chunk.slice(start..end))
        };
        if let Some(found) = inside(&self.chunk, self.chunk_at) {
            return Ok(Some(found));
        }
        let want = (len.max(CHUNK) as u64).min(self.end - offset) as usize;
        let read = read_up_to(&*self.file, offset, want)
            .map_err(|error| FrameFault::Other(JournalError::io("read", &self.path, &error)))?;
        (self.chunk, self.chunk_at) = (Bytes::from(read), offset);
        Ok(inside(&self.chunk, self.chunk_at))
    }

    fn header(&mut self, offset: u64) -> Result<FrameHeader, FrameFault> {
        let bytes = self.bytes(offset, FRAME_HEADER)?.ok_or(FrameFault::Bad(offset))?;
        match FrameHeader::decode(bytes, self.seed, offset) {
            Ok(header) => Ok(header),
            Err(NoFrame::Bad) => Err(FrameFault::Bad(offset)),
            Err(NoFrame::Later) => {
                let what = "a frame was written by a later version of Tandem";
                Err(FrameFault::Other(JournalError::foreign(&self.path, what)))
            }
        }
    }

    fn frame(&mut self, offset: u64) -> Result<Frame, FrameFault> {
        let header = self.header(offset)?;
        let start = offset + FRAME_HEADER as u64;
        let payload = self.bytes(start, header.len as usize)?.ok_or(FrameFault::Bad(offset))?;
        if crc32c::crc32c(&payload) != header.crc {
            return Err(FrameFault::Bad(offset));
        }
        Ok(Frame { offset, end: start + u64::from(header.len), header, payload })
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameFault> {
        if self.at >= self.end {
            return Ok(None);
        }
        let frame = self.frame(self.at)?;
        self.at = frame.end;
        Ok(Some(frame))
    }

    /// The *last* frame of the transaction whose pieces are being read, if it is within the readable part.
    fn last_ahead(&mut self) -> Result<Option<Frame>, FrameFault> {
        let mut at = self.at;
        while at < self.end {
            let header = self.header(at)?;
            match header.kind {
                FrameKind::Last => return self.frame(at).map(Some),
                FrameKind::Piece | FrameKind::Relation => {
                    at += FRAME_HEADER as u64 + u64::from(header.len);
                }
                FrameKind::Whole | FrameKind::Idle => return Err(FrameFault::Bad(at)),
            }
        }
        Ok(None)
    }
}

/// The flows that somebody reads, by the table that they follow.
#[derive(Debug, Default)]
pub(crate) struct Members {
    by_table: HashMap<TableName, Vec<(FlowId, Stretch)>>,
}

impl Members {
    /// Flows with their tables, each with what is read of it.
    pub(crate) fn new(flows: impl IntoIterator<Item = (TableName, FlowId, Stretch)>) -> Self {
        let mut by_table: HashMap<TableName, Vec<(FlowId, Stretch)>> = HashMap::new();
        for (table, flow, stretch) in flows {
            by_table.entry(table).or_default().push((flow, stretch));
        }
        by_table.values_mut().for_each(|flows| flows.sort_by_key(|(flow, _)| *flow));
        Self { by_table }
    }
}

/// A relation of a segment, with the flows that its changes belong to.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub relation: Arc<Relation>,
    pub members: Arc<[(FlowId, Stretch)]>,
    /// The relation's frame, as it stands: shelves take it over.
    pub payload: Bytes,
}

/// A change that belongs to a member, not yet read out of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub seq: Seq,
    pub relation: u32,
    pub entry: Bytes,
}

/// A transaction, or as much of one as a frame holds.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub transaction: Seq,
    /// The last Seq of the group.
    pub end: Seq,
    pub captured_at: WallTime,
    pub commit: Option<Arc<CommitNote>>,
    pub found: Vec<Found>,
}

/// What a segment holds, one after the other.
#[derive(Debug)]
pub(crate) enum Step {
    Group(Group),
    Relation(u32),
    Idle(Position),
}

#[derive(Debug)]
struct OpenFrame {
    kind: FrameKind,
    input: Input,
    next: u64,
    behind: u64,
    captured_at: WallTime,
}

/// Reads a segment from a place on.
#[derive(Debug)]
pub(crate) struct SegmentCursor {
    frames: Frames,
    members: Arc<Members>,
    relations: HashMap<u32, Slot>,
    open: Option<OpenFrame>,
    /// Where the frame in hand starts and ends.
    extent: (u64, u64),
    first: Seq,
    settled: u64,
    ahead: Option<(Seq, Arc<CommitNote>)>,
}

impl SegmentCursor {
    pub(crate) fn new(frames: Frames, members: Arc<Members>) -> Self {
        Self {
            frames,
            members,
            relations: HashMap::new(),
            open: None,
            extent: (0, 0),
            first: Seq::ZERO,
            settled: 0,
            ahead: None,
        }
    }

    /// Reads relation frames that stand before the place where the cursor starts.
    pub(crate) fn learn(&mut self, offsets: &[u64]) -> Result<(), JournalError> {
        let start = self.frames.at;
        for offset in offsets.iter().take_while(|offset| **offset < start) {
            let frame = self.frames.frame(*offset).map_err(|fault| fault.in_settled(&self.frames.path))?;
            self.relation(&frame)?;
        }
        Ok(())
    }

    pub(crate) fn extend(&mut self, end: u64) {
        self.frames.extend(end);
    }

    pub(crate) fn slot(&self, relation: u32) -> Option<&Slot> {
        self.relations.get(&relation)
    }

    /// Where the frame starts that the last step came from, and where it ends; and whether it is done.
    pub(crate) fn frame(&self) -> (u64, u64, bool) {
        (self.extent.0, self.extent.1, self.open.is_none())
    }

    /// The first Seq of that frame.
    pub(crate) fn frame_first(&self) -> Seq {
        self.first
    }

    /// How far that frame says the file was synced.
    pub(crate) fn frame_settled(&self) -> u64 {
        self.settled
    }

    fn malformed(&self, what: Malformed) -> JournalError {
        JournalError::corrupt(&self.frames.path, self.extent.0, what)
    }

    /// The next step in bytes that must be good.
    pub(crate) fn next(&mut self) -> Result<Option<Step>, JournalError> {
        self.try_next().map_err(|fault| fault.in_settled(&self.frames.path))
    }

    /// The next group in bytes that must be good.
    pub(crate) fn next_group(&mut self) -> Result<Option<Group>, JournalError> {
        loop {
            match self.next()? {
                Some(Step::Group(group)) => return Ok(Some(group)),
                Some(Step::Relation(_) | Step::Idle(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next step; a frame that is not whole is told apart from all other trouble.
    pub(crate) fn try_next(&mut self) -> Result<Option<Step>, FrameFault> {
        loop {
            if let Some(open) = self.open.as_mut() {
                let group = read_entries(open, &self.relations).map_err(|what| self.malformed(what));
                let group = group.map_err(FrameFault::Other)?;
                self.close_frame().map_err(|what| FrameFault::Other(self.malformed(what)))?;
                return Ok(Some(Step::Group(group)));
            }
            let Some(frame) = self.frames.next()? else { return Ok(None) };
            self.extent = (frame.offset, frame.end);
            (self.first, self.settled) = (frame.header.first, frame.header.settled);
            match frame.header.kind {
                FrameKind::Relation => {
                    return self
                        .relation(&frame)
                        .map(|id| Some(Step::Relation(id)))
                        .map_err(FrameFault::Other);
                }
                FrameKind::Idle => {
                    let position = Input::new(frame.payload).sized();
                    let position = position.map_err(|what| FrameFault::Other(self.malformed(what)))?;
                    return Ok(Some(Step::Idle(Position(position))));
                }
                kind @ (FrameKind::Whole | FrameKind::Piece | FrameKind::Last) => {
                    let mut input = Input::new(frame.payload);
                    let captured = input.zigzag().map_err(|what| FrameFault::Other(self.malformed(what)))?;
                    let next = frame.header.first.0;
                    let behind = next.saturating_add(u64::from(frame.header.count));
                    self.open =
                        Some(OpenFrame { kind, input, next, behind, captured_at: WallTime(captured) });
                }
            }
        }
    }

    /// Checks a frame against its header once its last group is read.
    fn close_frame(&mut self) -> Result<(), Malformed> {
        if let Some(open) = self.open.take_if(|open| open.input.is_at_end())
            && open.next != open.behind
        {
            return Err(Malformed("a frame holds another number of entries than it says"));
        }
        Ok(())
    }

    fn relation(&mut self, frame: &Frame) -> Result<u32, JournalError> {
        self.extent = (frame.offset, frame.end);
        if frame.header.kind != FrameKind::Relation {
            return Err(self.malformed(Malformed("no relation stands here")));
        }
        let read = read_relation(&mut Input::new(frame.payload.clone()));
        let (id, relation) = read.map_err(|what| self.malformed(what))?;
        let members = self.members.by_table.get(&relation.table).map(Vec::as_slice).unwrap_or_default();
        let slot =
            Slot { members: members.into(), relation: Arc::new(relation), payload: frame.payload.clone() };
        self.relations.insert(id, slot);
        Ok(id)
    }

    /// How the transaction of a group ended, also if that stands further on in the file.
    pub(crate) fn commit_of(&mut self, group: &Group) -> Result<Option<Arc<CommitNote>>, JournalError> {
        if let Some(commit) = &group.commit {
            return Ok(Some(Arc::clone(commit)));
        }
        if let Some((transaction, commit)) = &self.ahead
            && *transaction == group.transaction
        {
            return Ok(Some(Arc::clone(commit)));
        }
        let last = self.frames.last_ahead().map_err(|fault| fault.in_settled(&self.frames.path))?;
        let Some(last) = last else { return Ok(None) };
        let mut input = Input::new(last.payload);
        let head = input.zigzag().and_then(|at| read_group(&mut input, last.header.first, WallTime(at)));
        let head = head.map_err(|what| JournalError::corrupt(self.frames.path(), last.offset, what))?;
        self.ahead = head.commit.as_ref().map(|commit| (group.transaction, Arc::clone(commit)));
        Ok(head.commit)
    }

    /// Reads a found change out of its bytes.
    pub(crate) fn change(&self, found: &Found) -> Result<(Change, Option<Stamp>), JournalError> {
        let slot = self.slot(found.relation).ok_or(Malformed("a change refers to an unknown relation"));
        slot.and_then(|slot| read_change(&mut Input::new(found.entry.clone()), &slot.relation))
            .map_err(|what| self.malformed(what))
    }
}

/// Reads one group of a frame, keeping the entries of members.
fn read_entries(open: &mut OpenFrame, relations: &HashMap<u32, Slot>) -> Result<Group, Malformed> {
    let head = read_group(&mut open.input, Seq(open.next), open.captured_at)?;
    if head.commit.is_some() == (open.kind == FrameKind::Piece) {
        return Err(Malformed("a group is committed where it must not be, or the other way round"));
    }
    let mut found = Vec::new();
    for _ in 0..head.entries {
        let place = open.input.place();
        match pass_entry(&mut open.input)? {
            EntryHead::Skip(seqs) => {
                open.next = open.next.checked_add(seqs).ok_or(Malformed("a skip is too long"))?;
            }
            EntryHead::Barrier => open.next += 1,
            EntryHead::Change { relation, .. } => {
                let slot = relations.get(&relation).ok_or(Malformed("a relation is unknown"))?;
                let seq = Seq(open.next);
                if slot.members.iter().any(|(_, stretch)| stretch.has(seq)) {
                    found.push(Found { seq, relation, entry: open.input.since(place) });
                }
                open.next += 1;
            }
        }
        if open.next > open.behind {
            return Err(Malformed("a frame holds more entries than it says"));
        }
    }
    Ok(Group {
        transaction: head.transaction,
        end: Seq(open.next.saturating_sub(1)),
        captured_at: head.captured_at,
        commit: head.commit,
        found,
    })
}
