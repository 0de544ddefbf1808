//! Two private PostgreSQL servers with the same settings: the source on the left, the destination on the right.
//! Every run of every system gets a new pair, so that no log and no cache of one is there for the next.

use anyhow::{Context, Result};
use std::path::PathBuf;
use tandem_proof_servers::{PostgresOptions, PostgresServer, Rows};
use tokio_postgres::Client;

/// The database on both sides.
pub(crate) const DATABASE: &str = "bench";

/// What differs from the defaults: memory and log enough that no checkpoint falls into a run. `fsync` is on.
const SETTINGS: [(&str, &str); 5] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "1h"),
    ("random_page_cost", "1.1"),
    ("timezone", "UTC"),
];

/// A source and a destination.
pub(crate) struct Pair {
    left: PostgresServer,
    right: PostgresServer,
}

impl Pair {
    pub(crate) async fn start() -> Result<Self> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let new = |logical| {
            let options =
                PostgresOptions { logical, settings: settings.clone(), ..PostgresOptions::default() };
            tokio::task::spawn_blocking(move || PostgresServer::start_new(options))
        };
        // The destination's log is read by nobody.
        let (left, right) = (new(true).await?, new(false).await?);
        left.create_database(DATABASE).await;
        right.create_database(DATABASE).await;
        Ok(Self { left, right })
    }

    /// Runs statements at the source.
    pub(crate) async fn left(&self, statements: &str) -> Rows {
        self.left.sql(DATABASE, statements).await
    }

    /// Runs statements at the destination.
    pub(crate) async fn right(&self, statements: &str) -> Rows {
        self.right.sql(DATABASE, statements).await
    }

    /// Runs the same statements on both sides.
    pub(crate) async fn both(&self, statements: &str) {
        self.left(statements).await;
        self.right(statements).await;
    }

    pub(crate) async fn connect_left(&self) -> Client {
        self.left.connect(DATABASE).await
    }

    pub(crate) async fn connect_right(&self) -> Client {
        self.right.connect(DATABASE).await
    }

    pub(crate) fn left_url(&self) -> String {
        self.left.url(DATABASE)
    }

    pub(crate) fn right_url(&self) -> String {
        self.right.url(DATABASE)
    }

    /// The processes of source and destination.
    pub(crate) fn postmasters(&self) -> Result<[u32; 2]> {
        Ok([postmaster(&self.left)?, postmaster(&self.right)?])
    }

    /// The destination holds the same records as the source, byte by byte as text, in the order of the key.
    pub(crate) async fn must_be_equal(&self, table: &str, key: &str) -> Result<()> {
        let sql =
            format!("SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY {key})) FROM {table} AS t");
        let (left, right) = (self.left(&sql).await, self.right(&sql).await);
        anyhow::ensure!(
            left == right,
            "{table} differs: {left:?} at the source, {right:?} at the destination"
        );
        Ok(())
    }

    /// What the source writes to its log, in bytes since it was made.
    pub(crate) async fn log_position(&self) -> Result<u64> {
        number(&self.left("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").await)
    }

    pub(crate) async fn version(&self) -> String {
        cell(&self.left("SHOW server_version").await).unwrap_or_default().to_owned()
    }
}

/// The first value of an answer.
pub(crate) fn cell(rows: &Rows) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

/// The first value of an answer as a whole number.
pub(crate) fn number(rows: &Rows) -> Result<u64> {
    cell(rows).and_then(|text| text.parse().ok()).context("the answer is no number")
}

/// Where PostgreSQL's programs are: the newest that is installed, as the servers are.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let newest = versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .filter(|(_, folder)| folder.join("bin").join(name).exists())
        .max();
    let (_, folder) =
        newest.with_context(|| format!("{name} is not installed: apt-get install postgresql"))?;
    Ok(folder.join("bin").join(name))
}

fn postmaster(server: &PostgresServer) -> Result<u32> {
    let text = std::fs::read_to_string(server.data_folder().join("postmaster.pid"))?;
    text.lines().next().and_then(|line| line.trim().parse().ok()).context("postmaster.pid has no pid")
}
