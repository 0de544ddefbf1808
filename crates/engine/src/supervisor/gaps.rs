//! Gaps: what was changed is not known, so nothing goes on by itself.
//!
//! What has a gap is a table, a stream, or an app as a whole (its file was restored, its slot is gone). One of a source is
//! passed by a person's word ([`super::accepting`]). Without it, and of a stream, all maps begin anew together: as long as one
//! of them is left, its place in the log is kept, and so is the gap.

use super::Supervisor;
use crate::request::{Blocker, Request};
use crate::store::{FlowRecord, MapRecord};
use tandem_core::lifecycle::{Action, Phase};
use tandem_core::{AppName, Fault, FaultClass, MapName, StreamName};

/// What mends it that another engine is at work, if the app says nothing better.
pub(super) const END_THE_OTHER: &str =
    "end the other engine that works on this app, then start this one again";

impl Supervisor {
    /// A gap that stands in a map's way, with what mends it.
    pub(super) fn gap(&self, record: &MapRecord) -> Option<Fault> {
        record.flows.iter().find_map(|flow| {
            let wide = self.gap_between(&flow.stream);
            let narrow = || Some((self.left_capture(flow)?, vec![&record.map.name]));
            let (fault, maps) = wide.or_else(narrow)?;
            let fix = match self.source_gap(flow) {
                Some(_) => accept_of(&flow.stream.source, &maps),
                // What mends a gap is the same whatever made it, unless the app knows better.
                None => fault.fix.clone().unwrap_or_else(|| fix_of(&maps, fault.class)),
            };
            Some(fault.fix(fix))
        })
    }

    /// A gap in the source of a flow, as far as people can accept it.
    pub(super) fn source_gap(&self, flow: &FlowRecord) -> Option<Fault> {
        let handle = self.apps.get(&flow.stream.source)?;
        let broken = handle.status.borrow().broken.clone();
        broken.filter(|fault| fault.class == FaultClass::Gap).or_else(|| self.left_capture(flow))
    }

    /// A gap of a stream or of its source, and the maps that have it.
    fn gap_between(&self, stream: &StreamName) -> Option<(Fault, Vec<&MapName>)> {
        let is_gap = |fault: &Fault| matches!(fault.class, FaultClass::Gap | FaultClass::Fenced);
        let app = self.apps.get(&stream.source).and_then(|handle| handle.status.borrow().broken.clone());
        if let Some(fault) = app.filter(is_gap) {
            return Some((fault, self.fed_by(|flow| flow.stream.source == stream.source)));
        }
        let broken = self.streams.get(stream).and_then(|handle| handle.status.borrow().broken.clone());
        Some((broken.filter(is_gap)?, self.fed_by(|flow| flow.stream == *stream)))
    }

    fn fed_by(&self, is_fed: impl Fn(&FlowRecord) -> bool) -> Vec<&MapName> {
        let fed = self.maps.values().filter(|record| record.flows.iter().any(&is_fed));
        fed.map(|record| &record.map.name).collect()
    }

    /// Maps that cannot be run because others still have a gap that would be theirs as well.
    pub(super) fn run_into_gaps(&self, request: &Request) -> Vec<Blocker> {
        if !matches!(request.action, Action::Run { .. }) {
            return Vec::new();
        }
        let stopped = request
            .maps
            .iter()
            .filter_map(|map| self.maps.get(map))
            .filter(|record| record.state.phase == Phase::NotRunning);
        let into_gap = stopped.filter_map(|record| {
            let streams = record.map.streams();
            let (fault, others) = streams.iter().find_map(|stream| self.gap_between(stream))?;
            let fix = fault.fix.clone().unwrap_or_else(|| fix_of(&others, fault.class));
            let needs = format!(
                "has a gap before it begins, for {} must be stopped first: {fault} ({fix})",
                list(&others, ", ")
            );
            let (map, state) = (record.map.name.clone(), record.state.phase.to_string());
            (!others.is_empty()).then_some(Blocker { map, state, needs })
        });
        into_gap.collect()
    }

    /// That the table of a flow has left capture by itself.
    fn left_capture(&self, flow: &FlowRecord) -> Option<Fault> {
        let table = &flow.spec.source;
        let status = self.apps.get(&flow.stream.source)?.status.borrow();
        let message = format!(
            "the table {table} that was captured is not there any more: it was dropped, made anew, or renamed; what was \
             written to it since is not known"
        );
        let fault =
            || Fault::new(FaultClass::Gap, "look for the captured tables", message).table(table.to_string());
        (flow.start.is_some() && status.missing.contains(table)).then(fault)
    }
}

fn list(maps: &[&MapName], between: &str) -> String {
    maps.iter().map(|map| map.as_str()).collect::<Vec<_>>().join(between)
}

/// What mends a gap in a source: it is taken up behind it, with the queue from before it; or everything begins anew.
fn accept_of(app: &AppName, maps: &[&MapName]) -> String {
    let names = list(maps, " ");
    format!(
        "tandem app accept-gap {app} goes on behind it with what is queued; then tandem map resume {names}, and tandem map \
         verify finds what was changed within it. Or copy anew: tandem map stop {names} --queue discard --yes, then tandem \
         map run {names}"
    )
}

fn fix_of(maps: &[&MapName], class: FaultClass) -> String {
    let names = list(maps, " ");
    match class {
        FaultClass::Fenced => END_THE_OTHER.to_owned(),
        _ => format!(
            "tandem map stop {names} --queue discard --yes, then tandem map run {names}, which copies what the source has \
             now. What it has no more stays at the destination: tandem map verify finds it, and its --repair deletes it"
        ),
    }
}
