//! What the engine shows: the states, with what streams and apps report beside them.

use super::gaps::END_THE_OTHER;
use super::limiting::{amount, span};
use super::{StreamHandle, Supervisor, plans};
use crate::capture::AppStatus;
use crate::store::{FlowId, FlowRecord, MapRecord, Mismatch, MismatchKind};
use crate::stream::{FlowStatus, Opening};
use crate::two_way::map_number;
use crate::view::{
    AppView, Condition, ConditionKind, FlowView, Ledger, MapView, QueueStats, Snapshot, StreamView,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::lifecycle::allowed;
use tandem_core::limits::Level;
use tandem_core::map::Direction;
use tandem_core::{Fault, FaultClass, MapName, Refusal, Seq, StreamName};

/// A condition before it is known since when it holds.
pub(super) struct Fact {
    pub(super) kind: ConditionKind,
    pub(super) status: bool,
    pub(super) reason: String,
    pub(super) fix: Option<String>,
}

impl Fact {
    /// A trouble that stands.
    fn trouble(kind: ConditionKind, fault: &Fault) -> Self {
        Self { kind, status: true, reason: fault.to_string(), fix: fault.fix.clone() }
    }

    /// Whether an app answers.
    fn connected(kind: ConditionKind, fault: Option<Fault>) -> Self {
        let reason = fault.as_ref().map_or_else(|| "connected".to_owned(), ToString::to_string);
        let fenced = fault.as_ref().is_some_and(|fault| fault.class == FaultClass::Fenced);
        let status = fault.is_none();
        let fix = fault.and_then(|fault| fault.fix).or(fenced.then(|| END_THE_OTHER.to_owned()));
        Self { kind, status, reason, fix }
    }
}

impl Supervisor {
    /// Shows the present state, if it differs from what was shown last.
    pub(super) fn show(&mut self) {
        let conflicts = self.conflict_counts();
        let mut maps = Vec::with_capacity(self.maps.len());
        for record in self.maps.values().cloned().collect::<Vec<_>>() {
            let flows: Vec<FlowView> = record.flows.iter().map(|flow| self.flow_view(flow)).collect();
            let errors = self.error_stats(&record);
            let retries = self.retry_views(&record);
            let catch_up = self.watch_catch_up(&record, &flows);
            let window = self.window_view(&record);
            let initial_sync = self.initial_sync_view(&record);
            let conditions = self.conditions(&record, errors.trouble(), unbalanced_fact(&flows));
            let name = record.map.name.clone();
            let tally = self.tally_view(&record);
            maps.push(MapView {
                allowed: allowed(&record.state),
                dependents: self.dependents.dependents(&record.map.name).into_iter().collect(),
                map: record.map,
                state: record.state,
                conditions,
                window,
                catch_up,
                initial_sync,
                flows,
                errors,
                retries,
                conflicts: conflicts.get(&name).copied().unwrap_or_default(),
                limits: self.watched.get(&name).and_then(|watched| watched.shown.clone()),
                tally,
            });
        }
        self.note_trends(&maps);
        let apps = self.world.apps.keys().map(|app| {
            let status = self.apps.get(app).map(|handle| handle.status.borrow().clone()).unwrap_or_default();
            let written = self.streams.iter().filter(|(stream, _)| stream.destination == *app);
            let apply = written.map(|(_, handle)| handle.status.borrow().fault.clone()).find(Option::is_some);
            let fault = status.broken.or(status.fault).or(status.entering).or(apply.flatten());
            let AppStatus { capturing, guards, retained, .. } = status;
            AppView { app: app.clone(), fault, capturing, guards, retained }
        });
        let (apps, rules, streams) = (apps.collect(), self.rule_views(), self.stream_views());
        let snapshot = Snapshot { maps, apps, rules, streams };
        self.snapshots.send_if_modified(|shown| {
            let changed = **shown != snapshot;
            if changed {
                *shown = Arc::new(snapshot);
            }
            changed
        });
    }

    fn stream_views(&self) -> Vec<StreamView> {
        let view = |(stream, handle): (&StreamName, &StreamHandle)| StreamView {
            stream: stream.clone(),
            applies: handle.applies.seen(),
            syncs: handle.journal.syncs.seen(),
            disk_failed: handle.journal.with(|journal| journal.has_failed()),
        };
        self.streams.iter().map(view).collect()
    }

    pub(super) fn flow_view(&self, flow: &FlowRecord) -> FlowView {
        let start = flow.start.unwrap_or_default();
        let mut view = FlowView {
            flow: flow.flow,
            stream: flow.stream.clone(),
            applied_seq: start,
            head_seq: start,
            queue: QueueStats::default(),
            applied: 0,
            filtered: 0,
            settled: 0,
            ledger: None,
            failures: BTreeMap::new(),
        };
        let Some(handle) = self.streams.get(&flow.stream) else { return view };
        if let Some(status) = handle.status.borrow().flows.get(&flow.flow) {
            view.applied_seq = status.cursor.max(start);
            view.applied = status.outcomes.applied;
            view.filtered = status.outcomes.filtered;
            view.settled = status.outcomes.settled();
            view.failures = status.refused.and(&status.attempts);
            view.ledger = status.opening.and_then(|opening| handle.ledger(flow.flow, status, &opening));
        }
        view.head_seq = handle.journal.with(|journal| journal.durable()).max(view.applied_seq);
        if flow.start.is_some() {
            view.queue = handle.queued(flow.flow, view.applied_seq);
        }
        view
    }

    fn conditions(&mut self, record: &MapRecord, errors: u64, unbalanced: Option<Fact>) -> Vec<Condition> {
        let mut facts = if record.flows.is_empty() { Vec::new() } else { self.facts_shown(record) };
        let (now, name) = (self.now(), &record.map.name);
        facts.extend(self.leaving_fact(record));
        facts.extend(mismatch_fact(record));
        facts.extend(self.guard_facts(record));
        facts.extend(self.limit_fact(record));
        facts.extend(self.dropped_fact(record));
        facts.extend(self.held_fact(record));
        facts.extend(self.converging_fact(record));
        facts.extend(self.window_fact(record));
        facts.extend(unbalanced);
        facts.extend(self.awaiting_fact(record));
        if errors > 0 {
            let reason = format!("{errors} records were set aside");
            let fix = Some(format!("tandem error list {name}"));
            facts.push(Fact { kind: ConditionKind::ErrorsOpen, status: true, reason, fix });
        }
        let mut shown = Vec::with_capacity(facts.len());
        for Fact { kind, status, reason, fix } in facts {
            let key = (name.clone(), kind);
            let before = self.conditions.get(&key).filter(|before| before.status == status);
            let since = before.map_or(now, |before| before.since);
            let condition = Condition { kind, status, reason, since, fix };
            self.conditions.insert(key, condition.clone());
            shown.push(condition);
        }
        self.conditions.retain(|(map, kind), _| map != name || shown.iter().any(|shown| shown.kind == *kind));
        shown.sort_by_key(|condition| (condition.kind.is_well(condition.status), condition.kind));
        shown
    }

    /// Whether the source refuses what it is to refuse.
    fn guard_facts(&self, record: &MapRecord) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (app, guard) in plans::guards_of(record, &self.world.hold_source) {
            let Some(handle) = self.apps.get(app) else { continue };
            let status = handle.status.borrow();
            let stands = status.guards.iter().any(|other| other.is_same(&guard));
            let (table, refused, since) = (&guard.table, guard.refuses.name(), guard.since);
            if guard.refuses == Refusal::Writes {
                let reason =
                    format!("writes to {table} are refused in the source since {since}: the queue is full");
                let fix =
                    format!("tandem map resume {}: when it has caught up, writes pass again", guard.map);
                let kind = ConditionKind::WritesBlocked;
                facts.push(Fact { kind, status: stands, reason, fix: Some(fix) });
            }
            let (reason, fix) = match &status.guard_fault {
                _ if stands => (format!("{refused} on {table} are refused in the source"), None),
                Some(fault) => {
                    (format!("{refused} on {table} are queued meanwhile: {fault}"), fault.fix.clone())
                }
                None => (format!("{refused} on {table} are about to be refused"), None),
            };
            facts.push(Fact { kind: ConditionKind::GuardArmed, status: stands, reason, fix });
        }
        facts
    }

    /// How many conflicts each map has had.
    fn conflict_counts(&self) -> BTreeMap<MapName, u64> {
        if self.maps.values().all(|record| record.map.direction != Direction::Both) {
            return BTreeMap::new();
        }
        self.world.store.conflict_counts().unwrap_or_else(|error| {
            tracing::error!("conflicts cannot be counted: {error}");
            BTreeMap::new()
        })
    }

    /// Two triggers that undo each other's work.
    fn ping_pong_fact(&self, record: &MapRecord) -> Option<Fact> {
        let number = map_number(&record.map.name);
        let left = record.flows.iter().filter_map(|flow| {
            let handle = self.apps.get(&flow.stream.source)?;
            handle.status.borrow().ping_pong.get(&(flow.stream.clone(), number)).copied()
        });
        let left = left.sum::<u64>();
        let reason = format!(
            "{left} times what a trigger had made of our write came back changed once more; it was left there, and \
             the sides differ"
        );
        let fix = "let the triggers of one side leave what the other side has made, or set side_effects = \"ignore\"";
        let fact = Fact { kind: ConditionKind::PingPong, status: true, reason, fix: Some(fix.to_owned()) };
        (left > 0).then_some(fact)
    }

    /// How near a queue is to its limits, once that is worth a word.
    fn limit_fact(&self, record: &MapRecord) -> Option<Fact> {
        let judged = self.watched.get(&record.map.name)?.judged?;
        let (reached, when) = match judged.level {
            Level::Below => return None,
            Level::Soft(reached) => {
                let first = judged.forecast.first();
                let when = first.map(|(limit, left)| format!("; {limit} is reached in {}", span(left)));
                (reached, when.unwrap_or_default())
            }
            Level::Hard { reached, .. } => (reached, ", which is all of it".to_owned()),
        };
        let reason = format!("{} % of {}: {}{when}", reached.full.percent(), reached.limit, amount(reached));
        let fix = format!("resume the map, or raise the limit: tandem map resume {}", record.map.name);
        Some(Fact { kind: ConditionKind::SoftLimit, status: true, reason, fix: Some(fix) })
    }

    /// What of a queue is lost.
    fn dropped_fact(&self, record: &MapRecord) -> Option<Fact> {
        let name = &record.map.name;
        let reason = self.watched.get(name)?.dropping.sentence()?;
        let fix = format!("resume the map, or choose limits that keep what waits: tandem map resume {name}");
        Some(Fact { kind: ConditionKind::RecordsDropped, status: true, reason, fix: Some(fix) })
    }

    fn facts_shown(&self, record: &MapRecord) -> Vec<Fact> {
        let internal = |fault: &Fault| fault.class == FaultClass::Internal;
        let (mut source, mut destination, mut stalled, mut disk) = (None, None, None, None);
        for flow in &record.flows {
            if let Some(handle) = self.apps.get(&flow.stream.source) {
                let status = handle.status.borrow();
                source = source.or(status.fault.clone()).or(status.entering.clone());
                disk = disk.or(status.broken.clone().filter(internal));
            }
            if let Some(handle) = self.streams.get(&flow.stream) {
                let status = handle.status.borrow();
                destination = destination.or(status.fault.clone());
                stalled = stalled.or(status.flows.get(&flow.flow).and_then(|flow| flow.stalled.clone()));
                disk = disk.or(status.broken.clone().filter(internal));
            }
        }
        let gap = self.gap(record).map(|fault| Fact::trouble(ConditionKind::GapDetected, &fault));
        let disk = disk.map(|fault| Fact::trouble(ConditionKind::DiskFailed, &fault));
        let stalled = stalled.map(|fault| Fact::trouble(ConditionKind::Stalled, &fault));
        let source = Fact::connected(ConditionKind::SourceConnected, source);
        let destination = Fact::connected(ConditionKind::DestinationConnected, destination);
        let ping_pong = self.ping_pong_fact(record);
        [gap, disk, stalled, ping_pong].into_iter().flatten().chain([source, destination]).collect()
    }
}

/// What of its tables no longer fits a map.
fn mismatch_fact(record: &MapRecord) -> Option<Fact> {
    let Mismatch { kind, reason, fix } = record.mismatch.clone()?;
    let (kind, status) = match kind {
        MismatchKind::Shape => (ConditionKind::SchemaMatches, false),
        MismatchKind::Truncated => (ConditionKind::SourceTruncated, true),
    };
    Some(Fact { kind, status, reason, fix })
}

/// Books that do not balance.
fn unbalanced_fact(flows: &[FlowView]) -> Option<Fact> {
    let differs = |flow: &FlowView| flow.ledger.map(|ledger| ledger.difference()).filter(|n| *n != 0);
    let (flow, difference) = flows.iter().find_map(|flow| Some((flow, differs(flow)?)))?;
    let (amount, what) = (difference.unsigned_abs(), if difference > 0 { "more" } else { "fewer" });
    let reason = format!("{}: {amount} changes {what} came in than anything became of", flow.stream);
    let fix =
        "this is a defect of Tandem: compare both sides (tandem map verify), and report it with the log";
    Some(Fact { kind: ConditionKind::Unbalanced, status: true, reason, fix: Some(fix.to_owned()) })
}

impl StreamHandle {
    fn queued(&self, flow: FlowId, after: Seq) -> QueueStats {
        // A count that cannot be had now is shown as nothing; the condition that says why stands beside it.
        let counts = self.journal.with(|journal| journal.queued(flow, after)).unwrap_or_default();
        QueueStats { records: counts.records, bytes: counts.bytes, oldest_at: counts.oldest_at }
    }

    /// The books of a flow; `None` while the journal cannot be asked.
    fn ledger(&self, flow: FlowId, status: &FlowStatus, opening: &Opening) -> Option<Ledger> {
        // Under one lock: what comes in meanwhile would be in one count and not in the other.
        let (turnover, queued) = self.journal.with(|journal| {
            Some((journal.turnover(flow)?, journal.queued(flow, status.cursor).ok()?.records))
        })?;
        let (now, then) = (status.outcomes, opening.outcomes);
        Some(Ledger {
            carried: opening.queued,
            journaled: turnover.journaled - opening.turnover.journaled,
            undone: now.undone - then.undone,
            applied: now.applied - then.applied,
            filtered: now.filtered - then.filtered,
            set_aside: now.set_aside - then.set_aside,
            lost: now.lost - then.lost,
            covered: now.covered - then.covered,
            found: now.found - then.found,
            dropped: turnover.dropped - opening.turnover.dropped,
            queued,
        })
    }
}
