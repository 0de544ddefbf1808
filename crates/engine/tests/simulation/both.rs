//! Maps that go both ways: users on both sides, and everything that can happen to an engine between them.
//!
//! The truth is kept beside the engine: which version each app's record was made in sight of, as the users of that app
//! saw it. At the end both sides are equal; a record on which no conflict was noted has the last change of all, and one
//! with conflicts the last change of one of its sides; and conflicts are noted on exactly those records of which two
//! changes did not know each other.

use crate::executor::{Executor, Random, SimEnv};
use crate::world::{outage, table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_connectors::memory::{Call, MemoryApp, Reaction, TableSpec};
use tandem_core::connect::Connector;
use tandem_core::lifecycle::{Action, Initializing, Phase, ResumeMode};
use tandem_core::map::{Columns, Deletes, Direction, InitialSync, OnLeave, Side, TableMap};
use tandem_core::two_way::{ConflictPolicy, SideEffects, SideName};
use tandem_core::{Fault, FaultClass, Value, WallTime, WriteOp};
use tandem_engine::disk::SimulatedDisk;
use tandem_engine::journal::Settings;
use tandem_engine::store::Store;
use tandem_engine::store::memory::MemoryStore;
use tandem_engine::{Engine, ErrorPick, ErrorRequest, ErrorVerb, Setup, Tuning, VerifyRequest};

const MAP: &str = "items";
/// Records that users fight for.
const KEYS: i64 = 4;

/// What may happen.
#[derive(Debug, Clone, Copy)]
struct Weather {
    policy: ConflictPolicy,
    steps: u64,
    users: u64,
    operators: u64,
    crashes: u64,
    faults: u64,
    deletes: bool,
    /// Both sides have records when the map is run, and they are copied.
    copies: bool,
    /// Whose values stay then, where both have a record.
    master: SideName,
    /// People go on while the tables are put into capture, too.
    early: bool,
    /// Somebody compares both tables at times.
    verifies: u64,
    /// Apps refuse what we write to some record for a while, and what they have refused is tried again at the end.
    refusals: bool,
}

/// A change by a user.
#[derive(Debug, Clone)]
struct Version {
    side: usize,
    key: i64,
    value: Option<i64>,
    /// The versions that the record had gone through on that side, this one not included.
    knew: BTreeSet<usize>,
    /// It was there before the map was run: the master's counts, and nothing is in conflict with it.
    from_before: bool,
}

struct Both {
    seed: u64,
    random: Random,
    env: SimEnv,
    executor: Executor,
    disk: SimulatedDisk,
    store: MemoryStore,
    apps: [MemoryApp; 2],
    engine: Option<Engine>,
    weather: Weather,
    tracing: bool,
    versions: Vec<Version>,
    /// What each side's record has gone through, and what it is.
    sight: [BTreeMap<i64, BTreeSet<usize>>; 2],
    rows: [BTreeMap<i64, i64>; 2],
    clocks: [i64; 2],
}

impl Both {
    fn new(seed: u64, weather: Weather, tracing: bool) -> Self {
        let apps = [MemoryApp::new(), MemoryApp::new()];
        let mut random = Random::new(seed);
        for app in &apps {
            app.create_table(TableSpec::new(table(MAP), &["id", "v"], &["id"]));
            app.set_batch(1 + random.below(8) as usize, 1 + random.below(4) as usize);
        }
        let env = SimEnv::new(seed);
        let mut both = Self {
            seed,
            executor: Executor::new(env.clone()),
            env,
            random,
            disk: SimulatedDisk::new(seed),
            store: MemoryStore::default(),
            apps,
            engine: None,
            weather,
            tracing,
            versions: Vec::new(),
            sight: Default::default(),
            rows: Default::default(),
            clocks: [0, 0],
        };
        if weather.copies {
            both.fill();
        }
        both.start();
        both.ask(Action::Run { initial_sync: weather.copies });
        if weather.early {
            both.until("it was asked", |both| both.phase() != Some(Phase::NotRunning));
            return both;
        }
        // What is changed before a table is captured is no change, but what is copied.
        let copying = |phase| matches!(phase, Phase::Running | Phase::Initializing(Initializing::Copying));
        both.until("both tables are captured", |both| both.phase().is_some_and(copying));
        both
    }

    /// Records that are there before anything begins, the master's last.
    fn fill(&mut self) {
        let master = usize::from(self.weather.master == SideName::Right);
        for side in [1 - master, master] {
            for key in 0..KEYS {
                if self.random.chance(500) {
                    continue;
                }
                let (id, value) = (self.versions.len(), self.versions.len() as i64 + 1_000);
                let row = vec![Value::Int(key), Value::Int(value)];
                self.apps[side].transaction(|t| t.insert(&table(MAP), row)).expect("the app is empty");
                let knew = self.sight[1 - master].get(&key).cloned().unwrap_or_default();
                self.versions.push(Version { side, key, value: Some(value), knew, from_before: true });
                self.sight[side].entry(key).or_default().insert(id);
                self.rows[side].insert(key, value);
            }
        }
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            eprintln!("{:?} {}", tandem_engine::env::Env::now(&self.env), text());
        }
    }

    fn start(&mut self) {
        let side =
            |app: &str| Side { app: app.into(), table: table(MAP), key: vec!["id".into()], filter: None };
        let map = TableMap {
            name: MAP.into(),
            direction: Direction::Both,
            left: side("left"),
            right: side("right"),
            columns: Columns::SameNames,
            depends_on: vec![],
            deletes: Deletes::Queue,
            conflict: self.weather.policy,
            side_effects: SideEffects::Sync,
            on_leave: OnLeave::Keep,
            initial_sync: InitialSync { wanted: true, master: self.weather.master },
        };
        let names = ["left", "right"];
        let setup = Setup {
            rules: Vec::new(),
            tell: Arc::new(tandem_engine::TellNobody),
            data_dir: "unused".into(),
            apps: names
                .into_iter()
                .zip(&self.apps)
                .map(|(name, app)| (name.into(), Arc::new(app.clone()) as Arc<dyn Connector>))
                .collect(),
            maps: vec![map],
            limits: BTreeMap::new(),
            hold_source: BTreeSet::new(),
            env: Arc::new(self.env.clone()),
        };
        let journal = Settings { segment_bytes: 300 + self.seed % 2000, frame_bytes: 200, ahead_bytes: 300 };
        let keep_applied_bytes = if self.weather.verifies > 0 && self.seed % 3 == 1 { 1 << 30 } else { 0 };
        let tuning =
            Tuning { pulse: Duration::from_secs(1), keep_applied_bytes, journal, ..Tuning::default() };
        let engine =
            Engine::start_simulated(setup, Arc::new(self.disk.clone()), Arc::new(self.store.clone()), tuning);
        self.engine = Some(engine.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed)));
    }

    fn crash(&mut self) {
        let power = self.random.chance(500);
        self.say(|| format!("CRASH power={power}"));
        self.executor.kill();
        self.engine = None;
        if power {
            self.disk.crash();
        }
        self.start();
    }

    fn phase(&self) -> Option<Phase> {
        let snapshot = self.engine.as_ref()?.snapshot();
        Some(snapshot.maps.first()?.state.phase)
    }

    fn ask(&mut self, action: Action) {
        let Some(engine) = self.engine.clone() else { return };
        self.say(|| format!("asks for {action:?}"));
        let request = tandem_engine::Request::new(action, vec![MAP.into()], "somebody");
        let tracing = self.tracing;
        self.executor.spawn(Box::pin(async move {
            let answer = engine.act(request).await.map(drop);
            if tracing {
                eprintln!("{answer:?}");
            }
        }));
    }

    fn turn(&mut self) {
        if !self.executor.step(&mut self.random) {
            let now = tandem_engine::env::Env::wall(&self.env).0;
            for (app, clock) in self.apps.iter().zip(self.clocks) {
                app.set_time(WallTime(now + clock));
            }
            self.env.advance();
        }
        self.look();
        if let Some(engine) = &self.engine {
            crate::oracle::balanced(self.seed, engine);
        }
        // What is on its way, lost a conflict or moves while it is looked at was never reported as a difference.
        if let Some(seen) = self.engine.as_ref().and_then(|engine| engine.verification(&MAP.into()).ok()) {
            assert_eq!(seen.counts.differing(), 0, "seed {}: {seen:#?}", self.seed);
        }
    }

    fn until(&mut self, what: &str, so: impl Fn(&Both) -> bool) {
        for _ in 0..100_000 {
            if so(self) {
                return;
            }
            self.turn();
        }
        let shown = self.engine.as_ref().map(|engine| engine.snapshot());
        panic!("seed {}: it never came to this: {what}\n{shown:#?}", self.seed);
    }

    /// What an app has now.
    fn rows_of(&self, side: usize) -> BTreeMap<i64, i64> {
        let int = |value: &Value| match value {
            Value::Int(number) => *number,
            _ => unreachable!("all columns are numbers"),
        };
        let rows = self.apps[side].rows(&table(MAP));
        rows.iter().map(|row| (int(&row[0]), int(&row[1]))).collect()
    }

    /// Somebody compares both tables.
    fn verify(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        let side = if self.random.chance(500) { SideName::Left } else { SideName::Right };
        let repair = self.random.chance(500).then_some(side);
        let (actor, reason) = ("somebody".to_owned(), String::new());
        let request = VerifyRequest { map: MAP.into(), repair, seen: None, limit: 100, actor, reason };
        // It may be refused: the map may be in any state.
        self.executor.spawn(Box::pin(async move { drop(engine.verify(request).await) }));
    }

    /// Takes note of what the engine has written: users of that side have it in sight from now on.
    fn look(&mut self) {
        for side in 0..2 {
            let now = self.rows_of(side);
            for key in 0..KEYS {
                let (before, after) = (self.rows[side].get(&key), now.get(&key));
                if before == after {
                    continue;
                }
                self.say(|| format!("    {} {key} becomes {after:?}", ["left", "right"][side]));
                let written = self.versions.iter().rposition(|version| {
                    version.key == key
                        && version.value == after.copied()
                        && (after.is_some() || version.side != side)
                });
                if let Some(id) = written {
                    let sight = self.sight[side].entry(key).or_default();
                    sight.extend(self.versions[id].knew.iter().copied());
                    sight.insert(id);
                }
            }
            self.rows[side] = now;
        }
    }

    fn user(&mut self) {
        let side = self.random.below(2) as usize;
        let mut keys: Vec<i64> =
            (0..1 + self.random.below(2)).map(|_| self.random.below(KEYS as u64) as i64).collect();
        keys.dedup();
        keys.sort_unstable();
        keys.dedup();
        let (app, table) = (self.apps[side].clone(), table(MAP));
        let mut made = Vec::new();
        let deletes = self.weather.deletes && self.random.chance(300);
        let value = self.versions.len() as i64 + 1_000;
        let rows = self.rows[side].clone();
        let result = app.transaction(|t| {
            for (n, key) in keys.iter().enumerate() {
                let value = value + n as i64;
                let id = Value::Int(*key);
                match (rows.contains_key(key), deletes) {
                    (true, true) => t.delete(&table, vec![id]),
                    (true, false) => t.update(&table, vec![id], vec![("v", Value::Int(value))]),
                    (false, true) => continue,
                    (false, false) => t.insert(&table, vec![id, Value::Int(value)]),
                }
                made.push((*key, (!deletes).then_some(value)));
            }
        });
        result.expect("users do what their app allows");
        for (key, value) in made {
            let id = self.versions.len();
            let knew = self.sight[side].get(&key).cloned().unwrap_or_default();
            self.say(|| format!("USER {id} {} {key} := {value:?}", ["left", "right"][side]));
            self.versions.push(Version { side, key, value, knew, from_before: false });
            self.sight[side].entry(key).or_default().insert(id);
            match value {
                Some(value) => drop(self.rows[side].insert(key, value)),
                None => drop(self.rows[side].remove(&key)),
            }
        }
    }

    fn fault(&mut self) {
        let side = self.random.below(2) as usize;
        let app = self.apps[side].clone();
        let nth = 1 + self.random.below(3);
        let what = match self.random.below(if self.weather.refusals { 12 } else { 9 }) {
            drawn @ 0..=3 => outage(&app, drawn),
            4 => {
                app.script_nth(Call::Apply, nth, Reaction::LoseReply);
                "loses a reply"
            }
            5 => {
                app.script_nth(Call::Apply, nth, Reaction::LoseRequest);
                "loses a request"
            }
            6 => {
                app.forget_acknowledged(1 + self.random.below(5) as usize);
                "rewinds"
            }
            7 => {
                self.clocks[side] = self.random.below(40_000_000) as i64 - 20_000_000;
                "has another clock"
            }
            8 => {
                app.heal();
                "heals"
            }
            _ => {
                let key = Value::Int(self.random.below(KEYS as u64) as i64);
                let fault = Fault::new(FaultClass::Application, "write", "not this one");
                app.refuse_writes(move |write| {
                    let named = match &write.op {
                        WriteOp::Upsert(values) => values.first(),
                        WriteOp::Patch { key, .. }
                        | WriteOp::Rekey { old: key, .. }
                        | WriteOp::Delete(key) => key.values().first(),
                    };
                    (named == Some(&key)).then(|| fault.clone())
                });
                "refuses a record"
            }
        };
        self.say(|| format!("{} {what}", ["left", "right"][side]));
    }

    fn step(&mut self) {
        if self.random.chance(self.weather.users) {
            self.user();
        }
        if self.random.chance(self.weather.operators) {
            match self.phase() {
                Some(Phase::Initializing(_)) | None => {}
                Some(Phase::Running | Phase::Resuming) => self.ask(Action::Pause),
                Some(Phase::Paused) => self.ask(Action::Resume(ResumeMode::CatchUp)),
                _ => {}
            }
        }
        if self.weather.verifies > 0 && self.random.chance(self.weather.verifies) {
            self.verify();
        }
        if self.random.chance(self.weather.faults) {
            self.fault();
        }
        if self.random.chance(self.weather.crashes) {
            self.crash();
        }
        self.turn();
    }

    /// Everything is mended, and nothing more happens.
    fn settle(&mut self) {
        self.say(|| "SETTLE".to_owned());
        for app in &self.apps {
            app.come_back();
            app.heal();
        }
        // One more change on each side, so that an app that forgot what was acknowledged is told again.
        for (app, key) in self.apps.iter().zip(KEYS..) {
            let row = vec![Value::Int(key), Value::Int(0)];
            app.transaction(|t| t.insert(&table(MAP), row)).expect("nobody else uses this key");
        }
        let (mut asked, mut quiet_since) = (Duration::ZERO, Duration::ZERO);
        for turn in 0..200_000u64 {
            let now = tandem_engine::env::Env::now(&self.env);
            if !self.is_settled() {
                quiet_since = now;
            } else if now > quiet_since + Duration::from_secs(5) {
                return self.check();
            }
            if turn == 0 || now > asked + Duration::from_secs(3) {
                asked = now;
                for app in &self.apps {
                    app.come_back();
                    app.heal();
                }
                if self.phase() == Some(Phase::Paused) {
                    self.ask(Action::Resume(ResumeMode::CatchUp));
                }
                if self.weather.refusals && self.has_errors() {
                    self.retry();
                }
            }
            self.turn();
        }
        let shown = self.engine.as_ref().map(|engine| engine.snapshot());
        panic!("seed {}: it never came to rest: {shown:#?}", self.seed);
    }

    fn is_settled(&self) -> bool {
        let Some(engine) = &self.engine else { return false };
        let snapshot = engine.snapshot();
        self.apps.iter().all(|app| app.retained() == 0)
            && !self.store.any_corrections()
            && !(self.weather.refusals && self.has_errors())
            && snapshot.maps.iter().all(|view| {
                view.state.phase == Phase::Running && view.flows.iter().all(|flow| flow.queue.records == 0)
            })
    }

    fn has_errors(&self) -> bool {
        let counts = self.store.error_counts().expect("it is in memory");
        counts.values().flatten().any(|(status, errors)| status.is_unresolved() && *errors > 0)
    }

    /// Somebody has all errors tried again.
    fn retry(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        let request = ErrorRequest {
            verb: ErrorVerb::Retry,
            map: MAP.into(),
            pick: Some(ErrorPick::default()),
            kept: Vec::new(),
            refresh: false,
            rate: None,
            actor: "somebody".into(),
            reason: String::new(),
            expected: None,
        };
        // It may be refused: they may be tried already.
        self.executor.spawn(Box::pin(async move { drop(engine.act_on_errors(request).await) }));
    }

    fn check(&self) {
        let seed = self.seed;
        let conflicts = self.store.conflicts(None, None, usize::MAX).expect("it is in memory");
        let noted: BTreeSet<String> =
            conflicts.iter().flat_map(|(_, conflict)| conflict.key.clone()).collect();
        let [left, right] = [0, 1].map(|side| self.rows_of(side));
        for key in 0..KEYS {
            let of_key: Vec<usize> =
                (0..self.versions.len()).filter(|id| self.versions[*id].key == key).collect();
            let strangers = |one: usize, other: usize| {
                let (a, b) = (&self.versions[one], &self.versions[other]);
                let both_new = !a.from_before && !b.from_before;
                both_new && a.side != b.side && !a.knew.contains(&other) && !b.knew.contains(&one)
            };
            let fought = of_key.iter().any(|one| of_key.iter().any(|other| strangers(*one, *other)));
            let is_noted = noted.contains(&key.to_string());
            // What was refused while its map was copied is read again, and nobody knows of whom it was.
            let is_told = !(self.weather.copies && self.weather.refusals);
            if !self.weather.deletes && !self.weather.early && is_told {
                assert_eq!(
                    is_noted, fought,
                    "seed {seed}: a conflict on {key} was noted, or not, against the truth"
                );
            }
            if self.weather.policy == ConflictPolicy::Park && is_noted {
                continue;
            }
            assert_eq!(left.get(&key), right.get(&key), "seed {seed}: the sides differ on {key}");
            let Some(last) = of_key.last().filter(|_| !self.weather.early) else { continue };
            let lasts: Vec<Option<i64>> = match is_noted {
                false => vec![self.versions[*last].value],
                true => {
                    let of_side = |side| of_key.iter().rev().find(|id| self.versions[**id].side == side);
                    [0, 1].into_iter().filter_map(of_side).map(|id| self.versions[*id].value).collect()
                }
            };
            assert!(
                lasts.contains(&left.get(&key).copied()),
                "seed {seed}: {key} ended as {:?}, and the last changes were {lasts:?}",
                left.get(&key)
            );
        }
        let errors = self.store.error_counts().expect("it is in memory");
        if self.weather.policy != ConflictPolicy::Park && !self.weather.refusals {
            assert!(errors.values().all(BTreeMap::is_empty), "seed {seed}: {errors:?}");
        }
    }
}

/// One schedule of a two-way map.
pub(crate) fn schedule(seed: u64, tracing: bool) {
    let policy = ConflictPolicy::ALL[(seed % 4) as usize];
    let storm = seed / 4 % 4;
    let weather = Weather {
        policy,
        steps: 100 + seed % 5 * 80,
        users: 40 + seed % 3 * 60,
        operators: if seed.is_multiple_of(3) { 15 } else { 0 },
        crashes: 5 * storm,
        faults: 12 * storm,
        deletes: seed / 16 % 2 == 1,
        copies: seed / 32 % 2 == 1,
        master: if seed / 64 % 2 == 1 { SideName::Right } else { SideName::Left },
        early: seed / 32 % 4 == 3,
        // What is parked is an error, too, and is not tried again before somebody has decided.
        refusals: seed % 7 == 3 && policy != ConflictPolicy::Park,
        verifies: if seed % 4 == 2 || seed % 5 == 4 { 80 } else { 0 },
    };
    let mut both = Both::new(seed, weather, tracing);
    for _ in 0..weather.steps {
        both.step();
    }
    both.settle();
}
