//! The whole engine under simulation: real captures, journals, lanes and states, over apps in memory, a simulated
//! disk and a simulated clock. One seed is one schedule.
//!
//! `TANDEM_SEED=n` runs one schedule and tells what happens in it; `TANDEM_SCHEDULES=n` runs that many, from
//! `TANDEM_FIRST=n` on.

#![allow(clippy::print_stderr, reason = "a schedule that is replayed tells what happens")]

mod both;
mod executor;
mod found;
mod oracle;
mod paced;
mod reshaped;
mod told;
mod verify;
mod windows;
mod world;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tandem_core::limits::{Limits, Profile, WhenFull};
use tandem_engine::Mistake;
use world::{Weather, World};

/// Small limits of each kind that loses records, in turns.
fn losing_limits(turn: u64) -> Limits {
    let size = 50 + turn % 7 * 50;
    let time = Duration::from_secs(1 + turn % 3);
    let none = Profile::NeverLose.limits();
    let (oldest, newest) = (WhenFull::DropOldestLosesData, WhenFull::DropNewLosesData);
    match turn % 5 {
        0 => Limits { when_full: oldest, max_queue_bytes: Some(size), ..none },
        1 => Limits { when_full: newest, max_queue_bytes: Some(size), ..none },
        2 => Limits { queue_retention: Some(time), ..none },
        3 => Limits { when_full: oldest, max_queue_bytes: Some(size), max_pause_age: Some(time), ..none },
        _ => Limits { when_full: newest, max_queue_bytes: Some(size), queue_retention: Some(time), ..none },
    }
}

fn schedule(seed: u64, tracing: bool) {
    // Some schedules are calm and some are not: a storm hides what needs time to grow.
    let storm = 1 + seed % 4;
    let losses = seed.is_multiple_of(7) || seed % 21 == 1;
    let weather = Weather {
        steps: 150 + (seed % 5) * 100,
        users: 120,
        operators: 25,
        crashes: 4 * storm,
        faults: 12 * storm,
        // A destination that loses what was tried again by itself has a gap that a person has to see, and so it is told.
        parent_deletes: !seed.is_multiple_of(3) && !losses,
        renumbers: seed % 5 == 2,
        // What was dropped must stay so when the destination loses what came before it.
        losses,
        skips: seed % 7 == 3,
        guards: seed % 7 == 5,
        preserves: seed % 7 == 4,
        deletes_errors: seed % 14 == 4,
        limits: match seed % 7 {
            1 => Some(losing_limits(seed / 7)),
            2 => Some(Limits { max_queue_bytes: Some(50 + seed % 9 * 50), ..Limits::default() }),
            _ => None,
        },
        holds: seed % 7 == 2,
        caps: seed % 7 == 2,
        unique: seed % 4 == 1 && seed % 7 != 6,
        copies: seed % 7 == 6,
        refreshes: seed % 14 == 11,
        // What a destination has lost, and what was dropped or deleted, does differ.
        keeps: seed % 10 == 4,
        put_off_max: if seed % 3 == 1 { 1 + seed / 3 % 4 } else { 1_000 },
        verifies: if seed % 5 == 4 && !matches!(seed % 7, 0 | 1 | 3) && seed % 14 != 4 && seed % 21 != 1 {
            20
        } else {
            0
        },
    };
    let steps = weather.steps;
    let copies = weather.copies;
    let mut world = World::new(seed, weather, tracing);
    if copies {
        world.copy_all()
    } else {
        world.run_all()
    }
    for _ in 0..steps {
        world.step();
    }
    world.settle();
}

/// How many schedules a plain test run goes through.
const SCHEDULES: u64 = 10_000;
/// The same, of maps that go both ways.
const BOTH_SCHEDULES: u64 = 8_000;

/// The same, of tables that change under their maps.
const RESHAPED_SCHEDULES: u64 = 1_500;

/// Tells what happens.
fn tell() {
    let tell = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).without_time();
    // Several histories may be told in one process.
    let _ = tell.with_ansi(false).with_test_writer().try_init();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one schedule after the other on every processor, or the one that was asked for.
fn every(one: fn(u64, bool), schedules: u64) {
    if let Some(seed) = number("TANDEM_SEED") {
        tell();
        return one(seed, true);
    }
    let first = number("TANDEM_FIRST").unwrap_or(0);
    let schedules = first + number("TANDEM_SCHEDULES").unwrap_or(schedules);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= schedules {
                        return;
                    }
                    one(seed, false);
                }
            });
        }
    });
}

#[test]
fn every_schedule_ends_equal_with_nothing_lost_doubled_or_out_of_order() {
    every(schedule, SCHEDULES);
}

/// A simulation that cannot fail proves nothing: an engine that makes a mistake is found out. Each in a process of its own,
/// for the mistake is the process's.
#[test]
fn every_mistake_is_found() {
    let one_way = (Mistake::OF_ONE_WAY, "every_schedule_ends");
    let both_ways = (Mistake::OF_BOTH_WAYS, "every_schedule_of_a_two_way");
    let shapes = (Mistake::OF_SHAPES, "every_schedule_of_tables");
    let mut overlooked = Vec::new();
    for (mistakes, schedules) in [one_way, both_ways, shapes] {
        for mistake in mistakes {
            let mut simulation = Command::new(std::env::current_exe().unwrap());
            simulation.arg(schedules).env("TANDEM_MISTAKE", mistake.name()).env("TANDEM_SCHEDULES", "3000");
            simulation.env_remove("TANDEM_SEED").env_remove("TANDEM_FIRST");
            let ran = simulation.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(said.contains("running 1 test"), "{said}");
            if ran.status.success() {
                overlooked.push(mistake.name());
            }
        }
    }
    assert!(overlooked.is_empty(), "not found: {overlooked:?}");
}

#[test]
fn every_schedule_of_a_two_way_map_ends_equal_with_every_conflict_noted() {
    every(both::schedule, BOTH_SCHEDULES);
}

#[test]
fn every_schedule_of_tables_that_change_ends_equal_with_every_value_in_its_column() {
    every(reshaped::schedule, RESHAPED_SCHEDULES);
}
