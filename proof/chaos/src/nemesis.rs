//! What goes wrong, and when: kills, fail points, servers that go away, cut connections, and people who pause and
//! resume while all that happens.
//!
//! A run is a row of lives of the engine. Each is started with a fail point armed or none, something is done in it
//! (a round of pausing and resuming, a server taken away, or nothing but load), and it ends at its fail point or
//! at a random moment. A request that a death interrupts is asked again of the next life until it holds, as a
//! person would do.

use crate::engine::{Answer, Death, Engine, Home};
use crate::random::Random;
use crate::report::say;
use crate::world::{Side, World, tables};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tandem_engine::FailPoint;

/// How long anything may take that must come to an end.
const PATIENCE: Duration = Duration::from_secs(90);
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
    /// Kills of each server.
    pub(crate) server_kills: u64,
    /// Cuts of all connections of a server.
    pub(crate) cuts: u64,
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
    /// Rounds whose pause was asked for while a server was away.
    pub(crate) paused_while_away: u64,
    pub(crate) source_kills: u64,
    pub(crate) destination_kills: u64,
    pub(crate) cuts: u64,
    /// The slowest start until the API answered.
    pub(crate) slowest_start: Duration,
    /// Effects that paused maps had.
    pub(crate) leaks: Vec<String>,
}

impl Damage {
    pub(crate) fn at_fail_points(&self) -> u64 {
        self.fail_points.values().sum()
    }
}

/// What has to be done for a fail point to be passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Load,
    Pause,
    Resume,
    /// A child that is paused while its parent loses records.
    Split,
    /// A queue that grows for some segments.
    LongPause,
}

fn need(point: FailPoint) -> Need {
    let name = point.name();
    match name.split_once('.').map_or(name, |(subject, _)| subject) {
        "pause" | "paused" | "let_go" => Need::Pause,
        "resume" | "caught_up" | "join" | "open" => Need::Resume,
        "split" => Need::Split,
        "shelf" => Need::LongPause,
        _ => Need::Load,
    }
}

/// How often a point is passed before it ends a life, at most: points under load are passed all the time.
fn passes_max(point: FailPoint) -> u64 {
    match point.name().split_once('.').map_or("", |(subject, _)| subject) {
        "journal" | "commit" => 60,
        "progress" | "segment" | "reclaim" | "shelf" => 5,
        _ => 1,
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
            && damage.source_kills >= plan.server_kills
            && damage.destination_kills >= plan.server_kills
            && damage.cuts >= plan.cuts
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
                        let pair = self.random.within(0, crate::world::PAIRS as u64);
                        self.round(Some(vec![format!("child_{pair}")]), Duration::from_secs(3), None)?;
                    }
                    Need::LongPause => self.round(None, Duration::from_secs(6), None)?,
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
        let doom = self.random.millis(100, 3_000);
        self.engine()?.doom(doom);
        let (plan, damage) = (self.plan, &self.damage);
        let mut kinds = Vec::new();
        kinds.extend((damage.rounds < plan.rounds).then_some(1));
        kinds.extend((damage.source_kills < plan.server_kills).then_some(2));
        kinds.extend((damage.destination_kills < plan.server_kills).then_some(3));
        kinds.extend((damage.cuts < plan.cuts).then_some(4));
        // What is left to be done, and sometimes nothing but load.
        let place = self.random.within(0, kinds.len() as u64 + 1) as usize;
        let kind = kinds.get(place).copied().unwrap_or_default();
        let down = self.random.millis(0, 1_500);
        std::thread::sleep(self.random.millis(0, 800));
        match kind {
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
            self.damage.leaks.push(format!("{} effects in {paused:?}", later - effects));
        }
        self.resume(&chosen)?;
        self.damage.rounds += 1;
        self.damage.broken_rounds += u64::from(self.damage.kills > before);
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
        self.ask_until("pause", chosen, |maps| {
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
        self.ask_until("resume", chosen, |maps| {
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

/// Maps, and those that pause with them.
fn with_children(chosen: &[String]) -> Vec<String> {
    let mut all = chosen.to_vec();
    all.extend(chosen.iter().filter_map(|name| Some(format!("child_{}", name.strip_prefix("parent_")?))));
    all.sort();
    all.dedup();
    all
}

fn text<'j>(map: &'j Json, field: &str) -> &'j str {
    map.get(field).and_then(Json::as_str).unwrap_or_default()
}

fn find<'j>(maps: &'j [Json], name: &str) -> Option<&'j Json> {
    maps.iter().find(|map| text(map, "name") == name)
}

fn is(maps: &[Json], name: &str, state: &str) -> bool {
    let pausing = |map: &Json| map.get("pausing").and_then(Json::as_bool).unwrap_or_default();
    find(maps, name).is_some_and(|map| text(map, "state") == state && !pausing(map))
}

fn holds(map: &Json) -> impl Iterator<Item = &str> {
    map.get("holds").and_then(Json::as_array).into_iter().flatten().map(|hold| text(hold, "kind"))
}

/// Maps in a few words each, for a person.
pub(crate) fn shown(maps: &[Json]) -> String {
    let line = |map: &Json| {
        let troubles = map.get("conditions").and_then(Json::as_array).into_iter().flatten();
        let troubles: Vec<String> = troubles
            .filter(|condition| condition.get("well").and_then(Json::as_bool) == Some(false))
            .map(|condition| format!("{}: {}", text(condition, "type"), text(condition, "reason")))
            .collect();
        let queued = map.pointer("/queue/records").and_then(Json::as_u64).unwrap_or_default();
        format!(
            "{} {} holds {:?} queued {queued} {}",
            text(map, "name"),
            text(map, "state"),
            holds(map).collect::<Vec<_>>(),
            troubles.join("; ")
        )
    };
    maps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Waits until both sides are equal, every map runs, and nothing is queued or set aside. An error says what is not.
pub(crate) fn heal(world: &World, engine: &Engine) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let maps = engine.maps()?.context("the API answers")?;
        let count = |map: &Json, pointer: &str| map.pointer(pointer).and_then(Json::as_u64);
        let at_rest = maps.iter().all(|map| {
            text(map, "state") == "running"
                && count(map, "/queue/records") == Some(0)
                && count(map, "/flows/0/errors") == Some(0)
        });
        if at_rest && maps.len() == tables().len() && equal(world) {
            return Ok(began.elapsed());
        }
        // What was set aside stays so: there is nothing to wait for.
        if maps.iter().any(|map| count(map, "/flows/0/errors") > Some(0)) {
            bail!("records were set aside:\n{}", shown(&maps));
        }
        if began.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?} it is not healed:\n{}", shown(&maps));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn equal(world: &World) -> bool {
    let sums = tables()
        .iter()
        .map(|table| format!("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY id), '')) FROM {table} t"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    world.sql(Side::Source, &sums) == world.sql(Side::Destination, &sums)
}
