//! Limits: looked at with each turn, and acted on.
//!
//! What follows from a limit is decided in `tandem_core::limits`. Here a queue is measured, a map is held with
//! everything that depends on it (see `holding`), and what must outlast the moment is remembered: that the source
//! refuses writes, until a person has resumed the map and it has caught up, or has skipped or stopped it. What is
//! chosen to be lost is dropped once the map is paused (see `dropping`).

use super::Supervisor;
use super::backing::only_holds;
use super::dropping::Dropping;
use super::holding::{Changes, Told};
use crate::store::{MapRecord, StoreError};
use crate::view::LimitsView;
use std::collections::BTreeSet;
use std::time::Duration;
use tandem_core::lifecycle::{Hold, Phase};
use tandem_core::limits::{ArrivalRate, Demand, Judgement, Level, LimitKind, Reached, Usage, judge};
use tandem_core::{MapName, WallTime};

/// What is known of a map's queue beside its counts.
#[derive(Default)]
pub(super) struct Watched {
    arrivals: ArrivalRate,
    pub(super) judged: Option<Judgement>,
    pub(super) shown: Option<LimitsView>,
    pub(super) dropping: Dropping,
    /// When it was looked last for errors that are too old.
    pub(super) released: Option<Duration>,
}

impl Supervisor {
    /// Judges every map, and does what its limits demand.
    pub(super) fn enforce_limits(&mut self) -> Result<(), StoreError> {
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain(|name, _| self.maps.contains_key(name));
        let (mut reached, mut below) = (Vec::new(), BTreeSet::new());
        for (name, record) in &self.maps {
            let seen = watched.entry(name.clone()).or_default();
            let mut usage = self.usage(record, &mut seen.arrivals);
            let limits = self.world.limits.get(name).cloned().unwrap_or_default();
            // Errors that fill a limit by themselves are not made fewer by holding the map.
            let kept = self.error_stats(record).kept_bytes;
            if limits.max_queue_bytes.is_none_or(|most| kept < most) {
                usage.queue_bytes += kept;
            }
            let judged = judge(&limits, &usage, self.now());
            seen.judged = Some(judged);
            seen.shown = Some(LimitsView {
                limits: limits.clone(),
                used_bytes: usage.queue_bytes.saturating_add(usage.error_bytes),
                since: usage.counts_since(),
                growth: usage.arrival_rate,
            });
            if !matches!(judged.level, Level::Hard { .. }) {
                below.insert(name.clone());
            }
            let is_held = record.state.holds.contains_key(&Hold::Limit);
            if let Level::Hard { reached: what, demand, hold: true } = judged.level {
                let block = demand == Demand::BlockWrites && record.blocked.is_none();
                if block || !is_held {
                    let reason = format!("{} is reached: {}", what.limit, amount(what));
                    reached.push((name.clone(), reason, block));
                }
            } else if judged.release_queue_through.is_some()
                && record.state.phase == Phase::Running
                && !is_held
            {
                let age = span(limits.queue_retention.unwrap_or_default());
                reached.push((
                    name.clone(),
                    format!("queue_retention is reached: records wait for {age}"),
                    false,
                ));
            }
        }
        self.watched = watched;
        self.release_sources(&below)?;
        reached.into_iter().try_for_each(|(name, reason, block)| self.limit_reached(&name, &reason, block))
    }

    fn usage(&self, record: &MapRecord, arrivals: &mut ArrivalRate) -> Usage {
        let mut usage = Usage::empty(record.state.phase);
        for flow in &record.flows {
            let queue = self.flow_view(flow).queue;
            usage.queue_bytes += queue.bytes;
            usage.oldest_unapplied_at = earlier(usage.oldest_unapplied_at, queue.oldest_at);
        }
        if record.state.phase == Phase::Paused || record.state.is_pausing() {
            // Nothing is applied: what comes is what the queue grows by.
            arrivals.observe(self.now(), usage.queue_bytes);
            usage.arrival_rate = arrivals.bytes_per_second();
            usage.paused_since = record.state.holds.values().map(|note| note.since).min();
        } else {
            *arrivals = ArrivalRate::default();
        }
        usage
    }

    fn limit_reached(&mut self, name: &MapName, reason: &str, block: bool) -> Result<(), StoreError> {
        let holding = &self.world.hold_source;
        let detail = match self.maps.get(name).filter(|_| block) {
            None => "",
            Some(record) if only_holds(record, holding) => {
                "its source is no longer read, for none of its maps"
            }
            Some(_) => "further writes are refused in the source",
        };
        let told = Told { event: "map.limit_reached", actor: "tandem", reason, detail };
        let mut changes = Changes::default();
        let now = self.now();
        self.hold(&mut changes, name, Hold::Limit, &told, |record| {
            if block {
                record.blocked = Some(now);
            }
        });
        self.carry_out(changes)
    }
}

fn earlier(a: Option<WallTime>, b: Option<WallTime>) -> Option<WallTime> {
    a.into_iter().chain(b).min()
}

/// How much of a limit is used, as people read it.
pub(super) fn amount(reached: Reached) -> String {
    let (used, max) = (reached.full.used, reached.full.max);
    match reached.limit {
        LimitKind::Bytes => format!("{} of {}", bytes(used), bytes(max)),
        LimitKind::Age => {
            let [used, max] = [used, max].map(Duration::from_micros);
            format!("{} of {}", span(used), span(max))
        }
    }
}

/// A number of bytes, as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// A time, in its largest two units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_people_read_them() {
        let shown = [0, 999, 1_500, 2_000_000, 1_000_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.5 kB", "2.0 MB", "1.0 GB"]);
        let shown = [5, 65, 3_700, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(shown, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
