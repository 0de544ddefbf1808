//! What got past a guard against deletes: changes that the log shows although the app was to refuse them.
//!
//! Nothing of it is lost, all of it is queued like any other change. But somebody who relies on the guard is to know: a
//! superuser has gone round it, a cascade, a trigger that was dropped by hand.
//!
//! What counts lies beyond the barrier that the arming wrote into the log, in the journal of the map: whatever was
//! committed before the guard stood lies in front of it. So a guard whose barrier has not come back counts nothing yet.
//! After a start the place is known from before, if the guard that stands is the one that was armed then; if not, the guard
//! is armed once more, for a new barrier. What we wrote ourselves does not count, nor a record that is there again at the
//! end of its transaction: moved to another partition, or replaced.

use super::AppPlan;
use crate::store::Armed;
use std::collections::{BTreeMap, HashMap};
use tandem_core::{
    BarrierId, Change, Entry, Fragment, Guard, IntegrationKey, KeyHash, MapName, Op, Refusal, Row, Seq,
    StreamName,
};

/// So many deletes of one transaction are remembered by their keys, in case the records come back.
const REMEMBERED_MAX: usize = 10_000;

/// A guard against deletes, and the journal to which the changes of its table go for its map.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) guard: Guard,
    pub(crate) stream: StreamName,
    /// Where it was armed, as it is known from an earlier start.
    pub(crate) armed: Option<Armed>,
}

/// What got past one guard since it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bypassed {
    /// Where the guard was armed; `None`: its barrier has not come back.
    pub(crate) armed: Option<Armed>,
    pub(crate) count: u64,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
}

/// The guards of one app.
#[derive(Default)]
pub(super) struct Bypasses {
    watched: BTreeMap<(MapName, StreamName), Watched>,
    /// The guards that were armed since the start, by their barriers.
    asked: BTreeMap<BarrierId, Asked>,
    /// The first plan has come: places of an earlier start are no longer taken over.
    begun: bool,
}

struct Asked {
    guard: Guard,
    /// It was not done, or nobody knows: the barrier may never come.
    failed: bool,
}

struct Watched {
    guard: Guard,
    seen: Bypassed,
    open: Open,
}

/// What the open transaction has taken away.
#[derive(Default)]
struct Open {
    by_key: HashMap<KeyHash, Seq>,
    count: u64,
    first: Option<Seq>,
    last: Seq,
}

impl Bypasses {
    /// Brings in line what is watched.
    pub(super) fn follow(&mut self, plan: &AppPlan) {
        let key = |watch: &Watch| (watch.guard.map.clone(), watch.stream.clone());
        let is_wanted = |known: &_| plan.watched.iter().any(|watch| key(watch) == *known);
        for watched in self.watched.iter().filter(|(known, _)| !is_wanted(known)).map(|(_, watched)| watched)
        {
            // Wanted again, it may have been off its table in between.
            self.asked.retain(|_, asked| !asked.guard.is_same(&watched.guard));
        }
        self.watched.retain(|known, _| is_wanted(known));
        for watch in &plan.watched {
            let armed = watch.armed.filter(|_| !self.begun);
            self.watched.entry(key(watch)).or_insert_with(|| Watched {
                guard: watch.guard.clone(),
                seen: Bypassed { armed, ..Bypassed::default() },
                open: Open::default(),
            });
        }
        self.begun |= plan.version > 0;
    }

    /// The app was asked which guards stand: a place that is another arming's is forgotten.
    pub(super) fn looked(&mut self, standing: &[Guard]) {
        for watched in self.watched.values_mut() {
            let is_this = |armed: &Armed| {
                standing.iter().any(|guard| guard.is_same(&watched.guard) && guard.since == armed.since)
            };
            watched.seen.armed = watched.seen.armed.filter(is_this);
        }
    }

    /// Whether a guard that stands is to be armed again, since nobody knows from where on.
    pub(super) fn is_unplaced(&self, guard: &Guard) -> bool {
        let asked = self.asked.values().any(|asked| !asked.failed && asked.guard.is_same(guard));
        let unplaced = |watched: &Watched| watched.guard.is_same(guard) && watched.seen.armed.is_none();
        guard.refuses == Refusal::Deletes && !asked && self.watched.values().any(unplaced)
    }

    /// A guard is about to be armed, with this barrier.
    pub(super) fn arming(&mut self, guard: &Guard, barrier: BarrierId) {
        self.asked.insert(barrier, Asked { guard: guard.clone(), failed: false });
    }

    /// It was not done, as far as is known.
    pub(super) fn arming_failed(&mut self, barrier: BarrierId) {
        if let Some(asked) = self.asked.get_mut(&barrier) {
            asked.failed = true;
        }
    }

    /// The log is read anew: a transaction that was open comes again from its start.
    pub(super) fn reopened(&mut self) {
        self.watched.values_mut().for_each(|watched| watched.open = Open::default());
    }

    /// Looks at what a journal has taken, from this Seq on.
    pub(super) fn look_at(&mut self, stream: &StreamName, first: Seq, fragments: &[Fragment]) {
        let Self { watched, asked, .. } = self;
        for watched in watched.iter_mut().filter(|((_, of), _)| of == stream).map(|(_, watched)| watched) {
            let mut seq = first;
            for fragment in fragments {
                for entry in &fragment.entries {
                    match entry {
                        Entry::Barrier(barrier) => {
                            let asked = asked.get(barrier).map(|asked| &asked.guard);
                            if let Some(guard) = asked.filter(|guard| guard.is_same(&watched.guard)) {
                                watched.seen.armed = Some(Armed { behind: seq, since: guard.since });
                            }
                        }
                        Entry::Change(change) if change.relation.table == watched.guard.table => {
                            watched.change(seq, change);
                        }
                        Entry::Change(_) => {}
                    }
                    seq = seq.next();
                }
                if fragment.commit.is_some() {
                    watched.commit(fragment.mark.is_some());
                }
            }
        }
    }

    /// What got past each guard.
    pub(super) fn seen(&self) -> BTreeMap<(MapName, StreamName), Bypassed> {
        self.watched.iter().map(|(key, watched)| (key.clone(), watched.seen)).collect()
    }
}

impl Watched {
    fn change(&mut self, seq: Seq, change: &Change) {
        if self.seen.armed.is_none_or(|armed| seq <= armed.behind) {
            return;
        }
        let places = || change.relation.places(self.guard.key.iter().map(|name| &**name)).ok();
        let key = |row: &Row| Some(IntegrationKey::of(row, &places()?)?.hash());
        let taken = match &change.op {
            Op::Insert { new } => {
                if !self.open.by_key.is_empty()
                    && let Some(key) = key(new)
                {
                    self.open.by_key.remove(&key);
                }
                return;
            }
            Op::Update { old: None, .. } => return,
            Op::Update { old: Some(old), new } => match (key(old), key(new)) {
                (Some(old), Some(new)) if old != new => {
                    self.open.by_key.remove(&new);
                    Some(old)
                }
                _ => return,
            },
            Op::Delete { old } => key(old),
            Op::Truncate => None,
        };
        match taken.filter(|_| self.open.by_key.len() < REMEMBERED_MAX) {
            Some(key) => drop(self.open.by_key.insert(key, seq)),
            None => {
                self.open.count += 1;
                self.open.first.get_or_insert(seq);
                self.open.last = seq;
            }
        }
    }

    fn commit(&mut self, ours: bool) {
        let Open { by_key, count, first, last } = std::mem::take(&mut self.open);
        let first = by_key.values().copied().chain(first).min();
        let Some(first) = first.filter(|_| !ours) else { return };
        if self.seen.count == 0 {
            self.seen.first = first;
        }
        self.seen.count += count + by_key.len() as u64;
        self.seen.last = by_key.values().copied().chain([last]).max().unwrap_or(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;
    use tandem_core::{Commit, Mark, Position, Relation, RelationColumn, TableName, Value, WallTime};

    fn guard() -> Guard {
        Guard {
            table: TableName { schema: None, name: "a".into() },
            map: "m".into(),
            refuses: Refusal::Deletes,
            key: vec!["id".into()],
            since: WallTime(7),
        }
    }

    fn stream() -> StreamName {
        StreamName { source: "erp".into(), destination: "crm".into() }
    }

    fn watching(armed: Option<Armed>) -> Bypasses {
        let mut bypasses = Bypasses::default();
        let watched = vec![Watch { guard: guard(), stream: stream(), armed }];
        bypasses.follow(&AppPlan { version: 1, watched, ..AppPlan::default() });
        bypasses
    }

    fn change(table: &str, op: Op) -> Entry {
        let column = RelationColumn { name: "id".into(), type_name: "int".into(), identity: true };
        let table = TableName { schema: None, name: table.into() };
        Entry::Change(Change { relation: Arc::new(Relation { table, columns: vec![column] }), op })
    }

    fn row(id: i64) -> Row {
        Row::of([Value::Int(id)])
    }

    fn delete(id: i64) -> Entry {
        change("a", Op::Delete { old: row(id) })
    }

    fn insert(id: i64) -> Entry {
        change("a", Op::Insert { new: row(id) })
    }

    fn transaction(entries: Vec<Entry>, ours: bool) -> Fragment {
        let mark = ours.then(|| Mark { stream: "crm→erp".into(), seq: Seq(1), note: "".into() });
        let position = Position(Bytes::new());
        let commit = Commit { position, transaction: "".into(), committed_at: WallTime(0) };
        Fragment { entries, commit: Some(commit), mark }
    }

    fn seen(bypasses: &Bypasses) -> (u64, u64, u64) {
        let seen = bypasses.seen();
        let seen = &seen[&("m".into(), stream())];
        (seen.count, seen.first.0, seen.last.0)
    }

    #[test]
    fn what_lies_behind_the_barrier_of_the_arming_counts_and_nothing_else() {
        let mut bypasses = watching(None);
        let barrier = BarrierId(1 << 63 | 5);
        assert!(bypasses.is_unplaced(&guard()));
        bypasses.arming(&guard(), barrier);
        assert!(!bypasses.is_unplaced(&guard()));
        bypasses.look_at(&stream(), Seq(10), &[transaction(vec![delete(1)], false)]);
        bypasses.look_at(
            &stream(),
            Seq(11),
            &[transaction(vec![Entry::Barrier(BarrierId(4)), delete(1)], false)],
        );
        bypasses.look_at(&stream(), Seq(13), &[transaction(vec![Entry::Barrier(barrier)], false)]);
        assert_eq!(seen(&bypasses), (0, 0, 0), "what was committed before is no bypass");
        let other = change("b", Op::Delete { old: row(1) });
        bypasses.look_at(
            &stream(),
            Seq(14),
            &[transaction(vec![insert(3), other, delete(1)], false), transaction(vec![delete(2)], false)],
        );
        assert_eq!(seen(&bypasses), (2, 16, 17));
        bypasses.look_at(&stream(), Seq(18), &[transaction(vec![change("a", Op::Truncate)], false)]);
        let moved = Op::Update { old: Some(row(4)), new: row(5) };
        bypasses.look_at(&stream(), Seq(19), &[transaction(vec![change("a", moved)], false)]);
        assert_eq!(seen(&bypasses), (4, 16, 19));
    }

    #[test]
    fn what_we_wrote_and_what_is_there_again_does_not_count() {
        let mut bypasses = watching(Some(Armed { behind: Seq(3), since: WallTime(7) }));
        bypasses.look_at(&stream(), Seq(4), &[transaction(vec![delete(1)], true)]);
        bypasses.look_at(&stream(), Seq(5), &[transaction(vec![delete(1), insert(1)], false)]);
        let open = Fragment { entries: vec![delete(2)], ..Fragment::default() };
        bypasses.look_at(&stream(), Seq(7), std::slice::from_ref(&open));
        assert_eq!(seen(&bypasses).0, 0, "it is not committed yet");
        bypasses.reopened();
        bypasses.look_at(&stream(), Seq(7), &[open, transaction(vec![], false)]);
        assert_eq!(seen(&bypasses), (1, 7, 7));
    }

    #[test]
    fn a_place_from_before_counts_only_for_the_guard_that_stands() {
        let armed = Some(Armed { behind: Seq(3), since: WallTime(7) });
        let mut bypasses = watching(armed);
        bypasses.looked(&[guard()]);
        assert!(!bypasses.is_unplaced(&guard()));
        bypasses.looked(&[Guard { since: WallTime(8), ..guard() }]);
        assert!(bypasses.is_unplaced(&guard()), "it was armed anew since");
    }
}
