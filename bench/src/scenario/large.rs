//! One transaction of many rows: how long from its commit until it is visible, and how much memory it takes.

use super::{Bench, Measure, cost, megabytes};
use crate::backlog::{self, CUSTOMERS, RECORD};
use crate::cpu::peak_memory;
use crate::pair::Pair;
use crate::system::{Running, System, until_true};
use anyhow::Result;
use std::time::{Duration, Instant};

pub(crate) async fn measure(bench: &Bench, system: System) -> Result<Vec<Measure>> {
    let rows = bench.sizes.large_rows;
    let pair = Pair::start().await?;
    backlog::create(&pair, 0).await;
    let running = Running::start(system, &bench.binary, &pair, &[CUSTOMERS]).await?;
    let meter = running.meter(&pair)?;
    pair.left(&format!(
        "INSERT INTO customers SELECT id, {RECORD} FROM generate_series(1, {rows}) AS id, (SELECT 0 AS v) AS v"
    ))
    .await;
    let committed = Instant::now();
    let visible = format!("SELECT EXISTS (SELECT FROM customers WHERE id = {rows})");
    until_true(&running, &pair, &visible, Duration::from_secs(120 + rows / 1_000)).await?;
    let seconds = committed.elapsed().as_secs_f64();
    let spent = meter.stop()?;
    let mut measures = vec![
        Measure::less("commit to visible", "s", seconds),
        Measure::more("rate from the commit", "rows/s", rows as f64 / seconds),
    ];
    if let Some(pid) = running.pid() {
        measures.push(Measure::less("peak memory of the engine", "MB", megabytes(peak_memory(pid)?)));
    }
    measures.extend(cost(spent, rows));
    pair.must_be_equal(CUSTOMERS.name, CUSTOMERS.key).await?;
    Ok(measures)
}
