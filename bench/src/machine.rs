//! What the figures were measured on: without it they mean nothing.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The machine, and the versions of what is measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gb: u64,
    pub(crate) system: String,
    pub(crate) kernel: String,
    /// The median of overwriting 4 KB durably, in milliseconds.
    pub(crate) sync_ms: f64,
    /// Runnable tasks, over the last minute, before the first run.
    pub(crate) load: f64,
    pub(crate) tandem: String,
    pub(crate) postgres: String,
}

/// How often the disk is tried.
const SYNCS: usize = 200;

impl Machine {
    pub(crate) fn look(binary: &Path, postgres: String) -> Result<Self> {
        let version = Command::new(binary).arg("version").output().context("run tandem version")?;
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: field("/proc/meminfo", "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()?
                .div_ceil(1 << 20),
            system: field_of("/etc/os-release", "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            sync_ms: sync_ms()?,
            load: load()?,
            tandem: String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default().to_owned(),
            postgres,
        })
    }
}

/// The load of the last minute.
pub(crate) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split_ascii_whitespace().next().and_then(|load| load.parse().ok()).context("/proc/loadavg")
}

fn field(file: &str, name: &str) -> String {
    field_of(file, name, ':')
}

fn field_of(file: &str, name: &str, separator: char) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let found = pairs.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// On the disk of the temporary folder, where servers and engine keep their data, too.
fn sync_ms() -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.rewind()?;
        file.write_all(&[7; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    times.get(SYNCS / 2).copied().context("no sync was timed")
}
