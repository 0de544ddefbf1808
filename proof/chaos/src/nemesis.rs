//! What goes wrong, and when: kills, fail points, servers that go away, cut connections, and people who pause and
//! resume while all that happens.
//!
//! A run is a row of lives of the engine. Each is started with a fail point armed or none, something is done in it
//! (a round of pausing and resuming, a server taken away, or nothing but load), and it ends at its fail point or
//! at a random moment. A request that a death interrupts is asked again of the next life until it holds, as a
//! person would do.

use crate::engine::{Answer, Death, Engine, Home};
use crate::maps::{find, holds, is, shown, with_children};
use crate::points::{Need, need, passes_max};
use crate::random::Random;
use crate::report::say;
use crate::world::{PAIRS, RETRIED, Side, World, tables};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tandem_engine::FailPoint;

/// How long anything may take that must come to an end.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a table is locked. A lane is patient for 10 s from the first statement that gave up waiting, and lets
/// the last one give up, too: some 16 s until the others go on.
const LOCKED_FOR: Duration = Duration::from_secs(24);
/// How long before its end it is looked whether others go on.
const LOCK_LOOK: Duration = Duration::from_secs(4);
/// How long an armed life may take to reach its fail point before it is killed.
const ARMED_FOR: Duration = Duration::from_secs(8);

/// How much is to go wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Deaths of the engine, fail points included.
    pub(crate) kills: u64,
    /// Deaths at fail points.
    pub(crate) fail_points: u64,
    /// Rounds of pausing and resuming.
    pub(crate) rounds: u64,
    /// Queues that are preserved and retried.
    pub(crate) left_behind: u64,
    /// Kills of each server.
    pub(crate) server_kills: u64,
    /// Cuts of all connections of a server.
    pub(crate) cuts: u64,
    /// Tables of the destination that somebody locks for longer than a lane is patient.
    pub(crate) locks: u64,
    /// When to stop although not all has gone wrong yet.
    pub(crate) at_most: Duration,
}

/// What has gone wrong.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    pub(crate) kills: u64,
    pub(crate) fail_points: BTreeMap<String, u64>,
    /// Points that were armed and not reached before the time of their life was over.
    pub(crate) missed: BTreeMap<String, u64>,
    pub(crate) rounds: u64,
    /// Rounds in which the engine died between the pause and the resume, or while one of them was asked for.
    pub(crate) broken_rounds: u64,
    /// Queues that were preserved, and retried.
    pub(crate) left_behind: u64,
    /// Rounds whose pause was asked for while a server was away.
    pub(crate) paused_while_away: u64,
    pub(crate) source_kills: u64,
    pub(crate) destination_kills: u64,
    pub(crate) cuts: u64,
    pub(crate) locks: u64,
    /// The slowest start until the API answered.
    pub(crate) slowest_start: Duration,
    /// What was seen on the way and must not be: paused maps that were written to, maps that a lock stopped which
    /// is not on their table.
    pub(crate) broken_promises: Vec<String>,
}

impl Damage {
    pub(crate) fn at_fail_points(&self) -> u64 {
        self.fail_points.values().sum()
    }
}

/// The one who does it.
pub(crate) struct Nemesis<'a> {
    world: &'a mut World,
    home: &'a Home,
    random: Random,
    plan: Plan,
    damage: Damage,
    engine: Option<Engine>,
    armed: Option<FailPoint>,
    /// Points that have not had their turn yet.
    points: Vec<FailPoint>,
    deadline: Instant,
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(world: &'a mut World, home: &'a Home, random: Random, plan: Plan) -> Self {
        let deadline = Instant::now() + plan.at_most;
        let (damage, points) = (Damage::default(), Vec::new());
        Self { world, home, random, plan, damage, engine: None, armed: None, points, deadline }
    }

    /// Runs every map, without a copy: the tables are empty.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.live(None)?;
        let names = tables();
        let mut args = vec!["map", "run"];
        args.extend(names.iter().map(String::as_str));
        args.extend(["--no-initial-sync", "--wait"]);
        let answer = self.engine()?.ask(&args)?;
        ensure!(answer.is_ok(), "the maps cannot be run: {answer}");
        Ok(())
    }

    /// Does what the plan says, and leaves an engine that lives, unless it met something that must not be.
    pub(crate) fn rage(mut self) -> (Damage, Result<Engine>) {
        let outcome = self.lives();
        let engine = self.engine.take().context("an engine was started last");
        (self.damage, outcome.and(engine))
    }

    fn lives(&mut self) -> Result<()> {
        let mut shown = 0;
        while !self.is_satisfied() && Instant::now() < self.deadline {
            self.life()?;
            let damage = &self.damage;
            if damage.kills >= shown + 25 {
                shown = damage.kills;
                say(&format!(
                    "{shown} kills, {} at fail points, {} rounds",
                    damage.at_fail_points(),
                    damage.rounds
                ));
            }
        }
        // The last life is to live.
        self.next_life(None)
    }

    fn is_satisfied(&self) -> bool {
        let (plan, damage) = (&self.plan, &self.damage);
        damage.kills >= plan.kills
            && damage.at_fail_points() >= plan.fail_points
            && damage.rounds >= plan.rounds
            && damage.left_behind >= plan.left_behind
            && damage.source_kills >= plan.server_kills
            && damage.destination_kills >= plan.server_kills
            && damage.cuts >= plan.cuts
            && damage.locks >= plan.locks
    }

    fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().context("an engine lives")
    }

    /// One life of the engine, from after its start to its end.
    fn life(&mut self) -> Result<()> {
        let began = Instant::now();
        match self.armed.map(need) {
            Some(need) => {
                match need {
                    Need::Load => {}
                    Need::Pause => self.round(None, Duration::ZERO, None)?,
                    Need::Resume => self.round(None, Duration::from_millis(400), None)?,
                    Need::Split => {
                        let pair = self.random.within(0, PAIRS as u64);
                        self.round(Some(vec![format!("child_{pair}")]), Duration::from_secs(3), None)?;
                    }
                    Need::LongPause => self.round(None, Duration::from_secs(6), None)?,
                    Need::Errors => self.leave_behind()?,
                }
                // The round may have seen the end of this life, and of others.
                if self.armed.is_some() {
                    let left = ARMED_FOR.saturating_sub(began.elapsed());
                    self.engine()?.ends_within(left);
                    if self.engine()?.is_alive()
                        && let Some(point) = self.armed
                    {
                        *self.damage.missed.entry(point.name().to_owned()).or_default() += 1;
                    }
                }
            }
            None => self.trouble()?,
        }
        let next = self.next_point();
        self.next_life(next)
    }

    /// What goes wrong in a life without a fail point. It ends at a random moment, which may be in the middle.
    fn trouble(&mut self) -> Result<()> {
        let (plan, damage) = (self.plan, &self.damage);
        let mut kinds = Vec::new();
        kinds.extend((damage.rounds < plan.rounds).then_some(1));
        kinds.extend((damage.left_behind < plan.left_behind).then_some(6));
        kinds.extend((damage.source_kills < plan.server_kills).then_some(2));
        kinds.extend((damage.destination_kills < plan.server_kills).then_some(3));
        kinds.extend((damage.cuts < plan.cuts).then_some(4));
        kinds.extend((damage.locks < plan.locks).then_some(5));
        // What is left to be done, and sometimes nothing but load.
        let place = self.random.within(0, kinds.len() as u64 + 1) as usize;
        let kind = kinds.get(place).copied().unwrap_or_default();
        if kind == 5 {
            // This life has to last.
            return self.lock();
        }
        let doom = self.random.millis(100, 3_000);
        self.engine()?.doom(doom);
        let down = self.random.millis(0, 1_500);
        std::thread::sleep(self.random.millis(0, 800));
        match kind {
            6 => self.leave_behind()?,
            1 => {
                let hold = self.random.millis(0, 2_500);
                self.round(None, hold, None)?;
            }
            2 => self.take_away(Side::Source, down)?,
            3 => self.take_away(Side::Destination, down)?,
            4 => {
                let side = if self.random.percent(50) { Side::Source } else { Side::Destination };
                self.world.cut(side);
                self.damage.cuts += 1;
            }
            _ => {}
        }
        self.engine()?.ends_within(doom + Duration::from_secs(1));
        Ok(())
    }

    /// Locks a table of the destination until its map is given a lane of its own, and looks that the maps of other
    /// pairs have gone on.
    fn lock(&mut self) -> Result<()> {
        let pair = self.random.within(0, PAIRS as u64);
        let locked = if self.random.percent(50) { format!("parent_{pair}") } else { format!("child_{pair}") };
        let own = format!("_{pair}");
        let others: Vec<String> = tables().into_iter().filter(|table| !table.ends_with(&own)).collect();
        let hold = self.world.lock(&locked, LOCKED_FOR);
        std::thread::sleep(LOCKED_FOR - LOCK_LOOK);
        let before = self.world.effects(&others)?;
        std::thread::sleep(LOCK_LOOK / 2);
        if self.world.effects(&others)? == before {
            self.damage.broken_promises.push(format!("a lock on {locked} stopped all others"));
        }
        hold.join().map_err(|_| anyhow!("the lock on {locked} could not be held"))?;
        self.damage.locks += 1;
        let doom = self.random.millis(0, 3_000);
        self.engine()?.ends_within(doom);
        Ok(())
    }

    /// Kills a server and brings it back. Half of the time somebody pauses maps meanwhile, which must not wait for it.
    fn take_away(&mut self, side: Side, down: Duration) -> Result<()> {
        match side {
            Side::Source => self.damage.source_kills += 1,
            Side::Destination => self.damage.destination_kills += 1,
        }
        if self.random.percent(50) {
            return self.round(None, down, Some(side));
        }
        self.world.kill(side);
        std::thread::sleep(down);
        self.world.recover(side);
        Ok(())
    }

    /// The point that the next life is armed with, if it is.
    fn next_point(&mut self) -> Option<FailPoint> {
        let left = self.plan.kills.saturating_sub(self.damage.kills).max(1);
        let wanted = self.plan.fail_points.saturating_sub(self.damage.at_fail_points());
        // Half as many again as are wanted, since not every one is reached.
        if !self.random.percent((150 * wanted / left).clamp(15, 85)) {
            return None;
        }
        if self.points.is_empty() {
            self.points = FailPoint::ALL.to_vec();
            self.random.shuffle(&mut self.points);
        }
        self.points.pop()
    }

    /// Ends the life that is and begins the next.
    fn next_life(&mut self, point: Option<FailPoint>) -> Result<()> {
        if let Some(engine) = self.engine.take() {
            let death = engine.bury()?;
            self.count(&death);
        }
        self.live(point)
    }

    fn count(&mut self, death: &Death) {
        self.damage.kills += 1;
        if let Death::FailPoint(point) = death {
            *self.damage.fail_points.entry(point.clone()).or_default() += 1;
        }
        self.armed = None;
    }

    fn live(&mut self, point: Option<FailPoint>) -> Result<()> {
        self.armed = point;
        loop {
            let armed = self
                .armed
                .map(|point| format!("{}@{}", point.name(), self.random.within(1, passes_max(point) + 1)));
            let began = Instant::now();
            let (engine, answers) = self.home.start(armed.as_deref())?;
            if answers {
                self.damage.slowest_start = self.damage.slowest_start.max(began.elapsed());
                self.engine = Some(engine);
                return Ok(());
            }
            // A point on the way to its start: the next life has none.
            let death = engine.bury()?;
            self.count(&death);
        }
    }

    /// If the engine has died, begins the next life, unarmed. Returns whether it had.
    fn revive(&mut self) -> Result<bool> {
        if self.engine()?.is_alive() {
            return Ok(false);
        }
        self.next_life(None)?;
        Ok(true)
    }

    /// Pauses maps, waits, looks that nothing of them was written meanwhile, and resumes them. `away` is a server that
    /// is gone while the pause is asked for and comes back when it holds.
    fn round(&mut self, chosen: Option<Vec<String>>, hold: Duration, away: Option<Side>) -> Result<()> {
        let before = self.damage.kills;
        let chosen = chosen.unwrap_or_else(|| self.some_maps());
        if let Some(side) = away {
            self.world.kill(side);
        }
        self.pause(&chosen)?;
        if let Some(side) = away {
            self.damage.paused_while_away += 1;
            self.world.recover(side);
        }
        let paused = with_children(&chosen);
        let effects = self.world.effects(&paused)?;
        std::thread::sleep(hold);
        self.revive()?;
        let later = self.world.effects(&paused)?;
        if later != effects {
            let what = format!("{} effects in {paused:?}, which were paused", later - effects);
            self.damage.broken_promises.push(what);
        }
        self.resume(&chosen)?;
        self.damage.rounds += 1;
        self.damage.broken_rounds += u64::from(self.damage.kills > before);
        Ok(())
    }

    /// Pauses a map, takes it to live without its queue, and retries that a moment later.
    fn leave_behind(&mut self) -> Result<()> {
        let [parent, _] = RETRIED;
        let chosen = vec![parent.to_owned()];
        self.pause(&chosen)?;
        std::thread::sleep(self.random.millis(50, 700));
        self.ask_until("resume", &["--mode", "skip-preserve"], &chosen, |maps| {
            let waiting = chosen.iter().filter(|name| is(maps, name, "paused")).cloned().collect();
            (waiting, with_children(&chosen).iter().all(|name| is(maps, name, "running")))
        })?;
        std::thread::sleep(self.random.millis(0, 700));
        for map in RETRIED {
            self.revive()?;
            // Refused while the map is on its way: the end of the run asks until nothing is left.
            self.engine()?.ask(&["error", "retry", map, "--all"])?;
        }
        self.damage.left_behind += 1;
        Ok(())
    }

    fn some_maps(&mut self) -> Vec<String> {
        let mut names = tables();
        self.random.shuffle(&mut names);
        let count = self.random.within(1, 6) as usize;
        names.truncate(count);
        names
    }

    /// Asks until every one of the maps is paused, and so are their children.
    fn pause(&mut self, chosen: &[String]) -> Result<()> {
        self.ask_until("pause", &[], chosen, |maps| {
            let unasked =
                |name: &String| find(maps, name).is_some_and(|map| !holds(map).any(|kind| kind == "user"));
            let unasked = chosen.iter().filter(|name| unasked(name)).cloned().collect();
            let there = with_children(chosen).iter().all(|name| is(maps, name, "paused"));
            (unasked, there)
        })
    }

    /// Asks until none of the maps is paused any more; half of the time, until they are live again.
    fn resume(&mut self, chosen: &[String]) -> Result<()> {
        let to_the_end = self.random.percent(50) || self.armed.is_some();
        self.ask_until("resume", &[], chosen, |maps| {
            let waiting = chosen.iter().filter(|name| is(maps, name, "paused")).cloned().collect();
            let there = with_children(chosen)
                .iter()
                .all(|name| is(maps, name, "running") || (!to_the_end && is(maps, name, "resuming")));
            (waiting, there)
        })
    }

    /// Asks an action of the maps that still need it, of as many lives as it takes, until all are where they should
    /// be.
    fn ask_until(
        &mut self,
        action: &str,
        how: &[&str],
        chosen: &[String],
        look: impl Fn(&[Json]) -> (Vec<String>, bool),
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut last: Option<Answer> = None;
        loop {
            self.revive()?;
            let maps = self.engine()?.maps()?;
            if let Some(maps) = &maps {
                let (needy, there) = look(maps);
                if there {
                    return Ok(());
                }
                if !needy.is_empty() {
                    let mut args = vec!["map", action];
                    args.extend(needy.iter().map(String::as_str));
                    args.extend(how);
                    args.extend(["--wait", "--timeout", "15s"]);
                    last = Some(self.engine()?.ask(&args)?);
                    continue_or_wait(last.as_ref());
                }
            }
            if Instant::now() >= deadline {
                let last = last.map(|answer| answer.to_string()).unwrap_or_default();
                bail!(
                    "{action} of {chosen:?} did not come to an end: {last}\n{}",
                    shown(&maps.unwrap_or_default())
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A refusal by a state that is on its way to another is asked again a moment later.
fn continue_or_wait(answer: Option<&Answer>) {
    if answer.is_some_and(|answer| !answer.is_ok()) {
        std::thread::sleep(Duration::from_millis(50));
    }
}
