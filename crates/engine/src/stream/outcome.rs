//! What became of each change that a lane went past: the lane's side of the books.
//!
//! The journal counts what it takes in and what lies beyond a flow's cursor; lanes count, apart from that, what became of
//! each change that they read. A change counts in the same moment in which the cursor goes past it, so the two must agree
//! at every moment, and do not if a change was passed over or done twice (see [`Ledger`](crate::view::Ledger)).

use crate::store::FlowId;
use std::collections::BTreeMap;
use tandem_core::Seq;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    /// It was written, or netted with others that were.
    Applied,
    /// The map's filter left it out.
    Filtered,
    /// It is an error.
    SetAside,
    /// It gave way to the other side of a two-way map.
    Lost,
    /// An initial sync will look at its record again.
    Covered,
}

/// How many changes became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) applied: u64,
    pub(crate) filtered: u64,
    pub(crate) set_aside: u64,
    pub(crate) lost: u64,
    pub(crate) covered: u64,
    /// They are past, and which of these they became was lost with a connection.
    pub(crate) found: u64,
    /// They were past, and are to be done again: the destination has lost them.
    pub(crate) undone: u64,
}

impl Outcomes {
    fn add(&mut self, became: Became) {
        *match became {
            Became::Applied => &mut self.applied,
            Became::Filtered => &mut self.filtered,
            Became::SetAside => &mut self.set_aside,
            Became::Lost => &mut self.lost,
            Became::Covered => &mut self.covered,
        } += 1;
    }

    /// What another has counted counts here as well.
    pub(crate) fn add_all(&mut self, other: &Outcomes) {
        let Outcomes { applied, filtered, set_aside, lost, covered, found, undone } = other;
        self.applied += applied;
        self.filtered += filtered;
        self.set_aside += set_aside;
        self.lost += lost;
        self.covered += covered;
        self.found += found;
        self.undone += undone;
    }

    /// Changes that are past.
    pub(crate) fn settled(&self) -> u64 {
        let Outcomes { applied, filtered, set_aside, lost, covered, found, undone } = self;
        (applied + filtered + set_aside + lost + covered + found).saturating_sub(*undone)
    }
}

/// The changes that a lane has read and not gone past, in the order of the journal.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(Seq, FlowId, Became)>);

impl Tally {
    /// Takes in the changes of a batch, which are behind all that are in here.
    pub(super) fn read(&mut self, changes: &mut Vec<(Seq, FlowId, Became)>) {
        self.0.append(changes);
    }

    /// Forgets what was read: it is read again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes what a change becomes, if it is in here.
    pub(crate) fn note(&mut self, flow: FlowId, seq: Seq, became: Became) {
        let first = self.0.partition_point(|(other, ..)| *other < seq);
        let same = self.0.iter_mut().skip(first).take_while(|(other, ..)| *other == seq);
        same.filter(|(_, of, _)| *of == flow).for_each(|(.., known)| *known = became);
    }

    /// The lane goes past everything up to a Seq. Returns what became of it, by flow, and forgets it.
    pub(super) fn settle(&mut self, through: Seq) -> BTreeMap<FlowId, Outcomes> {
        let end = self.0.partition_point(|(seq, ..)| *seq <= through);
        let mut settled: BTreeMap<FlowId, Outcomes> = BTreeMap::new();
        for (_, flow, became) in self.0.drain(..end) {
            settled.entry(flow).or_default().add(became);
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_counts_once_and_when_the_lane_goes_past_it() {
        let (a, b) = (FlowId(1), FlowId(2));
        let mut tally = Tally::default();
        let read = |seq, flow| (Seq(seq), flow, Became::Applied);
        tally.read(&mut vec![read(3, a), read(3, b), read(5, a), read(9, b)]);
        tally.note(b, Seq(3), Became::SetAside);
        tally.note(a, Seq(9), Became::Lost);
        let settled = tally.settle(Seq(5));
        assert_eq!(settled.get(&a), Some(&Outcomes { applied: 2, ..Outcomes::default() }));
        assert_eq!(settled.get(&b), Some(&Outcomes { set_aside: 1, ..Outcomes::default() }));
        assert!(tally.settle(Seq(8)).is_empty());
        assert_eq!(tally.settle(Seq(9)).get(&b).map(Outcomes::settled), Some(1));
    }
}
