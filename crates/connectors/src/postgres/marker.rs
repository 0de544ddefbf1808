//! What we write into an app's log as logical messages: barriers, and the marks of our own transactions.
//!
//! Messages reach every slot of the database, so each names whose it is: the data folder, and for a barrier also
//! the slot. Those of others are passed over.

use std::sync::Arc;
use tandem_core::{BarrierId, JournalId, Mark, Seq};

/// The prefix of our messages.
pub(super) const PREFIX: &str = "tandem";

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    Barrier(BarrierId),
    Mark(Mark),
}

/// The text of a barrier.
pub(super) fn barrier(journal: JournalId, slot: &str, barrier: BarrierId) -> String {
    format!("barrier {journal} {} {slot}", barrier.0)
}

/// What the text of a stream's marks begins with.
pub(super) fn mark_start(journal: JournalId, stream: &str) -> String {
    format!("mark {journal} {} {stream} ", stream.len())
}

/// The text of a mark, behind what all marks of its stream begin with.
pub(super) fn mark(start: &str, seq: Seq, note: &str) -> String {
    format!("{start}{seq} {note}")
}

/// Reads a message. `None`: it is not for us.
pub(super) fn read(content: &[u8], journal: JournalId, slot: &str) -> Option<Marker> {
    let text = std::str::from_utf8(content).ok()?;
    let (kind, rest) = text.split_once(' ')?;
    let (whose, rest) = rest.split_once(' ')?;
    if whose != journal.to_string() {
        return None;
    }
    match kind {
        "barrier" => {
            let (id, whose) = rest.split_once(' ')?;
            (whose == slot).then_some(Marker::Barrier(BarrierId(id.parse().ok()?)))
        }
        "mark" => {
            let (len, rest) = rest.split_once(' ')?;
            let (stream, rest) = rest.split_at_checked(len.parse().ok()?)?;
            let (seq, note) = rest.strip_prefix(' ')?.split_once(' ')?;
            let seq = Seq(seq.parse().ok()?);
            Some(Marker::Mark(Mark { stream: Arc::from(stream), seq, note: Arc::from(note) }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: JournalId = JournalId(7);

    #[test]
    fn barriers_and_marks_are_read_back_by_their_owner_only() {
        let text = barrier(OURS, "tandem_erp", BarrierId(12));
        assert_eq!(read(text.as_bytes(), OURS, "tandem_erp"), Some(Marker::Barrier(BarrierId(12))));
        assert_eq!(read(text.as_bytes(), OURS, "tandem_crm"), None);
        assert_eq!(read(text.as_bytes(), JournalId(8), "tandem_erp"), None);
        for note in ["", "3 7"] {
            let text = mark(&mark_start(OURS, "my erp→crm"), Seq(5), note);
            let mark = Mark { stream: "my erp→crm".into(), seq: Seq(5), note: note.into() };
            assert_eq!(read(text.as_bytes(), OURS, "tandem_erp"), Some(Marker::Mark(mark)));
        }
    }

    #[test]
    fn messages_that_are_none_of_ours_are_passed_over() {
        for content in
            [&b""[..], b"barrier", b"barrier x", b"\xff\xfe", b"mark 1 2", b"mark 7 9 x 5 ", b"mark 7 1 x 5"]
        {
            assert_eq!(read(content, OURS, "tandem_erp"), None);
        }
    }
}
