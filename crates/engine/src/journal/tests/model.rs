//! The journal against a plain list, under random actions, crashes of the simulated disk among them.

use super::*;
use std::collections::BTreeMap;
use tandem_core::{BarrierId, IntegrationKey};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A change as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    seq: Seq,
    transaction: Seq,
    name: Arc<str>,
    change: Change,
    committed_at: WallTime,
    captured_at: WallTime,
}

struct Model {
    random: Random,
    disk: SimulatedDisk,
    journal: Journal,
    settings: Settings,
    relations: Vec<Arc<Relation>>,
    committed: Vec<Known>,
    open: Vec<Known>,
    open_first: Option<Seq>,
    next: Seq,
    /// Each commit and idle mark: the last Seq then, and the position. The first is the beginning.
    events: Vec<(Seq, Option<Position>)>,
    durable: usize,
    ticket: Option<Ticket>,
    flows: BTreeMap<FlowId, FlowSpec>,
    applied: BTreeMap<FlowId, Seq>,
    number: u64,
    clock: i64,
    crashes: u32,
    cut: u32,
    reclaimed: usize,
    shelf_reads: u32,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let disk = SimulatedDisk::new(seed ^ 0xd15c);
        let settings = Settings {
            segment_bytes: 1_000 + random.below(4_000),
            frame_bytes: 100 + random.below(600) as usize,
            ahead_bytes: (random.below(2) * random.below(20_000)) as usize,
        };
        let journal = open(&disk, settings).unwrap();
        let relations = vec![
            relation("a", &["id", "name"]),
            relation("b", &["id", "name"]),
            relation("b", &["id", "name", "more"]),
            relation("c", &["other", "name"]),
        ];
        let mut model = Self {
            random,
            disk,
            journal,
            settings,
            relations,
            committed: Vec::new(),
            open: Vec::new(),
            open_first: None,
            next: Seq(1),
            events: vec![(Seq::ZERO, None)],
            durable: 0,
            ticket: None,
            flows: BTreeMap::new(),
            applied: BTreeMap::new(),
            number: 0,
            clock: 0,
            crashes: 0,
            cut: 0,
            reclaimed: 0,
            shelf_reads: 0,
        };
        for spec in [spec(1, "a", "id", 0), spec(2, "b", "id", 0)] {
            model.flows.insert(spec.flow, spec);
        }
        model.set_flows();
        model
    }

    fn set_flows(&mut self) {
        self.journal.set_flows(self.flows.values().cloned().collect()).unwrap();
        for spec in self.flows.values() {
            self.applied.entry(spec.flow).or_insert(spec.span.from);
        }
    }

    fn entries(&mut self, count: u64) -> Vec<Entry> {
        let entry = |model: &mut Self| {
            if model.random.below(12) == 0 {
                return Entry::Barrier(BarrierId(model.random.below(1 << 40)));
            }
            let at = model.random.below(4) as usize;
            let relation = Arc::clone(&model.relations[at]);
            let (id, other) = (model.random.below(20) as i64, model.random.below(20) as i64);
            let text = "x".repeat(model.random.below(90) as usize);
            match model.random.below(8) {
                0..4 => insert(&relation, id, &text),
                4..6 => update(&relation, id, other, &text),
                6 => {
                    let old = Row(vec![Cell::Set(Value::Int(id))]);
                    Entry::Change(Change { relation, op: Op::Delete { old } })
                }
                _ => Entry::Change(Change { relation, op: Op::Truncate }),
            }
        };
        (0..count).map(|_| entry(self)).collect()
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(4);
        let mut fragments = Vec::new();
        self.clock += self.random.below(1_000) as i64 - 100;
        for _ in 0..count {
            let size = match self.random.below(10) {
                0 => 0,
                1 => 10 + self.random.below(60),
                _ => 1 + self.random.below(4),
            };
            let entries = self.entries(size);
            let ends = self.random.below(5) > 0;
            self.number += 1;
            let note = if self.number.is_multiple_of(6) { "7" } else { "" };
            let mark = Mark { stream: "crm→erp".into(), seq: Seq(self.number), note: note.into() };
            let mark = self.number.is_multiple_of(3).then_some(mark);
            fragments.push(Fragment { entries, commit: ends.then(|| commit(self.number)), mark });
        }
        self.journal.append(&fragments, WallTime(self.clock)).unwrap();
        fragments.into_iter().for_each(|fragment| self.note(fragment));
    }

    fn note(&mut self, fragment: Fragment) {
        if fragment.entries.is_empty() && fragment.commit.is_none() {
            return;
        }
        let transaction = *self.open_first.get_or_insert(self.next);
        for entry in fragment.entries {
            let seq = self.next;
            self.next = seq.next();
            let Entry::Change(change) = entry else { continue };
            self.open.push(Known {
                seq,
                transaction,
                name: "".into(),
                change,
                committed_at: WallTime(0),
                captured_at: WallTime(self.clock),
            });
        }
        if let Some(commit) = fragment.commit {
            for mut known in self.open.drain(..) {
                known.name = Arc::clone(&commit.transaction);
                known.committed_at = commit.committed_at;
                self.committed.push(known);
            }
            self.open_first = None;
            self.events.push((Seq(self.next.0 - 1), Some(commit.position)));
        }
    }

    fn idle(&mut self) {
        if self.open_first.is_none() {
            self.number += 1;
            self.journal.append_idle(position(self.number)).unwrap();
            self.events.push((Seq(self.next.0 - 1), Some(position(self.number))));
        }
    }

    /// Where an event with this position is.
    fn event(&self, position: Option<&Position>) -> usize {
        let found = self.events.iter().rposition(|(_, known)| known.as_ref() == position);
        found.expect("each position that the journal gives was appended")
    }

    fn sync(&mut self) {
        let durable = match self.ticket.take() {
            Some(ticket) => self.journal.synced(ticket.sync()).unwrap(),
            None => self.journal.sync().unwrap(),
        };
        let at = self.event(durable.position.as_ref());
        assert!(at >= self.durable, "what is durable never goes back");
        assert_eq!(self.events[at].0, durable.seq);
        self.durable = at;
    }

    /// Rolling makes durable without a ticket: the journal may know more than the last sync told.
    fn look_at_durable(&mut self) {
        let at = self.event(self.journal.position().as_ref());
        assert!(at >= self.durable);
        assert_eq!(self.events[at].0, self.journal.durable());
        self.durable = at;
    }

    fn reopen(&mut self, crash: bool) {
        self.ticket = None;
        if crash {
            self.disk.crash();
        }
        self.crashes += 1;
        let head = self.events.last().expect("it has a beginning").0;
        assert_eq!(self.journal.head(), head);
        self.journal = open(&self.disk, self.settings).unwrap();
        let at = self.event(self.journal.position().as_ref());
        assert!(at >= self.durable, "event {at} survived, {} was acknowledged", self.durable);
        assert!(crash || at + 1 == self.events.len(), "the death of the process loses nothing");
        self.cut += u32::from(at + 1 < self.events.len());
        self.events.truncate(at + 1);
        let head = self.events[at].0;
        assert_eq!((self.journal.head(), self.journal.durable()), (head, head));
        self.durable = at;
        self.committed.retain(|known| known.seq <= head);
        (self.open, self.open_first, self.next) = (Vec::new(), None, head.next());
        self.applied.values_mut().for_each(|applied| *applied = (*applied).min(head));
        self.set_flows();
    }

    fn wanted(&self, flow: FlowId, after: Seq, through: Seq) -> Vec<&Known> {
        let spec = &self.flows[&flow];
        let mine = |known: &&Known| {
            let here = spec.span.has(known.seq) && known.seq > after && known.seq <= through;
            known.change.relation.table == spec.table && here
        };
        self.committed.iter().filter(mine).collect()
    }

    fn check_record(record: &Record, known: &Known) {
        assert_eq!(record.seq, known.seq);
        assert_eq!(record.transaction, known.transaction, "of {}", known.seq);
        assert_eq!(record.transaction_name, known.name);
        assert_eq!(record.change, known.change);
        assert_eq!((record.committed_at, record.captured_at), (known.committed_at, known.captured_at));
    }

    fn read(&mut self) {
        let mut members = Vec::new();
        let ended = self.flows.values().filter_map(|spec| Some((spec.flow, spec.span.until?)));
        let ended: Vec<(FlowId, Seq)> = ended.collect();
        let alone = match self.random.below(3) {
            0 if !ended.is_empty() => Some(ended[self.random.below(ended.len() as u64) as usize]),
            _ => None,
        };
        for (flow, applied) in self.applied.clone() {
            let goes_on = self.flows.get(&flow).is_some_and(|spec| spec.span.until.is_none());
            let wanted = alone.map_or(goes_on, |(only, _)| only == flow);
            if wanted && (alone.is_some() || self.random.below(3) > 0) {
                members.push((flow, Seq(applied.0 + self.random.below(3) * self.random.below(9))));
            }
        }
        let durable = self.journal.durable();
        let Some(lowest) = members.iter().map(|(_, from)| *from).min() else { return };
        let from = if self.random.below(2) == 0 { lowest } else { Seq(lowest.0 + self.random.below(5)) };
        self.shelf_reads += u32::from(from.next() < self.journal.oldest());
        let limit = ReadLimit {
            records: 1 + self.random.below(30) as usize,
            bytes: 1 + self.random.below(2_000),
            through: alone.map_or(Seq(u64::MAX), |(_, until)| until),
        };
        let mut expected: Vec<(Seq, FlowId, &Known)> = Vec::new();
        for (flow, own) in &members {
            let own = (*own).max(from);
            expected.extend(self.wanted(*flow, own, durable).into_iter().map(|k| (k.seq, *flow, k)));
        }
        expected.sort_by_key(|(seq, flow, _)| (*seq, *flow));
        let mut expected = expected.into_iter();
        let mut reader = self.journal.reader(members, from);
        let mut last = from;
        loop {
            let piece = reader.next(limit).unwrap();
            assert!(piece.through >= last, "a reader never goes back");
            last = piece.through;
            for record in &piece.records {
                let (_, flow, known) = expected.next().expect("no record too many");
                assert_eq!(record.flow, flow);
                Self::check_record(record, known);
                assert!(record.seq <= piece.through);
            }
            match &piece.end {
                PieceEnd::Head => {
                    assert!(piece.records.is_empty());
                    break;
                }
                PieceEnd::Open => {
                    let of = |record: &Record| record.transaction;
                    assert!(!piece.records.is_empty());
                    let one = of(&piece.records[0]);
                    let others: Vec<_> =
                        piece.records.iter().map(|record| (record.seq, of(record), record.flow)).collect();
                    assert!(piece.records.iter().all(|record| of(record) == one), "{others:?} {limit:?}");
                }
                PieceEnd::Whole { position } => {
                    let event = (piece.through, Some(position.clone()));
                    let gone =
                        piece.through.next() == self.journal.oldest() || piece.through == limit.through;
                    let passed = position.0.is_empty() && gone;
                    assert!(passed || self.events.contains(&event), "a boundary with its position");
                    let mut before = piece.records.iter().map(|record| u64::from(record.bytes));
                    let bytes: u64 = before.by_ref().sum();
                    let one = piece.records.first().map(|record| record.transaction);
                    let single = piece.records.iter().all(|record| Some(record.transaction) == one);
                    let fits = piece.records.len() <= limit.records && bytes <= limit.bytes;
                    let all: Vec<_> =
                        piece.records.iter().map(|r| (r.seq, r.transaction, r.flow, r.bytes)).collect();
                    assert!(single || fits, "{all:?} {limit:?}");
                }
            }
        }
        assert!(expected.next().is_none(), "no record too few");
        assert!(last >= durable.min(self.journal.durable()).min(limit.through));
    }

    fn look(&mut self) {
        let flows: Vec<FlowId> = self.flows.keys().copied().collect();
        let flow = flows[self.random.below(flows.len() as u64) as usize];
        let head = self.journal.head();
        let applied = self.applied[&flow];
        let after = Seq(applied.0 + self.random.below(head.0.saturating_sub(applied.0) + 1));
        let limit = 1 + self.random.below(20) as usize;
        let (place, id) = (self.random.below(10), self.random.below(20) as i64);
        let wanted = self.wanted(flow, after, head);
        let counts = self.journal.queued(flow, after).unwrap();
        assert_eq!(counts.records, wanted.len() as u64, "records of {flow:?} beyond {after}");
        assert_eq!(counts.oldest_at, wanted.first().map(|known| known.captured_at));
        let durable = self.journal.durable();
        let scanned = self.journal.scan(flow, after, up_to(limit)).unwrap();
        let expected = wanted.iter().filter(|known| known.seq <= durable).take(limit);
        assert_eq!(scanned.len(), expected.clone().count());
        scanned.iter().zip(expected).for_each(|(record, known)| Self::check_record(record, known));
        let all = self.journal.scan(flow, after, up_to(usize::MAX)).unwrap();
        if head == durable {
            assert_eq!(counts.bytes, all.iter().map(|record| u64::from(record.bytes)).sum::<u64>());
        }
        let one = Seq(after.0 + 1 + place);
        let read = self.journal.read(flow, one).unwrap();
        let known = self.wanted(flow, after, durable).into_iter().find(|known| known.seq == one);
        assert_eq!(read.is_some(), known.is_some());
        let key = IntegrationKey::from_values(vec![Value::Int(id)]);
        let has = |row: Option<&Row>| row.is_some_and(|row| *row.cell(0) == Cell::Set(Value::Int(id)));
        let wanted = self.wanted(flow, after, head);
        let hits = wanted.iter().filter(|known| {
            known.change.relation.column("id") == Some(0)
                && (has(known.change.op.old_row()) || has(known.change.op.new_row()))
        });
        let hits: Vec<Seq> = hits.map(|known| known.seq).take(limit).collect();
        assert_eq!(self.journal.find(flow, key.hash(), after, limit).unwrap(), hits);
    }

    fn apply(&mut self) {
        let durable = self.journal.durable();
        for applied in self.applied.values_mut() {
            if self.random.below(3) == 0 {
                applied.0 += self.random.below(durable.0.saturating_sub(applied.0) + 1);
            }
        }
    }

    fn shelve(&mut self) {
        let flows: Vec<FlowId> = self.flows.keys().copied().collect();
        let flow = flows[self.random.below(flows.len() as u64) as usize];
        let budget = self.random.below(9_000);
        let shelved = self.journal.shelve(flow, self.applied[&flow], budget).unwrap();
        assert!(shelved.through <= self.journal.durable().max(self.applied[&flow]));
    }

    fn reclaim(&mut self) {
        let needs: Vec<_> = self.applied.iter().map(|(flow, seq)| (*flow, *seq)).collect();
        let keep = if self.random.below(3) == 0 { 10_000 } else { 0 };
        self.reclaimed += self.journal.reclaim(&needs, keep).unwrap().segments;
    }

    /// A flow ends where everything is durable, and another goes on from there: a queue that is skipped.
    fn split_flow(&mut self) {
        let open: Vec<FlowId> =
            self.flows.values().filter(|spec| spec.span.until.is_none()).map(|spec| spec.flow).collect();
        let at = self.journal.durable();
        let flow = open[self.random.below(open.len() as u64) as usize];
        let next = FlowId(self.flows.keys().last().map_or(0, |flow| flow.0).max(9) + 1);
        let Some(old) = self.flows.get_mut(&flow) else { return };
        let new = FlowSpec { flow: next, span: Span::beyond(at.max(old.span.from)), ..old.clone() };
        old.span.until = Some(at);
        self.flows.insert(next, new);
        self.set_flows();
    }

    fn change_flows(&mut self) {
        if self.random.below(3) == 0 {
            return self.split_flow();
        }
        let flow = FlowId(3 + self.random.below(3) as u32);
        if self.flows.remove(&flow).is_some() {
            self.applied.remove(&flow);
            if self.random.below(2) == 0 {
                self.journal.drop_flow(flow).unwrap();
            } else {
                self.set_flows();
                self.journal.drop_flow(flow).unwrap();
            }
        } else {
            let name = ["a", "b", "c"][self.random.below(3) as usize];
            let from = self.journal.head();
            let spec = spec(flow.0, name, ["id", "name"][usize::from(flow.0 == 99)], from.0);
            self.flows.insert(flow, spec);
            self.set_flows();
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.append(),
            35..40 => self.idle(),
            40..55 => self.sync(),
            55..60 => self.ticket = Some(self.journal.sync_ticket()),
            60..70 => self.read(),
            70..80 => self.look(),
            80..84 => self.apply(),
            84..88 => self.shelve(),
            88..92 => self.reclaim(),
            92..95 => self.change_flows(),
            95..98 => self.reopen(true),
            _ => self.reopen(false),
        }
        self.look_at_durable();
    }
}

#[test]
fn it_holds_what_a_plain_list_holds_through_crashes_shelves_and_reclaim() {
    let (mut crashes, mut cut, mut reclaimed, mut shelf_reads) = (0, 0, 0, 0);
    let seeds = std::env::var("JOURNAL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            (0..120).for_each(|_| model.step());
            model.sync();
            model.read();
            (model.crashes, model.cut, model.reclaimed, model.shelf_reads)
        });
        let run = run.unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        crashes += run.0;
        cut += run.1;
        reclaimed += run.2;
        shelf_reads += run.3;
    }
    assert!(crashes > 0 && cut > 0 && reclaimed > 0 && shelf_reads > 0, "the schedules reach all corners");
}

fn up_to(records: usize) -> ReadLimit {
    ReadLimit { records, bytes: u64::MAX, through: Seq(u64::MAX) }
}
