//! Catch-up errors: counted, tried again, deleted.
//!
//! A retry is in a lane like a flow, and takes turns with the flow of its map: while one is in a lane the other is
//! not, so that of two changes of a record the older one is never applied beside or behind the newer one. A turn of
//! a retry is short while its map has something to do, and the map catches up before the next one, or has had a longer
//! turn: it may be that very retry that it cannot catch up without. What is to be tried again is saved when it is asked
//! for; a crash, a pause or a stop in the middle leaves it as it is, and it goes on when the map does.

use super::Supervisor;
use super::releasing::streams_of;
use crate::failpoint::FailPoint;
use crate::request::{Blocker, ErrorRequest, ErrorVerb, ErrorsTaken, Rejected};
use crate::store::{
    Awaiting, ErrorPick, ErrorStatus, FlowId, FlowRecord, MapRecord, Picked, Record, RetryRecord, SetAside,
    Skipped, StatusCounts, StoreError,
};
use crate::stream::{FlowStatus, Place};
use crate::view::{ErrorStats, RetryView};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tandem_core::lifecycle::{Phase, QueueFate, duties};
use tandem_core::{MapName, RateCap, Seq, StreamName};

/// How long a retry goes on while its map has changes to apply.
const TURN: Duration = Duration::from_secs(2);
/// How long a map goes on before the next turn of a retry, at least.
const PAUSE_BETWEEN: Duration = Duration::from_millis(500);
/// How long a map goes on that does not catch up.
const PAUSE_BEHIND: Duration = Duration::from_secs(10);

/// Who asks for something to be done about errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Person,
    /// What has waited for other maps is tried again.
    Engine,
}

/// Whose turn it is, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    retry: bool,
    since: Duration,
}

/// How many errors there are.
#[derive(Debug, Default)]
pub(super) struct Errors {
    noted: BTreeMap<FlowId, StatusCounts>,
    kept: BTreeMap<FlowId, Kept>,
    /// What only waits for other maps.
    pub(super) awaiting: BTreeMap<FlowId, Awaiting>,
    /// When what had waited for them was tried again last, by map.
    pub(super) awaited: BTreeMap<MapName, super::awaiting::Tried>,
}

/// What is left of a preserved queue.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    records: u64,
    bytes: u64,
    /// What these counts are as of: where the queue begins, and how many entries its flow has.
    beyond: Seq,
    entries: u64,
}

impl Errors {
    fn of(&self, flow: FlowId, status: ErrorStatus) -> u64 {
        self.noted.get(&flow).and_then(|counts| counts.get(&status)).copied().unwrap_or_default()
    }
}

impl Supervisor {
    /// Flows of retries that have their turn.
    pub(super) fn trying(&self) -> BTreeSet<FlowId> {
        self.turns.iter().filter(|(_, turn)| turn.retry).map(|(retry, _)| *retry).collect()
    }

    /// How many errors a map has.
    pub(super) fn error_stats(&self, record: &MapRecord) -> ErrorStats {
        let mut stats = ErrorStats::default();
        for flow in record.every_flow() {
            stats.open += self.errors.of(flow.flow, ErrorStatus::Open);
            stats.waiting += self.errors.of(flow.flow, ErrorStatus::Waiting);
            stats.retrying += self.errors.of(flow.flow, ErrorStatus::Retrying);
            stats.for_maps += self.errors.awaiting.get(&flow.flow).map_or(0, |awaiting| awaiting.records);
        }
        for skipped in record.preserved() {
            let kept = self.errors.kept.get(&skipped.flow.flow).copied().unwrap_or_default();
            let is_tried = record.retries.iter().any(|retry| retry.kept.contains(&skipped.flow.flow));
            match is_tried {
                true => stats.retrying += kept.records,
                false => stats.open += kept.records,
            }
            stats.kept_bytes += kept.bytes;
        }
        stats
    }

    /// How the retries of a map stand.
    pub(super) fn retry_views(&self, record: &MapRecord) -> Vec<RetryView> {
        let view = |retry: &RetryRecord| {
            let status = self.status_of(&retry.stream, retry.retry);
            RetryView {
                errors: retry.errors,
                left: self.error_stats(record).retrying,
                refused: status.as_ref().map_or(0, |status| status.outcomes.set_aside),
                since: retry.since,
                actor: retry.actor.clone(),
                cancelled: retry.cancelled,
            }
        };
        let retries = record.retries.iter().map(view);
        retries.chain(self.refresh_views(record)).collect()
    }

    /// Counts anew what may have changed.
    pub(super) fn count_errors(&mut self) -> Result<(), StoreError> {
        self.errors.noted = self.world.store.error_counts()?;
        let may_await = [ErrorStatus::Waiting, ErrorStatus::Retrying];
        let any = |counts: &StatusCounts| counts.iter().any(|(is, n)| *n > 0 && may_await.contains(is));
        let any = self.errors.noted.values().any(any);
        self.errors.awaiting = if any { self.world.store.awaiting()? } else { BTreeMap::new() };
        let mut kept = BTreeMap::new();
        for skipped in self.maps.values().flat_map(MapRecord::preserved) {
            let flow = skipped.flow.flow;
            let Some(status) = self.status_of(&skipped.flow.stream, flow) else { continue };
            let entries = self.errors.noted.get(&flow).map_or(0, |counts| counts.values().sum());
            let known = self.errors.kept.get(&flow).copied();
            let is_so = |known: &Kept| known.beyond == status.cursor && known.entries == entries;
            let counted = match known.filter(is_so) {
                Some(known) => known,
                None => self.count_kept(skipped, status.cursor, entries)?,
            };
            kept.insert(flow, counted);
        }
        self.errors.kept = kept;
        Ok(())
    }

    /// How many records a preserved queue has left. `None` if it was not counted yet.
    pub(super) fn kept_records(&self, flow: FlowId) -> Option<u64> {
        self.errors.kept.get(&flow).map(|kept| kept.records)
    }

    /// How many entries of a flow something is still to become of.
    pub(super) fn unresolved_of(&self, flow: FlowId) -> u64 {
        ErrorStatus::UNRESOLVED.into_iter().map(|status| self.errors.of(flow, status)).sum()
    }

    fn count_kept(&self, skipped: &Skipped, beyond: Seq, entries: u64) -> Result<Kept, StoreError> {
        let flow = skipped.flow.flow;
        let handle = self.streams.get(&skipped.flow.stream);
        // A count that cannot be had now is shown as nothing; the condition that says why stands beside it.
        let counts =
            handle.and_then(|handle| handle.journal.with(|journal| journal.queued(flow, beyond)).ok());
        let counts = counts.unwrap_or_default();
        let noted = match entries {
            0 => 0,
            _ => self.world.store.noted(flow, beyond, skipped.until)?.len() as u64,
        };
        Ok(Kept { records: counts.records.saturating_sub(noted), bytes: counts.bytes, beyond, entries })
    }

    pub(super) fn status_of(&self, stream: &StreamName, flow: FlowId) -> Option<FlowStatus> {
        self.streams.get(stream)?.status.borrow().flows.get(&flow).cloned()
    }

    /// Takes a request about errors, saves what follows, and makes it so. `adopted` are the records of preserved
    /// queues that it is about, if it is not about all of them.
    pub(super) fn take_errors(
        &mut self,
        request: &ErrorRequest,
        adopted: Vec<SetAside>,
        asker: Asker,
    ) -> Result<ErrorsTaken, Rejected> {
        let name = &request.map;
        let mut record = self.maps.get(name).cloned().ok_or_else(|| Rejected::UnknownMap(name.clone()))?;
        let state = if record.state.is_pausing() { "pausing" } else { record.state.phase.name() };
        let blocked = |needs: &str| {
            let blocker = Blocker { map: name.clone(), state: state.to_owned(), needs: needs.to_owned() };
            Err(Rejected::State(vec![blocker]))
        };
        // What a refresh waits for may be what waits itself.
        let is_refreshed = asker == Asker::Person && self.is_refreshing(&record);
        let is_retried = !record.retries.is_empty() || is_refreshed;
        let may = match asker {
            Asker::Person => may_write(&record),
            Asker::Engine => may_try(&record),
        };
        match request.verb {
            ErrorVerb::Cancel if record.retries.is_empty() && is_retried => {
                return blocked("its errors are being refreshed, which ends by itself");
            }
            ErrorVerb::Cancel if !is_retried => return blocked("no errors of it are being retried"),
            ErrorVerb::Retry | ErrorVerb::Delete if is_retried => {
                return blocked("its errors are being retried: wait for the end, or cancel it");
            }
            ErrorVerb::Retry if !may => {
                return blocked("a retry needs a running map: resume it, or wait until it has caught up");
            }
            ErrorVerb::Retry if request.refresh && record.state.phase != Phase::Running => {
                return blocked("a refresh needs a running map: run it, or retry without a refresh");
            }
            ErrorVerb::Cancel | ErrorVerb::Retry | ErrorVerb::Delete => {}
        }
        if let Some(missing) = adopted.iter().find(|error| !is_in(&record, error)) {
            return Err(Rejected::UnknownError(missing.name().to_string()));
        }
        // Some of it may have been applied after all.
        let is_unsure = |error: &SetAside| {
            record.preserved().any(|skipped| skipped.flow.flow == error.flow && !skipped.settled)
        };
        if adopted.iter().any(is_unsure) {
            return blocked(
                "it is not known yet how much of its queue was applied: the destination has to answer",
            );
        }
        let mut records = Vec::new();
        let mut engine = self.engine.clone();
        let mut refreshed = Vec::new();
        let errors = match request.verb {
            ErrorVerb::Cancel => {
                record.retries.iter_mut().for_each(|retry| retry.cancelled = true);
                self.error_stats(&record).retrying
            }
            ErrorVerb::Retry if request.refresh => {
                self.begin_refresh(request, &adopted, &record, &mut records, &mut refreshed)?
            }
            ErrorVerb::Retry => {
                self.begin_retries(request, &adopted, &mut record, &mut engine, &mut records)?
            }
            ErrorVerb::Delete => self.delete_errors(request, adopted, &mut record, &mut records)?,
        };
        if request.expected.is_some_and(|expected| expected != errors) {
            return blocked(&format!(
                "{errors} errors are meant now, not {}: look again, then ask again",
                request.expected.unwrap_or_default()
            ));
        }
        if errors == 0 && request.verb != ErrorVerb::Cancel {
            return blocked("it has no such error");
        }
        let mut entry = self.note(request.verb.event(), name, &request.actor, &request.reason);
        let all = if request.is_all() { ", all of them" } else { "" };
        let how = if request.refresh { ", as their records are in the source now" } else { "" };
        entry.detail = format!("{errors} errors{all}{how}");
        records.insert(0, Record::Activity(entry));
        if engine != self.engine {
            records.push(Record::Engine(engine.clone()));
        }
        records.push(Record::Map(Box::new(record.clone())));
        FailPoint::ErrorsUnrecorded.pass();
        let ids = self.save(&records).map_err(|error| Rejected::Disk(error.to_string()))?;
        FailPoint::ErrorsRecorded.pass();
        tracing::info!(map = %name, verb = request.verb.event(), errors, actor = request.actor, "accepted");
        self.engine = engine;
        refreshed.into_iter().for_each(|copy| self.copies.begin(copy));
        self.replace(record);
        self.push_plans().map_err(|error| Rejected::Disk(error.to_string()))?;
        Ok(ErrorsTaken { id: ids.first().copied().unwrap_or_default(), errors })
    }

    fn begin_retries(
        &self,
        request: &ErrorRequest,
        adopted: &[SetAside],
        record: &mut MapRecord,
        engine: &mut crate::store::EngineRecord,
        records: &mut Vec<Record>,
    ) -> Result<u64, Rejected> {
        let whole = request.is_all();
        let mut all = 0;
        for stream in streams_of(record) {
            let flows = record.family(&stream);
            let picked = self.picked(&flows, request.pick.as_ref())?;
            let here: Vec<&SetAside> = adopted.iter().filter(|error| flows.contains(&error.flow)).collect();
            let kept = record.preserved().filter(|skipped| whole && skipped.flow.stream == stream);
            let kept: Vec<&Skipped> = kept.collect();
            let counted = kept.iter().filter_map(|skipped| self.kept_records(skipped.flow.flow));
            let errors = picked.errors + here.len() as u64 + counted.sum::<u64>();
            if errors == 0 {
                continue;
            }
            let seqs = here.iter().map(|error| error.seq).chain(kept.iter().map(|skipped| skipped.until));
            let until = seqs.chain([picked.last_seq]).max().unwrap_or_default();
            let kept: Vec<FlowId> = kept.into_iter().map(|skipped| skipped.flow.flow).collect();
            let retry = FlowId(engine.next_flow);
            engine.next_flow += 1;
            all += errors;
            records.extend(here.iter().map(|error| Record::Adopted((*error).clone())));
            records.push(Record::RetryBegun {
                retry,
                flows,
                pick: request.pick.clone(),
                up_to: picked.last_id,
                adopted: here.iter().map(|error| (error.flow, error.seq)).collect(),
            });
            record.retries.push(RetryRecord {
                retry,
                until,
                stream,
                kept,
                errors,
                since: self.now(),
                actor: request.actor.clone(),
                reason: request.reason.clone(),
                rate: request.rate.map(|per_second| RateCap { per_second, asked_at: self.now() }),
                cancelled: false,
            });
        }
        Ok(all)
    }

    fn delete_errors(
        &self,
        request: &ErrorRequest,
        adopted: Vec<SetAside>,
        record: &mut MapRecord,
        records: &mut Vec<Record>,
    ) -> Result<u64, Rejected> {
        let mut all = adopted.len() as u64;
        for stream in streams_of(record) {
            let flows = record.family(&stream);
            let picked = self.picked(&flows, request.pick.as_ref())?;
            all += picked.errors;
            if let Some(pick) = request.pick.clone() {
                records.push(Record::ErrorsDeleted { flows, pick, up_to: picked.last_id });
            }
        }
        let deleted = |error| SetAside { kept: None, status: ErrorStatus::Deleted, ..error };
        records.extend(adopted.into_iter().map(deleted).map(Record::Adopted));
        if request.is_all() {
            for skipped in record.skipped.iter_mut().filter(|s| s.fate == QueueFate::Preserve) {
                all += self.errors.kept.get(&skipped.flow.flow).map_or(0, |kept| kept.records);
                // It ends like a queue that was discarded: with its exact count in the log before anything goes.
                skipped.fate = QueueFate::Discard;
                (skipped.actor, skipped.reason) = (request.actor.clone(), request.reason.clone());
            }
        }
        Ok(all)
    }

    fn picked(&self, flows: &[FlowId], pick: Option<&ErrorPick>) -> Result<Picked, Rejected> {
        let failed = |error: StoreError| Rejected::Disk(error.to_string());
        pick.map_or(Ok(Picked::default()), |pick| self.world.store.picked(flows, pick).map_err(failed))
    }

    /// Gives retries their turns, and ends those that are done.
    pub(super) fn work_on_retries(&mut self) -> Result<(), StoreError> {
        self.count_errors()?;
        let mut replan = Vec::new();
        let mut over = Vec::new();
        let mut known = BTreeSet::new();
        for (name, record) in &self.maps {
            for retry in &record.retries {
                known.insert(retry.retry);
                let Some(status) = self.status_of(&retry.stream, retry.retry) else { continue };
                let turn = self.turns.get(&retry.retry).copied();
                let next = self.next_turn(record, retry, &status, turn);
                if next != turn {
                    let before = turn.is_some_and(|turn| turn.retry);
                    if next.is_some_and(|next| next.retry) != before {
                        replan.push(name.clone());
                    }
                    match next {
                        Some(next) => drop(self.turns.insert(retry.retry, next)),
                        None => drop(self.turns.remove(&retry.retry)),
                    }
                } else if self.is_done(name, record, retry, &status) {
                    over.push((name.clone(), retry.retry));
                }
            }
        }
        self.turns.retain(|retry, _| known.contains(retry));
        let any = !replan.is_empty() || !over.is_empty();
        for name in replan {
            let waiting = self.dependents.dependents(&name);
            let asked = self.version + 1;
            self.asked.extend(waiting.into_iter().chain([name]).map(|name| (name, asked)));
        }
        for (name, retry) in over {
            self.end_retry(&name, retry)?;
        }
        if any && let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    fn next_turn(
        &self,
        record: &MapRecord,
        retry: &RetryRecord,
        status: &FlowStatus,
        turn: Option<Turn>,
    ) -> Option<Turn> {
        let now = self.world.env.now();
        if !may_try(record) || is_over(retry, status) {
            return None;
        }
        let waiting = self.waiting_for(record, &retry.stream);
        let since = now;
        match turn {
            None => Some(Turn { retry: true, since }),
            Some(Turn { retry: true, since: begun }) => {
                let has_work = |flow: &&FlowRecord| {
                    self.copies.desks().contains_key(&flow.flow) || self.flow_view(flow).queue.records > 0
                };
                let has_more = waiting.iter().any(has_work);
                let is_long = now.saturating_sub(begun) >= TURN && has_more;
                Some(if is_long { Turn { retry: false, since } } else { Turn { retry: true, since: begun } })
            }
            Some(Turn { retry: false, since: begun }) => {
                let places = waiting.iter().filter_map(|flow| self.status_of(&flow.stream, flow.flow));
                let is_live = places.into_iter().all(|status| status.place == Place::Live);
                let pause = if is_live { PAUSE_BETWEEN } else { PAUSE_BEHIND };
                let is_long = now.saturating_sub(begun) >= pause;
                Some(if is_long { Turn { retry: true, since } } else { Turn { retry: false, since: begun } })
            }
        }
    }

    /// The flows that wait while a map's errors are tried again: its own, and those of the maps that depend on it and
    /// that write as well.
    fn waiting_for<'a>(&'a self, record: &'a MapRecord, stream: &'a StreamName) -> Vec<&'a FlowRecord> {
        let dependents = self.dependents.dependents(&record.map.name);
        let below = self.maps.values().filter(|other| {
            other.map.name != record.map.name
                && dependents.contains(&other.map.name)
                && duties(&other.state).apply
        });
        let flows = std::iter::once(record).chain(below).flat_map(|record| &record.flows);
        flows.filter(|flow| flow.stream == *stream).collect()
    }

    /// Whether nothing of a retry is going on any more, and its map goes on and answers for it.
    fn is_done(&self, name: &MapName, record: &MapRecord, retry: &RetryRecord, status: &FlowStatus) -> bool {
        let asked = self.asked.get(name).copied().unwrap_or(0);
        let told =
            self.streams.get(&retry.stream).is_some_and(|handle| handle.status.borrow().version >= asked);
        let flow = record.flows.iter().find(|flow| flow.stream == retry.stream);
        let goes_on = flow.filter(|_| may_try(record)).is_none_or(|flow| {
            self.status_of(&flow.stream, flow.flow).is_some_and(|status| status.place != Place::Resting)
        });
        is_over(retry, status) && told && status.place == Place::Resting && !status.unsettled && goes_on
    }

    fn end_retry(&mut self, name: &MapName, retry: FlowId) -> Result<(), StoreError> {
        let Some(mut record) = self.maps.get(name).cloned() else { return Ok(()) };
        let Some(place) = record.retries.iter().position(|known| known.retry == retry) else { return Ok(()) };
        let ended = record.retries.remove(place);
        let Some(status) = self.status_of(&ended.stream, retry) else { return Ok(()) };
        let flows = record.family(&ended.stream);
        let mut records = vec![
            Record::Retried { retry, through: status.cursor },
            Record::RetryEnded { retry, flows: flows.clone() },
        ];
        let mut left = 0;
        for skipped in record.skipped.iter_mut().filter(|s| ended.kept.contains(&s.flow.flow)) {
            let settled = skipped.flow.start.max(Some(status.cursor.min(skipped.until)));
            skipped.flow.start = settled;
            if status.cursor < skipped.until {
                left += self.errors.kept.get(&skipped.flow.flow).map_or(0, |kept| kept.records);
            }
        }
        let awaiting = flows.iter().filter_map(|flow| self.errors.awaiting.get(flow));
        let waiting: u64 = awaiting.map(|awaiting| awaiting.records).sum();
        let open = left + flows.iter().map(|flow| self.unresolved_of(*flow)).sum::<u64>() - waiting;
        let mut entry = self.note("errors.retried", name, &ended.actor, &ended.reason);
        let how = match (&status.stalled, ended.cancelled) {
            (Some(fault), _) => format!("stopped, since nothing goes through: {fault}; "),
            (None, true) => "cancelled; ".to_owned(),
            (None, false) => String::new(),
        };
        let still = if waiting > 0 { format!("; {waiting} wait for other maps") } else { String::new() };
        entry.detail = format!(
            "{how}of {} errors, {} were refused again; {open} are open{still}",
            ended.errors, status.outcomes.set_aside
        );
        tracing::info!(map = %name, errors = ended.errors, open, "a retry has ended");
        records.push(Record::Activity(entry));
        records.push(Record::Map(Box::new(record.clone())));
        FailPoint::RetryUnsaved.pass();
        self.save(&records)?;
        FailPoint::RetrySaved.pass();
        self.tally(name).add_retry(&status);
        self.turns.remove(&retry);
        self.replace(record);
        Ok(())
    }

    /// Takes over what was saved of a map.
    pub(super) fn replace(&mut self, record: MapRecord) {
        self.asked.insert(record.map.name.clone(), self.version + 1);
        self.maps.insert(record.map.name.clone(), record);
    }
}

/// Whether something of a map may be written at its destination that is no part of its queue.
pub(super) fn may_write(record: &MapRecord) -> bool {
    match record.state.phase {
        Phase::Running => !record.state.is_pausing(),
        Phase::NotRunning => true,
        Phase::Initializing(_) | Phase::Paused | Phase::Resuming => false,
    }
}

/// Whether retries take turns with the flows of a map. Nobody asks for one of a map that catches up, since what is in
/// its queue may make the errors pointless; but it may stand for what waits itself, and one that was begun goes on.
pub(super) fn may_try(record: &MapRecord) -> bool {
    may_write(record) || (record.state.phase == Phase::Resuming && !record.state.is_pausing())
}

/// Whether a retry has nothing more to do, or nothing more that it can.
fn is_over(retry: &RetryRecord, status: &FlowStatus) -> bool {
    retry.cancelled || status.cursor >= retry.until || has_given_up(status)
}

/// A destination that refuses one record after the other is not asked again for each of the rest.
fn has_given_up(status: &FlowStatus) -> bool {
    status.stalled.as_ref().is_some_and(|fault| fault.class.is_about_record())
}

/// Whether a record is still in a preserved queue of a map: it may have been read there a moment ago.
fn is_in(record: &MapRecord, error: &SetAside) -> bool {
    record.preserved().any(|skipped| {
        let flow = &skipped.flow;
        flow.flow == error.flow && flow.start < Some(error.seq) && error.seq <= skipped.until
    })
}
