//! Maps that catch up, watched: how they get on, and whether they ever will be done.
//!
//! What is counted is what streams and journals say of a map's flows anyway; what follows from it is decided in
//! `tandem_core`. Nothing of it is saved: after a restart a catch-up is watched anew, and what it has applied is
//! counted from there.

use super::Supervisor;
use super::limiting::span;
use super::snapshot::Fact;
use crate::store::MapRecord;
use crate::view::{CatchUpView, ConditionKind, FlowView};
use tandem_core::lifecycle::Phase;
use tandem_core::{CatchUp, OUTRUN_SPAN, WallTime};

/// A map's catch-up.
pub(super) struct Watching {
    since: WallTime,
    catch_up: CatchUp,
}

impl Supervisor {
    /// Takes in how far a map has come, if it is catching up, and says how it gets on.
    pub(super) fn watch_catch_up(&mut self, record: &MapRecord, flows: &[FlowView]) -> Option<CatchUpView> {
        let name = &record.map.name;
        if record.state.phase != Phase::Resuming {
            self.resuming.remove(name);
            return None;
        }
        let (now, wall) = (self.world.env.now(), self.now());
        let settled = flows.iter().map(|flow| flow.settled).sum();
        let left = flows.iter().map(|flow| flow.queue.records).sum();
        let watching = self
            .resuming
            .entry(name.clone())
            .or_insert_with(|| Watching { since: wall, catch_up: CatchUp::default() });
        watching.catch_up.observe(now, settled, left);
        let bytes_left = flows.iter().map(|flow| flow.queue.bytes).sum();
        let (since, progress) = (watching.since, watching.catch_up.progress());
        let cap = record.rate.map(|cap| cap.per_second.get());
        Some(CatchUpView { since, progress, bytes_left, cap })
    }

    /// Whether a map that catches up will never be done at this pace.
    pub(super) fn converging_fact(&self, record: &MapRecord) -> Option<Fact> {
        let name = &record.map.name;
        let outrun = self.resuming.get(name)?.catch_up.progress().outrun?;
        let reason = format!(
            "within {} {} records came and {} were applied: at this pace it never catches up",
            span(OUTRUN_SPAN),
            outrun.arrived,
            outrun.applied
        );
        let skip = format!(
            "go live at once and leave the queue behind: tandem map skip {name} --preserve (or --discard)"
        );
        let fix = match record.rate {
            None => format!("wait for a quieter hour, or {skip}"),
            Some(cap) => format!(
                "it is capped at {} records a second: tandem map pause {name}, then tandem map resume {name} with a \
                 higher --rate or without; or {skip}",
                cap.per_second
            ),
        };
        Some(Fact { kind: ConditionKind::NotConverging, status: true, reason, fix: Some(fix) })
    }
}
