//! Tables that change under their maps, and columns that are looked up: what people do to an app in its maintenance,
//! while everything else happens, too.
//!
//! Somebody adds, drops, renames and retypes columns of either app, or empties a table, while its map runs, is paused,
//! catches up, is copied or is stopped. Somebody else mends it: takes it back, does the same in the other app, or edits the
//! map; and resumes it, also before it is mended. The engine crashes at any moment, and the apps do.
//!
//! What must be so is in [`truth`]. At the end what was asked for is mended, what was set aside is tried again, and both
//! sides are equal under the maps as they are then; where no log tells of a difference (a column that came or went, a
//! table that was emptied) a comparison repairs it first, and everything else has to be equal before that.

mod found;
mod people;
mod tables;
mod truth;

use crate::executor::{Executor, Random, SimEnv};
use crate::oracle::Oracle;
use crate::world::{MAPS, outage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tables::{Declared, LEFT, Tables};
use tandem_connectors::memory::{Call, MemoryApp, Reaction};
use tandem_core::connect::Connector;
use tandem_core::lifecycle::{Action, Phase};
use tandem_core::{MapName, Value, WallTime};
use tandem_engine::disk::SimulatedDisk;
use tandem_engine::env::Env;
use tandem_engine::journal::Settings;
use tandem_engine::store::memory::MemoryStore;
use tandem_engine::{Engine, Rejected, Setup, Snapshot, StartError, Tuning};
use truth::Truth;

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) steps: u64,
    /// Chances per thousand steps.
    pub(crate) users: u64,
    pub(crate) operators: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    /// How often somebody changes a table, and how often in all.
    pub(crate) changes: u64,
    pub(crate) changes_max: u32,
    /// Orders refer to customers by what the right app calls them.
    pub(crate) looks_up: bool,
    /// No foreign key says that a customer must be there.
    pub(crate) dangles: bool,
    /// Maps are run with an initial sync, and stopped and run again.
    pub(crate) copies: bool,
    /// Tables are emptied.
    pub(crate) truncates: bool,
}

impl Weather {
    /// Nothing happens by itself.
    pub(crate) const CALM: Self = Self {
        steps: 0,
        users: 0,
        operators: 0,
        crashes: 0,
        faults: 0,
        changes: 0,
        changes_max: 0,
        looks_up: false,
        dangles: false,
        copies: false,
        truncates: false,
    };
}

/// What somebody was told.
enum Answer {
    /// Of an action.
    Acted(&'static str, MapName, Result<(), Rejected>),
    /// Of a map that was to be declared so.
    Edited(usize, Declared, Result<(), Rejected>),
}

pub(crate) struct Reshaped {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    env: SimEnv,
    executor: Executor,
    disk: SimulatedDisk,
    store: MemoryStore,
    apps: [MemoryApp; 2],
    engine: Option<Engine>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// A map that is being edited: nobody knows yet whether it is.
    editing: Option<(usize, Declared)>,
    tables: [Tables; 3],
    weather: Weather,
    changes_left: u32,
    next_value: i64,
    truth: Truth,
    oracle: Oracle,
    tracing: bool,
}

impl Reshaped {
    pub(crate) fn new(seed: u64, weather: Weather, tracing: bool) -> Self {
        let apps = [MemoryApp::new(), MemoryApp::new()];
        let mut random = Random::new(seed);
        let mut tables = MAPS.map(|name| Tables::new(name, random.chance(300), weather.looks_up));
        let serial = tables[0].sides[1][0].name.clone();
        let customer = ["id", if weather.looks_up { &serial } else { "id" }];
        for table in &tables {
            table.create([&apps[0], &apps[1]], (!weather.dangles).then_some(customer));
        }
        tables[1].declared.lookup = weather.looks_up.then_some(serial);
        apps[1].record_history();
        apps[0].set_batch(1 + random.below(8) as usize, 1 + random.below(4) as usize);
        let env = SimEnv::new(seed);
        let mut world = Self {
            seed,
            random,
            executor: Executor::new(env.clone()),
            env,
            disk: SimulatedDisk::new(seed),
            store: MemoryStore::default(),
            apps,
            engine: None,
            answers: Arc::default(),
            editing: None,
            tables,
            weather,
            changes_left: weather.changes_max,
            next_value: 0,
            truth: Truth::default(),
            oracle: Oracle::default(),
            tracing,
        };
        // What is read in windows may be written twice, in its place.
        world.oracle.expect_windows();
        for _ in 0..if weather.copies { 6 } else { 0 } {
            world.user();
        }
        world.start();
        world.ask("run", Action::Run { initial_sync: weather.copies }, MAPS.map(MapName::from).to_vec());
        // What goes before its table is captured, nobody tells us of.
        world.until("every map has begun", |world| {
            let snapshot = world.snapshot();
            let begun = |phase: Phase| {
                !matches!(
                    phase,
                    Phase::NotRunning
                        | Phase::Initializing(
                            tandem_core::lifecycle::Initializing::Entering
                                | tandem_core::lifecycle::Initializing::EnteringToCopy
                        )
                )
            };
            snapshot.maps.len() == 3 && snapshot.maps.iter().all(|view| begun(view.state.phase))
        });
        world
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            eprintln!("{:?} {}", self.env.now(), text());
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.engine.as_ref().map(Engine::snapshot).unwrap_or_default()
    }

    pub(crate) fn phase(&self, map: &str) -> Option<Phase> {
        let snapshot = self.snapshot();
        let view = snapshot.maps.iter().find(|view| view.map.name.as_str() == map)?;
        Some(view.state.phase)
    }

    fn setup(&self, edited: Option<&(usize, Declared)>) -> Setup {
        let names = ["left", "right"];
        let maps = self.tables.iter().enumerate().map(|(place, tables)| {
            let edited = edited.filter(|(edited, _)| *edited == place);
            tables.map(edited.map_or(&tables.declared, |(_, declared)| declared))
        });
        Setup {
            rules: Vec::new(),
            tell: Arc::new(tandem_engine::TellNobody),
            data_dir: "unused".into(),
            apps: names
                .into_iter()
                .zip(&self.apps)
                .map(|(name, app)| (name.into(), Arc::new(app.clone()) as Arc<dyn Connector>))
                .collect(),
            maps: maps.collect(),
            limits: BTreeMap::new(),
            hold_source: BTreeSet::new(),
            env: Arc::new(self.env.clone()),
        }
    }

    fn begin(&self, edited: Option<&(usize, Declared)>) -> Result<Engine, StartError> {
        let journal = Settings { segment_bytes: 600 + self.seed % 3000, frame_bytes: 200, ahead_bytes: 300 };
        let keep_applied_bytes = if self.seed % 3 == 1 { 1 << 30 } else { 0 };
        let chunk_rows = 1 + (self.seed / 7 % 3) as usize;
        let pulse = Duration::from_secs(1);
        let tuning = Tuning { pulse, keep_applied_bytes, chunk_rows, journal, ..Tuning::default() };
        let (disk, store) = (Arc::new(self.disk.clone()), Arc::new(self.store.clone()));
        Engine::start_simulated(self.setup(edited), disk, store, tuning)
    }

    /// Starts the engine on what the disk and the store have. A map that was just being edited may be edited already.
    fn start(&mut self) {
        if let Some((place, declared)) = self.editing.take()
            && let Ok(engine) = self.begin(Some(&(place, declared.clone())))
        {
            self.tables[place].declare(declared);
            self.engine = Some(engine);
            return;
        }
        let seed = self.seed;
        let engine = self.begin(None);
        self.engine =
            Some(engine.unwrap_or_else(|error| panic!("seed {seed}: the engine does not start: {error}")));
    }

    pub(crate) fn crash(&mut self) {
        self.hear();
        let power = self.random.chance(500);
        self.say(|| format!("CRASH power={power}"));
        self.executor.kill();
        self.engine = None;
        if power {
            self.disk.crash();
        }
        self.start();
    }

    /// What was answered by now.
    fn hear(&mut self) {
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        for answer in answers {
            match answer {
                Answer::Acted(verb, map, answer) => {
                    self.say(|| format!("{verb} {map}: {answer:?}"));
                    self.oracle.answered(verb, &map, &answer);
                }
                Answer::Edited(place, declared, answer) => {
                    self.say(|| format!("edited {}: {answer:?}", self.tables[place].name));
                    self.editing = None;
                    if answer.is_ok() {
                        self.tables[place].declare(declared);
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        let weather = self.weather;
        if self.random.chance(weather.users) {
            self.user();
        }
        if self.random.chance(weather.operators) {
            self.operator();
        }
        if self.changes_left > 0 && self.random.chance(weather.changes) {
            self.changes_left -= 1;
            self.change_a_table();
        }
        if self.random.chance(weather.faults) {
            self.fault();
        }
        if self.random.chance(weather.crashes) {
            self.crash();
        }
        self.turn();
    }

    fn fault(&mut self) {
        let side = self.random.below(2) as usize;
        let app = self.apps[side].clone();
        let nth = 1 + self.random.below(3);
        let what = match self.random.below(10) {
            drawn @ 0..=3 => outage(&app, drawn),
            4 => {
                self.apps[1].script_nth(Call::Apply, nth, Reaction::LoseReply);
                "loses a reply"
            }
            5 => {
                self.apps[1].script_nth(Call::Apply, nth, Reaction::LoseRequest);
                "loses a request"
            }
            6 => {
                self.apps[0].forget_acknowledged(1 + self.random.below(5) as usize);
                "rewinds"
            }
            7 => {
                app.script_nth(Call::Describe, nth, Reaction::LoseReply);
                "loses what it said of its tables"
            }
            8 => {
                self.apps[0].script_nth(Call::Read, nth, Reaction::Slow(40));
                "reads slowly"
            }
            _ => {
                app.heal();
                "heals"
            }
        };
        self.say(|| format!("{} {what}", ["left", "right"][side]));
    }

    pub(crate) fn turn(&mut self) {
        if !self.executor.step(&mut self.random) {
            self.apps[0].set_time(WallTime(self.env.wall().0));
            self.env.advance();
        }
        self.hear();
        self.look();
    }

    pub(crate) fn rest(&mut self, turns: u64) {
        (0..turns).for_each(|_| self.turn());
    }

    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&Reshaped) -> bool) {
        for _ in 0..50_000 {
            if so(self) {
                return;
            }
            self.turn();
        }
        panic!("seed {}: it never came to this: {what}\n{:#?}", self.seed, self.snapshot());
    }

    /// Everything is mended and nothing more happens: both sides must become equal.
    pub(crate) fn settle(&mut self) {
        self.say(|| "SETTLE".to_owned());
        self.hear();
        for app in &self.apps {
            app.come_back();
            app.heal();
        }
        // A table that has changed is noticed with the next record of it.
        self.last_records();
        if self.weather.dangles {
            self.make_customers();
        }
        self.rest(50);
        // Others may look up what was not mapped when its map was resumed: they come to no rest without.
        self.look_for_columns();
        self.come_to_rest();
        self.look_for_columns();
        self.come_to_rest();
        self.equal_but_for_what_no_log_tells();
        if self.weather.dangles {
            self.refer_anew();
            self.come_to_rest();
        }
        for _ in 0..20 {
            let differing = self.differing();
            if differing.is_empty() {
                return;
            }
            for map in differing {
                self.repair(map);
            }
            self.come_to_rest();
        }
        panic!("seed {}: a repair does not make {:?} equal", self.seed, self.differing());
    }

    /// What is mapped by its name is found when the map is resumed.
    fn look_for_columns(&mut self) {
        for (place, name) in MAPS.iter().enumerate() {
            if self.tables[place].declared.pairs.is_none() {
                self.ask("pause", Action::Pause, vec![(*name).into()]);
            }
        }
        self.rest(50);
    }

    /// Lets time pass, and a person mend what they are told of, until nothing is left to do.
    fn come_to_rest(&mut self) {
        let (mut asked, mut quiet_since, mut times) = (Duration::ZERO, self.env.now(), 0);
        for turn in 0..200_000u64 {
            let now = self.env.now();
            if !self.is_settled() {
                quiet_since = now;
            } else if now > quiet_since + Duration::from_secs(3) {
                return;
            }
            if turn == 0 || now > asked + Duration::from_secs(3) {
                asked = now;
                self.attend(times);
                times += 1;
            }
            self.turn();
        }
        panic!("seed {}: it never came to rest: {:#?}", self.seed, self.snapshot());
    }

    fn is_settled(&self) -> bool {
        let snapshot = self.snapshot();
        self.apps[LEFT].retained() == 0
            && self.editing.is_none()
            && snapshot.maps.iter().all(|view| {
                view.state.phase == Phase::Running
                    && view.state.holds.is_empty()
                    && view.flows.iter().all(|flow| flow.queue.records == 0)
                    && view.retries.is_empty()
                    && view.errors.total() == 0
            })
    }

    /// One more record in each table.
    fn last_records(&mut self) {
        for place in 0..3 {
            let row = self.row(place, 99, 99);
            let table = crate::world::table(self.tables[place].name);
            let written = self.apps[LEFT].transaction(|t| t.insert(&table, row));
            written.unwrap_or_else(|fault| panic!("seed {}: nobody else uses this key: {fault}", self.seed));
            self.truth.refers(99, Value::Int(99));
        }
    }
}

/// One schedule.
pub(crate) fn schedule(seed: u64, tracing: bool) {
    let storm = seed / 2 % 4;
    let weather = Weather {
        steps: 150 + seed % 5 * 100,
        users: 100,
        operators: 30,
        crashes: 4 * storm,
        faults: 10 * storm,
        changes: if seed % 8 == 7 { 0 } else { 12 },
        changes_max: 1 + (seed % 6) as u32,
        looks_up: !seed.is_multiple_of(3),
        dangles: seed % 12 == 5,
        copies: seed % 5 == 2,
        truncates: seed % 5 == 3,
    };
    let mut world = Reshaped::new(seed, weather, tracing);
    for _ in 0..weather.steps {
        world.step();
    }
    world.settle();
}
