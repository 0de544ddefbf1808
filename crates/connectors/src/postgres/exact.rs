//! The exact plan: statement by statement in source order, each source transaction in a savepoint of its own.
//!
//! A unit is one source transaction. It ends with all deferred constraints checked, so that what is wrong with it
//! is known where it happened and not at COMMIT. Many units are sent at once; the first that fails is rolled back
//! to its savepoint, tried again with clashing rows moved aside, and if that does not help either stops the part,
//! or (single) is done row by row, leaving out what is refused.

use super::apply::Halt;
use super::aside::{Aside, aside, key_of, said_again};
use super::error::fault;
use super::lookup;
use super::names::{quoted, quoted_table, schema_of, shown};
use super::pipeline::{Failed, Pipeline};
use super::statements::PreparedTarget;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tandem_core::{Fault, FaultClass, IntegrationKey, Target, Value, Write, WriteOp};
use tokio_postgres::error::DbError;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

/// Statements on their way at once.
const CHUNK: usize = 400;

/// Rows on their way at once where each may be refused: what follows a refusal is sent again.
const ROWS: usize = 50;

const UNIT_BEGIN: &str = "SAVEPOINT tandem_unit";
const UNIT_END: &str =
    "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; RELEASE SAVEPOINT tandem_unit";
const UNIT_LEAVE: &str = "RELEASE SAVEPOINT tandem_unit";
const UNIT_UNDO: &str = "ROLLBACK TO SAVEPOINT tandem_unit; RELEASE SAVEPOINT tandem_unit";
const ROW_BEGIN: &str = "SAVEPOINT tandem_row";
const ROW_END: &str = "RELEASE SAVEPOINT tandem_row";
const ROW_UNDO: &str = "ROLLBACK TO SAVEPOINT tandem_row; RELEASE SAVEPOINT tandem_row";

/// A write, ready to be sent.
pub(super) struct Command<'a> {
    pub(super) statement: Statement,
    pub(super) values: Vec<&'a Value>,
    /// The record must be there.
    pub(super) must_find: bool,
    /// It cannot be written as it is: this fails in its stead.
    pub(super) refusal: Option<String>,
}

/// A part's writes, and where they go.
pub(super) struct Exact<'a> {
    pub(super) client: &'a Client,
    pub(super) writes: &'a [Write],
    pub(super) commands: &'a [Command<'a>],
    pub(super) targets: &'a HashMap<Arc<Target>, PreparedTarget>,
    /// Leave out what is refused instead of stopping.
    pub(super) single: bool,
    /// The last source transaction may go on in the next part: its deferred constraints are not checked yet.
    pub(super) goes_on: bool,
}

/// A statement that PostgreSQL refused.
#[derive(Debug, Clone)]
struct Refusal {
    fault: Fault,
    constraint: Option<Constraint>,
}

/// Whether a column is null that must not be and that the map does not write: no matter of the record, since none would
/// get through.
fn is_unwritten(error: &DbError, target: Option<&Target>) -> bool {
    let (Some(target), Some(column)) = (target, error.column()) else { return false };
    let schema = error.schema().unwrap_or_default();
    let here = error.table() == Some(&*target.table.name) && schema == schema_of(&target.table);
    error.code().code() == "23502" && here && !target.columns.iter().any(|written| **written == *column)
}

/// A constraint, as an error names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Constraint {
    schema: String,
    table: String,
    name: String,
}

impl Constraint {
    fn table_sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// What is known about the clashes of unique values in a unit.
#[derive(Debug, Default)]
struct Clashes {
    /// Rows are moved aside for these.
    constraints: Vec<Constraint>,
    /// The records that are not moved.
    fixed: HashSet<IntegrationKey>,
    /// Moving aside was itself refused: it is not tried again.
    helpless: bool,
}

/// What one unit came to.
type Refused = BTreeMap<usize, Fault>;

impl Exact<'_> {
    /// Does all writes; returns those that were left out.
    pub(super) async fn run(&self) -> Result<Refused, Halt> {
        let mut refused = Refused::new();
        let units = units(self.writes);
        let mut next = 0;
        while let Some(first) = units.get(next) {
            let mut last = next;
            let within = |unit: &&Range<usize>| unit.end - first.start <= CHUNK;
            while units.get(last + 1).filter(within).is_some() {
                last += 1;
            }
            let chunk = units.get(next..=last).unwrap_or_default();
            next = match self.run_chunk(chunk, &mut refused).await? {
                None => last + 1,
                Some((nth, refusal, write)) => {
                    let unit = chunk.get(nth).cloned().unwrap_or(0..0);
                    self.run_hard(unit, refusal, write, &mut refused).await?;
                    next + nth + 1
                }
            };
        }
        Ok(refused)
    }

    /// Sends several units. Returns the first that failed, with its savepoint undone.
    async fn run_chunk(
        &self,
        chunk: &[Range<usize>],
        refused: &mut Refused,
    ) -> Result<Option<(usize, Refusal, Option<usize>)>, Halt> {
        let mut pipeline = Pipeline::new(self.client);
        // For each statement the unit, and the write if it is one.
        let mut places = Vec::new();
        for (nth, unit) in chunk.iter().enumerate() {
            pipeline.text(UNIT_BEGIN).await;
            places.push((nth, None));
            for write in unit.clone() {
                self.send(&mut pipeline, write).await;
                places.push((nth, Some(write)));
            }
            pipeline.text(self.unit_end(unit)).await;
            places.push((nth, None));
        }
        let writes = places.iter().map(|(_, write)| *write).collect::<Vec<_>>();
        match pipeline.finish().await {
            Ok(counts) => {
                self.note_missing(&writes, &counts, refused)?;
                Ok(None)
            }
            Err(failed) => {
                let (nth, write) = places.get(failed.place).copied().unwrap_or_default();
                // Of the unit that failed nothing counts yet.
                let whole = places.iter().take_while(|(unit, _)| *unit < nth).count();
                let counts = failed.counts.get(..whole).unwrap_or_default();
                self.note_missing(&writes, counts, refused)?;
                let refusal = self.refusal(failed, write)?;
                self.undo(UNIT_UNDO).await?;
                Ok(Some((nth, refusal, write)))
            }
        }
    }

    /// A unit that failed as it is: with rows moved aside, and then row by row.
    async fn run_hard(
        &self,
        unit: Range<usize>,
        first: Refusal,
        first_write: Option<usize>,
        refused: &mut Refused,
    ) -> Result<(), Halt> {
        let (mut refusal, mut write) = (first, first_write);
        let mut clashes = Clashes::default();
        while self.adds_clash(&unit, &refusal, &mut clashes) {
            let mut missing = Refused::new();
            match self.run_aside(&unit, &clashes, &mut missing).await? {
                None => {
                    refused.extend(missing);
                    return Ok(());
                }
                Some((again, at)) => (refusal, write) = (again, at),
            }
        }
        if !self.single {
            let write = write.or_else(|| self.blame(&unit, &refusal));
            return Err(Halt::at(refusal.fault, write));
        }
        let refused_here = self.run_rows(&unit, clashes).await?;
        refused.extend(refused_here);
        Ok(())
    }

    /// The unit as a whole, behind what moves rows aside and without what the unit itself overwrites.
    async fn run_aside(
        &self,
        unit: &Range<usize>,
        clashes: &Clashes,
        refused: &mut Refused,
    ) -> Result<Option<(Refusal, Option<usize>)>, Halt> {
        self.must(UNIT_BEGIN).await?;
        if let Err(refusal) = self.move_aside(unit, clashes).await? {
            self.undo(UNIT_UNDO).await?;
            return Ok(Some((refusal, None)));
        }
        let mut pipeline = Pipeline::new(self.client);
        let mut places = Vec::new();
        let said_again = said_again(self.writes.get(unit.clone()).unwrap_or_default());
        for write in unit.clone().filter(|write| !said_again.contains(&(write - unit.start))) {
            self.send(&mut pipeline, write).await;
            places.push(Some(write));
        }
        pipeline.text(self.unit_end(unit)).await;
        places.push(None);
        match pipeline.finish().await {
            Ok(counts) => {
                self.note_missing(&places, &counts, refused)?;
                Ok(None)
            }
            Err(failed) => {
                let write = places.get(failed.place).copied().flatten();
                let refusal = self.refusal(failed, write)?;
                self.undo(UNIT_UNDO).await?;
                Ok(Some((refusal, write)))
            }
        }
    }

    /// Moves rows aside; returns the keys of those that moved.
    async fn move_aside(
        &self,
        unit: &Range<usize>,
        clashes: &Clashes,
    ) -> Result<Result<HashSet<IntegrationKey>, Refusal>, Halt> {
        let mut moved = HashSet::new();
        for constraint in &clashes.constraints {
            let Some(aside) = self.aside(unit, constraint, &clashes.fixed) else { continue };
            let types = vec![Type::TEXT_ARRAY; aside.columns.len()];
            let parameters: Vec<_> =
                aside.columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
            let sent = match self.client.prepare_typed(&aside.sql, &types).await {
                Ok(statement) => self.client.query(&statement, &parameters).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(rows) => moved.extend(rows.iter().filter_map(|row| {
                    let nth = usize::try_from(row.get::<_, i64>(0)).ok()?;
                    aside.keys.get(nth.checked_sub(1)?).cloned()
                })),
                Err(error) => {
                    let failed = Failed { place: 0, error, counts: Vec::new() };
                    return Ok(Err(self.refusal(failed, None)?));
                }
            }
        }
        Ok(Ok(moved))
    }

    /// Row by row, each in a savepoint. Deferred constraints that fail at the end are then checked row by row as
    /// well, with the rows of their tables behind all others, until nothing more gets through.
    ///
    /// Each round that does not settle the unit learns something that it did not know: a constraint to move rows
    /// aside for, a record not to move, a deferred constraint to check. So it ends.
    async fn run_rows(&self, unit: &Range<usize>, mut clashes: Clashes) -> Result<Refused, Halt> {
        let mut checked: BTreeSet<Constraint> = BTreeSet::new();
        loop {
            self.must(UNIT_BEGIN).await?;
            let Ok(moved) = self.move_aside(unit, &clashes).await? else {
                self.undo(UNIT_UNDO).await?;
                clashes = Clashes { helpless: true, ..Clashes::default() };
                continue;
            };
            let left_out = self.try_unit(unit, &checked).await?;
            if left_out.values().any(|refusal| self.adds_clash(unit, refusal, &mut clashes)) {
                self.undo(UNIT_UNDO).await?;
                continue;
            }
            // A row that was moved aside and then not written would keep the value that nothing has.
            let key = |write: &usize| self.writes.get(*write).and_then(key_before);
            let stranded: Vec<_> =
                left_out.keys().filter_map(key).filter(|key| moved.contains(key)).collect();
            if !stranded.is_empty() {
                clashes.fixed.extend(stranded);
                self.undo(UNIT_UNDO).await?;
                continue;
            }
            let mut end = Pipeline::new(self.client);
            end.text(self.unit_end(unit)).await;
            let Err(failed) = end.finish().await else {
                return Ok(left_out.into_iter().map(|(write, refusal)| (write, refusal.fault)).collect());
            };
            let refusal = self.refusal(failed, None)?;
            self.undo(UNIT_UNDO).await?;
            match &refusal.constraint {
                Some(constraint) if !checked.contains(constraint) => {
                    checked.insert(constraint.clone());
                }
                // It cannot be said which row it is: the transaction as a whole is refused.
                _ => return Ok(unit.clone().map(|write| (write, refusal.fault.clone())).collect()),
            }
        }
    }

    /// The rows of a unit one by one; those under the constraints to check come last, again and again as long as
    /// that lets one more through.
    async fn try_unit(
        &self,
        unit: &Range<usize>,
        checked: &BTreeSet<Constraint>,
    ) -> Result<BTreeMap<usize, Refusal>, Halt> {
        let comes_last = |write: &usize| {
            let table = self.writes.get(*write).map(|write| quoted_table(&write.target.table));
            checked.iter().any(|constraint| table == Some(constraint.table_sql()))
        };
        let (mut waiting, before): (Vec<usize>, Vec<usize>) = unit.clone().partition(comes_last);
        let mut left_out = self.try_rows(&before, None).await?;
        let check = check_sql(checked);
        while !waiting.is_empty() {
            let stopped = self.try_rows(&waiting, Some(&check)).await?;
            let still: Vec<usize> = stopped.keys().copied().collect();
            if still.len() == waiting.len() || still.is_empty() {
                left_out.extend(stopped);
                break;
            }
            waiting = still;
        }
        Ok(left_out)
    }

    /// Tries rows one by one, each undone if it is refused, with `check` behind each.
    async fn try_rows(&self, rows: &[usize], check: Option<&str>) -> Result<BTreeMap<usize, Refusal>, Halt> {
        let mut refused = BTreeMap::new();
        let mut next = 0;
        while next < rows.len() {
            let chunk = rows.get(next..rows.len().min(next + ROWS)).unwrap_or_default();
            let mut pipeline = Pipeline::new(self.client);
            let mut places = Vec::new();
            for (nth, write) in chunk.iter().enumerate() {
                pipeline.text(ROW_BEGIN).await;
                self.send(&mut pipeline, *write).await;
                if let Some(check) = check {
                    pipeline.text(check).await;
                }
                pipeline.text(ROW_END).await;
                places.resize(pipeline.len(), nth);
            }
            let per_row = if check.is_some() { 4 } else { 3 };
            let (counts, failed) = match pipeline.finish().await {
                Ok(counts) => (counts, None),
                Err(failed) => (failed.counts.clone(), Some(failed)),
            };
            let done = failed.as_ref().and_then(|failed| places.get(failed.place).copied());
            for (nth, write) in chunk.iter().enumerate().take(done.unwrap_or(chunk.len())) {
                let missing = counts.get(nth * per_row + 1) == Some(&0);
                if missing && self.commands.get(*write).is_some_and(|command| command.must_find) {
                    refused.insert(*write, Refusal { fault: self.row_missing(*write), constraint: None });
                }
            }
            let Some((failed, nth)) = failed.zip(done) else {
                next += chunk.len();
                continue;
            };
            let write = chunk.get(nth).copied().unwrap_or_default();
            refused.insert(write, self.refusal(failed, Some(write))?);
            self.undo(ROW_UNDO).await?;
            next += nth + 1;
        }
        Ok(refused)
    }

    async fn send<'p>(&'p self, pipeline: &mut Pipeline<'p>, write: usize) {
        if let Some(refusal) = self.commands.get(write).and_then(|command| command.refusal.as_deref()) {
            pipeline.text(refusal).await;
        } else if let Some(command) = self.commands.get(write) {
            pipeline.values(command.statement.clone(), command.values.clone()).await;
        }
    }

    /// Turns a failure into a refusal, or stops the part if it is none of a record's.
    fn refusal(&self, failed: Failed, write: Option<usize>) -> Result<Refusal, Halt> {
        let constraint = failed.error.as_db_error().and_then(|error| {
            let part = |part: Option<&str>| part.map(str::to_owned);
            let (schema, table) = (part(error.schema())?, part(error.table())?);
            Some(Constraint { schema, table, name: part(error.constraint())? })
        });
        let target = write.and_then(|write| self.writes.get(write)).map(|write| &write.target);
        let looked_up = target.and_then(|target| lookup::refused(target, &failed.error));
        let mut fault = looked_up.unwrap_or_else(|| fault("write a record", &failed.error));
        if fault.table.is_none() {
            fault.table = target.map(|target| shown(&target.table));
        }
        let written = write.and_then(|write| self.writes.get(write)).map(|write| &*write.target);
        if failed.error.as_db_error().is_some_and(|error| is_unwritten(error, written)) {
            fault.class = FaultClass::Schema;
        }
        if !fault.class.is_about_record() {
            return Err(Halt::at(fault, write));
        }
        Ok(Refusal { fault, constraint })
    }

    /// Whether a refusal is a clash of unique values that moving rows aside may help, and is not known yet.
    fn adds_clash(&self, unit: &Range<usize>, refusal: &Refusal, clashes: &mut Clashes) -> bool {
        let Some(constraint) = &refusal.constraint else { return false };
        let unique = refusal.fault.code.as_deref() == Some("23505");
        if !unique || clashes.helpless || clashes.constraints.contains(constraint) {
            return false;
        }
        if self.aside(unit, constraint, &clashes.fixed).is_none() {
            return false;
        }
        clashes.constraints.push(constraint.clone());
        true
    }

    fn aside(
        &self,
        unit: &Range<usize>,
        constraint: &Constraint,
        fixed: &HashSet<IntegrationKey>,
    ) -> Option<Aside> {
        let sql = constraint.table_sql();
        let writes: Vec<&Write> = self.writes.get(unit.clone())?.iter().collect();
        let target = writes.iter().find(|write| quoted_table(&write.target.table) == sql)?.target.clone();
        let writes: Vec<&Write> = writes.into_iter().filter(|write| write.target == target).collect();
        aside(&target, self.targets.get(&target)?, &constraint.name, &writes, fixed)
    }

    /// The write to name where a check at the end failed: the last one of its table.
    fn blame(&self, unit: &Range<usize>, refusal: &Refusal) -> Option<usize> {
        let of_table = |write: &usize| {
            let write = self.writes.get(*write);
            write.is_some_and(|write| {
                refusal.fault.table.as_deref() == Some(shown(&write.target.table).as_str())
            })
        };
        unit.clone().rev().find(of_table).or_else(|| unit.clone().next_back())
    }

    fn note_missing(
        &self,
        places: &[Option<usize>],
        counts: &[u64],
        refused: &mut Refused,
    ) -> Result<(), Halt> {
        for (write, count) in places.iter().zip(counts) {
            let Some(write) = *write else { continue };
            if *count > 0 || !self.commands.get(write).is_some_and(|command| command.must_find) {
                continue;
            }
            if !self.single {
                return Err(Halt::at(self.row_missing(write), Some(write)));
            }
            refused.insert(write, self.row_missing(write));
        }
        Ok(())
    }

    fn row_missing(&self, write: usize) -> Fault {
        row_missing(self.writes.get(write).map(|write| &*write.target))
    }

    fn unit_end(&self, unit: &Range<usize>) -> &'static str {
        if self.goes_on && unit.end == self.writes.len() { UNIT_LEAVE } else { UNIT_END }
    }

    async fn must(&self, sql: &str) -> Result<(), Halt> {
        self.client.batch_execute(sql).await.map_err(|error| Halt::at(fault("write a record", &error), None))
    }

    async fn undo(&self, sql: &str) -> Result<(), Halt> {
        self.client.batch_execute(sql).await.map_err(|error| Halt::at(fault("undo a record", &error), None))
    }
}

/// The fault of a write whose record is not there.
pub(super) fn row_missing(target: Option<&Target>) -> Fault {
    let fault = Fault::new(FaultClass::Application, "write a record", "the record to change is not there");
    let fault = fault.code("row_missing");
    match target {
        Some(target) => fault.table(shown(&target.table)),
        None => fault,
    }
}

/// The key under which a write finds its record.
fn key_before(write: &Write) -> Option<IntegrationKey> {
    match &write.op {
        WriteOp::Upsert(row) => key_of(&write.target, row),
        WriteOp::Patch { key, .. } | WriteOp::Rekey { old: key, .. } | WriteOp::Delete(key) => {
            Some(key.clone())
        }
    }
}

/// Runs of writes of one source transaction.
fn units(writes: &[Write]) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    for (place, write) in writes.iter().enumerate() {
        match units.last_mut() {
            Some(unit) if before == Some(write.transaction) => unit.end = place + 1,
            _ => units.push(place..place + 1),
        }
        before = Some(write.transaction);
    }
    units
}

fn check_sql(constraints: &BTreeSet<Constraint>) -> String {
    let names: Vec<_> =
        constraints.iter().map(|one| format!("{}.{}", quoted(&one.schema), quoted(&one.name))).collect();
    let names = names.join(", ");
    format!("SET CONSTRAINTS {names} IMMEDIATE; SET CONSTRAINTS {names} DEFERRED")
}
