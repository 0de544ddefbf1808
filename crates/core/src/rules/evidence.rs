//! What a rule has counted for one map. Bounded by the rule, whatever happens.

use super::{COUNT_MAX, OF_LAST_MAX, When, Why};
use crate::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// When the last errors were, oldest first: no more than the rule waits for.
    errors: VecDeque<WallTime>,
    /// How the last records went.
    outcomes: Outcomes,
}

impl Evidence {
    /// An error that counts.
    pub(super) fn error(&mut self, count: u32, now: WallTime) {
        let keep = usize::try_from(count.clamp(1, COUNT_MAX)).unwrap_or(usize::MAX);
        self.errors.push_back(now);
        while self.errors.len() > keep {
            self.errors.pop_front();
        }
    }

    /// So many records went well, or failed.
    pub(super) fn records(&mut self, of_last: u32, records: u64, failed: bool) {
        self.outcomes.push(of_last.clamp(1, OF_LAST_MAX), records, failed);
    }

    /// What speaks for firing, of what was counted.
    pub(super) fn speaks(&self, when: &When, now: WallTime) -> Option<Why> {
        match when {
            When::Errors { count, within, .. } => {
                let recent = self.errors.iter().filter(|at| now.since(**at) < *within).count();
                let recent = u32::try_from(recent).unwrap_or(u32::MAX);
                (recent >= (*count).clamp(1, COUNT_MAX))
                    .then_some(Why::Errors { count: recent, within: *within })
            }
            When::FailedShare { ratio, .. } => {
                let Outcomes { failed, seen, size, .. } = self.outcomes;
                let enough = size > 0 && seen == size && failed > 0;
                (enough && ratio.is_reached(failed.into(), size.into()))
                    .then_some(Why::Failed { failed, of_last: size })
            }
            When::QueueFull(_)
            | When::Lag(_)
            | When::DestinationUnreachable(_)
            | When::SourceUnreachable(_)
            | When::Schedule(_) => None,
        }
    }

    /// Brings times that lie ahead back to now: the clock was set back.
    pub(super) fn not_after(&mut self, now: WallTime) {
        for at in &mut self.errors {
            *at = (*at).min(now);
        }
    }
}

/// A ring of bits: how the last `size` records went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Outcomes {
    /// One bit for each record; set if it failed.
    bits: Vec<u64>,
    /// How many records it is about.
    size: u32,
    /// How many of them were seen.
    seen: u32,
    /// How many of those failed.
    failed: u32,
    /// Where the next one goes.
    next: u32,
}

impl Outcomes {
    fn push(&mut self, size: u32, records: u64, failed: bool) {
        if self.size != size {
            let words = usize::try_from(size.div_ceil(64)).unwrap_or(usize::MAX);
            *self = Self { bits: vec![0; words], size, ..Self::default() };
        }
        // More than it has room for leaves the same behind as a full round.
        for _ in 0..records.min(size.into()) {
            let place = usize::try_from(self.next / 64).unwrap_or(usize::MAX);
            let Some(word) = self.bits.get_mut(place) else { return };
            let bit = 1_u64 << (self.next % 64);
            // A bit is only ever set for a record that was seen, so one that was not counts for nothing here.
            self.failed = self.failed - u32::from(*word & bit != 0) + u32::from(failed);
            *word = if failed { *word | bit } else { *word & !bit };
            self.seen = (self.seen + 1).min(size);
            self.next = (self.next + 1) % size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The ring against a plain list.
        #[test]
        fn the_ring_counts_as_a_list_would(
            size in 1..200_u32,
            batches in prop::collection::vec((0..300_u64, any::<bool>()), 0..20),
        ) {
            let mut ring = Outcomes::default();
            let mut list: Vec<bool> = Vec::new();
            for (records, failed) in batches {
                ring.push(size, records, failed);
                list.extend(std::iter::repeat_n(failed, records as usize));
                let last: Vec<&bool> = list.iter().rev().take(size as usize).collect();
                prop_assert_eq!(ring.seen as usize, last.len());
                prop_assert_eq!(ring.failed as usize, last.iter().filter(|failed| ***failed).count());
            }
        }
    }
}
