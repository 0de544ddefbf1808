//! What is known of a segment beside its frames: where to start reading, which records each flow has in it, and
//! which of them have a key. Built in memory while a segment is written, put into a sidecar file when it is
//! sealed. A sidecar is derived: it has checksums and no syncs, and is made again from the segment whenever it
//! is missing, damaged, or does not know a flow.

use super::cursor::Slot;
use super::{FlowId, FlowSpec, Span};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use tandem_core::{Change, IntegrationKey, KeyHash, Op, Relation, Row, Seq, WallTime};

/// A place to start reading is noted about this often, in bytes.
const SEEK_EVERY: u64 = 64 << 10;

/// One record of a flow, as counts need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordMark {
    pub seq: Seq,
    /// Bytes of the flow's records in this segment up to and with this one.
    pub through: u64,
    pub captured_at: WallTime,
}

/// A record that is written and not yet noted: its transaction may still be open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noted {
    pub flow: FlowId,
    pub seq: Seq,
    pub bytes: u64,
    pub captured_at: WallTime,
    pub keys: [Option<KeyHash>; 2],
}

/// What a flow makes of the changes of one relation.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub flow: FlowId,
    pub span: Span,
    key: Option<Vec<usize>>,
}

impl Route {
    pub(crate) fn new(spec: &FlowSpec, relation: &Relation) -> Option<Self> {
        (spec.table == relation.table).then(|| {
            let key = relation.places(spec.key.iter().map(|name| &**name)).ok();
            Self { flow: spec.flow, span: spec.span, key: key.filter(|places| !places.is_empty()) }
        })
    }

    /// The hashes of the old and the new key of a change, as far as the log names them; each one once.
    pub(crate) fn keys(&self, op: &Op) -> [Option<KeyHash>; 2] {
        let Some(places) = &self.key else { return [None, None] };
        let hash = |row: &Row| IntegrationKey::of(row, places).map(|key| key.hash());
        let (old, new) = (op.old_row().and_then(hash), op.new_row().and_then(hash));
        [old, new.filter(|new| old != Some(*new))]
    }

    pub(crate) fn note(&self, seq: Seq, bytes: usize, captured_at: WallTime, op: &Op) -> Noted {
        Noted { flow: self.flow, seq, bytes: bytes as u64, captured_at, keys: self.keys(op) }
    }
}

/// Passes a key's hash on as it is: it is a hash already.
#[derive(Debug, Default, Clone)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// One flow's records in a segment in memory.
#[derive(Debug)]
pub(crate) struct FlowIndex {
    pub spec: Arc<FlowSpec>,
    pub marks: Vec<RecordMark>,
    /// Hash, Seq, and the place of the one before it with the same hash.
    keys: Vec<(u64, Seq, Option<u32>)>,
    newest: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
}

impl FlowIndex {
    pub(crate) fn new(spec: Arc<FlowSpec>) -> Self {
        Self { spec, marks: Vec::new(), keys: Vec::new(), newest: HashMap::default() }
    }

    fn add(&mut self, noted: &Noted) {
        let before = self.marks.last().map_or(0, |mark| mark.through);
        let through = before + noted.bytes;
        self.marks.push(RecordMark { seq: noted.seq, through, captured_at: noted.captured_at });
        for key in noted.keys.into_iter().flatten() {
            let place = self.keys.len() as u32;
            let previous = self.newest.insert(key.0, place);
            self.keys.push((key.0, noted.seq, previous));
        }
    }

    /// The Seqs beyond `after` of records that have the key, rising.
    pub(crate) fn find(&self, key: KeyHash, after: Seq) -> Vec<Seq> {
        let mut found = Vec::new();
        let mut place = self.newest.get(&key.0).copied();
        while let Some((_, seq, previous)) = place.and_then(|at| self.keys.get(at as usize)) {
            if *seq <= after {
                break;
            }
            found.push(*seq);
            place = *previous;
        }
        found.reverse();
        found
    }

    /// All keys, sorted by hash and Seq, as the sidecar has them.
    pub(crate) fn sorted_keys(&self) -> Vec<(u64, Seq)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(hash, seq, _)| (*hash, *seq)).collect();
        keys.sort_unstable();
        keys
    }
}

/// What is known of one segment in memory.
#[derive(Debug, Default)]
pub(crate) struct SegmentIndex {
    /// First Seq and offset of some frames with entries, rising.
    pub seek: Vec<(Seq, u64)>,
    /// Offsets of the relation frames, rising.
    pub relations: Vec<u64>,
    pub flows: HashMap<FlowId, FlowIndex>,
}

impl SegmentIndex {
    pub(crate) fn of(flows: impl IntoIterator<Item = Arc<FlowSpec>>) -> Self {
        let flows = flows.into_iter().map(|spec| (spec.flow, FlowIndex::new(spec))).collect();
        Self { flows, ..Self::default() }
    }

    /// Notes a frame with entries, if the last one noted is far enough behind.
    /// Forgets what lies at an offset or beyond: it was cut.
    pub(crate) fn forget_from(&mut self, offset: u64) {
        self.seek.retain(|(_, at)| *at < offset);
        self.relations.retain(|at| *at < offset);
    }

    pub(crate) fn note_frame(&mut self, first: Seq, offset: u64) {
        if self.seek.last().is_none_or(|(_, last)| offset >= last + SEEK_EVERY) {
            self.seek.push((first, offset));
        }
    }

    pub(crate) fn note(&mut self, noted: &Noted) {
        if let Some(flow) = self.flows.get_mut(&noted.flow) {
            flow.add(noted);
        }
    }
}

/// Where to start reading for a Seq: the offset of a frame at or before it.
pub(crate) fn seek(places: &[(Seq, u64)], seq: Seq) -> Option<u64> {
    let at = places.partition_point(|(first, _)| *first <= seq).checked_sub(1)?;
    places.get(at).map(|(_, offset)| *offset)
}

/// The routes of a relation: which flows count its changes.
pub(crate) fn routes<'a>(
    flows: impl IntoIterator<Item = &'a Arc<FlowSpec>>,
    relation: &Relation,
) -> Vec<Route> {
    flows.into_iter().filter_map(|spec| Route::new(spec, relation)).collect()
}

/// Notes of a change for all flows that have it.
pub(crate) fn notes_of(
    routes: &[Route],
    slot: &Slot,
    seq: Seq,
    bytes: usize,
    captured_at: WallTime,
    change: &Change,
) -> Vec<Noted> {
    debug_assert_eq!(change.relation.table, slot.relation.table);
    let counted = routes.iter().filter(|route| route.span.has(seq));
    counted.map(|route| route.note(seq, bytes, captured_at, &change.op)).collect()
}
