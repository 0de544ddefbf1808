//! Dropping what was chosen to be lost: at a limit whose name says so, or behind `queue_retention`.
//!
//! Only of a map that is paused and that every lane has let go of, and only beyond what can have taken effect at the
//! destination: so a record that is told of as dropped was not applied, and will not be. A hole in a flow's queue is
//! saved with the entry that counts it, in one transaction, before anybody passes it over; a crash leaves both or neither.
//!
//! A drop ends at the end of a source transaction, if that is in reach (see `journal::Cut`). The oldest go from the front
//! on, until enough is gone. Of the newest, what is queued up to the limit stays, and goes on to the destination when the
//! map is resumed; what comes behind it is dropped again and again, until there is room: after a resume, or because the
//! oldest were released meanwhile.

use super::Supervisor;
use super::limiting::bytes;
use crate::journal::{Cut, Hole, Records, Span};
use crate::store::{FlowId, FlowRecord, MapRecord, Record, StoreError};
use crate::stream::Place;
use std::collections::BTreeMap;
use std::time::Duration;
use tandem_core::lifecycle::Phase;
use tandem_core::limits::{Demand, Judgement, Level, drop_is_due, drops_on};
use tandem_core::{MapName, Seq};

/// What was dropped of a map since it was paused.
#[derive(Default)]
pub(super) struct Dropping {
    last: Option<Duration>,
    /// Through which Seq of each flow that was done, while what comes is dropped; empty if it is not.
    newest: BTreeMap<FlowId, Seq>,
    records: u64,
    bytes: u64,
    /// The setting that it was done for last.
    setting: String,
}

impl Dropping {
    /// In a sentence, if there is something to say.
    pub(super) fn sentence(&self) -> Option<String> {
        let on = if self.newest.is_empty() { "" } else { "; what comes now is dropped, too" };
        (self.records > 0).then(|| {
            let (records, bytes) = (self.records, bytes(self.bytes));
            format!(
                "{records} queued records ({bytes}) were dropped while it is paused: {}{on}",
                self.setting
            )
        })
    }
}

/// A flow that rests, to be cut.
struct Resting {
    flow: FlowId,
    records: Records,
    /// Nothing beyond it was applied.
    reach: Seq,
    durable: Seq,
}

impl Supervisor {
    /// Drops what is to be dropped of every map.
    pub(super) fn drop_beyond_limits(&mut self) -> Result<(), StoreError> {
        for name in self.maps.keys().cloned().collect::<Vec<_>>() {
            let Some(seen) = self.watched.get_mut(&name) else { continue };
            let Some(judged) = seen.judged else { continue };
            let mut dropping = std::mem::take(&mut seen.dropping);
            let done = self.drop_of(&name, &judged, &mut dropping);
            if let Some(seen) = self.watched.get_mut(&name) {
                seen.dropping = dropping;
            }
            done?;
        }
        Ok(())
    }

    fn drop_of(
        &mut self,
        name: &MapName,
        judged: &Judgement,
        dropping: &mut Dropping,
    ) -> Result<(), StoreError> {
        let Some(record) = self.maps.get(name) else { return Ok(()) };
        if record.state.phase != Phase::Paused {
            *dropping = Dropping::default();
            return Ok(());
        }
        let limits = self.world.limits.get(name).cloned().unwrap_or_default();
        if !drops_on(&limits, judged) {
            dropping.newest.clear();
        }
        let demand = match judged.level {
            Level::Hard { demand, .. } => Some(demand),
            Level::Soft(_) | Level::Below => None,
        };
        let lossy = matches!(demand, Some(Demand::DropNewest { .. } | Demand::DropOldest { .. }));
        let wanted = lossy || judged.release_queue_through.is_some() || !dropping.newest.is_empty();
        let now = self.world.env.now();
        let since_last = dropping.last.map(|last| now.saturating_sub(last));
        if !wanted || !drop_is_due(&limits, judged, since_last) {
            return Ok(());
        }
        let Some(resting) = self.resting(record) else { return Ok(()) };
        let setting = format!("when_full = {}", limits.when_full.name());
        dropping.last = Some(now);
        let mut gone = 0;
        if let Some(at) = judged.release_queue_through {
            gone += self.drop_oldest(name, &resting, Cut::CapturedBy(at), ("queue_retention", dropping))?;
        }
        match demand {
            Some(Demand::DropOldest { bytes, captured_through }) => {
                if let Some(at) = captured_through {
                    gone += self.drop_oldest(name, &resting, Cut::CapturedBy(at), (&setting, dropping))?;
                }
                if bytes > gone {
                    let cut = Cut::AtLeast(bytes - gone);
                    self.drop_oldest(name, &resting, cut, (&setting, dropping))?;
                }
            }
            Some(Demand::DropNewest { keep_bytes }) if dropping.newest.is_empty() => {
                self.drop_newest(name, &resting, keep_bytes, (&setting, dropping))?;
            }
            Some(Demand::DropNewest { .. } | Demand::BlockWrites | Demand::Keep) | None => {
                for rest in &resting {
                    let Some(from) = dropping.newest.get(&rest.flow).copied() else { continue };
                    self.drop_within(name, rest, (from, rest.durable), (&setting, dropping))?;
                }
            }
        }
        Ok(())
    }

    /// The flows of a map that rest, if all of them do.
    fn resting(&self, record: &MapRecord) -> Option<Vec<Resting>> {
        let asked = self.asked.get(&record.map.name).copied().unwrap_or(0);
        let resting = |flow: &FlowRecord| {
            let handle = self.streams.get(&flow.stream)?;
            let status = handle.status.borrow();
            let known = status.flows.get(&flow.flow).filter(|_| status.version >= asked)?;
            let rests = known.place == Place::Resting && flow.start.is_some();
            let reach = known.reach.filter(|_| rests)?.max(flow.start?);
            let (records, durable) =
                handle.journal.with(|journal| (journal.records().clone(), journal.durable()));
            Some(Resting { flow: flow.flow, records, reach, durable })
        };
        record.flows.iter().map(resting).collect()
    }

    /// Drops from the front on what lies before a cut. A number of bytes is taken from the flows one after the other.
    /// Returns how many bytes that were.
    fn drop_oldest(
        &mut self,
        name: &MapName,
        resting: &[Resting],
        mut cut: Cut,
        (setting, dropping): (&str, &mut Dropping),
    ) -> Result<u64, StoreError> {
        let mut all = 0;
        for rest in resting {
            let until = match rest.records.cut(rest.flow, rest.reach, cut) {
                Ok(until) => until.unwrap_or(rest.durable),
                Err(error) => {
                    tracing::error!(map = %name, "a queue cannot be cut: {error}");
                    return Ok(all);
                }
            };
            let gone = self.drop_within(name, rest, (rest.reach, until), (setting, dropping))?;
            all += gone;
            if let Cut::AtLeast(bytes) = &mut cut {
                *bytes = bytes.saturating_sub(gone);
                if *bytes == 0 {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Begins to drop what comes, and what is queued behind `keep_bytes`.
    fn drop_newest(
        &mut self,
        name: &MapName,
        resting: &[Resting],
        keep_bytes: Option<u64>,
        (setting, dropping): (&str, &mut Dropping),
    ) -> Result<(), StoreError> {
        let mut keep = keep_bytes;
        for rest in resting {
            let cut =
                keep.map_or(Ok(None), |keep| rest.records.cut(rest.flow, rest.reach, Cut::AtMost(keep)));
            let counted = rest.records.queued(rest.flow, rest.reach);
            let (cut, counted) = match (cut, counted) {
                (Ok(cut), Ok(counted)) => (cut, counted),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(map = %name, "a queue cannot be cut: {error}");
                    return Ok(());
                }
            };
            let gone = match cut {
                Some(from) => self.drop_within(name, rest, (from, rest.durable), (setting, dropping))?,
                None => 0,
            };
            keep = keep.map(|keep| keep.saturating_sub(counted.bytes.saturating_sub(gone)));
            dropping.newest.insert(rest.flow, rest.durable);
        }
        Ok(())
    }

    /// Drops what a flow has queued within a span. Returns how many bytes that were.
    fn drop_within(
        &mut self,
        name: &MapName,
        rest: &Resting,
        (from, until): (Seq, Seq),
        (setting, dropping): (&str, &mut Dropping),
    ) -> Result<u64, StoreError> {
        let until = until.min(rest.durable);
        let Some(mut next) = self.maps.get(name).cloned().filter(|_| from < until) else { return Ok(0) };
        let Some(flow) = next.flows.iter_mut().find(|flow| flow.flow == rest.flow) else { return Ok(0) };
        let counts = match rest.records.count(rest.flow, Span { from, until: Some(until) }) {
            Ok(counts) => counts,
            Err(error) => {
                tracing::error!(map = %name, "what is to be dropped cannot be counted: {error}");
                return Ok(0);
            }
        };
        if counts.records == 0 {
            return Ok(0);
        }
        flow.holes.forget_through(rest.records.kept_from(rest.flow));
        if !flow.holes.dig(Hole { from, until }) {
            tracing::warn!(map = %name, stream = %flow.stream, "nothing more is dropped of a queue that has so many holes already");
            return Ok(0);
        }
        let (stream, holes) = (flow.stream.clone(), flow.holes.clone());
        let mut entry = self.note("queue.dropped", name, "limit", setting);
        entry.detail = format!(
            "{} queued records ({} bytes) of {stream} beyond Seq {from} up to {until} are lost",
            counts.records, counts.bytes
        );
        self.save(&[Record::Activity(entry), Record::Map(Box::new(next.clone()))])?;
        tracing::warn!(map = %name, %stream, records = counts.records, beyond = %from, %until, setting, "queued records dropped");
        self.maps.insert(name.clone(), next);
        if let Some(handle) = self.streams.get(&stream) {
            handle.journal.with(|journal| journal.set_holes(rest.flow, holes));
        }
        dropping.records += counts.records;
        dropping.bytes += counts.bytes;
        setting.clone_into(&mut dropping.setting);
        if let Some(through) = dropping.newest.get_mut(&rest.flow) {
            *through = until.max(*through);
        }
        Ok(counts.bytes)
    }
}
