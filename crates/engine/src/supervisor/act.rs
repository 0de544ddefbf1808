//! Requests: all or nothing, recorded before anything is done.

use super::Supervisor;
use super::copying::{begun_by, meant};
use super::limiting::span;
use super::skip::fate_of;
use crate::failpoint::FailPoint;
use crate::request::{Accepted, Blocker, Planned, PlannedMap, Rejected, Request, WindowEnd};
use crate::store::{CopyRecord, FlowId, FlowRecord, Holes, MapRecord, Record};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::lifecycle::{
    Action, Event, Hold, HoldNote, MapState, Phase, QueueFate, Refused, ResumeMode, Window, step,
};
use tandem_core::map::FlowSpec;
use tandem_core::{BarrierId, Dependents, Finding, MapName, RateCap, Seq, StreamName};

/// What a request needs that has to be asked of apps first.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The flows of maps that are to be run.
    pub(crate) flows: BTreeMap<MapName, Vec<(StreamName, FlowSpec)>>,
    /// What a person should know.
    pub(crate) warnings: Vec<Finding>,
}

impl Supervisor {
    /// Does a request.
    pub(super) fn act(&mut self, request: Request, prepared: Prepared) -> Result<Accepted, Rejected> {
        let (next, blockers) = self.decide(&request)?;
        if !blockers.is_empty() {
            return Err(Rejected::State(blockers));
        }
        let mut next: Vec<_> = next
            .into_iter()
            .filter_map(|(name, state)| Some((self.maps.get(&name)?.clone(), state)))
            .collect();
        let ranks = self.dependents.ranks();
        next.sort_by_key(|(record, _)| ranks.get(&record.map.name).copied());
        self.record(&request, prepared, next)
    }

    /// What a request would do now, and what stands in its way.
    pub(super) fn plan(&self, request: &Request) -> Result<Planned, Rejected> {
        let (next, blockers) = self.decide(request)?;
        let planned = next.into_iter().filter_map(|(map, state)| {
            let record = self.maps.get(&map)?;
            let (queued, bytes) = self.queued(record);
            let goes_along = !request.maps.contains(&map);
            let lost = !goes_along
                && (fate_of(request.action) == Some(QueueFate::Discard)
                    || matches!(request.action, Action::Stop(Some(QueueFate::Discard))));
            // A pause is a hold first; what people wait for is what it ends in.
            let to = if state.is_pausing() { Phase::Paused } else { state.phase };
            Some(PlannedMap { map, from: record.state.phase, to, goes_along, queued, bytes, lost })
        });
        Ok(Planned { maps: planned.collect(), blockers })
    }

    fn decide(&self, request: &Request) -> Result<(BTreeMap<MapName, MapState>, Vec<Blocker>), Rejected> {
        if let Some(unknown) = request.maps.iter().find(|name| !self.maps.contains_key(*name)) {
            return Err(Rejected::UnknownMap(unknown.clone()));
        }
        supported(request.action)?;
        let window = self.window_of(request)?;
        let along = self.parents_along(request);
        let events = self.events(request, &along);
        let mut blockers = self.parents_not_live(request, &along);
        blockers.extend(self.not_as_expected(request));
        blockers.extend(self.errors_left(request));
        blockers.extend(self.run_into_gaps(request));
        let mut next: BTreeMap<MapName, MapState> = BTreeMap::new();
        for (name, event) in events {
            let Some(record) = self.maps.get(&name) else { continue };
            let own = request.maps.contains(&name) || along.contains(&name);
            let before = next.get(&name).unwrap_or(&record.state);
            if own && window.is_some() && before.holds.contains_key(&Hold::User) {
                // Paused by a person already: only the end moves.
                next.insert(name, before.clone());
                continue;
            }
            let Some(event) = after_lift(event, &record.state, before) else { continue };
            match step(before, event, self.now()) {
                Ok(state) if !own && state == record.state => {}
                Ok(state) => drop(next.insert(name, state)),
                // A dependent that is in another state is left as it is; one that was named must do as asked.
                Err(Refused { state, needs }) if own => {
                    let blocker = Blocker { map: name, state: state.to_owned(), needs };
                    // The state may say what the look at the parents has said already.
                    if !blockers.contains(&blocker) {
                        blockers.push(blocker);
                    }
                }
                Err(_) => {}
            }
        }
        Ok((next, blockers))
    }

    /// Saves what follows from a request in one transaction, and then makes it so.
    fn record(
        &mut self,
        request: &Request,
        mut prepared: Prepared,
        next: Vec<(MapRecord, MapState)>,
    ) -> Result<Accepted, Rejected> {
        let mut engine = self.engine.clone();
        let along = self.parents_along(request);
        let window = self.window_of(request)?;
        let cap = request.rate.map(|per_second| RateCap { per_second, asked_at: self.now() });
        let mut records = Vec::new();
        let mut changed = Vec::new();
        let (mut uncopied, mut copies, mut discarded) = (Vec::new(), Vec::new(), Vec::new());
        for (mut record, state) in next {
            let name = record.map.name.clone();
            let action = meant(request, &record);
            let mut entry =
                self.note(&format!("map.{}", action.name()), &name, &request.actor, &request.reason);
            entry.from = Some(record.state.phase.to_string());
            entry.to = Some(state.phase.to_string());
            if !request.maps.contains(&name) {
                if along.contains(&name) {
                    entry.event = "map.resume".to_owned();
                }
                entry.detail = format!("goes along with {}", list(&request.maps));
            }
            if state.phase == Phase::NotRunning {
                uncopied.extend(record.flows.iter().map(|flow| flow.flow));
                engine.leaving.extend(record.flows.iter().map(|flow| flow.stream.source.clone()));
                record.blocked = None;
                if request.action == Action::Stop(Some(QueueFate::Preserve)) {
                    let next_flow = &mut engine.next_flow;
                    self.leave_behind(&mut record, QueueFate::Preserve, request, false, next_flow)?;
                    record.retries.iter_mut().for_each(|retry| retry.cancelled = true);
                } else {
                    let (queued, bytes) = self.queued(&record);
                    let errors = self.error_stats(&record).total();
                    discarded.push((name.clone(), queued));
                    entry.detail = format!("{queued} queued records ({bytes} bytes) were not applied");
                    if errors > 0 {
                        entry.detail += &format!(", nor {errors} errors");
                    }
                    records.extend(record.every_flow().map(|flow| Record::NoErrors(flow.flow)));
                    record.flows.clear();
                    record.skipped.clear();
                    record.retries.clear();
                }
            }
            for (stream, spec) in prepared.flows.remove(&name).into_iter().flatten() {
                // A map that resumes has its flows; what they do may be another since it was paused.
                if let Some(flow) = record.flows.iter_mut().find(|flow| flow.stream == stream) {
                    flow.spec = spec;
                    flow.shaped_at = self.captured_by_now(&stream).max(flow.shaped_at);
                    continue;
                }
                let (flow, barrier) = (FlowId(engine.next_flow), BarrierId(engine.next_barrier));
                engine.next_flow += 1;
                engine.next_barrier += 1;
                record.flows.push(FlowRecord {
                    flow,
                    stream,
                    spec,
                    barrier,
                    start: None,
                    holes: Holes::default(),
                    armed: None,
                    shaped_at: Seq::ZERO,
                });
            }
            if let Some(fate) = fate_of(request.action).filter(|_| request.maps.contains(&name)) {
                self.leave_behind(&mut record, fate, request, true, &mut engine.next_flow)?;
                record.blocked = None;
            }
            if request.maps.contains(&name) {
                copies.extend(begun_by(action, &record, self.now()));
            }
            record.rate = rate_of(request, cap, record.rate, state.phase);
            if let Some(cap) = record.rate.filter(|_| state.phase == Phase::Resuming) {
                entry.detail = said(&entry.detail, &format!("at most {} records a second", cap.per_second));
            }
            record.state = state;
            // One that goes along with its parent may be held for its own tables, too, and still is.
            if action != Action::Pause && record.state.holds.is_empty() {
                record.mismatch = None;
            }
            if !record.state.holds.contains_key(&Hold::User) {
                record.window = None;
            } else if request.action == Action::Pause && request.maps.contains(&name) {
                record.window = window;
                if let Some(window) = window {
                    let then = if window.then_resume { ", then it is resumed" } else { "" };
                    entry.detail = said(&entry.detail, &format!("planned until {}{then}", window.until));
                    prepared.warnings.extend(self.too_long(&name, window));
                }
            }
            self.stuck.remove(&name);
            records.push(Record::Activity(entry));
            records.push(Record::Map(Box::new(record.clone())));
            changed.push(record);
        }
        if engine != self.engine {
            records.push(Record::Engine(engine.clone()));
        }
        // One that begins anew has nothing left of the one before.
        let anew = copies.iter().map(|copy: &CopyRecord| copy.flow);
        records.extend(uncopied.iter().copied().chain(anew).map(Record::NoCopy));
        records.extend(copies.iter().map(|copy| Record::Copy(Box::new(copy.clone()))));
        if matches!(request.action, Action::Resume(_)) {
            FailPoint::ResumeUnrecorded.pass();
        }
        let ids = self.save(&records).map_err(|error| Rejected::Disk(error.to_string()))?;
        match request.action {
            Action::Pause => FailPoint::PauseRecorded.pass(),
            Action::Resume(_) => FailPoint::ResumeRecorded.pass(),
            _ => {}
        }
        self.engine = engine;
        discarded.into_iter().for_each(|(map, records)| self.tally(&map).discarded += records);
        uncopied.into_iter().for_each(|flow| self.copies.forget(flow));
        copies.into_iter().for_each(|copy| self.copies.begin(copy));
        let maps = changed.iter().map(|record| (record.map.name.clone(), record.state.phase)).collect();
        for record in changed {
            tracing::info!(map = %record.map.name, action = request.action.name(), actor = request.actor, to = %record.state.phase, "accepted");
            self.asked.insert(record.map.name.clone(), self.version + 1);
            self.maps.insert(record.map.name.clone(), record);
        }
        self.push_plans().map_err(|error| Rejected::Disk(error.to_string()))?;
        Ok(Accepted {
            id: ids.first().copied().unwrap_or_default(),
            maps,
            warnings: prepared.warnings,
            left_behind: Vec::new(),
        })
    }

    /// The planned end that a request asks for.
    fn window_of(&self, request: &Request) -> Result<Option<Window>, Rejected> {
        let Some(asked) = request.window else { return Ok(None) };
        let (now, then_resume) = (self.now(), asked.then_resume);
        let until = match asked.end {
            WindowEnd::In(time) => now.plus(time),
            WindowEnd::At(moment) => moment,
        };
        if request.action != Action::Pause {
            return Err(Rejected::Senseless(format!("{} has no planned end", request.action.name())));
        }
        if until <= now {
            return Err(Rejected::Senseless(format!("the planned end, {until}, is over already")));
        }
        Ok(Some(Window { until, then_resume, told: false }))
    }

    /// A warning, if a limit ends a pause before its planned end.
    fn too_long(&self, map: &MapName, window: Window) -> Option<Finding> {
        let limits = self.world.limits.get(map).cloned().unwrap_or_default();
        let max = limits.max_pause_age.filter(|max| window.until > self.now().plus(*max))?;
        let (max, then) = (span(max), limits.when_full.name());
        let message =
            format!("max_pause_age is {max}, which is reached before the planned end: {then} follows");
        let finding = Finding::warning("window_beyond_limit", format!("map {map}"), message);
        Some(finding.fix("raise max_pause_age, or plan a shorter pause"))
    }

    /// What is asked of each map, dependents included.
    fn events(&self, request: &Request, along: &BTreeSet<MapName>) -> Vec<(MapName, Event)> {
        let note = |reason: &str| HoldNote {
            since: self.now(),
            actor: request.actor.as_str().into(),
            reason: reason.into(),
        };
        let named: BTreeSet<&MapName> = request.maps.iter().collect();
        let mut events = Vec::new();
        for parent in along {
            events.extend(self.resumed(parent, Action::Resume(ResumeMode::CatchUp)));
        }
        for name in &named {
            let dependents = self.dependents.dependents(name);
            let others = dependents.iter().filter(|dependent| !named.contains(dependent));
            match request.action {
                Action::Pause => {
                    events.push(((*name).clone(), Event::Hold(Hold::User, note(&request.reason))));
                    let hold = Hold::Parent((*name).clone());
                    events.extend(
                        others.map(|other| (other.clone(), Event::Hold(hold.clone(), note(&request.reason)))),
                    );
                }
                Action::Resume(_) => events.extend(self.resumed(name, request.action)),
                other => {
                    let record = self.maps.get(*name);
                    let action = record.map_or(other, |record| meant(request, record));
                    events.push(((*name).clone(), Event::Act(action)));
                }
            }
        }
        in_order(events)
    }

    /// A map that is resumed. Holds that it caused go with it, also those on others that are resumed.
    fn resumed(&self, name: &MapName, action: Action) -> Vec<(MapName, Event)> {
        let lift = |held| (held, Event::Lift(Hold::Parent(name.clone())));
        let mut events: Vec<_> = self.dependents_held_by(name).into_iter().map(lift).collect();
        events.push((name.clone(), Event::Act(action)));
        events
    }

    fn parents_along(&self, request: &Request) -> BTreeSet<MapName> {
        parents_along(request, &self.dependents, |name| Some(&self.maps.get(name)?.state))
    }

    pub(super) fn dependents_held_by(&self, parent: &MapName) -> Vec<MapName> {
        let hold = Hold::Parent(parent.clone());
        let held = self.maps.values().filter(|record| record.state.holds.contains_key(&hold));
        held.map(|record| record.map.name.clone()).collect()
    }

    /// Maps that cannot be stopped without a word about their errors, which end with them.
    fn errors_left(&self, request: &Request) -> Vec<Blocker> {
        if request.action != Action::Stop(None) {
            return Vec::new();
        }
        let named = request.maps.iter().filter_map(|map| self.maps.get(map));
        let with_errors = named.filter_map(|record| {
            let errors = self.error_stats(record).total();
            let needs = format!(
                "has {errors} catch-up errors: say what becomes of them with --queue preserve or --queue discard"
            );
            let (map, state) = (record.map.name.clone(), record.state.phase.to_string());
            (errors > 0).then_some(Blocker { map, state, needs })
        });
        with_errors.collect()
    }

    /// Maps that cannot be resumed because a map that they depend on is not live, and is not resumed with them.
    fn parents_not_live(&self, request: &Request, along: &BTreeSet<MapName>) -> Vec<Blocker> {
        if !matches!(request.action, Action::Resume(_) | Action::Skip(_)) {
            return Vec::new();
        }
        let mut blockers = Vec::new();
        for name in request.maps.iter().chain(along) {
            let Some(record) = self.maps.get(name) else { continue };
            let mut others = self
                .dependents
                .parents(name)
                .filter(|parent| !request.maps.contains(parent) && !along.contains(*parent));
            let behind =
                others.find(|parent| self.maps.get(*parent).is_some_and(|parent| is_held(&parent.state)));
            let needs = match (behind, self.gap(record)) {
                (Some(parent), _) => {
                    format!("depends on {parent}, which must be live first (--with-parents resumes it, too)")
                }
                (None, Some(gap)) => {
                    let fix = gap.fix.as_ref().map(|fix| format!(" ({fix})")).unwrap_or_default();
                    format!("has a gap: {gap}{fix}")
                }
                (None, None) => continue,
            };
            blockers.push(Blocker { map: name.clone(), state: record.state.phase.to_string(), needs });
        }
        blockers
    }
}

/// Whether a map is paused or about to be. One that is catching up is not: it may itself wait for those that depend on
/// it, a parent's delete for its children.
fn is_held(state: &MapState) -> bool {
    state.phase == Phase::Paused || state.is_pausing()
}

/// The maps that are to be resumed along with those that a request names: all that these depend on, directly or not,
/// and that are held. A person who asks for that takes every hold off them, their own included.
pub(crate) fn parents_along<'a>(
    request: &Request,
    dependents: &Dependents,
    state: impl Fn(&MapName) -> Option<&'a MapState>,
) -> BTreeSet<MapName> {
    if !request.with_parents || !matches!(request.action, Action::Resume(_) | Action::Skip(_)) {
        return BTreeSet::new();
    }
    let above = request.maps.iter().flat_map(|map| dependents.ancestors(map));
    above.filter(|map| !request.maps.contains(map) && state(map).is_some_and(is_held)).collect()
}

/// Lifts before actions, so that a map that is resumed together with its parent is not refused for it.
fn in_order(events: Vec<(MapName, Event)>) -> Vec<(MapName, Event)> {
    let (lifts, rest): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|(_, event)| matches!(event, Event::Lift(_)));
    lifts.into_iter().chain(rest).collect()
}

/// What is left to ask of a map that the same request let go already, because only parents that are resumed with it
/// held it: it catches up by that, and one that is to be live at once skips from there.
fn after_lift(event: Event, was: &MapState, now: &MapState) -> Option<Event> {
    if was.phase != Phase::Paused || now.phase != Phase::Resuming {
        return Some(event);
    }
    match event {
        Event::Act(Action::Resume(ResumeMode::CatchUp)) => None,
        Event::Act(Action::Resume(ResumeMode::SkipPreserve)) => {
            Some(Event::Act(Action::Skip(QueueFate::Preserve)))
        }
        Event::Act(Action::Resume(ResumeMode::SkipDiscard)) => {
            Some(Event::Act(Action::Skip(QueueFate::Discard)))
        }
        other => Some(other),
    }
}

/// The cap on a map's catch-up once a request is done that asks for `asked`. Maps that go along have that of those who
/// were named: it is the destination that is to be spared.
fn rate_of(
    request: &Request,
    asked: Option<RateCap>,
    before: Option<RateCap>,
    phase: Phase,
) -> Option<RateCap> {
    match (request.action, phase) {
        (Action::Resume(_), Phase::Resuming) => asked,
        (_, Phase::NotRunning) | (Action::Resume(_) | Action::Skip(_), Phase::Running) => None,
        _ => before,
    }
}

/// One more thing that is said of a change.
fn said(before: &str, more: &str) -> String {
    if before.is_empty() { more.to_owned() } else { format!("{before}; {more}") }
}

fn list(maps: &[MapName]) -> String {
    maps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What this version cannot do yet is said before the state is looked at: no state would help.
fn supported(action: Action) -> Result<(), Rejected> {
    let missing = match action {
        Action::Edit | Action::Delete => {
            "this version takes maps from the config file only: change it and restart"
        }
        Action::Run { .. }
        | Action::Rerun { .. }
        | Action::SkipInitialSync
        | Action::Pause
        | Action::Resume(_)
        | Action::Skip(_)
        | Action::Stop(_) => return Ok(()),
    };
    Err(Rejected::Unsupported(missing.to_owned()))
}
