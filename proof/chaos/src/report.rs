//! What a run says about itself.

use crate::nemesis::{Damage, Plan};
use crate::oracle::Verdict;
use crate::workload::Done;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// The verdict of a run that found something.
pub(crate) const FAILED: &str = "FAILED";

/// Everything about a run.
pub(crate) struct Report<'a> {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) damage: &'a Damage,
    pub(crate) done: &'a Done,
    pub(crate) verdict: &'a Verdict,
    pub(crate) healed: &'a Result<Duration>,
    pub(crate) messages: BTreeMap<String, u64>,
}

impl Report<'_> {
    /// Whether as much went wrong as was planned, and nothing came of it. A run that breaks too little proves nothing.
    pub(crate) fn is_good(&self, plan: &Plan) -> bool {
        let damage = self.damage;
        self.verdict.is_clean()
            && self.healed.is_ok()
            && damage.broken_promises.is_empty()
            && damage.kills >= plan.kills
            && damage.at_fail_points() >= plan.fail_points
            && damage.rounds >= plan.rounds
            && damage.left_behind >= plan.left_behind
            && damage.cuts >= plan.cuts
            && damage.locks >= plan.locks
            && damage.source_kills >= plan.server_kills
            && damage.destination_kills >= plan.server_kills
            && self.verdict.effects.1 > 0
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (damage, done, verdict) = (self.damage, self.done, self.verdict);
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "seed                 {} ({} s)", self.seed, self.took.as_secs())?;
        writeln!(
            f,
            "engine killed        {} times, {} of them at {} fail points",
            damage.kills,
            damage.at_fail_points(),
            damage.fail_points.len()
        )?;
        writeln!(f, "fail points          {}", list(&damage.fail_points))?;
        if !damage.missed.is_empty() {
            writeln!(f, "armed, not reached   {}", list(&damage.missed))?;
        }
        writeln!(f, "slowest start        {} ms until the API answered", damage.slowest_start.as_millis())?;
        writeln!(
            f,
            "source killed        {} times, destination {}",
            damage.source_kills, damage.destination_kills
        )?;
        writeln!(f, "connections cut      {} times, tables locked {} times", damage.cuts, damage.locks)?;
        writeln!(
            f,
            "pause and resume     {} rounds, in {} of them the engine died, {} were begun while a server was away",
            damage.rounds, damage.broken_rounds, damage.paused_while_away
        )?;
        writeln!(f, "queues preserved     {} times, and retried", damage.left_behind)?;
        writeln!(
            f,
            "source transactions  {} committed, {} acknowledged, {} without an answer",
            verdict.transactions,
            done.acknowledged.len(),
            done.unanswered
        )?;
        writeln!(
            f,
            "effects              {} at the source, {} at the destination",
            verdict.effects.0, verdict.effects.1
        )?;
        for (message, count) in self.messages.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  engine: {count:>6} x {message}")?;
        }
        match self.healed {
            Ok(time) => writeln!(f, "healed               {:.1} s after the last kill", time.as_secs_f32())?,
            Err(error) => writeln!(f, "NOT HEALED           {error:#}")?,
        }
        for broken in &damage.broken_promises {
            writeln!(f, "BROKEN PROMISE       {broken}")?;
        }
        for (kind, (count, shown)) in &verdict.findings {
            writeln!(f, "FOUND {count:>6} x {kind}")?;
            shown.iter().try_for_each(|one| writeln!(f, "    {one}"))?;
        }
        let clean = verdict.is_clean() && self.healed.is_ok() && damage.broken_promises.is_empty();
        write!(
            f,
            "verdict              {}",
            if clean { "nothing lost, nothing doubled, order kept" } else { FAILED }
        )
    }
}

/// Says something to the person. One who does not listen any more is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
