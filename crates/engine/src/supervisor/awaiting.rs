//! What waits for other maps: told of, and tried again by itself when those have come as far.
//!
//! Related maps take turns by Seq: what waits of a map is tried up to where the maps that are related to it are, and up to
//! the first of what waits of those. So it is tried in source order across maps, and the very first has nothing before
//! it: it goes through or becomes an error, and each turn leaves less. A retry that a person has running goes first.
//!
//! That is so of maps that catch up, too, and while errors of them are refreshed: where too much waits a whole lane stands,
//! and goes on only once the very record is through that this would otherwise wait for the end of the catch-up with.

use super::Supervisor;
use super::releasing::streams_of;
use super::retrying::{Asker, may_try};
use super::snapshot::Fact;
use crate::request::{ErrorRequest, ErrorVerb};
use crate::store::{ErrorPick, FlowRecord, MapRecord, StoreError};
use crate::view::ConditionKind;
use std::time::Duration;
use tandem_core::lifecycle::{Phase, duties};
use tandem_core::{MapName, Seq, StreamName};

/// So many are tried again at once.
const AT_ONCE: usize = 1_000;
/// How long a map goes on before what has waited is tried again once more, unless the last time got on: a child that
/// catches up passes one after the other.
const BETWEEN: Duration = Duration::from_secs(5);

/// When what waits of a map was tried again last.
#[derive(Debug)]
pub(super) struct Tried {
    at: Duration,
    /// The first of it then.
    first: (StreamName, Seq),
}

impl Supervisor {
    /// Begins to try again what has waited for maps that have come as far.
    pub(super) fn retry_what_waited(&mut self) -> Result<(), StoreError> {
        if self.errors.awaiting.is_empty() {
            return Ok(());
        }
        let now = self.world.env.now();
        let mut due = Vec::new();
        for (name, record) in &self.maps {
            let goes_on = record.state.phase != Phase::NotRunning && may_try(record);
            if !goes_on || !record.retries.is_empty() {
                continue;
            }
            for stream in streams_of(record) {
                let flows = record.family(&stream);
                let Some(first) = self.first_awaiting(record, &stream) else { continue };
                let is_soon = self.errors.awaited.get(name).is_some_and(|last| {
                    last.first == (stream.clone(), first) && now.saturating_sub(last.at) < BETWEEN
                });
                if is_soon {
                    continue;
                }
                let reached = self.related(record, &stream).map(|(_, reached)| reached).min();
                let through = reached.unwrap_or(Seq(u64::MAX));
                let ids = self.world.store.awaiting_ids(&flows, through, AT_ONCE)?;
                if !ids.is_empty() {
                    due.push((name.clone(), ids, Tried { at: now, first: (stream, first) }));
                    break;
                }
            }
        }
        for (map, ids, tried) in due {
            self.errors.awaited.insert(map.clone(), tried);
            let request = ErrorRequest {
                verb: ErrorVerb::Retry,
                map,
                pick: Some(ErrorPick { ids, ..ErrorPick::default() }),
                kept: Vec::new(),
                refresh: false,
                rate: None,
                actor: "tandem".to_owned(),
                reason: "the maps that these waited for have come as far".to_owned(),
                expected: None,
            };
            if let Err(refused) = self.take_errors(&request, Vec::new(), Asker::Engine) {
                tracing::warn!(map = %request.map, "what waited for another map is not tried yet: {refused}");
            }
        }
        Ok(())
    }

    /// That records of a map wait, and for whom.
    pub(super) fn awaiting_fact(&self, record: &MapRecord) -> Option<Fact> {
        let waiting = self.error_stats(record).for_maps;
        let firsts = streams_of(record).into_iter();
        let firsts: Vec<(StreamName, Seq)> = firsts
            .filter_map(|stream| Some((stream.clone(), self.first_awaiting(record, &stream)?)))
            .collect();
        let behind = firsts.iter().flat_map(|(stream, first)| {
            self.related(record, stream).filter(move |(_, reached)| reached < first).map(|(other, _)| other)
        });
        let mut behind: Vec<&MapName> = behind.collect();
        behind.sort();
        behind.dedup();
        let names = behind.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let reason = match (waiting, names.as_str()) {
            (0, _) => return None,
            (1, "") => "a record has waited for another map, and is tried again now".to_owned(),
            (_, "") => format!("{waiting} records have waited for another map, and are tried again now"),
            (1, names) => format!("a record waits for {names}"),
            (_, names) => format!("{waiting} records wait for {names}"),
        };
        let is_paused =
            |name: &&MapName| self.maps.get(*name).is_some_and(|other| other.state.phase == Phase::Paused);
        let fix = behind.into_iter().find(is_paused);
        let fix = fix.map(|name| format!("tandem map resume {name}: they are applied by themselves then"));
        Some(Fact { kind: ConditionKind::RecordsWaiting, status: true, reason, fix })
    }

    /// The first of what waits for other maps of a map's changes in a stream.
    fn first_awaiting(&self, record: &MapRecord, stream: &StreamName) -> Option<Seq> {
        let flows = record.every_flow().filter(|flow| flow.stream == *stream);
        flows.filter_map(|flow| self.errors.awaiting.get(&flow.flow)).map(|awaiting| awaiting.first).min()
    }

    /// The maps that are related to a map in a stream, and how far each of them needs nothing any more.
    fn related<'a>(
        &'a self,
        record: &'a MapRecord,
        stream: &'a StreamName,
    ) -> impl Iterator<Item = (&'a MapName, Seq)> {
        let name = &record.map.name;
        let (below, above) = (self.dependents.dependents(name), self.dependents.ancestors(name));
        let is_related = move |other: &&MapRecord| {
            let other_name = &other.map.name;
            other_name != name && (below.contains(other_name) || above.contains(other_name))
        };
        let captured = self.maps.values().filter(is_related).filter(|other| duties(&other.state).capture);
        captured.filter_map(move |other| {
            let mut flows = other.flows.iter().filter(|flow| flow.stream == *stream).peekable();
            flows.peek()?;
            let reached = flows.map(|flow| self.reached(flow)).min().unwrap_or_default();
            let first = self.first_awaiting(other, stream).unwrap_or(Seq(u64::MAX));
            Some((&other.map.name, reached.min(first)))
        })
    }

    /// How far a flow is settled. One that has not entered capture yet begins behind everything that there is.
    fn reached(&self, flow: &FlowRecord) -> Seq {
        match flow.start {
            None => Seq(u64::MAX),
            Some(_) => {
                self.status_of(&flow.stream, flow.flow).map(|status| status.cursor).unwrap_or_default()
            }
        }
    }
}
