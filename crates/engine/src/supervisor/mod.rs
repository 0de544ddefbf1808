//! The owner of the maps' states: takes requests, takes in what streams and apps report, and tells them what is
//! wanted.
//!
//! A state is changed by [`step`](tandem_core::lifecycle::step) only, saved before anything is done in its name,
//! and then turned into plans. What streams and apps do is theirs; they report levels, and a report counts only
//! if it has come through the plan that it is an answer to.

mod absorb;
mod accepting;
mod act;
mod awaiting;
mod backing;
mod bypassing;
mod copying;
mod dropping;
mod gaps;
mod holding;
mod leaving;
mod limiting;
mod locating;
mod plans;
mod reach;
mod releasing;
mod reloading;
mod resuming;
mod retrying;
mod ruling;
mod shapes;
mod skip;
mod snapshot;
mod tallying;
mod trending;
mod verifying;
mod windows;

pub(crate) use act::{Prepared, parents_along};
pub(crate) use locating::{Located, LocatedKept};
pub(crate) use verifying::{Repair, Way, Ways};
pub(crate) use windows::Stuck;

use crate::capture::{AcceptedGap, AppActor, AppParts, AppPlan, AppStatus, Marks};
use crate::copy::CHUNK_ROWS;
use crate::disk::Disk;
use crate::durations::Durations;
use crate::env::Env;
use crate::journal::{Identity, Journal, JournalError, Settings as JournalSettings};
use crate::reload::{Change, Reload};
use crate::request::{
    Accepted, ErrorRequest, ErrorsTaken, GapAccepted, LeftBehind, Planned, Rejected, Request,
};
use crate::store::{
    EngineRecord, FlowId, MapRecord, Mismatch, Record, Saved, SetAside, Store, StoreError, StreamRecord,
};
use crate::stream::{JournalHandle, StreamActor, StreamParts, StreamPlan, StreamStatus};
use crate::telling::{Tell, Telling};
use crate::view::{ActivityEntry, Condition, ConditionKind, MapTally, RuleView, Snapshot};
use copying::Copies;
use holding::Changes;
use limiting::Watched;
use resuming::Watching;
use retrying::{Asker, Errors, Turn};
use ruling::Ruling;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Connector, Owner};
use tandem_core::limits::Limits;
use tandem_core::rules::Rule;
use tandem_core::{AppName, Dependents, Fault, MapName, Seq, StreamName, Trend, WallTime};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What an engine can be tuned with. The defaults are for production.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// How often progress is taken in and shown while nothing else happens.
    pub pulse: Duration,
    /// How much of a journal is kept although it is applied, for a destination that loses its last transactions.
    pub keep_applied_bytes: u64,
    /// Rows that an initial sync reads at once, at most.
    pub chunk_rows: usize,
    /// How many records of one map may wait for others. Beyond that the map waits as a whole: what waits is looked up
    /// for each change.
    pub put_off_max: u64,
    /// The journal's own settings.
    pub journal: JournalSettings,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            pulse: Duration::from_millis(250),
            keep_applied_bytes: 64 << 20,
            chunk_rows: CHUNK_ROWS,
            put_off_max: 1_000,
            journal: JournalSettings::default(),
        }
    }
}

/// What is asked of the supervisor.
pub(crate) enum Command {
    Act {
        request: Request,
        prepared: Prepared,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    },
    Plan {
        request: Request,
        reply: oneshot::Sender<Result<Planned, Rejected>>,
    },
    ResumeAfterWindow {
        request: Request,
        prepared: Prepared,
        reply: oneshot::Sender<Result<bool, Rejected>>,
    },
    GiveUp {
        request: Request,
        sql: BTreeMap<AppName, Result<String, Fault>>,
        reply: oneshot::Sender<Result<(u64, Vec<LeftBehind>), Rejected>>,
    },
    WindowStuck {
        maps: Vec<MapName>,
        stuck: Stuck,
    },
    Trend {
        map: MapName,
        reply: oneshot::Sender<Result<Trend, Rejected>>,
    },
    Locate {
        map: MapName,
        reply: oneshot::Sender<Result<Vec<Located>, Rejected>>,
    },
    Errors {
        request: ErrorRequest,
        adopted: Vec<SetAside>,
        reply: oneshot::Sender<Result<ErrorsTaken, Rejected>>,
    },
    NoteMismatch {
        mismatches: BTreeMap<MapName, Mismatch>,
        reply: oneshot::Sender<()>,
    },
    LocateKept {
        map: Option<MapName>,
        reply: oneshot::Sender<Vec<LocatedKept>>,
    },
    Ways {
        map: MapName,
        reply: oneshot::Sender<Result<Ways, Rejected>>,
    },
    Repair {
        repair: Repair,
        reply: oneshot::Sender<Result<(), Rejected>>,
    },
    NoteVerify {
        map: MapName,
        event: &'static str,
        actor: String,
        reason: String,
        detail: String,
        reply: oneshot::Sender<Result<(), Rejected>>,
    },
    SwitchRule {
        rule: String,
        enabled: bool,
        actor: String,
        reason: String,
        reply: oneshot::Sender<Result<RuleView, Rejected>>,
    },
    Reload {
        reload: Reload,
        reply: oneshot::Sender<Result<Vec<Change>, Rejected>>,
    },
    AcceptGap {
        asked: GapAccepted,
        reply: oneshot::Sender<Result<Accepted, Rejected>>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

/// What an engine works with.
pub(crate) struct World {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) apps: BTreeMap<AppName, Arc<dyn Connector>>,
    pub(crate) limits: BTreeMap<MapName, Limits>,
    /// Apps that are not read while a map is full that they feed.
    pub(crate) hold_source: BTreeSet<AppName>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tell: Arc<dyn Tell>,
    pub(crate) tuning: Tuning,
}

/// See the module.
pub(crate) struct Supervisor {
    world: World,
    engine: EngineRecord,
    maps: BTreeMap<MapName, MapRecord>,
    dependents: Dependents,
    streams: BTreeMap<StreamName, StreamHandle>,
    apps: BTreeMap<AppName, AppHandle>,
    /// Streams that were saved and have no handle, or have ended and left something behind.
    saved_streams: BTreeMap<StreamName, StreamRecord>,
    version: u64,
    /// The version of the plans that first said what is wanted of a map now.
    asked: BTreeMap<MapName, u64>,
    bell: Arc<Notify>,
    commands: mpsc::Receiver<Command>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    conditions: BTreeMap<(MapName, ConditionKind), Condition>,
    errors: Errors,
    copies: Copies,
    /// Retries that are at work, and whose turn it is.
    turns: BTreeMap<FlowId, Turn>,
    /// Preserved queues of which nothing is left, as of which end of the journal.
    used_up: BTreeMap<FlowId, Seq>,
    watched: BTreeMap<MapName, Watched>,
    /// Apps that are not read now.
    held: backing::HeldSources,
    bypasses_told: BTreeMap<(MapName, StreamName), bypassing::Told>,
    /// What happened to maps since the engine started.
    tallies: BTreeMap<MapName, MapTally>,
    trends: BTreeMap<MapName, Trend>,
    resuming: BTreeMap<MapName, Watching>,
    /// Maps that could not be resumed when their windows were over.
    stuck: BTreeMap<MapName, Stuck>,
    /// Maps whose tables are looked at, since they seem to have another shape.
    looks: BTreeMap<MapName, shapes::Look>,
    /// Maps whose tables were looked at because records were refused.
    refusals: BTreeMap<MapName, shapes::Refusals>,
    /// Why streams that have ended could not take out their watermarks.
    left: BTreeMap<StreamName, Fault>,
    ruling: Ruling,
    telling: Telling,
}

struct StreamHandle {
    journal: Arc<JournalHandle>,
    dir: String,
    plan: watch::Sender<Arc<StreamPlan>>,
    status: watch::Receiver<StreamStatus>,
    /// How long its destination takes.
    applies: Arc<Durations>,
}

struct AppHandle {
    plan: watch::Sender<Arc<AppPlan>>,
    status: watch::Receiver<AppStatus>,
    marks: Marks,
    /// The gap that people have accepted last.
    accepted: Option<Arc<AcceptedGap>>,
}

impl Supervisor {
    /// Takes over what was saved. Nothing goes on yet.
    pub(crate) fn new(
        world: World,
        engine: EngineRecord,
        saved: Saved,
        commands: mpsc::Receiver<Command>,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        let dependents =
            Dependents::new(saved.maps.iter().map(|(name, map)| (name, map.map.depends_on.as_slice())));
        let ruling = Ruling::new(&world.rules, &saved.rules);
        let telling = Telling::new(world.env.clone(), world.tell.clone());
        Self {
            ruling,
            telling,
            world,
            engine,
            maps: saved.maps,
            dependents,
            streams: BTreeMap::new(),
            apps: BTreeMap::new(),
            saved_streams: saved.streams,
            version: 0,
            asked: BTreeMap::new(),
            bell: Arc::new(Notify::new()),
            commands,
            snapshots,
            conditions: BTreeMap::new(),
            errors: Errors::default(),
            copies: Copies::new(saved.copies),
            turns: BTreeMap::new(),
            used_up: BTreeMap::new(),
            watched: BTreeMap::new(),
            held: backing::HeldSources::new(),
            bypasses_told: BTreeMap::new(),
            tallies: BTreeMap::new(),
            trends: BTreeMap::new(),
            resuming: BTreeMap::new(),
            stuck: BTreeMap::new(),
            looks: BTreeMap::new(),
            refusals: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// Opens the journals and starts what the states ask for.
    pub(crate) fn begin(&mut self) -> Result<(), JournalError> {
        // What was told before the end is not told again.
        self.held = self.held_sources();
        self.push_plans()?;
        // What was stopped before the last end and not taken apart by then is taken apart now.
        let unfinished = self.saved_streams.iter().filter(|(_, record)| !record.left);
        for stream in unfinished.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
            self.open_stream(&stream)?;
        }
        for app in self.engine.leaving.clone() {
            if !self.world.apps.contains_key(&app) {
                tracing::warn!(%app, "something of ours is left in an app that is no longer declared");
            } else if !self.apps.contains_key(&app) {
                self.open_app(&app);
            }
        }
        self.push_plans()?;
        self.show();
        Ok(())
    }

    /// Works until it is told to shut down.
    pub(crate) async fn run(mut self) {
        loop {
            let pulse = self.world.env.sleep(self.world.tuning.pulse);
            let bell = self.bell.clone();
            let command = tokio::select! {
                biased;
                command = self.commands.recv() => command,
                () = bell.notified() => None,
                () = pulse => None,
            };
            match command {
                Some(Command::Act { request, prepared, reply }) => {
                    let answer = self.act(request, prepared);
                    self.answer(reply, answer);
                }
                Some(Command::Errors { request, adopted, reply }) => {
                    let answer = self.take_errors(&request, adopted, Asker::Person);
                    self.answer(reply, answer);
                }
                Some(Command::ResumeAfterWindow { request, prepared, reply }) => {
                    let answer = self.resume_after_window(request, prepared);
                    self.answer(reply, answer);
                }
                Some(Command::GiveUp { request, sql, reply }) => {
                    let answer = self.give_up(&request, &sql);
                    self.answer(reply, answer);
                }
                Some(Command::WindowStuck { maps, stuck }) => self.window_stuck(maps, &stuck),
                Some(Command::NoteMismatch { mismatches, reply }) => {
                    self.note_mismatches(mismatches);
                    self.answer(reply, ());
                }
                Some(Command::Plan { request, reply }) => drop(reply.send(self.plan(&request))),
                Some(Command::SwitchRule { rule, enabled, actor, reason, reply }) => {
                    let answer = self.switch_rule(&rule, enabled, &actor, &reason);
                    self.answer(reply, answer);
                }
                Some(Command::AcceptGap { asked, reply }) => {
                    let answer = self.accept_gap(&asked);
                    self.answer(reply, answer);
                }
                Some(Command::Reload { reload, reply }) => drop(reply.send(self.reload(reload))),
                Some(Command::Trend { map, reply }) => drop(reply.send(self.trend(&map))),
                Some(Command::Locate { map, reply }) => drop(reply.send(self.locate(&map))),
                Some(Command::Ways { map, reply }) => drop(reply.send(self.ways(&map))),
                Some(Command::Repair { repair, reply }) => drop(reply.send(self.take_repair(repair))),
                Some(Command::NoteVerify { map, event, actor, reason, detail, reply }) => {
                    let _ = reply.send(self.note_verify(&map, event, (&actor, &reason), detail));
                }
                Some(Command::LocateKept { map, reply }) => {
                    drop(reply.send(self.locate_kept(map.as_ref())));
                }
                Some(Command::Shutdown { reply }) => {
                    self.shut_down().await;
                    let _ = reply.send(());
                    return;
                }
                None => {}
            }
            if let Err(error) = self.absorb() {
                tracing::error!("a change of state could not be saved: {error}");
            }
            if let Err(error) = self.follow_shapes() {
                tracing::error!("that a table has changed could not be saved: {error}");
            }
            if let Err(error) = self.let_go_of_the_live() {
                tracing::error!("that a map is live again could not be saved: {error}");
            }
            self.work_on_copies();
            if let Err(error) = self.work_on_refreshes() {
                tracing::error!("what came of a refresh could not be saved: {error}");
            }
            if let Err(error) = self.work_on_retries().and_then(|()| self.retry_what_waited()) {
                tracing::error!("what came of a retry could not be saved: {error}");
            }
            if let Err(error) = self.notice_bypasses() {
                tracing::error!("what got past a guard could not be saved: {error}");
            }
            if let Err(error) = self.enforce_limits() {
                tracing::error!("that a limit is reached could not be saved: {error}");
            }
            if let Err(error) = self.release_errors() {
                tracing::error!("that errors are released could not be saved, and they are not: {error}");
            }
            if let Err(error) = self.drop_beyond_limits() {
                tracing::error!("that records are dropped could not be saved, and they are not: {error}");
            }
            if let Err(error) = self.end_windows() {
                tracing::error!("that a planned pause is over could not be saved: {error}");
            }
            if let Err(error) = self.follow_rules() {
                tracing::error!("what a rule has seen or done could not be saved: {error}");
            }
            self.show();
        }
    }

    /// Answers a command that may have changed something: whoever looks when they have the answer sees what it says.
    fn answer<T>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.show();
        // Whoever asked may be gone; what was recorded is done all the same.
        let _ = reply.send(answer);
    }

    /// Brings streams, apps and their plans in line with the states.
    fn push_plans(&mut self) -> Result<(), JournalError> {
        self.set_up_copies();
        for stream in plans::streams(&self.maps) {
            if !self.streams.contains_key(&stream) {
                self.open_stream(&stream)?;
            }
        }
        let journal = |stream: &StreamName| self.streams.get(stream).map(|handle| handle.journal.clone());
        let desks = self.copies.desks();
        let wanted = plans::stream_flows(&self.maps, &self.dependents, &self.trying(), desks, &journal);
        self.version += 1;
        for (stream, flows) in &wanted {
            let Some(handle) = self.streams.get(stream) else { continue };
            let following = flows.values().filter(|flow| flow.retry.is_none());
            let known = following.map(|flow| plans::journal_flow(flow)).collect();
            handle.journal.with(|journal| {
                journal.set_flows(known)?;
                plans::holes(&self.maps, stream)
                    .for_each(|(flow, holes)| journal.set_holes(flow, holes.clone()));
                Ok::<_, JournalError>(())
            })?;
        }
        let sinks = plans::app_sinks(&wanted, journal);
        let entering = plans::entering(&self.maps);
        let guards = plans::guards(&self.maps, &self.world.hold_source);
        let watched = plans::watched(&self.maps, &self.world.hold_source);
        let held = self.held_sources();
        for app in sinks.keys() {
            if !self.apps.contains_key(app) {
                self.open_app(app);
            }
        }
        for (app, handle) in &self.apps {
            handle.plan.send_replace(Arc::new(AppPlan {
                version: self.version,
                sinks: sinks.get(app).cloned().unwrap_or_default(),
                entering: entering.get(app).cloned().unwrap_or_default(),
                guards: guards.get(app).cloned().unwrap_or_default(),
                watched: watched.get(app).cloned().unwrap_or_default(),
                held: held.contains_key(app),
                accepted: handle.accepted.clone(),
                shutdown: false,
            }));
        }
        // Behind the apps' plans: whoever writes for a two-way map must be sure that its echoes are known.
        for (stream, handle) in &self.streams {
            let flows = wanted.get(stream).cloned().unwrap_or_default();
            handle.plan.send_replace(Arc::new(StreamPlan { version: self.version, flows, shutdown: false }));
        }
        self.tell_of_sources(held);
        Ok(())
    }

    fn open_stream(&mut self, stream: &StreamName) -> Result<(), JournalError> {
        let record = match self.saved_streams.remove(stream) {
            Some(record) if !record.left => record,
            old => {
                // A flow is in one stream, and its number is never given again.
                let flows = self.maps.values().flat_map(MapRecord::every_flow);
                let flows = flows.filter(|flow| flow.stream == *stream).map(|flow| flow.flow.0);
                let number = flows.max().unwrap_or(self.engine.next_flow);
                let record = match old {
                    Some(old) => StreamRecord::behind(&old, number),
                    None => StreamRecord::new(stream.clone(), number),
                };
                // The record names the folder: saved before anything is in it.
                self.world
                    .store
                    .save(&[Record::Stream(record.clone())])
                    .map_err(|error| JournalError::store(&error.to_string()))?;
                record
            }
        };
        let Some(destination) = self.world.apps.get(&stream.destination).cloned() else { return Ok(()) };
        let identity = Identity { journal: self.engine.journal, stream: stream.to_string() };
        let journal =
            Journal::open(self.world.disk.clone(), &record.dir, identity, self.world.tuning.journal)?;
        let journal = Arc::new(JournalHandle::new(journal));
        let dir = record.dir.clone();
        let (plan, planned) = watch::channel(Arc::new(StreamPlan::default()));
        let (status, statuses) = watch::channel(StreamStatus::default());
        let applies = Arc::<Durations>::default();
        let actor = StreamActor::new(StreamParts {
            env: self.world.env.clone(),
            store: self.world.store.clone(),
            journal: journal.clone(),
            journal_id: self.engine.journal,
            destination,
            record,
            plan: planned,
            status,
            bell: self.bell.clone(),
            pulse: self.world.tuning.pulse,
            keep_applied_bytes: self.world.tuning.keep_applied_bytes,
            put_off_max: self.world.tuning.put_off_max,
            applies: applies.clone(),
        });
        // The first plan is sent before the actor looks: an empty one would end it.
        self.streams.insert(stream.clone(), StreamHandle { journal, dir, plan, status: statuses, applies });
        self.world.env.spawn("stream", Box::pin(actor.run_planned()));
        Ok(())
    }

    fn open_app(&mut self, app: &AppName) {
        let Some(connector) = self.world.apps.get(app).cloned() else { return };
        let (plan, planned) = watch::channel(Arc::new(AppPlan::default()));
        let (status, statuses) = watch::channel(AppStatus::default());
        let (marks, asked) = Marks::channel();
        let actor = AppActor::new(AppParts {
            env: self.world.env.clone(),
            disk: self.world.disk.clone(),
            app: app.clone(),
            connector,
            store: self.world.store.clone(),
            owner: Owner { journal: self.engine.journal, epoch: self.engine.epoch },
            plan: planned,
            status,
            bell: self.bell.clone(),
            marks: asked,
        });
        self.apps.insert(app.clone(), AppHandle { plan, status: statuses, marks, accepted: None });
        self.world.env.spawn("app", Box::pin(actor.run_planned()));
    }

    async fn shut_down(&mut self) {
        for handle in self.streams.values() {
            handle
                .plan
                .send_modify(|plan| *plan = Arc::new(StreamPlan { shutdown: true, ..(**plan).clone() }));
        }
        for handle in self.apps.values() {
            handle.plan.send_modify(|plan| *plan = Arc::new(AppPlan { shutdown: true, ..(**plan).clone() }));
        }
        for handle in self.streams.values_mut() {
            // A closed channel is an actor that is gone, which is as good.
            let _ = handle.status.wait_for(|status| status.ended).await;
        }
        for handle in self.apps.values_mut() {
            let _ = handle.status.wait_for(|status| status.ended).await;
        }
    }

    fn save(&self, records: &[Record]) -> Result<Vec<u64>, StoreError> {
        self.world.store.save(records)
    }

    fn note(&self, event: &str, map: &MapName, actor: &str, reason: &str) -> ActivityEntry {
        ActivityEntry {
            id: 0,
            at: self.now(),
            event: event.to_owned(),
            map: Some(map.clone()),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            from: None,
            to: None,
            detail: String::new(),
        }
    }

    fn now(&self) -> WallTime {
        self.world.env.wall()
    }
}
