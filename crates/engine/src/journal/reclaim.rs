//! Letting go: segments that nobody needs are unlinked, oldest first.
//!
//! The number of the oldest segment that must be there is made durable before anything goes. So a crash leaves
//! at worst files that the next start removes; and a segment that is missing for any other reason is found.

use super::catalog::Catalog;
use super::records::Records;
use super::segment::Sealed;
use super::{FlowId, Journal, JournalError, Span, recover, shelf};
use crate::failpoint::FailPoint;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use tandem_core::Seq;

/// What [`Records::reclaim`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Segments of the log and of shelves that are gone.
    pub segments: usize,
    /// Bytes that they had.
    pub bytes: u64,
}

impl Records {
    /// Unlinks sealed segments, oldest first, which every flow has applied (`needs` says through which Seq each
    /// one allows it) or shelved, while at least `keep_bytes` of log remain; and segments of shelves that their
    /// flow has applied. What was dropped of a flow is as good as applied. A flow that is counted and not in `needs` holds
    /// everything.
    pub fn reclaim(&self, needs: &[(FlowId, Seq)], keep_bytes: u64) -> Result<Reclaimed, JournalError> {
        let shared = &*self.shared;
        let _alone = shared.housekeeping.lock().unwrap_or_else(PoisonError::into_inner);
        shared.health.check("reclaim")?;
        let (needs, mut gone) = {
            let catalog = shared.look();
            let over = |(flow, need): &(FlowId, Seq)| (*flow, catalog.holes_of(*flow).over(*need));
            let needs: HashMap<FlowId, Seq> = needs.iter().map(over).collect();
            let count = reclaimable(&catalog, &needs, keep_bytes);
            (needs, catalog.sealed.iter().take(count).cloned().collect::<Vec<_>>())
        };
        if let Some(last) = gone.last() {
            let floor = recover::write_floor(&*shared.disk, &shared.dir, last.number + 1);
            floor.map_err(|error| JournalError::io("write floor of", &shared.dir, &error))?;
            FailPoint::ReclaimFloor.pass();
            let mut catalog = shared.change();
            catalog.sealed.drain(..gone.len());
            let flows: Vec<_> = catalog.flows.keys().copied().collect();
            flows.into_iter().for_each(|flow| catalog.count_again(flow));
        }
        for (flow, need) in &needs {
            gone.extend(self.trim(*flow, *need)?);
        }
        if !gone.is_empty() {
            shared.forget_lists();
        }
        let bytes = gone.iter().map(|segment| segment.len).sum();
        gone.iter().try_for_each(|segment| {
            let removed = segment.remove(&*shared.disk);
            FailPoint::ReclaimUnlinked.pass();
            removed
        })?;
        Ok(Reclaimed { segments: gone.len(), bytes })
    }

    /// Takes out of a shelf what its flow has applied and what was dropped of it, and returns the segments, to be
    /// unlinked.
    fn trim(&self, flow: FlowId, need: Seq) -> Result<Vec<Arc<Sealed>>, JournalError> {
        let shared = &*self.shared;
        let (shelf, holes) = {
            let catalog = shared.look();
            (catalog.shelves.get(&flow).cloned(), catalog.holes_of(flow))
        };
        let Some(mut shelf) = shelf else { return Ok(Vec::new()) };
        let count = shelf.segments.partition_point(|part| part.last <= need);
        let mut gone: Vec<_> = shelf.segments.drain(..count).collect();
        shelf.from = gone.last().map_or(shelf.from, |part| part.last).max(shelf.from);
        for part in &mut shelf.segments {
            if part.len > 0 && holes.cover(part.base, part.last) {
                let empty = Arc::new(shelf::empty(shared, part, flow));
                gone.push(std::mem::replace(part, empty));
            }
        }
        if gone.is_empty() {
            return Ok(gone);
        }
        if shelf.segments.is_empty() {
            shelf::remove(&*shared.disk, &shared.dir, flow, &shelf)?;
            shared.change().shelves.remove(&flow);
        } else {
            shelf::write_manifest(shared, flow, &shelf)?;
            shared.change().shelves.insert(flow, shelf);
        }
        let mut catalog = shared.change();
        if catalog.flows.contains_key(&flow) {
            catalog.count_again(flow);
        }
        Ok(gone)
    }
}

impl Journal {
    /// Forgets a flow: its counts, its index, its shelf. Its changes stay in the log until that is reclaimed.
    pub fn drop_flow(&mut self, flow: FlowId) -> Result<(), JournalError> {
        self.forget_flow(flow);
        let shared = &*self.records().shared;
        let _alone = shared.housekeeping.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = {
            let mut catalog = shared.change();
            catalog.flows.remove(&flow);
            catalog.holes.remove(&flow);
            catalog.tallies.remove(&flow);
            catalog.active.index.flows.remove(&flow);
            catalog.shelves.remove(&flow)
        };
        shared.forget_lists();
        shelf.map_or(Ok(()), |shelf| shelf::remove(&*shared.disk, &shared.dir, flow, &shelf))
    }
}

/// How many of the oldest segments nobody needs.
fn reclaimable(catalog: &Catalog, needs: &HashMap<FlowId, Seq>, keep_bytes: u64) -> usize {
    let mut left = catalog.sealed.iter().map(|segment| segment.len).sum::<u64>() + catalog.active.len;
    let mut count = 0;
    for segment in &catalog.sealed {
        left -= segment.len;
        if left < keep_bytes || !catalog.flows.keys().all(|flow| is_free(catalog, *flow, needs, segment)) {
            break;
        }
        count += 1;
    }
    count
}

/// Whether a flow can do without a segment.
fn is_free(catalog: &Catalog, flow: FlowId, needs: &HashMap<FlowId, Seq>, segment: &Sealed) -> bool {
    let span = catalog.flows.get(&flow).map_or(Span::beyond(Seq::ZERO), |spec| spec.span);
    if !span.meets(segment.base, segment.last) {
        return true;
    }
    let begins = span.from;
    let need = needs.get(&flow).copied().unwrap_or(Seq::ZERO).max(begins);
    let before = Seq(segment.base.0.saturating_sub(1));
    let shelved = |shelf: &shelf::Shelf| shelf.from <= need.max(before) && shelf.through >= segment.last;
    need >= segment.last || catalog.shelves.get(&flow).is_some_and(shelved)
}
