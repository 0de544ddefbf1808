//! Live traffic over an engine that has something else to carry: a million open errors, or fifty paused maps. To be
//! read beside `live` of the same session, which carries nothing.

use super::queue::{load, skip};
use super::{Bench, Measure, live, megabytes};
use crate::backlog::{self, CUSTOMERS};
use crate::cpu::peak_memory;
use crate::engine::{Engine, Table};
use crate::pair::Pair;
use crate::system::Running;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const PAUSED: usize = 50;
/// What waits of each paused map.
const QUEUED: u64 = 1_000;

/// A queue is preserved: from then on every change is looked up among as many errors as it had records.
pub(crate) async fn with_errors(bench: &Bench) -> Result<Vec<Measure>> {
    let (records, skipped) = (bench.sizes.records, bench.sizes.skipped);
    let pair = Pair::start().await?;
    backlog::create(&pair, records).await;
    let engine = Engine::start(&bench.binary, &pair, &[CUSTOMERS]).await?;
    engine.pause()?;
    // Behind the keys that the traffic makes, so that what is visible is known by the newest key below them.
    let first = records + 10_000_000;
    load(&pair, &engine, first, skipped).await?;
    let preserved = skip(&engine, "skip_preserve", skipped).await?;
    let running = Running::Tandem(engine);
    let mut measures = live::traffic(bench, &pair, &running).await?;
    let Running::Tandem(engine) = &running else { return Ok(measures) };
    ensure!(engine.open_errors(CUSTOMERS.name)? == skipped, "every error is open still");
    let memory = peak_memory(engine.pid().context("the engine runs")?)?;
    measures.push(Measure::less(
        "queue preserved, until the answer",
        "ms",
        preserved.as_secs_f64() * 1_000.0,
    ));
    measures.push(Measure::info("peak memory of the engine", "MB", megabytes(memory)));
    pair.must_be_equal(&format!("(SELECT * FROM customers WHERE id < {first})"), CUSTOMERS.key).await?;
    Ok(measures)
}

/// Fifty maps are paused, each with a queue, between the same two apps.
pub(crate) async fn with_paused_maps(bench: &Bench) -> Result<Vec<Measure>> {
    let pair = Pair::start().await?;
    backlog::create(&pair, bench.sizes.records).await;
    // A table's name lives as long as the program: there are fifty of them, once.
    let paused: Vec<&'static str> = (0..PAUSED).map(|no| &*format!("paused_{no}").leak()).collect();
    let mut tables = vec![CUSTOMERS];
    for name in &paused {
        pair.both(&format!("CREATE TABLE {name} (id bigint PRIMARY KEY, note text)")).await;
        tables.push(Table { name, key: "id" });
    }
    let engine = Engine::start(&bench.binary, &pair, &tables).await?;
    engine.pause_only(&paused)?;
    for name in &paused {
        let insert =
            format!("INSERT INTO {name} SELECT id, md5(id::text) FROM generate_series(1, {QUEUED}) AS id");
        pair.left(&insert).await;
    }
    engine.until_queued(QUEUED * PAUSED as u64, Duration::from_secs(60)).await?;
    let running = Running::Tandem(engine);
    let measures = live::traffic(bench, &pair, &running).await?;
    pair.must_be_equal(CUSTOMERS.name, CUSTOMERS.key).await?;
    if let Running::Tandem(engine) = &running {
        engine.resume_only(&paused)?;
        engine.until_queued(0, Duration::from_secs(60)).await?;
    }
    for name in &paused {
        pair.must_be_equal(name, "id").await?;
    }
    Ok(measures)
}
