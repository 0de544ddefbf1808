//! Changes to frames to bytes, gathered until there is enough to write.

use super::JournalError;
use super::append::Journal;
use super::entry::{CommitNote, GroupHead, put_barrier, put_change, put_group, put_relation};
use super::format::{FRAME_HEADER, FrameHeader, FrameKind};
use super::index::Noted;
use super::wire::{put_sized, put_zigzag};
use std::sync::Arc;
use tandem_core::{Entry, Fragment, Position, Seq, Stamp, WallTime};

/// What is gathered and not yet written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    out: Vec<u8>,
    /// Where the frame of whole transactions starts that is being filled, and its first Seq.
    whole: Option<(usize, Seq, WallTime)>,
    scratch: Vec<u8>,
    /// Records that wait for the write.
    noted: Vec<Noted>,
    seek: Vec<(Seq, u64)>,
    relations: Vec<u64>,
    ids: Vec<u32>,
}

impl Draft {
    /// The bytes that are gathered.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }
}

impl Journal {
    pub(super) fn fragment(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        size: usize,
        at: WallTime,
    ) -> Result<(), JournalError> {
        self.learn(fragment);
        let frame_bytes = self.shared.settings.frame_bytes;
        let commit =
            fragment.commit.as_ref().map(|commit| Arc::new(CommitNote::of(commit, fragment.mark.as_ref())));
        match commit {
            Some(commit) if self.tail.open.is_none() && size <= frame_bytes => {
                self.whole(fragment, stamps, commit, at);
                if self.draft.whole.is_some_and(|(start, ..)| self.draft.out.len() - start >= frame_bytes) {
                    self.close_whole();
                }
                Ok(())
            }
            None if fragment.entries.is_empty() => Ok(()),
            commit => self.pieces(fragment, stamps, commit, at),
        }
    }

    /// Sees to it that each relation of the fragment stands in this segment, and notes their numbers.
    fn learn(&mut self, fragment: &Fragment) {
        self.draft.ids.clear();
        for entry in &fragment.entries {
            let Entry::Change(change) = entry else { continue };
            let id = match self.book.find(&change.relation) {
                Some(id) => id,
                None => {
                    self.close_whole();
                    let id = self.book.add(&change.relation, &self.flows);
                    let start = self.begin_frame();
                    put_relation(&mut self.draft.out, id, &change.relation);
                    self.draft.relations.push(self.tail.len + start as u64);
                    self.end_frame(start, FrameKind::Relation, self.tail.next);
                    id
                }
            };
            self.draft.ids.push(id);
        }
    }

    /// A transaction that is small and whole goes into the frame of such.
    fn whole(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        commit: Arc<CommitNote>,
        at: WallTime,
    ) {
        let (_, _, frame_at) = match self.draft.whole {
            Some(whole) => whole,
            None => {
                let whole = (self.begin_frame(), self.tail.next, at);
                put_zigzag(&mut self.draft.out, at.0);
                self.draft.whole = Some(whole);
                whole
            }
        };
        let first = self.tail.next;
        let head = GroupHead {
            entries: fragment.entries.len(),
            transaction: first,
            captured_at: at,
            commit: Some(commit),
        };
        put_group(&mut self.draft.out, &head, first, frame_at);
        let mut out = std::mem::take(&mut self.draft.out);
        let mut ids = std::mem::take(&mut self.draft.ids).into_iter();
        for stamped in stamped(fragment, stamps) {
            self.entry(&mut out, stamped, &mut ids, at);
        }
        self.draft.out = out;
        self.commit(head.commit);
    }

    /// A transaction that is large or still open goes out in frames of its own.
    fn pieces(
        &mut self,
        fragment: &Fragment,
        stamps: &[Option<Stamp>],
        commit: Option<Arc<CommitNote>>,
        at: WallTime,
    ) -> Result<(), JournalError> {
        self.close_whole();
        let transaction = *self.tail.open.get_or_insert_with(|| {
            self.book.settled = self.book.routes.len();
            self.tail.next
        });
        let mut scratch = std::mem::take(&mut self.draft.scratch);
        let mut ids = std::mem::take(&mut self.draft.ids).into_iter();
        scratch.clear();
        let mut head = GroupHead { entries: 0, transaction, captured_at: at, commit: None };
        let mut first = self.tail.next;
        let mut rest = fragment.entries.len();
        for stamped in stamped(fragment, stamps) {
            self.entry(&mut scratch, stamped, &mut ids, at);
            head.entries += 1;
            rest -= 1;
            if scratch.len() >= self.shared.settings.frame_bytes && rest > 0 {
                self.piece(&head, first, &scratch, FrameKind::Piece);
                scratch.clear();
                (head.entries, first) = (0, self.tail.next);
                if self.draft.out.len() >= self.shared.settings.write_bytes() {
                    self.write()?;
                }
            }
        }
        let kind = if commit.is_some() { FrameKind::Last } else { FrameKind::Piece };
        head.commit = commit;
        if head.commit.is_some() {
            self.tail.open = None;
            self.commit(head.commit.clone());
        }
        self.piece(&head, first, &scratch, kind);
        self.draft.scratch = scratch;
        Ok(())
    }

    /// That the source's log went on with nothing for us.
    pub(super) fn idle(&mut self, position: Position) {
        self.close_whole();
        let start = self.begin_frame();
        put_sized(&mut self.draft.out, &position.0);
        self.tail.position = Some(position);
        self.end_frame(start, FrameKind::Idle, self.tail.next);
    }

    fn piece(&mut self, head: &GroupHead, first: Seq, entries: &[u8], kind: FrameKind) {
        let start = self.begin_frame();
        put_zigzag(&mut self.draft.out, head.captured_at.0);
        put_group(&mut self.draft.out, head, first, head.captured_at);
        self.draft.out.extend_from_slice(entries);
        self.end_frame(start, kind, first);
    }

    fn entry(
        &mut self,
        out: &mut Vec<u8>,
        (entry, stamp): (&Entry, Option<Stamp>),
        ids: &mut impl Iterator<Item = u32>,
        at: WallTime,
    ) {
        let (seq, before) = (self.tail.next, out.len());
        self.tail.next = seq.next();
        match entry {
            Entry::Barrier(barrier) => {
                self.barriers.entry(*barrier).or_insert(seq);
                put_barrier(out, *barrier);
            }
            Entry::Change(change) => {
                let id = ids.next().expect("each change's relation was numbered before");
                put_change(out, id, &change.op, stamp);
                let bytes = out.len() - before;
                let routes = self.book.routes.get(id as usize).into_iter().flatten();
                let counted = routes.filter(|route| route.span.has(seq));
                let known = self.draft.noted.len();
                self.draft.noted.extend(counted.map(|route| route.note(seq, bytes, at, &change.op)));
                self.arrivals.note(self.draft.noted.get(known..).unwrap_or_default());
            }
        }
    }

    fn commit(&mut self, commit: Option<Arc<CommitNote>>) {
        if let Some(commit) = commit {
            self.tail.position = Some(commit.position.clone());
            self.tail.committed = Seq(self.tail.next.0 - 1);
            self.arrivals.commit();
        }
    }

    fn begin_frame(&mut self) -> usize {
        let start = self.draft.out.len();
        self.draft.out.resize(start + FRAME_HEADER, 0);
        start
    }

    fn close_whole(&mut self) {
        if let Some((start, first, _)) = self.draft.whole.take() {
            self.end_frame(start, FrameKind::Whole, first);
        }
    }

    /// Puts the header before a frame that starts at `start` of what is gathered.
    fn end_frame(&mut self, start: usize, kind: FrameKind, first: Seq) {
        let offset = self.tail.len + start as u64;
        let payload = self.draft.out.get(start + FRAME_HEADER..).unwrap_or_default();
        let header = FrameHeader {
            kind,
            len: u32::try_from(payload.len()).expect("sizes are checked before anything is encoded"),
            crc: crc32c::crc32c(payload),
            first,
            count: (self.tail.next.0 - first.0) as u32,
            settled: self.tail.durable_len,
        };
        let bytes = header.encode(self.seed, offset);
        let place = self.draft.out.get_mut(start..start + FRAME_HEADER);
        place.expect("room was made when the frame began").copy_from_slice(&bytes);
        if kind.has_entries() {
            self.draft.seek.push((first, offset));
        }
        if self.tail.open.is_none() {
            self.tail.settled_len = self.tail.len + self.draft.out.len() as u64;
        }
    }

    /// Writes what is gathered, and lets everybody know what of it is committed.
    pub(super) fn write(&mut self) -> Result<(), JournalError> {
        self.close_whole();
        if self.draft.out.is_empty() {
            return Ok(());
        }
        let (len, behind) = (self.draft.out.len(), self.tail.len + self.draft.out.len() as u64);
        if behind > self.tail.filled {
            // Large groups pay for a longer file with few syncs anyway, and would pay for the zeros, too.
            let ahead = self.shared.settings.ahead_bytes;
            let ahead = if len < ahead / 8 { ahead } else { 0 };
            self.draft.out.resize(len + ahead, 0);
            self.tail.filled = behind + ahead as u64;
        }
        let written = self.file.write_at(self.tail.len, &self.draft.out);
        let written = written.map_err(|error| JournalError::io("append to", &self.path, &error));
        self.shared.health.watch(written)?;
        self.tail.len = behind;
        self.draft.out.clear();
        self.draft.out.shrink_to(4 * self.shared.settings.write_bytes());
        let mut catalog = self.shared.change();
        catalog.head = self.tail.committed;
        self.arrivals.tell(&mut catalog.turnover);
        catalog.active.len = self.tail.len;
        let index = &mut catalog.active.index;
        self.draft.seek.drain(..).for_each(|(first, offset)| index.note_frame(first, offset));
        index.relations.append(&mut self.draft.relations);
        self.draft.noted.drain(..).for_each(|noted| index.note(&noted));
        Ok(())
    }
}

/// The entries of a fragment, each with its stamp.
fn stamped<'a>(
    fragment: &'a Fragment,
    stamps: &'a [Option<Stamp>],
) -> impl Iterator<Item = (&'a Entry, Option<Stamp>)> {
    fragment.entries.iter().zip(stamps.iter().copied().chain(std::iter::repeat(None)))
}
