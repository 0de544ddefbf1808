//! Writing: one session per lane's worker, one destination transaction at a time.
//!
//! A part that begins and commits is one round trip in the fast plan: BEGIN, the comparison of the watermark, the
//! writes and COMMIT are sent without waiting, and if any of them fails the COMMIT is a rollback. The other plans
//! need answers in between, and send COMMIT last.
//!
//! The outcome is unknown only if the connection broke after COMMIT had been sent.

use super::connect::Endpoint;
use super::error::fault;
use super::exact::{Command, Exact, row_missing};
use super::fast::{Bulk, bulks, patched};
use super::lookup::{self, PreparedLookup};
use super::names::shown;
use super::pipeline::{Failed, Pipeline};
use super::statements::{Form, PreparedTarget};
use super::watermark::{Marks, REFUSED};
use super::{fast, fit, load, schema};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{
    Advance, Applied, Apply, ApplyFault, BoxFuture, Copied, Outcome, Owner, Part, Plan, Watermark,
};
use tandem_core::{Fault, FaultClass, LaneId, Seq, Target, Value, Write, WriteOp, net};
use tokio_postgres::Client;

/// A lock that is not given within 3 s is a conflict, a statement that takes a minute too: so a pause never waits
/// for one for ever. A commit is durable when it is acknowledged, whatever the database's default.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = 3000; SET statement_timeout = 60000;
    SET idle_in_transaction_session_timeout = 300000";

/// How long any answer may take. Above the server's own limits: it ends only what has no server any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a rollback waits for what was sent before it.
const ROLLBACK_PATIENCE: Duration = Duration::from_millis(200);

/// Tables kept prepared.
const TARGETS_MAX: usize = 1_000;

/// Guards of maps that are paused let it pass.
const BEGIN: &str = "BEGIN; SET LOCAL tandem.apply = 'on'; SET CONSTRAINTS ALL DEFERRED";
const CHECK: &str = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";

/// A session that writes.
pub(super) struct PostgresApply {
    endpoint: Arc<Endpoint>,
    client: Client,
    marks: Marks,
    targets: HashMap<Arc<Target>, PreparedTarget>,
    /// The lane whose transaction is open.
    open: Option<LaneId>,
    /// The source transaction at the end of the last part, whose deferred constraints were not checked since it
    /// may go on.
    unchecked: Option<Seq>,
    /// A part is being done. Still set if its future was dropped.
    busy: bool,
}

/// Why a part stopped.
#[derive(Debug)]
pub(super) struct Halt {
    fault: Fault,
    write: Option<usize>,
    unknown: bool,
}

impl Halt {
    pub(super) fn at(fault: Fault, write: Option<usize>) -> Self {
        Self { fault, write, unknown: false }
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::at(fault, None)
    }
}

impl PostgresApply {
    pub(super) async fn open(endpoint: Arc<Endpoint>, owner: Owner, stream: &str) -> Result<Self, Fault> {
        const OPERATION: &str = "open a connection for writing";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let client = endpoint.session(OPERATION).await?;
        client.batch_execute(SESSION).await.map_err(failed)?;
        let marks = Marks::open(&client, stream, owner).await?;
        Ok(Self {
            endpoint,
            client,
            marks,
            targets: HashMap::new(),
            open: None,
            unchecked: None,
            busy: false,
        })
    }

    async fn do_apply(&mut self, part: Part<'_>) -> Result<Applied, ApplyFault> {
        if self.busy {
            // A part was dropped half way: what it did is undone before anything else happens.
            self.do_rollback().await.map_err(|fault| rolled_back(fault.into()))?;
        }
        if part.begin.is_some() != self.open.is_none() {
            let message =
                if self.open.is_some() { "a transaction is open" } else { "no transaction is open" };
            return Err(rolled_back(Fault::new(FaultClass::Internal, "apply", message).into()));
        }
        self.busy = true;
        let run = tokio::time::timeout(ANSWER_TIMEOUT, self.run(&part)).await;
        let halt = match run {
            Ok(Ok(applied)) => {
                self.busy = false;
                self.open = match (&part.commit, part.begin) {
                    (Some(_), _) => None,
                    (None, Some(begin)) => Some(begin.lane),
                    (None, None) => self.open,
                };
                let last = part.writes.last().map(|write| write.transaction);
                let in_order = matches!(part.plan, Plan::Exact | Plan::SingleOpen);
                self.unchecked = if part.commit.is_some() || !in_order { None } else { last };
                return Ok(applied);
            }
            Ok(Err(halt)) => halt,
            Err(_) => {
                let message = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                let unknown = part.commit.is_some();
                Halt { unknown, ..Fault::new(FaultClass::Connection, "apply", message).into() }
            }
        };
        if halt.fault.class == FaultClass::Schema {
            // The table is not what we took it for: look again next time.
            self.targets.clear();
        }
        self.open = None;
        if halt.fault.code.is_some() || !halt.fault.class.breaks_connection() {
            // If this fails, the connection is broken and the transaction gone with it.
            self.busy = self.client.batch_execute("ROLLBACK").await.is_err();
        }
        let outcome = if halt.unknown { Outcome::Unknown } else { Outcome::RolledBack };
        Err(ApplyFault { fault: halt.fault, write: halt.write, outcome })
    }

    async fn run(&mut self, part: &Part<'_>) -> Result<Applied, Halt> {
        self.bind(part.writes).await?;
        if part.begin.is_some_and(|begin| begin.first) {
            // The tables may have gone with the last lane.
            self.marks.raise(&self.client).await?;
        }
        // What cannot be written as it is, is refused in its place by the exact plan.
        if part.plan == Plan::Fast
            && part.writes.iter().all(|write| self.fits(write))
            && let Some(net) = net(part.writes)
        {
            let bulks = bulks(&net);
            return self.run_fast(part, bulks).await;
        }
        if matches!(part.plan, Plan::Copy | Plan::Load) {
            if let Some(place) = part.writes.iter().position(|write| !self.fits(write)) {
                let message = "a column would round a value; row by row it is said which";
                let fault = Fault::new(FaultClass::Application, "copy rows", message).code("22003");
                return Err(Halt::at(fault, Some(place)));
            }
            return self.run_copy(part).await;
        }
        self.run_exact(part).await
    }

    /// Whether every column takes its value as it is.
    fn fits(&self, write: &Write) -> bool {
        self.targets.get(&write.target).is_none_or(|target| {
            !target.alters || fit::refusal(&write.target, &target.columns, write).is_none()
        })
    }

    async fn run_copy(&mut self, part: &Part<'_>) -> Result<Applied, Halt> {
        if part.begin.is_some() {
            let mut pipeline = Pipeline::new(&self.client);
            let compared = self.send_begin(&mut pipeline, part, part.commit.as_ref()).await;
            pipeline.finish().await.map_err(|failed| halt_of(failed, compared, None, None))?;
        }
        let target = part.writes.first().and_then(|write| self.targets.get_mut(&write.target));
        let copied = match target {
            None => Copied::default(),
            // COPY takes values as they are.
            Some(target) if part.plan == Plan::Load && !target.looks_up() => {
                load::load(&self.client, target, part.writes).await?
            }
            Some(target) => load::copy(&self.client, target, part.writes).await?,
        };
        if part.commit.is_some() {
            self.finish(part).await?;
        }
        Ok(Applied { copied, ..Applied::default() })
    }

    /// Looks up the tables that are new to this session.
    async fn bind(&mut self, writes: &[Write]) -> Result<(), Halt> {
        let mut last: Option<&Arc<Target>> = None;
        for (place, write) in writes.iter().enumerate() {
            if last.is_some_and(|last| Arc::ptr_eq(last, &write.target)) {
                continue;
            }
            last = Some(&write.target);
            if self.targets.contains_key(&write.target) {
                continue;
            }
            if self.targets.len() >= TARGETS_MAX {
                self.targets.clear();
                return Box::pin(self.bind(writes)).await;
            }
            let bound = self.prepared(&write.target).await;
            let bound = bound.map_err(|fault| Halt::at(fault, Some(place)))?;
            self.targets.insert(write.target.clone(), bound);
        }
        Ok(())
    }

    async fn prepared(&self, target: &Target) -> Result<PreparedTarget, Fault> {
        let destination = schema::destination(&self.client, &target.table).await?;
        let mut lookups = Vec::with_capacity(target.lookups.len());
        for (place, lookup) in &target.lookups {
            let table = schema::destination(&self.client, &lookup.table).await?;
            lookups.push(PreparedLookup::bind(*place, lookup, &table)?);
        }
        let prepared = PreparedTarget::bind(target, destination, lookups)?;
        if fast::has_unique_key(&prepared) { Ok(prepared) } else { Err(no_unique_key(target, &prepared)) }
    }

    async fn run_fast(&mut self, part: &Part<'_>, bulks: Vec<Bulk>) -> Result<Applied, Halt> {
        let mut statements = Vec::with_capacity(bulks.len());
        for bulk in &bulks {
            let Some(target) = self.targets.get_mut(&bulk.target) else { continue };
            statements.push(target.statement(&self.client, &bulk.form).await?);
        }
        let mut pipeline = Pipeline::new(&self.client);
        let compared = self.send_begin(&mut pipeline, part, part.commit.as_ref()).await;
        let first = pipeline.len();
        let mut shapes = Vec::with_capacity(bulks.len());
        let mut counted = false;
        for (bulk, statement) in bulks.into_iter().zip(statements) {
            shapes.push((bulk.target, bulk.expected));
            counted |= bulk.expected.is_some();
            pipeline.arrays(statement, bulk.columns).await;
        }
        // Whether every patch found its record is known only from the answers: then COMMIT waits for them.
        let sends_commit = part.commit.is_some() && !counted;
        if sends_commit {
            self.send_commit(&mut pipeline, part, part.begin.is_some()).await;
        }
        let last = pipeline.len();
        let counts = pipeline.finish().await.map_err(|failed| {
            let table =
                failed.place.checked_sub(first).and_then(|nth| shapes.get(nth)).map(|(target, _)| target);
            halt_of(failed, compared, sends_commit.then(|| last - 1), table.map(|target| &**target))
        })?;
        let written = counts.get(first..).unwrap_or_default();
        for ((target, expected), count) in shapes.iter().zip(written) {
            if expected.is_some_and(|expected| expected != *count) {
                return Err(row_missing(Some(target)).into());
            }
        }
        if counted && part.commit.is_some() {
            self.finish(part).await?;
        }
        Ok(Applied::default())
    }

    async fn run_exact(&mut self, part: &Part<'_>) -> Result<Applied, Halt> {
        let mut commands = Vec::with_capacity(part.writes.len());
        for (place, write) in part.writes.iter().enumerate() {
            let Some(target) = self.targets.get_mut(&write.target) else { continue };
            let (form, values, must_find) = command(write);
            let statement = target.statement(&self.client, &form).await;
            let statement = statement.map_err(|fault| Halt::at(fault, Some(place)))?;
            let refusal = fit::refusal(&write.target, &target.columns, write);
            commands.push(Command { statement, values, must_find, refusal });
        }
        if part.begin.is_some() {
            let mut pipeline = Pipeline::new(&self.client);
            let compared = self.send_begin(&mut pipeline, part, part.commit.as_ref()).await;
            pipeline.finish().await.map_err(|failed| halt_of(failed, compared, None, None))?;
        }
        let first = part.writes.first().map(|write| write.transaction);
        if part.begin.is_none() && self.unchecked.is_some() && self.unchecked != first {
            let checked = self.client.batch_execute(CHECK).await;
            checked.map_err(|error| fault("check the transaction before", &error))?;
        }
        let single = part.plan.leaves_out();
        let goes_on = part.commit.is_none() && part.plan != Plan::Single;
        let (client, targets) = (&self.client, &self.targets);
        let exact = Exact { client, writes: part.writes, commands: &commands, targets, single, goes_on };
        let refused = exact.run().await?;
        if part.commit.is_some() {
            self.finish(part).await?;
        }
        Ok(Applied { refused: refused.into_iter().collect(), ..Applied::default() })
    }

    /// Commits a transaction whose writes have been answered.
    async fn finish(&self, part: &Part<'_>) -> Result<(), Halt> {
        let mut pipeline = Pipeline::new(&self.client);
        self.send_commit(&mut pipeline, part, part.begin.is_some()).await;
        let commit = pipeline.len() - 1;
        pipeline.finish().await.map_err(|failed| halt_of(failed, None, Some(commit), None))?;
        Ok(())
    }

    /// Sends BEGIN and the comparison, if the part begins. Returns the comparison's place.
    async fn send_begin(
        &self,
        pipeline: &mut Pipeline<'_>,
        part: &Part<'_>,
        advance: Option<&Advance>,
    ) -> Option<usize> {
        let begin = part.begin?;
        pipeline.text(BEGIN).await;
        self.marks.begin(pipeline, begin, advance).await;
        Some(pipeline.len() - 1)
    }

    /// Sends the watermark's move, if it was not at the beginning, and COMMIT as the last.
    async fn send_commit(&self, pipeline: &mut Pipeline<'_>, part: &Part<'_>, moved: bool) {
        let Some(advance) = &part.commit else { return };
        if !moved && let Some(lane) = self.open {
            self.marks.advance(pipeline, lane, advance).await;
        }
        pipeline.text("COMMIT").await;
    }

    async fn do_rollback(&mut self) -> Result<(), Fault> {
        if self.busy || self.open.is_some() {
            let rollback = self.client.batch_execute("ROLLBACK");
            tokio::pin!(rollback);
            // What was sent before may be waiting for a lock: do not wait with it for long. Not cancelled at
            // once, since a cancellation that finds nothing to cancel hits what comes next.
            let rolled_back = match tokio::time::timeout(ROLLBACK_PATIENCE, &mut rollback).await {
                Ok(rolled_back) => rolled_back,
                Err(_) => {
                    self.endpoint.cancel(&self.client).await;
                    rollback.await
                }
            };
            if rolled_back.is_err() {
                let again = self.client.batch_execute("ROLLBACK").await;
                again.map_err(|error| fault("roll back", &error))?;
            }
        }
        self.busy = false;
        self.open = None;
        Ok(())
    }
}

/// How a write is sent alone: form, parameters, and whether its record must be there.
fn command(write: &Write) -> (Form, Vec<&Value>, bool) {
    match &write.op {
        WriteOp::Upsert(values) => (Form::Upsert, values.iter().collect(), false),
        WriteOp::Delete(key) => (Form::Delete, key.values().iter().collect(), false),
        WriteOp::Patch { key, values } => {
            let set = patched(&write.target, values);
            let named = set.iter().filter_map(|place| values.get(*place)?.as_ref());
            let parameters = key.values().iter().chain(named).collect();
            (Form::Patch(set), parameters, true)
        }
        WriteOp::Rekey { old, values } => {
            let named = values.iter().enumerate().filter(|(_, value)| value.is_some());
            let set: Vec<usize> = named.map(|(place, _)| place).collect();
            // With all values known it makes the record, so there is none to be missed.
            let must_find = set.len() < write.target.columns.len();
            let parameters = old.values().iter().chain(values.iter().flatten()).collect();
            (Form::Rekey(set), parameters, must_find)
        }
    }
}

fn no_unique_key(target: &Target, prepared: &PreparedTarget) -> Fault {
    let key = target.key.iter().filter_map(|place| Some(super::names::quoted(target.columns.get(*place)?)));
    let key = key.collect::<Vec<_>>().join(", ");
    let message = format!("{}: nothing makes the integration key unique", target.table);
    Fault::new(FaultClass::Schema, "bind the map's columns", message)
        .code("42P10")
        .table(shown(&target.table))
        .fix(format!("CREATE UNIQUE INDEX ON {} ({key});", prepared.destination.sql))
}

/// Words a failure of a pipeline, by the place at which it happened.
fn halt_of(failed: Failed, compared: Option<usize>, commit: Option<usize>, table: Option<&Target>) -> Halt {
    let refused = failed.error.code().is_some_and(|code| code.code() == REFUSED);
    if refused && compared == Some(failed.place) {
        let message = "the watermark is not where we left it: another engine or transaction has moved it";
        return Fault::new(FaultClass::Fenced, "compare the watermark", message)
            .code("watermark_moved")
            .into();
    }
    let looked_up = table.and_then(|target| lookup::refused(target, &failed.error));
    let mut fault = looked_up.unwrap_or_else(|| fault("apply", &failed.error));
    if fault.table.is_none() {
        fault.table = table.map(|target| shown(&target.table));
    }
    // A connection that breaks takes all answers with it, so COMMIT may have been done if it was sent. A server
    // that says that it shuts down has said it before it read on, unless it says so to the COMMIT itself.
    let silent = failed.error.as_db_error().is_none();
    let unknown =
        commit.is_some_and(|commit| silent || (failed.place == commit && fault.class.breaks_connection()));
    Halt { unknown, ..fault.into() }
}

fn rolled_back(halt: Halt) -> ApplyFault {
    ApplyFault { fault: halt.fault, write: halt.write, outcome: Outcome::RolledBack }
}

impl Apply for PostgresApply {
    fn set_note(&mut self, note: Arc<str>) {
        self.marks.note = note;
    }

    fn fence(&mut self) -> BoxFuture<'_, Result<Vec<Watermark>, Fault>> {
        Box::pin(async move {
            if self.busy {
                self.do_rollback().await?;
            }
            self.marks.fence(&self.client).await
        })
    }

    fn apply<'a>(&'a mut self, part: Part<'a>) -> BoxFuture<'a, Result<Applied, ApplyFault>> {
        Box::pin(self.do_apply(part))
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.do_rollback())
    }

    fn retire<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { self.marks.retire(&self.client, lanes).await })
    }
}
