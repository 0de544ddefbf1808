//! Who used the processors: the engine, the servers, and others on this machine, whose share is the noise that
//! stands beside every figure.

use anyhow::{Context, Result};
use std::fs;
use std::time::Instant;

/// Linux counts processor time for user space in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// A stopwatch for wall and processor time.
pub(crate) struct Meter {
    started: Instant,
    engine: Option<u32>,
    postmasters: [u32; 2],
    before: Ticks,
}

/// What a stopwatch showed. Seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall: f64,
    /// Processor time of the engine's process; 0 if there is none.
    pub(crate) engine: f64,
    /// Processor time of all processes of the source.
    pub(crate) source: f64,
    /// Processor time of all processes of the destination.
    pub(crate) destination: f64,
    /// The part of all processors that others used meanwhile, 0 to 1.
    pub(crate) outside: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    engine: u64,
    servers: [u64; 2],
    ourselves: u64,
    machine: u64,
}

impl Meter {
    pub(crate) fn start(engine: Option<u32>, postmasters: [u32; 2]) -> Result<Self> {
        let mut meter = Self { started: Instant::now(), engine, postmasters, before: Ticks::default() };
        meter.before = meter.look()?;
        Ok(meter)
    }

    pub(crate) fn stop(&self) -> Result<Spent> {
        let wall = self.started.elapsed().as_secs_f64();
        let (before, after) = (self.before, self.look()?);
        let seconds = |after: u64, before: u64| after.saturating_sub(before) as f64 / TICKS_PER_SECOND;
        let [source, destination] =
            [0, 1].map(|side: usize| seconds(after.servers[side], before.servers[side]));
        let engine = seconds(after.engine, before.engine);
        let own = engine + source + destination + seconds(after.ourselves, before.ourselves);
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let outside = (seconds(after.machine, before.machine) - own) / (wall * processors);
        Ok(Spent { wall, engine, source, destination, outside: outside.clamp(0.0, 1.0) })
    }

    fn look(&self) -> Result<Ticks> {
        Ok(Ticks {
            engine: self.engine.map(own_ticks).transpose()?.unwrap_or_default(),
            servers: [family_ticks(self.postmasters[0])?, family_ticks(self.postmasters[1])?],
            ourselves: own_ticks(std::process::id())? + reaped_ticks(std::process::id())?,
            machine: machine_ticks()?,
        })
    }
}

/// The most memory that a process has had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// The fields of `/proc/<pid>/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Result<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("no name in stat")?;
    // The first is the state, a letter.
    Ok(rest.split_ascii_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect())
}

fn sum(fields: &[u64], places: std::ops::Range<usize>) -> u64 {
    fields.get(places).unwrap_or_default().iter().sum()
}

fn own_ticks(pid: u32) -> Result<u64> {
    Ok(sum(&stat(pid)?, 10..12))
}

/// Of children that have ended and were waited for.
fn reaped_ticks(pid: u32) -> Result<u64> {
    Ok(sum(&stat(pid)?, 12..14))
}

/// A process, its children that are, and those that were.
fn family_ticks(parent: u32) -> Result<u64> {
    let mut ticks = own_ticks(parent)? + reaped_ticks(parent)?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since the folder was read.
        let Ok(fields) = stat(pid) else { continue };
        if fields.first() == Some(&u64::from(parent)) {
            ticks += sum(&fields, 10..12);
        }
    }
    Ok(ticks)
}

/// What all processors have worked; not idle and not waiting for a disk.
fn machine_ticks() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok(sum(&fields, 0..3) + sum(&fields, 5..8))
}
