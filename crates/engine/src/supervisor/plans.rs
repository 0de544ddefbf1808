//! From the states of the maps to what is wanted of streams and apps. Pure.

use crate::capture::{Sink, Watch};
use crate::copy::Desk;
use crate::journal::{FlowSpec as JournalFlow, Span};
use crate::store::{FlowId, FlowRecord, Holes, MapRecord, RetryRecord, Skipped};
use crate::stream::{Family, FlowPlan, JournalHandle, RetryPlan};
use crate::two_way::{BothWays, Half, Tables, map_number};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::lifecycle::{Phase, duties};
use tandem_core::map::{Deletes, Direction};
use tandem_core::two_way::SideName;
use tandem_core::{AppName, BarrierId, Dependents, Guard, MapName, Refusal, Seq, StreamName, TableName};

/// The flows of each stream.
pub(super) type StreamFlows = BTreeMap<StreamName, BTreeMap<FlowId, Arc<FlowPlan>>>;

/// The streams that there are to be.
pub(super) fn streams(maps: &BTreeMap<MapName, MapRecord>) -> BTreeSet<StreamName> {
    let captured = maps.values().filter(|record| duties(&record.state).capture);
    let flows = captured.flat_map(|record| &record.flows);
    let skipped = maps.values().flat_map(|record| record.skipped.iter().map(|skipped| &skipped.flow));
    let retried = maps.values().flat_map(|record| record.retries.iter().map(|retry| &retry.stream));
    flows.chain(skipped).map(|flow| &flow.stream).chain(retried).cloned().collect()
}

/// What is wanted of each stream. The retries in `trying` have their turn: their maps' flows rest meanwhile. Where a map
/// rests, for that or because it is paused, those that depend on it do too, also in their initial sync: they must not
/// overtake it.
pub(super) fn stream_flows(
    maps: &BTreeMap<MapName, MapRecord>,
    dependents: &Dependents,
    trying: &BTreeSet<FlowId>,
    desks: &BTreeMap<FlowId, Arc<Desk>>,
    journal: &dyn Fn(&StreamName) -> Option<Arc<JournalHandle>>,
) -> StreamFlows {
    let relatives: BTreeMap<&MapName, BTreeSet<MapName>> =
        maps.keys().map(|name| (name, dependents.dependents(name))).collect();
    let below = |above: &MapName, below: &MapName| {
        above != below && relatives.get(above).is_some_and(|set| set.contains(below))
    };
    // The flows of a stream whose maps are wanted.
    let flows_of = |stream: &StreamName, wanted: &dyn Fn(&MapName) -> bool| -> BTreeSet<FlowId> {
        let captured = maps.values().filter(|other| duties(&other.state).capture);
        let flows = captured.filter(|other| wanted(&other.map.name)).flat_map(|other| &other.flows);
        flows.filter(|other| other.stream == *stream).map(|other| other.flow).collect()
    };
    let has_turn = |map: &MapRecord, stream: &StreamName| {
        map.retries.iter().any(|retry| retry.stream == *stream && trying.contains(&retry.retry))
    };
    let may_rest = |map: &&MapRecord| is_held(map) || !map.retries.is_empty();
    let resting: Vec<&MapRecord> = maps.values().filter(may_rest).collect();
    let mut streams = StreamFlows::new();
    for record in maps.values().filter(|record| duties(&record.state).capture) {
        let follow = duties(&record.state).apply;
        for flow in &record.flows {
            let name = &record.map.name;
            let family = family(record, &flow.stream);
            let rests = |map: &MapRecord| is_held(map) || has_turn(map, &flow.stream);
            let waits =
                rests(record) || resting.iter().any(|other| below(&other.map.name, name) && rests(other));
            let both_ways = both_ways(record, &flow.stream, journal);
            // Before the other flow has begun nobody could tell our writes from a user's.
            let tells = record.map.direction != Direction::Both || both_ways.is_some();
            let plan = FlowPlan {
                family,
                copy: desks.get(&flow.flow).cloned(),
                both_ways,
                retry: None,
                flow: flow.flow,
                spec: flow.spec.clone(),
                shaped_at: flow.shaped_at,
                start: flow.start,
                until: None,
                succeeds: record.skipped_before(flow.flow),
                follow: follow && tells && !waits,
                cap: record.rate.filter(|_| record.state.phase == Phase::Resuming),
                ancestors: flows_of(&flow.stream, &|other| below(other, name)),
                dependents: flows_of(&flow.stream, &|other| below(name, other)),
                target: FlowPlan::target(&flow.spec),
            };
            streams.entry(flow.stream.clone()).or_default().insert(flow.flow, Arc::new(plan));
        }
    }
    for record in maps.values() {
        for Skipped { flow, until, .. } in &record.skipped {
            let plan = FlowPlan {
                family: Arc::default(),
                copy: None,
                both_ways: None,
                retry: None,
                flow: flow.flow,
                spec: flow.spec.clone(),
                shaped_at: *until,
                start: flow.start,
                until: Some(*until),
                succeeds: record.skipped_before(flow.flow),
                follow: false,
                cap: None,
                // Nobody waits for what was left behind.
                ancestors: BTreeSet::new(),
                dependents: BTreeSet::new(),
                target: FlowPlan::target(&flow.spec),
            };
            streams.entry(flow.stream.clone()).or_default().insert(flow.flow, Arc::new(plan));
        }
        for retry in &record.retries {
            let Some(plan) = retry_plan(record, retry) else { continue };
            let both_ways = both_ways(record, &retry.stream, journal);
            let name = &record.map.name;
            let plan = FlowPlan {
                follow: trying.contains(&retry.retry),
                both_ways,
                ancestors: flows_of(&retry.stream, &|other| below(other, name)),
                dependents: flows_of(&retry.stream, &|other| below(name, other)),
                ..plan
            };
            streams.entry(retry.stream.clone()).or_default().insert(retry.retry, Arc::new(plan));
        }
    }
    streams
}

/// Whether a map that was live is held, by whomever.
pub(super) fn is_held(record: &MapRecord) -> bool {
    matches!(record.state.phase, Phase::Running | Phase::Paused | Phase::Resuming)
        && !duties(&record.state).apply
}

/// A two-way map as its flow of one stream sees it. `None` for others, and until both flows have begun: before that
/// nothing can have come back.
fn both_ways(
    record: &MapRecord,
    stream: &StreamName,
    journal: &dyn Fn(&StreamName) -> Option<Arc<JournalHandle>>,
) -> Option<Arc<BothWays>> {
    if record.map.direction != Direction::Both {
        return None;
    }
    let half = |flow: &FlowRecord| {
        let left = flow.stream.source == record.map.left.app;
        Some(Half {
            side: if left { SideName::Left } else { SideName::Right },
            stream: flow.stream.clone(),
            flow: flow.flow,
            start: flow.start?,
            spec: flow.spec.clone(),
            target: FlowPlan::target(&flow.spec),
            family: family(record, &flow.stream),
            journal: journal(&flow.stream)?,
        })
    };
    let own = half(record.flows.iter().find(|flow| flow.stream == *stream)?)?;
    let other = half(record.flows.iter().find(|flow| flow.stream != *stream)?)?;
    let (policy, side_effects) = (record.map.conflict, record.map.side_effects);
    Some(Arc::new(BothWays { number: map_number(&record.map.name), policy, side_effects, own, other }))
}

/// Where errors of a map are in a stream.
fn family(record: &MapRecord, stream: &StreamName) -> Arc<Family> {
    let kept = record.preserved().filter(|skipped| skipped.flow.stream == *stream);
    Arc::new(Family { flows: record.family(stream), kept: kept.map(|skipped| skipped.flow.flow).collect() })
}

/// What is wanted of a retry: it goes while it has its turn, with the map as it is now.
fn retry_plan(record: &MapRecord, retry: &RetryRecord) -> Option<FlowPlan> {
    let skipped = record.skipped.iter().rev().map(|skipped| &skipped.flow);
    let like = record.flows.iter().chain(skipped).find(|flow| flow.stream == retry.stream)?;
    Some(FlowPlan {
        flow: retry.retry,
        spec: like.spec.clone(),
        shaped_at: retry.until,
        start: Some(Seq::ZERO),
        until: Some(retry.until),
        succeeds: None,
        follow: false,
        ancestors: BTreeSet::new(),
        dependents: BTreeSet::new(),
        target: FlowPlan::target(&like.spec),
        family: family(record, &retry.stream),
        cap: retry.rate,
        copy: None,
        both_ways: None,
        retry: Some(RetryPlan { kept: retry.kept.clone() }),
    })
}

/// A flow as its journal counts and indexes it.
pub(super) fn journal_flow(flow: &FlowPlan) -> JournalFlow {
    JournalFlow {
        flow: flow.flow,
        table: flow.spec.source.clone(),
        key: flow.spec.source_key.clone(),
        span: Span { from: flow.start.unwrap_or(Seq::ZERO), until: flow.until },
    }
}

/// What was dropped of the flows of a stream.
pub(super) fn holes<'a>(
    maps: &'a BTreeMap<MapName, MapRecord>,
    stream: &'a StreamName,
) -> impl Iterator<Item = (FlowId, &'a Holes)> {
    let flows = maps.values().flat_map(MapRecord::every_flow);
    flows.filter(move |flow| flow.stream == *stream).map(|flow| (flow.flow, &flow.holes))
}

/// The sinks of each app: its streams with their tables.
pub(super) fn app_sinks(
    streams: &StreamFlows,
    journal: impl Fn(&StreamName) -> Option<Arc<JournalHandle>>,
) -> BTreeMap<AppName, BTreeMap<StreamName, Sink>> {
    let mut apps: BTreeMap<AppName, BTreeMap<StreamName, Sink>> = BTreeMap::new();
    for (stream, flows) in streams {
        let Some(journal) = journal(stream) else { continue };
        let going_on = flows.values().filter(|flow| flow.until.is_none() && flow.retry.is_none());
        let tables: BTreeSet<TableName> = going_on.clone().map(|flow| flow.spec.source.clone()).collect();
        let both = |flow: &Arc<FlowPlan>| Some((flow.spec.source.clone(), flow.both_ways.clone()?));
        let both_ways: Tables = going_on.filter_map(both).collect();
        if tables.is_empty() {
            continue;
        }
        apps.entry(stream.source.clone())
            .or_default()
            .insert(stream.clone(), Sink { journal, tables, both_ways });
    }
    apps
}

/// What each app is to refuse.
pub(super) fn guards(
    maps: &BTreeMap<MapName, MapRecord>,
    holding: &BTreeSet<AppName>,
) -> BTreeMap<AppName, Vec<Guard>> {
    let mut apps: BTreeMap<AppName, Vec<Guard>> = BTreeMap::new();
    for (app, guard) in maps.values().flat_map(|record| guards_of(record, holding)) {
        apps.entry(app.clone()).or_default().push(guard);
    }
    apps
}

/// The guards against deletes of each app, with what is known of where they were armed.
pub(super) fn watched(
    maps: &BTreeMap<MapName, MapRecord>,
    holding: &BTreeSet<AppName>,
) -> BTreeMap<AppName, Vec<Watch>> {
    let mut apps: BTreeMap<AppName, Vec<Watch>> = BTreeMap::new();
    for record in maps.values() {
        for (app, guard) in guards_of(record, holding).filter(|(_, guard)| guard.refuses == Refusal::Deletes)
        {
            let flows = record.flows.iter().filter(|flow| flow.stream.source == *app);
            let flow = flows.into_iter().find(|flow| flow.spec.source == guard.table);
            let watch = flow.map(|flow| Watch { guard, stream: flow.stream.clone(), armed: flow.armed });
            apps.entry(app.clone()).or_default().extend(watch);
        }
    }
    apps
}

/// What apps are to refuse on behalf of one map. Those in `holding` refuse no writes: they are not read instead.
pub(super) fn guards_of<'a>(
    record: &'a MapRecord,
    holding: &'a BTreeSet<AppName>,
) -> impl Iterator<Item = (&'a AppName, Guard)> {
    let held = duties(&record.state).refuse_deletes && record.map.deletes == Deletes::Reject;
    let since = record.state.holds.values().map(|note| note.since).min();
    let deletes = held.then_some((Refusal::Deletes, since.unwrap_or(record.state.since)));
    let writes = record.blocked.map(|since| (Refusal::Writes, since));
    record.flows.iter().flat_map(move |flow| {
        let writes = writes.filter(|_| !holding.contains(&flow.stream.source));
        deletes.into_iter().chain(writes).map(|(refuses, since)| {
            let guard = Guard {
                table: flow.spec.source.clone(),
                map: record.map.name.clone(),
                refuses,
                key: flow.spec.source_key.clone(),
                since,
            };
            (&flow.stream.source, guard)
        })
    })
}

/// The tables that are to enter capture, per app.
pub(super) fn entering(
    maps: &BTreeMap<MapName, MapRecord>,
) -> BTreeMap<AppName, BTreeMap<BarrierId, TableName>> {
    let mut apps: BTreeMap<AppName, BTreeMap<BarrierId, TableName>> = BTreeMap::new();
    for record in maps.values().filter(|record| duties(&record.state).enter) {
        for flow in record.flows.iter().filter(|flow| flow.start.is_none()) {
            apps.entry(flow.stream.source.clone())
                .or_default()
                .insert(flow.barrier, flow.spec.source.clone());
        }
    }
    apps
}
