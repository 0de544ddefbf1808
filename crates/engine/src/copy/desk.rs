//! Where windows wait between the one who reads and the lane that writes, with the progress of both.
//!
//! Only the lane moves the progress, and saves it behind its commit. Whoever is stopped in the middle leaves a window
//! where it is: what was written of it may be written once more. A window whose stretch of the log is no longer there
//! is given back, and read anew.

use super::{AGAIN_AT_ONCE, AHEAD};
use crate::store::{Again, CopyRecord, CopyStage, Record, Store, StoreError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tandem_core::{Fault, IntegrationKey, Relation, Row, Seq, WallTime};
use tokio::sync::watch;

/// So many rounds in a row may come to nothing before the last one: who writes meanwhile may hold a value for a moment.
const STUCK_ROUNDS: u32 = 8;
/// If more records than this are left, they are not tried that often.
const STUCK_RECORDS: u64 = 1_000;

/// Rows that were read between two barriers.
#[derive(Debug)]
pub(crate) struct Window {
    /// The first barrier: everything before it is in the rows.
    pub(crate) low: Seq,
    /// The second: nothing behind it is.
    pub(crate) high: Seq,
    /// Of a two-way map: what comes the other way was in the table up to here before the first barrier.
    pub(crate) knew: Seq,
    /// What was read.
    pub(crate) kind: Kind,
    /// What the rows' cells are.
    pub(crate) relation: Arc<Relation>,
    /// Transactions before the first barrier that may be missing in the rows.
    pub(crate) unseen: Vec<Arc<str>>,
}

/// What a window has read.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The next rows, in order.
    Chunk {
        rows: Vec<Row>,
        /// Behind which key the next chunk begins; `None` if this is the last one.
        next: Option<IntegrationKey>,
    },
    /// Records that are looked at again: each with its row, if it is still there.
    Named {
        records: Vec<(IntegrationKey, Option<Row>)>,
        /// If what is refused now is an error: a place in the log for each.
        places: Vec<Seq>,
        /// The last of their numbers in the list.
        through: u64,
        /// If they are only to be there for others to refer to: the places of columns that are left empty for now.
        without: Arc<[usize]>,
    },
}

/// What is to be read next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// A chunk behind this key. The number is given back with it.
    Chunk(u64, Option<IntegrationKey>),
    /// These records.
    Named(u64, Vec<Again>, Round),
    /// Nothing, until something changes.
    Wait,
    /// Nothing any more.
    End,
}

/// In what way records are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// As often as it gets some of them through.
    Again,
    /// Without what they refer to in a circle, once, when they may be waiting for each other.
    Bare,
    /// What is refused now is an error.
    Last,
}

/// See the module.
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    store: Arc<dyn Store>,
}

struct Inner {
    record: CopyRecord,
    windows: VecDeque<Arc<Window>>,
    /// Rows of the first window that are settled.
    done: usize,
    /// Chunks are read up to here.
    read: Option<IntegrationKey>,
    /// The last chunk was read.
    read_all: bool,
    /// Records are looked at again behind this number.
    again_after: u64,
    /// How many there were when the round began.
    again_before: Option<u64>,
    /// Rises with each window that is given back: what was read ahead of it is void.
    generation: u64,
    /// Rows and records that were dealt with since this start.
    settled: u64,
    closed: bool,
    /// A map that it depends on is behind: what is refused may only wait for that.
    waits: bool,
    /// Why nothing can be read now.
    fault: Option<Fault>,
    /// What was done before this start, and since when it goes on.
    resumed: (u64, Duration),
    /// So many rounds in a row came to nothing.
    stuck_rounds: u32,
    /// The places of columns by which its records refer to each other, or to those of maps that refer to its own.
    circular: Arc<[usize]>,
    /// The round that is on is the one without them.
    is_bare: bool,
    /// There was one since this start.
    was_bare: bool,
}

impl Desk {
    /// Goes on where an initial sync was. `circular`: the places of columns by which records refer to each other in a
    /// circle.
    pub(crate) fn new(
        record: CopyRecord,
        circular: Vec<usize>,
        store: Arc<dyn Store>,
        now: Duration,
    ) -> Self {
        let inner = Inner {
            read: record.through.clone(),
            read_all: record.stage != CopyStage::Chunks,
            resumed: (record.counts.rows, now),
            record,
            windows: VecDeque::new(),
            done: 0,
            again_after: 0,
            again_before: None,
            stuck_rounds: 0,
            circular: circular.into(),
            is_bare: false,
            was_bare: false,
            generation: 0,
            settled: 0,
            closed: false,
            waits: false,
            fault: None,
        };
        Self { inner: Mutex::new(inner), changed: watch::Sender::new(0), store }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Each time that something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How far it has come.
    pub(crate) fn record(&self) -> CopyRecord {
        self.inner().record.clone()
    }

    /// Rows that were dealt with since this start, and since when.
    pub(crate) fn resumed(&self) -> (u64, Duration) {
        let inner = self.inner();
        (inner.record.counts.rows - inner.resumed.0.min(inner.record.counts.rows), inner.resumed.1)
    }

    /// Why nothing can be read now.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.inner().fault.clone()
    }

    /// Notes that reading fails, or does no more.
    pub(super) fn failed(&self, fault: Option<Fault>) {
        self.inner().fault = fault;
    }

    /// Nothing more is to be read or written.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.windows.clear();
        drop(inner);
        self.tell();
    }

    /// Whether nothing more is to be read or written.
    pub(super) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// Whether it reads chosen records of a map that is running, and is no initial sync.
    pub(crate) fn is_refresh(&self) -> bool {
        self.inner().record.refresh.is_some()
    }

    /// What a live change runs into that the copy has not come to is looked at again, and no error.
    pub(crate) fn covers(&self) -> bool {
        let inner = self.inner();
        !inner.closed && inner.record.stage.covers()
    }

    /// What is to be read next.
    pub(super) fn next(&self) -> Result<Next, StoreError> {
        let mut inner = self.inner();
        if inner.closed || inner.record.stage == CopyStage::Ended {
            return Ok(Next::End);
        }
        if inner.windows.len() >= AHEAD {
            return Ok(Next::Wait);
        }
        if !inner.read_all {
            return Ok(Next::Chunk(inner.generation, inner.read.clone()));
        }
        // Records are looked at again one window after the other: each shows what the next can rely on.
        if inner.record.stage == CopyStage::Chunks || !inner.windows.is_empty() {
            return Ok(Next::Wait);
        }
        let flow = inner.record.flow;
        let round = match (inner.record.stage, inner.is_bare) {
            (CopyStage::Last, _) => Round::Last,
            (_, true) => Round::Bare,
            (_, false) => Round::Again,
        };
        let page = self.store.again(flow, inner.again_after, AGAIN_AT_ONCE)?;
        if inner.again_before.is_none() {
            inner.again_before = Some(self.store.again_count(flow)?);
        }
        if page.is_empty() {
            return Ok(Next::Wait);
        }
        Ok(Next::Named(inner.generation, page, round))
    }

    /// The columns that a round leaves empty.
    pub(super) fn left_empty(&self, round: Round) -> Arc<[usize]> {
        match round {
            Round::Bare => self.inner().circular.clone(),
            Round::Again | Round::Last => Arc::default(),
        }
    }

    /// Whether nothing is left to be looked at again, and an initial sync is about to end.
    pub(super) fn is_ending(&self) -> Result<bool, StoreError> {
        let inner = self.inner();
        let in_rounds = matches!(inner.record.stage, CopyStage::Again | CopyStage::Last);
        let waits = inner.closed || !in_rounds || inner.record.refresh.is_some() || !inner.windows.is_empty();
        Ok(!waits && self.store.again_count(inner.record.flow)? == 0)
    }

    /// Notes whether a map that it depends on is behind.
    pub(crate) fn waits(&self, waits: bool) {
        let mut inner = self.inner();
        let changed = inner.waits != waits;
        inner.waits = waits;
        drop(inner);
        if changed {
            self.tell();
        }
    }

    /// What others may rely on: how much was dealt with, and whether there are chunks to come.
    pub(super) fn moved(&self) -> (u64, bool) {
        let inner = self.inner();
        (inner.settled, inner.record.stage == CopyStage::Chunks && !inner.closed)
    }

    /// What the next round of records that are looked at again is to be, once there are no more in this one; the last one
    /// only if nothing that they may wait for has moved meanwhile. Saves what follows. Returns whether anything did.
    pub(super) fn turn(&self, others_move: bool, now: WallTime) -> Result<bool, StoreError> {
        let mut inner = self.inner();
        let in_rounds = matches!(inner.record.stage, CopyStage::Again | CopyStage::Last);
        if inner.closed || !in_rounds || !inner.windows.is_empty() {
            return Ok(false);
        }
        let flow = inner.record.flow;
        if !self.store.again(flow, inner.again_after, 1)?.is_empty() {
            return Ok(false);
        }
        let left = self.store.again_count(flow)?;
        let stuck = inner.again_before.is_none_or(|before| left >= before);
        if left > 0 && stuck && inner.waits {
            return Ok(false);
        }
        let mut record = inner.record.clone();
        match left {
            0 => {
                record.stage = CopyStage::Ended;
                record.ended_at.get_or_insert(now);
            }
            // They are there now, as far as they can be: all of them once more, as they are.
            _ if inner.is_bare => {
                inner.is_bare = false;
                inner.stuck_rounds = 0;
            }
            // None of them got through, not even while changes came that they may have waited for: the next round is the
            // last. Many are not tried for ever: it is not a change to come that they lack. But they may lack each other:
            // then each is made first without what it refers to. Those of other maps do so at the same time, or after
            // that, and are given the rounds for it.
            _ if stuck && !others_move => {
                inner.stuck_rounds += 1;
                let many = left > STUCK_RECORDS && !inner.was_bare;
                match inner.stuck_rounds >= STUCK_ROUNDS || many {
                    true if record.stage == CopyStage::Again
                        && !inner.circular.is_empty()
                        && !inner.was_bare =>
                    {
                        (inner.is_bare, inner.was_bare, inner.stuck_rounds) = (true, true, 0);
                    }
                    true => record.stage = CopyStage::Last,
                    false => {}
                }
            }
            _ => inner.stuck_rounds = 0,
        }
        if record != inner.record {
            self.store.save(&[Record::Copy(Box::new(record.clone()))])?;
            inner.record = record;
        }
        (inner.again_after, inner.again_before) = (0, None);
        drop(inner);
        self.tell();
        Ok(true)
    }

    /// Puts a window where the lane finds it, unless another is to be read instead.
    pub(super) fn put(&self, generation: u64, window: Window) {
        let mut inner = self.inner();
        if inner.closed || inner.generation != generation {
            return;
        }
        if let Kind::Chunk { next, .. } = &window.kind {
            inner.read_all = next.is_none();
            inner.read.clone_from(next);
        }
        inner.windows.push_back(Arc::new(window));
        drop(inner);
        self.tell();
    }

    /// The first window, if a lane that stands at `cursor` may write it, and how many of its rows are settled.
    pub(crate) fn due(&self, cursor: Seq) -> Option<(Arc<Window>, usize)> {
        let inner = self.inner();
        let window = inner.windows.front().filter(|window| window.high <= cursor)?;
        Some((window.clone(), inner.done))
    }

    /// Notes that some more rows of the first window are settled, and saves what follows in one transaction with
    /// `records`: its progress, once it is settled whole. `moved`: how many of them others may have waited for. Called
    /// behind the commit.
    pub(crate) fn settled(
        &self,
        window: &Arc<Window>,
        rows: usize,
        moved: u64,
        mut records: Vec<Record>,
        count: impl FnOnce(&mut CopyRecord),
    ) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let is_first = inner.windows.front().is_some_and(|first| Arc::ptr_eq(first, window));
        if inner.closed || !is_first {
            return Ok(());
        }
        let mut record = inner.record.clone();
        count(&mut record);
        let done = inner.done + rows;
        let whole = done >= window.len();
        if whole && let Kind::Chunk { next, .. } = &window.kind {
            if next.is_none() {
                record.stage = CopyStage::Again;
            }
            record.through = next.clone().or(record.through);
        }
        if whole || !records.is_empty() {
            records.push(Record::Copy(Box::new(record.clone())));
            self.store.save(&records)?;
        }
        inner.settled += moved;
        inner.record = record;
        inner.done = done;
        if whole {
            inner.done = 0;
            inner.windows.pop_front();
            if let Kind::Named { through, .. } = &window.kind {
                inner.again_after = inner.again_after.max(*through);
            }
        }
        drop(inner);
        self.tell();
        Ok(())
    }

    /// Gives the first window back: its stretch of the log is no longer there, or says that all its rows are gone.
    pub(crate) fn give_back(&self) {
        let mut inner = self.inner();
        inner.windows.clear();
        inner.done = 0;
        inner.generation += 1;
        inner.read = inner.record.through.clone();
        inner.read_all = inner.record.stage != CopyStage::Chunks;
        drop(inner);
        self.tell();
    }

    /// Notes what is known of both tables before the first chunk.
    pub(super) fn begins(&self, estimate: Option<u64>, into_empty: bool) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let record = CopyRecord { estimate, into_empty, ..inner.record.clone() };
        self.store.save(&[Record::Copy(Box::new(record.clone()))])?;
        inner.record = record;
        Ok(())
    }
}

impl Window {
    /// The places of columns that are left empty for now.
    pub(crate) fn left_empty(&self) -> &[usize] {
        match &self.kind {
            Kind::Named { without, .. } => without,
            Kind::Chunk { .. } => &[],
        }
    }

    /// Rows, or records that were named.
    pub(crate) fn len(&self) -> usize {
        match &self.kind {
            Kind::Chunk { rows, .. } => rows.len(),
            Kind::Named { records, .. } => records.len(),
        }
    }
}
