//! What keeps the journal small: queues that are far behind are shelved, and what nobody needs is let go of.

use super::{SHELVE_STEP_BYTES, StreamActor};
use crate::failpoint::FailPoint;
use crate::store::{FlowId, StoreError, Unreadable};
use crate::stream::plan::StreamPlan;
use tandem_core::Seq;

impl StreamActor {
    /// Shelves what is far behind, and lets go of what nobody needs.
    pub(super) fn tidy(&mut self, plan: &StreamPlan) -> Result<(), StoreError> {
        let now = self.parts.env.now();
        // A flow without a start may have its barrier anywhere.
        if now.saturating_sub(self.tidied) < self.parts.pulse
            || plan.flows.values().any(|flow| flow.start.is_none())
        {
            return Ok(());
        }
        self.tidied = now;
        self.note_progress();
        let following = plan.flows.values().filter(|flow| flow.retry.is_none());
        let flows: Vec<FlowId> = following.map(|flow| flow.flow).collect();
        let mut needs: Vec<(FlowId, Seq)> =
            flows.iter().filter_map(|flow| Some((*flow, self.cursor_of(plan, *flow)?))).collect();
        for (flow, need) in &mut needs {
            let Some(both) = plan.flows.get(flow).and_then(|flow| flow.both_ways.as_ref()) else { continue };
            match both.own.needed_from(&both.other, &*self.context.store, *need) {
                Ok(needed) => *need = needed,
                Err(Unreadable::Store(error)) => return Err(error),
                Err(Unreadable::Journal(error)) => {
                    tracing::warn!(stream = %self.parts.record.stream, "what a two-way map needs cannot be read: {error}");
                    return Ok(());
                }
            }
        }
        if needs.len() < flows.len() || !self.parts.journal.with(|journal| journal.has_sealed()) {
            return Ok(());
        }
        let oldest = self.parts.journal.with(|journal| journal.oldest());
        self.parts.record.forget_trail(oldest);
        FailPoint::ProgressUnsaved.pass();
        self.save()?;
        FailPoint::ProgressSaved.pass();
        let live = self.parts.record.live();
        for (flow, cursor) in &needs {
            let behind = self.parts.record.lane_of(*flow).is_none_or(|lane| lane.lane != live);
            if behind
                && let Err(error) =
                    self.parts.journal.with(|journal| journal.shelve(*flow, *cursor, SHELVE_STEP_BYTES))
            {
                tracing::warn!(stream = %self.parts.record.stream, "a queue could not be shelved: {error}");
            }
        }
        let keep = self.parts.keep_applied_bytes;
        if let Err(error) = self.parts.journal.with(|journal| journal.reclaim(&needs, keep)) {
            tracing::warn!(stream = %self.parts.record.stream, "the journal could not be reclaimed: {error}");
        }
        Ok(())
    }
}
