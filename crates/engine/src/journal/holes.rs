//! Holes: stretches of a flow's queue whose records were dropped.
//!
//! Nothing in the log is changed by a hole: whoever counts, lists, reads or shelves the flow leaves out what is in one,
//! and a reader goes over it as over records of others. So dropping is as fast for a million records as for one, and a
//! record of a flow that is in a hole may still be another flow's. What no flow needs any more is reclaimed as ever.
//!
//! There are few: holes that touch are one, and beyond [`Holes::MAX`] no further one can be dug. That loses nothing.

use super::Span;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_core::Seq;

/// Everything of a flow beyond `from`, up to and with `until`, was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// What is at or below is not in it.
    pub from: Seq,
    /// What is above is not in it.
    pub until: Seq,
}

/// The holes of one flow: rising, and none touches another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holes(Vec<Hole>);

impl Holes {
    /// The most holes that a flow may have.
    pub const MAX: usize = 64;

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first hole that ends at or behind a Seq.
    fn at(&self, seq: Seq) -> Option<&Hole> {
        self.0.get(self.0.partition_point(|hole| hole.until < seq))
    }

    /// Whether a Seq is in a hole.
    pub fn has(&self, seq: Seq) -> bool {
        self.at(seq).is_some_and(|hole| hole.from < seq)
    }

    /// Whether everything from `first` to `last` is in a hole.
    pub fn cover(&self, first: Seq, last: Seq) -> bool {
        self.at(first).is_some_and(|hole| hole.from < first && last <= hole.until)
    }

    /// Whether anything from `first` to `last` is in a hole.
    pub fn meet(&self, first: Seq, last: Seq) -> bool {
        self.at(first).is_some_and(|hole| hole.from < last)
    }

    /// How far one has come who has come to `seq`: over the hole that begins there, or in which it lies.
    pub fn over(&self, seq: Seq) -> Seq {
        self.at(seq.next()).filter(|hole| hole.from <= seq).map_or(seq, |hole| hole.until)
    }

    /// If nothing is missing beyond `seq`, nothing is missing beyond this either: the begin of the hole that ends
    /// there, or in which it lies.
    pub fn back_over(&self, seq: Seq) -> Seq {
        self.at(seq).filter(|hole| hole.from < seq).map_or(seq, |hole| hole.from)
    }

    /// The stretches beyond `after` that are in no hole. The last one goes on with the journal.
    pub fn kept(&self, after: Seq) -> Vec<Span> {
        let mut kept = Vec::new();
        let mut from = self.over(after);
        for hole in self.0.iter().filter(|hole| hole.from > after) {
            kept.push(Span { from, until: Some(hole.from) });
            from = hole.until;
        }
        kept.push(Span::beyond(from));
        kept
    }

    /// Digs a hole. Returns whether it is there: there may be too many already.
    pub fn dig(&mut self, hole: Hole) -> bool {
        let apart = |other: &Hole| other.until < hole.from || hole.until < other.from;
        let mut next: Vec<Hole> = self.0.iter().copied().filter(apart).collect();
        let touching = || self.0.iter().filter(|other| !apart(other));
        let from = touching().map(|other| other.from).min().map_or(hole.from, |from| from.min(hole.from));
        let until =
            touching().map(|other| other.until).max().map_or(hole.until, |until| until.max(hole.until));
        if next.len() >= Self::MAX {
            return false;
        }
        next.insert(next.partition_point(|other| other.until < from), Hole { from, until });
        self.0 = next;
        true
    }

    /// Forgets holes in what the journal itself no longer has.
    pub fn forget_through(&mut self, gone: Seq) {
        self.0.retain(|hole| hole.until > gone);
    }
}

/// What is read of a flow: its span, without its holes.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    span: Span,
    holes: Arc<Holes>,
}

impl Stretch {
    pub(crate) fn new(span: Span, holes: Arc<Holes>) -> Self {
        Self { span, holes }
    }

    pub(crate) fn has(&self, seq: Seq) -> bool {
        self.span.has(seq) && !self.holes.has(seq)
    }
}

impl From<Span> for Stretch {
    fn from(span: Span) -> Self {
        Self { span, holes: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn hole(from: u64, until: u64) -> Hole {
        Hole { from: Seq(from), until: Seq(until) }
    }

    #[test]
    fn holes_that_touch_are_one() {
        let mut holes = Holes::default();
        assert!([hole(10, 20), hole(30, 40), hole(20, 25)].into_iter().all(|hole| holes.dig(hole)));
        assert_eq!(holes.0, [hole(10, 25), hole(30, 40)]);
        assert!(holes.dig(hole(25, 30)));
        assert_eq!(holes.0, [hole(10, 40)]);
        assert_eq!(
            (holes.over(Seq(10)), holes.over(Seq(9)), holes.over(Seq(40))),
            (Seq(40), Seq(9), Seq(40))
        );
        assert_eq!((holes.back_over(Seq(40)), holes.back_over(Seq(41))), (Seq(10), Seq(41)));
        holes.forget_through(Seq(40));
        assert!(holes.is_empty());
    }

    #[test]
    fn there_are_never_many() {
        let mut holes = Holes::default();
        assert!((0..Holes::MAX as u64).all(|n| holes.dig(hole(10 * n, 10 * n + 5))));
        assert!(!holes.dig(hole(9_000, 9_005)));
        assert!(!holes.has(Seq(9_003)));
        assert!(holes.dig(hole(5, 10)), "one that joins others is no further one");
    }

    proptest! {
        #[test]
        fn they_say_what_a_set_says(digs in prop::collection::vec((0u64..60, 1u64..12), 0..8), after in 0u64..70) {
            let (mut holes, mut set) = (Holes::default(), BTreeSet::new());
            for (from, len) in digs {
                prop_assert!(holes.dig(hole(from, from + len)));
                set.extend(from + 1..=from + len);
            }
            for seq in 1..80 {
                prop_assert_eq!(holes.has(Seq(seq)), set.contains(&seq));
                for last in seq..80 {
                    prop_assert_eq!(holes.cover(Seq(seq), Seq(last)), (seq..=last).all(|seq| set.contains(&seq)));
                    prop_assert_eq!(holes.meet(Seq(seq), Seq(last)), (seq..=last).any(|seq| set.contains(&seq)));
                }
            }
            let kept = holes.kept(Seq(after));
            for seq in 1..90 {
                let in_kept = kept.iter().any(|span| span.has(Seq(seq)));
                prop_assert_eq!(in_kept, seq > after && !set.contains(&seq));
            }
            let (over, back) = (holes.over(Seq(after)).0, holes.back_over(Seq(after)).0);
            prop_assert!((after + 1..=over).all(|seq| set.contains(&seq)) && !set.contains(&(over + 1)));
            prop_assert!((back + 1..=after).all(|seq| set.contains(&seq)) && !set.contains(&back));
        }
    }
}
