//! Looks up keys in a sidecar's sorted section, on disk.

use super::JournalError;
use super::segment::sidecar_path;
use super::sidecar::{KEY_ENTRY, Section};
use super::wire::Input;
use crate::disk::{Disk, DiskFile, read_up_to};
use bytes::Bytes;
use std::sync::Arc;
use tandem_core::{KeyHash, Seq};

/// How many entries one read fetches.
const WINDOW: u64 = 128;
/// So often the place is guessed from the hashes around it; then the range is halved.
const GUESSES: u32 = 4;

/// The sorted keys of one flow in one segment.
pub(crate) struct SortedKeys {
    file: Arc<dyn DiskFile>,
    path: String,
    section: Section,
    count: u64,
}

impl SortedKeys {
    pub(crate) fn open(disk: &dyn Disk, segment: &str, section: Section) -> Result<Self, JournalError> {
        let path = sidecar_path(segment);
        let file = disk.open(&path).map_err(|error| JournalError::io("open", &path, &error))?;
        Ok(Self { file, path, section, count: section.len / KEY_ENTRY })
    }

    fn window(&self, start: u64) -> Result<Vec<(u64, Seq)>, JournalError> {
        let len = (WINDOW.min(self.count.saturating_sub(start)) * KEY_ENTRY) as usize;
        let bytes = read_up_to(&*self.file, self.section.offset + start * KEY_ENTRY, len);
        let bytes = bytes.map_err(|error| JournalError::io("read", &self.path, &error))?;
        if bytes.len() < len {
            return Err(JournalError::corrupt(&self.path, self.section.offset, "it ends within its keys"));
        }
        let mut input = Input::new(Bytes::from(bytes));
        let mut entries = Vec::with_capacity(WINDOW as usize);
        while let (Ok(hash), Ok(seq)) = (input.u64(), input.u64()) {
            entries.push((hash, Seq(seq)));
        }
        Ok(entries)
    }

    /// How many entries lie between two hashes, if hashes are spread evenly, which they are.
    fn between(&self, low: u64, high: u64) -> u64 {
        ((u128::from(high.saturating_sub(low)) * u128::from(self.count)) >> 64) as u64
    }

    /// The Seqs beyond `after` that have the key, rising.
    pub(crate) fn find(&self, key: KeyHash, after: Seq) -> Result<Vec<Seq>, JournalError> {
        let (mut start, mut entries) = self.first_at((key.0, after.next()))?;
        let mut found = Vec::new();
        loop {
            let same = entries.iter().take_while(|(hash, _)| *hash == key.0).count();
            found.extend(entries.iter().take(same).map(|(_, seq)| *seq));
            start += entries.len() as u64;
            if same < entries.len() || start >= self.count {
                return Ok(found);
            }
            entries = self.window(start)?;
        }
    }

    /// The place of the first entry at or beyond the wanted one, and the entries from there on in a window.
    fn first_at(&self, wanted: (u64, Seq)) -> Result<(u64, Vec<(u64, Seq)>), JournalError> {
        // The place is in `low..=high`; each window that does not hold it makes that range smaller.
        let (mut low, mut high) = (0, self.count);
        let mut start = self.between(0, wanted.0).saturating_sub(WINDOW / 2);
        for guess in 0.. {
            let entries = self.window(start)?;
            let at = entries.partition_point(|entry| *entry < wanted) as u64;
            let middle = match (entries.first(), entries.last()) {
                (Some((first, _)), _) if at == 0 && start > low => {
                    high = start;
                    high.saturating_sub(self.between(wanted.0, *first))
                }
                (_, Some((last, _))) if at == entries.len() as u64 && start + at < high => {
                    low = start + at;
                    low + self.between(*last, wanted.0)
                }
                _ => return Ok((start + at, entries.into_iter().skip(at as usize).collect())),
            };
            let middle = if guess < GUESSES { middle } else { low + (high - low) / 2 };
            start = middle.saturating_sub(WINDOW / 2).clamp(low, high.saturating_sub(WINDOW).max(low));
        }
        Ok((self.count, Vec::new()))
    }
}
