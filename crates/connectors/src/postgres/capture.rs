//! Reading the log: from the transport's events to fragments of transactions.
//!
//! A capture opens only if it can prove that nothing is missing: same cluster, a timeline that leads here, the
//! slot we know, at or before our position, with its log still there. Everything else is a gap.
//!
//! The flush position that the server sees moves only in [`Capture::acknowledge`]; the transport reports it, also
//! while nobody reads, so that a slow engine does not lose its connection. What is being assembled lives in
//! `self` and not in a future: dropping `next` loses nothing.

use super::connect::{CONNECT_TIMEOUT, Endpoint, STATUS_INTERVAL, within};
use super::error::replication_fault;
use super::marker::{self, Marker};
use super::names::literal;
use super::owner::{self, OwnerRow};
use super::pgoutput::Decoder;
use super::position::{Place, lies_on, parse_lsn, show_lsn};
use bytes::Bytes;
use futures_util::FutureExt;
use pgwire_replication::client::QueryRow;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{BoxFuture, Capture, Captured, Owner};
use tandem_core::{Change, Commit, Entry, Fault, FaultClass, Fragment, Mark, Op, Position, WallTime};
use tokio::time::{Instant, sleep, timeout_at};

/// A batch ends at so many entries or so many bytes, whichever comes first. A transaction may be cut there. Each
/// batch waits once for the journal's disk, so one of single-row transactions must not be small; nobody waits for
/// it to fill, since it ends where nothing more is at hand.
const BATCH_ENTRIES: usize = 4_000;
const BATCH_BYTES: usize = 2 << 20;

/// How often an idle log tells how far it went.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a walsender of ours that just lost its connection may linger on the slot.
const LINGER: Duration = Duration::from_secs(5);

/// PostgreSQL counts microseconds from 2000.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;

/// One replication session.
pub(super) struct PostgresCapture {
    /// Taken only by `drop`.
    client: Option<ReplicationClient>,
    /// What the server has been told, or is about to be.
    acknowledged: u64,
    owner: Owner,
    slot: Arc<str>,
    decoder: Decoder,
    /// The last place that was delivered or passed: what ends at or below is not delivered again.
    place: Place,
    open: Option<Transaction>,
    batch: Batch,
    /// How far the log went with nothing for us, if further than `place`.
    idle: Option<u64>,
    /// When an idle position may be told again.
    idle_due: Instant,
    /// Kept between messages so that its allocation is.
    changes: Vec<Change>,
    /// Set when the session has failed: it is not read any further.
    failed: Option<Fault>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Transaction {
    xid: u32,
    entries: Vec<Entry>,
    mark: Option<Mark>,
    /// A part of it was delivered, so its end must be.
    begun: bool,
}

/// What is ready to be delivered.
#[derive(Debug, Default)]
struct Batch {
    fragments: Vec<Fragment>,
    /// Entries and bytes, those of the open transaction included.
    entries: usize,
    bytes: usize,
}

impl PostgresCapture {
    pub(super) async fn open(
        endpoint: &Endpoint,
        slot: &Arc<str>,
        owner: Owner,
        from: &Position,
    ) -> Result<Self, Fault> {
        let from = Place::read(from)?;
        let deadline = Instant::now() + LINGER;
        let mut pause = Duration::from_millis(20);
        let (client, timeline) = loop {
            match Session::open(endpoint, slot, owner, from).await {
                Err(Refused::Active(pid)) if Instant::now() < deadline => {
                    tracing::debug!(slot = &**slot, pid, "the slot is still being read");
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Err(Refused::Active(pid)) => {
                    let message = format!("the slot {slot} is being read by another (pid {pid})");
                    return Err(Fault::new(FaultClass::Fenced, "open the capture", message)
                        .fix(format!("stop the other engine, or: SELECT pg_terminate_backend({pid});")));
                }
                Err(Refused::Fault(fault)) => return Err(fault),
                Ok(opened) => break opened,
            }
        };
        Ok(Self {
            client: Some(client),
            acknowledged: 0,
            owner,
            slot: slot.clone(),
            decoder: Decoder::default(),
            place: Place { timeline, ..from },
            open: None,
            batch: Batch::default(),
            idle: None,
            idle_due: Instant::now(),
            changes: Vec::new(),
            failed: None,
        })
    }

    async fn do_next(&mut self) -> Result<Captured, Fault> {
        loop {
            if self.batch.is_full() {
                return Ok(self.take());
            }
            if let Some(fault) = &self.failed {
                // What was read before the failure is delivered first: it is whole.
                if self.batch.fragments.is_empty() {
                    return Err(fault.clone());
                }
                return Ok(self.take());
            }
            let Some(client) = &mut self.client else {
                return Err(Fault::new(FaultClass::Connection, READ, "the capture is closed"));
            };
            // Unconstrained, since tokio would otherwise let us see only 128 messages at once.
            let at_hand = tokio::task::unconstrained(client.recv()).now_or_never();
            let received = match at_hand {
                Some(received) => received,
                None if !self.batch.fragments.is_empty() => return Ok(self.take()),
                None if self.idle.is_some() && self.open.is_none() => {
                    match timeout_at(self.idle_due, client.recv()).await {
                        Ok(received) => received,
                        Err(_) => return Ok(self.take()),
                    }
                }
                None => client.recv().await,
            };
            let handled = match received {
                Ok(Some(event)) => self.handle(event),
                Ok(None) => Err(Fault::new(FaultClass::Connection, READ, "the server ended the stream")),
                Err(error) => Err(gone_wrong(replication_fault(READ, &error))),
            };
            if let Err(fault) = handled {
                self.failed = Some(fault);
            }
        }
    }

    fn handle(&mut self, event: ReplicationEvent) -> Result<(), Fault> {
        match event {
            ReplicationEvent::Begin { xid, .. } => {
                self.open = Some(Transaction { xid, entries: Vec::new(), mark: None, begun: false });
            }
            ReplicationEvent::XLogData { data, .. } => self.decode(data)?,
            ReplicationEvent::Message { transactional: true, prefix, content, .. } => {
                if prefix == marker::PREFIX {
                    self.note(marker::read(&content, self.owner.journal, &self.slot));
                }
            }
            // Not ours: ours are transactional.
            ReplicationEvent::Message { .. } => {}
            ReplicationEvent::Commit { end_lsn, commit_time_micros, .. } => {
                self.commit(end_lsn.0, commit_time_micros);
            }
            ReplicationEvent::KeepAlive { wal_end, .. } => {
                // Between transactions the server has decoded everything below what it says. Inside one the
                // number speaks of others.
                if self.open.is_none() {
                    self.passed(wal_end.0);
                }
            }
            ReplicationEvent::StoppedAt { .. } => {}
        }
        Ok(())
    }

    fn decode(&mut self, data: Bytes) -> Result<(), Fault> {
        let decoded = self.decoder.decode(data, &mut self.changes);
        decoded.map_err(|malformed| Fault::new(FaultClass::Internal, READ, malformed.to_string()))?;
        let Some(open) = &mut self.open else {
            if self.changes.is_empty() {
                return Ok(());
            }
            return Err(Fault::new(FaultClass::Internal, READ, "a change outside of any transaction"));
        };
        for change in self.changes.drain(..) {
            self.batch.entries += 1;
            self.batch.bytes += payload_len(&change.op);
            open.entries.push(Entry::Change(change));
        }
        // What is whole goes out first; only a transaction that alone is too large is cut.
        if self.batch.is_over() && self.batch.fragments.is_empty() {
            open.begun = true;
            let entries = std::mem::take(&mut open.entries);
            self.batch.fragments.push(Fragment { entries, commit: None, mark: open.mark.clone() });
        }
        Ok(())
    }

    fn note(&mut self, marker: Option<Marker>) {
        let Some(open) = &mut self.open else { return };
        match marker {
            Some(Marker::Barrier(barrier)) => {
                self.batch.entries += 1;
                open.entries.push(Entry::Barrier(barrier));
            }
            Some(Marker::Mark(mark)) => open.mark = Some(mark),
            None => {}
        }
    }

    fn commit(&mut self, end: u64, micros: i64) {
        let Some(Transaction { xid, entries, mark, begun }) = self.open.take() else { return };
        if end <= self.place.lsn {
            // The server may send again what it was not told is safe.
            self.batch.entries = self.batch.entries.saturating_sub(entries.len());
            return;
        }
        if entries.is_empty() && mark.is_none() && !begun {
            self.passed(end);
            return;
        }
        self.place.lsn = end;
        self.idle = None;
        let commit = Commit {
            position: self.place.position(),
            transaction: Arc::from(xid.to_string()),
            committed_at: WallTime(micros.saturating_add(EPOCH_2000_MICROS)),
        };
        self.batch.entries += 1;
        self.batch.fragments.push(Fragment { entries, commit: Some(commit), mark });
    }

    fn passed(&mut self, lsn: u64) {
        if lsn > self.place.lsn && self.idle.is_none_or(|before| lsn > before) {
            self.idle = Some(lsn);
        }
    }

    /// What is ready, and the idle position if it is behind all of it.
    fn take(&mut self) -> Captured {
        let batch = std::mem::take(&mut self.batch);
        if let Some(open) = &self.open {
            self.batch.entries = open.entries.len();
        }
        let mut idle = None;
        if self.open.is_none()
            && let Some(lsn) = self.idle
            && Instant::now() >= self.idle_due
        {
            self.idle = None;
            self.place.lsn = lsn;
            self.idle_due = Instant::now() + IDLE_INTERVAL;
            idle = Some(self.place.position());
        }
        Captured { fragments: batch.fragments, idle, renamed: std::mem::take(&mut self.decoder.renamed) }
    }

    fn do_acknowledge(&mut self, position: &Position) -> Result<(), Fault> {
        let place = Place::read(position)?;
        if place.system != self.place.system || place.birth != self.place.birth || place.lsn > self.place.lsn
        {
            let message = "a position that this capture did not deliver";
            return Err(Fault::new(FaultClass::Internal, "acknowledge", message));
        }
        self.acknowledged = self.acknowledged.max(place.lsn);
        if let Some(client) = &self.client {
            client.update_applied_lsn(Lsn(place.lsn));
        }
        Ok(())
    }
}

const READ: &str = "read the replication stream";

impl Batch {
    /// Whether the entries, those of the open transaction included, are as many as a batch may hold.
    fn is_over(&self) -> bool {
        self.entries >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }

    fn is_full(&self) -> bool {
        self.is_over() && !self.fragments.is_empty()
    }
}

/// The log can be read only as it was published then: a publication that was dropped, even if it was made again,
/// leaves a stretch that nobody can deliver.
fn gone_wrong(fault: Fault) -> Fault {
    match fault.code.as_deref() {
        Some("42704") => Fault { class: FaultClass::Gap, ..fault },
        _ => fault,
    }
}

fn payload_len(op: &Op) -> usize {
    let rows = op.old_row().into_iter().chain(op.new_row());
    rows.map(|row| 32 * row.0.len() + row.payload_len()).sum()
}

/// An acknowledgement may still be on its way: the session ends behind it.
impl Drop for PostgresCapture {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let acknowledged = self.acknowledged;
        runtime.spawn(async move {
            let metrics = client.metrics();
            let sent = async {
                while client.is_running() && metrics.last_applied_lsn().0 < acknowledged {
                    sleep(STATUS_INTERVAL / 10).await;
                }
            };
            let _ = tokio::time::timeout(10 * STATUS_INTERVAL, sent).await;
        });
    }
}

impl Capture for PostgresCapture {
    fn next(&mut self) -> BoxFuture<'_, Result<Captured, Fault>> {
        Box::pin(self.do_next())
    }

    fn acknowledge<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { self.do_acknowledge(position) })
    }
}

/// Why a session was not opened.
enum Refused {
    /// The slot is in use by this process of the server.
    Active(i32),
    Fault(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::Fault(fault)
    }
}

/// The questions before the stream starts, all on the session that will stream: what they say holds for it.
struct Session<'a> {
    client: ReplicationClient,
    slot: &'a str,
}

const OPEN: &str = "open the capture";

impl Session<'_> {
    /// A started stream behind `from`, and the server's timeline.
    async fn open(
        endpoint: &Endpoint,
        slot: &str,
        owner: Owner,
        from: Place,
    ) -> Result<(ReplicationClient, u32), Refused> {
        let client = ReplicationClient::connect_gated(endpoint.replication(slot, from.lsn)).await;
        let client = client.map_err(|error| replication_fault(OPEN, &error))?;
        let mut session = Session { client, slot };
        let timeline = within(CONNECT_TIMEOUT, OPEN, session.verify_server(from)).await?;
        session.verify_owner(owner, from).await?;
        session.verify_slot(from).await?;
        let Session { mut client, .. } = session;
        let starting = async {
            client.start().await.map_err(|error| replication_fault(OPEN, &error))?;
            client.wait_started().await.map_err(|error| replication_fault(OPEN, &error))
        };
        match within(Duration::from_secs(60), OPEN, starting).await {
            Ok(()) => Ok((client, timeline)),
            // Somebody was faster, between the look and the start.
            Err(fault) if fault.code.as_deref() == Some("55006") => Err(Refused::Active(0)),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn verify_server(&mut self, from: Place) -> Result<u32, Fault> {
        let system = self.client.identify_system().await.map_err(|error| replication_fault(OPEN, &error))?;
        if system.system_id.parse() != Ok(from.system) {
            return Err(gap("this is another PostgreSQL cluster than the one that was captured"));
        }
        if from.lsn > system.xlogpos.0 {
            let (end, ours) = (show_lsn(system.xlogpos.0), show_lsn(from.lsn));
            return Err(gap(&format!(
                "the server's log ends at {end}, before our position {ours}: it was restored"
            )));
        }
        if system.timeline == from.timeline {
            return Ok(system.timeline);
        }
        let gone = || gap("the server went back to a time before our position, and on from there");
        if system.timeline < from.timeline {
            return Err(gone());
        }
        let history = self.client.timeline_history(system.timeline).await;
        let history = history.map_err(|error| replication_fault(OPEN, &error))?;
        if !lies_on(&String::from_utf8_lossy(&history.content), from.timeline, from.lsn) {
            return Err(gone());
        }
        Ok(system.timeline)
    }

    async fn verify_owner(&mut self, owner: Owner, from: Place) -> Result<(), Fault> {
        let exists = self.query(owner::EXISTS).await?;
        let exists = exists.first().is_some_and(|row| column(row, 0).as_deref() == Some("true"));
        let rows = if exists { self.query(&owner::query(self.slot)).await? } else { Vec::new() };
        let row = rows.first().and_then(|row| {
            let (journal, epoch, birth) = (column(row, 0), column(row, 1), column(row, 2));
            OwnerRow::of(journal.as_deref(), epoch.as_deref(), birth.as_deref())
        });
        let Some(row) = row else {
            return Err(gap("what we had put into the app for capture is gone"));
        };
        row.admit(owner, self.slot, OPEN)?;
        if row.birth != Some(from.birth) {
            return Err(gap("the replication slot was made anew since"));
        }
        Ok(())
    }

    async fn verify_slot(&mut self, from: Place) -> Result<(), Refused> {
        let sql = format!(
            "SELECT active_pid::text, wal_status, confirmed_flush_lsn::text, \
             (plugin = 'pgoutput' AND database = current_database())::text \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            literal(self.slot)
        );
        let rows = self.query(&sql).await?;
        let slot = self.slot;
        let Some(row) = rows.first() else {
            return Err(gap(&format!("the replication slot {slot} is gone")).into());
        };
        if column(row, 3).as_deref() != Some("true") {
            return Err(gap(&format!("the replication slot {slot} is not the one that we made")).into());
        }
        // Without a status there is no log at all; `unreserved` may still be read, while it lasts.
        if matches!(column(row, 1).as_deref(), Some("lost") | None) {
            return Err(gap(&format!("the server has thrown away the log of the slot {slot}"))
                .fix("raise max_slot_wal_keep_size before capturing anew")
                .into());
        }
        if let Some(pid) = column(row, 0) {
            return Err(Refused::Active(pid.parse().unwrap_or_default()));
        }
        let confirmed = column(row, 2).as_deref().and_then(parse_lsn);
        if confirmed.is_none_or(|confirmed| confirmed > from.lsn) {
            let at = confirmed.map_or("nowhere".to_owned(), show_lsn);
            let message = format!("the slot {slot} is at {at}, beyond our position {}", show_lsn(from.lsn));
            return Err(gap(&message).into());
        }
        Ok(())
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<QueryRow>, Fault> {
        let asked =
            async { self.client.simple_query(sql).await.map_err(|error| replication_fault(OPEN, &error)) };
        within(CONNECT_TIMEOUT, OPEN, asked).await
    }
}

fn gap(message: &str) -> Fault {
    Fault::new(FaultClass::Gap, OPEN, message)
}

fn column(row: &QueryRow, place: usize) -> Option<String> {
    let bytes = row.get(place)?.as_ref()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}
