//! From one segment to the next.

use super::append::Journal;
use super::catalog::{Active, Tally};
use super::format::{SegmentHeader, seed};
use super::index::SegmentIndex;
use super::relations::RelationBook;
use super::segment::{Place, Sealed, write_sidecar};
use super::sidecar::{self, Extent};
use super::sync::Settled;
use super::{Identity, JournalError, recover};
use crate::disk::{Disk, remove_if_there};
use crate::failpoint::FailPoint;
use std::sync::Arc;

impl Journal {
    /// Seals the segment and begins the next one. The old one is durable before the new one exists, and the new
    /// one's name is durable before anything in it counts.
    pub(super) fn roll(&mut self) -> Result<(), JournalError> {
        self.write()?;
        if self.tail.next == self.base {
            // A segment without a Seq is not sealed: it could not be told from the one that follows.
            return Ok(());
        }
        if self.tail.filled > self.tail.len {
            let cut = self.file.truncate(self.tail.len);
            self.shared.health.watch(cut.map_err(|error| JournalError::io("seal", &self.path, &error)))?;
        }
        self.shared.health.sync(&*self.file, &self.path)?;
        FailPoint::SegmentSealed.pass();
        let rolled = self.begin_next();
        FailPoint::SegmentRolled.pass();
        let (fresh, sealed) = self.shared.health.watch(rolled)?;
        let position = self.tail.position.clone();
        let durable = Settled {
            number: fresh.number,
            offset: fresh.header_len,
            seq: self.tail.committed,
            position: position.clone(),
        };
        self.file = Arc::clone(&fresh.file);
        self.path = Arc::clone(&fresh.path);
        (self.number, self.base, self.seed) = (fresh.number, fresh.base, fresh.seed);
        self.header_len = fresh.header_len;
        (self.tail.len, self.tail.filled) = (fresh.header_len, fresh.header_len);
        self.tail.settled_len = fresh.header_len;
        self.book = RelationBook::default();
        let mut catalog = self.shared.change();
        let sealed = Arc::new(sealed);
        catalog.active = fresh;
        catalog.sealed.push(Arc::clone(&sealed));
        for spec in &self.flows {
            let tally: &mut Tally = catalog.tallies.entry(spec.flow).or_default();
            tally.push(spec.flow, Arc::clone(&sealed));
        }
        drop(catalog);
        self.tail.durable_len = self.header_len;
        self.settle(durable)
    }

    fn begin_next(&mut self) -> Result<(Active, Sealed), JournalError> {
        let extent =
            Extent { seed: self.seed, base: self.base, last: self.tail.committed, len: self.tail.len };
        let (bytes, summary) = sidecar::build(extent, &self.shared.look().active.index);
        write_sidecar(&*self.shared.disk, &self.path, &bytes)?;
        let place = Place { path: Arc::clone(&self.path), number: self.number, header_len: self.header_len };
        let sealed = Sealed::new(place, extent, self.tail.position.clone(), summary);
        let header = SegmentHeader {
            number: self.number + 1,
            base: self.tail.next,
            shelf: None,
            position: self.tail.position.clone(),
        };
        let mut fresh = create(&*self.shared.disk, &self.shared.dir, &self.shared.identity, &header)?;
        fresh.index = SegmentIndex::of(self.flows.iter().cloned());
        Ok((fresh, sealed))
    }
}

/// Makes a segment file with its head, durably, under its name.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &str,
    identity: &Identity,
    header: &SegmentHeader,
) -> Result<Active, JournalError> {
    let path: Arc<str> = recover::segment_path(dir, header.number).into();
    let fresh = format!("{path}.new");
    let bytes = header.encode(identity);
    let make = || {
        remove_if_there(disk, &fresh)?;
        let file = disk.create(&fresh)?;
        file.append(&bytes)?;
        file.sync()?;
        disk.rename(&fresh, &path)?;
        FailPoint::SegmentNamed.pass();
        disk.sync_dir(dir)?;
        Ok(file)
    };
    let file = make().map_err(|error| JournalError::io("create", &path, &error))?;
    Ok(Active {
        number: header.number,
        base: header.base,
        seed: seed(identity, header.number, None),
        header_len: bytes.len() as u64,
        len: bytes.len() as u64,
        path,
        file,
        index: SegmentIndex::default(),
    })
}
