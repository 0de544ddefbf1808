//! The figures of maps as wholes: how they stand, their limits, what happened to them.

use super::sheet::{Family, Labels, Sheet, bytes, of, seconds, signed};
use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::Duration;
use tandem_core::WallTime;
use tandem_core::lifecycle::Phase;
use tandem_engine::{ConditionKind, LimitsView, MapTally, MapView, Snapshot};

/// A figure: what it is, where it is.
type Count = (Family, fn(&MapTally) -> u64);

/// What happened to a map, in figures that only rise.
const TALLIES: [Count; 3] = [
    (of("tandem_changes_discarded", "Queued changes that were left out by a skip or a stop"), |tally| {
        tally.discarded
    }),
    (
        of("tandem_source_gap_detected", "How often it was found that changes of the source may be missing"),
        |tally| tally.gaps,
    ),
    (of("tandem_guard_bypassed", "Deletes that got past a guard, and are queued"), |tally| tally.bypassed),
];

/// Writes the figures of maps.
pub(super) fn write(snapshot: &Snapshot, at: WallTime, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
    stand(snapshot, sheet)?;
    limits(snapshot, at, sheet)?;
    for (family, count) in &TALLIES {
        sheet.counters(family, snapshot.maps.iter().map(|map| (of_map(map), count(&map.tally))))?;
    }
    let retries = snapshot.maps.iter().flat_map(|map| {
        [("completed", map.tally.retried), ("refused", map.tally.refused_again)]
            .map(|(result, times)| (with(map, "result", result), times))
    });
    sheet.counters(&of("tandem_retries", "Errors that were tried again, by what came of it"), retries)?;
    let conflicts = snapshot.maps.iter().map(|map| (of_map(map), map.conflicts));
    let help = "How often both sides changed a record without knowing of each other";
    sheet.counters(&of("tandem_conflicts", help), conflicts)
}

fn stand(snapshot: &Snapshot, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
    let states = snapshot.maps.iter().flat_map(|map| {
        Phase::NAMED.map(|phase| {
            (with(map, "state", phase.name()), i64::from(map.state.phase.name() == phase.name()))
        })
    });
    sheet.gauges(&of("tandem_map_state", "1 for the state that the map is in"), states)?;
    let conditions: Vec<_> = snapshot.maps.iter().map(|map| (map, conditions(map))).collect();
    let shown = conditions.iter().flat_map(|(map, conditions)| {
        conditions.iter().map(|(name, ill)| (with(map, "type", name), i64::from(*ill)))
    });
    let help = "1 for a condition that holds and is no good news";
    sheet.gauges(&of("tandem_map_condition", help), shown)?;
    let guards = snapshot.maps.iter().filter_map(|map| {
        let mut wanted = map.conditions.iter().filter(|one| one.kind == ConditionKind::GuardArmed).peekable();
        wanted.peek()?;
        Some((of_map(map), i64::from(wanted.all(|guard| guard.status))))
    });
    let help = "1 while the source refuses what it is to refuse, 0 while it does not";
    sheet.gauges(&of("tandem_guard_armed", help), guards)?;
    let errors = snapshot.maps.iter().map(|map| (of_map(map), signed(map.errors.trouble())));
    let help = "Errors that something is still to become of, without what only waits for another map";
    sheet.gauges(&of("tandem_errors_open", help), errors)
}

/// The conditions of a map by name, and whether one of that name is no good news: a map that goes both ways may have one
/// for each side.
fn conditions(map: &MapView) -> BTreeMap<String, bool> {
    let mut by_name = BTreeMap::new();
    for condition in &map.conditions {
        *by_name.entry(format!("{:?}", condition.kind)).or_default() |=
            !condition.kind.is_well(condition.status);
    }
    by_name
}

fn limits(snapshot: &Snapshot, at: WallTime, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
    let limited = || snapshot.maps.iter().filter_map(|map| Some((map, map.limits.as_ref()?)));
    let sizes = limited().flat_map(|(map, LimitsView { limits, .. })| {
        let sizes = limits.max_queue_bytes.map(|hard| [("soft", limits.soft_limit.of(hard)), ("hard", hard)]);
        sizes.into_iter().flatten().map(move |(kind, most)| (with(map, "kind", kind), signed(most)))
    });
    sheet.gauges(&bytes("tandem_queue_limit", "What the queue and open errors may take"), sizes)?;
    let forecasts = limited().flat_map(|(map, view)| {
        let forecast = view.forecast(map.state.phase, at);
        let both = [("bytes", forecast.bytes), ("age", forecast.age)];
        both.into_iter()
            .filter_map(move |(limit, left)| Some((with(map, "limit", limit), left?.as_secs_f64())))
    });
    let help = "In how long a hard limit is reached if all goes on as it does";
    sheet.times(&seconds("tandem_limit_forecast", help), forecasts)?;
    let deadlines = limited().filter_map(|(map, view)| Some((of_map(map), in_seconds(deadline(map, view)?))));
    let help = "When a pause reaches its hard limit of time";
    sheet.times(&seconds("tandem_pause_deadline_timestamp", help), deadlines)
}

fn deadline(map: &MapView, view: &LimitsView) -> Option<WallTime> {
    let longest: Duration = view.limits.max_pause_age.filter(|_| map.state.phase == Phase::Paused)?;
    Some(view.since?.plus(longest))
}

fn in_seconds(at: WallTime) -> f64 {
    at.0 as f64 / 1_000_000.0
}

fn of_map(map: &MapView) -> Labels<'_> {
    vec![("map", map.map.name.as_str())]
}

fn with<'a>(map: &'a MapView, label: &'static str, value: &'a str) -> Labels<'a> {
    vec![("map", map.map.name.as_str()), (label, value)]
}
