//! Shelves: the queue of one flow, copied out of the log so that the log can be reclaimed.
//!
//! A shelf's segment is a segment of the log with only one flow's entries in it; it keeps the number and the
//! Seqs of the one that it was copied from, and skips what it leaves out. A manifest says which there are; it
//! is replaced in one step when they are durable, and only then do they count. What a crash leaves behind is
//! not in the manifest and goes at the next start: copying begins again where the manifest ends.
//!
//! Files: `shelf-7.manifest`, `shelf-7-000000000001.log` and its sidecar, 7 being the flow.

use super::catalog::Shared;
use super::cursor::{Group, SegmentCursor};
use super::entry::{GroupHead, put_group, put_skip};
use super::format::{FRAME_HEADER, FrameHeader, FrameKind, SegmentHeader, seed};
use super::index::SegmentIndex;
use super::records::{Records, members_of};
use super::segment::{Place, Sealed, read_header, read_sidecar, scan, write_sidecar};
use super::sidecar::{self, Extent, Summary};
use super::wire::{Input, Malformed, put_sized, put_varint, put_zigzag};
use super::{FlowId, FlowSpec, Holes, Identity, JournalError};
use crate::disk::{Disk, DiskFile, read_up_to, remove_if_there, replace};
use crate::failpoint::FailPoint;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use tandem_core::{Position, Seq, WallTime};

const MAGIC: [u8; 8] = *b"TANDEM-S";

/// How far shelving has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelved {
    /// Everything of the flow up to here is in its shelf (or was not wanted).
    pub through: Seq,
    /// Whether there are sealed segments beyond, to be shelved by another call.
    pub more: bool,
}

/// The shelf of a flow: everything of it in `(from, through]`.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub from: Seq,
    pub through: Seq,
    pub segments: Vec<Arc<Sealed>>,
}

fn manifest_name(flow: FlowId) -> String {
    format!("shelf-{}.manifest", flow.0)
}

fn segment_name(flow: FlowId, number: u64) -> String {
    format!("shelf-{}-{number:012}.log", flow.0)
}

/// The flow to whose shelf a segment's path belongs; `None` for a segment of the log.
pub(super) fn flow_of(path: &str) -> Option<FlowId> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let flow = name.strip_prefix("shelf-")?.split(['-', '.']).next()?;
    flow.parse().ok().map(FlowId)
}

impl Records {
    /// Copies records of a flow beyond `after` from sealed segments into its shelf: at least one segment, and
    /// more while less than `budget_bytes` of log have been read. Durable when it returns. The flow must never
    /// be read again from before `after`: an older shelf that ends before it is dropped. What was dropped of the flow is
    /// left out.
    ///
    /// An error here leaves shelf and journal as they were.
    pub fn shelve(&self, flow: FlowId, after: Seq, budget_bytes: u64) -> Result<Shelved, JournalError> {
        let shared = &*self.shared;
        let _alone = shared.housekeeping.lock().unwrap_or_else(PoisonError::into_inner);
        shared.health.check("shelve")?;
        let (spec, shelf, sealed, holes, after) = {
            let catalog = shared.look();
            let holes = catalog.holes_of(flow);
            let after = holes.over(after);
            let spec = catalog.flows.get(&flow).cloned();
            let spec = spec.ok_or_else(|| JournalError::misuse("shelve", "the flow is unknown"))?;
            if catalog.kept_from(flow) > after {
                return Err(JournalError::missing("shelve", format!("nothing is kept beyond Seq {after}")));
            }
            (spec, catalog.shelves.get(&flow).cloned(), catalog.sealed.clone(), holes, after)
        };
        let mut old = Vec::new();
        let mut shelf = match shelf {
            Some(shelf) if shelf.through >= after => shelf,
            shelf => {
                old = shelf.map(|shelf| shelf.segments).unwrap_or_default();
                Shelf { from: after, through: after, segments: Vec::new() }
            }
        };
        let mut read = 0;
        let concerned = |segment: &&Arc<Sealed>| {
            segment.last > shelf.through && spec.span.meets(segment.base, segment.last)
        };
        let mut waiting = sealed.iter().filter(concerned).peekable();
        let mut copied = Vec::new();
        while let Some(segment) = waiting.next_if(|_| read < budget_bytes.max(1)) {
            if holes.cover(segment.base, segment.last) {
                read += 1;
                copied.push(Arc::new(empty(shared, segment, flow)));
                continue;
            }
            read += segment.len.max(1);
            copied.push(Arc::new(copy(shared, segment, &spec, (shelf.from, &holes))?));
        }
        let more = waiting.peek().is_some();
        if let Some(last) = copied.last() {
            shelf.through = last.last;
            shelf.segments.extend(copied);
            FailPoint::ShelfCopied.pass();
            write_manifest(shared, flow, &shelf)?;
            FailPoint::ShelfNamed.pass();
            let through = shelf.through;
            shared.change().shelves.insert(flow, shelf);
            shared.change().count_again(flow);
            old.into_iter().try_for_each(|part| part.remove(&*shared.disk))?;
            return Ok(Shelved { through, more });
        }
        Ok(Shelved { through: shelf.through, more })
    }
}

/// Takes a flow's shelf off the disk.
pub(super) fn remove(disk: &dyn Disk, dir: &str, flow: FlowId, shelf: &Shelf) -> Result<(), JournalError> {
    let path = format!("{dir}/{}", manifest_name(flow));
    // The manifest first, and durably: segments that it names must be there.
    let gone = remove_if_there(disk, &path).and_then(|()| disk.sync_dir(dir));
    gone.map_err(|error| JournalError::io("remove", &path, &error))?;
    shelf.segments.iter().try_for_each(|part| part.remove(disk))
}

/// A segment of a shelf that stands for one of which the flow has nothing.
pub(super) fn empty(shared: &Shared, segment: &Sealed, flow: FlowId) -> Sealed {
    let path: Arc<str> = format!("{}/{}", shared.dir, segment_name(flow, segment.number)).into();
    let seed = seed(&shared.identity, segment.number, Some(flow));
    let extent = Extent { seed, base: segment.base, last: segment.last, len: 0 };
    let place = Place { path, number: segment.number, header_len: 0 };
    // It is passed over like a place that the log no longer has: where the source was there is not read.
    Sealed::new(place, extent, Some(Position::default()), Summary::default())
}

/// Copies one flow's entries beyond `from` out of a segment of the log, durably but for the name.
fn copy(
    shared: &Shared,
    segment: &Sealed,
    spec: &Arc<FlowSpec>,
    (from, holes): (Seq, &Arc<Holes>),
) -> Result<Sealed, JournalError> {
    let disk = &*shared.disk;
    let path: Arc<str> = format!("{}/{}", shared.dir, segment_name(spec.flow, segment.number)).into();
    let seed = seed(&shared.identity, segment.number, Some(spec.flow));
    let header =
        SegmentHeader { number: segment.number, base: segment.base, shelf: Some(spec.flow), position: None };
    let mut out = header.encode(&shared.identity);
    let header_len = out.len() as u64;
    let place = Place { path: Arc::clone(&path), number: segment.number, header_len };
    let mut position = None;
    let mut writer = ShelfWriter {
        next: segment.base,
        seed,
        frame_bytes: shared.settings.frame_bytes,
        known: Vec::new(),
        whole: None,
        in_pieces: false,
        written: 0,
    };
    let mut file: Option<Arc<dyn DiskFile>> = None;
    let mut write = |out: &mut Vec<u8>, written: &mut u64| -> Result<(), JournalError> {
        let mut append = || {
            let file = match &file {
                Some(file) => file,
                None => {
                    remove_if_there(disk, &path)?;
                    file.insert(disk.create(&path)?)
                }
            };
            file.append(out)
        };
        append().map_err(|error| JournalError::io("write", &path, &error))?;
        *written += out.len() as u64;
        out.clear();
        Ok(())
    };
    let mut cursor =
        segment.cursor(disk, Arc::new(members_of(spec, from, Arc::clone(holes))), segment.base)?;
    while let Some(group) = cursor.next_group()? {
        if let Some(commit) = &group.commit {
            position = Some(commit.position.clone());
        }
        writer.group(&mut out, &cursor, &group)?;
        if out.len() >= shared.settings.write_bytes() {
            writer.close(&mut out);
            write(&mut out, &mut writer.written)?;
        }
    }
    writer.close(&mut out);
    let len = writer.written + out.len() as u64;
    if len == header_len {
        let extent = Extent { seed, base: segment.base, last: segment.last, len: 0 };
        return Ok(Sealed::new(place, extent, position, Summary::default()));
    }
    write(&mut out, &mut writer.written)?;
    let extent = Extent { seed, base: segment.base, last: segment.last, len };
    let file = file.expect("it was made by the first write");
    file.sync().map_err(|error| JournalError::io("sync", &path, &error))?;
    let mut index = SegmentIndex::of([Arc::clone(spec)]);
    scan(&file, &path, seed, (header_len, len), &mut index, |_, _| {})?;
    let (bytes, summary) = sidecar::build(extent, &index);
    write_sidecar(disk, &path, &bytes)?;
    Ok(Sealed::new(place, extent, position, summary))
}

/// Writes groups with holes.
struct ShelfWriter {
    next: Seq,
    seed: u32,
    frame_bytes: usize,
    known: Vec<u32>,
    whole: Option<(usize, Seq, WallTime)>,
    /// Whether entries of the transaction that is open have been written.
    in_pieces: bool,
    /// Bytes of the file that are written already.
    written: u64,
}

impl ShelfWriter {
    fn group(
        &mut self,
        out: &mut Vec<u8>,
        cursor: &SegmentCursor,
        group: &Group,
    ) -> Result<(), JournalError> {
        let ends_pieces = group.commit.is_some() && std::mem::take(&mut self.in_pieces);
        if group.found.is_empty() && !ends_pieces {
            return Ok(());
        }
        for found in &group.found {
            if self.known.contains(&found.relation) {
                continue;
            }
            self.known.push(found.relation);
            self.close(out);
            if let Some(slot) = cursor.slot(found.relation) {
                let start = begin(out);
                out.extend_from_slice(&slot.payload);
                self.end(out, start, FrameKind::Relation, self.next);
            }
        }
        let first = self.next;
        let (body, entries) = self.entries(group);
        let head = GroupHead {
            entries,
            transaction: group.transaction,
            captured_at: group.captured_at,
            commit: group.commit.clone(),
        };
        let kind = match &group.commit {
            None => FrameKind::Piece,
            Some(_) if ends_pieces => FrameKind::Last,
            Some(_) => FrameKind::Whole,
        };
        self.in_pieces = kind == FrameKind::Piece;
        if kind != FrameKind::Whole {
            self.next = first;
            self.close(out);
            self.next = group.end.next();
        }
        let (start, frame_first, frame_at) = *self.whole.get_or_insert_with(|| {
            let start = begin(out);
            put_zigzag(out, group.captured_at.0);
            (start, first, group.captured_at)
        });
        put_group(out, &head, first, frame_at);
        out.extend_from_slice(&body);
        if kind != FrameKind::Whole {
            self.whole = None;
            self.end(out, start, kind, frame_first);
        } else if out.len() - start >= self.frame_bytes {
            self.close(out);
        }
        Ok(())
    }

    /// The entries of a group as they stand, with skips between them and up to the group's end.
    fn entries(&mut self, group: &Group) -> (Vec<u8>, usize) {
        let (mut body, mut entries) = (Vec::new(), 0);
        let mut go_to = |next: &mut Seq, seq: Seq, body: &mut Vec<u8>| {
            if seq > *next {
                put_skip(body, seq.0 - next.0);
                entries += 1;
                *next = seq;
            }
        };
        for found in &group.found {
            go_to(&mut self.next, found.seq, &mut body);
            body.extend_from_slice(&found.entry);
            self.next = found.seq.next();
        }
        go_to(&mut self.next, group.end.next(), &mut body);
        (body, entries + group.found.len())
    }

    fn close(&mut self, out: &mut [u8]) {
        if let Some((start, first, _)) = self.whole.take() {
            self.end(out, start, FrameKind::Whole, first);
        }
    }

    fn end(&self, out: &mut [u8], start: usize, kind: FrameKind, first: Seq) {
        let payload = out.get(start + FRAME_HEADER..).unwrap_or_default();
        let header = FrameHeader {
            kind,
            len: u32::try_from(payload.len()).expect("it is not larger than the frame that it came from"),
            crc: crc32c::crc32c(payload),
            first,
            count: (self.next.0 - first.0) as u32,
            settled: 0,
        };
        let bytes = header.encode(self.seed, self.written + start as u64);
        let place = out.get_mut(start..start + FRAME_HEADER);
        place.expect("room was made when the frame began").copy_from_slice(&bytes);
    }
}

fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + FRAME_HEADER, 0);
    start
}

/// Puts the manifest in place, which makes the names of new segments durable, too.
pub(super) fn write_manifest(shared: &Shared, flow: FlowId, shelf: &Shelf) -> Result<(), JournalError> {
    let mut body = Vec::new();
    for number in [shelf.from.0, shelf.through.0, shelf.segments.len() as u64] {
        put_varint(&mut body, number);
    }
    for part in &shelf.segments {
        for number in [part.number, part.base.0, part.last.0, part.len] {
            put_varint(&mut body, number);
        }
        put_sized(&mut body, part.position.as_ref().map(|position| &*position.0).unwrap_or_default());
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&manifest_crc(&shared.identity, flow, &body).to_le_bytes());
    out.extend_from_slice(&body);
    let name = manifest_name(flow);
    replace(&*shared.disk, &shared.dir, &name, &out).map_err(|error| JournalError::io("write", &name, &error))
}

fn manifest_crc(identity: &Identity, flow: FlowId, body: &[u8]) -> u32 {
    crc32c::crc32c_append(seed(identity, 0, Some(flow)), body)
}

/// Opens the shelves in a folder and removes what no manifest names.
pub(super) fn open_all(
    disk: &dyn Disk,
    dir: &str,
    identity: &Identity,
    names: &[String],
) -> Result<HashMap<FlowId, Shelf>, JournalError> {
    let mut shelves = HashMap::new();
    for name in names.iter().filter(|name| name.ends_with(".manifest")) {
        let Some(flow) = flow_of(name) else { continue };
        shelves.insert(flow, open(disk, dir, identity, flow)?);
    }
    for name in names.iter().filter(|name| name.starts_with("shelf-") && !name.ends_with(".manifest")) {
        let path = format!("{dir}/{name}");
        let segment = path.strip_suffix(".index").unwrap_or(&path);
        let mut known = shelves.values().flat_map(|shelf| &shelf.segments);
        if !known.any(|part| *part.path == *segment && part.len > 0) {
            remove_if_there(disk, &path).map_err(|error| JournalError::io("clean", &path, &error))?;
        }
    }
    Ok(shelves)
}

fn open(disk: &dyn Disk, dir: &str, identity: &Identity, flow: FlowId) -> Result<Shelf, JournalError> {
    let path = format!("{dir}/{}", manifest_name(flow));
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open(&path)?;
        read_up_to(&*file, 0, file.len()? as usize)
    };
    let bytes = Bytes::from(read().map_err(|error| JournalError::io("read", &path, &error))?);
    let damaged = |what: Malformed| JournalError::corrupt(&path, 0, what);
    let mut input = Input::new(bytes);
    if input.array::<8>().map_err(damaged)? != MAGIC {
        return Err(damaged(Malformed("it is no manifest")));
    }
    let crc = input.u32().map_err(damaged)?;
    let body = input.take(input.rest()).map_err(damaged)?;
    if manifest_crc(identity, flow, &body) != crc {
        return Err(damaged(Malformed("its checksum does not hold")));
    }
    let (from, through, entries) = read_manifest(Input::new(body)).map_err(damaged)?;
    let mut segments = Vec::with_capacity(entries.len());
    for entry in entries {
        segments.push(Arc::new(open_segment(disk, dir, identity, flow, entry)?));
    }
    Ok(Shelf { from, through, segments })
}

struct ManifestEntry {
    number: u64,
    base: Seq,
    last: Seq,
    len: u64,
    position: Position,
}

fn read_manifest(mut input: Input) -> Result<(Seq, Seq, Vec<ManifestEntry>), Malformed> {
    let (from, through) = (Seq(input.varint()?), Seq(input.varint()?));
    let count = input.count()?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(ManifestEntry {
            number: input.varint()?,
            base: Seq(input.varint()?),
            last: Seq(input.varint()?),
            len: input.varint()?,
            position: Position(input.sized()?),
        });
    }
    Ok((from, through, entries))
}

fn open_segment(
    disk: &dyn Disk,
    dir: &str,
    identity: &Identity,
    flow: FlowId,
    entry: ManifestEntry,
) -> Result<Sealed, JournalError> {
    let path: Arc<str> = format!("{dir}/{}", segment_name(flow, entry.number)).into();
    let seed = seed(identity, entry.number, Some(flow));
    let extent = Extent { seed, base: entry.base, last: entry.last, len: entry.len };
    let mut place = Place { path: Arc::clone(&path), number: entry.number, header_len: 0 };
    let position = Some(entry.position);
    if entry.len == 0 {
        return Ok(Sealed::new(place, extent, position, Summary::default()));
    }
    let file = disk.open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => JournalError::corrupt(&path, 0, "a shelf's segment is gone"),
        _ => JournalError::io("open", &path, &error),
    })?;
    let len = file.len().map_err(|error| JournalError::io("read", &path, &error))?;
    let (header, header_len) = read_header(&*file, &path, identity)?;
    if len != entry.len || header.shelf != Some(flow) || header.number != entry.number {
        return Err(JournalError::corrupt(&path, len, "it is not the segment that the manifest names"));
    }
    place.header_len = header_len;
    let summary = read_sidecar(disk, &path, seed).filter(|(known, _)| *known == extent);
    let summary = match summary {
        Some((_, summary)) => summary,
        None => {
            let mut index = SegmentIndex::default();
            scan(&file, &path, seed, (header_len, len), &mut index, |_, _| {})?;
            sidecar::build(extent, &index).1
        }
    };
    Ok(Sealed::new(place, extent, position, summary))
}
