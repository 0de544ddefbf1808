//! Cases with a name: what readers, shelves and counts do at their corners.

use super::*;

const SMALL: Settings = Settings { segment_bytes: 500, frame_bytes: 120, ahead_bytes: 50 };

fn journal(disk: &SimulatedDisk) -> Journal {
    let mut journal = open(disk, SMALL).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0), spec(2, "b", "id", 0)]).unwrap();
    journal
}

fn fill(journal: &mut Journal, numbers: std::ops::RangeInclusive<u64>) {
    let (a, b) = (relation("a", &["id", "name"]), relation("b", &["id", "name"]));
    for number in numbers {
        let id = number as i64;
        let entries = vec![insert(&a, id, "a name of some length"), insert(&b, id, "another")];
        journal.append(&[transaction(number, entries)], WallTime(id)).unwrap();
    }
    journal.sync().unwrap();
}

#[test]
fn a_reader_sees_only_what_is_durable_and_goes_on_when_more_is() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    let mut reader = journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq::ZERO);
    assert_eq!(reader.next(ALL).unwrap().end, PieceEnd::Head);
    let a = relation("a", &["id", "name"]);
    journal.append(&[transaction(1, vec![insert(&a, 1, "one")])], WallTime(1)).unwrap();
    assert_eq!(reader.next(ALL).unwrap().end, PieceEnd::Head);
    journal.sync().unwrap();
    let piece = reader.next(ALL).unwrap();
    assert_eq!((piece.records.len(), piece.through), (1, Seq(1)));
    assert_eq!(piece.end, PieceEnd::Whole { position: position(1) });
    for number in 2..60 {
        journal.append(&[transaction(number, vec![insert(&a, 1, "more of it")])], WallTime(1)).unwrap();
        journal.sync().unwrap();
        assert_eq!(reader.next(ALL).unwrap().records[0].seq, Seq(number), "over the seams of segments");
        assert_eq!(reader.next(ALL).unwrap().end, PieceEnd::Head);
    }
}

#[test]
fn an_open_transaction_is_invisible_and_gone_after_a_crash() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    fill(&mut journal, 1..=1);
    let a = relation("a", &["id", "name"]);
    let piece = Fragment { entries: vec![insert(&a, 9, "open")], ..Fragment::default() };
    journal.append(&[piece], WallTime(1)).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.head(), Seq(2));
    assert_eq!(journal.queued(FlowId(1), Seq::ZERO).unwrap().records, 1);
    assert!(journal.append_idle(position(9)).unwrap_err().is_misuse());
    disk.crash();
    let mut journal = self::journal(&disk);
    assert_eq!((journal.head(), journal.position()), (Seq(2), Some(position(1))));
    fill(&mut journal, 2..=2);
    assert_eq!(journal.durable(), Seq(4), "the number of what was cut is given again");
}

#[test]
fn what_is_no_longer_kept_is_reported_as_missing_and_never_passed_over() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    fill(&mut journal, 1..=30);
    let head = journal.durable();
    journal.reclaim(&[(FlowId(1), head), (FlowId(2), head)], 0).unwrap();
    assert!(journal.oldest() > Seq(10));
    let mut reader = journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq(5));
    assert!(reader.next(ALL).unwrap_err().is_missing());
    assert!(journal.shelve(FlowId(1), Seq(5), 1).unwrap_err().is_missing());
    let mut reader = journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq(journal.oldest().0 - 1));
    assert!(!reader.next(ALL).unwrap().records.is_empty());
}

#[test]
fn a_paused_flow_keeps_its_queue_on_its_shelf_while_the_log_is_reclaimed() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    fill(&mut journal, 1..=60);
    let paused = (FlowId(1), Seq(20));
    let before = journal.bytes_on_disk();
    assert_eq!(journal.queued(paused.0, paused.1).unwrap().records, 50);
    while journal.shelve(paused.0, paused.1, 400).unwrap().more {}
    assert_eq!(journal.reclaim(&[paused], 0).unwrap().segments, 0, "flow 2 has not applied yet");
    let needs = [paused, (FlowId(2), journal.durable())];
    assert_eq!(journal.reclaim(&needs, u64::MAX).unwrap().segments, 0, "the applied tail is kept");
    assert!(journal.reclaim(&needs, 0).unwrap().segments > 3);
    assert!(journal.oldest() > Seq(100) && journal.bytes_on_disk() < before);
    for _ in 0..2 {
        let counts = journal.queued(paused.0, paused.1).unwrap();
        assert_eq!((counts.records, counts.oldest_at), (50, Some(WallTime(11))));
        let mut reader = journal.reader(vec![paused], paused.1);
        let limit = ReadLimit { records: 7, bytes: u64::MAX, through: Seq(u64::MAX) };
        let records = read_all(&mut reader, limit).unwrap();
        let seqs: Vec<u64> = records.iter().map(|record| record.seq.0).collect();
        assert_eq!(seqs, (11..=60).map(|number| 2 * number - 1).collect::<Vec<_>>());
        assert_eq!(journal.read(paused.0, Seq(21)).unwrap().unwrap().transaction_name, "tx-11".into());
        assert_eq!(journal.read(paused.0, Seq(22)).unwrap(), None, "of flow 2");
        disk.crash();
        journal = self::journal(&disk);
    }
    let done = [(paused.0, journal.durable()), (FlowId(2), journal.durable())];
    assert!(journal.reclaim(&done, 0).unwrap().segments > 3, "the shelf goes when it is applied");
    let names = crate::disk::Disk::list(&disk, DIR).unwrap();
    assert!(!names.iter().any(|name| name.starts_with("shelf-")), "{names:?}");
}

#[test]
fn a_change_of_two_flows_is_two_records_with_one_seq() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, SMALL).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0), spec(7, "a", "name", 3)]).unwrap();
    fill(&mut journal, 1..=3);
    let mut reader = journal.reader(vec![(FlowId(7), Seq::ZERO), (FlowId(1), Seq(1))], Seq::ZERO);
    let piece = reader.next(ReadLimit { records: 2, bytes: u64::MAX, through: Seq(u64::MAX) }).unwrap();
    let of: Vec<_> = piece.records.iter().map(|record| (record.seq.0, record.flow.0)).collect();
    assert_eq!(of, [(3, 1)], "the transaction of Seq 5 does not fit any more");
    let piece = reader.next(ReadLimit { records: 2, bytes: u64::MAX, through: Seq(u64::MAX) }).unwrap();
    let of: Vec<_> = piece.records.iter().map(|record| (record.seq.0, record.flow.0)).collect();
    assert_eq!(of, [(5, 1), (5, 7)]);
}

#[test]
fn a_transaction_of_many_frames_is_read_in_pieces_and_names_its_commit_from_the_first_on() {
    let disk = SimulatedDisk::new(1);
    let mut journal = journal(&disk);
    let a = relation("a", &["id", "name"]);
    let entries = |from: i64| (from..from + 40).map(|id| insert(&a, id, "a name of some length")).collect();
    journal.append(&[Fragment { entries: entries(0), ..Fragment::default() }], WallTime(1)).unwrap();
    journal.append(&[transaction(5, entries(40))], WallTime(2)).unwrap();
    journal.sync().unwrap();
    let mut reader = journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq::ZERO);
    let (mut count, mut pieces) = (0, 0);
    loop {
        let piece = reader.next(ReadLimit { records: 9, bytes: u64::MAX, through: Seq(u64::MAX) }).unwrap();
        count += piece.records.len();
        pieces += 1;
        assert!(piece.records.iter().all(|record| &*record.transaction_name == "tx-5"));
        assert!(piece.records.iter().all(|record| record.transaction == Seq(1)));
        assert_eq!(piece.through, Seq(count as u64));
        match piece.end {
            PieceEnd::Open => {}
            PieceEnd::Whole { position: at } => {
                assert_eq!((count, at), (80, position(5)));
                break;
            }
            PieceEnd::Head => panic!("the head came before the commit"),
        }
    }
    assert_eq!(pieces, 9);
}

#[test]
fn many_records_of_one_key_and_keys_that_are_not_there_are_told_from_each_other() {
    let disk = SimulatedDisk::new(1);
    let mut journal =
        open(&disk, Settings { segment_bytes: 40_000, frame_bytes: 4_000, ahead_bytes: 0 }).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0)]).unwrap();
    let a = relation("a", &["id", "name"]);
    let mut wanted = Vec::new();
    for number in 1..=6_000 {
        let id = if number % 4 == 0 { 7 } else { 1_000 + number as i64 };
        if id == 7 {
            wanted.push(Seq(number));
        }
        journal.append(&[transaction(number, vec![insert(&a, id, "x")])], WallTime(1)).unwrap();
    }
    journal.sync().unwrap();
    let find = |id: i64, after: u64| {
        let key = tandem_core::IntegrationKey::from_values(vec![Value::Int(id)]).hash();
        journal.find(FlowId(1), key, Seq(after), usize::MAX).unwrap()
    };
    assert!(journal.oldest() == Seq(1) && disk.bytes("streams/erp-crm/000000000003.log").is_some());
    assert_eq!(find(7, 0), wanted);
    assert_eq!(find(7, 3_000), wanted[750..]);
    for id in 1_001..=7_000 {
        let expected = if (id - 1_000) % 4 == 0 { vec![] } else { vec![Seq(id as u64 - 1_000)] };
        assert_eq!(find(id, 0), expected);
    }
    assert_eq!(find(999, 0), vec![]);
}

#[test]
fn its_parts_may_go_to_other_threads() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Journal>();
    moves::<Reader>();
    moves::<Ticket>();
    moves::<Synced>();
    is_shared::<Records>();
}
