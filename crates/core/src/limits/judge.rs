//! What follows from the limits and from what is known of a queue.
//!
//! Not every phase is judged alike, because a limit is there to make somebody act and not to undo what they did:
//!
//! | phase | bytes | age | a hold | changes are dropped or released |
//! |---|---|---|---|---|
//! | paused | queue and open errors | since the pause began | yes | yes |
//! | running | hard: the queue alone; soft: with open errors | of the oldest unapplied change | yes | once it is held |
//! | resuming, initializing | queue and open errors | soft at most | no | no |
//! | not running | nothing is captured: only errors can be released | | | |
//!
//! - A map that *resumes* was resumed by a person, in time; that its oldest change is old is what is being mended,
//!   and a hold would undo it.
//! - A *running* map that skipped its queue has all of it as open errors. They count again in the next pause;
//!   counted now, they would pause at once the map that was just brought back.
//! - `Keep` holds nothing: it is for those who want warnings and nothing else.

use super::{Limits, WhenFull};
use crate::lifecycle::Phase;
use crate::{Fullness, WallTime};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

/// What is known of a map's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Where the map is in its life.
    pub phase: Phase,
    /// Bytes of changes that are captured and not applied.
    pub queue_bytes: u64,
    /// Bytes of open errors.
    pub error_bytes: u64,
    /// When the oldest unapplied change was captured.
    pub oldest_unapplied_at: Option<WallTime>,
    /// When the oldest open error was captured.
    pub oldest_error_at: Option<WallTime>,
    /// When the pause began, of a map that is paused.
    pub paused_since: Option<WallTime>,
    /// Bytes per second that come.
    pub arrival_rate: u64,
    /// Bytes per second that are applied. Nothing of a paused map is, whatever stands here.
    pub apply_rate: u64,
}

impl Usage {
    /// A map in a phase, with nothing waiting.
    pub fn empty(phase: Phase) -> Self {
        Self {
            phase,
            queue_bytes: 0,
            error_bytes: 0,
            oldest_unapplied_at: None,
            oldest_error_at: None,
            paused_since: None,
            arrival_rate: 0,
            apply_rate: 0,
        }
    }

    /// From when on the age counts: since a paused map's pause began, else since the oldest change that waits was
    /// captured.
    pub fn counts_since(&self) -> Option<WallTime> {
        match self.phase {
            Phase::NotRunning => None,
            Phase::Paused => self.paused_since.or(self.oldest_unapplied_at),
            Phase::Running | Phase::Initializing(_) | Phase::Resuming => self.oldest_unapplied_at,
        }
    }
}

/// Which of the two limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// `max_queue_bytes`.
    Bytes,
    /// `max_pause_age`.
    Age,
}

/// A limit that was reached, soft or hard, and how full it is: in bytes, or in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    pub limit: LimitKind,
    /// How full.
    pub full: Fullness,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to say.
    Below,
    /// To be warned of. The fuller one, if it is both.
    Soft(Reached),
    /// To be acted on.
    Hard {
        /// The fuller one, if it is both.
        reached: Reached,
        /// What `when_full` demands.
        demand: Demand,
        /// Whether the map is to be held for it: a running one pauses, a paused one is not resumed by a rule.
        hold: bool,
    },
}

/// What is demanded at a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Arm the guard that refuses writes in the source. What was committed before it took effect is kept.
    BlockWrites,
    /// Nothing: the queue grows on.
    Keep,
    /// Do not keep what comes, and count it. **Loses data.**
    DropNewest {
        /// Nor what is queued behind so many bytes; none: all that is queued is kept.
        keep_bytes: Option<u64>,
    },
    /// Release queued changes from the oldest on, and count them. **Loses data.**
    DropOldest {
        /// Until so many bytes are gone, or the queue is empty: errors are not released for it.
        bytes: u64,
        /// And all that were captured at this moment or before.
        captured_through: Option<WallTime>,
    },
}

/// When the hard limits will be reached if all goes on as it does. None: not in sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Until the bytes are full; none as well if what waits grows less.
    pub bytes: Option<Duration>,
    /// Until the age is reached; none as well of a running map that applies, whose oldest change is soon another.
    pub age: Option<Duration>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// How far it has come.
    pub level: Level,
    /// How full the bytes are, if they are limited: what waits with open errors.
    pub bytes: Option<Fullness>,
    /// How full the age is, if it is limited: in microseconds.
    pub age: Option<Fullness>,
    /// When the hard limits will be reached.
    pub forecast: Forecast,
    /// Queued changes captured at this moment or before are to be released: `queue_retention`. Of a map that runs, it is
    /// to be held for it first, as at a hard limit; one that resumes applies them. **Loses data.**
    pub release_queue_through: Option<WallTime>,
    /// Open errors captured at this moment or before are to be released: `error_retention`. **Loses data.**
    pub release_errors_through: Option<WallTime>,
}

impl Judgement {
    /// The fuller of the two, for a gauge.
    pub fn fullest(&self) -> Option<Reached> {
        let bytes = self.bytes.map(|full| Reached { limit: LimitKind::Bytes, full });
        let age = self.age.map(|full| Reached { limit: LimitKind::Age, full });
        fuller(bytes, age)
    }
}

impl Forecast {
    /// Which comes first, and when.
    pub fn first(&self) -> Option<(LimitKind, Duration)> {
        match (self.bytes, self.age) {
            (Some(bytes), Some(age)) if age < bytes => Some((LimitKind::Age, age)),
            (Some(bytes), _) => Some((LimitKind::Bytes, bytes)),
            (None, age) => age.map(|age| (LimitKind::Age, age)),
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitKind::Bytes => "max_queue_bytes",
            LimitKind::Age => "max_pause_age",
        })
    }
}

/// How a limit stands: what to show, and what may be hard of it.
#[derive(Clone, Copy)]
struct Measure {
    shown: Reached,
    /// What counts for the hard limit; none: it cannot be hard in this phase.
    hard: Option<Fullness>,
}

impl Measure {
    fn reached_hard(self) -> Option<Reached> {
        self.hard.filter(|full| full.is_full()).map(|full| Reached { full, ..self.shown })
    }
}

/// What follows from limits and usage. Pure: the same at every call.
pub fn judge(limits: &Limits, usage: &Usage, now: WallTime) -> Judgement {
    let bytes = measure_bytes(limits, usage);
    let age = measure_age(limits, usage, now);
    let past = |oldest: Option<WallTime>, retention: Option<Duration>| {
        let through = now.minus(retention?);
        (oldest? <= through).then_some(through)
    };
    Judgement {
        level: level(limits, usage, now, (bytes, age)),
        bytes: bytes.map(|measure| measure.shown.full),
        age: age.map(|measure| measure.shown.full),
        forecast: Forecast {
            bytes: bytes.and_then(|measure| bytes_full_in(measure, usage)),
            age: age.and_then(|measure| age_full_in(measure, usage)),
        },
        release_queue_through: past(usage.oldest_unapplied_at, limits.queue_retention)
            .filter(|_| matches!(usage.phase, Phase::Running | Phase::Paused)),
        release_errors_through: past(usage.oldest_error_at, limits.error_retention),
    }
}

fn level(
    limits: &Limits,
    usage: &Usage,
    now: WallTime,
    (bytes, age): (Option<Measure>, Option<Measure>),
) -> Level {
    let hard_bytes = bytes.and_then(Measure::reached_hard);
    let hard_age = age.and_then(Measure::reached_hard);
    if let Some(reached) = fuller(hard_bytes, hard_age) {
        let demand = match limits.when_full {
            WhenFull::BlockWrites => Demand::BlockWrites,
            WhenFull::Keep => Demand::Keep,
            WhenFull::DropNewLosesData => Demand::DropNewest {
                keep_bytes: hard_bytes.map(|reached| reached.full.max.saturating_sub(usage.error_bytes)),
            },
            WhenFull::DropOldestLosesData => Demand::DropOldest {
                bytes: hard_bytes.map_or(0, |reached| reached.full.used.saturating_sub(reached.full.max)),
                captured_through: hard_age.and(limits.max_pause_age).map(|age| now.minus(age)),
            },
        };
        let held_phase = matches!(usage.phase, Phase::Running | Phase::Paused);
        return Level::Hard { reached, demand, hold: held_phase && demand != Demand::Keep };
    }
    let soft = |measure: Option<Measure>| {
        measure.map(|measure| measure.shown).filter(|shown| shown.full.reaches(limits.soft_limit))
    };
    fuller(soft(bytes), soft(age)).map_or(Level::Below, Level::Soft)
}

fn measure_bytes(limits: &Limits, usage: &Usage) -> Option<Measure> {
    let max = limits.max_queue_bytes?;
    let all = Fullness { used: usage.queue_bytes.saturating_add(usage.error_bytes), max };
    let shown = Reached { limit: LimitKind::Bytes, full: all };
    match usage.phase {
        Phase::NotRunning => None,
        Phase::Running => Some(Measure { shown, hard: Some(Fullness { used: usage.queue_bytes, max }) }),
        Phase::Initializing(_) | Phase::Paused | Phase::Resuming => Some(Measure { shown, hard: Some(all) }),
    }
}

fn measure_age(limits: &Limits, usage: &Usage, now: WallTime) -> Option<Measure> {
    let max = in_micros(limits.max_pause_age?);
    let may_be_hard = match usage.phase {
        Phase::NotRunning => return None,
        Phase::Paused | Phase::Running => true,
        Phase::Initializing(_) | Phase::Resuming => false,
    };
    let full = Fullness { used: usage.counts_since().map_or(0, |since| in_micros(now.since(since))), max };
    Some(Measure { shown: Reached { limit: LimitKind::Age, full }, hard: may_be_hard.then_some(full) })
}

fn bytes_full_in(measure: Measure, usage: &Usage) -> Option<Duration> {
    let full = measure.hard?;
    let applied = if usage.phase == Phase::Paused { 0 } else { usage.apply_rate };
    let growth = usage.arrival_rate.saturating_sub(applied);
    let left = full.max.saturating_sub(full.used);
    if left == 0 {
        return Some(Duration::ZERO);
    }
    if growth == 0 {
        return None;
    }
    let micros = (u128::from(left) * 1_000_000).div_ceil(u128::from(growth));
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

fn age_full_in(measure: Measure, usage: &Usage) -> Option<Duration> {
    let full = measure.hard?;
    let left = Duration::from_micros(full.max.saturating_sub(full.used));
    let grows = match usage.phase {
        Phase::Paused => usage.paused_since.or(usage.oldest_unapplied_at).is_some(),
        Phase::Running => usage.oldest_unapplied_at.is_some() && usage.apply_rate == 0,
        Phase::NotRunning | Phase::Initializing(_) | Phase::Resuming => false,
    };
    (grows || left.is_zero()).then_some(left)
}

fn fuller(one: Option<Reached>, other: Option<Reached>) -> Option<Reached> {
    match (one, other) {
        (Some(one), Some(other)) if other.full.compare(one.full) == Ordering::Greater => Some(other),
        (one, other) => one.or(other),
    }
}

fn in_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
