//! Says of most keys that a sealed segment does not have them, without looking at the disk.
//!
//! A Bloom filter of about ten bits a key whose bits for one key lie in one cache line. Whoever looks for a key in
//! a long queue asks each segment of it, and all but one have to say no. Filters are made when a segment is first
//! asked, and share one budget; beyond it segments are asked on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all filters of a journal may take in memory.
const BUDGET_BYTES: usize = 64 << 20;
const LINE_WORDS: usize = 8;
const BITS_PER_KEY: usize = 10;

/// How much memory the filters of a journal take.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterBudget(Arc<AtomicUsize>);

/// The filter of one flow in one segment.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: Vec<[u64; LINE_WORDS]>,
    budget: FilterBudget,
}

impl Filter {
    /// A filter of these hashes, if the budget has room.
    pub(crate) fn of(hashes: impl ExactSizeIterator<Item = u64>, budget: &FilterBudget) -> Option<Self> {
        let lines = (hashes.len() * BITS_PER_KEY).div_ceil(64 * LINE_WORDS).max(1);
        let taken = budget.0.fetch_add(Self::size(lines), Ordering::Relaxed) + Self::size(lines);
        let mut filter = Self { lines: Vec::new(), budget: budget.clone() };
        if taken > BUDGET_BYTES {
            budget.0.fetch_sub(Self::size(lines), Ordering::Relaxed);
            return None;
        }
        filter.lines = vec![[0; LINE_WORDS]; lines];
        for hash in hashes {
            let bits = Self::bits(hash);
            let line = Self::line(hash, lines);
            if let Some(line) = filter.lines.get_mut(line) {
                line.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
            }
        }
        Some(filter)
    }

    fn size(lines: usize) -> usize {
        lines * LINE_WORDS * 8
    }

    /// The line of a hash, by its high bits.
    fn line(hash: u64, lines: usize) -> usize {
        ((u128::from(hash) * lines as u128) >> 64) as usize
    }

    /// Five bits of a line, by the low bits of the hash.
    fn bits(hash: u64) -> [u64; LINE_WORDS] {
        let mut words = [0; LINE_WORDS];
        for part in 0..5 {
            let bit = (hash >> (9 * part)) & 511;
            if let Some(word) = words.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
        words
    }

    /// Whether the key may be there; `false` is certain.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let line = self.lines.get(Self::line(hash, self.lines.len()));
        line.is_none_or(|line| line.iter().zip(Self::bits(hash)).all(|(word, bits)| word & bits == bits))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(Self::size(self.lines.len()), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 29)
    }

    #[test]
    fn it_never_denies_a_key_that_is_there_and_denies_most_others() {
        let budget = FilterBudget::default();
        let filter = Filter::of((0..50_000u32).map(|number| hash(number.into())), &budget).unwrap();
        assert!((0..50_000).all(|number| filter.may_have(hash(number))));
        let wrong = (50_000..100_000).filter(|number| filter.may_have(hash(*number))).count();
        assert!(wrong < 2_500, "{wrong} of 50,000");
    }

    #[test]
    fn beyond_the_budget_there_is_none_and_room_comes_back() {
        let budget = FilterBudget::default();
        let all = (0..).map_while(|_| Filter::of(vec![0; 1 << 22].into_iter(), &budget)).collect::<Vec<_>>();
        assert!((5..20).contains(&all.len()));
        drop(all);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
        assert!(Filter::of([1].into_iter(), &budget).is_some());
    }
}
