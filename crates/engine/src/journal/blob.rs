//! A change by itself, as bytes: for whoever keeps one longer than the journal does.
//!
//! Its relation is written with it, since a segment's numbers of relations end with the segment. The first byte is
//! the version; the rest is as in a segment: relation, change, and the integration key as a row, if there is one.

use super::entry::{put_change, put_relation, put_row, read_change, read_relation, read_row};
use super::wire::{Input, Malformed};
use bytes::Bytes;
use std::sync::Arc;
use tandem_core::{Change, IntegrationKey, Row, Stamp};

const VERSION: u8 = 1;
/// The number of the one relation.
const RELATION: u32 = 0;

/// A change, its stamp and its integration key, as bytes.
pub(crate) fn encode(change: &Change, stamp: Option<Stamp>, key: Option<&IntegrationKey>) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_relation(&mut out, RELATION, &change.relation);
    put_change(&mut out, RELATION, &change.op, stamp);
    if let Some(key) = key {
        put_row(&mut out, &Row::of(key.values().iter().cloned()));
    }
    out
}

/// A change, its stamp and its integration key.
type Kept = (Change, Option<Stamp>, Option<IntegrationKey>);

/// What [`encode`] wrote, by this version or an older one.
pub(crate) fn decode(bytes: Bytes) -> Result<Kept, Malformed> {
    let mut input = Input::new(bytes);
    if input.byte()? != VERSION {
        return Err(Malformed("a kept change has an unknown version"));
    }
    let (_, relation) = read_relation(&mut input)?;
    let (change, stamp) = read_change(&mut input, &Arc::new(relation))?;
    let mut key = None;
    if !input.is_at_end() {
        let row = read_row(&mut input)?;
        let places: Vec<usize> = (0..row.0.len()).collect();
        key = IntegrationKey::of(&row, &places);
    }
    if !input.is_at_end() {
        return Err(Malformed("a kept change goes on behind its end"));
    }
    Ok((change, stamp, key))
}

/// An integration key by itself, as bytes.
pub(crate) fn encode_key(key: &IntegrationKey) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_row(&mut out, &Row::of(key.values().iter().cloned()));
    out
}

/// What [`encode_key`] wrote.
pub(crate) fn decode_key(bytes: Bytes) -> Result<IntegrationKey, Malformed> {
    let mut input = Input::new(bytes);
    if input.byte()? != VERSION {
        return Err(Malformed("a kept key has an unknown version"));
    }
    let row = read_row(&mut input)?;
    let places: Vec<usize> = (0..row.0.len()).collect();
    let key = IntegrationKey::of(&row, &places).ok_or(Malformed("a kept key lacks a value"))?;
    if input.is_at_end() { Ok(key) } else { Err(Malformed("a kept key goes on behind its end")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_core::{Cell, Kind, Op, Relation, RelationColumn, Seq, TableName, Value, WallTime};

    fn samples() -> Vec<(Change, Option<IntegrationKey>)> {
        let column = |name: &str| RelationColumn { name: name.into(), type_name: "t".into(), identity: true };
        let relation = Arc::new(Relation {
            table: TableName::parse("s.t").unwrap(),
            columns: ["a", "b", "c"].map(column).to_vec(),
        });
        let row = Row(vec![
            Cell::Set(Value::Typed(Kind::Decimal, "1.10".into())),
            Cell::Unchanged,
            Cell::Set(Value::from("x".repeat(300).as_str())),
        ]);
        let ops = [
            Op::Insert { new: row.clone() },
            Op::Update { old: None, new: row.clone() },
            Op::Update { old: Some(row.clone()), new: row.clone() },
            Op::Delete { old: row },
            Op::Truncate,
        ];
        let key = IntegrationKey::from_values(vec![Value::Int(7), Value::from("K")]);
        let keys = [Some(key.clone()), None, Some(key.clone()), Some(key), None];
        ops.into_iter().map(|op| Change { relation: relation.clone(), op }).zip(keys).collect()
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        for ((change, key), at) in samples().into_iter().zip(0u64..) {
            let stamp = (at % 2 == 0).then_some(Stamp { knew: Seq(at), at: WallTime(-5) });
            let bytes = encode(&change, stamp, key.as_ref());
            assert_eq!(decode(bytes.into()), Ok((change, stamp, key)));
        }
    }

    #[test]
    fn bytes_that_are_cut_or_of_a_later_version_are_refused_and_never_read_past() {
        for (change, key) in samples() {
            let bytes = Bytes::from(encode(&change, None, key.as_ref()));
            let without_key = encode(&change, None, None).len();
            for len in (0..bytes.len()).filter(|len| *len != without_key) {
                assert!(decode(bytes.slice(..len)).is_err(), "{len} of {}", bytes.len());
            }
            let later = [&[VERSION + 1], bytes.slice(1..).as_ref()].concat();
            assert!(decode(later.into()).is_err());
        }
    }
}
