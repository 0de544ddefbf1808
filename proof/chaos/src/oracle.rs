//! The judge: nothing lost, nothing doubled, order kept.
//!
//! Truth is the source after recovery. Each record goes through a sequence of states there (a version, or absent),
//! and each effect at the destination must take it *forward* in that sequence: to go back is disorder, to stay is a
//! change that was applied twice. It may leave states out, since what follows in one batch is netted. Beyond that,
//! what one source transaction did in a table becomes visible in one destination transaction, and a table's
//! destination transactions follow the order of the source's. Of tables whose queues are preserved and retried that is
//! not asked, nor of those of which a record has waited for another map: there each record has to go forward, and
//! nothing more.
//!
//! [`judge`] is pure and linear; its own tests show that it can fail.

use crate::workload::Done;
use crate::world::{RETRIED, Side, World, tables};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio_postgres::{Config, NoTls};

/// So many findings are shown of each kind; all are counted.
const SHOWN_MAX: usize = 5;
/// Rows of a history that are fetched at a time.
const PAGE: i64 = 50_000;

/// One effect on one row, as a trigger saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) tx: i64,
    pub(crate) table: String,
    /// Key and version before.
    pub(crate) old: Option<(i64, i64)>,
    /// Key and version after.
    pub(crate) new: Option<(i64, i64)>,
    /// The place of the source transaction that wrote what is there after; 0 if it has none.
    pub(crate) n: i64,
}

impl Effect {
    /// What became of which key: a version, or nothing.
    fn states(&self) -> Vec<(i64, Option<i64>)> {
        let gone = self.old.filter(|(key, _)| self.new.is_none_or(|(new, _)| new != *key));
        let gone = gone.map(|(key, _)| (key, None));
        gone.into_iter().chain(self.new.map(|(key, version)| (key, Some(version)))).collect()
    }
}

/// The states that a record went through at the source (a version, or nothing), and which of them it has reached
/// at the destination; by table and key.
type Lives<'a> = HashMap<(&'a str, i64), (Vec<Option<i64>>, usize)>;

/// What was found, by kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How often, and the first few.
    pub(crate) findings: BTreeMap<&'static str, (u64, Vec<String>)>,
    /// Effects at the source and at the destination.
    pub(crate) effects: (usize, usize),
    /// Source transactions that are committed.
    pub(crate) transactions: usize,
}

impl Verdict {
    pub(crate) fn found(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let (count, shown) = self.findings.entry(kind).or_default();
        *count += 1;
        if shown.len() < SHOWN_MAX {
            shown.push(what());
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Compares two histories.
/// `apart`: tables whose records may reach the destination apart from their transactions.
pub(crate) fn judge(
    source: &[Effect],
    destination: &[Effect],
    apart: &BTreeSet<String>,
    verdict: &mut Verdict,
) {
    verdict.effects = (source.len(), destination.len());
    let mut lives = Lives::new();
    for effect in source {
        for (key, state) in effect.states() {
            let (life, _) = lives.entry((&effect.table, key)).or_insert_with(|| (vec![None], 0));
            life.push(state);
        }
    }
    let mut seen_in: HashMap<(&str, i64), i64> = HashMap::new();
    let mut order: HashMap<&str, (i64, i64, i64)> = HashMap::new();
    for effect in destination {
        for (key, state) in effect.states() {
            forward(&mut lives, effect, key, state, verdict);
        }
        if effect.n == 0 || apart.contains(&effect.table) {
            continue;
        }
        let tx = *seen_in.entry((&effect.table, effect.n)).or_insert(effect.tx);
        if tx != effect.tx {
            verdict.found("a source transaction in two destination transactions", || format!("{effect:?}"));
        }
        // The transaction that goes on, the largest n in it, the largest n before it.
        let (current, highest, before) = order.entry(&effect.table).or_insert((effect.tx, 0, 0));
        if *current != effect.tx {
            (*current, *before) = (effect.tx, *highest);
        }
        *highest = effect.n.max(*highest);
        if effect.n <= *before {
            let before = *before;
            verdict.found("a table's transactions out of order", || format!("{effect:?} after n {before}"));
        }
    }
    for ((table, key), (life, at)) in &lives {
        if life.last() != life.get(*at) {
            verdict.found("lost: the last state never came", || {
                format!("{table} {key}: is {:?}, was to be {:?}", life.get(*at), life.last())
            });
        }
    }
}

/// Takes a record to the state that an effect gave it.
fn forward<'a>(
    lives: &mut Lives<'a>,
    effect: &'a Effect,
    key: i64,
    state: Option<i64>,
    verdict: &mut Verdict,
) {
    let Some((life, at)) = lives.get_mut(&(effect.table.as_str(), key)) else {
        return verdict.found("a record that the source never had", || format!("{effect:?}"));
    };
    let ahead = life.iter().enumerate().skip(*at + 1).find(|(_, known)| **known == state);
    match ahead {
        Some((place, _)) => *at = place,
        None if life.get(*at) == Some(&state) => {
            verdict.found("doubled: applied twice with effect", || format!("{effect:?}"));
        }
        None if life.contains(&state) => {
            verdict.found("disorder: a record went back", || format!("{effect:?}"))
        }
        None => verdict.found("a state that the source never had", || format!("{effect:?}")),
    }
}

/// Reads both sides and judges them. The tables must have been equal already, or time is up.
/// `waited`: the tables of which a record has waited for another map.
pub(crate) fn examine(world: &World, done: &Done, waited: &BTreeSet<String>) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for table in tables() {
        let [left, right] = [Side::Source, Side::Destination].map(|side| {
            let rows = world.sql(side, &format!("SELECT t::text FROM {table} t ORDER BY id"));
            rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect::<HashSet<String>>()
        });
        for (here, there, kind) in
            [(&left, &right, "rows only at the source"), (&right, &left, "rows only at the destination")]
        {
            here.difference(there).for_each(|row| {
                verdict.found(kind, || format!("{table} {}", row.chars().take(80).collect::<String>()));
            });
        }
    }
    let committed = world.sql(Side::Source, "SELECT token FROM committed");
    let committed: HashSet<String> =
        committed.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    verdict.transactions = committed.len();
    for token in done.acknowledged.iter().filter(|token| !committed.contains(*token)) {
        verdict.found("the source lost what it had acknowledged", || token.clone());
    }
    for refused in &done.refused {
        verdict.found("the workload was refused: the harness is wrong", || refused.clone());
    }
    let source = history(&world.url(Side::Source))?;
    let destination = history(&world.url(Side::Destination))?;
    let apart = waited.iter().cloned().chain(RETRIED.map(str::to_owned)).collect();
    judge(&source, &destination, &apart, &mut verdict);
    Ok(verdict)
}

/// A side's history, in order.
fn history(url: &str) -> Result<Vec<Effect>> {
    let config: Config = url.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        let (mut effects, mut last) = (Vec::new(), 0i64);
        loop {
            let page = "SELECT serial, tx, tab, old_key, old_v, new_key, new_v, coalesce(n, 0) FROM history WHERE serial > $1 ORDER BY serial LIMIT $2";
            let rows = client.query(page, &[&last, &PAGE]).await.context("read a history")?;
            let Some(end) = rows.last() else { return Ok(effects) };
            last = end.try_get(0)?;
            for row in rows {
                let pair = |key: Option<i64>, version: Option<i64>| key.zip(version);
                effects.push(Effect {
                    tx: row.try_get(1)?,
                    table: row.try_get(2)?,
                    old: pair(row.try_get(3)?, row.try_get(4)?),
                    new: pair(row.try_get(5)?, row.try_get(6)?),
                    n: row.try_get(7)?,
                });
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(tx: i64, old: Option<(i64, i64)>, new: Option<(i64, i64)>, n: i64) -> Effect {
        Effect { tx, table: "t".to_owned(), old, new, n }
    }

    fn insert(tx: i64, key: i64, version: i64, n: i64) -> Effect {
        effect(tx, None, Some((key, version)), n)
    }

    fn update(tx: i64, key: i64, from: i64, to: i64, n: i64) -> Effect {
        effect(tx, Some((key, from)), Some((key, to)), n)
    }

    fn truth() -> Vec<Effect> {
        vec![
            insert(1, 1, 10, 1),
            update(2, 1, 10, 11, 2),
            effect(3, Some((1, 11)), None, 0),
            insert(4, 1, 12, 4),
            insert(4, 2, 13, 4),
            effect(5, Some((2, 13)), Some((3, 14)), 5),
        ]
    }

    #[track_caller]
    fn check(destination: &[Effect], found: &[&str]) {
        let mut verdict = Verdict::default();
        judge(&truth(), destination, &BTreeSet::new(), &mut verdict);
        let kinds: Vec<&str> = verdict.findings.keys().copied().collect();
        assert_eq!(kinds, found, "{verdict:?}");
    }

    #[test]
    fn the_same_history_is_clean_and_so_is_a_netted_one() {
        check(&truth(), &[]);
        let netted = [insert(7, 1, 10, 1), update(8, 1, 10, 12, 4), insert(8, 2, 13, 4)];
        let rekeyed = effect(9, Some((2, 13)), Some((3, 14)), 5);
        check(&[&netted[..], &[rekeyed]].concat(), &[]);
    }

    #[test]
    fn a_change_that_is_applied_twice_is_found_although_it_changes_nothing() {
        let mut twice = truth();
        twice.insert(2, update(2, 1, 11, 11, 2));
        check(&twice, &["doubled: applied twice with effect"]);
    }

    #[test]
    fn a_change_that_comes_again_later_is_found_although_it_heals() {
        let mut again = truth();
        again.insert(2, update(9, 1, 11, 10, 1));
        again.insert(3, update(10, 1, 10, 11, 2));
        check(
            &again,
            &[
                "a source transaction in two destination transactions",
                "a table's transactions out of order",
                "disorder: a record went back",
                "doubled: applied twice with effect",
            ],
        );
    }

    #[test]
    fn a_change_that_never_came_is_found() {
        let mut lost = truth();
        lost.pop();
        check(&lost, &["lost: the last state never came"]);
    }

    #[test]
    fn half_a_source_transaction_is_found() {
        let mut torn = truth();
        torn[4].tx = 40;
        check(
            &torn,
            &["a source transaction in two destination transactions", "a table's transactions out of order"],
        );
    }

    #[test]
    fn what_the_source_never_had_is_found() {
        let mut more = truth();
        more.push(insert(6, 99, 1, 6));
        more.push(update(7, 3, 14, 77, 7));
        check(&more, &["a record that the source never had", "a state that the source never had"]);
    }
}
