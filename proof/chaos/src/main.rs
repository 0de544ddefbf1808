//! The chaos run: the whole binary over two real PostgreSQL servers, under load, while everything that can be killed
//! is killed and people pause and resume; and then a judge who looks at what each side's triggers wrote down.
//!
//! `tandem-chaos` is the short run, `tandem-chaos --long` the long one, `--seed N` one that was. The same seed makes
//! the same choices; the machine's timing is not in it, so a finding may need several runs to come back.
//!
//! `--mistake NAME` lets the engine make one on purpose: that run must fail, or the harness proves nothing.
//! `--mistakes` does that with each.

mod engine;
mod maps;
mod nemesis;
mod oracle;
mod points;
mod random;
mod report;
mod workload;
mod world;

use anyhow::{Context, Result};
use nemesis::{Nemesis, Plan};
use random::Random;
use report::Report;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};
use tandem_engine::Mistake;
use workload::Workload;
use world::{Side, World};

const SHORT: Plan = Plan {
    kills: 14,
    fail_points: 7,
    rounds: 5,
    left_behind: 1,
    server_kills: 1,
    cuts: 2,
    locks: 0,
    at_most: Duration::from_secs(240),
};

const LONG: Plan = Plan {
    kills: 200,
    fail_points: 60,
    rounds: 50,
    left_behind: 20,
    server_kills: 6,
    cuts: 12,
    locks: 3,
    at_most: Duration::from_secs(30 * 60),
};

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if argv.get(1).is_some_and(|first| first == engine::AS_TANDEM) {
        let name = OsString::from("tandem");
        return tandem::run([name].into_iter().chain(argv.into_iter().skip(2)));
    }
    let outcome = match argv.get(1) {
        Some(first) if first == "--mistakes" => find_mistakes(),
        _ => Asked::from(argv).and_then(|asked| run(&asked)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("chaos failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Asked {
    plan: Plan,
    seed: u64,
    mistake: Option<Mistake>,
    /// A user's pause between two transactions, on average.
    pause_ms: u64,
}

impl Asked {
    fn from(argv: Vec<OsString>) -> Result<Self> {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut asked =
            Self { plan: SHORT, seed: clock.as_micros() as u64 % 1_000_000_000, mistake: None, pause_ms: 20 };
        let mut words = argv.into_iter().skip(1).filter_map(|word| word.into_string().ok());
        while let Some(word) = words.next() {
            let mut number =
                || words.next().and_then(|word| word.parse().ok()).context("a number is missing");
            match word.as_str() {
                "--long" => asked.plan = LONG,
                "--short" => asked.plan = SHORT,
                "--seed" => asked.seed = number()?,
                "--kills" => asked.plan.kills = number()?,
                "--rounds" => asked.plan.rounds = number()?,
                "--mistake" => {
                    let name = words.next().unwrap_or_default();
                    let known = Mistake::OF_THE_BINARY.iter().copied().find(|mistake| mistake.name() == name);
                    asked.mistake =
                        Some(known.with_context(|| format!("the engine cannot make the mistake '{name}'"))?);
                }
                "--locks" => asked.plan.locks = number()?,
                "--minutes" => asked.plan.at_most = Duration::from_secs(60 * number()?),
                "--pause-ms" => asked.pause_ms = number()?,
                other => anyhow::bail!(
                    "{other}? It takes --short, --long, --seed N, --kills N, --rounds N, --locks N, --minutes N, --pause-ms N, --mistake NAME"
                ),
            }
        }
        Ok(asked)
    }
}

/// A short run for each mistake that the engine can make on purpose. Returns whether every one was found.
fn find_mistakes() -> Result<bool> {
    let mut all = true;
    for mistake in Mistake::OF_THE_BINARY {
        let output = Command::new(std::env::current_exe()?).args(["--mistake", mistake.name()]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        // A run that failed without a verdict has found nothing.
        let found = !output.status.success() && said.contains(report::FAILED);
        report::say(&format!("{:<20} {}", mistake.name(), if found { "found" } else { "NOT FOUND" }));
        if !found {
            report::say(&said);
        }
        all &= found;
    }
    Ok(all)
}

/// One run. Returns whether the judge is content.
fn run(asked: &Asked) -> Result<bool> {
    let began = Instant::now();
    report::say(&format!("seed {}", asked.seed));
    let mut random = Random::new(asked.seed);
    // Kept if anything was found: the log and the data folder are in it.
    let folder = tempfile::Builder::new().prefix("tandem-chaos-").tempdir()?.keep();
    let outcome = rampage(asked, &mut random, &folder, began);
    match &outcome {
        Ok(good) if *good || asked.mistake.is_some() => drop(std::fs::remove_dir_all(&folder)),
        Ok(_) | Err(_) => report::say(&format!("the engine's log and data are in {}", folder.display())),
    }
    outcome.with_context(|| format!("seed {}", asked.seed))
}

fn rampage(asked: &Asked, random: &mut Random, folder: &std::path::Path, began: Instant) -> Result<bool> {
    let mut world = World::new();
    world.write_config(folder)?;
    let home = engine::Home::new(folder.to_path_buf(), asked.mistake)?;
    let source = world.url(Side::Source);
    let mut nemesis = Nemesis::new(&mut world, &home, random.fork(), asked.plan);
    nemesis.begin()?;
    let workload = Workload::start(&source, random, asked.pause_ms)?;
    let (damage, engine) = nemesis.rage();
    let done = workload.stop();
    let healed = engine.and_then(|engine| maps::heal(&world, &engine));
    let said = home.messages();
    let verdict = oracle::examine(&world, &done, &said.waited)?;
    let report = Report {
        seed: asked.seed,
        took: began.elapsed(),
        damage: &damage,
        done: &done,
        verdict: &verdict,
        healed: &healed,
        messages: said.counts,
    };
    report::say(&report.to_string());
    Ok(report.is_good(&asked.plan))
}
