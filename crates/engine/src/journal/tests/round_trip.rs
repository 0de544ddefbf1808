//! Every value and every name comes back as it went in.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use tandem_core::Kind;

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Decimal,
        Kind::Date,
        Kind::Time,
        Kind::TimeTz,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::Interval,
        Kind::Uuid,
        Kind::Json,
        Kind::Other,
    ])
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![".{0,10}", "\\PC{120,140}", Just("\0\u{10ffff}'\";--".to_owned())]
}

fn cells() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Unchanged),
        Just(Cell::Set(Value::Null)),
        any::<bool>().prop_map(|truth| Cell::Set(Value::Bool(truth))),
        any::<i64>().prop_map(|number| Cell::Set(Value::Int(number))),
        any::<u64>().prop_map(|bits| Cell::Set(Value::Float(f64::from_bits(bits)))),
        texts().prop_map(|text| Cell::Set(Value::Text(text.into()))),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| Cell::Set(Value::Bytes(Bytes::from(bytes)))),
        (kinds(), texts()).prop_map(|(kind, text)| Cell::Set(Value::Typed(kind, text.into()))),
    ]
}

fn rows() -> impl Strategy<Value = Row> {
    prop::collection::vec(cells(), 0..6).prop_map(Row)
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        rows().prop_map(|new| Op::Insert { new }),
        (prop::option::of(rows()), rows()).prop_map(|(old, new)| Op::Update { old, new }),
        rows().prop_map(|old| Op::Delete { old }),
        Just(Op::Truncate),
    ]
}

fn relations() -> impl Strategy<Value = Arc<Relation>> {
    let column = (texts(), texts(), any::<bool>()).prop_map(|(name, type_name, identity)| RelationColumn {
        name: name.as_str().into(),
        type_name: type_name.as_str().into(),
        identity,
    });
    (prop::option::of(texts()), texts(), prop::collection::vec(column, 0..5)).prop_map(
        |(schema, name, columns)| {
            let table = TableName { schema: schema.map(|s| s.as_str().into()), name: name.as_str().into() };
            Arc::new(Relation { table, columns })
        },
    )
}

fn commits() -> impl Strategy<Value = (Commit, Option<Mark>)> {
    let mark = (texts(), any::<u64>(), texts()).prop_map(|(stream, seq, note)| Mark {
        stream: stream.as_str().into(),
        seq: Seq(seq),
        note: note.as_str().into(),
    });
    let commit = (prop::collection::vec(any::<u8>(), 0..40), texts(), any::<i64>()).prop_map(
        |(position, transaction, committed_at)| Commit {
            position: Position(position.into()),
            transaction: transaction.as_str().into(),
            committed_at: WallTime(committed_at),
        },
    );
    (commit, prop::option::of(mark))
}

fn stamps() -> impl Strategy<Value = Option<Stamp>> {
    let stamp =
        (any::<u64>(), any::<i64>()).prop_map(|(knew, at)| Stamp { knew: Seq(knew), at: WallTime(at) });
    prop::option::of(stamp)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_back(
        transactions in prop::collection::vec(
            (prop::collection::vec((relations(), ops(), stamps()), 0..6), commits(), any::<i64>()), 1..5),
        frame_bytes in 1usize..400,
        reopened in any::<bool>(),
    ) {
        let disk = SimulatedDisk::new(7);
        let settings = Settings { frame_bytes, segment_bytes: 600, ahead_bytes: 30 };
        let mut journal = open(&disk, settings).unwrap();
        // One flow for each table, since a flow follows one.
        let mut tables: Vec<TableName> = Vec::new();
        for (relation, ..) in transactions.iter().flat_map(|(changes, ..)| changes) {
            if !tables.contains(&relation.table) {
                tables.push(relation.table.clone());
            }
        }
        let flows: Vec<FlowSpec> = tables.iter().zip(0..).map(|(table, flow)| FlowSpec {
            flow: FlowId(flow), table: table.clone(), key: Vec::new(), span: Span::beyond(Seq::ZERO),
        }).collect();
        journal.set_flows(flows.clone()).unwrap();
        let mut expected = Vec::new();
        for (changes, (commit, mark), at) in &transactions {
            let stamps: Vec<Option<Stamp>> = changes.iter().map(|(.., stamp)| *stamp).collect();
            let changes: Vec<Change> = changes.iter()
                .map(|(relation, op, _)| Change { relation: relation.clone(), op: op.clone() }).collect();
            let entries = changes.iter().cloned().map(Entry::Change).collect();
            let fragment = Fragment { entries, commit: Some(commit.clone()), mark: mark.clone() };
            journal.append_stamped(&[fragment], std::slice::from_ref(&stamps), WallTime(*at)).unwrap();
            let changes = changes.into_iter().zip(stamps);
            expected.extend(changes.map(|(change, stamp)| (change, stamp, commit.clone(), mark.clone(), *at)));
        }
        journal.sync().unwrap();
        if reopened {
            journal = open(&disk, settings).unwrap();
            journal.set_flows(flows.clone()).unwrap();
        }
        let members = flows.iter().map(|spec| (spec.flow, Seq::ZERO)).collect();
        let records = read_all(&mut journal.reader(members, Seq::ZERO), ALL).unwrap();
        prop_assert_eq!(records.len(), expected.len());
        for (record, (change, stamp, commit, mark, at)) in records.into_iter().zip(expected) {
            prop_assert_eq!(record.change, change);
            prop_assert_eq!(record.transaction_name, commit.transaction);
            prop_assert_eq!(record.committed_at, commit.committed_at);
            prop_assert_eq!(record.mark, mark);
            prop_assert_eq!(record.stamp, stamp);
            prop_assert_eq!(record.captured_at, WallTime(at));
        }
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use super::super::entry::{pass_entry, read_change, read_group, read_relation};
        use super::super::wire::Input;
        let input = || Input::new(Bytes::from(bytes.clone()));
        let relation = relation("a", &["id"]);
        let _ = pass_entry(&mut input());
        let _ = read_change(&mut input(), &relation);
        let _ = read_group(&mut input(), Seq(1), WallTime(0));
        let _ = read_relation(&mut input());
        let _ = super::super::sidecar::read_list(Bytes::from(bytes.clone()));
        let _ = super::super::sidecar::read_head(Bytes::from(bytes.clone()), 0);
        let _ = super::super::format::SegmentHeader::decode(Bytes::from(bytes), &identity());
    }
}
