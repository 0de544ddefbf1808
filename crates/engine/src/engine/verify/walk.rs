//! Walks both tables, chunk by chunk, and hands what is in doubt to be settled.
//!
//! A read that fails for a passing reason is done again, for about a minute: a chunk counts when it is through, and
//! what is in doubt stays in doubt until it is settled, so nothing is counted twice.

use super::settle::{Outcome, Settled, Suspect};
use super::{
    Difference, DifferenceKind, IMAGES_BYTES_MAX, Verification, VerifyCounts, VerifyRequest, VerifyStage,
};
use crate::engine::Engine;
use crate::request::Rejected;
use crate::supervisor::{Command, Repair, Way, Ways};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tandem_core::connect::{ChunkLimit, KeyedTable, Reads};
use tandem_core::lifecycle::Phase;
use tandem_core::map::{Comparer, FlowSpec, LookedUpColumn, Verdict};
use tandem_core::{Fault, FaultClass, IntegrationKey, Relation, Row, RowHash};
use tokio::sync::watch;

/// Rows that are read and looked up at once.
const CHUNK: ChunkLimit = ChunkLimit { rows: 500, bytes: 4 << 20 };
/// Records in doubt that are settled at once.
const SUSPECTS: usize = 500;
/// How long a read that failed waits before it is tried again, at first and at last.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// So many tries that fail in a row are a failure.
const TRIES: u32 = 12;
/// How often it is looked whether something that was asked for is done.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Why a comparison goes on no more, or not now.
#[derive(Debug)]
pub(super) enum Stop {
    /// An app says no.
    Fault(Fault),
    /// The engine does.
    Rejected(Rejected),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<Rejected> for Stop {
    fn from(rejected: Rejected) -> Self {
        Stop::Rejected(rejected)
    }
}

/// See the module.
pub(super) struct Walk {
    pub(super) engine: Engine,
    pub(super) request: VerifyRequest,
    pub(super) to_right: bool,
    shown: Arc<Mutex<Verification>>,
    cancelled: watch::Receiver<bool>,
    /// Whether nothing is looked at but what is in doubt from the beginning.
    is_of_some: bool,
    /// In doubt, and not settled yet.
    suspects: Vec<Suspect>,
    images_bytes: usize,
    tries: u32,
}

/// What reading needs, as long as nothing fails.
pub(super) struct Open {
    pub(super) source: Box<dyn Reads>,
    pub(super) destination: Box<dyn Reads>,
    pub(super) source_table: KeyedTable,
    pub(super) destination_table: KeyedTable,
    pub(super) comparer: Comparer,
    pub(super) source_relation: Arc<Relation>,
    pub(super) destination_relation: Arc<Relation>,
}

impl Walk {
    pub(super) fn new(
        engine: Engine,
        request: VerifyRequest,
        only: Option<Vec<Suspect>>,
        to_right: bool,
        shown: Arc<Mutex<Verification>>,
        cancelled: watch::Receiver<bool>,
    ) -> Self {
        let (is_of_some, suspects) = (only.is_some(), only.unwrap_or_default());
        Self { engine, request, to_right, shown, cancelled, is_of_some, suspects, images_bytes: 0, tries: 0 }
    }

    fn shown(&self) -> MutexGuard<'_, Verification> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until it has an end, and tells of it.
    pub(super) async fn run(mut self) {
        let mut cancelled = self.cancelled.clone();
        let ended = tokio::select! {
            biased;
            // Whoever could cancel lives as long as the engine.
            _ = cancelled.wait_for(|cancelled| *cancelled) => None,
            ended = self.walk() => Some(ended),
        };
        let (stage, fault) = match ended {
            None => (VerifyStage::Cancelled, None),
            Some(Ok(())) => (VerifyStage::Done, None),
            Some(Err(Stop::Fault(fault))) => (VerifyStage::Failed, Some(fault)),
            Some(Err(Stop::Rejected(rejected))) => {
                (VerifyStage::Failed, Some(Fault::new(FaultClass::Setup, "verify", rejected.to_string())))
            }
        };
        let counts = self.shown().counts;
        let why = fault.as_ref().map(|fault| format!("; {fault}")).unwrap_or_default();
        let detail = format!("{}: {counts}{why}", stage.name());
        // Without an engine there is nobody left to tell.
        let _ = self.engine.note_verify("map.verified", &self.request, detail).await;
        let ended_at = Some(self.engine.env.wall());
        let mut shown = self.shown();
        (shown.stage, shown.fault, shown.ended_at) = (stage, fault, ended_at);
    }

    async fn walk(&mut self) -> Result<(), Stop> {
        let mut open = self.open_again().await?;
        if self.is_of_some {
            return self.settle_all(open, true).await.map(drop);
        }
        self.estimate(&mut open).await;
        open = self.pass(open, true).await?;
        self.shown().stage = VerifyStage::Destination;
        if !open.comparer.leads_back() {
            self.shown().looks_back = false;
            return Ok(());
        }
        self.pass(open, false).await.map(drop)
    }

    /// Goes through one of the tables, chunk by chunk, with new connections whenever one breaks.
    async fn pass(&mut self, mut open: Open, of_source: bool) -> Result<Open, Stop> {
        let mut after: Option<IntegrationKey> = None;
        loop {
            let chunk = match of_source {
                true => self.source_chunk(&mut open, after.as_ref()).await,
                false => self.destination_chunk(&mut open, after.as_ref()).await,
            };
            match chunk {
                Ok(next) => after = next,
                Err(stop) => {
                    self.wait_after(stop).await?;
                    open = self.open_again().await?;
                    continue;
                }
            }
            open = self.settle_all(open, after.is_none()).await?;
            if after.is_none() {
                return Ok(open);
            }
        }
    }

    /// The map as it is now, with the flow that is compared first. What it was compared as must still be so.
    pub(super) async fn ways(&self) -> Result<Ways, Stop> {
        let mut ways = self.engine.ways(&self.request.map).await?;
        let left = ways.map.left.app.clone();
        ways.ways.sort_by_key(|way| (way.stream.source == left) != self.to_right);
        match ways.ways.first() {
            Some(first) if (first.stream.source == left) == self.to_right => Ok(ways),
            _ => Err(Rejected::Senseless(format!("map {} was stopped meanwhile", ways.map.name)).into()),
        }
    }

    /// Opens connections, as often as it takes.
    async fn open_again(&mut self) -> Result<Open, Stop> {
        loop {
            match self.open().await {
                Ok(open) => return Ok(open),
                Err(stop) => self.wait_after(stop).await?,
            }
        }
    }

    async fn open(&self) -> Result<Open, Stop> {
        let ways = self.ways().await?;
        let (first, reverse) = (ways.ways.first(), ways.ways.get(1).map(|way| &way.at.spec));
        let Some(Way { at, stream, .. }) = first else {
            return Err(Rejected::UnknownMap(self.request.map.clone()).into());
        };
        let spec: &FlowSpec = &at.spec;
        let app = |name| {
            let unknown = || Rejected::Senseless(format!("app {name} is not declared"));
            self.engine.apps.get(name).ok_or_else(unknown)
        };
        let mut source = app(&stream.source)?.open_reads().await?;
        let mut destination = app(&stream.destination)?.open_reads().await?;
        let source_table = KeyedTable { table: spec.source.clone(), key: spec.source_key.clone() };
        let key = spec.columns.iter().take(spec.key_len).map(|column| column.to.clone()).collect();
        let destination_table = KeyedTable { table: spec.destination.clone(), key };
        let source_relation = source.records(&source_table, &[]).await?.relation;
        let destination_relation = destination.records(&destination_table, &[]).await?.relation;
        let side = if self.to_right { &ways.map.right } else { &ways.map.left };
        let comparer = Comparer::bind(
            spec,
            side.filter.as_ref(),
            reverse,
            source_relation.clone(),
            destination_relation.clone(),
        );
        let comparer = comparer.map_err(|refusal| {
            Fault::new(FaultClass::Schema, "compare the tables", refusal.to_string()).fix(refusal.fix())
        })?;
        Ok(Open {
            source,
            destination,
            source_table,
            destination_table,
            comparer,
            source_relation,
            destination_relation,
        })
    }

    async fn estimate(&self, open: &mut Open) {
        // For the progress alone: without it there is no end in sight, and nothing is the worse.
        let source = open.source.estimate(&open.source_table.table).await.ok().flatten();
        let destination = open.destination.estimate(&open.destination_table.table).await.ok().flatten();
        self.shown().rows_estimate =
            source.zip(destination).map(|(source, destination)| source + destination);
    }

    /// Waits before a failed read is tried again; an error if it is not to be.
    async fn wait_after(&mut self, stop: Stop) -> Result<(), Stop> {
        let Stop::Fault(fault) = stop else { return Err(stop) };
        self.tries += 1;
        if !fault.class.is_transient() || self.tries > TRIES {
            return Err(Stop::Fault(fault));
        }
        tracing::warn!(map = %self.request.map, class = %fault.class, "a comparison waits: {fault}");
        self.shown().fault = Some(fault);
        let wait = WAIT.0 * 2_u32.saturating_pow(self.tries.min(10) - 1);
        self.engine.env.sleep(wait.min(WAIT.1)).await;
        Ok(())
    }

    fn went_well(&mut self) {
        if self.tries > 0 {
            self.tries = 0;
            self.shown().fault = None;
        }
    }

    fn count(&self, count: impl FnOnce(&mut VerifyCounts)) {
        count(&mut self.shown().counts);
    }

    /// Looks for the next records of the source at the destination.
    async fn source_chunk(
        &mut self,
        open: &mut Open,
        after: Option<&IntegrationKey>,
    ) -> Result<Option<IntegrationKey>, Stop> {
        let chunk = open.source.chunk(&open.source_table, after, CHUNK).await?;
        let mut wanted = Vec::with_capacity(chunk.rows.len());
        for row in &chunk.rows {
            let Some(key) = open.comparer.source_key(row) else { continue };
            open.comparer.learn(&key);
            let at = open.comparer.wanted_key(&open.comparer.wanted(row));
            wanted.push((key, at, row));
        }
        let keys: Vec<IntegrationKey> = wanted.iter().filter_map(|(_, at, _)| at.clone()).collect();
        let there = open.at_destination(&keys).await?.0;
        let (mut equal, mut left_out) = (0, 0);
        for (key, at, row) in wanted {
            let found = at.as_ref().and_then(|at| there.get(&open.comparer.destination_id(at)));
            match open.comparer.judge(Some(row), found) {
                Verdict::Same => equal += 1,
                Verdict::LeftOut => left_out += 1,
                Verdict::Missing | Verdict::Changed | Verdict::Extra | Verdict::Refused => {
                    self.suspects.push(Suspect { key: Some(key), at });
                }
            }
        }
        self.went_well();
        self.count(|counts| {
            counts.rows_read += chunk.rows.len() as u64;
            counts.equal += equal;
            counts.left_out += left_out;
        });
        Ok(chunk.next)
    }

    /// Looks for the next records of the destination in the source; those that are there were compared already.
    async fn destination_chunk(
        &mut self,
        open: &mut Open,
        after: Option<&IntegrationKey>,
    ) -> Result<Option<IntegrationKey>, Stop> {
        let chunk = open.destination.chunk(&open.destination_table, after, CHUNK).await?;
        let mut told = Vec::with_capacity(chunk.rows.len());
        for row in &chunk.rows {
            if open.comparer.judge(None, Some(row)) == Verdict::LeftOut {
                continue;
            }
            told.push(Suspect { key: open.comparer.key_back(row), at: open.comparer.destination_key(row) });
        }
        let keys: Vec<IntegrationKey> = told.iter().filter_map(|suspect| suspect.key.clone()).collect();
        let there = open.in_source(&keys).await?.0;
        let is_there = |suspect: &Suspect| {
            let id = suspect.key.as_ref().map(|key| open.comparer.source_id(key));
            id.is_some_and(|id| there.contains_key(&id))
        };
        told.retain(|suspect| !is_there(suspect));
        self.suspects.extend(told);
        self.went_well();
        self.count(|counts| counts.rows_read += chunk.rows.len() as u64);
        Ok(chunk.next)
    }

    /// Settles what is in doubt, if that is enough by now or the end.
    async fn settle_all(&mut self, mut open: Open, is_end: bool) -> Result<Open, Stop> {
        while self.suspects.len() >= SUSPECTS || (is_end && !self.suspects.is_empty()) {
            let first: Vec<Suspect> = self.suspects.iter().take(SUSPECTS).cloned().collect();
            let count = first.len();
            let settled = match self.settle(&mut open, first).await {
                Ok(settled) => settled,
                Err(stop) => {
                    self.wait_after(stop).await?;
                    open = self.open_again().await?;
                    continue;
                }
            };
            self.went_well();
            self.suspects.drain(..count);
            open = self.conclude(open, settled).await?;
        }
        Ok(open)
    }

    /// Counts what was settled, and repairs what differs if that is wanted.
    async fn conclude(&mut self, mut open: Open, settled: Vec<Settled>) -> Result<Open, Stop> {
        let mut differ = Vec::new();
        for settled in settled {
            let kind = match settled.outcome {
                Outcome::Is(verdict) => self.kind(verdict),
                Outcome::Queued | Outcome::HasError | Outcome::Moving => None,
            };
            self.count(|counts| match (settled.outcome, kind) {
                (_, Some(DifferenceKind::Changed)) => counts.changed += 1,
                (_, Some(DifferenceKind::MissingLeft)) => counts.missing_left += 1,
                (_, Some(DifferenceKind::MissingRight)) => counts.missing_right += 1,
                (_, Some(DifferenceKind::Refused)) => counts.refused += 1,
                (Outcome::Is(Verdict::LeftOut), None) => counts.left_out += 1,
                (Outcome::Is(_), None) => counts.equal += 1,
                (Outcome::Queued, None) => counts.queued += 1,
                (Outcome::HasError, None) => counts.has_error += 1,
                (Outcome::Moving, None) => counts.moving += 1,
            });
            if let Some(kind) = kind {
                differ.push((kind, settled));
            }
        }
        let mut repaired: Option<Vec<RowHash>> = None;
        if self.request.repair.is_some() && !differ.is_empty() {
            let suspects = differ.iter().filter(|(kind, _)| *kind != DifferenceKind::Refused);
            let suspects: Vec<Suspect> = suspects
                .map(|(_, settled)| settled.suspect.clone())
                .filter(|one| one.key.is_some())
                .collect();
            let ids;
            (open, ids) = self.repair(open, suspects).await?;
            self.count(|counts| counts.repaired += ids.len() as u64);
            repaired = Some(ids);
        }
        for (kind, settled) in differ {
            let id = settled.suspect.key.as_ref().map(|key| open.comparer.source_id(key));
            let repaired = repaired.as_ref().map(|ids| id.is_some_and(|id| ids.contains(&id)));
            self.show(&open, kind, settled, repaired);
        }
        Ok(open)
    }

    fn kind(&self, verdict: Verdict) -> Option<DifferenceKind> {
        Some(match verdict {
            Verdict::Same | Verdict::LeftOut => return None,
            Verdict::Changed => DifferenceKind::Changed,
            Verdict::Missing if self.to_right => DifferenceKind::MissingRight,
            Verdict::Extra if !self.to_right => DifferenceKind::MissingRight,
            Verdict::Missing | Verdict::Extra => DifferenceKind::MissingLeft,
            Verdict::Refused => DifferenceKind::Refused,
        })
    }

    fn show(&mut self, open: &Open, kind: DifferenceKind, settled: Settled, repaired: Option<bool>) {
        let Settled { suspect, source, destination, .. } = settled;
        let Some(key) = suspect.key.clone().or_else(|| suspect.at.clone()) else { return };
        let rows = [&source, &destination];
        let bytes: usize = rows.into_iter().flatten().map(Row::payload_len).sum();
        let is_kept = self.images_bytes + bytes <= IMAGES_BYTES_MAX;
        let image = |relation: &Arc<Relation>, row: Option<Row>| {
            row.filter(|_| is_kept).map(|row| (relation.clone(), row))
        };
        let source = image(&open.source_relation, source);
        let destination = image(&open.destination_relation, destination);
        let (left, right) = if self.to_right { (source, destination) } else { (destination, source) };
        let mut shown = self.shown();
        if shown.differences.len() < self.request.limit.min(super::DIFFERENCES_MAX) {
            shown.differences.push(Difference { key, kind, left, right, repaired, suspect });
            drop(shown);
            self.images_bytes += if is_kept { bytes } else { 0 };
        }
    }

    /// Lets the flow's lane make records as they are in the source, and says which are equal then.
    async fn repair(&mut self, mut open: Open, suspects: Vec<Suspect>) -> Result<(Open, Vec<RowHash>), Stop> {
        let keys: Vec<IntegrationKey> = suspects.iter().filter_map(|suspect| suspect.key.clone()).collect();
        if keys.is_empty() {
            return Ok((open, Vec::new()));
        }
        let mut asked = false;
        loop {
            let ways = self.ways().await?;
            let may = ways.phase == Phase::Running && !ways.pausing && !ways.busy;
            if asked && !ways.busy {
                break;
            }
            if let Some(way) = ways.ways.first().filter(|_| may) {
                let repair = Repair {
                    map: self.request.map.clone(),
                    flow: way.at.flow,
                    keys: keys.clone(),
                    actor: self.request.actor.clone(),
                    reason: self.request.reason.clone(),
                };
                match self.engine.ask(|reply| Command::Repair { repair, reply }).await? {
                    Ok(()) => asked = true,
                    // Somebody was faster: their work comes first.
                    Err(Rejected::State(_)) => {}
                    Err(other) => return Err(other.into()),
                }
            }
            self.engine.env.sleep(POLL).await;
        }
        loop {
            match self.settle(&mut open, suspects.clone()).await {
                Ok(settled) => {
                    self.went_well();
                    let equal = settled.iter().filter(|settled| {
                        matches!(settled.outcome, Outcome::Is(Verdict::Same | Verdict::LeftOut))
                    });
                    let keys = equal.filter_map(|settled| settled.suspect.key.as_ref());
                    let ids = keys.map(|key| open.comparer.source_id(key)).collect();
                    return Ok((open, ids));
                }
                Err(stop) => {
                    self.wait_after(stop).await?;
                    open = self.open_again().await?;
                }
            }
        }
    }
}

/// Rows by what tells their keys from others, and the transactions that they may lack.
pub(super) type Found = (BTreeMap<RowHash, Row>, Vec<Arc<str>>);

impl Open {
    /// The rows of the source that have these keys.
    pub(super) async fn in_source(&mut self, keys: &[IntegrationKey]) -> Result<Found, Fault> {
        let chunk = self.source.records(&self.source_table, keys).await?;
        let rows = chunk.rows.into_iter();
        let rows =
            rows.filter_map(|row| Some((self.comparer.source_id(&self.comparer.source_key(&row)?), row)));
        Ok((rows.collect(), chunk.unseen))
    }

    /// The rows of the destination that have these keys.
    pub(super) async fn at_destination(&mut self, keys: &[IntegrationKey]) -> Result<Found, Fault> {
        let chunk = self.destination.records(&self.destination_table, keys).await?;
        self.refer(&chunk.rows).await?;
        let rows = chunk.rows.into_iter();
        let id = |row: &Row| Some(self.comparer.destination_id(&self.comparer.destination_key(row)?));
        Ok((rows.filter_map(|row| Some((id(&row)?, row))).collect(), chunk.unseen))
    }
    /// Asks the destination to which records the values refer that it looked up.
    async fn refer(&mut self, rows: &[Row]) -> Result<(), Fault> {
        let mut referred = Vec::new();
        for LookedUpColumn { place, lookup, .. } in self.comparer.lookups() {
            let value = |row: &Row| row.cell(*place).value().filter(|value| !value.is_null()).cloned();
            let values: HashSet<IntegrationKey> =
                rows.iter().filter_map(value).map(|value| IntegrationKey::from_values(vec![value])).collect();
            if values.is_empty() {
                continue;
            }
            let table = KeyedTable { table: lookup.table.clone(), key: vec![lookup.column.clone()] };
            let chunk = self.destination.records(&table, &values.into_iter().collect::<Vec<_>>()).await?;
            let (relation, column) = (&chunk.relation, &lookup.column);
            let places = relation.column(column).zip(relation.column(&lookup.key));
            let Some((value_at, key_at)) = places else { continue };
            referred.extend(chunk.rows.iter().filter_map(|row| {
                Some((*place, row.cell(value_at).value()?.clone(), row.cell(key_at).value()?.clone()))
            }));
        }
        self.comparer.refer(referred);
        Ok(())
    }
}
