//! Maps that are stopped, and what is still in their apps because of them.
//!
//! A stop takes effect at once, and what was put into the apps is taken out behind it, for as long as that takes: an
//! app that is away for a day is rid of us a day later. An app that is gone for good never answers; a forced stop
//! waits for it for a few seconds, and then gives it up. From then on nothing of ours goes on because of it, and
//! what was left behind stands in the activity log, with what removes it. An app that other maps still use is not
//! given up: it is rid of the stopped one's things when it answers.

use super::Supervisor;
use super::snapshot::Fact;
use crate::capture::AppPlan;
use crate::request::{LeftBehind, Rejected, Request};
use crate::store::{MapRecord, Record};
use crate::view::{ActivityEntry, ConditionKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::{AppName, Fault, StreamName};

/// The apps that still have something of a stopped map.
#[derive(Default)]
struct StillIn {
    sources: BTreeSet<AppName>,
    streams: BTreeSet<StreamName>,
}

impl Supervisor {
    fn still_in(&self, record: &MapRecord) -> StillIn {
        let mut still = StillIn::default();
        if !record.flows.is_empty() {
            return still;
        }
        let others = || self.maps.values().flat_map(|other| &other.flows);
        for (source, destination) in record.map.flows() {
            let wanted =
                others().any(|flow| flow.stream.source == source.app && flow.spec.source == source.table);
            let left = self.apps.get(&source.app).is_some_and(|handle| {
                let status = handle.status.borrow();
                // One that did not answer since the start may have anything.
                let unknown = !status.looked && self.engine.leaving.contains(&source.app);
                unknown || status.captured.contains(&source.table)
            });
            if left && !wanted {
                still.sources.insert(source.app.clone());
            }
            let stream = StreamName { source: source.app.clone(), destination: destination.app.clone() };
            if self.streams.contains_key(&stream) && !others().any(|flow| flow.stream == stream) {
                still.streams.insert(stream);
            }
        }
        still
    }

    /// Whether something of ours is still in the apps of a map that is stopped.
    pub(super) fn leaving_fact(&self, record: &MapRecord) -> Option<Fact> {
        let StillIn { sources, streams } = self.still_in(record);
        let apps: BTreeSet<AppName> =
            sources.into_iter().chain(streams.into_iter().map(|stream| stream.destination)).collect();
        (!apps.is_empty()).then(|| {
            let apps = apps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let reason = format!("what was put into {apps} for it is being taken out");
            let fix = "wait, or see that the app answers; for good: tandem guard release --sql".to_owned();
            Fact { kind: ConditionKind::Leaving, status: true, reason, fix: Some(fix) }
        })
    }

    /// Gives up the apps that still have something of the maps that a request has stopped, and says what is left
    /// behind in them. `sql`: what frees each app of everything of ours, or why that is not known.
    /// Returns the number of the first note of it as well.
    pub(super) fn give_up(
        &mut self,
        request: &Request,
        sql: &BTreeMap<AppName, Result<String, Fault>>,
    ) -> Result<(u64, Vec<LeftBehind>), Rejected> {
        let mut records = Vec::new();
        let (mut all, mut given_up): (Vec<LeftBehind>, BTreeSet<AppName>) = Default::default();
        for name in &request.maps {
            let Some(record) = self.maps.get(name) else { continue };
            let mut left = Vec::new();
            for app in self.still_in(record).sources {
                let mut flows = self.maps.values().flat_map(|map| &map.flows);
                let stays = flows.any(|flow| flow.stream.source == app).then_some(TAKEN_OUT_LATER);
                let status = self.apps.get(&app).map(|handle| handle.status.borrow().clone());
                let fault = status.and_then(|status| status.entering.or(status.fault));
                let used = stays.or(self.used(&app));
                left.push(left_behind(&app, FOR_CAPTURE, fault.as_ref(), sql, used));
                if stays.is_none() {
                    given_up.insert(app);
                }
            }
            for (source, destination) in record.map.flows() {
                let stream = StreamName { source: source.app.clone(), destination: destination.app.clone() };
                let ended = self.saved_streams.get(&stream).is_some_and(|saved| saved.left);
                if ended || self.still_in(record).streams.contains(&stream) {
                    let (app, fault) = (&stream.destination, self.left.get(&stream));
                    left.push(left_behind(app, FOR_APPLYING, fault, sql, self.used(app)));
                }
            }
            for left in left {
                let mut entry = self.note("map.left_behind", name, &request.actor, &request.reason);
                entry.detail = format!("in {}: {}; {}", left.app, left.what, left.why);
                if let Some(sql) = &left.sql {
                    entry.detail += &format!("; what removes it there: {sql}");
                }
                tracing::warn!(map = %name, app = %left.app, "left behind: {}; {}", left.what, left.why);
                records.push(Record::Activity(entry));
                if !all.contains(&left) {
                    all.push(left);
                }
            }
        }
        let mut engine = self.engine.clone();
        engine.leaving.retain(|app| !given_up.contains(app));
        records.push(Record::Engine(engine.clone()));
        let ids = self.save(&records).map_err(|error| Rejected::Disk(error.to_string()))?;
        self.engine = engine;
        for app in given_up {
            // Whoever works on it ends without a word with the app; another may begin for it at any time.
            if let Some(handle) = self.apps.remove(&app) {
                handle
                    .plan
                    .send_modify(|plan| *plan = Arc::new(AppPlan { shutdown: true, ..(**plan).clone() }));
            }
        }
        Ok((ids.first().copied().unwrap_or_default(), all))
    }

    /// What is to be said of an app that maps use which were not stopped.
    fn used(&self, app: &AppName) -> Option<&'static str> {
        let mut streams = self.maps.values().flat_map(|map| &map.flows).map(|flow| &flow.stream);
        streams.any(|stream| stream.source == *app || stream.destination == *app).then_some(TAKES_THEIRS)
    }

    /// Notes that a stream has ended and its watermarks are still at the destination.
    pub(super) fn note_left(&mut self, stream: &StreamName, fault: Fault) {
        let entry = ActivityEntry {
            id: 0,
            at: self.now(),
            event: "stream.left_behind".to_owned(),
            map: None,
            actor: "tandem".to_owned(),
            reason: fault.to_string(),
            from: None,
            to: None,
            detail: format!("watermarks of {stream} were left in {}", stream.destination),
        };
        if let Err(error) = self.save(&[Record::Activity(entry)]) {
            tracing::warn!(%stream, "that watermarks were left behind could not be noted: {error}");
        }
        self.left.insert(stream.clone(), fault);
    }
}

/// What capturing puts into an app.
const FOR_CAPTURE: &str = "what capturing its changes needs (slot, publication, triggers, guards, schema)";
/// What applying puts into an app.
const FOR_APPLYING: &str = "the watermarks of what was applied";
/// Said of an app that other maps are captured from.
const TAKEN_OUT_LATER: &str = "other maps are captured there, so it is taken out when the app answers";
/// Said of an app that other maps use.
const TAKES_THEIRS: &str = "other maps use the app, and what frees it would take what is theirs";

fn left_behind(
    app: &AppName,
    what: &str,
    fault: Option<&Fault>,
    sql: &BTreeMap<AppName, Result<String, Fault>>,
    used: Option<&str>,
) -> LeftBehind {
    let mut why = fault.map_or_else(|| "it did not answer".to_owned(), ToString::to_string);
    let sql = match (used, sql.get(app)) {
        (Some(used), _) => {
            why += &format!("; {used}");
            None
        }
        (None, Some(Ok(sql))) => Some(sql.trim_end().to_owned()),
        (None, Some(Err(fault))) => {
            why += &format!("; what removes it can only be asked there: {fault}");
            None
        }
        (None, None) => None,
    };
    LeftBehind { app: app.clone(), what: what.to_owned(), why, sql }
}
