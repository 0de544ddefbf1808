//! What a mark says beside stream and Seq: what kind of write it was, and of which two-way maps.
//!
//! Maps are named by a number made of their names, so that it is the same whatever became of their flows since.

use tandem_core::{IntegrationKey, MapName, Seq};

/// What a transaction of ours brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoteKind {
    /// Changes of the journal, up to the mark's Seq.
    Journal,
    /// Errors that were tried again.
    Retry,
    /// Rows that were read in a window.
    Window,
    /// Winners that were written back.
    Restore,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    /// For writes that are no changes of the journal: what the other side had journaled when they were decided. A
    /// change beyond it was not known, and was written over if it came before the write in the app's log.
    pub(crate) head: Seq,
    pub(crate) maps: Vec<u64>,
}

/// The number that names a map in notes.
pub(crate) fn map_number(map: &MapName) -> u64 {
    IntegrationKey::from_values(vec![map.as_str().into()]).hash().0
}

impl Note {
    /// As the mark carries it. Empty if no map goes both ways.
    pub(crate) fn encode(&self) -> String {
        if self.maps.is_empty() {
            return String::new();
        }
        let kind = match self.kind {
            NoteKind::Journal => "j",
            NoteKind::Retry => "r",
            NoteKind::Window => "w",
            NoteKind::Restore => "c",
        };
        let kind = match self.kind {
            NoteKind::Journal => kind.to_owned(),
            NoteKind::Retry | NoteKind::Window | NoteKind::Restore => format!("{kind}{}", self.head),
        };
        self.maps.iter().fold(kind, |text, map| format!("{text} {map:x}"))
    }

    /// Out of a mark. `None` if it says nothing of this kind.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let first = words.next()?;
        let (kind, head) = first.split_at_checked(1)?;
        let kind = match kind {
            "j" => NoteKind::Journal,
            "r" => NoteKind::Retry,
            "w" => NoteKind::Window,
            "c" => NoteKind::Restore,
            _ => return None,
        };
        let head = match kind {
            NoteKind::Journal => Seq::ZERO,
            NoteKind::Retry | NoteKind::Window | NoteKind::Restore => Seq(head.parse().ok()?),
        };
        let maps = words.map(|word| u64::from_str_radix(word, 16).ok()).collect::<Option<Vec<_>>>()?;
        Some(Self { kind, head, maps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_as_it_was() {
        for kind in [NoteKind::Journal, NoteKind::Retry, NoteKind::Window, NoteKind::Restore] {
            let head = if kind == NoteKind::Journal { Seq::ZERO } else { Seq(9) };
            let note = Note { kind, head, maps: vec![map_number(&"customers".into()), 7] };
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        assert_eq!(Note { kind: NoteKind::Journal, head: Seq(1), maps: vec![] }.encode(), "");
        for other in ["", "x 1", "j g", "w 7"] {
            assert_eq!(Note::decode(other), None, "{other}");
        }
    }
}
