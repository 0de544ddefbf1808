//! Reads windows, one flow's in order, as fast as the lane takes them.
//!
//! Nothing is decided here: the desk says what is to be read next. A read that fails is tried again in a new window, for
//! ever: an app that is away is no reason to begin anew.

use super::desk::{Desk, Kind, Next, Round, Window};
use super::{CHUNK_BYTES, WAIT};
use crate::capture::Marks;
use crate::env::Env;
use crate::store::{CopyStage, StoreError};
use crate::stream::JournalHandle;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::connect::{Chunk, ChunkLimit, Connector, KeyedTable, Reads};
use tandem_core::map::FlowSpec;
use tandem_core::{Fault, FaultClass, IntegrationKey, Relation, Row, Seq, StreamName};

/// What reading needs.
pub(crate) struct Reader {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) source: Arc<dyn Connector>,
    pub(crate) destination: Arc<dyn Connector>,
    pub(crate) marks: Marks,
    pub(crate) stream: StreamName,
    pub(crate) spec: FlowSpec,
    /// Of a two-way map: the journal of the flow that comes the other way, and the map's number.
    pub(crate) opposite: Option<(Arc<JournalHandle>, u64)>,
    /// Rows that one chunk may hold.
    pub(crate) chunk_rows: usize,
    /// The initial syncs of maps that depend on this one as it does on them: its records may wait for theirs.
    pub(crate) beside: Vec<Arc<Desk>>,
}

/// Why a turn of reading came to nothing.
enum Stop {
    /// The source or the destination says no, for now.
    Fault(Fault),
    /// Our own disk failed.
    Disk(StoreError),
    /// The capture is gone, and the engine with it or the map.
    Gone,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Disk(error)
    }
}

/// Reads until there is nothing more to read, or the desk is closed.
pub(crate) async fn read(reader: Reader) {
    // What was dealt with beside this one, when its round began.
    let mut beside = 0;
    let mut connection: Option<Box<dyn Reads>> = None;
    let mut wait = WAIT.0;
    let mut changes = reader.desk.changes();
    loop {
        changes.borrow_and_update();
        let turn = tokio::select! {
            biased;
            turn = reader.turn(&mut connection, &mut beside) => turn,
            () = closed(&reader.desk) => return,
        };
        match turn {
            Ok(Turn::Over) | Err(Stop::Gone) => return,
            Ok(Turn::Read) => {
                wait = WAIT.0;
                reader.desk.failed(None);
            }
            Ok(Turn::Waits) => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            Err(stop) => {
                let map = &reader.spec.map;
                match stop {
                    Stop::Disk(error) => tracing::error!(%map, "an initial sync cannot be noted: {error}"),
                    Stop::Fault(fault) => {
                        tracing::warn!(%map, class = %fault.class, "an initial sync waits: {fault}");
                        reader.desk.failed(Some(fault));
                    }
                    Stop::Gone => {}
                }
                connection = None;
                reader.env.sleep(wait).await;
                wait = (wait * 2).min(WAIT.1);
            }
        }
    }
}

/// What came of a turn.
enum Turn {
    Read,
    Waits,
    Over,
}

/// Ends when nothing more is to be read.
async fn closed(desk: &Desk) {
    let mut changes = desk.changes();
    while !desk.is_closed() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Reader {
    fn source_table(&self) -> KeyedTable {
        KeyedTable { table: self.spec.source.clone(), key: self.spec.source_key.clone() }
    }

    async fn turn(&self, connection: &mut Option<Box<dyn Reads>>, beside: &mut u64) -> Result<Turn, Stop> {
        let next = self.desk.next()?;
        let reads = match (&next, connection.as_mut()) {
            (Next::End, _) => return Ok(Turn::Over),
            (Next::Wait, _) => {
                if self.desk.is_ending()? {
                    self.number_on().await?;
                }
                let others: Vec<(u64, bool)> = self.beside.iter().map(|desk| desk.moved()).collect();
                let settled: u64 = others.iter().map(|(settled, _)| settled).sum();
                let move_on = settled != *beside || others.iter().any(|(_, chunks)| *chunks);
                if !self.desk.turn(move_on, self.env.wall())? {
                    return Ok(Turn::Waits);
                }
                *beside = settled;
                if move_on {
                    self.env.sleep(WAIT.0).await;
                }
                return Ok(Turn::Read);
            }
            (_, Some(reads)) => reads,
            (_, None) => connection.insert(self.source.open_reads().await?),
        };
        match next {
            Next::Chunk(generation, after) => {
                let record = self.desk.record();
                if record.through.is_none() && after.is_none() && record.stage == CopyStage::Chunks {
                    self.look(&mut **reads).await?;
                }
                // Behind the barrier the log is being read: what it had shown before a restart is known again.
                let low = self.mark(1).await?;
                let knew = self.knew();
                let limit = ChunkLimit { rows: self.chunk_rows, bytes: CHUNK_BYTES };
                let chunk = reads.chunk(&self.source_table(), after.as_ref(), limit).await?;
                let high = self.mark(1).await?;
                let Chunk { rows, relation, next, unseen } = chunk;
                let kind = Kind::Chunk { rows, next };
                self.put(generation, (&low, &high, knew), kind, relation, unseen);
            }
            Next::Named(generation, wanted, round) => {
                let through = wanted.iter().map(|again| again.id).max().unwrap_or_default();
                let keys: Vec<IntegrationKey> = wanted.into_iter().map(|again| again.key).collect();
                let low = self.mark(1).await?;
                let knew = self.knew();
                let chunk = reads.records(&self.source_table(), &keys).await?;
                // Each that may become an error needs a place of its own.
                let last = round == Round::Last;
                let high = self.mark(if last { keys.len() } else { 1 }).await?;
                let Chunk { rows, relation, unseen, .. } = chunk;
                let records = named(&self.spec, &relation, keys, rows);
                let places = if last { high.clone() } else { Vec::new() };
                let kind = Kind::Named { records, places, through, without: self.desk.left_empty(round) };
                self.put(generation, (&low, &high, knew), kind, relation, unseen);
            }
            Next::Wait | Next::End => {}
        }
        Ok(Turn::Read)
    }

    /// What the destination numbers by itself goes on behind what was written. Without the right to it people are told,
    /// and the copy is none the worse.
    async fn number_on(&self) -> Result<(), Stop> {
        let columns: Vec<Arc<str>> = self.spec.columns.iter().map(|column| column.to.clone()).collect();
        match self.destination.number_on(&self.spec.destination, &columns).await {
            Err(fault) if fault.class == FaultClass::Permission => {
                let map = &self.spec.map;
                tracing::warn!(%map, fix = fault.fix, "numbers that the destination gives may be taken already: {fault}");
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// How much there is, and whether anything is at the other side.
    async fn look(&self, source: &mut dyn Reads) -> Result<(), Stop> {
        let estimate = source.estimate(&self.spec.source).await?;
        let key = self.spec.columns.iter().take(self.spec.key_len).map(|column| column.to.clone()).collect();
        let table = KeyedTable { table: self.spec.destination.clone(), key };
        let mut destination = self.destination.open_reads().await?;
        let one = ChunkLimit { rows: 1, bytes: 1 };
        let there = destination.chunk(&table, None, one).await?;
        Ok(self.desk.begins(estimate, there.rows.is_empty())?)
    }

    /// How far what comes the other way is known to be in the table.
    fn knew(&self) -> Seq {
        self.opposite.as_ref().map_or(Seq::ZERO, |(journal, map)| journal.echoed(*map))
    }

    async fn mark(&self, count: usize) -> Result<Vec<Seq>, Stop> {
        self.marks.mark(&self.stream, count).await.ok_or(Stop::Gone)
    }

    fn put(
        &self,
        generation: u64,
        (low, high, knew): (&[Seq], &[Seq], Seq),
        kind: Kind,
        relation: Arc<Relation>,
        unseen: Vec<Arc<str>>,
    ) {
        let low = low.first().copied().unwrap_or_default();
        let high = high.last().copied().unwrap_or_default();
        self.desk.put(generation, Window { low, high, knew, kind, relation, unseen });
    }
}

/// Each key with its row, if it is there.
fn named(
    spec: &FlowSpec,
    relation: &Relation,
    keys: Vec<IntegrationKey>,
    rows: Vec<Row>,
) -> Vec<(IntegrationKey, Option<Row>)> {
    let mut found: HashMap<IntegrationKey, Row> =
        rows.into_iter().filter_map(|row| Some((spec.key_in(relation, &row)?, row))).collect();
    keys.into_iter()
        .map(|key| {
            let row = found.remove(&key);
            (key, row)
        })
        .collect()
}
