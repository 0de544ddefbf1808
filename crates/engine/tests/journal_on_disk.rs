//! The journal on a real disk, with several threads at work on it.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tandem_core::{
    Change, Commit, Entry, Fragment, IntegrationKey, JournalId, Op, Position, Relation, RelationColumn, Row,
    Seq, TableName, Value, WallTime,
};
use tandem_engine::disk::{Disk, RealDisk};
use tandem_engine::journal::{
    FlowId, FlowSpec, Identity, Journal, PieceEnd, ReadLimit, Records, Settings, Span,
};

const LIVE: FlowId = FlowId(1);
const PAUSED: FlowId = FlowId(2);
const TRANSACTIONS: u64 = 3_000;

fn open(folder: &std::path::Path) -> Journal {
    let identity = Identity { journal: JournalId(9), stream: "erp→crm".into() };
    let settings = Settings { segment_bytes: 20_000, frame_bytes: 2_000, ahead_bytes: 4_096 };
    let disk = Arc::new(RealDisk::new(folder).unwrap());
    let mut journal = Journal::open(disk, "streams/erp-crm", identity, settings).unwrap();
    let spec =
        |flow| FlowSpec { flow, table: table(), key: vec!["id".into()], span: Span::beyond(Seq::ZERO) };
    journal.set_flows(vec![spec(LIVE), spec(PAUSED)]).unwrap();
    journal
}

fn table() -> TableName {
    TableName { schema: None, name: "orders".into() }
}

fn transaction(relation: &Arc<Relation>, number: u64) -> Fragment {
    let change = |id: u64| {
        let new = Row::of([Value::Int(id as i64), Value::from("a note of some length")]);
        Entry::Change(Change { relation: Arc::clone(relation), op: Op::Insert { new } })
    };
    let commit = Commit {
        position: Position(number.to_be_bytes().to_vec().into()),
        transaction: "".into(),
        committed_at: WallTime(number as i64),
    };
    Fragment { entries: vec![change(2 * number), change(2 * number + 1)], commit: Some(commit), mark: None }
}

/// Reads a flow from the start until `last`, and checks that each Seq comes once and in order.
fn follow(records: &Records, flow: FlowId, last: Seq, applied: impl Fn(Seq)) {
    let mut reader = records.reader(vec![(flow, Seq::ZERO)], Seq::ZERO);
    let mut next = Seq(1);
    while next <= last {
        let piece = reader.next(ReadLimit { records: 100, bytes: 10_000, through: Seq(u64::MAX) }).unwrap();
        for record in &piece.records {
            assert_eq!(record.seq, next);
            next = next.next();
        }
        match piece.end {
            PieceEnd::Head => std::thread::yield_now(),
            PieceEnd::Whole { .. } | PieceEnd::Open => applied(piece.through),
        }
    }
}

#[test]
fn one_appends_and_syncs_while_others_read_shelve_and_reclaim() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let records: Records = journal.records().clone();
    let last = Seq(2 * TRANSACTIONS);
    let (applied, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            follow(&records, LIVE, last, |through| applied.store(through.0, Ordering::Release));
        });
        let housekeeping = scope.spawn(|| {
            let mut reclaimed = 0;
            loop {
                let stop = done.load(Ordering::Acquire);
                records.shelve(PAUSED, Seq::ZERO, 30_000).unwrap();
                let needs = [(LIVE, Seq(applied.load(Ordering::Acquire))), (PAUSED, Seq::ZERO)];
                reclaimed += records.reclaim(&needs, 0).unwrap().segments;
                let head = records.head();
                assert!(records.queued(PAUSED, Seq::ZERO).unwrap().records >= head.0);
                if stop {
                    return reclaimed;
                }
            }
        });
        let columns = ["id", "note"];
        let columns =
            columns.map(|name| RelationColumn { name: name.into(), type_name: "".into(), identity: true });
        let relation = Arc::new(Relation { table: table(), columns: columns.into() });
        for number in 0..TRANSACTIONS {
            journal.append(&[transaction(&relation, number)], WallTime(number as i64)).unwrap();
            if number % 7 == 0 {
                let ticket = journal.sync_ticket();
                let syncing = scope.spawn(|| ticket.sync());
                let more = [];
                journal.append(&more, WallTime(0)).unwrap();
                journal.synced(syncing.join().unwrap()).unwrap();
            }
        }
        assert_eq!(journal.sync().unwrap().seq, last);
        live.join().unwrap();
        done.store(true, Ordering::Release);
        assert!(housekeeping.join().unwrap() > 0);
    });
    drop(journal);
    let journal = open(folder.path());
    assert_eq!((journal.head(), journal.durable()), (last, last));
    assert!(journal.oldest() > Seq(1), "the log was reclaimed: {}", journal.oldest());
    assert_eq!(journal.queued(PAUSED, Seq::ZERO).unwrap().records, last.0);
    follow(journal.records(), PAUSED, last, |_| {});
    let hash = IntegrationKey::from_values(vec![Value::Int(77)]).hash();
    assert_eq!(journal.find(PAUSED, hash, Seq::ZERO, 10).unwrap(), [Seq(78)]);
    assert_eq!(journal.read(PAUSED, Seq(78)).unwrap().unwrap().committed_at, WallTime(38));
}

#[test]
fn files_are_for_their_owner_only_and_paths_stay_inside() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder.path().join("data")));
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/streams/erp-crm"), 0o700);
    assert_eq!(mode("data/streams/erp-crm/000000000001.log"), 0o600);
    assert_eq!(mode("data/streams/erp-crm/synced"), 0o600);
    let disk = RealDisk::new(folder.path()).unwrap();
    for path in ["../x", "/etc/passwd", "a/../../x"] {
        assert!(disk.create(path).is_err() && disk.open(path).is_err(), "{path}");
    }
    let space = disk.space().unwrap();
    assert!(space.free > 0 && space.free <= space.total);
}
