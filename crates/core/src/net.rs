//! Netting: of several writes of one record in a batch, only what is left of them, grouped by table.
//!
//! This changes the order in which the destination sees things, by design: it is the fast plan, which may be
//! refused although the history is valid. What it must never do is to end in another state than the exact
//! order does when it succeeds. A key change ties two records together, so a batch that holds one is not netted.

use crate::{IntegrationKey, Target, Value, Write, WriteOp};
use std::collections::HashMap;
use std::sync::Arc;

/// A batch, netted: apply the deletes of all tables children first (falling rank), then the rest parents first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Net {
    /// Per target, parents first.
    pub tables: Vec<NetTable>,
}

/// What is left to be done in one table. No record is named twice.
#[derive(Debug, PartialEq, Eq)]
pub struct NetTable {
    /// The table.
    pub target: Arc<Target>,
    /// Records to remove.
    pub deletes: Vec<IntegrationKey>,
    /// Records to make so: one value for each of the target's columns.
    pub upserts: Vec<Vec<Value>>,
    /// Records to change in some columns; each must be there.
    pub patches: Vec<(IntegrationKey, Vec<Option<Value>>)>,
}

enum Left {
    Delete,
    Upsert(Vec<Value>),
    Patch(Vec<Option<Value>>),
    /// Deleted and then patched: the patch has no base, which only the exact order may judge.
    Baseless,
}

/// Nets a batch. `None`: it holds a key change, or a patch of a record that the batch itself deleted; do it in
/// exact order.
pub fn net(writes: &[Write]) -> Option<Net> {
    let mut places: HashMap<&Arc<Target>, usize> = HashMap::new();
    let mut tables: Vec<(&Arc<Target>, HashMap<IntegrationKey, Left>)> = Vec::new();
    let mut last: Option<(&Arc<Target>, usize)> = None;
    for write in writes {
        let place = match last {
            Some((target, place)) if Arc::ptr_eq(target, &write.target) => place,
            _ => *places.entry(&write.target).or_insert_with(|| {
                tables.push((&write.target, HashMap::new()));
                tables.len() - 1
            }),
        };
        last = Some((&write.target, place));
        let (_, left) = tables.get_mut(place)?;
        match &write.op {
            WriteOp::Rekey { .. } => return None,
            WriteOp::Delete(key) => {
                left.insert(key.clone(), Left::Delete);
            }
            WriteOp::Upsert(values) => {
                let key = write.target.key.iter().map(|place| values.get(*place).cloned());
                let key = IntegrationKey::from_values(key.collect::<Option<Vec<_>>>()?);
                left.insert(key, Left::Upsert(values.clone()));
            }
            WriteOp::Patch { key, values } => match left.get_mut(key) {
                None => {
                    left.insert(key.clone(), Left::Patch(values.clone()));
                }
                Some(Left::Upsert(base)) => {
                    base.iter_mut().zip(values).for_each(|(base, new)| {
                        if let Some(new) = new {
                            *base = new.clone();
                        }
                    });
                }
                Some(Left::Patch(base)) => base.iter_mut().zip(values).for_each(|(base, new)| {
                    if new.is_some() {
                        base.clone_from(new);
                    }
                }),
                Some(other) => *other = Left::Baseless,
            },
        }
    }
    let mut net = Net::default();
    for (target, left) in tables {
        let mut table = NetTable {
            target: target.clone(),
            deletes: Vec::new(),
            upserts: Vec::new(),
            patches: Vec::new(),
        };
        for (key, left) in left {
            match left {
                Left::Delete => table.deletes.push(key),
                Left::Upsert(values) => table.upserts.push(values),
                Left::Patch(values) => table.patches.push((key, values)),
                Left::Baseless => return None,
            }
        }
        net.tables.push(table);
    }
    net.tables.sort_by_key(|table| table.target.rank);
    Some(net)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Seq, TableName};

    fn target() -> Arc<Target> {
        Arc::new(Target {
            map: "m".into(),
            table: TableName::parse("t").unwrap(),
            columns: vec!["id".into(), "a".into(), "b".into()],
            key: vec![0],
            rank: 0,
            lookups: vec![],
        })
    }

    fn key(id: i64) -> IntegrationKey {
        IntegrationKey::from_values(vec![Value::Int(id)])
    }

    fn check(ops: Vec<WriteOp>, expected: Option<NetTable>) {
        let target = target();
        let writes: Vec<_> = ops
            .into_iter()
            .enumerate()
            .map(|(n, op)| Write {
                seq: Seq(n as u64),
                transaction: Seq(n as u64),
                target: target.clone(),
                op,
            })
            .collect();
        assert_eq!(net(&writes).map(|mut net| net.tables.remove(0)), expected);
    }

    fn left(
        deletes: Vec<IntegrationKey>,
        upserts: Vec<Vec<Value>>,
        patches: Vec<(IntegrationKey, Vec<Option<Value>>)>,
    ) -> Option<NetTable> {
        Some(NetTable { target: target(), deletes, upserts, patches })
    }

    fn row(id: i64, a: i64, b: i64) -> Vec<Value> {
        vec![id.into(), a.into(), b.into()]
    }

    fn patch(id: i64, a: Option<i64>, b: Option<i64>) -> WriteOp {
        WriteOp::Patch { key: key(id), values: vec![Some(id.into()), a.map(Value::Int), b.map(Value::Int)] }
    }

    #[test]
    fn the_last_whole_write_of_a_record_wins() {
        check(
            vec![WriteOp::Upsert(row(1, 1, 1)), WriteOp::Delete(key(1)), WriteOp::Upsert(row(1, 2, 2))],
            left(vec![], vec![row(1, 2, 2)], vec![]),
        );
        check(
            vec![WriteOp::Upsert(row(1, 1, 1)), WriteOp::Delete(key(1))],
            left(vec![key(1)], vec![], vec![]),
        );
    }

    #[test]
    fn a_patch_merges_its_columns_into_what_came_before() {
        check(
            vec![WriteOp::Upsert(row(1, 1, 1)), patch(1, None, Some(9))],
            left(vec![], vec![row(1, 1, 9)], vec![]),
        );
        check(
            vec![patch(1, Some(5), None), patch(1, None, Some(9))],
            left(vec![], vec![], vec![(key(1), vec![Some(1.into()), Some(5.into()), Some(9.into())])]),
        );
    }

    #[test]
    fn a_key_change_and_a_patch_without_base_are_left_to_the_exact_order() {
        check(vec![WriteOp::Rekey { old: key(1), values: vec![Some(2.into()), None, None] }], None);
        check(vec![WriteOp::Delete(key(1)), patch(1, Some(1), None)], None);
    }
}
