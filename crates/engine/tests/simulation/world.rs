//! Two apps with parents and children, an engine between them, and everything that can happen to them.

mod people;

use crate::executor::{Executor, Random, SimEnv};
use crate::oracle::Oracle;
use crate::told::Told;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tandem_connectors::memory::{Call, MemoryApp, Reaction, TableSpec};
use tandem_core::connect::Connector;
use tandem_core::lifecycle::{Action, Initializing, Phase, ResumeMode};
use tandem_core::limits::Limits;
use tandem_core::map::{Columns, Deletes, Direction, OnLeave, Side, TableMap};
use tandem_core::{MapName, Seq, TableName, Value, WallTime};
use tandem_engine::disk::SimulatedDisk;
use tandem_engine::journal::Settings;
use tandem_engine::store::memory::MemoryStore;
use tandem_engine::store::{ActivityFrom, Store};
use tandem_engine::{Engine, ErrorVerb, Rejected, Setup, Tuning};

/// Maps: a parent, its child, and one beside them.
pub(crate) const MAPS: [&str; 3] = ["customers", "orders", "items"];

/// How much may happen, in chances per thousand steps.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) steps: u64,
    pub(crate) users: u64,
    pub(crate) operators: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    /// Users delete parents with their children too, also while only the child is paused.
    pub(crate) parent_deletes: bool,
    /// Users give customers without orders other numbers. Only where they delete parents.
    pub(crate) renumbers: bool,
    /// The destination loses its last transactions at times, as after a failover.
    pub(crate) losses: bool,
    /// Operators skip queues and discard them.
    pub(crate) skips: bool,
    /// The source refuses deletes of paused maps.
    pub(crate) guards: bool,
    /// Operators skip queues and preserve them, and try errors again.
    pub(crate) preserves: bool,
    /// Operators delete errors.
    pub(crate) deletes_errors: bool,
    /// What the maps may have queued, and lose beyond.
    pub(crate) limits: Option<Limits>,
    /// The source is not read while a map is full, instead of refusing writes.
    pub(crate) holds: bool,
    /// Operators cap catch-ups, resume maps with their parents, and plan when pauses end.
    pub(crate) caps: bool,
    /// No two customers have the same value, and users give those of deleted ones to others.
    pub(crate) unique: bool,
    /// Both sides have records when the maps are run, and the right ones are out of date.
    pub(crate) copies: bool,
    /// Operators refresh errors instead of trying them again.
    pub(crate) refreshes: bool,
    /// Operators compare tables. Nobody has touched the destination, so no record may be found to differ.
    pub(crate) verifies: u64,
    /// The journal keeps what is applied for a while, as it does where nobody tunes it.
    pub(crate) keeps: bool,
    /// How many records of a map may wait for others, before the map waits as a whole.
    pub(crate) put_off_max: u64,
}

impl Weather {
    /// Nothing happens by itself.
    pub(crate) fn calm() -> Self {
        Self {
            steps: 0,
            users: 0,
            operators: 0,
            crashes: 0,
            faults: 0,
            parent_deletes: true,
            renumbers: false,
            losses: false,
            skips: false,
            guards: false,
            preserves: false,
            deletes_errors: false,
            limits: None,
            holds: false,
            caps: false,
            unique: false,
            copies: false,
            refreshes: false,
            verifies: 0,
            keeps: false,
            put_off_max: 1_000,
        }
    }
}

/// How many transactions the destination may lose at once.
const LOST_MAX: usize = 30;

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) env: SimEnv,
    executor: Executor,
    disk: SimulatedDisk,
    store: MemoryStore,
    pub(crate) left: MemoryApp,
    pub(crate) right: MemoryApp,
    pub(crate) engine: Option<Engine>,
    /// The engine's first start is a task like any other; so is each request.
    answers: Arc<Mutex<Vec<Answer>>>,
    pub(crate) oracle: Oracle,
    tracing: bool,
    weather: Weather,
    /// Whether limits are in force: from when on every map has begun.
    limited: bool,
    next_value: i64,
    /// Values of customers that were deleted, for others to have. What is changed from is not among them: two records
    /// that wait and have exchanged their values would hold each other up for ever.
    freed: Vec<Value>,
    pub(crate) told: Told,
}

/// What was asked of which map, and what came of it.
type Answer = (&'static str, MapName, Result<(), Rejected>);

/// An app loses its connections, goes away, or comes back, which it does as often as the other two together.
pub(crate) fn outage(app: &MemoryApp, drawn: u64) -> &'static str {
    match drawn {
        0 => {
            app.break_connections();
            "connections break"
        }
        1 => {
            app.go_down();
            "goes down"
        }
        _ => {
            app.come_back();
            "comes back"
        }
    }
}

pub(crate) fn table(name: &str) -> TableName {
    TableName { schema: None, name: name.into() }
}

fn spec(name: &str) -> TableSpec {
    match name {
        "orders" => TableSpec::new(table(name), &["id", "customer", "v"], &["id"]).references(
            &["customer"],
            &table("customers"),
            &["id"],
        ),
        other => TableSpec::new(table(other), &["id", "v", "note"], &["id"]).large("note"),
    }
}

fn whole_rows(name: &str) -> TableSpec {
    TableSpec::new(table(name), &["id", "v", "note"], &["id"])
}

fn map(name: &str, deletes: Deletes) -> TableMap {
    let side = |app: &str| Side { app: app.into(), table: table(name), key: vec!["id".into()], filter: None };
    TableMap {
        name: name.into(),
        direction: Direction::ToRight,
        left: side("left"),
        right: side("right"),
        columns: Columns::SameNames,
        depends_on: if name == "orders" { vec!["customers".into()] } else { vec![] },
        deletes,
        conflict: Default::default(),
        side_effects: Default::default(),
        on_leave: OnLeave::Keep,
        initial_sync: Default::default(),
    }
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, tracing: bool) -> Self {
        let (left, right) = (MemoryApp::new(), MemoryApp::new());
        for name in MAPS {
            for app in [&left, &right] {
                // A part of a record that comes late may find its value taken by then: that is an error, and rightly so.
                let whole = weather.unique && name == "customers";
                let spec = if whole { whole_rows(name) } else { spec(name) };
                // No two items have the same value: it moves between them.
                let unique = whole || (weather.copies && name == "items");
                app.create_table(if unique { spec.unique(&["v"]) } else { spec });
            }
        }
        right.record_history();
        let mut random = Random::new(seed);
        left.set_batch(1 + random.below(8) as usize, 1 + random.below(4) as usize);
        let env = SimEnv::new(seed);
        let mut world = Self {
            seed,
            executor: Executor::new(env.clone()),
            env,
            random,
            disk: SimulatedDisk::new(seed),
            store: MemoryStore::default(),
            left,
            right,
            engine: None,
            answers: Arc::default(),
            oracle: Oracle::default(),
            tracing,
            weather,
            limited: false,
            next_value: 0,
            freed: Vec::new(),
            told: Told::default(),
        };
        if world.weather.refreshes {
            world.oracle.expect_windows();
        }
        world.start();
        world
    }

    /// Runs every map with an initial sync, over what both sides have.
    pub(crate) fn copy_all(&mut self) {
        self.oracle.expect_windows();
        let rows = 1 + self.random.below(8) as i64;
        for (app, stale) in [(self.left.clone(), false), (self.right.clone(), true)] {
            let mut values: Vec<i64> = (0..rows).map(|id| -1 - id).collect();
            if stale {
                values.rotate_left(1 + self.random.below(3) as usize % rows as usize);
            }
            let filled = app.transaction(|t| {
                for id in 0..rows {
                    if stale && self.random.chance(400) {
                        continue;
                    }
                    let value = Value::Int(values[id as usize]);
                    let row = |note: &str| vec![Value::Int(id), value.clone(), Value::from(note)];
                    t.insert(&table("customers"), row(if stale { "stale" } else { "long" }));
                    t.insert(&table("items"), row("long"));
                    t.insert(&table("orders"), vec![Value::Int(id), Value::Int(id), value.clone()]);
                }
            });
            filled.expect("nobody else is there");
        }
        self.ask("run", Action::Run { initial_sync: true }, MAPS.map(MapName::from).to_vec());
        // What goes before its map has begun, nobody tells us of.
        self.until("every map is being copied", |world| {
            let snapshot = world.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
            !snapshot.maps.is_empty()
                && snapshot.maps.iter().all(|view| match view.state.phase {
                    Phase::Initializing(at) => at == Initializing::Copying,
                    Phase::NotRunning => false,
                    Phase::Running | Phase::Paused | Phase::Resuming => true,
                })
        });
    }

    /// Runs every map while both sides are empty, and therefore equal.
    pub(crate) fn run_all(&mut self) {
        self.ask("run", Action::Run { initial_sync: false }, MAPS.map(MapName::from).to_vec());
        for _ in 0..100_000 {
            let snapshot = self.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
            if snapshot.maps.iter().all(|view| view.state.phase == Phase::Running)
                && !snapshot.maps.is_empty()
            {
                let flows = snapshot.maps.iter().flat_map(|map| &map.flows);
                let begun = flows.map(|flow| flow.applied_seq).max().unwrap_or_default();
                self.oracle.begin(begun);
                self.first_marks();
                if self.weather.limits.is_some() {
                    self.limited = true;
                    self.crash();
                }
                return;
            }
            self.turn();
            self.check();
        }
        panic!("seed {}: the maps do not run", self.seed);
    }

    /// A destination that loses even our first watermarks has lost too much to go on by itself: it keeps those.
    fn first_marks(&mut self) {
        if !self.weather.losses {
            return;
        }
        for name in MAPS {
            let last = if name == "orders" { Value::Int(98) } else { Value::from("first") };
            let row = match name {
                "orders" => vec![Value::Int(98), last, Value::Int(0)],
                _ => vec![Value::Int(98), Value::Int(0), last],
            };
            self.left.transaction(|t| t.insert(&table(name), row)).expect("nobody else uses this key");
        }
        self.until("every map has a watermark", |world| {
            MAPS.iter().all(|name| !world.right.rows(&table(name)).is_empty())
        });
        self.right.keep_commits(LOST_MAX);
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        if self.tracing {
            let at = tandem_engine::env::Env::now(&self.env);
            eprintln!("{at:?} {}", text());
        }
    }

    fn limits(&self) -> BTreeMap<MapName, Limits> {
        let limits = self.weather.limits.as_ref().filter(|_| self.limited);
        MAPS.iter().filter_map(|name| Some(((*name).into(), limits.cloned()?))).collect()
    }

    /// Starts the engine on what the disk and the store have.
    fn start(&mut self) {
        let deletes = if self.weather.guards { Deletes::Reject } else { Deletes::Queue };
        let apps = [("left", &self.left), ("right", &self.right)];
        let setup = Setup {
            rules: Vec::new(),
            tell: Arc::new(self.told.clone()),
            data_dir: "unused".into(),
            apps: apps
                .into_iter()
                .map(|(name, app)| (name.into(), Arc::new(app.clone()) as Arc<dyn Connector>))
                .collect(),
            maps: MAPS.map(|name| map(name, deletes)).to_vec(),
            limits: self.limits(),
            hold_source: if self.weather.holds { BTreeSet::from(["left".into()]) } else { BTreeSet::new() },
            env: Arc::new(self.env.clone()),
        };
        let journal = Settings { segment_bytes: 600 + self.seed % 3000, frame_bytes: 200, ahead_bytes: 300 };
        let keep_applied_bytes = if self.weather.losses || self.weather.keeps { 1 << 30 } else { 0 };
        let chunk_rows = 1 + (self.seed / 7 % 3) as usize;
        let put_off_max = self.weather.put_off_max;
        let tuning =
            Tuning { pulse: Duration::from_secs(1), keep_applied_bytes, chunk_rows, put_off_max, journal };
        let engine =
            Engine::start_simulated(setup, Arc::new(self.disk.clone()), Arc::new(self.store.clone()), tuning);
        self.engine = Some(
            engine.unwrap_or_else(|error| panic!("seed {}: the engine does not start: {error}", self.seed)),
        );
    }

    /// The process dies, and perhaps the machine with it; then it starts again.
    pub(crate) fn crash(&mut self) {
        let power = self.random.chance(500);
        self.say(|| format!("CRASH power={power}"));
        self.executor.kill();
        self.engine = None;
        if power {
            self.disk.crash();
        }
        self.start();
    }

    /// One step of the schedule.
    pub(crate) fn step(&mut self) {
        let weather = self.weather.clone();
        if self.random.chance(weather.users) {
            self.user();
        }
        if self.random.chance(weather.operators) {
            self.operator();
        }
        if weather.verifies > 0 && self.random.chance(weather.verifies) {
            let map = MAPS[self.random.below(3) as usize];
            let repairs = self.random.chance(500);
            self.verify(map, repairs);
        }
        if self.random.chance(weather.faults) {
            self.fault();
        }
        if self.random.chance(weather.crashes) {
            self.crash();
        }
        self.turn();
        self.check();
    }

    /// Lets one task run, or time pass.
    pub(crate) fn turn(&mut self) {
        if !self.executor.step(&mut self.random) {
            self.left.set_time(WallTime(tandem_engine::env::Env::wall(&self.env).0));
            self.env.advance();
        }
    }

    fn check(&mut self) {
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        for (verb, map, answer) in answers {
            self.say(|| format!("{verb} {map}: {answer:?}"));
            self.oracle.answered(verb, &map, &answer);
        }
        if self.weather.verifies > 0 {
            self.no_false_difference();
        }
        if let Some(engine) = &self.engine {
            let effects = self.right.effects_since(self.oracle.seen());
            for effect in effects.iter().filter(|_| self.tracing) {
                eprintln!(
                    "    -> commit {} lane {} seq {} {:?} {} {:?}",
                    effect.commit, effect.lane, effect.seq, effect.verb, effect.table, effect.key
                );
            }
            self.oracle.look(self.seed, engine, &self.right);
        }
    }

    fn fault(&mut self) {
        let (app, side) = if self.random.chance(500) { (&self.left, "left") } else { (&self.right, "right") };
        let app = app.clone();
        if self.weather.losses && self.random.chance(150) {
            let most = 1 + self.random.below(LOST_MAX as u64) as usize;
            self.lose(most);
        }
        let kinds = match &self.weather {
            weather if weather.copies => 13,
            weather if weather.guards => 11,
            _ => 9,
        };
        let what = match self.random.below(kinds) {
            11 => {
                let call = if self.random.chance(500) { Call::Read } else { Call::Mark };
                self.left.script_nth(call, 1 + self.random.below(2), Reaction::LoseReply);
                "loses what was read, or the reply to a barrier"
            }
            12 => {
                self.left.script_nth(Call::Read, 1, Reaction::Slow(40));
                "reads slowly"
            }
            9 => {
                self.left.script_nth(Call::Arm, 1, Reaction::LoseReply);
                "loses the reply to a guard that is armed"
            }
            10 => {
                self.left.script_nth(Call::Disarm, 1, Reaction::LoseRequest);
                "loses the request to disarm a guard"
            }
            drawn @ 0..=3 => outage(&app, drawn),
            4 => {
                self.right.script_nth(Call::Apply, 1 + self.random.below(3), Reaction::LoseReply);
                "loses a reply"
            }
            5 => {
                self.right.script_nth(Call::Apply, 1 + self.random.below(3), Reaction::LoseRequest);
                "loses a request"
            }
            6 => {
                self.left.forget_acknowledged(1 + self.random.below(5) as usize);
                "rewinds"
            }
            7 => {
                app.script_nth(Call::Apply, 1 + self.random.below(3), Reaction::Hold);
                "holds a call"
            }
            _ => {
                app.heal();
                "heals"
            }
        };
        self.say(|| format!("{side} {what}"));
    }

    /// The destination loses its last transactions.
    pub(crate) fn lose(&mut self, most: usize) {
        let lost = self.right.step_back(most);
        self.say(|| format!("right loses {lost} transactions"));
        self.oracle.forget(&self.right);
    }

    /// Everything is mended, every map runs, and nothing more happens: both sides must become equal.
    pub(crate) fn settle(&mut self) {
        self.say(|| "SETTLE".to_owned());
        for app in [&self.left, &self.right] {
            app.come_back();
            app.heal();
        }
        // One more change, so that a source that forgot what was acknowledged is told again.
        let last = vec![Value::Int(99), Value::Int(-99), Value::from("last")];
        self.left.transaction(|t| t.insert(&table("items"), last)).expect("nobody else uses this key");
        let (mut asked, mut quiet_since, mut times) = (Duration::ZERO, Duration::ZERO, 0);
        for turn in 0..200_000u64 {
            let now = tandem_engine::env::Env::now(&self.env);
            // What is shown is at most some pulses old: it has to stay so.
            if !self.is_settled(times >= 5) {
                quiet_since = now;
            } else if now > quiet_since + Duration::from_secs(3) {
                let queued_before = self.oracle.begun();
                let head = self.engine.as_ref().map_or(Seq::ZERO, |engine| {
                    let snapshot = engine.snapshot();
                    let heads = snapshot.maps.iter().flat_map(|map| &map.flows).map(|flow| flow.head_seq);
                    heads.max().unwrap_or_default()
                });
                self.oracle.nothing_got_past_guards(self.seed, &self.store);
                // The barriers of guards and windows have Seqs, too, which nobody applies.
                if !self.weather.guards
                    && !self.weather.copies
                    && !self.weather.refreshes
                    && self.weather.verifies == 0
                {
                    self.oracle.conserved(self.seed, (queued_before, head), &self.right, &self.store);
                }
                let may_lose = self.weather.limits.as_ref().is_some_and(Limits::may_lose_data);
                if self.weather.skips || self.weather.deletes_errors || may_lose {
                    return;
                }
                return self.oracle.settled(self.seed, &self.left, &self.right, &self.store);
            }
            if turn == 0 || now > asked + Duration::from_secs(3) {
                asked = now;
                self.resume_all(times);
                times += 1;
                for app in [&self.left, &self.right] {
                    app.heal();
                }
            }
            self.turn();
            self.check();
        }
        let shown = self.engine.as_ref().map(|engine| engine.snapshot());
        panic!("seed {}: it never came to rest: {shown:#?}", self.seed);
    }

    /// Whether every error can be resolved by trying it again.
    fn must_resolve(&self) -> bool {
        self.weather.preserves && !self.weather.deletes_errors
    }

    fn resume_all(&mut self, times: u32) {
        let Some(engine) = self.engine.clone() else { return };
        for view in &engine.snapshot().maps {
            // What was deleted may be what others cannot do without: those are asked for only some times.
            // What only waits for another map is to go by itself.
            if view.errors.trouble() > 0 && view.retries.is_empty() && (self.must_resolve() || times < 4) {
                self.ask_of_errors(ErrorVerb::Retry, view.map.name.clone(), false);
            }
            let action = match view.state.phase {
                Phase::NotRunning => ("run", Action::Run { initial_sync: false }),
                Phase::Paused => ("resume", Action::Resume(ResumeMode::CatchUp)),
                Phase::Running | Phase::Resuming | Phase::Initializing(_) => continue,
            };
            // What was never run has nothing to be equal in.
            if action.0 == "run" && !self.oracle.was_run(&view.map.name) {
                continue;
            }
            self.ask(action.0, action.1, vec![view.map.name.clone()]);
        }
    }

    fn is_settled(&self, tried: bool) -> bool {
        let Some(engine) = &self.engine else { return false };
        let snapshot = engine.snapshot();
        self.left.retained() == 0
            && self.left.guards().is_empty()
            && snapshot.maps.iter().all(|view| {
                let idle = view.flows.iter().all(|flow| flow.queue.records == 0)
                    && view.retries.is_empty()
                    && view.errors.for_maps == 0
                    && (view.errors.total() == 0
                        || !self.weather.preserves
                        || (tried && !self.must_resolve()));
                match view.state.phase {
                    Phase::NotRunning => !self.oracle.was_run(&view.map.name),
                    Phase::Running => idle && view.state.holds.is_empty(),
                    Phase::Paused | Phase::Resuming | Phase::Initializing(_) => false,
                }
            })
    }

    /// The events in the activity log of a map, the newest first.
    pub(crate) fn events(&self, map: &str) -> Vec<String> {
        let entries = self.store.activity(Some(&map.into()), ActivityFrom::Newest, 1_000);
        entries.expect("it is in memory").into_iter().map(|entry| entry.event).collect()
    }

    /// Somebody pauses a map.
    pub(crate) fn pause(&mut self, map: &str) {
        self.ask("pause", Action::Pause, vec![map.into()]);
        self.rest(20);
    }

    /// Somebody resumes a map.
    pub(crate) fn resume(&mut self, map: &str) {
        self.ask("resume", Action::Resume(ResumeMode::CatchUp), vec![map.into()]);
    }

    /// Lets some turns pass.
    pub(crate) fn rest(&mut self, turns: u64) {
        for _ in 0..turns {
            self.turn();
            self.check();
        }
    }

    /// Lets turns pass until something is so.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&World) -> bool) {
        for _ in 0..20_000 {
            if so(self) {
                return;
            }
            self.rest(1);
        }
        panic!("seed {}: it never came to this: {what}", self.seed);
    }

    /// Lets turns pass until a map is shown in a phase.
    pub(crate) fn until_phase(&mut self, map: &str, phase: Phase) {
        self.until(phase.name(), |world| {
            let snapshot = world.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
            snapshot.maps.iter().any(|view| view.map.name.as_str() == map && view.state.phase == phase)
        });
    }
}
