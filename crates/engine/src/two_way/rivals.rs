//! Giving way: what a lane does with a change whose record the other side has changed, too.

use super::{BothWays, Note, NoteKind};
use crate::failpoint::Mistake;
use crate::store::{FlowId, Record, SetAside, Unreadable};
use crate::stream::{Batch, Became, LaneEnd, LaneRun};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tandem_core::two_way::{ConflictPolicy, Outcome, Rival, SideName, Version, judge};
use tandem_core::{Fault, FaultClass, IntegrationKey, MapName, Seq, WallTime, WriteOp};

/// Two changes of a record that did not know each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Of which map.
    pub map: MapName,
    /// The change on the left: its flow and Seq.
    pub left: (FlowId, Seq),
    /// The change on the right.
    pub right: (FlowId, Seq),
    /// The record, a text for each column of its integration key.
    pub key: Vec<String>,
    /// How it was to be decided.
    pub policy: ConflictPolicy,
    /// Which side wins; `None` if a person is to decide.
    pub winner: Option<SideName>,
    /// When it was found.
    pub at: WallTime,
}

/// What was decided of one change.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) lost: bool,
    pub(crate) parked: bool,
    /// Versions over which it wins, and that were set aside: they are not to be tried again.
    pub(crate) beaten: Vec<(FlowId, Seq)>,
}

impl LaneRun {
    /// What marks of this lane's transactions say. To be asked for before anything is looked up in the other journal.
    pub(crate) fn note(&self, kind: NoteKind) -> Note {
        let both = || self.members.values().filter_map(|member| member.flow.both_ways.as_ref());
        let maps: BTreeSet<u64> = both().map(|both| both.number).collect();
        // They are all of one stream, and so is what comes the other way.
        let head = both().next().map(|both| both.other.journal.with(|journal| journal.head()));
        Note { kind, head: head.unwrap_or_default(), maps: maps.into_iter().collect() }
    }

    /// Sets what the marks of the transactions that begin from now on say.
    pub(crate) fn set_note(&mut self, note: &Note) {
        if let Some(apply) = &mut self.apply {
            apply.set_note(note.encode().into());
        }
    }

    /// Takes out of a batch, from a place on, what loses against the other side, or is parked. Conflicts are noted
    /// durably before anything of the batch is committed.
    pub(crate) async fn give_way(&mut self, batch: &mut Batch, done: usize) -> Result<(), LaneEnd> {
        if self.members.values().all(|member| member.flow.both_ways.is_none()) {
            return Ok(());
        }
        if self.retry.is_some() {
            self.set_note(&self.note(NoteKind::Retry));
        }
        let now = self.context.env.wall();
        let (mut places, mut parked, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut pointless = Vec::new();
        for place in done..batch.records.len() {
            let (Some(record), Some(write)) = (batch.records.get(place), batch.writes.get(place)) else {
                break;
            };
            let Some(member) = self.members.get(&record.flow) else { continue };
            let Some(both) = member.flow.both_ways.clone() else { continue };
            let judged = self.judge(record, &write.op, &both, now)?;
            if judged.lost || judged.parked {
                places.push(place);
            }
            if judged.lost {
                self.tally.note(record.flow, record.seq, Became::Lost);
                // What its own side had made of the record before is not to come back either.
                pointless.extend(self.superseded_by(std::slice::from_ref(record), &member.flow.spec)?);
            }
            if !judged.beaten.is_empty() {
                let by = (record.flow, record.seq);
                pointless.push(Record::Superseded { errors: judged.beaten, by });
            }
            if judged.parked {
                let message = "both sides have changed this record, and the map's policy is to ask";
                let fault = Fault::new(FaultClass::Application, "decide a conflict", message)
                    .code("conflict")
                    .fix("delete the error of the side that is to lose, then retry the other one");
                parked.push(SetAside::of(record, &member.flow.spec, fault, now));
            }
            notes.extend(judged.conflicts.into_iter().map(|conflict| Record::Conflict(Box::new(conflict))));
        }
        if !notes.is_empty() {
            self.context.store.save(&notes).map_err(LaneEnd::Forgetful)?;
        }
        self.note_pointless(&pointless, batch.through).map_err(LaneEnd::Forgetful)?;
        self.set_aside(&parked).await?;
        batch.leave_out(&places);
        Ok(())
    }

    fn judge(
        &self,
        record: &crate::journal::Record,
        op: &WriteOp,
        both: &BothWays,
        now: WallTime,
    ) -> Result<Judged, Unreadable> {
        let version = both.own.version(record);
        let own_keys: Vec<IntegrationKey> = both.own.spec.keys_of(&record.change).collect();
        let (mut rivals, mut aside): (Vec<Rival>, Vec<(FlowId, Seq)>) = Default::default();
        let mut versions: BTreeMap<Seq, Version> = BTreeMap::new();
        for key in &own_keys {
            for (rival, of) in self.rivals(&version, &both.other_key(key), both)? {
                if versions.insert(rival.version.seq, rival.version).is_none() {
                    aside.extend(of.map(|flow| (flow, rival.version.seq)));
                    rivals.push(rival);
                }
            }
        }
        if rivals.is_empty() || Mistake::OverlookRivals.is_made() {
            return Ok(Judged::default());
        }
        // A change of the key has no one record to win.
        let policy = match op {
            WriteOp::Rekey { .. } => ConflictPolicy::Park,
            WriteOp::Upsert(_) | WriteOp::Patch { .. } | WriteOp::Delete(_) => both.policy,
        };
        // What is tried again was never brought over.
        let judged = Rival { version, set_aside: self.retry.is_some() };
        let verdict = judge(&judged, &rivals, policy);
        let key = own_keys.last().map(|key| key.values().iter().map(ToString::to_string).collect());
        let mine = (record.flow, record.seq);
        let conflict = |seq: &Seq| {
            let theirs = (both.other.flow, *seq);
            let (left, right) = match version.side {
                SideName::Left => (mine, theirs),
                SideName::Right => (theirs, mine),
            };
            let wins = versions.get(seq).and_then(|rival| version.beats(rival, policy));
            let winner = wins.map(|wins| if wins { version.side } else { both.other.side });
            let key = key.clone().unwrap_or_default();
            Conflict { map: both.own.spec.map.clone(), left, right, key, policy, winner, at: now }
        };
        let is_beaten = |(_, seq): &(FlowId, Seq)| {
            versions.get(seq).is_some_and(|rival| version.beats(rival, policy) == Some(true))
        };
        aside.retain(|rival| verdict.outcome == Outcome::Write && is_beaten(rival));
        Ok(Judged {
            beaten: aside,
            conflicts: verdict.conflicts.iter().map(conflict).collect(),
            lost: verdict.outcome == Outcome::Lost,
            parked: verdict.outcome == Outcome::Parked,
        })
    }

    /// The versions of the other side that a version did not know, or that were never brought over. Those that are set
    /// aside with the flow under which they are noted.
    fn rivals(
        &self,
        version: &Version,
        key: &IntegrationKey,
        both: &BothWays,
    ) -> Result<Vec<(Rival, Option<FlowId>)>, Unreadable> {
        let store = &*self.context.store;
        let mut rivals = Vec::new();
        for (version, flow) in both.other.versions(store, key, version.stamp.knew, Seq(u64::MAX))? {
            let noted = if store.any_touched() { store.error_at(flow, version.seq)? } else { None };
            let aside = noted.filter(|error| error.status.is_unresolved()).map(|error| error.flow);
            rivals.push((Rival { version, set_aside: false }, aside));
        }
        if store.any_touched() && !Mistake::DeliverSetAside.is_made() {
            for touching in store.touching(&both.other.family.flows, &[key.hash()])? {
                if touching.seq > version.stamp.knew {
                    continue;
                }
                let Some(error) = store.error_at(touching.flow, touching.seq)? else { continue };
                let kept =
                    error.kept.filter(|kept| both.other.spec.keys_of(&kept.change).any(|of| of.is_same(key)));
                let Some(kept) = kept else { continue };
                let version = both.other.version_of(touching.seq, kept.stamp, kept.committed_at);
                rivals.push((Rival { version, set_aside: true }, Some(touching.flow)));
            }
        }
        Ok(rivals)
    }

    /// Ends errors that were beaten while they were refused: a change that was journaled of the other side before they
    /// were noted may have been judged by then, and did not find them. One that is judged later does. To be asked for when
    /// they are noted; later the journal may no longer have what wins over them.
    pub(crate) fn beaten_meanwhile(&self, errors: &[SetAside]) -> Result<Vec<Record>, Unreadable> {
        let mut beaten = Vec::new();
        for error in errors.iter().filter(|error| error.status.is_unresolved()) {
            let member = self.members.get(&error.flow);
            let Some(both) = member.and_then(|member| member.flow.both_ways.as_ref()) else { continue };
            let Some(kept) = &error.kept else { continue };
            let mut keys: Vec<IntegrationKey> = both.own.spec.keys_of(&kept.change).collect();
            keys.dedup();
            // A change of the key has no one record to win.
            let [key] = keys.as_slice() else { continue };
            let version = both.own.version_of(error.seq, kept.stamp, kept.committed_at);
            let store = &*self.context.store;
            let rivals =
                both.other.versions(store, &both.other_key(key), version.stamp.knew, Seq(u64::MAX))?;
            let winner =
                rivals.into_iter().find(|(rival, _)| rival.beats(&version, both.policy) == Some(true));
            if let Some((version, flow)) = winner {
                let errors = vec![(error.flow, error.seq)];
                beaten.push(Record::Superseded { errors, by: (flow, version.seq) });
            }
        }
        Ok(beaten)
    }
}

impl BothWays {
    /// A key of the own side as the other side has it, and the other way round.
    pub(crate) fn other_key(&self, key: &IntegrationKey) -> IntegrationKey {
        key.clone()
    }

    /// The same map as its other flow sees it.
    pub(crate) fn turned(&self) -> BothWays {
        BothWays {
            number: self.number,
            policy: self.policy,
            side_effects: self.side_effects,
            own: self.other.clone(),
            other: self.own.clone(),
        }
    }
}
