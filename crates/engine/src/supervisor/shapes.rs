//! Tables that no longer have the shape that a map was resolved for.
//!
//! A lane that meets a record of another shape, or that the destination says that something of a table is not there,
//! stops in front of it and says so; nothing is written meanwhile. Then both tables are looked at, beside everything
//! else, and it is decided: a change that takes something from the map holds it, with `SchemaMatches` false and
//! what mends it, and all that comes is queued. One that does not matter any more goes on: the record is of a shape
//! that is over, or the destination has moved under our statements, which are made anew.
//!
//! A destination may also take another type for a column without a word, and refuse records one by one: so it is looked at
//! when records are set aside, now and then.
//!
//! A TRUNCATE holds the map, too, in front of it: whether the destination's records are to go with the source's is not for
//! us to say, and what comes behind it may clash with what is left there. Resumed, the map leaves them where they are and
//! notes an error; a repair deletes them. While the table is copied anyway it only is the error.
//!
//! What the log says is enough to hold a map if the source cannot be asked. A table that is missing is given a moment:
//! people make tables anew in two steps. What the look cannot explain (a trigger that fails, a function that is
//! missing) stays a matter of the lane, which is `Stalled`.

use super::Supervisor;
use super::holding::{Changes, Told};
use crate::engine::{Checked, check_maps};
use crate::store::{MapRecord, Mismatch, MismatchKind, Record, StoreError};
use crate::stream::{SHAPE_CHANGED, TABLE_TRUNCATED};
use std::collections::BTreeMap;
use std::time::Duration;
use tandem_core::lifecycle::{Hold, duties};
use tandem_core::map::{FlowSpec, TableMap, drift};
use tandem_core::{Fault, FaultClass, Finding, MapName, Seq, Severity, StreamName};
use tokio::sync::oneshot;

/// How long a table may be missing before that holds the map.
const MISSING_PATIENCE: Duration = Duration::from_secs(10);
/// How soon a look is repeated that came to nothing.
const SOON: Duration = Duration::from_secs(1);
/// How soon it is looked again at a destination in which everything was as it should be.
const LATER: Duration = Duration::from_secs(30);
/// The hold of a map whose tables no longer fit it.
const HOLD: &str = "schema";

/// What is known of a map whose tables seem to have another shape.
pub(super) struct Look {
    /// Since when.
    since: Duration,
    /// When it is looked at next.
    due: Duration,
    answer: Option<oneshot::Receiver<Checked>>,
}

/// Up to which number of refused records of a map its tables were looked at, and when.
#[derive(Default)]
pub(super) struct Refusals {
    seen: u64,
    at: Option<Duration>,
}

/// What follows from a look.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Something is not as the map needs it.
    Hold(Mismatch),
    /// Nothing stands against it as the tables are now.
    GoesOn(Vec<(StreamName, FlowSpec)>),
    /// It cannot be said yet.
    Unknown,
}

impl Mismatch {
    /// What findings say of each of these maps.
    pub(crate) fn of(maps: &[MapName], findings: &[Finding]) -> BTreeMap<MapName, Mismatch> {
        let mut mismatches = BTreeMap::new();
        for map in maps {
            let place = format!("map {map}:");
            let own = |finding: &&Finding| maps.len() == 1 || finding.place.starts_with(&place);
            let own: Vec<&Finding> = findings.iter().filter(own).collect();
            let said = own.iter().take(3).map(|finding| format!("{}: {}", finding.place, finding.message));
            let reason = said.collect::<Vec<_>>().join("; ");
            let fix = own.iter().find_map(|finding| finding.fix.clone());
            let fix = fix.or_else(|| Some("edit the map or undo the change, then resume it".to_owned()));
            if !own.is_empty() {
                mismatches.insert(map.clone(), Mismatch { kind: MismatchKind::Shape, reason, fix });
            }
        }
        mismatches
    }
}

impl Supervisor {
    /// Looks at the tables of maps whose lanes say that they have changed, and does what follows.
    pub(super) fn follow_shapes(&mut self) -> Result<(), StoreError> {
        let troubled: BTreeMap<MapName, Fault> = self
            .maps
            .values()
            .filter_map(|record| Some((record.map.name.clone(), self.misshapen(record)?)))
            .collect();
        self.looks.retain(|map, _| troubled.contains_key(map));
        let maps = &self.maps;
        self.refusals.retain(|map, _| maps.contains_key(map));
        let now = self.world.env.now();
        for (map, fault) in troubled {
            if is_truncation(&fault) {
                let (kind, reason) = (MismatchKind::Truncated, fault.to_string());
                self.hold_mismatched(&map, Mismatch { kind, reason, fix: fault.fix })?;
                continue;
            }
            let look = self.looks.entry(map.clone()).or_insert(Look { since: now, due: now, answer: None });
            match look.answer.as_mut().map(oneshot::Receiver::try_recv) {
                None if look.due <= now => self.look_at(&map),
                None | Some(Err(oneshot::error::TryRecvError::Empty)) => {}
                Some(Err(oneshot::error::TryRecvError::Closed)) => {
                    (look.answer, look.due) = (None, now + SOON);
                }
                Some(Ok(checked)) => {
                    let lasted = now.saturating_sub(look.since);
                    let again = if is_of_source(&fault) { SOON } else { LATER };
                    (look.answer, look.due) = (None, now + again);
                    self.looked(&map, &fault, checked, lasted)?;
                }
            }
        }
        Ok(())
    }

    /// What stands in the way of a map that is to be applied.
    fn misshapen(&self, record: &MapRecord) -> Option<Fault> {
        if !duties(&record.state).apply {
            return None;
        }
        let faults = record.flows.iter().filter_map(|flow| {
            let handle = self.streams.get(&flow.stream)?;
            let status = handle.status.borrow();
            status.flows.get(&flow.flow)?.misshapen.clone()
        });
        // What the log says is certain; what a destination says has to be looked at.
        let mut faults: Vec<Fault> = faults.collect();
        faults.sort_by_key(|fault| !(is_of_source(fault) || is_truncation(fault)));
        faults.into_iter().next().or_else(|| self.refuses(record))
    }

    /// That more records of a map were refused than when its tables were looked at for that last.
    fn refuses(&self, record: &MapRecord) -> Option<Fault> {
        let before = self.refusals.get(&record.map.name);
        let is_due = before.and_then(|before| before.at).is_none_or(|at| self.world.env.now() >= at + LATER);
        let is_more = self.refused(record) > before.map_or(0, |before| before.seen);
        let fault = || Fault::new(FaultClass::Application, "write records", "records were refused");
        (is_due && is_more).then(fault)
    }

    fn refused(&self, record: &MapRecord) -> u64 {
        let refused = record.flows.iter().filter_map(|flow| {
            let status = self.streams.get(&flow.stream)?.status.borrow();
            Some(status.flows.get(&flow.flow)?.refused.total())
        });
        refused.sum()
    }

    fn look_at(&mut self, map: &MapName) {
        let all: Vec<TableMap> = self.maps.values().map(|record| record.map.clone()).collect();
        let Some(wanted) = self.maps.get(map).map(|record| record.map.clone()) else { return };
        let (apps, bell) = (self.world.apps.clone(), self.bell.clone());
        let (answer, answered) = oneshot::channel();
        if let Some(look) = self.looks.get_mut(map) {
            look.answer = Some(answered);
        }
        self.world.env.spawn(
            "look",
            Box::pin(async move {
                // Whoever asked may have lost interest.
                let _ = answer.send(check_maps(&apps, &all, &[wanted]).await);
                bell.notify_one();
            }),
        );
    }

    fn looked(
        &mut self,
        map: &MapName,
        fault: &Fault,
        checked: Checked,
        lasted: Duration,
    ) -> Result<(), StoreError> {
        let Some(record) = self.maps.get(map) else { return Ok(()) };
        if fault.class.is_about_record() {
            let refusals = Refusals { seen: self.refused(record), at: Some(self.world.env.now()) };
            self.refusals.insert(map.clone(), refusals);
        }
        let outcome = judge(record, fault, checked, lasted);
        tracing::debug!(%map, ?outcome, "the tables were looked at: {fault}");
        match outcome {
            Outcome::Unknown => {
                if let Some(look) = self.looks.get_mut(map) {
                    look.due = self.world.env.now() + SOON;
                }
                Ok(())
            }
            Outcome::Hold(mismatch) => self.hold_mismatched(map, mismatch),
            Outcome::GoesOn(flows) => self.fit_anew(map, fault, flows),
        }
    }

    fn hold_mismatched(&mut self, map: &MapName, mismatch: Mismatch) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        let reason = mismatch.reason.clone();
        let event = match mismatch.kind {
            MismatchKind::Shape => "schema.changed",
            MismatchKind::Truncated => "source.truncated",
        };
        let told = Told { event, actor: "tandem", reason: &reason, detail: "" };
        let hold = Hold::System(HOLD.into());
        self.hold(&mut changes, map, hold, &told, |record| record.mismatch = Some(mismatch));
        self.carry_out(changes)
    }

    /// The map goes on as it resolves now. What has been captured by now may have had a shape that is over, and is
    /// judged record by record.
    fn fit_anew(
        &mut self,
        map: &MapName,
        fault: &Fault,
        flows: Vec<(StreamName, FlowSpec)>,
    ) -> Result<(), StoreError> {
        let Some(record) = self.maps.get(map) else { return Ok(()) };
        let mut next = record.clone();
        for (stream, spec) in flows {
            let captured = self.captured_by_now(&stream);
            for flow in next.flows.iter_mut().filter(|flow| flow.stream == stream) {
                flow.spec = spec.clone();
                if is_of_source(fault) {
                    flow.shaped_at = captured.max(flow.shaped_at);
                }
            }
        }
        next.mismatch = None;
        if next == *record {
            return Ok(());
        }
        let mut entry = self.note("schema.looked", map, "tandem", &fault.to_string());
        entry.detail =
            "both tables fit the map as they are now, and it goes on; records of a shape that is over are \
                        set aside if they lack a column"
                .to_owned();
        let mut changes = Changes::default();
        changes.along(Record::Activity(entry));
        changes.alter(next);
        self.carry_out(changes)
    }

    /// Notes what a resume was refused for, of maps that are paused.
    pub(super) fn note_mismatches(&mut self, mismatches: BTreeMap<MapName, Mismatch>) {
        let mut changes = Changes::default();
        for (map, mismatch) in mismatches {
            let record = self.maps.get(&map).filter(|record| !record.state.holds.is_empty());
            if let Some(record) = record.filter(|record| record.mismatch.as_ref() != Some(&mismatch)) {
                changes.alter(MapRecord { mismatch: Some(mismatch), ..record.clone() });
            }
        }
        if let Err(error) = self.carry_out(changes) {
            tracing::error!("that the tables of a map do not fit it could not be saved: {error}");
        }
    }

    /// The last Seq of a stream's journal.
    pub(super) fn captured_by_now(&self, stream: &StreamName) -> Seq {
        let handle = self.streams.get(stream);
        handle.map(|handle| handle.journal.with(|journal| journal.head())).unwrap_or_default()
    }
}

/// Whether the log says it, and not the destination.
fn is_of_source(fault: &Fault) -> bool {
    fault.code.as_deref() == Some(SHAPE_CHANGED)
}

/// Whether a lane stands in front of a TRUNCATE.
fn is_truncation(fault: &Fault) -> bool {
    fault.code.as_deref() == Some(TABLE_TRUNCATED)
}

/// What follows from a look at both tables of a map whose lane has met `fault`, for so long now.
fn judge(record: &MapRecord, fault: &Fault, mut checked: Checked, lasted: Duration) -> Outcome {
    let by_log = || Mismatch { kind: MismatchKind::Shape, reason: fault.to_string(), fix: fault.fix.clone() };
    if !checked.faults.is_empty() {
        return if is_of_source(fault) { Outcome::Hold(by_log()) } else { Outcome::Unknown };
    }
    let mut errors = std::mem::take(&mut checked.findings);
    errors.retain(|finding| finding.severity == Severity::Error);
    if errors.is_empty() {
        errors = drifted(record, &checked);
    } else if errors.iter().all(|finding| finding.code == "table_missing") && lasted < MISSING_PATIENCE {
        return Outcome::Unknown;
    }
    let name = record.map.name.clone();
    match Mismatch::of(std::slice::from_ref(&name), &errors).remove(&name) {
        None => Outcome::GoesOn(checked.flows.remove(&name).unwrap_or_default()),
        // The log has seen the change, and may know more of it.
        Some(_) if is_of_source(fault) => Outcome::Hold(by_log()),
        Some(mismatch) => Outcome::Hold(mismatch),
    }
}

/// What has changed of a map's flows that a person must know of.
fn drifted(record: &MapRecord, checked: &Checked) -> Vec<Finding> {
    let name = &record.map.name;
    let (Some(flows), Some(tables)) = (checked.flows.get(name), checked.tables.get(name)) else {
        return Vec::new();
    };
    let of = |(stream, now): &(StreamName, FlowSpec)| {
        let was = record.flows.iter().find(|flow| flow.stream == *stream)?;
        let (_, [source, destination]) = tables.iter().find(|(other, _)| other == stream)?;
        Some(drift(&was.spec, now, (source, destination)))
    };
    flows.iter().filter_map(of).flatten().collect()
}
