//! What a large queue costs those who look into it, and those who skip it.
//!
//! The times are those of the API's whole answer. A page and a key are asked for in turn, at places that differ, so
//! that no answer is the one before; nothing else goes on meanwhile.

use super::{Bench, Measure, megabytes};
use crate::backlog::{self, CUSTOMERS, RECORD};
use crate::cpu::peak_memory;
use crate::engine::Engine;
use crate::pair::Pair;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// How often each is asked for.
const TIMES: u64 = 101;

/// Rows of one source transaction: a queue of many transactions, and still loaded in reasonable time.
const TRANSACTION: u64 = 1_000;

pub(crate) async fn measure(bench: &Bench) -> Result<Vec<Measure>> {
    let pair = Pair::start().await?;
    backlog::create(&pair, 0).await;
    let engine = Engine::start(&bench.binary, &pair, &[CUSTOMERS]).await?;
    engine.pause()?;

    let skipped = bench.sizes.skipped;
    load(&pair, &engine, 1, skipped).await?;
    let discarded = skip(&engine, "skip_discard", skipped).await?;
    engine.pause()?;

    let queued = bench.sizes.queued;
    load(&pair, &engine, skipped + 1, queued).await?;
    let (mut pages, mut keys, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TIMES {
        let (took, page) = engine.api("GET", "maps/customers/queue?limit=50", "")?;
        ensure!(listed(&page) == Some(50.min(queued as usize)), "a page has 50 records");
        pages.push(took);
        let key = skipped + 1 + turn * queued / TIMES;
        let (took, found) = engine.api("GET", &format!("maps/customers/queue?key={key}"), "")?;
        ensure!(listed(&found) == Some(1), "{key} is queued once: {found}");
        keys.push(took);
        let (took, found) = engine.api("GET", &format!("maps/customers/queue?key=-{key}"), "")?;
        ensure!(listed(&found) == Some(0), "-{key} is not queued: {found}");
        missing.push(took);
    }
    let memory = peak_memory(engine.pid().context("the engine runs")?)?;
    Ok(vec![
        Measure::less("first page, median", "ms", at(&mut pages, 50)),
        Measure::info("first page, longest", "ms", at(&mut pages, 100)),
        Measure::less("key look-up, median", "ms", at(&mut keys, 50)),
        Measure::info("key look-up, longest", "ms", at(&mut keys, 100)),
        Measure::info("key that is not queued, median", "ms", at(&mut missing, 50)),
        Measure::less("queue discarded, until the answer", "ms", ms(discarded)),
        Measure::info("peak memory of the engine", "MB", megabytes(memory)),
    ])
}

/// Queues so many records of a paused map, from a key on.
pub(super) async fn load(pair: &Pair, engine: &Engine, first: u64, records: u64) -> Result<()> {
    let client = pair.connect_left().await;
    client.batch_execute("SET synchronous_commit = off").await?;
    let last = first + records - 1;
    client
        .batch_execute(&format!(
            "DO $$ BEGIN FOR part IN 0..{} LOOP
               INSERT INTO customers SELECT id, {RECORD}
                 FROM generate_series({first} + part * {TRANSACTION}, least({last}, {first} + (part + 1) * {TRANSACTION} - 1)) AS id,
                      (SELECT 0 AS v) AS v;
               COMMIT;
             END LOOP; END $$",
            (records - 1) / TRANSACTION
        ))
        .await?;
    engine.until_queued(records, Duration::from_secs(60 + records / 2_000)).await
}

/// Lets a map go live without its queue, and says how long the answer took.
pub(super) async fn skip(engine: &Engine, mode: &str, records: u64) -> Result<Duration> {
    let body = format!("{{\"mode\":\"{mode}\",\"expected\":{records}}}");
    let (took, _) = engine.api("POST", "maps/customers/resume", &body)?;
    engine.api("GET", "maps/customers/wait?for=running&timeout=60", "")?;
    Ok(took)
}

fn listed(page: &serde_json::Value) -> Option<usize> {
    page["items"].as_array().map(Vec::len)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// So many per cent of the times are at most this, in milliseconds.
fn at(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times.get((times.len() - 1) * percent / 100).map_or(f64::NAN, |time| ms(*time))
}
