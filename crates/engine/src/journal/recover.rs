//! Opening: what a crash may have left, told apart from what it cannot have left.
//!
//! Files of a journal's folder: `000000000001.log` and so on, the segments; with `.index` behind, their
//! sidecars; `floor`, the number of the oldest segment that must be there; `synced`, how far we know that the
//! last segment was synced; `shelf-…`, see `shelf.rs`. A name that ends in `.new` was never finished.
//!
//! A segment has its name only when its head is durable, and frames only when its name is: a damaged head is
//! damage. All segments but the last were synced whole before the next was made: a bad frame in them is damage.
//! In the last one, the first bad frame ends what there is, if nothing says that those bytes were synced: not
//! the file `synced`, not a good frame before it, not a good frame behind it (each one says how far its writer
//! knew the file to be synced). Behind that point, and behind the last commit, the file is cut. (The zeros that the writer fills the file with ahead of itself look like a bad
//! frame, and are cut the same way.)
//!
//! What is kept behind the last point known as synced may sit in the page cache of an earlier failed write and
//! never have reached the disk. It is written once more, as it is, and synced, before it counts.

use super::append::{Opened, Tail};
use super::catalog::{Active, Catalog};
use super::cursor::{FrameFault, Frames, Members, SegmentCursor, Step};
use super::format::{FRAME_HEADER, FRAME_MAGIC, FrameHeader, NoFrame, SegmentHeader, seed};
use super::index::SegmentIndex;
use super::roll::create;
use super::segment::{Place, Sealed, read_header, read_sidecar, scan, sidecar_path};
use super::sidecar::Extent;
use super::sync::Settled;
use super::wire::Input;
use super::{Identity, JournalError, shelf};
use crate::disk::{Disk, DiskFile, read_up_to, remove_if_there};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tandem_core::{Relation, Seq};

const COPY_AT_ONCE: u64 = 1 << 20;

pub(super) fn segment_path(dir: &str, number: u64) -> String {
    format!("{dir}/{number:012}.log")
}

pub(super) fn mark_path(dir: &str) -> String {
    format!("{dir}/synced")
}

fn floor_path(dir: &str) -> String {
    format!("{dir}/floor")
}

/// The content of `synced`: segment, offset, checksum.
pub(super) fn mark(identity: &Identity, number: u64, offset: u64) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.extend_from_slice(&offset.to_le_bytes());
    let crc = crc32c::crc32c_append(seed(identity, number, None), &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn read_mark(file: &dyn DiskFile, identity: &Identity) -> io::Result<Option<(u64, u64)>> {
    let mut input = Input::new(Bytes::from(read_up_to(file, 0, 20)?));
    let (Ok(number), Ok(offset)) = (input.u64(), input.u64()) else { return Ok(None) };
    let good = input.skip(4).is_ok() && input.since(0) == mark(identity, number, offset);
    // A mark that is not good is one that a power cut caught: it says nothing.
    Ok(good.then_some((number, offset)))
}

/// Notes durably that no segment below `number` need be there.
pub(super) fn write_floor(disk: &dyn Disk, dir: &str, number: u64) -> io::Result<()> {
    let mut out = number.to_le_bytes().to_vec();
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    crate::disk::replace(disk, dir, "floor", &out)
}

fn read_floor(disk: &dyn Disk, dir: &str) -> Result<Option<u64>, JournalError> {
    let path = floor_path(dir);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::io("open", &path, &error)),
    };
    let bytes = read_up_to(&*file, 0, 12).map_err(|error| JournalError::io("read", &path, &error))?;
    let mut input = Input::new(Bytes::from(bytes));
    match (input.u64(), input.since(0), input.u32()) {
        (Ok(number), sum, Ok(crc)) if crc32c::crc32c(&sum) == crc => Ok(Some(number)),
        _ => Err(JournalError::corrupt(&path, 0, "it is damaged")),
    }
}

pub(super) fn open(disk: &Arc<dyn Disk>, dir: &str, identity: &Identity) -> Result<Opened, JournalError> {
    let io = |operation: &str, error: &io::Error| JournalError::io(operation, dir, error);
    disk.create_dir(dir).map_err(|error| io("create", &error))?;
    let names = disk.list(dir).map_err(|error| io("list", &error))?;
    for name in names.iter().filter(|name| name.ends_with(".new")) {
        remove_if_there(&**disk, &format!("{dir}/{name}")).map_err(|error| io("clean", &error))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let floor = read_floor(&**disk, dir)?;
    let used = floor.is_some() || names.iter().any(|name| name == "synced" || name.ends_with(".index"));
    if numbers.is_empty() && used {
        return Err(JournalError::corrupt(dir, 0, "all segments are gone"));
    }
    let lowest = floor.unwrap_or(1);
    for number in numbers.iter().filter(|number| **number < lowest) {
        let path = segment_path(dir, *number);
        for path in [sidecar_path(&path), path] {
            remove_if_there(&**disk, &path).map_err(|error| io("clean", &error))?;
        }
    }
    numbers.retain(|number| *number >= lowest);
    if numbers.is_empty() && !used {
        return begin(disk, dir, identity);
    }
    let mark = open_mark(&**disk, dir, names.iter().any(|name| name == "synced"))?;
    let known = read_mark(&*mark, identity).map_err(|error| io("read mark of", &error))?;
    check_chain(dir, &numbers, lowest, known)?;
    let (last, rest) = numbers.split_last().expect("a journal without segments was refused above");
    let mut sealed: Vec<Arc<Sealed>> = Vec::new();
    for number in rest {
        let expected = sealed.last().map(|segment| segment.last.next());
        sealed.push(Arc::new(open_sealed(&**disk, dir, identity, *number, expected)?));
    }
    let expected = sealed.last().map(|segment| segment.last.next());
    let acked = known.filter(|(number, _)| number == last).map_or(0, |(_, offset)| offset);
    let (active, tail, relations) = open_active(&**disk, dir, identity, (*last, expected, acked))?;
    let durable = Settled {
        number: active.number,
        offset: tail.settled_len,
        seq: tail.committed,
        position: tail.position.clone(),
    };
    let written = mark.write_at(0, &self::mark(identity, active.number, tail.settled_len));
    written.map_err(|error| io("write mark of", &error))?;
    let shelves = shelf::open_all(&**disk, dir, identity, &names)?;
    let catalog = Catalog {
        holes: HashMap::new(),
        flows: HashMap::new(),
        sealed,
        head: tail.committed,
        active,
        durable,
        shelves,
        tallies: HashMap::new(),
        turnover: HashMap::new(),
    };
    Ok(Opened { catalog, mark, tail, relations })
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn open_mark(disk: &dyn Disk, dir: &str, there: bool) -> Result<Arc<dyn DiskFile>, JournalError> {
    let path = mark_path(dir);
    let file = if there { disk.open(&path) } else { disk.create(&path) };
    file.map_err(|error| JournalError::io("open", &path, &error))
}

fn begin(disk: &Arc<dyn Disk>, dir: &str, identity: &Identity) -> Result<Opened, JournalError> {
    let header = SegmentHeader { number: 1, base: Seq(1), shelf: None, position: None };
    let active = create(&**disk, dir, identity, &header)?;
    // Behind the segment: a mark without any segment says that somebody took them away.
    let mark = open_mark(&**disk, dir, false)?;
    let tail = Tail {
        len: active.len,
        filled: active.len,
        settled_len: active.len,
        next: Seq(1),
        committed: Seq::ZERO,
        position: None,
        open: None,
        durable_len: active.len,
    };
    let durable = Settled { number: 1, offset: active.len, seq: Seq::ZERO, position: None };
    let catalog = Catalog {
        holes: HashMap::new(),
        flows: HashMap::new(),
        sealed: Vec::new(),
        active,
        head: Seq::ZERO,
        durable,
        shelves: HashMap::new(),
        tallies: HashMap::new(),
        turnover: HashMap::new(),
    };
    Ok(Opened { catalog, mark, tail, relations: Vec::new() })
}

/// Segments must follow each other from the floor on, and reach as far as the mark says.
fn check_chain(
    dir: &str,
    numbers: &[u64],
    lowest: u64,
    known: Option<(u64, u64)>,
) -> Result<(), JournalError> {
    let gone =
        |number| JournalError::corrupt(&segment_path(dir, number), 0, "a segment that must be there is gone");
    let hole = numbers.iter().zip(lowest..).find(|(number, expected)| *number != expected);
    if let Some((_, expected)) = hole {
        return Err(gone(expected));
    }
    let next = lowest + numbers.len() as u64;
    match known {
        Some((number, _)) if number >= next => Err(gone(next)),
        _ if numbers.is_empty() => Err(gone(lowest)),
        _ => Ok(()),
    }
}

fn open_file(disk: &dyn Disk, path: &str) -> Result<Arc<dyn DiskFile>, JournalError> {
    disk.open(path).map_err(|error| JournalError::io("open", path, &error))
}

fn file_len(file: &dyn DiskFile, path: &str) -> Result<u64, JournalError> {
    file.len().map_err(|error| JournalError::io("read", path, &error))
}

fn check_header(
    path: &str,
    header: &SegmentHeader,
    number: u64,
    expected: Option<Seq>,
) -> Result<(), JournalError> {
    if header.number != number || header.shelf.is_some() || header.base == Seq::ZERO {
        return Err(JournalError::corrupt(path, 0, "the segment is not the one that its name says"));
    }
    match expected {
        Some(base) if base != header.base => {
            let what = format!("it begins at Seq {} and must begin at {base}", header.base);
            Err(JournalError::corrupt(path, 0, what))
        }
        _ => Ok(()),
    }
}

fn open_sealed(
    disk: &dyn Disk,
    dir: &str,
    identity: &Identity,
    number: u64,
    expected: Option<Seq>,
) -> Result<Sealed, JournalError> {
    let path: Arc<str> = segment_path(dir, number).into();
    let file = open_file(disk, &path)?;
    let (header, header_len) = read_header(&*file, &path, identity)?;
    check_header(&path, &header, number, expected)?;
    let (len, seed) = (file_len(&*file, &path)?, seed(identity, number, None));
    let place = Place { path: Arc::clone(&path), number, header_len };
    if let Some((extent, summary)) = read_sidecar(disk, &path, seed)
        && extent.base == header.base
    {
        if extent.len != len {
            return Err(JournalError::corrupt(&path, len.min(extent.len), "its length is not what it was"));
        }
        return Ok(Sealed::new(place, extent, None, summary));
    }
    let mut index = SegmentIndex::default();
    let mut last = Seq(header.base.0 - 1);
    scan(&file, &path, seed, (header_len, len), &mut index, |end, _| {
        last = end.unwrap_or(last);
    })?;
    let extent = Extent { seed, base: header.base, last, len };
    let summary = super::sidecar::build(extent, &index).1;
    Ok(Sealed::new(place, extent, None, summary))
}

type Recovered = (Active, Tail, Vec<(u32, Arc<Relation>)>);

fn open_active(
    disk: &dyn Disk,
    dir: &str,
    identity: &Identity,
    (number, expected, marked): (u64, Option<Seq>, u64),
) -> Result<Recovered, JournalError> {
    let path: Arc<str> = segment_path(dir, number).into();
    let file = open_file(disk, &path)?;
    let (header, header_len) = read_header(&*file, &path, identity)?;
    check_header(&path, &header, number, expected)?;
    let len = file_len(&*file, &path)?;
    let seed = seed(identity, number, None);
    let mut found = Survivors {
        tail: Tail {
            len: header_len,
            filled: header_len,
            settled_len: header_len,
            next: header.base,
            committed: Seq(header.base.0 - 1),
            position: header.position.clone(),
            open: None,
            durable_len: marked.max(header_len),
        },
        relations: Vec::new(),
        index: SegmentIndex::default(),
    };
    let frames = Frames::new(Arc::clone(&file), Arc::clone(&path), seed, header_len, len);
    let bad = found.read(frames, &path)?;
    let acked = found.tail.durable_len;
    if let Some(offset) = bad {
        let claimed = claimed_behind(&*file, &path, seed, offset, len)?;
        if acked.max(claimed) > offset {
            return Err(JournalError::corrupt(&path, offset, "a frame that was synced is damaged"));
        }
    }
    let kept = found.tail.settled_len;
    if acked > kept {
        return Err(JournalError::corrupt(&path, kept, "it ends before the point up to which it was synced"));
    }
    make_durable(&*file, &path, (acked, kept, len))?;
    // Only what is kept is known: the places of cut frames must not be looked at again.
    found.index.seek.retain(|(_, offset)| *offset < kept);
    found.index.relations.retain(|offset| *offset < kept);
    let relations = found.relations.into_iter().filter(|(_, offset, _)| *offset < kept);
    let relations = relations.map(|(id, _, relation)| (id, relation)).collect();
    let tail =
        Tail { len: kept, durable_len: kept, next: found.tail.committed.next(), open: None, ..found.tail };
    let active =
        Active { number, base: header.base, path, file, seed, header_len, len: kept, index: found.index };
    Ok((active, tail, relations))
}

/// What is good in the last segment.
struct Survivors {
    tail: Tail,
    relations: Vec<(u32, u64, Arc<Relation>)>,
    index: SegmentIndex,
}

impl Survivors {
    /// Reads as far as frames are good; returns where the first bad one stands.
    fn read(&mut self, frames: Frames, path: &str) -> Result<Option<u64>, JournalError> {
        let mut cursor = SegmentCursor::new(frames, Arc::new(Members::default()));
        let mut noted = 0;
        loop {
            let step = match cursor.try_next() {
                Ok(Some(step)) => step,
                Ok(None) => return Ok(None),
                Err(FrameFault::Bad(offset)) => return Ok(Some(offset)),
                Err(FrameFault::Other(error)) => return Err(error),
            };
            let (offset, end, done) = cursor.frame();
            let (first, settled) = (cursor.frame_first(), cursor.frame_settled());
            let tail = &mut self.tail;
            tail.durable_len = tail.durable_len.max(settled);
            if noted != offset {
                noted = offset;
                if first != tail.next {
                    let what = format!("a frame begins at Seq {first} where {} follows", tail.next);
                    return Err(JournalError::corrupt(path, offset, what));
                }
                if matches!(step, Step::Group(_)) {
                    self.index.note_frame(first, offset);
                }
            }
            match step {
                Step::Idle(position) => tail.position = Some(position),
                Step::Relation(id) => {
                    self.index.relations.push(offset);
                    let relation = cursor.slot(id).map(|slot| Arc::clone(&slot.relation));
                    self.relations.extend(relation.map(|relation| (id, offset, relation)));
                }
                Step::Group(group) => {
                    tail.next = group.end.next();
                    match &group.commit {
                        None => tail.open = Some(group.transaction),
                        Some(commit) => {
                            tail.open = None;
                            tail.committed = group.end;
                            tail.position = Some(commit.position.clone());
                        }
                    }
                }
            }
            tail.len = end;
            if done && tail.open.is_none() {
                tail.settled_len = end;
            }
        }
    }
}

/// How far good frames behind a bad one say that the file was synced.
fn claimed_behind(
    file: &dyn DiskFile,
    path: &str,
    seed: u32,
    bad: u64,
    len: u64,
) -> Result<u64, JournalError> {
    let tail = read_up_to(file, bad, (len - bad) as usize);
    let tail = Bytes::from(tail.map_err(|error| JournalError::io("read", path, &error))?);
    let mut claimed = 0;
    for (at, pair) in tail.windows(2).enumerate().skip(1) {
        if pair != FRAME_MAGIC || at + FRAME_HEADER > tail.len() {
            continue;
        }
        let bytes = tail.slice(at..at + FRAME_HEADER);
        match FrameHeader::decode(bytes, seed, bad + at as u64) {
            Ok(header) => claimed = claimed.max(header.settled),
            Err(NoFrame::Later) => {
                return Err(JournalError::foreign(path, "a frame was written by a later version of Tandem"));
            }
            Err(NoFrame::Bad) => {}
        }
    }
    Ok(claimed)
}

/// Cuts what is not kept, writes again what was not known as synced, and syncs.
fn make_durable(
    file: &dyn DiskFile,
    path: &str,
    (acked, kept, len): (u64, u64, u64),
) -> Result<(), JournalError> {
    let make = || {
        if kept < len {
            file.truncate(kept)?;
        }
        let mut at = acked;
        while at < kept {
            let part = read_up_to(file, at, COPY_AT_ONCE.min(kept - at) as usize)?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(at, &part)?;
            at += part.len() as u64;
        }
        if kept < len || acked < kept { file.sync() } else { Ok(()) }
    };
    make().map_err(|error| JournalError::io("recover", path, &error))
}
