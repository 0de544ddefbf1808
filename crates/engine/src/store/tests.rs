//! Both stores keep errors alike.

use super::memory::MemoryStore;
use super::sqlite::SqliteStore;
use super::{
    Awaiting, ErrorPick, ErrorQuery, ErrorStatus, FlowId, KeptChange, Picked, Record, SetAside, StatusCounts,
    Store, Touching,
};
use std::sync::Arc;
use tandem_core::{
    Cell, Change, Fault, FaultClass, IntegrationKey, Kind, Op, Relation, RelationColumn, Row, Seq, TableName,
    Value, WallTime,
};
use tempfile::TempDir;

const FLOW: FlowId = FlowId(1);

fn on_both(check: impl Fn(&dyn Store)) {
    check(&MemoryStore::default());
    let folder = TempDir::new().unwrap();
    check(&SqliteStore::open(&folder.path().join("tandem.db")).unwrap());
}

fn key_of(key: &str) -> IntegrationKey {
    IntegrationKey::from_values(vec![key.into(), Value::Int(7)])
}

/// An error whose record has values of many kinds, one of which the log did not name.
fn error(map: &str, seq: u64, key: &str, class: FaultClass) -> SetAside {
    let column = |name: &str| RelationColumn { name: name.into(), type_name: "t".into(), identity: true };
    let relation = Arc::new(Relation {
        table: TableName::parse("s.t").unwrap(),
        columns: ["no", "price", "photo", "note"].map(column).to_vec(),
    });
    let new = Row(vec![
        Value::from(key).into(),
        Value::Typed(Kind::Decimal, "12.30".into()).into(),
        Value::Bytes(vec![0, 255, 7].into()).into(),
        Cell::Unchanged,
    ]);
    SetAside {
        id: 0,
        flow: FLOW,
        map: map.into(),
        seq: Seq(seq),
        transaction_name: format!("tx{seq}"),
        kept: Some(KeptChange {
            change: Change { relation, op: Op::Update { old: Some(Row::of([Value::Null])), new } },
            key: Some(key_of(key)),
            transaction: Seq(seq - 1),
            committed_at: WallTime(5),
            stamp: None,
            touches: vec![key_of(key).hash()],
        }),
        fault: Fault::new(class, "write", "no").code("23514").table("t").fix("ALTER TABLE t"),
        attempts: 1,
        first_at: WallTime(100),
        last_at: WallTime(100),
        status: ErrorStatus::Open,
        by: None,
    }
}

fn save(store: &dyn Store, errors: &[SetAside]) {
    let records: Vec<Record> = errors.iter().cloned().map(Record::Error).collect();
    store.save(&records).unwrap();
}

fn all() -> ErrorQuery {
    ErrorQuery { limit: 100, ..ErrorQuery::default() }
}

#[track_caller]
fn found(store: &dyn Store, query: ErrorQuery) -> Vec<u64> {
    store.errors(&query).unwrap().items.into_iter().map(|error| error.seq.0).collect()
}

#[test]
fn an_error_comes_back_with_its_whole_change_under_its_number() {
    on_both(|store| {
        let noted = [
            error("a", 5, "K1", FaultClass::Application),
            SetAside { kept: None, ..error("a", 3, "K1", FaultClass::Application) },
        ];
        save(store, &noted);
        for (id, noted) in (1..).zip(noted) {
            assert_eq!(store.error(id).unwrap(), Some(SetAside { id, ..noted }));
        }
        assert_eq!(store.error(3).unwrap(), None);
        assert_eq!(store.error(u64::MAX).unwrap(), None);
    });
}

#[test]
fn an_error_that_is_noted_again_is_the_same_one_refused_once_more() {
    on_both(|store| {
        let first = error("a", 5, "K1", FaultClass::Application);
        let fault = Fault::new(FaultClass::Reference, "write", "still no");
        let again = SetAside {
            fault: fault.clone(),
            first_at: WallTime(200),
            last_at: WallTime(200),
            ..first.clone()
        };
        save(store, std::slice::from_ref(&first));
        save(store, &[again]);
        let expected = SetAside { id: 1, attempts: 2, fault, last_at: WallTime(200), ..first };
        assert_eq!(store.errors(&all()).unwrap().items, [expected]);
        let of_class = |class| {
            found(
                store,
                ErrorQuery { pick: ErrorPick { class: Some(class), ..ErrorPick::default() }, ..all() },
            )
        };
        assert_eq!(of_class(FaultClass::Reference), [5]);
        assert!(of_class(FaultClass::Application).is_empty());
    });
}

#[test]
fn errors_are_found_by_map_class_and_key_and_come_in_pages() {
    on_both(|store| {
        save(
            store,
            &[
                error("a", 9, "K1", FaultClass::Application),
                error("b", 2, "K1", FaultClass::Reference),
                error("a", 4, "K|\"2", FaultClass::Reference),
                SetAside { kept: None, ..error("a", 6, "K1", FaultClass::Application) },
            ],
        );
        let key = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let picked = |pick: ErrorPick| ErrorQuery { pick, ..all() };
        let keys = |keys: &[&[&str]]| {
            picked(ErrorPick { keys: keys.iter().map(|k| key(k)).collect(), ..ErrorPick::default() })
        };
        let transaction = ErrorPick { transaction: Some("tx4".to_owned()), ..ErrorPick::default() };
        assert_eq!(found(store, picked(transaction)), [4]);
        assert_eq!(found(store, picked(ErrorPick { ids: vec![2, 4, 9], ..ErrorPick::default() })), [2, 6]);
        let reference = ErrorPick { class: Some(FaultClass::Reference), ..ErrorPick::default() };
        assert_eq!(found(store, all()), [9, 2, 4, 6]);
        assert_eq!(found(store, ErrorQuery { map: Some("a".into()), ..all() }), [9, 4, 6]);
        assert_eq!(found(store, picked(reference)), [2, 4]);
        assert_eq!(found(store, keys(&[&["K1", "7"]])), [9, 2]);
        assert_eq!(found(store, keys(&[&["K|\"2", "7"], &["no"]])), [4]);
        assert!(found(store, keys(&[&["K1"]])).is_empty());
        let both = ErrorQuery { map: Some("a".into()), ..keys(&[&["K1", "7"]]) };
        assert_eq!(found(store, both), [9]);
        assert_eq!(found(store, ErrorQuery { limit: 2, ..all() }), [9, 2]);
        assert_eq!(found(store, ErrorQuery { after: 2, ..all() }), [4, 6]);
        let next = |query| store.errors(&query).unwrap().next;
        assert_eq!(next(ErrorQuery { limit: 2, ..all() }), Some(2));
        assert_eq!(next(ErrorQuery { limit: 2, after: 2, ..all() }), None);
    });
}

#[test]
fn a_number_is_never_given_again_and_errors_go_with_what_made_them() {
    on_both(|store| {
        let of = |seq, flow| SetAside { flow, ..error("a", seq, "K1", FaultClass::Application) };
        save(store, &[of(1, FLOW), of(2, FLOW), of(3, FlowId(2))]);
        store.save(&[Record::NoErrorsAbove(vec![(FLOW, Seq(1))])]).unwrap();
        assert_eq!(found(store, all()), [1, 3]);
        store.save(&[Record::ErrorsOf { now: FlowId(3), before: FLOW }]).unwrap();
        assert_eq!(store.error(1).unwrap().unwrap().flow, FlowId(3));
        let open = |flow| (flow, StatusCounts::from([(ErrorStatus::Open, 1)]));
        assert_eq!(store.error_counts().unwrap(), [open(FlowId(2)), open(FlowId(3))].into());
        store.save(&[Record::NoErrors(FlowId(2)), Record::NoErrors(FlowId(3))]).unwrap();
        save(store, &[of(4, FLOW)]);
        let ids: Vec<u64> = store.errors(&all()).unwrap().items.iter().map(|error| error.id).collect();
        assert_eq!(ids, [4]);
    });
}

fn statuses(store: &dyn Store) -> Vec<(u64, &'static str)> {
    let query = ErrorQuery { statuses: ErrorStatus::ALL.to_vec(), ..all() };
    store.errors(&query).unwrap().items.iter().map(|error| (error.seq.0, error.status.name())).collect()
}

#[test]
fn errors_are_tried_again_with_what_waits_behind_them() {
    on_both(|store| {
        let waiting = |seq, key| SetAside {
            status: ErrorStatus::Waiting,
            ..error("a", seq, key, FaultClass::Application)
        };
        let open = |seq, key| error("a", seq, key, FaultClass::Application);
        save(store, &[open(1, "K1"), waiting(2, "K1"), open(3, "K2"), waiting(4, "K2"), open(5, "K3")]);
        let retry = FlowId(9);
        let first = ErrorPick { ids: vec![1], ..ErrorPick::default() };
        let picked = |flow| store.picked(&[flow], &ErrorPick::default()).unwrap();
        assert_eq!(picked(FLOW), Picked { errors: 5, last_id: 5, last_seq: Seq(5) });
        assert_eq!(picked(FlowId(2)), Picked::default());
        let begun = |pick: Option<ErrorPick>, adopted: &[u64]| Record::RetryBegun {
            retry,
            flows: vec![FLOW],
            pick,
            up_to: 5,
            adopted: adopted.iter().map(|seq| (FLOW, Seq(*seq))).collect(),
        };
        store.save(&[begun(Some(first), &[])]).unwrap();
        let tried = |after, limit| {
            let page = store.retrying(retry, Seq(after), limit).unwrap();
            (page.items.iter().map(|error| error.seq.0).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(tried(0, 1), (vec![1], Some(1)));
        assert_eq!(tried(0, 2), (vec![1, 2], None));
        assert_eq!(tried(1, 9), (vec![2], None));
        store.save(&[Record::Retried { retry, through: Seq(1) }]).unwrap();
        assert_eq!(statuses(store)[..2], [(1, "completed"), (2, "retrying")]);
        store.save(&[Record::NotRetried { retry, beyond: Seq(0) }]).unwrap();
        assert_eq!(tried(0, 9), (vec![1, 2], None));
        // One is refused again, the other was not reached.
        save(store, &[open(1, "K1")]);
        store.save(&[Record::RetryEnded { retry, flows: vec![FLOW] }]).unwrap();
        let stands = [(1, "open"), (2, "open"), (3, "open"), (4, "waiting"), (5, "open")];
        assert_eq!(statuses(store), stands);
        store.save(&[begun(None, &[5])]).unwrap();
        assert_eq!(tried(0, 9), (vec![5], None));
    });
}

#[test]
fn what_waits_is_open_once_nothing_stands_before_it() {
    on_both(|store| {
        let waiting =
            |seq| SetAside { status: ErrorStatus::Waiting, ..error("a", seq, "K1", FaultClass::Application) };
        save(store, &[error("a", 1, "K1", FaultClass::Application), waiting(2), waiting(3)]);
        let delete = |id| Record::ErrorsDeleted {
            flows: vec![FLOW],
            pick: ErrorPick { ids: vec![id], ..ErrorPick::default() },
            up_to: 3,
        };
        store.save(&[delete(1)]).unwrap();
        assert_eq!(statuses(store), [(1, "deleted"), (2, "open"), (3, "waiting")]);
        let gone = store.error(1).unwrap().unwrap();
        assert!(gone.kept.is_none(), "a deleted error keeps no value");
        let counts = [(ErrorStatus::Open, 1), (ErrorStatus::Waiting, 1), (ErrorStatus::Deleted, 1)];
        assert_eq!(store.error_counts().unwrap(), [(FLOW, StatusCounts::from(counts))].into());
    });
}

#[test]
fn what_waits_for_a_map_waits_again_whatever_was_begun_with_it() {
    on_both(|store| {
        let refused = |seq, key| error("a", seq, key, FaultClass::Application);
        let awaiting = |seq, key| refused(seq, key).awaiting();
        save(store, &[awaiting(1, "K1"), awaiting(2, "K2"), refused(3, "K3"), awaiting(4, "K1")]);
        let flow =
            |first, records, retrying| [(FLOW, Awaiting { records, first: Seq(first), retrying })].into();
        assert_eq!(store.awaiting().unwrap(), flow(1, 3, 0));
        assert_eq!(store.awaiting_ids(&[FLOW], Seq(3), 9).unwrap(), [1, 2]);
        assert_eq!(store.awaiting_ids(&[FLOW], Seq(u64::MAX), 1).unwrap(), [1]);
        assert!(store.awaiting_ids(&[FlowId(2)], Seq(9), 9).unwrap().is_empty());

        let retry = FlowId(9);
        let pick = Some(ErrorPick { ids: vec![1, 2, 3], ..ErrorPick::default() });
        let (flows, adopted) = (vec![FLOW], Vec::new());
        store.save(&[Record::RetryBegun { retry, flows, pick, up_to: 4, adopted }]).unwrap();
        assert_eq!(store.awaiting().unwrap(), flow(1, 3, 3), "with what is of the same record");
        assert!(store.awaiting_ids(&[FLOW], Seq(9), 9).unwrap().is_empty());
        store.save(&[Record::Retried { retry, through: Seq(1) }]).unwrap();
        assert_eq!(store.awaiting().unwrap(), flow(2, 2, 2));
        // The rest is not come to: nothing stands before it, and it is open only if it was refused for good.
        store.save(&[Record::RetryEnded { retry, flows: vec![FLOW] }]).unwrap();
        assert_eq!(statuses(store), [(1, "completed"), (2, "waiting"), (3, "open"), (4, "waiting")]);

        let by = (FLOW, Seq(8));
        store.save(&[Record::Superseded { errors: vec![(FLOW, Seq(2))], by }]).unwrap();
        assert_eq!(store.awaiting().unwrap(), flow(4, 1, 0));
        store.save(&[Record::not_superseded_beyond(FLOW, Seq(7))]).unwrap();
        assert_eq!(store.awaiting().unwrap(), flow(2, 2, 0));
    });
}

#[test]
fn what_is_superseded_stands_as_before_if_that_change_was_not_applied() {
    on_both(|store| {
        let kept = error("a", 1, "K1", FaultClass::Application);
        let preserved = SetAside {
            kept: None,
            status: ErrorStatus::Superseded,
            by: Some((FLOW, Seq(8))),
            ..error("a", 2, "K2", FaultClass::Application)
        };
        save(store, &[kept]);
        let of_k1 = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| key_of(key).hash()).collect();
            store.touching(&[FLOW], &keys).unwrap()
        };
        let (flow, status) = (FLOW, ErrorStatus::Open);
        let touching = Touching { key: key_of("K1").hash(), flow, seq: Seq(1), status };
        assert_eq!(of_k1(&["K2", "K1"]), [touching]);
        assert!(store.touching(&[FlowId(7)], &[key_of("K1").hash()]).unwrap().is_empty());
        let by = (FLOW, Seq(8));
        store
            .save(&[Record::Superseded { errors: vec![(FLOW, Seq(1))], by }, Record::Error(preserved)])
            .unwrap();
        assert!(of_k1(&["K1"]).is_empty());
        assert_eq!(store.noted(FLOW, Seq(0), Seq(9)).unwrap(), [Seq(1), Seq(2)].into());
        assert_eq!(store.error_at(FLOW, Seq(1)).unwrap().unwrap().by, Some(by));
        let undone =
            |from, through| Record::NotSuperseded { by: FLOW, from: Seq(from), through: Seq(through) };
        store.save(&[undone(9, u64::MAX), undone(0, 7)]).unwrap();
        assert_eq!(statuses(store), [(1, "superseded"), (2, "superseded")]);
        store.save(&[undone(8, 8)]).unwrap();
        assert_eq!(statuses(store), [(1, "open")], "the other is in its queue, as it was");
        assert_eq!(of_k1(&["K1"]), [touching]);
    });
}

#[test]
fn errors_are_grouped_by_their_causes() {
    on_both(|store| {
        save(
            store,
            &[
                error("a", 1, "K1", FaultClass::Application),
                SetAside { last_at: WallTime(300), ..error("a", 2, "K2", FaultClass::Application) },
                error("b", 3, "K3", FaultClass::Reference),
                SetAside { status: ErrorStatus::Completed, ..error("b", 4, "K3", FaultClass::Reference) },
            ],
        );
        let shown = |map: Option<&str>| {
            let causes = store.causes(map.map(Into::into).as_ref()).unwrap();
            let one = |c: &super::Cause| (c.map.to_string(), c.errors, c.first.to_string(), c.last_at.0);
            causes.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(shown(None), [("a".into(), 2, "1".into(), 300), ("b".into(), 1, "3".into(), 100)]);
        assert_eq!(shown(Some("b")), [("b".into(), 1, "3".into(), 100)]);
    });
}

#[test]
fn a_page_of_large_errors_is_short_and_the_next_goes_on_behind_it() {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&folder.path().join("tandem.db")).unwrap();
    let large = "x".repeat(3 << 20);
    let errors: Vec<SetAside> = (2..7).map(|seq| error("a", seq, &large, FaultClass::Application)).collect();
    save(&store, &errors);
    let mut query = all();
    let mut pages = Vec::new();
    loop {
        let page = store.errors(&query).unwrap();
        pages.push(page.items.iter().map(|error| error.seq.0).collect::<Vec<_>>());
        let Some(next) = page.next else { break };
        query.after = next;
    }
    // The key is in the row and by itself, so two of them are more than 8 MiB.
    assert_eq!(pages, [vec![2, 3], vec![4, 5], vec![6]]);
}

/// What the version before wrote, byte for byte.
const VERSION_1: &str = r#"
    CREATE TABLE record (kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT;
    CREATE TABLE error (flow INTEGER NOT NULL, seq INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (flow, seq)) STRICT;
    CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT, document TEXT NOT NULL) STRICT;
    CREATE INDEX activity_map ON activity (map, id);
    PRAGMA user_version = 1;
    INSERT INTO error VALUES (1, 5, '{"flow":1,"map":"a","seq":5,"transaction":"tx5","fault":{"class":"application","operation":"write","message":"no","code":"23514","table":null,"fix":null},"at":1700000000000000}');
"#;

#[test]
fn a_store_of_the_version_before_opens_and_shows_its_errors() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tandem.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    drop(SqliteStore::open(&path).unwrap());
    let store = SqliteStore::open(&path).unwrap();
    let at = WallTime(1_700_000_000_000_000);
    let expected = SetAside {
        id: 1,
        flow: FLOW,
        map: "a".into(),
        seq: Seq(5),
        transaction_name: "tx5".to_owned(),
        kept: None,
        fault: Fault::new(FaultClass::Application, "write", "no").code("23514"),
        attempts: 1,
        first_at: at,
        last_at: at,
        status: ErrorStatus::Open,
        by: None,
    };
    assert_eq!(store.errors(&all()).unwrap().items, [expected]);
    let open = StatusCounts::from([(ErrorStatus::Open, 1)]);
    assert_eq!(store.error_counts().unwrap(), [(FLOW, open)].into());
    save(&store, &[error("a", 6, "K1", FaultClass::Application)]);
    assert_eq!(found(&store, ErrorQuery { after: 1, ..all() }), [6]);
}

/// What version 2 wrote, but for the change.
const VERSION_2: &str = r#"
    CREATE TABLE record (kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT;
    CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT, document TEXT NOT NULL) STRICT;
    CREATE INDEX activity_map ON activity (map, id);
    CREATE TABLE error (
        id INTEGER PRIMARY KEY AUTOINCREMENT, flow INTEGER NOT NULL, seq INTEGER NOT NULL,
        map TEXT NOT NULL, class TEXT NOT NULL, key TEXT,
        attempts INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
        document TEXT NOT NULL, change BLOB, UNIQUE (flow, seq)) STRICT;
    CREATE INDEX error_map ON error (map, id);
    CREATE INDEX error_key ON error (key) WHERE key IS NOT NULL;
    PRAGMA user_version = 2;
"#;

#[test]
fn errors_of_version_2_are_open_and_known_by_the_records_that_they_touch() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tandem.db");
    let noted = error("a", 5, "K1", FaultClass::Application);
    let kept = noted.kept.as_ref().unwrap();
    let before = rusqlite::Connection::open(&path).unwrap();
    before.execute_batch(VERSION_2).unwrap();
    let document = r#"{"transaction_name":"tx5","transaction":4,"committed_at":5,"fault":{"class":"application",
        "operation":"write","message":"no","code":"23514","table":"t","fix":"ALTER TABLE t"}}"#;
    let change = crate::journal::blob::encode(&kept.change, kept.stamp, kept.key.as_ref());
    let sql = "INSERT INTO error VALUES (7, 1, 5, 'a', 'application', '[\"K1\",\"7\"]', 1, 100, 100, ?1, ?2)";
    before.execute(sql, (document, change)).unwrap();
    drop(before);
    drop(SqliteStore::open(&path).unwrap());
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.errors(&all()).unwrap().items, [SetAside { id: 7, ..noted }]);
    let (key, status) = (key_of("K1").hash(), ErrorStatus::Open);
    assert_eq!(store.touching(&[FLOW], &[key]).unwrap(), [Touching { key, flow: FLOW, seq: Seq(5), status }]);
    assert!(store.any_touched());
    save(&store, &[error("a", 6, "K1", FaultClass::Application)]);
    assert_eq!(found(&store, ErrorQuery { after: 7, ..all() }), [6]);
}

#[test]
fn a_store_that_knew_no_tokens_is_one_that_a_tandem_of_then_does_not_open_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tandem.db");
    drop(SqliteStore::open(&path).unwrap());
    let before = rusqlite::Connection::open(&path).unwrap();
    before.execute_batch("PRAGMA user_version = 5").unwrap();
    drop(SqliteStore::open(&path).unwrap());
    let version: i64 = before.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 6);
}

#[test]
fn a_store_of_a_later_version_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tandem.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = SqliteStore::open(&path).err().unwrap().to_string();
    assert!(refused.contains("version 99") && refused.contains("newer"), "{refused}");
}
