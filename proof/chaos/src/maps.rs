//! What the API says about maps, and when all is well again.

use crate::engine::Engine;
use crate::world::{RETRIED, Side, World, tables};
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::time::{Duration, Instant};

/// How long healing may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Maps, and those that pause with them.
pub(crate) fn with_children(chosen: &[String]) -> Vec<String> {
    let mut all = chosen.to_vec();
    all.extend(chosen.iter().filter_map(|name| Some(format!("child_{}", name.strip_prefix("parent_")?))));
    all.sort();
    all.dedup();
    all
}

fn text<'j>(map: &'j Json, field: &str) -> &'j str {
    map.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// A map by its name.
pub(crate) fn find<'j>(maps: &'j [Json], name: &str) -> Option<&'j Json> {
    maps.iter().find(|map| text(map, "name") == name)
}

/// Whether a map is in a state, and on its way to no other.
pub(crate) fn is(maps: &[Json], name: &str, state: &str) -> bool {
    let pausing = |map: &Json| map.get("pausing").and_then(Json::as_bool).unwrap_or_default();
    find(maps, name).is_some_and(|map| text(map, "state") == state && !pausing(map))
}

/// The kinds of a map's holds.
pub(crate) fn holds(map: &Json) -> impl Iterator<Item = &str> {
    map.get("holds").and_then(Json::as_array).into_iter().flatten().map(|hold| text(hold, "kind"))
}

/// Maps in a few words each, for a person.
pub(crate) fn shown(maps: &[Json]) -> String {
    let line = |map: &Json| {
        let troubles = map.get("conditions").and_then(Json::as_array).into_iter().flatten();
        let troubles: Vec<String> = troubles
            .filter(|condition| condition.get("well").and_then(Json::as_bool) == Some(false))
            .map(|condition| format!("{}: {}", text(condition, "type"), text(condition, "reason")))
            .collect();
        let queued = map.pointer("/queue/records").and_then(Json::as_u64).unwrap_or_default();
        format!(
            "{} {} holds {:?} queued {queued} errors {} retries {} {}",
            text(map, "name"),
            text(map, "state"),
            holds(map).collect::<Vec<_>>(),
            map.get("errors").unwrap_or(&Json::Null),
            map.get("retries").unwrap_or(&Json::Null),
            troubles.join("; ")
        )
    };
    maps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Waits until both sides are equal, every map runs, and nothing is queued or set aside. An error says what is not.
pub(crate) fn heal(world: &World, engine: &Engine) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let maps = engine.maps()?.context("the API answers")?;
        let count =
            |map: &Json, pointer: &str| map.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
        let errors = |map: &Json| {
            ["open", "waiting", "retrying"]
                .iter()
                .map(|status| count(map, &format!("/errors/{status}")))
                .sum::<u64>()
        };
        let at_rest = maps.iter().all(|map| {
            text(map, "state") == "running" && count(map, "/queue/records") == 0 && errors(map) == 0
        });
        if at_rest && maps.len() == tables().len() && equal(world) {
            return Ok(began.elapsed());
        }
        // What was refused stays so, unless somebody retries it. What waits for another map goes on by itself.
        for map in maps.iter().filter(|map| count(map, "/errors/open") > 0) {
            let name = text(map, "name");
            if !RETRIED.contains(&name) {
                bail!("records were set aside:\n{}", shown(&maps));
            }
            engine.ask(&["error", "retry", name, "--all"])?;
        }
        if began.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?} it is not healed:\n{}", shown(&maps));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn equal(world: &World) -> bool {
    let sums = tables()
        .iter()
        .map(|table| format!("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY id), '')) FROM {table} t"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    world.sql(Side::Source, &sums) == world.sql(Side::Destination, &sums)
}
