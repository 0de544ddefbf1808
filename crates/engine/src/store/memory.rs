//! A store in memory, for the simulation: what was saved survives a simulated crash, since each save is durable.

mod errors;

use super::{
    ActivityFrom, Again, Awaiting, Cause, Conflict, Correction, ErrorPick, ErrorQuery, FlowId, Picked,
    Record, Saved, SetAside, StatusCounts, Store, StoreError, Touching,
};
use crate::view::{ActivityEntry, Page};
use errors::Errors;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tandem_core::{KeyHash, MapName, Seq};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    saved: Saved,
    errors: Errors,
    again: Vec<(FlowId, Again)>,
    again_noted: u64,
    activity: Vec<ActivityEntry>,
    conflicts: Vec<Conflict>,
    corrections: Vec<Correction>,
    last_correction: u64,
}

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Saved, StoreError> {
        Ok(self.with(|inner| inner.saved.clone()))
    }

    fn save(&self, records: &[Record]) -> Result<Vec<u64>, StoreError> {
        Ok(self.with(|inner| {
            let mut numbers = Vec::new();
            for record in records {
                match record.clone() {
                    Record::Engine(engine) => inner.saved.engine = Some(engine),
                    Record::Map(map) => drop(inner.saved.maps.insert(map.map.name.clone(), *map)),
                    Record::NoMap(name) => drop(inner.saved.maps.remove(&name)),
                    Record::Stream(stream) => drop(inner.saved.streams.insert(stream.stream.clone(), stream)),
                    Record::NoStream(stream) => drop(inner.saved.streams.remove(&stream)),
                    Record::Rule(rule) => {
                        drop(inner.saved.rules.insert(rule.declared.name.clone(), *rule));
                    }
                    Record::NoRule(name) => drop(inner.saved.rules.remove(&name)),
                    Record::Token(token) => drop(inner.saved.tokens.insert(token.name.clone(), *token)),
                    Record::Answer(answer) => drop(inner.saved.answers.insert(answer.name.clone(), *answer)),
                    Record::NoAnswer(name) => drop(inner.saved.answers.remove(&name)),
                    Record::NoToken(name) => drop(inner.saved.tokens.remove(&name)),
                    Record::Activity(mut entry) => {
                        entry.id = inner.activity.len() as u64 + 1;
                        numbers.push(entry.id);
                        inner.activity.push(entry);
                    }
                    Record::Copy(copy) => drop(inner.saved.copies.insert(copy.flow, *copy)),
                    Record::NoCopy(flow) => {
                        inner.saved.copies.remove(&flow);
                        inner.again.retain(|(other, _)| *other != flow);
                    }
                    Record::Again { flow, keys } => {
                        for key in keys {
                            if !inner.again.iter().any(|(other, again)| *other == flow && again.key == key) {
                                inner.again_noted += 1;
                                inner.again.push((flow, Again { id: inner.again_noted, key }));
                            }
                        }
                    }
                    Record::NotAgain { flow, keys } => {
                        inner.again.retain(|(other, again)| *other != flow || !keys.contains(&again.key));
                    }
                    Record::Conflict(conflict) => {
                        let same =
                            |known: &Conflict| (known.left, known.right) == (conflict.left, conflict.right);
                        if !inner.conflicts.iter().any(same) {
                            inner.conflicts.push(*conflict);
                        }
                    }
                    Record::Correction(correction) => {
                        inner.last_correction += 1;
                        inner.corrections.push(Correction { id: inner.last_correction, ..*correction });
                    }
                    Record::Corrected(id) => inner.corrections.retain(|known| known.id != id),
                    about_errors => inner.errors.save(about_errors),
                }
            }
            numbers
        }))
    }

    fn activity(
        &self,
        map: Option<&MapName>,
        from: ActivityFrom,
        limit: usize,
    ) -> Result<Vec<ActivityEntry>, StoreError> {
        Ok(self.with(|inner| {
            let about = |entry: &&ActivityEntry| map.is_none_or(|map| entry.map.as_ref() == Some(map));
            let entries = inner.activity.iter().filter(about);
            match from {
                ActivityFrom::Newest => entries.rev().take(limit).cloned().collect(),
                ActivityFrom::Before(id) => {
                    entries.rev().filter(|entry| entry.id < id).take(limit).cloned().collect()
                }
                ActivityFrom::Since(id) => {
                    entries.filter(|entry| entry.id > id).take(limit).cloned().collect()
                }
            }
        }))
    }

    fn errors(&self, query: &ErrorQuery) -> Result<Page<SetAside>, StoreError> {
        Ok(self.with(|inner| inner.errors.page(query)))
    }

    fn error(&self, id: u64) -> Result<Option<SetAside>, StoreError> {
        Ok(self.with(|inner| inner.errors.one(id)))
    }

    fn error_at(&self, flow: FlowId, seq: Seq) -> Result<Option<SetAside>, StoreError> {
        Ok(self.with(|inner| inner.errors.at(flow, seq)))
    }

    fn error_counts(&self) -> Result<BTreeMap<FlowId, StatusCounts>, StoreError> {
        Ok(self.with(|inner| inner.errors.counts()))
    }

    fn awaiting(&self) -> Result<BTreeMap<FlowId, Awaiting>, StoreError> {
        Ok(self.with(|inner| inner.errors.awaiting()))
    }

    fn awaiting_ids(&self, flows: &[FlowId], through: Seq, limit: usize) -> Result<Vec<u64>, StoreError> {
        Ok(self.with(|inner| inner.errors.awaiting_ids(flows, through, limit)))
    }

    fn picked(&self, flows: &[FlowId], pick: &ErrorPick) -> Result<Picked, StoreError> {
        Ok(self.with(|inner| inner.errors.picked(flows, pick)))
    }

    fn any_touched(&self) -> bool {
        self.with(|inner| !inner.errors.is_empty())
    }

    fn touching(&self, flows: &[FlowId], keys: &[KeyHash]) -> Result<Vec<Touching>, StoreError> {
        Ok(self.with(|inner| inner.errors.touching(flows, keys)))
    }

    fn retrying(&self, retry: FlowId, after: Seq, limit: usize) -> Result<Page<SetAside>, StoreError> {
        Ok(self.with(|inner| inner.errors.retrying(retry, after, limit)))
    }

    fn noted(&self, flow: FlowId, after: Seq, through: Seq) -> Result<BTreeSet<Seq>, StoreError> {
        Ok(self.with(|inner| inner.errors.noted(flow, after, through)))
    }

    fn again(&self, flow: FlowId, after: u64, limit: usize) -> Result<Vec<Again>, StoreError> {
        Ok(self.with(|inner| {
            let beyond = inner.again.iter().filter(|(other, again)| *other == flow && again.id > after);
            beyond.map(|(_, again)| again.clone()).take(limit).collect()
        }))
    }

    fn again_count(&self, flow: FlowId) -> Result<u64, StoreError> {
        Ok(self.with(|inner| inner.again.iter().filter(|(other, _)| *other == flow).count() as u64))
    }

    fn conflicts(
        &self,
        map: Option<&MapName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Conflict)>, StoreError> {
        Ok(self.with(|inner| {
            let numbered = inner.conflicts.iter().enumerate().rev().map(|(at, one)| (at as u64 + 1, one));
            let asked = |(id, conflict): &(u64, &Conflict)| {
                map.is_none_or(|map| conflict.map == *map) && before.is_none_or(|before| *id < before)
            };
            numbered.filter(asked).take(limit).map(|(id, conflict)| (id, conflict.clone())).collect()
        }))
    }

    fn conflict_counts(&self) -> Result<BTreeMap<MapName, u64>, StoreError> {
        Ok(self.with(|inner| {
            let mut counts = BTreeMap::new();
            inner.conflicts.iter().for_each(|one| *counts.entry(one.map.clone()).or_default() += 1);
            counts
        }))
    }

    fn any_corrections(&self) -> bool {
        self.with(|inner| !inner.corrections.is_empty())
    }

    fn corrections(&self, flows: &[FlowId], limit: usize) -> Result<Vec<Correction>, StoreError> {
        Ok(self.with(|inner| {
            let asked = inner.corrections.iter().filter(|one| flows.contains(&one.flow));
            asked.take(limit).cloned().collect()
        }))
    }

    fn causes(&self, map: Option<&MapName>) -> Result<Vec<Cause>, StoreError> {
        Ok(self.with(|inner| inner.errors.causes(map)))
    }
}
