//! A table that is there is copied into an empty one: the initial sync, beside a subscription's table synchronization.

use super::{Bench, Measure, cost, megabytes};
use crate::backlog::{self, CUSTOMERS, RECORD};
use crate::cpu::peak_memory;
use crate::pair::Pair;
use crate::system::{Running, System, until_true};
use anyhow::Result;
use std::time::{Duration, Instant};

pub(crate) async fn measure(bench: &Bench, system: System) -> Result<Vec<Measure>> {
    let rows = bench.sizes.copy_rows;
    let pair = Pair::start().await?;
    backlog::create(&pair, 0).await;
    pair.left(&format!(
        "INSERT INTO customers SELECT id, {RECORD} FROM generate_series(1, {rows}) AS id, (SELECT 0 AS v) AS v"
    ))
    .await;
    pair.left("VACUUM ANALYZE customers").await;
    let running = Running::prepared(system, &bench.binary, &pair, &[CUSTOMERS]).await?;
    let meter = running.meter(&pair)?;
    let asked = Instant::now();
    running.copy(&pair, &[CUSTOMERS]).await?;
    // The last row may be visible before others are: all of them count.
    let last = format!("SELECT EXISTS (SELECT FROM customers WHERE id = {rows})");
    let patience = Duration::from_secs(300 + rows / 2_000);
    until_true(&running, &pair, &last, patience).await?;
    let all = format!("SELECT count(*) = {rows} FROM customers");
    until_true(&running, &pair, &all, patience).await?;
    let seconds = asked.elapsed().as_secs_f64();
    let spent = meter.stop()?;
    let mut measures = vec![
        Measure::less("run to all visible", "s", seconds),
        Measure::more("copy", "rows/s", rows as f64 / seconds),
    ];
    if let Some(pid) = running.pid() {
        measures.push(Measure::less("peak memory of the engine", "MB", megabytes(peak_memory(pid)?)));
    }
    measures.extend(cost(spent, rows));
    pair.must_be_equal(CUSTOMERS.name, CUSTOMERS.key).await?;
    Ok(measures)
}
