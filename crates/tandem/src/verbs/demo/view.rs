//! The live view: both sides' counts, states, queues, the last activity. Redrawn in place on a terminal, a plain
//! line a second where there is none.

use super::apps::{Apps, PAIRS, open};
use super::blocking;
use crate::output::{Output, age, count, is_terminal, table};
use comfy_table::Cell;
use rusqlite::Connection;
use std::time::Duration;
use tandem_engine::{ActivityQuery, Engine, MapView};
use tandem_server::wire::Map;
use tokio::time::Instant;

const REDRAW_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(1);
/// The widest line that is drawn in place: a longer one would wrap, and the next drawing would miss it.
const WIDTH: usize = 100;

/// The view, with its eyes on both apps.
pub(super) struct View<'a> {
    output: &'a Output,
    erp: Connection,
    crm: Connection,
    in_place: bool,
}

/// How many rows each side of each map has.
type Counts = Vec<(i64, i64)>;

impl<'a> View<'a> {
    pub(super) fn open(apps: &Apps, output: &'a Output) -> rusqlite::Result<Self> {
        let (erp, crm) = (open(&apps.erp())?, open(&apps.crm())?);
        Ok(Self { output, erp, crm, in_place: is_terminal() && output.is_for_people() })
    }

    /// Shows what there is, until the time is over, or for ever.
    pub(super) async fn show(mut self, engine: &Engine, time: Option<Duration>) -> Result<(), String> {
        let start = Instant::now();
        let mut drawn_lines = 0;
        while time.is_none_or(|time| start.elapsed() < time) {
            let counts;
            (self, counts) = self.count().await?;
            let maps: Vec<Map> =
                engine.snapshot().maps.iter().map(|view: &MapView| Map::from(view)).collect();
            if self.in_place {
                let picture = picture(&maps, &counts, &last(engine).await);
                let back = if drawn_lines > 0 { format!("\x1b[{drawn_lines}A\x1b[J") } else { String::new() };
                self.output.raw(&format!("{back}{picture}\n"));
                drawn_lines = picture.lines().count();
                tokio::time::sleep(REDRAW_EVERY).await;
            } else {
                self.output.say(&line(start.elapsed(), &maps, &counts));
                tokio::time::sleep(LINE_EVERY).await;
            }
        }
        Ok(())
    }

    async fn count(self) -> Result<(Self, Counts), String> {
        let Self { output, erp, crm, in_place } = self;
        let work = move || {
            let rows = |database: &Connection, table: &str| {
                database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            };
            let mut counts = Counts::new();
            for pair in &PAIRS {
                counts.push((rows(&erp, pair.left)?, rows(&crm, pair.right)?));
            }
            Ok((erp, crm, counts))
        };
        let (erp, crm, counts) = blocking(work).await?;
        Ok((Self { output, erp, crm, in_place }, counts))
    }
}

fn picture(maps: &[Map], counts: &[(i64, i64)], last: &str) -> String {
    let rows = PAIRS.iter().zip(counts).filter_map(|(pair, (left, right))| {
        let map = maps.iter().find(|map| map.name == pair.map)?;
        let shown = if map.pausing { "pausing" } else { &map.state };
        Some([
            Cell::new(pair.map),
            crate::output::state(shown),
            Cell::new(format!("{} {left}", pair.left)),
            Cell::new(format!("{} {right}", pair.right)),
            Cell::new(count(map.queue.records)),
            Cell::new(map.queue.oldest_at.map_or_else(|| "-".to_owned(), age)),
        ])
    });
    let drawn = table(["MAP", "STATE", "ERP", "CRM", "QUEUED", "BEHIND"], rows);
    let last: String = format!("last: {last}").chars().take(WIDTH).collect();
    format!("{drawn}\n\n{last}")
}

fn line(elapsed: Duration, maps: &[Map], counts: &[(i64, i64)]) -> String {
    let parts = PAIRS.iter().zip(counts).filter_map(|(pair, (left, right))| {
        let map = maps.iter().find(|map| map.name == pair.map)?;
        Some(format!("{} {} {left}/{right} queued {}", pair.map, map.state, map.queue.records))
    });
    format!("{:>4} s  {}", elapsed.as_secs(), parts.collect::<Vec<_>>().join(" | "))
}

/// The newest entry of the activity log.
async fn last(engine: &Engine) -> String {
    let newest = engine.activity(ActivityQuery { limit: 1, ..ActivityQuery::default() }).await;
    let Some(entry) = newest.ok().and_then(|page| page.items.into_iter().next()) else {
        return "-".to_owned();
    };
    let map = entry.map.map(|map| format!(" {map}")).unwrap_or_default();
    let reason = if entry.reason.is_empty() { String::new() } else { format!(": {}", entry.reason) };
    format!("{}{map} by {}{reason}", entry.event, entry.actor)
}
