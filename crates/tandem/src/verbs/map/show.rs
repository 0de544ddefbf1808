//! `tandem map show`

use super::{mapping, progress, shown_state};
use crate::args::One;
use crate::failure::Exit;
use crate::output::{age, bytes, count, moment};
use crate::verbs::{Desk, Outcome, record};
use serde::Serialize;
use tandem_server::wire::{Map, Mapping, Side};

/// A map with all that there is to show of it.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    map: Map,
    mapping: Mapping,
}

pub(crate) async fn show(desk: &Desk<'_>, asked: One) -> Outcome {
    let map = desk.client.map(&asked.map).await?;
    let mapping = desk.client.mapping(&asked.map).await?;
    desk.output.data(&Whole { map, mapping }, text);
    Ok(Exit::Ok)
}

fn text(Whole { map, mapping }: &Whole) -> String {
    let mut lines = vec![
        ("map", map.name.clone()),
        ("state", format!("{} for {} (since {})", shown_state(map), age(map.since), moment(map.since))),
        ("left", side(&map.left)),
        ("right", side(&map.right)),
        ("direction", map.direction.clone()),
    ];
    for (place, column) in mapping::columns(mapping).into_iter().enumerate() {
        lines.push((if place == 0 { "columns" } else { "" }, column));
    }
    lines.extend([("filter", filters(map)), ("deletes", map.deletes.clone())]);
    if let Some(both) = &mapping.two_way {
        lines.push(("conflict", both.conflict.clone()));
        lines.push(("side effects", both.side_effects.clone()));
    }
    lines.extend([
        ("initial sync", initial_sync(mapping)),
        ("depends on", names(&map.depends_on)),
        ("dependents", names(&map.dependents)),
        ("may be asked", names(&map.allowed)),
    ]);
    for hold in &map.holds {
        let name = hold.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let reason = if hold.reason.is_empty() { String::new() } else { format!(": {}", hold.reason) };
        let since = moment(hold.since);
        lines.push(("held by", format!("{}{name} since {since}, {}{reason}", hold.kind, hold.actor)));
    }
    if let Some(window) = &map.window {
        let left = jiff::Timestamp::now().duration_until(window.until).as_secs();
        let when = if window.over {
            "over".to_owned()
        } else {
            format!("in {}", progress::long(left.max(0).unsigned_abs()))
        };
        let then = if window.then_resume { ", then it is resumed" } else { "" };
        lines.push(("planned end", format!("{} ({when}){then}", moment(window.until))));
    }
    if let Some(catch_up) = &map.catch_up {
        let done = format!("{} % since {}", progress::percent(catch_up), moment(catch_up.since));
        let applied = count(catch_up.applied);
        let left = format!("{applied} applied, {} ({}) left", count(catch_up.records), bytes(catch_up.bytes));
        lines.push(("catching up", format!("{done}: {left}")));
        lines.push(("  rate", format!("{}; {}", progress::rates(catch_up), progress::eta(catch_up))));
    }
    if let Some(copy) = &map.initial_sync {
        let when = match copy.ended_at {
            Some(ended) => format!("{} rows, ended {}", count(copy.rows_done), moment(ended)),
            None => format!("{}, since {}", progress::copied(copy), moment(copy.started_at)),
        };
        lines.push(("copied", when));
        let [inserted, updated] = [copy.inserted, copy.updated].map(count);
        let [unchanged, failed] = [copy.unchanged, copy.failed].map(count);
        let counts =
            format!("{inserted} inserted, {updated} updated, {unchanged} unchanged, {failed} failed");
        lines.push(("  records", counts));
        lines.extend(copy.fault.iter().map(|fault| ("  waits", fault.clone())));
    }
    for flow in &map.flows {
        let queue = &flow.queue;
        let behind = queue.oldest_at.map(|at| format!(", oldest {}", age(at))).unwrap_or_default();
        lines.push(("flow", format!("{} → {}", flow.source, flow.destination)));
        lines.push(("  queued", format!("{} ({}){behind}", count(queue.records), bytes(queue.bytes))));
        lines.push(("  seq", format!("applied {}, head {}", queue.applied_seq, queue.head_seq)));
        let filtered = match flow.filtered {
            0 => String::new(),
            filtered => format!(", {} left out by the filter", count(filtered)),
        };
        lines.push(("  applied", format!("{} since the engine started{filtered}", count(flow.applied))));
    }
    let errors = &map.errors;
    if errors.open + errors.waiting + errors.retrying > 0 {
        let kept = match errors.preserved_bytes {
            0 => String::new(),
            kept => format!("; preserved queues take {}", bytes(kept)),
        };
        let (open, waiting, retrying) = (count(errors.open), count(errors.waiting), count(errors.retrying));
        lines.push(("errors", format!("{open} open, {waiting} waiting, {retrying} being retried{kept}")));
    }
    for retry in &map.retries {
        let end = if retry.cancelled { ", about to end" } else { "" };
        let (left, all, refused) = (count(retry.left), count(retry.errors), count(retry.refused));
        let since = format!("for {}, {}", age(retry.since), retry.actor);
        lines.push(("retry", format!("{left} of {all} left, {refused} refused again ({since}){end}")));
    }
    for condition in &map.conditions {
        let mark = if condition.well { "" } else { "! " };
        let fix = condition.fix.as_ref().map(|fix| format!(" (fix: {fix})")).unwrap_or_default();
        let since = moment(condition.since);
        let fact = format!("{}={}", condition.kind, condition.status);
        lines.push(("condition", format!("{mark}{fact} since {since}: {}{fix}", condition.reason)));
    }
    record::facts(&lines)
}

fn side(side: &Side) -> String {
    format!("{} {} key ({})", side.app, side.table, side.key.join(", "))
}

/// What a run does with the records that are there already.
fn initial_sync(mapping: &Mapping) -> String {
    match (mapping.initial_sync, &mapping.two_way) {
        (false, _) => "not unless it is asked for".to_owned(),
        (true, Some(both)) => {
            format!("yes; where both sides have a record, the {} one's values stay", both.master)
        }
        (true, None) => "yes".to_owned(),
    }
}

fn filters(map: &Map) -> String {
    let sides = [("left", &map.left.filter), ("right", &map.right.filter)];
    let shown: Vec<String> = sides
        .into_iter()
        .filter_map(|(side, filter)| Some(format!("{side}: {}", filter.as_ref()?)))
        .collect();
    match (shown.is_empty(), map.on_leave.as_str()) {
        (true, _) => "-".to_owned(),
        (false, on_leave) => format!("{}; a record that leaves it: {on_leave}", shown.join("; ")),
    }
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
