//! The memory app: the connector to read first, and the one that the simulation runs on.
//!
//! It keeps every promise of [`tandem_core::connect`] with nothing but ordered maps: tables with unique and
//! foreign keys, a log of committed transactions, watermarks, an owner. It needs no runtime, no clock and no
//! threads: each call of the seam gives way once and is ready then, except waiting for the log and scripted
//! holds. The same calls in the same order give the same bytes, so one seed is one history.
//!
//! What real apps do to us is scripted: see [`Reaction`], [`MemoryApp::go_down`], [`MemoryApp::forget_acknowledged`],
//! [`MemoryApp::recreate_slot`], [`MemoryApp::replace`], [`MemoryApp::step_back`].

#![deny(clippy::indexing_slicing)]

mod alter;
mod apply;
mod capture;
mod connector;
mod guard;
mod log;
mod reads;
mod script;
mod store;
mod table;
mod user;

pub use alter::Alter;
pub use script::{Call, Reaction};
pub use table::TableSpec;
pub use user::UserTransaction;

use log::{Log, Logged};
use script::Script;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use store::{Store, Undo, Work};
use tandem_core::connect::{BoxFuture, Owner};
use tandem_core::{
    BarrierId, Entry, Epoch, Guard, IntegrationKey, JournalId, LaneId, Mark, Position, Seq, TableName, Value,
    WallTime,
};

/// An app in memory. Clones are handles to the same app.
#[derive(Clone, Default)]
pub struct MemoryApp {
    world: Arc<Mutex<World>>,
}

/// All that an app is. Behind one lock, which is never held over an await.
struct World {
    store: Store,
    log: Log,
    captured: BTreeSet<TableName>,
    owner: Option<Owner>,
    /// The number of the source and of the capture that is open now.
    open_source: Option<u64>,
    open_capture: Option<u64>,
    next_handle: u64,
    guards: Vec<Guard>,
    marks: BTreeMap<MarkKey, MarkRow>,
    fences: BTreeMap<(Arc<str>, JournalId), Epoch>,
    script: Script,
    online: bool,
    generation: u64,
    waiting: Vec<Waker>,
    now: WallTime,
    batch_entries: usize,
    fragment_entries: usize,
    commits: VecDeque<Committed>,
    keep_commits: usize,
    history: Option<Vec<Effect>>,
}

/// Which watermark: of which stream and lane.
type MarkKey = (Arc<str>, LaneId);

/// A watermark as the app keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MarkRow {
    journal: JournalId,
    epoch: Epoch,
    seq: Seq,
    position: Position,
}

/// A committed transaction that can still be stepped back over.
struct Committed {
    number: u64,
    undo: Vec<Undo>,
    mark: Option<(MarkKey, Option<MarkRow>)>,
    effects: usize,
}

/// One write of ours that took effect, in the order in which they did: what an oracle compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The number of the destination transaction.
    pub commit: u64,
    /// The stream.
    pub stream: Arc<str>,
    /// The lane.
    pub lane: LaneId,
    /// The change that it comes from.
    pub seq: Seq,
    /// The table.
    pub table: TableName,
    /// What was done.
    pub verb: Verb,
    /// To which record, by the key that it has afterwards.
    pub key: Option<IntegrationKey>,
}

/// What a write of ours did, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// `WriteOp::Upsert`.
    Upsert,
    /// `WriteOp::Patch`.
    Patch,
    /// `WriteOp::Rekey`.
    Rekey,
    /// `WriteOp::Delete`.
    Delete,
}

impl Default for World {
    fn default() -> Self {
        Self {
            store: Store::default(),
            log: Log { incarnation: 1, ..Log::default() },
            captured: BTreeSet::new(),
            owner: None,
            open_source: None,
            open_capture: None,
            next_handle: 0,
            guards: Vec::new(),
            marks: BTreeMap::new(),
            fences: BTreeMap::new(),
            script: Script::default(),
            online: true,
            generation: 0,
            waiting: Vec::new(),
            now: WallTime::default(),
            batch_entries: 1_000,
            fragment_entries: 1_000,
            commits: VecDeque::new(),
            keep_commits: 0,
            history: None,
        }
    }
}

impl World {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    /// Makes a transaction part of the log: what is captured of it, and the barriers.
    fn commit(&mut self, work: Work, barrier: Option<BarrierId>, mark: Option<Mark>) -> u64 {
        let changes =
            work.changes.into_iter().filter(|change| self.captured.contains(&change.relation.table));
        let mut entries: Vec<_> = changes.map(Entry::Change).collect();
        entries.extend(barrier.map(Entry::Barrier));
        self.log.head += 1;
        let number = self.log.head;
        let noted = mark.as_ref().is_some_and(|mark| !mark.note.is_empty());
        if !entries.is_empty() || noted {
            let entries = Arc::new(entries);
            self.log.transactions.push_back(Logged { number, entries, committed_at: self.now, mark });
        }
        if self.keep_commits > 0 {
            let effects = self.history.as_ref().map_or(0, Vec::len);
            self.commits.push_back(Committed { number, undo: work.undo, mark: None, effects });
            while self.commits.len() > self.keep_commits {
                self.commits.pop_front();
            }
        }
        self.wake();
        number
    }
}

impl MemoryApp {
    /// An app without tables.
    pub fn new() -> Self {
        Self::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic under the lock is a failed test; whoever still looks sees what was there.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a table, empty, in place of one that had its name.
    pub fn create_table(&self, spec: TableSpec) {
        self.world().store.create(spec);
    }

    /// Drops a table. The log says nothing of it.
    pub fn drop_table(&self, table: &TableName) {
        self.world().store.tables.remove(table);
    }

    /// The rows of a table, in the order of their values.
    pub fn rows(&self, table: &TableName) -> Vec<Vec<Value>> {
        let world = self.world();
        let rows = world.store.tables.get(table).map(|table| table.rows.values().cloned());
        let mut rows: Vec<_> = rows.into_iter().flatten().map(table::SortKey).collect();
        rows.sort();
        rows.into_iter().map(|row| row.0).collect()
    }

    /// Sets the app's clock, which stamps its transactions.
    pub fn set_time(&self, now: WallTime) {
        self.world().now = now;
    }

    /// How many entries one batch and one fragment may hold: small ones make large transactions of small ones.
    pub fn set_batch(&self, batch_entries: usize, fragment_entries: usize) {
        let mut world = self.world();
        world.batch_entries = batch_entries.max(1);
        world.fragment_entries = fragment_entries.max(1);
    }

    /// How many captured transactions wait to be acknowledged.
    pub fn retained(&self) -> usize {
        self.world().log.retained()
    }

    /// Whether anything of ours is left in the app.
    pub fn is_clean(&self) -> bool {
        let world = self.world();
        let nothing_captured = world.captured.is_empty() && world.log.acknowledged.is_none();
        nothing_captured
            && world.guards.is_empty()
            && world.owner.is_none()
            && world.marks.is_empty()
            && world.fences.is_empty()
    }

    /// The guards that stand now.
    pub fn guards(&self) -> Vec<Guard> {
        self.world().guards.clone()
    }

    /// The watermarks as the app has them: stream, lane, data folder, Seq, source position.
    pub fn marks(&self) -> Vec<(Arc<str>, LaneId, JournalId, Seq, Position)> {
        let world = self.world();
        let marks = world.marks.iter();
        marks
            .map(|((stream, lane), row)| (stream.clone(), *lane, row.journal, row.seq, row.position.clone()))
            .collect()
    }

    /// Records from now on what took effect; see [`MemoryApp::history`].
    pub fn record_history(&self) {
        self.world().history.get_or_insert_default();
    }

    /// What took effect since [`MemoryApp::record_history`], without what was stepped back over.
    pub fn history(&self) -> Vec<Effect> {
        self.world().history.clone().unwrap_or_default()
    }

    /// The history from the `from`-th effect on.
    pub fn effects_since(&self, from: usize) -> Vec<Effect> {
        self.world()
            .history
            .as_ref()
            .and_then(|history| history.get(from..))
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// Breaks all connections; new ones can be made.
    pub fn break_connections(&self) {
        let mut world = self.world();
        world.generation += 1;
        world.open_source = None;
        world.open_capture = None;
        world.wake();
    }

    /// The app cannot be reached until [`MemoryApp::come_back`]. Its users go on.
    pub fn go_down(&self) {
        self.break_connections();
        self.world().online = false;
    }

    /// The app can be reached again.
    pub fn come_back(&self) {
        self.world().online = true;
    }

    /// The app loses the last `transactions` acknowledgements, as a database does that is killed between two
    /// checkpoints: it has more of its log than it needs to, and a capture must still not deliver it twice.
    pub fn forget_acknowledged(&self, transactions: usize) {
        let mut world = self.world();
        let Some(acknowledged) = world.log.acknowledged else { return };
        let known = world.log.transactions.partition_point(|logged| logged.number <= acknowledged);
        let to = known.saturating_sub(transactions);
        let number = match to.checked_sub(1) {
            Some(last) => world.log.transactions.get(last).map_or(acknowledged, |logged| logged.number),
            None => world.log.transactions.front().map_or(acknowledged, |logged| logged.number - 1),
        };
        world.log.acknowledged = Some(number.min(acknowledged));
        drop(world);
        self.break_connections();
    }

    /// The place in the log that was kept for us is lost and made anew at the end: what lies between is gone.
    pub fn recreate_slot(&self) {
        let mut world = self.world();
        world.log.transactions.clear();
        world.log.acknowledged = world.log.acknowledged.map(|_| world.log.head);
        drop(world);
        self.break_connections();
    }

    /// The app is replaced by another with the same records (a restore, a promoted copy): its log is another.
    pub fn replace(&self) {
        let mut world = self.world();
        world.log.incarnation += 1;
        drop(world);
        self.break_connections();
    }

    /// Keeps what is needed to [`step back`](MemoryApp::step_back) over the last `commits` transactions.
    pub fn keep_commits(&self, commits: usize) {
        self.world().keep_commits = commits;
    }

    /// The app loses its last `commits` transactions, ours with their watermarks, as under asynchronous commit.
    /// If a capture has seen one of them, its position is a gap from then on. Returns how many it lost: no more than are [kept](MemoryApp::keep_commits).
    pub fn step_back(&self, commits: usize) -> usize {
        let mut guard = self.world();
        let world = &mut *guard;
        let mut lost = 0;
        while let Some(commit) = (lost < commits).then(|| world.commits.pop_back()).flatten() {
            commit.undo.into_iter().rev().for_each(|undo| world.store.take_back(undo));
            match commit.mark {
                Some((key, Some(row))) => {
                    world.marks.insert(key, row);
                }
                Some((key, None)) => {
                    world.marks.remove(&key);
                }
                None => {}
            }
            if let Some(history) = &mut world.history {
                history.truncate(commit.effects);
            }
            world.log.transactions.retain(|logged| logged.number < commit.number);
            world.log.head = commit.number - 1;
            lost += 1;
        }
        // If a capture has seen what is gone, its numbers must not be given again: the log is another one.
        if world.log.seen > world.log.head {
            world.log.incarnation += 1;
            world.log.seen = 0;
        }
        drop(guard);
        self.break_connections();
        lost
    }
}

impl std::fmt::Debug for MemoryApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryApp")
    }
}
