//! A sealed segment: a file that nobody writes any more, of the journal or of a shelf, with its sidecar.

use super::cursor::{Frames, Members, SegmentCursor, Step};
use super::filter::{Filter, FilterBudget};
use super::format::{NoSegment, SEGMENT_HEADER_MAX, SegmentHeader};
use super::index::{RecordMark, SegmentIndex, notes_of, routes, seek};
use super::keys::SortedKeys;
use super::sidecar::{self, Extent, FlowSummary, KEY_ENTRY, Section, Summary};
use super::{FlowId, FlowSpec, Identity, JournalError};
use crate::disk::{Disk, DiskFile, read_up_to, remove_if_there};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tandem_core::{KeyHash, Position, Seq};

/// A sealed segment.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The file; its sidecar has `.index` behind the name.
    pub path: Arc<str>,
    pub number: u64,
    pub base: Seq,
    pub last: Seq,
    /// The file's length; 0 for a shelf's segment that has no record, and so no file.
    pub len: u64,
    pub seed: u32,
    pub header_len: u64,
    /// Where capture resumes behind it.
    pub position: Option<Position>,
    summary: RwLock<Arc<Summary>>,
    /// Key sections whose checksum was found good since we started, with their filters.
    checked: Mutex<Vec<Checked>>,
}

type Checked = (Section, Option<Arc<Filter>>);

impl Sealed {
    pub(crate) fn new(place: Place, extent: Extent, position: Option<Position>, summary: Summary) -> Self {
        Self {
            path: place.path,
            number: place.number,
            base: extent.base,
            last: extent.last,
            len: extent.len,
            seed: extent.seed,
            header_len: place.header_len,
            position,
            summary: RwLock::new(Arc::new(summary)),
            checked: Mutex::default(),
        }
    }

    pub(crate) fn summary(&self) -> Arc<Summary> {
        Arc::clone(&self.summary.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the flow has in here, if it has anything.
    pub(crate) fn flow(&self, flow: FlowId) -> Option<Arc<FlowSummary>> {
        self.summary().flows.get(&flow).filter(|found| found.records > 0).cloned()
    }

    /// Whether the summary knows the flow as it is specified now.
    fn knows(&self, spec: &FlowSpec) -> bool {
        let summary = self.summary();
        summary.flows.get(&spec.flow).is_some_and(|known| {
            let here = |spec: &FlowSpec| spec.span.within(self.base, self.last);
            known.spec.table == spec.table && known.spec.key == spec.key && here(&known.spec) == here(spec)
        })
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { seed: self.seed, base: self.base, last: self.last, len: self.len }
    }

    /// Makes the summary anew if a flow that may have records in here is not in it.
    pub(crate) fn ensure(&self, disk: &dyn Disk, flows: &[Arc<FlowSpec>]) -> Result<(), JournalError> {
        let concerned = |spec: &&Arc<FlowSpec>| spec.span.meets(self.base, self.last);
        if self.len == 0 || flows.iter().filter(concerned).all(|spec| self.knows(spec)) {
            return Ok(());
        }
        self.index_again(disk, flows)
    }

    fn index_again(&self, disk: &dyn Disk, flows: &[Arc<FlowSpec>]) -> Result<(), JournalError> {
        let file = self.open(disk)?;
        let mut index = SegmentIndex::of(flows.iter().cloned());
        let range = (self.header_len, self.len);
        scan(&file, &self.path, self.seed, range, &mut index, |_, _| {})?;
        let (bytes, summary) = sidecar::build(self.extent(), &index);
        write_sidecar(disk, &self.path, &bytes)?;
        *self.summary.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(summary);
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Opens the file. One that is gone was reclaimed.
    pub(crate) fn open(&self, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, JournalError> {
        disk.open(&self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => JournalError::missing("read", format!("{} is gone", self.path)),
            _ => JournalError::io("open", &self.path, &error),
        })
    }

    /// A cursor that starts at or before `seq`.
    pub(crate) fn cursor(
        &self,
        disk: &dyn Disk,
        members: Arc<Members>,
        seq: Seq,
    ) -> Result<SegmentCursor, JournalError> {
        let summary = self.summary();
        let start = seek(&summary.seek, seq).unwrap_or(self.header_len);
        let frames = Frames::new(self.open(disk)?, Arc::clone(&self.path), self.seed, start, self.len);
        let mut cursor = SegmentCursor::new(frames, members);
        cursor.learn(&summary.relations)?;
        Ok(cursor)
    }

    fn section(&self, disk: &dyn Disk, section: Section) -> Result<Option<Bytes>, JournalError> {
        let path = sidecar_path(&self.path);
        let read = || {
            let file = disk.open(&path)?;
            let len = section.len.min(file.len()?.saturating_sub(section.offset));
            read_up_to(&*file, section.offset, len as usize)
        };
        match read() {
            Ok(bytes) if crc32c::crc32c(&bytes) == section.crc && bytes.len() as u64 == section.len => {
                Ok(Some(Bytes::from(bytes)))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(JournalError::io("read", &path, &error)),
        }
    }

    /// The flow's records, from the sidecar, which is made again if it is not good.
    pub(crate) fn list(
        &self,
        disk: &dyn Disk,
        spec: &Arc<FlowSpec>,
    ) -> Result<Vec<RecordMark>, JournalError> {
        for _ in 0..2 {
            let Some(flow) = self.flow(spec.flow) else { return Ok(Vec::new()) };
            if let Some(bytes) = self.section(disk, flow.list)? {
                let path = sidecar_path(&self.path);
                return sidecar::read_list(bytes).map_err(|what| JournalError::corrupt(&path, 0, what));
            }
            self.again(disk)?;
        }
        Err(JournalError::corrupt(&sidecar_path(&self.path), 0, "a sidecar stays damaged"))
    }

    fn again(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        let flows: Vec<_> = self.summary().flows.values().map(|flow| Arc::clone(&flow.spec)).collect();
        self.index_again(disk, &flows)
    }

    /// The Seqs beyond `after` of the flow's records that have the key, rising.
    pub(crate) fn find(
        &self,
        (disk, budget): (&dyn Disk, &FilterBudget),
        flow: FlowId,
        key: KeyHash,
        after: Seq,
    ) -> Result<Vec<Seq>, JournalError> {
        for _ in 0..2 {
            let Some(known) = self.flow(flow).filter(|known| known.last > after) else {
                return Ok(Vec::new());
            };
            match self.checked(disk, known.keys, budget)? {
                Some((_, Some(filter))) if !filter.may_have(key.0) => return Ok(Vec::new()),
                Some(_) => return SortedKeys::open(disk, &self.path, known.keys)?.find(key, after),
                None => self.again(disk)?,
            }
        }
        Err(JournalError::corrupt(&sidecar_path(&self.path), 0, "a sidecar stays damaged"))
    }

    /// A section of keys whose checksum holds; `None` if it does not.
    fn checked(
        &self,
        disk: &dyn Disk,
        section: Section,
        budget: &FilterBudget,
    ) -> Result<Option<Checked>, JournalError> {
        let known = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().iter().find(|(known, _)| *known == section) {
            return Ok(Some(found.clone()));
        }
        let Some(bytes) = self.section(disk, section)? else { return Ok(None) };
        let hashes = bytes.chunks_exact(KEY_ENTRY as usize).map(|entry| {
            let hash = entry.first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(hash)
        });
        let checked = (section, Filter::of(hashes, budget).map(Arc::new));
        known().push(checked.clone());
        Ok(Some(checked))
    }

    /// Takes file and sidecar off the disk.
    pub(crate) fn remove(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        for path in [sidecar_path(&self.path), self.path.to_string()] {
            remove_if_there(disk, &path).map_err(|error| JournalError::io("remove", &path, &error))?;
        }
        Ok(())
    }
}

/// Where a sealed segment's file is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub path: Arc<str>,
    pub number: u64,
    pub header_len: u64,
}

pub(crate) fn sidecar_path(path: &str) -> String {
    format!("{path}.index")
}

/// Puts a sidecar on disk. It needs no sync: it has checksums and is derived.
pub(crate) fn write_sidecar(disk: &dyn Disk, segment: &str, bytes: &[u8]) -> Result<(), JournalError> {
    let path = sidecar_path(segment);
    let write = || {
        remove_if_there(disk, &path)?;
        disk.create(&path)?.append(bytes)
    };
    write().map_err(|error| JournalError::io("write", &path, &error))
}

/// Reads a sidecar's summary, if it is there, good, and of this segment.
pub(crate) fn read_sidecar(disk: &dyn Disk, segment: &str, seed: u32) -> Option<(Extent, Summary)> {
    let file = disk.open(&sidecar_path(segment)).ok()?;
    let prefix = read_up_to(&*file, 0, sidecar::PREFIX).ok()?;
    let len = sidecar::head_len(&prefix)?;
    if len as u64 > file.len().ok()? {
        return None;
    }
    let head = read_up_to(&*file, 0, sidecar::PREFIX + len).ok()?;
    sidecar::read_head(Bytes::from(head), seed)
}

/// Reads the head of a segment file.
pub(crate) fn read_header(
    file: &dyn DiskFile,
    path: &str,
    identity: &Identity,
) -> Result<(SegmentHeader, u64), JournalError> {
    let mut want = 4096;
    loop {
        let start = read_up_to(file, 0, want).map_err(|error| JournalError::io("read", path, &error))?;
        let whole = start.len() < want;
        match SegmentHeader::decode(Bytes::from(start), identity) {
            Ok(found) => return Ok(found),
            Err(NoSegment::Foreign(who)) => return Err(JournalError::foreign(path, who)),
            Err(NoSegment::Bad) if whole || want >= SEGMENT_HEADER_MAX => {
                return Err(JournalError::corrupt(path, 0, "the segment's head is damaged"));
            }
            Err(NoSegment::Bad) => want = SEGMENT_HEADER_MAX,
        }
    }
}

/// Reads a range of frames that must be good into an index, records of a transaction that is still open at the
/// end included. `each` gets the last Seq of each transaction, and each position.
pub(crate) fn scan(
    file: &Arc<dyn DiskFile>,
    path: &Arc<str>,
    seed: u32,
    range: (u64, u64),
    index: &mut SegmentIndex,
    mut each: impl FnMut(Option<Seq>, Option<Position>),
) -> Result<(), JournalError> {
    let specs: Vec<Arc<FlowSpec>> = index.flows.values().map(|flow| Arc::clone(&flow.spec)).collect();
    let members = Members::new(specs.iter().map(|spec| (spec.table.clone(), spec.flow, spec.span.into())));
    let frames = Frames::new(Arc::clone(file), Arc::clone(path), seed, range.0, range.1);
    let mut cursor = SegmentCursor::new(frames, Arc::new(members));
    let mut by_relation = std::collections::HashMap::new();
    let mut seen_frame = 0;
    while let Some(step) = cursor.next()? {
        let (offset, ..) = cursor.frame();
        match step {
            Step::Idle(position) => each(None, Some(position)),
            Step::Relation(id) => {
                index.relations.push(offset);
                if let Some(slot) = cursor.slot(id) {
                    by_relation.insert(id, routes(&specs, &slot.relation));
                }
            }
            Step::Group(group) => {
                if seen_frame != offset {
                    seen_frame = offset;
                    index.note_frame(cursor.frame_first(), offset);
                }
                for found in &group.found {
                    let (change, _) = cursor.change(found)?;
                    let (Some(slot), Some(routes)) =
                        (cursor.slot(found.relation), by_relation.get(&found.relation))
                    else {
                        continue;
                    };
                    let bytes = found.entry.len();
                    let notes = notes_of(routes, slot, found.seq, bytes, group.captured_at, &change);
                    notes.iter().for_each(|noted| index.note(noted));
                }
                if let Some(commit) = &group.commit {
                    each(Some(group.end), Some(commit.position.clone()));
                }
            }
        }
    }
    Ok(())
}
