//! `tandem top`: all maps at one look, once a second, until it is interrupted.
//!
//! On a terminal the picture is drawn in its place and is never taller than that; what does not fit is counted, and what
//! moves or is not well comes first then. Elsewhere one picture follows the other, and with JSON one line, so that what is
//! written is whole whoever reads it. How fast a map goes is known from two looks, so the first picture takes a second.

use super::map::{long, shown_state};
use super::serve::Signals;
use super::{Desk, Outcome};
use crate::args::Top as Asked;
use crate::failure::{Exit, Failure};
use crate::output::{bytes, count, height, is_terminal, moment, printable, state, table};
use comfy_table::Cell;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tandem_server::PAGE_MAX;
use tandem_server::wire::Map;
use tokio::time::{Instant, sleep_until};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The lines above and below the maps: what is shown of when, the heads of the columns, what does not fit, the cursor.
const LINES_AROUND: usize = 4;

/// All maps at a moment.
#[derive(Serialize)]
struct Look {
    at: Timestamp,
    items: Vec<Row>,
}

/// A map at that moment.
#[derive(Serialize)]
struct Row {
    name: String,
    state: String,
    direction: String,
    left: String,
    right: String,
    queued: u64,
    queued_bytes: u64,
    /// Changes applied a second since the look before.
    rate: f64,
    /// Null if nothing waits.
    lag_seconds: Option<u64>,
    /// That something is still to become of.
    errors: u64,
}

/// What was applied of each map, and when that was looked at.
struct Before {
    applied: BTreeMap<String, u64>,
    at: Instant,
}

pub(crate) async fn top(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let in_place = !asked.once && is_terminal() && desk.output.is_for_people();
    let mut signals = Signals::new()?;
    tokio::select! {
        biased;
        _ = signals.next() => {
            if in_place {
                // The picture stays, and below it the terminal has written what was pressed.
                desk.output.raw("\n");
            }
            Ok(Exit::Ok)
        }
        shown = show(desk, asked.once, in_place) => shown,
    }
}

async fn show(desk: &Desk<'_>, once: bool, in_place: bool) -> Outcome {
    let mut before = Before::of(&all(desk).await?);
    let mut drawn = 0;
    loop {
        sleep_until(before.at + LOOK_EVERY).await;
        let maps = all(desk).await?;
        let now = Before::of(&maps);
        let look = look(&maps, &before, &now);
        before = now;
        if once {
            desk.output.data(&look, |look| picture(look, usize::MAX));
            return Ok(Exit::Ok);
        }
        if in_place {
            let picture = picture(&look, height().saturating_sub(LINES_AROUND));
            let back = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
            desk.output.raw(&format!("{back}{picture}\n"));
            drawn = picture.lines().count();
        } else {
            desk.output.entry(&look, |look| format!("{}\n", picture(look, usize::MAX)));
        }
    }
}

/// Every map, however many pages they are.
async fn all(desk: &Desk<'_>) -> Result<Vec<Map>, Failure> {
    let (mut maps, mut after) = (Vec::new(), None);
    loop {
        let page = desk.client.maps(after.as_deref(), Some(PAGE_MAX)).await?;
        maps.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(maps);
        }
    }
}

impl Before {
    fn of(maps: &[Map]) -> Self {
        let applied = |map: &Map| map.flows.iter().map(|flow| flow.applied).sum();
        Self {
            applied: maps.iter().map(|map| (map.name.clone(), applied(map))).collect(),
            at: Instant::now(),
        }
    }
}

fn look(maps: &[Map], before: &Before, now: &Before) -> Look {
    let at = Timestamp::now();
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(f64::EPSILON);
    let applied = |looked: &Before, map: &Map| looked.applied.get(&map.name).copied();
    let rate = |map: &Map| {
        // A map that was stopped and runs again counts from the beginning.
        let more = applied(now, map)?.checked_sub(applied(before, map)?)?;
        Some((more as f64 / seconds * 10.0).round() / 10.0)
    };
    let row = |map: &Map| Row {
        name: map.name.clone(),
        state: shown_state(map).to_owned(),
        direction: map.direction.clone(),
        left: map.left.app.clone(),
        right: map.right.app.clone(),
        queued: map.queue.records,
        queued_bytes: map.queue.bytes,
        rate: rate(map).unwrap_or(0.0),
        lag_seconds: map
            .queue
            .oldest_at
            .map(|oldest| at.duration_since(oldest).as_secs().max(0).unsigned_abs()),
        errors: map.errors.open + map.errors.waiting + map.errors.retrying,
    };
    Look { at, items: maps.iter().map(row).collect() }
}

/// The picture of a look, with so many lines for maps.
fn picture(look: &Look, lines: usize) -> String {
    let mut rows: Vec<&Row> = look.items.iter().collect();
    let is_calm = |row: &Row| row.state == "running" && row.errors == 0 && row.queued == 0;
    if rows.len() > lines {
        rows.sort_by_key(|row| (is_calm(row), row.state == "not_running"));
    }
    let of = |name: &str| look.items.iter().filter(|row| row.state == name).count();
    let states = ["initializing", "running", "pausing", "paused", "resuming", "not_running"];
    let states = states.map(|name| (of(name), name));
    let states = states.iter().filter(|(maps, _)| *maps > 0).map(|(maps, name)| format!("{maps} {name}"));
    let states = states.collect::<Vec<_>>().join(", ");
    let head = ["MAP", "STATE", "DIRECTION", "QUEUED", "BYTES", "APPLIED/S", "BEHIND", "ERRORS"];
    let drawn = table(head, rows.into_iter().map(cells));
    // Cells may be folded, so the lines are counted and not the maps.
    let fitting: Vec<&str> = drawn.lines().take(lines.saturating_add(1)).collect();
    let left = drawn.lines().count() - fitting.len();
    let more = if left > 0 { format!("\n… and {left} lines more") } else { String::new() };
    format!("{}  {} maps: {states}\n{}{more}", moment(look.at), look.items.len(), fitting.join("\n"))
}

fn cells(row: &Row) -> [Cell; 8] {
    let arrow = match row.direction.as_str() {
        "to_left" => "←",
        "both" => "↔",
        _ => "→",
    };
    [
        Cell::new(printable(&row.name)),
        state(&row.state),
        Cell::new(format!("{} {arrow} {}", printable(&row.left), printable(&row.right))),
        Cell::new(count(row.queued)),
        Cell::new(bytes(row.queued_bytes)),
        Cell::new(format!("{:.1}", row.rate)),
        Cell::new(row.lag_seconds.map_or_else(|| "-".to_owned(), long)),
        Cell::new(count(row.errors)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: &str, queued: u64) -> Row {
        Row {
            name: name.to_owned(),
            state: state.to_owned(),
            direction: "both".to_owned(),
            left: "erp".to_owned(),
            right: "crm".to_owned(),
            queued,
            queued_bytes: queued * 100,
            rate: 12.34,
            lag_seconds: (queued > 0).then_some(130),
            errors: 0,
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_is_calm_goes_first() {
        let items = vec![row("a", "running", 0), row("b", "not_running", 0), row("c", "paused", 1_500)];
        let look = Look { at: Timestamp::UNIX_EPOCH, items };
        let whole = picture(&look, 3);
        let names = |picture: &str| -> Vec<String> {
            picture.lines().skip(2).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        };
        assert!(
            whole.starts_with("1970-01-01 00:00:00Z  3 maps: 1 running, 1 paused, 1 not_running\nMAP"),
            "{whole}"
        );
        assert_eq!(names(&whole), ["a", "b", "c"]);
        let paused = whole.lines().last().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(paused, "c paused erp ↔ crm 1 500 150.0 kB 12.3 2 min 0");
        assert_eq!(names(&picture(&look, 1)), ["c", "…"]);
        assert!(picture(&look, 1).ends_with("… and 2 lines more"));
    }
}
