//! What must always be so. The truth is the left app and what the right app says took effect, never the engine.
//!
//! I2, I3: for each record, the Seq of its effects rises: nothing twice, nothing backwards, whatever lane it came
//! through. Pause: after a map was shown as paused, nothing of it takes effect until somebody resumes it. I1, I4,
//! I5, I6 show at the end: both sides equal and no error, from a source that let go of what it acknowledged.

use crate::world::{MAPS, table};
use std::collections::{BTreeSet, HashMap};
use tandem_connectors::memory::MemoryApp;
use tandem_core::lifecycle::Phase;
use tandem_core::{IntegrationKey, MapName, Seq, TableName};
use tandem_engine::store::memory::MemoryStore;
use tandem_engine::store::{ActivityFrom, ErrorQuery, Store};
use tandem_engine::{Engine, ErrorStatus, Rejected, SetAside};

#[derive(Default)]
pub(crate) struct Oracle {
    seen: usize,
    last: HashMap<(TableName, IntegrationKey), Seq>,
    /// Maps that the engine shows as paused, and nobody has asked to resume since.
    paused: BTreeSet<MapName>,
    run: BTreeSet<MapName>,
    /// Where every map had begun.
    begun: Seq,
    /// There are initial syncs.
    windows: bool,
}

/// A queue, or a part of one, that was discarded or dropped, as the activity log tells of it.
struct Discarded {
    map: MapName,
    records: u64,
    beyond: Seq,
    until: Seq,
}

fn discarded(store: &MemoryStore) -> Vec<Discarded> {
    let log = store.activity(None, ActivityFrom::Since(0), usize::MAX).expect("a store in memory");
    let told = log.into_iter().filter(|entry| ["queue.discarded", "queue.dropped"].contains(&&*entry.event));
    told.map(|entry| {
        let numbers: Vec<u64> =
            entry.detail.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok()).collect();
        let [records, _, beyond, until] = numbers[..] else { panic!("four numbers: {}", entry.detail) };
        let map = entry.map.expect("a queue is a map's");
        Discarded { map, records, beyond: Seq(beyond), until: Seq(until) }
    })
    .collect()
}

fn every_error(store: &MemoryStore) -> Vec<SetAside> {
    let statuses = ErrorStatus::ALL.to_vec();
    let all = ErrorQuery { statuses, limit: usize::MAX, ..ErrorQuery::default() };
    store.errors(&all).expect("a store in memory").items
}

/// The engine's own books balance, at each moment: what came in, and what became of it.
pub(crate) fn balanced(seed: u64, engine: &Engine) {
    for view in &engine.snapshot().maps {
        for flow in &view.flows {
            let difference = flow.ledger.map_or(0, |ledger| ledger.difference());
            assert_eq!(difference, 0, "seed {seed}: the books of {}: {:?}", view.map.name, flow.ledger);
        }
    }
}

impl Oracle {
    pub(crate) fn answered(&mut self, verb: &str, map: &MapName, answer: &Result<(), Rejected>) {
        if answer.is_ok() && verb == "run" {
            self.run.insert(map.clone());
        }
    }

    /// The destination has lost its last transactions: what is still there is the truth.
    pub(crate) fn forget(&mut self, right: &MemoryApp) {
        let history = right.history();
        self.seen = history.len();
        self.last.clear();
        for effect in history {
            if let Some(key) = effect.key {
                self.last.insert((effect.table, key), effect.seq);
            }
        }
    }

    pub(crate) fn expect_windows(&mut self) {
        self.windows = true;
    }

    pub(crate) fn begin(&mut self, begun: Seq) {
        self.begun = begun;
    }

    pub(crate) fn begun(&self) -> Seq {
        self.begun
    }

    /// At rest: every change is applied, or set aside, or was discarded or dropped, and each of them is one of those.
    /// What the log says was discarded or dropped is exactly what is missing.
    pub(crate) fn conserved(
        &self,
        seed: u64,
        (begun, head): (Seq, Seq),
        right: &MemoryApp,
        store: &MemoryStore,
    ) {
        let discarded = discarded(store);
        let errors = every_error(store);
        let completed: BTreeSet<Seq> = errors
            .iter()
            .filter(|error| error.status == ErrorStatus::Completed)
            .map(|error| error.seq)
            .collect();
        let mut known: BTreeSet<Seq> = BTreeSet::new();
        for effect in right.history() {
            known.insert(effect.seq);
            let dropped = discarded.iter().find(|queue| {
                *queue.map.as_str() == *effect.table.name
                    && queue.beyond < effect.seq
                    && effect.seq <= queue.until
            });
            let dropped = dropped.filter(|_| !completed.contains(&effect.seq));
            assert!(dropped.is_none(), "seed {seed}: Seq {} was discarded, and took effect", effect.seq);
        }
        for SetAside { seq, status, kept, .. } in errors {
            // A record that is not there is deleted without an effect.
            let is_new = known.insert(seq) || status == ErrorStatus::Completed;
            assert!(is_new, "seed {seed}: Seq {seq} is {status} and was applied");
            assert!(
                kept.is_some() || !status.is_unresolved(),
                "seed {seed}: Seq {seq} was set aside without its change"
            );
        }
        let missing: Vec<Seq> = (begun.0 + 1..=head.0).map(Seq).filter(|seq| !known.contains(seq)).collect();
        let counted: u64 = discarded.iter().map(|queue| queue.records).sum();
        assert_eq!(missing.len() as u64, counted, "seed {seed}: missing are {missing:?}");
    }

    /// Users that a guard refuses have done nothing: whatever the log shows was committed before it stood.
    pub(crate) fn nothing_got_past_guards(&self, seed: u64, store: &MemoryStore) {
        let log = store.activity(None, ActivityFrom::Since(0), usize::MAX).expect("a store in memory");
        let alarm = log.into_iter().find(|entry| entry.event == "guard.bypassed");
        assert!(alarm.is_none(), "seed {seed}: a false alarm: {alarm:?}");
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen
    }

    pub(crate) fn was_run(&self, map: &MapName) -> bool {
        self.run.contains(map)
    }

    /// Looks at what has happened since the last look.
    pub(crate) fn look(&mut self, seed: u64, engine: &Engine, right: &MemoryApp) {
        let history = right.effects_since(self.seen);
        self.seen += history.len();
        for effect in history {
            let map: MapName = (&*effect.table.name).into();
            assert!(
                !self.paused.contains(&map),
                "seed {seed}: {map} is paused, and Seq {} took effect",
                effect.seq
            );
            let Some(key) = effect.key else { continue };
            let last = self.last.entry((effect.table.clone(), key)).or_default();
            // A part of a window whose reply was lost is written once more, in its place.
            let again = self.windows && *last == effect.seq;
            assert!(
                *last < effect.seq || again,
                "seed {seed}: {} went from Seq {last} to {}",
                effect.table,
                effect.seq
            );
            *last = effect.seq;
        }
        balanced(seed, engine);
        for view in &engine.snapshot().maps {
            match view.state.phase {
                Phase::Paused => drop(self.paused.insert(view.map.name.clone())),
                _ => drop(self.paused.remove(&view.map.name)),
            }
            if view.state.phase != Phase::NotRunning {
                self.run.insert(view.map.name.clone());
            }
        }
    }

    /// At rest: equal, and nothing was set aside.
    pub(crate) fn settled(&self, seed: u64, left: &MemoryApp, right: &MemoryApp, store: &MemoryStore) {
        let counts = store.error_counts().expect("a store in memory");
        for name in MAPS.iter().filter(|name| self.run.contains(&MapName::from(**name))) {
            let (ours, theirs) = (left.rows(&table(name)), right.rows(&table(name)));
            assert_eq!(ours, theirs, "seed {seed}: {name} differs");
        }
        let unresolved = counts.values().flatten().any(|(status, n)| status.is_unresolved() && *n > 0);
        assert!(!unresolved, "seed {seed}: errors that the source never had: {counts:?}");
    }
}
