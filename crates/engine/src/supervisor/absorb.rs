//! What streams and apps report, turned into events of the maps.

use super::Supervisor;
use super::backing::only_holds;
use crate::failpoint::FailPoint;
use crate::store::{MapRecord, Record, StoreError};
use crate::stream::Place;
use crate::view::{ActivityEntry, MapTally};
use tandem_core::MapName;
use tandem_core::lifecycle::{Event, Hold, HoldNote, Phase, duties, step};

impl Supervisor {
    /// Takes in every report. States that change are saved together, and the plans follow.
    pub(super) fn absorb(&mut self) -> Result<(), StoreError> {
        let mut records = Vec::new();
        let mut changed: Vec<MapRecord> = Vec::new();
        let mut tallied: Vec<(MapName, MapTally)> = Vec::new();
        for name in self.maps.keys().cloned().collect::<Vec<_>>() {
            let Some(record) = self.maps.get(&name).cloned() else { continue };
            let mut next = record.clone();
            self.absorb_barriers(&mut next);
            let (skipped, discarded) = self.finish_skips(&mut next);
            records.extend(skipped);
            let mut tally = MapTally { discarded, ..MapTally::default() };
            for event in self.facts(&name, &next) {
                let Ok(state) = step(&next.state, event.clone(), self.now()) else { continue };
                if state == next.state {
                    continue;
                }
                let mut entry = self.note(&format!("map.{}", state.phase), &name, "tandem", "");
                entry.from = Some(next.state.phase.to_string());
                entry.to = Some(state.phase.to_string());
                entry.reason = state.holds.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                match event {
                    Event::Entered if duties(&state).copy => entry.event = "copy.begun".to_owned(),
                    Event::Copied { clean } => {
                        entry.event = if clean { "copy.ended" } else { "copy.failed" }.to_owned();
                        let view = self.initial_sync_view(&next);
                        entry.detail = view.map(|view| view.to_string()).unwrap_or_default();
                    }
                    Event::Hold(..) => tally.gaps += 1,
                    _ => {}
                }
                tracing::info!(map = %name, from = %next.state.phase, to = %state.phase, "state changed");
                let blocked = event == Event::CaughtUp && next.blocked.take().is_some();
                if blocked && !only_holds(&next, &self.world.hold_source) {
                    entry.detail = "writes pass again in the source".to_owned();
                }
                if event == Event::CaughtUp {
                    next.rate = None;
                }
                records.push(Record::Activity(entry));
                next.state = state;
            }
            if tally != MapTally::default() {
                tallied.push((name.clone(), tally));
            }
            if next != record {
                records.push(Record::Map(Box::new(next.clone())));
                changed.push(next);
            }
        }
        let ended = self.forget_ended();
        if !changed.is_empty() {
            let now = |phase| {
                changed.iter().any(|record| record.state.phase == phase && !record.state.is_pausing())
            };
            let is_told = |entry: &ActivityEntry| entry.event.starts_with("queue.");
            let skipped =
                records.iter().any(|record| matches!(record, Record::Activity(entry) if is_told(entry)));
            let (paused, live) = (now(Phase::Paused), now(Phase::Running));
            if paused {
                FailPoint::PausedUnsaved.pass();
            }
            if live {
                FailPoint::CaughtUpUnsaved.pass();
            }
            if skipped {
                FailPoint::SkipUnsaved.pass();
            }
            self.save(&records)?;
            for (map, MapTally { gaps, discarded, .. }) in tallied {
                let tally = self.tally(&map);
                tally.gaps += gaps;
                tally.discarded += discarded;
            }
            if skipped {
                FailPoint::SkipSaved.pass();
            }
            if paused {
                FailPoint::PausedSaved.pass();
            }
            if live {
                FailPoint::CaughtUpSaved.pass();
            }
            for record in changed {
                self.asked.insert(record.map.name.clone(), self.version + 1);
                self.maps.insert(record.map.name.clone(), record);
            }
        } else if !ended {
            return Ok(());
        }
        if let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    /// Barriers that have come back say where flows begin.
    fn absorb_barriers(&self, record: &mut MapRecord) {
        for flow in record.flows.iter_mut().filter(|flow| flow.start.is_none()) {
            let status = self.apps.get(&flow.stream.source).map(|handle| handle.status.borrow());
            flow.start = status.and_then(|status| {
                let barrier = (flow.barrier, flow.stream.clone());
                status.barriers.get(&barrier).copied()
            });
        }
    }

    /// What is the case for a map, as events. An event that says nothing new changes nothing.
    fn facts(&self, name: &MapName, record: &MapRecord) -> Vec<Event> {
        let mut facts = Vec::new();
        if record.flows.is_empty() {
            return facts;
        }
        if matches!(record.state.phase, Phase::Initializing(_))
            && record.flows.iter().all(|flow| flow.start.is_some())
        {
            facts.push(Event::Entered);
        }
        if duties(&record.state).copy
            && let Some(clean) = self.copied(record)
        {
            facts.push(Event::Copied { clean });
        }
        // Said once: a fact that comes again with each turn would keep the map from being let go.
        let hold = Hold::System("gap_detected".into());
        if let Some(fault) = self.gap(record)
            && !record.state.holds.contains_key(&hold)
        {
            let note =
                HoldNote { since: self.now(), actor: "tandem".into(), reason: fault.to_string().into() };
            facts.push(Event::Hold(hold, note));
        }
        let asked = self.asked.get(name).copied().unwrap_or(0);
        let all = |place: Place| {
            record.flows.iter().all(|flow| {
                self.streams.get(&flow.stream).is_some_and(|handle| {
                    let status = handle.status.borrow();
                    status.version >= asked
                        && status.flows.get(&flow.flow).is_some_and(|flow| flow.place == place)
                })
            })
        };
        let retries_rest = record.retries.iter().all(|retry| {
            let status = self.status_of(&retry.stream, retry.retry);
            status.is_some_and(|status| status.place == Place::Resting)
        });
        // A hold of this very turn has not been asked for yet; what the streams say is about what was.
        if record.state.is_pausing() && facts.is_empty() && all(Place::Resting) && retries_rest {
            facts.push(Event::LetGo);
        }
        if record.state.phase == Phase::Resuming && all(Place::Live) {
            facts.push(Event::CaughtUp);
        }
        facts
    }

    /// Removes what has ended. Returns whether anything had.
    fn forget_ended(&mut self) -> bool {
        let mut ended = false;
        let disk = self.world.disk.clone();
        let mut left = Vec::new();
        self.streams.retain(|stream, handle| {
            let over = handle.status.borrow().ended;
            if over {
                ended = true;
                left.extend(handle.status.borrow().left.clone());
                if let Err(error) = remove_dir(&*disk, &handle.dir) {
                    tracing::warn!(%stream, "the journal of a stopped stream was not removed: {error}");
                }
            }
            !over
        });
        for (fault, record) in left {
            self.note_left(&record.stream, fault);
            self.saved_streams.insert(record.stream.clone(), (*record).clone());
        }
        let mut engine = self.engine.clone();
        self.apps.retain(|app, handle| {
            let over = handle.status.borrow().ended;
            if over {
                ended = true;
                engine.leaving.remove(app);
            }
            !over
        });
        if engine != self.engine {
            match self.save(&[Record::Engine(engine.clone())]) {
                Ok(_) => self.engine = engine,
                // It is asked once more at the next start, and has nothing to leave then.
                Err(error) => tracing::warn!("that an app is rid of us could not be saved: {error}"),
            }
        }
        ended
    }
}

/// Removes a folder's files; the folder itself does no harm.
fn remove_dir(disk: &dyn crate::disk::Disk, dir: &str) -> std::io::Result<()> {
    for file in disk.list(dir)? {
        disk.remove(&format!("{dir}/{file}"))?;
    }
    disk.sync_dir(dir)
}
