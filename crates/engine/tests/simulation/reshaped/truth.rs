//! What must always be so, whatever happens to the tables.
//!
//! A value never stands in a column of another meaning, and what was a value never becomes nothing while its column is
//! there on both sides. An order refers to a customer that it has had, by a number of that one. No map is held for its
//! tables without saying why, and no record is set aside for a column that it lacks before anybody has looked. Nothing
//! takes effect twice or backwards, the books balance ([`Oracle`](crate::oracle::Oracle)).

use super::people::says_why;
use super::tables::{CUSTOMER, LEFT, Meaning, RIGHT, Records, SERIAL, meaning_of, read};
use super::{Reshaped, Weather};
use crate::world::MAPS;
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::lifecycle::{Hold, Phase};
use tandem_core::{Value, WallTime};
use tandem_engine::env::Env;
use tandem_engine::store::{ActivityFrom, ErrorQuery, Store};
use tandem_engine::{ErrorStatus, MapView};

/// What is known of what has happened.
#[derive(Default)]
pub(super) struct Truth {
    /// The customers that each order ever had.
    customers: BTreeMap<i64, BTreeSet<i64>>,
    /// Whose each number of a customer was.
    serials: BTreeMap<i64, i64>,
    /// The right tables as they were seen last.
    seen: [Records; 3],
    /// When a left table got another shape first.
    altered: BTreeMap<&'static str, WallTime>,
    /// Up to which error it was asked whether somebody had looked.
    errors: u64,
}

impl Truth {
    pub(super) fn refers(&mut self, order: i64, customer: Value) {
        if let Value::Int(customer) = customer {
            self.customers.entry(order).or_default().insert(customer);
        }
    }

    pub(super) fn is_called(&mut self, serial: i64, customer: i64) {
        self.serials.insert(serial, customer);
    }

    pub(super) fn altered(&mut self, table: &'static str, at: WallTime) {
        self.altered.entry(table).or_insert(at);
    }
}

impl Reshaped {
    pub(super) fn env_wall(&self) -> WallTime {
        self.env.wall()
    }

    /// Looks at what has happened since the last look.
    pub(super) fn look(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        let effects = self.apps[RIGHT].effects_since(self.oracle.seen());
        for effect in effects.iter().filter(|_| self.tracing) {
            eprintln!("    -> seq {} {:?} {} {:?}", effect.seq, effect.verb, effect.table, effect.key);
        }
        if !effects.is_empty() {
            (0..3).for_each(|place| self.look_at(place));
        }
        self.oracle.look(self.seed, &engine, &self.apps[RIGHT]);
        for view in &engine.snapshot().maps {
            let is_of_schema = |hold: &Hold| matches!(hold, Hold::System(what) if **what == *"schema");
            let held = view.state.phase == Phase::Paused && view.state.holds.keys().any(is_of_schema);
            assert!(!held || says_why(view), "seed {}: it does not say why: {view:#?}", self.seed);
            let Weather { changes, dangles, truncates, copies, .. } = self.weather;
            let may_fail = changes > 0 || dangles || truncates || copies;
            assert!(
                may_fail || view.errors.trouble() == 0,
                "seed {}: errors that the source never had: {view:#?}",
                self.seed
            );
            self.look_at_errors(view);
        }
    }

    fn look_at(&mut self, place: usize) {
        let (seed, name) = (self.seed, MAPS[place]);
        let now = self.tables[place].records(RIGHT, &self.apps[RIGHT]);
        for (id, record) in &now {
            for (meaning, value) in record {
                let is_so = match (*meaning, value) {
                    (_, Value::Null) => true,
                    (CUSTOMER, value) => self.is_a_customer_of(*id, value),
                    (meaning, value) => meaning_of(value) == Some(meaning),
                };
                assert!(is_so, "seed {seed}: {name}[{id}] has {value:?} in a column of meaning {meaning}");
                let before = self.truth.seen[place].get(id).and_then(|record| record.get(meaning));
                let is_lost = value.is_null() && before.is_some_and(|before| !before.is_null());
                let may_be = self.tables[place].unlogged.contains(meaning);
                assert!(!is_lost || may_be, "seed {seed}: {name}[{id}] has lost the value of {meaning}");
            }
        }
        self.truth.seen[place] = now;
    }

    fn is_a_customer_of(&self, order: i64, value: &Value) -> bool {
        let Value::Int(number) = value else { return false };
        let customer = match self.weather.looks_up {
            true => self.truth.serials.get(number),
            false => Some(number),
        };
        let had = self.truth.customers.get(&order);
        customer.zip(had).is_some_and(|(customer, had)| had.contains(customer))
    }

    /// A record that lacks a column is set aside only where somebody has looked at the tables since: else the map is held.
    fn look_at_errors(&mut self, view: &MapView) {
        if view.errors.total() == 0 {
            return;
        }
        let query = ErrorQuery {
            after: self.truth.errors,
            statuses: ErrorStatus::ALL.to_vec(),
            limit: usize::MAX,
            ..ErrorQuery::default()
        };
        let errors = self.store.errors(&query).expect("a store in memory").items;
        for error in errors {
            self.truth.errors = self.truth.errors.max(error.id);
            self.say(|| format!("    error {} {} seq {}: {}", error.id, error.map, error.seq, error.fault));
            let is_lacking = error.fault.operation == "project the record"
                && error.fault.code.as_deref() == Some("column_missing");
            // What a window reads is in no transaction: it has whatever shape the table has.
            if !is_lacking || error.transaction_name.is_empty() {
                continue;
            }
            let name = error.map.as_str();
            let log = self.store.activity(Some(&error.map), ActivityFrom::Since(0), usize::MAX);
            let looked = log.expect("a store in memory").into_iter().any(|entry| {
                let since = self.truth.altered.get(name).is_some_and(|altered| entry.at >= *altered);
                let looks = ["map.resume", "map.run", "schema.looked"].contains(&&*entry.event);
                since && looks && entry.at <= error.first_at
            });
            assert!(looked, "seed {}: nobody has looked at {name} before {error:#?}", self.seed);
        }
    }

    /// What a map makes of a value of the left app.
    fn expected(&self, meaning: Meaning, value: &Value, customers: &Records) -> String {
        match (meaning, value) {
            (CUSTOMER, Value::Int(id)) if self.weather.looks_up => {
                customers.get(id).and_then(|customer| customer.get(&SERIAL)).map_or_else(String::new, read)
            }
            (_, value) => read(value),
        }
    }

    /// Where both sides of a map differ, in columns of these meanings.
    fn differences(&self, place: usize, of: impl Fn(Meaning) -> bool) -> Vec<String> {
        let tables = &self.tables[place];
        let [left, right] = [LEFT, RIGHT].map(|side| tables.records(side, &self.apps[side]));
        let customers = self.tables[0].records(LEFT, &self.apps[LEFT]);
        let mut found = Vec::new();
        for id in left.keys().chain(right.keys()) {
            let (Some(ours), Some(theirs)) = (left.get(id), right.get(id)) else {
                let is_left = left.contains_key(id);
                found.extend(
                    (!tables.records_unlogged || of(0)).then(|| format!("{id}: only one has it, {is_left}")),
                );
                continue;
            };
            for pair in tables.mapped().into_iter().filter(|pair| of(pair.meaning)) {
                let value = |record: &BTreeMap<Meaning, Value>| record.get(&pair.meaning).cloned();
                let (Some(one), Some(other)) = (value(ours), value(theirs)) else {
                    found.push(format!("{pair:?} is not there"));
                    continue;
                };
                let expected = self.expected(pair.meaning, &one, &customers);
                if expected != read(&other) {
                    found.push(format!("{id}: {pair:?} is {other:?} and should be {expected}"));
                }
            }
        }
        found
    }

    /// Every column of which the log told is equal, before anything is repaired.
    pub(super) fn equal_but_for_what_no_log_tells(&self) {
        for (place, name) in MAPS.iter().enumerate() {
            let tables = &self.tables[place];
            if tables.records_unlogged {
                continue;
            }
            let told = |meaning: Meaning| {
                !tables.unlogged.contains(&meaning)
                    && !(meaning == CUSTOMER && (self.weather.dangles || self.tables[0].records_unlogged))
            };
            let found = self.differences(place, told);
            assert!(found.is_empty(), "seed {}: {name} differs: {found:#?}", self.seed);
        }
    }

    /// The maps whose sides differ, children first.
    pub(super) fn differing(&self) -> Vec<usize> {
        [2, 1, 0].into_iter().filter(|place| !self.differences(*place, |_| true).is_empty()).collect()
    }
}
