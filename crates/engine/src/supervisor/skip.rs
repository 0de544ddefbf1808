//! Skipping to live: a map leaves its queue behind and goes on with what comes now.
//!
//! Nothing is copied and nothing is counted through: the flow that has the queue is closed at the last durable Seq,
//! where a new flow begins, in one record. The old flow is let go by its lane like any other that is not to be in
//! one. Only then is it known, exactly, what of it was not applied; that count is saved together with the end of the
//! queue, before anything of it is removed.
//!
//! A queue that is preserved stays where it is, as the range of a flow that has ended, until each of its records has
//! come to an end: each is an error meanwhile (see `retrying`).

use super::Supervisor;
use crate::request::{Blocker, Rejected, Request};
use crate::store::{FlowId, FlowRecord, Holes, MapRecord, Record, Skipped};
use crate::stream::{FlowStatus, Place};
use tandem_core::lifecycle::{Action, QueueFate, ResumeMode};
use tandem_core::{MapName, Seq};

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
    /// Closes a map's flows where everything is durable. With `goes_on`, new ones begin there; else the map has none
    /// any more.
    pub(super) fn leave_behind(
        &self,
        record: &mut MapRecord,
        fate: QueueFate,
        request: &Request,
        goes_on: bool,
        next_flow: &mut u32,
    ) -> Result<(), Rejected> {
        for flow in std::mem::take(&mut record.flows) {
            let handle = self.streams.get(&flow.stream);
            let (Some(handle), Some(start)) = (handle, flow.start) else {
                if !goes_on {
                    // It has not begun, and has nothing to leave behind.
                    continue;
                }
                return Err(Rejected::Disk(format!("the journal of {} is not open", flow.stream)));
            };
            // What is not durable may be numbered anew after a crash: it belongs to whoever goes on.
            let until = handle.journal.with(|journal| journal.durable()).max(start);
            let next = FlowId(*next_flow);
            *next_flow += 1;
            if goes_on {
                // The holes are in what is left behind.
                let holes = Holes::default();
                record.flows.push(FlowRecord { flow: next, start: Some(until), holes, ..flow.clone() });
            }
            record.skipped.push(Skipped {
                flow,
                until,
                next,
                fate,
                actor: request.actor.clone(),
                reason: request.reason.clone(),
                settled: false,
            });
        }
        Ok(())
    }

    /// Brings what was left behind nearer to its end, as soon as nobody applies it any more. Returns what is to be saved,
    /// and how many records are discarded with it.
    pub(super) fn finish_skips(&mut self, record: &mut MapRecord) -> (Vec<Record>, u64) {
        let asked = self.asked.get(&record.map.name).copied().unwrap_or(0);
        let name = record.map.name.clone();
        let (mut saved, mut left, mut discarded) = (Vec::new(), Vec::new(), 0);
        for mut skipped in std::mem::take(&mut record.skipped) {
            let Some(handle) = self.streams.get(&skipped.flow.stream) else {
                left.push(skipped);
                continue;
            };
            let (version, status) = {
                let status = handle.status.borrow();
                (status.version, status.flows.get(&skipped.flow.flow).cloned())
            };
            let let_go = |status: &FlowStatus| status.place == Place::Resting && !status.unsettled;
            let Some(status) = status.filter(|status| version >= asked && let_go(status)) else {
                left.push(skipped);
                continue;
            };
            let flow = skipped.flow.flow;
            if !skipped.settled {
                skipped.settled = true;
                skipped.flow.start = skipped.flow.start.max(Some(status.cursor));
                if skipped.fate == QueueFate::Preserve {
                    let told = self.told("queue.preserved", &skipped, status.cursor, &name);
                    saved.extend(told.map(|(entry, _)| entry));
                }
            }
            // What is being tried again is brought to its end first.
            let is_tried = record.retries.iter().any(|retry| retry.stream == skipped.flow.stream);
            let goes_on = record.flows.iter().find(|flow| flow.stream == skipped.flow.stream);
            let ends = match skipped.fate {
                QueueFate::Discard => match self.told("queue.discarded", &skipped, status.cursor, &name) {
                    Some((entry, records)) => {
                        saved.push(entry);
                        discarded += records;
                        true
                    }
                    None => false,
                },
                QueueFate::Preserve => !is_tried && self.is_used_up(&skipped, goes_on),
            };
            match (ends, goes_on) {
                (false, _) => left.push(skipped),
                (true, Some(now)) => saved.push(Record::ErrorsOf { now: now.flow, before: flow }),
                (true, None) => saved.push(Record::NoErrors(flow)),
            }
        }
        record.skipped = left;
        (saved, discarded)
    }

    /// Whether nothing is left of a preserved queue, and nobody will say that something is after all.
    fn is_used_up(&mut self, skipped: &Skipped, goes_on: Option<&FlowRecord>) -> bool {
        let flow = skipped.flow.flow;
        if self.kept_records(flow) != Some(0) {
            self.used_up.remove(&flow);
            return false;
        }
        let Some(now) = goes_on else { return self.unresolved_of(flow) == 0 };
        // What a change has superseded that is not committed yet may come back.
        let view = self.flow_view(now);
        let since = *self.used_up.entry(flow).or_insert(view.head_seq);
        let is_sure = skipped.flow.start >= Some(skipped.until) || view.applied_seq >= since;
        if is_sure {
            self.used_up.remove(&flow);
        }
        is_sure
    }

    /// What the activity log says of a queue that was left behind: exactly what of it was not applied, and how many
    /// records that is.
    fn told(&self, event: &str, skipped: &Skipped, cursor: Seq, name: &MapName) -> Option<(Record, u64)> {
        let handle = self.streams.get(&skipped.flow.stream)?;
        let flow = skipped.flow.flow;
        let counts = handle.journal.with(|journal| journal.queued(flow, cursor));
        let counts = counts.inspect_err(|error| {
            tracing::error!(map = %name, "a queue that was skipped cannot be counted: {error}");
        });
        let counts = counts.ok()?;
        // Of a queue that was preserved before, some records may have come to an end of their own.
        let noted = match event {
            "queue.discarded" => self.world.store.noted(flow, cursor, skipped.until).ok()?.len() as u64,
            _ => 0,
        };
        let records = counts.records - noted.min(counts.records);
        let mut entry = self.note(event, name, &skipped.actor, &skipped.reason);
        entry.detail = format!(
            "{records} queued records ({} bytes) of {} beyond Seq {cursor} up to {} were not applied",
            counts.bytes, skipped.flow.stream, skipped.until
        );
        tracing::info!(map = %name, stream = %skipped.flow.stream, records, beyond = %cursor, until = %skipped.until, "{event}");
        Some((Record::Activity(entry), records))
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

    /// Records and bytes of a map that are captured and not applied, without what it has left behind as errors.
    pub(super) fn queued(&self, record: &MapRecord) -> (u64, u64) {
        let dropped = record.skipped.iter().filter(|skipped| skipped.fate == QueueFate::Discard);
        let skipped = dropped.map(|skipped| &skipped.flow);
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
