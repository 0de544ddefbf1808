//! The door to the engine: the only thing that a server or a test holds.

mod accepting;
mod callers;
mod checking;
mod errors;
mod folder;
mod force;
mod logs;
mod lookups;
mod queue;
mod reloading;
mod shared;
mod trying;
mod verify;
mod windows;

pub use callers::{Credential, TOKEN_FILE};
pub use checking::check;
pub(crate) use checking::{Checked, check_maps};
pub use errors::{ErrorInFull, ErrorPage};
pub use logs::ActivityQuery;
pub use lookups::Found;
pub use queue::{QueueFilter, QueueQuery, RecordInFull};
pub use verify::{
    DIFFERENCES_MAX, Difference, DifferenceKind, Verification, VerifyCounts, VerifyRequest, VerifyStage,
};

use crate::access::Access;
use crate::declared::{reconcile_maps, reconcile_rules};
#[cfg(feature = "simulation")]
use crate::disk::Disk;
use crate::disk::RealDisk;
use crate::env::{Env, blocking, within};
use crate::history::{Recorded, test};
use crate::request::{Accepted, Blocker, Planned, Rejected, Request};
pub use crate::store::ActivityFrom;
use crate::store::sqlite::SqliteStore;
use crate::store::{EngineRecord, Mismatch, Record, Store};
#[cfg(feature = "simulation")]
use crate::supervisor::Tuning;
use crate::supervisor::{Command, Prepared, Supervisor, World, parents_along};
use crate::telling::Tell;
use crate::view::{MapView, RuleTest, RuleView, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::Connector;
use tandem_core::lifecycle::{Action, Phase};
use tandem_core::limits::Limits;
use tandem_core::map::TableMap;
use tandem_core::rules::Rule;
use tandem_core::{AppName, Dependents, Epoch, Finding, JournalId, MapName, Severity, WallTime};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a stop waits for what was committed before it.
const STOP_DRAIN: Duration = Duration::from_secs(5);
/// How long an engine may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(9);

/// What an engine is started with.
pub struct Setup {
    /// Where journals and store live. Made if it is not there; locked as long as the engine lives.
    pub data_dir: PathBuf,
    /// The apps, as the binary knows how to reach them.
    pub apps: BTreeMap<AppName, Arc<dyn Connector>>,
    /// The maps that are declared.
    pub maps: Vec<TableMap>,
    /// Their limits; the default is for a map that is not among them.
    pub limits: BTreeMap<MapName, Limits>,
    /// Apps that are no longer read while a map is full that they feed, instead of refusing writes.
    pub hold_source: BTreeSet<AppName>,
    /// The rules that are declared.
    pub rules: Vec<Rule>,
    /// Who tells people what rules do.
    pub tell: Arc<dyn Tell>,
    /// Time, tasks, chance.
    pub env: Arc<dyn Env>,
}

/// Why an engine could not start. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine works on the data folder.
    #[error(
        "another engine is at work on the data folder {0}; stop it first, or give this one a folder of its own"
    )]
    Locked(PathBuf),
    /// The data folder cannot be used.
    #[error("{operation}: {message}")]
    Data {
        /// What we were doing.
        operation: String,
        /// What the disk or the store said.
        message: String,
        /// What mends it.
        fix: String,
    },
    /// The declared maps cannot be.
    #[error("the maps cannot be used: {}", .0.iter().map(|f| format!("{}: {}", f.place, f.message)).collect::<Vec<_>>().join("; "))]
    Maps(Vec<Finding>),
}

/// A running engine. Cheap to clone; ends with [`Engine::shutdown`].
#[derive(Clone)]
pub struct Engine {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::Sender<Command>,
    apps: Arc<BTreeMap<AppName, Arc<dyn Connector>>>,
    store: Arc<dyn Store>,
    env: Arc<dyn Env>,
    verifications: Arc<verify::Verifications>,
    access: Arc<Access>,
    /// Held as long as the engine lives; the operating system lets go of it with the process.
    _lock: Option<Arc<File>>,
}

impl Engine {
    /// Starts an engine: opens the data folder, recovers, and goes on where it was. The data folder has a file
    /// [`TOKEN_FILE`] then, with a token for the user that the engine runs as.
    pub async fn start(setup: Setup) -> Result<Engine, StartError> {
        let dir = setup.data_dir.clone();
        folder::check(&dir)?;
        let data = |operation: &str, error: &dyn std::fmt::Display| StartError::Data {
            operation: format!("{operation} {}", dir.display()),
            message: error.to_string(),
            fix: "check that the folder may be written by this user and that its disk is in order".to_owned(),
        };
        let disk = RealDisk::new(&setup.data_dir).map_err(|error| data("open the data folder", &error))?;
        let lock = File::create(setup.data_dir.join("lock"))
            .map_err(|error| data("lock the data folder", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StartError::Locked(setup.data_dir)),
            Err(std::fs::TryLockError::Error(error)) => return Err(data("lock the data folder", &error)),
        }
        let store = SqliteStore::open(&setup.data_dir.join("tandem.db"))
            .map_err(|error| folder::store_unreadable(&dir, &error.message))?;
        let world = World {
            env: setup.env,
            disk: Arc::new(disk),
            store: Arc::new(store),
            apps: setup.apps,
            limits: setup.limits,
            hold_source: setup.hold_source,
            rules: setup.rules,
            tell: setup.tell,
            tuning: crate::failpoint::tuning(),
        };
        let engine = Self::start_in(world, setup.maps, Some(lock))?;
        if let Err(error) = engine.let_own_user_in(&dir) {
            engine.shutdown().await;
            return Err(data("write the token into", &error));
        }
        Ok(engine)
    }

    /// Starts an engine over a disk and a store that are given: for simulations.
    #[cfg(feature = "simulation")]
    pub fn start_simulated(
        setup: Setup,
        disk: Arc<dyn Disk>,
        store: Arc<dyn Store>,
        tuning: Tuning,
    ) -> Result<Engine, StartError> {
        let Setup { env, apps, limits, hold_source, rules, tell, maps, .. } = setup;
        let world = World { env, disk, store, apps, limits, hold_source, rules, tell, tuning };
        Self::start_in(world, maps, None)
    }

    fn start_in(world: World, declared: Vec<TableMap>, lock: Option<File>) -> Result<Engine, StartError> {
        let failed = |operation: &str, message: String, fix: &str| StartError::Data {
            operation: operation.to_owned(),
            message,
            fix: fix.to_owned(),
        };
        let store_failed = |error: crate::store::StoreError| {
            failed(
                error.operation,
                error.message,
                "check the data folder's disk; the file tandem.db is in it",
            )
        };
        let mut saved = world.store.load().map_err(store_failed)?;
        let engine = match saved.engine.clone() {
            Some(engine) => EngineRecord { epoch: Epoch(engine.epoch.0 + 1), ..engine },
            None => EngineRecord {
                journal: JournalId(u128::from(world.env.random()) << 64 | u128::from(world.env.random())),
                epoch: Epoch(1),
                next_flow: 1,
                next_barrier: 1,
                leaving: BTreeSet::new(),
            },
        };
        let kept: Vec<MapName> = saved.maps.keys().cloned().collect();
        let findings = reconcile_maps(&mut saved.maps, declared, &world);
        if !findings.is_empty() {
            return Err(StartError::Maps(findings));
        }
        let mut records: Vec<Record> = vec![Record::Engine(engine.clone())];
        records.extend(saved.maps.values().map(|map| Record::Map(Box::new(map.clone()))));
        records.extend(kept.into_iter().filter(|name| !saved.maps.contains_key(name)).map(Record::NoMap));
        records.extend(reconcile_rules(&mut saved.rules, &world.rules));
        world.store.save(&records).map_err(store_failed)?;

        let (commands, received) = mpsc::channel(64);
        let (shown, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (env, store) = (world.env.clone(), world.store.clone());
        let apps = Arc::new(world.apps.clone());
        let access = Arc::new(Access::new(&store, &mut saved));
        let mut supervisor = Supervisor::new(world, engine, saved, received, shown);
        supervisor.begin().map_err(|error| failed("open the journals", error.to_string(), error.fix()))?;
        env.spawn("supervisor", Box::pin(supervisor.run()));
        let verifications = Arc::default();
        let engine = Engine { snapshots, commands, apps, store, env, verifications, access, _lock: None };
        // Ends with the supervisor, and must not hold the folder for longer.
        engine.env.spawn("windows", Box::pin(windows::resume_after_windows(engine.clone())));
        Ok(Engine { _lock: lock.map(Arc::new), ..engine })
    }

    /// What there is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// What there is, and each time that it changes (at most some ten times a second).
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Does a request, all or nothing. Returns when it is recorded; what it starts goes on.
    pub async fn act(&self, request: Request) -> Result<Accepted, Rejected> {
        if request.force && matches!(request.action, Action::Stop(_)) {
            return self.stop_by_force(request).await;
        }
        let prepared = match request.action {
            Action::Run { .. } => self.prepare_run(&request).await?,
            Action::Resume(_) => match self.prepare_resume(&request).await {
                Err(Rejected::Check(findings)) => return Err(self.mismatched(&request, findings).await),
                prepared => prepared?,
            },
            Action::Skip(_) if request.with_parents => self.prepare_resume(&request).await?,
            Action::Stop(None) => {
                self.drain(&request).await?;
                Prepared::default()
            }
            _ => Prepared::default(),
        };
        self.ask(|reply| Command::Act { request, prepared, reply }).await?
    }

    /// What a request would do now, and what stands in its way. Changes nothing, and asks no app.
    pub async fn plan(&self, request: Request) -> Result<Planned, Rejected> {
        self.ask(|reply| Command::Plan { request, reply }).await?
    }

    /// Switches a rule on or off, whatever was declared. Effective at once, and still after a restart.
    pub async fn switch_rule(
        &self,
        rule: &str,
        enabled: bool,
        actor: &str,
        reason: &str,
    ) -> Result<RuleView, Rejected> {
        let (rule, actor, reason) = (rule.to_owned(), actor.to_owned(), reason.to_owned());
        self.ask(|reply| Command::SwitchRule { rule, enabled, actor, reason, reply }).await?
    }

    /// When a rule would have fired since then, as far as what is recorded tells; switched on or not.
    pub async fn test_rule(&self, rule: &str, since: WallTime) -> Result<RuleTest, Rejected> {
        let snapshot = self.snapshot();
        let view = snapshot.rules.iter().find(|view| *view.rule.name == *rule);
        let rule = view.ok_or_else(|| Rejected::UnknownRule(rule.to_owned()))?.rule.clone();
        let watched = snapshot.maps.iter().filter(|view| rule.maps.has(&view.map.name));
        let now: BTreeMap<_, _> = watched.map(|view| (view.map.name.clone(), view.state.phase)).collect();
        let (store, until) = (self.store.clone(), self.env.wall());
        let tested = blocking(&*self.env, move || {
            Recorded::read(&*store, now, since).map(|recorded| test(&rule, &recorded, since, until))
        });
        tested.await.map_err(|error| Rejected::Disk(error.to_string()))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Rejected::ShuttingDown)?;
        answer.await.map_err(|_| Rejected::ShuttingDown)
    }

    /// Resolves the flows of maps that are to be run against both schemas, and checks the apps.
    async fn prepare_run(&self, request: &Request) -> Result<Prepared, Rejected> {
        let snapshot = self.snapshot();
        let all: Vec<TableMap> = snapshot.maps.iter().map(|view| view.map.clone()).collect();
        let mut wanted = Vec::new();
        for name in &request.maps {
            let map = all.iter().find(|map| map.name == *name);
            wanted.push(map.cloned().ok_or_else(|| Rejected::UnknownMap(name.clone()))?);
        }
        // A map that runs already is refused by its state, and its apps are not asked for that.
        let state = |name: &MapName| {
            snapshot.maps.iter().find(|view| view.map.name == *name).map(|view| view.state.phase)
        };
        if wanted.iter().any(|map| state(&map.name) != Some(Phase::NotRunning)) {
            return Ok(Prepared::default());
        }
        let checked = check_maps(&self.apps, &all, &wanted).await;
        if let Some((_, fault)) = checked.faults.into_iter().next() {
            return Err(Rejected::App(fault));
        }
        let (errors, warnings): (Vec<_>, Vec<_>) =
            checked.findings.into_iter().partition(|finding| finding.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(Rejected::Check(errors));
        }
        Ok(Prepared { flows: checked.flows, warnings })
    }

    /// Resolves the flows of maps that are to be resumed anew, and of those that are resumed with them: the
    /// destination may be another than when they were paused, and the maps may have been edited since. A destination
    /// that does not answer is found out before anything is applied; a source need not answer for a queue that is here.
    async fn prepare_resume(&self, request: &Request) -> Result<Prepared, Rejected> {
        let snapshot = self.snapshot();
        let all: Vec<TableMap> = snapshot.maps.iter().map(|view| view.map.clone()).collect();
        let graph = Dependents::new(all.iter().map(|map| (&map.name, map.depends_on.as_slice())));
        let state =
            |name: &MapName| snapshot.maps.iter().find(|view| view.map.name == *name).map(|view| &view.state);
        let mut asked = parents_along(request, &graph, state);
        asked.extend(request.maps.iter().cloned());
        let named = snapshot.maps.iter().filter(|view| asked.contains(&view.map.name));
        let along: BTreeSet<&MapName> = named.flat_map(|view| &view.dependents).chain(&asked).collect();
        let paused = |view: &&MapView| view.state.phase == Phase::Paused && along.contains(&view.map.name);
        let wanted: Vec<TableMap> =
            snapshot.maps.iter().filter(paused).map(|view| view.map.clone()).collect();
        let mut checked = check_maps(&self.apps, &all, &wanted).await;
        let mut warnings = Vec::new();
        for (app, fault) in std::mem::take(&mut checked.faults) {
            if wanted.iter().any(|map| map.flows().iter().any(|(_, destination)| destination.app == app)) {
                return Err(Rejected::App(fault));
            }
            let message = format!("it does not answer, so its tables were not looked at again: {fault}");
            warnings.push(Finding::warning("source_not_checked", format!("app {app}"), message));
        }
        let errors: Vec<Finding> =
            checked.findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect();
        match errors.is_empty() {
            true => Ok(Prepared { flows: checked.flows, warnings }),
            false => Err(Rejected::Check(errors)),
        }
    }

    /// Lets the maps that cannot be resumed say why, also to those who look later.
    async fn mismatched(&self, request: &Request, findings: Vec<Finding>) -> Rejected {
        let mismatches = Mismatch::of(&request.maps, &findings);
        // Whoever asked is told in any case, and sees it when they look.
        let _ = self.ask(|reply| Command::NoteMismatch { mismatches, reply }).await;
        Rejected::Check(findings)
    }

    /// Waits until what had been captured when a stop was asked for is applied: nothing that was committed before
    /// is left out without anybody's word.
    async fn drain(&self, request: &Request) -> Result<(), Rejected> {
        let mut pending = Vec::new();
        for name in &request.maps {
            for located in self.ask(|reply| Command::Locate { map: name.clone(), reply }).await?? {
                let head = located.journal.with(|journal| journal.head());
                pending.push((name.clone(), located.flow, head));
            }
        }
        let running = |name: &MapName| {
            self.snapshot()
                .maps
                .iter()
                .any(|view| view.map.name == *name && view.state.phase == Phase::Running)
        };
        let drained = within(&*self.env, STOP_DRAIN, async {
            for (name, flow, head) in &pending {
                while running(name) {
                    let located = self.ask(|reply| Command::Locate { map: name.clone(), reply }).await??;
                    if located.iter().all(|at| at.flow != *flow || at.cursor >= *head) {
                        break;
                    }
                    self.env.sleep(Duration::from_millis(50)).await;
                }
            }
            Ok(())
        });
        match drained.await {
            Some(done) => done,
            None => {
                let blockers = request.maps.iter().map(|map| Blocker {
                    map: map.clone(),
                    state: "running".to_owned(),
                    needs: "has changes that are not applied yet: wait, or drop them with --queue discard"
                        .to_owned(),
                });
                Err(Rejected::State(blockers.collect()))
            }
        }
    }

    /// Ends when the map is in a phase of that name and not pausing; a stopped one when its apps are rid of us.
    pub async fn wait(&self, map: &MapName, phase: Phase, limit: Duration) -> Result<(), Rejected> {
        let mut snapshots = self.snapshots.clone();
        let there = |snapshot: &Snapshot| {
            let view = snapshot.maps.iter().find(|view| view.map.name == *map)?;
            let ends = view.state.phase.name() == phase.name() && !view.state.is_pausing();
            Some(ends && !view.is_leaving())
        };
        if there(&self.snapshot()).is_none() {
            return Err(Rejected::UnknownMap(map.clone()));
        }
        let reached = within(&*self.env, limit, snapshots.wait_for(|snapshot| there(snapshot) == Some(true)));
        match reached.await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(Rejected::ShuttingDown),
            None => {
                let now = self
                    .snapshot()
                    .maps
                    .iter()
                    .find(|view| view.map.name == *map)
                    .map(|view| view.state.phase);
                let now = now.map_or("gone", Phase::name);
                Err(Rejected::TimedOut(format!(
                    "map {map} is {now}, not {phase}, after {} s",
                    limit.as_secs()
                )))
            }
        }
    }

    /// Checks the declared maps against their apps: schemas, keys, rights, settings.
    pub async fn check(&self) -> Vec<Finding> {
        let maps: Vec<TableMap> = self.snapshot().maps.iter().map(|view| view.map.clone()).collect();
        check(&self.apps, &maps).await
    }

    /// Ends every task, rolls back what is open, and closes the data folder. Within 10 s.
    pub async fn shutdown(&self) {
        let ended = within(&*self.env, SHUTDOWN, self.ask(|reply| Command::Shutdown { reply }));
        if ended.await.is_none() {
            tracing::warn!("an app did not answer; its connection is dropped");
        }
    }
}
