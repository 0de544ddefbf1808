use super::*;
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use tandem_core::{Kind, Value};

fn relation() -> Bytes {
    relation_called("Odd \"name\"")
}

fn relation_called(name: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'R');
    out.put_u32(7);
    out.put_slice(format!("app\0{name}\0d").as_bytes());
    out.put_u16(3);
    for (flags, name, oid) in [(1u8, "id", 20u32), (0, "amount", 1700), (0, "note", 25)] {
        out.put_u8(flags);
        out.put_slice(name.as_bytes());
        out.put_u8(0);
        out.put_u32(oid);
        out.put_u32(u32::MAX);
    }
    out.freeze()
}

enum Sent<'a> {
    Text(&'a str),
    Null,
    Unchanged,
}

fn row(out: &mut BytesMut, cells: &[Sent<'_>]) {
    out.put_u16(cells.len() as u16);
    for cell in cells {
        match cell {
            Sent::Text(text) => {
                out.put_u8(b't');
                out.put_u32(text.len() as u32);
                out.put_slice(text.as_bytes());
            }
            Sent::Null => out.put_u8(b'n'),
            Sent::Unchanged => out.put_u8(b'u'),
        }
    }
}

fn message(kind: u8, parts: &[(u8, &[Sent<'_>])]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(kind);
    out.put_u32(7);
    for (part, cells) in parts {
        out.put_u8(*part);
        row(&mut out, cells);
    }
    out.freeze()
}

fn check(message: Bytes, expected: Op) {
    let mut decoder = Decoder::default();
    let mut changes = Vec::new();
    decoder.decode(relation(), &mut changes).unwrap();
    decoder.decode(message, &mut changes).unwrap();
    let relation = decoder.known(7).unwrap().relation.clone();
    assert_eq!(relation.table, TableName { schema: Some("app".into()), name: "Odd \"name\"".into() });
    assert_eq!(changes, [Change { relation, op: expected }]);
}

fn set(value: impl Into<Value>) -> Cell {
    Cell::Set(value.into())
}

use Sent::{Null, Text, Unchanged};

#[test]
fn null_is_told_apart_from_unchanged_and_from_not_named() {
    let amount = Value::Typed(Kind::Decimal, "1.50".into());
    check(
        message(b'I', &[(b'N', &[Text("1"), Text("1.50"), Null])]),
        Op::Insert { new: Row(vec![set(1), Cell::Set(amount.clone()), Cell::Set(Value::Null)]) },
    );
    check(
        message(b'U', &[(b'K', &[Text("1"), Null, Null]), (b'N', &[Text("2"), Text("1.50"), Unchanged])]),
        Op::Update {
            old: Some(Row(vec![set(1), Cell::Unchanged, Cell::Unchanged])),
            new: Row(vec![set(2), Cell::Set(amount), Cell::Unchanged]),
        },
    );
    check(
        message(b'D', &[(b'O', &[Text("1"), Null, Text("x")])]),
        Op::Delete { old: Row(vec![set(1), Cell::Set(Value::Null), set("x")]) },
    );
}

#[test]
fn a_full_old_row_completes_what_was_not_sent_again() {
    check(
        message(b'U', &[(b'O', &[Text("1"), Null, Text("large")]), (b'N', &[Text("1"), Null, Unchanged])]),
        Op::Update {
            old: Some(Row(vec![set(1), Cell::Set(Value::Null), set("large")])),
            new: Row(vec![set(1), Cell::Set(Value::Null), set("large")]),
        },
    );
}

#[test]
fn an_update_without_old_row_says_that_the_identity_stands() {
    check(
        message(b'U', &[(b'N', &[Text("1"), Unchanged, Null])]),
        Op::Update { old: None, new: Row(vec![set(1), Cell::Unchanged, Cell::Set(Value::Null)]) },
    );
}

#[test]
fn a_relation_that_did_not_change_keeps_its_identity() {
    let mut decoder = Decoder::default();
    decoder.decode(relation(), &mut Vec::new()).unwrap();
    let before = decoder.known(7).unwrap().relation.clone();
    decoder.decode(relation(), &mut Vec::new()).unwrap();
    assert!(Arc::ptr_eq(&before, &decoder.known(7).unwrap().relation));
}

#[test]
fn a_message_cut_anywhere_is_malformed_and_nothing_else() {
    let whole = message(b'U', &[(b'K', &[Text("1"), Null, Null]), (b'N', &[Text("2"), Null, Unchanged])]);
    for end in 0..whole.len() {
        let mut decoder = Decoder::default();
        let mut changes = Vec::new();
        decoder.decode(relation(), &mut changes).unwrap();
        assert!(decoder.decode(whole.slice(..end), &mut changes).is_err(), "cut at {end}");
        assert_eq!(changes, []);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let mut decoder = Decoder::default();
        let _ = decoder.decode(relation(), &mut Vec::new());
        for bytes in messages {
            let _ = decoder.decode(bytes.into(), &mut Vec::new());
        }
    }

    #[test]
    fn no_damage_to_a_row_makes_the_decoder_panic(place in 0usize..40, byte in any::<u8>()) {
        let whole = message(b'U', &[(b'O', &[Text("1"), Text("2.0"), Null]), (b'N', &[Text("2"), Null, Unchanged])]);
        let mut damaged = whole.to_vec();
        if let Some(hit) = damaged.get_mut(place) {
            *hit = byte;
        }
        let mut decoder = Decoder::default();
        let _ = decoder.decode(relation(), &mut Vec::new());
        let _ = decoder.decode(damaged.into(), &mut Vec::new());
    }
}

#[test]
fn a_table_that_is_called_by_another_name_is_told_under_the_name_that_it_had() {
    let mut decoder = Decoder::default();
    let names = ["a", "a", "b", "a"].map(relation_called);
    names.into_iter().for_each(|relation| decoder.decode(relation, &mut Vec::new()).unwrap());
    let renamed: Vec<&str> = decoder.renamed.iter().map(|table| &*table.name).collect();
    assert_eq!(renamed, ["a", "b"]);
}
