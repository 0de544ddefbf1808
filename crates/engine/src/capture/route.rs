//! Which changes of a captured batch go to which journal.

use super::place::Place;
use crate::journal::JournalError;
use crate::two_way::{Origin, Screen, Tables};
use std::collections::BTreeSet;
use std::sync::Arc;
use tandem_core::{BarrierId, Entry, Fragment, Position, Relation, Seq, Stamp, TableName};

/// What one journal is to take of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Routed {
    /// Pieces of transactions that hold something for it. Commits carry our [`Place`].
    pub(super) fragments: Vec<Fragment>,
    /// For each of them: what its changes knew of the other side.
    pub(super) stamps: Vec<Vec<Option<Stamp>>>,
    /// Barriers among them.
    pub(super) barriers: Vec<BarrierId>,
}

/// The route from an app's log to one journal. Remembers what spans batches.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// The open transaction has brought something already: its end must come too.
    open: bool,
    /// Pass over everything up to and including the transaction that ends here: the journal has it.
    passing: Option<Position>,
    /// The last relation looked at, and whether it is wanted: changes come in runs.
    last: Option<(Arc<Relation>, bool)>,
    /// What of the log is ours.
    pub(super) screen: Screen,
}

impl Route {
    /// What the journal takes of a batch: changes of `sink`'s tables, without what is only an echo of ours. `group`
    /// numbers the batch, and `next` is the Seq that comes next in the journal.
    pub(super) fn route(
        &mut self,
        fragments: &[Fragment],
        (tables, both_ways): (&BTreeSet<TableName>, &Tables),
        (group, mut next): (u64, Seq),
    ) -> Result<Routed, JournalError> {
        self.last = None;
        let mut routed = Routed::default();
        for fragment in fragments {
            if let Some(position) = &self.passing {
                if fragment.commit.as_ref().is_some_and(|commit| commit.position == *position) {
                    self.passing = None;
                }
                continue;
            }
            let mut entries = Vec::with_capacity(fragment.entries.len());
            for entry in &fragment.entries {
                match entry {
                    Entry::Barrier(barrier) => {
                        routed.barriers.push(*barrier);
                        entries.push(entry.clone());
                    }
                    Entry::Change(change) if self.wants(&change.relation, tables) => {
                        entries.push(entry.clone())
                    }
                    Entry::Change(_) => {}
                }
            }
            let mut stamps = Vec::new();
            if !both_ways.is_empty() {
                let committed_at = fragment.commit.as_ref().map(|commit| commit.committed_at);
                let origin = Origin { mark: fragment.mark.as_ref(), committed_at, first: next };
                let screened = self.screen.screen(entries, &origin, both_ways)?;
                (entries, stamps) = (screened.entries, screened.stamps);
            }
            let commit = fragment.commit.as_ref().map(|commit| {
                let (seen, position) = (self.screen.seen(), commit.position.clone());
                let place = Place { group, commit: true, seen, position };
                tandem_core::Commit { position: place.encode(), ..commit.clone() }
            });
            let ends = commit.is_some();
            if !entries.is_empty() || (ends && self.open) {
                next = Seq(next.0 + entries.len() as u64);
                routed.stamps.push(stamps);
                routed.fragments.push(Fragment { entries, commit, mark: fragment.mark.clone() });
                self.open = !ends;
            }
        }
        Ok(routed)
    }

    /// Whether what comes is still what the journal has.
    pub(super) fn is_passing(&self) -> bool {
        self.passing.is_some()
    }

    /// Whether a transaction that has brought something is open.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    fn wants(&mut self, relation: &Arc<Relation>, tables: &BTreeSet<TableName>) -> bool {
        match &self.last {
            Some((last, wanted)) if Arc::ptr_eq(last, relation) => *wanted,
            _ => {
                let wanted = tables.contains(&relation.table);
                self.last = Some((relation.clone(), wanted));
                wanted
            }
        }
    }

    /// The source was opened anew: a transaction that was open will come again from its start.
    pub(super) fn reopened(&mut self, passing: Option<Position>, place: Option<&Place>) {
        self.open = false;
        self.passing = passing;
        self.screen.reopen(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tandem_core::{Change, Commit, Op, Row, WallTime};

    fn change(table: &str) -> Entry {
        let table = TableName { schema: None, name: table.into() };
        Entry::Change(Change {
            relation: Arc::new(Relation { table, columns: vec![] }),
            op: Op::Insert { new: Row::default() },
        })
    }

    fn fragment(entries: Vec<Entry>, end: Option<&'static str>) -> Fragment {
        let commit = end.map(|end| Commit {
            position: Position(Bytes::from_static(end.as_bytes())),
            transaction: "".into(),
            committed_at: WallTime(0),
        });
        Fragment { entries, commit, mark: None }
    }

    fn taken(route: &mut Route, batch: &[Fragment], group: u64) -> Routed {
        route.route(batch, (&tables(), &Tables::new()), (group, Seq(1))).unwrap()
    }

    fn shape(routed: &Routed) -> Vec<(usize, bool)> {
        routed.fragments.iter().map(|f| (f.entries.len(), f.commit.is_some())).collect()
    }

    fn tables() -> BTreeSet<TableName> {
        BTreeSet::from([TableName { schema: None, name: "a".into() }])
    }

    #[test]
    fn a_transaction_without_anything_for_the_journal_leaves_no_trace() {
        let mut route = Route::default();
        let batch =
            [fragment(vec![change("b")], Some("1")), fragment(vec![change("a"), change("b")], Some("2"))];
        assert_eq!(shape(&taken(&mut route, &batch, 1)), [(1, true)]);
    }

    #[test]
    fn the_end_of_a_large_transaction_comes_even_if_its_last_piece_holds_nothing() {
        let mut route = Route::default();
        assert_eq!(shape(&taken(&mut route, &[fragment(vec![change("a")], None)], 1)), [(1, false)]);
        assert_eq!(shape(&taken(&mut route, &[fragment(vec![change("b")], Some("1"))], 2)), [(0, true)]);
        assert_eq!(shape(&taken(&mut route, &[fragment(vec![change("b")], Some("2"))], 3)), []);
    }

    #[test]
    fn a_journal_that_was_ahead_passes_over_what_it_has() {
        let mut route = Route::default();
        route.reopened(Some(Position(Bytes::from_static(b"2"))), None);
        let batch = ["1", "2", "3"].map(|end| fragment(vec![change("a")], Some(end)));
        assert_eq!(shape(&taken(&mut route, &batch, 1)), [(1, true)]);
    }
}
