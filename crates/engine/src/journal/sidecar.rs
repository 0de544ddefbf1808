//! The sidecar of a sealed segment: its summary, and per flow the records and the sorted keys.
//!
//! ```text
//! "TANDEM-Y"  head len u32  head crc32c u32  head  sections
//! head      seed u32  base varint  last varint (+1)  segment len varint
//!           seek places  relation places  flows, each with its spec, its summary and two sections
//! records   for each: Seq varint (less the one before)  bytes varint  captured_at zigzag (less the one before)
//! keys      for each: hash u64, Seq u64; sorted
//! ```

use super::entry::{put_table, read_table};
use super::index::{FlowIndex, RecordMark, SegmentIndex};
use super::wire::{Input, Malformed, put_sized, put_varint, put_zigzag};
use super::{FlowId, FlowSpec, Span};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{Seq, WallTime};

const MAGIC: [u8; 8] = *b"TANDEM-Y";
pub(crate) const KEY_ENTRY: u64 = 16;
/// Bytes before the head.
pub(crate) const PREFIX: usize = 16;

/// A part of the sidecar file with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub offset: u64,
    pub len: u64,
    pub crc: u32,
}

/// What one flow has in a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowSummary {
    pub spec: Arc<FlowSpec>,
    pub records: u64,
    pub bytes: u64,
    pub first: Seq,
    pub last: Seq,
    pub oldest_at: WallTime,
    pub list: Section,
    pub keys: Section,
}

/// What is known of a sealed segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub seek: Vec<(Seq, u64)>,
    pub relations: Vec<u64>,
    pub flows: HashMap<FlowId, Arc<FlowSummary>>,
}

/// Which segment a sidecar belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub seed: u32,
    pub base: Seq,
    pub last: Seq,
    pub len: u64,
}

/// The sidecar's bytes, and the summary that stays in memory.
pub(crate) fn build(extent: Extent, index: &SegmentIndex) -> (Vec<u8>, Summary) {
    let mut sections = Vec::new();
    let mut flows: Vec<&FlowIndex> = index.flows.values().collect();
    flows.sort_by_key(|flow| flow.spec.flow);
    // Sections are counted from the end of the head, whose length depends on nothing but itself.
    let mut summaries: Vec<FlowSummary> =
        flows.into_iter().map(|flow| summarise(flow, &mut sections)).collect();
    let mut head = Vec::new();
    head.extend_from_slice(&extent.seed.to_le_bytes());
    put_varint(&mut head, extent.base.0);
    put_varint(&mut head, extent.last.0 + 1);
    put_varint(&mut head, extent.len);
    put_varint(&mut head, index.seek.len() as u64);
    for (seq, offset) in &index.seek {
        put_varint(&mut head, seq.0);
        put_varint(&mut head, *offset);
    }
    put_varint(&mut head, index.relations.len() as u64);
    index.relations.iter().for_each(|offset| put_varint(&mut head, *offset));
    put_varint(&mut head, summaries.len() as u64);
    summaries.iter().for_each(|flow| put_flow(&mut head, flow));
    let start = (PREFIX + head.len()) as u64;
    for flow in &mut summaries {
        flow.list.offset += start;
        flow.keys.offset += start;
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&sections);
    let flows = summaries.into_iter().map(|flow| (flow.spec.flow, Arc::new(flow))).collect();
    (out, Summary { seek: index.seek.clone(), relations: index.relations.clone(), flows })
}

fn section(sections: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Section {
    let start = sections.len();
    write(sections);
    let bytes = sections.get(start..).unwrap_or_default();
    Section { offset: start as u64, len: bytes.len() as u64, crc: crc32c::crc32c(bytes) }
}

fn summarise(flow: &FlowIndex, sections: &mut Vec<u8>) -> FlowSummary {
    let list = section(sections, |out| {
        let mut before = RecordMark { seq: Seq::ZERO, through: 0, captured_at: WallTime(0) };
        for mark in &flow.marks {
            put_varint(out, mark.seq.0 - before.seq.0);
            put_varint(out, mark.through - before.through);
            put_zigzag(out, mark.captured_at.0.wrapping_sub(before.captured_at.0));
            before = *mark;
        }
    });
    let keys = section(sections, |out| {
        for (hash, seq) in flow.sorted_keys() {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&seq.0.to_le_bytes());
        }
    });
    FlowSummary {
        spec: Arc::clone(&flow.spec),
        records: flow.marks.len() as u64,
        bytes: flow.marks.last().map_or(0, |mark| mark.through),
        first: flow.marks.first().map_or(Seq::ZERO, |mark| mark.seq),
        last: flow.marks.last().map_or(Seq::ZERO, |mark| mark.seq),
        oldest_at: flow.marks.first().map_or(WallTime(0), |mark| mark.captured_at),
        list,
        keys,
    }
}

fn put_flow(out: &mut Vec<u8>, flow: &FlowSummary) {
    put_varint(out, u64::from(flow.spec.flow.0));
    put_table(out, &flow.spec.table);
    put_varint(out, flow.spec.key.len() as u64);
    flow.spec.key.iter().for_each(|name| put_sized(out, name.as_bytes()));
    put_varint(out, flow.spec.span.from.0);
    put_varint(out, flow.spec.span.until.map_or(0, |until| until.0 + 1));
    for number in [flow.records, flow.bytes, flow.first.0, flow.last.0] {
        put_varint(out, number);
    }
    put_zigzag(out, flow.oldest_at.0);
    for section in [flow.list, flow.keys] {
        put_varint(out, section.offset);
        put_varint(out, section.len);
        put_varint(out, u64::from(section.crc));
    }
}

/// How long the head is, if the file starts like a sidecar.
pub(crate) fn head_len(prefix: &[u8]) -> Option<usize> {
    let mut input = Input::new(Bytes::copy_from_slice(prefix));
    (input.array::<8>().ok()? == MAGIC).then_some(())?;
    input.u32().ok().map(|len| len as usize)
}

/// Reads prefix and head. `None` if it is damaged or belongs to another segment.
pub(crate) fn read_head(bytes: Bytes, seed: u32) -> Option<(Extent, Summary)> {
    let mut input = Input::new(bytes);
    input.skip(8).ok()?;
    let (len, crc) = (input.u32().ok()?, input.u32().ok()?);
    let head = input.take(len as usize).ok()?;
    if crc32c::crc32c(&head) != crc {
        return None;
    }
    let start = (PREFIX + head.len()) as u64;
    let (extent, summary) = read_summary(Input::new(head), start).ok()?;
    (extent.seed == seed).then_some((extent, summary))
}

fn read_summary(mut input: Input, start: u64) -> Result<(Extent, Summary), Malformed> {
    let seed = input.u32()?;
    let base = Seq(input.varint()?);
    let last = Seq(input.varint()?.checked_sub(1).ok_or(Malformed("last"))?);
    let extent = Extent { seed, base, last, len: input.varint()? };
    let mut summary = Summary::default();
    for _ in 0..input.count()? {
        summary.seek.push((Seq(input.varint()?), input.varint()?));
    }
    for _ in 0..input.count()? {
        summary.relations.push(input.varint()?);
    }
    for _ in 0..input.count()? {
        let flow = read_flow(&mut input, start)?;
        summary.flows.insert(flow.spec.flow, Arc::new(flow));
    }
    Ok((extent, summary))
}

fn read_flow(input: &mut Input, start: u64) -> Result<FlowSummary, Malformed> {
    let flow = FlowId(u32::try_from(input.varint()?).map_err(|_| Malformed("flow"))?);
    let table = read_table(input)?;
    let mut key = Vec::new();
    for _ in 0..input.count()? {
        key.push(Arc::from(&*input.sized_text()?));
    }
    let from = Seq(input.varint()?);
    let until = input.varint()?.checked_sub(1).map(Seq);
    let spec = Arc::new(FlowSpec { flow, table, key, span: Span { from, until } });
    let (records, bytes) = (input.varint()?, input.varint()?);
    let (first, last) = (Seq(input.varint()?), Seq(input.varint()?));
    let oldest_at = WallTime(input.zigzag()?);
    let mut section = || -> Result<Section, Malformed> {
        let offset = start.checked_add(input.varint()?).ok_or(Malformed("section"))?;
        let len = input.varint()?;
        Ok(Section { offset, len, crc: u32::try_from(input.varint()?).map_err(|_| Malformed("crc"))? })
    };
    let (list, keys) = (section()?, section()?);
    Ok(FlowSummary { spec, records, bytes, first, last, oldest_at, list, keys })
}

/// Reads a section of records.
pub(crate) fn read_list(bytes: Bytes) -> Result<Vec<RecordMark>, Malformed> {
    let mut input = Input::new(bytes);
    let mut marks = Vec::new();
    let mut last = RecordMark { seq: Seq::ZERO, through: 0, captured_at: WallTime(0) };
    while !input.is_at_end() {
        last.seq.0 = last.seq.0.wrapping_add(input.varint()?);
        last.through = last.through.wrapping_add(input.varint()?);
        last.captured_at.0 = last.captured_at.0.wrapping_add(input.zigzag()?);
        marks.push(last);
    }
    Ok(marks)
}
