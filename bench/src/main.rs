//! `make bench`: Tandem next to PostgreSQL's own logical replication, in turn, on the same data, on this machine.
//!
//! Nothing in here is a test: times depend on the machine and on who else uses it, so every figure is printed with
//! its noise and nobody's build fails because of one. What does fail is a destination that is not equal in the end.

mod backlog;
mod builtin;
mod cpu;
mod engine;
mod machine;
mod pair;
mod report;
mod scenario;
mod system;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use machine::Machine;
use pair::Pair;
use report::{Report, Run};
use scenario::{Bench, Scenario, Sizes};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measures Tandem next to PostgreSQL's own logical replication.
#[derive(Debug, Parser)]
#[command(name = "tandem-bench")]
struct Args {
    /// Only these scenarios; all of them otherwise.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Only these systems, such as tandem or builtin; all of a scenario's otherwise.
    #[arg(long, value_delimiter = ',')]
    system: Vec<String>,
    /// How often each is measured, in turn; medians are shown.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Queued transactions of the catch-up.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Records that are there before a load.
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// Rows of the large transaction.
    #[arg(long, default_value_t = 2_000_000)]
    large_rows: u64,
    /// Rows of the table that is copied.
    #[arg(long, default_value_t = 5_000_000)]
    copy_rows: u64,
    /// Records of the queue that is looked into.
    #[arg(long, default_value_t = 3_000_000)]
    queued: u64,
    /// Records of the queue that is preserved or discarded.
    #[arg(long, default_value_t = 1_000_000)]
    skipped: u64,
    /// Seconds of live traffic.
    #[arg(long, default_value_t = 30)]
    live_seconds: u64,
    /// pgbench's scale.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Seconds of pgbench; paused after a quarter, for half of it.
    #[arg(long, default_value_t = 60)]
    tpcb_seconds: u64,
    /// A binary to measure, instead of building one.
    #[arg(long)]
    tandem: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let binary = match &args.tandem {
        Some(binary) => std::path::absolute(binary)?,
        None => build()?,
    };
    let sizes = Sizes {
        rows: args.rows,
        records: args.records,
        large_rows: args.large_rows,
        copy_rows: args.copy_rows,
        queued: args.queued,
        skipped: args.skipped,
        live_seconds: args.live_seconds,
        scale: args.scale,
        tpcb_seconds: args.tpcb_seconds,
    };
    let machine = Machine::look(&binary, Pair::start().await?.version().await)?;
    say(&format!(
        "{}, {} processors, {} GB; sync {:.2} ms; load {}",
        machine.processor, machine.processors, machine.memory_gb, machine.sync_ms, machine.load
    ));
    let bench = Bench { binary, sizes: sizes.clone() };
    let runs = run_all(&args, &bench).await?;
    let lines = report::lines(&runs);
    print(&report::table(&lines));
    let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let file = report::write(&Report { date, machine, sizes, runs, lines }, &args.results)?;
    say(&format!("written to {}", file.display()));
    Ok(())
}

/// All systems of a scenario, then the next; and all of it again.
async fn run_all(args: &Args, bench: &Bench) -> Result<Vec<Run>> {
    let all = [
        Scenario::Tpcb,
        Scenario::Floor,
        Scenario::Catchup,
        Scenario::Live,
        Scenario::LiveErrors,
        Scenario::LivePaused,
        Scenario::Queue,
        Scenario::Large,
        Scenario::Copy,
    ];
    let wanted = |scenario: &Scenario| args.only.is_empty() || args.only.contains(scenario);
    let mut runs = Vec::new();
    for scenario in all.into_iter().filter(wanted) {
        for turn in 0..args.repeat {
            for system in scenario.systems().iter().copied() {
                let name = format!("{system:?}").to_lowercase();
                if !args.system.is_empty() && !args.system.contains(&name) {
                    continue;
                }
                let load = machine::load()?;
                say(&format!("{scenario:?}, {system:?}, {} of {} (load {load})", turn + 1, args.repeat));
                let measures = scenario.measure(bench, system).await;
                let measures = measures.with_context(|| format!("{scenario:?} of {system:?}"))?;
                for measure in &measures {
                    say(&format!("    {:<50} {:>12.2} {}", measure.name, measure.value, measure.unit));
                }
                runs.push(Run { scenario, system, load, measures });
            }
        }
    }
    Ok(runs)
}

/// The release binary, next to this one.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "-p", "tandem", "--bin", "tandem"]).current_dir(workspace);
    ensure!(build.status()?.success(), "tandem could not be built");
    let profile =
        std::env::current_exe()?.parent().and_then(Path::parent).map(|target| target.join("release"));
    Ok(profile.context("no target folder")?.join("tandem"))
}

/// Results go to stdout.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print(text: &str) {
    println!("{text}");
}

/// Talk goes to stderr.
#[expect(clippy::print_stderr, reason = "a person waits in front of it")]
fn say(text: &str) {
    eprintln!("{text}");
}
