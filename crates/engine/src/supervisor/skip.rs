//! Skipping to live: a map leaves its queue behind and goes on with what comes now.
//!
//! Nothing is copied and nothing is counted through: the flow that has the queue is closed at the last durable Seq,
//! where a new flow begins, in one record. The old flow is let go by its lane like any other that is not to be in
//! one. Only then is it known, exactly, what of it was not applied; that count is saved together with the end of the
//! queue, before anything of it is removed.

use super::Supervisor;
use crate::request::{Blocker, Rejected, Request};
use crate::store::{FlowId, FlowRecord, Holes, MapRecord, Record, Skipped};
use crate::stream::Place;
use tandem_core::MapName;
use tandem_core::lifecycle::{Action, QueueFate, ResumeMode};

/// What becomes of the queue, if an action skips it.
pub(super) fn fate_of(action: Action) -> Option<QueueFate> {
    match action {
        Action::Resume(ResumeMode::SkipPreserve) => Some(QueueFate::Preserve),
        Action::Resume(ResumeMode::SkipDiscard) => Some(QueueFate::Discard),
        Action::Skip(fate) => Some(fate),
        _ => None,
    }
}

impl Supervisor {
    /// Closes a map's flows where everything is durable, and lets new ones begin there.
    pub(super) fn skip(
        &self,
        record: &mut MapRecord,
        fate: QueueFate,
        request: &Request,
        next_flow: &mut u32,
    ) -> Result<(), Rejected> {
        for flow in &mut record.flows {
            let handle = self.streams.get(&flow.stream);
            let (Some(handle), Some(start)) = (handle, flow.start) else {
                return Err(Rejected::Disk(format!("the journal of {} is not open", flow.stream)));
            };
            // What is not durable may be numbered anew after a crash: it belongs to whoever goes on.
            let until = handle.journal.with(|journal| journal.durable()).max(start);
            let next = FlowId(*next_flow);
            *next_flow += 1;
            let going_on = FlowRecord {
                flow: next,
                start: Some(until),
                // They are in what is left behind.
                holes: Holes::default(),
                ..flow.clone()
            };
            record.skipped.push(Skipped {
                flow: std::mem::replace(flow, going_on),
                until,
                next,
                fate,
                actor: request.actor.clone(),
                reason: request.reason.clone(),
            });
        }
        Ok(())
    }

    /// Ends queues that were to be discarded and that nobody applies any more.
    pub(super) fn finish_skips(&self, record: &mut MapRecord) -> Vec<Record> {
        let mut ended = Vec::new();
        let asked = self.asked.get(&record.map.name).copied().unwrap_or(0);
        let name = record.map.name.clone();
        let done: Vec<FlowId> = record
            .skipped
            .iter()
            .filter(|skipped| skipped.fate == QueueFate::Discard)
            .filter(|skipped| {
                let Some(handle) = self.streams.get(&skipped.flow.stream) else { return false };
                let status = handle.status.borrow();
                let place = |flow| status.flows.get(&flow).map(|flow| flow.place);
                // The new flow begins only when it is known how far the old one was applied.
                status.version >= asked
                    && place(skipped.flow.flow) == Some(Place::Resting)
                    && place(record.goes_on(skipped.next)).is_some_and(|place| place != Place::Resting)
            })
            .map(|skipped| skipped.flow.flow)
            .collect();
        if done.is_empty() {
            return ended;
        }
        let goes_on: Vec<FlowId> = record.skipped.iter().map(|old| record.goes_on(old.next)).collect();
        for (skipped, now) in std::mem::take(&mut record.skipped).into_iter().zip(goes_on) {
            match self.end_of(&skipped, now, &name) {
                Some(records) if done.contains(&skipped.flow.flow) => ended.extend(records),
                _ => record.skipped.push(skipped),
            }
        }
        ended
    }

    /// What is to be saved when a skipped queue ends, whose errors are `now`'s from then on.
    fn end_of(&self, skipped: &Skipped, now: FlowId, name: &MapName) -> Option<Vec<Record>> {
        let handle = self.streams.get(&skipped.flow.stream)?;
        let flow = skipped.flow.flow;
        let cursor = handle.status.borrow().flows.get(&flow)?.cursor;
        let counts = handle.journal.with(|journal| journal.queued(flow, cursor));
        let counts = counts.inspect_err(|error| {
            tracing::error!(map = %name, "a queue that is to be discarded cannot be counted: {error}");
        });
        let counts = counts.ok()?;
        let mut entry = self.note("queue.discarded", name, &skipped.actor, &skipped.reason);
        entry.detail = format!(
            "{} queued records ({} bytes) of {} beyond Seq {cursor} up to {} were not applied",
            counts.records, counts.bytes, skipped.flow.stream, skipped.until
        );
        tracing::info!(map = %name, stream = %skipped.flow.stream, records = counts.records, beyond = %cursor, until = %skipped.until, "queue discarded");
        Some(vec![
            Record::Activity(entry),
            // Noted before a commit that was never made: it is part of the queue.
            Record::NoErrorsAbove(vec![(flow, cursor)]),
            Record::ErrorsOf { now, before: flow },
        ])
    }

    /// The errors of a flow that has ended are shown with the one that goes on.
    pub(super) fn move_error_counts(&mut self, saved: &[Record]) {
        for record in saved {
            let Record::ErrorsOf { now, before } = record else { continue };
            let noted = |handle: &super::StreamHandle| {
                handle.status.borrow().flows.get(before).map_or(0, |status| status.refused.total())
            };
            let noted: u64 = self.streams.values().map(noted).sum();
            let known = self.errors.remove(before).unwrap_or_default();
            *self.errors.entry(*now).or_default() += known + noted;
        }
    }

    /// Maps whose queue is not what the person saw who asked.
    pub(super) fn not_as_expected(&self, request: &Request) -> Vec<Blocker> {
        let Some(expected) = request.expected else { return Vec::new() };
        let queued: u64 =
            request.maps.iter().filter_map(|map| self.maps.get(map)).map(|map| self.queued(map).0).sum();
        if queued == expected {
            return Vec::new();
        }
        let needs = format!("{queued} records are queued now, not {expected}: look again, then ask again");
        let blocker = |name: &_| {
            let state = self.maps.get(name)?.state.phase.to_string();
            Some(Blocker { map: name.clone(), state, needs: needs.clone() })
        };
        request.maps.iter().filter_map(blocker).collect()
    }

    /// Records and bytes of a map that are captured and not applied.
    pub(super) fn queued(&self, record: &MapRecord) -> (u64, u64) {
        let skipped = record.skipped.iter().map(|skipped| &skipped.flow);
        let (mut records, mut bytes) = (0, 0);
        for flow in record.flows.iter().chain(skipped) {
            let Some(handle) = self.streams.get(&flow.stream) else { continue };
            let cursor = handle.status.borrow().flows.get(&flow.flow).map(|status| status.cursor);
            let Some(cursor) = cursor.max(flow.start) else { continue };
            if let Ok(counts) = handle.journal.with(|journal| journal.queued(flow.flow, cursor)) {
                records += counts.records;
                bytes += counts.bytes;
            }
        }
        (records, bytes)
    }
}
