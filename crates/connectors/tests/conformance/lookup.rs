//! Promises about values that are looked up as they are written.

use super::apply::{advance, begin, do_writes, fenced_apply, key, upsert, write};
use super::*;
use tandem_core::connect::{Apply, Copied, Part, Plan};
use tandem_core::{FaultClass, Lookup, Target, Write, WriteOp};

/// Customers are known to the map by `no` and to their own app by `id`; orders refer to them by `id`.
struct Shop {
    customers: TestTable,
    orders: TestTable,
    customer: Arc<Target>,
    order: Arc<Target>,
    apply: Box<dyn Apply>,
}

async fn shop(app: &dyn Fixture) -> Shop {
    let customers = TestTable {
        name: app.table("customers"),
        columns: vec![("id", ColumnType::Int), ("no", ColumnType::Text)],
        key: vec!["id"],
        unique: vec![vec!["no"]],
        not_null: vec![],
        references: vec![],
    };
    let orders = TestTable {
        name: app.table("orders"),
        columns: vec![("id", ColumnType::Int), ("customer", ColumnType::Int), ("note", ColumnType::Text)],
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    };
    app.create(&customers).await;
    app.create(&orders).await;
    let target = |table: &TestTable, key: usize, rank: u32, lookups: Vec<(usize, Lookup)>| {
        Arc::new(Target {
            map: "shop".into(),
            table: table.name.clone(),
            columns: table.columns.iter().map(|(name, _)| Arc::from(*name)).collect(),
            key: vec![key],
            rank,
            lookups,
        })
    };
    let lookup = Lookup {
        map: "customers".into(),
        table: customers.name.clone(),
        key: "no".into(),
        column: "id".into(),
    };
    let customer = target(&customers, 1, 0, vec![]);
    let order = target(&orders, 0, 1, vec![(1, lookup)]);
    Shop { customer, order, customers, orders, apply: fenced_apply(app).await }
}

impl Shop {
    fn customer(&self, seq: u64, id: i64, no: &str) -> Write {
        upsert(seq, &self.customer, vec![id.into(), no.into()])
    }

    fn order(&self, seq: u64, id: i64, no: Value) -> Write {
        upsert(seq, &self.order, vec![id.into(), no, "note".into()])
    }
}

fn order(id: i64, customer: impl Into<Value>) -> Vec<Value> {
    vec![id.into(), customer.into(), "note".into()]
}

pub async fn a_looked_up_value_is_found_in_the_same_transaction(app: &dyn Fixture) {
    let mut shop = shop(app).await;
    for (n, plan) in [Plan::Fast, Plan::Exact, Plan::Single].into_iter().enumerate() {
        let (n, at) = (n as i64, 10 * n as u64);
        let no = format!("C{n}");
        let writes = [
            shop.customer(at + 1, 700 + n, &no),
            shop.order(at + 2, 1, no.as_str().into()),
            shop.order(at + 3, 2, Value::Null),
            shop.order(at + 4, 3, "C0".into()),
        ];
        do_writes(&mut *shop.apply, (at, at + 5), plan, &writes).await.unwrap();
        let expected = [order(1, 700 + n), order(2, Value::Null), order(3, 700)];
        assert_eq!(app.rows(&shop.orders.name).await, expected, "{plan:?}");
        let patch = WriteOp::Patch { key: key(3), values: vec![None, Some(no.as_str().into()), None] };
        do_writes(&mut *shop.apply, (at + 5, at + 6), plan, &[write(at + 6, &shop.order, patch)])
            .await
            .unwrap();
        assert_eq!(app.rows(&shop.orders.name).await[2], order(3, 700 + n), "{plan:?}");
        let rekey = |old: i64, new: i64| WriteOp::Rekey {
            old: key(old),
            values: vec![Some(new.into()), Some("C0".into()), Some("note".into())],
        };
        let moves = [write(at + 7, &shop.order, rekey(3, 4)), write(at + 8, &shop.order, rekey(4, 3))];
        do_writes(&mut *shop.apply, (at + 6, at + 10), plan, &moves).await.unwrap();
        assert_eq!(app.rows(&shop.orders.name).await[2], order(3, 700), "{plan:?}");
    }
    assert_eq!(app.rows(&shop.customers.name).await.len(), 3);
}

pub async fn a_looked_up_value_is_found_by_a_copy(app: &dyn Fixture) {
    let mut shop = shop(app).await;
    app.run(vec![insert(&shop.customers.name, vec![70.into(), "C0".into()])]).await;
    let writes = [shop.order(1, 1, "C0".into()), shop.order(1, 2, Value::Null)];
    let loaded = do_writes(&mut *shop.apply, (0, 1), Plan::Load, &writes).await.unwrap();
    assert_eq!(loaded.copied, Copied { inserted: 2, ..Copied::default() });
    assert_eq!(app.rows(&shop.orders.name).await, [order(1, 70), order(2, Value::Null)]);
    let again = do_writes(&mut *shop.apply, (1, 1), Plan::Copy, &writes).await.unwrap();
    assert_eq!(again.copied, Copied { unchanged: 2, ..Copied::default() });
    let writes = [shop.order(1, 1, Value::Null), shop.order(1, 2, "C0".into())];
    let changed = do_writes(&mut *shop.apply, (1, 1), Plan::Copy, &writes).await.unwrap();
    assert_eq!(changed.copied, Copied { updated: 2, ..Copied::default() });
    assert_eq!(app.rows(&shop.orders.name).await, [order(1, Value::Null), order(2, 70)]);
}

pub async fn a_looked_up_record_that_is_not_there_is_a_reference(app: &dyn Fixture) {
    let mut shop = shop(app).await;
    let writes = [
        shop.customer(1, 70, "C0"),
        shop.order(2, 1, "C0".into()),
        shop.order(3, 2, "C9".into()),
        shop.order(4, 3, "C0".into()),
    ];
    for plan in [Plan::Fast, Plan::Exact] {
        let failed = do_writes(&mut *shop.apply, (0, 5), plan, &writes).await.unwrap_err();
        assert_eq!(failed.fault.class, FaultClass::Reference, "{plan:?}: {failed:?}");
        assert_eq!(failed.fault.code.as_deref(), Some("lookup_missing"));
        assert!(failed.fault.message.contains("column customer"), "{}", failed.fault.message);
        assert!(!failed.fault.message.contains("C9"), "{}", failed.fault.message);
        assert!(failed.write.is_none_or(|at| at == 2));
        assert_eq!(failed.write.is_some(), plan == Plan::Exact);
    }
    let copied = do_writes(&mut *shop.apply, (0, 0), Plan::Copy, &writes[2..]).await.unwrap_err();
    assert_eq!(copied.fault.class, FaultClass::Reference, "{copied:?}");
    let part = Part { begin: begin(0, true), writes: &writes, plan: Plan::Single, commit: advance(5) };
    let done = shop.apply.apply(part).await.unwrap();
    let refused: Vec<_> =
        done.refused.iter().map(|(at, fault)| (*at, fault.class, fault.code.clone())).collect();
    assert_eq!(refused, [(2, FaultClass::Reference, Some("lookup_missing".to_owned()))]);
    assert_eq!(app.rows(&shop.orders.name).await, [order(1, 70), order(3, 70)]);
}
