//! pgbench's TPC-B on the source, all four tables kept in step; paused after a quarter of the time, resumed after
//! half of it more. In the end both sides must be equal row for row.

use super::{Bench, Measure, cost, megabytes};
use crate::cpu::peak_memory;
use crate::engine::Table;
use crate::pair::{Pair, cell, number, program};
use crate::system::{Running, System, held_back, until_true};
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TABLES: [Table; 4] = [
    Table { name: "pgbench_branches", key: "bid" },
    Table { name: "pgbench_tellers", key: "tid" },
    Table { name: "pgbench_accounts", key: "aid" },
    Table { name: "pgbench_history", key: "id" },
];

/// How often the slot is looked at during the pause.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) async fn measure(bench: &Bench, system: System) -> Result<Vec<Measure>> {
    let seconds = bench.sizes.tpcb_seconds;
    let pair = Pair::start().await?;
    for url in [pair.left_url(), pair.right_url()] {
        let init = ["-i", "-q", "-s", &bench.sizes.scale.to_string()].map(str::to_owned);
        let done = pgbench(&url)?.args(init).output()?;
        ensure!(done.status.success(), "pgbench -i: {}", String::from_utf8_lossy(&done.stderr));
    }
    pair.left("ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY").await;
    pair.right("ALTER TABLE pgbench_history ADD id bigint PRIMARY KEY").await;
    let running = Running::start(system, &bench.binary, &pair, &TABLES).await?;

    let (meter, from) = (running.meter(&pair)?, pair.log_position().await?);
    let load = ["-c", "4", "-j", "1", "-n", "-T", &seconds.to_string()].map(str::to_owned);
    let load = pgbench(&pair.left_url())?.args(load).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    tokio::time::sleep(Duration::from_secs(seconds / 4)).await;
    running.pause(&pair).await?;
    let at_pause = pair.log_position().await?;
    let (mut unconfirmed, mut kept) = (0, 0);
    let resume_at = Instant::now() + Duration::from_secs(seconds / 2);
    while Instant::now() < resume_at {
        let [lag, retained] = held_back(&pair).await?;
        (unconfirmed, kept) = (unconfirmed.max(lag), kept.max(retained));
        tokio::time::sleep(LOOK).await;
    }
    let during_pause = pair.log_position().await? - at_pause;
    let resumed = Instant::now();
    running.resume(&pair).await?;
    let done = tokio::task::spawn_blocking(move || load.wait_with_output()).await??;
    ensure!(done.status.success(), "pgbench: {}", String::from_utf8_lossy(&done.stderr));
    let ended = Instant::now();

    // History only grows, in source order: its last record is the last transaction, and every table belongs to it.
    let transactions = number(&pair.left("SELECT count(*) FROM pgbench_history").await)?;
    let all = format!("SELECT count(*) = {transactions} FROM pgbench_history");
    until_true(&running, &pair, &all, Duration::from_secs(300)).await?;
    let [equal, caught_up] = [ended.elapsed().as_secs_f64(), resumed.elapsed().as_secs_f64()];
    until_equal(&pair).await?;
    let spent = meter.stop()?;
    for table in TABLES {
        pair.must_be_equal(table.name, table.key).await?;
    }
    let log = pair.log_position().await? - from;
    let per_second = transactions as f64 / seconds as f64;
    let mut measures = vec![
        Measure::more("transactions per second at the source", "1/s", per_second),
        Measure::less("unconfirmed log at the source during the pause", "MB", megabytes(unconfirmed)),
        Measure::less("log kept at the source during the pause", "MB", megabytes(kept)),
        Measure::info("log written during the pause", "MB", megabytes(during_pause)),
        Measure::info("resume to all visible", "s", caught_up),
        Measure::less("end of the load to all visible", "s", equal),
    ];
    if let Some(pid) = running.pid() {
        measures.push(Measure::less("peak memory of the engine", "MB", megabytes(peak_memory(pid)?)));
    }
    measures.extend(cost(spent, transactions * 4));
    measures.push(Measure::info("source log, bytes per transaction", "B", log as f64 / transactions as f64));
    Ok(measures)
}

/// The maps may be in several lanes for a moment: all tables must have come as far as history.
async fn until_equal(pair: &Pair) -> Result<()> {
    let sums =
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
        (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)";
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let (left, right) = (pair.left(sums).await, pair.right(sums).await);
        if left == right {
            return cell(&left).map(drop).context("pgbench has no records");
        }
        ensure!(Instant::now() < deadline, "the tables do not become equal: {left:?}, {right:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn pgbench(url: &str) -> Result<Command> {
    let config: tokio_postgres::Config = url.parse()?;
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or_default();
    let mut command = Command::new(program("pgbench")?);
    command
        .args(["-h", "127.0.0.1", "-p", &port, "-U", user])
        .env("PGDATABASE", database)
        .env("PGPASSWORD", password);
    Ok(command)
}
