//! A steady 200 transactions a second: how long from the acknowledged commit until the record is visible.
//!
//! A second session asks the destination, back to back, but only while a record is on its way: the shortest time
//! that it can tell is that of one question, about 0.1 ms.

use super::{Bench, Measure, cost};
use crate::backlog::{self, CUSTOMERS};
use crate::pair::Pair;
use crate::system::{Running, System};
use anyhow::{Context, Result};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

const PER_SECOND: u64 = 200;

/// The first seconds, in which statements are planned and caches filled, are not counted.
const WARM_UP: u64 = PER_SECOND * 2;

pub(crate) async fn measure(bench: &Bench, system: System) -> Result<Vec<Measure>> {
    let records = bench.sizes.records;
    let pair = Pair::start().await?;
    backlog::create(&pair, records).await;
    let running = Running::start(system, &bench.binary, &pair, &[CUSTOMERS]).await?;
    let measures = traffic(bench, &pair, &running).await?;
    pair.must_be_equal(CUSTOMERS.name, CUSTOMERS.key).await?;
    Ok(measures)
}

/// The traffic, over a system that runs.
pub(super) async fn traffic(bench: &Bench, pair: &Pair, running: &Running) -> Result<Vec<Measure>> {
    let records = bench.sizes.records;
    let (first, count) = (i64::try_from(records)? + 1, PER_SECOND * bench.sizes.live_seconds + WARM_UP);
    let (tell, told) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watch(pair.connect_right().await, told));
    let meter = running.meter(pair)?;
    let client = pair.connect_left().await;
    let sql = format!(
        "INSERT INTO customers SELECT r.id, {} FROM (SELECT $1::bigint AS id, 0 AS v) AS r",
        backlog::RECORD
    );
    let insert = client.prepare(&sql).await?;
    let mut ticks = interval(Duration::from_micros(1_000_000 / PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for key in first..first + i64::try_from(count)? {
        ticks.tick().await;
        client.execute(&insert, &[&key]).await?;
        tell.send((key, Instant::now()))?;
    }
    drop(tell);
    let seen = tokio::time::timeout(Duration::from_secs(60), watching).await;
    let seen = seen.with_context(|| format!("not all became visible:\n{}", running.log()))???;
    let spent = meter.stop()?;
    let mut waits: Vec<Duration> = seen.into_iter().skip(usize::try_from(WARM_UP)?).collect();
    waits.sort_unstable();
    let at = |part: f64| {
        let place = ((waits.len() as f64 - 1.0) * part).round() as usize;
        waits.get(place).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1_000.0)
    };
    let mut measures = vec![
        Measure::less("commit to visible, p50", "ms", at(0.5)),
        Measure::less("commit to visible, p99", "ms", at(0.99)),
        Measure::info("commit to visible, longest", "ms", at(1.0)),
        Measure::info("transactions per second", "1/s", count as f64 / spent.wall),
    ];
    measures.extend(cost(spent, count));
    Ok(measures)
}

/// How long each record took until it was visible, in order.
async fn watch(
    client: tokio_postgres::Client,
    mut told: mpsc::UnboundedReceiver<(i64, Instant)>,
) -> Result<Vec<Duration>> {
    let newest = client.prepare("SELECT max(id) FROM customers").await?;
    let mut waits = Vec::new();
    let mut pending = std::collections::VecDeque::new();
    loop {
        if pending.is_empty() {
            let Some(next) = told.recv().await else { return Ok(waits) };
            pending.push_back(next);
        }
        while let Ok(next) = told.try_recv() {
            pending.push_back(next);
        }
        let newest: Option<i64> = client.query_one(&newest, &[]).await?.get(0);
        let now = Instant::now();
        while let Some((key, committed)) = pending.front().copied()
            && newest.is_some_and(|newest| key <= newest)
        {
            waits.push(now - committed);
            pending.pop_front();
        }
    }
}
