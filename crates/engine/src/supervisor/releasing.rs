//! Releasing old errors, where `error_retention` was chosen: entries by when they were noted, and of preserved queues
//! what was captured as long ago.
//!
//! What is released is counted in the activity log in the transaction that releases it. A map whose errors are being
//! retried is left alone until that has ended.

use super::Supervisor;
use crate::journal::Cut;
use crate::store::{ErrorPick, MapRecord, Record, Skipped, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;
use tandem_core::{MapName, Seq, StreamName, WallTime};

/// How often it is looked for what is too old, at most: as often as a sixteenth of the retention, between these.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Releases the errors of every map that are older than its limits let them become.
    pub(super) fn release_errors(&mut self) -> Result<(), StoreError> {
        let now = self.world.env.now();
        for name in self.maps.keys().cloned().collect::<Vec<_>>() {
            let retention = self.world.limits.get(&name).and_then(|limits| limits.error_retention);
            let (Some(retention), Some(seen)) = (retention, self.watched.get_mut(&name)) else { continue };
            let pause = (retention / 16).clamp(OFTEN, SELDOM);
            if seen.released.is_some_and(|last| now.saturating_sub(last) < pause) {
                continue;
            }
            seen.released = Some(now);
            self.release_of(&name, self.now().minus(retention))?;
        }
        Ok(())
    }

    fn release_of(&mut self, name: &MapName, through: WallTime) -> Result<(), StoreError> {
        let Some(mut record) = self.maps.get(name).cloned() else { return Ok(()) };
        if !record.retries.is_empty() {
            return Ok(());
        }
        let pick = ErrorPick { noted_by: Some(through), ..ErrorPick::default() };
        let (mut records, mut released) = (Vec::new(), 0);
        for stream in streams_of(&record) {
            let flows = record.family(&stream);
            let picked = self.world.store.picked(&flows, &pick)?;
            released += picked.errors;
            if picked.errors > 0 {
                records.push(Record::ErrorsDeleted { flows, pick: pick.clone(), up_to: picked.last_id });
            }
        }
        for skipped in record.skipped.iter_mut().filter(|skipped| skipped.is_preserved() && skipped.settled) {
            if let Some((until, count)) = self.old_part(skipped, through)? {
                released += count;
                skipped.flow.start = Some(until);
            }
        }
        if released == 0 {
            return Ok(());
        }
        let mut entry = self.note("errors.released", name, "limit", "error_retention");
        entry.detail = format!("{released} errors that were noted by {through} were released");
        tracing::info!(map = %name, released, "errors released");
        records.insert(0, Record::Activity(entry));
        records.push(Record::Map(Box::new(record.clone())));
        self.save(&records)?;
        self.replace(record);
        if let Err(error) = self.push_plans() {
            tracing::error!("a stream could not be opened: {error}");
        }
        Ok(())
    }

    /// How far a preserved queue is too old, and how many records of it that are.
    fn old_part(&self, skipped: &Skipped, through: WallTime) -> Result<Option<(Seq, u64)>, StoreError> {
        let flow = skipped.flow.flow;
        let handle = self.streams.get(&skipped.flow.stream);
        let status = self.status_of(&skipped.flow.stream, flow);
        let (Some(handle), Some(status)) = (handle, status) else { return Ok(None) };
        let journal = handle.journal.with(|journal| journal.records().clone());
        let beyond = status.cursor.max(skipped.flow.start.unwrap_or_default());
        let counted = |until: Seq| {
            let (all, rest) = (journal.queued(flow, beyond)?, journal.queued(flow, until)?);
            Ok::<_, crate::journal::JournalError>(all.records.saturating_sub(rest.records))
        };
        let cut = journal.cut(flow, beyond, Cut::CapturedBy(through));
        let until = cut.map(|until| until.unwrap_or(skipped.until).min(skipped.until));
        match until.and_then(|until| Ok((until, counted(until)?))) {
            Ok((until, records)) if until > beyond && records > 0 => {
                let noted = self.world.store.noted(flow, beyond, until)?.len() as u64;
                Ok(Some((until, records.saturating_sub(noted))))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::error!(map = %skipped.flow.spec.map, "a preserved queue cannot be cut: {error}");
                Ok(None)
            }
        }
    }
}

/// The streams in which a map may have errors.
pub(super) fn streams_of(record: &MapRecord) -> BTreeSet<StreamName> {
    record.every_flow().map(|flow| flow.stream.clone()).collect()
}
