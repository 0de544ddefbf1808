//! What got past the guards of paused maps, told in the activity log: at once, and then once a minute at most, however
//! much it is. The log says how many records and where they begin; they are queued, and can be looked at there.

use super::Supervisor;
use crate::capture::Bypassed;
use crate::store::{Record, StoreError};
use std::time::Duration;
use tandem_core::{MapName, Refusal, Seq};

/// How often it is told of one flow.
const EVERY: Duration = Duration::from_secs(60);

/// What was told of a flow's guard.
pub(super) struct Told {
    count: u64,
    last: Seq,
    at: Duration,
    /// What was seen last: the app forgets it as soon as it hears that the pause has ended.
    seen: Bypassed,
}

impl Supervisor {
    /// Tells what got past guards, and remembers where they were armed.
    pub(super) fn notice_bypasses(&mut self) -> Result<(), StoreError> {
        for name in self.maps.keys().cloned().collect::<Vec<_>>() {
            self.notice_bypasses_of(&name)?;
        }
        let maps = &self.maps;
        self.bypasses_told.retain(|(map, stream), _| {
            let flow = maps.get(map).and_then(|map| map.flows.iter().find(|flow| flow.stream == *stream));
            flow.is_some_and(|flow| flow.armed.is_some())
        });
        Ok(())
    }

    fn notice_bypasses_of(&mut self, name: &MapName) -> Result<(), StoreError> {
        let Some(record) = self.maps.get(name) else { return Ok(()) };
        let guarded = super::plans::guards_of(record, &self.world.hold_source)
            .any(|(_, guard)| guard.refuses == Refusal::Deletes);
        if !guarded && record.flows.iter().all(|flow| flow.armed.is_none()) {
            return Ok(());
        }
        let (mut next, now) = (record.clone(), self.world.env.now());
        let (mut entries, mut told, mut bypassed) = (Vec::new(), Vec::new(), 0);
        for flow in &mut next.flows {
            let key = (name.clone(), flow.stream.clone());
            let status = self.apps.get(&flow.stream.source).map(|app| app.status.borrow());
            let seen = status.and_then(|status| status.bypassed.get(&key).copied());
            // The app has not come to say anything yet: what is known from before stays.
            if seen.is_none() && guarded {
                continue;
            }
            if let (Some(seen), Some(before)) = (seen, self.bypasses_told.get_mut(&key)) {
                before.seen = seen;
            }
            let seen = seen.or(self.bypasses_told.get(&key).map(|before| before.seen)).unwrap_or_default();
            let ends = flow.armed.is_some() && !guarded;
            flow.armed = seen.armed.filter(|_| guarded);
            let before = self.bypasses_told.get(&key).filter(|before| before.count <= seen.count);
            let is_due = before.is_none_or(|before| ends || now.saturating_sub(before.at) >= EVERY);
            let count = seen.count - before.map_or(0, |before| before.count);
            if count == 0 || !is_due {
                continue;
            }
            let from = match before {
                None => format!("from Seq {} on", seen.first),
                Some(before) => format!("beyond Seq {}", before.last),
            };
            let mut entry =
                self.note("guard.bypassed", name, "tandem", "the app let pass what it was to refuse");
            entry.detail = format!(
                "{count} deletes of {}, {from} up to {}, are queued; among them may be a TRUNCATE or changes of a key",
                flow.stream, seen.last
            );
            bypassed += count;
            tracing::warn!(map = %name, stream = %flow.stream, count, "deletes got past a guard");
            entries.push(Record::Activity(entry));
            told.push((key, seen));
        }
        if entries.is_empty() && next == *record {
            return Ok(());
        }
        entries.push(Record::Map(Box::new(next.clone())));
        self.save(&entries)?;
        self.tally(name).bypassed += bypassed;
        self.maps.insert(name.clone(), next);
        for (key, seen) in told {
            let Bypassed { count, last, .. } = seen;
            self.bypasses_told.insert(key, Told { count, last, at: now, seen });
        }
        Ok(())
    }
}
