//! Destination transactions, with the watermark in them.
//!
//! The transaction has SQLite's one write lock from its first statement, so the compare of the watermark's
//! compare-and-set is a read. Afterwards the lock is left alone for as long as it was held: back-to-back
//! transactions of ours would let an app do one write in seconds.

use super::trouble::{during, fault, is_unsure};
use super::write::{self, Aside, Shape};
use super::{Desk, SqliteApp, changes, connect, guard, watermark};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_core::connect::{
    Advance, Applied, Apply, ApplyFault, Begin, BoxFuture, Copied, Outcome, Owner, Part, Plan, Watermark,
};
use tandem_core::{Fault, FaultClass, LaneId, Seq, Target, Write, WriteOp};

/// However long the lock was held, it is not left alone for longer than this.
const PAUSE_MOST: Duration = Duration::from_secs(1);

pub(super) struct SqliteApply {
    desk: Desk<Writer>,
    note: Arc<str>,
    /// When the lock may be taken again.
    free_at: Instant,
}

/// The connection that writes, and its open transaction.
struct Writer {
    conn: Connection,
    owner: Owner,
    stream: String,
    open: Option<Open>,
    shapes: HashMap<Arc<Target>, Arc<Shape>>,
    schema_version: i64,
    /// Guards stand in the app, which ours must pass.
    guarded: bool,
}

struct Open {
    begin: Begin,
    since: Instant,
    /// The row that says where ours begins, in an app that is captured.
    ours: Option<i64>,
    order: Order,
}

/// Where the exact order stands between two writes.
#[derive(Debug, Clone, Default)]
struct Order {
    transaction: Option<Seq>,
    asides: Vec<Aside>,
}

/// A part as the thread gets it.
struct Job {
    begin: Option<Begin>,
    writes: Vec<Write>,
    plan: Plan,
    commit: Option<Advance>,
    /// What its mark says besides.
    note: Arc<str>,
}

/// Why a part stopped, and at which write.
struct Stop {
    fault: Fault,
    write: Option<usize>,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop { fault, write: None }
    }
}

impl SqliteApply {
    pub(super) async fn open(app: &SqliteApp, owner: Owner, stream: &str) -> Result<Self, Fault> {
        let (path, stream) = (app.path.clone(), stream.to_owned());
        let desk = Desk::open(move || {
            let conn = connect(&path)?;
            Ok(Writer {
                conn,
                owner,
                stream,
                open: None,
                shapes: HashMap::new(),
                schema_version: -1,
                guarded: false,
            })
        })
        .await?;
        Ok(Self { desk, note: "".into(), free_at: Instant::now() })
    }
}

impl Writer {
    /// One short transaction of its own.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection, Owner, &str) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let failed = during("write to the app");
        if self.open.is_some() {
            return Err(fault(FaultClass::Internal, "write to the app", "a transaction is open"));
        }
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let done = work(&tx, self.owner, &self.stream)?;
        tx.commit().map_err(&failed)?;
        Ok(done)
    }

    fn part(&mut self, job: Job) -> (Result<Applied, ApplyFault>, Option<Duration>) {
        let commits = job.commit.is_some();
        let since = self.open.as_ref().map_or_else(Instant::now, |open| open.since);
        let done = self.begin(&job).map_err(|fault| (Stop::from(fault), false));
        let done = done.and_then(|()| self.work(job));
        match done {
            Ok(applied) => (Ok(applied), commits.then(|| since.elapsed())),
            Err((stop, in_commit)) => {
                let unsure = in_commit && is_unsure(&stop.fault);
                self.rollback();
                let outcome = if unsure { Outcome::Unknown } else { Outcome::RolledBack };
                (Err(ApplyFault { fault: stop.fault, write: stop.write, outcome }), Some(since.elapsed()))
            }
        }
    }

    fn rollback(&mut self) {
        self.open = None;
        if !self.conn.is_autocommit() {
            // SQLite may have rolled back by itself meanwhile: then there is nothing left to do.
            let _already_gone = self.conn.execute_batch("ROLLBACK");
        }
    }

    fn begin(&mut self, job: &Job) -> Result<(), Fault> {
        let protocol = |message: &str| Err(fault(FaultClass::Internal, "apply part", message));
        let begin = match (job.begin, &self.open) {
            (Some(begin), None) => begin,
            (None, Some(_)) => return Ok(()),
            (Some(_), Some(_)) => return protocol("a transaction is already open"),
            (None, None) => return protocol("no transaction is open"),
        };
        let failed = during("begin transaction");
        self.conn.execute_batch("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON").map_err(&failed)?;
        let since = Instant::now();
        watermark::compare(&self.conn, self.owner, &self.stream, begin)?;
        let version: i64 =
            self.conn.pragma_query_value(None, "schema_version", |row| row.get(0)).map_err(&failed)?;
        if version != self.schema_version {
            self.shapes.clear();
            self.guarded = guard::any(&self.conn)?;
            self.schema_version = version;
        }
        if self.guarded {
            guard::begin_ours(&self.conn)?;
        }
        let ours = if changes::exists(&self.conn)? { Some(self.begin_ours()?) } else { None };
        self.open = Some(Open { begin, since, ours, order: Order::default() });
        Ok(())
    }

    fn begin_ours(&self) -> Result<i64, Fault> {
        let sql = format!(
            "INSERT INTO _tandem_changes (nonce, kind, layout, at) VALUES (random(), '{}', 0, julianday('now'))",
            changes::OURS_BEGINS
        );
        self.conn.execute(&sql, []).map_err(during("begin transaction"))?;
        Ok(self.conn.last_insert_rowid())
    }

    /// Ends what [`Writer::begin_ours`] began: nothing of it stays if we wrote to no captured table and there is
    /// nothing to note.
    fn end_ours(&self, begun: i64, to: Seq, note: &str) -> rusqlite::Result<()> {
        let last: i64 = self.conn.query_row("SELECT max(id) FROM _tandem_changes", [], |row| row.get(0))?;
        if begun == last && note.is_empty() {
            // The number is given again, and nobody has seen it.
            self.conn.execute("DELETE FROM _tandem_changes WHERE id = ?1", [begun])?;
            let before = "UPDATE sqlite_sequence SET seq = ?1 - 1 WHERE name = '_tandem_changes'";
            self.conn.execute(before, [begun])?;
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO _tandem_changes (nonce, kind, layout, at, c0, c1, c2) \
             VALUES (random(), '{}', 0, julianday('now'), ?1, ?2, ?3)",
            changes::OURS_ENDS
        );
        self.conn.execute(&sql, (&self.stream, to.0.cast_signed(), note)).map(drop)
    }

    /// Does the writes, again without those that turn out to be refused, and commits if it is to. The flag of
    /// an error says whether it came from the commit itself.
    fn work(&mut self, job: Job) -> Result<Applied, (Stop, bool)> {
        let plain = |stop: Stop| (stop, false);
        let savepoint = |conn: &Connection, sql: &str| {
            conn.execute_batch(sql).map_err(|error| (Stop::from(during("apply part")(error)), false))
        };
        let Some(mut open) = self.open.take() else {
            return Err(plain(fault(FaultClass::Internal, "apply part", "no transaction is open").into()));
        };
        let shapes = self.bind(&job.writes).map_err(plain)?;
        let mut refused: BTreeMap<usize, Fault> = BTreeMap::new();
        // Causes of earlier parts cannot be named any more.
        open.order.asides.iter_mut().for_each(|aside| aside.cause = None);
        savepoint(&self.conn, "SAVEPOINT part")?;
        loop {
            let mut order = open.order.clone();
            let attempt = Attempt { conn: &self.conn, shapes: &shapes, job: &job };
            let done = attempt.run(&mut order, &mut refused);
            let done = match (done, &job.commit) {
                (Ok(copied), Some(advance)) => {
                    self.commit(&open, advance, &attempt, &refused).map(|()| copied)
                }
                (done, _) => done.map_err(|stop| (stop, false)),
            };
            match done {
                Ok(copied) => {
                    if job.commit.is_none() {
                        savepoint(&self.conn, "RELEASE part")?;
                        open.order = order;
                        self.open = Some(open);
                    }
                    return Ok(Applied { refused: refused.into_iter().collect(), copied });
                }
                // An app's trigger may have rolled everything back: then there is nothing to go on with.
                Err((Stop { fault, write: Some(write) }, _))
                    if job.plan.leaves_out()
                        && fault.class.is_about_record()
                        && !refused.contains_key(&write)
                        && !self.conn.is_autocommit() =>
                {
                    savepoint(&self.conn, "ROLLBACK TO part")?;
                    refused.insert(write, fault);
                }
                Err(stopped) => return Err(stopped),
            }
        }
    }

    fn bind(&mut self, writes: &[Write]) -> Result<Vec<Arc<Shape>>, Stop> {
        let mut bound = Vec::with_capacity(writes.len());
        let mut last: Option<(&Arc<Target>, Arc<Shape>)> = None;
        for (place, write) in writes.iter().enumerate() {
            if let Some((target, shape)) = &last
                && Arc::ptr_eq(target, &write.target)
            {
                bound.push(shape.clone());
                continue;
            }
            let shape = match self.shapes.get(&write.target) {
                Some(shape) => shape.clone(),
                None => {
                    let shape = Shape::bind(&self.conn, &write.target);
                    let shape = Arc::new(shape.map_err(|fault| Stop { fault, write: Some(place) })?);
                    self.shapes.insert(write.target.clone(), shape.clone());
                    shape
                }
            };
            bound.push(shape.clone());
            last = Some((&write.target, shape));
        }
        Ok(bound)
    }

    fn commit(
        &self,
        open: &Open,
        advance: &Advance,
        attempt: &Attempt<'_>,
        refused: &BTreeMap<usize, Fault>,
    ) -> Result<(), (Stop, bool)> {
        let failed = |error| (Stop::from(during("commit")(error)), false);
        let (owner, begin) = (self.owner, open.begin);
        let moved = self
            .conn
            .execute(
                "UPDATE _tandem_watermark SET seq = ?1, position = ?2 \
                 WHERE stream = ?3 AND lane = ?4 AND journal = ?5 AND epoch = ?6 AND seq = ?7",
                (
                    advance.to.0.cast_signed(),
                    &*advance.position.0,
                    &self.stream,
                    begin.lane.0.cast_signed(),
                    owner.journal.0.to_be_bytes(),
                    owner.epoch.0.cast_signed(),
                    begin.from.0.cast_signed(),
                ),
            )
            .map_err(failed)?;
        if moved != 1 {
            return Err((watermark::elsewhere(begin).into(), false));
        }
        if let Some(begun) = open.ours {
            self.end_ours(begun, advance.to, &attempt.job.note).map_err(failed)?;
        }
        if self.guarded {
            guard::end_ours(&self.conn).map_err(|fault| (fault.into(), false))?;
        }
        let Err(fault) = self.conn.execute_batch("COMMIT").map_err(during("commit")) else { return Ok(()) };
        if !fault.class.is_about_record() {
            return Err((fault.into(), true));
        }
        // A foreign key is broken at the end: SQLite says no more than that.
        let write = attempt.blame(refused).map_err(|fault| (Stop::from(fault), false))?;
        Err((Stop { fault, write }, false))
    }
}

/// One run over the writes of a part.
struct Attempt<'a> {
    conn: &'a Connection,
    shapes: &'a [Arc<Shape>],
    job: &'a Job,
}

impl Attempt<'_> {
    fn run(&self, order: &mut Order, refused: &mut BTreeMap<usize, Fault>) -> Result<Copied, Stop> {
        if matches!(self.job.plan, Plan::Copy | Plan::Load) {
            return self.copy();
        }
        let netted = if self.job.plan == Plan::Fast { tandem_core::net(&self.job.writes) } else { None };
        match netted {
            Some(net) => self.fast(net)?,
            None => self.in_order(order, refused)?,
        }
        // Without a commit the last source transaction may go on in the next part.
        if self.job.commit.is_some() || self.job.plan == Plan::Single {
            self.end_of_transaction(order)?;
        }
        if self.job.commit.is_none() && self.job.plan == Plan::Single {
            self.check_references(refused)?;
        }
        Ok(Copied::default())
    }

    /// Foreign keys are checked by COMMIT, which cannot say which write broke one: looked for before.
    fn check_references(&self, refused: &BTreeMap<usize, Fault>) -> Result<(), Stop> {
        let any: bool = self
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM sqlite_master m, pragma_foreign_key_list(m.name) WHERE m.type = 'table')",
            )
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(|error| Stop::from(during("look for foreign keys")(error)))?;
        let write = if any { self.blame(refused)? } else { None };
        match write {
            None => Ok(()),
            Some(write) => {
                let broken = fault(FaultClass::Reference, "write record", "FOREIGN KEY constraint failed");
                Err(Stop { fault: broken.code("787"), write: Some(write) })
            }
        }
    }

    /// Rows that were read from a table: only what differs is written.
    fn copy(&self) -> Result<Copied, Stop> {
        let mut copied = Copied::default();
        for (write, shape) in self.job.writes.iter().zip(self.shapes) {
            let op = shape.resolved(self.conn, &write.op)?;
            let WriteOp::Upsert(values) = &*op else {
                return Err(fault(FaultClass::Internal, "copy records", "only upserts can be copied").into());
            };
            match write::standing(self.conn, shape, values)? {
                None => copied.inserted += 1,
                Some(false) => copied.updated += 1,
                Some(true) => {
                    copied.unchanged += 1;
                    continue;
                }
            }
            write::do_write(self.conn, shape, &op, 0, None)?;
        }
        Ok(copied)
    }

    fn end_of_transaction(&self, order: &mut Order) -> Result<(), Stop> {
        order.transaction = None;
        write::bring_back(self.conn, &mut order.asides).map_err(|(write, fault)| Stop { fault, write })
    }

    fn in_order(&self, order: &mut Order, refused: &mut BTreeMap<usize, Fault>) -> Result<(), Stop> {
        let single = self.job.plan.leaves_out();
        for (place, (write, shape)) in self.job.writes.iter().zip(self.shapes).enumerate() {
            if order.transaction.is_some_and(|transaction| transaction != write.transaction) {
                self.end_of_transaction(order)?;
            }
            order.transaction = Some(write.transaction);
            if refused.contains_key(&place) {
                continue;
            }
            if !single {
                write::look_up_and_write(self.conn, shape, &write.op, place, Some(&mut order.asides))
                    .map_err(|fault| Stop { fault, write: Some(place) })?;
                continue;
            }
            if let Some(fault) = self.alone(shape, &write.op, place, order)? {
                refused.insert(place, fault);
            }
        }
        Ok(())
    }

    /// Does one write in a savepoint of its own; returns why it was refused.
    fn alone(
        &self,
        shape: &Shape,
        op: &WriteOp,
        place: usize,
        order: &mut Order,
    ) -> Result<Option<Fault>, Stop> {
        let stop = |fault| Stop { fault, write: Some(place) };
        let run = |sql: &str| self.conn.execute_batch(sql).map_err(|error| stop(during("apply part")(error)));
        run("SAVEPOINT one")?;
        let asides = order.asides.clone();
        match write::look_up_and_write(self.conn, shape, op, place, Some(&mut order.asides)) {
            Ok(()) => {
                run("RELEASE one")?;
                Ok(None)
            }
            Err(fault) if fault.class.is_about_record() && !self.conn.is_autocommit() => {
                run("ROLLBACK TO one; RELEASE one")?;
                order.asides = asides;
                Ok(Some(fault))
            }
            Err(fault) => Err(stop(fault)),
        }
    }

    /// Deletes, children first, then the rest, parents first.
    fn fast(&self, net: tandem_core::Net) -> Result<(), Stop> {
        let shape_of = |target: &Arc<Target>| {
            let at = self.job.writes.iter().position(|write| write.target == *target);
            at.and_then(|at| self.shapes.get(at)).expect("a netted table comes from a write of the part")
        };
        let mut tables = net.tables;
        for table in tables.iter_mut().rev() {
            for key in std::mem::take(&mut table.deletes) {
                write::do_write(self.conn, shape_of(&table.target), &WriteOp::Delete(key), 0, None)?;
            }
        }
        for table in tables {
            let shape = shape_of(&table.target);
            for values in table.upserts {
                write::look_up_and_write(self.conn, shape, &WriteOp::Upsert(values), 0, None)?;
            }
            for (key, values) in table.patches {
                write::look_up_and_write(self.conn, shape, &WriteOp::Patch { key, values }, 0, None)?;
            }
        }
        Ok(())
    }

    fn blame(&self, refused: &BTreeMap<usize, Fault>) -> Result<Option<usize>, Fault> {
        let writes = self.job.writes.iter().zip(self.shapes).enumerate();
        let writes = writes.map(|(place, (write, shape))| (place, &**shape, &write.op));
        let done: Vec<_> = writes.filter(|(place, _, _)| !refused.contains_key(place)).collect();
        if self.job.plan == Plan::Fast { Ok(None) } else { write::blame(self.conn, done.into_iter()) }
    }
}

impl Apply for SqliteApply {
    fn set_note(&mut self, note: Arc<str>) {
        self.note = note;
    }

    fn fence(&mut self) -> BoxFuture<'_, Result<Vec<Watermark>, Fault>> {
        Box::pin(async move { self.desk.insist(|writer| writer.write(watermark::fence)).await })
    }

    fn apply<'a>(&'a mut self, part: Part<'a>) -> BoxFuture<'a, Result<Applied, ApplyFault>> {
        Box::pin(async move {
            let commits = part.commit.is_some();
            if part.begin.is_some() {
                tokio::time::sleep_until(self.free_at.into()).await;
            }
            let began = Instant::now();
            loop {
                let Part { begin, writes, plan, ref commit } = part;
                let note = self.note.clone();
                let job = Job { begin, writes: writes.to_vec(), plan, commit: commit.clone(), note };
                let ran = self.desk.run(move |writer| writer.part(job)).await;
                let (done, held) = ran.map_err(|fault| ApplyFault {
                    fault,
                    write: None,
                    outcome: if commits { Outcome::Unknown } else { Outcome::RolledBack },
                })?;
                if let Some(held) = held {
                    self.free_at = Instant::now() + held.min(PAUSE_MOST);
                }
                // Somebody else writes: only a transaction's first part waits for the lock.
                let busy =
                    |failed: &ApplyFault| failed.fault.class == FaultClass::Conflict && begin.is_some();
                match done {
                    Err(failed) if busy(&failed) && began.elapsed() < super::WRITE_PATIENCE => {
                        tokio::time::sleep(super::jitter()).await;
                    }
                    done => return done,
                }
            }
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.desk.run(Writer::rollback).await })
    }

    fn retire<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let lanes = lanes.to_vec();
            let work = move |conn: &Connection, owner: Owner, stream: &str| {
                watermark::retire(conn, owner, stream, &lanes)
            };
            self.desk.insist(move |writer| writer.write(work)).await
        })
    }
}
