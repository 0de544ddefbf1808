//! What stands behind an error: a change of a record that has an older change which was not applied.
//!
//! Applied as it is, the newer change would be undone by the older one when that is tried again. So a change that
//! says all of its record, or takes it away, makes the older one *superseded*: it will not be tried again. One that
//! says only a part cannot do that, and *waits* behind it as an error of its own. Neither can a change do it whose
//! older one touches another record as well, by changing the key.
//!
//! A record that refers to another map's record waits, too, while that one's delete or change of key is not applied:
//! what it means is the record that has the key after that, and a row that points at the old one keeps it from going.
//!
//! That an error is superseded is saved before the change is committed, since the other way round a crash in between
//! leaves an old change free to overwrite a newer one. Should the change not be committed after all, the error stands
//! as before ([`Record::NotSuperseded`]).

use super::batch::{Batch, KeptRange, Member};
use super::lane::{LaneEnd, LaneRun};
use super::outcome::Became;
use super::plan::FlowPlan;
use crate::failpoint::Mistake;
use crate::journal::Record as JournalRecord;
use crate::store::{ErrorStatus, FlowId, KeptChange, Record, SetAside, StoreError, Unreadable};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tandem_core::map::FlowSpec;
use tandem_core::{Fault, FaultClass, IntegrationKey, KeyHash, MapName, Seq, WallTime, Write, WriteOp};

/// So many older changes of one record are looked up at once in a preserved queue.
const LOOKED_UP_AT_ONCE: usize = 1_000;

/// An older change that is not applied.
#[derive(Debug, Clone)]
struct Older {
    flow: FlowId,
    seq: Seq,
    /// Its record.
    key: IntegrationKey,
    /// It touches another record, too.
    changes_key: bool,
    /// It takes its record away, or gives it another key: whoever refers to that key later means another record.
    gives_up: bool,
    /// It has an entry in the list of errors; else it is in a preserved queue.
    noted: Option<ErrorStatus>,
    /// It only waits for another map.
    awaits: bool,
    transaction_name: String,
}

/// A record of a map, by the hash of its key. Maps have keys that are alike, and nothing to do with each other.
type RecordOf = (MapName, KeyHash);

impl From<Unreadable> for LaneEnd {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Journal(error) => LaneEnd::Unreadable(error),
            Unreadable::Store(error) => LaneEnd::Forgetful(error),
        }
    }
}

impl LaneRun {
    /// Takes out of a batch, from a place on, what has to wait behind an error, and notes what becomes pointless.
    pub(super) async fn stand_behind(&mut self, batch: &mut Batch, done: usize) -> Result<(), LaneEnd> {
        if !self.trial.left_out.is_empty() {
            let refused = |record: &JournalRecord| self.trial.left_out.contains(&(record.flow, record.seq));
            let places = batch.records.iter().enumerate().filter(|(_, record)| refused(record));
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            for record in places.iter().filter_map(|place| batch.records.get(*place)) {
                self.tally.note(record.flow, record.seq, Became::SetAside);
            }
            batch.leave_out(&places);
        }
        if Mistake::OvertakeErrors.is_made() {
            return Ok(());
        }
        let some_kept = self.members.values().any(|member| !member.kept.is_empty());
        if !some_kept && !self.context.store.any_touched() {
            return Ok(());
        }
        let older = self.older(batch.records.get(done..).unwrap_or_default())?;
        if older.is_empty() {
            return Ok(());
        }
        let now = self.context.env.wall();
        let judged = judge(batch, done, older, now, |record| {
            let member = self.members.get(&record.flow)?;
            Some((&member.flow.spec, member.refers_to(&record.change).map(of_map).collect()))
        });
        // What waits may itself be superseded by what comes behind it in the same batch.
        self.set_aside(&judged.waiting).await?;
        if !judged.superseded.is_empty() {
            self.trial.noted = self.trial.noted.max(Some(batch.through));
            self.context.store.save(&judged.superseded).map_err(LaneEnd::Forgetful)?;
        }
        batch.leave_out(&judged.places);
        Ok(())
    }

    /// What is to be saved of the errors that rows make pointless which were read and written. Also of one that changes a
    /// key: the record under its other key is read and written as well, sooner or later.
    pub(crate) fn superseded_by(
        &self,
        rows: &[JournalRecord],
        spec: &FlowSpec,
    ) -> Result<Vec<Record>, Unreadable> {
        let (older, now) = (self.older(rows)?, self.context.env.wall());
        let mut pointless = Vec::new();
        for row in rows {
            for key in spec.keys_of(&row.change) {
                let same_hash = older.get(&(spec.map.clone(), key.hash())).into_iter().flatten();
                let before = same_hash.filter(|older| older.key == key && older.seq < row.seq);
                pointless.extend(before.map(|older| superseded(older, row, spec, now)));
            }
        }
        Ok(pointless)
    }

    /// Saves that errors are pointless, before what makes them so is committed; `through` ends its batch.
    pub(crate) fn note_pointless(&mut self, pointless: &[Record], through: Seq) -> Result<(), StoreError> {
        if pointless.is_empty() {
            return Ok(());
        }
        self.trial.noted = self.trial.noted.max(Some(through));
        self.context.store.save(pointless).map(drop)
    }

    /// The older changes of the records that these are about, and of those that they refer to, by the hashes of their
    /// keys.
    fn older(&self, records: &[JournalRecord]) -> Result<BTreeMap<RecordOf, Vec<Older>>, Unreadable> {
        let mut asked: BTreeMap<FlowId, Asked<'_>> = BTreeMap::new();
        for record in records {
            let Some(member) = self.members.get(&record.flow) else { continue };
            // A retry has several flows of one map, and itself a number of its own.
            let own = member.flow.spec.keys_of(&record.change).map(|key| (record.flow, &*member.flow, key));
            let others = member.refers_to(&record.change).map(|(flow, key)| (flow.flow, flow, key));
            for (number, flow, key) in own.chain(others) {
                asked.entry(number).or_insert_with(|| self.asked(number, flow)).add(key);
            }
        }
        let mut found: BTreeMap<RecordOf, Vec<Older>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for Asked { flow, kept, keys } in asked.into_values() {
            let spec = &flow.spec;
            let is_own = |other: &FlowId| self.members.contains_key(other);
            let hashes: Vec<KeyHash> = keys.keys().copied().collect();
            let is_asked = |hash: KeyHash, key: &IntegrationKey| {
                keys.get(&hash).is_some_and(|asked| asked.contains(key))
            };
            let mut add = |hash: KeyHash, older: Vec<Older>| {
                let asked = older.into_iter().filter(|older| is_asked(hash, &older.key));
                let new = asked.filter(|older| seen.insert((hash, older.flow, older.seq)));
                found.entry((spec.map.clone(), hash)).or_default().extend(new);
            };
            for touching in self.context.store.touching(&flow.family.flows, &hashes)? {
                // What is tried again along with this comes before it.
                if self.retry.is_some()
                    && touching.status == ErrorStatus::Retrying
                    && flow.family.flows.iter().any(is_own)
                {
                    continue;
                }
                let Some(error) = self.context.store.error_at(touching.flow, touching.seq)? else { continue };
                let awaits = error.is_awaiting();
                if let SetAside { kept: Some(kept), transaction_name, .. } = error {
                    let of = (touching.flow, touching.seq);
                    let noted = Some((touching.status, awaits));
                    add(touching.key, older(spec, of, &kept.change, noted, &transaction_name));
                }
            }
            for range in kept {
                let records = self.context.journal.with(|journal| journal.records().clone());
                for hash in &hashes {
                    let mut after = range.beyond;
                    loop {
                        let seqs = records.find(range.flow, *hash, after, LOOKED_UP_AT_ONCE)?;
                        for seq in seqs.iter().filter(|seq| **seq <= range.until) {
                            // One that has an entry is that entry.
                            if self.context.store.error_at(range.flow, *seq)?.is_none()
                                && let Some(kept) = records.read(range.flow, *seq)?
                            {
                                let of = (range.flow, *seq);
                                add(*hash, older(spec, of, &kept.change, None, &kept.transaction_name));
                            }
                        }
                        match seqs.last() {
                            Some(last) if seqs.len() >= LOOKED_UP_AT_ONCE => after = *last,
                            _ => break,
                        }
                    }
                }
            }
        }
        found.retain(|_, older| !older.is_empty());
        Ok(found)
    }

    fn asked<'a>(&'a self, number: FlowId, flow: &'a FlowPlan) -> Asked<'a> {
        let own = self.members.get(&number).map(|member| &*member.kept);
        let pointers = || self.members.values().flat_map(|member| &member.pointers);
        let others = || Some(&*pointers().find(|pointer| pointer.flow.flow == number)?.kept);
        Asked { flow, kept: own.or_else(others).unwrap_or_default(), keys: BTreeMap::new() }
    }

    /// Whether a write of a part is about a record of which an older change was refused in the same part. What becomes
    /// of it is to be judged anew: it must not be committed as it is.
    pub(super) fn is_any_behind(
        &self,
        batch: &Batch,
        part: std::ops::Range<usize>,
        refused: &BTreeSet<usize>,
    ) -> bool {
        let at = |place: usize| {
            let record = batch.records.get(place)?;
            Some((record, self.members.get(&record.flow)?))
        };
        let own = |(record, member): (&JournalRecord, &Member)| -> HashSet<(MapName, IntegrationKey)> {
            let spec = &member.flow.spec;
            spec.keys_of(&record.change).map(|key| (spec.map.clone(), key)).collect()
        };
        let refused_keys: Vec<(usize, HashSet<_>)> =
            refused.iter().filter_map(|place| Some((*place, own(at(*place)?)))).collect();
        let mut others =
            part.filter(|place| !refused.contains(place)).filter_map(|place| Some((place, at(place)?)));
        others.any(|(place, (record, member))| {
            let mut keys = own((record, member));
            keys.extend(member.refers_to(&record.change).map(of_map));
            refused_keys.iter().any(|(before, touched)| *before < place && !keys.is_disjoint(touched))
        })
    }
}

/// Records of a flow whose older changes are asked for.
struct Asked<'a> {
    flow: &'a FlowPlan,
    /// Preserved queues of its map.
    kept: &'a [KeptRange],
    keys: BTreeMap<KeyHash, Vec<IntegrationKey>>,
}

impl Asked<'_> {
    fn add(&mut self, key: IntegrationKey) {
        let same = self.keys.entry(key.hash()).or_default();
        if !same.contains(&key) {
            same.push(key);
        }
    }
}

/// A record of a flow, as one of its map.
fn of_map((flow, key): (&FlowPlan, IntegrationKey)) -> (MapName, IntegrationKey) {
    (flow.spec.map.clone(), key)
}

/// An older change as each of the records sees it that it touches.
fn older(
    spec: &FlowSpec,
    (flow, seq): (FlowId, Seq),
    change: &tandem_core::Change,
    noted: Option<(ErrorStatus, bool)>,
    transaction_name: &str,
) -> Vec<Older> {
    let keys: HashSet<IntegrationKey> = spec.keys_of(change).collect();
    let changes_key = keys.len() > 1;
    let gives_up = changes_key || change.op.new_row().is_none();
    let (noted, awaits) = noted.unzip();
    let one = |key| Older {
        flow,
        seq,
        key,
        changes_key,
        gives_up,
        noted,
        awaits: awaits.unwrap_or_default(),
        transaction_name: transaction_name.to_owned(),
    };
    keys.into_iter().map(one).collect()
}

/// What becomes of the records of a batch that are behind errors.
struct Judged {
    superseded: Vec<Record>,
    waiting: Vec<SetAside>,
    /// Where those stand that wait, rising.
    places: Vec<usize>,
}

/// `of`: the flow of a record, and the records that it refers to.
fn judge<'a>(
    batch: &Batch,
    done: usize,
    mut older: BTreeMap<RecordOf, Vec<Older>>,
    now: WallTime,
    of: impl Fn(&JournalRecord) -> Option<(&'a FlowSpec, Vec<(MapName, IntegrationKey)>)>,
) -> Judged {
    let mut judged = Judged { superseded: Vec::new(), waiting: Vec::new(), places: Vec::new() };
    for (place, (write, record)) in batch.writes.iter().zip(&batch.records).enumerate().skip(done) {
        let Some((spec, referred)) = of(record) else { continue };
        let keys: Vec<IntegrationKey> = spec.keys_of(&record.change).collect();
        let before: Vec<Older> = keys
            .iter()
            .flat_map(|key| {
                let same_hash = older.get(&(spec.map.clone(), key.hash())).into_iter().flatten();
                same_hash.filter(move |older| older.key == *key)
            })
            .filter(|older| older.seq < record.seq)
            .cloned()
            .collect();
        let meant = referred.iter().find_map(|(map, key)| {
            let same_hash = older.get(&(map.clone(), key.hash())).into_iter().flatten();
            let mut before = same_hash.filter(|older| older.key == *key && older.seq < record.seq);
            before.find(|older| older.gives_up).map(|older| (map, older))
        });
        let message = match (meant, before.iter().map(|older| older.seq).min()) {
            (None, None) => continue,
            (Some((map, Older { seq, .. })), _) => format!(
                "an older change of the record of {map} that it refers to (Seq {seq}) is not applied and comes first"
            ),
            (None, Some(seq)) => {
                format!("an older change of this record (Seq {seq}) was set aside and comes first")
            }
        };
        if meant.is_none() && is_complete(write) && before.iter().all(|older| !older.changes_key) {
            judged.superseded.extend(before.iter().map(|older| superseded(older, record, spec, now)));
            for key in &keys {
                if let Some(stands) = older.get_mut(&(spec.map.clone(), key.hash())) {
                    stands.retain(|older| older.key != *key || older.seq >= record.seq);
                }
            }
            continue;
        }
        let fault = Fault::new(FaultClass::Application, "apply in order", message)
            .code("waiting")
            .fix("retry or delete the older error; this one is tried again with it");
        let waits = SetAside { status: ErrorStatus::Waiting, ..SetAside::of(record, spec, fault, now) };
        // What stands behind a change that only waits for another map goes on by itself with it.
        let awaits = meant.is_some_and(|(_, older)| older.awaits) || before.iter().any(|older| older.awaits);
        let waits = if awaits { waits.awaiting() } else { waits };
        let noted = Some((waits.status, awaits));
        let itself =
            self::older(spec, (record.flow, record.seq), &record.change, noted, &record.transaction_name);
        let name = |one: &Older| (spec.map.clone(), one.key.hash());
        itself.into_iter().for_each(|one| older.entry(name(&one)).or_default().push(one));
        judged.waiting.push(waits);
        judged.places.push(place);
    }
    judged
}

/// What is to be saved of an error that a change makes pointless.
fn superseded(older: &Older, by: &JournalRecord, spec: &FlowSpec, now: WallTime) -> Record {
    let by = (by.flow, by.seq);
    if older.noted.is_some() {
        return Record::Superseded { errors: vec![(older.flow, older.seq)], by };
    }
    let message = "a later change of the same record was applied";
    Record::Error(SetAside {
        id: 0,
        flow: older.flow,
        map: spec.map.clone(),
        seq: older.seq,
        transaction_name: older.transaction_name.clone(),
        kept: None::<KeptChange>,
        fault: Fault::new(FaultClass::Application, "skip to live", message).code("superseded"),
        attempts: 0,
        first_at: now,
        last_at: now,
        status: ErrorStatus::Superseded,
        by: Some(by),
    })
}

/// Whether a write makes its record what it is to be, whatever it was before.
fn is_complete(write: &Write) -> bool {
    match write.op {
        WriteOp::Upsert(_) | WriteOp::Delete(_) => true,
        WriteOp::Patch { .. } | WriteOp::Rekey { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PieceEnd;
    use std::sync::Arc;
    use tandem_core::map::{FlowColumn, OnLeave, Projected, Projection};
    use tandem_core::{Cell, Change, Op, Position, Relation, RelationColumn, Row, TableName, Value};

    const LIVE: FlowId = FlowId(9);
    const KEPT: FlowId = FlowId(4);

    fn spec(map: &str) -> FlowSpec {
        let table = TableName::parse(map).unwrap();
        FlowSpec {
            map: map.into(),
            source: table.clone(),
            source_key: vec!["id".into()],
            destination: table,
            columns: ["id", "v"].map(|name| FlowColumn::new(name, name)).to_vec(),
            key_len: 1,
            rank: 0,
            filter: None,
            on_leave: OnLeave::Keep,
            shape: Default::default(),
            references: Vec::new(),
        }
    }

    /// What happens to a record of a map; `note` for an update that does not name the value.
    fn change(map: &str, verb: &str, key: i64) -> Change {
        let column = |name: &str| RelationColumn { name: name.into(), type_name: "t".into(), identity: true };
        let columns = ["id", "v"].map(column).to_vec();
        let relation = Arc::new(Relation { table: TableName::parse(map).unwrap(), columns });
        let row = |key: i64| Row(vec![Value::Int(key).into(), Value::Int(1).into()]);
        let op = match verb {
            "insert" => Op::Insert { new: row(key) },
            "update" => Op::Update { old: None, new: row(key) },
            "note" => Op::Update { old: None, new: Row(vec![Value::Int(key).into(), Cell::Unchanged]) },
            "rekey" => Op::Update { old: Some(row(key)), new: row(key + 100) },
            _ => Op::Delete { old: row(key) },
        };
        Change { relation, op }
    }

    fn record(seq: u64, flow: FlowId, change: Change) -> JournalRecord {
        JournalRecord {
            seq: Seq(seq),
            transaction: Seq(seq),
            transaction_name: "".into(),
            flow,
            change,
            bytes: 1,
            committed_at: WallTime(0),
            captured_at: WallTime(0),
            mark: None,
            stamp: None,
        }
    }

    /// Changes of map `a`, from Seq 100 on.
    fn batch(changes: &[(&str, i64)]) -> Batch {
        let spec = spec("a");
        let target = Projection::target(&spec);
        let records: Vec<JournalRecord> = (100..)
            .zip(changes)
            .map(|(seq, (verb, key))| record(seq, LIVE, change("a", verb, *key)))
            .collect();
        let bind = |record: &JournalRecord| {
            let bound = Projection::bind(&spec, target.clone(), &record.change.relation).unwrap();
            match bound.project(&record.change, record.seq, record.transaction).unwrap() {
                Projected::Write(write) => write,
                Projected::Filtered => panic!("there is no filter"),
            }
        };
        Batch {
            writes: records.iter().map(bind).collect(),
            records,
            refused: Vec::new(),
            start: Position::default(),
            through: Seq(200),
            end: PieceEnd::Head,
            changes: Vec::new(),
            unfit: None,
        }
    }

    /// What becomes of changes of map `a`, from Seq 100 on, behind errors of it and of map `b` in a preserved queue.
    fn judged(errors: &[(&str, &str, i64)], changes: &[(&str, i64)]) -> (Vec<u64>, Vec<usize>) {
        let mut stands: BTreeMap<RecordOf, Vec<Older>> = BTreeMap::new();
        for (seq, (map, verb, key)) in (1..).zip(errors) {
            let spec = spec(map);
            for one in older(&spec, (KEPT, Seq(seq)), &change(map, verb, *key), None, "") {
                stands.entry((spec.map.clone(), one.key.hash())).or_default().push(one);
            }
        }
        let (spec, batch) = (spec("a"), batch(changes));
        let judged = judge(&batch, 0, stands, WallTime(0), |_| Some((&spec, Vec::new())));
        let seqs = judged.superseded.iter().flat_map(|record| match record {
            Record::Error(error) => vec![error.seq.0],
            Record::Superseded { errors, .. } => errors.iter().map(|(_, seq)| seq.0).collect(),
            other => panic!("{other:?}"),
        });
        (seqs.collect(), judged.places)
    }

    #[test]
    fn what_says_all_of_a_record_supersedes_and_what_says_a_part_waits() {
        let kept = [("a", "insert", 1), ("a", "note", 1), ("a", "insert", 2)];
        assert_eq!(judged(&kept, &[("update", 1)]), (vec![1, 2], vec![]));
        assert_eq!(judged(&kept, &[("delete", 1), ("insert", 1)]), (vec![1, 2], vec![]));
        assert_eq!(judged(&kept, &[("note", 1), ("note", 3)]), (vec![], vec![0]));
        assert_eq!(judged(&kept, &[("rekey", 2)]), (vec![], vec![0]));
    }

    #[test]
    fn what_waits_is_superseded_by_what_comes_behind_it_in_the_same_batch() {
        let kept = [("a", "insert", 1)];
        assert_eq!(judged(&kept, &[("note", 1), ("update", 1), ("note", 1)]), (vec![1, 100], vec![0]));
    }

    #[test]
    fn an_older_change_of_the_key_is_superseded_by_nothing() {
        let kept = [("a", "rekey", 1)];
        // The record that was 1 is 101: a change of either waits, for the other would stay as it is.
        assert_eq!(judged(&kept, &[("update", 101), ("delete", 1)]), (vec![], vec![0, 1]));
        assert_eq!(judged(&kept, &[("update", 5)]), (vec![], vec![]));
    }

    #[test]
    fn what_stands_behind_a_change_that_waits_for_a_map_waits_for_it_too() {
        let spec = spec("a");
        let stands = |awaits| {
            let older = older(
                &spec,
                (KEPT, Seq(1)),
                &change("a", "rekey", 1),
                Some((ErrorStatus::Waiting, awaits)),
                "",
            );
            older.into_iter().map(|one| ((spec.map.clone(), one.key.hash()), vec![one])).collect()
        };
        // The second stands behind the first, which is the newer name of that record.
        let batch = || batch(&[("note", 101), ("note", 101)]);
        for awaits in [true, false] {
            let judged = judge(&batch(), 0, stands(awaits), WallTime(0), |_| Some((&spec, Vec::new())));
            assert_eq!(judged.places, [0, 1]);
            assert!(judged.waiting.iter().all(|error| error.status == ErrorStatus::Waiting));
            assert!(judged.waiting.iter().all(|error| error.is_awaiting() == awaits));
        }
    }

    #[test]
    fn what_refers_to_a_record_that_is_still_to_be_deleted_waits_until_that_is_made_anew() {
        let (parents, spec) = (spec("b"), spec("a"));
        let referred = |key| vec![("b".into(), IntegrationKey::from_values(vec![Value::Int(key)]))];
        let judged = |awaits: bool, key: i64| {
            let noted = Some((ErrorStatus::Waiting, awaits));
            let stands = older(&parents, (KEPT, Seq(1)), &change("b", "delete", 1), noted, "");
            let stands = stands.into_iter().map(|one| (("b".into(), one.key.hash()), vec![one])).collect();
            let judged =
                judge(&batch(&[("insert", 7)]), 0, stands, WallTime(0), |_| Some((&spec, referred(key))));
            (judged.places, judged.waiting.iter().all(SetAside::is_awaiting))
        };
        assert_eq!(judged(true, 1), (vec![0], true));
        assert_eq!(judged(false, 1), (vec![0], false), "it is an error as the other one is");
        assert_eq!(judged(true, 2).0, Vec::<usize>::new(), "another record");
    }

    #[test]
    fn maps_whose_keys_are_alike_have_nothing_to_do_with_each_other() {
        assert_eq!(judged(&[("b", "insert", 1)], &[("update", 1), ("note", 1)]), (vec![], vec![]));
    }
}
