//! What is measured. Each scenario measures one system once, with servers of its own, and fails if the records at
//! the destination are not equal to those at the source in the end: a fast wrong answer is no figure.

pub(crate) mod catchup;
pub(crate) mod copy;
pub(crate) mod floor;
pub(crate) mod large;
pub(crate) mod live;
pub(crate) mod queue;
pub(crate) mod tpcb;
pub(crate) mod weighed;

use crate::cpu::Spent;
use crate::system::System;
use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;

/// A scenario's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// pgbench's TPC-B with a pause in the middle
    Tpcb,
    /// A queue of single-row transactions, then catch-up
    Catchup,
    /// 200 transactions a second: commit to visible
    Live,
    /// One transaction of many rows
    Large,
    /// A table that is there, into an empty one
    Copy,
    /// The destination's statements alone, server-side
    Floor,
    /// A page and a key of a large queue; a queue that is discarded
    Queue,
    /// As live, with a queue that was preserved: as many open errors
    LiveErrors,
    /// As live, beside fifty paused maps
    LivePaused,
}

/// How large everything is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sizes {
    /// Queued transactions of the catch-up.
    pub(crate) rows: u64,
    /// Records that are there before.
    pub(crate) records: u64,
    /// Rows of the large transaction.
    pub(crate) large_rows: u64,
    /// Rows of the table that is copied.
    pub(crate) copy_rows: u64,
    /// Records of the queue that is looked into.
    pub(crate) queued: u64,
    /// Records of the queue that is preserved or discarded.
    pub(crate) skipped: u64,
    /// Seconds of live traffic.
    pub(crate) live_seconds: u64,
    /// pgbench's scale.
    pub(crate) scale: u32,
    /// Seconds of pgbench; paused after a quarter, for half of it.
    pub(crate) tpcb_seconds: u64,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    More,
    Less,
    /// Said for information.
    Neither,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) value: f64,
}

/// What every run needs.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) binary: PathBuf,
    pub(crate) sizes: Sizes,
}

impl Scenario {
    /// The systems that it is about, in the order in which they are measured.
    pub(crate) fn systems(self) -> &'static [System] {
        match self {
            Scenario::Catchup => &[System::Tandem, System::BuiltIn, System::BuiltInSynchronous],
            Scenario::Floor => &[System::Floor],
            Scenario::Live => &[System::Tandem, System::BuiltIn, System::BuiltInSynchronous],
            Scenario::Tpcb | Scenario::Large | Scenario::Copy => &[System::Tandem, System::BuiltIn],
            // The built-in has no queue, no errors to keep and no pause that costs others nothing.
            Scenario::Queue | Scenario::LiveErrors | Scenario::LivePaused => &[System::Tandem],
        }
    }

    /// Measures one system once.
    pub(crate) async fn measure(self, bench: &Bench, system: System) -> Result<Vec<Measure>> {
        match self {
            Scenario::Tpcb => tpcb::measure(bench, system).await,
            Scenario::Catchup => catchup::measure(bench, system).await,
            Scenario::Live => live::measure(bench, system).await,
            Scenario::Large => large::measure(bench, system).await,
            Scenario::Copy => copy::measure(bench, system).await,
            Scenario::Floor => floor::measure(bench).await,
            Scenario::Queue => queue::measure(bench).await,
            Scenario::LiveErrors => weighed::with_errors(bench).await,
            Scenario::LivePaused => weighed::with_paused_maps(bench).await,
        }
    }
}

impl Measure {
    pub(crate) fn more(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self { name, unit, better: Better::More, value }
    }

    pub(crate) fn less(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self { name, unit, better: Better::Less, value }
    }

    pub(crate) fn info(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self { name, unit, better: Better::Neither, value }
    }
}

/// Processor time per 100,000 rows, and what others used meanwhile.
pub(crate) fn cost(spent: Spent, rows: u64) -> Vec<Measure> {
    let per_100k = |seconds: f64| seconds * 100_000.0 / rows as f64;
    let mut measures = vec![
        Measure::info("CPU of the source per 100k rows", "s", per_100k(spent.source)),
        Measure::info("CPU of the destination per 100k rows", "s", per_100k(spent.destination)),
        Measure::info("processors used by others", "%", 100.0 * spent.outside),
    ];
    if spent.engine > 0.0 {
        measures.insert(0, Measure::info("CPU of the engine per 100k rows", "s", per_100k(spent.engine)));
    }
    measures
}

/// Bytes as megabytes of 1024².
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
