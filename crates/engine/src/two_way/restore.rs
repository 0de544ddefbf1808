//! Writing a winner back over which a loser was written, at the winner's own home.
//!
//! The home's log is the witness: the echo of our write comes behind the user's change. So the capture of that app finds
//! out, and notes a *correction* before it acknowledges the echo. The lane that writes to that app does it between two of
//! its transactions, at the Seq where it stands; and looks first whether the winner still is one, since everything that
//! was journaled meanwhile may say otherwise. What is written is the row as its own side had it, never one that went
//! through the mapping and back. It is no change of the journal: it comes back as an echo, and that echo is looked at
//! in the same way, in case another user was faster again.

use super::screen::Content;
use super::{BothWays, Note, NoteKind};
use crate::failpoint::Mistake;
use crate::store::{FlowId, Record, Store, Unreadable};
use crate::stream::{LaneEnd, LaneRun};
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::connect::{Advance, Plan};
use tandem_core::two_way::{Version, is_to_be_restored};
use tandem_core::{
    Change, FaultClass, IntegrationKey, KeyHash, Relation, Row, Seq, Stamp, Target, Value, Write, WriteOp,
};

/// So many corrections are done in one destination transaction.
const AT_ONCE: usize = 500;

/// Keys that are read at once.
const KEYS_AT_ONCE: usize = 10_000;

/// What of ours came back.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    both: Arc<BothWays>,
    key: IntegrationKey,
    /// What the record is since.
    content: Content,
    brought: Brought,
    /// Changes of the app's users with a lower Seq came before it in the app's log.
    before: Seq,
}

/// What a transaction of ours brought.
#[derive(Debug, Clone, Copy)]
pub(super) enum Brought {
    /// A change of the opposite journal: its Seq, and what it knew.
    Journaled(Seq, Option<Stamp>),
    /// Something else, that was decided when this was journaled of the other side.
    Beside(Seq),
}

impl Brought {
    /// What it knew of the other side.
    fn knew(self) -> Seq {
        match self {
            Brought::Journaled(_, stamp) => stamp.map_or(Seq::ZERO, |stamp| stamp.knew),
            Brought::Beside(decided) => decided,
        }
    }

    /// Whether a change of the other side was made in sight of it.
    fn was_known_to(self, version: &Version) -> bool {
        matches!(self, Brought::Journaled(seq, _) if version.stamp.knew >= seq)
    }
}

impl Echo {
    pub(super) fn of(change: &Change, both: &Arc<BothWays>, brought: Brought, before: Seq) -> Vec<Self> {
        let all = Content::all_of(change, both).into_iter();
        all.map(|(key, content)| Echo { both: both.clone(), key, content, brought, before }).collect()
    }
}

/// A winner that is to be written back to its own side.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// Its number, given when it is saved; 0 until then. A winner may have to be written back more than once, and the
    /// second time may be noted while the first is being done.
    pub id: u64,
    /// The flow that writes to that side.
    pub flow: FlowId,
    /// The winner's own flow.
    pub of: FlowId,
    /// The winner.
    pub seq: Seq,
    /// What it knew.
    pub stamp: Stamp,
    /// Which record, as its own side has it.
    pub key: IntegrationKey,
    /// The change, as it was journaled.
    pub change: Change,
}

/// The winners over which something was written, once what came before these echoes is in the journal.
pub(crate) fn overwritten(store: &dyn Store, echoes: &[Echo]) -> Result<Vec<Correction>, Unreadable> {
    let mut corrections = Vec::new();
    for echo in echoes {
        let both = &echo.both;
        let versions = both.own.versions(store, &echo.key, echo.brought.knew(), echo.before)?;
        let Some((version, flow)) = versions.into_iter().next_back() else { continue };
        // It came behind what is written here, and in sight of it.
        if echo.brought.was_known_to(&version) {
            continue;
        }
        let Some(change) = both.own.change(flow, version.seq)? else { continue };
        if content(&change, &echo.key, both) == echo.content {
            continue;
        }
        if !is_winner(store, &version, &echo.key, both)? || Mistake::KeepLosers.is_made() {
            continue;
        }
        corrections.push(Correction {
            id: 0,
            flow: both.other.flow,
            of: both.own.flow,
            seq: version.seq,
            stamp: version.stamp,
            key: echo.key.clone(),
            change,
        });
    }
    Ok(corrections)
}

/// Whether nothing of the other side that was journaled by now wins over a version, or was made in sight of it.
fn is_winner(
    store: &dyn Store,
    version: &Version,
    key: &IntegrationKey,
    both: &BothWays,
) -> Result<bool, Unreadable> {
    let others = both.other.versions(store, &both.other_key(key), version.stamp.knew, Seq(u64::MAX))?;
    let others: Vec<Version> = others.into_iter().map(|(version, _)| version).collect();
    Ok(is_to_be_restored(version, &others, both.policy))
}

/// Whether a row that a window has read of this side is not to be written to the other: the other side has changed the
/// record since what the window knew of it, and that change is on its way here by itself; or the row is of a loser that
/// was written here, over which the winner is about to be written back.
pub(crate) fn is_overtaken(
    store: &dyn Store,
    both: &BothWays,
    (key, row): (&IntegrationKey, Option<(&Relation, &Row)>),
    knew: Seq,
) -> Result<bool, Unreadable> {
    let all = Seq(u64::MAX);
    if !both.other.versions(store, &both.other_key(key), knew, all)?.is_empty() {
        return Ok(true);
    }
    let Some((version, flow)) = both.own.versions(store, key, Seq::ZERO, all)?.pop() else {
        return Ok(false);
    };
    let Some(change) = both.own.change(flow, version.seq)? else { return Ok(false) };
    let read = row.map_or(Content::Gone, |(relation, row)| Content::of_row(relation, row, both));
    Ok(content(&change, key, both) != read && is_winner(store, &version, key, both)?)
}

/// The records that the other side has changed, and that this side has refused as long as it is being copied: the other
/// flow has gone past them, and brings them at the end of its own copy. A window that has read the row of before must not
/// write it over them; nor over one that was set aside, and is brought when that is tried again. `read`: the records of
/// the window. The keys are as this side writes them.
pub(crate) fn put_off<'a>(
    store: &dyn Store,
    both: &BothWays,
    read: impl Iterator<Item = &'a IntegrationKey>,
) -> Result<PutOff, Unreadable> {
    let (mut keys, mut after) = (PutOff::default(), 0);
    let names: HashMap<KeyHash, &IntegrationKey> =
        read.map(|key| (both.other_key(key).hash(), key)).collect();
    let hashes: Vec<KeyHash> = names.keys().copied().collect();
    for touching in store.touching(&both.other.family.flows, &hashes)? {
        if let Some(key) = names.get(&touching.key) {
            keys.0.entry(key.hash()).or_default().push((*key).clone());
        }
    }
    loop {
        let page = store.again(both.other.flow, after, KEYS_AT_ONCE)?;
        let Some(last) = page.last() else { return Ok(keys) };
        after = last.id;
        for again in page {
            let key = both.other_key(&again.key);
            keys.0.entry(key.hash()).or_default().push(key);
        }
    }
}

/// See [`put_off`].
#[derive(Debug, Default)]
pub(crate) struct PutOff(HashMap<KeyHash, Vec<IntegrationKey>>);

impl PutOff {
    /// Whether a record is one of them.
    pub(crate) fn has(&self, key: &IntegrationKey) -> bool {
        !self.0.is_empty()
            && self.0.get(&key.hash()).is_some_and(|same| same.iter().any(|other| other.is_same(key)))
    }
}

/// The row that a change leaves of a record. `None` if it takes it away, or gives it another key.
fn row_left<'a>(change: &'a Change, key: &IntegrationKey, both: &BothWays) -> Option<&'a Row> {
    let row = change.op.new_row()?;
    both.own.spec.key_in(&change.relation, row).is_some_and(|of| of.is_same(key)).then_some(row)
}

/// What a change makes of a record.
fn content(change: &Change, key: &IntegrationKey, both: &BothWays) -> Content {
    row_left(change, key, both).map_or(Content::Gone, |row| Content::of_row(&change.relation, row, both))
}

/// The write that makes a record again what its own side had made of it.
fn write(correction: &Correction, both: &BothWays, at: Seq) -> Option<Write> {
    let target: &Arc<Target> = &both.other.target;
    let change = &correction.change;
    let op = match row_left(change, &correction.key, both) {
        None => WriteOp::Delete(correction.key.clone()),
        Some(row) => {
            let places = change.relation.places(target.columns.iter().map(|name| &**name)).ok()?;
            let values = places.iter().map(|place| row.cell(*place).value().cloned());
            WriteOp::Upsert(values.collect::<Option<Vec<Value>>>()?)
        }
    };
    Some(Write { seq: at, transaction: at, target: target.clone(), op })
}

impl LaneRun {
    /// Writes back the winners that are noted for members, where the lane stands.
    pub(crate) async fn restore(&mut self) -> Result<(), LaneEnd> {
        if self.retry.is_some() || !self.context.store.any_corrections() {
            return Ok(());
        }
        let both: Vec<Arc<BothWays>> =
            self.members.values().filter_map(|member| member.flow.both_ways.clone()).collect();
        let flows: Vec<FlowId> = both.iter().map(|both| both.own.flow).collect();
        if flows.is_empty() {
            return Ok(());
        }
        loop {
            let noted = self.context.store.corrections(&flows, AT_ONCE).map_err(LaneEnd::Forgetful)?;
            if noted.is_empty() {
                return Ok(());
            }
            let note = self.note(NoteKind::Restore);
            let at = self.progress.borrow().cursor;
            let mut writes = Vec::with_capacity(noted.len());
            for correction in &noted {
                let Some(both) = both.iter().find(|both| both.own.flow == correction.flow) else { continue };
                let turned = both.turned();
                if self.still_wins(correction, &turned)? {
                    writes.extend(write(correction, &turned, at));
                }
            }
            if !writes.is_empty() {
                self.write_back(&note, &writes, at).await?;
            }
            let done = noted.iter().map(|done| Record::Corrected(done.id)).collect::<Vec<_>>();
            self.context.store.save(&done).map_err(LaneEnd::Forgetful)?;
        }
    }

    /// Whether a winner still is the last word on its record.
    fn still_wins(&self, correction: &Correction, both: &BothWays) -> Result<bool, Unreadable> {
        let store = &*self.context.store;
        let later = both.own.versions(store, &correction.key, correction.seq, Seq(u64::MAX))?;
        if !later.is_empty() {
            return Ok(false);
        }
        let version = Version { side: both.own.side, seq: correction.seq, stamp: correction.stamp };
        is_winner(store, &version, &correction.key, both)
    }

    async fn write_back(&mut self, note: &Note, writes: &[Write], at: Seq) -> Result<(), LaneEnd> {
        self.began = self.context.env.now();
        let usual = self.note(NoteKind::Journal);
        self.set_note(note);
        let advance = Advance { to: at, position: self.position.clone() };
        let mut done = self.part(Some(self.begin()), writes, Plan::Fast, Some(advance.clone())).await;
        if done.as_ref().is_err_and(|failed| failed.fault.class.is_about_record() && !failed.broken) {
            // One that is refused (a unique value that is taken meanwhile, …) is left as it is: the sides differ there,
            // and `verify` shows it.
            self.rollback().await;
            done = self.part(Some(self.begin()), writes, Plan::Single, Some(advance)).await;
        }
        self.set_note(&usual);
        match done {
            Ok(refused) => {
                for (_, fault) in refused {
                    tracing::warn!(lane = %self.lane, class = %fault.class, "a winner could not be written back: {fault}");
                }
                Ok(())
            }
            Err(failed) => {
                if failed.fault.class != FaultClass::Fenced {
                    self.rollback().await;
                }
                Err(LaneEnd::Failed(failed))
            }
        }
    }
}
