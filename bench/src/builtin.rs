//! PostgreSQL's own logical replication between the same two servers: a publication, a subscription.

use crate::engine::Table;
use crate::pair::{Pair, cell};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The name of publication, subscription and slot.
pub(crate) const NAME: &str = "builtin";

const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes and subscribes, without a copy of what is there. `synchronous`: the apply worker's
/// `synchronous_commit`, which is off if nobody sets it.
pub(crate) async fn start(pair: &Pair, tables: &[Table], synchronous: bool) -> Result<()> {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    pair.left(&format!("CREATE PUBLICATION {NAME} FOR TABLE {}", names.join(", "))).await;
    let commit = if synchronous { "on" } else { "off" };
    let source = keywords(&pair.left_url())?;
    pair.right(&format!(
        "CREATE SUBSCRIPTION {NAME} CONNECTION '{source}' PUBLICATION {NAME}
         WITH (copy_data = false, synchronous_commit = {commit})"
    ))
    .await;
    until_streaming(pair).await
}

/// Publishes and subscribes, with a copy of what is there.
pub(crate) async fn copy(pair: &Pair, tables: &[Table]) -> Result<()> {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    pair.left(&format!("CREATE PUBLICATION {NAME} FOR TABLE {}", names.join(", "))).await;
    let source = keywords(&pair.left_url())?;
    pair.right(&format!("CREATE SUBSCRIPTION {NAME} CONNECTION '{source}' PUBLICATION {NAME}")).await;
    Ok(())
}

/// Stops applying; the source keeps its log.
pub(crate) async fn pause(pair: &Pair) -> Result<()> {
    pair.right(&format!("ALTER SUBSCRIPTION {NAME} DISABLE")).await;
    let deadline = Instant::now() + PATIENCE;
    while cell(&pair.left("SELECT count(*) FROM pg_stat_replication").await) != Some("0") {
        ensure!(Instant::now() < deadline, "the subscription does not stop");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Applies what has come together, and goes on. Returns when the worker is connected: the launcher may wait up to
/// 5 s before it starts one, which is no part of a rate.
pub(crate) async fn resume(pair: &Pair) -> Result<()> {
    pair.right(&format!("ALTER SUBSCRIPTION {NAME} ENABLE")).await;
    let client = pair.connect_left().await;
    let connected = client.prepare("SELECT EXISTS (SELECT FROM pg_stat_replication)").await?;
    let deadline = Instant::now() + PATIENCE;
    while !client.query_one(&connected, &[]).await?.get::<_, bool>(0) {
        ensure!(Instant::now() < deadline, "the subscription does not go on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn until_streaming(pair: &Pair) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    while cell(&pair.left(streaming).await) != Some("1") {
        ensure!(Instant::now() < deadline, "the subscription does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A URL as the server's own client library takes it.
fn keywords(url: &str) -> Result<String> {
    let config: Config = url.parse()?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.as_str(),
        _ => "127.0.0.1",
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    let (user, database) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    Ok(format!("host={host} port={port} user={user} password={password} dbname={database}"))
}
