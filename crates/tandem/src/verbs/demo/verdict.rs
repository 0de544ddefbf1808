//! The demo's verdict: when the writer has stopped and the queues are empty, both sides are equal row for row,
//! or they are not.

use super::apps::{Apps, PAIRS, Pair, open};
use super::blocking;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tandem_core::MapName;
use tandem_core::lifecycle::{Action, Hold, Phase, ResumeMode};
use tandem_engine::{Engine, Request};
use tokio::time::Instant;

/// How long both sides may take to become equal once nobody writes.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// How long nothing may be queued while both sides still differ: what was written last is captured long before.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the comparison found.
#[derive(Serialize)]
struct Verdict {
    equal: bool,
    maps: Vec<Compared>,
}

/// Both sides of a map.
#[derive(Serialize)]
struct Compared {
    map: &'static str,
    left_rows: usize,
    right_rows: usize,
    /// Records that are on one side only, or have other values there.
    differing: usize,
}

pub(super) async fn verdict(engine: &Engine, apps: &Apps, output: &Output) -> Result<Exit, Failure> {
    resume_what_is_paused(engine, output).await?;
    let deadline = Instant::now() + EQUAL_WITHIN;
    let mut busy_at = Instant::now();
    let maps = loop {
        let quiet = engine.snapshot().maps.iter().all(|map| {
            map.state.phase == Phase::Running && map.flows.iter().all(|flow| flow.queue.records == 0)
        });
        let (erp, crm) = (apps.erp(), apps.crm());
        let compared = blocking(move || compare(&open(&erp)?, &open(&crm)?)).await;
        let compared = compared.map_err(|why| super::failed("both sides cannot be compared", &why))?;
        let equal = compared.iter().all(|map| map.differing == 0);
        if !quiet {
            busy_at = Instant::now();
        }
        if (equal && quiet) || busy_at.elapsed() >= QUIET_WITHIN || Instant::now() >= deadline {
            break compared;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let verdict = Verdict { equal: maps.iter().all(|map| map.differing == 0), maps };
    output.data(&verdict, text);
    Ok(if verdict.equal { Exit::Ok } else { Exit::Differs })
}

/// A map that somebody paused is behind, and rightly so: it catches up first.
async fn resume_what_is_paused(engine: &Engine, output: &Output) -> Result<(), Failure> {
    let snapshot = engine.snapshot();
    let paused = snapshot.maps.iter().filter(|map| map.state.holds.contains_key(&Hold::User));
    let maps: Vec<MapName> = paused.map(|map| map.map.name.clone()).collect();
    if maps.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = maps.iter().map(MapName::as_str).collect();
    output.say(&format!("resuming what is paused: {}", names.join(", ")));
    let request = Request {
        reason: "the demo ends and compares both sides".to_owned(),
        ..Request::new(Action::Resume(ResumeMode::CatchUp), maps, "demo")
    };
    engine.act(request).await.map_err(|why| super::failed("the paused maps cannot be resumed", &why))?;
    Ok(())
}

fn compare(erp: &Connection, crm: &Connection) -> rusqlite::Result<Vec<Compared>> {
    PAIRS.iter().map(|pair| compare_pair(pair, erp, crm)).collect()
}

fn compare_pair(pair: &Pair, erp: &Connection, crm: &Connection) -> rusqlite::Result<Compared> {
    let left = records(erp, pair.left, pair.left_columns)?;
    let right = records(crm, pair.right, pair.right_columns)?;
    let missing_right = left.iter().filter(|(key, row)| right.get(*key) != Some(row)).count();
    let missing_left = right.keys().filter(|key| !left.contains_key(*key)).count();
    Ok(Compared {
        map: pair.map,
        left_rows: left.len(),
        right_rows: right.len(),
        differing: missing_right + missing_left,
    })
}

/// All records of a table by key; the key is the first column.
fn records(
    database: &Connection,
    table: &str,
    columns: &str,
) -> rusqlite::Result<BTreeMap<String, Vec<Value>>> {
    let mut statement = database.prepare(&format!("SELECT {columns} FROM {table}"))?;
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    let mut records = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let values = (0..width).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()?;
        records.insert(format!("{:?}", values.first()), values);
    }
    Ok(records)
}

fn text(verdict: &Verdict) -> String {
    let maps = verdict.maps.iter().map(|map| {
        let difference = match map.differing {
            0 => "equal".to_owned(),
            differing => format!("{differing} records differ"),
        };
        format!(
            "  {:<10} {:>6} in the ERP, {:>6} in the CRM: {difference}",
            map.map, map.left_rows, map.right_rows
        )
    });
    let word = if verdict.equal { "Both sides are equal:" } else { "The sides DIFFER:" };
    format!("{word}\n{}", maps.collect::<Vec<_>>().join("\n"))
}
