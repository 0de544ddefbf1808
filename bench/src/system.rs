//! Who is measured: Tandem, or PostgreSQL's own replication, behind one set of verbs.

use crate::builtin;
use crate::cpu::Meter;
use crate::engine::{Engine, Table};
use crate::pair::{Pair, number};
use anyhow::{Result, bail};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// A way to bring changes from the source to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    /// Tandem, with `synchronous_commit` on at the destination as always.
    Tandem,
    /// A subscription as it comes: its worker's `synchronous_commit` is off.
    BuiltIn,
    /// A subscription whose commits are durable, as ours are.
    BuiltInSynchronous,
    /// The destination's own work, done by a loop inside it.
    Floor,
}

/// A system at work between a pair of servers.
pub(crate) enum Running {
    Tandem(Engine),
    BuiltIn,
}

impl Running {
    /// Starts it. Nothing that is there is copied.
    pub(crate) async fn start(system: System, binary: &Path, pair: &Pair, tables: &[Table]) -> Result<Self> {
        match system {
            System::Tandem => Ok(Self::Tandem(Engine::start(binary, pair, tables).await?)),
            System::BuiltIn | System::BuiltInSynchronous => {
                builtin::start(pair, tables, system == System::BuiltInSynchronous).await?;
                Ok(Self::BuiltIn)
            }
            System::Floor => bail!("the floor is no replication"),
        }
    }

    /// Has everything ready to copy what is there.
    pub(crate) async fn prepared(
        system: System,
        binary: &Path,
        pair: &Pair,
        tables: &[Table],
    ) -> Result<Self> {
        match system {
            System::Tandem => Ok(Self::Tandem(Engine::prepared(binary, pair, tables).await?)),
            System::BuiltIn | System::BuiltInSynchronous => Ok(Self::BuiltIn),
            System::Floor => bail!("the floor is no replication"),
        }
    }

    /// Begins to copy what is there, and to bring what changes.
    pub(crate) async fn copy(&self, pair: &Pair, tables: &[Table]) -> Result<()> {
        match self {
            Self::Tandem(engine) => engine.copy(),
            Self::BuiltIn => builtin::copy(pair, tables).await,
        }
    }

    /// Nothing is written to the destination from here on.
    pub(crate) async fn pause(&self, pair: &Pair) -> Result<()> {
        match self {
            Self::Tandem(engine) => engine.pause(),
            Self::BuiltIn => builtin::pause(pair).await,
        }
    }

    /// What has come together is applied, and what comes. The meter runs from the request for Tandem, and from the
    /// moment its worker is connected for the built-in.
    pub(crate) async fn resume(&self, pair: &Pair) -> Result<Meter> {
        match self {
            Self::Tandem(engine) => {
                let meter = self.meter(pair)?;
                engine.resume()?;
                Ok(meter)
            }
            Self::BuiltIn => {
                builtin::resume(pair).await?;
                self.meter(pair)
            }
        }
    }

    pub(crate) fn meter(&self, pair: &Pair) -> Result<Meter> {
        Meter::start(self.pid(), pair.postmasters()?)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Tandem(engine) => engine.pid(),
            Self::BuiltIn => None,
        }
    }

    /// What it has said, to find out why something failed.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Tandem(engine) => engine.log(),
            Self::BuiltIn => String::new(),
        }
    }
}

/// How much of the source's log the one slot holds back, in bytes: unconfirmed, and kept on the disk.
pub(crate) async fn held_back(pair: &Pair) -> Result<[u64; 2]> {
    let lag = |what: &str| {
        format!(
            "SELECT greatest(0, max(pg_current_wal_lsn() - {what})) FROM pg_replication_slots WHERE slot_type = 'logical'"
        )
    };
    let unconfirmed = number(&pair.left(&lag("confirmed_flush_lsn")).await)?;
    let kept = number(&pair.left(&lag("restart_lsn")).await)?;
    Ok([unconfirmed, kept])
}

/// Waits until a query at the destination says `t`.
pub(crate) async fn until_true(
    running: &Running,
    pair: &Pair,
    query: &str,
    patience: Duration,
) -> Result<()> {
    let client = pair.connect_right().await;
    let query = client.prepare(query).await?;
    let deadline = Instant::now() + patience;
    while !client.query_one(&query, &[]).await?.get::<_, bool>(0) {
        if Instant::now() >= deadline {
            bail!("not there after {} s:\n{}", patience.as_secs(), running.log());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
