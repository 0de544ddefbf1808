//! The memory app as a destination: transactions of ours, with their watermark.
//!
//! A transaction that is still open is a list of parts, done again from the start with each new part and undone
//! behind it: nobody sees anything of it before it commits, and it locks nobody out. That costs what a real
//! database saves with locks; here it buys that the code is short enough to be read as a definition.

use super::alter::fitted;
use super::connector::fenced;
use super::script::{Call, Line, Reply};
use super::store::{Store, Work};
use super::table::SortKey;
use super::{BoxFuture, Effect, MarkRow, Owner, Verb, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::connect::{
    Advance, Applied, Apply, ApplyFault, Begin, Copied, Outcome, Part, Plan, Watermark,
};
use tandem_core::{
    Epoch, Fault, FaultClass, IntegrationKey, LaneId, Mark, TableName, Target, Value, Write, WriteOp,
};

/// Writes to the app.
pub(super) struct MemoryApply {
    line: Line,
    owner: Owner,
    stream: Arc<str>,
    note: Arc<str>,
    open: Option<Open>,
}

struct Open {
    begin: Begin,
    parts: Vec<Done>,
}

/// A part that was done in the open transaction.
struct Done {
    writes: Vec<Write>,
    plan: Plan,
    refused: BTreeMap<usize, Fault>,
    copied: Copied,
}

/// Where a transaction stopped, and why: the part, the write in it if one is to blame.
struct Stop {
    part: usize,
    write: Option<usize>,
    fault: Fault,
}

impl MemoryApply {
    pub(super) fn new(line: Line, owner: Owner, stream: &str) -> Self {
        Self { line, owner, stream: stream.into(), note: "".into(), open: None }
    }

    fn is_fenced(&self, world: &World) -> bool {
        let ours = world.fences.get(&(self.stream.clone(), self.owner.journal)).copied();
        ours.unwrap_or(Epoch(0)) > self.owner.epoch
    }

    /// The compare of the watermark's compare-and-set.
    fn compare(&self, world: &World, begin: Begin) -> Result<(), Fault> {
        let stands = match world.marks.get(&(self.stream.clone(), begin.lane)) {
            None => begin.first,
            Some(row) => {
                row.journal == self.owner.journal && row.epoch == self.owner.epoch && row.seq == begin.from
            }
        };
        if stands && !self.is_fenced(world) {
            return Ok(());
        }
        let message = format!("the watermark of lane {} is not where we left it", begin.lane);
        Err(fenced("begin transaction", &message))
    }

    fn do_part(&mut self, world: &mut World, part: Part<'_>) -> Result<Applied, ApplyFault> {
        let plain = |fault| ApplyFault { fault, write: None, outcome: Outcome::RolledBack };
        let mut open = match (part.begin, self.open.take()) {
            (Some(begin), None) => Open { begin, parts: Vec::new() },
            (None, Some(open)) => open,
            (Some(_), Some(_)) => return Err(plain(protocol("a transaction is already open"))),
            (None, None) => return Err(plain(protocol("no transaction is open"))),
        };
        // Compared with each part: another start of ours may have come in between.
        self.line.stands(world).and_then(|()| self.compare(world, open.begin)).map_err(plain)?;
        open.parts.push(Done {
            writes: part.writes.to_vec(),
            plan: part.plan,
            refused: BTreeMap::new(),
            copied: Copied::default(),
        });
        let last = open.parts.len() - 1;
        let work = loop {
            let mut work = Work::default();
            let start = work.savepoint();
            let Err(stop) = attempt(world, &mut work, &mut open.parts, part.commit.is_some()) else {
                if part.commit.is_none() {
                    world.store.rollback(&mut work, start);
                }
                break work;
            };
            world.store.rollback(&mut work, start);
            let write = stop.write.filter(|_| stop.part == last);
            match (write, open.parts.last_mut()) {
                // A write that only the end of its transaction refused is left out, and the rest is done again.
                (Some(write), Some(done)) if part.plan.leaves_out() && stop.fault.class.is_about_record() => {
                    done.refused.insert(write, stop.fault);
                }
                _ => return Err(ApplyFault { fault: stop.fault, write, outcome: Outcome::RolledBack }),
            }
        };
        let last = open.parts.last();
        let copied = last.map(|done| done.copied).unwrap_or_default();
        let refused = last.map(|done| done.refused.clone()).unwrap_or_default();
        match part.commit {
            None => self.open = Some(open),
            Some(advance) => self.commit(world, work, &open, advance),
        }
        Ok(Applied { refused: refused.into_iter().collect(), copied })
    }

    fn commit(&self, world: &mut World, work: Work, open: &Open, advance: Advance) {
        let key = (self.stream.clone(), open.begin.lane);
        let row = MarkRow {
            journal: self.owner.journal,
            epoch: self.owner.epoch,
            seq: advance.to,
            position: advance.position,
        };
        let before = world.marks.insert(key.clone(), row);
        let mark = Mark { stream: self.stream.clone(), seq: advance.to, note: self.note.clone() };
        let number = world.commit(work, None, Some(mark));
        if let Some(commit) = world.commits.back_mut().filter(|commit| commit.number == number) {
            commit.mark = Some((key, before));
        }
        if let Some(history) = &mut world.history {
            for done in &open.parts {
                let stood = done.writes.iter().enumerate().filter(|(at, _)| !done.refused.contains_key(at));
                history.extend(stood.map(|(_, write)| effect(number, &self.stream, open.begin.lane, write)));
            }
        }
    }
}

fn protocol(message: &str) -> Fault {
    Fault::new(FaultClass::Internal, "apply part", message)
}

fn effect(commit: u64, stream: &Arc<str>, lane: LaneId, write: &Write) -> Effect {
    let place = |values: &[Option<Value>], old: Option<&IntegrationKey>| {
        let part = |(n, place): (usize, &usize)| {
            let known = values.get(*place).cloned().flatten();
            known.or_else(|| old.and_then(|old| old.values().get(n).cloned()))
        };
        let key = write.target.key.iter().enumerate().map(part).collect::<Option<Vec<_>>>();
        key.map(IntegrationKey::from_values)
    };
    let (verb, key) = match &write.op {
        WriteOp::Upsert(values) => {
            (Verb::Upsert, place(&values.iter().cloned().map(Some).collect::<Vec<_>>(), None))
        }
        WriteOp::Patch { key, values } => (Verb::Patch, place(values, Some(key))),
        WriteOp::Rekey { old, values } => (Verb::Rekey, place(values, Some(old))),
        WriteOp::Delete(key) => (Verb::Delete, Some(key.clone())),
    };
    let (stream, table) = (stream.clone(), write.target.table.clone());
    Effect { commit, stream, lane, seq: write.seq, table, verb, key }
}

/// Does all parts. On a stop the caller takes everything back.
fn attempt(world: &mut World, work: &mut Work, parts: &mut [Done], commit: bool) -> Result<(), Stop> {
    let last = parts.len().saturating_sub(1);
    // The source transaction that is being done in order, and the part in which its checks are blamed.
    let mut transaction = None;
    for (part, done) in parts.iter_mut().enumerate() {
        if matches!(done.plan, Plan::Copy | Plan::Load) {
            done.copied = copy(world, work, &done.writes, done.plan == Plan::Load).map_err(|fault| Stop {
                part,
                write: None,
                fault,
            })?;
            continue;
        }
        let netted = if done.plan == Plan::Fast { tandem_core::net(&done.writes) } else { None };
        if let Some(net) = netted {
            fast(world, work, &done.writes, net).map_err(|fault| Stop { part, write: None, fault })?;
            continue;
        }
        for (at, write) in done.writes.iter().enumerate() {
            if transaction.is_some_and(|open| open != write.transaction) {
                check_end(&mut world.store, work, part)?;
            }
            transaction = Some(write.transaction);
            if done.refused.contains_key(&at) {
                continue;
            }
            work.unique_at_end = true;
            work.write = PLACES * part + at;
            let before = work.savepoint();
            let outcome = match world.script.refuses(write) {
                Some(fault) => Err(fault),
                None => do_write(&mut world.store, work, &write.target, &write.op),
            };
            match outcome {
                Ok(()) => {}
                // It went through when its part was done, which was said. A database holds locks against this.
                Err(fault) if part < last && done.plan.leaves_out() => {
                    let message = format!("somebody else was in the way meanwhile: {}", fault.message);
                    let fault = Fault::new(FaultClass::Conflict, "apply part", message);
                    return Err(Stop { part, write: None, fault });
                }
                Err(fault) if done.plan.leaves_out() && fault.class.is_about_record() => {
                    world.store.rollback(work, before);
                    done.refused.insert(at, fault);
                }
                Err(fault) => return Err(Stop { part, write: Some(at), fault }),
            }
        }
        if done.plan == Plan::Single {
            transaction = None;
            check_end(&mut world.store, work, part)?;
        }
    }
    // Without a commit the last source transaction may go on in the next part: its checks wait for its end.
    if commit { check_end(&mut world.store, work, parts.len()) } else { Ok(()) }
}

/// More writes than a part can hold: a write is known by part and place in one number.
const PLACES: usize = 1 << 32;

fn check_end(store: &mut Store, work: &mut Work, part: usize) -> Result<(), Stop> {
    store.check_pending(work).map_err(|(write, fault)| {
        if write == usize::MAX {
            return Stop { part, write: None, fault };
        }
        Stop { part: write / PLACES, write: Some(write % PLACES), fault }
    })
}

/// The fast plan: deletes, children first, then the rest, parents first, each unique key checked at once.
fn fast(world: &mut World, work: &mut Work, writes: &[Write], net: tandem_core::Net) -> Result<(), Fault> {
    if let Some(fault) = writes.iter().find_map(|write| world.script.refuses(write)) {
        return Err(fault);
    }
    work.unique_at_end = false;
    work.write = usize::MAX;
    let store = &mut world.store;
    let mut tables = net.tables;
    // Netting comes in no order; ours is that of the keys, so that the same batch ends the same way each time.
    for table in &mut tables {
        table.deletes.sort_by_key(|key| SortKey(key.values().to_vec()));
        table.upserts.sort_by_key(|values| SortKey(values.clone()));
        table.patches.sort_by_key(|(key, _)| SortKey(key.values().to_vec()));
    }
    for table in tables.iter_mut().rev() {
        for key in std::mem::take(&mut table.deletes) {
            do_write(store, work, &table.target, &WriteOp::Delete(key))?;
        }
    }
    for table in tables {
        for values in table.upserts {
            do_write(store, work, &table.target, &WriteOp::Upsert(values))?;
        }
        for (key, values) in table.patches {
            do_write(store, work, &table.target, &WriteOp::Patch { key, values })?;
        }
    }
    Ok(())
}

/// Rows that were read from a table: only what differs is written.
fn copy(world: &mut World, work: &mut Work, writes: &[Write], load: bool) -> Result<Copied, Fault> {
    if let Some(fault) = writes.iter().find_map(|write| world.script.refuses(write)) {
        return Err(fault);
    }
    work.unique_at_end = false;
    work.write = usize::MAX;
    let store = &mut world.store;
    let mut copied = Copied::default();
    for write in writes {
        let WriteOp::Upsert(values) = &write.op else {
            return Err(protocol("only upserts can be copied"));
        };
        let values = &resolved(store, &write.target, &values.iter().cloned().map(Some).collect::<Vec<_>>())?;
        let values: Vec<Value> = values.iter().flatten().cloned().collect();
        match standing(store, &write.target, &values)? {
            None => copied.inserted += 1,
            Some(_) if load => {
                let message = format!("a record of {} is there already", write.target.table);
                return Err(Fault::new(FaultClass::Application, "load records", message).code("unique"));
            }
            Some(true) => {
                copied.unchanged += 1;
                continue;
            }
            Some(false) => copied.updated += 1,
        }
        do_write(store, work, &write.target, &write.op)?;
    }
    Ok(copied)
}

/// Whether the record of an upsert is there, and as it is to be.
fn standing(store: &Store, target: &Target, values: &[Value]) -> Result<Option<bool>, Fault> {
    let table = store.table(&target.table)?;
    let places: Vec<usize> = target.columns.iter().filter_map(|column| table.place(column)).collect();
    let key_places: Vec<usize> = target.key.iter().filter_map(|at| places.get(*at).copied()).collect();
    let key: Vec<Value> = target.key.iter().filter_map(|at| values.get(*at).cloned()).collect();
    let found = table.find(&key_places, &key).first().and_then(|id| table.rows.get(id));
    let columns = |place: usize| table.spec.columns.get(place).map_or("any", |column| &*column.type_name);
    let is_so = |row: &[Value], place: usize, value| row.get(place) == fitted(columns(place), value).as_ref();
    Ok(found.map(|row| places.iter().zip(values).all(|(place, value)| is_so(row, *place, value))))
}

fn do_write(store: &mut Store, work: &mut Work, target: &Target, op: &WriteOp) -> Result<(), Fault> {
    let table = store.table(&target.table)?;
    let places = target
        .columns
        .iter()
        .map(|column| table.place(column).ok_or_else(|| column_missing(target, &target.table, column)));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let key_places: Vec<_> = target.key.iter().filter_map(|at| places.get(*at).copied()).collect();
    let find = |key: &[Value]| table.find(&key_places, key).first().copied();
    let refused = |code: &str, message: &str| {
        let message = format!("{message} in {}", target.table);
        Fault::new(FaultClass::Application, "write record", message)
            .code(code)
            .table(target.table.to_string())
    };
    let (found, values): (_, Vec<Option<Value>>) = match op {
        WriteOp::Delete(key) => {
            return find(key.values()).map_or(Ok(()), |id| store.delete(work, &target.table, id));
        }
        WriteOp::Patch { key, values } => match find(key.values()) {
            Some(id) => (Some(id), values.clone()),
            None => return Err(refused("record_missing", "the record to change is not there")),
        },
        WriteOp::Upsert(values) => {
            let values: Vec<_> = values.iter().cloned().map(Some).collect();
            (find(&key_of(target, &values)), values)
        }
        WriteOp::Rekey { old, values } => match find(old.values()) {
            Some(id) => (Some(id), values.clone()),
            None if values.iter().all(Option::is_some) => (find(&key_of(target, values)), values.clone()),
            None => return Err(refused("record_missing", "the record whose key changes is not there")),
        },
    };
    let values = resolved(store, target, &values)?;
    let key = key_of(target, &values);
    if !matches!(op, WriteOp::Patch { .. })
        && found.is_none()
        && (key.len() != target.key.len() || key.iter().any(Value::is_null))
    {
        return Err(refused("key_null", "a part of the integration key is null"));
    }
    let mut row = match found.and_then(|id| table.rows.get(&id)) {
        Some(row) => row.clone(),
        None => vec![Value::Null; table.spec.columns.len()],
    };
    for (place, value) in places.into_iter().zip(values) {
        if let (Some(cell), Some(value)) = (row.get_mut(place), value) {
            *cell = value;
        }
    }
    match found {
        Some(id) => store.update(work, &target.table, id, row),
        None => store.insert(work, &target.table, row),
    }
}

/// A statement that writes to `target` names a column of a table that has none of that name.
fn column_missing(target: &Target, of: &TableName, column: &str) -> Fault {
    let message = format!("column {column} of {of} is not there");
    Fault::new(FaultClass::Schema, "write record", message)
        .code("column_missing")
        .table(target.table.to_string())
}

/// The values of a write with those that are looked up.
fn resolved(store: &Store, target: &Target, values: &[Option<Value>]) -> Result<Vec<Option<Value>>, Fault> {
    let mut values = values.to_vec();
    for (place, lookup) in &target.lookups {
        let Some(Some(value)) = values.get_mut(*place) else { continue };
        if value.is_null() {
            continue;
        }
        let table = store.table(&lookup.table)?;
        let missing = || lookup.missing(target, *place);
        let no_column = |column| column_missing(target, &lookup.table, column);
        let at = |column| table.place(column).ok_or_else(|| no_column(column));
        let (key, column) = (at(&lookup.key)?, at(&lookup.column)?);
        let row = table.find(&[key], std::slice::from_ref(value)).first().and_then(|id| table.rows.get(id));
        let found = row.and_then(|row| row.get(column)).filter(|found| !found.is_null());
        *value = found.cloned().ok_or_else(missing)?;
    }
    Ok(values)
}

fn key_of(target: &Target, values: &[Option<Value>]) -> Vec<Value> {
    target.key.iter().filter_map(|place| values.get(*place).cloned().flatten()).collect()
}

impl Apply for MemoryApply {
    fn set_note(&mut self, note: Arc<str>) {
        self.note = note;
    }

    fn fence(&mut self) -> BoxFuture<'_, Result<Vec<Watermark>, Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Fence).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.line.stands(&world)?;
                if self.is_fenced(&world) {
                    return Err(fenced("fence older starts", "a later start of this data folder was here"));
                }
                world.fences.insert((self.stream.clone(), self.owner.journal), self.owner.epoch);
                let ours = world.marks.iter_mut().filter(|((stream, _), _)| *stream == self.stream);
                let marks = ours.map(|((_, lane), row)| {
                    if row.journal == self.owner.journal {
                        row.epoch = self.owner.epoch;
                    }
                    Watermark { lane: *lane, journal: row.journal, epoch: row.epoch, seq: row.seq }
                });
                Ok(marks.collect())
            })
        })
    }

    fn apply<'a>(&'a mut self, part: Part<'a>) -> BoxFuture<'a, Result<Applied, ApplyFault>> {
        Box::pin(async move {
            let commits = part.commit.is_some();
            let lost = |fault| ApplyFault {
                fault,
                write: None,
                outcome: if commits { Outcome::Unknown } else { Outcome::RolledBack },
            };
            let rolled_back = |fault| ApplyFault { fault, write: None, outcome: Outcome::RolledBack };
            let line = self.line.clone();
            let reply = match line.call(Call::Apply).await {
                Ok(reply) => reply,
                Err(fault) => {
                    self.open = None;
                    return Err(rolled_back(fault));
                }
            };
            if reply == Reply::NeverAsked {
                self.open = None;
                return Err(lost(line.lose()));
            }
            let done = self.do_part(&mut line.app.world(), part);
            match (reply, done) {
                (Reply::Lose, _) => {
                    self.open = None;
                    Err(lost(line.lose()))
                }
                (_, done) => done,
            }
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Rollback).await?;
            self.open = None;
            self.line.reply(reply, || Ok(()))
        })
    }

    fn retire<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Retire).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.line.stands(&world)?;
                if self.is_fenced(&world) {
                    return Err(fenced("retire lanes", "a later start of this data folder was here"));
                }
                let world = &mut *world;
                world.marks.retain(|(stream, lane), mark| {
                    let ours = *stream == self.stream && mark.journal == self.owner.journal;
                    !(ours && lanes.contains(lane))
                });
                let marks = &world.marks;
                world.fences.retain(|(stream, journal), _| {
                    let mut held =
                        marks.iter().filter(|((of, _), mark)| of == stream && mark.journal == *journal);
                    *stream != self.stream || held.next().is_some()
                });
                Ok(())
            })
        })
    }
}
