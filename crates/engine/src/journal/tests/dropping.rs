//! What was dropped of a flow is there for nobody any more, wherever it lies: in the log, on a shelf, or in neither.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tandem_core::IntegrationKey;

const SMALL: Settings = Settings { segment_bytes: 500, frame_bytes: 120, ahead_bytes: 50 };
const A: FlowId = FlowId(1);
const B: FlowId = FlowId(2);

fn journal(disk: &SimulatedDisk) -> Journal {
    let mut journal = open(disk, SMALL).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0), spec(2, "b", "id", 0)]).unwrap();
    journal
}

/// Transactions of one to three records of each table; the id is the transaction's number modulo 7.
fn fill(journal: &mut Journal, numbers: std::ops::RangeInclusive<u64>) {
    let (a, b) = (relation("a", &["id", "name"]), relation("b", &["id", "name"]));
    for number in numbers {
        let id = (number % 7) as i64;
        let both = [insert(&a, id, "a name of some length"), insert(&b, id, "another")];
        let entries = (0..=number % 3).flat_map(|_| both.clone()).collect();
        journal.append(&[transaction(number, entries)], WallTime(number as i64)).unwrap();
    }
    journal.sync().unwrap();
}

fn dig(journal: &mut Journal, flow: FlowId, holes: &mut Holes, from: Seq, until: Seq) {
    assert!(holes.dig(Hole { from, until }));
    journal.set_holes(flow, holes.clone());
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq.0).collect()
}

/// All ways to look at a flow say the same: what `expected` has beyond a Seq, and nothing else.
fn check(journal: &Journal, flow: FlowId, after: Seq, expected: &BTreeMap<Seq, Record>) {
    let left: Vec<&Record> = expected.values().filter(|record| record.seq > after).collect();
    let bytes: u64 = left.iter().map(|record| u64::from(record.bytes)).sum();
    let oldest_at = left.first().map(|record| record.captured_at);
    let counts = Counts { records: left.len() as u64, bytes, oldest_at };
    assert_eq!(journal.queued(flow, after).unwrap(), counts, "beyond {after}");
    let wanted: Vec<u64> = left.iter().map(|record| record.seq.0).collect();
    assert_eq!(seqs(&journal.scan(flow, after, ALL).unwrap()), wanted);
    let mut reader = journal.reader(vec![(flow, after)], after);
    let few = ReadLimit { records: 3, bytes: u64::MAX, through: Seq(u64::MAX) };
    assert_eq!(seqs(&read_all(&mut reader, few).unwrap()), wanted);
    assert_eq!(reader.through(), journal.durable(), "a reader gets over the holes");
    for id in 0..7i64 {
        let key = IntegrationKey::from_values(vec![Value::Int(id)]).hash();
        let mut found = Vec::new();
        for record in &left {
            if record.change.op.new_row().unwrap().0[0] == Cell::Set(Value::Int(id)) {
                found.push(record.seq);
            }
        }
        assert_eq!(journal.find(flow, key, after, usize::MAX).unwrap(), found, "by key {id}");
    }
}

fn all_of(journal: &Journal, flow: FlowId) -> BTreeMap<Seq, Record> {
    journal.scan(flow, Seq::ZERO, ALL).unwrap().into_iter().map(|record| (record.seq, record)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn nobody_finds_what_was_dropped(
        cuts in prop::collection::vec((0u64..140, 1u64..60), 1..5),
        shelved_before in any::<bool>(),
        needs in 0u64..20,
        again in any::<bool>(),
    ) {
        let disk = SimulatedDisk::new(1);
        let mut journal = journal(&disk);
        fill(&mut journal, 1..=40);
        let (mut expected, other) = (all_of(&journal, A), all_of(&journal, B));
        let head = journal.durable();
        if shelved_before {
            journal.shelve(A, Seq::ZERO, u64::MAX).unwrap();
        }
        let mut holes = Holes::default();
        for (from, len) in cuts {
            let (from, until) = (Seq(from).min(head), Seq(from + len).min(head));
            if from < until {
                dig(&mut journal, A, &mut holes, from, until);
            }
        }
        expected.retain(|seq, _| !holes.has(*seq));
        check(&journal, A, Seq::ZERO, &expected);
        // The other flow of the same segments has lost nothing.
        check(&journal, B, Seq::ZERO, &other);
        journal.shelve(A, Seq(needs), u64::MAX).unwrap();
        journal.reclaim(&[(A, Seq(needs)), (B, head)], 0).unwrap();
        for after in [needs, needs + 1, needs + 25, 60] {
            check(&journal, A, Seq(after), &expected);
        }
        if again {
            drop(journal);
            let mut journal = self::journal(&disk);
            journal.set_holes(A, holes.clone());
            check(&journal, A, Seq(needs), &expected);
            fill(&mut journal, 41..=50);
            let more = all_of_beyond(&journal, head);
            expected.extend(more);
            check(&journal, A, Seq(needs), &expected);
        }
    }

    #[test]
    fn a_cut_is_where_counting_says_that_it_is(
        holes in prop::collection::vec((0u64..140, 1u64..30), 0..3),
        after in 0u64..100,
        bytes in 0u64..4_000,
        at in 0i64..45,
    ) {
        let disk = SimulatedDisk::new(1);
        let mut journal = journal(&disk);
        fill(&mut journal, 1..=40);
        let mut dug = Holes::default();
        for (from, len) in holes {
            dig(&mut journal, A, &mut dug, Seq(from), Seq(from + len));
        }
        let after = Seq(after);
        let queue = journal.scan(A, after, ALL).unwrap();
        let of = |records: &[&Record]| records.iter().map(|record| u64::from(record.bytes)).sum::<u64>();
        let split = |cut: Seq| {
            let (front, behind): (Vec<&Record>, Vec<&Record>) = queue.iter().partition(|record| record.seq <= cut);
            // One that had begun before the queue is in two already.
            if let (Some(last), Some(next)) = (front.last(), behind.first().filter(|next| next.transaction > after)) {
                assert_ne!(last.transaction, next.transaction, "no transaction is cut through");
            }
            (front, behind)
        };
        let all: Vec<&Record> = queue.iter().collect();
        match journal.cut(A, after, Cut::AtLeast(bytes)).unwrap() {
            // Without the last transaction in front it would be too little.
            Some(cut) => {
                let (front, _) = split(cut);
                prop_assert!(of(&front) >= bytes);
                let last = front.last().map(|record| record.transaction);
                let less: Vec<&Record> = front.into_iter().filter(|record| Some(record.transaction) != last).collect();
                prop_assert!(less.is_empty() || of(&less) < bytes);
            }
            None => {
                let last = all.last().map(|record| record.transaction);
                let less: Vec<&Record> =
                    all.iter().copied().filter(|record| Some(record.transaction) != last).collect();
                prop_assert!(less.is_empty() || of(&less) < bytes);
            }
        }
        match journal.cut(A, after, Cut::AtMost(bytes)).unwrap() {
            Some(cut) => {
                let (front, behind) = split(cut);
                prop_assert!(of(&front) <= bytes);
                let next = behind[0].transaction;
                let more: u64 = behind.iter().filter(|record| record.transaction == next).map(|record| u64::from(record.bytes)).sum();
                prop_assert!(of(&front) + more > bytes);
            }
            None => prop_assert!(of(&all) <= bytes),
        }
        let cut = journal.cut(A, after, Cut::CapturedBy(WallTime(at))).unwrap();
        let (front, behind) = split(cut.unwrap_or(Seq(u64::MAX)));
        prop_assert!(front.iter().all(|record| record.captured_at <= WallTime(at)));
        prop_assert!(behind.iter().all(|record| record.captured_at > WallTime(at)));
    }
}

fn all_of_beyond(journal: &Journal, after: Seq) -> BTreeMap<Seq, Record> {
    journal.scan(A, after, ALL).unwrap().into_iter().map(|record| (record.seq, record)).collect()
}

#[test]
fn a_transaction_that_reaches_far_is_cut_through() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, Settings::default()).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0)]).unwrap();
    let a = relation("a", &["id", "name"]);
    let entries = (0..30_000).map(|id| insert(&a, id, "a name")).collect();
    journal.append(&[transaction(1, entries)], WallTime(1)).unwrap();
    journal.sync().unwrap();
    let bytes = journal.queued(A, Seq::ZERO).unwrap().bytes;
    let inside = Seq(10_000)..Seq(20_000);
    assert!(inside.contains(&journal.cut(A, Seq::ZERO, Cut::AtLeast(bytes / 2)).unwrap().unwrap()));
    assert!(inside.contains(&journal.cut(A, Seq::ZERO, Cut::AtMost(bytes / 2)).unwrap().unwrap()));
}

#[test]
fn what_was_dropped_is_let_go_of_from_the_log_and_from_the_shelf() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    fill(&mut journal, 1..=60);
    let head = journal.durable();
    let needs = [(A, Seq(4)), (B, head)];
    journal.shelve(A, Seq(4), u64::MAX).unwrap();
    journal.reclaim(&needs, 0).unwrap();
    let before = journal.bytes_on_disk();
    let mut holes = Holes::default();
    dig(&mut journal, A, &mut holes, Seq(40), head);
    journal.reclaim(&needs, 0).unwrap();
    let without_the_newest = journal.bytes_on_disk();
    assert!(without_the_newest < before / 2, "{without_the_newest} of {before}");
    dig(&mut journal, A, &mut holes, Seq(4), head);
    journal.reclaim(&needs, 0).unwrap();
    assert!(journal.bytes_on_disk() < without_the_newest / 2);
    assert_eq!(journal.kept_from(A), Seq(4), "nothing is missing that was not dropped");
}

#[test]
fn a_million_records_are_dropped_in_less_than_a_second() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, Settings { segment_bytes: 4 << 20, ..Settings::default() }).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0)]).unwrap();
    let a = relation("a", &["id", "name"]);
    for number in 1..=1_000u64 {
        let entries = (0..1_000).map(|id| insert(&a, id, "")).collect();
        journal.append(&[transaction(number, entries)], WallTime(number as i64)).unwrap();
    }
    journal.sync().unwrap();
    let all = journal.queued(A, Seq::ZERO).unwrap();
    let began = Instant::now();
    let cut =
        journal.cut(A, Seq::ZERO, Cut::AtLeast(all.bytes - 1_000)).unwrap().unwrap_or(journal.durable());
    let dropped = journal.count(A, Span { from: Seq::ZERO, until: Some(cut) }).unwrap();
    dig(&mut journal, A, &mut Holes::default(), Seq::ZERO, cut);
    assert!(dropped.records >= 999_000 && dropped.bytes >= all.bytes - 1_000);
    assert_eq!(journal.queued(A, Seq::ZERO).unwrap().records, 1_000_000 - dropped.records);
    let mut reader = journal.reader(vec![(A, Seq::ZERO)], Seq::ZERO);
    assert!(reader.next(ALL).unwrap().through >= cut);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
