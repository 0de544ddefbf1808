//! A store in memory, for the simulation: what was saved survives a simulated crash, since each save is durable.

use super::{ActivityFrom, ErrorQuery, FlowId, Record, Saved, SetAside, Store, StoreError};
use crate::view::{ActivityEntry, Page};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tandem_core::{MapName, Seq};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    saved: Saved,
    errors: BTreeMap<(FlowId, Seq), SetAside>,
    /// How many errors there ever were.
    noted: u64,
    activity: Vec<ActivityEntry>,
}

impl Inner {
    fn note(&mut self, error: SetAside) {
        match self.errors.get_mut(&(error.flow, error.seq)) {
            Some(known) => {
                known.attempts = known.attempts.saturating_add(error.attempts);
                (known.fault, known.last_at) = (error.fault, error.last_at);
            }
            None => {
                self.noted += 1;
                drop(self.errors.insert((error.flow, error.seq), SetAside { id: self.noted, ..error }));
            }
        }
    }
}

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Saved, StoreError> {
        Ok(self.with(|inner| {
            let mut saved = inner.saved.clone();
            saved.errors.clear();
            inner.errors.keys().for_each(|(flow, _)| *saved.errors.entry(*flow).or_default() += 1);
            saved
        }))
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
                    Record::Error(error) => inner.note(error),
                    Record::NoErrorsAbove(above) => inner.errors.retain(|(flow, seq), _| {
                        !above.iter().any(|(other, last)| other == flow && seq > last)
                    }),
                    Record::NoErrors(flow) => inner.errors.retain(|(other, _), _| *other != flow),
                    Record::ErrorsOf { now, before } => {
                        let (theirs, others): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.errors)
                            .into_values()
                            .partition(|error| error.flow == before);
                        let moved = theirs.into_iter().map(|error| SetAside { flow: now, ..error });
                        inner.errors =
                            others.into_iter().chain(moved).map(|e| ((e.flow, e.seq), e)).collect();
                    }
                    Record::Rule(rule) => {
                        drop(inner.saved.rules.insert(rule.declared.name.clone(), *rule));
                    }
                    Record::NoRule(name) => drop(inner.saved.rules.remove(&name)),
                    Record::Activity(mut entry) => {
                        entry.id = inner.activity.len() as u64 + 1;
                        numbers.push(entry.id);
                        inner.activity.push(entry);
                    }
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
        let wanted = |error: &&SetAside| {
            error.id > query.after
                && query.map.as_ref().is_none_or(|map| error.map == *map)
                && query.class.is_none_or(|class| error.fault.class == class)
                && (query.keys.is_empty()
                    || error.key_parts().is_some_and(|parts| query.keys.contains(&parts)))
        };
        Ok(self.with(|inner| {
            let mut items: Vec<SetAside> = inner.errors.values().filter(wanted).cloned().collect();
            items.sort_by_key(|error| error.id);
            let more = items.len() > query.limit;
            items.truncate(query.limit);
            let next = items.last().filter(|_| more).map(|error| error.id);
            Page { items, next }
        }))
    }

    fn error(&self, id: u64) -> Result<Option<SetAside>, StoreError> {
        Ok(self.with(|inner| inner.errors.values().find(|error| error.id == id).cloned()))
    }
}
