//! The list of errors in memory: what `sqlite/errors.rs` does, said plainly.

use crate::store::{
    Awaiting, Cause, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, FlowId, Picked, Record, SetAside,
    StatusCounts, Touching,
};
use crate::view::Page;
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::{KeyHash, MapName, Seq};

#[derive(Debug, Default)]
pub(super) struct Errors {
    entries: BTreeMap<(FlowId, Seq), Entry>,
    /// How many there ever were.
    noted: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    error: SetAside,
    retry: Option<FlowId>,
}

impl Entry {
    fn fits(&self, pick: &ErrorPick) -> bool {
        let error = &self.error;
        (pick.ids.is_empty() || pick.ids.contains(&error.id))
            && pick.class.is_none_or(|class| error.fault.class == class)
            && pick.noted_by.is_none_or(|at| error.first_at <= at)
            && pick.transaction.as_ref().is_none_or(|name| error.transaction_name == *name)
            && (pick.keys.is_empty() || error.key_parts().is_some_and(|parts| pick.keys.contains(&parts)))
    }

    fn touches(&self) -> &[KeyHash] {
        self.error.kept.as_ref().map_or(&[], |kept| &kept.touches)
    }
}

impl Errors {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn unresolved(&self, flows: &[FlowId]) -> impl Iterator<Item = &Entry> {
        let of_these = move |entry: &&Entry| flows.contains(&entry.error.flow);
        self.entries.values().filter(|entry| entry.error.status.is_unresolved()).filter(of_these)
    }

    fn each(&mut self, wanted: impl Fn(&Entry) -> bool, change: impl Fn(&mut Entry)) {
        self.entries.values_mut().filter(|entry| wanted(entry)).for_each(change);
    }

    /// Does what a record says of errors.
    pub(super) fn save(&mut self, record: Record) {
        use ErrorStatus::{Completed, Deleted, Retrying, Superseded, Waiting};
        match record {
            Record::Error(error) => self.note(error),
            Record::Adopted(error) if self.entries.contains_key(&(error.flow, error.seq)) => {}
            Record::Adopted(error) => self.note(error),
            Record::NoErrorsAbove(above) => self
                .entries
                .retain(|(flow, seq), _| !above.iter().any(|(other, last)| other == flow && seq > last)),
            Record::NoErrors(flow) => self.entries.retain(|(other, _), _| *other != flow),
            Record::ErrorsOf { now, before } => {
                self.each(|entry| entry.error.flow == before, |entry| entry.error.flow = now);
                self.entries = std::mem::take(&mut self.entries)
                    .into_values()
                    .map(|entry| ((entry.error.flow, entry.error.seq), entry))
                    .collect();
            }
            Record::Superseded { errors, by } => self.each(
                |entry| errors.contains(&(entry.error.flow, entry.error.seq)),
                |entry| (entry.error.status, entry.error.by, entry.retry) = (Superseded, Some(by), None),
            ),
            Record::NotSuperseded { by, from, through } => {
                let undone = |entry: &Entry| {
                    let name = entry.error.by.filter(|_| entry.error.status == Superseded);
                    name.is_some_and(|(flow, seq)| flow == by && from <= seq && seq <= through)
                };
                self.entries.retain(|_, entry| !undone(entry) || entry.error.kept.is_some());
                self.each(undone, |entry| {
                    (entry.error.status, entry.error.by) = (stands_again(&entry.error), None)
                });
            }
            Record::RetryBegun { retry, flows, pick, up_to, adopted } => {
                let begin = |entry: &mut Entry| (entry.error.status, entry.retry) = (Retrying, Some(retry));
                let picked = |entry: &Entry| {
                    let fits = flows.contains(&entry.error.flow)
                        && entry.error.id <= up_to
                        && pick.as_ref().is_some_and(|pick| entry.fits(pick));
                    let named = adopted.contains(&(entry.error.flow, entry.error.seq));
                    entry.error.status.is_unresolved() && entry.error.kept.is_some() && (fits || named)
                };
                self.each(picked, begin);
                let in_it = self.entries.values().filter(|entry| entry.retry == Some(retry));
                let keys: BTreeSet<Vec<String>> = in_it.filter_map(|entry| entry.error.key_parts()).collect();
                let behind = |entry: &Entry| {
                    entry.error.status == Waiting
                        && flows.contains(&entry.error.flow)
                        && entry.error.key_parts().is_some_and(|key| keys.contains(&key))
                };
                self.each(behind, begin);
            }
            Record::Retried { retry, through } => self.each(
                |entry| {
                    let error = &entry.error;
                    entry.retry == Some(retry) && error.seq <= through && error.status == Retrying
                },
                |entry| entry.error.status = Completed,
            ),
            Record::NotRetried { retry, beyond } => self.each(
                |entry| {
                    let error = &entry.error;
                    entry.retry == Some(retry) && error.seq > beyond && error.status == Completed
                },
                |entry| entry.error.status = Retrying,
            ),
            Record::RetryEnded { retry, flows } => {
                let left = |entry: &Entry| entry.retry == Some(retry) && entry.error.status == Retrying;
                self.each(left, |entry| entry.error.status = stands_again(&entry.error));
                self.each(|entry| entry.retry == Some(retry), |entry| entry.retry = None);
                self.promote(&flows);
            }
            Record::ErrorsDeleted { flows, pick, up_to } => {
                self.each(
                    |entry| {
                        entry.error.status.is_unresolved()
                            && flows.contains(&entry.error.flow)
                            && entry.error.id <= up_to
                            && entry.fits(&pick)
                    },
                    |entry| (entry.error.status, entry.error.kept, entry.retry) = (Deleted, None, None),
                );
                self.promote(&flows);
            }
            _ => {}
        }
    }

    fn note(&mut self, error: SetAside) {
        match self.entries.get_mut(&(error.flow, error.seq)) {
            Some(Entry { error: known, retry }) => {
                known.attempts = known.attempts.saturating_add(error.attempts);
                (known.fault, known.last_at) = (error.fault, error.last_at);
                (known.status, known.by, *retry) = (error.status, error.by, None);
                if error.kept.is_some() {
                    known.kept = error.kept;
                }
            }
            None => {
                self.noted += 1;
                let error = SetAside { id: self.noted, ..error };
                self.entries.insert((error.flow, error.seq), Entry { error, retry: None });
            }
        }
    }

    fn promote(&mut self, flows: &[FlowId]) {
        let all: Vec<(Seq, Vec<KeyHash>)> =
            self.unresolved(flows).map(|entry| (entry.error.seq, entry.touches().to_vec())).collect();
        let stands_behind = |entry: &Entry| {
            all.iter().any(|(seq, keys)| {
                *seq < entry.error.seq && keys.iter().any(|key| entry.touches().contains(key))
            })
        };
        let free = |entry: &Entry| {
            entry.error.status == ErrorStatus::Waiting
                && flows.contains(&entry.error.flow)
                && !entry.error.is_awaiting()
                && !stands_behind(entry)
        };
        let freed: Vec<(FlowId, Seq)> =
            self.entries.iter().filter(|(_, entry)| free(entry)).map(|(name, _)| *name).collect();
        self.each(
            |entry| freed.contains(&(entry.error.flow, entry.error.seq)),
            |entry| entry.error.status = ErrorStatus::Open,
        );
    }

    pub(super) fn page(&self, query: &ErrorQuery) -> Page<SetAside> {
        let wanted = |entry: &&Entry| {
            entry.error.id > query.after
                && query.map.as_ref().is_none_or(|map| entry.error.map == *map)
                && query.wanted().contains(&entry.error.status)
                && entry.fits(&query.pick)
        };
        let mut items: Vec<SetAside> =
            self.entries.values().filter(wanted).map(|entry| entry.error.clone()).collect();
        items.sort_by_key(|error| error.id);
        cut(items, query.limit, |last| last.id)
    }

    pub(super) fn one(&self, id: u64) -> Option<SetAside> {
        self.entries.values().find(|entry| entry.error.id == id).map(|entry| entry.error.clone())
    }

    pub(super) fn at(&self, flow: FlowId, seq: Seq) -> Option<SetAside> {
        self.entries.get(&(flow, seq)).map(|entry| entry.error.clone())
    }

    pub(super) fn counts(&self) -> BTreeMap<FlowId, StatusCounts> {
        let mut counts: BTreeMap<FlowId, StatusCounts> = BTreeMap::new();
        for Entry { error, .. } in self.entries.values() {
            *counts.entry(error.flow).or_default().entry(error.status).or_default() += 1;
        }
        counts
    }

    pub(super) fn awaiting(&self) -> BTreeMap<FlowId, Awaiting> {
        let mut all: BTreeMap<FlowId, Awaiting> = BTreeMap::new();
        let entries = self.entries.values().map(|entry| &entry.error);
        for error in entries.filter(|error| error.is_awaiting()) {
            let is_tried = match error.status {
                ErrorStatus::Waiting => 0,
                ErrorStatus::Retrying => 1,
                _ => continue,
            };
            let of = all.entry(error.flow);
            let one = of.or_insert(Awaiting { records: 0, first: error.seq, retrying: 0 });
            *one = Awaiting {
                records: one.records + 1,
                first: one.first.min(error.seq),
                retrying: one.retrying + is_tried,
            };
        }
        all
    }

    pub(super) fn awaiting_ids(&self, flows: &[FlowId], through: Seq, limit: usize) -> Vec<u64> {
        let waits = |error: &&SetAside| {
            error.is_awaiting()
                && error.status == ErrorStatus::Waiting
                && flows.contains(&error.flow)
                && error.seq <= through
        };
        let mut found: Vec<&SetAside> =
            self.entries.values().map(|entry| &entry.error).filter(waits).collect();
        found.sort_by_key(|error| error.seq);
        found.into_iter().map(|error| error.id).take(limit).collect()
    }

    pub(super) fn picked(&self, flows: &[FlowId], pick: &ErrorPick) -> Picked {
        let fits = self.unresolved(flows).filter(|entry| entry.fits(pick));
        fits.fold(Picked::default(), |all, Entry { error, .. }| Picked {
            errors: all.errors + 1,
            last_id: all.last_id.max(error.id),
            last_seq: all.last_seq.max(error.seq),
        })
    }

    pub(super) fn touching(&self, flows: &[FlowId], keys: &[KeyHash]) -> Vec<Touching> {
        let found = self.unresolved(flows).flat_map(|entry| {
            let SetAside { flow, seq, status, .. } = entry.error;
            let touched = entry.touches().iter().filter(|key| keys.contains(key));
            touched.map(move |key| Touching { key: *key, flow, seq, status })
        });
        found.collect()
    }

    pub(super) fn retrying(&self, retry: FlowId, after: Seq, limit: usize) -> Page<SetAside> {
        let wanted = |entry: &&Entry| {
            entry.retry == Some(retry)
                && entry.error.seq > after
                && entry.error.status == ErrorStatus::Retrying
        };
        let mut items: Vec<SetAside> =
            self.entries.values().filter(wanted).map(|entry| entry.error.clone()).collect();
        items.sort_by_key(|error| error.seq);
        cut(items, limit, |last| last.seq.0)
    }

    pub(super) fn noted(&self, flow: FlowId, after: Seq, through: Seq) -> BTreeSet<Seq> {
        let of_flow = self.entries.keys().filter(|(other, _)| *other == flow).map(|(_, seq)| *seq);
        of_flow.filter(|seq| after < *seq && *seq <= through).collect()
    }

    pub(super) fn causes(&self, map: Option<&MapName>) -> Vec<Cause> {
        let mut causes: BTreeMap<(MapName, String, Option<String>), Cause> = BTreeMap::new();
        let about = |entry: &&Entry| {
            entry.error.status.is_unresolved() && map.is_none_or(|map| entry.error.map == *map)
        };
        for Entry { error, .. } in self.entries.values().filter(about) {
            let fault = &error.fault;
            let cause = causes
                .entry((error.map.clone(), fault.class.to_string(), fault.code.clone()))
                .or_insert_with(|| Cause {
                    map: error.map.clone(),
                    class: fault.class,
                    code: fault.code.clone(),
                    message: fault.message.clone(),
                    errors: 0,
                    first: ErrorId::Noted(error.id),
                    first_at: error.first_at,
                    last_at: error.last_at,
                });
            cause.errors += 1;
            cause.first = cause.first.min(ErrorId::Noted(error.id));
            cause.first_at = cause.first_at.min(error.first_at);
            if error.last_at >= cause.last_at {
                (cause.last_at, cause.message) = (error.last_at, fault.message.clone());
            }
        }
        let mut causes: Vec<Cause> = causes.into_values().collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.errors));
        causes
    }
}

/// How an error stands of which nothing has come after all: what only waits for another map waits for it again.
fn stands_again(error: &SetAside) -> ErrorStatus {
    if error.is_awaiting() { ErrorStatus::Waiting } else { ErrorStatus::Open }
}

fn cut(mut items: Vec<SetAside>, limit: usize, next: impl Fn(&SetAside) -> u64) -> Page<SetAside> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(next);
    Page { items, next }
}
