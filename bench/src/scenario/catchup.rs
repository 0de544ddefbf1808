//! A queue of single-row transactions, then catch-up. For Tandem the map is paused while the load runs and resumed
//! then; for the built-in the subscription is disabled and enabled. Tandem has captured its queue by then, the
//! built-in has not: so Tandem is measured a second time from the source's log, with the engine ended while the
//! load runs.

use super::{Bench, Measure, cost, megabytes};
use crate::backlog::{self, CUSTOMERS, LAST};
use crate::cpu::{Meter, Spent, peak_memory};
use crate::engine::Engine;
use crate::pair::Pair;
use crate::system::{Running, System, until_true};
use anyhow::Result;
use std::time::Duration;

/// A subscription whose commits are durable waits for the disk once for each row: a smaller part of the backlog
/// tells its rate.
const DURABLE_PART: u64 = 20;

/// A slow machine still does a few hundred rows a second, each of them durable.
fn patience(rows: u64) -> Duration {
    Duration::from_secs(60 + rows / 200)
}

pub(crate) async fn measure(bench: &Bench, system: System) -> Result<Vec<Measure>> {
    let rows = bench.sizes.rows;
    match system {
        System::Tandem => {
            let mut measures = paused(bench, system, rows).await?;
            measures.extend(from_log(bench, rows).await?);
            Ok(measures)
        }
        System::BuiltInSynchronous => paused(bench, system, rows / DURABLE_PART).await,
        System::BuiltIn | System::Floor => paused(bench, system, rows).await,
    }
}

/// Source and destination with the same records, and the operations ready in the source.
async fn prepare(bench: &Bench, rows: u64) -> Result<(Pair, tokio_postgres::Client)> {
    let pair = Pair::start().await?;
    backlog::create(&pair, bench.sizes.records).await;
    let client = pair.connect_left().await;
    backlog::store(&client, bench.sizes.records, rows).await?;
    Ok((pair, client))
}

async fn paused(bench: &Bench, system: System, rows: u64) -> Result<Vec<Measure>> {
    let (pair, client) = prepare(bench, rows).await?;
    let running = Running::start(system, &bench.binary, &pair, &[CUSTOMERS]).await?;
    running.pause(&pair).await?;
    let before = pair.log_position().await?;
    backlog::load(&client).await?;
    let log = pair.log_position().await? - before;
    let mut measures = Vec::new();
    if let Running::Tandem(engine) = &running {
        engine.until_queued(rows + 1, patience(rows)).await?;
        let bytes = engine.queued_bytes()? as f64 / rows as f64;
        measures.push(Measure::info("queue, bytes per record", "B", bytes));
    }
    // The load leaves dirty pages behind; they are no part of what follows.
    pair.both("CHECKPOINT").await;

    let meter = running.resume(&pair).await?;
    let spent = until_last(&running, &pair, rows, meter).await?;
    let rate = rows as f64 / spent.wall;
    measures.insert(0, Measure::more("catch-up", "rows/s", rate));
    match running.pid() {
        Some(pid) => {
            measures.push(Measure::less("peak memory of the engine", "MB", megabytes(peak_memory(pid)?)));
        }
        None => measures.push(Measure::more(FROM_LOG, "rows/s", rate)),
    }
    measures.extend(cost(spent, rows));
    measures.push(Measure::info("source log, bytes per row", "B", log as f64 / rows as f64));
    Ok(measures)
}

const FROM_LOG: &str = "catch-up from the source's log";

/// The engine is away while the load runs: it captures and applies.
async fn from_log(bench: &Bench, rows: u64) -> Result<Vec<Measure>> {
    let (pair, client) = prepare(bench, rows).await?;
    let mut engine = Engine::start(&bench.binary, &pair, &[CUSTOMERS]).await?;
    engine.end()?;
    backlog::load(&client).await?;
    pair.both("CHECKPOINT").await;
    engine.serve().await?;
    let running = Running::Tandem(engine);
    let spent = until_last(&running, &pair, rows, running.meter(&pair)?).await?;
    let per_100k = spent.engine * 100_000.0 / rows as f64;
    Ok(vec![
        Measure::more(FROM_LOG, "rows/s", rows as f64 / spent.wall),
        Measure::info("CPU of the engine per 100k rows, capture included", "s", per_100k),
    ])
}

async fn until_last(running: &Running, pair: &Pair, rows: u64, meter: Meter) -> Result<Spent> {
    let visible = format!("SELECT EXISTS (SELECT FROM customers WHERE id = {LAST})");
    until_true(running, pair, &visible, patience(rows)).await?;
    let spent = meter.stop()?;
    pair.must_be_equal(CUSTOMERS.name, CUSTOMERS.key).await?;
    Ok(spent)
}
