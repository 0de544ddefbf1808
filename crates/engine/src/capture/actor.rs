//! The owner of an app's capture: opens the log, and moves what it brings into the journals.
//!
//! Reading and the jobs in the source go on side by side: a table whose lock has to be waited for holds nobody up.

use super::guarding::{self, Guarding};
use super::marking::{MarkRequest, Marking};
use super::place::Place;
use super::route::Route;
use super::source::{Ended, Jobs};
use super::{AcceptedGap, AppPlan, AppStatus, Sink};
use crate::disk::Disk;
use crate::env::{Env, blocking};
use crate::failpoint::{FailPoint, Mistake};
use crate::journal::JournalError;
use crate::retry::Retry;
use crate::store::{Record, Store, Unreadable};
use crate::two_way::overwritten;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Capture, Captured, Connector, Owner};
use tandem_core::{
    AppName, Entry, Fault, FaultClass, Fragment, Position, Relation, Seq, StreamName, TableName,
};
use tokio::sync::{Notify, mpsc, watch};

/// How often it is looked whether there is room on the disk.
const SPACE_EVERY: Duration = Duration::from_secs(1);
/// Reading stops when less than this is free …
const DISK_FLOOR_BYTES: u64 = 2 << 30;
/// … or less than this part of the disk, if that is less: a small disk is not full because it is small.
const DISK_FLOOR_PART: u64 = 20;

/// What an app's capture is made of.
pub(crate) struct AppParts {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) app: AppName,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owner: Owner,
    pub(crate) plan: watch::Receiver<Arc<AppPlan>>,
    pub(crate) status: watch::Sender<AppStatus>,
    /// Rung after each change of the status.
    pub(crate) bell: Arc<Notify>,
    /// Who wants to know a place in the log.
    pub(crate) marks: mpsc::Receiver<MarkRequest>,
}

/// See the module.
pub(crate) struct AppActor {
    parts: AppParts,
    capture: Option<Box<dyn Capture>>,
    routes: BTreeMap<StreamName, Route>,
    group: u64,
    /// Where a capture begins that has no position in any journal.
    start: Option<Position>,
    jobs: Jobs,
    marking: Marking,
    guarding: Guarding,
    status: AppStatus,
    retry: Retry,
    room: Room,
    /// The gap that was accepted last.
    accepted: Option<Arc<AcceptedGap>>,
}

/// Whether there is room on our disk, as of the last look.
#[derive(Default)]
struct Room {
    looked: Option<Duration>,
    missing: Option<Fault>,
}

enum Happened {
    Planned,
    Job(Ended),
    Asked(MarkRequest),
    Guard(guarding::Ended),
    Captured(Result<Captured, Fault>),
    Time,
}

impl AppActor {
    pub(crate) fn new(parts: AppParts) -> Self {
        Self {
            parts,
            capture: None,
            routes: BTreeMap::new(),
            group: 0,
            start: None,
            jobs: Jobs::default(),
            marking: Marking::default(),
            guarding: Guarding::default(),
            status: AppStatus::default(),
            retry: Retry::default(),
            room: Room::default(),
            accepted: None,
        }
    }

    /// Waits for the first plan, then works until it has no tables any more and the app is as we found it, or the
    /// engine shuts down.
    pub(crate) async fn run_planned(mut self) {
        let _ = self.parts.plan.wait_for(|plan| plan.version > 0).await;
        self.run().await;
    }

    async fn run(mut self) {
        loop {
            let plan = self.parts.plan.borrow_and_update().clone();
            let nothing_left = plan.sinks.is_empty() && self.jobs.none_captured();
            if plan.shutdown || nothing_left {
                break;
            }
            if plan.sinks.is_empty() {
                // The last table leaves with the slot, which nobody may be reading then.
                self.capture = None;
                self.status.broken = None;
            }
            if plan.held {
                self.capture = None;
            }
            self.accept_gap(&plan);
            let app = (&self.parts.connector, self.parts.owner);
            let now = self.parts.env.now();
            if self.does_jobs() {
                let barriers = &self.status.barriers;
                let seen = |barrier: &_| barriers.keys().any(|(seen, _)| seen == barrier);
                self.jobs.begin(&plan, seen, &mut self.marking, app, now);
            }
            if self.status.broken.is_none() {
                self.guarding.begin(&plan, self.jobs.captured(), app, now);
                self.open(&plan).await;
            }
            self.publish();
            match self.wait().await {
                Happened::Planned | Happened::Time => {}
                Happened::Job(ended) => {
                    self.job_ended(ended);
                    self.begin_anew(&plan).await;
                }
                Happened::Asked(request) => self.marking.ask(request, self.parts.owner),
                Happened::Guard(ended) => self.guarding.note(ended, self.parts.env.now()),
                Happened::Captured(Ok(captured)) => self.take(&plan, captured).await,
                Happened::Captured(Err(fault)) => self.capture_failed(fault),
            }
        }
        self.capture = None;
        self.status.ended = true;
        self.publish();
    }

    /// Whether anything is to be done in the source: not beside a log that cannot be read, but for taking it up anew.
    fn does_jobs(&self) -> bool {
        self.status.broken.is_none() || self.jobs.is_anew()
    }

    async fn wait(&mut self) -> Happened {
        let now = self.parts.env.now();
        let looks = self.room.missing.as_ref().map(|_| now + SPACE_EVERY);
        let jobs = self.jobs.due().filter(|_| self.does_jobs());
        let others = [self.retry.due(), self.guarding.due(), looks].into_iter().flatten();
        // Nothing is done in time beside a log that cannot be read.
        let due = others.filter(|_| self.status.broken.is_none()).chain(jobs);
        let due = due.map(|at| at.saturating_sub(now)).min();
        let env = self.parts.env.clone();
        let sleep = async {
            match due {
                Some(due) => env.sleep(due.max(Duration::from_millis(1))).await,
                None => std::future::pending().await,
            }
        };
        // A capture whose journal has failed is not read: what it brings could not be kept.
        let readable = self.status.broken.is_none();
        let captured = async {
            match &mut self.capture {
                Some(capture) if readable => capture.next().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.parts.plan.changed() => Happened::Planned,
            ended = self.jobs.ended() => Happened::Job(ended),
            Some(request) = self.parts.marks.recv() => Happened::Asked(request),
            ended = self.guarding.ended() => Happened::Guard(ended),
            captured = captured => Happened::Captured(captured),
            () = sleep => Happened::Time,
        }
    }

    fn job_ended(&mut self, ended: Ended) {
        match self.jobs.note(ended, &mut self.marking, self.parts.env.now()) {
            Ok(start) => {
                if let Some(captured) = self.jobs.captured() {
                    self.guarding.forget(captured);
                }
                self.status.entering = None;
                if start.is_some() {
                    self.start = start;
                    self.retry = Retry::default();
                }
            }
            Err(fault) => {
                if self.status.entering.as_ref() != Some(&fault) {
                    tracing::warn!(app = %self.parts.app, class = %fault.class, "the app's capture cannot be set up: {fault}");
                }
                self.status.entering = Some(fault);
            }
        }
    }

    /// Begins to take the log up behind a gap that people have accepted. A log that is well but for some tables is read on,
    /// and those are put into it again.
    fn accept_gap(&mut self, plan: &AppPlan) {
        let Some(gap) = plan.accepted.as_ref().filter(|gap| self.accepted.as_ref() != Some(gap)) else {
            return;
        };
        self.accepted = Some(gap.clone());
        let anew = match &self.status.broken {
            Some(fault) if fault.class == FaultClass::Gap => true,
            // Our own disk: there is no gap that could be accepted.
            Some(_) => return,
            None => false,
        };
        if anew {
            self.marking.write_again();
            self.capture = None;
        }
        self.jobs.enter_again(plan, gap.barrier, anew);
    }

    /// Notes in every journal that the log begins anew, behind what each has; only then is it read.
    async fn begin_anew(&mut self, plan: &AppPlan) {
        let (Some(start), Some(gap)) = (self.jobs.begun_anew(), self.accepted.clone()) else { return };
        let place = |sink: &Sink| Place::decode(&sink.journal.with(|journal| journal.position())?);
        let groups = plan.sinks.values().filter_map(place).map(|place| place.group);
        self.group = groups.max().unwrap_or(0).max(self.group) + 1;
        for sink in plan.sinks.values() {
            let mut seen: BTreeMap<u64, Seq> =
                place(sink).map(|place| place.seen.into_iter().collect()).unwrap_or_default();
            let both_ways: Vec<u64> = sink.both_ways.values().map(|both| both.number).collect();
            for (map, seq) in gap.seen.iter().filter(|(map, _)| both_ways.contains(map)) {
                let known = seen.entry(*map).or_default();
                *known = (*known).max(*seq);
            }
            let (seen, position) = (seen.into_iter().collect(), start.clone());
            let place = Place { group: self.group, commit: false, seen, position }.encode();
            let noted = sink.journal.with(|journal| {
                journal.abandon_open()?;
                journal.append_idle(place)
            });
            let durable = match noted {
                Ok(()) => sync(&self.parts.env, sink).await,
                Err(error) => Err(error),
            };
            match durable {
                Ok(durable) => sink.journal.announce(durable),
                Err(error) => return self.journal_failed(&error),
            }
        }
        tracing::warn!(app = %self.parts.app, "the app's log is taken up behind a gap that was accepted");
        self.start = Some(start);
        self.status.broken = None;
        self.retry = Retry::default();
    }

    /// Opens the log where the journal stands that is furthest behind.
    async fn open(&mut self, plan: &AppPlan) {
        let now = self.parts.env.now();
        let wanted = self.capture.is_none() && !plan.tables().is_empty() && !plan.held;
        if !wanted || !self.retry.is_due(now) || !self.has_room() {
            return;
        }
        let places: BTreeMap<&StreamName, Place> = plan
            .sinks
            .iter()
            .filter_map(|(stream, sink)| {
                let kept = sink.journal.with(|journal| journal.position())?;
                Some((stream, Place::decode(&kept)?))
            })
            .collect();
        let behind = places.values().min_by_key(|place| place.group);
        let Some(from) = behind.map(|place| &place.position).or(self.start.as_ref()).cloned() else { return };
        let least = behind.map_or(0, |place| place.group);
        self.group = places.values().map(|place| place.group).max().unwrap_or(0).max(self.group);
        self.routes.clear();
        self.guarding.bypasses.reopened();
        for (stream, sink) in &plan.sinks {
            let ahead = places.get(stream).filter(|place| place.commit && place.group > least);
            let route = self.routes.entry(stream.clone()).or_default();
            route.reopened(ahead.map(|place| place.position.clone()), places.get(stream));
            // What came back before a restart did so for good: it is kept with the place.
            let seen = places.get(stream).map(|place| place.seen.as_slice()).unwrap_or_default();
            for both in sink.both_ways.values() {
                both.other.journal.note_echoed(seen);
            }
            if let Err(error) = sink.journal.with(|journal| journal.abandon_open()) {
                return self.journal_failed(&error);
            }
        }
        let opened = tokio::select! {
            biased;
            // A table that is to leave must not wait for a source that does not answer.
            _ = self.parts.plan.changed() => {
                self.parts.plan.mark_changed();
                return;
            }
            opened = self.parts.connector.open_capture(self.parts.owner, &from) => opened,
        };
        match opened {
            Ok(capture) => {
                self.capture = Some(capture);
                if self.retry.fault().is_some() {
                    tracing::info!(app = %self.parts.app, "the app's log is being read again");
                }
                self.retry = Retry::default();
            }
            Err(fault) => self.capture_failed(fault),
        }
    }

    fn capture_failed(&mut self, fault: Fault) {
        self.capture = None;
        if matches!(fault.class, FaultClass::Gap | FaultClass::Internal) {
            tracing::error!(app = %self.parts.app, class = %fault.class, "the app's log cannot be read on: {fault}");
            self.status.broken = Some(fault);
            return;
        }
        if self.retry.fault().is_none() {
            tracing::warn!(app = %self.parts.app, class = %fault.class, "the app's log is not being read: {fault}");
        }
        self.retry.failed(fault, self.parts.env.now());
    }

    fn journal_failed(&mut self, error: &JournalError) {
        tracing::error!(app = %self.parts.app, "the journal failed; nothing more is acknowledged: {error}");
        self.capture = None;
        let fault = Fault::new(FaultClass::Internal, "write the journal", error.to_string());
        self.status.broken = Some(fault.fix(error.fix()));
    }

    /// Moves a batch into the journals, makes it durable, and only then acknowledges it.
    async fn take(&mut self, plan: &AppPlan, captured: Captured) {
        if Mistake::AcknowledgeEarly.is_made()
            && let Some(commit) =
                captured.fragments.iter().rev().find_map(|fragment| fragment.commit.as_ref())
            && let Some(capture) = &mut self.capture
        {
            let _ = capture.acknowledge(&commit.position).await;
            // The transport reports at intervals: give it the time to do so.
            self.parts.env.sleep(Duration::from_secs(1)).await;
        }
        match self.journal(plan, &captured).await {
            Ok(Some(position)) => {
                if let Some(capture) = &mut self.capture
                    && let Err(fault) = capture.acknowledge(&position).await
                {
                    self.capture_failed(fault);
                }
                FailPoint::JournalAcknowledged.pass();
            }
            Ok(None) => {}
            Err(error) => self.journal_failed(&error),
        }
        if !self.has_room() {
            self.capture = None;
        }
    }

    /// Returns the source's position up to which everything is durable now, if that has moved.
    async fn journal(
        &mut self,
        plan: &AppPlan,
        captured: &Captured,
    ) -> Result<Option<Position>, JournalError> {
        self.jobs.renamed(&captured.renamed, plan);
        if names_others(&captured.fragments, plan) {
            self.jobs.look_soon();
        }
        self.group += 1;
        let last_commit = captured.fragments.iter().rev().find_map(|fragment| fragment.commit.as_ref());
        let end = captured.idle.as_ref().or(last_commit.map(|commit| &commit.position));
        let env = self.parts.env.clone();
        let now = env.wall();
        let mut settled = true;
        for (stream, sink) in &plan.sinks {
            let route = self.routes.entry(stream.clone()).or_default();
            let first = sink.journal.with(|journal| journal.next_seq());
            let routed =
                route.route(&captured.fragments, (&sink.tables, &sink.both_ways), (self.group, first))?;
            if !routed.fragments.is_empty() {
                sink.journal
                    .with(|journal| journal.append_stamped(&routed.fragments, &routed.stamps, now))?;
                self.guarding.bypasses.look_at(stream, first, &routed.fragments);
                FailPoint::JournalAppended.pass();
            }
            self.note_overwritten(stream, sink)?;
            let route = self.routes.entry(stream.clone()).or_default();
            // Nothing ended: the pieces of a large transaction need not be durable before its commit is.
            let Some(end) = end else { continue };
            let here = routed.fragments.iter().rev().find_map(|fragment| fragment.commit.as_ref());
            let here = here.and_then(|commit| Place::decode(&commit.position)).map(|place| place.position);
            let is_there = here.as_ref() == Some(end) || route.is_passing();
            // What ended held nothing for this journal, and what goes on does. The place behind the one cannot be noted
            // before the other has ended; until then the source must not let go of it, or it would look like a gap.
            let lags = !is_there && route.is_open();
            settled &= !lags;
            if !is_there && !lags {
                // The log went on with nothing for this journal: it is as far as the others all the same.
                let (seen, commit) = (route.screen.seen(), captured.idle.is_none());
                let place = Place { group: self.group, commit, seen, position: end.clone() };
                sink.journal.with(|journal| journal.append_idle(place.encode()))?;
            }
            let durable = sync(&env, sink).await?;
            FailPoint::JournalSynced.pass();
            for barrier in &routed.barriers {
                let Some(seq) = sink.journal.with(|journal| journal.barrier(*barrier)) else { continue };
                if Marking::is_mark(*barrier) {
                    self.marking.seen(*barrier, stream, seq);
                } else {
                    self.status.barriers.entry((*barrier, stream.clone())).or_insert(seq);
                }
            }
            sink.journal.announce(durable);
            for (map, times) in route.screen.take_ping_pong() {
                *self.status.ping_pong.entry((stream.clone(), map)).or_default() += times;
            }
            let seen = route.screen.seen();
            for both in sink.both_ways.values().filter(|_| !lags) {
                both.other.journal.note_echoed(&seen);
            }
        }
        Ok(end.filter(|_| settled).cloned())
    }

    /// Notes the winners over which something of ours was written, as this batch of the log shows. It is durable before
    /// the batch is, or they would be forgotten.
    fn note_overwritten(&mut self, stream: &StreamName, sink: &Sink) -> Result<(), JournalError> {
        let Some(route) = self.routes.get_mut(stream).filter(|_| !sink.both_ways.is_empty()) else {
            return Ok(());
        };
        let goes_on = route.is_open();
        let echoes = route.screen.take_echoes(goes_on);
        let corrections = match overwritten(&*self.parts.store, &echoes) {
            Ok(corrections) => corrections,
            Err(Unreadable::Journal(error)) => return Err(error),
            Err(Unreadable::Store(error)) => return Err(JournalError::store(&error.to_string())),
        };
        if corrections.is_empty() {
            return Ok(());
        }
        let records: Vec<Record> =
            corrections.into_iter().map(|correction| Record::Correction(Box::new(correction))).collect();
        self.parts.store.save(&records).map_err(|error| JournalError::store(&error.to_string()))?;
        sink.both_ways.values().for_each(|both| both.other.journal.nudge());
        Ok(())
    }

    /// Whether there is room on our disk. If there is not, the source has to keep what it has.
    fn has_room(&mut self) -> bool {
        let now = self.parts.env.now();
        let fresh = self.room.looked.is_some_and(|looked| now.saturating_sub(looked) < SPACE_EVERY);
        if fresh {
            return self.room.missing.is_none();
        }
        self.room.looked = Some(now);
        let missing = self.parts.disk.space().ok().and_then(|space| {
            let floor = DISK_FLOOR_BYTES.min(space.total / DISK_FLOOR_PART);
            (space.free < floor).then(|| {
                let (free, floor) = (space.free >> 20, floor >> 20);
                let message = format!(
                    "{free} MB are free on the disk of the data folder; reading stops below {floor} MB"
                );
                Fault::new(FaultClass::Unavailable, "find room for the journal", message).fix(
                    "free space there, or resume or stop paused maps; until then the source keeps its log",
                )
            })
        });
        match (&self.room.missing, &missing) {
            (None, Some(fault)) => tracing::error!(app = %self.parts.app, "reading has stopped: {fault}"),
            (Some(_), None) => tracing::info!(app = %self.parts.app, "there is room again; reading goes on"),
            _ => {}
        }
        self.room.missing = missing;
        self.room.missing.is_none()
    }

    fn publish(&mut self) {
        self.status.capturing = self.capture.is_some();
        self.status.fault = self.room.missing.as_ref().or(self.retry.fault()).cloned();
        if self.jobs.captured().is_some_and(|captured| *captured != self.status.captured) {
            self.status.captured = self.jobs.captured().cloned().unwrap_or_default();
        }
        self.status.looked = self.jobs.captured().is_some();
        self.status.missing.clone_from(self.jobs.missing());
        self.status.retained = self.jobs.retained();
        self.status.guards = self.guarding.standing().to_vec();
        self.status.bypassed = self.guarding.bypasses.seen();
        self.status.guard_fault = self.guarding.fault().cloned();
        let status = &self.status;
        let changed = self.parts.status.send_if_modified(|known| {
            let changed = known != status;
            if changed {
                known.clone_from(status);
            }
            changed
        });
        if changed {
            self.parts.bell.notify_one();
        }
    }
}

/// Whether the log names a table that nobody wants: one that has just been taken out, or one of ours that was renamed.
fn names_others(fragments: &[Fragment], plan: &AppPlan) -> bool {
    let mut last: Option<&Arc<Relation>> = None;
    let wanted = |table: &TableName| plan.sinks.values().any(|sink| sink.tables.contains(table));
    fragments.iter().flat_map(|fragment| &fragment.entries).any(|entry| match entry {
        Entry::Change(change) if last.is_none_or(|last| !Arc::ptr_eq(last, &change.relation)) => {
            last = Some(&change.relation);
            !wanted(&change.relation.table)
        }
        Entry::Change(_) | Entry::Barrier(_) => false,
    })
}

async fn sync(env: &Arc<dyn Env>, sink: &Sink) -> Result<Seq, JournalError> {
    let ticket = sink.journal.with(|journal| journal.sync_ticket());
    let (needed, clock) = (ticket.needed, env.clone());
    // Measured where it is done: waiting for a thread is not the disk's.
    let work = move || {
        let began = clock.now();
        let synced = ticket.sync();
        (synced, clock.now().saturating_sub(began))
    };
    let (synced, took) = blocking(&**env, work).await;
    if needed {
        sink.journal.syncs.note(took);
    }
    sink.journal.with(|journal| journal.synced(synced)).map(|durable| durable.seq)
}
